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

/* CPU time for slow processes at one update: 0.5 % of an interval, and again in the sweep. */
enum { SLOW_READS_PER_MILLE = 5 };

/* An overcount becomes a fault if it exceeds this in so many samples in a row. */
enum { OVERCOUNT_THOUSANDTHS = 10, OVERCOUNT_SAMPLES = 6 };

void ksm_consumers_init(struct ksm_consumers *c, const struct ksm_options *options,
                        int64_t interval, int max_kept) {
    *c = (struct ksm_consumers){.host_pages = -1,
                                .counted_ms = -1,
                                .ranked_ms = -1,
                                .excluded = options->consumers_exclude,
                                .top = (size_t)options->consumers};
    const int64_t slow_us = interval * SLOW_READS_PER_MILLE; /* ms * 1000 us / 1000 */
    ksm_process_list_init(&c->processes, options->root, max_kept, slow_us);
    ksm_dir_init(&c->directory, options->root); /* without KSM, reading fails */
    ksm_rate_limit_init(&c->rate_limit, c->top);
    for (size_t id = 0; id < KSM_METRICS; id++)
        c->host.values[id].status = -ENOENT;
    c->host.page_size = sysconf(_SC_PAGESIZE);
    const bool unknown = c->processes.reader.source == KSM_PROCESS_NOTHING;
    c->table = (struct ksm_consumer_table){.faults[KSM_CONSUMERS_UNSUPPORTED] = unknown,
                                           .enabled = !unknown && c->top > 0,
                                           .sweep = {.opted_in = -1, .tracked = -1},
                                           .interval = interval,
                                           .page_size = c->host.page_size};
    c->next = c->table;
}

static void close_files(struct ksm_consumers *c) {
    ksm_process_list_clear(&c->processes);
    ksm_dir_close(&c->directory);
    c->overcounts = 0;
    c->host_pages = -1;
}

void ksm_consumers_close(struct ksm_consumers *c) {
    close_files(c);
    free(c->table.list);
    free(c->next.list);
    c->table = (struct ksm_consumer_table){.list = NULL};
    c->next = c->table;
}

/* ---- the list of consumers ---- */

static int by_name_of_process(const void *a, const void *b) {
    const struct ksm_process *const *left = a, *const *right = b;

    return ksm_consumer_name_compare(&(*left)->name, &(*right)->name);
}

static int by_name(const void *a, const void *b) {
    const struct ksm_consumer *left = a, *right = b;

    return ksm_consumer_name_compare(&left->name, &right->name);
}

static int compare_name(const void *name, const void *consumer) {
    return ksm_consumer_name_compare(name, &((const struct ksm_consumer *)consumer)->name);
}

const struct ksm_consumer *ksm_consumer_find(const struct ksm_consumer_table *table,
                                             const struct ksm_consumer_name *name) {
    if (table->count == 0)
        return NULL;
    return bsearch(name, table->list, table->count, sizeof(*table->list), compare_name);
}

static int64_t add(int64_t a, int64_t b) {
    int64_t sum = 0;

    return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

/* -1: not known. */
static int64_t add_known(int64_t a, int64_t b) {
    return a < 0 || b < 0 ? -1 : add(a, b);
}

/* Ignores new processes: they may have merged their pages long before the first read. */
static void count_growth(struct ksm_consumer *to, const struct ksm_process *process) {
    if (process->previous < 0)
        return;
    if (to->grown_pages == KSM_GROWTH_UNKNOWN)
        to->grown_pages = 0;
    to->grown_pages = add(to->grown_pages, ksm_process_merged_pages(process) - process->previous);
}

/* Returns the user that both have, else KSM_USER_SEVERAL; KSM_USER_UNKNOWN if one is not known. */
static int64_t common_user(int64_t a, int64_t b) {
    if (a == b)
        return a;
    return a == KSM_USER_UNKNOWN || b == KSM_USER_UNKNOWN ? KSM_USER_UNKNOWN : KSM_USER_SEVERAL;
}

static void count_process(struct ksm_consumer *to, const struct ksm_process *process) {
    count_growth(to, process);
    to->merging = add(to->merging, process->merging);
    to->zero = add(to->zero, process->zero);
    to->rmap_items = add(to->rmap_items, process->rmap_items);
    to->resident = add_known(to->resident, process->resident);
    to->anonymous = add(to->anonymous, process->resident - process->mapped);
    to->mapped = process->mapped > to->mapped ? process->mapped : to->mapped;
    to->user = to->processes == 0 ? process->user : common_user(to->user, process->user);
    to->by_prctl = to->by_prctl || (process->opted_in == 1 && process->merge_any == 1);
    to->by_madvise = to->by_madvise || (process->opted_in == 1 && process->merge_any == 0);
    to->processes++;
}

void ksm_consumer_add(struct ksm_consumer *to, const struct ksm_consumer *from) {
    to->saved = add(to->saved, from->saved);
    to->real = add_known(to->real, from->real);
    to->merging = add(to->merging, from->merging);
    to->zero = add(to->zero, from->zero);
    if (to->growth == KSM_GROWTH_UNKNOWN || from->growth == KSM_GROWTH_UNKNOWN)
        to->growth = KSM_GROWTH_UNKNOWN;
    else
        to->growth = add(to->growth, from->growth);
    to->rmap_items = add(to->rmap_items, from->rmap_items);
    to->resident = add_known(to->resident, from->resident);
    to->processes = add(to->processes, from->processes);
}

void ksm_consumer_format_owner(const struct ksm_consumer *consumer,
                               char text[static KSM_TRUST_DOMAIN_SIZE]) {
    const struct ksm_trust_domain domain = ksm_trust_domain_of(&consumer->name, consumer->user);

    text[0] = '\0';
    if (domain.user != KSM_USER_UNKNOWN)
        ksm_trust_domain_format(&domain, text);
}

const char *ksm_consumer_opt_in(const struct ksm_consumer *consumer) {
    if (consumer->by_prctl)
        return consumer->by_madvise ? "both" : "prctl";
    return consumer->by_madvise ? "madvise" : "";
}

int64_t ksm_consumer_merge_density(const struct ksm_consumer_table *table,
                                   const struct ksm_consumer *consumer) {
    enum { DENSITY_MAX = 100 * 1000 };
    const int64_t zero = table->has_zero_pages ? consumer->zero : 0;
    int64_t merged = 0;

    if (!table->has_rmap_items || consumer->rmap_items <= 0 ||
        __builtin_add_overflow(consumer->merging, zero, &merged) || merged < 0)
        return -1;
    if (merged >= consumer->rmap_items)
        return DENSITY_MAX;
    return __builtin_mul_overflow(merged, DENSITY_MAX, &merged) ? -1
                                                                : merged / consumer->rmap_items;
}

/* Sets sorted to the processes that have merged, zero or tracked pages, by name. Returns their
 * number. */
static size_t sort_processes(const struct ksm_consumers *c, const struct ksm_process **sorted) {
    size_t count = 0;

    for (size_t i = 0; i < c->processes.count; i++) {
        const struct ksm_process *process = &c->processes.list[i];
        if (process->status == 0 && ksm_process_has_pages(process))
            sorted[count++] = process;
    }
    qsort(sorted, count, sizeof(*sorted), by_name_of_process);
    return count;
}

static int make_room(struct ksm_consumer_table *table, size_t size) {
    if (size <= table->size)
        return 0;
    struct ksm_consumer *list = reallocarray(table->list, size, sizeof(*list));
    if (!list)
        return -ENOMEM;
    table->list = list;
    table->size = size;
    return 0;
}

static int by_user(const void *a, const void *b) {
    const int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;

    return left < right ? -1 : left > right;
}

/* Returns the number of domains of trust with merged memory, or -1 if one is not known. processes
 * are sorted by name; users has room for a uid of each. */
static int64_t count_owners(const struct ksm_process *const *processes, size_t count,
                            int64_t *users) {
    const struct ksm_process *last = NULL;
    size_t user_count = 0;
    int64_t owners = 0;

    for (size_t i = 0; i < count; i++) {
        const struct ksm_process *process = processes[i];
        if (process->merging == 0)
            continue;
        if (ksm_trust_domain_is_own(process->name.kind)) {
            if (!last || by_name_of_process(&last, &process) != 0)
                owners++;
            last = process;
            continue;
        }
        if (process->user < 0)
            return -1;
        users[user_count++] = process->user;
    }
    qsort(users, user_count, sizeof(*users), by_user);
    for (size_t i = 0; i < user_count; i++)
        if (i == 0 || users[i] != users[i - 1])
            owners++;
    return owners;
}

static bool is_excluded(const struct ksm_consumers *c, const struct ksm_process *process) {
    return c->excluded & 1U << process->name.kind;
}

/* Returns whether all processes with merged memory are on the list and could be read. */
static bool has_all_processes(const struct ksm_process_list *processes) {
    const struct ksm_sweep_counts *last = &processes->sweep.last;

    if (!processes->sweep.done || last->hidden || last->denied > 0 || last->failed > 0 ||
        ksm_process_list_has_skipped(processes))
        return false;
    for (size_t i = 0; i < processes->count; i++)
        if (processes->list[i].status != 0)
            return false;
    return true;
}

/* Sets the number of owners. It is not known if a process with merged memory may be missing. */
static int set_owners(struct ksm_consumers *c, const struct ksm_process *const *sorted,
                      size_t count) {
    int64_t *users = calloc(count + 1, sizeof(*users));

    if (!users)
        return -ENOMEM;
    c->next.owners = has_all_processes(&c->processes) ? count_owners(sorted, count, users) : -1;
    free(users);
    return 0;
}

/* Makes one consumer of all processes with the same name. */
static int list_consumers(struct ksm_consumers *c) {
    struct ksm_consumer_table *table = &c->next;
    const struct ksm_process **sorted = calloc(c->processes.count + 1, sizeof(*sorted));

    if (!sorted)
        return -ENOMEM;
    const size_t count = sort_processes(c, sorted);
    int status = make_room(table, count);
    if (status == 0)
        status = set_owners(c, sorted, count);
    table->count = 0;
    for (size_t i = 0; status == 0 && i < count; i++) {
        if (is_excluded(c, sorted[i]))
            continue;
        if (i == 0 || by_name_of_process(&sorted[i], &sorted[i - 1]) != 0)
            table->list[table->count++] =
                (struct ksm_consumer){.name = sorted[i]->name, .grown_pages = KSM_GROWTH_UNKNOWN};
        count_process(&table->list[table->count - 1], sorted[i]);
    }
    free(sorted);
    return status;
}

/* ---- the shares ---- */

static void read_host(struct ksm_consumers *c, int64_t now) {
    static const enum ksm_id ids[] = {KSM_run,      KSM_shared,   KSM_sharing,
                                      KSM_unshared, KSM_volatile, KSM_zero};

    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
        ksm_dir_read(&c->directory, ids[i], now, &c->host.values[ids[i]]);
    ksm_derive(&c->host);
}

bool ksm_consumers_has_pages(struct ksm_consumers *c, int64_t now) {
    read_host(c, now);
    return ksm_has_pages(&c->host);
}

/* Sets the host's pages, of which each consumer gets a share. */
static int begin_attribution(struct ksm_consumers *c, struct ksm_attribution *a) {
    const struct ksm_value *host = c->host.values;

    if (host[KSM_shared].status != 0)
        return host[KSM_shared].status;
    if (host[KSM_saved].status != 0) /* sharing or zero cannot be read */
        return host[KSM_saved].status;
    c->next.has_zero_pages = host[KSM_zero].status == 0;
    c->next.has_rmap_items = c->processes.reader.source == KSM_PROCESS_STAT;
    c->next.saved = host[KSM_saved].value;
    *a = (struct ksm_attribution){.shared = host[KSM_shared].value,
                                  .sharing = host[KSM_sharing].value,
                                  .zero = c->next.has_zero_pages ? host[KSM_zero].value : 0,
                                  .tracked = INT64_MAX};
    ksm_tracked_pages(&c->host, &a->tracked);
    return 0;
}

/* See struct ksm_consumer. */
static int64_t real_memory(const struct ksm_consumers *c, const struct ksm_consumer *consumer,
                           const struct ksm_share *share) {
    int64_t bytes = 0;

    if (consumer->resident < 0 || consumer->anonymous < share->merged ||
        __builtin_mul_overflow(add(consumer->anonymous - share->merged, consumer->mapped),
                               c->next.page_size, &bytes))
        return -1;
    return bytes;
}

static int64_t growth_rate(const struct ksm_consumers *c, int64_t pages) {
    const int64_t scale = (int64_t)1000 * ksm_unit_scale[KSM_UNIT_PAGE_RATE];
    int64_t rate = 0;

    if (pages == KSM_GROWTH_UNKNOWN || ksm_rate(0, pages, scale, c->growth_ms, &rate) != 0)
        return KSM_GROWTH_UNKNOWN;
    return rate;
}

static struct ksm_counts counts_of(const struct ksm_consumer *consumer) {
    return (struct ksm_counts){consumer->merging, consumer->zero, consumer->rmap_items};
}

static void set_share(const struct ksm_consumers *c, const struct ksm_attribution *a,
                      struct ksm_consumer *consumer) {
    const struct ksm_counts counts = counts_of(consumer);
    const struct ksm_share share = ksm_attribution_share(a, &counts);

    consumer->saved = share.saved * c->next.page_size;
    consumer->real = real_memory(c, consumer, &share);
    consumer->growth = growth_rate(c, consumer->grown_pages);
    consumer->merging = share.counts.merging;
    consumer->zero = share.counts.zero;
    consumer->rmap_items = share.counts.rmap_items;
}

static void attribute(struct ksm_consumers *c, struct ksm_attribution *a) {
    struct ksm_consumer_table *table = &c->next;

    for (size_t i = 0; i < table->count; i++) {
        const struct ksm_counts counts = counts_of(&table->list[i]);
        ksm_attribution_add(a, &counts);
    }
    table->unattributed = table->saved;
    memset(table->by_kind, 0, sizeof(table->by_kind));
    for (size_t i = 0; i < table->count; i++) {
        struct ksm_consumer *consumer = &table->list[i];
        set_share(c, a, consumer);
        table->by_kind[consumer->name.kind] += consumer->saved;
        table->unattributed -= consumer->saved;
    }
    if (ksm_attribution_overcount(a) > OVERCOUNT_THOUSANDTHS)
        c->overcounts++;
    else
        c->overcounts = 0;
}

/* ---- the top ---- */

static const struct ksm_consumer no_others = {.name = {KSM_CONSUMER_program, "other"},
                                              .user = KSM_USER_UNKNOWN};

/* Hysteresis: a consumer in the top is displaced only by one that saves 10 % more. */
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

/* Sets ranked to the consumers of a table, by weight. */
static void sort_consumers(const struct ksm_consumers *c, struct ksm_consumer **ranked) {
    const struct ksm_consumer_table *table = &c->next, *last = &c->table;

    for (size_t i = 0; i < table->count; i++) {
        const struct ksm_consumer *before = ksm_consumer_find(last, &table->list[i].name);
        ranked[i] = &table->list[i];
        ranked[i]->shown = before && before->shown;
    }
    qsort(ranked, table->count, sizeof(*ranked), by_weight);
}

/* Chooses the consumers that are shown, and adds up the others. */
static int rank(struct ksm_consumers *c, int64_t now) {
    struct ksm_consumer_table *table = &c->next;
    struct ksm_consumer **ranked = calloc(table->count + 1, sizeof(*ranked));
    size_t places = c->top;

    if (!ranked)
        return -ENOMEM;
    sort_consumers(c, ranked);
    if (c->ranked_ms >= 0)
        ksm_rate_limit_elapse(&c->rate_limit, now - c->ranked_ms);
    c->ranked_ms = now;
    table->other = no_others;
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

/* ---- a sample ---- */

/* Returns the host's tracked and zero pages; -1: not known. */
static int64_t count_host_pages(const struct ksm_consumers *c) {
    int64_t pages = 0;

    if (!c->next.has_rmap_items || ksm_tracked_pages(&c->host, &pages) != 0)
        return -1;
    return c->next.has_zero_pages ? add(pages, c->host.values[KSM_zero].value) : pages;
}

/* Returns whether the processes on the list have all pages of the host: before at the last sample,
 * now at this one, -1 if not known. Pages are added while processes are read, so their sum must be
 * between the two, give or take 0.1 %. More pages than the host has prove nothing: a forked child
 * counts those of its parent (before Linux 6.18). */
static bool list_has_all_pages(const struct ksm_consumers *c, int64_t before, int64_t now) {
    const int64_t min = now < before ? now : before;
    const int64_t max = now < before ? before : now;
    int64_t sum = 0;

    for (size_t i = 0; i < c->processes.count; i++)
        sum = add(sum, add(c->processes.list[i].rmap_items, c->processes.list[i].zero));
    return min >= 0 && sum >= min - min / 1024 && sum <= add(max, max / 1024);
}

/* The counts do not change while KSM is stopped. */
static bool is_stopped(const struct ksm_consumers *c) {
    const struct ksm_value *run = &c->host.values[KSM_run];

    return run->status != 0 || run->value == KSM_STOPPED;
}

static int make_table(struct ksm_consumers *c, int64_t now) {
    struct ksm_attribution attribution;
    int status = list_consumers(c);

    if (status != 0)
        return status;
    read_host(c, now);
    status = begin_attribution(c, &attribution);
    if (status != 0)
        return status;
    c->growth_ms = c->counted_ms < 0 || is_stopped(c) ? 0 : now - c->counted_ms;
    const int64_t host_pages = count_host_pages(c);
    c->complete = list_has_all_pages(c, c->host_pages, host_pages);
    c->host_pages = host_pages;
    attribute(c, &attribution);
    status = rank(c, now);
    if (status != 0)
        return status;
    ksm_process_list_remember_counts(&c->processes);
    c->counted_ms = is_stopped(c) ? -1 : now;
    return 0;
}

static void make_empty_table(struct ksm_consumers *c) {
    close_files(c);
    c->next.count = 0;
    c->next.saved = 0;
    c->next.unattributed = 0;
    c->next.owners = 0;
    memset(c->next.by_kind, 0, sizeof(c->next.by_kind));
    c->next.other = no_others;
    c->status = 0;
}

int ksm_consumers_sample(struct ksm_consumers *c, bool has_pages, int64_t now,
                         struct blocking_call *call) {
    if (!has_pages) {
        make_empty_table(c);
        return 0;
    }
    int status = ksm_process_list_update(&c->processes, c->complete, call);
    if (status == -ECANCELED)
        return status;
    if (status == 0)
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
        if (c->processes.list[i].rmap_items > 0)
            tracked++;
    return tracked;
}

/* Until a sweep is done, as after a time without pages, those of the sweep before stay. */
static void set_faults_of_sweep(struct ksm_consumer_table *table,
                                const struct ksm_sweep_counts *counts) {
    table->faults[KSM_CONSUMERS_DENIED] = counts->denial == KSM_DENIED_MODE;
    table->faults[KSM_CONSUMERS_MODULE] = counts->denial == KSM_DENIED_MODULE;
    table->faults[KSM_CONSUMERS_HIDEPID1] = counts->denial == KSM_DENIED_HIDEPID1;
    table->faults[KSM_CONSUMERS_HIDDEN] = counts->hidden;
}

void ksm_consumers_publish(struct ksm_consumers *c) {
    const struct ksm_process_sweep *sweep = &c->processes.sweep;
    const struct ksm_consumer_table last = c->table;

    if (c->status == 0) {
        c->table = c->next;
        c->next = last;
    }
    c->table.valid = c->status == 0;
    c->table.sweep.done = sweep->done;
    c->table.sweep.hidden = sweep->last.hidden;
    c->table.sweep.denied = sweep->last.denied;
    c->table.sweep.opted_in = sweep->last.opted_in;
    c->table.sweep.tracked = count_tracked(c);
    memcpy(c->table.faults, last.faults, sizeof(last.faults));
    if (sweep->done)
        set_faults_of_sweep(&c->table, &sweep->last);
    c->table.faults[KSM_CONSUMERS_FAILED] = c->status != 0;
    c->table.faults[KSM_CONSUMERS_OVERCOUNT] = c->overcounts >= OVERCOUNT_SAMPLES;
    c->table.faults[KSM_CONSUMERS_RATE_LIMITED] = ksm_rate_limit_is_limited(&c->rate_limit);
    if (c->status == 0)
        c->table.faults[KSM_CONSUMERS_LATE] = false;
}
