/* SPDX-License-Identifier: MIT */
#include "consumers/rate_limit.h"

#include <string.h>

static void init_bucket(struct ksm_rate_limit_bucket *bucket, int per_hour, size_t places) {
    bucket->token_ms = KSM_RATE_LIMIT_HOUR_MS / per_hour;
    bucket->burst_ms = (int64_t)(places + KSM_RATE_LIMIT_BURST) * bucket->token_ms;
    bucket->earned_ms = bucket->burst_ms;
    bucket->limited = false;
    bucket->calm_ms = 0;
    bucket->count = 0;
}

void ksm_rate_limit_init(struct ksm_rate_limit *limit, size_t places) {
    init_bucket(&limit->buckets[KSM_RATE_LIMIT_HOST], KSM_RATE_LIMIT_HOST_PER_HOUR, places);
    init_bucket(&limit->buckets[KSM_RATE_LIMIT_USER], KSM_RATE_LIMIT_USER_PER_HOUR, places);
}

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static void elapse(struct ksm_rate_limit_bucket *bucket, int64_t ms) {
    bucket->earned_ms += smaller(ms, bucket->burst_ms - bucket->earned_ms);
    bucket->calm_ms += smaller(ms, KSM_RATE_LIMIT_HOUR_MS - bucket->calm_ms);
    if (bucket->calm_ms == KSM_RATE_LIMIT_HOUR_MS && bucket->earned_ms >= bucket->token_ms)
        bucket->limited = false;
}

void ksm_rate_limit_elapse(struct ksm_rate_limit *limit, int64_t ms) {
    for (size_t i = 0; ms > 0 && i < KSM_RATE_LIMIT_CLASSES; i++)
        elapse(&limit->buckets[i], ms);
}

enum ksm_rate_limit_class ksm_rate_limit_classify(const struct ksm_consumer_name *name) {
    if (name->kind == KSM_CONSUMER_program || ksm_consumer_name_has_user_prefix(name->text))
        return KSM_RATE_LIMIT_USER;
    return KSM_RATE_LIMIT_HOST;
}

/* Returns the position of a name; count if it is not known. Names in use are at the end. */
static size_t find(const struct ksm_rate_limit_bucket *bucket,
                   const struct ksm_consumer_name *name) {
    for (size_t pos = bucket->count; pos-- > 0;)
        if (ksm_consumer_name_compare(&bucket->known[pos], name) == 0)
            return pos;
    return bucket->count;
}

static void forget(struct ksm_rate_limit_bucket *bucket, size_t pos) {
    bucket->count--;
    memmove(&bucket->known[pos], &bucket->known[pos + 1],
            (bucket->count - pos) * sizeof(bucket->known[0]));
}

bool ksm_rate_limit_admit(struct ksm_rate_limit *limit, const struct ksm_consumer_name *name) {
    struct ksm_rate_limit_bucket *bucket = &limit->buckets[ksm_rate_limit_classify(name)];
    const size_t pos = find(bucket, name);

    if (pos < bucket->count) {
        forget(bucket, pos);
    } else if (bucket->earned_ms < bucket->token_ms) {
        bucket->limited = true;
        bucket->calm_ms = 0;
        return false;
    } else {
        bucket->earned_ms -= bucket->token_ms;
        if (bucket->count == KSM_RATE_LIMIT_KNOWN_MAX)
            forget(bucket, 0);
    }
    bucket->known[bucket->count++] = *name;
    return true;
}

bool ksm_rate_limit_is_limited(const struct ksm_rate_limit *limit) {
    for (size_t i = 0; i < KSM_RATE_LIMIT_CLASSES; i++)
        if (limit->buckets[i].limited)
            return true;
    return false;
}
