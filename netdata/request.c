/* SPDX-License-Identifier: MIT */
#include "request.h"

#include <ctype.h>
#include <string.h>

struct word {
    const char *text;
    size_t len;
    bool open; /* its closing quotation mark is missing */
};

static bool is_blank(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_word(const struct word *word, const char *text) {
    return word->len == strlen(text) && memcmp(word->text, text, word->len) == 0;
}

/* Returns the next word and moves *at behind it. Words are separated by blanks or quoted by " or ';
 * there are no escapes. At the end of the line the word is empty. */
static struct word next_word(const char **at, const char *end) {
    struct word word = {NULL, 0, false};

    while (*at < end && is_blank(**at))
        ++*at;
    if (*at < end && (**at == '"' || **at == '\'')) {
        const char *open = (*at)++;
        const char *close = memchr(*at, *open, (size_t)(end - *at));
        word.text = *at;
        word.len = (size_t)((close ? close : end) - *at);
        word.open = !close;
        *at = close ? close + 1 : end;
        return word;
    }
    word.text = *at;
    while (*at < end && !is_blank(**at))
        ++*at;
    word.len = (size_t)(*at - word.text);
    return word;
}

static bool is_id(const struct word *word) {
    for (size_t i = 0; i < word->len; i++) {
        char c = word->text[i];
        if (!isalnum((unsigned char)c) && c != '-' && c != '_' && c != '.')
            return false;
    }
    return word->len > 0 && word->len <= REQUEST_ID && !word->open;
}

static void copy(char *to, const struct word *word) {
    memcpy(to, word->text, word->len);
    to[word->len] = '\0';
}

/* Parses what follows the keyword: id, timeout, function. An invalid id leaves request->id empty.
 */
static void parse_call(struct request_parser *p, const char *at, const char *end) {
    struct request *request = &p->request;
    struct word id = next_word(&at, end);

    next_word(&at, end); /* the timeout: every answer is immediate */
    struct word function = next_word(&at, end);
    request->id[0] = request->function[0] = '\0';
    request->error = NULL;
    if (!is_id(&id))
        return;
    copy(request->id, &id);
    if (p->truncated && function.text + function.len == end)
        request->error = "the request is too long";
    else if (function.open)
        request->error = "a quotation mark in the request is not closed";
    else if (function.len == 0)
        request->error = "the request names no function";
    else if (function.len > REQUEST_FUNCTION)
        request->error = "the request is too long";
    else
        copy(request->function, &function);
}

static bool ends_payload(const struct request_parser *p) {
    static const char last[] = "FUNCTION_PAYLOAD_END";

    return p->len == strlen(last) && memcmp(p->line, last, p->len) == 0;
}

/* Returns whether the line completes a request. */
static bool end_line(struct request_parser *p) {
    const char *at = p->line;
    const char *end = p->line + p->len;

    if (p->in_payload) {
        p->in_payload = !ends_payload(p);
        return !p->in_payload && p->request.id[0];
    }
    struct word keyword = next_word(&at, end);
    p->in_payload = is_word(&keyword, "FUNCTION_PAYLOAD");
    if (!p->in_payload && !is_word(&keyword, "FUNCTION"))
        return false;
    parse_call(p, at, end);
    return !p->in_payload && p->request.id[0];
}

bool request_take(struct request_parser *p, const char *bytes, size_t len, size_t *used) {
    for (*used = 0; *used < len;) {
        char c = bytes[(*used)++];
        if (c == '\n') {
            bool complete = end_line(p);
            p->len = 0;
            p->truncated = false;
            if (complete)
                return true;
        } else if (p->len == sizeof(p->line)) {
            p->truncated = true;
        } else if (p->len > 0 || !is_blank(c)) {
            p->line[p->len++] = c;
        }
    }
    return false;
}

void request_discard(struct request_parser *p) {
    p->in_payload = p->truncated = false;
    p->len = 0;
}
