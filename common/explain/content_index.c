/* SPDX-License-Identifier: MIT */
#include "explain/content_index.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/mman.h>

/* ---- places, from the highest bit on:
 *      own     0, process 21 bits, page 40 bits, changed, huge
 *      shared  1, whether the frame is unknown, frame (else page) 40 bits, process 21 bits, 0 ----
 */

enum { PROCESS_BITS = 21, PAGE_BITS = 40 };
static const uint64_t is_shared = UINT64_C(1) << 63, is_unknown = UINT64_C(1) << 62;
static const uint64_t is_huge = 1, is_changed = 2; /* of own places alone */
static const uint64_t process_mask = (UINT64_C(1) << PROCESS_BITS) - 1;
static const uint64_t page_mask = (UINT64_C(1) << PAGE_BITS) - 1;

uint64_t content_index_own(uint32_t process, uint64_t page, bool huge) {
    return (process & process_mask) << (PAGE_BITS + 2) | (page & page_mask) << 2 |
           (huge ? is_huge : 0);
}

uint64_t content_index_shared(uint32_t process, uint64_t frame, uint64_t page) {
    return is_shared | (frame == 0 ? is_unknown : 0) |
           ((frame == 0 ? page : frame) & page_mask) << (PROCESS_BITS + 1) |
           (process & process_mask) << 1;
}

uint32_t content_index_process(uint64_t place) {
    return (uint32_t)(place >> (place & is_shared ? 1 : PAGE_BITS + 2) & process_mask);
}

uint64_t content_index_page(uint64_t place) {
    return place >> 2 & page_mask;
}

/* What mappings of one page have in common: its frame, where that is known. */
static uint64_t page_id(uint64_t place) {
    if (!(place & is_shared))
        return place >> 2;
    return place & is_unknown ? place : place >> (PROCESS_BITS + 1);
}

/* ---- order ---- */

enum order { BY_KEY, BY_PLACE };

/* Digit 15 is the highest. */
enum { DIGITS = 16, DIGIT_BITS = 8, DIGIT_VALUES = 1 << DIGIT_BITS };

static unsigned digit_of(const struct content_index_record *r, enum order order, unsigned digit) {
    const uint64_t key = (order == BY_KEY) == (digit >= DIGITS / 2) ? r->key : r->place;

    return key >> digit % (DIGITS / 2) * DIGIT_BITS & (DIGIT_VALUES - 1);
}

static bool is_before(const struct content_index_record *a, const struct content_index_record *b,
                      enum order order) {
    if (order == BY_KEY)
        return a->key != b->key ? a->key < b->key : a->place < b->place;
    return a->place != b->place ? a->place < b->place : a->key < b->key;
}

static void insertion_sort(struct content_index_record *r, size_t count, enum order order) {
    for (size_t i = 1; i < count; i++) {
        const struct content_index_record record = r[i];
        size_t j = i;
        for (; j > 0 && is_before(&record, &r[j - 1], order); j--)
            r[j] = r[j - 1];
        r[j] = record;
    }
}

static void sort(struct content_index_record *r, size_t count, enum order order, unsigned digit);

/* By one word, then by the other: digit by digit from the highest, each record swapped to where its
 * digit belongs. In place, as qsort() of glibc takes as much memory again. */
static void sort_by_digit(struct content_index_record *r, size_t count, enum order order,
                          unsigned digit) {
    size_t end[DIGIT_VALUES] = {0}, next[DIGIT_VALUES], sum = 0;

    for (size_t i = 0; i < count; i++)
        end[digit_of(&r[i], order, digit)]++;
    if (end[digit_of(r, order, digit)] == count) {
        if (digit > 0)
            sort(r, count, order, digit - 1);
        return;
    }
    for (unsigned value = 0; value < DIGIT_VALUES; value++) {
        next[value] = sum;
        sum += end[value];
        end[value] = sum;
    }
    for (unsigned value = 0; value < DIGIT_VALUES; value++)
        while (next[value] < end[value]) {
            const struct content_index_record record = r[next[value]];
            const unsigned belongs = digit_of(&record, order, digit);
            r[next[value]] = r[next[belongs]];
            r[next[belongs]++] = record;
        }
    for (unsigned value = 0; digit > 0 && value < DIGIT_VALUES; value++) {
        const size_t first = value > 0 ? end[value - 1] : 0;
        sort(r + first, end[value] - first, order, digit - 1);
    }
}

/* Few records are not worth the 4 kB of counters. */
static void sort(struct content_index_record *r, size_t count, enum order order, unsigned digit) {
    enum { INSERTION_SORT_MAX = 24 };

    if (count <= INSERTION_SORT_MAX)
        insertion_sort(r, count, order);
    else
        sort_by_digit(r, count, order, digit);
}

static void order_by(struct content_index *c, enum order order) {
    sort(c->records, c->count, order, DIGITS - 1);
}

void content_index_sort(struct content_index *c) {
    order_by(c, BY_KEY);
}

size_t content_index_run(const struct content_index *c, size_t i) {
    size_t end = i + 1;

    while (end < c->count && c->records[end].key == c->records[i].key)
        end++;
    return end - i;
}

/* ---- frequent contents ---- */

static struct content_index_frequent *slot_of(struct content_index *c, uint64_t key) {
    size_t slot = key >> 32 & (CONTENT_INDEX_SLOTS - 1);

    while (c->frequent[slot].used && c->frequent[slot].key != key)
        slot = (slot + 1) & (CONTENT_INDEX_SLOTS - 1);
    return &c->frequent[slot];
}

static struct content_index_frequent *add_frequent(struct content_index *c, uint64_t key) {
    struct content_index_frequent *slot = slot_of(c, key);

    *slot = (struct content_index_frequent){
        .key = key, .weight_shift = c->sampling_shift, .used = true};
    c->frequents++;
    return slot;
}

static void count_page(struct content_index_frequent *slot, uint64_t place) {
    if (place & is_shared)
        slot->mapped++;
    else
        slot->own++;
}

/* Finds those that have become frequent; records are ordered by key. */
static void find_frequent(struct content_index *c) {
    const size_t min = c->size / 1024;

    for (size_t i = 0, run; i < c->count; i += run) {
        const uint64_t key = c->records[i].key;
        run = content_index_run(c, i);
        if (run <= min || c->frequents >= c->max_frequents || slot_of(c, key)->used)
            continue;
        struct content_index_frequent *slot = add_frequent(c, key);
        for (size_t j = i; j < i + run; j++)
            count_page(slot, c->records[j].place);
    }
}

/* ---- the sample ---- */

/* The end of splitmix64: every bit of the result depends on every one of x. */
static uint64_t mix(uint64_t x) {
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* By key; of a frequent content by page, with all mappings or none. */
static bool is_sampled(const struct content_index *c, const struct content_index_frequent *slot,
                       const struct content_index_record *record) {
    const unsigned shift = slot->used ? slot->sampling_shift : c->sampling_shift;
    const uint64_t number = slot->used ? mix(page_id(record->place)) : record->key;

    return shift < 64 && (number & ((UINT64_C(1) << shift) - 1)) == 0;
}

static size_t count_common(struct content_index *c) {
    size_t common = 0;

    for (size_t i = 0, run; i < c->count; i += run) {
        run = content_index_run(c, i);
        common += slot_of(c, c->records[i].key)->used ? 0 : run;
    }
    return common;
}

/* Halves the larger part of the records: that of common contents, or that of frequent ones. Those
 * of them with less than 1/4096 of the records together have at most a quarter, and stay. */
static void make_room(struct content_index *c) {
    const size_t min = c->size / 4096;
    size_t kept = 0;

    order_by(c, BY_KEY);
    find_frequent(c);
    const bool halves_common = count_common(c) >= c->size / 2;
    c->sampling_shift += halves_common;
    for (size_t i = 0, run; i < c->count; i += run) {
        struct content_index_frequent *slot = slot_of(c, c->records[i].key);
        run = content_index_run(c, i);
        slot->sampling_shift += slot->used && !halves_common && run >= min;
        for (size_t j = i; j < i + run; j++)
            if (is_sampled(c, slot, &c->records[j]))
                c->records[kept++] = c->records[j];
    }
    c->count = kept;
}

/* Counts the page if its content is frequent, unless *is_counted. Returns false if it is to be
 * recorded, but there is no room. */
static bool try_add(struct content_index *c, const struct content_index_record *record,
                    bool *is_counted) {
    struct content_index_frequent *slot = slot_of(c, record->key);

    if (slot->used && !*is_counted)
        count_page(slot, record->place);
    *is_counted = slot->used;
    if (!is_sampled(c, slot, record))
        return true;
    if (c->count == c->size)
        return false;
    c->records[c->count++] = *record;
    return true;
}

void content_index_add(struct content_index *c, uint64_t key, uint64_t place) {
    const struct content_index_record record = {key, place};
    bool is_counted = false;

    while (!try_add(c, &record, &is_counted))
        make_room(c); /* this may find the content to be frequent */
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
    c->max_frequents = CONTENT_INDEX_FREQUENT;
    add_frequent(c, zeros);
    return 0;
}

void content_index_free(struct content_index *c) {
    if (c->records)
        munmap(c->records, c->size * sizeof(*c->records));
    c->records = NULL;
}

/* ---- the records of one content ---- */

struct group {
    uint64_t key;
    const struct content_index_record *records;
    size_t run;
    double own;     /* pages that one process alone maps */
    double changed; /* of own: pages that did not stay the same */
    double huge;    /* of own: pages that stayed the same, in huge pages */
    double frames;  /* other pages */
    double mapped;  /* mappings of frames */
    double squares; /* sum over frames of the square of its mappings */
    bool unknown;   /* frames are not known */
};

static bool has_changed(uint64_t place) {
    return !(place & is_shared) && place & is_changed;
}

/* How many records from i on map the same page as record i, which is shared. */
static size_t mappings_at(const struct group *g, size_t i) {
    size_t end = i + 1;

    if (g->unknown)
        return g->run - i;
    while (end < g->run && page_id(g->records[end].place) == page_id(g->records[i].place))
        end++;
    return end - i;
}

static struct group group_at(const struct content_index *c, size_t first) {
    struct group g = {.key = c->records[first].key, .records = c->records + first};
    size_t i = 0;

    g.run = content_index_run(c, first);
    g.unknown = (g.records[g.run - 1].place & (is_shared | is_unknown)) == (is_shared | is_unknown);
    for (; i < g.run && !(g.records[i].place & is_shared); i++) {
        const bool changed = has_changed(g.records[i].place);
        g.own++;
        g.changed += changed;
        g.huge += !changed && g.records[i].place & is_huge;
    }
    for (size_t n; i < g.run; i += n) {
        n = mappings_at(&g, i);
        g.frames++;
        g.mapped += (double)n;
        g.squares += (double)n * (double)n;
    }
    return g;
}

/* ---- between the passes ---- */

size_t content_index_settle(struct content_index *c) {
    size_t kept = 0, own = 0;

    order_by(c, BY_KEY);
    for (size_t i = 0; i < c->count;) {
        const struct group g = group_at(c, i);
        if (g.own + g.frames > 1 || slot_of(c, g.key)->used) {
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

/* ---- the estimator: see content_index.h ---- */

/* All pages of a content. */
struct whole {
    double own;      /* that stayed the same */
    double frames;   /* other pages */
    double mapped;   /* mappings of frames */
    double changed;  /* own pages that did not stay the same */
    double variance; /* of own + frames */
    double weight;   /* contents that it stands for */
};

/* Sets changed and own of a frequent content, by its sample. */
static void estimate_changed(struct whole *w, const struct group *g, double own) {
    const double p = (g->changed + 1) / (g->own + 2);

    w->changed = g->own > 0 ? own * g->changed / g->own : 0;
    w->own = own - w->changed;
    if (g->own < own)
        w->variance += own * own * p * (1 - p) / fmax(g->own, 1) * (1 - g->own / own);
}

/* Sets frames, of which each has one mapping or more, and mapped. */
static void estimate_frames(struct whole *w, const struct group *g, double mapped) {
    w->mapped = mapped;
    w->frames = mapped > 0;
    if (g->unknown || mapped == 0)
        return;
    if (g->frames < 2 && g->mapped < mapped) { /* nothing tells how much frames differ */
        w->frames = g->frames > 0 ? mapped / g->mapped : 1;
        w->variance += mapped * mapped;
        return;
    }
    const double ratio = g->frames / g->mapped, frames = mapped * ratio;
    w->frames = frames;
    if (g->mapped < mapped)
        w->variance += frames * frames * fmax(0, 1 - g->frames / frames) / g->frames *
                       fmax(0, ratio * ratio * g->squares - g->frames) / (g->frames - 1);
}

static struct whole whole_of(const struct content_index *c, const struct group *g,
                             const struct content_index_frequent *slot) {
    struct whole w = {.own = g->own - g->changed,
                      .frames = g->frames,
                      .mapped = g->mapped,
                      .changed = g->changed,
                      .weight = ldexp(1, (int)c->sampling_shift)};

    if (slot->used) {
        w.weight = ldexp(1, (int)slot->weight_shift);
        estimate_changed(&w, g, (double)slot->own);
        estimate_frames(&w, g, (double)slot->mapped);
    }
    return w;
}

/* ---- the result ---- */

/* What content_index_count() is given, and its result. */
struct result {
    unsigned max_mappings;
    bool free_zeros;
    bool is_zeros; /* the content that is being added */
    double variance;
    struct content_index_total *total;
    struct content_index_share *processes;
};

/* Pages that merging frees of one content. */
static double freed(const struct result *r, const struct whole *w) {
    const double pages = w->own + w->frames;

    if (r->is_zeros && r->free_zeros)
        return pages;
    return fmax(0, pages - ceil((w->own + w->mapped) / r->max_mappings));
}

/* Each process's part is as large as its part of the pages; of a shared one all have the same. */
static void share_out(const struct result *r, const struct group *g, double saved,
                      double changing) {
    const double same = g->own - g->changed + g->frames;

    for (size_t i = 0, n; i < g->run; i += n) {
        const uint64_t place = g->records[i].place;
        n = place & is_shared ? mappings_at(g, i) : 1;
        for (size_t j = i; j < i + n; j++) {
            struct content_index_share *to =
                &r->processes[content_index_process(g->records[j].place)];
            const double part = has_changed(place) ? 0 : saved / same / (double)n;
            to->further += part;
            to->zeros += r->is_zeros ? part : 0;
            to->changing += has_changed(place) ? changing / g->changed : 0;
        }
    }
}

static void add_content(const struct content_index *c, struct result *r, const struct group *g,
                        const struct content_index_frequent *slot) {
    const struct whole w = whole_of(c, g, slot);
    const double same = g->own - g->changed + g->frames;

    r->is_zeros = g->key == c->zeros;
    const double pages = freed(r, &w), saved = pages * w.weight, changing = w.changed * w.weight;
    r->total->all.further += saved;
    r->total->all.zeros += r->is_zeros ? saved : 0;
    r->total->all.changing += changing;
    r->total->huge += same > 0 ? saved * g->huge / same : 0;
    r->variance += pages * pages * w.weight * (w.weight - 1) + w.variance * w.weight;
    share_out(r, g, saved, changing);
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

void content_index_count(struct content_index *c, unsigned max_mappings, bool free_zeros,
                         struct content_index_total *total, struct content_index_share *processes) {
    struct result r = {.max_mappings = max_mappings,
                       .free_zeros = free_zeros,
                       .total = total,
                       .processes = processes};

    *total = (struct content_index_total){.sampled = c->sampling_shift > 0};
    if (!c->settled)
        content_index_settle(c);
    total->splits = count_splits(c);
    order_by(c, BY_KEY);
    for (size_t i = 0; i < c->count;) {
        const struct group g = group_at(c, i);
        struct content_index_frequent *slot = slot_of(c, g.key);
        slot->has_records = slot->used;
        add_content(c, &r, &g, slot);
        i += g.run;
    }
    for (size_t i = 0; i < CONTENT_INDEX_SLOTS; i++) {
        const struct group none = {.key = c->frequent[i].key};
        total->sampled = total->sampled || c->frequent[i].sampling_shift > 0;
        if (c->frequent[i].used && !c->frequent[i].has_records)
            add_content(c, &r, &none, &c->frequent[i]);
    }
    total->error = 2 * sqrt(r.variance);
}
