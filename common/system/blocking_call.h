/* SPDX-License-Identifier: MIT
 *
 * Decides who owns the data of a thread that reads a file, because the reading may never end.
 *
 * A thread announces each such reading. If it lasts too long, another thread may take over all its
 * data. The first thread is then left behind, and learns so when the reading returns. One atomic
 * exchange decides which of the two was first, so there is one owner at any time.
 */
#ifndef KSM_BLOCKING_CALL_H
#define KSM_BLOCKING_CALL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "system/clock.h"

/* All zero bytes: at work, reading nothing. */
struct blocking_call {
    _Atomic int64_t reading; /* since when, ms of CLOCK_MONOTONIC; 0: not; -1: taken over */
    atomic_bool cancelled;   /* no further reading is to begin */
    int pid;                 /* whose file it is, */
    int fd;                  /* and its descriptor */
    atomic_int thread;       /* as the kernel knows it; 0: it has not begun */
};

/* By the thread, before its first reading. */
void blocking_call_set_thread(struct blocking_call *guard);

/* Before a reading. Returns false if it must not begin. guard NULL: nobody watches. */
static inline bool blocking_call_begin(struct blocking_call *guard, int pid, int fd) {
    int64_t now = guard ? clock_ms(CLOCK_MONOTONIC) : 0;

    if (!guard)
        return true;
    if (atomic_load_explicit(&guard->cancelled, memory_order_relaxed))
        return false;
    guard->pid = pid;
    guard->fd = fd;
    atomic_store_explicit(&guard->reading, now > 0 ? now : 1, memory_order_release);
    return true;
}

/* After it. Returns false if everything was taken over meanwhile: the thread owns no more than its
 * stack and that descriptor, which it closes, and must end. */
static inline bool blocking_call_end(struct blocking_call *guard) {
    int64_t since = guard ? atomic_load_explicit(&guard->reading, memory_order_relaxed) : 0;

    return !guard || (since > 0 && atomic_compare_exchange_strong(&guard->reading, &since, 0));
}

/* Takes over from a thread that has been reading since a time or longer: pid and fd of the guard
 * say what. Returns false if it is not reading, or not for so long, or if it runs or waits for a
 * processor, as on a busy or paused machine: then it is not the file that keeps it waiting. The
 * thread's state is read from /proc/self/task, of the program's own /proc. */
bool blocking_call_abandon(struct blocking_call *guard, int64_t since);

#endif
