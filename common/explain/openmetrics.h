/* SPDX-License-Identifier: MIT
 *
 * All metrics and consumers as text for Prometheus, for node_exporter's textfile collector.
 */
#ifndef KSM_OPENMETRICS_H
#define KSM_OPENMETRICS_H

#include <stdio.h>

#include "explain/explain.h"

/* Writes the metrics that are known, in base units: ksm_saved_bytes, ksm_ram_ratio,
 * ksm_ksmd_cpu_seconds_total …; of the consumers those that the plugins show. What is written is
 * right in OpenMetrics and in the older text format, which node_exporter reads: they differ in how
 * the type of a counter is written, so that it is left out; its name ends in _total. */
void openmetrics_write(const struct explain_facts *facts, FILE *file);

/* What a metric is called there, and what its integer is divided by: 0, it is not written. */
enum { OPENMETRICS_NAME_SIZE = 128 };
int64_t openmetrics_form(const struct ksm_metric *metric, char name[static OPENMETRICS_NAME_SIZE]);

#endif
