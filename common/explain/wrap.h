/* SPDX-License-Identifier: MIT
 *
 * Text in lines of 80 columns.
 */
#ifndef KSM_WRAP_H
#define KSM_WRAP_H

#include <stddef.h>
#include <stdio.h>

enum { LINES_COLUMNS = 80, LINES_INDENT = 2 };

/* Prints paragraphs beside a label, broken at spaces. A line that begins with a space is a command,
 * and is printed as it is. */
void block(FILE *file, const char *label, const char *text);

/* Prints kind and name of a consumer, and the end of the line. A name that does not fit in so many
 * columns is cut, and "..." shows it. */
void name_of(FILE *file, size_t columns, const char *kind, const char *name);

#endif
