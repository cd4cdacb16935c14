/* SPDX-License-Identifier: MIT */
#include "explain/suspect.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#define XXH_INLINE_ALL /* only its header is needed: the program does not link libxxhash */
#include <xxhash.h>

#include "explain/maps.h"
#include "explain/pagemap.h"
#include "system/clock.h"
#include "system/parse.h"

/* ---- a line of smaps ---- */

/* Returns the bytes of "  28008 kB", or -1. */
static int64_t bytes_of(const char *text) {
    int64_t bytes = -1;

    parse_bytes(text, strlen(text), &bytes);
    return bytes;
}

static bool has_flag(const char *flags, const char *flag) {
    const char *found = strstr(flags, flag);

    return found && found > flags && found[-1] == ' ' && (found[2] == ' ' || found[2] == '\0');
}

static void add_bytes(int64_t *sum, int64_t bytes) {
    if (bytes > 0 && __builtin_add_overflow(*sum, bytes, sum))
        *sum = INT64_MAX;
}

/* The last line of a mapping has its flags (show_smap_vma_flags of fs/proc/task_mmu.c). */
static void end_mapping(struct suspect_mappings *m, const char *flags) {
    const struct suspect_mapping *mapping = &m->current;
    const bool is_device = has_flag(flags, "pf") || has_flag(flags, "io") ||
                           has_flag(flags, "mm") || has_flag(flags, "de");

    add_bytes(&m->anonymous, mapping->anonymous);
    add_bytes(&m->huge, mapping->huge);
    if (is_device)
        add_bytes(&m->device, mapping->rss - mapping->anonymous);
    if (has_flag(flags, "lo"))
        add_bytes(&m->locked, mapping->size);
    if (!has_flag(flags, "mg"))
        return;
    add_bytes(&m->mergeable, mapping->anonymous);
    if (mapping->anonymous > m->largest.anonymous)
        m->largest = *mapping;
}

void suspect_take_line(struct suspect_mappings *m, const char *line) {
    struct suspect_mapping *mapping = &m->current;
    const struct {
        const char *key;
        int64_t *value;
    } fields[] = {{"Size:", &mapping->size},
                  {"Rss:", &mapping->rss},
                  {"Anonymous:", &mapping->anonymous},
                  {"AnonHugePages:", &mapping->huge}};
    char *end = NULL;

    if (*line < 'A' || *line > 'Z') { /* "7f00-7f10 rw-p ...": a new mapping */
        *mapping = (struct suspect_mapping){.start = strtoull(line, &end, 16)};
        mapping->end = *end == '-' ? strtoull(end + 1, NULL, 16) : mapping->start;
    }
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        const char *value = line_value(line, fields[i].key);
        if (value)
            *fields[i].value = bytes_of(value);
    }
    const char *flags = line_value(line, "VmFlags:");
    if (flags)
        end_mapping(m, flags);
}

/* ---- one process ---- */

void suspect_init(struct suspect *suspect, int pid, const struct ksm_process_status *status) {
    *suspect =
        (struct suspect){.facts = {.pid = pid,
                                   .name.kind = KSM_CONSUMER_program,
                                   .memory = status->anonymous + status->shmem + status->hugetlb,
                                   .anonymous = status->anonymous,
                                   .shmem = status->shmem,
                                   .file = status->file,
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
                         .locked = status->locked};
    suspect->bound = suspect->facts.memory + suspect->facts.file;
    for (enum suspect_file i = 0; i < SUSPECT_FILES; i++)
        suspect->fd[i] = -EBADF;
}

int suspect_open(struct suspect *suspect, const struct ksm_process_reader *r) {
    static const char *const names[SUSPECT_FILES] = {"maps", "smaps", "pagemap", "mem"};
    const struct ksm_process process = ksm_process_with_pid(suspect->facts.pid);
    char path[32];

    if (ksm_process_read_started(r, &process, &suspect->started) == -ECANCELED)
        return -ECANCELED;
    for (enum suspect_file i = 0; i < SUSPECT_FILES; i++) {
        snprintf(path, sizeof(path), "%d/%s", process.pid, names[i]);
        int fd = blocking_openat(r->call, process.pid, r->proc, path);
        if (fd == -ECANCELED)
            return -ECANCELED;
        suspect->fd[i] = fd;
    }
    return 0;
}

static bool has_prefix(const char *text, const char *prefix) {
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* The shims of other runtimes have the same comm as that of Kata Containers, which is a machine. */
static enum explain_program program_of(const char *comm, enum ksm_consumer_kind kind) {
    static const struct {
        const char *prefix; /* of comm, of which the kernel keeps 15 bytes */
        enum explain_program program;
    } programs[] = {
        {"qemu", EXPLAIN_QEMU},
        {"kvm", EXPLAIN_QEMU},
        {"cloud-hyperviso", EXPLAIN_CLOUD_HYPERVISOR},
        {"firecracker", EXPLAIN_FIRECRACKER},
        {"crosvm", EXPLAIN_CROSVM},
        {"containerd-shim", EXPLAIN_DRAGONBALL},
    };

    for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++)
        if (has_prefix(comm, programs[i].prefix) &&
            (programs[i].program != EXPLAIN_DRAGONBALL || kind == KSM_CONSUMER_vm))
            return programs[i].program;
    return EXPLAIN_OTHER;
}

static void sum_memory(struct explain_process *facts, int64_t page_size) {
    facts->memory = facts->anonymous + facts->shmem + facts->hugetlb;
    if (facts->device > 0)
        facts->memory += facts->device;
    if (facts->zero > 0)
        facts->memory += facts->zero * page_size;
}

/* Sets name, comm and program. Returns 0 or -errno. */
static int read_names(struct suspect *suspect, const struct ksm_process_reader *r,
                      const struct ksm_process *process) {
    struct ksm_consumer_name name;
    char comm[80] = "";
    const int status = ksm_process_read_name(r, process, &name);

    if (status != 0)
        return status;
    const ssize_t len = ksm_process_read_comm(r, process, comm, sizeof(comm) - 1);
    if (len < 0)
        return (int)len;
    ksm_consumer_name_clean(comm, len > 0 ? (size_t)len - 1 : 0, suspect->facts.comm);
    suspect->facts.name = name;
    suspect->facts.program = program_of(comm, name.kind);
    return 0;
}

/* Sets the counts of ksm_stat. Returns 0 or -errno. */
static int read_merging(struct suspect *suspect, struct ksm_process_reader *r,
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
    suspect->facts.merging = process->merging;
    suspect->facts.zero = process->zero;
    suspect->facts.rmap_items = r->source == KSM_PROCESS_STAT ? process->rmap_items : -1;
    suspect->facts.opted_in = process->opted_in;
    suspect->merges_any = merge_any == 1;
    return 0;
}

static int64_t age_of(const struct suspect *suspect) {
    const int64_t ticks = sysconf(_SC_CLK_TCK);

    if (suspect->started <= 0 || suspect->started >= INT64_MAX / 1000)
        return -1;
    return clock_ms(CLOCK_BOOTTIME) - suspect->started * 1000 / ticks;
}

/* Notes why reading ended. Returns 0, or -ECANCELED if that is the reason. */
static int end_reading(struct suspect *suspect, int status) {
    if (status == -ECANCELED)
        return status;
    if (status == -EACCES || status == -EPERM)
        suspect->facts.denied = true;
    return 0;
}

int suspect_read_counts(struct suspect *suspect, struct ksm_process_reader *r, int64_t page_size) {
    struct explain_process *facts = &suspect->facts;
    struct ksm_process process = ksm_process_with_pid(facts->pid);
    int status;

    process.started = suspect->started;
    status = ksm_process_check(r, &process);
    if (status == 0)
        status = read_names(suspect, r, &process);
    if (status == -ECANCELED)
        return status;
    if (status == 0) {
        status = read_merging(suspect, r, &process);
    } else { /* it has exited, or cannot be named: do not list it */
        facts->anonymous = 0;
        facts->shmem = 0;
        facts->hugetlb = 0;
    }
    if (end_reading(suspect, status) != 0)
        return -ECANCELED;
    facts->age = age_of(suspect);
    sum_memory(facts, page_size);
    return 0;
}

/* ---- by smaps ---- */

/* With a buffer that is smaller than the text of a mapping, each read() returns one mapping at
 * most: seq_read_iter() of fs/seq_file.c adds the next one, and keeps the lock, only if there is
 * room. */
static int read_smaps(struct suspect *suspect, struct blocking_call *call) {
    enum { READ_SIZE = 256 };
    struct line_reader smaps = {.call = call,
                                .pid = suspect->facts.pid,
                                .fd = suspect->fd[SUSPECT_SMAPS],
                                .read_size = READ_SIZE};
    struct explain_process *facts = &suspect->facts;
    struct suspect_mappings *sum = &suspect->mappings;
    char line[READ_SIZE];
    int status = smaps.fd < 0 ? smaps.fd : 1;

    while (status > 0) {
        status = line_reader_next(&smaps, line, sizeof(line));
        if (status > 0)
            suspect_take_line(sum, line);
    }
    if (status < 0)
        return end_reading(suspect, status);
    facts->anonymous = sum->anonymous;
    facts->device = sum->device;
    facts->mergeable = sum->mergeable;
    facts->huge = sum->huge;
    if (suspect->locked > sum->locked)
        facts->pinned += suspect->locked - sum->locked;
    return 0;
}

/* ---- by maps and pagemap ---- */

/* Returns whether its pages belong to a driver: vm_insert_page() maps them as pages of a file. */
static bool is_device(const struct mapping *mapping) {
    const char *name = mapping->name;

    return has_prefix(name, "socket:[") || has_prefix(name, "anon_inode:") ||
           (has_prefix(name, "/dev/") && !has_prefix(name, "/dev/shm/") &&
            !has_prefix(name, "/dev/zero"));
}

/* A guest with a VFIO device maps its registers. The kernel counts the memory that VFIO pins in
 * VmLck. */
static bool is_vfio(const struct mapping *mapping) {
    return has_prefix(mapping->name, "anon_inode:[vfio-device]") ||
           has_prefix(mapping->name, "/dev/vfio/");
}

/* Adds up the pages of a kind in a mapping, and those in huge pages (huge may be NULL). Returns 0;
 * -ETIME at the deadline, in ms of CLOCK_MONOTONIC; or another -errno. */
static int count_pages(struct pagemap *pagemap, enum pagemap_kind kind,
                       const struct mapping *mapping, int64_t deadline, int64_t *bytes,
                       int64_t *huge) {
    struct pagemap_range ranges[PAGEMAP_RANGES] = {{0}};

    for (uint64_t address = mapping->start; address < mapping->end;) {
        if (clock_ms(CLOCK_MONOTONIC) >= deadline)
            return -ETIME;
        const int found = pagemap_find(pagemap, kind, &address, mapping->end, ranges);
        if (found < 0)
            return found;
        for (int i = 0; i < found; i++) {
            const int64_t size = (int64_t)(ranges[i].end - ranges[i].start);
            *bytes += size;
            if (huge && (ranges[i].categories & PAGEMAP_HUGE))
                *huge += size;
        }
    }
    return 0;
}

/* Returns as count_pages(). */
static int add_mapping(struct suspect_mappings *sum, struct pagemap *pagemap,
                       const struct mapping *mapping, int64_t deadline) {
    struct suspect_mapping current = {.start = mapping->start, .end = mapping->end};

    if (is_device(mapping))
        return count_pages(pagemap, PAGEMAP_FILE, mapping, deadline, &sum->device, NULL);
    if (!mapping->may_merge)
        return 0;
    const int status =
        count_pages(pagemap, PAGEMAP_ANONYMOUS, mapping, deadline, &current.anonymous, &sum->huge);
    if (status != -ECANCELED && current.anonymous > sum->largest.anonymous)
        sum->largest = current;
    return status;
}

/* Sets the facts that do not require smaps. Counting is limited to 1 s; if that is not enough, huge
 * is not known. */
static int count_mappings(struct suspect *suspect, struct line_reader *maps) {
    const int64_t deadline = clock_ms(CLOCK_MONOTONIC) + 1000;
    struct explain_process *facts = &suspect->facts;
    struct suspect_mappings *sum = &suspect->mappings;
    struct pagemap pagemap;
    struct mapping mapping;
    bool has_vfio = false;
    int next = 1;
    int status = pagemap_init(&pagemap, maps->call, maps->pid, suspect->fd[SUSPECT_PAGEMAP]);

    line_reader_rewind(maps);
    while (status == 0 && next > 0) {
        next = maps_next(maps, &mapping);
        if (next > 0) {
            has_vfio = has_vfio || is_vfio(&mapping);
            status = add_mapping(sum, &pagemap, &mapping, deadline);
        }
    }
    if (status == -ECANCELED)
        close(pagemap.fd);
    if (status == -ECANCELED || next == -ECANCELED)
        return -ECANCELED;
    if (suspect->merges_any)
        facts->mergeable = facts->anonymous;
    else if (facts->opted_in == 0)
        facts->mergeable = 0;
    if (next < 0 || (status < 0 && status != -ETIME))
        return end_reading(suspect, next < 0 ? next : status);
    facts->device = sum->device < facts->file ? sum->device : facts->file;
    if (pagemap.has_scan && status == 0)
        facts->huge = sum->huge;
    if (has_vfio)
        facts->pinned += suspect->locked;
    return 0;
}

/* Returns 1 if a mapping is so large that walking it would stall the process, 0 if none is, or
 * -errno. A mapping may grow before smaps is read. */
static int find_large_mapping(struct line_reader *maps, int64_t page_size) {
    const uint64_t max = PAGEMAP_ENTRIES * (uint64_t)page_size;
    struct mapping mapping = {.start = 0};
    int next = 1;

    while (next > 0 && mapping.end - mapping.start <= max)
        next = maps_next(maps, &mapping);
    return next;
}

int suspect_read_mappings(struct suspect *suspect, struct blocking_call *call, int64_t page_size) {
    struct line_reader maps = {
        .call = call, .pid = suspect->facts.pid, .fd = suspect->fd[SUSPECT_MAPS]};
    int status = maps.fd < 0 ? maps.fd : find_large_mapping(&maps, page_size);

    if (status < 0)
        return end_reading(suspect, status);
    status = status > 0 ? count_mappings(suspect, &maps) : read_smaps(suspect, call);
    if (status == 0)
        sum_memory(&suspect->facts, page_size);
    return status;
}

/* ---- whether pages change ---- */

/* Reads page number index of SUSPECT_PAGES, which are evenly spaced. Sets *sum to the hash of its
 * contents, 0 if it cannot be read. Returns 0 or -ECANCELED. */
static int read_page(const struct suspect *suspect, struct blocking_call *call, uint64_t index,
                     size_t size, uint64_t *sum) {
    const struct suspect_mapping *mapping = &suspect->mappings.largest;
    const int pid = suspect->facts.pid;
    const uint64_t pages = (mapping->end - mapping->start) / size;
    const uint64_t address = mapping->start + pages * index / SUSPECT_PAGES * size;
    char page[65536];
    uint64_t entry = 0;
    ssize_t n = blocking_pread(call, pid, suspect->fd[SUSPECT_PAGEMAP], &entry, sizeof(entry),
                               (int64_t)(address / size * sizeof(entry)));

    if (n == sizeof(entry) && pagemap_is_anonymous(entry) && size <= sizeof(page))
        n = blocking_pread(call, pid, suspect->fd[SUSPECT_MEM], page, size, (int64_t)address);
    *sum = n == (ssize_t)size ? XXH3_64bits(page, size) | 1 : 0; /* | 1: 0 means not read */
    return n == -ECANCELED ? -ECANCELED : 0;
}

int suspect_hash_pages(struct suspect *suspect, struct blocking_call *call, int64_t page_size) {
    for (uint64_t i = 0; i < SUSPECT_PAGES; i++) {
        uint64_t sum = 0;
        if (read_page(suspect, call, i, (size_t)page_size, &sum) != 0)
            return -ECANCELED;
        suspect->hashes[i] = sum;
    }
    return 0;
}

int suspect_compare_pages(struct suspect *suspect, struct blocking_call *call, int64_t page_size) {
    enum { MIN_PAGES = 16 };
    int changed = 0, pages = 0;

    for (uint64_t i = 0; i < SUSPECT_PAGES; i++) {
        uint64_t now = 0;
        if (suspect->hashes[i] == 0)
            continue;
        if (read_page(suspect, call, i, (size_t)page_size, &now) != 0)
            return -ECANCELED;
        if (now == 0)
            continue;
        pages++;
        if (now != suspect->hashes[i])
            changed++;
    }
    if (pages >= MIN_PAGES)
        suspect->facts.changed = changed * 100 / pages;
    return 0;
}
