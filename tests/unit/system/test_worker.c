/* SPDX-License-Identifier: MIT
 *
 * Threads that return, spin, sleep or block in a call: which of them are abandoned, what becomes of
 * them, and how long it takes to end them.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/faults.h"
#include "support/suite.h"
#include "support/tree.h"
#include "system/clock.h"
#include "system/worker.h"

enum { PID = 4711, MAX_STUCK = 8, CLOSE_MS = 200, SLACK_MS = 1800 };

static struct worker w;
static struct abandoned_call call_of;
static int files, threads; /* before the test */
static int ends[2];        /* of a pipe: threads block reading it */
static atomic_bool go;     /* spinning and sleeping threads return */
static atomic_int ready;   /* threads that have begun to do so */
static atomic_int results; /* the sum of what their calls returned */

/* Each is a directory there. */
static int count_threads(void) {
    struct stat st;

    ck_assert_int_eq(stat("/proc/self/task", &st), 0);
    return (int)st.st_nlink - 2;
}

static void *do_nothing(void *data) {
    return data;
}

/* With the first thread of a test sanitizers start one of their own. A thread that has been joined
 * may be listed for a moment. */
void before_each(void) {
    pthread_t id;

    files = suite_open_files();
    ck_assert_int_eq(pthread_create(&id, NULL, do_nothing, NULL), 0);
    pthread_join(id, NULL);
    threads = count_threads();
    for (int ms = 0; ms < 10; ms++) {
        usleep(1000);
        if (count_threads() < threads)
            threads = count_threads();
    }
    ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
    worker_init(&w, MAX_STUCK);
}

/* Until none is left of those that a test has started. */
static void await_threads(void) {
    for (int ms = 0; count_threads() != threads && ms < 60000; ms++)
        usleep(1000);
    ck_assert_int_eq(count_threads(), threads);
}

/* All threads return and are gone, and so are their descriptors. */
void after_each(void) {
    atomic_store(&go, true);
    close(ends[1]);
    worker_close(&w, &call_of);
    await_threads();
    close(ends[0]);
    ck_assert_int_eq(suite_open_files(), files);
    ck_assert_int_eq(faults_bad_closes(), 0);
}

/* ---- what threads do ---- */

static void do_return(struct blocking_call *call, void *data) {
    (void)call;
    atomic_fetch_add((atomic_int *)data, 1);
}

static void do_spin(struct blocking_call *call, void *data) {
    blocking_call_begin(call, PID, -1);
    atomic_fetch_add((atomic_int *)data, 1);
    while (!atomic_load(&go))
        continue;
    blocking_call_end(call, 0);
}

/* Not in a call. */
static void do_sleep(struct blocking_call *call, void *data) {
    (void)call;
    atomic_fetch_add((atomic_int *)data, 1);
    while (!atomic_load(&go))
        usleep(1000);
}

/* Until the pipe's other end is closed. */
static void do_block(struct blocking_call *call, void *data) {
    int fd = dup(ends[0]);
    char byte;

    blocking_call_begin(call, PID, fd);
    atomic_fetch_add((atomic_int *)data, 1);
    ssize_t n = blocking_call_end(call, read(fd, &byte, 1));
    atomic_fetch_add(&results, (int)n);
    if (n != -ECANCELED)
        close(fd);
}

static void start(worker_fn *function) {
    const int before = atomic_load(&ready);

    ck_assert_int_eq(worker_start(&w, function, &ready), 0);
    for (int ms = 0; atomic_load(&ready) == before && ms < 60000; ms++)
        usleep(1000);
    ck_assert_int_gt(atomic_load(&ready), before);
}

/* Tries it until the thread is asleep. */
static bool abandon(void) {
    for (int ms = 0; ms < 100; ms++) {
        worker_poll(&w);
        if (worker_abandon(&w, INT64_MAX, &call_of))
            return true;
        usleep(1000);
    }
    return false;
}

static const struct {
    const char *name;
    worker_fn *function;
    enum worker_state state;
    bool abandoned; /* if asked for */
    bool closed;    /* by worker_close() alone */
} rows[] = {
    {"returns", do_return, WORKER_IDLE, false, true},
    {"spins", do_spin, WORKER_RUNNING, false, false},
    {"sleeps", do_sleep, WORKER_RUNNING, false, false},
    {"blocks", do_block, WORKER_IDLE, true, true},
};

TEST_ROWS(only_blocked_calls_are_abandoned, rows) {
    start(row->function);
    ck_assert_msg(!worker_abandon(&w, clock_ms(CLOCK_MONOTONIC) - 60000, &call_of),
                  "%s: abandoned too early", row->name);
    ck_assert_msg(abandon() == row->abandoned, "%s: got %d, want %d", row->name, !row->abandoned,
                  row->abandoned);
    ck_assert_int_eq(worker_poll(&w), row->state);
    ck_assert_int_eq(worker_is_stuck(&w, PID), row->abandoned);
    ck_assert_msg(!row->abandoned || (call_of.pid == PID && call_of.fd > ends[1]),
                  "%s: got process %d, descriptor %d", row->name, call_of.pid, call_of.fd);
}

/* Whatever the thread does, and beside a stuck one. */
TEST_ROWS(closing_is_bounded, rows) {
    start(do_block);
    ck_assert(abandon());
    start(row->function);
    const int64_t begin = clock_ms(CLOCK_MONOTONIC);
    bool closed = worker_close(&w, &call_of);
    const int64_t took = clock_ms(CLOCK_MONOTONIC) - begin;
    ck_assert_msg(took <= CLOSE_MS + SLACK_MS, "%s: took %" PRId64 " ms", row->name, took);
    ck_assert_msg(closed == row->closed, "%s: got %d, want %d", row->name, closed, row->closed);
    ck_assert_int_eq(call_of.pid, row->abandoned ? PID : 0);
    ck_assert_int_eq(worker_poll(&w), WORKER_IDLE);
}

/* It is not known then whether it is blocked. */
TEST(thread_is_not_abandoned_without_a_free_descriptor) {
    start(do_block);
    faults_fail(FAULTS_OPEN, "/stat", 0, EMFILE);
    ck_assert(!abandon());
    faults_clear();
    ck_assert(abandon());
}

TEST(done_is_reported_once) {
    enum worker_state state = WORKER_RUNNING;

    start(do_return);
    for (int ms = 0; state == WORKER_RUNNING && ms < 60000; ms++) {
        state = worker_poll(&w);
        usleep(1000);
    }
    ck_assert_int_eq(state, WORKER_DONE);
    ck_assert_int_eq(worker_poll(&w), WORKER_IDLE);
    ck_assert_int_eq(count_threads(), threads);
}

/* Threads that return make room. */
TEST(more_blocked_threads_than_slots) {
    for (int i = 0; i < MAX_STUCK; i++) {
        start(do_block);
        ck_assert(abandon());
    }
    ck_assert_int_eq(worker_start(&w, do_block, &ready), -EAGAIN);
    ck_assert_int_eq(count_threads(), threads + MAX_STUCK);
    close(ends[1]);
    for (int ms = 0; worker_is_stuck(&w, PID) && ms < 60000; ms++) {
        worker_poll(&w);
        usleep(1000);
    }
    ck_assert_int_eq(count_threads(), threads);
    ck_assert_int_eq(atomic_load(&results), -ECANCELED * MAX_STUCK);
    start(do_return);
    ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0); /* after_each closes both ends */
    files++;
}

/* It uses nothing of the worker, and closes the descriptor. */
TEST(stuck_thread_returns_after_the_worker_is_gone) {
    start(do_block);
    ck_assert(abandon());
    start(do_block);
    ck_assert(worker_close(&w, &call_of));
    memset(&w, 0x5a, sizeof(w));
    close(ends[1]);
    await_threads();
    ck_assert_int_eq(atomic_load(&results), -2 * ECANCELED);
    ck_assert_int_eq(suite_open_files(), files + 1);
    worker_init(&w, MAX_STUCK);
    ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
    files++;
}

static const struct {
    int faulty; /* the nth call of pthread_create */
    int err;
} failed_rows[] = {{1, EAGAIN}, {1, EPERM}};

TEST_ROWS(failed_start_leaves_the_worker_idle, failed_rows) {
    faults_fail(FAULTS_THREAD, NULL, row->faulty, row->err);
    ck_assert_int_eq(worker_start(&w, do_return, &ready), -row->err);
    ck_assert_int_eq(worker_poll(&w), WORKER_IDLE);
    start(do_return);
}

/* ---- the calls ---- */

static char path[4096];

static void make_file(void) {
    const char *dir = suite_dir();

    tree_write(dir, "file", "text", 4);
    strcpy(path, tree_path(dir, "file"));
}

static void do_read(struct blocking_call *call, void *data) {
    const int *whole = data;
    char buf[16];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = *whole ? blocking_read_fd(call, PID, fd, PSEUDOFS_ALL, buf, sizeof(buf))
                       : blocking_pread(call, PID, fd, buf, sizeof(buf), 0);

    atomic_fetch_add(&results, (int)n);
    if (n != -ECANCELED)
        close(fd);
}

static const struct {
    int whole;
    bool abandoned, cancelled;
    int err; /* of the file */
    int want;
} call_rows[] = {
    {0, false, false, 0, 4},
    {1, false, false, 0, 4},
    {0, true, false, 0, -ECANCELED},
    {1, true, false, 0, -ECANCELED},
    {0, false, true, 0, -EINTR},
    {1, false, true, 0, -EINTR},
    {0, false, false, EACCES, -EACCES},
    {1, false, false, EACCES, -EACCES},
    {0, false, false, ECANCELED, -EIO},
    {1, false, false, ECANCELED, -EIO},
};

TEST_ROWS(call_reports_whether_it_was_abandoned, call_rows) {
    int whole = row->whole;

    make_file();
    if (row->cancelled) {
        struct blocking_call call = {.cancelled = true};
        do_read(&call, &whole);
    } else {
        faults_block("/file");
        if (row->err != 0)
            faults_fail(FAULTS_PREAD, "/file", 0, row->err);
        ck_assert_int_eq(worker_start(&w, do_read, &whole), 0);
        ck_assert_int_eq(faults_await_blocked(1), 1);
        ck_assert(!row->abandoned || abandon());
        faults_release(NULL);
        await_threads();
    }
    ck_assert_int_eq(atomic_load(&results), row->want);
}

TEST(abandoned_thread_makes_no_further_call) {
    struct blocking_call call = {.since = -1, .fd = -1};

    ck_assert(!blocking_call_begin(&call, PID, -1));
    ck_assert_int_eq(blocking_call_end(&call, 0), -ECANCELED);
}

TEST(without_a_supervisor_calls_are_plain) {
    int whole = 1;

    make_file();
    do_read(NULL, &whole);
    ck_assert_int_eq(atomic_load(&results), 4);
    ck_assert_int_eq(blocking_openat(NULL, PID, AT_FDCWD, "/nonexistent"), -ENOENT);
}

/* It means that a thread was abandoned. */
TEST(no_file_can_return_ecanceled) {
    DIR *opened = NULL;

    make_file();
    faults_fail(FAULTS_OPENAT, "/file", 0, ECANCELED);
    ck_assert_int_eq(blocking_openat(NULL, PID, AT_FDCWD, path), -EIO);
    faults_fail(FAULTS_OPENDIR, "/proc", 0, ECANCELED);
    ck_assert_int_eq(pseudofs_opendir("/", "proc", &opened), -EIO);
}

/* ---- pauses ---- */

static const struct {
    int calls, ms; /* how many there are, and how long each takes */
    int pids;      /* that they are of, in turn */
    int want;      /* pauses */
} pause_rows[] = {
    {1, 100, 1, 0}, {2, 3, 1, 0}, {2, 4, 1, 1}, {9, 1, 1, 2}, {1000, 0, 1, 0}, {9, 100, 2, 0},
};

TEST_ROWS(many_calls_to_one_process_pause_for_its_writers, pause_rows) {
    struct blocking_call call = {.pid = 0};

    faults_stop_clocks(0, 1000);
    for (int i = 0; i < row->calls; i++) {
        ck_assert(blocking_call_begin(&call, PID + i % row->pids, -1));
        faults_stop_clocks(0, clock_ms(CLOCK_MONOTONIC) + row->ms);
        ck_assert_int_eq(blocking_call_end(&call, 1), 1);
    }
    ck_assert_int_eq(faults_polls(), row->want);
    faults_let_clocks_go(); /* Check takes the time at the end */
}
