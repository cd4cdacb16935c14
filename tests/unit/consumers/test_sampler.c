/* SPDX-License-Identifier: MIT
 *
 * Samples of the consumers in threads: what comes of processes that keep their readers waiting. The
 * clock stands still but for what a test lets go by; a reading that is blocked waits until the test
 * releases it.
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

/* A reading is given up after a fifth of the interval, a second at most. */
enum { INTERVAL = 10000, PATIENCE = 1000, ASIDE = 60000 };

/* What fixtures/consumers.tree saves, in pages: in all, and the parts of processes 100, vm web-01,
 * and 201, one of two of a container. */
enum { CONSUMERS = 8, UNATTRIBUTED = 998, OF_100 = 1200, OF_201 = 150 };

static const char *dir; /* of the running test */
static struct ksm_options options;
static struct ksm_consumers c;
static struct ksm_sampler s;
static int64_t now;
static int64_t page;
static int files; /* open before */

static void let_go_by(int64_t ms) {
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
    let_go_by(0);
    init(INTERVAL);
}

/* Whatever a test has done: in the end nothing is left. */
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
    faults_clear(); /* check looks at the clock */
}

static void make_fixture(void) {
    tree_make("tests/fixtures/consumers.tree", dir);
}

/* ---- a host ---- */

static void begin(void) {
    ck_assert_msg(ksm_sampler_is_due(&s, now), "no sample is due");
    ksm_sampler_begin(&s, true, now);
}

/* Until the table is ready, at this instant. */
static void finish(const char *when) {
    enum ksm_sampler_result result = KSM_SAMPLER_BUSY;

    for (int ms = 0; result == KSM_SAMPLER_BUSY && ms < 60000; ms++) {
        result = ksm_sampler_poll(&s, now);
        if (result == KSM_SAMPLER_BUSY)
            usleep(1000);
    }
    ck_assert_msg(result == KSM_SAMPLER_READY, "%s: got %u, want ready", when, (unsigned)result);
}

/* Once so many readings wait, the last one's time goes by. */
static void give_up(const char *when, int blocked) {
    int got = faults_await_blocked(blocked);
    const int threads = faults_count(FAULTS_THREAD);

    ck_assert_msg(got == blocked, "%s: got %d blocked, want %d", when, got, blocked);
    let_go_by(PATIENCE - 1);
    ck_assert_int_eq(ksm_sampler_poll(&s, now), KSM_SAMPLER_BUSY);
    ck_assert_msg(faults_count(FAULTS_THREAD) == threads, "%s: given up too early", when);
    let_go_by(1);
    for (int ms = 0; faults_count(FAULTS_THREAD) == threads && ms < 10000; ms++) {
        ck_assert_int_eq(ksm_sampler_poll(&s, now), KSM_SAMPLER_BUSY);
        usleep(1000); /* it may not be asleep yet */
    }
    ck_assert_msg(faults_count(FAULTS_THREAD) == threads + 1, "%s: not given up", when);
}

static void begin_next(void) {
    let_go_by(s.due > now ? s.due - now : 0);
    begin();
}

static void sample(const char *when) {
    begin_next();
    finish(when);
}

/* A sample in which a reading of this file waits, and is given up. */
static void lose(const char *file) {
    faults_block(file);
    begin_next();
    give_up("blocked", 1);
    finish("blocked");
}

/* The table is there, with so many consumers, and so many pages are of none of them. */
static void expect_table(const char *when, int consumers, int64_t unattributed) {
    ck_assert_msg(c.table.valid, "%s: got no table", when);
    ck_assert_msg((int)c.table.count == consumers && c.table.unattributed == unattributed * page,
                  "%s: got %zu consumers and %" PRId64 " pages unattributed, want %d, %" PRId64,
                  when, c.table.count, c.table.unattributed / page, consumers, unattributed);
}

/* ---- what is told ---- */

/* What is told, and that it is not told again. */
static void expect_told(const char *when, const char *want) {
    ksm_sampler_log(&s, log_capture);
    expect_logged(when, want);
    ksm_sampler_log(&s, log_capture);
    expect_logged(when, "");
}

static void expect_silence(const char *when) {
    expect_told(when, "");
}

/* So many messages that are alike. */
static const char *times(int count, const char *message) {
    static char text[2048];

    for (*text = '\0'; count > 0; count--)
        strcat(strcat(text, message), "\n");
    return text;
}

static int back;

static void hear_one_is_back(bool bad, const char *message) {
    back++;
    log_capture(bad, message);
}

/* Sees so many come back; each is told of. */
static void await_return(const char *when, int count) {
    back = 0;
    for (int ms = 0; back < count && ms < 60000; ms++) {
        ksm_sampler_poll(&s, now);
        ksm_sampler_log(&s, hear_one_is_back);
        usleep(1000);
    }
    expect_logged(when, times(count, "+no longer keeps its readers waiting"));
}

/* ---- one process that keeps its readers waiting ---- */

/* Whatever file it is, of a newcomer and of one on the list: the others are shown, it is not, and
 * the log names it. When it is over it is let alone for a minute, and then shown again. */
static const struct {
    const char *file;
    bool newcomer;
} one_rows[] = {
    {"/100/ksm_stat", true}, {"/100/stat", true},      {"/100/statm", true}, {"/100/cgroup", true},
    {"/100/cmdline", true},  {"/100/ksm_stat", false}, {"/100/stat", false}, {"/100/statm", false},
    {"/100/cgroup", false},  {"/100/cmdline", false},
};

static void expect_aside(const char *when) {
    expect_table(when, CONSUMERS - 1, UNATTRIBUTED + OF_100);
}

TEST_ROWS(one_blocked, one_rows) {
    make_fixture();
    if (!row->newcomer)
        sample("before");
    lose(row->file);
    expect_aside("blocked");
    ck_assert_int_eq((int)c.table.sweep.skipped, 1);
    expect_told("blocked", "-process 100 (qemu-system-x86) keeps its readers waiting");
    const int threads = faults_count(FAULTS_THREAD);
    for (int i = 1; i <= 10; i++) {
        sample("still blocked");
        expect_aside("still blocked");
        expect_silence("still blocked");
        ck_assert_int_eq(faults_count(FAULTS_THREAD), threads + i);
    }
    faults_release(NULL);
    await_return("released", 1);
    for (const int64_t until = now + ASIDE; s.due < until;) {
        sample("let alone");
        expect_aside("let alone");
    }
    sample("taken back");
    ck_assert_int_eq((int)c.table.sweep.skipped, 0);
    expect_table("taken back", CONSUMERS, UNATTRIBUTED);
    expect_silence("taken back");
}

/* A thread that runs, or would if it had a processor, is not kept waiting by the process. */
TEST(busy_machine) {
    make_fixture();
    faults_spin(true);
    faults_block("/100/ksm_stat");
    begin_next();
    ck_assert_int_eq(faults_await_blocked(1), 1);
    for (int i = 1; i <= 5; i++) {
        let_go_by(PATIENCE);
        ck_assert_int_eq(ksm_sampler_poll(&s, now), KSM_SAMPLER_BUSY);
        ck_assert_int_eq((int)(ksm_sampler_next(&s) - now), PATIENCE);
        expect_silence("it runs");
    }
    faults_spin(false);
    finish("blocked");
    expect_told("blocked", "-process 100 (qemu-system-x86) keeps its readers waiting");
    expect_aside("blocked");
}

static int lines, summaries;

static void count_lines(bool bad, const char *message) {
    (void)bad;
    lines++;
    summaries += strstr(message, " more times ") != NULL;
}

/* Each second another process holds its lock for a moment, for ten minutes. */
TEST(changing_lock_holders_are_limited) {
    for (int i = 0; i < 600; i++) {
        struct ksm_sampler_skipped *entry = &s.skipped[i % KSM_SKIPPED_MAX];
        *entry = (struct ksm_sampler_skipped){.pid = 1000 + i, .comm = "x", .blocks = true};
        ksm_sampler_log(&s, count_lines);
        entry->blocks = false;
        ksm_sampler_log(&s, count_lines);
        ck_assert(!entry->logged);
        let_go_by(1000);
    }
    ck_assert_int_eq(summaries, 9);
    ck_assert_int_eq(lines - summaries, 2 * (KSM_LOG_BURST + 9));
    memset(s.skipped, 0, sizeof(s.skipped));
}

/* What the process is called is its own choice, and goes to the log. */
TEST(hostile_comm) {
    make_fixture();
    fake_procs_write_file(dir, 100, "comm", TEXT("a\"b\nERROR: c\n"));
    lose("/100/ksm_stat");
    expect_told("blocked", "-process 100 (a_b_ERROR:_c~");
    fake_procs_remove_file(dir, 100, "comm");
}

/* It is not there any more when it is released, and neither is its comm. */
TEST(ended_while_blocked) {
    make_fixture();
    fake_procs_remove_file(dir, 100, "comm");
    lose("/100/ksm_stat");
    expect_told("blocked", "-process 100 (?)");
    fake_procs_remove(dir, 100);
    faults_release(NULL);
    await_return("released", 1);
    sample("it has ended");
    expect_aside("it has ended");
}

/* Its counts are read through a descriptor that is kept: here a file of the real /proc. */
TEST(kept_descriptor) {
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
    give_up("blocked", 1);
    finish("blocked");
    ck_assert_int_eq((int)c.table.count, 1);
    ck_assert_int_eq(c.processes.kept, 0);
    ck_assert_int_eq(suite_open_files(), files + 2); /* /proc, and what is being read */
    expect_told("blocked", "-process 100 (stuck)");
    faults_release(NULL);
    await_return("released", 1);
    ck_assert_int_eq(suite_open_files(), files + 1);
    suite_kill_child(child);
}

/* ---- some ---- */

enum { FIRST = 901 };

/* Processes that take part and save nothing. */
static void make_crowd(int count) {
    make_fixture();
    for (int pid = FIRST; pid < FIRST + count; pid++)
        fake_procs_write(
            dir, &(const struct fake_process){.pid = pid, .rmap_items = 1, .comm = "stuck"});
}

/* From now on they keep their readers waiting. */
static void block_crowd(int count) {
    for (int i = 0; i < count; i++)
        faults_block(tree_path("", "%d/ksm_stat", FIRST + i));
}

/* It saves nothing any more. */
static void change_100(void) {
    fake_procs_write_file(dir, 100, "ksm_stat",
                          TEXT("ksm_rmap_items 1\nksm_zero_pages 0\nksm_merging_pages 0\n"));
}

static void give_up_all(int count) {
    for (int i = 1; i <= count; i++)
        give_up("some", i);
}

TEST(as_many_as_can_be) {
    make_crowd(KSM_SKIPPED_MAX);
    block_crowd(KSM_SKIPPED_MAX);
    begin_next();
    give_up_all(KSM_SKIPPED_MAX);
    finish("eight");
    ck_assert_msg(now < s.due, "not within an interval");
    expect_table("eight", CONSUMERS, UNATTRIBUTED);
    expect_told("eight", times(KSM_SKIPPED_MAX, "-(stuck) keeps its readers waiting"));
    sample("eight");
    expect_table("eight", CONSUMERS, UNATTRIBUTED);
    expect_silence("eight");
    faults_release(NULL);
    await_return("released", KSM_SKIPPED_MAX);
    let_go_by(ASIDE);
    sample("taken back");
    expect_table("taken back", CONSUMERS + 1, UNATTRIBUTED);
}

/* With one more the sample waits for that one: no table, said once. */
static void begin_with_one_too_many(void) {
    make_crowd(KSM_SKIPPED_MAX + 1);
    sample("before");
    block_crowd(KSM_SKIPPED_MAX + 1);
    begin_next();
    give_up_all(KSM_SKIPPED_MAX);
    ck_assert_int_eq(faults_await_blocked(KSM_SKIPPED_MAX + 1), KSM_SKIPPED_MAX + 1);
    expect_told("nine", times(KSM_SKIPPED_MAX, "-keeps its readers waiting"));
    for (int i = 0; i < 10; i++) {
        begin_next();
        ck_assert_int_eq(ksm_sampler_poll(&s, now), KSM_SAMPLER_BUSY);
        ck_assert_msg(!c.table.valid, "interval %d: got a table", i);
        ck_assert_msg(ksm_sampler_next(&s) > now && ksm_sampler_next(&s) <= now + PATIENCE,
                      "interval %d: looks next in %" PRId64 " ms", i, ksm_sampler_next(&s) - now);
        expect_told("nine", i == 0 ? "-savings by consumer are not reported" : "");
    }
}

/* What was read before the wait is read again: it may be as old as the wait was long. */
TEST(one_too_many) {
    begin_with_one_too_many();
    change_100();
    faults_release(NULL);
    finish("released");
    expect_table("released", CONSUMERS + 1, UNATTRIBUTED + OF_100); /* the ninth is back */
}

/* Places of those that have come back are free for others. */
TEST(places_are_used_again) {
    begin_with_one_too_many();
    faults_release("/902/ksm_stat");
    await_return("one released", 1);
    ck_assert_int_eq(ksm_sampler_poll(&s, now), KSM_SAMPLER_BUSY);
    finish("one released");
    expect_table("one released", CONSUMERS + 1, UNATTRIBUTED); /* the one that is well */
    expect_told("one released", "-keeps its readers waiting\n+reported again");
}

/* ---- threads ---- */

/* None for the sample, or for that which takes its place. */
TEST_TIMES(no_thread, 2) {
    make_fixture();
    faults_fail(FAULTS_THREAD, NULL, 1 + _i, EAGAIN);
    if (_i)
        faults_block("/101/ksm_stat");
    begin_next();
    if (_i) {
        ck_assert_int_eq(faults_await_blocked(1), 1);
        let_go_by(PATIENCE);
    }
    finish("no thread");
    ck_assert_msg(!c.table.valid, "got a table");
    expect_told("no thread",
                _i ? "-keeps its readers waiting\n-cannot be determined" : "-cannot be determined");
    sample("the next");
    ck_assert_msg(c.table.valid, "the next: got no table");
    expect_told("the next", "+again");
}

/* A sample that broke off in the middle is not gone on with: what it has read is old by then. */
TEST(next_after_no_thread) {
    make_fixture();
    sample("before");
    faults_block("/201/ksm_stat");
    faults_fail(FAULTS_THREAD, NULL, 2, EAGAIN);
    begin_next();
    ck_assert_int_eq(faults_await_blocked(1), 1);
    let_go_by(PATIENCE);
    finish("no thread");
    change_100();
    sample("the next");
    expect_table("the next", CONSUMERS, UNATTRIBUTED + OF_100 + OF_201);
}

TEST(nothing_registered) {
    make_fixture();
    for (int i = 0; i < 3; i++) {
        let_go_by(INTERVAL);
        ksm_sampler_begin(&s, false, now);
        ck_assert_int_eq(ksm_sampler_poll(&s, now), KSM_SAMPLER_READY);
        expect_table("nothing registered", 0, 0);
    }
    ck_assert_int_eq(faults_count(FAULTS_THREAD), 0);
    ck_assert_int_eq(suite_open_files(), files);
}

/* ---- when ---- */

/* A host that calls so often, for so many intervals; how many tables are ready. */
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
    int least, most;
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
    {10000, 200, 0, 1000, 1000, 1000}, /* never quite in time */
    {10000, 200, 200, 1000, 1000, 1000},
    {10000, 0, 5000, 100, 99, 100}, /* the first much too late: one sample lost, not each other */
};

TEST_ROWS(as_often_as_wanted, when_rows) {
    int got = count_ready(row->period, row->jitter, row->first_late, row->calls);

    ck_assert_msg(got >= row->least && got <= row->most, "got %d ready, want %d to %d", got,
                  row->least, row->most);
}

/* A host that was asleep for an hour: one sample at once, then on as before. */
TEST(asleep) {
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

TEST(kernel_that_tells_nothing) {
    fake_procs_set_older_kernel(dir, false);
    init(INTERVAL);
    expect_told("at the beginning", "+5.19");
    ck_assert_msg(!ksm_sampler_is_due(&s, now), "a sample is due");
    ck_assert_int_eq(ksm_sampler_poll(&s, now), KSM_SAMPLER_IDLE);
    ck_assert_msg(ksm_sampler_next(&s) == INT64_MAX && !c.table.valid, "got a table");
}

/* While a sample is made looks are soon at first, then rarer; none when it is over. */
TEST(when_to_look) {
    int64_t before = 0;
    int looks = 0;

    make_fixture();
    faults_block("/100/ksm_stat");
    begin_next();
    ck_assert_int_eq(faults_await_blocked(1), 1);
    for (const int64_t start = now; now < start + PATIENCE; looks++) {
        int64_t pause = ksm_sampler_next(&s) - now;
        ck_assert_msg(pause > 0 && pause <= PATIENCE && (looks > 0 || pause < 10),
                      "look %d: in %" PRId64 " ms", looks, pause);
        before = now;
        let_go_by(pause);
        ck_assert_int_eq(ksm_sampler_poll(&s, now), KSM_SAMPLER_BUSY);
    }
    ck_assert_msg(before < now && looks < 15, "got %d looks", looks);
    finish("given up in time");
    ck_assert_int_eq(faults_count(FAULTS_THREAD), 2);
    ck_assert_msg(ksm_sampler_next(&s) == INT64_MAX, "looks on");
}

/* ---- the end, on the real clock ---- */

enum closing { IDLE, RUNNING, BLOCKED, LEFT_BEHIND, BOTH };

static void prepare_closing(enum closing how) {
    if (how == BLOCKED || how == LEFT_BEHIND || how == BOTH)
        faults_block("/100/ksm_stat");
    if (how == BOTH)
        faults_block("/101/ksm_stat");
    begin_next();
    if (how == IDLE)
        finish("idle");
    if (how == LEFT_BEHIND || how == BOTH)
        give_up("left behind", 1);
    if (how == LEFT_BEHIND)
        finish("left behind");
    if (how == BLOCKED || how == BOTH)
        faults_await_blocked(1 + (how == BOTH));
}

/* It does not wait for anybody. What the threads that stay behind have is closed when they end. */
TEST_TIMES(closing, BOTH + 1) {
    const int left = _i == BLOCKED || _i == LEFT_BEHIND ? 1 : _i == BOTH ? 2 : 0;

    make_fixture();
    for (int pid = 1000; _i == RUNNING && pid < 3000; pid++)
        fake_procs_write(dir,
                         &(const struct fake_process){.pid = pid, .rmap_items = 1, .comm = "x"});
    prepare_closing((enum closing)_i);
    faults_let_clocks_go();
    const int64_t start = clock_ms(CLOCK_MONOTONIC);
    ksm_sampler_close(&s);
    const int64_t took = clock_ms(CLOCK_MONOTONIC) - start;
    let_go_by(0);
    ck_assert_msg(took < 300, "took %" PRId64 " ms", took);
    ck_assert_msg(!c.table.list && !c.processes.list, "not all is freed");
    if (_i != RUNNING) /* where the thread may be about to close what it has */
        ck_assert_int_eq(suite_open_files(), files + left);
    ck_assert_int_eq(ksm_sampler_poll(&s, now), KSM_SAMPLER_IDLE);
}
