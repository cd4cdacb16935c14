/* SPDX-License-Identifier: MIT
 *
 * Clocks that a test sets, for LD_PRELOAD. The file $KSM_TEST_CLOCK, 8 bytes that may change at any
 * time, says by how many ns the wall clock is ahead of the system's. With $KSM_TEST_CLOCK_STEP the
 * monotonic clock is so many ms later at every reading, as for a program that is kept from running.
 */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { NS = 1000000000 };

static const volatile int64_t *ahead;
static int64_t step; /* ns */
static atomic_int_fast64_t late;

__attribute__((constructor)) static void find_clock(void) {
    const char *path = getenv("KSM_TEST_CLOCK"), *ms = getenv("KSM_TEST_CLOCK_STEP");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *found = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(*ahead), PROT_READ, MAP_SHARED, fd, 0);

    step = ms ? atol(ms) * 1000000 : 0;
    if (!path)
        return;
    if (found == MAP_FAILED)
        abort();
    ahead = found;
    close(fd);
}

static void put_ahead(struct timespec *time, int64_t by) {
    int64_t ns = time->tv_nsec + by % NS + NS;

    time->tv_sec += by / NS + ns / NS - 1;
    time->tv_nsec = ns % NS;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    long status = syscall(SYS_clock_gettime, clock, time);

    if (status == 0 && clock == CLOCK_REALTIME && ahead)
        put_ahead(time, *ahead);
    if (status == 0 && clock == CLOCK_MONOTONIC && step > 0)
        put_ahead(time, atomic_fetch_add(&late, step) + step);
    return (int)status;
}
