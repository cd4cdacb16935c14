/* SPDX-License-Identifier: MIT
 *
 * Writes the /proc files of made-up processes for tests of consumers, and checks their names.
 */
#ifndef KSM_TESTS_FAKE_PROCS_H
#define KSM_TESTS_FAKE_PROCS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A process as /proc of Linux 6.18 shows it. It has opted in if it has merging, zero or tracked
 * pages. Numbers are pages; a text that is NULL makes an empty file. */
struct fake_process {
    int pid;
    int64_t merging;
    int64_t zero;
    int64_t rmap_items;
    int64_t resident;
    int64_t started;    /* clock ticks since boot */
    const char *cgroup; /* all lines */
    const char *cmdline;
    size_t cmdline_len; /* with its NULs */
    const char *comm;   /* without the newline */
    int64_t mapped;     /* files and shared memory, a part of resident */
    int user;           /* uid; -1: its status cannot be read */
    bool merge_any;     /* if it has opted in, then by prctl() */
};

/* Writes the files of a process below dir/proc/PID. */
void fake_procs_write(const char *dir, const struct fake_process *process);

/* Writes one file of a process; with len 0 it is empty. */
void fake_procs_write_file(const char *dir, int pid, const char *name, const char *text,
                           size_t len);

/* Remove one file of a process, or the whole process. */
void fake_procs_remove_file(const char *dir, int pid, const char *name);
void fake_procs_remove(const char *dir, int pid);

/* Makes /proc/self and /proc/1, which show what the kernel reports and have not opted in. */
void fake_procs_init(const char *dir);

/* Removes files that an older kernel lacks: only ksm_merging_pages remains (5.19), or nothing. */
void fake_procs_set_older_kernel(const char *dir, bool merging_pages);

/* On such a kernel: links ksm_merging_pages to a file of the real /proc, so that its descriptor is
 * kept, and writes a number from 0 to 1000 to that file. */
void fake_procs_link(const char *dir, int pid, pid_t real);
void fake_procs_set_linked(pid_t real, int pages);

/* Writes the host's pages_shared, pages_sharing and ksm_zero_pages; the other counts are 0. */
void fake_procs_set_host(const char *dir, int64_t shared, int64_t sharing, int64_t zero);

/* Returns what is wrong with a name that is sent to a daemon, or NULL. Does not use the code under
 * test. */
const char *fake_procs_check_name(const char *name);

#endif
