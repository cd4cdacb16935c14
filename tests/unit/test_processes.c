/* SPDX-License-Identifier: MIT
 *
 * Which processes take part, and how they are walked and read again. On made-up trees, most of
 * them; where descriptors are kept, through links to files of the real /proc that hold a number
 * which the test can set.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "processes.h"
#include "support/crowd.h"
#include "support/faults.h"
#include "support/suite.h"
#include "support/tree.h"

static const int64_t forever = INT64_MAX;
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

/* A whole round at once. */
static void sweep(void) {
    static int64_t now = 1000;

    now += 1000;
    int status = ksm_processes_walk(&p, now, now + 1000, 1000, forever);
    ck_assert_msg(status == 0 && !p.walking, "walk: got %s, %s", suite_status(status),
                  p.walking ? "not done" : "done");
}

static void refresh(void) {
    int status = ksm_processes_refresh(&p, forever);

    ck_assert_msg(status == 0, "refresh: got %d, want 0", status);
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
     TEXT("12\n"), KSM_PROCESS_STAT, true, 12, 0, 40},
    {"6.6, zero pages only",
     TEXT("ksm_rmap_items 0\nksm_zero_pages 7\nksm_merging_pages 0\nksm_process_profit 0\n"),
     TEXT("0\n"), KSM_PROCESS_STAT, true, 0, 7, 0},
    {"6.18",
     TEXT("ksm_rmap_items 40\nksm_zero_pages 7\nksm_merging_pages 12\nksm_process_profit 75264\n"
          "ksm_merge_any: no\nksm_mergeable: yes\n"),
     TEXT("12\n"), KSM_PROCESS_STAT, true, 12, 7, 40},
    {"6.18, no part",
     TEXT("ksm_rmap_items 0\nksm_zero_pages 0\nksm_merging_pages 0\nksm_process_profit 0\n"
          "ksm_merge_any: yes\nksm_mergeable: yes\n"),
     TEXT("0\n"), KSM_PROCESS_STAT, false, 0, 0, 0},
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
        sweep();
        refresh();
        if (!kernel_rows[_i].listed) {
            expect_list(kernel_rows[_i].kernel, NULL, 0);
            continue;
        }
        EXPECT_LIST(kernel_rows[_i].kernel, 42);
        expect_counts(kernel_rows[_i].kernel, &p.list[0], kernel_rows[_i].merging,
                      kernel_rows[_i].zero, kernel_rows[_i].rmap_items, 700);
    }
}
END_TEST

#define COUNTS "ksm_rmap_items %s\nksm_zero_pages 0\nksm_merging_pages 0\nksm_process_profit 0\n"

/* What three processes, of which the first takes part, say of having opted in: y, n, or nothing. */
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
        sweep();
        refresh();
        EXPECT_LIST(says, 42);
        ck_assert_msg(p.opted_in == opted_in_rows[_i].opted_in,
                      "%s, round %d: got %" PRId64 " opted in, want %" PRId64, says, round,
                      p.opted_in, opted_in_rows[_i].opted_in);
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
    {"statm", TEXT("5000 9223372036854775807 30\n"), true, INT64_MAX},
    {"statm", TEXT("x 700 y\n"), true, 700},

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
        sweep();
        refresh();
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
    sweep();
    refresh();
    EXPECT_LIST("good", 42);
    crowd_file(dir, 42, bad_rows[_i].file, bad_rows[_i].text, bad_rows[_i].len);
    refresh();
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
    sweep();
    refresh();
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
        sweep();
        refresh();
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

/* Zombies and kernel threads read empty. */
START_TEST(nothing_left) {
    static const char *const files[] = {"ksm_stat", "ksm_merging_pages", "cgroup", "cmdline",
                                        "statm"};

    add_somebody(42);
    init(0);
    sweep();
    EXPECT_LIST("alive", 42);
    for (int i = 0; i < ROWS(files); i++)
        crowd_file(dir, 42, files[i], "", 0);
    refresh();
    expect_list("a zombie", NULL, 0);
    sweep();
    expect_list("met as a zombie", NULL, 0);
    ck_assert_int_eq(p.denied, 0);
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
        sweep();
        faults_fail(FAULTS_PREAD, "/42/ksm_stat", 0, rows[i].err);
        refresh();
        if (rows[i].gone) {
            EXPECT_LIST(suite_status(-rows[i].err), 43);
        } else {
            EXPECT_LIST(suite_status(-rows[i].err), 42, 43);
            ck_assert_int_eq(p.list[0].status, -rows[i].err);
        }
        faults_clear();
        refresh();
        sweep();
        EXPECT_LIST("well again", 42, 43);
        expect_counts("well again", &p.list[0], 420, 42, 840, 4200);
        ksm_processes_clear(&p);
    }
}
END_TEST

/* ---- coming and going ---- */

START_TEST(comes_and_goes) {
    init(0);
    sweep();
    expect_list("nobody", NULL, 0);
    add_somebody(300);
    add_somebody(20);
    sweep();
    EXPECT_LIST("two", 20, 300);
    add_somebody(100);
    add_somebody(5);
    add_somebody(4000);
    sweep();
    EXPECT_LIST("five", 5, 20, 100, 300, 4000);
    crowd_remove(dir, 100);
    sweep();
    EXPECT_LIST("not read again yet", 5, 20, 100, 300, 4000);
    refresh();
    EXPECT_LIST("one has ended", 5, 20, 300, 4000);
    crowd_remove(dir, 5);
    crowd_remove(dir, 4000);
    refresh();
    EXPECT_LIST("the first and the last have", 20, 300);
    crowd_remove(dir, 20);
    crowd_remove(dir, 300);
    refresh();
    expect_list("all have", NULL, 0);
}
END_TEST

START_TEST(new_counts) {
    struct crowd_process process = somebody(42);

    crowd_write(dir, &process);
    init(0);
    sweep();
    expect_counts("first", &p.list[0], 420, 42, 840, 4200);
    process.merging = 7;
    process.zero = 0;
    process.rmap_items = 9;
    process.resident = 11;
    crowd_write(dir, &process);
    sweep();
    expect_counts("the walk does not read who is known", &p.list[0], 420, 42, 840, 4200);
    refresh();
    expect_counts("read again", &p.list[0], 7, 0, 9, 11);
    process.merging = process.zero = process.rmap_items = 0;
    crowd_write(dir, &process);
    refresh();
    expect_list("takes part no more", NULL, 0);
}
END_TEST

/* Its files are another process's: this is seen by when that was started. */
START_TEST(pid_used_again) {
    struct crowd_process process = somebody(42);

    crowd_write(dir, &process);
    init(0);
    sweep();
    refresh();
    process.started++;
    process.merging = 99;
    process.cgroup = "0::/system.slice/other.service\n";
    crowd_write(dir, &process);
    refresh();
    expect_list("another process", NULL, 0);
    sweep();
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
    sweep();
    EXPECT_LIST("found", 42);
    ck_assert_msg(p.list[0].started == 1042, "got started at %" PRId64 ", want 1042",
                  p.list[0].started);
    refresh();
    EXPECT_LIST("the same", 42);
}
END_TEST

/* It runs another program, or was moved to another cgroup: the next round gives it its new name. */
START_TEST(renamed) {
    struct crowd_process process = somebody(42);

    crowd_write(dir, &process);
    init(0);
    sweep();
    expect_name("first", &p.list[0], KSM_CONSUMER_service, "web");
    process.cgroup = "0::/user.slice/user-1000.slice/session-3.scope\n";
    crowd_write(dir, &process);
    refresh();
    expect_name("not yet", &p.list[0], KSM_CONSUMER_service, "web");
    sweep();
    expect_name("moved", &p.list[0], KSM_CONSUMER_program, "web");
    process.comm = "other";
    crowd_write(dir, &process);
    sweep();
    expect_name("another program", &p.list[0], KSM_CONSUMER_program, "other");
    process.cmdline = "kvm\0-name\0vm1";
    process.cmdline_len = sizeof("kvm\0-name\0vm1");
    crowd_write(dir, &process);
    sweep();
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
    sweep();
    expect_name("a long command line", &p.list[0], KSM_CONSUMER_vm, "vm1");

    add_somebody(43);
    memset(text, '/', sizeof(text));
    memcpy(text, "0::/lxc.payload.c1", strlen("0::/lxc.payload.c1"));
    crowd_file(dir, 43, "cgroup", text, sizeof(text));
    sweep();
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
    sweep();
    EXPECT_LIST("only what is a pid", INT_MAX);
}
END_TEST

/* ---- rights ---- */

static void make_unreadable(int pid, mode_t mode) {
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%.4000s/proc/%d/ksm_stat", dir, pid);
    ck_assert_int_eq(chmod(path, mode), 0);
}

START_TEST(denied) {
    add_somebody(42);
    add_somebody(43);
    add_somebody(44);
    make_unreadable(42, 0);
    make_unreadable(44, 0);
    suite_become_nobody();
    init(0);
    sweep();
    EXPECT_LIST("what can be read is shown", 43);
    ck_assert_msg(p.denied == 2, "got %" PRId64 " denied, want 2", p.denied);
    sweep();
    ck_assert_msg(p.denied == 2, "next round: got %" PRId64 " denied, want 2", p.denied);
    refresh();
    EXPECT_LIST("what can be read is shown", 43);
}
END_TEST

/* denied is of the last whole round, also while the next is running. */
START_TEST(denied_of_whole_rounds) {
    add_somebody(42);
    make_unreadable(42, 0);
    suite_become_nobody();
    init(0);
    ck_assert_int_eq(ksm_processes_walk(&p, 1000, 2000, 1000, 0), 1);
    ck_assert_int_eq(p.denied, 0);
    ck_assert_int_eq(ksm_processes_walk(&p, 1000, 2000, 1000, forever), 0);
    ck_assert_int_eq(p.denied, 1);
    ck_assert_int_eq(ksm_processes_walk(&p, 2000, 3000, 1000, 0), 1);
    ck_assert_int_eq(p.denied, 1);
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
    sweep();
    EXPECT_LIST("readable", 42);
    make_unreadable(42, 0);
    refresh();
    EXPECT_LIST("not readable", 42);
    ck_assert_int_eq(p.list[0].status, -EACCES);
    make_unreadable(42, 0444);
    refresh();
    EXPECT_LIST("readable again", 42);
    expect_counts("readable again", &p.list[0], 420, 42, 840, 4200);
}
END_TEST

/* hidepid: other users' processes are not even there, process 1 among them. */
START_TEST(hidden) {
    add_somebody(42);
    init(0);
    sweep();
    ck_assert_msg(!p.hidden, "all can be seen: got hidden");
    crowd_remove(dir, 1);
    sweep();
    ck_assert_msg(p.hidden, "no process 1: got not hidden");
    EXPECT_LIST("what can be seen", 42);
    crowd_write(dir, &(const struct crowd_process){.pid = 1});
    sweep();
    ck_assert_msg(!p.hidden, "process 1 is back: got hidden");
}
END_TEST

START_TEST(no_proc) {
    ksm_processes_init(&p, "/nonexistent", 0);
    ck_assert_int_eq(p.source, KSM_PROCESS_NOTHING);
    ck_assert_int_eq(ksm_processes_walk(&p, 0, 1000, 1000, forever), -ENOENT);
    ck_assert_int_eq(ksm_processes_walk(&p, 5, 1000, 1000, forever), -ENOENT);
    refresh();
    ksm_processes_clear(&p);

    init(0);
    faults_fail(FAULTS_OPENDIR, NULL, 1, EACCES);
    ck_assert_int_eq(ksm_processes_walk(&p, 0, 1000, 1000, forever), -EACCES);
    add_somebody(42);
    ck_assert_int_eq(ksm_processes_walk(&p, 1, 2000, 1000, forever), 0);
    ck_assert_int_eq(ksm_processes_walk(&p, 1001, 2001, 1000, forever), 0);
    EXPECT_LIST("once it can be opened", 42);
}
END_TEST

/* ---- pacing ---- */

/* So many entries must have been seen by then, of a crowd of 1000, files, self, 1, . and .. */
START_TEST(pace) {
    enum { CROWD = 1000, FILES = 96, ENTRIES = CROWD + FILES + 4, LENGTH = 60000, BEGIN = 100000 };

    for (int pid = 2; pid < 2 + CROWD; pid++) {
        crowd_file(dir, pid, "ksm_stat", TEXT("ksm_rmap_items 40\nksm_merging_pages 12\n"));
        crowd_file(dir, pid, "comm", TEXT("x\n"));
    }
    for (int i = 0; i < FILES; i++) {
        char path[32];
        snprintf(path, sizeof(path), "proc/file%d", i);
        tree_write(dir, path, "", 0);
    }
    init(0);
    /* The first round is to learn how many there are. */
    ck_assert_int_eq(ksm_processes_walk(&p, 0, LENGTH, LENGTH, forever), 0);
    ck_assert_msg(!p.walking && p.entries == ENTRIES, "got %" PRId64 " entries, want %d", p.entries,
                  ENTRIES);
    ck_assert_int_eq((int)p.count, CROWD);
    for (int64_t now = BEGIN; now < BEGIN + LENGTH; now += 1000) {
        ck_assert_int_eq(ksm_processes_walk(&p, now, now + 1000, LENGTH, forever), 0);
        int64_t due = ENTRIES * (now + 1000 - BEGIN) / LENGTH;
        ck_assert_msg(p.entries == due, "%" PRId64 " ms: got %" PRId64 " entries, want %" PRId64,
                      now + 1000 - BEGIN, p.entries, due);
        bool last = now + 1000 == BEGIN + LENGTH;
        ck_assert_msg(p.walking != last, "%" PRId64 " ms: got %s", now + 1000 - BEGIN,
                      p.walking ? "not done" : "done");
        ck_assert_int_eq(ksm_processes_walk(&p, now, now + 1000, LENGTH, 0), 0);
    }
    ck_assert_int_eq((int)p.count, CROWD);

    /* The next round begins when the time of the last is over, not before. */
    ck_assert_int_eq(ksm_processes_walk(&p, BEGIN + LENGTH - 1, BEGIN + LENGTH, LENGTH, forever),
                     0);
    ck_assert_msg(!p.walking, "walking on before the round's time is over");
    ck_assert_int_eq(ksm_processes_walk(&p, BEGIN + LENGTH, BEGIN + LENGTH + 600, LENGTH, forever),
                     0);
    ck_assert_msg(p.walking && p.entries == ENTRIES / 100, "got %" PRId64 " entries, want %d",
                  p.entries, ENTRIES / 100);
}
END_TEST

/* A host that was held up: the round is over at once, however late. */
START_TEST(late) {
    add_somebody(42);
    add_somebody(43);
    init(0);
    ck_assert_int_eq(ksm_processes_walk(&p, 0, 1, 60000, forever), 0);
    ck_assert_msg(p.walking, "got done after 1 ms of 60 s");
    ck_assert_int_eq(ksm_processes_walk(&p, 3600000, 3601000, 60000, forever), 0);
    ck_assert_msg(!p.walking, "got not done after an hour");
    EXPECT_LIST("late", 42, 43);
}
END_TEST

/* More processes than the round before had: all are met when its time is up. Fewer: it is done
 * earlier. */
START_TEST(crowds_that_grow_and_shrink) {
    init(0);
    sweep();
    for (int pid = 100; pid < 150; pid++)
        add_somebody(pid);
    sweep();
    ck_assert_int_eq((int)p.count, 50);
    for (int pid = 100; pid < 140; pid++)
        crowd_remove(dir, pid);
    refresh();
    ck_assert_int_eq((int)p.count, 10);
    sweep();
    ck_assert_int_eq((int)p.count, 10);
}
END_TEST

START_TEST(deadline_of_the_walk) {
    add_somebody(42);
    add_somebody(43);
    init(0);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(ksm_processes_walk(&p, 0, 1000, 1000, clock_ms(CLOCK_MONOTONIC)), 1);
    expect_list("no time", NULL, 0);
    ck_assert_msg(p.walking && p.entries == 0, "got %" PRId64 " entries seen", p.entries);
    int status = 1;
    for (int calls = 0; status == 1 && calls < 100000; calls++)
        status = ksm_processes_walk(&p, 0, 1000, 1000, clock_ms(CLOCK_MONOTONIC) + 1);
    ck_assert_int_eq(status, 0);
    EXPECT_LIST("at last", 42, 43);
}
END_TEST

START_TEST(deadline_of_reading_again) {
    struct crowd_process process = somebody(43);

    add_somebody(42);
    add_somebody(43);
    init(0);
    sweep();
    process.merging = 1;
    crowd_write(dir, &process);
    crowd_remove(dir, 42);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(ksm_processes_refresh(&p, clock_ms(CLOCK_MONOTONIC)), 1);
    EXPECT_LIST("no time", 42, 43);
    int status = 1;
    for (int calls = 0; status == 1 && calls < 100000; calls++)
        status = ksm_processes_refresh(&p, clock_ms(CLOCK_MONOTONIC) + 1);
    ck_assert_int_eq(status, 0);
    EXPECT_LIST("at last", 43);
    expect_counts("at last", &p.list[0], 1, 43, 860, 4300);
}
END_TEST

/* A reading that was broken off goes on where it was, and reads nobody twice. */
START_TEST(reading_again_goes_on) {
    for (int pid = 100; pid < 110; pid++)
        add_somebody(pid);
    init(0);
    sweep();
    p.refreshed = 4; /* as if the deadline had come there */
    faults_clear();
    refresh();
    int one = faults_count(FAULTS_PREAD);
    ck_assert_int_eq((int)p.refreshed, 0);
    faults_clear();
    refresh();
    int all = faults_count(FAULTS_PREAD);
    ck_assert_msg(one * 10 == all * 6, "got %d preads for 6 processes, %d for 10", one, all);
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
        if (suite_random() % 2)
            sweep();
        else
            refresh();
        if (round % 10 != 9)
            continue;
        sweep();
        refresh();
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
    } rows[] = {{0, 0}, {1, 1}, {3, 3}, {5, 5}, {KSM_PROCESSES_KEPT, 5}, {INT_MAX, 5}};
    int before = suite_open_files();

    become_519();
    set_real("self", "7");
    for (int pid = 100; pid < 105; pid++)
        link_to_real(pid, "self");
    add_somebody(200); /* of no file that may be kept */
    for (int i = 0; i < ROWS(rows); i++) {
        init(rows[i].may_keep);
        set_real("self", "7");
        sweep();
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
            refresh();
        expect_counts("read again", &p.list[0], 9, 0, 0, 10000);
        expect_counts("read again", &p.list[4], 9, 0, 0, 10400);
        set_real("self", "0");
        refresh();
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
    init(1);
    sweep();
    ck_assert_int_eq(p.kept, 1);
    set_real("self", "0");
    refresh();
    ck_assert_int_eq(p.kept, 0);
    set_real("self", "7");
    link_to_real(101, "self");
    sweep();
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
    sweep();
    EXPECT_LIST("alive", 100);
    ck_assert_int_eq(p.kept, 1);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    refresh();
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
            sweep();
            refresh();
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

static bool is_listed(pid_t pid) {
    for (size_t i = 0; i < p.count; i++)
        if (p.list[i].pid == pid)
            return true;
    return false;
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
    while (!is_listed(getpid()) && clock_ms(CLOCK_MONOTONIC) < end) {
        usleep(50000);
        sweep();
    }
    if (!is_listed(getpid())) {
        suite_skip("live_self", "ksmd did not look at this process within 10 s");
        return;
    }
    refresh();
    ck_assert_msg(is_listed(getpid()), "not on the list after reading again");
    munmap(map, PAGES * page);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("processes");
    TCase *kernel = suite_case(suite, "kernels");
    TCase *texts = suite_case(suite, "texts");
    TCase *crowds = suite_case(suite, "coming and going");
    TCase *rights = suite_case(suite, "rights");
    TCase *pacing = suite_case(suite, "pacing");
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
    tcase_add_test(texts, errors_of_reading);
    tcase_add_test(texts, long_texts);

    tcase_add_checked_fixture(crowds, set_up, tear_down);
    tcase_add_test(crowds, comes_and_goes);
    tcase_add_test(crowds, new_counts);
    tcase_add_test(crowds, pid_used_again);
    tcase_add_test(crowds, comm_does_not_hide_the_start);
    tcase_add_test(crowds, renamed);
    tcase_add_test(crowds, other_entries);
    tcase_add_test(crowds, churn);

    tcase_add_checked_fixture(rights, set_up, tear_down);
    tcase_add_test(rights, denied);
    tcase_add_test(rights, denied_of_whole_rounds);
    tcase_add_test(rights, denied_later);
    tcase_add_test(rights, hidden);
    tcase_add_test(rights, no_proc);

    tcase_add_checked_fixture(pacing, set_up, tear_down);
    tcase_add_test(pacing, pace);
    tcase_add_test(pacing, late);
    tcase_add_test(pacing, crowds_that_grow_and_shrink);
    tcase_add_test(pacing, deadline_of_the_walk);
    tcase_add_test(pacing, deadline_of_reading_again);
    tcase_add_test(pacing, reading_again_goes_on);

    tcase_add_checked_fixture(keeping, set_up, tear_down);
    tcase_add_test(keeping, kept_descriptors);
    tcase_add_test(keeping, kept_places_are_used_again);
    tcase_add_test(keeping, kept_descriptor_of_a_process_that_ends);

    tcase_add_checked_fixture(live, set_up, tear_down);
    tcase_add_test(live, live_walk);
    tcase_add_test(live, live_self);
    return suite_run(suite);
}
