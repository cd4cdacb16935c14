/* SPDX-License-Identifier: MIT
 *
 * What KSM would save if all programs opted in, or some of them: reads their memory once
 * (memory_scan.h) and counts equal pages (content_index.h); then reads again those that have an
 * equal one, as KSM merges only what does not change.
 *
 * estimate_init(), memory_scan_run() of its scan, estimate_finish(), then estimate_report() or
 * estimate_json().
 */
#ifndef KSM_ESTIMATE_H
#define KSM_ESTIMATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "consumers/consumers.h"
#include "explain/content_index.h"
#include "explain/memory_scan.h"
#include "explain/wrap.h"

/* Reads and counts. */
struct estimate_engine {
    struct memory_scan scan;
    struct content_index contents;
    size_t once_count; /* records to be read again */
    bool knows_huge;
};
enum { ESTIMATE_DELAY = MEMORY_SCAN_READ + 1, ESTIMATE_SECOND_PASS, ESTIMATE_STEPS };

/* Sums over processes: of a consumer, or of all. */
struct estimate_sum {
    uint64_t pages; /* read, each mapping of a shared page; KSM would track so many */
    struct content_index_share share;
};

struct estimate_consumer {
    struct ksm_consumer_name name;
    int64_t processes;
    struct estimate_sum sum;
    int64_t saved_now; /* bytes; -1: not known, or not all of its processes were named */
};

/* The result. */
struct estimate {
    struct content_index_total total;
    struct estimate_sum sum;
    struct estimate_consumer *consumers; /* the largest saving first */
    size_t consumer_count;
    struct memory_scan_counts counts;
    bool named;         /* only named processes were read */
    bool hidden;        /* set by the caller: processes are not in /proc (sharing.h) */
    bool knows_huge;    /* this kernel reports which pages are huge */
    uint64_t page_size; /* bytes */
    uint64_t pages_per_huge_page;
    unsigned sampling_shift; /* 1 of 2^sampling_shift contents was recorded */
};

/* Initializes the engine and opens nothing. What options point to remains the caller's. bytes:
 * memory for records. Returns 0 or -ENOMEM. */
int estimate_init(struct estimate_engine *e, const struct memory_scan_options *options,
                  size_t bytes);

/* Computes the result for a host with these settings. table: what its consumers save now.
 * Allocates result->consumers. Returns 0 or -ENOMEM. */
int estimate_finish(struct estimate_engine *e, const struct ksm_sample *host,
                    const struct ksm_consumer_table *table, struct estimate *result);

/* Print the result as a report, or as a JSON object. host: a sample of the host's metrics. */
void estimate_report(const struct estimate *e, const struct ksm_sample *host,
                     const struct wrap *wrap);
void estimate_json(const struct estimate *e, const struct ksm_sample *host, FILE *file);

#endif
