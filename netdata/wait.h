/* SPDX-License-Identifier: MIT
 *
 * Waiting for the next tick, with an eye on stdin: its end is how the agent ends a plugin.
 */
#ifndef KSM_WAIT_H
#define KSM_WAIT_H

enum wait_result {
    WAIT_TICK,  /* it is time for the next sample */
    WAIT_ALIVE, /* it is not yet, but the agent must see a sign of life */
    WAIT_END,   /* stdin is at its end: leave */
};

/* Waits for the next multiple of update_every seconds of the wall clock, for WAIT_ALIVE_SECONDS at
 * the most. A clock that is set never makes it wait longer than update_every. What comes in on
 * stdin is read and dropped. */
enum wait_result wait_for_tick(int update_every);

/* Netdata 2.x restarts plugins that were silent for 120 s. */
enum { WAIT_ALIVE_SECONDS = 60 };

#endif
