/* SPDX-License-Identifier: MIT
 *
 * Reads the files of one process in /proc.
 *
 * A process can exit between any two calls, and its pid can be reused: that is a status, not a
 * failure. All functions return 0 or -errno unless they say otherwise. Reads that may block are
 * announced (blocking_call.h): after -ECANCELED a function has not used r, and what it opened is
 * closed.
 */
#ifndef KSM_PROC_FILES_H
#define KSM_PROC_FILES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "consumers/consumer_name.h"
#include "system/blocking_call.h"

/* Whether its counts are slow to read: see ksm_process_list_update(). */
enum ksm_read_speed {
    KSM_READ_FAST,
    KSM_READ_UNMEASURED, /* took long by the wall clock: the next read is measured by CPU time */
    KSM_READ_SLOW,
};

/* A process on the list (process_list.h). Counts are pages. */
struct ksm_process {
    int pid;
    int task;         /* the thread whose files are read: pid, unless the first thread has exited */
    int status;       /* of the last read: 0, or -errno and the counts mean nothing */
    int counts_fd;    /* kept descriptor of ksm_stat (or ksm_merging_pages); -1: none */
    int statm_fd;     /* kept descriptor of statm; -1: none */
    int64_t started;  /* clock ticks since boot; 0: not read, as counts_fd identifies it */
    int64_t merging;  /* ksm_merging_pages */
    int64_t zero;     /* ksm_zero_pages */
    int64_t previous; /* merging + zero at the last table; -1: not known */
    int64_t rmap_items; /* ksm_rmap_items: tracked pages */
    int64_t resident;   /* RSS, which includes merged pages but not zero pages; -1: not known */
    int64_t mapped;     /* pages of files and shmem in resident; -1: not known */
    int opted_in;       /* 1 or 0; -1: not reported */
    int merge_any;      /* of opted_in: all its memory, by prctl(); -1: not reported */
    int64_t user;       /* effective uid, when name was read last; -1: not known */
    bool merging_only; /* the last read set merging only; zero, rmap_items and opted_in are older */
    enum ksm_read_speed speed;
    struct ksm_consumer_name name;
    char comm[24]; /* at most 15 bytes and a newline; as it was when name was read, "" before */
};

/* What the kernel reports about a process. */
enum ksm_process_source {
    KSM_PROCESS_NOTHING,       /* before Linux 5.19 */
    KSM_PROCESS_MERGING_PAGES, /* 5.19: ksm_merging_pages */
    KSM_PROCESS_STAT,          /* 6.1: ksm_stat, with more fields in later releases */
};

struct ksm_process_reader {
    int proc;                   /* descriptor of the directory /proc; the caller's */
    struct blocking_call *call; /* of the running thread; may be NULL */
    enum ksm_process_source source;
};

/* Determines what the kernel reports, by root/proc/self, or by process 1 in the /proc of another
 * PID namespace. */
enum ksm_process_source ksm_process_find_source(const char *root);

/* Returns a process of which only the pid is known. */
struct ksm_process ksm_process_with_pid(int pid);

/* Opens a file of the thread process->task. Returns the descriptor, which is the caller's. */
int ksm_process_open(const struct ksm_process_reader *r, const struct ksm_process *process,
                     const char *name);

/* The same for the file that has its counts. */
int ksm_process_open_counts(const struct ksm_process_reader *r, const struct ksm_process *process);

/* Reads the counts of a process for the first time. The files of a process whose first thread has
 * exited (pthread_exit() in main) are empty; then task is set to another thread. Kernel threads and
 * zombies have none. Sets *fd to the file of the counts, the caller's; on errors it is closed. */
int ksm_process_find_counts(struct ksm_process_reader *r, struct ksm_process *process, int *fd);

/* Sets the counts and opted_in from that file. From Linux 6.1 to 6.3 it lacks ksm_merging_pages, of
 * which there is a second file: after -ECANCELED, blocking_call_close() knows whether fd is open.
 * -ESRCH: the process has exited. -ENODATA: the thread has exited, or is a kernel thread. */
int ksm_process_read_counts(struct ksm_process_reader *r, int fd, struct ksm_process *process);

/* Sets merging from ksm_merging_pages, which does not walk the mappings of the process. */
int ksm_process_read_merging(const struct ksm_process_reader *r, struct ksm_process *process);

/* Sets *merge_any to whether all anonymous memory is mergeable, by prctl(): 1 or 0; -1 if the
 * kernel does not report it (before 6.14). fd: the file of the counts. */
int ksm_process_read_merge_any(const struct ksm_process_reader *r, int fd,
                               const struct ksm_process *process, int *merge_any);

/* Returns whether a process has merged, zero or tracked pages: one that merges nothing costs memory
 * too. */
bool ksm_process_has_pages(const struct ksm_process *process);

/* Returns merging + zero, at most INT64_MAX. */
int64_t ksm_process_merged_pages(const struct ksm_process *process);

/* Sets resident and mapped from statm. Returns 0 or -ECANCELED. */
int ksm_process_read_resident(const struct ksm_process_reader *r, struct ksm_process *process);

/* From status. Sizes are bytes; 0 if the process has none, or the kernel does not report them:
 * before Linux 4.5 anonymous, file and shmem. */
struct ksm_process_status {
    int64_t tgid, parent; /* pids */
    int64_t user;         /* effective uid; -1: not known */
    int64_t resident;     /* VmRSS; -1: no memory (kernel threads, zombies) */
    int64_t anonymous, file, shmem, hugetlb, swapped;
    int64_t pinned, locked;
};
int ksm_process_read_status(const struct ksm_process_reader *r, const struct ksm_process *process,
                            struct ksm_process_status *status);

/* Sets *started to its start in clock ticks since boot; 0 if that cannot be read. Returns 0; or
 * -ECANCELED, or another -errno after a transient error: then *started is unchanged. */
int ksm_process_read_started(const struct ksm_process_reader *r, const struct ksm_process *process,
                             int64_t *started);

/* Checks that the pid still belongs to the process that started at process->started: -ESRCH if not,
 * another -errno after a transient error. */
int ksm_process_check(const struct ksm_process_reader *r, const struct ksm_process *process);

/* Sets *name to that of its consumer. On errors *name is unchanged, as a part of the files would
 * give another name. */
int ksm_process_read_name(const struct ksm_process_reader *r, const struct ksm_process *process,
                          struct ksm_consumer_name *name);

/* Reads its comm, with the newline. Returns the number of bytes. */
ssize_t ksm_process_read_comm(const struct ksm_process_reader *r, const struct ksm_process *process,
                              char *comm, size_t size);

/* Sets text to the base name of argv[0], cut to fit; "" if there is none or it cannot be read. */
int ksm_process_read_program(const struct ksm_process_reader *r, const struct ksm_process *process,
                             char *text, size_t size);

/* Sets text to its comm, cleaned for messages; "?" if there is none. May be called while a thread
 * is stuck: reading comm takes no lock of the process (fs/proc/base.c, comm_show). */
void ksm_process_format_comm(const struct ksm_process_reader *r, int pid,
                             char text[static KSM_CONSUMER_NAME_SIZE]);

#endif
