/* SPDX-License-Identifier: MIT
 *
 * Prints the prose of a report in lines that fit the terminal, and names in tables.
 */
#ifndef KSM_WRAP_H
#define KSM_WRAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum { WRAP_COLUMNS = 80, WRAP_COLUMNS_MIN = 60, WRAP_INDENT = 2 };

/* What a report is printed to. */
struct wrap {
    FILE *file;
    size_t columns; /* for prose; tables always have WRAP_COLUMNS */
    bool color;
};

/* Prepares printing to a file, which remains the caller's. On a terminal, columns is its width (at
 * least WRAP_COLUMNS_MIN), and color is true unless NO_COLOR is set or TERM is dumb. Otherwise it
 * prints WRAP_COLUMNS without color. Call it before the sandbox, which forbids the ioctl(). */
void wrap_init(struct wrap *wrap, FILE *file);

/* Prints a label and beside it paragraphs, broken at spaces. A line that begins with a space is a
 * command, which is never broken. */
void wrap_text(const struct wrap *wrap, const char *label, const char *text);

/* The same, in bold red if the terminal has colors. */
void wrap_alarm(const struct wrap *wrap, const char *label, const char *text);

/* Returns how many bytes of a text fit into so many columns; each UTF-8 character takes one. */
size_t wrap_fit(const char *text, size_t columns);

/* Prints kind and name of a consumer in at most columns, and a newline. A name that does not fit is
 * cut and ends in "...". */
void wrap_name(FILE *file, size_t columns, const char *kind, const char *name);

#endif
