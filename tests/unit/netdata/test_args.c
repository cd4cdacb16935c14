/* SPDX-License-Identifier: MIT
 *
 * ksm.plugin's command line and environment.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "args.h"
#include "support/suite.h"

static struct args args;

static void capture(const char *message) {
    log_capture(true, message);
}

void before_each(void) {
    unsetenv("NETDATA_HOST_PREFIX");
    unsetenv("NETDATA_UPDATE_EVERY");
}

/* Arguments, with a bar after each; those that begin with NETDATA_ are set in the environment. The
 * result without defaults: [seconds] [root] [settings] [consumers] [action]. What is logged. */
static const struct {
    const char *arguments, *result, *logged;
} rows[] = {
    {"", "", ""},
    /* Seconds. */
    {"1|", "", ""},
    {"86400|", "86400 s ", ""},
    {"5|7|", "5 s ", "-ignored \"7\": the interval is 5 s already"},
    {"1|--root=/host|2|", "/host ", "-ignored \"2\": the interval is 1 s already"},
    {"x|2|", "2 s ", "-ignored \"x\": expected an option"},
    {"0|-1|abc|5s|1.5|", "", "-\"0\"\n-\"-1\"\n-\"abc\"\n-\"5s\"\n-\"1.5\""},
    {"+5| 5||86401|", "", "-\"+5\"\n-\" 5\"\n-\"\"\n-1 to 86400"},
    {"4294967301|18446744073709551621|", "", "-\"4294967301\"\n-18446744073709551621"},
    {"86400|86401|", "86400 s ", "-86401"},
    {"5|abc|", "5 s ", "-\"abc\""},
    /* --key=value and --key value, in any order. */
    {"--root=/host|", "/host ", ""},
    {"--root|/host|", "/host ", ""},
    {"--root=/host|5|", "5 s /host ", ""},
    {"5|--root|/host|", "5 s /host ", ""},
    {"--root|/host|5|", "5 s /host ", ""},
    {"--root|5|", "5 ", ""},
    {"--root=a=b|", "a=b ", ""},
    {"--root=--settings|", "--settings ", ""},
    {"--root=/a|--Root=/b|", "/b ", ""},
    {"--settings|no|", "no settings ", ""},
    {"--SETTINGS=NO|--root=/host|3|", "3 s /host no settings ", ""},
    {"--consumers|5|", "5 consumers ", ""},
    {"--consumers|-5|", "", "-consumers: invalid value \"-5\""},
    /* Invalid and missing values are logged; the remaining arguments count. */
    {"--settings=|--settings|", "", "-settings: invalid value \"\"\n-settings: invalid value \"\""},
    {"--root=|--root|", "", "-root: invalid value \"\"\n-root: invalid value \"\""},
    {"--root|--settings=no|", "no settings ", "-root: invalid value \"\""},
    {"--settings=maybe|--root=/host|5|", "5 s /host ", "-settings: invalid value \"maybe\""},
    {"--settings=maybe|abc|--foo|", "", "-maybe\n-abc\n-foo"},
    /* Unknown options. */
    {"--foo=bar|--root=/host|", "/host ", "-foo (value \"bar\")"},
    {"--rootdir=/host|--roo=/host|--ConsumersInterval=5|", "",
     "-rootdir\n-roo \n-ConsumersInterval"},
    {"--|", "", "-unknown option --; known options"},
    {"--=x|-x|-root=/host|root=/host|", "", "-\"x\"\n-\"-x\"\n-\"-root=/host\"\n-\"root=/host\""},
    {"--root-and-a-key-that-is-much-longer-than-all-the-keys-that-there-are-in-the-table=x|", "",
     "-root-and-a-key"},
    /* Actions. */
    {"--help|", "help ", ""},
    {"-h|", "help ", ""},
    {"--version|", "version ", ""},
    {"-v|", "version ", ""},
    {"5|--root=/host|--help|", "5 s /host help ", ""},
    {"--root|/host|--version|", "/host version ", ""},
    {"--version|--rot=/host|", "version ", "-rot"},
    {"--explain|--help=x|", "", "-explain\n-help"},
    /* The environment that the agent sets. */
    {"NETDATA_HOST_PREFIX=/host|", "/host ", ""},
    {"NETDATA_HOST_PREFIX=|", "", ""},
    {"NETDATA_HOST_PREFIX=/host|--root=/other|", "/other ", ""},
    {"NETDATA_HOST_PREFIX=/host|--root=|", "/host ", "-root: invalid value \"\""},
    {"NETDATA_UPDATE_EVERY=5|1|", "5 s ", ""},
    {"NETDATA_UPDATE_EVERY=5|10|", "10 s ", ""},
    {"NETDATA_UPDATE_EVERY=5|abc|", "5 s ", "-\"abc\""},
    {"NETDATA_UPDATE_EVERY=-1|3|", "3 s ", ""},
    {"NETDATA_UPDATE_EVERY=abc|3|", "3 s ", ""},
    {"NETDATA_UPDATE_EVERY=|3|", "3 s ", ""},
    {"NETDATA_UPDATE_EVERY=999999|3|", "3 s ", ""},
};

static void parse(const char *arguments) {
    static char text[3 * PATH_MAX], program[] = "ksm.plugin";
    char *argv[10] = {program}, *rest = text;
    int argc = 1;

    snprintf(text, sizeof(text), "%s", arguments);
    while (*rest) {
        char *argument = strsep(&rest, "|");
        if (strncmp(argument, "NETDATA_", 8) == 0)
            putenv(argument);
        else
            argv[argc++] = argument;
    }
    memset(&args, 0x5a, sizeof(args));
    args_parse(&args, argc, argv, capture);
}

static const char *result(void) {
    static const char *const actions[] = {
        [ARGS_RUN] = "", [ARGS_HELP] = "help ", [ARGS_VERSION] = "version "};
    static char text[2 * PATH_MAX];
    int len = 0;

    if (args.update_every != 1)
        len += sprintf(text + len, "%d s ", args.update_every);
    if (strcmp(args.options.root, "/") != 0)
        len += sprintf(text + len, "%s ", args.options.root);
    if (!args.options.settings)
        len += sprintf(text + len, "no settings ");
    if (args.options.consumers != 20)
        len += sprintf(text + len, "%d consumers ", args.options.consumers);
    sprintf(text + len, "%s", actions[args.action]);
    return text;
}

TEST_ROWS(command_line_sets_options_and_logs_errors, rows) {
    parse(row->arguments);
    ck_assert_msg(strcmp(result(), row->result) == 0, "%s: got \"%s\", want \"%s\"", row->arguments,
                  result(), row->result);
    expect_logged(row->arguments, row->logged);
}

TEST(too_long_prefix_is_refused) {
    char argument[2 * PATH_MAX] = "NETDATA_HOST_PREFIX=/";

    memset(argument + strlen(argument), 'a', PATH_MAX);
    argument[strlen(argument)] = '|';
    parse(argument);
    ck_assert_str_eq(args.options.root, "/");
    expect_logged("too long", "-root: invalid value \"/aaaa");
}

static const struct {
    enum args_action action;
    const char *prints;
} prints[] = {
    {ARGS_HELP, "  --root=VALUE\n|  --function-access=VALUE\n|--help, --version"},
    {ARGS_VERSION, "ksm.plugin " KSM_VERSION "\n"},
};

TEST_ROWS(help_and_version_are_printed, prints) {
    static char text[16384];
    int file = memfd_create("printed", MFD_CLOEXEC);
    char *words = strdup(row->prints);

    fflush(stdout);
    dup2(file, STDOUT_FILENO);
    args_print(row->action);
    fflush(stdout);
    ck_assert_int_gt(pread(file, text, sizeof(text) - 1, 0), 0);
    for (const char *word = strtok(words, "|"); word; word = strtok(NULL, "|"))
        ck_assert_msg(strstr(text, word), "got \"%s\", want \"%s\" in it", text, word);
    ck_assert((strstr(text, "--help") != NULL) == (row->action == ARGS_HELP));
    ck_assert((strstr(text, "ksm.plugin " KSM_VERSION) != NULL) == (row->action == ARGS_VERSION));
    free(words);
}
