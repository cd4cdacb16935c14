/* SPDX-License-Identifier: MIT */
#include "function_table.h"

#include <stdbool.h>
#include <stdint.h>

#include "json.h"
#include "metrics/derive.h"

/* ---- rows ---- */

/* A row of the table. kind: a consumer's, or what else it stands for. */
struct row {
    const char *kind;
    const struct ksm_consumer *consumer;
};

/* Metrics of a row: processes, or bytes; -1: not known. */

static int64_t in_bytes(int64_t count, int64_t size) {
    int64_t bytes = 0;

    return count < 0 || __builtin_mul_overflow(count, size, &bytes) ? -1 : bytes;
}

static int64_t processes(const struct ksm_consumer_table *table, const struct ksm_consumer *one) {
    (void)table;
    return one->processes;
}

static int64_t saved(const struct ksm_consumer_table *table, const struct ksm_consumer *one) {
    (void)table;
    return one->saved;
}

static int64_t real(const struct ksm_consumer_table *table, const struct ksm_consumer *one) {
    (void)table;
    return one->real;
}

static int64_t resident(const struct ksm_consumer_table *table, const struct ksm_consumer *one) {
    return in_bytes(one->resident, table->page_size);
}

static int64_t merging(const struct ksm_consumer_table *table, const struct ksm_consumer *one) {
    return in_bytes(one->merging, table->page_size);
}

/* Bytes a second, may be negative; KSM_GROWTH_UNKNOWN: not known. */
static int64_t growth(const struct ksm_consumer_table *table, const struct ksm_consumer *one) {
    int64_t bytes = 0;

    if (__builtin_mul_overflow(one->growth, table->page_size, &bytes))
        return KSM_GROWTH_UNKNOWN; /* which overflows itself */
    return bytes / ksm_unit_scale[KSM_UNIT_PAGE_RATE];
}

static int64_t zeros(const struct ksm_consumer_table *table, const struct ksm_consumer *one) {
    return table->tells_zero ? in_bytes(one->zero, table->page_size) : -1;
}

static int64_t metadata(const struct ksm_consumer_table *table, const struct ksm_consumer *one) {
    return table->tells_rmap_items ? in_bytes(one->rmap_items, KSM_RMAP_ITEM_BYTES) : -1;
}

/* ---- columns ---- */

enum type { KEY, KIND, NAME, COUNT, SIZE, RATE };

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
    [RATE] = {"integer", "value", "\"units\":\"MiB/s\",", "number", "2", "descending", "sum",
              "range"},
};

/* In the order of the values of a row. */
static const struct column {
    const char *id;
    const char *name;
    enum type type;
    int64_t (*metric)(const struct ksm_consumer_table *table, const struct ksm_consumer *one);
} columns[] = {
    {"Id", "Kind and name", KEY, NULL},
    {"Kind", "Kind", KIND, NULL},
    {"Name", "Name", NAME, NULL},
    {"Processes", "Processes", COUNT, processes},
    {"Saved", "Saved", SIZE, saved},
    {"Real", "Real", SIZE, real},
    {"RSS", "RSS", SIZE, resident},
    {"Merging", "Merging", SIZE, merging},
    {"Zero", "Zero", SIZE, zeros},
    {"Metadata", "Metadata", SIZE, metadata},
    {"MergeRate", "Merge rate", RATE, growth},
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
                                 .growth = KSM_GROWTH_UNKNOWN,
                                 .rmap_items = -1,
                                 .processes = -1};
}

/* What a bar is drawn against: the largest value of its column. */
static int64_t largest(const struct ksm_consumer_table *table, const struct column *column) {
    const struct ksm_consumer last = unattributed(table);
    int64_t most = column->metric(table, &last);

    for (size_t i = 0; i < table->count; i++) {
        int64_t value = column->metric(table, &table->list[i]);
        most = value > most ? value : most;
    }
    return most > 0 ? most : 0;
}

static const char *truth(bool condition) {
    return condition ? "true" : "false";
}

static void write_column(const struct ksm_consumer_table *table, const struct column *column,
                         struct out *out) {
    const enum type type = column->type;
    const struct look *look = &looks[type];

    OUT_TEXTS(out, "\"name\":\"", column->name, "\",\"unique_key\":", truth(type == KEY),
              ",\"visible\":", truth(type != KEY), ",\"sticky\":", truth(type == NAME),
              ",\"type\":\"", look->type, "\",\"visualization\":\"", look->visualization, "\",",
              look->units, "\"value_options\":{", look->units, "\"transform\":\"", look->transform,
              "\",\"decimal_points\":", look->decimal_points,
              ",\"default_value\":null},\"sort\":\"", look->sort,
              "\",\"sortable\":true,\"summary\":\"", look->summary, "\",\"filter\":\"",
              look->filter, "\",\"full_width\":", truth(type == NAME),
              ",\"wrap\":false,\"default_expanded_filter\":", truth(type == KIND));
    if (type == SIZE) {
        out_text(out, ",\"max\":");
        json_mib(largest(table, column), out);
    }
}

static void write_columns(const struct ksm_consumer_table *table, struct out *out) {
    out_text(out, "\"columns\":{\n");
    for (size_t i = 0; i < COLUMNS; i++) {
        OUT_TEXTS(out, i > 0 ? ",\n\"" : "\"", columns[i].id, "\":{\"index\":");
        out_number(out, (int64_t)i);
        out_text(out, ",");
        write_column(table, &columns[i], out);
        out_text(out, "}");
    }
    out_text(out, "},\n");
}

static void write_value(const struct ksm_consumer_table *table, const struct column *column,
                        const struct row *row, struct out *out) {
    int64_t value = column->metric ? column->metric(table, row->consumer) : 0;

    if (column->type == KEY) {
        /* No kind holds a slash: what differs in kind or name differs here. */
        OUT_TEXTS(out, "\"", row->kind, "/");
        json_characters(row->consumer->name.text, out);
        out_text(out, "\"");
    } else if (column->type == KIND) {
        json_string(row->kind, out);
    } else if (column->type == NAME) {
        json_string(row->consumer->name.text, out);
    } else if (column->type == RATE && value < 0 && value != KSM_GROWTH_UNKNOWN) {
        out_text(out, "-");
        json_mib(-value, out);
    } else if (value < 0) {
        out_text(out, "null");
    } else if (column->type == SIZE || column->type == RATE) {
        json_mib(value, out);
    } else {
        out_number(out, value);
    }
}

static void write_row(const struct ksm_consumer_table *table, const char *kind,
                      const struct ksm_consumer *consumer, bool first, struct out *out) {
    const struct row row = {kind, consumer};

    out_text(out, first ? "[" : ",\n[");
    for (size_t i = 0; i < COLUMNS; i++) {
        if (i > 0)
            out_text(out, ",");
        write_value(table, &columns[i], &row, out);
    }
    out_text(out, "]");
}

/* Who is shown in charts has a place in any case, the others as long as there are some. */
static void write_rows(const struct ksm_consumer_table *table, struct out *out) {
    struct ksm_consumer rest = {.name.text = "other"};
    const struct ksm_consumer last = unattributed(table);
    size_t room = FUNCTION_TABLE_ROWS;
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
        write_row(table, ksm_consumer_kinds[one->name.kind], one, first, out);
        first = false;
    }
    if (rest.processes > 0)
        write_row(table, "other", &rest, first, out);
    if (last.saved > 0)
        write_row(table, "unattributed", &last, first && rest.processes == 0, out);
    out_text(out, "],\n");
}

void function_table_write(const struct ksm_consumer_table *table, struct out *out) {
    write_columns(table, out);
    write_rows(table, out);
    out_text(out, "\"default_sort_column\":\"Saved\",\n"
                  "\"charts\":{"
                  "\"Saved\":{\"name\":\"Memory saved\",\"type\":\"stacked-bar\","
                  "\"columns\":[\"Saved\"]},"
                  "\"Memory\":{\"name\":\"Memory used and saved\",\"type\":\"stacked-bar\","
                  "\"columns\":[\"Real\",\"Saved\"]}},\n"
                  "\"default_charts\":[[\"Saved\",\"Kind\"],[\"Memory\",\"Kind\"]],\n"
                  "\"group_by\":{\"Kind\":{\"name\":\"Kind\",\"columns\":[\"Kind\"]}}");
}
