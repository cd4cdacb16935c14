/* SPDX-License-Identifier: MIT */
#include "consumers/attribution.h"

static ksm_wide larger(ksm_wide a, ksm_wide b) {
    return a > b ? a : b;
}

/* All merged pages that processes have mapped, each as often as it is. */
static ksm_wide mapped(const struct ksm_attribution *d) {
    return (ksm_wide)d->shared + (ksm_wide)d->sharing;
}

/* claim / whole of a, rounded down; claim <= whole, so that it fits. */
static int64_t part(int64_t a, int64_t claim, ksm_wide whole) {
    return (int64_t)((ksm_wide)a * (ksm_wide)claim / larger(whole, 1));
}

/* By how many thousandths sum is above limit. */
static int64_t excess(ksm_wide sum, ksm_wide limit) {
    if (sum <= limit)
        return 0;
    ksm_wide thousandths = (sum - limit) * 1000 / larger(limit, 1);
    return thousandths > INT64_MAX ? INT64_MAX : (int64_t)thousandths;
}

void ksm_attribution_claim(struct ksm_attribution *d, int64_t merging, int64_t zero) {
    d->merging_claimed = d->merging_claimed + (uint64_t)merging;
    d->zero_claimed = d->zero_claimed + (uint64_t)zero;
}

struct ksm_share ksm_attribution_share(const struct ksm_attribution *d, int64_t merging,
                                       int64_t zero) {
    struct ksm_share share;

    share.merged = part(d->sharing, merging, larger(mapped(d), d->merging_claimed));
    share.saved = share.merged + part(d->zero, zero, larger((ksm_wide)d->zero, d->zero_claimed));
    return share;
}

int64_t ksm_attribution_excess(const struct ksm_attribution *d) {
    int64_t merging = excess(d->merging_claimed, mapped(d));
    int64_t zero = excess(d->zero_claimed, (ksm_wide)d->zero);

    return merging > zero ? merging : zero;
}
