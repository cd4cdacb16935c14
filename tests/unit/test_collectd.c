/* SPDX-License-Identifier: MIT
 *
 * The ksm.so that ships, in a daemon that records what it does.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "support/collectd_stub.h"
#include "support/host.h"
#include "support/suite.h"
#include "support/tree.h"
#include "types.h"

static const char *dir;

static void set_up(void) {
    const char *error = stub_load();

    ck_assert_msg(!error, "%s", error);
    dir = suite_dir();
}

/* One option of a <Plugin ksm> block; a text stays as it is until four others have been made. */
static oconfig_value_t text_value(const char *text) {
    static char kept[4][2 * PATH_MAX];
    static size_t next = 0;
    char *own = kept[next++ % 4];

    snprintf(own, sizeof(kept[0]), "%s", text);
    return (oconfig_value_t){.value.string = own, .type = OCONFIG_TYPE_STRING};
}

static oconfig_value_t number_value(double number) {
    return (oconfig_value_t){.value.number = number, .type = OCONFIG_TYPE_NUMBER};
}

static oconfig_value_t boolean_value(int boolean) {
    return (oconfig_value_t){.value.boolean = boolean, .type = OCONFIG_TYPE_BOOLEAN};
}

/* A block with one option, which has count of these two values. */
static void configure(const char *key, int count, oconfig_value_t first, oconfig_value_t second) {
    oconfig_value_t values[] = {first, second};
    char *own_key = strdup(key);
    oconfig_item_t option = {.key = own_key, .values = values, .values_num = count};
    oconfig_item_t block = {.key = own_key, .children = &option, .children_num = 1};
    int status = stub.config(&block);

    /* Anything else would keep the daemon from starting. */
    ck_assert_msg(status == 0, "%s: the config callback returned %d, want 0", key, status);
    free(own_key);
}

static void configure_one(const char *key, oconfig_value_t value) {
    configure(key, 1, value, value);
}

/* With the consumers the plugin has a thread of its own, which may tell and send things at any
 * time.
 */
static void start_with_consumers(void) {
    configure_one("Root", text_value(dir));
    int status = stub.init();
    ck_assert_msg(status == 0, "init returned %d, want 0", status);
    ck_assert_msg(stub.read, "no read callback");
}

static void start(void) {
    configure_one("Consumers", number_value(0));
    start_with_consumers();
}

static void read_figures(void) {
    stub_clear();
    int status = stub.read();
    ck_assert_msg(status == 0, "read returned %d, want 0", status);
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
    ck_assert_msg(strncmp(text, "ksm plugin: ", 12) == 0, "%s: \"%s\" does not say from whom", when,
                  text);
    ck_assert_msg(strstr(text, one) && strstr(text, two), "%s: got \"%s\", want \"%s\" and \"%s\"",
                  when, text, one, two);
    ck_assert_msg(stub.messages[0].severity == severity, "%s: \"%s\" has severity %d, want %d",
                  when, text, stub.messages[0].severity, severity);
}

START_TEST(registration) {
    ck_assert_str_eq(stub.names, "config:ksm init:ksm shutdown:ksm ");
    expect_silence("registration");
    ck_assert_msg(!dlsym(stub_handle(), "ksm_reader_init"), "ksm.so exports more than it needs to");
    ck_assert_int_eq(stub.shutdown(), 0); /* before init, as after a failure elsewhere */
}
END_TEST

static void write_text(const char *path, const char *text) {
    tree_write(dir, path, text, strlen(text));
}

/* The host of the article that this project starts from, on a newer kernel. */
static void make_article(void) {
    static const char *const files[][2] = {
        {"sys/kernel/mm/ksm/pages_shared", "48911\n"},
        {"sys/kernel/mm/ksm/pages_sharing", "90090\n"},
        {"sys/kernel/mm/ksm/pages_unshared", "123002\n"},
        {"sys/kernel/mm/ksm/pages_volatile", "1035\n"},
        {"sys/kernel/mm/ksm/ksm_zero_pages", "10\n"},
        {"sys/kernel/mm/ksm/general_profit", "352000000\n"},
        {"sys/kernel/mm/ksm/full_scans", "12\n"},
        {"sys/kernel/mm/ksm/pages_scanned", "9223372036854775807\n"},
        {"sys/kernel/mm/ksm/stable_node_dups", "0\n"},
        {"sys/kernel/mm/ksm/run", "1\n"},
        {"sys/kernel/mm/ksm/pages_to_scan", "100\n"},
        {"sys/kernel/mm/ksm/sleep_millisecs", "20\n"},
        {"sys/kernel/mm/ksm/advisor_mode", "[none] scan-time\n"},
        {"proc/vmstat", "nr_free_pages 7\nthp_split_page 8\ncow_ksm 55\nksm_swpin_copy 6\n"},
        {"proc/meminfo", "MemTotal:        4194304 kB\nMemAvailable:    1048576 kB\n"
                         "SwapFree:        1048576 kB\nAnonHugePages:   2048 kB\n"},
        {"proc/2/stat", "2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 9 9 0 0 20 0 1 0 1\n"},
        {"proc/37/stat", "37 (ksmd) S 2 0 0 0 -1 2129984 0 0 0 0 14 15 0 0 25 5 1 0 1\n"},
        {"proc/37/schedstat", "1234567890 5 7\n"},
    };

    for (int i = 0; i < ROWS(files); i++)
        write_text(files[i][0], files[i][1]);
}

static const struct {
    const char *type;
    const char *instance;
    bool derive;
    int64_t integer; /* of a DERIVE */
    double gauge;    /* else */
} article[] = {
    {"vmpage_number", "shared", false, 0, 48911},
    {"vmpage_number", "sharing", false, 0, 90090},
    {"vmpage_number", "unshared", false, 0, 123002},
    {"vmpage_number", "volatile", false, 0, 1035},
    {"vmpage_number", "zero", false, 0, 10},
    {"bytes", "saved", false, 0, 369049600},
    {"gauge", "profit", false, 0, 352000000},
    {"bytes", "overhead", false, 0, 17049600},
    {"gauge", "gain", false, 0, 168669184},
    {"percent", "merged", false, 0, 34.249},
    {"gauge", "ram", false, 0, 8.592},
    {"gauge", "net", false, 0, 8.195},
    {"gauge", "exposure", false, 0, 17.185},
    {"gauge", "sharing_ratio", false, 0, 2.841},
    {"bytes", "anon_huge", false, 0, 2097152},
    {"vmpage_action", "thp_split", true, 8, 0},
    {"total_operations", "full_scans", true, 12, 0},
    {"vmpage_action", "scanned", true, INT64_MAX, 0},
    {"vmpage_action", "cow", true, 55, 0},
    {"vmpage_action", "swpin_copy", true, 6, 0},
    {"total_time_in_ms", "ksmd_cpu", true, 1234, 0},
    {"gauge", "ksmd_cpu_per_gib", false, 0, 3.590},
    {"gauge", "dups", false, 0, 0},
    {"gauge", "run", false, 0, 1},
    {"gauge", "pages_to_scan", false, 0, 100},
    {"gauge", "sleep_millisecs", false, 0, 20},
    {"gauge", "advisor_mode", false, 0, 0},
};

START_TEST(dispatched) {
    if (sysconf(_SC_PAGESIZE) != 4096) {
        suite_skip("dispatched", "its figures are for pages of 4096 bytes");
        return;
    }
    make_article();
    start();
    read_figures();
    expect_silence("read");
    for (int i = 0; i < stub.value_count && i < ROWS(article); i++) {
        const struct stub_value *got = &stub.values[i];
        ck_assert_msg(strcmp(got->type, article[i].type) == 0 &&
                          strcmp(got->type_instance, article[i].instance) == 0,
                      "value %d: got %s-%s, want %s-%s", i, got->type, got->type_instance,
                      article[i].type, article[i].instance);
        if (article[i].derive)
            ck_assert_msg(got->value.derive == article[i].integer,
                          "%s: got %" PRId64 ", want %" PRId64, got->type_instance,
                          got->value.derive, article[i].integer);
        else
            ck_assert_msg(fabs(got->value.gauge - article[i].gauge) < 1e-9,
                          "%s: got %.15g, want %.15g", got->type_instance, got->value.gauge,
                          article[i].gauge);
        ck_assert_msg(strcmp(got->plugin, "ksm") == 0 && !*got->plugin_instance,
                      "%s: dispatched as %s-%s", got->type_instance, got->plugin,
                      got->plugin_instance);
        ck_assert_msg(!*got->host && got->interval == 0,
                      "%s: host \"%s\" or interval %" PRIu64 " is given", got->type_instance,
                      got->host, got->interval);
        ck_assert_msg(got->time != 0 && got->time == stub.values[0].time,
                      "%s: another time than the first", got->type_instance);
    }
    ck_assert_msg(stub.value_count == ROWS(article),
                  "got %d values, want %d (the first too many or "
                  "missing: %s)",
                  stub.value_count, ROWS(article),
                  stub.value_count > ROWS(article) ? stub.values[ROWS(article)].type_instance
                                                   : article[stub.value_count].instance);
    cdtime_t first = stub.values[0].time;
    read_figures();
    ck_assert_int_eq(stub.value_count - (find("merge_rate") != NULL), ROWS(article));
    ck_assert_msg(stub.values[0].time > first, "two reads at one time");
}
END_TEST

/* A host that has every figure of the table: all are dispatched, once, with the type of the table
 * of types. */
START_TEST(every_figure) {
    struct ksm_sample sample;
    int sent = 0;

    host_make(dir);
    host_sample(&sample);
    start();
    read_figures();
    for (size_t id = 0; id < KSM_FIGURES; id++) {
        const struct ksm_figure *figure = &ksm_figures[id];
        const struct stub_value *got = find(figure->name);
        const struct collectd_type *type = &collectd_types[figure->kind][figure->unit];
        if (figure->kind == KSM_KIND_INPUT) {
            ck_assert_msg(!got, "%s is dispatched", figure->name);
            continue;
        }
        if (sample.at[id].status != 0) /* several readings make it */
            continue;
        sent++;
        ck_assert_msg(got, "%s is not dispatched", figure->name);
        ck_assert_msg(strcmp(got->type, type->type) == 0, "%s: got type %s, want %s", figure->name,
                      got->type, type->type);
        double value = figure->kind == KSM_KIND_COUNTER ? (double)got->value.derive
                                                        : got->value.gauge * type->divisor;
        double want = figure->kind == KSM_KIND_COUNTER
                          ? (double)(sample.at[id].value / type->divisor)
                          : (double)sample.at[id].value;
        ck_assert_msg(fabs(value - want) < 1e-6, "%s: got %.15g, want %.15g", figure->name, value,
                      want);
    }
    ck_assert_int_eq(stub.value_count, sent);
}
END_TEST

/* Absent figures are left out, their neighbours are not; the log hears of it once. */
START_TEST(absent_figures) {
    host_make(dir);
    host_write(dir, KSM_run, TEXT("0\n")); /* nothing moves */
    start();
    read_figures();
    int all = stub.value_count;
    expect_silence("well");

    host_write(dir, KSM_unshared, TEXT("12abc\n"));
    read_figures();
    expect_message("bad", LOG_WARNING, "pages_unshared", "not what the kernel writes there");
    ck_assert_msg(!find("unshared") && !find("merged"), "unshared or merged was dispatched");
    ck_assert_msg(find("shared") && find("saved") && find("volatile"), "a neighbour is missing");
    ck_assert_int_eq(stub.value_count, all - 2);
    for (int i = 0; i < 10; i++) {
        read_figures();
        expect_silence("still bad");
        ck_assert_int_eq(stub.value_count, all - 2);
    }
    host_write(dir, KSM_unshared, NULL, 0);
    read_figures();
    expect_message("well again", LOG_NOTICE, "pages_unshared", "again");
    ck_assert_int_eq(stub.value_count, all);
    read_figures();
    expect_silence("well");
}
END_TEST

START_TEST(stopped_is_no_error) {
    host_make(dir);
    host_write(dir, KSM_run, TEXT("0\n"));
    start();
    read_figures();
    expect_silence("run=0");
    ck_assert(find("run") && fabs(find("run")->value.gauge) < 1e-9);
    ck_assert(find("sharing") && find("saved"));
}
END_TEST

START_TEST(nothing_readable) {
    char path[PATH_MAX];

    tree_write(dir, "sys/kernel/mm/ksm/other", "", 0);
    start();
    stub_clear();
    int status = stub.read();
    ck_assert_msg(status != 0, "read returned 0, though nothing could be read");
    ck_assert_int_eq(stub.value_count, 0);
    snprintf(path, sizeof(path), "%s/proc", dir);
    ck_assert_int_ne(stub.read(), 0);
    expect_silence("a kernel with nothing");
}
END_TEST

START_TEST(kernel_without_ksm) {
    write_text("proc/vmstat", "cow_ksm 5\n");
    configure_one("Root", text_value(dir));
    int status = stub.init();
    ck_assert_msg(status == 0, "init returned %d, want 0", status);
    ck_assert_msg(!stub.read, "a read callback is registered");
    expect_message("no KSM", LOG_ERR, "no KSM in this kernel", dir);
    ck_assert_int_eq(stub.shutdown(), 0);
}
END_TEST

START_TEST(root_that_cannot_be_reached) {
    write_text("file", "");
    char root[PATH_MAX];
    snprintf(root, sizeof(root), "%s/file", dir);
    configure_one("Root", text_value(root));
    ck_assert_int_eq(stub.init(), 0);
    ck_assert_msg(!stub.read, "a read callback is registered");
    expect_message("a file as root", LOG_ERR, root, "Not a directory");
}
END_TEST

/* Options: bad ones are told of and change nothing, whatever type of value they come as. */
enum value_type { TEXTUAL, NUMERIC, BOOLEAN };

static const struct {
    const char *key;
    enum value_type type;
    const char *text;
    double number;       /* or boolean */
    const char *says[2]; /* NULL: nothing */
} options[] = {
    {"Settings", TEXTUAL, "no", 0, {NULL}},
    {"Settings", TEXTUAL, "TRUE", 0, {NULL}},
    {"settings", BOOLEAN, NULL, 1, {NULL}},
    {"Settings", BOOLEAN, NULL, 0, {NULL}},
    {"Settings", NUMERIC, NULL, 1, {"Settings: \"1\"", "yes or no"}},
    {"Settings", TEXTUAL, "maybe", 0, {"Settings: \"maybe\"", "yes or no"}},
    {"Settings", TEXTUAL, "", 0, {"Settings: \"\"", "yes or no"}},
    {"Root", TEXTUAL, "", 0, {"Root: \"\"", "a directory"}},
    {"Consumers", NUMERIC, NULL, 5, {NULL}},
    {"Consumers", TEXTUAL, "5", 0, {NULL}},
    {"Consumers", NUMERIC, NULL, 0, {NULL}},
    {"Consumers", NUMERIC, NULL, 200, {NULL}},
    {"Consumers", NUMERIC, NULL, 201, {"Consumers: \"201\"", "0 to 200"}},
    {"Consumers", NUMERIC, NULL, -1, {"Consumers: \"-1\"", "0 to 200"}},
    {"Consumers", NUMERIC, NULL, 5.5, {"Consumers: \"5.5\"", "0 to 200"}},
    {"Consumers", NUMERIC, NULL, 1e300, {"Consumers: \"1e+300\"", "0 to 200"}},
    {"Consumers", NUMERIC, NULL, NAN, {"Consumers: \"", "0 to 200"}},
    {"Consumers", NUMERIC, NULL, INFINITY, {"Consumers: \"inf\"", "0 to 200"}},
    {"Consumers", BOOLEAN, NULL, 1, {"Consumers: \"yes\"", "0 to 200"}},
    {"ConsumersInterval", NUMERIC, NULL, 3600, {NULL}},
    {"ConsumersInterval", NUMERIC, NULL, 0, {"ConsumersInterval: \"0\"", "1 to 3600"}},
    {"ConsumersExclude", TEXTUAL, "vm,program", 0, {NULL}},
    {"ConsumersExclude", TEXTUAL, "vm, program", 0, {"\"vm, program\"", "vm,container"}},
    {"Roots", TEXTUAL, "/", 0, {"no option Roots", "Root, "}},
    {"consumers-interval", NUMERIC, NULL, 5, {"no option consumers-interval", "ConsumersInterval"}},
    {"", TEXTUAL, "%s%n", 0, {"no option", "%s%n"}},
};

START_TEST(one_option) {
    const char *key = options[_i].key;

    if (options[_i].type == TEXTUAL)
        configure_one(key, text_value(options[_i].text));
    else if (options[_i].type == NUMERIC)
        configure_one(key, number_value(options[_i].number));
    else
        configure_one(key, boolean_value(options[_i].number > 0));
    if (options[_i].says[0])
        expect_message(key, LOG_ERR, options[_i].says[0], options[_i].says[1]);
    else
        expect_silence(key);
    /* The daemon runs on. */
    stub_clear();
    host_make(dir);
    start();
    read_figures();
    ck_assert(find("shared"));
}
END_TEST

START_TEST(options_with_other_than_one_value) {
    configure("Settings", 0, text_value("no"), text_value("no"));
    expect_message("no value", LOG_ERR, "Settings", "exactly one value");
    stub_clear();
    configure("Settings", 2, text_value("no"), text_value("no"));
    expect_message("two values", LOG_ERR, "Settings", "exactly one value");
    stub_clear();

    oconfig_value_t value = text_value("no");
    char key[] = "Settings";
    oconfig_item_t inner = {.key = key, .values = &value, .values_num = 1};
    oconfig_item_t option = {
        .key = key, .values = &value, .values_num = 1, .children = &inner, .children_num = 1};
    oconfig_item_t block = {.key = key, .children = &option, .children_num = 1};
    ck_assert_int_eq(stub.config(&block), 0);
    expect_message("a block", LOG_ERR, "Settings", "exactly one value");

    host_make(dir);
    start();
    read_figures();
    ck_assert_msg(find("sleep_millisecs"), "the default of Settings has not stayed");
}
END_TEST

START_TEST(settings_off) {
    configure_one("Settings", boolean_value(0));
    host_make(dir);
    start();
    read_figures();
    expect_silence("settings off");
    for (size_t id = 0; id < KSM_FIGURES; id++)
        if (ksm_figures[id].kind == KSM_KIND_KNOB)
            ck_assert_msg(!find(ksm_figures[id].name), "%s is dispatched", ksm_figures[id].name);
    ck_assert(find("run") && find("shared"));
}
END_TEST

/* Two blocks: what the second does not say stays as the first said; an empty one says nothing. */
START_TEST(two_blocks) {
    char key[] = "Plugin";
    oconfig_item_t empty = {.key = key};

    host_make(dir);
    configure_one("Settings", boolean_value(0));
    ck_assert_int_eq(stub.config(&empty), 0);
    configure_one("Root", text_value("/no/such/root"));
    start(); /* a third, with Root */
    read_figures();
    expect_silence("blocks");
    ck_assert(find("shared") && !find("sleep_millisecs"));
}
END_TEST

/* Without a block the root is that of this machine. */
START_TEST(no_block) {
    int status = stub.init();

    ck_assert_int_eq(status, 0);
    if (access("/sys/kernel/mm/ksm", F_OK) != 0) {
        ck_assert_msg(!stub.read, "a read callback is registered");
        expect_message("no KSM here", LOG_ERR, "no KSM in this kernel", "/");
        return;
    }
    read_figures();
    ck_assert_int_eq(stub.shutdown(), 0);
    expect_silence("this machine");
    ck_assert(find("shared") && find("sharing") && find("saved"));
}
END_TEST

/* A thread that was reading when it was told to end closes its file in a moment. */
static void expect_files(int count) {
    for (int ms = 0; suite_open_files() != count && ms < 1000; ms++)
        usleep(1000);
    ck_assert_int_eq(suite_open_files(), count);
}

START_TEST(shutdown_closes_what_is_open) {
    if (access("/sys/kernel/mm/ksm", F_OK) != 0) {
        suite_skip("shutdown_closes_what_is_open", "no KSM in this kernel");
        return;
    }
    int before = suite_open_files();
    ck_assert_int_eq(stub.init(), 0);
    read_figures();
    ck_assert_msg(suite_open_files() > before + 10, "%d descriptors are kept, want some 30",
                  suite_open_files() - before);
    read_figures();
    ck_assert_int_eq(stub.shutdown(), 0);
    expect_files(before);
}
END_TEST

/* ---- the consumers ---- */

static const struct stub_value *find_consumer(const char *instance, const char *type_instance) {
    for (int i = 0; i < stub.value_count; i++)
        if (strcmp(stub.values[i].plugin, "ksm_consumer") == 0 &&
            strcmp(stub.values[i].plugin_instance, instance) == 0 &&
            strcmp(stub.values[i].type_instance, type_instance) == 0)
            return &stub.values[i];
    return NULL;
}

static int count_threads(void) {
    DIR *tasks = opendir("/proc/self/task");
    int threads = 0;

    ck_assert_ptr_nonnull(tasks);
    for (struct dirent *entry; (entry = readdir(tasks));)
        threads += entry->d_name[0] != '.';
    closedir(tasks);
    return threads;
}

/* Their interval is their own, no shorter than the plugin's; the first table is there at once. */
static const struct {
    int consumers, seconds, of_plugin;
    int want; /* 0: no consumers */
} intervals[] = {
    {20, 10, 1, 10}, {20, 10, 10, 10}, {20, 10, 60, 60}, {1, 3600, 10, 3600}, {0, 10, 10, 0},
};

START_TEST(consumers_interval) {
    const int threads = count_threads();

    tree_make("tests/fixtures/consumers.tree", dir);
    stub.interval = TIME_T_TO_CDTIME_T(intervals[_i].of_plugin);
    configure_one("Consumers", number_value(intervals[_i].consumers));
    configure_one("ConsumersInterval", number_value(intervals[_i].seconds));
    start_with_consumers();
    ck_assert_int_eq(count_threads(), threads);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(stub.read(), 0);
    ck_assert_int_eq(stub_await_tables(intervals[_i].want > 0), intervals[_i].want > 0);
    const int running = count_threads(); /* a sanitizer may have its own */
    ck_assert_msg((running > threads) == (intervals[_i].want > 0), "got %d threads", running);
    ck_assert_int_eq(stub.shutdown(), 0);
    ck_assert_int_eq(count_threads(), running - (intervals[_i].want > 0));
    ck_assert_str_eq(stub.names, "config:ksm init:ksm shutdown:ksm read:ksm ");
    expect_silence("consumers");
    const struct stub_value *got = find_consumer("unattributed", "saved");
    if (intervals[_i].want == 0)
        return;
    ck_assert_msg(got, "nothing is unattributed");
    ck_assert_int_eq((int)CDTIME_T_TO_TIME_T(got->interval), intervals[_i].want);
    ck_assert_msg(fabs(got->value.gauge - 998.0 * (double)sysconf(_SC_PAGESIZE)) < 1e-9,
                  "unattributed: got %.15g", got->value.gauge);
    got = find_consumer("vm-web-01", "saved");
    ck_assert_msg(got && strcmp(got->type, "bytes") == 0 && find_consumer("vm-web-01", "real"),
                  "vm-web-01 is not sent");
    ck_assert_msg(!find_consumer("other-other", "saved") == (intervals[_i].consumers > 1),
                  "wrong about others");
}
END_TEST

/* No signal is for the plugin's thread: the daemon's handlers are for the daemon's threads. */
START_TEST(signals_are_not_for_it) {
    char own[32], path[300], line[256];
    unsigned long long blocked = 0;

    tree_make("tests/fixtures/consumers.tree", dir);
    start_with_consumers();
    read_figures();
    stub_await_tables(1);
    snprintf(own, sizeof(own), "%d", (int)getpid());
    DIR *tasks = opendir("/proc/self/task");
    ck_assert_ptr_nonnull(tasks);
    for (struct dirent *entry; (entry = readdir(tasks));) {
        snprintf(path, sizeof(path), "/proc/self/task/%s/status", entry->d_name);
        FILE *file =
            entry->d_name[0] != '.' && strcmp(entry->d_name, own) != 0 ? fopen(path, "r") : NULL;
        while (file && fgets(line, sizeof(line), file))
            sscanf(line, "SigBlk: %llx", &blocked);
        if (file)
            fclose(file);
    }
    closedir(tasks);
    ck_assert_msg(blocked >> (SIGTERM - 1) & blocked >> (SIGCHLD - 1) & 1, "got SigBlk %llx",
                  blocked);
    ck_assert_int_eq(stub.shutdown(), 0);
}
END_TEST

/* The daemon reads the host while the plugin's thread reads consumers: they share nothing that
 * either writes. What they do wrong a build with ThreadSanitizer tells. */
START_TEST(threads_in_parallel) {
    tree_make("tests/fixtures/consumers.tree", dir);
    configure_one("ConsumersInterval", number_value(1));
    stub.interval = TIME_T_TO_CDTIME_T(1);
    start_with_consumers();
    do
        read_figures();
    while (stub_await_tables(0) < 3);
    ck_assert_int_eq(stub.shutdown(), 0);
    expect_silence("in parallel");
}
END_TEST

/* A daemon that starts its plugins again. */
START_TEST(started_again) {
    const int before = suite_open_files();

    tree_make("tests/fixtures/consumers.tree", dir);
    for (int i = 1; i <= 3; i++) {
        start_with_consumers();
        read_figures();
        ck_assert_int_eq(stub_await_tables(i), i);
        ck_assert_int_eq(stub.shutdown(), 0);
        expect_files(before);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("collectd");
    TCase *life = suite_case(suite, "life");
    TCase *reading = suite_case(suite, "reading");
    TCase *consumers = suite_case(suite, "consumers");
    TCase *config = suite_case(suite, "config");

    tcase_add_checked_fixture(life, set_up, NULL);
    tcase_add_test(life, registration);
    tcase_add_test(life, kernel_without_ksm);
    tcase_add_test(life, root_that_cannot_be_reached);
    tcase_add_test(life, no_block);
    tcase_add_test(life, shutdown_closes_what_is_open);

    tcase_add_checked_fixture(reading, set_up, NULL);
    tcase_add_test(reading, dispatched);
    tcase_add_test(reading, every_figure);
    tcase_add_test(reading, absent_figures);
    tcase_add_test(reading, stopped_is_no_error);
    tcase_add_test(reading, nothing_readable);

    tcase_add_checked_fixture(consumers, set_up, NULL);
    tcase_add_loop_test(consumers, consumers_interval, 0, ROWS(intervals));
    tcase_add_test(consumers, signals_are_not_for_it);
    tcase_add_test(consumers, threads_in_parallel);
    tcase_add_test(consumers, started_again);

    tcase_add_checked_fixture(config, set_up, NULL);
    tcase_add_loop_test(config, one_option, 0, ROWS(options));
    tcase_add_test(config, options_with_other_than_one_value);
    tcase_add_test(config, settings_off);
    tcase_add_test(config, two_blocks);
    return suite_run(suite);
}
