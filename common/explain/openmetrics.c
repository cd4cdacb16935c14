/* SPDX-License-Identifier: MIT */
#include "explain/openmetrics.h"

#include <inttypes.h>
#include <string.h>

#include "explain/format.h"

/* Name and divisor of a metric, by its kind and unit. */
static const struct form {
    const char *suffix; /* appended to the name */
    int64_t divisor;    /* a power of ten */
    const char *drop;   /* removed from the end of the name before suffix is appended */
} forms[KSM_KINDS][KSM_UNITS] = {
    [KSM_KIND_GAUGE] = {[KSM_UNIT_PAGES] = {"_pages", 1, ""},
                        [KSM_UNIT_BYTES] = {"_bytes", 1, ""},
                        [KSM_UNIT_SIGNED_BYTES] = {"_bytes", 1, ""},
                        [KSM_UNIT_PERCENT] = {"_ratio", 100000, ""},
                        [KSM_UNIT_PERCENT_OPEN] = {"_ratio", 100000, ""},
                        [KSM_UNIT_SIGNED_PERCENT] = {"_ratio", 100000, ""},
                        [KSM_UNIT_RATIO] = {"", 1000, ""},
                        [KSM_UNIT_DURATION] = {"_seconds", 1000, ""},
                        [KSM_UNIT_SECONDS_PER_GIB] = {"_seconds", 1000, ""},
                        [KSM_UNIT_PAGE_RATE] = {"_pages_per_second", 1000, ""},
                        [KSM_UNIT_NODES] = {"_nodes", 1, ""}},
    [KSM_KIND_COUNTER] = {[KSM_UNIT_SCANS] = {"_total", 1, ""},
                          [KSM_UNIT_PAGES] = {"_pages_total", 1, ""},
                          [KSM_UNIT_HUGE_PAGES] = {"_pages_total", 1, ""},
                          [KSM_UNIT_NS] = {"_seconds_total", 1000000000, ""}},
    [KSM_KIND_STATE] = {[KSM_UNIT_RUN] = {"", 1, ""}},
    [KSM_KIND_KNOB] = {[KSM_UNIT_PAGES] = {"", 1, ""},
                       [KSM_UNIT_MS] = {"_seconds", 1000, "_millisecs"},
                       [KSM_UNIT_SECONDS] = {"_seconds", 1, ""},
                       [KSM_UNIT_WHOLE_PERCENT] = {"_ratio", 100, ""},
                       [KSM_UNIT_FLAG] = {"", 1, ""}},
};

void openmetrics_header(const char *name, bool gauge, const char *help, FILE *file) {
    fprintf(file, "# HELP %s %s\n", name, help);
    if (gauge)
        fprintf(file, "# TYPE %s gauge\n", name);
}

int64_t openmetrics_form(const struct ksm_metric *metric, char name[static OPENMETRICS_NAME_SIZE]) {
    const struct form *form = &forms[metric->kind][metric->unit];
    size_t len = strlen(metric->name);

    if (form->divisor == 0)
        return 0;
    const size_t drop = strlen(form->drop);
    if (drop < len && strcmp(metric->name + len - drop, form->drop) == 0)
        len -= drop;
    snprintf(name, OPENMETRICS_NAME_SIZE, "ksm_%.*s%s", (int)len, metric->name, form->suffix);
    return form->divisor;
}

static void write_metric(const struct ksm_metric *metric, int64_t value, FILE *file) {
    char name[OPENMETRICS_NAME_SIZE], number[32];
    const int64_t divisor = openmetrics_form(metric, name);

    if (divisor == 0)
        return;
    openmetrics_header(name, metric->kind != KSM_KIND_COUNTER, metric->help, file);
    format_fixed(value, divisor, number, sizeof(number));
    fprintf(file, "%s %s\n", name, number);
}

/* kind: "other", or NULL for the consumer's. Names need no escaping (consumer_name.h). */
static void write_consumer(const char *metric, const struct ksm_consumer *consumer,
                           const char *kind, int64_t bytes, FILE *file) {
    if (bytes >= 0)
        fprintf(file, "%s{kind=\"%s\",name=\"%s\"} %" PRId64 "\n", metric,
                kind ? kind : ksm_consumer_kinds[consumer->name.kind], consumer->name.text, bytes);
}

static void write_info(const struct ksm_consumer *consumer, FILE *file) {
    char owner[KSM_TRUST_DOMAIN_SIZE];

    ksm_consumer_format_owner(consumer, owner);
    fprintf(file, "ksm_consumer_info{kind=\"%s\",name=\"%s\",owner=\"%s\",opted_in=\"%s\"} 1\n",
            ksm_consumer_kinds[consumer->name.kind], consumer->name.text, owner,
            ksm_consumer_opt_in(consumer));
}

static int64_t saved_of(const struct ksm_consumer *consumer) {
    return consumer->saved;
}

static int64_t real_of(const struct ksm_consumer *consumer) {
    return consumer->real;
}

/* The density of other consumers together would mean nothing for any of them. */
static void write_densities(const struct ksm_consumer_table *table, FILE *file) {
    static const char name[] = "ksm_consumer_merge_density_ratio";
    char number[32];

    if (!table->has_rmap_items)
        return;
    openmetrics_header(name, true, "share of a consumer's tracked pages that are merged", file);
    for (size_t i = 0; i < table->count; i++) {
        const struct ksm_consumer *c = &table->list[i];
        const int64_t density = ksm_consumer_merge_density(table, c);
        if (!c->shown || density < 0)
            continue;
        format_fixed(density, 100000, number, sizeof(number));
        fprintf(file, "%s{kind=\"%s\",name=\"%s\"} %s\n", name, ksm_consumer_kinds[c->name.kind],
                c->name.text, number);
    }
}

static void write_consumers(const struct ksm_consumer_table *table, FILE *file) {
    static const struct {
        const char *name;
        const char *help;
        int64_t (*bytes)(const struct ksm_consumer *consumer);
    } rows[] = {
        {"ksm_consumer_saved_bytes", "memory saved by a consumer: its share of ksm_saved_bytes",
         saved_of},
        {"ksm_consumer_real_bytes", "memory used by a consumer, less its share of merged pages",
         real_of},
    };

    for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++) {
        openmetrics_header(rows[row].name, true, rows[row].help, file);
        for (size_t i = 0; i < table->count; i++)
            if (table->list[i].shown)
                write_consumer(rows[row].name, &table->list[i], NULL,
                               rows[row].bytes(&table->list[i]), file);
        if (table->other.processes > 0)
            write_consumer(rows[row].name, &table->other, "other", rows[row].bytes(&table->other),
                           file);
    }
    write_densities(table, file);
    openmetrics_header("ksm_consumer_info", true,
                       "owner of a consumer, and the call by which it opted in (1)", file);
    for (size_t i = 0; i < table->count; i++)
        if (table->list[i].shown)
            write_info(&table->list[i], file);
    if (table->owners >= 0) {
        openmetrics_header("ksm_owners", true, "owners with merged memory", file);
        fprintf(file, "ksm_owners %" PRId64 "\n", table->owners);
    }
    openmetrics_header("ksm_unattributed_bytes", true,
                       "memory saved that is not attributed to a consumer", file);
    fprintf(file, "ksm_unattributed_bytes %" PRId64 "\n", table->unattributed);
}

void openmetrics_write(const struct explain_facts *facts, FILE *file) {
    for (size_t id = 0; facts->has_ksm && id < KSM_METRICS; id++)
        if (facts->now.values[id].status == 0)
            write_metric(&ksm_metrics[id], facts->now.values[id].value, file);
    if (facts->has_ksm && facts->consumers->valid)
        write_consumers(facts->consumers, file);
    fputs("# EOF\n", file);
}
