/* SPDX-License-Identifier: MIT
 *
 * What the log is told, and how often.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/faults.h"
#include "support/host.h"
#include "support/suite.h"
#include "support/tree.h"
#include "watch.h"

static const int64_t second = 1000;
static const int64_t minute = 60 * 1000;

static struct ksm_reader reader;
static struct ksm_watch watch;
static const char *dir;
static int64_t now = 1234567;

/* What was told since it was last asked. */
static struct {
    bool bad;
    char text[512];
} told[2 * KSM_FIGURES];
static int told_count;

static void hear(bool bad, const char *message) {
    ck_assert_msg(told_count < ROWS(told), "more than %d messages", told_count);
    told[told_count].bad = bad;
    snprintf(told[told_count].text, sizeof(told[0].text), "%s", message);
    told_count++;
}

void before_each(void) {
    dir = suite_dir();
    host_make(dir);
    faults_clear();
    ck_assert_int_eq(ksm_reader_init(&reader, dir, true), 0);
}

static void tick_after(int64_t ms) {
    now += ms;
    ksm_reader_tick(&reader, now);
    told_count = 0;
    ksm_watch(&watch, &reader, hear);
}

static void expect_silence(const char *when) {
    ck_assert_msg(told_count == 0, "%s: got %d messages, the first \"%s\"; want none", when,
                  told_count, told[0].text);
}

/* Exactly one message, with these words in it, in one line. */
static void expect_one(const char *when, bool bad, const char *path, const char *fault,
                       const char *figure) {
    ck_assert_msg(told_count == 1, "%s: got %d messages, want 1 (\"%s\", \"%s\")", when, told_count,
                  told_count > 0 ? told[0].text : "", told_count > 1 ? told[1].text : "");
    const char *text = told[0].text;
    ck_assert_msg(told[0].bad == bad, "%s: \"%s\" is told as %s", when, text,
                  told[0].bad ? "bad" : "good");
    ck_assert_msg(strstr(text, dir) && strstr(text, path) && strstr(text, fault) &&
                      strstr(text, figure) && !strchr(text, '\n') && !strstr(text, "::"),
                  "%s: got \"%s\", want in it \"%s/%s\", \"%s\", \"%s\"", when, text, dir, path,
                  fault, figure);
}

static const struct {
    const char *text;
    size_t len;
    int open_err, read_err; /* in the place of a text */
    const char *fault;
} faults[] = {
    {TEXT(""), 0, 0, "empty"},
    {TEXT("12abc\n"), 0, 0, "not what the kernel writes there"},
    {TEXT("-5\n"), 0, 0, "not what the kernel writes there"},
    {TEXT("9223372036854775808\n"), 0, 0, "a number beyond 2^63-1"},
    {NULL, 0, EACCES, 0, "Permission denied"},
    {NULL, 0, ENOENT, 0, "not there any more"},
    {NULL, 0, 0, EIO, "Input/output error"},
    {NULL, 0, 0, EISDIR, "Is a directory"},
};

static void inflict(int row) {
    if (faults[row].open_err != 0)
        faults_fail(FAULTS_OPEN, "/pages_unshared", 0, faults[row].open_err);
    else if (faults[row].read_err != 0)
        faults_fail(FAULTS_PREAD, "/pages_unshared", 0, faults[row].read_err);
    else
        host_write(dir, KSM_unshared, faults[row].text, faults[row].len);
}

static void heal(void) {
    faults_clear();
    host_write(dir, KSM_unshared, NULL, 0);
}

/* Once when it goes bad, never while it is, once when it is well. */
TEST_TIMES(bad_and_well_again, ROWS(faults)) {
    const char *path = host_path(KSM_unshared);
    char file[PATH_MAX];

    snprintf(file, sizeof(file), "%s", path);
    tick_after(second);
    expect_silence("first tick");
    tick_after(second);
    expect_silence("second tick");
    for (int round = 0; round < 2; round++) {
        inflict(_i);
        tick_after(second);
        expect_one("bad", true, file, faults[_i].fault, "unshared");
        for (int i = 0; i < 200; i++) {
            tick_after(second);
            expect_silence("bad, later");
        }
        heal();
        tick_after(minute);
        expect_one("well", false, file, "again", "");
        for (int i = 0; i < 200; i++) {
            tick_after(second);
            expect_silence("well, later");
        }
    }
}

TEST_TIMES(bad_from_the_start, ROWS(faults)) {
    inflict(_i);
    tick_after(second);
    if (faults[_i].open_err == ENOENT) { /* then this kernel never had it */
        expect_silence("not there at the start");
        heal();
        tick_after(minute);
        expect_silence("appeared");
        return;
    }
    expect_one("bad", true, "ksm/pages_unshared", faults[_i].fault, "unshared");
    tick_after(second);
    expect_silence("bad, later");
    heal();
    tick_after(minute);
    expect_one("well", false, "ksm/pages_unshared", "again", "");
}

TEST(file_longer_than_any) {
    static char text[8192];

    memset(text, '7', sizeof(text));
    host_write(dir, KSM_unshared, text, sizeof(text));
    tick_after(second);
    expect_one("long", true, "ksm/pages_unshared", "longer than any", "unshared");
}

TEST(another_fault_is_no_news) {
    tick_after(second);
    host_write(dir, KSM_unshared, TEXT(""));
    tick_after(second);
    expect_one("empty", true, "ksm/pages_unshared", "empty", "unshared");
    host_write(dir, KSM_unshared, TEXT("12abc\n"));
    tick_after(second);
    expect_silence("bad in another way");
    host_remove(dir, KSM_unshared);
    tick_after(second);
    expect_silence("gone");
    heal();
    tick_after(minute);
    expect_one("well", false, "ksm/pages_unshared", "again", "");
}

/* A file that could not be opened, and then is gone, was never read: it cannot be "read again". */
TEST(unreadable_then_gone) {
    faults_fail(FAULTS_OPEN, "/pages_unshared", 0, EACCES);
    tick_after(second);
    expect_one("unreadable", true, "ksm/pages_unshared", "Permission denied", "unshared");
    faults_clear();
    host_remove(dir, KSM_unshared);
    tick_after(minute);
    expect_silence("gone");
    tick_after(minute);
    expect_silence("still gone");
    heal();
    tick_after(minute);
    expect_one("well", false, "ksm/pages_unshared", "again", "");
}

/* An old kernel lacks many files: nobody needs to know. */
TEST(kernel_never_had_it) {
    static const enum ksm_id new[] = {KSM_zero,    KSM_general_profit, KSM_scanned,
                                      KSM_skipped, KSM_chains,         KSM_smart_scan,
                                      KSM_cow,     KSM_swpin_copy,     KSM_mem_available};

    for (int i = 0; i < ROWS(new); i++)
        host_remove(dir, new[i]);
    for (int i = 0; i < 5; i++) {
        tick_after(minute);
        expect_silence("old kernel");
    }
    host_write(dir, KSM_skipped, NULL, 0);
    tick_after(minute);
    expect_silence("a file appears");
    host_remove(dir, KSM_skipped);
    tick_after(second);
    expect_one("and goes", true, "ksm/pages_skipped", "not there any more", "skipped");
}

TEST(no_kernel_threads_in_sight) {
    tree_unlink(dir, "proc/2/stat");
    for (int i = 0; i < 5; i++) {
        tick_after(minute);
        expect_silence("container");
    }
}

/* One line for each figure that is lost, so that each is named. */
TEST(file_of_several_figures) {
    tick_after(second);
    faults_fail(FAULTS_OPEN, "/vmstat", 0, EACCES);
    tick_after(second);
    ck_assert_int_eq(told_count, 2);
    ck_assert_msg(strstr(told[0].text, "proc/vmstat, cow_ksm: Permission denied; cow "), "\"%s\"",
                  told[0].text);
    ck_assert_msg(
        strstr(told[1].text, "proc/vmstat, ksm_swpin_copy: Permission denied; swpin_copy"),
        "\"%s\"", told[1].text);
    tick_after(second);
    expect_silence("bad, later");
    faults_clear();
    tick_after(minute);
    ck_assert_int_eq(told_count, 2);
    ck_assert_msg(!told[0].bad && !told[1].bad, "\"%s\" is told as bad", told[0].text);
}

/* Of meminfo only the lines that this kernel has. */
TEST(meminfo) {
    faults_fail(FAULTS_OPEN, "/meminfo", 0, EACCES);
    tick_after(second);
    ck_assert_int_eq(told_count, 3);
    for (int i = 0; i < told_count; i++)
        ck_assert_msg(!strstr(told[i].text, "KsmZeroPages"), "\"%s\", without UKSM", told[i].text);
    host_write(dir, KSM_mem_total, TEXT("12abc kB"));
    faults_clear();
    tick_after(minute);
    ck_assert_int_eq(told_count, 2);
    host_write(dir, KSM_mem_total, NULL, 0);
    tick_after(second);
    expect_one("well", false, "proc/meminfo, MemTotal", "again", "");
}

TEST(ksmd_account_goes_bad) {
    tick_after(second);
    host_write(dir, KSM_ksmd_cpu, TEXT("12abc\n"));
    tick_after(second);
    expect_one("bad", true, "proc/37/schedstat", "not what the kernel writes there", "ksmd_cpu");
    host_write(dir, KSM_ksmd_cpu, NULL, 0);
    tick_after(second);
    expect_one("well", false, "proc/37/schedstat", "again", "");
}

/* Two files at once: each is told of, none hides the other. */
TEST(two_files) {
    tick_after(second);
    host_write(dir, KSM_shared, TEXT("x\n"));
    host_write(dir, KSM_run, TEXT("3\n"));
    tick_after(second);
    ck_assert_int_eq(told_count, 2);
    host_write(dir, KSM_shared, NULL, 0);
    tick_after(second);
    expect_one("one is well", false, "ksm/pages_shared", "again", "");
    host_write(dir, KSM_run, NULL, 0);
    tick_after(second);
    expect_one("the other too", false, "ksm/run", "again", "");
}
