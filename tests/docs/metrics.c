/* SPDX-License-Identifier: MIT
 *
 * Prints the table of metrics: for the documentation, and for tests that compare both hosts.
 *
 *   metrics options            the options as a Markdown table
 *   metrics rules              rules for Prometheus: series of ksm-explain under collectd's names
 *   metrics json [--root DIR]  the metrics as JSON, with what each reads now
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "charts.h"
#include "explain/openmetrics.h"
#include "metrics/reader.h"
#include "options.h"
#include "system/clock.h"
#include "types.h"

static const char *const kinds[KSM_KINDS] = {
    [KSM_KIND_GAUGE] = "gauge", [KSM_KIND_COUNTER] = "counter", [KSM_KIND_STATE] = "state",
    [KSM_KIND_KNOB] = "knob",   [KSM_KIND_INPUT] = "input",
};

static const char *type_of(const struct ksm_metric *metric) {
    return collectd_types[metric->kind][metric->unit].type;
}

static void print_options(void) {
    struct ksm_option_text text;

    puts("| collectd, `<Plugin ksm>` | ksm.plugin | allowed | default | |");
    puts("|---|---|---|---|---|");
    for (size_t i = 0; ksm_options_text(KSM_NETDATA, i, &text) == 0; i++)
        printf("| %s%s%s | `--%s` | %s | %s | %s |\n", text.collectd_key ? "`" : "",
               text.collectd_key ? text.collectd_key : "–", text.collectd_key ? "`" : "",
               text.long_option, text.allowed, text.default_value, text.help);
}

static void print_rules(void) {
    char name[OPENMETRICS_NAME_SIZE];

    for (size_t id = 0; id < KSM_METRICS; id++) {
        const struct ksm_metric *metric = &ksm_metrics[id];
        const int64_t divisor = openmetrics_form(metric, name);
        if (divisor == 0)
            continue;
        const int64_t times = divisor / collectd_types[metric->kind][metric->unit].divisor;
        printf("      - {record: collectd_ksm_%s%s, labels: {ksm: %s}, expr: %s", type_of(metric),
               metric->kind == KSM_KIND_COUNTER ? "_total" : "", metric->name, name);
        if (times != 1)
            printf(" * %" PRId64, times);
        puts(" unless ksm_openmetrics:old}");
    }
}

static void print_value(const struct ksm_metric *metric, const struct ksm_value *value,
                        int64_t page_size) {
    struct charts_scale scale = charts_scale(metric, page_size);

    printf("{\"name\": \"%s\", \"help\": \"%s\", \"status\": %d, ", metric->name, metric->help,
           value->status);
    if (value->status == 0)
        printf("\"value\": %" PRId64 ", ", value->value);
    printf("\"kind\": \"%s\", \"unit\": \"%s\", \"collectd\": \"ksm/%s-%s\", "
           "\"collectd_divisor\": %d, \"chart\": \"ksm.%s\", \"dimensions\": [",
           kinds[metric->kind], ksm_unit_words[metric->unit], type_of(metric), metric->name,
           collectd_types[metric->kind][metric->unit].divisor, ksm_group_names[metric->group]);
    for (size_t i = 0; metric->kind == KSM_KIND_STATE && i < KSM_STATES; i++)
        printf("%s\"%s\"", i > 0 ? ", " : "", ksm_states[i]);
    if (metric->kind != KSM_KIND_STATE)
        printf("\"%s\"", metric->name);
    printf("], \"multiplier\": %" PRId64 ", \"divisor\": %" PRId64 "}", scale.multiplier,
           scale.divisor);
}

static int print_json(const char *root) {
    static struct ksm_reader reader;
    const char *separator = "[\n";
    int status = ksm_reader_init(&reader, root, true);

    if (status != 0) {
        char message[1024];
        ksm_reader_describe_error(status, root, message, sizeof(message));
        fprintf(stderr, "metrics: %s\n", message);
        return EXIT_FAILURE;
    }
    ksm_reader_tick(&reader, clock_ms(CLOCK_MONOTONIC));
    for (size_t id = 0; id < KSM_METRICS; id++) {
        if (ksm_metrics[id].kind == KSM_KIND_INPUT)
            continue;
        fputs(separator, stdout);
        print_value(&ksm_metrics[id], &reader.sample.values[id], reader.sample.page_size);
        separator = ",\n";
    }
    puts("\n]");
    ksm_reader_close(&reader);
    return EXIT_SUCCESS;
}

int main(int argc, char *argv[]) {
    const char *what = argc > 1 ? argv[1] : "";

    if (argc == 2 && strcmp(what, "options") == 0)
        return print_options(), EXIT_SUCCESS;
    if (argc == 2 && strcmp(what, "rules") == 0)
        return print_rules(), EXIT_SUCCESS;
    if (argc == 2 && strcmp(what, "json") == 0)
        return print_json("/");
    if (argc == 4 && strcmp(what, "json") == 0 && strcmp(argv[2], "--root") == 0)
        return print_json(argv[3]);
    fputs("usage: metrics options | rules | json [--root DIR]\n", stderr);
    return EXIT_FAILURE;
}
