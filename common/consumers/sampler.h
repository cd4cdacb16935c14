/* SPDX-License-Identifier: MIT
 *
 * Samples the consumers in a worker thread, so that no process can block the daemon.
 *
 * Reading the files of a process may block for ever (blocking_call.h). A thread that is blocked too
 * long is abandoned, its process is skipped, and another thread goes on with the sample. A process
 * can be read again when the stuck thread returns. 60 s later it is resumed.
 *
 * One thread of the daemon calls all of this, and none of it waits, but for ksm_sampler_close().
 * Times are ms of CLOCK_MONOTONIC.
 */
#ifndef KSM_SAMPLER_H
#define KSM_SAMPLER_H

#include <stdbool.h>
#include <stdint.h>

#include "consumers/consumers.h"
#include "log_state.h"
#include "system/worker.h"

enum ksm_sampler_result {
    KSM_SAMPLER_IDLE,  /* no sample is being made */
    KSM_SAMPLER_BUSY,  /* one is: poll again at ksm_sampler_next() */
    KSM_SAMPLER_READY, /* the table is new */
};

struct ksm_sampler_skipped {
    int pid; /* 0: the entry is free */
    char comm[KSM_CONSUMER_NAME_SIZE];
    bool blocks;   /* a thread is stuck; if not, the process is resumed */
    int64_t until; /* at this time */
    bool logged;   /* that it blocks */
    bool withheld; /* as it was one line too many */
};

struct ksm_sampler {
    struct ksm_consumers *consumers;
    struct worker worker;
    struct ksm_sampler_skipped skipped[KSM_SKIPPED_MAX];
    struct ksm_consumers_log_state log_state;
    struct ksm_log_limit log_limit; /* of lines about processes that block */
    bool busy;                      /* a sample is being made */
    bool has_pages;                 /* its host's KSM has any pages */
    int64_t began;                  /* when it began, or the last one did; daemons may read this */
    int64_t due;                    /* when the next sample is to begin */
    int64_t pause;                  /* between the last poll and the next */
    int64_t next;                   /* when that is */
};

/* consumers stays the caller's. It may read the table at any time, all else while no sample is
 * made. */
void ksm_sampler_init(struct ksm_sampler *s, struct ksm_consumers *consumers);

/* Whether the next sample is to begin; never if the kernel does not report processes. */
bool ksm_sampler_is_due(const struct ksm_sampler *s, int64_t now);

/* Begins a sample, if none is being made. has_pages: whether KSM has any pages. */
void ksm_sampler_begin(struct ksm_sampler *s, bool has_pages, int64_t now);

/* Returns the state of the sample, READY once for each. If a sample is not complete when the next
 * is due, the table has no metrics until it is. After two intervals it starts again, because what
 * it has read is old. */
enum ksm_sampler_result ksm_sampler_poll(struct ksm_sampler *s, int64_t now);

/* When to poll next; INT64_MAX while no sample is made. */
int64_t ksm_sampler_next(const struct ksm_sampler *s);

/* Logs each process that blocks, once when that begins and once when it ends; and the faults of the
 * consumers. If ever other processes block, a line a minute says how many were not logged. */
void ksm_sampler_log(struct ksm_sampler *s, ksm_log_fn *log);

/* Stops the sample within 200 ms, and closes the consumers. */
void ksm_sampler_close(struct ksm_sampler *s);

#endif
