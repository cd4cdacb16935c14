/* SPDX-License-Identifier: MIT */
#include "explain/suspect.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "explain/maps.h"
#include "explain/pagemap.h"
#include "system/clock.h"
#include "system/parse.h"

/* ---- a line of smaps ---- */

/* Bytes of "28008 kB", with any spaces before it; -1 if it is no such number. */
static int64_t bytes_of(const char *text) {
    int64_t kilobytes = 0;

    if (parse_kilobytes(text, strcspn(text, "\n"), &kilobytes) != 0 || kilobytes > INT64_MAX >> 14)
        return -1;
    return kilobytes << 10;
}

static bool has_flag(const char *flags, const char *flag) {
    const char *at = strstr(flags, flag);

    return at && at > flags && at[-1] == ' ' && (at[2] == ' ' || at[2] == '\0');
}

static void gain(int64_t *sum, int64_t bytes) {
    if (bytes > 0 && __builtin_add_overflow(*sum, bytes, sum))
        *sum = INT64_MAX;
}

/* The last line of a mapping has its flags (show_smap_vma_flags of fs/proc/task_mmu.c). */
static void end_mapping(struct suspect_mappings *m, const char *flags) {
    bool device = has_flag(flags, "pf") || has_flag(flags, "io") || has_flag(flags, "mm") ||
                  has_flag(flags, "de");

    gain(&m->anonymous, m->own);
    gain(&m->huge, m->thp);
    gain(&m->device, device ? m->rss - m->own : 0);
    gain(&m->locked, has_flag(flags, "lo") ? m->size : 0);
    if (!has_flag(flags, "mg"))
        return;
    gain(&m->mergeable, m->own);
    if (m->own > m->most) {
        m->most = m->own;
        m->start = m->from;
        m->end = m->to;
    }
}

void suspect_take_line(struct suspect_mappings *m, const char *line) {
    const struct {
        const char *key;
        int64_t *value;
    } fields[] = {{"Size:", &m->size},
                  {"Rss:", &m->rss},
                  {"Anonymous:", &m->own},
                  {"AnonHugePages:", &m->thp}};
    char *end = NULL;

    if (*line < 'A' || *line > 'Z') { /* "7f00-7f10 rw-p ...": a new one */
        m->from = strtoull(line, &end, 16);
        m->to = *end == '-' ? strtoull(end + 1, NULL, 16) : m->from;
        m->size = m->rss = m->own = m->thp = 0;
    } else if (strncmp(line, "VmFlags:", 8) == 0) {
        end_mapping(m, line + 8);
    }
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        if (strncmp(line, fields[i].key, strlen(fields[i].key)) == 0)
            *fields[i].value = bytes_of(line + strlen(fields[i].key));
}

/* ---- one process ---- */

void suspect_init(struct suspect *one, int pid, const struct ksm_process_status *status) {
    *one = (struct suspect){.is = {.pid = pid,
                                   .name.kind = KSM_CONSUMER_program,
                                   .memory = status->anonymous + status->shmem + status->hugetlb,
                                   .anonymous = status->anonymous,
                                   .shared = status->shmem,
                                   .hugetlb = status->hugetlb,
                                   .pinned = status->pinned,
                                   .mergeable = -1,
                                   .huge = -1,
                                   .device = -1,
                                   .merging = -1,
                                   .zero = -1,
                                   .rmap_items = -1,
                                   .opted_in = -1,
                                   .age = -1,
                                   .changed = -1},
                            .file = status->file,
                            .locked = status->locked};
    one->bound = one->is.memory + one->file;
    for (enum suspect_file i = 0; i < SUSPECT_FILES; i++)
        one->fd[i] = -EBADF;
}

int suspect_open(struct suspect *one, const struct ksm_process_reader *r) {
    static const char *const names[SUSPECT_FILES] = {"maps", "smaps", "pagemap", "mem"};
    const struct ksm_process process = ksm_process_of(one->is.pid);
    const int64_t started = ksm_process_started(r, &process);
    char path[32];

    if (started == -ECANCELED)
        return -ECANCELED;
    one->started = started;
    for (enum suspect_file i = 0; i < SUSPECT_FILES; i++) {
        snprintf(path, sizeof(path), "%d/%s", process.pid, names[i]);
        int fd = blocking_openat(r->call, process.pid, r->proc, path);
        if (fd == -ECANCELED)
            return -ECANCELED;
        one->fd[i] = fd;
    }
    return 0;
}

/* pread() of a file that is open. */
static ssize_t read_at(const struct suspect *one, struct blocking_call *call,
                       enum suspect_file file, int64_t offset, void *buf, size_t size) {
    const int fd = one->fd[file];

    return fd < 0 ? fd : blocking_pread(call, one->is.pid, fd, buf, size, offset);
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

static void add_up(struct explain_process *is, int64_t page_size) {
    is->memory = is->anonymous + is->shared + is->hugetlb + (is->device > 0 ? is->device : 0) +
                 (is->zero > 0 ? is->zero * page_size : 0);
}

/* Sets name, comm and program. Returns 0 or -errno. */
static int read_names(struct suspect *one, const struct ksm_process_reader *r,
                      const struct ksm_process *process) {
    struct ksm_consumer_name name;
    char comm[80] = "";
    const int status = ksm_process_read_name(r, process, &name);
    const ssize_t len = status == 0 ? ksm_process_read_comm(r, process, comm, sizeof(comm) - 1) : 0;

    if (status != 0 || len < 0)
        return status != 0 ? status : (int)len;
    ksm_consumer_name_clean(comm, len > 0 ? (size_t)len - 1 : 0, one->is.comm);
    one->is.name = name;
    one->is.program = program_of(comm);
    return 0;
}

/* Sets what it merges. Returns 0 or -errno. */
static int read_merging(struct suspect *one, struct ksm_process_reader *r,
                        struct ksm_process *process) {
    int fd = -1, merge_any = -1;
    int status = ksm_process_find_counts(r, process, &fd);

    if (status != 0)
        return status;
    if (process->opted_in == 1)
        status = ksm_process_read_merge_any(r, fd, process, &merge_any);
    if (status == -ECANCELED)
        return status;
    close(fd);
    one->is.merging = process->merging;
    one->is.zero = process->zero;
    one->is.rmap_items = r->source == KSM_PROCESS_STAT ? process->rmap_items : -1;
    one->is.opted_in = process->opted_in;
    one->merges_any = merge_any == 1;
    return 0;
}

static int64_t age_of(const struct suspect *one) {
    const int64_t ticks = sysconf(_SC_CLK_TCK);

    if (one->started <= 0 || one->started >= INT64_MAX / 1000)
        return -1;
    return clock_ms(CLOCK_BOOTTIME) - one->started * 1000 / ticks;
}

static bool is_denied(int status) {
    return status == -EACCES || status == -EPERM;
}

int suspect_counts(struct suspect *one, struct ksm_process_reader *r, int64_t page_size) {
    struct explain_process *is = &one->is;
    struct ksm_process process = ksm_process_of(is->pid);
    int status;

    process.started = one->started;
    status = ksm_process_check(r, &process);
    if (status == 0)
        status = read_names(one, r, &process);
    if (status == -ECANCELED)
        return status;
    if (status != 0) /* it has ended */
        is->anonymous = is->shared = is->hugetlb = 0;
    else
        status = read_merging(one, r, &process);
    if (status == -ECANCELED)
        return status;
    is->denied = is->denied || is_denied(status);
    is->age = age_of(one);
    add_up(is, page_size);
    return 0;
}

static void take_lines(struct suspect_mappings *mappings, char *buf, size_t *len) {
    char *line = buf, *end;

    while ((end = memchr(line, '\n', *len - (size_t)(line - buf))) != NULL) {
        *end = '\0';
        suspect_take_line(mappings, line);
        line = end + 1;
    }
    *len -= (size_t)(line - buf);
    memmove(buf, line, *len);
}

/* Ends the reading of mappings. Returns 0 or -ECANCELED. */
static int end_reading(struct suspect *one, int status) {
    if (status == -ECANCELED)
        return status;
    one->is.denied = one->is.denied || is_denied(status);
    return 0;
}

/* ---- by smaps ---- */

/* A buffer that is smaller than a mapping's text gets one mapping at a time: seq_read_iter() of
 * fs/seq_file.c goes on to the next one, and keeps the lock, only while there is room. */
static int read_smaps(struct suspect *one, struct blocking_call *call) {
    enum {
        LINE = 32768,
        ROOM = 256
    }; /* LINE: a path of newlines fits, each of which is \012 there */
    struct explain_process *is = &one->is;
    struct suspect_mappings *sum = &one->mappings;
    char buf[LINE];
    size_t len = 0;
    int64_t offset = 0;
    ssize_t n = 0;

    while (len < LINE && (n = read_at(one, call, SUSPECT_SMAPS, offset, buf + len,
                                      LINE - len < ROOM ? LINE - len : ROOM)) > 0) {
        offset += n;
        len += (size_t)n;
        take_lines(sum, buf, &len);
    }
    if (n < 0)
        return end_reading(one, (int)n);
    is->anonymous = sum->anonymous;
    is->device = sum->device;
    is->mergeable = sum->mergeable;
    is->huge = sum->huge;
    is->pinned += one->locked > sum->locked ? one->locked - sum->locked : 0;
    return 0;
}

/* ---- by maps and pagemap ---- */

/* Whether its pages are a driver's: vm_insert_page() maps them as pages of a file. */
static bool is_device(const struct mapping *mapping) {
    const char *name = mapping->name;

    return strncmp(name, "socket:[", 8) == 0 || strncmp(name, "anon_inode:", 11) == 0 ||
           (strncmp(name, "/dev/", 5) == 0 && strncmp(name, "/dev/shm/", 9) != 0 &&
            strncmp(name, "/dev/zero", 9) != 0);
}

/* A guest with a device of VFIO maps its registers. What VFIO pins counts as locked. */
static bool is_vfio(const struct mapping *mapping) {
    return strncmp(mapping->name, "anon_inode:[vfio-device]", 24) == 0 ||
           strncmp(mapping->name, "/dev/vfio/", 10) == 0;
}

/* Adds up the pages of a kind in a mapping. Returns 0; -ETIME if that takes until the deadline, ms
 * of CLOCK_MONOTONIC; or another -errno. */
static int count_pages(struct pagemap *pagemap, enum pagemap_kind kind,
                       const struct mapping *mapping, int64_t deadline, int64_t *bytes,
                       int64_t *huge) {
    struct pagemap_range ranges[PAGEMAP_RANGES];

    for (uint64_t address = mapping->start; address < mapping->end;) {
        if (clock_ms(CLOCK_MONOTONIC) >= deadline)
            return -ETIME;
        const int found = pagemap_find(pagemap, kind, &address, mapping->end, ranges);
        if (found < 0)
            return found;
        for (int i = 0; i < found; i++) {
            const int64_t size = (int64_t)(ranges[i].end - ranges[i].start);
            *bytes += size;
            *huge += ranges[i].categories & PAGEMAP_HUGE ? size : 0;
        }
    }
    return 0;
}

static int add_mapping(struct suspect *one, struct pagemap *pagemap, const struct mapping *mapping,
                       int64_t deadline) {
    struct suspect_mappings *sum = &one->mappings;
    int64_t own = 0;

    if (is_device(mapping))
        return count_pages(pagemap, PAGEMAP_FILE, mapping, deadline, &sum->device, &own);
    if (!mapping->is_private)
        return 0;
    const int status = count_pages(pagemap, PAGEMAP_ANONYMOUS, mapping, deadline, &own, &sum->huge);
    if (own > sum->most) {
        sum->most = own;
        sum->start = mapping->start;
        sum->end = mapping->end;
    }
    return status;
}

/* Sets what smaps is not needed for. Counting takes 1 s at most; then huge is not known. */
static int count_mappings(struct suspect *one, struct line_reader *maps) {
    enum { MAX_MS = 1000 };
    const int64_t deadline = clock_ms(CLOCK_MONOTONIC) + MAX_MS;
    struct explain_process *is = &one->is;
    struct pagemap pagemap;
    struct mapping mapping;
    bool has_vfio = false;
    int status = pagemap_init(&pagemap, maps->call, maps->pid, one->fd[SUSPECT_PAGEMAP]), next = 0;

    line_reader_rewind(maps);
    while (status == 0 && (next = maps_next(maps, &mapping)) > 0) {
        has_vfio = has_vfio || is_vfio(&mapping);
        status = add_mapping(one, &pagemap, &mapping, deadline);
    }
    if (one->merges_any)
        is->mergeable = is->anonymous;
    else if (is->opted_in == 0)
        is->mergeable = 0;
    if (status == -ECANCELED)
        close(pagemap.fd);
    if (next < 0 || (status < 0 && status != -ETIME))
        return end_reading(one, next < 0 ? next : status);
    is->device = one->mappings.device < one->file ? one->mappings.device : one->file;
    is->huge = pagemap.has_scan && status == 0 ? one->mappings.huge : -1;
    is->pinned += has_vfio ? one->locked : 0;
    return 0;
}

/* Returns 1 if a mapping is so large that walking it would stall the process, 0 if none is, or
 * -errno. Between this and reading smaps a mapping may grow. */
static int has_large_mapping(struct line_reader *maps, int64_t page_size) {
    struct mapping mapping;
    int status;

    while ((status = maps_next(maps, &mapping)) > 0)
        if (mapping.end - mapping.start > PAGEMAP_ENTRIES * (uint64_t)page_size)
            return 1;
    return status;
}

int suspect_mappings(struct suspect *one, struct blocking_call *call, int64_t page_size) {
    struct line_reader maps = {.call = call, .pid = one->is.pid, .fd = one->fd[SUSPECT_MAPS]};
    int status = maps.fd < 0 ? maps.fd : has_large_mapping(&maps, page_size);

    if (status < 0)
        return end_reading(one, status);
    status = status > 0 ? count_mappings(one, &maps) : read_smaps(one, call);
    if (status == 0)
        add_up(&one->is, page_size);
    return status;
}

/* ---- whether pages change ---- */

static uint64_t hash(const uint64_t *words, size_t count) {
    uint64_t sum = UINT64_C(14695981039346656037);

    for (size_t i = 0; i < count; i++) {
        sum = (sum ^ words[i]) * UINT64_C(1099511628211);
        sum ^= sum >> 29;
    }
    return sum | 1;
}

/* One of SUSPECT_PAGES, in equal steps. Sets sum to its hash, 0 if it cannot be read. */
static int read_page(const struct suspect *one, struct blocking_call *call, uint64_t number,
                     size_t size, uint64_t *sum) {
    const uint64_t pages = (one->mappings.end - one->mappings.start) / size;
    const uint64_t at = one->mappings.start + pages * number / SUSPECT_PAGES * size;
    uint64_t page[65536 / sizeof(uint64_t)], entry = 0;
    ssize_t n = read_at(one, call, SUSPECT_PAGEMAP, (int64_t)(at / size * sizeof(entry)), &entry,
                        sizeof(entry));

    if (n == sizeof(entry) && pagemap_is_anonymous(entry) && size <= sizeof(page))
        n = read_at(one, call, SUSPECT_MEM, (int64_t)at, page, size);
    *sum = n == (ssize_t)size ? hash(page, size / sizeof(uint64_t)) : 0;
    return n == -ECANCELED ? -ECANCELED : 0;
}

int suspect_pages(struct suspect *one, struct blocking_call *call, int64_t page_size) {
    for (uint64_t i = 0; i < SUSPECT_PAGES; i++) {
        uint64_t sum = 0;
        if (read_page(one, call, i, (size_t)page_size, &sum) != 0)
            return -ECANCELED;
        one->hashes[i] = sum;
    }
    return 0;
}

int suspect_pages_again(struct suspect *one, struct blocking_call *call, int64_t page_size) {
    enum { ENOUGH = 16 };
    int changed = 0, same = 0;

    for (uint64_t i = 0; i < SUSPECT_PAGES; i++) {
        uint64_t now = 0;
        if (one->hashes[i] != 0 && read_page(one, call, i, (size_t)page_size, &now) != 0)
            return -ECANCELED;
        changed += now != 0 && now != one->hashes[i];
        same += now != 0 && now == one->hashes[i];
    }
    if (changed + same >= ENOUGH)
        one->is.changed = changed * 100 / (changed + same);
    return 0;
}
