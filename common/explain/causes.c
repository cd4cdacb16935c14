/* SPDX-License-Identifier: MIT */
#include "explain/causes.h"

#include <errno.h>

#include "metrics/derive.h"

const struct explain_cause_texts explain_cause_texts[EXPLAIN_CAUSES] = {
#define CAUSE(id, sentence, advice) [EXPLAIN_CAUSE_##id] = {#id, sentence, advice},
#include "explain/explain.def"
};

int64_t explain_merged_pages(const struct explain_process *p) {
    return p->merging + (p->zero > 0 ? p->zero : 0);
}

bool explain_merges_little(const struct explain_process *p, int64_t page_size) {
    const int64_t tenth = p->memory / page_size / 10;

    if (p->merging < 0)
        return p->blocks;
    return explain_merged_pages(p) < tenth;
}

/* ---- scan rate ---- */

int64_t explain_max_scan_rate(const struct explain_facts *f) {
    const int64_t sleep_ms = f->now.values[KSM_sleep_millisecs].value;
    int64_t pages = f->now.values[KSM_pages_to_scan].value;

    if (!explain_is_known(f, KSM_pages_to_scan) || !explain_is_over(f, KSM_sleep_millisecs, 0) ||
        __builtin_mul_overflow(pages, 1000, &pages))
        return 0;
    return pages / sleep_ms;
}

/* Returns pages a second, 0 if not known: the measured scan rate, limited to what the sleeps allow,
 * because a batch may just have fallen between the samples; plus the pages that smart_scan skipped,
 * which count in no batch. */
static int64_t scan_rate(const struct explain_facts *f) {
    const int64_t skipped = f->skip_rate.status == 0 ? f->skip_rate.value : 0;
    const int64_t max = explain_max_scan_rate(f);

    if (f->scan_rate.status != 0 || f->scan_rate.value <= 0)
        return max;
    return (max > 0 && max < f->scan_rate.value ? max : f->scan_rate.value) + skipped;
}

/* Returns how many mergeable pages KSM does not track yet. Without smaps, all memory of a process
 * that opted in may be mergeable. */
static int64_t untracked(const struct explain_process *p, int64_t page_size) {
    const int64_t mergeable = p->mergeable < 0 && p->opted_in == 1 ? p->anonymous : p->mergeable;
    const int64_t pages = mergeable / page_size - p->rmap_items;

    return mergeable < 0 || p->rmap_items < 0 || pages < 0 ? 0 : pages;
}

/* As explain_full_scan_ms(), but a lower bound during the first full scan. */
static int64_t min_full_scan_ms(const struct explain_facts *f) {
    const int count = f->processes ? f->processes->count : 0;
    const int64_t rate = scan_rate(f);
    int64_t pages = 0;

    if (rate == 0 || ksm_tracked_pages(&f->now, &pages) != 0)
        return -1;
    for (int i = 0; i < count; i++) {
        const int64_t more = untracked(&f->processes->list[i], f->now.page_size);
        if (__builtin_add_overflow(pages, more, &pages))
            return -1;
    }
    if (pages <= 0 || __builtin_mul_overflow(pages, 1000, &pages))
        return -1;
    return pages / rate;
}

int64_t explain_full_scan_ms(const struct explain_facts *f) {
    return explain_equals(f, KSM_full_scans, 0) ? -1 : min_full_scan_ms(f);
}

/* ---- causes ---- */

/* Returns whether something is merged, but the overhead of the tracked pages is more. */
static bool is_sparse(const struct explain_facts *f, const struct explain_process *p) {
    const int64_t merged = explain_merged_pages(p);

    /* rmap_items * KSM_RMAP_ITEM_BYTES > merged * page_size, without overflow */
    return merged > 0 && (p->rmap_items - 1) / (f->now.page_size / KSM_RMAP_ITEM_BYTES) >= merged;
}

enum answer { NO, YES, NOT_KNOWN };

static bool is_most(int64_t part, int64_t whole) {
    return part > 0 && part > whole / 2;
}

enum { LONG_SCAN_MS = 20 * 60 * 1000 };

/* Of the pages that were read twice. */
enum { CHANGING_MIN_PERCENT = 50, STABLE_MAX_PERCENT = 10 };

/* Returns whether ksmd has scanned the process often enough to merge its pages. The kernel does not
 * report when a process opted in: assume at its start. */
static enum answer find_scanned(const struct explain_facts *f, const struct explain_process *p) {
    const int64_t scan_ms = min_full_scan_ms(f);

    if (explain_is_under(f, KSM_full_scans, EXPLAIN_SCANS_TO_MERGE))
        return NO;
    if (p->age < 0 || scan_ms < 0)
        return NOT_KNOWN;
    return p->age / EXPLAIN_SCANS_TO_MERGE >= scan_ms ? YES : NO;
}

/* Returns whether KSM would track some page of the process if it had opted in. */
static bool would_be_tracked(const struct explain_facts *f, const struct explain_process *p) {
    int64_t tracked = 0;

    if (!explain_equals(f, KSM_run, KSM_RUNNING))
        return false;
    return find_scanned(f, p) == YES || (ksm_tracked_pages(&f->now, &tracked) == 0 && tracked == 0);
}

/* Returns whether most of its memory is mergeable; without smaps, whether any is. */
static enum answer find_mergeable(const struct explain_facts *f, const struct explain_process *p) {
    if (p->mergeable >= 0)
        return is_most(p->mergeable, p->anonymous) ? YES : NO;
    if (p->opted_in >= 0)
        return p->opted_in > 0 ? YES : NO;
    if (p->rmap_items < 0)
        return NOT_KNOWN;
    if (p->rmap_items > 0)
        return YES;
    return would_be_tracked(f, p) ? NO : NOT_KNOWN;
}

static bool is_new(const struct explain_facts *f, const struct explain_process *p) {
    const int64_t untracked_bytes = untracked(p, f->now.page_size) * f->now.page_size;

    return find_scanned(f, p) == NO ||
           (p->mergeable >= 0 && is_most(untracked_bytes, p->mergeable));
}

/* Returns whether most of its unmerged tracked pages are in another state, even if all of the
 * host's pages in that state are its own. */
static bool is_mostly_not(const struct explain_facts *f, const struct explain_process *p,
                          enum ksm_id state) {
    const int64_t unmerged = p->rmap_items - p->merging;

    return p->rmap_items >= 0 && explain_is_known(f, state) &&
           is_most(unmerged - f->now.values[state].value, unmerged);
}

/* With smart_scan, the volatile pages include those that it skips (should_skip_rmap_item), changed
 * or not. */
static bool is_changing(const struct explain_facts *f, const struct explain_process *p) {
    const bool has_no_smart_scan =
        f->now.values[KSM_smart_scan].status == -ENOENT || explain_equals(f, KSM_smart_scan, 0);

    return p->changed > CHANGING_MIN_PERCENT ||
           (has_no_smart_scan && is_mostly_not(f, p, KSM_unshared));
}

/* The program that a cause is about; EXPLAIN_OTHER: any. */
static const enum explain_program program_of_cause[EXPLAIN_CAUSES] = {
    [EXPLAIN_CAUSE_shared_qemu] = EXPLAIN_QEMU,
    [EXPLAIN_CAUSE_shared_cloud] = EXPLAIN_CLOUD_HYPERVISOR,
    [EXPLAIN_CAUSE_shared_crosvm] = EXPLAIN_CROSVM,
    [EXPLAIN_CAUSE_shared_dragonball] = EXPLAIN_DRAGONBALL,
    [EXPLAIN_CAUSE_not_qemu] = EXPLAIN_QEMU,
    [EXPLAIN_CAUSE_not_cloud] = EXPLAIN_CLOUD_HYPERVISOR,
    [EXPLAIN_CAUSE_not_firecracker] = EXPLAIN_FIRECRACKER,
    [EXPLAIN_CAUSE_not_dragonball] = EXPLAIN_DRAGONBALL,
    [EXPLAIN_CAUSE_restored] = EXPLAIN_FIRECRACKER,
};

static bool is_about(enum explain_cause cause, const struct explain_process *p) {
    const enum explain_program program = program_of_cause[cause];

    return program == EXPLAIN_OTHER || program == p->program;
}

/* Returns whether a cause holds for a process that it is about, independently of the others. */
static bool holds(enum explain_cause cause, const struct explain_facts *f,
                  const struct explain_process *p) {
    switch (cause) {
    case EXPLAIN_CAUSE_blocking:
        return p->blocks;
    case EXPLAIN_CAUSE_hugetlb:
        return is_most(p->hugetlb, p->memory);
    case EXPLAIN_CAUSE_shared_qemu:
    case EXPLAIN_CAUSE_shared_cloud:
    case EXPLAIN_CAUSE_shared_crosvm:
    case EXPLAIN_CAUSE_shared_dragonball:
    case EXPLAIN_CAUSE_shared:
        return is_most(p->shmem, p->memory);
    case EXPLAIN_CAUSE_device:
        return is_most(p->device, p->memory);
    case EXPLAIN_CAUSE_pinned:
        return is_most(p->pinned, p->anonymous);
    case EXPLAIN_CAUSE_not_container:
        return p->name.kind == KSM_CONSUMER_container && find_mergeable(f, p) == NO;
    case EXPLAIN_CAUSE_not_service:
        return p->name.kind == KSM_CONSUMER_service && find_mergeable(f, p) == NO;
    case EXPLAIN_CAUSE_not_qemu:
    case EXPLAIN_CAUSE_not_cloud:
    case EXPLAIN_CAUSE_not_firecracker:
    case EXPLAIN_CAUSE_not_dragonball:
    case EXPLAIN_CAUSE_not_opted_in:
        return find_mergeable(f, p) == NO;
    case EXPLAIN_CAUSE_restored:
        return is_most(p->file, p->file + p->anonymous);
    case EXPLAIN_CAUSE_denied:
        return p->denied && find_mergeable(f, p) == NOT_KNOWN;
    case EXPLAIN_CAUSE_only_smaps:
        return find_mergeable(f, p) == NOT_KNOWN;
    case EXPLAIN_CAUSE_off:
        return explain_is_known(f, KSM_run) && !explain_equals(f, KSM_run, KSM_RUNNING);
    case EXPLAIN_CAUSE_no_scan:
        return explain_equals(f, KSM_pages_to_scan, 0);
    case EXPLAIN_CAUSE_empty_scan:
        return explain_holds(f, EXPLAIN_empty_scan);
    case EXPLAIN_CAUSE_slow:
        return min_full_scan_ms(f) > LONG_SCAN_MS && is_new(f, p);
    case EXPLAIN_CAUSE_new:
        return is_new(f, p);
    case EXPLAIN_CAUSE_partly: /* KSM tracks at most half of its memory */
        return p->mergeable < 0 && p->rmap_items >= 0 &&
               !is_most(p->rmap_items * f->now.page_size, p->anonymous);
    case EXPLAIN_CAUSE_sparse:
        return is_sparse(f, p);
    case EXPLAIN_CAUSE_changing:
        return is_changing(f, p);
    case EXPLAIN_CAUSE_no_equal_pages:
        return (p->changed >= 0 && p->changed < STABLE_MAX_PERCENT) ||
               is_mostly_not(f, p, KSM_volatile);
    case EXPLAIN_CAUSE_unclear:
    case EXPLAIN_CAUSES:
        break;
    }
    return true;
}

enum explain_cause explain_cause_of(const struct explain_facts *facts,
                                    const struct explain_process *process) {
    enum explain_cause cause = 0;

    while (!is_about(cause, process) || !holds(cause, facts, process))
        cause++;
    return cause;
}
