/* SPDX-License-Identifier: MIT
 *
 * ksm.plugin's preparations before the sandbox: limits and signals.
 */
#ifndef KSM_STARTUP_H
#define KSM_STARTUP_H

/* Makes writes to stdout non-blocking, ignores SIGPIPE, and raises the limit of descriptors.
 * Returns the number of descriptors that may be kept open for processes. */
int startup_prepare(void);

#endif
