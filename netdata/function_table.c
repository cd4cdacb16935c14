/* SPDX-License-Identifier: MIT */
#include "function_table.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "json.h"
#include "metrics/derive.h"

/* ---- rows ---- */

/* A row of the table. kind: a consumer's, "other" or "unattributed". */
struct row {
    const char *kind;
    const struct ksm_consumer *consumer;
};

/* Values of a row: processes, or bytes; -1: not known. */

static int64_t in_bytes(int64_t count, int64_t size) {
    int64_t bytes = 0;

    return count < 0 || __builtin_mul_overflow(count, size, &bytes) ? -1 : bytes;
}

static int64_t processes(const struct ksm_consumer_table *table, const struct ksm_consumer *c) {
    (void)table;
    return c->processes;
}

static int64_t saved(const struct ksm_consumer_table *table, const struct ksm_consumer *c) {
    (void)table;
    return c->saved;
}

static int64_t real(const struct ksm_consumer_table *table, const struct ksm_consumer *c) {
    (void)table;
    return c->real;
}

static int64_t resident(const struct ksm_consumer_table *table, const struct ksm_consumer *c) {
    return in_bytes(c->resident, table->page_size);
}

static int64_t merging(const struct ksm_consumer_table *table, const struct ksm_consumer *c) {
    return in_bytes(c->merging, table->page_size);
}

/* Bytes a second, may be negative; KSM_GROWTH_UNKNOWN: not known. */
static int64_t growth(const struct ksm_consumer_table *table, const struct ksm_consumer *c) {
    int64_t bytes = 0;

    if (c->growth == KSM_GROWTH_UNKNOWN ||
        __builtin_mul_overflow(c->growth, table->page_size, &bytes))
        return KSM_GROWTH_UNKNOWN;
    return bytes / ksm_unit_scale[KSM_UNIT_PAGE_RATE];
}

static int64_t zeros(const struct ksm_consumer_table *table, const struct ksm_consumer *c) {
    return table->has_zero_pages ? in_bytes(c->zero, table->page_size) : -1;
}

static int64_t rmap_item_bytes(const struct ksm_consumer_table *table,
                               const struct ksm_consumer *c) {
    return table->has_rmap_items ? in_bytes(c->rmap_items, KSM_RMAP_ITEM_BYTES) : -1;
}

/* ---- columns ---- */

enum type { KEY, KIND, NAME, OWNER, OPT_IN, COUNT, SIZE, RATE, PERCENT };

/* How the agent draws a column of each type, in its own terms. */
static const struct style {
    const char *type;
    const char *visualization;
    const char *units; /* "", or a member of an object */
    const char *transform;
    const char *decimal_points;
    const char *sort;
    const char *summary;
    const char *filter;
} styles[] = {
    [KEY] = {"string", "value", "", "none", "0", "ascending", "count", "none"},
    [KIND] = {"string", "pill", "", "none", "0", "ascending", "count", "multiselect"},
    [NAME] = {"string", "value", "", "none", "0", "ascending", "count", "multiselect"},
    [OWNER] = {"string", "value", "", "none", "0", "ascending", "count", "multiselect"},
    [OPT_IN] = {"string", "pill", "", "none", "0", "ascending", "count", "multiselect"},
    [COUNT] = {"integer", "value", "", "number", "0", "descending", "sum", "range"},
    [SIZE] = {"bar-with-integer", "bar", "\"units\":\"MiB\",", "number", "2", "descending", "sum",
              "range"},
    [RATE] = {"integer", "value", "\"units\":\"MiB/s\",", "number", "2", "descending", "sum",
              "range"},
    [PERCENT] = {"integer", "value", "\"units\":\"%\",", "number", "2", "descending", "mean",
                 "range"},
};

/* In the order of the values of a row. */
static const struct column {
    const char *id;
    const char *name;
    enum type type;
    int64_t (*metric)(const struct ksm_consumer_table *table, const struct ksm_consumer *c);
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
    {"Overhead", "Overhead", SIZE, rmap_item_bytes},
    {"MergeRate", "Merge rate", RATE, growth},
    {"Owner", "Owner", OWNER, NULL},
    {"OptedIn", "Opted in by", OPT_IN, NULL},
    {"MergeDensity", "Merge density", PERCENT, ksm_consumer_merge_density},
};

enum { COLUMNS = sizeof(columns) / sizeof(columns[0]) };

/* The unattributed savings as a row; nothing else is known of it. */
static struct ksm_consumer unattributed(const struct ksm_consumer_table *table) {
    return (struct ksm_consumer){.name = {KSM_CONSUMER_program, "unattributed"},
                                 .user = KSM_USER_UNKNOWN,
                                 .saved = table->unattributed,
                                 .real = -1,
                                 .resident = -1,
                                 .merging = -1,
                                 .zero = -1,
                                 .growth = KSM_GROWTH_UNKNOWN,
                                 .rmap_items = -1,
                                 .processes = -1};
}

/* Returns the largest value of a column, which is the full length of its bars. */
static int64_t largest(const struct ksm_consumer_table *table, const struct column *column) {
    const struct ksm_consumer last = unattributed(table);
    int64_t max = column->metric(table, &last);

    for (size_t i = 0; i < table->count; i++) {
        int64_t value = column->metric(table, &table->list[i]);
        max = value > max ? value : max;
    }
    return max > 0 ? max : 0;
}

static const char *json_bool(bool condition) {
    return condition ? "true" : "false";
}

static void write_column(const struct ksm_consumer_table *table, const struct column *column,
                         struct out *out) {
    const enum type type = column->type;
    const struct style *style = &styles[type];

    OUT_TEXTS(out, "\"name\":\"", column->name, "\",\"unique_key\":", json_bool(type == KEY),
              ",\"visible\":", json_bool(type != KEY), ",\"sticky\":", json_bool(type == NAME),
              ",\"type\":\"", style->type, "\",\"visualization\":\"", style->visualization, "\",",
              style->units, "\"value_options\":{", style->units, "\"transform\":\"",
              style->transform, "\",\"decimal_points\":", style->decimal_points,
              ",\"default_value\":null},\"sort\":\"", style->sort,
              "\",\"sortable\":true,\"summary\":\"", style->summary, "\",\"filter\":\"",
              style->filter, "\",\"full_width\":", json_bool(type == NAME),
              ",\"wrap\":false,\"default_expanded_filter\":", json_bool(type == KIND));
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

/* Writes a text; null if it is empty, as that of rows that are no consumers. */
static void write_text(const char *text, struct out *out) {
    if (*text)
        json_string(text, out);
    else
        out_text(out, "null");
}

static void write_owner(const struct ksm_consumer *consumer, struct out *out) {
    char owner[KSM_TRUST_DOMAIN_SIZE];

    ksm_consumer_format_owner(consumer, owner);
    write_text(ksm_trust_domain_is_own(consumer->name.kind) ? "itself" : owner, out);
}

/* The merge density of the others together would mean nothing for any of them. */
static int64_t metric(const struct ksm_consumer_table *table, const struct column *column,
                      const struct row *row) {
    if (column->type == PERCENT && strcmp(row->kind, "other") == 0)
        return -1;
    return column->metric(table, row->consumer);
}

static void write_number(enum type type, int64_t value, struct out *out) {
    if (type == RATE && value < 0 && value != KSM_GROWTH_UNKNOWN) {
        out_text(out, "-");
        json_mib(-value, out);
    } else if (value < 0) {
        out_text(out, "null");
    } else if (type == SIZE || type == RATE) {
        json_mib(value, out);
    } else if (type == PERCENT) {
        json_thousandths(value, out);
    } else {
        out_number(out, value);
    }
}

static void write_value(const struct ksm_consumer_table *table, const struct column *column,
                        const struct row *row, struct out *out) {
    switch (column->type) {
    case KEY: /* No kind contains a slash, so the key is unique. */
        OUT_TEXTS(out, "\"", row->kind, "/");
        json_characters(row->consumer->name.text, out);
        out_text(out, "\"");
        break;
    case KIND:
        json_string(row->kind, out);
        break;
    case NAME:
        json_string(row->consumer->name.text, out);
        break;
    case OWNER:
        write_owner(row->consumer, out);
        break;
    case OPT_IN:
        write_text(ksm_consumer_opt_in(row->consumer), out);
        break;
    case COUNT:
    case SIZE:
    case RATE:
    case PERCENT:
        write_number(column->type, metric(table, column, row), out);
        break;
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

/* Consumers with charts always get a row; the others as long as there is room. */
static void write_rows(const struct ksm_consumer_table *table, struct out *out) {
    struct ksm_consumer rest = {.name = {KSM_CONSUMER_program, "other"}, .user = KSM_USER_UNKNOWN};
    const struct ksm_consumer last = unattributed(table);
    size_t room = FUNCTION_TABLE_ROWS;
    bool first = true;

    for (size_t i = 0; i < table->count; i++)
        room -= table->list[i].shown ? 1 : 0;
    out_text(out, "\"data\":[\n");
    for (size_t i = 0; i < table->count; i++) {
        const struct ksm_consumer *c = &table->list[i];
        if (!c->shown && room == 0) {
            ksm_consumer_add(&rest, c);
            continue;
        }
        room -= c->shown ? 0 : 1;
        write_row(table, ksm_consumer_kinds[c->name.kind], c, first, out);
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
