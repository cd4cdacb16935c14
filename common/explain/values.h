/* SPDX-License-Identifier: MIT
 *
 * Values of the reports of --estimate and --sharing: of the placeholders in their texts, in tables
 * and in JSON.
 *
 * Start with count 0, add values, then values_print(). Names stay the caller's.
 */
#ifndef KSM_VALUES_H
#define KSM_VALUES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "explain/memory_scan.h"
#include "explain/wrap.h"

/* VALUE_SIZE: the longest are the names of four owners, each of 30 characters of 4 bytes. */
enum { VALUES_MAX = 32, VALUE_SIZE = 640 };

struct values {
    struct {
        const char *name;
        char text[VALUE_SIZE];
    } list[VALUES_MAX];
    size_t count;
};

/* Adds a value and returns its text, which is "", of VALUE_SIZE bytes. */
char *values_add(struct values *v, const char *name);

void values_add_bytes(struct values *v, const char *name, int64_t bytes);

/* Adds nothing if number is 0. */
void values_add_count(struct values *v, const char *name, int64_t number, const char *singular,
                      const char *plural);

/* Adds a condition, whose text is empty, if it holds. */
void values_add_if(struct values *v, const char *name, bool holds);

/* Adds partial, denied, as_root or as_user, blocking, failed, failure, exited, unreadable,
 * processes and time. */
void values_add_counts(struct values *v, const struct memory_scan_counts *counts,
                       uint64_t page_size);

struct values_line {
    const char *label;
    const char *text;
};

/* Prints those lines of which all values are known. */
void values_print(const struct values *v, const struct values_line *lines, size_t count,
                  const struct wrap *wrap);

/* Prints an amount in bytes at the right of a table's cell, which begins with a space; "-" if it is
 * negative: not known. */
void values_print_cell(FILE *file, int columns, int64_t bytes);

/* Prints a member of a JSON object, and a comma; null if the number is negative. */
void values_json_number(FILE *file, const char *name, int64_t number);

#endif
