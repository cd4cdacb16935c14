/* SPDX-License-Identifier: MIT */
#include "metrics/ksmd.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "system/parse.h"

enum {
    STAT_SIZE = 1024,   /* /proc/PID/stat has 52 numbers: some 300 bytes, 1,100 at the worst */
    STATUS_SIZE = 8192, /* of a kernel thread, which is in no group: 2 kB, and masks of CPUs */
};
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

static bool has(const char *text, ssize_t len, const char *part) {
    return memmem(text, (size_t)len, part, strlen(part)) != NULL;
}

static ssize_t read_once(const char *root, const char *dir, const char *name, char *buf,
                         size_t size) {
    struct pseudofs_file file;

    pseudofs_init(&file, root, dir, name);
    ssize_t n = pseudofs_read(&file, 0, true, buf, size);
    pseudofs_close(&file);
    return n;
}

/* Reading comm takes no lock of the process (fs/proc/base.c, comm_show). Linux 2.6.32 has no such
 * file: there the name in status must do. */
static bool may_be_named(const char *root, const char *dir, const char *comm) {
    char text[64 + 1];
    ssize_t n = read_once(root, dir, "comm", text, sizeof(text));
    size_t len = strlen(comm);

    return n == -ENOENT ||
           (n == (ssize_t)len + 1 && memcmp(text, comm, len) == 0 && text[len] == '\n');
}

/* Any process can call itself ksmd. A kernel thread has no memory and is a child of kthreadd. Its
 * stat has a flag for that, but reading stat waits for the exec_update_lock of the process
 * (do_task_stat() of fs/proc/array.c), which a process can hold for ever, with an exec() that
 * closes a file of its own FUSE server. Reading status does not wait for it. */
static bool is_kernel_thread(const char *root, const char *dir, const char *comm,
                             const char *parent) {
    char text[STATUS_SIZE];
    char name[32];

    if (!may_be_named(root, dir, comm))
        return false;
    ssize_t n = read_once(root, dir, "status", text, sizeof(text));
    int len = snprintf(name, sizeof(name), "Name:\t%s\n", comm);
    return n > len && memcmp(text, name, (size_t)len) == 0 && has(text, n, parent) &&
           !has(text, n, "\nVmSize:");
}

/* No kernel thread is in any PID namespace but the initial one. In the /proc of another one than
 * this program's, that is not known. */
static bool may_have_kernel_threads(const char *root) {
    struct pseudofs_file self;
    char path[PATH_MAX];
    struct stat st;

    pseudofs_init(&self, root, "proc/self/ns", "pid");
    return !pseudofs_sees_own_pids(root) || pseudofs_path(&self, path, sizeof(path)) != 0 ||
           stat(path, &st) != 0 || st.st_ino == initial_pid_namespace;
}

static bool is_pid(const char *name) {
    size_t len = strlen(name);

    return len <= 10 && strspn(name, "0123456789") == len;
}

static int search(struct ksmd *ksmd) {
    const struct dirent *entry = NULL;
    DIR *dir = NULL;
    int status = -ENOENT;

    if (!may_have_kernel_threads(ksmd->root) ||
        !is_kernel_thread(ksmd->root, "proc/2", "kthreadd", "\nPPid:\t0\n"))
        return -ENOENT;
    int opened = pseudofs_opendir(ksmd->root, "proc", &dir);
    if (opened != 0)
        return opened;
    /* In the order of procfs, pids ascending, it comes early: it was started at boot. */
    while (status != 0 && pseudofs_readdir(dir, &entry) == 0 && entry) {
        if (!is_pid(entry->d_name))
            continue;
        snprintf(ksmd->dir, sizeof(ksmd->dir), "proc/%.10s", entry->d_name);
        if (is_kernel_thread(ksmd->root, ksmd->dir, ksmd->comm, "\nPPid:\t2\n"))
            status = 0;
    }
    closedir(dir);
    return status;
}

/* Reading schedstat takes no lock (fs/proc/base.c, proc_pid_schedstat). */
static int read_account(struct ksmd *ksmd, int64_t now, int64_t *ns) {
    char buf[128];
    ssize_t n = pseudofs_read(&ksmd->file, now, false, buf, sizeof(buf));

    return n < 0 ? (int)n : ksmd->metric->parse(buf, (size_t)n, ns);
}

/* stat of a kernel thread: none ever holds its exec_update_lock, as none calls exec(). */
static int read_ticks(struct ksmd *ksmd, int64_t now, int64_t *ns) {
    char buf[STAT_SIZE];
    struct parse_stat stat;
    int64_t ticks = 0;
    ssize_t n = pseudofs_read(&ksmd->file, now, false, buf, sizeof(buf));
    int status = n < 0 ? (int)n : parse_stat(buf, (size_t)n, &stat);

    if (status == 0 && (__builtin_add_overflow(stat.utime, stat.stime, &ticks) ||
                        __builtin_mul_overflow(ticks, ksmd->ns_per_tick, ns)))
        status = -ERANGE;
    return status;
}

/* Chooses the account once, as the two differ by up to a tick and a counter must not go back. */
static int find_ksmd(struct ksmd *ksmd, int64_t now) {
    int64_t ns = 0;

    if (now < ksmd->due)
        return ksmd->status;
    ksmd->due = now + search_ms;
    ksmd->status = search(ksmd);
    if (ksmd->status != 0)
        return ksmd->status;
    int status = read_account(ksmd, now, &ns);
    ksmd->coarse = status == -ENOENT || status == -ENODATA;
    if (ksmd->coarse) {
        pseudofs_close(&ksmd->file);
        ksmd->file.name = "stat";
    }
    return 0;
}

int ksmd_cpu(struct ksmd *ksmd, int64_t now, int64_t *ns) {
    if (ksmd->status != 0 && find_ksmd(ksmd, now) != 0)
        return ksmd->status;
    return ksmd->coarse ? read_ticks(ksmd, now, ns) : read_account(ksmd, now, ns);
}
