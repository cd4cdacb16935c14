/* SPDX-License-Identifier: MIT
 *
 * The lines that the agent gets, read back by a reader that is stricter than the agent.
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

/* A host on which every figure has a value. */
static void set_up(void) {
    charts_init(&charts, 1);
    out_init(&out, -1);
    host_sample(&sample);
    for (size_t id = 0; id < KSM_FIGURES; id++)
        ck_assert_msg(!host_has(id) || sample.at[id].status == 0, "%s: %s", ksm_figures[id].name,
                      suite_status(sample.at[id].status));
}

/* Sends the sample. Returns how many bytes that were. */
static size_t tick(void) {
    charts_send(&charts, &sample, &out);
    ck_assert_msg(out.error == 0, "more than a buffer: a tick is to be one write");
    size_t len = out.len;
    out.len = 0;
    ck_assert_msg(protocol_read(&protocol, out.buf, len) == 0, "%s", protocol.error);
    ck_assert_msg(!protocol.setting, "BEGIN without END");
    return len;
}

static struct protocol_chart *chart_of(size_t id) {
    char name[64];

    snprintf(name, sizeof(name), "ksm.%s", ksm_group_names[ksm_figures[id].group]);
    return protocol_chart(&protocol, name);
}

/* The dimension of a figure; a state has some. NULL if it is not drawn. */
static struct protocol_dimension *dimension_of(size_t id) {
    struct protocol_chart *chart = chart_of(id);
    bool state = ksm_figures[id].kind == KSM_KIND_STATE;

    return chart ? protocol_dimension(chart, state ? ksm_states[0] : ksm_figures[id].name) : NULL;
}

static bool is_sent(size_t id) {
    return ksm_figures[id].kind != KSM_KIND_INPUT;
}

/* Every figure is drawn, and set to its value if it has one. */
static void expect_figure(const char *when, size_t id) {
    const struct ksm_figure *figure = &ksm_figures[id];
    struct protocol_dimension *dimension = dimension_of(id);
    bool want_set = sample.at[id].status == 0;

    ck_assert_msg(dimension, "%s: %s is not drawn", when, figure->name);
    ck_assert_msg(dimension->set == want_set, "%s: %s is %s", when, figure->name,
                  want_set ? "not set" : "set, and has no value");
    if (!want_set)
        return;
    for (int64_t state = 0; figure->kind == KSM_KIND_STATE && state < KSM_STATES; state++) {
        dimension = protocol_dimension(chart_of(id), ksm_states[state]);
        ck_assert_msg(dimension && dimension->set, "%s: state %s is not set", when,
                      ksm_states[state]);
        ck_assert_msg(dimension->value == (sample.at[id].value == state),
                      "%s: run is %" PRId64 ", and %s is %" PRId64, when, sample.at[id].value,
                      ksm_states[state], dimension->value);
    }
    if (figure->kind != KSM_KIND_STATE)
        ck_assert_msg(dimension->value == sample.at[id].value,
                      "%s: %s: got %" PRId64 ", want %" PRId64, when, figure->name,
                      dimension->value, sample.at[id].value);
}

static void expect_all(const char *when) {
    for (size_t id = 0; id < KSM_FIGURES; id++)
        if (is_sent(id))
            expect_figure(when, id);
}

START_TEST(all_figures) {
    tick();
    expect_all("first tick");
    ck_assert_int_eq(protocol.count, KSM_GROUPS);
    for (int i = 0; i < protocol.count; i++)
        ck_assert_int_eq(protocol.charts[i].drawn, 1);
    for (size_t id = 0; id < KSM_FIGURES; id++)
        if (ksm_figures[id].kind != KSM_KIND_STATE)
            sample.at[id].value += 7;
    tick();
    expect_all("second tick");
    for (int i = 0; i < protocol.count; i++) {
        const struct protocol_chart *chart = &protocol.charts[i];
        ck_assert_msg(chart->drawn == 1 && chart->begun == 2,
                      "%s: drawn %d times, begun %d times after two ticks", chart->id, chart->drawn,
                      chart->begun);
    }
}
END_TEST

START_TEST(looks) {
    enum ksm_group group = (enum ksm_group)_i;
    char id[64];

    tick();
    snprintf(id, sizeof(id), "ksm.%s", ksm_group_names[group]);
    struct protocol_chart *chart = protocol_chart(&protocol, id);
    ck_assert_msg(chart, "%s is not drawn", id);
    ck_assert_str_eq(chart->context, id);
    ck_assert_str_eq(chart->units, charts_units(group));
    ck_assert_int_eq(chart->update_every, 1);
    ck_assert_msg(strlen(chart->title) > 8, "%s: title \"%s\"", id, chart->title);
    for (int i = 0; i < protocol.count; i++) {
        const struct protocol_chart *other = &protocol.charts[i];
        ck_assert_msg(other == chart || strcmp(other->title, chart->title) != 0,
                      "%s and %s have the title \"%s\"", id, other->id, chart->title);
        ck_assert_msg(other == chart || other->priority != chart->priority,
                      "%s and %s have one place on the page", id, other->id);
    }
}
END_TEST

/* Charts that count in pages carry the page size, those in MiB and others need none. */
START_TEST(page_size) {
    static const int64_t sizes[] = {4096, 16384, 65536};
    enum ksm_group group = (enum ksm_group)_i;
    const char *units = charts_units(group);
    bool pages = strcmp(units, "pages") == 0 || strcmp(units, "pages/s") == 0;
    char id[64];

    snprintf(id, sizeof(id), "ksm.%s", ksm_group_names[group]);
    for (int i = 0; i < ROWS(sizes); i++) {
        charts_init(&charts, 1);
        sample.page_size = sizes[i];
        tick();
        const struct protocol_chart *chart = protocol_chart(&protocol, id);
        ck_assert_msg(chart, "%s is not drawn", id);
        ck_assert_str_eq(chart->variable, pages ? "page_size" : "");
        ck_assert_int_eq(chart->variable_value, pages ? sizes[i] : 0);
    }
}
END_TEST

/* What alerts ask before they ask for a chart. */
START_TEST(has_chart) {
    char name[64];

    snprintf(name, sizeof(name), "ksm_has_%s", ksm_group_names[_i]);
    for (size_t id = 0; id < KSM_FIGURES; id++)
        if ((int)ksm_figures[id].group == _i)
            sample.at[id].status = -ENOENT;
    tick();
    ck_assert_int_eq(protocol_variable(&protocol, name), 0);
    ck_assert_int_eq(protocol.variables_count, KSM_GROUPS);
    for (size_t id = 0; id < KSM_FIGURES; id++)
        if ((int)ksm_figures[id].group == _i)
            sample.at[id].status = 0;
    tick();
    ck_assert_int_eq(protocol_variable(&protocol, name), 1);
    for (int group = 0; group < KSM_GROUPS; group++) {
        snprintf(name, sizeof(name), "ksm_has_%s", ksm_group_names[group]);
        ck_assert_msg(protocol_variable(&protocol, name) == 1, "%s is not told", name);
    }
}
END_TEST

/* The page from above: first whether it pays, then who saves, what is at risk, and the details. */
static const struct {
    enum charts_place place;
    const char *family;
    const char *id; /* NULL: of consumer_charts.c */
} page[] = {
    {CHARTS_PLACE_savings, "overview", "ksm.savings"},
    {CHARTS_PLACE_effectiveness, "overview", "ksm.effectiveness"},
    {CHARTS_PLACE_state, "overview", "ksm.state"},
    {CHARTS_PLACE_consumers, "who saves", NULL},
    {CHARTS_PLACE_consumer, "who saves", NULL},
    {CHARTS_PLACE_other, "who saves", NULL},
    {CHARTS_PLACE_exposure, "risk", "ksm.exposure"},
    {CHARTS_PLACE_memory, "pages", "ksm.memory"},
    {CHARTS_PLACE_zero_pages, "pages", "ksm.zero_pages"},
    {CHARTS_PLACE_sharing_ratio, "pages", "ksm.sharing_ratio"},
    {CHARTS_PLACE_stable_nodes, "pages", "ksm.stable_nodes"},
    {CHARTS_PLACE_ksmd_cpu, "scanning", "ksm.ksmd_cpu"},
    {CHARTS_PLACE_scan, "scanning", "ksm.scan"},
    {CHARTS_PLACE_full_scans, "scanning", "ksm.full_scans"},
    {CHARTS_PLACE_cow, "scanning", "ksm.cow"},
    {CHARTS_PLACE_settings_pages, "settings", "ksm.settings_pages"},
    {CHARTS_PLACE_settings_ms, "settings", "ksm.settings_ms"},
    {CHARTS_PLACE_settings_s, "settings", "ksm.settings_s"},
    {CHARTS_PLACE_settings_percent, "settings", "ksm.settings_percent"},
    {CHARTS_PLACE_settings_flags, "settings", "ksm.settings_flags"},
};

START_TEST(order) {
    int drawn = 0;

    tick();
    for (int i = 0; i < ROWS(page); i++) {
        ck_assert_msg((int)page[i].place == CHARTS_BEFORE + 1 + i, "%s: place %d, want %d",
                      page[i].id ? page[i].id : page[i].family, page[i].place,
                      CHARTS_BEFORE + 1 + i);
        if (!page[i].id)
            continue;
        const struct protocol_chart *chart = protocol_chart(&protocol, page[i].id);
        ck_assert_msg(chart, "%s is not drawn", page[i].id);
        ck_assert_msg(chart->priority == (int)page[i].place, "%s: priority %" PRId64 ", want %d",
                      chart->id, chart->priority, page[i].place);
        ck_assert_str_eq(chart->family, page[i].family);
        drawn++;
    }
    ck_assert_int_eq(drawn, protocol.count);
}
END_TEST

START_TEST(scales) {
    static const int64_t page_sizes[] = {4096, 16384, 65536};

    sample.page_size = page_sizes[_i];
    tick();
    for (size_t id = 0; id < KSM_FIGURES; id++) {
        if (!is_sent(id))
            continue;
        const struct ksm_figure *figure = &ksm_figures[id];
        const struct protocol_dimension *dimension = dimension_of(id);
        struct charts_scale want = charts_scale(figure, sample.page_size);
        ck_assert_msg(dimension, "%s is not drawn", figure->name);
        ck_assert_msg(dimension->incremental == (figure->kind == KSM_KIND_COUNTER), "%s: got %s",
                      figure->name, dimension->incremental ? "incremental" : "absolute");
        ck_assert_msg(dimension->multiplier == want.multiplier &&
                          dimension->divisor == want.divisor,
                      "%s: got %" PRId64 "/%" PRId64 ", want %" PRId64 "/%" PRId64, figure->name,
                      dimension->multiplier, dimension->divisor, want.multiplier, want.divisor);
        if (strcmp(charts_units(figure->group), "MiB") == 0)
            ck_assert_msg(dimension->divisor == 1024 * 1024 &&
                              dimension->multiplier ==
                                  (figure->unit == KSM_UNIT_PAGES ? page_sizes[_i] : 1),
                          "%s: %" PRId64 "/%" PRId64 " is no MiB", figure->name,
                          dimension->multiplier, dimension->divisor);
    }
}
END_TEST

START_TEST(update_every) {
    static const int seconds[] = {1, 2, 60, 86400};

    charts_init(&charts, seconds[_i]);
    tick();
    for (int i = 0; i < protocol.count; i++)
        ck_assert_int_eq(protocol.charts[i].update_every, seconds[_i]);
}
END_TEST

/* A kernel with nothing at all: no chart, which is told once, and then not a byte. */
START_TEST(nothing_there) {
    for (size_t id = 0; id < KSM_FIGURES; id++)
        sample.at[id].status = -ENOENT;
    tick();
    ck_assert_int_eq(protocol.count, 0);
    ck_assert_int_eq(protocol.variables_count, KSM_GROUPS);
    ck_assert_uint_eq(tick(), 0);
}
END_TEST

/* A figure that this kernel lacks: no dimension, and no chart if it would be empty. */
START_TEST(figure_that_the_kernel_lacks) {
    size_t missing = (size_t)_i;
    int in_group = 0;

    if (!is_sent(missing))
        return;
    sample.at[missing].status = -ENOENT;
    tick();
    tick();
    ck_assert_msg(!dimension_of(missing), "%s is drawn", ksm_figures[missing].name);
    for (size_t id = 0; id < KSM_FIGURES; id++) {
        in_group += ksm_figures[id].group == ksm_figures[missing].group;
        if (id != missing && is_sent(id))
            expect_figure(ksm_figures[missing].name, id);
    }
    ck_assert_msg((chart_of(missing) != NULL) == (in_group > 1), "%s: an empty chart is drawn",
                  ksm_figures[missing].name);

    /* It appears: the chart is sent once again, with what was there before. */
    sample.at[missing].status = 0;
    tick();
    expect_all("appeared");
    ck_assert_int_eq(chart_of(missing)->drawn, in_group > 1 ? 2 : 1);
    tick();
    ck_assert_int_eq(chart_of(missing)->drawn, in_group > 1 ? 2 : 1);

    /* It is gone again: a gap. */
    sample.at[missing].status = -ENOENT;
    tick();
    expect_all("gone");
    ck_assert_int_eq(chart_of(missing)->drawn, in_group > 1 ? 2 : 1);
}
END_TEST

/* A figure that has no value for a moment: a gap, and nothing else. */
START_TEST(gap) {
    static const int why[] = {-EINVAL, -EIO, -EACCES, -ERANGE, -ENODATA, -EFBIG, -ENOENT};
    size_t absent = (size_t)_i;

    if (!is_sent(absent))
        return;
    tick();
    for (int i = 0; i < ROWS(why); i++) {
        sample.at[absent].status = why[i];
        tick();
        expect_all(suite_status(why[i]));
        sample.at[absent].status = 0;
        tick();
        expect_all("back");
    }
    ck_assert_int_eq(chart_of(absent)->drawn, 1);
}
END_TEST

/* A figure that could not be read from the start, but is there: drawn, with a gap. */
START_TEST(bad_from_the_start) {
    size_t bad = (size_t)_i;

    if (!is_sent(bad))
        return;
    sample.at[bad].status = -EINVAL;
    tick();
    expect_all("bad");
    sample.at[bad].status = 0;
    tick();
    expect_all("well");
    ck_assert_int_eq(chart_of(bad)->drawn, 1);
}
END_TEST

START_TEST(states) {
    static const int64_t runs[] = {0, 1, 2};

    sample.at[KSM_run].value = runs[_i];
    tick();
    expect_all("run");
    struct protocol_chart *chart = chart_of(KSM_run);
    int on = 0;
    for (int i = 0; i < chart->count; i++)
        on += chart->dimensions[i].value != 0;
    ck_assert_msg(chart->count == KSM_STATES && on == 1, "%d of %d states are on", on,
                  chart->count);
}
END_TEST

START_TEST(extremes) {
    static const int64_t values[] = {INT64_MAX, INT64_MIN, 0, -1, 1, 10, -10, 1234567890123456789};

    for (int i = 0; i < ROWS(values); i++) {
        for (size_t id = 0; id < KSM_FIGURES; id++)
            if (ksm_figures[id].kind != KSM_KIND_STATE)
                sample.at[id].value = values[i];
        tick();
        expect_all("extreme");
    }
}
END_TEST

/* The reader itself: what it must take, and what it must refuse. */
static const char *const good_lines[] = {
    "CHART a.b '' 't' u f c line 1 1 '' p m\nDIMENSION x '' absolute 1 1\nBEGIN a.b\nSET x = "
    "7\nEND\n",
    "CHART a.b '' \"it's\" 'a = b' 'f g' c stacked 1 1 '' p m\nDIMENSION x 'n' incremental -1 10\n",
    "CHART a.b '' 't' u f c line 1 1 obsolete p m\n",
    "CHART a.b '' t u f c area 1 1 '' p m\nCLABEL k 'v w' 1\nCLABEL_COMMIT\nDIMENSION x '' "
    "absolute 1 1 hidden\n",
    "CHART a.b '' t u f c line 1 1 '' p m\nVARIABLE CHART v = 4096\nDIMENSION x '' absolute 1 1\n",
    "VARIABLE HOST v = 0\nVARIABLE HOST v = 1\n",
    "\n",
    "",
    "CHART a.b '' t u f c line 1 1 '' p m\nDIMENSION x '' absolute 1 1\n"
    "BEGIN a.b\nSET x = -9223372036854775808\nEND\nBEGIN a.b\nSET "
    "x=9223372036854775807\nEND\nBEGIN a.b\nEND\n",
};

START_TEST(strict_reader_takes) {
    const char *text = good_lines[_i];

    ck_assert_msg(protocol_read(&protocol, text, strlen(text)) == 0, "%s", protocol.error);
}
END_TEST

#define DRAWN "CHART a.b '' t u f c line 1 1 '' p m\nDIMENSION x '' absolute 1 1\n"

static const struct {
    const char *text;
    size_t len;
} bad_lines[] = {
    {TEXT("EXIT\n")},
    {TEXT("PLUGIN_KEEPALIVE\n")},
    {TEXT("chart a.b '' t u f c line 1 1 '' p m\n")},
    {TEXT("7\n")},
    {TEXT("END\n")},
    {TEXT("SET x = 7\n")},
    {TEXT("BEGIN a.b\n")},
    {TEXT("DIMENSION x '' absolute 1 1\n")},
    {TEXT("CLABEL k v 1\n")},
    {TEXT("VARIABLE CHART v = 1\n")},
    {TEXT("CHART a.b '' t u f c line 1 1 '' p\n")},
    {TEXT("CHART a.b '' t u f c line 1 1 p m\n")},
    {TEXT("CHART a.b '' t u f c line 1 1 '' p m n\n")},
    {TEXT("CHART a.b '' 't u f c line 1 1 '' p m\n")},
    {TEXT("CHART a.b '' 'it's' u f c line 1 1 '' p m\n")},
    {TEXT("CHART a.b '' it's u f c line 1 1 '' p m\n")},
    {TEXT("CHART a.b '' 'it\\'s' u f c line 1 1 '' p m\n")},
    {TEXT("CHART a.b '' '' u f c line 1 1 '' p m\n")},
    {TEXT("CHART ab '' t u f c line 1 1 '' p m\n")},
    {TEXT("CHART a.b.c '' t u f c line 1 1 '' p m\n")},
    {TEXT("CHART a.b '' t u f c lines 1 1 '' p m\n")},
    {TEXT("CHART a.b '' t u f c line 1 0 '' p m\n")},
    {TEXT("CHART a.b '' t u f c line x 1 '' p m\n")},
    {TEXT("CHART a.b '' t u f c line 1 1 hidden p m\n")},
    {TEXT(DRAWN "BEGIN a.b\nBEGIN a.b\n")},
    {TEXT(DRAWN "BEGIN a.b 1000000\n")},
    {TEXT(DRAWN "BEGIN a.c\n")},
    {TEXT(DRAWN "BEGIN a.b\nSET y = 7\n")},
    {TEXT(DRAWN "BEGIN a.b\nSET x =\n")},
    {TEXT(DRAWN "BEGIN a.b\nSET x = +7\n")},
    {TEXT(DRAWN "BEGIN a.b\nSET x = 007\n")},
    {TEXT(DRAWN "BEGIN a.b\nSET x = -0\n")},
    {TEXT(DRAWN "BEGIN a.b\nSET x = 7.5\n")},
    {TEXT(DRAWN "BEGIN a.b\nSET x = nan\n")},
    {TEXT(DRAWN "BEGIN a.b\nSET x = 0x7\n")},
    {TEXT(DRAWN "BEGIN a.b\nSET x = 9223372036854775808\n")},
    {TEXT(DRAWN "BEGIN a.b\nSET x = 7 8\n")},
    {TEXT(DRAWN "BEGIN a.b\nSET x = 7\nSET x = 8\n")},
    {TEXT(DRAWN "BEGIN a.b\nEND now\n")},
    {TEXT(DRAWN "BEGIN a.b\nDIMENSION y '' absolute 1 1\n")},
    {TEXT(DRAWN "BEGIN a.b\nCHART a.b '' t u f c line 1 1 '' p m\n")},
    {TEXT(DRAWN "CLABEL k v 1\n")},
    {TEXT(DRAWN "VARIABLE v = 1\n")},
    {TEXT(DRAWN "VARIABLE CHART v =\n")},
    {TEXT(DRAWN "VARIABLE HOST v = 1.5\n")},
    {TEXT(DRAWN "BEGIN a.b\nVARIABLE HOST v = 1\n")},
    {TEXT(DRAWN "VARIABLE CHART v = 1.5\n")},
    {TEXT(DRAWN "VARIABLE CHART v.w = 1\n")},
    {TEXT(DRAWN "DIMENSION y '' absolute 1 0\n")},
    {TEXT(DRAWN "DIMENSION y '' absolute 0 1\n")},
    {TEXT(DRAWN "DIMENSION y.z '' absolute 1 1\n")},
    {TEXT(DRAWN "DIMENSION y '' rate 1 1\n")},
    {TEXT(DRAWN "DIMENSION y '' absolute 1\n")},
    {TEXT(DRAWN "DIMENSION x '' incremental 1 1\n")},
    {TEXT("a b c d e f g h i j k l m n o p q r s t u\n")},
    {TEXT("BEGIN a.b")},
    {TEXT("\0\n")},
};

START_TEST(strict_reader_refuses) {
    ck_assert_msg(protocol_read(&protocol, bad_lines[_i].text, bad_lines[_i].len) != 0,
                  "%s was taken", suite_quote(bad_lines[_i].text, bad_lines[_i].len));
}
END_TEST

int main(void) {
    Suite *suite = suite_create("charts");
    TCase *reader = suite_case(suite, "reader");
    TCase *drawing = suite_case(suite, "drawing");
    TCase *absent = suite_case(suite, "absent");

    tcase_add_loop_test(reader, strict_reader_takes, 0, ROWS(good_lines));
    tcase_add_loop_test(reader, strict_reader_refuses, 0, ROWS(bad_lines));
    tcase_add_checked_fixture(drawing, set_up, NULL);
    tcase_add_test(drawing, all_figures);
    tcase_add_loop_test(drawing, looks, 0, KSM_GROUPS);
    tcase_add_loop_test(drawing, page_size, 0, KSM_GROUPS);
    tcase_add_loop_test(drawing, has_chart, 0, KSM_GROUPS);
    tcase_add_test(drawing, order);
    tcase_add_loop_test(drawing, scales, 0, 3);
    tcase_add_loop_test(drawing, update_every, 0, 4);
    tcase_add_loop_test(drawing, states, 0, 3);
    tcase_add_test(drawing, extremes);
    tcase_add_checked_fixture(absent, set_up, NULL);
    tcase_add_test(absent, nothing_there);
    tcase_add_loop_test(absent, figure_that_the_kernel_lacks, 0, KSM_FIGURES);
    tcase_add_loop_test(absent, gap, 0, KSM_FIGURES);
    tcase_add_loop_test(absent, bad_from_the_start, 0, KSM_FIGURES);
    return suite_run(suite);
}
