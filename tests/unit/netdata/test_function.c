/* SPDX-License-Identifier: MIT
 *
 * The table ksm:consumers: its registration, and the answer to each kind of request.
 * tests/e2e/test_function.py checks that an agent accepts the JSON.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "function.h"
#include "function_table.h"
#include "support/suite.h"

enum { MIB = 1048576, PAGE = 4096, MOST = FUNCTION_TABLE_ROWS + 300, ROOM = 4 * 1024 * 1024 };

static struct ksm_consumer_table table;
static struct ksm_consumer list[MOST];
static struct request request;
static struct out out;
static char sent[ROOM];

void before_each(void) {
    int fd = memfd_create("lines", MFD_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    out_init(&out, fd);
    table = (struct ksm_consumer_table){.list = list,
                                        .valid = true,
                                        .has_zero_pages = true,
                                        .has_rmap_items = true,
                                        .enabled = true,
                                        .page_size = PAGE,
                                        .interval = 10000};
    request = (struct request){.id = "id-1", .function = "ksm:consumers"};
}

static void take_sent(void) {
    ck_assert_int_eq(out_flush(&out), 0);
    ssize_t n = pread(out.fd, sent, sizeof(sent) - 1, 0);
    ck_assert_msg(n >= 0 && n < ROOM - 1, "got %zd bytes", n);
    sent[n] = '\0';
    ck_assert_int_eq(ftruncate(out.fd, 0), 0);
    ck_assert_int_eq(lseek(out.fd, 0, SEEK_SET), 0);
}

static void answer(void) {
    function_answer(&table, &request, 1700000000, &out);
    take_sent();
}

static void expect(const char *text) {
    ck_assert_msg(strstr(sent, text), "got\n%.3000s\nwant in it\n%s", sent, text);
}

static void expect_not(const char *text) {
    ck_assert_msg(!strstr(sent, text), "got\n%.3000s\nwant without\n%s", sent, text);
}

static struct ksm_consumer *add(enum ksm_consumer_kind kind, const char *name) {
    struct ksm_consumer *consumer = &list[table.count++];

    *consumer = (struct ksm_consumer){.name.kind = kind, .processes = 1};
    snprintf(consumer->name.text, sizeof(consumer->name.text), "%s", name);
    return consumer;
}

/* ---- registration ---- */

TEST(function_is_registered_with_its_access) {
    static const struct {
        enum ksm_function_access access;
        const char *words;
    } rows[] = {{KSM_ACCESS_MEMBERS, " \"top\" 0x13 100\n"},
                {KSM_ACCESS_ANY, " \"top\" 0x8 100\n"}};

    for (int i = 0; i < ROWS(rows); i++) {
        function_offer(&table, rows[i].access, &out);
        take_sent();
        ck_assert_msg(strncmp(sent, "FUNCTION GLOBAL \"ksm:consumers\" 10 \"Savings by", 46) == 0,
                      "got %s", sent);
        ck_assert_str_eq(strstr(sent, " \"top\""), rows[i].words);
    }
}

TEST(function_is_not_registered_without_consumers) {
    table.enabled = false;
    function_offer(&table, KSM_ACCESS_ANY, &out);
    take_sent();
    ck_assert_str_eq(sent, "");
}

/* ---- which answer ---- */

static void fail_table(void) {
    table.valid = false;
    table.faults[KSM_CONSUMERS_FAILED] = true;
}

static void have_no_table(void) {
    table.valid = false;
}

static void show_none(void) {
    table.enabled = false;
}

static void know_nothing(void) {
    table.enabled = false;
}

static const struct {
    const char *function;
    const char *error;
    void (*prepare)(void);
    int status;
    const char *answer;
} answers[] = {
    {"ksm:consumers", NULL, NULL, 200, "\"data\":["},
    {"ksm:consumers ", NULL, NULL, 200, "\"data\":["},
    {"ksm:consumers after:-600 before:0 \"x\"", NULL, NULL, 200, "\"data\":["},
    {"ksm:consumers information", NULL, NULL, 200, "\"data\":["},
    {"ksm:consumers xinfo", NULL, NULL, 200, "\"data\":["},
    {"ksm:consumers info", NULL, NULL, 200, "\"accepted_params\":[]"},
    {"ksm:consumers  info after:-600", NULL, NULL, 200, "\"accepted_params\":[]"},
    {"ksm:consumers after:-600 info", NULL, NULL, 200, "\"accepted_params\":[]"},
    {"ksm:consumers info", NULL, have_no_table, 200, "\"accepted_params\":[]"},
    {"ksm:consumers", NULL, have_no_table, 503, "try again later"},
    {"ksm:consumers", NULL, fail_table, 503, "log"},
    {"ksm:consumers", NULL, show_none, 404, "no such function"},
    {"ksm:consumers info", NULL, know_nothing, 404, "no such function"},
    {"ksm:consumer", NULL, NULL, 404, "no such function"},
    {"ksm:consumersx", NULL, NULL, 404, "no such function"},
    {"KSM:consumers", NULL, NULL, 404, "no such function"},
    {" ksm:consumers", NULL, NULL, 404, "no such function"},
    {"info", NULL, NULL, 404, "no such function"},
    {"config ksm:consumers schema", NULL, NULL, 404, "no such function"},
    {"\"}\nFUNCTION_RESULT_END\n", NULL, NULL, 404, "no such function"},
    {"", "the request names no function", NULL, 400, "the request names no function"},
    {"ksm:consumers", "\"quotes\"", have_no_table, 400, "\\u0022quotes\\u0022"},
};

TEST_ROWS(request_gets_the_table_or_an_error, answers) {
    char begin[128];
    const char *function = row->function;

    snprintf(request.function, sizeof(request.function), "%s", function);
    request.error = row->error;
    if (row->prepare)
        row->prepare();
    answer();
    snprintf(begin, sizeof(begin),
             "FUNCTION_RESULT_BEGIN id-1 %d application/json %d\n{\"status\":%d,", row->status,
             row->status == 200 ? 1700000010 : 0, row->status);
    ck_assert_msg(strncmp(sent, begin, strlen(begin)) == 0, "%s: got %.300s, want %s", function,
                  sent, begin);
    expect(row->answer);
    const char *end = strstr(sent, "}\nFUNCTION_RESULT_END\n");
    ck_assert_msg(end && strlen(end) == strlen("}\nFUNCTION_RESULT_END\n"), "%s: got %s", function,
                  sent);
    if (row->status != 200) {
        expect("\"errorMessage\":\"");
        expect("\"error_message\":\"");
    }
    if (strstr(function, " info"))
        strstr(function, "information") ? expect("\"columns\":") : expect_not("\"columns\":");
}

/* ---- rows ---- */

static void web_01(struct ksm_consumer *one) {
    *one = (struct ksm_consumer){.name = one->name,
                                 .saved = 3 * MIB,
                                 .real = 7 * MIB,
                                 .resident = 9 * MIB / PAGE,
                                 .merging = 2 * MIB / PAGE,
                                 .zero = 1,
                                 .growth = -64000, /* 64 pages a second less */
                                 .rmap_items = 16384,
                                 .processes = 2,
                                 .by_prctl = true,
                                 .by_madvise = true,
                                 .shown = true};
}

TEST(row_has_all_values_of_a_consumer) {
    web_01(add(KSM_CONSUMER_vm, "web-01"));
    table.unattributed = MIB / 2;
    answer();
    expect(
        "\"data\":[\n"
        "[\"vm/"
        "web-01\",\"vm\",\"web-01\",2,3,7,9,2,0.00390625,1,-0.25,\"itself\",\"both\",3.131],\n"
        "[\"unattributed/unattributed\",\"unattributed\",\"unattributed\",null,0.5,null,null,null,"
        "null,null,null,null,null,null]],\n");
    expect("\"max\":9}");
    expect("\"update_every\":10,\"expires\":1700000010,\n");
}

TEST(empty_table_has_no_rows) {
    answer();
    expect("\"data\":[\n],\n");
    expect("\"max\":0}");
    table.unattributed = 4096;
    answer();
    expect("\"data\":[\n[\"unattributed/unattributed\",");
    expect("\"max\":0.00390625}");
}

TEST(unknown_value_is_null) {
    struct ksm_consumer *one = add(KSM_CONSUMER_program, "x");
    answer();
    expect("[\"program/x\",\"program\",\"x\",1,0,0,0,0,0,0,0,\"user 0\",null,null]");
    static const char *const without[] = {
        "[\"program/x\",\"program\",\"x\",2,3,null,null,2,0.00390625,1,-0.25,\"user "
        "0\",\"both\",3.131]",
        "[\"program/x\",\"program\",\"x\",2,3,7,9,2,null,1,-0.25,\"user 0\",\"both\",3.125]",
        "[\"program/x\",\"program\",\"x\",2,3,7,9,2,0.00390625,null,-0.25,\"user "
        "0\",\"both\",null]",
        "[\"program/x\",\"program\",\"x\",2,3,7,null,null,null,null,null,\"user 0\",\"both\",null]",
        "[\"program/x\",\"program\",\"x\",2,3,7,9,2,0.00390625,1,null,\"user 0\",\"both\",3.131]",
        "[\"program/x\",\"program\",\"x\",2,3,7,9,2,0.00390625,1,0.00390625,\"user "
        "0\",\"both\",3.131]",
    };

    for (int i = 0; i < ROWS(without); i++) {
        web_01(one);
        table.has_zero_pages = i != 1;
        table.has_rmap_items = i != 2;
        if (i == 0)
            one->real = one->resident = -1;
        if (i == 3) /* more than there can be */
            one->resident = one->merging = one->zero = one->rmap_items = one->growth = INT64_MAX;
        if (i >= 4)
            one->growth = i == 4 ? KSM_GROWTH_UNKNOWN : 1000;
        answer();
        expect(without[i]);
    }
}

TEST(json_is_valid_with_any_name) {
    add(KSM_CONSUMER_container, "\"],[\"\\\n\x1b\xff");
    answer();
    expect("[\"container/\\u0022],[\\u0022\\u005c\\u000a\\u001b\\ufffd\",\"container\","
           "\"\\u0022],[\\u0022\\u005c\\u000a\\u001b\\ufffd\",1,");
}

/* ---- as many as there are ---- */

static int rows_sent(void) {
    int count = 0;

    for (const char *at = strstr(sent, "\"data\":[\n"); (at = strstr(at, "\n[")); at++)
        count++;
    return count;
}

/* With one consumer too many, one that is not shown counts as other. */
TEST_TIMES(consumers_without_room_are_in_other, 4) {
    static const size_t counts[] = {FUNCTION_TABLE_ROWS - 1, FUNCTION_TABLE_ROWS,
                                    FUNCTION_TABLE_ROWS + 1, MOST};
    size_t count = counts[_i];
    char name[32], want[192];

    for (size_t i = 0; i < count; i++) {
        snprintf(name, sizeof(name), "n%05zu", i);
        struct ksm_consumer *one = add(KSM_CONSUMER_program, name);
        one->saved = one->real = MIB;
        one->merging = one->rmap_items = MIB / PAGE;
        one->shown = i + 20 >= count;
    }
    answer();
    size_t beyond = count > FUNCTION_TABLE_ROWS ? count - FUNCTION_TABLE_ROWS : 0;
    ck_assert_int_eq(rows_sent(), (int)(count - beyond) + (beyond > 0 ? 1 : 0));
    for (size_t i = count - 20; i < count; i++) {
        snprintf(want, sizeof(want), "\n[\"program/n%05zu\",", i);
        expect(want);
    }
    expect(",1,0,0.015625,0,\"user 0\",null,100.000]");
    snprintf(want, sizeof(want),
             "\n[\"other/other\",\"other\",\"other\",%zu,%zu,%zu,0,%zu,0,%g,0,null,null,null]",
             beyond, beyond, beyond, beyond, (double)beyond / 64);
    if (beyond > 0)
        expect(want), expect("too many to list");
    else
        expect_not("\"other\""), expect_not("too many to list");
}

/* An agent accepts 10 MB, and lines of 15 kB. */
TEST(largest_table_fits) {
    char name[KSM_CONSUMER_NAME_SIZE];
    size_t longest = 0;

    memset(name, '\x01', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    while (table.count < MOST) {
        struct ksm_consumer *one = add(KSM_CONSUMER_container, name);
        one->saved = one->real = one->processes = INT64_MAX;
        one->resident = one->merging = one->zero = INT64_MAX / PAGE;
        one->rmap_items = INT64_MAX / 64;
    }
    function_answer(&table, &request, 1700000000, &out);
    ck_assert_int_eq(out_flush(&out), 0);
    int64_t size = lseek(out.fd, 0, SEEK_END);
    ck_assert_msg(size < 10 * MIB, "got %" PRId64 " bytes", size);
    size_t n = (size_t)pread(out.fd, sent, sizeof(sent) - 1, 0);
    sent[n] = '\0';
    for (const char *at = sent; (size_t)(at - sent) < n; at++) {
        size_t len = strcspn(at, "\n");
        longest = len > longest ? len : longest;
        at += len;
    }
    ck_assert_msg(longest < 2048, "a line of %zu bytes", longest);
}
