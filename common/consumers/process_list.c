/* SPDX-License-Identifier: MIT */
#include "consumers/process_list.h"

#include <errno.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "system/clock.h"
#include "system/pseudofs.h"

/* ksm_stat takes 12 to 44 µs if the first mappings are mergeable. */
enum { SLOW_US = 500 };

static bool is_capable(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0, 0, 0}, {0, 0, 0}};

    return syscall(SYS_capget, &header, data) == 0 &&
           (data[0].effective & 1U << CAP_DAC_READ_SEARCH) != 0;
}

void ksm_process_list_init(struct ksm_process_list *p, const char *root, int may_keep) {
    *p = (struct ksm_process_list){
        .root = root, .may_keep = may_keep, .opted_in = -1, .allowed_us = INT64_MAX};
    if (p->may_keep > KSM_KEPT_DESCRIPTORS_MAX)
        p->may_keep = KSM_KEPT_DESCRIPTORS_MAX;
    p->reader = (struct ksm_process_reader){.proc = -1, .source = ksm_process_find_source(root)};
    p->own = pseudofs_sees_own_pids(root);
    p->capable = is_capable();
}

/* ---- the list ---- */

/* Who has opted in stays on the list as well: its first pages are seen at once then. */
static bool belongs(const struct ksm_process *process) {
    return ksm_process_takes_part(process) || process->opted_in > 0;
}

/* The index of the first process whose pid is not below pid. */
static size_t position(const struct ksm_process_list *p, int pid) {
    size_t low = 0;
    size_t high = p->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (p->list[middle].pid < pid)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool is_listed(const struct ksm_process_list *p, size_t at, int pid) {
    return at < p->count && p->list[at].pid == pid;
}

/* NULL: there is no memory for it. */
static struct ksm_process *insert(struct ksm_process_list *p, size_t at,
                                  const struct ksm_process *process) {
    if (p->count == p->size) {
        size_t size = p->size == 0 ? 64 : p->size * 2;
        struct ksm_process *list = reallocarray(p->list, size, sizeof(*list));
        if (!list)
            return NULL;
        p->list = list;
        p->size = size;
    }
    memmove(&p->list[at + 1], &p->list[at], (p->count - at) * sizeof(*process));
    p->list[at] = *process;
    p->count++;
    return &p->list[at];
}

/* Closes its descriptors, but leaves fd to a stuck thread. */
static void release_but(struct ksm_process_list *p, struct ksm_process *process, int fd) {
    int *const kept[] = {&process->fd, &process->statm};

    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
        if (*kept[i] < 0)
            continue;
        if (*kept[i] != fd)
            close(*kept[i]);
        *kept[i] = -1;
        p->kept--;
    }
}

static void release(struct ksm_process_list *p, struct ksm_process *process) {
    release_but(p, process, -1);
}

/* Notes that a process may not be read; returns status. */
static int count_denied(struct ksm_process_list *p, int status) {
    if ((status != -EACCES && status != -EPERM) || p->look != KSM_LOOK_ROUND)
        return status;
    p->denied_now++;
    p->denial_now = status == -EPERM ? KSM_DENIED_HIDEPID1
                    : p->capable     ? KSM_DENIED_MODULE
                                     : KSM_DENIED_MODE;
    return status;
}

static void count_opted_in(struct ksm_process_list *p, const struct ksm_process *process) {
    if (process->opted_in >= 0 && p->look == KSM_LOOK_ROUND)
        p->opted_in_now = (p->opted_in_now < 0 ? 0 : p->opted_in_now) + process->opted_in;
}

/* What else is to be known of a process that is put on the list. */
static int describe(const struct ksm_process_list *p, struct ksm_process *process) {
    int status = ksm_process_read_resident(&p->reader, process);

    return status == 0 ? ksm_process_read_name(&p->reader, process, &process->name) : status;
}

/* A descriptor of its statm that may be kept, or below 0. */
static int open_statm(const struct ksm_process_list *p, const struct ksm_process *process) {
    int fd = ksm_process_open(&p->reader, process, "statm");

    if (fd >= 0 && !pseudofs_may_keep(fd)) {
        close(fd);
        return -EXDEV;
    }
    return fd;
}

/* Takes an open file of counts, and keeps it and statm if it may keep both. */
static int add_process(struct ksm_process_list *p, struct ksm_process *process, int fd,
                       bool *kept) {
    bool keep = p->kept + 2 <= p->may_keep && pseudofs_may_keep(fd);
    int64_t started = keep ? 0 : ksm_process_started(&p->reader, process);
    int status = started < 0 ? (int)started : describe(p, process);

    if (status != 0)
        return status == -ECANCELED ? status : count_denied(p, status);
    process->started = started;
    process->fd = keep ? fd : -1;
    struct ksm_process *added = insert(p, position(p, process->pid), process);
    if (!added)
        return -ENOMEM;
    *kept = keep;
    if (keep)
        added->statm = open_statm(p, process);
    p->kept += keep + (added->statm >= 0);
    return 0;
}

/* Looks at a process that is not on the list. */
static int look_at(struct ksm_process_list *p, int pid) {
    struct ksm_process process = ksm_process_of(pid);
    bool kept = false;
    int fd = -1;
    int status = ksm_process_find_counts(&p->reader, &process, &fd);

    if (status != 0)
        return count_denied(p, status);
    count_opted_in(p, &process);
    if (belongs(&process))
        status = add_process(p, &process, fd, &kept);
    if (!kept)
        close(fd);
    return status;
}

static bool is_aside(const struct ksm_process_list *p, int pid) {
    for (size_t i = 0; i < KSM_SKIPPED_MAX; i++)
        if (p->aside[i] == pid)
            return true;
    return false;
}

static int meet(struct ksm_process_list *p, int pid) {
    size_t at = position(p, pid);

    if (is_aside(p, pid))
        return 0;
    if (!is_listed(p, at, pid))
        return look_at(p, pid);
    count_opted_in(p, &p->list[at]);
    return 0;
}

void ksm_process_list_skip(struct ksm_process_list *p, int pid, int fd) {
    size_t at = position(p, pid);

    for (size_t i = 0; i < KSM_SKIPPED_MAX; i++) {
        if (p->aside[i] == 0) {
            p->aside[i] = pid;
            break;
        }
    }
    if (!is_listed(p, at, pid))
        return;
    release_but(p, &p->list[at], fd);
    p->count--;
    memmove(&p->list[at], &p->list[at + 1], (p->count - at) * sizeof(*p->list));
    if (p->refreshed > at)
        p->refreshed--;
}

void ksm_process_list_resume(struct ksm_process_list *p, int pid) {
    for (size_t i = 0; i < KSM_SKIPPED_MAX; i++)
        if (p->aside[i] == pid)
            p->aside[i] = 0;
}

/* ---- walking /proc ---- */

/* Sets *pid to that of the next entry, 0 if it is none of a process; *end at the end. */
static int next_entry(struct ksm_walk *walk, int *pid, bool *end) {
    const struct dirent *entry = NULL;
    int status = pseudofs_readdir(walk->dir, &entry);

    *end = status == 0 && !entry;
    if (status != 0 || !entry)
        return status;
    *pid = ksm_process_pid(entry->d_name);
    walk->at = entry->d_off;
    return 0;
}

/* ---- the round: everybody, in some samples ---- */

enum {
    ROUND_AT_LEAST = 256,
    ROUND_UNHURRIED = 128
}; /* entries at a sample: a small host is seen as a whole */

static int open_round(struct ksm_process_list *p) {
    if (p->round.dir) {
        rewinddir(p->round.dir);
        return 0;
    }
    int status = pseudofs_opendir(p->root, "proc", &p->round.dir);
    if (status == 0)
        p->reader.proc = dirfd(p->round.dir);
    return status;
}

static int begin_round(struct ksm_process_list *p) {
    struct stat st;
    int status = open_round(p);

    if (status != 0)
        return status;
    int proc = dirfd(p->round.dir);
    /* Process 1 always exists: if it cannot be seen, hidepid hides it. */
    p->hidden =
        fstatat(proc, "self", &st, 0) == 0 && fstatat(proc, "1", &st, 0) != 0 && errno == ENOENT;
    p->round.on = true;
    p->round.at = 0;
    p->entries = 0;
    p->denied_now = 0;
    p->denial_now = KSM_DENIED_NOT;
    p->opted_in_now = -1;
    return 0;
}

static void end_round(struct ksm_process_list *p) {
    p->round.on = false;
    p->swept = true;
    p->expected = p->entries;
    p->denied = p->denied_now;
    p->denial = p->denial_now;
    p->opted_in = p->opted_in_now;
}

static int64_t round_part(const struct ksm_process_list *p) {
    const int64_t part = p->expected / KSM_ROUND_SAMPLES + 1;

    return !p->swept                                ? INT64_MAX
           : p->all_known && part > ROUND_UNHURRIED ? ROUND_UNHURRIED
           : part > ROUND_AT_LEAST                  ? part
                                                    : ROUND_AT_LEAST;
}

/* procfs lists processes by ascending pid, at positions that are a pid and a number that differs
 * between kernels (fs/proc/base.c, TGID_OFFSET): it is what two entries in a row have in common. */
static void learn_offset(struct ksm_process_list *p, int64_t at, int pid, int64_t *last) {
    if (p->own && p->offset == 0 && at > pid && at - pid == *last)
        p->offset = *last;
    *last = at - pid;
}

/* Meets the next process of the round. The round goes on at the next sample if it has used so much
 * CPU time since begin_us that slow processes would cost too much. */
static int meet_next(struct ksm_process_list *p, int pid, int64_t begin_us) {
    const int64_t met_us = clock_us(CLOCK_MONOTONIC);
    int status = meet(p, pid);

    if (status == -ECANCELED)
        return status;
    if (p->swept && clock_us(CLOCK_MONOTONIC) - met_us >= SLOW_US &&
        clock_us(CLOCK_THREAD_CPUTIME_ID) - begin_us >= p->allowed_us)
        p->left = 0;
    return pseudofs_is_transient(status) ? status : 0;
}

/* A round that missed somebody for want of means is none: the next sample begins another. */
static int walk_round(struct ksm_process_list *p) {
    const int64_t begin_us = clock_us(CLOCK_THREAD_CPUTIME_ID);
    int64_t offset = 0;
    int status = p->round.on ? 0 : begin_round(p);

    while (status == 0 && p->round.on && p->left > 0) {
        const int64_t at = p->round.at;
        bool end = false;
        int pid = 0;
        status = next_entry(&p->round, &pid, &end);
        if (status != 0)
            break;
        if (end) {
            end_round(p);
            break;
        }
        p->left--;
        p->entries++;
        if (pid == 0)
            continue;
        learn_offset(p, at, pid, &offset);
        status = meet_next(p, pid, begin_us);
        if (status == -ECANCELED)
            return status;
    }
    if (status != 0)
        p->round.on = false;
    return status;
}

/* ---- newcomers ---- */

/* The pid that the kernel gave out last, or 0: it gives them out in ascending order, and the thread
 * that makes a sample has just been given one. */
static int latest_pid(const struct ksm_process_list *p) {
    return p->own ? (int)syscall(SYS_gettid) : 0;
}

static int open_fresh(struct ksm_process_list *p) {
    int status = p->fresh.dir ? 0 : pseudofs_opendir(p->root, "proc", &p->fresh.dir);

    if (status == 0)
        seekdir(p->fresh.dir, (long)(p->offset + p->newest + 1));
    p->fresh.on = status == 0;
    return status;
}

/* The pids after newest up to latest; or to the largest, and then anew from 1. */
static int walk_fresh(struct ksm_process_list *p) {
    int status = 0;

    while (status == 0 && p->newest != p->latest && p->offset != 0) {
        const int last = p->latest > p->newest ? p->latest : INT_MAX;
        bool end = false;
        int pid = 0;
        status = p->fresh.on ? 0 : open_fresh(p);
        if (status == 0)
            status = next_entry(&p->fresh, &pid, &end);
        if (status != 0)
            break;
        if (end || pid > last) {
            p->newest = last == INT_MAX ? 0 : last;
            p->fresh.on = false;
        } else if (pid > p->newest) {
            status = meet(p, pid);
            if (status == -ECANCELED)
                return status;
            status = pseudofs_is_transient(status) ? status : 0;
        }
    }
    p->newest = p->latest;
    p->fresh.on = false;
    return status;
}

/* ---- reading again ---- */

/* Names a process anew when it is its turn: it may run another program by now, or have been moved.
 * Its comm tells whether it is worth reading the rest before that is due anyway. */
static int rename_in_turn(const struct ksm_process_list *p, struct ksm_process *process) {
    const unsigned turn = (unsigned)process->pid + p->looks;
    char comm[sizeof(process->comm)] = "";
    struct ksm_consumer_name name;

    if (turn % KSM_ROUND_SAMPLES != 0)
        return 0;
    ssize_t n = ksm_process_read_comm(&p->reader, process, comm, sizeof(comm));
    if (n >= 0 && memcmp(comm, process->comm, sizeof(comm)) == 0 && turn % KSM_NAME_SAMPLES != 0)
        return 0;
    int status = n < 0 ? (int)n : ksm_process_read_name(&p->reader, process, &name);
    if (status == 0) {
        memcpy(process->comm, comm, sizeof(comm));
        process->name = name;
    }
    return status == -ECANCELED ? status : 0;
}

/* Whether it is not the turn of a process whose counts are slow to read. It must be known to be the
 * same process without them: by its statm, or by its start. */
static bool must_wait(const struct ksm_process_list *p, const struct ksm_process *process) {
    return process->cost_us > 0 && (p->left_us <= 0 || process->pid <= p->turn) &&
           (process->fd < 0 || process->statm >= 0);
}

/* Reads the counts, and measures that: by the wall clock, which is no system call, and by CPU time
 * once that was slow. A busy host makes any reading slow by the wall clock. */
static int read_all_counts(struct ksm_process_list *p, struct ksm_process *process, int fd) {
    const bool was_slow = process->slow;
    const int64_t zero = process->zero;
    const clockid_t clock = was_slow ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
    const int64_t begin = clock_us(clock);
    int status = ksm_process_read_counts(&p->reader, fd, process);

    if (status != 0)
        return status;
    const int64_t took_us = clock_us(clock) - begin;
    process->slow = took_us >= SLOW_US;
    process->cost_us = was_slow && process->slow ? took_us : 0;
    if (process->cost_us > 0) {
        p->left_us -= took_us;
        p->next_turn = process->pid;
    }
    /* Zero pages of more than one interval are no growth of the last one. */
    if (process->partial && process->before >= 0)
        process->before += process->zero - zero;
    process->partial = false;
    return 0;
}

static int read_merging(const struct ksm_process_list *p, struct ksm_process *process) {
    process->partial = true;
    return ksm_process_read_merging(&p->reader, process);
}

static int read_counts(struct ksm_process_list *p, struct ksm_process *process) {
    const bool kept = process->fd >= 0;

    if (must_wait(p, process))
        return read_merging(p, process);
    int fd = kept ? process->fd : ksm_process_open_counts(&p->reader, process);
    int status = fd < 0 ? fd : read_all_counts(p, process, fd);
    if (fd >= 0 && !kept && status != -ECANCELED)
        close(fd);
    return status;
}

/* Reads a process of the list again: by its descriptor, which can only be its own, or by its pid
 * if it is still the same process. */
static int refresh(struct ksm_process_list *p, struct ksm_process *process) {
    const bool kept = process->fd >= 0;
    int status = kept ? 0 : ksm_process_check(&p->reader, process);

    if (status != 0)
        return status;
    struct ksm_process got = *process;
    status = read_counts(p, &got);
    if (status == 0)
        status = ksm_process_read_resident(&p->reader, &got);
    if (status == 0 && got.partial && kept && got.resident < 0)
        return -ESRCH; /* merging was read by the pid, statm by a descriptor of the process */
    if (status == 0)
        status = rename_in_turn(p, &got);
    if (status == 0)
        *process = got;
    return status;
}

static bool has_ended(const struct ksm_process *process) {
    return process->status == -ESRCH || process->status == -ENOENT || process->status == -ENODATA ||
           (process->status == 0 && !belongs(process));
}

static void drop_ended(struct ksm_process_list *p) {
    size_t kept = 0;

    for (size_t i = 0; i < p->count; i++) {
        if (has_ended(&p->list[i]))
            release(p, &p->list[i]);
        else
            p->list[kept++] = p->list[i];
    }
    p->count = kept;
}

static int refresh_all(struct ksm_process_list *p) {
    while (p->refreshed < p->count) {
        struct ksm_process *process = &p->list[p->refreshed++];
        int status = refresh(p, process);
        if (status == -ECANCELED)
            return status;
        process->status = status;
    }
    p->refreshed = 0;
    p->turn = p->left_us > 0 ? 0 : p->next_turn;
    drop_ended(p);
    return 0;
}

/* ---- a sample ---- */

static int begin_look(struct ksm_process_list *p) {
    const int latest = latest_pid(p);

    p->newest = p->before != 0 ? p->before : latest;
    p->before = p->latest != 0 ? p->latest : latest;
    p->latest = latest;
    p->left = round_part(p);
    p->left_us = p->allowed_us;
    p->refreshed = 0;
    p->looks++;
    return 0;
}

int ksm_process_list_update(struct ksm_process_list *p, struct blocking_call *call) {
    static int (*const steps[])(struct ksm_process_list * p) = {
        [KSM_LOOK_BEGIN] = begin_look,
        [KSM_LOOK_NEW] = walk_fresh,
        [KSM_LOOK_ROUND] = walk_round,
        [KSM_LOOK_REFRESH] = refresh_all,
    };

    p->reader.call = call;
    for (; p->look <= KSM_LOOK_REFRESH; p->look++) {
        int status = steps[p->look](p);
        if (status == -ECANCELED)
            return status; /* p is another's now */
        if (status != 0) {
            p->look = KSM_LOOK_BEGIN;
            return status;
        }
    }
    p->look = KSM_LOOK_BEGIN;
    return 0;
}

void ksm_process_list_discard(struct ksm_process_list *p) {
    p->look = KSM_LOOK_BEGIN;
}

void ksm_process_list_clear(struct ksm_process_list *p) {
    for (size_t i = 0; i < p->count; i++)
        release(p, &p->list[i]);
    free(p->list);
    if (p->round.dir)
        closedir(p->round.dir);
    if (p->fresh.dir)
        closedir(p->fresh.dir);
    struct ksm_process_list cleared = {.root = p->root,
                                       .reader = p->reader,
                                       .capable = p->capable,
                                       .own = p->own,
                                       .may_keep = p->may_keep,
                                       .allowed_us = p->allowed_us,
                                       .opted_in = -1};
    cleared.reader.proc = -1;
    memcpy(cleared.aside, p->aside, sizeof(cleared.aside));
    *p = cleared;
}
