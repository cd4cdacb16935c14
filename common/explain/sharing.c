/* SPDX-License-Identifier: MIT */
#include "explain/sharing.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "system/parse.h"

/* ---- the index ---- */

/* Multiplication by an odd number and reversal of bytes can be undone. The low bits, by which the
 * index samples, are the best mixed ones of the product (Knuth, Fibonacci hashing). */
static const uint64_t golden_ratio = UINT64_C(0x9e3779b97f4a7c15);
static const uint64_t golden_inverse = UINT64_C(0xf1de83e19937733d);

uint64_t sharing_key(uint64_t frame) {
    return __builtin_bswap64(frame * golden_ratio);
}

uint64_t sharing_frame(uint64_t key) {
    return __builtin_bswap64(key) * golden_inverse;
}

static bool is_zero(const struct sharing *s, uint64_t frame) {
    return frame >= s->frames.zero && frame < s->frames.zero_end;
}

/* Only frames that are mapped more than once save anything. Pages of zeros may be so many that they
 * would fill the index. */
static int add_batch(struct memory_scan *scan, const struct page_reader *reader, size_t i) {
    struct sharing *s = scan->data;

    for (size_t j = 0; j < reader->count; j++) {
        const struct page_reader_page *page = &reader->pages[j];
        if (page->mapped_many && page->frame != 0 && !is_zero(s, page->frame))
            content_index_add(&s->mappings, sharing_key(page->frame),
                              content_index_place_once((uint32_t)i, page->number, false));
    }
    return 0;
}

/* ---- pairs ---- */

double sharing_error(const struct sharing_sum *sum) {
    return 2 * sqrt(sum->variance);
}

static double weight_of(const struct sharing *s) {
    return ldexp(1, (int)s->mappings.sampling_shift);
}

/* Adds what one recorded frame contributes: y pages. */
static void add_sum(const struct sharing *s, struct sharing_sum *sum, double pages) {
    const double weight = weight_of(s);

    sum->pages += weight * pages;
    sum->variance += weight * (weight - 1) * pages * pages;
}

static struct sharing_pair *find_pair(const struct sharing_pairs *pairs, uint32_t a, uint32_t b) {
    const uint64_t hash = ((uint64_t)a << 32 | b) * golden_ratio;
    size_t slot = (hash >> 32) & (pairs->size - 1);

    while (pairs->list[slot].sum.pages > 0 &&
           (pairs->list[slot].a != a || pairs->list[slot].b != b))
        slot = (slot + 1) & (pairs->size - 1);
    return &pairs->list[slot];
}

/* a != b */
static void add_pair(const struct sharing *s, struct sharing_pairs *pairs, uint32_t a, uint32_t b) {
    struct sharing_pair *pair = find_pair(pairs, a < b ? a : b, a < b ? b : a);

    if (pair->sum.pages == 0) {
        if (pairs->count >= pairs->size / 4 * 3) {
            pairs->overflow = true;
            return;
        }
        pairs->count++;
        pair->a = a < b ? a : b;
        pair->b = a < b ? b : a;
    }
    add_sum(s, &pair->sum, 1);
}

static void add_pairs(const struct sharing *s, struct sharing_pairs *pairs, const uint32_t *found,
                      size_t count) {
    for (size_t i = 1; i < count; i++)
        for (size_t j = 0; j < i; j++)
            add_pair(s, pairs, found[j], found[i]);
}

static int compare_indexes(uint32_t left, uint32_t right) {
    return left < right ? -1 : left > right;
}

static int compare_pairs(const void *left, const void *right) {
    const struct sharing_pair *first = left, *second = right;

    if (first->sum.pages != second->sum.pages)
        return first->sum.pages > second->sum.pages ? -1 : 1;
    const int order = compare_indexes(first->a, second->a);
    return order != 0 ? order : compare_indexes(first->b, second->b);
}

static void sort_pairs(struct sharing_pairs *pairs) {
    size_t count = 0;

    for (size_t i = 0; i < pairs->size; i++)
        if (pairs->list[i].sum.pages > 0)
            pairs->list[count++] = pairs->list[i];
    qsort(pairs->list, count, sizeof(*pairs->list), compare_pairs);
}

/* ---- owners ---- */

/* Returns the index of the owner that is this domain, which is added if it is new. */
static size_t find_owner(struct sharing *s, const struct ksm_trust_domain *domain) {
    size_t i = 0;

    while (i < s->owner_count && ksm_trust_domain_compare(&s->owners[i].domain, domain) != 0)
        i++;
    if (i == s->owner_count)
        s->owners[s->owner_count++] = (struct sharing_owner){.domain = *domain};
    return i;
}

static void set_owner(struct sharing *s, size_t i) {
    const struct memory_scan_process *process = &s->scan.list[i];
    const struct ksm_consumer_name *name = &s->scan.consumers[process->consumer].name;
    const struct ksm_trust_domain domain = ksm_trust_domain_of(name, process->user);
    struct sharing_consumer *consumer = &s->consumers[process->consumer];
    const size_t owner = find_owner(s, &domain);

    s->owner_of[i] = owner;
    s->owners[owner].any_named = s->owners[owner].any_named || process->named;
    if (consumer->merged > 0 && consumer->owner != owner)
        consumer->several = true;
    consumer->owner = owner;
    consumer->merged += (uint64_t)process->merging;
}

/* ---- counting ---- */

/* Sets which consumers and owners have mappings of a frame, and how many. */
static void tally_frame(struct sharing *s, const struct content_index_record *records,
                        size_t count) {
    s->found_count = s->owners_found_count = 0;
    for (size_t i = 0; i < count; i++) {
        const uint32_t process = content_index_process(records[i].place);
        const uint32_t consumer = (uint32_t)s->scan.list[process].consumer;
        const uint32_t owner = (uint32_t)s->owner_of[process];
        if (s->tally[consumer] == 0)
            s->found[s->found_count++] = consumer;
        if (s->owner_tally[owner] == 0)
            s->owners_found[s->owners_found_count++] = owner;
        s->tally[consumer]++;
        s->owner_tally[owner]++;
    }
}

/* Counts a merged frame with these mappings, of which the kernel counts as many as count. */
static void add_merged(struct sharing *s, const struct content_index_record *records, size_t found,
                       uint64_t count) {
    /* Mappings may have come or gone since they were read: what was found is the least. */
    const double mappings = count > found ? (double)count : (double)found;

    if (mappings < 2)
        return;
    tally_frame(s, records, found);
    add_sum(s, &s->saved, mappings - 1);
    s->other_saved += weight_of(s) * (mappings - (double)found) * (1 - 1 / mappings);
    for (size_t i = 0; i < s->found_count; i++) {
        struct sharing_consumer *consumer = &s->consumers[s->found[i]];
        const double own = s->tally[s->found[i]];
        add_sum(s, &consumer->saved, own * (1 - 1 / mappings));
        consumer->within += weight_of(s) * (own - 1);
        consumer->others += weight_of(s) * (1 - own / mappings);
        s->tally[s->found[i]] = 0;
    }
    add_pairs(s, &s->pairs, s->found, s->found_count);
    for (size_t i = 0; i < s->owners_found_count; i++) {
        s->owner_tally[s->owners_found[i]] = 0;
        if (s->owners_found_count > 1)
            s->owners[s->owners_found[i]].shares = true;
    }
    add_pairs(s, &s->owner_pairs, s->owners_found, s->owners_found_count);
    if (s->owners_found_count > 1)
        add_sum(s, &s->across, 1);
}

/* If the kernel does not report which frames are KSM's, a frame with several mappings is either
 * merged or inherited by fork(). fork() keeps the address of the page and of the stack, which
 * exec() randomizes. So another address of either proves that the frame is merged. A stack that is
 * not known proves nothing. */
static bool is_surely_merged(const struct sharing *s, const struct content_index_record *records,
                             size_t count) {
    uint64_t known_stack = 0;

    for (size_t i = 0; i < count; i++) {
        const uint64_t stack = s->scan.list[content_index_process(records[i].place)].stack;
        if (content_index_page(records[i].place) != content_index_page(records[0].place))
            return true;
        if (stack != 0 && known_stack != 0 && stack != known_stack)
            return true;
        if (stack != 0)
            known_stack = stack;
    }
    return false;
}

static void add_frame(struct sharing *s, const struct content_index_record *records, size_t found,
                      uint64_t flags, uint64_t count) {
    if (flags & FRAME_IS_ZERO || (s->frames.knows_ksm && !(flags & FRAME_IS_KSM)))
        return;
    if (s->frames.knows_ksm || is_surely_merged(s, records, found))
        add_merged(s, records, found, count);
    else
        s->unclear += weight_of(s) * (double)found;
}

/* Where the next call of frames_read() ends that begins at record i: a call takes as long as some
 * twenty frames, so shorter gaps are read as well. */
static size_t end_of_call(const struct sharing *s, size_t i) {
    enum { GAP = 16 };
    const struct content_index_record *records = s->mappings.records;
    const uint64_t first = records[i].key;
    size_t end = i + 1;

    while (end < s->mappings.count && records[end].key - records[end - 1].key <= GAP &&
           records[end].key - first < FRAMES_MAX)
        end++;
    return end;
}

/* Replaces keys by the frames, in ascending order. */
static void sort_frames(struct sharing *s) {
    for (size_t i = 0; i < s->mappings.count; i++)
        s->mappings.records[i].key = sharing_frame(s->mappings.records[i].key);
    content_index_sort(&s->mappings);
    s->scan.done = 0;
    s->scan.expected = s->mappings.count;
    s->sorted = true;
}

static int allocate(struct sharing *s) {
    const size_t processes = s->scan.count + 1, consumers = s->scan.consumer_count + 1;

    s->consumers = calloc(consumers, sizeof(*s->consumers));
    s->owners = calloc(processes, sizeof(*s->owners));
    s->owner_of = calloc(processes, sizeof(*s->owner_of));
    s->tally = calloc(consumers, sizeof(*s->tally));
    s->found = calloc(consumers, sizeof(*s->found));
    s->owner_tally = calloc(processes, sizeof(*s->owner_tally));
    s->owners_found = calloc(processes, sizeof(*s->owners_found));
    const bool has_lists = s->consumers && s->owners && s->owner_of;
    const bool has_tallies = s->tally && s->found && s->owner_tally && s->owners_found;
    return has_lists && has_tallies ? 0 : -ENOMEM;
}

static int begin_count(struct sharing *s) {
    const int status = allocate(s);

    if (status != 0)
        return status;
    for (size_t i = 0; i < s->scan.count; i++)
        if (s->scan.list[i].wanted && s->scan.list[i].merging > 0)
            set_owner(s, i);
    sort_frames(s);
    return 0;
}

/* Counts the frames of one call of frames_read(). Returns what that does. */
static int count_call(struct sharing *s) {
    const struct content_index_record *records = s->mappings.records;
    uint64_t flags[FRAMES_MAX], counts[FRAMES_MAX];
    size_t *pos = &s->scan.pos;
    const size_t end = end_of_call(s, *pos);
    const uint64_t first = records[*pos].key;
    const int status =
        frames_read(&s->frames, first, records[end - 1].key - first + 1, flags, counts);

    while (status == 0 && *pos < end) {
        const size_t run = content_index_count_equal(&s->mappings, *pos);
        const size_t i = records[*pos].key - first;
        add_frame(s, records + *pos, run, flags[i], counts[i]);
        *pos += run;
    }
    return status;
}

/* Counts the frames of some calls. The last step: a call that fails ends it. */
static int count_frames(struct memory_scan *scan, struct page_reader *reader) {
    enum { CALLS = 32 };
    struct sharing *s = scan->data;
    int status = 0;

    (void)reader;
    if (!s->sorted)
        return begin_count(s);
    for (int i = 0; i < CALLS && status == 0 && scan->pos < s->mappings.count; i++)
        status = count_call(s);
    scan->done = scan->pos;
    if (status != 0 || scan->pos < s->mappings.count)
        return status;
    sort_pairs(&s->pairs);
    sort_pairs(&s->owner_pairs);
    s->counted = true;
    return 1;
}

int sharing_finish(struct sharing *s) {
    int status = 0;

    if (s->scan.step < SHARING_COUNT) /* it was stopped before it counted */
        s->scan.pos = 0;
    while (!s->counted && status == 0)
        status = count_frames(&s->scan, NULL);
    return status < 0 ? status : 0;
}

/* ---- the beginning ---- */

static memory_scan_step_fn *const steps[SHARING_STEPS] = {
    [MEMORY_SCAN_LIST] = memory_scan_list,
    [MEMORY_SCAN_READ] = memory_scan_read,
    [SHARING_COUNT] = count_frames,
};

static int allocate_pairs(struct sharing_pairs *pairs, size_t bytes) {
    pairs->size = 1;
    while (2 * pairs->size * sizeof(*pairs->list) <= bytes)
        pairs->size *= 2;
    pairs->list = calloc(pairs->size, sizeof(*pairs->list));
    return pairs->list ? 0 : -ENOMEM;
}

int sharing_init(struct sharing *s, const struct memory_scan_options *options, size_t bytes) {
    struct memory_scan_options merged = *options;

    memset(s, 0, sizeof(*s));
    merged.merged_only = true;
    int status = memory_scan_init(&s->scan, &merged);
    s->scan.steps = steps;
    s->scan.step_count = SHARING_STEPS;
    s->scan.on_batch = add_batch;
    s->scan.data = s;
    if (status == 0)
        status = content_index_init(&s->mappings, bytes / 8 * 6, 0, 1);
    s->mappings.max_frequents = 0;
    if (status == 0)
        status = allocate_pairs(&s->pairs, bytes / 8);
    if (status == 0)
        status = allocate_pairs(&s->owner_pairs, bytes / 8);
    return status == 0 ? frames_open(&s->frames, options->root) : status;
}
