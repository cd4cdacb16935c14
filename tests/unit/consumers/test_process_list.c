/* SPDX-License-Identifier: MIT
 *
 * Which processes are on the list, and how they are found and read again. Most tests use made-up
 * trees. Where descriptors are kept, they use links to files of the real /proc that hold a number
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

static void init(int max_kept) {
    ksm_process_list_init(&p, dir, max_kept, INT64_MAX);
}

/* A sweep over few processes ends in each update. */
static void update(void) {
    int status = ksm_process_list_update(&p, false, NULL);

    ck_assert_msg(status == 0, "update: got %s, want 0", suite_status(status));
}

static void update_times(int times) {
    for (int i = 0; i < times; i++)
        update();
}

/* want: the pids on the list, with a blank after each. */
static void expect_list(const char *when, const char *want) {
    static char got[65536];
    size_t len = 0;

    got[0] = '\0';
    for (size_t i = 0; i < p.count; i++)
        len += (size_t)snprintf(got + len, sizeof(got) - len, "%d ", p.list[i].pid);
    ck_assert_msg(strcmp(got, want) == 0, "%s: got %s, want %s", when, got, want);
}

static void update_and_expect(const char *when, const char *want) {
    update();
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

static struct fake_process fake(int pid) {
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

static void add_process(int pid) {
    struct fake_process process = fake(pid);

    fake_procs_write(dir, &process);
}

/* ---- slow processes ---- */

enum { SLOW = 5, FIRST_SLOW = 10, SLOW_MS = 100 };

/* check measures how long a test takes: so the clocks stop at the present time. */
static void stop_clocks(void) {
    const int64_t now = clock_ms(CLOCK_MONOTONIC);

    faults_stop_clocks(now, now);
}

static void delay_counts(int64_t ms, int64_t cpu_ms) {
    for (int pid = FIRST_SLOW; pid < FIRST_SLOW + SLOW; pid++)
        faults_delay(tree_path("", "%d/ksm_stat", pid), ms, cpu_ms);
}

/* An update may read the counts of two slow processes. */
static void init_slow(void) {
    stop_clocks();
    ksm_process_list_init(&p, dir, 0, SLOW_MS * 3 / 2 * 1000);
}

/* Slow processes with all their counts raised by a number. */
static void write_slow(int raised) {
    for (int pid = FIRST_SLOW; pid < FIRST_SLOW + SLOW; pid++) {
        struct fake_process process = fake(pid);
        process.merging += raised;
        process.zero += raised;
        fake_procs_write(dir, &process);
    }
}

static void begin_slow(int64_t cpu_ms) {
    write_slow(0);
    delay_counts(SLOW_MS, cpu_ms);
    add_process(50);
    init_slow();
    update_times(3); /* they are found, are slow, and are measured */
}

/* How many times the counts of process pid were read. */
static int reads_of(int pid) {
    return faults_seen(FAULTS_PREAD, tree_path("", "%d/ksm_stat", pid));
}

static int all_reads(void) {
    int sum = 0;

    for (int pid = FIRST_SLOW; pid < FIRST_SLOW + SLOW; pid++)
        sum += reads_of(pid);
    return sum;
}

/* merging is up to date. zero was read in one of the last three updates, and its growth counts in
 * one interval only. */
static void expect_grown(int updates) {
    for (size_t i = 0; i < SLOW; i++) {
        const struct ksm_process *process = &p.list[i];
        const struct fake_process first = fake(process->pid);
        const int64_t zero = process->zero - first.zero;
        const int64_t growth = process->merging + process->zero - process->previous;
        ck_assert_int_eq(process->merging, first.merging + updates);
        ck_assert_msg(zero <= updates && zero > updates - 3,
                      "pid %d: zero is that of update %" PRId64 " at update %d", process->pid, zero,
                      updates);
        ck_assert_msg(growth == 1 || growth == 2, "pid %d: grew by %" PRId64, process->pid, growth);
    }
}

TEST(slow_processes_are_read_in_turn) {
    begin_slow(SLOW_MS);
    for (int i = 1; i <= 20; i++) {
        const int before = all_reads();
        ksm_process_list_remember_counts(&p);
        write_slow(i);
        update();
        ck_assert_int_le(all_reads() - before, 2);
        if (i >= 3)
            expect_grown(i);
    }
    for (int pid = FIRST_SLOW; pid < FIRST_SLOW + SLOW; pid++)
        ck_assert_int_ge(reads_of(pid), 3 + 20 / 3);
}

/* On a busy host any read can take long. */
TEST(late_reads_without_cpu_time_are_not_slow) {
    begin_slow(0);
    const int before = all_reads();
    update_times(4);
    ck_assert_int_eq(all_reads() - before, 4 * SLOW);
}

TEST(slow_process_that_is_fast_again_is_read_at_each_update) {
    begin_slow(SLOW_MS);
    faults_clear();
    update_times(3);
    delay_counts(0, 0);
    update_times(4);
    ck_assert_int_eq(all_reads(), 4 * SLOW);
}

TEST(slow_process_that_exits_leaves_the_list) {
    begin_slow(SLOW_MS);
    for (int pid = FIRST_SLOW; pid < FIRST_SLOW + SLOW; pid++)
        fake_procs_remove(dir, pid);
    update_and_expect("all have exited", "50 ");
}

TEST(slow_process_is_not_taken_for_the_next_one_of_its_pid) {
    begin_slow(SLOW_MS);
    for (int pid = FIRST_SLOW; pid < FIRST_SLOW + SLOW; pid++) {
        struct fake_process process = fake(pid);
        process.started = 9999;
        process.merging = 77;
        fake_procs_write(dir, &process);
    }
    update_and_expect("other processes", "50 ");
}

/* A sweep over slow processes that do not belong on the list reads all of them in the end. */
TEST(sweep_over_slow_processes_continues_at_the_next_update) {
    for (int pid = FIRST_SLOW; pid < FIRST_SLOW + SLOW; pid++)
        fake_procs_write(dir, &(const struct fake_process){.pid = pid, .comm = "x"});
    delay_counts(SLOW_MS, SLOW_MS);
    init_slow();
    update();
    ck_assert_int_eq(all_reads(), SLOW); /* the first sweep has no limit */
    for (int i = 0; i < 9; i++) {
        const int before = all_reads();
        update();
        ck_assert_int_le(all_reads() - before, 2);
    }
    for (int pid = FIRST_SLOW; pid < FIRST_SLOW + SLOW; pid++)
        ck_assert_int_ge(reads_of(pid), 1 + 9 / 3);
}

/* ---- kernels ---- */

/* One process with these files (NULL: none), and its counts. */
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
    STAT("6.1, tracked only", "ksm_rmap_items 40\n", "0", true, 0, 0, 40),
    STAT("6.1, no pages", "ksm_rmap_items 0\n", "0", false, 0, 0, 0),
    STAT("6.4", "ksm_rmap_items 40\nksm_merging_pages 12\nksm_process_profit 46592\n", "12", true,
         12, 0, 40),
    STAT("6.6", COUNTS("40", "7", "12"), "12", true, 12, 7, 40),
    STAT("6.6, zero pages below 0", COUNTS("40", "-1", "12"), "12", false, 0, 0, 0),
    STAT("6.6, zero pages only", COUNTS("0", "7", "0"), "0", true, 0, 7, 0),
    STAT("6.18", COUNTS("40", "7", "12") OPTED_IN("no", "yes"), "12", true, 12, 7, 40),
    STAT("6.18, no pages", COUNTS("0", "0", "0") OPTED_IN("no", "no"), "0", false, 0, 0, 0),
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
    for (int i = 0; i < 3; i++) {
        update_and_expect(row->kernel, row->listed ? "42 " : "");
        if (!row->listed)
            continue;
        expect_counts(row->kernel, &p.list[0], row->merging, row->zero, row->rmap_items, 700);
        ck_assert_int_eq((int)p.list[0].mapped, 30);
        ck_assert_msg(ksm_process_has_pages(&p.list[0]) ==
                          (row->rmap_items > 0 || row->zero > 0 || row->merging > 0),
                      "%s: got has_pages wrong", row->kernel);
    }
}

/* ksm_mergeable of three processes, of which the first has tracked pages: yes, no, or other texts.
 * That one and those that have opted in are on the list. */
static const struct {
    const char *mergeable;
    int64_t opted_in;
} opted_in_rows[] = {
    {"yyy", 3},  {"yny", 2}, {"nnn", 0}, {"nny", 1}, {"---", -1}, /* before 6.14 */
    {"-n-", 0},  {"-y-", 1},                                      /* some exited meanwhile */
    {"xxx", -1}, /* "ksm_mergeable yes": not what the kernel prints */
    {"...", 0},  /* neither yes nor no */
};

static void write_opted_in(int pid, char mergeable, bool tracked) {
    const char *text = "";

    switch (mergeable) {
    case 'y':
        text = OPTED_IN("no", "yes");
        break;
    case 'n':
        text = OPTED_IN("no", "no");
        break;
    case 'x':
        text = "ksm_mergeable yes\n";
        break;
    case '.':
        text = "ksm_mergeable: yes!\n";
        break;
    }
    tree_print(dir, tree_path("proc", "%d/ksm_stat", pid), "%s%s",
               tracked ? COUNTS("7", "0", "0") : COUNTS("0", "0", "0"), text);
}

TEST_ROWS(processes_that_opted_in_are_counted, opted_in_rows) {
    const char *mergeable = row->mergeable;

    fake_procs_remove(dir, 1);
    for (int i = 0; i < 3; i++) {
        add_process(42 + i);
        write_opted_in(42 + i, mergeable[i], i == 0);
    }
    init(0);
    ck_assert_int_eq(p.sweep.last.opted_in, -1);
    for (int i = 0; i < 3; i++) {
        update();
        ck_assert_msg(p.sweep.last.opted_in == row->opted_in, "%s: got %" PRId64 " opted in",
                      mergeable, p.sweep.last.opted_in);
        ck_assert_int_eq((int)p.count, 1 + (mergeable[1] == 'y') + (mergeable[2] == 'y'));
    }
    ksm_process_list_clear(&p);
    ck_assert_int_eq(p.sweep.last.opted_in, -1);
}

/* In another /proc than the reader's own, self may be missing or lead nowhere. */
TEST(source_is_determined_by_process_1_without_self) {
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

    add_process(42);
    faults_clear();
    init(KSM_KEPT_DESCRIPTORS_MAX);
    ck_assert_int_eq(faults_count(FAULTS_OPEN) + faults_count(FAULTS_OPENDIR), 0);
    ck_assert_int_eq(suite_open_files(), files);
    ck_assert_ptr_null(p.list);
}

/* ---- what is in the files ---- */

/* A process with one bad file; NULL: the file is missing. Either the process is not on the list, or
 * what the file holds is not known. */
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

/* Bad from the start, or from one read to the next: then the old counts mean nothing. */
TEST_ROWS(bad_file_is_tolerated, bad_rows) {
    bool is_counts = strcmp(row->file, "ksm_stat") == 0;
    const char *text = row->text ? suite_quote(row->text, row->len) : "missing";

    add_process(42);
    for (int late = 0; late < 2; late++) {
        init(0);
        if (late)
            update();
        if (row->text)
            fake_procs_write_file(dir, 42, row->file, row->text, row->len);
        else
            fake_procs_remove_file(dir, 42, row->file);
        update();
        bool stays = row->listed && !(late && strcmp(row->file, "stat") == 0);
        if (late && is_counts && row->len > 0)
            ck_assert_msg(p.count == 0 || p.list[0].status != 0, "%s: got status 0", text);
        else
            expect_list(text, stays ? "42 " : ""); /* else it exited or became another process */
        if (stays)
            expect_counts(text, &p.list[0], 420, 42, 840, row->resident);
        if (stays && !late)
            expect_name(text, &p.list[0],
                        strcmp(row->file, "cgroup") == 0 ? KSM_CONSUMER_program
                                                         : KSM_CONSUMER_service,
                        "web");
        add_process(42);
        update();
        if (late)
            expect_list("good again", "42 ");
        update_and_expect("good again", "42 ");
        expect_counts("good again", &p.list[0], 420, 42, 840, 4200);
        ksm_process_list_clear(&p);
    }
}

/* The files of zombies and kernel threads are empty, and they have no other thread. */
static void empty_files(int pid) {
    static const char *const files[] = {"ksm_stat", "ksm_merging_pages", "cgroup", "cmdline",
                                        "statm"};

    for (int i = 0; i < ROWS(files); i++)
        fake_procs_write_file(dir, pid, files[i], "", 0);
}

TEST(zombie_leaves_the_list) {
    add_process(42);
    init(0);
    update_and_expect("alive", "42 ");
    empty_files(42);
    update_and_expect("a zombie", "");
    fake_procs_write_file(dir, 42, "task/42/ksm_stat", "", 0);
    update_and_expect("found as a zombie", "");
    ck_assert_int_eq(p.sweep.last.denied, 0);
}

/* Makes the files of a process and moves them to those of a thread. */
static void add_thread(int pid, int task) {
    add_process(task);
    fake_procs_write_file(dir, pid, "task/x", "", 0);
    ck_assert_int_eq(
        rename(tree_path(dir, "proc/%d", task), tree_path(dir, "proc/%d/task/%d", pid, task)), 0);
}

/* The files of any other thread show the whole process. */
TEST(first_thread_that_exited_is_replaced_by_another) {
    const int before = suite_open_files();

    add_process(42);
    empty_files(42);
    fake_procs_write_file(dir, 42, "task/42/ksm_stat", "", 0);
    fake_procs_write_file(dir, 42, "task/43/ksm_stat", "", 0); /* has exited too */
    add_thread(42, 44);
    init(0);
    for (int i = 0; i < 3; i++) {
        update_and_expect("by another thread", "42 ");
        expect_counts("by another thread", &p.list[0], 440, 44, 880, 4400);
        expect_name("by another thread", &p.list[0], KSM_CONSUMER_service, "web");
        ck_assert_int_eq(p.list[0].task, 44);
    }
    fake_procs_remove_file(dir, 42, "task/44/ksm_stat");
    update_and_expect("that has exited as well", "");
    ksm_process_list_clear(&p);
    ck_assert_int_eq(suite_open_files(), before);
}

/* Errors of the directory of threads: the process has exited, its sweep counts it as denied or
 * failed, or the update fails for lack of resources. */
static const struct {
    int err;
    int status; /* of the update */
    int denied, failed;
} task_rows[] = {
    {ENOENT, 0, 0, 0}, {ESRCH, 0, 0, 0},        {EACCES, 0, 1, 0},
    {EIO, 0, 0, 1},    {EMFILE, -EMFILE, 0, 0}, {ENOMEM, -ENOMEM, 0, 0},
};

TEST_ROWS(failed_read_of_threads, task_rows) {
    add_process(42);
    empty_files(42);
    add_thread(42, 44);
    init(0);
    faults_fail(FAULTS_OPENAT, "42/task", 0, row->err);
    int status = ksm_process_list_update(&p, false, NULL);
    ck_assert_msg(status == row->status, "%s: got %s, want %s", strerror(row->err),
                  suite_status(status), suite_status(row->status));
    ck_assert_int_eq(p.sweep.last.denied, row->denied);
    ck_assert_int_eq(p.sweep.last.failed, row->failed);
    faults_clear();
    for (int i = 0; i < 3; i++)
        update();
    update_and_expect("readable", "42 ");
}

/* Errors of a read: either the process has exited, or it could not be read. */
static const struct {
    int err;
    bool gone;
} read_rows[] = {{ESRCH, true}, {ENOENT, true}, {EIO, false}, {EACCES, false}};

TEST_ROWS(failed_read, read_rows) {
    add_process(42);
    add_process(43);
    init(0);
    update();
    faults_fail(FAULTS_PREAD, "/42/ksm_stat", 0, row->err);
    update_and_expect(suite_status(-row->err), row->gone ? "43 " : "42 43 ");
    if (!row->gone)
        ck_assert_int_eq(p.list[0].status, -row->err);
    faults_clear();
    update_and_expect("readable again", "42 43 ");
    expect_counts("readable again", &p.list[0], 420, 42, 840, 4200);
}

/* ---- start and exit ---- */

/* The pids that start and exit, and those on the list then. */
static const struct {
    int start[3], exit[2];
    const char *list;
} moves[] = {
    {{0}, {0}, ""},
    {{300, 20}, {0}, "20 300 "},
    {{100, 5, 4000}, {0}, "5 20 100 300 4000 "},
    {{0}, {100}, "5 20 300 4000 "},
    {{0}, {5, 4000}, "20 300 "}, /* the first and the last */
    {{0}, {20, 300}, ""},
};

TEST(list_follows_starts_and_exits) {
    init(0);
    for (int i = 0; i < ROWS(moves); i++) {
        for (int n = 0; n < ROWS(moves[i].start) && moves[i].start[n] > 0; n++)
            add_process(moves[i].start[n]);
        for (int n = 0; n < ROWS(moves[i].exit) && moves[i].exit[n] > 0; n++)
            fake_procs_remove(dir, moves[i].exit[n]);
        update_and_expect(moves[i].list, moves[i].list);
    }
}

TEST(counts_are_read_again) {
    struct fake_process process = fake(42);

    fake_procs_write(dir, &process);
    init(0);
    update();
    expect_counts("first", &p.list[0], 420, 42, 840, 4200);
    process.merging = 7;
    process.zero = 0;
    process.rmap_items = 9;
    process.resident = 11;
    fake_procs_write(dir, &process);
    update();
    expect_counts("read again", &p.list[0], 7, 0, 9, 11);
    process.merging = process.rmap_items = 0;
    fake_procs_write(dir, &process);
    update_and_expect("no pages any more", "");
}

/* Moves the sweep to the end of /proc: the next update finds no process by it. */
static void skip_sweep(void) {
    while (readdir(p.sweep.dir))
        continue;
    p.sweep.in_progress = true;
}

/* A process that has opted in is read at each update. */
TEST(first_pages_are_seen_at_the_next_update) {
    struct fake_process process = fake(42);

    add_process(42);
    write_opted_in(42, 'y', false);
    init(0);
    update_and_expect("opted in", "42 ");
    ck_assert_msg(!ksm_process_has_pages(&p.list[0]), "got pages without any");
    fake_procs_write(dir, &process);
    skip_sweep();
    update();
    ck_assert_msg(ksm_process_has_pages(&p.list[0]), "got no pages");
    expect_counts("first pages", &p.list[0], 420, 42, 840, 4200);
}

/* The files of its pid belong to another process, which started at another time. */
TEST(reused_pid_is_another_process) {
    struct fake_process process = fake(42);

    fake_procs_write(dir, &process);
    init(0);
    update();
    process.started++;
    process.merging = 99;
    process.cgroup = "0::/system.slice/other.service\n";
    fake_procs_write(dir, &process);
    update_and_expect("another process", "");
    update_and_expect("found by the next sweep", "42 ");
    expect_counts("found by the next sweep", &p.list[0], 99, 42, 840, 4200);
    expect_name("found by the next sweep", &p.list[0], KSM_CONSUMER_service, "other");
}

TEST(comm_with_parentheses_does_not_hide_the_start) {
    struct fake_process process = fake(42);

    process.comm = ") S 1 1 1 (\n";
    fake_procs_write(dir, &process);
    init(0);
    update_and_expect("found", "42 ");
    ck_assert_msg(p.list[0].started == 1042, "got started at %" PRId64 ", want 1042",
                  p.list[0].started);
    update_and_expect("the same", "42 ");
}

/* It was moved to another cgroup, or runs another program. */
TEST(process_is_named_again_when_due) {
    struct fake_process process = fake(42);

    fake_procs_write(dir, &process);
    init(0);
    update();
    expect_name("first", &p.list[0], KSM_CONSUMER_service, "web");
    process.cgroup = "0::/user.slice/user-1000.slice/session-3.scope\n";
    fake_procs_write(dir, &process);
    update_times(KSM_UPDATES_PER_SWEEP);
    expect_name("moved soon after it was found", &p.list[0], KSM_CONSUMER_program, "web");
    process.comm = "fifteen-letters"; /* the kernel has no longer ones */
    fake_procs_write(dir, &process);
    update_times(KSM_UPDATES_PER_SWEEP);
    expect_name("another program", &p.list[0], KSM_CONSUMER_program, "fifteen-letters");
    process.cmdline = "kvm\0-name\0vm1";
    process.cmdline_len = sizeof("kvm\0-name\0vm1");
    fake_procs_write(dir, &process);
    update_times(KSM_UPDATES_PER_NAMING);
    expect_name("a machine", &p.list[0], KSM_CONSUMER_vm, "user-1000:vm1");
    expect_list("the same process", "42 ");
}

/* Of texts that are longer than the buffers, the start counts. */
TEST(long_texts_are_cut) {
    enum { LONG = 100000 };
    static char text[LONG];
    static const char start[] = "kvm\0-name\0vm1";

    memset(text, 'x', sizeof(text));
    memcpy(text, start, sizeof(start));
    add_process(42);
    fake_procs_write_file(dir, 42, "cmdline", text, sizeof(text));
    init(0);
    update();
    expect_name("a long command line", &p.list[0], KSM_CONSUMER_vm, "vm1");

    add_process(43);
    memset(text, '/', sizeof(text));
    memcpy(text, "0::/lxc.payload.c1", strlen("0::/lxc.payload.c1"));
    fake_procs_write_file(dir, 43, "cgroup", text, sizeof(text));
    update();
    expect_name("a long cgroup", &p.list[1], KSM_CONSUMER_container, "c1");
}

TEST(entries_that_are_no_pids_are_ignored) {
    static const char *const names[] = {
        "042", "-5",  "0",         "4294967338", "2147483648",  "42x",    "x42",
        " 43", "43 ", "+44",       "self",       "thread-self", "uptime", "99999999999999999999",
        "4.5", "4\n", "2147483647"};

    for (int i = 0; i < ROWS(names); i++)
        tree_print(dir, tree_path("proc", "%s/ksm_stat", names[i]),
                   "ksm_rmap_items 40\nksm_merging_pages 12\n");
    tree_print(dir, "proc/77", "a file\n");
    init(0);
    update_and_expect("only the valid pid", "2147483647 ");
}

/* ---- rights ---- */

static void make_unreadable(int pid, mode_t mode) {
    ck_assert_int_eq(chmod(tree_path(dir, "proc/%d/ksm_stat", pid), mode), 0);
}

TEST(denied_processes_are_counted) {
    add_process(42);
    add_process(43);
    add_process(44);
    make_unreadable(42, 0);
    make_unreadable(44, 0);
    suite_become_nobody();
    init(0);
    update_and_expect("what can be read is shown", "43 ");
    ck_assert_msg(p.sweep.last.denied == 2, "got %" PRId64 " denied, want 2", p.sweep.last.denied);
    update();
    ck_assert_msg(p.sweep.last.denied == 2, "next sweep: got %" PRId64 " denied, want 2",
                  p.sweep.last.denied);
    update_and_expect("what can be read is shown", "43 ");
}

TEST(capability_is_detected) {
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
    ck_assert_msg(!p.capable || set == 0, "capable without rights");
}

TEST(process_denied_later_has_no_counts) {
    add_process(42);
    if (geteuid() == 0)
        ck_assert_int_eq(chown(tree_path(dir, "proc/42/ksm_stat"), 65534, 65534), 0);
    suite_become_nobody();
    init(0);
    update_and_expect("readable", "42 ");
    make_unreadable(42, 0);
    update_and_expect("not readable", "42 ");
    ck_assert_int_eq(p.list[0].status, -EACCES);
    make_unreadable(42, 0444);
    update_and_expect("readable again", "42 ");
    expect_counts("readable again", &p.list[0], 420, 42, 840, 4200);
}

/* hidepid=2 hides the processes of other users, and so process 1. */
TEST(hidden_processes_are_detected) {
    add_process(42);
    init(0);
    update();
    ck_assert_msg(!p.sweep.last.hidden, "all are listed: got hidden");
    fake_procs_remove(dir, 1);
    update();
    ck_assert_msg(p.sweep.last.hidden, "no process 1: got not hidden");
    expect_list("what is listed", "42 ");
    fake_procs_write(dir, &(const struct fake_process){.pid = 1});
    update();
    ck_assert_msg(!p.sweep.last.hidden, "process 1 is listed again: got hidden");
}

TEST(proc_that_cannot_be_opened) {
    ksm_process_list_init(&p, "/nonexistent", 0, INT64_MAX);
    ck_assert_int_eq(p.reader.source, KSM_PROCESS_NOTHING);
    ck_assert_int_eq(ksm_process_list_update(&p, false, NULL), -ENOENT);
    ck_assert_int_eq(ksm_process_list_update(&p, false, NULL), -ENOENT);
    ksm_process_list_clear(&p);

    init(0);
    add_process(42);
    faults_fail(FAULTS_OPENDIR, NULL, 1, EACCES);
    ck_assert_int_eq(ksm_process_list_update(&p, false, NULL), -EACCES);
    update_and_expect("once it can be opened", "42 ");
}

/* ---- the sweep ---- */

static const struct ksm_process *find(int pid) {
    for (size_t i = 0; i < p.count; i++)
        if (p.list[i].pid == pid)
            return &p.list[i];
    return NULL;
}

static void add_processes(int first, int count) {
    for (int pid = first; pid < first + count; pid++) {
        fake_procs_write_file(dir, pid, "ksm_stat",
                              TEXT("ksm_rmap_items 40\nksm_merging_pages 12\n"));
        fake_procs_write_file(dir, pid, "comm", TEXT("x\n"));
    }
}

/* The first update sweeps over all processes, then a sweep takes six updates. Counts are set when
 * it ends. */
TEST(sweep_takes_six_updates) {
    enum {
        FIRST = 2,
        COUNT = 3000,
        OTHERS = 4,
        PART = (COUNT + OTHERS) / KSM_UPDATES_PER_SWEEP + 1
    };

    add_processes(FIRST, COUNT);
    init(0);
    update();
    ck_assert_int_eq((int)p.count, COUNT);
    ck_assert_int_eq((int)p.sweep.last.entries, COUNT + OTHERS); /* 1, self, . and .. */
    for (int sweep = 0; sweep < 3; sweep++) {
        const int new = FIRST + COUNT + sweep;
        const char *name = &"a\0b\0c"[2 * sweep];
        const bool denied = sweep == 2;
        fake_procs_remove(dir, FIRST + sweep);
        add_processes(new, 1);
        fake_procs_write_file(dir, FIRST + COUNT / 2, "comm", name, 1);
        if (denied)
            faults_fail(FAULTS_OPENAT, "3004/ksm_stat", 0, EACCES);
        for (int i = 1; i <= KSM_UPDATES_PER_SWEEP; i++) {
            ck_assert_int_eq((int)p.sweep.last.denied, 0);
            update();
            const bool last = i == KSM_UPDATES_PER_SWEEP;
            ck_assert_msg(p.sweep.in_progress == !last &&
                              p.sweep.running.entries == (last ? COUNT + OTHERS : i * PART),
                          "sweep %d, update %d: got %s, %" PRId64 " entries", sweep, i,
                          p.sweep.in_progress ? "not done" : "done", p.sweep.running.entries);
        }
        ck_assert_msg(!find(new) == denied, "new process %d: got %s", new,
                      denied ? "found" : "not found");
        ck_assert_int_eq((int)p.sweep.last.denied, denied);
        expect_name("moved", &p.list[COUNT / 2 - sweep - 1], KSM_CONSUMER_program, name);
    }
}

TEST(sweep_is_slower_if_the_list_is_complete) {
    enum { COUNT = 3000, OTHERS = 4, PART = 128 };

    add_processes(2, COUNT);
    init(0);
    update();
    for (int i = 1; i <= 4; i++) {
        ck_assert_int_eq(ksm_process_list_update(&p, true, NULL), 0);
        ck_assert_int_eq((int)p.sweep.running.entries, i * PART);
    }
    update();
    ck_assert_int_eq((int)p.sweep.running.entries,
                     4 * PART + (COUNT + OTHERS) / KSM_UPDATES_PER_SWEEP + 1);
}

/* A transient error in the first update, or when a listed process is read again. */
static const struct {
    enum faults_call call;
    const char *suffix;
    int err;
    bool listed;
} failed_rows[] = {
    {FAULTS_OPENDIR, "proc", EMFILE, false},      {FAULTS_OPENAT, "42/ksm_stat", EMFILE, false},
    {FAULTS_OPENAT, "42/cgroup", ENFILE, false},  {FAULTS_PREAD, "/42/ksm_stat", ENOMEM, false},
    {FAULTS_PREAD, "/42/cmdline", ENOMEM, false}, {FAULTS_PREAD, "/42/stat", EAGAIN, false},
    {FAULTS_PREAD, "/42/ksm_stat", ENOMEM, true}, {FAULTS_OPENAT, "42/stat", EMFILE, true},
};

TEST_ROWS(update_that_failed_starts_over, failed_rows) {
    add_process(41);
    add_process(42);
    init(0);
    if (row->listed)
        update();
    faults_fail(row->call, row->suffix, 1, row->err);
    int status = ksm_process_list_update(&p, false, NULL);
    ck_assert_msg(status == -row->err && p.sweep.done == row->listed && !p.sweep.in_progress,
                  "got %s, done %d, in progress %d", suite_status(status), p.sweep.done,
                  p.sweep.in_progress);
    update();
    ck_assert_msg(p.sweep.done, "the next: got not done");
    expect_list(row->suffix, "41 42 ");
}

TEST(nothing_is_read_once_cancelled) {
    struct blocking_call call = {.cancelled = true};

    add_process(42);
    init(0);
    ck_assert_int_eq(ksm_process_list_update(&p, false, &call), -EINTR);
    ck_assert_int_eq(faults_count(FAULTS_PREAD), 0);
    update_and_expect("not cancelled", "42 ");
    ck_assert_int_eq(ksm_process_list_update(&p, false, &call), -EINTR);
    ck_assert_int_eq(call.since, 0);
}

TEST(no_process_is_lost_or_doubled_by_churn) {
    enum { ROUNDS = 300, PIDS = 60 };
    bool alive[PIDS] = {false};

    init(0);
    for (int round = 0; round < ROUNDS; round++) {
        for (int n = 0; n < 5; n++) {
            int i = (int)(suite_random() % PIDS);
            if (alive[i])
                fake_procs_remove(dir, 100 + i);
            else
                add_process(100 + i);
            alive[i] = !alive[i];
        }
        update();
        if (round % 10 != 9)
            continue;
        update();
        size_t pos = 0;
        for (int i = 0; i < PIDS; i++) {
            if (!alive[i])
                continue;
            must(pos < p.count && p.list[pos].pid == 100 + i, "round %d: got %d at %zu, want %d",
                 round, pos < p.count ? p.list[pos].pid : -1, pos, 100 + i);
            pos++;
        }
        must(pos == p.count, "round %d: got %zu processes, want %zu", round, p.count, pos);
    }
}

/* ---- kept descriptors ---- */

/* On a kernel with ksm_merging_pages only, for which real files can stand. */
static void add_linked(int pid, pid_t real) {
    add_process(pid);
    fake_procs_link(dir, pid, real);
}

static const struct {
    int max_kept;
    int kept;
} kept_rows[] = {{0, 0}, {1, 0}, {2, 1}, {5, 4}, {KSM_KEPT_DESCRIPTORS_MAX, 5}, {INT_MAX, 5}};

TEST_ROWS(descriptors_are_kept_up_to_the_limit, kept_rows) {
    const int before = suite_open_files();

    fake_procs_set_older_kernel(dir, true);
    fake_procs_set_linked(getpid(), 7);
    for (int pid = 100; pid < 105; pid++)
        add_linked(pid, getpid());
    add_process(200); /* its files are not on procfs */
    init(row->max_kept);
    update_and_expect("found", "100 101 102 103 104 200 ");
    int open = suite_open_files() - before - 1; /* /proc */
    ck_assert_msg(p.kept == row->kept && open == row->kept,
                  "at most %d: got %d kept, %d open, want %d", row->max_kept, p.kept, open,
                  row->kept);
    ck_assert_msg(p.max_kept <= KSM_KEPT_DESCRIPTORS_MAX, "got max_kept %d", p.max_kept);
    expect_counts("first", &p.list[0], 7, 0, 0, 10000);
    expect_counts("first", &p.list[4], 7, 0, 0, 10400);
    expect_counts("first", &p.list[5], 2000, 0, 0, 20000);
    fake_procs_set_linked(getpid(), 9);
    for (int again = 0; again < 3; again++)
        update();
    expect_counts("read again", &p.list[0], 9, 0, 0, 10000);
    expect_counts("read again", &p.list[4], 9, 0, 0, 10400);
    fake_procs_set_linked(getpid(), 0);
    update_and_expect("the others have no pages any more", "200 ");
    ck_assert_int_eq(p.kept, 0);
    ck_assert_int_eq(suite_open_files(), before + 1);
    for (int clear = 0; clear < 2; clear++) {
        ksm_process_list_clear(&p);
        ck_assert_int_eq(suite_open_files(), before);
    }
}

TEST(released_descriptor_makes_room_for_another) {
    fake_procs_set_older_kernel(dir, true);
    fake_procs_set_linked(getpid(), 7);
    add_linked(100, getpid());
    init(2);
    update();
    ck_assert_int_eq(p.kept, 1);
    fake_procs_set_linked(getpid(), 0);
    update();
    ck_assert_int_eq(p.kept, 0);
    fake_procs_set_linked(getpid(), 7);
    add_linked(101, getpid());
    update();
    ck_assert_int_eq(p.kept, 1);
    expect_list("both", "100 101 ");
}

/* A kept descriptor always belongs to the same process. */
TEST(kept_descriptor_of_a_process_that_exits) {
    pid_t child = suite_start_child();

    fake_procs_set_older_kernel(dir, true);
    add_linked(100, child);
    fake_procs_set_linked(child, 5);
    init(10);
    update_and_expect("alive", "100 ");
    ck_assert_int_eq(p.kept, 1);
    suite_kill_child(child);
    update_and_expect("exited", "");
    ck_assert_int_eq(p.kept, 0);
}

/* ---- the real /proc ---- */

TEST(live_proc) {
    int before = suite_open_files();

    for (int max_kept = 0; max_kept < 4; max_kept++) {
        ksm_process_list_init(&p, "/", max_kept, INT64_MAX);
        if (p.reader.source == KSM_PROCESS_NOTHING) {
            suite_skip("live_proc", "this kernel reports nothing about processes");
            return;
        }
        for (int i = 0; i < 3; i++) {
            update();
            ck_assert_msg(p.sweep.last.entries > 5, "got %" PRId64 " entries of /proc",
                          p.sweep.last.entries);
            ck_assert_msg(p.kept <= max_kept, "got %d kept, want %d at most", p.kept, max_kept);
            ck_assert_int_eq(suite_open_files(), before + 1 + p.kept);
            for (size_t pos = 1; pos < p.count; pos++)
                ck_assert_msg(p.list[pos - 1].pid < p.list[pos].pid, "pid %d before %d",
                              p.list[pos - 1].pid, p.list[pos].pid);
            for (size_t pos = 0; pos < p.count; pos++)
                ck_assert_ptr_null(fake_procs_check_name(p.list[pos].name.text));
        }
        ksm_process_list_clear(&p);
        ck_assert_int_eq(suite_open_files(), before);
    }
}

/* Starts a process that opts in, now or at SIGUSR1. Returns 0 if this kernel has no prctl() for
 * that.
 */
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

static void *run_update(void *status) {
    *(int *)status = ksm_process_list_update(&p, false, NULL);
    return NULL;
}

/* As the sampler does: in a thread that has just been given a pid. */
static void update_in_thread(void) {
    pthread_t thread;
    int status = -1;

    ck_assert_int_eq(pthread_create(&thread, NULL, run_update, &status), 0);
    pthread_join(thread, NULL);
    ck_assert_int_eq(status, 0);
}

/* Returns NULL, or why this kernel does not show which processes have opted in. */
static const char *begin_live(const char *root) {
    pid_t pid = start_process(true);

    if (pid == 0)
        return "this kernel has no PR_SET_MEMORY_MERGE, or no KSM";
    ksm_process_list_init(&p, root, KSM_KEPT_DESCRIPTORS_MAX, INT64_MAX);
    update_in_thread();
    bool reported = find(pid) && find(pid)->opted_in == 1;
    suite_kill_child(pid);
    return reported ? NULL : "this kernel does not report which processes opted in (6.14 does)";
}

/* A stuck thread may be reading any of the kept descriptors, and closes it. */
TEST_TIMES(live_skipping_leaves_one_descriptor, 2) {
    const int before = suite_open_files();
    const char *why_not = begin_live("/");
    const struct ksm_process *process;

    if (why_not) {
        suite_skip("live_skipping_leaves_one_descriptor", why_not);
        return;
    }
    pid_t pid = start_process(true);
    update_in_thread();
    process = find(pid);
    ck_assert(process && process->counts_fd >= 0 && process->statm_fd >= 0);
    const int kept = p.kept, fd = _i ? process->statm_fd : process->counts_fd;
    ksm_process_list_skip(&p, pid, fd);
    ck_assert_ptr_null(find(pid));
    ck_assert_int_eq(p.kept, kept - 2);
    ck_assert_int_eq(close(fd), 0);
    ksm_process_list_clear(&p);
    ck_assert_int_eq(suite_open_files(), before);
    suite_kill_child(pid);
}

/* A new process is read at the next two updates, wherever the sweep is. */
TEST(live_new_processes) {
    const char *why_not = begin_live("/");

    if (why_not) {
        suite_skip("live_new_processes", why_not);
        return;
    }
    for (int i = 0; i < 20; i++) {
        pid_t later = start_process(false);
        pid_t first = start_process(true);
        pid_t zombie = fork(); /* cannot be read, which must not end the search */
        if (zombie == 0)
            _exit(0);
        pid_t second = start_process(true);
        skip_sweep();
        update_in_thread();
        ck_assert_msg(find(first) && find(second), "%d: got %s and %s", i,
                      find(first) ? "the first" : "not the first",
                      find(second) ? "the second" : "not the second");
        ck_assert_msg(!find(later), "%d: got one that has not opted in", i);
        opt_in_now(later);
        suite_kill_child(first);
        skip_sweep();
        update_in_thread();
        ck_assert_msg(!find(first) && find(second), "%d: only the first has exited", i);
        ck_assert_msg(find(later), "%d: one that opted in later is not found", i);
        suite_kill_child(second);
        suite_kill_child(later);
        waitpid(zombie, NULL, 0);
    }
}

/* Runs as the first process of a PID namespace, with a /proc of its own. */
static void expect_new_pids_at_both_ends(void) {
    static const char last_pid[] = "proc/sys/kernel/ns_last_pid";

    ck_assert_int_eq(mount("none", "/", "none", MS_REC | MS_PRIVATE, ""), 0);
    ck_assert_int_eq(mount("proc", tree_path(dir, "proc"), "proc", 0, ""), 0);
    const char *why_not = begin_live(dir);
    if (why_not) {
        suite_skip("live_pids_start_over", why_not);
        return;
    }
    tree_print(dir, last_pid, "30000");
    update_in_thread();
    update_in_thread(); /* the last two updates were there */
    pid_t high = start_process(true);
    tree_print(dir, last_pid, "999");
    pid_t low = start_process(true);
    skip_sweep();
    update_in_thread();
    ck_assert_msg(high > 30000 && low < 2000 && find(high) && find(low), "got %s %d, %s %d",
                  find(high) ? "found" : "not found", high, find(low) ? "found" : "not found", low);
}

/* A sanitizer checks for leaks at exit(), for which it needs the PID namespace that it started in:
 * hence the process between. */
TEST(live_pids_start_over) {
    int status = 0;
    pid_t between = check_fork();

    if (between == 0) {
        if (unshare(CLONE_NEWPID | CLONE_NEWNS) != 0) {
            suite_skip("live_pids_start_over", "a PID namespace requires root");
            _exit(EXIT_SUCCESS);
        }
        pid_t first = fork();
        if (first == 0) {
            expect_new_pids_at_both_ends();
            _exit(EXIT_SUCCESS);
        }
        waitpid(first, &status, 0);
        _exit(WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILURE);
    }
    check_waitpid_and_exit(between);
}

/* In the /proc of another PID namespace this program's pids are not known. */
TEST(live_own_pids_are_detected) {
    init(0);
    ck_assert_msg(!p.own_pids, "a made-up /proc is this program's own");
    ksm_process_list_init(&p, "/", 0, INT64_MAX);
    ck_assert_msg(p.own_pids, "/proc is not this program's own");
}

static void *wait_for_end(void *unused) {
    pause();
    return unused;
}

TEST(live_first_thread_that_exited) {
    const int before = suite_open_files();
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
        suite_skip("live_first_thread_that_exited", why_not);
        suite_kill_child(pid);
        return;
    }
    for (char byte = 1; byte;) { /* empty once the first thread has exited */
        usleep(1000);
        FILE *file = fopen(path, "r");
        byte = file && fread(&byte, 1, 1, file) == 1;
        if (file)
            fclose(file);
    }
    update_in_thread();
    const struct ksm_process *found = find(pid);
    ck_assert_msg(found && found->task != pid && found->resident > 0 && *found->name.text,
                  "got it %s", found ? "without its metrics" : "not on the list");
    update_in_thread();
    ck_assert_msg(find(pid), "read again: got it not on the list");
    suite_kill_child(pid);
    update_in_thread();
    ck_assert_msg(!find(pid), "it has exited");
    ksm_process_list_clear(&p);
    ck_assert_int_eq(suite_open_files(), before);
}
