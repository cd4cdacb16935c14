/* SPDX-License-Identifier: MIT */
#include "metrics/ksmd.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "system/parse.h"

enum {
    STAT_SIZE = 1024,      /* /proc/PID/stat has 52 numbers: some 300 bytes, 1,100 at the worst */
    KTHREADD = 2,          /* the parent of all kernel threads */
    PF_KTHREAD = 0x200000, /* include/linux/sched.h */
};
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

static int read_stat(struct pseudofs_file *file, int64_t now, struct parse_stat *stat) {
    char buf[STAT_SIZE];
    ssize_t n = pseudofs_read(file, now, false, buf, sizeof(buf));

    return n < 0 ? (int)n : parse_stat(buf, (size_t)n, stat);
}

/* Any process may call itself ksmd, so the kernel's own mark is asked for too. */
static bool is_kernel_thread(const char *root, const char *dir, const char *comm, int64_t parent) {
    struct pseudofs_file file;
    struct parse_stat stat;

    pseudofs_init(&file, root, dir, "stat");
    int status = read_stat(&file, 0, &stat);
    pseudofs_close(&file);
    return status == 0 && strcmp(stat.comm, comm) == 0 && stat.ppid == parent &&
           (stat.flags & PF_KTHREAD);
}

static bool is_pid(const char *name) {
    size_t len = strlen(name);

    return len <= 10 && strspn(name, "0123456789") == len;
}

static int search(struct ksmd *ksmd) {
    const struct dirent *entry = NULL;
    DIR *dir = NULL;
    int status = -ENOENT;

    /* In the PID namespace of a container there are no kernel threads: don't walk in vain. */
    if (!is_kernel_thread(ksmd->root, "proc/2", "kthreadd", 0))
        return -ENOENT;
    int opened = pseudofs_opendir(ksmd->root, "proc", &dir);
    if (opened != 0)
        return opened;
    /* In the order of procfs, pids ascending, it comes early: it was started at boot. */
    while (status != 0 && pseudofs_readdir(dir, &entry) == 0 && entry) {
        if (!is_pid(entry->d_name))
            continue;
        snprintf(ksmd->dir, sizeof(ksmd->dir), "proc/%.10s", entry->d_name);
        if (is_kernel_thread(ksmd->root, ksmd->dir, ksmd->comm, KTHREADD))
            status = 0;
    }
    closedir(dir);
    return status;
}

static int read_account(struct ksmd *ksmd, int64_t now, int64_t *ns) {
    char buf[128];
    ssize_t n = pseudofs_read(&ksmd->file, now, false, buf, sizeof(buf));

    return n < 0 ? (int)n : ksmd->metric->parse(buf, (size_t)n, ns);
}

static int read_ticks(struct ksmd *ksmd, int64_t now, int64_t *ns) {
    struct parse_stat stat;
    int64_t ticks = 0;
    int status = read_stat(&ksmd->file, now, &stat);

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
