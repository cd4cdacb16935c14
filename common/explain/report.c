/* SPDX-License-Identifier: MIT
 *
 * The page, line by line.
 */
#include <inttypes.h>
#include <string.h>

#include "explain/causes.h"
#include "explain/explain.h"
#include "explain/format.h"
#include "explain/wrap.h"
#include "metrics/derive.h"

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

/* ---- the metrics ---- */

static const struct {
    const char *title; /* of a section, or NULL: a line */
    const char *label;
    const char *text;
} lines[] = {
#define SECTION(title) {title, NULL, NULL},
#define LINE(label, text) {NULL, label, text},
#include "explain/explain.def"
};

/* What is left of a list after its last part. */
static void trim(char *text) {
    size_t len = strlen(text);

    while (len > 0 && (text[len - 1] == ' ' || text[len - 1] == ','))
        text[--len] = '\0';
}

static void metrics(const struct explain_facts *f, FILE *file) {
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

/* ---- savings by consumer ---- */

#define TEXT(id, text) static const char text_##id[] = text;
#include "explain/explain.def"

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

    format_bytes(saved, bytes, sizeof(bytes));
    fprintf(file, "%*s%11s", LINES_INDENT, "", bytes);
    if (records >= 0 && f->consumers->tells_rmap_items &&
        !__builtin_mul_overflow(records, KSM_RMAP_ITEM_BYTES, &records))
        format_bytes(records, bytes, sizeof(bytes));
    else
        strcpy(bytes, "-");
    fprintf(file, "%11s  ", bytes);
    bar(file, saved, f->consumers->saved);
    fputs("  ", file);
}

/* Largest savings first; of equal savings, the higher cost first; else by name, as in the table. */
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

/* ---- why large processes merge little ---- */

/* ", 1.0 GiB on offer", if that is known. */
static void part(char *text, int64_t bytes, const char *what) {
    size_t len = strlen(text);
    char human[32];

    if (bytes < 0)
        return;
    format_bytes(bytes, human, sizeof(human));
    snprintf(text + len, TEXT_SIZE - len, ", %s %s", human, what);
}

static void process(const struct explain_facts *f, FILE *file, const struct explain_process *p) {
    const int64_t merged = p->merging + (p->zero > 0 ? p->zero : 0);
    char text[TEXT_SIZE];
    char memory[32];

    format_bytes(p->memory, memory, sizeof(memory));
    if (strcmp(p->name.text, p->comm) == 0)
        snprintf(text, sizeof(text), "%d %s: %s", p->pid, p->comm, memory);
    else
        snprintf(text, sizeof(text), "%d %s of %s %s: %s", p->pid, p->comm,
                 ksm_consumer_kinds[p->name.kind], p->name.text, memory);
    part(text, p->mergeable, "on offer");
    part(text, p->merging < 0 ? -1 : merged * f->now.page_size, "merged");
    part(text, p->huge > 0 ? p->huge : -1, "in huge pages");
    block(file, "Process", text);
}

/* Those of one cause, from the first one of it on. */
static void cause(const struct explain_facts *f, FILE *file, const enum explain_cause *of,
                  int first) {
    bool huge = false;

    fputc('\n', file);
    for (int i = first; i < f->processes->count; i++) {
        if (of[i] != of[first])
            continue;
        process(f, file, &f->processes->list[i]);
        huge = huge || f->processes->list[i].huge > f->processes->list[i].mergeable / 2;
    }
    expanded(f, file, "Why", explain_cause_words[of[first]].sentence);
    if (huge)
        block(file, "", text_causes_huge);
    expanded(f, file, "To do", explain_cause_words[of[first]].advice);
}

static void causes(const struct explain_facts *f, FILE *file) {
    enum explain_cause of[EXPLAIN_PROCESSES];
    unsigned told = 0;

    for (int i = 0; f->processes && i < f->processes->count; i++) {
        of[i] = explain_cause_of(f, &f->processes->list[i]);
        if (i == 0)
            fprintf(file, "\n%s", text_causes);
    }
    for (int i = 0; f->processes && i < f->processes->count; i++) {
        if ((told & 1U << of[i]) == 0)
            cause(f, file, of, i);
        told |= 1U << of[i];
    }
}

void explain_report(const struct explain_facts *facts, FILE *file) {
    fputs("Kernel Samepage Merging (KSM) on this host\n\n", file);
    verdict(facts, file);
    if (!facts->in_kernel)
        return;
    metrics(facts, file);
    consumers(facts, file);
    causes(facts, file);
}
