/* SPDX-License-Identifier: MIT */
#include "explain/wrap.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { LABEL = 10 };

void wrap_init(struct wrap *wrap, FILE *file) {
    const char *no_color = getenv("NO_COLOR");
    const char *term = getenv("TERM");
    struct winsize size = {0};
    const bool on_terminal = isatty(fileno(file));

    *wrap = (struct wrap){.file = file, .columns = WRAP_COLUMNS};
    if (!on_terminal)
        return;
    wrap->color = !(no_color && *no_color) && term && strcmp(term, "dumb") != 0;
    if (ioctl(fileno(file), TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        wrap->columns = size.ws_col < WRAP_COLUMNS_MIN ? WRAP_COLUMNS_MIN : size.ws_col;
}

/* Prints the left column: the label in the first line, spaces in the others. */
static void start_line(const struct wrap *wrap, const char **label) {
    fprintf(wrap->file, "%*s%-*s", WRAP_INDENT, "", LABEL, *label);
    *label = "";
}

/* Returns where to break a line of which only so many bytes fit: at the last space, but not between
 * a number and its unit. */
static size_t find_break(const char *text, size_t fitting) {
    for (size_t i = fitting; i > 0; i--)
        if (text[i] == ' ' && (text[i - 1] < '0' || text[i - 1] > '9'))
            return i;
    return fitting;
}

static void print_paragraph(const struct wrap *wrap, const char **label, const char *text,
                            size_t len) {
    const size_t columns = wrap->columns - WRAP_INDENT - LABEL;

    while (len > 0) {
        const size_t fitting = wrap_fit(text, columns);
        size_t line = len > fitting ? find_break(text, fitting) : len;
        start_line(wrap, label);
        fprintf(wrap->file, "%.*s\n", (int)line, text);
        if (line < len && text[line] == ' ')
            line++;
        text += line;
        len -= line;
    }
}

void wrap_text(const struct wrap *wrap, const char *label, const char *text) {
    while (*text) {
        size_t len = strcspn(text, "\n");
        if (*text == ' ') {
            start_line(wrap, &label);
            fprintf(wrap->file, "%.*s\n", (int)len, text);
        } else {
            print_paragraph(wrap, &label, text, len);
        }
        text += len;
        if (*text == '\n')
            text++;
    }
}

void wrap_alarm(const struct wrap *wrap, const char *label, const char *text) {
    fputs(wrap->color ? "\033[1;31m" : "", wrap->file);
    wrap_text(wrap, label, text);
    fputs(wrap->color ? "\033[0m" : "", wrap->file);
}

size_t wrap_fit(const char *name, size_t columns) {
    size_t len = 0;

    for (size_t used = 0; name[len] && used < columns; used++) {
        len++;
        while ((name[len] & 0xc0) == 0x80)
            len++;
    }
    return len;
}

void wrap_name(FILE *file, size_t columns, const char *kind, const char *name) {
    static const char ellipsis[] = "...";
    size_t len;

    columns -= strlen(kind) + 1;
    len = wrap_fit(name, columns);
    if (name[len])
        len = wrap_fit(name, columns - (sizeof(ellipsis) - 1));
    fprintf(file, "%s%s%.*s%s\n", kind, *kind ? " " : "", (int)len, name,
            name[len] ? ellipsis : "");
}
