/* SPDX-License-Identifier: MIT
 *
 * The processes that take part in KSM. Each sample walks a part of /proc to find them, and reads
 * the known ones again through kept descriptors.
 */
#ifndef KSM_PROCESS_LIST_H
#define KSM_PROCESS_LIST_H

#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>

#include "consumers/proc_files.h"

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
enum { KSM_SKIPPED_MAX = 8 };

struct ksm_process_list {
    /* The result: by ascending pid. Those that do not take part yet have opted in. */
    struct ksm_process *list;
    size_t count;

    bool hidden; /* hidepid=2: other users' processes are not even listed */
    enum ksm_process_denial denial;
    int64_t denied;   /* processes that may not be read, in the last whole round */
    int64_t opted_in; /* processes with memory that KSM may merge (madvise, prctl), whether it has
                       * scanned it yet or not, in the same round; -1: not reported (before 6.14) */
    bool swept;       /* a round is over: everybody was met */
    bool all_known;   /* set by who uses this: the list has all pages that KSM has records of, so a
                       * round need not hurry */

    const char *root;
    struct ksm_process_reader reader;
    int aside[KSM_SKIPPED_MAX]; /* pids, 0: a free place */
    int64_t allowed_us; /* CPU time that slow readings of counts may use at a sample; set by the
                         * user of this after ksm_process_list_init(), which sets no limit */
    bool capable;       /* cap_dac_read_search is in force */
    bool own;           /* /proc shows the pids of the namespace that this program is in */
    size_t size;
    size_t refreshed; /* how far the running refresh is in list */
    int kept;         /* descriptors kept, */
    int may_keep;     /* and how many may be */
    enum { KSM_LOOK_BEGIN, KSM_LOOK_NEW, KSM_LOOK_ROUND, KSM_LOOK_REFRESH } look;
    struct ksm_walk round;
    int64_t left_us;       /* of allowed_us, at this sample */
    int turn;              /* slow processes up to this pid have had their turn, */
    int next_turn;         /* and up to this one at this sample */
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
    KSM_KEPT_DESCRIPTORS_MAX = 2048
}; /* descriptors at most, two a process; 3.9 kB of the kernel's
    * memory each */

/* root stays the caller's and must live as long. may_keep: descriptors that may be kept open, at
 * most KSM_KEPT_DESCRIPTORS_MAX. Finds out what this kernel reports about processes
 * (reader.source). Opens nothing yet. */
void ksm_process_list_init(struct ksm_process_list *p, const char *root, int may_keep);

/* Updates the list in three steps:
 * - It reads the processes that were started since the last call but one, because some opt in a
 *   while after their start.
 * - It walks over a part of /proc, so that all of it is seen within KSM_ROUND_SAMPLES calls. The
 *   first call walks over all of it. If all are known, it is 128 entries at most.
 * - It reads all processes on the list again. ksm_stat walks the mappings of a process under its
 *   mmap lock, up to the first mergeable one (ksm_process_mergeable() of mm/ksm.c, Linux 6.14):
 *   3.9 ms if that is the last of 60,000. The processes where this is slow are read in turn, within
 *   allowed_us of CPU time at a sample. Of the others ksm_merging_pages is read, which walks
 *   nothing, so only their zero pages, rmap_items and opted_in are older. The walk over /proc stops
 *   early too if it has used as much, but not the first one.
 * New ones are named and added, and those that have exited are removed. Each process is named again
 * within KSM_ROUND_SAMPLES calls after it was found or has another comm (it runs another program),
 * and once in KSM_NAME_SAMPLES calls anyway (it may have been moved to another cgroup). Returns 0;
 * -ECANCELED if the thread was abandoned: after ksm_process_list_skip() for that process, the next
 * call continues there; another -errno if /proc cannot be walked. call: of the thread, or NULL. */
int ksm_process_list_update(struct ksm_process_list *p, struct blocking_call *call);

/* Discards an update that returned -ECANCELED: the next call starts over. */
void ksm_process_list_discard(struct ksm_process_list *p);

enum { KSM_ROUND_SAMPLES = 6, KSM_NAME_SAMPLES = 6 * KSM_ROUND_SAMPLES };

/* Takes a process off the list, and does not read it until ksm_process_list_resume(). fd stays
 * open: the stuck thread that reads it will close it. At most KSM_SKIPPED_MAX processes. */
void ksm_process_list_skip(struct ksm_process_list *p, int pid, int fd);
void ksm_process_list_resume(struct ksm_process_list *p, int pid);

/* Forgets all processes and closes everything. Who is set aside stays so. */
void ksm_process_list_clear(struct ksm_process_list *p);

#endif
