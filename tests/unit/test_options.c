/* SPDX-License-Identifier: MIT
 *
 * Every option, by the names it has in both hosts, with good and bad values.
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

static int set(enum ksm_daemon host, const char *key, const char *value) {
    return ksm_options_set(&options, host, key, value, message, sizeof(message));
}

static void expect_message(const char *word) {
    ck_assert_msg(strstr(message, word), "message \"%s\": does not say \"%s\"", message, word);
    ck_assert_msg(!strchr(message, '\n'), "message \"%s\": more than a line", message);
}

/* One option as text, for comparison, by ksm.plugin's name. */
static const char *text_of(const char *word) {
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
        ck_abort_msg("%s: the tests do not know this option", word);
    return text;
}

TEST(defaults) {
    ck_assert_str_eq(text_of("root"), "/");
    ck_assert_str_eq(text_of("settings"), "yes");
    ck_assert_str_eq(text_of("consumers"), "20");
    ck_assert_str_eq(text_of("consumers-interval"), "10");
    ck_assert_str_eq(text_of("consumers-exclude"), "0");
    ck_assert_str_eq(text_of("function-access"), "members");
}

#define ROOT "Root", "root"
#define SETTINGS "Settings", "settings"
#define CONSUMERS "Consumers", "consumers"
#define INTERVAL "ConsumersInterval", "consumers-interval"
#define EXCLUDE "ConsumersExclude", "consumers-exclude"
#define ACCESS NULL, "function-access"

/* Values, with a bar between them, of which each gives the same. */
static const struct good {
    const char *key;  /* collectd's, NULL where it has none */
    const char *word; /* ksm.plugin's */
    const char *values, *want;
} good_rows[] = {
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

static void expect_good(const struct good *row, enum ksm_daemon host, const char *value) {
    const char *key = host == KSM_COLLECTD ? row->key : row->word;
    int status = set(host, key, value);

    ck_assert_msg(status == 0 && strcmp(text_of(row->word), row->want) == 0,
                  "%s \"%s\": got %s, \"%s\", want \"%s\" (%s)", key, value, suite_status(status),
                  text_of(row->word), row->want, message);
}

TEST_ROWS(good_values, good_rows) {
    char *values = strdup(row->values);

    for (char *value = strtok(values, "|"); value; value = strtok(NULL, "|")) {
        before_each();
        expect_good(row, KSM_NETDATA, value);
        before_each();
        if (row->key)
            expect_good(row, KSM_COLLECTD, value);
    }
    free(values);
}

/* What the message must say, and the values. */
static const struct bad {
    const char *key, *word;
    const char *allowed, *values;
} bad_rows[] = {
    {ROOT, "a directory", ""},
    {SETTINGS, "yes or no", "|maybe|yess|y| yes|1|0"},
    {CONSUMERS, "a whole number from 0 to 200",
     "|-1|201|+5|05| 5|5 |5.5|1e2|0x10|yes|4294967297|18446744073709551617"},
    {INTERVAL, "a whole number from 1 to 3600", "0|3601|10s|0.5"},
    {EXCLUDE, "container", "|vms|v|,|vm,|,vm|vm, program|vm program|vm,none|all"},
    {ACCESS, "members or any", "|Any|an|anybody|or|members or any|0x13"},
};

static void expect_bad(const struct bad *row, enum ksm_daemon host, const char *value) {
    const char *key = host == KSM_COLLECTD ? row->key : row->word;
    struct ksm_options before = options;
    char quoted[64];
    int status = set(host, key, value);

    ck_assert_msg(status == -EINVAL && memcmp(&options, &before, sizeof(options)) == 0,
                  "%s \"%s\": got %s, want -EINVAL and no change", key, value,
                  suite_status(status));
    snprintf(quoted, sizeof(quoted), "%s: invalid value \"%s\"", key, value);
    expect_message(quoted);
    expect_message(row->allowed);
    if (host == KSM_NETDATA)
        expect_message("--");
}

TEST_ROWS(bad_values, bad_rows) {
    char *values = strdup(row->values), *rest = values;

    for (char *value; (value = strsep(&rest, "|"));) {
        expect_bad(row, KSM_NETDATA, value);
        if (row->key)
            expect_bad(row, KSM_COLLECTD, value);
    }
    free(values);
}

/* That of one host alone is unknown to the other, and not named there either. */
static const struct {
    enum ksm_daemon host;
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

TEST_ROWS(unknown_keys, unknown_rows) {
    struct ksm_options before = options;
    struct ksm_option_text option;
    int status = set(row->host, row->key, "7");

    ck_assert_msg(status == -ENOENT && memcmp(&options, &before, sizeof(options)) == 0,
                  "\"%s\": got %s, want -ENOENT and no change", row->key, suite_status(status));
    expect_message(row->key);
    expect_message("\"7\"");
    for (size_t at = 0; ksm_options_text(row->host, at, &option) == 0; at++)
        if (row->host == KSM_NETDATA)
            expect_message(option.word);
    if (row->host == KSM_COLLECTD)
        expect_message(
            "known options: Root, Consumers, ConsumersInterval, ConsumersExclude, Settings");
}

/* ksm-explain ends then, and keeps no value. */
TEST(messages_of_ksm_explain) {
    ck_assert_int_eq(set(KSM_EXPLAIN, "consumers", "many"), -EINVAL);
    ck_assert_str_eq(message, "--consumers: invalid value \"many\"; expected a whole number from 0 "
                              "to 200");
    ck_assert_int_eq(set(KSM_EXPLAIN, "consumers", "7"), 0);
    ck_assert_int_eq(options.consumers, 7);
}

TEST(unknown_option_without_a_value) {
    ck_assert_int_eq(set(KSM_NETDATA, "rot", ""), -ENOENT);
    expect_message("unknown option --rot; known options: --root, --consumers,");
    ck_assert_int_eq(set(KSM_COLLECTD, "Rot", ""), -ENOENT);
    expect_message("unknown option Rot; known options: Root, Consumers,");
}

/* Of the running test's directory. */
static const struct {
    const char *root;
    bool found;
} root_rows[] = {
    {"", true},
    {"/", true},
    {"/dir", true},
    {"/dir/", true},
    {"/link", true},
    {"/none", false},
    {"/none/deeper", false},
    {"/file", false},
    {"/file/", false},
    {"/file/deeper", false},
    {"/dangling", false},
};

TEST_ROWS(root_is_a_directory, root_rows) {
    const char *dir = suite_dir();
    char want[PATH_MAX];

    tree_print(dir, "dir/x", "x");
    tree_print(dir, "file", "x");
    ck_assert(symlink("dir", tree_path(dir, "link")) == 0);
    ck_assert(symlink("none", tree_path(dir, "dangling")) == 0);
    snprintf(options.root, sizeof(options.root), "%s%s", dir, row->root);
    snprintf(want, sizeof(want), "%s%s: no such directory", dir, row->root);
    int status = ksm_options_check_root(&options, message, sizeof(message));
    ck_assert_msg(status == (row->found ? 0 : -ENOENT), "\"%s\": got %s", row->root,
                  suite_status(status));
    ck_assert_str_eq(message, row->found ? "untouched" : want);
}

/* Another failure than that it is not there is left to the reader. */
TEST(root_that_cannot_be_reached) {
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

/* Paths up to the system's limit, and no further. */
TEST(long_roots) {
    static char root[PATH_MAX + 100];

    for (size_t len = PATH_MAX - 2; len <= PATH_MAX + 1; len++) {
        memset(root, 'a', len);
        before_each();
        int want = len < PATH_MAX ? 0 : -EINVAL;
        ck_assert_int_eq(set(KSM_COLLECTD, "Root", root), want);
        ck_assert_str_eq(options.root, want == 0 ? root : "/");
    }
}

/* Texts of any length end in messages of one line that fit. */
TEST(long_texts) {
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

/* What the documentation says of each option holds. */
TEST(documentation) {
    struct ksm_option_text option;
    size_t i = 0;

    for (; ksm_options_text(KSM_NETDATA, i, &option) == 0; i++) {
        char before[PATH_MAX];
        ck_assert_msg(*option.word && *option.help && *option.allowed, "option %zu: empty", i);
        ck_assert_msg(!strchr(option.help, '|') && !strchr(option.allowed, '|'),
                      "%s: a bar would break the tables of the documentation", option.word);
        snprintf(before, sizeof(before), "%s", text_of(option.word));
        int status = set(KSM_NETDATA, option.word, option.standard);
        ck_assert_msg(status == 0 && strcmp(before, text_of(option.word)) == 0,
                      "%s: its default is not \"%s\" (%s)", option.word, option.standard, message);
    }
    ck_assert_uint_gt(i, 0);
    ck_assert_int_eq(ksm_options_text(KSM_NETDATA, i, &option), -ENOENT);
}
