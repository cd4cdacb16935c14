/* SPDX-License-Identifier: MIT
 *
 * ksm-explain: measures this host for a second, and explains what KSM does on it. Also the programs
 * behind --estimate and --openmetrics.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "consumers/sampler.h"
#include "explain/command_line.h"
#include "explain/estimate.h"
#include "explain/explain.h"
#include "explain/format.h"
#include "explain/openmetrics.h"
#include "explain/openmetrics_files.h"
#include "explain/suspects.h"
#include "explain/wrap.h"
#include "metrics/reader.h"
#include "system/clock.h"
#include "system/sandbox.h"
#include "system/streams.h"

enum { SAMPLE_MS = 1000 }; /* between the two samples from which rates are computed */

/* The sample of consumers ends after CONSUMERS_MAX_MS at the latest. A process that blocks takes a
 * fifth of INTERVAL_MS (sampler.h). */
enum { INTERVAL_MS = 2500, CONSUMERS_MAX_MS = 15000 };

static struct command_line line;
static struct ksm_reader reader;
static struct ksm_consumers consumers;
static struct ksm_sampler sampler;
static struct suspects suspects;
static struct openmetrics_files files;
static struct wrap out; /* stdout */

/* Returns at once if the time has passed: a negative timeout would block. */
static void wait_until(int64_t time_ms) {
    int64_t ms = time_ms - clock_ms(CLOCK_MONOTONIC);

    if (ms > 0)
        poll(NULL, 0, (int)ms);
}

static void log_message(bool bad, const char *message) {
    (void)bad;
    fprintf(stderr, "ksm-explain: %s\n", message);
}

static void restore_rate_limit(void) {
    if (openmetrics_files_restore(&files, &consumers.rate_limit) != 0)
        fprintf(
            stderr,
            "ksm-explain: %s is damaged: new consumers are part of other for some hours; remove "
            "it to show them at once\n",
            files.state.path);
}

/* Logs in the first run that refuses new names, and in the first one that no longer does. */
static void log_rate_limit(void) {
    const bool *faults = consumers.table.faults;
    struct ksm_consumers_log_state state = {.logged = {false}};

    memcpy(state.logged, faults, sizeof(state.logged));
    state.logged[KSM_CONSUMERS_RATE_LIMITED] = files.was_limited;
    ksm_log_consumers(&state, &consumers.table, line.options.root, log_message);
}

/* Samples the consumers once, so keeps no descriptors for a next sample. */
static void sample_consumers(struct explain_facts *facts) {
    const int64_t start = clock_ms(CLOCK_MONOTONIC);

    ksm_consumers_init(&consumers, &line.options, INTERVAL_MS, 0);
    if (line.mode == COMMAND_LINE_OPENMETRICS)
        restore_rate_limit();
    ksm_sampler_init(&sampler, &consumers);
    if (ksm_sampler_is_due(&sampler, start))
        ksm_sampler_begin(&sampler, true, start);
    while (ksm_sampler_poll(&sampler, clock_ms(CLOCK_MONOTONIC)) == KSM_SAMPLER_BUSY &&
           clock_ms(CLOCK_MONOTONIC) - start < CONSUMERS_MAX_MS)
        wait_until(ksm_sampler_next(&sampler));
    facts->consumers = &consumers.table;
}

static void measure(struct explain_facts *facts) {
    static struct ksm_sample before;
    int64_t start = clock_ms(CLOCK_MONOTONIC);

    ksm_reader_tick(&reader, start);
    before = reader.sample;
    poll(NULL, 0, SAMPLE_MS);
    ksm_reader_tick(&reader, clock_ms(CLOCK_MONOTONIC));
    explain_host(facts, &before, &reader.sample, clock_ms(CLOCK_MONOTONIC) - start);
    facts->in_kernel = true;
    facts->uksm = ksm_reader_is_uksm(&reader);
    sample_consumers(facts);
    if (!facts->uksm)
        suspects_read(&suspects, facts);
}

/* Returns status, or 1 if the output could not be written. */
static int finish(int status) {
    const char *name = files.output.path[0] ? files.output.path : "standard output";

    return streams_flush("ksm-explain", name) == 0 ? status : EXIT_FAILURE;
}

/* Each prints to stdout, and returns the exit status. */
typedef int print_fn(const struct explain_facts *facts);

static int print_report(const struct explain_facts *facts) {
    if (line.json)
        explain_json(facts, stdout);
    else
        explain_report(facts, &out);
    return explain_texts[explain_verdict(facts)].status;
}

static int print_openmetrics(const struct explain_facts *facts) {
    openmetrics_write(facts, stdout);
    if (!facts->in_kernel)
        return EXIT_SUCCESS;
    if (consumers.table.valid)
        log_rate_limit();
    int status = openmetrics_files_save(&files, &consumers.rate_limit);
    if (status == 0)
        return EXIT_SUCCESS;
    fprintf(stderr, "ksm-explain: %s: %s\n", files.state.path, strerror(-status));
    return EXIT_FAILURE;
}

static int explain(print_fn *print) {
    static struct explain_facts facts;
    char message[PATH_MAX + 256];

    facts.root = line.options.root;
    int status = ksm_reader_init(&reader, line.options.root, true);
    if (status != 0 && status != -ENOENT) {
        ksm_reader_why_not(status, line.options.root, message, sizeof(message));
        fprintf(stderr, "ksm-explain: %s\n", message);
        return EXIT_FAILURE;
    }
    if (status == 0)
        measure(&facts);
    status = print(&facts);
    if (facts.in_kernel) {
        ksm_sampler_close(&sampler);
        ksm_reader_close(&reader);
    }
    return finish(status);
}

/* ---- --estimate ---- */

/* Exit statuses of --estimate, which no verdict has. */
enum {
    STATUS_DENIED = 50,  /* no process could be read */
    STATUS_PARTIAL = 51, /* stopped early */
};

static struct estimate estimate;
static atomic_int interrupted; /* read by the worker, too */

static void interrupt(int number) {
    interrupted = number;
}

/* The first Ctrl-C or SIGTERM stops the estimate early; the second one ends the program. */
static void handle_signals(void) {
    const struct sigaction action = {.sa_handler = interrupt,
                                     .sa_flags = (int)(SA_RESETHAND | SA_RESTART)};

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* Writes the time left, which is accurate enough after some seconds of reading. */
static void format_time_left(const struct estimate *e, int64_t now, char *buf, size_t size) {
    enum { KNOWN_AFTER_MS = 5000 };
    const uint64_t done = e->done, expected = e->expected;
    static int64_t first_page;

    if (first_page == 0 && done > 0)
        first_page = now;
    if (e->step != ESTIMATE_READ || done == 0 || now - first_page < KNOWN_AFTER_MS)
        return;
    const double rest = expected > done ? (double)(expected - done) / (double)done : 0;
    const int64_t seconds = (int64_t)((double)(now - first_page) * rest / 1000);
    snprintf(buf, size, "%" PRId64 ":%02d left", seconds / 60, (int)(seconds % 60));
}

static void show_progress(const struct estimate *e) {
    enum { BAR = 30, EVERY_MS = 200 };
    static const char *const steps[] = {"finding processes", "reading", "waiting", "reading again",
                                        ""};
    static int64_t next;
    const int64_t now = clock_ms(CLOCK_MONOTONIC);
    const uint64_t done = e->done, expected = e->expected > done ? e->expected : done;
    char left[64] = "";

    if (now < next)
        return;
    next = now + EVERY_MS;
    format_time_left(e, now, left, sizeof(left));
    fprintf(stderr, "\r%-21s [", steps[e->step]);
    for (int i = 0; i < BAR; i++)
        fputc(expected > 0 && done * BAR >= expected * (uint64_t)(i + 1) ? '#' : '.', stderr);
    fprintf(stderr, "] %-14s", left);
}

static void sample_host(struct explain_facts *facts) {
    int status = ksm_reader_init(&reader, line.options.root, true);

    for (size_t id = 0; id < KSM_METRICS; id++)
        facts->now.at[id].status = -ENOENT;
    if (status == 0) {
        ksm_reader_tick(&reader, clock_ms(CLOCK_MONOTONIC));
        facts->now = reader.sample;
        ksm_reader_close(&reader);
    }
    sample_consumers(facts);
}

/* Returns why no process could be read. */
static const char *nothing_read(const struct explain_facts *facts) {
    if (estimate.partial)
        return "stopped before any process was read";
    if (estimate.denied > 0)
        return "none of these processes may be read: this requires the capabilities CAP_SYS_PTRACE "
               "and "
               "CAP_DAC_READ_SEARCH, which root has";
    if (facts->consumers->sweep.hidden)
        return "no process can be read: /proc hides those of other users (hidepid); run it as root";
    return "no process was read: none has memory of its own, or all have exited";
}

/* Returns the exit status; that of a report is EXIT_SUCCESS or STATUS_PARTIAL. */
static int judge_estimate(const struct explain_facts *facts) {
    char nearest[512];

    if (estimate.unknown) {
        process_match_nearest(&estimate.match, estimate.unknown, nearest, sizeof(nearest));
        fprintf(stderr, "ksm-explain: no process, consumer or program is called \"%.200s\"%s%s\n",
                estimate.unknown, *nearest ? "; near to it: " : "", nearest);
        return EXIT_FAILURE;
    }
    if (estimate.processes > 0 || estimate.sum.pages > 0)
        return estimate.partial ? STATUS_PARTIAL : EXIT_SUCCESS;
    fprintf(stderr, "ksm-explain: %s\n", nothing_read(facts));
    return STATUS_DENIED;
}

static void report_failure(int status) {
    const char *root = strcmp(line.options.root, "/") == 0 ? "" : line.options.root;

    if (status == -ENOMEM)
        fprintf(stderr, "ksm-explain: %s\n", strerror(ENOMEM));
    else
        fprintf(stderr, "ksm-explain: %s/proc: %s\n", root, strerror(-status));
}

static int run_estimate(bool on_terminal) {
    static struct explain_facts facts;
    const struct estimate_options wanted = {.root = line.options.root,
                                            .names = line.names,
                                            .name_count = line.name_count,
                                            .cpu = line.cpu_percent,
                                            .bytes = (size_t)line.memory_mib << 20,
                                            .stop = &interrupted};
    int status = estimate_init(&estimate, &wanted);

    sample_host(&facts);
    if (status == 0)
        status = estimate_run(&estimate, on_terminal ? show_progress : NULL);
    if (on_terminal)
        fprintf(stderr, "\r%*s\r", 79, "");
    if (status == 0)
        status = estimate_finish(&estimate, &facts.now, facts.consumers);
    if (status != 0) {
        report_failure(status);
        return EXIT_FAILURE;
    }
    status = judge_estimate(&facts);
    if (status != EXIT_SUCCESS && status != STATUS_PARTIAL)
        return status;
    if (line.json)
        estimate_json(&estimate, &facts.now, stdout);
    else
        estimate_report(&estimate, &facts.now, &out);
    return finish(status);
}

static int estimate_memory(void) {
    const bool on_terminal = isatty(STDERR_FILENO);
    char message[1024];

    /* Do not lower the priority: see pagemap.h. */
    handle_signals();
    sandbox_enter_for_memory(line.options.root, message, sizeof(message));
    return run_estimate(on_terminal);
}

static int report(void) {
    char message[1024];

    suspects_open(&suspects, line.options.root);
    sandbox_enter(line.options.root, message, sizeof(message));
    return explain(print_report);
}

static int write_openmetrics(void) {
    char message[PATH_MAX + 256];

    if (openmetrics_files_open(&files, line.output, line.state, message, sizeof(message)) != 0 ||
        openmetrics_files_fork(&files, message, sizeof(message)) != 0) {
        fprintf(stderr, "ksm-explain: %s\n", message);
        return EXIT_FAILURE;
    }
    sandbox_enter(line.options.root, message, sizeof(message));
    return explain(print_openmetrics);
}

static int run(void) {
    switch (line.mode) {
    case COMMAND_LINE_REPORT:
        return report();
    case COMMAND_LINE_ESTIMATE:
        return estimate_memory();
    case COMMAND_LINE_OPENMETRICS:
        return write_openmetrics();
    case COMMAND_LINE_HELP:
        command_line_print_help();
        return finish(EXIT_SUCCESS);
    case COMMAND_LINE_VERSION:
        puts("ksm-explain " KSM_VERSION);
        return finish(EXIT_SUCCESS);
    }
    return EXIT_FAILURE;
}

int main(int argc, char *argv[]) {
    char message[PATH_MAX + 256];

    streams_open_missing();
    if (command_line_parse(&line, argc, argv, message, sizeof(message)) != 0) {
        fprintf(stderr, "ksm-explain: %s; see ksm-explain --help\n", message);
        return EXIT_FAILURE;
    }
    if (ksm_options_check_root(&line.options, message, sizeof(message)) != 0) {
        fprintf(stderr, "ksm-explain: %s\n", message);
        return EXIT_FAILURE;
    }
    wrap_init(&out, stdout);
    return run();
}
