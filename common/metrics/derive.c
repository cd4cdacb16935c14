/* SPDX-License-Identifier: MIT */
#include "metrics/derive.h"

#include <errno.h>

static int operand(const struct ksm_sample *s, enum ksm_id id, int64_t *value) {
    if (s->values[id].status == 0)
        *value = s->values[id].value;
    return s->values[id].status;
}

static int operands(const struct ksm_sample *s, enum ksm_id first, int64_t *a, enum ksm_id second,
                    int64_t *b) {
    int status = operand(s, first, a);

    return status == 0 ? operand(s, second, b) : status;
}

static int product(int64_t a, int64_t b, int64_t *value) {
    return __builtin_mul_overflow(a, b, value) ? -ERANGE : 0;
}

static int sum(int64_t a, int64_t b, int64_t *value) {
    return __builtin_add_overflow(a, b, value) ? -ERANGE : 0;
}

static int difference(int64_t a, int64_t b, int64_t *value) {
    return __builtin_sub_overflow(a, b, value) ? -ERANGE : 0;
}

static int quotient(int64_t part, int64_t scale, int64_t whole, int64_t *value) {
    int64_t scaled = 0;
    int status = product(part, scale, &scaled);

    if (whole == 0)
        return -ENODATA;
    if (status == 0)
        *value = scaled / whole;
    return status;
}

static int percent(int64_t part, int64_t whole, int64_t *value) {
    return quotient(part, (int64_t)100 * ksm_unit_scale[KSM_UNIT_PERCENT], whole, value);
}

/* The states of a page: those of tracked pages come first. */
static const enum ksm_id states[] = {KSM_shared, KSM_sharing, KSM_unshared, KSM_volatile, KSM_zero};
enum { STATES = 5, TRACKED_STATES = 4 };

bool ksm_has_pages(const struct ksm_sample *sample) {
    for (size_t i = 0; i < STATES; i++) {
        const struct ksm_value *state = &sample->values[states[i]];
        if (state->status == 0 ? state->value != 0 : state->status != -ENOENT)
            return true;
    }
    return false;
}

int ksm_tracked_pages(const struct ksm_sample *s, int64_t *pages) {
    int64_t total = 0;

    for (size_t i = 0; i < TRACKED_STATES; i++) {
        int64_t n = 0;
        int status = operand(s, states[i], &n);
        if (status == 0)
            status = sum(total, n, &total);
        if (status != 0)
            return status;
    }
    *pages = total;
    return 0;
}

/* pages_shared is not subtracted: it counts the first mapping of each merged page, and
 * pages_sharing counts the further ones (Documentation/admin-guide/mm/ksm.rst). Zero pages are in
 * neither. */
static int derive_saved(const struct ksm_sample *s, int64_t *value) {
    int64_t sharing = 0;
    int64_t zero = 0;
    int status = operand(s, KSM_sharing, &sharing);

    if (status == 0)
        status = operand(s, KSM_zero, &zero);
    if (status == -ENOENT && s->values[KSM_sharing].status == 0)
        status = 0;
    if (status == 0)
        status = sum(sharing, zero, &sharing);
    return status == 0 ? product(sharing, s->page_size, value) : status;
}

/* general_profit includes ksm_zero_pages (mm/ksm.c), so a negative count makes it wrong as well. */
static int derive_profit(const struct ksm_sample *s, int64_t *value) {
    int64_t saved = 0;
    int64_t overhead = 0;
    int status = operand(s, KSM_general_profit, value);

    if (status != -ENOENT && s->values[KSM_zero].status != -EDOM)
        return status;
    status = operand(s, KSM_sharing, &saved);
    if (status == 0)
        status = product(saved, s->page_size, &saved);
    if (status == 0)
        status = ksm_tracked_pages(s, &overhead);
    if (status == 0)
        status = product(overhead, KSM_RMAP_ITEM_BYTES, &overhead);
    return status == 0 ? difference(saved, overhead, value) : status;
}

static int derive_overhead(const struct ksm_sample *s, int64_t *value) {
    int64_t saved = 0;
    int64_t profit = 0;
    int status = operands(s, KSM_saved, &saved, KSM_profit, &profit);

    if (status == 0)
        status = difference(saved, profit, &saved);
    if (status == 0 && saved < 0)
        return -ENODATA; /* the kernel changed one file between the two reads */
    if (status == 0)
        *value = saved;
    return status;
}

static int derive_gain(const struct ksm_sample *s, int64_t *value) {
    int64_t sharing = 0;
    int64_t shared = 0;
    int status = operands(s, KSM_sharing, &sharing, KSM_shared, &shared);

    if (status == 0)
        status = difference(sharing, shared, &sharing);
    return status == 0 ? product(sharing, s->page_size, value) : status;
}

static int derive_merged(const struct ksm_sample *s, int64_t *value) {
    int64_t sharing = 0;
    int64_t pages = 0;
    int status = operand(s, KSM_sharing, &sharing);

    if (status == 0)
        status = ksm_tracked_pages(s, &pages);
    return status == 0 ? percent(sharing, pages == 0 ? 1 : pages, value) : status;
}

/* A metric in bytes as a percentage of fields of meminfo in kB. */
static int percent_of_kilobytes(const struct ksm_sample *s, enum ksm_id id, int64_t kilobytes,
                                int64_t *value) {
    int64_t part = 0;
    int64_t bytes = 0;
    int status = operand(s, id, &part);

    if (status == 0)
        status = product(kilobytes, 1024, &bytes);
    return status == 0 ? percent(part, bytes, value) : status;
}

static int percent_of_ram(const struct ksm_sample *s, enum ksm_id id, int64_t *value) {
    int64_t total = 0;
    int status = operand(s, KSM_mem_total, &total);

    return status == 0 ? percent_of_kilobytes(s, id, total, value) : status;
}

static int derive_ram(const struct ksm_sample *s, int64_t *value) {
    return percent_of_ram(s, KSM_saved, value);
}

static int derive_net(const struct ksm_sample *s, int64_t *value) {
    return percent_of_ram(s, KSM_profit, value);
}

/* With nothing left, divide by 1 kB, so that exposure saturates instead of vanishing. */
static int derive_exposure(const struct ksm_sample *s, int64_t *value) {
    int64_t available = 0;
    int64_t swap = 0;
    int status = operands(s, KSM_mem_available, &available, KSM_swap_free, &swap);

    if (status == 0)
        status = sum(available, swap, &available);
    if (status == 0)
        status = percent_of_kilobytes(s, KSM_saved, available > 0 ? available : 1, value);
    if (status == 0 && *value > KSM_EXPOSURE_MAX)
        *value = KSM_EXPOSURE_MAX;
    return status;
}

static int derive_sharing_ratio(const struct ksm_sample *s, int64_t *value) {
    int64_t sharing = 0;
    int64_t shared = 0;
    int status = operands(s, KSM_sharing, &sharing, KSM_shared, &shared);

    if (status == 0)
        status = sum(sharing, shared, &sharing);
    if (status != 0)
        return status;
    return quotient(sharing, ksm_unit_scale[KSM_UNIT_RATIO], shared, value);
}

static int derive_anon_huge(const struct ksm_sample *s, int64_t *value) {
    int64_t kilobytes = 0;
    int status = operand(s, KSM_anon_huge_kb, &kilobytes);

    return status == 0 ? product(kilobytes, 1024, value) : status;
}

/* In ms and KiB, so that the product fits for hundreds of years of CPU time. */
static int derive_ksmd_cpu_per_gib(const struct ksm_sample *s, int64_t *value) {
    enum { NS_PER_MS = 1000000, KIB_PER_GIB = 1024 * 1024 };
    int64_t cpu = 0;
    int64_t saved = 0;
    int status = operands(s, KSM_ksmd_cpu, &cpu, KSM_saved, &saved);

    return status == 0 ? quotient(cpu / NS_PER_MS, KIB_PER_GIB, saved / 1024, value) : status;
}

static int derive_scanned_per_page(const struct ksm_sample *s, int64_t *value) {
    int64_t scanned = 0;
    int64_t saved = 0;
    int status = operands(s, KSM_scanned, &scanned, KSM_saved, &saved);

    if (status != 0)
        return status;
    return quotient(scanned, ksm_unit_scale[KSM_UNIT_RATIO], saved / s->page_size, value);
}

typedef int derive_fn(const struct ksm_sample *s, int64_t *value);

static derive_fn *const formulas[KSM_METRICS] = {
#define DERIVED(name, formula, kind, unit, group, since, help) [KSM_##name] = derive_##name,
#include "metrics/metrics.def"
};

void ksm_derive(struct ksm_sample *sample) {
    for (size_t id = 0; id < KSM_METRICS; id++) {
        struct ksm_value *metric = &sample->values[id];
        if (formulas[id])
            metric->status = formulas[id](sample, &metric->value);
    }
}
