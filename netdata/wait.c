/* SPDX-License-Identifier: MIT */
#include "wait.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

#include "clock.h"

/* Drops what there is; false at the end of stdin or if there is none. */
static bool drain(void) {
    char buf[4096];
    ssize_t n = read(STDIN_FILENO, buf, sizeof(buf));

    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

enum wait_result wait_for_tick(int update_every) {
    const int64_t period = (int64_t)update_every * 1000;
    const int64_t alive = clock_ms(CLOCK_MONOTONIC) + WAIT_ALIVE_SECONDS * 1000;
    int64_t now = clock_ms(CLOCK_REALTIME);
    int64_t due = (now / period + 1) * period;

    while (now < due) {
        struct pollfd pollfd = {.fd = STDIN_FILENO, .events = POLLIN};
        int64_t left = alive - clock_ms(CLOCK_MONOTONIC);
        if (left <= 0)
            return WAIT_ALIVE;
        /* One ms more: now is rounded down, and waking just before the tick would mean to wait
         * again. */
        if (left > due - now)
            left = due - now + 1;
        int n = poll(&pollfd, 1, (int)left);
        if (n > 0 && !drain())
            return WAIT_END;
        now = clock_ms(CLOCK_REALTIME);
        if (due - now > period) /* the clock was set back */
            due = (now / period + 1) * period;
    }
    return WAIT_TICK;
}
