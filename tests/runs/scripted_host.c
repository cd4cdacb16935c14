/* SPDX-License-Identifier: MIT */
#include "runs/scripted_host.h"

#include <err.h>
#include <ftw.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "metrics/metrics.h"
#include "support/fake_procs.h"
#include "support/host.h"
#include "support/tree.h"

#define CMDLINE(literal) .cmdline = literal, .cmdline_len = sizeof(literal)

static const char container[] =
    "0::/system.slice/docker-"
    "9687bac58d5c4d1606aa46af33d1a21c1d1652e0ac9fb3fc0fc86e3495f42869.scope\n";

/* In state 0. Savings differ by more than the hysteresis of 10 %. */
static const struct fake_process processes[] = {
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

int scripted_host_pid(int i) {
    return i < PROCESSES ? processes[i].pid : 0;
}

const char *scripted_host_root(int without) {
    static char root[PATH_MAX];

    snprintf(root, sizeof(root), "%s/root-%d", top, without);
    return root;
}

/* ---- one state ---- */

/* Settings do not change, because they are read once a minute. */
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
    fake_procs_init(dir);
    for (int i = 0; i < PROCESSES; i++) {
        struct fake_process process = processes[i];
        process.merging += 7 * state;
        process.zero += process.zero > 0 ? state : 0;
        process.rmap_items += 9 * state;
        process.resident += 100 * state;
        fake_procs_write(dir, &process);
    }
}

/* ---- roots, whose files are links into the current state ---- */

static const char *link_from, *link_to;
static int omitted_pid;

static bool is_omitted(const char *path) {
    char dir[32];

    snprintf(dir, sizeof(dir), "/proc/%d/", omitted_pid);
    return strncmp(path, dir, strlen(dir)) == 0;
}

static int link_file(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    const char *rest = path + strlen(link_from);

    (void)st;
    (void)ftw;
    if (type != FTW_F || is_omitted(rest))
        return 0;
    tree_write(link_to, rest, "", 0); /* makes the directories */
    tree_unlink(link_to, rest);
    return symlink(tree_path(top, "now%s", rest), tree_path(link_to, "%s", rest));
}

static void make_root(const char *from, int without) {
    link_from = from;
    link_to = scripted_host_root(without);
    omitted_pid = without;
    if (nftw(from, link_file, 16, FTW_PHYS) != 0)
        err(2, "%s", link_to);
}

void scripted_host_set_state(int state) {
    const char *new = tree_path(top, "new"), *now = tree_path(top, "now");

    if (symlink(tree_path(top, "state-%d", state), new) != 0 || rename(new, now) != 0)
        err(2, "%s", now);
}

void scripted_host_make(const char *dir) {
    char state_dir[PATH_MAX];

    snprintf(top, sizeof(top), "%s", dir);
    for (int state = HOST_STATES - 1; state >= 0; state--) {
        strcpy(state_dir, tree_path(top, "state-%d", state));
        make_state(state_dir, state);
    }
    make_root(state_dir, 0);
    for (int i = 0; i < PROCESSES; i++)
        make_root(state_dir, processes[i].pid);
    scripted_host_set_state(0);
}
