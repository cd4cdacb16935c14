/* SPDX-License-Identifier: MIT
 *
 * The largest processes that merge little, and what is known of them.
 *
 * A process may keep its readers waiting (inspect.h), so a thread reads, as in sampler.h. One that
 * waits too long is left behind, and the process that it waits for is on the list for that.
 */
#ifndef KSM_LARGE_H
#define KSM_LARGE_H

#include <pthread.h>
#include <stdatomic.h>

#include "inspect.h"

enum {
    LARGE_CANDIDATES = 64, /* the largest ones: most of them merge, or are many of one name */
    LARGE_MIB = 64,        /* what is smaller is no large process */
    LARGE_ASIDE = 8,       /* threads that wait for a process, at most */
};

struct large;

struct large_thread {
    pthread_t id;
    struct large *large;
    struct ksm_guard guard;
    atomic_bool ended;
    bool used;
};

struct large {
    int64_t page_size;
    struct inspected list[LARGE_CANDIDATES]; /* by descending bound */
    int count;
    struct explain_processes found;

    /* What is being done, and with whom; false: it was taken over, and nothing may be touched. */
    bool (*step)(struct large *large, struct inspected *one, struct ksm_guard *guard);
    int at;
    int proc; /* the directory's descriptor */
    struct large_thread threads[LARGE_ASIDE + 1];
};

/* Finds the candidates below root and opens their files: before the sandbox. A program with more
 * rights than who started it finds none. Before Linux 4.5, which tells no kinds of memory, there
 * are none. */
void large_open(struct large *large, const char *root);

/* Reads them, and sets facts->processes. Takes some ms, and a second more if pages are read twice.
 * Threads may stay behind: large must be there until the program ends. */
void large_read(struct large *large, struct explain_facts *facts);

#endif
