/* SPDX-License-Identifier: MIT */
#include "charts.h"

#include <errno.h>
#include <string.h>

static const struct chart {
    const char *family;
    const char *title;
    const char *units;
    const char *type;
    enum charts_priority priority;
    int interval; /* seconds */
} group_charts[KSM_GROUPS] = {
#define CHART(group, family, title, units, type, interval)                                         \
    [KSM_GROUP_##group] = {family, title, units, type, CHARTS_PRIORITY_##group, interval},
#include "charts.def"
};

/* HOST_PAGE_SIZE: charts_scale() replaces it. */
enum { HOST_PAGE_SIZE = -1, MIB = 1024 * 1024 };

static const struct charts_scale scales[KSM_KINDS][KSM_UNITS] = {
#define SCALE(kind, unit, multiplier, divisor)                                                     \
    [KSM_KIND_##kind][KSM_UNIT_##unit] = {multiplier, divisor},
#include "scales.def"
};

/* Lines of every tick, or their first parts, as literals. */
static const char *const begin_lines[KSM_GROUPS] = {
#define X(id) "BEGIN ksm." #id "\n",
    KSM_GROUP_LIST(X)
#undef X
};

static const char *const set_lines[KSM_METRICS] = {
#define METRIC(name, source, key, form, kind, unit, group, since, help)                            \
    [KSM_##name] = "SET " #name " = ",
#define DERIVED(name, formula, kind, unit, group, since, help) [KSM_##name] = "SET " #name " = ",
#define RATE(name, formula, kind, unit, group, since, help) [KSM_##name] = "SET " #name " = ",
#include "metrics/metrics.def"
};

struct charts_scale charts_scale(const struct ksm_metric *metric, int64_t page_size) {
    struct charts_scale scale = scales[metric->kind][metric->unit];

    if (scale.multiplier == HOST_PAGE_SIZE)
        scale.multiplier = page_size;
    return scale;
}

const char *charts_units(enum ksm_group group) {
    return group_charts[group].units;
}

int charts_interval(const struct charts *charts, enum ksm_group group) {
    const int every = charts->update_every;

    return (group_charts[group].interval + every - 1) / every * every;
}

void charts_init(struct charts *charts, int update_every) {
    memset(charts, 0, sizeof(*charts));
    charts->update_every = update_every;
    for (size_t id = KSM_METRICS; id-- > 0;) {
        enum ksm_group group = ksm_metrics[id].group;
        if (group == KSM_GROUP_none)
            continue;
        charts->first[group] = id;
        if (charts->end[group] == 0)
            charts->end[group] = id + 1;
    }
}

static void send_dimension(const char *id, const struct ksm_metric *metric, int64_t page_size,
                           struct out *out) {
    struct charts_scale scale = charts_scale(metric, page_size);

    out_text(out, "DIMENSION ");
    out_text(out, id);
    out_text(out, " ''");
    out_text(out, metric->kind == KSM_KIND_COUNTER ? " incremental " : " absolute ");
    out_number(out, scale.multiplier);
    out_text(out, " ");
    out_number(out, scale.divisor);
    out_text(out, "\n");
}

/* Returns whether a chart is in pages, which an alert can only compare with MiB by their size. */
static bool counts_pages(enum ksm_group group) {
    for (size_t id = 0; id < KSM_METRICS; id++) {
        const struct ksm_metric *metric = &ksm_metrics[id];
        if (metric->group == group &&
            (metric->unit == KSM_UNIT_PAGES || metric->unit == KSM_UNIT_PAGE_RATE) &&
            scales[metric->kind][metric->unit].multiplier != HOST_PAGE_SIZE)
            return true;
    }
    return false;
}

/* CHART type.id name title units family context charttype priority update_every options plugin
 * module, then its dimensions. Sending it again adds new dimensions. */
static void send_definition(struct charts *charts, enum ksm_group group,
                            const struct ksm_sample *sample, struct out *out) {
    const struct chart *chart = &group_charts[group];
    const char *const words[] = {"CHART ksm.", ksm_group_names[group], " '' '", chart->title,
                                 "' '",        chart->units,           "' '",   chart->family,
                                 "' ksm.",     ksm_group_names[group], " ",     chart->type,
                                 " "};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        out_text(out, words[i]);
    out_number(out, (int)chart->priority);
    out_text(out, " ");
    out_number(out, charts_interval(charts, group));
    out_text(out, " '' ksm.plugin ksm\n");
    if (counts_pages(group)) {
        out_text(out, "VARIABLE CHART page_size = ");
        out_number(out, sample->page_size);
        out_text(out, "\n");
    }

    for (size_t id = 0; id < KSM_METRICS; id++) {
        const struct ksm_metric *metric = &ksm_metrics[id];
        if (metric->group != group || !charts->sent[id])
            continue;
        if (metric->kind == KSM_KIND_STATE)
            for (size_t state = 0; state < KSM_STATES; state++)
                send_dimension(ksm_states[state], metric, sample->page_size, out);
        else
            send_dimension(metric->name, metric, sample->page_size, out);
    }
}

/* Returns the counter less its growth in gaps. */
static int64_t subtract_gaps(struct charts_counter *counter, int64_t value, int64_t update) {
    int64_t growth = 0;

    if (counter->update == 0 || __builtin_sub_overflow(value, counter->value, &growth) ||
        growth < 0)
        counter->offset = 0; /* first value, or the counter was reset */
    else
        counter->offset += growth - growth / (update - counter->update);
    counter->update = update;
    counter->value = value;
    return value - counter->offset;
}

static void set_metric(struct charts *charts, enum ksm_id id, const struct ksm_value *value,
                       struct out *out) {
    const struct ksm_metric *metric = &ksm_metrics[id];

    if (value->status != 0)
        return;
    if (metric->kind == KSM_KIND_COUNTER) {
        out_line(
            out, set_lines[id],
            subtract_gaps(&charts->counters[id], value->value, charts->updates[metric->group]));
        return;
    }
    if (metric->kind != KSM_KIND_STATE) {
        out_line(out, set_lines[id], value->value);
        return;
    }
    for (int64_t state = 0; state < KSM_STATES; state++) {
        OUT_TEXTS(out, "SET ", ksm_states[state]);
        out_line(out, " = ", value->value == state);
    }
}

/* An alert cannot test for a chart that the agent does not know, so each group has a variable. */
static void send_has_chart(enum ksm_group group, bool has_chart, struct out *out) {
    out_text(out, "VARIABLE HOST ksm_has_");
    out_text(out, ksm_group_names[group]);
    out_text(out, has_chart ? " = 1\n" : " = 0\n");
}

/* Whether a metric has a value, or has none because of an error: that makes a gap. */
static bool needs_update(const struct charts *charts, enum ksm_group group,
                         const struct ksm_sample *sample) {
    for (size_t id = charts->first[group]; id < charts->end[group]; id++)
        if (ksm_metrics[id].group == group && charts->sent[id] &&
            (sample->values[id].status != -ENODATA || ksm_metrics[id].kind == KSM_KIND_COUNTER))
            return true;
    return false;
}

/* A query gets an error if a chart has no update in its time span, and the agent stores the second
 * update, not the first. So FIRST_UPDATES are sent, and then one in PAUSE_UPDATES. */
enum { FIRST_UPDATES = 2, PAUSE_UPDATES = 60 };

/* The agent interpolates between the updates before and after a pause. So neither the last update
 * of a pause nor the first one after it has values. */
static void send_update(struct charts *charts, enum ksm_group group,
                        const struct ksm_sample *sample, struct out *out) {
    const int64_t updates = charts->updates[group];
    const bool was_paused = charts->paused[group];

    charts->paused[group] = !needs_update(charts, group, sample);
    if (was_paused && charts->paused[group] && updates > FIRST_UPDATES &&
        updates % PAUSE_UPDATES != 0)
        return;
    out_text(out, begin_lines[group]);
    for (size_t id = charts->first[group]; id < charts->end[group]; id++)
        if (ksm_metrics[id].group == group && !was_paused)
            set_metric(charts, (enum ksm_id)id, &sample->values[id], out);
    out_text(out, "END\n");
}

static void send_chart(struct charts *charts, enum ksm_group group, const struct ksm_sample *sample,
                       struct out *out) {
    bool any = false;
    bool more = false;

    charts->updates[group]++;
    for (size_t id = charts->first[group]; id < charts->end[group]; id++) {
        if (ksm_metrics[id].group != group)
            continue;
        if (!charts->sent[id] && sample->values[id].status != -ENOENT)
            more = true;
        charts->sent[id] = charts->sent[id] || sample->values[id].status != -ENOENT;
        any = any || charts->sent[id];
    }
    if (more || charts->updates[group] == 1)
        send_has_chart(group, any, out);
    if (more)
        send_definition(charts, group, sample, out);
    if (any)
        send_update(charts, group, sample, out);
}

/* Returns whether a chart is due, and notes its interval. */
static bool take_due(struct charts *charts, enum ksm_group group, int64_t now_s) {
    const int interval = charts_interval(charts, group);
    const int64_t before = charts->intervals[group];

    charts->intervals[group] = now_s / interval;
    return interval == charts->update_every || charts->updates[group] == 0 ||
           charts->intervals[group] != before;
}

void charts_send(struct charts *charts, const struct ksm_sample *sample, int64_t now_s,
                 struct out *out) {
    for (int group = 0; group < KSM_GROUPS; group++)
        if (take_due(charts, (enum ksm_group)group, now_s))
            send_chart(charts, (enum ksm_group)group, sample, out);
}
