/* SPDX-License-Identifier: MIT
 *
 * Messages for the log: one for each failure and one for each recovery, never one for every tick.
 */
#ifndef KSM_LOG_STATE_H
#define KSM_LOG_STATE_H

#include <stdbool.h>

#include "consumers/consumers.h"
#include "metrics/reader.h"

/* Gets one line without a newline: what happened, to what, and what it means for the metrics. bad:
 * it has begun; else it is over, or needs no action. */
typedef void ksm_log_fn(bool bad, const char *message);

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
};

/* The same of the troubles of a table. root: where the host's /proc is, for messages. */
void ksm_log_consumers(struct ksm_consumers_log_state *report,
                       const struct ksm_consumer_table *table, const char *root, ksm_log_fn *tell);

#endif
