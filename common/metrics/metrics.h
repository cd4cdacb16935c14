/* SPDX-License-Identifier: MIT
 *
 * The metrics: metrics.def as an enum and as descriptors. Constant data, no state.
 */
#ifndef KSM_METRICS_H
#define KSM_METRICS_H

/* Sums and products of 64 bits need __int128 (attribution.h), and only 64-bit kernels have records
 * of 64 bytes for pages (derive.h). */
#ifndef __SIZEOF_INT128__
#error "The KSM plugins need a 64-bit architecture: here there is no __int128"
#endif

#include <stddef.h>
#include <stdint.h>

/* Where a metric comes from. DERIVED is no file: derive.h and rates.h. */
enum ksm_source {
    KSM_SOURCE_KSM,
    KSM_SOURCE_VMSTAT,
    KSM_SOURCE_MEMINFO,
    KSM_SOURCE_KSMD,
    KSM_SOURCE_DERIVED
};

/* KSM_INPUT is read for the derived metrics and never sent. */
enum ksm_kind {
    KSM_KIND_GAUGE,
    KSM_KIND_COUNTER,
    KSM_KIND_STATE,
    KSM_KIND_KNOB,
    KSM_KIND_INPUT,
    KSM_KINDS
};

/* What the int64 of a metric counts. Fractions are kept as thousandths, so integers stay integers
 * up to the host's boundary. X(id, thousandths?, words) */
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
    KSM_UNIT_LIST(X)
#undef X
        KSM_UNITS
};

/* Metrics drawn together, in the order they are shown in. KSM_GROUP_none: not shown. */
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
    KSM_GROUP_LIST(X)
#undef X
        KSM_GROUPS,
    KSM_GROUP_none = KSM_GROUPS
};

/* KSM_shared, KSM_sharing … : the index of a metric's descriptor and value. */
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
    const char *key; /* the kernel's file or field; the formula of a derived metric */
    int (*parse)(const char *text, size_t len, int64_t *value); /* NULL: derived */
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
extern const int ksm_unit_scale[KSM_UNITS]; /* 1, or 1000 where thousandths are kept */

/* The words of the metrics of kind STATE: value i is called ksm_states[i]. */
enum { KSM_STATES = 3 };
extern const char *const ksm_states[KSM_STATES];

/* One metric at one instant. status is 0 where value is valid; -ENOENT where this kernel lacks it;
 * another -errno where it is there but gives no value now. value means nothing unless status is 0.
 */
struct ksm_value {
    int64_t value;
    int status;
};

/* All metrics of one instant, by enum ksm_id. page_size in bytes. */
struct ksm_sample {
    struct ksm_value at[KSM_METRICS];
    int64_t page_size;
};

#endif
