/* SPDX-License-Identifier: MIT
 *
 * Reads /proc/PID/maps: which addresses a process has mapped.
 *
 * Set up a line_reader on the file, and call maps_next() until it returns 0. The kernel holds the
 * mmap lock while it prints 4 kB; it reads no page table.
 */
#ifndef KSM_MAPS_H
#define KSM_MAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "system/line_reader.h"

enum { MAPS_NAME_SIZE = 64 };

struct mapping {
    uint64_t start, end;       /* addresses */
    bool may_merge;            /* private, and not the kernel's own ([vdso], [vvar], [vsyscall]) */
    bool has_file;             /* true for hugetlbfs, shmem and drivers, too */
    char name[MAPS_NAME_SIZE]; /* the start of the path, "[heap]", or "" */
};

/* Reads the next mapping; addresses ascend. Returns 1, 0 at the end, or -errno as
 * line_reader_next(). */
int maps_next(struct line_reader *maps, struct mapping *mapping);

#endif
