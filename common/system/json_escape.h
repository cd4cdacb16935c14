/* SPDX-License-Identifier: MIT
 *
 * Escapes text for JSON strings (RFC 8259), piece by piece, so that the caller chooses where it
 * goes.
 */
#ifndef KSM_JSON_ESCAPE_H
#define KSM_JSON_ESCAPE_H

#include <stddef.h>

enum { JSON_ESCAPE_SIZE = sizeof("\\u0000") };

/* Returns the next piece of the NUL-terminated *text, sets *len to its bytes (0 at the end) and
 * moves *text behind it. A piece is either a part of the text or an escape, which is in buf. Bytes
 * that are not UTF-8 become U+FFFD. */
const char *json_escape_next(const char **text, char buf[static JSON_ESCAPE_SIZE], size_t *len);

#endif
