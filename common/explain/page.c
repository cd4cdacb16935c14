/* SPDX-License-Identifier: MIT
 *
 * The page, line by line.
 */
#include <inttypes.h>
#include <string.h>

#include "derive.h"
#include "explain.h"
#include "human.h"
#include "lines.h"

enum { TEXT_SIZE = 2048 };

/* A text of explain.def; nothing where one of its words is not known. */
static void expanded(const struct explain_facts *f, FILE *file, const char *label,
                     const char *text) {
    char buf[TEXT_SIZE];

    if (explain_expand(f, text, buf, sizeof(buf)) == 0)
        block(file, label, buf);
}

/* ---- the verdict and what stands beside it ---- */

static void verdict(const struct explain_facts *f, FILE *file) {
    enum explain_id id = explain_verdict(f);

    expanded(f, file, "Verdict", explain_words[id].sentence);
    expanded(f, file, "Why", explain_words[id].reason);
    expanded(f, file, "To do", explain_words[id].advice);
    for (enum explain_id other = id + 1; other < EXPLAIN_IDS; other++)
        if (explain_words[other].status != 0 && explain_holds(f, other))
            expanded(f, file, explain_words[other].status < 0 ? "Note" : "Also",
                     explain_words[other].sentence);
}

/* ---- the figures ---- */

static const struct {
    const char *title; /* of a section, or NULL: a line */
    const char *label;
    const char *text;
} lines[] = {
#define SECTION(title) {title, NULL, NULL},
#define LINE(label, text) {NULL, label, text},
#include "explain.def"
};

/* What is left of a list after its last part. */
static void trim(char *text) {
    size_t len = strlen(text);

    while (len > 0 && (text[len - 1] == ' ' || text[len - 1] == ','))
        text[--len] = '\0';
}

static void figures(const struct explain_facts *f, FILE *file) {
    const char *title = NULL;

    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        char text[TEXT_SIZE];
        if (lines[i].title) {
            title = lines[i].title;
            continue;
        }
        if (explain_expand(f, lines[i].text, text, sizeof(text)) > 0)
            continue;
        trim(text);
        if (!*text)
            continue;
        if (title)
            fprintf(file, "\n%s\n", title);
        title = NULL;
        block(file, lines[i].label, text);
    }
}

/* ---- who saves ---- */

#define TEXT(id, text) static const char text_##id[] = text;
#include "explain.def"

enum { ROWS = 8, BAR = 16 };
enum { NAME_COLUMNS = LINES_COLUMNS - LINES_INDENT - 2 * 11 - 2 - BAR - 2 };

static void bar(FILE *file, int64_t part, int64_t whole) {
    char cells[BAR + 1];
    double share = whole > 0 ? (double)part / (double)whole : 0;

    for (int i = 0; i < BAR; i++)
        cells[i] = share * BAR >= i + 0.5 ? '#' : '.';
    cells[BAR] = '\0';
    fputs(cells, file);
}

/* records: rmap items, -1 if they are not known. */
static void row(const struct explain_facts *f, FILE *file, int64_t saved, int64_t records) {
    char bytes[32];

    human_bytes(saved, bytes, sizeof(bytes));
    fprintf(file, "%*s%11s", LINES_INDENT, "", bytes);
    if (records >= 0 && f->consumers->tells_rmap_items &&
        !__builtin_mul_overflow(records, KSM_RECORD_BYTES, &records))
        human_bytes(records, bytes, sizeof(bytes));
    else
        strcpy(bytes, "-");
    fprintf(file, "%11s  ", bytes);
    bar(file, saved, f->consumers->saved);
    fputs("  ", file);
}

/* Who saves more; of those who save as much, who costs more; else by name, as they stand. */
static bool is_before(const struct ksm_consumer *a, const struct ksm_consumer *b) {
    if (a->saved != b->saved)
        return a->saved > b->saved;
    return a->rmap_items != b->rmap_items ? a->rmap_items > b->rmap_items : a < b;
}

/* The one that comes after the last in that order; NULL: there is none. */
static const struct ksm_consumer *next(const struct ksm_consumer_table *table,
                                       const struct ksm_consumer *last) {
    const struct ksm_consumer *best = NULL;

    for (size_t i = 0; i < table->count; i++) {
        const struct ksm_consumer *one = &table->list[i];
        if ((!last || is_before(last, one)) && (!best || is_before(one, best)))
            best = one;
    }
    return best;
}

static void rows(const struct explain_facts *f, FILE *file) {
    const struct ksm_consumer_table *table = f->consumers;
    const struct ksm_consumer *one = NULL;
    int64_t rest = table->saved - table->unattributed;

    fprintf(file, "%*s    %s\n", LINES_INDENT, "", text_consumers_head);
    for (int i = 0; i < ROWS && (one = next(table, one)) != NULL; i++) {
        row(f, file, one->saved, one->rmap_items);
        name_of(file, NAME_COLUMNS, ksm_consumer_kinds[one->name.kind], one->name.text);
        rest -= one->saved;
    }
    if (table->count > ROWS) {
        row(f, file, rest, -1);
        name_of(file, NAME_COLUMNS, "", text_others);
    }
    if (table->unattributed > 0) {
        row(f, file, table->unattributed, -1);
        name_of(file, NAME_COLUMNS, "", text_unattributed);
    }
}

static void consumers(const struct explain_facts *f, FILE *file) {
    if (f->uksm)
        return;
    fprintf(file, "\n%s\n", text_consumers);
    if (!f->consumers->known)
        fprintf(file, "%*s%s\n", LINES_INDENT, "", text_consumers_untold);
    else if (!f->consumers->valid)
        fprintf(file, "%*s%s\n", LINES_INDENT, "", text_consumers_failed);
    else if (f->consumers->count == 0 && f->consumers->unattributed == 0)
        fprintf(file, "%*s%s\n", LINES_INDENT, "", text_consumers_nobody);
    else
        rows(f, file);
}

void explain_page(const struct explain_facts *facts, FILE *file) {
    fputs("Kernel Samepage Merging (KSM) on this host\n\n", file);
    verdict(facts, file);
    if (!facts->in_kernel)
        return;
    figures(facts, file);
    consumers(facts, file);
}
