/* SPDX-License-Identifier: MIT
 *
 * Limits how many new consumers are shown. The host keeps charts, value lists and files for each
 * one. A process that keeps changing its name is a new consumer each time (prctl PR_SET_NAME, which
 * requires no rights).
 */
#ifndef KSM_RATE_LIMIT_H
#define KSM_RATE_LIMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consumers/consumer_name.h"

/* At once as many as are shown, and 60 more; then one a minute. */
enum { KSM_RATE_LIMIT_MS = 60 * 1000, KSM_RATE_LIMIT_HOUR = 60 };

/* It is over when so many are allowed at once again. So it is not over after each minute's one. */
enum { KSM_RATE_LIMIT_ENOUGH = 10 };

/* How many names are remembered, the last that came: whoever returns is no newcomer. */
enum { KSM_RATE_LIMIT_KNOWN = 256 };

struct ksm_rate_limit {
    int64_t most;   /* ms: the largest credit */
    int64_t credit; /* ms: KSM_RATE_LIMIT_MS is that for one */
    bool held_back; /* some are, or were not long ago */
    size_t count;   /* of all that came so far */
    struct ksm_consumer_name known[KSM_RATE_LIMIT_KNOWN];
};

/* shown: how many are shown at most. */
void ksm_rate_limit_init(struct ksm_rate_limit *n, size_t shown);

/* A new sample, so many ms after the last. */
void ksm_rate_limit_sample(struct ksm_rate_limit *n, int64_t ms);

/* Whether a consumer may be shown that is not in the last sample's top; from then on it is known.
 */
bool ksm_rate_limit_admit(struct ksm_rate_limit *n, const struct ksm_consumer_name *name);

#endif
