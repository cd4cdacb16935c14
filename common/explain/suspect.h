/* SPDX-License-Identifier: MIT
 *
 * Reads what is known of one process (causes.h).
 *
 * suspect_init() for a new one; suspect_open() before the sandbox is entered; then suspect_counts()
 * and suspect_mappings(); if its cause is unclear, suspect_pages() and some time later
 * suspect_pages_again().
 *
 * The mappings and pages of a process are for those that may ptrace it, and Landlock forbids that
 * to everything in a domain (hook_ptrace_access_check of security/landlock). So the files are
 * opened before the sandbox is entered, and read in it. Opening and reading both may block for ever
 * (blocking_call.h). A function returns 0, whatever could not be read, or -ECANCELED.
 *
 * smaps is read only if no mapping has more than PAGEMAP_ENTRIES pages, because the kernel walks
 * the page tables of a whole mapping under the lock (9 ms a GiB of small pages, measured on
 * Linux 6.18). Of a larger process what only smaps has is not known, and maps and pagemap are used
 * for the rest. Nothing is written, and no page is faulted in: only those are read that pagemap
 * shows to be in memory.
 */
#ifndef KSM_SUSPECT_H
#define KSM_SUSPECT_H

#include "consumers/proc_files.h"
#include "explain/causes.h"

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

enum suspect_file { SUSPECT_MAPS, SUSPECT_SMAPS, SUSPECT_PAGEMAP, SUSPECT_MEM, SUSPECT_FILES };

struct suspect {
    struct explain_process is;
    bool skipped;          /* reading it blocks */
    int64_t started;       /* as in proc_files.h */
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

/* Sets is and the rest of a new one from the status of a process. */
void suspect_init(struct suspect *one, int pid, const struct ksm_process_status *status);

/* Sets started, and opens its files: sets fd. */
int suspect_open(struct suspect *one, const struct ksm_process_reader *r);

/* Its name, its age, and what it merges; then its mappings. */
int suspect_counts(struct suspect *one, struct ksm_process_reader *r, int64_t page_size);
int suspect_mappings(struct suspect *one, struct blocking_call *call, int64_t page_size);

/* Some of its pages; and those again, which sets changed if they were enough. */
int suspect_pages(struct suspect *one, struct blocking_call *call, int64_t page_size);
int suspect_pages_again(struct suspect *one, struct blocking_call *call, int64_t page_size);

#endif
