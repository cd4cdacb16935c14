/* SPDX-License-Identifier: MIT
 *
 * A host made up of files that is never the same for long: metrics change, files vanish, hold
 * garbage or are directories, and come back; processes come, change and end.
 */
#ifndef KSM_TESTS_WEATHER_H
#define KSM_TESTS_WEATHER_H

#include <stdint.h>

/* Makes it below dir, calm. The same seed makes the same weather. */
void weather_begin(const char *dir, uint64_t seed);

/* One change of any kind. */
void weather_change(void);

/* Puts everything back as it was at the beginning: all files there, and as many processes as there
 * can be. */
void weather_calm(void);

#endif
