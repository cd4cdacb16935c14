/* SPDX-License-Identifier: MIT
 *
 * The estimate in words, and as JSON.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "explain/estimate.h"
#include "explain/format.h"
#include "explain/values.h"
#include "explain/wrap.h"
#include "metrics/derive.h"

/* ---- amounts in bytes ---- */

static int64_t bytes_of(const struct estimate *e, double pages) {
    return llround(pages) * (int64_t)e->page_size;
}

static int64_t overhead_of(const struct estimate_sum *sum) {
    return (int64_t)sum->pages * KSM_RMAP_ITEM_BYTES;
}

/* Returns whether all processes of the host were to be read, and none was left out. */
static bool is_whole_host(const struct estimate *e) {
    const struct memory_scan_counts *counts = &e->counts;

    return !e->named && !e->hidden && !counts->partial && counts->denied == 0 &&
           counts->failed == 0 && counts->blocking == 0;
}

/* Bytes saved by now: of the whole host, or of those alone that were read. -1: not known. */
static int64_t saved_now(const struct estimate *e, const struct ksm_sample *host) {
    const struct ksm_value *saved = &host->values[KSM_saved];
    int64_t sum = 0;

    if (is_whole_host(e))
        return saved->status == 0 ? saved->value : -1;
    for (size_t i = 0; i < e->consumer_count; i++) {
        if (e->consumers[i].saved_now < 0)
            return -1;
        sum += e->consumers[i].saved_now;
    }
    return sum;
}

/* ---- values of the placeholders ---- */

static void add_saving(struct values *v, const struct estimate *e, const struct ksm_sample *host) {
    const int64_t further = bytes_of(e, e->total.all.further), merged = saved_now(e, host);
    const int64_t total = further + (merged > 0 ? merged : 0), overhead = overhead_of(&e->sum);

    values_add_bytes(v, "further", further);
    if (e->total.error > 0)
        values_add_bytes(v, "error", bytes_of(e, e->total.error));
    if (e->total.all.zeros > 0)
        values_add_bytes(v, "zeros", bytes_of(e, e->total.all.zeros));
    if (merged > 0) {
        values_add_bytes(v, "merged", merged);
        values_add_bytes(v, "total", total);
    }
    values_add_bytes(v, "overhead", overhead);
    if (total >= overhead)
        values_add_bytes(v, "net", total - overhead);
    else
        values_add_bytes(v, "loss", overhead - total);
}

static void add_percent(struct values *v, const char *name, int64_t part, double whole) {
    if (whole > 0)
        format_percent((int64_t)((double)part / whole * 100000), values_add(v, name), VALUE_SIZE);
}

/* Less than 5 % of the memory that was read is little (ksmd would scan 20 pages to free one), and
 * so is less than 16 MiB. */
enum { WORTH_IT_PERCENT = 5, WORTH_IT_BYTES = 16 << 20 };

/* Adds the verdict, and how the consumer with the largest saving opts in. */
static void add_verdict(struct values *v, const struct estimate *e, const struct ksm_sample *host) {
    const struct ksm_value *run = &host->values[KSM_run];
    const struct ksm_value *ram = &host->values[KSM_mem_total]; /* kB */
    const int64_t read = (int64_t)(e->sum.pages * e->page_size);
    const int64_t further = bytes_of(e, e->total.all.further), merged = saved_now(e, host);
    const int64_t net = further + (merged > 0 ? merged : 0) - overhead_of(&e->sum);
    const bool worth_it =
        net > 0 && further >= WORTH_IT_BYTES && further / WORTH_IT_PERCENT >= read / 100;

    const bool unknown = !worth_it && e->counts.denied > e->counts.processes;
    const bool known_little = !worth_it && !unknown;

    values_add_if(v, "worth_it", worth_it);
    values_add_if(v, "unknown", unknown);
    values_add_if(v, "merged_already", known_little && net > 0 && merged > further);
    values_add_if(v, "little", known_little && net > 0 && merged <= further);
    values_add_if(v, "nothing", known_little && net <= 0);
    if (!worth_it)
        return;
    add_percent(v, "share", further, (double)read);
    if (ram->status == 0)
        add_percent(v, "of_ram", further, (double)ram->value * 1024);
    values_add_if(v, "stopped", run->status == 0 && run->value != KSM_RUNNING);
    if (e->consumer_count > 0)
        values_add_if(v, ksm_consumer_kinds[e->consumers[0].name.kind], true);
}

static void add_remarks(struct values *v, const struct estimate *e, const struct ksm_sample *host) {
    const struct ksm_value *across = &host->values[KSM_merge_across_nodes];

    values_add_if(v, "nodes", across->status == 0 && across->value == 0);
    if (e->counts.swapped > 0)
        values_add_bytes(v, "swapped", e->counts.swapped);
    if (e->total.all.changing > 0)
        values_add_bytes(v, "changing", bytes_of(e, e->total.all.changing));
    if (e->total.huge > 0)
        values_add_bytes(v, "huge", bytes_of(e, e->total.huge));
    values_add_bytes(v, "splits", bytes_of(e, e->total.splits * (double)e->pages_per_huge_page));
    values_add_if(v, "sampled", e->total.sampled);
    values_add_if(v, "huge_unknown", !e->knows_huge && e->counts.processes > 0);
}

/* ---- the report ---- */

static const struct values_line lines[] = {
#define ESTIMATE(label, text) {label, text},
#include "explain/explain.def"
};

enum { ROWS = 20, CELLS = 4, CELL = 13 };

static void print_consumers(const struct estimate *e, FILE *file) {
    enum { NAME = WRAP_COLUMNS - WRAP_INDENT - CELLS * CELL - 2 };

    if (e->consumer_count == 0)
        return;
    fprintf(file, "\nBy consumer\n%*s%*s%*s%*s%*s\n", WRAP_INDENT, "", CELL, "read", CELL,
            "would save", CELL, "overhead", CELL + 2, "saved already");
    for (size_t i = 0; i < e->consumer_count && i < ROWS; i++) {
        const struct estimate_consumer *c = &e->consumers[i];
        fprintf(file, "%*s", WRAP_INDENT, "");
        values_print_cell(file, CELL, (int64_t)(c->sum.pages * e->page_size));
        values_print_cell(file, CELL, bytes_of(e, c->sum.share.further));
        values_print_cell(file, CELL, overhead_of(&c->sum));
        values_print_cell(file, CELL, c->saved_now);
        fputs("    ", file);
        wrap_name(file, NAME - 2, ksm_consumer_kinds[c->name.kind], c->name.text);
    }
    if (e->consumer_count > ROWS)
        fprintf(file, "%*sand %zu more\n", WRAP_INDENT, "", e->consumer_count - ROWS);
}

void estimate_report(const struct estimate *e, const struct ksm_sample *host,
                     const struct wrap *wrap) {
    struct values v = {.count = 0};

    add_saving(&v, e, host);
    add_verdict(&v, e, host);
    values_add_bytes(&v, "read", (int64_t)(e->sum.pages * e->page_size));
    values_add_counts(&v, &e->counts, e->page_size);
    add_remarks(&v, e, host);
    fprintf(wrap->file, "What KSM would save if %s opted in\n\n",
            !e->named ? "all programs" : "these programs");
    values_print(&v, lines, sizeof(lines) / sizeof(lines[0]), wrap);
    print_consumers(e, wrap->file);
}

/* ---- JSON: clean names (consumer_name.h) need no escapes ---- */

/* The keys records_bytes and ended are kept, although the report says overhead and exited. */

static void json_sum(const struct estimate *e, const struct estimate_sum *sum, int64_t merged,
                     FILE *file) {
    values_json_number(file, "read_bytes", (int64_t)(sum->pages * e->page_size));
    values_json_number(file, "further_bytes", bytes_of(e, sum->share.further));
    values_json_number(file, "zero_bytes", bytes_of(e, sum->share.zeros));
    values_json_number(file, "changing_bytes", bytes_of(e, sum->share.changing));
    values_json_number(file, "records_bytes", overhead_of(sum));
    values_json_number(file, "merged_bytes", merged);
}

void estimate_json(const struct estimate *e, const struct ksm_sample *host, FILE *file) {
    struct estimate_sum all = {e->sum.pages, e->total.all};

    fputs("{", file);
    json_sum(e, &all, saved_now(e, host), file);
    values_json_number(file, "error_bytes", bytes_of(e, e->total.error));
    values_json_number(file, "huge_bytes", e->knows_huge ? bytes_of(e, e->total.huge) : -1);
    values_json_number(file, "split_bytes",
                       e->knows_huge ? bytes_of(e, e->total.splits * (double)e->pages_per_huge_page)
                                     : -1);
    values_json_number(file, "unreadable_bytes", (int64_t)(e->counts.unreadable * e->page_size));
    values_json_number(file, "swapped_bytes", e->counts.swapped);
    values_json_number(file, "sampled_one_in", (int64_t)1 << e->sampling_shift);
    values_json_number(file, "processes", e->counts.processes);
    values_json_number(file, "denied", e->counts.denied);
    values_json_number(file, "failed", e->counts.failed);
    values_json_number(file, "ended", e->counts.exited);
    values_json_number(file, "blocking", e->counts.blocking);
    values_json_number(file, "milliseconds", e->counts.ms);
    fprintf(file, "\"partial\": %s, \"consumers\": [", e->counts.partial ? "true" : "false");
    for (size_t i = 0; i < e->consumer_count; i++) {
        const struct estimate_consumer *c = &e->consumers[i];
        fprintf(file, "%s{", i > 0 ? ",\n  " : "\n  ");
        json_sum(e, &c->sum, c->saved_now, file);
        fprintf(file, "\"processes\": %" PRId64 ", \"kind\": \"%s\", \"name\": \"%s\"}",
                c->processes, ksm_consumer_kinds[c->name.kind], c->name.text);
    }
    fputs("]}\n", file);
}
