/* SPDX-License-Identifier: MIT
 *
 * Metrics computed from several readings: rates and times, from the growth of other metrics. Their
 * rows in metrics.def are called RATE. No allocation, no clock of its own.
 */
#ifndef KSM_RATES_H
#define KSM_RATES_H

#include <stdbool.h>
#include <stdint.h>

#include "metrics/metrics.h"

/* How far ksmd was at one reading. */
struct ksm_rates_mark {
    int64_t time;   /* ms */
    int64_t scans;  /* full_scans */
    int64_t looked; /* scanned + skipped; 0 before 6.6 */
};

struct ksm_rates {
    bool following;                  /* what ksmd does: the following are known */
    int status;                      /* of the last reading: 0, or why ksmd's pace is not known */
    struct ksm_rates_mark last;      /* the last reading */
    struct ksm_rates_mark window[2]; /* the pace is that since [0], which [1] is to follow */
    struct ksm_rates_mark begun;     /* the first reading after full_scans grew: a scan had begun */
    int64_t unsure;          /* how long before that it may have begun, ms; 0: not seen yet */
    int64_t took;            /* the last full scan, ms; 0: not known */
    struct ksm_value merged; /* shared + sharing + zero of the last reading */
    int64_t merged_time;
};

/* Before the first reading. */
void ksm_rates_init(struct ksm_rates *rates);

/* Computes every paced metric of a sample. Its other metrics, including derived ones, must be set.
 * now is its time, ms of a clock that does not go back.
 *
 * A metric is -ENODATA if there are too few readings, or if KSM does not run: mm/ksm.c counts a
 * page that changed, or whose program has exited, as merged until ksmd visits it again. A counter
 * that goes back (run=2 sets full_scans to 0) restarts everything. A counter that cannot be read
 * once leaves a gap, and no more. */
void ksm_rates_update(struct ksm_rates *rates, struct ksm_sample *sample, int64_t now);

/* The growth from before to now within so many ms, times scale, per ms. Returns 0; or -ERANGE if it
 * does not fit, or ms is not above 0. */
int ksm_rate(int64_t before, int64_t now, int64_t scale, int64_t ms, int64_t *rate);

#endif
