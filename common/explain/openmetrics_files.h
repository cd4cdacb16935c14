/* SPDX-License-Identifier: MIT
 *
 * The files of --openmetrics: the output, and the state, by which the rate limit of new consumers'
 * names lasts from run to run (rate_limit_state.h).
 *
 *   openmetrics_files_open()
 *   openmetrics_files_fork()      before the sandbox is entered
 *   openmetrics_files_restore()   in the new process
 *   openmetrics_files_save()
 *
 * After an error of the first two, nothing remains to be closed or removed.
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
    bool has_state;            /* text is the state of the last run */
    char text[KSM_RATE_LIMIT_STATE_SIZE];
    size_t len;
    bool was_limited; /* the last run refused new names; set by restore */
};

/* Finds the files and reads the state. output: NULL or "-" for standard output. state: NULL for
 * OUTPUT.state, or for no state if the output is standard output. The state must be a regular file
 * of this user that no other user may write to. Returns 0; or -errno, and message is one line that
 * says why. */
int openmetrics_files_open(struct openmetrics_files *files, const char *output, const char *state,
                           char *message, size_t size);

/* Continues in a new process, whose stdout is the new output. The old process waits with HUP, INT
 * and TERM blocked, so that no unfinished file remains. If the new one exits with status 0, it
 * replaces the files and exits with 0. Otherwise it keeps the old files and exits with
 * EXIT_FAILURE. Without files, no process is created. Returns 0 in the process that continues; or
 * -errno, and message says why. */
int openmetrics_files_fork(struct openmetrics_files *files, char *message, size_t size);

/* Sets an initialized limit to the state of the last run. Returns 0, also if there is no state; or
 * -EINVAL if the state is damaged. Then no token is left: new names are admitted only as tokens are
 * added (rate_limit.h). */
int openmetrics_files_restore(struct openmetrics_files *files, struct ksm_rate_limit *limit);

/* Writes the new state. A sandbox may be in force. Returns 0 or -errno. */
int openmetrics_files_save(struct openmetrics_files *files, const struct ksm_rate_limit *limit);

#endif
