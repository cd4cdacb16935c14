/* SPDX-License-Identifier: MIT
 *
 * JSON, for the answers to the agent. What is written holds no newline: it can be part of a line.
 */
#ifndef KSM_JSON_H
#define KSM_JSON_H

#include <stdint.h>

#include "out.h"

/* A string with its quotation marks, whatever bytes text has: what is no UTF-8 becomes U+FFFD. */
void json_string(const char *text, struct out *out);

/* The same without the quotation marks: a part of a string. */
void json_characters(const char *text, struct out *out);

/* Bytes (not negative) as MiB, exactly: a plain decimal of as many digits as that takes. */
void json_mib(int64_t bytes, struct out *out);

#endif
