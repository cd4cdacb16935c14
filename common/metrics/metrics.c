/* SPDX-License-Identifier: MIT */
#include "metrics/metrics.h"

#include "system/parse.h"

const struct ksm_metric ksm_metrics[KSM_METRICS] = {
#define METRIC(name, source, key, form, kind, unit, group, since, help)                            \
    [KSM_##name] = {#name,                                                                         \
                    key,                                                                           \
                    parse_##form,                                                                  \
                    KSM_SOURCE_##source,                                                           \
                    KSM_KIND_##kind,                                                               \
                    KSM_UNIT_##unit,                                                               \
                    KSM_GROUP_##group,                                                             \
                    since,                                                                         \
                    help},
#define DERIVED(name, formula, kind, unit, group, since, help)                                     \
    [KSM_##name] = {#name,                                                                         \
                    formula,                                                                       \
                    NULL,                                                                          \
                    KSM_SOURCE_DERIVED,                                                            \
                    KSM_KIND_##kind,                                                               \
                    KSM_UNIT_##unit,                                                               \
                    KSM_GROUP_##group,                                                             \
                    since,                                                                         \
                    help},
#define RATE DERIVED
#define INPUT(name, source, key, form, unit, since, help)                                          \
    [KSM_##name] = {                                                                               \
        #name,          key,   parse_##form, KSM_SOURCE_##source, KSM_KIND_INPUT, KSM_UNIT_##unit, \
        KSM_GROUP_none, since, help},
#include "metrics/metrics.def"
};

const char *const ksm_group_names[KSM_GROUPS] = {
#define X(id) #id,
    KSM_GROUP_LIST(X)
#undef X
};

const char *const ksm_unit_words[KSM_UNITS] = {
#define X(id, scale, words) words,
    KSM_UNIT_LIST(X)
#undef X
};

const int ksm_unit_scale[KSM_UNITS] = {
#define X(id, scale, words) scale,
    KSM_UNIT_LIST(X)
#undef X
};

const char *const ksm_states[KSM_STATES] = {
    [KSM_STOPPED] = "stopped", [KSM_RUNNING] = "running", [KSM_UNMERGED] = "unmerged"};
