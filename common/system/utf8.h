/* SPDX-License-Identifier: MIT
 *
 * Decodes UTF-8 (RFC 3629).
 */
#ifndef KSM_UTF8_H
#define KSM_UTF8_H

#include <stddef.h>
#include <stdint.h>

enum { UTF8_MAX = 4 }; /* bytes of a character */

/* Decodes the character at text, which has len bytes, and sets *character. Returns the character's
 * bytes; 0 if it is not well formed (cut off, overlong, a surrogate, above U+10FFFF). */
size_t utf8_decode(const char *text, size_t len, uint32_t *character);

#endif
