/* SPDX-License-Identifier: MIT */
#include "explain/suspects.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "system/clock.h"
#include "system/pseudofs.h"

static const int64_t least = (int64_t)SUSPECTS_MIB << 20;

/* ---- the list ---- */

/* Of the processes of one program of one consumer the largest stands for all. */
static bool is_found(const struct explain_processes *found, const struct explain_process *is) {
    for (int i = 0; i < found->count; i++) {
        const struct explain_process *other = &found->list[i];
        if (ksm_consumer_name_compare(&other->name, &is->name) == 0 &&
            strcmp(other->comm, is->comm) == 0)
            return true;
    }
    return false;
}

static void add(struct explain_processes *found, const struct explain_process *is) {
    int at = found->count;

    if (is->memory < least || (at == EXPLAIN_PROCESSES && found->list[--at].memory >= is->memory))
        return;
    for (; at > 0 && found->list[at - 1].memory < is->memory; at--)
        found->list[at] = found->list[at - 1];
    found->list[at] = *is;
    found->count += found->count < EXPLAIN_PROCESSES;
}

static bool may_be_found(const struct suspects *l, const struct suspect *one) {
    const struct explain_processes *found = &l->found;

    return !one->skipped &&
           (found->count < EXPLAIN_PROCESSES || found->list[found->count - 1].memory < one->bound);
}

/* ---- steps: 0 or -ECANCELED ---- */

static int open_one(struct suspects *l, struct suspect *one) {
    return suspect_open(one, &l->reader);
}

static int read_one(struct suspects *l, struct suspect *one) {
    if (!may_be_found(l, one))
        return 0;
    if (suspect_counts(one, &l->reader, l->page_size) != 0)
        return -ECANCELED;
    if (!explain_merges_little(&one->is, l->page_size) || is_found(&l->found, &one->is))
        return 0;
    if (suspect_mappings(one, l->reader.call, l->page_size) != 0)
        return -ECANCELED;
    if (explain_merges_little(&one->is, l->page_size))
        add(&l->found, &one->is);
    return 0;
}

static int read_pages(struct suspects *l, struct suspect *one) {
    return one->unclear ? suspect_pages(one, l->reader.call, l->page_size) : 0;
}

static int read_pages_again(struct suspects *l, struct suspect *one) {
    return one->unclear ? suspect_pages_again(one, l->reader.call, l->page_size) : 0;
}

/* ---- the worker ---- */

static void do_steps(struct blocking_call *call, void *data) {
    struct suspects *l = data;

    l->reader.call = call;
    while (l->at < l->count && l->step(l, &l->list[l->at]) == 0)
        l->at++;
}

/* A process that blocks is large by its counts, and comes on the list for that. */
static void skip_process(struct suspects *l) {
    struct suspect *one = &l->list[l->at++];

    one->skipped = one->is.waits = true;
    one->unclear = false;
    if (l->step == open_one || l->step == read_one)
        add(&l->found, &one->is);
}

/* Lets a thread run a function, and others go on with it. Reading one mapping of small pages takes
 * 22 ms a GiB. */
static void work(struct suspects *l, worker_fn *function) {
    enum { TIMEOUT_MS = 2000, MS_PER_GIB = 25 };
    const int64_t timeout = TIMEOUT_MS + (l->count > 0 ? l->list[0].bound >> 30 : 0) * MS_PER_GIB;
    struct worker_call call;
    int started = worker_start(&l->worker, function, l);

    while (started == 0 && worker_poll(&l->worker) == WORKER_RUNNING) {
        if (!worker_abandon(&l->worker, clock_ms(CLOCK_MONOTONIC) - timeout, &call)) {
            poll(NULL, 0, 1);
            continue;
        }
        if (function == do_steps)
            skip_process(l);
        started = worker_start(&l->worker, function, l);
    }
}

static void do_to_all(struct suspects *l, int (*step)(struct suspects *l, struct suspect *one)) {
    l->step = step;
    l->at = 0;
    work(l, do_steps);
}

/* ---- candidates ---- */

/* Returns 0 or -ECANCELED. */
static int consider(struct suspects *l, int pid) {
    const struct ksm_process process = ksm_process_of(pid);
    struct ksm_process_status shown;
    struct suspect one;
    int at = l->count;
    const int status = ksm_process_read_status(&l->reader, &process, &shown);

    if (status != 0)
        return status == -ECANCELED ? status : 0;
    suspect_init(&one, pid, &shown);
    if (one.bound < least || (at == SUSPECTS_CANDIDATES && l->list[--at].bound >= one.bound))
        return 0;
    ksm_process_comm(&l->reader, pid, one.is.comm);
    strcpy(one.is.name.text, one.is.comm);
    for (; at > 0 && l->list[at - 1].bound < one.bound; at--)
        l->list[at] = l->list[at - 1];
    l->list[at] = one;
    l->count += l->count < SUSPECTS_CANDIDATES;
    return 0;
}

static void find_candidates(struct blocking_call *call, void *data) {
    struct suspects *l = data;
    const struct dirent *entry = NULL;

    l->reader.call = call;
    while (pseudofs_readdir(l->proc, &entry) == 0 && entry) {
        const int pid = ksm_process_pid(entry->d_name);
        if (pid > 0 && consider(l, pid) != 0)
            return;
    }
}

void suspects_open(struct suspects *large, const char *root) {
    large->page_size = sysconf(_SC_PAGESIZE);
    worker_init(&large->worker, SUSPECTS_STUCK);
    if (getauxval(AT_SECURE) != 0 || pseudofs_opendir(root, "proc", &large->proc) != 0)
        return;
    large->reader.proc = dirfd(large->proc);
    large->reader.source = ksm_process_find_source(root);
    work(large, find_candidates);
    do_to_all(large, open_one);
}

/* The one on the list that a candidate is, or NULL. */
static struct explain_process *find(struct suspects *l, const struct suspect *one) {
    for (int i = 0; i < l->found.count; i++)
        if (l->found.list[i].pid == one->is.pid)
            return &l->found.list[i];
    return NULL;
}

/* Reads some pages of those whose cause is unclear, and again a second later. */
static void read_pages_twice(struct suspects *l) {
    do_to_all(l, read_pages);
    poll(NULL, 0, 1000);
    do_to_all(l, read_pages_again);
    for (int i = 0; i < l->count; i++) {
        struct explain_process *is = find(l, &l->list[i]);
        if (is)
            is->changed = l->list[i].is.changed;
    }
}

void suspects_read(struct suspects *large, struct explain_facts *facts) {
    struct worker_call call;
    bool any = false;

    do_to_all(large, read_one);
    facts->processes = &large->found;
    for (int i = 0; i < large->count; i++) {
        struct suspect *one = &large->list[i];
        struct explain_process *is = find(large, one);
        one->unclear =
            is && one->mappings.most > 0 && explain_cause_of(facts, is) == EXPLAIN_CAUSE_unclear;
        any = any || one->unclear;
    }
    if (any)
        read_pages_twice(large);
    worker_close(&large->worker, &call);
    if (large->proc)
        closedir(large->proc);
    large->proc = NULL;
}
