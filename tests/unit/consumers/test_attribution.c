/* SPDX-License-Identifier: MIT
 *
 * Attribution of the host's savings.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "consumers/attribution.h"
#include "support/suite.h"

struct row {
    int64_t merging, zero;
    int64_t merged, saved; /* wanted */
};

/* ---- by hand ---- */

/* The host: shared, sharing, zero, and the overcount that is wanted. Each consumer: merging, zero,
 * and the merged and saved that are wanted. Comments have the quotients before rounding. */
#define M "9223372036854775807"
#define HALF "4611686018427387903"
static const char *const rows[] = {
    "10 20 30 0:",                        /* no consumer */
    "10 20 0 0: 30 0 20 20",              /* one has all: 20 * 30 / 30 */
    "10 20 0 0: 15 0 10 10",              /* half, the rest has exited: 20 * 15 / 30 */
    "10 20 0 0: 30 0 20 20, 0 0 0 0",     /* tracked but not merged */
    "5 5 0 0: 3 0 1 1, 7 0 3 3",          /* 5 * 3 / 10 = 1.5, 5 * 7 / 10 = 3.5 */
    "2 1 0 0: 1 0 0 0, 1 0 0 0, 1 0 0 0", /* to nothing: 1 * 1 / 3 */
    "0 0 100 0: 0 60 0 60, 0 40 0 40",    /* zero pages are exact */
    "0 0 100 0: 0 60 0 60",               /* the rest has exited */
    "10 20 9 0: 15 7 10 17, 15 2 10 12",  /* both: 20 * 15 / 30 and 7 */
    "100 900 0 2001: 1000 0 299 299, 1000 0 299 299, 1000 0 299 299, 1 0 0 0", /* … / 3001 */
    "0 0 100 1000: 0 150 0 75, 0 50 0 25", /* 100 * 150 / 200, 100 * 50 / 200 */
    "10 20 10 1000: 30 20 20 30",        /* an overcount of zero pages does not scale merged ones */
    "10 20 10 1000: 60 10 20 30",        /* nor the reverse */
    "0 10000 0 10: 10109 0 10000 10000", /* 1.09 % are 10 thousandths */
    "0 10000 0 0: 10009 0 10000 10000",  /* 0.09 % none */
    "0 0 0 5000: 5 0 0 0, 0 3 0 0",      /* the host has no pages, but consumers count some */
    "7 0 0 0: 7 0 0 0",                  /* nothing is saved, all is shared */
    M " " M " 0 0: " M " 0 " HALF " " HALF ", " M " 0 " HALF " " HALF,
    "0 0 " M " 1000: 0 " M " 0 " HALF ", 0 " M " 0 " HALF,
    "0 1 0 " M ": " M " 0 0 0, " M " 0 0 0, " M " 0 0 0",
    M " " M " 0 0: 1 0 0 0", /* M * 1 / 2M = 0.5 */
};

/* Adds the counts of a row, or checks the shares. */
static void read_row(const char *row, struct ksm_attribution *d, bool check) {
    struct row consumer;

    for (const char *at = strchr(row, ':'); at && at[1]; at = strchr(at + 1, ',')) {
        ck_assert_int_eq(sscanf(at + 1, "%" SCNd64 "%" SCNd64 "%" SCNd64 "%" SCNd64,
                                &consumer.merging, &consumer.zero, &consumer.merged,
                                &consumer.saved),
                         4);
        if (!check) {
            ksm_attribution_add(d, &(struct ksm_counts){consumer.merging, consumer.zero, 0});
            continue;
        }
        struct ksm_share got =
            ksm_attribution_share(d, &(struct ksm_counts){consumer.merging, consumer.zero, 0});
        ck_assert_msg(got.merged == consumer.merged && got.saved == consumer.saved,
                      "%s: \"%s\": got %" PRId64 " merged, %" PRId64 " saved", row, at, got.merged,
                      got.saved);
    }
}

TEST_ROWS(shares_by_hand, rows) {
    struct ksm_attribution d = {.shared = 0};
    int64_t overcount = 0;

    ck_assert_int_eq(sscanf(*row, "%" SCNd64 "%" SCNd64 "%" SCNd64 "%" SCNd64, &d.shared,
                            &d.sharing, &d.zero, &overcount),
                     4);
    read_row(*row, &d, false);
    read_row(*row, &d, true);
    ck_assert_msg(ksm_attribution_overcount(&d) == overcount, "%s: got an overcount of %" PRId64,
                  *row, ksm_attribution_overcount(&d));
}

/* Before Linux 6.18 a forked child starts with its parent's counts. The host: shared, sharing,
 * zero, tracked; two processes with these counts each; and the scaled counts of one. */
static const struct {
    const char *what;
    struct ksm_attribution host;
    struct ksm_counts counts;
    struct ksm_counts scaled;
} forks[] = {
    {"a fork", {900, 100, 50, 1200, 0, 0, 0}, {1000, 50, 1200}, {500, 25, 600}},
    {"merged pages alone", {900, 100, 50, 1200, 0, 0, 0}, {1000, 25, 600}, {500, 25, 600}},
    {"zero pages alone", {900, 100, 50, 1200, 0, 0, 0}, {500, 50, 600}, {500, 25, 600}},
    {"tracked pages alone", {900, 100, 50, 1200, 0, 0, 0}, {500, 25, 1200}, {500, 25, 600}},
    {"tracked pages not known",
     {1, 1, 0, INT64_MAX, 0, 0, 0},
     {1, 0, INT64_MAX / 2},
     {1, 0, INT64_MAX / 2}},
    {"as many as there are", {900, 100, 50, 1200, 0, 0, 0}, {500, 25, 600}, {500, 25, 600}},
    {"fewer", {900, 100, 50, 1200, 0, 0, 0}, {3, 2, 1}, {3, 2, 1}},
    {"rounded down", {2, 1, 3, 3, 0, 0, 0}, {3, 3, 3}, {1, 1, 1}},
    {"the host has none", {0, 0, 0, 0, 0, 0, 0}, {5, 5, 5}, {0, 0, 0}},
    {"largest",
     {INT64_MAX, INT64_MAX, 0, 1, 0, 0, 0},
     {INT64_MAX, 0, INT64_MAX},
     {INT64_MAX, 0, 0}},
};

TEST_ROWS(counts_of_forks_are_scaled_down, forks) {
    struct ksm_attribution a = row->host;

    ksm_attribution_add(&a, &row->counts);
    ksm_attribution_add(&a, &row->counts);
    struct ksm_counts got = ksm_attribution_share(&a, &row->counts).counts;
    ck_assert_msg(memcmp(&got, &row->scaled, sizeof(got)) == 0,
                  "%s: got %" PRId64 " merging, %" PRId64 " zero, %" PRId64 " tracked", row->what,
                  got.merging, got.zero, got.rmap_items);
}

/* ---- random counts ---- */

/* 0 … 2^62 - 1. Small numbers are as frequent as large ones. */
static int64_t random_number(void) {
    int bits = (int)(suite_random() % 63);

    return bits == 0 ? 0 : (int64_t)(suite_random() >> (64 - bits));
}

/* Returns whether quotient is a * b / whole, rounded down, by multiplication. */
static bool is_quotient(int64_t quotient, int64_t a, int64_t b, ksm_wide whole) {
    ksm_wide product = (ksm_wide)a * (ksm_wide)b;

    if (whole == 0)
        return quotient == 0;
    return quotient >= 0 && (ksm_wide)quotient * whole <= product &&
           product < ((ksm_wide)quotient + 1) * whole;
}

static ksm_wide larger(ksm_wide a, ksm_wide b) {
    return a > b ? a : b;
}

/* Some consumers are equal, and the host may have fewer pages or more. */
TEST(random_shares_are_rounded_down_and_fit) {
    for (int round = 0; round < 20000; round++) {
        struct ksm_attribution d = {
            .shared = random_number(), .sharing = random_number(), .zero = random_number()};
        struct row consumers[5];
        ksm_wide merging = 0, zero = 0, sum = 0;
        int count = (int)(suite_random() % 6);
        for (int i = 0; i < count; i++) {
            consumers[i] = (struct row){random_number(), random_number(), 0, 0};
            if (i > 0 && suite_random() % 4 == 0)
                consumers[i] = consumers[i - 1];
            merging = merging + (uint64_t)consumers[i].merging;
            zero = zero + (uint64_t)consumers[i].zero;
            ksm_attribution_add(&d,
                                &(struct ksm_counts){consumers[i].merging, consumers[i].zero, 0});
        }
        for (int i = 0; i < count; i++) {
            struct ksm_share got = ksm_attribution_share(
                &d, &(struct ksm_counts){consumers[i].merging, consumers[i].zero, 0});
            ksm_wide mapped = (ksm_wide)d.shared + (ksm_wide)d.sharing;
            must(
                is_quotient(got.merged, d.sharing, consumers[i].merging, larger(mapped, merging)) &&
                    is_quotient(got.saved - got.merged, d.zero, consumers[i].zero,
                                larger((ksm_wide)d.zero, zero)),
                "round %d: consumer %d: %" PRId64 " merged, %" PRId64 " saved", round, i,
                got.merged, got.saved);
            sum = sum + (uint64_t)got.saved;
        }
        must(sum <= (ksm_wide)d.sharing + (ksm_wide)d.zero,
             "round %d: the shares of %d consumers add up to too much", round, count);
    }
}
