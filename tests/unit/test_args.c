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

enum { MOST_ARGS = 8 };

/* After the words, what is expected: the defaults where nothing is given. */
static const struct row {
    const char *argv[MOST_ARGS];
    int seconds;      /* 0: 1 */
    const char *root; /* NULL: "/" */
    bool no_settings;
    int consumers; /* 0: 20 */
    enum args_action action;
    int messages;
    const char *says[3]; /* in the messages, in this order */
} rows[] = {
    {{NULL}, 0, NULL, false, 0, ARGS_RUN, 0, {NULL}},
    /* Seconds. */
    {{"1"}, 1, NULL, false, 0, ARGS_RUN, 0, {NULL}},
    {{"5"}, 5, NULL, false, 0, ARGS_RUN, 0, {NULL}},
    {{"86400"}, 86400, NULL, false, 0, ARGS_RUN, 0, {NULL}},
    {{"5", "7"}, 7, NULL, false, 0, ARGS_RUN, 0, {NULL}},
    {{"0"}, 0, NULL, false, 0, ARGS_RUN, 1, {"\"0\""}},
    {{"-1"}, 0, NULL, false, 0, ARGS_RUN, 1, {"\"-1\""}},
    {{"abc"}, 0, NULL, false, 0, ARGS_RUN, 1, {"\"abc\""}},
    {{"5s"}, 0, NULL, false, 0, ARGS_RUN, 1, {"\"5s\""}},
    {{"1.5"}, 0, NULL, false, 0, ARGS_RUN, 1, {"\"1.5\""}},
    {{"+5"}, 0, NULL, false, 0, ARGS_RUN, 1, {"\"+5\""}},
    {{" 5"}, 0, NULL, false, 0, ARGS_RUN, 1, {"\" 5\""}},
    {{""}, 0, NULL, false, 0, ARGS_RUN, 1, {"\"\""}},
    {{"86401"}, 0, NULL, false, 0, ARGS_RUN, 1, {"1 to 86400"}},
    {{"999999"}, 0, NULL, false, 0, ARGS_RUN, 1, {"\"999999\""}},
    {{"4294967301"}, 0, NULL, false, 0, ARGS_RUN, 1, {"\"4294967301\""}},
    {{"18446744073709551621"}, 0, NULL, false, 0, ARGS_RUN, 1, {"18446744073709551621"}},
    {{"5", "abc"}, 5, NULL, false, 0, ARGS_RUN, 1, {"\"abc\""}},
    /* --key=value and --key value, in any order. */
    {{"--root=/host"}, 0, "/host", false, 0, ARGS_RUN, 0, {NULL}},
    {{"--root", "/host"}, 0, "/host", false, 0, ARGS_RUN, 0, {NULL}},
    {{"--root=/host", "5"}, 5, "/host", false, 0, ARGS_RUN, 0, {NULL}},
    {{"5", "--root=/host"}, 5, "/host", false, 0, ARGS_RUN, 0, {NULL}},
    {{"5", "--root", "/host"}, 5, "/host", false, 0, ARGS_RUN, 0, {NULL}},
    {{"--root", "/host", "5"}, 5, "/host", false, 0, ARGS_RUN, 0, {NULL}},
    {{"--root", "5"}, 0, "5", false, 0, ARGS_RUN, 0, {NULL}},
    {{"--root=a=b"}, 0, "a=b", false, 0, ARGS_RUN, 0, {NULL}},
    {{"--root=--settings"}, 0, "--settings", false, 0, ARGS_RUN, 0, {NULL}},
    {{"--root=/a", "--root=/b"}, 0, "/b", false, 0, ARGS_RUN, 0, {NULL}},
    {{"--settings=no"}, 0, NULL, true, 0, ARGS_RUN, 0, {NULL}},
    {{"--settings", "no"}, 0, NULL, true, 0, ARGS_RUN, 0, {NULL}},
    {{"--SETTINGS=NO"}, 0, NULL, true, 0, ARGS_RUN, 0, {NULL}},
    {{"--settings=no", "--root=/host", "3"}, 3, "/host", true, 0, ARGS_RUN, 0, {NULL}},
    {{"--consumers=5"}, 0, NULL, false, 5, ARGS_RUN, 0, {NULL}},
    {{"--consumers", "5"}, 0, NULL, false, 5, ARGS_RUN, 0, {NULL}},
    {{"--consumers", "-5"}, 0, NULL, false, 0, ARGS_RUN, 1, {"--consumers: \"-5\""}},
    /* Bad and missing values: told, and the rest goes on. */
    {{"--settings=maybe"}, 0, NULL, false, 0, ARGS_RUN, 1, {"--settings: \"maybe\""}},
    {{"--settings="}, 0, NULL, false, 0, ARGS_RUN, 1, {"--settings: \"\""}},
    {{"--settings"}, 0, NULL, false, 0, ARGS_RUN, 1, {"--settings: \"\""}},
    {{"--root="}, 0, NULL, false, 0, ARGS_RUN, 1, {"--root: \"\""}},
    {{"--root"}, 0, NULL, false, 0, ARGS_RUN, 1, {"--root: \"\""}},
    {{"--root", "--settings=no"}, 0, NULL, true, 0, ARGS_RUN, 1, {"--root: \"\""}},
    {{"--settings=maybe", "--root=/host", "5"}, 5, "/host", false, 0, ARGS_RUN, 1, {"maybe"}},
    {{"--settings=maybe", "abc", "--foo"},
     0,
     NULL,
     false,
     0,
     ARGS_RUN,
     3,
     {"maybe", "abc", "--foo"}},
    /* Unknown options. */
    {{"--foo"}, 0, NULL, false, 0, ARGS_RUN, 1, {"--foo"}},
    {{"--foo=bar"}, 0, NULL, false, 0, ARGS_RUN, 1, {"--foo (value \"bar\")"}},
    {{"--foo=bar", "--root=/host"}, 0, "/host", false, 0, ARGS_RUN, 1, {"--settings"}},
    {{"--rootdir=/host"}, 0, NULL, false, 0, ARGS_RUN, 1, {"--rootdir"}},
    {{"--roo=/host"}, 0, NULL, false, 0, ARGS_RUN, 1, {"--roo"}},
    {{"--"}, 0, NULL, false, 0, ARGS_RUN, 1, {"no option -- "}},
    {{"--=x"}, 0, NULL, false, 0, ARGS_RUN, 1, {"\"x\""}},
    {{"-x"}, 0, NULL, false, 0, ARGS_RUN, 1, {"\"-x\""}},
    {{"-root=/host"}, 0, NULL, false, 0, ARGS_RUN, 1, {"\"-root=/host\""}},
    {{"root=/host"}, 0, NULL, false, 0, ARGS_RUN, 1, {"\"root=/host\""}},
    {{"--Root=/host"}, 0, "/host", false, 0, ARGS_RUN, 0, {NULL}},
    {{"--ConsumersInterval=5"}, 0, NULL, false, 0, ARGS_RUN, 1, {"--ConsumersInterval"}},
    {{"--root-and-a-key-that-is-much-longer-than-all-the-keys-that-there-are-in-the-table=x"},
     0,
     NULL,
     false,
     0,
     ARGS_RUN,
     1,
     {"--root-and-a-key"}},
    /* What is asked of it. */
    {{"--help"}, 0, NULL, false, 0, ARGS_HELP, 0, {NULL}},
    {{"-h"}, 0, NULL, false, 0, ARGS_HELP, 0, {NULL}},
    {{"--version"}, 0, NULL, false, 0, ARGS_VERSION, 0, {NULL}},
    {{"-v"}, 0, NULL, false, 0, ARGS_VERSION, 0, {NULL}},
    {{"5", "--root=/host", "--help"}, 5, "/host", false, 0, ARGS_HELP, 0, {NULL}},
    {{"--explain"}, 0, NULL, false, 0, ARGS_EXPLAIN, 0, {NULL}},
    {{"--explain", "--root=/host"}, 0, "/host", false, 0, ARGS_EXPLAIN, 0, {NULL}},
    {{"--root", "/host", "--explain"}, 0, "/host", false, 0, ARGS_EXPLAIN, 0, {NULL}},
    {{"--explain", "--rot=/host"}, 0, NULL, false, 0, ARGS_EXPLAIN, 1, {"--rot"}},
    {{"--explain=x"}, 0, NULL, false, 0, ARGS_RUN, 1, {"--explain"}},
    {{"--help=x"}, 0, NULL, false, 0, ARGS_RUN, 1, {"--help"}},
};

static void parse(const char *const words[]) {
    char *argv[MOST_ARGS + 2] = {strdup("ksm.plugin")};
    int argc = 1;

    for (; words[argc - 1]; argc++)
        argv[argc] = strdup(words[argc - 1]);
    memset(&args, 0x5a, sizeof(args));
    told_count = 0;
    args_parse(&args, argc, argv, hear);
    while (argc > 0)
        free(argv[--argc]);
}

TEST_TIMES(command_lines, ROWS(rows)) {
    const struct row *row = &rows[_i];
    const char *root = row->root ? row->root : "/";
    int seconds = row->seconds ? row->seconds : 1;
    int consumers = row->consumers ? row->consumers : 20;
    const char *first = row->argv[0] ? row->argv[0] : "(nothing)";

    parse(row->argv);
    ck_assert_msg(args.update_every == seconds, "%s …: got %d seconds, want %d", first,
                  args.update_every, seconds);
    ck_assert_msg(strcmp(args.options.root, root) == 0, "%s …: got root \"%s\", want \"%s\"", first,
                  args.options.root, root);
    ck_assert_msg(args.options.settings == !row->no_settings, "%s …: got settings %d", first,
                  args.options.settings);
    ck_assert_msg(args.options.consumers == consumers, "%s …: got %d consumers, want %d", first,
                  args.options.consumers, consumers);
    ck_assert_msg(args.action == row->action, "%s …: got action %d, want %d", first,
                  (int)args.action, (int)row->action);
    ck_assert_msg(told_count == row->messages, "%s …: got %d messages (\"%s\"), want %d", first,
                  told_count, told[0], row->messages);
    for (int i = 0; i < 3 && row->says[i]; i++)
        ck_assert_msg(strstr(told[i], row->says[i]), "%s …: got \"%s\", want \"%s\" in it", first,
                      told[i], row->says[i]);
}

/* What the agent sets before it starts a plugin. */
static const struct {
    const char *prefix;
    const char *least;
    const char *argv[3];
    const char *root;
    int seconds;
    int messages;
} environments[] = {
    {"/host", NULL, {NULL}, "/host", 1, 0},
    {"", NULL, {NULL}, "/", 1, 0},
    {"/host", NULL, {"--root=/other"}, "/other", 1, 0},
    {"/host", NULL, {"--root="}, "/host", 1, 1},
    {NULL, "5", {NULL}, "/", 5, 0},
    {NULL, "5", {"1"}, "/", 5, 0},
    {NULL, "5", {"10"}, "/", 10, 0},
    {NULL, "5", {"abc"}, "/", 5, 1},
    {NULL, "0", {"3"}, "/", 3, 0},
    {NULL, "-1", {"3"}, "/", 3, 0},
    {NULL, "abc", {"3"}, "/", 3, 0},
    {NULL, "", {"3"}, "/", 3, 0},
    {NULL, "999999", {"3"}, "/", 3, 0},
    {"/host", "2", {"1", "--settings=yes"}, "/host", 2, 0},
};

TEST_TIMES(environment, ROWS(environments)) {
    const char *prefix = environments[_i].prefix;
    const char *least = environments[_i].least;

    if (prefix)
        setenv("NETDATA_HOST_PREFIX", prefix, 1);
    if (least)
        setenv("NETDATA_UPDATE_EVERY", least, 1);
    parse(environments[_i].argv);
    ck_assert_msg(strcmp(args.options.root, environments[_i].root) == 0,
                  "NETDATA_HOST_PREFIX=%s: got root \"%s\", want \"%s\"", prefix ? prefix : "unset",
                  args.options.root, environments[_i].root);
    ck_assert_msg(args.update_every == environments[_i].seconds,
                  "NETDATA_UPDATE_EVERY=%s: got %d seconds, want %d", least ? least : "unset",
                  args.update_every, environments[_i].seconds);
    ck_assert_int_eq(told_count, environments[_i].messages);
}

TEST(prefix_that_is_too_long) {
    static const char *const nothing[] = {NULL};
    static char prefix[2 * PATH_MAX];

    memset(prefix, 'a', sizeof(prefix) - 1);
    setenv("NETDATA_HOST_PREFIX", prefix, 1);
    parse(nothing);
    ck_assert_str_eq(args.options.root, "/");
    ck_assert_int_eq(told_count, 1);
}
