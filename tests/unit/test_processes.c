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
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "processes.h"
#include "support/crowd.h"
#include "support/faults.h"
#include "support/suite.h"
#include "support/tree.h"

static const char *dir; /* of the running test */
static struct ksm_processes p;

static void set_up(void) {
    dir = suite_dir();
    crowd_begin(dir);
    faults_clear();
}

static void tear_down(void) {
    ksm_processes_clear(&p);
    ck_assert_msg(p.count == 0 && p.kept == 0, "cleared: got %zu processes, %d descriptors",
                  p.count, p.kept);
}

static void init(int may_keep) {
    ksm_processes_init(&p, dir, may_keep);
}

/* A sample. Of few processes all are met at each. */
static void look(void) {
    int status = ksm_processes_look(&p);

    ck_assert_msg(status == 0, "look: got %s, want 0", suite_status(status));
}

/* Until every process was named anew. */
static void look_in_turn(void) {
    for (int i = 0; i < KSM_ROUND_SAMPLES; i++)
        look();
}

static void expect_list(const char *when, const int *pids, int count) {
    ck_assert_msg((int)p.count == count, "%s: got %zu processes, want %d", when, p.count, count);
    for (int i = 0; i < count; i++)
        ck_assert_msg(p.list[i].pid == pids[i], "%s: process %d: got pid %d, want %d", when, i,
                      p.list[i].pid, pids[i]);
}

#define EXPECT_LIST(when, ...)                                                                     \
    expect_list(when, (const int[]){__VA_ARGS__}, ROWS(((const int[]){__VA_ARGS__})))

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

static struct crowd_process somebody(int pid) {
    return (struct crowd_process){
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
    struct crowd_process process = somebody(pid);

    crowd_write(dir, &process);
}

/* ---- kernels ---- */

#define STATM TEXT("5000 700 30 1 0 2000 0\n")
#define NONE NULL, 0

/* One process with these files, and what is known of it. */
static const struct {
    const char *kernel;
    const char *stat;
    size_t stat_len;
    const char *merging_pages;
    size_t merging_pages_len;
    enum ksm_process_source source;
    bool listed;
    int64_t merging, zero, rmap_items;
} kernel_rows[] = {
    {"5.15", NONE, NONE, KSM_PROCESS_NOTHING, false, 0, 0, 0},
    {"5.19, merging", NONE, TEXT("12\n"), KSM_PROCESS_MERGING_PAGES, true, 12, 0, 0},
    {"5.19, not merging", NONE, TEXT("0\n"), KSM_PROCESS_MERGING_PAGES, false, 0, 0, 0},
    {"6.1, merging", TEXT("ksm_rmap_items 40\n"), TEXT("12\n"), KSM_PROCESS_STAT, true, 12, 0, 40},
    {"6.1, watched only", TEXT("ksm_rmap_items 40\n"), TEXT("0\n"), KSM_PROCESS_STAT, true, 0, 0,
     40},
    {"6.1, no part", TEXT("ksm_rmap_items 0\n"), TEXT("0\n"), KSM_PROCESS_STAT, false, 0, 0, 0},
    {"6.4", TEXT("ksm_rmap_items 40\nksm_merging_pages 12\nksm_process_profit 46592\n"),
     TEXT("12\n"), KSM_PROCESS_STAT, true, 12, 0, 40},
    {"6.6",
     TEXT("ksm_rmap_items 40\nksm_zero_pages 7\nksm_merging_pages 12\n"
          "ksm_process_profit 75264\n"),
     TEXT("12\n"), KSM_PROCESS_STAT, true, 12, 7, 40},
    {"6.6, zero pages below 0",
     TEXT("ksm_rmap_items 40\nksm_zero_pages -1\nksm_merging_pages 12\nksm_process_profit -9\n"),
     TEXT("12\n"), KSM_PROCESS_STAT, false, 0, 0, 0},
    {"6.6, zero pages only",
     TEXT("ksm_rmap_items 0\nksm_zero_pages 7\nksm_merging_pages 0\nksm_process_profit 0\n"),
     TEXT("0\n"), KSM_PROCESS_STAT, true, 0, 7, 0},
    {"6.18",
     TEXT("ksm_rmap_items 40\nksm_zero_pages 7\nksm_merging_pages 12\nksm_process_profit 75264\n"
          "ksm_merge_any: no\nksm_mergeable: yes\n"),
     TEXT("12\n"), KSM_PROCESS_STAT, true, 12, 7, 40},
    {"6.18, no part",
     TEXT("ksm_rmap_items 0\nksm_zero_pages 0\nksm_merging_pages 0\nksm_process_profit 0\n"
          "ksm_merge_any: no\nksm_mergeable: no\n"),
     TEXT("0\n"), KSM_PROCESS_STAT, false, 0, 0, 0},
    {"6.18, opted in, no pages yet",
     TEXT("ksm_rmap_items 0\nksm_zero_pages 0\nksm_merging_pages 0\nksm_process_profit 0\n"
          "ksm_merge_any: yes\nksm_mergeable: yes\n"),
     TEXT("0\n"), KSM_PROCESS_STAT, true, 0, 0, 0},
    {"the largest number",
     TEXT("ksm_rmap_items 9223372036854775807\nksm_zero_pages 9223372036854775807\n"
          "ksm_merging_pages 9223372036854775807\n"),
     TEXT("0\n"), KSM_PROCESS_STAT, true, INT64_MAX, INT64_MAX, INT64_MAX},
};

static void write_or_remove(const char *pid, const char *name, const char *text, size_t len) {
    char path[64];

    snprintf(path, sizeof(path), "proc/%s/%s", pid, name);
    tree_write(dir, path, text ? text : "", len);
    if (!text)
        tree_unlink(dir, path);
}

START_TEST(kernels) {
    static const char no_part[] = "ksm_rmap_items 0\n";

    write_or_remove("self", "ksm_stat", kernel_rows[_i].stat ? no_part : NULL,
                    kernel_rows[_i].stat ? sizeof(no_part) - 1 : 0);
    write_or_remove("self", "ksm_merging_pages", kernel_rows[_i].merging_pages ? "0\n" : NULL,
                    kernel_rows[_i].merging_pages ? 2 : 0);
    write_or_remove("1", "ksm_stat", NULL, 0);
    write_or_remove("1", "ksm_merging_pages", NULL, 0);
    write_or_remove("42", "ksm_stat", kernel_rows[_i].stat, kernel_rows[_i].stat_len);
    write_or_remove("42", "ksm_merging_pages", kernel_rows[_i].merging_pages,
                    kernel_rows[_i].merging_pages_len);
    write_or_remove("42", "statm", STATM);
    init(0);
    ck_assert_msg(p.source == kernel_rows[_i].source, "%s: got source %u, want %u",
                  kernel_rows[_i].kernel, (unsigned)p.source, (unsigned)kernel_rows[_i].source);
    for (int round = 0; round < 3; round++) {
        look();
        if (!kernel_rows[_i].listed) {
            expect_list(kernel_rows[_i].kernel, NULL, 0);
            continue;
        }
        EXPECT_LIST(kernel_rows[_i].kernel, 42);
        expect_counts(kernel_rows[_i].kernel, &p.list[0], kernel_rows[_i].merging,
                      kernel_rows[_i].zero, kernel_rows[_i].rmap_items, 700);
        ck_assert_int_eq((int)p.list[0].mapped, 30);
        ck_assert_msg(ksm_process_takes_part(&p.list[0]) ==
                          (kernel_rows[_i].rmap_items > 0 || kernel_rows[_i].zero > 0 ||
                           kernel_rows[_i].merging > 0),
                      "%s: wrong about whether it takes part", kernel_rows[_i].kernel);
    }
}
END_TEST

#define COUNTS "ksm_rmap_items %s\nksm_zero_pages 0\nksm_merging_pages 0\nksm_process_profit 0\n"

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
    char text[256];
    int len = snprintf(text, sizeof(text), COUNTS "%s", takes_part ? "7" : "0",
                       says == 'y'   ? "ksm_merge_any: no\nksm_mergeable: yes\n"
                       : says == 'n' ? "ksm_merge_any: no\nksm_mergeable: no\n"
                       : says == 'x' ? "ksm_mergeable yes\n"
                       : says == '.' ? "ksm_mergeable: yes!\n"
                                     : "");

    crowd_file(dir, pid, "ksm_stat", text, (size_t)len);
}

START_TEST(who_has_opted_in) {
    const char *says = opted_in_rows[_i].says;

    crowd_remove(dir, 1);
    for (int i = 0; i < 3; i++) {
        add_somebody(42 + i);
        write_opted_in(42 + i, says[i], i == 0);
    }
    init(0);
    ck_assert_int_eq(p.opted_in, -1);
    for (int round = 0; round < 3; round++) {
        look();
        ck_assert_msg(p.opted_in == opted_in_rows[_i].opted_in,
                      "%s, round %d: got %" PRId64 " opted in, want %" PRId64, says, round,
                      p.opted_in, opted_in_rows[_i].opted_in);
        int listed = 1 + (says[1] == 'y') + (says[2] == 'y');
        ck_assert_msg((int)p.count == listed, "%s, round %d: got %zu on the list, want %d", says,
                      round, p.count, listed);
    }
    ksm_processes_clear(&p);
    ck_assert_int_eq(p.opted_in, -1);
}
END_TEST

/* In a tree that is not the reader's own /proc there may be no self, or it leads nowhere. */
START_TEST(source_by_process_1) {
    tree_unlink(dir, "proc/self/ksm_stat");
    tree_unlink(dir, "proc/self");
    init(0);
    ck_assert_int_eq(p.source, KSM_PROCESS_STAT);
    crowd_remove_file(dir, 1, "ksm_stat");
    init(0);
    ck_assert_int_eq(p.source, KSM_PROCESS_MERGING_PAGES);
    crowd_remove_file(dir, 1, "ksm_merging_pages");
    init(0);
    ck_assert_int_eq(p.source, KSM_PROCESS_NOTHING);
}
END_TEST

START_TEST(init_opens_nothing) {
    int files = suite_open_files();

    add_somebody(42);
    faults_clear();
    init(KSM_PROCESSES_KEPT);
    ck_assert_int_eq(faults_count(FAULTS_OPEN) + faults_count(FAULTS_OPENDIR), 0);
    ck_assert_int_eq(suite_open_files(), files);
    ck_assert_ptr_null(p.list);
}
END_TEST

/* ---- what is in the files ---- */

/* A good process but for one file: it is not on the list, or what the file says is not known. */
static const struct {
    const char *file;
    const char *text;
    size_t len;
    bool listed;
    int64_t resident;
} bad_rows[] = {
    {"ksm_stat", TEXT(""), false, 0},
    {"ksm_stat", TEXT("\n"), false, 0},
    {"ksm_stat", TEXT("\0"), false, 0},
    {"ksm_stat", TEXT("ksm_rmap_items"), false, 0},
    {"ksm_stat", TEXT("ksm_rmap_items 4"), false, 0},
    {"ksm_stat", TEXT("ksm_rmap_items \n"), false, 0},
    {"ksm_stat", TEXT("ksm_rmap_items: 4\n"), false, 0},
    {"ksm_stat", TEXT("ksm_rmap_items  4\n"), false, 0},
    {"ksm_stat", TEXT("ksm_rmap_items 4 \n"), false, 0},
    {"ksm_stat", TEXT("ksm_rmap_items +4\n"), false, 0},
    {"ksm_stat", TEXT("ksm_rmap_items 04\n"), false, 0},
    {"ksm_stat", TEXT("ksm_rmap_items 0x4\n"), false, 0},
    {"ksm_stat", TEXT("ksm_rmap_items 4.0\n"), false, 0},
    {"ksm_stat", TEXT("ksm_rmap_items 4k\n"), false, 0},
    {"ksm_stat", TEXT("ksm_rmap_items four\n"), false, 0},
    {"ksm_stat", TEXT("ksm_rmap_items 9223372036854775808\n"), false, 0},
    {"ksm_stat", TEXT("ksm_rmap_items 99999999999999999999999\n"), false, 0},
    {"ksm_stat", TEXT("xksm_rmap_items 4\nksm_merging_pages 4\n"), false, 0},
    {"ksm_stat", TEXT("ksm_merging_pages 4\n"), false, 0},
    {"ksm_stat", TEXT("ksm_rmap_items 4\nksm_merging_pages x\n"), false, 0},
    {"ksm_stat", TEXT("ksm_rmap_items 4\nksm_merging_pages 9223372036854775808\n"), false, 0},
    {"ksm_stat", TEXT("ksm_rmap_items 4\nksm_merging_pages 4"), false, 0},
    {"ksm_stat", TEXT("ksm_rmap_items 4\nksm_merging_pages 4\nksm_zero_pages x\n"), false, 0},
    {"ksm_stat", TEXT("ksm_rmap_items 4\nksm_merging_pages 4\nksm_zero_pages 1"), false, 0},
    {"ksm_stat", TEXT("4\n"), false, 0},
    {"ksm_stat", TEXT("\xff\xfe\xfd"), false, 0},

    {"statm", TEXT(""), true, -1},
    {"statm", TEXT("\n"), true, -1},
    {"statm", TEXT("5000\n"), true, -1},
    {"statm", TEXT("5000 \n"), true, -1},
    {"statm", TEXT("5000 700"), true, -1},
    {"statm", TEXT("5000 700\n"), true, -1},
    {"statm", TEXT("5000  700 30\n"), true, -1},
    {"statm", TEXT("5000 -700 30\n"), true, -1},
    {"statm", TEXT("5000 7e2 30\n"), true, -1},
    {"statm", TEXT("5000 seven 30\n"), true, -1},
    {"statm", TEXT("5000 9223372036854775808 30\n"), true, -1},
    {"statm", TEXT("\0\0\0\0"), true, -1},
    {"statm", TEXT("5000 0 0 1 0 2000 0\n"), true, 0},
    {"statm", TEXT("5000 9223372036854775807 30 1 0 2000 0\n"), true, INT64_MAX},
    {"statm", TEXT("x 700 30 1 0 2000 0\n"), true, -1},
    {"statm", TEXT("5000 700 x 1 0 2000 0\n"), true, -1},

    {"stat", TEXT(""), true, 4200},
    {"stat", TEXT("garbage"), true, 4200},
    {"stat", TEXT("42 (web) S\n"), true, 4200},
    {"cgroup", TEXT("\0\0\0"), true, 4200},
    {"cmdline", TEXT("\xff\xff"), true, 4200},
    {"comm", TEXT(""), true, 4200},
};

START_TEST(bad_texts) {
    const char *text = suite_quote(bad_rows[_i].text, bad_rows[_i].len);

    add_somebody(42);
    crowd_file(dir, 42, bad_rows[_i].file, bad_rows[_i].text, bad_rows[_i].len);
    init(0);
    for (int round = 0; round < 2; round++) {
        look();
        ck_assert_msg((int)p.count == bad_rows[_i].listed, "%s %s: got %zu processes, want %d",
                      bad_rows[_i].file, text, p.count, bad_rows[_i].listed);
        if (bad_rows[_i].listed)
            expect_counts(text, &p.list[0], 420, 42, 840, bad_rows[_i].resident);
    }
}
END_TEST

/* The same, from one reading to the next: the old counts mean nothing any more. */
START_TEST(texts_that_go_bad) {
    bool is_counts = strcmp(bad_rows[_i].file, "ksm_stat") == 0;
    const char *text = suite_quote(bad_rows[_i].text, bad_rows[_i].len);

    add_somebody(42);
    init(0);
    look();
    EXPECT_LIST("good", 42);
    crowd_file(dir, 42, bad_rows[_i].file, bad_rows[_i].text, bad_rows[_i].len);
    look();
    if (is_counts && bad_rows[_i].len > 0) {
        ck_assert_msg(p.count == 0 || p.list[0].status != 0,
                      "%s: got status 0 and %" PRId64 " merging", text, p.list[0].merging);
    } else if (is_counts || strcmp(bad_rows[_i].file, "stat") == 0) {
        expect_list(text, NULL, 0); /* a zombie; or another process, as far as can be told */
    } else {
        EXPECT_LIST(text, 42);
        expect_counts(text, &p.list[0], 420, 42, 840, bad_rows[_i].resident);
    }
    add_somebody(42);
    look();
    EXPECT_LIST("good again", 42);
    expect_counts("good again", &p.list[0], 420, 42, 840, 4200);
}
END_TEST

/* Any file may be missing: it went with the process, or this kernel has none. */
START_TEST(missing_files) {
    static const struct {
        const char *file;
        bool listed;
        int64_t resident;
        enum ksm_consumer_kind kind;
        const char *name;
    } rows[] = {
        {"ksm_stat", false, 0, KSM_CONSUMER_program, ""},
        {"ksm_merging_pages", true, 4200, KSM_CONSUMER_service, "web"},
        {"statm", true, -1, KSM_CONSUMER_service, "web"},
        {"stat", true, 4200, KSM_CONSUMER_service, "web"},
        {"cgroup", true, 4200, KSM_CONSUMER_program, "web"},
        {"cmdline", true, 4200, KSM_CONSUMER_service, "web"},
        {"comm", true, 4200, KSM_CONSUMER_service, "web"},
    };

    for (int i = 0; i < ROWS(rows); i++) {
        add_somebody(42);
        crowd_remove_file(dir, 42, rows[i].file);
        init(0);
        look();
        ck_assert_msg((int)p.count == rows[i].listed, "no %s: got %zu processes, want %d",
                      rows[i].file, p.count, rows[i].listed);
        if (rows[i].listed) {
            expect_counts(rows[i].file, &p.list[0], 420, 42, 840, rows[i].resident);
            expect_name(rows[i].file, &p.list[0], rows[i].kind, rows[i].name);
        }
        ksm_processes_clear(&p);
    }
}
END_TEST

/* Zombies and kernel threads read empty, and have no other thread. */
static void empty(int pid) {
    static const char *const files[] = {"ksm_stat", "ksm_merging_pages", "cgroup", "cmdline",
                                        "statm"};

    for (int i = 0; i < ROWS(files); i++)
        crowd_file(dir, pid, files[i], "", 0);
}

START_TEST(nothing_left) {
    add_somebody(42);
    init(0);
    look();
    EXPECT_LIST("alive", 42);
    empty(42);
    look();
    expect_list("a zombie", NULL, 0);
    crowd_file(dir, 42, "task/42/ksm_stat", "", 0);
    look();
    expect_list("met as a zombie", NULL, 0);
    ck_assert_int_eq(p.denied, 0);
}
END_TEST

/* A thread of a process: its files, made as a process's and moved. */
static void add_thread(int pid, int task) {
    char from[PATH_MAX], to[PATH_MAX];

    add_somebody(task);
    crowd_file(dir, pid, "task/x", "", 0);
    crowd_remove_file(dir, pid, "task/x");
    snprintf(from, sizeof(from), "%.4000s/proc/%d", dir, task);
    snprintf(to, sizeof(to), "%.4000s/proc/%d/task/%d", dir, pid, task);
    ck_assert_int_eq(rename(from, to), 0);
}

/* The first thread of a process has ended: another one's files tell all of it. */
START_TEST(first_thread_ended) {
    add_somebody(42);
    empty(42);
    crowd_file(dir, 42, "task/42/ksm_stat", "", 0);
    crowd_file(dir, 42, "task/43/ksm_stat", "", 0); /* this one too */
    add_thread(42, 44);
    init(0);
    for (int i = 0; i < 3; i++) {
        look();
        EXPECT_LIST("by another thread", 42);
        expect_counts("by another thread", &p.list[0], 440, 44, 880, 4400);
        expect_name("by another thread", &p.list[0], KSM_CONSUMER_service, "web");
        ck_assert_int_eq(p.list[0].task, 44);
    }
    crowd_remove_file(dir, 42, "task/44/ksm_stat");
    look();
    expect_list("that has ended as well", NULL, 0);
}
END_TEST

/* Errors of reading: which mean that the process has ended, and which that it was not read. */
START_TEST(errors_of_reading) {
    static const struct {
        int err;
        bool gone;
    } rows[] = {{ESRCH, true}, {ENOENT, true}, {EIO, false}, {ENOMEM, false}, {EACCES, false}};

    for (int i = 0; i < ROWS(rows); i++) {
        add_somebody(42);
        add_somebody(43);
        init(0);
        look();
        faults_fail(FAULTS_PREAD, "/42/ksm_stat", 0, rows[i].err);
        look();
        if (rows[i].gone) {
            EXPECT_LIST(suite_status(-rows[i].err), 43);
        } else {
            EXPECT_LIST(suite_status(-rows[i].err), 42, 43);
            ck_assert_int_eq(p.list[0].status, -rows[i].err);
        }
        faults_clear();
        look();
        EXPECT_LIST("well again", 42, 43);
        expect_counts("well again", &p.list[0], 420, 42, 840, 4200);
        ksm_processes_clear(&p);
    }
}
END_TEST

/* ---- coming and going ---- */

START_TEST(comes_and_goes) {
    init(0);
    look();
    expect_list("nobody", NULL, 0);
    add_somebody(300);
    add_somebody(20);
    look();
    EXPECT_LIST("two", 20, 300);
    add_somebody(100);
    add_somebody(5);
    add_somebody(4000);
    look();
    EXPECT_LIST("five", 5, 20, 100, 300, 4000);
    crowd_remove(dir, 100);
    look();
    EXPECT_LIST("one has ended", 5, 20, 300, 4000);
    crowd_remove(dir, 5);
    crowd_remove(dir, 4000);
    look();
    EXPECT_LIST("the first and the last have", 20, 300);
    crowd_remove(dir, 20);
    crowd_remove(dir, 300);
    look();
    expect_list("all have", NULL, 0);
}
END_TEST

START_TEST(new_counts) {
    struct crowd_process process = somebody(42);

    crowd_write(dir, &process);
    init(0);
    look();
    expect_counts("first", &p.list[0], 420, 42, 840, 4200);
    process.merging = 7;
    process.zero = 0;
    process.rmap_items = 9;
    process.resident = 11;
    crowd_write(dir, &process);
    look();
    expect_counts("read again", &p.list[0], 7, 0, 9, 11);
    process.merging = process.rmap_items = 0;
    crowd_write(dir, &process);
    look();
    expect_list("takes part no more", NULL, 0);
}
END_TEST

/* Leaves the round at the end of /proc: the next sample meets nobody in it. */
static void put_round_elsewhere(void) {
    while (readdir(p.round.dir))
        continue;
    p.round.on = true;
}

/* Who has opted in is read at every sample: first pages are seen at once. */
START_TEST(first_pages) {
    struct crowd_process process = somebody(42);

    add_somebody(42);
    write_opted_in(42, 'y', false);
    init(0);
    look();
    EXPECT_LIST("opted in", 42);
    ck_assert_msg(!ksm_process_takes_part(&p.list[0]), "takes part without any page");
    crowd_write(dir, &process);
    put_round_elsewhere();
    look();
    ck_assert_msg(ksm_process_takes_part(&p.list[0]), "takes no part with pages");
    expect_counts("first pages", &p.list[0], 420, 42, 840, 4200);
}
END_TEST

/* Its files are another process's: this is seen by when that was started. */
START_TEST(pid_used_again) {
    struct crowd_process process = somebody(42);

    crowd_write(dir, &process);
    init(0);
    look();
    process.started++;
    process.merging = 99;
    process.cgroup = "0::/system.slice/other.service\n";
    crowd_write(dir, &process);
    look();
    expect_list("another process", NULL, 0);
    look();
    EXPECT_LIST("found by the next round", 42);
    expect_counts("found by the next round", &p.list[0], 99, 42, 840, 4200);
    expect_name("found by the next round", &p.list[0], KSM_CONSUMER_service, "other");
}
END_TEST

/* comm with parentheses, blanks and newlines does not hide when a process was started. */
START_TEST(comm_does_not_hide_the_start) {
    struct crowd_process process = somebody(42);

    process.comm = ") S 1 1 1 (\n";
    crowd_write(dir, &process);
    init(0);
    look();
    EXPECT_LIST("found", 42);
    ck_assert_msg(p.list[0].started == 1042, "got started at %" PRId64 ", want 1042",
                  p.list[0].started);
    look();
    EXPECT_LIST("the same", 42);
}
END_TEST

/* It runs another program, or was moved to another cgroup: it has its new name when it is its turn.
 */
START_TEST(renamed) {
    struct crowd_process process = somebody(42);

    crowd_write(dir, &process);
    init(0);
    look();
    expect_name("first", &p.list[0], KSM_CONSUMER_service, "web");
    process.cgroup = "0::/user.slice/user-1000.slice/session-3.scope\n";
    crowd_write(dir, &process);
    look_in_turn();
    expect_name("moved", &p.list[0], KSM_CONSUMER_program, "web");
    process.comm = "other";
    crowd_write(dir, &process);
    look_in_turn();
    expect_name("another program", &p.list[0], KSM_CONSUMER_program, "other");
    process.cmdline = "kvm\0-name\0vm1";
    process.cmdline_len = sizeof("kvm\0-name\0vm1");
    crowd_write(dir, &process);
    look_in_turn();
    expect_name("a machine", &p.list[0], KSM_CONSUMER_vm, "user-1000:vm1");
    EXPECT_LIST("the same process", 42);
}
END_TEST

/* Texts longer than any buffer: their start counts. */
START_TEST(long_texts) {
    enum { LONG = 100000 };
    static char text[LONG];
    static const char start[] = "kvm\0-name\0vm1";

    memset(text, 'x', sizeof(text));
    memcpy(text, start, sizeof(start));
    add_somebody(42);
    crowd_file(dir, 42, "cmdline", text, sizeof(text));
    init(0);
    look();
    expect_name("a long command line", &p.list[0], KSM_CONSUMER_vm, "vm1");

    add_somebody(43);
    memset(text, '/', sizeof(text));
    memcpy(text, "0::/lxc.payload.c1", strlen("0::/lxc.payload.c1"));
    crowd_file(dir, 43, "cgroup", text, sizeof(text));
    look();
    expect_name("a long cgroup", &p.list[1], KSM_CONSUMER_container, "c1");
}
END_TEST

/* What else is in /proc: no processes, even if they look like some. */
START_TEST(other_entries) {
    static const char *const names[] = {
        "042", "-5",  "0",         "4294967338", "2147483648",  "42x",    "x42",
        " 43", "43 ", "+44",       "self",       "thread-self", "uptime", "99999999999999999999",
        "4.5", "4\n", "2147483647"};

    for (int i = 0; i < ROWS(names); i++) {
        char path[64];
        snprintf(path, sizeof(path), "proc/%s/ksm_stat", names[i]);
        tree_write(dir, path, TEXT("ksm_rmap_items 40\nksm_merging_pages 12\n"));
    }
    tree_write(dir, "proc/77", TEXT("a file\n"));
    init(0);
    look();
    EXPECT_LIST("only what is a pid", INT_MAX);
}
END_TEST

/* ---- rights ---- */

static void make_unreadable(int pid, mode_t mode) {
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%.4000s/proc/%d/ksm_stat", dir, pid);
    ck_assert_int_eq(chmod(path, mode), 0);
}

START_TEST(others_are_denied) {
    add_somebody(42);
    add_somebody(43);
    add_somebody(44);
    make_unreadable(42, 0);
    make_unreadable(44, 0);
    suite_become_nobody();
    init(0);
    look();
    EXPECT_LIST("what can be read is shown", 43);
    ck_assert_msg(p.denied == 2, "got %" PRId64 " denied, want 2", p.denied);
    look();
    ck_assert_msg(p.denied == 2, "next round: got %" PRId64 " denied, want 2", p.denied);
    look();
    EXPECT_LIST("what can be read is shown", 43);
}
END_TEST

/* Why: by the error, and by what this program may do. */
START_TEST(denials) {
    static const struct {
        int err;
        bool capable;
        enum ksm_process_denial want;
    } rows[] = {
        {EACCES, false, KSM_DENIED_MODE},    {EACCES, true, KSM_DENIED_MODULE},
        {EPERM, false, KSM_DENIED_HIDEPID1}, {EPERM, true, KSM_DENIED_HIDEPID1},
        {ENOENT, false, KSM_DENIED_NOT},
    };

    add_somebody(42);
    for (int i = 0; i < ROWS(rows); i++) {
        init(0);
        p.capable = rows[i].capable;
        faults_fail(FAULTS_OPENAT, "42/ksm_stat", 0, rows[i].err);
        look();
        ck_assert_msg(p.denial == rows[i].want && p.denied == (rows[i].want != KSM_DENIED_NOT),
                      "%s, %s: got %u of %" PRId64, strerrorname_np(rows[i].err),
                      rows[i].capable ? "capable" : "not capable", (unsigned)p.denial, p.denied);
        faults_clear();
        look();
        ck_assert_msg(p.denial == KSM_DENIED_NOT && p.denied == 0, "readable again: got %u",
                      (unsigned)p.denial);
        ksm_processes_clear(&p);
    }
}
END_TEST

START_TEST(capable) {
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
END_TEST

/* It was readable and is no more: its old counts do not count, and it may come back. */
START_TEST(denied_later) {
    add_somebody(42);
    if (geteuid() == 0) {
        char path[PATH_MAX];
        snprintf(path, sizeof(path), "%.4000s/proc/42/ksm_stat", dir);
        ck_assert_int_eq(chown(path, 65534, 65534), 0);
    }
    suite_become_nobody();
    init(0);
    look();
    EXPECT_LIST("readable", 42);
    make_unreadable(42, 0);
    look();
    EXPECT_LIST("not readable", 42);
    ck_assert_int_eq(p.list[0].status, -EACCES);
    make_unreadable(42, 0444);
    look();
    EXPECT_LIST("readable again", 42);
    expect_counts("readable again", &p.list[0], 420, 42, 840, 4200);
}
END_TEST

/* hidepid: other users' processes are not even there, process 1 among them. */
START_TEST(hidden) {
    add_somebody(42);
    init(0);
    look();
    ck_assert_msg(!p.hidden, "all can be seen: got hidden");
    crowd_remove(dir, 1);
    look();
    ck_assert_msg(p.hidden, "no process 1: got not hidden");
    EXPECT_LIST("what can be seen", 42);
    crowd_write(dir, &(const struct crowd_process){.pid = 1});
    look();
    ck_assert_msg(!p.hidden, "process 1 is back: got hidden");
}
END_TEST

START_TEST(no_proc) {
    ksm_processes_init(&p, "/nonexistent", 0);
    ck_assert_int_eq(p.source, KSM_PROCESS_NOTHING);
    ck_assert_int_eq(ksm_processes_look(&p), -ENOENT);
    ck_assert_int_eq(ksm_processes_look(&p), -ENOENT);
    ksm_processes_clear(&p);

    init(0);
    add_somebody(42);
    faults_fail(FAULTS_OPENDIR, NULL, 1, EACCES);
    ck_assert_int_eq(ksm_processes_look(&p), -EACCES);
    look();
    EXPECT_LIST("once it can be opened", 42);
}
END_TEST

/* ---- the round ---- */

static const struct ksm_process *find(int pid) {
    for (size_t i = 0; i < p.count; i++)
        if (p.list[i].pid == pid)
            return &p.list[i];
    return NULL;
}

static void add_crowd(int first, int count) {
    for (int pid = first; pid < first + count; pid++) {
        crowd_file(dir, pid, "ksm_stat", TEXT("ksm_rmap_items 40\nksm_merging_pages 12\n"));
        crowd_file(dir, pid, "comm", TEXT("x\n"));
    }
}

/* All at the first sample, then all again in six, a sixth at each: who has come is found, who was
 * moved is named anew, and what is counted is counted when all were met. */
START_TEST(round_in_samples) {
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
        crowd_remove(dir, FIRST + round);
        add_crowd(newcomer, 1);
        crowd_file(dir, FIRST + CROWD / 2, "comm", name, 1);
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
END_TEST

/* Where all who have pages are known, a round takes its time. */
START_TEST(round_without_hurry) {
    enum { CROWD = 3000, OTHERS = 4, PART = 256 };

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
END_TEST

/* A round in which somebody could not be looked at for want of means begins anew. */
START_TEST(round_that_failed) {
    static const struct {
        enum faults_call call;
        const char *suffix;
        int err;
    } rows[] = {
        {FAULTS_OPENDIR, "proc", EMFILE},      {FAULTS_OPENAT, "42/ksm_stat", EMFILE},
        {FAULTS_OPENAT, "42/cgroup", ENFILE},  {FAULTS_PREAD, "/42/ksm_stat", ENOMEM},
        {FAULTS_PREAD, "/42/cmdline", ENOMEM}, {FAULTS_PREAD, "/42/stat", EAGAIN},
    };

    for (int i = 0; i < ROWS(rows); i++) {
        add_somebody(41);
        add_somebody(42);
        init(0);
        faults_fail(rows[i].call, rows[i].suffix, 1, rows[i].err);
        int status = ksm_processes_look(&p);
        ck_assert_msg(status == -rows[i].err && !p.swept && !p.round.on,
                      "%s %s: got %s, a round is %s", rows[i].suffix, strerrorname_np(rows[i].err),
                      suite_status(status),
                      p.swept      ? "over"
                      : p.round.on ? "on"
                                   : "not on");
        look();
        ck_assert_msg(p.swept, "the next: got not over");
        EXPECT_LIST(rows[i].suffix, 41, 42);
        ksm_processes_clear(&p);
        faults_clear();
    }
}
END_TEST

/* Once it is cancelled nothing is read any more. */
START_TEST(cancelled) {
    struct ksm_guard guard = {.cancelled = true};

    add_somebody(42);
    init(0);
    p.guard = &guard;
    ck_assert_int_eq(ksm_processes_look(&p), -EINTR);
    ck_assert_int_eq(faults_count(FAULTS_PREAD), 0);
    guard.cancelled = false;
    look();
    EXPECT_LIST("not cancelled", 42);
    guard.cancelled = true;
    ck_assert_int_eq(ksm_processes_look(&p), -EINTR);
    ck_assert_int_eq(guard.reading, 0);
}
END_TEST

/* Nobody is lost or doubled in a crowd that changes all the time. */
START_TEST(churn) {
    enum { ROUNDS = 300, PIDS = 60 };
    bool alive[PIDS] = {false};

    init(0);
    for (int round = 0; round < ROUNDS; round++) {
        for (int n = 0; n < 5; n++) {
            int i = (int)(suite_random() % PIDS);
            if (alive[i])
                crowd_remove(dir, 100 + i);
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
            must(at < p.count && p.list[at].pid == 100 + i,
                 "seed %" PRIu64 ", round %d: got pid %d at %zu, want %d", suite_seed(), round,
                 at < p.count ? p.list[at].pid : -1, at, 100 + i);
            at++;
        }
        must(at == p.count, "seed %" PRIu64 ", round %d: got %zu processes, want %zu", suite_seed(),
             round, p.count, at);
    }
}
END_TEST

/* ---- kept descriptors ---- */

/* A process of the tree whose count is a number of a real one: a file of procfs of which reading
 * again gives what is there by then. Its owner may set it from 0 to 1000. */
static void link_to_real(int pid, const char *real) {
    char path[2 * PATH_MAX];
    char target[64];

    add_somebody(pid);
    crowd_remove_file(dir, pid, "ksm_merging_pages");
    snprintf(path, sizeof(path), "%s/proc/%d/ksm_merging_pages", dir, pid);
    snprintf(target, sizeof(target), "/proc/%s/oom_score_adj", real);
    if (symlink(target, path) != 0)
        ck_abort_msg("symlink %s: %s", path, strerror(errno));
}

static void set_real(const char *real, const char *value) {
    char path[64];

    snprintf(path, sizeof(path), "/proc/%s/oom_score_adj", real);
    FILE *file = fopen(path, "w");
    if (!file || fputs(value, file) < 0 || fclose(file) != 0)
        ck_abort_msg("%s: %s", path, strerror(errno));
}

/* A kernel that tells only ksm_merging_pages, which real files can stand for. */
static void become_519(void) {
    tree_unlink(dir, "proc/self/ksm_stat");
    tree_write(dir, "proc/self/ksm_merging_pages", TEXT("0\n"));
    crowd_remove_file(dir, 1, "ksm_stat");
}

START_TEST(kept_descriptors) {
    static const struct {
        int may_keep;
        int kept;
    } rows[] = {{0, 0}, {1, 0}, {2, 1}, {5, 4}, {KSM_PROCESSES_KEPT, 5}, {INT_MAX, 5}};
    int before = suite_open_files();

    become_519();
    set_real("self", "7");
    for (int pid = 100; pid < 105; pid++)
        link_to_real(pid, "self");
    add_somebody(200); /* of no file that may be kept */
    for (int i = 0; i < ROWS(rows); i++) {
        init(rows[i].may_keep);
        set_real("self", "7");
        look();
        EXPECT_LIST("found", 100, 101, 102, 103, 104, 200);
        int open = suite_open_files() - before - 1; /* /proc */
        ck_assert_msg(p.kept == rows[i].kept && open == rows[i].kept,
                      "may keep %d: got %d kept, %d open, want %d", rows[i].may_keep, p.kept, open,
                      rows[i].kept);
        ck_assert_msg(p.may_keep <= KSM_PROCESSES_KEPT, "got may_keep %d", p.may_keep);
        expect_counts("first", &p.list[0], 7, 0, 0, 10000);
        expect_counts("first", &p.list[4], 7, 0, 0, 10400);
        expect_counts("first", &p.list[5], 2000, 0, 0, 20000);
        set_real("self", "9");
        for (int again = 0; again < 3; again++)
            look();
        expect_counts("read again", &p.list[0], 9, 0, 0, 10000);
        expect_counts("read again", &p.list[4], 9, 0, 0, 10400);
        set_real("self", "0");
        look();
        EXPECT_LIST("the others take part no more", 200);
        ck_assert_int_eq(p.kept, 0);
        ck_assert_int_eq(suite_open_files(), before + 1);
        ksm_processes_clear(&p);
        ck_assert_int_eq(suite_open_files(), before);
        ksm_processes_clear(&p);
        ck_assert_int_eq(suite_open_files(), before);
    }
}
END_TEST

/* Places that come free are used again. */
START_TEST(kept_places_are_used_again) {
    become_519();
    set_real("self", "7");
    link_to_real(100, "self");
    init(2);
    look();
    ck_assert_int_eq(p.kept, 1);
    set_real("self", "0");
    look();
    ck_assert_int_eq(p.kept, 0);
    set_real("self", "7");
    link_to_real(101, "self");
    look();
    ck_assert_int_eq(p.kept, 1);
    EXPECT_LIST("both", 100, 101);
}
END_TEST

/* A descriptor tells its own process: if that ends, it is gone, and who has its pid now is found
 * anew. */
START_TEST(kept_descriptor_of_a_process_that_ends) {
    char real[16];
    pid_t child = fork();

    if (child == 0) {
        pause();
        _exit(0);
    }
    snprintf(real, sizeof(real), "%d", child);
    become_519();
    link_to_real(100, real);
    set_real(real, "5");
    init(10);
    look();
    EXPECT_LIST("alive", 100);
    ck_assert_int_eq(p.kept, 1);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    look();
    expect_list("ended", NULL, 0);
    ck_assert_int_eq(p.kept, 0);
}
END_TEST

/* ---- the real /proc ---- */

static int64_t read_number(const char *path) {
    FILE *file = fopen(path, "r");
    int64_t number = -1;

    if (file && fscanf(file, "%" SCNd64, &number) != 1)
        number = -1;
    if (file)
        fclose(file);
    return number;
}

START_TEST(live_walk) {
    int before = suite_open_files();

    for (int may_keep = 0; may_keep < 4; may_keep++) {
        ksm_processes_init(&p, "/", may_keep);
        if (p.source == KSM_PROCESS_NOTHING) {
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
                ck_assert_ptr_null(crowd_bad_name(p.list[i].name.text));
        }
        ksm_processes_clear(&p);
        ck_assert_int_eq(suite_open_files(), before);
    }
}
END_TEST

static bool takes_part(int pid) {
    return find(pid) && ksm_process_takes_part(find(pid));
}

/* This process itself, with memory of equal pages: once ksmd has looked at it. */
START_TEST(live_self) {
    enum { PAGES = 256, PATIENCE_MS = 10000 };
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    int64_t end = clock_ms(CLOCK_MONOTONIC) + PATIENCE_MS;
    char *map =
        mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    ck_assert_ptr_ne(map, MAP_FAILED);
    if (read_number("/sys/kernel/mm/ksm/run") != 1) {
        suite_skip("live_self", "KSM is not running (/sys/kernel/mm/ksm/run is not 1)");
        return;
    }
    if (madvise(map, PAGES * page, MADV_MERGEABLE) != 0) {
        suite_skip("live_self", "no MADV_MERGEABLE");
        return;
    }
    memset(map, 0x5a, PAGES * page);
    ksm_processes_init(&p, "/", 3);
    while (!takes_part(getpid()) && clock_ms(CLOCK_MONOTONIC) < end) {
        usleep(50000);
        look();
    }
    if (!takes_part(getpid()))
        suite_skip("live_self", "ksmd did not look at this process within 10 s");
    munmap(map, PAGES * page);
}
END_TEST

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
    char path[64], text[512] = "";

    snprintf(path, sizeof(path), "/proc/%d/ksm_stat", pid);
    kill(pid, SIGUSR1);
    for (int ms = 0; !strstr(text, "ksm_mergeable: yes") && ms < 10000; ms++) {
        FILE *file = fopen(path, "r");
        ck_assert_ptr_nonnull(file);
        text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
        fclose(file);
        usleep(1000);
    }
}

static void end_process(pid_t pid) {
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static void *look_here(void *status) {
    *(int *)status = ksm_processes_look(&p);
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
    ksm_processes_init(&p, root, 10);
    look_in_thread();
    bool told = find(pid) && find(pid)->opted_in == 1;
    end_process(pid);
    return told ? NULL : "this kernel does not tell who has opted in (6.14 does)";
}

/* Who was started since the last sample is met at the next, wherever the round is; and once more at
 * the one after it. */
START_TEST(live_newcomers) {
    const char *why_not = begin_live("/");

    if (why_not) {
        suite_skip("live_newcomers", why_not);
        return;
    }
    for (int i = 0; i < 20; i++) {
        pid_t later = start_process(false);
        pid_t first = start_process(true);
        pid_t second = start_process(true);
        put_round_elsewhere();
        look_in_thread();
        ck_assert_msg(find(first) && find(second), "%d: got %s and %s", i,
                      find(first) ? "the first" : "not the first",
                      find(second) ? "the second" : "not the second");
        ck_assert_msg(!find(later), "%d: got one that has not opted in", i);
        opt_in_now(later);
        end_process(first);
        put_round_elsewhere();
        look_in_thread();
        ck_assert_msg(!find(first) && find(second), "%d: only the first has ended", i);
        ck_assert_msg(find(later), "%d: one that opted in later is not found", i);
        end_process(second);
        end_process(later);
    }
}
END_TEST

static void set_last_pid(const char *pid) {
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%.4000s/proc/sys/kernel/ns_last_pid", dir);
    FILE *file = fopen(path, "w");
    if (!file || fputs(pid, file) < 0 || fclose(file) != 0)
        ck_abort_msg("%s: %s", path, strerror(errno));
}

/* The first process of a PID namespace with a /proc of its own. */
static void meet_newcomers_of_both_ends(void) {
    char proc[PATH_MAX];

    snprintf(proc, sizeof(proc), "%.4000s/proc", dir);
    ck_assert_int_eq(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    ck_assert_int_eq(mount("proc", proc, "proc", 0, NULL), 0);
    const char *why_not = begin_live(dir);
    if (why_not) {
        suite_skip("live_pids_begin_anew", why_not);
        return;
    }
    set_last_pid("30000");
    look_in_thread();
    look_in_thread(); /* so that the last two were there */
    pid_t high = start_process(true);
    set_last_pid("999");
    pid_t low = start_process(true);
    put_round_elsewhere();
    look_in_thread();
    ck_assert_msg(high > 30000 && low < 2000 && find(high) && find(low), "got %s %d, %s %d",
                  find(high) ? "found" : "not found", high, find(low) ? "found" : "not found", low);
}

/* Pids begin anew after the largest one. A sanitizer checks for leaks at exit(), for which it needs
 * the PID namespace that it began in. */
START_TEST(live_pids_begin_anew) {
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
END_TEST

/* Another PID namespace's /proc: what this program's pids are there cannot be told. */
START_TEST(live_other_namespace) {
    ksm_processes_init(&p, dir, 0);
    ck_assert_msg(!p.own, "a made-up /proc is this program's own");
    ksm_processes_init(&p, "/", 0);
    ck_assert_msg(p.own, "/proc is not this program's own");
}
END_TEST

static void *wait_for_end(void *unused) {
    pause();
    return unused;
}

/* Its first thread ends, the other does not. */
START_TEST(live_first_thread_ended) {
    const char *why_not = begin_live("/");
    char path[64];
    pid_t pid = fork();

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
        end_process(pid);
        return;
    }
    snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
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
                  "got it %s", found ? "without its figures" : "not on the list");
    look_in_thread();
    ck_assert_msg(find(pid), "read again: got it not on the list");
    end_process(pid);
    look_in_thread();
    ck_assert_msg(!find(pid), "it has ended");
}
END_TEST

int main(void) {
    Suite *suite = suite_create("processes");
    TCase *kernel = suite_case(suite, "kernels");
    TCase *texts = suite_case(suite, "texts");
    TCase *crowds = suite_case(suite, "coming and going");
    TCase *rights = suite_case(suite, "rights");
    TCase *rounds = suite_case(suite, "round");
    TCase *keeping = suite_case(suite, "keeping");
    TCase *live = suite_case(suite, "live");

    printf("test_processes: KSM_TEST_SEED=%" PRIu64 "\n", suite_seed());
    fflush(stdout);
    tcase_add_checked_fixture(kernel, set_up, tear_down);
    tcase_add_loop_test(kernel, kernels, 0, ROWS(kernel_rows));
    tcase_add_loop_test(kernel, who_has_opted_in, 0, ROWS(opted_in_rows));
    tcase_add_test(kernel, source_by_process_1);
    tcase_add_test(kernel, init_opens_nothing);

    tcase_add_checked_fixture(texts, set_up, tear_down);
    tcase_add_loop_test(texts, bad_texts, 0, ROWS(bad_rows));
    tcase_add_loop_test(texts, texts_that_go_bad, 0, ROWS(bad_rows));
    tcase_add_test(texts, missing_files);
    tcase_add_test(texts, nothing_left);
    tcase_add_test(texts, first_thread_ended);
    tcase_add_test(texts, errors_of_reading);
    tcase_add_test(texts, long_texts);

    tcase_add_checked_fixture(crowds, set_up, tear_down);
    tcase_add_test(crowds, comes_and_goes);
    tcase_add_test(crowds, new_counts);
    tcase_add_test(crowds, first_pages);
    tcase_add_test(crowds, pid_used_again);
    tcase_add_test(crowds, comm_does_not_hide_the_start);
    tcase_add_test(crowds, renamed);
    tcase_add_test(crowds, other_entries);
    tcase_add_test(crowds, churn);

    tcase_add_checked_fixture(rights, set_up, tear_down);
    tcase_add_test(rights, others_are_denied);
    tcase_add_test(rights, denials);
    tcase_add_test(rights, capable);
    tcase_add_test(rights, denied_later);
    tcase_add_test(rights, hidden);
    tcase_add_test(rights, no_proc);

    tcase_add_checked_fixture(rounds, set_up, tear_down);
    tcase_add_test(rounds, round_in_samples);
    tcase_add_test(rounds, round_without_hurry);
    tcase_add_test(rounds, round_that_failed);
    tcase_add_test(rounds, cancelled);

    tcase_add_checked_fixture(keeping, set_up, tear_down);
    tcase_add_test(keeping, kept_descriptors);
    tcase_add_test(keeping, kept_places_are_used_again);
    tcase_add_test(keeping, kept_descriptor_of_a_process_that_ends);

    tcase_add_checked_fixture(live, set_up, tear_down);
    tcase_add_test(live, live_walk);
    tcase_add_test(live, live_self);
    tcase_add_test(live, live_newcomers);
    tcase_add_test(live, live_pids_begin_anew);
    tcase_add_test(live, live_other_namespace);
    tcase_add_test(live, live_first_thread_ended);
    return suite_run(suite);
}
