/* SPDX-License-Identifier: MIT
 *
 * Which pages of a process are read, and how much of its page tables under one hold of its lock.
 *
 * The process is this one: pagemap and mem are the kernel's, but maps lists the test's mapping
 * alone.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "explain/content_index.h"
#include "explain/page_reader.h"
#include "support/suite.h"
#include "support/tree.h"

enum { PID = 7, PAGES = 3 * PAGEMAP_ENTRIES / 2 };

static struct page_reader reader;
static const char *dir;
static uint64_t page_size;

/* ---- PAGEMAP_SCAN, or a kernel without it ---- */

static bool has_scan;
static uint64_t longest_scan; /* bytes of addresses in a call */
static int scans;

int __real_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ioctl(int fd, unsigned long request, ...);

int __wrap_ioctl(int fd, unsigned long request, ...) {
    va_list arguments;

    va_start(arguments, request);
    uint64_t *arg = va_arg(arguments, uint64_t *); /* struct pm_scan_arg: start and end are 2, 3 */
    va_end(arguments);
    scans++;
    if (arg[3] - arg[2] > longest_scan)
        longest_scan = arg[3] - arg[2];
    if (has_scan)
        return __real_ioctl(fd, request, arg);
    errno = ENOTTY;
    return -1;
}

/* ---- mappings ---- */

enum kind { WRITTEN, ZERO, SWAPPED, SPARSE, ALTERNATE, FILE_BACKED };

/* Page i has the number i + 1 in it, where it is written. */
static void write_page(char *memory, uint64_t i) {
    *(volatile uint64_t *)(memory + i * page_size) = i + 1;
}

static void fill(char *memory, uint64_t pages, enum kind kind) {
    for (uint64_t i = 0; i < pages && kind != SPARSE; i++)
        if (kind == ZERO || kind == FILE_BACKED)
            (void)*(volatile char *)(memory + i * page_size);
        else if (kind != ALTERNATE || i % 2 == 0)
            write_page(memory, i);
    if (kind == SPARSE)
        write_page(memory, pages / 2);
    if (kind == SWAPPED)
        madvise(memory, pages * page_size, MADV_PAGEOUT);
}

static char *map(uint64_t pages, enum kind kind) {
    const int fd = kind == FILE_BACKED ? fileno(tmpfile()) : -1;

    ck_assert(fd < 0 || ftruncate(fd, (off_t)(pages * page_size)) == 0);
    char *memory = mmap(NULL, pages * page_size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_NORESERVE | (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0);
    ck_assert_ptr_ne(memory, MAP_FAILED);
    madvise(memory, pages * page_size, MADV_NOHUGEPAGE);
    fill(memory, pages, kind);
    return memory;
}

static void link_to_own(const char *name) {
    char target[64];

    snprintf(target, sizeof(target), "/proc/self/%s", name);
    ck_assert_int_eq(symlink(target, tree_path(dir, "proc/%d/%s", PID, name)), 0);
}

void before_each(void) {
    dir = suite_dir();
    page_size = (uint64_t)sysconf(_SC_PAGESIZE);
    tree_print(dir, "proc/7/maps", "%s", "");
    link_to_own("pagemap");
    link_to_own("mem");
    ck_assert_int_eq(page_reader_init(&reader, NULL), 0);
}

void after_each(void) {
    page_reader_free(&reader);
}

/* ---- reading ---- */

/* Checks the pages of a batch, and returns how many are written ones. Where contents are not read,
 * those in memory count. */
static uint64_t check_batch(const char *memory, bool contents) {
    uint64_t written = 0, word;

    for (size_t i = 0; i < reader.count; i++) {
        const uint64_t page = reader.pages[i].number - (uintptr_t)memory / page_size;
        memcpy(&word, contents ? reader.bytes + i * page_size : memory + page * page_size,
               sizeof(word));
        must(word == 0 || word == page + 1, "page %" PRIu64 " has %" PRIu64, page, word);
        written += word != 0;
    }
    return written;
}

static const struct {
    const char *name;
    enum kind kind;
    uint64_t pages, want;
} mappings[] = {
    {"written", WRITTEN, PAGES, PAGES},       {"zero", ZERO, PAGES, 0},
    {"swapped", SWAPPED, PAGES, PAGES}, /* less what is in swap, if this host has any */
    {"sparse", SPARSE, UINT64_C(1) << 21, 1}, {"alternate", ALTERNATE, PAGES, PAGES / 2},
    {"file", FILE_BACKED, PAGES, 0},
};

static uint64_t count_swapped(const char *memory, uint64_t pages) {
    FILE *pagemap = fopen("/proc/self/pagemap", "r");
    uint64_t entry, swapped = 0;

    fseeko(pagemap, (off_t)((uintptr_t)memory / page_size * sizeof(entry)), SEEK_SET);
    for (uint64_t i = 0; i < pages && fread(&entry, sizeof(entry), 1, pagemap) == 1; i++)
        swapped += entry >> 62 & 1;
    fclose(pagemap);
    return swapped;
}

static void read_mapping(const char *name, enum kind kind, uint64_t pages, uint64_t want,
                         bool contents) {
    char *memory = map(pages, kind);
    uint64_t written = 0;
    int status;

    tree_print(dir, "proc/7/maps", "%" PRIxPTR "-%" PRIxPTR " rw-p 00000000 00:00 0\n",
               (uintptr_t)memory, (uintptr_t)memory + pages * page_size);
    longest_scan = 0;
    ck_assert_int_eq(page_reader_open(&reader, dir, PID, false, contents), 0);
    for (scans = 0; (status = page_reader_next(&reader)) > 0; scans = 0) {
        ck_assert_msg(scans <= 1, "%s: %d calls without a return", name, scans);
        written += check_batch(memory, contents);
    }
    ck_assert_int_eq(status, 0);
    ck_assert_msg(longest_scan <= PAGEMAP_ENTRIES * page_size, "%s: scans %" PRIu64 " MiB at once",
                  name, longest_scan >> 20);
    want -= kind == SWAPPED ? count_swapped(memory, pages) : 0;
    ck_assert_msg(written == want, "%s: got %" PRIu64 " pages, want %" PRIu64, name, written, want);
    munmap(memory, pages * page_size);
    page_reader_close(&reader);
}

TEST_ROWS(mappings_are_read_in_bounded_steps, mappings) {
    for (int contents = 0; contents <= 1; contents++) {
        has_scan = true;
        read_mapping(row->name, row->kind, row->pages, row->want, contents);
        has_scan = false; /* before Linux 6.7 */
        read_mapping(row->name, row->kind, row->pages, row->want, contents);
    }
}

/* Holes are searched for, but not between pages that are read. */
TEST(dense_mapping_is_read_without_a_search) {
    char *memory = map(PAGES, WRITTEN);
    uint64_t count = 0;

    has_scan = true;
    tree_print(dir, "proc/7/maps", "%" PRIxPTR "-%" PRIxPTR " rw-p 00000000 00:00 0\n",
               (uintptr_t)memory, (uintptr_t)memory + PAGES * page_size);
    ck_assert_int_eq(page_reader_open(&reader, dir, PID, false, false), 0);
    scans = 0;
    while (page_reader_next(&reader) > 0)
        count += reader.count;
    ck_assert_uint_eq(count, PAGES);
    ck_assert_int_eq(scans, 1);
}

/* Before Linux 6.7 a call looks at 4,096 entries at a time. */
TEST(sparse_mapping_returns_to_the_caller) {
    const uint64_t pages = UINT64_C(1) << 21;
    char *memory = map(pages, SPARSE);
    int empty = 0;

    has_scan = false;
    tree_print(dir, "proc/7/maps", "%" PRIxPTR "-%" PRIxPTR " rw-p 00000000 00:00 0\n",
               (uintptr_t)memory, (uintptr_t)memory + pages * page_size);
    ck_assert_int_eq(page_reader_open(&reader, dir, PID, false, true), 0);
    while (page_reader_next(&reader) > 0)
        empty += reader.count == 0;
    ck_assert_int_ge(empty, (int)(pages / 4096) - 1);
    munmap(memory, pages * page_size);
}

/* ---- which mappings ---- */

static const struct {
    const char *line; /* after the addresses */
    bool hugetlb, is_read;
    uint64_t offset; /* of the start, in pages */
} lines[] = {
    {"rw-p 00000000 00:00 0 ", false, true, 0},
    {"rw-s 00000000 00:01 5 /dev/zero (deleted)", false, false, 0},
    {"r--p 00000000 08:01 5 /usr/lib/some.so", false, true, 0},
    {"rw-p 00000000 00:00 0 [heap]", false, true, 0},
    {"r-xp 00000000 00:00 0 [vdso]", false, false, 0},
    {"r--p 00000000 08:01 5 [vdso]", false, true, 0},
    {"rw-p 00000000 08:01 5 /a [vvar]", false, true, 0},
    {"rw 00000000 00:00 0 ", false, false, 0}, /* no kernel's */
    {"rw-p 00000000 00:00 0 ", true, true, 0},
    {"rw-p 00000000 00:0f 9 /anon_hugepage (deleted)", true, false, 0},
    {"rw-p 00000000 00:0f 9 /anon_hugepage (deleted)", true, true, 1},
    {"rw-p 00000000 00:0f 9 /anon_hugepage (deleted)", false, true, 0},
};

TEST_ROWS(private_mappings_are_read, lines) {
    const uint64_t pages = 64;
    char *memory = map(pages, WRITTEN);
    const uintptr_t huge = 16 * page_size;
    const uintptr_t start = ((uintptr_t)memory + huge - 1) / huge * huge + row->offset * page_size;
    uint64_t count = 0;

    has_scan = true;
    /* A long path before it, and a line without an end after it. */
    tree_print(dir, "proc/7/maps", "1000-2000 r--p 0 0:0 1 /%0*d\n%" PRIxPTR "-%" PRIxPTR " %s\n1-",
               5000, 0, start, start + 32 * page_size, row->line);
    ck_assert_int_eq(page_reader_open(&reader, dir, PID, row->hugetlb, true), 0);
    while (page_reader_next(&reader) > 0)
        count += reader.count;
    ck_assert_uint_eq(count, row->is_read ? 32 : 0);
}

/* With page tables of five levels, if it was asked for. */
TEST(mapping_beyond_the_range_of_places_is_skipped) {
    const uint64_t pages = 8, limit = CONTENT_INDEX_PAGES * page_size;
    char *memory = map(pages, WRITTEN);
    uint64_t count = 0;
    int status;

    has_scan = true;
    tree_print(dir, "proc/7/maps",
               "%" PRIxPTR "-%" PRIxPTR " rw-p 0 0:0 0\n%" PRIx64 "-%" PRIx64 " rw-p 0 0:0 0\n",
               (uintptr_t)memory, (uintptr_t)memory + pages * page_size, limit - page_size,
               limit + page_size);
    ck_assert_int_eq(page_reader_open(&reader, dir, PID, false, true), 0);
    while ((status = page_reader_next(&reader)) > 0)
        count += reader.count;
    ck_assert_int_eq(status, 0);
    ck_assert_uint_eq(count, pages);
}

TEST(contents_are_copied_to_the_start_of_a_page) {
    ck_assert_uint_eq((uintptr_t)reader.bytes % page_size, 0);
}

TEST(pages_are_read_again) {
    char *memory = map(8, WRITTEN);
    const uint64_t first = (uintptr_t)memory / page_size;
    const uint64_t numbers[] = {first, first + 1, first + 2, first + 6};

    has_scan = true;
    ck_assert_int_eq(page_reader_open(&reader, dir, PID, false, true), 0);
    madvise(memory + page_size, page_size, MADV_DONTNEED);
    ck_assert_int_eq(page_reader_read_again(&reader, numbers, ROWS(numbers)), 0);
    ck_assert_uint_eq(reader.count, 3);
    ck_assert_uint_eq(reader.pages[1].number, first + 2);
    ck_assert_uint_eq(check_batch(memory, true), 3);
}

static const struct {
    const char *missing;
    int status;
} failures[] = {{"maps", -ESRCH}, {"pagemap", -ESRCH}, {"mem", -ESRCH}};

TEST_ROWS(process_without_files_has_ended, failures) {
    tree_unlink(dir, tree_path("proc/7", "%s", row->missing));
    ck_assert_int_eq(page_reader_open(&reader, dir, PID, false, true), row->status);
}
