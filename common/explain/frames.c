/* SPDX-License-Identifier: MIT */
#include "explain/frames.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "explain/pagemap.h"
#include "system/pseudofs.h"

static int open_file(const char *root, const char *name) {
    char path[PATH_MAX];

    if (snprintf(path, sizeof(path), "%s/proc/%s", root, name) >= (int)sizeof(path))
        return -ENAMETOOLONG;
    return pseudofs_openat(AT_FDCWD, path);
}

/* Sets entries from number on; 0 where the file ends. */
static int read_entries(int fd, uint64_t number, size_t count, uint64_t *entries) {
    const size_t size = count * sizeof(*entries);
    const ssize_t n = pread(fd, entries, size, (off_t)(number * sizeof(*entries)));

    if (n < 0)
        return -errno;
    memset((char *)entries + n, 0, size - (size_t)n);
    return 0;
}

/* The frame of a page of this program; -EPERM if frame numbers are not shown. */
static int find_frame(const volatile char *page, size_t page_size, uint64_t *frame) {
    uint64_t entry;
    const int fd = open_file("", "self/pagemap");

    if (fd < 0)
        return fd;
    const int status = read_entries(fd, (uintptr_t)page / page_size, 1, &entry);
    close(fd);
    *frame = entry & PAGEMAP_FRAME;
    return status == 0 && *frame == 0 ? -EPERM : status;
}

/* Sets knows_ksm by a private page, which is not merged. */
static int test_flags(struct frames *f) {
    const size_t page_size = (size_t)sysconf(_SC_PAGESIZE);
    uint64_t frame = 0, flags = 0;
    volatile char *page =
        mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED)
        return -ENOMEM;
    page[0] = 1;
    int status = find_frame(page, page_size, &frame);
    if (status == 0)
        status = read_entries(f->flags, frame, 1, &flags);
    f->knows_ksm = !(flags & FRAME_IS_KSM);
    munmap((void *)(uintptr_t)page, page_size);
    return status;
}

int frames_open(struct frames *f, const char *root) {
    *f = (struct frames){.flags = -1, .counts = -1};
    f->flags = open_file(root, "kpageflags");
    if (f->flags < 0)
        return f->flags;
    f->counts = open_file(root, "kpagecount");
    if (f->counts < 0)
        return f->counts;
    return test_flags(f);
}

void frames_close(struct frames *f) {
    if (f->flags >= 0)
        close(f->flags);
    if (f->counts >= 0)
        close(f->counts);
    f->flags = f->counts = -1;
}

int frames_read(const struct frames *f, uint64_t first, size_t count, uint64_t *flags,
                uint64_t *counts) {
    const int status = read_entries(f->flags, first, count, flags);

    return status != 0 ? status : read_entries(f->counts, first, count, counts);
}
