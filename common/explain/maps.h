/* SPDX-License-Identifier: MIT
 *
 * Reads /proc/PID/maps: which addresses a process has mapped.
 *
 * Set call, pid and fd of a zeroed struct maps, then call maps_next() until it returns 0. The
 * descriptor remains the caller's, after an error as well. The kernel holds the mmap lock for as
 * long as it prints what fits into 4 kB; it reads no page table.
 */
#ifndef KSM_MAPS_H
#define KSM_MAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "system/blocking_call.h"

enum { MAPS_NAME_SIZE = 64 };

struct mapping {
    uint64_t start, end;       /* addresses */
    bool is_private;           /* and not the kernel's own: [vdso], [vvar], [vsyscall] */
    bool has_file;             /* hugetlbfs, shmem and drivers are files, too */
    char name[MAPS_NAME_SIZE]; /* the start of the path, "[heap]", or "" */
};

struct maps {
    struct blocking_call *call; /* of the thread that reads, or NULL */
    int pid;
    int fd;
    size_t pos, len; /* what of buf is still to be parsed */
    char buf[4096];
};

/* Reads the next mapping. Addresses ascend. Returns 1, 0 at the end, or -errno; -ECANCELED: the
 * caller's thread was abandoned (blocking_call.h). */
int maps_next(struct maps *maps, struct mapping *mapping);

/* Begins anew with the first mapping. */
void maps_rewind(struct maps *maps);

#endif
