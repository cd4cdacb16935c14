/* SPDX-License-Identifier: MIT */
#include "ticker.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "system/clock.h"

/* Reads what there is; false at the end of stdin or if there is none. */
static bool fill(struct ticker *wait) {
    ssize_t n = read(STDIN_FILENO, wait->input, sizeof(wait->input));

    wait->used = 0;
    wait->len = n > 0 ? (size_t)n : 0;
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static bool next_request(struct ticker *wait) {
    size_t used = 0;
    bool whole =
        request_take(&wait->requests, wait->input + wait->used, wait->len - wait->used, &used);

    wait->used += used;
    return whole;
}

static int64_t next_multiple(const struct ticker *wait, int64_t now) {
    return (now / wait->period + 1) * wait->period;
}

/* Times are rounded down: of two clocks, one may seem to be so far ahead. */
enum { ROUNDING_MS = 1 };

/* The next wait begins: with a tick, or with a sign of life. */
static enum ticker_result begin_wait(struct ticker *wait, enum ticker_result result) {
    int64_t now = clock_ms(CLOCK_MONOTONIC);

    wait->alive = now + (int64_t)TICKER_ALIVE_SECONDS * 1000;
    if (result == TICKER_TICK) {
        wait->due = next_multiple(wait, clock_ms(CLOCK_REALTIME));
        wait->latest = now + wait->period + ROUNDING_MS;
    }
    return result;
}

void ticker_init(struct ticker *wait, int update_every) {
    memset(wait, 0, sizeof(*wait));
    wait->period = (int64_t)update_every * 1000;
    begin_wait(wait, TICKER_TICK);
}

/* Until the next tick, in ms; 0 or less: it is time. */
static int64_t left(const struct ticker *wait) {
    int64_t due = wait->due - clock_ms(CLOCK_REALTIME);
    int64_t latest = wait->latest - clock_ms(CLOCK_MONOTONIC);

    return due < latest ? due : latest;
}

static int64_t earlier(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* How long to wait in one go, in ms; one more than is left, as now is rounded down and waking just
 * before the tick would mean to wait again. */
static int timeout(const struct ticker *wait, int64_t look) {
    int64_t now = clock_ms(CLOCK_MONOTONIC);
    int64_t most = earlier(left(wait), earlier(wait->alive, look) - now);

    return most > 0 ? (int)most + 1 : 0;
}

enum ticker_result ticker_wait(struct ticker *wait, int64_t look) {
    for (;;) {
        struct pollfd pollfd = {.fd = STDIN_FILENO, .events = POLLIN};
        const bool pending = wait->used < wait->len; /* there may be a request at hand */
        if (left(wait) <= 0)
            return begin_wait(wait, TICKER_TICK);
        if (clock_ms(CLOCK_MONOTONIC) >= wait->alive)
            return begin_wait(wait, TICKER_ALIVE);
        if (clock_ms(CLOCK_MONOTONIC) >= look)
            return TICKER_LOOK;
        if (pending && left(wait) > TICKER_RESERVED_MS) {
            if (next_request(wait))
                return TICKER_REQUEST;
            continue;
        }
        const int64_t since = clock_ms(CLOCK_MONOTONIC);
        int n = poll(&pollfd, pending ? 0 : 1, timeout(wait, look));
        if (!pending && clock_ms(CLOCK_MONOTONIC) - since >= TICKER_SILENCE_MS)
            request_give_up(&wait->requests);
        if (n > 0 && ((pollfd.revents & POLLHUP) || !fill(wait)))
            return TICKER_END;
    }
}
