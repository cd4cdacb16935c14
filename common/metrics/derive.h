/* SPDX-License-Identifier: MIT
 *
 * The derived metrics: arithmetic over one sample, without clock or state. The formulas are in
 * metrics.def, and their sources in derive.c.
 */
#ifndef KSM_DERIVE_H
#define KSM_DERIVE_H

#include <stdbool.h>

#include "metrics/metrics.h"

/* sizeof(struct ksm_rmap_item) of mm/ksm.c on 64-bit kernels: what general_profit takes off for
 * every page that KSM watches. */
enum { KSM_RECORD_BYTES = 64 };

/* exposure in thousandths of a percent is not larger than this, 1,000,000 %: a gauge shows seven
 * digits well, and beyond 100 % it does not matter by how much. */
enum { KSM_EXPOSURE_MOST = 1000 * 1000 * 1000 };

/* Computes every derived metric of the sample from those that were read. If this kernel lacks a
 * metric that it needs, the derived metric is absent too; only zero counts as 0 then. If a metric
 * that it needs could not be read, it has that metric's status. The exception is profit: if zero is
 * below 0
 * (-EDOM), general_profit is wrong too, and the estimate replaces it. -ERANGE if a product exceeds
 * an int64, -ENODATA if the divisor is 0 or two readings contradict each other. */
void ksm_derive(struct ksm_sample *sample);

/* Whether KSM has any page at all: shared + sharing + unshared + volatile + zero is not 0. What
 * could not be read may hold some. */
bool ksm_registered(const struct ksm_sample *sample);

/* shared + sharing + unshared + volatile: every page that KSM has a record of, and that a full scan
 * visits. Returns 0; the status of one that could not be read; or -ERANGE. */
int ksm_registered_pages(const struct ksm_sample *sample, int64_t *pages);

#endif
