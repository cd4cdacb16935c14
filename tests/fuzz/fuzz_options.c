/* SPDX-License-Identifier: MIT
 *
 * Options of both daemons and ksm.plugin's command line. The input is the arguments, a NUL after
 * each.
 */
#include <string.h>

#include "args.h"
#include "fuzz.h"

static void complain(const char *message) {
    HOLDS(*message != '\0' && strlen(message) < 1024);
}

static void within(const struct ksm_options *options) {
    HOLDS(options->root[0] != '\0' && strlen(options->root) < sizeof(options->root));
    HOLDS(options->consumers >= 0 && options->consumers <= 200);
    HOLDS(options->consumers_interval >= 1 && options->consumers_interval <= 3600);
    HOLDS(options->consumers_exclude < 1U << 4);
    HOLDS(options->function_access >= 0 && options->function_access <= 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    enum { MOST = 16 };
    struct args args;
    struct ksm_options options;
    char message[1024] = "";
    char *text = malloc(size + 2);
    char *argv[MOST + 1] = {"ksm.plugin"};
    int argc = 1;

    HOLDS(text);
    memcpy(text, data, size);
    text[size] = text[size + 1] = '\0';
    for (char *at = text; at < text + size && argc < MOST; at += strlen(at) + 1)
        argv[argc++] = at;
    args_parse(&args, argc, argv, complain);
    within(&args.options);
    HOLDS(args.update_every >= 1 && args.update_every <= ARGS_MAX_SECONDS);
    ksm_options_init(&options);
    int status = ksm_options_set(&options, KSM_COLLECTD, text, text + strlen(text) + 1, message,
                                 sizeof(message));
    HOLDS((status == 0) == (*message == '\0'));
    within(&options);
    free(text);
    return 0;
}
