/* SPDX-License-Identifier: MIT */
#include "consumers/proc_files.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "consumers/consumer_id.h"
#include "system/line_reader.h"
#include "system/parse.h"
#include "system/pseudofs.h"
#include "system/span.h"

static bool exists(const char *root, const char *process, const char *name) {
    struct pseudofs_file file;
    char path[PATH_MAX];
    struct stat st;

    pseudofs_init(&file, root, process, name);
    return pseudofs_path(&file, path, sizeof(path)) == 0 && stat(path, &st) == 0;
}

enum ksm_process_source ksm_process_find_source(const char *root) {
    if (exists(root, "proc/self", "ksm_stat") || exists(root, "proc/1", "ksm_stat"))
        return KSM_PROCESS_STAT;
    if (exists(root, "proc/self", "ksm_merging_pages") ||
        exists(root, "proc/1", "ksm_merging_pages"))
        return KSM_PROCESS_MERGING_PAGES;
    return KSM_PROCESS_NOTHING;
}

struct ksm_process ksm_process_with_pid(int pid) {
    return (struct ksm_process){.pid = pid,
                                .task = pid,
                                .counts_fd = -1,
                                .statm_fd = -1,
                                .resident = -1,
                                .mapped = -1,
                                .previous = -1,
                                .opted_in = -1,
                                .merge_any = -1,
                                .user = -1};
}

int ksm_process_open(const struct ksm_process_reader *r, const struct ksm_process *process,
                     const char *name) {
    char path[64];

    if (process->task == process->pid)
        snprintf(path, sizeof(path), "%d/%s", process->pid, name);
    else
        snprintf(path, sizeof(path), "%d/task/%d/%s", process->pid, process->task, name);
    return pseudofs_openat(r->proc, path);
}

static ssize_t read_file(const struct ksm_process_reader *r, const struct ksm_process *process,
                         const char *name, enum pseudofs_extent extent, char *buf, size_t size) {
    struct blocking_call *call = r->call;
    int fd = ksm_process_open(r, process, name);

    if (fd < 0)
        return fd;
    ssize_t n = blocking_read_fd(call, process->pid, fd, extent, buf, size);
    blocking_call_close(call, fd, n);
    return n;
}

static int parse_count_of(const char *text, size_t len, const char *key, int64_t *value) {
    const char *field = NULL;
    size_t field_len = 0;
    int status = parse_field(text, len, key, &field, &field_len);

    return status == 0 ? parse_count(field, field_len, value) : status;
}

int ksm_process_read_merging(const struct ksm_process_reader *r, struct ksm_process *process) {
    char buf[64];
    ssize_t n = read_file(r, process, "ksm_merging_pages", PSEUDOFS_LINE, buf, sizeof(buf));

    return n < 0 ? (int)n : parse_number(buf, (size_t)n, &process->merging);
}

/* ksm_mergeable: (whether any memory of the process may be merged) and ksm_merge_any: came with
 * Linux 6.14. Returns 1 for "yes", -1 if there is no such field. */
static int parse_answer(const char *text, size_t len, const char *key) {
    const char *field = NULL;
    size_t field_len = 0;

    if (parse_field(text, len, key, &field, &field_len) != 0)
        return -1;
    return field_len == 3 && memcmp(field, "yes", 3) == 0;
}

/* ksm_stat had only ksm_rmap_items until Linux 6.4; ksm_zero_pages came with 6.6. */
static int parse_ksm_stat(const struct ksm_process_reader *r, const char *text, size_t len,
                          struct ksm_process *process) {
    struct ksm_process got = *process;
    int status = parse_count_of(text, len, "ksm_rmap_items", &got.rmap_items);

    if (status != 0)
        return status == -ENOENT ? -EINVAL : status; /* the file exists */
    status = parse_count_of(text, len, "ksm_merging_pages", &got.merging);
    if (status == -ENOENT)
        status = ksm_process_read_merging(r, &got);
    if (status != 0)
        return status;
    got.zero = 0;
    status = parse_count_of(text, len, "ksm_zero_pages", &got.zero);
    if (status != 0 && status != -ENOENT)
        return status;
    got.opted_in = parse_answer(text, len, "ksm_mergeable:");
    got.merge_any = parse_answer(text, len, "ksm_merge_any:");
    *process = got;
    return 0;
}

/* One read returns all of ksm_stat. It is read on only if it lacks the last number. */
int ksm_process_read_counts(struct ksm_process_reader *r, int fd, struct ksm_process *process) {
    static const char last[] = "ksm_process_profit "; /* since Linux 6.4, as ksm_merging_pages */
    const bool is_stat = r->source == KSM_PROCESS_STAT;
    char buf[512];
    ssize_t n = blocking_read_fd(r->call, process->pid, fd, PSEUDOFS_LINE, buf, sizeof(buf));

    if (n > 0 && is_stat && !memmem(buf, (size_t)n, last, sizeof(last) - 1))
        n = blocking_read_fd(r->call, process->pid, fd, PSEUDOFS_ALL, buf, sizeof(buf));
    if (n <= 0)
        return n == 0 ? -ENODATA : (int)n;
    return is_stat ? parse_ksm_stat(r, buf, (size_t)n, process)
                   : parse_number(buf, (size_t)n, &process->merging);
}

int ksm_process_read_merge_any(const struct ksm_process_reader *r, int fd,
                               const struct ksm_process *process, int *merge_any) {
    char buf[512];
    ssize_t n = blocking_read_fd(r->call, process->pid, fd, PSEUDOFS_ALL, buf, sizeof(buf));

    if (n < 0)
        return (int)n;
    *merge_any = parse_answer(buf, (size_t)n, "ksm_merge_any:");
    return 0;
}

int ksm_process_open_counts(const struct ksm_process_reader *r, const struct ksm_process *process) {
    return ksm_process_open(r, process,
                            r->source == KSM_PROCESS_STAT ? "ksm_stat" : "ksm_merging_pages");
}

/* Reads the counts of a thread. If there are any, its file replaces *fd. */
static int read_task(struct ksm_process_reader *r, int task, struct ksm_process *process, int *fd) {
    const struct blocking_call *call = r->call;
    struct ksm_process got = *process;

    got.task = task;
    int other = ksm_process_open_counts(r, &got);
    if (other < 0)
        return other;
    int status = ksm_process_read_counts(r, other, &got);
    if (status != 0) {
        blocking_call_close(call, other, status);
        return status;
    }
    close(*fd);
    *process = got;
    *fd = other; /* which may be process->counts_fd */
    return 0;
}

static int open_tasks(const struct ksm_process_reader *r, const struct ksm_process *process,
                      DIR **dir) {
    int fd = ksm_process_open(r, process, "task");

    if (fd < 0)
        return fd;
    *dir = fdopendir(fd);
    if (*dir)
        return 0;
    int status = -errno;
    close(fd);
    return status;
}

/* Returns -ESRCH if no thread is left. */
static int read_other_thread(struct ksm_process_reader *r, struct ksm_process *process, int *fd) {
    const struct dirent *entry = NULL;
    DIR *dir = NULL;
    int status = open_tasks(r, process, &dir);
    bool found = false;

    while (status == 0 && !found) {
        status = pseudofs_readdir(dir, &entry);
        if (status != 0 || !entry)
            break;
        int task = parse_pid(entry->d_name);
        if (task <= 0 || task == process->pid)
            continue;
        status = read_task(r, task, process, fd);
        found = status == 0;
        if (status == -ENODATA)
            status = 0;
    }
    if (dir)
        closedir(dir);
    return (status == 0 && !found) || status == -ENOENT ? -ESRCH : status;
}

int ksm_process_find_counts(struct ksm_process_reader *r, struct ksm_process *process, int *fd) {
    const struct blocking_call *call = r->call;

    *fd = ksm_process_open_counts(r, process);
    if (*fd < 0)
        return *fd;
    int status = ksm_process_read_counts(r, *fd, process);
    if (status == -ENODATA)
        status = read_other_thread(r, process, fd);
    if (status != 0)
        blocking_call_close(call, *fd, status);
    return status;
}

bool ksm_process_has_pages(const struct ksm_process *process) {
    return process->merging > 0 || process->zero > 0 || process->rmap_items > 0;
}

int64_t ksm_process_merged_pages(const struct ksm_process *process) {
    int64_t sum = 0;

    return __builtin_add_overflow(process->merging, process->zero, &sum) ? INT64_MAX : sum;
}

/* The second and third fields of statm (fs/proc/task_mmu.c, task_statm). */
int ksm_process_read_resident(const struct ksm_process_reader *r, struct ksm_process *process) {
    char buf[128];
    int64_t pages[3] = {0, 0, 0};
    ssize_t n = process->statm_fd >= 0
                    ? blocking_read_fd(r->call, process->pid, process->statm_fd, PSEUDOFS_LINE, buf,
                                       sizeof(buf))
                    : read_file(r, process, "statm", PSEUDOFS_LINE, buf, sizeof(buf));
    struct span rest = {buf, n > 0 ? (size_t)n : 0};

    if (n == -ECANCELED)
        return -ECANCELED;
    process->resident = process->mapped = -1;
    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
        const struct span field = span_take_until(&rest, ' ');
        if (rest.len == 0 || parse_number(field.text, field.len, &pages[i]) != 0)
            return 0;
    }
    if (pages[2] <= pages[1]) {
        process->resident = pages[1];
        process->mapped = pages[2];
    }
    return 0;
}

int ksm_process_read_started(const struct ksm_process_reader *r, const struct ksm_process *process,
                             int64_t *started) {
    char buf[PARSE_STAT_SIZE];
    struct parse_stat stat;
    ssize_t n = read_file(r, process, "stat", PSEUDOFS_ALL, buf, sizeof(buf));

    if (n == -ECANCELED || pseudofs_is_transient((int)n))
        return (int)n;
    *started = n > 0 && parse_stat(buf, (size_t)n, &stat) == 0 ? stat.started : 0;
    return 0;
}

int ksm_process_check(const struct ksm_process_reader *r, const struct ksm_process *process) {
    int64_t started = 0;
    const int status = ksm_process_read_started(r, process, &started);

    if (status != 0)
        return status;
    return started == process->started ? 0 : -ESRCH;
}

/* A pid or uid ends at a tab or the end. A size in kB is converted to bytes. */
static void parse_status_value(const char *text, bool is_size, int64_t *value) {
    if (is_size)
        parse_bytes(text, strlen(text), value);
    else
        parse_number(text, strcspn(text, "\t"), value);
}

/* Uid: has the real, effective, saved and file system uid (fs/proc/array.c, task_state). */
static void take_status_line(const char *line, struct ksm_process_status *status) {
    const struct {
        const char *key;
        int64_t *value;
        bool is_size;
    } fields[] = {
        {"Tgid:\t", &status->tgid, false},           {"PPid:\t", &status->parent, false},
        {"VmRSS:\t", &status->resident, true},       {"RssAnon:\t", &status->anonymous, true},
        {"RssFile:\t", &status->file, true},         {"RssShmem:\t", &status->shmem, true},
        {"HugetlbPages:\t", &status->hugetlb, true}, {"VmSwap:\t", &status->swapped, true},
        {"VmPin:\t", &status->pinned, true},         {"VmLck:\t", &status->locked, true}};
    const char *user = line_value(line, "Uid:\t");
    const char *effective = user ? strchr(user, '\t') : NULL;

    if (effective)
        parse_status_value(effective + 1, false, &status->user);
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        const char *value = line_value(line, fields[i].key);
        if (value)
            parse_status_value(value, fields[i].is_size, fields[i].value);
    }
}

/* Groups: may be longer than any buffer, so this reads line by line. */
int ksm_process_read_status(const struct ksm_process_reader *r, const struct ksm_process *process,
                            struct ksm_process_status *status) {
    struct line_reader reader = {.call = r->call, .pid = process->pid};
    struct ksm_process_status got = {.user = -1, .resident = -1};
    char line[128];
    int result = 0;

    reader.fd = ksm_process_open(r, process, "status");
    if (reader.fd < 0)
        return reader.fd;
    for (;;) {
        result = line_reader_next(&reader, line, sizeof(line));
        if (result <= 0)
            break;
        take_status_line(line, &got);
    }
    if (reader.fd >= 0)
        close(reader.fd);
    if (result == 0)
        *status = got;
    return result;
}

/* Sets *len to the bytes read: 0 if the file is missing. A text that does not fit is cut. */
static int read_text(const struct ksm_process_reader *r, const struct ksm_process *process,
                     const char *name, char *buf, size_t size, size_t *len) {
    ssize_t n = read_file(r, process, name, PSEUDOFS_ALL, buf, size);

    *len = 0;
    if (n == -EFBIG)
        *len = size;
    else if (n >= 0)
        *len = (size_t)n;
    else if (n != -ENOENT)
        return (int)n;
    return 0;
}

int ksm_process_read_name(const struct ksm_process_reader *r, const struct ksm_process *process,
                          struct ksm_consumer_name *name) {
    char cgroup[8192];
    char cmdline[8192];
    char comm[64 + 1];
    struct ksm_identity identity = {.cgroup = cgroup, .cmdline = cmdline, .comm = comm};
    int status = read_text(r, process, "cgroup", cgroup, sizeof(cgroup), &identity.cgroup_len);

    if (status == 0)
        status = read_text(r, process, "cmdline", cmdline, sizeof(cmdline), &identity.cmdline_len);
    if (status == 0)
        status = read_text(r, process, "comm", comm, sizeof(comm), &identity.comm_len);
    if (status == 0)
        ksm_consumer_identify(&identity, name);
    return status;
}

int ksm_process_read_program(const struct ksm_process_reader *r, const struct ksm_process *process,
                             char *text, size_t size) {
    char cmdline[8192];
    size_t len = 0;
    const int status = read_text(r, process, "cmdline", cmdline, sizeof(cmdline), &len);
    const size_t end = strnlen(cmdline, len);
    const char *slash = memrchr(cmdline, '/', end);
    const char *base = slash ? slash + 1 : cmdline;

    snprintf(text, size, "%.*s", (int)(cmdline + end - base), base);
    return status;
}

ssize_t ksm_process_read_comm(const struct ksm_process_reader *r, const struct ksm_process *process,
                              char *comm, size_t size) {
    return read_file(r, process, "comm", PSEUDOFS_LINE, comm, size);
}

void ksm_process_format_comm(const struct ksm_process_reader *r, int pid,
                             char text[static KSM_CONSUMER_NAME_SIZE]) {
    const struct ksm_process_reader own = {.proc = r->proc};
    const struct ksm_process process = ksm_process_with_pid(pid);
    char comm[64 + 1];
    ssize_t n = ksm_process_read_comm(&own, &process, comm, sizeof(comm));

    if (n > 1)
        ksm_consumer_name_clean(comm, (size_t)n - 1, text);
    else
        snprintf(text, KSM_CONSUMER_NAME_SIZE, "?");
}
