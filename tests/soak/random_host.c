/* SPDX-License-Identifier: MIT */
#include "soak/random_host.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/fake_procs.h"
#include "support/host.h"
#include "support/tree.h"

enum { PROCESSES = 40, FIRST_PID = 1000 };

static const char *top;
static uint64_t state;
static bool alive[PROCESSES];

/* splitmix64. */
static uint64_t random_below(uint64_t below) {
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
        id = random_below(KSM_METRICS);
    while (!host_has(id));
    return id;
}

static const char *path_of(size_t id) {
    return tree_path(top, "%s", host_path(id));
}

static void change_value(void) {
    char text[64];
    int len = snprintf(text, sizeof(text), "%" PRIu64 "\n",
                       random_below(UINT64_C(1) << random_below(63)));

    host_write(top, any_metric(), text, (size_t)len);
}

static void restore_value(void) {
    host_write(top, any_metric(), NULL, 0);
}

static void write_garbage(void) {
    char text[300];
    size_t len = random_below(sizeof(text));

    for (size_t i = 0; i < len; i++)
        text[i] = (char)random_below(256);
    host_write(top, any_metric(), text, len);
}

static void remove_file(void) {
    remove(path_of(any_metric()));
}

static void make_directory(void) {
    const char *path = path_of(any_metric());

    if (unlink(path) == 0)
        mkdir(path, 0755);
}

static void write_pages(int64_t shared, int64_t sharing, int64_t zero) {
    static const size_t ids[] = {KSM_shared, KSM_sharing, KSM_zero, KSM_unshared, KSM_volatile};

    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
        rmdir(path_of(ids[i])); /* if it is a directory */
    fake_procs_set_host(top, shared, sharing, zero);
}

static void change_pages(void) {
    write_pages((int64_t)random_below(100000), (int64_t)random_below(1000000),
                (int64_t)random_below(1000));
}

/* Nothing is merged, so /proc is not swept. */
static void clear_pages(void) {
    write_pages(0, 0, 0);
}

/* ---- processes ---- */

/* Processes of every kind of consumer, with different names. */
static void write_process(int i, unsigned variant) {
    char cgroup[160];
    char cmdline[64];
    char comm[16];
    int len = snprintf(cmdline, sizeof(cmdline), "/usr/bin/%s%c-name%cvm%d.%u",
                       i % 4 == 0 ? "qemu-system-x86_64" : "program", 0, 0, i, variant);
    struct fake_process process = {
        .pid = FIRST_PID + i,
        .merging = 100 + (int64_t)variant % 1000,
        .zero = variant % 7,
        .rmap_items = 200,
        .resident = 5000 + variant,
        .started = 1000 + i + (int64_t)variant,
        .cmdline = cmdline,
        .cmdline_len = (size_t)len + 1,
        .comm = comm,
        .cgroup = cgroup,
    };

    snprintf(comm, sizeof(comm), "thing (%d)", i);
    if (i % 4 == 1)
        snprintf(cgroup, sizeof(cgroup), "0::/system.slice/docker-%064x.scope\n", variant + 77);
    else if (i % 4 == 2)
        snprintf(cgroup, sizeof(cgroup), "0::/system.slice/unit%d-%u.service\n", i, variant);
    else
        snprintf(cgroup, sizeof(cgroup), "0::/user.slice/session-%d.scope\n", i);
    fake_procs_write(top, &process);
    alive[i] = true;
}

static void change_process(void) {
    write_process((int)random_below(PROCESSES), (unsigned)random_below(1000));
}

static void end_process(void) {
    int i = (int)random_below(PROCESSES);

    if (alive[i])
        fake_procs_remove(top, FIRST_PID + i);
    alive[i] = false;
}

static void write_process_garbage(void) {
    static const char *const files[] = {"ksm_stat", "stat", "statm", "cgroup", "cmdline", "comm"};
    int i = (int)random_below(PROCESSES);
    char text[64];
    size_t len = random_below(sizeof(text));

    for (size_t at = 0; at < len; at++)
        text[at] = (char)random_below(256);
    if (alive[i])
        fake_procs_write_file(top, FIRST_PID + i,
                              files[random_below(sizeof(files) / sizeof(files[0]))], text, len);
}

/* ---- all ---- */

void random_host_change(void) {
    /* Changes that are listed more than once are made more often. */
    static void (*const changes[])(void) = {
        change_value,  change_value,          change_value, change_value,   restore_value,
        restore_value, write_garbage,         remove_file,  make_directory, change_pages,
        change_pages,  clear_pages,           change_pages, change_process, change_process,
        end_process,   write_process_garbage,
    };

    changes[random_below(sizeof(changes) / sizeof(changes[0]))]();
}

void random_host_reset(void) {
    host_make(top);
    fake_procs_init(top);
    write_pages(2000, 9000, 100);
    for (int i = 0; i < PROCESSES; i++)
        write_process(i, (unsigned)i);
}

void random_host_init(const char *dir, uint64_t seed) {
    top = dir;
    state = seed;
    random_host_reset();
}
