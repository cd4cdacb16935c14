/* SPDX-License-Identifier: MIT */
#include "system/json_escape.h"

#include <string.h>

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

const char *json_escape_next(const char **text, char buf[static JSON_ESCAPE_SIZE], size_t *len) {
    static const char digits[] = "0123456789abcdef";
    const unsigned char *s = (const unsigned char *)*text;
    const char *piece = *text;
    const unsigned char c = *s;

    *len = 0;
    for (size_t n = plain_length(s); n > 0; n = plain_length(s + *len))
        *len += n;
    if (*len == 0 && c != '\0') {
        const char escape[JSON_ESCAPE_SIZE] = {'\\',           'u', '0', '0', digits[c >> 4],
                                               digits[c & 0xf]};
        memcpy(buf, c >= 0x80 ? "\\ufffd" : escape, JSON_ESCAPE_SIZE);
        *len = JSON_ESCAPE_SIZE - 1;
        piece = buf;
        ++*text;
    } else {
        *text += *len;
    }
    return piece;
}
