/* SPDX-License-Identifier: MIT
 *
 * Parses ksm-explain's command line.
 */
#ifndef KSM_COMMAND_LINE_H
#define KSM_COMMAND_LINE_H

#include <stdbool.h>
#include <stddef.h>

#include "options.h"

/* What the program does. Options belong to one or more of the first modes. */
enum command_line_mode {
    COMMAND_LINE_REPORT,
    COMMAND_LINE_ESTIMATE,
    COMMAND_LINE_SHARING,
    COMMAND_LINE_OPENMETRICS,
    COMMAND_LINE_SHARING_OPENMETRICS,
    COMMAND_LINE_MODES,
    COMMAND_LINE_HELP = COMMAND_LINE_MODES,
    COMMAND_LINE_VERSION,
};

struct command_line {
    enum command_line_mode mode;
    struct ksm_options options; /* root, consumers, consumers_exclude */
    bool json;
    int cpu_percent;    /* of one core, for reading memory */
    int memory_mib;     /* for what is read of memory */
    const char *output; /* NULL or "-": standard output */
    const char *state;  /* NULL: OUTPUT.state */
    char *const *names; /* processes to read or show, a part of argv; none: all */
    size_t name_count;
};

/* Parses argv; getopt_long() reorders it, and line keeps pointers into it. Returns 0; or -EINVAL,
 * and message is one line. */
int command_line_parse(struct command_line *line, int argc, char *argv[], char *message,
                       size_t size);

/* Prints the help to stdout. */
void command_line_print_help(void);

#endif
