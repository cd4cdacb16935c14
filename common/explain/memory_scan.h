/* SPDX-License-Identifier: MIT
 *
 * Reads the memory of all processes, or of those that match names of the command line.
 *
 * memory_scan_init(), then memory_scan_run() with the steps: the first one is
 * memory_scan_list(), the second one memory_scan_read(), and the caller may add others. Nothing
 * is freed: a stuck thread may use it, and the program ends after one scan.
 *
 * Reading may block for ever, so all steps run in a worker thread (worker.h). If that is blocked
 * too long it is abandoned, its process is skipped, and another thread continues. With 256 stuck
 * threads, the scan ends early. The thread keeps to a share of one core. While it runs, it owns
 * the whole scan and the caller's data; other threads may only read what is atomic.
 */
#ifndef KSM_MEMORY_SCAN_H
#define KSM_MEMORY_SCAN_H

#include <dirent.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consumers/proc_files.h"
#include "explain/page_reader.h"
#include "explain/process_match.h"

struct memory_scan_options {
    const char *root;
    char *const *names;     /* of the command line, see process_match.h */
    size_t name_count;      /* 0: all processes are wanted */
    int cpu;                /* at most so many percent of one core */
    const atomic_int *stop; /* not 0: end early */
    bool merged_only; /* read processes that have merged pages, whether they are named or not */
};

struct memory_scan_process {
    int pid;
    int parent;
    int64_t started;   /* as in proc_files.h */
    int64_t user;      /* effective uid, -1: not known */
    bool named;        /* a name matches it, or there are no names */
    bool wanted;       /* to be read */
    bool blocks;       /* skipped, as reading it blocks */
    bool hugetlb;      /* it has pages of hugetlbfs */
    int64_t swapped;   /* bytes */
    int64_t anonymous; /* bytes */
    int64_t merging;   /* its ksm_merging_pages, 0 if not known; with merged_only */
    uint64_t stack;    /* the end address of its stack; 0: not known, as if not all was read */
    uint64_t pages;    /* read */
    size_t consumer;   /* index into consumers, set at the end of the list */
    struct ksm_consumer_name name;
};

struct memory_scan_consumer {
    struct ksm_consumer_name name;
    bool all_named; /* all of its processes are named */
    bool any_named; /* one of its processes is named */
};

/* How many processes were read, or why not. */
struct memory_scan_counts {
    int64_t processes;   /* read */
    int64_t denied;      /* may not be read */
    int64_t exited;      /* exited, or ran another program meanwhile */
    int64_t blocking;    /* skipped, as reading them blocks */
    int64_t failed;      /* could not be read for another reason */
    int error;           /* -errno of the last that failed */
    int64_t swapped;     /* bytes in swap, not read */
    uint64_t unreadable; /* pages in memory that cannot be read: of devices, or secret */
    int64_t ms;          /* duration of the scan */
    bool partial;        /* it was stopped early */
    bool as_root;        /* set by the caller: this program runs as root */
};

struct memory_scan;

/* Does a part of a step. Returns 0 to be called again; 1 at the end of the step; -ECANCELED as soon
 * as a call returns that; or another -errno, which ends the scan. */
typedef int memory_scan_step_fn(struct memory_scan *s, struct page_reader *reader);

/* Processes a batch of pages of list[i]. Returns 0; or -errno, which ends the scan. */
typedef int memory_scan_batch_fn(struct memory_scan *s, const struct page_reader *reader, size_t i);

enum { MEMORY_SCAN_LIST, MEMORY_SCAN_READ };

struct memory_scan {
    /* The result. */
    struct memory_scan_process *list;
    size_t count;
    struct memory_scan_consumer *consumers; /* by name */
    size_t consumer_count;
    struct memory_scan_counts counts;
    const char *unknown; /* the first name that matches no process, or NULL */
    uint64_t page_size;

    /* The progress: the step, and in pages what it has read of what it is expected to read. */
    _Atomic size_t step;
    _Atomic uint64_t done, expected;

    /* Set by the caller. */
    struct memory_scan_options options;
    memory_scan_step_fn *const *steps;
    size_t step_count;
    memory_scan_batch_fn *on_batch;
    bool contents; /* whether the contents of pages are read, or only their places */
    void *data;

    /* For the caller's steps. */
    size_t pos;     /* position of the step, 0 at first */
    size_t current; /* the process that is read */

    /* Private. */
    DIR *proc;
    struct ksm_process_reader files;
    struct process_match match; /* has the processes of list, in the same order */
    size_t size;
    bool comparing;       /* the current process is compared with its parent, and not read yet */
    int blocking_parent;  /* a pid that no process is compared with any more */
    int status;           /* 0, or the -errno that ends the scan */
    int self;             /* its own pid */
    bool own_pids;        /* /proc is that of this program's PID namespace */
    bool only_pids;       /* all names are pids: no other process is listed */
    int64_t throttled_ms; /* the time from which throttle() counts */
    int64_t spent_ms;     /* CPU time before the scan */
};

/* Initializes a scan and opens nothing. What options point to remains the caller's and must
 * outlive the scan. Set steps, step_count, on_batch, contents and data afterwards. Returns 0 or
 * -ENOMEM. */
int memory_scan_init(struct memory_scan *s, const struct memory_scan_options *options);

/* Runs all steps; calls progress (unless NULL) some times a second. Returns 0; -ENOMEM or -EAGAIN
 * for lack of memory or threads; -ETIMEDOUT if the thread does not stop, as it gets no processor:
 * then it still owns the scan; or another -errno if root/proc cannot be read. */
typedef void memory_scan_progress_fn(const struct memory_scan *s);
int memory_scan_run(struct memory_scan *s, memory_scan_progress_fn *progress);

/* The first two steps. */
memory_scan_step_fn memory_scan_list, memory_scan_read;

/* For the caller's steps. Opens the files of a process, if it is still the one on the list. Returns
 * 0 or -errno. Call page_reader_close() after any result but -ECANCELED: then return at once. */
int memory_scan_open(struct memory_scan *s, struct page_reader *reader,
                     const struct memory_scan_process *process);

/* Returns whether the scan is to end early. */
bool memory_scan_is_stopped(const struct memory_scan *s);

/* Pauses until the program's CPU time since the start of the scan is within options.cpu. */
void memory_scan_throttle(struct memory_scan *s);

#endif
