/* SPDX-License-Identifier: MIT
 *
 * Prints the table of figures: for the documentation, and for tests that compare both hosts.
 *
 *   figures options            the options as a Markdown table
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

static void print_options(void) {
    struct ksm_option_text text;

    puts("| collectd, `<Plugin ksm>` | ksm.plugin | allowed | default | |");
    puts("|---|---|---|---|---|");
    for (size_t i = 0; ksm_options_text(i, &text) == 0; i++)
        printf("| %s%s%s | `--%s` | %s | %s | %s |\n", text.key ? "`" : "",
               text.key ? text.key : "–", text.key ? "`" : "", text.word, text.allowed,
               text.standard, text.help);
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

    if (argc == 2 && strcmp(what, "options") == 0)
        return print_options(), EXIT_SUCCESS;
    if (argc == 2 && strcmp(what, "rules") == 0)
        return print_rules(), EXIT_SUCCESS;
    if (argc == 2 && strcmp(what, "json") == 0)
        return print_json("/");
    if (argc == 4 && strcmp(what, "json") == 0 && strcmp(argv[2], "--root") == 0)
        return print_json(argv[3]);
    fputs("usage: figures options | rules | json [--root DIR]\n", stderr);
    return EXIT_FAILURE;
}
