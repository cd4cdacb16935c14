/* SPDX-License-Identifier: MIT
 *
 * What the log is told, and how often; of metrics, and of consumers.
 */
#include <errno.h>
#include <string.h>

#include "log_state.h"
#include "support/faults.h"
#include "support/host.h"
#include "support/suite.h"
#include "support/tree.h"

static const int64_t second = 1000;
static const int64_t minute = 60 * 1000;

static struct ksm_reader reader;
static struct ksm_log_state watch;
static const char *dir;
static int64_t now = 1234567;

static void hear(bool bad, const char *message) {
    ck_assert_msg(strstr(message, dir) && !strstr(message, "::"), "got \"%s\"", message);
    suite_hear(bad, message);
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

/* What is told after a tick, some ms later. */
static void tick(int64_t ms, const char *want) {
    now += ms;
    ksm_reader_tick(&reader, now);
    ksm_log_metrics(&watch, &reader, hear);
    suite_heard("a tick", want);
}

static void expect_silence(int ticks, int64_t ms) {
    while (ticks-- > 0)
        tick(ms, "");
}

static const struct {
    const char *text;
    size_t len;
    int open_err, read_err; /* in the place of a text */
    const char *told;
} faults[] = {
#define TEXT_FAULT(text, fault)                                                                    \
    { TEXT(text), 0, 0, "-ksm/pages_unshared|" fault "|unshared" }
#define CALL_FAULT(open_err, read_err, fault)                                                      \
    { NULL, 0, open_err, read_err, "-ksm/pages_unshared|" fault "|unshared" }
    TEXT_FAULT("", "is empty"),
    TEXT_FAULT("12abc\n", "is not in the format that the kernel writes"),
    TEXT_FAULT("9223372036854775808\n", "is above 2^63-1"),
    CALL_FAULT(EACCES, 0, "Permission denied"), CALL_FAULT(ENOENT, 0, "no longer exists"),
    CALL_FAULT(0, EPERM, "Operation not permitted"), CALL_FAULT(0, EISDIR, "Is a directory"),
    /* None that it knows. */
    TEXT_FAULT("-5\n", "is not in the format that the kernel writes")};
static const char well[] = "+ksm/pages_unshared|again";

static void inflict(int i) {
    if (faults[i].open_err != 0)
        faults_fail(FAULTS_OPEN, "/pages_unshared", 0, faults[i].open_err);
    else if (faults[i].read_err != 0)
        faults_fail(FAULTS_PREAD, "/pages_unshared", 0, faults[i].read_err);
    else
        host_write(dir, KSM_unshared, faults[i].text, faults[i].len);
}

static void heal(void) {
    faults_clear();
    host_write(dir, KSM_unshared, NULL, 0);
}

/* Once when it goes bad, never while it is, once when it is well. */
TEST_TIMES(bad_and_well_again, ROWS(faults)) {
    expect_silence(2, second);
    for (int round = 0; round < 2; round++) {
        inflict(_i);
        tick(second, faults[_i].told);
        expect_silence(200, second);
        heal();
        tick(minute, well);
        expect_silence(200, second);
    }
}

TEST_TIMES(bad_from_the_start, ROWS(faults)) {
    bool never_had = faults[_i].open_err == ENOENT;

    inflict(_i);
    tick(second, never_had ? "" : faults[_i].told);
    expect_silence(1, second);
    heal();
    tick(minute, never_had ? "" : well);
}

TEST(one_file) {
    static char text[8192];

    tick(second, "");
    memset(text, '7', sizeof(text));
    host_write(dir, KSM_unshared, text, sizeof(text));
    tick(second, "-ksm/pages_unshared|longer than the|unshared");
    /* Another fault is no news. */
    host_write(dir, KSM_unshared, TEXT("12abc\n"));
    tick(second, "");
    host_remove(dir, KSM_unshared);
    tick(second, "");
    heal();
    tick(minute, well);
}

/* A file that could not be opened, and then is gone, was never read: it cannot be "read again". */
TEST(unreadable_then_gone) {
    faults_fail(FAULTS_OPEN, "/pages_unshared", 0, EACCES);
    tick(second, "-ksm/pages_unshared|Permission denied|unshared");
    faults_clear();
    host_remove(dir, KSM_unshared);
    expect_silence(2, minute);
    heal();
    tick(minute, well);
}

/* An old kernel lacks many files: nobody needs to know; nor that a container hides threads. */
TEST(kernel_never_had_it) {
    static const enum ksm_id new[] = {KSM_zero,    KSM_general_profit, KSM_scanned,
                                      KSM_skipped, KSM_chains,         KSM_smart_scan,
                                      KSM_cow,     KSM_swpin_copy,     KSM_mem_available};

    for (int i = 0; i < ROWS(new); i++)
        host_remove(dir, new[i]);
    tree_unlink(dir, "proc/2/status");
    expect_silence(5, minute);
    host_write(dir, KSM_skipped, NULL, 0);
    tick(minute, "");
    host_remove(dir, KSM_skipped);
    tick(second, "-ksm/pages_skipped|no longer exists|skipped");
}

/* Each metric of a file is named, of meminfo only the lines that this kernel has: not UKSM's. */
TEST(meminfo) {
    faults_fail(FAULTS_OPEN, "/meminfo", 0, EACCES);
    tick(second, "-proc/meminfo, MemTotal: Permission denied; mem_total \n"
                 "-proc/meminfo, MemAvailable: Permission denied; mem_available \n"
                 "-proc/meminfo, SwapFree: Permission denied; swap_free \n"
                 "-proc/meminfo, AnonHugePages: Permission denied; anon_huge_kb ");
    tick(second, "");
    host_write(dir, KSM_mem_total, TEXT("12abc kB"));
    faults_clear();
    tick(minute, "+MemAvailable|again\n+SwapFree|again\n+AnonHugePages|again");
    host_write(dir, KSM_mem_total, NULL, 0);
    tick(second, "+proc/meminfo, MemTotal|again");
}

/* Several files at once: each is told of, none hides the other. */
TEST(several_files) {
    tick(second, "");
    host_write(dir, KSM_ksmd_cpu, TEXT("12abc\n"));
    tick(second, "-proc/37/schedstat|is not in the format that the kernel writes|ksmd_cpu");
    host_write(dir, KSM_ksmd_cpu, NULL, 0);
    host_write(dir, KSM_shared, TEXT("x\n"));
    host_write(dir, KSM_run, TEXT("3\n"));
    tick(second, "-ksm/pages_shared\n+proc/37/schedstat|again\n-ksm/run");
    host_write(dir, KSM_shared, NULL, 0);
    tick(second, "+ksm/pages_shared|again");
    host_write(dir, KSM_run, NULL, 0);
    host_write(dir, KSM_zero, TEXT("-1000000\n"));
    tick(second, "-ksm/ksm_zero_pages|is negative, a known bug of Linux 6.6 to 6.17|zero\n"
                 "+ksm/run|again");
    tick(second, "");
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
    /* The last summary is not lost, and comes once. */
    ck_assert_int_gt(ksm_log_withheld(&limit, now + 11 * minute), 0);
    ck_assert_int_eq(ksm_log_withheld(&limit, now + 12 * minute), 0);
    /* After a long time there is a whole burst again. */
    for (int i = 0; i <= KSM_LOG_BURST; i++)
        ck_assert_int_eq(ksm_log_admit(&limit, now + 1000 * minute), i < KSM_LOG_BURST);
}

/* A table that is late and on time in turns, at each sample. */
TEST(changing_faults_are_limited) {
    static struct ksm_consumers_log_state state;
    struct ksm_consumer_table table = {.valid = true};

    faults_stop_clocks(now, now);
    for (int i = 0; i < 10 * 60; i++) {
        table.trouble[KSM_CONSUMERS_LATE] = i % 2 == 0;
        ksm_log_consumers(&state, &table, "/", count_line);
        now += second;
        faults_stop_clocks(now, now);
    }
    ck_assert_int_eq(lines, KSM_LOG_BURST + 9);
    /* What has lasted is logged in the end. */
    table.trouble[KSM_CONSUMERS_LATE] = !state.told[KSM_CONSUMERS_LATE];
    now += minute;
    faults_stop_clocks(now, now);
    ksm_log_consumers(&state, &table, "/", count_line);
    ck_assert_int_eq(lines, KSM_LOG_BURST + 10);
    faults_let_clocks_go();
}

/* ---- of the consumers ---- */

/* What each trouble is called when it begins, and when it ends; one needs no action. */
static const char *const troubles[KSM_CONSUMERS_FAULTS][2] = {
    [KSM_CONSUMERS_UNKNOWN] = {"+savings by consumer are not reported|5.19"},
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

/* Each is told of by itself and with all others, and at no later sample again. */
TEST_TIMES(troubles_begin_and_end, KSM_CONSUMERS_FAULTS) {
    static struct ksm_consumers_log_state of_one, of_all;
    struct ksm_consumer_table table = {.valid = true};

    for (int ends = 0; ends < (troubles[_i][1] ? 2 : 1); ends++) {
        table.trouble[_i] = !ends;
        ksm_log_consumers(&of_one, &table, "/", suite_hear);
        suite_heard("one", troubles[_i][ends]);
        ksm_log_consumers(&of_one, &table, "/", suite_hear);
        suite_heard("the same", "");
    }
    memset(table.trouble, 1, sizeof(table.trouble));
    ksm_log_consumers(&of_all, &table, "/", suite_hear);
    char want[1024] = "";
    for (int i = 0; i < KSM_CONSUMERS_FAULTS; i++)
        strcat(strcat(want, troubles[i][0]), "\n");
    suite_heard("all", want);
}

/* Which paths a message names, with the root before them. */
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

TEST_ROWS(messages_name_the_root, root_rows) {
    struct ksm_consumers_log_state state = {.told = {false}};
    struct ksm_consumer_table table = {.valid = true};

    table.trouble[KSM_CONSUMERS_HIDDEN] = true;
    ksm_log_consumers(&state, &table, row->root, suite_hear);
    suite_heard("hidden", row->hidden);
    table.trouble[KSM_CONSUMERS_FAILED] = true;
    ksm_log_consumers(&state, &table, row->root, suite_hear);
    suite_heard("failed", row->failed);
}

TEST(long_root_is_cut) {
    static char root[PATH_MAX];
    struct ksm_consumers_log_state state = {.told = {false}};
    struct ksm_consumer_table table = {.trouble[KSM_CONSUMERS_FAILED] = true};

    memset(root, 'r', sizeof(root) - 1);
    ksm_log_consumers(&state, &table, root, suite_hear);
    suite_heard("failed", "-determined: rrr");
}
