/* SPDX-License-Identifier: MIT
 *
 * ksm-explain's command line.
 */
#ifndef KSM_COMMAND_LINE_H
#define KSM_COMMAND_LINE_H

#include <stdbool.h>
#include <stddef.h>

#include "options.h"

/* What the program does. The first ones exclude each other. */
enum command_line_mode {
    COMMAND_LINE_REPORT,
    COMMAND_LINE_ESTIMATE,
    COMMAND_LINE_OPENMETRICS,
    COMMAND_LINE_MODES,
    COMMAND_LINE_HELP = COMMAND_LINE_MODES,
    COMMAND_LINE_VERSION,
};

struct command_line {
    enum command_line_mode mode;
    struct ksm_options options; /* root, consumers, consumers_exclude */
    bool json;
    int cpu_percent;    /* of one core, for the estimate */
    int memory_mib;     /* for the estimate */
    const char *output; /* NULL or "-": standard output */
    const char *state;  /* NULL: beside the output */
    char *const *names; /* whose memory is estimated, a part of argv; none: all */
    size_t name_count;
};

/* Parses argv, whose order getopt changes. Returns 0; or -EINVAL: then message is one line that
 * says what is wrong. */
int command_line_parse(struct command_line *line, int argc, char *argv[], char *message,
                       size_t size);

/* Prints how the program is used to stdout. */
void command_line_print_help(void);

#endif
