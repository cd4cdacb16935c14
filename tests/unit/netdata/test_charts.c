/* SPDX-License-Identifier: MIT
 *
 * The lines sent to the agent, parsed by a reader that is stricter than the agent.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "charts.h"
#include "support/host.h"
#include "support/protocol.h"
#include "support/suite.h"

static struct charts charts;
static struct out out;
static struct protocol protocol;
static struct ksm_sample sample;
static int64_t now_s;

/* A host on which every metric has a value. */
void before_each(void) {
    memset(&charts, 0x5a, sizeof(charts));
    charts_init(&charts, 1);
    now_s = 1700000000;
    out_init(&out, -1);
    host_sample(&sample);
    for (size_t id = 0; id < KSM_METRICS; id++) {
        ck_assert_msg(!host_has(id) || sample.values[id].status == 0, "%s: %s",
                      ksm_metrics[id].name, suite_status(sample.values[id].status));
        sample.values[id].status = 0; /* rates, which need several samples */
    }
}

/* Sends the sample, taken at now_s. Returns the number of bytes. */
static size_t tick_now(void) {
    charts_send(&charts, &sample, now_s, &out);
    ck_assert_msg(out.error == 0, "more than a buffer: a tick must be one write");
    size_t len = out.len;
    out.len = 0;
    ck_assert_msg(protocol_read(&protocol, out.buf, len) == 0, "%s", protocol.error);
    ck_assert_msg(!protocol.setting, "BEGIN without END");
    return len;
}

/* The same, after so long that every chart is due. */
static size_t tick(void) {
    now_s += 10;
    return tick_now();
}

static struct protocol_chart *chart_of(size_t id) {
    char name[64];

    snprintf(name, sizeof(name), "ksm.%s", ksm_group_names[ksm_metrics[id].group]);
    return protocol_chart(&protocol, name);
}

/* Returns the dimension of a metric, the first of a state; NULL if it is not drawn. */
static struct protocol_dimension *dimension_of(size_t id) {
    struct protocol_chart *chart = chart_of(id);
    bool state = ksm_metrics[id].kind == KSM_KIND_STATE;

    return chart ? protocol_dimension(chart, state ? ksm_states[0] : ksm_metrics[id].name) : NULL;
}

static bool is_sent(size_t id) {
    return ksm_metrics[id].kind != KSM_KIND_INPUT;
}

/* The metric is drawn, and set to its value if it has one. */
static void expect_metric(const char *when, size_t id) {
    const struct ksm_metric *metric = &ksm_metrics[id];
    struct protocol_dimension *dimension = dimension_of(id);
    bool want_set = sample.values[id].status == 0;

    ck_assert_msg(dimension, "%s: %s is not drawn", when, metric->name);
    ck_assert_msg(dimension->set == want_set, "%s: %s is %s", when, metric->name,
                  want_set ? "not set" : "set, and has no value");
    if (!want_set)
        return;
    for (int64_t state = 0; metric->kind == KSM_KIND_STATE && state < KSM_STATES; state++) {
        dimension = protocol_dimension(chart_of(id), ksm_states[state]);
        ck_assert_msg(dimension && dimension->set, "%s: state %s is not set", when,
                      ksm_states[state]);
        ck_assert_msg(dimension->value == (sample.values[id].value == state),
                      "%s: run is %" PRId64 ", and %s is %" PRId64, when, sample.values[id].value,
                      ksm_states[state], dimension->value);
    }
    if (metric->kind != KSM_KIND_STATE)
        ck_assert_msg(dimension->value == sample.values[id].value,
                      "%s: %s: got %" PRId64 ", want %" PRId64, when, metric->name,
                      dimension->value, sample.values[id].value);
}

static void expect_all(const char *when) {
    for (size_t id = 0; id < KSM_METRICS; id++)
        if (is_sent(id))
            expect_metric(when, id);
}

static struct protocol_chart *chart_of_group(int group) {
    char id[64];

    snprintf(id, sizeof(id), "ksm.%s", ksm_group_names[group]);
    struct protocol_chart *chart = protocol_chart(&protocol, id);
    ck_assert_msg(chart, "%s is not drawn", id);
    return chart;
}

TEST_TIMES(charts_have_own_titles_and_units, KSM_GROUPS) {
    tick();
    struct protocol_chart *chart = chart_of_group(_i);
    ck_assert_str_eq(chart->context, chart->id);
    ck_assert_str_eq(chart->units, charts_units((enum ksm_group)_i));
    ck_assert_msg(strlen(chart->title) > 8, "%s: title \"%s\"", chart->id, chart->title);
    for (int i = 0; i < _i; i++) {
        const struct protocol_chart *other = chart_of_group(i);
        ck_assert_msg(strcmp(other->title, chart->title) != 0, "%s and %s have the title \"%s\"",
                      chart->id, other->id, chart->title);
    }
}

static const int64_t page_sizes[] = {4096, 16384, 65536};

TEST_ROWS(charts_in_pages_carry_the_page_size, page_sizes) {
    sample.page_size = *row;
    tick();
    for (int group = 0; group < KSM_GROUPS; group++) {
        const struct protocol_chart *chart = chart_of_group(group);
        bool pages = strncmp(chart->units, "pages", 5) == 0;
        ck_assert_str_eq(chart->variable, pages ? "page_size" : "");
        ck_assert_int_eq(chart->variable_value, pages ? *row : 0);
    }
}

static void set_group(int group, int status) {
    for (size_t id = 0; id < KSM_METRICS; id++)
        if ((int)ksm_metrics[id].group == group)
            sample.values[id].status = status;
}

/* Alerts check these variables before they refer to a chart. */
TEST_TIMES(variables_report_which_charts_exist, KSM_GROUPS) {
    char name[64];

    set_group(_i, -ENOENT);
    for (int there = 0; there < 2; there++) {
        tick();
        ck_assert_int_eq(protocol.variables_count, KSM_GROUPS);
        for (int group = 0; group < KSM_GROUPS; group++) {
            snprintf(name, sizeof(name), "ksm_has_%s", ksm_group_names[group]);
            ck_assert_msg(protocol_variable(&protocol, name) == (there || group != _i),
                          "%s is %" PRId64, name, protocol_variable(&protocol, name));
        }
        set_group(_i, 0);
    }
}

TEST_ROWS(dimensions_have_their_scale_and_algorithm, page_sizes) {
    sample.page_size = *row;
    tick();
    for (size_t id = 0; id < KSM_METRICS; id++) {
        const struct ksm_metric *metric = &ksm_metrics[id];
        const struct protocol_dimension *got = is_sent(id) ? dimension_of(id) : NULL;
        if (!is_sent(id))
            continue;
        bool mib = strcmp(charts_units(metric->group), "MiB") == 0;
        struct charts_scale want = charts_scale(metric, *row);
        ck_assert_msg(got, "%s is not drawn", metric->name);
        ck_assert_msg(got->incremental == (metric->kind == KSM_KIND_COUNTER) &&
                          got->multiplier == want.multiplier && got->divisor == want.divisor,
                      "%s: got %" PRId64 "/%" PRId64 ", want %" PRId64 "/%" PRId64
                      ", or the other algorithm",
                      metric->name, got->multiplier, got->divisor, want.multiplier, want.divisor);
        ck_assert_msg(!mib || (want.divisor == 1024 * 1024 &&
                               want.multiplier == (metric->unit == KSM_UNIT_PAGES ? *row : 1)),
                      "%s: %" PRId64 "/%" PRId64 " is no MiB", metric->name, want.multiplier,
                      want.divisor);
    }
}

/* Charts that stand still, or whose values are computed over a minute. */
static const char *const slow_charts[] = {
    "ksm.settings_pages", "ksm.settings_ms", "ksm.settings_s", "ksm.settings_percent",
    "ksm.settings_flags", "ksm.scan_time",   "ksm.cpu_cost",   "ksm.scan_cost",
    "ksm.stable_nodes",   "ksm.thp"};

static bool is_slow(const struct protocol_chart *chart) {
    for (int i = 0; i < ROWS(slow_charts); i++)
        if (strcmp(chart->id, slow_charts[i]) == 0)
            return true;
    return false;
}

static const struct {
    int update_every, slow;
} intervals[] = {{1, 10},  {2, 10},  {3, 12},  {4, 12},  {7, 14},       {9, 18},
                 {10, 10}, {11, 11}, {30, 30}, {60, 60}, {86400, 86400}};

TEST_ROWS(interval_is_sent_with_each_chart, intervals) {
    charts_init(&charts, row->update_every);
    tick();
    for (int i = 0; i < protocol.count; i++) {
        const struct protocol_chart *chart = &protocol.charts[i];
        ck_assert_msg(chart->update_every == (is_slow(chart) ? row->slow : row->update_every),
                      "%s: every %" PRId64 " s", chart->id, chart->update_every);
    }
}

/* Begins with the time of the first tick in seconds; "x" is a tick in which slow charts are sent,
 * "." one in which they are not, and a number sets the clock before the next tick. */
static const struct {
    const char *name;
    int update_every;
    const char *ticks;
} schedules[] = {
    {"every second", 1, "100 x.........x.........x"},
    {"first sample between two multiples", 1, "103 x......x.........x"},
    {"first sample just before a multiple", 1, "109 xx.........x"},
    {"every 3 s: every 12 s", 3, "99 x..x...x...x"},
    {"every 5 s", 5, "100 x.x.x.x"},
    {"every 5 s, first sample between", 5, "103 x 105 .x.x"},
    {"every 7 s: every 14 s", 7, "98 x.x.x"},
    {"every 10 s", 10, "100 xxxx"},
    {"every 10 s, late", 10, "100 x 111 x 120 x 139 x 140 x"},
    {"every 30 s", 30, "90 xxxx"},
    {"missed tick at the multiple", 1, "100 x........ 111 x........x"},
    {"missed ticks of two multiples", 1, "100 x... 125 x....x"},
    {"missed tick elsewhere", 1, "100 x.. 105 .....x"},
    {"clock that was never set", 1, "3 x......x.........x"},
    {"clock set forward", 1, "100 x... 5003 x......x"},
    {"clock set back", 1, "5000 x... 103 x......x"},
    {"clock set back within the interval", 1, "100 x..... 102 ........x"},
    {"clock set back over the multiple", 1, "100 x 99 xx.........x"},
};

static int begun(bool slow) {
    int count = 0;

    for (int i = 0; i < protocol.count; i++)
        if (is_slow(&protocol.charts[i]) == slow)
            count += protocol.charts[i].begun;
    return count;
}

TEST_ROWS(slow_charts_are_sent_once_in_an_interval, schedules) {
    const char *at = row->ticks;
    char *end = NULL;

    charts_init(&charts, row->update_every);
    for (; *at; at++) {
        if (strchr(" 0123456789", *at)) {
            now_s = strtoll(at, &end, 10);
            at = end + 1;
        }
        int slow = begun(true), others = begun(false);
        tick_now();
        ck_assert_msg(begun(true) - slow == (*at == 'x' ? ROWS(slow_charts) : 0),
                      "%s: at %" PRId64 " %d slow charts are sent", row->name, now_s,
                      begun(true) - slow);
        ck_assert_int_eq(begun(false) - others, KSM_GROUPS - ROWS(slow_charts));
        now_s += row->update_every;
    }
}

TEST(kernel_without_metrics_has_no_charts) {
    for (size_t id = 0; id < KSM_METRICS; id++)
        sample.values[id].status = -ENOENT;
    tick();
    ck_assert_int_eq(protocol.count, 0);
    ck_assert_int_eq(protocol.variables_count, KSM_GROUPS);
    ck_assert_uint_eq(tick(), 0);
}

TEST_TIMES(missing_metric_has_no_dimension_until_it_appears, KSM_METRICS) {
    size_t missing = (size_t)_i;
    int in_group = 0;

    if (!is_sent(missing))
        return;
    sample.values[missing].status = -ENOENT;
    tick();
    tick();
    ck_assert_msg(!dimension_of(missing), "%s is drawn", ksm_metrics[missing].name);
    for (size_t id = 0; id < KSM_METRICS; id++) {
        in_group += ksm_metrics[id].group == ksm_metrics[missing].group;
        if (id != missing && is_sent(id))
            expect_metric(ksm_metrics[missing].name, id);
    }
    ck_assert_msg((chart_of(missing) != NULL) == (in_group > 1), "%s: an empty chart is drawn",
                  ksm_metrics[missing].name);

    /* It appears: the chart is sent once more, with all its dimensions. */
    sample.values[missing].status = 0;
    tick();
    expect_all("appeared");
    ck_assert_int_eq(chart_of(missing)->drawn, in_group > 1 ? 2 : 1);
    tick();
    ck_assert_int_eq(chart_of(missing)->drawn, in_group > 1 ? 2 : 1);

    /* It disappears: a gap. */
    sample.values[missing].status = -ENOENT;
    tick();
    expect_all("gone");
    ck_assert_int_eq(chart_of(missing)->drawn, in_group > 1 ? 2 : 1);
}

TEST_TIMES(metric_without_a_value_is_a_gap, KSM_METRICS) {
    static const int why[] = {-EINVAL, -EIO, -EACCES, -ERANGE, -EFBIG, -ENOENT};
    size_t absent = (size_t)_i;

    if (!is_sent(absent))
        return;
    for (int i = 0; i < ROWS(why); i++) {
        sample.values[absent].status = why[i];
        tick();
        expect_all(suite_status(why[i]));
        sample.values[absent].status = 0;
        tick();
        expect_all("back");
    }
    ck_assert_int_eq(chart_of(absent)->begun, 2 * ROWS(why));
    ck_assert_int_eq(chart_of(absent)->drawn, 1);
}

/* A chart of counters is sent: the agent would spread their growth over the pause. */
static bool may_pause(int group) {
    for (size_t id = 0; id < KSM_METRICS; id++)
        if ((int)ksm_metrics[id].group == group && ksm_metrics[id].kind == KSM_KIND_COUNTER)
            return false;
    return true;
}

static void expect_values(int group, bool set) {
    const struct protocol_chart *chart = chart_of_group(group);

    for (int i = 0; i < chart->count; i++)
        ck_assert_msg(chart->dimensions[i].set == set, "%s is %s", chart->dimensions[i].id,
                      set ? "not set" : "set");
}

/* The agent interpolates between two updates, so the first and the last of a gap are sent. */
TEST_TIMES(chart_pauses_while_it_has_no_value, KSM_GROUPS) {
    const bool pauses = may_pause(_i);

    tick();
    set_group(_i, -ENODATA);
    for (int gap = 1; gap < 5; gap++) {
        tick();
        ck_assert_int_eq(chart_of_group(_i)->begun, pauses ? 2 : 1 + gap);
        expect_values(_i, false);
    }
    set_group(_i, 0);
    tick();
    ck_assert_int_eq(chart_of_group(_i)->begun, pauses ? 3 : 6);
    expect_values(_i, !pauses);
    tick();
    ck_assert_int_eq(chart_of_group(_i)->begun, pauses ? 4 : 7);
    expect_all("after a pause");
}

/* And one of 60 is sent later. */
TEST_TIMES(chart_without_a_value_starts_with_two_updates, KSM_GROUPS) {
    const bool pauses = may_pause(_i);

    set_group(_i, -ENODATA);
    for (int gap = 1; gap < 70; gap++) {
        const int rare = gap < 60 ? 0 : 1;
        tick();
        ck_assert_int_eq(chart_of_group(_i)->drawn, 1);
        ck_assert_int_eq(chart_of_group(_i)->begun, pauses && gap > 2 ? 2 + rare : gap);
    }
    set_group(_i, 0);
    tick();
    tick();
    expect_all("first value");
}

TEST_TIMES(metric_without_a_value_now_is_a_gap, KSM_METRICS) {
    int in_group = 0;

    for (size_t id = 0; id < KSM_METRICS; id++)
        in_group += ksm_metrics[id].group == ksm_metrics[_i].group;
    if (!is_sent((size_t)_i) || in_group == 1)
        return;
    tick();
    sample.values[_i].status = -ENODATA;
    tick();
    tick();
    expect_all("gap");
    sample.values[_i].status = 0;
    tick();
    expect_all("back");
}

TEST_TIMES(run_has_a_dimension_for_each_state, KSM_STATES) {
    sample.values[KSM_run].value = _i;
    tick();
    expect_all("run");
    ck_assert_int_eq(chart_of(KSM_run)->count, KSM_STATES);
}

TEST(extreme_values_are_sent_unchanged) {
    static const int64_t values[] = {INT64_MAX, INT64_MIN, 0, -1, 1, 10, -10, 1234567890123456789};

    for (int i = 0; i < ROWS(values); i++) {
        for (size_t id = 0; id < KSM_METRICS; id++)
            if (ksm_metrics[id].kind != KSM_KIND_STATE)
                sample.values[id].value = values[i];
        tick();
        expect_all("extreme");
    }
}

/* What the reader of these tests must refuse: lines that are unknown, have a word too many or too
 * few, or are in the wrong place. */
#define CHART "CHART a.b '' 't' 'u' 'f' c.d line 1 1 '' ksm.plugin ksm\n"
#define DRAWN CHART "DIMENSION x '' absolute 1 1\n"

static const char *const bad_lines[] = {
    "EXIT\n", "PLUGIN_KEEPALIVE\n", "7\n", "END\n", "SET x = 7\n", "BEGIN a.b\n", "BEGIN a.b",
    "DIMENSION x '' absolute 1 1\n", "CLABEL k v 1\n", "VARIABLE CHART v = 1\n",
    "CHART ab '' 't' 'u' 'f' c.d line 1 1 '' ksm.plugin ksm\n",
    "CHART a.b.c '' 't' 'u' 'f' c.d line 1 1 '' ksm.plugin ksm\n",
    "CHART a.b '' 'it's' 'u' 'f' c.d line 1 1 '' ksm.plugin ksm\n",
    "CHART a.b '' 'it\\'s' 'u' 'f' c.d line 1 1 '' ksm.plugin ksm\n",
    "CHART a.b '' '' 'u' 'f' c.d line 1 1 '' ksm.plugin ksm\n",
    "CHART a.b '' 't' 'u' 'f' c.d lines 1 1 '' ksm.plugin ksm\n",
    "CHART a.b '' 't' 'u' 'f' c.d line 1 0 '' ksm.plugin ksm\n",
    "CHART a.b '' 't' 'u' 'f' c.d line 1 1 ksm.plugin ksm\n",
    /* After a chart. */
    DRAWN "BEGIN a.b\nBEGIN a.b\n", DRAWN "BEGIN a.b 1000000\n", DRAWN "BEGIN a.c\n",
    DRAWN "CLABEL k v 1\n", DRAWN "VARIABLE v = 1\n", DRAWN "VARIABLE HOST v = 1.5\n",
    DRAWN "DIMENSION y '' absolute 1 0\n", DRAWN "DIMENSION y.z '' absolute 1 1\n",
    DRAWN "DIMENSION y '' absolute 1\n", DRAWN "DIMENSION x '' incremental 1 1\n",
    /* In a chart. */
    DRAWN "BEGIN a.b\nSET y = 7\n", DRAWN "BEGIN a.b\nSET x =\n", DRAWN "BEGIN a.b\nSET x = +7\n",
    DRAWN "BEGIN a.b\nSET x = 007\n", DRAWN "BEGIN a.b\nSET x = -0\n",
    DRAWN "BEGIN a.b\nSET x = 7.5\n", DRAWN "BEGIN a.b\nSET x = 9223372036854775808\n",
    DRAWN "BEGIN a.b\nSET x = 7\nSET x = 8\n", DRAWN "BEGIN a.b\nEND now\n",
    DRAWN "BEGIN a.b\nDIMENSION y '' absolute 1 1\n", DRAWN "BEGIN a.b\n" CHART,
    DRAWN "BEGIN a.b\nVARIABLE HOST v = 1\n"};

TEST(reader_of_these_tests_is_strict) {
    static const char good[] = DRAWN "BEGIN a.b\nSET x = -9223372036854775808\nEND\n\n" CHART;

    ck_assert_msg(protocol_read(&protocol, TEXT(good)) == 0, "%s", protocol.error);
    for (int i = 0; i < ROWS(bad_lines); i++) {
        memset(&protocol, 0, sizeof(protocol));
        ck_assert_msg(protocol_read(&protocol, bad_lines[i], strlen(bad_lines[i])) != 0,
                      "%s was accepted", bad_lines[i]);
    }
    ck_assert_int_ne(protocol_read(&protocol, "\0\n", 2), 0);
}
