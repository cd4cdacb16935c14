/* SPDX-License-Identifier: MIT
 *
 * Limits how many new consumers are shown. collectd, Netdata and Prometheus keep a chart, a file or
 * a series of each name that they have ever seen, and a process can change its name at will
 * (prctl PR_SET_NAME requires no rights).
 *
 * A new name takes a token. Tokens are added at a fixed rate, up to a burst. Names that any user
 * can make (programs, and names with a user prefix) have a separate bucket, so that no user can
 * take the tokens of the host's machines, containers and services. A container or service can,
 * because it can claim names of machines (consumer_id.h).
 *
 *   ksm_rate_limit_init();
 *   ksm_rate_limit_elapse();    once for each sample
 *   ksm_rate_limit_admit();     for each consumer in the top
 *
 * Nothing is allocated.
 */
#ifndef KSM_RATE_LIMIT_H
#define KSM_RATE_LIMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consumers/consumer_name.h"

enum ksm_rate_limit_class {
    KSM_RATE_LIMIT_HOST, /* virtual machines, containers and services */
    KSM_RATE_LIMIT_USER, /* programs, and names with a user prefix */
    KSM_RATE_LIMIT_CLASSES
};

enum {
    KSM_RATE_LIMIT_HOUR_MS = 60 * 60 * 1000,
    KSM_RATE_LIMIT_HOST_PER_HOUR = 10,
    KSM_RATE_LIMIT_USER_PER_HOUR = 1,
    KSM_RATE_LIMIT_BURST = 60, /* initial tokens, in addition to one for each place */
    /* Known names. The 200 names each of two samples fit, so a name that is shown is never
     * forgotten. */
    KSM_RATE_LIMIT_KNOWN_MAX = 512,
};

/* Tokens are counted as the time that earns them: one in token_ms. */
struct ksm_rate_limit_bucket {
    int64_t token_ms;
    int64_t burst_ms;  /* maximum of earned_ms */
    int64_t earned_ms; /* the tokens at hand */
    bool limited;      /* a name was refused, until a token is at hand and calm_ms is an hour */
    int64_t calm_ms;   /* time since the last refusal, at most an hour */
    size_t count;      /* of known */
    struct ksm_consumer_name known[KSM_RATE_LIMIT_KNOWN_MAX]; /* in the order of their last use */
};

struct ksm_rate_limit {
    struct ksm_rate_limit_bucket buckets[KSM_RATE_LIMIT_CLASSES];
};

/* places: the maximum number of shown consumers. */
void ksm_rate_limit_init(struct ksm_rate_limit *limit, size_t places);

/* Adds the tokens of a time. A negative time counts as 0. */
void ksm_rate_limit_elapse(struct ksm_rate_limit *limit, int64_t ms);

/* Returns whether a consumer may be shown: its name is known, or takes a token. The name stays
 * known until KSM_RATE_LIMIT_KNOWN_MAX others of its class have been shown. */
bool ksm_rate_limit_admit(struct ksm_rate_limit *limit, const struct ksm_consumer_name *name);

/* Returns whether any class is limited. The hour of calm limits a log to two messages an hour. */
bool ksm_rate_limit_is_limited(const struct ksm_rate_limit *limit);

enum ksm_rate_limit_class ksm_rate_limit_classify(const struct ksm_consumer_name *name);

#endif
