/* SPDX-License-Identifier: MIT
 *
 * Finds the largest processes that merge little, and what is known of them.
 *
 *   suspects_open()   before the sandbox is entered
 *   suspects_read()   once; also closes everything but the files of the candidates
 *
 * Reading may block for ever, so a worker thread reads (worker.h). A process that blocks is on the
 * list for that. With SUSPECTS_STUCK_MAX stuck threads, the remaining processes are not read.
 */
#ifndef KSM_SUSPECTS_H
#define KSM_SUSPECTS_H

#include <dirent.h>

#include "explain/suspect.h"
#include "system/worker.h"

enum {
    SUSPECTS_CANDIDATES = 64, /* many of the largest processes merge, or run the same program */
    SUSPECTS_MIN_MIB = 64,    /* a process with less memory is not examined */
    SUSPECTS_STUCK_MAX = 8,   /* stuck threads */
};

struct suspects {
    struct suspect list[SUSPECTS_CANDIDATES]; /* by descending bound */
    int count;
    struct explain_processes found;

    /* Private. */
    int64_t page_size;
    struct worker worker;
    DIR *proc;
    struct ksm_process_reader reader;
    int (*step)(struct suspects *suspects, struct suspect *suspect); /* done to each candidate */
    int index;                                                       /* the next candidate */
};

/* Finds the candidates below root and opens their files. Finds none if the program has a file
 * capability (AT_SECURE), and before Linux 4.5, whose status lacks the kinds of memory. */
void suspects_open(struct suspects *suspects, const char *root);

/* Reads the candidates, and sets facts->processes to found. Takes some ms, and a second more if
 * pages are read twice. */
void suspects_read(struct suspects *suspects, struct explain_facts *facts);

#endif
