/* SPDX-License-Identifier: MIT
 *
 * Attributes a host's savings to its consumers. Integer arithmetic without state.
 *
 *   struct ksm_attribution a = {.sharing = …, .shared = …, .zero = …, .tracked = …};
 *   ksm_attribution_add();      for each consumer
 *   ksm_attribution_share();    for each consumer
 *   ksm_attribution_overcount();
 *
 * The kernel does not report which processes share a page. So a share is an average: a process that
 * has M of the host's shared + sharing merged pages gets sharing * M / (shared + sharing) of the
 * pages saved. That is exact where all pages are shared equally often, else it is approximate for
 * one consumer and exact for all together. Zero pages belong to the process that has them.
 *
 * ksm_process_profit is not used: it counts pages_shared as saved too.
 *
 * The counts of the consumers can add up to more than the host's, because they are not read at one
 * instant, or because a child starts with its parent's counts (fork before Linux 6.18: dup_mm() of
 * kernel/fork.c copies ksm_merging_pages, ksm_rmap_items and ksm_zero_pages). Then all are scaled
 * down alike.
 */
#ifndef KSM_ATTRIBUTION_H
#define KSM_ATTRIBUTION_H

#include <stddef.h>
#include <stdint.h>

/* Wide enough for every sum and product of what an int64 holds. */
__extension__ typedef unsigned __int128 ksm_wide;

/* Sums over the processes of one consumer, in pages: ksm_merging_pages, ksm_zero_pages and
 * ksm_rmap_items. None is negative. */
struct ksm_counts {
    int64_t merging;
    int64_t zero;
    int64_t rmap_items;
};

/* Pages of the host, and sums of the consumers' counts. None is negative. */
struct ksm_attribution {
    int64_t sharing;
    int64_t shared;
    int64_t zero;
    int64_t tracked; /* INT64_MAX: not known, so rmap_items are not scaled */
    ksm_wide merging_sum;
    ksm_wide zero_sum;
    ksm_wide rmap_items_sum;
};

/* The share of one consumer, in pages. The sums of counts are at most the host's. */
struct ksm_share {
    int64_t merged;           /* saved by merged pages */
    int64_t saved;            /* saved by merged and zero pages */
    struct ksm_counts counts; /* scaled down */
};

/* Adds the counts of a consumer. */
void ksm_attribution_add(struct ksm_attribution *a, const struct ksm_counts *counts);

/* Returns the share of a consumer. All divisions round down, so that the sum of all shares is at
 * most sharing + zero, which must fit in an int64. */
struct ksm_share ksm_attribution_share(const struct ksm_attribution *a,
                                       const struct ksm_counts *counts);

/* Returns by how many thousandths the sum of merging or that of zero exceeds the host's, or 0. */
int64_t ksm_attribution_overcount(const struct ksm_attribution *a);

#endif
