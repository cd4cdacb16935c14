/* SPDX-License-Identifier: MIT
 *
 * Whose memory is merged with whose: exact where all mappings are recorded, within the stated error
 * where frames are sampled; and what the report says.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "explain/sharing.h"
#include "support/faults.h"
#include "support/suite.h"
#include "support/tree.h"

enum { PAGE = 4096, PROCESSES = 6, FRAMES = 64 };

/* Two machines, a container with two processes, and two programs of users 0 and 1000; the last
 * process is of the second machine, too. */
static struct memory_scan_process processes[PROCESSES] = {
    {.pid = 1, .consumer = 1, .user = 0, .name = {KSM_CONSUMER_vm, "web"}},
    {.pid = 2, .consumer = 0, .user = 0, .name = {KSM_CONSUMER_vm, "db"}},
    {.pid = 3, .consumer = 2, .user = 0, .name = {KSM_CONSUMER_container, "c1"}},
    {.pid = 4, .consumer = 3, .user = 0, .name = {KSM_CONSUMER_program, "init"}},
    {.pid = 5, .consumer = 4, .user = 1000, .name = {KSM_CONSUMER_program, "sh"}},
    {.pid = 6, .consumer = 0, .user = 0, .name = {KSM_CONSUMER_vm, "db"}},
};
static struct memory_scan_consumer consumers[] = {
    {.name = {KSM_CONSUMER_vm, "db"}, .all_named = true, .any_named = true},
    {.name = {KSM_CONSUMER_vm, "web"}, .all_named = true, .any_named = true},
    {.name = {KSM_CONSUMER_container, "c1"}, .all_named = true, .any_named = true},
    {.name = {KSM_CONSUMER_program, "init"}, .all_named = true, .any_named = true},
    {.name = {KSM_CONSUMER_program, "sh"}, .all_named = true, .any_named = true},
};
static struct sharing s;
static uint64_t flags[FRAMES], counts[FRAMES];
static struct ksm_consumer_table table = {.enabled = true, .valid = true};
static struct sharing_host host = {.sharing = -1, .zero = -1, .table = &table};
static atomic_int stop;

static void begin(size_t bytes) {
    const struct memory_scan_options options = {.root = "/nonexistent", .cpu = 100, .stop = &stop};

    ck_assert_int_eq(sharing_init(&s, &options, bytes), -ENOENT); /* no frames yet */
    s.frames.knows_ksm = true;
    s.scan.page_size = PAGE;
    s.scan.list = processes;
    s.scan.count = PROCESSES;
    s.scan.consumers = consumers;
    s.scan.consumer_count = ROWS(consumers);
    for (size_t i = 0; i < PROCESSES; i++) {
        processes[i].wanted = processes[i].named = true;
        processes[i].merging = 10;
        processes[i].stack = 0x7000 + i;
    }
    for (size_t i = 0; i < FRAMES; i++)
        flags[i] = FRAME_IS_KSM;
}

static int write_file(const void *bytes, size_t size) {
    FILE *file = tmpfile();

    ck_assert(file && fwrite(bytes, 1, size, file) == size && fflush(file) == 0);
    return fileno(file);
}

static void finish(void) {
    s.frames.flags = write_file(flags, sizeof(flags));
    s.frames.counts = write_file(counts, sizeof(counts));
    ck_assert_int_eq(sharing_finish(&s), 0);
}

static void add_mapping(uint64_t frame, uint32_t process, uint64_t page) {
    content_index_add(&s.mappings, sharing_key(frame),
                      content_index_place_once(process, page, false));
    counts[frame]++;
}

/* ---- one frame ---- */

/* mappings: a process for each, as "0125". Numbers are in twelfths of a page. */
static const struct {
    const char *mappings;
    int unread; /* mappings by the kernel that were not found */
    int saved[5], within[5];
    int all, others, across;
} frames[] = {
    {"00", 0, {0, 12}, {0, 12}, 12, 0, 0},
    {"01", 0, {6, 6}, {0}, 12, 0, 12},
    {"15", 0, {12}, {12}, 12, 0, 0},
    {"015", 0, {16, 8}, {12, 0}, 24, 0, 12},
    {"34", 0, {0, 0, 0, 6, 6}, {0}, 12, 0, 12},
    {"0123", 0, {9, 9, 9, 9}, {0}, 36, 0, 12},
    {"000111", 0, {30, 30}, {24, 24}, 60, 0, 12},
    {"01", 1, {8, 8}, {0}, 24, 8, 12},
    {"0", 1, {0, 6}, {0}, 12, 6, 0},
    {"2", 0, {0}, {0}, 0, 0, 0}, /* the other mapping has gone meanwhile */
};

TEST_ROWS(credit_of_one_frame, frames) {
    double sum = 0;

    begin(1 << 20);
    for (uint32_t i = 0; row->mappings[i]; i++)
        add_mapping(7, (uint32_t)(row->mappings[i] - '0'), i);
    counts[7] += (uint64_t)row->unread;
    finish();
    for (int i = 0; i < ROWS(row->saved); i++) {
        const struct sharing_consumer *consumer = &s.consumers[i];
        ck_assert_double_eq_tol(12 * consumer->saved.pages, row->saved[i], 1e-9);
        ck_assert_double_eq_tol(12 * consumer->within, row->within[i], 1e-9);
        ck_assert_double_eq_tol(consumer->within + consumer->others, consumer->saved.pages, 1e-9);
        sum += consumer->within + consumer->others;
    }
    ck_assert_double_eq_tol(12 * s.saved.pages, row->all, 1e-9);
    ck_assert_double_eq_tol(12 * s.other_saved, row->others, 1e-9);
    ck_assert_double_eq_tol(12 * s.across.pages, row->across, 1e-9);
    ck_assert_double_eq_tol(sum + s.other_saved, s.saved.pages, 1e-9);
}

TEST(programs_of_one_user_are_one_owner_and_a_frame_counts_for_each_pair) {
    begin(1 << 20);
    processes[4].user = 0;
    for (uint32_t i = 0; i < PROCESSES; i++)
        add_mapping(1, i, 0);
    finish();
    processes[4].user = 1000;
    ck_assert_uint_eq(s.owner_count, 4);
    ck_assert_uint_eq(s.pairs.count, 5 * 4 / 2);
    ck_assert_uint_eq(s.owner_pairs.count, 4 * 3 / 2);
    for (size_t i = 0; i < s.owner_pairs.count; i++)
        ck_assert_double_eq(s.owner_pairs.list[i].sum.pages, 1);
    ck_assert_double_eq(s.across.pages, 1);
}

TEST(consumer_of_two_users_has_several_owners_and_each_counts) {
    begin(1 << 20);
    processes[3].consumer = 4;
    add_mapping(1, 3, 0);
    add_mapping(1, 4, 0);
    finish();
    processes[3].consumer = 3;
    ck_assert(s.consumers[4].several);
    ck_assert_double_eq(s.across.pages, 1);
    ck_assert_uint_eq(s.pairs.count, 0);
}

/* ---- which frames are KSM's ---- */

static const struct {
    uint64_t flags;
    bool knows_ksm;
    bool other_address;
    uint64_t stacks[3]; /* of the processes that map it; 0: not known */
    int saved, unclear;
} methods[] = {
    {FRAME_IS_KSM, true, false, {1, 1, 1}, 2, 0},
    {0, true, true, {1, 2, 2}, 0, 0},
    {FRAME_IS_KSM | FRAME_IS_ZERO, true, true, {1, 2, 2}, 0, 0},
    {FRAME_IS_KSM, false, false, {1, 1, 1}, 0, 3},
    {FRAME_IS_KSM, false, true, {1, 1, 1}, 2, 0},
    {FRAME_IS_KSM, false, false, {1, 2, 1}, 2, 0},
    {FRAME_IS_KSM, false, false, {0, 1, 1}, 0, 3},
    {FRAME_IS_KSM, false, false, {1, 0, 1}, 0, 3},
    {FRAME_IS_KSM, false, false, {0, 1, 2}, 2, 0},
    {FRAME_IS_KSM, false, false, {0, 0, 0}, 0, 3},
    {FRAME_IS_ZERO, false, true, {1, 2, 2}, 0, 0},
};

TEST_ROWS(only_frames_of_ksm_count, methods) {
    begin(1 << 20);
    s.frames.knows_ksm = row->knows_ksm;
    flags[3] = row->flags;
    for (uint32_t i = 0; i < ROWS(row->stacks); i++) {
        const bool other_address = i == 1 && row->other_address;
        processes[i].stack = row->stacks[i];
        add_mapping(3, i, other_address ? 0x200 : 0x100);
    }
    finish();
    ck_assert_double_eq(s.saved.pages, row->saved);
    ck_assert_double_eq(s.unclear, row->unclear);
}

TEST(zero_page_is_not_searched_without_its_frame) {
    const char *dir = suite_dir();
    struct frames opened;

    tree_write(dir, "proc/kpageflags", "", 0);
    tree_write(dir, "proc/kpagecount", "", 0);
    faults_fail(FAULTS_PREAD, "/pagemap", 1, EIO);
    faults_fail(FAULTS_PREAD, "/kpageflags", 1000, EIO); /* counts only */
    ck_assert_int_eq(frames_open(&opened, dir), -EIO);
    ck_assert_int_eq(faults_seen(FAULTS_PREAD, "/kpageflags"), 0);
    frames_close(&opened);
}

TEST(key_of_a_frame_can_be_undone) {
    for (uint64_t frame = 1; frame < (UINT64_C(1) << 55); frame = frame * 3 + 1)
        ck_assert_uint_eq(sharing_frame(sharing_key(frame)), frame);
}

/* ---- sampling ---- */

enum { MANY = 20000 };

/* Frame i has mappings of one, two or three consumers, 2 to 33 of them. */
static uint32_t process_of(uint64_t random, uint32_t mapping) {
    static const uint32_t mixes[][3] = {{0, 0, 0}, {0, 1, 0}, {1, 2, 3}, {3, 4, 4}};

    return mixes[random % 4][mapping % 3];
}

static uint64_t mix(uint64_t x) {
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* The program never frees what a stuck thread may use. */
static void release(void) {
    void *const lists[] = {s.consumers, s.owners,      s.pairs.list, s.owner_pairs.list, s.owner_of,
                           s.tally,     s.owner_tally, s.found,      s.owners_found};

    for (int i = 0; i < ROWS(lists); i++)
        free(lists[i]);
    process_match_close(&s.scan.match);
    content_index_free(&s.mappings);
    frames_close(&s.frames);
}

/* With room for a tenth of the mappings. Errors are two standard deviations: three hold for 99.7 %
 * of all estimates. */
TEST(sampled_figures_are_within_three_standard_deviations) {
    enum { SEEDS = 100 };
    static uint64_t all_flags[MANY], all_counts[MANY];
    int estimates = 0, misses = 0;

    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        double want[ROWS(consumers)] = {0}, want_all = 0;
        begin(1 << 19);
        memset(all_counts, 0, sizeof(all_counts));
        for (uint64_t frame = 1; frame < MANY; frame++) {
            const uint64_t random = mix(seed << 32 | frame);
            const uint32_t count = 2 + (random >> 32) % 32;
            all_flags[frame] = FRAME_IS_KSM;
            all_counts[frame] = count;
            for (uint32_t i = 0; i < count; i++) {
                const uint32_t process = process_of(random, i);
                content_index_add(&s.mappings, sharing_key(frame + seed * MANY),
                                  content_index_place_once(process, i, false));
                want[processes[process].consumer] += 1 - 1.0 / count;
            }
            want_all += count - 1;
        }
        for (size_t i = 0; i < s.mappings.count; i++)
            s.mappings.records[i].key =
                sharing_key(sharing_frame(s.mappings.records[i].key) - seed * MANY);
        s.frames.flags = write_file(all_flags, sizeof(all_flags));
        s.frames.counts = write_file(all_counts, sizeof(all_counts));
        ck_assert_int_eq(sharing_finish(&s), 0);
        ck_assert_uint_gt(s.mappings.sampling_shift, 1);
        estimates++;
        misses += fabs(s.saved.pages - want_all) > 1.5 * sharing_error(&s.saved);
        for (int i = 0; i < ROWS(consumers); i++) {
            if (want[i] < want_all / 100)
                continue;
            estimates++;
            misses += fabs(s.consumers[i].saved.pages - want[i]) >
                      1.5 * sharing_error(&s.consumers[i].saved);
        }
        release();
    }
    ck_assert_msg(misses <= estimates * 3 / 1000, "%d of %d estimates are off", misses, estimates);
}

/* Returns a size in kB of this process: "VmRSS" or "VmHWM", its maximum so far. */
static long memory_kb(const char *name) {
    char line[256];
    long kb = -1;
    FILE *file = fopen("/proc/self/status", "r");

    ck_assert_ptr_nonnull(file);
    while (fgets(line, sizeof(line), file))
        if (strncmp(line, name, strlen(name)) == 0)
            kb = atol(line + strlen(name) + 1);
    fclose(file);
    return kb;
}

/* Whether this runs with a sanitizer or in valgrind, which use memory of their own. */
static bool is_instrumented(void) {
    const char *preloaded = getenv("LD_PRELOAD");
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return true;
#endif
    return preloaded && strstr(preloaded, "vgpreload");
}

/* Frames with 2 to 18 mappings each. */
TEST(ten_million_mappings_stay_within_the_memory_limit) {
    enum { LIMIT_MIB = 64, MERGED = 1000000, MAPPINGS = 10000000, OWN_KB = 1024 };
    static uint64_t merged_flags[MERGED + 1], merged_counts[MERGED + 1];
    double want_all = 0;
    size_t mappings = 0;

    if (is_instrumented()) {
        suite_skip(__func__, "a sanitizer or valgrind uses memory, too");
        return;
    }
    begin(LIMIT_MIB << 20);
    for (uint64_t frame = 1; frame <= MERGED; frame++) {
        merged_flags[frame] = FRAME_IS_KSM;
        merged_counts[frame] = 2 + mix(frame) % 17;
        want_all += (double)merged_counts[frame] - 1;
    }
    s.frames.flags = write_file(merged_flags, sizeof(merged_flags));
    s.frames.counts = write_file(merged_counts, sizeof(merged_counts));
    const long before = memory_kb("VmRSS");
    for (uint64_t frame = 1; frame <= MERGED; frame++)
        for (uint64_t i = 0; i < merged_counts[frame]; i++, mappings++)
            content_index_add(
                &s.mappings, sharing_key(frame),
                content_index_place_once(process_of(mix(frame), (uint32_t)i), i, false));
    ck_assert_int_eq(sharing_finish(&s), 0);
    const long used = memory_kb("VmHWM") - before;
    printf("%zu mappings: %ld kB, 1 of %d frames; saved %.0f +- %.0f pages, really %.0f\n",
           mappings, used, 1 << s.mappings.sampling_shift, s.saved.pages, sharing_error(&s.saved),
           want_all);
    ck_assert_uint_ge(mappings, MAPPINGS / 100 * 99);
    ck_assert_int_gt(s.mappings.sampling_shift, 0);
    ck_assert(fabs(s.saved.pages - want_all) <= 1.5 * sharing_error(&s.saved));
    ck_assert_int_le(used, (LIMIT_MIB << 10) + OWN_KB);
}

/* ---- the report ---- */

static char *print(void (*write)(const struct sharing *, const struct sharing_host *, FILE *)) {
    static char text[65536];
    FILE *file = fmemopen(text, sizeof(text), "w");

    write(&s, &host, file);
    ck_assert_int_eq(fclose(file), 0);
    return text;
}

static void report(const struct sharing *result, const struct sharing_host *numbers, FILE *file) {
    sharing_report(result, numbers, &(const struct wrap){.file = file, .columns = WRAP_COLUMNS});
}

static void pair(void) {
    add_mapping(7, 0, 0);
    add_mapping(7, 1, 0);
}

static void users(void) {
    pair();
    add_mapping(8, 4, 0);
    add_mapping(8, 2, 0);
}

#define LONG_NAME                                                                                  \
    "\u6f22\u6f22\u6f22\u6f22\u6f22\u6f22\u6f22\u6f22\u6f22\u6f22"                                 \
    "\u6f22\u6f22\u6f22\u6f22\u6f22\u6f22\u6f22\u6f22\u6f22\u6f22"

static void long_names(void) {
    for (size_t i = 0; i < 3; i++)
        strcpy(consumers[i].name.text, LONG_NAME);
    strcat(consumers[1].name.text, "1"); /* two machines */
    pair();
    add_mapping(7, 2, 0);
}

static void one_owner(void) {
    add_mapping(7, 1, 0);
    add_mapping(7, 5, 0);
}

static void agrees(void) {
    pair();
    host.sharing = 1;
}

static void differs(void) {
    pair();
    host.sharing = 3;
    host.zero = 2;
}

static void others(void) {
    pair();
    counts[7] += 2;
}

static void unclear(void) {
    s.frames.knows_ksm = false;
    processes[1].stack = processes[0].stack;
    pair();
}

static void all_clear(void) {
    s.frames.knows_ksm = false;
    pair();
}

static void one_owner_read(void) {
    one_owner();
    s.scan.counts.denied = 1;
}

static void one_owner_and_exited(void) {
    one_owner();
    s.scan.counts.exited = 1;
}

/* A mapping of the page is in no process that was read. */
static void one_owner_and_others(void) {
    one_owner();
    counts[7] += 2;
}

static void hidden(void) {
    one_owner();
    host.hidden = true;
}

static void partial(void) {
    pair();
    s.scan.counts.partial = true;
}

static void left_out(void) {
    pair();
    s.scan.counts.denied = 1;
    s.scan.counts.exited = 2;
    s.scan.counts.blocking = 3;
    processes[0].hugetlb = true;
}

static void left_out_by_root(void) {
    left_out();
    s.scan.counts.as_root = true;
}

static const struct {
    void (*make)(void);
    const char *has[4];
    const char *lacks[3];
} reports[] = {
    {pair,
     {"Owners 4.0 KiB are merged between 2 owners: vm web and vm db.",
      "Saved 4.0 KiB, by merging. Read", " 4.0 KiB vm db and vm web Merged between owners"},
     {"Partial", "give or take", "kernel counts"}},
    {users, {"merged between 4 owners: vm web, vm db, container c1 and user 1000."}, {"more"}},
    {long_names,
     {"3 owners: vm " LONG_NAME "1, vm " LONG_NAME " and container " LONG_NAME "."},
     {0}},
    {one_owner, {"Owners No memory is merged between owners."}, {"Merged between", "Hidden"}},
    {one_owner_read, {"Owners No memory is merged between the owners that were read."}, {"Hidden"}},
    {one_owner_and_exited, {"Owners No memory is merged between the owners that were read."}, {0}},
    {one_owner_and_others,
     {"Owners No memory is merged between the owners that were read.", "Others 6.0 KiB of"},
     {0}},
    {hidden,
     {"Owners No memory is merged between the owners that were read.", "Hidden Other processes"},
     {"between owners"}},
    {agrees, {"Saved 4.0 KiB, by merging, as the kernel counts too."}, {0}},
    {differs,
     {"The kernel counts 12.0 KiB: 8.0 KiB is of pages that were forked",
      "Zeros 8.0 KiB more is saved"},
     {"too."}},
    {others, {"Others 6.0 KiB of the saving"}, {0}},
    {unclear, {"Unclear 8.0 KiB is merged, or inherited"}, {0}},
    {all_clear, {"Unclear This kernel does not report"}, {0}},
    {partial, {"Partial This was stopped early"}, {0}},
    {left_out,
     {"Left out 1 process could not be read", "Left out 3 processes: reading",
      "Left out 2 processes ended", "Left out Pages of hugetlbfs"},
     {0}},
    {left_out, {"Left out 1 process could not be read. To read all, run it with sudo."}, {"CAP_"}},
    {left_out_by_root,
     {"Left out 1 process could not be read: ksm-explain lacks CAP_SYS_PTRACE"},
     {"sudo."}},
};

TEST_ROWS(report_has, reports) {
    begin(1 << 20);
    row->make();
    finish();
    const char *text = print(report), *flat = suite_unwrapped(text);
    for (int i = 0; i < ROWS(row->has) && row->has[i]; i++)
        ck_assert_msg(strstr(flat, row->has[i]), "no \"%s\" in\n%s", row->has[i], text);
    for (int i = 0; i < ROWS(row->lacks) && row->lacks[i]; i++)
        ck_assert_msg(!strstr(flat, row->lacks[i]), "\"%s\" in\n%s", row->lacks[i], text);
    for (; *text; text += strcspn(text, "\n") + 1)
        ck_assert_msg(strcspn(text, "\n") <= wrap_fit(text, 80), "%s", text);
}

/* The names of the plugins' table limit those of OpenMetrics. */
TEST(openmetrics_has_names_that_are_shown) {
    struct ksm_consumer list[] = {{.name = {KSM_CONSUMER_vm, "db"}, .shown = true},
                                  {.name = {KSM_CONSUMER_vm, "web"}, .shown = false}};

    begin(1 << 20);
    users();
    finish();
    table.list = list;
    table.count = ROWS(list);
    const char *text = print(sharing_openmetrics);
    ck_assert_msg(strstr(text, "ksm_consumer_saved_exact_bytes{kind=\"vm\",name=\"db\"} 2048\n") &&
                      !strstr(text, "web") &&
                      strstr(text, "ksm_shared_across_owners_bytes 8192\n# EOF\n"),
                  "%s", text);
}
