/* SPDX-License-Identifier: MIT */
#include "explain/estimate.h"

#include <errno.h>
#include <limits.h>
#include <linux/kcmp.h>
#include <poll.h>
#include <pthread.h>
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

/* With more who keep their readers waiting than MANY, patience ends. */
enum { MANY = 8, PATIENCE_MS = 2000, SHORT_PATIENCE_MS = 200, SETTLE_MS = 2000, LOOK_MS = 20 };

/* A thread, and what is left with it if it is left behind. */
struct reader {
    struct estimate *e;
    struct blocking_call guard;
    struct page_reader memory;
    atomic_bool ended;
};

static bool is_stopped(const struct estimate *e) {
    return *e->options.stop != 0;
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

static uint64_t field(const char *status, const char *key) {
    const char *at = strstr(status, key);

    return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

/* The text of /proc/PID/status: no lock of the process is taken. */
static ssize_t read_status(const struct estimate *e, int pid, char *buf, size_t size) {
    struct pseudofs_file file;
    char dir[32];

    snprintf(dir, sizeof(dir), "proc/%d", pid);
    pseudofs_init(&file, e->options.root, dir, "status");
    ssize_t n = pseudofs_read(&file, 0, true, buf, size - 1);
    pseudofs_close(&file);
    buf[n > 0 ? n : 0] = '\0';
    return n;
}

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

/* When all are listed: those that are to be read. */
static void choose_processes(struct estimate *e) {
    for (size_t i = 0; i < e->count; i++) {
        struct estimate_process *process = &e->list[i];
        process->wanted = process_match_is_wanted(&e->match, i);
        if (process->wanted) {
            e->swapped += process->swapped;
            e->expected += process->anonymous * 1024 / e->page_size;
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

/* Sets what is known of a process; false if it has no memory of its own, or is a thread. */
static bool set_process(struct estimate *e, struct estimate_process *process, int *status) {
    char text[16384];

    if (read_status(e, process->pid, text, sizeof(text)) <= 0 || !strstr(text, "\nVmRSS:") ||
        field(text, "\nTgid:\t") != (uint64_t)process->pid)
        return false;
    process->parent = (int)field(text, "\nPPid:\t");
    process->hugetlb = field(text, "\nHugetlbPages:\t") != 0;
    process->swapped = field(text, "\nVmSwap:\t");
    process->anonymous = field(text, "\nRssAnon:\t");
    const struct ksm_process of = ksm_process_of(process->pid);
    *status = ksm_process_read_name(&e->reader, &of, &process->name);
    if (*status == 0)
        process->started = ksm_process_started(&e->reader, &of);
    if (process->started == -ECANCELED)
        *status = -ECANCELED;
    return *status == 0;
}

/* Returns 0; 1 at the end; -ECANCELED, or -errno if the list cannot be made. */
static int list_next(struct estimate *e, struct reader *r) {
    struct estimate_process process = {.pid = 0};
    int status = next_pid(e, &process.pid);

    (void)r;
    if (status != 0 || process.pid == 0) {
        choose_processes(e);
        return status != 0 ? status : 1;
    }
    if (process.pid == e->self || e->count == CONTENT_INDEX_PROCESSES ||
        (e->only_pids && is_listed(e, process.pid)) || !set_process(e, &process, &status))
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

/* A child of vfork() has its parent's memory until it starts another program. */
static bool is_parents(const struct estimate_process *process) {
    return syscall(SYS_kcmp, process->pid, process->parent, KCMP_VM, 0, 0) == 0;
}

static int read_next(struct estimate *e, struct reader *r) {
    const size_t i = e->at;

    if (i == e->count)
        return 1;
    e->current = i;
    e->at++;
    if (!e->list[i].wanted || (e->sees_own && is_parents(&e->list[i])))
        return 0;
    int status = page_reader_open(&r->memory, e->options.root, e->list[i].pid, e->list[i].hugetlb);
    while (status >= 0 && !is_stopped(e) && (status = page_reader_next(&r->memory)) > 0) {
        add_block(e, &r->memory, (uint32_t)i);
        pace(e);
    }
    if (status == -ECANCELED)
        return status;
    count_end(e, &r->memory, status);
    page_reader_close(&r->memory);
    return 0;
}

/* ---- the second ---- */

static int settle(struct estimate *e, struct reader *r) {
    (void)r;
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

static int open_again(struct estimate *e, struct reader *r,
                      const struct estimate_process *process) {
    if (process->waiting)
        return -ETIMEDOUT;
    const struct ksm_process of = ksm_process_of(process->pid);
    const int64_t started = ksm_process_started(&e->reader, &of);
    if (started == -ECANCELED)
        return -ECANCELED;
    return started == process->started
               ? page_reader_open(&r->memory, e->options.root, process->pid, process->hugetlb)
               : -ESRCH;
}

/* Reads the next block of the current process again, unless it cannot be read (status). */
static int read_block_again(struct estimate *e, struct reader *r, int status) {
    uint64_t numbers[PAGE_READER_BLOCK];
    size_t n = 0;

    for (; n < PAGE_READER_BLOCK && is_current(e, e->at + n); n++)
        numbers[n] = content_index_page(place_at(e, e->at + n));
    if (status == 0)
        status = page_reader_again(&r->memory, numbers, n);
    if (status == -ECANCELED)
        return status;
    if (status < 0)
        r->memory.count = 0;
    compare(e, &r->memory, n);
    pace(e);
    return status;
}

static int again_next(struct estimate *e, struct reader *r) {
    if (e->at == e->own)
        return 1;
    e->current = content_index_process(place_at(e, e->at));
    int status = open_again(e, r, &e->list[e->current]);
    while (status != -ECANCELED && !is_stopped(e) && is_current(e, e->at))
        status = read_block_again(e, r, status);
    if (status == -ECANCELED)
        return status;
    page_reader_close(&r->memory);
    return 0;
}

/* ---- threads ---- */

static int (*const steps[])(struct estimate *e, struct reader *r) = {
    [ESTIMATE_LIST] = list_next,
    [ESTIMATE_READ] = read_next,
    [ESTIMATE_SETTLE] = settle,
    [ESTIMATE_AGAIN] = again_next,
};

/* What is left of a reader when the rest is another's. */
static void end_reader(struct reader *r) {
    page_reader_free(&r->memory);
    free(r);
}

static void *work(void *data) {
    struct reader *r = data;
    struct estimate *e = r->e;

    blocking_call_set_thread(&r->guard);
    pthread_detach(pthread_self());
    while (e->step != ESTIMATE_DONE && !e->unknown && !is_stopped(e)) {
        const int status = steps[e->step](e, r);
        if (status == -ECANCELED) {
            end_reader(r);
            return NULL;
        }
        pace(e);
        if (status != 0) {
            e->step++;
            e->at = 0;
        }
    }
    atomic_store(&r->ended, true);
    return NULL;
}

static struct reader *start(struct estimate *e) {
    struct reader *r = calloc(1, sizeof(*r));
    pthread_t id;

    if (!r || page_reader_init(&r->memory, &r->guard) != 0) {
        free(r);
        return NULL;
    }
    r->e = e;
    e->reader.call = &r->guard;
    if (pthread_create(&id, NULL, work, r) != 0) {
        end_reader(r);
        return NULL;
    }
    return r;
}

/* The reader itself is the thread's; everything else is the caller's again. */
static struct reader *leave_behind(struct estimate *e) {
    e->waiting++;
    if (e->step == ESTIMATE_READ || e->step == ESTIMATE_AGAIN)
        e->list[e->current].waiting = true;
    return start(e);
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
    struct reader *r;

    if (status != 0)
        return status;
    e->reader.proc = dirfd(e->proc);
    e->begun = e->paced = clock_ms(CLOCK_MONOTONIC);
    e->spent = clock_ms(CLOCK_PROCESS_CPUTIME_ID);
    r = start(e);
    while (r && !atomic_load(&r->ended)) {
        const int64_t patience = e->waiting < MANY ? PATIENCE_MS : SHORT_PATIENCE_MS;
        poll(NULL, 0, LOOK_MS);
        if (blocking_call_abandon(&r->guard, clock_ms(CLOCK_MONOTONIC) - patience))
            r = leave_behind(e);
        if (progress)
            progress(e);
    }
    if (!r)
        return -ENOMEM;
    end_reader(r);
    e->partial = e->step != ESTIMATE_DONE;
    e->ms = clock_ms(CLOCK_MONOTONIC) - e->begun;
    return 0;
}

/* ---- the result ---- */

static void add_sum(struct estimate_sum *to, const struct estimate_sum *from) {
    to->pages += from->pages;
    to->share.further += from->share.further;
    to->share.zeros += from->share.zeros;
    to->share.changing += from->share.changing;
}

static int compare_names(const struct ksm_consumer_name *a, const struct ksm_consumer_name *b) {
    return a->kind != b->kind ? (a->kind < b->kind ? -1 : 1) : strcmp(a->text, b->text);
}

static int by_name(const void *a, const void *b) {
    return compare_names(&((const struct estimate_process *)a)->name,
                         &((const struct estimate_process *)b)->name);
}

static int by_saving(const void *one, const void *other) {
    const struct estimate_consumer *a = one, *b = other;

    if (a->sum.share.further != b->sum.share.further)
        return a->sum.share.further > b->sum.share.further ? -1 : 1;
    return compare_names(&a->name, &b->name);
}

static int64_t merged_of(const struct ksm_consumer_table *table,
                         const struct ksm_consumer_name *name) {
    if (!table->known || !table->valid)
        return -1;
    for (size_t i = 0; i < table->count; i++)
        if (compare_names(&table->list[i].name, name) == 0)
            return table->list[i].saved;
    return 0;
}

/* The processes from i on that are of the same consumer; returns the next one's index. */
static size_t add_consumer(struct estimate *e, size_t i, const struct ksm_consumer_table *table) {
    const struct ksm_consumer_name *name = &e->list[i].name;
    struct estimate_consumer one = {.name = *name, .merged = merged_of(table, name)};

    for (; i < e->count && compare_names(&e->list[i].name, &one.name) == 0; i++) {
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
