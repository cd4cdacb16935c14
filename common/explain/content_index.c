/* SPDX-License-Identifier: MIT */
#include "explain/content_index.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/mman.h>

/* ---- places ---- */

/* From the highest bit on:
 *
 *   mapped once  0, process 21 bits, page 40 bits, changed, huge
 *   else         1, whether the frame is unknown, frame (else page) 40 bits, process 21 bits, 0
 */
enum { PROCESS_BITS = 21, PAGE_BITS = 40 };
#define PLACE_MANY (UINT64_C(1) << 63)
#define PLACE_NO_FRAME (UINT64_C(1) << 62)
#define PLACE_HUGE UINT64_C(1)    /* mapped once */
#define PLACE_CHANGED UINT64_C(2) /* mapped once */
#define PROCESS_MASK ((UINT64_C(1) << PROCESS_BITS) - 1)
#define PAGE_MASK (CONTENT_INDEX_PAGES - 1)

uint64_t content_index_place_once(uint32_t process, uint64_t page, bool huge) {
    return (process & PROCESS_MASK) << (PAGE_BITS + 2) | (page & PAGE_MASK) << 2 |
           (huge ? PLACE_HUGE : 0);
}

uint64_t content_index_place_many(uint32_t process, uint64_t frame, uint64_t page) {
    return PLACE_MANY | (frame == 0 ? PLACE_NO_FRAME : 0) |
           ((frame == 0 ? page : frame) & PAGE_MASK) << (PROCESS_BITS + 1) |
           (process & PROCESS_MASK) << 1;
}

uint32_t content_index_process(uint64_t place) {
    const unsigned shift = place & PLACE_MANY ? 1 : PAGE_BITS + 2;

    return (place >> shift) & PROCESS_MASK;
}

uint64_t content_index_page(uint64_t place) {
    return (place >> 2) & PAGE_MASK;
}

/* Returns what all mappings of one page have in common: its frame, if that is known. */
static uint64_t page_id(uint64_t place) {
    if (!(place & PLACE_MANY))
        return place >> 2;
    return place & PLACE_NO_FRAME ? place : place >> (PROCESS_BITS + 1);
}

/* ---- order ---- */

enum order { BY_KEY, BY_PLACE };

/* Digit 15 is the highest. */
enum { DIGITS = 16, DIGIT_BITS = 8, DIGIT_VALUES = 1 << DIGIT_BITS };

/* Returns a digit of the number that is key and place one behind the other, or place and key. */
static unsigned digit_of(const struct content_index_record *r, enum order order, unsigned digit) {
    const uint64_t high = order == BY_KEY ? r->key : r->place;
    const uint64_t low = order == BY_KEY ? r->place : r->key;
    const uint64_t word = digit >= DIGITS / 2 ? high : low;

    return (word >> (digit % (DIGITS / 2) * DIGIT_BITS)) & (DIGIT_VALUES - 1);
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

/* American flag sort: counts the records of each value of the digit, swaps each record to where
 * those of its value belong, and sorts each of these parts by the next lower digit. In place, as
 * qsort() of glibc allocates as much memory again. */
static void sort_by_digit(struct content_index_record *r, size_t count, enum order order,
                          unsigned digit) {
    size_t count_of[DIGIT_VALUES] = {0}, next[DIGIT_VALUES], end[DIGIT_VALUES], sum = 0;

    for (size_t i = 0; i < count; i++)
        count_of[digit_of(&r[i], order, digit)]++;
    if (count_of[digit_of(&r[0], order, digit)] == count) { /* nothing to swap */
        if (digit > 0)
            sort(r, count, order, digit - 1);
        return;
    }
    for (unsigned value = 0; value < DIGIT_VALUES; value++) {
        next[value] = sum;
        sum += count_of[value];
        end[value] = sum;
    }
    for (unsigned value = 0; value < DIGIT_VALUES; value++)
        while (next[value] < end[value]) {
            const struct content_index_record record = r[next[value]];
            size_t *to = &next[digit_of(&record, order, digit)];
            r[next[value]] = r[*to];
            r[*to] = record;
            (*to)++;
        }
    for (unsigned value = 0; digit > 0 && value < DIGIT_VALUES; value++)
        sort(r + end[value] - count_of[value], count_of[value], order, digit - 1);
}

/* Few records are not worth the 6 kB of counters a level: at most 16 levels use 98 kB of the
 * worker's 256 kB of stack (worker.h). */
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

size_t content_index_count_equal(const struct content_index *c, size_t i) {
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
    if (place & PLACE_MANY)
        slot->mapped++;
    else
        slot->once++;
}

/* Finds those that have become frequent; records are ordered by key. */
static void find_frequent(struct content_index *c) {
    const size_t min = c->size / 1024;
    size_t end = 0;

    for (size_t i = 0; i < c->count; i = end) {
        const uint64_t key = c->records[i].key;
        end = i + content_index_count_equal(c, i);
        if (end - i <= min || c->frequents >= c->max_frequents || slot_of(c, key)->used)
            continue;
        struct content_index_frequent *slot = add_frequent(c, key);
        for (size_t j = i; j < end; j++)
            count_page(slot, c->records[j].place);
    }
}

/* ---- the subset ---- */

/* The end of splitmix64: every bit of the result depends on every one of x. */
static uint64_t mix(uint64_t x) {
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* By key; a page of a frequent content by its frame or address, with all mappings or none. */
static bool is_in_subset(const struct content_index *c, const struct content_index_frequent *slot,
                         const struct content_index_record *record) {
    const unsigned shift = slot->used ? slot->sampling_shift : c->sampling_shift;
    const uint64_t number = slot->used ? mix(page_id(record->place)) : record->key;

    return shift < 64 && (number & ((UINT64_C(1) << shift) - 1)) == 0;
}

/* Returns how many records are of contents that are not frequent. */
static size_t count_common(struct content_index *c) {
    size_t common = 0, end = 0;

    for (size_t i = 0; i < c->count; i = end) {
        end = i + content_index_count_equal(c, i);
        if (!slot_of(c, c->records[i].key)->used)
            common += end - i;
    }
    return common;
}

/* Halves the larger part of the records: that of common contents, or that of frequent ones. Of the
 * latter, contents with fewer than size / 4096 records stay: there are at most
 * CONTENT_INDEX_FREQUENT of them, so they have at most a quarter of the records. */
static void drop_half(struct content_index *c) {
    const size_t min = c->size / 4096;
    size_t kept = 0, end = 0;

    order_by(c, BY_KEY);
    find_frequent(c);
    const bool halves_common = count_common(c) >= c->size / 2;
    if (halves_common)
        c->sampling_shift++;
    for (size_t i = 0; i < c->count; i = end) {
        struct content_index_frequent *slot = slot_of(c, c->records[i].key);
        end = i + content_index_count_equal(c, i);
        if (!halves_common && slot->used && end - i >= min)
            slot->sampling_shift++;
        for (size_t j = i; j < end; j++)
            if (is_in_subset(c, slot, &c->records[j]))
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
    if (!is_in_subset(c, slot, record))
        return true;
    if (c->count == c->size)
        return false;
    c->records[c->count++] = *record;
    return true;
}

void content_index_add(struct content_index *c, uint64_t key, uint64_t place) {
    const struct content_index_record record = {key, place};
    bool is_counted = false;

    /* drop_half() may find the content to be frequent: is_counted keeps a page from being counted
     * at two tries. The loop ends, because drop_half() halves the larger part of the records. */
    while (!try_add(c, &record, &is_counted))
        drop_half(c);
}

int content_index_init(struct content_index *c, size_t bytes, uint64_t zeros,
                       size_t pages_per_huge_page) {
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    memset(c, 0, sizeof(*c));
    if (memory == MAP_FAILED)
        return -ENOMEM;
    c->records = memory;
    c->size = bytes / sizeof(*c->records);
    c->pages_per_huge_page = pages_per_huge_page;
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
    size_t count;
    double once;    /* pages that are mapped once */
    double changed; /* of once: pages that did not stay the same */
    double huge;    /* of once: pages that stayed the same, in huge pages */
    double frames;  /* pages that are mapped many times */
    double mapped;  /* mappings of frames */
    double squares; /* sum over frames of the square of its mappings */
    bool no_frames; /* the frames are not known */
};

static bool has_changed(uint64_t place) {
    return !(place & PLACE_MANY) && place & PLACE_CHANGED;
}

/* Returns how many records from i on map the same page as record i, which is mapped many times. */
static size_t mappings_at(const struct group *g, size_t i) {
    size_t end = i + 1;

    if (g->no_frames)
        return g->count - i;
    while (end < g->count && page_id(g->records[end].place) == page_id(g->records[i].place))
        end++;
    return end - i;
}

static struct group group_at(const struct content_index *c, size_t first) {
    struct group g = {.key = c->records[first].key, .records = c->records + first};
    size_t i = 0;

    g.count = content_index_count_equal(c, first);
    const uint64_t last = g.records[g.count - 1].place;
    g.no_frames = (last & PLACE_MANY) && (last & PLACE_NO_FRAME);
    for (; i < g.count && !(g.records[i].place & PLACE_MANY); i++) {
        g.once++;
        if (has_changed(g.records[i].place))
            g.changed++;
        else if (g.records[i].place & PLACE_HUGE)
            g.huge++;
    }
    while (i < g.count) {
        const size_t mappings = mappings_at(&g, i);
        g.frames++;
        g.mapped += (double)mappings;
        g.squares += (double)mappings * (double)mappings;
        i += mappings;
    }
    return g;
}

/* ---- between the passes ---- */

size_t content_index_end_first_pass(struct content_index *c) {
    size_t kept = 0, once = 0;

    order_by(c, BY_KEY);
    for (size_t i = 0; i < c->count;) {
        const struct group g = group_at(c, i);
        if (g.once + g.frames > 1 || slot_of(c, g.key)->used) {
            memmove(c->records + kept, g.records, g.count * sizeof(*c->records));
            kept += g.count;
        }
        i += g.count;
    }
    c->count = kept;
    order_by(c, BY_PLACE);
    while (once < c->count && !(c->records[once].place & PLACE_MANY))
        once++;
    c->first_pass_ended = true;
    return once;
}

void content_index_mark_changed(struct content_index *c, size_t i) {
    c->records[i].place |= PLACE_CHANGED;
}

/* ---- the estimator: see content_index.h ---- */

/* All pages of a content. */
struct whole {
    double once;     /* pages that are mapped once and stayed the same */
    double frames;   /* pages that are mapped many times */
    double mapped;   /* mappings of frames */
    double changed;  /* pages that are mapped once and did not stay the same */
    double variance; /* of once + frames */
    double weight;   /* how many contents it stands for */
};

/* Sets changed and once of a frequent content, by its records. */
static void estimate_changed(struct whole *w, const struct group *g, double once) {
    const double p = (g->changed + 1) / (g->once + 2);

    w->changed = g->once > 0 ? once * g->changed / g->once : 0;
    w->once = once - w->changed;
    if (g->once < once)
        w->variance += once * once * p * (1 - p) / fmax(g->once, 1) * (1 - g->once / once);
}

/* Sets mapped, and frames: each has one mapping or more. */
static void estimate_frames(struct whole *w, const struct group *g, double mapped) {
    w->mapped = mapped;
    w->frames = mapped > 0;
    if (g->no_frames || mapped == 0)
        return;
    if (g->frames < 2 && g->mapped < mapped) { /* one frame does not show how much they differ */
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
    struct whole w = {.once = g->once - g->changed,
                      .frames = g->frames,
                      .mapped = g->mapped,
                      .changed = g->changed,
                      .weight = ldexp(1, (int)c->sampling_shift)};

    if (slot->used) {
        w.weight = ldexp(1, (int)slot->weight_shift);
        estimate_changed(&w, g, (double)slot->once);
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
    const double pages = w->once + w->frames;

    if (r->is_zeros && r->free_zeros)
        return pages;
    return fmax(0, pages - ceil((w->once + w->mapped) / r->max_mappings));
}

/* Divides the savings of a content equally among its pages, and those of a page among its
 * mappings. */
static void share_out(const struct result *r, const struct group *g, double saved,
                      double changing) {
    const double same = g->once - g->changed + g->frames;
    size_t end = 0;

    for (size_t i = 0; i < g->count; i = end) {
        const uint64_t place = g->records[i].place;
        const size_t mappings = place & PLACE_MANY ? mappings_at(g, i) : 1;
        const double share = has_changed(place) ? 0 : saved / same / (double)mappings;
        end = i + mappings;
        for (size_t j = i; j < end; j++) {
            struct content_index_share *to =
                &r->processes[content_index_process(g->records[j].place)];
            to->further += share;
            to->zeros += r->is_zeros ? share : 0;
            to->changing += has_changed(place) ? changing / g->changed : 0;
        }
    }
}

static void add_content(const struct content_index *c, struct result *r, const struct group *g,
                        const struct content_index_frequent *slot) {
    const struct whole w = whole_of(c, g, slot);
    const double same = g->once - g->changed + g->frames;

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

    for (size_t i = 0; i < c->count && !(c->records[i].place & PLACE_MANY); i++) {
        const uint64_t place = c->records[i].place, huge = page_id(place) / c->pages_per_huge_page;
        if (!(place & PLACE_HUGE) || place & PLACE_CHANGED || huge == last)
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
    if (!c->first_pass_ended)
        content_index_end_first_pass(c);
    total->splits = count_splits(c);
    order_by(c, BY_KEY);
    for (size_t i = 0; i < c->count;) {
        const struct group g = group_at(c, i);
        struct content_index_frequent *slot = slot_of(c, g.key);
        slot->has_records = slot->used;
        add_content(c, &r, &g, slot);
        i += g.count;
    }
    for (size_t i = 0; i < CONTENT_INDEX_SLOTS; i++) {
        const struct group none = {.key = c->frequent[i].key};
        total->sampled = total->sampled || c->frequent[i].sampling_shift > 0;
        if (c->frequent[i].used && !c->frequent[i].has_records)
            add_content(c, &r, &none, &c->frequent[i]);
    }
    total->error = 2 * sqrt(r.variance);
}
