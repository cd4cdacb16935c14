/* SPDX-License-Identifier: MIT
 *
 * Counting equal pages: exactly while all fit in memory, and within the error that it states after
 * that.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

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

    for (int i = 0; i < run->pages; i++, page++) {
        const uint64_t frame = run->frame > 0 ? (uint64_t)(run->frame + i) : 0;
        content_index_add(&c, hash_of((uint64_t)run->content),
                          run->frame ? content_index_place_many(run->process, frame, page)
                                     : content_index_place_once(run->process, page, run->huge));
    }
}

/* The runs' pages that are to change, by process: no two runs of a case that change are alike. */
static void change(const struct run *run, size_t own) {
    int left = run->changed;

    for (size_t i = 0; i < own && left > 0; i++)
        if (content_index_process(c.records[i].place) == run->process) {
            content_index_mark_changed(&c, i);
            left--;
        }
    ck_assert_int_eq(left, 0);
}

TEST_ROWS(few, cases) {
    begin(64 * 1024);
    for (int i = 0; i < ROWS(row->runs); i++)
        add_run(&row->runs[i]);
    size_t own = content_index_end_first_pass(&c);
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
    {0, 1, 500000, 0, 0, false, 1e-3},      {0, 1, 0, 500000, 0, false, 1e-3},
    {200000, 1, 300000, 0, 0, false, 1e-3}, {200000, 2, 300000, 100000, 0, false, 0.02},
    {100000, 2, 0, 0, 3, false, 0.02},      {20000, 1, 100000, 0, 3, false, 0.02},
    {200000, 2, 0, 100000, 0, true, 0.02},
};

static void add_page(uint64_t content, int i, int mappings) {
    static uint64_t frame = 1;

    for (int j = 0; j < mappings; j++)
        content_index_add(&c, hash_of(content),
                          content_index_place_many((uint32_t)j % PROCESSES, frame, 0));
    frame++;
    if (mappings == 0)
        content_index_add(&c, hash_of(content),
                          content_index_place_once((uint32_t)i % PROCESSES, frame, false));
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
    ck_assert_int_le((int)c.count, (int)c.size);
    size_t own = content_index_end_first_pass(&c);
    for (size_t i = 0; row->changing && i < own; i++)
        if (c.records[i].key != c.zeros)
            content_index_mark_changed(&c, i);
    if (row->changing)
        want = row->zeros - ceil(row->zeros / (double)MOST);
    finish(false);
    ck_assert(total.sampled);
    ck_assert_double_eq_tol(total.all.further, want, fmax(1.5 * total.error, all * mapped * 1e-3));
    ck_assert_double_le(total.error, row->most * all);
    ck_assert_double_eq_tol(total.all.zeros, row->zeros - ceil(row->zeros / (double)MOST), 1e-6);
    ck_assert(row->changing == (total.all.changing > 0));
}

/* ---- the estimator ---- */

/* 1,000 contents of 100 pages among others that are all different: first or last, or mixed. With
 * 1.5 times the error, three standard deviations. */
static const struct {
    const char *order;
    int at; /* every so many pages one of these; 0: first, -1: last */
    double max_error;
} orders[] = {{"first", 0, 300}, {"last", -1, 50000}, {"mixed", 11, 50000}};

TEST_ROWS(frequent_contents_count_in_any_order, orders) {
    enum { CONTENTS = 1000, EQUAL = 100, OTHERS = 1000000, ALL = CONTENTS * EQUAL + OTHERS };
    const double want = CONTENTS * (EQUAL - 1);
    int equal = 0, others = 0;

    begin(MIB);
    for (int i = 0; i < ALL; i++) {
        const bool is_equal = row->at == 0  ? i < CONTENTS * EQUAL
                              : row->at < 0 ? i >= OTHERS
                                            : i % row->at == 0 && equal < CONTENTS * EQUAL;
        const int content = is_equal ? 1 + equal++ % CONTENTS : CONTENTS + 1 + others++;
        content_index_add(&c, hash_of((uint64_t)content),
                          content_index_place_once(0, (uint64_t)i, false));
    }
    ck_assert_int_ge((int)c.sampling_shift, 4);
    finish(false);
    ck_assert_msg(fabs(total.all.further - want) <= 1.5 * total.error &&
                      total.error <= row->max_error,
                  "%s: got %.0f pages, give or take %.0f, want %.0f", row->order, total.all.further,
                  total.error, want);
}

/* A population of contents: pages of each, mappings of a page (0: its process's own), and of four
 * own pages how many change. */
static const struct {
    int contents, pages, mappings, changing;
} population[] = {{80000, 1, 0, 0}, {4000, 2, 0, 0}, {300, 20, 0, 1}, {40, 60, 0, 2},
                  {10, 400, 0, 1},  {5, 500, 3, 0},  {3, 300, 40, 0}};

enum { MAX_PAGES = 128 * 1024 };
static struct page {
    uint64_t content;
    uint32_t mappings;
    bool changes;
} pages[MAX_PAGES];

/* Makes the pages, in an order that depends on the seed. Returns their number; sets *want. */
static uint64_t make_pages(uint64_t seed, double *want) {
    uint64_t count = 0, content = seed << 32;

    for (int i = 0; i < ROWS(population); i++)
        for (int j = 0; j < population[i].contents; j++, content++) {
            double same = 0, mapped = 0;
            for (int k = 0; k < population[i].pages; k++) {
                const bool changes = k % 4 < population[i].changing;
                pages[count++] = (struct page){content, (uint32_t)population[i].mappings, changes};
                same += !changes;
                mapped += population[i].mappings > 0 ? population[i].mappings : !changes;
            }
            *want += fmax(0, same - ceil(mapped / MOST));
        }
    for (uint64_t i = count - 1; i > 0; i--) {
        const uint64_t other = hash_of(seed << 20 | i) % (i + 1);
        const struct page page = pages[i];
        pages[i] = pages[other];
        pages[other] = page;
    }
    return count;
}

static void add_pages(uint64_t count) {
    for (uint64_t i = 0; i < count; i++) {
        const uint64_t key = hash_of(pages[i].content);
        for (uint32_t j = 0; j < pages[i].mappings; j++)
            content_index_add(&c, key, content_index_place_many(j % PROCESSES, i + 1, 0));
        if (pages[i].mappings == 0)
            content_index_add(&c, key, content_index_place_once((uint32_t)i % PROCESSES, i, false));
    }
}

/* With 16,384 records for 125,200 mappings. Over all seeds the mean
 * is right, and the errors are two standard deviations. */
TEST(estimate_is_unbiased_and_its_error_honest) {
    enum { SEEDS = 40 };
    double bias = 0, squares = 0, stated = 0;
    int within = 0;

    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        double want = 0;
        begin(256 * 1024);
        add_pages(make_pages(seed, &want));
        const size_t own = content_index_end_first_pass(&c);
        for (size_t i = 0; i < own; i++)
            if (pages[content_index_page(c.records[i].place)].changes)
                content_index_mark_changed(&c, i);
        memset(shares, 0, sizeof(shares));
        content_index_count(&c, MOST, false, &total, shares);
        content_index_free(&c);
        const double error = total.all.further - want;
        bias += error / SEEDS;
        squares += error * error / SEEDS;
        stated += total.error * total.error / 4 / SEEDS;
        within += fabs(error) <= total.error;
    }
    const double deviation = sqrt(squares);
    ck_assert_msg(fabs(bias) <= 3 * deviation / sqrt(SEEDS) && sqrt(stated) >= 0.8 * deviation &&
                      sqrt(stated) <= 1.3 * deviation && within >= SEEDS * 9 / 10,
                  "bias %.1f, standard deviation %.1f, stated %.1f, within %d of %d", bias,
                  deviation, sqrt(stated), within, SEEDS);
}

/* Places come back as they were put in, the largest too. */
TEST(places) {
    const uint64_t page = (UINT64_C(1) << 40) - 1;
    const uint32_t process = CONTENT_INDEX_PROCESSES - 1;

    ck_assert_uint_eq(content_index_page(content_index_place_once(process, page, true)), page);
    ck_assert_uint_eq(content_index_process(content_index_place_once(process, page, true)),
                      process);
    ck_assert_uint_eq(content_index_process(content_index_place_many(process, page, 0)), process);
    ck_assert_uint_eq(content_index_process(content_index_place_many(process, 0, page)), process);
    ck_assert(content_index_place_once(process, page, true) < content_index_place_many(0, 1, 0));
}
