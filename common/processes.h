/* SPDX-License-Identifier: MIT
 *
 * The processes that take part in KSM. Each sample walks a part of /proc to find them, and reads
 * the known ones again through kept descriptors.
 *
 * A process takes part if it has merged pages, zero pages or rmap items, because a process that
 * merges nothing still costs memory. Processes exit, and their ids are used again, between any two
 * calls. That is no error.
 *
 * Reading a file of a process may block for as long as that process likes: ksm_stat (Linux 6.14)
 * and cmdline wait for its mmap lock. So every such reading is announced in a guard (guard.h). If
 * the guard is given up, the function returns -ECANCELED and has touched nothing since.
 */
#ifndef KSM_PROCESSES_H
#define KSM_PROCESSES_H

#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>

#include "guard.h"
#include "name.h"

/* One process that takes part, or has opted in to do so. Counts are pages; resident and mapped are
 * -1 where they could not be read. */
struct ksm_process {
    int pid;
    int task;        /* the thread whose files are read: pid, unless the first thread has ended */
    int status;      /* of the last reading: 0, or -errno and the counts mean nothing */
    int fd;          /* kept: its ksm_stat (or ksm_merging_pages), or below 0, */
    int statm;       /* and its statm, or below 0 */
    int64_t started; /* in clock ticks since boot: identifies it together with pid; 0 if fd does */
    int64_t merging; /* ksm_merging_pages */
    int64_t zero;    /* ksm_zero_pages */
    int64_t before;  /* merging + zero as consumers.c counted them last; -1: it did not */
    int64_t rmap_items; /* pages watched, 64 bytes of the kernel's memory each */
    int64_t resident;   /* RSS, which counts merged pages and leaves out zero pages */
    int64_t mapped;     /* the part of it that is pages of files and shared memory */
    int opted_in;       /* 1, 0, or -1 if the kernel does not report it */
    struct ksm_name name;
    char comm[24]; /* as it was when the name was read last; "": not read again yet. The kernel has
                    * 16 bytes at most, with the newline (TASK_COMM_LEN) */
};

/* What this kernel reports about a process. */
enum ksm_process_source {
    KSM_PROCESS_NOTHING,       /* before 5.19 */
    KSM_PROCESS_MERGING_PAGES, /* 5.19: ksm_merging_pages */
    KSM_PROCESS_STAT,          /* 6.1: ksm_stat, its fields growing since */
};

/* Why some processes may not be read. */
enum ksm_process_denial {
    KSM_DENIED_NOT,
    KSM_DENIED_MODE, /* EACCES: their files are their owner's, which requires cap_dac_read_search */
    KSM_DENIED_MODULE,   /* the same with that capability in force: a security module */
    KSM_DENIED_HIDEPID1, /* EPERM: /proc is mounted with hidepid=1 (fs/proc/base.c,
                          * proc_pid_permission) */
};

/* A walk over /proc in progress, or over a part of it. */
struct ksm_walk {
    DIR *dir; /* NULL before the first one */
    bool on;
    int64_t at; /* the position of the next entry */
};

/* How many processes may be set aside. */
enum { KSM_ASIDE = 8 };

struct ksm_processes {
    /* The result: by ascending pid. Those that do not take part yet have opted in. */
    struct ksm_process *list;
    size_t count;

    enum ksm_process_source source;
    bool hidden; /* hidepid=2: other users' processes are not even listed */
    enum ksm_process_denial denial;
    int64_t denied;   /* processes that may not be read, in the last whole round */
    int64_t opted_in; /* processes with memory that KSM may merge (madvise, prctl), whether it has
                       * scanned it yet or not, in the same round; -1: not reported (before 6.14) */
    bool swept;       /* a round is over: everybody was met */
    bool all_known;   /* set by who uses this: the list has all pages that KSM has records of, so a
                       * round need not hurry */

    const char *root;
    struct ksm_guard *guard; /* of who reads; NULL: nobody watches */
    int aside[KSM_ASIDE];    /* pids, 0: a free place */
    bool capable;            /* cap_dac_read_search is in force */
    bool own;                /* /proc shows the pids of the namespace that this program is in */
    bool whole;              /* one read of ksm_stat does not give all that is wanted of it */
    size_t size;
    size_t refreshed; /* how far the running refresh is in list */
    int kept;         /* descriptors kept, */
    int may_keep;     /* and how many may be */
    enum { KSM_LOOK_BEGIN, KSM_LOOK_NEW, KSM_LOOK_ROUND, KSM_LOOK_REFRESH } look;
    struct ksm_walk round;
    unsigned looks;        /* samples so far: whose turn it is to be named anew */
    int64_t left;          /* entries that the round may still see at this sample */
    int64_t entries;       /* seen in this round, */
    int64_t expected;      /* and in the last one */
    struct ksm_walk fresh; /* over the pids that were given out of late: */
    int newest;            /* after this one, */
    int latest;            /* up to this one; pids begin anew after the largest */
    int before;            /* what was the latest one at the last sample */
    int64_t offset;        /* a pid's position in /proc less that pid; 0: not known */
    enum ksm_process_denial denial_now;
    int64_t denied_now;
    int64_t opted_in_now;
};

enum {
    KSM_PROCESSES_KEPT = 2048
}; /* descriptors at most, two a process; 3.9 kB of the kernel's
    * memory each */

/* root stays the caller's and must live as long. may_keep: descriptors that may be kept open, at
 * most KSM_PROCESSES_KEPT. Finds out what this kernel reports about processes (source). Opens
 * nothing yet. */
void ksm_processes_init(struct ksm_processes *p, const char *root, int may_keep);

/* Updates the list in three steps:
 * - It reads the processes that were started since the last call but one, because some opt in a
 *   while after their start.
 * - It walks over a part of /proc, so that all of it is seen within KSM_ROUND_SAMPLES calls. The
 *   first call walks over all of it. If all are known, it is 128 entries at most.
 * - It reads all processes on the list again.
 * New ones are named and added, and those that have exited are removed. Each process is named again
 * within KSM_ROUND_SAMPLES calls after it was found or has another comm (it runs another program),
 * and once in KSM_NAME_SAMPLES calls anyway (it may have been moved to another cgroup). Returns 0;
 * -ECANCELED if a reading was given up: after ksm_processes_set_aside() for that process, the next
 * call continues there; another -errno if /proc cannot be walked. */
int ksm_processes_look(struct ksm_processes *p);

enum { KSM_ROUND_SAMPLES = 6, KSM_NAME_SAMPLES = 6 * KSM_ROUND_SAMPLES };

/* Takes a process off the list, and leaves it alone until ksm_processes_take_back(). fd, which is
 * being read, stays open: who reads it closes it. At most KSM_ASIDE processes. */
void ksm_processes_set_aside(struct ksm_processes *p, int pid, int fd);
void ksm_processes_take_back(struct ksm_processes *p, int pid);

/* The comm of a process, for messages; its file takes no lock of the process (fs/proc/base.c,
 * comm_show). "?" if there is none. */
void ksm_processes_comm(const struct ksm_processes *p, int pid, char text[static KSM_NAME_SIZE]);

/* For callers with a walk of their own, who make no use of the list: sets *pid to the next process
 * of /proc, 0 at the end; and of one of these, names the consumer that it belongs to, or returns
 * when it was started (0: not known). They return -errno, -ECANCELED as ksm_processes_look(). */
int ksm_processes_next(struct ksm_processes *p, int *pid);
int ksm_processes_name(struct ksm_processes *p, int pid, struct ksm_name *name);
int64_t ksm_processes_started(struct ksm_processes *p, int pid);

/* Whether a process on the list takes part, as above. */
bool ksm_process_takes_part(const struct ksm_process *process);

/* Forgets all processes and closes everything. Who is set aside stays so. */
void ksm_processes_clear(struct ksm_processes *p);

#endif
