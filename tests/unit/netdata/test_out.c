/* SPDX-License-Identifier: MIT
 *
 * Output to the agent: numbers, the buffer, and failing writes.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "out.h"
#include "support/faults.h"
#include "support/suite.h"

static struct out out;
static int ends[2]; /* of a pipe that out writes to */

void before_each(void) {
    ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
    fcntl(ends[1], F_SETPIPE_SZ, 1024 * 1024);
    memset(&out, 0x5a, sizeof(out));
    out_init(&out, ends[1]);
    signal(SIGPIPE, SIG_IGN); /* as ksm.plugin does */
    faults_clear();
}

/* What has come through the pipe must be this, to the last byte. */
static void expect_written(const char *want, size_t len) {
    char *got = malloc(len + 2);
    size_t have = 0;

    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    for (ssize_t n; have <= len && (n = read(ends[0], got + have, len + 1 - have)) > 0;)
        have += (size_t)n;
    ck_assert_msg(have == len && memcmp(got, want, len) == 0, "got %zu bytes %s, want %zu bytes %s",
                  have, suite_quote(got, have), len, suite_quote(want, len));
    free(got);
}

static void expect_flush(int want) {
    int status = out_flush(&out);

    ck_assert_msg(status == want && out.error == want, "out_flush: got %s, error %s, want %s",
                  suite_status(status), suite_status(out.error), suite_status(want));
}

/* Text of which each part looks different. */
static const char *some_text(size_t len) {
    static char text[400000];

    for (size_t i = 0; i < len; i++)
        text[i] = (char)('a' + (i + i / 26) % 26);
    text[len] = '\0';
    return text;
}

static void expect_number(int64_t n) {
    char want[32];
    size_t len = (size_t)snprintf(want, sizeof(want), "%" PRId64, n);

    out.len = 0;
    out_number(&out, n);
    must(out.len == len && memcmp(out.buf, want, len) == 0, "%s: got %s", want,
         suite_quote(out.buf, out.len));
    out.len = 0;
    out_line(&out, "", n);
    must(out.len == len + 1 && memcmp(out.buf, want, len) == 0 && out.buf[len] == '\n',
         "line of %s: got %s", want, suite_quote(out.buf, out.len));
}

TEST(numbers_are_printed_exactly) {
    for (int i = -1000; i <= 1000; i++)
        expect_number(i);
    expect_number(INT64_MAX);
    expect_number(INT64_MIN);
    for (int i = 0; i < 100000; i++)
        expect_number((int64_t)(suite_random() >> suite_random() % 64));
}

TEST(line_is_one_write) {
    out_text(&out, "SET ");
    out_text(&out, "");
    out_number(&out, -7);
    out_text(&out, "\n");
    ck_assert_int_eq(faults_count(FAULTS_WRITE), 0);
    expect_flush(0);
    ck_assert_int_eq(faults_count(FAULTS_WRITE), 1);
    expect_written("SET -7\n", 7);
    expect_flush(0); /* nothing: no write */
    ck_assert_int_eq(faults_count(FAULTS_WRITE), 1);
    out_text(&out, "next\n");
    expect_flush(0);
    expect_written("next\n", 5);
}

/* Around the buffer's size, in one text and in small ones. */
static const struct {
    size_t len;
    int writes; /* until it is flushed, that one included */
} lengths[] = {
    {1, 1},
    {sizeof(out.buf) - 1, 1},
    {sizeof(out.buf), 1},
    {sizeof(out.buf) + 1, 2},
    {2 * sizeof(out.buf), 2},
    {2 * sizeof(out.buf) + 1, 3},
    {10 * sizeof(out.buf) + 7, 11},
};

TEST_ROWS(text_longer_than_the_buffer_is_complete, lengths) {
    size_t len = row->len;
    const char *text = some_text(len);

    out_text(&out, text);
    expect_flush(0);
    ck_assert_int_eq(faults_count(FAULTS_WRITE), row->writes);
    expect_written(text, len);
    for (size_t at = 0; at < len; at += 7) {
        char part[8];
        snprintf(part, sizeof(part), "%.7s", text + at);
        out_text(&out, part);
    }
    expect_flush(0);
    expect_written(text, len);
}

static const int passing[] = {EINTR, EAGAIN};

TEST_ROWS(transient_errors_are_retried, passing) {
    const char *text = some_text(20000);

    faults_shorten(6000);
    for (int nth = 1; nth <= 4; nth += nth == 1 ? 2 : 1)
        faults_fail(FAULTS_WRITE, NULL, nth, *row);
    out_text(&out, text);
    expect_flush(0);
    ck_assert_int_eq(faults_count(FAULTS_WRITE), 7);
    expect_written(text, 20000);
}

/* After these, nothing more is written. */
static const int staying[] = {EPIPE, ENOSPC, EIO, EBADF};

TEST_ROWS(permanent_errors_end_the_output, staying) {
    const char *text = some_text(10 * sizeof(out.buf));

    faults_shorten(3);
    faults_fail(FAULTS_WRITE, NULL, 2, *row);
    out_text(&out, "abcdef");
    expect_flush(-*row);
    ck_assert_int_eq(faults_count(FAULTS_WRITE), 2);
    out_number(&out, 7);
    expect_flush(-*row);
    expect_written("abc", 3);
    /* However much comes: it does not overflow, and does not hang. */
    out_text(&out, text);
    expect_flush(-*row);
    ck_assert_int_eq(faults_count(FAULTS_WRITE), 2);
}

/* Reads until there is nothing more, in small pieces with rests; exits 0 if it was the text. */
static void slow_reader(const char *want, size_t len) {
    char buf[3000];
    size_t have = 0;

    close(ends[1]);
    for (ssize_t n; (n = read(ends[0], buf, sizeof(buf))) > 0; have += (size_t)n) {
        if (have + (size_t)n > len || memcmp(buf, want + have, (size_t)n) != 0)
            _exit(2);
        if (have % 7 == 0)
            usleep(1000);
    }
    _exit(have == len ? 0 : 3);
}

/* Room for little in the pipe, and stdin from an agent. */
static void make_small(bool blocking, int input[2]) {
    fcntl(ends[1], F_SETPIPE_SZ, 4096);
    fcntl(ends[1], F_SETFL, blocking ? 0 : O_NONBLOCK);
    ck_assert_int_eq(pipe(input), 0);
    ck_assert_int_eq(dup2(input[0], STDIN_FILENO), STDIN_FILENO);
}

/* A full pipe, blocking (0) or not: everything arrives, in order, even if the agent writes
 * everything before it reads (2). */
TEST_TIMES(full_pipe_loses_nothing, 3) {
    const size_t len = 300000;
    const char *text = some_text(len);
    int input[2], status = 0;

    make_small(_i == 0, input);
    pid_t reader = fork();
    if (reader == 0) {
        if (_i == 2 && write(input[1], text, len) != (ssize_t)len)
            _exit(1);
        slow_reader(text, len);
    }
    alarm(60);
    out_text(&out, text);
    expect_flush(0);
    close(ends[1]);
    ck_assert_int_eq(waitpid(reader, &status, 0), reader);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0,
                  "the reader got other bytes (status %d)", status);
    ck_assert_int_gt(faults_count(FAULTS_WRITE), (int)(len / sizeof(out.buf)));
}

TEST(writer_ends_if_the_reader_of_a_full_pipe_exits) {
    int input[2];

    make_small(false, input);
    pid_t reader = fork();
    if (reader == 0) {
        close(ends[1]);
        usleep(100 * 1000);
        _exit(0);
    }
    close(ends[0]);
    alarm(60);
    out_text(&out, some_text(300000));
    expect_flush(-EPIPE);
    waitpid(reader, NULL, 0);
}

/* The pipe stays full. */
TEST(writer_ends_if_stdin_is_closed) {
    int input[2];

    make_small(false, input);
    close(input[1]);
    faults_stop_clocks(0, 0);
    out_text(&out, some_text(300000));
    int status = out_flush(&out);
    faults_clear();
    ck_assert_int_eq(status, -EPIPE);
}
