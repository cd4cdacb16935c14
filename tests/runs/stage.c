/* SPDX-License-Identifier: MIT */
#include "runs/stage.h"

#include <err.h>
#include <ftw.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "metrics/metrics.h"
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

/* Settings stay, as they are read once a minute. */
static void make_host(const char *dir, int state) {
    host_make(dir);
    for (size_t id = 0; id < KSM_METRICS; id++)
        if (host_has(id) && ksm_metrics[id].kind != KSM_KIND_KNOB &&
            ksm_metrics[id].kind != KSM_KIND_STATE)
            host_set(dir, id, host_value(id) + 13 * state);
    host_set(dir, KSM_shared, 4000 + 11 * state);
    host_set(dir, KSM_sharing, 20000 + 17 * state);
    host_set(dir, KSM_zero, 900 + 5 * state);
    host_set(dir, KSM_mem_total, 4194304);
    host_set(dir, KSM_ksmd_cpu, 1234567890 + 1000000 * state);
}

static void make_state(const char *dir, int state) {
    make_host(dir, state);
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

static int link_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    const char *rest = path + strlen(link_from);

    (void)st;
    (void)ftw;
    if (type != FTW_F || is_left_out(rest))
        return 0;
    tree_write(link_to, rest, "", 0); /* for the directories */
    tree_unlink(link_to, rest);
    return symlink(tree_path(top, "now%s", rest), tree_path(link_to, "%s", rest));
}

static void make_root(const char *from, int without) {
    link_from = from;
    link_to = stage_root(without);
    left_out = without;
    if (nftw(from, link_one, 16, FTW_PHYS) != 0)
        err(2, "%s", link_to);
}

void stage_turn(int state) {
    const char *new = tree_path(top, "new"), *now = tree_path(top, "now");

    if (symlink(tree_path(top, "state-%d", state), new) != 0 || rename(new, now) != 0)
        err(2, "%s", now);
}

void stage_make(const char *dir) {
    char state_dir[PATH_MAX];

    snprintf(top, sizeof(top), "%s", dir);
    for (int state = STAGE_STATES - 1; state >= 0; state--) {
        strcpy(state_dir, tree_path(top, "state-%d", state));
        make_state(state_dir, state);
    }
    make_root(state_dir, 0);
    for (int i = 0; i < PROCESSES; i++)
        make_root(state_dir, processes[i].pid);
    stage_turn(0);
}
