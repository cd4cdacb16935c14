/* SPDX-License-Identifier: MIT */
#include "system/span.h"

#include <string.h>

bool span_equals(struct span s, const char *text) {
    return s.len == strlen(text) && memcmp(s.text, text, s.len) == 0;
}

bool span_take_prefix(struct span *s, const char *prefix) {
    const size_t len = strlen(prefix);

    if (s->len < len || memcmp(s->text, prefix, len) != 0)
        return false;
    s->text += len;
    s->len -= len;
    return true;
}

bool span_take_suffix(struct span *s, const char *suffix) {
    const size_t len = strlen(suffix);

    if (s->len < len || memcmp(s->text + s->len - len, suffix, len) != 0)
        return false;
    s->len -= len;
    return true;
}

struct span span_take_until(struct span *s, char separator) {
    const char *end = s->len > 0 ? memchr(s->text, separator, s->len) : NULL;
    const struct span part = {s->text, end ? (size_t)(end - s->text) : s->len};
    const size_t taken = part.len + (end ? 1 : 0);

    s->text += taken;
    s->len -= taken;
    return part;
}
