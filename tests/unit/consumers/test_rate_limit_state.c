/* SPDX-License-Identifier: MIT
 *
 * A rate limit's state as text: it is restored as it was saved, and other texts are refused.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "consumers/rate_limit_state.h"
#include "support/suite.h"

enum { PLACES = 20, BURST = PLACES + KSM_RATE_LIMIT_BURST, NOW_S = 1764517239 };
static const int64_t hour = KSM_RATE_LIMIT_HOUR_MS;

static struct ksm_rate_limit limit, restored;
static bool was_limited;
static char text[KSM_RATE_LIMIT_STATE_SIZE], again[KSM_RATE_LIMIT_STATE_SIZE];

void before_each(void) {
    memset(&limit, 0x5a, sizeof(limit));
    memset(&restored, 0x5a, sizeof(restored));
    ksm_rate_limit_init(&limit, PLACES);
    ksm_rate_limit_init(&restored, PLACES);
}

static bool admit(struct ksm_rate_limit *to, enum ksm_consumer_kind kind, const char *name) {
    struct ksm_consumer_name full = {.kind = kind};

    snprintf(full.text, sizeof(full.text), "%s", name);
    return ksm_rate_limit_admit(to, &full);
}

static int admit_new(struct ksm_rate_limit *to, enum ksm_consumer_kind kind, const char *prefix,
                     int count) {
    static int number;
    int admitted = 0;

    for (int i = 0; i < count; i++) {
        char name[KSM_CONSUMER_NAME_SIZE];
        snprintf(name, sizeof(name), "%s%d", prefix, number++);
        admitted += admit(to, kind, name);
    }
    return admitted;
}

static int restore(const char *from, size_t len, int64_t now_s) {
    return ksm_rate_limit_restore(&restored, suite_guarded(from, len), len, now_s, &was_limited);
}

static void save_and_restore(int64_t elapsed_s) {
    const size_t len = ksm_rate_limit_save(&limit, NOW_S, text);
    int status = restore(text, len, NOW_S + elapsed_s);

    ck_assert_msg(status == 0, "got %s of %s", suite_status(status), suite_quote(text, len));
}

TEST(known_names_and_tokens_are_restored) {
    ck_assert(admit(&limit, KSM_CONSUMER_vm, "web") && admit(&limit, KSM_CONSUMER_program, "web"));
    ck_assert(admit(&limit, KSM_CONSUMER_container,
                    "user-1000:gr\xc3\xb6\xc3\x9f"
                    "er~0123abcd"));
    admit_new(&limit, KSM_CONSUMER_service, "s", 200);
    admit_new(&limit, KSM_CONSUMER_program, "p", 200);
    save_and_restore(0);
    ck_assert(ksm_rate_limit_is_limited(&restored));
    ck_assert_int_eq(admit_new(&restored, KSM_CONSUMER_vm, "v", 10), 0);
    ck_assert_int_eq(admit_new(&restored, KSM_CONSUMER_program, "q", 10), 0);
    ck_assert(admit(&restored, KSM_CONSUMER_vm, "web"));
    ck_assert(admit(&restored, KSM_CONSUMER_program, "web"));
    ck_assert(admit(&restored, KSM_CONSUMER_container,
                    "user-1000:gr\xc3\xb6\xc3\x9f"
                    "er~0123abcd"));
    ck_assert(!admit(&restored, KSM_CONSUMER_container, "web"));
}

/* Runs of 15 seconds for a day, with 25 new names of a user in each. */
TEST(many_runs_share_the_tokens_of_one) {
    int admitted = 0, runs = 24 * 60 * 4;

    for (int run = 0; run < runs; run++) {
        admitted += admit_new(&limit, KSM_CONSUMER_program, "p", 25);
        const size_t len = ksm_rate_limit_save(&limit, NOW_S + run * 15, text);
        ksm_rate_limit_init(&limit, PLACES);
        ck_assert_int_eq(
            ksm_rate_limit_restore(&limit, text, len, NOW_S + (run + 1) * 15, &was_limited), 0);
    }
    ck_assert_int_eq(admitted, BURST + 23);
}

/* The time since the last run, and how many new machines are admitted. */
static const struct {
    int64_t elapsed_s;
    int admitted;
} elapsed_rows[] = {
    {0, 0},
    {359, 0},
    {360, 1},
    {3600, 10},
    {-3600, 0}, /* the clock went back */
    {-NOW_S, 0},
    {10 * 365 * 86400, BURST},
    {INT64_MAX - NOW_S, BURST},
    {INT64_MIN + NOW_S, 0},
};

TEST_ROWS(tokens_are_earned_between_runs, elapsed_rows) {
    admit_new(&limit, KSM_CONSUMER_vm, "v", BURST);
    save_and_restore(row->elapsed_s);
    ck_assert_int_eq(admit_new(&restored, KSM_CONSUMER_vm, "w", 200), row->admitted);
}

TEST(limit_ends_between_runs) {
    admit_new(&limit, KSM_CONSUMER_program, "p", BURST + 1);
    ksm_rate_limit_elapse(&limit, hour / 2);
    save_and_restore(1799);
    ck_assert(was_limited && ksm_rate_limit_is_limited(&restored));
    save_and_restore(1800);
    ck_assert(was_limited && !ksm_rate_limit_is_limited(&restored));
}

TEST(fewer_places_than_before) {
    ksm_rate_limit_init(&restored, 3);
    save_and_restore(0);
    ck_assert_int_eq(admit_new(&restored, KSM_CONSUMER_vm, "v", 200), 3 + KSM_RATE_LIMIT_BURST);
}

TEST(largest_state_fits) {
    char prefix[KSM_CONSUMER_NAME_SIZE - 6];

    memset(prefix, 'n', sizeof(prefix));
    prefix[sizeof(prefix) - 1] = '\0';
    for (int i = 0; i < 2 * KSM_RATE_LIMIT_KNOWN_MAX; i++) {
        ksm_rate_limit_elapse(&limit, hour);
        admit_new(&limit, KSM_CONSUMER_container, prefix, 1);
        memcpy(prefix, "user-:", 6);
        admit_new(&limit, KSM_CONSUMER_container, prefix, 1);
        memset(prefix, 'n', 6);
    }
    const size_t len = ksm_rate_limit_save(&limit, INT64_MAX, text);
    ck_assert_uint_lt(len, sizeof(text) - 1);
    ck_assert_int_eq(restore(text, len, INT64_MAX), 0);
    ck_assert_uint_eq(ksm_rate_limit_save(&restored, INT64_MAX, again), len);
    ck_assert_mem_eq(text, again, len);
}

#define HEAD "ksm-rate-limit 1\n"
#define TIME "time 1764517239\n"
#define TOKENS "host 0 0 0\nuser 0 1 3600000\n"
#define GOOD HEAD TIME TOKENS "vm web\nprogram p\nend\n"
#define LONG_NAME                                                                                  \
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"                                         \
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const struct {
    const char *text;
    size_t len;
} refused_rows[] = {
    {TEXT("")},
    {TEXT("\n")},
    {TEXT("\0")},
    {TEXT("garbage")},
    {TEXT(HEAD)},
    {TEXT(HEAD TIME)},
    {TEXT(HEAD TIME TOKENS)},
    {TEXT(HEAD TIME TOKENS "end")},
    {TEXT(HEAD TIME TOKENS "end\n\n")},
    {TEXT(HEAD TIME TOKENS "end\nend\n")},
    {TEXT(HEAD TIME TOKENS "end\n\0")},
    {TEXT(HEAD TIME TOKENS "vm web\n")},
    {TEXT(" " GOOD)},
    {TEXT("ksm-rate-limit 2\n" TIME TOKENS "end\n")},
    {TEXT(HEAD "time -1\n" TOKENS "end\n")},
    {TEXT(HEAD "time 05\n" TOKENS "end\n")},
    {TEXT(HEAD "time 9223372036854775808\n" TOKENS "end\n")},
    {TEXT(HEAD "time\n" TOKENS "end\n")},
    {TEXT(HEAD "time 1 2\n" TOKENS "end\n")},
    {TEXT(HEAD "Time 1\n" TOKENS "end\n")},
    {TEXT(HEAD TOKENS "end\n")},
    {TEXT(HEAD TIME "user 0 0 0\nhost 0 0 0\nend\n")},
    {TEXT(HEAD TIME "host 0 0 0\nend\n")},
    {TEXT(HEAD TIME "host -1 0 0\nuser 0 0 0\nend\n")},
    {TEXT(HEAD TIME "host 0 2 0\nuser 0 0 0\nend\n")},
    {TEXT(HEAD TIME "host 0 0 3600001\nuser 0 0 0\nend\n")},
    {TEXT(HEAD TIME "host 0 0 -1\nuser 0 0 0\nend\n")},
    {TEXT(HEAD TIME "host 0 0\nuser 0 0 0\nend\n")},
    {TEXT(HEAD TIME "host 0 0 0 0\nuser 0 0 0\nend\n")},
    {TEXT(HEAD TIME TOKENS "machine web\nend\n")},
    {TEXT(HEAD TIME TOKENS "vm\nend\n")},
    {TEXT(HEAD TIME TOKENS "vm \nend\n")},
    {TEXT(HEAD TIME TOKENS "vm  web\nend\n")},
    {TEXT(HEAD TIME TOKENS "vm two words\nend\n")},
    {TEXT(HEAD TIME TOKENS "vm tab\tx\nend\n")},
    {TEXT(HEAD TIME TOKENS "vm nul\0x\nend\n")},
    {TEXT(HEAD TIME TOKENS "vm del\177\nend\n")},
    {TEXT(HEAD TIME TOKENS "vm carriage\r\nend\n")},
    {TEXT(HEAD TIME TOKENS "vm " LONG_NAME "a\nend\n")},
    {TEXT(HEAD TIME TOKENS "program p\nvm web\nend\n")}, /* host's names come first */
    {TEXT(HEAD TIME TOKENS "service user-1:s\nservice s\nend\n")},
};

static void expect_refused(const char *from, size_t len) {
    int status = restore(from, len, NOW_S);

    ck_assert_msg(status == -EINVAL, "%s: got %s, want -EINVAL", suite_quote(from, len),
                  suite_status(status));
    ck_assert(!ksm_rate_limit_is_limited(&restored));
    ck_assert_int_eq(admit_new(&restored, KSM_CONSUMER_vm, "v", 1), 0);
    ck_assert_int_eq(admit_new(&restored, KSM_CONSUMER_program, "p", 1), 0);
    ck_assert_msg(!admit(&restored, KSM_CONSUMER_vm, "web"), "a name of a damaged state is known");
}

TEST_ROWS(damaged_state_is_refused, refused_rows) {
    expect_refused(row->text, row->len);
}

TEST(state_cut_or_changed_anywhere_is_refused) {
    static const char good[] = GOOD;

    ck_assert_int_eq(restore(TEXT(GOOD), NOW_S), 0);
    for (size_t len = 0; len < sizeof(good) - 1; len++) {
        before_each();
        expect_refused(good, len);
    }
    for (size_t pos = 0; pos < sizeof(good) - 1; pos++) {
        char changed[sizeof(good)];
        memcpy(changed, good, sizeof(good));
        changed[pos] = '\0';
        before_each();
        expect_refused(changed, sizeof(good) - 1);
    }
}

TEST(names_up_to_the_longest_and_as_many_as_fit) {
    ck_assert_int_eq(restore(TEXT(HEAD TIME TOKENS "vm " LONG_NAME "\nend\n"), NOW_S), 0);
    ck_assert(admit(&restored, KSM_CONSUMER_vm, LONG_NAME));
    for (int more = 0; more < 2; more++) {
        size_t len = (size_t)sprintf(text, HEAD TIME TOKENS);
        for (int i = 0; i < KSM_RATE_LIMIT_KNOWN_MAX + more; i++)
            len += (size_t)sprintf(text + len, "vm v%d\n", i);
        len += (size_t)sprintf(text + len, "end\n");
        before_each();
        ck_assert_int_eq(restore(text, len, NOW_S), more ? -EINVAL : 0);
    }
}
