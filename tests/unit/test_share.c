/* SPDX-License-Identifier: MIT
 *
 * The division of the host's saving.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "share.h"
#include "support/crowd.h"
#include "support/suite.h"

enum { MOST = 40 };

struct claim {
    int64_t merging, zero;
    int64_t merged, saved; /* wanted */
};

/* ---- by hand ---- */

/* The quotient before it is rounded down stands beside each row. claims end where all is 0 and
 * nothing is wanted, unless count says how many there are. */
static const struct {
    const char *name;
    int64_t shared, sharing, zero;
    int count;
    struct claim claims[5];
    int64_t excess;
} rows[] = {
    {"nobody and nothing", 0, 0, 0, 0, {{0, 0, 0, 0}}, 0},
    {"nobody, though the host saves", 10, 20, 30, 0, {{0, 0, 0, 0}}, 0},
    {"one has all: 20 * 30 / 30", 10, 20, 0, 1, {{30, 0, 20, 20}}, 0},
    {"one has all, of which one page is the first mapping: 1 * 2 / 2",
     1,
     1,
     0,
     1,
     {{2, 0, 1, 1}},
     0},
    {"one has half, the rest is of the dead: 20 * 15 / 30", 10, 20, 0, 1, {{15, 0, 10, 10}}, 0},
    {"watched but not merged", 10, 20, 0, 2, {{30, 0, 20, 20}, {0, 0, 0, 0}}, 0},
    {"four equal processes, 4096 pages each in fours: 12288 * 4096 / 16384",
     4096,
     12288,
     0,
     4,
     {{4096, 0, 3072, 3072}, {4096, 0, 3072, 3072}, {4096, 0, 3072, 3072}, {4096, 0, 3072, 3072}},
     0},
    {"two with 1000 pages in pairs and one with 1000 identical ones, 256 to a page: "
     "(1000 + 996) * 1000 / 3000 = 665.33",
     1004,
     1996,
     0,
     3,
     {{1000, 0, 665, 665}, {1000, 0, 665, 665}, {1000, 0, 665, 665}},
     0},
    {"rounded down: 5 * 3 / 10 = 1.5, 5 * 7 / 10 = 3.5",
     5,
     5,
     0,
     2,
     {{3, 0, 1, 1}, {7, 0, 3, 3}},
     0},
    {"rounded down to nothing: 1 * 1 / 3",
     2,
     1,
     0,
     3,
     {{1, 0, 0, 0}, {1, 0, 0, 0}, {1, 0, 0, 0}},
     0},
    {"zero pages are whose they are", 0, 0, 100, 2, {{0, 60, 0, 60}, {0, 40, 0, 40}}, 0},
    {"zero pages of the dead", 0, 0, 100, 1, {{0, 60, 0, 60}}, 0},
    {"both: 20 * 15 / 30 and 7", 10, 20, 9, 2, {{15, 7, 10, 17}, {15, 2, 10, 12}}, 0},
    {"a child with its parent's count: 900 * 1000 / 2000",
     100,
     900,
     0,
     2,
     {{1000, 0, 450, 450}, {1000, 0, 450, 450}},
     1000},
    {"three of them with 1: 900 * 1000 / 3001 = 299.9",
     100,
     900,
     0,
     4,
     {{1000, 0, 299, 299}, {1000, 0, 299, 299}, {1000, 0, 299, 299}, {1, 0, 0, 0}},
     2001},
    {"too many zero pages: 100 * 150 / 200, 100 * 50 / 200",
     0,
     0,
     100,
     2,
     {{0, 150, 0, 75}, {0, 50, 0, 25}},
     1000},
    {"zero pages in excess do not scale merged ones: 20 * 30 / 30, 10 * 20 / 20",
     10,
     20,
     10,
     1,
     {{30, 20, 20, 30}},
     1000},
    {"merged ones in excess do not scale zero pages: 20 * 60 / 60, 10",
     10,
     20,
     10,
     1,
     {{60, 10, 20, 30}},
     1000},
    {"1 % too much is 10 thousandths: 1000 * 1515 / 1515",
     500,
     1000,
     0,
     1,
     {{1515, 0, 1000, 1000}},
     10},
    {"1.09 % too much, rounded down: 10000 * 10109 / 10109",
     0,
     10000,
     0,
     1,
     {{10109, 0, 10000, 10000}},
     10},
    {"0.09 % too much: 10000 * 10009 / 10009", 0, 10000, 0, 1, {{10009, 0, 10000, 10000}}, 0},
    {"the host has nothing, but claims are made", 0, 0, 0, 2, {{5, 0, 0, 0}, {0, 3, 0, 0}}, 5000},
    {"nothing is saved, all is shared: 0 * 7 / 7", 7, 0, 0, 1, {{7, 0, 0, 0}}, 0},
    {"the largest numbers: M * M / 2M = (M - 1) / 2, rounded down",
     INT64_MAX,
     INT64_MAX,
     0,
     2,
     {{INT64_MAX, 0, INT64_MAX / 2, INT64_MAX / 2}, {INT64_MAX, 0, INT64_MAX / 2, INT64_MAX / 2}},
     0},
    {"the largest numbers in excess: M * M / 4M",
     INT64_MAX,
     INT64_MAX,
     0,
     4,
     {{INT64_MAX, 0, INT64_MAX / 4, INT64_MAX / 4},
      {INT64_MAX, 0, INT64_MAX / 4, INT64_MAX / 4},
      {INT64_MAX, 0, INT64_MAX / 4, INT64_MAX / 4},
      {INT64_MAX, 0, INT64_MAX / 4, INT64_MAX / 4}},
     1000},
    {"the largest number of zero pages",
     0,
     0,
     INT64_MAX,
     2,
     {{0, INT64_MAX, 0, INT64_MAX / 2}, {0, INT64_MAX, 0, INT64_MAX / 2}},
     1000},
    {"the largest claims on one page: 1 * M / 3M",
     0,
     1,
     0,
     3,
     {{INT64_MAX, 0, 0, 0}, {INT64_MAX, 0, 0, 0}, {INT64_MAX, 0, 0, 0}},
     INT64_MAX},
    {"one page of the largest claims' host: M * 1 / 2M = 0.5",
     INT64_MAX,
     INT64_MAX,
     0,
     1,
     {{1, 0, 0, 0}},
     0},
};

START_TEST(by_hand) {
    struct ksm_division d = {
        .shared = rows[_i].shared, .sharing = rows[_i].sharing, .zero = rows[_i].zero};

    for (int i = 0; i < rows[_i].count; i++)
        ksm_share_claim(&d, rows[_i].claims[i].merging, rows[_i].claims[i].zero);
    for (int i = 0; i < rows[_i].count; i++) {
        const struct claim *claim = &rows[_i].claims[i];
        struct ksm_share got = ksm_share_of(&d, claim->merging, claim->zero);
        ck_assert_msg(got.merged == claim->merged && got.saved == claim->saved,
                      "%s: consumer %d: got %" PRId64 " merged, %" PRId64 " saved, want %" PRId64
                      ", %" PRId64,
                      rows[_i].name, i, got.merged, got.saved, claim->merged, claim->saved);
    }
    int64_t excess = ksm_share_excess(&d);
    ck_assert_msg(excess == rows[_i].excess, "%s: got an excess of %" PRId64 ", want %" PRId64,
                  rows[_i].name, excess, rows[_i].excess);
}
END_TEST

/* ---- by chance ---- */

struct population {
    struct ksm_division d;
    ksm_wide merging, zero; /* all claims */
    int count;
    struct claim claims[MOST];
};

/* 0 … 2^bits - 1, small ones as often as large ones. */
static int64_t some(int bits) {
    uint64_t random = suite_random();
    int shift = 64 - (int)(random % (unsigned)(bits + 1));

    return shift == 64 ? 0 : (int64_t)(suite_random() >> shift);
}

static int64_t add_up_to(int64_t sum, int64_t more) {
    return more > INT64_MAX - sum ? INT64_MAX : sum + more;
}

/* Claims that agree with the host (of whom some are dead), that are too large, or that have
 * nothing to do with it; numbers of every size. */
static void populate(struct population *p) {
    int bits = 1 + (int)(suite_random() % 62);
    int manner = (int)(suite_random() % 3);
    int64_t merging = 0;
    int64_t zero = 0;

    memset(p, 0, sizeof(*p));
    p->count = (int)(suite_random() % MOST);
    for (int i = 0; i < p->count; i++) {
        p->claims[i].merging = some(bits);
        p->claims[i].zero = suite_random() % 2 ? some(bits) : 0;
        if (i > 0 && suite_random() % 8 == 0)
            p->claims[i] = p->claims[i - 1];
        merging = add_up_to(merging, p->claims[i].merging);
        zero = add_up_to(zero, p->claims[i].zero);
        p->merging = p->merging + (uint64_t)p->claims[i].merging;
        p->zero = p->zero + (uint64_t)p->claims[i].zero;
        ksm_share_claim(&p->d, p->claims[i].merging, p->claims[i].zero);
    }
    int64_t mapped = manner == 0   ? add_up_to(merging, some(bits))
                     : manner == 1 ? merging - some(bits) % (merging / 8 + 1)
                                   : some(62);
    p->d.sharing = (int64_t)(suite_random() % ((uint64_t)mapped + 1));
    p->d.shared = mapped - p->d.sharing;
    p->d.zero = manner == 0   ? add_up_to(zero, some(bits))
                : manner == 1 ? zero - some(bits) % (zero / 8 + 1)
                              : some(62);
    if (p->d.zero > INT64_MAX - p->d.sharing)
        p->d.zero = INT64_MAX - p->d.sharing;
}

static ksm_wide larger(ksm_wide a, ksm_wide b) {
    return a > b ? a : b;
}

/* Whether quotient is a * b / whole, rounded down: by multiplying, not by dividing. */
static bool is_quotient(int64_t quotient, int64_t a, int64_t b, ksm_wide whole) {
    ksm_wide product = (ksm_wide)a * (ksm_wide)b;

    if (whole == 0)
        return quotient == 0;
    return quotient >= 0 && (ksm_wide)quotient * whole <= product &&
           product < ((ksm_wide)quotient + 1) * whole;
}

static void check_share(const struct population *p, int i, const struct ksm_share *got, int round) {
    const struct claim *claim = &p->claims[i];
    ksm_wide mapped = (ksm_wide)p->d.shared + (ksm_wide)p->d.sharing;
    must(is_quotient(got->merged, p->d.sharing, claim->merging, larger(mapped, p->merging)),
         "seed %" PRIu64 ", round %d: consumer %d: %" PRId64 " merged is not sharing %" PRId64
         " * %" PRId64 " / the larger of mapped and claimed",
         suite_seed(), round, i, got->merged, p->d.sharing, claim->merging);
    must(is_quotient(got->saved - got->merged, p->d.zero, claim->zero,
                     larger((ksm_wide)p->d.zero, p->zero)),
         "seed %" PRIu64 ", round %d: consumer %d: %" PRId64 " is not its share of zero "
         "pages, %" PRId64 " of %" PRId64,
         suite_seed(), round, i, got->saved - got->merged, claim->zero, p->d.zero);
    if (p->zero <= (ksm_wide)p->d.zero)
        must(got->saved - got->merged == claim->zero,
             "seed %" PRIu64 ", round %d: consumer %d: got %" PRId64
             " zero pages, want its own %" PRId64,
             suite_seed(), round, i, got->saved - got->merged, claim->zero);
}

/* Who has more merged pages has no smaller share, who has as many has the same. */
static void check_order(const struct population *p, const struct ksm_share *shares, int round) {
    for (int a = 0; a < p->count; a++)
        for (int b = 0; b < p->count; b++)
            if (p->claims[a].merging <= p->claims[b].merging)
                must(shares[a].merged <= shares[b].merged,
                     "seed %" PRIu64 ", round %d: %" PRId64 " pages have a share of %" PRId64
                     ", but %" PRId64 " pages of %" PRId64,
                     suite_seed(), round, p->claims[a].merging, shares[a].merged,
                     p->claims[b].merging, shares[b].merged);
}

/* Not below (sum - limit) * 1000 / limit, rounded down; exactly that if exact is set. A host that
 * has nothing counts as one page. */
static bool is_excess(int64_t excess, ksm_wide sum, ksm_wide limit, bool exact) {
    if (sum <= limit)
        return excess == 0 || !exact;
    ksm_wide thousand_times = (sum - limit) * 1000;
    limit = larger(limit, 1);
    if (exact && (ksm_wide)excess * limit > thousand_times)
        return false;
    return excess == INT64_MAX || thousand_times < ((ksm_wide)excess + 1) * limit;
}

/* The larger of two. */
static void check_excess(const struct population *p, int round) {
    int64_t got = ksm_share_excess(&p->d);
    ksm_wide mapped = (ksm_wide)p->d.shared + (ksm_wide)p->d.sharing;
    ksm_wide zero = (ksm_wide)p->d.zero;

    must(is_excess(got, p->merging, mapped, false) && is_excess(got, p->zero, zero, false) &&
             (is_excess(got, p->merging, mapped, true) || is_excess(got, p->zero, zero, true)),
         "seed %" PRIu64 ", round %d: %" PRId64 " is not the excess of either", suite_seed(), round,
         got);
}

START_TEST(by_chance) {
    enum { ROUNDS = 20000 };

    for (int round = 0; round < ROUNDS; round++) {
        struct population p;
        struct ksm_share shares[MOST];
        ksm_wide sum = 0;
        populate(&p);
        for (int i = 0; i < p.count; i++) {
            shares[i] = ksm_share_of(&p.d, p.claims[i].merging, p.claims[i].zero);
            must(shares[i].merged >= 0 && shares[i].saved >= shares[i].merged,
                 "seed %" PRIu64 ", round %d: consumer %d: %" PRId64 " merged, %" PRId64 " saved",
                 suite_seed(), round, i, shares[i].merged, shares[i].saved);
            sum = sum + (uint64_t)shares[i].saved;
            check_share(&p, i, &shares[i], round);
        }
        ksm_wide host = (ksm_wide)p.d.sharing + (ksm_wide)p.d.zero;
        must(sum <= host,
             "seed %" PRIu64 ", round %d: the shares of %d consumers add up to %" PRIu64
             " too many pages",
             suite_seed(), round, p.count, (uint64_t)(sum - host));
        check_order(&p, shares, round);
        check_excess(&p, round);
    }
}
END_TEST

/* Where all claims are there and none is too large, less than a page each is lost by rounding. */
START_TEST(nothing_is_lost) {
    enum { ROUNDS = 5000 };

    for (int round = 0; round < ROUNDS; round++) {
        struct population p;
        int64_t sum = 0;
        memset(&p, 0, sizeof(p));
        p.count = 1 + (int)(suite_random() % (MOST - 1));
        for (int i = 0; i < p.count; i++) {
            p.claims[i].merging = some(50);
            p.claims[i].zero = some(50);
            p.d.shared += p.claims[i].merging;
            p.d.zero += p.claims[i].zero;
            ksm_share_claim(&p.d, p.claims[i].merging, p.claims[i].zero);
        }
        p.d.sharing = p.d.shared - p.d.shared / 3;
        p.d.shared -= p.d.sharing;
        for (int i = 0; i < p.count; i++)
            sum += ksm_share_of(&p.d, p.claims[i].merging, p.claims[i].zero).saved;
        int64_t lost = p.d.sharing + p.d.zero - sum;
        must(lost >= 0 && lost < p.count,
             "seed %" PRIu64 ", round %d: got %" PRId64 " pages lost, want fewer than %d",
             suite_seed(), round, lost, p.count);
        must(ksm_share_excess(&p.d) == 0, "seed %" PRIu64 ", round %d: got an excess", suite_seed(),
             round);
    }
}
END_TEST

/* A consumer's share is the same whether its processes are counted one by one or together, and in
 * whatever order. */
START_TEST(order_of_claims) {
    enum { ROUNDS = 2000 };

    for (int round = 0; round < ROUNDS; round++) {
        struct population p;
        populate(&p);
        struct ksm_division backwards = {
            .shared = p.d.shared, .sharing = p.d.sharing, .zero = p.d.zero};
        for (int i = p.count - 1; i >= 0; i--)
            ksm_share_claim(&backwards, p.claims[i].merging, p.claims[i].zero);
        must(backwards.merging_claimed == p.d.merging_claimed &&
                 backwards.zero_claimed == p.d.zero_claimed,
             "seed %" PRIu64 ", round %d: the sums differ", suite_seed(), round);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("share");
    TCase *hand = suite_case(suite, "by hand");
    TCase *chance = suite_case(suite, "by chance");

    printf("test_share: KSM_TEST_SEED=%" PRIu64 "\n", suite_seed());
    fflush(stdout);
    tcase_add_loop_test(hand, by_hand, 0, ROWS(rows));
    tcase_add_test(chance, by_chance);
    tcase_add_test(chance, nothing_is_lost);
    tcase_add_test(chance, order_of_claims);
    return suite_run(suite);
}
