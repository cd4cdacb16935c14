/* SPDX-License-Identifier: MIT
 *
 * Writes all metrics and consumers as text for Prometheus, for node_exporter's textfile collector.
 */
#ifndef KSM_OPENMETRICS_H
#define KSM_OPENMETRICS_H

#include <stdio.h>

#include "explain/explain.h"

/* Writes the metrics that are known, in base units (ksm_saved_bytes, ksm_ram_ratio,
 * ksm_ksmd_cpu_seconds_total …), and the consumers that the plugins show. The text is valid in
 * OpenMetrics and in the older format that node_exporter reads. Their types of counters differ, so
 * counters have no TYPE line; their names end in _total. Errors are in ferror(file). */
void openmetrics_write(const struct explain_facts *facts, FILE *file);

enum { OPENMETRICS_NAME_SIZE = 128 };

/* Sets the name of a metric in that format. Returns the divisor of its value; 0: it is not written,
 * and name is unchanged. */
int64_t openmetrics_form(const struct ksm_metric *metric, char name[static OPENMETRICS_NAME_SIZE]);

#endif
