/* SPDX-License-Identifier: MIT */
#include "function.h"

#include <stdbool.h>
#include <string.h>

#include "derive.h"
#include "json.h"

static const char name[] = "ksm:consumers";
static const char help[] = "Who saves memory by KSM, and what that costs: virtual machines, "
                           "containers, services and programs that have memory registered";

static void texts(struct out *out, const char *const *words) {
    for (; *words; words++)
        out_text(out, *words);
}

#define TEXTS(out, ...) texts(out, (const char *const[]){__VA_ARGS__, NULL})

/* ---- rows ---- */

/* A row of the table. kind: a consumer's, or what else it stands for. */
struct row {
    const char *kind;
    const struct ksm_consumer *consumer;
};

/* Figures of a row: processes, or bytes; -1: not known. */

static int64_t in_bytes(int64_t count, int64_t size) {
    int64_t bytes = 0;

    return count < 0 || __builtin_mul_overflow(count, size, &bytes) ? -1 : bytes;
}

static int64_t processes(const struct ksm_consumers *c, const struct ksm_consumer *one) {
    (void)c;
    return one->processes;
}

static int64_t saved(const struct ksm_consumers *c, const struct ksm_consumer *one) {
    (void)c;
    return one->saved;
}

static int64_t real(const struct ksm_consumers *c, const struct ksm_consumer *one) {
    (void)c;
    return one->real;
}

static int64_t resident(const struct ksm_consumers *c, const struct ksm_consumer *one) {
    return in_bytes(one->resident, c->page_size);
}

static int64_t merging(const struct ksm_consumers *c, const struct ksm_consumer *one) {
    return in_bytes(one->merging, c->page_size);
}

static int64_t zero(const struct ksm_consumers *c, const struct ksm_consumer *one) {
    return c->table.tells_zero ? in_bytes(one->zero, c->page_size) : -1;
}

static int64_t metadata(const struct ksm_consumers *c, const struct ksm_consumer *one) {
    return c->table.tells_rmap_items ? in_bytes(one->rmap_items, KSM_RMAP_ITEM_BYTES) : -1;
}

/* ---- columns ---- */

enum type { KEY, KIND, NAME, COUNT, SIZE };

/* How the agent's tables draw a column of each type; the words are theirs. */
static const struct look {
    const char *type;
    const char *visualization;
    const char *units; /* "", or members of an object */
    const char *transform;
    const char *decimal_points;
    const char *sort;
    const char *summary; /* of a group of rows */
    const char *filter;
} looks[] = {
    [KEY] = {"string", "value", "", "none", "0", "ascending", "count", "none"},
    [KIND] = {"string", "pill", "", "none", "0", "ascending", "count", "multiselect"},
    [NAME] = {"string", "value", "", "none", "0", "ascending", "count", "multiselect"},
    [COUNT] = {"integer", "value", "", "number", "0", "descending", "sum", "range"},
    [SIZE] = {"bar-with-integer", "bar", "\"units\":\"MiB\",", "number", "2", "descending", "sum",
              "range"},
};

/* In the order of the values of a row. */
static const struct column {
    const char *id;
    const char *name;
    enum type type;
    int64_t (*figure)(const struct ksm_consumers *c, const struct ksm_consumer *one);
} columns[] = {
    {"Id", "Kind and name", KEY, NULL}, {"Kind", "Kind", KIND, NULL},
    {"Name", "Name", NAME, NULL},       {"Processes", "Processes", COUNT, processes},
    {"Saved", "Saved", SIZE, saved},    {"Real", "Real", SIZE, real},
    {"RSS", "RSS", SIZE, resident},     {"Merging", "Merging", SIZE, merging},
    {"Zero", "Zero", SIZE, zero},       {"Metadata", "Metadata", SIZE, metadata},
};

enum { COLUMNS = sizeof(columns) / sizeof(columns[0]) };

/* What is left over, as a row: only what it saves is known. */
static struct ksm_consumer unattributed(const struct ksm_consumer_table *table) {
    return (struct ksm_consumer){.name.text = "unattributed",
                                 .saved = table->unattributed,
                                 .real = -1,
                                 .resident = -1,
                                 .merging = -1,
                                 .zero = -1,
                                 .rmap_items = -1,
                                 .processes = -1};
}

/* What a bar is drawn against: the largest value of its column. */
static int64_t largest(const struct ksm_consumers *c, const struct column *column) {
    const struct ksm_consumer last = unattributed(&c->table);
    int64_t most = column->figure(c, &last);

    for (size_t i = 0; i < c->table.count; i++) {
        int64_t value = column->figure(c, &c->table.list[i]);
        most = value > most ? value : most;
    }
    return most > 0 ? most : 0;
}

static const char *truth(bool condition) {
    return condition ? "true" : "false";
}

static void write_column(const struct ksm_consumers *c, const struct column *column,
                         struct out *out) {
    const enum type type = column->type;
    const struct look *look = &looks[type];

    TEXTS(out, "\"name\":\"", column->name, "\",\"unique_key\":", truth(type == KEY),
          ",\"visible\":", truth(type != KEY), ",\"sticky\":", truth(type == NAME), ",\"type\":\"",
          look->type, "\",\"visualization\":\"", look->visualization, "\",", look->units,
          "\"value_options\":{", look->units, "\"transform\":\"", look->transform,
          "\",\"decimal_points\":", look->decimal_points, ",\"default_value\":null},\"sort\":\"",
          look->sort, "\",\"sortable\":true,\"summary\":\"", look->summary, "\",\"filter\":\"",
          look->filter, "\",\"full_width\":", truth(type == NAME),
          ",\"wrap\":false,\"default_expanded_filter\":", truth(type == KIND));
    if (type == SIZE) {
        out_text(out, ",\"max\":");
        json_mib(largest(c, column), out);
    }
}

static void write_columns(const struct ksm_consumers *c, struct out *out) {
    out_text(out, "\"columns\":{\n");
    for (size_t i = 0; i < COLUMNS; i++) {
        TEXTS(out, i > 0 ? ",\n\"" : "\"", columns[i].id, "\":{\"index\":");
        out_number(out, (int64_t)i);
        out_text(out, ",");
        write_column(c, &columns[i], out);
        out_text(out, "}");
    }
    out_text(out, "},\n");
}

static void write_value(const struct ksm_consumers *c, const struct column *column,
                        const struct row *row, struct out *out) {
    int64_t value = column->figure ? column->figure(c, row->consumer) : 0;

    if (column->type == KEY) {
        /* No kind holds a slash: what differs in kind or name differs here. */
        TEXTS(out, "\"", row->kind, "/");
        json_characters(row->consumer->name.text, out);
        out_text(out, "\"");
    } else if (column->type == KIND) {
        json_string(row->kind, out);
    } else if (column->type == NAME) {
        json_string(row->consumer->name.text, out);
    } else if (value < 0) {
        out_text(out, "null");
    } else if (column->type == SIZE) {
        json_mib(value, out);
    } else {
        out_number(out, value);
    }
}

static void write_row(const struct ksm_consumers *c, const char *kind,
                      const struct ksm_consumer *consumer, bool first, struct out *out) {
    const struct row row = {kind, consumer};

    out_text(out, first ? "[" : ",\n[");
    for (size_t i = 0; i < COLUMNS; i++) {
        if (i > 0)
            out_text(out, ",");
        write_value(c, &columns[i], &row, out);
    }
    out_text(out, "]");
}

/* Who is shown in charts has a place in any case, the others as long as there are some. */
static void write_rows(const struct ksm_consumers *c, struct out *out) {
    const struct ksm_consumer_table *table = &c->table;
    struct ksm_consumer rest = {.name.text = "other"};
    const struct ksm_consumer last = unattributed(table);
    size_t room = FUNCTION_ROWS;
    bool first = true;

    for (size_t i = 0; i < table->count; i++)
        room -= table->list[i].shown ? 1 : 0;
    out_text(out, "\"data\":[\n");
    for (size_t i = 0; i < table->count; i++) {
        const struct ksm_consumer *one = &table->list[i];
        if (!one->shown && room == 0) {
            ksm_consumer_add(&rest, one);
            continue;
        }
        room -= one->shown ? 0 : 1;
        write_row(c, ksm_consumer_kinds[one->name.kind], one, first, out);
        first = false;
    }
    if (rest.processes > 0)
        write_row(c, "other", &rest, first, out);
    if (last.saved > 0)
        write_row(c, "unattributed", &last, first && rest.processes == 0, out);
    out_text(out, "],\n");
}

/* ---- answers ---- */

/* Whether the host's consumers can be known at all. */
static bool is_offered(const struct ksm_consumers *c) {
    return c->top > 0 && c->processes.source != KSM_PROCESS_NOTHING;
}

static void begin(const struct request *request, int status, int64_t expires, struct out *out) {
    TEXTS(out, "FUNCTION_RESULT_BEGIN ", request->id, " ");
    out_number(out, status);
    out_text(out, " application/json ");
    out_number(out, expires);
    out_text(out, "\n{\"status\":");
    out_number(out, status);
    out_text(out, ",");
}

static void end(struct out *out) {
    out_text(out, "}\nFUNCTION_RESULT_END\n");
}

/* Of its two names the message has had in 2.x, each is read by some. */
static void answer_error(const struct request *request, int status, const char *message,
                         struct out *out) {
    begin(request, status, 0, out);
    out_text(out, "\"errorMessage\":");
    json_string(message, out);
    out_text(out, ",\"error_message\":");
    json_string(message, out);
    end(out);
}

/* What the table's answer and that to info have in common. */
static void begin_good(const struct ksm_consumers *c, const struct request *request, int64_t now,
                       struct out *out) {
    const int64_t interval = c->interval / 1000;

    begin(request, 200, now + interval, out);
    TEXTS(out, "\"v\":3,\"type\":\"table\",\"has_history\":false,\"help\":\"", help);
    if (c->table.count > FUNCTION_ROWS)
        out_text(out, ". There are too many to list them all: those that save most are listed, "
                      "some of the others are together in other");
    out_text(out, "\",\"accepted_params\":[],\"required_params\":[],\"update_every\":");
    out_number(out, interval);
    out_text(out, ",\"expires\":");
    out_number(out, now + interval);
}

static void answer_table(const struct ksm_consumers *c, const struct request *request, int64_t now,
                         struct out *out) {
    begin_good(c, request, now, out);
    out_text(out, ",\n");
    write_columns(c, out);
    write_rows(c, out);
    out_text(out, "\"default_sort_column\":\"Saved\",\n"
                  "\"charts\":{"
                  "\"Saved\":{\"name\":\"Memory saved\",\"type\":\"stacked-bar\","
                  "\"columns\":[\"Saved\"]},"
                  "\"Memory\":{\"name\":\"Memory used and saved\",\"type\":\"stacked-bar\","
                  "\"columns\":[\"Real\",\"Saved\"]}},\n"
                  "\"default_charts\":[[\"Saved\",\"Kind\"],[\"Memory\",\"Kind\"]],\n"
                  "\"group_by\":{\"Kind\":{\"name\":\"Kind\",\"columns\":[\"Kind\"]}}");
    end(out);
}

/* Whether the request names our function, alone or before arguments. */
static bool is_ours(const char *function) {
    size_t len = strlen(name);

    return strncmp(function, name, len) == 0 && (function[len] == '\0' || function[len] == ' ');
}

static bool has_argument(const char *function, const char *argument) {
    for (const char *at = function + strcspn(function, " "); *at; at += strcspn(at, " ")) {
        at += strspn(at, " ");
        if (strcspn(at, " ") == strlen(argument) && strncmp(at, argument, strlen(argument)) == 0)
            return true;
    }
    return false;
}

void function_offer(const struct ksm_consumers *c, enum ksm_function_access access,
                    struct out *out) {
    /* 0x13: signed in, member of the space, may see sensitive data; 0x8: everybody. */
    static const char *const words[] = {[KSM_ACCESS_MEMBERS] = "0x13", [KSM_ACCESS_ANY] = "0x8"};

    if (is_offered(c))
        TEXTS(out, "FUNCTION GLOBAL \"", name, "\" 10 \"", help, "\" \"top\" ", words[access],
              " 100\n");
}

void function_answer(const struct ksm_consumers *c, const struct request *request, int64_t now,
                     struct out *out) {
    if (request->error)
        answer_error(request, 400, request->error, out);
    else if (!is_ours(request->function) || !is_offered(c))
        answer_error(request, 404, "ksm.plugin has no such function", out);
    else if (has_argument(request->function, "info"))
        begin_good(c, request, now, out), end(out);
    else if (c->trouble[KSM_CONSUMERS_FAILED])
        answer_error(request, 503,
                     "who saves cannot be told at the moment; ksm.plugin's log says why", out);
    else if (!c->table.valid)
        answer_error(request, 503,
                     "the first look at all processes is not over yet; try again later", out);
    else
        answer_table(c, request, now, out);
}
