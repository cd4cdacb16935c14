/* SPDX-License-Identifier: MIT */
#include "explain/content_index.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/mman.h>

/* ---- places: shared 1 bit, then
 *        own:     process 21 bits, page 40 bits, changed 1 bit, huge 1 bit
 *        shared:  frame 40 bits, process 21 bits, two bits that are 0 ---- */

enum { PROCESS_BITS = 21, PAGE_BITS = 40 };
static const uint64_t is_shared = UINT64_C(1) << 63, is_huge = 1, is_changed = 2;
static const uint64_t process_mask = (UINT64_C(1) << PROCESS_BITS) - 1;
static const uint64_t page_mask = (UINT64_C(1) << PAGE_BITS) - 1;

uint64_t content_index_own(uint32_t process, uint64_t page, bool huge) {
    return (process & process_mask) << (PAGE_BITS + 2) | (page & page_mask) << 2 |
           (huge ? is_huge : 0);
}

uint64_t content_index_shared(uint32_t process, uint64_t frame) {
    return is_shared | (frame & page_mask) << (PROCESS_BITS + 2) | (process & process_mask) << 2;
}

uint32_t content_index_process(uint64_t place) {
    return (uint32_t)(place >> (place & is_shared ? 2 : PAGE_BITS + 2) & process_mask);
}

uint64_t content_index_page(uint64_t place) {
    return place >> 2 & page_mask;
}

static uint64_t frame_of(uint64_t place) {
    return place >> (PROCESS_BITS + 2) & page_mask;
}

/* ---- order ---- */

enum order { BY_HASH, BY_PLACE };

/* Digit 15 is the highest. */
enum { DIGITS = 16, DIGIT_BITS = 8, DIGIT_VALUES = 1 << DIGIT_BITS };

static unsigned digit_of(const struct content_index_record *r, enum order order, unsigned digit) {
    const uint64_t key = (order == BY_HASH) == (digit >= DIGITS / 2) ? r->hash : r->place;

    return key >> digit % (DIGITS / 2) * DIGIT_BITS & (DIGIT_VALUES - 1);
}

static bool is_before(const struct content_index_record *a, const struct content_index_record *b,
                      enum order order) {
    if (order == BY_HASH)
        return a->hash != b->hash ? a->hash < b->hash : a->place < b->place;
    return a->place != b->place ? a->place < b->place : a->hash < b->hash;
}

static void sort_few(struct content_index_record *r, size_t count, enum order order) {
    for (size_t i = 1; i < count; i++) {
        const struct content_index_record one = r[i];
        size_t j = i;
        for (; j > 0 && is_before(&one, &r[j - 1], order); j--)
            r[j] = r[j - 1];
        r[j] = one;
    }
}

/* By one word, then by the other: digit by digit from the highest, each record swapped to where its
 * digit belongs. In place, as qsort() of glibc takes as much memory again. */
static void sort(struct content_index_record *r, size_t count, enum order order, unsigned digit) {
    enum { FEW = 24 };
    size_t end[DIGIT_VALUES] = {0}, next[DIGIT_VALUES], sum = 0;

    if (count <= FEW) {
        sort_few(r, count, order);
        return;
    }
    for (size_t i = 0; i < count; i++)
        end[digit_of(&r[i], order, digit)]++;
    if (end[digit_of(r, order, digit)] == count) {
        if (digit > 0)
            sort(r, count, order, digit - 1);
        return;
    }
    for (unsigned value = 0; value < DIGIT_VALUES; value++) {
        next[value] = sum;
        end[value] = sum += end[value];
    }
    for (unsigned value = 0; value < DIGIT_VALUES; value++)
        while (next[value] < end[value]) {
            const struct content_index_record one = r[next[value]];
            const unsigned belongs = digit_of(&one, order, digit);
            r[next[value]] = r[next[belongs]];
            r[next[belongs]++] = one;
        }
    for (unsigned value = 0; digit > 0 && value < DIGIT_VALUES; value++) {
        const size_t first = value > 0 ? end[value - 1] : 0;
        sort(r + first, end[value] - first, order, digit - 1);
    }
}

static void order_by(struct content_index *c, enum order order) {
    sort(c->records, c->count, order, DIGITS - 1);
}

/* The records from i on that have the same content; they must be ordered by hash. */
static size_t run_at(const struct content_index *c, size_t i) {
    size_t end = i + 1;

    while (end < c->count && c->records[end].hash == c->records[i].hash)
        end++;
    return end - i;
}

/* ---- frequent contents ---- */

static struct content_index_frequent *slot_of(struct content_index *c, uint64_t hash) {
    size_t slot = hash >> 32 & (CONTENT_INDEX_SLOTS - 1);

    while (c->frequent[slot].used && c->frequent[slot].hash != hash)
        slot = (slot + 1) & (CONTENT_INDEX_SLOTS - 1);
    return &c->frequent[slot];
}

static struct content_index_frequent *add_frequent(struct content_index *c, uint64_t hash) {
    struct content_index_frequent *one = slot_of(c, hash);

    *one = (struct content_index_frequent){.hash = hash, .bits = c->bits, .used = true};
    c->frequents++;
    return one;
}

static void count_page(struct content_index_frequent *one, uint64_t place) {
    if (place & is_shared)
        one->shared++;
    else
        one->own++;
}

/* ---- the sample ---- */

/* The end of splitmix64: every bit of the result depends on every one of x. */
static uint64_t mix(uint64_t x) {
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* Of a frequent content a sample of pages: of one that is shared, all mappings or none. */
static bool is_kept(const struct content_index *c, bool frequent,
                    const struct content_index_record *r) {
    const uint64_t frame = r->place & is_shared ? frame_of(r->place) : 0;
    const uint64_t by = !frequent ? r->hash : mix(frame != 0 ? frame : r->place >> 2);

    return (by & ((UINT64_C(1) << c->bits) - 1)) == 0;
}

/* Finds those that have become frequent; records are ordered by hash. */
static void find_frequent(struct content_index *c) {
    const size_t many = c->size / 1024;

    for (size_t i = 0, run; i < c->count; i += run) {
        const uint64_t hash = c->records[i].hash;
        run = run_at(c, i);
        if (run <= many || c->frequents == CONTENT_INDEX_FREQUENT || slot_of(c, hash)->used)
            continue;
        struct content_index_frequent *one = add_frequent(c, hash);
        for (size_t j = i; j < i + run; j++)
            count_page(one, c->records[j].place);
    }
}

static void halve(struct content_index *c) {
    size_t kept = 0;

    order_by(c, BY_HASH);
    find_frequent(c);
    c->bits++;
    for (size_t i = 0; i < c->count; i++)
        if (is_kept(c, slot_of(c, c->records[i].hash)->used, &c->records[i]))
            c->records[kept++] = c->records[i];
    c->count = kept;
}

void content_index_add(struct content_index *c, uint64_t hash, uint64_t place) {
    const struct content_index_record record = {hash, place};

    for (bool counted = false;; halve(c)) { /* which may find this content to be frequent */
        struct content_index_frequent *one = slot_of(c, hash);
        if (one->used && !counted)
            count_page(one, place);
        counted = one->used;
        if (!is_kept(c, one->used, &record))
            return;
        if (c->count < c->size) {
            c->records[c->count++] = record;
            return;
        }
    }
}

int content_index_init(struct content_index *c, size_t bytes, uint64_t zeros, size_t huge_pages) {
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    memset(c, 0, sizeof(*c));
    if (memory == MAP_FAILED)
        return -ENOMEM;
    c->records = memory;
    c->size = bytes / sizeof(*c->records);
    c->huge_pages = huge_pages;
    c->zeros = zeros;
    add_frequent(c, zeros);
    return 0;
}

void content_index_free(struct content_index *c) {
    if (c->records)
        munmap(c->records, c->size * sizeof(*c->records));
    c->records = NULL;
}

/* ---- a group: the pages of one content ---- */

struct group {
    const struct content_index_record *records;
    size_t run;
    double own;     /* pages that one process alone maps, */
    double changed; /* those of them that did not stay the same, */
    double frames;  /* other pages, */
    double mapped;  /* and their mappings: all of the records */
    double huge;    /* of own that did not change: in huge pages */
};

/* The records from i on that map the same page as record i, which is shared. */
static size_t mappings_at(const struct group *g, size_t i) {
    size_t end = i + 1;

    while (end < g->run && frame_of(g->records[end].place) == frame_of(g->records[i].place))
        end++;
    return end - i;
}

static struct group group_at(const struct content_index *c, size_t at) {
    struct group g = {.records = c->records + at, .run = run_at(c, at)};
    size_t i = 0;

    for (; i < g.run && !(g.records[i].place & is_shared); i++) {
        const bool changed = g.records[i].place & is_changed;
        g.own++;
        g.changed += changed;
        g.huge += !changed && g.records[i].place & is_huge;
    }
    for (size_t n; i < g.run; i += n) {
        n = mappings_at(&g, i);
        g.mapped += (double)n;
        g.frames++;
    }
    return g;
}

/* ---- between the readings ---- */

size_t content_index_settle(struct content_index *c) {
    size_t kept = 0, own = 0;

    order_by(c, BY_HASH);
    for (size_t i = 0; i < c->count;) {
        const struct group g = group_at(c, i);
        if (g.own + g.frames > 1 || slot_of(c, g.records->hash)->used) {
            memmove(c->records + kept, g.records, g.run * sizeof(*c->records));
            kept += g.run;
        }
        i += g.run;
    }
    c->count = kept;
    order_by(c, BY_PLACE);
    while (own < c->count && !(c->records[own].place & is_shared))
        own++;
    c->settled = true;
    return own;
}

void content_index_change(struct content_index *c, size_t i) {
    c->records[i].place |= is_changed;
}

/* ---- the result ---- */

/* The pages of a group in full. */
struct whole {
    double pages; /* that stayed the same */
    double mapped;
    double changed;
    double variance; /* of pages */
    double weight;   /* contents that it stands for */
};

/* Of a frequent content how many pages changed, and how many there are of those that are shared, is
 * an estimate by the sample of its places. */
static struct whole whole_of(struct content_index *c, const struct group *g) {
    const struct content_index_frequent *one = slot_of(c, g->records->hash);
    const double stands_for = ldexp(1, (int)c->bits), same = g->own - g->changed;
    struct whole w = {same + g->frames, same + g->mapped, g->changed, 0, stands_for};

    if (!one->used)
        return w;
    const double own = (double)one->own, mapped = (double)one->shared;
    const double part = g->own > 0 ? g->changed / g->own : 0;
    double frames = mapped > 0;
    if (g->frames > 0 && frame_of(g->records[g->run - 1].place) != 0) {
        frames = fmin(g->frames * stands_for, mapped);
        w.variance = g->frames * stands_for * (stands_for - 1);
    }
    if (c->bits > 0 && g->own > 0)
        w.variance += own * own * part * (1 - part) / g->own;
    w.changed = own * part;
    w.pages = own - w.changed + frames;
    w.mapped = own - w.changed + mapped;
    w.weight = ldexp(1, (int)one->bits);
    return w;
}

/* Pages that merging frees of one content. */
static double freed(const struct content_index *c, uint64_t hash, const struct whole *w,
                    unsigned most, bool free_zeros) {
    if (hash == c->zeros && free_zeros)
        return w->pages;
    return fmax(0, w->pages - ceil(w->mapped / most));
}

/* Each process's part is as large as its part of the pages; of a shared one all have the same. */
static void share_out(const struct content_index *c, const struct group *g, double saved,
                      double changing, struct content_index_share *processes) {
    const double same = g->own - g->changed + g->frames;

    for (size_t i = 0, n; i < g->run; i += n) {
        const uint64_t place = g->records[i].place;
        n = place & is_shared ? mappings_at(g, i) : 1;
        for (size_t j = i; j < i + n; j++) {
            struct content_index_share *to = &processes[content_index_process(g->records[j].place)];
            const double part = place & is_changed ? 0 : saved / same / (double)n;
            to->further += part;
            to->zeros += g->records->hash == c->zeros ? part : 0;
            to->changing += place & is_changed && !(place & is_shared) ? changing / g->changed : 0;
        }
    }
}

/* The huge pages with at least one page that would merge; records are ordered by place. */
static double count_splits(const struct content_index *c) {
    uint64_t last = UINT64_MAX;
    double splits = 0;

    for (size_t i = 0; i < c->count && !(c->records[i].place & is_shared); i++) {
        const uint64_t place = c->records[i].place, huge = (place >> 2) / c->huge_pages;
        if (!(place & is_huge) || place & is_changed || huge == last)
            continue;
        last = huge;
        splits++;
    }
    return splits;
}

void content_index_count(struct content_index *c, unsigned most, bool free_zeros,
                         struct content_index_total *total, struct content_index_share *processes) {
    double variance = 0;

    *total = (struct content_index_total){.splits = 0};
    if (!c->settled)
        content_index_settle(c);
    total->splits = count_splits(c);
    order_by(c, BY_HASH);
    for (size_t i = 0; i < c->count;) {
        const struct group g = group_at(c, i);
        const struct whole w = whole_of(c, &g);
        const double one = freed(c, g.records->hash, &w, most, free_zeros);
        const double saved = one * w.weight, changing = w.changed * w.weight;
        total->all.further += saved;
        total->all.zeros += g.records->hash == c->zeros ? saved : 0;
        total->all.changing += changing;
        if (w.pages > 0 && saved > 0)
            total->huge += saved * g.huge / (g.own - g.changed + g.frames);
        variance += one * one * w.weight * (w.weight - 1) + w.variance * w.weight * w.weight;
        share_out(c, &g, saved, changing, processes);
        i += g.run;
    }
    total->error = 2 * sqrt(variance);
}
