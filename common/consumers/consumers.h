/* SPDX-License-Identifier: MIT
 *
 * Savings by consumer: attributes the host's savings to virtual machines, containers, services and
 * programs.
 *
 *   ksm_consumers_init();
 *   ksm_consumers_sample();     makes the next table; may block, so sampler.h calls it in a thread
 *   ksm_consumers_publish();    replaces the table by the next one
 *   ksm_consumers_close();
 *
 * It shares no state with a ksm_reader, because in collectd the two run in different threads.
 */
#ifndef KSM_CONSUMERS_H
#define KSM_CONSUMERS_H

#include <stdbool.h>
#include <stdint.h>

#include "consumers/consumer_name.h"
#include "consumers/process_list.h"
#include "consumers/rate_limit.h"
#include "consumers/trust_domain.h"
#include "metrics/ksm_dir.h"
#include "options.h"

#define KSM_GROWTH_UNKNOWN INT64_MIN

/* One consumer at one sample. Counts are pages. If the counts of all consumers exceed the host's,
 * all are scaled down, as the shares are (attribution.h). */
struct ksm_consumer {
    struct ksm_consumer_name name;
    int64_t saved;       /* bytes: its share of the host's savings */
    int64_t real;        /* bytes that it uses, see below; -1 if RSS is not known */
    int64_t resident;    /* pages: RSS of all its processes; -1 if not known */
    int64_t mapped;      /* pages of files and shmem: the largest of any of its processes */
    int64_t anonymous;   /* pages: the rest of RSS of all its processes */
    int64_t merging;     /* ksm_merging_pages */
    int64_t zero;        /* ksm_zero_pages */
    int64_t growth;      /* of merging + zero since the last sample, thousandths of a page a second;
                          * KSM_GROWTH_UNKNOWN also if KSM is stopped (rates.h) */
    int64_t grown_pages; /* the same in pages, of the processes that were in the last sample;
                          * KSM_GROWTH_UNKNOWN if there are none */
    int64_t rmap_items;  /* ksm_rmap_items: tracked pages */
    int64_t processes;
    int64_t user;    /* effective uid of its processes, or a value of trust_domain.h */
    bool by_prctl;   /* a process opted in by prctl(): all of its memory (Linux 6.14) */
    bool by_madvise; /* a process opted in by madvise() (Linux 6.14) */
    bool shown;      /* in the top and admitted by the rate limit: reported separately */
};

/* real is anonymous + mapped less its share of merged pages, which RSS counts in full. Files and
 * shared memory count once, as the processes of a server usually map the same ones. So real is too
 * small if they map different files. It is too large if children have not written to memory that
 * they inherited from their parent. The kernel reports no more without a walk over all page tables
 * (Pss of smaps). */

/* Faults are logged once when they are raised and once when they are cleared (log_state.h). */
enum ksm_consumers_fault {
    KSM_CONSUMERS_UNSUPPORTED,  /* the kernel reports nothing about processes (before 5.19) */
    KSM_CONSUMERS_DENIED,       /* some processes cannot be read without cap_dac_read_search */
    KSM_CONSUMERS_MODULE,       /* some cannot be read: a security module denies it */
    KSM_CONSUMERS_HIDEPID1,     /* some cannot be read: /proc is mounted with hidepid=1 */
    KSM_CONSUMERS_HIDDEN,       /* processes of other users are not listed: hidepid=2 */
    KSM_CONSUMERS_OVERCOUNT,    /* the processes' counts add up to more than the host's */
    KSM_CONSUMERS_RATE_LIMITED, /* new names are refused (rate_limit.h) */
    KSM_CONSUMERS_FAILED,       /* /proc, or the host's own metrics, cannot be read */
    KSM_CONSUMERS_LATE,         /* a sample takes longer than an interval */
    KSM_CONSUMERS_FAULTS
};

/* What the last full sweep over /proc found, and how complete it was. */
struct ksm_consumer_sweep {
    bool done;        /* there was one; if not, the rest means nothing */
    bool hidden;      /* processes of other users are not listed (hidepid=2) */
    int64_t denied;   /* processes that may not be read */
    int64_t skipped;  /* processes that block their readers, and are not read (sampler.h) */
    int64_t opted_in; /* processes with mergeable memory; -1: not reported (before 6.14) */
    int64_t tracked;  /* processes with tracked pages; -1: not reported (before 6.1), or not all of
                       * them could be read */
};

/* One sample. The sum of saved of all consumers + unattributed is saved, exactly. */
struct ksm_consumer_table {
    /* Results. */
    bool valid;                /* if not, the results mean nothing */
    struct ksm_consumer *list; /* by kind and name */
    size_t count;
    size_t size;                              /* allocated in list */
    int64_t saved;                            /* bytes: the host's savings */
    int64_t unattributed;                     /* bytes */
    int64_t by_kind[KSM_CONSUMER_KIND_COUNT]; /* bytes: saved of all consumers of a kind */
    struct ksm_consumer other; /* the sum of all that are not shown, named "other"; its kind means
                                * nothing; if there are none, processes is 0 */
    int64_t owners; /* domains of trust with merged memory; -1: not known, as processes could not be
                     * read */
    bool has_zero_pages; /* the kernel reports zero pages (6.6) */
    bool has_rmap_items; /* the kernel reports tracked pages by process (6.1) */

    struct ksm_consumer_sweep sweep;
    bool faults[KSM_CONSUMERS_FAULTS];

    /* Constant. */
    bool enabled;      /* consumers are wanted, and the kernel reports processes (5.19) */
    int64_t interval;  /* ms between two samples */
    int64_t page_size; /* bytes */
};

struct ksm_consumers {
    struct ksm_consumer_table table; /* of the last sample */
    struct ksm_consumer_table next;  /* of the sample in progress */
    int status;                      /* of the sample in progress */

    struct ksm_process_list processes;
    struct ksm_dir directory;
    struct ksm_sample host; /* the host's pages by state, and run */
    int64_t host_pages;     /* tracked and zero pages at the last sample; -1: not known */
    bool complete;          /* the processes on the list have all of these pages */
    int overcounts;         /* samples in a row with an overcount */
    int64_t counted_ms;     /* instant of the last table; -1: none, or KSM was stopped */
    int64_t growth_ms;      /* since counted_ms; 0: growth is not known */

    unsigned excluded; /* a bit for each kind */
    size_t top;        /* consumers shown at most */
    struct ksm_rate_limit rate_limit;
    int64_t ranked_ms; /* instant of the last ranking; -1: none */
};

/* Opens nothing. options->root must outlive c. interval: ms. max_kept: as for
 * ksm_process_list_init(). */
void ksm_consumers_init(struct ksm_consumers *c, const struct ksm_options *options,
                        int64_t interval, int max_kept);

/* Makes the next table, and leaves table alone: another thread may read that meanwhile. Without
 * has_pages, KSM has no pages: nothing is read, and the table is empty. now: ms of a clock that
 * does not go back. call belongs to the running thread; it may be NULL. Returns 0 also if the
 * sample fails; or -ECANCELED, as ksm_process_list_update(). */
int ksm_consumers_sample(struct ksm_consumers *c, bool has_pages, int64_t now,
                         struct blocking_call *call);

/* Fails the sample in progress with status, for a supervisor that cannot start another thread. */
void ksm_consumers_fail(struct ksm_consumers *c, int status);

/* Replaces the table by the next one. If the sample failed, the table becomes invalid. */
void ksm_consumers_publish(struct ksm_consumers *c);

/* Reads whether KSM has any pages, for a caller without a ksm_sample. */
bool ksm_consumers_has_pages(struct ksm_consumers *c, int64_t now);

/* Returns the consumer of that name in a valid table, or NULL. */
const struct ksm_consumer *ksm_consumer_find(const struct ksm_consumer_table *table,
                                             const struct ksm_consumer_name *name);

/* Adds the values of one consumer to another. A sum with an unknown value is unknown. */
void ksm_consumer_add(struct ksm_consumer *to, const struct ksm_consumer *from);

/* Writes its owner; "" if that is not known, which is always so for the sum of the others. */
void ksm_consumer_format_owner(const struct ksm_consumer *consumer,
                               char text[static KSM_TRUST_DOMAIN_SIZE]);

/* Returns how it opted in: "prctl", "madvise", "both", or "" if the kernel does not report it. */
const char *ksm_consumer_opt_in(const struct ksm_consumer *consumer);

/* Returns the merge density: the share of its tracked pages that are merged, also as pages of
 * zeros, in thousandths of a percent, at most 100000; -1 if it is not known, or no page is tracked.
 * Below KSM_RMAP_ITEM_BYTES ÷ page size, opting out saves more memory (Documentation/admin-guide/
 * mm/ksm.rst, ksm_process_profit). */
int64_t ksm_consumer_merge_density(const struct ksm_consumer_table *table,
                                   const struct ksm_consumer *consumer);

void ksm_consumers_close(struct ksm_consumers *c);

#endif
