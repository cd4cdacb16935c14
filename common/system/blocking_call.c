/* SPDX-License-Identifier: MIT */
#include "system/blocking_call.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "system/clock.h"
#include "system/parse.h"
#include "system/pseudofs.h"

/* ---- the thread ---- */

void blocking_call_set_thread(struct blocking_call *call) {
    atomic_store(&call->thread, (int)syscall(SYS_gettid));
}

/* The coarse clock is at most 10 ms late, and takes a third of the time. */
static int64_t coarse_ms(void) {
    return clock_ms(CLOCK_MONOTONIC_COARSE);
}

/* Returns the time, after a pause if many calls have followed each other. */
static int64_t pause_for_writers(struct blocking_call *call, int pid) {
    int64_t now = coarse_ms();

    if (pid == call->pid && now - call->resumed < BLOCKING_CALL_STINT_MS)
        return now;
    if (pid == call->pid) {
        poll(NULL, 0, 1);
        now = coarse_ms();
    }
    call->resumed = now;
    return now;
}

bool blocking_call_begin(struct blocking_call *call, int pid, int fd) {
    if (!call)
        return true;
    if (atomic_load_explicit(&call->cancelled, memory_order_relaxed) ||
        atomic_load_explicit(&call->since, memory_order_relaxed) < 0)
        return false;
    const int64_t now = pause_for_writers(call, pid);
    call->pid = pid;
    call->fd = fd;
    atomic_store_explicit(&call->since, now > 0 ? now : 1, memory_order_release);
    return true;
}

/* Returns whether the thread was not abandoned. */
static bool end(struct blocking_call *call) {
    if (!call)
        return true;
    int64_t since = atomic_load_explicit(&call->since, memory_order_relaxed);
    return since > 0 && atomic_compare_exchange_strong(&call->since, &since, 0);
}

ssize_t blocking_call_end(struct blocking_call *call, ssize_t result) {
    if (end(call))
        return result == -ECANCELED ? -EIO : result;
    if (call->fd >= 0)
        close(call->fd);
    return -ECANCELED;
}

void blocking_call_close(const struct blocking_call *call, int fd, ssize_t status) {
    if (status != -ECANCELED || fd != call->fd)
        close(fd);
}

int blocking_openat(struct blocking_call *call, int pid, int dir, const char *path) {
    if (!blocking_call_begin(call, pid, -1))
        return -EINTR;
    int fd = pseudofs_openat(dir, path);
    if (end(call))
        return fd;
    if (fd >= 0)
        close(fd);
    return -ECANCELED;
}

ssize_t blocking_pread(struct blocking_call *call, int pid, int fd, void *buf, size_t size,
                       int64_t offset) {
    if (!blocking_call_begin(call, pid, fd))
        return -EINTR;
    ssize_t n = 0;
    do
        n = pread(fd, buf, size, offset);
    while (n < 0 && errno == EINTR);
    return blocking_call_end(call, n < 0 ? -errno : n);
}

ssize_t blocking_read_fd(struct blocking_call *call, int pid, int fd, enum pseudofs_extent extent,
                         char *buf, size_t size) {
    if (!blocking_call_begin(call, pid, fd))
        return -EINTR;
    return blocking_call_end(call, pseudofs_read_fd(fd, extent, buf, size));
}

/* ---- its supervisor ---- */

/* A thread whose state cannot be read for lack of resources counts as runnable: abandoning a
 * starved one would report a process as blocking that is not. */
static bool is_runnable(struct blocking_call *call) {
    struct pseudofs_file file;
    struct parse_stat stat;
    char name[32];
    char buf[PARSE_STAT_SIZE];

    snprintf(name, sizeof(name), "%d/stat", atomic_load(&call->thread));
    pseudofs_init(&file, "", "proc/self/task", name);
    ssize_t n = pseudofs_read(&file, 0, PSEUDOFS_ALL, buf, sizeof(buf));
    pseudofs_close(&file);
    if (pseudofs_is_transient((int)n))
        return true;
    return n > 0 && parse_stat(buf, (size_t)n, &stat) == 0 && stat.state == 'R';
}

bool blocking_call_abandon(struct blocking_call *call, int64_t latest) {
    int64_t began = atomic_load(&call->since);

    return began > 0 && began <= latest && !is_runnable(call) &&
           atomic_compare_exchange_strong(&call->since, &began, -1);
}
