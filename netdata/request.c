/* SPDX-License-Identifier: MIT */
#include "request.h"

#include <ctype.h>
#include <string.h>

struct token {
    const char *text;
    size_t len;
    bool open; /* its closing quotation mark is missing */
};

static bool is_blank(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool token_equals(const struct token *token, const char *text) {
    return token->len == strlen(text) && memcmp(token->text, text, token->len) == 0;
}

/* Returns the next token and moves *pos behind it. Tokens are separated by blanks or quoted by " or
 * '; there are no escapes. At the end of the line the token is empty. */
static struct token next_token(const char **pos, const char *end) {
    struct token token = {NULL, 0, false};

    while (*pos < end && is_blank(**pos))
        ++*pos;
    if (*pos < end && (**pos == '"' || **pos == '\'')) {
        const char *open = (*pos)++;
        const char *close = memchr(*pos, *open, (size_t)(end - *pos));
        token.text = *pos;
        token.len = (size_t)((close ? close : end) - *pos);
        token.open = !close;
        *pos = close ? close + 1 : end;
        return token;
    }
    token.text = *pos;
    while (*pos < end && !is_blank(**pos))
        ++*pos;
    token.len = (size_t)(*pos - token.text);
    return token;
}

static bool is_id(const struct token *token) {
    for (size_t i = 0; i < token->len; i++) {
        char c = token->text[i];
        if (!isalnum((unsigned char)c) && c != '-' && c != '_' && c != '.')
            return false;
    }
    return token->len > 0 && token->len <= REQUEST_ID && !token->open;
}

static void copy(char *to, const struct token *token) {
    memcpy(to, token->text, token->len);
    to[token->len] = '\0';
}

/* Parses what follows the keyword: id, timeout, function. Of an invalid id, request->id is "". */
static void parse_call(struct request_parser *p, const char *pos, const char *end) {
    struct request *request = &p->request;
    struct token id = next_token(&pos, end);

    next_token(&pos, end); /* the timeout: every answer is immediate */
    struct token function = next_token(&pos, end);
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
    const char *pos = p->line;
    const char *end = p->line + p->len;

    if (p->in_payload) {
        p->in_payload = !ends_payload(p);
        return !p->in_payload && p->request.id[0];
    }
    struct token keyword = next_token(&pos, end);
    p->in_payload = token_equals(&keyword, "FUNCTION_PAYLOAD");
    if (!p->in_payload && !token_equals(&keyword, "FUNCTION"))
        return false;
    parse_call(p, pos, end);
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
