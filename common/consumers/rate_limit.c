/* SPDX-License-Identifier: MIT */
#include "consumers/rate_limit.h"

#include <string.h>

void ksm_rate_limit_init(struct ksm_rate_limit *n, size_t shown) {
    memset(n, 0, sizeof(*n));
    n->most = n->credit = (int64_t)(shown + KSM_RATE_LIMIT_HOUR) * KSM_RATE_LIMIT_MS;
}

void ksm_rate_limit_sample(struct ksm_rate_limit *n, int64_t ms) {
    n->credit = ms < n->most - n->credit ? n->credit + ms : n->most;
    if (n->credit >= (int64_t)KSM_RATE_LIMIT_ENOUGH * KSM_RATE_LIMIT_MS)
        n->held_back = false;
}

static bool is_known(const struct ksm_rate_limit *n, const struct ksm_consumer_name *name) {
    for (size_t i = 0; i < n->count && i < KSM_RATE_LIMIT_KNOWN; i++)
        if (n->known[i].kind == name->kind && strcmp(n->known[i].text, name->text) == 0)
            return true;
    return false;
}

bool ksm_rate_limit_admit(struct ksm_rate_limit *n, const struct ksm_consumer_name *name) {
    if (is_known(n, name))
        return true;
    if (n->credit < KSM_RATE_LIMIT_MS) {
        n->held_back = true;
        return false;
    }
    n->credit -= KSM_RATE_LIMIT_MS;
    n->known[n->count++ % KSM_RATE_LIMIT_KNOWN] = *name;
    return true;
}
