/* SPDX-License-Identifier: MIT
 *
 * Reads /proc/PID/maps: which addresses a process has mapped.
 *
 * Use a line_reader on the file, and call maps_next() until it returns 0. The kernel holds the mmap
 * lock for as long as it prints what fits into 4 kB; it reads no page table.
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
    bool is_private;           /* and not the kernel's own: [vdso], [vvar], [vsyscall] */
    bool has_file;             /* hugetlbfs, shmem and drivers are files, too */
    char name[MAPS_NAME_SIZE]; /* the start of the path, "[heap]", or "" */
};

/* Reads the next mapping. Addresses ascend. Returns 1, 0 at the end, or -errno; -ECANCELED: the
 * caller's thread was abandoned (blocking_call.h). */
int maps_next(struct line_reader *maps, struct mapping *mapping);

#endif
