/* SPDX-License-Identifier: MIT
 *
 * The pages of a process that KSM could merge, read without a trace: only pages that are in memory,
 * anonymous and mapped privately; nothing is written, and no page is faulted in or swapped in (but
 * for one that is swapped out between two system calls).
 *
 *   /proc/PID/maps      what is mapped (smaps, where Linux is older than 6.7 or there are huge
 * pages of hugetlbfs) /proc/PID/pagemap   which pages are there (PAGEMAP_SCAN, Linux 6.7, steps
 * over holes), and for each of them whether it is mapped once process_vm_readv()  their contents
 *
 * All of these wait for the process's mmap lock, so each is announced in a guard (blocking_call.h).
 * Where that is taken over, a function returns -ECANCELED; the caller then owns the struct
 * page_reader still, and nothing else.
 */
#ifndef KSM_PAGE_READER_H
#define KSM_PAGE_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "system/blocking_call.h"

enum {
    PAGE_READER_BLOCK = 64
}; /* pages at a time; what is copied is still in the cache when used */
enum { PAGE_READER_RANGES = 64 };

struct page_reader_page {
    uint64_t number; /* the address in pages */
    uint64_t frame;  /* its frame number, 0: not known (CAP_SYS_ADMIN) */
    bool shared;     /* mapped more than once: by processes that forked, or merged by KSM */
    bool huge;       /* part of a huge page */
};

/* As the kernel has it: struct page_region of linux/fs.h (Linux 6.7). */
struct page_reader_range {
    uint64_t start;
    uint64_t end;
    uint64_t categories;
};

struct page_reader {
    /* The result: page i is at bytes + i × page size. */
    struct page_reader_page pages[PAGE_READER_BLOCK];
    size_t count;
    char *bytes;
    uint64_t unreadable; /* pages of this process so far that are there and cannot be read */

    bool scans; /* this kernel has PAGEMAP_SCAN; if not, huge is not known */

    struct blocking_call *guard;
    uint64_t page_size;
    int pid;
    int pagemap;
    int mem;
    FILE *maps;
    bool smaps;
    uint64_t scanned, mapped; /* of the mapping: from here on it is to be looked through, its end */
    struct page_reader_range range; /* what was found and is to be read */
    struct page_reader_range ranges[PAGE_READER_RANGES];
    size_t next, found;
};

/* guard: of the thread that reads, or NULL. Returns 0 or -ENOMEM. */
int page_reader_init(struct page_reader *m, struct blocking_call *guard);
void page_reader_free(struct page_reader *m);

/* Opens a process's files. hugetlb: whether it has pages of hugetlbfs, which are left out. Returns
 * 0; -ESRCH if it has ended, or has no memory; -EACCES or -EPERM if it may not be read. */
int page_reader_open(struct page_reader *m, const char *root, int pid, bool hugetlb);
void page_reader_close(struct page_reader *m);

/* Reads the next block: sets pages, count and bytes. Returns 1; 0 at the end; -errno as above. A
 * count of 0 is not the end. */
int page_reader_next(struct page_reader *m);

/* Reads again what is left of these pages: at most PAGE_READER_BLOCK, in order. Returns 0 or
 * -errno. */
int page_reader_again(struct page_reader *m, const uint64_t *numbers, size_t count);

#endif
