/* SPDX-License-Identifier: MIT
 *
 * Whose memory is merged with whose: in words, as JSON and as metrics.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "explain/format.h"
#include "explain/openmetrics.h"
#include "explain/sharing.h"
#include "explain/values.h"

enum { ROWS_MAX = 20 };

/* ---- numbers and names ---- */

static int64_t bytes_of(const struct sharing *s, double pages) {
    return llround(pages * (double)s->scan.page_size);
}

static const char *kind_of(const struct sharing *s, size_t consumer) {
    return ksm_consumer_kinds[s->scan.consumers[consumer].name.kind];
}

/* "vm web" */
static void format_consumer(const struct sharing *s, size_t i,
                            char text[static KSM_TRUST_DOMAIN_SIZE]) {
    snprintf(text, KSM_TRUST_DOMAIN_SIZE, "%s %s", kind_of(s, i), s->scan.consumers[i].name.text);
}

static void format_owner(const struct sharing *s, size_t i,
                         char text[static KSM_TRUST_DOMAIN_SIZE]) {
    ksm_trust_domain_format(&s->owners[i].domain, text);
}

static void format_owner_of(const struct sharing *s, size_t consumer,
                            char text[static KSM_TRUST_DOMAIN_SIZE]) {
    if (s->consumers[consumer].several)
        snprintf(text, KSM_TRUST_DOMAIN_SIZE, "several");
    else
        format_owner(s, s->consumers[consumer].owner, text);
}

/* What the plugins show as saved; -1: not known. */
static int64_t average_of(const struct sharing *s, const struct sharing_host *host, size_t i) {
    const struct ksm_consumer_table *table = host->table;

    if (!table->enabled || !table->valid)
        return -1;
    const struct ksm_consumer *consumer = ksm_consumer_find(table, &s->scan.consumers[i].name);
    return consumer ? consumer->saved : -1;
}

/* ---- which rows there are ---- */

static bool is_shown(const struct sharing *s, size_t consumer) {
    return s->scan.consumers[consumer].any_named && s->consumers[consumer].merged > 0;
}

static const struct sharing *sharing_of_sort; /* for compare_consumers() */

static int compare_consumers(const void *left, const void *right) {
    const size_t a = *(const size_t *)left, b = *(const size_t *)right;
    const double saved_a = sharing_of_sort->consumers[a].saved.pages;
    const double saved_b = sharing_of_sort->consumers[b].saved.pages;

    if (saved_a != saved_b)
        return saved_a > saved_b ? -1 : 1;
    return a < b ? -1 : a > b;
}

/* Returns the shown consumers, the largest saving first; NULL without memory. */
static size_t *sort_consumers(const struct sharing *s, size_t *count) {
    size_t *list = calloc(s->scan.consumer_count + 1, sizeof(*list));

    *count = 0;
    for (size_t i = 0; list && i < s->scan.consumer_count; i++)
        if (is_shown(s, i))
            list[(*count)++] = i;
    sharing_of_sort = s;
    if (list)
        qsort(list, *count, sizeof(*list), compare_consumers);
    return list;
}

/* Returns the index of the first pair from i on of which one side is shown. */
static size_t next_pair(const struct sharing *s, const struct sharing_pairs *pairs, size_t i) {
    const bool are_owners = pairs == &s->owner_pairs;

    for (; i < pairs->count; i++) {
        const struct sharing_pair *pair = &pairs->list[i];
        if (are_owners && (s->owners[pair->a].any_named || s->owners[pair->b].any_named))
            break;
        if (!are_owners && (is_shown(s, pair->a) || is_shown(s, pair->b)))
            break;
    }
    return i;
}

/* ---- the report ---- */

/* "3 owners: vm db, vm web and user 1000" */
static void format_owners(const struct sharing *s, char *text, size_t size) {
    enum { NAMES_MAX = 4, COLUMNS = 30 };
    size_t count = 0, done = 0;
    char name[KSM_TRUST_DOMAIN_SIZE];

    for (size_t i = 0; i < s->owner_count; i++)
        count += s->owners[i].shares;
    size_t len = (size_t)snprintf(text, size, "%zu owners: ", count);
    for (size_t i = 0; i < s->owner_count && done < NAMES_MAX && len < size; i++) {
        if (!s->owners[i].shares)
            continue;
        format_owner(s, i, name);
        const char *separator = done + 1 == count ? " and " : ", ";
        len += (size_t)snprintf(text + len, size - len, "%s%.*s", done > 0 ? separator : "",
                                (int)wrap_fit(name, COLUMNS), name);
        done++;
    }
    if (count > done && len < size)
        snprintf(text + len, size - len, " and %zu more", count - done);
}

static void add_saving(struct values *v, const struct sharing *s, const struct sharing_host *host) {
    const int64_t saved = bytes_of(s, s->saved.pages);
    const int64_t error = bytes_of(s, sharing_error(&s->saved));
    const int64_t counter = host->sharing >= 0 ? host->sharing * (int64_t)s->scan.page_size : -1;
    const int64_t difference = llabs(counter - saved);

    values_add_bytes(v, "saved", saved);
    if (error > 0)
        values_add_bytes(v, "error", error);
    values_add_if(v, "no_counter", counter < 0);
    values_add_if(v, "agrees", counter >= 0 && difference <= error);
    if (counter >= 0 && difference > error) {
        values_add_bytes(v, "counter", counter);
        values_add_bytes(v, "difference", difference);
    }
    if (host->zero > 0)
        values_add_bytes(v, "zeros", host->zero * (int64_t)s->scan.page_size);
}

static void add_owners(struct values *v, const struct sharing *s, bool hidden) {
    const struct memory_scan_counts *counts = &s->scan.counts;
    const bool all_read = !hidden && !counts->partial && counts->denied == 0 &&
                          counts->failed == 0 && counts->blocking == 0 && counts->exited == 0 &&
                          s->other_saved < 1;
    const int64_t across = bytes_of(s, s->across.pages);

    values_add_if(v, "no_owners", across == 0 && all_read);
    values_add_if(v, "none_read", across == 0 && !all_read);
    values_add_if(v, "hidden", hidden);
    if (across == 0)
        return;
    values_add_bytes(v, "across", across);
    if (s->across.variance > 0)
        values_add_bytes(v, "across_error", bytes_of(s, sharing_error(&s->across)));
    format_owners(s, values_add(v, "owners"), VALUE_SIZE);
}

static bool has_hugetlb(const struct sharing *s) {
    for (size_t i = 0; i < s->scan.count; i++)
        if (s->scan.list[i].wanted && s->scan.list[i].hugetlb)
            return true;
    return false;
}

static void add_remarks(struct values *v, const struct sharing *s) {
    if (s->other_saved >= 1)
        values_add_bytes(v, "others", bytes_of(s, s->other_saved));
    if (s->unclear > 0)
        values_add_bytes(v, "unclear", bytes_of(s, s->unclear));
    values_add_if(v, "all_clear", !s->frames.knows_ksm && s->unclear == 0);
    values_add_if(v, "sampled", s->mappings.sampling_shift > 0);
    values_add_if(v, "hugetlb", has_hugetlb(s));
    values_add_counts(v, &s->scan.counts, s->scan.page_size);
}

static const struct values_line lines[] = {
#define SHARING(label, text) {label, text},
#include "explain/explain.def"
};

/* Few amounts are wider than a cell. */
enum { CELL = 10, PERCENT = 7 };

/* part of whole; "-" if they are not known. */
static void print_percent(FILE *file, const char *sign, bool is_known, double part, double whole) {
    /* + 0: no -0 */
    const double percent = is_known && whole > 0 ? nearbyint(100 * part / whole) + 0 : 0;
    char text[32] = "-";

    if (is_known && whole > 0)
        snprintf(text, sizeof(text), "%s%.0f %%", percent > 0 ? sign : "", percent);
    fprintf(file, "%*s", PERCENT, text);
}

static void print_consumer(const struct sharing *s, const struct sharing_host *host, size_t i,
                           FILE *file) {
    enum { NAME = WRAP_COLUMNS - WRAP_INDENT - 5 * CELL - PERCENT - 2 };
    const struct sharing_consumer *consumer = &s->consumers[i];
    const int64_t average = average_of(s, host, i);
    const double saved = (double)bytes_of(s, consumer->saved.pages);
    const double error = (double)bytes_of(s, sharing_error(&consumer->saved));
    const double off_by = (double)average - saved;

    fprintf(file, "%*s", WRAP_INDENT, "");
    values_print_cell(file, CELL, bytes_of(s, (double)consumer->merged));
    values_print_cell(file, CELL, bytes_of(s, consumer->saved.pages));
    values_print_cell(file, CELL, bytes_of(s, consumer->within));
    values_print_cell(file, CELL, bytes_of(s, consumer->others));
    values_print_cell(file, CELL, average);
    if (s->mappings.sampling_shift > 0)
        print_percent(file, "", true, error, saved);
    else
        print_percent(file, off_by > 0 ? "+" : "", average >= 0, off_by, saved);
    fputs("  ", file);
    wrap_name(file, NAME, kind_of(s, i), s->scan.consumers[i].name.text);
}

static void print_consumers(const struct sharing *s, const struct sharing_host *host, FILE *file) {
    size_t count;
    size_t *list = sort_consumers(s, &count);

    if (count > 0)
        fprintf(file, "\nBy consumer\n%*s%*s%*s%*s%*s%*s%*s\n", WRAP_INDENT, "", CELL, "merged",
                CELL, "saved", CELL, "within", CELL, "others", CELL, "average", PERCENT,
                s->mappings.sampling_shift > 0 ? "error" : "off by");
    for (size_t i = 0; list && i < count && i < ROWS_MAX; i++)
        print_consumer(s, host, list[i], file);
    if (count > ROWS_MAX)
        fprintf(file, "%*sand %zu more\n", WRAP_INDENT, "", count - ROWS_MAX);
    free(list);
}

/* Writes one side of a pair, cut to columns. */
static void print_side(const struct sharing *s, bool is_owner, size_t i, size_t columns,
                       FILE *file) {
    char text[KSM_TRUST_DOMAIN_SIZE];

    if (is_owner)
        format_owner(s, i, text);
    else
        format_consumer(s, i, text);
    fprintf(file, "%.*s", (int)wrap_fit(text, columns), text);
}

static void print_pairs(const struct sharing *s, const struct sharing_pairs *pairs,
                        const char *title, FILE *file) {
    enum { NAME = (WRAP_COLUMNS - WRAP_INDENT - CELL - 2 - sizeof(" and ")) / 2 };
    const bool are_owners = pairs == &s->owner_pairs;
    size_t i = next_pair(s, pairs, 0);

    if (i < pairs->count)
        fprintf(file, "\n%s\n", title);
    for (size_t rows = 0; i < pairs->count && rows < ROWS_MAX; rows++) {
        const struct sharing_pair *pair = &pairs->list[i];
        fprintf(file, "%*s", WRAP_INDENT, "");
        values_print_cell(file, CELL, bytes_of(s, pair->sum.pages));
        fputs("  ", file);
        print_side(s, are_owners, pair->a, NAME, file);
        fputs(" and ", file);
        print_side(s, are_owners, pair->b, NAME, file);
        fputc('\n', file);
        i = next_pair(s, pairs, i + 1);
    }
    if (i < pairs->count || pairs->overflow)
        fprintf(file, "%*sand more: --json has them\n", WRAP_INDENT, "");
}

void sharing_report(const struct sharing *s, const struct sharing_host *host,
                    const struct wrap *wrap) {
    struct values v = {.count = 0};

    add_owners(&v, s, host->hidden);
    add_saving(&v, s, host);
    add_remarks(&v, s);
    fputs("Whose memory is merged with whose\n\n", wrap->file);
    values_print(&v, lines, sizeof(lines) / sizeof(lines[0]), wrap);
    print_consumers(s, host, wrap->file);
    print_pairs(s, &s->pairs, "Merged between consumers (a page counts once for each pair)",
                wrap->file);
    print_pairs(s, &s->owner_pairs, "Merged between owners (a page counts once for each pair)",
                wrap->file);
}

/* ---- JSON: clean names (consumer_name.h) need no escapes ---- */

static void json_sum(const struct sharing *s, const char *name, const struct sharing_sum *sum,
                     FILE *file) {
    fprintf(file, "\"%s_bytes\": %" PRId64 ", \"%s_error_bytes\": %" PRId64 ", ", name,
            bytes_of(s, sum->pages), name, bytes_of(s, sharing_error(sum)));
}

static void json_consumers(const struct sharing *s, const struct sharing_host *host, FILE *file) {
    char owner[KSM_TRUST_DOMAIN_SIZE];
    size_t count;
    size_t *list = sort_consumers(s, &count);

    fputs("\"consumers\": [", file);
    for (size_t i = 0; list && i < count; i++) {
        const struct sharing_consumer *consumer = &s->consumers[list[i]];
        fprintf(file, "%s{", i > 0 ? ",\n  " : "\n  ");
        values_json_number(file, "merged_bytes", bytes_of(s, (double)consumer->merged));
        json_sum(s, "saved", &consumer->saved, file);
        values_json_number(file, "saved_within_bytes", bytes_of(s, consumer->within));
        values_json_number(file, "saved_with_others_bytes", bytes_of(s, consumer->others));
        values_json_number(file, "average_bytes", average_of(s, host, list[i]));
        format_owner_of(s, list[i], owner);
        fprintf(file, "\"owner\": \"%s\", \"kind\": \"%s\", \"name\": \"%s\"}", owner,
                kind_of(s, list[i]), s->scan.consumers[list[i]].name.text);
    }
    fputs("], ", file);
    free(list);
}

static void json_pairs(const struct sharing *s, const struct sharing_pairs *pairs, FILE *file) {
    char a[KSM_TRUST_DOMAIN_SIZE], b[KSM_TRUST_DOMAIN_SIZE];
    const char *separator = "\n  ";

    for (size_t i = next_pair(s, pairs, 0); i < pairs->count; i = next_pair(s, pairs, i + 1)) {
        const struct sharing_pair *pair = &pairs->list[i];
        if (pairs == &s->owner_pairs) {
            format_owner(s, pair->a, a);
            format_owner(s, pair->b, b);
        } else {
            format_consumer(s, pair->a, a);
            format_consumer(s, pair->b, b);
        }
        fprintf(file, "%s{", separator);
        json_sum(s, "merged", &pair->sum, file);
        fprintf(file, "\"a\": \"%s\", \"b\": \"%s\"}", a, b);
        separator = ",\n  ";
    }
}

void sharing_json(const struct sharing *s, const struct sharing_host *host, FILE *file) {
    const struct memory_scan_counts *counts = &s->scan.counts;
    const int64_t page_size = (int64_t)s->scan.page_size;

    fputs("{", file);
    json_sum(s, "saved", &s->saved, file);
    values_json_number(file, "counter_bytes", host->sharing >= 0 ? host->sharing * page_size : -1);
    values_json_number(file, "zero_bytes", host->zero >= 0 ? host->zero * page_size : -1);
    values_json_number(file, "others_bytes", bytes_of(s, s->other_saved));
    values_json_number(file, "unclear_bytes", s->frames.knows_ksm ? 0 : bytes_of(s, s->unclear));
    fprintf(file, "\"method\": \"%s\", ", s->frames.knows_ksm ? "flags" : "addresses");
    values_json_number(file, "sampled_one_in", (int64_t)1 << s->mappings.sampling_shift);
    json_sum(s, "between_owners", &s->across, file);
    values_json_number(file, "processes", counts->processes);
    values_json_number(file, "denied", counts->denied);
    values_json_number(file, "failed", counts->failed);
    values_json_number(file, "ended", counts->exited);
    values_json_number(file, "blocking", counts->blocking);
    values_json_number(file, "milliseconds", counts->ms);
    fprintf(file, "\"partial\": %s, \"complete_pairs\": %s, ", counts->partial ? "true" : "false",
            s->pairs.overflow || s->owner_pairs.overflow ? "false" : "true");
    json_consumers(s, host, file);
    fputs("\"pairs\": [", file);
    json_pairs(s, &s->pairs, file);
    fputs("], \"owner_pairs\": [", file);
    json_pairs(s, &s->owner_pairs, file);
    fputs("]}\n", file);
}

/* ---- OpenMetrics ---- */

/* Returns whether a consumer's name is shown, which the plugins limit (rate_limit.h). */
static bool is_name_shown(const struct sharing_host *host, const struct ksm_consumer_name *name) {
    const struct ksm_consumer *consumer = ksm_consumer_find(host->table, name);

    return consumer && consumer->shown;
}

static bool is_owner_shown(const struct sharing *s, const struct sharing_host *host, size_t i) {
    const struct ksm_trust_domain *domain = &s->owners[i].domain;

    return !ksm_trust_domain_is_own(domain->name.kind) || is_name_shown(host, &domain->name);
}

void sharing_openmetrics(const struct sharing *s, const struct sharing_host *host, FILE *file) {
    char a[KSM_TRUST_DOMAIN_SIZE], b[KSM_TRUST_DOMAIN_SIZE];
    size_t rows = 0;

    openmetrics_header("ksm_consumer_saved_exact_bytes", true,
                       "memory saved by a consumer: its share of each merged page", file);
    for (size_t i = 0; i < s->scan.consumer_count; i++)
        if (is_shown(s, i) && is_name_shown(host, &s->scan.consumers[i].name))
            fprintf(file, "ksm_consumer_saved_exact_bytes{kind=\"%s\",name=\"%s\"} %" PRId64 "\n",
                    kind_of(s, i), s->scan.consumers[i].name.text,
                    bytes_of(s, s->consumers[i].saved.pages));
    openmetrics_header("ksm_shared_between_owners_bytes", true,
                       "memory merged between two owners: a page counts for each pair", file);
    for (size_t i = 0; i < s->owner_pairs.count && rows < ROWS_MAX; i++) {
        const struct sharing_pair *pair = &s->owner_pairs.list[i];
        if (!is_owner_shown(s, host, pair->a) || !is_owner_shown(s, host, pair->b))
            continue;
        format_owner(s, pair->a, a);
        format_owner(s, pair->b, b);
        const bool ascending = strcmp(a, b) < 0;
        fprintf(file, "ksm_shared_between_owners_bytes{a=\"%s\",b=\"%s\"} %" PRId64 "\n",
                ascending ? a : b, ascending ? b : a, bytes_of(s, pair->sum.pages));
        rows++;
    }
    openmetrics_header("ksm_shared_across_owners_bytes", true,
                       "memory merged between owners: each page counts once", file);
    fprintf(file, "ksm_shared_across_owners_bytes %" PRId64 "\n# EOF\n",
            bytes_of(s, s->across.pages));
}
