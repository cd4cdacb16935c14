/* SPDX-License-Identifier: MIT
 *
 * Messages for the log: one for each failure and one for each recovery, never one for every tick.
 */
#ifndef KSM_REPORT_H
#define KSM_REPORT_H

#include <stdbool.h>

#include "consumers.h"
#include "reader.h"

/* Gets one line without a newline: what happened, to what, and what it means for the figures. bad:
 * it has begun; else it is over, or needs no action. */
typedef void ksm_tell_fn(bool bad, const char *message);

/* What was last reported about every figure. All zero bytes: nothing yet. */
struct ksm_report {
    int told[KSM_FIGURES]; /* 0: it can be read, or this kernel never had it; else -errno */
    bool seen[KSM_FIGURES];
};

/* Compares the reader's last sample with what was told before and tells what has changed. A file
 * that this kernel never had is no news; one that goes away is. Derived figures are not told of:
 * those they are worked out from are. */
void ksm_report_figures(struct ksm_report *report, const struct ksm_reader *reader,
                        ksm_tell_fn *tell);

/* What was last reported about the consumers. All zero bytes: nothing yet. */
struct ksm_consumers_report {
    bool told[KSM_CONSUMERS_TROUBLES];
};

/* The same of the troubles of a table. */
void ksm_report_consumers(struct ksm_consumers_report *report,
                          const struct ksm_consumer_table *table, ksm_tell_fn *tell);

#endif
