/* SPDX-License-Identifier: MIT
 *
 * Sends the host's metrics as Netdata charts: the lines CHART, VARIABLE, DIMENSION, BEGIN, SET and
 * END of the plugins.d protocol. charts.def and scales.def hold the charts. Call charts_init()
 * once, then charts_send() for every sample.
 */
#ifndef KSM_CHARTS_H
#define KSM_CHARTS_H

#include <stdbool.h>
#include <stdint.h>

#include "metrics/metrics.h"
#include "out.h"

/* Netdata's priorities: right after its own memory section, in the order of charts.def. */
enum charts_priority {
    CHARTS_FIRST_PRIORITY = 1389,
#define CHART(group, family, title, units, type, interval) CHARTS_PRIORITY_##group,
#define CONSUMERS                                                                                  \
    CHARTS_PRIORITY_consumers, CHARTS_PRIORITY_consumer, CHARTS_PRIORITY_other,                    \
        CHARTS_PRIORITY_owners,
#include "charts.def"
};

/* A counter as it was sent last. */
struct charts_counter {
    int64_t update; /* of its chart; 0: never sent */
    int64_t value;  /* of the counter */
    int64_t offset; /* value less the number sent: the growth in gaps so far */
};

struct charts {
    int update_every;              /* seconds */
    int64_t updates[KSM_GROUPS];   /* how often a chart was due so far */
    int64_t intervals[KSM_GROUPS]; /* since the epoch, when it was due last */
    bool paused[KSM_GROUPS];       /* it has no values, and is not updated */
    size_t first[KSM_GROUPS];      /* a group's metrics lie in [first, end) */
    size_t end[KSM_GROUPS];
    bool sent[KSM_METRICS]; /* DIMENSION was sent */
    struct charts_counter counters[KSM_METRICS];
};

void charts_init(struct charts *charts, int update_every);

/* Seconds between two values of a group's chart: its interval in charts.def, rounded up to a
 * multiple of update_every. */
int charts_interval(const struct charts *charts, enum ksm_group group);

/* Appends the lines of one sample, taken at now_s (CLOCK_REALTIME, seconds). A chart is sent once
 * this kernel has one of its metrics, and again when another one appears. A metric without a value
 * is left out: a gap. A chart none of whose metrics can have a value is rarely updated: the agent
 * stores gaps.
 *
 * A chart with an interval is due in the first sample, and then in the first sample of each
 * multiple of the interval: at the times for which the agent stores a value. After a clock was set,
 * it is due at once.
 *
 * After a gap only one update's share of a counter's growth is sent, because the agent attributes
 * all growth since the last value to one update. A chart in pages has the variable page_size
 * (bytes), for alerts that compare it with a chart in MiB. The host's variables ksm_has_GROUP (1 or
 * 0) tell alerts which charts exist. */
void charts_send(struct charts *charts, const struct ksm_sample *sample, int64_t now_s,
                 struct out *out);

/* The number in the chart is value * multiplier / divisor; for a counter its rate per second. */
struct charts_scale {
    int64_t multiplier;
    int64_t divisor;
};
struct charts_scale charts_scale(const struct ksm_metric *metric, int64_t page_size);

/* Units of a group's chart. */
const char *charts_units(enum ksm_group group);

#endif
