/* SPDX-License-Identifier: MIT
 *
 * The largest processes that merge little, and what is known of them.
 *
 * A process may keep its readers waiting (suspect.h), so a thread reads, as in sampler.h. One that
 * waits too long is left behind, and the process that it waits for is on the list for that.
 */
#ifndef KSM_SUSPECTS_H
#define KSM_SUSPECTS_H

#include <pthread.h>
#include <stdatomic.h>

#include "explain/suspect.h"

enum {
    SUSPECTS_CANDIDATES = 64, /* the largest ones: most of them merge, or are many of one name */
    SUSPECTS_MIB = 64,        /* what is smaller is no large process */
    SUSPECTS_ASIDE = 8,       /* threads that wait for a process, at most */
};

struct suspects;

struct suspects_thread {
    pthread_t id;
    struct suspects *large;
    struct blocking_call guard;
    atomic_bool ended;
    bool used;
};

struct suspects {
    int64_t page_size;
    struct suspect list[SUSPECTS_CANDIDATES]; /* by descending bound */
    int count;
    struct explain_processes found;

    /* What is being done, and with whom; false: it was taken over, and nothing may be touched. */
    bool (*step)(struct suspects *large, struct suspect *one, struct blocking_call *guard);
    int at;
    int proc; /* the directory's descriptor */
    struct suspects_thread threads[SUSPECTS_ASIDE + 1];
};

/* Finds the candidates below root and opens their files: before the sandbox. A program with more
 * rights than who started it finds none. Before Linux 4.5, which tells no kinds of memory, there
 * are none. */
void suspects_open(struct suspects *large, const char *root);

/* Reads them, and sets facts->processes. Takes some ms, and a second more if pages are read twice.
 * Threads may stay behind: large must be there until the program ends. */
void suspects_read(struct suspects *large, struct explain_facts *facts);

#endif
