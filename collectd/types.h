/* SPDX-License-Identifier: MIT
 *
 * The type of each metric in collectd (types.def).
 */
#ifndef KSM_TYPES_H
#define KSM_TYPES_H

#include "metrics/metrics.h"

/* type: NULL if no metric has that kind and unit. */
struct collectd_type {
    const char *type;
    int divisor;
};

static const struct collectd_type collectd_types[KSM_KINDS][KSM_UNITS] = {
#define TYPE(kind, unit, type, divisor) [KSM_KIND_##kind][KSM_UNIT_##unit] = {type, divisor},
#include "types.def"
};

#endif
