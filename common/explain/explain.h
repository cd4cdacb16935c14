/* SPDX-License-Identifier: MIT
 *
 * ksm-explain: explains the state of KSM on this host to a person at a terminal.
 *
 * Facts are gathered from the same metrics and the same table of consumers as the charts; a verdict
 * is a function of the facts alone. Its words, and all others on the page, are in explain.def.
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

/* All that a verdict is made of. What is not known is absent: a status that is not 0, or -1. */
struct explain_facts {
    const char *root; /* where the host's /proc and /sys are; stays the caller's; NULL: / */
    bool in_kernel;   /* KSM or UKSM is in this kernel; if not, nothing else is known */
    bool uksm;
    struct ksm_sample now;
    struct ksm_value ksmd; /* its CPU time, thousandths of a percent of one core */
    struct ksm_value rate; /* pages scanned a second */
    bool idle; /* no page was scanned or skipped, and no full scan ended; false: not known */

    const struct ksm_consumer_table *consumers; /* who takes part; stays the caller's */

    struct ksm_value passed;                   /* pages a second that smart_scan skipped */
    const struct explain_processes *processes; /* causes.h; stays the caller's; NULL: no look */
};

/* EXPLAIN_no_ksm, EXPLAIN_off …: the verdicts in order of precedence, then the remarks. */
enum explain_id {
#define VERDICT(id, status, sentence, reason, advice) EXPLAIN_##id,
#define REMARK(id, sentence) EXPLAIN_##id,
#include "explain/explain.def"
    EXPLAIN_IDS
};

/* The words of a verdict or remark, with {words} for metrics (explain_expand). */
struct explain_words {
    const char *name;
    int status; /* exit status; -1: a remark, which is no verdict */
    const char *sentence;
    const char *reason; /* this and advice are NULL for a remark */
    const char *advice;
};
extern const struct explain_words explain_words[EXPLAIN_IDS];

/* Beyond these it is too much (what is equal is not yet), thousandths of a percent: the same as in
 * the alerts ksm_exposure, ksm_net_loss, ksm_wasted_scanning and ksm_empty_scanning. */
enum {
    EXPLAIN_EXPOSURE_HIGH = 80000,
    EXPLAIN_EXPOSURE_FULL = 100000,
    EXPLAIN_NET_LOSS = -100,
    EXPLAIN_KSMD_BUSY = 20000,
    EXPLAIN_RAM_LITTLE = 1000,
};

/* Sets the facts of the host: two samples, look_ms apart (above 0). */
void explain_host(struct explain_facts *facts, const struct ksm_sample *before,
                  const struct ksm_sample *now, int64_t look_ms);

/* Whether a verdict or a remark holds, whatever others do. */
bool explain_holds(const struct explain_facts *facts, enum explain_id id);

/* The verdict: the first one that holds. Never a remark. */
enum explain_id explain_verdict(const struct explain_facts *facts);

/* Writes a text of explain.def with its {words} replaced by what is known, and without those parts
 * in [brackets] of which a word is not known. Returns how many words outside of brackets are not
 * known; each is a ? in the text. What does not fit is cut off. */
int explain_expand(const struct explain_facts *facts, const char *text, char *buf, size_t size);

/* The same with words of another kind: writes the one of that name into buf and returns true, or
 * returns false: it is not known. */
typedef bool explain_word_fn(const void *data, const char *name, size_t len, char *buf,
                             size_t size);
int explain_fill(explain_word_fn *write, const void *data, const char *text, char *buf,
                 size_t size);

/* Print the report: as plain text, or as a JSON object (ksm-explain.schema.json). Names of
 * consumers must be clean as consumer_name.h has it. */
void explain_report(const struct explain_facts *facts, const struct wrap *wrap);
void explain_json(const struct explain_facts *facts, FILE *file);

#endif
