/* SPDX-License-Identifier: MIT */
#include "consumers/sampler.h"

#include <stdio.h>
#include <string.h>

#include "system/clock.h"

enum { FIRST_PAUSE_MS = 4 };

/* A process stays skipped for so long after its recovery. */
static const int64_t skip_ms = 60 * 1000;

/* If eight processes block one after another, the others can still be read within two intervals. */
static int64_t read_timeout(const struct ksm_sampler *s) {
    enum { PARTS = 5, MAX_MS = 1000 };
    int64_t part = s->consumers->table.interval / PARTS;

    return part < MAX_MS ? part : MAX_MS;
}

void ksm_sampler_init(struct ksm_sampler *s, struct ksm_consumers *consumers) {
    memset(s, 0, sizeof(*s));
    s->consumers = consumers;
    s->due = INT64_MIN;
    /* worker_start() refuses with max_stuck stuck threads. With all KSM_SKIPPED_MAX slots in use
     * there are as many, and one more thread must still run. */
    worker_init(&s->worker, KSM_SKIPPED_MAX + 1);
}

/* ---- skipped processes ---- */

/* Returns a free slot, else that of a process whose recovery was logged, or NULL. */
static struct ksm_sampler_skipped *find_slot(struct ksm_sampler *s) {
    for (size_t i = 0; i < KSM_SKIPPED_MAX; i++)
        if (s->skipped[i].pid == 0)
            return &s->skipped[i];
    for (size_t i = 0; i < KSM_SKIPPED_MAX; i++)
        if (!s->skipped[i].blocks && !s->skipped[i].logged)
            return &s->skipped[i];
    return NULL;
}

static void note_recovered(struct ksm_sampler *s, int64_t now) {
    for (size_t i = 0; i < KSM_SKIPPED_MAX; i++) {
        struct ksm_sampler_skipped *entry = &s->skipped[i];
        if (entry->blocks && !worker_is_stuck(&s->worker, entry->pid)) {
            entry->blocks = false;
            entry->until = now + skip_ms;
        }
    }
}

/* Call this and the functions below while no thread uses the consumers. */
static void skip(struct ksm_sampler *s, struct ksm_sampler_skipped *entry,
                 const struct abandoned_call *call) {
    struct ksm_process_list *processes = &s->consumers->processes;

    *entry = (struct ksm_sampler_skipped){.pid = call->pid, .blocks = true};
    ksm_process_format_comm(&processes->reader, call->pid, entry->comm);
    ksm_process_list_skip(processes, call->pid, call->fd);
}

static void resume(struct ksm_sampler *s, struct ksm_sampler_skipped *entry) {
    ksm_process_list_resume(&s->consumers->processes, entry->pid);
    entry->pid = 0;
}

static void resume_all_due(struct ksm_sampler *s, int64_t now) {
    for (size_t i = 0; i < KSM_SKIPPED_MAX; i++) {
        struct ksm_sampler_skipped *entry = &s->skipped[i];
        if (entry->pid != 0 && !entry->blocks && !entry->logged && now >= entry->until)
            resume(s, entry);
    }
}

static int64_t count_skipped(const struct ksm_sampler *s) {
    int64_t count = 0;

    for (size_t i = 0; i < KSM_SKIPPED_MAX; i++)
        if (s->skipped[i].pid != 0)
            count++;
    return count;
}

/* ---- a sample ---- */

static void make_sample(struct blocking_call *call, void *data) {
    struct ksm_sampler *s = data;

    ksm_consumers_sample(s->consumers, s->has_pages, s->began, call);
}

/* Starts a thread that begins the sample or continues it. Without pages nothing is read, so that no
 * thread is needed. */
static void start(struct ksm_sampler *s) {
    int status = 0;

    if (s->has_pages)
        status = worker_start(&s->worker, make_sample, s);
    else
        make_sample(NULL, s);
    if (status != 0)
        ksm_consumers_fail(s->consumers, status);
    s->pause = FIRST_PAUSE_MS;
    s->next = clock_ms(CLOCK_MONOTONIC) + s->pause;
}

static void begin(struct ksm_sampler *s, int64_t now) {
    s->busy = true;
    s->began = now;
    start(s);
}

/* Abandons the running thread if its call takes too long and the process can be skipped. */
static void abandon_if_stuck(struct ksm_sampler *s, int64_t now) {
    struct ksm_sampler_skipped *entry = find_slot(s);
    struct abandoned_call call;

    if (!entry || !worker_abandon(&s->worker, now - read_timeout(s), &call))
        return;
    if (entry->pid != 0)
        resume(s, entry);
    skip(s, entry, &call);
    start(s);
}

/* Polls soon at first, as most samples take some ms, then at doubled pauses until the read timeout
 * ends. After that the thread is merely runnable, or there is no slot for another process. */
static void set_pause(struct ksm_sampler *s, int64_t now) {
    const int64_t since = worker_call_began(&s->worker);
    const int64_t left = since > 0 ? since + read_timeout(s) - now : read_timeout(s);

    s->pause = s->pause * 2 < left ? s->pause * 2 : left;
    if (s->pause < 1)
        s->pause = read_timeout(s);
    s->next = now + s->pause;
}

bool ksm_sampler_is_due(const struct ksm_sampler *s, int64_t now) {
    /* A daemon that calls once an interval may call a little early. */
    const int64_t early = s->consumers->table.interval / 20;

    return s->consumers->table.enabled && (s->due == INT64_MIN || now + early >= s->due);
}

static void set_due(struct ksm_sampler *s, int64_t now) {
    const int64_t interval = s->consumers->table.interval;

    if (s->due == INT64_MIN)
        s->due = now;
    s->due += interval;
    if (s->due <= now)
        s->due += (now - s->due) / interval * interval + interval;
}

void ksm_sampler_begin(struct ksm_sampler *s, bool has_pages, int64_t now) {
    set_due(s, now);
    if (s->busy) {
        s->consumers->table.valid = false;
        s->consumers->table.faults[KSM_CONSUMERS_LATE] = true;
        return;
    }
    resume_all_due(s, now);
    s->has_pages = has_pages;
    begin(s, now);
}

enum ksm_sampler_result ksm_sampler_poll(struct ksm_sampler *s, int64_t now) {
    enum worker_state state = worker_poll(&s->worker);

    note_recovered(s, now);
    if (!s->busy)
        return KSM_SAMPLER_IDLE;
    if (state == WORKER_RUNNING) {
        abandon_if_stuck(s, now);
        set_pause(s, now);
        return KSM_SAMPLER_BUSY;
    }
    if (now - s->began > 2 * s->consumers->table.interval) {
        begin(s, now);
        return KSM_SAMPLER_BUSY;
    }
    s->busy = false;
    ksm_consumers_publish(s->consumers);
    s->consumers->table.sweep.skipped = count_skipped(s);
    return KSM_SAMPLER_READY;
}

int64_t ksm_sampler_next(const struct ksm_sampler *s) {
    return s->busy ? s->next : INT64_MAX;
}

void ksm_sampler_close(struct ksm_sampler *s) {
    struct abandoned_call call;

    if (worker_close(&s->worker, &call)) {
        if (call.pid != 0)
            ksm_process_list_skip(&s->consumers->processes, call.pid, call.fd);
        ksm_consumers_close(s->consumers);
    }
    s->busy = false;
}

/* ---- the log ---- */

/* Returns whether a line about this process may be logged: a recovery if its blocking was. */
static bool admit_entry(struct ksm_sampler *s, struct ksm_sampler_skipped *entry, int64_t now) {
    if (entry->blocks)
        entry->withheld = !ksm_log_admit(&s->log_limit, now);
    return !entry->withheld;
}

static void log_entry(struct ksm_sampler *s, struct ksm_sampler_skipped *entry, int64_t now,
                      ksm_log_fn *log) {
    char message[512];

    if (entry->pid == 0 || entry->logged == entry->blocks)
        return;
    entry->logged = entry->blocks;
    if (!admit_entry(s, entry, now))
        return;
    if (entry->blocks)
        snprintf(message, sizeof(message),
                 "process %d (%s): reading its /proc files blocks (a lock is held); skipped, its "
                 "savings count as unattributed",
                 entry->pid, entry->comm);
    else
        snprintf(message, sizeof(message),
                 "process %d (%s): its /proc files can be read again; included after %d s",
                 entry->pid, entry->comm, (int)(skip_ms / 1000));
    log(entry->blocks, message);
}

static void log_withheld(struct ksm_sampler *s, int64_t now, ksm_log_fn *log) {
    const int withheld = ksm_log_withheld(&s->log_limit, now);
    char message[256];

    if (withheld == 0)
        return;
    snprintf(message, sizeof(message),
             "in the last minute, reading /proc files of processes blocked %d more times; skipped, "
             "their savings count as unattributed",
             withheld);
    log(true, message);
}

void ksm_sampler_log(struct ksm_sampler *s, ksm_log_fn *log) {
    const int64_t now = clock_ms(CLOCK_MONOTONIC);

    for (size_t i = 0; i < KSM_SKIPPED_MAX; i++)
        log_entry(s, &s->skipped[i], now, log);
    log_withheld(s, now, log);
    ksm_log_consumers(&s->log_state, &s->consumers->table, s->consumers->processes.root, log);
}
