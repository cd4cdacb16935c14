/* SPDX-License-Identifier: MIT
 *
 * ksm.plugin's preparations before the sandbox.
 */
#ifndef KSM_STARTUP_H
#define KSM_STARTUP_H

/* Makes writes to stdout non-blocking, ignores SIGPIPE, limits malloc() to one arena, and raises
 * the limit of descriptors. Returns how many descriptors may be kept open for processes. */
int startup_prepare(void);

#endif
