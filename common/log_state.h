/* SPDX-License-Identifier: MIT
 *
 * Logs faults when they are raised and cleared, not at every tick. Call ksm_log_metrics() after
 * each sample of the metrics, ksm_log_consumers() after each sample of the consumers. Messages that
 * processes can cause repeatedly are limited. Times are ms of CLOCK_MONOTONIC.
 */
#ifndef KSM_LOG_STATE_H
#define KSM_LOG_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "consumers/consumers.h"
#include "metrics/reader.h"

/* Logs one line; message has no newline. bad: a fault was raised; else one was cleared, or no
 * action is needed. */
typedef void ksm_log_fn(bool bad, const char *message);

/* Limits lines to a burst of KSM_LOG_BURST, then one a minute. Initialize it to zero bytes. */
struct ksm_log_limit {
    int used;            /* lines logged, less one for each minute that has passed */
    int64_t since;       /* when used was last reduced */
    int withheld;        /* lines that were not logged, and not counted in a summary */
    int64_t summary_due; /* when a summary of them is due */
};

enum { KSM_LOG_BURST = 20 };

/* Returns whether a line may be logged now; else counts it as withheld. */
bool ksm_log_admit(struct ksm_log_limit *limit, int64_t now);

/* Returns the number of withheld lines if a summary is due, a minute after the first of them; else
 * 0. */
int ksm_log_withheld(struct ksm_log_limit *limit, int64_t now);

/* What was logged about each metric. Initialize it to zero bytes. */
struct ksm_log_state {
    int logged[KSM_METRICS];    /* -errno of the fault that was raised; 0: none */
    bool was_read[KSM_METRICS]; /* it was readable at least once */
};

/* Logs which metrics can no longer, or can again be read. A file that never existed is no fault;
 * one that disappears is. Derived metrics are not logged, only those that they are derived from. */
void ksm_log_metrics(struct ksm_log_state *state, const struct ksm_reader *reader, ksm_log_fn *log);

/* What was logged about the consumers. Initialize it to zero bytes. */
struct ksm_consumers_log_state {
    bool logged[KSM_CONSUMERS_FAULTS];
    struct ksm_log_limit limit; /* changes above it are logged later, if they last */
};

/* Logs faults of a table that were raised or cleared. root: where the host's /proc is mounted, for
 * the messages. */
void ksm_log_consumers(struct ksm_consumers_log_state *state,
                       const struct ksm_consumer_table *table, const char *root, ksm_log_fn *log);

#endif
