/* SPDX-License-Identifier: MIT
 *
 * Saves a rate limit's state as text, for a program that makes one sample in each run:
 *
 *   ksm-rate-limit 1
 *   time 1764517239            seconds since 1970
 *   host 28800000 0 3600000    tokens (earned_ms), limited, calm_ms
 *   user 288000000 1 15000
 *   vm web                     known names, the last used last; first those of class host
 *   program postgres
 *   end
 *
 * The text is untrusted input: it is refused as a whole if it is not in this format, or if a name
 * has a space, a control character or more than 103 bytes.
 */
#ifndef KSM_RATE_LIMIT_STATE_H
#define KSM_RATE_LIMIT_STATE_H

#include <stddef.h>
#include <stdint.h>

#include "consumers/rate_limit.h"

/* Enough for 1,024 names of 114 bytes, the longest of kind container. */
enum { KSM_RATE_LIMIT_STATE_SIZE = 128 * 1024 };

/* Writes the state at now_s, seconds since 1970. Returns its length; there is no NUL. */
size_t ksm_rate_limit_save(const struct ksm_rate_limit *limit, int64_t now_s,
                           char text[static KSM_RATE_LIMIT_STATE_SIZE]);

/* Sets an initialized limit to the state in text, plus the tokens earned until now_s. Sets
 * *was_limited to whether it was limited when it was saved. Returns 0; or -EINVAL if text is not a
 * state: then no name is known and there is no token, so that damaging the state earns no burst. */
int ksm_rate_limit_restore(struct ksm_rate_limit *limit, const char *text, size_t len,
                           int64_t now_s, bool *was_limited);

#endif
