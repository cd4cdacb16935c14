/* SPDX-License-Identifier: MIT */
#include "explain/values.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "explain/explain.h"
#include "explain/format.h"

char *values_add(struct values *v, const char *name) {
    assert(v->count < VALUES_MAX); /* the callers add a fixed number */
    v->list[v->count].name = name;
    v->list[v->count].text[0] = '\0';
    return v->list[v->count++].text;
}

void values_add_bytes(struct values *v, const char *name, int64_t bytes) {
    format_bytes(bytes, values_add(v, name), VALUE_SIZE);
}

void values_add_count(struct values *v, const char *name, int64_t number, const char *singular,
                      const char *plural) {
    if (number > 0)
        format_count(number, singular, plural, values_add(v, name), VALUE_SIZE);
}

void values_add_if(struct values *v, const char *name, bool holds) {
    if (holds)
        values_add(v, name);
}

void values_add_counts(struct values *v, const struct memory_scan_counts *counts,
                       uint64_t page_size) {
    values_add_if(v, "partial", counts->partial);
    values_add_count(v, "denied", counts->denied, "process", "processes");
    values_add_if(v, counts->as_root ? "as_root" : "as_user", true);
    values_add_count(v, "blocking", counts->blocking, "process", "processes");
    values_add_count(v, "failed", counts->failed, "process", "processes");
    if (counts->failed > 0)
        snprintf(values_add(v, "failure"), VALUE_SIZE, "%s", strerror(-counts->error));
    values_add_count(v, "exited", counts->exited, "process", "processes");
    if (counts->unreadable > 0)
        values_add_bytes(v, "unreadable", (int64_t)(counts->unreadable * page_size));
    format_count(counts->processes, "process", "processes", values_add(v, "processes"), VALUE_SIZE);
    format_duration(counts->ms, values_add(v, "time"), VALUE_SIZE);
}

static bool write_value(const void *data, const char *name, char *buf, size_t size) {
    const struct values *v = data;

    for (size_t i = 0; i < v->count; i++)
        if (strcmp(v->list[i].name, name) == 0)
            return snprintf(buf, size, "%s", v->list[i].text) >= 0;
    return false;
}

void values_print(const struct values *v, const struct values_line *lines, size_t count,
                  const struct wrap *wrap) {
    char text[2048];

    for (size_t i = 0; i < count; i++)
        if (explain_expand_with(write_value, v, lines[i].text, text, sizeof(text)) == 0)
            wrap_text(wrap, lines[i].label, text);
}

void values_print_cell(FILE *file, int columns, int64_t bytes) {
    char text[32] = "-";

    if (bytes >= 0)
        format_bytes(bytes, text, sizeof(text));
    fprintf(file, " %*s", columns - 1, text);
}

void values_json_number(FILE *file, const char *name, int64_t number) {
    if (number >= 0)
        fprintf(file, "\"%s\": %" PRId64 ", ", name, number);
    else
        fprintf(file, "\"%s\": null, ", name);
}
