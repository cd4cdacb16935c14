/* SPDX-License-Identifier: MIT
 *
 * Messages for the log: one for each failure and one for each recovery, never one for every tick.
 * What processes can cause again and again is limited. Times are ms of CLOCK_MONOTONIC.
 */
#ifndef KSM_LOG_STATE_H
#define KSM_LOG_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "consumers/consumers.h"
#include "metrics/reader.h"

/* Gets one line without a newline: what happened, to what, and what it means for the metrics. bad:
 * it has begun; else it is over, or needs no action. */
typedef void ksm_log_fn(bool bad, const char *message);

/* Limits lines to KSM_LOG_BURST and one more a minute. All zero bytes: nothing logged yet. */
struct ksm_log_limit {
    int used;      /* lines, less one for each minute since */
    int64_t since; /* when used was last reduced */
    int withheld;  /* lines that were not logged, and are in no summary yet */
    int64_t summary_due;
};

enum { KSM_LOG_BURST = 20 };

/* Returns whether a line may be logged now; if not, it counts as withheld. */
bool ksm_log_admit(struct ksm_log_limit *limit, int64_t now);

/* Returns the number of withheld lines for a summary, which is due a minute after the first of
 * them; else 0. */
int ksm_log_withheld(struct ksm_log_limit *limit, int64_t now);

/* What was last reported about every metric. All zero bytes: nothing yet. */
struct ksm_log_state {
    int told[KSM_METRICS]; /* 0: it can be read, or this kernel never had it; else -errno */
    bool seen[KSM_METRICS];
};

/* Compares the reader's last sample with what was told before and tells what has changed. A file
 * that this kernel never had is no news; one that goes away is. Derived metrics are not told of:
 * those they are worked out from are. */
void ksm_log_metrics(struct ksm_log_state *report, const struct ksm_reader *reader,
                     ksm_log_fn *tell);

/* What was last reported about the consumers. All zero bytes: nothing yet. */
struct ksm_consumers_log_state {
    bool told[KSM_CONSUMERS_FAULTS];
    /* A change above the limit is logged later, if it has lasted until then. */
    struct ksm_log_limit limit;
};

/* The same of the troubles of a table. root: where the host's /proc is, for messages. */
void ksm_log_consumers(struct ksm_consumers_log_state *report,
                       const struct ksm_consumer_table *table, const char *root, ksm_log_fn *tell);

#endif
