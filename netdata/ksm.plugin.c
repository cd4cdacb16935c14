/* SPDX-License-Identifier: MIT
 *
 * ksm.plugin, Netdata's external plugin: every update_every seconds it reads the figures and writes
 * them to stdout in the plugins.d protocol, until its stdin ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "args.h"
#include "charts.h"
#include "clock.h"
#include "consumer_charts.h"
#include "consumers.h"
#include "derive.h"
#include "explain.h"
#include "function.h"
#include "out.h"
#include "reader.h"
#include "sandbox.h"
#include "wait.h"
#include "watch.h"

static struct args args;
static struct ksm_reader reader;
static struct ksm_watch watch;
static struct charts charts;
static struct ksm_consumers consumers;
static struct consumer_charts consumer_charts;
static struct out out;
static struct wait wait;

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

/* Work on the consumers is done in pieces of so many ms, so that no tick comes late by more. */
enum { PIECE_MS = 5 };

enum { SPARE_DESCRIPTORS = 128 };

/* The host's figures, written before any consumer is looked at. Where there can be none, what is to
 * be said of consumers goes out with them. */
static void tick(void) {
    ksm_reader_tick(&reader, clock_ms(CLOCK_MONOTONIC));
    charts_send(&charts, &reader.sample, &out);
    if (ksm_registered(&reader.sample))
        out_flush(&out);
    ksm_watch(&watch, &reader, tell);
}

/* A piece of the work on the consumers; true if there is more. */
static bool work(void) {
    enum ksm_consumers_result result =
        ksm_consumers_step(&consumers, ksm_registered(&reader.sample), clock_ms(CLOCK_MONOTONIC),
                           wait_next_tick(&wait), PIECE_MS);

    if (result == KSM_CONSUMERS_READY)
        consumer_charts_send(&consumer_charts, &consumers.table, &out);
    ksm_consumers_news(&consumers, tell);
    return result == KSM_CONSUMERS_BUSY;
}

/* Out of the last sample: nothing is read for it. */
static void answer(void) {
    function_answer(&consumers, &wait.requests.request, clock_ms(CLOCK_REALTIME) / 1000, &out);
}

static void run(void) {
    bool more = false;

    for (enum wait_result result = WAIT_TICK; result != WAIT_END && out.error == 0;) {
        if (result == WAIT_TICK)
            tick();
        if (result == WAIT_REQUEST)
            answer();
        if (result == WAIT_ALIVE)
            out_text(&out, "\n");
        else if (args.options.consumers > 0 && (result != WAIT_REQUEST || more))
            more = work();
        out_flush(&out);
        result = wait_for_tick(&wait, more);
    }
}

/* Descriptors that may be kept for processes: as many as this process may have at most, less those
 * for the host's figures. */
static int raise_limit(void) {
    const rlim_t wanted = KSM_PROCESSES_KEPT + SPARE_DESCRIPTORS;
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 0;
    if (limit.rlim_cur < wanted) {
        const rlim_t before = limit.rlim_cur;
        limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
            limit.rlim_cur = before;
    }
    return (int)(limit.rlim_cur < wanted ? limit.rlim_cur : wanted) - SPARE_DESCRIPTORS;
}

static void init_consumers(int descriptors) {
    int interval = args.options.consumers_interval;

    if (interval < args.update_every)
        interval = args.update_every;
    ksm_consumers_init(&consumers, &args.options, (int64_t)interval * 1000, descriptors);
    consumer_charts_init(&consumer_charts, interval, args.options.consumers_exclude);
}

/* ---- --explain ---- */

enum { LOOK_MS = 1000 }; /* between the two samples that rates are made of */

static bool misunderstood; /* any of the arguments */

static void complain_of_argument(const char *message) {
    misunderstood = true;
    complain(message);
}

/* All processes at once, without descriptors to keep for a next time. */
static void look_at_consumers(struct explain_facts *facts) {
    int64_t now = clock_ms(CLOCK_MONOTONIC);

    ksm_consumers_init(&consumers, &args.options, 1, 0);
    ksm_consumers_step(&consumers, true, now, now + 1, INT64_MAX);
    explain_consumers(facts, &consumers);
}

static void look(struct explain_facts *facts) {
    static struct ksm_sample before;
    int64_t start = clock_ms(CLOCK_MONOTONIC);

    ksm_reader_tick(&reader, start);
    before = reader.sample;
    poll(NULL, 0, LOOK_MS);
    ksm_reader_tick(&reader, clock_ms(CLOCK_MONOTONIC));
    explain_host(facts, &before, &reader.sample, clock_ms(CLOCK_MONOTONIC) - start);
    facts->in_kernel = true;
    facts->uksm = ksm_reader_is_uksm(&reader);
    look_at_consumers(facts);
}

/* A person asked, and gets no log. What was misunderstood may have named another host: then there
 * is no answer. */
static int explain(void) {
    static struct explain_facts facts;
    char message[PATH_MAX + 256];
    int status = ksm_reader_init(&reader, args.options.root, true);

    if (misunderstood)
        return EXIT_FAILURE;
    if (status != 0 && status != -ENOENT) {
        ksm_reader_why_not(status, args.options.root, message, sizeof(message));
        complain(message);
        return EXIT_FAILURE;
    }
    if (status == 0)
        look(&facts);
    explain_page(&facts, stdout);
    status = explain_words[explain_verdict(&facts)].status;
    ksm_consumers_close(&consumers);
    ksm_reader_close(&reader);
    return fflush(stdout) == 0 && !ferror(stdout) ? status : EXIT_FAILURE;
}

/* Gives up all rights but those that the figures need, and writes for the log what that was. Where
 * this file's capability gives more than the user has who started it, what he says is not trusted.
 * KSM_NO_SANDBOX is for builds with sanitizers, which need what a sandbox forbids. */
static void confine(char *report, size_t size) {
#ifdef KSM_NO_SANDBOX
    snprintf(report, size, "confined: not at all, in a build for tests");
#else
    if (getauxval(AT_SECURE) != 0)
        pseudofs_trust_kernel_only();
    tzset(); /* reads /etc/localtime, for the log */
    sandbox_enter(args.options.root, report, size);
#endif
}

/* A descriptor that the parent left closed would be given to the next file that is opened, and be
 * taken for stdin or stdout. Opened the wrong way round it is one at its end, and one that fails.
 */
static void fill_descriptors(void) {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            open("/dev/null", fd == STDERR_FILENO ? O_WRONLY : O_RDONLY);
}

/* Lets no write to a pipe wait, so that an agent that hangs, and is ended, ends this as well. By
 * way of a descriptor of our own: the flag would bind all who share the agent's. */
static void never_block(int fd) {
    char path[32];
    struct stat status;

    if (fstat(fd, &status) != 0 || !S_ISFIFO(status.st_mode))
        return;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int own = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (own < 0)
        return;
    dup2(own, fd);
    close(own);
}

int main(int argc, char *argv[]) {
    char report[512];

    fill_descriptors();
    args_parse(&args, argc, argv, complain_of_argument);
    if (args.action == ARGS_HELP) {
        args_help();
        return EXIT_SUCCESS;
    }
    if (args.action == ARGS_VERSION) {
        puts("ksm.plugin " KSM_VERSION);
        return EXIT_SUCCESS;
    }
    const int descriptors = raise_limit(); /* which the sandbox forbids */
    if (args.action == ARGS_RUN)
        never_block(STDOUT_FILENO);
    confine(report, sizeof(report));
    if (args.action == ARGS_EXPLAIN)
        return explain();
    signal(SIGPIPE, SIG_IGN); /* an agent that has gone is an error of write, and no crash */
    int status = ksm_reader_init(&reader, args.options.root, args.options.settings);
    if (status != 0)
        return give_up(status);
    say("INFO", report);
    charts_init(&charts, args.update_every);
    init_consumers(descriptors);
    out_init(&out, STDOUT_FILENO);
    function_offer(&consumers, (enum ksm_function_access)args.options.function_access, &out);
    wait_init(&wait, args.update_every);
    run();
    ksm_consumers_close(&consumers);
    ksm_reader_close(&reader);
    return out.error == 0 || out.error == -EPIPE ? EXIT_SUCCESS : EXIT_FAILURE;
}
