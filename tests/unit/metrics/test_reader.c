/* SPDX-License-Identifier: MIT
 *
 * One tick over a whole host, and what is left of it when one of its files goes bad.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "metrics/reader.h"
#include "support/faults.h"
#include "support/host.h"
#include "support/suite.h"
#include "support/tree.h"

static const int64_t second = 1000;
static const int64_t minute = 60 * 1000;
static const int64_t start = 1234567; /* of the clock, ms */

static struct ksm_reader reader;
static const char *dir;

void before_each(void) {
    dir = suite_dir();
    host_make(dir);
    faults_clear();
}

static void begin(bool settings) {
    int status = ksm_reader_init(&reader, dir, settings);

    ck_assert_msg(status == 0, "ksm_reader_init: got %s, want 0", suite_status(status));
}

static void tick(int64_t now) {
    int status = ksm_reader_tick(&reader, now);

    ck_assert_msg(status == 0, "ksm_reader_tick: got %s, want 0", suite_status(status));
}

static void expect(const char *when, size_t id, int want_status, int64_t want) {
    const struct ksm_value *got = &reader.sample.values[id];

    ck_assert_msg(got->status == want_status && (want_status != 0 || got->value == want),
                  "%s: %s: got status %s, value %" PRId64 "; want %s, %" PRId64, when,
                  ksm_metrics[id].name, suite_status(got->status), got->value,
                  suite_status(want_status), want);
}

static void expect_at(int64_t now, const char *when, size_t id, int want_status, int64_t want) {
    tick(now);
    expect(when, id, want_status, want);
}

/* What each derived metric is worked out from. */
static const struct {
    enum ksm_id id;
    enum ksm_id from[4];
    int operands;
} derived[] = {
    {KSM_saved, {KSM_sharing, KSM_zero}, 2},
    {KSM_profit, {KSM_general_profit}, 1},
    {KSM_overhead, {KSM_sharing, KSM_zero, KSM_general_profit}, 3},
    {KSM_gain, {KSM_sharing, KSM_shared}, 2},
    {KSM_merged, {KSM_shared, KSM_sharing, KSM_unshared, KSM_volatile}, 4},
    {KSM_ram, {KSM_sharing, KSM_zero, KSM_mem_total}, 3},
    {KSM_net, {KSM_general_profit, KSM_mem_total}, 2},
    {KSM_exposure, {KSM_sharing, KSM_zero, KSM_mem_available, KSM_swap_free}, 4},
    {KSM_sharing_ratio, {KSM_sharing, KSM_shared}, 2},
    {KSM_anon_huge, {KSM_anon_huge_kb}, 1},
    {KSM_ksmd_cpu_per_gib, {KSM_ksmd_cpu, KSM_sharing, KSM_zero}, 3},
    {KSM_scanned_per_page, {KSM_scanned, KSM_sharing, KSM_zero}, 3},
};

/* What these are depends on the readings before: test_pace.c. */
static const enum ksm_id paced[] = {
#define RATE(name, formula, kind, unit, group, since, help) KSM_##name,
#include "metrics/metrics.def"
};

/* Metrics that are lost together, with one status: one metric, or all of one file. */
struct loss {
    size_t id;
    bool whole_file;
    int status;
};

static bool is_lost(const struct loss *loss, size_t id) {
    if (loss->whole_file)
        return ksm_metrics[id].source == ksm_metrics[loss->id].source && host_has(id);
    return id == loss->id;
}

/* Nothing else than what is lost, and what is worked out from that, may differ from the host. */
static void expect_loss(const char *when, const struct loss *loss) {
    struct ksm_sample want;

    host_sample(&want);
    for (size_t id = 0; id < KSM_METRICS; id++)
        if (is_lost(loss, id) && loss->status != 0)
            want.values[id].status = loss->status;
    for (int i = 0; i < ROWS(derived); i++) {
        for (int j = 0; j < derived[i].operands; j++) {
            enum ksm_id operand = derived[i].from[j];
            /* These two have a substitute where the kernel lacks them: tested below. */
            if (loss->status == -ENOENT && (operand == KSM_zero || operand == KSM_general_profit) &&
                is_lost(loss, operand))
                want.values[derived[i].id] = reader.sample.values[derived[i].id];
            else if (loss->status != 0 && is_lost(loss, operand))
                want.values[derived[i].id].status = loss->status;
        }
    }
    if (loss->status == -EDOM) { /* tested below, too */
        want.values[KSM_profit] = reader.sample.values[KSM_profit];
        want.values[KSM_net] = reader.sample.values[KSM_net];
    }
    for (int i = 0; i < ROWS(paced); i++)
        want.values[paced[i]] = reader.sample.values[paced[i]];
    for (size_t id = 0; id < KSM_METRICS; id++)
        expect(when, id, want.values[id].status, want.values[id].value);
}

static void expect_all_well(const char *when) {
    expect_loss(when, &(struct loss){0, false, 0});
}

static void expect_all_well_at(int64_t now, const char *when) {
    tick(now);
    expect_all_well(when);
}

TEST(every_metric_is_read) {
    begin(true);
    expect("before the first tick", KSM_shared, -ENOENT, 0);
    expect_all_well_at(start, "first tick");
    expect_all_well_at(start + second, "second tick");
    ck_assert_int_eq(reader.sample.page_size, sysconf(_SC_PAGESIZE));
    ksm_reader_close(&reader);
    expect_all_well_at(start + 2 * second, "after closing");
}

static const long page_sizes[] = {4096, 16384, 65536};

TEST_ROWS(saved_uses_the_page_size_of_the_system, page_sizes) {
    faults_page_size(*row);
    begin(true);
    expect_at(start, "saved", KSM_saved, 0,
              (host_value(KSM_sharing) + host_value(KSM_zero)) * *row);
    ck_assert_int_eq(reader.sample.page_size, *row);
}

/* What can be wrong with a file. What a text is no number for is test_parse.c's. */
static const struct damage {
    const char *what;
    enum { MISSING, DIRECTORY, OPEN_FAILS, READ_FAILS, TOO_LONG, SAYS } how;
    int err; /* of open and read */
    const char *text;
    size_t len;
} damages[] = {
    {"missing", MISSING, 0, NULL, 0},
    {"a directory", DIRECTORY, 0, NULL, 0},
    {"EACCES from open", OPEN_FAILS, EACCES, NULL, 0},
    {"EIO from open", OPEN_FAILS, EIO, NULL, 0},
    {"EIO from read", READ_FAILS, EIO, NULL, 0},
    {"1 MB without newline", TOO_LONG, 0, NULL, 0},
    {"empty", SAYS, 0, TEXT("")},
    {"a newline", SAYS, 0, TEXT("\n")},
    {"12abc", SAYS, 0, TEXT("12abc\n")},
    {"-5", SAYS, 0, TEXT("-5\n")},
    {"two lines", SAYS, 0, TEXT("7\n8\n")},
    {"2^63", SAYS, 0, TEXT("9223372036854775808\n")},
    {"a NUL", SAYS, 0, TEXT("7\0\n")},
};

static bool has_fields(size_t id) {
    return ksm_metrics[id].source == KSM_SOURCE_VMSTAT ||
           ksm_metrics[id].source == KSM_SOURCE_MEMINFO;
}

/* One metric of each file. */
static bool is_first_of_file(size_t id) {
    for (size_t before = 0; has_fields(id) && before < id; before++)
        if (host_has(before) && ksm_metrics[before].source == ksm_metrics[id].source)
            return false;
    return host_has(id);
}

static void inflict(const struct damage *damage, size_t id) {
    static char megabyte[1024 * 1024];
    const char *name = strrchr(host_path(id), '/');

    switch (damage->how) {
    case MISSING:
        tree_unlink(dir, host_path(id));
        break;
    case DIRECTORY:
        tree_unlink(dir, host_path(id));
        ck_assert_int_eq(mkdir(tree_path(dir, "%s", host_path(id)), 0755), 0);
        break;
    case OPEN_FAILS:
        faults_fail(FAULTS_OPEN, name, 0, damage->err);
        break;
    case READ_FAILS:
        faults_fail(FAULTS_PREAD, name, 0, damage->err);
        break;
    case TOO_LONG:
        memset(megabyte, '7', sizeof(megabyte));
        tree_write(dir, host_path(id), megabyte, sizeof(megabyte));
        break;
    case SAYS:
        tree_write(dir, host_path(id), damage->text, damage->len);
        break;
    }
}

static void heal(size_t id) {
    faults_clear();
    host_write(dir, id, NULL, 0);
}

/* The status that a damage gives to the metrics of a file; 0 if it is none to that metric: a minus
 * where a sign belongs. */
static int status_of(const struct damage *damage, size_t id) {
    int64_t value = 0;

    switch (damage->how) {
    case MISSING:
        return -ENOENT;
    case DIRECTORY:
        return -EISDIR;
    case OPEN_FAILS:
    case READ_FAILS:
        return -damage->err;
    case TOO_LONG:
        return -EFBIG;
    case SAYS:
        break;
    }
    if (has_fields(id)) /* a file without the field, or without anything */
        return damage->len == 0 ? -ENODATA : -ENOENT;
    return ksm_metrics[id].parse(damage->text, damage->len, &value);
}

/* Whether a text is no damage to a metric: only a minus ever is, where a sign belongs. */
static bool is_harmless(const struct damage *damage, size_t id) {
    bool harmless = status_of(damage, id) == 0;
    bool minus = damage->how == SAYS && damage->text[0] == '-';

    ck_assert_msg(!harmless ||
                      (minus && (id == KSM_zero || ksm_metrics[id].unit == KSM_UNIT_SIGNED_BYTES)),
                  "%s: %s passes for a number", host_path(id), damage->what);
    return harmless;
}

static bool is_looked_for_again(const struct damage *damage) {
    return damage->how == MISSING || damage->how == OPEN_FAILS;
}

static const char *describe(const struct damage *damage, size_t id, const char *when) {
    static char text[256];

    snprintf(text, sizeof(text), "%s %s, %s", host_path(id), damage->what, when);
    return text;
}

/* A file that goes bad while it is read, and is mended later. */
static void expect_recovery(const struct damage *damage, size_t id, const struct loss *loss) {
    bool knob = ksm_metrics[id].kind == KSM_KIND_KNOB;
    int64_t now = start;

    begin(true);
    expect_all_well_at(now, describe(damage, id, "before"));

    inflict(damage, id);
    now += second;
    tick(now);
    if (knob) { /* it is not read at this tick */
        expect_all_well(describe(damage, id, "before the minute is over"));
        now += minute - second;
        tick(now);
    }
    expect_loss(describe(damage, id, "first tick"), loss);
    tick(now + second);
    expect_loss(describe(damage, id, "second tick"), loss);

    heal(id);
    tick(now + 2 * second);
    if (knob || is_looked_for_again(damage))
        expect_loss(describe(damage, id, "mended, before the minute is over"), loss);
    else
        expect_all_well(describe(damage, id, "mended, next tick"));
    expect_all_well_at(now + minute, describe(damage, id, "mended, a minute later"));
}

/* A file that is bad from the start. */
static void expect_late_start(const struct damage *damage, size_t id, const struct loss *loss) {
    inflict(damage, id);
    begin(true);
    tick(start);
    expect_loss(describe(damage, id, "from the start"), loss);
    heal(id);
    expect_all_well_at(start + minute, describe(damage, id, "mended, a minute later"));
}

TEST_ROWS(damaged_file_affects_only_its_metrics, damages) {
    for (size_t id = 0; id < KSM_METRICS; id++) {
        if (!is_first_of_file(id) || is_harmless(row, id))
            continue;
        const struct loss loss = {id, has_fields(id), status_of(row, id)};
        expect_recovery(row, id, &loss);
        /* Without schedstat stat gives ksmd's CPU time: tested below. */
        if (ksm_metrics[id].source != KSM_SOURCE_KSMD ||
            (loss.status != -ENOENT && loss.status != -ENODATA))
            expect_late_start(row, id, &loss);
    }
}

/* Fields of vmstat and meminfo, among their neighbours; NULL: the field is missing. */
static const struct {
    const char *text;
    size_t len;
} field_damages[] = {
    {NULL, 0},          {TEXT("")},       {TEXT("12abc")},
    {TEXT("-5")},       {TEXT("7 8")},    {TEXT("7\0")},
    {TEXT("12abc kB")}, {TEXT("7\0 kB")}, {TEXT("9223372036854775808")},
    {TEXT("7 MB")},     {TEXT("-5 kB")},  {TEXT("9223372036854775808 kB")},
};

TEST_ROWS(damaged_field_affects_only_its_metrics, field_damages) {
    for (size_t id = 0; id < KSM_METRICS; id++) {
        struct loss loss = {id, false, -ENOENT};
        const char *key = ksm_metrics[id].key;
        int64_t value = 0;

        if (!has_fields(id) || !host_has(id))
            continue;
        if (row->text) {
            loss.status = ksm_metrics[id].parse(row->text, row->len, &value);
            host_write(dir, id, row->text, row->len);
        } else {
            host_remove(dir, id);
        }
        ck_assert_msg(loss.status != 0, "%s: no damage", key);
        begin(true);
        tick(start);
        expect_loss(key, &loss);
        heal(id);
        expect_all_well_at(start + second, key);
    }
}

/* Unusual values that are valid. */
static const struct {
    enum ksm_id id;
    const char *text;
    int64_t want;
} odd[] = {
    {KSM_general_profit, "-5\n", -5},
    {KSM_run, "5\n", 1},
    {KSM_run, "4\n", 0},
    {KSM_shared, "9223372036854775807\n", INT64_MAX},
    {KSM_shared, "7", 7},
    {KSM_scanned, "5 * 2^10\n", 5120},
    {KSM_cow, "9223372036854775807", INT64_MAX},
    {KSM_mem_total, "0 kB", 0},
    {KSM_advisor_mode, "none [scan-time]\n", 1},
    {KSM_ksmd_cpu, "9223372036854775807 0 1\n", INT64_MAX},
};

TEST_ROWS(unusual_values_are_accepted, odd) {
    host_write(dir, row->id, row->text, strlen(row->text));
    begin(true);
    expect_at(start, row->text, row->id, 0, row->want);
}

TEST(without_zero_pages_saved_is_sharing) {
    host_remove(dir, KSM_zero);
    begin(true);
    expect_at(start, "zero", KSM_zero, -ENOENT, 0);
    expect("saved", KSM_saved, 0, host_value(KSM_sharing) * reader.sample.page_size);
}

static void expect_the_estimate(void) {
    int64_t pages = host_value(KSM_shared) + host_value(KSM_sharing) + host_value(KSM_unshared) +
                    host_value(KSM_volatile);

    begin(true);
    expect_at(start, "profit", KSM_profit, 0,
              host_value(KSM_sharing) * reader.sample.page_size - 64 * pages);
}

TEST(without_general_profit_profit_is_computed) {
    host_remove(dir, KSM_general_profit);
    expect_the_estimate();
}

/* general_profit includes that count. */
TEST(negative_zero_pages_are_absent_from_all_metrics) {
    static const enum ksm_id lost[] = {KSM_zero, KSM_saved, KSM_overhead, KSM_ram, KSM_exposure};

    host_write(dir, KSM_zero, TEXT("-1000000\n"));
    host_write(dir, KSM_general_profit, TEXT("-4096000000\n"));
    expect_the_estimate();
    for (int i = 0; i < ROWS(lost); i++)
        expect("miscounted", lost[i], -EDOM, 0);
    host_write(dir, KSM_zero, TEXT("0\n"));
    expect_at(start + second, "counted", KSM_zero, 0, 0);
    expect("counted", KSM_profit, 0, -4096000000);
}

/* meminfo has zero pages on UKSM only. */
TEST(unreadable_meminfo_does_not_affect_zero_pages) {
    host_remove(dir, KSM_zero);
    faults_fail(FAULTS_OPEN, "/meminfo", 0, EACCES);
    begin(true);
    expect_at(start, "zero", KSM_zero, -ENOENT, 0);
    expect("saved", KSM_saved, 0, host_value(KSM_sharing) * reader.sample.page_size);
    expect("ram", KSM_ram, -EACCES, 0);
}

/* lxcfs mounts its own meminfo beside the kernel's /sys. Opening it may block. */
TEST(meminfo_of_lxcfs_is_not_opened) {
    static const enum ksm_id lost[] = {KSM_mem_total, KSM_mem_available, KSM_swap_free,
                                       KSM_ram,       KSM_net,           KSM_exposure};
    const char *root = strdupa(tree_path(dir, "container"));
    char event[64];

    tree_print(root, "proc/meminfo",
               "MemTotal: 4194304 kB\nMemAvailable: 2097152 kB\nSwapFree: 0 kB\n");
    ck_assert_int_eq(symlink("/sys", tree_path(root, "sys")), 0);
    if (ksm_reader_init(&reader, root, true) != 0) {
        suite_skip("meminfo_of_a_container", "no KSM in this kernel");
        return;
    }
    int opened = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    ck_assert_int_ge(inotify_add_watch(opened, tree_path(root, "proc/meminfo"), IN_OPEN), 0);
    tick(start);
    for (int i = 0; i < ROWS(lost); i++)
        expect("meminfo of a container", lost[i], -EXDEV, 0);
    expect("beside it", KSM_shared, 0, reader.sample.values[KSM_shared].value);
    /* KSM's directory is the kernel's, also if a file there cannot be opened any more. */
    faults_fail(FAULTS_PREAD, "/pages_sharing", 1, ENODEV);
    faults_fail(FAULTS_OPEN, "/pages_sharing", 0, EMFILE);
    expect_at(start + minute, "without pages_sharing", KSM_sharing, -EMFILE, 0);
    expect("without pages_sharing", KSM_mem_total, -EXDEV, 0);
    ck_assert_msg(read(opened, event, sizeof(event)) < 0, "meminfo was opened");
    tree_unlink(root, "proc/meminfo");
    expect_at(start + 2 * minute, "no meminfo", KSM_mem_total, -ENOENT, 0);
    close(opened);
    ksm_reader_close(&reader);
}

TEST(truncated_vmstat_has_only_its_complete_fields) {
    static const char text[] = "nr_free_pages 12\ncow_ksm 54321\nlast 1\nksm_swpin_copy 678\n";
    const size_t cow_end = (size_t)(strstr(text, "last") - text);

    begin(true);
    for (size_t len = 1; len < sizeof(text); len++) {
        char when[64];
        snprintf(when, sizeof(when), "vmstat cut off after %zu bytes", len);
        tree_write(dir, "proc/vmstat", text, len);
        tick(start + (int64_t)len);
        if (len >= cow_end)
            expect(when, KSM_cow, 0, 54321);
        else
            ck_assert_msg(reader.sample.values[KSM_cow].status != 0, "%s: got cow %" PRId64, when,
                          reader.sample.values[KSM_cow].value);
        if (len == sizeof(text) - 1)
            expect(when, KSM_swpin_copy, 0, 678);
        else
            ck_assert_msg(reader.sample.values[KSM_swpin_copy].status != 0, "%s: got %" PRId64,
                          when, reader.sample.values[KSM_swpin_copy].value);
    }
}

/* One reader, tick by tick: a field is found wherever it stands by then, and never where it was. */
static const struct {
    const char *what;
    const char *text;
    int cow_status;
    int64_t cow;
    int64_t swpin_copy;
} moves[] = {
    {"at first", "nr_free_pages 12\ncow_ksm 1\nksm_swpin_copy 5\n", 0, 1, 5},
    {"where it was", "nr_free_pages 13\ncow_ksm 2\nksm_swpin_copy 6\n", 0, 2, 6},
    {"a digit later", "nr_free_pages 130\ncow_ksm 3\nksm_swpin_copy 7\n", 0, 3, 7},
    {"earlier", "cow_ksm 44444\nksm_swpin_copy 8\n", 0, 44444, 8},
    {"in other order", "ksm_swpin_copy 9\nnr_free_pages 12\ncow_ksm 5\n", 0, 5, 9},
    {"a longer name there", "nr_free_pages 12\ncow_ksm_x 7\nksm_swpin_copy 10\ncow_ksm 6\n", 0, 6,
     10},
    {"within a line", "nr_free_pages 12 cow_ksm 8\nksm_swpin_copy 11\n", -ENOENT, 0, 11},
    {"back", "nr_free_pages 12\ncow_ksm 9\nksm_swpin_copy 12\n", 0, 9, 12},
};

TEST(fields_may_change_places) {
    begin(true);
    for (int i = 0; i < ROWS(moves); i++) {
        tree_write(dir, "proc/vmstat", moves[i].text, strlen(moves[i].text));
        expect_at(start + i, moves[i].what, KSM_cow, moves[i].cow_status, moves[i].cow);
        expect(moves[i].what, KSM_swpin_copy, 0, moves[i].swpin_copy);
    }
}

static const struct {
    size_t size;
    size_t piece; /* that the kernel gives at a time */
    int want;
} vmstat_sizes[] = {
    {100, 0, 0},   {4096, 4096, 0},    {8193, 4000, 0},       {8193, 100, 0},      {60000, 4000, 0},
    {65535, 0, 0}, {65536, 0, -EFBIG}, {65536, 4000, -EFBIG}, {100000, 0, -EFBIG},
};

/* The field is at its end. */
TEST_ROWS(long_vmstat_is_read_to_its_end, vmstat_sizes) {
    static const char end[] = "cow_ksm 54321\n";
    size_t size = row->size;
    char *text = malloc(size);
    char what[64];

    snprintf(what, sizeof(what), "vmstat of %zu bytes, %zu at a time", size, row->piece);
    for (size_t i = 0; i < size; i++)
        text[i] = "cow_ks 9\n"[i % 9];
    text[size - sizeof(end)] = '\n';
    memcpy(text + size - (sizeof(end) - 1), end, sizeof(end) - 1);
    tree_write(dir, "proc/vmstat", text, size);
    free(text);
    begin(true);
    faults_shorten(row->piece);
    expect_at(start, what, KSM_cow, row->want, 54321);
    expect(what, KSM_swpin_copy, row->want == 0 ? -ENOENT : -EFBIG, 0);
    expect(what, KSM_volatile, 0, host_value(KSM_volatile));
}

TEST(knobs_are_read_once_a_minute) {
    begin(true);
    tick(start);
    host_write(dir, KSM_sleep_millisecs, TEXT("77\n"));
    host_write(dir, KSM_pages_to_scan, TEXT("88\n"));
    host_write(dir, KSM_shared, TEXT("99\n"));
    expect_at(start + second, "a second later", KSM_shared, 0, 99);
    expect("a second later", KSM_sleep_millisecs, 0, host_value(KSM_sleep_millisecs));
    expect("a second later", KSM_pages_to_scan, 0, host_value(KSM_pages_to_scan));
    expect_at(start + minute - 1, "59.999 s later", KSM_sleep_millisecs, 0,
              host_value(KSM_sleep_millisecs));
    expect_at(start + minute, "a minute later", KSM_sleep_millisecs, 0, 77);
    expect("a minute later", KSM_pages_to_scan, 0, 88);
}

TEST(pages_to_scan_is_read_every_time_with_the_advisor) {
    host_write(dir, KSM_advisor_mode, TEXT("none [scan-time]\n"));
    begin(true);
    expect_at(start, "advisor on", KSM_pages_to_scan, 0, host_value(KSM_pages_to_scan));
    host_write(dir, KSM_pages_to_scan, TEXT("88\n"));
    host_write(dir, KSM_sleep_millisecs, TEXT("77\n"));
    expect_at(start + second, "advisor on, next tick", KSM_pages_to_scan, 0, 88);
    expect("advisor on, next tick", KSM_sleep_millisecs, 0, host_value(KSM_sleep_millisecs));
    host_write(dir, KSM_advisor_mode, TEXT("[none] scan-time\n"));
    tick(start + minute);
    host_write(dir, KSM_pages_to_scan, TEXT("99\n"));
    expect_at(start + minute + second, "advisor off", KSM_pages_to_scan, 0, 88);
    expect_at(start + 2 * minute, "advisor off, a minute later", KSM_pages_to_scan, 0, 99);
}

TEST(settings_are_not_read_if_not_wanted) {
    int files_read = 0;

    begin(false);
    tick(start);
    tick(start + minute);
    for (size_t id = 0; id < KSM_METRICS; id++) {
        if (ksm_metrics[id].kind == KSM_KIND_KNOB)
            expect("settings off", id, -ENOENT, 0);
        else
            files_read += ksm_metrics[id].source == KSM_SOURCE_KSM;
    }
    expect("settings off", KSM_shared, 0, host_value(KSM_shared));
    /* Two ticks, and what belongs to neither KSM's directory nor to a tick. */
    int others = 2 * 3 + 2 /* kthreadd */ + 5 /* the search for ksmd */;
    ck_assert_msg(faults_count(FAULTS_OPEN) <= 2 * files_read + others,
                  "settings off: %d files opened, want %d at the most", faults_count(FAULTS_OPEN),
                  2 * files_read + others);
}

TEST(file_that_appears_is_read) {
    for (size_t id = 0; id < KSM_METRICS; id++) {
        if (ksm_metrics[id].source != KSM_SOURCE_KSM || !host_has(id))
            continue;
        host_remove(dir, id);
        begin(true);
        expect_at(start, "not there", id, -ENOENT, 0);
        host_write(dir, id, NULL, 0);
        expect_at(start + minute - 1, "there, looked for once a minute", id, -ENOENT, 0);
        expect_at(start + minute, "a minute later", id, 0, host_value(id));
    }
}

/* Renames a directory below sys/kernel/mm. */
static void move(const char *from, const char *to) {
    ck_assert_int_eq(
        rename(tree_path(dir, "sys/kernel/mm/%s", from), tree_path(dir, "sys/kernel/mm/%s", to)),
        0);
}

TEST(directory_may_disappear_and_return) {
    begin(true);
    tick(start);
    move("ksm", "away");
    tick(start + minute);
    for (size_t id = 0; id < KSM_METRICS; id++)
        if (ksm_metrics[id].source == KSM_SOURCE_KSM)
            expect("gone", id, -ENOENT, 0);
    expect("other sources", KSM_cow, 0, host_value(KSM_cow));
    move("away", "ksm");
    expect_all_well_at(start + 2 * minute, "back");
}

TEST(tick_fails_if_nothing_is_readable) {
    faults_fail(FAULTS_OPEN, NULL, 0, EACCES);
    begin(true);
    int status = ksm_reader_tick(&reader, start);
    ck_assert_msg(status == -EACCES, "got %s, want -EACCES", suite_status(status));
    faults_clear();
    expect_all_well_at(start + minute, "readable again");
}

/* What is only read for derived metrics is not sent. */
TEST(tick_fails_if_no_metric_that_is_sent_is_readable) {
    for (size_t id = 0; id < KSM_METRICS; id++)
        if (is_first_of_file(id))
            inflict(&damages[MISSING], id);
    tree_unlink(dir, "proc/37/stat");
    tree_print(dir, "proc/meminfo", "MemTotal:        4194304 kB\n");
    begin(true);
    int status = ksm_reader_tick(&reader, start);
    ck_assert_msg(status == -ENOENT, "got %s, want -ENOENT", suite_status(status));
    expect("read", KSM_mem_total, 0, 4194304);
}

TEST(tick_succeeds_if_one_metric_is_readable) {
    for (size_t id = 0; id < KSM_METRICS; id++)
        if (is_first_of_file(id) && id != KSM_dups)
            inflict(&damages[MISSING], id);
    tree_unlink(dir, "proc/37/stat");
    begin(true);
    expect_at(start, "the only one", KSM_dups, 0, host_value(KSM_dups));
}

TEST(lack_of_descriptors_is_transient) {
    begin(true);
    faults_fail(FAULTS_OPEN, NULL, 0, EMFILE);
    ck_assert_int_eq(ksm_reader_tick(&reader, start), -EMFILE);
    faults_clear();
    expect_at(start + second, "next tick", KSM_shared, 0, host_value(KSM_shared));
    expect("next tick", KSM_cow, 0, host_value(KSM_cow));
    expect_all_well_at(start + minute, "a minute later");
}

/* UKSM. */
static void make_uksm(void) {
    static const char *const ksm_only[] = {"general_profit", "ksm_zero_pages", "pages_volatile",
                                           "pages_to_scan", "stable_node_chains"};

    move("ksm", "uksm");
    for (int i = 0; i < ROWS(ksm_only); i++)
        tree_unlink(tree_path(dir, "sys/kernel/mm/uksm"), ksm_only[i]);
    tree_print(dir, "sys/kernel/mm/uksm/pages_scanned", "3 * 2^40\n");
    host_thread(dir, 37, "uksmd", 2);
    tree_print(dir, "proc/meminfo",
               "MemTotal:        4194304 kB\nMemAvailable:    2097152 kB\n"
               "SwapFree:              0 kB\nKsmZeroPages:        400 kB\n");
}

TEST_ROWS(uksm_is_read_in_place_of_ksm, page_sizes) {
    static const enum ksm_id lost[] = {KSM_volatile, KSM_merged, KSM_profit, KSM_overhead};
    const int64_t zero = 400 / (*row / 1024);

    make_uksm();
    faults_page_size(*row);
    begin(true);
    expect_at(start, "uksm", KSM_shared, 0, host_value(KSM_shared));
    expect("uksm", KSM_run, 0, 1);
    expect("uksm", KSM_scanned, 0, (int64_t)3 << 40);
    expect("uksm", KSM_ksmd_cpu, 0, host_value(KSM_ksmd_cpu));
    expect("uksm", KSM_zero, 0, zero);
    expect("uksm", KSM_saved, 0, (host_value(KSM_sharing) + zero) * *row);
    expect("uksm", KSM_gain, 0, *row); /* host_value: one more sharing than shared */
    for (int i = 0; i < ROWS(lost); i++)
        expect("uksm", lost[i], -ENOENT, 0);
}

TEST(unreadable_zero_pages_of_uksm_are_absent) {
    make_uksm();
    tree_print(dir, "proc/meminfo", "MemTotal: 4194304 kB\nKsmZeroPages: 12abc kB\n");
    begin(true);
    expect_at(start, "uksm", KSM_zero, -EINVAL, 0);
    expect("uksm", KSM_saved, -EINVAL, 0);
    tree_print(dir, "proc/meminfo", "MemTotal: 4194304 kB\n");
    expect_at(start + second, "uksm without the line", KSM_zero, -ENOENT, 0);
    expect("uksm without the line", KSM_saved, 0,
           host_value(KSM_sharing) * reader.sample.page_size);
}

TEST(lack_of_descriptors_at_the_start_does_not_hide_uksm) {
    make_uksm();
    faults_fail(FAULTS_OPENDIR, "mm/uksm", 0, EMFILE);
    begin(true);
    faults_clear();
    expect_at(start, "uksm", KSM_shared, 0, host_value(KSM_shared));
    expect("uksm", KSM_ksmd_cpu, 0, host_value(KSM_ksmd_cpu));
}

TEST(ksm_precedes_uksm) {
    tree_print(dir, "sys/kernel/mm/uksm/pages_shared", "4\n");
    begin(true);
    expect_all_well_at(start, "both directories");
}

/* ksmd. */
#define STATUS(name, parent, rest) "Name:\t" name "\nState:\tS (sleeping)\nPPid:\t" parent "\n" rest
#define MEMORY "VmPeak:\t 20916 kB\nVmSize:\t 20916 kB\n"

/* Processes that call themselves ksmd, and kernel threads of other names. A NULL is no file. */
static const struct {
    const char *comm;
    const char *status;
} decoys[] = {
    {"ksmd\n", STATUS("ksmd", "1", MEMORY)},
    {"ksmd\n", STATUS("ksmd", "2", MEMORY)}, /* where pid 2 is a process called kthreadd */
    {"ksmd\n", STATUS("ksmd", "1", "")},     /* a zombie */
    {"ksmd\n", STATUS("ksmd", "22", "")},
    {"ksmd\n", STATUS("ksmd\\nPPid:\t2", "1", "")},
    {"ksmd\n", STATUS("bash", "2", "")}, /* its name has changed */
    {"ksmd\n", "Name:\tksmd\n"},
    {"ksmd\n", ""},
    {"ksmd\n", NULL},
    {"ksmd", STATUS("ksmd", "2", "")},
    {"ksmd2\n", STATUS("ksmd", "2", "")}, /* status must not even be read */
    {"kksmd\n", STATUS("ksmd", "2", "")},
    {"uksmd\n", STATUS("uksmd", "2", "")},
    {"", STATUS("ksmd", "2", "")},
    {NULL, STATUS("ksmd2", "2", "")},
    {NULL, NULL},
};

/* Numbers of its own for proc/PID. */
static void make_process(int pid, const char *comm, const char *status, const char *schedstat) {
    if (comm)
        tree_print(dir, tree_path("proc", "%d/comm", pid), "%s", comm);
    if (status)
        tree_print(dir, tree_path("proc", "%d/status", pid), "%s", status);
    tree_print(dir, tree_path("proc", "%d/schedstat", pid), "%s", schedstat);
}

TEST(decoys_are_not_ksmd) {
    tree_remove(tree_path(dir, "proc/37"));
    for (int i = 0; i < ROWS(decoys); i++)
        make_process(10 + i, decoys[i].comm, decoys[i].status, "666 6 6\n");
    tree_print(dir, "proc/self/status", STATUS("ksmd", "2", ""));
    tree_print(dir, "proc/99999999999/status", STATUS("ksmd", "2", ""));
    begin(true);
    expect_at(start, "decoys alone", KSM_ksmd_cpu, -ENOENT, 0);

    host_thread(dir, 4001, "ksmd", 2);
    tree_print(dir, "proc/4001/schedstat", "777 7 7\n");
    int searches = faults_count(FAULTS_OPENDIR);
    expect_at(start + minute - 1, "looked for once a minute", KSM_ksmd_cpu, -ENOENT, 0);
    ck_assert_int_eq(faults_count(FAULTS_OPENDIR), searches);
    expect_at(start + minute, "among decoys", KSM_ksmd_cpu, 0, 777);
    tick(start + 3 * minute);
    ck_assert_int_eq(faults_count(FAULTS_OPENDIR), searches + 1);
}

/* Linux 2.6.32 has no comm. */
TEST(ksmd_is_found_without_comm) {
    tree_unlink(dir, "proc/2/comm");
    tree_unlink(dir, "proc/37/comm");
    begin(true);
    expect_all_well_at(start, "no comm");
}

/* Reading them blocks while the process holds its exec_update_lock or its mmap lock. */
static const char *const blocking_files[] = {"/stat", "/cmdline", "/exe", "/ksm_stat"};

TEST_ROWS(search_opens_no_file_that_blocks, blocking_files) {
    for (int pid = 3; pid < 9; pid++)
        make_process(pid, "ksmd\n", STATUS("ksmd", "1", MEMORY), "666 6 6\n");
    for (int pid = 2; pid < 9; pid++)
        tree_print(dir, tree_path("proc", "%d%s", pid, *row), "%s", "");
    faults_fail(FAULTS_OPEN, *row, 0, EIO);
    faults_fail(FAULTS_OPENAT, *row, 0, EIO);
    begin(true);
    expect_at(start, "found nevertheless", KSM_ksmd_cpu, 0, host_value(KSM_ksmd_cpu));
    ck_assert_int_eq(faults_seen(FAULTS_OPEN, *row) + faults_seen(FAULTS_OPENAT, *row), 0);
}

/* Reading status may have to release the memory of the process. */
TEST(search_opens_only_comm_of_others) {
    for (int pid = 3; pid < 9; pid++)
        make_process(pid, "bash\n", STATUS("bash", "1", MEMORY), "666 6 6\n");
    faults_fail(FAULTS_OPENAT, "/status", INT_MAX, EIO);
    begin(true);
    expect_at(start, "found", KSM_ksmd_cpu, 0, host_value(KSM_ksmd_cpu));
    ck_assert_int_eq(faults_seen(FAULTS_OPENAT, "/status"), 2); /* kthreadd and ksmd */
}

/* In a container /proc shows other processes, pid 2 among them, or none. */
static const struct {
    const char *comm;
    const char *status;
} pid_2[] = {
    {NULL, NULL},
    {"bash\n", STATUS("bash", "0", "")},
    {"kthreadd\n", STATUS("kthreadd", "1", "")},
    {"kthreadd\n", STATUS("kthreadd", "0", MEMORY)},
};

TEST_ROWS(false_kthreadd_in_a_container_is_skipped, pid_2) {
    tree_remove(tree_path(dir, "proc/2"));
    make_process(2, row->comm, row->status, "6 6 6\n");
    faults_fail(FAULTS_OPENAT, "37/comm", INT_MAX, EIO);
    begin(true);
    expect_at(start, "no kthreadd", KSM_ksmd_cpu, -ENOENT, 0);
    expect("other metrics", KSM_shared, 0, host_value(KSM_shared));
    ck_assert_int_eq(faults_seen(FAULTS_OPENAT, "37/comm"), 0); /* no other process is read */
}

TEST(ksmd_is_absent_if_proc_cannot_be_listed) {
    faults_fail(FAULTS_OPENDIR, "/proc", 1, EACCES);
    begin(true);
    expect_at(start, "first tick", KSM_ksmd_cpu, -EACCES, 0);
    expect_at(start + second, "second tick", KSM_ksmd_cpu, -EACCES, 0);
    expect_all_well_at(start + minute, "a minute later");
}

TEST(ksmd_is_looked_for_at_once_after_a_lack_of_descriptors) {
    faults_fail(FAULTS_OPENDIR, "/proc", 1, EMFILE);
    begin(true);
    expect_at(start, "first tick", KSM_ksmd_cpu, -EMFILE, 0);
    expect_all_well_at(start + second, "second tick");
}

/* Kernels without schedstat, or that keep none: utime + stime, 14 + 15 clock ticks. */
static const char *const schedstats[] = {NULL, "0 0 0\n", ""};

/* Fields 14 and following of stat. */
static const struct {
    const char *times;
    int status;
    int64_t ticks;
} later[] = {
    {"20 30 0 0 25 5 1 0 1\n", 0, 50},
    {"20 3", -EINVAL, 0}, /* cut off */
    {"9223372036854775807 1 0 0\n", -ERANGE, 0},
    {"4611686018427387904 0 0 0\n", -ERANGE, 0}, /* in nanoseconds */
};

TEST_ROWS(without_schedstat_the_time_comes_from_stat, schedstats) {
    int64_t ns = 1000000000 / sysconf(_SC_CLK_TCK);

    tree_unlink(dir, "proc/37/schedstat");
    if (*row)
        tree_print(dir, "proc/37/schedstat", "%s", *row);
    begin(true);
    expect_at(start, "stat", KSM_ksmd_cpu, 0, 29 * ns);
    /* The account is chosen once: the other could be a little less, and counters do not go back. */
    tree_print(dir, "proc/37/schedstat", "777 7 7\n");
    for (int i = 0; i < ROWS(later); i++) {
        tree_print(dir, "proc/37/stat", "37 (ksmd) S 2 0 0 0 -1 2129984 0 0 0 0 %s",
                   later[i].times);
        expect_at(start + (i + 1) * 2 * minute, later[i].times, KSM_ksmd_cpu, later[i].status,
                  later[i].ticks * ns);
    }
}

TEST(longest_stat_is_read) {
    char line[1024];
    int n =
        snprintf(line, sizeof(line), "37 (ksmd) S 2 0 0 0 -1 2129984 0 0 0 0 14 15 0 0 25 5 1 0 1");

    while (n < 1000)
        n += snprintf(line + n, sizeof(line) - (size_t)n, " 18446744073709551615");
    tree_print(dir, "proc/37/stat", "%.*s\n", n, line);
    begin(true);
    expect_all_well_at(start, "a stat of 1 kB");
}

/* Where the reader may begin. */
static void expect_why_not(const char *root, int want, const char *words) {
    char message[1024];
    int status = ksm_reader_init(&reader, root, true);

    ck_assert_msg(status == want, "got %s, want %s", suite_status(status), suite_status(want));
    ksm_reader_describe_error(status, root, message, sizeof(message));
    ck_assert_msg(strstr(message, words) && strstr(message, root) && !strchr(message, '\n'),
                  "message \"%s\"", message);
    ksm_reader_close(&reader);
}

TEST(root_may_have_slashes_and_errors_name_it) {
    static char long_root[2 * PATH_MAX];

    ck_assert_int_eq(ksm_reader_init(&reader, tree_path(dir, "//"), true), 0);
    expect_all_well_at(start, "root with slashes");

    move("ksm", "other");
    expect_why_not(dir, -ENOENT, "this kernel has no KSM");
    expect_why_not(dir, -ENOENT, "sys/kernel/mm/ksm");
    expect_why_not(tree_path(dir, "proc/vmstat"), -ENOTDIR, "Not a directory");
    memset(long_root, 'a', sizeof(long_root) - 1);
    ck_assert_int_eq(ksm_reader_init(&reader, "/no/such/root", true), -ENOENT);
    ck_assert_int_eq(ksm_reader_init(&reader, long_root, true), -ENAMETOOLONG);
}

TEST(unreadable_root_is_an_error) {
    ck_assert_int_eq(chmod(tree_path(dir, "sys"), 0), 0);
    suite_become_nobody();
    int status = ksm_reader_init(&reader, dir, true);
    ck_assert_msg(status == -EACCES, "got %s, want -EACCES", suite_status(status));
}

TEST(file_that_may_not_be_read_is_an_error_of_its_metrics) {
    struct loss loss = {KSM_unshared, false, -EACCES};

    ck_assert_int_eq(chmod(tree_path(dir, "%s", host_path(KSM_unshared)), 0), 0);
    suite_become_nobody();
    begin(true);
    tick(start);
    expect_loss("as nobody", &loss);
}

TEST_TIMES(source_names_file_and_field, KSM_METRICS) {
    char want[PATH_MAX], got[PATH_MAX];
    size_t id = (size_t)_i;

    begin(true);
    tick(start);
    int status = ksm_reader_source(&reader, id, got, sizeof(got));
    if (!ksm_metrics[id].parse) {
        ck_assert_int_eq(status, -ENOENT);
        return;
    }
    ck_assert_int_eq(status, 0);
    snprintf(want, sizeof(want), "%s/%s%s%.*s", dir, host_path(id), has_fields(id) ? ", " : "",
             has_fields(id) ? (int)strcspn(ksm_metrics[id].key, ":") : 0, ksm_metrics[id].key);
    ck_assert_str_eq(got, want);
    for (size_t size = 1; size <= strlen(want) + 1; size++) {
        int need = size <= strlen(want) ? -ENAMETOOLONG : 0;
        status = ksm_reader_source(&reader, id, got, size);
        ck_assert_msg(status == need, "%s in %zu bytes: got %s, want %s", want, size,
                      suite_status(status), suite_status(need));
    }
}

/* This machine, if its kernel has KSM. */
TEST(live_kernel_has_plausible_values) {
    int open_files = suite_open_files();

    if (ksm_reader_init(&reader, "/", true) != 0) {
        suite_skip("live_kernel", "no KSM in this kernel");
        return;
    }
    faults_clear();
    tick(start);
    ck_assert_int_gt(faults_count(FAULTS_OPEN), 10);
    for (size_t id = 0; id < KSM_METRICS; id++)
        if (ksm_metrics[id].parse) {
            int status = reader.sample.values[id].status;
            ck_assert_msg(status == 0 || status == -ENOENT, "%s: got status %s, want 0 or -ENOENT",
                          ksm_metrics[id].name, suite_status(status));
        }
    faults_clear();
    for (int i = 1; i < 60; i++) {
        int preads = faults_count(FAULTS_PREAD);
        tick(start + i * second);
        preads = faults_count(FAULTS_PREAD) - preads;
        ck_assert_msg(preads <= KSM_METRICS, "tick %d: %d preads", i, preads);
    }
    ck_assert_msg(faults_count(FAULTS_OPEN) + faults_count(FAULTS_OPENDIR) == 0,
                  "ticks 2 to 60: %d calls of open and %d of opendir, want none",
                  faults_count(FAULTS_OPEN), faults_count(FAULTS_OPENDIR));
    ksm_reader_close(&reader);
    ck_assert_int_eq(suite_open_files(), open_files);
}

TEST(live_kernel_is_readable_without_rights) {
    if (ksm_reader_init(&reader, "/", true) != 0) {
        suite_skip("live_kernel_as_nobody", "no KSM in this kernel");
        return;
    }
    suite_become_nobody();
    tick(start);
    expect("as nobody", KSM_shared, 0, reader.sample.values[KSM_shared].value);
    expect("as nobody", KSM_saved, 0, reader.sample.values[KSM_saved].value);
}
