/* SPDX-License-Identifier: MIT
 *
 * The lines that send the savings by consumer to Netdata: literally, and as parsed by a strict
 * reader.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "consumer_charts.h"
#include "support/protocol.h"
#include "support/suite.h"

enum { MIB = 1048576, MOST = 300, ROOM = 1024 * 1024 };

static struct consumer_charts charts;
static struct protocol agent;
static struct out out;
static struct ksm_consumer list[MOST];
static struct ksm_consumer_table table;
static char sent[ROOM]; /* the lines of the last sample */
static size_t sent_len;

void before_each(void) {
    int fd = memfd_create("lines", MFD_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    out_init(&out, fd);
    consumer_charts_init(&charts, 10, 0);
    memset(&agent, 0, sizeof(agent));
    table = (struct ksm_consumer_table){
        .list = list, .valid = true, .owners = -1, .other.name.text = "other"};
}

/* Sends a sample into sent. */
static void write_table(const char *when) {
    ck_assert_int_eq(ftruncate(out.fd, 0), 0);
    ck_assert_int_eq(lseek(out.fd, 0, SEEK_SET), 0);
    consumer_charts_send(&charts, &table, &out);
    ck_assert_int_eq(out_flush(&out), 0);
    ssize_t n = pread(out.fd, sent, sizeof(sent) - 1, 0);
    ck_assert_msg(n >= 0 && n < ROOM - 1, "%s: got %zd bytes", when, n);
    sent_len = (size_t)n;
    sent[n] = '\0';
}

/* Sends a sample; the agent takes every line of it. */
static void send_table(const char *when) {
    write_table(when);
    ck_assert_msg(protocol_read(&agent, sent, sent_len) == 0, "%s: %s", when, agent.error);
    ck_assert_msg(!agent.setting, "%s: a BEGIN without END", when);
}

static struct ksm_consumer consumer(enum ksm_consumer_kind kind, const char *name, int64_t saved,
                                    int64_t real) {
    struct ksm_consumer one = {
        .name.kind = kind, .saved = saved, .real = real, .processes = 1, .shown = true};

    ck_assert(strlen(name) < sizeof(one.name.text));
    memcpy(one.name.text, name, strlen(name) + 1);
    return one;
}

static bool has(const char *lines) {
    const char *at = strstr(sent, lines);

    return at && (at == sent || at[-1] == '\n');
}

static void expect(const char *when, const char *lines) {
    ck_assert_msg(has(lines), "%s: got\n%.2000s\nwant in it\n%s", when, sent, lines);
}

/* The values that the agent has of a chart after a sample; -1: none was sent. */
static void expect_values(const char *when, const char *id, int64_t real, int64_t saved) {
    struct protocol_chart *chart = protocol_chart(&agent, id);
    ck_assert_msg(chart, "%s: no chart %s", when, id);
    struct protocol_dimension *r = protocol_dimension(chart, "real");
    struct protocol_dimension *s = protocol_dimension(chart, "saved");
    ck_assert_msg(chart->count == 2 && r && s, "%s: %s: got %d dimensions, want real and saved",
                  when, id, chart->count);
    ck_assert_msg(r->set == (real >= 0) && (!r->set || r->value == real),
                  "%s: %s: got real %s %" PRId64 ", want %" PRId64, when, id,
                  r->set ? "set to" : "not set,", r->value, real);
    ck_assert_msg(s->set && s->value == saved, "%s: %s: got saved %" PRId64 ", want %" PRId64, when,
                  id, s->value, saved);
}

/* The agent removes a chart that has been obsolete for some time. */
static void forget(const char *id) {
    struct protocol_chart *chart = protocol_chart(&agent, id);

    ck_assert_msg(chart, "no chart %s", id);
    *chart = agent.charts[--agent.count];
    memset(&agent.charts[agent.count], 0, sizeof(*chart));
    agent.drawing = agent.setting = NULL;
}

static int begun(const char *id) {
    struct protocol_chart *chart = protocol_chart(&agent, id);

    return chart ? chart->begun : 0;
}

/* ---- a few ---- */

#define SUM_CHART                                                                                  \
    "CHART ksm.consumers '' 'Memory saved, by kind of consumer' 'MiB' 'savings by consumer' "      \
    "ksm.consumers "                                                                               \
    "stacked 1393 10 '' ksm.plugin ksm\n"                                                          \
    "DIMENSION vm '' absolute 1 1048576\n"                                                         \
    "DIMENSION container '' absolute 1 1048576\n"                                                  \
    "DIMENSION service '' absolute 1 1048576\n"                                                    \
    "DIMENSION program '' absolute 1 1048576\n"                                                    \
    "DIMENSION unattributed '' absolute 1 1048576\n"
#define NAMED_LINE(kind, name, chart_name, place, options)                                         \
    "CHART ksm.consumer_" kind "_" name " " chart_name " 'Memory of a consumer: used (real) and "  \
    "saved (saved)' 'MiB' 'savings by consumer' ksm.consumer_memory stacked " place " 10" options  \
    " ksm.plugin ksm\n"
#define LINE(kind, name, place, options) NAMED_LINE(kind, name, "''", place, options)
#define CHART_LINE(kind, name, options) LINE(kind, name, "1394", options)
#define CHART_OTHER                                                                                \
    LINE("other", "other", "1395", " ''")                                                          \
    LABELS_AND_DIMENSIONS("other", "other")
#define OBSOLETE_OTHER LINE("other", "other", "1395", " obsolete")
#define LABELS_AND_DIMENSIONS(kind, name)                                                          \
    "CLABEL kind " kind " 1\nCLABEL name '" name "' 1\nCLABEL_COMMIT\n"                            \
    "DIMENSION real '' absolute 1 1048576\nDIMENSION saved '' absolute 1 1048576\n"
#define CHART(kind, name) CHART_LINE(kind, name, " ''") LABELS_AND_DIMENSIONS(kind, name)
#define OBSOLETE(kind, name) CHART_LINE(kind, name, " obsolete")
#define GETTY_LINE(options)                                                                        \
    NAMED_LINE("service", "getty@tty1", "consumer_service_getty_tty1_9a3934c7", "1394", options)
#define CHART_GETTY GETTY_LINE(" ''") LABELS_AND_DIMENSIONS("service", "getty@tty1")
#define OBSOLETE_GETTY GETTY_LINE(" obsolete")
#define VALUES(kind, name, values) "BEGIN ksm.consumer_" kind "_" name "\n" values "END\n"
#define SUM_VALUES                                                                                 \
    "BEGIN ksm.consumers\nSET vm = 1\nSET container = 2\nSET service = 3\nSET program = 4\n"       \
    "SET unattributed = 5\nEND\n"

static void two_and_others(void) {
    list[0] = consumer(KSM_CONSUMER_vm, "web-01", 300 * (int64_t)MIB, 700 * (int64_t)MIB);
    list[1] = consumer(KSM_CONSUMER_service, "getty@tty1", 4096, -1);
    list[2] = consumer(KSM_CONSUMER_program, "bash", 7, 8);
    list[2].shown = false;
    table.count = 3;
    table.by_kind[KSM_CONSUMER_vm] = 1;
    table.by_kind[KSM_CONSUMER_container] = 2;
    table.by_kind[KSM_CONSUMER_service] = 3;
    table.by_kind[KSM_CONSUMER_program] = 4;
    table.unattributed = 5;
    table.other.saved = 7;
    table.other.real = 8;
    table.other.processes = 1;
}

/* A sample is sent as these lines, and no other. */
static void expect_sent(const char *when, const char *want) {
    send_table(when);
    ck_assert_msg(strcmp(sent, want) == 0, "%s: got\n%s\nwant\n%s", when, sent, want);
}

#define WEB VALUES("vm", "web-01", "SET real = 734003200\nSET saved = 314572800\n")
#define GETTY VALUES("service", "getty@tty1", "SET saved = 4096\n")
#define BASH VALUES("program", "bash", "SET real = 8\nSET saved = 7\n")
#define OTHER VALUES("other", "other", "SET real = 8\nSET saved = 7\n")

/* They are sent as new, and then again. */
static void begin_with_two_and_others(void) {
    two_and_others();
    expect_sent("first",
                SUM_CHART SUM_VALUES CHART("vm", "web-01") WEB CHART_GETTY GETTY CHART_OTHER OTHER);
    expect_sent("second", SUM_VALUES WEB GETTY OTHER);
}

static const struct {
    int64_t real, saved;
} value_rows[] = {
    {0, 0},          {-1, 0},        {1, 2},         {-1, 7},
    {5, 7},          {INT64_MAX, 9}, {9, INT64_MAX}, {INT64_MAX, INT64_MAX},
    {-1, INT64_MAX}, {0, 1},
};

TEST(values_are_sent_unchanged) {
    table.count = 1;
    for (int i = 0; i < ROWS(value_rows); i++) {
        list[0] = consumer(KSM_CONSUMER_container, "x", value_rows[i].saved, value_rows[i].real);
        send_table("values");
        expect_values("values", "ksm.consumer_container_x", value_rows[i].real,
                      value_rows[i].saved);
    }
    ck_assert_int_eq(protocol_chart(&agent, "ksm.consumer_container_x")->drawn, 1);
}

TEST(owners_have_a_chart_while_they_are_known) {
    static const char chart[] = "CHART ksm.owners ''",
                      values[] = "BEGIN ksm.owners\nSET owners = 3\nEND\n";

    send_table("not known");
    ck_assert_ptr_null(strstr(sent, "ksm.owners"));
    table.owners = 3;
    send_table("first");
    ck_assert(strstr(sent, chart) && strstr(sent, values));
    send_table("second");
    ck_assert(!strstr(sent, chart) && strstr(sent, values));
}

/* It is not 0: its savings are not known. */
TEST_TIMES(excluded_kind_has_no_dimension, 1 << KSM_CONSUMER_KIND_COUNT) {
    const unsigned excluded = (unsigned)_i;

    two_and_others();
    consumer_charts_init(&charts, 10, excluded);
    for (int sample = 0; sample < 2; sample++) {
        send_table("left out");
        struct protocol_chart *sum = protocol_chart(&agent, "ksm.consumers");
        ck_assert(sum && protocol_dimension(sum, "unattributed")->set);
        for (int kind = 0; kind < KSM_CONSUMER_KIND_COUNT; kind++) {
            struct protocol_dimension *d = protocol_dimension(sum, ksm_consumer_kinds[kind]);
            ck_assert_msg((d && d->set) == !(excluded & 1U << kind), "%#x: %s: got %s", excluded,
                          ksm_consumer_kinds[kind], d ? "a dimension" : "none");
        }
    }
}

TEST(charts_have_the_interval_of_consumers) {
    two_and_others();
    consumer_charts_init(&charts, 3600, 0);
    send_table("hourly");
    for (int i = 0; i < agent.count; i++)
        ck_assert_int_eq(agent.charts[i].update_every, 3600);
}

TEST(invalid_table_is_a_gap_and_changes_no_chart) {
    two_and_others();
    table.valid = false;
    send_table("invalid at first");
    ck_assert_int_eq((int)sent_len, 0);
    table.valid = true;
    send_table("valid");
    table.valid = false;
    table.count = 0;
    table.other.processes = 0;
    send_table("invalid");
    ck_assert_int_eq((int)sent_len, 0);
    table.valid = true;
    two_and_others();
    send_table("valid again");
    for (int i = 0; i < agent.count; i++)
        ck_assert_msg(agent.charts[i].drawn == 1 && agent.charts[i].begun == 2, "%s",
                      agent.charts[i].id);
}

TEST(empty_table_sends_zero_sums) {
    expect_sent("empty", SUM_CHART "BEGIN ksm.consumers\nSET vm = 0\nSET container = 0\n"
                                   "SET service = 0\nSET program = 0\nSET unattributed = 0\nEND\n");
}

/* ---- charts that appear and become obsolete ---- */

TEST(chart_of_an_ended_consumer_becomes_obsolete) {
    begin_with_two_and_others();
    list[0] = list[1];
    list[1] = list[2];
    table.count = 2;
    expect_sent("the machine has ended", SUM_VALUES OBSOLETE("vm", "web-01") GETTY OTHER);
    expect_sent("later", SUM_VALUES GETTY OTHER);
    forget("ksm.consumer_vm_web-01");
    two_and_others();
    expect_sent("it is back", SUM_VALUES CHART("vm", "web-01") WEB GETTY OTHER);
}

TEST(chart_of_a_displaced_consumer_becomes_obsolete) {
    begin_with_two_and_others();
    list[1].shown = false;
    list[2].shown = true;
    expect_sent("others save more",
                SUM_VALUES OBSOLETE_GETTY WEB CHART("program", "bash") BASH OTHER);
    forget("ksm.consumer_service_getty@tty1");
    list[1].shown = true;
    list[2].shown = false;
    expect_sent("back in the top",
                SUM_VALUES OBSOLETE("program", "bash") WEB CHART_GETTY GETTY OTHER);
}

TEST(chart_of_others_becomes_obsolete_and_returns) {
    begin_with_two_and_others();
    table.count = 2;
    table.other = (struct ksm_consumer){.name.text = "other"};
    expect_sent("all are shown", SUM_VALUES OBSOLETE_OTHER WEB GETTY);
    expect_sent("later", SUM_VALUES WEB GETTY);
    forget("ksm.consumer_other_other");
    two_and_others();
    expect_sent("back", SUM_VALUES WEB GETTY CHART_OTHER OTHER);
}

TEST(all_charts_become_obsolete) {
    begin_with_two_and_others();
    table.count = 0;
    table.other.processes = 0;
    expect_sent("all have ended",
                SUM_VALUES OBSOLETE("vm", "web-01") OBSOLETE_GETTY OBSOLETE_OTHER);
    ck_assert_int_eq((int)charts.count, 0);
}

TEST(consumer_that_is_not_shown_has_no_chart) {
    two_and_others();
    for (size_t i = 0; i < table.count; i++)
        list[i].shown = false;
    expect_sent("none is shown", SUM_CHART SUM_VALUES CHART_OTHER OTHER);
}

/* ---- many ---- */

static void many(int count, const char *prefix, int64_t saved) {
    for (int i = 0; i < count; i++) {
        char name[32];
        snprintf(name, sizeof(name), "%s%03d", prefix, i);
        list[i] = consumer(KSM_CONSUMER_program, name, saved + i, saved);
    }
    table.count = (size_t)count;
    table.other.processes = 1;
}

static void expect_many(const char *when, int count, const char *prefix, int64_t saved) {
    for (int i = 0; i < count; i++) {
        char id[64];
        snprintf(id, sizeof(id), "ksm.consumer_program_%s%03d", prefix, i);
        expect_values(when, id, saved, saved + i);
    }
}

/* All 200 are replaced at once, and the agent of this test has no room for 400 charts: old ones
 * become obsolete before new ones are sent. */
TEST(two_hundred_charts_are_replaced_in_order) {
    enum { SHOWN = CONSUMER_CHARTS - 1 };

    many(SHOWN, "a", 1000);
    send_table("200");
    ck_assert_int_eq(agent.count, 1 + SHOWN + 1);
    expect_many("200", SHOWN, "a", 1000);
    send_table("again");
    ck_assert_int_eq(begun("ksm.consumer_other_other"), 2);
    ck_assert_msg(!strstr(sent, "CHART"), "again: got a chart drawn anew");

    many(SHOWN, "b", 5000);
    write_table("200 others");
    int obsolete = 0;
    const char *last = sent;
    for (const char *at = sent; (at = strstr(at, " obsolete ")); last = at++)
        obsolete++;
    ck_assert_int_eq(obsolete, SHOWN);
    ck_assert_msg(strstr(sent, "CHART ksm.consumer_program_b000") > last, "no room is made");
    ck_assert_int_eq((int)charts.count, CONSUMER_CHARTS);
    for (size_t i = 0; i < charts.count; i++)
        ck_assert_msg(charts.list[i].is_other || charts.list[i].name.text[0] == 'b',
                      "chart %zu is still of %s", i, charts.list[i].name.text);
    memset(&agent, 0, sizeof(agent));
    consumer_charts_init(&charts, 10, 0);
    many(50, "b", 5000);
    send_table("50");
    expect_many("50", 50, "b", 5000);
}

/* More than the option allows. */
TEST(consumers_without_room_are_left_out) {
    many(250, "a", 1000);
    send_table("250");
    ck_assert_int_eq((int)charts.count, CONSUMER_CHARTS);
    ck_assert_int_eq(agent.count, 1 + CONSUMER_CHARTS);
    send_table("again");
    ck_assert_int_eq(agent.count, 1 + CONSUMER_CHARTS);
    for (int i = 0; i < agent.count; i++)
        ck_assert_int_eq(agent.charts[i].begun, 2);
}

/* ---- names ---- */

/* The same name in every kind, and a consumer with the name of the chart of others. */
TEST(equal_names_have_separate_charts) {
    static const char *const names[] = {"other", "vm", "unattributed", "s", "consumers", "_", "-"};
    size_t n = 0;

    for (int kind = 0; kind < KSM_CONSUMER_KIND_COUNT; kind++) {
        for (int i = 0; i < ROWS(names); i++, n++) {
            list[n] =
                consumer((enum ksm_consumer_kind)kind, names[i], (int64_t)(10 + n), (int64_t)n);
        }
    }
    table.count = n;
    table.other.processes = 1;
    table.other.saved = 1;
    send_table("names");
    ck_assert_int_eq(agent.count, (int)n + 2);
    expect_values("names", "ksm.consumer_other_other", 0, 1);
    for (size_t i = 0; i < n; i++) {
        char id[256];
        snprintf(id, sizeof(id), "ksm.consumer_%s_%s", ksm_consumer_kinds[list[i].name.kind],
                 list[i].name.text);
        expect_values("names", id, (int64_t)i, (int64_t)(10 + i));
    }
    /* One of them ends; its namesakes stay. */
    list[0] = list[--table.count];
    send_table("one has ended");
    expect("one has ended", OBSOLETE("vm", "other"));
    expect("one has ended", "BEGIN ksm.consumer_other_other\n");
    expect("one has ended", "BEGIN ksm.consumer_service_other\n");
}

static void expect_labels(const struct ksm_consumer_name *name) {
    char want[512];

    snprintf(want, sizeof(want), "CLABEL kind %s 1\nCLABEL name '%s' 1\nCLABEL_COMMIT\n",
             ksm_consumer_kinds[name->kind], name->text);
    expect("labels", want);
}

TEST(chart_id_keeps_dots_of_a_name) {
    list[0] = consumer(KSM_CONSUMER_vm, "web.example.org", 1, 2);
    table.count = 1;
    write_table("dots");
    expect("dots", CHART("vm", "web.example.org")
                       VALUES("vm", "web.example.org", "SET real = 2\nSET saved = 1\n"));
}

/* Names of charts: as the agent would make them of the id, but without a hash suffix they would be
 * equal, and be numbered in the order of appearance. */
static const struct {
    const char *name, *want;
} name_rows[] = {
    {"a_b", "''"},
    {"web-01.example.org", "''"},
    {"a+b", "consumer_vm_a_b_e25a53dc"},
    {"a:b", "consumer_vm_a_b_e2c18079"},
    {"a@b", "consumer_vm_a_b_e24c936b"},
    {"\u00e9", "consumer_vm____bdda0906"},
    {"\u00e8", "consumer_vm____bdda0a49"},
    {"a_b~4d65cf77", "consumer_vm_a_b_4d65cf77"},
    {"a:b~4d65cf77", "consumer_vm_a_b_4d65cf77_ce2ce232"},
};

static void expect_chart_name(const char *name, const char *want) {
    char line[512];

    snprintf(line, sizeof(line), "CHART ksm.consumer_vm_%s %s 'Memory", name, want);
    expect(name, line);
}

TEST(chart_names_do_not_depend_on_the_order_of_appearance) {
    for (int first = 0; first < ROWS(name_rows); first++) {
        consumer_charts_init(&charts, 10, 0);
        for (int i = 0; i < ROWS(name_rows); i++)
            list[i] =
                consumer(KSM_CONSUMER_vm, name_rows[(first + i) % ROWS(name_rows)].name, 1, 1);
        table.count = ROWS(name_rows);
        write_table("names");
        for (int i = 0; i < ROWS(name_rows); i++)
            expect_chart_name(name_rows[i].name, name_rows[i].want);
    }
}

TEST(cleaned_names_of_any_bytes_have_valid_charts) {
    enum { ROUNDS = 60, NAMES = 100 };
    static const char pieces[] = "ab'\"\n\r\t =\\/~_\0\xc3\xbc\xff;$`%:@+CHART";

    for (int round = 0; round < ROUNDS; round++) {
        memset(&agent, 0, sizeof(agent));
        consumer_charts_init(&charts, 10, 0);
        for (int i = 0; i < NAMES; i++) {
            char raw[160];
            size_t len = (size_t)(suite_random() % 4 ? suite_random() % 12 : suite_random() % 160);
            for (size_t at = 0; at < len; at++)
                raw[at] = pieces[suite_random() % (sizeof(pieces) - 1)];
            /* None is there twice. */
            raw[0] = (char)('A' + i % 26);
            raw[1] = (char)('A' + i / 26);
            list[i] = consumer((enum ksm_consumer_kind)(suite_random() % KSM_CONSUMER_KIND_COUNT),
                               "", i, i);
            ksm_consumer_name_clean(raw, len < 2 ? 2 : len, list[i].name.text);
        }
        table.count = NAMES;
        send_table("any names");
        must(agent.count == NAMES + 1, "round %d: got %d charts", round, agent.count);
        for (int i = 0; i < NAMES; i++) {
            char id[256];
            snprintf(id, sizeof(id), "ksm.consumer_%s_%s", ksm_consumer_kinds[list[i].name.kind],
                     list[i].name.text);
            struct protocol_chart *chart = protocol_chart(&agent, id);
            must(chart && protocol_dimension(chart, "saved")->value == i,
                 "round %d: %s has no chart of its own", round, id);
        }
        expect_labels(&list[0].name);
        expect_labels(&list[NAMES - 1].name);
    }
}
