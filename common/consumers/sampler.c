/* SPDX-License-Identifier: MIT */
#include "consumers/sampler.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "system/clock.h"

/* A reading that lasts longer is given up: eight of them one after another still leave time for the
 * others within two intervals. */
static int64_t patience(const struct ksm_sampler *s) {
    enum { PARTS = 5, MOST_MS = 1000 };
    int64_t part = s->consumers->table.interval / PARTS;

    return part < MOST_MS ? part : MOST_MS;
}

/* Who kept a reader waiting is not read again for so long. */
static const int64_t aside_ms = 60 * 1000;

/* The two buffers for names are 8 kB each, and consumer_name.c has one more. */
enum { STACK_SIZE = 256 * 1024 };

enum { FIRST_PAUSE_MS = 4 };

void ksm_sampler_init(struct ksm_sampler *s, struct ksm_consumers *consumers) {
    memset(s, 0, sizeof(*s));
    s->consumers = consumers;
    s->due = INT64_MIN;
}

/* ---- threads ---- */

static void *make_sample(void *data) {
    struct ksm_sampler_thread *thread = data;

    blocking_call_set_thread(&thread->guard);
    ksm_consumers_sample(thread->consumers, thread->registered, thread->now);
    atomic_store(&thread->ended, true);
    return NULL;
}

static int start_thread(struct ksm_sampler_thread *thread) {
    pthread_attr_t attr;
    int status = pthread_attr_init(&attr);

    if (status != 0)
        return -status;
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    status = pthread_create(&thread->id, &attr, make_sample, thread);
    pthread_attr_destroy(&attr);
    return -status;
}

/* Lets a thread begin the sample, or go on with it. Where nothing is to be read there is no need.
 */
static void start(struct ksm_sampler *s, bool registered, int64_t now) {
    struct ksm_sampler_thread *thread = s->threads;

    while (thread->used)
        thread++; /* at most KSM_SKIPPED_MAX are: those that were left behind */
    memset(thread, 0, sizeof(*thread));
    thread->consumers = s->consumers;
    thread->registered = registered;
    thread->now = now;
    s->consumers->processes.reader.guard = &thread->guard;
    s->current = thread;
    if (registered) {
        int status = start_thread(thread);
        thread->used = status == 0;
        if (status != 0) {
            s->consumers->status = status;
            s->consumers->processes.look = KSM_LOOK_BEGIN; /* the next sample is another */
        }
    } else {
        ksm_consumers_sample(s->consumers, registered, now);
    }
    s->pause = FIRST_PAUSE_MS;
    s->next = clock_ms(CLOCK_MONOTONIC) + s->pause;
}

static void join(struct ksm_sampler_thread *thread) {
    pthread_join(thread->id, NULL);
    thread->used = false;
}

/* ---- who is set aside ---- */

/* A free place, or that of one who has come back, if that was told. */
static struct ksm_sampler_aside *find_place(struct ksm_sampler *s) {
    for (size_t i = 0; i < KSM_SKIPPED_MAX; i++)
        if (s->aside[i].pid == 0)
            return &s->aside[i];
    for (size_t i = 0; i < KSM_SKIPPED_MAX; i++)
        if (!s->aside[i].thread && !s->aside[i].told)
            return &s->aside[i];
    return NULL;
}

static void see_who_came_back(struct ksm_sampler *s, int64_t now) {
    for (size_t i = 0; i < KSM_SKIPPED_MAX; i++) {
        struct ksm_sampler_aside *aside = &s->aside[i];
        if (aside->thread && atomic_load(&aside->thread->ended)) {
            join(aside->thread);
            aside->thread = NULL;
            aside->until = now + aside_ms;
        }
    }
}

/* The consumers must be the caller's. */
static void take_back(struct ksm_sampler *s, struct ksm_sampler_aside *aside) {
    ksm_process_list_resume(&s->consumers->processes, aside->pid);
    aside->pid = 0;
}

static void take_back_who_is_well(struct ksm_sampler *s, int64_t now) {
    for (size_t i = 0; i < KSM_SKIPPED_MAX; i++) {
        struct ksm_sampler_aside *aside = &s->aside[i];
        if (aside->pid != 0 && !aside->thread && !aside->told && now >= aside->until)
            take_back(s, aside);
    }
}

/* When to look again: soon at first, as a sample mostly takes some ms, and when patience ends. */
static void set_pause(struct ksm_sampler *s, int64_t now) {
    const int64_t reading = atomic_load(&s->current->guard.reading);
    const int64_t ends = reading > 0 ? reading + patience(s) - now : patience(s);

    s->pause = s->pause * 2 < ends ? s->pause * 2 : ends;
    if (s->pause < 1)
        s->pause = patience(s); /* nobody else can be left behind */
    s->next = now + s->pause;
}

/* Leaves the thread behind that makes the sample, if it waits for too long. */
static void leave_behind(struct ksm_sampler *s, int64_t now) {
    struct ksm_sampler_thread *thread = s->current;
    struct ksm_process_list *processes = &s->consumers->processes;
    struct ksm_sampler_aside *place = find_place(s);

    if (!place || !blocking_call_abandon(&thread->guard, now - patience(s)))
        return;
    if (place->pid != 0)
        take_back(s, place);
    *place = (struct ksm_sampler_aside){.pid = thread->guard.pid, .thread = thread};
    ksm_process_comm(&processes->reader, place->pid, place->comm);
    ksm_process_list_skip(processes, thread->guard.pid, thread->guard.fd);
    start(s, thread->registered, thread->now);
}

/* ---- a sample ---- */

bool ksm_sampler_is_due(const struct ksm_sampler *s, int64_t now) {
    /* A host that calls once an interval is a little early at times. */
    const int64_t early = s->consumers->table.interval / 20;

    return s->consumers->table.known && (s->due == INT64_MIN || now + early >= s->due);
}

static void set_due(struct ksm_sampler *s, int64_t now) {
    const int64_t interval = s->consumers->table.interval;

    if (s->due == INT64_MIN)
        s->due = now;
    s->due += interval;
    if (s->due <= now)
        s->due += (now - s->due) / interval * interval + interval;
}

void ksm_sampler_begin(struct ksm_sampler *s, bool registered, int64_t now) {
    set_due(s, now);
    if (s->current) {
        s->consumers->table.valid = false;
        s->consumers->table.trouble[KSM_CONSUMERS_LATE] = true;
        return;
    }
    take_back_who_is_well(s, now);
    start(s, registered, now);
}

/* What was read before a long wait is old after it: then all is read anew. */
static bool is_old(const struct ksm_sampler *s, const struct ksm_sampler_thread *thread,
                   int64_t now) {
    return now - thread->now > 2 * s->consumers->table.interval;
}

static int64_t count_aside(const struct ksm_sampler *s) {
    int64_t count = 0;

    for (size_t i = 0; i < KSM_SKIPPED_MAX; i++)
        count += s->aside[i].pid != 0;
    return count;
}

enum ksm_sampler_result ksm_sampler_poll(struct ksm_sampler *s, int64_t now) {
    struct ksm_sampler_thread *thread = s->current;

    see_who_came_back(s, now);
    if (!thread)
        return KSM_SAMPLER_IDLE;
    if (thread->used && !atomic_load(&thread->ended)) {
        leave_behind(s, now);
        set_pause(s, now);
        return KSM_SAMPLER_BUSY;
    }
    if (thread->used)
        join(thread);
    if (is_old(s, thread, now)) {
        start(s, thread->registered, now);
        return KSM_SAMPLER_BUSY;
    }
    s->current = NULL;
    s->consumers->processes.reader.guard = NULL;
    ksm_consumers_publish(s->consumers);
    s->consumers->table.aside = count_aside(s);
    return KSM_SAMPLER_READY;
}

int64_t ksm_sampler_next(const struct ksm_sampler *s) {
    return s->current ? s->next : INT64_MAX;
}

/* ---- the news ---- */

static void tell_aside(struct ksm_sampler_aside *aside, ksm_log_fn *tell) {
    char message[512];
    bool waiting = aside->thread != NULL;

    if (aside->pid == 0 || aside->told == waiting)
        return;
    snprintf(message, sizeof(message),
             waiting ? "process %d (%s) keeps its readers waiting: it holds the lock of its memory "
                       "(mmap_lock), or hangs in a system call that does; it is skipped, and its "
                       "savings are reported as unattributed"
                     : "process %d (%s) no longer keeps its readers waiting",
             aside->pid, aside->comm);
    tell(waiting, message);
    aside->told = waiting;
}

void ksm_sampler_log(struct ksm_sampler *s, ksm_log_fn *tell) {
    for (size_t i = 0; i < KSM_SKIPPED_MAX; i++)
        tell_aside(&s->aside[i], tell);
    ksm_log_consumers(&s->report, &s->consumers->table, s->consumers->processes.root, tell);
}

/* ---- the end ---- */

static void let_go(struct ksm_sampler_thread *thread) {
    if (atomic_load(&thread->ended))
        join(thread);
    else
        pthread_detach(thread->id);
}

/* Returns whether the consumers are this thread's again. */
static bool stop(struct ksm_sampler_thread *thread) {
    enum { TRIES = 200 }; /* ms */
    struct blocking_call *guard = &thread->guard;
    bool over = false;

    atomic_store(&guard->cancelled, true);
    for (int i = 0; i < TRIES && !over && !atomic_load(&thread->ended); i++) {
        over = blocking_call_abandon(guard, INT64_MAX);
        if (!over)
            poll(NULL, 0, 1);
    }
    if (over)
        ksm_process_list_skip(&thread->consumers->processes, guard->pid, guard->fd);
    over = over || atomic_load(&thread->ended);
    let_go(thread);
    return over;
}

void ksm_sampler_close(struct ksm_sampler *s) {
    if (!s->current || !s->current->used || stop(s->current))
        ksm_consumers_close(s->consumers);
    s->current = NULL;
    for (size_t i = 0; i < KSM_SKIPPED_MAX; i++) {
        if (s->aside[i].thread)
            let_go(s->aside[i].thread);
        s->aside[i].thread = NULL;
    }
}
