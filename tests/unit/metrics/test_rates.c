/* SPDX-License-Identifier: MIT
 *
 * The metrics that several readings give: sequences of readings, each worked out by hand.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>

#include "metrics/derive.h"
#include "metrics/rates.h"
#include "support/suite.h"

/* In the place of a number: a status. */
enum { STATUSES = 1000 };
#define STATUS(err) (INT64_MIN + (err))
#define NONE STATUS(ENODATA)
#define LACKS STATUS(ENOENT)
#define BAD STATUS(EIO)
#define LARGE STATUS(ERANGE)

static struct ksm_value value_of(int64_t number) {
    if (number < INT64_MIN + STATUSES)
        return (struct ksm_value){0, (int)-(number - INT64_MIN)};
    return (struct ksm_value){number, 0};
}

/* A reading, and what is to come of it. What is not here is 0. */
struct reading {
    int64_t ms;
    int64_t run, scans, scanned, skipped, sharing, unshared;
    int64_t rate, time, left; /* thousandths */
};

struct sequence {
    const char *what;
    int64_t zero, volatile_pages;
    struct reading readings[16]; /* up to the first at 0 ms but the first one */
};

static const struct sequence sequences[] = {
    {"100 pages a second of 10000",
     0,
     0,
     {{0, 1, 3, 0, 0, 0, 10000, NONE, NONE, NONE},
      {1000, 1, 3, 100, 0, 0, 10000, 0, NONE, NONE},
      {9999, 1, 3, 1000, 0, 0, 10000, 0, NONE, NONE}, /* less than 10 s */
      {10000, 1, 3, 1000, 0, 0, 10000, 0, 100000, NONE},
      {12000, 1, 3, 1200, 0, 0, 10000, 0, 100000, NONE}, /* whose beginning was not seen */
      {13000, 1, 4, 1300, 0, 0, 10000, 0, 100000, 100000},
      {23000, 1, 4, 2300, 0, 0, 10000, 0, 100000, 90000},
      {30000, 1, 4, 3000, 0, 0, 20000, 0, 200000, 183000}, /* more memory: 183 / 200 is left */
      {40000, 1, 4, 4000, 0, 0, 2600, 0, 26000, 0},        /* less than was scanned */
      {41000, 1, 4, 4100, 0, 0, 0, 0, NONE, NONE}}},       /* nothing to scan */
    {"pages that smart_scan skips are as good as scanned",
     0,
     0,
     {{0, 1, 3, 100, 9000, 0, 4000, NONE, NONE, NONE},
      {10000, 1, 4, 1100, 12000, 0, 4000, 0, 10000, NONE}, /* it may have begun at any time */
      {11000, 1, 5, 1200, 12300, 0, 4000, 0, 10000, 10000},
      {12000, 1, 5, 1300, 12600, 0, 4000, 0, 10000, 9000}}},
    {"a new scan rate counts within a minute",
     0,
     0,
     {{0, 1, 3, 0, 0, 0, 6000, NONE, NONE, NONE},
      {30000, 1, 3, 300, 0, 0, 6000, 0, 600000, NONE},
      {31000, 1, 3, 400, 0, 0, 6000, 0, 465000, NONE},
      {59000, 1, 3, 3200, 0, 0, 6000, 0, 110625, NONE}, /* of 59 s; then of 30 s */
      {60000, 1, 3, 3300, 0, 0, 6000, 0, 60000, NONE}}},
    {"ksmd finds nothing to scan",
     0,
     0,
     {{0, 1, 3, 50, 0, 0, 6000, NONE, NONE, NONE},
      {1000, 1, 4, 50, 0, 0, 6000, 0, NONE, NONE},
      {20000, 1, 4, 50, 0, 0, 6000, 0, NONE, NONE},
      {21000, 1, 4, 40, 0, 0, 6000, 0, NONE, NONE}, /* went back: anew */
      {31000, 1, 4, 140, 0, 0, 6000, 0, 600000, NONE}}},
    {"the first scan: its length is not known",
     0,
     0,
     {{0, 1, 0, 0, 0, 0, 100, NONE, NONE, NONE},
      {20000, 1, 0, 2000, 0, 0, 2100, 0, NONE, NONE},
      {21000, 1, 1, 2100, 0, 0, 2200, 0, 22000, 22000}}},
    {"ten scans in the time tell better than pages, which are not all counted before 6.10",
     0,
     0,
     {{0, 1, 5, 0, 0, 0, 1000, NONE, NONE, NONE},
      {9000, 1, 50, 7, 0, 0, 1000, 0, NONE, NONE},
      {10000, 1, 15, 7, 0, 0, 1000, 0, NONE, NONE}, /* went back: anew */
      {20000, 1, 24, 1000, 0, 0, 1000, 0, 10070, NONE},
      {20900, 1, 25, 1000, 0, 0, 1000, 0, 1090, NONE},
      {20950, 1, 26, 1000, 0, 0, 1000, 0, 995, 995}, /* begun within 50 ms: known to a tenth */
      {20990, 1, 26, 1000, 0, 0, 0, 0, 999, NONE}}},
    {"before 6.6: the time of the last scan, whose ends are known to a tenth",
     LACKS,
     0,
     {{0, 1, 5, LACKS, LACKS, 0, 1000, NONE, NONE, LACKS},
      {1000, 1, 6, LACKS, LACKS, 0, 1000, 0, NONE, LACKS},
      {21000, 1, 6, LACKS, LACKS, 0, 1000, 0, NONE, LACKS},
      {22000, 1, 7, LACKS, LACKS, 0, 1000, 0, 21000, LACKS},
      {31000, 1, 7, LACKS, LACKS, 0, 1000, 0, 21000, LACKS},
      {40000, 1, 8, LACKS, LACKS, 0, 1000, 0, NONE, LACKS}, /* when it ended is not known */
      {60000, 1, 8, LACKS, LACKS, 0, 1000, 0, NONE, LACKS},
      {61000, 1, 9, LACKS, LACKS, 0, 1000, 0, NONE, LACKS}, /* nor when this one began */
      {100000, 1, 9, LACKS, LACKS, 0, 1000, 0, NONE, LACKS},
      {101000, 1, 11, LACKS, LACKS, 0, 1000, 0, 20000, LACKS}}},
    {"UKSM, which does not report all states of pages",
     0,
     LACKS,
     {{0, 1, 5, 1024, LACKS, 0, 1000, NONE, NONE, LACKS},
      {1000, 1, 6, 2048, LACKS, 0, 1000, 0, NONE, LACKS},
      {12000, 1, 6, 4096, LACKS, 0, 1000, 0, NONE, LACKS},
      {12500, 1, 7, 8192, LACKS, 0, 1000, 0, 11500, LACKS}}},
    {"stopped and started again: the previous scan rate does not count",
     0,
     0,
     {{0, 1, 3, 0, 0, 50, 950, NONE, NONE, NONE},
      {1000, 1, 4, 10, 0, 60, 940, 10000, NONE, NONE},
      {10000, 1, 4, 100, 0, 60, 940, 0, 100000, 91000},
      {11000, 0, 4, 110, 0, 70, 930, NONE, NONE, NONE},
      {12000, 0, 4, 110, 0, 40, 930, NONE, NONE, NONE}, /* its counts are old */
      {13000, 1, 4, 120, 0, 30, 970, NONE, NONE, NONE},
      {23000, 1, 4, 320, 0, 30, 970, 0, 50000, NONE}}},
    {"unmerged",
     0,
     0,
     {{0, 1, 3, 0, 0, 5000, 950, NONE, NONE, NONE},
      {1000, 2, 0, 10, 0, 1000, 940, -4000000, NONE, NONE},
      {3000, 2, 0, 10, 0, 0, 0, -500000, NONE, NONE},
      {4000, 2, 0, 10, 0, 0, 0, 0, NONE, NONE}}},
    {"what cannot be read leaves a gap",
     0,
     0,
     {{0, 1, 3, 0, 0, 10, 1000, NONE, NONE, NONE},
      {1000, 1, 4, 10, 0, 20, 980, 10000, NONE, NONE},
      {10000, 1, 4, 100, 0, 20, 980, 0, 100000, 91000},
      {11000, 1, BAD, 110, 0, 20, 980, 0, BAD, BAD},
      {12000, 1, 4, BAD, 0, 20, 980, 0, BAD, BAD},
      {13000, 1, 4, 130, BAD, 20, 980, 0, BAD, BAD},
      {14000, 1, 4, 140, 0, BAD, 980, BAD, BAD, BAD},
      {15000, BAD, 4, 150, 0, 20, 980, BAD, BAD, BAD},
      {16000, 1, 4, 160, 0, 26, 974, 2000, 100000, 85000}}}, /* 6 pages in 3 s */
    {"less than a page a second",
     7,
     0,
     {{0, 1, 3, 0, 0, 10, 0, NONE, NONE, NONE},
      {3000, 1, 3, 0, 0, 11, 0, 333, NONE, NONE},
      {6000, 1, 3, 0, 0, 9, 0, -666, NONE, NONE}}},
    {"miscounted pages of zeros",
     STATUS(EDOM),
     0,
     {{0, 1, 3, 0, 0, 10, 0, STATUS(EDOM), NONE, NONE},
      {3000, 1, 3, 0, 0, 11, 0, STATUS(EDOM), NONE, NONE}}},
    {"two readings at one time",
     0,
     0,
     {{500, 1, 3, 0, 0, 10, 0, NONE, NONE, NONE}, {500, 1, 3, 0, 0, 11, 0, LARGE, NONE, NONE}}},
    {"what does not fit",
     0,
     0,
     {{0, 1, 3, 0, 0, 0, INT64_MAX, NONE, NONE, NONE},
      {11000, 1, 3, 1, 0, INT64_MAX / 4096, 0, LARGE, LARGE, LARGE},
      {22000, 1, 3, INT64_MAX, 0, 0, INT64_MAX, LARGE, LARGE, LARGE},
      {33000, 1, 3, INT64_MAX, 1, 0, INT64_MAX, 0, LARGE, LARGE}}},
};

static void take(struct ksm_sample *sample, const struct sequence *s, const struct reading *r) {
    memset(sample->values, 0, sizeof(sample->values));
    sample->page_size = 4096;
    sample->values[KSM_zero] = value_of(s->zero);
    sample->values[KSM_volatile] = value_of(s->volatile_pages);
    sample->values[KSM_run] = value_of(r->run);
    sample->values[KSM_full_scans] = value_of(r->scans);
    sample->values[KSM_scanned] = value_of(r->scanned);
    sample->values[KSM_skipped] = value_of(r->skipped);
    sample->values[KSM_sharing] = value_of(r->sharing);
    sample->values[KSM_unshared] = value_of(r->unshared);
    ksm_derive(sample);
}

static void expect(const struct sequence *s, const struct reading *r, enum ksm_id id,
                   const struct ksm_sample *sample, int64_t number) {
    const struct ksm_value *got = &sample->values[id];
    const struct ksm_value want = value_of(number);

    ck_assert_msg(got->status == want.status && (want.status != 0 || got->value == want.value),
                  "%s: at %" PRId64 " ms: %s: got status %s, value %" PRId64 "; want %s, %" PRId64,
                  s->what, r->ms, ksm_metrics[id].name, suite_status(got->status), got->value,
                  suite_status(want.status), want.value);
}

TEST_ROWS(rates_equal_values_computed_by_hand, sequences) {
    struct ksm_sample sample;
    struct ksm_rates rates;

    ksm_rates_init(&rates);
    for (const struct reading *r = row->readings; r == row->readings || r->ms > 0; r++) {
        take(&sample, row, r);
        ksm_rates_update(&rates, &sample, r->ms);
        expect(row, r, KSM_merge_rate, &sample, r->rate);
        expect(row, r, KSM_scan_time, &sample, r->time);
        expect(row, r, KSM_scan_left, &sample, r->left);
    }
}

/* At a constant scan rate, read every second, scan_time and scan_left are right at any time, for
 * scans of any length. */
static const int64_t lengths[] = {600, 5000, 10000, 11000, 60000, 3600000};

TEST_ROWS(constant_scan_rate_gives_exact_times, lengths) {
    const int64_t pages = 1000000, tick = 1000;
    struct ksm_sample sample;
    struct ksm_rates rates;

    ksm_rates_init(&rates);
    for (int64_t ms = tick; ms < 3 * *row + 100 * tick; ms += tick) {
        const struct reading r = {
            .run = 1, .scans = 1 + ms / *row, .scanned = pages * ms / *row, .unshared = pages};
        take(&sample, &(const struct sequence){.zero = LACKS}, &r);
        ksm_rates_update(&rates, &sample, ms);
        const struct ksm_value *time = &sample.values[KSM_scan_time],
                               *left = &sample.values[KSM_scan_left];
        ck_assert_msg((time->status == 0) == (ms > 10 * tick), "after %" PRId64 " ms: status %s",
                      ms, suite_status(time->status));
        if (time->status != 0)
            continue;
        ck_assert_msg(time->value >= *row - *row / 10 && time->value <= *row + *row / 10,
                      "after %" PRId64 " ms: got %" PRId64 ", want %" PRId64, ms, time->value,
                      *row);
        ck_assert_msg((left->status == 0) == (*row >= 10 * tick && ms >= *row),
                      "after %" PRId64 " ms: left: status %s", ms, suite_status(left->status));
        const int64_t want = *row - ms % *row;
        ck_assert_msg(left->status != 0 ||
                          (left->value >= want - *row / 10 && left->value <= want + *row / 10),
                      "after %" PRId64 " ms: left: got %" PRId64 ", want %" PRId64, ms, left->value,
                      want);
    }
}
