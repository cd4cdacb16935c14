/* SPDX-License-Identifier: MIT */
#include "newcomers.h"

#include <string.h>

void ksm_newcomers_init(struct ksm_newcomers *n, size_t shown) {
    memset(n, 0, sizeof(*n));
    n->most = n->credit = (int64_t)(shown + KSM_NEWCOMERS_HOUR) * KSM_NEWCOMER_MS;
}

void ksm_newcomers_sample(struct ksm_newcomers *n, int64_t ms) {
    n->credit = ms < n->most - n->credit ? n->credit + ms : n->most;
    if (n->credit >= (int64_t)KSM_NEWCOMERS_ENOUGH * KSM_NEWCOMER_MS)
        n->held_back = false;
}

static bool is_known(const struct ksm_newcomers *n, const struct ksm_name *name) {
    for (size_t i = 0; i < n->count && i < KSM_NEWCOMERS_KNOWN; i++)
        if (n->known[i].kind == name->kind && strcmp(n->known[i].text, name->text) == 0)
            return true;
    return false;
}

bool ksm_newcomers_admit(struct ksm_newcomers *n, const struct ksm_name *name) {
    if (is_known(n, name))
        return true;
    if (n->credit < KSM_NEWCOMER_MS) {
        n->held_back = true;
        return false;
    }
    n->credit -= KSM_NEWCOMER_MS;
    n->known[n->count++ % KSM_NEWCOMERS_KNOWN] = *name;
    return true;
}
