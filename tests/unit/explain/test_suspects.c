/* SPDX-License-Identifier: MIT
 *
 * Which processes are on the list of large ones, and what is known of them: from a /proc of files.
 * Processes that block, and what requires a kernel, are in tests/e2e/test_why.py.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "explain/pagemap.h"
#include "explain/suspects.h"
#include "support/faults.h"
#include "support/suite.h"
#include "support/tree.h"
#include "system/clock.h"

static struct suspects suspects;
static struct explain_facts facts;
static const char *dir;

void before_each(void) {
    dir = suite_dir();
}

/* A process; sizes in MiB. */
struct row {
    int pid;
    const char *comm;
    int anonymous, shared, file, hugetlb; /* status */
    int mergeable;                        /* of anonymous, in smaps; -1: there is no smaps */
    int merged;
    int locked, held;      /* VmLck, and what smaps has locked */
    int mapping;           /* pages of its largest mapping; 0: a few */
    const char *file_name; /* of another mapping */
    const char *opted_in;  /* in ksm_stat; NULL: in part */
    int groups;            /* bytes of that line of status */
};

static void write_process(const struct row *row) {
    const long pages = (1 << 20) / sysconf(_SC_PAGESIZE);
    const char *own = strdupa(tree_path(dir, "proc/%d", row->pid));

    tree_print(own, "status",
               "Name:\t%s\nGroups:\t%*s\nVmLck:\t%8d kB\nRssAnon:\t%8d kB\nRssFile:\t%8d "
               "kB\nRssShmem:\t%8d kB\n"
               "HugetlbPages:\t%8d kB\n",
               row->comm, row->groups, "", row->locked << 10, row->anonymous << 10, row->file << 10,
               row->shared << 10, row->hugetlb << 10);
    tree_print(own, "comm", "%s\n", row->comm);
    tree_print(own, "ksm_stat", "ksm_rmap_items 7\nksm_zero_pages 0\nksm_merging_pages %ld\n%s\n",
               row->merged * pages,
               row->opted_in ? row->opted_in : "ksm_merge_any: no\nksm_mergeable: yes");
    tree_print(own, "ksm_merging_pages", "%ld\n", row->merged * pages);
    /* Nothing is mapped at these addresses. */
    tree_print(own, "maps", "0-%lx rw-p 00000000 00:00 0\n10000-20000 rw-s 00000000 00:0e 9 %s\n",
               (row->mapping ? row->mapping : 16) * sysconf(_SC_PAGESIZE),
               row->file_name ? row->file_name : "/a");
    ck_assert_int_eq(symlink("/proc/self/pagemap", tree_path(own, "%s", "pagemap")), 0);
    if (row->mergeable >= 0)
        tree_print(own, "smaps",
                   "1000-2000 rw-p\nSize: %d kB\nAnonymous: %d kB\nVmFlags: rd mg lo\n"
                   "2000-3000 rw-p\nAnonymous: %d kB\nVmFlags: rd\n",
                   row->held * 1024, row->mergeable * 1024,
                   (row->anonymous - row->mergeable) * 1024);
}

/* The list as a text: "PID:MEMORY:MERGEABLE:PINNED ", in MiB, -1 of what is not known. */
static const char *list(void) {
    static char text[256];
    size_t len = 0;

    for (int i = 0; i < facts.processes->count; i++) {
        const struct explain_process *process = &facts.processes->list[i];
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%d:%d:%d:%d ", process->pid,
                                (int)(process->memory >> 20), (int)(process->mergeable >> 20),
                                (int)(process->pinned >> 20));
    }
    text[len] = '\0';
    return text;
}

static void open_suspects(const struct row *rows, int count) {
    tree_write(dir, "proc/self/ksm_stat", "", 0);
    for (int i = 0; i < count; i++)
        write_process(&rows[i]);
    facts.now.page_size = sysconf(_SC_PAGESIZE);
    for (size_t id = 0; id < KSM_METRICS; id++)
        facts.now.values[id].status = -ENOENT;
    suspects_open(&suspects, dir);
}

static const struct {
    const char *want;
    struct row rows[7];
    int count;
} tables[] = {
    {"", {{1, "small", .anonymous = 63}}, 1},
    {"1:64:32:0 ", {{1, "large", .anonymous = 64, .mergeable = 32}}, 1},
    /* Files do not count, and a process that merges much is not listed. */
    {"3:100:0:0 2:70:0:0 ",
     {{1, "files", .anonymous = 60, .file = 900},
      {2, "some", .anonymous = 70, .file = 10},
      {3, "kinds", .anonymous = 50, .shared = 30, .hugetlb = 20},
      {4, "merges", .anonymous = 200, .mergeable = 200, .merged = 20}},
     4},
    {"4:200:200:0 ", {{4, "merges", .anonymous = 200, .mergeable = 200, .merged = 19}}, 1},
    /* The five largest, one of each name. */
    {"7:700:0:0 6:600:0:0 4:400:0:0 3:300:0:0 2:200:0:0 ",
     {{1, "a", .anonymous = 100},
      {2, "b", .anonymous = 200},
      {3, "c", .anonymous = 300},
      {4, "d", .anonymous = 400},
      {5, "f", .anonymous = 500},
      {6, "f", .anonymous = 600},
      {7, "g", .anonymous = 700}},
     7},
    /* Files make a process look larger than it is. */
    {"2:200:0:0 1:100:0:0 ",
     {{1, "a", .anonymous = 100, .file = 500}, {2, "b", .anonymous = 200}},
     2},
    {"1:100:-1:0 ", {{1, "a", .anonymous = 100, .mergeable = -1}}, 1},
    {"1:100:50:40 ", {{1, "a", .anonymous = 100, .mergeable = 50, .locked = 90, .held = 50}}, 1},
    {"1:100:50:0 ", {{1, "a", .anonymous = 100, .mergeable = 50, .locked = 50, .held = 90}}, 1},
    /* smaps is read if no mapping is larger. */
    {"1:100:50:0 ", {{1, "a", .anonymous = 100, .mergeable = 50, .mapping = PAGEMAP_ENTRIES}}, 1},
    {"1:100:-1:0 ",
     {{1, "a", .anonymous = 100, .mergeable = 50, .mapping = PAGEMAP_ENTRIES + 1}},
     1},
    /* With a larger one, only whether all memory is mergeable, or none, is known. */
    {"1:100:100:0 ",
     {{1, "a", .anonymous = 100, .mergeable = 50, .mapping = PAGEMAP_ENTRIES + 1,
       .opted_in = "ksm_merge_any: yes\nksm_mergeable: yes"}},
     1},
    {"1:100:0:0 ",
     {{1, "a", .anonymous = 100, .mergeable = 50, .mapping = PAGEMAP_ENTRIES + 1,
       .opted_in = "ksm_merge_any: no\nksm_mergeable: no"}},
     1},
    /* Locked memory counts as pinned if there is a VFIO device. */
    {"1:100:-1:0 ", {{1, "a", .anonymous = 100, .locked = 90, .mapping = PAGEMAP_ENTRIES + 1}}, 1},
    {"1:100:-1:90 ",
     {{1, "a", .anonymous = 100, .locked = 90, .mapping = PAGEMAP_ENTRIES + 1,
       .file_name = "anon_inode:[vfio-device]"}},
     1},
    {"1:100:-1:90 ",
     {{1, "a", .anonymous = 100, .locked = 90, .mapping = PAGEMAP_ENTRIES + 1,
       .file_name = "/dev/vfio/12"}},
     1},
    {"1:100:50:0 ", {{1, "a", .anonymous = 100, .mergeable = 50, .groups = 20000}}, 1},
};

TEST_TIMES(largest_that_merge_little_are_listed, ROWS(tables)) {
    open_suspects(tables[_i].rows, tables[_i].count);
    suspects_read(&suspects, &facts);
    ck_assert_str_eq(list(), tables[_i].want);
}

#define SHIM "/opt/kata/bin/containerd-shim-"

static const struct {
    const char *comm, *cmdline;
    enum explain_program want;
} programs[] = {
    {"qemu-system-x86", "/usr/bin/qemu-system-x86_64", EXPLAIN_QEMU},
    {"kvm", "/usr/bin/kvm", EXPLAIN_QEMU},
    {"cloud-hyperviso", "cloud-hypervisor", EXPLAIN_CLOUD_HYPERVISOR},
    {"firecracker", "/firecracker", EXPLAIN_FIRECRACKER},
    {"crosvm", "crosvm", EXPLAIN_CROSVM},
    {"containerd-shim", SHIM "kata-v2", EXPLAIN_DRAGONBALL},
    {"containerd-shim", SHIM "runc-v2", EXPLAIN_OTHER},
    {"java", "java", EXPLAIN_OTHER},
};

TEST_ROWS(program_is_recognized, programs) {
    const struct row process = {1, row->comm, .anonymous = 100, .file = 300};

    open_suspects(&process, 1);
    tree_write(tree_path(dir, "proc/1"), "cmdline", row->cmdline, strlen(row->cmdline) + 1);
    tree_write(tree_path(dir, "proc/1"), "cgroup", "0::/\n", 5);
    suspects_read(&suspects, &facts);
    ck_assert_int_eq(facts.processes->count, 1);
    ck_assert_int_eq(facts.processes->list[0].program, row->want);
    ck_assert_int_eq(facts.processes->list[0].file, (int64_t)300 << 20);
}

static const struct {
    const char *comm;
    int user;
    enum explain_manager want;
} managers[] = {
    {"ksmtuned", 0, EXPLAIN_KSMTUNED},    {"virt-handler", 0, EXPLAIN_KUBEVIRT},
    {"momd", 36, EXPLAIN_OVIRT},          {"momd", 1000, EXPLAIN_NO_MANAGER},
    {"ksmtuned", 7, EXPLAIN_NO_MANAGER},  {"virt-launcher", 0, EXPLAIN_NO_MANAGER},
    {"ksmtuned2", 0, EXPLAIN_NO_MANAGER},
};

TEST_ROWS(manager_is_a_program_of_its_user, managers) {
    tree_print(dir, "proc/3/status", "Name:\t%s\nUid:\t%d\t%d\t%d\t%d\nVmRSS:\t1 kB\n", row->comm,
               row->user, row->user, row->user, row->user);
    tree_print(dir, "proc/3/comm", "%s\n", row->comm);
    open_suspects(NULL, 0);
    suspects_read(&suspects, &facts);
    ck_assert_int_eq(facts.processes->manager, row->want);
}

TEST(process_that_ended_is_not_listed) {
    static const struct row rows[] = {{1, "a", .shared = 100}, {2, "b", .anonymous = 90}};

    open_suspects(rows, ROWS(rows));
    tree_unlink(dir, "proc/1/comm");
    suspects_read(&suspects, &facts);
    ck_assert_str_eq(list(), "2:90:0:0 ");
}

TEST(process_with_reused_pid_is_not_listed) {
    static const struct row rows[] = {{1, "a", .shared = 100}, {2, "b", .anonymous = 90}};
    static const char stat[] = "1 (a) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 %d 0 0\n";

    tree_print(dir, "proc/1/stat", stat, 777);
    open_suspects(rows, ROWS(rows));
    tree_print(dir, "proc/1/stat", stat, 778);
    suspects_read(&suspects, &facts);
    ck_assert_str_eq(list(), "2:90:0:0 ");
}

static void await_blocked(void) {
    faults_await_blocked(1);
    usleep(5000); /* the next thread needs time */
}

TEST(blocking_process_is_skipped_after_two_seconds_whatever_the_size_of_others) {
    static const struct row rows[] = {{1, "large", .file = 1 << 20}, {2, "b", .anonymous = 90}};

    open_suspects(rows, ROWS(rows));
    faults_block("proc/2/smaps");
    faults_stop_clocks(0, 0);
    faults_on_wait(await_blocked);
    suspects_read(&suspects, &facts);
    const int64_t ms = clock_ms(CLOCK_MONOTONIC);
    faults_let_clocks_go();
    ck_assert_str_eq(list(), "2:90:-1:0 ");
    faults_release(NULL);
    ck_assert_int_le(ms, 10000); /* by the size: 27 s */
}

/* A read() with room for one mapping holds the lock for one (fs/seq_file.c). */
TEST(smaps_is_read_one_mapping_at_a_time) {
    enum { MAPPINGS = 100, RECORD = 4 * 256 };
    static const struct row row = {1, "a", .anonymous = 100};
    static char text[MAPPINGS * RECORD];

    open_suspects(&row, 1);
    memset(text, 'A', sizeof(text));
    for (int i = 0; i < MAPPINGS; i++)
        text[(i + 1) * RECORD - 1] = '\n';
    tree_write(tree_path(dir, "proc/1"), "smaps", text, sizeof(text));
    const int before = faults_count(FAULTS_PREAD);
    suspects_read(&suspects, &facts);
    ck_assert_int_ge(faults_count(FAULTS_PREAD) - before, (int)sizeof(text) / 256);
}

TEST(candidates_are_the_largest) {
    struct row row = {.comm = "a", .anonymous = 64, .mergeable = -1};

    for (row.pid = 1; row.pid <= 2 * SUSPECTS_CANDIDATES; row.pid++, row.anonymous++)
        write_process(&row);
    open_suspects(NULL, 0);
    ck_assert_int_eq(suspects.count, SUSPECTS_CANDIDATES);
    for (int i = 0; i < suspects.count; i++)
        ck_assert_int_eq(suspects.list[i].facts.pid, 2 * SUSPECTS_CANDIDATES - i);
}

TEST(missing_proc_has_no_suspects) {
    suspects_open(&suspects, dir);
    suspects_read(&suspects, &facts);
    ck_assert_str_eq(list(), "");
}
