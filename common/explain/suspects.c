/* SPDX-License-Identifier: MIT */
#include "explain/suspects.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "system/clock.h"
#include "system/parse.h"
#include "system/pseudofs.h"

static const int64_t least = (int64_t)SUSPECTS_MIB << 20;

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

static bool may_be_found(const struct suspects *l, const struct suspect *one) {
    const struct explain_processes *found = &l->found;

    return one->fd[SUSPECT_DIR] >= 0 &&
           (found->count < EXPLAIN_PROCESSES || found->list[found->count - 1].memory < one->bound);
}

/* ---- steps ---- */

static bool open_one(struct suspects *l, struct suspect *one, struct blocking_call *guard) {
    return suspect_open(one, guard, l->proc);
}

static bool read_one(struct suspects *l, struct suspect *one, struct blocking_call *guard) {
    if (!may_be_found(l, one))
        return true;
    if (!suspect_counts(one, guard, l->page_size))
        return false;
    if (!explain_merges_little(&one->is, l->page_size) || is_found(&l->found, &one->is))
        return true;
    if (!suspect_mappings(one, guard, l->page_size))
        return false;
    if (explain_merges_little(&one->is, l->page_size))
        add(&l->found, &one->is);
    return true;
}

static bool read_pages(struct suspects *l, struct suspect *one, struct blocking_call *guard) {
    return !one->unclear || suspect_pages(one, guard, l->page_size);
}

static bool read_pages_again(struct suspects *l, struct suspect *one, struct blocking_call *guard) {
    return !one->unclear || suspect_pages_again(one, guard, l->page_size);
}

/* ---- threads ---- */

static void *work(void *data) {
    struct suspects_thread *thread = data;
    struct suspects *l = thread->large;

    blocking_call_set_thread(&thread->guard);
    while (l->at < l->count && l->step(l, &l->list[l->at], &thread->guard))
        l->at++;
    atomic_store(&thread->ended, true);
    return NULL;
}

/* NULL: there is none any more. */
static struct suspects_thread *begin(struct suspects *l) {
    struct suspects_thread *thread = l->threads;

    while (thread->used)
        if (++thread > &l->threads[SUSPECTS_ASIDE])
            return NULL;
    memset(thread, 0, sizeof(*thread));
    thread->large = l;
    thread->used = pthread_create(&thread->id, NULL, work, thread) == 0;
    return thread->used ? thread : NULL;
}

/* Who keeps a reader waiting is large by its counts, and comes on the list for that. */
static void set_aside(struct suspects *l) {
    struct suspect *one = &l->list[l->at++];

    one->is.waits = true;
    one->unclear = false;
    one->fd[SUSPECT_DIR] = -ESRCH;
    if (l->step == open_one || l->step == read_one)
        add(&l->found, &one->is);
}

/* Does a step with all candidates. Reading one mapping of small pages takes 22 ms a GiB. */
static void work_through(struct suspects *l, bool (*step)(struct suspects *, struct suspect *,
                                                          struct blocking_call *)) {
    const int64_t patience = 2000 + (l->count > 0 ? l->list[0].bound >> 30 : 0) * 25;

    l->step = step;
    l->at = 0;
    for (struct suspects_thread *thread = begin(l); thread; poll(NULL, 0, 1)) {
        if (atomic_load(&thread->ended)) {
            pthread_join(thread->id, NULL);
            thread->used = false;
            return;
        }
        if (blocking_call_abandon(&thread->guard, clock_ms(CLOCK_MONOTONIC) - patience)) {
            set_aside(l);
            thread = begin(l);
        }
    }
}

/* ---- candidates ---- */

static void consider(struct suspects *l, int pid) {
    char path[32], status[8192];
    int at = l->count;

    snprintf(path, sizeof(path), "%d/status", pid);
    int fd = pseudofs_openat(l->proc, path);
    ssize_t n = fd < 0 ? fd : pseudofs_read_fd(fd, true, status, sizeof(status) - 1);
    if (fd >= 0)
        close(fd);
    status[n > 0 ? n : 0] = '\0';
    struct suspect one;
    suspect_status(&one, pid, status);
    if (one.bound < least || (at == SUSPECTS_CANDIDATES && l->list[--at].bound >= one.bound))
        return;
    for (; at > 0 && l->list[at - 1].bound < one.bound; at--)
        l->list[at] = l->list[at - 1];
    l->list[at] = one;
    l->count += l->count < SUSPECTS_CANDIDATES;
}

void suspects_open(struct suspects *large, const char *root) {
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
static struct explain_process *find(struct suspects *l, const struct suspect *one) {
    for (int i = 0; i < l->found.count; i++)
        if (l->found.list[i].pid == one->is.pid)
            return &l->found.list[i];
    return NULL;
}

void suspects_read(struct suspects *large, struct explain_facts *facts) {
    bool any = false;

    work_through(large, read_one);
    facts->processes = &large->found;
    for (int i = 0; i < large->count; i++) {
        struct suspect *one = &large->list[i];
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
