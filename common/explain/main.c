/* SPDX-License-Identifier: MIT
 *
 * ksm-explain: measures this host for a second, and explains what KSM does on it. Also runs the
 * modes --estimate, --sharing and --openmetrics.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "consumers/sampler.h"
#include "explain/command_line.h"
#include "explain/explain.h"
#include "explain/format.h"
#include "explain/memory_command.h"
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
static struct ksm_rate_limit restored; /* as the last run left it */
static struct wrap out;                /* stdout */
static bool as_root;                   /* set before the sandbox */

/* Returns at once if the time has passed: a negative timeout would block. */
static void wait_until(int64_t time_ms) {
    int64_t ms = time_ms - clock_ms(CLOCK_MONOTONIC);

    if (ms > 0)
        poll(NULL, 0, (int)ms);
}

/* Returns the exit status. */
static int fail(const char *message) {
    fprintf(stderr, "ksm-explain: %s\n", message);
    return EXIT_FAILURE;
}

static void log_message(bool bad, const char *message) {
    (void)bad;
    fail(message);
}

static void restore_rate_limit(void) {
    if (openmetrics_files_restore(&files, &consumers.rate_limit) != 0)
        fprintf(stderr,
                "ksm-explain: %s is damaged: for some hours, most new consumers are part of other; "
                "remove it to show them at once\n",
                files.state.path);
    restored = consumers.rate_limit;
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
    if (line.mode == COMMAND_LINE_OPENMETRICS || line.mode == COMMAND_LINE_SHARING_OPENMETRICS)
        restore_rate_limit();
    ksm_sampler_init(&sampler, &consumers);
    if (ksm_sampler_is_due(&sampler, start))
        ksm_sampler_begin(&sampler, true, start);
    while (ksm_sampler_poll(&sampler, clock_ms(CLOCK_MONOTONIC)) == KSM_SAMPLER_BUSY &&
           clock_ms(CLOCK_MONOTONIC) - start < CONSUMERS_MAX_MS)
        wait_until(ksm_sampler_next(&sampler));
    facts->consumers = &consumers.table;
}

static void set_kernel(struct explain_facts *facts) {
    facts->has_ksm = true;
    facts->uksm = ksm_reader_is_uksm(&reader);
}

static void measure(struct explain_facts *facts) {
    static struct ksm_sample before;
    int64_t start = clock_ms(CLOCK_MONOTONIC);

    ksm_reader_tick(&reader, start);
    before = reader.sample;
    poll(NULL, 0, SAMPLE_MS);
    ksm_reader_tick(&reader, clock_ms(CLOCK_MONOTONIC));
    explain_set_host(facts, &before, &reader.sample, clock_ms(CLOCK_MONOTONIC) - start);
    set_kernel(facts);
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

/* If the sample has not ended, its thread still uses the limit: then nothing has changed. */
static int save_state(void) {
    if (consumers.table.valid)
        log_rate_limit();
    int status = openmetrics_files_save(&files, sampler.busy ? &restored : &consumers.rate_limit);
    if (status == 0)
        return EXIT_SUCCESS;
    fprintf(stderr, "ksm-explain: %s: %s\n", files.state.path, strerror(-status));
    return EXIT_FAILURE;
}

static int print_openmetrics(const struct explain_facts *facts) {
    openmetrics_write(facts, stdout);
    return facts->has_ksm ? save_state() : EXIT_SUCCESS;
}

static int explain(print_fn *print) {
    static struct explain_facts facts;
    char message[PATH_MAX + 256];

    facts.root = line.options.root;
    facts.as_root = as_root;
    int status = ksm_reader_init(&reader, line.options.root, true);
    if (status != 0 && status != -ENOENT) {
        ksm_reader_describe_error(status, line.options.root, message, sizeof(message));
        return fail(message);
    }
    if (status == 0)
        measure(&facts);
    status = print(&facts);
    if (facts.has_ksm) {
        ksm_sampler_close(&sampler);
        ksm_reader_close(&reader);
    }
    return finish(status);
}

/* ---- the modes ---- */

static void sample_host(struct explain_facts *facts) {
    int status = ksm_reader_init(&reader, line.options.root, true);

    for (size_t id = 0; id < KSM_METRICS; id++)
        facts->now.values[id].status = -ENOENT;
    if (status == 0) {
        ksm_reader_tick(&reader, clock_ms(CLOCK_MONOTONIC));
        facts->now = reader.sample;
        set_kernel(facts);
        ksm_reader_close(&reader);
    }
    sample_consumers(facts);
}

/* For --estimate and --sharing. */
static void enter_memory_sandbox(struct explain_facts *facts) {
    char message[1024];

    /* Do not lower the priority: see pagemap.h. */
    memory_command_prepare();
    sandbox_enter_for_memory(line.options.root, message, sizeof(message));
    sample_host(facts);
}

static int estimate_memory(void) {
    static struct explain_facts facts;

    enter_memory_sandbox(&facts);
    return finish(memory_command_estimate(&line, &facts, &out));
}

static int report_sharing(void) {
    static struct explain_facts facts;

    enter_memory_sandbox(&facts);
    return finish(memory_command_sharing(&line, &facts, &out, false));
}

static int report(void) {
    char message[1024];

    as_root = geteuid() == 0;
    suspects_open(&suspects, line.options.root);
    sandbox_enter(line.options.root, message, sizeof(message));
    return explain(print_report);
}

static int open_openmetrics(void) {
    char message[PATH_MAX + 256];

    if (openmetrics_files_open(&files, line.output, line.state, message, sizeof(message)) != 0 ||
        openmetrics_files_fork(&files, message, sizeof(message)) != 0)
        return fail(message);
    return EXIT_SUCCESS;
}

static int write_openmetrics(void) {
    char message[1024];

    if (open_openmetrics() != EXIT_SUCCESS)
        return EXIT_FAILURE;
    sandbox_enter(line.options.root, message, sizeof(message));
    return explain(print_openmetrics);
}

static int write_sharing_openmetrics(void) {
    static struct explain_facts facts;

    if (open_openmetrics() != EXIT_SUCCESS)
        return EXIT_FAILURE;
    enter_memory_sandbox(&facts);
    const int status = memory_command_sharing(&line, &facts, &out, true);
    return finish(status == EXIT_SUCCESS ? save_state() : status);
}

static int run(void) {
    switch (line.mode) {
    case COMMAND_LINE_REPORT:
        return report();
    case COMMAND_LINE_ESTIMATE:
        return estimate_memory();
    case COMMAND_LINE_SHARING:
        return report_sharing();
    case COMMAND_LINE_OPENMETRICS:
        return write_openmetrics();
    case COMMAND_LINE_SHARING_OPENMETRICS:
        return write_sharing_openmetrics();
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
    if (line.mode < COMMAND_LINE_MODES &&
        ksm_options_check_root(&line.options, message, sizeof(message)) != 0)
        return fail(message);
    wrap_init(&out, stdout);
    return run();
}
