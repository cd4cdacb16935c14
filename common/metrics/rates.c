/* SPDX-License-Identifier: MIT */
#include "metrics/rates.h"

#include <errno.h>

#include "metrics/derive.h"

enum { STOPPED, RUNNING }; /* of ksm_states */

/* The pace is taken over 10 s at least, as smart_scan passes over pages in bursts, and over a
 * minute at most, as somebody may have changed it. */
enum { LEAST_MS = 10 * 1000, HALF_MS = 30 * 1000 };

/* A tenth is near enough: so many full scans within the pace's time tell how long one takes better
 * than the pages do, as before Linux 6.10 those of the batch that ends a scan are not counted
 * (ksm_do_scan in mm/ksm.c). And the beginning of a scan must be known to such a part of it. */
enum { TENTH = 10 };

void ksm_rates_init(struct ksm_rates *rates) {
    *rates = (struct ksm_rates){.status = -ENODATA, .merged.status = -ENODATA};
}

int ksm_rate(int64_t before, int64_t now, int64_t scale, int64_t ms, int64_t *rate) {
    int64_t growth = 0;

    if (ms <= 0 || __builtin_sub_overflow(now, before, &growth) ||
        __builtin_mul_overflow(growth, scale, &growth))
        return -ERANGE;
    *rate = growth / ms;
    return 0;
}

/* ---- merging ---- */

/* shared + sharing + zero: uses of merged pages. Both pages of the first pair count. */
static struct ksm_value merged_pages(const struct ksm_sample *s) {
    const struct ksm_value *run = &s->at[KSM_run];
    const struct ksm_value *saved = &s->at[KSM_saved];
    struct ksm_value merged = s->at[KSM_shared];

    if (merged.status == 0)
        merged.status = saved->status != 0 ? saved->status : run->status;
    if (merged.status == 0 && run->value == STOPPED)
        merged.status = -ENODATA;
    if (merged.status == 0 &&
        __builtin_add_overflow(merged.value, saved->value / s->page_size, &merged.value))
        merged.status = -ERANGE;
    return merged;
}

static int rate_merge_rate(const struct ksm_rates *p, const struct ksm_sample *s, int64_t now,
                           int64_t *value) {
    const int64_t scale = (int64_t)1000 * ksm_unit_scale[KSM_UNIT_PAGE_RATE];
    const struct ksm_value merged = merged_pages(s);

    if (merged.status != 0 || p->merged.status != 0)
        return merged.status != 0 ? merged.status : -ENODATA;
    return ksm_rate(p->merged.value, merged.value, scale, now - p->merged_time, value);
}

/* ---- scanning ---- */

static int read_mark(const struct ksm_sample *s, int64_t now, struct ksm_rates_mark *mark) {
    static const enum ksm_id looked[] = {KSM_scanned, KSM_skipped};
    const struct ksm_value *run = &s->at[KSM_run];
    const struct ksm_value *scans = &s->at[KSM_full_scans];

    if (run->status != 0 || scans->status != 0)
        return run->status != 0 ? run->status : scans->status;
    *mark = (struct ksm_rates_mark){.time = now, .scans = scans->value};
    for (int i = 0; i < 2; i++) {
        const struct ksm_value *pages = &s->at[looked[i]];
        if (pages->status != 0 && pages->status != -ENOENT)
            return pages->status;
        if (pages->status == 0 && __builtin_add_overflow(mark->looked, pages->value, &mark->looked))
            return -ERANGE;
    }
    return run->value == RUNNING ? 0 : -ENODATA;
}

/* At least one full scan ended between the last mark and this one. */
static void end_scan(struct ksm_rates *p, const struct ksm_rates_mark *mark) {
    const int64_t unsure = mark->time - p->last.time;
    const int64_t took = (mark->time - p->begun.time) / (mark->scans - p->last.scans);

    p->took = 0;
    if (p->unsure > 0 && p->unsure <= took / TENTH && unsure <= took / TENTH)
        p->took = took;
    p->begun = *mark;
    p->unsure = unsure;
}

static int follow_scan(struct ksm_rates *p, const struct ksm_sample *s, int64_t now) {
    struct ksm_rates_mark mark;
    int status = read_mark(s, now, &mark);

    if (status == -ENODATA)
        p->following = false;
    if (status != 0)
        return status;
    if (!p->following || mark.scans < p->last.scans || mark.looked < p->last.looked) {
        p->following = true;
        p->window[0] = p->window[1] = mark;
        p->unsure = p->took = 0;
    } else if (mark.scans > p->last.scans) {
        end_scan(p, &mark);
    }
    if (now - p->window[1].time >= HALF_MS) {
        p->window[0] = p->window[1];
        p->window[1] = mark;
    }
    p->last = mark;
    return 0;
}

/* How long it takes to look at so many pages at ksmd's pace, ms. */
static int time_of(const struct ksm_rates *p, int64_t pages, int64_t *ms) {
    const int64_t looked = p->last.looked - p->window[0].looked;

    if (looked == 0 || pages == 0)
        return -ENODATA;
    if (__builtin_mul_overflow(pages, p->last.time - p->window[0].time, ms))
        return -ERANGE;
    *ms /= looked;
    return 0;
}

/* During the first full scan it is not known how much memory there is to scan. */
static int rate_scan_time(const struct ksm_rates *p, const struct ksm_sample *s, int64_t now,
                          int64_t *value) {
    const int64_t ms = now - p->window[0].time;
    const int64_t scans = p->last.scans - p->window[0].scans;
    int64_t pages = 0;
    int status = s->at[KSM_scanned].status;

    if (p->status != 0)
        return p->status;
    if (ms >= LEAST_MS && scans >= TENTH) {
        *value = ms / scans;
        return 0;
    }
    if (status == 0)
        status = ksm_registered_pages(s, &pages);
    if (status == -ENOENT) {
        *value = p->took;
        return p->took > 0 ? 0 : -ENODATA;
    }
    if (status == 0 && (ms < LEAST_MS || p->last.scans == 0))
        status = -ENODATA;
    return status == 0 ? time_of(p, pages, value) : status;
}

static int rate_scan_left(const struct ksm_rates *p, const struct ksm_sample *s, int64_t now,
                          int64_t *value) {
    int64_t time = 0;
    int64_t pages = 0;
    int status = s->at[KSM_scanned].status;

    if (status == 0)
        status = ksm_registered_pages(s, &pages);
    if (status == 0)
        status = rate_scan_time(p, s, now, &time);
    if (status == 0 && (pages == 0 || p->unsure == 0 || p->unsure > time / TENTH))
        status = -ENODATA;
    if (status != 0)
        return status;
    const int64_t left = pages - (p->last.looked - p->begun.looked);
    if (__builtin_mul_overflow(time, left > 0 ? left : 0, value))
        return -ERANGE;
    *value /= pages;
    return 0;
}

/* ---- all of them ---- */

typedef int rate_fn(const struct ksm_rates *p, const struct ksm_sample *s, int64_t now,
                    int64_t *value);

static rate_fn *const formulas[KSM_METRICS] = {
#define RATE(name, formula, kind, unit, group, since, help) [KSM_##name] = rate_##name,
#include "metrics/metrics.def"
};

void ksm_rates_update(struct ksm_rates *rates, struct ksm_sample *sample, int64_t now) {
    const struct ksm_value merged = merged_pages(sample);

    rates->status = follow_scan(rates, sample, now);
    for (size_t id = 0; id < KSM_METRICS; id++) {
        struct ksm_value *at = &sample->at[id];
        if (formulas[id])
            at->status = formulas[id](rates, sample, now, &at->value);
    }
    if (merged.status == 0 || merged.status == -ENODATA) {
        rates->merged = merged;
        rates->merged_time = now;
    }
}
