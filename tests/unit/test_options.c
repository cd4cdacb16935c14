/* SPDX-License-Identifier: MIT
 *
 * Every option, by its keys in both daemons, with valid and invalid values.
 */
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "options.h"
#include "support/suite.h"
#include "support/tree.h"

static struct ksm_options options;
static char message[1024];

void before_each(void) {
    memset(&options, 0x5a, sizeof(options));
    ksm_options_init(&options);
    strcpy(message, "untouched");
}

static int set(enum ksm_program program, const char *key, const char *value) {
    return ksm_options_set(&options, program, key, value, message, sizeof(message));
}

static void expect_message(const char *part) {
    ck_assert_msg(strstr(message, part), "message \"%s\": does not contain \"%s\"", message, part);
    ck_assert_msg(!strchr(message, '\n'), "message \"%s\": more than one line", message);
}

/* Returns the value of an option of ksm.plugin as text. */
static const char *value_of(const char *word) {
    static char text[PATH_MAX];

    if (strcasecmp(word, "root") == 0)
        return options.root;
    if (strcasecmp(word, "settings") == 0)
        return options.settings ? "yes" : "no";
    if (strcasecmp(word, "consumers") == 0)
        snprintf(text, sizeof(text), "%d", options.consumers);
    else if (strcasecmp(word, "consumers-interval") == 0)
        snprintf(text, sizeof(text), "%d", options.consumers_interval);
    else if (strcasecmp(word, "consumers-exclude") == 0)
        snprintf(text, sizeof(text), "%#x", options.consumers_exclude);
    else if (strcasecmp(word, "function-access") == 0)
        return options.function_access == KSM_ACCESS_ANY ? "any" : "members";
    else
        ck_abort_msg("%s: this test does not know the option", word);
    return text;
}

TEST(defaults) {
    ck_assert_str_eq(value_of("root"), "/");
    ck_assert_str_eq(value_of("settings"), "yes");
    ck_assert_str_eq(value_of("consumers"), "20");
    ck_assert_str_eq(value_of("consumers-interval"), "10");
    ck_assert_str_eq(value_of("consumers-exclude"), "0");
    ck_assert_str_eq(value_of("function-access"), "members");
}

#define ROOT "Root", "root"
#define SETTINGS "Settings", "settings"
#define CONSUMERS "Consumers", "consumers"
#define INTERVAL "ConsumersInterval", "consumers-interval"
#define EXCLUDE "ConsumersExclude", "consumers-exclude"
#define ACCESS NULL, "function-access"

/* Values, separated by bars, that all set the option to want. */
static const struct valid {
    const char *key;  /* of collectd; NULL: none */
    const char *word; /* of ksm.plugin */
    const char *values, *want;
} valid_rows[] = {
    {ROOT, "/host", "/host"},
    {ROOT, "relative/dir", "relative/dir"},
    {ROOT, "/with space, \"quotes\" and %s", "/with space, \"quotes\" and %s"},
    {SETTINGS, "no|false|off|NO|No", "no"},
    {"SETTINGS", "Settings", "yes|true|on", "yes"},
    {CONSUMERS, "0", "0"},
    {CONSUMERS, "200", "200"},
    {INTERVAL, "1", "1"},
    {INTERVAL, "3600", "3600"},
    {EXCLUDE, "vm|vm,vm", "0x1"},
    {EXCLUDE, "container", "0x2"},
    {EXCLUDE, "service", "0x4"},
    {EXCLUDE, "vm,program|program,vm", "0x9"},
    {EXCLUDE, "vm,container,service,program", "0xf"},
    {EXCLUDE, "none", "0"},
    {ACCESS, "members", "members"},
    {ACCESS, "any", "any"},
};

static void expect_valid(const struct valid *row, enum ksm_program program, const char *value) {
    const char *key = program == KSM_COLLECTD ? row->key : row->word;
    int status = set(program, key, value);

    ck_assert_msg(status == 0 && strcmp(value_of(row->word), row->want) == 0,
                  "%s \"%s\": got %s, \"%s\", want \"%s\" (%s)", key, value, suite_status(status),
                  value_of(row->word), row->want, message);
}

TEST_ROWS(valid_values_are_set, valid_rows) {
    char *values = strdup(row->values);

    for (char *value = strtok(values, "|"); value; value = strtok(NULL, "|")) {
        before_each();
        expect_valid(row, KSM_NETDATA, value);
        before_each();
        if (row->key)
            expect_valid(row, KSM_COLLECTD, value);
    }
    free(values);
}

/* Values, separated by bars, that are refused; the message contains allowed. */
static const struct invalid {
    const char *key, *word;
    const char *allowed, *values;
} invalid_rows[] = {
    {ROOT, "a directory", ""},
    {SETTINGS, "yes or no", "|maybe|yess|y| yes|1|0"},
    {CONSUMERS, "a whole number from 0 to 200",
     "|-1|201|+5|05| 5|5 |5.5|1e2|0x10|yes|4294967297|18446744073709551617"},
    {INTERVAL, "a whole number from 1 to 3600", "0|3601|10s|0.5"},
    {EXCLUDE, "container", "|vms|v|,|vm,|,vm|vm, program|vm program|vm,none|all"},
    {ACCESS, "members or any", "|Any|an|anybody|or|members or any|0x13"},
};

static void expect_invalid(const struct invalid *row, enum ksm_program program, const char *value) {
    const char *key = program == KSM_COLLECTD ? row->key : row->word;
    struct ksm_options before = options;
    char quoted[64];
    int status = set(program, key, value);

    ck_assert_msg(status == -EINVAL && memcmp(&options, &before, sizeof(options)) == 0,
                  "%s \"%s\": got %s, want -EINVAL and no change", key, value,
                  suite_status(status));
    snprintf(quoted, sizeof(quoted), "%s: invalid value \"%s\"", key, value);
    expect_message(quoted);
    expect_message(row->allowed);
    if (program == KSM_NETDATA)
        expect_message("--");
}

TEST_ROWS(invalid_values_are_refused, invalid_rows) {
    char *values = strdup(row->values), *rest = values;

    for (char *value; (value = strsep(&rest, "|"));) {
        expect_invalid(row, KSM_NETDATA, value);
        if (row->key)
            expect_invalid(row, KSM_COLLECTD, value);
    }
    free(values);
}

/* Keys of one daemon are unknown to the other, and its messages do not list them. */
static const struct {
    enum ksm_program program;
    const char *key;
} unknown_rows[] = {
    {KSM_COLLECTD, "Roots"},
    {KSM_COLLECTD, "Roo"},
    {KSM_COLLECTD, ""},
    {KSM_COLLECTD, "consumers-interval"},
    {KSM_COLLECTD, "--root"},
    {KSM_COLLECTD, "function-access"},
    {KSM_NETDATA, "ConsumersInterval"},
    {KSM_NETDATA, "consumers_interval"},
    {KSM_NETDATA, ""},
    {KSM_NETDATA, "-root"},
    {KSM_NETDATA, "rooted"},
    {KSM_NETDATA, "%s%n"},
};

TEST_ROWS(unknown_keys_are_refused, unknown_rows) {
    struct ksm_options before = options;
    struct ksm_option_text option;
    int status = set(row->program, row->key, "7");

    ck_assert_msg(status == -ENOENT && memcmp(&options, &before, sizeof(options)) == 0,
                  "\"%s\": got %s, want -ENOENT and no change", row->key, suite_status(status));
    expect_message(row->key);
    expect_message("\"7\"");
    for (size_t i = 0; ksm_options_text(row->program, i, &option) == 0; i++)
        if (row->program == KSM_NETDATA)
            expect_message(option.long_option);
    if (row->program == KSM_COLLECTD)
        expect_message(
            "known options: Root, Consumers, ConsumersInterval, ConsumersExclude, Settings");
}

/* What an option was before, and the end of the message about a value that is not valid. */
static const struct {
    const char *key, *before, *want;
} kept_rows[] = {
    {"Root", NULL, "; the default / is used"},
    {"Root", "/host", "; the previous value is kept"},
    {"Settings", NULL, "; the default yes is used"},
    {"Settings", "no", "; the previous value is kept"},
    {"Consumers", NULL, "; the default 20 is used"},
    {"Consumers", "7", "; the previous value is kept"},
    {"Consumers", "20", "; the default 20 is used"},
    {"ConsumersExclude", NULL, "; the default none is used"},
    {"ConsumersExclude", "vm", "; the previous value is kept"},
};

TEST_ROWS(messages_name_the_value_that_is_used, kept_rows) {
    if (row->before)
        ck_assert_int_eq(set(KSM_COLLECTD, row->key, row->before), 0);
    ck_assert_int_eq(set(KSM_COLLECTD, row->key, ""), -EINVAL);
    const char *end = strrchr(message, ';');
    ck_assert_str_eq(end ? end : message, row->want);
}

/* ksm-explain then exits, so it uses no value. */
TEST(messages_of_ksm_explain_name_no_value_that_is_used) {
    ck_assert_int_eq(set(KSM_EXPLAIN, "consumers", "many"), -EINVAL);
    ck_assert_str_eq(message, "--consumers: invalid value \"many\"; expected a whole number from 0 "
                              "to 200");
    ck_assert_int_eq(set(KSM_EXPLAIN, "consumers", "7"), 0);
    ck_assert_int_eq(options.consumers, 7);
}

TEST(message_about_an_unknown_option_without_a_value) {
    ck_assert_int_eq(set(KSM_NETDATA, "rot", ""), -ENOENT);
    expect_message("unknown option --rot; known options: --root, --consumers,");
    ck_assert_int_eq(set(KSM_COLLECTD, "Rot", ""), -ENOENT);
    expect_message("unknown option Rot; known options: Root, Consumers,");
}

/* root: below the test's directory; want: how the message goes on after it, NULL: the root is
 * accepted. */
#define MISSING ": no such directory"
#define NOT_A_ROOT                                                                                 \
    " does not look like a host's root: it has no sys/kernel (is the host's /sys mounted there?)"
static const struct {
    const char *root, *want;
} root_rows[] = {
    {"/host", NULL},
    {"/host/", NULL},
    {"/link", NULL},
    {"/none", MISSING},
    {"/none/deeper", MISSING},
    {"/file", MISSING},
    {"/file/", MISSING},
    {"/file/deeper", MISSING},
    {"/dangling", MISSING},
    {"", NOT_A_ROOT},
    {"/", NOT_A_ROOT},
    {"/host/sys", NOT_A_ROOT},
    {"/unmounted", NOT_A_ROOT},
};

TEST_ROWS(root_must_be_that_of_a_host, root_rows) {
    const char *dir = suite_dir();
    char want[PATH_MAX] = "untouched";

    tree_print(dir, "host/sys/kernel/x", "x");
    tree_print(dir, "unmounted/sys/x", "x");
    tree_print(dir, "file", "x");
    ck_assert(symlink("host", tree_path(dir, "link")) == 0);
    ck_assert(symlink("none", tree_path(dir, "dangling")) == 0);
    snprintf(options.root, sizeof(options.root), "%s%s", dir, row->root);
    if (row->want)
        snprintf(want, sizeof(want), "%s%s%s", dir, row->root, row->want);
    int status = ksm_options_check_root(&options, message, sizeof(message));
    ck_assert_msg(status == (row->want ? -ENOENT : 0), "\"%s\": got %s", row->root,
                  suite_status(status));
    ck_assert_str_eq(message, want);
}

/* Errors other than ENOENT are left to the reader. */
TEST(unreachable_root_is_accepted) {
    const char *dir = suite_dir();

    tree_print(dir, "shut/root/x", "x");
    ck_assert(chmod(tree_path(dir, "shut"), 0) == 0);
    suite_become_nobody();
    snprintf(options.root, sizeof(options.root), "%s/shut/none", dir);
    ck_assert_int_eq(ksm_options_check_root(&options, message, sizeof(message)), 0);
    memset(options.root, 'a', PATH_MAX - 1);
    options.root[PATH_MAX - 1] = '\0';
    ck_assert_int_eq(ksm_options_check_root(&options, message, sizeof(message)), 0);
}

TEST(root_is_shorter_than_PATH_MAX) {
    static char root[PATH_MAX + 100];

    for (size_t len = PATH_MAX - 2; len <= PATH_MAX + 1; len++) {
        memset(root, 'a', len);
        before_each();
        int want = len < PATH_MAX ? 0 : -EINVAL;
        ck_assert_int_eq(set(KSM_COLLECTD, "Root", root), want);
        ck_assert_str_eq(options.root, want == 0 ? root : "/");
    }
}

TEST(messages_about_long_texts_fit) {
    static char text[10000];
    char small[40];

    memset(text, 'a', sizeof(text) - 1);
    ck_assert_int_eq(set(KSM_NETDATA, text, text), -ENOENT);
    expect_message("consumers-exclude");
    ck_assert_int_eq(set(KSM_NETDATA, "settings", text), -EINVAL);
    expect_message("yes or no");
    memset(small, 0x5a, sizeof(small));
    ck_assert_int_eq(ksm_options_set(&options, KSM_NETDATA, text, text, small, 32), -ENOENT);
    ck_assert_uint_lt(strnlen(small, 32), 32);
    ck_assert_int_eq(small[32], 0x5a);
}

TEST(documented_defaults_are_the_defaults) {
    struct ksm_option_text option;
    size_t i = 0;

    for (; ksm_options_text(KSM_NETDATA, i, &option) == 0; i++) {
        char before[PATH_MAX];
        ck_assert_msg(*option.long_option && *option.help && *option.allowed, "option %zu: empty",
                      i);
        ck_assert_msg(!strchr(option.help, '|') && !strchr(option.allowed, '|'),
                      "%s: a bar would break the tables of the documentation", option.long_option);
        snprintf(before, sizeof(before), "%s", value_of(option.long_option));
        int status = set(KSM_NETDATA, option.long_option, option.default_value);
        ck_assert_msg(status == 0 && strcmp(before, value_of(option.long_option)) == 0,
                      "%s: its default is not \"%s\" (%s)", option.long_option,
                      option.default_value, message);
    }
    ck_assert_uint_gt(i, 0);
    ck_assert_int_eq(ksm_options_text(KSM_NETDATA, i, &option), -ENOENT);
}
