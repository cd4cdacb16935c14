/* SPDX-License-Identifier: MIT
 *
 * One thread that makes calls which may block for ever (blocking_call.h), and those that such calls
 * have kept.
 *
 *   worker_init();
 *   worker_start();           the thread runs a function
 *   while (worker_poll() == WORKER_RUNNING)
 *       if (worker_abandon())   its call takes too long: it is stuck, and left to itself
 *           worker_start();       another thread goes on
 *   worker_close();
 *
 * The data of the function is the thread's until worker_poll() returns WORKER_DONE or the thread is
 * abandoned. Then it is the caller's, and the next thread's. Stuck threads are reaped once they
 * return. Those that never do stay until the program ends; they use nothing but their stacks and
 * what they allocated, so the worker may be gone.
 *
 * One thread of the program calls all of this. Nothing here waits, but for worker_close().
 */
#ifndef KSM_WORKER_H
#define KSM_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "system/blocking_call.h"

struct worker_thread;

struct worker {
    struct worker_thread *running; /* or NULL */
    struct worker_thread *stuck;   /* a list */
    int stuck_count;
    int max_stuck;
};

/* Runs in the thread, and returns as soon as a call returns -ECANCELED. Its stack has 256 kB. */
typedef void worker_fn(struct blocking_call *call, void *data);

enum worker_state {
    WORKER_IDLE,
    WORKER_RUNNING,
    WORKER_DONE, /* the function has returned: once for each worker_start() */
};

/* The call that was abandoned. fd: as in blocking_call.h; the stuck thread closes it. */
struct abandoned_call {
    int pid;
    int fd;
};

/* max_stuck: with so many stuck threads, no other starts. */
void worker_init(struct worker *w, int max_stuck);

/* Starts a thread that runs function(call, data); none may be running. Returns 0 or -errno: -EAGAIN
 * with too many stuck threads, or if the system has too many. */
int worker_start(struct worker *w, worker_fn *function, void *data);

/* Reaps stuck threads that have returned. Returns the state of the other one. */
enum worker_state worker_poll(struct worker *w);

/* When the call began that the thread is in, ms of CLOCK_MONOTONIC; 0: it is in none. */
int64_t worker_call_began(const struct worker *w);

/* Abandons the running thread as blocking_call_abandon() does, and sets *abandoned. */
bool worker_abandon(struct worker *w, int64_t latest, struct abandoned_call *abandoned);

/* Returns whether a stuck thread waits for that process. */
bool worker_is_stuck(const struct worker *w, int pid);

/* Ends all. No further call begins, and a call that has begun is abandoned: then *abandoned is set,
 * else its pid is 0. Takes 200 ms at most, and does not wait for stuck threads. Returns true if the
 * data is the caller's again; false if the thread, starved of a processor, did not stop: then the
 * caller must not free what the thread may still use. */
bool worker_close(struct worker *w, struct abandoned_call *abandoned);

#endif
