/* SPDX-License-Identifier: MIT
 *
 * Writes all metrics and consumers as text for Prometheus, for node_exporter's textfile collector.
 */
#ifndef KSM_OPENMETRICS_H
#define KSM_OPENMETRICS_H

#include <stdio.h>

#include "explain/explain.h"

/* Writes the metrics that are known, in base units (ksm_saved_bytes, ksm_ram_ratio,
 * ksm_ksmd_cpu_seconds_total …), and the consumers that the plugins show. The text is valid
 * OpenMetrics, and valid in the older format that node_exporter reads. The two declare counters in
 * different ways, so counters have no TYPE line; their names end in _total. The caller checks
 * ferror(file). */
void openmetrics_write(const struct explain_facts *facts, FILE *file);

/* Writes the lines that begin a metric of that name. gauge: if not, it is a counter. */
void openmetrics_header(const char *name, bool gauge, const char *help, FILE *file);

enum { OPENMETRICS_NAME_SIZE = 128 };

/* Sets name to a metric's name in that format. Returns the divisor of its value; or 0 if it is not
 * written, and leaves name unchanged. */
int64_t openmetrics_form(const struct ksm_metric *metric, char name[static OPENMETRICS_NAME_SIZE]);

#endif
