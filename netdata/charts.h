/* SPDX-License-Identifier: MIT
 *
 * The metrics as Netdata's charts: what is drawn how, and the lines CHART, VARIABLE, DIMENSION,
 * BEGIN, SET, END of the plugins.d protocol.
 */
#ifndef KSM_CHARTS_H
#define KSM_CHARTS_H

#include <stdbool.h>
#include <stdint.h>

#include "metrics/metrics.h"
#include "out.h"

/* The charts' places on the page, as Netdata's priorities: right after its own memory section, in
 * the order of charts.def. */
enum charts_place {
    CHARTS_BEFORE = 1389,
#define CHART(group, family, title, units, type) CHARTS_PLACE_##group,
#define CONSUMERS CHARTS_PLACE_consumers, CHARTS_PLACE_consumer, CHARTS_PLACE_other,
#include "charts.def"
};

/* What was sent of a counter. */
struct charts_counter {
    int64_t tick;     /* when, 0: never */
    int64_t value;    /* the counter's */
    int64_t left_out; /* what is sent is so much less: its growth in gaps */
};

/* What is drawn and sent so far. */
struct charts {
    int update_every; /* seconds */
    int64_t ticks;
    size_t first[KSM_GROUPS]; /* a group's metrics are among those from first to before end */
    size_t end[KSM_GROUPS];
    bool drawn[KSM_METRICS]; /* its dimensions are known to the agent */
    struct charts_counter counters[KSM_METRICS];
};

void charts_init(struct charts *charts, int update_every);

/* Appends the metrics of one tick. A chart is drawn when this kernel has one of its metrics, and
 * drawn again when one appears later; a metric that has no value at this tick is left out (a gap).
 * Of a counter's growth in a gap one tick's share is sent after it: the agent takes all growth
 * since the last value for that of one tick. A chart that counts in pages carries their size as the
 * variable page_size (bytes), for alerts that compare it with a chart in MiB. Variables of the
 * host, ksm_has_GROUP, tell alerts which charts there are: 1 or 0. */
void charts_send(struct charts *charts, const struct ksm_sample *sample, struct out *out);

/* How a metric's integer becomes the number in the chart: value * multiplier / divisor, of a
 * counter the rate of that per second. For the documentation and the tests. */
struct charts_scale {
    int64_t multiplier;
    int64_t divisor;
};
struct charts_scale charts_scale(const struct ksm_metric *metric, int64_t page_size);

/* The units of a group's chart, as Netdata shows them. */
const char *charts_units(enum ksm_group group);

#endif
