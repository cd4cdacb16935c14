/* SPDX-License-Identifier: MIT
 *
 * Waiting for the next tick, with an eye on stdin: requests come in there, and its end is how the
 * agent ends a plugin.
 */
#ifndef KSM_TICKER_H
#define KSM_TICKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "request.h"

enum ticker_result {
    TICKER_TICK,    /* it is time for the next sample */
    TICKER_LOOK,    /* it is not yet, but the time look has come */
    TICKER_REQUEST, /* it is not yet: requests.request is to be answered */
    TICKER_ALIVE,   /* it is not yet, but the agent must see a sign of life */
    TICKER_END,     /* stdin is at its end: leave */
};

/* When the running wait began and ends; init it once, then only ticker_wait changes it. */
struct ticker {
    int64_t period; /* ms */
    int64_t due;    /* CLOCK_REALTIME, ms */
    int64_t latest; /* CLOCK_MONOTONIC, ms: due by then, however the other clock is set */
    int64_t alive;  /* CLOCK_MONOTONIC, ms */
    struct request_parser requests;
    size_t used; /* of input */
    size_t len;
    char input[4096]; /* from stdin */
};

/* Netdata 2.x restarts plugins that were silent for 120 s. */
enum { TICKER_ALIVE_SECONDS = 60 };

/* A request that comes so shortly before a tick waits until after it: the answer, the longest too,
 * must not make it late. */
enum { TICKER_RESERVED_MS = 50 };

/* What is not whole when the agent has been silent for so long never will be. */
enum { TICKER_SILENCE_MS = 200 };

void ticker_init(struct ticker *wait, int update_every);

/* Waits for the next multiple of update_every seconds of the wall clock, for TICKER_ALIVE_SECONDS
 * at the most, or until look (ms of CLOCK_MONOTONIC). A clock that is set never makes it wait
 * longer than update_every. Of requests it takes one at a time, and reads on from stdin when all
 * that it has read were taken. Those of an agent that has hung up are dropped: nobody waits for the
 * answers.
 */
enum ticker_result ticker_wait(struct ticker *wait, int64_t look);

#endif
