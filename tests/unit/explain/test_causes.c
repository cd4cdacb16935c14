/* SPDX-License-Identifier: MIT
 *
 * Why a large process merges little: facts to cause, smaps to facts, and the section of the report.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "explain/causes.h"
#include "explain/suspect.h"
#include "support/suite.h"

#define MIB ((int64_t)1 << 20)
enum { PAGE = 4096, MIB_PAGES = 256, SIZE = 100, HOUR = 3600 * 1000 };

static struct explain_facts facts;
static struct explain_processes processes;
static struct ksm_consumer_table table;
static struct explain_process process;

#define HOST(id) facts.now.values[KSM_##id]

/* A process with 100 MiB of mergeable memory that does not change. KSM has scanned it often, and
 * merged none. */
void before_each(void) {
    static const struct {
        enum ksm_id id;
        int64_t value;
    } metrics[] = {{KSM_run, 1},
                   {KSM_shared, 0},
                   {KSM_sharing, 0},
                   {KSM_volatile, 20000},
                   {KSM_unshared, 20000},
                   {KSM_zero, 0},
                   {KSM_full_scans, 10},
                   {KSM_smart_scan, 1},
                   {KSM_pages_to_scan, 100},
                   {KSM_sleep_millisecs, 20}};

    memset(&facts, 0, sizeof(facts));
    for (size_t id = 0; id < KSM_METRICS; id++)
        facts.now.values[id].status = -ENOENT;
    for (int i = 0; i < ROWS(metrics); i++)
        facts.now.values[metrics[i].id] = (struct ksm_value){.value = metrics[i].value};
    facts.now.page_size = PAGE;
    facts.has_ksm = true;
    facts.scan_rate.value = facts.skip_rate.value = 2000;
    facts.consumers = &table;
    facts.processes = &processes;
    process = (struct explain_process){
        .pid = 42,
        .name = {KSM_CONSUMER_program, "some"},
        .comm = "some",
        .memory = SIZE * MIB,
        .anonymous = SIZE * MIB,
        .mergeable = SIZE * MIB,
        .rmap_items = SIZE * MIB_PAGES,
        .opted_in = 1,
        .age = HOUR,
        .changed = 0,
    };
}

/* ---- facts to cause ---- */

static const struct {
    const char *want;
    struct {
        int64_t *fact;
        int64_t value;
    } with[6];
    struct ksm_value *unknown[3];
    enum explain_program program;
    enum ksm_consumer_kind kind;
} rows[] = {
    {"no_equal_pages", .kind = KSM_CONSUMER_program},
    {"hugetlb", .with = {{&process.hugetlb, 60 * MIB}}},
    {"no_equal_pages", .with = {{&process.hugetlb, 50 * MIB}}},
    {"hugetlb", .with = {{&process.hugetlb, 60 * MIB}, {&process.mergeable, 0}},
     .program = EXPLAIN_QEMU},
    {"shared", .with = {{&process.shmem, 60 * MIB}}},
    {"shared_qemu", .with = {{&process.shmem, 60 * MIB}}, .program = EXPLAIN_QEMU},
    {"shared_cloud", .with = {{&process.shmem, 60 * MIB}}, .program = EXPLAIN_CLOUD_HYPERVISOR},
    {"shared", .with = {{&process.shmem, 60 * MIB}}, .program = EXPLAIN_FIRECRACKER},
    {"shared_crosvm", .with = {{&process.shmem, 60 * MIB}}, .program = EXPLAIN_CROSVM},
    {"shared_dragonball", .with = {{&process.shmem, 60 * MIB}}, .program = EXPLAIN_DRAGONBALL},
    {"device", .with = {{&process.device, 60 * MIB}, {&process.mergeable, 0}}},
    {"no_equal_pages", .with = {{&process.device, -1}}},
    {"pinned", .with = {{&process.pinned, 60 * MIB}}},
    {"no_equal_pages", .with = {{&process.pinned, 50 * MIB}}},
    {"pinned", .with = {{&process.pinned, 60 * MIB}, {&process.mergeable, 0}},
     .program = EXPLAIN_QEMU},
    /* Not mergeable, or only in part. */
    {"not_opted_in", .with = {{&process.mergeable, 0}}, .kind = KSM_CONSUMER_program},
    {"not_opted_in", .with = {{&process.mergeable, 50 * MIB}}, .kind = KSM_CONSUMER_program},
    {"no_equal_pages", .with = {{&process.mergeable, 51 * MIB}}},
    {"not_qemu", .with = {{&process.mergeable, 0}}, .program = EXPLAIN_QEMU,
     .kind = KSM_CONSUMER_container},
    {"not_cloud", .with = {{&process.mergeable, 0}}, .program = EXPLAIN_CLOUD_HYPERVISOR},
    {"not_firecracker", .with = {{&process.mergeable, 0}}, .program = EXPLAIN_FIRECRACKER},
    {"not_opted_in", .with = {{&process.mergeable, 0}}, .program = EXPLAIN_CROSVM,
     .kind = KSM_CONSUMER_program},
    {"not_dragonball", .with = {{&process.mergeable, 0}}, .program = EXPLAIN_DRAGONBALL},
    /* Restored from a snapshot. */
    {"not_firecracker", .with = {{&process.mergeable, 0}, {&process.file, 101 * MIB}},
     .program = EXPLAIN_FIRECRACKER},
    {"restored", .with = {{&process.file, 101 * MIB}}, .program = EXPLAIN_FIRECRACKER},
    {"no_equal_pages", .with = {{&process.file, 100 * MIB}}, .program = EXPLAIN_FIRECRACKER},
    {"no_equal_pages", .with = {{&process.file, 101 * MIB}}, .program = EXPLAIN_QEMU},
    {"not_container", .with = {{&process.mergeable, 0}}, .kind = KSM_CONSUMER_container},
    {"not_service", .with = {{&process.mergeable, 0}}, .kind = KSM_CONSUMER_service},
    {"not_opted_in", .with = {{&process.mergeable, 0}, {&HOST(run).value, 0}},
     .kind = KSM_CONSUMER_program},
    {"not_opted_in", .with = {{&process.mergeable, -1}, {&process.opted_in, 0}},
     .kind = KSM_CONSUMER_program},
    /* Without smaps. */
    {"no_equal_pages", .with = {{&process.mergeable, -1}}},
    {"no_equal_pages", .with = {{&process.mergeable, -1}, {&process.opted_in, -1}}},
    {"not_opted_in",
     .with = {{&process.mergeable, -1}, {&process.opted_in, -1}, {&process.rmap_items, 0}},
     .kind = KSM_CONSUMER_program},
    {"only_smaps", /* ksmd may not have scanned it yet */
     .with = {{&process.mergeable, -1},
              {&process.opted_in, -1},
              {&process.rmap_items, 0},
              {&process.age, 1000}}},
    {"only_smaps", .with = {{&process.mergeable, -1},
                            {&process.opted_in, -1},
                            {&process.rmap_items, 0},
                            {&HOST(run).value, 0}}},
    {"only_smaps",
     .with = {{&process.mergeable, -1}, {&process.opted_in, -1}, {&process.rmap_items, -1}}},
    {"not_opted_in", /* KSM tracks no page */
     .with = {{&process.mergeable, -1},
              {&process.opted_in, -1},
              {&process.rmap_items, 0},
              {&process.age, 1000},
              {&HOST(volatile).value, 0},
              {&HOST(unshared).value, 0}},
     .kind = KSM_CONSUMER_program},
    {"partly", .with = {{&process.mergeable, -1}, {&process.rmap_items, SIZE *MIB_PAGES / 2}}},
    {"no_equal_pages",
     .with = {{&process.mergeable, -1}, {&process.rmap_items, SIZE *MIB_PAGES / 2 + 1}}},
    {"new", .with = {{&process.mergeable, -1},
                     {&process.rmap_items, SIZE *MIB_PAGES / 2},
                     {&process.age, 29 * 1000}}},
    /* The host. */
    {"off", .with = {{&HOST(run).value, 0}}},
    {"off", .with = {{&HOST(run).value, 2}}},
    {"no_equal_pages", .unknown = {&HOST(run)}},
    {"no_scan", .with = {{&HOST(pages_to_scan).value, 0}}},
    {"new", .with = {{&HOST(full_scans).value, 2}}},
    {"no_equal_pages", .with = {{&HOST(full_scans).value, 3}}},
    {"new", .with = {{&process.age, 29 * 1000}}}, /* 40000 pages at 4000 a second */
    {"no_equal_pages", .with = {{&process.age, 31 * 1000}}},
    {"no_equal_pages", .with = {{&process.age, -1}}},
    {"new", .with = {{&process.rmap_items, 12799}}},
    {"slow", .with = {{&facts.scan_rate.value, 10}, {&facts.skip_rate.value, 1}}},
    {"no_equal_pages", .with = {{&facts.scan_rate.value, 10}}}, /* skipping is progress */
    {"slow", .with = {{&HOST(full_scans).value, 0},
                      {&facts.scan_rate.value, 10},
                      {&facts.skip_rate.value, 1}}},
    {"slow", .with = {{&HOST(sleep_millisecs).value, 10000}}, .unknown = {&facts.scan_rate}},
    {"new", .with = {{&process.age, 20 * 1000}}, .unknown = {&facts.scan_rate}},
    {"no_equal_pages", .with = {{&process.age, 1000}},
     .unknown = {&facts.scan_rate, &HOST(pages_to_scan)}},
    {"no_equal_pages", .with = {{&process.age, 1000}}, .unknown = {&HOST(volatile)}},
    {"empty_scan", .with = {{&facts.scan_rate.value, 0},
                            {&facts.ksmd.value, 90000},
                            {&HOST(full_scans).value, 0}}},
    /* Opting out would save more: 25600 tracked pages, 64 bytes each. */
    {"sparse", .with = {{&process.merging, 399}}},
    {"sparse", .with = {{&process.merging, 199}, {&process.zero, 200}}},
    {"no_equal_pages", .with = {{&process.merging, 400}}},
    {"no_equal_pages", .with = {{&process.merging, 399}, {&process.zero, 1}}},
    {"no_equal_pages", .with = {{&process.merging, 0}}},
    {"new", .with = {{&process.merging, 399}, {&process.age, 29 * 1000}}},
    /* Whether its pages change: counted by KSM, or seen. */
    {"changing", .with = {{&process.changed, 60}}},
    {"changing", .with = {{&process.changed, 51}}},
    {"unclear", .with = {{&process.changed, 50}}},
    {"unclear", .with = {{&process.changed, 10}}},
    {"no_equal_pages", .with = {{&process.changed, 9}}},
    {"unclear", /* merged pages are neither unshared nor volatile */
     .with = {{&process.changed, -1},
              {&process.merging, 2500},
              {&HOST(unshared).value, 12000},
              {&HOST(smart_scan).value, 0}}},
    {"unclear", .with = {{&process.changed, -1}}},
    {"no_equal_pages", .with = {{&process.changed, -1}, {&HOST(volatile).value, 12000}}},
    {"unclear", .with = {{&process.changed, -1}, {&HOST(unshared).value, 12000}}},
    {"changing", .with = {{&process.changed, -1},
                          {&HOST(unshared).value, 12000},
                          {&HOST(smart_scan).value, 0}}},
    {"changing", .with = {{&process.changed, -1}, {&HOST(unshared).value, 12000}},
     .unknown = {&HOST(smart_scan)}},
    {"unclear", .with = {{&process.changed, -1}}, .unknown = {&HOST(volatile), &HOST(unshared)}},
    {"unclear", .with = {{&process.changed, -1}, {&process.rmap_items, -1}}},
};

static const char *cause(void) {
    return explain_cause_texts[explain_cause_of(&facts, &process)].name;
}

TEST_ROWS(first_cause_that_holds, rows) {
    char buf[2048];

    process.program = row->program;
    process.name.kind = row->kind;
    for (int i = 0; i < ROWS(row->with) && row->with[i].fact; i++)
        *row->with[i].fact = row->with[i].value;
    for (int i = 0; i < ROWS(row->unknown) && row->unknown[i]; i++)
        row->unknown[i]->status = -ENOENT;
    facts.idle = facts.scan_rate.value == 0;
    ck_assert_msg(strcmp(cause(), row->want) == 0, "row %d: got %s, want %s", (int)(row - rows),
                  cause(), row->want);
    ck_assert_int_eq(
        explain_expand(&facts, explain_cause_texts[explain_cause_of(&facts, &process)].sentence,
                       buf, sizeof(buf)),
        0);
}

TEST(blocking_precedes_denied) {
    process.denied = true;
    ck_assert_str_eq(cause(), "no_equal_pages"); /* ksm_stat is enough */
    process.mergeable = process.opted_in = process.rmap_items = -1;
    ck_assert_str_eq(cause(), "denied");
    process.blocks = true;
    ck_assert_str_eq(cause(), "blocking");
}

TEST(every_cause_has_a_case) {
    for (enum explain_cause id = 0; id < EXPLAIN_CAUSES; id++) {
        const char *name = explain_cause_texts[id].name;
        int found = strcmp(name, "blocking") == 0 || strcmp(name, "denied") == 0;
        for (int i = 0; i < ROWS(rows); i++)
            found += strcmp(rows[i].want, name) == 0;
        ck_assert_msg(found > 0, "%s: no row wants it", name);
    }
}

TEST(full_scan_time_counts_untracked_pages) {
    static const struct {
        struct ksm_value *unknown[2];
        int64_t ms;
    } scans[] = {
        {.ms = 12000}, /* 48000 pages at 4000 a second */
        {.unknown = {&facts.skip_rate}, .ms = 24000},
        {.unknown = {&facts.scan_rate}, .ms = 9600}, /* 100 every 20 ms */
        {.unknown = {&facts.scan_rate, &HOST(sleep_millisecs)}, .ms = -1},
        {.unknown = {&facts.scan_rate, &HOST(pages_to_scan)}, .ms = -1},
        {.unknown = {&HOST(volatile)}, .ms = -1},
    };

    HOST(shared).value = 1000;
    HOST(sharing).value = 2000;
    process.rmap_items -= 5000; /* not tracked yet */
    processes.list[0] = processes.list[1] = process;
    processes.list[0].mergeable = -1; /* then all its memory may be mergeable */
    processes.list[1].rmap_items = -1;
    processes.count = 2;
    for (int i = 0; i < ROWS(scans); i++) {
        for (int k = 0; k < 2 && scans[i].unknown[k]; k++)
            scans[i].unknown[k]->status = -ENOENT;
        ck_assert_msg(explain_full_scan_ms(&facts) == scans[i].ms, "row %d: got %d", i,
                      (int)explain_full_scan_ms(&facts));
        for (int k = 0; k < 2 && scans[i].unknown[k]; k++)
            scans[i].unknown[k]->status = 0;
    }
    facts.scan_rate.value = 6000; /* one batch more than the sleeps allow in a second */
    ck_assert_int_eq(explain_full_scan_ms(&facts), 6857);
    facts.scan_rate.value = 2000;
    HOST(full_scans).value = 0;
    ck_assert_int_eq(explain_full_scan_ms(&facts), -1);
    HOST(full_scans).value = 1;
    HOST(shared).value = INT64_MAX / 1000;
    ck_assert_int_eq(explain_full_scan_ms(&facts), -1);
    HOST(shared).value = 0;
    facts.scan_rate.value = 0; /* nothing scanned in this second */
    ck_assert_int_eq(explain_full_scan_ms(&facts), 9400);
    HOST(sleep_millisecs).value = 0;
    ck_assert_int_eq(explain_full_scan_ms(&facts), -1);
}

TEST(less_than_a_tenth_is_little) {
    static const struct {
        int64_t merging, zero;
        bool want;
    } merged[] = {{0, 0, true},     {2559, 0, true},   {2560, 0, false},
                  {0, 2560, false}, {2560, -1, false}, {-1, -1, false}};

    for (int i = 0; i < ROWS(merged); i++) {
        process.merging = merged[i].merging;
        process.zero = merged[i].zero;
        ck_assert_msg(explain_merges_little(&process, PAGE) == merged[i].want, "row %d", i);
    }
    process.blocks = true;
    ck_assert(explain_merges_little(&process, PAGE));
}

/* ---- smaps and status ---- */

#define KB(n) (int64_t)(n) * 1024
static const struct {
    const char *text;
    int64_t anonymous, mergeable, huge, device, locked;
    uint64_t start, end;
} mappings[] = {
    {"", 0, 0, 0, 0, 0, 0, 0},
    {"1000-9000 rw-p 00000000 00:00 0 \nSize: 32 kB\nRss: 24 kB\nAnonymous: 20 kB\nAnonHugePages: "
     "8 kB\n"
     "VmFlags: rd wr mr mw me ac mg \n",
     KB(20), KB(20), KB(8), 0, 0, 0x1000, 0x9000},
    /* The largest mergeable mapping. */
    {"1000-2000 rw-p\nAnonymous: 8 kB\nVmFlags: rd mg\n2000-3000 rw-p\nAnonymous: 12 kB\nVmFlags: "
     "mg rd\n"
     "3000-4000 rw-p\nAnonymous: 40 kB\nVmFlags: rd\n4000-5000 rw-p\nVmFlags: rd mg\n",
     KB(60), KB(20), 0, 0, 0, 0x2000, 0x3000},
    {"1000-2000 rw-s\nRss: 64 kB\nVmFlags: rd wr sh mr mw me ms mm \n", 0, 0, 0, KB(64), 0, 0, 0},
    {"1000-2000 rw-s\nRss: 64 kB\nVmFlags: rd io pf\n", 0, 0, 0, KB(64), 0, 0, 0},
    {"1000-2000 rw-p\nSize: 64 kB\nVmFlags: rd lo\n", 0, 0, 0, 0, KB(64), 0, 0},
    /* Hostile file names, and lines that are cut off. */
    {"1000-2000 r--p 00000000 00:00 0  VmFlags: mg\nAnonymous: 8 kB\nVmFlags: rd\n", KB(8), 0, 0, 0,
     0, 0, 0},
    {"1000-2000 rw-p\nAnonymous: 8 kB\nVmFlags:mg amg mgx\n", KB(8), 0, 0, 0, 0, 0, 0},
    {"1000\nAnonymous: 99999999999999999999 kB\nAnonymous: x\nAnonymous: 4 kB\nVmFlags:", KB(4), 0,
     0, 0, 0, 0, 0},
};

TEST_ROWS(smaps_is_summed_up, mappings) {
    struct suspect_mappings got = {0};
    char *text = strdup(row->text);

    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        suspect_take_line(&got, line);
    free(text);
    ck_assert_int_eq(got.anonymous, row->anonymous);
    ck_assert_int_eq(got.mergeable, row->mergeable);
    ck_assert_int_eq(got.huge, row->huge);
    ck_assert_int_eq(got.device, row->device);
    ck_assert_int_eq(got.locked, row->locked);
    ck_assert_uint_eq(got.largest.start, row->start);
    ck_assert_uint_eq(got.largest.end, row->end);
}

TEST(new_suspect_has_no_descriptors) {
    const struct ksm_process_status shown = {.anonymous = KB(12345678),
                                             .file = KB(100),
                                             .shmem = KB(20),
                                             .hugetlb = KB(2048),
                                             .locked = KB(64),
                                             .pinned = KB(4)};
    struct suspect got;

    suspect_init(&got, 7, &shown);
    ck_assert_int_eq(got.facts.anonymous, KB(12345678));
    ck_assert_int_eq(got.facts.memory, KB(12345678 + 20 + 2048));
    ck_assert_int_eq(got.bound, KB(12345678 + 20 + 2048 + 100));
    ck_assert_int_eq(got.locked, KB(64));
    ck_assert_int_eq(got.facts.pinned, KB(4));
    for (int i = 0; i < SUSPECT_FILES; i++)
        ck_assert_int_lt(got.fd[i], 0);
}

/* ---- the report ---- */

static char *report(void) {
    static char text[16384];
    FILE *file = tmpfile();
    const struct wrap wrap = {.file = file, .columns = WRAP_COLUMNS};
    size_t len = 0;

    explain_report(&facts, &wrap);
    rewind(file);
    len = fread(text, 1, sizeof(text) - 1, file);
    text[len] = '\0';
    fclose(file);
    return text;
}

static const char *section(void) {
    const char *found = strstr(report(), "\nWhy large processes");

    return found ? found : "";
}

/* A process of which KSM tracks a part. The verdict and the settings give the time of a full
 * scan: the same, and none before the first full scan is complete. */
static const struct {
    int64_t full_scans, tracked;
    const char *time; /* 25600 pages at 4000 a second */
    int mentions;
} first_scans[] = {
    {0, 1000, NULL, 0},
    {0, 20000, NULL, 0},
    {1, 1000, "about 6 seconds", 2},
    {1, 25600, "about 6 seconds", 2},
};

TEST_ROWS(scan_time_is_the_same_in_the_whole_report, first_scans) {
    static const char phrase[] = "one scan takes ";
    int mentions = 0;

    HOST(full_scans).value = row->full_scans;
    HOST(volatile).value = 0;
    HOST(unshared).value = process.rmap_items = row->tracked;
    HOST(overhead) = HOST(saved) = (struct ksm_value){.value = 0};
    processes.list[processes.count++] = process;
    const char *text = suite_unwrapped(report());
    for (const char *found = text; (found = strstr(found, phrase)); mentions++) {
        found += strlen(phrase);
        ck_assert_msg(row->time && strncmp(found, row->time, strlen(row->time)) == 0, "got %.30s",
                      found);
    }
    ck_assert_msg(mentions == row->mentions, "%d times: %s", mentions, text);
}

TEST(processes_are_grouped_by_cause) {
    for (int i = 0; i < 4; i++) {
        processes.list[i] = process;
        processes.list[i].pid = i + 1;
        processes.list[i].mergeable = i % 2 == 0 ? 0 : SIZE * MIB;
    }
    processes.list[2].huge = SIZE * MIB;
    processes.list[3].merging = processes.list[3].mergeable = -1;
    processes.list[3].blocks = true;
    processes.count = 4;
    const char *text = section(), *found = text;
    const char *const parts[] = {
        "little\n  Process   1 some: 100.0 MiB, 0 bytes mergeable, 0 bytes "
        "merged\n  Process   3 some: 100.0 MiB, 0 "
        "bytes mergeable, 0 bytes merged, 100.0 MiB in\n            huge "
        "pages\n  Why       It does not",
        "\n            Huge pages are",
        "\n  To do     ",
        "\n\n  Process   2 some: 100.0 MiB, 100.0 MiB mergeable",
        "\n  Why       ",
        "\n\n  Process   4 some: 100.0 MiB\n  Why       "};
    for (int i = 0; i < ROWS(parts); i++) {
        found = strstr(found, parts[i]);
        ck_assert_msg(found != NULL, "part %d is not in\n%s", i, text);
    }
}

/* The verdicts off, stopped and unmerged, and the cause off. */
static const struct {
    enum explain_manager manager;
    const char *has, *lacks;
} managers[] = {
    {EXPLAIN_NO_MANAGER, "echo 1 | sudo tee /sys/kernel/mm/ksm/run", "set by"},
    {EXPLAIN_KSMTUNED, "sudoedit /etc/ksmtuned.conf", "echo 1 |"},
    {EXPLAIN_KSMTUNED, "set by ksmtuned", "virt-handler"},
    {EXPLAIN_KUBEVIRT, "kubevirt.io/ksm-free-percent-override", "echo 1 |"},
    {EXPLAIN_KUBEVIRT, "set by KubeVirt", "ksmtuned"},
    {EXPLAIN_OVIRT, "sudoedit /etc/vdsm/mom.d/03-ksm.policy", "echo 1 |"},
    {EXPLAIN_OVIRT, "set by oVirt's MOM", "ksmtuned"},
};

TEST_ROWS(advice_fits_the_manager, managers) {
    static const struct { int64_t run, sharing; } states[] = {{0, 0}, {0, 100}, {2, 0}};

    processes.list[processes.count++] = process;
    processes.manager = row->manager;
    for (int i = 0; i < ROWS(states); i++) {
        HOST(run).value = states[i].run;
        HOST(sharing).value = states[i].sharing;
        const char *text = suite_unwrapped(report());
        ck_assert_msg(strstr(text, row->has) && !strstr(text, row->lacks), "state %d: %s", i, text);
    }
    ck_assert_ptr_nonnull(strstr(suite_unwrapped(report()), "KSM is switched off."));
}

/* The verdict no_equal_pages, as all that advise to switch KSM off. */
static const struct {
    enum explain_manager manager;
    const char *has, *lacks;
} off_managers[] = {
    {EXPLAIN_NO_MANAGER, "echo 2 | sudo tee /sys/kernel/mm/ksm/run", "runs here"},
    {EXPLAIN_KSMTUNED, "sudo systemctl disable --now ksmtuned", "virt-handler"},
    {EXPLAIN_KUBEVIRT, "kubevirt.io/ksm-free-percent-override=0 ", "ksmtuned"},
    {EXPLAIN_OVIRT, "clear the cluster's option \"Enable KSM\" first.", "ksmtuned"},
};

TEST_ROWS(advice_to_switch_off_fits_the_manager, off_managers) {
    processes.manager = row->manager;
    const char *text = suite_unwrapped(report());
    ck_assert_msg(strstr(text, row->has) && !strstr(text, row->lacks), "%s", text);
}

TEST(section_is_left_out_without_large_processes) {
    ck_assert_str_eq(section(), "");
    facts.processes = NULL;
    ck_assert_str_eq(section(), "");
}

TEST(section_fits_80_columns) {
    memset(process.comm, 'c', sizeof(process.comm) - 1);
    memset(process.name.text, 'n', sizeof(process.name.text) - 1);
    while (processes.count < EXPLAIN_PROCESSES)
        processes.list[processes.count++] = process;
    for (const char *line = section(); *line;) {
        const size_t len = strcspn(line, "\n");
        ck_assert_msg(len <= 80, "%s", line);
        line += line[len] ? len + 1 : len;
    }
}
