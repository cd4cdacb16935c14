/* SPDX-License-Identifier: MIT
 *
 * A host with consumers, in several states one after the other: files of the same names, in which
 * every metric that a host lets change has changed. Each state is true as a whole, so that a metric
 * of an earlier one is seen to be stale.
 */
#ifndef KSM_TESTS_STAGE_H
#define KSM_TESTS_STAGE_H

enum {
    STAGE_STATES = 8,
    STAGE_FAULTS =
        3,          /* states in which something fails; in the others all must become well again */
    STAGE_SHOWN = 3 /* consumers; the rest is "other" */
};

/* Makes it below dir, a new directory. */
void stage_make(const char *dir);

/* Puts all files into state 0 … STAGE_STATES - 1, at once. */
void stage_turn(int state);

/* The directory to be given as root; without: one where this process was never there (0: all). */
const char *stage_root(int without);

/* The processes that take part: the ith, from 0; 0 after the last. */
int stage_pid(int i);

#endif
