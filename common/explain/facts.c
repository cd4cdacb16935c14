/* SPDX-License-Identifier: MIT
 *
 * Computes facts about the host from two samples, and compares metrics with limits.
 */
#include <errno.h>

#include "explain/explain.h"
#include "metrics/rates.h"

/* Growth of a counter times scale / ms; -ENODATA if it was reset. */
static struct ksm_value rate_of(const struct ksm_value *before, const struct ksm_value *now,
                                int64_t scale, int64_t ms) {
    struct ksm_value rate = {.status = before->status != 0 ? before->status : now->status};

    if (rate.status == 0 && now->value < before->value)
        rate.status = -ENODATA;
    if (rate.status == 0)
        rate.status = ksm_rate(before->value, now->value, scale, ms, &rate.value);
    return rate;
}

static bool is_unchanged(const struct ksm_sample *before, const struct ksm_sample *now,
                         enum ksm_id id) {
    struct ksm_value growth = rate_of(&before->values[id], &now->values[id], 1, 1);

    return growth.status == 0 && growth.value == 0;
}

/* scanned alone is not enough: smart_scan skips pages (Linux 6.7), and before 6.10 the batch that
 * ends a full scan is not counted (mm/ksm.c, ksm_do_scan). */
static bool is_idle(const struct ksm_sample *before, const struct ksm_sample *now) {
    return is_unchanged(before, now, KSM_scanned) && is_unchanged(before, now, KSM_full_scans) &&
           (now->values[KSM_skipped].status == -ENOENT || is_unchanged(before, now, KSM_skipped));
}

void explain_set_host(struct explain_facts *facts, const struct ksm_sample *before,
                      const struct ksm_sample *now, int64_t sample_ms) {
    const int64_t percents = (int64_t)100 * ksm_unit_scale[KSM_UNIT_PERCENT];
    const int64_t ns_per_ms = 1000000;

    facts->now = *now;
    facts->scan_rate =
        rate_of(&before->values[KSM_scanned], &now->values[KSM_scanned], 1000, sample_ms);
    facts->skip_rate =
        rate_of(&before->values[KSM_skipped], &now->values[KSM_skipped], 1000, sample_ms);
    facts->ksmd =
        rate_of(&before->values[KSM_ksmd_cpu], &now->values[KSM_ksmd_cpu], percents, sample_ms);
    facts->ksmd.value /= ns_per_ms;
    facts->idle = is_idle(before, now);
}

bool explain_is_known(const struct explain_facts *facts, enum ksm_id id) {
    return facts->now.values[id].status == 0;
}

bool explain_equals(const struct explain_facts *facts, enum ksm_id id, int64_t value) {
    return explain_is_known(facts, id) && facts->now.values[id].value == value;
}

bool explain_is_over(const struct explain_facts *facts, enum ksm_id id, int64_t value) {
    return explain_is_known(facts, id) && facts->now.values[id].value > value;
}

bool explain_is_under(const struct explain_facts *facts, enum ksm_id id, int64_t value) {
    return explain_is_known(facts, id) && facts->now.values[id].value < value;
}
