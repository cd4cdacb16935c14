/* SPDX-License-Identifier: MIT */
#include "explain/page_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int page_reader_init(struct page_reader *m, struct blocking_call *call) {
    memset(m, 0, sizeof(*m));
    m->call = call;
    m->maps.fd = m->pagemap.fd = m->mem = -1;
    m->page_size = (uint64_t)sysconf(_SC_PAGESIZE);
    m->bytes = malloc(PAGE_READER_BLOCK * m->page_size);
    return m->bytes ? 0 : -ENOMEM;
}

void page_reader_free(struct page_reader *m) {
    page_reader_close(m);
    free(m->bytes);
}

/* ---- files ---- */

/* Returns a descriptor or -errno. A process that has ended has no file: -ESRCH. */
static int open_file(struct blocking_call *call, const char *root, int pid, const char *name) {
    char path[PATH_MAX];

    if (snprintf(path, PATH_MAX, "%s/proc/%d/%s", root, pid, name) >= PATH_MAX)
        return -ENAMETOOLONG;
    const int fd = blocking_openat(call, pid, AT_FDCWD, path);
    return fd == -ENOENT ? -ESRCH : fd;
}

int page_reader_open(struct page_reader *m, const char *root, int pid, bool hugetlb,
                     bool contents) {
    m->maps = (struct line_reader){.call = m->call, .pid = pid, .fd = -1};
    m->address = m->end = 0;
    m->range = m->found = 0;
    m->unreadable = m->stack = 0;
    m->hugetlb = hugetlb;
    m->is_end = m->is_dense = false;
    m->block = contents ? PAGE_READER_BLOCK : PAGE_READER_MAX;
    if (contents) {
        m->mem = open_file(m->call, root, pid, "mem");
        if (m->mem < 0)
            return m->mem;
    }
    m->maps.fd = open_file(m->call, root, pid, "maps");
    if (m->maps.fd < 0)
        return m->maps.fd;
    const int pagemap = open_file(m->call, root, pid, "pagemap");
    if (pagemap < 0)
        return pagemap;
    const int status = pagemap_init(&m->pagemap, m->call, pid, pagemap);
    m->scans = m->pagemap.has_scan;
    return status;
}

static void close_file(int *fd) {
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void page_reader_close(struct page_reader *m) {
    close_file(&m->maps.fd);
    close_file(&m->pagemap.fd);
    close_file(&m->mem);
}

/* ---- which pages there are ---- */

/* hugetlbfs cannot be told apart without smaps. Its mappings are of files always, and begin and end
 * at multiples of a huge page (hugetlb_vm_op_split of mm/hugetlb.c), of which the smallest has 16
 * small ones (arm64). Another file's mapping that happens to do so is left out as well: of that,
 * only the pages that the process has written to are anonymous. */
static bool may_be_hugetlb(const struct page_reader *m, const struct mapping *mapping) {
    return m->hugetlb && mapping->has_file &&
           (mapping->start | mapping->end) % (16 * m->page_size) == 0;
}

/* Sets address and end to the next mapping, or is_end. Returns 0 or -errno. */
static int next_mapping(struct page_reader *m) {
    struct mapping mapping;
    int status;

    while ((status = maps_next(&m->maps, &mapping)) > 0) {
        if (strcmp(mapping.name, "[stack]") == 0)
            m->stack = mapping.end;
        if (!mapping.is_private || may_be_hugetlb(m, &mapping) || mapping.start < m->end)
            continue;
        m->address = mapping.start;
        m->end = mapping.end;
        return 0;
    }
    m->is_end = status == 0;
    return status;
}

/* Makes the next pages a range, whether they are there or not. A search takes as long as reading,
 * so it is worthwhile only to skip holes. */
static void set_range(struct page_reader *m) {
    const uint64_t left = m->end - m->address, size = m->block * m->page_size;

    m->ranges[0] = (struct pagemap_range){.start = m->address,
                                          .end = m->address + (left < size ? left : size)};
    m->address = m->ranges[0].end;
    m->range = 0;
    m->found = 1;
}

/* Finds the next ranges, if there are any in the next 16,384 pages. Returns 0 or -errno. */
static int search(struct page_reader *m) {
    int status = m->address == m->end ? next_mapping(m) : 0;

    if (status < 0 || m->is_end)
        return status;
    if (m->is_dense) {
        set_range(m);
        return 0;
    }
    status = pagemap_find(&m->pagemap, PAGEMAP_ANONYMOUS, &m->address, m->end, m->ranges);
    if (status < 0)
        return status;
    m->range = 0;
    m->found = (size_t)status;
    return 0;
}

/* Adds pages of a range that are still there, from its start on; moves that. */
static int add_pages(struct page_reader *m, struct pagemap_range *range) {
    uint64_t entries[PAGE_READER_MAX];
    uint64_t number = range->start / m->page_size;
    const uint64_t left = range->end / m->page_size - number, room = m->block - m->count;
    const size_t before = m->count;
    const ssize_t n = pagemap_read(&m->pagemap, number, entries, left < room ? left : room);

    if (n < 0)
        return (int)n;
    for (ssize_t i = 0; i < n; i++, number++)
        if (pagemap_is_anonymous(entries[i]))
            m->pages[m->count++] =
                (struct page_reader_page){.number = number,
                                          .frame = entries[i] & PAGEMAP_FRAME,
                                          .shared = !(entries[i] & PAGEMAP_EXCLUSIVE),
                                          .huge = range->categories & PAGEMAP_HUGE};
    range->start = number * m->page_size;
    m->is_dense = m->mem < 0 && m->count - before >= PAGE_READER_MAX / 2;
    return 0;
}

/* ---- their contents ---- */

/* Reads the pages from done on that are neighbours. Returns how many could be read, or -errno. */
static ssize_t copy(struct page_reader *m, size_t done) {
    const off_t address = (off_t)(m->pages[done].number * m->page_size);
    size_t n = 1;

    while (done + n < m->count && m->pages[done + n].number == m->pages[done].number + n)
        n++;
    if (!blocking_call_begin(m->call, m->maps.pid, -1))
        return -EINTR;
    ssize_t got = pread(m->mem, m->bytes + done * m->page_size, n * m->page_size, address);
    got = blocking_call_end(m->call, got < 0 ? -errno : got);
    if (got == 0) /* the process has ended, or has become another program */
        return -ESRCH;
    return got < 0 ? got : got / (ssize_t)m->page_size;
}

/* Reads all pages, and drops those that cannot be read. */
static int copy_all(struct page_reader *m) {
    for (size_t done = 0; done < m->count;) {
        ssize_t got = copy(m, done);
        if (got < 0 && got != -EIO)
            return (int)got;
        if (got > 0) {
            done += (size_t)got;
            continue;
        }
        m->unreadable++;
        m->count--;
        memmove(&m->pages[done], &m->pages[done + 1], (m->count - done) * sizeof(*m->pages));
    }
    return 0;
}

int page_reader_next(struct page_reader *m) {
    int status = m->range == m->found ? search(m) : 0;

    m->count = 0;
    while (status == 0 && m->count < m->block && m->range < m->found) {
        status = add_pages(m, &m->ranges[m->range]);
        m->range += m->ranges[m->range].start >= m->ranges[m->range].end;
    }
    if (status == 0 && m->mem >= 0)
        status = copy_all(m);
    return status < 0 ? status : !m->is_end;
}

int page_reader_again(struct page_reader *m, const uint64_t *numbers, size_t count) {
    m->count = 0;
    for (size_t i = 0, n; i < count; i += n) {
        struct pagemap_range range = {numbers[i] * m->page_size, 0, 0};
        for (n = 1; i + n < count && numbers[i + n] == numbers[i] + n;)
            n++;
        range.end = range.start + n * m->page_size;
        const int status = add_pages(m, &range);
        if (status < 0)
            return status;
    }
    return copy_all(m);
}
