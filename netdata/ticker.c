/* SPDX-License-Identifier: MIT */
#include "ticker.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "system/clock.h"

/* Returns false at the end of stdin. */
static bool read_input(struct ticker *ticker) {
    ssize_t n = read(STDIN_FILENO, ticker->input, sizeof(ticker->input));

    ticker->used = 0;
    ticker->len = n > 0 ? (size_t)n : 0;
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static bool next_request(struct ticker *ticker) {
    size_t used = 0;
    bool complete = request_take(&ticker->requests, ticker->input + ticker->used,
                                 ticker->len - ticker->used, &used);

    ticker->used += used;
    return complete;
}

static int64_t next_multiple(const struct ticker *ticker, int64_t now) {
    return (now / ticker->period + 1) * ticker->period;
}

/* Both clocks are rounded down, so they can differ by this. */
enum { ROUNDING_MS = 1 };

static enum ticker_result begin_wait(struct ticker *ticker, enum ticker_result result) {
    int64_t now = clock_ms(CLOCK_MONOTONIC);

    ticker->keepalive_at = now + (int64_t)TICKER_KEEPALIVE_SECONDS * 1000;
    if (result == TICKER_TICK) {
        ticker->due = next_multiple(ticker, clock_ms(CLOCK_REALTIME));
        ticker->due_latest = now + ticker->period + ROUNDING_MS;
    }
    return result;
}

void ticker_init(struct ticker *ticker, int update_every) {
    memset(ticker, 0, sizeof(*ticker));
    ticker->period = (int64_t)update_every * 1000;
    begin_wait(ticker, TICKER_TICK);
}

/* ms until the next tick; 0 or less: now. */
static int64_t time_left(const struct ticker *ticker) {
    int64_t due = ticker->due - clock_ms(CLOCK_REALTIME);
    int64_t latest = ticker->due_latest - clock_ms(CLOCK_MONOTONIC);

    return due < latest ? due : latest;
}

static int64_t min(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* Timeout of poll() in ms. One more than the time left, because clocks are rounded down and waking
 * just before the tick would only mean waiting again. */
static int timeout_ms(const struct ticker *ticker, int64_t poll_at) {
    int64_t now = clock_ms(CLOCK_MONOTONIC);
    int64_t ms = min(time_left(ticker), min(ticker->keepalive_at, poll_at) - now);

    return ms > 0 ? (int)ms + 1 : 0;
}

enum ticker_result ticker_wait(struct ticker *ticker, int64_t poll_at) {
    for (;;) {
        struct pollfd pollfd = {.fd = STDIN_FILENO, .events = POLLIN};
        const bool pending = ticker->used < ticker->len;
        if (time_left(ticker) <= 0)
            return begin_wait(ticker, TICKER_TICK);
        if (clock_ms(CLOCK_MONOTONIC) >= ticker->keepalive_at)
            return begin_wait(ticker, TICKER_KEEPALIVE);
        if (clock_ms(CLOCK_MONOTONIC) >= poll_at)
            return TICKER_POLL;
        if (pending && time_left(ticker) > TICKER_RESERVED_MS) {
            if (next_request(ticker))
                return TICKER_REQUEST;
            continue;
        }
        const int64_t since = clock_ms(CLOCK_MONOTONIC);
        int n = poll(&pollfd, pending ? 0 : 1, timeout_ms(ticker, poll_at));
        if (!pending && clock_ms(CLOCK_MONOTONIC) - since >= TICKER_SILENCE_MS)
            request_discard(&ticker->requests);
        if (n > 0 && ((pollfd.revents & POLLHUP) || !read_input(ticker)))
            return TICKER_END;
    }
}
