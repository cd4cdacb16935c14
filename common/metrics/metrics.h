/* SPDX-License-Identifier: MIT
 *
 * The metrics of metrics.def as an enum and as a table of descriptors. Constant data, no state.
 */
#ifndef KSM_METRICS_H
#define KSM_METRICS_H

/* Attribution needs __int128, and derive.h has the size of an rmap_item of 64-bit kernels. */
#ifndef __SIZEOF_INT128__
#error "The KSM plugins need a 64-bit architecture: this one has no __int128"
#endif

#include <stddef.h>
#include <stdint.h>

/* Where a metric comes from. DERIVED metrics are computed (derive.h, rates.h). */
enum ksm_source {
    KSM_SOURCE_KSM,
    KSM_SOURCE_VMSTAT,
    KSM_SOURCE_MEMINFO,
    KSM_SOURCE_KSMD,
    KSM_SOURCE_DERIVED
};

/* INPUT is read for derived metrics and never sent. */
enum ksm_kind {
    KSM_KIND_GAUGE,
    KSM_KIND_COUNTER,
    KSM_KIND_STATE,
    KSM_KIND_KNOB,
    KSM_KIND_INPUT,
    KSM_KINDS
};

/* Unit of a metric's int64: X(id, scale, words). Fractions are kept as thousandths (scale 1000), so
 * that values stay integers up to the daemon's boundary. */
#define KSM_UNIT_LIST(X)                                                                           \
    X(PAGES, 1, "pages")                                                                           \
    X(BYTES, 1, "bytes")                                                                           \
    X(SIGNED_BYTES, 1, "bytes, may be negative")                                                   \
    X(KILOBYTES, 1, "kB")                                                                          \
    X(PERCENT, 1000, "%")                                                                          \
    X(PERCENT_OPEN, 1000, "%, may pass 100")                                                       \
    X(SIGNED_PERCENT, 1000, "%, may be negative")                                                  \
    X(WHOLE_PERCENT, 1, "%")                                                                       \
    X(RATIO, 1000, "pages per page")                                                               \
    X(NODES, 1, "nodes")                                                                           \
    X(SCANS, 1, "scans")                                                                           \
    X(NS, 1, "ns")                                                                                 \
    X(MS, 1, "ms")                                                                                 \
    X(SECONDS, 1, "s")                                                                             \
    X(DURATION, 1000, "s")                                                                         \
    X(SECONDS_PER_GIB, 1000, "s per GiB")                                                          \
    X(PAGE_RATE, 1000, "pages per second, may be negative")                                        \
    X(HUGE_PAGES, 1, "huge pages")                                                                 \
    X(FLAG, 1, "flag")                                                                             \
    X(RUN, 1, "state")

enum ksm_unit {
#define X(id, scale, words) KSM_UNIT_##id,
    KSM_UNIT_LIST(X) KSM_UNITS
#undef X
};

/* Metrics that share a chart, in display order. KSM_GROUP_none: not shown. */
#define KSM_GROUP_LIST(X)                                                                          \
    X(savings)                                                                                     \
    X(effectiveness)                                                                               \
    X(state)                                                                                       \
    X(exposure)                                                                                    \
    X(memory)                                                                                      \
    X(zero_pages)                                                                                  \
    X(merge_rate)                                                                                  \
    X(sharing_ratio)                                                                               \
    X(stable_nodes)                                                                                \
    X(thp)                                                                                         \
    X(thp_split)                                                                                   \
    X(ksmd_cpu)                                                                                    \
    X(cpu_cost)                                                                                    \
    X(scan)                                                                                        \
    X(scan_cost)                                                                                   \
    X(scan_time)                                                                                   \
    X(full_scans)                                                                                  \
    X(cow)                                                                                         \
    X(settings_pages)                                                                              \
    X(settings_ms)                                                                                 \
    X(settings_s)                                                                                  \
    X(settings_percent)                                                                            \
    X(settings_flags)

enum ksm_group {
#define X(id) KSM_GROUP_##id,
    KSM_GROUP_LIST(X) KSM_GROUPS,
    KSM_GROUP_none = KSM_GROUPS
#undef X
};

/* KSM_shared, KSM_sharing …: index of a metric's descriptor and value. */
enum ksm_id {
#define METRIC(name, source, key, form, kind, unit, group, since, help) KSM_##name,
#define DERIVED(name, formula, kind, unit, group, since, help) KSM_##name,
#define RATE DERIVED
#define INPUT(name, source, key, form, unit, since, help) KSM_##name,
#include "metrics/metrics.def"
    KSM_METRICS
};

struct ksm_metric {
    const char *name;
    const char *key; /* the kernel's file or field; for a computed metric its formula */
    int (*parse)(const char *text, size_t len, int64_t *value); /* NULL for a computed metric */
    enum ksm_source source;
    enum ksm_kind kind;
    enum ksm_unit unit;
    enum ksm_group group;
    const char *since;
    const char *help;
};

extern const struct ksm_metric ksm_metrics[KSM_METRICS];
extern const char *const ksm_group_names[KSM_GROUPS];
extern const char *const ksm_unit_words[KSM_UNITS];
extern const int ksm_unit_scale[KSM_UNITS];

/* Values of the STATE metric run, and their names. */
enum ksm_state { KSM_STOPPED, KSM_RUNNING, KSM_UNMERGED, KSM_STATES };
extern const char *const ksm_states[KSM_STATES];

/* A metric's value in one sample. status: 0 if value is valid, -ENOENT if this kernel lacks the
 * metric, another -errno if it has no value now. */
struct ksm_value {
    int64_t value;
    int status;
};

/* All metrics at one instant, indexed by enum ksm_id. page_size in bytes. */
struct ksm_sample {
    struct ksm_value values[KSM_METRICS];
    int64_t page_size;
};

#endif
