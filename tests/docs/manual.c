/* SPDX-License-Identifier: MIT
 *
 * Prints the lists of the man pages, in mdoc.
 *
 *   manual metrics HOST     the metrics; HOST is collectd or netdata
 *   manual options HOST     the options
 *   manual statuses explain the exit statuses of ksm-explain
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "charts.h"
#include "explain/explain.h"
#include "options.h"
#include "types.h"

/* How long mandoc -Tlint finds a word: to it every character that is not ASCII is a \[u2212]. */
static size_t lint_length(const char *word, size_t len) {
    size_t length = 0;

    for (size_t i = 0; i < len; i++) {
        const unsigned char byte = (unsigned char)word[i];
        length += byte >= 0xC0 ? strlen("\\[u2212]") : byte < 0x80;
    }
    return length;
}

/* Prints text as lines of mdoc: none too long for mandoc -Tlint, a new one after a sentence, and
 * none taken for a request. */
static void fill(const char *text) {
    enum { WIDTH = 80 };
    size_t column = 0;

    while (*text != '\0') {
        const size_t len = strcspn(text, " ");
        const size_t length = lint_length(text, len);
        if (column > 0 && column + 1 + length > WIDTH)
            column = 0, putchar('\n');
        if (column > 0)
            column++, putchar(' ');
        if (column == 0 && (*text == '.' || *text == '\''))
            fputs("\\&", stdout);
        for (size_t i = 0; i < len; i++)
            text[i] == '\\' ? fputs("\\e", stdout) : putchar(text[i]);
        column += length;
        text += len;
        if (*text != '\0' && text[-1] == '.')
            column = 0, putchar('\n');
        text += strspn(text, " ");
    }
    putchar('\n');
}

static void print_metric(const struct ksm_metric *metric) {
    static const char *const files[] = {
        [KSM_SOURCE_KSM] = "",
        [KSM_SOURCE_VMSTAT] = "vmstat ",
        [KSM_SOURCE_MEMINFO] = "meminfo ",
        [KSM_SOURCE_KSMD] = "ksmd's ",
        [KSM_SOURCE_DERIVED] = "",
    };
    char text[320];

    fill(metric->help);
    snprintf(text, sizeof(text), "[%s%s; Linux %s]", files[metric->source], metric->key,
             metric->since);
    fill(text);
}

static void print_collectd_metrics(void) {
    puts(".Bl -tag -width Ds");
    for (size_t id = 0; id < KSM_METRICS; id++) {
        const struct ksm_metric *metric = &ksm_metrics[id];
        if (metric->kind == KSM_KIND_INPUT)
            continue;
        printf(".It Sy %s-%s\n", collectd_types[metric->kind][metric->unit].type, metric->name);
        print_metric(metric);
    }
    puts(".El");
}

/* One of a chart's dimensions: of a state every word of it is one. */
static void print_dimension(const struct ksm_metric *metric) {
    if (metric->kind == KSM_KIND_STATE) {
        fputs(".It Sy", stdout);
        for (size_t i = 0; i < KSM_STATES; i++)
            printf(" %s%s", ksm_states[i], i + 1 < KSM_STATES ? " ," : "\n");
    } else {
        printf(".It Sy %s\n", metric->name);
    }
    print_metric(metric);
}

static void print_netdata_metrics(void) {
    puts(".Bl -tag -width Ds");
    for (size_t group = 0; group < KSM_GROUPS; group++) {
        printf(".It Ic ksm.%s Pq %s\n.Bl -tag -width Ds -compact\n", ksm_group_names[group],
               charts_units((enum ksm_group)group));
        for (size_t id = 0; id < KSM_METRICS; id++)
            if (ksm_metrics[id].kind != KSM_KIND_INPUT && ksm_metrics[id].group == group)
                print_dimension(&ksm_metrics[id]);
        puts(".El");
    }
    puts(".El");
}

static void print_options(enum ksm_program host) {
    struct ksm_option_text text;

    puts(".Bl -tag -width Ds");
    for (size_t i = 0; ksm_options_text(host, i, &text) == 0; i++) {
        char line[320];
        if (host == KSM_COLLECTD && text.collectd_key)
            printf(".It Cm %s Ar value%s\n", text.collectd_key,
                   ksm_option_is_list(host, text.collectd_key) ? " ..." : "");
        else if (host == KSM_NETDATA && text.long_option)
            printf(".It Fl Fl %s Ns = Ns Ar value\n", text.long_option);
        else
            continue;
        fill(text.help);
        const char *quote = host == KSM_COLLECTD && text.is_text ? "\"" : "";
        snprintf(line, sizeof(line), "[%s; default %s%s%s]", text.allowed, quote,
                 text.default_value, quote);
        fill(line);
    }
    puts(".El");
}

/* By their numbers: those of one group, in tens, together. */
static void print_statuses(void) {
    enum { HIGHEST = 125 }; /* what is above, a shell keeps for itself */

    puts(".Bl -tag -width Ds");
    for (int status = 0; status <= HIGHEST; status++)
        for (size_t id = 0; id < EXPLAIN_IDS; id++)
            if (explain_texts[id].status == status) {
                printf(".It %d , Sy %s\n", status, explain_texts[id].name);
                fill(explain_texts[id].sentence);
            }
    puts(".El");
}

int main(int argc, char *argv[]) {
    const char *what = argc == 3 ? argv[1] : "";
    const char *host = argc == 3 ? argv[2] : "";
    const bool netdata = strcmp(host, "netdata") == 0;

    if (strcmp(what, "statuses") == 0 && strcmp(host, "explain") == 0)
        return print_statuses(), EXIT_SUCCESS;
    if (!netdata && strcmp(host, "collectd") != 0)
        what = "";
    if (strcmp(what, "metrics") == 0)
        return netdata ? print_netdata_metrics() : print_collectd_metrics(), EXIT_SUCCESS;
    if (strcmp(what, "options") == 0)
        return print_options(netdata ? KSM_NETDATA : KSM_COLLECTD), EXIT_SUCCESS;
    fputs("usage: manual metrics | options collectd | netdata\n"
          "       manual statuses explain\n",
          stderr);
    return EXIT_FAILURE;
}
