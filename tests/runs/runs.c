/* SPDX-License-Identifier: MIT */
#include "support/collectd_stub.h"

#include "runs/runs.h"

#include <err.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runs/calls.h"
#include "runs/plugins.h"
#include "support/protocol.h"
#include "support/suite.h"
#include "system/pseudofs.h"

/* ---- time ---- */

static const int64_t second = 1000;
static const int64_t start = (int64_t)1700000000 * 1000;

/* Seconds that pass before each tick in addition, so that what is done once a minute is repeated
 * both during and after the faults. */
static const int64_t leaps[HOST_STATES] = {0, 0, 60, 60, 60, 60, 0, 0};

static struct run *current;
static bool changes_state;
static int consumers_interval;

static void set_clocks(int64_t ms) {
    faults_stop_clocks(start + ms, ms + second);
}

static void begin_tick(int tick) {
    const unsigned char *calls = NULL;

    if (changes_state)
        scripted_host_set_state(tick);
    current->calls_before[tick] = faults_calls(&calls);
    current->reached = tick + 1;
}

static void add(struct run_tick *tick, const char *key, double number, bool incremental) {
    if (tick->count == RUN_VALUES)
        errx(2, "more values than expected");
    struct run_value *value = &tick->values[tick->count++];
    snprintf(value->key, sizeof(value->key), "%.*s", RUN_KEY - 1, key);
    value->number = number;
    value->incremental = incremental;
}

const struct run_value *run_find(const struct run_tick *tick, const char *key) {
    for (int i = 0; i < tick->count; i++)
        if (strcmp(tick->values[i].key, key) == 0)
            return &tick->values[i];
    return NULL;
}

bool run_is_consumers(const char *key) {
    return strncmp(key, "ksm.consumer", 12) == 0 || strncmp(key, "ksm_consumer", 12) == 0 ||
           strncmp(key, "ksm.owners", 10) == 0 || strcmp(key, "ksm//gauge-owners") == 0;
}

bool run_is_ksmd(const char *key) {
    return strstr(key, "ksmd_cpu");
}

bool run_is_rate(const char *key) {
    static const char *const names[] = {
#define RATE(name, formula, kind, unit, group, since, help) #name,
#include "metrics/metrics.def"
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strstr(key, names[i]))
            return true;
    return false;
}

/* ---- Netdata ---- */

static size_t ends[HOST_STATES]; /* end of each tick in the stream */
static const char request[] = "FUNCTION 1 10 \"ksm:consumers\"\n"; /* answered, if it can be read */

/* Called when ksm.plugin waits: its output so far belongs to the current tick. */
static void end_tick(void) {
    faults_count_calls(false);
    int tick = current->reached - 1;
    ends[tick] = (size_t)lseek(STDOUT_FILENO, 0, SEEK_CUR);
    if (tick + 1 < HOST_STATES) {
        set_clocks(faults_realtime() - start + leaps[tick + 1] * second);
        begin_tick(tick + 1);
    } else {
        plugins_close_agent();
    }
    faults_count_calls(true);
}

static void take_stream(struct run *run) {
    fflush(stdout);
    run->stream_len = (size_t)lseek(STDOUT_FILENO, 0, SEEK_CUR);
    if (run->stream_len > sizeof(run->stream) ||
        pread(STDOUT_FILENO, run->stream, run->stream_len, 0) != (ssize_t)run->stream_len)
        errx(2, "more lines than expected");
}

static void take_chart(struct run_tick *tick, const struct protocol_chart *chart) {
    char key[2 * PROTOCOL_WORD + 2];

    for (int i = 0; i < chart->count; i++) {
        snprintf(key, sizeof(key), "%s.%s", chart->id, chart->dimensions[i].id);
        if (chart->dimensions[i].set)
            add(tick, key, (double)chart->dimensions[i].value, chart->dimensions[i].incremental);
    }
}

static void parse_stream(struct run *run) {
    static struct protocol protocol;
    int begun[PROTOCOL_CHARTS] = {0};
    size_t from = 0;

    memset(&protocol, 0, sizeof(protocol));
    for (int tick = 0; tick < run->reached && !*run->wrong; tick++) {
        if (ends[tick] == SIZE_MAX)
            ends[tick] = run->stream_len;
        if (protocol_read(&protocol, run->stream + from, ends[tick] - from) != 0)
            snprintf(run->wrong, sizeof(run->wrong), "%.400s", protocol.error);
        from = ends[tick];
        for (int i = 0; i < protocol.count; i++) {
            if (protocol.charts[i].begun > begun[i] + 1)
                snprintf(run->wrong, sizeof(run->wrong), "two samples in a tick");
            if (protocol.charts[i].begun > begun[i])
                take_chart(&run->ticks[tick], &protocol.charts[i]);
            begun[i] = protocol.charts[i].begun;
        }
    }
}

static void run_netdata(struct run *run, const char *root, int nth, int err) {
    char own_root[PATH_MAX + 8];
    char shown[32];
    char name[] = "ksm.plugin", every[] = "1";
    char interval[32];
    char *argv[] = {name, every, own_root, interval, shown, NULL};

    snprintf(own_root, sizeof(own_root), "--root=%s", root);
    snprintf(interval, sizeof(interval), "--consumers-interval=%d", consumers_interval);
    snprintf(shown, sizeof(shown), "--consumers=%d", HOST_SHOWN);
    plugins_open_agent(request);
    if (ftruncate(STDOUT_FILENO, 0) != 0 || ftruncate(STDERR_FILENO, 0) != 0)
        errx(2, "ftruncate");
    lseek(STDOUT_FILENO, 0, SEEK_SET);
    lseek(STDERR_FILENO, 0, SEEK_SET);
    memset(ends, 0xff, sizeof(ends)); /* not reached */
    set_clocks(0);
    faults_on_wait(end_tick);
    faults_begin(nth, err);
    faults_count_calls(false);
    begin_tick(0);
    faults_count_calls(true);
    run->status = ksm_plugin_main((int)(sizeof(argv) / sizeof(argv[0])) - 1, argv);
    faults_end();
    plugins_close_agent();
    take_stream(run);
    if (run->status == 0 || run->stream_len == 0 || run->stream[0] != 'D')
        parse_stream(run);
    else
        run->reached = 0; /* DISABLE */
}

/* ---- collectd ---- */

static void take_values(struct run *run, int tick) {
    char key[RUN_KEY];

    for (int i = 0; i < stub.value_count; i++) {
        const struct stub_value *v = &stub.values[i];
        bool derive = strcmp(v->type, "total_operations") == 0 ||
                      strcmp(v->type, "vmpage_action") == 0 ||
                      strcmp(v->type, "total_time_in_ms") == 0;
        snprintf(key, sizeof(key), "%.30s/%.60s/%.30s-%.30s", v->plugin, v->plugin_instance,
                 v->type, v->type_instance);
        if (run_find(&run->ticks[tick], key))
            snprintf(run->wrong, sizeof(run->wrong), "%.200s twice in a tick", key);
        add(&run->ticks[tick], key, derive ? (double)v->value.derive : v->value.gauge, false);
    }
}

static void collectd_tick(struct run *run, int tick) {
    stub_clear();
    faults_count_calls(true);
    int status = stub_read();
    if (stub.read_consumers)
        status |= stub_read_consumers();
    faults_count_calls(false);
    take_values(run, tick);
    if (status != 0)
        snprintf(run->wrong, sizeof(run->wrong), "the read callback returned %d", status);
}

static void run_collectd(struct run *run, const char *root, int nth, int err) {
    enum { interval = 10 };
    int64_t now = 0;

    set_clocks(0);
    faults_begin(nth, err);
    faults_count_calls(false);
    begin_tick(0);
    faults_count_calls(true);
    run->status = plugins_start_collectd(root, HOST_SHOWN, interval);
    faults_count_calls(false);
    if (!stub.read)
        run->reached = 0;
    for (int tick = 0; stub.read && tick < HOST_STATES; tick++) {
        now += tick == 0 ? 0 : (interval + leaps[tick]) * second;
        set_clocks(now);
        begin_tick(tick);
        collectd_tick(run, tick);
    }
    faults_count_calls(true);
    stub.shutdown();
    faults_end();
}

/* ---- both ---- */

const struct run_kind run_kinds[5] = {
    {"ksm.plugin, files opened each time", run_netdata, 1, false, false},
    {"ksm.plugin, descriptors kept", run_netdata, 2, true, false},
    {"ksm.plugin, with a file capability", run_netdata, 1, true, true},
    {"collectd, files opened each time", run_collectd, 0, false, false},
    {"collectd, descriptors kept", run_collectd, 0, true, false},
};

static void redirect(int fd) {
    int file = memfd_create("stream", MFD_CLOEXEC);

    if (file < 0 || dup2(file, fd) < 0)
        err(2, "memfd_create");
    close(file);
}

void run_prepare(const struct run_kind *kind) {
    static struct run warm;

    faults_run_threads_at_once();
    calls_pretend_sysfs(kind->sysfs);
    changes_state = !kind->sysfs;
    consumers_interval = kind->interval;
    if (kind->secure)
        pseudofs_trust_kernel_only();
    if (kind->run == run_netdata) {
        fflush(NULL);
        redirect(STDOUT_FILENO);
        redirect(STDERR_FILENO);
    }
    run_once(kind, &warm, 0, 0, 0); /* makes stdin a pipe, and the buffers of the C library */
}

void run_once(const struct run_kind *kind, struct run *run, int without, int nth, int err) {
    const unsigned char *calls = NULL;
    int descriptors = suite_open_files();

    memset(run, 0, offsetof(struct run, stream));
    current = run;
    calls_reset_blocks();
    kind->run(run, scripted_host_root(without), nth, err);
    run->calls = faults_calls(&calls);
    snprintf(run->path, sizeof(run->path), "%s", faults_path());
    run->blocks = calls_blocks();
    run->descriptors = suite_open_files() - descriptors;
}
