/* SPDX-License-Identifier: MIT
 *
 * Makes the samples of the consumers in threads, so that no process can keep a host waiting.
 *
 * Reading cmdline waits for the mmap lock of the process, and since Linux 6.14 reading ksm_stat
 * does too (fs/proc/base.c: proc_pid_ksm_stat, get_mm_cmdline). A process can hold this lock for as
 * long as it likes, for example with a FUSE file system of its own that does not answer. So each
 * sample is made by a thread. A thread that waits too long is left behind with the process that it
 * waits for, and another thread continues the sample. Both waits end when the process exits or is
 * killed. A thread that only waits for a processor, on a busy or paused machine, is not left
 * behind.
 *
 * One thread of the host calls all of this; none of it waits.
 */
#ifndef KSM_SAMPLER_H
#define KSM_SAMPLER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "consumers/consumers.h"
#include "log_state.h"
#include "system/blocking_call.h"

enum ksm_sampler_result {
    KSM_SAMPLER_IDLE,  /* no sample is being made */
    KSM_SAMPLER_BUSY,  /* one is: look again after ksm_sampler_pause() */
    KSM_SAMPLER_READY, /* the table is new */
};

struct ksm_sampler_thread {
    pthread_t id;
    struct ksm_consumers *consumers;
    struct blocking_call guard;
    bool registered;
    int64_t now;
    atomic_bool ended;
    bool used;
};

/* A process that a thread was left behind with. */
struct ksm_sampler_aside {
    int pid; /* 0: none */
    char comm[KSM_CONSUMER_NAME_SIZE];
    struct ksm_sampler_thread *thread; /* NULL: it has returned */
    int64_t until;                     /* then it is not read until that time, ms */
    bool told;                         /* it was reported that it keeps its readers waiting */
};

struct ksm_sampler {
    struct ksm_consumers *consumers;
    struct ksm_sampler_thread threads[KSM_SKIPPED_MAX + 1];
    struct ksm_sampler_thread *current; /* makes a sample now, or NULL */
    struct ksm_sampler_aside aside[KSM_SKIPPED_MAX];
    struct ksm_consumers_log_state report;
    int64_t due;   /* when the next sample is to begin, ms */
    int64_t pause; /* between the last look and the next, ms */
    int64_t next;  /* when that is */
};

/* consumers stays the caller's. It may read table and trouble at any time, all else while no sample
 * is made. */
void ksm_sampler_init(struct ksm_sampler *s, struct ksm_consumers *consumers);

/* Whether the next sample is to begin; never if the kernel does not report processes. Times are
 * in ms of CLOCK_MONOTONIC throughout. */
bool ksm_sampler_is_due(const struct ksm_sampler *s, int64_t now);

/* Begins a sample, if none is being made. registered: whether KSM has any pages at all. */
void ksm_sampler_begin(struct ksm_sampler *s, bool registered, int64_t now);

/* Returns the state of the sample, READY once for each. If a sample is not complete when the next
 * is due, the table has no metrics until it is. After two intervals it starts again, because what
 * it has read is old. */
enum ksm_sampler_result ksm_sampler_poll(struct ksm_sampler *s, int64_t now);

/* When to look next; INT64_MAX while no sample is made. */
int64_t ksm_sampler_next(const struct ksm_sampler *s);

/* Reports each process that keeps its readers waiting, once when that begins and once when it ends.
 * Reports the consumers' troubles too. */
void ksm_sampler_log(struct ksm_sampler *s, ksm_log_fn *tell);

/* Stops the sample at once, and closes the consumers. Threads that wait for a process
 * stay behind until it lets them go, or the program ends: s must be there for as long. */
void ksm_sampler_close(struct ksm_sampler *s);

#endif
