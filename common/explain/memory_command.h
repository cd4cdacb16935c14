/* SPDX-License-Identifier: MIT
 *
 * The commands of ksm-explain that read the memory of processes: runs them with progress, signals
 * and messages.
 */
#ifndef KSM_MEMORY_COMMAND_H
#define KSM_MEMORY_COMMAND_H

#include "explain/command_line.h"
#include "explain/explain.h"
#include "explain/wrap.h"

/* Call it before the sandbox is entered. From then on, the first Ctrl-C or SIGTERM stops the
 * reading early; the second one ends the program. */
void memory_command_prepare(void);

/* Runs --estimate and prints the result. facts: of this host. Returns the exit status. */
int memory_command_estimate(const struct command_line *line, const struct explain_facts *facts,
                            const struct wrap *out);

/* Runs --sharing and prints the result, with openmetrics as metrics. Returns the exit status. */
int memory_command_sharing(const struct command_line *line, const struct explain_facts *facts,
                           const struct wrap *out, bool openmetrics);

#endif
