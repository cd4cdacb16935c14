/* SPDX-License-Identifier: MIT
 *
 * Sends the consumers as Netdata charts: ksm.consumers, the savings by kind, and for each shown
 * consumer a chart of the context ksm.consumer_memory with its kind and name as labels.
 */
#ifndef KSM_CONSUMER_CHARTS_H
#define KSM_CONSUMER_CHARTS_H

#include <stdbool.h>
#include <stddef.h>

#include "consumers/consumers.h"
#include "out.h"

enum { CONSUMER_CHARTS = 200 + 1 }; /* maximum of the option consumers, and other */

struct consumer_charts {
    int update_every;  /* seconds: the interval of the consumers' samples */
    unsigned excluded; /* bit i: enum ksm_consumer_kind i has no dimension */
    bool sent;         /* CHART ksm.consumers was sent */
    bool sent_owners;  /* CHART ksm.owners was sent */
    size_t count;
    struct consumer_chart {
        struct ksm_consumer_name name;
        bool is_other;
        bool is_shown; /* in this sample */
    } list[CONSUMER_CHARTS];
};

void consumer_charts_init(struct consumer_charts *charts, int update_every, unsigned excluded);

/* Appends the lines of one sample. The chart of a consumer that is no longer shown becomes
 * obsolete. An invalid table sends nothing: a gap. */
void consumer_charts_send(struct consumer_charts *charts, const struct ksm_consumer_table *table,
                          struct out *out);

#endif
