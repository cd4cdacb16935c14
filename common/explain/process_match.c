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

int process_match_init(struct process_match *m, char *const *words, size_t word_count) {
    *m = (struct process_match){.words = words, .word_count = word_count};
    m->best = calloc(word_count + 1, sizeof(*m->best));
    return m->best ? 0 : -ENOMEM;
}

void process_match_close(struct process_match *m) {
    free(m->best);
    free(m->list);
    *m = (struct process_match){.word_count = 0};
}

/* ---- one word ---- */

static bool is_pid(const char *word, int64_t *pid) {
    return parse_number(word, strlen(word), pid) == 0;
}

/* The name in "kind:name", or NULL if the word does not begin with that kind. A blank for the colon
 * is the same, as the table of consumers has one there. */
static const char *after_kind(const char *word, enum ksm_consumer_kind kind) {
    const size_t len = strlen(ksm_consumer_kinds[kind]);

    return strncmp(word, ksm_consumer_kinds[kind], len) == 0 &&
                   (word[len] == ':' || word[len] == ' ')
               ? word + len + 1
               : NULL;
}

static unsigned char compare(const char *word, const struct process_names *names) {
    const char *of_kind = after_kind(word, names->consumer.kind);
    int64_t pid = 0;

    if (*word == '\0')
        return NONE;
    if (is_pid(word, &pid))
        return pid == names->pid ? EXACT : NONE;
    if (strcmp(word, names->consumer.text) == 0 || strcmp(word, names->comm) == 0 ||
        strcmp(word, names->program) == 0 ||
        (of_kind && strcmp(of_kind, names->consumer.text) == 0))
        return EXACT;
    return strncmp(word, names->program, strlen(word)) == 0 ? PREFIX : NONE;
}

/* ---- all words ---- */

bool process_match_is_by_pid(const struct process_match *m) {
    int64_t pid = 0;

    for (size_t i = 0; i < m->word_count; i++)
        if (!is_pid(m->words[i], &pid))
            return false;
    return m->word_count > 0;
}

int process_match_add(struct process_match *m, const struct process_names *names) {
    if (m->count == m->size) {
        const size_t size = m->size ? 2 * m->size : 256;
        void *list = realloc(m->list, size * sizeof(*m->list));
        if (!list)
            return -ENOMEM;
        m->list = list;
        m->size = size;
    }
    for (size_t i = 0; i < m->word_count; i++) {
        const unsigned char match = compare(m->words[i], names);
        if (match > m->best[i])
            m->best[i] = match;
    }
    m->list[m->count++] = *names;
    return 0;
}

bool process_match_is_wanted(const struct process_match *m, size_t index) {
    for (size_t i = 0; i < m->word_count; i++) {
        const unsigned char match = compare(m->words[i], &m->list[index]);
        if (match != NONE && match == m->best[i])
            return true;
    }
    return m->word_count == 0;
}

const char *process_match_unknown(const struct process_match *m) {
    for (size_t i = 0; i < m->word_count; i++)
        if (m->best[i] == NONE)
            return m->words[i];
    return NULL;
}

/* ---- names that are near ---- */

enum { NEAREST = 3, LONGEST = 64 /* bytes that are compared */ };

struct near {
    char text[16 + KSM_CONSUMER_NAME_SIZE];
    size_t distance;
};

/* Bytes to insert, remove or replace to make one of the other (Levenshtein), whatever their case.
 */
static size_t distance(const char *a, const char *b) {
    const size_t a_len = strnlen(a, LONGEST), b_len = strnlen(b, LONGEST);
    size_t row[LONGEST + 1];

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

/* Puts a name in its place among those found before, if it is near enough. One that has the word in
 * it is as near as one that differs in a letter. text is the name as it is shown. */
static void offer(struct near near[static NEAREST], const char *word, const char *name,
                  const char *text) {
    struct near found = {.distance = strcasestr(name, word) ? 1 : distance(word, name)};

    if (*word == '\0' || found.distance > 1 + strlen(word) / 3)
        return;
    snprintf(found.text, sizeof(found.text), "%s", text);
    for (size_t i = 0; i < NEAREST; i++) {
        if (strcmp(near[i].text, found.text) == 0)
            return;
        if (*near[i].text && near[i].distance <= found.distance)
            continue;
        const struct near farther = near[i];
        near[i] = found;
        found = farther;
    }
}

static void offer_consumer(struct near near[static NEAREST], const char *word,
                           const struct ksm_consumer_name *consumer) {
    char full[sizeof(near->text)];
    const bool is_program = consumer->kind == KSM_CONSUMER_program;

    snprintf(full, sizeof(full), "%s:%s", ksm_consumer_kinds[consumer->kind], consumer->text);
    offer(near, word, consumer->text, is_program ? consumer->text : full);
}

/* What is not clean is shown as its consumer's name, if at all. */
static void offer_program(struct near near[static NEAREST], const char *word, const char *program) {
    char clean[KSM_CONSUMER_NAME_SIZE];

    ksm_consumer_name_clean(program, strlen(program), clean);
    if (strcmp(clean, program) == 0)
        offer(near, word, program, program);
}

/* Returns the kind that a word begins with, or KSM_CONSUMER_KIND_COUNT. */
static int kind_of(const char *word) {
    int kind = 0;

    while (kind < KSM_CONSUMER_KIND_COUNT && !after_kind(word, (enum ksm_consumer_kind)kind))
        kind++;
    return kind;
}

static void offer_names(struct near near[static NEAREST], const char *word,
                        const struct process_names *names) {
    const int kind = kind_of(word);

    if (kind == KSM_CONSUMER_KIND_COUNT) {
        offer_consumer(near, word, &names->consumer);
        offer_program(near, word, names->comm);
        offer_program(near, word, names->program);
    } else if (kind == (int)names->consumer.kind) {
        offer_consumer(near, after_kind(word, names->consumer.kind), &names->consumer);
    }
}

/* Writes the names that come nearest to a word, at most three, as "a, b, c"; "" if none does. With
 * a kind, they are of that kind. */
static void list_nearest(const struct process_match *m, const char *word, char *buf, size_t size) {
    struct near near[NEAREST] = {{.text = ""}};
    size_t len = 0;

    *buf = '\0';
    for (size_t i = 0; i < m->count; i++)
        offer_names(near, word, &m->list[i]);
    for (size_t i = 0; i < NEAREST && *near[i].text && len < size; i++)
        len += (size_t)snprintf(buf + len, size - len, "%s%s", i > 0 ? ", " : "", near[i].text);
}

/* Writes "vm, container, ..." if a word has a colon after what is no kind; else "". */
static void list_kinds(const char *word, char *buf, size_t size) {
    size_t len = 0;

    *buf = '\0';
    if (!strchr(word, ':') || kind_of(word) < KSM_CONSUMER_KIND_COUNT)
        return;
    for (int kind = 0; kind < KSM_CONSUMER_KIND_COUNT && len < size; kind++)
        len += (size_t)snprintf(buf + len, size - len, "%s%s", kind > 0 ? ", " : "",
                                ksm_consumer_kinds[kind]);
}

void process_match_why_unknown(const struct process_match *m, const char *word, char *buf,
                               size_t size) {
    char nearest[512], kinds[128];
    int64_t pid = 0;

    if (is_pid(word, &pid)) {
        snprintf(buf, size, "no process with memory of its own has the PID %" PRId64, pid);
        return;
    }
    list_nearest(m, word, nearest, sizeof(nearest));
    list_kinds(word, kinds, sizeof(kinds));
    snprintf(buf, size, "no process, consumer or program is called \"%.200s\"%s%s%s%s", word,
             *kinds ? "; kinds of consumers: " : "", kinds, *nearest ? "; similar names: " : "",
             nearest);
}
