/* SPDX-License-Identifier: MIT
 *
 * Reads /proc/PID/pagemap: which pages of a process are in memory.
 *
 * pagemap_init() with a descriptor, then pagemap_find() from address to address, or pagemap_read()
 * for the entries of known pages. The descriptor remains the caller's, after an error as well.
 *
 * The kernel walks page tables under the process's mmap lock, and its mmap(), munmap() and page
 * faults wait meanwhile. So no call here walks more than PAGEMAP_ENTRIES under one hold of the
 * lock: 1.7 ms of small pages that are written, 0.6 ms of zero pages (measured on Linux 6.18 with
 * all processors busy). Nothing else in PAGEMAP_SCAN bounds that: max_pages counts pages that
 * match, and a range without any is walked to its end (do_pagemap_scan in fs/proc/task_mmu.c).
 * pread() takes the lock anew for each 2 MiB (pagemap_read there).
 *
 * The caller must not lower its priority: under the lock, a busy processor may be given to another
 * thread (cond_resched() in pagemap_scan_pmd_entry()), and a thread of low priority gets it back
 * last. With a busy loop on each of two processors, mmap() and munmap() of a process of 6 GiB took
 * up to 330 ms while --estimate ran with nice 19, and 23 ms with nice 0.
 */
#ifndef KSM_PAGEMAP_H
#define KSM_PAGEMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "system/blocking_call.h"

enum { PAGEMAP_ENTRIES = 16384, PAGEMAP_RANGES = 64 };

/* What pagemap_find() looks for. Both are pages that are present: not in swap, and not the kernel's
 * zero page if the kernel reports that (has_scan). */
enum pagemap_kind { PAGEMAP_ANONYMOUS, PAGEMAP_FILE };

/* struct page_region of linux/fs.h (Linux 6.7). */
struct pagemap_range {
    uint64_t start, end; /* addresses */
    uint64_t categories; /* PAGEMAP_HUGE or 0 */
};
enum { PAGEMAP_HUGE = 1 << 6 };

struct pagemap {
    struct blocking_call *call; /* of the thread that reads, or NULL */
    int pid;
    int fd;
    uint64_t page_size;
    bool has_scan; /* Linux 6.7; without it huge pages and the zero page are not known */
};

/* Bits of an entry: Documentation/admin-guide/mm/pagemap.rst. */
#define PAGEMAP_EXCLUSIVE (UINT64_C(1) << 56)   /* mapped once (Linux 4.2) */
#define PAGEMAP_FRAME ((UINT64_C(1) << 55) - 1) /* 0 without CAP_SYS_ADMIN */
bool pagemap_is_anonymous(uint64_t entry);

/* Sets all fields; finds out has_scan. Returns 0, or -ECANCELED as below. */
int pagemap_init(struct pagemap *pagemap, struct blocking_call *call, int pid, int fd);

/* Finds pages of a kind from *address on, below end (both multiples of the page size). Moves
 * *address to where it stopped: at most PAGEMAP_ENTRIES pages further, or to end. Returns how many
 * ranges it has set, often 0, or -errno: -ESRCH if the process has ended, -ECANCELED if the calling
 * thread was abandoned (blocking_call.h). ranges must be that thread's own: after the supervisor
 * has abandoned it, a call that is stuck may still write to them. */
int pagemap_find(struct pagemap *pagemap, enum pagemap_kind kind, uint64_t *address, uint64_t end,
                 struct pagemap_range ranges[static PAGEMAP_RANGES]);

/* Reads the entries of count pages, the first of which is page number (address / page size).
 * Returns how many were read, at least 1, or -errno as above. entries must be the calling thread's
 * own, too. */
ssize_t pagemap_read(const struct pagemap *pagemap, uint64_t number, uint64_t *entries,
                     size_t count);

#endif
