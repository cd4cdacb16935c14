/* SPDX-License-Identifier: MIT
 *
 * The table of metrics agrees with itself, with both hosts, and with what they can carry.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "charts.h"
#include "metrics/derive.h"
#include "metrics/metrics.h"
#include "metrics/rates.h"
#include "support/suite.h"
#include "system/parse.h"
#include "types.h"

/* collectd's DATA_MAX_NAME_LEN, with the NUL; Netdata takes 200. */
enum { NAME_SIZE = 128 };

static bool is_sent(const struct ksm_metric *metric) {
    return metric->kind != KSM_KIND_INPUT;
}

/* A word that is the same in a collectd identifier and in a line of Netdata's, and that no dot,
 * quote, slash, hyphen, '=' or blank takes apart. */
static bool is_plain(const char *word) {
    return strlen(word) > 0 && strlen(word) < NAME_SIZE &&
           strspn(word, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(word);
}

TEST_TIMES(names_are_valid_and_unique, KSM_METRICS) {
    const struct ksm_metric *metric = &ksm_metrics[_i];

    ck_assert_msg(is_plain(metric->name), "metric %d: name \"%s\" is not one word of a-z, 0-9, _",
                  _i, metric->name);
    for (int other = 0; other < _i; other++)
        ck_assert_msg(strcmp(ksm_metrics[other].name, metric->name) != 0,
                      "%s: metrics %d and %d have this name", metric->name, other, _i);
    for (size_t state = 0; state < KSM_STATES; state++)
        ck_assert_msg(strcmp(ksm_states[state], metric->name) != 0 ||
                          metric->group != KSM_GROUP_state,
                      "%s: a state of its chart has this name", metric->name);
}

static bool is_release(const char *text) {
    int major = 0, minor = 0, end = 0;

    return strcmp(text, "UKSM") == 0 || (sscanf(text, "%d.%d%n", &major, &minor, &end) == 2 &&
                                         major >= 2 && (text[end] == '\0' || text[end] == '.'));
}

TEST_TIMES(texts_fit_the_tables_of_the_documentation, KSM_METRICS) {
    const struct ksm_metric *metric = &ksm_metrics[_i];

    ck_assert_msg(*metric->key, "%s: no key", metric->name);
    ck_assert_msg(*metric->help, "%s: no help", metric->name);
    ck_assert_msg(!strpbrk(metric->help, "|\n") && !strpbrk(metric->key, "|\n"),
                  "%s: a bar or a newline would break the tables of the documentation",
                  metric->name);
    ck_assert_msg(metric->help[strlen(metric->help) - 1] != '.', "%s: help ends in a full stop",
                  metric->name);
    ck_assert_msg(is_release(metric->since), "%s: since \"%s\" is no kernel release", metric->name,
                  metric->since);
}

TEST_TIMES(kind_agrees_with_source_and_group, KSM_METRICS) {
    const struct ksm_metric *metric = &ksm_metrics[_i];
    bool derived = metric->source == KSM_SOURCE_DERIVED;

    ck_assert_msg(derived == (metric->parse == NULL), "%s: %s", metric->name,
                  derived ? "is derived, yet is parsed" : "is read, yet nothing parses it");
    ck_assert_msg(is_sent(metric) == (metric->group != KSM_GROUP_none), "%s: %s", metric->name,
                  is_sent(metric) ? "is sent, yet in no group" : "is not sent, yet in a group");
    ck_assert_msg(
        (metric->kind == KSM_KIND_KNOB) ==
            (strncmp(is_sent(metric) ? ksm_group_names[metric->group] : "", "settings_", 9) == 0),
        "%s: knobs, and they alone, are drawn among the settings", metric->name);
    ck_assert_msg(metric->kind != KSM_KIND_KNOB || strcmp(metric->name, metric->key) == 0,
                  "%s: a knob is called as the kernel's file %s is", metric->name, metric->key);
    ck_assert_msg((metric->unit == KSM_UNIT_RUN) == (metric->kind == KSM_KIND_STATE),
                  "%s: the unit of states belongs to states", metric->name);
}

/* For example, a sign is accepted only if a negative number is meaningful. */
TEST_TIMES(forms_fit_sources_and_units, KSM_METRICS) {
    const struct ksm_metric *metric = &ksm_metrics[_i];
    bool is_signed = metric->parse == parse_signed || metric->parse == parse_count;

    if (!metric->parse)
        return;
    ck_assert_msg(is_signed == (metric->unit == KSM_UNIT_SIGNED_BYTES || _i == KSM_zero),
                  "%s: a minus is %s", metric->name, is_signed ? "taken" : "refused");
    ck_assert_msg((metric->parse == parse_kilobytes) == (metric->source == KSM_SOURCE_MEMINFO),
                  "%s: the fields of meminfo, and they alone, are in kB", metric->name);
    ck_assert_msg((metric->parse == parse_schedstat) == (metric->source == KSM_SOURCE_KSMD),
                  "%s: schedstat's form belongs to schedstat", metric->name);
    ck_assert_msg((metric->parse == parse_run) == (metric->kind == KSM_KIND_STATE),
                  "%s: the form of run belongs to run", metric->name);
}

TEST_TIMES(no_two_metrics_read_the_same, KSM_METRICS) {
    const struct ksm_metric *metric = &ksm_metrics[_i];

    for (int i = 0; i < _i; i++)
        ck_assert_msg(ksm_metrics[i].source != metric->source ||
                          strcmp(ksm_metrics[i].key, metric->key) != 0,
                      "%s and %s: both are %s", ksm_metrics[i].name, metric->name, metric->key);
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

/* The least and the most that a metric of a unit can be, as its host sees it. */
static bool lets_through(const struct data_source *type, const struct ksm_metric *metric) {
    bool is_signed = metric->unit == KSM_UNIT_SIGNED_BYTES ||
                     metric->unit == KSM_UNIT_SIGNED_PERCENT || metric->unit == KSM_UNIT_PAGE_RATE;
    double most = metric->unit == KSM_UNIT_PERCENT ? 100 : 4294967295.0;

    if (is_signed && strcmp(type->min, "U") != 0 && atof(type->min) >= 0)
        return false;
    if (metric->unit == KSM_UNIT_PERCENT_OPEN)
        most = 100000;
    return strcmp(type->max, "U") == 0 || atof(type->max) >= most;
}

TEST_TIMES(collectd_knows_the_type, KSM_METRICS) {
    static const char path[] = "/usr/share/collectd/types.db";
    const struct ksm_metric *metric = &ksm_metrics[_i];
    const struct collectd_type *type = &collectd_types[metric->kind][metric->unit];
    const char *want = metric->kind == KSM_KIND_COUNTER ? "DERIVE" : "GAUGE";

    if (!is_sent(metric)) {
        ck_assert_msg(!type->type, "%s: is not sent, yet has the type %s", metric->name,
                      type->type);
        return;
    }
    ck_assert_msg(type->type, "%s: no type for its kind and unit (collectd/types.def)",
                  metric->name);
    ck_assert_msg(type->divisor > 0, "%s: divisor %d", metric->name, type->divisor);

    FILE *types = fopen(path, "re");
    if (!types) {
        suite_skip("collectd_knows_the_type", "/usr/share/collectd/types.db is not there");
        return;
    }
    struct data_source source = find_type(types, type->type);
    fclose(types);
    ck_assert_msg(strcmp(source.kind, want) == 0, "%s: type %s is \"%s\" in %s, want %s",
                  metric->name, type->type, source.kind, path, want);
    ck_assert_msg(lets_through(&source, metric), "%s: type %s takes only %s to %s", metric->name,
                  type->type, source.min, source.max);
}

TEST_TIMES(daemons_get_values_in_the_unit_itself, KSM_METRICS) {
    const struct ksm_metric *metric = &ksm_metrics[_i];
    const struct collectd_type *type = &collectd_types[metric->kind][metric->unit];
    int thousandths = ksm_unit_scale[metric->unit];
    struct charts_scale scale = charts_scale(metric, 65536);

    if (!is_sent(metric))
        return;
    ck_assert_msg(scale.multiplier > 0 && scale.divisor > 0,
                  "%s: Netdata's scale is %" PRId64 "/%" PRId64, metric->name, scale.multiplier,
                  scale.divisor);
    if (thousandths == 1)
        return;
    ck_assert_msg(type->divisor == thousandths && scale.divisor == thousandths * scale.multiplier,
                  "%s: kept in 1/%d, sent to collectd in 1/%d and to Netdata in %" PRId64
                  "/%" PRId64,
                  metric->name, thousandths, type->divisor, scale.multiplier, scale.divisor);
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

TEST_ROWS(value_is_the_same_in_both_daemons, shown_rows) {
    const struct ksm_metric *metric = &ksm_metrics[row->id];
    struct charts_scale scale = charts_scale(metric, row->page_size);
    double value = (double)row->value;
    double netdata = value * (double)scale.multiplier / (double)scale.divisor;
    double collectd = value / collectd_types[metric->kind][metric->unit].divisor;

    ck_assert_msg(fabs(netdata - row->netdata) < 1e-9,
                  "%s %" PRId64 ": Netdata shows %.9g %s, want %.9g", metric->name, row->value,
                  netdata, charts_units(metric->group), row->netdata);
    ck_assert_msg(fabs(collectd - row->collectd) < 1e-9,
                  "%s %" PRId64 ": collectd shows %.9g, want %.9g", metric->name, row->value,
                  collectd, row->collectd);
}

TEST_TIMES(every_group_has_a_chart_and_metrics, KSM_GROUPS) {
    enum ksm_group group = (enum ksm_group)_i;
    int metrics = 0;
    int states = 0;

    ck_assert_msg(is_plain(ksm_group_names[group]), "group %d: name \"%s\"", _i,
                  ksm_group_names[group]);
    ck_assert_msg(charts_units(group) && *charts_units(group),
                  "%s: no chart, or one without units (netdata/charts.def)",
                  ksm_group_names[group]);
    for (size_t id = 0; id < KSM_METRICS; id++) {
        metrics += ksm_metrics[id].group == group;
        states += ksm_metrics[id].group == group && ksm_metrics[id].kind == KSM_KIND_STATE;
    }
    ck_assert_msg(metrics > 0, "%s: no metric is in this group", ksm_group_names[group]);
    ck_assert_msg(states == 0 || metrics == 1,
                  "%s: the states of one metric fill a chart, it has %d metrics",
                  ksm_group_names[group], metrics);
}

/* All rates or all gauges, with one scale. */
TEST_TIMES(charts_are_of_one_kind, KSM_GROUPS) {
    const struct ksm_metric *first = NULL;

    for (size_t id = 0; id < KSM_METRICS; id++) {
        const struct ksm_metric *metric = &ksm_metrics[id];
        if ((int)metric->group != _i)
            continue;
        first = first ? first : metric;
        struct charts_scale a = charts_scale(first, 4096);
        struct charts_scale b = charts_scale(metric, 4096);
        ck_assert_msg(first->kind == metric->kind && a.divisor == b.divisor &&
                          a.multiplier == b.multiplier,
                      "%s: %s and %s differ in kind or scale", ksm_group_names[_i], first->name,
                      metric->name);
    }
}

TEST_TIMES(every_unit_has_words_and_a_scale, KSM_UNITS) {
    ck_assert_msg(ksm_unit_words[_i] && *ksm_unit_words[_i], "unit %d: no words", _i);
    ck_assert_msg(ksm_unit_scale[_i] == 1 || ksm_unit_scale[_i] == 1000, "%s: scale %d",
                  ksm_unit_words[_i], ksm_unit_scale[_i]);
}

/* Without a formula, a derived metric would keep its initial status. */
TEST_TIMES(every_derived_metric_is_computed, KSM_METRICS) {
    const struct ksm_metric *metric = &ksm_metrics[_i];
    struct ksm_sample sample = {.page_size = 4096};
    struct ksm_rates rates;

    if (metric->source != KSM_SOURCE_DERIVED)
        return;
    for (size_t id = 0; id < KSM_METRICS; id++)
        sample.values[id] = (struct ksm_value){64, 0};
    sample.values[_i].status = -ENOSYS;
    ksm_derive(&sample);
    ksm_rates_init(&rates);
    ksm_rates_update(&rates, &sample, 0);
    ck_assert_msg(sample.values[_i].status != -ENOSYS, "%s: nothing works it out", metric->name);
}

/* On a host of 1 kB that saves two pages. collectd's type percent is limited to 100. */
TEST_TIMES(metric_that_can_exceed_100_percent_has_an_open_unit, KSM_METRICS) {
    const struct ksm_metric *metric = &ksm_metrics[_i];
    struct ksm_sample sample = {.page_size = 4096};

    for (size_t id = 0; id < KSM_METRICS; id++)
        sample.values[id] = (struct ksm_value){1, 0};
    ksm_derive(&sample);
    ck_assert_msg(metric->unit != KSM_UNIT_PERCENT || sample.values[_i].value <= 100000,
                  "%s: got %" PRId64 " thousandths of a percent", metric->name,
                  sample.values[_i].value);
}
