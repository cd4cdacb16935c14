/* SPDX-License-Identifier: MIT
 *
 * Readers of the files of one process.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "consumers/proc_files.h"
#include "support/faults.h"
#include "support/suite.h"
#include "support/tree.h"
#include "system/line_reader.h"

enum { PID = 42 };

static const char *dir;
static struct ksm_process_reader reader;
static struct ksm_process_status status;
static int files;

void before_each(void) {
    dir = suite_dir();
    files = suite_open_files();
    tree_write(dir, "proc/42/comm", "x", 1);
    reader.proc = open(tree_path(dir, "proc"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

void after_each(void) {
    close(reader.proc);
    ck_assert_int_eq(suite_open_files(), files);
}

static int read_status(void) {
    const struct ksm_process process = ksm_process_with_pid(PID);

    return ksm_process_read_status(&reader, &process, &status);
}

/* As Linux 6.18 prints it, shortened; with so many groups. */
static void write_status(int groups) {
    static char text[1 << 20];
    size_t len = (size_t)snprintf(text, sizeof(text),
                                  "Name:\tTgid:\\t9\nTgid:\t42\nPid:\t42\nPPid:\t7\n"
                                  "Uid:\t1000\t1001\t1002\t1003\nGid:\t1\t2\t3\t4\nGroups:\t");

    for (int i = 0; i < groups; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%d ", 2000000000 + i);
    len += (size_t)snprintf(text + len, sizeof(text) - len,
                            "\nVmLck:\t       1 kB\nVmPin:\t       2 kB\nVmHWM:\t       9 kB\n"
                            "VmRSS:\t      18 kB\nRssAnon:\t       3 kB\nRssFile:\t       4 kB\n"
                            "RssShmem:\t       5 kB\nVmSwap:\t       6 kB\n"
                            "HugetlbPages:\t    7 kB\nThreads:\t1\n");
    tree_write(dir, "proc/42/status", text, len);
}

/* Up to 22 kB, so that lines begin at each position of the reader's buffer. */
TEST(status_with_many_groups) {
    for (int groups = 0; groups <= 2000; groups += groups < 400 ? 1 : 100) {
        write_status(groups);
        ck_assert_int_eq(read_status(), 0);
        must(status.tgid == 42 && status.parent == 7 && status.user == 1001,
             "%d groups: got process %" PRId64 " of %" PRId64 ", user %" PRId64, groups,
             status.tgid, status.parent, status.user);
        must(status.locked == 1024 && status.pinned == 2048 && status.resident == 18 << 10 &&
                 status.anonymous == 3 << 10 && status.file == 4 << 10 && status.shmem == 5 << 10 &&
                 status.swapped == 6 << 10 && status.hugetlb == 7 << 10,
             "%d groups: got other sizes", groups);
    }
}

TEST(line_that_does_not_fit_is_cut) {
    struct line_reader lines = {.pid = PID};
    char line[] = "?????";

    tree_write(dir, "proc/42/status", TEXT("abcdef\nx\nyz"));
    lines.fd = open(tree_path(dir, "proc/42/status"), O_RDONLY | O_CLOEXEC);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(line_reader_next(&lines, line, 4), 1);
        ck_assert_str_eq(line, "abc");
        ck_assert_int_eq(line[4], '?');
        ck_assert_int_eq(line_reader_next(&lines, line, 4), 1);
        ck_assert_str_eq(line, "x");
        ck_assert_int_eq(line_reader_next(&lines, line, 4), 0);
        line_reader_rewind(&lines);
    }
    close(lines.fd);
}

static const struct {
    const char *text;
    int64_t resident, user;
} odd_rows[] = {
    {"", -1, -1},
    {"Tgid:\t42\nVmRSS:\t       8 kB\n", 8 << 10, -1},
    {"Uid:\t5\nVmRSS:\t 0 kB\n", 0, -1},
    {"Uid:\t5\t6", -1, -1}, /* cut off */
    {"Uid:\t5\tx\t7\t8\n", -1, -1},
    {"Uid:\t0\t4294967295\t0\t0\nVmRSS:\t  -1 kB\n", -1, 4294967295},
    {"VmRSS:\t9223372036854775807 kB\n", -1, -1},
    {"VmRSS:\t 8 MB\nxVmRSS:\t 8 kB\nVmRSS:8 kB\n", -1, -1},
};

TEST_ROWS(status_that_lacks_fields, odd_rows) {
    tree_write(dir, "proc/42/status", row->text, strlen(row->text));
    ck_assert_int_eq(read_status(), 0);
    ck_assert_msg(status.resident == row->resident && status.user == row->user,
                  "%s: got %" PRId64 " bytes of user %" PRId64,
                  suite_quote(row->text, strlen(row->text)), status.resident, status.user);
}

TEST(result_is_unchanged_if_status_cannot_be_read) {
    ck_assert_int_eq(read_status(), -ENOENT);
    write_status(1);
    ck_assert_int_eq(read_status(), 0);
    faults_fail(FAULTS_PREAD, "/42/status", 2, ESRCH); /* the second finds the end */
    ck_assert_int_eq(read_status(), -ESRCH);
    ck_assert_int_eq((int)status.tgid, 42);
    ck_assert_int_eq(faults_bad_closes(), 0);
}

static const struct {
    const char *stat;
    int want;
} started_rows[] = {
    {"42 (x) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 777 0 0\n", 0},
    {"42 (x) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 778 0 0\n", -ESRCH},
    {"", -ESRCH},
    {NULL, -ESRCH},
};

TEST_ROWS(process_is_known_by_its_start, started_rows) {
    struct ksm_process process = ksm_process_with_pid(PID);

    process.started = 777;
    if (row->stat)
        tree_write(dir, "proc/42/stat", row->stat, strlen(row->stat));
    int got = ksm_process_check(&reader, &process);
    ck_assert_msg(got == row->want, "%s: got %s", row->stat ? row->stat : "no file",
                  suite_status(got));
    faults_fail(FAULTS_OPENAT, "42/stat", 1, EMFILE);
    ck_assert_int_eq(ksm_process_check(&reader, &process), -EMFILE);
}

/* It may be the supervisor's: the thread may have been abandoned. */
TEST(start_is_unchanged_if_the_call_is_cancelled) {
    struct blocking_call call = {.cancelled = true};
    const struct ksm_process process = ksm_process_with_pid(PID);
    int64_t started = 777;

    tree_write(dir, "proc/42/stat", started_rows[0].stat, strlen(started_rows[0].stat));
    reader.call = &call;
    ck_assert_int_eq(ksm_process_read_started(&reader, &process, &started), -EINTR);
    ck_assert_int_eq(started, 777);
}
