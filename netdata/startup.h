/* SPDX-License-Identifier: MIT
 *
 * ksm.plugin's preparations before the sandbox: descriptors, limits, signals.
 */
#ifndef KSM_STARTUP_H
#define KSM_STARTUP_H

/* Call it first: opens descriptors 0 to 2 if they are closed, so that no file opened later gets one
 * of these numbers. */
void startup_descriptors(void);

/* Makes writes to stdout non-blocking, ignores SIGPIPE, and raises the limit of descriptors.
 * Returns the number of descriptors that may be kept open for processes. */
int startup_limits(void);

#endif
