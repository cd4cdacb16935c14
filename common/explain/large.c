/* SPDX-License-Identifier: MIT */
#include "large.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "clock.h"
#include "owner.h"
#include "parse.h"
#include "pseudofs.h"

/* ---- smaps ---- */

static bool has_flag(const char *flags, const char *flag) {
    const char *at = strstr(flags, flag);

    return at && at[-1] == ' ' && (at[2] == ' ' || at[2] == '\0');
}

/* The last line of a mapping: its flags (show_smap_vma_flags of fs/proc/task_mmu.c). */
static void end_mapping(struct large_mappings *m, const char *flags) {
    bool device = has_flag(flags, "pf") || has_flag(flags, "io") || has_flag(flags, "mm") ||
                  has_flag(flags, "de");

    m->anonymous += m->own;
    m->huge += m->thp;
    m->device += device ? m->rss - m->own : 0;
    m->locked += has_flag(flags, "lo") ? m->size : 0;
    if (!has_flag(flags, "mg"))
        return;
    m->mergeable += m->own;
    if (m->own > m->most) {
        m->most = m->own;
        m->start = m->from;
        m->end = m->to;
    }
}

void large_take_line(struct large_mappings *m, const char *line) {
    const struct {
        const char *key;
        int64_t *value;
    } fields[] = {{"Size:", &m->size},
                  {"Rss:", &m->rss},
                  {"Anonymous:", &m->own},
                  {"AnonHugePages:", &m->thp}};
    char *end = NULL;

    if (strncmp(line, "VmFlags:", 8) == 0) {
        end_mapping(m, line + 8);
        return;
    }
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        size_t len = strlen(fields[i].key);
        int64_t kilobytes = 0;
        if (strncmp(line, fields[i].key, len) == 0 &&
            parse_kilobytes(line + len, strlen(line + len), &kilobytes) == 0 &&
            kilobytes <= INT64_MAX / 1024)
            *fields[i].value = kilobytes * 1024;
    }
    if (*line >= 'A' && *line <= 'Z') /* addresses are in small letters */
        return;
    m->from = strtoull(line, &end, 16);
    m->to = *end == '-' ? strtoull(end + 1, NULL, 16) : 0;
    m->size = m->rss = m->own = m->thp = 0;
}

/* ---- reading, watched ---- */

/* As read() or pread(), -ECANCELED if it was taken over: then fd was closed here. */
static ssize_t read_watched(struct ksm_guard *guard, int pid, int fd, int64_t offset, void *buf,
                            size_t size) {
    if (!ksm_guard_enter(guard, pid, fd))
        return -EINTR;
    ssize_t n = offset < 0 ? read(fd, buf, size) : pread(fd, buf, size, offset);
    int status = n < 0 ? -errno : 0;
    if (ksm_guard_leave(guard))
        return n < 0 ? status : n;
    close(fd);
    return -ECANCELED;
}

/* A descriptor or -errno, -ECANCELED as above. */
static int open_watched(struct ksm_guard *guard, int pid, int dir, const char *name) {
    if (!ksm_guard_enter(guard, pid, dir))
        return -EINTR;
    int fd = pseudofs_openat(dir, name);
    if (ksm_guard_leave(guard))
        return fd;
    if (fd >= 0)
        close(fd);
    return -ECANCELED;
}

/* A small file, with a NUL after its bytes: their number, what fits of them, or -errno. */
static ssize_t read_text(struct ksm_guard *guard, const struct large_candidate *one,
                         const char *name, char *buf, size_t size) {
    int pid = one->is.pid, fd = open_watched(guard, pid, one->fd[LARGE_DIR], name);
    size_t len = 0;
    ssize_t n = 0;

    *buf = '\0';
    if (fd < 0)
        return fd;
    while (len < size - 1 && (n = read_watched(guard, pid, fd, -1, buf + len, size - 1 - len)) > 0)
        len += (size_t)n;
    buf[len] = '\0';
    if (n == -ECANCELED)
        return n;
    close(fd);
    return n < 0 ? n : (ssize_t)len;
}

static bool open_files(struct large *l, struct ksm_guard *guard, struct large_candidate *one) {
    static const char *const names[LARGE_FILES] = {NULL, "smaps", "pagemap", "mem"};
    char dir[16];
    int at = l->proc;

    snprintf(dir, sizeof(dir), "%d", one->is.pid);
    for (enum large_file i = 0; i < LARGE_FILES; i++) {
        int fd =
            at < 0 ? -ESRCH : open_watched(guard, one->is.pid, at, i == LARGE_DIR ? dir : names[i]);
        if (fd == -ECANCELED)
            return false;
        one->fd[i] = fd;
        if (i == LARGE_DIR)
            at = fd;
    }
    return true;
}

/* ---- one process ---- */

/* -1 if there is no such field, or no number in it. */
static int64_t count_of(const char *text, const char *key) {
    const char *field = NULL;
    size_t len = 0;
    int64_t count = -1;

    if (parse_field(text, strlen(text), key, &field, &len) == 0)
        parse_count(field, len, &count);
    return count;
}

static bool read_counts(struct ksm_guard *guard, struct large_candidate *one) {
    struct explain_process *is = &one->is;
    const char *field = NULL;
    char buf[1024];
    size_t len = 0;
    ssize_t n = read_text(guard, one, "ksm_stat", buf, sizeof(buf));

    if (n == -ECANCELED)
        return false;
    is->denied = is->denied || n == -EACCES || n == -EPERM;
    is->merging = count_of(buf, "ksm_merging_pages");
    is->zero = count_of(buf, "ksm_zero_pages");
    is->rmap_items = count_of(buf, "ksm_rmap_items");
    if (parse_field(buf, strlen(buf), "ksm_mergeable:", &field, &len) == 0)
        is->opted_in = len == 3 && memcmp(field, "yes", 3) == 0;
    if (is->merging >= 0)
        return true;
    n = read_text(guard, one, "ksm_merging_pages", buf, sizeof(buf)); /* before 6.4 */
    if (n > 0)
        parse_number(buf, (size_t)n, &is->merging);
    return n != -ECANCELED;
}

static enum explain_program program_of(const char *comm) {
    static const struct {
        const char *start; /* the kernel keeps 15 bytes */
        enum explain_program program;
    } programs[] = {
        {"qemu", EXPLAIN_QEMU},
        {"kvm", EXPLAIN_QEMU},
        {"cloud-hyperviso", EXPLAIN_CLOUD_HYPERVISOR},
        {"firecracker", EXPLAIN_FIRECRACKER},
    };

    for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++)
        if (strncmp(comm, programs[i].start, strlen(programs[i].start)) == 0)
            return programs[i].program;
    return EXPLAIN_OTHER;
}

/* comm comes first: its file takes no lock, so that who waits has it. */
static bool read_name(struct ksm_guard *guard, struct large_candidate *one) {
    char comm[80], cgroup[8192], cmdline[8192];
    struct ksm_identity of = {.cgroup = cgroup, .cmdline = cmdline, .comm = comm};
    ssize_t n = read_text(guard, one, "comm", comm, sizeof(comm));

    if (n == -ECANCELED)
        return false;
    of.comm_len = n > 0 ? (size_t)n : 0;
    ksm_owner_of(&of, &one->is.name);
    one->is.program = program_of(comm);
    ksm_name_clean(comm, strcspn(comm, "\n"), one->is.comm);
    n = read_text(guard, one, "cgroup", cgroup, sizeof(cgroup));
    if (n == -ECANCELED)
        return false;
    of.cgroup_len = n > 0 ? (size_t)n : 0;
    n = read_text(guard, one, "cmdline", cmdline, sizeof(cmdline));
    if (n == -ECANCELED)
        return false;
    of.cmdline_len = n > 0 ? (size_t)n : 0;
    ksm_owner_of(&of, &one->is.name);
    return true;
}

static bool read_age(struct ksm_guard *guard, struct large_candidate *one) {
    char buf[1024];
    struct parse_stat stat;
    const int64_t ticks = sysconf(_SC_CLK_TCK);
    ssize_t n = read_text(guard, one, "stat", buf, sizeof(buf));

    if (n > 0 && ticks > 0 && parse_stat(buf, (size_t)n, &stat) == 0 && stat.started > 0 &&
        stat.started <= INT64_MAX / 1000)
        one->is.age = clock_ms(CLOCK_BOOTTIME) - stat.started * 1000 / ticks;
    return n != -ECANCELED;
}

static void take_lines(struct large_mappings *mappings, char *buf, size_t *len) {
    char *line = buf, *end;

    while ((end = memchr(line, '\n', *len - (size_t)(line - buf))) != NULL) {
        *end = '\0';
        large_take_line(mappings, line);
        line = end + 1;
    }
    *len -= (size_t)(line - buf);
    memmove(buf, line, *len);
}

static bool read_smaps(struct ksm_guard *guard, struct large_candidate *one) {
    enum { LINE = 32768 }; /* more than a path of newlines takes, each of which is \012 there */
    struct explain_process *is = &one->is;
    struct large_mappings sum = {0};
    char buf[LINE];
    size_t len = 0;
    ssize_t n = one->fd[LARGE_SMAPS];

    if (n >= 0)
        while ((n = read_watched(guard, is->pid, one->fd[LARGE_SMAPS], -1, buf + len, LINE - len)) >
               0) {
            len += (size_t)n;
            take_lines(&sum, buf, &len);
        }
    if (n == -ECANCELED)
        return false;
    is->denied = is->denied || n == -EACCES || n == -EPERM;
    if (n < 0)
        return true;
    one->mappings = sum;
    is->anonymous = sum.anonymous;
    is->device = sum.device;
    is->mergeable = sum.mergeable;
    is->huge = sum.huge;
    is->pinned += one->locked > sum.locked ? one->locked - sum.locked : 0;
    return true;
}

static void add_up(struct explain_process *is, int64_t page_size) {
    is->memory = is->anonymous + is->shared + is->hugetlb + (is->device > 0 ? is->device : 0) +
                 (is->zero > 0 ? is->zero * page_size : 0);
}

/* ---- who comes on the list ---- */

/* Of the processes of one program of one consumer the largest stands for all. */
static bool is_found(const struct explain_processes *found, const struct explain_process *is) {
    for (int i = 0; i < found->count; i++) {
        const struct explain_process *other = &found->list[i];
        if (other->name.kind == is->name.kind && strcmp(other->name.text, is->name.text) == 0 &&
            strcmp(other->comm, is->comm) == 0)
            return true;
    }
    return false;
}

static void add(struct explain_processes *found, const struct explain_process *is) {
    int at = found->count;

    if (at == EXPLAIN_PROCESSES && found->list[--at].memory >= is->memory)
        return;
    for (; at > 0 && found->list[at - 1].memory < is->memory; at--)
        found->list[at] = found->list[at - 1];
    found->list[at] = *is;
    found->count += found->count < EXPLAIN_PROCESSES;
}

static bool may_be_found(const struct large *l, const struct large_candidate *one) {
    const struct explain_processes *found = &l->found;

    return one->fd[LARGE_DIR] >= 0 &&
           (found->count < EXPLAIN_PROCESSES || found->list[found->count - 1].memory < one->bound);
}

static bool read_one(struct large *l, struct ksm_guard *guard, struct large_candidate *one) {
    const int64_t least = (int64_t)LARGE_MIB << 20;

    if (!may_be_found(l, one))
        return true;
    if (!read_name(guard, one) || !read_counts(guard, one))
        return false;
    add_up(&one->is, l->page_size);
    if (!explain_merges_little(&one->is, l->page_size) || is_found(&l->found, &one->is))
        return true;
    if (!read_age(guard, one) || !read_smaps(guard, one))
        return false;
    add_up(&one->is, l->page_size);
    if (one->fd[LARGE_SMAPS] != -ESRCH && one->is.memory >= least &&
        explain_merges_little(&one->is, l->page_size))
        add(&l->found, &one->is);
    return true;
}

/* ---- whether pages change ---- */

/* Of a page that is there, in memory and anonymous (Documentation/admin-guide/mm/pagemap.rst). */
static bool is_there(uint64_t entry) {
    return entry >> 61 == 4; /* present, not swapped, not a file's */
}

static uint64_t hash(const uint64_t *words, size_t count) {
    uint64_t sum = UINT64_C(14695981039346656037);

    for (size_t i = 0; i < count; i++)
        sum = (sum ^ words[i]) * UINT64_C(1099511628211), sum ^= sum >> 29;
    return sum | 1;
}

/* 0 if it cannot be read now; -1: taken over. */
static int read_page(const struct large *l, struct ksm_guard *guard,
                     const struct large_candidate *one, int number, uint64_t *sum) {
    uint64_t page[65536 / sizeof(uint64_t)], entry = 0;
    const size_t size = (size_t)l->page_size;
    const uint64_t pages = (one->mappings.end - one->mappings.start) / size;
    const uint64_t at = one->mappings.start + pages * (uint64_t)number / LARGE_PAGES * size;
    ssize_t n = read_watched(guard, one->is.pid, one->fd[LARGE_PAGEMAP],
                             (int64_t)(at / size * sizeof(entry)), &entry, sizeof(entry));

    *sum = 0;
    if (n == sizeof(entry) && is_there(entry) && size <= sizeof(page))
        n = read_watched(guard, one->is.pid, one->fd[LARGE_MEM], (int64_t)at, page, size);
    if (n == (ssize_t)size)
        *sum = hash(page, size / sizeof(uint64_t));
    return n == -ECANCELED ? -1 : 0;
}

static bool read_pages(struct large *l, struct ksm_guard *guard, struct large_candidate *one) {
    if (!one->unclear)
        return true;
    for (int i = 0; i < LARGE_PAGES; i++)
        if (read_page(l, guard, one, i, &one->hashes[i]) < 0)
            return false;
    return true;
}

static bool read_pages_again(struct large *l, struct ksm_guard *guard,
                             struct large_candidate *one) {
    enum { ENOUGH = 16 };
    int changed = 0, same = 0;

    if (!one->unclear)
        return true;
    for (int i = 0; i < LARGE_PAGES; i++) {
        uint64_t now = 0;
        if (one->hashes[i] != 0 && read_page(l, guard, one, i, &now) < 0)
            return false;
        changed += now != 0 && now != one->hashes[i];
        same += now != 0 && now == one->hashes[i];
    }
    if (changed + same >= ENOUGH)
        one->is.changed = changed * 100 / (changed + same);
    return true;
}

/* ---- threads ---- */

static void *work(void *data) {
    struct large_thread *thread = data;
    struct large *l = thread->large;

    for (; l->at < l->count; l->at++)
        if (!l->step(l, &thread->guard, &l->list[l->at]))
            break;
    atomic_store(&thread->ended, true);
    return NULL;
}

/* NULL: there is none any more. */
static struct large_thread *begin(struct large *l) {
    for (int i = 0; i <= LARGE_ASIDE; i++) {
        struct large_thread *thread = &l->threads[i];
        if (thread->used)
            continue;
        memset(thread, 0, sizeof(*thread));
        thread->large = l;
        thread->used = pthread_create(&thread->id, NULL, work, thread) == 0;
        return thread->used ? thread : NULL;
    }
    return NULL;
}

/* Who keeps a reader waiting is large by its counts, and comes on the list for that. */
static void set_aside(struct large *l) {
    struct large_candidate *one = &l->list[l->at++];

    one->is.waits = true;
    one->unclear = false;
    one->fd[LARGE_DIR] = -ESRCH; /* it is the thread's */
    add_up(&one->is, l->page_size);
    if (l->step != open_files && l->step != read_one)
        return;
    if (!*one->is.comm)
        snprintf(one->is.comm, sizeof(one->is.comm), "?");
    add(&l->found, &one->is);
}

/* Does a step with all candidates. A single mapping of small pages takes 22 ms a GiB. */
static void work_through(struct large *l, large_step *step) {
    const int64_t patience = 2000 + (l->count > 0 ? l->list[0].bound >> 30 : 0) * 25;

    l->step = step;
    l->at = 0;
    for (struct large_thread *thread = begin(l); thread;) {
        if (atomic_load(&thread->ended)) {
            pthread_join(thread->id, NULL);
            thread->used = false;
            return;
        }
        if (ksm_guard_take_over(&thread->guard, clock_ms(CLOCK_MONOTONIC) - patience)) {
            set_aside(l);
            thread = begin(l);
        }
        poll(NULL, 0, 1);
    }
}

/* ---- candidates ---- */

/* A field of status, in bytes; 0 if there is none. Names in it have no newlines. */
static int64_t bytes_of(const char *status, const char *key) {
    const char *at = strstr(status, key);
    int64_t kilobytes = 0;

    if (at)
        at += strlen(key);
    if (!at || parse_kilobytes(at, strcspn(at, "\n"), &kilobytes) != 0 ||
        kilobytes > INT64_MAX / 1024 / 8)
        return 0;
    return kilobytes * 1024;
}

/* status takes no lock of the process. RssAnon and the others came with Linux 4.5. */
static void consider(struct large *l, int pid) {
    char path[32], buf[8192];
    struct large_candidate one = {.is = {.pid = pid}, .fd = {-ESRCH, -ESRCH, -ESRCH, -ESRCH}};
    int fd, at = l->count;

    snprintf(path, sizeof(path), "%d/status", pid);
    fd = pseudofs_openat(l->proc, path);
    ssize_t n = fd < 0 ? fd : pseudofs_read_fd(fd, true, buf, sizeof(buf) - 1);
    if (fd >= 0)
        close(fd);
    buf[n > 0 ? n : 0] = '\0';
    one.is.anonymous = bytes_of(buf, "\nRssAnon:\t");
    one.is.shared = bytes_of(buf, "\nRssShmem:\t");
    one.is.hugetlb = bytes_of(buf, "\nHugetlbPages:\t");
    one.is.pinned = bytes_of(buf, "\nVmPin:\t");
    one.locked = bytes_of(buf, "\nVmLck:\t");
    one.is.mergeable = one.is.huge = one.is.device = one.is.merging = one.is.zero = -1;
    one.is.rmap_items = one.is.opted_in = one.is.age = one.is.changed = -1;
    one.bound = one.is.anonymous + one.is.shared + one.is.hugetlb + bytes_of(buf, "\nRssFile:\t");
    if (one.bound < (int64_t)LARGE_MIB << 20)
        return;
    if (at == LARGE_CANDIDATES && l->list[--at].bound >= one.bound)
        return;
    for (; at > 0 && l->list[at - 1].bound < one.bound; at--)
        l->list[at] = l->list[at - 1];
    l->list[at] = one;
    l->count += l->count < LARGE_CANDIDATES;
}

void large_open(struct large *large, const char *root) {
    const struct dirent *entry = NULL;
    DIR *dir = NULL;
    int64_t pid = 0;

    large->page_size = sysconf(_SC_PAGESIZE);
    large->proc = -1;
    if (getauxval(AT_SECURE) != 0 || pseudofs_opendir(root, "proc", &dir) != 0)
        return;
    large->proc = dirfd(dir);
    while (pseudofs_readdir(dir, &entry) == 0 && entry)
        if (parse_number(entry->d_name, strlen(entry->d_name), &pid) == 0 && pid > 0 &&
            pid <= INT_MAX)
            consider(large, (int)pid);
    work_through(large, open_files);
    closedir(dir);
    large->proc = -1;
}

static void look_at_pages(struct large *l, struct explain_facts *facts) {
    bool any = false;

    for (int i = 0; i < l->count; i++)
        for (int k = 0; k < l->found.count; k++)
            if (l->list[i].is.pid == l->found.list[k].pid && l->list[i].mappings.most > 0 &&
                explain_cause_of(facts, &l->found.list[k]) == EXPLAIN_CAUSE_unclear)
                any = l->list[i].unclear = true;
    if (!any)
        return;
    work_through(l, read_pages);
    poll(NULL, 0, 1000);
    work_through(l, read_pages_again);
    for (int i = 0; i < l->count; i++)
        for (int k = 0; k < l->found.count; k++)
            if (l->list[i].is.pid == l->found.list[k].pid)
                l->found.list[k].changed = l->list[i].is.changed;
}

void large_read(struct large *large, struct explain_facts *facts) {
    work_through(large, read_one);
    facts->processes = &large->found;
    look_at_pages(large, facts);
}
