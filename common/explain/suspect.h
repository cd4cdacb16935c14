/* SPDX-License-Identifier: MIT
 *
 * Reads what is known of one process (causes.h).
 *
 * The mappings and pages of a process are for those who may ptrace it, and Landlock forbids that to
 * everybody in a domain (hook_ptrace_access_check of security/landlock). So the files are opened
 * before the sandbox is entered, and read in it. Opening and reading both may wait for as long as
 * the process likes (exec_update_lock, mmap_lock): each is announced in a guard. A function that
 * returns false was taken over, has closed what it was reading, and touches nothing any more.
 *
 * smaps walks the page tables, 22 ms a GiB of small pages: it is read once. Nothing is written, and
 * no page is faulted in: only those are read that pagemap shows to be there.
 */
#ifndef KSM_SUSPECT_H
#define KSM_SUSPECT_H

#include "explain/causes.h"
#include "system/blocking_call.h"

enum { SUSPECT_PAGES = 512 }; /* are read twice, at most */

/* What smaps says of a process, in bytes. */
struct suspect_mappings {
    int64_t anonymous, mergeable, huge, device, locked;
    uint64_t start, end; /* of the mapping on offer that has most memory, */
    int64_t most;        /* and how much that is */

    /* Of the mapping that is being read. */
    uint64_t from, to;
    int64_t size, rss, own, thp;
};

enum suspect_file { SUSPECT_DIR, SUSPECT_SMAPS, SUSPECT_PAGEMAP, SUSPECT_MEM, SUSPECT_FILES };

struct suspect {
    struct explain_process is;
    int64_t bound;         /* bytes: its memory is no more */
    int64_t locked;        /* VmLck */
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
