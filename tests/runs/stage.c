/* SPDX-License-Identifier: MIT */
#include "runs/stage.h"

#include <err.h>
#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "figures.h"
#include "support/crowd.h"
#include "support/host.h"
#include "support/tree.h"

#define CMDLINE(literal) .cmdline = literal, .cmdline_len = sizeof(literal)

static const char container[] =
    "0::/system.slice/docker-"
    "9687bac58d5c4d1606aa46af33d1a21c1d1652e0ac9fb3fc0fc86e3495f42869.scope\n";

/* In state 0. Savings differ by more than the tenth by which places are kept. */
static const struct crowd_process processes[] = {
    {100, 6000, 300, 9000, 30000, 1100, "0::/machine.slice/machine-qemu\\x2d3\\x2dweb.scope\n",
     CMDLINE("/usr/bin/qemu-system-x86_64\0-name\0guest=web,debug-threads=on"), "qemu-system-x86"},
    {101, 3500, 0, 5000, 20000, 1101, "0::/qemu.slice/100.scope\n",
     CMDLINE("/usr/bin/kvm\0-id\0007"), "kvm"},
    {200, 1500, 50, 2000, 9000, 1200, container, CMDLINE("postgres"), "postgres"},
    {201, 900, 0, 1000, 8000, 1201, container, CMDLINE("postgres: writer"), "postgres"},
    {300, 600, 20, 700, 7000, 1300, "1:name=systemd:/\n0::/system.slice/cron.service\n",
     CMDLINE("/usr/sbin/cron\0-f"), "cron"},
    {400, 200, 0, 300, 6000, 1400, "0::/user.slice/session-2.scope\n", CMDLINE("python3"),
     "python3"},
};

enum { PROCESSES = sizeof(processes) / sizeof(processes[0]) };

static char top[PATH_MAX - 64];

int stage_pid(int i) {
    return i < PROCESSES ? processes[i].pid : 0;
}

const char *stage_root(int without) {
    static char root[PATH_MAX];

    snprintf(root, sizeof(root), "%s/root-%d", top, without);
    return root;
}

/* ---- one state ---- */

static void write_figure(const char *dir, size_t id, int64_t value) {
    char text[32];

    int len = snprintf(text, sizeof(text), "%" PRId64 "\n", value);
    host_write(dir, id, text, (size_t)len);
}

/* Settings stay, as they are read once a minute. */
static void make_host(const char *dir, int state) {
    host_make(dir);
    for (size_t id = 0; id < KSM_FIGURES; id++)
        if (ksm_figures[id].source == KSM_SOURCE_KSM && ksm_figures[id].kind != KSM_KIND_KNOB &&
            ksm_figures[id].kind != KSM_KIND_STATE && host_has(id))
            write_figure(dir, id, host_value(id) + 13 * state);
    write_figure(dir, KSM_shared, 4000 + 11 * state);
    write_figure(dir, KSM_sharing, 20000 + 17 * state);
    write_figure(dir, KSM_zero, 900 + 5 * state);
}

/* before, a number, after. */
static void write_around(const char *dir, const char *path, const char *before, int value,
                         const char *after) {
    char text[128];

    int len = snprintf(text, sizeof(text), "%s%d%s", before, value, after);
    tree_write(dir, path, text, (size_t)len);
}

static void make_fields(const char *dir, int state) {
    write_around(dir, "proc/vmstat", "nr_free_pages 7\ncow_ksm ", 55 + state,
                 "\nksm_swpin_copy 6\nlast 1\n");
    write_around(dir, "proc/meminfo",
                 "MemTotal:        4194304 kB\nMemAvailable:    ", 1048576 + 100 * state,
                 " kB\nSwapFree:        1048576 kB\n");
    write_around(dir, "proc/37/schedstat", "", 1234567890 + 1000000 * state, " 5 7\n");
}

static void make_state(const char *dir, int state) {
    make_host(dir, state);
    make_fields(dir, state);
    crowd_begin(dir);
    for (int i = 0; i < PROCESSES; i++) {
        struct crowd_process process = processes[i];
        process.merging += 7 * state;
        process.zero += process.zero > 0 ? state : 0;
        process.rmap_items += 9 * state;
        process.resident += 100 * state;
        crowd_write(dir, &process);
    }
}

/* ---- the roots, whose files are links into the state of the moment ---- */

static const char *link_from, *link_to;
static int left_out;

static bool is_left_out(const char *path) {
    char dir[32];

    snprintf(dir, sizeof(dir), "/proc/%d/", left_out);
    return strncmp(path, dir, strlen(dir)) == 0;
}

static void make_parents(char *path) {
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(path, 0755) != 0 && errno != EEXIST)
            err(2, "%s", path);
        *slash = '/';
    }
}

static int link_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    const char *rest = path + strlen(link_from);
    char target[PATH_MAX + 64];
    char link[PATH_MAX + 64];

    (void)st;
    (void)ftw;
    if (type != FTW_F || is_left_out(rest))
        return 0;
    snprintf(target, sizeof(target), "%s/now%s", top, rest);
    snprintf(link, sizeof(link), "%s%s", link_to, rest);
    make_parents(link);
    return symlink(target, link);
}

static void make_root(const char *from, int without) {
    link_from = from;
    link_to = stage_root(without);
    left_out = without;
    if (nftw(from, link_one, 16, FTW_PHYS) != 0)
        err(2, "%s", link_to);
}

void stage_turn(int state) {
    char target[32];
    char new[PATH_MAX];
    char now[PATH_MAX];

    snprintf(target, sizeof(target), "state-%d", state);
    snprintf(new, sizeof(new), "%s/new", top);
    snprintf(now, sizeof(now), "%s/now", top);
    if (symlink(target, new) != 0 || rename(new, now) != 0)
        err(2, "%s", now);
}

void stage_make(const char *dir) {
    char state_dir[PATH_MAX];

    snprintf(top, sizeof(top), "%s", dir);
    for (int state = STAGE_STATES - 1; state >= 0; state--) {
        snprintf(state_dir, sizeof(state_dir), "%s/state-%d", top, state);
        make_state(state_dir, state);
    }
    make_root(state_dir, 0);
    for (int i = 0; i < PROCESSES; i++)
        make_root(state_dir, processes[i].pid);
    stage_turn(0);
}
