/* SPDX-License-Identifier: MIT
 *
 * A rate limit's state as text, for a program that samples once in each run:
 *
 *   ksm-rate-limit 1
 *   time 1764517239            seconds since 1970
 *   host 28800000 0 3600000    tokens (earned_ms), limited, calm_ms
 *   user 288000000 1 15000
 *   vm web                     the known names, the last used last; those of host first
 *   program postgres
 *   end
 *
 * The text is data from outside: what these functions would not write is refused as a whole.
 */
#ifndef KSM_RATE_LIMIT_STATE_H
#define KSM_RATE_LIMIT_STATE_H

#include <stddef.h>
#include <stdint.h>

#include "consumers/rate_limit.h"

/* Room for all names, the longest of kind container: 1,024 of 114 bytes. */
enum { KSM_RATE_LIMIT_STATE_SIZE = 128 * 1024 };

/* Writes the state at now_s, seconds since 1970. Returns its length; there is no NUL. */
size_t ksm_rate_limit_save(const struct ksm_rate_limit *limit, int64_t now_s,
                           char text[static KSM_RATE_LIMIT_STATE_SIZE]);

/* Sets a limit that was initialized to the state in text, with the tokens earned until now_s;
 * *was_limited: whether new names were refused when it was saved. Returns 0; or -EINVAL if text is
 * not such a state: then no name is known and there is no token, so that a state that is lost again
 * and again gives no burst each time. */
int ksm_rate_limit_restore(struct ksm_rate_limit *limit, const char *text, size_t len,
                           int64_t now_s, bool *was_limited);

#endif
