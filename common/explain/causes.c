/* SPDX-License-Identifier: MIT */
#include "explain/causes.h"

#include <errno.h>

#include "metrics/derive.h"

const struct explain_cause_words explain_cause_words[EXPLAIN_CAUSES] = {
#define CAUSE(id, sentence, advice) [EXPLAIN_CAUSE_##id] = {#id, sentence, advice},
#include "explain/explain.def"
};

typedef struct explain_facts facts_t;
typedef struct explain_process process_t;

enum { LITTLE = 10 }; /* one part in so many */

bool explain_merges_little(const process_t *p, int64_t page_size) {
    if (p->merging < 0)
        return p->waits;
    return p->merging + (p->zero > 0 ? p->zero : 0) < p->memory / page_size / LITTLE;
}

/* ---- how fast ksmd is ---- */

int64_t explain_max_pace(const facts_t *f) {
    const struct ksm_value *pages = &f->now.at[KSM_pages_to_scan];
    const struct ksm_value *pause = &f->now.at[KSM_sleep_millisecs];
    int64_t in_a_second = 0;

    if (pages->status != 0 || pause->status != 0 || pause->value <= 0 ||
        __builtin_mul_overflow(pages->value, 1000, &in_a_second))
        return 0;
    return in_a_second / pause->value;
}

/* Pages a second: measured, but not more than its pauses allow (a batch may just have fallen
 * between the samples), and those that smart_scan skipped, which are in no batch; 0: not known. */
static int64_t pace(const facts_t *f) {
    const int64_t skipped = f->skip_rate.status == 0 ? f->skip_rate.value : 0;
    const int64_t max = explain_max_pace(f);

    if (f->rate.status != 0 || f->rate.value <= 0)
        return max;
    return (max > 0 && max < f->rate.value ? max : f->rate.value) + skipped;
}

/* Pages that ksmd has yet to meet. Without smaps, all memory of a process that opted in may be
 * mergeable. */
static int64_t unmet(const process_t *p, int64_t page_size) {
    const int64_t mergeable = p->mergeable < 0 && p->opted_in == 1 ? p->anonymous : p->mergeable;
    const int64_t pages = mergeable / page_size - p->rmap_items;

    return mergeable < 0 || p->rmap_items < 0 || pages < 0 ? 0 : pages;
}

/* As explain_pass_ms(), or less: in the first full scan KSM tracks only what it has met so far. */
static int64_t min_pass_ms(const facts_t *f) {
    int64_t pages = 0;

    if (pace(f) == 0 || ksm_tracked_pages(&f->now, &pages) != 0)
        return -1;
    for (int i = 0; f->processes && i < f->processes->count; i++)
        if (__builtin_add_overflow(pages, unmet(&f->processes->list[i], f->now.page_size), &pages))
            return -1;
    if (pages <= 0 || __builtin_mul_overflow(pages, 1000, &pages))
        return -1;
    return pages / pace(f);
}

int64_t explain_pass_ms(const facts_t *f) {
    const struct ksm_value *scans = &f->now.at[KSM_full_scans];

    return scans->status == 0 && scans->value == 0 ? -1 : min_pass_ms(f);
}

/* ---- the causes, in the order of explain.def ---- */

static bool is_most(int64_t part, int64_t whole) {
    return part > 0 && part > whole / 2;
}

static bool cause_blocking(const facts_t *f, const process_t *p) {
    (void)f;
    return p->waits;
}

static bool cause_hugetlb(const facts_t *f, const process_t *p) {
    (void)f;
    return is_most(p->hugetlb, p->memory);
}

static bool cause_shared(const facts_t *f, const process_t *p) {
    (void)f;
    return is_most(p->shared, p->memory);
}

static bool cause_shared_qemu(const facts_t *f, const process_t *p) {
    return p->program == EXPLAIN_QEMU && cause_shared(f, p);
}

static bool cause_shared_cloud(const facts_t *f, const process_t *p) {
    return p->program == EXPLAIN_CLOUD_HYPERVISOR && cause_shared(f, p);
}

static bool cause_device(const facts_t *f, const process_t *p) {
    (void)f;
    return is_most(p->device, p->memory);
}

static bool cause_pinned(const facts_t *f, const process_t *p) {
    (void)f;
    return is_most(p->pinned, p->anonymous);
}

/* A page is merged at its second visit at the earliest, and a pass may have been under way when the
 * process started. When it opted in the kernel does not tell: at its start, say. */
enum { PASSES = 3, LONG_PASS_MS = 20 * 60 * 1000 };

/* Whether ksmd has scanned a process of that age PASSES times: 1, 0, or -1. */
static int is_scanned(const facts_t *f, const process_t *p) {
    const struct ksm_value *scans = &f->now.at[KSM_full_scans];
    const int64_t pass = min_pass_ms(f);

    if (scans->status == 0 && scans->value < PASSES)
        return 0;
    return p->age < 0 || pass < 0 ? -1 : p->age / PASSES >= pass;
}

/* Whether ksmd would have met some page of the process if it had opted in. */
static bool would_be_met(const facts_t *f, const process_t *p) {
    const struct ksm_value *run = &f->now.at[KSM_run];
    int64_t tracked = 0;

    if (run->status != 0 || run->value != 1)
        return false;
    return is_scanned(f, p) == 1 || (ksm_tracked_pages(&f->now, &tracked) == 0 && tracked == 0);
}

/* Whether most of its memory is on offer: 1, 0, or -1. Without smaps: whether any is. */
static int offers(const facts_t *f, const process_t *p) {
    if (p->mergeable >= 0)
        return is_most(p->mergeable, p->anonymous);
    if (p->opted_in >= 0 || p->rmap_items < 0)
        return (int)p->opted_in;
    if (p->rmap_items > 0)
        return 1;
    return would_be_met(f, p) ? 0 : -1;
}

static bool cause_not_opted_in(const facts_t *f, const process_t *p) {
    return offers(f, p) == 0;
}

static bool cause_not_qemu(const facts_t *f, const process_t *p) {
    return p->program == EXPLAIN_QEMU && cause_not_opted_in(f, p);
}

static bool cause_not_cloud(const facts_t *f, const process_t *p) {
    return p->program == EXPLAIN_CLOUD_HYPERVISOR && cause_not_opted_in(f, p);
}

static bool cause_not_firecracker(const facts_t *f, const process_t *p) {
    return p->program == EXPLAIN_FIRECRACKER && cause_not_opted_in(f, p);
}

static bool cause_not_container(const facts_t *f, const process_t *p) {
    return p->name.kind == KSM_CONSUMER_container && cause_not_opted_in(f, p);
}

static bool cause_not_service(const facts_t *f, const process_t *p) {
    return p->name.kind == KSM_CONSUMER_service && cause_not_opted_in(f, p);
}

static bool cause_denied(const facts_t *f, const process_t *p) {
    return p->denied && offers(f, p) < 0;
}

static bool cause_only_smaps(const facts_t *f, const process_t *p) {
    return offers(f, p) < 0;
}

static bool cause_off(const facts_t *f, const process_t *p) {
    const struct ksm_value *run = &f->now.at[KSM_run];

    (void)p;
    return run->status == 0 && run->value != 1;
}

static bool cause_no_scan(const facts_t *f, const process_t *p) {
    const struct ksm_value *pages = &f->now.at[KSM_pages_to_scan];

    (void)p;
    return pages->status == 0 && pages->value == 0;
}

static bool cause_empty_scan(const facts_t *f, const process_t *p) {
    (void)p;
    return explain_holds(f, EXPLAIN_empty_scan);
}

static bool cause_new(const facts_t *f, const process_t *p) {
    return is_scanned(f, p) == 0 ||
           (p->mergeable >= 0 &&
            is_most(unmet(p, f->now.page_size) * f->now.page_size, p->mergeable));
}

static bool cause_slow(const facts_t *f, const process_t *p) {
    return min_pass_ms(f) > LONG_PASS_MS && cause_new(f, p);
}

/* How much is mergeable is not known, but ksmd has met only so much. */
static bool cause_partly(const facts_t *f, const process_t *p) {
    return p->mergeable < 0 && p->rmap_items >= 0 &&
           !is_most(p->rmap_items * f->now.page_size, p->anonymous);
}

/* Pages that are neither merged nor in a state that others' pages fill up, at least. */
static bool is_mostly_not(const facts_t *f, const process_t *p, enum ksm_id state) {
    int64_t alone = p->rmap_items - p->merging;

    return p->rmap_items >= 0 && f->now.at[state].status == 0 &&
           is_most(alone - f->now.at[state].value, alone);
}

/* Pages that smart_scan passes over are among the volatile ones (should_skip_rmap_item). */
static bool cause_changing(const facts_t *f, const process_t *p) {
    const struct ksm_value *smart = &f->now.at[KSM_smart_scan];
    bool counted = smart->status == -ENOENT || (smart->status == 0 && smart->value == 0);

    return p->changed > 50 || (counted && is_mostly_not(f, p, KSM_unshared));
}

static bool cause_no_equal_pages(const facts_t *f, const process_t *p) {
    return (p->changed >= 0 && p->changed < 10) || is_mostly_not(f, p, KSM_volatile);
}

static bool cause_unclear(const facts_t *f, const process_t *p) {
    (void)f;
    (void)p;
    return true;
}

typedef bool cause_fn(const facts_t *f, const process_t *p);

static cause_fn *const causes[EXPLAIN_CAUSES] = {
#define CAUSE(id, sentence, advice) [EXPLAIN_CAUSE_##id] = cause_##id,
#include "explain/explain.def"
};

enum explain_cause explain_cause_of(const facts_t *facts, const process_t *process) {
    enum explain_cause id = 0;

    while (!causes[id](facts, process))
        id++;
    return id;
}
