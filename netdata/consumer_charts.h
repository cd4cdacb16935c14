/* SPDX-License-Identifier: MIT
 *
 * The consumers as Netdata's charts: ksm.consumers, the savings by kind; and for each consumer that
 * is shown a chart of context ksm.consumer_memory, with its kind and name as labels.
 */
#ifndef KSM_CONSUMER_CHARTS_H
#define KSM_CONSUMER_CHARTS_H

#include <stdbool.h>
#include <stddef.h>

#include "consumers/consumers.h"
#include "out.h"

enum { CONSUMER_CHARTS = 200 + 1 }; /* the most that option consumers allows, and other */

/* What is drawn so far. */
struct consumer_charts {
    int update_every;  /* seconds: the interval of the consumers' samples */
    unsigned excluded; /* a bit for each kind that is left out: it has no dimension */
    bool drawn;        /* ksm.consumers */
    size_t count;
    struct consumer_chart {
        struct ksm_consumer_name name;
        bool is_other;
        bool alive; /* in the table of this sample */
    } list[CONSUMER_CHARTS];
};

void consumer_charts_init(struct consumer_charts *charts, int update_every, unsigned excluded);

/* Appends one sample. A consumer that is not shown any more has its chart made obsolete. A table
 * that is not valid sends nothing: a gap. */
void consumer_charts_send(struct consumer_charts *charts, const struct ksm_consumer_table *table,
                          struct out *out);

#endif
