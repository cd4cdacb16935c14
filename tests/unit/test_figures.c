/* SPDX-License-Identifier: MIT
 *
 * The table of figures agrees with itself, with both hosts, and with what they can carry.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "charts.h"
#include "derive.h"
#include "figures.h"
#include "pace.h"
#include "parse.h"
#include "support/suite.h"
#include "types.h"

/* collectd's DATA_MAX_NAME_LEN, with the NUL; Netdata takes 200. */
enum { NAME_SIZE = 128 };

static bool is_sent(const struct ksm_figure *figure) {
    return figure->kind != KSM_KIND_INPUT;
}

/* A word that is the same in a collectd identifier and in a line of Netdata's, and that no dot,
 * quote, slash, hyphen, '=' or blank takes apart. */
static bool is_plain(const char *word) {
    return strlen(word) > 0 && strlen(word) < NAME_SIZE &&
           strspn(word, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(word);
}

TEST_TIMES(names, KSM_FIGURES) {
    const struct ksm_figure *figure = &ksm_figures[_i];

    ck_assert_msg(is_plain(figure->name), "figure %d: name \"%s\" is not one word of a-z, 0-9, _",
                  _i, figure->name);
    for (int other = 0; other < _i; other++)
        ck_assert_msg(strcmp(ksm_figures[other].name, figure->name) != 0,
                      "%s: figures %d and %d have this name", figure->name, other, _i);
    for (size_t state = 0; state < KSM_STATES; state++)
        ck_assert_msg(strcmp(ksm_states[state], figure->name) != 0 ||
                          figure->group != KSM_GROUP_state,
                      "%s: a state of its chart has this name", figure->name);
}

static bool is_release(const char *text) {
    int major = 0, minor = 0, end = 0;

    return strcmp(text, "UKSM") == 0 || (sscanf(text, "%d.%d%n", &major, &minor, &end) == 2 &&
                                         major >= 2 && (text[end] == '\0' || text[end] == '.'));
}

TEST_TIMES(texts, KSM_FIGURES) {
    const struct ksm_figure *figure = &ksm_figures[_i];

    ck_assert_msg(*figure->key, "%s: no key", figure->name);
    ck_assert_msg(*figure->help, "%s: no help", figure->name);
    ck_assert_msg(!strpbrk(figure->help, "|\n") && !strpbrk(figure->key, "|\n"),
                  "%s: a bar or a newline would break the tables of the documentation",
                  figure->name);
    ck_assert_msg(figure->help[strlen(figure->help) - 1] != '.', "%s: help ends in a full stop",
                  figure->name);
    ck_assert_msg(is_release(figure->since), "%s: since \"%s\" is no kernel release", figure->name,
                  figure->since);
}

TEST_TIMES(kinds, KSM_FIGURES) {
    const struct ksm_figure *figure = &ksm_figures[_i];
    bool derived = figure->source == KSM_SOURCE_DERIVED;

    ck_assert_msg(derived == (figure->parse == NULL), "%s: %s", figure->name,
                  derived ? "is derived, yet is parsed" : "is read, yet nothing parses it");
    ck_assert_msg(is_sent(figure) == (figure->group != KSM_GROUP_none), "%s: %s", figure->name,
                  is_sent(figure) ? "is sent, yet in no group" : "is not sent, yet in a group");
    ck_assert_msg(
        (figure->kind == KSM_KIND_KNOB) ==
            (strncmp(is_sent(figure) ? ksm_group_names[figure->group] : "", "settings_", 9) == 0),
        "%s: knobs, and they alone, are drawn among the settings", figure->name);
    ck_assert_msg(figure->kind != KSM_KIND_KNOB || strcmp(figure->name, figure->key) == 0,
                  "%s: a knob is called as the kernel's file %s is", figure->name, figure->key);
    ck_assert_msg((figure->unit == KSM_UNIT_RUN) == (figure->kind == KSM_KIND_STATE),
                  "%s: the unit of states belongs to states", figure->name);
}

/* How a text is read goes with where it is read and what it counts: a sign, for one, is taken only
 * where a negative number means something. */
TEST_TIMES(forms, KSM_FIGURES) {
    const struct ksm_figure *figure = &ksm_figures[_i];
    bool is_signed = figure->parse == parse_signed || figure->parse == parse_count;

    if (!figure->parse)
        return;
    ck_assert_msg(is_signed == (figure->unit == KSM_UNIT_SIGNED_BYTES || _i == KSM_zero),
                  "%s: a minus is %s", figure->name, is_signed ? "taken" : "refused");
    ck_assert_msg((figure->parse == parse_kilobytes) == (figure->source == KSM_SOURCE_MEMINFO),
                  "%s: the fields of meminfo, and they alone, are in kB", figure->name);
    ck_assert_msg((figure->parse == parse_schedstat) == (figure->source == KSM_SOURCE_KSMD),
                  "%s: schedstat's form belongs to schedstat", figure->name);
    ck_assert_msg((figure->parse == parse_run) == (figure->kind == KSM_KIND_STATE),
                  "%s: the form of run belongs to run", figure->name);
}

/* No two figures read the same. */
TEST_TIMES(sources, KSM_FIGURES) {
    const struct ksm_figure *figure = &ksm_figures[_i];

    for (int i = 0; i < _i; i++)
        ck_assert_msg(ksm_figures[i].source != figure->source ||
                          strcmp(ksm_figures[i].key, figure->key) != 0,
                      "%s and %s: both are %s", ksm_figures[i].name, figure->name, figure->key);
}

/* The kind of the one data source of a type in collectd's types.db: "GAUGE", "DERIVE" …; "" if the
 * type is not there or has more data sources. min, max: what it may be, "U" for any. */
struct data_source {
    char kind[16];
    char min[32];
    char max[32];
};

static struct data_source find_type(FILE *types, const char *type) {
    struct data_source found = {"", "", ""};
    char line[1024];
    char name[128];
    char source[16];

    rewind(types);
    while (fgets(line, sizeof(line), types)) {
        struct data_source got;
        int n = sscanf(line, "%127s %15[^:]:%15[^:]:%31[^:]:%31[^ ,\n]", name, source, got.kind,
                       got.min, got.max);
        if (n == 5 && strcmp(name, type) == 0 && !strchr(line, ','))
            found = got;
    }
    return found;
}

/* The least and the most that a figure of a unit can be, as its host sees it. */
static bool lets_through(const struct data_source *type, const struct ksm_figure *figure) {
    bool is_signed = figure->unit == KSM_UNIT_SIGNED_BYTES ||
                     figure->unit == KSM_UNIT_SIGNED_PERCENT || figure->unit == KSM_UNIT_PAGE_RATE;
    double most = figure->unit == KSM_UNIT_PERCENT ? 100 : 4294967295.0;

    if (is_signed && strcmp(type->min, "U") != 0 && atof(type->min) >= 0)
        return false;
    if (figure->unit == KSM_UNIT_PERCENT_OPEN)
        most = 100000;
    return strcmp(type->max, "U") == 0 || atof(type->max) >= most;
}

TEST_TIMES(collectd_knows_the_type, KSM_FIGURES) {
    static const char path[] = "/usr/share/collectd/types.db";
    const struct ksm_figure *figure = &ksm_figures[_i];
    const struct collectd_type *type = &collectd_types[figure->kind][figure->unit];
    const char *want = figure->kind == KSM_KIND_COUNTER ? "DERIVE" : "GAUGE";

    if (!is_sent(figure)) {
        ck_assert_msg(!type->type, "%s: is not sent, yet has the type %s", figure->name,
                      type->type);
        return;
    }
    ck_assert_msg(type->type, "%s: no type for its kind and unit (collectd/types.def)",
                  figure->name);
    ck_assert_msg(type->divisor > 0, "%s: divisor %d", figure->name, type->divisor);

    FILE *types = fopen(path, "re");
    if (!types) {
        suite_skip("collectd_knows_the_type", "/usr/share/collectd/types.db is not there");
        return;
    }
    struct data_source source = find_type(types, type->type);
    fclose(types);
    ck_assert_msg(strcmp(source.kind, want) == 0, "%s: type %s is \"%s\" in %s, want %s",
                  figure->name, type->type, source.kind, path, want);
    ck_assert_msg(lets_through(&source, figure), "%s: type %s takes only %s to %s", figure->name,
                  type->type, source.min, source.max);
}

/* A percentage is sent as a percentage: thousandths are taken off once, at the border. */
TEST_TIMES(scales, KSM_FIGURES) {
    const struct ksm_figure *figure = &ksm_figures[_i];
    const struct collectd_type *type = &collectd_types[figure->kind][figure->unit];
    int thousandths = ksm_unit_scale[figure->unit];
    struct charts_scale scale = charts_scale(figure, 65536);

    if (!is_sent(figure))
        return;
    ck_assert_msg(scale.multiplier > 0 && scale.divisor > 0,
                  "%s: Netdata's scale is %" PRId64 "/%" PRId64, figure->name, scale.multiplier,
                  scale.divisor);
    if (thousandths == 1)
        return;
    ck_assert_msg(type->divisor == thousandths && scale.divisor == thousandths * scale.multiplier,
                  "%s: kept in 1/%d, sent to collectd in 1/%d and to Netdata in %" PRId64
                  "/%" PRId64,
                  figure->name, thousandths, type->divisor, scale.multiplier, scale.divisor);
}

/* One page, one MiB, one second … as each host shows it. */
static const struct {
    enum ksm_id id;
    int64_t value;
    int64_t page_size;
    double netdata, collectd;
} shown_rows[] = {
    {KSM_shared, 48911, 4096, 191.05859375, 48911},
    {KSM_shared, 1, 65536, 0.0625, 1},
    {KSM_zero, 256, 4096, 1, 256},
    {KSM_saved, 369008640, 4096, 351.9140625, 369008640},
    {KSM_saved, 369008640, 65536, 351.9140625, 369008640},
    {KSM_gain, -1048576, 4096, -1, -1048576},
    {KSM_profit, 168669184, 4096, 160.85546875, 168669184},
    {KSM_overhead, 1048576, 4096, 1, 1048576},
    {KSM_merged, 34249, 4096, 34.249, 34.249},
    {KSM_ram, 150000, 4096, 150, 150},
    {KSM_net, -100, 4096, -0.1, -0.1},
    {KSM_exposure, 200000, 4096, 200, 200},
    {KSM_sharing_ratio, 2841, 4096, 2.841, 2.841},
    {KSM_merge_rate, -1500, 65536, -1.5, -1.5},
    {KSM_anon_huge, 2097152, 4096, 2, 2097152},
    {KSM_thp_split, 3, 65536, 3, 3},
    {KSM_scan_time, 12500, 4096, 12.5, 12.5},
    {KSM_ksmd_cpu_per_gib, 250, 4096, 0.25, 0.25},
    {KSM_scanned_per_page, 7000, 65536, 7, 7},
    {KSM_full_scans, 12, 4096, 12, 12},
    {KSM_scanned, 12, 65536, 12, 12},
    {KSM_ksmd_cpu, 1000000000, 4096, 100, 1000}, /* a second: 100 % of a core, 1000 ms */
    {KSM_chains, 3, 65536, 3, 3},
    {KSM_run, 2, 4096, 2, 2},
    {KSM_pages_to_scan, 100, 65536, 100, 100},
    {KSM_sleep_millisecs, 20, 4096, 20, 20},
    {KSM_advisor_target_scan_time, 200, 4096, 200, 200},
    {KSM_advisor_max_cpu, 70, 4096, 70, 70},
    {KSM_smart_scan, 1, 65536, 1, 1},
};

TEST_ROWS(shown, shown_rows) {
    const struct ksm_figure *figure = &ksm_figures[row->id];
    struct charts_scale scale = charts_scale(figure, row->page_size);
    double value = (double)row->value;
    double netdata = value * (double)scale.multiplier / (double)scale.divisor;
    double collectd = value / collectd_types[figure->kind][figure->unit].divisor;

    ck_assert_msg(fabs(netdata - row->netdata) < 1e-9,
                  "%s %" PRId64 ": Netdata shows %.9g %s, want %.9g", figure->name, row->value,
                  netdata, charts_units(figure->group), row->netdata);
    ck_assert_msg(fabs(collectd - row->collectd) < 1e-9,
                  "%s %" PRId64 ": collectd shows %.9g, want %.9g", figure->name, row->value,
                  collectd, row->collectd);
}

TEST_TIMES(groups, KSM_GROUPS) {
    enum ksm_group group = (enum ksm_group)_i;
    int figures = 0;
    int states = 0;

    ck_assert_msg(is_plain(ksm_group_names[group]), "group %d: name \"%s\"", _i,
                  ksm_group_names[group]);
    ck_assert_msg(charts_units(group) && *charts_units(group),
                  "%s: no chart, or one without units (netdata/charts.def)",
                  ksm_group_names[group]);
    for (size_t id = 0; id < KSM_FIGURES; id++) {
        figures += ksm_figures[id].group == group;
        states += ksm_figures[id].group == group && ksm_figures[id].kind == KSM_KIND_STATE;
    }
    ck_assert_msg(figures > 0, "%s: no figure is in this group", ksm_group_names[group]);
    ck_assert_msg(states == 0 || figures == 1,
                  "%s: the states of one figure fill a chart, it has %d figures",
                  ksm_group_names[group], figures);
}

/* The agent takes one chart as one kind of thing: all rates or all gauges, one scale. */
TEST_TIMES(charts_are_of_one_kind, KSM_GROUPS) {
    const struct ksm_figure *first = NULL;

    for (size_t id = 0; id < KSM_FIGURES; id++) {
        const struct ksm_figure *figure = &ksm_figures[id];
        if ((int)figure->group != _i)
            continue;
        first = first ? first : figure;
        struct charts_scale a = charts_scale(first, 4096);
        struct charts_scale b = charts_scale(figure, 4096);
        ck_assert_msg(first->kind == figure->kind && a.divisor == b.divisor &&
                          a.multiplier == b.multiplier,
                      "%s: %s and %s differ in kind or scale", ksm_group_names[_i], first->name,
                      figure->name);
    }
}

TEST_TIMES(units, KSM_UNITS) {
    ck_assert_msg(ksm_unit_words[_i] && *ksm_unit_words[_i], "unit %d: no words", _i);
    ck_assert_msg(ksm_unit_scale[_i] == 1 || ksm_unit_scale[_i] == 1000, "%s: scale %d",
                  ksm_unit_words[_i], ksm_unit_scale[_i]);
}

/* A derived figure without a formula would stay at its first status for ever. */
TEST_TIMES(every_derived_figure_is_worked_out, KSM_FIGURES) {
    const struct ksm_figure *figure = &ksm_figures[_i];
    struct ksm_sample sample = {.page_size = 4096};
    struct ksm_pace pace;

    if (figure->source != KSM_SOURCE_DERIVED)
        return;
    for (size_t id = 0; id < KSM_FIGURES; id++)
        sample.at[id] = (struct ksm_value){64, 0};
    sample.at[_i].status = -ENOSYS;
    ksm_derive(&sample);
    ksm_pace_init(&pace);
    ksm_pace(&pace, &sample, 0);
    ck_assert_msg(sample.at[_i].status != -ENOSYS, "%s: nothing works it out", figure->name);
}

/* A host of 1 kB that saves two pages: collectd's percent would take no more than 100 of it. */
TEST_TIMES(what_passes_100_percent_is_open, KSM_FIGURES) {
    const struct ksm_figure *figure = &ksm_figures[_i];
    struct ksm_sample sample = {.page_size = 4096};

    for (size_t id = 0; id < KSM_FIGURES; id++)
        sample.at[id] = (struct ksm_value){1, 0};
    ksm_derive(&sample);
    ck_assert_msg(figure->unit != KSM_UNIT_PERCENT || sample.at[_i].value <= 100000,
                  "%s: got %" PRId64 " thousandths of a percent", figure->name,
                  sample.at[_i].value);
}
