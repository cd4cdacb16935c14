/* SPDX-License-Identifier: MIT
 *
 * ksm.plugin's command line and environment.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "args.h"
#include "support/suite.h"

static struct args args;
static char told[8][1024];
static int told_count;

static void hear(const char *message) {
    ck_assert_msg(told_count < ROWS(told), "more than %d messages", told_count);
    ck_assert_msg(!strchr(message, '\n'), "message \"%s\": more than a line", message);
    snprintf(told[told_count++], sizeof(told[0]), "%s", message);
}

void before_each(void) {
    unsetenv("NETDATA_HOST_PREFIX");
    unsetenv("NETDATA_UPDATE_EVERY");
}

/* Words, with a bar after each; those that begin with NETDATA_ are in the environment. What they
 * make that is no default: [seconds] [root] [settings] [consumers] [action]. What the messages say,
 * one after the other, with a bar after each. */
static const struct {
    const char *words, *result, *says;
} rows[] = {
    {"", "", ""},
    /* Seconds. */
    {"1|", "", ""},
    {"86400|", "86400 s ", ""},
    {"5|7|", "7 s ", ""},
    {"0|-1|abc|5s|1.5|", "", "\"0\"|\"-1\"|\"abc\"|\"5s\"|\"1.5\"|"},
    {"+5| 5||86401|", "", "\"+5\"|\" 5\"|\"\"|1 to 86400|"},
    {"4294967301|18446744073709551621|", "", "\"4294967301\"|18446744073709551621|"},
    {"5|abc|", "5 s ", "\"abc\"|"},
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
    {"--consumers|-5|", "", "--consumers: \"-5\"|"},
    /* Bad and missing values: told, and the rest goes on. */
    {"--settings=|--settings|", "", "--settings: \"\"|--settings: \"\"|"},
    {"--root=|--root|", "", "--root: \"\"|--root: \"\"|"},
    {"--root|--settings=no|", "no settings ", "--root: \"\"|"},
    {"--settings=maybe|--root=/host|5|", "5 s /host ", "--settings: \"maybe\"|"},
    {"--settings=maybe|abc|--foo|", "", "maybe|abc|--foo|"},
    /* Unknown options. */
    {"--foo=bar|--root=/host|", "/host ", "--foo (value \"bar\")|"},
    {"--rootdir=/host|--roo=/host|--ConsumersInterval=5|", "",
     "--rootdir|--roo |--ConsumersInterval|"},
    {"--|", "", "no option -- |"},
    {"--=x|-x|-root=/host|root=/host|", "", "\"x\"|\"-x\"|\"-root=/host\"|\"root=/host\"|"},
    {"--root-and-a-key-that-is-much-longer-than-all-the-keys-that-there-are-in-the-table=x|", "",
     "--root-and-a-key|"},
    /* What is asked of it. */
    {"--help|", "help ", ""},
    {"-h|", "help ", ""},
    {"--version|", "version ", ""},
    {"-v|", "version ", ""},
    {"5|--root=/host|--help|", "5 s /host help ", ""},
    {"--root|/host|--explain|", "/host explain ", ""},
    {"--explain|--rot=/host|", "explain ", "--rot|"},
    {"--explain=x|--help=x|", "", "--explain|--help|"},
    /* What the agent sets before it starts a plugin. */
    {"NETDATA_HOST_PREFIX=/host|", "/host ", ""},
    {"NETDATA_HOST_PREFIX=|", "", ""},
    {"NETDATA_HOST_PREFIX=/host|--root=/other|", "/other ", ""},
    {"NETDATA_HOST_PREFIX=/host|--root=|", "/host ", "--root: \"\"|"},
    {"NETDATA_UPDATE_EVERY=5|1|", "5 s ", ""},
    {"NETDATA_UPDATE_EVERY=5|10|", "10 s ", ""},
    {"NETDATA_UPDATE_EVERY=5|abc|", "5 s ", "\"abc\"|"},
    {"NETDATA_UPDATE_EVERY=-1|3|", "3 s ", ""},
    {"NETDATA_UPDATE_EVERY=abc|3|", "3 s ", ""},
    {"NETDATA_UPDATE_EVERY=|3|", "3 s ", ""},
    {"NETDATA_UPDATE_EVERY=999999|3|", "3 s ", ""},
};

static void parse(const char *words) {
    static char text[3 * PATH_MAX], program[] = "ksm.plugin";
    char *argv[10] = {program}, *rest = text;
    int argc = 1;

    snprintf(text, sizeof(text), "%s", words);
    while (*rest) {
        char *word = strsep(&rest, "|");
        if (strncmp(word, "NETDATA_", 8) == 0)
            putenv(word);
        else
            argv[argc++] = word;
    }
    memset(&args, 0x5a, sizeof(args));
    args_parse(&args, argc, argv, hear);
}

static const char *result(void) {
    static const char *const actions[] = {[ARGS_RUN] = "",
                                          [ARGS_HELP] = "help ",
                                          [ARGS_VERSION] = "version ",
                                          [ARGS_EXPLAIN] = "explain "};
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

TEST_ROWS(command_lines, rows) {
    int said = 0;

    parse(row->words);
    ck_assert_msg(strcmp(result(), row->result) == 0, "%s: got \"%s\", want \"%s\"", row->words,
                  result(), row->result);
    for (const char *at = row->says; *at; at = strchr(at, '|') + 1) {
        char want[64];
        snprintf(want, sizeof(want), "%.*s", (int)strcspn(at, "|"), at);
        ck_assert_msg(said < told_count && strstr(told[said], want),
                      "%s: got \"%s\", want \"%s\" in it", row->words, told[said], want);
        said++;
    }
    ck_assert_msg(told_count == said, "%s: got %d messages, want %d", row->words, told_count, said);
}

TEST(prefix_that_is_too_long) {
    char words[2 * PATH_MAX] = "NETDATA_HOST_PREFIX=/";

    memset(words + strlen(words), 'a', PATH_MAX);
    words[strlen(words)] = '|';
    parse(words);
    ck_assert_str_eq(args.options.root, "/");
    ck_assert_int_eq(told_count, 1);
}
