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
    uint64_t entry = 0;
    const int fd = open_file("", "self/pagemap");

    if (fd < 0)
        return fd;
    const int status = read_entries(fd, (uintptr_t)page / page_size, 1, &entry);
    close(fd);
    *frame = entry & PAGEMAP_FRAME;
    return status == 0 && *frame == 0 ? -EPERM : status;
}

static bool is_zero(const struct frames *f, uint64_t frame) {
    uint64_t flags = 0;

    return read_entries(f->flags, frame, 1, &flags) == 0 && flags & FRAME_IS_ZERO;
}

/* Sets zero and zero_end by a page that was only read. */
static int find_zeros(struct frames *f, const volatile char *page, size_t page_size) {
    const char byte = page[0];
    const int status = find_frame(page, page_size, &f->zero);

    (void)byte;
    if (status != 0)
        return status;
    f->zero_end = f->zero;
    while (is_zero(f, f->zero_end))
        f->zero_end++;
    while (f->zero > 0 && is_zero(f, f->zero - 1))
        f->zero--;
    return 0;
}

/* Sets knows_ksm by a private page, which is not merged. */
static int test_flags(struct frames *f, volatile char *page, size_t page_size) {
    uint64_t frame = 0, flags = 0;

    page[0] = 1;
    int status = find_frame(page, page_size, &frame);
    if (status == 0)
        status = read_entries(f->flags, frame, 1, &flags);
    f->knows_ksm = !(flags & FRAME_IS_KSM);
    return status;
}

/* Finds out what a page of this program shows. */
static int try_page(struct frames *f) {
    const size_t page_size = (size_t)sysconf(_SC_PAGESIZE);
    void *page = mmap(NULL, page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED)
        return -ENOMEM;
    int status = find_zeros(f, page, page_size);
    if (status == 0)
        status = test_flags(f, page, page_size);
    munmap(page, page_size);
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
    return try_page(f);
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
