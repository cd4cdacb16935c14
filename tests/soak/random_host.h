/* SPDX-License-Identifier: MIT
 *
 * A host of files that change at random: values change, files disappear, contain garbage or become
 * directories, and reappear; processes start, change and exit.
 */
#ifndef KSM_TESTS_RANDOM_HOST_H
#define KSM_TESTS_RANDOM_HOST_H

#include <stdint.h>

/* Makes the host below dir. The same seed gives the same changes. */
void random_host_init(const char *dir, uint64_t seed);

/* Makes one random change. */
void random_host_change(void);

/* Restores the initial state: all files and all processes. */
void random_host_reset(void);

#endif
