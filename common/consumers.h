/* SPDX-License-Identifier: MIT
 *
 * Who saves: the host's saving by virtual machine, container, service and program.
 *
 * Works in small pieces (ksm_consumers_step), so that it never holds up a host's tick. Shares no
 * state with a ksm_reader: in collectd the two run in different threads.
 */
#ifndef KSM_CONSUMERS_H
#define KSM_CONSUMERS_H

#include <stdbool.h>
#include <stdint.h>

#include "name.h"
#include "newcomers.h"
#include "options.h"
#include "processes.h"
#include "pseudofs.h"

/* All that is known of one consumer at one sample. */
struct ksm_consumer {
    struct ksm_name name;
    int64_t saved;    /* bytes: the fair share of the host's saving */
    int64_t real;     /* bytes: RSS less its share of merged pages; -1 if RSS is not known */
    int64_t resident; /* pages: RSS; -1 if not known */
    int64_t merging;  /* pages */
    int64_t zero;     /* pages */
    int64_t rmap_items;
    int64_t processes;
    bool shown; /* one of the top: to be sent by itself. Of newcomers not all, see newcomers.h */
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
    bool valid;                /* else there are no figures */
    bool tells_zero;           /* this kernel tells of zero pages (6.6), of rmap items (6.1): */
    bool tells_rmap_items;     /* else those of all consumers are 0 and mean nothing */
};

enum ksm_consumers_result {
    KSM_CONSUMERS_IDLE,  /* nothing to do before the next tick */
    KSM_CONSUMERS_BUSY,  /* there is more to do: call again, when it suits */
    KSM_CONSUMERS_READY, /* table is new */
};

/* Things that somebody should be told of, once when they begin and once when they end. */
enum ksm_consumers_trouble {
    KSM_CONSUMERS_UNKNOWN, /* this kernel tells nothing of processes */
    KSM_CONSUMERS_DENIED,  /* some processes may not be read */
    KSM_CONSUMERS_HIDDEN,  /* /proc hides other users' processes (hidepid) */
    KSM_CONSUMERS_EXCESS,  /* the processes' counts add up to more than the host's */
    KSM_CONSUMERS_CROWDED, /* too many come that were not shown before */
    KSM_CONSUMERS_FAILED,  /* /proc, or the host's own figures, cannot be read */
    KSM_CONSUMERS_TROUBLES
};

enum { KSM_CONSUMERS_FILES = 5 };

struct ksm_consumers {
    struct ksm_consumer_table table; /* the result: of the last sample */

    struct ksm_processes processes;
    struct ksm_consumer_table last;                  /* the one before: who was shown */
    size_t size[2];                                  /* room in table.list and last.list */
    struct pseudofs_file files[KSM_CONSUMERS_FILES]; /* the host's pages, by state */
    int64_t page_size;
    int64_t interval;  /* ms */
    int64_t due;       /* end of the running interval, ms */
    unsigned excluded; /* a bit for each kind */
    size_t top;
    struct ksm_newcomers newcomers; /* to the top */
    int in_excess;                  /* samples running */
    bool started;
    bool swept;  /* the first round is over */
    bool missed; /* the first round failed: the list is not all */
    bool trouble[KSM_CONSUMERS_TROUBLES];
    bool told[KSM_CONSUMERS_TROUBLES];
};

/* Gets ready by options, which name root: it must live as long. may_keep: descriptors that may be
 * kept open. interval in ms. Opens nothing yet. */
void ksm_consumers_init(struct ksm_consumers *c, const struct ksm_options *options,
                        int64_t interval, int may_keep);

/* Does some of what is due before until, the time of the next call (both in ms of a clock that does
 * not go back), for no longer than about budget ms. registered: whether KSM has any pages at all;
 * if not, nothing is read, and the table is empty. At the last call before the end of an interval
 * it makes a new table. BUSY: call it again for the same tick. */
enum ksm_consumers_result ksm_consumers_step(struct ksm_consumers *c, bool registered, int64_t now,
                                             int64_t until, int64_t budget);

/* Reads whether KSM has any pages at all, for a host that has no sample of its own at hand. */
bool ksm_consumers_registered(struct ksm_consumers *c, int64_t now);

/* Calls tell for every trouble that has begun or ended since the last call. */
void ksm_consumers_news(struct ksm_consumers *c, void (*tell)(bool bad, const char *message));

/* Adds one consumer's figures to those of another: what is not known of one is not known of both.
 */
void ksm_consumer_add(struct ksm_consumer *to, const struct ksm_consumer *from);

/* Closes and frees everything. */
void ksm_consumers_close(struct ksm_consumers *c);

#endif
