/* SPDX-License-Identifier: MIT
 *
 * Keeps a list of the processes whose memory KSM tracks or may merge.
 *
 *   ksm_process_list_init();
 *   ksm_process_list_update();   once for each sample; list is the result
 *   ksm_process_list_clear();
 *
 * A thread that runs an update can be abandoned while it reads a process (blocking_call.h). Then
 * ksm_process_list_update() returns -ECANCELED in that thread. The supervisor owns the list from
 * then on: it calls ksm_process_list_skip() for the process, and the next update continues where
 * the abandoned one stopped. Or it calls ksm_process_list_discard(), and the next one starts over.
 */
#ifndef KSM_PROCESS_LIST_H
#define KSM_PROCESS_LIST_H

#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>

#include "consumers/proc_files.h"

enum {
    KSM_UPDATES_PER_SWEEP = 6, /* updates of a sweep while the list is incomplete */
    KSM_UPDATES_PER_NAMING =
        6 * KSM_UPDATES_PER_SWEEP,   /* updates in which each process is named again */
    KSM_SKIPPED_MAX = 8,             /* processes */
    KSM_KEPT_DESCRIPTORS_MAX = 2048, /* each costs 3.9 kB of the kernel's memory */
};

/* Why some processes may not be read. */
enum ksm_process_denial {
    KSM_DENIED_NOT,
    KSM_DENIED_MODE,     /* EACCES without cap_dac_read_search: the file belongs to another user */
    KSM_DENIED_MODULE,   /* EACCES with cap_dac_read_search: a security module */
    KSM_DENIED_HIDEPID1, /* EPERM: hidepid=1 (fs/proc/base.c, proc_pid_permission) */
};

/* What a sweep over /proc counts. */
struct ksm_sweep_counts {
    int64_t entries;  /* of the directory /proc */
    int64_t opted_in; /* processes with mergeable memory; -1: not reported (before 6.14) */
    int64_t denied;   /* processes that may not be read */
    int64_t failed;   /* processes whose files cannot be read for another reason */
    enum ksm_process_denial denial;
    bool hidden; /* hidepid=2: processes of other users are not listed */
};

/* Reads all entries of /proc, a part of them at each update. */
struct ksm_process_sweep {
    DIR *dir; /* NULL: not open */
    bool in_progress;
    bool done;            /* at least one sweep has ended */
    int64_t entries_left; /* that this update may still read */
    struct ksm_sweep_counts last, running;
};

/* Reads the processes that were started recently. The kernel gives out pids in ascending order, and
 * after the largest one it starts over. */
struct ksm_new_pids {
    DIR *dir;     /* NULL: not open */
    int after;    /* pids up to this one have been read */
    int last;     /* the pid given out last, at this update */
    int previous; /* the same at the update before */
};

/* Limits the CPU time for processes whose counts are slow to read: they take turns. */
struct ksm_slow_reads {
    int64_t max_us;  /* at one update */
    int64_t left_us; /* at this update */
    int last_pid;    /* slow processes up to this pid have been read */
};

enum ksm_update_phase {
    KSM_UPDATE_BEGIN,
    KSM_UPDATE_NEW_PIDS,
    KSM_UPDATE_SWEEP,
    KSM_UPDATE_REFRESH,
};

/* Read-only outside of this module. */
struct ksm_process_list {
    struct ksm_process *list; /* by ascending pid */
    size_t count;
    struct ksm_process_sweep sweep;

    const char *root;
    struct ksm_process_reader reader;
    bool capable;                 /* cap_dac_read_search is in force */
    bool own_pids;                /* root/proc shows the pids of this program's PID namespace */
    int skipped[KSM_SKIPPED_MAX]; /* pids; 0: a free slot */
    size_t size;                  /* of list */
    int kept;                     /* open descriptors of processes on the list */
    int max_kept;
    enum ksm_update_phase phase;
    unsigned updates; /* so far */
    struct ksm_new_pids new_pids;
    struct ksm_slow_reads slow_reads;
    size_t refreshed; /* processes on the list that this update has read again */
};

/* Opens nothing, but determines what the kernel reports about processes (reader.source). root
 * remains the caller's, and must outlive p. max_kept: descriptors that may stay open, at most
 * KSM_KEPT_DESCRIPTORS_MAX. slow_us: CPU time that an update may use to read counts of slow
 * processes, and as much again in its sweep. */
void ksm_process_list_init(struct ksm_process_list *p, const char *root, int max_kept,
                           int64_t slow_us);

/* Updates the list in three phases. call belongs to the running thread; it may be NULL.
 *
 * 1. It reads the processes that were started since the last update but one: some opt in a while
 *    after their start.
 * 2. It sweeps over a part of /proc. The first update sweeps over all of it. Later ones read 256
 *    entries, or more if a sweep would not end within KSM_UPDATES_PER_SWEEP updates. They read 128
 *    if the list is complete, which the caller knows from the host's tracked pages, and fewer if
 *    slow processes use up slow_us.
 * 3. It reads all processes on the list again, and removes those that have exited. ksm_stat walks
 *    the mappings of a process under its mmap lock up to the first mergeable one
 *    (ksm_process_mergeable() of mm/ksm.c, Linux 6.14): 3.9 ms if that is the last of 60,000. Such
 *    processes are read in turn, within slow_us. Of the others, ksm_merging_pages is read, which
 *    walks nothing: their zero, rmap_items and opted_in are older.
 *
 * A process is named again within KSM_UPDATES_PER_SWEEP updates after it was found or its comm
 * changed (it runs another program), and within KSM_UPDATES_PER_NAMING in any case (it may have
 * been moved to another cgroup).
 *
 * Returns 0; -ECANCELED, see above; or another -errno if /proc could not be read, or a process
 * could not for lack of resources: then the next update starts over. */
int ksm_process_list_update(struct ksm_process_list *p, bool complete, struct blocking_call *call);

void ksm_process_list_discard(struct ksm_process_list *p);

/* Sets previous of each process to its merged pages; -1 if they could not be read. */
void ksm_process_list_remember_counts(struct ksm_process_list *p);

/* Removes a process from the list, and does not read it until ksm_process_list_resume(). fd is left
 * open: the stuck thread closes it. At most KSM_SKIPPED_MAX processes are skipped. */
void ksm_process_list_skip(struct ksm_process_list *p, int pid, int fd);
void ksm_process_list_resume(struct ksm_process_list *p, int pid);

/* Returns whether a process is skipped. */
bool ksm_process_list_has_skipped(const struct ksm_process_list *p);

/* Removes all processes and closes everything. Skipped processes stay skipped. */
void ksm_process_list_clear(struct ksm_process_list *p);

#endif
