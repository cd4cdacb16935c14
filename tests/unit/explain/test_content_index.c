/* SPDX-License-Identifier: MIT
 *
 * Counting equal pages: exactly while all fit in memory, and within the error that it states after
 * that.
 */
#include <math.h>
#include <stdlib.h>

#include "explain/content_index.h"
#include "support/suite.h"

enum { HUGE_PAGES = 512, ZEROS = 0, MOST = 256, PROCESSES = 3, MIB = 1 << 20 };

/* Well mixed, as a hash is; one to one. */
static uint64_t hash_of(uint64_t content) {
    uint64_t x = (content + 1) * UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static struct content_index c;
static struct content_index_total total;
static struct content_index_share shares[PROCESSES];

static void begin(size_t bytes) {
    ck_assert_int_eq(content_index_init(&c, bytes, hash_of(ZEROS), HUGE_PAGES), 0);
}

static void finish(bool free_zeros) {
    struct content_index_share sum = {0, 0, 0};

    content_index_count(&c, MOST, free_zeros, &total, shares);
    for (int i = 0; i < PROCESSES; i++) {
        sum.further += shares[i].further;
        sum.zeros += shares[i].zeros;
        sum.changing += shares[i].changing;
    }
    ck_assert_double_eq_tol(sum.further, total.all.further, 1e-6 * total.all.further + 1e-6);
    ck_assert_double_eq_tol(sum.zeros, total.all.zeros, 1e-6 * total.all.zeros + 1e-6);
    ck_assert_double_eq_tol(sum.changing, total.all.changing, 1e-6 * total.all.changing + 1e-6);
    content_index_free(&c);
}

/* ---- few pages ---- */

/* So many pages of one content, one after another in a process; frame: not 0 if they are shared,
 * UNKNOWN if their frames are not known. */
enum { UNKNOWN = -1 };
struct run {
    int content;
    int pages;
    uint32_t process;
    int frame;
    bool huge;
    int changed; /* so many of them change */
};

static const struct {
    struct run runs[4];
    bool free_zeros;
    double further, zeros, changing, huge, splits;
    double of[PROCESSES]; /* further by process; of the last one what is left */
} cases[] = {
    {.further = 0},
    {.runs = {{1, 1, 0, 0, false, 0}, {2, 1, 1, 0, false, 0}}},
    {.runs = {{1, 2, 0, 0, false, 0}}, .further = 1, .of = {1}},
    {.runs = {{1, 3, 1, 0, false, 0}}, .further = 2, .of = {0, 2}},
    {.runs = {{1, 1, 0, 0, false, 0}, {1, 3, 1, 0, false, 0}}, .further = 3, .of = {0.75, 2.25}},
    /* Of equal pages one is kept for each 256. */
    {.runs = {{1, 256, 0, 0, false, 0}}, .further = 255, .of = {255}},
    {.runs = {{1, 257, 0, 0, false, 0}}, .further = 255, .of = {255}},
    {.runs = {{ZEROS, 257, 0, 0, false, 0}}, .further = 255, .zeros = 255, .of = {255}},
    {.runs = {{ZEROS, 257, 0, 0, false, 0}},
     .free_zeros = true,
     .further = 257,
     .zeros = 257,
     .of = {257}},
    {.runs = {{ZEROS, 1, 0, 0, false, 0}}, .free_zeros = true, .further = 1, .zeros = 1, .of = {1}},
    /* Forks share one page; so do those that KSM has merged. */
    {.runs = {{1, 1, 0, 5, false, 0}, {1, 1, 1, 5, false, 0}}},
    {.runs = {{1, 2, 0, 5, false, 0}, {1, 2, 1, 5, false, 0}}, .further = 1, .of = {0.5, 0.5}},
    {.runs = {{1, 1, 0, 5, false, 0}, {1, 1, 1, 5, false, 0}, {1, 1, 2, 0, false, 0}},
     .further = 1,
     .of = {0.25, 0.25, 0.5}},
    {.runs = {{1, 9, 0, UNKNOWN, false, 0}, {1, 9, 1, UNKNOWN, false, 0}}},
    {.runs = {{1, 9, 0, UNKNOWN, false, 0}, {1, 1, 1, 0, false, 0}},
     .further = 1,
     .of = {0.5, 0.5}},
    {.runs = {{1, 255, 0, UNKNOWN, false, 0}, {1, 2, 0, 0, false, 0}}, .further = 1, .of = {1}},
    /* Changed pages are no savings. */
    {.runs = {{1, 2, 0, 0, false, 1}}, .changing = 1},
    {.runs = {{1, 2, 0, 0, false, 2}}, .changing = 2},
    {.runs = {{1, 3, 0, 0, false, 1}}, .further = 1, .changing = 1, .of = {1}},
    {.runs = {{1, 1, 0, 0, false, 0}}, .changing = 0},
    {.runs = {{ZEROS, 3, 0, 0, false, 3}}, .free_zeros = true, .changing = 3},
    /* Huge pages: those that hold a page that merges, once. */
    {.runs = {{1, 2, 0, 0, true, 0}, {2, 1, 0, 0, true, 0}},
     .further = 1,
     .huge = 1,
     .splits = 1,
     .of = {1}},
    {.runs = {{1, 1, 0, 0, true, 0}, {1, 1, 1, 0, true, 0}, {1, 2, 2, 0, false, 0}},
     .further = 3,
     .huge = 1.5,
     .splits = 2,
     .of = {0.75, 0.75, 1.5}},
    {.runs = {{1, 3, 0, 0, true, 3}}, .changing = 3},
};

static void add_run(const struct run *run) {
    static uint64_t page;

    for (int i = 0; i < run->pages; i++) {
        const uint64_t frame = run->frame > 0 ? (uint64_t)(run->frame + i) : 0;
        content_index_add(&c, hash_of((uint64_t)run->content),
                          run->frame ? content_index_shared(run->process, frame)
                                     : content_index_own(run->process, page++, run->huge));
    }
}

/* The runs' pages that are to change, by process: no two runs of a case that change are alike. */
static void change(const struct run *run, size_t own) {
    int left = run->changed;

    for (size_t i = 0; i < own && left > 0; i++)
        if (content_index_process(c.records[i].place) == run->process) {
            content_index_change(&c, i);
            left--;
        }
    ck_assert_int_eq(left, 0);
}

TEST_ROWS(few, cases) {
    begin(64 * 1024);
    for (int i = 0; i < ROWS(row->runs); i++)
        add_run(&row->runs[i]);
    size_t own = content_index_settle(&c);
    for (int i = 0; i < ROWS(row->runs); i++)
        change(&row->runs[i], own);
    finish(row->free_zeros);
    ck_assert_double_eq_tol(total.all.further, row->further, 1e-9);
    ck_assert_double_eq_tol(total.all.zeros, row->zeros, 1e-9);
    ck_assert_double_eq_tol(total.all.changing, row->changing, 1e-9);
    ck_assert_double_eq_tol(total.huge, row->huge, 1e-9);
    ck_assert_double_eq_tol(total.splits, row->splits, 1e-9);
    ck_assert_double_eq(total.error, 0);
    for (int i = 0; i < PROCESSES; i++)
        ck_assert_double_eq_tol(shares[i].further, row->of[i], 1e-9);
}

/* ---- more pages than records ---- */

static const struct {
    int pages;     /* in groups */
    int group;     /* equal pages each */
    int frequent;  /* more pages, all equal */
    int zeros;     /* more */
    int mappings;  /* of each page, by processes that forked; 0: they are their process's own */
    bool changing; /* all but the zeros */
    double most;   /* the error, as a share of all pages */
} samples[] = {
    {500000, 1, 0, 0, 0, false, 0},         {500000, 2, 0, 0, 0, false, 0.02},
    {500000, 3, 0, 0, 0, false, 0.02},      {500000, 50, 0, 0, 0, false, 0.06},
    {0, 1, 500000, 0, 0, false, 0},         {0, 1, 0, 500000, 0, false, 0},
    {200000, 1, 300000, 0, 0, false, 1e-4}, {200000, 2, 300000, 100000, 0, false, 0.02},
    {100000, 2, 0, 0, 3, false, 0.02},      {20000, 1, 100000, 0, 3, false, 0.02},
    {200000, 2, 0, 100000, 0, true, 0.02},
};

static void add_page(uint64_t content, int i, int mappings) {
    static uint64_t frame = 1;

    for (int j = 0; j < mappings; j++)
        content_index_add(&c, hash_of(content),
                          content_index_shared((uint32_t)j % PROCESSES, frame));
    frame++;
    if (mappings == 0)
        content_index_add(&c, hash_of(content),
                          content_index_own((uint32_t)i % PROCESSES, frame, false));
}

TEST_ROWS(many, samples) {
    const int all = row->pages + row->frequent + row->zeros;
    const int mapped = row->mappings > 0 ? row->mappings : 1;
    double want = row->pages - ceil(row->pages / (double)row->group) + row->zeros -
                  ceil(row->zeros / (double)MOST) + row->frequent -
                  ceil(row->frequent * mapped / (double)MOST);

    begin(MIB);                     /* 65,536 records */
    for (int i = 0; i < all; i++) { /* in a mixed order */
        const int at = (int)((int64_t)i * 7919 % all);
        add_page(at < row->pages                   ? (uint64_t)(10 + at / row->group)
                 : at < row->pages + row->frequent ? 1
                                                   : ZEROS,
                 i, row->mappings);
    }
    ck_assert_int_gt((int)c.bits, 0);
    ck_assert_int_le((int)c.count, (int)c.size);
    size_t own = content_index_settle(&c);
    for (size_t i = 0; row->changing && i < own; i++)
        if (c.records[i].hash != c.zeros)
            content_index_change(&c, i);
    if (row->changing)
        want = row->zeros - ceil(row->zeros / (double)MOST);
    finish(false);
    ck_assert_double_eq_tol(total.all.further, want, fmax(1.5 * total.error, all * mapped * 1e-3));
    ck_assert_double_le(total.error, row->most * all);
    ck_assert_double_eq_tol(total.all.zeros, row->zeros - ceil(row->zeros / (double)MOST), 1e-6);
    ck_assert(row->changing == (total.all.changing > 0));
}

/* Places come back as they were put in, the largest too. */
TEST(places) {
    const uint64_t page = (UINT64_C(1) << 40) - 1;
    const uint32_t process = CONTENT_INDEX_PROCESSES - 1;

    ck_assert_uint_eq(content_index_page(content_index_own(process, page, true)), page);
    ck_assert_uint_eq(content_index_process(content_index_own(process, page, true)), process);
    ck_assert_uint_eq(content_index_process(content_index_shared(process, page)), process);
    ck_assert(content_index_own(process, page, true) < content_index_shared(0, 0));
}
