/* SPDX-License-Identifier: MIT
 *
 * ksm.plugin's command line and environment.
 */
#ifndef KSM_ARGS_H
#define KSM_ARGS_H

#include "options.h"

enum args_action { ARGS_RUN, ARGS_HELP, ARGS_VERSION };

struct args {
    struct ksm_options options;
    int update_every; /* seconds, 1 … ARGS_MAX_SECONDS */
    enum args_action action;
};

enum { ARGS_MAX_SECONDS = 86400 };

/* Parses [SECONDS] and --key=value or --key value in any order. NETDATA_HOST_PREFIX is the default
 * of --root, NETDATA_UPDATE_EVERY the minimum of SECONDS. An invalid argument, or a second SECONDS,
 * changes nothing and is logged in one line: a plugin that exits over a typing error would only
 * leave a gap in the dashboard. */
void args_parse(struct args *args, int argc, char *const argv[],
                void (*log_error)(const char *message));

/* Prints the usage or the version. */
void args_print(enum args_action action);

#endif
