/* SPDX-License-Identifier: MIT
 *
 * Prints the table of figures: for the documentation, and for tests that compare both hosts.
 *
 *   figures table              the figures as a Markdown table
 *   figures options            the options as a Markdown table
 *   figures mdoc-figures HOST  the figures for HOST's man page; HOST is collectd or netdata
 *   figures mdoc-options HOST  the options for HOST's man page
 *   figures json [--root DIR]  the figures as JSON, with what each reads now
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "charts.h"
#include "clock.h"
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

/* Where a figure comes from, with quote around what is the kernel's. */
static void source_of(const struct ksm_figure *figure, const char *quote, char *text, size_t size) {
    static const char *const files[] = {
        [KSM_SOURCE_KSM] = "",
        [KSM_SOURCE_VMSTAT] = "vmstat ",
        [KSM_SOURCE_MEMINFO] = "meminfo ",
        [KSM_SOURCE_KSMD] = "ksmd's ",
    };

    if (figure->source == KSM_SOURCE_DERIVED)
        snprintf(text, size, "%s", figure->key);
    else
        snprintf(text, size, "%s%s%s%s", files[figure->source], quote, figure->key, quote);
}

static void print_table(void) {
    puts("| figure | meaning | from | since | collectd `ksm/` | Netdata chart · dimension |");
    puts("|---|---|---|---|---|---|");
    for (size_t id = 0; id < KSM_FIGURES; id++) {
        const struct ksm_figure *figure = &ksm_figures[id];
        char source[256];
        if (figure->kind == KSM_KIND_INPUT)
            continue;
        source_of(figure, "`", source, sizeof(source));
        printf("| %s | %s | %s | %s | `%s-%s` | `ksm.%s` · ", figure->name, figure->help, source,
               figure->since, type_of(figure), figure->name, ksm_group_names[figure->group]);
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
        printf("| `%s` | `--%s` | %s | %s | %s |\n", text.key, text.word, text.allowed,
               text.standard, text.help);
}

/* How long mandoc -Tlint finds a word: to it every character that is not ASCII is a \[u2212]. */
static size_t lint_length(const char *word, size_t len) {
    size_t length = 0;

    for (size_t i = 0; i < len; i++) {
        const unsigned char byte = (unsigned char)word[i];
        length += byte >= 0xC0 ? strlen("\\[u2212]") : byte < 0x80;
    }
    return length;
}

/* Prints text as lines of mdoc, none too long for mandoc -Tlint and none taken for a request. */
static void fill(const char *text) {
    enum { WIDTH = 80 };
    size_t column = 0;

    while (*text != '\0') {
        const size_t len = strcspn(text, " ");
        const size_t length = lint_length(text, len);
        if (column > 0)
            putchar(column + 1 + length > WIDTH ? '\n' : ' ');
        column = column == 0 || column + 1 + length > WIDTH ? length : column + 1 + length;
        if (column == length && (*text == '.' || *text == '\''))
            fputs("\\&", stdout);
        for (size_t i = 0; i < len; i++)
            text[i] == '\\' ? fputs("\\e", stdout) : putchar(text[i]);
        text += len + strspn(text + len, " ");
    }
    putchar('\n');
}

static void mdoc_figure(const struct ksm_figure *figure) {
    char source[256], text[320];

    fill(figure->help);
    source_of(figure, "", source, sizeof(source));
    snprintf(text, sizeof(text), "[%s; Linux %s]", source, figure->since);
    fill(text);
}

static void mdoc_collectd_figures(void) {
    puts(".Bl -tag -width Ds");
    for (size_t id = 0; id < KSM_FIGURES; id++) {
        const struct ksm_figure *figure = &ksm_figures[id];
        if (figure->kind == KSM_KIND_INPUT)
            continue;
        printf(".It Sy %s-%s\n", type_of(figure), figure->name);
        mdoc_figure(figure);
    }
    puts(".El");
}

/* One of a chart's dimensions: of a state every word of it is one. */
static void mdoc_dimension(const struct ksm_figure *figure) {
    if (figure->kind == KSM_KIND_STATE) {
        fputs(".It Sy", stdout);
        for (size_t i = 0; i < KSM_STATES; i++)
            printf(" %s%s", ksm_states[i], i + 1 < KSM_STATES ? " ," : "\n");
    } else {
        printf(".It Sy %s\n", figure->name);
    }
    mdoc_figure(figure);
}

static void mdoc_netdata_figures(void) {
    puts(".Bl -tag -width Ds");
    for (size_t group = 0; group < KSM_GROUPS; group++) {
        printf(".It Ic ksm.%s Pq %s\n.Bl -tag -width Ds -compact\n", ksm_group_names[group],
               charts_units((enum ksm_group)group));
        for (size_t id = 0; id < KSM_FIGURES; id++)
            if (ksm_figures[id].kind != KSM_KIND_INPUT && ksm_figures[id].group == group)
                mdoc_dimension(&ksm_figures[id]);
        puts(".El");
    }
    puts(".El");
}

static void mdoc_options(enum ksm_host host) {
    struct ksm_option_text text;

    puts(".Bl -tag -width Ds");
    for (size_t i = 0; ksm_options_text(i, &text) == 0; i++) {
        char line[320];
        if (host == KSM_COLLECTD && text.key)
            printf(".It Cm %s Ar value\n", text.key);
        else if (host == KSM_NETDATA && text.word)
            printf(".It Fl Fl %s Ns = Ns Ar value\n", text.word);
        else
            continue;
        fill(text.help);
        snprintf(line, sizeof(line), "[%s; default %s]", text.allowed, text.standard);
        fill(line);
    }
    puts(".El");
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
    const bool netdata = argc > 2 && strcmp(argv[2], "netdata") == 0;

    if (argc == 2 && strcmp(what, "table") == 0)
        return print_table(), EXIT_SUCCESS;
    if (argc == 2 && strcmp(what, "options") == 0)
        return print_options(), EXIT_SUCCESS;
    if (argc == 3 && strcmp(what, "mdoc-figures") == 0)
        return netdata ? mdoc_netdata_figures() : mdoc_collectd_figures(), EXIT_SUCCESS;
    if (argc == 3 && strcmp(what, "mdoc-options") == 0)
        return mdoc_options(netdata ? KSM_NETDATA : KSM_COLLECTD), EXIT_SUCCESS;
    if (argc == 2 && strcmp(what, "json") == 0)
        return print_json("/");
    if (argc == 4 && strcmp(what, "json") == 0 && strcmp(argv[2], "--root") == 0)
        return print_json(argv[3]);
    fputs("usage: figures table | options | mdoc-figures HOST | mdoc-options HOST | json [--root "
          "DIR]\n",
          stderr);
    return EXIT_FAILURE;
}
