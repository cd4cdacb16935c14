/* SPDX-License-Identifier: MIT
 *
 * Runs both plugins on the scripted host, one tick for each of its states: ksm.plugin by its
 * main(), collectd's plugin by the callbacks that it registers. Records what they send in each
 * tick. Call run_prepare() once in a process, then run_once() any number of times.
 */
#ifndef KSM_TESTS_RUNS_H
#define KSM_TESTS_RUNS_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "runs/scripted_host.h"
#include "support/faults.h"

enum { RUN_VALUES = 128, RUN_KEY = 160, RUN_STREAM = 128 * 1024 };

/* The values of one tick. key: "ksm.memory.shared" or "ksm//vmpage_number-shared". */
struct run_tick {
    int count;
    struct run_value {
        char key[RUN_KEY];
        double number;
        bool incremental; /* Netdata draws the difference to the value before */
    } values[RUN_VALUES];
};

struct run {
    struct run_tick ticks[HOST_STATES];
    int reached;                   /* number of ticks that began */
    char wrong[512];               /* violated rule, or "" */
    int status;                    /* returned by main() or the init callback */
    int calls;                     /* calls that were counted */
    int calls_before[HOST_STATES]; /* of them, before each tick */
    char path[PATH_MAX];           /* file of the call that failed */
    int descriptors;               /* descriptors left open */
    int blocks;                    /* blocks of memory not freed */
    size_t stream_len;             /* length of stream, which is ksm.plugin's stdout */
    char stream[RUN_STREAM];
};

/* How a run is made. */
struct run_kind {
    const char *name;
    void (*run)(struct run *run, const char *root, int nth, int err);
    int interval; /* of ksm.plugin's consumers, in ticks, which is the length of a sweep */
    bool sysfs;   /* files seem to be on sysfs, so descriptors are kept; the host has one state */
    bool secure;  /* only procfs and sysfs are trusted */
};
extern const struct run_kind run_kinds[5];

void run_prepare(const struct run_kind *kind);

/* Runs once, with root without; the nth call fails with err (0: none does). */
void run_once(const struct run_kind *kind, struct run *run, int without, int nth, int err);

/* Return whether a value is a consumer's, ksmd's, or a rate. */
bool run_is_consumers(const char *key);
bool run_is_ksmd(const char *key);
bool run_is_rate(const char *key);

const struct run_value *run_find(const struct run_tick *tick, const char *key);

#endif
