/* SPDX-License-Identifier: MIT
 *
 * ksm-explain: looks at this host for a second, and says in words what KSM does on it.
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "explain.h"
#include "options.h"
#include "reader.h"
#include "sampler.h"
#include "sandbox.h"

enum { LOOK_MS = 1000 }; /* between the two samples that rates are made of */

/* For looking at all processes, of which some may keep their readers waiting: a fifth of the
 * interval each (sampler.h). */
enum { INTERVAL_MS = 2500, MOST_MS = 15000 };

static struct ksm_options options;
static struct ksm_reader reader;
static struct ksm_consumers consumers;
static struct ksm_sampler sampler;

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
    while (ksm_sampler_look(&sampler, clock_ms(CLOCK_MONOTONIC)) == KSM_SAMPLER_BUSY &&
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
}

static int explain(void) {
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
    explain_page(&facts, stdout);
    status = explain_words[explain_verdict(&facts)].status;
    if (facts.in_kernel) {
        ksm_sampler_close(&sampler);
        ksm_reader_close(&reader);
    }
    return fflush(stdout) == 0 && !ferror(stdout) ? status : EXIT_FAILURE;
}

static void print_usage(void) {
    puts(
        "usage: ksm-explain [--root DIRECTORY]\n"
        "Says in words what Kernel Samepage Merging (KSM) does on this host, and what to do about\n"
        "it. Looks for a second, and changes nothing. As root it sees everybody's processes.\n"
        "\n"
        "  --root DIRECTORY   where the host's /proc and /sys are mounted; default /\n"
        "  --help, --version\n"
        "\n"
        "The exit status tells the verdict to scripts: see ksm-explain(1).");
}

/* What was misunderstood may have named another host: then there is no answer. */
static int misunderstood(const char *message) {
    fprintf(stderr, "ksm-explain: %s; see ksm-explain --help\n", message);
    return EXIT_FAILURE;
}

int main(int argc, char *argv[]) {
    static const struct option words[] = {{"root", required_argument, NULL, 'r'},
                                          {"help", no_argument, NULL, 'h'},
                                          {"version", no_argument, NULL, 'v'},
                                          {NULL, 0, NULL, 0}};
    char message[1024];

    ksm_options_init(&options);
    for (int word; (word = getopt_long(argc, argv, "hv", words, NULL)) != -1;) {
        if (word == 'h') {
            print_usage();
            return EXIT_SUCCESS;
        }
        if (word == 'v') {
            puts("ksm-explain " KSM_VERSION);
            return EXIT_SUCCESS;
        }
        if (word == '?') /* getopt has said what */
            return EXIT_FAILURE;
        if (ksm_options_set(&options, KSM_NETDATA, "root", optarg, message, sizeof(message)) != 0)
            return misunderstood(message);
    }
    if (optind < argc) {
        snprintf(message, sizeof(message), "unexpected argument \"%.200s\"", argv[optind]);
        return misunderstood(message);
    }
    sandbox_enter(options.root, message, sizeof(message));
    return explain();
}
