/* SPDX-License-Identifier: MIT */
#include "explain/page_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "system/pseudofs.h"

/* Documentation/admin-guide/mm/pagemap.rst */
static const uint64_t pm_present = UINT64_C(1) << 63, pm_swapped = UINT64_C(1) << 62,
                      pm_file_or_shared = UINT64_C(1) << 61, pm_exclusive = UINT64_C(1) << 56,
                      pm_frame = (UINT64_C(1) << 55) - 1;

/* PAGEMAP_SCAN, as in linux/fs.h from Linux 6.7 on: older headers lack it. */
struct scan {
    uint64_t size, flags, start, end, walk_end, ranges, ranges_len, max_pages;
    uint64_t inverted, mask, anyof, wanted;
};
enum { SCAN_FILE = 1 << 2, SCAN_PRESENT = 1 << 3, SCAN_ZERO = 1 << 5, SCAN_HUGE = 1 << 6 };
#define SCAN _IOWR('f', 16, struct scan)

int page_reader_init(struct page_reader *m, struct blocking_call *guard) {
    memset(m, 0, sizeof(*m));
    m->guard = guard;
    m->pagemap = m->mem = -1;
    m->page_size = (uint64_t)sysconf(_SC_PAGESIZE);
    m->bytes = malloc(PAGE_READER_BLOCK * m->page_size);
    return m->bytes ? 0 : -ENOMEM;
}

void page_reader_free(struct page_reader *m) {
    page_reader_close(m);
    free(m->bytes);
}

/* ---- what is mapped ---- */

static void set_path(const struct page_reader *m, const char *root, const char *name,
                     char path[static PATH_MAX]) {
    if (snprintf(path, PATH_MAX, "%s/proc/%d/%s", root, m->pid, name) >= PATH_MAX)
        path[0] = '\0'; /* there is no such file */
}

/* A process that has ended has no file: -ESRCH. */
static int ended(int status) {
    return status == -ENOENT ? -ESRCH : status;
}

static int scan(struct page_reader *m, uint64_t start, uint64_t end, uint64_t *walk_end) {
    struct scan arg = {.size = sizeof(arg),
                       .start = start,
                       .end = end,
                       .ranges = (uintptr_t)m->ranges,
                       .ranges_len = PAGE_READER_RANGES,
                       .inverted = SCAN_FILE | SCAN_ZERO,
                       .mask = SCAN_PRESENT | SCAN_FILE | SCAN_ZERO,
                       .wanted = SCAN_HUGE};

    if (!blocking_call_begin(m->guard, m->pid, -1))
        return -EINTR;
    int found = ioctl(m->pagemap, SCAN, &arg), status = found < 0 ? -errno : found;
    *walk_end = arg.walk_end;
    return (int)blocking_call_end(m->guard, status);
}

int page_reader_open(struct page_reader *m, const char *root, int pid, bool hugetlb) {
    char path[PATH_MAX];
    uint64_t walk_end = 0;

    m->pid = pid;
    m->scanned = m->mapped = m->range.start = m->range.end = 0;
    m->next = m->found = 0;
    m->unreadable = 0;
    set_path(m, root, "pagemap", path);
    m->pagemap = pseudofs_openat(AT_FDCWD, path);
    if (m->pagemap < 0)
        return ended(m->pagemap);
    set_path(m, root, "mem", path);
    m->mem = pseudofs_openat(AT_FDCWD, path);
    if (m->mem < 0)
        return ended(m->mem);
    const int status = scan(m, 0, 0, &walk_end);
    if (status == -ECANCELED)
        return status;
    m->scans = status == 0;
    m->smaps = hugetlb || !m->scans;
    set_path(m, root, m->smaps ? "smaps" : "maps", path);
    m->maps = fopen(path, "re");
    return m->maps ? 0 : ended(-errno);
}

void page_reader_close(struct page_reader *m) {
    if (m->pagemap >= 0)
        close(m->pagemap);
    if (m->mem >= 0)
        close(m->mem);
    m->pagemap = m->mem = -1;
    if (m->maps)
        fclose(m->maps);
    m->maps = NULL;
}

/* Returns 1, or 0 at the end. What is too long is cut off: names of files are anybody's choice. */
static int read_line(struct page_reader *m, char *line, int size) {
    const char *got = NULL;

    if (!blocking_call_begin(m->guard, m->pid, -1))
        return -EINTR;
    for (bool cut = true; cut;) {
        char rest[256];
        got = got ? fgets(rest, sizeof(rest), m->maps) : fgets(line, size, m->maps);
        cut = got && !strchr(got, '\n');
    }
    return (int)blocking_call_end(m->guard, got != NULL);
}

/* "7f0c8a000000-7f0c8a021000 rw-p 00000000 00:00 0   [heap]": a private mapping, but for the
 * kernel's own ([vdso], [vvar]). */
static bool set_mapping(struct page_reader *m, const char *line) {
    uint64_t start, end;
    char rights[5];

    if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s", &start, &end, rights) != 3 ||
        rights[3] != 'p' || strstr(line, " [v") || start < m->mapped)
        return false;
    m->scanned = start;
    m->mapped = end;
    return true;
}

/* Of the lines that smaps has after that one: nothing there, or hugetlbfs. */
static bool rules_out(const char *line) {
    return strcmp(line, "Anonymous:             0 kB\n") == 0 ||
           (strncmp(line, "VmFlags:", 8) == 0 && strstr(line, " ht"));
}

/* Sets scanned and mapped. Returns 1, or 0 at the end. Of smaps VmFlags is the last line of a
 * mapping. */
static int next_mapping(struct page_reader *m) {
    char line[512];
    bool good = false;
    int status;

    while ((status = read_line(m, line, sizeof(line))) > 0) {
        if (strchr(line, '-') == line + strspn(line, "0123456789abcdef"))
            good = set_mapping(m, line);
        else if (rules_out(line))
            good = false;
        if (good && (!m->smaps || strncmp(line, "VmFlags:", 8) == 0))
            return 1;
    }
    m->scanned = m->mapped;
    return status;
}

/* ---- what of it is there ---- */

/* Sets the range to what may be there in the rest of the mapping. Returns 1, or 0 if nothing is. */
static int next_range(struct page_reader *m) {
    if (!m->scans) {
        m->range = (struct page_reader_range){m->scanned, m->mapped, 0};
        m->scanned = m->mapped;
        return m->range.start < m->range.end;
    }
    if (m->next == m->found) {
        int found = m->scanned < m->mapped ? scan(m, m->scanned, m->mapped, &m->scanned) : 0;
        if (found <= 0)
            return found;
        m->next = 0;
        m->found = (size_t)found;
    }
    m->range = m->ranges[m->next++];
    return 1;
}

/* Makes sure that there is a range to read. Returns 1, or 0 at the end. */
static int find_range(struct page_reader *m) {
    while (m->range.start == m->range.end) {
        int status = next_range(m);
        if (status == 0)
            status = next_mapping(m);
        if (status <= 0)
            return status;
    }
    return 1;
}

/* Adds the next pages of a range that are there. */
static int look_up(struct page_reader *m, struct page_reader_range *range) {
    uint64_t entries[PAGE_READER_BLOCK];
    uint64_t most = (range->end - range->start) / m->page_size,
             number = range->start / m->page_size;

    if (most > PAGE_READER_BLOCK - m->count)
        most = PAGE_READER_BLOCK - m->count;
    if (!blocking_call_begin(m->guard, m->pid, -1))
        return -EINTR;
    ssize_t n =
        pread(m->pagemap, entries, most * sizeof(*entries), (off_t)(number * sizeof(*entries)));
    n = blocking_call_end(m->guard, n < 0 ? -errno : n);
    if (n <= 0) /* no bytes: the process has ended, or became another program */
        return n == 0 ? -ESRCH : (int)n;
    for (size_t i = 0; i < (size_t)n / sizeof(*entries); i++, number++)
        if ((entries[i] & (pm_present | pm_swapped | pm_file_or_shared)) == pm_present)
            m->pages[m->count++] = (struct page_reader_page){.number = number,
                                                             .frame = entries[i] & pm_frame,
                                                             .shared = !(entries[i] & pm_exclusive),
                                                             .huge = range->categories & SCAN_HUGE};
    range->start = number * m->page_size;
    return 0;
}

/* ---- what is in it ---- */

/* Reads the pages from done on that are neighbours. Returns how many could be read, or -errno. */
static ssize_t copy(struct page_reader *m, size_t done) {
    const off_t address = (off_t)(m->pages[done].number * m->page_size);
    size_t n = 1;

    while (done + n < m->count && m->pages[done + n].number == m->pages[done].number + n)
        n++;
    if (!blocking_call_begin(m->guard, m->pid, -1))
        return -EINTR;
    ssize_t got = pread(m->mem, m->bytes + done * m->page_size, n * m->page_size, address);
    got = blocking_call_end(m->guard, got < 0 ? -errno : got);
    if (got == 0) /* as above */
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
    int status = 1;

    m->count = 0;
    while (m->count < PAGE_READER_BLOCK && (status = find_range(m)) > 0) {
        status = look_up(m, &m->range);
        if (status < 0)
            return status;
    }
    if (status < 0)
        return status;
    const bool end = status == 0 && m->count == 0;
    status = copy_all(m);
    return status < 0 ? status : !end;
}

int page_reader_again(struct page_reader *m, const uint64_t *numbers, size_t count) {
    m->count = 0;
    for (size_t i = 0, n; i < count; i += n) {
        struct page_reader_range range = {numbers[i] * m->page_size, 0, 0};
        for (n = 1; i + n < count && numbers[i + n] == numbers[i] + n;)
            n++;
        range.end = range.start + n * m->page_size;
        int status = look_up(m, &range);
        if (status < 0)
            return status;
    }
    return copy_all(m);
}
