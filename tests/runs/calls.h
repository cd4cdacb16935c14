/* SPDX-License-Identifier: MIT
 *
 * Wraps the other calls of the plugins that can fail, in addition to those of support/faults.h.
 */
#ifndef KSM_TESTS_CALLS_H
#define KSM_TESTS_CALLS_H

#include <stdbool.h>

/* Makes fstatfs() report sysfs, so that descriptors are kept as on a real host. */
void calls_pretend_sysfs(bool pretend);

/* Blocks of memory allocated since faults_begin() and not freed. */
int calls_blocks(void);
void calls_reset_blocks(void);

#endif
