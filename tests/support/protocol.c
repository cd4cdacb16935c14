/* SPDX-License-Identifier: MIT */
#include "protocol.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The agent's limits: words and bytes of a line, bytes of an id. */
enum { MOST_WORDS = 20, LONGEST_LINE = 15000, LONGEST_ID = 200 };

/* The words of a line, without their quotes. */
struct line {
    char words[MOST_WORDS][PROTOCOL_WORD];
    int count;
};

static const char blanks[] = " \t\r\v\f=";

/* Takes the word at *at into word. NULL, or what is wrong with it. */
static const char *take_word(const char **at, char *word) {
    const char *start = *at;
    size_t len = strcspn(start, blanks);

    if (*start == '\'' || *start == '"') {
        char quote[2] = {*start, '\0'};
        start++;
        len = strcspn(start, quote);
        if (start[len] != *quote)
            return "a quote is not closed";
        *at = start + len + 1;
        if (**at && !strchr(blanks, **at))
            return "something follows a closing quote";
    } else {
        *at = start + len;
        if (memchr(start, '\'', len) || memchr(start, '"', len))
            return "a quote inside a word";
    }
    if (memchr(start, '\\', len))
        return "a backslash: there is no escaping";
    if (len >= PROTOCOL_WORD)
        return "a word is too long";
    memcpy(word, start, len);
    word[len] = '\0';
    return NULL;
}

static const char *split(const char *at, struct line *line) {
    line->count = 0;
    for (;;) {
        at += strspn(at, blanks);
        if (*at == '\0')
            return NULL;
        if (line->count == MOST_WORDS)
            return "more than 20 words";
        const char *error = take_word(&at, line->words[line->count++]);
        if (error)
            return error;
    }
}

/* A plain decimal: digits, with a minus if need be, no leading zeros, within 64 bits. */
static bool take_number(const char *word, int64_t *value) {
    char again[32];

    errno = 0;
    long long n = strtoll(word, NULL, 10);
    snprintf(again, sizeof(again), "%lld", n);
    *value = n;
    return errno == 0 && strcmp(again, word) == 0;
}

static bool is_one_of(const char *word, const char *const words[], size_t count) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(word, words[i]) == 0)
            return true;
    return false;
}

static bool is_id(const char *word) {
    return *word && strlen(word) <= LONGEST_ID && !strpbrk(word, " \t'\"/");
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

static const char *take_chart(struct protocol *p, const struct line *line) {
    static const char *const types[] = {"line", "area", "stacked"};
    static const char *const options[] = {"", "obsolete"};
    const char(*words)[PROTOCOL_WORD] = line->words;

    if (p->setting)
        return "CHART between BEGIN and END";
    if (line->count != 13)
        return "CHART takes 12 words";
    const char *dot = strchr(words[1], '.');
    if (!is_id(words[1]) || !dot || dot == words[1] || !dot[1] || strchr(dot + 1, '.'))
        return "CHART: the id is not type.id";
    if (!*words[3] || !*words[4] || !*words[5] || !*words[6])
        return "CHART: title, units, family or context is empty";
    if (!is_one_of(words[7], types, 3))
        return "CHART: unknown chart type";
    if (!is_one_of(words[10], options, 2))
        return "CHART: unknown option";
    struct protocol_chart *chart = protocol_chart(p, words[1]);
    if (!chart && p->count == PROTOCOL_CHARTS)
        return "too many charts";
    if (!chart)
        chart = &p->charts[p->count++];
    if (!take_number(words[8], &chart->priority) || chart->priority <= 0)
        return "CHART: priority is not a number above 0";
    if (!take_number(words[9], &chart->update_every) || chart->update_every <= 0)
        return "CHART: update_every is not a number above 0";
    strcpy(chart->id, words[1]);
    strcpy(chart->title, words[3]);
    strcpy(chart->units, words[4]);
    strcpy(chart->family, words[5]);
    strcpy(chart->context, words[6]);
    strcpy(chart->type, words[7]);
    chart->drawn++;
    p->drawing = chart;
    p->labelling = true;
    return NULL;
}

int64_t protocol_variable(const struct protocol *p, const char *name) {
    for (int i = 0; i < p->variables_count; i++)
        if (strcmp(p->variables[i].name, name) == 0)
            return p->variables[i].value;
    return -1;
}

static const char *set_host_variable(struct protocol *p, const char *name, int64_t value) {
    int i = 0;

    while (i < p->variables_count && strcmp(p->variables[i].name, name) != 0)
        i++;
    if (i == PROTOCOL_VARIABLES)
        return "too many variables";
    if (i == p->variables_count)
        p->variables_count++;
    strcpy(p->variables[i].name, name);
    p->variables[i].value = value;
    return NULL;
}

static const char *take_variable(struct protocol *p, const struct line *line) {
    int64_t value = 0;

    if (p->setting)
        return "VARIABLE between BEGIN and END";
    if (line->count != 4)
        return "VARIABLE takes CHART or HOST, a name and a value";
    if (!is_id(line->words[2]) || strchr(line->words[2], '.'))
        return "VARIABLE: bad name";
    if (!take_number(line->words[3], &value))
        return "VARIABLE: the value is no plain number";
    if (strcmp(line->words[1], "HOST") == 0)
        return set_host_variable(p, line->words[2], value);
    if (strcmp(line->words[1], "CHART") != 0 || !p->drawing)
        return "VARIABLE CHART without a CHART before it, or of something else";
    strcpy(p->drawing->variable, line->words[2]);
    p->drawing->variable_value = value;
    return NULL;
}

static const char *take_dimension(struct protocol *p, const struct line *line) {
    const char(*words)[PROTOCOL_WORD] = line->words;
    struct protocol_chart *chart = p->drawing;

    if (!chart)
        return "DIMENSION without a CHART before it";
    p->labelling = false;
    if (line->count != 6 && line->count != 7)
        return "DIMENSION takes 5 or 6 words";
    if (!is_id(words[1]) || strchr(words[1], '.'))
        return "DIMENSION: bad id";
    bool incremental = strcmp(words[3], "incremental") == 0;
    if (!incremental && strcmp(words[3], "absolute") != 0)
        return "DIMENSION: unknown algorithm";
    struct protocol_dimension *dimension = protocol_dimension(chart, words[1]);
    if (!dimension && chart->count == PROTOCOL_DIMENSIONS)
        return "too many dimensions";
    if (dimension && dimension->incremental != incremental)
        return "DIMENSION: sent again with another algorithm";
    if (!dimension)
        dimension = &chart->dimensions[chart->count++];
    strcpy(dimension->id, words[1]);
    dimension->incremental = incremental;
    if (!take_number(words[4], &dimension->multiplier) || dimension->multiplier == 0 ||
        !take_number(words[5], &dimension->divisor) || dimension->divisor == 0)
        return "DIMENSION: multiplier or divisor is no number, or 0";
    return NULL;
}

static const char *take_begin(struct protocol *p, const struct line *line) {
    if (p->setting)
        return "BEGIN before END";
    if (line->count != 2)
        return "BEGIN takes one word here: no microseconds";
    struct protocol_chart *chart = protocol_chart(p, line->words[1]);
    if (!chart)
        return "BEGIN of a chart that is not known";
    for (int i = 0; i < chart->count; i++)
        chart->dimensions[i].set = false;
    chart->begun++;
    p->setting = chart;
    p->drawing = NULL;
    return NULL;
}

static const char *take_set(struct protocol *p, const struct line *line) {
    if (!p->setting)
        return "SET outside of BEGIN and END";
    if (line->count != 3)
        return "SET takes an id and a value";
    struct protocol_dimension *dimension = protocol_dimension(p->setting, line->words[1]);
    if (!dimension)
        return "SET of a dimension that is not known";
    if (dimension->set)
        return "SET twice";
    if (!take_number(line->words[2], &dimension->value))
        return "SET: the value is no plain number";
    dimension->set = true;
    return NULL;
}

static const char *take_end(struct protocol *p, const struct line *line) {
    if (!p->setting)
        return "END without BEGIN";
    if (line->count != 1)
        return "END takes no word";
    p->setting = NULL;
    return NULL;
}

static const char *take_label(struct protocol *p, const struct line *line) {
    bool commit = strcmp(line->words[0], "CLABEL_COMMIT") == 0;

    if (!p->drawing || !p->labelling)
        return "CLABEL not right after CHART";
    if (line->count != (commit ? 1 : 4))
        return "CLABEL takes name, value and source, CLABEL_COMMIT nothing";
    return NULL;
}

static const char *take_function(struct protocol *p, const struct line *line) {
    int64_t number = 0;

    if (p->count > 0 || p->offered)
        return "FUNCTION again, or after a chart";
    if (line->count != 8 || strcmp(line->words[1], "GLOBAL") != 0)
        return "FUNCTION takes GLOBAL and 6 words";
    if (!*line->words[2] || !take_number(line->words[3], &number) || !*line->words[4] ||
        !take_number(line->words[7], &number))
        return "FUNCTION: no name, timeout, help or priority";
    p->offered = true;
    return NULL;
}

static const char *take_answer(struct protocol *p, const struct line *line) {
    int64_t number = 0;

    if (p->setting)
        return "an answer between BEGIN and END";
    if (line->count != 5 || !take_number(line->words[2], &number) ||
        !take_number(line->words[4], &number))
        return "FUNCTION_RESULT_BEGIN takes id, status, type, expires";
    p->answering = true;
    p->answers++;
    p->drawing = NULL;
    return NULL;
}

static const char *take_line(struct protocol *p, const char *text) {
    static const struct {
        const char *keyword;
        const char *(*take)(struct protocol *p, const struct line *line);
    } keywords[] = {
        {"CHART", take_chart},
        {"VARIABLE", take_variable},
        {"DIMENSION", take_dimension},
        {"BEGIN", take_begin},
        {"SET", take_set},
        {"END", take_end},
        {"CLABEL", take_label},
        {"CLABEL_COMMIT", take_label},
        {"FUNCTION", take_function},
        {"FUNCTION_RESULT_BEGIN", take_answer},
    };
    static struct line line;

    if (strlen(text) > LONGEST_LINE)
        return "line too long";
    if (p->answering) { /* not looked into, until its end */
        p->answering = strcmp(text, "FUNCTION_RESULT_END") != 0;
        return NULL;
    }
    const char *error = split(text, &line);
    if (error || line.count == 0)
        return error;
    for (size_t i = 0; i < sizeof(keywords) / sizeof(keywords[0]); i++)
        if (strcmp(line.words[0], keywords[i].keyword) == 0)
            return keywords[i].take(p, &line);
    return "unknown keyword: the agent ends the plugin";
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
