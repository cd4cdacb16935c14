/* SPDX-License-Identifier: MIT
 *
 * Reads what is known of one process (causes.h).
 *
 *   suspect_init()
 *   suspect_open()            before the sandbox is entered
 *   suspect_read_counts()
 *   suspect_read_mappings()
 *   suspect_hash_pages()      only if the cause is unclear; some time later,
 *   suspect_compare_pages()
 *
 * Only processes that may ptrace a process may read its mappings and pages, and Landlock forbids
 * that to every process in a domain (hook_ptrace_access_check of security/landlock). So the files
 * are opened before the sandbox is entered, and read in it. They stay open until the program ends.
 *
 * Opening and reading may both block for ever (blocking_call.h). So all functions but
 * suspect_init() return 0, whatever could not be read, or -ECANCELED if the calling thread was
 * abandoned. Then it must not touch the suspect again.
 *
 * smaps is read only if no mapping has more than PAGEMAP_ENTRIES pages, because the kernel walks
 * the page tables of a whole mapping under the lock (9 ms a GiB of small pages, measured on
 * Linux 6.18). For a process with a larger one, maps and pagemap are read instead, and what only
 * smaps has is not known. Nothing is written, and no page is faulted in: only pages are read that
 * pagemap shows to be in memory.
 */
#ifndef KSM_SUSPECT_H
#define KSM_SUSPECT_H

#include "consumers/proc_files.h"
#include "explain/causes.h"

enum { SUSPECT_PAGES = 512 }; /* at most so many are read twice */

struct suspect_mapping {
    uint64_t start, end;                /* addresses */
    int64_t size, rss, anonymous, huge; /* bytes */
};

/* Sums over the mappings of a process, in bytes. */
struct suspect_mappings {
    int64_t anonymous, mergeable, huge, device, locked;

    /* The mapping with the most anonymous memory, only among mergeable ones if smaps was read. */
    struct suspect_mapping largest;
    struct suspect_mapping current; /* the one that is being read */
};

enum suspect_file { SUSPECT_MAPS, SUSPECT_SMAPS, SUSPECT_PAGEMAP, SUSPECT_MEM, SUSPECT_FILES };

struct suspect {
    struct explain_process facts;
    int64_t started;       /* clock ticks since boot, as in proc_files.h */
    int64_t bound;         /* bytes: upper limit of facts.memory */
    int64_t locked;        /* bytes: VmLck */
    bool merges_any;       /* all its anonymous memory is mergeable: prctl(), Linux 6.14 */
    int fd[SUSPECT_FILES]; /* or -errno */
    struct suspect_mappings mappings;
    bool unclear;                   /* the cause is unclear: its pages are read */
    uint64_t hashes[SUSPECT_PAGES]; /* contents of the pages; 0: not read */
};

/* Takes the next line of smaps, without its newline. A file name in it may hold any other byte.
 * Lines that are not understood are ignored. */
void suspect_take_line(struct suspect_mappings *mappings, const char *line);

/* Initializes a suspect from the status of a process. */
void suspect_init(struct suspect *suspect, int pid, const struct ksm_process_status *status);

/* Opens its files: sets fd and started. */
int suspect_open(struct suspect *suspect, const struct ksm_process_reader *r);

/* Reads its name, its age, and how much is merged. */
int suspect_read_counts(struct suspect *suspect, struct ksm_process_reader *r, int64_t page_size);

/* Reads its mappings, after suspect_read_counts(). */
int suspect_read_mappings(struct suspect *suspect, struct blocking_call *call, int64_t page_size);

/* Reads SUSPECT_PAGES of the pages of its largest mapping. */
int suspect_hash_pages(struct suspect *suspect, struct blocking_call *call, int64_t page_size);

/* Reads the same pages again. Sets facts.changed if there were enough of them. */
int suspect_compare_pages(struct suspect *suspect, struct blocking_call *call, int64_t page_size);

#endif
