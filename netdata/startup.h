/* SPDX-License-Identifier: MIT
 *
 * What ksm.plugin sets up before it gives up its rights: descriptors, limits, signals.
 */
#ifndef KSM_STARTUP_H
#define KSM_STARTUP_H

/* First of all: fills the descriptors 0 to 2 that the parent left closed, so that no file which is
 * opened later is taken for one of them. */
void startup_descriptors(void);

/* Before the sandbox: lets no write to stdout wait for ever, ignores SIGPIPE, and raises the limit
 * of descriptors. Returns how many descriptors may be kept for processes. */
int startup_limits(void);

#endif
