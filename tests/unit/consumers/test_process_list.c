/* SPDX-License-Identifier: MIT
 *
 * Which processes take part, and how they are walked and read again. On made-up trees, most of
 * them; where descriptors are kept, through links to files of the real /proc that hold a number
 * which the test can set.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "consumers/process_list.h"
#include "support/fake_procs.h"
#include "support/faults.h"
#include "support/suite.h"
#include "support/tree.h"
#include "system/clock.h"

static const char *dir; /* of the running test */
static struct ksm_process_list p;

void before_each(void) {
    dir = suite_dir();
    fake_procs_init(dir);
    faults_clear();
}

void after_each(void) {
    ksm_process_list_clear(&p);
    ck_assert_msg(p.count == 0 && p.kept == 0, "cleared: got %zu processes, %d descriptors",
                  p.count, p.kept);
}

static void init(int may_keep) {
    ksm_process_list_init(&p, dir, may_keep);
}

/* A sample. Of few processes all are met at each. */
static void look(void) {
    int status = ksm_process_list_update(&p, NULL);

    ck_assert_msg(status == 0, "look: got %s, want 0", suite_status(status));
}

static void look_often(int samples) {
    for (int i = 0; i < samples; i++)
        look();
}

/* Who is on the list, by pid, with a blank after each. */
static void expect_list(const char *when, const char *want) {
    static char got[65536];
    size_t len = 0;

    got[0] = '\0';
    for (size_t i = 0; i < p.count; i++)
        len += (size_t)snprintf(got + len, sizeof(got) - len, "%d ", p.list[i].pid);
    ck_assert_msg(strcmp(got, want) == 0, "%s: got %s, want %s", when, got, want);
}

/* A sample, and who is on the list then. */
static void see(const char *when, const char *want) {
    look();
    expect_list(when, want);
}

static void expect_counts(const char *when, const struct ksm_process *process, int64_t merging,
                          int64_t zero, int64_t rmap_items, int64_t resident) {
    ck_assert_msg(
        process->status == 0 && process->merging == merging && process->zero == zero &&
            process->rmap_items == rmap_items && process->resident == resident,
        "%s: pid %d: got status %s, merging %" PRId64 ", zero %" PRId64 ", rmap items %" PRId64
        ", resident %" PRId64 "; want 0, %" PRId64 ", %" PRId64 ", %" PRId64 ", %" PRId64,
        when, process->pid, suite_status(process->status), process->merging, process->zero,
        process->rmap_items, process->resident, merging, zero, rmap_items, resident);
}

static void expect_name(const char *when, const struct ksm_process *process,
                        enum ksm_consumer_kind kind, const char *name) {
    ck_assert_msg(process->name.kind == kind && strcmp(process->name.text, name) == 0,
                  "%s: pid %d: got %s %s, want %s %s", when, process->pid,
                  ksm_consumer_kinds[process->name.kind], process->name.text,
                  ksm_consumer_kinds[kind], name);
}

static struct fake_process somebody(int pid) {
    return (struct fake_process){
        .pid = pid,
        .merging = 10 * pid,
        .zero = pid,
        .rmap_items = 20 * pid,
        .resident = 100 * pid,
        .started = 1000 + pid,
        .cgroup = "0::/system.slice/web.service\n",
        .comm = "web",
    };
}

static void add_somebody(int pid) {
    struct fake_process process = somebody(pid);

    fake_procs_write(dir, &process);
}

/* ---- slow processes ---- */

enum { SLOW = 5, FIRST_SLOW = 10, SLOW_MS = 100 };

/* At this instant: check measures how long a test takes. */
static void stop_clocks(void) {
    const int64_t now = clock_ms(CLOCK_MONOTONIC);

    faults_stop_clocks(now, now);
}

/* Reading the counts of SLOW processes takes long, two at a sample may be read. */
static void begin_slow(int64_t cpu_ms) {
    for (int pid = FIRST_SLOW; pid < FIRST_SLOW + SLOW; pid++) {
        add_somebody(pid);
        faults_delay(tree_path("", "%d/ksm_stat", pid), SLOW_MS, cpu_ms);
    }
    add_somebody(50);
    stop_clocks();
    init(0);
    p.allowed_us = SLOW_MS * 3 / 2 * 1000;
    look_often(3); /* it is found, is slow, and is measured */
}

/* How many times the counts of process pid were read. */
static int readings(int pid) {
    return faults_seen(FAULTS_PREAD, tree_path("", "%d/ksm_stat", pid));
}

static int all_readings(void) {
    int sum = 0;

    for (int pid = FIRST_SLOW; pid < FIRST_SLOW + SLOW; pid++)
        sum += readings(pid);
    return sum;
}

/* All counts grow at each sample. */
static void grow_all(int by) {
    for (int pid = FIRST_SLOW; pid < FIRST_SLOW + SLOW; pid++) {
        struct fake_process process = somebody(pid);
        process.merging += by;
        process.zero += by;
        fake_procs_write(dir, &process);
    }
}

/* merging is that of now; zero was read at one of the last three samples, and is no growth of one
 * interval. */
static void check_grown(int sample_number) {
    for (size_t i = 0; i < SLOW; i++) {
        const struct ksm_process *process = &p.list[i];
        const struct fake_process first = somebody(process->pid);
        const int64_t zero = process->zero - first.zero;
        const int64_t growth = process->merging + process->zero - process->before;
        ck_assert_int_eq(process->merging, first.merging + sample_number);
        ck_assert_msg(zero <= sample_number && zero > sample_number - 3,
                      "pid %d: zero is that of sample %" PRId64 " at sample %d", process->pid, zero,
                      sample_number);
        ck_assert_msg(growth == 1 || growth == 2, "pid %d: grew by %" PRId64, process->pid, growth);
    }
}

TEST(slow_processes_are_read_in_turn) {
    begin_slow(SLOW_MS);
    for (int i = 1; i <= 20; i++) {
        const int before = all_readings();
        for (size_t k = 0; k < p.count; k++)
            p.list[k].before = p.list[k].merging + p.list[k].zero;
        grow_all(i);
        look();
        ck_assert_int_le(all_readings() - before, 2);
        if (i >= 3)
            check_grown(i);
    }
    for (int pid = FIRST_SLOW; pid < FIRST_SLOW + SLOW; pid++)
        ck_assert_int_ge(readings(pid), 3 + 20 / 3);
}

/* On a busy host any reading can take long. */
TEST(late_readings_without_cpu_time_are_not_slow) {
    begin_slow(0);
    const int before = all_readings();
    look_often(4);
    ck_assert_int_eq(all_readings() - before, 4 * SLOW);
}

TEST(slow_process_that_is_fast_again_is_read_at_each_sample) {
    begin_slow(SLOW_MS);
    faults_clear();
    look_often(3);
    for (int pid = FIRST_SLOW; pid < FIRST_SLOW + SLOW; pid++)
        faults_delay(tree_path("", "%d/ksm_stat", pid), 0, 0);
    look_often(4);
    ck_assert_int_eq(all_readings(), 4 * SLOW);
}

TEST(slow_process_that_ends_leaves_the_list) {
    begin_slow(SLOW_MS);
    for (int pid = FIRST_SLOW; pid < FIRST_SLOW + SLOW; pid++)
        fake_procs_remove(dir, pid);
    see("all have ended", "50 ");
}

/* The same pid, another process: its counts are not those of the first one. */
TEST(slow_process_is_not_taken_for_the_next_one_of_its_pid) {
    begin_slow(SLOW_MS);
    for (int pid = FIRST_SLOW; pid < FIRST_SLOW + SLOW; pid++) {
        struct fake_process process = somebody(pid);
        process.started = 9999;
        process.merging = 77;
        fake_procs_write(dir, &process);
    }
    see("gone", "50 ");
}

/* Of processes that take no part the walk over /proc reads as many as it may, and all in the end.
 */
TEST(walk_over_slow_processes_goes_on_at_the_next_sample) {
    for (int pid = FIRST_SLOW; pid < FIRST_SLOW + SLOW; pid++) {
        fake_procs_write(dir, &(const struct fake_process){.pid = pid, .comm = "x"});
        faults_delay(tree_path("", "%d/ksm_stat", pid), SLOW_MS, SLOW_MS);
    }
    stop_clocks();
    init(0);
    p.allowed_us = SLOW_MS * 3 / 2 * 1000;
    look();
    ck_assert_int_eq(all_readings(), SLOW); /* all of them at first */
    for (int i = 0; i < 9; i++) {
        const int before = all_readings();
        look();
        ck_assert_int_le(all_readings() - before, 2);
    }
    for (int pid = FIRST_SLOW; pid < FIRST_SLOW + SLOW; pid++)
        ck_assert_int_ge(readings(pid), 1 + 9 / 3);
}

/* ---- kernels ---- */

/* One process with these files (NULL: none), and what is known of it. */
static const struct {
    const char *kernel;
    const char *stat, *merging_pages;
    enum ksm_process_source source;
    bool listed;
    int64_t merging, zero, rmap_items;
} kernel_rows[] = {
    {"5.15", NULL, NULL, KSM_PROCESS_NOTHING, false, 0, 0, 0},
    {"5.19, merging", NULL, "12\n", KSM_PROCESS_MERGING_PAGES, true, 12, 0, 0},
    {"5.19, not merging", NULL, "0\n", KSM_PROCESS_MERGING_PAGES, false, 0, 0, 0},
#define STAT(kernel, stat, merging_pages, listed, ...)                                             \
    { kernel, stat, merging_pages "\n", KSM_PROCESS_STAT, listed, __VA_ARGS__ }
#define COUNTS(rmap_items, zero, merging)                                                          \
    "ksm_rmap_items " rmap_items "\nksm_zero_pages " zero "\nksm_merging_pages " merging           \
    "\nksm_process_profit 0\n"
#define OPTED_IN(any, mergeable) "ksm_merge_any: " any "\nksm_mergeable: " mergeable "\n"
    STAT("6.1, merging", "ksm_rmap_items 40\n", "12", true, 12, 0, 40),
    STAT("6.1, watched only", "ksm_rmap_items 40\n", "0", true, 0, 0, 40),
    STAT("6.1, no part", "ksm_rmap_items 0\n", "0", false, 0, 0, 0),
    STAT("6.4", "ksm_rmap_items 40\nksm_merging_pages 12\nksm_process_profit 46592\n", "12", true,
         12, 0, 40),
    STAT("6.6", COUNTS("40", "7", "12"), "12", true, 12, 7, 40),
    STAT("6.6, zero pages below 0", COUNTS("40", "-1", "12"), "12", false, 0, 0, 0),
    STAT("6.6, zero pages only", COUNTS("0", "7", "0"), "0", true, 0, 7, 0),
    STAT("6.18", COUNTS("40", "7", "12") OPTED_IN("no", "yes"), "12", true, 12, 7, 40),
    STAT("6.18, no part", COUNTS("0", "0", "0") OPTED_IN("no", "no"), "0", false, 0, 0, 0),
    STAT("6.18, opted in", COUNTS("0", "0", "0") OPTED_IN("yes", "yes"), "0", true, 0, 0, 0),
#define LARGEST "9223372036854775807"
    STAT("largest", COUNTS(LARGEST, LARGEST, LARGEST), "0", true, INT64_MAX, INT64_MAX, INT64_MAX),
};

TEST_ROWS(kernels, kernel_rows) {
    tree_remove(tree_path(dir, "proc"));
    if (row->stat) {
        tree_print(dir, "proc/self/ksm_stat", "ksm_rmap_items 0\n");
        tree_print(dir, "proc/42/ksm_stat", "%s", row->stat);
    }
    if (row->merging_pages) {
        tree_print(dir, "proc/self/ksm_merging_pages", "0\n");
        tree_print(dir, "proc/42/ksm_merging_pages", "%s", row->merging_pages);
    }
    tree_print(dir, "proc/42/statm", "5000 700 30 1 0 2000 0\n");
    init(0);
    ck_assert_msg(p.reader.source == row->source, "%s: got source %u", row->kernel,
                  (unsigned)p.reader.source);
    for (int round = 0; round < 3; round++) {
        see(row->kernel, row->listed ? "42 " : "");
        if (!row->listed)
            continue;
        expect_counts(row->kernel, &p.list[0], row->merging, row->zero, row->rmap_items, 700);
        ck_assert_int_eq((int)p.list[0].mapped, 30);
        ck_assert_msg(ksm_process_takes_part(&p.list[0]) ==
                          (row->rmap_items > 0 || row->zero > 0 || row->merging > 0),
                      "%s: wrong about whether it takes part", row->kernel);
    }
}

/* What three processes, of which the first takes part, say of having opted in: y, n, or nothing. On
 * the list are that one and those that have. */
static const struct {
    const char *says;
    int64_t opted_in;
} opted_in_rows[] = {
    {"yyy", 3},  {"yny", 2}, {"nnn", 0}, {"nny", 1}, {"---", -1}, /* before 6.14 */
    {"-n-", 0},  {"-y-", 1},                                      /* some ended meanwhile */
    {"xxx", -1}, /* "ksm_mergeable yes": not what the kernel prints */
    {"...", 0},  /* neither yes nor no */
};

static void write_opted_in(int pid, char says, bool takes_part) {
    tree_print(dir, tree_path("proc", "%d/ksm_stat", pid), "%s%s",
               takes_part ? COUNTS("7", "0", "0") : COUNTS("0", "0", "0"),
               says == 'y'   ? OPTED_IN("no", "yes")
               : says == 'n' ? OPTED_IN("no", "no")
               : says == 'x' ? "ksm_mergeable yes\n"
               : says == '.' ? "ksm_mergeable: yes!\n"
                             : "");
}

TEST_ROWS(who_has_opted_in, opted_in_rows) {
    const char *says = row->says;

    fake_procs_remove(dir, 1);
    for (int i = 0; i < 3; i++) {
        add_somebody(42 + i);
        write_opted_in(42 + i, says[i], i == 0);
    }
    init(0);
    ck_assert_int_eq(p.opted_in, -1);
    for (int round = 0; round < 3; round++) {
        look();
        ck_assert_msg(p.opted_in == row->opted_in, "%s: got %" PRId64 " opted in", says,
                      p.opted_in);
        ck_assert_int_eq((int)p.count, 1 + (says[1] == 'y') + (says[2] == 'y'));
    }
    ksm_process_list_clear(&p);
    ck_assert_int_eq(p.opted_in, -1);
}

/* In a tree that is not the reader's own /proc there may be no self, or it leads nowhere. */
TEST(source_by_process_1) {
    tree_unlink(dir, "proc/self/ksm_stat");
    tree_unlink(dir, "proc/self");
    init(0);
    ck_assert_int_eq(p.reader.source, KSM_PROCESS_STAT);
    fake_procs_remove_file(dir, 1, "ksm_stat");
    init(0);
    ck_assert_int_eq(p.reader.source, KSM_PROCESS_MERGING_PAGES);
    fake_procs_remove_file(dir, 1, "ksm_merging_pages");
    init(0);
    ck_assert_int_eq(p.reader.source, KSM_PROCESS_NOTHING);
}

TEST(init_opens_nothing) {
    int files = suite_open_files();

    add_somebody(42);
    faults_clear();
    init(KSM_KEPT_DESCRIPTORS_MAX);
    ck_assert_int_eq(faults_count(FAULTS_OPEN) + faults_count(FAULTS_OPENDIR), 0);
    ck_assert_int_eq(suite_open_files(), files);
    ck_assert_ptr_null(p.list);
}

/* ---- what is in the files ---- */

/* A good process but for one file (NULL: which is missing, as it went with the process, or this
 * kernel has none): it is not on the list, or what the file says is not known. */
static const struct {
    const char *file;
    const char *text;
    size_t len;
    bool listed;
    int64_t resident;
} bad_rows[] = {
    {"ksm_stat", NULL, 0, false, 0},
    {"ksm_stat", TEXT(""), false, 0},
    {"ksm_stat", TEXT("\n"), false, 0},
    {"ksm_stat", TEXT("\0"), false, 0},
    {"ksm_stat", TEXT("ksm_rmap_items"), false, 0},
    {"ksm_stat", TEXT("ksm_rmap_items 4"), false, 0},
    {"ksm_stat", TEXT("ksm_rmap_items: 4\n"), false, 0},
    {"ksm_stat", TEXT("ksm_rmap_items +4\n"), false, 0},
    {"ksm_stat", TEXT("ksm_rmap_items 9223372036854775808\n"), false, 0},
    {"ksm_stat", TEXT("ksm_merging_pages 4\n"), false, 0},
    {"ksm_stat", TEXT("ksm_rmap_items 4\nksm_merging_pages x\n"), false, 0},
    {"ksm_stat", TEXT("ksm_rmap_items 4\nksm_merging_pages 4"), false, 0},
    {"ksm_stat", TEXT("ksm_rmap_items 4\nksm_merging_pages 4\nksm_zero_pages x\n"), false, 0},
    {"ksm_stat", TEXT("ksm_rmap_items 4\nksm_merging_pages 4\nksm_zero_pages 1"), false, 0},
    {"ksm_merging_pages", NULL, 0, true, 4200},

    {"statm", NULL, 0, true, -1},
    {"statm", TEXT(""), true, -1},
    {"statm", TEXT("5000 \n"), true, -1},
    {"statm", TEXT("5000 700"), true, -1},
    {"statm", TEXT("5000 700\n"), true, -1},
    {"statm", TEXT("5000  700 30\n"), true, -1},
    {"statm", TEXT("5000 -700 30\n"), true, -1},
    {"statm", TEXT("5000 9223372036854775808 30\n"), true, -1},
    {"statm", TEXT("\0\0\0\0"), true, -1},
    {"statm", TEXT("5000 0 0 1 0 2000 0\n"), true, 0},
    {"statm", TEXT("5000 9223372036854775807 30 1 0 2000 0\n"), true, INT64_MAX},
    {"statm", TEXT("x 700 30 1 0 2000 0\n"), true, -1},
    {"statm", TEXT("5000 700 x 1 0 2000 0\n"), true, -1},

    {"stat", NULL, 0, true, 4200},
    {"stat", TEXT(""), true, 4200},
    {"stat", TEXT("42 (web) S\n"), true, 4200},
    {"cgroup", NULL, 0, true, 4200},
    {"cgroup", TEXT("\0\0\0"), true, 4200},
    {"cmdline", NULL, 0, true, 4200},
    {"cmdline", TEXT("\xff\xff"), true, 4200},
    {"comm", NULL, 0, true, 4200},
    {"comm", TEXT(""), true, 4200},
};

/* From the start; and from one reading to the next: the old counts mean nothing any more. */
TEST_ROWS(bad_texts, bad_rows) {
    bool is_counts = strcmp(row->file, "ksm_stat") == 0;
    const char *text = row->text ? suite_quote(row->text, row->len) : "missing";

    add_somebody(42);
    for (int late = 0; late < 2; late++) {
        init(0);
        if (late)
            look();
        if (row->text)
            fake_procs_write_file(dir, 42, row->file, row->text, row->len);
        else
            fake_procs_remove_file(dir, 42, row->file);
        look();
        bool stays = row->listed && !(late && strcmp(row->file, "stat") == 0);
        if (late && is_counts && row->len > 0)
            ck_assert_msg(p.count == 0 || p.list[0].status != 0, "%s: got status 0", text);
        else
            expect_list(text, stays ? "42 " : ""); /* else ended; or another, as far as is known */
        if (stays)
            expect_counts(text, &p.list[0], 420, 42, 840, row->resident);
        if (stays && !late)
            expect_name(text, &p.list[0],
                        strcmp(row->file, "cgroup") == 0 ? KSM_CONSUMER_program
                                                         : KSM_CONSUMER_service,
                        "web");
        add_somebody(42);
        look();
        if (late)
            expect_list("good again", "42 ");
        see("good again", "42 ");
        expect_counts("good again", &p.list[0], 420, 42, 840, 4200);
        ksm_process_list_clear(&p);
    }
}

/* Zombies and kernel threads read empty, and have no other thread. */
static void empty(int pid) {
    static const char *const files[] = {"ksm_stat", "ksm_merging_pages", "cgroup", "cmdline",
                                        "statm"};

    for (int i = 0; i < ROWS(files); i++)
        fake_procs_write_file(dir, pid, files[i], "", 0);
}

TEST(nothing_left) {
    add_somebody(42);
    init(0);
    see("alive", "42 ");
    empty(42);
    see("a zombie", "");
    fake_procs_write_file(dir, 42, "task/42/ksm_stat", "", 0);
    see("met as a zombie", "");
    ck_assert_int_eq(p.denied, 0);
}

/* A thread of a process: its files, made as a process's and moved. */
static void add_thread(int pid, int task) {
    add_somebody(task);
    fake_procs_write_file(dir, pid, "task/x", "", 0);
    ck_assert_int_eq(
        rename(tree_path(dir, "proc/%d", task), tree_path(dir, "proc/%d/task/%d", pid, task)), 0);
}

/* The first thread of a process has ended: another one's files tell all of it. */
TEST(first_thread_ended) {
    add_somebody(42);
    empty(42);
    fake_procs_write_file(dir, 42, "task/42/ksm_stat", "", 0);
    fake_procs_write_file(dir, 42, "task/43/ksm_stat", "", 0); /* this one too */
    add_thread(42, 44);
    init(0);
    for (int i = 0; i < 3; i++) {
        see("by another thread", "42 ");
        expect_counts("by another thread", &p.list[0], 440, 44, 880, 4400);
        expect_name("by another thread", &p.list[0], KSM_CONSUMER_service, "web");
        ck_assert_int_eq(p.list[0].task, 44);
    }
    fake_procs_remove_file(dir, 42, "task/44/ksm_stat");
    see("that has ended as well", "");
}

/* Errors of reading: which mean that the process has ended, and which that it was not read. */
static const struct {
    int err;
    bool gone;
} read_rows[] = {{ESRCH, true}, {ENOENT, true}, {EIO, false}, {ENOMEM, false}, {EACCES, false}};

TEST_ROWS(errors_of_reading, read_rows) {
    add_somebody(42);
    add_somebody(43);
    init(0);
    look();
    faults_fail(FAULTS_PREAD, "/42/ksm_stat", 0, row->err);
    see(suite_status(-row->err), row->gone ? "43 " : "42 43 ");
    if (!row->gone)
        ck_assert_int_eq(p.list[0].status, -row->err);
    faults_clear();
    see("well again", "42 43 ");
    expect_counts("well again", &p.list[0], 420, 42, 840, 4200);
}

/* ---- coming and going ---- */

/* Who comes, who goes, and who is there then. */
static const struct {
    int come[3], go[2];
    const char *list;
} moves[] = {
    {{0}, {0}, ""},
    {{300, 20}, {0}, "20 300 "},
    {{100, 5, 4000}, {0}, "5 20 100 300 4000 "},
    {{0}, {100}, "5 20 300 4000 "},
    {{0}, {5, 4000}, "20 300 "}, /* the first and the last */
    {{0}, {20, 300}, ""},
};

TEST(comes_and_goes) {
    init(0);
    for (int i = 0; i < ROWS(moves); i++) {
        for (int n = 0; n < ROWS(moves[i].come) && moves[i].come[n] > 0; n++)
            add_somebody(moves[i].come[n]);
        for (int n = 0; n < ROWS(moves[i].go) && moves[i].go[n] > 0; n++)
            fake_procs_remove(dir, moves[i].go[n]);
        see(moves[i].list, moves[i].list);
    }
}

TEST(new_counts) {
    struct fake_process process = somebody(42);

    fake_procs_write(dir, &process);
    init(0);
    look();
    expect_counts("first", &p.list[0], 420, 42, 840, 4200);
    process.merging = 7;
    process.zero = 0;
    process.rmap_items = 9;
    process.resident = 11;
    fake_procs_write(dir, &process);
    look();
    expect_counts("read again", &p.list[0], 7, 0, 9, 11);
    process.merging = process.rmap_items = 0;
    fake_procs_write(dir, &process);
    see("takes part no more", "");
}

/* Leaves the round at the end of /proc: the next sample meets nobody in it. */
static void put_round_elsewhere(void) {
    while (readdir(p.round.dir))
        continue;
    p.round.on = true;
}

/* Who has opted in is read at every sample: first pages are seen at once. */
TEST(first_pages) {
    struct fake_process process = somebody(42);

    add_somebody(42);
    write_opted_in(42, 'y', false);
    init(0);
    see("opted in", "42 ");
    ck_assert_msg(!ksm_process_takes_part(&p.list[0]), "takes part without any page");
    fake_procs_write(dir, &process);
    put_round_elsewhere();
    look();
    ck_assert_msg(ksm_process_takes_part(&p.list[0]), "takes no part with pages");
    expect_counts("first pages", &p.list[0], 420, 42, 840, 4200);
}

/* Its files are another process's: this is seen by when that was started. */
TEST(pid_used_again) {
    struct fake_process process = somebody(42);

    fake_procs_write(dir, &process);
    init(0);
    look();
    process.started++;
    process.merging = 99;
    process.cgroup = "0::/system.slice/other.service\n";
    fake_procs_write(dir, &process);
    see("another process", "");
    see("found by the next round", "42 ");
    expect_counts("found by the next round", &p.list[0], 99, 42, 840, 4200);
    expect_name("found by the next round", &p.list[0], KSM_CONSUMER_service, "other");
}

/* comm with parentheses, blanks and newlines does not hide when a process was started. */
TEST(comm_does_not_hide_the_start) {
    struct fake_process process = somebody(42);

    process.comm = ") S 1 1 1 (\n";
    fake_procs_write(dir, &process);
    init(0);
    see("found", "42 ");
    ck_assert_msg(p.list[0].started == 1042, "got started at %" PRId64 ", want 1042",
                  p.list[0].started);
    see("the same", "42 ");
}

/* It runs another program, or was moved to another cgroup: it has its new name when it is its turn,
 * which comes sooner for who is new and for another comm. */
TEST(renamed) {
    struct fake_process process = somebody(42);

    fake_procs_write(dir, &process);
    init(0);
    look();
    expect_name("first", &p.list[0], KSM_CONSUMER_service, "web");
    process.cgroup = "0::/user.slice/user-1000.slice/session-3.scope\n";
    fake_procs_write(dir, &process);
    look_often(KSM_ROUND_SAMPLES);
    expect_name("moved soon after it was found", &p.list[0], KSM_CONSUMER_program, "web");
    process.comm = "fifteen-letters"; /* the kernel has no longer ones */
    fake_procs_write(dir, &process);
    look_often(KSM_ROUND_SAMPLES);
    expect_name("another program", &p.list[0], KSM_CONSUMER_program, "fifteen-letters");
    process.cmdline = "kvm\0-name\0vm1";
    process.cmdline_len = sizeof("kvm\0-name\0vm1");
    fake_procs_write(dir, &process);
    look_often(KSM_NAME_SAMPLES);
    expect_name("a machine", &p.list[0], KSM_CONSUMER_vm, "user-1000:vm1");
    expect_list("the same process", "42 ");
}

/* Texts longer than any buffer: their start counts. */
TEST(long_texts) {
    enum { LONG = 100000 };
    static char text[LONG];
    static const char start[] = "kvm\0-name\0vm1";

    memset(text, 'x', sizeof(text));
    memcpy(text, start, sizeof(start));
    add_somebody(42);
    fake_procs_write_file(dir, 42, "cmdline", text, sizeof(text));
    init(0);
    look();
    expect_name("a long command line", &p.list[0], KSM_CONSUMER_vm, "vm1");

    add_somebody(43);
    memset(text, '/', sizeof(text));
    memcpy(text, "0::/lxc.payload.c1", strlen("0::/lxc.payload.c1"));
    fake_procs_write_file(dir, 43, "cgroup", text, sizeof(text));
    look();
    expect_name("a long cgroup", &p.list[1], KSM_CONSUMER_container, "c1");
}

/* What else is in /proc: no processes, even if they look like some. */
TEST(other_entries) {
    static const char *const names[] = {
        "042", "-5",  "0",         "4294967338", "2147483648",  "42x",    "x42",
        " 43", "43 ", "+44",       "self",       "thread-self", "uptime", "99999999999999999999",
        "4.5", "4\n", "2147483647"};

    for (int i = 0; i < ROWS(names); i++)
        tree_print(dir, tree_path("proc", "%s/ksm_stat", names[i]),
                   "ksm_rmap_items 40\nksm_merging_pages 12\n");
    tree_print(dir, "proc/77", "a file\n");
    init(0);
    see("only what is a pid", "2147483647 ");
}

/* ---- rights ---- */

static void make_unreadable(int pid, mode_t mode) {
    ck_assert_int_eq(chmod(tree_path(dir, "proc/%d/ksm_stat", pid), mode), 0);
}

TEST(others_are_denied) {
    add_somebody(42);
    add_somebody(43);
    add_somebody(44);
    make_unreadable(42, 0);
    make_unreadable(44, 0);
    suite_become_nobody();
    init(0);
    see("what can be read is shown", "43 ");
    ck_assert_msg(p.denied == 2, "got %" PRId64 " denied, want 2", p.denied);
    look();
    ck_assert_msg(p.denied == 2, "next round: got %" PRId64 " denied, want 2", p.denied);
    see("what can be read is shown", "43 ");
}

/* Why: by the error, and by what this program may do. */
static const struct {
    int err;
    bool capable;
    enum ksm_process_denial want;
} denial_rows[] = {
    {EACCES, false, KSM_DENIED_MODE},    {EACCES, true, KSM_DENIED_MODULE},
    {EPERM, false, KSM_DENIED_HIDEPID1}, {EPERM, true, KSM_DENIED_HIDEPID1},
    {ENOENT, false, KSM_DENIED_NOT},
};

TEST_ROWS(denials, denial_rows) {
    add_somebody(42);
    init(0);
    p.capable = row->capable;
    faults_fail(FAULTS_OPENAT, "42/ksm_stat", 0, row->err);
    look();
    ck_assert_msg(p.denial == row->want && p.denied == (row->want != KSM_DENIED_NOT),
                  "got %u of %" PRId64, (unsigned)p.denial, p.denied);
    faults_clear();
    look();
    ck_assert_msg(p.denial == KSM_DENIED_NOT && p.denied == 0, "readable again: got %u",
                  (unsigned)p.denial);
}

TEST(capable) {
    FILE *status = fopen("/proc/self/status", "r");
    unsigned long long set = 0;
    char line[256];

    ck_assert_ptr_nonnull(status);
    while (fgets(line, sizeof(line), status))
        sscanf(line, "CapEff: %llx", &set);
    fclose(status);
    init(0);
    ck_assert_int_eq(p.capable, (set & 4) != 0); /* CAP_DAC_READ_SEARCH is 2 */
    suite_become_nobody();
    init(0);
    ck_assert_msg(!p.capable || set == 0, "nobody is capable");
}

/* It was readable and is no more: its old counts do not count, and it may come back. */
TEST(denied_later) {
    add_somebody(42);
    if (geteuid() == 0)
        ck_assert_int_eq(chown(tree_path(dir, "proc/42/ksm_stat"), 65534, 65534), 0);
    suite_become_nobody();
    init(0);
    see("readable", "42 ");
    make_unreadable(42, 0);
    see("not readable", "42 ");
    ck_assert_int_eq(p.list[0].status, -EACCES);
    make_unreadable(42, 0444);
    see("readable again", "42 ");
    expect_counts("readable again", &p.list[0], 420, 42, 840, 4200);
}

/* hidepid: other users' processes are not even there, process 1 among them. */
TEST(hidden) {
    add_somebody(42);
    init(0);
    look();
    ck_assert_msg(!p.hidden, "all can be seen: got hidden");
    fake_procs_remove(dir, 1);
    look();
    ck_assert_msg(p.hidden, "no process 1: got not hidden");
    expect_list("what can be seen", "42 ");
    fake_procs_write(dir, &(const struct fake_process){.pid = 1});
    look();
    ck_assert_msg(!p.hidden, "process 1 is back: got hidden");
}

TEST(no_proc) {
    ksm_process_list_init(&p, "/nonexistent", 0);
    ck_assert_int_eq(p.reader.source, KSM_PROCESS_NOTHING);
    ck_assert_int_eq(ksm_process_list_update(&p, NULL), -ENOENT);
    ck_assert_int_eq(ksm_process_list_update(&p, NULL), -ENOENT);
    ksm_process_list_clear(&p);

    init(0);
    add_somebody(42);
    faults_fail(FAULTS_OPENDIR, NULL, 1, EACCES);
    ck_assert_int_eq(ksm_process_list_update(&p, NULL), -EACCES);
    see("once it can be opened", "42 ");
}

/* ---- the round ---- */

static const struct ksm_process *find(int pid) {
    for (size_t i = 0; i < p.count; i++)
        if (p.list[i].pid == pid)
            return &p.list[i];
    return NULL;
}

static void add_crowd(int first, int count) {
    for (int pid = first; pid < first + count; pid++) {
        fake_procs_write_file(dir, pid, "ksm_stat",
                              TEXT("ksm_rmap_items 40\nksm_merging_pages 12\n"));
        fake_procs_write_file(dir, pid, "comm", TEXT("x\n"));
    }
}

/* All at the first sample, then all again in six, a sixth at each: who has come is found, who was
 * moved is named anew, and what is counted is counted when all were met. */
TEST(round_in_samples) {
    enum { FIRST = 2, CROWD = 3000, OTHERS = 4, PART = (CROWD + OTHERS) / KSM_ROUND_SAMPLES + 1 };

    add_crowd(FIRST, CROWD);
    init(0);
    look();
    ck_assert_int_eq((int)p.count, CROWD);
    ck_assert_int_eq((int)p.entries, CROWD + OTHERS); /* 1, self, . and .. */
    for (int round = 0; round < 3; round++) {
        const int newcomer = FIRST + CROWD + round;
        const char *name = &"a\0b\0c"[2 * round];
        const bool denied = round == 2;
        fake_procs_remove(dir, FIRST + round);
        add_crowd(newcomer, 1);
        fake_procs_write_file(dir, FIRST + CROWD / 2, "comm", name, 1);
        if (denied)
            faults_fail(FAULTS_OPENAT, "3004/ksm_stat", 0, EACCES);
        for (int i = 1; i <= KSM_ROUND_SAMPLES; i++) {
            ck_assert_int_eq((int)p.denied, 0);
            look();
            const bool last = i == KSM_ROUND_SAMPLES;
            ck_assert_msg(p.round.on == !last && p.entries == (last ? CROWD + OTHERS : i * PART),
                          "round %d, sample %d: got %s, %" PRId64 " entries", round, i,
                          p.round.on ? "not done" : "done", p.entries);
        }
        ck_assert_msg(!find(newcomer) == denied, "newcomer %d: got %s", newcomer,
                      denied ? "found" : "not found");
        ck_assert_int_eq((int)p.denied, denied);
        expect_name("moved", &p.list[CROWD / 2 - round - 1], KSM_CONSUMER_program, name);
    }
}

/* Where all who have pages are known, a round takes its time. */
TEST(round_without_hurry) {
    enum { CROWD = 3000, OTHERS = 4, PART = 128 };

    add_crowd(2, CROWD);
    init(0);
    look();
    p.all_known = true;
    for (int i = 1; i <= 4; i++) {
        look();
        ck_assert_int_eq((int)p.entries, i * PART);
    }
    p.all_known = false;
    look();
    ck_assert_int_eq((int)p.entries, 4 * PART + (CROWD + OTHERS) / KSM_ROUND_SAMPLES + 1);
}

/* A round in which somebody could not be looked at for want of means begins anew. */
static const struct {
    enum faults_call call;
    const char *suffix;
    int err;
} failed_rows[] = {
    {FAULTS_OPENDIR, "proc", EMFILE},      {FAULTS_OPENAT, "42/ksm_stat", EMFILE},
    {FAULTS_OPENAT, "42/cgroup", ENFILE},  {FAULTS_PREAD, "/42/ksm_stat", ENOMEM},
    {FAULTS_PREAD, "/42/cmdline", ENOMEM}, {FAULTS_PREAD, "/42/stat", EAGAIN},
};

TEST_ROWS(round_that_failed, failed_rows) {
    add_somebody(41);
    add_somebody(42);
    init(0);
    faults_fail(row->call, row->suffix, 1, row->err);
    int status = ksm_process_list_update(&p, NULL);
    ck_assert_msg(status == -row->err && !p.swept && !p.round.on, "got %s, a round is %s",
                  suite_status(status),
                  p.swept      ? "over"
                  : p.round.on ? "on"
                               : "not on");
    look();
    ck_assert_msg(p.swept, "the next: got not over");
    expect_list(row->suffix, "41 42 ");
}

/* Once it is cancelled nothing is read any more. */
TEST(cancelled) {
    struct blocking_call call = {.cancelled = true};

    add_somebody(42);
    init(0);
    ck_assert_int_eq(ksm_process_list_update(&p, &call), -EINTR);
    ck_assert_int_eq(faults_count(FAULTS_PREAD), 0);
    see("not cancelled", "42 ");
    ck_assert_int_eq(ksm_process_list_update(&p, &call), -EINTR);
    ck_assert_int_eq(call.since, 0);
}

/* Nobody is lost or doubled in a crowd that changes all the time. */
TEST(churn) {
    enum { ROUNDS = 300, PIDS = 60 };
    bool alive[PIDS] = {false};

    init(0);
    for (int round = 0; round < ROUNDS; round++) {
        for (int n = 0; n < 5; n++) {
            int i = (int)(suite_random() % PIDS);
            if (alive[i])
                fake_procs_remove(dir, 100 + i);
            else
                add_somebody(100 + i);
            alive[i] = !alive[i];
        }
        look();
        if (round % 10 != 9)
            continue;
        look();
        size_t at = 0;
        for (int i = 0; i < PIDS; i++) {
            if (!alive[i])
                continue;
            must(at < p.count && p.list[at].pid == 100 + i, "round %d: got %d at %zu, want %d",
                 round, at < p.count ? p.list[at].pid : -1, at, 100 + i);
            at++;
        }
        must(at == p.count, "round %d: got %zu processes, want %zu", round, p.count, at);
    }
}

/* ---- kept descriptors ---- */

/* On a kernel that tells only ksm_merging_pages, which real files can stand for. */
static void add_linked(int pid, pid_t real) {
    add_somebody(pid);
    fake_procs_link(dir, pid, real);
}

static const struct {
    int may_keep;
    int kept;
} kept_rows[] = {{0, 0}, {1, 0}, {2, 1}, {5, 4}, {KSM_KEPT_DESCRIPTORS_MAX, 5}, {INT_MAX, 5}};

TEST_ROWS(kept_descriptors, kept_rows) {
    const int before = suite_open_files();

    fake_procs_set_older_kernel(dir, true);
    fake_procs_set_linked(getpid(), 7);
    for (int pid = 100; pid < 105; pid++)
        add_linked(pid, getpid());
    add_somebody(200); /* of no file that may be kept */
    init(row->may_keep);
    see("found", "100 101 102 103 104 200 ");
    int open = suite_open_files() - before - 1; /* /proc */
    ck_assert_msg(p.kept == row->kept && open == row->kept,
                  "may keep %d: got %d kept, %d open, want %d", row->may_keep, p.kept, open,
                  row->kept);
    ck_assert_msg(p.may_keep <= KSM_KEPT_DESCRIPTORS_MAX, "got may_keep %d", p.may_keep);
    expect_counts("first", &p.list[0], 7, 0, 0, 10000);
    expect_counts("first", &p.list[4], 7, 0, 0, 10400);
    expect_counts("first", &p.list[5], 2000, 0, 0, 20000);
    fake_procs_set_linked(getpid(), 9);
    for (int again = 0; again < 3; again++)
        look();
    expect_counts("read again", &p.list[0], 9, 0, 0, 10000);
    expect_counts("read again", &p.list[4], 9, 0, 0, 10400);
    fake_procs_set_linked(getpid(), 0);
    see("the others take part no more", "200 ");
    ck_assert_int_eq(p.kept, 0);
    ck_assert_int_eq(suite_open_files(), before + 1);
    for (int clear = 0; clear < 2; clear++) {
        ksm_process_list_clear(&p);
        ck_assert_int_eq(suite_open_files(), before);
    }
}

/* Places that come free are used again. */
TEST(kept_places_are_used_again) {
    fake_procs_set_older_kernel(dir, true);
    fake_procs_set_linked(getpid(), 7);
    add_linked(100, getpid());
    init(2);
    look();
    ck_assert_int_eq(p.kept, 1);
    fake_procs_set_linked(getpid(), 0);
    look();
    ck_assert_int_eq(p.kept, 0);
    fake_procs_set_linked(getpid(), 7);
    add_linked(101, getpid());
    look();
    ck_assert_int_eq(p.kept, 1);
    expect_list("both", "100 101 ");
}

/* A descriptor tells its own process: if that ends, it is gone, and who has its pid now is found
 * anew. */
TEST(kept_descriptor_of_a_process_that_ends) {
    pid_t child = suite_start_child();

    fake_procs_set_older_kernel(dir, true);
    add_linked(100, child);
    fake_procs_set_linked(child, 5);
    init(10);
    see("alive", "100 ");
    ck_assert_int_eq(p.kept, 1);
    suite_kill_child(child);
    see("ended", "");
    ck_assert_int_eq(p.kept, 0);
}

/* ---- the real /proc ---- */

TEST(live_walk) {
    int before = suite_open_files();

    for (int may_keep = 0; may_keep < 4; may_keep++) {
        ksm_process_list_init(&p, "/", may_keep);
        if (p.reader.source == KSM_PROCESS_NOTHING) {
            suite_skip("live_walk", "this kernel tells nothing of processes");
            return;
        }
        for (int round = 0; round < 3; round++) {
            look();
            ck_assert_msg(p.entries > 5, "got %" PRId64 " entries of /proc", p.entries);
            ck_assert_msg(p.kept <= may_keep, "got %d kept, want %d at most", p.kept, may_keep);
            ck_assert_int_eq(suite_open_files(), before + 1 + p.kept);
            for (size_t i = 1; i < p.count; i++)
                ck_assert_msg(p.list[i - 1].pid < p.list[i].pid, "pid %d before %d",
                              p.list[i - 1].pid, p.list[i].pid);
            for (size_t i = 0; i < p.count; i++)
                ck_assert_ptr_null(fake_procs_check_name(p.list[i].name.text));
        }
        ksm_process_list_clear(&p);
        ck_assert_int_eq(suite_open_files(), before);
    }
}

/* A process that has opted in, or does so at SIGUSR1, and waits for its end. 0: this kernel has no
 * such way. */
static pid_t start_process(bool opts_in) {
    enum { SET_MEMORY_MERGE = 67 }; /* PR_SET_MEMORY_MERGE, Linux 6.4 */
    int ready[2];
    char byte = 0;

    ck_assert_int_eq(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        sigset_t later;
        int signal = 0;
        sigemptyset(&later);
        sigaddset(&later, SIGUSR1);
        sigprocmask(SIG_BLOCK, &later, NULL);
        byte = !opts_in || prctl(SET_MEMORY_MERGE, 1, 0, 0, 0) == 0;
        if (write(ready[1], &byte, 1) == 1 && sigwait(&later, &signal) == 0)
            prctl(SET_MEMORY_MERGE, 1, 0, 0, 0);
        pause();
        _exit(0);
    }
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    close(ready[1]);
    return byte ? pid : 0;
}

static void opt_in_now(pid_t pid) {
    const char *path = tree_path("/proc", "%d/ksm_stat", pid);
    char text[512] = "";

    kill(pid, SIGUSR1);
    for (int ms = 0; !strstr(text, "ksm_mergeable: yes") && ms < 60000; ms++) {
        FILE *file = fopen(path, "r");
        ck_assert_ptr_nonnull(file);
        text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
        fclose(file);
        usleep(1000);
    }
}

static void *look_here(void *status) {
    *(int *)status = ksm_process_list_update(&p, NULL);
    return NULL;
}

/* A sample as the sampler makes it, in a thread that has just been given a pid. */
static void look_in_thread(void) {
    pthread_t thread;
    int status = -1;

    ck_assert_int_eq(pthread_create(&thread, NULL, look_here, &status), 0);
    pthread_join(thread, NULL);
    ck_assert_int_eq(status, 0);
}

/* Begins on a /proc. Returns why nothing can be seen there of processes that have opted in. */
static const char *begin_live(const char *root) {
    pid_t pid = start_process(true);

    if (pid == 0)
        return "this kernel has no PR_SET_MEMORY_MERGE, or no KSM";
    ksm_process_list_init(&p, root, KSM_KEPT_DESCRIPTORS_MAX); /* others may have opted in too */
    look_in_thread();
    bool told = find(pid) && find(pid)->opted_in == 1;
    suite_kill_child(pid);
    return told ? NULL : "this kernel does not tell who has opted in (6.14 does)";
}

/* A stuck thread may be reading any of the kept descriptors: that one is left to it. */
TEST_TIMES(live_skipping_leaves_one_descriptor, 2) {
    const int before = suite_open_files();
    const char *why_not = begin_live("/");
    const struct ksm_process *process;

    if (why_not) {
        suite_skip("live_skipping_leaves_one_descriptor", why_not);
        return;
    }
    pid_t pid = start_process(true);
    look_in_thread();
    process = find(pid);
    ck_assert(process && process->fd >= 0 && process->statm >= 0);
    const int kept = p.kept, fd = _i ? process->statm : process->fd;
    ksm_process_list_skip(&p, pid, fd);
    ck_assert_ptr_null(find(pid));
    ck_assert_int_eq(p.kept, kept - 2);
    ck_assert_int_eq(close(fd), 0);
    ksm_process_list_clear(&p);
    ck_assert_int_eq(suite_open_files(), before);
    suite_kill_child(pid);
}

/* Who was started since the last sample is met at the next, wherever the round is; and once more at
 * the one after it. */
TEST(live_newcomers) {
    const char *why_not = begin_live("/");

    if (why_not) {
        suite_skip("live_newcomers", why_not);
        return;
    }
    for (int i = 0; i < 20; i++) {
        pid_t later = start_process(false);
        pid_t first = start_process(true);
        pid_t zombie = fork(); /* which cannot be read, and is no reason to stop there */
        if (zombie == 0)
            _exit(0);
        pid_t second = start_process(true);
        put_round_elsewhere();
        look_in_thread();
        ck_assert_msg(find(first) && find(second), "%d: got %s and %s", i,
                      find(first) ? "the first" : "not the first",
                      find(second) ? "the second" : "not the second");
        ck_assert_msg(!find(later), "%d: got one that has not opted in", i);
        opt_in_now(later);
        suite_kill_child(first);
        put_round_elsewhere();
        look_in_thread();
        ck_assert_msg(!find(first) && find(second), "%d: only the first has ended", i);
        ck_assert_msg(find(later), "%d: one that opted in later is not found", i);
        suite_kill_child(second);
        suite_kill_child(later);
        waitpid(zombie, NULL, 0);
    }
}

/* The first process of a PID namespace with a /proc of its own. */
static void meet_newcomers_of_both_ends(void) {
    static const char last_pid[] = "proc/sys/kernel/ns_last_pid";

    ck_assert_int_eq(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    ck_assert_int_eq(mount("proc", tree_path(dir, "proc"), "proc", 0, NULL), 0);
    const char *why_not = begin_live(dir);
    if (why_not) {
        suite_skip("live_pids_begin_anew", why_not);
        return;
    }
    tree_print(dir, last_pid, "30000");
    look_in_thread();
    look_in_thread(); /* so that the last two were there */
    pid_t high = start_process(true);
    tree_print(dir, last_pid, "999");
    pid_t low = start_process(true);
    put_round_elsewhere();
    look_in_thread();
    ck_assert_msg(high > 30000 && low < 2000 && find(high) && find(low), "got %s %d, %s %d",
                  find(high) ? "found" : "not found", high, find(low) ? "found" : "not found", low);
}

/* Pids begin anew after the largest one. A sanitizer checks for leaks at exit(), for which it needs
 * the PID namespace that it began in. */
TEST(live_pids_begin_anew) {
    int status = 0;
    pid_t between = check_fork();

    if (between == 0) {
        if (unshare(CLONE_NEWPID | CLONE_NEWNS) != 0) {
            suite_skip("live_pids_begin_anew", "a PID namespace takes root");
            _exit(EXIT_SUCCESS);
        }
        pid_t first = fork();
        if (first == 0) {
            meet_newcomers_of_both_ends();
            _exit(EXIT_SUCCESS);
        }
        waitpid(first, &status, 0);
        _exit(WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILURE);
    }
    check_waitpid_and_exit(between);
}

/* Another PID namespace's /proc: what this program's pids are there cannot be told. */
TEST(live_other_namespace) {
    ksm_process_list_init(&p, dir, 0);
    ck_assert_msg(!p.own, "a made-up /proc is this program's own");
    ksm_process_list_init(&p, "/", 0);
    ck_assert_msg(p.own, "/proc is not this program's own");
}

static void *wait_for_end(void *unused) {
    pause();
    return unused;
}

/* Its first thread ends, the other does not. */
TEST(live_first_thread_ended) {
    const char *why_not = begin_live("/");
    pid_t pid = fork();
    const char *path = tree_path("/proc", "%d/cmdline", pid);

    if (pid == 0) {
        pthread_t thread;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        prctl(PR_SET_NAME, "headless");
        prctl(67, 1, 0, 0, 0);
        pthread_create(&thread, NULL, wait_for_end, NULL);
        pthread_exit(NULL);
    }
    if (why_not) {
        suite_skip("live_first_thread_ended", why_not);
        suite_kill_child(pid);
        return;
    }
    for (char byte = 1; byte;) { /* of a first thread that has ended it is empty */
        usleep(1000);
        FILE *file = fopen(path, "r");
        byte = file && fread(&byte, 1, 1, file) == 1;
        if (file)
            fclose(file);
    }
    look_in_thread();
    const struct ksm_process *found = find(pid);
    ck_assert_msg(found && found->task != pid && found->resident > 0 && *found->name.text,
                  "got it %s", found ? "without its metrics" : "not on the list");
    look_in_thread();
    ck_assert_msg(find(pid), "read again: got it not on the list");
    suite_kill_child(pid);
    look_in_thread();
    ck_assert_msg(!find(pid), "it has ended");
}
