/* SPDX-License-Identifier: MIT */
#include "explain/process_match.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "system/parse.h"

enum { NONE, PREFIX, EXACT };

int process_match_init(struct process_match *m, char *const *names, size_t name_count) {
    *m = (struct process_match){.names = names, .name_count = name_count};
    m->best = calloc(name_count + 1, sizeof(*m->best));
    return m->best ? 0 : -ENOMEM;
}

void process_match_close(struct process_match *m) {
    free(m->best);
    free(m->list);
    *m = (struct process_match){.name_count = 0};
}

/* ---- one name ---- */

static bool is_pid(const char *name, int64_t *pid) {
    return parse_number(name, strlen(name), pid) == 0;
}

/* Returns what follows the kind in "kind:name", or NULL if a name does not begin with that kind. A
 * blank is accepted for the colon, as in the table of consumers. */
static const char *after_kind(const char *name, enum ksm_consumer_kind kind) {
    const size_t len = strlen(ksm_consumer_kinds[kind]);

    if (strncmp(name, ksm_consumer_kinds[kind], len) != 0 || (name[len] != ':' && name[len] != ' '))
        return NULL;
    return name + len + 1;
}

static unsigned char compare(const char *name, const struct process_names *process) {
    const char *of_kind = after_kind(name, process->consumer.kind);
    int64_t pid = 0;

    if (*name == '\0')
        return NONE;
    if (is_pid(name, &pid))
        return pid == process->pid ? EXACT : NONE;
    if (strcmp(name, process->consumer.text) == 0 || strcmp(name, process->comm) == 0 ||
        strcmp(name, process->program) == 0 ||
        (of_kind && strcmp(of_kind, process->consumer.text) == 0))
        return EXACT;
    return strncmp(name, process->program, strlen(name)) == 0 ? PREFIX : NONE;
}

/* ---- all names ---- */

bool process_match_is_by_pid(const struct process_match *m) {
    int64_t pid = 0;

    for (size_t i = 0; i < m->name_count; i++)
        if (!is_pid(m->names[i], &pid))
            return false;
    return m->name_count > 0;
}

int process_match_add(struct process_match *m, const struct process_names *process) {
    if (m->count == m->size) {
        const size_t size = m->size ? 2 * m->size : 256;
        void *list = reallocarray(m->list, size, sizeof(*m->list));
        if (!list)
            return -ENOMEM;
        m->list = list;
        m->size = size;
    }
    for (size_t i = 0; i < m->name_count; i++) {
        const unsigned char match = compare(m->names[i], process);
        if (match > m->best[i])
            m->best[i] = match;
    }
    m->list[m->count++] = *process;
    return 0;
}

bool process_match_is_wanted(const struct process_match *m, size_t index) {
    for (size_t i = 0; i < m->name_count; i++) {
        const unsigned char match = compare(m->names[i], &m->list[index]);
        if (match != NONE && match == m->best[i])
            return true;
    }
    return m->name_count == 0;
}

const char *process_match_unknown(const struct process_match *m) {
    for (size_t i = 0; i < m->name_count; i++)
        if (m->best[i] == NONE)
            return m->names[i];
    return NULL;
}

/* ---- names that are similar ---- */

enum { SUGGESTIONS = 3, COMPARED_MAX = 64 /* bytes that are compared */ };

struct suggestion {
    char text[16 + KSM_CONSUMER_NAME_SIZE];
    size_t distance;
};

/* Returns how many bytes to insert, remove or replace to turn one text into the other
 * (Levenshtein). Ignores case. */
static size_t distance(const char *a, const char *b) {
    const size_t a_len = strnlen(a, COMPARED_MAX), b_len = strnlen(b, COMPARED_MAX);
    size_t row[COMPARED_MAX + 1];

    for (size_t j = 0; j <= b_len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            const bool differ =
                tolower((unsigned char)a[i - 1]) != tolower((unsigned char)b[j - 1]);
            const size_t changed = diagonal + differ;
            const size_t moved = 1 + (row[j] < row[j - 1] ? row[j] : row[j - 1]);
            diagonal = row[j];
            row[j] = changed < moved ? changed : moved;
        }
    }
    return row[b_len];
}

/* Inserts a candidate into the list, which is sorted by distance, if it is similar to name. One
 * that contains name has a distance of 1. text: the candidate as it is shown. */
static void suggest(struct suggestion list[static SUGGESTIONS], const char *name,
                    const char *candidate, const char *text) {
    struct suggestion found = {.distance =
                                   strcasestr(candidate, name) ? 1 : distance(name, candidate)};

    if (*name == '\0' || found.distance > 1 + strlen(name) / 3)
        return;
    snprintf(found.text, sizeof(found.text), "%s", text);
    for (size_t i = 0; i < SUGGESTIONS; i++) {
        if (strcmp(list[i].text, found.text) == 0)
            return;
        if (*list[i].text && list[i].distance <= found.distance)
            continue;
        const struct suggestion farther = list[i];
        list[i] = found;
        found = farther;
    }
}

static void suggest_consumer(struct suggestion list[static SUGGESTIONS], const char *name,
                             const struct ksm_consumer_name *consumer) {
    char full[sizeof(list->text)];
    const bool is_program = consumer->kind == KSM_CONSUMER_program;

    snprintf(full, sizeof(full), "%s:%s", ksm_consumer_kinds[consumer->kind], consumer->text);
    suggest(list, name, consumer->text, is_program ? consumer->text : full);
}

/* A name that is not clean is not suggested, but its consumer's may be. */
static void suggest_program(struct suggestion list[static SUGGESTIONS], const char *name,
                            const char *program) {
    char clean[KSM_CONSUMER_NAME_SIZE];

    ksm_consumer_name_clean(program, strlen(program), clean);
    if (strcmp(clean, program) == 0)
        suggest(list, name, program, program);
}

/* Returns the kind that a name begins with, or KSM_CONSUMER_KIND_COUNT. */
static int kind_of(const char *name) {
    int kind = 0;

    while (kind < KSM_CONSUMER_KIND_COUNT && !after_kind(name, (enum ksm_consumer_kind)kind))
        kind++;
    return kind;
}

static void suggest_names(struct suggestion list[static SUGGESTIONS], const char *name,
                          const struct process_names *process) {
    const int kind = kind_of(name);

    if (kind == KSM_CONSUMER_KIND_COUNT) {
        suggest_consumer(list, name, &process->consumer);
        suggest_program(list, name, process->comm);
        suggest_program(list, name, process->program);
    } else if (kind == (int)process->consumer.kind) {
        suggest_consumer(list, after_kind(name, process->consumer.kind), &process->consumer);
    }
}

/* Writes the names that are most similar, as "a, b, c"; "" if none is. If name has a kind, only
 * those of that kind. */
static void list_similar(const struct process_match *m, const char *name, char *buf, size_t size) {
    struct suggestion list[SUGGESTIONS] = {{.text = ""}};
    size_t len = 0;

    *buf = '\0';
    for (size_t i = 0; i < m->count; i++)
        suggest_names(list, name, &m->list[i]);
    for (size_t i = 0; i < SUGGESTIONS && *list[i].text && len < size; i++)
        len += (size_t)snprintf(buf + len, size - len, "%s%s", i > 0 ? ", " : "", list[i].text);
}

/* Writes "vm, container, ..." if a name has a colon, but no kind before it; else "". */
static void list_kinds(const char *name, char *buf, size_t size) {
    size_t len = 0;

    *buf = '\0';
    if (!strchr(name, ':') || kind_of(name) < KSM_CONSUMER_KIND_COUNT)
        return;
    for (int kind = 0; kind < KSM_CONSUMER_KIND_COUNT && len < size; kind++)
        len += (size_t)snprintf(buf + len, size - len, "%s%s", kind > 0 ? ", " : "",
                                ksm_consumer_kinds[kind]);
}

void process_match_why_unknown(const struct process_match *m, const char *name, char *buf,
                               size_t size) {
    char similar[512], kinds[128];
    int64_t pid = 0;

    if (is_pid(name, &pid)) {
        snprintf(buf, size, "no process with memory of its own has the PID %" PRId64, pid);
        return;
    }
    list_similar(m, name, similar, sizeof(similar));
    list_kinds(name, kinds, sizeof(kinds));
    snprintf(buf, size, "no process, consumer or program is called \"%.200s\"%s%s%s%s", name,
             *kinds ? "; kinds of consumers: " : "", kinds, *similar ? "; similar names: " : "",
             similar);
}
