/* SPDX-License-Identifier: MIT
 *
 * Writes JSON values. They contain no newline, so they can be part of a protocol line.
 */
#ifndef KSM_JSON_H
#define KSM_JSON_H

#include <stdint.h>

#include "out.h"

/* A string with its quotation marks. Bytes that are not UTF-8 become U+FFFD. */
void json_string(const char *text, struct out *out);

/* Part of a string: the same without quotation marks. */
void json_characters(const char *text, struct out *out);

/* Bytes (0 or more) as MiB: an exact decimal. */
void json_mib(int64_t bytes, struct out *out);

/* Thousandths (0 or more): a decimal with three digits after the point. */
void json_thousandths(int64_t value, struct out *out);

#endif
