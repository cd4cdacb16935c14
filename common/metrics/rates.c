/* SPDX-License-Identifier: MIT */
#include "metrics/rates.h"

#include <errno.h>

#include "metrics/derive.h"

/* The scan rate is measured over at least 10 s, because smart_scan skips pages in bursts, and over
 * at most a minute, because settings change. */
enum { WINDOW_MIN_MS = 10 * 1000, WINDOW_HALF_MS = 30 * 1000 };

/* 10 % accuracy is enough. With MIN_SCANS or more full scans in the window, window / scans is that
 * accurate; it is preferred to counting pages, because before Linux 6.10 pages_scanned misses those
 * of the batch that ends a scan (mm/ksm.c, ksm_do_scan). The start of a scan must be known to
 * within its duration / MAX_ERROR_DIVISOR. */
enum { MIN_SCANS = 10, MAX_ERROR_DIVISOR = 10 };

void ksm_rates_init(struct ksm_rates *rates) {
    *rates = (struct ksm_rates){.status = -ENODATA, .merged.status = -ENODATA};
}

int ksm_rate(int64_t before, int64_t after, int64_t scale, int64_t ms, int64_t *rate) {
    int64_t growth = 0;

    if (ms <= 0 || __builtin_sub_overflow(after, before, &growth) ||
        __builtin_mul_overflow(growth, scale, &growth))
        return -ERANGE;
    *rate = growth / ms;
    return 0;
}

/* ---- merging ---- */

/* shared + sharing + zero: mappings of merged pages. The first pair of a page adds two. */
static struct ksm_value merged_pages(const struct ksm_sample *s) {
    const struct ksm_value *run = &s->values[KSM_run];
    const struct ksm_value *saved = &s->values[KSM_saved];
    struct ksm_value merged = s->values[KSM_shared];

    if (merged.status == 0)
        merged.status = saved->status != 0 ? saved->status : run->status;
    if (merged.status == 0 && run->value == KSM_STOPPED)
        merged.status = -ENODATA;
    if (merged.status == 0 &&
        __builtin_add_overflow(merged.value, saved->value / s->page_size, &merged.value))
        merged.status = -ERANGE;
    return merged;
}

static int rate_merge_rate(const struct ksm_rates *rates, const struct ksm_sample *s, int64_t now,
                           int64_t *value) {
    const int64_t scale = (int64_t)1000 * ksm_unit_scale[KSM_UNIT_PAGE_RATE];
    const struct ksm_value merged = merged_pages(s);

    if (merged.status != 0 || rates->merged.status != 0)
        return merged.status != 0 ? merged.status : -ENODATA;
    return ksm_rate(rates->merged.value, merged.value, scale, now - rates->merged_time, value);
}

/* ---- scanning ---- */

static int read_mark(const struct ksm_sample *s, int64_t now, struct ksm_rates_mark *mark) {
    static const enum ksm_id visited[] = {KSM_scanned, KSM_skipped};
    const struct ksm_value *run = &s->values[KSM_run];
    const struct ksm_value *scans = &s->values[KSM_full_scans];

    if (run->status != 0 || scans->status != 0)
        return run->status != 0 ? run->status : scans->status;
    *mark = (struct ksm_rates_mark){.time = now, .scans = scans->value};
    for (int i = 0; i < 2; i++) {
        const struct ksm_value *pages = &s->values[visited[i]];
        if (pages->status != 0 && pages->status != -ENOENT)
            return pages->status;
        if (pages->status == 0 &&
            __builtin_add_overflow(mark->visited, pages->value, &mark->visited))
            return -ERANGE;
    }
    return run->value == KSM_RUNNING ? 0 : -ENODATA;
}

/* At least one full scan ended between the previous sample and this one. begin is the first sample
 * with last.scans, so from begin to mark it was mark->scans - last.scans full scans. */
static void end_scan(struct ksm_rates *rates, const struct ksm_rates_mark *mark) {
    const int64_t end_error = mark->time - rates->last.time;
    const int64_t ms = (mark->time - rates->begin.time) / (mark->scans - rates->last.scans);

    rates->full_scan_ms = 0;
    if (rates->begin_error > 0 && rates->begin_error <= ms / MAX_ERROR_DIVISOR &&
        end_error <= ms / MAX_ERROR_DIVISOR)
        rates->full_scan_ms = ms;
    rates->begin = *mark;
    rates->begin_error = end_error;
}

static int follow_scan(struct ksm_rates *rates, const struct ksm_sample *s, int64_t now) {
    struct ksm_rates_mark mark;
    int status = read_mark(s, now, &mark);

    if (status == -ENODATA)
        rates->has_marks = false;
    if (status != 0)
        return status;
    if (!rates->has_marks || mark.scans < rates->last.scans || mark.visited < rates->last.visited) {
        rates->has_marks = true;
        rates->window[0] = mark;
        rates->window[1] = mark;
        rates->begin_error = 0;
        rates->full_scan_ms = 0;
    } else if (mark.scans > rates->last.scans) {
        end_scan(rates, &mark);
    }
    if (now - rates->window[1].time >= WINDOW_HALF_MS) {
        rates->window[0] = rates->window[1];
        rates->window[1] = mark;
    }
    rates->last = mark;
    return 0;
}

/* Sets *ms to the time in which ksmd visits so many pages. */
static int visit_ms(const struct ksm_rates *rates, int64_t pages, int64_t *ms) {
    const int64_t visited = rates->last.visited - rates->window[0].visited;

    if (visited == 0 || pages == 0)
        return -ENODATA;
    if (__builtin_mul_overflow(pages, rates->last.time - rates->window[0].time, ms))
        return -ERANGE;
    *ms /= visited;
    return 0;
}

/* During the first full scan the number of tracked pages is not known yet. */
static int rate_scan_time(const struct ksm_rates *rates, const struct ksm_sample *s, int64_t now,
                          int64_t *value) {
    const int64_t ms = now - rates->window[0].time;
    const int64_t scans = rates->last.scans - rates->window[0].scans;
    int64_t pages = 0;
    int status = s->values[KSM_scanned].status;

    if (rates->status != 0)
        return rates->status;
    if (ms >= WINDOW_MIN_MS && scans >= MIN_SCANS) {
        *value = ms / scans;
        return 0;
    }
    if (status == 0)
        status = ksm_tracked_pages(s, &pages);
    if (status == -ENOENT) {
        *value = rates->full_scan_ms;
        return rates->full_scan_ms > 0 ? 0 : -ENODATA;
    }
    if (status == 0 && (ms < WINDOW_MIN_MS || rates->last.scans == 0))
        status = -ENODATA;
    return status == 0 ? visit_ms(rates, pages, value) : status;
}

static int rate_scan_left(const struct ksm_rates *rates, const struct ksm_sample *s, int64_t now,
                          int64_t *value) {
    int64_t time = 0;
    int64_t pages = 0;
    int status = s->values[KSM_scanned].status;

    if (status == 0)
        status = ksm_tracked_pages(s, &pages);
    if (status == 0)
        status = rate_scan_time(rates, s, now, &time);
    if (status == 0 &&
        (pages == 0 || rates->begin_error == 0 || rates->begin_error > time / MAX_ERROR_DIVISOR))
        status = -ENODATA;
    if (status != 0)
        return status;
    const int64_t left = pages - (rates->last.visited - rates->begin.visited);
    if (__builtin_mul_overflow(time, left > 0 ? left : 0, value))
        return -ERANGE;
    *value /= pages;
    return 0;
}

typedef int rate_fn(const struct ksm_rates *rates, const struct ksm_sample *s, int64_t now,
                    int64_t *value);

static rate_fn *const formulas[KSM_METRICS] = {
#define RATE(name, formula, kind, unit, group, since, help) [KSM_##name] = rate_##name,
#include "metrics/metrics.def"
};

void ksm_rates_update(struct ksm_rates *rates, struct ksm_sample *sample, int64_t now) {
    const struct ksm_value merged = merged_pages(sample);

    rates->status = follow_scan(rates, sample, now);
    for (size_t id = 0; id < KSM_METRICS; id++) {
        struct ksm_value *metric = &sample->values[id];
        if (formulas[id])
            metric->status = formulas[id](rates, sample, now, &metric->value);
    }
    if (merged.status == 0 || merged.status == -ENODATA) {
        rates->merged = merged;
        rates->merged_time = now;
    }
}
