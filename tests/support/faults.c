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

int faults_polls(void) {
    return polls;
}

void faults_clear(void) {
    planned = 0;
    stopped = false;
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

/* Counts a call; the error that is planned for it, or 0. */
static int fault(enum faults_call call, const char *path) {
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

static int fault_of(enum faults_call call, int fd) {
    char link[64];
    char path[PATH_MAX] = "";

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t len = planned > 0 ? readlink(link, path, sizeof(path) - 1) : 0;
    path[len > 0 ? len : 0] = '\0';
    return fault(call, path);
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
    int error = fault(FAULTS_OPEN, path);
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
    int error = fault(FAULTS_OPENDIR, path);

    if (error == 0)
        return __real_opendir(path);
    errno = error;
    return NULL;
}

ssize_t __wrap_pread(int fd, void *buf, size_t size, off_t offset) {
    int error = fault_of(FAULTS_PREAD, fd);

    if (error == 0)
        return __real_pread(fd, buf, cut(size), offset);
    errno = error;
    return -1;
}

ssize_t __wrap_write(int fd, const void *buf, size_t size) {
    int error = fault_of(FAULTS_WRITE, fd);

    if (error == 0)
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
    if (!stopped)
        return __real_poll(fds, count, timeout);
    polls++;
    int ready = __real_poll(fds, count, 0);
    if (ready == 0 && timeout < 0)
        errx(2, "poll would wait for ever");
    if (ready == 0) {
        clocks[CLOCK_REALTIME] += timeout;
        clocks[CLOCK_MONOTONIC] += timeout;
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
