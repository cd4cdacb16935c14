/* SPDX-License-Identifier: MIT
 *
 * Whole runs of both plugins on the stage of stage.h, as many ticks as that has states: Netdata's
 * by ksm.plugin's own main(), collectd's by the callbacks that it registers. What they sent, tick
 * by tick.
 */
#ifndef KSM_TESTS_RUNS_H
#define KSM_TESTS_RUNS_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "runs/stage.h"
#include "support/faults.h"

enum { RUN_VALUES = 128, RUN_KEY = 160, RUN_STREAM = 128 * 1024 };

/* What was sent in one tick: "ksm.memory.shared" or "ksm//vmpage_number-shared" and its number. */
struct run_tick {
    int count;
    struct run_value {
        char key[RUN_KEY];
        double number;
        bool incremental; /* Netdata draws the growth since what was sent before */
    } values[RUN_VALUES];
};

struct run {
    struct run_tick ticks[STAGE_STATES];
    int reached;                    /* ticks that were begun */
    char wrong[512];                /* what no run may do, "" if it did nothing of the kind */
    int status;                     /* main()'s, or that of init */
    int calls;                      /* that were counted, */
    int calls_before[STAGE_STATES]; /* and until the begin of a tick */
    char path[PATH_MAX];            /* of the one that failed */
    int descriptors;                /* left open */
    int blocks;                     /* of memory, not given back */
    size_t stream_len;              /* ksm.plugin's stdout */
    char stream[RUN_STREAM];
};

/* How a run is made. */
struct run_kind {
    const char *name;
    void (*run)(struct run *run, const char *root, int nth, int err);
    int interval; /* of ksm.plugin's consumers, in ticks: looking for them takes as many */
    bool sysfs;   /* files seem to be sysfs's: descriptors are kept, the stage stands still */
    bool secure;  /* only those are opened */
};
extern const struct run_kind run_kinds[5];

/* Once in a process, before its first run. */
void run_prepare(const struct run_kind *kind);

/* One run, in which the nth call fails with err (0: none). */
void run_once(const struct run_kind *kind, struct run *run, int without, int nth, int err);

/* Whether a value is a consumer's, whether it is ksmd's, and whether several readings make it. */
bool run_is_consumers(const char *key);
bool run_is_ksmd(const char *key);
bool run_is_paced(const char *key);

const struct run_value *run_find(const struct run_tick *tick, const char *key);

#endif
