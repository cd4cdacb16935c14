/* SPDX-License-Identifier: MIT */
#include "faults.h"

#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

FAULTS_WRAPPED(int, open, const char *path, int flags, ...);
FAULTS_WRAPPED(DIR *, opendir, const char *path);
FAULTS_WRAPPED(ssize_t, pread, int fd, void *buf, size_t size, off_t offset);
FAULTS_WRAPPED(ssize_t, write, int fd, const void *buf, size_t size);
FAULTS_WRAPPED(long, sysconf, int name);
FAULTS_WRAPPED(int, clock_gettime, clockid_t clock, struct timespec *time);
FAULTS_WRAPPED(int, poll, struct pollfd *fds, nfds_t count, int timeout);
FAULTS_WRAPPED(int, openat, int dir, const char *path, int flags, ...);
FAULTS_WRAPPED(int, close, int fd);
FAULTS_WRAPPED(int, pthread_create, pthread_t *id, const pthread_attr_t *attr,
               void *(*start)(void *), void *data);

/* Of all that follows; no call waits while it holds it, nor calls back. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

enum { MOST_PLANS = 8, MOST_BLOCKS = 16 };

static struct plan {
    enum faults_call call;
    char suffix[64];
    int nth;
    int err;
    int seen;
    int64_t ms, cpu_ms; /* by which the clocks go on */
} plans[MOST_PLANS];
static size_t planned;
static int counts[FAULTS_CALLS];
static size_t shortened;
static long page_size;
static bool stopped;
static int64_t clocks[2]; /* CLOCK_REALTIME is 0, CLOCK_MONOTONIC 1 */
static int64_t cpu_clock;
static int polls;
static void (*on_wait)(void);
static char blocks[MOST_BLOCKS][64]; /* suffixes of files */
static size_t block_count;
static int blocked;
static atomic_bool spinning;
static int bad_closes;

enum { MOST_CALLS = 20000 };

/* The one fault of a run. */
static struct {
    bool counting;
    int nth;
    int err;
    int seen;
    char path[PATH_MAX];
    unsigned char calls[MOST_CALLS];
} run;

void faults_fail(enum faults_call call, const char *suffix, int nth, int err) {
    pthread_mutex_lock(&lock);
    if (planned == MOST_PLANS)
        errx(2, "too many faults planned");
    plans[planned] = (struct plan){call, "", nth, err, 0, 0, 0};
    snprintf(plans[planned++].suffix, sizeof(plans[0].suffix), "%s", suffix ? suffix : "");
    pthread_mutex_unlock(&lock);
}

void faults_delay(const char *suffix, int64_t ms, int64_t cpu_ms) {
    faults_fail(FAULTS_PREAD, suffix, 0, 0);
    plans[planned - 1].ms = ms;
    plans[planned - 1].cpu_ms = cpu_ms;
}

int faults_seen(enum faults_call call, const char *suffix) {
    int seen = 0;

    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < planned; i++)
        if (plans[i].call == call && strcmp(plans[i].suffix, suffix) == 0)
            seen = plans[i].seen;
    pthread_mutex_unlock(&lock);
    return seen;
}

void faults_shorten(size_t most) {
    shortened = most;
}

void faults_page_size(long size) {
    page_size = size;
}

void faults_stop_clocks(int64_t realtime, int64_t monotonic) {
    pthread_mutex_lock(&lock);
    stopped = true;
    clocks[CLOCK_REALTIME] = realtime;
    clocks[CLOCK_MONOTONIC] = monotonic;
    pthread_mutex_unlock(&lock);
}

void faults_let_clocks_go(void) {
    pthread_mutex_lock(&lock);
    stopped = false;
    pthread_mutex_unlock(&lock);
}

int64_t faults_realtime(void) {
    pthread_mutex_lock(&lock);
    int64_t now = clocks[CLOCK_REALTIME];
    pthread_mutex_unlock(&lock);
    return now;
}

void faults_on_wait(void (*waited)(void)) {
    on_wait = waited;
}

void faults_begin(int nth, int err) {
    run.counting = true;
    run.nth = nth;
    run.err = err;
    run.seen = 0;
    run.path[0] = '\0';
}

void faults_end(void) {
    run.counting = false;
    run.nth = 0;
}

void faults_count_calls(bool count) {
    run.counting = count;
}

bool faults_counting(void) {
    return run.counting;
}

int faults_calls(const unsigned char **calls) {
    *calls = run.calls;
    return run.seen;
}

const char *faults_path(void) {
    return run.path;
}

int faults_polls(void) {
    return polls;
}

void faults_clear(void) {
    pthread_mutex_lock(&lock);
    planned = 0;
    stopped = false;
    on_wait = NULL;
    polls = 0;
    shortened = 0;
    page_size = 0;
    bad_closes = 0;
    memset(counts, 0, sizeof(counts));
    pthread_mutex_unlock(&lock);
    faults_release(NULL);
}

int faults_count(enum faults_call call) {
    pthread_mutex_lock(&lock);
    int count = counts[call];
    pthread_mutex_unlock(&lock);
    return count;
}

void faults_block(const char *suffix) {
    pthread_mutex_lock(&lock);
    if (block_count == MOST_BLOCKS)
        errx(2, "too many files blocked");
    snprintf(blocks[block_count++], sizeof(blocks[0]), "%s", suffix);
    pthread_mutex_unlock(&lock);
}

void faults_spin(bool on) {
    atomic_store(&spinning, on);
}

void faults_release(const char *suffix) {
    size_t kept = 0;

    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < block_count; i++)
        if (suffix && strcmp(blocks[i], suffix) != 0)
            memmove(blocks[kept++], blocks[i], sizeof(blocks[0]));
    block_count = kept;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

int faults_await_blocked(int count) {
    struct timespec end;

    __real_clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += 60;
    pthread_mutex_lock(&lock);
    while (blocked != count && pthread_cond_timedwait(&changed, &lock, &end) == 0)
        continue;
    int got = blocked;
    pthread_mutex_unlock(&lock);
    return got;
}

int faults_bad_closes(void) {
    pthread_mutex_lock(&lock);
    int count = bad_closes;
    pthread_mutex_unlock(&lock);
    return count;
}

static bool ends_in(const char *path, const char *suffix) {
    size_t len = strlen(path);
    size_t suffix_len = strlen(suffix);

    return len >= suffix_len && strcmp(path + len - suffix_len, suffix) == 0;
}

/* Whether this is the call of the run that is to fail. */
static bool is_nth(enum faults_call call) {
    if (!run.counting)
        return false;
    if (run.seen == MOST_CALLS)
        errx(2, "too many calls in a run");
    run.calls[run.seen++] = (unsigned char)call;
    return run.seen == run.nth;
}

/* Counts a call; the error that is planned for it, or 0. */
static int planned_for(enum faults_call call, const char *path) {
    int found = 0;

    counts[call]++;
    for (size_t i = 0; i < planned; i++) {
        struct plan *plan = &plans[i];
        if (plan->call != call || !ends_in(path, plan->suffix))
            continue;
        plan->seen++;
        clocks[CLOCK_REALTIME] += plan->ms;
        clocks[CLOCK_MONOTONIC] += plan->ms;
        cpu_clock += plan->cpu_ms;
        if (plan->nth == 0 || plan->nth == plan->seen)
            found = plan->err;
    }
    return found;
}

static int next(enum faults_call call, const char *path) {
    if (!is_nth(call))
        return planned_for(call, path);
    snprintf(run.path, sizeof(run.path), "%s", path);
    return run.err;
}

int faults_next(enum faults_call call, const char *path) {
    pthread_mutex_lock(&lock);
    int error = next(call, path);
    pthread_mutex_unlock(&lock);
    return error;
}

static bool is_blocked(const char *path) {
    for (size_t i = 0; i < block_count; i++)
        if (ends_in(path, blocks[i]))
            return true;
    return false;
}

static void wait_while_blocked(const char *path) {
    if (!is_blocked(path))
        return;
    blocked++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    while (atomic_load(&spinning))
        continue;
    pthread_mutex_lock(&lock);
    while (is_blocked(path))
        pthread_cond_wait(&changed, &lock);
    blocked--;
    pthread_cond_broadcast(&changed);
}

/* A path is looked up, which takes long, only where something depends on it. */
int faults_next_of(enum faults_call call, int fd) {
    char link[64];
    char path[PATH_MAX] = "";

    pthread_mutex_lock(&lock);
    if (planned > 0 || block_count > 0 || (run.counting && run.seen + 1 == run.nth)) {
        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        ssize_t len = readlink(link, path, sizeof(path) - 1);
        path[len > 0 ? len : 0] = '\0';
    }
    int error = next(call, path);
    if (call == FAULTS_PREAD)
        wait_while_blocked(path);
    pthread_mutex_unlock(&lock);
    return error;
}

/* How much of size bytes a call does that is cut short. */
static size_t cut_short(int how, const char *buf, size_t size) {
    const char *newline = how == FAULTS_ONE_LINE && size > 0 ? memchr(buf, '\n', size) : NULL;

    if (size < 2)
        return size;
    if (newline)
        return (size_t)(newline - buf) + 1;
    if (how == FAULTS_ALL_BUT_ONE)
        return size - 1;
    return how == FAULTS_ONE_BYTE ? 1 : size / 2;
}

static size_t cut(size_t size) {
    return shortened > 0 && size > shortened ? shortened : size;
}

int __wrap_open(const char *path, int flags, ...) {
    int error = faults_next(FAULTS_OPEN, path);
    mode_t mode = 0;
    va_list more;

    if (flags & O_CREAT) {
        va_start(more, flags);
        mode = va_arg(more, mode_t);
        va_end(more);
    }
    if (error == 0)
        return __real_open(path, flags, mode);
    errno = error;
    return -1;
}

/* The code under test opens only to read. */
int __wrap_openat(int dir, const char *path, int flags, ...) {
    int error = faults_next(FAULTS_OPENAT, path);

    if (error <= 0)
        return __real_openat(dir, path, flags);
    errno = error;
    return -1;
}

int __wrap_close(int fd) {
    int error = faults_next_of(FAULTS_CLOSE, fd);
    int status = __real_close(fd);

    pthread_mutex_lock(&lock);
    bad_closes += status != 0 && errno == EBADF;
    pthread_mutex_unlock(&lock);
    if (error <= 0)
        return status;
    errno = error;
    return -1;
}

DIR *__wrap_opendir(const char *path) {
    int error = faults_next(FAULTS_OPENDIR, path);

    if (error == 0)
        return __real_opendir(path);
    errno = error;
    return NULL;
}

ssize_t __wrap_pread(int fd, void *buf, size_t size, off_t offset) {
    int error = faults_next_of(FAULTS_PREAD, fd);

    if (error <= 0) {
        ssize_t n = __real_pread(fd, buf, cut(size), offset);
        return error == 0 || n <= 0 ? n : (ssize_t)cut_short(error, buf, (size_t)n);
    }
    errno = error;
    return -1;
}

ssize_t __wrap_write(int fd, const void *buf, size_t size) {
    int error = faults_next_of(FAULTS_WRITE, fd);

    if (error < 0)
        size = cut_short(error, buf, size);
    if (error <= 0)
        return __real_write(fd, buf, cut(size));
    errno = error;
    return -1;
}

long __wrap_sysconf(int name) {
    return name == _SC_PAGESIZE && page_size > 0 ? page_size : __real_sysconf(name);
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *time) {
    pthread_mutex_lock(&lock);
    const clockid_t exact = clock == CLOCK_MONOTONIC_COARSE ? CLOCK_MONOTONIC : clock;
    bool stands = stopped && (exact <= CLOCK_MONOTONIC || exact == CLOCK_THREAD_CPUTIME_ID);
    int64_t ms = !stands ? 0 : exact <= CLOCK_MONOTONIC ? clocks[exact] : cpu_clock;
    pthread_mutex_unlock(&lock);
    if (!stands)
        return __real_clock_gettime(clock, time);
    *time = (struct timespec){ms / 1000, ms % 1000 * 1000000};
    return 0;
}

/* ---- threads that run at once ---- */

static bool at_once;

struct start {
    void *(*function)(void *);
    void *data;
    bool done;
};

void faults_run_threads_at_once(void) {
    at_once = true;
}

static void *run_at_once(void *data) {
    struct start *start = data;
    void *result = start->function(start->data);

    pthread_mutex_lock(&lock);
    start->done = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    return result;
}

int __wrap_pthread_create(pthread_t *id, const pthread_attr_t *attr, void *(*function)(void *),
                          void *data) {
    int error = faults_next(FAULTS_THREAD, "");
    struct start start = {.function = function, .data = data};

    if (error > 0)
        return error;
    if (!at_once)
        return __real_pthread_create(id, attr, function, data);
    if (__real_pthread_create(id, attr, run_at_once, &start) != 0)
        errx(2, "no thread can be made");
    pthread_mutex_lock(&lock);
    while (!start.done)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    return 0;
}

int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout) {
    int error = faults_next(FAULTS_POLL, "");

    if (error > 0) {
        errno = error;
        return -1;
    }
    if (!stopped)
        return __real_poll(fds, count, timeout);
    polls++;
    int ready = __real_poll(fds, count, 0);
    if (ready == 0 && timeout < 0)
        errx(2, "poll would wait for ever");
    if (ready == 0) {
        faults_stop_clocks(clocks[CLOCK_REALTIME] + timeout, clocks[CLOCK_MONOTONIC] + timeout);
        if (on_wait && timeout > 0)
            on_wait();
    }
    return ready;
}

/* What a compiler that checks sizes at run time (_FORTIFY_SOURCE) makes of the same calls. */
ssize_t __wrap___pread_chk(int fd, void *buf, size_t size, off_t offset, size_t room);
int __wrap___poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t room);

ssize_t __wrap___pread_chk(int fd, void *buf, size_t size, off_t offset, size_t room) {
    if (size > room)
        errx(2, "pread: %zu bytes into a buffer of %zu", size, room);
    return __wrap_pread(fd, buf, size, offset);
}

int __wrap___poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t room) {
    if (count > room / sizeof(*fds))
        errx(2, "poll: too many descriptors");
    return __wrap_poll(fds, count, timeout);
}
