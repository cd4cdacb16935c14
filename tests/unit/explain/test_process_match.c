/* SPDX-License-Identifier: MIT
 *
 * Which processes a word of the command line names.
 */
#include <stdio.h>
#include <string.h>

#include "explain/process_match.h"
#include "support/suite.h"

enum { MAX_WORDS = 3 };
typedef char word_text[24];

static const struct process_names processes[] = {
    {10, {KSM_CONSUMER_vm, "web"}, "qemu-system-x86", "qemu-system-x86_64"},
    {11, {KSM_CONSUMER_vm, "db"}, "qemu-system-x86", "qemu-system-x86_64"},
    {12, {KSM_CONSUMER_container, "web"}, "nginx", "nginx: worker"},
    {13, {KSM_CONSUMER_service, "java"}, "java", "java"},
    {14, {KSM_CONSUMER_program, "javaws"}, "javaws", "javaws"},
    {15, {KSM_CONSUMER_program, "7"}, "7", "7"},
    {16, {KSM_CONSUMER_program, "a_b~7d192b06"}, "a\033b", "a\033b"},
    {17, {KSM_CONSUMER_service, "vm:db"}, "sleep", ""},
    {18, {KSM_CONSUMER_program, "Web_Content~4d65cf77"}, "Web Content", "firefox-esr"},
};

static struct process_match match;

static void add_all(const word_text *texts, size_t count) {
    static word_text copies[MAX_WORDS];
    static char *words[MAX_WORDS];

    for (size_t i = 0; i < count; i++)
        words[i] = strcpy(copies[i], texts[i]);
    ck_assert_int_eq(process_match_init(&match, words, count), 0);
    for (int i = 0; i < ROWS(processes); i++)
        ck_assert_int_eq(process_match_add(&match, &processes[i]), 0);
}

void after_each(void) {
    process_match_close(&match);
}

/* want: the pids. */
static const struct {
    size_t count;
    word_text words[MAX_WORDS];
    const char *want;
    const char *unknown;
} rows[] = {
    {0, {""}, "10 11 12 13 14 15 16 17 18", NULL},

    /* A number is a pid. */
    {1, {"10"}, "10", NULL},
    {1, {"7"}, "", "7"},
    {1, {"program:7"}, "15", NULL},
    {1, {"99999999999999999999"}, "", "99999999999999999999"},

    /* Consumers. */
    {1, {"web"}, "10 12", NULL},
    {1, {"vm:web"}, "10", NULL},
    {1, {"vm web"}, "10", NULL},
    {1, {"container:web"}, "12", NULL},
    {1, {"service:web"}, "", "service:web"},
    {1, {"vm:we"}, "", "vm:we"},
    {1, {"vm:"}, "", "vm:"},
    {1, {"vm:db"}, "11 17", NULL}, /* that of a kind, and one that is called so */
    {1, {"service:vm:db"}, "17", NULL},
    {1, {"a_b~7d192b06"}, "16", NULL},
    {1, {"Web"}, "", "Web"},

    /* Programs: the kernel cuts comm to 15 characters. */
    {1, {"qemu-system-x86_64"}, "10 11", NULL},
    {1, {"qemu-system-x86"}, "10 11", NULL},
    {1, {"nginx"}, "12", NULL},
    {1, {"a\033b"}, "16", NULL},
    {1, {"Web Content"}, "18", NULL},

    /* How a program's name begins, where nothing has that name. */
    {1, {"qemu"}, "10 11", NULL},
    {1, {"qemu-system-x86_"}, "10 11", NULL},
    {1, {"qemu-system-x86_64 "}, "", "qemu-system-x86_64 "},
    {1, {"firefox"}, "18", NULL},
    {1, {"jav"}, "13 14", NULL},
    {1, {"java"}, "13", NULL},
    {1, {"program:jav"}, "", "program:jav"},
    {1, {""}, "", ""},

    /* Several. */
    {2, {"db", "12"}, "11 12", NULL},
    {2, {"web", "vm:web"}, "10 12", NULL},
    {3, {"web", "none", "nil"}, "10 12", "none"},
};

TEST_ROWS(words_name_processes, rows) {
    char got[128] = "";
    size_t len = 0;

    add_all(row->words, row->count);
    for (size_t i = 0; i < (size_t)ROWS(processes); i++)
        if (process_match_is_wanted(&match, i))
            len += (size_t)snprintf(got + len, sizeof(got) - len, "%s%d", len > 0 ? " " : "",
                                    processes[i].pid);
    ck_assert_msg(strcmp(got, row->want) == 0, "%s: got %s, want %s", row->words[0], got,
                  row->want);
    ck_assert_pstr_eq(process_match_unknown(&match), row->unknown);
}

static const struct {
    size_t count;
    word_text words[MAX_WORDS];
    bool want;
} by_pid[] = {
    {0, {""}, false},       {1, {"1"}, true}, {2, {"1", "22"}, true},
    {2, {"1", "a"}, false}, {1, {""}, false},
};

TEST_ROWS(only_pids_need_no_names, by_pid) {
    add_all(row->words, row->count);
    ck_assert_int_eq(process_match_is_by_pid(&match), row->want);
}

#define NOT_CALLED "no process, consumer or program is called "
#define KINDS "; kinds of consumers: vm, container, service, program"
static const struct {
    const char *word, *want;
} unknown[] = {
    {"wbe", NOT_CALLED "\"wbe\"; similar names: vm:web, vm:db, container:web"},
    {"vm:wbe", NOT_CALLED "\"vm:wbe\"; similar names: vm:web, vm:db"},
    {"WEB", NOT_CALLED "\"WEB\"; similar names: vm:web, container:web, Web_Content~4d65cf77"},
    {"qemu-system-x86_46",
     NOT_CALLED "\"qemu-system-x86_46\"; similar names: qemu-system-x86_64, qemu-system-x86"},
    {"x86_64", NOT_CALLED "\"x86_64\"; similar names: qemu-system-x86_64"},
    {"javva", NOT_CALLED "\"javva\"; similar names: service:java, java"},
    /* A name with such bytes is not shown. */
    {"\033b", NOT_CALLED "\"\033b\"; similar names: vm:db"},
    {"", NOT_CALLED "\"\""},
    {"something-else", NOT_CALLED "\"something-else\""},
    {"postgresql-with-a-name-that-is-longer-than-what-is-compared-with-other-names-here",
     NOT_CALLED "\"postgresql-with-a-name-that-is-longer-than-what-is-compared-with-other-names-"
                "here\""},
    /* A number is a PID. */
    {"99", "no process with memory of its own has the PID 99"},
    {"999999", "no process with memory of its own has the PID 999999"},
    {"99999999999999999999", NOT_CALLED "\"99999999999999999999\""},
    /* What is before a colon is a kind, or part of a name. */
    {"vms:web-server", NOT_CALLED "\"vms:web-server\"" KINDS},
    {"vm:", NOT_CALLED "\"vm:\""},
    {"container:db", NOT_CALLED "\"container:db\""},
    {"vm:other", NOT_CALLED "\"vm:other\""},
    {"service:vm:dp", NOT_CALLED "\"service:vm:dp\"; similar names: service:vm:db"},
};

TEST_ROWS(word_that_names_no_process_is_explained, unknown) {
    char buf[512], short_buf[8];

    add_all(NULL, 0);
    process_match_why_unknown(&match, row->word, buf, sizeof(buf));
    ck_assert_str_eq(buf, row->want);
    process_match_why_unknown(&match, row->word, short_buf, sizeof(short_buf));
    ck_assert(strncmp(short_buf, row->want, sizeof(short_buf) - 1) == 0);
}
