/* SPDX-License-Identifier: MIT */
#include "explain/wrap.h"

#include <string.h>

enum { LABEL = 10, TEXT_COLUMNS = LINES_COLUMNS - LINES_INDENT - LABEL };

/* What stands left of a block's next line: its label, after that nothing. */
static void start_line(FILE *file, const char **label) {
    fprintf(file, "%*s%-*s", LINES_INDENT, "", LABEL, *label);
    *label = "";
}

/* Where a line that does not fit is to be broken: at the last space in it, but not between a number
 * and its unit. */
static size_t break_of(const char *text) {
    for (size_t at = TEXT_COLUMNS; at > 0; at--)
        if (text[at] == ' ' && (text[at - 1] < '0' || text[at - 1] > '9'))
            return at;
    return TEXT_COLUMNS;
}

/* One paragraph, at spaces: each line as long as fits. */
static void wrap(FILE *file, const char **label, const char *text, size_t len) {
    while (len > 0) {
        size_t line = len > TEXT_COLUMNS ? break_of(text) : len;
        start_line(file, label);
        fprintf(file, "%.*s\n", (int)line, text);
        line += line < len && text[line] == ' ';
        text += line;
        len -= line;
    }
}

/* Paragraphs, and commands as they are. */
void block(FILE *file, const char *label, const char *text) {
    while (*text) {
        size_t len = strcspn(text, "\n");
        if (*text == ' ') {
            start_line(file, &label);
            fprintf(file, "%.*s\n", (int)len, text);
        } else {
            wrap(file, &label, text, len);
        }
        text += len + (text[len] == '\n');
    }
}

/* Bytes of a name that fill at most so many columns; a character of UTF-8 is taken for one. */
static size_t fit(const char *name, size_t columns) {
    size_t len = 0;

    for (size_t used = 0; name[len]; used++) {
        if (used == columns)
            break;
        len++;
        while ((name[len] & 0xc0) == 0x80)
            len++;
    }
    return len;
}

void name_of(FILE *file, size_t columns, const char *kind, const char *name) {
    static const char more[] = "...";
    size_t len;

    columns -= strlen(kind) + 1;
    len = fit(name, columns);
    if (name[len])
        len = fit(name, columns - (sizeof(more) - 1));
    fprintf(file, "%s%s%.*s%s\n", kind, *kind ? " " : "", (int)len, name, name[len] ? more : "");
}
