/* SPDX-License-Identifier: MIT */
#include "explain/pagemap.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const uint64_t present = UINT64_C(1) << 63, swapped = UINT64_C(1) << 62,
                      file_or_shmem = UINT64_C(1) << 61;

bool pagemap_is_anonymous(uint64_t entry) {
    return (entry & (present | swapped | file_or_shmem)) == present;
}

static bool is_of_kind(uint64_t entry, enum pagemap_kind kind) {
    return kind == PAGEMAP_ANONYMOUS
               ? pagemap_is_anonymous(entry)
               : (entry & (present | file_or_shmem)) == (present | file_or_shmem);
}

/* ---- PAGEMAP_SCAN (Linux 6.7), which older headers lack ---- */

/* struct pm_scan_arg of linux/fs.h. */
struct scan {
    uint64_t size, flags, start, end, walk_end, ranges, ranges_len, max_pages;
    uint64_t inverted, mask, anyof, wanted;
};
_Static_assert(sizeof(struct scan) == 96, "the size that sandbox.c allows");
enum { SCAN_FILE = 1 << 2, SCAN_PRESENT = 1 << 3, SCAN_ZERO = 1 << 5 };
#define SCAN _IOWR('f', 16, struct scan)

/* Returns how many ranges it has set, or -errno. Sets *address to where the kernel stopped. */
static int scan(const struct pagemap *p, enum pagemap_kind kind, uint64_t *address, uint64_t end,
                struct pagemap_range *ranges) {
    struct scan arg = {.size = sizeof(arg),
                       .start = *address,
                       .end = end,
                       .ranges = (uintptr_t)ranges,
                       .ranges_len = PAGEMAP_RANGES,
                       .inverted = kind == PAGEMAP_FILE ? SCAN_ZERO : SCAN_FILE | SCAN_ZERO,
                       .mask = SCAN_PRESENT | SCAN_FILE | SCAN_ZERO,
                       .wanted = PAGEMAP_HUGE};

    if (!blocking_call_begin(p->call, p->pid, -1))
        return -EINTR;
    int status = ioctl(p->fd, SCAN, &arg);
    status = (int)blocking_call_end(p->call, status < 0 ? -errno : status);
    if (status >= 0)
        *address = arg.walk_end > *address && arg.walk_end <= end ? arg.walk_end : end;
    return status;
}

int pagemap_init(struct pagemap *p, struct blocking_call *call, int pid, int fd) {
    struct pagemap_range ranges[PAGEMAP_RANGES];
    uint64_t address = 0;

    *p = (struct pagemap){
        .call = call, .pid = pid, .fd = fd, .page_size = (uint64_t)sysconf(_SC_PAGESIZE)};
    const int status = scan(p, PAGEMAP_ANONYMOUS, &address, 0, ranges);
    p->has_scan = status == 0;
    return status == -ECANCELED ? status : 0;
}

/* ---- entries ---- */

ssize_t pagemap_read(const struct pagemap *p, uint64_t number, uint64_t *entries, size_t count) {
    /* Not blocking_pread(): after -ECANCELED, that has closed fd, which is still the caller's. */
    if (!blocking_call_begin(p->call, p->pid, -1))
        return -EINTR;
    ssize_t n = pread(p->fd, entries, count * sizeof(*entries), (off_t)(number * sizeof(*entries)));
    n = blocking_call_end(p->call, n < 0 ? -errno : n);
    if (n < 0)
        return n;
    /* Less than an entry: the process has ended or called execve(). */
    return n < (ssize_t)sizeof(*entries) ? -ESRCH : n / (ssize_t)sizeof(*entries);
}

/* Does the same as scan(), before Linux 6.7. */
static int find_in_entries(const struct pagemap *p, enum pagemap_kind kind, uint64_t *address,
                           uint64_t end, struct pagemap_range *ranges) {
    enum { COUNT = 4096 };
    uint64_t entries[COUNT];
    const uint64_t left = (end - *address) / p->page_size;
    const ssize_t n =
        pagemap_read(p, *address / p->page_size, entries, left < COUNT ? left : COUNT);
    int found = 0;

    if (n < 0)
        return (int)n;
    const uint64_t start = *address;
    for (ssize_t i = 0; i < n; i++) {
        *address = start + (uint64_t)i * p->page_size;
        if (!is_of_kind(entries[i], kind))
            continue;
        if (found == 0 || ranges[found - 1].end != *address) {
            if (found == PAGEMAP_RANGES)
                return found;
            ranges[found++] = (struct pagemap_range){*address, *address, 0};
        }
        ranges[found - 1].end += p->page_size;
    }
    *address = start + (uint64_t)n * p->page_size;
    return found;
}

int pagemap_find(struct pagemap *p, enum pagemap_kind kind, uint64_t *address, uint64_t end,
                 struct pagemap_range ranges[static PAGEMAP_RANGES]) {
    const uint64_t limit = PAGEMAP_ENTRIES * p->page_size;

    if (end - *address > limit)
        end = *address + limit;
    return p->has_scan ? scan(p, kind, address, end, ranges)
                       : find_in_entries(p, kind, address, end, ranges);
}
