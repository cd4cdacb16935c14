/* SPDX-License-Identifier: MIT */
#include "consumers/consumers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "consumers/attribution.h"
#include "metrics/derive.h"
#include "metrics/rates.h"

/* Processes whose ksm_stat is slow to read use at most this part of an interval of CPU time, and
 * the search for others as much: 1 % of a core together. */
enum { SLOW_READS_PART = 200 };

/* Counts that are too large are no news before they are so by more than that, so long. */
enum { EXCESS_THOUSANDTHS = 10, EXCESS_SAMPLES = 6 };

void ksm_consumers_init(struct ksm_consumers *c, const struct ksm_options *options,
                        int64_t interval, int may_keep) {
    memset(c, 0, sizeof(*c));
    ksm_process_list_init(&c->processes, options->root, may_keep,
                          interval * 1000 / SLOW_READS_PART);
    ksm_dir_init(&c->directory, options->root); /* of no KSM no file can be read */
    for (size_t id = 0; id < KSM_METRICS; id++)
        c->host.at[id].status = -ENOENT;
    c->host.page_size = sysconf(_SC_PAGESIZE);
    c->excluded = options->consumers_exclude;
    c->top = (size_t)options->consumers;
    c->pages = -1;
    c->counted = -1;
    const bool unknown = c->processes.reader.source == KSM_PROCESS_NOTHING;
    c->table = (struct ksm_consumer_table){.faults[KSM_CONSUMERS_UNKNOWN] = unknown,
                                           .enabled = !unknown && c->top > 0,
                                           .sweep = {.opted_in = -1, .tracked = -1},
                                           .interval = interval,
                                           .page_size = c->host.page_size};
    c->next = c->table;
    c->ranked_ms = -1;
    ksm_rate_limit_init(&c->rate_limit, c->top);
}

static void forget(struct ksm_consumers *c) {
    ksm_process_list_clear(&c->processes);
    ksm_dir_close(&c->directory);
    c->in_excess = 0;
    c->pages = -1;
}

void ksm_consumers_close(struct ksm_consumers *c) {
    forget(c);
    free(c->table.list);
    free(c->next.list);
    c->table = c->next = (struct ksm_consumer_table){.list = NULL};
    c->size[0] = c->size[1] = 0;
}

/* ---- the table ---- */

static int by_name_of_process(const void *a, const void *b) {
    const struct ksm_process *const *left = a, *const *right = b;

    return ksm_consumer_name_compare(&(*left)->name, &(*right)->name);
}

static int by_name(const void *a, const void *b) {
    const struct ksm_consumer *left = a, *right = b;

    return ksm_consumer_name_compare(&left->name, &right->name);
}

static int64_t add(int64_t a, int64_t b) {
    int64_t sum = 0;

    return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

/* Adds up; what is not known (-1) of one is not known of the sum. */
static int64_t add_known(int64_t a, int64_t b) {
    return a < 0 || b < 0 ? -1 : add(a, b);
}

static int64_t merged_pages(const struct ksm_process *process) {
    return add(process->merging, process->zero);
}

/* Who is new may have merged long ago. */
static void count_growth(struct ksm_consumer *to, const struct ksm_process *process) {
    if (process->previous >= 0)
        to->growth = add(to->growth == KSM_GROWTH_UNKNOWN ? 0 : to->growth,
                         merged_pages(process) - process->previous);
}

static void count_process(struct ksm_consumer *to, const struct ksm_process *process) {
    count_growth(to, process);
    to->merging = add(to->merging, process->merging);
    to->zero = add(to->zero, process->zero);
    to->rmap_items = add(to->rmap_items, process->rmap_items);
    to->resident = add_known(to->resident, process->resident);
    to->anonymous = add(to->anonymous, process->resident - process->mapped);
    to->mapped = process->mapped > to->mapped ? process->mapped : to->mapped;
    to->processes++;
}

void ksm_consumer_add(struct ksm_consumer *to, const struct ksm_consumer *from) {
    to->saved = add(to->saved, from->saved);
    to->real = add_known(to->real, from->real);
    to->merging = add(to->merging, from->merging);
    to->zero = add(to->zero, from->zero);
    to->growth = to->growth == KSM_GROWTH_UNKNOWN || from->growth == KSM_GROWTH_UNKNOWN
                     ? KSM_GROWTH_UNKNOWN
                     : add(to->growth, from->growth);
    to->rmap_items = add(to->rmap_items, from->rmap_items);
    to->resident = add_known(to->resident, from->resident);
    to->processes = add(to->processes, from->processes);
}

/* The processes that count, by name. */
static size_t sort_processes(const struct ksm_consumers *c, const struct ksm_process **sorted) {
    size_t n = 0;

    for (size_t i = 0; i < c->processes.count; i++) {
        const struct ksm_process *process = &c->processes.list[i];
        if (process->status == 0 && ksm_process_takes_part(process) &&
            !(c->excluded & 1U << process->name.kind))
            sorted[n++] = process;
    }
    qsort(sorted, n, sizeof(*sorted), by_name_of_process);
    return n;
}

static int make_room(struct ksm_consumer_table *table, size_t *size, size_t n) {
    if (n <= *size)
        return 0;
    struct ksm_consumer *list = reallocarray(table->list, n, sizeof(*list));
    if (!list)
        return -ENOMEM;
    table->list = list;
    *size = n;
    return 0;
}

/* One consumer for all processes of the same name. */
static int group(struct ksm_consumers *c) {
    struct ksm_consumer_table *table = &c->next;
    const struct ksm_process **sorted = calloc(c->processes.count + 1, sizeof(*sorted));
    size_t n = sorted ? sort_processes(c, sorted) : 0;
    int status = sorted ? make_room(table, &c->size[1], n) : -ENOMEM;

    table->count = 0;
    for (size_t i = 0; status == 0 && i < n; i++) {
        if (i == 0 || ksm_consumer_name_compare(&sorted[i]->name, &sorted[i - 1]->name) != 0)
            table->list[table->count++] =
                (struct ksm_consumer){.name = sorted[i]->name, .growth = KSM_GROWTH_UNKNOWN};
        count_process(&table->list[table->count - 1], sorted[i]);
    }
    free(sorted);
    return status;
}

/* The pages of the host, by their state, and whether KSM runs. */
static void read_host(struct ksm_consumers *c, int64_t now) {
    for (size_t id = 0; id < KSM_METRICS; id++) {
        const struct ksm_metric *metric = &ksm_metrics[id];
        if (metric->source == KSM_SOURCE_KSM &&
            (metric->kind == KSM_KIND_STATE ||
             (metric->kind == KSM_KIND_GAUGE && metric->unit == KSM_UNIT_PAGES)))
            ksm_dir_read(&c->directory, id, now, &c->host.at[id]);
    }
    ksm_derive(&c->host);
}

bool ksm_consumers_registered(struct ksm_consumers *c, int64_t now) {
    read_host(c, now);
    return ksm_has_pages(&c->host);
}

static int read_division(struct ksm_consumers *c, int64_t now, struct ksm_attribution *d) {
    const struct ksm_value *at = c->host.at;

    read_host(c, now);
    if (at[KSM_shared].status != 0)
        return at[KSM_shared].status;
    if (at[KSM_saved].status != 0) /* sharing or zero cannot be read */
        return at[KSM_saved].status;
    const bool moves = at[KSM_run].status == 0 && at[KSM_run].value != KSM_STOPPED;
    c->moved_ms = moves && c->counted >= 0 ? now - c->counted : 0;
    c->counted_now = moves ? now : -1;
    c->next.has_zero_pages = at[KSM_zero].status == 0; /* not before 6.6 */
    c->next.saved = at[KSM_saved].value;
    *d = (struct ksm_attribution){.shared = at[KSM_shared].value,
                                  .sharing = at[KSM_sharing].value,
                                  .zero = c->next.has_zero_pages ? at[KSM_zero].value : 0,
                                  .tracked = INT64_MAX};
    ksm_tracked_pages(&c->host, &d->tracked);
    return 0;
}

/* As consumers.h has it. */
static int64_t real_memory(const struct ksm_consumers *c, const struct ksm_consumer *consumer,
                           const struct ksm_share *share) {
    int64_t bytes = 0;

    if (consumer->resident < 0 || consumer->anonymous < share->merged ||
        __builtin_mul_overflow(add(consumer->anonymous - share->merged, consumer->mapped),
                               c->next.page_size, &bytes))
        return -1;
    return bytes;
}

/* Pages as pages a second. */
static int64_t growth_rate(const struct ksm_consumers *c, int64_t pages) {
    const int64_t scale = (int64_t)1000 * ksm_unit_scale[KSM_UNIT_PAGE_RATE];
    int64_t rate = 0;

    if (pages == KSM_GROWTH_UNKNOWN || ksm_rate(0, pages, scale, c->moved_ms, &rate) != 0)
        return KSM_GROWTH_UNKNOWN;
    return rate;
}

static struct ksm_counts counts_of(const struct ksm_consumer *consumer) {
    return (struct ksm_counts){consumer->merging, consumer->zero, consumer->rmap_items};
}

/* Sets what is computed of a consumer's counts, and scales those. */
static void set_share(const struct ksm_consumers *c, const struct ksm_attribution *d,
                      struct ksm_consumer *consumer) {
    const struct ksm_counts counts = counts_of(consumer);
    const struct ksm_share share = ksm_attribution_share(d, &counts);

    consumer->saved = share.saved * c->next.page_size;
    consumer->real = real_memory(c, consumer, &share);
    consumer->growth = growth_rate(c, consumer->growth);
    consumer->merging = share.counts.merging;
    consumer->zero = share.counts.zero;
    consumer->rmap_items = share.counts.rmap_items;
}

static void divide(struct ksm_consumers *c, struct ksm_attribution *d) {
    struct ksm_consumer_table *table = &c->next;

    for (size_t i = 0; i < table->count; i++) {
        const struct ksm_counts counts = counts_of(&table->list[i]);
        ksm_attribution_add(d, &counts);
    }
    table->unattributed = table->saved;
    table->has_rmap_items = c->processes.reader.source == KSM_PROCESS_STAT;
    memset(table->by_kind, 0, sizeof(table->by_kind));
    for (size_t i = 0; i < table->count; i++) {
        struct ksm_consumer *consumer = &table->list[i];
        set_share(c, d, consumer);
        table->by_kind[consumer->name.kind] += consumer->saved;
        table->unattributed -= consumer->saved;
    }
    c->in_excess = ksm_attribution_overcount(d) > EXCESS_THOUSANDTHS ? c->in_excess + 1 : 0;
}

/* ---- the top ---- */

/* Who is shown already keeps the place until another saves a tenth more: so those at the edge do
 * not come and go at every sample. */
static int64_t weight(const struct ksm_consumer *consumer) {
    return consumer->shown ? add(consumer->saved, consumer->saved / 10) : consumer->saved;
}

static int by_weight(const void *a, const void *b) {
    const struct ksm_consumer *const *left = a, *const *right = b;
    int64_t l = weight(*left), r = weight(*right);

    if (l != r)
        return l < r ? 1 : -1;
    if ((*left)->shown != (*right)->shown)
        return (*left)->shown ? -1 : 1;
    return by_name(*left, *right);
}

static int rank(struct ksm_consumers *c, int64_t now) {
    struct ksm_consumer_table *table = &c->next;
    const struct ksm_consumer_table *last = &c->table;
    struct ksm_consumer **ranked = calloc(table->count + 1, sizeof(*ranked));
    size_t places = c->top;

    if (!ranked)
        return -ENOMEM;
    for (size_t i = 0; i < table->count; i++) {
        const struct ksm_consumer *before = last->count == 0
                                                ? NULL
                                                : bsearch(&table->list[i], last->list, last->count,
                                                          sizeof(table->list[i]), by_name);
        table->list[i].shown = before && before->shown;
        ranked[i] = &table->list[i];
    }
    if (c->ranked_ms >= 0)
        ksm_rate_limit_elapse(&c->rate_limit, now - c->ranked_ms);
    c->ranked_ms = now;
    qsort(ranked, table->count, sizeof(*ranked), by_weight);
    table->other = (struct ksm_consumer){.name = {.text = "other"}};
    for (size_t i = 0; i < table->count; i++) {
        ranked[i]->shown = places > 0 && ksm_rate_limit_admit(&c->rate_limit, &ranked[i]->name);
        if (ranked[i]->shown)
            places--;
        else
            ksm_consumer_add(&table->other, ranked[i]);
    }
    free(ranked);
    return 0;
}

/* Whether those on the list have all pages that KSM has, but for a thousandth. It is the least of
 * two samples that they must have, as pages are added while processes are read. More than there are
 * is no proof: a forked child has its parent's counts too (until 6.18). */
static bool are_all_known(struct ksm_consumers *c) {
    const int64_t before = c->pages;
    int64_t known = 0;
    int64_t now = 0;

    if (c->processes.reader.source != KSM_PROCESS_STAT || ksm_tracked_pages(&c->host, &now) != 0)
        return false;
    now = add(now, c->next.has_zero_pages ? c->host.at[KSM_zero].value : 0);
    c->pages = now;
    for (size_t i = 0; i < c->processes.count; i++)
        known = add(known, add(c->processes.list[i].rmap_items, c->processes.list[i].zero));
    const int64_t least = now < before ? now : before;
    const int64_t most = now < before ? before : now;
    return before >= 0 && known >= least - least / 1024 && known <= add(most, most / 1024);
}

/* For the growth until the next sample. */
static void remember_counts(struct ksm_consumers *c) {
    for (size_t i = 0; i < c->processes.count; i++) {
        struct ksm_process *process = &c->processes.list[i];
        process->previous = process->status == 0 ? merged_pages(process) : -1;
    }
    c->counted = c->counted_now;
}

static int make_table(struct ksm_consumers *c, int64_t now) {
    struct ksm_attribution division = {.sharing = 0};
    int status = group(c);

    if (status == 0)
        status = read_division(c, now, &division);
    if (status == 0) {
        c->all_known = are_all_known(c);
        divide(c, &division);
        status = rank(c, now);
    }
    if (status == 0)
        remember_counts(c);
    return status;
}

/* ---- a sample ---- */

/* Who was not read for want of means would lack in the sums: better no sums then. */
static int all_read(const struct ksm_consumers *c) {
    for (size_t i = 0; i < c->processes.count; i++)
        if (pseudofs_is_transient(c->processes.list[i].status))
            return c->processes.list[i].status;
    return 0;
}

/* Without any page registered there is nobody to look for: a table of nobody, without a look. */
static int table_of_nobody(struct ksm_consumers *c) {
    forget(c);
    c->next.count = 0;
    c->next.saved = c->next.unattributed = 0;
    memset(c->next.by_kind, 0, sizeof(c->next.by_kind));
    c->next.other = (struct ksm_consumer){.processes = 0};
    return 0;
}

int ksm_consumers_sample(struct ksm_consumers *c, bool registered, int64_t now,
                         struct blocking_call *call) {
    int status = registered ? ksm_process_list_update(&c->processes, c->all_known, call)
                            : table_of_nobody(c);

    if (status == -ECANCELED)
        return status;
    if (status == 0 && registered)
        status = all_read(c);
    if (status == 0 && registered)
        status = make_table(c, now);
    c->status = status;
    return 0;
}

void ksm_consumers_fail(struct ksm_consumers *c, int status) {
    ksm_process_list_discard(&c->processes);
    c->status = status;
}

/* Returns the number of processes with tracked pages, -1 if it is not known. */
static int64_t count_tracked(const struct ksm_consumers *c) {
    int64_t tracked = 0;

    if (c->status != 0 || c->processes.reader.source != KSM_PROCESS_STAT)
        return -1;
    for (size_t i = 0; i < c->processes.count; i++)
        tracked += c->processes.list[i].rmap_items > 0;
    return tracked;
}

static void swap_tables(struct ksm_consumers *c) {
    const struct ksm_consumer_table table = c->next;
    const size_t size = c->size[1];

    c->next = c->table;
    c->size[1] = c->size[0];
    c->table = table;
    c->size[0] = size;
}

void ksm_consumers_publish(struct ksm_consumers *c) {
    const struct ksm_process_sweep *sweep = &c->processes.sweep;

    if (c->status == 0)
        swap_tables(c);
    c->table.valid = c->status == 0;
    c->table.sweep.done = sweep->done;
    c->table.sweep.hidden = sweep->last.hidden;
    c->table.sweep.denied = sweep->last.denied;
    c->table.sweep.opted_in = sweep->last.opted_in;
    c->table.sweep.tracked = count_tracked(c);
    c->table.faults[KSM_CONSUMERS_DENIED] = sweep->last.denial == KSM_DENIED_MODE;
    c->table.faults[KSM_CONSUMERS_MODULE] = sweep->last.denial == KSM_DENIED_MODULE;
    c->table.faults[KSM_CONSUMERS_HIDEPID1] = sweep->last.denial == KSM_DENIED_HIDEPID1;
    c->table.faults[KSM_CONSUMERS_HIDDEN] = sweep->last.hidden;
    c->table.faults[KSM_CONSUMERS_FAILED] = c->status != 0;
    c->table.faults[KSM_CONSUMERS_OVERCOUNT] = c->in_excess >= EXCESS_SAMPLES;
    c->table.faults[KSM_CONSUMERS_RATE_LIMITED] = ksm_rate_limit_is_limited(&c->rate_limit);
    c->table.faults[KSM_CONSUMERS_LATE] = false;
}
