/* SPDX-License-Identifier: MIT
 *
 * ksm-explain's command line.
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "explain/command_line.h"
#include "support/suite.h"

static struct command_line line;
static char message[1024];

/* Parses arguments, with a bar after each. */
static int parse(const char *arguments) {
    static char text[1024], program[] = "ksm-explain";
    static char *argv[16]; /* the names point into it */
    char *rest = text;
    int argc = 1;

    memset(argv, 0, sizeof(argv));
    argv[0] = program;
    snprintf(text, sizeof(text), "%s", arguments);
    while (*rest)
        argv[argc++] = strsep(&rest, "|");
    optind = 0; /* getopt starts over */
    memset(&line, 0x5a, sizeof(line));
    strcpy(message, "untouched");
    return command_line_parse(&line, argc, argv, message, sizeof(message));
}

/* Returns what differs from the defaults, a word each. */
static const char *result(void) {
    static const char *const modes[] = {[COMMAND_LINE_REPORT] = "report",
                                        [COMMAND_LINE_ESTIMATE] = "estimate",
                                        [COMMAND_LINE_SHARING] = "sharing",
                                        [COMMAND_LINE_OPENMETRICS] = "openmetrics",
                                        [COMMAND_LINE_SHARING_OPENMETRICS] = "openmetrics sharing",
                                        [COMMAND_LINE_HELP] = "help",
                                        [COMMAND_LINE_VERSION] = "version"};
    static char text[2 * PATH_MAX];
    int len = sprintf(text, "%s", modes[line.mode]);

    if (strcmp(line.options.root, "/") != 0)
        len += sprintf(text + len, " root=%s", line.options.root);
    if (line.json)
        len += sprintf(text + len, " json");
    if (line.cpu_percent != 20)
        len += sprintf(text + len, " cpu=%d", line.cpu_percent);
    if (line.memory_mib != 64)
        len += sprintf(text + len, " memory=%d", line.memory_mib);
    if (line.output)
        len += sprintf(text + len, " output=%s", line.output);
    for (size_t i = 0; i < line.name_count; i++)
        len += sprintf(text + len, " \"%s\"", line.names[i]);
    return text;
}

static const struct {
    const char *arguments, *want;
} good_rows[] = {
    {"", "report"},
    {"--root|/host|", "report root=/host"},
    {"--root=/host|", "report root=/host"},
    {"--json|", "report json"},
    {"--estimate|", "estimate"},
    {"--estimate|vm web|4711|", "estimate \"vm web\" \"4711\""},
    {"vm web|--estimate|4711|", "estimate \"vm web\" \"4711\""},
    {"--estimate|--|--root|", "estimate \"--root\""},
    {"--json|--estimate|", "estimate json"},
    {"--estimate|--json|--cpu|50%|--memory=65536|", "estimate json cpu=50 memory=65536"},
    {"--cpu=1|--memory|1|--estimate|x|", "estimate cpu=1 memory=1 \"x\""},
    {"--est|--mem=5|", "estimate memory=5"},
    {"--sharing|", "sharing"},
    {"web|--sharing|--json|--cpu=5|", "sharing json cpu=5 \"web\""},
    {"--sharing|--openmetrics|--output=x|", "openmetrics sharing output=x"},
    {"--openmetrics|", "openmetrics"},
    {"--output|ksm.prom|--openmetrics|", "openmetrics output=ksm.prom"},
    {"--openmetrics|--output=-|--root=/host|", "openmetrics root=/host output=-"},
    {"--help|", "help"},
    {"-h|", "help"},
    {"--version|", "version"},
    {"-v|--no-such-option|", "version"},
    {"--estimate|--help|", "help"},
};

TEST_ROWS(valid_command_line_is_accepted, good_rows) {
    int status = parse(row->arguments);

    ck_assert_msg(status == 0 && strcmp(result(), row->want) == 0,
                  "\"%s\": got %s, %s (%s), want %s", row->arguments, suite_status(status),
                  result(), message, row->want);
    ck_assert_str_eq(message, "untouched");
}

static const struct {
    const char *arguments, *want;
} bad_rows[] = {
    /* Options of another mode. */
    {"--cpu=5|", "--cpu belongs to --estimate, --sharing"},
    {"--memory|5|", "--memory belongs to --estimate, --sharing"},
    {"--openmetrics|--json|", "--json belongs to the report, --estimate, --sharing"},
    {"--openmetrics|--cpu=5|", "--cpu belongs to --estimate, --sharing"},
    {"--output=x|", "--output belongs to --openmetrics"},
    {"--estimate|--output|x|", "--output belongs to --openmetrics"},
    {"--openmetrics|--estimate|", "--estimate and --openmetrics exclude each other"},
    {"--sharing|--estimate|", "--estimate and --sharing exclude each other"},
    {"--sharing|--openmetrics|web|",
     "unexpected argument \"web\"; names belong to --estimate and --sharing"},
    {"web|", "unexpected argument \"web\"; names belong to --estimate and --sharing"},
    {"--openmetrics|web|", "unexpected argument \"web\"; names belong to --estimate and --sharing"},
    {"soon|--root|/host|",
     "unexpected argument \"soon\"; names belong to --estimate and --sharing"},
    /* Values. */
    {"--estimate|--cpu=0|", "--cpu: invalid value \"0\"; expected a whole number from 1 to 100"},
    {"--estimate|--cpu=101|",
     "--cpu: invalid value \"101\"; expected a whole number from 1 to 100"},
    {"--estimate|--cpu=%|", "--cpu: invalid value \"%\"; expected a whole number from 1 to 100"},
    {"--estimate|--memory=65537|",
     "--memory: invalid value \"65537\"; expected a whole number from 1 to 65536"},
    {"--estimate|--memory=5k|",
     "--memory: invalid value \"5k\"; expected a whole number from 1 to 65536"},
    {"--estimate|--memory=50%|",
     "--memory: invalid value \"50%\"; expected a whole number from 1 to 65536"},
    {"--root=|", "--root: invalid value \"\"; expected a directory"},
    {"--root|", "--root requires a value"},
    {"--estimate|--cpu|", "--cpu requires a value"},
    {"--estimate=5|", "--estimate takes no value"},
    {"--json=yes|--estimate|", "--json takes no value"},
    /* Unknown options. */
    {"--rot=/|", "unknown option --rot=/"},
    {"--rot|/|", "unknown option --rot"},
    {"--e=|-h|", "--estimate takes no value"},
    {"-x|", "unknown option -x"},
    {"-x=5|", "unknown option -x"},
    {"-\x1b|", "unknown option -?"},
    {"--o|", "unknown option --o"}, /* an abbreviation of two options */
};

TEST_ROWS(invalid_command_line_is_refused_with_a_message, bad_rows) {
    int status = parse(row->arguments);

    ck_assert_msg(status == -EINVAL && strcmp(message, row->want) == 0,
                  "\"%s\": got %s, \"%s\", want \"%s\"", row->arguments, suite_status(status),
                  message, row->want);
}
