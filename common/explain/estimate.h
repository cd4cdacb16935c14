/* SPDX-License-Identifier: MIT
 *
 * What KSM would save if all programs opted in, or some of them: reads their memory once
 * (page_reader.h) and counts equal pages (content_index.h); then reads again those that have an
 * equal one, as KSM merges only what does not change.
 *
 * Reading may block for ever, so a worker thread reads (worker.h). If that is blocked too long it
 * is abandoned, and another goes on with the next process. With 256 stuck threads, the estimate
 * ends early.
 */
#ifndef KSM_ESTIMATE_H
#define KSM_ESTIMATE_H

#include <dirent.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "consumers/consumers.h"
#include "consumers/proc_files.h"
#include "explain/content_index.h"
#include "explain/process_match.h"
#include "explain/wrap.h"

struct estimate_options {
    const char *root;
    char *const *names;     /* which processes: words of the command line, see process_match.h */
    size_t name_count;      /* 0: all processes */
    int cpu;                /* at most so many percent of one core */
    size_t bytes;           /* memory for records */
    const atomic_int *stop; /* not 0: to end early, with what is known by then */
};

/* Sums over processes: of one of them, of a consumer, or of all. */
struct estimate_sum {
    uint64_t pages; /* read, each mapping of a shared page; what KSM would keep a record of */
    struct content_index_share share;
};

struct estimate_process {
    int pid;
    int parent;
    int64_t started; /* as in proc_files.h */
    bool wanted;     /* to be read */
    bool hugetlb;
    int64_t swapped, anonymous; /* bytes */
    bool waiting;               /* left out: reading it blocks */
    struct ksm_consumer_name name;
    struct estimate_sum sum;
};

struct estimate_consumer {
    struct ksm_consumer_name name;
    int64_t processes;
    struct estimate_sum sum;
    int64_t merged; /* bytes saved by now, -1: not known, or not all of it was to be read */
};

enum estimate_step { ESTIMATE_LIST, ESTIMATE_READ, ESTIMATE_SETTLE, ESTIMATE_AGAIN, ESTIMATE_DONE };

struct estimate {
    /* The result. */
    struct content_index_total total;
    struct estimate_sum sum;
    struct estimate_consumer *consumers; /* the largest saving first */
    size_t consumer_count;
    int64_t processes;   /* read */
    int64_t denied;      /* may not be read */
    int64_t ended;       /* ended, or became another program, meanwhile */
    int64_t waiting;     /* reading them blocks */
    int64_t swapped;     /* bytes in swap, not read */
    uint64_t unreadable; /* pages that are there and cannot be read: of devices, or secret */
    bool knows_huge;     /* this kernel tells which pages are huge */
    bool partial;        /* it was ended early */
    const char *unknown; /* a name in the options that fits nobody, or NULL */
    uint64_t page_size;
    int64_t ms; /* that it took */

    /* For the progress: of what may be read by pass, in pages. */
    _Atomic int step;
    _Atomic uint64_t done, expected;

    struct estimate_options options;
    DIR *proc;
    struct ksm_process_reader reader;
    struct content_index contents;
    struct estimate_process *list;
    size_t count, size;
    struct process_match match; /* of list, in its order */

    size_t at;            /* the next process, or record of those that are read again; */
    size_t own;           /* their number */
    size_t current;       /* the process that is read, */
    bool comparing;       /* or still compared with its parent */
    int blocking_parent;  /* a pid that no process is compared with any more */
    int status;           /* 0, or -errno: nothing more can be read */
    int self;             /* its own pid */
    bool sees_own;        /* /proc is that of this program's PID namespace */
    bool only_pids;       /* nobody else is looked at */
    int64_t begun, paced; /* ms */
    int64_t spent;        /* ms of CPU time before it began */
};

/* Gets ready; options stay the caller's. Opens nothing yet. Returns 0 or -ENOMEM. */
int estimate_init(struct estimate *e, const struct estimate_options *options);

/* Works until all is done, or to be ended; calls progress (or NULL) some times a second. Returns 0;
 * -ENOMEM or -EAGAIN for want of memory or threads; or another -errno if root/proc cannot be read.
 */
typedef void estimate_progress_fn(const struct estimate *e);
int estimate_run(struct estimate *e, estimate_progress_fn *progress);

/* Works out the result, for a host that is set as host has it. table: what its consumers save by
 * now. Returns 0 or -ENOMEM. */
int estimate_finish(struct estimate *e, const struct ksm_sample *host,
                    const struct ksm_consumer_table *table);

/* Print the result as a report, or as a JSON object. host: a sample of the host's metrics. */
void estimate_report(const struct estimate *e, const struct ksm_sample *host,
                     const struct wrap *wrap);
void estimate_json(const struct estimate *e, const struct ksm_sample *host, FILE *file);

#endif
