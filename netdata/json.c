/* SPDX-License-Identifier: MIT */
#include "json.h"

#include <stdbool.h>
#include <stddef.h>

#include "system/json_escape.h"

void json_characters(const char *text, struct out *out) {
    char buf[JSON_ESCAPE_SIZE];
    size_t len = 0;

    for (;;) {
        const char *piece = json_escape_next(&text, buf, &len);
        if (len == 0)
            return;
        out_bytes(out, piece, len);
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
    for (int64_t rest = bytes & MASK; rest > 0; rest = (rest * 10) & MASK)
        digits[len++] = (char)('0' + ((rest * 10) >> SHIFT));
    if (len > 1)
        out_bytes(out, digits, len);
}

void json_thousandths(int64_t value, struct out *out) {
    const char digits[] = {'.', (char)('0' + value / 100 % 10), (char)('0' + value / 10 % 10),
                           (char)('0' + value % 10)};

    out_number(out, value / 1000);
    out_bytes(out, digits, sizeof(digits));
}
