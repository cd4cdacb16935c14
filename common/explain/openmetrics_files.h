/* SPDX-License-Identifier: MIT
 *
 * The files of --openmetrics: the output, and what is known from the last run, the rate limit of
 * new consumers' names (rate_limit_state.h).
 *
 * Calls: open; fork, before a sandbox is entered; then in the new process restore, save.
 */
#ifndef KSM_OPENMETRICS_FILES_H
#define KSM_OPENMETRICS_FILES_H

#include <stdbool.h>
#include <stddef.h>

#include "consumers/rate_limit_state.h"
#include "explain/replacement.h"

struct openmetrics_files {
    struct replacement output; /* path "": standard output */
    struct replacement state;  /* path "": none */
    bool has_state;            /* there was a run before; its state is in text */
    char text[KSM_RATE_LIMIT_STATE_SIZE];
    size_t len;
    bool was_limited; /* new names were refused at the end of that run; set by restore */
};

/* Finds the files and reads the state. output: NULL or "-" is standard output. state: NULL is
 * OUTPUT.state; none for standard output. A state that is no regular file of this user, or that
 * others may write, is refused. Returns 0; or -errno, and message is one line that says why. */
int openmetrics_files_open(struct openmetrics_files *files, const char *output, const char *state,
                           char *message, size_t size);

/* Continues in a new process whose stdout is the new output. If that exits with status 0, the new
 * files take the places of the old ones; else the old ones stay. Then this process exits with the
 * same status. Meanwhile HUP, INT and TERM wait, so that no unfinished file stays behind. Does
 * nothing if there are no files.
 * Returns 0 in the new process; or -errno if there is none, and message says why. */
int openmetrics_files_fork(struct openmetrics_files *files, char *message, size_t size);

/* Sets a limit that was initialized to the state of the last run. Returns 0, also if there is none;
 * or -EINVAL for a text that save would not write: then no new name is admitted for a while. */
int openmetrics_files_restore(struct openmetrics_files *files, struct ksm_rate_limit *limit);

/* Writes the new state. A sandbox may be in force. Returns 0 or -errno. */
int openmetrics_files_save(struct openmetrics_files *files, const struct ksm_rate_limit *limit);

#endif
