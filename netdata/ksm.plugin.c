/* SPDX-License-Identifier: MIT
 *
 * ksm.plugin, Netdata's external plugin: every update_every seconds it reads the figures and writes
 * them to stdout in the plugins.d protocol, until its stdin ends.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "args.h"
#include "charts.h"
#include "clock.h"
#include "out.h"
#include "reader.h"
#include "wait.h"
#include "watch.h"

static struct args args;
static struct ksm_reader reader;
static struct ksm_watch watch;
static struct charts charts;
static struct out out;

/* Where the agent keeps its log, and in its manner. */
static void say(const char *level, const char *message) {
    char date[32] = "";
    time_t now = time(NULL);
    struct tm tm;

    if (localtime_r(&now, &tm))
        strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
    fprintf(stderr, "%s: ksm.plugin %-5s: %s\n", date, level, message);
}

static void complain(const char *message) {
    say("ERROR", message);
}

static void tell(bool bad, const char *message) {
    say(bad ? "ERROR" : "INFO", message);
}

/* Without KSM there is no figure to send, and none to come before the next boot: say why, and keep
 * the agent from starting us again and again. */
static int give_up(int status) {
    char message[PATH_MAX + 256];

    ksm_reader_why_not(status, args.options.root, message, sizeof(message));
    say("ERROR", message);
    puts("DISABLE");
    return EXIT_FAILURE;
}

static void tick(void) {
    ksm_reader_tick(&reader, clock_ms(CLOCK_MONOTONIC));
    charts_send(&charts, &reader.sample, &out);
    ksm_watch(&watch, &reader, tell);
}

static void run(void) {
    enum wait_result result = WAIT_TICK;

    while (result != WAIT_END && out.error == 0) {
        if (result == WAIT_TICK)
            tick();
        else
            out_text(&out, "\n");
        out_flush(&out);
        result = out.error == 0 ? wait_for_tick(args.update_every) : WAIT_END;
    }
}

int main(int argc, char *argv[]) {
    args_parse(&args, argc, argv, complain);
    if (args.action == ARGS_HELP) {
        args_help();
        return EXIT_SUCCESS;
    }
    if (args.action == ARGS_VERSION) {
        puts("ksm.plugin " KSM_VERSION);
        return EXIT_SUCCESS;
    }
    signal(SIGPIPE, SIG_IGN); /* an agent that has gone is an error of write, and no crash */
    int status = ksm_reader_init(&reader, args.options.root, args.options.settings);
    if (status != 0)
        return give_up(status);
    charts_init(&charts, args.update_every);
    out_init(&out, STDOUT_FILENO);
    run();
    ksm_reader_close(&reader);
    return out.error == 0 || out.error == -EPIPE ? EXIT_SUCCESS : EXIT_FAILURE;
}
