/* SPDX-License-Identifier: MIT */
#include "system/json_escape.h"

#include <stdint.h>
#include <string.h>

#include "system/utf8.h"

/* Returns the length of the character at s if it needs no escape, else 0. */
static size_t plain_length(const char *s) {
    uint32_t c = 0;
    const size_t len = utf8_decode(s, strnlen(s, UTF8_MAX), &c);

    return c >= 0x20 && c != '"' && c != '\\' && c != 0x7f ? len : 0;
}

const char *json_escape_next(const char **text, char buf[static JSON_ESCAPE_SIZE], size_t *len) {
    static const char digits[] = "0123456789abcdef";
    const char *piece = *text;
    const unsigned char c = (unsigned char)*piece;

    *len = 0;
    for (;;) {
        const size_t n = plain_length(piece + *len);
        if (n == 0)
            break;
        *len += n;
    }
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
