/* SPDX-License-Identifier: MIT */
#include "explain/command_line.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "system/parse.h"

/* The modes that an option belongs to, one bit each. */
enum {
    REPORT = 1 << COMMAND_LINE_REPORT,
    ESTIMATE = 1 << COMMAND_LINE_ESTIMATE,
    SHARING = 1 << COMMAND_LINE_SHARING,
    OPENMETRICS = 1 << COMMAND_LINE_OPENMETRICS,
    SHARING_OPENMETRICS = 1 << COMMAND_LINE_SHARING_OPENMETRICS,
    ANY_SHARING = SHARING | SHARING_OPENMETRICS,
    ANY_OPENMETRICS = OPENMETRICS | SHARING_OPENMETRICS,
    ALL = REPORT | ESTIMATE | ANY_SHARING | ANY_OPENMETRICS,
};
static const char *const mode_names[COMMAND_LINE_MODES] = {"the report", "--estimate", "--sharing",
                                                           "--openmetrics", NULL};

enum { CPU_DEFAULT = 20, CPU_MAX = 100, MEMORY_DEFAULT = 64, MEMORY_MAX = 65536 };

enum option_id {
    OPTION_ROOT,
    OPTION_ESTIMATE,
    OPTION_SHARING,
    OPTION_JSON,
    OPTION_CPU,
    OPTION_MEMORY,
    OPTION_OPENMETRICS,
    OPTION_OUTPUT,
    OPTION_STATE,
    OPTION_CONSUMERS,
    OPTION_CONSUMERS_EXCLUDE,
    OPTION_HELP,
    OPTION_VERSION,
    OPTIONS
};

static const struct row {
    const char *name;
    const char *value; /* NULL: the option takes no value */
    int modes;
    const char *help;
} rows[OPTIONS] = {
    [OPTION_ROOT] = {"root", "DIRECTORY", ALL,
                     "where the host's /proc and /sys are mounted; default /"},
    [OPTION_ESTIMATE] = {"estimate", NULL, ESTIMATE, "report what KSM would save (see above)"},
    [OPTION_SHARING] = {"sharing", NULL, ANY_SHARING, "report whose memory is merged with whose"},
    [OPTION_JSON] = {"json", NULL, REPORT | ESTIMATE | SHARING, "print the report as JSON"},
    [OPTION_CPU] = {"cpu", "PERCENT", ESTIMATE | ANY_SHARING,
                    "of one CPU core, at most; 1 to 100, default 20"},
    [OPTION_MEMORY] = {"memory", "MIB", ESTIMATE | ANY_SHARING,
                       "memory for what is read; 1 to 65536, default 64"},
    [OPTION_OPENMETRICS] = {"openmetrics", NULL, ANY_OPENMETRICS,
                            "print all metrics and consumers for Prometheus"},
    [OPTION_OUTPUT] = {"output", "FILE", ANY_OPENMETRICS,
                       "write them to FILE, which is replaced as a whole"},
    [OPTION_STATE] = {"state", "FILE", ANY_OPENMETRICS,
                      "remember known names in FILE; default: OUTPUT.state"},
    [OPTION_CONSUMERS] = {"consumers", "NUMBER", ANY_OPENMETRICS,
                          "how many consumers to print; 0 to 200, default 20"},
    [OPTION_CONSUMERS_EXCLUDE] = {"consumers-exclude", "KINDS", ANY_OPENMETRICS,
                                  "leave out kinds, any of vm,container,service,program"},
    [OPTION_HELP] = {"help", NULL, ALL, "print this text"},
    [OPTION_VERSION] = {"version", NULL, ALL, "print the version"},
};

void command_line_print_help(void) {
    enum { COLUMN = 23 };

    puts("usage: ksm-explain [--root DIRECTORY] [--json]\n"
         "       ksm-explain --estimate [--root DIRECTORY] [--json] [--cpu PERCENT]\n"
         "                   [--memory MIB] [PID|NAME ...]\n"
         "       ksm-explain --sharing [--root DIRECTORY] [--json] [--cpu PERCENT]\n"
         "                   [--memory MIB] [PID|NAME ...]\n"
         "       ksm-explain --openmetrics [--root DIRECTORY] [--sharing] [--output FILE]\n"
         "                   [--state FILE] [--consumers NUMBER]\n"
         "                   [--consumers-exclude KINDS]\n"
         "Explains the state of Kernel Samepage Merging (KSM) on this host, and what to\n"
         "do about it. Takes a second and writes nothing. Run it with sudo to see the\n"
         "processes of all users.\n"
         "\n"
         "With --estimate, it reads the memory of all processes and prints what KSM would\n"
         "save if they opted in. To limit it to some processes, add their PIDs, or the\n"
         "NAMEs of programs or consumers, such as qemu-system-x86_64, web or vm:web. The\n"
         "kernel counts each page that is read as recently used.\n"
         "\n"
         "With --sharing, it reads as root which programs map the same merged pages. A\n"
         "page counts once for each pair that maps it, so pairs do not add up.\n");
    for (const struct row *row = rows; row < rows + OPTIONS; row++) {
        const char *value = row->value ? row->value : "";
        int len = printf("  --%s%s%s", row->name, row->value ? " " : "", value);
        if (len >= COLUMN) {
            putchar('\n');
            len = 0;
        }
        printf("%*s%s\n", COLUMN - len, "", row->help);
    }
    puts("\nThe exit status is the verdict, for scripts: see ksm-explain(1).");
}

/* Parses a whole number from 1 to max; for --cpu, "%" may follow. */
static int parse_limit(enum option_id id, const char *text, int max, int *number, char *message,
                       size_t size) {
    size_t len = strlen(text);
    int64_t value = 0;

    if (id == OPTION_CPU && len > 0 && text[len - 1] == '%')
        len--;
    if (parse_number(text, len, &value) != 0 || value < 1 || value > max) {
        snprintf(message, size,
                 "--%s: invalid value \"%.200s\"; expected a whole number from 1 to %d",
                 rows[id].name, text, max);
        return -EINVAL;
    }
    *number = (int)value;
    return 0;
}

static int set_file(const char *option, const char *path, const char **file, char *message,
                    size_t size) {
    if (!*path) {
        snprintf(message, size, "--%s: invalid value \"\"; expected a file", option);
        return -EINVAL;
    }
    *file = path;
    return 0;
}

static int set_option(struct command_line *line, enum option_id id, const char *value,
                      char *message, size_t size) {
    switch (id) {
    case OPTION_ROOT:
    case OPTION_CONSUMERS:
    case OPTION_CONSUMERS_EXCLUDE:
        return ksm_options_set(&line->options, KSM_EXPLAIN, rows[id].name, value, message, size);
    case OPTION_CPU:
        return parse_limit(id, value, CPU_MAX, &line->cpu_percent, message, size);
    case OPTION_MEMORY:
        return parse_limit(id, value, MEMORY_MAX, &line->memory_mib, message, size);
    case OPTION_JSON:
        line->json = true;
        return 0;
    case OPTION_OUTPUT:
        return set_file(rows[id].name, value, &line->output, message, size);
    case OPTION_STATE:
        return set_file(rows[id].name, value, &line->state, message, size);
    case OPTION_ESTIMATE:
    case OPTION_SHARING:
    case OPTION_OPENMETRICS:
    case OPTION_HELP:
    case OPTION_VERSION:
    case OPTIONS:
        break; /* choose_mode() handles these */
    }
    return 0;
}

/* "--estimate", or "the report, --estimate". */
static void list_modes(int modes, char *text, size_t size) {
    size_t len = 0;

    *text = '\0';
    for (size_t mode = 0; mode < COMMAND_LINE_MODES && len < size; mode++)
        if (modes & (1 << mode) && mode_names[mode])
            len += (size_t)snprintf(text + len, size - len, "%s%s", len > 0 ? ", " : "",
                                    mode_names[mode]);
}

/* Sets the mode; refuses options of another mode. */
static int choose_mode(struct command_line *line, const bool given[static OPTIONS], char *message,
                       size_t size) {
    char modes[64];

    if (given[OPTION_ESTIMATE] && (given[OPTION_OPENMETRICS] || given[OPTION_SHARING])) {
        snprintf(message, size, "--estimate and --%s exclude each other",
                 given[OPTION_SHARING] ? "sharing" : "openmetrics");
        return -EINVAL;
    }
    if (given[OPTION_ESTIMATE])
        line->mode = COMMAND_LINE_ESTIMATE;
    else if (given[OPTION_SHARING])
        line->mode =
            given[OPTION_OPENMETRICS] ? COMMAND_LINE_SHARING_OPENMETRICS : COMMAND_LINE_SHARING;
    else if (given[OPTION_OPENMETRICS])
        line->mode = COMMAND_LINE_OPENMETRICS;
    for (size_t id = 0; id < OPTIONS; id++) {
        if (!given[id] || rows[id].modes & (1 << line->mode))
            continue;
        list_modes(rows[id].modes, modes, sizeof(modes));
        snprintf(message, size, "--%s belongs to %s", rows[id].name, modes);
        return -EINVAL;
    }
    return 0;
}

/* getopt_long() returns this plus the option_id for long options, a character for short ones. */
enum { LONG_OPTION = 256 };

/* Explains why getopt_long() rejected an argument. */
static int reject(int problem, const char *argument, char *message, size_t size) {
    if (problem == ':')
        snprintf(message, size, "%.200s requires a value", argument);
    else if (optopt >= LONG_OPTION)
        snprintf(message, size, "--%s takes no value", rows[optopt - LONG_OPTION].name);
    else if (optopt > 0)
        snprintf(message, size, "unknown option -%c", isprint(optopt) ? optopt : '?');
    else
        snprintf(message, size, "unknown option %.200s", argument);
    return -EINVAL;
}

static void list_long_options(struct option options[static OPTIONS + 1]) {
    for (int id = 0; id < OPTIONS; id++)
        options[id] =
            (struct option){rows[id].name, rows[id].value ? required_argument : no_argument, NULL,
                            LONG_OPTION + id};
    options[OPTIONS] = (struct option){NULL, 0, NULL, 0};
}

static int parse_options(struct command_line *line, int argc, char *argv[],
                         bool given[static OPTIONS], char *message, size_t size) {
    struct option options[OPTIONS + 1];

    list_long_options(options);
    opterr = 0;
    for (;;) {
        const int found = getopt_long(argc, argv, ":hv", options, NULL);
        if (found == -1)
            return choose_mode(line, given, message, size);
        if (found == '?' || found == ':')
            return reject(found, argv[optind - 1], message, size);
        if (found == 'h' || found == LONG_OPTION + OPTION_HELP) {
            line->mode = COMMAND_LINE_HELP;
            return 0;
        }
        if (found == 'v' || found == LONG_OPTION + OPTION_VERSION) {
            line->mode = COMMAND_LINE_VERSION;
            return 0;
        }
        given[found - LONG_OPTION] = true;
        int status = set_option(line, (enum option_id)(found - LONG_OPTION), optarg, message, size);
        if (status != 0)
            return status;
    }
}

int command_line_parse(struct command_line *line, int argc, char *argv[], char *message,
                       size_t size) {
    bool given[OPTIONS] = {false};

    *line = (struct command_line){
        .mode = COMMAND_LINE_REPORT, .cpu_percent = CPU_DEFAULT, .memory_mib = MEMORY_DEFAULT};
    ksm_options_init(&line->options);
    int status = parse_options(line, argc, argv, given, message, size);
    if (status != 0 || line->mode >= COMMAND_LINE_MODES)
        return status;
    line->names = argv + optind;
    line->name_count = (size_t)(argc - optind);
    if (line->name_count > 0 && line->mode != COMMAND_LINE_ESTIMATE &&
        line->mode != COMMAND_LINE_SHARING) {
        snprintf(message, size,
                 "unexpected argument \"%.200s\"; names belong to --estimate and --sharing",
                 argv[optind]);
        return -EINVAL;
    }
    return 0;
}
