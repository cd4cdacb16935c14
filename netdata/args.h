/* SPDX-License-Identifier: MIT
 *
 * What the agent, or a person, asks of ksm.plugin: command line and environment.
 */
#ifndef KSM_ARGS_H
#define KSM_ARGS_H

#include "options.h"

enum args_action { ARGS_RUN, ARGS_EXPLAIN, ARGS_HELP, ARGS_VERSION };

struct args {
    struct ksm_options options;
    int update_every; /* seconds, 1 … ARGS_MAX_SECONDS */
    enum args_action action;
};

enum { ARGS_MAX_SECONDS = 86400 };

/* Parses [SECONDS] and --key=value or --key value in any order. NETDATA_HOST_PREFIX is the default
 * of --root, NETDATA_UPDATE_EVERY the least of SECONDS. What is not understood is passed to
 * complain, one line each, and left at its default: a plugin that ends over a typing error would
 * only be a hole in the dashboard. */
void args_parse(struct args *args, int argc, char *const argv[],
                void (*complain)(const char *message));

/* Does what is not to run: prints the usage, the version, or where --explain went. Returns the exit
 * status. */
int args_act(enum args_action action);

#endif
