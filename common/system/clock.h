/* SPDX-License-Identifier: MIT */
#ifndef KSM_CLOCK_H
#define KSM_CLOCK_H

#include <stdint.h>
#include <time.h>

/* CLOCK_MONOTONIC or CLOCK_REALTIME in ms, rounded down. No system call on the usual machines. */
static inline int64_t clock_ms(clockid_t clock) {
    struct timespec now = {0, 0};

    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Any clock in µs, rounded down. CLOCK_THREAD_CPUTIME_ID is a system call. */
static inline int64_t clock_us(clockid_t clock) {
    struct timespec now = {0, 0};

    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

#endif
