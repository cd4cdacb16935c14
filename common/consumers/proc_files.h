/* SPDX-License-Identifier: MIT
 *
 * Reads the files of one process in /proc.
 *
 * Processes exit, and their ids are used again, between any two calls: that is no error, but a
 * status. Reading may block for ever, so it is announced (blocking_call.h). All functions return
 * -errno, and -ECANCELED if the thread was abandoned: then they have touched nothing since, and
 * what they opened is closed.
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
    int task;      /* the thread whose files are read: pid, unless the first thread has exited */
    int status;    /* of the last read: 0, or -errno and the counts mean nothing */
    int counts_fd; /* kept descriptor of ksm_stat (or ksm_merging_pages); -1: none */
    int statm_fd;  /* kept descriptor of statm; -1: none */
    int64_t
        started; /* clock ticks since boot: identifies it together with pid; 0: counts_fd does */
    int64_t merging;    /* ksm_merging_pages */
    int64_t zero;       /* ksm_zero_pages */
    int64_t previous;   /* merging + zero at the last table (consumers.c); -1: not known */
    int64_t rmap_items; /* ksm_rmap_items: tracked pages */
    int64_t resident;   /* RSS, which includes merged pages but not zero pages; -1: not known */
    int64_t mapped;     /* pages of files and shmem in resident; -1: not known */
    int opted_in;       /* 1 or 0; -1: not reported */
    bool merging_only; /* the last read set merging only; zero, rmap_items and opted_in are older */
    enum ksm_read_speed speed;
    struct ksm_consumer_name name;
    char comm[24]; /* with its newline, when name was read last; "": when it was found. The kernel
                    * has 16 bytes at most (TASK_COMM_LEN) */
};

/* What this kernel reports about a process. */
enum ksm_process_source {
    KSM_PROCESS_NOTHING,       /* before 5.19 */
    KSM_PROCESS_MERGING_PAGES, /* 5.19: ksm_merging_pages */
    KSM_PROCESS_STAT,          /* 6.1: ksm_stat, its fields growing since */
};

/* Who reads. */
struct ksm_process_reader {
    int proc;                   /* descriptor of the directory /proc, the caller's */
    struct blocking_call *call; /* of the thread that reads, or NULL */
    enum ksm_process_source source;
};

/* Asks root/proc/self what this kernel reports, or process 1 where /proc is not the reader's own.
 */
enum ksm_process_source ksm_process_find_source(const char *root);

/* The pid that the name of an entry of /proc is, or 0. */
int ksm_process_pid(const char *name);

/* A process of which only the pid is known. */
struct ksm_process ksm_process_of(int pid);

/* Opens a file of the process, or of its thread task; the descriptor is the caller's. */
int ksm_process_open(const struct ksm_process_reader *r, const struct ksm_process *process,
                     const char *name);

/* Opens the file of its counts. */
int ksm_process_open_counts(const struct ksm_process_reader *r, const struct ksm_process *process);

/* Sets the counts of a process that is read the first time, and task. A process whose first thread
 * has ended (pthread_exit() in main) reads empty as a whole; its other threads do not. Kernel
 * threads and zombies have no others. *fd is the file of the counts then, the caller's; without
 * success there is none. */
int ksm_process_find_counts(struct ksm_process_reader *r, struct ksm_process *process, int *fd);

/* Sets its counts and opted_in from that file. -ECANCELED: fd is closed. -ESRCH: there is no such
 * process any more; -ENODATA: nothing is left of the thread, or it is one of the kernel's. */
int ksm_process_read_counts(struct ksm_process_reader *r, int fd, struct ksm_process *process);

/* Sets merging alone, from ksm_merging_pages: that does not walk the mappings of the process. */
int ksm_process_read_merging(const struct ksm_process_reader *r, struct ksm_process *process);

/* Whether all its anonymous memory is mergeable, by prctl(): 1, 0, or -1 if the kernel does not
 * report it (before 6.14). fd: of its counts. Returns 0 or -errno. */
int ksm_process_read_merge_any(const struct ksm_process_reader *r, int fd,
                               const struct ksm_process *process, int *merge_any);

/* Whether it takes part: it has merged pages, zero pages or rmap items, because a process that
 * merges nothing still costs memory. */
bool ksm_process_takes_part(const struct ksm_process *process);

/* Sets resident and mapped from statm: 0, or -ECANCELED. */
int ksm_process_read_resident(const struct ksm_process_reader *r, struct ksm_process *process);

/* What status shows of a process. Sizes are bytes, 0 where it has none or the kernel does not show
 * them: before 4.5 those of each kind. */
struct ksm_process_status {
    int64_t tgid, parent; /* pids */
    int64_t user;         /* effective uid, -1: not known */
    int64_t resident;     /* VmRSS; -1: it has no memory, as kernel threads and zombies */
    int64_t anonymous, file, shmem, hugetlb, swapped;
    int64_t pinned, locked;
};
int ksm_process_read_status(const struct ksm_process_reader *r, const struct ksm_process *process,
                            struct ksm_process_status *status);

/* When it was started, in clock ticks since boot; 0 if that cannot be read; -errno if only not at
 * this moment. */
int64_t ksm_process_started(const struct ksm_process_reader *r, const struct ksm_process *process);

/* Whether the pid is still that of the process that was started at process->started: 0; -ESRCH if
 * not; or another -errno if that is not known at this moment. */
int ksm_process_check(const struct ksm_process_reader *r, const struct ksm_process *process);

/* Names the consumer that it belongs to. What could not be read would give it another's name: then
 * name stays as it is. */
int ksm_process_read_name(const struct ksm_process_reader *r, const struct ksm_process *process,
                          struct ksm_consumer_name *name);

/* The bytes of its comm as the kernel has them, with a newline: their number. */
ssize_t ksm_process_read_comm(const struct ksm_process_reader *r, const struct ksm_process *process,
                              char *comm, size_t size);

/* Sets text to the base name of its argv[0], cut to fit; "" if there is none or it cannot be read.
 * Returns 0, or -errno if it cannot be read. */
int ksm_process_read_program(const struct ksm_process_reader *r, const struct ksm_process *process,
                             char *text, size_t size);

/* Its comm for messages, "?" if there is none. The file takes no lock of the process
 * (fs/proc/base.c, comm_show). */
void ksm_process_comm(const struct ksm_process_reader *r, int pid,
                      char text[static KSM_CONSUMER_NAME_SIZE]);

#endif
