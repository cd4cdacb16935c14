/* SPDX-License-Identifier: MIT
 *
 * For LD_PRELOAD: a monotonic clock that is 5 ms later at every reading, as for a program that is
 * kept from running between two of them.
 */
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { STEP_NS = 5000000, SECOND_NS = 1000000000 };

int clock_gettime(clockid_t clock, struct timespec *time) {
    static atomic_int_fast64_t late;
    long status = syscall(SYS_clock_gettime, clock, time);

    if (status == 0 && clock == CLOCK_MONOTONIC) {
        int64_t ns = time->tv_nsec + atomic_fetch_add(&late, STEP_NS) + STEP_NS;
        time->tv_sec += ns / SECOND_NS;
        time->tv_nsec = ns % SECOND_NS;
    }
    return (int)status;
}
