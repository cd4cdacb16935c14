/* SPDX-License-Identifier: MIT */
#include "system/worker.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>

#include "system/clock.h"

struct worker_thread {
    struct worker_thread *next; /* of the stuck ones */
    pthread_t id;
    struct blocking_call call;
    worker_fn *function;
    void *data;
    /* 1: by the thread, or by worker_close(). Not a bool: gcc 12 calls libatomic for the exchange
     * of a byte on riscv64. */
    atomic_int released;
};

/* ---- one thread ---- */

/* Called twice, by the thread and by worker_close(): the second one frees it. */
static void release(struct worker_thread *thread) {
    if (atomic_exchange(&thread->released, 1))
        free(thread);
}

static void *run(void *data) {
    struct worker_thread *thread = data;

    blocking_call_set_thread(&thread->call);
    thread->function(&thread->call, thread->data);
    release(thread);
    return NULL;
}

static int create(struct worker_thread *thread) {
    enum { STACK_SIZE = 256 * 1024 };
    pthread_attr_t attr;
    int status = pthread_attr_init(&attr);

    if (status != 0)
        return -status;
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    status = pthread_create(&thread->id, &attr, run, thread);
    pthread_attr_destroy(&attr);
    return -status;
}

static bool has_returned(const struct worker_thread *thread) {
    return atomic_load(&thread->released);
}

static void join(struct worker_thread *thread) {
    pthread_join(thread->id, NULL);
    free(thread);
}

static void detach(struct worker_thread *thread) {
    pthread_detach(thread->id);
    release(thread);
}

/* ---- all threads ---- */

void worker_init(struct worker *w, int max_stuck) {
    *w = (struct worker){.max_stuck = max_stuck};
}

int worker_start(struct worker *w, worker_fn *function, void *data) {
    if (w->stuck_count >= w->max_stuck)
        return -EAGAIN;
    struct worker_thread *thread = calloc(1, sizeof(*thread));
    if (!thread)
        return -ENOMEM;
    thread->function = function;
    thread->data = data;
    int status = create(thread);
    if (status == 0)
        w->running = thread;
    else
        free(thread);
    return status;
}

static void reap(struct worker *w) {
    for (struct worker_thread **link = &w->stuck; *link;) {
        struct worker_thread *thread = *link;
        if (!has_returned(thread)) {
            link = &thread->next;
            continue;
        }
        *link = thread->next;
        join(thread);
        w->stuck_count--;
    }
}

enum worker_state worker_poll(struct worker *w) {
    reap(w);
    if (!w->running)
        return WORKER_IDLE;
    if (!has_returned(w->running))
        return WORKER_RUNNING;
    join(w->running);
    w->running = NULL;
    return WORKER_DONE;
}

int64_t worker_call_began(const struct worker *w) {
    return w->running ? atomic_load(&w->running->call.since) : 0;
}

bool worker_abandon(struct worker *w, int64_t latest, struct abandoned_call *abandoned) {
    struct worker_thread *thread = w->running;

    if (!thread || !blocking_call_abandon(&thread->call, latest))
        return false;
    *abandoned = (struct abandoned_call){.pid = thread->call.pid, .fd = thread->call.fd};
    thread->next = w->stuck;
    w->stuck = thread;
    w->stuck_count++;
    w->running = NULL;
    return true;
}

bool worker_is_stuck(const struct worker *w, int pid) {
    for (const struct worker_thread *thread = w->stuck; thread; thread = thread->next)
        if (thread->call.pid == pid)
            return true;
    return false;
}

/* Returns whether it has returned or was abandoned in time. */
static bool stop(struct worker *w, struct abandoned_call *abandoned) {
    enum { STOP_MS = 200 };
    const int64_t end = clock_ms(CLOCK_MONOTONIC) + STOP_MS;

    atomic_store(&w->running->call.cancelled, true);
    while (worker_poll(w) == WORKER_RUNNING && !worker_abandon(w, INT64_MAX, abandoned)) {
        if (clock_ms(CLOCK_MONOTONIC) >= end)
            return false;
        poll(NULL, 0, 1);
    }
    return true;
}

bool worker_close(struct worker *w, struct abandoned_call *abandoned) {
    *abandoned = (struct abandoned_call){.pid = 0, .fd = -1};
    bool stopped = !w->running || stop(w, abandoned);

    if (!stopped)
        detach(w->running);
    while (w->stuck) {
        struct worker_thread *thread = w->stuck;
        w->stuck = thread->next;
        detach(thread);
    }
    worker_init(w, w->max_stuck);
    return stopped;
}
