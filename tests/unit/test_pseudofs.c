/* SPDX-License-Identifier: MIT
 *
 * How files are opened, kept, looked for again and read.
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

#include "pseudofs.h"
#include "support/faults.h"
#include "support/suite.h"
#include "support/tree.h"

static const int64_t start = 1234567;
static const char *dir; /* of the running test */

static void set_up(void) {
    dir = suite_dir();
    faults_clear();
}

static struct pseudofs_file file_of(const char *root, const char *name) {
    struct pseudofs_file file;

    pseudofs_init(&file, root, "d", name);
    return file;
}

static void write_file(const char *name, const char *text) {
    char path[64];

    snprintf(path, sizeof(path), "d/%s", name);
    tree_write(dir, path, text, strlen(text));
}

/* One reading gives these bytes, or this error; and so many calls of open were made for it. */
static void expect(struct pseudofs_file *file, int64_t now, const char *want, int want_status,
                   int want_opens) {
    char buf[256];
    int opens = faults_count(FAULTS_OPEN);
    ssize_t n = pseudofs_read(file, now, false, buf, sizeof(buf));

    opens = faults_count(FAULTS_OPEN) - opens;
    if (want)
        ck_assert_msg(n == (ssize_t)strlen(want) && memcmp(buf, want, strlen(want)) == 0,
                      "%s at %" PRId64 ": got %zd bytes or status %s, want \"%s\"", file->name, now,
                      n, suite_status((int)n), want);
    else
        ck_assert_msg(n == want_status, "%s at %" PRId64 ": got %s, want %s", file->name, now,
                      suite_status((int)n), suite_status(want_status));
    ck_assert_msg(opens == want_opens, "%s at %" PRId64 ": opened %d times, want %d", file->name,
                  now, opens, want_opens);
}

/* Reads some text that is there. Returns how many times open was called. */
static int opens_of_reading(struct pseudofs_file *file, int64_t now) {
    char buf[8192];
    int opens = faults_count(FAULTS_OPEN);
    ssize_t n = pseudofs_read(file, now, false, buf, sizeof(buf));

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

START_TEST(kept_on_pseudo_file_systems_only) {
    struct pseudofs_file file;
    char path[PATH_MAX];
    int opens = 0;

    pseudofs_init(&file, kept_rows[_i].root, kept_rows[_i].dir, kept_rows[_i].name);
    ck_assert_int_eq(pseudofs_path(&file, path, sizeof(path)), 0);
    if (access(path, R_OK) != 0) {
        suite_skip("kept_on_pseudo_file_systems_only", path);
        return;
    }
    for (int i = 0; i < 10; i++)
        opens += opens_of_reading(&file, start + i);
    ck_assert_msg(opens == kept_rows[_i].opens, "%s: opened %d times for ten readings, want %d",
                  path, opens, kept_rows[_i].opens);
    pseudofs_close(&file);
}
END_TEST

/* The kernel prints anew at each reading of a kept descriptor. */
START_TEST(kept_descriptor_sees_what_is_new) {
    struct pseudofs_file file;
    char first[64], second[64];

    pseudofs_init(&file, "/", "proc", "uptime");
    ssize_t n = pseudofs_read(&file, start, false, first, sizeof(first));
    ck_assert_msg(n > 0, "/proc/uptime: got %s, want bytes", suite_status((int)n));
    usleep(50 * 1000); /* it counts hundredths of a second */
    ssize_t m = pseudofs_read(&file, start + 1, false, second, sizeof(second));
    ck_assert_msg(m > 0, "/proc/uptime, again: got %s, want bytes", suite_status((int)m));
    ck_assert_msg(n != m || memcmp(first, second, (size_t)n) != 0,
                  "/proc/uptime: got %s twice, want another time", suite_quote(first, (size_t)n));
    pseudofs_close(&file);
}
END_TEST

START_TEST(other_files_are_opened_anew) {
    struct pseudofs_file file = file_of(dir, "f");
    int open_files = suite_open_files();

    write_file("f", "one\n");
    expect(&file, start, "one\n", 0, 1);
    expect(&file, start, "one\n", 0, 1);
    write_file("f", "two, longer\n"); /* the same inode */
    expect(&file, start, "two, longer\n", 0, 1);
    tree_unlink(dir, "d/f");
    write_file("f", "3"); /* another one */
    expect(&file, start, "3", 0, 1);
    write_file("f", "");
    expect(&file, start, "", 0, 1);
    ck_assert_int_eq(suite_open_files(), open_files);
}
END_TEST

START_TEST(closing) {
    int open_files = suite_open_files();
    struct pseudofs_file file;

    pseudofs_init(&file, "/", "proc", "uptime");
    pseudofs_close(&file); /* never opened */
    ck_assert_int_eq(opens_of_reading(&file, start), 1);
    ck_assert_int_eq(suite_open_files(), open_files + 1);
    pseudofs_close(&file);
    pseudofs_close(&file);
    ck_assert_int_eq(suite_open_files(), open_files);
    ck_assert_int_eq(opens_of_reading(&file, start), 1);
    pseudofs_close(&file);
}
END_TEST

/* Kept descriptors do not get into programs that the daemon starts. */
START_TEST(close_on_exec) {
    struct pseudofs_file file;

    pseudofs_init(&file, "/", "proc", "uptime");
    opens_of_reading(&file, start);
    ck_assert_int_eq(fcntl(file.fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    pseudofs_close(&file);
}
END_TEST

/* What open says, and whether the file is tried again at once. */
static const struct {
    int err;
    bool at_once;
} open_rows[] = {
    {ENOENT, false}, {EACCES, false},  {EPERM, false}, {EIO, false},
    {ELOOP, false},  {ENOTDIR, false}, {ENXIO, false}, {ENODEV, false},
    {EMFILE, true},  {ENFILE, true},   {ENOMEM, true}, {EAGAIN, true},
};

START_TEST(failed_opening) {
    struct pseudofs_file file = file_of(dir, "f");
    int err = open_rows[_i].err;
    bool at_once = open_rows[_i].at_once;

    write_file("f", "7\n");
    faults_fail(FAULTS_OPEN, "/f", 1, err);
    expect(&file, start, NULL, -err, 1);
    if (at_once) {
        expect(&file, start, "7\n", 0, 1);
        return;
    }
    expect(&file, start, NULL, -err, 0);
    expect(&file, start + 1, NULL, -err, 0);
    expect(&file, start + PSEUDOFS_RETRY_MS - 1, NULL, -err, 0);
    expect(&file, start + PSEUDOFS_RETRY_MS, "7\n", 0, 1);
    expect(&file, start + PSEUDOFS_RETRY_MS, "7\n", 0, 1);
}
END_TEST

START_TEST(interrupted_opening) {
    struct pseudofs_file file = file_of(dir, "f");

    write_file("f", "7\n");
    faults_fail(FAULTS_OPEN, "/f", 1, EINTR);
    faults_fail(FAULTS_OPEN, "/f", 2, EINTR);
    expect(&file, start, "7\n", 0, 3);
}
END_TEST

START_TEST(missing_file_is_looked_for_once_a_minute) {
    struct pseudofs_file file = file_of(dir, "f");

    expect(&file, start, NULL, -ENOENT, 1);
    expect(&file, start + 59 * 1000, NULL, -ENOENT, 0);
    expect(&file, start + 60 * 1000, NULL, -ENOENT, 1);
    write_file("f", "7\n");
    expect(&file, start + 119 * 1000, NULL, -ENOENT, 0);
    expect(&file, start + 120 * 1000, "7\n", 0, 1);
    tree_unlink(dir, "d/f");
    expect(&file, start + 121 * 1000, NULL, -ENOENT, 1);
    write_file("f", "8\n");
    expect(&file, start + 180 * 1000, NULL, -ENOENT, 0);
    expect(&file, start + 181 * 1000, "8\n", 0, 1);
}
END_TEST

START_TEST(closing_forgets_a_failure) {
    struct pseudofs_file file = file_of(dir, "f");

    expect(&file, start, NULL, -ENOENT, 1);
    write_file("f", "7\n");
    pseudofs_close(&file);
    expect(&file, start, "7\n", 0, 1);
}
END_TEST

/* The kernel's word that what was opened is gone: the path is tried again within the reading. */
static const int dead_rows[] = {ENODEV, ESRCH};

START_TEST(dead_descriptor_is_opened_again) {
    struct pseudofs_file file;

    pseudofs_init(&file, "/", "proc", "uptime");
    ck_assert_int_eq(opens_of_reading(&file, start), 1);
    ck_assert_int_eq(opens_of_reading(&file, start), 0);
    faults_fail(FAULTS_PREAD, "/uptime", 1, dead_rows[_i]);
    ck_assert_int_eq(opens_of_reading(&file, start), 1);
    ck_assert_int_eq(opens_of_reading(&file, start), 0);
    pseudofs_close(&file);
}
END_TEST

START_TEST(dead_file_is_opened_again_only_once) {
    struct pseudofs_file file;
    int open_files = suite_open_files();

    pseudofs_init(&file, "/", "proc", "uptime");
    ck_assert_int_eq(opens_of_reading(&file, start), 1);
    faults_fail(FAULTS_PREAD, "/uptime", 0, dead_rows[_i]);
    expect(&file, start, NULL, -dead_rows[_i], 1);
    ck_assert_int_eq(suite_open_files(), open_files);
    expect(&file, start, NULL, -dead_rows[_i], 1);
    faults_clear();
    ck_assert_int_eq(opens_of_reading(&file, start), 1);
    pseudofs_close(&file);
}
END_TEST

START_TEST(process_that_ends) {
    struct pseudofs_file file;
    char of_child[32];
    pid_t child = fork();

    if (child == 0) {
        pause();
        _exit(0);
    }
    snprintf(of_child, sizeof(of_child), "proc/%d", (int)child);
    pseudofs_init(&file, "/", of_child, "schedstat");
    char path[64];
    snprintf(path, sizeof(path), "/%s/schedstat", of_child);
    if (access(path, R_OK) != 0)
        file.name = "stat";
    ck_assert_int_eq(opens_of_reading(&file, start), 1);
    ck_assert_int_eq(opens_of_reading(&file, start), 0);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    expect(&file, start, NULL, -ENOENT, 1);
    expect(&file, start, NULL, -ENOENT, 0);
}
END_TEST

/* Errors of reading that say nothing about the descriptor: it is kept. */
static const int read_rows[] = {EIO, EACCES, EINVAL, ENOMEM, EAGAIN};

START_TEST(failed_reading) {
    struct pseudofs_file file;

    pseudofs_init(&file, "/", "proc", "uptime");
    faults_fail(FAULTS_PREAD, "/uptime", 2, read_rows[_i]);
    ck_assert_int_eq(opens_of_reading(&file, start), 1);
    expect(&file, start, NULL, -read_rows[_i], 0);
    ck_assert_int_eq(opens_of_reading(&file, start), 0);
    pseudofs_close(&file);
}
END_TEST

START_TEST(failed_reading_of_other_files) {
    struct pseudofs_file file = file_of(dir, "f");
    int open_files = suite_open_files();

    write_file("f", "7\n");
    faults_fail(FAULTS_PREAD, "/f", 1, read_rows[_i]);
    expect(&file, start, NULL, -read_rows[_i], 1);
    ck_assert_int_eq(suite_open_files(), open_files);
    expect(&file, start, "7\n", 0, 1);
}
END_TEST

START_TEST(interrupted_reading) {
    struct pseudofs_file file = file_of(dir, "f");

    write_file("f", "7\n");
    faults_fail(FAULTS_PREAD, "/f", 1, EINTR);
    faults_fail(FAULTS_PREAD, "/f", 2, EINTR);
    expect(&file, start, "7\n", 0, 1);
    ck_assert_int_eq(faults_count(FAULTS_PREAD), 3);
}
END_TEST

/* Files by size, read into 1000 bytes. A file that does not end with a newline may not be all there
 * is: one more pread tells. */
static const struct {
    size_t size;
    bool newline; /* at its end */
    bool whole;
    size_t piece; /* that the kernel gives at a time; 0: as much as there is */
    ssize_t want;
    int preads;
} size_rows[] = {
    {0, false, false, 0, 0, 1},
    {1, true, false, 0, 1, 1},
    {2, true, false, 0, 2, 1},
    {999, true, false, 0, 999, 1},
    {1000, true, false, 0, -EFBIG, 1},
    {1001, true, false, 0, -EFBIG, 1},
    {100000, true, false, 0, -EFBIG, 1},
    {999, true, false, 300, 999, 4},
    {1, false, false, 0, 1, 2},
    {999, false, false, 0, 999, 2},
    {1000, false, false, 0, -EFBIG, 1},
    {999, false, false, 300, 999, 5},
    {0, false, true, 0, 0, 1},
    {1, true, true, 0, 1, 2},
    {999, true, true, 0, 999, 2},
    {1000, true, true, 0, -EFBIG, 1},
    {1001, true, true, 0, -EFBIG, 1},
    {299, true, true, 300, 299, 2},
    {300, true, true, 300, 300, 2},
    {301, true, true, 300, 301, 3},
    {999, true, true, 300, 999, 5},
    {1000, true, true, 300, -EFBIG, 4},
    {100000, true, true, 300, -EFBIG, 4},
    {999, false, true, 300, 999, 5},
};

START_TEST(sizes) {
    struct pseudofs_file file = file_of(dir, "f");
    size_t size = size_rows[_i].size;
    char *bytes = malloc(size + 1);
    char buf[1001];

    for (size_t i = 0; i < size; i++)
        bytes[i] = i + 1 == size && size_rows[_i].newline ? '\n' : (char)('a' + i % 26);
    tree_write(dir, "d/f", bytes, size);
    buf[1000] = 'X';
    faults_shorten(size_rows[_i].piece);
    ssize_t n = pseudofs_read(&file, start, size_rows[_i].whole, buf, 1000);
    ck_assert_msg(n == size_rows[_i].want && faults_count(FAULTS_PREAD) == size_rows[_i].preads,
                  "file of %zu bytes: got %zd with %d preads, want %zd with %d", size, n,
                  faults_count(FAULTS_PREAD), size_rows[_i].want, size_rows[_i].preads);
    ck_assert_msg(n < 0 || memcmp(buf, bytes, (size_t)n) == 0, "file of %zu bytes: got other ones",
                  size);
    ck_assert_msg(buf[1000] == 'X', "file of %zu bytes: wrote past the buffer", size);
    free(bytes);
}
END_TEST

/* Only a reading of the whole goes on after a line that is complete. */
START_TEST(piece_that_ends_with_a_newline) {
    struct pseudofs_file file = file_of(dir, "f");
    char buf[100];

    write_file("f", "first 1\nsecond 2\n");
    faults_shorten(8);
    ck_assert_int_eq(pseudofs_read(&file, start, false, buf, sizeof(buf)), 8);
    ck_assert_int_eq(faults_count(FAULTS_PREAD), 1);
    ck_assert_int_eq(pseudofs_read(&file, start, true, buf, sizeof(buf)), 17);
}
END_TEST

/* A fault in the middle: no part of a file is passed off as the whole. */
START_TEST(error_between_two_pieces) {
    struct pseudofs_file file = file_of(dir, "f");
    char buf[100];

    write_file("f", "first 1\nsecond 2\n");
    faults_shorten(8);
    faults_fail(FAULTS_PREAD, "/f", 2, EIO);
    ssize_t n = pseudofs_read(&file, start, true, buf, sizeof(buf));
    ck_assert_msg(n == -EIO, "got %s, want -EIO", suite_status((int)n));
}
END_TEST

START_TEST(vmstat_is_read_whole) {
    static char part[64 * 1024], all[64 * 1024];
    struct pseudofs_file file;

    pseudofs_init(&file, "/", "proc", "vmstat");
    ssize_t n = pseudofs_read(&file, start, false, part, sizeof(part));
    ck_assert_int_eq(faults_count(FAULTS_PREAD), 1);
    ssize_t m = pseudofs_read(&file, start, true, all, sizeof(all));
    ck_assert_msg(faults_count(FAULTS_PREAD) >= 3, "/proc/vmstat: %d preads for the whole, want 2",
                  faults_count(FAULTS_PREAD) - 1);
    ck_assert_msg(n > 0 && m + 64 >= n && all[m - 1] == '\n',
                  "/proc/vmstat: got %zd bytes of the whole, %zd in one piece", m, n);
    pseudofs_close(&file);
}
END_TEST

START_TEST(directory_in_the_place_of_a_file) {
    struct pseudofs_file file = file_of(dir, "f");

    tree_write(dir, "d/f/inside", "7\n", 2);
    expect(&file, start, NULL, -EISDIR, 1);
    tree_unlink(dir, "d/f/inside");
    tree_unlink(dir, "d/f");
    write_file("f", "7\n");
    expect(&file, start, "7\n", 0, 1);
}
END_TEST

START_TEST(file_in_the_place_of_a_directory) {
    struct pseudofs_file file = file_of(dir, "f");

    tree_write(dir, "d", "7\n", 2);
    expect(&file, start, NULL, -ENOTDIR, 1);
}
END_TEST

START_TEST(fifo_does_not_hang) {
    struct pseudofs_file file = file_of(dir, "f");
    char path[PATH_MAX];

    write_file("other", "");
    ck_assert_int_eq(pseudofs_path(&file, path, sizeof(path)), 0);
    ck_assert_int_eq(mkfifo(path, 0644), 0);
    alarm(5);
    expect(&file, start, NULL, -ESPIPE, 1);
    int writer = open(path, O_RDWR | O_CLOEXEC);
    ck_assert_int_eq(write(writer, "7\n", 2), 2);
    expect(&file, start, NULL, -ESPIPE, 1);
    close(writer);
}
END_TEST

START_TEST(endless_device) {
    struct pseudofs_file file;

    pseudofs_init(&file, "/", "dev", "zero");
    expect(&file, start, NULL, -EFBIG, 1);
}
END_TEST

START_TEST(broken_link) {
    struct pseudofs_file file = file_of(dir, "f");
    char path[PATH_MAX];

    write_file("other", "7\n");
    ck_assert_int_eq(pseudofs_path(&file, path, sizeof(path)), 0);
    ck_assert_int_eq(symlink("nowhere", path), 0);
    expect(&file, start, NULL, -ENOENT, 1);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(symlink("f", path), 0);
    expect(&file, start + PSEUDOFS_RETRY_MS, NULL, -ELOOP, 1);
}
END_TEST

START_TEST(unreadable_for_an_ordinary_user) {
    struct pseudofs_file file = file_of(dir, "f");
    char path[PATH_MAX];

    write_file("f", "7\n");
    ck_assert_int_eq(pseudofs_path(&file, path, sizeof(path)), 0);
    ck_assert_int_eq(chmod(path, 0), 0);
    suite_become_nobody();
    expect(&file, start, NULL, -EACCES, 1);
    expect(&file, start + PSEUDOFS_RETRY_MS - 1, NULL, -EACCES, 0);
    expect(&file, start + PSEUDOFS_RETRY_MS, NULL, -EACCES, 1);
}
END_TEST

static const struct {
    const char *root, *dir, *name;
    const char *want;
} path_rows[] = {
    {"/", "proc", "vmstat", "/proc/vmstat"},
    {"", "proc", "vmstat", "/proc/vmstat"},
    {"//", "proc", "vmstat", "/proc/vmstat"},
    {"/a", "proc", "vmstat", "/a/proc/vmstat"},
    {"/a/", "proc", "vmstat", "/a/proc/vmstat"},
    {"/a///", "proc", "vmstat", "/a/proc/vmstat"},
    {"/a/b", "proc/12", "stat", "/a/b/proc/12/stat"},
    {"rel", "proc", "vmstat", "rel/proc/vmstat"},
    {"rel/", "proc", "vmstat", "rel/proc/vmstat"},
    {".", "proc", "vmstat", "./proc/vmstat"},
    {"/", "proc", "", "/proc"},
    {"/a", "sys/kernel/mm/ksm", "", "/a/sys/kernel/mm/ksm"},
    {"/with space", "proc", "%s%n", "/with space/proc/%s%n"},
};

START_TEST(paths) {
    size_t len = strlen(path_rows[_i].want);
    struct pseudofs_file file;
    char path[64];

    pseudofs_init(&file, path_rows[_i].root, path_rows[_i].dir, path_rows[_i].name);
    /* In room enough, in just enough, and in one byte too little. */
    for (size_t size = len; size <= sizeof(path); size += size < len + 2 ? 1 : sizeof(path)) {
        int want = size <= len ? -ENAMETOOLONG : 0;
        int status = pseudofs_path(&file, path, size);
        ck_assert_msg(status == want, "\"%s\" in %zu bytes: got %s, want %s", path_rows[_i].want,
                      size, suite_status(status), suite_status(want));
        if (status == 0)
            ck_assert_str_eq(path, path_rows[_i].want);
    }
}
END_TEST

START_TEST(path_too_long) {
    static char root[3 * PATH_MAX];
    struct pseudofs_file file;

    memset(root, 'a', sizeof(root) - 1);
    root[0] = '/';
    file = file_of(root, "f");
    expect(&file, start, NULL, -ENAMETOOLONG, 0);
    expect(&file, start + 1, NULL, -ENAMETOOLONG, 0);
    expect(&file, start + PSEUDOFS_RETRY_MS, NULL, -ENAMETOOLONG, 0);
}
END_TEST

/* With more rights than who named root, nothing but the kernel's own files is opened. */
START_TEST(only_the_kernel_is_trusted) {
    int open_files = suite_open_files();
    struct pseudofs_file file = file_of(dir, "f");
    char path[PATH_MAX], of_process[32], descriptor[16];
    DIR *opened = NULL;

    write_file("f", "7\n");
    expect(&file, start, "7\n", 0, 1);
    ck_assert_int_eq(pseudofs_opendir(dir, "d", &opened), 0);
    closedir(opened);

    pseudofs_trust_kernel_only();
    expect(&file, start, NULL, -EPERM, 1);
    expect(&file, start + 1, NULL, -EPERM, 0);
    ck_assert_int_eq(pseudofs_opendir(dir, "d", &opened), -EPERM);
    tree_unlink(dir, "d/f");
    expect(&file, start + PSEUDOFS_RETRY_MS, NULL, -EPERM, 1);
    /* The kernel's, by whatever way. */
    struct pseudofs_file uptime;
    pseudofs_init(&uptime, "/", "proc", "uptime");
    ck_assert_int_eq(opens_of_reading(&uptime, start), 1);
    ck_assert_int_eq(opens_of_reading(&uptime, start), 0);
    pseudofs_close(&uptime);
    ck_assert_int_eq(pseudofs_opendir("/", "proc", &opened), 0);
    closedir(opened);
    snprintf(path, sizeof(path), "%s/d/proc", dir);
    ck_assert_int_eq(symlink("/proc", path), 0);
    pseudofs_init(&uptime, dir, "d/proc", "uptime");
    ck_assert_int_eq(opens_of_reading(&uptime, start), 1);
    pseudofs_close(&uptime);
    /* A link of the kernel's that leads out of it, and one into it from elsewhere. */
    write_file("g", "7\n");
    snprintf(path, sizeof(path), "%s/d/g", dir);
    int g = open(path, O_RDONLY | O_CLOEXEC);
    snprintf(of_process, sizeof(of_process), "proc/%d/fd", (int)getpid());
    snprintf(descriptor, sizeof(descriptor), "%d", g);
    pseudofs_init(&file, "/", of_process, descriptor);
    expect(&file, start, NULL, -EPERM, 1);
    close(g);
    snprintf(path, sizeof(path), "%s/d/up", dir);
    ck_assert_int_eq(symlink("/proc/uptime", path), 0);
    file = file_of(dir, "up");
    expect(&file, start, NULL, -EPERM, 1);
    ck_assert_int_eq(suite_open_files(), open_files);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("pseudofs");
    TCase *keeping = suite_case(suite, "keeping");
    TCase *faults = suite_case(suite, "faults");
    TCase *contents = suite_case(suite, "contents");
    TCase *names = suite_case(suite, "names");

    tcase_add_checked_fixture(keeping, set_up, NULL);
    tcase_add_loop_test(keeping, kept_on_pseudo_file_systems_only, 0, ROWS(kept_rows));
    tcase_add_test(keeping, kept_descriptor_sees_what_is_new);
    tcase_add_test(keeping, other_files_are_opened_anew);
    tcase_add_test(keeping, closing);
    tcase_add_test(keeping, close_on_exec);
    tcase_add_test(keeping, only_the_kernel_is_trusted);

    tcase_add_checked_fixture(faults, set_up, NULL);
    tcase_add_loop_test(faults, failed_opening, 0, ROWS(open_rows));
    tcase_add_test(faults, interrupted_opening);
    tcase_add_test(faults, missing_file_is_looked_for_once_a_minute);
    tcase_add_test(faults, closing_forgets_a_failure);
    tcase_add_loop_test(faults, dead_descriptor_is_opened_again, 0, ROWS(dead_rows));
    tcase_add_loop_test(faults, dead_file_is_opened_again_only_once, 0, ROWS(dead_rows));
    tcase_add_test(faults, process_that_ends);
    tcase_add_loop_test(faults, failed_reading, 0, ROWS(read_rows));
    tcase_add_loop_test(faults, failed_reading_of_other_files, 0, ROWS(read_rows));
    tcase_add_test(faults, interrupted_reading);
    tcase_add_test(faults, unreadable_for_an_ordinary_user);

    tcase_add_checked_fixture(contents, set_up, NULL);
    tcase_add_loop_test(contents, sizes, 0, ROWS(size_rows));
    tcase_add_test(contents, piece_that_ends_with_a_newline);
    tcase_add_test(contents, error_between_two_pieces);
    tcase_add_test(contents, vmstat_is_read_whole);
    tcase_add_test(contents, directory_in_the_place_of_a_file);
    tcase_add_test(contents, file_in_the_place_of_a_directory);
    tcase_add_test(contents, fifo_does_not_hang);
    tcase_add_test(contents, endless_device);
    tcase_add_test(contents, broken_link);

    tcase_add_checked_fixture(names, set_up, NULL);
    tcase_add_loop_test(names, paths, 0, ROWS(path_rows));
    tcase_add_test(names, path_too_long);
    return suite_run(suite);
}
