/* SPDX-License-Identifier: MIT
 *
 * Prints the report on KSM's state.
 */
#include <inttypes.h>
#include <string.h>

#include "explain/causes.h"
#include "explain/explain.h"
#include "explain/format.h"
#include "explain/wrap.h"
#include "metrics/derive.h"

enum { TEXT_SIZE = 2048 };

/* Prints a text of explain.def, unless the value of one of its placeholders is not known. */
static void print_text(const struct explain_facts *f, const struct wrap *wrap, const char *label,
                       const char *text) {
    char buf[TEXT_SIZE];

    if (explain_expand(f, text, buf, sizeof(buf)) == 0)
        wrap_text(wrap, label, buf);
}

static void print_verdict(const struct explain_facts *f, const struct wrap *wrap) {
    enum { STATUS_LOSS = 30 };
    enum explain_id id = explain_verdict(f);
    char sentence[TEXT_SIZE];

    explain_expand(f, explain_texts[id].sentence, sentence, sizeof(sentence));
    if (explain_texts[id].status >= STATUS_LOSS)
        wrap_alarm(wrap, "Verdict", sentence);
    else
        wrap_text(wrap, "Verdict", sentence);
    print_text(f, wrap, "Why", explain_texts[id].reason);
    print_text(f, wrap, "To do", explain_texts[id].advice);
    for (id = explain_next_holding(f, id); id < EXPLAIN_IDS; id = explain_next_holding(f, id))
        print_text(f, wrap, explain_texts[id].status < 0 ? "Note" : "Also",
                   explain_texts[id].sentence);
}

static const struct {
    const char *title; /* of a section; NULL for a line */
    const char *label;
    const char *text;
} lines[] = {
#define SECTION(title) {title, NULL, NULL},
#define LINE(label, text) {NULL, label, text},
#include "explain/explain.def"
};

/* Removes the separator after the last item of a list. */
static void trim(char *text) {
    size_t len = strlen(text);

    while (len > 0 && (text[len - 1] == ' ' || text[len - 1] == ','))
        len--;
    text[len] = '\0';
}

static void print_metrics(const struct explain_facts *f, const struct wrap *wrap) {
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
            fprintf(wrap->file, "\n%s\n", title);
        title = NULL;
        wrap_text(wrap, lines[i].label, text);
    }
}

/* ---- savings by consumer ---- */

enum { ROWS = 8, BAR = 16 };
enum { NAME_COLUMNS = WRAP_COLUMNS - WRAP_INDENT - 2 * 11 - 2 - BAR - 2 };

static void print_bar(FILE *file, int64_t part, int64_t whole) {
    char cells[BAR + 1];
    double share = whole > 0 ? (double)part / (double)whole : 0;

    for (int i = 0; i < BAR; i++)
        cells[i] = share * BAR >= i + 0.5 ? '#' : '.';
    cells[BAR] = '\0';
    fputs(cells, file);
}

/* Prints a row but for the name. rmap_items: -1 if not known. */
static void print_row(const struct explain_facts *f, FILE *file, int64_t saved,
                      int64_t rmap_items) {
    int64_t overhead = 0;
    char bytes[32];

    format_bytes(saved, bytes, sizeof(bytes));
    fprintf(file, "%*s%11s", WRAP_INDENT, "", bytes);
    if (rmap_items >= 0 && f->consumers->has_rmap_items &&
        !__builtin_mul_overflow(rmap_items, KSM_RMAP_ITEM_BYTES, &overhead))
        format_bytes(overhead, bytes, sizeof(bytes));
    else
        strcpy(bytes, "-");
    fprintf(file, "%11s  ", bytes);
    print_bar(file, saved, f->consumers->saved);
    fputs("  ", file);
}

/* Order: largest savings, then highest overhead, then as in the table, which is by name. */
static bool is_before(const struct ksm_consumer *a, const struct ksm_consumer *b) {
    if (a->saved != b->saved)
        return a->saved > b->saved;
    return a->rmap_items != b->rmap_items ? a->rmap_items > b->rmap_items : a < b;
}

/* Returns the consumer after last in that order (last NULL: the first one), or NULL at the end. */
static const struct ksm_consumer *next_consumer(const struct ksm_consumer_table *table,
                                                const struct ksm_consumer *last) {
    const struct ksm_consumer *best = NULL;

    for (size_t i = 0; i < table->count; i++) {
        const struct ksm_consumer *c = &table->list[i];
        if ((!last || is_before(last, c)) && (!best || is_before(c, best)))
            best = c;
    }
    return best;
}

static void print_rows(const struct explain_facts *f, FILE *file) {
    const struct ksm_consumer_table *table = f->consumers;
    const struct ksm_consumer *c = next_consumer(table, NULL);
    int64_t rest = table->saved - table->unattributed;

    fprintf(file, "%*s    saved     overhead  share of all savings\n", WRAP_INDENT, "");
    for (int i = 0; i < ROWS && c; i++) {
        print_row(f, file, c->saved, c->rmap_items);
        wrap_name(file, NAME_COLUMNS, ksm_consumer_kinds[c->name.kind], c->name.text);
        rest -= c->saved;
        c = next_consumer(table, c);
    }
    if (table->count > ROWS) {
        print_row(f, file, rest, -1);
        wrap_name(file, NAME_COLUMNS, "", "others");
    }
    if (table->unattributed > 0) {
        print_row(f, file, table->unattributed, -1);
        wrap_name(file, NAME_COLUMNS, "", "not attributed");
    }
}

static void print_consumers(const struct explain_facts *f, FILE *file) {
    const char *reason = NULL; /* why there are no rows */

    if (f->uksm)
        return;
    fputs("\nSavings by consumer\n", file);
    if (!f->consumers->enabled)
        reason = "not reported by this kernel (requires Linux 5.19)";
    else if (!f->consumers->valid)
        reason = "not known: not all processes could be read just now";
    else if (f->consumers->count == 0 && f->consumers->unattributed == 0)
        reason = "none yet";
    if (reason)
        fprintf(file, "%*s%s\n", WRAP_INDENT, "", reason);
    else
        print_rows(f, file);
}

/* ---- why large processes merge little ---- */

/* Appends ", 1.0 GiB mergeable", unless bytes is -1. */
static void append_bytes(char *text, int64_t bytes, const char *label) {
    size_t len = strlen(text);
    char number[32];

    if (bytes < 0)
        return;
    format_bytes(bytes, number, sizeof(number));
    snprintf(text + len, TEXT_SIZE - len, ", %s %s", number, label);
}

static void print_process(const struct explain_facts *f, const struct wrap *wrap,
                          const struct explain_process *p) {
    char text[TEXT_SIZE];
    char memory[32];

    format_bytes(p->memory, memory, sizeof(memory));
    if (strcmp(p->name.text, p->comm) == 0)
        snprintf(text, sizeof(text), "%d %s: %s", p->pid, p->comm, memory);
    else
        snprintf(text, sizeof(text), "%d %s of %s %s: %s", p->pid, p->comm,
                 ksm_consumer_kinds[p->name.kind], p->name.text, memory);
    append_bytes(text, p->mergeable, "mergeable");
    append_bytes(text, p->merging < 0 ? -1 : explain_merged_pages(p) * f->now.page_size, "merged");
    append_bytes(text, p->huge > 0 ? p->huge : -1, "in huge pages");
    wrap_text(wrap, "Process", text);
}

/* Prints the processes with the same cause as process number first, and that cause. */
static void print_cause(const struct explain_facts *f, const struct wrap *wrap,
                        const enum explain_cause *causes, int first) {
    const struct explain_cause_texts *texts = &explain_cause_texts[causes[first]];
    bool huge = false;

    fputc('\n', wrap->file);
    for (int i = first; i < f->processes->count; i++) {
        if (causes[i] != causes[first])
            continue;
        const struct explain_process *p = &f->processes->list[i];
        print_process(f, wrap, p);
        huge = huge || p->huge > (p->mergeable < 0 ? p->anonymous : p->mergeable) / 2;
    }
    print_text(f, wrap, "Why", texts->sentence);
    if (huge)
        wrap_text(wrap, "",
                  "Huge pages are not the cause: KSM splits those in which it finds equal pages.");
    print_text(f, wrap, "To do", texts->advice);
}

static void print_causes(const struct explain_facts *f, const struct wrap *wrap) {
    const int count = f->processes ? f->processes->count : 0;
    enum explain_cause causes[EXPLAIN_PROCESSES];
    bool is_printed[EXPLAIN_CAUSES] = {false};

    if (count > 0)
        fputs("\nWhy large processes merge little", wrap->file);
    for (int i = 0; i < count; i++)
        causes[i] = explain_cause_of(f, &f->processes->list[i]);
    for (int i = 0; i < count; i++) {
        if (!is_printed[causes[i]])
            print_cause(f, wrap, causes, i);
        is_printed[causes[i]] = true;
    }
}

void explain_report(const struct explain_facts *facts, const struct wrap *wrap) {
    fputs("Kernel Samepage Merging (KSM) on this host\n\n", wrap->file);
    print_verdict(facts, wrap);
    if (!facts->has_ksm)
        return;
    print_metrics(facts, wrap);
    print_consumers(facts, wrap->file);
    print_causes(facts, wrap);
}
