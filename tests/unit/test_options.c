/* SPDX-License-Identifier: MIT
 *
 * Every option, by the names it has in both hosts, with good and bad values.
 */
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "options.h"
#include "support/suite.h"

static struct ksm_options options;
static char message[1024];

void before_each(void) {
    memset(&options, 0x5a, sizeof(options));
    ksm_options_init(&options);
    strcpy(message, "untouched");
}

TEST(defaults) {
    ck_assert_str_eq(options.root, "/");
    ck_assert_int_eq(options.settings, true);
    ck_assert_int_eq(options.consumers, 20);
    ck_assert_int_eq(options.consumers_interval, 10);
    ck_assert_uint_eq(options.consumers_exclude, 0);
    ck_assert_int_eq(options.function_access, KSM_ACCESS_MEMBERS);
}

/* One option as text, for comparison. */
static const char *text_of(const char *key) {
    static char text[PATH_MAX];

    if (strcasecmp(key, "Root") == 0)
        return options.root;
    if (strcasecmp(key, "Settings") == 0)
        return options.settings ? "yes" : "no";
    if (strcasecmp(key, "Consumers") == 0)
        snprintf(text, sizeof(text), "%d", options.consumers);
    else if (strcasecmp(key, "ConsumersInterval") == 0)
        snprintf(text, sizeof(text), "%d", options.consumers_interval);
    else if (strcasecmp(key, "ConsumersExclude") == 0)
        snprintf(text, sizeof(text), "%#x", options.consumers_exclude);
    else if (strcasecmp(key, "function-access") == 0)
        snprintf(text, sizeof(text), "%d", options.function_access);
    else
        ck_abort_msg("%s: the tests do not know this option", key);
    return text;
}

/* What the option is before: its default. */
static const struct good {
    const char *key;  /* collectd's */
    const char *word; /* ksm.plugin's */
    const char *value;
    const char *want;
} good_rows[] = {
    {"Root", "root", "/host", "/host"},
    {"Root", "root", "/", "/"},
    {"Root", "root", "relative/dir", "relative/dir"},
    {"Root", "root", "/with space, \"quotes\" and %s", "/with space, \"quotes\" and %s"},
    {"root", "ROOT", "/host", "/host"},
    {"Settings", "settings", "no", "no"},
    {"Settings", "settings", "yes", "yes"},
    {"Settings", "settings", "false", "no"},
    {"Settings", "settings", "true", "yes"},
    {"Settings", "settings", "off", "no"},
    {"Settings", "settings", "on", "yes"},
    {"Settings", "settings", "NO", "no"},
    {"SETTINGS", "Settings", "No", "no"},
    {"Consumers", "consumers", "0", "0"},
    {"Consumers", "consumers", "1", "1"},
    {"Consumers", "consumers", "200", "200"},
    {"ConsumersInterval", "consumers-interval", "1", "1"},
    {"ConsumersInterval", "consumers-interval", "3600", "3600"},
    {"ConsumersExclude", "consumers-exclude", "vm", "0x1"},
    {"ConsumersExclude", "consumers-exclude", "container", "0x2"},
    {"ConsumersExclude", "consumers-exclude", "service", "0x4"},
    {"ConsumersExclude", "consumers-exclude", "program", "0x8"},
    {"ConsumersExclude", "consumers-exclude", "vm,program", "0x9"},
    {"ConsumersExclude", "consumers-exclude", "program,vm", "0x9"},
    {"ConsumersExclude", "consumers-exclude", "vm,vm", "0x1"},
    {"ConsumersExclude", "consumers-exclude", "vm,container,service,program", "0xf"},
    {"ConsumersExclude", "consumers-exclude", "none", "0"},
};

static const char *key_of(enum ksm_host host, const char *key, const char *word) {
    return host == KSM_COLLECTD ? key : word;
}

TEST_TIMES(good_values, 2 * ROWS(good_rows)) {
    const struct good *row = &good_rows[_i / 2];
    enum ksm_host host = _i % 2 == 0 ? KSM_COLLECTD : KSM_NETDATA;
    const char *key = key_of(host, row->key, row->word);
    int status = ksm_options_set(&options, host, key, row->value, message, sizeof(message));

    ck_assert_msg(status == 0, "%s \"%s\": got %s, want 0 (%s)", key, row->value,
                  suite_status(status), message);
    ck_assert_msg(strcmp(text_of(row->key), row->want) == 0, "%s \"%s\": got \"%s\", want \"%s\"",
                  key, row->value, text_of(row->key), row->want);
}

#define FLAGS "yes or no"
#define COUNTS "a whole number from 0 to 200"
#define INTERVALS "a whole number from 1 to 3600"
#define KINDS "vm,container,service,program"

static const struct bad {
    const char *key;
    const char *word;
    const char *value;
    const char *allowed; /* what the message must say */
} bad_rows[] = {
    {"Root", "root", "", "a directory"},
    {"Settings", "settings", "", FLAGS},
    {"Settings", "settings", "maybe", FLAGS},
    {"Settings", "settings", "yess", FLAGS},
    {"Settings", "settings", "y", FLAGS},
    {"Settings", "settings", " yes", FLAGS},
    {"Settings", "settings", "1", FLAGS},
    {"Settings", "settings", "0", FLAGS},
    {"Consumers", "consumers", "", COUNTS},
    {"Consumers", "consumers", "-1", COUNTS},
    {"Consumers", "consumers", "201", COUNTS},
    {"Consumers", "consumers", "+5", COUNTS},
    {"Consumers", "consumers", "05", COUNTS},
    {"Consumers", "consumers", " 5", COUNTS},
    {"Consumers", "consumers", "5 ", COUNTS},
    {"Consumers", "consumers", "5.5", COUNTS},
    {"Consumers", "consumers", "1e2", COUNTS},
    {"Consumers", "consumers", "0x10", COUNTS},
    {"Consumers", "consumers", "yes", COUNTS},
    {"Consumers", "consumers", "4294967297", COUNTS},
    {"Consumers", "consumers", "18446744073709551617", COUNTS},
    {"ConsumersInterval", "consumers-interval", "0", INTERVALS},
    {"ConsumersInterval", "consumers-interval", "3601", INTERVALS},
    {"ConsumersInterval", "consumers-interval", "10s", INTERVALS},
    {"ConsumersInterval", "consumers-interval", "0.5", INTERVALS},
    {"ConsumersExclude", "consumers-exclude", "", KINDS},
    {"ConsumersExclude", "consumers-exclude", "vms", KINDS},
    {"ConsumersExclude", "consumers-exclude", "v", KINDS},
    {"ConsumersExclude", "consumers-exclude", ",", KINDS},
    {"ConsumersExclude", "consumers-exclude", "vm,", KINDS},
    {"ConsumersExclude", "consumers-exclude", ",vm", KINDS},
    {"ConsumersExclude", "consumers-exclude", "vm, program", KINDS},
    {"ConsumersExclude", "consumers-exclude", "vm program", KINDS},
    {"ConsumersExclude", "consumers-exclude", "vm,none", KINDS},
    {"ConsumersExclude", "consumers-exclude", "all", KINDS},
};

static void expect_message(const char *word) {
    ck_assert_msg(strstr(message, word), "message \"%s\": does not say \"%s\"", message, word);
    ck_assert_msg(!strchr(message, '\n'), "message \"%s\": more than a line", message);
}

TEST_TIMES(bad_values, 2 * ROWS(bad_rows)) {
    const struct bad *row = &bad_rows[_i / 2];
    enum ksm_host host = _i % 2 == 0 ? KSM_COLLECTD : KSM_NETDATA;
    const char *key = key_of(host, row->key, row->word);
    struct ksm_options before = options;
    char quoted[64];
    int status = ksm_options_set(&options, host, key, row->value, message, sizeof(message));

    ck_assert_msg(status == -EINVAL, "%s \"%s\": got %s, want -EINVAL", key, row->value,
                  suite_status(status));
    ck_assert_msg(memcmp(&options, &before, sizeof(options)) == 0, "%s \"%s\": changed something",
                  key, row->value);
    snprintf(quoted, sizeof(quoted), "\"%s\"", row->value);
    expect_message(key);
    expect_message(quoted);
    expect_message(row->allowed);
    if (host == KSM_NETDATA)
        expect_message("--");
}

TEST(unknown_keys) {
    static const struct {
        enum ksm_host host;
        const char *key;
    } rows[] = {
        {KSM_COLLECTD, "Roots"},
        {KSM_COLLECTD, "Roo"},
        {KSM_COLLECTD, ""},
        {KSM_COLLECTD, "consumers-interval"},
        {KSM_COLLECTD, "Interval"},
        {KSM_COLLECTD, "--root"},
        {KSM_NETDATA, "ConsumersInterval"},
        {KSM_NETDATA, "consumers_interval"},
        {KSM_NETDATA, ""},
        {KSM_NETDATA, "-root"},
        {KSM_NETDATA, "rooted"},
        {KSM_NETDATA, "%s%n"},
    };
    struct ksm_options before = options;
    struct ksm_option_text option;

    for (int i = 0; i < ROWS(rows); i++) {
        enum ksm_host host = rows[i].host;
        int status = ksm_options_set(&options, host, rows[i].key, "7", message, sizeof(message));
        ck_assert_msg(status == -ENOENT, "\"%s\": got %s, want -ENOENT", rows[i].key,
                      suite_status(status));
        ck_assert_msg(memcmp(&options, &before, sizeof(options)) == 0, "\"%s\": changed something",
                      rows[i].key);
        expect_message(rows[i].key);
        expect_message("\"7\"");
        for (size_t at = 0; ksm_options_text(at, &option) == 0; at++)
            if (host == KSM_NETDATA || option.key)
                expect_message(host == KSM_COLLECTD ? option.key : option.word);
    }
}

/* What one host alone has is unknown to the other, and not named there either. */
TEST(of_one_host_alone) {
    static const struct {
        const char *value;
        int status;
        int want;
    } rows[] = {
        {"members", 0, KSM_ACCESS_MEMBERS},   {"any", 0, KSM_ACCESS_ANY},
        {"", -EINVAL, KSM_ACCESS_MEMBERS},    {"Any", -EINVAL, KSM_ACCESS_MEMBERS},
        {"an", -EINVAL, KSM_ACCESS_MEMBERS},  {"anybody", -EINVAL, KSM_ACCESS_MEMBERS},
        {"or", -EINVAL, KSM_ACCESS_MEMBERS},  {"members or any", -EINVAL, KSM_ACCESS_MEMBERS},
        {"0x13", -EINVAL, KSM_ACCESS_MEMBERS}};
    static const char *const keys[] = {"FunctionAccess", "function-access", "function_access"};

    for (int i = 0; i < ROWS(rows); i++) {
        ksm_options_init(&options);
        int status = ksm_options_set(&options, KSM_NETDATA, "function-access", rows[i].value,
                                     message, sizeof(message));
        ck_assert_msg(status == rows[i].status && options.function_access == rows[i].want,
                      "\"%s\": got %s and %d", rows[i].value, suite_status(status),
                      options.function_access);
        if (status != 0)
            expect_message("members or any");
    }
    for (int i = 0; i < ROWS(keys); i++) {
        ck_assert_int_eq(
            ksm_options_set(&options, KSM_COLLECTD, keys[i], "any", message, sizeof(message)),
            -ENOENT);
        expect_message("there are Root, Consumers, ConsumersInterval, ConsumersExclude, Settings");
    }
}

/* Paths up to the system's limit, and no further. */
TEST(long_roots) {
    static char root[PATH_MAX + 100];

    for (size_t len = PATH_MAX - 2; len <= PATH_MAX + 1; len++) {
        memset(root, 'a', len);
        root[len] = '\0';
        ksm_options_init(&options);
        int want = len < PATH_MAX ? 0 : -EINVAL;
        int status =
            ksm_options_set(&options, KSM_COLLECTD, "Root", root, message, sizeof(message));
        ck_assert_msg(status == want, "%zu bytes: got %s, want %s", len, suite_status(status),
                      suite_status(want));
        ck_assert_str_eq(options.root, want == 0 ? root : "/");
    }
}

/* Texts of any length end in messages of one line that fit. */
TEST(long_texts) {
    static char text[10000];
    char small[40];

    memset(text, 'a', sizeof(text) - 1);
    ck_assert_int_eq(ksm_options_set(&options, KSM_NETDATA, text, text, message, sizeof(message)),
                     -ENOENT);
    expect_message("consumers-exclude");
    ck_assert_int_eq(
        ksm_options_set(&options, KSM_NETDATA, "settings", text, message, sizeof(message)),
        -EINVAL);
    expect_message(FLAGS);
    memset(small, 0x5a, sizeof(small));
    ck_assert_int_eq(ksm_options_set(&options, KSM_NETDATA, text, text, small, 32), -ENOENT);
    ck_assert_uint_lt(strnlen(small, 32), 32);
    ck_assert_int_eq(small[32], 0x5a);
}

/* The last word counts; a bad one in between changes nothing. */
TEST(again) {
    ck_assert_int_eq(
        ksm_options_set(&options, KSM_COLLECTD, "Consumers", "5", message, sizeof(message)), 0);
    ck_assert_int_eq(
        ksm_options_set(&options, KSM_COLLECTD, "Consumers", "x", message, sizeof(message)),
        -EINVAL);
    ck_assert_int_eq(options.consumers, 5);
    ck_assert_int_eq(
        ksm_options_set(&options, KSM_COLLECTD, "Consumers", "6", message, sizeof(message)), 0);
    ck_assert_int_eq(options.consumers, 6);
}

/* What the documentation says of each option holds. */
TEST(documentation) {
    struct ksm_option_text option;
    size_t i = 0;

    for (; ksm_options_text(i, &option) == 0; i++) {
        enum ksm_host host = option.key ? KSM_COLLECTD : KSM_NETDATA;
        const char *key = option.key ? option.key : option.word;
        ck_assert_msg(*key && *option.word && *option.help && *option.allowed,
                      "option %zu: something is empty", i);
        ck_assert_msg(!strchr(option.help, '|') && !strchr(option.allowed, '|'),
                      "%s: a bar would break the tables of the documentation", key);
        char before[PATH_MAX];
        snprintf(before, sizeof(before), "%s", text_of(key));
        int status =
            ksm_options_set(&options, host, key, option.standard, message, sizeof(message));
        ck_assert_msg(status == 0 && strcmp(before, text_of(key)) == 0,
                      "%s: its default is not \"%s\" (%s)", key, option.standard, message);
    }
    ck_assert_uint_gt(i, 0);
    ck_assert_int_eq(ksm_options_text(i, &option), -ENOENT);
}
