/* SPDX-License-Identifier: MIT
 *
 * ksm-explain: looks at this host for a second, and says in words what KSM does on it.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "consumers/sampler.h"
#include "explain/estimate.h"
#include "explain/explain.h"
#include "explain/format.h"
#include "explain/openmetrics.h"
#include "explain/suspects.h"
#include "explain/wrap.h"
#include "metrics/reader.h"
#include "options.h"
#include "system/clock.h"
#include "system/parse.h"
#include "system/sandbox.h"

enum { LOOK_MS = 1000 }; /* between the two samples that rates are made of */

/* For looking at all processes, of which some may keep their readers waiting: a fifth of the
 * interval each (sampler.h). */
enum { INTERVAL_MS = 2500, MOST_MS = 15000 };

static struct ksm_options options;
static struct ksm_reader reader;
static struct ksm_consumers consumers;
static struct ksm_sampler sampler;
static struct suspects large;
static struct wrap out; /* stdout */
static bool as_json;

/* Not at all if that is past: to poll() less than nothing is for ever. */
static void wait_until(int64_t instant) {
    int64_t ms = instant - clock_ms(CLOCK_MONOTONIC);

    if (ms > 0)
        poll(NULL, 0, (int)ms);
}

/* All processes at once, without descriptors to keep for a next time. */
static void sample_consumers(struct explain_facts *facts) {
    const int64_t start = clock_ms(CLOCK_MONOTONIC);

    ksm_consumers_init(&consumers, &options, INTERVAL_MS, 0);
    ksm_sampler_init(&sampler, &consumers);
    if (ksm_sampler_is_due(&sampler, start))
        ksm_sampler_begin(&sampler, true, start);
    while (ksm_sampler_poll(&sampler, clock_ms(CLOCK_MONOTONIC)) == KSM_SAMPLER_BUSY &&
           clock_ms(CLOCK_MONOTONIC) - start < MOST_MS)
        wait_until(ksm_sampler_next(&sampler));
    facts->consumers = &consumers.table;
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
    sample_consumers(facts);
    if (!facts->uksm)
        suspects_read(&large, facts);
}

static void print_report(const struct explain_facts *facts) {
    if (as_json)
        explain_json(facts, stdout);
    else
        explain_report(facts, &out);
}

static void print_openmetrics(const struct explain_facts *facts) {
    openmetrics_write(facts, stdout);
}

static int explain(void (*print)(const struct explain_facts *facts)) {
    static struct explain_facts facts;
    char message[PATH_MAX + 256];
    int status = ksm_reader_init(&reader, options.root, true);

    if (status != 0 && status != -ENOENT) {
        ksm_reader_why_not(status, options.root, message, sizeof(message));
        fprintf(stderr, "ksm-explain: %s\n", message);
        return EXIT_FAILURE;
    }
    if (status == 0)
        look(&facts);
    print(&facts);
    status =
        print == print_openmetrics ? EXIT_SUCCESS : explain_words[explain_verdict(&facts)].status;
    if (facts.in_kernel) {
        ksm_sampler_close(&sampler);
        ksm_reader_close(&reader);
    }
    return fflush(stdout) == 0 && !ferror(stdout) ? status : EXIT_FAILURE;
}

/* ---- --estimate ---- */

/* No metric: 50 not one process may be read, 51 stopped early. Never those of a verdict. */
enum { STATUS_DENIED = 50, STATUS_PARTIAL = 51 };

static struct estimate_options wanted;
static struct estimate estimate;
static volatile sig_atomic_t interrupted;

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

/* Whoever else wants the CPU or a disk comes first. */
static void stand_back(void) {
    enum { IOPRIO_WHO_PROCESS = 1, IOPRIO_IDLE = 3 << 13, NICEST = 19 };

    setpriority(PRIO_PROCESS, 0, NICEST);
    syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_IDLE);
}

/* The time left is known well enough after some seconds of reading. */
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

static int look_at_host(struct explain_facts *facts) {
    int status = ksm_reader_init(&reader, options.root, true);

    for (size_t id = 0; id < KSM_METRICS; id++)
        facts->now.at[id].status = -ENOENT;
    if (status == 0) {
        ksm_reader_tick(&reader, clock_ms(CLOCK_MONOTONIC));
        facts->now = reader.sample;
        ksm_reader_close(&reader);
    }
    sample_consumers(facts);
    return status;
}

static int judge_estimate(void) {
    if (estimate.unknown) {
        fprintf(stderr, "ksm-explain: no process, consumer or program is called \"%.200s\"\n",
                estimate.unknown);
        return EXIT_FAILURE;
    }
    if (estimate.processes == 0 && estimate.denied > 0) {
        fputs("ksm-explain: none of these processes may be read: this requires the capabilities "
              "CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, which root has\n",
              stderr);
        return STATUS_DENIED;
    }
    return estimate.partial ? STATUS_PARTIAL : EXIT_SUCCESS;
}

static int run_estimate(bool on_terminal) {
    static struct explain_facts facts;
    int status = estimate_init(&estimate, &wanted);

    look_at_host(&facts);
    if (status == 0)
        status = estimate_run(&estimate, on_terminal ? show_progress : NULL);
    if (on_terminal)
        fprintf(stderr, "\r%*s\r", 79, "");
    if (status == 0)
        status = estimate_finish(&estimate, &facts.now, facts.consumers);
    if (status != 0) {
        fprintf(stderr, "ksm-explain: %s%s%s\n", status == -ENOMEM ? "" : wanted.root,
                status == -ENOMEM ? "" : "/proc: ", strerror(-status));
        return EXIT_FAILURE;
    }
    status = judge_estimate();
    if (status != EXIT_SUCCESS && status != STATUS_PARTIAL)
        return status;
    if (as_json)
        estimate_json(&estimate, &facts.now, stdout);
    else
        estimate_report(&estimate, &facts.now, &out);
    return fflush(stdout) == 0 && !ferror(stdout) ? status : EXIT_FAILURE;
}

static void print_usage(void) {
    puts(
        "usage: ksm-explain [--root DIRECTORY] [--json]\n"
        "       ksm-explain --estimate [--json] [--cpu PERCENT] [--memory MIB] [PID|NAME ...]\n"
        "       ksm-explain --openmetrics [--output FILE]\n"
        "Explains the state of Kernel Samepage Merging (KSM) on this host, and what to do about "
        "it.\n"
        "Takes a second and changes nothing. As root, it sees the processes of all users.\n"
        "With --estimate it reads the memory of all processes, or of those named, and prints what\n"
        "KSM would save if they opted in.\n"
        "\n"
        "  --root DIRECTORY   where the host's /proc and /sys are mounted; default /\n"
        "  --estimate         a PID, or the name of a consumer or program, limits it to that\n"
        "  --json             print the report or the estimate as JSON\n"
        "  --cpu PERCENT      use at most so much of one CPU core; default 20, 1 to 100\n"
        "  --memory MIB       use so much memory for the estimate; default 64, 1 to 65536\n"
        "  --openmetrics      print all metrics and consumers for Prometheus\n"
        "  --output FILE      write them to FILE, which is replaced once they are complete\n"
        "  --help, --version\n"
        "\n"
        "The exit status is the verdict, for scripts: see ksm-explain(1).");
}

/* What was misunderstood may have named another host: then there is no answer. */
static int misunderstood(const char *message) {
    fprintf(stderr, "ksm-explain: %s; see ksm-explain --help\n", message);
    return EXIT_FAILURE;
}

/* A whole number, with a % or without. */
static int set_number(const char *word, const char *text, long most, long *number, char *message,
                      size_t size) {
    const size_t len = strlen(text);
    int64_t value = 0;

    if (parse_number(text, len - (len > 0 && text[len - 1] == '%'), &value) != 0 || value < 1 ||
        value > most) {
        snprintf(message, size,
                 "--%s: invalid value \"%.200s\"; expected a whole number from 1 to %ld", word,
                 text, most);
        return -EINVAL;
    }
    *number = (long)value;
    return 0;
}

int main(int argc, char *argv[]) {
    enum { CPU_MOST = 100, MEMORY_MOST = 65536 };
    static const struct option words[] = {
        {"root", required_argument, NULL, 'r'},   {"estimate", no_argument, NULL, 'e'},
        {"openmetrics", no_argument, NULL, 'o'},  {"output", required_argument, NULL, 'f'},
        {"json", no_argument, NULL, 'j'},         {"cpu", required_argument, NULL, 'c'},
        {"memory", required_argument, NULL, 'm'}, {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'v'},      {NULL, 0, NULL, 0}};
    char message[1024];
    bool estimating = false, openmetrics = false;
    const char *output = NULL;
    long cpu = 20, memory = 64;

    ksm_options_init(&options);
    for (int word, status; (word = getopt_long(argc, argv, "hv", words, NULL)) != -1;) {
        status = 0;
        switch (word) {
        case 'h':
            print_usage();
            return EXIT_SUCCESS;
        case 'v':
            puts("ksm-explain " KSM_VERSION);
            return EXIT_SUCCESS;
        case 'e':
            estimating = true;
            break;
        case 'o':
            openmetrics = true;
            break;
        case 'f':
            output = optarg;
            break;
        case 'j':
            as_json = true;
            break;
        case 'c':
            status = set_number("cpu", optarg, CPU_MOST, &cpu, message, sizeof(message));
            break;
        case 'm':
            status = set_number("memory", optarg, MEMORY_MOST, &memory, message, sizeof(message));
            break;
        case 'r':
            status =
                ksm_options_set(&options, KSM_NETDATA, "root", optarg, message, sizeof(message));
            snprintf(message, sizeof(message),
                     "--root: invalid value \"%.200s\"; expected a directory", optarg);
            break;
        default: /* getopt has said what */
            return EXIT_FAILURE;
        }
        if (status != 0)
            return misunderstood(message);
    }
    if (optind < argc && !estimating) {
        snprintf(message, sizeof(message), "unexpected argument \"%.200s\"", argv[optind]);
        return misunderstood(message);
    }
    if (output && !openmetrics)
        return misunderstood("--output requires --openmetrics");
    if (openmetrics && estimating)
        return misunderstood("--openmetrics and --estimate exclude each other");
    if (output && (errno = -openmetrics_replace(output)) != 0) {
        fprintf(stderr, "ksm-explain: %s: %s\n", output, strerror(errno));
        return EXIT_FAILURE;
    }
    wrap_init(&out, stdout);
    if (!estimating) {
        if (!openmetrics)
            suspects_open(&large, options.root);
        sandbox_enter(options.root, message, sizeof(message));
        return explain(openmetrics ? print_openmetrics : print_report);
    }
    wanted = (struct estimate_options){.root = options.root,
                                       .names = argv + optind,
                                       .name_count = (size_t)(argc - optind),
                                       .cpu = (int)cpu,
                                       .bytes = (size_t)memory << 20,
                                       .stop = &interrupted};
    const bool on_terminal = isatty(STDERR_FILENO);
    stand_back();
    handle_signals();
    sandbox_enter_for_memory(options.root, message, sizeof(message));
    return run_estimate(on_terminal);
}
