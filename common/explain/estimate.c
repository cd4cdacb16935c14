/* SPDX-License-Identifier: MIT */
#include "explain/estimate.h"

#include <errno.h>
#include <limits.h>
#include <linux/kcmp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define XXH_INLINE_ALL /* nothing to link: its header is all that is needed, to build */
#include <xxhash.h>

#include "explain/page_reader.h"
#include "system/clock.h"
#include "system/parse.h"
#include "system/pseudofs.h"
#include "system/worker.h"

enum { MAX_STUCK = 256, SETTLE_MS = 2000, LOOK_MS = 20 };

static bool is_stopped(const struct estimate *e) {
    return atomic_load(e->options.stop) != 0;
}

/* Rests until its share of CPU time is kept; what was not used before is no credit. */
static void pace(struct estimate *e) {
    const int64_t due = (clock_ms(CLOCK_PROCESS_CPUTIME_ID) - e->spent) * 100 / e->options.cpu;
    int64_t passed = clock_ms(CLOCK_MONOTONIC) - e->paced;

    if (passed > due)
        e->paced += passed - due;
    for (; passed + 1 < due && !is_stopped(e); passed = clock_ms(CLOCK_MONOTONIC) - e->paced)
        poll(NULL, 0, (int)(due - passed < LOOK_MS ? due - passed : LOOK_MS));
}

/* ---- the list ---- */

/* Adds what words can name it by. Returns 0, -ENOMEM, or -ECANCELED if the thread was abandoned. */
static int add_names(struct estimate *e, const struct estimate_process *process) {
    const struct ksm_process of = ksm_process_of(process->pid);
    struct process_names names = {.pid = process->pid, .consumer = process->name};

    if (e->options.name_count == 0)
        return 0;
    if (!e->only_pids) {
        ssize_t n = ksm_process_read_comm(&e->reader, &of, names.comm, sizeof(names.comm));
        names.comm[n > 0 ? n - 1 : 0] = '\0';
        if (ksm_process_read_program(&e->reader, &of, names.program, sizeof(names.program)) ==
            -ECANCELED)
            return -ECANCELED;
    }
    return process_match_add(&e->match, &names);
}

static int add_process(struct estimate *e, const struct estimate_process *process) {
    if (e->count == e->size) {
        const size_t size = e->size ? 2 * e->size : 256;
        void *list = realloc(e->list, size * sizeof(*e->list));
        if (!list)
            return -ENOMEM;
        e->list = list;
        e->size = size;
    }
    e->list[e->count++] = *process;
    return 0;
}

/* A process that blocks still counts, by its pid and its comm. */
static int add_blocking(struct estimate *e, int pid) {
    struct estimate_process process = {
        .pid = pid, .waiting = true, .name.kind = KSM_CONSUMER_program};
    struct process_names names = {.pid = pid};
    int status = 0;

    ksm_process_comm(&e->reader, pid, process.name.text);
    names.consumer = process.name;
    snprintf(names.comm, sizeof(names.comm), "%.*s", (int)sizeof(names.comm) - 1,
             process.name.text);
    if (e->options.name_count > 0)
        status = process_match_add(&e->match, &names);
    return status == 0 ? add_process(e, &process) : status;
}

/* When all are listed: those that are to be read. */
static void choose_processes(struct estimate *e) {
    for (size_t i = 0; i < e->count; i++) {
        struct estimate_process *process = &e->list[i];
        process->wanted = process_match_is_wanted(&e->match, i);
        if (process->wanted) {
            e->swapped += process->swapped;
            e->expected += (uint64_t)process->anonymous / e->page_size;
        }
    }
    e->unknown = process_match_unknown(&e->match);
}

/* Where only pids were asked for, nobody else is looked at. */
static int next_pid(struct estimate *e, int *pid) {
    const struct dirent *entry = NULL;
    int64_t number = 0;
    int status = 0;

    *pid = 0;
    if (!e->only_pids) {
        while (*pid == 0 && (status = pseudofs_readdir(e->proc, &entry)) == 0 && entry)
            *pid = ksm_process_pid(entry->d_name);
        return status;
    }
    for (; *pid == 0 && e->at < e->options.name_count; e->at++) {
        const char *word = e->options.names[e->at];
        if (parse_number(word, strlen(word), &number) == 0 && number <= INT_MAX)
            *pid = (int)number;
    }
    return 0;
}

static bool is_listed(const struct estimate *e, int pid) {
    for (size_t i = 0; i < e->count; i++)
        if (e->list[i].pid == pid)
            return true;
    return false;
}

/* Sets what is known of a process. Returns 0; -ENOENT if it has no memory of its own, or is a
 * thread; or another -errno. */
static int set_process(struct estimate *e, struct estimate_process *process) {
    const struct ksm_process of = ksm_process_of(process->pid);
    struct ksm_process_status shown;
    int status = ksm_process_read_status(&e->reader, &of, &shown);

    if (status == 0 && (shown.resident < 0 || shown.tgid != process->pid))
        return -ENOENT;
    if (status == 0)
        status = ksm_process_read_name(&e->reader, &of, &process->name);
    if (status != 0)
        return status;
    process->parent = (int)shown.parent;
    process->hugetlb = shown.hugetlb != 0;
    process->swapped = shown.swapped;
    process->anonymous = shown.anonymous;
    process->started = ksm_process_started(&e->reader, &of);
    return process->started == -ECANCELED ? -ECANCELED : 0;
}

/* Returns 0; 1 at the end; -ECANCELED, or -errno if the list cannot be made. */
static int list_next(struct estimate *e, struct page_reader *memory) {
    struct estimate_process process = {.pid = 0};
    int status = next_pid(e, &process.pid);

    (void)memory;
    if (status != 0 || process.pid == 0) {
        choose_processes(e);
        return status != 0 ? status : 1;
    }
    if (process.pid == e->self || e->count == CONTENT_INDEX_PROCESSES ||
        (e->only_pids && is_listed(e, process.pid)))
        return 0;
    status = set_process(e, &process);
    if (status != 0)
        return status == -ECANCELED ? status : 0;
    status = add_names(e, &process);
    return status != 0 ? status : add_process(e, &process);
}

/* ---- the first reading ---- */

static uint64_t hash_at(const struct page_reader *m, size_t i) {
    return XXH3_64bits(m->bytes + i * m->page_size, m->page_size);
}

/* A page of zeros that is not exclusive may be the kernel's zero page, which takes no memory: where
 * the kernel does not tell it apart it is taken for that. */
static void add_block(struct estimate *e, const struct page_reader *m, uint32_t process) {
    for (size_t i = 0; i < m->count; i++) {
        const struct page_reader_page *page = &m->pages[i];
        const uint64_t hash = hash_at(m, i);
        if (page->shared && !m->scans && hash == e->contents.zeros)
            continue;
        content_index_add(&e->contents, hash,
                          page->shared ? content_index_shared(process, page->frame, page->number)
                                       : content_index_own(process, page->number, page->huge));
        e->list[process].sum.pages++;
    }
    e->done += m->count;
}

static void count_end(struct estimate *e, const struct page_reader *m, int status) {
    e->denied += status == -EACCES || status == -EPERM;
    e->ended += status == -ESRCH;
    e->processes += status >= 0;
    e->unreadable += m->unreadable;
    e->knows_huge = e->knows_huge || m->scans;
}

/* A child of vfork() has its parent's memory until it starts another program. Returns 1, 0 or
 * -errno. Waits for the locks of both; it is the parent's that many processes may wait for. */
static int has_parents_memory(struct estimate *e, const struct estimate_process *process) {
    struct blocking_call *call = e->reader.call;

    if (!e->sees_own || process->parent == e->blocking_parent)
        return 0;
    e->comparing = true;
    if (!blocking_call_begin(call, process->pid, -1))
        return -EINTR;
    long result = syscall(SYS_kcmp, process->pid, process->parent, KCMP_VM, 0, 0);
    int status = (int)blocking_call_end(call, result == 0);
    if (status >= 0)
        e->comparing = false;
    return status;
}

/* Opens the files of a process, if it is still the one on the list. */
static int open_process(struct estimate *e, struct page_reader *memory,
                        const struct estimate_process *process) {
    struct ksm_process of = ksm_process_of(process->pid);
    int status = page_reader_open(memory, e->options.root, process->pid, process->hugetlb);

    of.started = process->started;
    return status == 0 ? ksm_process_check(&e->reader, &of) : status;
}

static int read_next(struct estimate *e, struct page_reader *memory) {
    const size_t i = e->at;

    if (i == e->count)
        return 1;
    e->current = i;
    e->at++;
    if (!e->list[i].wanted)
        return 0;
    if (e->list[i].waiting) {
        e->waiting++;
        return 0;
    }
    int status = has_parents_memory(e, &e->list[i]);
    if (status != 0)
        return status == -ECANCELED ? status : 0;
    status = open_process(e, memory, &e->list[i]);
    while (status >= 0 && !is_stopped(e) && (status = page_reader_next(memory)) > 0) {
        add_block(e, memory, (uint32_t)i);
        pace(e);
    }
    if (status == -ECANCELED)
        return status;
    count_end(e, memory, status);
    page_reader_close(memory);
    return 0;
}

/* ---- the second ---- */

static int settle(struct estimate *e, struct page_reader *memory) {
    (void)memory;
    e->done = 0;
    e->own = content_index_settle(&e->contents);
    e->expected = e->own;
    for (int64_t end = clock_ms(CLOCK_MONOTONIC) + SETTLE_MS;
         !is_stopped(e) && clock_ms(CLOCK_MONOTONIC) < end;)
        poll(NULL, 0, LOOK_MS);
    return 1;
}

static uint64_t place_at(const struct estimate *e, size_t i) {
    return e->contents.records[i].place;
}

/* Whether the next record is of the process that is being read. */
static bool is_current(const struct estimate *e, size_t i) {
    return i < e->own && content_index_process(place_at(e, i)) == e->current;
}

/* Compares the next records with what was read of their pages now; those that are not there any
 * more have changed. */
static void compare(struct estimate *e, const struct page_reader *m, size_t n) {
    for (size_t i = e->at, j = 0; i < e->at + n; i++) {
        const bool there = j < m->count && m->pages[j].number == content_index_page(place_at(e, i));
        if (!there || hash_at(m, j) != e->contents.records[i].key)
            content_index_change(&e->contents, i);
        j += there;
    }
    e->at += n;
    e->done += n;
}

/* Reads the next block of the current process again, unless it cannot be read (status). */
static int read_block_again(struct estimate *e, struct page_reader *memory, int status) {
    uint64_t numbers[PAGE_READER_BLOCK];
    size_t n = 0;

    for (; n < PAGE_READER_BLOCK && is_current(e, e->at + n); n++)
        numbers[n] = content_index_page(place_at(e, e->at + n));
    if (status == 0)
        status = page_reader_again(memory, numbers, n);
    if (status == -ECANCELED)
        return status;
    if (status < 0)
        memory->count = 0;
    compare(e, memory, n);
    pace(e);
    return status;
}

static int again_next(struct estimate *e, struct page_reader *memory) {
    if (e->at == e->own)
        return 1;
    e->current = content_index_process(place_at(e, e->at));
    const struct estimate_process *process = &e->list[e->current];
    int status = process->waiting ? -ETIMEDOUT : open_process(e, memory, process);
    while (status != -ECANCELED && !is_stopped(e) && is_current(e, e->at))
        status = read_block_again(e, memory, status);
    if (status == -ECANCELED)
        return status;
    page_reader_close(memory);
    return 0;
}

/* ---- threads ---- */

static int (*const steps[])(struct estimate *e, struct page_reader *memory) = {
    [ESTIMATE_LIST] = list_next,
    [ESTIMATE_READ] = read_next,
    [ESTIMATE_SETTLE] = settle,
    [ESTIMATE_AGAIN] = again_next,
};

static void work(struct blocking_call *call, void *data) {
    struct estimate *e = data;
    struct page_reader memory;
    int status = page_reader_init(&memory, call);

    e->reader.call = call;
    e->status = status;
    while (status >= 0 && e->step != ESTIMATE_DONE && !e->unknown && !is_stopped(e)) {
        status = steps[e->step](e, &memory);
        if (status == -ECANCELED)
            break;
        e->status = status < 0 ? status : 0;
        pace(e);
        if (status > 0) {
            e->step++;
            e->at = 0;
        }
    }
    page_reader_free(&memory);
}

/* The first processes that block may merely be slow; with many of them the others have their turn
 * soon. */
static int64_t read_timeout(const struct estimate *e, const struct worker *worker) {
    enum { MANY = 8, TIMEOUT_MS = 2000, SHORT_TIMEOUT_MS = 200 };

    if (is_stopped(e))
        return 0;
    return worker->stuck_count < MANY ? TIMEOUT_MS : SHORT_TIMEOUT_MS;
}

/* Leaves out the process that blocks, unless its parent may do so: then it is read without a
 * comparison. Returns 0 or -ENOMEM. */
static int skip_process(struct estimate *e, int pid) {
    if (e->step == ESTIMATE_LIST)
        return add_blocking(e, pid);
    if (e->comparing) {
        e->comparing = false;
        e->blocking_parent = e->list[e->current].parent;
        e->at = e->current;
        return 0;
    }
    e->waiting++;
    e->list[e->current].waiting = true;
    return 0;
}

static int supervise(struct estimate *e, estimate_progress_fn *progress) {
    struct worker worker;
    struct worker_call call;
    int status, started;

    worker_init(&worker, MAX_STUCK);
    status = started = worker_start(&worker, work, e);
    while (started == 0 && worker_poll(&worker) == WORKER_RUNNING) {
        poll(NULL, 0, LOOK_MS);
        if (worker_abandon(&worker, clock_ms(CLOCK_MONOTONIC) - read_timeout(e, &worker), &call)) {
            e->status = skip_process(e, call.pid);
            if (e->status == 0 && !is_stopped(e))
                started = worker_start(&worker, work, e);
        }
        if (progress)
            progress(e);
    }
    worker_close(&worker, &call);
    return status != 0 ? status : e->status;
}

/* The number that a file begins with, 0 if there is none. */
static int64_t number_in(const char *root, const char *dir, const char *name) {
    struct pseudofs_file file;
    char text[32] = "";

    pseudofs_init(&file, root, dir, name);
    pseudofs_read(&file, 0, false, text, sizeof(text) - 1); /* -EFBIG: the start is there */
    pseudofs_close(&file);
    return strtoll(text, NULL, 10);
}

int estimate_init(struct estimate *e, const struct estimate_options *options) {
    const int64_t huge =
        number_in(options->root, "sys/kernel/mm/transparent_hugepage", "hpage_pmd_size");

    memset(e, 0, sizeof(*e));
    e->options = *options;
    e->page_size = (uint64_t)sysconf(_SC_PAGESIZE);
    void *zeros = calloc(1, e->page_size);
    int status = process_match_init(&e->match, options->names, options->name_count);
    if (!zeros || status != 0)
        return -ENOMEM;
    status = content_index_init(&e->contents, options->bytes, XXH3_64bits(zeros, e->page_size),
                                huge > 0 ? (size_t)huge / e->page_size : 1);
    free(zeros);
    e->only_pids = process_match_is_by_pid(&e->match);
    e->sees_own = pseudofs_sees_own_pids(options->root);
    /* As that procfs has it; 0 if it is not in there. */
    e->self = (int)number_in(options->root, "proc/self", "stat");
    return status;
}

int estimate_run(struct estimate *e, estimate_progress_fn *progress) {
    int status = pseudofs_opendir(e->options.root, "proc", &e->proc);

    if (status != 0)
        return status;
    e->reader.proc = dirfd(e->proc);
    e->begun = e->paced = clock_ms(CLOCK_MONOTONIC);
    e->spent = clock_ms(CLOCK_PROCESS_CPUTIME_ID);
    status = supervise(e, progress);
    e->partial = e->step != ESTIMATE_DONE;
    e->ms = clock_ms(CLOCK_MONOTONIC) - e->begun;
    return status;
}

/* ---- the result ---- */

static void add_sum(struct estimate_sum *to, const struct estimate_sum *from) {
    to->pages += from->pages;
    to->share.further += from->share.further;
    to->share.zeros += from->share.zeros;
    to->share.changing += from->share.changing;
}

static int by_name(const void *a, const void *b) {
    return ksm_consumer_name_compare(&((const struct estimate_process *)a)->name,
                                     &((const struct estimate_process *)b)->name);
}

static int by_saving(const void *one, const void *other) {
    const struct estimate_consumer *a = one, *b = other;

    if (a->sum.share.further != b->sum.share.further)
        return a->sum.share.further > b->sum.share.further ? -1 : 1;
    return ksm_consumer_name_compare(&a->name, &b->name);
}

static int64_t merged_of(const struct ksm_consumer_table *table,
                         const struct ksm_consumer_name *name) {
    if (!table->enabled || !table->valid)
        return -1;
    for (size_t i = 0; i < table->count; i++)
        if (ksm_consumer_name_compare(&table->list[i].name, name) == 0)
            return table->list[i].saved;
    return 0;
}

/* The processes from i on that are of the same consumer; returns the next one's index. */
static size_t add_consumer(struct estimate *e, size_t i, const struct ksm_consumer_table *table) {
    const struct ksm_consumer_name *name = &e->list[i].name;
    struct estimate_consumer one = {.name = *name, .merged = merged_of(table, name)};

    for (; i < e->count && ksm_consumer_name_compare(&e->list[i].name, &one.name) == 0; i++) {
        one.processes += e->list[i].sum.pages > 0;
        add_sum(&one.sum, &e->list[i].sum);
        if (!e->list[i].wanted || e->only_pids)
            one.merged = -1;
    }
    add_sum(&e->sum, &one.sum);
    if (one.sum.pages > 0)
        e->consumers[e->consumer_count++] = one;
    return i;
}

static int64_t knob(const struct ksm_sample *host, enum ksm_id id, int64_t standard) {
    return host->at[id].status == 0 && host->at[id].value > 0 ? host->at[id].value : standard;
}

int estimate_finish(struct estimate *e, const struct ksm_sample *host,
                    const struct ksm_consumer_table *table) {
    enum { MOST = 256 }; /* the kernel's default */
    struct content_index_share *shares = calloc(e->count + 1, sizeof(*shares));

    e->consumers = calloc(e->count + 1, sizeof(*e->consumers));
    if (!shares || !e->consumers) {
        free(shares);
        return -ENOMEM;
    }
    content_index_count(&e->contents, (unsigned)knob(host, KSM_max_page_sharing, MOST),
                        knob(host, KSM_use_zero_pages, 0), &e->total, shares);
    for (size_t i = 0; i < e->count; i++)
        e->list[i].sum.share = shares[i];
    free(shares);
    qsort(e->list, e->count, sizeof(*e->list), by_name);
    for (size_t i = 0; i < e->count;)
        i = add_consumer(e, i, table);
    qsort(e->consumers, e->consumer_count, sizeof(*e->consumers), by_saving);
    return 0;
}
