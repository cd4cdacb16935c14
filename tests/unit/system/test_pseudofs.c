/* SPDX-License-Identifier: MIT
 *
 * How files are opened, kept open, opened again and read.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/faults.h"
#include "support/suite.h"
#include "support/tree.h"
#include "system/pseudofs.h"

static const int64_t start = 1234567;
static const char *dir; /* of the running test */

void before_each(void) {
    dir = suite_dir();
    faults_clear();
}

static struct pseudofs_file file_of(const char *root, const char *name) {
    struct pseudofs_file file;

    pseudofs_init(&file, root, "d", name);
    return file;
}

static void write_file(const char *name, const char *text) {
    tree_print(dir, tree_path("d", "%s", name), "%s", text);
}

/* One reading, ms after the start, makes so many calls of open, and gives these bytes or this
 * error. */
static void expect(struct pseudofs_file *file, int64_t ms, const char *want, int want_status,
                   int want_opens) {
    char buf[256];
    int opens = faults_count(FAULTS_OPEN);
    ssize_t n = pseudofs_read(file, start + ms, PSEUDOFS_LINE, buf, sizeof(buf));
    bool as_wanted = want ? n == (ssize_t)strlen(want) && memcmp(buf, want, strlen(want)) == 0
                          : n == want_status;

    opens = faults_count(FAULTS_OPEN) - opens;
    ck_assert_msg(as_wanted && opens == want_opens,
                  "%s at %" PRId64 ": got %zd bytes or %s with %d openings, want %s with %d",
                  file->name, ms, n, suite_status((int)n), opens,
                  want ? want : suite_status(want_status), want_opens);
}

static void got(struct pseudofs_file *file, int64_t ms, const char *want, int want_opens) {
    expect(file, ms, want, 0, want_opens);
}

static void failed(struct pseudofs_file *file, int64_t ms, int err, int want_opens) {
    expect(file, ms, NULL, -err, want_opens);
}

/* Reads some text that is there. Returns how many times open was called. */
static int opens_of_reading(struct pseudofs_file *file, int64_t now) {
    char buf[8192];
    int opens = faults_count(FAULTS_OPEN);
    ssize_t n = pseudofs_read(file, now, PSEUDOFS_LINE, buf, sizeof(buf));

    ck_assert_msg(n > 0, "%s/%s/%s: got %s, want bytes", file->root, file->dir, file->name,
                  suite_status((int)n));
    return faults_count(FAULTS_OPEN) - opens;
}

/* Which file systems a descriptor is kept on. */
static const struct {
    const char *root, *dir, *name;
    int opens; /* of ten readings */
} kept_rows[] = {
    {"/", "proc", "uptime", 1},           {"/", "proc/self", "stat", 1},
    {"/", "proc", "vmstat", 1},           {"", "proc/sys/kernel", "ostype", 1},
    {"/", "sys/kernel/mm/ksm", "run", 1}, {"/", "sys/devices/system/cpu", "online", 1},
    {"/", "etc", "passwd", 10},
};

TEST_ROWS(descriptors_are_kept_on_pseudo_file_systems_only, kept_rows) {
    struct pseudofs_file file;
    char path[PATH_MAX];
    int opens = 0;

    pseudofs_init(&file, row->root, row->dir, row->name);
    ck_assert_int_eq(pseudofs_path(&file, path, sizeof(path)), 0);
    if (access(path, R_OK) != 0) {
        suite_skip("kept_on_pseudo_file_systems_only", path);
        return;
    }
    for (int i = 0; i < 10; i++)
        opens += opens_of_reading(&file, start + i);
    ck_assert_msg(opens == row->opens, "%s: opened %d times for ten readings, want %d", path, opens,
                  row->opens);
    pseudofs_close(&file);
}

TEST(kept_descriptor_reads_new_contents_and_is_not_inherited) {
    int open_files = suite_open_files();
    struct pseudofs_file file;
    char first[64], second[64];

    pseudofs_init(&file, "/", "proc", "uptime");
    pseudofs_close(&file); /* never opened */
    ssize_t n = pseudofs_read(&file, start, PSEUDOFS_LINE, first, sizeof(first));
    ck_assert_msg(n > 0, "/proc/uptime: got %s, want bytes", suite_status((int)n));
    ck_assert_int_eq(fcntl(file.fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    ck_assert_int_eq(suite_open_files(), open_files + 1);
    usleep(50 * 1000); /* it counts hundredths of a second */
    ssize_t m = pseudofs_read(&file, start + 1, PSEUDOFS_LINE, second, sizeof(second));
    ck_assert_msg(m > 0 && (n != m || memcmp(first, second, (size_t)n) != 0),
                  "/proc/uptime: got %s twice, want another time", suite_quote(first, (size_t)n));
    pseudofs_close(&file);
    pseudofs_close(&file);
    ck_assert_int_eq(suite_open_files(), open_files);
    ck_assert_int_eq(opens_of_reading(&file, start), 1);
    pseudofs_close(&file);
}

TEST(other_file_is_opened_for_each_read) {
    struct pseudofs_file file = file_of(dir, "f");
    int open_files = suite_open_files();

    write_file("f", "one\n");
    got(&file, 0, "one\n", 1);
    got(&file, 0, "one\n", 1);
    write_file("f", "two, longer\n");
    got(&file, 0, "two, longer\n", 1);
    tree_unlink(dir, "d/f");
    write_file("f", "3");
    got(&file, 0, "3", 1);
    write_file("f", "");
    got(&file, 0, "", 1);
    /* Interrupted. */
    for (int nth = 1; nth <= 2; nth++) {
        faults_fail(FAULTS_OPEN, "/f", nth, EINTR);
        faults_fail(FAULTS_PREAD, "/f", nth, EINTR);
    }
    write_file("f", "7\n");
    got(&file, 0, "7\n", 3);
    ck_assert_int_eq(suite_open_files(), open_files);
}

/* Closing resets that. */
TEST(missing_file_is_tried_once_a_minute) {
    struct pseudofs_file file = file_of(dir, "f");

    failed(&file, 0, ENOENT, 1);
    failed(&file, 59 * 1000, ENOENT, 0);
    failed(&file, 60 * 1000, ENOENT, 1);
    write_file("f", "7\n");
    failed(&file, 119 * 1000, ENOENT, 0);
    got(&file, 120 * 1000, "7\n", 1);
    tree_unlink(dir, "d/f");
    failed(&file, 121 * 1000, ENOENT, 1);
    write_file("f", "8\n");
    failed(&file, 180 * 1000, ENOENT, 0);
    got(&file, 181 * 1000, "8\n", 1);
    tree_unlink(dir, "d/f");
    failed(&file, 182 * 1000, ENOENT, 1);
    write_file("f", "9\n");
    pseudofs_close(&file);
    got(&file, 182 * 1000, "9\n", 1);
}

/* A directory in its place, a dangling link and a link to itself, a file in place of its directory.
 */
TEST(other_objects_are_errors) {
    struct pseudofs_file file = file_of(dir, "f");
    char path[PATH_MAX];

    ck_assert_int_eq(pseudofs_path(&file, path, sizeof(path)), 0);
    write_file("f/inside", "");
    failed(&file, 0, EISDIR, 1);
    tree_unlink(dir, "d/f/inside");
    tree_unlink(dir, "d/f");
    ck_assert_int_eq(symlink("nowhere", path), 0);
    failed(&file, 0, ENOENT, 1);
    tree_unlink(dir, "d/f");
    ck_assert_int_eq(symlink("f", path), 0);
    failed(&file, PSEUDOFS_RETRY_MS, ELOOP, 1);
    tree_unlink(dir, "d/f");
    tree_unlink(dir, "d");
    tree_write(dir, "d", "7\n", 2);
    failed(&file, 2 * PSEUDOFS_RETRY_MS, ENOTDIR, 1);
    pseudofs_init(&file, "/", "dev", "zero");
    failed(&file, 0, EFBIG, 1);
}

/* Errors of open(), and whether the file is tried again at once. */
static const struct {
    int err;
    bool at_once;
} open_rows[] = {
    {ENOENT, false}, {EACCES, false}, {ENODEV, false}, {EMFILE, true},
    {ENFILE, true},  {ENOMEM, true},  {EAGAIN, true},
};

TEST_ROWS(failed_open_is_retried_if_transient, open_rows) {
    struct pseudofs_file file = file_of(dir, "f");

    write_file("f", "7\n");
    faults_fail(FAULTS_OPEN, "/f", 1, row->err);
    failed(&file, 0, row->err, 1);
    if (row->at_once) {
        got(&file, 0, "7\n", 1);
        return;
    }
    failed(&file, 0, row->err, 0);
    failed(&file, PSEUDOFS_RETRY_MS - 1, row->err, 0);
    got(&file, PSEUDOFS_RETRY_MS, "7\n", 1);
    got(&file, PSEUDOFS_RETRY_MS, "7\n", 1);
}

/* The opened file no longer exists: the path is opened again within the same read. */
static const int dead_rows[] = {ENODEV, ESRCH};

TEST_ROWS(dead_descriptor_is_replaced, dead_rows) {
    struct pseudofs_file file;
    int open_files = suite_open_files();

    pseudofs_init(&file, "/", "proc", "uptime");
    ck_assert_int_eq(opens_of_reading(&file, start), 1);
    faults_fail(FAULTS_PREAD, "/uptime", 1, *row);
    ck_assert_int_eq(opens_of_reading(&file, start), 1);
    ck_assert_int_eq(opens_of_reading(&file, start), 0);
    /* But only once. */
    faults_fail(FAULTS_PREAD, "/uptime", 0, *row);
    failed(&file, 0, *row, 1);
    ck_assert_int_eq(suite_open_files(), open_files);
    failed(&file, 0, *row, 1);
    faults_clear();
    ck_assert_int_eq(opens_of_reading(&file, start), 1);
    pseudofs_close(&file);
}

TEST(file_of_an_ended_process_is_gone) {
    struct pseudofs_file file;
    const char *of_child, *schedstat;
    pid_t child = fork();

    if (child == 0) {
        pause();
        _exit(0);
    }
    of_child = tree_path("proc", "%d", (int)child);
    schedstat = tree_path("", "%s/schedstat", of_child);
    pseudofs_init(&file, "/", of_child, access(schedstat, R_OK) == 0 ? "schedstat" : "stat");
    ck_assert_int_eq(opens_of_reading(&file, start), 1);
    ck_assert_int_eq(opens_of_reading(&file, start), 0);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    failed(&file, 0, ENOENT, 1);
    failed(&file, 0, ENOENT, 0);
}

/* Errors of pread() that are no fault of the descriptor, which is kept. */
static const int read_rows[] = {EIO, EACCES, EINVAL, ENOMEM, EAGAIN};

TEST_ROWS(failed_read_keeps_the_descriptor, read_rows) {
    struct pseudofs_file file = file_of(dir, "f");
    int open_files = suite_open_files();

    write_file("f", "7\n");
    faults_fail(FAULTS_PREAD, "/f", 1, *row);
    failed(&file, 0, *row, 1);
    ck_assert_int_eq(suite_open_files(), open_files);
    got(&file, 0, "7\n", 1);
    pseudofs_init(&file, "/", "proc", "uptime");
    faults_fail(FAULTS_PREAD, "/uptime", 2, *row);
    ck_assert_int_eq(opens_of_reading(&file, start), 1);
    failed(&file, 0, *row, 0);
    ck_assert_int_eq(opens_of_reading(&file, start), 0);
    pseudofs_close(&file);
}

/* Files by size, read into 1000 bytes. A file that does not end with a newline may not be all there
 * is: one more pread tells. */
static const struct {
    size_t size;
    bool newline; /* at its end */
    enum pseudofs_extent extent;
    size_t piece; /* that the kernel gives at a time; 0: as much as there is */
    ssize_t want;
    int preads;
} size_rows[] = {
    {1, true, PSEUDOFS_LINE, 0, 1, 1},         {999, true, PSEUDOFS_LINE, 0, 999, 1},
    {1000, true, PSEUDOFS_LINE, 0, -EFBIG, 1}, {100000, true, PSEUDOFS_LINE, 0, -EFBIG, 1},
    {999, true, PSEUDOFS_LINE, 300, 999, 4},   {0, false, PSEUDOFS_LINE, 0, 0, 1},
    {1, false, PSEUDOFS_LINE, 0, 1, 2},        {1000, false, PSEUDOFS_LINE, 0, -EFBIG, 1},
    {999, false, PSEUDOFS_LINE, 300, 999, 5},  {0, false, PSEUDOFS_ALL, 0, 0, 1},
    {1, true, PSEUDOFS_ALL, 0, 1, 2},          {1000, true, PSEUDOFS_ALL, 0, -EFBIG, 1},
    {300, true, PSEUDOFS_ALL, 300, 300, 2},    {301, true, PSEUDOFS_ALL, 300, 301, 3},
    {999, true, PSEUDOFS_ALL, 300, 999, 5},    {100000, true, PSEUDOFS_ALL, 300, -EFBIG, 4},
    {999, false, PSEUDOFS_ALL, 300, 999, 5},
};

TEST_ROWS(file_is_read_to_the_end_or_too_large, size_rows) {
    struct pseudofs_file file = file_of(dir, "f");
    size_t size = row->size;
    char *bytes = malloc(size + 1);
    char buf[1001] = {[1000] = 'X'};

    for (size_t i = 0; i < size; i++)
        bytes[i] = i + 1 == size && row->newline ? '\n' : (char)('a' + i % 26);
    tree_write(dir, "d/f", bytes, size);
    faults_shorten(row->piece);
    ssize_t n = pseudofs_read(&file, start, row->extent, buf, 1000);
    ck_assert_msg(n == row->want && faults_count(FAULTS_PREAD) == row->preads,
                  "file of %zu bytes: got %zd with %d preads, want %zd with %d", size, n,
                  faults_count(FAULTS_PREAD), row->want, row->preads);
    ck_assert_msg(n < 0 || memcmp(buf, bytes, (size_t)n) == 0, "file of %zu bytes: got other ones",
                  size);
    ck_assert_msg(buf[1000] == 'X', "file of %zu bytes: wrote past the buffer", size);
    free(bytes);
}

/* Only a read of the whole continues after a complete line; then it returns the whole, or an error.
 */
TEST(read_of_the_whole_continues_after_a_line) {
    struct pseudofs_file file = file_of(dir, "f");
    char buf[100];

    write_file("f", "first 1\nsecond 2\n");
    faults_shorten(8);
    ck_assert_int_eq(pseudofs_read(&file, start, PSEUDOFS_LINE, buf, sizeof(buf)), 8);
    ck_assert_int_eq(faults_count(FAULTS_PREAD), 1);
    ck_assert_int_eq(pseudofs_read(&file, start, PSEUDOFS_ALL, buf, sizeof(buf)), 17);
    faults_fail(FAULTS_PREAD, "/f", 2, EIO);
    ck_assert_int_eq(pseudofs_read(&file, start, PSEUDOFS_ALL, buf, sizeof(buf)), -EIO);
}

TEST(fifo_does_not_hang) {
    struct pseudofs_file file = file_of(dir, "f");
    char path[PATH_MAX];

    write_file("other", "");
    ck_assert_int_eq(pseudofs_path(&file, path, sizeof(path)), 0);
    ck_assert_int_eq(mkfifo(path, 0644), 0);
    alarm(60);
    failed(&file, 0, ESPIPE, 1);
}

static const struct {
    const char *root, *dir, *name;
    const char *want;
} path_rows[] = {
    {"/", "proc", "vmstat", "/proc/vmstat"},
    {"", "proc", "vmstat", "/proc/vmstat"},
    {"/a///", "proc/12", "stat", "/a/proc/12/stat"},
    {"rel/b", "proc", "vmstat", "rel/b/proc/vmstat"},
    {"/a", "sys/kernel/mm/ksm", "", "/a/sys/kernel/mm/ksm"},
    {"/with space", "proc", "%s%n", "/with space/proc/%s%n"},
};

TEST_ROWS(path_is_joined_from_root_directory_and_name, path_rows) {
    size_t len = strlen(row->want);
    struct pseudofs_file file;
    char path[64];

    pseudofs_init(&file, row->root, row->dir, row->name);
    /* In room enough, in just enough, and in one byte too little. */
    for (size_t size = len; size <= sizeof(path); size += size < len + 2 ? 1 : sizeof(path)) {
        int want = size <= len ? -ENAMETOOLONG : 0;
        int status = pseudofs_path(&file, path, size);
        ck_assert_msg(status == want, "\"%s\" in %zu bytes: got %s, want %s", row->want, size,
                      suite_status(status), suite_status(want));
        if (status == 0)
            ck_assert_str_eq(path, row->want);
    }
}

TEST(too_long_path_is_an_error) {
    static char root[3 * PATH_MAX];
    struct pseudofs_file file;

    memset(root, 'a', sizeof(root) - 1);
    root[0] = '/';
    file = file_of(root, "f");
    failed(&file, 0, ENAMETOOLONG, 0);
    failed(&file, PSEUDOFS_RETRY_MS, ENAMETOOLONG, 0);
}

/* With more rights than the user who set root, only files of the kernel are opened, by any path;
 * but no links of the kernel that lead out of it, and back from elsewhere. */
TEST(privileged_reader_opens_only_files_of_the_kernel) {
    int open_files = suite_open_files();
    struct pseudofs_file file = file_of(dir, "f"), uptime;
    DIR *opened = NULL;

    write_file("f", "7\n");
    got(&file, 0, "7\n", 1);
    ck_assert_int_eq(pseudofs_opendir(dir, "d", &opened), 0);
    closedir(opened);

    pseudofs_trust_kernel_only();
    failed(&file, 0, EPERM, 1);
    failed(&file, 1, EPERM, 0);
    ck_assert_int_eq(pseudofs_opendir(dir, "d", &opened), -ENOENT);
    tree_unlink(dir, "d/f");
    failed(&file, PSEUDOFS_RETRY_MS, EPERM, 1);
    file = file_of(dir, "f");
    file.dir = "none";
    failed(&file, 0, EPERM, 1);

    pseudofs_init(&uptime, "/", "proc", "uptime");
    ck_assert_int_eq(opens_of_reading(&uptime, start), 1);
    ck_assert_int_eq(opens_of_reading(&uptime, start), 0);
    pseudofs_close(&uptime);
    ck_assert_int_eq(symlink("/proc", tree_path(dir, "d/proc")), 0);
    pseudofs_init(&uptime, dir, "d/proc", "uptime");
    ck_assert_int_eq(opens_of_reading(&uptime, start), 1);
    pseudofs_close(&uptime);

    write_file("g", "7\n");
    int g = open(tree_path(dir, "d/g"), O_RDONLY | O_CLOEXEC);
    pseudofs_init(&file, "/", "proc/self/fd", tree_path("", "%d", g) + 1);
    failed(&file, 0, EPERM, 1);
    close(g);
    ck_assert_int_eq(symlink("/proc/uptime", tree_path(dir, "d/up")), 0);
    file = file_of(dir, "up");
    failed(&file, 0, EPERM, 1);
    ck_assert_int_eq(suite_open_files(), open_files);
}

/* Which directories are the kernel's own: roots of procfs, and any of sysfs. All else fails alike,
 * but for a lack of means. */
static const struct {
    const char *dir;
    int status;
} own_rows[] = {{"proc", 0},       {"sys", 0},
                {"sys/kernel", 0}, {"proc/1", -ENOENT},
                {"etc", -ENOENT},  {"proc/self/fd", -ENOENT},
                {"none", -ENOENT}, {"proc/uptime", -ENOENT}};

TEST_ROWS(privileged_reader_opens_only_directories_of_the_kernel, own_rows) {
    const struct dirent *entry = NULL;
    DIR *opened = NULL;

    pseudofs_trust_kernel_only();
    faults_fail(FAULTS_OPENDIR, row->dir, 1, EINTR);
    int status = pseudofs_opendir("/", row->dir, &opened);
    ck_assert_msg(status == row->status && (opened != NULL) == (status == 0), "%s: got %s",
                  row->dir, suite_status(status));
    if (status != 0)
        return;
    faults_fail(FAULTS_OPENDIR, row->dir, 1, EMFILE);
    ck_assert_int_eq(pseudofs_opendir("/", row->dir, &opened), -EMFILE);
    int entries = 0;
    while (pseudofs_readdir(opened, &entry) == 0 && entry)
        entries++;
    ck_assert_int_gt(entries, 2);
    ck_assert_ptr_null(entry);
    closedir(opened);
}

/* statx() before Linux 4.11: the C library replaces it by fstatat(). */
static bool is_statx_replaced;

FAULTS_WRAPPED(int, statx, int above, const char *path, int flags, unsigned mask, struct statx *st);

int __wrap_statx(int above, const char *path, int flags, unsigned mask, struct statx *st) {
    if (is_statx_replaced && (flags & AT_STATX_DONT_SYNC)) {
        errno = EINVAL;
        return -1;
    }
    return __real_statx(above, path, flags, mask, st);
}

/* lxcfs mounts such files over the kernel's. */
TEST_TIMES(file_of_another_file_system_is_refused, 2) {
    is_statx_replaced = _i == 1;
    struct pseudofs_file uptime, away, file = file_of(dir, "f");

    pseudofs_init(&uptime, "/", "proc", "uptime");
    pseudofs_init(&away, dir, "d", "up");
    uptime.require_same_fs = away.require_same_fs = file.require_same_fs = true;
    faults_fail(FAULTS_OPENAT, "uptime", 1, EINTR);
    ck_assert_int_eq(opens_of_reading(&uptime, start), 1);
    pseudofs_close(&uptime);
    failed(&file, 0, ENOENT, 1);
    write_file("f", "7\n");
    failed(&file, PSEUDOFS_RETRY_MS, EXDEV, 1);
    ck_assert_int_eq(symlink("/proc/uptime", tree_path(dir, "d/up")), 0);
    failed(&away, 0, EXDEV, 1);
    pseudofs_init(&file, "/", "proc", "none");
    file.require_same_fs = true;
    failed(&file, 0, ENOENT, 1);
}
