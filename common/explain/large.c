/* SPDX-License-Identifier: MIT */
#include "large.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "clock.h"
#include "parse.h"
#include "pseudofs.h"

static const int64_t least = (int64_t)LARGE_MIB << 20;

/* ---- who comes on the list ---- */

/* Of the processes of one program of one consumer the largest stands for all. */
static bool is_found(const struct explain_processes *found, const struct explain_process *is) {
    for (int i = 0; i < found->count; i++) {
        const struct explain_process *other = &found->list[i];
        if (other->name.kind == is->name.kind && strcmp(other->name.text, is->name.text) == 0 &&
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

static bool may_be_found(const struct large *l, const struct inspected *one) {
    const struct explain_processes *found = &l->found;

    return one->fd[INSPECT_DIR] >= 0 &&
           (found->count < EXPLAIN_PROCESSES || found->list[found->count - 1].memory < one->bound);
}

/* ---- steps ---- */

static bool open_one(struct large *l, struct inspected *one, struct ksm_guard *guard) {
    return inspect_open(one, guard, l->proc);
}

static bool read_one(struct large *l, struct inspected *one, struct ksm_guard *guard) {
    if (!may_be_found(l, one))
        return true;
    if (!inspect_counts(one, guard, l->page_size))
        return false;
    if (!explain_merges_little(&one->is, l->page_size) || is_found(&l->found, &one->is))
        return true;
    if (!inspect_mappings(one, guard, l->page_size))
        return false;
    if (explain_merges_little(&one->is, l->page_size))
        add(&l->found, &one->is);
    return true;
}

static bool read_pages(struct large *l, struct inspected *one, struct ksm_guard *guard) {
    return !one->unclear || inspect_pages(one, guard, l->page_size);
}

static bool read_pages_again(struct large *l, struct inspected *one, struct ksm_guard *guard) {
    return !one->unclear || inspect_pages_again(one, guard, l->page_size);
}

/* ---- threads ---- */

static void *work(void *data) {
    struct large_thread *thread = data;
    struct large *l = thread->large;

    ksm_guard_begin(&thread->guard);
    while (l->at < l->count && l->step(l, &l->list[l->at], &thread->guard))
        l->at++;
    atomic_store(&thread->ended, true);
    return NULL;
}

/* NULL: there is none any more. */
static struct large_thread *begin(struct large *l) {
    struct large_thread *thread = l->threads;

    while (thread->used)
        if (++thread > &l->threads[LARGE_ASIDE])
            return NULL;
    memset(thread, 0, sizeof(*thread));
    thread->large = l;
    thread->used = pthread_create(&thread->id, NULL, work, thread) == 0;
    return thread->used ? thread : NULL;
}

/* Who keeps a reader waiting is large by its counts, and comes on the list for that. */
static void set_aside(struct large *l) {
    struct inspected *one = &l->list[l->at++];

    one->is.waits = true;
    one->unclear = false;
    one->fd[INSPECT_DIR] = -ESRCH;
    if (l->step == open_one || l->step == read_one)
        add(&l->found, &one->is);
}

/* Does a step with all candidates. Reading one mapping of small pages takes 22 ms a GiB. */
static void work_through(struct large *l,
                         bool (*step)(struct large *, struct inspected *, struct ksm_guard *)) {
    const int64_t patience = 2000 + (l->count > 0 ? l->list[0].bound >> 30 : 0) * 25;

    l->step = step;
    l->at = 0;
    for (struct large_thread *thread = begin(l); thread; poll(NULL, 0, 1)) {
        if (atomic_load(&thread->ended)) {
            pthread_join(thread->id, NULL);
            thread->used = false;
            return;
        }
        if (ksm_guard_take_over(&thread->guard, clock_ms(CLOCK_MONOTONIC) - patience)) {
            set_aside(l);
            thread = begin(l);
        }
    }
}

/* ---- candidates ---- */

static void consider(struct large *l, int pid) {
    char path[32], status[8192];
    int at = l->count;

    snprintf(path, sizeof(path), "%d/status", pid);
    int fd = pseudofs_openat(l->proc, path);
    ssize_t n = fd < 0 ? fd : pseudofs_read_fd(fd, true, status, sizeof(status) - 1);
    if (fd >= 0)
        close(fd);
    status[n > 0 ? n : 0] = '\0';
    struct inspected one;
    inspect_status(&one, pid, status);
    if (one.bound < least || (at == LARGE_CANDIDATES && l->list[--at].bound >= one.bound))
        return;
    for (; at > 0 && l->list[at - 1].bound < one.bound; at--)
        l->list[at] = l->list[at - 1];
    l->list[at] = one;
    l->count += l->count < LARGE_CANDIDATES;
}

void large_open(struct large *large, const char *root) {
    const struct dirent *entry = NULL;
    DIR *dir = NULL;
    int64_t pid = 0;

    large->page_size = sysconf(_SC_PAGESIZE);
    if (getauxval(AT_SECURE) != 0 || pseudofs_opendir(root, "proc", &dir) != 0)
        return;
    large->proc = dirfd(dir);
    while (pseudofs_readdir(dir, &entry) == 0 && entry)
        if (parse_number(entry->d_name, strlen(entry->d_name), &pid) == 0 && pid <= INT_MAX)
            consider(large, (int)pid);
    work_through(large, open_one);
    closedir(dir);
}

/* The one on the list that a candidate is, or NULL. */
static struct explain_process *find(struct large *l, const struct inspected *one) {
    for (int i = 0; i < l->found.count; i++)
        if (l->found.list[i].pid == one->is.pid)
            return &l->found.list[i];
    return NULL;
}

void large_read(struct large *large, struct explain_facts *facts) {
    bool any = false;

    work_through(large, read_one);
    facts->processes = &large->found;
    for (int i = 0; i < large->count; i++) {
        struct inspected *one = &large->list[i];
        struct explain_process *is = find(large, one);
        one->unclear =
            is && one->mappings.most > 0 && explain_cause_of(facts, is) == EXPLAIN_CAUSE_unclear;
        any = any || one->unclear;
    }
    if (!any)
        return;
    work_through(large, read_pages);
    poll(NULL, 0, 1000);
    work_through(large, read_pages_again);
    for (int i = 0; i < large->count; i++) {
        struct explain_process *is = find(large, &large->list[i]);
        if (is)
            is->changed = large->list[i].is.changed;
    }
}
