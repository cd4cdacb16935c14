/* SPDX-License-Identifier: MIT */
#include "consumer_charts.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "charts.h"

#define FAMILY "'savings by consumer'"

void consumer_charts_init(struct consumer_charts *charts, int update_every, unsigned excluded) {
    memset(charts, 0, sizeof(*charts));
    charts->update_every = update_every;
    charts->excluded = excluded;
}

static const char *kind_of(const struct consumer_chart *chart) {
    return chart->is_other ? "other" : ksm_consumer_kinds[chart->name.kind];
}

/* The end of a CHART line: priority update_every options plugin module. */
static void end_chart(const struct consumer_charts *charts, enum charts_priority priority,
                      const char *options, struct out *out) {
    out_number(out, (int)priority);
    out_text(out, " ");
    out_number(out, charts->update_every);
    out_text(out, options);
    out_text(out, " ksm.plugin ksm\n");
}

/* Values are sent in bytes, and drawn in MiB. */
static void send_dimension(const char *id, struct out *out) {
    OUT_TEXTS(out, "DIMENSION ", id, " '' absolute 1 1048576\n");
}

static void send_bytes(const char *id, int64_t bytes, struct out *out) {
    OUT_TEXTS(out, "SET ", id);
    out_line(out, " = ", bytes);
}

/* type.id of a consumer's chart. Names are clean: they need no quotes. */
static void send_id(const struct consumer_chart *chart, struct out *out) {
    OUT_TEXTS(out, "ksm.consumer_", kind_of(chart), "_", chart->name.text);
}

/* The chart's name, by which agents export it. Agents replace every character but letters, digits
 * and _ - . by _, and number names that are then equal, in their order of appearance, which differs
 * from run to run. So a name with such a character gets a hash suffix. If that is only the ~ of a
 * hash suffix, it becomes _. If nothing is replaced, the name is empty: the agent takes the id. */
static void send_name(const struct consumer_chart *chart, struct out *out) {
    const char *text = chart->name.text;
    char name[KSM_CONSUMER_NAME_SIZE], suffix[1 + 8 + 1] = "";
    bool is_changed = false, needs_suffix = false;

    memcpy(name, text, sizeof(name));
    for (char *c = name; *c; c++) {
        if (isalnum((unsigned char)*c) || strchr("_-.", *c))
            continue;
        is_changed = true;
        needs_suffix = needs_suffix || *c != '~';
        *c = '_';
    }
    if (needs_suffix)
        snprintf(suffix, sizeof(suffix), "_%08x",
                 (unsigned)ksm_consumer_name_hash(text, strlen(text)));
    if (is_changed)
        OUT_TEXTS(out, "consumer_", kind_of(chart), "_", name, suffix);
    else
        out_text(out, "''");
}

/* All charts have the same title, because the agent uses one of them for the whole context, and so
 * does its export to Prometheus. The labels show which consumer a chart belongs to. */
static void send_chart_line(const struct consumer_charts *charts,
                            const struct consumer_chart *chart, const char *options,
                            struct out *out) {
    out_text(out, "CHART ");
    send_id(chart, out);
    out_text(out, " ");
    send_name(chart, out);
    out_text(out, " 'Memory of a consumer: used (real) and saved (saved)' "
                  "'MiB' " FAMILY " ksm.consumer_memory stacked ");
    end_chart(charts, chart->is_other ? CHARTS_PRIORITY_other : CHARTS_PRIORITY_consumer, options,
              out);
}

static void send_definition(const struct consumer_charts *charts,
                            const struct consumer_chart *chart, struct out *out) {
    send_chart_line(charts, chart, " ''", out);
    OUT_TEXTS(out, "CLABEL kind ", kind_of(chart), " 1\nCLABEL name '", chart->name.text,
              "' 1\nCLABEL_COMMIT\n");
    send_dimension("real", out);
    send_dimension("saved", out);
}

static struct consumer_chart *find_chart(struct consumer_charts *charts,
                                         const struct ksm_consumer_name *name, bool is_other) {
    for (size_t i = 0; i < charts->count; i++) {
        struct consumer_chart *chart = &charts->list[i];
        if (chart->is_other == is_other && ksm_consumer_name_compare(&chart->name, name) == 0)
            return chart;
    }
    return NULL;
}

static void send_consumer(struct consumer_charts *charts, const struct ksm_consumer *consumer,
                          bool is_other, struct out *out) {
    struct consumer_chart *chart = find_chart(charts, &consumer->name, is_other);

    if (!chart) {
        if (charts->count == CONSUMER_CHARTS)
            return;
        chart = &charts->list[charts->count++];
        *chart = (struct consumer_chart){.name = consumer->name, .is_other = is_other};
        send_definition(charts, chart, out);
    }
    chart->is_shown = true;
    out_text(out, "BEGIN ");
    send_id(chart, out);
    out_text(out, "\n");
    if (consumer->real >= 0)
        send_bytes("real", consumer->real, out);
    send_bytes("saved", consumer->saved, out);
    out_text(out, "END\n");
}

static bool has_dimension(const struct consumer_charts *charts, size_t kind) {
    return !(charts->excluded & 1U << kind);
}

static void send_sum(struct consumer_charts *charts, const struct ksm_consumer_table *table,
                     struct out *out) {
    if (!charts->sent) {
        out_text(out, "CHART ksm.consumers '' 'Memory saved, by kind of consumer' 'MiB' " FAMILY
                      " ksm.consumers stacked ");
        end_chart(charts, CHARTS_PRIORITY_consumers, " ''", out);
        for (size_t kind = 0; kind < KSM_CONSUMER_KIND_COUNT; kind++)
            if (has_dimension(charts, kind))
                send_dimension(ksm_consumer_kinds[kind], out);
        send_dimension("unattributed", out);
        charts->sent = true;
    }
    out_text(out, "BEGIN ksm.consumers\n");
    for (size_t kind = 0; kind < KSM_CONSUMER_KIND_COUNT; kind++)
        if (has_dimension(charts, kind))
            send_bytes(ksm_consumer_kinds[kind], table->by_kind[kind], out);
    send_bytes("unattributed", table->unattributed, out);
    out_text(out, "END\n");
}

static void send_owners(struct consumer_charts *charts, const struct ksm_consumer_table *table,
                        struct out *out) {
    if (table->owners < 0)
        return;
    if (!charts->sent_owners) {
        out_text(out, "CHART ksm.owners '' 'Owners whose memory KSM merges' 'owners' " FAMILY
                      " ksm.owners line ");
        end_chart(charts, CHARTS_PRIORITY_owners, " ''", out);
        out_text(out, "DIMENSION owners '' absolute 1 1\n");
        charts->sent_owners = true;
    }
    out_text(out, "BEGIN ksm.owners\nSET owners");
    out_line(out, " = ", table->owners);
    out_text(out, "END\n");
}

/* Removes charts of consumers that are not in this sample, before new ones are added. */
static void send_obsolete(struct consumer_charts *charts, const struct ksm_consumer_table *table,
                          struct out *out) {
    size_t kept = 0;

    for (size_t i = 0; i < charts->count; i++)
        charts->list[i].is_shown = charts->list[i].is_other && table->other.processes > 0;
    for (size_t i = 0; i < table->count; i++) {
        struct consumer_chart *chart = find_chart(charts, &table->list[i].name, false);
        if (chart && table->list[i].shown)
            chart->is_shown = true;
    }
    for (size_t i = 0; i < charts->count; i++) {
        if (charts->list[i].is_shown)
            charts->list[kept++] = charts->list[i];
        else
            send_chart_line(charts, &charts->list[i], " obsolete", out);
    }
    charts->count = kept;
}

void consumer_charts_send(struct consumer_charts *charts, const struct ksm_consumer_table *table,
                          struct out *out) {
    if (!table->valid)
        return;
    send_sum(charts, table, out);
    send_owners(charts, table, out);
    send_obsolete(charts, table, out);
    for (size_t i = 0; i < table->count; i++)
        if (table->list[i].shown)
            send_consumer(charts, &table->list[i], false, out);
    if (table->other.processes > 0)
        send_consumer(charts, &table->other, true, out);
}
