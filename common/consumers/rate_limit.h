/* SPDX-License-Identifier: MIT
 *
 * Limits how many new consumers are shown. collectd, Netdata and Prometheus keep a chart, a file or
 * a series of each name that they have ever seen, and a process can change its name at will
 * (prctl PR_SET_NAME requires no rights).
 *
 * A new name takes a token. Tokens come in at a fixed rate, up to a burst. There are two buckets,
 * so that no user can take the tokens of the host's machines, containers and services: names that
 * any user can make, programs and those with a user prefix, have a bucket of their own.
 *
 * Calls: init; then for each sample elapse, and admit for each consumer that has a place. Nothing
 * is allocated.
 */
#ifndef KSM_RATE_LIMIT_H
#define KSM_RATE_LIMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consumers/consumer_name.h"

enum ksm_rate_limit_class {
    KSM_RATE_LIMIT_HOST, /* virtual machines, containers and services */
    KSM_RATE_LIMIT_USER, /* programs, and whatever has a user prefix */
    KSM_RATE_LIMIT_CLASSES
};

enum {
    KSM_RATE_LIMIT_HOUR_MS = 60 * 60 * 1000,
    KSM_RATE_LIMIT_HOST_PER_HOUR = 10,
    KSM_RATE_LIMIT_USER_PER_HOUR = 1,
    KSM_RATE_LIMIT_BURST = 60, /* tokens at first, beyond those for all places */
    /* Names that are remembered. Those of two samples fit (200 places each), so that a name that is
     * shown is never forgotten. */
    KSM_RATE_LIMIT_KNOWN_MAX = 512,
};

/* A time in ms earns tokens: one in token_ms. */
struct ksm_rate_limit_bucket {
    int64_t token_ms;
    int64_t burst_ms;  /* the most that is earned */
    int64_t earned_ms; /* and not yet spent */
    bool limited;      /* new names are refused; over if there is a token and an hour of calm */
    int64_t calm_ms;   /* time since the last refusal, an hour at most */
    size_t count;      /* of known */
    struct ksm_consumer_name known[KSM_RATE_LIMIT_KNOWN_MAX]; /* in the order of their last use */
};

struct ksm_rate_limit {
    struct ksm_rate_limit_bucket buckets[KSM_RATE_LIMIT_CLASSES];
};

/* places: how many consumers are shown at most. Knows no name, and has a burst of tokens. */
void ksm_rate_limit_init(struct ksm_rate_limit *limit, size_t places);

/* So many ms have passed; below 0 counts as 0. */
void ksm_rate_limit_elapse(struct ksm_rate_limit *limit, int64_t ms);

/* Returns whether a consumer may be shown: its name is known, or there is a token for it. It is
 * known from then on, until KSM_RATE_LIMIT_KNOWN_MAX others of its class have been shown. */
bool ksm_rate_limit_admit(struct ksm_rate_limit *limit, const struct ksm_consumer_name *name);

/* Returns whether new names of any class are refused. The hour of calm keeps a log from getting
 * more than two messages an hour. */
bool ksm_rate_limit_is_limited(const struct ksm_rate_limit *limit);

/* The class of a name. */
enum ksm_rate_limit_class ksm_rate_limit_classify(const struct ksm_consumer_name *name);

#endif
