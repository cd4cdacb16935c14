/* SPDX-License-Identifier: MIT */
#include "metrics/ksmd.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "system/line_reader.h"
#include "system/parse.h"

/* PID_NS_INIT_INO of linux/nsfs.h (PROC_PID_INIT_INO before 6.18) */
static const ino_t initial_pid_namespace = 0xeffffffc;
static const int64_t ns_per_second = 1000 * 1000 * 1000;
static const int64_t search_ms = 60 * 1000;

void ksmd_init(struct ksmd *ksmd, const char *root, const char *comm,
               const struct ksm_metric *metric) {
    *ksmd = (struct ksmd){
        .root = root, .comm = comm, .metric = metric, .status = -ENOENT, .due = INT64_MIN};
    ksmd->ns_per_tick = ns_per_second / sysconf(_SC_CLK_TCK);
    pseudofs_init(&ksmd->file, root, ksmd->dir, metric->key);
}

void ksmd_close(struct ksmd *ksmd) {
    pseudofs_close(&ksmd->file);
}

static int open_file(int proc, const char *pid, const char *name) {
    char path[32];

    snprintf(path, sizeof(path), "%.10s/%s", pid, name);
    return pseudofs_openat(proc, path);
}

/* Reading comm takes no lock of the process (fs/proc/base.c, comm_show). Linux 2.6.32 has no such
 * file; there, Name: in status decides alone. */
static bool may_be_named(int proc, const char *pid, const char *comm) {
    char text[64 + 1];
    const size_t len = strlen(comm);
    int fd = open_file(proc, pid, "comm");
    ssize_t n = fd < 0 ? fd : pseudofs_read_fd(fd, PSEUDOFS_ALL, text, sizeof(text));

    if (fd >= 0)
        close(fd);
    return n == -ENOENT ||
           (n == (ssize_t)len + 1 && memcmp(text, comm, len) == 0 && text[len] == '\n');
}

/* Any process can call itself ksmd. A kernel thread has no memory and is a child of kthreadd. Its
 * stat has a flag for that, but reading stat waits for the exec_update_lock of the process
 * (do_task_stat() of fs/proc/array.c), which a process can hold for ever, with an exec() that
 * closes a file of its own FUSE server. Reading status does not wait for it. */
static bool is_kernel_thread(int proc, const char *pid, const char *comm, const char *parent) {
    struct line_reader reader = {.fd = -1};
    bool is_named = false, is_child = false, has_memory = false;
    char line[128];
    int result = 0;

    if (!may_be_named(proc, pid, comm))
        return false;
    reader.fd = open_file(proc, pid, "status");
    if (reader.fd < 0)
        return false;
    for (;;) {
        result = line_reader_next(&reader, line, sizeof(line));
        if (result <= 0)
            break;
        const char *name = line_value(line, "Name:\t");
        const char *ppid = line_value(line, "PPid:\t");
        is_named = is_named || (name && strcmp(name, comm) == 0);
        is_child = is_child || (ppid && strcmp(ppid, parent) == 0);
        has_memory = has_memory || line_value(line, "VmSize:\t");
    }
    close(reader.fd);
    return result == 0 && is_named && is_child && !has_memory;
}

/* Kernel threads are in the initial PID namespace only. If root/proc is of another namespace than
 * this program's, it is not known which one that is: assume that it has kernel threads. */
static bool may_have_kernel_threads(const char *root) {
    struct pseudofs_file self;
    char path[PATH_MAX];
    struct stat st;

    pseudofs_init(&self, root, "proc/self/ns", "pid");
    return !pseudofs_sees_own_pids(root) || pseudofs_path(&self, path, sizeof(path)) != 0 ||
           stat(path, &st) != 0 || st.st_ino == initial_pid_namespace;
}

/* In the order of procfs, pids ascending, it comes early: it was started at boot. */
static int search_directory(struct ksmd *ksmd, DIR *dir) {
    const struct dirent *entry = NULL;

    while (pseudofs_readdir(dir, &entry) == 0 && entry) {
        if (parse_pid(entry->d_name) > 0 &&
            is_kernel_thread(dirfd(dir), entry->d_name, ksmd->comm, "2")) {
            snprintf(ksmd->dir, sizeof(ksmd->dir), "proc/%.10s", entry->d_name);
            return 0;
        }
    }
    return -ENOENT;
}

static int search(struct ksmd *ksmd) {
    DIR *dir = NULL;
    int status = -ENOENT;

    if (!may_have_kernel_threads(ksmd->root))
        return -ENOENT;
    int opened = pseudofs_opendir(ksmd->root, "proc", &dir);
    if (opened != 0)
        return opened;
    if (is_kernel_thread(dirfd(dir), "2", "kthreadd", "0"))
        status = search_directory(ksmd, dir);
    closedir(dir);
    return status;
}

/* Reading schedstat takes no lock (fs/proc/base.c, proc_pid_schedstat). */
static int read_schedstat(struct ksmd *ksmd, int64_t now, int64_t *ns) {
    char buf[128];
    ssize_t n = pseudofs_read(&ksmd->file, now, PSEUDOFS_LINE, buf, sizeof(buf));

    return n < 0 ? (int)n : ksmd->metric->parse(buf, (size_t)n, ns);
}

/* stat of a kernel thread: none ever holds its exec_update_lock, as none calls exec(). */
static int read_ticks(struct ksmd *ksmd, int64_t now, int64_t *ns) {
    char buf[PARSE_STAT_SIZE];
    struct parse_stat stat;
    int64_t ticks = 0;
    ssize_t n = pseudofs_read(&ksmd->file, now, PSEUDOFS_LINE, buf, sizeof(buf));
    int status = n < 0 ? (int)n : parse_stat(buf, (size_t)n, &stat);

    if (status == 0 && (__builtin_add_overflow(stat.utime, stat.stime, &ticks) ||
                        __builtin_mul_overflow(ticks, ksmd->ns_per_tick, ns)))
        status = -ERANGE;
    return status;
}

/* Chooses the file once, as the two differ by up to a tick and a counter must not go back. */
static int find_ksmd(struct ksmd *ksmd, int64_t now) {
    int64_t ns = 0;

    if (now < ksmd->due)
        return ksmd->status;
    ksmd->status = search(ksmd);
    if (!pseudofs_is_transient(ksmd->status))
        ksmd->due = now + search_ms;
    if (ksmd->status != 0)
        return ksmd->status;
    int status = read_schedstat(ksmd, now, &ns);
    ksmd->uses_ticks = status == -ENOENT || status == -ENODATA;
    if (ksmd->uses_ticks) {
        pseudofs_close(&ksmd->file);
        ksmd->file.name = "stat";
    }
    return 0;
}

int ksmd_cpu(struct ksmd *ksmd, int64_t now, int64_t *ns) {
    if (ksmd->status != 0 && find_ksmd(ksmd, now) != 0)
        return ksmd->status;
    return ksmd->uses_ticks ? read_ticks(ksmd, now, ns) : read_schedstat(ksmd, now, ns);
}
