/* SPDX-License-Identifier: MIT
 *
 * Waits for the next tick and receives the agent's requests on stdin meanwhile. The end of stdin
 * ends the plugin. Call ticker_init() once, then ticker_wait() in a loop.
 */
#ifndef KSM_TICKER_H
#define KSM_TICKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "request.h"

enum ticker_result {
    TICKER_TICK,      /* take the next sample */
    TICKER_POLL,      /* the time poll_at has come */
    TICKER_REQUEST,   /* answer requests.request */
    TICKER_KEEPALIVE, /* send a line, any line */
    TICKER_END,       /* stdin has ended: exit */
};

struct ticker {
    int64_t period;       /* ms */
    int64_t due;          /* next tick, CLOCK_REALTIME in ms */
    int64_t due_latest;   /* CLOCK_MONOTONIC in ms; limits the wait if the other clock is set */
    int64_t keepalive_at; /* CLOCK_MONOTONIC, ms */
    struct request_parser requests;
    size_t used; /* bytes of input that are parsed */
    size_t len;
    char input[4096]; /* from stdin */
};

/* Netdata 2.x restarts a plugin that is silent for 120 s. */
enum { TICKER_KEEPALIVE_SECONDS = 60 };

/* A request this shortly before a tick is answered after it, so that even the longest answer does
 * not delay the tick. */
enum { TICKER_RESERVED_MS = 50 };

/* After so much silence an incomplete request is discarded. */
enum { TICKER_SILENCE_MS = 200 };

void ticker_init(struct ticker *ticker, int update_every);

/* Waits for the next multiple of update_every seconds of the wall clock, for poll_at
 * (CLOCK_MONOTONIC, ms), for a request, or for TICKER_KEEPALIVE_SECONDS, whatever comes first.
 * Setting the wall clock never makes it wait longer than update_every. It returns one request at a
 * time, and drops those of an agent that has closed stdin. */
enum ticker_result ticker_wait(struct ticker *ticker, int64_t poll_at);

#endif
