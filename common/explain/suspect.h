/* SPDX-License-Identifier: MIT
 *
 * Reads what is known of one process (causes.h).
 *
 * suspect_status() for a new one; suspect_open() before the sandbox is entered; then
 * suspect_counts() and suspect_mappings(); if its cause is unclear, suspect_pages() and some time
 * later suspect_pages_again().
 *
 * The mappings and pages of a process are for those that may ptrace it, and Landlock forbids that
 * to everything in a domain (hook_ptrace_access_check of security/landlock). So the files are
 * opened before the sandbox is entered, and read in it. Opening and reading both may wait for as
 * long as the process likes (exec_update_lock, mmap_lock): each is a blocking call. A function
 * returns false if the thread was abandoned. It has closed the file that it was reading, and
 * touches nothing any more.
 *
 * smaps is read only if no mapping has more than PAGEMAP_ENTRIES pages, because the kernel walks
 * the page tables of a whole mapping under the lock (9 ms a GiB of small pages, measured on
 * Linux 6.18). Of a larger process what only smaps has is not known, and maps and pagemap are used
 * for the rest. Nothing is written, and no page is faulted in: only those are read that pagemap
 * shows to be in memory.
 */
#ifndef KSM_SUSPECT_H
#define KSM_SUSPECT_H

#include "explain/causes.h"
#include "system/blocking_call.h"

enum { SUSPECT_PAGES = 512 }; /* are read twice, at most */

/* Sums over the mappings of a process, in bytes. */
struct suspect_mappings {
    int64_t anonymous, mergeable, huge, device, locked;

    /* The mapping that has most memory: of those that are mergeable, if that is known. */
    uint64_t start, end;
    int64_t most;

    /* Of the mapping that is being read. */
    uint64_t from, to;
    int64_t size, rss, own, thp;
};

enum suspect_file {
    SUSPECT_DIR,
    SUSPECT_MAPS,
    SUSPECT_SMAPS,
    SUSPECT_PAGEMAP,
    SUSPECT_MEM,
    SUSPECT_FILES
};

struct suspect {
    struct explain_process is;
    int64_t bound;         /* bytes: its memory is no more */
    int64_t file;          /* bytes: RssFile */
    int64_t locked;        /* bytes: VmLck */
    bool merges_any;       /* all its anonymous memory is mergeable: prctl(), Linux 6.14 */
    int fd[SUSPECT_FILES]; /* or -errno; open until the program ends */
    struct suspect_mappings mappings;
    bool unclear;                   /* its pages are to be read */
    uint64_t hashes[SUSPECT_PAGES]; /* 0: was not read */
};

/* Takes the next line of smaps, without its newline. Text by strangers: the name of a file may hold
 * any byte but that. What is not understood is passed over. */
void suspect_take_line(struct suspect_mappings *mappings, const char *line);

/* What status says of a process: sets is and the rest of a new one. status takes no lock. */
void suspect_status(struct suspect *one, int pid, const char *status);

/* Opens its files; proc is the directory's descriptor. Sets fd. */
bool suspect_open(struct suspect *one, struct blocking_call *guard, int proc);

/* Its name and what it merges; then its age and its mappings. */
bool suspect_counts(struct suspect *one, struct blocking_call *guard, int64_t page_size);
bool suspect_mappings(struct suspect *one, struct blocking_call *guard, int64_t page_size);

/* Some of its pages; and those again, which sets changed if they were enough. */
bool suspect_pages(struct suspect *one, struct blocking_call *guard, int64_t page_size);
bool suspect_pages_again(struct suspect *one, struct blocking_call *guard, int64_t page_size);

#endif
