/* SPDX-License-Identifier: MIT
 *
 * All consumers as a table of the agent's: columns, a row for each consumer and one for what is
 * unattributed, how it is sorted, grouped and drawn.
 */
#ifndef KSM_FUNCTION_TABLE_H
#define KSM_FUNCTION_TABLE_H

#include "consumers/consumers.h"
#include "out.h"

/* Rows at most, less than 10 MB in any case: an agent gives up a plugin that sends more. Those that
 * find no place are together in one more row, other. */
enum { FUNCTION_TABLE_ROWS = 4096 };

/* Appends the members of the answer's JSON object that make the table, in lines of less than 2 kB.
 * The rows' values are in the order of the columns, sizes in MiB, null where a metric is not known.
 */
void function_table_write(const struct ksm_consumer_table *table, struct out *out);

#endif
