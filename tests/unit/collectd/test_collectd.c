/* SPDX-License-Identifier: MIT
 *
 * The ksm.so that ships, in a stub of collectd.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <syslog.h>
#include <unistd.h>

#include "support/collectd_stub.h"
#include "support/host.h"
#include "support/suite.h"
#include "support/tree.h"
#include "types.h"

static const char *dir;

void before_each(void) {
    const char *error = stub_load();

    ck_assert_msg(!error, "%s", error);
    dir = suite_dir();
}

/* Configures a block with one option. A result other than 0 would keep the daemon from starting. */
static void configure(const char *key, int count, oconfig_value_t *values) {
    int status = stub_configure_values(key, count, values);

    ck_assert_msg(status == 0, "%s: the config callback returned %d, want 0", key, status);
}

static void configure_one(const char *key, oconfig_value_t value) {
    configure(key, 1, &value);
}

static void start_with_consumers(void) {
    configure_one("Root", stub_text(dir));
    int status = stub.init();
    ck_assert_msg(status == 0, "init returned %d, want 0", status);
    ck_assert_msg(stub.read, "no read callback");
}

static void start(void) {
    configure_one("Consumers", stub_number(0));
    start_with_consumers();
}

static void read_metrics(void) {
    stub_clear();
    int status = stub_read();
    ck_assert_msg(status == 0, "read returned %d, want 0", status);
}

static void read_a_host(void) {
    host_make(dir);
    start();
    read_metrics();
}

static const struct stub_value *find(const char *instance) {
    for (int i = 0; i < stub.value_count; i++)
        if (strcmp(stub.values[i].type_instance, instance) == 0)
            return &stub.values[i];
    return NULL;
}

static void expect_silence(const char *when) {
    ck_assert_msg(stub.message_count == 0, "%s: %d messages, the first \"%s\"; want none", when,
                  stub.message_count, stub.messages[0].text);
}

static void expect_message(const char *when, int severity, const char *one, const char *two) {
    ck_assert_msg(stub.message_count == 1, "%s: %d messages, want 1", when, stub.message_count);
    const char *text = stub.messages[0].text;
    ck_assert_msg(strncmp(text, "ksm plugin: ", 12) == 0,
                  "%s: \"%s\" does not begin with the plugin's name", when, text);
    ck_assert_msg(strstr(text, one) && strstr(text, two), "%s: got \"%s\", want \"%s\" and \"%s\"",
                  when, text, one, two);
    ck_assert_msg(stub.messages[0].severity == severity, "%s: \"%s\" has severity %d, want %d",
                  when, text, stub.messages[0].severity, severity);
}

TEST(registers_no_more_than_needed) {
    ck_assert_str_eq(stub.names, "config:ksm init:ksm shutdown:ksm ");
    expect_silence("registration");
    ck_assert_msg(!dlsym(stub_handle(), "ksm_reader_init"), "ksm.so exports more than it needs to");
    ck_assert_int_eq(stub.shutdown(), 0); /* before init, as after a failure elsewhere */
}

/* All at the same time, for the daemon's own host and interval. */
TEST(every_metric_is_dispatched_once_with_its_type) {
    struct ksm_sample sample;
    int sent = 0;

    host_make(dir);
    host_sample(&sample);
    start();
    read_metrics();
    expect_silence("read");
    for (size_t id = 0; id < KSM_METRICS; id++) {
        const struct ksm_metric *metric = &ksm_metrics[id];
        const struct stub_value *got = find(metric->name);
        const struct collectd_type *type = &collectd_types[metric->kind][metric->unit];
        if (metric->kind == KSM_KIND_INPUT) {
            ck_assert_msg(!got, "%s is dispatched", metric->name);
            continue;
        }
        if (sample.values[id].status != 0) /* computed from several samples */
            continue;
        sent++;
        ck_assert_msg(got, "%s is not dispatched", metric->name);
        ck_assert_msg(strcmp(got->type, type->type) == 0, "%s: got type %s, want %s", metric->name,
                      got->type, type->type);
        if (metric->kind == KSM_KIND_COUNTER)
            ck_assert_int_eq(got->value.derive, sample.values[id].value / type->divisor);
        else
            ck_assert_msg(fabs(got->value.gauge * type->divisor - (double)sample.values[id].value) <
                              1e-6,
                          "%s: got %.15g", metric->name, got->value.gauge);
        ck_assert_msg(strcmp(got->plugin, "ksm") == 0 && !*got->plugin_instance && !*got->host &&
                          got->interval == 0 && got->time != 0 && got->time == stub.values[0].time,
                      "%s: dispatched as %s-%s of host \"%s\", or at another time", metric->name,
                      got->plugin, got->plugin_instance, got->host);
    }
    ck_assert_int_eq(stub.value_count, sent);
    cdtime_t first = stub.values[0].time;
    read_metrics();
    ck_assert_int_eq(stub.value_count, sent + (find("merge_rate") != NULL));
    ck_assert_msg(stub.values[0].time > first, "two reads at one time");
}

TEST(absent_metric_is_left_out_and_logged_once) {
    host_make(dir);
    host_write(dir, KSM_run, TEXT("0\n")); /* no rates */
    start();
    read_metrics();
    int all = stub.value_count;
    expect_silence("well");

    host_write(dir, KSM_unshared, TEXT("12abc\n"));
    read_metrics();
    expect_message("bad", LOG_WARNING, "pages_unshared",
                   "not in the format that the kernel writes");
    ck_assert_msg(!find("unshared") && !find("merged"), "unshared or merged was dispatched");
    ck_assert_msg(find("shared") && find("saved") && find("volatile"), "a neighbour is missing");
    ck_assert_int_eq(stub.value_count, all - 2);
    for (int i = 0; i < 10; i++) {
        read_metrics();
        expect_silence("still bad");
        ck_assert_int_eq(stub.value_count, all - 2);
    }
    host_write(dir, KSM_unshared, NULL, 0);
    read_metrics();
    expect_message("recovered", LOG_NOTICE, "pages_unshared", "again");
    ck_assert_int_eq(stub.value_count, all);
    read_metrics();
    expect_silence("well");
}

TEST(stopped_ksm_is_no_error) {
    host_make(dir);
    host_write(dir, KSM_run, TEXT("0\n"));
    start();
    read_metrics();
    expect_silence("run=0");
    ck_assert(find("run") && fabs(find("run")->value.gauge) < 1e-9);
    ck_assert(find("sharing") && find("saved"));
}

TEST(read_fails_if_nothing_is_readable) {
    tree_write(dir, "sys/kernel/mm/ksm/other", "", 0);
    start();
    stub_clear();
    ck_assert_int_ne(stub_read(), 0);
    ck_assert_int_eq(stub.value_count, 0);
    ck_assert_int_ne(stub_read(), 0);
    expect_silence("a kernel with nothing");
}

static void expect_no_start(const char *root, const char *words) {
    configure_one("Root", stub_text(root));
    ck_assert_int_eq(stub.init(), 0);
    ck_assert_msg(!stub.read, "a read callback is registered");
    expect_message(words, LOG_ERR, words, root);
    ck_assert_int_eq(stub.shutdown(), 0);
}

TEST(kernel_without_ksm_registers_no_read) {
    tree_print(dir, "proc/vmstat", "cow_ksm 5\n");
    tree_print(dir, "sys/kernel/mm/none", "\n");
    expect_no_start(dir, "this kernel has no KSM");
}

static const struct {
    const char *root, *words;
} bad_roots[] = {
    {"file", "no such directory; nothing is reported"},
    {"none", "no such directory; nothing is reported"},
    {"host", "it has no sys/kernel (is the host's /sys mounted there?); nothing is reported"},
};

/* The daemon's descriptors stay open, 0 too. */
TEST_ROWS(root_must_be_that_of_a_host, bad_roots) {
    tree_print(dir, "file", "\n");
    tree_print(dir, "host/proc/vmstat", "cow_ksm 5\n");
    expect_no_start(tree_path(dir, "%s", row->root), row->words);
    ck_assert_int_ge(fcntl(STDIN_FILENO, F_GETFD), 0);
}

/* Options with values of each type. Invalid ones are logged and change nothing. Which are invalid
 * is in test_options.c. */
enum value_type { TEXTUAL, NUMERIC, BOOLEAN };

static const struct {
    const char *key;
    enum value_type type;
    const char *text;
    double number;         /* or boolean */
    const char *logged[2]; /* NULL: nothing */
} options[] = {
    {"Settings", TEXTUAL, "TRUE", 0, {NULL}},
    {"settings", BOOLEAN, NULL, 1, {NULL}},
    {"Settings", BOOLEAN, NULL, 0, {NULL}},
    {"Root", TEXTUAL, "", 0, {"Root: invalid value \"\"", "a directory, for example \"/host\""}},
    {"Settings", NUMERIC, NULL, 1, {"Settings: invalid value \"1\"", "yes or no"}},
    {"Settings", TEXTUAL, "", 0, {"Settings: invalid value \"\"", "yes or no"}},
    {"Consumers", NUMERIC, NULL, 5, {NULL}},
    {"Consumers", TEXTUAL, "5", 0, {NULL}},
    {"Consumers", NUMERIC, NULL, -1, {"Consumers: invalid value \"-1\"", "0 to 200"}},
    {"Consumers", NUMERIC, NULL, 5.5, {"Consumers: invalid value \"5.5\"", "0 to 200"}},
    {"Consumers", NUMERIC, NULL, 1e300, {"Consumers: invalid value \"1e+300\"", "0 to 200"}},
    {"Consumers", NUMERIC, NULL, NAN, {"Consumers: invalid value \"", "0 to 200"}},
    {"Consumers", NUMERIC, NULL, INFINITY, {"Consumers: invalid value \"inf\"", "0 to 200"}},
    {"Consumers", BOOLEAN, NULL, 1, {"Consumers: invalid value \"yes\"", "0 to 200"}},
    {"ConsumersInterval", NUMERIC, NULL, 3600, {NULL}},
    {"consumers-interval",
     NUMERIC,
     NULL,
     5,
     {"unknown option consumers-interval", "ConsumersInterval"}},
    {"", TEXTUAL, "%s%n", 0, {"unknown option", "%s%n"}},
};

TEST_ROWS(option_is_accepted_in_any_type_that_fits, options) {
    configure_one(row->key, row->type == TEXTUAL   ? stub_text(row->text)
                            : row->type == NUMERIC ? stub_number(row->number)
                                                   : stub_boolean(row->number > 0));
    if (row->logged[0])
        expect_message(row->key, LOG_ERR, row->logged[0], row->logged[1]);
    else
        expect_silence(row->key);
    /* The daemon continues. */
    stub_clear();
    read_a_host();
    ck_assert(find("shared"));
}

TEST(option_requires_exactly_one_value) {
    oconfig_value_t values[] = {stub_text("no"), stub_text("no")};

    for (int count = 0; count <= 2; count += 2) {
        configure("Settings", count, values);
        expect_message("no value, or two", LOG_ERR, "Settings", "exactly one value");
        stub_clear();
    }

    oconfig_value_t value = stub_text("no");
    char key[] = "Settings";
    oconfig_item_t inner = {.key = key, .values = &value, .values_num = 1};
    oconfig_item_t option = {
        .key = key, .values = &value, .values_num = 1, .children = &inner, .children_num = 1};
    oconfig_item_t block = {.key = key, .children = &option, .children_num = 1};
    ck_assert_int_eq(stub.config(&block), 0);
    expect_message("a block", LOG_ERR, "Settings", "exactly one value");

    read_a_host();
    ck_assert_msg(find("sleep_millisecs"), "the default of Settings was changed");
}

/* Several values, as usual in collectd, or one with commas; and how many consumers of each kind are
 * then sent. */
static const struct {
    const char *values[3];
    const char *logged; /* NULL: nothing */
    int vms, containers, programs;
} lists[] = {
    {{"none"}, NULL, 2, 2, 2},
    {{"vm"}, NULL, 0, 2, 2},
    {{"vm", "container"}, NULL, 0, 0, 2},
    {{"container", "program", "vm"}, NULL, 0, 0, 0},
    {{"vm,container"}, NULL, 0, 0, 2},
    {{"vm", "container,program"}, NULL, 0, 0, 0},
    {{"vm", "none"}, "invalid value \"vm,none\"", 2, 2, 2},
    {{"vm", "vms"}, "invalid value \"vm,vms\"", 2, 2, 2},
    {{"vm", ""}, "invalid value \"vm,\"", 2, 2, 2},
};

static int count_consumers(const char *kind) {
    int count = 0;

    for (int i = 0; i < stub.value_count; i++)
        count += strcmp(stub.values[i].plugin, "ksm_consumer") == 0 &&
                 strcmp(stub.values[i].type_instance, "saved") == 0 &&
                 strncmp(stub.values[i].plugin_instance, kind, strlen(kind)) == 0;
    return count;
}

TEST_ROWS(excluded_kinds_are_not_sent, lists) {
    oconfig_value_t values[3];
    int count = 0;

    for (; count < 3 && row->values[count]; count++)
        values[count] = stub_text(row->values[count]);
    configure("ConsumersExclude", count, values);
    if (row->logged)
        expect_message("list", LOG_ERR, row->logged,
                       "\"none\", or one or more of \"vm\" \"container\" \"service\" \"program\"");
    else
        expect_silence("list");
    tree_make("tests/fixtures/consumers.tree", dir);
    start_with_consumers();
    ck_assert_int_eq(stub_await_tables(1), 1);
    ck_assert_int_eq(count_consumers("vm-"), row->vms);
    ck_assert_int_eq(count_consumers("container-"), row->containers);
    ck_assert_int_eq(count_consumers("program-"), row->programs);
    ck_assert_int_eq(stub.shutdown(), 0);
}

TEST(list_requires_a_value) {
    configure("ConsumersExclude", 0, NULL);
    expect_message("list", LOG_ERR, "ConsumersExclude", "one or more values");
}

TEST(settings_can_be_left_out) {
    configure_one("Settings", stub_boolean(0));
    read_a_host();
    expect_silence("settings off");
    for (size_t id = 0; id < KSM_METRICS; id++)
        if (ksm_metrics[id].kind == KSM_KIND_KNOB)
            ck_assert_msg(!find(ksm_metrics[id].name), "%s is dispatched", ksm_metrics[id].name);
    ck_assert(find("run") && find("shared"));
}

/* Options that the second block lacks keep the value of the first. */
TEST(later_block_overrides_earlier) {
    char key[] = "Plugin";
    oconfig_item_t empty = {.key = key};

    host_make(dir);
    configure_one("Settings", stub_boolean(0));
    ck_assert_int_eq(stub.config(&empty), 0);
    configure_one("Root", stub_text("/no/such/root"));
    start(); /* a third, with Root */
    read_metrics();
    expect_silence("blocks");
    ck_assert(find("shared") && !find("sleep_millisecs"));
}

TEST(without_a_block_the_root_is_this_machine) {
    int status = stub.init();

    ck_assert_int_eq(status, 0);
    if (access("/sys/kernel/mm/ksm", F_OK) != 0) {
        ck_assert_msg(!stub.read, "a read callback is registered");
        expect_message("no KSM here", LOG_ERR, "this kernel has no KSM", "/");
        return;
    }
    read_metrics();
    ck_assert_int_eq(stub.shutdown(), 0);
    expect_silence("this machine");
    ck_assert(find("shared") && find("sharing") && find("saved"));
}

/* A thread that is abandoned at shutdown closes its file a moment later. */
static void expect_files(int count) {
    for (int ms = 0; suite_open_files() != count && ms < 60000; ms++)
        usleep(1000);
    ck_assert_int_eq(suite_open_files(), count);
}

TEST(shutdown_closes_what_is_open) {
    if (access("/sys/kernel/mm/ksm", F_OK) != 0) {
        suite_skip("shutdown_closes_what_is_open", "no KSM in this kernel");
        return;
    }
    int before = suite_open_files();
    ck_assert_int_eq(stub.init(), 0);
    read_metrics();
    ck_assert_msg(suite_open_files() > before + 10, "%d descriptors are kept, want some 30",
                  suite_open_files() - before);
    stub_await_tables(1);
    read_metrics();
    ck_assert_int_eq(stub.shutdown(), 0);
    expect_files(before);
}

/* ---- a process whose files block ---- */

/* Reads of ksm_stat in ksm.so wait from block_reads() until release_reads(). */
static int gate[2] = {-1, -1};
static atomic_int blocked_reads;

static void block_reads(void) {
    ck_assert_int_eq(pipe(gate), 0);
}

static void release_reads(void) {
    close(gate[1]);
}

static void wait_at_gate(int fd) {
    char link[32];
    char path[PATH_MAX];
    char byte = 0;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof(path) - 1);
    path[len > 0 ? len : 0] = '\0';
    if (!strstr(path, "/ksm_stat"))
        return;
    blocked_reads++;
    while (read(gate[0], &byte, 1) < 0)
        continue;
    blocked_reads--;
}

/* Replaces the C library's pread() in ksm.so. */
#pragma GCC visibility push(default)
ssize_t pread_of_ksm_so(int fd, void *buf, size_t size, off_t offset) __asm__("pread");

ssize_t pread_of_ksm_so(int fd, void *buf, size_t size, off_t offset) {
    if (gate[0] >= 0)
        wait_at_gate(fd);
    return syscall(SYS_pread64, fd, buf, size, offset);
}
#pragma GCC visibility pop

/* Starts the plugin, and a sample with a read that blocks. */
static void start_blocked_sample(void) {
    tree_make("tests/fixtures/consumers.tree", dir);
    start_with_consumers();
    block_reads();
    ck_assert_int_eq(stub_read_consumers(), 0);
    for (int ms = 0; blocked_reads == 0 && ms < 60000; ms++)
        usleep(1000);
    ck_assert_int_eq(blocked_reads, 1);
}

/* Returns the number of threads of this process. *blocked: the signals that the last one blocks. */
static int count_threads(unsigned long long *blocked) {
    DIR *tasks = opendir("/proc/self/task");
    char line[256];
    int threads = 0;

    ck_assert_ptr_nonnull(tasks);
    for (struct dirent *entry = readdir(tasks); entry; entry = readdir(tasks)) {
        int task = atoi(entry->d_name);
        FILE *file = task > 0 ? fopen(tree_path("/proc/self/task", "%d/status", task), "r") : NULL;
        while (file && fgets(line, sizeof(line), file))
            sscanf(line, "SigBlk: %llx", blocked);
        if (file)
            fclose(file);
        threads += task > 0;
    }
    closedir(tasks);
    return threads;
}

/* A thread that has ended remains in /proc for a moment. */
static void expect_threads(int count) {
    unsigned long long blocked = 0;

    for (int ms = 0; count_threads(&blocked) != count && ms < 60000; ms++)
        usleep(1000);
    ck_assert_int_eq(count_threads(&blocked), count);
}

/* A thread that is stuck when the daemon ends must not return to code that was unloaded. */
TEST(stuck_thread_returns_after_dlclose) {
    unsigned long long blocked = 0;

    start_blocked_sample();
    const int threads = count_threads(&blocked);
    ck_assert_int_eq(stub.shutdown(), 0);
    ck_assert_int_eq(blocked_reads, 1);
    ck_assert_int_eq(dlclose(stub_handle()), 0);
    release_reads();
    expect_threads(threads - 1);
}

TEST(sampler_threads_block_signals) {
    unsigned long long blocked = 0;

    start_blocked_sample();
    const int threads = count_threads(&blocked);
    ck_assert_msg(blocked >> (SIGTERM - 1) & blocked >> (SIGCHLD - 1) & 1, "got SigBlk %llx",
                  blocked);
    release_reads();
    ck_assert_int_eq(stub_await_tables(1), 1);
    ck_assert_int_eq(stub.shutdown(), 0);
    expect_threads(threads - 1);
    sigset_t own;
    sigprocmask(SIG_SETMASK, NULL, &own);
    ck_assert_msg(!sigismember(&own, SIGTERM), "the read thread blocks SIGTERM");
}

/* ---- the consumers ---- */

static const struct stub_value *find_consumer(const char *instance, const char *type_instance) {
    for (int i = 0; i < stub.value_count; i++)
        if (strcmp(stub.values[i].plugin, "ksm_consumer") == 0 &&
            strcmp(stub.values[i].plugin_instance, instance) == 0 &&
            strcmp(stub.values[i].type_instance, type_instance) == 0)
            return &stub.values[i];
    return NULL;
}

/* The interval of consumers is no shorter than the plugin's. Ten polls or more divide it, about two
 * a second. */
static const struct {
    int consumers, seconds, of_plugin;
    int want; /* seconds; 0: no consumers */
    int want_poll_ms;
} intervals[] = {
    {20, 10, 1, 10, 500}, {20, 10, 10, 10, 500}, {20, 10, 60, 60, 500}, {1, 3600, 10, 3600, 500},
    {20, 1, 1, 1, 100},   {20, 3, 1, 3, 300},    {0, 10, 10, 0, 0},
};

TEST_ROWS(consumers_are_sent_at_their_interval, intervals) {
    tree_make("tests/fixtures/consumers.tree", dir);
    stub.interval = TIME_T_TO_CDTIME_T(row->of_plugin);
    configure_one("Consumers", stub_number(row->consumers));
    configure_one("ConsumersInterval", stub_number(row->seconds));
    start_with_consumers();
    ck_assert_int_eq((int)CDTIME_T_TO_MS(stub.poll_interval), row->want_poll_ms);
    ck_assert_str_eq(stub.names,
                     row->want > 0 ? "config:ksm init:ksm shutdown:ksm read:ksm/consumers read:ksm "
                                   : "config:ksm init:ksm shutdown:ksm read:ksm ");
    ck_assert_int_eq(stub_await_tables(row->want > 0), row->want > 0);
    ck_assert_int_eq(stub.shutdown(), 0);
    expect_silence("consumers");
    const struct stub_value *got = find_consumer("unattributed", "saved");
    if (row->want == 0)
        return;
    ck_assert_msg(got, "nothing is unattributed");
    ck_assert_int_eq((int)CDTIME_T_TO_TIME_T(got->interval), row->want);
    ck_assert_msg(fabs(got->value.gauge - 998.0 * (double)sysconf(_SC_PAGESIZE)) < 1e-9,
                  "unattributed: got %.15g", got->value.gauge);
    got = find("owners");
    ck_assert_msg(got && strcmp(got->plugin, "ksm") == 0 && strcmp(got->type, "gauge") == 0 &&
                      (int)CDTIME_T_TO_TIME_T(got->interval) == row->want &&
                      fabs(got->value.gauge - 7) < 1e-9,
                  "owners is missing, or wrong");
    got = find_consumer("vm-web-01", "saved");
    ck_assert_msg(got && strcmp(got->type, "bytes") == 0 && find_consumer("vm-web-01", "real"),
                  "vm-web-01 is not sent");
    ck_assert_msg(!find_consumer("other-other", "saved") == (row->consumers > 1),
                  "other is sent, or missing");
}

TEST(owners_are_not_sent_while_they_are_not_known) {
    tree_make("tests/fixtures/consumers.tree", dir);
    tree_unlink(dir, "proc/400/status");
    start_with_consumers();
    ck_assert_int_eq(stub_await_tables(1), 1);
    ck_assert_int_eq(stub.shutdown(), 0);
    ck_assert(find_consumer("program-bash", "saved") && !find("owners"));
}

/* Values have the time at which the sample began, not that of the poll that found it complete. */
TEST(consumers_have_the_time_of_their_sample) {
    enum { LATER_MS = 300 };

    start_blocked_sample();
    usleep(LATER_MS * 1000);
    release_reads();
    ck_assert_int_eq(stub_await_tables(1), 1);
    const cdtime_t dispatched = stub.now;
    const struct stub_value *got = find_consumer("unattributed", "saved");
    ck_assert_msg(got && dispatched - got->time >= MS_TO_CDTIME_T(LATER_MS - 1),
                  "%.3f s before the poll, want %.3f", CDTIME_T_TO_DOUBLE(dispatched - got->time),
                  LATER_MS / 1000.0);
    for (int i = 0; i < stub.value_count; i++)
        ck_assert_msg(stub.values[i].time == got->time, "two times in a table");
    ck_assert_int_eq(stub.shutdown(), 0);
}

static atomic_bool host_is_read;

static void *read_host(void *failed) {
    while (host_is_read) {
        stub_clear();
        if (stub_read() != 0)
            *(bool *)failed = true;
    }
    return NULL;
}

/* The daemon calls both callbacks in parallel. A build with ThreadSanitizer reports what they
 * share. */
TEST(callbacks_may_run_in_parallel) {
    pthread_t thread;
    bool failed = false;

    tree_make("tests/fixtures/consumers.tree", dir);
    configure_one("ConsumersInterval", stub_number(1));
    stub.interval = TIME_T_TO_CDTIME_T(1);
    start_with_consumers();
    host_is_read = true;
    ck_assert_int_eq(pthread_create(&thread, NULL, read_host, &failed), 0);
    int tables = stub_await_tables(3);
    host_is_read = false;
    pthread_join(thread, NULL);
    ck_assert_int_eq(tables, 3);
    ck_assert(!failed);
    ck_assert_int_eq(stub.shutdown(), 0);
    expect_silence("in parallel");
}

TEST(plugin_can_be_restarted) {
    const int before = suite_open_files();

    tree_make("tests/fixtures/consumers.tree", dir);
    for (int i = 1; i <= 3; i++) {
        start_with_consumers();
        read_metrics();
        ck_assert_int_eq(stub_await_tables(i), i);
        ck_assert_int_eq(stub.shutdown(), 0);
        expect_files(before);
    }
}
