/* SPDX-License-Identifier: MIT
 *
 * Prints the table of figures: for the documentation, and for tests that compare both hosts.
 *
 *   figures table              the figures as a Markdown table
 *   figures options            the options as a Markdown table
 *   figures statuses           what the exit statuses of ksm-explain mean, likewise
 *   figures rules              rules for Prometheus: series of ksm-explain under collectd's names
 *   figures json [--root DIR]  the figures as JSON, with what each reads now
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "charts.h"
#include "clock.h"
#include "explain.h"
#include "openmetrics.h"
#include "options.h"
#include "reader.h"
#include "types.h"

static const char *const kinds[KSM_KINDS] = {
    [KSM_KIND_GAUGE] = "gauge", [KSM_KIND_COUNTER] = "counter", [KSM_KIND_STATE] = "state",
    [KSM_KIND_KNOB] = "knob",   [KSM_KIND_INPUT] = "input",
};

static const char *type_of(const struct ksm_figure *figure) {
    return collectd_types[figure->kind][figure->unit].type;
}

static void print_source(const struct ksm_figure *figure) {
    switch (figure->source) {
    case KSM_SOURCE_KSM:
        printf("`%s`", figure->key);
        break;
    case KSM_SOURCE_VMSTAT:
        printf("vmstat `%s`", figure->key);
        break;
    case KSM_SOURCE_MEMINFO:
        printf("meminfo `%s`", figure->key);
        break;
    case KSM_SOURCE_KSMD:
        printf("ksmd's `%s`", figure->key);
        break;
    case KSM_SOURCE_DERIVED:
        printf("%s", figure->key);
        break;
    }
}

static void print_table(void) {
    puts("| figure | meaning | from | since | collectd `ksm/` | Netdata chart · dimension |");
    puts("|---|---|---|---|---|---|");
    for (size_t id = 0; id < KSM_FIGURES; id++) {
        const struct ksm_figure *figure = &ksm_figures[id];
        if (figure->kind == KSM_KIND_INPUT)
            continue;
        printf("| %s | %s | ", figure->name, figure->help);
        print_source(figure);
        printf(" | %s | `%s-%s` | `ksm.%s` · ", figure->since, type_of(figure), figure->name,
               ksm_group_names[figure->group]);
        for (size_t i = 0; figure->kind == KSM_KIND_STATE && i < KSM_STATES; i++)
            printf("%s%s", i > 0 ? ", " : "", ksm_states[i]);
        printf("%s (%s) |\n", figure->kind == KSM_KIND_STATE ? "" : figure->name,
               charts_units(figure->group));
    }
}

static void print_options(void) {
    struct ksm_option_text text;

    puts("| collectd, `<Plugin ksm>` | ksm.plugin | allowed | default | |");
    puts("|---|---|---|---|---|");
    for (size_t i = 0; ksm_options_text(i, &text) == 0; i++)
        printf("| %s%s%s | `--%s` | %s | %s | %s |\n", text.key ? "`" : "",
               text.key ? text.key : "–", text.key ? "`" : "", text.word, text.allowed,
               text.standard, text.help);
}

/* Those of one group, in tens, together, by their numbers. */
static void print_statuses(void) {
    enum { HIGHEST = 125 }; /* what is above, a shell keeps for itself */

    puts("| status | verdict | |");
    puts("|---|---|---|");
    for (int status = 0; status <= HIGHEST; status++) {
        if (status == EXIT_FAILURE)
            puts("| 1 | | Failed: an argument was not understood, or the page could not be "
                 "written. |");
        for (size_t id = 0; id < EXPLAIN_IDS; id++)
            if (explain_words[id].status == status)
                printf("| %d | `%s` | %s |\n", status, explain_words[id].name,
                       explain_words[id].sentence);
    }
}

static void print_rules(void) {
    char name[OPENMETRICS_NAME_SIZE];

    for (size_t id = 0; id < KSM_FIGURES; id++) {
        const struct ksm_figure *figure = &ksm_figures[id];
        const int64_t divisor = openmetrics_form(figure, name);
        if (divisor == 0)
            continue;
        const int64_t times = divisor / collectd_types[figure->kind][figure->unit].divisor;
        printf("      - {record: collectd_ksm_%s%s, labels: {ksm: %s}, expr: %s", type_of(figure),
               figure->kind == KSM_KIND_COUNTER ? "_total" : "", figure->name, name);
        if (times != 1)
            printf(" * %" PRId64, times);
        puts("}");
    }
}

static void print_value(const struct ksm_figure *figure, const struct ksm_value *at,
                        int64_t page_size) {
    struct charts_scale scale = charts_scale(figure, page_size);

    printf("{\"name\": \"%s\", \"help\": \"%s\", \"status\": %d, ", figure->name, figure->help,
           at->status);
    if (at->status == 0)
        printf("\"value\": %" PRId64 ", ", at->value);
    printf("\"kind\": \"%s\", \"unit\": \"%s\", \"collectd\": \"ksm/%s-%s\", "
           "\"collectd_divisor\": %d, \"chart\": \"ksm.%s\", \"dimensions\": [",
           kinds[figure->kind], ksm_unit_words[figure->unit], type_of(figure), figure->name,
           collectd_types[figure->kind][figure->unit].divisor, ksm_group_names[figure->group]);
    for (size_t i = 0; figure->kind == KSM_KIND_STATE && i < KSM_STATES; i++)
        printf("%s\"%s\"", i > 0 ? ", " : "", ksm_states[i]);
    if (figure->kind != KSM_KIND_STATE)
        printf("\"%s\"", figure->name);
    printf("], \"multiplier\": %" PRId64 ", \"divisor\": %" PRId64 "}", scale.multiplier,
           scale.divisor);
}

static int print_json(const char *root) {
    static struct ksm_reader reader;
    const char *separator = "[\n";
    int status = ksm_reader_init(&reader, root, true);

    if (status != 0) {
        char message[1024];
        ksm_reader_why_not(status, root, message, sizeof(message));
        fprintf(stderr, "figures: %s\n", message);
        return EXIT_FAILURE;
    }
    ksm_reader_tick(&reader, clock_ms(CLOCK_MONOTONIC));
    for (size_t id = 0; id < KSM_FIGURES; id++) {
        if (ksm_figures[id].kind == KSM_KIND_INPUT)
            continue;
        fputs(separator, stdout);
        print_value(&ksm_figures[id], &reader.sample.at[id], reader.sample.page_size);
        separator = ",\n";
    }
    puts("\n]");
    ksm_reader_close(&reader);
    return EXIT_SUCCESS;
}

int main(int argc, char *argv[]) {
    const char *what = argc > 1 ? argv[1] : "";

    if (argc == 2 && strcmp(what, "table") == 0)
        return print_table(), EXIT_SUCCESS;
    if (argc == 2 && strcmp(what, "options") == 0)
        return print_options(), EXIT_SUCCESS;
    if (argc == 2 && strcmp(what, "statuses") == 0)
        return print_statuses(), EXIT_SUCCESS;
    if (argc == 2 && strcmp(what, "rules") == 0)
        return print_rules(), EXIT_SUCCESS;
    if (argc == 2 && strcmp(what, "json") == 0)
        return print_json("/");
    if (argc == 4 && strcmp(what, "json") == 0 && strcmp(argv[2], "--root") == 0)
        return print_json(argv[3]);
    fputs("usage: figures table | options | statuses | rules | json [--root DIR]\n", stderr);
    return EXIT_FAILURE;
}
