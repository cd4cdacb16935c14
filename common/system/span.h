/* SPDX-License-Identifier: MIT
 *
 * Takes texts apart without copying them. A text may contain any bytes and needs no NUL.
 */
#ifndef KSM_SPAN_H
#define KSM_SPAN_H

#include <stdbool.h>
#include <stddef.h>

/* A part of a text that the caller owns. */
struct span {
    const char *text;
    size_t len;
};

bool span_equals(struct span s, const char *text);

/* Remove a prefix or suffix from s. Return whether s had it. */
bool span_take_prefix(struct span *s, const char *prefix);
bool span_take_suffix(struct span *s, const char *suffix);

/* Removes the text up to the first separator, and the separator, from s. Returns the text; without
 * a separator, that is all of s. */
struct span span_take_until(struct span *s, char separator);

#endif
