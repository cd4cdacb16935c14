/* SPDX-License-Identifier: MIT */
#include "processes.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "owner.h"
#include "parse.h"
#include "pseudofs.h"

static bool find_file(const char *root, const char *process, const char *name, struct stat *st) {
    struct pseudofs_file file;
    char path[PATH_MAX];

    pseudofs_init(&file, root, process, name);
    return pseudofs_path(&file, path, sizeof(path)) == 0 && stat(path, st) == 0;
}

static bool exists(const char *root, const char *process, const char *name) {
    struct stat st;

    return find_file(root, process, name, &st);
}

/* Asks the process that reads, or process 1 where /proc is not the reader's own. */
static enum ksm_process_source find_source(const char *root) {
    if (exists(root, "proc/self", "ksm_stat") || exists(root, "proc/1", "ksm_stat"))
        return KSM_PROCESS_STAT;
    if (exists(root, "proc/self", "ksm_merging_pages") ||
        exists(root, "proc/1", "ksm_merging_pages"))
        return KSM_PROCESS_MERGING_PAGES;
    return KSM_PROCESS_NOTHING;
}

/* In the procfs of another PID namespace this program's pid is somebody else's, or nobody's. */
static bool is_own(const char *root) {
    struct stat self, pid;
    char dir[32];

    snprintf(dir, sizeof(dir), "proc/%d", (int)getpid());
    return find_file(root, "proc/self", "", &self) && find_file(root, dir, "", &pid) &&
           self.st_ino == pid.st_ino && self.st_dev == pid.st_dev;
}

static bool is_capable(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0, 0, 0}, {0, 0, 0}};

    return syscall(SYS_capget, &header, data) == 0 &&
           (data[0].effective & 1U << CAP_DAC_READ_SEARCH) != 0;
}

void ksm_processes_init(struct ksm_processes *p, const char *root, int may_keep) {
    *p = (struct ksm_processes){.root = root, .may_keep = may_keep, .opted_in = -1};
    if (p->may_keep > KSM_PROCESSES_KEPT)
        p->may_keep = KSM_PROCESSES_KEPT;
    p->source = find_source(root);
    p->own = is_own(root);
    p->capable = is_capable();
}

/* ---- one process ---- */

static int open_process_file(const struct ksm_processes *p, const struct ksm_process *process,
                             const char *name) {
    char path[64];

    if (process->task == process->pid)
        snprintf(path, sizeof(path), "%d/%s", process->pid, name);
    else
        snprintf(path, sizeof(path), "%d/task/%d/%s", process->pid, process->task, name);
    return pseudofs_openat(dirfd(p->round.dir), path);
}

/* Bytes, or -errno: -ECANCELED as in the header, then fd is the caller's; whole: as in
 * pseudofs_read, a file of one line is that anyway. */
static ssize_t read_open(const struct ksm_processes *p, int pid, int fd, bool whole, char *buf,
                         size_t size) {
    struct ksm_guard *const guard = p->guard; /* p may be another's afterwards */

    if (!ksm_guard_enter(guard, pid, fd))
        return -EINTR;
    ssize_t n = pseudofs_read_fd(fd, whole, buf, size);
    return ksm_guard_leave(guard) ? n : -ECANCELED;
}

static ssize_t read_file(const struct ksm_processes *p, const struct ksm_process *process,
                         const char *name, bool whole, char *buf, size_t size) {
    int fd = open_process_file(p, process, name);

    if (fd < 0)
        return fd;
    ssize_t n = read_open(p, process->pid, fd, whole, buf, size);
    close(fd);
    return n;
}

static int stat_field(const char *text, size_t len, const char *key, int64_t *value) {
    const char *field = NULL;
    size_t field_len = 0;
    int status = parse_field(text, len, key, &field, &field_len);

    return status == 0 ? parse_count(field, field_len, value) : status;
}

/* Of a file that takes no lock of the process (fs/proc/base.c, proc_pid_ksm_merging_pages). */
static int read_merging_pages(const struct ksm_processes *p, struct ksm_process *process) {
    char buf[64];
    int fd = open_process_file(p, process, "ksm_merging_pages");
    ssize_t n = fd < 0 ? fd : pseudofs_read_fd(fd, false, buf, sizeof(buf));

    if (fd >= 0)
        close(fd);
    return n < 0 ? (int)n : parse_number(buf, (size_t)n, &process->merging);
}

/* Whether any of its memory may be merged; the line came with 6.14. */
static int parse_opted_in(const char *text, size_t len) {
    const char *field = NULL;
    size_t field_len = 0;

    if (parse_field(text, len, "ksm_mergeable:", &field, &field_len) != 0)
        return -1;
    return field_len == 3 && memcmp(field, "yes", 3) == 0;
}

/* ksm_stat had only ksm_rmap_items until 6.4; ksm_zero_pages came with 6.6. */
static int parse_ksm_stat(const struct ksm_processes *p, const char *text, size_t len,
                          struct ksm_process *process) {
    struct ksm_process got = *process;
    int status = stat_field(text, len, "ksm_rmap_items", &got.rmap_items);

    if (status == 0) {
        status = stat_field(text, len, "ksm_merging_pages", &got.merging);
        if (status == -ENOENT)
            status = read_merging_pages(p, &got);
    }
    if (status == 0) {
        status = stat_field(text, len, "ksm_zero_pages", &got.zero);
        if (status == -ENOENT) {
            got.zero = 0;
            status = 0;
        }
    }
    got.opted_in = parse_opted_in(text, len);
    if (status == 0)
        *process = got;
    return status;
}

/* ksm_merging_pages stands after the other counts (fs/proc/base.c). ksm_mergeable stands after it,
 * which does not matter: one read gives the whole file, and a cut one is read on only for the
 * counts. */
static bool has_all(const char *text, size_t len) {
    const char *field = NULL;
    size_t field_len = 0;

    return parse_field(text, len, "ksm_merging_pages", &field, &field_len) == 0;
}

/* Reads what KSM does for a process from its open file. -ESRCH: there is no such process any more;
 * -ENODATA: nothing is left of the thread, or it is one of the kernel's. One read gives all of
 * ksm_stat; it is read on to its end only where something is lacking, from then on always. */
static int read_counts(struct ksm_processes *p, int fd, struct ksm_process *process) {
    char buf[512];
    ssize_t n = read_open(p, process->pid, fd, p->whole, buf, sizeof(buf));

    if (n <= 0)
        return n == 0 ? -ENODATA : (int)n;
    if (p->source == KSM_PROCESS_MERGING_PAGES)
        return parse_number(buf, (size_t)n, &process->merging);
    if (!p->whole && !has_all(buf, (size_t)n)) {
        p->whole = true;
        return read_counts(p, fd, process);
    }
    return parse_ksm_stat(p, buf, (size_t)n, process);
}

static int open_counts(const struct ksm_processes *p, const struct ksm_process *process) {
    return open_process_file(p, process,
                             p->source == KSM_PROCESS_STAT ? "ksm_stat" : "ksm_merging_pages");
}

bool ksm_process_takes_part(const struct ksm_process *process) {
    return process->merging > 0 || process->zero > 0 || process->rmap_items > 0;
}

/* Who has opted in stays on the list as well: its first pages are seen at once then. */
static bool belongs(const struct ksm_process *process) {
    return ksm_process_takes_part(process) || process->opted_in > 0;
}

/* The second and third field of statm (fs/proc/task_mmu.c, task_statm), which takes no lock of the
 * process: a kept descriptor, on procfs, need not be watched. */
static int read_resident(const struct ksm_processes *p, struct ksm_process *process) {
    char buf[128];
    int64_t pages[3] = {0, 0, 0};
    ssize_t n = process->statm >= 0 ? pseudofs_read_fd(process->statm, false, buf, sizeof(buf))
                                    : read_file(p, process, "statm", false, buf, sizeof(buf));
    const char *at = buf;

    process->resident = process->mapped = -1;
    if (n == -ECANCELED)
        return -ECANCELED;
    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
        const char *end = n > 0 ? memchr(at, ' ', (size_t)(buf + n - at)) : NULL;
        if (!end || parse_number(at, (size_t)(end - at), &pages[i]) != 0)
            return 0;
        at = end + 1;
    }
    if (pages[2] > pages[1])
        return 0;
    process->resident = pages[1];
    process->mapped = pages[2];
    return 0;
}

/* When it was started; 0 if that cannot be read; -errno if only not at this moment. */
static int64_t read_started(const struct ksm_processes *p, const struct ksm_process *process) {
    char buf[1024];
    struct parse_stat stat;
    ssize_t n = read_file(p, process, "stat", true, buf, sizeof(buf));

    if (n == -ECANCELED || pseudofs_is_transient((int)n))
        return n;
    return n > 0 && parse_stat(buf, (size_t)n, &stat) == 0 ? stat.started : 0;
}

/* Sets *len to the bytes read: 0 if there are none or no such file, and the start of a text that
 * does not fit. */
static int read_text(const struct ksm_processes *p, const struct ksm_process *process,
                     const char *name, char *buf, size_t size, size_t *len) {
    ssize_t n = read_file(p, process, name, true, buf, size);

    *len = n == -EFBIG ? size : n > 0 ? (size_t)n : 0;
    return n < 0 && n != -EFBIG && n != -ENOENT ? (int)n : 0;
}

/* What could not be read would give it another's name: then it has none, or keeps that it has. */
static int read_name(const struct ksm_processes *p, const struct ksm_process *process,
                     struct ksm_name *name) {
    char cgroup[8192];
    char cmdline[8192];
    char comm[64 + 1];
    struct ksm_identity identity = {.cgroup = cgroup, .cmdline = cmdline, .comm = comm};
    int status = read_text(p, process, "cgroup", cgroup, sizeof(cgroup), &identity.cgroup_len);

    if (status == 0)
        status = read_text(p, process, "cmdline", cmdline, sizeof(cmdline), &identity.cmdline_len);
    if (status == 0)
        status = read_text(p, process, "comm", comm, sizeof(comm), &identity.comm_len);
    if (status == 0)
        ksm_owner_of(&identity, name);
    return status;
}

void ksm_processes_comm(const struct ksm_processes *p, int pid, char text[static KSM_NAME_SIZE]) {
    const struct ksm_process process = {.pid = pid, .task = pid};
    char comm[64 + 1];
    int fd = open_process_file(p, &process, "comm");
    ssize_t n = fd < 0 ? fd : pseudofs_read_fd(fd, true, comm, sizeof(comm));

    if (fd >= 0)
        close(fd);
    if (n > 1)
        ksm_name_clean(comm, (size_t)n - 1, text);
    else
        snprintf(text, KSM_NAME_SIZE, "?");
}

/* ---- the list ---- */

/* The index of the first process whose pid is not below pid. */
static size_t position(const struct ksm_processes *p, int pid) {
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

static bool is_listed(const struct ksm_processes *p, size_t at, int pid) {
    return at < p->count && p->list[at].pid == pid;
}

/* NULL: there is no memory for it. */
static struct ksm_process *insert(struct ksm_processes *p, size_t at,
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

static void release(struct ksm_processes *p, struct ksm_process *process) {
    int *const kept[] = {&process->fd, &process->statm};

    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
        if (*kept[i] < 0)
            continue;
        close(*kept[i]);
        *kept[i] = -1;
        p->kept--;
    }
}

/* Notes that a process may not be read; returns status. */
static int count_denied(struct ksm_processes *p, int status) {
    if ((status != -EACCES && status != -EPERM) || p->look != KSM_LOOK_ROUND)
        return status;
    p->denied_now++;
    p->denial_now = status == -EPERM ? KSM_DENIED_HIDEPID1
                    : p->capable     ? KSM_DENIED_MODULE
                                     : KSM_DENIED_MODE;
    return status;
}

static void count_opted_in(struct ksm_processes *p, const struct ksm_process *process) {
    if (process->opted_in >= 0 && p->look == KSM_LOOK_ROUND)
        p->opted_in_now = (p->opted_in_now < 0 ? 0 : p->opted_in_now) + process->opted_in;
}

/* Reads the counts by another file, which takes the place of *fd if there is anything in it. */
static int read_task(struct ksm_processes *p, int task, struct ksm_process *process, int *fd) {
    struct ksm_process got = *process;

    got.task = task;
    int other = open_counts(p, &got);
    if (other < 0)
        return other;
    int status = read_counts(p, other, &got);
    if (status != 0) {
        close(other);
        return status;
    }
    close(*fd);
    *fd = other;
    *process = got;
    return 0;
}

static int pid_of(const char *name);

/* A process whose first thread has ended (pthread_exit() in main) reads empty as a whole; its other
 * threads do not. Kernel threads and zombies have no others. */
static int read_other_thread(struct ksm_processes *p, struct ksm_process *process, int *fd) {
    const struct dirent *entry = NULL;
    int status = -ENODATA;
    int tasks = open_process_file(p, process, "task");
    DIR *dir = tasks < 0 ? NULL : fdopendir(tasks);

    if (!dir && tasks >= 0)
        close(tasks);
    while (dir && status == -ENODATA && pseudofs_readdir(dir, &entry) == 0 && entry) {
        int task = pid_of(entry->d_name);
        if (task > 0 && task != process->pid)
            status = read_task(p, task, process, fd);
    }
    if (dir)
        closedir(dir);
    return status == -ENODATA ? -ESRCH : status;
}

/* What else is to be known of a process that is put on the list. */
static int describe(const struct ksm_processes *p, struct ksm_process *process) {
    int status = read_resident(p, process);

    return status == 0 ? read_name(p, process, &process->name) : status;
}

/* A descriptor of its statm that may be kept, or below 0. */
static int open_statm(const struct ksm_processes *p, const struct ksm_process *process) {
    int fd = open_process_file(p, process, "statm");

    if (fd >= 0 && !pseudofs_may_keep(fd)) {
        close(fd);
        return -EXDEV;
    }
    return fd;
}

/* Takes an open file of counts, and keeps it and statm if it may keep both. */
static int add_process(struct ksm_processes *p, struct ksm_process *process, int fd, bool *kept) {
    bool keep = p->kept + 2 <= p->may_keep && pseudofs_may_keep(fd);
    int64_t started = keep ? 0 : read_started(p, process);
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
static int look_at(struct ksm_processes *p, int pid) {
    struct ksm_process process = {.pid = pid,
                                  .task = pid,
                                  .fd = -1,
                                  .statm = -1,
                                  .resident = -1,
                                  .mapped = -1,
                                  .before = -1,
                                  .opted_in = -1};
    bool kept = false;
    int fd = open_counts(p, &process);

    if (fd < 0)
        return count_denied(p, fd);
    int status = read_counts(p, fd, &process);
    if (status == -ENODATA)
        status = read_other_thread(p, &process, &fd);
    if (status == 0) {
        count_opted_in(p, &process);
        if (belongs(&process))
            status = add_process(p, &process, fd, &kept);
    }
    if (!kept)
        close(fd);
    return status;
}

static bool is_aside(const struct ksm_processes *p, int pid) {
    for (size_t i = 0; i < KSM_ASIDE; i++)
        if (p->aside[i] == pid)
            return true;
    return false;
}

static int meet(struct ksm_processes *p, int pid) {
    size_t at = position(p, pid);

    if (is_aside(p, pid))
        return 0;
    if (!is_listed(p, at, pid))
        return look_at(p, pid);
    count_opted_in(p, &p->list[at]);
    return 0;
}

void ksm_processes_set_aside(struct ksm_processes *p, int pid, int fd) {
    size_t at = position(p, pid);

    for (size_t i = 0; i < KSM_ASIDE; i++) {
        if (p->aside[i] == 0) {
            p->aside[i] = pid;
            break;
        }
    }
    if (!is_listed(p, at, pid))
        return;
    if (p->list[at].fd == fd && fd >= 0) {
        p->list[at].fd = -1;
        p->kept--;
    }
    release(p, &p->list[at]);
    p->count--;
    memmove(&p->list[at], &p->list[at + 1], (p->count - at) * sizeof(*p->list));
    if (p->refreshed > at)
        p->refreshed--;
}

void ksm_processes_take_back(struct ksm_processes *p, int pid) {
    for (size_t i = 0; i < KSM_ASIDE; i++)
        if (p->aside[i] == pid)
            p->aside[i] = 0;
}

/* ---- walking /proc ---- */

/* The pid that a name of /proc is, or 0. */
static int pid_of(const char *name) {
    int64_t pid = 0;

    return parse_number(name, strlen(name), &pid) == 0 && pid <= INT_MAX ? (int)pid : 0;
}

/* Sets *pid to that of the next entry, 0 if it is none of a process; *end at the end. */
static int next_entry(struct ksm_walk *walk, int *pid, bool *end) {
    const struct dirent *entry = NULL;
    int status = pseudofs_readdir(walk->dir, &entry);

    *end = status == 0 && !entry;
    if (status != 0 || !entry)
        return status;
    *pid = pid_of(entry->d_name);
    walk->at = entry->d_off;
    return 0;
}

/* ---- the round: everybody, in some samples ---- */

enum {
    ROUND_AT_LEAST = 256,
    ROUND_UNHURRIED = 128
}; /* entries at a sample: a small host is seen as a whole */

static int open_round(struct ksm_processes *p) {
    if (!p->round.dir)
        return pseudofs_opendir(p->root, "proc", &p->round.dir);
    rewinddir(p->round.dir);
    return 0;
}

int ksm_processes_next(struct ksm_processes *p, int *pid) {
    bool end = false;
    int status = p->round.dir ? 0 : open_round(p);

    for (*pid = 0; status == 0 && *pid == 0 && !end;)
        status = next_entry(&p->round, pid, &end);
    return status;
}

int ksm_processes_name(struct ksm_processes *p, int pid, struct ksm_name *name) {
    const struct ksm_process process = {.pid = pid, .task = pid};
    int status = p->round.dir ? 0 : open_round(p);

    return status == 0 ? read_name(p, &process, name) : status;
}

int64_t ksm_processes_started(struct ksm_processes *p, int pid) {
    const struct ksm_process process = {.pid = pid, .task = pid};
    int status = p->round.dir ? 0 : open_round(p);

    return status == 0 ? read_started(p, &process) : status;
}

static int begin_round(struct ksm_processes *p) {
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

static void end_round(struct ksm_processes *p) {
    p->round.on = false;
    p->swept = true;
    p->expected = p->entries;
    p->denied = p->denied_now;
    p->denial = p->denial_now;
    p->opted_in = p->opted_in_now;
}

static int64_t round_part(const struct ksm_processes *p) {
    const int64_t part = p->expected / KSM_ROUND_SAMPLES + 1;

    return !p->swept                                ? INT64_MAX
           : p->all_known && part > ROUND_UNHURRIED ? ROUND_UNHURRIED
           : part > ROUND_AT_LEAST                  ? part
                                                    : ROUND_AT_LEAST;
}

/* procfs lists processes by ascending pid, at positions that are a pid and a number that differs
 * between kernels (fs/proc/base.c, TGID_OFFSET): it is what two entries in a row have in common. */
static void learn_offset(struct ksm_processes *p, int64_t at, int pid, int64_t *last) {
    if (p->own && p->offset == 0 && at > pid && at - pid == *last)
        p->offset = *last;
    *last = at - pid;
}

/* A round that missed somebody for want of means is none: the next sample begins another. */
static int walk_round(struct ksm_processes *p) {
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
        status = meet(p, pid);
        if (status == -ECANCELED)
            return status;
        status = pseudofs_is_transient(status) ? status : 0;
    }
    if (status != 0)
        p->round.on = false;
    return status;
}

/* ---- newcomers ---- */

/* The pid that the kernel gave out last, or 0: it gives them out in ascending order, and the thread
 * that makes a sample has just been given one. */
static int latest_pid(const struct ksm_processes *p) {
    return p->own ? (int)syscall(SYS_gettid) : 0;
}

static int open_fresh(struct ksm_processes *p) {
    int status = p->fresh.dir ? 0 : pseudofs_opendir(p->root, "proc", &p->fresh.dir);

    if (status == 0)
        seekdir(p->fresh.dir, (long)(p->offset + p->newest + 1));
    p->fresh.on = status == 0;
    return status;
}

/* The pids after newest up to latest; or to the largest, and then anew from 1. */
static int walk_fresh(struct ksm_processes *p) {
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
static int rename_in_turn(const struct ksm_processes *p, struct ksm_process *process) {
    const unsigned turn = (unsigned)process->pid + p->looks;
    char comm[sizeof(process->comm)] = "";
    struct ksm_name name;

    if (turn % KSM_ROUND_SAMPLES != 0)
        return 0;
    ssize_t n = read_file(p, process, "comm", false, comm, sizeof(comm));
    if (n >= 0 && memcmp(comm, process->comm, sizeof(comm)) == 0 && turn % KSM_NAME_SAMPLES != 0)
        return 0;
    int status = n < 0 ? (int)n : read_name(p, process, &name);
    if (status == 0) {
        memcpy(process->comm, comm, sizeof(comm));
        process->name = name;
    }
    return status == -ECANCELED ? status : 0;
}

/* Reads a process of the list again: by its descriptor, which can only be its own, or by its pid
 * if it is still the same process. */
static int refresh(struct ksm_processes *p, struct ksm_process *process) {
    const bool kept = process->fd >= 0;
    int64_t started = kept ? process->started : read_started(p, process);

    if (started < 0)
        return (int)started;
    if (started != process->started)
        return -ESRCH;
    int fd = kept ? process->fd : open_counts(p, process);
    struct ksm_process got = *process;
    int status = fd < 0 ? fd : read_counts(p, fd, &got);
    if (fd >= 0 && (!kept || status == -ECANCELED))
        close(fd);
    if (status == 0)
        status = read_resident(p, &got);
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

static void drop_ended(struct ksm_processes *p) {
    size_t kept = 0;

    for (size_t i = 0; i < p->count; i++) {
        if (has_ended(&p->list[i]))
            release(p, &p->list[i]);
        else
            p->list[kept++] = p->list[i];
    }
    p->count = kept;
}

static int refresh_all(struct ksm_processes *p) {
    while (p->refreshed < p->count) {
        struct ksm_process *process = &p->list[p->refreshed++];
        int status = refresh(p, process);
        if (status == -ECANCELED)
            return status;
        process->status = status;
    }
    p->refreshed = 0;
    drop_ended(p);
    return 0;
}

/* ---- a sample ---- */

static int begin_look(struct ksm_processes *p) {
    const int latest = latest_pid(p);

    p->newest = p->before != 0 ? p->before : latest;
    p->before = p->latest != 0 ? p->latest : latest;
    p->latest = latest;
    p->left = round_part(p);
    p->refreshed = 0;
    p->looks++;
    return 0;
}

int ksm_processes_look(struct ksm_processes *p) {
    static int (*const steps[])(struct ksm_processes * p) = {
        [KSM_LOOK_BEGIN] = begin_look,
        [KSM_LOOK_NEW] = walk_fresh,
        [KSM_LOOK_ROUND] = walk_round,
        [KSM_LOOK_REFRESH] = refresh_all,
    };

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

void ksm_processes_clear(struct ksm_processes *p) {
    for (size_t i = 0; i < p->count; i++)
        release(p, &p->list[i]);
    free(p->list);
    if (p->round.dir)
        closedir(p->round.dir);
    if (p->fresh.dir)
        closedir(p->fresh.dir);
    struct ksm_processes cleared = {.root = p->root,
                                    .guard = p->guard,
                                    .source = p->source,
                                    .capable = p->capable,
                                    .own = p->own,
                                    .may_keep = p->may_keep,
                                    .opted_in = -1};
    memcpy(cleared.aside, p->aside, sizeof(cleared.aside));
    *p = cleared;
}
