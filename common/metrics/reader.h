/* SPDX-License-Identifier: MIT
 *
 * The host's KSM metrics: reads all sources of metrics.def at one tick.
 *
 * A tick where everything is open opens nothing and allocates nothing. Knobs are read once a
 * minute and stay in the sample until the next reading (pages_to_scan at every tick while the
 * advisor moves it). A metric that cannot be read is absent, whatever it was before. Beside the
 * kernel's own sysfs the fields of a proc/meminfo that is not the kernel's (lxcfs mounts one over
 * it) are -EXDEV.
 */
#ifndef KSM_READER_H
#define KSM_READER_H

#include <stdbool.h>
#include <stdint.h>

#include "metrics/ksm_dir.h"
#include "metrics/ksmd.h"
#include "metrics/metrics.h"
#include "metrics/rates.h"
#include "system/pseudofs.h"

/* Public so that a host can hold it without an allocation (it is large: keep it static). */
struct ksm_reader {
    struct ksm_sample sample; /* of the last tick, derived metrics included: the result */

    bool settings;
    int64_t knobs_due;
    struct ksm_dir directory;
    struct pseudofs_file vmstat;
    struct pseudofs_file meminfo;
    size_t lines[KSM_METRICS]; /* of fields: where the newline before each was the last time */
    bool vmstat_whole;         /* one read does not give all that is wanted of it */
    bool meminfo_whole;
    struct ksmd ksmd;
    struct ksm_rates rates;
    char buf[64 * 1024]; /* ten times what vmstat needs; what is not used costs no memory */
};

/* Gets ready to read below root ("/" for this host), which stays the caller's and must live as long
 * as the reader. settings: whether knobs are read at all. Opens no file yet.
 * Returns 0; -ENOENT if there is neither sys/kernel/mm/ksm nor …/uksm (the out-of-tree UKSM) below
 * root: no KSM in that kernel; or -errno if that is not known. */
int ksm_reader_init(struct ksm_reader *reader, const char *root, bool settings);

/* Writes one line for the log that says what a failure of ksm_reader_init means. */
void ksm_reader_why_not(int status, const char *root, char *message, size_t size);

/* Reads every metric that is due and computes the derived ones, into reader->sample. now is a
 * clock in ms that does not go back (CLOCK_MONOTONIC).
 * Returns 0 if any metric that is sent could be read, else -errno of the first that could not. */
int ksm_reader_tick(struct ksm_reader *reader, int64_t now);

/* Whether it is UKSM that is read, which has no settings of KSM's and scans all memory. */
bool ksm_reader_is_uksm(const struct ksm_reader *reader);

/* Writes where a metric is read from, for messages: a path and, for a field, its name.
 * Returns 0, or -ENOENT for a derived metric, -ENAMETOOLONG if it does not fit. */
int ksm_reader_source(const struct ksm_reader *reader, size_t id, char *text, size_t size);

/* Closes every file. */
void ksm_reader_close(struct ksm_reader *reader);

#endif
