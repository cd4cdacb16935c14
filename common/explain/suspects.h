/* SPDX-License-Identifier: MIT
 *
 * The largest processes that merge little, and what is known of them.
 *
 * Reading may block for ever, so a worker thread reads (worker.h). A process that blocks is on the
 * list for that. With 8 stuck threads, the rest is not read.
 */
#ifndef KSM_SUSPECTS_H
#define KSM_SUSPECTS_H

#include <dirent.h>

#include "explain/suspect.h"
#include "system/worker.h"

enum {
    SUSPECTS_CANDIDATES = 64, /* the largest ones: most of them merge, or are many of one name */
    SUSPECTS_MIB = 64,        /* what is smaller is no large process */
    SUSPECTS_STUCK = 8,       /* threads, at most */
};

struct suspects {
    int64_t page_size;
    struct suspect list[SUSPECTS_CANDIDATES]; /* by descending bound */
    int count;
    struct explain_processes found;

    /* Inside. */
    struct worker worker;
    DIR *proc;
    struct ksm_process_reader reader;
    int (*step)(struct suspects *large, struct suspect *one); /* what is done to all candidates */
    int at;                                                   /* the one that it is done to */
};

/* Finds the candidates below root and opens their files. Call it before the sandbox. It finds none
 * under AT_SECURE (a file capability), nor before Linux 4.5, whose status has no kinds of memory.
 */
void suspects_open(struct suspects *large, const char *root);

/* Reads them, and sets facts->processes. Takes some ms, and a second more if pages are read twice.
 */
void suspects_read(struct suspects *large, struct explain_facts *facts);

#endif
