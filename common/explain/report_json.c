/* SPDX-License-Identifier: MIT
 *
 * Prints the report as JSON, as described by ksm-explain.schema.json.
 */
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "explain/causes.h"
#include "explain/explain.h"
#include "explain/format.h"
#include "system/json_escape.h"

static void print_string(const char *text, FILE *file) {
    char buf[JSON_ESCAPE_SIZE];
    size_t len = 0;

    fputc('"', file);
    for (const char *piece = json_escape_next(&text, buf, &len); len > 0;
         piece = json_escape_next(&text, buf, &len))
        fwrite(piece, 1, len, file);
    fputc('"', file);
}

/* Prints a member, which is null if a value in the text is not known. */
static void print_text(const struct explain_facts *f, const char *name, const char *text,
                       FILE *file) {
    char buf[2048];

    fprintf(file, "\"%s\": ", name);
    if (text && explain_expand(f, text, buf, sizeof(buf)) == 0)
        print_string(buf, file);
    else
        fputs("null", file);
}

/* Prints a comma and a member, which is null if the number is negative. */
static void print_count(const char *name, int64_t number, FILE *file) {
    if (number >= 0)
        fprintf(file, ", \"%s\": %" PRId64, name, number);
    else
        fprintf(file, ", \"%s\": null", name);
}

/* A ratio in thousandths of a percent; null if it is -1. */
static void print_ratio(const char *name, int64_t ratio, FILE *file) {
    char number[32];

    format_fixed(ratio, 100000, number, sizeof(number));
    fprintf(file, ", \"%s\": %s", name, ratio >= 0 ? number : "null");
}

static void print_remarks(const struct explain_facts *f, enum explain_id verdict, FILE *file) {
    bool first = true;

    fputs("\"remarks\": [", file);
    for (enum explain_id id = explain_next_holding(f, verdict); id < EXPLAIN_IDS;
         id = explain_next_holding(f, id)) {
        fprintf(file, "%s\"%s\"", first ? "" : ", ", explain_texts[id].name);
        first = false;
    }
    fputs("]", file);
}

static void print_metrics(const struct explain_facts *f, FILE *file) {
    bool first = true;
    char number[32];

    fputs("\"metrics\": {", file);
    for (size_t id = 0; id < KSM_METRICS; id++) {
        const struct ksm_metric *metric = &ksm_metrics[id];
        if (!f->has_ksm || metric->kind == KSM_KIND_INPUT || f->now.values[id].status != 0)
            continue;
        format_fixed(f->now.values[id].value, ksm_unit_scale[metric->unit], number, sizeof(number));
        /* "bytes, may be negative": the unit is the part before the comma */
        const char *unit = ksm_unit_words[metric->unit];
        fprintf(file, "%s\n  \"%s\": {\"value\": %s, \"unit\": \"%.*s\"}", first ? "" : ",",
                metric->name, number, (int)strcspn(unit, ","), unit);
        first = false;
    }
    fputs("}", file);
}

/* A text; null if it is empty. */
static void print_known(const char *name, const char *text, FILE *file) {
    fprintf(file, ", \"%s\": ", name);
    if (*text)
        print_string(text, file);
    else
        fputs("null", file);
}

static void print_consumer(const struct ksm_consumer_table *table, const struct ksm_consumer *c,
                           FILE *file) {
    char owner[KSM_TRUST_DOMAIN_SIZE];

    fprintf(file, "{\"kind\": \"%s\", \"name\": ", ksm_consumer_kinds[c->name.kind]);
    print_string(c->name.text, file);
    ksm_consumer_format_owner(c, owner);
    print_known("owner", owner, file);
    print_known("opted_in", ksm_consumer_opt_in(c), file);
    const struct {
        const char *name;
        int64_t number;
    } members[] = {
        {"processes", c->processes},
        {"saved_bytes", c->saved},
        {"real_bytes", c->real},
        {"merging_pages", c->merging},
        {"zero_pages", table->has_zero_pages ? c->zero : -1},
        {"tracked_pages", table->has_rmap_items ? c->rmap_items : -1},
    };
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
        print_count(members[i].name, members[i].number, file);
    print_ratio("merge_density", ksm_consumer_merge_density(table, c), file);
    fputs("}", file);
}

static void print_consumers(const struct ksm_consumer_table *table, FILE *file) {
    if (!table || !table->enabled || !table->valid) {
        fputs("\"consumers\": null, \"owners\": null, \"unattributed_bytes\": null", file);
        return;
    }
    fputs("\"consumers\": [", file);
    for (size_t i = 0; i < table->count; i++) {
        fputs(i > 0 ? ",\n  " : "\n  ", file);
        print_consumer(table, &table->list[i], file);
    }
    fputs("]", file);
    print_count("owners", table->owners, file);
    print_count("unattributed_bytes", table->unattributed, file);
}

static void print_process(const struct explain_facts *f, const struct explain_process *p,
                          FILE *file) {
    const struct explain_cause_texts *cause = &explain_cause_texts[explain_cause_of(f, p)];

    fprintf(file, "{\"pid\": %d, \"comm\": ", p->pid);
    print_string(p->comm, file);
    fprintf(file, ", \"kind\": \"%s\", \"name\": ", ksm_consumer_kinds[p->name.kind]);
    print_string(p->name.text, file);
    print_count("memory_bytes", p->memory, file);
    print_count("mergeable_bytes", p->mergeable, file);
    print_count("merging_pages", p->merging, file);
    fprintf(file, ", \"cause\": \"%s\", ", cause->name);
    print_text(f, "sentence", cause->sentence, file);
    fputs(", ", file);
    print_text(f, "advice", cause->advice, file);
    fputs("}", file);
}

static void print_processes(const struct explain_facts *f, FILE *file) {
    fputs("\"little_merged\": [", file);
    for (int i = 0; f->processes && i < f->processes->count; i++) {
        fputs(i > 0 ? ",\n  " : "\n  ", file);
        print_process(f, &f->processes->list[i], file);
    }
    fputs("]", file);
}

void explain_json(const struct explain_facts *facts, FILE *file) {
    const enum explain_id id = explain_verdict(facts);
    const struct explain_texts *texts = &explain_texts[id];

    fprintf(file, "{\"version\": \"%s\", \"verdict\": \"%s\", \"status\": %d,\n", KSM_VERSION,
            texts->name, texts->status);
    print_text(facts, "sentence", texts->sentence, file);
    fputs(",\n", file);
    print_text(facts, "reason", texts->reason, file);
    fputs(",\n", file);
    print_text(facts, "advice", texts->advice, file);
    fputs(",\n", file);
    print_remarks(facts, id, file);
    fputs(",\n", file);
    print_metrics(facts, file);
    fputs(",\n", file);
    print_consumers(facts->consumers, file);
    fputs(",\n", file);
    print_processes(facts, file);
    fputs("}\n", file);
}
