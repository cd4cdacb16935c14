/* SPDX-License-Identifier: MIT
 *
 * The estimate in words, and as JSON.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "explain/estimate.h"
#include "explain/explain.h"
#include "explain/format.h"
#include "explain/wrap.h"
#include "metrics/derive.h"

/* ---- metrics, in bytes ---- */

static int64_t bytes_of(const struct estimate *e, double pages) {
    return llround(pages) * (int64_t)e->page_size;
}

static int64_t records_of(const struct estimate_sum *sum) {
    return (int64_t)sum->pages * KSM_RMAP_ITEM_BYTES;
}

/* Saved by now: of the whole host, or of those alone that were asked for. -1: not known. */
static int64_t merged_of(const struct estimate *e, const struct ksm_sample *host) {
    const struct ksm_value *saved = &host->at[KSM_saved];
    int64_t sum = 0;

    if (e->options.name_count == 0)
        return saved->status == 0 ? saved->value : -1;
    for (size_t i = 0; i < e->consumer_count; i++) {
        if (e->consumers[i].merged < 0)
            return -1;
        sum += e->consumers[i].merged;
    }
    return sum;
}

/* ---- words ---- */

enum { WORDS = 24 };

struct words {
    struct {
        const char *name;
        char text[48];
    } list[WORDS];
    size_t count;
};

static char *add(struct words *w, const char *name) {
    w->list[w->count].name = name;
    w->list[w->count].text[0] = '\0';
    return w->list[w->count++].text;
}

static void add_bytes(struct words *w, const char *name, int64_t bytes) {
    format_bytes(bytes, add(w, name), sizeof(w->list->text));
}

static void add_count(struct words *w, const char *name, int64_t n, const char *one,
                      const char *more) {
    if (n > 0)
        format_count(n, one, more, add(w, name), sizeof(w->list->text));
}

static void add_if(struct words *w, const char *name, bool holds) {
    if (holds)
        add(w, name);
}

static bool write_word(const void *data, const char *name, size_t len, char *buf, size_t size) {
    const struct words *w = data;

    for (size_t i = 0; i < w->count; i++)
        if (strlen(w->list[i].name) == len && memcmp(w->list[i].name, name, len) == 0)
            return snprintf(buf, size, "%s", w->list[i].text) >= 0;
    return false;
}

static void add_saving(struct words *w, const struct estimate *e, const struct ksm_sample *host) {
    const int64_t further = bytes_of(e, e->total.all.further), merged = merged_of(e, host);
    const int64_t total = further + (merged > 0 ? merged : 0), records = records_of(&e->sum);

    add_bytes(w, "further", further);
    if (e->total.error > 0)
        add_bytes(w, "error", bytes_of(e, e->total.error));
    if (e->total.all.zeros > 0)
        add_bytes(w, "zeros", bytes_of(e, e->total.all.zeros));
    if (merged >= 0)
        add_bytes(w, "merged", merged);
    if (merged > 0)
        add_bytes(w, "total", total);
    add_bytes(w, "records", records);
    add_bytes(w, "net", total - records);
}

static void add_doubts(struct words *w, const struct estimate *e, const struct ksm_sample *host) {
    const struct ksm_value *across = &host->at[KSM_merge_across_nodes];

    add_if(w, "nodes", across->status == 0 && across->value == 0);
    add_if(w, "partial", e->partial);
    if (e->swapped > 0)
        add_bytes(w, "swapped", (int64_t)e->swapped * 1024);
    if (e->total.all.changing > 0)
        add_bytes(w, "changing", bytes_of(e, e->total.all.changing));
    if (e->total.huge > 0)
        add_bytes(w, "huge", bytes_of(e, e->total.huge));
    add_bytes(w, "splits", bytes_of(e, e->total.splits * (double)e->contents.huge_pages));
    add_if(w, "sampled", e->contents.bits > 0);
    add_if(w, "huge_unknown", !e->knows_huge && e->processes > 0);
    add_count(w, "denied", e->denied, "process", "processes");
    add_count(w, "waiting", e->waiting, "process", "processes");
    add_count(w, "ended", e->ended, "process", "processes");
    if (e->unreadable > 0)
        add_bytes(w, "unreadable", (int64_t)(e->unreadable * e->page_size));
}

/* ---- the page ---- */

static const struct {
    const char *label;
    const char *text;
} lines[] = {
#define ESTIMATE(label, text) {label, text},
#include "explain/explain.def"
};

enum { ROWS = 20, CELLS = 4, CELL = 11 };

static void cell(FILE *file, int64_t bytes) {
    char text[32] = "-";

    if (bytes >= 0)
        format_bytes(bytes, text, sizeof(text));
    fprintf(file, "%*s", CELL, text);
}

static void print_consumers(const struct estimate *e, FILE *file) {
    enum { NAME = LINES_COLUMNS - LINES_INDENT - CELLS * CELL - 2 };

    if (e->consumer_count == 0)
        return;
    fprintf(file, "\nBy consumer\n%*s%*s%*s%*s%*s\n", LINES_INDENT, "", CELL, "read", CELL, "more",
            CELL, "records", CELL, "merged");
    for (size_t i = 0; i < e->consumer_count && i < ROWS; i++) {
        const struct estimate_consumer *one = &e->consumers[i];
        fprintf(file, "%*s", LINES_INDENT, "");
        cell(file, (int64_t)(one->sum.pages * e->page_size));
        cell(file, bytes_of(e, one->sum.share.further));
        cell(file, records_of(&one->sum));
        cell(file, one->merged);
        fputs("  ", file);
        name_of(file, NAME, ksm_consumer_kinds[one->name.kind], one->name.text);
    }
    if (e->consumer_count > ROWS)
        fprintf(file, "%*sand %zu more\n", LINES_INDENT, "", e->consumer_count - ROWS);
}

void estimate_report(const struct estimate *e, const struct ksm_sample *host, FILE *file) {
    struct words w = {.count = 0};
    char text[1024];

    add_saving(&w, e, host);
    add_bytes(&w, "read", (int64_t)(e->sum.pages * e->page_size));
    format_count(e->processes, "process", "processes", add(&w, "processes"), sizeof(w.list->text));
    format_duration(e->ms, add(&w, "time"), sizeof(w.list->text));
    add_doubts(&w, e, host);
    fprintf(file, "What KSM would save if %s opted in\n\n",
            e->options.name_count == 0 ? "all programs" : "these programs");
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        if (explain_fill(write_word, &w, lines[i].text, text, sizeof(text)) == 0)
            block(file, lines[i].label, text);
    print_consumers(e, file);
}

/* ---- JSON: names are clean, see name.h, so that nothing is to be escaped ---- */

static void member(FILE *file, const char *name, int64_t value) {
    if (value >= 0)
        fprintf(file, "\"%s\": %" PRId64 ", ", name, value);
    else
        fprintf(file, "\"%s\": null, ", name);
}

static void json_sum(const struct estimate *e, const struct estimate_sum *sum, int64_t merged,
                     FILE *file) {
    member(file, "read_bytes", (int64_t)(sum->pages * e->page_size));
    member(file, "further_bytes", bytes_of(e, sum->share.further));
    member(file, "zero_bytes", bytes_of(e, sum->share.zeros));
    member(file, "changing_bytes", bytes_of(e, sum->share.changing));
    member(file, "records_bytes", records_of(sum));
    member(file, "merged_bytes", merged);
}

void estimate_json(const struct estimate *e, const struct ksm_sample *host, FILE *file) {
    struct estimate_sum all = {e->sum.pages, e->total.all};

    fputs("{", file);
    json_sum(e, &all, merged_of(e, host), file);
    member(file, "error_bytes", bytes_of(e, e->total.error));
    member(file, "huge_bytes", e->knows_huge ? bytes_of(e, e->total.huge) : -1);
    member(file, "split_bytes",
           e->knows_huge ? bytes_of(e, e->total.splits * (double)e->contents.huge_pages) : -1);
    member(file, "unreadable_bytes", (int64_t)(e->unreadable * e->page_size));
    member(file, "swapped_bytes", (int64_t)e->swapped * 1024);
    member(file, "sampled_one_in", (int64_t)1 << e->contents.bits);
    member(file, "processes", e->processes);
    member(file, "denied", e->denied);
    member(file, "ended", e->ended);
    member(file, "waiting", e->waiting);
    member(file, "milliseconds", e->ms);
    fprintf(file, "\"partial\": %s, \"consumers\": [", e->partial ? "true" : "false");
    for (size_t i = 0; i < e->consumer_count; i++) {
        const struct estimate_consumer *one = &e->consumers[i];
        fprintf(file, "%s{", i > 0 ? ",\n  " : "\n  ");
        json_sum(e, &one->sum, one->merged, file);
        fprintf(file, "\"processes\": %" PRId64 ", \"kind\": \"%s\", \"name\": \"%s\"}",
                one->processes, ksm_consumer_kinds[one->name.kind], one->name.text);
    }
    fputs("]}\n", file);
}
