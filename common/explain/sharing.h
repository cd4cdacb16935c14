/* SPDX-License-Identifier: MIT
 *
 * Whose memory is merged with whose: which processes map the same merged pages, exactly.
 *
 * sharing_init(), memory_scan_run() of its scan, sharing_finish(), then sharing_report(),
 * sharing_json() or sharing_openmetrics().
 *
 * A page frame of KSM with m mappings saves m - 1 pages, so each mapping is credited 1 - 1/m. A
 * consumer with k of the m mappings saves k (1 - 1/m):
 *
 *     within itself  k - 1      pages that would be saved if it had KSM alone
 *     with others    1 - k/m    its share of what is saved by merging with other consumers
 *
 * Over all consumers both add up to m - 1, as the k add up to m. A frame with one mapping saves
 * nothing, and pagemap shows it as mapped exclusively. m is the frame's number in /proc/kpagecount:
 * mappings that were not found are those of "others".
 *
 * An owner is a domain of trust (trust_domain.h).
 *
 * Mappings are records of a content index whose key is the frame (content_index.h). When its memory
 * is full, frames are sampled: each recorded frame stands for w = 2^sampling_shift of them, a sum
 * of y over frames is estimated as Σ w y, with a variance of Σ w (w - 1) y². Errors are two
 * standard deviations. All sums are in pages.
 */
#ifndef KSM_SHARING_H
#define KSM_SHARING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "consumers/consumers.h"
#include "consumers/trust_domain.h"
#include "explain/content_index.h"
#include "explain/frames.h"
#include "explain/memory_scan.h"
#include "explain/wrap.h"

enum { SHARING_COUNT = MEMORY_SCAN_READ + 1, SHARING_STEPS };

/* An estimated sum. */
struct sharing_sum {
    double pages;
    double variance;
};

/* Pages that are merged between a and b, each frame counted once; a < b are indexes. */
struct sharing_pair {
    uint32_t a, b;
    struct sharing_sum sum;
};

/* A hash table of pairs, in which those of 0 pages are free; in the result they are sorted, the
 * largest first. */
struct sharing_pairs {
    struct sharing_pair *list;
    size_t size; /* a power of two */
    size_t count;
    bool overflow; /* it was full, and pairs are missing */
};

struct sharing_owner {
    struct ksm_trust_domain domain;
    bool any_named; /* one of its processes was named */
    bool shares;    /* its memory is merged with that of another owner */
};

struct sharing_consumer {
    uint64_t merged; /* ksm_merging_pages of its processes: mappings of merged pages */
    struct sharing_sum saved;
    double within; /* of saved: within itself */
    double others; /* of saved: with others */
    size_t owner;  /* index, if it has one alone */
    bool several;  /* its processes are of several owners */
};

struct sharing {
    struct memory_scan scan;
    struct content_index mappings;
    struct frames frames;

    /* The result. consumers are in the order of scan.consumers. */
    struct sharing_consumer *consumers;
    struct sharing_owner *owners;
    size_t owner_count;
    struct sharing_pairs pairs;       /* of consumers */
    struct sharing_pairs owner_pairs; /* of owners */
    struct sharing_sum saved;         /* of all consumers and others */
    struct sharing_sum across;        /* pages merged between owners, each frame once */
    double other_saved;               /* of saved: mappings that were not found */
    double unclear; /* mappings of frames that may be merged, or shared by fork(); 0 if the kernel
                     * reports which (frames.knows_ksm) */
    bool counted;   /* all frames have been counted; if not, saved is too low */

    /* While counting. */
    size_t *owner_of; /* by process */
    uint32_t *tally;  /* by consumer: mappings of the frame */
    uint32_t *owner_tally;
    uint32_t *found, *owners_found; /* consumers and owners of the frame */
    size_t found_count, owners_found_count;
    bool sorted;
};

/* Initializes it. What options point to remains the caller's. bytes: memory for mappings and pairs.
 * Returns 0; -ENOMEM; or what frames_open() returns. */
int sharing_init(struct sharing *s, const struct memory_scan_options *options, size_t bytes);

/* Counts what the scan did not, if it was stopped early. Returns 0, -ENOMEM, or -errno of reading
 * /proc/kpageflags. */
int sharing_finish(struct sharing *s);

/* The numbers that a report needs besides. */
struct sharing_host {
    int64_t sharing; /* pages_sharing, -1: not known */
    int64_t zero;    /* ksm_zero_pages, -1: not known */
    bool hidden; /* processes are not in /proc: hidepid, or another PID namespace than the host's */
    const struct ksm_consumer_table *table; /* what the plugins show */
};

/* Print the result as a report, as a JSON object, or as metrics. */
void sharing_report(const struct sharing *s, const struct sharing_host *host,
                    const struct wrap *wrap);
void sharing_json(const struct sharing *s, const struct sharing_host *host, FILE *file);
void sharing_openmetrics(const struct sharing *s, const struct sharing_host *host, FILE *file);

/* Two standard deviations, in pages. */
double sharing_error(const struct sharing_sum *sum);

/* The key of a frame in the index, in which all bits depend on it; and back. */
uint64_t sharing_key(uint64_t frame);
uint64_t sharing_frame(uint64_t key);

#endif
