/* SPDX-License-Identifier: MIT
 *
 * Reads the pages of a process that KSM could merge, with their contents: those that are anonymous,
 * mapped privately and in memory.
 *
 * page_reader_init(); for each process page_reader_open(), then page_reader_next() until it returns
 * 0 or an error, and page_reader_close(); at the end page_reader_free(). For a second pass over
 * pages that are known: page_reader_open() and page_reader_read_again().
 *
 *   /proc/PID/maps     the private mappings (maps.h)
 *   /proc/PID/pagemap  their pages in memory, at most 16,384 entries a call (pagemap.h)
 *   /proc/PID/mem      the contents of these; the kernel takes the mmap lock for each page
 *
 * smaps is not read: it walks a whole mapping of any size under the lock.
 *
 * Nothing is written, and no page is faulted in or swapped in, but for one that is swapped out
 * between two of these calls. Reading /proc/PID/mem leaves a trace all the same: the kernel marks
 * each page as accessed (follow_page_pte of mm/gup.c: mark_page_accessed), as referenced in the
 * first pass and as active in the second. Reclaim then takes these pages later than it would have.
 * process_vm_readv() does the same; no call of the kernel avoids it. So a page is read once, and
 * once more in a second pass.
 *
 * All of these wait for locks of the process. Where the calling thread is abandoned meanwhile
 * (blocking_call.h), a function returns -ECANCELED. After that or any other error the caller still
 * owns the struct page_reader, and closes or frees it.
 */
#ifndef KSM_PAGE_READER_H
#define KSM_PAGE_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "explain/maps.h"
#include "explain/pagemap.h"
#include "system/blocking_call.h"

/* Pages in a batch: so few that their contents are still in the processor's cache when used. If
 * contents are not read, as many as the kernel reads under one hold of the lock (2 MiB). */
enum { PAGE_READER_BATCH = 64, PAGE_READER_MAX = 512 };

struct page_reader_page {
    uint64_t number;  /* the address in pages */
    uint64_t frame;   /* its frame number, 0: not known (CAP_SYS_ADMIN) */
    bool mapped_many; /* mapped more than once: by processes that forked, or merged by KSM */
    bool huge;        /* part of a huge page; not known if contents are not read */
};

struct page_reader {
    /* The result: the contents of page i are at bytes + i × page size. */
    struct page_reader_page pages[PAGE_READER_MAX];
    size_t count;
    char *bytes;
    uint64_t unreadable; /* pages of this process so far that are in memory and cannot be read */
    uint64_t stack;      /* the end address of its stack, 0: not reached yet */
    bool scans;          /* this kernel has PAGEMAP_SCAN; if not, huge is not known */

    /* Private. */
    struct blocking_call *call;
    uint64_t page_size;
    size_t batch_size; /* pages */
    int mem;           /* -1: contents are not read */
    bool hugetlb;
    struct line_reader maps;
    struct pagemap pagemap;
    uint64_t address, end; /* what is left of the current mapping */
    bool is_end;           /* there is no further mapping */
    struct pagemap_range ranges[PAGEMAP_RANGES];
    size_t range, found; /* the range that is being read, and how many there are */
    bool is_dense;       /* without contents: the last batch was at least half full */
};

/* call: of the thread that reads, or NULL. Returns 0 or -ENOMEM. */
int page_reader_init(struct page_reader *reader, struct blocking_call *call);
void page_reader_free(struct page_reader *reader);

/* Opens a process's files. hugetlb: whether it has pages of hugetlbfs, which are left out.
 * contents: whether those of pages are read; if not, bytes is not set, and huge is not known.
 * Returns 0; -ESRCH if it has ended, or has no memory; -EACCES or -EPERM if it may not be read. */
int page_reader_open(struct page_reader *reader, const char *root, int pid, bool hugetlb,
                     bool contents);
void page_reader_close(struct page_reader *reader);

/* Reads the next batch: sets pages, count and bytes. Returns 1, 0 at the end, or -errno as above.
 * A count of 0 is not the end: a call searches 16,384 page table entries at most, so that
 * the caller can throttle and stop in a mapping of terabytes with few pages. */
int page_reader_next(struct page_reader *reader);

/* Reads pages again: at most PAGE_READER_BATCH numbers, ascending. Pages that are gone are missing
 * from the result. Returns 0 or -errno. */
int page_reader_read_again(struct page_reader *reader, const uint64_t *numbers, size_t count);

#endif
