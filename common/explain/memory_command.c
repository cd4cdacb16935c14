/* SPDX-License-Identifier: MIT */
#include "explain/memory_command.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "explain/estimate.h"
#include "explain/sharing.h"
#include "system/clock.h"
#include "system/pseudofs.h"

/* Exit statuses that no verdict has. */
enum {
    STATUS_DENIED = 50,  /* no process could be read */
    STATUS_PARTIAL = 51, /* stopped early */
};

static atomic_int interrupted;    /* the worker reads it, too */
static bool is_root, on_terminal; /* set before the sandbox */

static void interrupt(int number) {
    interrupted = number;
}

void memory_command_prepare(void) {
    const struct sigaction action = {.sa_handler = interrupt,
                                     .sa_flags = (int)(SA_RESETHAND | SA_RESTART)};

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    is_root = geteuid() == 0;
    on_terminal = isatty(STDERR_FILENO);
}

/* ---- the progress ---- */

/* Writes the time left, which is accurate enough after some seconds of reading. */
static void format_time_left(const struct memory_scan *s, int64_t now, char *buf, size_t size) {
    enum { KNOWN_AFTER_MS = 5000 };
    const uint64_t done = s->done, expected = s->expected;
    static int64_t first_page_ms;

    if (first_page_ms == 0 && done > 0)
        first_page_ms = now;
    if (s->step != MEMORY_SCAN_READ || done == 0 || now - first_page_ms < KNOWN_AFTER_MS)
        return;
    const double rest = expected > done ? (double)(expected - done) / (double)done : 0;
    const int64_t seconds = (int64_t)((double)(now - first_page_ms) * rest / 1000);
    snprintf(buf, size, "%" PRId64 ":%02d left", seconds / 60, (int)(seconds % 60));
}

static void show_progress(const struct memory_scan *s, const char *step) {
    enum { BAR = 30, EVERY_MS = 200 };
    static int64_t next;
    const int64_t now = clock_ms(CLOCK_MONOTONIC);
    const uint64_t done = s->done, expected = s->expected > done ? s->expected : done;
    char left[64] = "";

    if (now < next)
        return;
    next = now + EVERY_MS;
    format_time_left(s, now, left, sizeof(left));
    fprintf(stderr, "\r%-21s [", step);
    for (int i = 0; i < BAR; i++)
        fputc(expected > 0 && done * BAR >= expected * (uint64_t)(i + 1) ? '#' : '.', stderr);
    fprintf(stderr, "] %-14s", left);
}

static void show_estimate_progress(const struct memory_scan *s) {
    static const char *const steps[ESTIMATE_STEPS + 1] = {
        "finding processes", "reading", "waiting for changes", "reading again", ""};

    show_progress(s, steps[s->step]);
}

/* Runs a scan; on a terminal with its progress, which is erased at the end. */
static int run(struct memory_scan *s, memory_scan_progress_fn *progress) {
    const int status = memory_scan_run(s, on_terminal ? progress : NULL);

    if (on_terminal)
        fprintf(stderr, "\r%*s\r", 79, "");
    return status;
}

/* ---- why there is no result ---- */

static int report_failure(const struct memory_scan *s, int status) {
    if (status == -ENOMEM)
        fprintf(stderr, "ksm-explain: %s\n", strerror(ENOMEM));
    else if (status == -EAGAIN)
        fputs("ksm-explain: no thread can be started\n", stderr);
    else if (status == -ETIMEDOUT)
        fputs("ksm-explain: the reading thread gets no processor: the host is too busy\n", stderr);
    else
        fprintf(stderr, "ksm-explain: %.*s/proc: %s\n", (int)pseudofs_root_len(s->options.root),
                s->options.root, strerror(-status));
    return EXIT_FAILURE;
}

static int report_unknown(const struct memory_scan *s) {
    char message[1024];

    process_match_why_unknown(&s->match, s->unknown, message, sizeof(message));
    fprintf(stderr, "ksm-explain: %s\n", message);
    return EXIT_FAILURE;
}

/* Returns whether /proc shows no process at all, as if no procfs is mounted there. */
static bool is_proc_empty(const struct memory_scan *s, bool hidden) {
    return s->count == 0 && !s->only_pids && !interrupted && !hidden;
}

static int report_empty_proc(const struct memory_scan *s) {
    fprintf(stderr,
            "ksm-explain: no process was read: %.*s/proc shows none (is the host's /proc mounted "
            "there?)\n",
            (int)pseudofs_root_len(s->options.root), s->options.root);
    return STATUS_DENIED;
}

/* Returns why no process could be read. */
static const char *nothing_read(const struct memory_scan_counts *counts, bool hidden) {
    if (counts->partial)
        return "stopped before any process was read";
    if (counts->denied > 0 && !is_root)
        return "none of these processes may be read: run it with sudo";
    if (counts->denied > 0)
        return "none of these processes may be read: this requires the capabilities CAP_SYS_PTRACE "
               "and CAP_DAC_READ_SEARCH";
    if (counts->failed > 0)
        return strerror(-counts->error);
    if (hidden)
        return "no process can be read: /proc hides those of other users (hidepid); run it with "
               "sudo";
    return "no process was read: none has memory of its own, or all have exited";
}

/* ---- the commands ---- */

static struct memory_scan_options scan_options(const struct command_line *line) {
    return (struct memory_scan_options){.root = line->options.root,
                                        .names = line->names,
                                        .name_count = line->name_count,
                                        .cpu = line->cpu_percent,
                                        .stop = &interrupted};
}

/* Returns whether processes are not in /proc: hidepid, or another PID namespace than the host's. */
static bool is_hidden(const struct explain_facts *facts) {
    return explain_holds(facts, EXPLAIN_hidepid) || explain_holds(facts, EXPLAIN_ksmd_hidden);
}

int memory_command_estimate(const struct command_line *line, const struct explain_facts *facts,
                            const struct wrap *out) {
    static struct estimate_engine engine;
    const struct memory_scan_options options = scan_options(line);
    static struct estimate estimate; /* like the engine, it lasts until the program ends */
    int status = estimate_init(&engine, &options, (size_t)line->memory_mib << 20);

    engine.scan.counts.as_root = is_root;
    if (status == 0)
        status = run(&engine.scan, show_estimate_progress);
    if (status == 0)
        status = estimate_finish(&engine, &facts->now, facts->consumers, &estimate);
    if (status != 0)
        return report_failure(&engine.scan, status);
    if (is_proc_empty(&engine.scan, facts->consumers->sweep.hidden))
        return report_empty_proc(&engine.scan);
    if (engine.scan.unknown)
        return report_unknown(&engine.scan);
    if (estimate.counts.processes == 0 && estimate.sum.pages == 0) {
        fprintf(stderr, "ksm-explain: %s\n",
                nothing_read(&estimate.counts, facts->consumers->sweep.hidden));
        return STATUS_DENIED;
    }
    estimate.hidden = is_hidden(facts);
    if (line->json)
        estimate_json(&estimate, &facts->now, out->file);
    else
        estimate_report(&estimate, &facts->now, out);
    return estimate.counts.partial ? STATUS_PARTIAL : EXIT_SUCCESS;
}

static void show_sharing_progress(const struct memory_scan *s) {
    static const char *const steps[SHARING_STEPS + 1] = {"finding processes", "reading", "counting",
                                                         ""};

    show_progress(s, steps[s->step]);
}

/* Prints why page frames cannot be read. Returns the exit status. */
static int report_no_frames(int status) {
    if (status == -ENOENT)
        fputs("ksm-explain: this kernel has no /proc/kpageflags (CONFIG_PROC_PAGE_MONITOR), which "
              "--sharing reads\n",
              stderr);
    else
        fprintf(stderr, "ksm-explain: page frames may not be read: %s\n",
                is_root ? "this requires the capabilities CAP_SYS_ADMIN, CAP_SYS_PTRACE and "
                          "CAP_DAC_READ_SEARCH"
                        : "run it with sudo");
    return STATUS_DENIED;
}

static int64_t value_of(const struct ksm_sample *host, enum ksm_id id) {
    return host->values[id].status == 0 ? host->values[id].value : -1;
}

/* Prints what was found. Returns the exit status. */
static int print_sharing(const struct sharing *s, const struct command_line *line,
                         const struct explain_facts *facts, const struct wrap *out,
                         bool openmetrics) {
    const struct sharing_host host = {.sharing = value_of(&facts->now, KSM_sharing),
                                      .zero = value_of(&facts->now, KSM_zero),
                                      .hidden = is_hidden(facts),
                                      .table = facts->consumers};
    const struct memory_scan_counts *counts = &s->scan.counts;

    if (openmetrics)
        sharing_openmetrics(s, &host, out->file);
    else if (line->json)
        sharing_json(s, &host, out->file);
    else if (counts->processes == 0 && !counts->partial)
        fputs(host.hidden ? "No process that is visible here has merged pages.\n"
                          : "No memory is merged: no process has merged pages.\n",
              out->file);
    else
        sharing_report(s, &host, out);
    return counts->partial ? STATUS_PARTIAL : EXIT_SUCCESS;
}

int memory_command_sharing(const struct command_line *line, const struct explain_facts *facts,
                           const struct wrap *out, bool openmetrics) {
    static struct sharing sharing;
    const struct memory_scan_options options = scan_options(line);
    struct memory_scan *scan = &sharing.scan;
    int status = sharing_init(&sharing, &options, (size_t)line->memory_mib << 20);

    if (status == -ENOMEM)
        return report_failure(scan, status);
    if (status != 0)
        return report_no_frames(status);
    if (facts->consumers->faults[KSM_CONSUMERS_UNSUPPORTED]) {
        fputs(
            "ksm-explain: this kernel does not report which processes have merged pages (requires "
            "Linux 5.19)\n",
            stderr);
        return STATUS_DENIED;
    }
    scan->counts.as_root = is_root;
    status = run(scan, show_sharing_progress);
    if (status == 0)
        status = sharing_finish(&sharing);
    if (status != 0)
        return report_failure(scan, status);
    if (is_proc_empty(scan, facts->consumers->sweep.hidden))
        return report_empty_proc(scan);
    if (scan->unknown)
        return report_unknown(scan);
    if (scan->counts.processes == 0 && (scan->counts.denied > 0 || scan->counts.failed > 0)) {
        fprintf(stderr, "ksm-explain: %s\n", nothing_read(&scan->counts, false));
        return STATUS_DENIED;
    }
    return print_sharing(&sharing, line, facts, out, openmetrics);
}
