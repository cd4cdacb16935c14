/* SPDX-License-Identifier: MIT
 *
 * The limit of new names.
 */
#include <stdio.h>
#include <string.h>

#include "consumers/rate_limit.h"
#include "support/suite.h"

enum { PLACES = 20, BURST = PLACES + KSM_RATE_LIMIT_BURST, SECOND = 1000, MINUTE = 60 * SECOND };
static const int64_t hour = KSM_RATE_LIMIT_HOUR_MS;

static struct ksm_rate_limit limit;

void before_each(void) {
    memset(&limit, 0x5a, sizeof(limit));
    ksm_rate_limit_init(&limit, PLACES);
}

/* text: "vm web". */
static struct ksm_consumer_name name_of(const char *text) {
    struct ksm_consumer_name name = {.kind = 0};
    const size_t len = strcspn(text, " ");

    while (strlen(ksm_consumer_kinds[name.kind]) != len ||
           memcmp(ksm_consumer_kinds[name.kind], text, len) != 0)
        name.kind++;
    snprintf(name.text, sizeof(name.text), "%s", text + len + 1);
    return name;
}

static bool admit(const char *text) {
    const struct ksm_consumer_name name = name_of(text);

    return ksm_rate_limit_admit(&limit, &name);
}

/* Offers so many new names that begin with prefix; returns how many are admitted. */
static int admit_new(const char *prefix, int count) {
    static int number;
    int admitted = 0;

    for (int i = 0; i < count; i++) {
        char text[64];
        snprintf(text, sizeof(text), "%s%d", prefix, number++);
        admitted += admit(text);
    }
    return admitted;
}

/* Names, and the rate of their class. */
static const struct {
    const char *prefix;
    int per_hour;
} class_rows[] = {
    {"vm n", 10},
    {"container n", 10},
    {"service n", 10},
    {"program n", 1},
    {"vm user-1000:n", 1},
    {"container user-1000:n", 1},
    {"service user-0:n", 1},
    {"service user-:n", 1},
    {"program user-1000:n", 1},
    {"service user-1000n", 10},
    {"container users:n", 10},
};

TEST_ROWS(burst_and_rate_of_each_class, class_rows) {
    const int64_t token = hour / row->per_hour;

    ck_assert_int_eq(admit_new(row->prefix, 200), BURST);
    for (int i = 0; i < 3; i++) {
        ksm_rate_limit_elapse(&limit, token - 1);
        ck_assert_int_eq(admit_new(row->prefix, 5), 0);
        ksm_rate_limit_elapse(&limit, 1);
        ck_assert_int_eq(admit_new(row->prefix, 5), 1);
    }
    for (int64_t ms = 0; ms < hour; ms += 10 * SECOND)
        ksm_rate_limit_elapse(&limit, 10 * SECOND);
    ck_assert_int_eq(admit_new(row->prefix, 50), row->per_hour);
}

/* A user who renames programs and starts containers for months. */
TEST(names_of_users_take_no_token_of_the_host) {
    int of_user = 0;

    for (int64_t ms = 0; ms < 60 * 24 * hour; ms += 15 * MINUTE) {
        ksm_rate_limit_elapse(&limit, 15 * MINUTE);
        of_user += admit_new("program n", 25) + admit_new("container user-1000:n", 25);
    }
    ck_assert_int_eq(of_user,
                     BURST + 60 * 24 - 1); /* the first hour's token: the bucket was full */
    ck_assert_int_eq(admit_new("vm n", 200), BURST);
}

TEST(tokens_fill_up_to_the_burst) {
    static const int64_t times[] = {INT64_MAX, 1000 * hour, INT64_MAX};

    for (int i = 0; i < ROWS(times); i++) {
        ksm_rate_limit_elapse(&limit, times[i]);
        ck_assert_int_eq(admit_new("vm n", 200), BURST);
        ck_assert_int_eq(admit_new("program n", 200), BURST);
    }
}

TEST(negative_time_adds_no_token) {
    admit_new("vm n", 200);
    ksm_rate_limit_elapse(&limit, -hour);
    ksm_rate_limit_elapse(&limit, INT64_MIN);
    ck_assert_int_eq(admit_new("vm n", 1), 0);
    ksm_rate_limit_elapse(&limit, hour / 10);
    ck_assert_int_eq(admit_new("vm n", 5), 1);
}

TEST(known_names_need_no_token) {
    ck_assert(admit("vm a") && admit("container a") && admit("program a"));
    for (int i = 0; i < 50; i++) {
        ksm_rate_limit_elapse(&limit, 10 * hour);
        admit_new("vm n", 200);
        admit_new("program n", 200);
        ck_assert_msg(admit("vm a") && admit("container a") && admit("program a"),
                      "sample %d: a name that was shown at the last is refused", i);
    }
    ck_assert(!admit("service a") && !admit("vm b"));
}

TEST(name_unused_for_longest_is_forgotten) {
    admit("program first");
    admit("program second");
    for (int i = 2; i < KSM_RATE_LIMIT_KNOWN_MAX; i++) {
        ksm_rate_limit_elapse(&limit, hour);
        ck_assert_int_eq(admit_new("program n", 1), 1);
    }
    ck_assert(admit("program first"));
    ck_assert_int_eq(admit_new("program n", 200), BURST - 2);
    ck_assert_msg(admit("program first"), "a name that was used since is forgotten");
    ck_assert_msg(!admit("program second"), "the name unused for longest is known");
}

static const struct {
    const char *when;
    int64_t calm_ms;
    int names;
    bool limited;
} limited_rows[] = {
    {"at once", 0, 0, true},
    {"just before an hour", KSM_RATE_LIMIT_HOUR_MS - 1, 0, true},
    {"an hour without a refusal", KSM_RATE_LIMIT_HOUR_MS, 0, false},
    {"and a name that fits", KSM_RATE_LIMIT_HOUR_MS, 1, false},
    {"and one that does not", KSM_RATE_LIMIT_HOUR_MS, 2, true},
    {"a name that fits, before an hour", 59 * MINUTE, 0, true},
};

TEST_ROWS(limited_until_an_hour_of_calm, limited_rows) {
    ck_assert_int_eq(admit_new("program n", BURST), BURST);
    ck_assert(!ksm_rate_limit_is_limited(&limit));
    ck_assert_int_eq(admit_new("program n", 1), 0);
    ck_assert(ksm_rate_limit_is_limited(&limit));
    ksm_rate_limit_elapse(&limit, row->calm_ms / 2);
    ksm_rate_limit_elapse(&limit, row->calm_ms - row->calm_ms / 2);
    admit_new("program n", row->names);
    ck_assert_msg(ksm_rate_limit_is_limited(&limit) == row->limited, "%s: got %d", row->when,
                  !row->limited);
}

TEST(limited_while_there_is_no_token) {
    admit_new("program n", BURST + 1);
    ksm_rate_limit_elapse(&limit, hour - 1);
    admit_new("program n", 1);
    ksm_rate_limit_elapse(&limit, 1);
    ck_assert_int_eq(admit_new("program n", 1), 1);
    ksm_rate_limit_elapse(&limit, hour - 2);
    ck_assert(ksm_rate_limit_is_limited(&limit));
    ksm_rate_limit_elapse(&limit, 2);
    ck_assert(!ksm_rate_limit_is_limited(&limit));
}
