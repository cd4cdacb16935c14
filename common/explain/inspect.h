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
#ifndef KSM_INSPECT_H
#define KSM_INSPECT_H

#include "causes.h"
#include "guard.h"

enum { INSPECT_PAGES = 512 }; /* are read twice, at most */

/* What smaps says of a process, in bytes. */
struct inspect_mappings {
    int64_t anonymous, mergeable, huge, device, locked;
    uint64_t start, end; /* of the mapping on offer that has most memory, */
    int64_t most;        /* and how much that is */

    /* Of the mapping that is being read. */
    uint64_t from, to;
    int64_t size, rss, own, thp;
};

enum inspect_file { INSPECT_DIR, INSPECT_SMAPS, INSPECT_PAGEMAP, INSPECT_MEM, INSPECT_FILES };

struct inspected {
    struct explain_process is;
    int64_t bound;         /* bytes: its memory is no more */
    int64_t locked;        /* VmLck */
    int fd[INSPECT_FILES]; /* or -errno; open until the program ends */
    struct inspect_mappings mappings;
    bool unclear;                   /* its pages are to be read */
    uint64_t hashes[INSPECT_PAGES]; /* 0: was not read */
};

/* Takes the next line of smaps, without its newline. Text by strangers: the name of a file may hold
 * any byte but that. What is not understood is passed over. */
void inspect_take_line(struct inspect_mappings *mappings, const char *line);

/* What status says of a process: sets is and the rest of a new one. status takes no lock. */
void inspect_status(struct inspected *one, int pid, const char *status);

/* Opens its files; proc is the directory's descriptor. Sets fd. */
bool inspect_open(struct inspected *one, struct ksm_guard *guard, int proc);

/* Its name and what it merges; then its age and its mappings. */
bool inspect_counts(struct inspected *one, struct ksm_guard *guard, int64_t page_size);
bool inspect_mappings(struct inspected *one, struct ksm_guard *guard, int64_t page_size);

/* Some of its pages; and those again, which sets changed if they were enough. */
bool inspect_pages(struct inspected *one, struct ksm_guard *guard, int64_t page_size);
bool inspect_pages_again(struct inspected *one, struct ksm_guard *guard, int64_t page_size);

#endif
