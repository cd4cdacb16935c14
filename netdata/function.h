/* SPDX-License-Identifier: MIT
 *
 * The Netdata Function ksm:consumers, a table of all consumers. The agent requests it when a user
 * opens it (tab Live, or Functions, of the dashboard).
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

/* Registers the Function: call it once, before the first request. Appends nothing if consumers are
 * switched off or not reported by this kernel. */
void function_offer(const struct ksm_consumer_table *table, enum ksm_function_access access,
                    struct out *out);

/* Appends the answer to a request: the table of the last sample, its description (argument "info"),
 * or an error. now: CLOCK_REALTIME, seconds. */
void function_answer(const struct ksm_consumer_table *table, const struct request *request,
                     int64_t now, struct out *out);

#endif
