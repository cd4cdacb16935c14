/* SPDX-License-Identifier: MIT
 *
 * ksm-explain's report on the state of KSM: facts, the verdict on them, and their presentation.
 *
 * Fill in struct explain_facts, explain_set_host() among the rest; then explain_report() or
 * explain_json(). The facts come from the same metrics and the same table of consumers as the
 * charts. A verdict is a function of the facts. explain.def holds the texts. Nothing here fails:
 * what is not known is left out of the report.
 */
#ifndef KSM_EXPLAIN_H
#define KSM_EXPLAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "consumers/consumers.h"
#include "explain/wrap.h"
#include "metrics/metrics.h"

/* What is known of the host. A value that is not known has a status other than 0. */
struct explain_facts {
    const char *root; /* where the host's /proc and /sys are; the caller's; NULL: / */
    bool has_ksm;     /* this kernel has KSM or UKSM; if not, nothing else is known */
    bool uksm;
    bool as_root; /* this program runs as root */
    bool idle;    /* no page was scanned or skipped, and no full scan ended; false if not known */
    struct ksm_sample now;
    struct ksm_value ksmd;      /* CPU time of ksmd, thousandths of a percent of one core */
    struct ksm_value scan_rate; /* pages scanned a second */
    struct ksm_value skip_rate; /* pages a second that smart_scan skipped */

    const struct ksm_consumer_table *consumers; /* the caller's */
    const struct explain_processes *processes;  /* causes.h; the caller's; NULL: not examined */
};

/* EXPLAIN_no_ksm, EXPLAIN_off ...: the verdicts in order of precedence, then the remarks. */
enum explain_id {
#define VERDICT(id, status, sentence, reason, advice) EXPLAIN_##id,
#define REMARK(id, sentence) EXPLAIN_##id,
#include "explain/explain.def"
    EXPLAIN_IDS
};

/* Texts of a verdict or remark, with placeholders (explain_expand). */
struct explain_texts {
    const char *name;
    int status; /* exit status; -1 for a remark */
    const char *sentence;
    const char *reason; /* NULL for a remark */
    const char *advice; /* NULL for a remark */
};
extern const struct explain_texts explain_texts[EXPLAIN_IDS];

/* Limits in thousandths of a percent, as in the alerts ksm_exposure, ksm_net_loss,
 * ksm_wasted_scanning and ksm_empty_scanning. */
enum {
    EXPLAIN_EXPOSURE_HIGH = 80000,
    EXPLAIN_EXPOSURE_FULL = 100000,
    EXPLAIN_NET_LOSS = -100,
    EXPLAIN_KSMD_BUSY = 20000,
    EXPLAIN_RAM_LITTLE = 1000,
};

/* Full scans after which a page is merged if it has an equal one: that takes two visits, and a
 * scan may have been under way when the process started. */
enum { EXPLAIN_SCANS_TO_MERGE = 3 };

/* Sets the facts of the host from two samples that are sample_ms (> 0) apart. */
void explain_set_host(struct explain_facts *facts, const struct ksm_sample *before,
                      const struct ksm_sample *now, int64_t sample_ms);

/* Compare a metric of facts->now. They return false if it is not known. */
bool explain_is_known(const struct explain_facts *facts, enum ksm_id id);
bool explain_equals(const struct explain_facts *facts, enum ksm_id id, int64_t value);
bool explain_is_over(const struct explain_facts *facts, enum ksm_id id, int64_t value);
bool explain_is_under(const struct explain_facts *facts, enum ksm_id id, int64_t value);

/* Returns whether a verdict or remark holds, independently of the others. */
bool explain_holds(const struct explain_facts *facts, enum explain_id id);

/* Returns the first verdict that holds. */
enum explain_id explain_verdict(const struct explain_facts *facts);

/* Returns the next verdict or remark after that one that holds too, or EXPLAIN_IDS. A verdict with
 * status 0 is never reported beside another. */
enum explain_id explain_next_holding(const struct explain_facts *facts, enum explain_id id);

/* Writes a text of explain.def, with placeholders replaced by their values. A part in [brackets] is
 * left out if a value in it is not known. Returns the number of unknown values outside of brackets,
 * which are written as "?". Removes a newline at the end. Text that does not fit is cut off. */
int explain_expand(const struct explain_facts *facts, const char *text, char *buf, size_t size);

/* Writes the value of a placeholder into buf, which is "", and returns true; or returns false if it
 * is not known. */
typedef bool explain_value_fn(const void *data, const char *name, char *buf, size_t size);

/* As explain_expand(), with other placeholders. */
int explain_expand_with(explain_value_fn *write, const void *data, const char *text, char *buf,
                        size_t size);

/* Print the report: as plain text, or as a JSON object (ksm-explain.schema.json). Names of
 * consumers must be clean (consumer_name.h). */
void explain_report(const struct explain_facts *facts, const struct wrap *wrap);
void explain_json(const struct explain_facts *facts, FILE *file);

#endif
