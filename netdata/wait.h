/* SPDX-License-Identifier: MIT
 *
 * Waiting for the next tick, with an eye on stdin: requests come in there, and its end is how the
 * agent ends a plugin.
 */
#ifndef KSM_WAIT_H
#define KSM_WAIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "request.h"

enum wait_result {
    WAIT_TICK,    /* it is time for the next sample */
    WAIT_LOOK,    /* it is not yet, but the time look has come */
    WAIT_REQUEST, /* it is not yet: requests.request is to be answered */
    WAIT_ALIVE,   /* it is not yet, but the agent must see a sign of life */
    WAIT_END,     /* stdin is at its end: leave */
};

/* When the running wait began and ends; init it once, then only wait_for_tick changes it. */
struct wait {
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
enum { WAIT_ALIVE_SECONDS = 60 };

/* A request that comes so shortly before a tick waits until after it: the answer, the longest too,
 * must not make it late. */
enum { WAIT_RESERVED_MS = 50 };

/* What is not whole when the agent has been silent for so long never will be. */
enum { WAIT_SILENCE_MS = 200 };

void wait_init(struct wait *wait, int update_every);

/* Waits for the next multiple of update_every seconds of the wall clock, for WAIT_ALIVE_SECONDS at
 * the most, or until look (ms of CLOCK_MONOTONIC). A clock that is set never makes it wait longer
 * than update_every. Of requests it takes one at a time, and reads on from stdin when all that it
 * has read were taken. Those of an agent that has hung up are dropped: nobody waits for the
 * answers.
 */
enum wait_result wait_for_tick(struct wait *wait, int64_t look);

#endif
