/* SPDX-License-Identifier: MIT */
#include "explain/memory_scan.h"

#include <errno.h>
#include <limits.h>
#include <linux/kcmp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "explain/content_index.h"
#include "system/clock.h"
#include "system/parse.h"
#include "system/pseudofs.h"
#include "system/worker.h"

enum { PROCESSES_MAX = CONTENT_INDEX_PROCESSES, MAX_STUCK = 256, POLL_MS = 20 };

bool memory_scan_is_stopped(const struct memory_scan *s) {
    return atomic_load(s->options.stop) != 0;
}

/* Pauses until used CPU time * 100 / cpu has passed. If more has passed, throttled_ms moves on:
 * time in which little was used does not allow using more later. */
void memory_scan_throttle(struct memory_scan *s) {
    const int64_t due = (clock_ms(CLOCK_PROCESS_CPUTIME_ID) - s->spent_ms) * 100 / s->options.cpu;
    int64_t passed = clock_ms(CLOCK_MONOTONIC) - s->throttled_ms;

    if (passed > due)
        s->throttled_ms += passed - due;
    while (passed + 1 < due && !memory_scan_is_stopped(s)) {
        poll(NULL, 0, (int)(due - passed < POLL_MS ? due - passed : POLL_MS));
        passed = clock_ms(CLOCK_MONOTONIC) - s->throttled_ms;
    }
}

/* ---- the list ---- */

/* Adds the names that a process can be given by. Returns 0, -ENOMEM or -ECANCELED. */
static int add_names(struct memory_scan *s, const struct memory_scan_process *process) {
    const struct ksm_process file = ksm_process_with_pid(process->pid);
    struct process_names names = {.pid = process->pid, .consumer = process->name};

    if (s->options.name_count == 0)
        return 0;
    if (!s->only_pids) {
        const ssize_t n = ksm_process_read_comm(&s->files, &file, names.comm, sizeof(names.comm));
        if (n == -ECANCELED)
            return -ECANCELED;
        names.comm[n > 0 ? n - 1 : 0] = '\0'; /* without the newline */
        if (ksm_process_read_program(&s->files, &file, names.program, sizeof(names.program)) ==
            -ECANCELED)
            return -ECANCELED;
    }
    return process_match_add(&s->match, &names);
}

static int add_process(struct memory_scan *s, const struct memory_scan_process *process) {
    if (s->count == s->size) {
        const size_t size = s->size ? 2 * s->size : 256;
        void *list = reallocarray(s->list, size, sizeof(*s->list));
        if (!list)
            return -ENOMEM;
        s->list = list;
        s->size = size;
    }
    s->list[s->count++] = *process;
    return 0;
}

/* A process that blocks still counts, by its pid and its comm. */
static int add_blocking(struct memory_scan *s, int pid) {
    struct memory_scan_process process = {
        .pid = pid, .user = -1, .blocks = true, .name.kind = KSM_CONSUMER_program};
    struct process_names names = {.pid = pid};
    int status = 0;

    ksm_process_format_comm(&s->files, pid, process.name.text);
    names.consumer = process.name;
    snprintf(names.comm, sizeof(names.comm), "%.*s", (int)sizeof(names.comm) - 1,
             process.name.text);
    if (s->options.name_count > 0)
        status = process_match_add(&s->match, &names);
    return status == 0 ? add_process(s, &process) : status;
}

static int compare_by_name(const void *a, const void *b) {
    return ksm_consumer_name_compare(&(*(struct memory_scan_process *const *)a)->name,
                                     &(*(struct memory_scan_process *const *)b)->name);
}

/* Sets the consumers, and that of each process. */
static int set_consumers(struct memory_scan *s) {
    struct memory_scan_process **sorted =
        calloc(s->count + 1, sizeof(struct memory_scan_process *));
    struct memory_scan_consumer *consumer = NULL;

    s->consumers = calloc(s->count + 1, sizeof(*s->consumers));
    if (!sorted || !s->consumers) {
        free(sorted);
        return -ENOMEM;
    }
    for (size_t i = 0; i < s->count; i++)
        sorted[i] = &s->list[i];
    qsort(sorted, s->count, sizeof(struct memory_scan_process *), compare_by_name);
    for (size_t i = 0; i < s->count; i++) {
        if (!consumer || ksm_consumer_name_compare(&consumer->name, &sorted[i]->name) != 0) {
            consumer = &s->consumers[s->consumer_count++];
            *consumer = (struct memory_scan_consumer){.name = sorted[i]->name, .all_named = true};
        }
        sorted[i]->consumer = (size_t)(consumer - s->consumers);
        consumer->all_named = consumer->all_named && sorted[i]->named;
        consumer->any_named = consumer->any_named || sorted[i]->named;
    }
    free(sorted);
    return 0;
}

/* Chooses which of the listed processes are read. Returns 0 or -ENOMEM. */
static int choose_processes(struct memory_scan *s) {
    for (size_t i = 0; i < s->count; i++) {
        struct memory_scan_process *process = &s->list[i];
        process->named = process_match_is_wanted(&s->match, i);
        process->wanted =
            s->options.merged_only ? process->merging > 0 || process->blocks : process->named;
        if (process->wanted) {
            s->counts.swapped += process->swapped;
            s->expected += (uint64_t)process->anonymous / s->page_size;
        }
    }
    s->unknown = process_match_unknown(&s->match);
    return set_consumers(s);
}

/* Sets *pid to the next one, or 0 at the end. Returns 0 or -errno. */
static int next_pid(struct memory_scan *s, int *pid) {
    const struct dirent *entry = NULL;
    int64_t number = 0;
    int status = 0;

    *pid = 0;
    if (!s->only_pids) {
        do {
            status = pseudofs_readdir(s->proc, &entry);
            *pid = status == 0 && entry ? parse_pid(entry->d_name) : 0;
        } while (*pid == 0 && status == 0 && entry);
        return status;
    }
    for (; *pid == 0 && s->pos < s->options.name_count; s->pos++) {
        const char *name = s->options.names[s->pos];
        if (parse_number(name, strlen(name), &number) == 0 && number <= INT_MAX)
            *pid = (int)number;
    }
    return 0;
}

static bool is_listed(const struct memory_scan *s, int pid) {
    for (size_t i = 0; i < s->count; i++)
        if (s->list[i].pid == pid)
            return true;
    return false;
}

/* A process whose count may not be read is denied: it may have merged pages. Returns 0 or
 * -ECANCELED. */
static int set_merging(struct memory_scan *s, struct ksm_process *file,
                       struct memory_scan_process *process) {
    const int status = ksm_process_read_merging(&s->files, file);

    if (status == -ECANCELED)
        return status;
    if (status == 0)
        process->merging = file->merging;
    if (status == -EACCES || status == -EPERM)
        s->counts.denied++;
    return 0;
}

/* Sets what is known of a process. Returns 0; -ENOENT if it has no memory of its own, or is a
 * thread; or another -errno. */
static int set_process(struct memory_scan *s, struct memory_scan_process *process) {
    struct ksm_process file = ksm_process_with_pid(process->pid);
    struct ksm_process_status shown;
    int status = ksm_process_read_status(&s->files, &file, &shown);

    if (status == 0 && (shown.resident < 0 || shown.tgid != process->pid))
        return -ENOENT;
    if (status == 0)
        status = ksm_process_read_name(&s->files, &file, &process->name);
    if (status != 0)
        return status;
    process->parent = (int)shown.parent;
    process->user = shown.user;
    process->hugetlb = shown.hugetlb != 0;
    process->swapped = shown.swapped;
    process->anonymous = shown.anonymous;
    if (s->options.merged_only && set_merging(s, &file, process) != 0)
        return -ECANCELED;
    status = ksm_process_read_started(&s->files, &file, &process->started);
    return status == -ECANCELED ? status : 0;
}

int memory_scan_list(struct memory_scan *s, struct page_reader *reader) {
    struct memory_scan_process process = {.user = -1};
    int status = next_pid(s, &process.pid);

    (void)reader;
    if (status == 0 && process.pid == 0) {
        status = choose_processes(s);
        return status != 0 ? status : 1;
    }
    if (status != 0)
        return status;
    if (process.pid == s->self || s->count == PROCESSES_MAX ||
        (s->only_pids && is_listed(s, process.pid)))
        return 0;
    status = set_process(s, &process);
    if (status != 0)
        return status == -ECANCELED ? status : 0;
    status = add_names(s, &process);
    return status != 0 ? status : add_process(s, &process);
}

/* ---- reading ---- */

/* A child of vfork() has its parent's memory until it starts another program. Returns 1 if it does,
 * 0 if not, or -errno. kcmp() takes the exec_update_lock of both. If it blocks, skip_process()
 * suspects the parent first, which may have many children: it becomes blocking_parent, and its
 * children are read without a comparison from then on. */
static int compare_with_parent(struct memory_scan *s, const struct memory_scan_process *process) {
    struct blocking_call *call = s->files.call;

    if (!s->own_pids || process->parent == s->blocking_parent)
        return 0;
    s->comparing = true;
    if (!blocking_call_begin(call, process->pid, -1))
        return -EINTR;
    const long result = syscall(SYS_kcmp, process->pid, process->parent, KCMP_VM, 0, 0);
    return (int)blocking_call_end(call, result == 0);
}

int memory_scan_open(struct memory_scan *s, struct page_reader *reader,
                     const struct memory_scan_process *process) {
    struct ksm_process file = ksm_process_with_pid(process->pid);

    s->comparing = false;
    file.started = process->started; /* before a call after which the process may not be touched */
    const int status =
        page_reader_open(reader, s->options.root, process->pid, process->hugetlb, s->contents);
    return status == 0 ? ksm_process_check(&s->files, &file) : status;
}

/* After -EINTR the scan ends early, which counts.partial shows. */
static void count_process(struct memory_scan *s, int status) {
    if (status >= 0) {
        s->counts.processes++;
    } else if (status == -EACCES || status == -EPERM) {
        s->counts.denied++;
    } else if (status == -ESRCH) {
        s->counts.exited++;
    } else if (status != -EINTR) {
        s->counts.failed++;
        s->counts.error = status;
    }
}

/* Returns 0, or the -errno that ends the scan. */
static int read_process(struct memory_scan *s, struct page_reader *reader, size_t i) {
    int status = memory_scan_open(s, reader, &s->list[i]);

    while (status >= 0 && !memory_scan_is_stopped(s)) {
        status = page_reader_next(reader);
        if (status <= 0)
            break;
        s->list[i].pages += reader->count;
        s->done += reader->count;
        const int result = s->on_batch(s, reader, i);
        if (result != 0)
            return result;
        memory_scan_throttle(s);
    }
    if (status == -ECANCELED)
        return status;
    count_process(s, status);
    s->counts.unreadable += reader->unreadable;
    s->list[i].stack = reader->stack;
    page_reader_close(reader);
    return 0;
}

int memory_scan_read(struct memory_scan *s, struct page_reader *reader) {
    const size_t i = s->pos;

    if (i == s->count)
        return 1;
    s->current = i;
    s->pos++;
    if (!s->list[i].wanted)
        return 0;
    if (s->list[i].blocks) {
        s->counts.blocking++;
        return 0;
    }
    const int status = compare_with_parent(s, &s->list[i]);
    if (status != 0)
        return status == -ECANCELED ? status : 0;
    return read_process(s, reader, i);
}

/* ---- threads ---- */

static void run_steps(struct blocking_call *call, void *data) {
    struct memory_scan *s = data;
    struct page_reader reader;
    int status = page_reader_init(&reader, call);

    s->files.call = call;
    s->status = status;
    while (status >= 0 && s->step < s->step_count && !s->unknown && !memory_scan_is_stopped(s)) {
        status = s->steps[s->step](s, &reader);
        if (status == -ECANCELED)
            break;
        s->status = status < 0 ? status : 0;
        memory_scan_throttle(s);
        if (status > 0) {
            s->step++;
            s->pos = 0;
        }
    }
    page_reader_free(&reader);
}

/* The first processes that block may merely be slow. After several, the timeout is short, so that
 * the others are read soon. */
static int64_t read_timeout_ms(const struct memory_scan *s, const struct worker *worker) {
    enum { LONG_TIMEOUTS_MAX = 8, TIMEOUT_MS = 2000, SHORT_TIMEOUT_MS = 200 };

    if (memory_scan_is_stopped(s))
        return 0;
    return worker->stuck_count < LONG_TIMEOUTS_MAX ? TIMEOUT_MS : SHORT_TIMEOUT_MS;
}

/* Skips the process that blocks, unless its parent may be the one that does: then it is read
 * without a comparison. Returns 0 or -ENOMEM. */
static int skip_process(struct memory_scan *s, int pid) {
    if (s->step == MEMORY_SCAN_LIST)
        return add_blocking(s, pid);
    if (s->comparing) {
        s->blocking_parent = s->list[s->current].parent;
        s->pos = s->current;
        return 0;
    }
    s->counts.blocking++;
    s->list[s->current].blocks = true;
    return 0;
}

static int supervise(struct memory_scan *s, memory_scan_progress_fn *progress) {
    struct worker worker;
    struct abandoned_call call;

    worker_init(&worker, MAX_STUCK);
    const int status = worker_start(&worker, run_steps, s);
    int started = status;
    while (started == 0 && worker_poll(&worker) == WORKER_RUNNING) {
        poll(NULL, 0, POLL_MS);
        if (worker_abandon(&worker, clock_ms(CLOCK_MONOTONIC) - read_timeout_ms(s, &worker),
                           &call)) {
            s->status = skip_process(s, call.pid);
            if (s->status == 0 && !memory_scan_is_stopped(s))
                started = worker_start(&worker, run_steps, s);
        }
        if (progress)
            progress(s);
    }
    if (!worker_close(&worker, &call))
        return -ETIMEDOUT; /* the list is still the thread's */
    return status != 0 ? status : s->status;
}

/* Returns the pid of this program in that procfs, 0 if it is not in there. */
static int find_self(const char *root) {
    struct pseudofs_file file;
    char text[32] = "";

    pseudofs_init(&file, root, "proc/self", "stat");
    pseudofs_read(&file, 0, PSEUDOFS_LINE, text, sizeof(text) - 1); /* -EFBIG: the start is there */
    pseudofs_close(&file);
    return (int)strtol(text, NULL, 10);
}

int memory_scan_init(struct memory_scan *s, const struct memory_scan_options *options) {
    *s = (struct memory_scan){.options = *options,
                              .page_size = (uint64_t)sysconf(_SC_PAGESIZE),
                              .self = find_self(options->root),
                              .own_pids = pseudofs_sees_own_pids(options->root)};
    const int status = process_match_init(&s->match, options->names, options->name_count);
    /* Processes with merged pages are read whether they are named or not. */
    s->only_pids = !options->merged_only && process_match_is_by_pid(&s->match);
    return status;
}

int memory_scan_run(struct memory_scan *s, memory_scan_progress_fn *progress) {
    const int64_t start = clock_ms(CLOCK_MONOTONIC);
    int status = pseudofs_opendir(s->options.root, "proc", &s->proc);

    if (status != 0)
        return status;
    s->files.proc = dirfd(s->proc);
    s->throttled_ms = start;
    s->spent_ms = clock_ms(CLOCK_PROCESS_CPUTIME_ID);
    status = supervise(s, progress);
    s->counts.partial = s->step < s->step_count;
    s->counts.ms = clock_ms(CLOCK_MONOTONIC) - start;
    return status;
}
