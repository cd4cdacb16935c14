/* SPDX-License-Identifier: MIT */
#include "soak/weather.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/crowd.h"
#include "support/host.h"
#include "support/tree.h"

enum { PROCESSES = 40, FIRST_PID = 1000 };

static const char *top;
static uint64_t state;
static bool alive[PROCESSES];

/* splitmix64. */
static uint64_t chance(uint64_t below) {
    state += 0x9e3779b97f4a7c15U;
    uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return (z ^ (z >> 31)) % below;
}

/* ---- the host ---- */

static size_t any_metric(void) {
    size_t id = 0;

    do
        id = chance(KSM_METRICS);
    while (!host_has(id));
    return id;
}

static const char *path_of(size_t id) {
    return tree_path(top, "%s", host_path(id));
}

static void new_value(void) {
    char text[64];
    int len = snprintf(text, sizeof(text), "%" PRIu64 "\n", chance(UINT64_C(1) << chance(63)));

    host_write(top, any_metric(), text, (size_t)len);
}

static void well_again(void) {
    host_write(top, any_metric(), NULL, 0);
}

static void garbage(void) {
    char text[300];
    size_t len = chance(sizeof(text));

    for (size_t i = 0; i < len; i++)
        text[i] = (char)chance(256);
    host_write(top, any_metric(), text, len);
}

static void no_file(void) {
    remove(path_of(any_metric()));
}

static void directory(void) {
    const char *path = path_of(any_metric());

    if (unlink(path) == 0)
        mkdir(path, 0755);
}

static void write_pages(int64_t shared, int64_t sharing, int64_t zero) {
    static const size_t ids[] = {KSM_shared, KSM_sharing, KSM_zero, KSM_unshared, KSM_volatile};

    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
        rmdir(path_of(ids[i])); /* if it is one */
    crowd_host(top, shared, sharing, zero);
}

static void new_pages(void) {
    write_pages((int64_t)chance(100000), (int64_t)chance(1000000), (int64_t)chance(1000));
}

/* Nothing is merged: there is nobody to look for. */
static void no_pages(void) {
    write_pages(0, 0, 0);
}

/* ---- processes ---- */

/* Of every kind of consumer, each with a name of its own; which: its variant. */
static void write_process(int i, unsigned which) {
    char cgroup[160];
    char cmdline[64];
    char comm[16];
    int len = snprintf(cmdline, sizeof(cmdline), "/usr/bin/%s%c-name%cvm%d.%u",
                       i % 4 == 0 ? "qemu-system-x86_64" : "program", 0, 0, i, which);
    struct crowd_process process = {
        .pid = FIRST_PID + i,
        .merging = 100 + (int64_t)which % 1000,
        .zero = which % 7,
        .rmap_items = 200,
        .resident = 5000 + which,
        .started = 1000 + i + (int64_t)which,
        .cmdline = cmdline,
        .cmdline_len = (size_t)len + 1,
        .comm = comm,
        .cgroup = cgroup,
    };

    snprintf(comm, sizeof(comm), "thing (%d)", i);
    if (i % 4 == 1)
        snprintf(cgroup, sizeof(cgroup), "0::/system.slice/docker-%064x.scope\n", which + 77);
    else if (i % 4 == 2)
        snprintf(cgroup, sizeof(cgroup), "0::/system.slice/unit%d-%u.service\n", i, which);
    else
        snprintf(cgroup, sizeof(cgroup), "0::/user.slice/session-%d.scope\n", i);
    crowd_write(top, &process);
    alive[i] = true;
}

static void process_changes(void) {
    write_process((int)chance(PROCESSES), (unsigned)chance(1000));
}

static void process_ends(void) {
    int i = (int)chance(PROCESSES);

    if (alive[i])
        crowd_remove(top, FIRST_PID + i);
    alive[i] = false;
}

static void process_goes_bad(void) {
    static const char *const files[] = {"ksm_stat", "stat", "statm", "cgroup", "cmdline", "comm"};
    int i = (int)chance(PROCESSES);
    char text[64];
    size_t len = chance(sizeof(text));

    for (size_t at = 0; at < len; at++)
        text[at] = (char)chance(256);
    if (alive[i])
        crowd_file(top, FIRST_PID + i, files[chance(sizeof(files) / sizeof(files[0]))], text, len);
}

/* ---- all ---- */

void weather_change(void) {
    /* Some stand here more than once: they come more often. */
    static void (*const changes[])(void) = {
        new_value, new_value,       new_value,       new_value,    well_again,       well_again,
        garbage,   no_file,         directory,       new_pages,    new_pages,        no_pages,
        new_pages, process_changes, process_changes, process_ends, process_goes_bad,
    };

    changes[chance(sizeof(changes) / sizeof(changes[0]))]();
}

void weather_calm(void) {
    host_make(top);
    crowd_begin(top);
    write_pages(2000, 9000, 100);
    for (int i = 0; i < PROCESSES; i++)
        write_process(i, (unsigned)i);
}

void weather_begin(const char *dir, uint64_t seed) {
    top = dir;
    state = seed;
    weather_calm();
}
