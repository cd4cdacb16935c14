/* SPDX-License-Identifier: MIT
 *
 * Reads /proc/kpageflags and /proc/kpagecount: what page frames are, and how often they are mapped.
 *
 * frames_open(), then frames_read(). These files take no lock of a process.
 * Documentation/admin-guide/mm/pagemap.rst describes them.
 */
#ifndef KSM_FRAMES_H
#define KSM_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_IS_KSM (UINT64_C(1) << 21)
#define FRAME_IS_ZERO (UINT64_C(1) << 24) /* the kernel's zero page, or a part of the huge one */

enum { FRAMES_MAX = 512 }; /* of one call */

struct frames {
    int flags, counts; /* descriptors, -1: not open */
    bool knows_ksm;    /* FRAME_IS_KSM can be trusted */

    /* The kernel's page of zeros, and the first frame after it; several pages on s390x. */
    uint64_t zero, zero_end;
};

/* Opens the files below root/proc, and finds out whether FRAME_IS_KSM can be trusted: from Linux
 * 6.10 until a fix of June 2026 all anonymous pages have it (stable_page_flags() of
 * fs/proc/page.c), so a page of this program is tested. Returns 0; -EACCES or -EPERM without the
 * rights of root (CAP_SYS_ADMIN for frame numbers); -ENOENT if the kernel lacks
 * CONFIG_PROC_PAGE_MONITOR; -ENOMEM. */
int frames_open(struct frames *f, const char *root);
void frames_close(struct frames *f);

/* Reads the flags and the numbers of mappings of count frames, at most FRAMES_MAX, from a frame
 * number on; both are 0 for frames that do not exist. Returns 0 or -errno. */
int frames_read(const struct frames *f, uint64_t first, size_t count, uint64_t *flags,
                uint64_t *counts);

#endif
