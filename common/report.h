/* SPDX-License-Identifier: MIT
 *
 * Tells when a figure goes bad and when it is well again: once each, never at every tick.
 */
#ifndef KSM_REPORT_H
#define KSM_REPORT_H

#include "reader.h"

/* What was last told of every figure. All zero bytes is a new watch: nothing told yet. */
struct ksm_report {
    int told[KSM_FIGURES]; /* 0: it can be read, or this kernel never had it; else -errno */
    bool seen[KSM_FIGURES];
};

/* Gets one line without a newline, naming file, fault and what becomes of it. bad: a figure is
 * lost; else it is back. */
typedef void ksm_tell_fn(bool bad, const char *message);

/* Compares the reader's last sample with what was told before and tells what has changed. A file
 * that this kernel never had is no news; one that goes away is. Derived figures are not told of:
 * those they are worked out from are. */
void ksm_report_figures(struct ksm_report *watch, const struct ksm_reader *reader,
                        ksm_tell_fn *tell);

#endif
