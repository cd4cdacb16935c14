/* SPDX-License-Identifier: MIT */
#include "ticker.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "system/clock.h"

/* Returns false at the end of stdin. */
static bool read_input(struct ticker *wait) {
    ssize_t n = read(STDIN_FILENO, wait->input, sizeof(wait->input));

    wait->used = 0;
    wait->len = n > 0 ? (size_t)n : 0;
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static bool next_request(struct ticker *wait) {
    size_t used = 0;
    bool complete =
        request_take(&wait->requests, wait->input + wait->used, wait->len - wait->used, &used);

    wait->used += used;
    return complete;
}

static int64_t next_multiple(const struct ticker *wait, int64_t now) {
    return (now / wait->period + 1) * wait->period;
}

/* Both clocks are rounded down, so they can differ by this. */
enum { ROUNDING_MS = 1 };

static enum ticker_result begin_wait(struct ticker *wait, enum ticker_result result) {
    int64_t now = clock_ms(CLOCK_MONOTONIC);

    wait->keepalive_at = now + (int64_t)TICKER_KEEPALIVE_SECONDS * 1000;
    if (result == TICKER_TICK) {
        wait->due = next_multiple(wait, clock_ms(CLOCK_REALTIME));
        wait->due_latest = now + wait->period + ROUNDING_MS;
    }
    return result;
}

void ticker_init(struct ticker *wait, int update_every) {
    memset(wait, 0, sizeof(*wait));
    wait->period = (int64_t)update_every * 1000;
    begin_wait(wait, TICKER_TICK);
}

/* ms until the next tick; 0 or less: now. */
static int64_t time_left(const struct ticker *wait) {
    int64_t due = wait->due - clock_ms(CLOCK_REALTIME);
    int64_t latest = wait->due_latest - clock_ms(CLOCK_MONOTONIC);

    return due < latest ? due : latest;
}

static int64_t min(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* Timeout of poll() in ms. One more than the time left, because clocks are rounded down and waking
 * just before the tick would only mean waiting again. */
static int timeout_ms(const struct ticker *wait, int64_t poll_at) {
    int64_t now = clock_ms(CLOCK_MONOTONIC);
    int64_t ms = min(time_left(wait), min(wait->keepalive_at, poll_at) - now);

    return ms > 0 ? (int)ms + 1 : 0;
}

enum ticker_result ticker_wait(struct ticker *wait, int64_t poll_at) {
    for (;;) {
        struct pollfd pollfd = {.fd = STDIN_FILENO, .events = POLLIN};
        const bool pending = wait->used < wait->len;
        if (time_left(wait) <= 0)
            return begin_wait(wait, TICKER_TICK);
        if (clock_ms(CLOCK_MONOTONIC) >= wait->keepalive_at)
            return begin_wait(wait, TICKER_KEEPALIVE);
        if (clock_ms(CLOCK_MONOTONIC) >= poll_at)
            return TICKER_POLL;
        if (pending && time_left(wait) > TICKER_RESERVED_MS) {
            if (next_request(wait))
                return TICKER_REQUEST;
            continue;
        }
        const int64_t since = clock_ms(CLOCK_MONOTONIC);
        int n = poll(&pollfd, pending ? 0 : 1, timeout_ms(wait, poll_at));
        if (!pending && clock_ms(CLOCK_MONOTONIC) - since >= TICKER_SILENCE_MS)
            request_discard(&wait->requests);
        if (n > 0 && ((pollfd.revents & POLLHUP) || !read_input(wait)))
            return TICKER_END;
    }
}
