/* SPDX-License-Identifier: MIT
 *
 * Savings by consumer: the host's savings divided among virtual machines, containers, services and
 * programs.
 *
 * A sample may block its caller, so sampler.h makes it in a separate thread. This module shares no
 * state with a ksm_reader, because in collectd the two run in different threads.
 */
#ifndef KSM_CONSUMERS_H
#define KSM_CONSUMERS_H

#include <stdbool.h>
#include <stdint.h>

#include "consumers/consumer_name.h"
#include "consumers/process_list.h"
#include "consumers/rate_limit.h"
#include "metrics/ksm_dir.h"
#include "options.h"

#define KSM_GROWTH_UNKNOWN INT64_MIN

/* All that is known of one consumer at one sample. */
struct ksm_consumer {
    struct ksm_consumer_name name;
    int64_t saved;      /* bytes: the fair share of the host's savings */
    int64_t real;       /* bytes that it uses, see below; -1 if RSS is not known */
    int64_t resident;   /* pages: RSS of all its processes; -1 if not known */
    int64_t mapped;     /* pages: the most of files and shared memory that one of them has mapped */
    int64_t anonymous;  /* pages: the rest of RSS of all of them */
    int64_t merging;    /* pages, scaled down as its share is (attribution.h) */
    int64_t zero;       /* pages, scaled down too */
    int64_t growth;     /* of merging + zero since the last sample, of the processes that were in
                         * that, thousandths of a page a second; KSM_GROWTH_UNKNOWN: none of them
                         * was, or KSM is stopped (rates.h) */
    int64_t rmap_items; /* pages, scaled down too */
    int64_t processes;
    bool shown; /* in the top, and its name is not refused (rate_limit.h): sent separately */
};

/* real is anonymous + mapped less its share of merged pages, which RSS counts in full. What the
 * processes of one consumer share by mapping the same files or shared memory counts once, as in a
 * server with worker processes. So it is too small if the processes map different files. It is too
 * large if children inherited memory from their parent without writing to it. The kernel reports no
 * more without walking all page tables (smaps, Pss). */

/* Troubles to report once when they begin and once when they end. */
enum ksm_consumers_fault {
    KSM_CONSUMERS_UNKNOWN,      /* this kernel reports nothing by process */
    KSM_CONSUMERS_DENIED,       /* some processes may not be read: it lacks cap_dac_read_search, */
    KSM_CONSUMERS_MODULE,       /* or a security module forbids it, */
    KSM_CONSUMERS_HIDEPID1,     /* or /proc does (hidepid=1) */
    KSM_CONSUMERS_HIDDEN,       /* /proc hides other users' processes (hidepid=2) */
    KSM_CONSUMERS_OVERCOUNT,    /* the processes' counts add up to more than the host's */
    KSM_CONSUMERS_RATE_LIMITED, /* names of new consumers are refused (rate_limit.h) */
    KSM_CONSUMERS_FAILED,       /* /proc, or the host's own metrics, cannot be read */
    KSM_CONSUMERS_LATE,         /* a sample takes longer than an interval */
    KSM_CONSUMERS_FAULTS
};

/* One sample. saved = the sum over all consumers + unattributed, exactly, in bytes. */
struct ksm_consumer_table {
    struct ksm_consumer *list; /* by kind and name */
    size_t count;
    int64_t saved; /* the host's, at the sample's instant */
    int64_t unattributed;
    int64_t by_kind[KSM_CONSUMER_KIND_COUNT]; /* saved, of all consumers of a kind */
    struct ksm_consumer other; /* all that are not shown, together; processes 0: there are none.
                                * Its name is "other", its kind means nothing */
    bool valid;                /* else there are no metrics */
    bool tells_zero;           /* this kernel reports zero pages (6.6), rmap items (6.1): */
    bool tells_rmap_items;     /* else those of all consumers are 0 and mean nothing */

    /* Of the last sweep over all processes. */
    bool swept;       /* there was one; if not, nothing of this is known */
    bool hidden;      /* other users' processes are not even listed (hidepid) */
    int64_t denied;   /* processes that may not be read */
    int64_t aside;    /* processes that keep their readers waiting, and were not read (sampler.h) */
    int64_t opted_in; /* processes with memory that may be merged; -1: not reported (before 6.14) */
    int64_t recorded; /* processes that KSM has records of; -1: not reported (before 6.1), or not
                       * all of them could be read */

    bool trouble[KSM_CONSUMERS_FAULTS];

    /* The same at every sample. */
    bool known;        /* consumers are wanted, and this kernel reports processes (5.19) */
    int64_t interval;  /* ms between two samples */
    int64_t page_size; /* bytes */
};

struct ksm_consumers {
    struct ksm_consumer_table table; /* the result: of the last sample */

    struct ksm_process_list processes;
    struct ksm_consumer_table next; /* in the making */
    size_t size[2];                 /* room in table.list and next.list */
    struct ksm_dir directory;       /* the host's pages, by state: */
    struct ksm_sample host;         /* of these the last reading */
    unsigned excluded;              /* a bit for each kind */
    size_t top;
    struct ksm_rate_limit rate_limit; /* of names that are shown */
    int64_t ranked_ms;                /* instant of the last table, ms; -1: none yet */
    int in_excess;                    /* samples running */
    int64_t pages;       /* that KSM had at the last sample, those of zeros too; -1: not known */
    int64_t counted;     /* when processes were last counted, ms; -1: KSM was stopped */
    int64_t counted_now; /* the same of the sample in the making, */
    int64_t moved_ms;    /* and for how long counts have moved; 0: not known */
    int status;          /* of the sample in the making */
};

/* Gets ready by options, which name root: it must live as long. may_keep: descriptors that may be
 * kept open. interval in ms. Opens nothing yet. */
void ksm_consumers_init(struct ksm_consumers *c, const struct ksm_options *options,
                        int64_t interval, int may_keep);

/* Makes the next table. registered: whether KSM has any pages at all; if not, nothing is read, and
 * the table is empty. now: a clock in ms that does not go back. Does not change table, so that
 * another thread may read it meanwhile. Returns 0; or -ECANCELED, as
 * ksm_process_list_update(): then the next call goes on. call: of the thread, or NULL. */
int ksm_consumers_sample(struct ksm_consumers *c, bool registered, int64_t now,
                         struct blocking_call *call);

/* Ends a sample that cannot go on: publishing it says so, and the next one starts over. */
void ksm_consumers_fail(struct ksm_consumers *c, int status);

/* Puts the next table, once it is made, in the place of the last one. */
void ksm_consumers_publish(struct ksm_consumers *c);

/* Reads whether KSM has any pages at all, for a host that has no sample of its own at hand. */
bool ksm_consumers_registered(struct ksm_consumers *c, int64_t now);

/* Adds one consumer's metrics to those of another: what is not known of one is not known of both.
 */
void ksm_consumer_add(struct ksm_consumer *to, const struct ksm_consumer *from);

/* Closes and frees everything. */
void ksm_consumers_close(struct ksm_consumers *c);

#endif
