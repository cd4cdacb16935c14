/* SPDX-License-Identifier: MIT
 *
 * Computes the derived metrics of one sample (DERIVED rows of metrics.def). Pure arithmetic: no
 * clock, no state. derive.c names the kernel source of each formula.
 */
#ifndef KSM_DERIVE_H
#define KSM_DERIVE_H

#include <stdbool.h>

#include "metrics/metrics.h"

/* sizeof(struct ksm_rmap_item) of mm/ksm.c on 64-bit kernels, in bytes: general_profit subtracts it
 * for every tracked page. */
enum { KSM_RMAP_ITEM_BYTES = 64 };

/* Upper limit of exposure in thousandths of a percent: 1,000,000 %. Netdata stores seven digits. */
enum { KSM_EXPOSURE_MAX = 1000 * 1000 * 1000 };

/* Sets every derived metric of the sample. Its status is that of the first input without a value;
 * -ERANGE if the result exceeds an int64; -ENODATA if the divisor is 0 or if two readings
 * contradict each other. Two exceptions: a kernel without zero counts as zero = 0; and if zero is
 * negative (-EDOM, a bug of Linux 6.6 to 6.17), general_profit is wrong as well, so profit is
 * estimated as before Linux 6.4. */
void ksm_derive(struct ksm_sample *sample);

/* Returns whether KSM tracks or has merged any page: shared + sharing + unshared + volatile + zero
 * is not 0. A state that could not be read counts as not 0. */
bool ksm_has_pages(const struct ksm_sample *sample);

/* Sets *pages to shared + sharing + unshared + volatile: the tracked pages, which a full scan
 * visits. Returns 0, the status of the first one without a value, or -ERANGE. */
int ksm_tracked_pages(const struct ksm_sample *sample, int64_t *pages);

#endif
