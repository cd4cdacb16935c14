/* SPDX-License-Identifier: MIT
 *
 * A made-up crowd of processes for tests of consumers, and what a name may look like.
 */
#ifndef KSM_TESTS_CROWD_H
#define KSM_TESTS_CROWD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A process of /proc as Linux 6.18 shows it, which has opted in if it has any pages. Texts: NULL is
 * an empty file. Numbers: pages. */
struct crowd_process {
    int pid;
    int64_t merging;
    int64_t zero;
    int64_t rmap_items;
    int64_t resident;
    int64_t started;    /* clock ticks since boot */
    const char *cgroup; /* all lines */
    const char *cmdline;
    size_t cmdline_len; /* its NULs included */
    const char *comm;   /* without the newline */
    int64_t mapped;     /* of resident: files and shared memory */
};

/* Writes the files of a process below dir/proc/PID. */
void crowd_write(const char *dir, const struct crowd_process *process);

/* Writes one file of a process; len 0 empties it. */
void crowd_file(const char *dir, int pid, const char *name, const char *text, size_t len);

/* Removes one file of a process; the whole process. */
void crowd_remove_file(const char *dir, int pid, const char *name);
void crowd_remove(const char *dir, int pid);

/* Makes /proc/self and /proc/1, which take no part, so that it is seen what this kernel tells. */
void crowd_begin(const char *dir);

/* Makes it a kernel that tells of processes only ksm_merging_pages (5.19), or nothing at all. */
void crowd_of_older_kernel(const char *dir, bool merging_pages);

/* On such a kernel: makes ksm_merging_pages a link to a file of the real /proc, of which reading
 * again gives what is there by then; and writes that file, a number from 0 to 1000. */
void crowd_link(const char *dir, int pid, pid_t real);
void crowd_set_linked(pid_t real, int pages);

/* Writes the host's pages: pages_shared, pages_sharing, ksm_zero_pages and the others as 0. */
void crowd_host(const char *dir, int64_t shared, int64_t sharing, int64_t zero);

/* What is wrong with a name that is to be sent to a host; NULL: nothing. By rules of its own, not
 * by the code under test. */
const char *crowd_bad_name(const char *name);

#endif
