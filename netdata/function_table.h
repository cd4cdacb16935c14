/* SPDX-License-Identifier: MIT
 *
 * Writes the table of all consumers as JSON: its columns, a row for each consumer, a row for the
 * unattributed savings, and how the agent sorts, groups and draws it.
 */
#ifndef KSM_FUNCTION_TABLE_H
#define KSM_FUNCTION_TABLE_H

#include "consumers/consumers.h"
#include "out.h"

/* Maximum number of rows; the rest is summed up in one more row, other. Less than 10 MB: the agent
 * stops a plugin that sends more. */
enum { FUNCTION_TABLE_ROWS = 4096 };

/* Appends the table's members of the answer's JSON object, in lines of less than 2 kB. Values are
 * in the order of the columns, sizes in MiB; null: not known. */
void function_table_write(const struct ksm_consumer_table *table, struct out *out);

#endif
