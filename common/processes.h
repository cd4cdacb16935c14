/* SPDX-License-Identifier: MIT
 *
 * The processes that take part in KSM: found by walking /proc a little at a time, then read again
 * and again through kept descriptors.
 *
 * A process takes part if it has merged pages, zero pages or rmap items: one that merges nothing
 * still costs. Processes end, and their ids are used again, between any two calls; that is no
 * error.
 */
#ifndef KSM_PROCESSES_H
#define KSM_PROCESSES_H

#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>

#include "name.h"

/* Pages, of one process that takes part; resident is -1 where it could not be read. */
struct ksm_process {
    int pid;
    int status;         /* of the last reading: 0, or -errno and the counts mean nothing */
    int fd;             /* kept: its ksm_stat (or ksm_merging_pages), or -1 */
    int64_t started;    /* in clock ticks since boot: with the pid, who it is; 0 if fd tells */
    int64_t merging;    /* ksm_merging_pages */
    int64_t zero;       /* ksm_zero_pages */
    int64_t rmap_items; /* pages watched, 64 bytes of the kernel's memory each */
    int64_t resident;   /* RSS, which counts merged pages and leaves out zero pages */
    int opted_in;       /* 1, 0, or -1 where the kernel does not tell */
    struct ksm_name name;
};

/* What this kernel tells of a process. */
enum ksm_process_source {
    KSM_PROCESS_NOTHING,       /* before 5.19 */
    KSM_PROCESS_MERGING_PAGES, /* 5.19: ksm_merging_pages */
    KSM_PROCESS_STAT,          /* 6.1: ksm_stat, its fields growing since */
};

struct ksm_processes {
    /* The result: processes that take part, by ascending pid. */
    struct ksm_process *list;
    size_t count;

    enum ksm_process_source source;
    bool hidden;      /* hidepid: other users' processes are not even listed */
    int64_t denied;   /* processes that may not be read, in the last whole round */
    int64_t opted_in; /* processes with memory that KSM may merge (madvise, prctl), whether it has
                       * looked at it yet or not, in the same round; -1: no process tells (6.14) */

    const char *root;
    bool whole; /* one read of ksm_stat does not give all that is wanted of it */
    size_t size;
    size_t refreshed; /* how far the running refresh is in list */
    int kept;         /* descriptors kept, */
    int may_keep;     /* and how many may be */
    DIR *proc;        /* /proc; NULL before the first walk */
    bool walking;     /* a round is running */
    bool again;       /* the last one failed */
    int64_t started;  /* ms: when it began, */
    int64_t length;   /* and how long it should take */
    int64_t entries;  /* entries of /proc seen in it, */
    int64_t expected; /* and in the last (or a guess) */
    int64_t denied_now;
    int64_t opted_in_now;
};

enum { KSM_PROCESSES_KEPT = 1024 }; /* descriptors at most; 3.9 kB of the kernel's memory each */

/* root stays the caller's and must live as long. may_keep: descriptors that may be kept open, at
 * most KSM_PROCESSES_KEPT. Sees what this kernel tells of processes (source); opens nothing yet. */
void ksm_processes_init(struct ksm_processes *p, const char *root, int may_keep);

/* Walks on, as far as must be done before until for the round to end in time, but not past
 * deadline; all in ms of CLOCK_MONOTONIC. length: how long (ms) a round that is begun now should
 * take. Newcomers are named and added to the list, those on it are named anew. Returns 0 if done, 1
 * if there is more to do before until, -errno if /proc cannot be walked. */
int ksm_processes_walk(struct ksm_processes *p, int64_t now, int64_t until, int64_t length,
                       int64_t deadline);

/* Reads all on the list again, but not past deadline (as above): those that have ended or take part
 * no more leave it. Returns 0 if all were read, 1 if it must be called again: before the next walk,
 * as list is in work. */
int ksm_processes_refresh(struct ksm_processes *p, int64_t deadline);

/* Forgets all processes and closes everything. */
void ksm_processes_clear(struct ksm_processes *p);

#endif
