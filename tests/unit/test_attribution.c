/* SPDX-License-Identifier: MIT
 *
 * The division of the host's saving.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "attribution.h"
#include "support/suite.h"

enum { MOST = 40 };

struct claim {
    int64_t merging, zero;
    int64_t merged, saved; /* wanted */
};

/* ---- by hand ---- */

/* Host: shared, sharing, zero, then the excess that is wanted; claims: merging, zero, then the
 * merged and saved that are wanted. The quotient before it is rounded down stands beside it. */
#define M "9223372036854775807"
#define HALF "4611686018427387903"
static const char *const rows[] = {
    "10 20 30 0:",                        /* nobody, though the host saves */
    "10 20 0 0: 30 0 20 20",              /* one has all: 20 * 30 / 30 */
    "10 20 0 0: 15 0 10 10",              /* half, the rest is of the dead: 20 * 15 / 30 */
    "10 20 0 0: 30 0 20 20, 0 0 0 0",     /* watched but not merged */
    "5 5 0 0: 3 0 1 1, 7 0 3 3",          /* 5 * 3 / 10 = 1.5, 5 * 7 / 10 = 3.5 */
    "2 1 0 0: 1 0 0 0, 1 0 0 0, 1 0 0 0", /* to nothing: 1 * 1 / 3 */
    "0 0 100 0: 0 60 0 60, 0 40 0 40",    /* zero pages are whose they are */
    "0 0 100 0: 0 60 0 60",               /* or of the dead */
    "10 20 9 0: 15 7 10 17, 15 2 10 12",  /* both: 20 * 15 / 30 and 7 */
    "100 900 0 2001: 1000 0 299 299, 1000 0 299 299, 1000 0 299 299, 1 0 0 0", /* … / 3001 */
    "0 0 100 1000: 0 150 0 75, 0 50 0 25", /* 100 * 150 / 200, 100 * 50 / 200 */
    "10 20 10 1000: 30 20 20 30",          /* zero pages in excess do not scale merged ones */
    "10 20 10 1000: 60 10 20 30",          /* nor the other way round */
    "0 10000 0 10: 10109 0 10000 10000",   /* 1.09 % are 10 thousandths */
    "0 10000 0 0: 10009 0 10000 10000",    /* 0.09 % none */
    "0 0 0 5000: 5 0 0 0, 0 3 0 0",        /* the host has nothing, but claims are made */
    "7 0 0 0: 7 0 0 0",                    /* nothing is saved, all is shared */
    M " " M " 0 0: " M " 0 " HALF " " HALF ", " M " 0 " HALF " " HALF,
    "0 0 " M " 1000: 0 " M " 0 " HALF ", 0 " M " 0 " HALF,
    "0 1 0 " M ": " M " 0 0 0, " M " 0 0 0, " M " 0 0 0",
    M " " M " 0 0: 1 0 0 0", /* M * 1 / 2M = 0.5 */
};

/* Takes in the claims of a row, or checks what they get. */
static void go_through(const char *row, struct ksm_attribution *d, bool check) {
    struct claim claim;

    for (const char *at = strchr(row, ':'); at && at[1]; at = strchr(at + 1, ',')) {
        ck_assert_int_eq(sscanf(at + 1, "%" SCNd64 "%" SCNd64 "%" SCNd64 "%" SCNd64, &claim.merging,
                                &claim.zero, &claim.merged, &claim.saved),
                         4);
        if (!check) {
            ksm_attribution_claim(d, claim.merging, claim.zero);
            continue;
        }
        struct ksm_share got = ksm_attribution_share(d, claim.merging, claim.zero);
        ck_assert_msg(got.merged == claim.merged && got.saved == claim.saved,
                      "%s: \"%s\": got %" PRId64 " merged, %" PRId64 " saved", row, at, got.merged,
                      got.saved);
    }
}

TEST_ROWS(by_hand, rows) {
    struct ksm_attribution d = {.shared = 0};
    int64_t excess = 0;

    ck_assert_int_eq(sscanf(*row, "%" SCNd64 "%" SCNd64 "%" SCNd64 "%" SCNd64, &d.shared,
                            &d.sharing, &d.zero, &excess),
                     4);
    go_through(*row, &d, false);
    go_through(*row, &d, true);
    ck_assert_msg(ksm_attribution_excess(&d) == excess, "%s: got an excess of %" PRId64, *row,
                  ksm_attribution_excess(&d));
}

/* ---- by chance ---- */

struct population {
    struct ksm_attribution d;
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
        ksm_attribution_claim(&p->d, p->claims[i].merging, p->claims[i].zero);
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

static void check_share(const struct population *p, int i, int round) {
    const struct claim *claim = &p->claims[i];
    struct ksm_share got = ksm_attribution_share(&p->d, claim->merging, claim->zero);
    ksm_wide mapped = (ksm_wide)p->d.shared + (ksm_wide)p->d.sharing;
    int64_t zero = got.saved - got.merged;

    must(is_quotient(got.merged, p->d.sharing, claim->merging, larger(mapped, p->merging)),
         "round %d: consumer %d: %" PRId64 " merged is not sharing %" PRId64 " * %" PRId64
         " / the larger of mapped and claimed",
         round, i, got.merged, p->d.sharing, claim->merging);
    must(is_quotient(zero, p->d.zero, claim->zero, larger((ksm_wide)p->d.zero, p->zero)),
         "round %d: consumer %d: %" PRId64 " is not its share of zero pages, %" PRId64
         " of %" PRId64,
         round, i, zero, claim->zero, p->d.zero);
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
    int64_t got = ksm_attribution_excess(&p->d);
    ksm_wide mapped = (ksm_wide)p->d.shared + (ksm_wide)p->d.sharing;
    ksm_wide zero = (ksm_wide)p->d.zero;

    must(is_excess(got, p->merging, mapped, false) && is_excess(got, p->zero, zero, false) &&
             (is_excess(got, p->merging, mapped, true) || is_excess(got, p->zero, zero, true)),
         "round %d: %" PRId64 " is not the excess of either", round, got);
}

TEST(by_chance) {
    enum { ROUNDS = 20000 };

    for (int round = 0; round < ROUNDS; round++) {
        struct population p;
        ksm_wide sum = 0;
        populate(&p);
        for (int i = 0; i < p.count; i++) {
            check_share(&p, i, round);
            int64_t saved =
                ksm_attribution_share(&p.d, p.claims[i].merging, p.claims[i].zero).saved;
            sum = sum + (uint64_t)saved;
        }
        must(sum <= (ksm_wide)p.d.sharing + (ksm_wide)p.d.zero,
             "round %d: the shares of %d consumers add up to too much", round, p.count);
        check_excess(&p, round);
    }
}
