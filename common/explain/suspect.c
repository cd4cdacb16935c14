/* SPDX-License-Identifier: MIT */
#include "explain/suspect.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "consumers/consumer_id.h"
#include "explain/maps.h"
#include "explain/pagemap.h"
#include "system/clock.h"
#include "system/parse.h"
#include "system/pseudofs.h"

/* ---- status and smaps ---- */

/* Bytes of "28008 kB", with any spaces before it; -1 if it is no such number. */
static int64_t bytes_of(const char *text) {
    int64_t kilobytes = 0;

    if (parse_kilobytes(text, strcspn(text, "\n"), &kilobytes) != 0 || kilobytes > INT64_MAX >> 14)
        return -1;
    return kilobytes << 10;
}

/* Of a field of status; 0 if there is none. Its names have no newlines. */
static int64_t field_of(const char *status, const char *key) {
    const char *at = strstr(status, key);
    int64_t bytes = at ? bytes_of(at + strlen(key)) : 0;

    return bytes > 0 ? bytes : 0;
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

void suspect_status(struct suspect *one, int pid, const char *status) {
    static const char name[] = "Name:\t";
    struct explain_process *is = &one->is;

    memset(one, 0, sizeof(*one));
    is->pid = pid;
    if (strncmp(status, name, sizeof(name) - 1) == 0)
        status += sizeof(name) - 1;
    ksm_consumer_name_clean(status, strcspn(status, "\n"), is->comm);
    is->name.kind = KSM_CONSUMER_program;
    strcpy(is->name.text, is->comm);
    is->anonymous = field_of(status, "\nRssAnon:\t");
    is->shared = field_of(status, "\nRssShmem:\t");
    is->hugetlb = field_of(status, "\nHugetlbPages:\t");
    is->memory = is->anonymous + is->shared + is->hugetlb;
    is->pinned = field_of(status, "\nVmPin:\t");
    is->mergeable = is->huge = is->device = is->merging = is->zero = -1;
    is->rmap_items = is->opted_in = is->age = is->changed = -1;
    one->locked = field_of(status, "\nVmLck:\t");
    one->file = field_of(status, "\nRssFile:\t");
    one->bound = is->memory + one->file;
}

/* ---- reading, watched ---- */

/* As pread(), or read() without an offset (-1); -ECANCELED: abandoned, and fd closed. */
static ssize_t read_watched(struct blocking_call *guard, int pid, int fd, int64_t offset, void *buf,
                            size_t size) {
    if (fd < 0)
        return fd;
    if (offset >= 0)
        return blocking_pread(guard, pid, fd, buf, size, offset);
    if (!blocking_call_begin(guard, pid, fd))
        return -EINTR;
    ssize_t n = read(fd, buf, size);
    return blocking_call_end(guard, n < 0 ? -errno : n);
}

/* A descriptor or -errno; -ECANCELED as above. */
static int open_watched(struct blocking_call *guard, int pid, int dir, const char *name) {
    return dir < 0 ? dir : blocking_openat(guard, pid, dir, name);
}

bool suspect_open(struct suspect *one, struct blocking_call *guard, int proc) {
    static const char *const names[SUSPECT_FILES] = {NULL, "maps", "smaps", "pagemap", "mem"};
    char dir[16];

    snprintf(dir, sizeof(dir), "%d", one->is.pid);
    for (enum suspect_file i = 0; i < SUSPECT_FILES; i++) {
        int fd = i == SUSPECT_DIR
                     ? open_watched(guard, one->is.pid, proc, dir)
                     : open_watched(guard, one->is.pid, one->fd[SUSPECT_DIR], names[i]);
        if (fd == -ECANCELED)
            return false;
        one->fd[i] = fd;
    }
    return true;
}

/* A small file, with a NUL after its bytes. Sets *len to how many there are, or what fits of them;
 * */
static bool read_text(struct suspect *one, struct blocking_call *guard, const char *name, char *buf,
                      size_t size, size_t *len) {
    int pid = one->is.pid, fd = open_watched(guard, pid, one->fd[SUSPECT_DIR], name);
    ssize_t n = fd;

    *len = 0;
    while (fd >= 0 && *len < size - 1 &&
           (n = read_watched(guard, pid, fd, -1, buf + *len, size - 1 - *len)) > 0)
        *len += (size_t)n;
    buf[*len] = '\0';
    if (n == -ECANCELED)
        return false;
    if (fd >= 0)
        close(fd);
    one->is.denied = one->is.denied || n == -EACCES || n == -EPERM;
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

static bool read_name(struct suspect *one, struct blocking_call *guard) {
    char comm[80], cgroup[8192], cmdline[8192];
    struct ksm_identity of = {.cgroup = cgroup, .cmdline = cmdline, .comm = comm};

    if (!read_text(one, guard, "comm", comm, sizeof(comm), &of.comm_len) ||
        !read_text(one, guard, "cgroup", cgroup, sizeof(cgroup), &of.cgroup_len) ||
        !read_text(one, guard, "cmdline", cmdline, sizeof(cmdline), &of.cmdline_len))
        return false;
    if (of.comm_len == 0) /* it has ended */
        one->is.anonymous = one->is.shared = one->is.hugetlb = 0;
    ksm_consumer_name_clean(comm, of.comm_len > 0 ? of.comm_len - 1 : 0, one->is.comm);
    ksm_consumer_identify(&of, &one->is.name);
    one->is.program = program_of(comm);
    return true;
}

static void add_up(struct explain_process *is, int64_t page_size) {
    is->memory = is->anonymous + is->shared + is->hugetlb + (is->device > 0 ? is->device : 0) +
                 (is->zero > 0 ? is->zero * page_size : 0);
}

bool suspect_counts(struct suspect *one, struct blocking_call *guard, int64_t page_size) {
    struct explain_process *is = &one->is;
    char stat[1024], merging[64];
    size_t len = 0;

    if (!read_name(one, guard) || !read_text(one, guard, "ksm_stat", stat, sizeof(stat), &len) ||
        !read_text(one, guard, "ksm_merging_pages", merging, sizeof(merging), &len))
        return false;
    parse_number(merging, len, &is->merging);
    is->zero = count_of(stat, "ksm_zero_pages");
    is->rmap_items = count_of(stat, "ksm_rmap_items");
    if (strstr(stat, "ksm_mergeable:"))
        is->opted_in = strstr(stat, "ksm_mergeable: yes") != NULL;
    one->merges_any = strstr(stat, "ksm_merge_any: yes") != NULL;
    add_up(is, page_size);
    return true;
}

static bool read_age(struct suspect *one, struct blocking_call *guard) {
    const int64_t ticks = sysconf(_SC_CLK_TCK);
    char buf[1024];
    size_t len = 0;
    struct parse_stat stat;

    if (!read_text(one, guard, "stat", buf, sizeof(buf), &len))
        return false;
    if (parse_stat(buf, len, &stat) == 0 && stat.started > 0 && stat.started < INT64_MAX / 1000)
        one->is.age = clock_ms(CLOCK_BOOTTIME) - stat.started * 1000 / ticks;
    return true;
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

/* Ends a reading. Returns false if the thread was abandoned; then fd is closed. */
static bool end_reading(struct suspect *one, int fd, int status) {
    one->is.denied = one->is.denied || status == -EACCES || status == -EPERM;
    if (status == -ECANCELED)
        close(fd);
    return status != -ECANCELED;
}

/* ---- by smaps ---- */

/* A buffer that is smaller than a mapping's text gets one mapping at a time: seq_read_iter() of
 * fs/seq_file.c goes on to the next one, and keeps the lock, only while there is room. */
static bool read_smaps(struct suspect *one, struct blocking_call *guard) {
    enum {
        LINE = 32768,
        ROOM = 256
    }; /* LINE: a path of newlines fits, each of which is \012 there */
    struct explain_process *is = &one->is;
    struct suspect_mappings *sum = &one->mappings;
    char buf[LINE];
    size_t len = 0;
    ssize_t n = 0;

    while (len < LINE && (n = read_watched(guard, is->pid, one->fd[SUSPECT_SMAPS], -1, buf + len,
                                           LINE - len < ROOM ? LINE - len : ROOM)) > 0) {
        len += (size_t)n;
        take_lines(sum, buf, &len);
    }
    if (n < 0)
        return n == -ECANCELED ? false : end_reading(one, -1, (int)n);
    is->anonymous = sum->anonymous;
    is->device = sum->device;
    is->mergeable = sum->mergeable;
    is->huge = sum->huge;
    is->pinned += one->locked > sum->locked ? one->locked - sum->locked : 0;
    return true;
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
static bool count_mappings(struct suspect *one, struct maps *maps) {
    enum { MAX_MS = 1000 };
    const int64_t deadline = clock_ms(CLOCK_MONOTONIC) + MAX_MS;
    struct explain_process *is = &one->is;
    struct pagemap pagemap;
    struct mapping mapping;
    bool has_vfio = false;
    int status = pagemap_init(&pagemap, maps->call, maps->pid, one->fd[SUSPECT_PAGEMAP]), next = 0;

    maps_rewind(maps);
    while (status == 0 && (next = maps_next(maps, &mapping)) > 0) {
        has_vfio = has_vfio || is_vfio(&mapping);
        status = add_mapping(one, &pagemap, &mapping, deadline);
    }
    if (one->merges_any)
        is->mergeable = is->anonymous;
    else if (is->opted_in == 0)
        is->mergeable = 0;
    if (next < 0 || (status < 0 && status != -ETIME))
        return next < 0 ? end_reading(one, maps->fd, next) : end_reading(one, pagemap.fd, status);
    is->device = one->mappings.device < one->file ? one->mappings.device : one->file;
    is->huge = pagemap.has_scan && status == 0 ? one->mappings.huge : -1;
    is->pinned += has_vfio ? one->locked : 0;
    return true;
}

/* Returns 1 if a mapping is so large that walking it would stall the process, 0 if none is, or
 * -errno. Between this and reading smaps a mapping may grow. */
static int has_large_mapping(struct maps *maps, int64_t page_size) {
    struct mapping mapping;
    int status;

    while ((status = maps_next(maps, &mapping)) > 0)
        if (mapping.end - mapping.start > PAGEMAP_ENTRIES * (uint64_t)page_size)
            return 1;
    return status;
}

bool suspect_mappings(struct suspect *one, struct blocking_call *guard, int64_t page_size) {
    struct maps maps = {.call = guard, .pid = one->is.pid, .fd = one->fd[SUSPECT_MAPS]};

    if (!read_age(one, guard))
        return false;
    const int status = maps.fd < 0 ? maps.fd : has_large_mapping(&maps, page_size);
    if (status < 0)
        return end_reading(one, maps.fd, status);
    if (status > 0 ? !count_mappings(one, &maps) : !read_smaps(one, guard))
        return false;
    add_up(&one->is, page_size);
    return true;
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

/* One of SUSPECT_PAGES, in equal steps: its hash, 0 if it cannot be read. */
static bool read_page(const struct suspect *one, struct blocking_call *guard, uint64_t number,
                      size_t size, uint64_t *sum) {
    const uint64_t pages = (one->mappings.end - one->mappings.start) / size;
    const uint64_t at = one->mappings.start + pages * number / SUSPECT_PAGES * size;
    uint64_t page[65536 / sizeof(uint64_t)], entry = 0;
    ssize_t n = read_watched(guard, one->is.pid, one->fd[SUSPECT_PAGEMAP],
                             (int64_t)(at / size * sizeof(entry)), &entry, sizeof(entry));

    if (n == sizeof(entry) && pagemap_is_anonymous(entry) && size <= sizeof(page))
        n = read_watched(guard, one->is.pid, one->fd[SUSPECT_MEM], (int64_t)at, page, size);
    *sum = n == (ssize_t)size ? hash(page, size / sizeof(uint64_t)) : 0;
    return n != -ECANCELED;
}

bool suspect_pages(struct suspect *one, struct blocking_call *guard, int64_t page_size) {
    for (uint64_t i = 0; i < SUSPECT_PAGES; i++)
        if (!read_page(one, guard, i, (size_t)page_size, &one->hashes[i]))
            return false;
    return true;
}

bool suspect_pages_again(struct suspect *one, struct blocking_call *guard, int64_t page_size) {
    enum { ENOUGH = 16 };
    int changed = 0, same = 0;

    for (uint64_t i = 0; i < SUSPECT_PAGES; i++) {
        uint64_t now = 0;
        if (one->hashes[i] != 0 && !read_page(one, guard, i, (size_t)page_size, &now))
            return false;
        changed += now != 0 && now != one->hashes[i];
        same += now != 0 && now == one->hashes[i];
    }
    if (changed + same >= ENOUGH)
        one->is.changed = changed * 100 / (changed + same);
    return true;
}
