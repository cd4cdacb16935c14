/* SPDX-License-Identifier: MIT
 *
 * Gathers what is known of the largest processes that merge little (causes.h).
 *
 * The mappings of a process are read by who may ptrace it, and a Landlock domain forbids that for
 * all who are outside of it (hook_ptrace_access_check, from Linux 5.13). So the files are opened
 * before the sandbox is entered, and read in it. Both may keep a reader waiting for as long as the
 * process likes (mmap_lock, exec_update_lock), so a thread does it, as in sampler.h, and a process
 * that takes too long is left aside with that thread: it is on the list, as one that waits.
 *
 * smaps is read once for each process that may come on the list: it walks the page tables, 22 ms a
 * GiB of small pages. Nothing is written, and no page is faulted in: only those are read that
 * pagemap shows to be there.
 */
#ifndef KSM_LARGE_H
#define KSM_LARGE_H

#include <pthread.h>
#include <stdatomic.h>

#include "causes.h"
#include "guard.h"

enum {
    LARGE_CANDIDATES = 64, /* the largest ones: most of them merge, or are many of one name */
    LARGE_MIB = 64,        /* what is smaller is no large process */
    LARGE_PAGES = 512,     /* of a process are read twice, at most */
    LARGE_ASIDE = 8,       /* threads that wait for a process, at most */
};

/* What smaps says of a process, in bytes. */
struct large_mappings {
    int64_t anonymous, mergeable, huge, device, locked;
    uint64_t start, end; /* of the mapping on offer that has most memory, */
    int64_t most;        /* and how much that is */

    /* Of the mapping that is being read. */
    uint64_t from, to;
    int64_t size, rss, own, thp;
};

/* Takes the next line of smaps, without its newline. Text by strangers: the name of a file may hold
 * any byte but that. What is not understood is passed over. */
void large_take_line(struct large_mappings *mappings, const char *line);

enum large_file { LARGE_DIR, LARGE_SMAPS, LARGE_PAGEMAP, LARGE_MEM, LARGE_FILES };

struct large_candidate {
    struct explain_process is;
    int64_t bound;       /* bytes: its memory is no more */
    int64_t locked;      /* VmLck */
    int fd[LARGE_FILES]; /* or -errno */
    struct large_mappings mappings;
    bool unclear;                 /* its pages are to be read */
    uint64_t hashes[LARGE_PAGES]; /* 0: was not read */
};

struct large;

struct large_thread {
    pthread_t id;
    struct large *large;
    struct ksm_guard guard;
    atomic_bool ended;
    bool used;
};

/* Does something with one candidate; false: it was taken over, and nothing may be touched. */
typedef bool large_step(struct large *large, struct ksm_guard *guard, struct large_candidate *one);

struct large {
    int proc; /* the directory's descriptor; -1: none */
    int64_t page_size;
    struct large_candidate list[LARGE_CANDIDATES]; /* by descending bound */
    int count;
    large_step *step; /* what is being done, */
    int at;           /* and with whom */
    struct explain_processes found;
    struct large_thread threads[LARGE_ASIDE + 1];
};

/* Finds the candidates below root and opens their files. Before the sandbox. A program with more
 * rights than who started it finds none. */
void large_open(struct large *large, const char *root);

/* Reads them, and sets large->found and facts->processes. Takes some ms, and a second more if pages
 * are read twice. Threads may stay behind: large must be there until the end. */
void large_read(struct large *large, struct explain_facts *facts);

#endif
