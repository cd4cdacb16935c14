/* SPDX-License-Identifier: MIT
 *
 * Samples the consumers in a worker thread, so that no process can block the daemon.
 *
 *   ksm_sampler_init();
 *   ksm_sampler_begin();    if ksm_sampler_is_due()
 *   ksm_sampler_poll();     at ksm_sampler_next(), until it returns READY
 *   ksm_sampler_log();
 *   ksm_sampler_close();
 *
 * Reading the files of a process may block for ever (blocking_call.h). Then the thread is
 * abandoned, the process is skipped, and another thread continues the sample. 60 s after the stuck
 * thread has returned, the process is included again.
 *
 * One thread of the daemon calls all of this. Nothing here waits, except ksm_sampler_close(). Times
 * are ms of CLOCK_MONOTONIC.
 */
#ifndef KSM_SAMPLER_H
#define KSM_SAMPLER_H

#include <stdbool.h>
#include <stdint.h>

#include "consumers/consumers.h"
#include "log_state.h"
#include "system/worker.h"

enum ksm_sampler_result {
    KSM_SAMPLER_IDLE,  /* no sample is in progress */
    KSM_SAMPLER_BUSY,  /* poll again at ksm_sampler_next() */
    KSM_SAMPLER_READY, /* the sample is complete: the table is new */
};

struct ksm_sampler_skipped {
    int pid; /* 0: a free slot */
    char comm[KSM_CONSUMER_NAME_SIZE];
    bool blocks;   /* a thread is stuck */
    int64_t until; /* when it is included again, if it does not block */
    bool logged;   /* its blocking was logged, its recovery was not */
    bool withheld; /* not logged because of the limit */
};

struct ksm_sampler {
    struct ksm_consumers *consumers;
    struct worker worker;
    struct ksm_sampler_skipped skipped[KSM_SKIPPED_MAX];
    struct ksm_consumers_log_state log_state;
    struct ksm_log_limit log_limit; /* for processes that block */
    bool busy;                      /* a sample is in progress */
    bool has_pages;                 /* as given to ksm_sampler_begin() */
    int64_t began;                  /* start of the last sample; daemons may read this */
    int64_t due;                    /* start of the next sample */
    int64_t pause;                  /* ms between the last poll and the next */
    int64_t next;                   /* time of the next poll */
};

/* consumers remains the caller's, and must outlive s. The caller may read its table at any time,
 * and anything else only while no sample is in progress. */
void ksm_sampler_init(struct ksm_sampler *s, struct ksm_consumers *consumers);

/* Returns whether the next sample is due; never if consumers are not enabled. */
bool ksm_sampler_is_due(const struct ksm_sampler *s, int64_t now);

/* Begins a sample, unless one is in progress. has_pages: as for ksm_consumers_sample(). */
void ksm_sampler_begin(struct ksm_sampler *s, bool has_pages, int64_t now);

/* Returns the state of the sample; READY once for each. If a sample is still in progress when the
 * next is due, the table is invalid until it is complete. If it takes more than two intervals, it
 * starts over, because its counts are old. */
enum ksm_sampler_result ksm_sampler_poll(struct ksm_sampler *s, int64_t now);

/* Returns the time of the next poll; INT64_MAX while no sample is in progress. */
int64_t ksm_sampler_next(const struct ksm_sampler *s);

/* Logs each process that blocks and its recovery, and the faults of the consumers. After a burst of
 * KSM_LOG_BURST lines, one line a minute says how many processes were not logged. */
void ksm_sampler_log(struct ksm_sampler *s, ksm_log_fn *log);

/* Stops the sample within 200 ms, and closes the consumers. */
void ksm_sampler_close(struct ksm_sampler *s);

#endif
