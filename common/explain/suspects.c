/* SPDX-License-Identifier: MIT */
#include "explain/suspects.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "system/clock.h"
#include "system/parse.h"
#include "system/pseudofs.h"

static const int64_t min_bytes = (int64_t)SUSPECTS_MIN_MIB << 20;

/* Moves the items of a list from pos on one place towards the end. If the list is full, drops the
 * last one. */
static void insert_gap(void *list, size_t item_size, int *count, int max, int pos) {
    char *item = (char *)list + item_size * (size_t)pos;

    if (*count < max)
        ++*count;
    memmove(item + item_size, item, item_size * (size_t)(*count - 1 - pos));
}

/* ---- the result ---- */

/* Returns whether the result has a process of the same program and consumer: only the largest one
 * is shown. */
static bool is_found(const struct explain_processes *found, const struct explain_process *process) {
    for (int i = 0; i < found->count; i++) {
        const struct explain_process *other = &found->list[i];
        if (ksm_consumer_name_compare(&other->name, &process->name) == 0 &&
            strcmp(other->comm, process->comm) == 0)
            return true;
    }
    return false;
}

/* Adds a process, unless it is small or the list is full of larger ones. */
static void add(struct explain_processes *found, const struct explain_process *process) {
    int pos = found->count;

    while (pos > 0 && found->list[pos - 1].memory < process->memory)
        pos--;
    if (process->memory < min_bytes || pos == EXPLAIN_PROCESSES)
        return;
    insert_gap(found->list, sizeof(found->list[0]), &found->count, EXPLAIN_PROCESSES, pos);
    found->list[pos] = *process;
}

/* Returns whether a candidate may be large enough for the result. */
static bool may_be_added(const struct suspects *s, const struct suspect *suspect) {
    const struct explain_processes *found = &s->found;

    return found->count < EXPLAIN_PROCESSES ||
           found->list[found->count - 1].memory < suspect->bound;
}

/* ---- steps: they return 0 or -ECANCELED ---- */

static int open_files(struct suspects *s, struct suspect *suspect) {
    return suspect_open(suspect, &s->reader);
}

static int read_facts(struct suspects *s, struct suspect *suspect) {
    if (suspect->facts.blocks || !may_be_added(s, suspect))
        return 0;
    if (suspect_read_counts(suspect, &s->reader, s->page_size) != 0)
        return -ECANCELED;
    if (!explain_merges_little(&suspect->facts, s->page_size) ||
        is_found(&s->found, &suspect->facts))
        return 0;
    if (suspect_read_mappings(suspect, s->reader.call, s->page_size) != 0)
        return -ECANCELED;
    if (explain_merges_little(&suspect->facts, s->page_size))
        add(&s->found, &suspect->facts);
    return 0;
}

static int read_pages(struct suspects *s, struct suspect *suspect) {
    return suspect->unclear ? suspect_hash_pages(suspect, s->reader.call, s->page_size) : 0;
}

static int read_pages_again(struct suspects *s, struct suspect *suspect) {
    return suspect->unclear ? suspect_compare_pages(suspect, s->reader.call, s->page_size) : 0;
}

/* ---- the worker ---- */

static void do_steps(struct blocking_call *call, void *data) {
    struct suspects *s = data;

    s->reader.call = call;
    while (s->index < s->count && s->step(s, &s->list[s->index]) == 0)
        s->index++;
}

/* Skips the candidate that blocks, and adds it to the result with that cause; its size is then
 * known from its status alone. */
static void skip_process(struct suspects *s) {
    struct suspect *suspect = &s->list[s->index];

    s->index++;
    suspect->facts.blocks = true;
    suspect->unclear = false;
    if (s->step == open_files || s->step == read_facts)
        add(&s->found, &suspect->facts);
}

/* Runs a function in a thread until it is done. After a thread was abandoned, another continues. */
static void work(struct suspects *s, worker_fn *function) {
    enum { TIMEOUT_MS = 2000 };
    struct abandoned_call call;
    int status = worker_start(&s->worker, function, s);

    while (status == 0 && worker_poll(&s->worker) == WORKER_RUNNING) {
        if (!worker_abandon(&s->worker, clock_ms(CLOCK_MONOTONIC) - TIMEOUT_MS, &call)) {
            poll(NULL, 0, 1);
            continue;
        }
        if (function == do_steps)
            skip_process(s);
        status = worker_start(&s->worker, function, s);
    }
}

static void do_to_all(struct suspects *s,
                      int (*step)(struct suspects *s, struct suspect *suspect)) {
    s->step = step;
    s->index = 0;
    work(s, do_steps);
}

/* ---- candidates ---- */

/* Any process can choose its comm: consider only processes of root, and MOM as the user of oVirt's
 * vdsm, whose number is fixed (mom-vdsm.service and vdsm.spec of vdsm). */
static void find_manager(struct suspects *s, int pid, const struct ksm_process_status *status) {
    enum { VDSM = 36 };
    static const struct {
        const char *comm;
        int64_t user;
        enum explain_manager manager;
    } managers[] = {{"ksmtuned", 0, EXPLAIN_KSMTUNED},
                    {"virt-handler", 0, EXPLAIN_KUBEVIRT},
                    {"momd", VDSM, EXPLAIN_OVIRT}};
    char comm[KSM_CONSUMER_NAME_SIZE];

    if ((status->user != 0 && status->user != VDSM) || status->resident < 0)
        return;
    ksm_process_format_comm(&s->reader, pid, comm);
    for (size_t i = 0; i < sizeof(managers) / sizeof(managers[0]); i++)
        if (strcmp(comm, managers[i].comm) == 0 && status->user == managers[i].user)
            s->found.manager = managers[i].manager;
}

/* Adds a process to the candidates, unless it is small or they are all larger. Returns 0 or
 * -ECANCELED. */
static int add_candidate(struct suspects *s, int pid) {
    const struct ksm_process process = ksm_process_with_pid(pid);
    struct ksm_process_status status;
    struct suspect suspect;
    int pos = s->count;
    const int error = ksm_process_read_status(&s->reader, &process, &status);

    if (error != 0)
        return error == -ECANCELED ? error : 0;
    find_manager(s, pid, &status);
    suspect_init(&suspect, pid, &status);
    while (pos > 0 && s->list[pos - 1].bound < suspect.bound)
        pos--;
    if (suspect.bound < min_bytes || pos == SUSPECTS_CANDIDATES)
        return 0;
    ksm_process_format_comm(&s->reader, pid, suspect.facts.comm);
    strcpy(suspect.facts.name.text, suspect.facts.comm);
    insert_gap(s->list, sizeof(s->list[0]), &s->count, SUSPECTS_CANDIDATES, pos);
    s->list[pos] = suspect;
    return 0;
}

static void find_candidates(struct blocking_call *call, void *data) {
    struct suspects *s = data;
    const struct dirent *entry = NULL;

    s->reader.call = call;
    while (pseudofs_readdir(s->proc, &entry) == 0 && entry) {
        const int pid = parse_pid(entry->d_name);
        if (pid > 0 && add_candidate(s, pid) != 0)
            return;
    }
}

void suspects_open(struct suspects *s, const char *root) {
    s->page_size = sysconf(_SC_PAGESIZE);
    worker_init(&s->worker, SUSPECTS_STUCK_MAX);
    if (getauxval(AT_SECURE) != 0 || pseudofs_opendir(root, "proc", &s->proc) != 0)
        return;
    s->reader.proc = dirfd(s->proc);
    s->reader.source = ksm_process_find_source(root);
    work(s, find_candidates);
    do_to_all(s, open_files);
}

/* ---- unclear causes ---- */

/* Returns the entry of the result with a candidate's pid, or NULL. */
static struct explain_process *find(struct suspects *s, const struct suspect *suspect) {
    for (int i = 0; i < s->found.count; i++)
        if (s->found.list[i].pid == suspect->facts.pid)
            return &s->found.list[i];
    return NULL;
}

/* Returns whether any cause is unclear. */
static bool find_unclear(struct suspects *s, const struct explain_facts *facts) {
    bool any = false;

    for (int i = 0; i < s->count; i++) {
        struct suspect *suspect = &s->list[i];
        const struct explain_process *process = find(s, suspect);
        suspect->unclear = process && suspect->mappings.largest.anonymous > 0 &&
                           explain_cause_of(facts, process) == EXPLAIN_CAUSE_unclear;
        any = any || suspect->unclear;
    }
    return any;
}

static void read_pages_twice(struct suspects *s) {
    do_to_all(s, read_pages);
    poll(NULL, 0, 1000);
    do_to_all(s, read_pages_again);
    for (int i = 0; i < s->count; i++) {
        struct explain_process *process = find(s, &s->list[i]);
        if (process)
            process->changed = s->list[i].facts.changed;
    }
}

void suspects_read(struct suspects *s, struct explain_facts *facts) {
    struct abandoned_call call;

    do_to_all(s, read_facts);
    facts->processes = &s->found;
    if (find_unclear(s, facts))
        read_pages_twice(s);
    worker_close(&s->worker, &call);
    if (s->proc)
        closedir(s->proc);
    s->proc = NULL;
}
