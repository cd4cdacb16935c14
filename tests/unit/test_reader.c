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

#include "reader.h"
#include "support/faults.h"
#include "support/host.h"
#include "support/suite.h"
#include "support/tree.h"

static const int64_t second = 1000;
static const int64_t minute = 60 * 1000;
static const int64_t start = 1234567; /* of the clock, ms */

static struct ksm_reader reader;
static const char *dir;

static void set_up(void) {
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

static void write_text(const char *path, const char *text) {
    tree_write(dir, path, text, strlen(text));
}

static void expect(const char *when, size_t id, int want_status, int64_t want) {
    const struct ksm_value *got = &reader.sample.at[id];

    ck_assert_msg(got->status == want_status && (want_status != 0 || got->value == want),
                  "%s: %s: got status %s, value %" PRId64 "; want %s, %" PRId64, when,
                  ksm_figures[id].name, suite_status(got->status), got->value,
                  suite_status(want_status), want);
}

/* What each derived figure is worked out from. */
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
#define PACED(name, formula, kind, unit, group, since, help) KSM_##name,
#include "figures.def"
};

/* Figures that are lost together, with one status: one figure, or all of one file. */
struct loss {
    size_t id;
    bool whole_file;
    int status;
};

static bool is_lost(const struct loss *loss, size_t id) {
    if (loss->whole_file)
        return ksm_figures[id].source == ksm_figures[loss->id].source && host_has(id);
    return id == loss->id;
}

/* Nothing else than what is lost, and what is worked out from that, may differ from the host. */
static void expect_loss(const char *when, const struct loss *loss) {
    struct ksm_sample want;

    host_sample(&want);
    for (size_t id = 0; id < KSM_FIGURES; id++)
        if (is_lost(loss, id) && loss->status != 0)
            want.at[id].status = loss->status;
    for (int i = 0; i < ROWS(derived); i++) {
        for (int j = 0; j < derived[i].operands; j++) {
            enum ksm_id operand = derived[i].from[j];
            /* These two have a substitute where the kernel lacks them: tested below. */
            if (loss->status == -ENOENT && (operand == KSM_zero || operand == KSM_general_profit) &&
                is_lost(loss, operand))
                want.at[derived[i].id] = reader.sample.at[derived[i].id];
            else if (loss->status != 0 && is_lost(loss, operand))
                want.at[derived[i].id].status = loss->status;
        }
    }
    if (loss->status == -EDOM) { /* tested below, too */
        want.at[KSM_profit] = reader.sample.at[KSM_profit];
        want.at[KSM_net] = reader.sample.at[KSM_net];
    }
    for (int i = 0; i < ROWS(paced); i++)
        want.at[paced[i]] = reader.sample.at[paced[i]];
    for (size_t id = 0; id < KSM_FIGURES; id++)
        expect(when, id, want.at[id].status, want.at[id].value);
}

static void expect_all_well(const char *when) {
    expect_loss(when, &(struct loss){0, false, 0});
}

START_TEST(well) {
    begin(true);
    expect("before the first tick", KSM_shared, -ENOENT, 0);
    tick(start);
    expect_all_well("first tick");
    tick(start + second);
    expect_all_well("second tick");
    ck_assert_int_eq(reader.sample.page_size, sysconf(_SC_PAGESIZE));
    ksm_reader_close(&reader);
    tick(start + 2 * second);
    expect_all_well("after closing");
}
END_TEST

START_TEST(saved_is_reckoned_in_pages_of_the_system) {
    static const long sizes[] = {4096, 16384, 65536};

    faults_page_size(sizes[_i]);
    begin(true);
    tick(start);
    int64_t pages = host_value(KSM_sharing) + host_value(KSM_zero);
    expect("saved", KSM_saved, 0, pages * sizes[_i]);
    ck_assert_int_eq(reader.sample.page_size, sizes[_i]);
}
END_TEST

/* What can be wrong with a file. */
static char megabyte[1024 * 1024];

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
    {"EACCES from read", READ_FAILS, EACCES, NULL, 0},
    {"1 MB without newline", TOO_LONG, 0, NULL, 0},
    {"empty", SAYS, 0, TEXT("")},
    {"a newline", SAYS, 0, TEXT("\n")},
    {"12abc", SAYS, 0, TEXT("12abc\n")},
    {"-5", SAYS, 0, TEXT("-5\n")},
    {" 7", SAYS, 0, TEXT(" 7\n")},
    {"+7", SAYS, 0, TEXT("+7\n")},
    {"007", SAYS, 0, TEXT("007\n")},
    {"0x10", SAYS, 0, TEXT("0x10\n")},
    {"1e3", SAYS, 0, TEXT("1e3\n")},
    {"1.5", SAYS, 0, TEXT("1.5\n")},
    {"CRLF", SAYS, 0, TEXT("7\r\n")},
    {"two lines", SAYS, 0, TEXT("7\n8\n")},
    {"30 digits", SAYS, 0, TEXT("123456789012345678901234567890\n")},
    {"2^63", SAYS, 0, TEXT("9223372036854775808\n")},
    {"2^64", SAYS, 0, TEXT("18446744073709551616\n")},
    {"2^64+7", SAYS, 0, TEXT("18446744073709551623\n")},
    {"a NUL", SAYS, 0, TEXT("7\0\n")},
    {"NULs", SAYS, 0, TEXT("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0")},
};

/* One figure of each file. */
static size_t files[KSM_FIGURES];
static int file_count;

static bool has_fields(size_t id) {
    return ksm_figures[id].source == KSM_SOURCE_VMSTAT ||
           ksm_figures[id].source == KSM_SOURCE_MEMINFO;
}

static void find_files(void) {
    unsigned seen = 0;

    for (size_t id = 0; id < KSM_FIGURES; id++) {
        unsigned bit = 1u << ksm_figures[id].source;
        if (!host_has(id) || (has_fields(id) && (seen & bit)))
            continue;
        seen |= bit;
        files[file_count++] = id;
    }
}

static void inflict(const struct damage *damage, size_t id) {
    char path[PATH_MAX];
    const char *name = strrchr(host_path(id), '/');

    switch (damage->how) {
    case MISSING:
        tree_unlink(dir, host_path(id));
        break;
    case DIRECTORY:
        tree_unlink(dir, host_path(id));
        snprintf(path, sizeof(path), "%s/%s", dir, host_path(id));
        ck_assert_int_eq(mkdir(path, 0755), 0);
        break;
    case OPEN_FAILS:
        faults_fail(FAULTS_OPEN, strdup(name), 0, damage->err);
        break;
    case READ_FAILS:
        faults_fail(FAULTS_PREAD, strdup(name), 0, damage->err);
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

/* The status that a damage gives to the figures of a file; 0 if it is none to that figure: a minus
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
    return ksm_figures[id].parse(damage->text, damage->len, &value);
}

/* Whether a text is no damage to a figure: only a minus ever is, where a sign belongs. */
static bool is_harmless(const struct damage *damage, size_t id) {
    bool harmless = status_of(damage, id) == 0;
    bool minus = damage->how == SAYS && damage->text[0] == '-';

    ck_assert_msg(!harmless ||
                      (minus && (id == KSM_zero || ksm_figures[id].unit == KSM_UNIT_SIGNED_BYTES)),
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
START_TEST(file_goes_bad) {
    const struct damage *damage = &damages[_i % ROWS(damages)];
    size_t id = files[_i / ROWS(damages)];
    struct loss loss = {id, has_fields(id), status_of(damage, id)};
    bool knob = ksm_figures[id].kind == KSM_KIND_KNOB;
    int64_t now = start;

    if (is_harmless(damage, id))
        return;
    begin(true);
    tick(now);
    expect_all_well(describe(damage, id, "before"));

    inflict(damage, id);
    now += second;
    tick(now);
    if (knob) { /* it is not read at this tick */
        expect_all_well(describe(damage, id, "before the minute is over"));
        now += minute - second;
        tick(now);
    }
    expect_loss(describe(damage, id, "first tick"), &loss);
    tick(now + second);
    expect_loss(describe(damage, id, "second tick"), &loss);

    heal(id);
    tick(now + 2 * second);
    if (knob || is_looked_for_again(damage))
        expect_loss(describe(damage, id, "mended, before the minute is over"), &loss);
    else
        expect_all_well(describe(damage, id, "mended, next tick"));
    tick(now + minute);
    expect_all_well(describe(damage, id, "mended, a minute later"));
}
END_TEST

/* A file that is bad from the start. */
START_TEST(file_is_bad) {
    const struct damage *damage = &damages[_i % ROWS(damages)];
    size_t id = files[_i / ROWS(damages)];
    struct loss loss = {id, has_fields(id), status_of(damage, id)};

    /* Without schedstat stat gives ksmd's CPU time: tested below. */
    if (is_harmless(damage, id) || (ksm_figures[id].source == KSM_SOURCE_KSMD &&
                                    (loss.status == -ENOENT || loss.status == -ENODATA)))
        return;
    inflict(damage, id);
    begin(true);
    tick(start);
    expect_loss(describe(damage, id, "from the start"), &loss);
    heal(id);
    tick(start + minute);
    expect_all_well(describe(damage, id, "mended, a minute later"));
}
END_TEST

/* Fields of vmstat and meminfo, among their neighbours. */
static size_t fields[KSM_FIGURES];
static int field_count;

static void find_fields(void) {
    for (size_t id = 0; id < KSM_FIGURES; id++)
        if (has_fields(id) && host_has(id))
            fields[field_count++] = id;
}

static const struct {
    const char *text;
    size_t len;
} field_damages[] = {
    {TEXT("")},
    {TEXT("12abc")},
    {TEXT("-5")},
    {TEXT(" 7")},
    {TEXT("+7")},
    {TEXT("007")},
    {TEXT("0x10")},
    {TEXT("1e3")},
    {TEXT("7\r")},
    {TEXT("7 8")},
    {TEXT("7\0")},
    {TEXT("\0\0\0")},
    {TEXT("7 MB")},
    {TEXT("-5 kB")},
    {TEXT("7 kB ")},
    {TEXT("0x10 kB")},
    {TEXT("12abc kB")},
    {TEXT("7  kB")},
    {TEXT("1.5 kB")},
    {TEXT("7\0 kB")},
    {TEXT("123456789012345678901234567890")},
    {TEXT("kB")},
    {TEXT("18446744073709551616 kB")},
    {TEXT("9223372036854775808")},
    {TEXT("9223372036854775808 kB")},
};

START_TEST(field_is_bad) {
    size_t id = fields[_i / ROWS(field_damages)];
    const char *text = field_damages[_i % ROWS(field_damages)].text;
    size_t len = field_damages[_i % ROWS(field_damages)].len;
    int64_t value = 0;
    struct loss loss = {id, false, ksm_figures[id].parse(text, len, &value)};
    char what[200];

    snprintf(what, sizeof(what), "%s %s", ksm_figures[id].key, suite_quote(text, len));
    ck_assert_msg(loss.status != 0, "%s: no damage", what);
    host_write(dir, id, text, len);
    begin(true);
    tick(start);
    expect_loss(what, &loss);
    heal(id);
    tick(start + second);
    expect_all_well(what);
}
END_TEST

START_TEST(field_is_missing) {
    size_t id = fields[_i];
    struct loss loss = {id, false, -ENOENT};

    host_remove(dir, id);
    begin(true);
    tick(start);
    expect_loss("missing", &loss);
    heal(id);
    tick(start + second);
    expect_all_well("back");
}
END_TEST

/* Values that look bad and are not. */
START_TEST(odd_values) {
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

    begin(true);
    for (int i = 0; i < ROWS(odd); i++) {
        host_write(dir, odd[i].id, odd[i].text, strlen(odd[i].text));
        tick(start + i * minute);
        expect(odd[i].text, odd[i].id, 0, odd[i].want);
        heal(odd[i].id);
    }
}
END_TEST

/* What has a substitute. */
START_TEST(kernel_without_zero_pages) {
    host_remove(dir, KSM_zero);
    begin(true);
    tick(start);
    expect("zero", KSM_zero, -ENOENT, 0);
    expect("saved", KSM_saved, 0, host_value(KSM_sharing) * reader.sample.page_size);
}
END_TEST

static void expect_the_estimate(void) {
    int64_t pages = host_value(KSM_shared) + host_value(KSM_sharing) + host_value(KSM_unshared) +
                    host_value(KSM_volatile);

    begin(true);
    tick(start);
    expect("profit", KSM_profit, 0, host_value(KSM_sharing) * reader.sample.page_size - 64 * pages);
}

START_TEST(kernel_without_general_profit) {
    host_remove(dir, KSM_general_profit);
    expect_the_estimate();
}
END_TEST

/* A count below 0 is no count, and general_profit has it in it. */
START_TEST(kernel_that_miscounts_zero_pages) {
    static const enum ksm_id lost[] = {KSM_zero, KSM_saved, KSM_overhead, KSM_ram, KSM_exposure};

    host_write(dir, KSM_zero, TEXT("-1000000\n"));
    host_write(dir, KSM_general_profit, TEXT("-4096000000\n"));
    expect_the_estimate();
    for (int i = 0; i < ROWS(lost); i++)
        expect("miscounted", lost[i], -EDOM, 0);
    host_write(dir, KSM_zero, TEXT("0\n"));
    tick(start + second);
    expect("counted", KSM_zero, 0, 0);
    expect("counted", KSM_profit, 0, -4096000000);
}
END_TEST

/* meminfo tells zero pages on UKSM only: elsewhere its faults must not reach zero and saved. */
START_TEST(meminfo_unreadable_without_zero_pages) {
    host_remove(dir, KSM_zero);
    faults_fail(FAULTS_OPEN, "/meminfo", 0, EACCES);
    begin(true);
    tick(start);
    expect("zero", KSM_zero, -ENOENT, 0);
    expect("saved", KSM_saved, 0, host_value(KSM_sharing) * reader.sample.page_size);
    expect("ram", KSM_ram, -EACCES, 0);
}
END_TEST

/* As lxcfs makes it in a container: its own meminfo beside the kernel's /sys. It is not even
 * opened, as that may wait for who serves it. */
START_TEST(meminfo_of_a_container) {
    static const enum ksm_id lost[] = {KSM_mem_total, KSM_mem_available, KSM_swap_free,
                                       KSM_ram,       KSM_net,           KSM_exposure};
    static char root[PATH_MAX - 16];
    char path[PATH_MAX], event[64];

    snprintf(root, sizeof(root), "%s/container", dir);
    write_text("container/proc/meminfo",
               "MemTotal: 4194304 kB\nMemAvailable: 2097152 kB\nSwapFree: 0 kB\n");
    snprintf(path, sizeof(path), "%s/sys", root);
    ck_assert_int_eq(symlink("/sys", path), 0);
    if (ksm_reader_init(&reader, root, true) != 0) {
        suite_skip("meminfo_of_a_container", "no KSM in this kernel");
        return;
    }
    int opened = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    snprintf(path, sizeof(path), "%s/proc/meminfo", root);
    ck_assert_int_ge(inotify_add_watch(opened, path, IN_OPEN), 0);
    tick(start);
    for (int i = 0; i < ROWS(lost); i++)
        expect("meminfo of a container", lost[i], -EXDEV, 0);
    expect("beside it", KSM_shared, 0, reader.sample.at[KSM_shared].value);
    ck_assert_msg(read(opened, event, sizeof(event)) < 0, "meminfo was opened");
    tree_unlink(root, "proc/meminfo");
    tick(start + minute);
    expect("no meminfo", KSM_mem_total, -ENOENT, 0);
    close(opened);
    ksm_reader_close(&reader);
}
END_TEST

/* Cut off at any byte, vmstat gives the fields it holds in full and no other. */
START_TEST(vmstat_cut_off) {
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
            ck_assert_msg(reader.sample.at[KSM_cow].status != 0, "%s: got cow %" PRId64, when,
                          reader.sample.at[KSM_cow].value);
        if (len == sizeof(text) - 1)
            expect(when, KSM_swpin_copy, 0, 678);
        else
            ck_assert_msg(reader.sample.at[KSM_swpin_copy].status != 0, "%s: got %" PRId64, when,
                          reader.sample.at[KSM_swpin_copy].value);
    }
}
END_TEST

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

START_TEST(fields_move) {
    begin(true);
    for (int i = 0; i < ROWS(moves); i++) {
        tree_write(dir, "proc/vmstat", moves[i].text, strlen(moves[i].text));
        tick(start + i);
        expect(moves[i].what, KSM_cow, moves[i].cow_status, moves[i].cow);
        expect(moves[i].what, KSM_swpin_copy, 0, moves[i].swpin_copy);
    }
}
END_TEST

static const struct {
    size_t size;
    size_t piece; /* that the kernel gives at a time */
    int want;
} vmstat_sizes[] = {
    {100, 0, 0},        {4000, 4000, 0},     {4096, 4096, 0},        {8193, 4000, 0},
    {8193, 4096, 0},    {8193, 100, 0},      {20000, 4000, 0},       {60000, 4000, 0},
    {60000, 0, 0},      {65535, 0, 0},       {65536, 0, -EFBIG},     {65536, 4000, -EFBIG},
    {65537, 0, -EFBIG}, {100000, 0, -EFBIG}, {100000, 4000, -EFBIG},
};

/* vmstat filled up to a size, with the field at its end. */
START_TEST(long_vmstat) {
    static const char end[] = "cow_ksm 54321\n";
    size_t size = vmstat_sizes[_i].size;
    char *text = malloc(size);
    char what[64];

    snprintf(what, sizeof(what), "vmstat of %zu bytes, %zu at a time", size,
             vmstat_sizes[_i].piece);
    for (size_t i = 0; i < size; i++)
        text[i] = "cow_ks 9\n"[i % 9];
    text[size - sizeof(end)] = '\n';
    memcpy(text + size - (sizeof(end) - 1), end, sizeof(end) - 1);
    tree_write(dir, "proc/vmstat", text, size);
    free(text);
    begin(true);
    faults_shorten(vmstat_sizes[_i].piece);
    tick(start);
    expect(what, KSM_cow, vmstat_sizes[_i].want, 54321);
    expect(what, KSM_swpin_copy, vmstat_sizes[_i].want == 0 ? -ENOENT : -EFBIG, 0);
    expect(what, KSM_volatile, 0, host_value(KSM_volatile));
}
END_TEST

/* Knobs. */
START_TEST(knobs_are_read_once_a_minute) {
    begin(true);
    tick(start);
    host_write(dir, KSM_sleep_millisecs, TEXT("77\n"));
    host_write(dir, KSM_pages_to_scan, TEXT("88\n"));
    host_write(dir, KSM_shared, TEXT("99\n"));
    tick(start + second);
    expect("a second later", KSM_shared, 0, 99);
    expect("a second later", KSM_sleep_millisecs, 0, host_value(KSM_sleep_millisecs));
    expect("a second later", KSM_pages_to_scan, 0, host_value(KSM_pages_to_scan));
    tick(start + minute - 1);
    expect("59.999 s later", KSM_sleep_millisecs, 0, host_value(KSM_sleep_millisecs));
    tick(start + minute);
    expect("a minute later", KSM_sleep_millisecs, 0, 77);
    expect("a minute later", KSM_pages_to_scan, 0, 88);
}
END_TEST

START_TEST(advisor_moves_pages_to_scan) {
    host_write(dir, KSM_advisor_mode, TEXT("none [scan-time]\n"));
    begin(true);
    tick(start);
    expect("advisor on", KSM_pages_to_scan, 0, host_value(KSM_pages_to_scan));
    host_write(dir, KSM_pages_to_scan, TEXT("88\n"));
    host_write(dir, KSM_sleep_millisecs, TEXT("77\n"));
    tick(start + second);
    expect("advisor on, next tick", KSM_pages_to_scan, 0, 88);
    expect("advisor on, next tick", KSM_sleep_millisecs, 0, host_value(KSM_sleep_millisecs));
    host_write(dir, KSM_advisor_mode, TEXT("[none] scan-time\n"));
    tick(start + minute);
    host_write(dir, KSM_pages_to_scan, TEXT("99\n"));
    tick(start + minute + second);
    expect("advisor off", KSM_pages_to_scan, 0, 88);
    tick(start + 2 * minute);
    expect("advisor off, a minute later", KSM_pages_to_scan, 0, 99);
}
END_TEST

START_TEST(without_settings) {
    int files_read = 0;

    begin(false);
    tick(start);
    tick(start + minute);
    for (size_t id = 0; id < KSM_FIGURES; id++) {
        if (ksm_figures[id].kind == KSM_KIND_KNOB)
            expect("settings off", id, -ENOENT, 0);
        else
            files_read += ksm_figures[id].source == KSM_SOURCE_KSM;
    }
    expect("settings off", KSM_shared, 0, host_value(KSM_shared));
    /* Two ticks, and what belongs to neither KSM's directory nor to a tick. */
    int others = 2 * 3 + 1 /* kthreadd */ + 5 /* the search for ksmd */;
    ck_assert_msg(faults_count(FAULTS_OPEN) <= 2 * files_read + others,
                  "settings off: %d files opened, want %d at the most", faults_count(FAULTS_OPEN),
                  2 * files_read + others);
}
END_TEST

/* Files that come and go. */
START_TEST(file_appears) {
    size_t id = files[_i];

    if (ksm_figures[id].source != KSM_SOURCE_KSM)
        return;
    host_remove(dir, id);
    begin(true);
    tick(start);
    expect("not there", id, -ENOENT, 0);
    host_write(dir, id, NULL, 0);
    tick(start + minute - 1);
    expect("there, looked for once a minute", id, -ENOENT, 0);
    tick(start + minute);
    expect("a minute later", id, 0, host_value(id));
    host_remove(dir, id);
    tick(start + 2 * minute);
    expect("gone again", id, -ENOENT, 0);
}
END_TEST

START_TEST(whole_directory_vanishes) {
    char ksm[PATH_MAX], away[PATH_MAX];

    snprintf(ksm, sizeof(ksm), "%s/sys", dir);
    snprintf(away, sizeof(away), "%s/away", dir);
    begin(true);
    tick(start);
    ck_assert_int_eq(rename(ksm, away), 0);
    tick(start + minute);
    for (size_t id = 0; id < KSM_FIGURES; id++)
        if (ksm_figures[id].source == KSM_SOURCE_KSM)
            expect("gone", id, -ENOENT, 0);
    expect("other sources", KSM_cow, 0, host_value(KSM_cow));
    ck_assert_int_eq(rename(away, ksm), 0);
    tick(start + 2 * minute);
    expect_all_well("back");
}
END_TEST

START_TEST(nothing_readable) {
    faults_fail(FAULTS_OPEN, NULL, 0, EACCES);
    begin(true);
    int status = ksm_reader_tick(&reader, start);
    ck_assert_msg(status == -EACCES, "got %s, want -EACCES", suite_status(status));
    faults_clear();
    tick(start + minute);
    expect_all_well("readable again");
}
END_TEST

START_TEST(one_figure_readable) {
    for (int i = 0; i < file_count; i++)
        if (files[i] != KSM_dups)
            inflict(&damages[0], files[i]);
    tree_unlink(dir, "proc/37/stat");
    begin(true);
    tick(start);
    expect("the only one", KSM_dups, 0, host_value(KSM_dups));
}
END_TEST

START_TEST(out_of_descriptors) {
    begin(true);
    faults_fail(FAULTS_OPEN, NULL, 0, EMFILE);
    ck_assert_int_eq(ksm_reader_tick(&reader, start), -EMFILE);
    faults_clear();
    tick(start + second);
    expect("next tick", KSM_shared, 0, host_value(KSM_shared));
    expect("next tick", KSM_cow, 0, host_value(KSM_cow));
    tick(start + minute);
    expect_all_well("a minute later");
}
END_TEST

/* UKSM. */
static void make_uksm(void) {
    static const char *const ksm_only[] = {"general_profit", "ksm_zero_pages", "pages_volatile",
                                           "pages_to_scan", "stable_node_chains"};
    char from[PATH_MAX], to[PATH_MAX];

    snprintf(from, sizeof(from), "%s/sys/kernel/mm/ksm", dir);
    snprintf(to, sizeof(to), "%s/sys/kernel/mm/uksm", dir);
    ck_assert_int_eq(rename(from, to), 0);
    for (int i = 0; i < ROWS(ksm_only); i++) {
        snprintf(from, sizeof(from), "sys/kernel/mm/uksm/%s", ksm_only[i]);
        tree_unlink(dir, from);
    }
    write_text("sys/kernel/mm/uksm/pages_scanned", "3 * 2^40\n");
    write_text("proc/37/stat", "37 (uksmd) S 2 0 0 0 -1 2129984 0 0 0 0 14 15 0 0 25 5 1 0 1\n");
    write_text("proc/meminfo", "MemTotal:        4194304 kB\nMemAvailable:    2097152 kB\n"
                               "SwapFree:              0 kB\nKsmZeroPages:        400 kB\n");
}

START_TEST(uksm) {
    static const long sizes[] = {4096, 16384, 65536};
    int64_t zero = 400 / (sizes[_i] / 1024);

    make_uksm();
    faults_page_size(sizes[_i]);
    begin(true);
    tick(start);
    expect("uksm", KSM_shared, 0, host_value(KSM_shared));
    expect("uksm", KSM_run, 0, 1);
    expect("uksm", KSM_scanned, 0, (int64_t)3 << 40);
    expect("uksm", KSM_ksmd_cpu, 0, host_value(KSM_ksmd_cpu));
    expect("uksm", KSM_zero, 0, zero);
    expect("uksm", KSM_saved, 0, (host_value(KSM_sharing) + zero) * sizes[_i]);
    expect("uksm", KSM_volatile, -ENOENT, 0);
    expect("uksm", KSM_merged, -ENOENT, 0);
    expect("uksm", KSM_profit, -ENOENT, 0);
    expect("uksm", KSM_overhead, -ENOENT, 0);
    expect("uksm", KSM_gain, 0, sizes[_i]); /* host_value: one more sharing than shared */
}
END_TEST

START_TEST(uksm_zero_pages_unreadable) {
    make_uksm();
    write_text("proc/meminfo", "MemTotal: 4194304 kB\nKsmZeroPages: 12abc kB\n");
    begin(true);
    tick(start);
    expect("uksm", KSM_zero, -EINVAL, 0);
    expect("uksm", KSM_saved, -EINVAL, 0);
    write_text("proc/meminfo", "MemTotal: 4194304 kB\n");
    tick(start + second);
    expect("uksm without the line", KSM_zero, -ENOENT, 0);
    expect("uksm without the line", KSM_saved, 0,
           host_value(KSM_sharing) * reader.sample.page_size);
}
END_TEST

START_TEST(ksm_goes_before_uksm) {
    write_text("sys/kernel/mm/uksm/pages_shared", "4\n");
    begin(true);
    tick(start);
    expect_all_well("both directories");
}
END_TEST

/* ksmd. */
static const char rest_of_stat[] = "2 0 0 0 -1 2129984 0 0 0 0 14 15 0 0 25 5 1 0 1\n";

START_TEST(decoys_are_not_ksmd) {
    tree_unlink(dir, "proc/37/stat");
    tree_unlink(dir, "proc/37/schedstat");
    tree_unlink(dir, "proc/37");
    /* Processes that call themselves ksmd, and a kernel thread of another name. */
    write_text("proc/10/stat", "10 (ksmd) S 1 0 0 0 -1 4194304 0 0 0 0 14 15 0 0 20 0 1 0 1\n");
    write_text("proc/11/stat", "11 (ksmd) S 2 0) S 1 0 0 0 -1 4194304 0 0 0 0 1 2 0 0 20 0 1 0\n");
    write_text("proc/12/stat", "12 (ksmd) S 1 0 0 0 -1 2129984 0 0 0 0 14 15 0 0 20 0 1 0 1\n");
    write_text("proc/13/stat", "13 (ksmd) S 2 0 0 0 -1 4194304 0 0 0 0 14 15 0 0 20 0 1 0 1\n");
    write_text("proc/14/stat", "14 (ksmd2) S 2 0 0 0 -1 2129984 0 0 0 0 14 15 0 0 25 5 1 0 1\n");
    write_text("proc/15/stat", "15 (kksmd) S 2 0 0 0 -1 2129984 0 0 0 0 14 15 0 0 25 5 1 0 1\n");
    write_text("proc/16/stat", "16 (uksmd) S 2 0 0 0 -1 2129984 0 0 0 0 14 15 0 0 25 5 1 0 1\n");
    write_text("proc/17/stat", "17 (a\n17 (ksmd) S 2 0) S 1 0 0 0 -1 4194304 0 0 0 0 1 2 0 0\n");
    write_text("proc/18/stat", "18 (ksmd) S 2 0 0 0 -1 21299");
    write_text("proc/19/stat", "");
    write_text("proc/self/stat", "20 (ksmd) S 2 0 0 0 -1 2129984 0 0 0 0 14 15 0 0 25 5 1 0 1\n");
    write_text("proc/99999999999/stat",
               "9 (ksmd) S 2 0 0 0 -1 2129984 0 0 0 0 14 15 0 0 25 5 1 0 1\n");
    for (int pid = 10; pid < 20; pid++) {
        char path[32];
        snprintf(path, sizeof(path), "proc/%d/schedstat", pid);
        write_text(path, "666 6 6\n");
    }
    begin(true);
    tick(start);
    expect("decoys alone", KSM_ksmd_cpu, -ENOENT, 0);

    write_text("proc/4001/stat", "4001 (ksmd) S 2 0 0 0 -1 2129984 0 0 0 0 14 15 0 0 25 5 1 0 1\n");
    write_text("proc/4001/schedstat", "777 7 7\n");
    int searches = faults_count(FAULTS_OPENDIR);
    tick(start + minute - 1);
    expect("looked for once a minute", KSM_ksmd_cpu, -ENOENT, 0);
    ck_assert_int_eq(faults_count(FAULTS_OPENDIR), searches);
    tick(start + minute);
    expect("among decoys", KSM_ksmd_cpu, 0, 777);
    tick(start + 3 * minute);
    ck_assert_int_eq(faults_count(FAULTS_OPENDIR), searches + 1);
}
END_TEST

/* In a container /proc shows other processes, pid 2 among them. */
START_TEST(container) {
    static const char *const pid_2[] = {
        NULL,
        "2 (bash) S 1 0 0 0 -1 4194304 0 0 0 0 14 15 0 0 20 0 1 0 1\n",
        "2 (kthreadd) S 1 0 0 0 -1 4194304 0 0 0 0 14 15 0 0 20 0 1 0 1\n",
        "2 (kthreadd) S 0 0 0 0 -1 4194304 0 0 0 0 14 15 0 0 20 0 1 0 1\n",
    };

    tree_unlink(dir, "proc/2/stat");
    if (pid_2[_i])
        write_text("proc/2/stat", pid_2[_i]);
    begin(true);
    const int before = faults_count(FAULTS_OPENDIR);
    tick(start);
    expect("no kthreadd", KSM_ksmd_cpu, -ENOENT, 0);
    expect("other figures", KSM_shared, 0, host_value(KSM_shared));
    /* No walk through all processes in vain. */
    ck_assert_int_eq(faults_count(FAULTS_OPENDIR), before);
}
END_TEST

START_TEST(proc_that_cannot_be_listed) {
    faults_fail(FAULTS_OPENDIR, "/proc", 1, EACCES);
    begin(true);
    tick(start);
    expect("first tick", KSM_ksmd_cpu, -EACCES, 0);
    tick(start + second);
    expect("second tick", KSM_ksmd_cpu, -EACCES, 0);
    tick(start + minute);
    expect_all_well("a minute later");
}
END_TEST

/* Kernels without schedstat, or that keep none: utime + stime, 14 + 15 clock ticks. */
START_TEST(without_schedstat) {
    static const char *const schedstat[] = {NULL, "0 0 0\n", ""};
    int64_t ns = 1000000000 / sysconf(_SC_CLK_TCK);

    tree_unlink(dir, "proc/37/schedstat");
    if (schedstat[_i])
        write_text("proc/37/schedstat", schedstat[_i]);
    begin(true);
    tick(start);
    expect("stat", KSM_ksmd_cpu, 0, 29 * ns);
    write_text("proc/37/stat", "37 (ksmd) S 2 0 0 0 -1 2129984 0 0 0 0 20 30 0 0 25 5 1 0 1\n");
    tick(start + second);
    expect("stat", KSM_ksmd_cpu, 0, 50 * ns);
    /* The account is chosen once: the other could be a little less, and counters do not go back. */
    write_text("proc/37/schedstat", "777 7 7\n");
    tick(start + 2 * minute);
    expect("stat, still", KSM_ksmd_cpu, 0, 50 * ns);
    write_text("proc/37/stat", "37 (ksmd) S 2 0 0 0 -1 2129984 0 0 0 0 20 3");
    tick(start + 3 * minute);
    expect("stat cut off", KSM_ksmd_cpu, -EINVAL, 0);
    write_text("proc/37/stat",
               "37 (ksmd) S 2 0 0 0 -1 2129984 0 0 0 0 9223372036854775807 1 0 0\n");
    tick(start + 4 * minute);
    expect("stat at its limit", KSM_ksmd_cpu, -ERANGE, 0);
    write_text("proc/37/stat",
               "37 (ksmd) S 2 0 0 0 -1 2129984 0 0 0 0 4611686018427387904 0 0 0\n");
    tick(start + 5 * minute);
    expect("stat, too many ns", KSM_ksmd_cpu, -ERANGE, 0);
}
END_TEST

START_TEST(longest_stat) {
    char line[1024];
    int n = snprintf(line, sizeof(line), "37 (ksmd) S %.*s", (int)strlen(rest_of_stat) - 1,
                     rest_of_stat);

    while (n < 1000)
        n += snprintf(line + n, sizeof(line) - (size_t)n, " 18446744073709551615");
    line[n++] = '\n';
    tree_write(dir, "proc/37/stat", line, (size_t)n);
    begin(true);
    tick(start);
    expect_all_well("a stat of 1 kB");
}
END_TEST

/* Where the reader may begin. */
START_TEST(no_ksm) {
    char from[PATH_MAX], to[PATH_MAX], message[1024];

    snprintf(from, sizeof(from), "%s/sys/kernel/mm/ksm", dir);
    snprintf(to, sizeof(to), "%s/sys/kernel/mm/other", dir);
    ck_assert_int_eq(rename(from, to), 0);
    int status = ksm_reader_init(&reader, dir, true);
    ck_assert_msg(status == -ENOENT, "got %s, want -ENOENT", suite_status(status));
    ksm_reader_why_not(status, dir, message, sizeof(message));
    ck_assert_msg(strstr(message, "no KSM in this kernel") && strstr(message, dir) &&
                      strstr(message, "sys/kernel/mm/ksm") && !strchr(message, '\n'),
                  "message \"%s\"", message);
    ksm_reader_close(&reader);
}
END_TEST

START_TEST(root_that_does_not_exist) {
    ck_assert_int_eq(ksm_reader_init(&reader, "/no/such/root", true), -ENOENT);
}
END_TEST

START_TEST(root_that_is_a_file) {
    char root[PATH_MAX], message[1024];

    snprintf(root, sizeof(root), "%s/proc/vmstat", dir);
    int status = ksm_reader_init(&reader, root, true);
    ck_assert_msg(status == -ENOTDIR, "got %s, want -ENOTDIR", suite_status(status));
    ksm_reader_why_not(status, root, message, sizeof(message));
    ck_assert_msg(strstr(message, root) && strstr(message, "Not a directory"), "message \"%s\"",
                  message);
}
END_TEST

START_TEST(root_that_is_too_long) {
    static char root[2 * PATH_MAX];

    memset(root, '/', sizeof(root) - 1);
    memset(root, 'a', sizeof(root) - 2);
    ck_assert_int_eq(ksm_reader_init(&reader, root, true), -ENAMETOOLONG);
}
END_TEST

START_TEST(root_with_a_slash_at_its_end) {
    char root[PATH_MAX];

    snprintf(root, sizeof(root), "%s///", dir);
    ck_assert_int_eq(ksm_reader_init(&reader, root, true), 0);
    tick(start);
    expect_all_well("root with slashes");
}
END_TEST

START_TEST(root_for_an_ordinary_user) {
    char root[PATH_MAX];

    snprintf(root, sizeof(root), "%s/sys", dir);
    ck_assert_int_eq(chmod(root, 0), 0);
    suite_become_nobody();
    int status = ksm_reader_init(&reader, dir, true);
    ck_assert_msg(status == -EACCES, "got %s, want -EACCES", suite_status(status));
}
END_TEST

START_TEST(files_that_an_ordinary_user_may_not_read) {
    struct loss loss = {KSM_unshared, false, -EACCES};
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/%s", dir, host_path(KSM_unshared));
    ck_assert_int_eq(chmod(path, 0), 0);
    suite_become_nobody();
    begin(true);
    tick(start);
    expect_loss("as nobody", &loss);
}
END_TEST

START_TEST(sources) {
    char want[PATH_MAX], got[PATH_MAX];
    size_t id = (size_t)_i;

    begin(true);
    tick(start);
    int status = ksm_reader_source(&reader, id, got, sizeof(got));
    if (!ksm_figures[id].parse) {
        ck_assert_int_eq(status, -ENOENT);
        return;
    }
    ck_assert_int_eq(status, 0);
    snprintf(want, sizeof(want), "%s/%s%s%.*s", dir, host_path(id), has_fields(id) ? ", " : "",
             has_fields(id) ? (int)strcspn(ksm_figures[id].key, ":") : 0, ksm_figures[id].key);
    ck_assert_str_eq(got, want);
    for (size_t size = 1; size <= strlen(want) + 1; size++) {
        int need = size <= strlen(want) ? -ENAMETOOLONG : 0;
        status = ksm_reader_source(&reader, id, got, size);
        ck_assert_msg(status == need, "%s in %zu bytes: got %s, want %s", want, size,
                      suite_status(status), suite_status(need));
    }
}
END_TEST

/* This machine, if its kernel has KSM. */
START_TEST(live_kernel) {
    int open_files = suite_open_files();

    if (ksm_reader_init(&reader, "/", true) != 0) {
        suite_skip("live_kernel", "no KSM in this kernel");
        return;
    }
    faults_clear();
    tick(start);
    ck_assert_int_gt(faults_count(FAULTS_OPEN), 10);
    for (size_t id = 0; id < KSM_FIGURES; id++)
        if (ksm_figures[id].parse) {
            int status = reader.sample.at[id].status;
            ck_assert_msg(status == 0 || status == -ENOENT, "%s: got status %s, want 0 or -ENOENT",
                          ksm_figures[id].name, suite_status(status));
        }
    faults_clear();
    for (int i = 1; i < 60; i++) {
        int preads = faults_count(FAULTS_PREAD);
        tick(start + i * second);
        preads = faults_count(FAULTS_PREAD) - preads;
        ck_assert_msg(preads <= file_count + 8, "tick %d: %d preads for at most %d files", i,
                      preads, file_count);
    }
    ck_assert_msg(faults_count(FAULTS_OPEN) + faults_count(FAULTS_OPENDIR) == 0,
                  "ticks 2 to 60: %d calls of open and %d of opendir, want none",
                  faults_count(FAULTS_OPEN), faults_count(FAULTS_OPENDIR));
    ksm_reader_close(&reader);
    ck_assert_int_eq(suite_open_files(), open_files);
}
END_TEST

START_TEST(live_kernel_as_nobody) {
    if (ksm_reader_init(&reader, "/", true) != 0) {
        suite_skip("live_kernel_as_nobody", "no KSM in this kernel");
        return;
    }
    suite_become_nobody();
    tick(start);
    expect("as nobody", KSM_shared, 0, reader.sample.at[KSM_shared].value);
    expect("as nobody", KSM_saved, 0, reader.sample.at[KSM_saved].value);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("reader");
    TCase *whole = suite_case(suite, "whole");
    TCase *bad = suite_case(suite, "bad input");
    TCase *change = suite_case(suite, "change");
    TCase *kernels = suite_case(suite, "kernels");
    TCase *roots = suite_case(suite, "roots");

    find_files();
    find_fields();
    tcase_add_checked_fixture(whole, set_up, NULL);
    tcase_add_test(whole, well);
    tcase_add_loop_test(whole, saved_is_reckoned_in_pages_of_the_system, 0, 3);
    tcase_add_test(whole, odd_values);
    tcase_add_loop_test(whole, sources, 0, KSM_FIGURES);
    tcase_add_test(whole, live_kernel);
    tcase_add_test(whole, live_kernel_as_nobody);

    tcase_add_checked_fixture(bad, set_up, NULL);
    tcase_add_loop_test(bad, file_goes_bad, 0, file_count * ROWS(damages));
    tcase_add_loop_test(bad, file_is_bad, 0, file_count * ROWS(damages));
    tcase_add_loop_test(bad, field_is_bad, 0, field_count * ROWS(field_damages));
    tcase_add_loop_test(bad, field_is_missing, 0, field_count);
    tcase_add_test(bad, meminfo_unreadable_without_zero_pages);
    tcase_add_test(bad, meminfo_of_a_container);
    tcase_add_test(bad, vmstat_cut_off);
    tcase_add_test(bad, fields_move);
    tcase_add_loop_test(bad, long_vmstat, 0, ROWS(vmstat_sizes));
    tcase_add_test(bad, nothing_readable);
    tcase_add_test(bad, one_figure_readable);
    tcase_add_test(bad, out_of_descriptors);
    tcase_add_test(bad, files_that_an_ordinary_user_may_not_read);

    tcase_add_checked_fixture(change, set_up, NULL);
    tcase_add_test(change, knobs_are_read_once_a_minute);
    tcase_add_test(change, advisor_moves_pages_to_scan);
    tcase_add_test(change, without_settings);
    tcase_add_loop_test(change, file_appears, 0, file_count);
    tcase_add_test(change, whole_directory_vanishes);

    tcase_add_checked_fixture(kernels, set_up, NULL);
    tcase_add_test(kernels, kernel_without_zero_pages);
    tcase_add_test(kernels, kernel_without_general_profit);
    tcase_add_test(kernels, kernel_that_miscounts_zero_pages);
    tcase_add_loop_test(kernels, uksm, 0, 3);
    tcase_add_test(kernels, uksm_zero_pages_unreadable);
    tcase_add_test(kernels, ksm_goes_before_uksm);
    tcase_add_test(kernels, decoys_are_not_ksmd);
    tcase_add_loop_test(kernels, container, 0, 4);
    tcase_add_test(kernels, proc_that_cannot_be_listed);
    tcase_add_loop_test(kernels, without_schedstat, 0, 3);
    tcase_add_test(kernels, longest_stat);

    tcase_add_checked_fixture(roots, set_up, NULL);
    tcase_add_test(roots, no_ksm);
    tcase_add_test(roots, root_that_does_not_exist);
    tcase_add_test(roots, root_that_is_a_file);
    tcase_add_test(roots, root_that_is_too_long);
    tcase_add_test(roots, root_with_a_slash_at_its_end);
    tcase_add_test(roots, root_for_an_ordinary_user);
    return suite_run(suite);
}
