/* SPDX-License-Identifier: MIT
 *
 * Divides a host's savings among its consumers. Integer arithmetic without
 * state.
 *
 * The kernel does not say which processes share a page. So the share is an average: a process that
 * has M of the host's shared + sharing merged pages is given sharing * M / (shared + sharing) of
 * the pages saved. That is exact where all pages are shared equally often, else approximate for
 * one and exact for all together. Zero pages belong to the process that has them, all of them.
 *
 * ksm_process_profit is not used: it counts pages_shared as saved too.
 */
#ifndef KSM_ATTRIBUTION_H
#define KSM_ATTRIBUTION_H

#include <stddef.h>
#include <stdint.h>

/* Wide enough for every sum and product of what an int64 holds. */
__extension__ typedef unsigned __int128 ksm_wide;

/* A division in progress. Pages of the host: pages_sharing, pages_shared, ksm_zero_pages; what the
 * consumers claim of them, added up. None is negative. */
struct ksm_attribution {
    int64_t sharing;
    int64_t shared;
    int64_t zero;
    ksm_wide merging_claimed;
    ksm_wide zero_claimed;
};

/* The share of one consumer, in pages: of the merged ones, and in all (with its zero pages). */
struct ksm_share {
    int64_t merged;
    int64_t saved;
};

/* First each consumer's claim: its processes' ksm_merging_pages and ksm_zero_pages. */
void ksm_attribution_claim(struct ksm_attribution *d, int64_t merging, int64_t zero);

/* Then each consumer's share. All are floor divisions, and their sum never passes sharing + zero
 * (which must fit in an int64): where the claims add up to more than the host has, be it that they
 * were not read at one instant or that a child was given its parent's count (fork before 6.18), all
 * are scaled down alike. */
struct ksm_share ksm_attribution_share(const struct ksm_attribution *d, int64_t merging,
                                       int64_t zero);

/* By how much the claims are too large, in thousandths of what the host has; 0: they are not. */
int64_t ksm_attribution_excess(const struct ksm_attribution *d);

#endif
