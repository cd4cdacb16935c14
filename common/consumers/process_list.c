/* SPDX-License-Identifier: MIT */
#include "consumers/process_list.h"

#include <errno.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "consumers/trust_domain.h"
#include "system/clock.h"
#include "system/parse.h"
#include "system/pseudofs.h"

/* A read that takes longer is slow. Linux 6.18: reading ksm_stat takes 12 to 44 µs if one of the
 * first mappings is mergeable, 3.9 ms if only the last of 60,000 is. */
enum { SLOW_US = 500 };

static bool is_capable(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0, 0, 0}, {0, 0, 0}};

    return syscall(SYS_capget, &header, data) == 0 &&
           (data[0].effective & 1U << CAP_DAC_READ_SEARCH) != 0;
}

void ksm_process_list_init(struct ksm_process_list *p, const char *root, int max_kept,
                           int64_t slow_us) {
    *p = (struct ksm_process_list){
        .root = root,
        .reader = {.proc = -1, .source = ksm_process_find_source(root)},
        .capable = is_capable(),
        .own_pids = pseudofs_sees_own_pids(root),
        .max_kept = max_kept < KSM_KEPT_DESCRIPTORS_MAX ? max_kept : KSM_KEPT_DESCRIPTORS_MAX,
        .slow_reads.max_us = slow_us,
        .sweep.last.opted_in = -1,
    };
}

/* ---- the list ---- */

/* A process that has opted in is listed before KSM tracks any page of it, so that its first pages
 * are seen at the next update. */
static bool is_candidate(const struct ksm_process *process) {
    return ksm_process_has_pages(process) || process->opted_in > 0;
}

/* Returns the index of the first process whose pid is not below pid. */
static size_t find_position(const struct ksm_process_list *p, int pid) {
    size_t low = 0;
    size_t high = p->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (p->list[middle].pid < pid)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool is_listed(const struct ksm_process_list *p, size_t pos, int pid) {
    return pos < p->count && p->list[pos].pid == pid;
}

/* Closes the descriptors of a process except stuck_fd, which a stuck thread closes. */
static void release(struct ksm_process_list *p, struct ksm_process *process, int stuck_fd) {
    int *const kept[] = {&process->counts_fd, &process->statm_fd};

    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
        if (*kept[i] < 0)
            continue;
        if (*kept[i] != stuck_fd)
            close(*kept[i]);
        *kept[i] = -1;
        p->kept--;
    }
}

/* Returns 0, or -ENOMEM. */
static int insert(struct ksm_process_list *p, const struct ksm_process *process) {
    const size_t pos = find_position(p, process->pid);

    if (p->count == p->size) {
        size_t size = p->size == 0 ? 64 : p->size * 2;
        struct ksm_process *list = reallocarray(p->list, size, sizeof(*list));
        if (!list)
            return -ENOMEM;
        p->list = list;
        p->size = size;
    }
    memmove(&p->list[pos + 1], &p->list[pos], (p->count - pos) * sizeof(*process));
    p->list[pos] = *process;
    p->count++;
    return 0;
}

/* Returns the slot of a skipped process, or with pid 0 a free slot; NULL if there is none. */
static int *find_skipped(struct ksm_process_list *p, int pid) {
    for (size_t i = 0; i < KSM_SKIPPED_MAX; i++)
        if (p->skipped[i] == pid)
            return &p->skipped[i];
    return NULL;
}

void ksm_process_list_skip(struct ksm_process_list *p, int pid, int fd) {
    const size_t pos = find_position(p, pid);
    int *slot = find_skipped(p, 0);

    if (slot)
        *slot = pid;
    if (!is_listed(p, pos, pid))
        return;
    release(p, &p->list[pos], fd);
    p->count--;
    memmove(&p->list[pos], &p->list[pos + 1], (p->count - pos) * sizeof(*p->list));
    if (p->refreshed > pos)
        p->refreshed--;
}

void ksm_process_list_resume(struct ksm_process_list *p, int pid) {
    int *slot = find_skipped(p, pid);

    if (slot)
        *slot = 0;
}

/* Returns whether an error of a process ends the update. If a process could not be read for lack of
 * resources, the sums would lack it. */
static bool is_fatal(int status) {
    return status == -ECANCELED || pseudofs_is_transient(status);
}

bool ksm_process_list_has_skipped(const struct ksm_process_list *p) {
    for (size_t i = 0; i < KSM_SKIPPED_MAX; i++)
        if (p->skipped[i] != 0)
            return true;
    return false;
}

/* ---- processes that are not on the list ---- */

static bool has_exited(int status) {
    return status == -ESRCH || status == -ENOENT || status == -ENODATA;
}

/* Counts a process that the sweep could not read because of an error that lasts. */
static void count_failure(struct ksm_process_list *p, int status) {
    struct ksm_sweep_counts *counts = &p->sweep.running;

    if (status == 0 || has_exited(status) || is_fatal(status) || p->phase != KSM_UPDATE_SWEEP)
        return;
    if (status != -EACCES && status != -EPERM) {
        counts->failed++;
        return;
    }
    counts->denied++;
    if (status == -EPERM)
        counts->denial = KSM_DENIED_HIDEPID1;
    else
        counts->denial = p->capable ? KSM_DENIED_MODULE : KSM_DENIED_MODE;
}

static void count_opted_in(struct ksm_process_list *p, const struct ksm_process *process) {
    struct ksm_sweep_counts *counts = &p->sweep.running;

    if (process->opted_in < 0 || p->phase != KSM_UPDATE_SWEEP)
        return;
    if (counts->opted_in < 0)
        counts->opted_in = 0;
    counts->opted_in += process->opted_in;
}

/* Sets the name and the user of a process. Without status the user is not known. */
static int read_identity(const struct ksm_process_list *p, struct ksm_process *process) {
    struct ksm_process_status status_file;
    struct ksm_consumer_name name;
    int status = ksm_process_read_name(&p->reader, process, &name);

    if (status != 0)
        return status;
    status = ksm_process_read_status(&p->reader, process, &status_file);
    if (status != 0 && status != -ENOENT)
        return status;
    process->name = name;
    process->user = status == 0 ? status_file.user : KSM_USER_UNKNOWN;
    return 0;
}

/* Reads what the list holds of a process besides its counts. Its descriptors are kept if there is
 * room for both; else counts_fd is closed, and its start identifies the process from now on. */
static int read_rest(struct ksm_process_list *p, struct ksm_process *process) {
    const bool keep = p->kept + 2 <= p->max_kept && pseudofs_is_kernel_fs(process->counts_fd);
    int64_t started = 0;
    int status = keep ? 0 : ksm_process_read_started(&p->reader, process, &started);

    if (status == 0)
        status = ksm_process_read_resident(&p->reader, process);
    if (status == 0)
        status = read_identity(p, process);
    if (status != 0)
        return status;
    process->started = started;
    if (!keep) {
        close(process->counts_fd);
        process->counts_fd = -1;
        return 0;
    }
    process->statm_fd = ksm_process_open(&p->reader, process, "statm");
    if (process->statm_fd >= 0 && !pseudofs_is_kernel_fs(process->statm_fd)) {
        close(process->statm_fd);
        process->statm_fd = -1;
    }
    p->kept += process->statm_fd >= 0 ? 2 : 1;
    return 0;
}

static int read_unlisted(struct ksm_process_list *p, int pid) {
    struct ksm_process process = ksm_process_with_pid(pid);
    int status = ksm_process_find_counts(&p->reader, &process, &process.counts_fd);

    if (status != 0)
        return status;
    count_opted_in(p, &process);
    if (is_candidate(&process))
        status = read_rest(p, &process);
    if (status != 0 || !is_candidate(&process)) {
        close(process.counts_fd);
        return status;
    }
    status = insert(p, &process);
    if (status != 0)
        release(p, &process, -1);
    return status;
}

/* Reads a process that the sweep or the new pids have found, if that is not on the list. Returns 0,
 * -ECANCELED or a transient error. */
static int read_found(struct ksm_process_list *p, int pid) {
    const size_t pos = find_position(p, pid);

    if (find_skipped(p, pid))
        return 0;
    if (is_listed(p, pos, pid)) {
        count_opted_in(p, &p->list[pos]);
        return 0;
    }
    int status = read_unlisted(p, pid);
    count_failure(p, status);
    return is_fatal(status) ? status : 0;
}

/* Sets *pid to that of the next entry: 0 if it is no process, -1 at the end. */
static int next_pid(DIR *dir, int *pid) {
    const struct dirent *entry = NULL;
    int status = pseudofs_readdir(dir, &entry);

    if (status == 0)
        *pid = entry ? parse_pid(entry->d_name) : -1;
    return status;
}

/* ---- new pids ---- */

static void begin_new_pids(struct ksm_process_list *p) {
    struct ksm_new_pids *pids = &p->new_pids;
    /* The thread that runs this update has just been given a pid. */
    const int newest = p->own_pids ? (int)syscall(SYS_gettid) : 0;

    pids->after = pids->last == 0 ? newest : pids->previous;
    pids->previous = pids->last == 0 ? newest : pids->last;
    pids->last = newest;
}

/* procfs lists processes by ascending pid, at the positions 256 + pid or a few more
 * (fs/proc/base.c, TGID_OFFSET). */
static int seek_new_pids(struct ksm_process_list *p) {
    enum { FIRST_PROCESS_ENTRY = 256 };
    struct ksm_new_pids *pids = &p->new_pids;
    int status = pids->dir ? 0 : pseudofs_opendir(p->root, "proc", &pids->dir);

    if (status == 0)
        seekdir(pids->dir, FIRST_PROCESS_ENTRY + (long)pids->after + 1);
    return status;
}

static int read_new_pids(struct ksm_process_list *p) {
    struct ksm_new_pids *pids = &p->new_pids;
    int status = pids->after == pids->last ? 0 : seek_new_pids(p);

    while (status == 0 && pids->after != pids->last) {
        const bool starts_over = pids->last < pids->after;
        int pid = 0;
        status = next_pid(pids->dir, &pid);
        if (status != 0)
            return status;
        if (pid < 0 && starts_over) {
            pids->after = 0;
            status = seek_new_pids(p);
        } else if (pid < 0 || (pid > pids->last && !starts_over)) {
            pids->after = pids->last;
        } else if (pid > pids->after) {
            pids->after = pid;
            status = read_found(p, pid);
        }
    }
    return status;
}

/* ---- the sweep ---- */

static int64_t entries_of_update(const struct ksm_process_list *p, bool complete) {
    enum { MIN_ENTRIES = 256, COMPLETE_ENTRIES = 128 };
    const int64_t part = p->sweep.last.entries / KSM_UPDATES_PER_SWEEP + 1;

    if (!p->sweep.done)
        return INT64_MAX;
    if (complete)
        return COMPLETE_ENTRIES;
    return part > MIN_ENTRIES ? part : MIN_ENTRIES;
}

static int open_proc(struct ksm_process_list *p) {
    if (p->sweep.dir)
        return 0;
    int status = pseudofs_opendir(p->root, "proc", &p->sweep.dir);
    if (status == 0)
        p->reader.proc = dirfd(p->sweep.dir);
    return status;
}

/* Process 1 always exists: if it is not listed, hidepid hides it. */
static bool is_hidden(int proc) {
    struct stat st;

    return fstatat(proc, "self", &st, 0) == 0 && fstatat(proc, "1", &st, 0) != 0 && errno == ENOENT;
}

static void begin_sweep(struct ksm_process_list *p) {
    struct ksm_process_sweep *sweep = &p->sweep;

    rewinddir(sweep->dir);
    sweep->running =
        (struct ksm_sweep_counts){.opted_in = -1, .hidden = is_hidden(dirfd(sweep->dir))};
    sweep->in_progress = true;
}

static void end_sweep(struct ksm_process_sweep *sweep) {
    sweep->last = sweep->running;
    sweep->done = true;
    sweep->in_progress = false;
}

/* Reads one entry. begin_us: the thread's CPU time when it began to sweep. */
static int sweep_entry(struct ksm_process_list *p, int64_t begin_us) {
    const int64_t start_us = clock_us(CLOCK_MONOTONIC);
    int pid = 0;
    int status = next_pid(p->sweep.dir, &pid);

    if (status != 0)
        return status;
    if (pid < 0) {
        end_sweep(&p->sweep);
        return 0;
    }
    p->sweep.entries_left--;
    p->sweep.running.entries++;
    if (pid > 0)
        status = read_found(p, pid);
    if (status == 0 && p->sweep.done && clock_us(CLOCK_MONOTONIC) - start_us >= SLOW_US &&
        clock_us(CLOCK_THREAD_CPUTIME_ID) - begin_us >= p->slow_reads.max_us)
        p->sweep.entries_left = 0;
    return status;
}

static int sweep_part(struct ksm_process_list *p) {
    const int64_t begin_us = clock_us(CLOCK_THREAD_CPUTIME_ID);
    int status = 0;

    if (!p->sweep.in_progress)
        begin_sweep(p);
    while (status == 0 && p->sweep.in_progress && p->sweep.entries_left > 0)
        status = sweep_entry(p, begin_us);
    if (status != 0 && status != -ECANCELED)
        p->sweep.in_progress = false;
    return status;
}

/* ---- processes on the list ---- */

/* Names a process again: every KSM_UPDATES_PER_NAMING updates in any case, and every
 * KSM_UPDATES_PER_SWEEP if its comm has changed. */
static int rename_if_due(const struct ksm_process_list *p, struct ksm_process *process) {
    const unsigned turn = (unsigned)process->pid + p->updates;
    char comm[sizeof(process->comm)] = "";

    if (turn % KSM_UPDATES_PER_SWEEP != 0)
        return 0;
    ssize_t n = ksm_process_read_comm(&p->reader, process, comm, sizeof(comm));
    if (n >= 0 && memcmp(comm, process->comm, sizeof(comm)) == 0 &&
        turn % KSM_UPDATES_PER_NAMING != 0)
        return 0;
    int status = n < 0 ? (int)n : read_identity(p, process);
    if (status == 0)
        memcpy(process->comm, comm, sizeof(comm));
    return status == -ECANCELED ? status : 0;
}

/* Returns whether reading the counts has to wait for another update. */
static bool is_postponed(const struct ksm_process_list *p, const struct ksm_process *process) {
    const bool has_had_turn = process->pid <= p->slow_reads.last_pid;
    /* ksm_merging_pages is opened by pid, so something else must show that the pid still belongs to
     * this process: its start, which was checked without a counts_fd, or its statm. */
    const bool is_identified = process->counts_fd < 0 || process->statm_fd >= 0;

    return process->speed == KSM_READ_SLOW && is_identified &&
           (p->slow_reads.left_us <= 0 || has_had_turn);
}

/* Wall-clock time costs no system call, but on a busy host any read may take long. So a read that
 * took long is measured by CPU time the next time; that clock costs 0.2 to 0.8 µs. */
static int read_measured_counts(struct ksm_process_list *p, struct ksm_process *process, int fd) {
    const bool was_fast = process->speed == KSM_READ_FAST;
    const clockid_t clock = was_fast ? CLOCK_MONOTONIC : CLOCK_THREAD_CPUTIME_ID;
    const int64_t begin_us = clock_us(clock);
    int status = ksm_process_read_counts(&p->reader, fd, process);

    if (status != 0)
        return status;
    const int64_t took_us = clock_us(clock) - begin_us;
    process->speed = KSM_READ_FAST;
    if (took_us >= SLOW_US)
        process->speed = was_fast ? KSM_READ_UNMEASURED : KSM_READ_SLOW;
    if (process->speed == KSM_READ_SLOW) {
        p->slow_reads.left_us -= took_us;
        p->slow_reads.last_pid = process->pid;
    }
    return 0;
}

static int read_all_counts(struct ksm_process_list *p, struct ksm_process *process, int fd) {
    const int64_t zero = process->zero;
    int status = read_measured_counts(p, process, fd);

    if (status != 0)
        return status;
    /* Zero pages of several intervals are no growth of the last one. */
    if (process->merging_only && process->previous >= 0)
        process->previous += process->zero - zero;
    process->merging_only = false;
    return 0;
}

static int reread_counts(struct ksm_process_list *p, struct ksm_process *process) {
    const struct blocking_call *call = p->reader.call;
    const bool kept = process->counts_fd >= 0;

    if (is_postponed(p, process)) {
        process->merging_only = true;
        return ksm_process_read_merging(&p->reader, process);
    }
    int fd = kept ? process->counts_fd : ksm_process_open_counts(&p->reader, process);
    int status = fd < 0 ? fd : read_all_counts(p, process, fd);
    if (fd >= 0 && !kept)
        blocking_call_close(call, fd, status);
    return status;
}

/* Reads a process again: by kept descriptors, which always belong to the same process; or by its
 * pid, if that still belongs to the same process. */
static int refresh(struct ksm_process_list *p, struct ksm_process *process) {
    const bool kept = process->counts_fd >= 0;
    struct ksm_process got = *process;
    int status = kept ? 0 : ksm_process_check(&p->reader, process);

    if (status == 0)
        status = reread_counts(p, &got);
    if (status == 0)
        status = ksm_process_read_resident(&p->reader, &got);
    if (status == 0 && got.merging_only && kept && got.resident < 0)
        return -ESRCH; /* the kept statm is of a process that has exited */
    if (status == 0)
        status = rename_if_due(p, &got);
    if (status == 0)
        *process = got;
    return status;
}

static bool is_obsolete(const struct ksm_process *process) {
    return has_exited(process->status) || (process->status == 0 && !is_candidate(process));
}

static void remove_obsolete(struct ksm_process_list *p) {
    size_t kept = 0;

    for (size_t i = 0; i < p->count; i++) {
        if (is_obsolete(&p->list[i]))
            release(p, &p->list[i], -1);
        else
            p->list[kept++] = p->list[i];
    }
    p->count = kept;
}

static int refresh_all(struct ksm_process_list *p) {
    while (p->refreshed < p->count) {
        struct ksm_process *process = &p->list[p->refreshed++];
        int status = refresh(p, process);
        if (is_fatal(status))
            return status;
        process->status = status;
    }
    if (p->slow_reads.left_us > 0) /* all have had their turn */
        p->slow_reads.last_pid = 0;
    remove_obsolete(p);
    return 0;
}

/* ---- an update ---- */

static int begin_update(struct ksm_process_list *p, bool complete) {
    begin_new_pids(p);
    p->sweep.entries_left = entries_of_update(p, complete);
    p->slow_reads.left_us = p->slow_reads.max_us;
    p->refreshed = 0;
    p->updates++;
    return open_proc(p);
}

static int run_phase(struct ksm_process_list *p, bool complete) {
    switch (p->phase) {
    case KSM_UPDATE_BEGIN:
        return begin_update(p, complete);
    case KSM_UPDATE_NEW_PIDS:
        return read_new_pids(p);
    case KSM_UPDATE_SWEEP:
        return sweep_part(p);
    case KSM_UPDATE_REFRESH:
        break;
    }
    return refresh_all(p);
}

int ksm_process_list_update(struct ksm_process_list *p, bool complete, struct blocking_call *call) {
    int status = 0;

    p->reader.call = call;
    do {
        status = run_phase(p, complete);
        if (status == -ECANCELED)
            return status;
        if (status != 0 || p->phase == KSM_UPDATE_REFRESH)
            p->phase = KSM_UPDATE_BEGIN;
        else
            p->phase++;
    } while (p->phase != KSM_UPDATE_BEGIN);
    return status;
}

void ksm_process_list_remember_counts(struct ksm_process_list *p) {
    for (size_t i = 0; i < p->count; i++) {
        struct ksm_process *process = &p->list[i];
        process->previous = process->status == 0 ? ksm_process_merged_pages(process) : -1;
    }
}

void ksm_process_list_discard(struct ksm_process_list *p) {
    p->phase = KSM_UPDATE_BEGIN;
}

void ksm_process_list_clear(struct ksm_process_list *p) {
    for (size_t i = 0; i < p->count; i++)
        release(p, &p->list[i], -1);
    free(p->list);
    if (p->sweep.dir)
        closedir(p->sweep.dir);
    if (p->new_pids.dir)
        closedir(p->new_pids.dir);
    p->list = NULL;
    p->count = 0;
    p->size = 0;
    p->reader.proc = -1;
    p->phase = KSM_UPDATE_BEGIN;
    p->sweep = (struct ksm_process_sweep){.last.opted_in = -1};
    p->new_pids = (struct ksm_new_pids){.dir = NULL};
    p->slow_reads.last_pid = 0;
}
