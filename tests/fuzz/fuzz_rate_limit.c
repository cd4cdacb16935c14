/* SPDX-License-Identifier: MIT
 *
 * The state of the rate limit, which ksm-explain reads from a file. An accepted text must be equal
 * to the saved one. After any other text no name is known, and there is no token.
 */
#include <string.h>

#include "consumers/rate_limit_state.h"
#include "fuzz.h"

enum { PLACES = 200, NOW_S = 1764517239 };

static void check_bucket(const struct ksm_rate_limit_bucket *bucket) {
    HOLDS(bucket->earned_ms >= 0 && bucket->earned_ms <= bucket->burst_ms);
    HOLDS(bucket->calm_ms >= 0 && bucket->calm_ms <= KSM_RATE_LIMIT_HOUR_MS);
    HOLDS(bucket->count <= KSM_RATE_LIMIT_KNOWN_MAX);
    for (size_t i = 0; i < bucket->count; i++)
        HOLDS(bucket->known[i].kind < KSM_CONSUMER_KIND_COUNT && bucket->known[i].text[0] &&
              memchr(bucket->known[i].text, '\0', sizeof(bucket->known[i].text)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct ksm_rate_limit limit, again;
    static char saved[KSM_RATE_LIMIT_STATE_SIZE];
    char *text = malloc(size + (size == 0)); /* exact size, to detect an overrun */
    bool was_limited = false;

    HOLDS(text);
    memcpy(text, data, size);
    ksm_rate_limit_init(&limit, PLACES);
    ksm_rate_limit_init(&again, PLACES);
    int status = ksm_rate_limit_restore(&limit, text, size, NOW_S, &was_limited);
    for (size_t i = 0; i < KSM_RATE_LIMIT_CLASSES; i++) {
        check_bucket(&limit.buckets[i]);
        HOLDS(status == 0 || (limit.buckets[i].earned_ms == 0 && limit.buckets[i].count == 0));
    }
    const size_t len = ksm_rate_limit_save(&limit, NOW_S, saved);
    HOLDS(len < sizeof(saved));
    HOLDS(ksm_rate_limit_restore(&again, saved, len, NOW_S, &was_limited) == 0);
    for (size_t i = 0; i < KSM_RATE_LIMIT_CLASSES; i++)
        HOLDS(again.buckets[i].count == limit.buckets[i].count &&
              again.buckets[i].earned_ms == limit.buckets[i].earned_ms);
    free(text);
    return 0;
}
