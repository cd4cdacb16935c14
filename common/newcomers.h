/* SPDX-License-Identifier: MIT
 *
 * Limits how many new consumers are shown. The host keeps charts, value lists and files for each
 * one. A process that keeps changing its name is a new consumer each time (prctl PR_SET_NAME, which
 * requires no rights).
 */
#ifndef KSM_NEWCOMERS_H
#define KSM_NEWCOMERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "name.h"

/* At once as many as are shown, and 60 more; then one a minute. */
enum { KSM_NEWCOMER_MS = 60 * 1000, KSM_NEWCOMERS_HOUR = 60 };

/* It is over when so many are allowed at once again. So it is not over after each minute's one. */
enum { KSM_NEWCOMERS_ENOUGH = 10 };

/* How many names are remembered, the last that came: whoever returns is no newcomer. */
enum { KSM_NEWCOMERS_KNOWN = 256 };

struct ksm_newcomers {
    int64_t most;   /* ms: the largest credit */
    int64_t credit; /* ms: KSM_NEWCOMER_MS is that for one */
    bool held_back; /* some are, or were not long ago */
    size_t count;   /* of all that came so far */
    struct ksm_name known[KSM_NEWCOMERS_KNOWN];
};

/* shown: how many are shown at most. */
void ksm_newcomers_init(struct ksm_newcomers *n, size_t shown);

/* A new sample, so many ms after the last. */
void ksm_newcomers_sample(struct ksm_newcomers *n, int64_t ms);

/* Whether a consumer may be shown that is not in the last sample's top; from then on it is known.
 */
bool ksm_newcomers_admit(struct ksm_newcomers *n, const struct ksm_name *name);

#endif
