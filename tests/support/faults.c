/* SPDX-License-Identifier: MIT */
#include "faults.h"

#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MOST_PLANS = 8 };

static struct plan {
    enum faults_call call;
    const char *suffix;
    int nth;
    int err;
    int seen;
} plans[MOST_PLANS];
static size_t planned;
static int counts[FAULTS_CALLS];
static size_t shortened;
static long page_size;
static bool stopped;
static int64_t clocks[2]; /* CLOCK_REALTIME is 0, CLOCK_MONOTONIC 1 */
static int polls;
static void (*on_wait)(void);

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
    if (planned == MOST_PLANS)
        errx(2, "too many faults planned");
    plans[planned++] = (struct plan){call, suffix, nth, err, 0};
}

void faults_shorten(size_t most) {
    shortened = most;
}

void faults_page_size(long size) {
    page_size = size;
}

void faults_stop_clocks(int64_t realtime, int64_t monotonic) {
    stopped = true;
    clocks[CLOCK_REALTIME] = realtime;
    clocks[CLOCK_MONOTONIC] = monotonic;
}

int64_t faults_realtime(void) {
    return clocks[CLOCK_REALTIME];
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

void faults_pause(void) {
    run.counting = false;
}

void faults_resume(void) {
    run.counting = true;
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
    planned = 0;
    stopped = false;
    on_wait = NULL;
    polls = 0;
    shortened = 0;
    page_size = 0;
    memset(counts, 0, sizeof(counts));
}

int faults_count(enum faults_call call) {
    return counts[call];
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
        if (plan->call != call || (plan->suffix && !ends_in(path, plan->suffix)))
            continue;
        plan->seen++;
        if (plan->nth == 0 || plan->nth == plan->seen)
            found = plan->err;
    }
    return found;
}

int faults_next(enum faults_call call, const char *path) {
    if (!is_nth(call))
        return planned_for(call, path);
    snprintf(run.path, sizeof(run.path), "%s", path);
    return run.err;
}

int faults_next_of(enum faults_call call, int fd) {
    char link[64];
    char path[PATH_MAX] = "";
    bool nth = is_nth(call);

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t len = nth || planned > 0 ? readlink(link, path, sizeof(path) - 1) : 0;
    path[len > 0 ? len : 0] = '\0';
    if (!nth)
        return planned_for(call, path);
    memcpy(run.path, path, sizeof(path));
    return run.err;
}

size_t faults_cut(int how, const char *buf, size_t size) {
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

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
DIR *__real_opendir(const char *path);
DIR *__wrap_opendir(const char *path);
ssize_t __real_pread(int fd, void *buf, size_t size, off_t offset);
ssize_t __wrap_pread(int fd, void *buf, size_t size, off_t offset);
ssize_t __real_write(int fd, const void *buf, size_t size);
ssize_t __wrap_write(int fd, const void *buf, size_t size);
long __real_sysconf(int name);
long __wrap_sysconf(int name);
int __real_clock_gettime(clockid_t clock, struct timespec *time);
int __wrap_clock_gettime(clockid_t clock, struct timespec *time);
int __real_poll(struct pollfd *fds, nfds_t count, int timeout);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout);

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
        return error == 0 || n <= 0 ? n : (ssize_t)faults_cut(error, buf, (size_t)n);
    }
    errno = error;
    return -1;
}

ssize_t __wrap_write(int fd, const void *buf, size_t size) {
    int error = faults_next_of(FAULTS_WRITE, fd);

    if (error < 0)
        size = faults_cut(error, buf, size);
    if (error <= 0)
        return __real_write(fd, buf, cut(size));
    errno = error;
    return -1;
}

long __wrap_sysconf(int name) {
    return name == _SC_PAGESIZE && page_size > 0 ? page_size : __real_sysconf(name);
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *time) {
    if (!stopped || clock > CLOCK_MONOTONIC)
        return __real_clock_gettime(clock, time);
    *time = (struct timespec){clocks[clock] / 1000, clocks[clock] % 1000 * 1000000};
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
        clocks[CLOCK_REALTIME] += timeout;
        clocks[CLOCK_MONOTONIC] += timeout;
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
