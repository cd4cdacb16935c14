/* SPDX-License-Identifier: MIT */
#include "system/parse.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>

/* The rest of a text. */
struct cursor {
    const char *pos;
    const char *end;
};

static bool at_end(const struct cursor *c) {
    return c->pos == c->end;
}

static bool take(struct cursor *c, const char *text) {
    size_t len = strlen(text);
    if ((size_t)(c->end - c->pos) < len || memcmp(c->pos, text, len) != 0)
        return false;
    c->pos += len;
    return true;
}

static bool is_digit(const struct cursor *c) {
    return !at_end(c) && *c->pos >= '0' && *c->pos <= '9';
}

/* Takes all digits, also of a number that is too large, so that the caller can check what follows:
 * "999…9abc" is invalid, not out of range. */
static int take_number(struct cursor *c, bool negative, int64_t *value) {
    const char *start = c->pos;
    int64_t n = 0;
    bool overflow = false;

    for (; is_digit(c); c->pos++) {
        int digit = *c->pos - '0';
        if (__builtin_mul_overflow(n, 10, &n) ||
            __builtin_add_overflow(n, negative ? -digit : digit, &n))
            overflow = true;
    }
    if (c->pos == start || (c->pos - start > 1 && *start == '0'))
        return -EINVAL;
    if (overflow)
        return -ERANGE;
    *value = n;
    return 0;
}

/* Checks that nothing but a newline follows, then sets *value or returns the error. Of an overflow
 * in invalid text, -EINVAL is returned. */
static int finish(struct cursor *c, int status, int64_t parsed, int64_t *value) {
    if (status != -EINVAL) {
        take(c, "\n");
        if (!at_end(c))
            status = -EINVAL;
    }
    if (status == 0)
        *value = parsed;
    return status;
}

int parse_number(const char *text, size_t len, int64_t *value) {
    struct cursor c = {text, text + len};
    int64_t n = 0;
    int status = at_end(&c) ? -ENODATA : take_number(&c, false, &n);

    return finish(&c, status, n, value);
}

int parse_pid(const char *name) {
    int64_t pid = 0;

    return parse_number(name, strlen(name), &pid) == 0 && pid <= INT_MAX ? (int)pid : 0;
}

int parse_signed(const char *text, size_t len, int64_t *value) {
    struct cursor c = {text, text + len};
    int64_t n = 0;

    if (!take(&c, "-"))
        return parse_number(text, len, value);
    int status = take_number(&c, true, &n);
    if (status == 0 && n == 0)
        status = -EINVAL;
    return finish(&c, status, n, value);
}

int parse_count(const char *text, size_t len, int64_t *value) {
    int64_t n = 0;
    int status = parse_signed(text, len, &n);

    if (status == 0 && n < 0)
        status = -EDOM;
    if (status == 0)
        *value = n;
    return status;
}

int parse_scaled(const char *text, size_t len, int64_t *value) {
    struct cursor c = {text, text + len};
    int64_t n = 0;
    int64_t exponent = 0;
    int status = at_end(&c) ? -ENODATA : take_number(&c, false, &n);

    if (status != -EINVAL && take(&c, " * 2^")) {
        int exponent_status = take_number(&c, false, &exponent);
        if (status == 0 || exponent_status == -EINVAL)
            status = exponent_status;
    }
    if (status == 0 && n != 0 && (exponent > 62 || n > INT64_MAX >> exponent))
        status = -ERANGE;
    return finish(&c, status, status == 0 && n != 0 ? n << exponent : 0, value);
}

int parse_kilobytes(const char *text, size_t len, int64_t *value) {
    struct cursor c = {text, text + len};
    int64_t n = 0;

    if (len == 0)
        return -ENODATA;
    while (take(&c, " "))
        continue;
    int status = take_number(&c, false, &n);
    if (status != -EINVAL && !take(&c, " kB"))
        status = -EINVAL;
    return finish(&c, status, n, value);
}

int parse_bytes(const char *text, size_t len, int64_t *value) {
    const int64_t max = (INT64_C(1) << 59) / 1024;
    int64_t kilobytes = 0;
    int status = parse_kilobytes(text, len, &kilobytes);

    if (status == 0 && kilobytes > max)
        status = -ERANGE;
    if (status == 0)
        *value = kilobytes * 1024;
    return status;
}

int parse_run(const char *text, size_t len, int64_t *value) {
    static const int64_t offline = 4, last_state = 2;
    int64_t n = 0;
    int status = parse_number(text, len, &n);

    if (status != 0)
        return status;
    if ((n & ~offline) > last_state)
        return -EINVAL;
    *value = n & ~offline;
    return 0;
}

/* Takes a word of lower-case letters and hyphens, as in advisor_mode. Returns its length. */
static size_t take_word(struct cursor *c) {
    const char *start = c->pos;

    while (!at_end(c) && ((*c->pos >= 'a' && *c->pos <= 'z') || *c->pos == '-'))
        c->pos++;
    return (size_t)(c->pos - start);
}

int parse_advisor(const char *text, size_t len, int64_t *value) {
    static const char *const modes[] = {"none", "scan-time"};
    struct cursor c = {text, text + len};
    int64_t chosen = -1;
    bool any = false;

    if (len == 0)
        return -ENODATA;
    do {
        bool bracketed = take(&c, "[");
        const char *word = c.pos;
        size_t word_len = take_word(&c);
        if (word_len == 0 || (bracketed && (any || !take(&c, "]"))))
            return -EINVAL;
        any = any || bracketed;
        for (size_t i = 0; bracketed && i < sizeof(modes) / sizeof(modes[0]); i++)
            if (word_len == strlen(modes[i]) && memcmp(word, modes[i], word_len) == 0)
                chosen = (int64_t)i;
    } while (take(&c, " "));
    return finish(&c, chosen < 0 ? -EINVAL : 0, chosen, value);
}

int parse_schedstat(const char *text, size_t len, int64_t *value) {
    struct cursor c = {text, text + len};
    int64_t n[3] = {0, 0, 0};

    if (len == 0)
        return -ENODATA;
    for (size_t i = 0; i < 3; i++) {
        int status = i > 0 && !take(&c, " ") ? -EINVAL : take_number(&c, false, &n[i]);
        if (status != 0)
            return status;
    }
    int status = (n[0] | n[1] | n[2]) == 0 ? -ENODATA : 0;
    return finish(&c, status, n[0], value);
}

int parse_field(const char *text, size_t len, const char *key, const char **field,
                size_t *field_len) {
    size_t key_len = strlen(key);
    const char *end = text + len;

    for (const char *next = text;; next++) {
        next = memmem(next, (size_t)(end - next), key, key_len);
        if (!next)
            return -ENOENT;
        const char *value = next + key_len;
        if ((next > text && next[-1] != '\n') || value == end || *value != ' ')
            continue;
        value++;
        const char *newline = memchr(value, '\n', (size_t)(end - value));
        if (!newline)
            return -EINVAL;
        *field = value;
        *field_len = (size_t)(newline - value);
        return 0;
    }
}

/* Numbers of the fields in /proc/PID/stat (man 5 proc). */
enum { STAT_PPID = 4, STAT_FLAGS = 9, STAT_UTIME = 14, STAT_STIME = 15, STAT_STARTED = 22 };

static void set_stat_field(struct parse_stat *stat, int field, int64_t value) {
    switch (field) {
    case STAT_PPID:
        stat->ppid = value;
        break;
    case STAT_FLAGS:
        stat->flags = value;
        break;
    case STAT_UTIME:
        stat->utime = value;
        break;
    case STAT_STIME:
        stat->stime = value;
        break;
    case STAT_STARTED:
        stat->started = value;
        break;
    default:
        break;
    }
}

/* Takes " -123". */
static int take_stat_number(struct cursor *c, int64_t *value) {
    if (!take(c, " "))
        return -EINVAL;
    const bool is_negative = take(c, "-");
    return take_number(c, is_negative, value);
}

/* Takes the numbers after the state, up to the last one that is needed. */
static int take_stat_numbers(struct cursor *c, struct parse_stat *stat) {
    for (int field = STAT_PPID; field <= STAT_STARTED; field++) {
        int64_t value = 0;
        if (field > STAT_STIME && (at_end(c) || *c->pos == '\n'))
            break;
        int status = take_stat_number(c, &value);
        if (status != 0)
            return status;
        set_stat_field(stat, field, value);
    }
    return take(c, " ") || take(c, "\n") ? 0 : -EINVAL; /* the last one may have been cut off */
}

/* "37 (ksmd) S 2 0 …". comm may contain parentheses, so it ends at the last one. */
int parse_stat(const char *text, size_t len, struct parse_stat *stat) {
    const char *open = memchr(text, '(', len);
    const char *close = memrchr(text, ')', len);
    struct parse_stat got = {.ppid = 0};

    if (len == 0)
        return -ENODATA;
    if (!open || !close || close < open)
        return -EINVAL;
    size_t comm_len = (size_t)(close - open - 1);
    if (comm_len >= sizeof(got.comm))
        comm_len = sizeof(got.comm) - 1;
    memcpy(got.comm, open + 1, comm_len);

    struct cursor c = {close + 1, text + len};
    if (!take(&c, " ") || at_end(&c))
        return -EINVAL;
    got.state = *c.pos++;
    int status = take_stat_numbers(&c, &got);
    if (status == 0)
        *stat = got;
    return status;
}
