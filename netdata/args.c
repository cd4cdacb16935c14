/* SPDX-License-Identifier: MIT */
#include "args.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void log_fn(const char *message);

static void print_help(void) {
    struct ksm_option_text text;

    puts("usage: ksm.plugin [SECONDS] [OPTION]...\n"
         "Sends the metrics of Kernel Samepage Merging (KSM) to Netdata. SECONDS is the\n"
         "interval (default 1). The agent starts it automatically. In a terminal, it shows\n"
         "what the agent would get, until Ctrl-C.\n");
    for (size_t i = 0; ksm_options_text(KSM_NETDATA, i, &text) == 0; i++)
        printf("  --%s=VALUE\n      %s\n      (%s; default %s)\n", text.long_option, text.help,
               text.allowed, text.default_value);
    puts("  --help, --version\n"
         "\n"
         "In netdata.conf, section [plugin:ksm]: command options = --settings=no\n"
         "NETDATA_HOST_PREFIX is the default of --root, NETDATA_UPDATE_EVERY the minimum of "
         "SECONDS.");
}

void args_print(enum args_action action) {
    if (action == ARGS_HELP)
        print_help();
    else
        puts("ksm.plugin " KSM_VERSION);
}

/* Returns a whole number of seconds, or 0 if text is none. */
static int parse_seconds(const char *text) {
    char *end = NULL;
    long n = strtol(text, &end, 10);

    if (*text < '0' || *text > '9' || *end != '\0' || n > ARGS_MAX_SECONDS)
        return 0;
    return (int)n;
}

static void set_option(struct args *args, const char *key, const char *value, log_fn *log_error) {
    char message[1024];

    if (ksm_options_set(&args->options, KSM_NETDATA, key, value, message, sizeof(message)) != 0)
        log_error(message);
}

/* option: "key" or "key=value", without the dashes. next: the argument after it, or NULL. Returns
 * the number of arguments used. */
static int take_option(struct args *args, const char *option, const char *next, log_fn *log_error) {
    char key[64];
    size_t len = strcspn(option, "=");

    snprintf(key, sizeof(key), "%.*s", (int)(len < sizeof(key) ? len : sizeof(key)), option);
    if (option[len] == '=') {
        set_option(args, key, option + len + 1, log_error);
        return 1;
    }
    if (next && strncmp(next, "--", 2) != 0) {
        set_option(args, key, next, log_error);
        return 2;
    }
    set_option(args, key, "", log_error);
    return 1;
}

/* seconds: 0 until they are given. */
static void take_seconds(int *seconds, const char *text, log_fn *log_error) {
    char message[512];
    int n = parse_seconds(text);

    if (n > 0 && *seconds == 0) {
        *seconds = n;
        return;
    }
    if (n > 0)
        snprintf(message, sizeof(message), "ignored \"%.200s\": the interval is %d s already", text,
                 *seconds);
    else
        snprintf(message, sizeof(message),
                 "ignored \"%.200s\": expected an option, or a number of seconds from 1 to %d",
                 text, ARGS_MAX_SECONDS);
    log_error(message);
}

/* Returns the number of arguments used. */
static int take_argument(struct args *args, int *seconds, const char *arg, const char *next,
                         log_fn *log_error) {
    if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0)
        args->action = ARGS_HELP;
    else if (strcmp(arg, "--version") == 0 || strcmp(arg, "-v") == 0)
        args->action = ARGS_VERSION;
    else if (strncmp(arg, "--", 2) == 0)
        return take_option(args, arg + 2, next, log_error);
    else
        take_seconds(seconds, arg, log_error);
    return 1;
}

void args_parse(struct args *args, int argc, char *const argv[], log_fn *log_error) {
    const char *prefix = getenv("NETDATA_HOST_PREFIX");
    const char *min = getenv("NETDATA_UPDATE_EVERY");
    int seconds = 0;

    *args = (struct args){.action = ARGS_RUN};
    ksm_options_init(&args->options);
    if (prefix && *prefix)
        set_option(args, "root", prefix, log_error);
    for (int i = 1; i < argc;)
        i += take_argument(args, &seconds, argv[i], i + 1 < argc ? argv[i + 1] : NULL, log_error);
    args->update_every = seconds > 0 ? seconds : 1;
    if (min && parse_seconds(min) > args->update_every)
        args->update_every = parse_seconds(min);
}
