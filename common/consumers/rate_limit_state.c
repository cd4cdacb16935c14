/* SPDX-License-Identifier: MIT */
#include "consumers/rate_limit_state.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "system/parse.h"
#include "system/span.h"

static const char header[] = "ksm-rate-limit 1";
static const char end[] = "end";
static const char *const class_names[KSM_RATE_LIMIT_CLASSES] = {"host", "user"};

size_t ksm_rate_limit_save(const struct ksm_rate_limit *limit, int64_t now_s,
                           char text[static KSM_RATE_LIMIT_STATE_SIZE]) {
    const size_t size = KSM_RATE_LIMIT_STATE_SIZE;
    size_t len = (size_t)snprintf(text, size, "%s\ntime %" PRId64 "\n", header, now_s);

    for (size_t i = 0; i < KSM_RATE_LIMIT_CLASSES; i++) {
        const struct ksm_rate_limit_bucket *bucket = &limit->buckets[i];
        len +=
            (size_t)snprintf(text + len, size - len, "%s %" PRId64 " %d %" PRId64 "\n",
                             class_names[i], bucket->earned_ms, bucket->limited, bucket->calm_ms);
    }
    for (size_t i = 0; i < KSM_RATE_LIMIT_CLASSES; i++) {
        const struct ksm_rate_limit_bucket *bucket = &limit->buckets[i];
        for (size_t pos = 0; pos < bucket->count; pos++)
            len += (size_t)snprintf(text + len, size - len, "%s %s\n",
                                    ksm_consumer_kinds[bucket->known[pos].kind],
                                    bucket->known[pos].text);
    }
    return len + (size_t)snprintf(text + len, size - len, "%s\n", end);
}

/* Takes the text up to the next separator; *ok becomes false if there is none. */
static struct span take(struct span *rest, char separator, bool *ok) {
    *ok = *ok && rest->len > 0 && memchr(rest->text, separator, rest->len);
    return span_take_until(rest, separator);
}

static int64_t take_number(struct span *rest, char separator, int64_t max, bool *ok) {
    const struct span part = take(rest, separator, ok);
    int64_t number = 0;

    *ok = *ok && parse_number(part.text, part.len, &number) == 0 && number <= max;
    return number;
}

static void take_bucket(struct span *rest, const char *name, struct ksm_rate_limit_bucket *bucket,
                        bool *ok) {
    const struct span word = take(rest, ' ', ok);

    *ok = *ok && span_equals(word, name);
    const int64_t earned_ms = take_number(rest, ' ', INT64_MAX, ok);
    /* The run before may have had more places. */
    bucket->earned_ms = earned_ms < bucket->burst_ms ? earned_ms : bucket->burst_ms;
    bucket->limited = take_number(rest, ' ', 1, ok) == 1;
    bucket->calm_ms = take_number(rest, '\n', KSM_RATE_LIMIT_HOUR_MS, ok);
}

/* Names of consumers contain no spaces and no control characters. */
static bool is_clean(struct span name) {
    for (size_t i = 0; i < name.len; i++)
        if ((unsigned char)name.text[i] <= ' ' || name.text[i] == 0x7f)
            return false;
    return name.len > 0 && name.len < KSM_CONSUMER_NAME_SIZE;
}

/* Parses "vm web". */
static bool parse_name(struct span line, struct ksm_consumer_name *name) {
    bool ok = true;
    const struct span kind = take(&line, ' ', &ok);

    for (size_t i = 0; ok && i < KSM_CONSUMER_KIND_COUNT; i++) {
        if (!span_equals(kind, ksm_consumer_kinds[i]))
            continue;
        if (!is_clean(line))
            return false;
        name->kind = (enum ksm_consumer_kind)i;
        memcpy(name->text, line.text, line.len);
        name->text[line.len] = '\0';
        return true;
    }
    return false;
}

/* Takes the names, which are in the order of their classes, and the last line. */
static bool take_names(struct span *rest, struct ksm_rate_limit *limit) {
    enum ksm_rate_limit_class class = KSM_RATE_LIMIT_HOST;
    bool ok = true;

    for (struct span line = take(rest, '\n', &ok); ok; line = take(rest, '\n', &ok)) {
        struct ksm_consumer_name name;
        if (span_equals(line, end))
            return rest->len == 0;
        if (!parse_name(line, &name) || ksm_rate_limit_classify(&name) < class)
            return false;
        class = ksm_rate_limit_classify(&name);
        struct ksm_rate_limit_bucket *bucket = &limit->buckets[class];
        if (bucket->count == KSM_RATE_LIMIT_KNOWN_MAX)
            return false;
        bucket->known[bucket->count++] = name;
    }
    return false;
}

static void take_all_tokens(struct ksm_rate_limit *limit) {
    for (size_t i = 0; i < KSM_RATE_LIMIT_CLASSES; i++) {
        limit->buckets[i].count = 0;
        limit->buckets[i].earned_ms = 0;
        limit->buckets[i].limited = false;
        limit->buckets[i].calm_ms = 0;
    }
}

int ksm_rate_limit_restore(struct ksm_rate_limit *limit, const char *text, size_t len,
                           int64_t now_s, bool *was_limited) {
    enum { MAX_S = INT32_MAX }; /* in ms it fits in an int64 */
    struct span rest = {text, len};
    bool ok = true;
    const struct span first = take(&rest, '\n', &ok);
    const struct span key = take(&rest, ' ', &ok);

    ok = ok && span_equals(first, header) && span_equals(key, "time");
    const int64_t then_s = take_number(&rest, '\n', INT64_MAX, &ok);
    for (size_t i = 0; i < KSM_RATE_LIMIT_CLASSES; i++)
        take_bucket(&rest, class_names[i], &limit->buckets[i], &ok);
    if (!ok || !take_names(&rest, limit)) {
        take_all_tokens(limit);
        *was_limited = false;
        return -EINVAL;
    }
    *was_limited = ksm_rate_limit_is_limited(limit);
    const int64_t elapsed_s = now_s > then_s ? now_s - then_s : 0;
    ksm_rate_limit_elapse(limit, (elapsed_s < MAX_S ? elapsed_s : MAX_S) * 1000);
    return 0;
}
