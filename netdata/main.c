/* SPDX-License-Identifier: MIT
 *
 * ksm.plugin, an external plugin of Netdata: reads the metrics every update_every seconds and
 * writes them to stdout in the plugins.d protocol, until stdin ends.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "args.h"
#include "charts.h"
#include "consumer_charts.h"
#include "consumers/consumers.h"
#include "consumers/sampler.h"
#include "function.h"
#include "log_state.h"
#include "metrics/derive.h"
#include "metrics/reader.h"
#include "out.h"
#include "startup.h"
#include "system/clock.h"
#include "system/sandbox.h"
#include "system/streams.h"
#include "ticker.h"

static struct args args;
static struct ksm_reader reader;
static struct ksm_log_state log_state;
static struct charts charts;
static struct ksm_consumers consumers;
static struct ksm_sampler sampler;
static struct consumer_charts consumer_charts;
static struct out out;
static struct ticker ticker;

/* stderr is the agent's log; this is its format. */
static void log_line(const char *level, const char *message) {
    char date[32] = "";
    time_t now = time(NULL);
    struct tm tm;

    if (localtime_r(&now, &tm))
        strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
    fprintf(stderr, "%s: ksm.plugin %-5s: %s\n", date, level, message);
}

static void log_error(const char *message) {
    log_line("ERROR", message);
}

static void log_message(bool bad, const char *message) {
    log_line(bad ? "ERROR" : "INFO", message);
}

/* There is nothing to send: log the reason, and keep the agent from restarting this plugin. */
static int disable(const char *reason) {
    log_line("ERROR", reason);
    puts("DISABLE");
    streams_flush("ksm.plugin", "standard output");
    return EXIT_FAILURE;
}

static int print(enum args_action action) {
    args_print(action);
    return streams_flush("ksm.plugin", "standard output") == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* The host's metrics are written before any process is read. If KSM has no pages, the (empty) table
 * of consumers follows at once, so one write is enough. */
static void tick(void) {
    ksm_reader_tick(&reader, clock_ms(CLOCK_MONOTONIC));
    charts_send(&charts, &reader.sample, clock_ms(CLOCK_REALTIME) / 1000, &out);
    if (ksm_has_pages(&reader.sample))
        out_flush(&out);
    ksm_log_metrics(&log_state, &reader, log_message);
}

/* Begins a sample of the consumers if one is due, and sends one that is ready. */
static void update_consumers(bool after_tick) {
    int64_t now = clock_ms(CLOCK_MONOTONIC);

    if (after_tick && ksm_sampler_is_due(&sampler, now))
        ksm_sampler_begin(&sampler, ksm_has_pages(&reader.sample), now);
    if (ksm_sampler_poll(&sampler, now) == KSM_SAMPLER_READY)
        consumer_charts_send(&consumer_charts, &consumers.table, &out);
    ksm_sampler_log(&sampler, log_message);
}

static void answer(void) {
    function_answer(&consumers.table, &ticker.requests.request, clock_ms(CLOCK_REALTIME) / 1000,
                    &out);
}

static void run(void) {
    for (enum ticker_result result = TICKER_TICK; result != TICKER_END && out.error == 0;) {
        if (result == TICKER_TICK)
            tick();
        if (result == TICKER_REQUEST)
            answer();
        if (result == TICKER_KEEPALIVE)
            out_text(&out, "\n");
        if (args.options.consumers > 0 && (result == TICKER_TICK || result == TICKER_POLL))
            update_consumers(result == TICKER_TICK);
        out_flush(&out);
        result = ticker_wait(&ticker, ksm_sampler_next(&sampler));
    }
}

static void init_consumers(int descriptors) {
    int interval = args.options.consumers_interval;

    if (interval < args.update_every)
        interval = args.update_every;
    ksm_consumers_init(&consumers, &args.options, (int64_t)interval * 1000, descriptors);
    ksm_sampler_init(&sampler, &consumers);
    consumer_charts_init(&consumer_charts, interval, args.options.consumers_exclude);
}

/* That the agent has closed the pipe is its way to stop a plugin. */
static int log_output_error(int error) {
    char message[256];

    if (error == 0 || error == -EPIPE)
        return EXIT_SUCCESS;
    snprintf(message, sizeof(message), "standard output: %s", strerror(-error));
    log_error(message);
    return EXIT_FAILURE;
}

int main(int argc, char *argv[]) {
    char confined[512], message[PATH_MAX + 256];

    streams_open_missing();
    args_parse(&args, argc, argv, log_error);
    if (args.action != ARGS_RUN)
        return print(args.action);
    if (ksm_options_check_root(&args.options, message, sizeof(message)) != 0)
        return disable(message);
    if (isatty(STDIN_FILENO))
        fputs("ksm.plugin: this is what Netdata receives; stop it with Ctrl-C\n", stderr);
    const int descriptors = startup_prepare(); /* which the sandbox forbids */
    tzset();                                   /* reads /etc/localtime, for the log */
    sandbox_enter(args.options.root, confined, sizeof(confined));
    int status = ksm_reader_init(&reader, args.options.root, args.options.settings);
    if (status != 0) {
        ksm_reader_describe_error(status, args.options.root, message, sizeof(message));
        return disable(message);
    }
    log_line("INFO", confined);
    charts_init(&charts, args.update_every);
    init_consumers(descriptors);
    out_init(&out, STDOUT_FILENO);
    function_offer(&consumers.table, (enum ksm_function_access)args.options.function_access, &out);
    ticker_init(&ticker, args.update_every);
    run();
    ksm_sampler_close(&sampler);
    ksm_reader_close(&reader);
    return log_output_error(out.error);
}
