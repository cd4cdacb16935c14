/* SPDX-License-Identifier: MIT
 *
 * Which faults of metrics and of consumers are logged, and how often.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "log_state.h"
#include "support/faults.h"
#include "support/host.h"
#include "support/suite.h"
#include "support/tree.h"

static const int64_t second = 1000;
static const int64_t minute = 60 * 1000;

static struct ksm_reader reader;
static struct ksm_log_state state;
static const char *dir;
static int64_t now = 1234567;

static void capture_file_message(bool bad, const char *message) {
    ck_assert_msg(strstr(message, dir) && !strstr(message, "::"), "got \"%s\"", message);
    log_capture(bad, message);
}

static int lines;

static void count_line(bool bad, const char *message) {
    (void)bad;
    lines += message[0] != '\0';
}

void before_each(void) {
    dir = suite_dir();
    host_make(dir);
    faults_clear();
    ck_assert_int_eq(ksm_reader_init(&reader, dir, true), 0);
}

/* Samples the metrics ms later, and checks what is logged. */
static void tick_and_expect_logged(int64_t ms, const char *want) {
    now += ms;
    ksm_reader_tick(&reader, now);
    ksm_log_metrics(&state, &reader, capture_file_message);
    expect_logged("a tick", want);
}

static void expect_nothing_logged(int ticks, int64_t ms) {
    while (ticks-- > 0)
        tick_and_expect_logged(ms, "");
}

static const struct {
    const char *text;
    size_t len;
    int open_error, read_error; /* instead of text */
    const char *message;
} faults[] = {
#define TEXT_FAULT(text, fault)                                                                    \
    { TEXT(text), 0, 0, "-ksm/pages_unshared|" fault "|unshared" }
#define CALL_FAULT(open_error, read_error, fault)                                                  \
    { NULL, 0, open_error, read_error, "-ksm/pages_unshared|" fault "|unshared" }
    TEXT_FAULT("", "is empty"),
    TEXT_FAULT("12abc\n", "is not in the format that the kernel writes"),
    TEXT_FAULT("9223372036854775808\n", "is above 2^63-1"),
    CALL_FAULT(EACCES, 0, "Permission denied"), CALL_FAULT(ENOENT, 0, "no longer exists"),
    CALL_FAULT(0, EPERM, "Operation not permitted"), CALL_FAULT(0, EISDIR, "Is a directory"),
    /* A number that no known bug makes negative. */
    TEXT_FAULT("-5\n", "is not in the format that the kernel writes")};
static const char cleared[] = "+ksm/pages_unshared|again";

static void raise_fault(int i) {
    if (faults[i].open_error != 0)
        faults_fail(FAULTS_OPEN, "/pages_unshared", 0, faults[i].open_error);
    else if (faults[i].read_error != 0)
        faults_fail(FAULTS_PREAD, "/pages_unshared", 0, faults[i].read_error);
    else
        host_write(dir, KSM_unshared, faults[i].text, faults[i].len);
}

static void clear_fault(void) {
    faults_clear();
    host_write(dir, KSM_unshared, NULL, 0);
}

TEST_TIMES(fault_is_logged_once_when_raised_and_once_when_cleared, ROWS(faults)) {
    expect_nothing_logged(2, second);
    for (int repeat = 0; repeat < 2; repeat++) {
        raise_fault(_i);
        tick_and_expect_logged(second, faults[_i].message);
        expect_nothing_logged(200, second);
        clear_fault();
        tick_and_expect_logged(minute, cleared);
        expect_nothing_logged(200, second);
    }
}

TEST_TIMES(fault_at_the_first_tick_is_logged, ROWS(faults)) {
    bool never_existed = faults[_i].open_error == ENOENT;

    raise_fault(_i);
    tick_and_expect_logged(second, never_existed ? "" : faults[_i].message);
    expect_nothing_logged(1, second);
    clear_fault();
    tick_and_expect_logged(minute, never_existed ? "" : cleared);
}

TEST(another_fault_of_the_same_file_is_not_logged) {
    static char text[8192];

    tick_and_expect_logged(second, "");
    memset(text, '7', sizeof(text));
    host_write(dir, KSM_unshared, text, sizeof(text));
    tick_and_expect_logged(second, "-ksm/pages_unshared|longer than the|unshared");
    host_write(dir, KSM_unshared, TEXT("12abc\n"));
    tick_and_expect_logged(second, "");
    host_remove(dir, KSM_unshared);
    tick_and_expect_logged(second, "");
    clear_fault();
    tick_and_expect_logged(minute, cleared);
}

/* A file that could not be opened and then disappears cannot be "read again". */
TEST(unreadable_file_that_disappears_is_not_logged_as_readable) {
    faults_fail(FAULTS_OPEN, "/pages_unshared", 0, EACCES);
    tick_and_expect_logged(second, "-ksm/pages_unshared|Permission denied|unshared");
    faults_clear();
    host_remove(dir, KSM_unshared);
    expect_nothing_logged(2, minute);
    clear_fault();
    tick_and_expect_logged(minute, cleared);
}

/* Nor is it logged that a container hides kernel threads. */
TEST(file_that_never_existed_is_not_logged) {
    static const enum ksm_id new[] = {KSM_zero,    KSM_general_profit, KSM_scanned,
                                      KSM_skipped, KSM_chains,         KSM_smart_scan,
                                      KSM_cow,     KSM_swpin_copy,     KSM_mem_available};

    for (int i = 0; i < ROWS(new); i++)
        host_remove(dir, new[i]);
    tree_unlink(dir, "proc/2/status");
    expect_nothing_logged(5, minute);
    host_write(dir, KSM_skipped, NULL, 0);
    tick_and_expect_logged(minute, "");
    host_remove(dir, KSM_skipped);
    tick_and_expect_logged(second, "-ksm/pages_skipped|no longer exists|skipped");
}

TEST(every_metric_of_meminfo_on_this_kernel_is_logged) {
    faults_fail(FAULTS_OPEN, "/meminfo", 0, EACCES);
    tick_and_expect_logged(
        second, "-proc/meminfo, MemTotal: Permission denied;|read again: ram, net\n"
                "-proc/meminfo, MemAvailable: Permission denied;|read again: exposure\n"
                "-proc/meminfo, SwapFree: Permission denied;|read again: exposure\n"
                "-proc/meminfo, AnonHugePages: Permission denied;|read again: anon_huge");
    tick_and_expect_logged(second, "");
    host_write(dir, KSM_mem_total, TEXT("12abc kB"));
    faults_clear();
    tick_and_expect_logged(minute, "+MemAvailable|again\n+SwapFree|again\n+AnonHugePages|again");
    host_write(dir, KSM_mem_total, NULL, 0);
    tick_and_expect_logged(second, "+proc/meminfo, MemTotal|again");
}

/* UKSM's zero pages are a field of meminfo: no file is logged. */
TEST(unreadable_zero_pages_of_uksm_are_logged_once) {
    ck_assert_int_eq(
        rename(tree_path(dir, "sys/kernel/mm/ksm"), tree_path(dir, "sys/kernel/mm/uksm")), 0);
    tree_unlink(dir, "sys/kernel/mm/uksm/ksm_zero_pages");
    tree_print(dir, "proc/meminfo", "MemTotal: 4194304 kB\nKsmZeroPages: 12abc kB\n");
    ck_assert_int_eq(ksm_reader_init(&reader, dir, true), 0);
    tick_and_expect_logged(second, "-proc/meminfo, KsmZeroPages: is not in the format that the "
                                   "kernel|read again: zero, saved, ");
    tree_print(dir, "proc/meminfo", "MemTotal: 4194304 kB\nKsmZeroPages: 400 kB\n");
    tick_and_expect_logged(second, "+proc/meminfo, KsmZeroPages: can be read again");
}

/* Before ksmd is found, no file is known. */
TEST(failed_search_for_ksmd_names_proc) {
    faults_fail(FAULTS_OPENDIR, "/proc", 1, EMFILE);
    tick_and_expect_logged(second, "-/proc: Too many open files;|read again: ksmd_cpu");
    tick_and_expect_logged(second, "+/proc/37/schedstat: can be read again");
}

static char missing[256]; /* "again: " and the metrics that are */

static void expect_missing(bool bad, const char *message) {
    ck_assert_msg(bad && strstr(message, missing), "got \"%s\", want %s", message, missing);
    lines++;
}

/* A row that is not sent itself, or that savings are derived from: what is missing without it. */
static bool has_dependents(size_t id) {
    return ksm_metrics[id].kind == KSM_KIND_INPUT || id == KSM_zero || id == KSM_sharing ||
           id == KSM_shared || id == KSM_run;
}

TEST_TIMES(fault_names_the_metrics_that_are_missing, KSM_METRICS) {
    static struct ksm_sample before;
    const size_t input = (size_t)_i;

    if (!has_dependents(input) || !host_has(input))
        return;
    expect_nothing_logged(2, second); /* then there are rates too */
    before = reader.sample;
    host_write(dir, input, TEXT("12abc kB\n"));
    ksm_reader_tick(&reader, now + second);
    strcpy(missing, "again: ");
    for (size_t id = 0; id < KSM_METRICS; id++)
        if (ksm_metrics[id].kind != KSM_KIND_INPUT && before.values[id].status == 0 &&
            reader.sample.values[id].status != 0)
            sprintf(missing + strlen(missing), "%s%s", missing[7] ? ", " : "",
                    ksm_metrics[id].name);
    lines = 0;
    ksm_log_metrics(&state, &reader, expect_missing);
    ck_assert_int_eq(lines, 1);
}

TEST(faults_of_several_files_are_all_logged) {
    tick_and_expect_logged(second, "");
    host_write(dir, KSM_ksmd_cpu, TEXT("12abc\n"));
    tick_and_expect_logged(
        second, "-proc/37/schedstat|is not in the format that the kernel writes|ksmd_cpu");
    host_write(dir, KSM_ksmd_cpu, NULL, 0);
    host_write(dir, KSM_shared, TEXT("x\n"));
    host_write(dir, KSM_run, TEXT("3\n"));
    tick_and_expect_logged(second, "-ksm/pages_shared\n+proc/37/schedstat|again\n-ksm/run");
    host_write(dir, KSM_shared, NULL, 0);
    tick_and_expect_logged(second, "+ksm/pages_shared|again");
    host_write(dir, KSM_run, NULL, 0);
    host_write(dir, KSM_zero, TEXT("-1000000\n"));
    tick_and_expect_logged(
        second, "-ksm/ksm_zero_pages|is negative, a known bug of Linux 6.6 to 6.17|zero\n"
                "+ksm/run|again");
    tick_and_expect_logged(second, "");
}

/* ---- limits ---- */

TEST(limit_admits_a_burst_and_one_line_a_minute) {
    struct ksm_log_limit limit = {.used = 0};
    int admitted = 0, withheld = 0, summaries = 0;

    for (int64_t ms = 0; ms < 10 * minute; ms += second / 2) {
        admitted += ksm_log_admit(&limit, now + ms);
        const int more = ksm_log_withheld(&limit, now + ms);
        withheld += more;
        summaries += more > 0;
    }
    ck_assert_int_eq(admitted, KSM_LOG_BURST + 9);
    ck_assert_int_eq(summaries, 9);
    ck_assert_int_eq(admitted + withheld + limit.withheld, 10 * 120);
    /* The last summary follows, once. */
    ck_assert_int_gt(ksm_log_withheld(&limit, now + 11 * minute), 0);
    ck_assert_int_eq(ksm_log_withheld(&limit, now + 12 * minute), 0);
    /* After a long time a whole burst is admitted again. */
    for (int i = 0; i <= KSM_LOG_BURST; i++)
        ck_assert_int_eq(ksm_log_admit(&limit, now + 1000 * minute), i < KSM_LOG_BURST);
}

/* Each sample raises or clears the same fault. */
TEST(changing_faults_are_limited) {
    static struct ksm_consumers_log_state consumers_state;
    struct ksm_consumer_table table = {.valid = true};

    faults_stop_clocks(now, now);
    for (int i = 0; i < 10 * 60; i++) {
        table.faults[KSM_CONSUMERS_LATE] = i % 2 == 0;
        ksm_log_consumers(&consumers_state, &table, "/", count_line);
        now += second;
        faults_stop_clocks(now, now);
    }
    ck_assert_int_eq(lines, KSM_LOG_BURST + 9);
    /* A change that lasts is logged later. */
    table.faults[KSM_CONSUMERS_LATE] = !consumers_state.logged[KSM_CONSUMERS_LATE];
    now += minute;
    faults_stop_clocks(now, now);
    ksm_log_consumers(&consumers_state, &table, "/", count_line);
    ck_assert_int_eq(lines, KSM_LOG_BURST + 10);
    faults_let_clocks_go();
}

/* ---- faults of the consumers ---- */

/* The messages when each fault is raised and cleared. */
static const char *const messages[KSM_CONSUMERS_FAULTS][2] = {
    [KSM_CONSUMERS_UNSUPPORTED] = {"+savings by consumer are not reported|5.19",
                                   "+savings by consumer are reported again"},
    [KSM_CONSUMERS_DENIED] = {"-grant cap_dac_read_search|unattributed",
                              "+all processes can be read"},
    [KSM_CONSUMERS_MODULE] = {"-security module|unattributed", "+all processes can be read"},
    [KSM_CONSUMERS_HIDEPID1] = {"-hidepid=1|unattributed", "+all processes can be read"},
    [KSM_CONSUMERS_HIDDEN] = {"-/proc hides|hidepid|unattributed",
                              "+/proc no longer hides processes"},
    [KSM_CONSUMERS_OVERCOUNT] = {"-scaled down", "+agree with the host's again"},
    [KSM_CONSUMERS_RATE_LIMITED] = {"-are part of other|exclude that kind|ConsumersExclude",
                                    "+at once again"},
    [KSM_CONSUMERS_FAILED] = {"-savings by consumer cannot be determined",
                              "+savings by consumer are reported again"},
    [KSM_CONSUMERS_LATE] = {"-savings by consumer are not reported|interval",
                            "+savings by consumer are reported again"},
};

TEST_TIMES(fault_of_consumers_is_logged_once_alone_or_with_all_others, KSM_CONSUMERS_FAULTS) {
    static struct ksm_consumers_log_state one_state, all_state;
    struct ksm_consumer_table table = {.valid = true};

    for (int clear = 0; clear < 2; clear++) {
        table.faults[_i] = !clear;
        ksm_log_consumers(&one_state, &table, "/", log_capture);
        expect_logged("one", messages[_i][clear]);
        ksm_log_consumers(&one_state, &table, "/", log_capture);
        expect_logged("the same", "");
    }
    memset(table.faults, 1, sizeof(table.faults));
    ksm_log_consumers(&all_state, &table, "/", log_capture);
    char want[1024] = "";
    for (int i = 0; i < KSM_CONSUMERS_FAULTS; i++)
        strcat(strcat(want, messages[i][0]), "\n");
    expect_logged("all", want);
}

/* The paths in messages, below the root. */
static const struct {
    const char *root;
    const char *hidden, *failed;
} root_rows[] = {
    {"/", "-/proc hides", "-determined: /proc, or| of /sys/kernel/mm/ksm, cannot"},
    {"/host", "-/host/proc hides",
     "-determined: /host/proc, or| of /host/sys/kernel/mm/ksm, cannot"},
    {"/host//", "-/host/proc hides", "-/host/proc, or| of /host/sys/kernel/mm/ksm, cannot"},
    {"host", "-host/proc hides", "-host/proc, or| of host/sys/kernel/mm/ksm, cannot"},
};

TEST_ROWS(messages_contain_the_root, root_rows) {
    struct ksm_consumers_log_state consumers_state = {.logged = {false}};
    struct ksm_consumer_table table = {.valid = true};

    table.faults[KSM_CONSUMERS_HIDDEN] = true;
    ksm_log_consumers(&consumers_state, &table, row->root, log_capture);
    expect_logged("hidden", row->hidden);
    table.faults[KSM_CONSUMERS_FAILED] = true;
    ksm_log_consumers(&consumers_state, &table, row->root, log_capture);
    expect_logged("failed", row->failed);
}

TEST(long_root_is_truncated) {
    static char root[PATH_MAX];
    struct ksm_consumers_log_state consumers_state = {.logged = {false}};
    struct ksm_consumer_table table = {.faults[KSM_CONSUMERS_FAILED] = true};

    memset(root, 'r', sizeof(root) - 1);
    ksm_log_consumers(&consumers_state, &table, root, log_capture);
    expect_logged("failed", "-determined: rrr");
}
