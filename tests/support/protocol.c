/* SPDX-License-Identifier: MIT */
#include "protocol.h"

#include <err.h>
#include <errno.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The agent's limits in bytes, and how many words of a line vary. */
enum { LONGEST_LINE = 15000, LONGEST_ID = 200, MOST_WORDS = 11 };

#define PLAIN "[^][:space:]'\"/.=\\[]+"
#define ID "(" PLAIN ")"
#define CHART_ID "(" PLAIN "[.]" PLAIN ")"
#define QUOTED "'([^'\"\\]+)'"
#define NUMBER "(0|-?[1-9][0-9]*)"

/* The words of a line that vary. */
typedef char words[MOST_WORDS][PROTOCOL_WORD];

static bool number(const char *word, int64_t *value) {
    errno = 0;
    *value = strtoll(word, NULL, 10);
    return errno == 0;
}

struct protocol_chart *protocol_chart(struct protocol *p, const char *id) {
    for (int i = 0; i < p->count; i++)
        if (strcmp(p->charts[i].id, id) == 0)
            return &p->charts[i];
    return NULL;
}

struct protocol_dimension *protocol_dimension(struct protocol_chart *chart, const char *id) {
    for (int i = 0; i < chart->count; i++)
        if (strcmp(chart->dimensions[i].id, id) == 0)
            return &chart->dimensions[i];
    return NULL;
}

/* Takes a chart's name, or "" for that of its id. What the agent does not keep in a name it
 * replaces by _, and if names are equal then, it numbers them: no name may depend on that. */
static const char *take_name(const struct protocol *p, struct protocol_chart *chart,
                             const char *name) {
    static const char kept[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";

    strcpy(chart->name, strcmp(name, "''") == 0 ? strchr(chart->id, '.') + 1 : name);
    if (chart->name[strspn(chart->name, kept)])
        return "the agent changes this chart's name";
    for (int i = 0; i < p->count; i++)
        if (&p->charts[i] != chart && strcmp(p->charts[i].name, chart->name) == 0)
            return "another chart has this name";
    return NULL;
}

static const char *take_chart(struct protocol *p, words word) {
    struct protocol_chart *chart = protocol_chart(p, word[1]);
    int64_t priority = 0;

    if (strlen(word[1]) > LONGEST_ID || (!chart && p->count == PROTOCOL_CHARTS))
        return "too long an id, or too many charts";
    if (!chart)
        chart = &p->charts[p->count++];
    strcpy(chart->id, word[1]);
    strcpy(chart->title, word[3]);
    strcpy(chart->units, word[4]);
    strcpy(chart->context, word[6]);
    if (!number(word[8], &priority) || !number(word[9], &chart->update_every))
        return "a number is too large";
    chart->drawn++;
    p->drawing = chart;
    p->labelling = true;
    return take_name(p, chart, word[2]);
}

int64_t protocol_variable(const struct protocol *p, const char *name) {
    for (int i = 0; i < p->variables_count; i++)
        if (strcmp(p->variables[i].name, name) == 0)
            return p->variables[i].value;
    return -1;
}

static const char *take_host_variable(struct protocol *p, words word) {
    int i = 0;

    while (i < p->variables_count && strcmp(p->variables[i].name, word[1]) != 0)
        i++;
    if (i == PROTOCOL_VARIABLES)
        return "too many variables";
    if (i == p->variables_count)
        p->variables_count++;
    strcpy(p->variables[i].name, word[1]);
    return number(word[2], &p->variables[i].value) ? NULL : "the number is too large";
}

static const char *take_chart_variable(struct protocol *p, words word) {
    strcpy(p->drawing->variable, word[1]);
    return number(word[2], &p->drawing->variable_value) ? NULL : "the number is too large";
}

static const char *take_label(struct protocol *p, words word) {
    (void)word;
    return p->labelling ? NULL : "not right after CHART";
}

static const char *take_dimension(struct protocol *p, words word) {
    struct protocol_chart *chart = p->drawing;
    struct protocol_dimension *dimension = protocol_dimension(chart, word[1]);
    bool incremental = strcmp(word[2], "incremental") == 0;

    p->labelling = false;
    if (!dimension && chart->count == PROTOCOL_DIMENSIONS)
        return "too many dimensions";
    if (dimension && dimension->incremental != incremental)
        return "sent again with another algorithm";
    if (!dimension)
        dimension = &chart->dimensions[chart->count++];
    strcpy(dimension->id, word[1]);
    dimension->incremental = incremental;
    if (!number(word[3], &dimension->multiplier) || dimension->multiplier == 0 ||
        !number(word[4], &dimension->divisor) || dimension->divisor == 0)
        return "multiplier or divisor is too large, or 0";
    return NULL;
}

static const char *take_begin(struct protocol *p, words word) {
    struct protocol_chart *chart = protocol_chart(p, word[1]);

    if (!chart)
        return "the chart is not known";
    for (int i = 0; i < chart->count; i++)
        chart->dimensions[i].set = false;
    chart->begun++;
    p->setting = chart;
    p->drawing = NULL;
    return NULL;
}

static const char *take_set(struct protocol *p, words word) {
    struct protocol_dimension *dimension = protocol_dimension(p->setting, word[1]);

    if (!dimension)
        return "the dimension is not known";
    if (dimension->set)
        return "SET twice";
    dimension->set = true;
    return number(word[2], &dimension->value) ? NULL : "the number is too large";
}

static const char *take_end(struct protocol *p, words word) {
    (void)word;
    p->setting = NULL;
    return NULL;
}

static const char *take_function(struct protocol *p, words word) {
    (void)word;
    if (p->count > 0 || p->offered)
        return "again, or after a chart";
    p->offered = true;
    return NULL;
}

static const char *take_answer(struct protocol *p, words word) {
    (void)word;
    p->answering = true;
    p->drawing = NULL;
    return NULL;
}

/* Every line there is, and where it may stand. */
static const struct {
    const char *pattern;
    enum { ANYWHERE_ELSE, AFTER_CHART, AFTER_BEGIN } where;
    const char *(*take)(struct protocol *p, words word);
} lines[] = {
    {"CHART " CHART_ID " (''|[[:alnum:]_.-]+) " QUOTED " " QUOTED " " QUOTED " " CHART_ID
     " (line|area|stacked) ([1-9][0-9]*) ([1-9][0-9]*) (''|obsolete) ksm[.]plugin ksm",
     ANYWHERE_ELSE, take_chart},
    {"VARIABLE HOST " ID " = " NUMBER, ANYWHERE_ELSE, take_host_variable},
    {"VARIABLE CHART " ID " = " NUMBER, AFTER_CHART, take_chart_variable},
    {"CLABEL " ID " (" ID "|" QUOTED ") 1", AFTER_CHART, take_label},
    {"CLABEL_COMMIT", AFTER_CHART, take_label},
    {"DIMENSION " ID " '' (absolute|incremental) " NUMBER " " NUMBER, AFTER_CHART, take_dimension},
    {"BEGIN " CHART_ID, ANYWHERE_ELSE, take_begin},
    {"SET " ID " = " NUMBER, AFTER_BEGIN, take_set},
    {"END", AFTER_BEGIN, take_end},
    {"FUNCTION GLOBAL \"[^\"]+\" [0-9]+ \"[^\"]+\" \"[^\"]+\" [^ ]+ [0-9]+", ANYWHERE_ELSE,
     take_function},
    {"FUNCTION_RESULT_BEGIN [^ ]+ [0-9]+ [^ ]+ [0-9]+", ANYWHERE_ELSE, take_answer},
};
enum { LINES = sizeof(lines) / sizeof(lines[0]) };

/* Whether the text is such a line; then its words. */
static bool is_line(int i, const char *text, words word) {
    static regex_t compiled[LINES];
    static bool known[LINES];
    regmatch_t found[MOST_WORDS];
    char pattern[1000];
    size_t keyword = strcspn(lines[i].pattern, " ");

    if (strncmp(text, lines[i].pattern, keyword) != 0)
        return false;
    snprintf(pattern, sizeof(pattern), "^%s$", lines[i].pattern);
    if (!known[i] && regcomp(&compiled[i], pattern, REG_EXTENDED) != 0)
        errx(2, "%s", pattern);
    known[i] = true;
    if (regexec(&compiled[i], text, MOST_WORDS, found, 0) != 0)
        return false;
    for (int j = 1; j < MOST_WORDS && found[j].rm_so >= 0; j++) {
        const int len = (int)(found[j].rm_eo - found[j].rm_so);
        if (snprintf(word[j], sizeof(word[j]), "%.*s", len, text + found[j].rm_so) >= PROTOCOL_WORD)
            return false;
    }
    return true;
}

static const char *take_line(struct protocol *p, const char *text) {
    static words word;

    if (strlen(text) > LONGEST_LINE)
        return "line too long";
    if (p->answering) { /* not looked into, until its end */
        p->answering = strcmp(text, "FUNCTION_RESULT_END") != 0;
        return NULL;
    }
    if (!*text)
        return NULL;
    for (int i = 0; i < LINES; i++) {
        if (!is_line(i, text, word))
            continue;
        if ((lines[i].where == AFTER_BEGIN) != (p->setting != NULL) ||
            (lines[i].where == AFTER_CHART && !p->drawing))
            return "not here";
        return lines[i].take(p, word);
    }
    return "some agent does not take it, or not as it is meant";
}

int protocol_read(struct protocol *p, const char *text, size_t len) {
    const char *end = text + len;

    if (memchr(text, '\0', len) || (len > 0 && end[-1] != '\n')) {
        snprintf(p->error, sizeof(p->error), "a NUL, or no newline at the end");
        return -1;
    }
    while (text < end) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        char *line = strndup(text, (size_t)(newline - text));
        const char *error = take_line(p, line);
        if (error)
            snprintf(p->error, sizeof(p->error), "%s: \"%.300s\"", error, line);
        free(line);
        if (error)
            return -1;
        text = newline + 1;
    }
    return 0;
}
