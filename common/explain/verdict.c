/* SPDX-License-Identifier: MIT */
#include "explain/explain.h"

#include <errno.h>

#include "metrics/derive.h"

const struct explain_texts explain_texts[EXPLAIN_IDS] = {
#define VERDICT(id, status, sentence, reason, advice)                                              \
    [EXPLAIN_##id] = {#id, status, sentence, reason, advice},
#define REMARK(id, sentence) [EXPLAIN_##id] = {#id, -1, sentence, NULL, NULL},
#include "explain/explain.def"
};

/* A negative ksm_zero_pages: neither the number of zero pages nor the memory saved is known, and
 * profit excludes zero pages. */
static bool is_miscounted(const struct explain_facts *f) {
    return f->now.values[KSM_zero].status == -EDOM;
}

static bool is_running(const struct explain_facts *f) {
    return explain_equals(f, KSM_run, KSM_RUNNING);
}

static bool has_merged_pages(const struct explain_facts *f) {
    return explain_is_over(f, KSM_shared, 0) || explain_is_over(f, KSM_sharing, 0) ||
           explain_is_over(f, KSM_zero, 0);
}

static bool are_all_processes_known(const struct explain_facts *f) {
    return f->consumers->sweep.denied == 0 && f->consumers->sweep.skipped == 0 &&
           !f->consumers->sweep.hidden && explain_is_known(f, KSM_ksmd_cpu);
}

static bool is_busy(const struct explain_facts *f) {
    return f->ksmd.status == 0 && f->ksmd.value > EXPLAIN_KSMD_BUSY;
}

/* ksmd is busy but neither scanned a page nor ended a full scan: it walks an almost empty mapping.
 * Before Linux 6.10 pages are counted at the end of a batch, so this is only known if a batch of
 * pages_to_scan ends within the second of the measurement. */
static bool scans_empty_memory(const struct explain_facts *f) {
    enum { MAX_US_PER_PAGE = 20, US_PER_UNIT = 10 /* ksmd.value: 1/100,000 of that second */ };
    const int64_t min_scanned = f->ksmd.value / (MAX_US_PER_PAGE / US_PER_UNIT);

    return is_running(f) && f->idle && is_busy(f) && explain_is_over(f, KSM_pages_to_scan, 0) &&
           explain_is_under(f, KSM_pages_to_scan, min_scanned + 1);
}

/* A running ksmd tracks pages of a process soon after it opts in, so no tracked page means that
 * none has. While KSM is stopped only the processes' own files show it (Linux 6.14). */
static bool none_opted_in(const struct explain_facts *f) {
    if (f->uksm || ksm_has_pages(&f->now) || f->consumers->sweep.opted_in > 0)
        return false;
    if (f->consumers->sweep.opted_in == 0 && are_all_processes_known(f))
        return true;
    return is_running(f) && explain_is_over(f, KSM_pages_to_scan, 0) && !scans_empty_memory(f);
}

static bool scans_no_pages(const struct explain_facts *f) {
    return is_running(f) && explain_equals(f, KSM_pages_to_scan, 0);
}

static bool is_early(const struct explain_facts *f) {
    return is_running(f) && explain_is_under(f, KSM_full_scans, EXPLAIN_SCANS_TO_MERGE) &&
           !none_opted_in(f) && !scans_no_pages(f) &&
           !explain_is_over(f, KSM_ram, EXPLAIN_RAM_LITTLE - 1);
}

static bool can_be_judged(const struct explain_facts *f) {
    return is_running(f) && !is_early(f);
}

static bool is_net_loss(const struct explain_facts *f) {
    return can_be_judged(f) && !is_miscounted(f) && explain_is_under(f, KSM_net, EXPLAIN_NET_LOSS);
}

static bool is_wasted_scanning(const struct explain_facts *f) {
    return can_be_judged(f) && is_busy(f) && explain_is_under(f, KSM_ram, EXPLAIN_RAM_LITTLE);
}

bool explain_holds(const struct explain_facts *f, enum explain_id id) {
    if (!f->has_ksm)
        return id == EXPLAIN_no_ksm;
    switch (id) {
    case EXPLAIN_no_ksm:
        return false;
    case EXPLAIN_unknown:
        return !explain_is_known(f, KSM_run) || !explain_is_known(f, KSM_sharing);
    case EXPLAIN_exposed_full:
        return explain_is_over(f, KSM_exposure, EXPLAIN_EXPOSURE_FULL);
    case EXPLAIN_exposed:
        return explain_is_over(f, KSM_exposure, EXPLAIN_EXPOSURE_HIGH) &&
               !explain_is_over(f, KSM_exposure, EXPLAIN_EXPOSURE_FULL);
    case EXPLAIN_off:
        return explain_equals(f, KSM_run, KSM_STOPPED) && !has_merged_pages(f);
    case EXPLAIN_unmerged:
        return explain_equals(f, KSM_run, KSM_UNMERGED);
    case EXPLAIN_stopped:
        return explain_equals(f, KSM_run, KSM_STOPPED) && has_merged_pages(f);
    case EXPLAIN_not_opted_in:
        return none_opted_in(f);
    case EXPLAIN_no_scan:
        return scans_no_pages(f);
    case EXPLAIN_empty_scan:
        return scans_empty_memory(f);
    case EXPLAIN_too_early:
        return is_early(f) && !scans_empty_memory(f);
    case EXPLAIN_net_loss:
        return is_net_loss(f);
    case EXPLAIN_wasted_scanning:
        return is_wasted_scanning(f);
    case EXPLAIN_no_equal_pages:
        return can_be_judged(f) && !has_merged_pages(f) && !is_miscounted(f) && !none_opted_in(f) &&
               !scans_no_pages(f);
    case EXPLAIN_no_gain:
        return can_be_judged(f) && has_merged_pages(f) && !is_miscounted(f) &&
               explain_is_under(f, KSM_profit, 1) && !is_net_loss(f);
    case EXPLAIN_ok:
        return can_be_judged(f) && has_merged_pages(f) && !explain_is_under(f, KSM_profit, 1) &&
               !is_wasted_scanning(f);
    case EXPLAIN_owners:
        return f->consumers->valid && f->consumers->owners >= 2;
    case EXPLAIN_denied:
        return f->consumers->sweep.denied > 0;
    case EXPLAIN_miscounted:
        return is_miscounted(f);
    case EXPLAIN_lxcfs:
        return f->now.values[KSM_mem_total].status == -EXDEV;
    case EXPLAIN_blocking:
        return f->consumers->sweep.skipped > 0;
    case EXPLAIN_hidepid:
        return f->consumers->sweep.hidden;
    case EXPLAIN_ksmd_hidden: /* not in /proc: this is another PID namespace than the host's */
        return !f->consumers->sweep.hidden && f->now.values[KSM_ksmd_cpu].status == -ENOENT;
    case EXPLAIN_IDS:
        break;
    }
    return false;
}

enum explain_id explain_verdict(const struct explain_facts *facts) {
    for (enum explain_id id = 0; id < EXPLAIN_IDS && explain_texts[id].status >= 0; id++)
        if (explain_holds(facts, id))
            return id;
    return EXPLAIN_unknown;
}

enum explain_id explain_next_holding(const struct explain_facts *facts, enum explain_id id) {
    do
        id++;
    while (id < EXPLAIN_IDS && (explain_texts[id].status == 0 || !explain_holds(facts, id)));
    return id;
}
