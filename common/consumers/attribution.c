/* SPDX-License-Identifier: MIT */
#include "consumers/attribution.h"

static ksm_wide larger(ksm_wide a, ksm_wide b) {
    return a > b ? a : b;
}

/* Mappings of merged pages. */
static ksm_wide mapped(const struct ksm_attribution *a) {
    return (ksm_wide)a->shared + (ksm_wide)a->sharing;
}

/* Returns total * count / whole, rounded down. count <= whole, so the result is at most total. */
static int64_t proportion(ksm_wide total, int64_t count, ksm_wide whole) {
    /* 64 bits of total and 63 of count fit in 128. */
    return (int64_t)(total * (uint64_t)count / larger(whole, 1));
}

static int64_t scale(int64_t count, ksm_wide sum, ksm_wide host) {
    return sum <= host ? count : proportion(host, count, sum);
}

static int64_t overcount(ksm_wide sum, ksm_wide host) {
    if (sum <= host)
        return 0;
    ksm_wide thousandths = (sum - host) * 1000 / larger(host, 1);
    return thousandths > INT64_MAX ? INT64_MAX : (int64_t)thousandths;
}

void ksm_attribution_add(struct ksm_attribution *a, const struct ksm_counts *counts) {
    a->merging_sum = a->merging_sum + (uint64_t)counts->merging;
    a->zero_sum = a->zero_sum + (uint64_t)counts->zero;
    a->rmap_items_sum = a->rmap_items_sum + (uint64_t)counts->rmap_items;
}

struct ksm_share ksm_attribution_share(const struct ksm_attribution *a,
                                       const struct ksm_counts *counts) {
    struct ksm_share share;

    share.merged =
        proportion((ksm_wide)a->sharing, counts->merging, larger(mapped(a), a->merging_sum));
    share.saved = share.merged + proportion((ksm_wide)a->zero, counts->zero,
                                            larger((ksm_wide)a->zero, a->zero_sum));
    share.counts.merging = scale(counts->merging, a->merging_sum, mapped(a));
    share.counts.zero = scale(counts->zero, a->zero_sum, (ksm_wide)a->zero);
    share.counts.rmap_items = scale(counts->rmap_items, a->rmap_items_sum, (ksm_wide)a->tracked);
    return share;
}

int64_t ksm_attribution_overcount(const struct ksm_attribution *a) {
    int64_t merging = overcount(a->merging_sum, mapped(a));
    int64_t zero = overcount(a->zero_sum, (ksm_wide)a->zero);

    return merging > zero ? merging : zero;
}
