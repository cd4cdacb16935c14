/* SPDX-License-Identifier: MIT
 *
 * Samples of the consumers in threads, with processes that block their readers. The clock stands
 * still except for advance_clock(). A blocked read waits until the test releases it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "consumers/sampler.h"
#include "support/fake_procs.h"
#include "support/faults.h"
#include "support/suite.h"
#include "support/tree.h"
#include "system/clock.h"

/* A read times out after a fifth of the interval, at most a second. */
enum { INTERVAL = 10000, TIMEOUT = 1000, SKIP = 60000 };

/* Of fixtures/consumers.tree, in pages: unattributed, and the savings of process 100 (vm web-01)
 * and of 201 (one of two of a container). */
enum { CONSUMERS = 8, UNATTRIBUTED = 998, OF_100 = 1200, OF_201 = 150 };

static const char *dir; /* of the running test */
static struct ksm_options options;
static struct ksm_consumers c;
static struct ksm_sampler s;
static int64_t now;
static int64_t page;
static int files; /* open before */

static void advance_clock(int64_t ms) {
    now += ms;
    faults_stop_clocks(now, now);
}

static void init(int64_t interval) {
    ksm_consumers_init(&c, &options, interval, KSM_KEPT_DESCRIPTORS_MAX);
    ksm_sampler_init(&s, &c);
}

void before_each(void) {
    dir = suite_dir();
    page = sysconf(_SC_PAGESIZE);
    now = 5000000;
    ksm_options_init(&options);
    snprintf(options.root, sizeof(options.root), "%s", dir);
    files = suite_open_files();
    faults_clear();
    fake_procs_init(dir);
    advance_clock(0);
    init(INTERVAL);
}

/* No test leaves a descriptor open. */
void after_each(void) {
    faults_spin(false);
    faults_release(NULL);
    faults_await_blocked(0);
    ksm_sampler_close(&s);
    for (int ms = 0; suite_open_files() != files && ms < 60000; ms++)
        usleep(1000);
    ck_assert_msg(suite_open_files() == files, "%d descriptors are left",
                  suite_open_files() - files);
    ck_assert_msg(faults_bad_closes() == 0, "%d descriptors were closed twice",
                  faults_bad_closes());
    faults_clear(); /* check reads the clock */
}

static void make_fixture(void) {
    tree_make("tests/fixtures/consumers.tree", dir);
}

/* ---- a host ---- */

static void begin(void) {
    ck_assert_msg(ksm_sampler_is_due(&s, now), "no sample is due");
    ksm_sampler_begin(&s, true, now);
}

/* Polls until the table is ready. The clock does not advance. */
static void finish(const char *when) {
    enum ksm_sampler_result result = KSM_SAMPLER_BUSY;

    for (int ms = 0; result == KSM_SAMPLER_BUSY && ms < 60000; ms++) {
        result = ksm_sampler_poll(&s, now);
        if (result == KSM_SAMPLER_BUSY)
            usleep(1000);
    }
    ck_assert_msg(result == KSM_SAMPLER_READY, "%s: got %u, want ready", when, (unsigned)result);
}

/* Waits until so many reads are blocked, and lets the last one time out. */
static void expect_abandoned(const char *when, int blocked) {
    int got = faults_await_blocked(blocked);
    const int threads = faults_count(FAULTS_THREAD);

    ck_assert_msg(got == blocked, "%s: got %d blocked, want %d", when, got, blocked);
    advance_clock(TIMEOUT - 1);
    ck_assert_int_eq(ksm_sampler_poll(&s, now), KSM_SAMPLER_BUSY);
    ck_assert_msg(faults_count(FAULTS_THREAD) == threads, "%s: abandoned too early", when);
    advance_clock(1);
    for (int ms = 0; faults_count(FAULTS_THREAD) == threads && ms < 10000; ms++) {
        ck_assert_int_eq(ksm_sampler_poll(&s, now), KSM_SAMPLER_BUSY);
        usleep(1000); /* it may not be asleep yet */
    }
    ck_assert_msg(faults_count(FAULTS_THREAD) == threads + 1, "%s: not abandoned", when);
}

static void begin_next(void) {
    advance_clock(s.due > now ? s.due - now : 0);
    begin();
}

static void sample(const char *when) {
    begin_next();
    finish(when);
}

/* Makes a sample in which reading this file blocks and is abandoned. */
static void sample_with_blocked_read(const char *file) {
    faults_block(file);
    begin_next();
    expect_abandoned("blocked", 1);
    finish("blocked");
}

/* unattributed: pages. */
static void expect_table(const char *when, int consumers, int64_t unattributed) {
    ck_assert_msg(c.table.valid, "%s: got no table", when);
    ck_assert_msg((int)c.table.count == consumers && c.table.unattributed == unattributed * page,
                  "%s: got %zu consumers and %" PRId64 " pages unattributed, want %d, %" PRId64,
                  when, c.table.count, c.table.unattributed / page, consumers, unattributed);
}

/* ---- the log ---- */

/* Expects these messages once, and none the next time. */
static void expect_logged_once(const char *when, const char *want) {
    ksm_sampler_log(&s, log_capture);
    expect_logged(when, want);
    ksm_sampler_log(&s, log_capture);
    expect_logged(when, "");
}

static void expect_nothing_logged(const char *when) {
    expect_logged_once(when, "");
}

/* Returns count lines of the same message. */
static const char *times(int count, const char *message) {
    static char text[2048];

    for (*text = '\0'; count > 0; count--)
        strcat(strcat(text, message), "\n");
    return text;
}

static int messages;

static void count_and_capture(bool bad, const char *message) {
    messages++;
    log_capture(bad, message);
}

/* Waits until the recovery of count processes has been logged. */
static void await_recovery(const char *when, int count) {
    messages = 0;
    for (int ms = 0; messages < count && ms < 60000; ms++) {
        ksm_sampler_poll(&s, now);
        ksm_sampler_log(&s, count_and_capture);
        usleep(1000);
    }
    expect_logged(when, times(count, "+can be read again"));
}

/* ---- one blocking process ---- */

/* The file that blocks, and whether the process is new. */
static const struct {
    const char *file;
    bool is_new;
} one_rows[] = {
    {"/100/ksm_stat", true}, {"/100/stat", true},      {"/100/statm", true}, {"/100/cgroup", true},
    {"/100/cmdline", true},  {"/100/ksm_stat", false}, {"/100/stat", false}, {"/100/statm", false},
    {"/100/cgroup", false},  {"/100/cmdline", false},
};

static void expect_skipped(const char *when) {
    expect_table(when, CONSUMERS - 1, UNATTRIBUTED + OF_100);
}

TEST_ROWS(blocking_process_is_skipped_until_a_minute_after_recovery, one_rows) {
    make_fixture();
    if (!row->is_new)
        sample("before");
    sample_with_blocked_read(row->file);
    expect_skipped("blocked");
    ck_assert_int_eq((int)c.table.sweep.skipped, 1);
    expect_logged_once("blocked", "-process 100 (qemu-system-x86): reading its /proc files blocks");
    const int threads = faults_count(FAULTS_THREAD);
    for (int i = 1; i <= 10; i++) {
        sample("still blocked");
        expect_skipped("still blocked");
        expect_nothing_logged("still blocked");
        ck_assert_int_eq(faults_count(FAULTS_THREAD), threads + i);
    }
    faults_release(NULL);
    await_recovery("released", 1);
    for (const int64_t until = now + SKIP; s.due < until;) {
        sample("recovered");
        expect_skipped("recovered");
    }
    sample("included again");
    ck_assert_int_eq((int)c.table.sweep.skipped, 0);
    expect_table("included again", CONSUMERS, UNATTRIBUTED);
    expect_nothing_logged("included again");
}

/* Linux 6.1 to 6.3: ksm_merging_pages is read while ksm_stat is open. */
TEST_TIMES(blocked_second_file_leaves_the_first_one_to_be_closed, 2) {
    make_fixture();
    fake_procs_write_file(dir, 100, "ksm_stat", TEXT("ksm_rmap_items 5000\n"));
    if (_i == 1)
        sample("it is on the list");
    sample_with_blocked_read("/100/ksm_merging_pages");
    ck_assert_int_eq((int)c.table.sweep.skipped, 1);
}

TEST(runnable_thread_is_not_abandoned) {
    make_fixture();
    faults_spin(true);
    faults_block("/100/ksm_stat");
    begin_next();
    ck_assert_int_eq(faults_await_blocked(1), 1);
    for (int i = 1; i <= 5; i++) {
        advance_clock(TIMEOUT);
        ck_assert_int_eq(ksm_sampler_poll(&s, now), KSM_SAMPLER_BUSY);
        ck_assert_int_eq((int)(ksm_sampler_next(&s) - now), TIMEOUT);
        expect_nothing_logged("it runs");
    }
    faults_spin(false);
    finish("blocked");
    expect_logged_once("blocked", "-process 100 (qemu-system-x86): reading its /proc files blocks");
    expect_skipped("blocked");
}

static int lines, summaries;

static void count_lines(bool bad, const char *message) {
    (void)bad;
    lines++;
    summaries += strstr(message, " more times;") != NULL;
}

/* For ten minutes, another process blocks each second. */
TEST(log_of_changing_blocking_processes_is_limited) {
    for (int i = 0; i < 600; i++) {
        struct ksm_sampler_skipped *entry = &s.skipped[i % KSM_SKIPPED_MAX];
        *entry = (struct ksm_sampler_skipped){.pid = 1000 + i, .comm = "x", .blocks = true};
        ksm_sampler_log(&s, count_lines);
        entry->blocks = false;
        ksm_sampler_log(&s, count_lines);
        ck_assert(!entry->logged);
        advance_clock(1000);
    }
    ck_assert_int_eq(summaries, 9);
    ck_assert_int_eq(lines - summaries, 2 * (KSM_LOG_BURST + 9));
    memset(s.skipped, 0, sizeof(s.skipped));
}

TEST(comm_is_cleaned_for_the_log) {
    make_fixture();
    fake_procs_write_file(dir, 100, "comm", TEXT("a\"b\nERROR: c\n"));
    sample_with_blocked_read("/100/ksm_stat");
    expect_logged_once("blocked", "-process 100 (a_b_ERROR:_c~");
    fake_procs_remove_file(dir, 100, "comm");
}

TEST(blocking_process_that_exits) {
    make_fixture();
    fake_procs_remove_file(dir, 100, "comm");
    sample_with_blocked_read("/100/ksm_stat");
    expect_logged_once("blocked", "-process 100 (?)");
    fake_procs_remove(dir, 100);
    faults_release(NULL);
    await_recovery("released", 1);
    sample("it has exited");
    expect_skipped("it has exited");
}

/* The kept descriptor is of a file of the real /proc. */
TEST(kept_descriptor_that_blocks_is_left_to_the_stuck_thread) {
    pid_t child = suite_start_child();

    fake_procs_set_older_kernel(dir, true);
    fake_procs_set_host(dir, 100, 100, 0);
    fake_procs_write(dir, &(const struct fake_process){.pid = 50, .merging = 5, .comm = "other"});
    fake_procs_write(dir, &(const struct fake_process){.pid = 100, .comm = "stuck"});
    fake_procs_link(dir, 100, child);
    fake_procs_set_linked(child, 7);
    init(INTERVAL);
    sample("kept");
    ck_assert_int_eq(c.processes.kept, 1);
    ck_assert_int_eq((int)c.table.count, 2);

    faults_block(tree_path("", "%d/oom_score_adj", child));
    begin_next();
    expect_abandoned("blocked", 1);
    finish("blocked");
    ck_assert_int_eq((int)c.table.count, 1);
    ck_assert_int_eq(c.processes.kept, 0);
    ck_assert_int_eq(suite_open_files(), files + 2); /* /proc, and what is being read */
    expect_logged_once("blocked", "-process 100 (stuck)");
    faults_release(NULL);
    await_recovery("released", 1);
    ck_assert_int_eq(suite_open_files(), files + 1);
    suite_kill_child(child);
}

/* ---- several blocking processes ---- */

enum { FIRST = 901 };

/* Processes with tracked pages that save nothing. */
static void add_blocking_processes(int count) {
    make_fixture();
    for (int pid = FIRST; pid < FIRST + count; pid++)
        fake_procs_write(
            dir, &(const struct fake_process){.pid = pid, .rmap_items = 1, .comm = "stuck"});
}

static void block_all(int count) {
    for (int i = 0; i < count; i++)
        faults_block(tree_path("", "%d/ksm_stat", FIRST + i));
}

static void stop_savings_of_100(void) {
    fake_procs_write_file(dir, 100, "ksm_stat",
                          TEXT("ksm_rmap_items 1\nksm_zero_pages 0\nksm_merging_pages 0\n"));
}

static void expect_all_abandoned(int count) {
    for (int i = 1; i <= count; i++)
        expect_abandoned("some", i);
}

TEST(as_many_blocked_processes_as_slots) {
    add_blocking_processes(KSM_SKIPPED_MAX);
    block_all(KSM_SKIPPED_MAX);
    begin_next();
    expect_all_abandoned(KSM_SKIPPED_MAX);
    finish("eight");
    ck_assert_msg(now < s.due, "not within an interval");
    expect_table("eight", CONSUMERS, UNATTRIBUTED);
    expect_logged_once("eight", times(KSM_SKIPPED_MAX, "-(stuck): reading its /proc files blocks"));
    sample("eight");
    expect_table("eight", CONSUMERS, UNATTRIBUTED);
    expect_nothing_logged("eight");
    faults_release(NULL);
    await_recovery("released", KSM_SKIPPED_MAX);
    advance_clock(SKIP);
    sample("included again");
    expect_table("included again", CONSUMERS + 1, UNATTRIBUTED);
}

/* The sample waits for the ninth process: there is no table, which is logged once. */
static void begin_with_one_too_many(void) {
    add_blocking_processes(KSM_SKIPPED_MAX + 1);
    sample("before");
    block_all(KSM_SKIPPED_MAX + 1);
    begin_next();
    expect_all_abandoned(KSM_SKIPPED_MAX);
    ck_assert_int_eq(faults_await_blocked(KSM_SKIPPED_MAX + 1), KSM_SKIPPED_MAX + 1);
    expect_logged_once("nine", times(KSM_SKIPPED_MAX, "-reading its /proc files blocks"));
    for (int i = 0; i < 10; i++) {
        begin_next();
        ck_assert_int_eq(ksm_sampler_poll(&s, now), KSM_SAMPLER_BUSY);
        ck_assert_msg(!c.table.valid, "interval %d: got a table", i);
        ck_assert_msg(ksm_sampler_next(&s) > now && ksm_sampler_next(&s) <= now + TIMEOUT,
                      "interval %d: next poll in %" PRId64 " ms", i, ksm_sampler_next(&s) - now);
        expect_logged_once("nine", i == 0 ? "-savings by consumer are not reported" : "");
    }
}

/* The sample starts over, as what was read before the wait is old. */
TEST(more_blocked_processes_than_slots) {
    begin_with_one_too_many();
    stop_savings_of_100();
    faults_release(NULL);
    finish("released");
    expect_table("released", CONSUMERS + 1, UNATTRIBUTED + OF_100); /* the ninth is included */
}

TEST(slot_of_a_recovered_process_is_used_again) {
    begin_with_one_too_many();
    faults_release("/902/ksm_stat");
    await_recovery("one released", 1);
    ck_assert_int_eq(ksm_sampler_poll(&s, now), KSM_SAMPLER_BUSY);
    finish("one released");
    expect_table("one released", CONSUMERS + 1, UNATTRIBUTED); /* the recovered one */
    expect_logged_once("one released", "-reading its /proc files blocks\n+reported again");
}

/* ---- threads ---- */

/* No thread for the sample (0), or to continue it (1). */
TEST_TIMES(thread_that_cannot_start_fails_the_sample, 2) {
    make_fixture();
    faults_fail(FAULTS_THREAD, NULL, 1 + _i, EAGAIN);
    if (_i)
        faults_block("/101/ksm_stat");
    begin_next();
    if (_i) {
        ck_assert_int_eq(faults_await_blocked(1), 1);
        advance_clock(TIMEOUT);
    }
    finish("no thread");
    ck_assert_msg(!c.table.valid, "got a table");
    expect_logged_once("no thread", _i ? "-reading its /proc files blocks\n-cannot be determined"
                                       : "-cannot be determined");
    sample("the next");
    ck_assert_msg(c.table.valid, "the next: got no table");
    expect_logged_once("the next", "+again");
}

/* What the failed sample has read is not used by the next one. */
TEST(sample_after_a_failed_one_starts_over) {
    make_fixture();
    sample("before");
    faults_block("/201/ksm_stat");
    faults_fail(FAULTS_THREAD, NULL, 2, EAGAIN);
    begin_next();
    ck_assert_int_eq(faults_await_blocked(1), 1);
    advance_clock(TIMEOUT);
    finish("no thread");
    stop_savings_of_100();
    sample("the next");
    expect_table("the next", CONSUMERS, UNATTRIBUTED + OF_100 + OF_201);
}

TEST(no_thread_is_started_without_pages) {
    make_fixture();
    for (int i = 0; i < 3; i++) {
        advance_clock(INTERVAL);
        ksm_sampler_begin(&s, false, now);
        ck_assert_int_eq(ksm_sampler_poll(&s, now), KSM_SAMPLER_READY);
        expect_table("no pages", 0, 0);
    }
    ck_assert_int_eq(faults_count(FAULTS_THREAD), 0);
    ck_assert_int_eq(suite_open_files(), files);
}

/* ---- times ---- */

/* Calls the sampler once a period. Returns how many tables were ready. */
static int count_ready(int64_t period, int64_t jitter, int64_t first_late, int calls) {
    int ready = 0;

    init(INTERVAL);
    for (int i = 0; i < calls; i++) {
        int64_t off = i == 0 ? first_late
                      : jitter == 0
                          ? 0
                          : (int64_t)(suite_random() % (uint64_t)(2 * jitter + 1)) - jitter;
        int64_t at = now + i * period + off;
        if (ksm_sampler_is_due(&s, at))
            ksm_sampler_begin(&s, false, at);
        ready += ksm_sampler_poll(&s, at) == KSM_SAMPLER_READY;
        ck_assert_msg(i > 0 || ready == 1, "not at the first call");
    }
    return ready;
}

static const struct {
    int64_t period, jitter, first_late;
    int calls;
    int min, max;
} when_rows[] = {
    {1000, 0, 0, 420, 42, 42},
    {2000, 0, 0, 420, 84, 84},
    {3000, 0, 0, 420, 125, 127},
    {4000, 0, 0, 420, 167, 169},
    {5000, 0, 0, 420, 210, 210},
    {7000, 0, 0, 420, 293, 295},
    {10000, 0, 0, 420, 420, 420},
    {15000, 0, 0, 420, 420, 420},
    {60000, 0, 0, 420, 420, 420},
    {10000, 200, 0, 1000, 1000, 1000}, /* never exactly on time */
    {10000, 200, 200, 1000, 1000, 1000},
    {10000, 0, 5000, 100, 99, 100}, /* only one sample is lost */
};

TEST_ROWS(a_sample_is_made_each_interval, when_rows) {
    int got = count_ready(row->period, row->jitter, row->first_late, row->calls);

    ck_assert_msg(got >= row->min && got <= row->max, "got %d ready, want %d to %d", got, row->min,
                  row->max);
}

/* The host slept for an hour: one sample follows at once, the next ones as before. */
TEST(sleep_is_followed_by_one_sample) {
    count_ready(1000, 0, 0, 25);
    now += 25000 + 3600000;
    int ready = 0;
    for (int call = 0; call < 30; call++, now += 1000) {
        if (ksm_sampler_is_due(&s, now))
            ksm_sampler_begin(&s, false, now);
        ready += ksm_sampler_poll(&s, now) == KSM_SAMPLER_READY;
        ck_assert_msg(call > 0 || ready == 1, "not at once");
    }
    ck_assert_msg(ready == 3 || ready == 4, "got %d samples in 30 s", ready);
}

TEST(kernel_without_counts_of_processes) {
    fake_procs_set_older_kernel(dir, false);
    init(INTERVAL);
    expect_logged_once("at the beginning", "+5.19");
    ck_assert_msg(!ksm_sampler_is_due(&s, now), "a sample is due");
    ck_assert_int_eq(ksm_sampler_poll(&s, now), KSM_SAMPLER_IDLE);
    ck_assert_msg(ksm_sampler_next(&s) == INT64_MAX && !c.table.valid, "got a table");
}

TEST(polls_become_rarer_during_a_sample) {
    int64_t before = 0;
    int polls = 0;

    make_fixture();
    faults_block("/100/ksm_stat");
    begin_next();
    ck_assert_int_eq(faults_await_blocked(1), 1);
    for (const int64_t start = now; now < start + TIMEOUT; polls++) {
        int64_t pause = ksm_sampler_next(&s) - now;
        ck_assert_msg(pause > 0 && pause <= TIMEOUT && (polls > 0 || pause < 10),
                      "poll %d: in %" PRId64 " ms", polls, pause);
        before = now;
        advance_clock(pause);
        ck_assert_int_eq(ksm_sampler_poll(&s, now), KSM_SAMPLER_BUSY);
    }
    ck_assert_msg(before < now && polls < 15, "got %d polls", polls);
    finish("abandoned in time");
    ck_assert_int_eq(faults_count(FAULTS_THREAD), 2);
    ck_assert_msg(ksm_sampler_next(&s) == INT64_MAX, "polls on");
}

/* ---- the end, on the real clock ---- */

enum closing { IDLE, RUNNING, BLOCKED, ABANDONED, BOTH };

static void prepare_closing(enum closing how) {
    if (how == BLOCKED || how == ABANDONED || how == BOTH)
        faults_block("/100/ksm_stat");
    if (how == BOTH)
        faults_block("/101/ksm_stat");
    begin_next();
    if (how == IDLE)
        finish("idle");
    if (how == ABANDONED || how == BOTH)
        expect_abandoned("abandoned", 1);
    if (how == ABANDONED)
        finish("abandoned");
    if (how == BLOCKED || how == BOTH)
        faults_await_blocked(1 + (how == BOTH));
}

/* A stuck thread closes its descriptor when it returns. */
TEST_TIMES(close_does_not_wait_for_stuck_threads, BOTH + 1) {
    const int left = _i == BLOCKED || _i == ABANDONED ? 1 : _i == BOTH ? 2 : 0;

    make_fixture();
    for (int pid = 1000; _i == RUNNING && pid < 3000; pid++)
        fake_procs_write(dir,
                         &(const struct fake_process){.pid = pid, .rmap_items = 1, .comm = "x"});
    prepare_closing((enum closing)_i);
    faults_let_clocks_go();
    const int64_t start = clock_ms(CLOCK_MONOTONIC);
    ksm_sampler_close(&s);
    const int64_t took = clock_ms(CLOCK_MONOTONIC) - start;
    advance_clock(0);
    ck_assert_msg(took < 300, "took %" PRId64 " ms", took);
    ck_assert_msg(!c.table.list && !c.processes.list, "not all is freed");
    if (_i != RUNNING) /* there the thread may be about to close its descriptors */
        ck_assert_int_eq(suite_open_files(), files + left);
    ck_assert_int_eq(ksm_sampler_poll(&s, now), KSM_SAMPLER_IDLE);
}
