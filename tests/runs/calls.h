/* SPDX-License-Identifier: MIT
 *
 * All other calls of the plugins that can fail, to be put in the place of the C library's as those
 * of support/faults.h are.
 */
#ifndef KSM_TESTS_CALLS_H
#define KSM_TESTS_CALLS_H

#include <stdbool.h>

/* fstatfs() says sysfs, so that descriptors are kept as on a real host. */
void calls_pretend_sysfs(bool pretend);

/* Blocks of memory that were taken since faults_begin() and not given back. */
int calls_blocks(void);
void calls_forget_blocks(void);

#endif
