/* SPDX-License-Identifier: MIT
 *
 * A host with consumers and a sequence of states. Every metric that can change differs between two
 * states, so that a stale value is found.
 */
#ifndef KSM_TESTS_SCRIPTED_HOST_H
#define KSM_TESTS_SCRIPTED_HOST_H

enum {
    HOST_STATES = 8,
    HOST_FAULTS = 3, /* states in which calls fail; in the others the plugins must recover */
    HOST_SHOWN = 3,  /* consumers; the rest is "other" */
};

/* Makes the host below dir, an empty directory, in state 0. */
void scripted_host_make(const char *dir);

/* Changes all files to a state from 0 to HOST_STATES - 1, atomically. */
void scripted_host_set_state(int state);

/* Returns the root of the host; without: the pid of a process that it lacks, or 0. */
const char *scripted_host_root(int without);

/* Returns the pid of process i, from 0; 0 after the last. */
int scripted_host_pid(int i);

#endif
