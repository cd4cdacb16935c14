/* SPDX-License-Identifier: MIT
 *
 * The table ksm:consumers lists all consumers. It is a Function of Netdata: the agent requests it
 * when somebody opens it (tab Live, or Functions, of the dashboard).
 *
 *   FUNCTION GLOBAL name timeout help tags access priority
 *   FUNCTION_RESULT_BEGIN id status type expires, lines of JSON, FUNCTION_RESULT_END
 */
#ifndef KSM_FUNCTION_H
#define KSM_FUNCTION_H

#include <stdint.h>

#include "consumers/consumers.h"
#include "options.h"
#include "out.h"
#include "request.h"

/* Appends the line that makes the table known to the agent: once, before the first request.
 * Appends nothing without consumers, or if the kernel does not report them. */
void function_offer(const struct ksm_consumer_table *table, enum ksm_function_access access,
                    struct out *out);

/* Appends the answer to a request: the table of the last sample, what it is ("info" among the
 * arguments), or an error. now: seconds since 1970. */
void function_answer(const struct ksm_consumer_table *table, const struct request *request,
                     int64_t now, struct out *out);

#endif
