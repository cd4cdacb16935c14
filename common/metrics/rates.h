/* SPDX-License-Identifier: MIT
 *
 * Computes the metrics that need several samples (RATE rows of metrics.def): the merge rate, the
 * time of a full scan, and the time until the current one ends. The caller provides the clock;
 * nothing is allocated. Call ksm_rates_init() once, then ksm_rates_update() for every sample.
 */
#ifndef KSM_RATES_H
#define KSM_RATES_H

#include <stdbool.h>
#include <stdint.h>

#include "metrics/metrics.h"

/* ksmd's progress in one sample. */
struct ksm_rates_mark {
    int64_t time;    /* ms */
    int64_t scans;   /* full_scans */
    int64_t visited; /* pages: scanned + skipped; 0 before Linux 6.6 */
};

struct ksm_rates {
    int status;                      /* 0, or the -errno why the scan rate is not known */
    bool has_marks;                  /* last and window are valid */
    struct ksm_rates_mark last;      /* previous sample */
    struct ksm_rates_mark window[2]; /* the scan rate is measured from [0]; [1] is the next [0] */
    struct ksm_rates_mark begin;     /* first sample after full_scans grew */
    int64_t begin_error;     /* that scan began at most so many ms before begin; 0: none was seen */
    int64_t full_scan_ms;    /* duration of the last full scan; 0: not known */
    struct ksm_value merged; /* shared + sharing + zero of the previous sample, pages */
    int64_t merged_time;     /* ms */
};

void ksm_rates_init(struct ksm_rates *rates);

/* Sets every RATE metric of a sample whose other metrics, derived ones included, are set. now: the
 * time of the sample, ms of a monotonic clock.
 *
 * The status is -ENODATA after too few samples, and while KSM is stopped: mm/ksm.c counts a page
 * that changed, or whose process exited, as merged until ksmd visits it again. A counter that
 * decreases (run=2 resets full_scans) restarts the measurement. A counter that cannot be read once
 * leaves a gap of one sample. */
void ksm_rates_update(struct ksm_rates *rates, struct ksm_sample *sample, int64_t now);

/* Sets *rate to (after - before) * scale / ms. Returns 0, or -ERANGE on overflow or if ms <= 0. */
int ksm_rate(int64_t before, int64_t after, int64_t scale, int64_t ms, int64_t *rate);

#endif
