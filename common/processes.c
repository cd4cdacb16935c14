/* SPDX-License-Identifier: MIT */
#include "processes.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "parse.h"
#include "pseudofs.h"

static bool exists(const char *root, const char *process, const char *name) {
    struct pseudofs_file file;
    char path[PATH_MAX];
    struct stat st;

    pseudofs_init(&file, root, process, name);
    return pseudofs_path(&file, path, sizeof(path)) == 0 && stat(path, &st) == 0;
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

void ksm_processes_init(struct ksm_processes *p, const char *root, int may_keep) {
    *p = (struct ksm_processes){.root = root, .may_keep = may_keep, .opted_in = -1};
    if (p->may_keep > KSM_PROCESSES_KEPT)
        p->may_keep = KSM_PROCESSES_KEPT;
    p->source = find_source(root);
}

/* ---- one process ---- */

static int open_file(const struct ksm_processes *p, int pid, const char *name) {
    char path[64];

    snprintf(path, sizeof(path), "%d/%s", pid, name);
    return pseudofs_openat(dirfd(p->proc), path);
}

/* Bytes, or -errno. whole: as in pseudofs_read; a file of one line is that anyway. */
static ssize_t read_file(const struct ksm_processes *p, int pid, const char *name, bool whole,
                         char *buf, size_t size) {
    int fd = open_file(p, pid, name);

    if (fd < 0)
        return fd;
    ssize_t n = pseudofs_read_fd(fd, whole, buf, size);
    close(fd);
    return n;
}

static int stat_field(const char *text, size_t len, const char *key, int64_t *value) {
    const char *field = NULL;
    size_t field_len = 0;
    int status = parse_field(text, len, key, &field, &field_len);

    return status == 0 ? parse_not_negative(field, field_len, value) : status;
}

static int read_merging_pages(const struct ksm_processes *p, int pid, int64_t *merging) {
    char buf[64];
    ssize_t n = read_file(p, pid, "ksm_merging_pages", false, buf, sizeof(buf));

    return n < 0 ? (int)n : parse_number(buf, (size_t)n, merging);
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
            status = read_merging_pages(p, process->pid, &got.merging);
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

/* Reads what KSM does for a process through its descriptor. -ESRCH: there is no such process any
 * more, or nothing left of it (a zombie and a kernel thread read empty). One read gives all of
 * ksm_stat; it is read on to its end only where something is lacking, from then on always. */
static int read_counts(struct ksm_processes *p, int fd, struct ksm_process *process) {
    char buf[512];
    ssize_t n = pseudofs_read_fd(fd, p->whole, buf, sizeof(buf));

    if (n <= 0)
        return n == 0 ? -ESRCH : (int)n;
    if (p->source == KSM_PROCESS_MERGING_PAGES)
        return parse_number(buf, (size_t)n, &process->merging);
    if (!p->whole && !has_all(buf, (size_t)n)) {
        p->whole = true;
        return read_counts(p, fd, process);
    }
    return parse_ksm_stat(p, buf, (size_t)n, process);
}

static int open_counts(const struct ksm_processes *p, int pid) {
    return open_file(p, pid, p->source == KSM_PROCESS_STAT ? "ksm_stat" : "ksm_merging_pages");
}

static bool takes_part(const struct ksm_process *process) {
    return process->merging > 0 || process->zero > 0 || process->rmap_items > 0;
}

/* The second field of statm. */
static int64_t read_resident(const struct ksm_processes *p, int pid) {
    char buf[128];
    int64_t pages = 0;
    ssize_t n = read_file(p, pid, "statm", false, buf, sizeof(buf));
    const char *start = n > 0 ? memchr(buf, ' ', (size_t)n) : NULL;
    const char *end = start ? memchr(start + 1, ' ', (size_t)(buf + n - start - 1)) : NULL;

    if (!end || parse_number(start + 1, (size_t)(end - start - 1), &pages) != 0)
        return -1;
    return pages;
}

/* When it was started; 0 if that cannot be read; -errno if only not at this moment. */
static int64_t read_started(const struct ksm_processes *p, int pid) {
    char buf[1024];
    struct parse_stat stat;
    ssize_t n = read_file(p, pid, "stat", true, buf, sizeof(buf));

    if (pseudofs_is_transient((int)n))
        return n;
    return n > 0 && parse_stat(buf, (size_t)n, &stat) == 0 ? stat.started : 0;
}

/* Sets *len to the bytes read: 0 if there are none or no such file, and the start of a text that
 * does not fit. */
static int read_text(const struct ksm_processes *p, int pid, const char *name, char *buf,
                     size_t size, size_t *len) {
    ssize_t n = read_file(p, pid, name, true, buf, size);

    *len = n == -EFBIG ? size : n > 0 ? (size_t)n : 0;
    return n < 0 && n != -EFBIG && n != -ENOENT ? (int)n : 0;
}

/* What could not be read would give it another's name: then it has none, or keeps that it has. */
static int read_name(const struct ksm_processes *p, struct ksm_process *process) {
    char cgroup[8192];
    char cmdline[8192];
    char comm[64 + 1];
    struct ksm_identity identity = {.cgroup = cgroup, .cmdline = cmdline, .comm = comm};
    int pid = process->pid;
    int status = read_text(p, pid, "cgroup", cgroup, sizeof(cgroup), &identity.cgroup_len);

    if (status == 0)
        status = read_text(p, pid, "cmdline", cmdline, sizeof(cmdline), &identity.cmdline_len);
    if (status == 0)
        status = read_text(p, pid, "comm", comm, sizeof(comm), &identity.comm_len);
    if (status == 0)
        ksm_name_of(&identity, &process->name);
    return status;
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

static int insert(struct ksm_processes *p, size_t at, const struct ksm_process *process) {
    if (p->count == p->size) {
        size_t size = p->size == 0 ? 64 : p->size * 2;
        struct ksm_process *list = reallocarray(p->list, size, sizeof(*list));
        if (!list)
            return -ENOMEM;
        p->list = list;
        p->size = size;
    }
    memmove(&p->list[at + 1], &p->list[at], (p->count - at) * sizeof(*process));
    p->list[at] = *process;
    p->count++;
    return 0;
}

static void release(struct ksm_processes *p, struct ksm_process *process) {
    if (process->fd >= 0) {
        close(process->fd);
        process->fd = -1;
        p->kept--;
    }
}

static bool is_denied(int status) {
    return status == -EACCES || status == -EPERM;
}

static void count_opted_in(struct ksm_processes *p, const struct ksm_process *process) {
    if (process->opted_in >= 0)
        p->opted_in_now = (p->opted_in_now < 0 ? 0 : p->opted_in_now) + process->opted_in;
}

/* Looks at a process that is not on the list. */
static int look_at(struct ksm_processes *p, int pid, size_t at) {
    struct ksm_process process = {.pid = pid, .fd = -1, .resident = -1, .opted_in = -1};
    int fd = open_counts(p, pid);

    if (is_denied(fd))
        p->denied_now++;
    if (fd < 0)
        return fd;
    int status = read_counts(p, fd, &process);
    if (status == 0)
        count_opted_in(p, &process);
    bool keep =
        status == 0 && takes_part(&process) && p->kept < p->may_keep && pseudofs_may_keep(fd);
    if (keep) {
        process.fd = fd;
        p->kept++;
    } else {
        close(fd);
    }
    if (status != 0 || !takes_part(&process))
        return status;
    if (!keep)
        process.started = read_started(p, pid);
    process.resident = read_resident(p, pid);
    status = process.started < 0 ? (int)process.started : read_name(p, &process);
    if (is_denied(status))
        p->denied_now++;
    if (status == 0)
        status = insert(p, at, &process);
    if (status != 0)
        release(p, &process);
    return status;
}

static int meet(struct ksm_processes *p, int pid) {
    size_t at = position(p, pid);

    if (at == p->count || p->list[at].pid != pid)
        return look_at(p, pid, at);
    count_opted_in(p, &p->list[at]);
    read_name(p, &p->list[at]); /* it may run another program by now, or have been moved */
    return 0;
}

/* ---- the walk ---- */

static int open_proc(struct ksm_processes *p) {
    if (!p->proc)
        return pseudofs_opendir(p->root, "proc", &p->proc);
    rewinddir(p->proc);
    return 0;
}

static int begin(struct ksm_processes *p, int64_t now, int64_t length) {
    struct stat st;
    int status = open_proc(p);

    if (status != 0)
        return status;
    /* Process 1 always exists: if it cannot be seen, hidepid hides it. */
    p->hidden = fstatat(dirfd(p->proc), "self", &st, 0) == 0 &&
                fstatat(dirfd(p->proc), "1", &st, 0) != 0 && errno == ENOENT;
    /* procfs counts processes as links, as other file systems do subdirectories. */
    if (p->expected == 0 && fstat(dirfd(p->proc), &st) == 0)
        p->expected = (int64_t)st.st_nlink;
    p->walking = true;
    p->again = false;
    p->started = now;
    p->length = length;
    p->entries = 0;
    p->denied_now = 0;
    p->opted_in_now = -1;
    return 0;
}

/* The pid that a name of /proc is, or 0. */
static int pid_of(const char *name) {
    int64_t pid = 0;

    return parse_number(name, strlen(name), &pid) == 0 && pid <= INT_MAX ? (int)pid : 0;
}

/* How many entries must have been seen by then; all if the time is up. */
static int64_t pace(const struct ksm_processes *p, int64_t until) {
    int64_t elapsed = until - p->started;

    return elapsed >= p->length ? INT64_MAX : p->expected * elapsed / p->length;
}

static void end(struct ksm_processes *p) {
    p->walking = false;
    p->expected = p->entries;
    p->denied = p->denied_now;
    p->opted_in = p->opted_in_now;
}

/* A round that missed somebody for want of means is none: the next call begins another. */
static int give_up(struct ksm_processes *p, int status) {
    p->walking = false;
    p->again = true;
    return status;
}

/* One entry of /proc. */
static int step(struct ksm_processes *p) {
    const struct dirent *entry = NULL;
    int status = pseudofs_readdir(p->proc, &entry);

    if (status != 0)
        return give_up(p, status);
    if (!entry) {
        end(p);
        return 0;
    }
    p->entries++;
    int pid = pid_of(entry->d_name);
    status = pid > 0 ? meet(p, pid) : 0;
    return pseudofs_is_transient(status) ? give_up(p, status) : 0;
}

int ksm_processes_walk(struct ksm_processes *p, int64_t now, int64_t until, int64_t length,
                       int64_t deadline) {
    int status = 0;

    if (!p->walking && (!p->proc || p->again || now - p->started >= p->length))
        status = begin(p, now, length);
    while (status == 0 && p->walking && p->entries < pace(p, until)) {
        if (clock_ms(CLOCK_MONOTONIC) >= deadline)
            return 1;
        status = step(p);
    }
    return status;
}

/* ---- reading again ---- */

/* Reads a process of the list again: by its descriptor, which can only be its own, or by its pid
 * if it is still the same process. */
static int refresh(struct ksm_processes *p, struct ksm_process *process) {
    int fd = process->fd;
    int64_t started = fd < 0 ? read_started(p, process->pid) : process->started;

    if (started < 0)
        return (int)started;
    if (started != process->started)
        return -ESRCH;
    if (fd < 0)
        fd = open_counts(p, process->pid);
    int status = fd < 0 ? fd : read_counts(p, fd, process);
    if (fd >= 0 && fd != process->fd)
        close(fd);
    if (status == 0)
        process->resident = read_resident(p, process->pid);
    return status;
}

static bool has_ended(const struct ksm_process *process) {
    return process->status == -ESRCH || process->status == -ENOENT ||
           (process->status == 0 && !takes_part(process));
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

int ksm_processes_refresh(struct ksm_processes *p, int64_t deadline) {

    while (p->refreshed < p->count) {
        if (clock_ms(CLOCK_MONOTONIC) >= deadline)
            return 1;
        struct ksm_process *process = &p->list[p->refreshed++];
        process->status = refresh(p, process);
    }
    p->refreshed = 0;
    drop_ended(p);
    return 0;
}

void ksm_processes_clear(struct ksm_processes *p) {
    for (size_t i = 0; i < p->count; i++)
        release(p, &p->list[i]);
    free(p->list);
    if (p->proc)
        closedir(p->proc);
    *p = (struct ksm_processes){
        .root = p->root, .may_keep = p->may_keep, .source = p->source, .opted_in = -1};
}
