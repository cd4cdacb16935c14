/* SPDX-License-Identifier: MIT */
#include "json.h"

#include <stdbool.h>
#include <stddef.h>

/* Returns the length of the multi-byte UTF-8 character at s (NUL-terminated), or 0 if it is not
 * well formed: its first two bytes must be in one of the rows, the others 80 … BF (Unicode, table
 * 3-7). */
static size_t utf8_length(const unsigned char *s) {
    static const struct {
        unsigned char first_min, first_max, second_min, second_max;
        size_t bytes;
    } forms[] = {
        {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3},
        {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4},
        {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };

    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        if (s[0] < forms[i].first_min || s[0] > forms[i].first_max)
            continue;
        if (s[1] < forms[i].second_min || s[1] > forms[i].second_max)
            return 0;
        for (size_t at = 2; at < forms[i].bytes; at++)
            if ((s[at] & 0xc0) != 0x80)
                return 0;
        return forms[i].bytes;
    }
    return 0;
}

/* Returns the length of the character at s if it needs no escape, else 0. */
static size_t plain_length(const unsigned char *s) {
    if (*s >= 0x80)
        return utf8_length(s);
    return *s >= 0x20 && *s != '"' && *s != '\\' && *s != 0x7f ? 1 : 0;
}

static void escape(unsigned char c, struct out *out) {
    static const char digits[] = "0123456789abcdef";
    const char text[] = {'\\', 'u', '0', '0', digits[c >> 4], digits[c & 0xf], '\0'};

    out_text(out, c >= 0x80 ? "\\ufffd" : text);
}

void json_characters(const char *text, struct out *out) {
    const unsigned char *s = (const unsigned char *)text;

    while (*s) {
        size_t len = 0;
        for (size_t n = plain_length(s); n > 0; n = plain_length(s + len))
            len += n;
        out_bytes(out, (const char *)s, len);
        s += len;
        if (*s)
            escape(*s++, out);
    }
}

void json_string(const char *text, struct out *out) {
    out_text(out, "\"");
    json_characters(text, out);
    out_text(out, "\"");
}

void json_mib(int64_t bytes, struct out *out) {
    enum { SHIFT = 20, MASK = (1 << SHIFT) - 1 };
    char digits[SHIFT + 2] = ".";
    size_t len = 1;

    out_number(out, bytes >> SHIFT);
    for (int64_t rest = bytes & MASK; rest > 0; rest = rest * 10 & MASK)
        digits[len++] = (char)('0' + (rest * 10 >> SHIFT));
    if (len > 1)
        out_bytes(out, digits, len);
}
