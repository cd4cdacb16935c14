/* SPDX-License-Identifier: MIT
 *
 * Who saves: the table of a sample, and what is told of troubles.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "consumers.h"
#include "report.h"
#include "support/crowd.h"
#include "support/faults.h"
#include "support/suite.h"
#include "support/tree.h"

#define vm KSM_CONSUMER_vm
#define container KSM_CONSUMER_container
#define service KSM_CONSUMER_service
#define program KSM_CONSUMER_program

enum { INTERVAL = 10000 };

static const char *dir; /* of the running test */
static struct ksm_options options;
static struct ksm_consumers c;
static struct ksm_consumers_report report;
static int64_t now; /* of the host: ms */
static int64_t page;

static void set_up(void) {
    dir = suite_dir();
    page = sysconf(_SC_PAGESIZE);
    now = 5000000;
    crowd_begin(dir);
    ksm_options_init(&options);
    snprintf(options.root, sizeof(options.root), "%s", dir);
    faults_clear();
}

static void tear_down(void) {
    ksm_consumers_close(&c);
}

static void begin(void) {
    memset(&report, 0, sizeof(report));
    ksm_consumers_init(&c, &options, INTERVAL, KSM_PROCESSES_KEPT);
}

/* ---- what holds for every table ---- */

/* What is not known (-1) of one is not known of the sum; what is too large is the largest. */
static int64_t plus(int64_t a, int64_t b) {
    return a < 0 || b < 0 ? -1 : a > INT64_MAX - b ? INT64_MAX : a + b;
}

static void add(struct ksm_consumer *sum, const struct ksm_consumer *consumer) {
    sum->saved = plus(sum->saved, consumer->saved);
    sum->real = plus(sum->real, consumer->real);
    sum->resident = plus(sum->resident, consumer->resident);
    sum->merging = plus(sum->merging, consumer->merging);
    sum->zero = plus(sum->zero, consumer->zero);
    if (consumer->growth == KSM_GROWTH_UNKNOWN || sum->growth == KSM_GROWTH_UNKNOWN)
        sum->growth = KSM_GROWTH_UNKNOWN;
    else
        sum->growth += consumer->growth;
    sum->rmap_items = plus(sum->rmap_items, consumer->rmap_items);
    sum->processes = plus(sum->processes, consumer->processes);
}

static bool same_sums(const struct ksm_consumer *a, const struct ksm_consumer *b) {
    return a->saved == b->saved && a->real == b->real && a->resident == b->resident &&
           a->merging == b->merging && a->zero == b->zero && a->growth == b->growth &&
           a->rmap_items == b->rmap_items && a->processes == b->processes;
}

static int compare(const struct ksm_name *a, const struct ksm_name *b) {
    return a->kind != b->kind ? (a->kind < b->kind ? -1 : 1) : strcmp(a->text, b->text);
}

/* Nothing is lost: all shares and what is unattributed are the host's saving, to the byte. */
static void check_table(const char *when) {
    const struct ksm_consumer_table *t = &c.table;
    struct ksm_consumer sum = {.saved = 0};
    struct ksm_consumer other = {.saved = 0};
    int64_t by_kind[KSM_CONSUMER_KIND_COUNT] = {0};
    size_t shown = 0;

    must(t->valid, "%s: got no valid table", when);
    for (size_t i = 0; i < t->count; i++) {
        const struct ksm_consumer *one = &t->list[i];
        must(i == 0 || compare(&t->list[i - 1].name, &one->name) < 0,
             "%s: %s and %s are not in order", when, t->list[i - 1].name.text, one->name.text);
        must(!crowd_bad_name(one->name.text), "%s: bad name %s", when, one->name.text);
        must(one->saved >= 0 && one->saved % page == 0 && one->real >= -1 && one->processes > 0,
             "%s: %s: got saved %" PRId64 ", real %" PRId64 ", processes %" PRId64, when,
             one->name.text, one->saved, one->real, one->processes);
        add(&sum, one);
        by_kind[one->name.kind] += one->saved;
        shown += one->shown;
        if (!one->shown)
            add(&other, one);
    }
    must(t->unattributed >= 0 && sum.saved + t->unattributed == t->saved,
         "%s: got %" PRId64 " of consumers and %" PRId64 " unattributed, want %" PRId64 " together",
         when, sum.saved, t->unattributed, t->saved);
    for (size_t kind = 0; kind < KSM_CONSUMER_KIND_COUNT; kind++)
        must(t->by_kind[kind] == by_kind[kind], "%s: %s: got %" PRId64 ", want %" PRId64, when,
             ksm_consumer_kinds[kind], t->by_kind[kind], by_kind[kind]);
    size_t want = t->count < (size_t)options.consumers ? t->count : (size_t)options.consumers;
    must(c.newcomers.held_back ? shown <= want : shown == want, "%s: got %zu shown, want %zu", when,
         shown, want);
    must(same_sums(&t->other, &other),
         "%s: the others: got saved %" PRId64 ", real %" PRId64 ", processes %" PRId64
         ", want %" PRId64 ", %" PRId64 ", %" PRId64,
         when, t->other.saved, t->other.real, t->other.processes, other.saved, other.real,
         other.processes);
}

static void make_table(bool registered) {
    ck_assert_int_eq(ksm_consumers_sample(&c, registered, now), 0);
    ksm_consumers_publish(&c);
    now += INTERVAL;
}

static void sample(const char *when) {
    make_table(true);
    check_table(when);
}

static const struct ksm_consumer *find(enum ksm_consumer_kind kind, const char *name) {
    for (size_t i = 0; i < c.table.count; i++)
        if (c.table.list[i].name.kind == kind && strcmp(c.table.list[i].name.text, name) == 0)
            return &c.table.list[i];
    return NULL;
}

/* ---- every kind of consumer ---- */

/* On the host of fixtures/consumers.tree: sharing 3000 of 4000 mapped, so that a share is three
 * quarters of the pages merged. real is resident less that, and less what the second process
 * of a consumer has mapped. In pages. */
static const struct {
    enum ksm_consumer_kind kind;
    const char *name;
    int64_t saved, real, merging, zero, rmap_items, processes;
} by_hand[] = {
    {vm, "100", 600, 9400, 800, 0, 2000, 1},
    {vm, "web-01", 900 + 300, 19100, 1200, 300, 5000, 1},
    {container, "9687bac58d5c", 450 + 50, 3250, 600, 50, 1300, 2},
    {container, "ct1", 75, 425, 100, 0, 100, 1},
    {service, "getty@tty1", 0, 150, 0, 0, 10, 1},
    {service, "nginx", 120, 380, 160, 0, 160, 2},
    {program, "bash", 3, 897, 4, 0, 4, 1},
    {program, "firefox", 4, -1, 6, 0, 6, 1}, /* 4.5; its statm is missing */
};
static const int64_t by_kind_by_hand[KSM_CONSUMER_KIND_COUNT] = {1800, 575, 120, 7};
enum { SAVED_BY_HAND = 3500, UNATTRIBUTED_BY_HAND = 998 };

static void make_fixture(void) {
    tree_make("tests/fixtures/consumers.tree", dir);
}

START_TEST(table_by_hand) {
    make_fixture();
    begin();
    sample("by hand");
    ck_assert_int_eq((int)c.table.count, ROWS(by_hand));
    for (int i = 0; i < ROWS(by_hand); i++) {
        const struct ksm_consumer *got = &c.table.list[i];
        int64_t real = by_hand[i].real < 0 ? -1 : by_hand[i].real * page;
        ck_assert_msg(got->name.kind == by_hand[i].kind &&
                          strcmp(got->name.text, by_hand[i].name) == 0,
                      "consumer %d: got %s %s, want %s %s", i, ksm_consumer_kinds[got->name.kind],
                      got->name.text, ksm_consumer_kinds[by_hand[i].kind], by_hand[i].name);
        ck_assert_msg(got->saved == by_hand[i].saved * page && got->real == real,
                      "%s: got saved %" PRId64 ", real %" PRId64 ", want %" PRId64 ", %" PRId64,
                      got->name.text, got->saved, got->real, by_hand[i].saved * page, real);
        ck_assert_msg(got->merging == by_hand[i].merging && got->zero == by_hand[i].zero &&
                          got->rmap_items == by_hand[i].rmap_items &&
                          got->processes == by_hand[i].processes,
                      "%s: got merging %" PRId64 ", zero %" PRId64 ", rmap items %" PRId64
                      ", processes %" PRId64,
                      got->name.text, got->merging, got->zero, got->rmap_items, got->processes);
        ck_assert_msg(got->shown, "%s: got not shown", got->name.text);
    }
    for (size_t kind = 0; kind < KSM_CONSUMER_KIND_COUNT; kind++)
        ck_assert_msg(c.table.by_kind[kind] == by_kind_by_hand[kind] * page,
                      "%s: got %" PRId64 ", want %" PRId64, ksm_consumer_kinds[kind],
                      c.table.by_kind[kind], by_kind_by_hand[kind] * page);
    ck_assert_int_eq(c.table.saved, SAVED_BY_HAND * page);
    ck_assert_int_eq(c.table.unattributed, UNATTRIBUTED_BY_HAND * page);
    ck_assert_int_eq(c.table.other.processes, 0);
}
END_TEST

/* Every set of kinds left out: what they save is unattributed, the others' shares stay. */
START_TEST(kinds_left_out) {
    make_fixture();
    options.consumers_exclude = (unsigned)_i;
    begin();
    sample("left out");
    int64_t unattributed = UNATTRIBUTED_BY_HAND;
    for (unsigned kind = 0; kind < KSM_CONSUMER_KIND_COUNT; kind++)
        if ((unsigned)_i & 1U << kind)
            unattributed += by_kind_by_hand[kind];
    ck_assert_int_eq(c.table.unattributed, unattributed * page);
    for (int i = 0; i < ROWS(by_hand); i++) {
        const struct ksm_consumer *got = find(by_hand[i].kind, by_hand[i].name);
        bool out = ((unsigned)_i & 1U << by_hand[i].kind) != 0;
        ck_assert_msg((got == NULL) == out, "%s %s: got %s", ksm_consumer_kinds[by_hand[i].kind],
                      by_hand[i].name, got ? "in" : "out");
        if (got)
            ck_assert_int_eq(got->saved, by_hand[i].saved * page);
    }
}
END_TEST

static const struct crowd_process hostile[] = {
    {.pid = 10, .zero = 1, .comm = "qemu-kvm", .cmdline = TEXT("kvm\0-name\0guest=a\"b =c'd\0")},
    {.pid = 11, .zero = 2, .comm = "qemu-kvm", .cmdline = TEXT("kvm\0-name\0guest=a_b__c_d\0")},
    {.pid = 12, .zero = 4, .comm = "x\nDISABLE"},
    {.pid = 13, .zero = 8, .comm = "x_DISABLE"},
    {.pid = 14, .zero = 16, .comm = ""},
    {.pid = 15, .zero = 32, .comm = "\n"},
    {.pid = 16, .zero = 64, .comm = "other"},
    {.pid = 17, .zero = 128, .comm = "other", .cgroup = "0::/system.slice/other.service\n"},
    {.pid = 18, .zero = 256, .comm = "unattributed"},
};

/* Names that are the same but for what had to be changed are different consumers. */
START_TEST(hostile_names) {
    crowd_host(dir, 0, 0, 511);
    for (int i = 0; i < ROWS(hostile); i++)
        crowd_write(dir, &hostile[i]);
    begin();
    sample("hostile names");
    ck_assert_int_eq((int)c.table.count, ROWS(hostile));
    int64_t sum = 0;
    for (size_t i = 0; i < c.table.count; i++) {
        ck_assert_int_eq(c.table.list[i].processes, 1);
        sum += c.table.list[i].saved;
    }
    ck_assert_int_eq(sum, 511 * page);
    ck_assert_ptr_nonnull(find(vm, "a_b__c_d"));
    ck_assert_ptr_nonnull(find(program, "x_DISABLE"));
}
END_TEST

/* RSS counts merged pages, so real is RSS less the share of them; zero pages are not in it. */
START_TEST(real_memory) {
    static const struct {
        int64_t merging, zero, resident, real;
    } rows[] = {
        {0, 0, 0, 0},         {100, 0, 50, 0},         {100, 0, 49, -1},
        {100, 0, 51, 1},      {100, 100, 50, 0},       {0, 100, 0, 0},
        {100, 100, 500, 450}, {100, 0, INT64_MAX, -1}, {0, 0, INT64_MAX, -1},
    };

    for (int i = 0; i < ROWS(rows); i++) {
        crowd_host(dir, 100, 100, 100);
        crowd_write(dir, &(const struct crowd_process){.pid = 10,
                                                       .merging = rows[i].merging,
                                                       .zero = rows[i].zero,
                                                       .rmap_items = 1,
                                                       .resident = rows[i].resident,
                                                       .comm = "x"});
        begin();
        sample("real");
        int64_t want = rows[i].real < 0 ? -1 : rows[i].real * page;
        ck_assert_msg(c.table.list[0].real == want,
                      "merging %" PRId64 ", zero %" PRId64 ", resident %" PRId64
                      ": got real %" PRId64 ", want %" PRId64,
                      rows[i].merging, rows[i].zero, rows[i].resident, c.table.list[0].real, want);
        ksm_consumers_close(&c);
    }
}
END_TEST

/* What is not known of one process is not known of its consumer, nor of all others together. */
START_TEST(resident_not_known) {
    options.consumers = 1;
    crowd_host(dir, 0, 0, 100);
    for (int pid = 10; pid < 14; pid++)
        crowd_write(dir,
                    &(const struct crowd_process){
                        .pid = pid, .zero = pid, .resident = 1000, .comm = pid < 12 ? "a" : "b"});
    begin();
    sample("all known");
    ck_assert_int_eq(find(program, "a")->resident, 2000);
    ck_assert_int_eq(find(program, "a")->real, 2000 * page);
    for (int pid = 10; pid < 13; pid += 2) {
        crowd_remove_file(dir, pid, "statm");
        sample("one is not known");
    }
    ck_assert_int_eq(find(program, "a")->resident, -1);
    ck_assert_int_eq(find(program, "a")->real, -1);
    ck_assert_int_eq(find(program, "b")->real, -1);
    ck_assert_int_eq(c.table.other.real, -1);
    ck_assert_int_eq(c.table.other.saved, (10 + 11) * page);
}
END_TEST

/* A process that could not be read this time does not count with what it had before. */
START_TEST(not_read_this_time) {
    make_fixture();
    begin();
    sample("all are read");
    faults_fail(FAULTS_PREAD, "/100/ksm_stat", 0, EIO);
    sample("one is not");
    ck_assert_ptr_null(find(vm, "web-01"));
    ck_assert_int_eq(c.table.unattributed, (UNATTRIBUTED_BY_HAND + 1200) * page);
    faults_clear();
    sample("all are read again");
    ck_assert_int_eq(c.table.unattributed, UNATTRIBUTED_BY_HAND * page);
}
END_TEST

/* How fast a consumer of two processes merges, 10 s after 10 s; -1: there is no such process. */
static const struct {
    const char *what;
    const char *run;
    int64_t first, zero_of_first, second;
    bool bad_host;
    int unreadable; /* pid */
    int64_t want;
} growths[] = {
    {"who is new has merged at an unknown time", "1\n", 100, 0, -1, false, 0, KSM_GROWTH_UNKNOWN},
    {"100 pages in 10 s", "1\n", 200, 0, -1, false, 0, 10000},
    {"a second process is new", "1\n", 200, 0, 5000, false, 0, 0},
    {"both, and zero pages", "1\n", 210, 5, 5005, false, 0, 2000},
    {"unmerged", "1\n", 11, 5, 5005, false, 0, -19900},
    {"one has ended", "1\n", 16, 5, -1, false, 0, 500},
    {"stopped: its counts are old", "0\n", 16, 5, -1, false, 0, KSM_GROWTH_UNKNOWN},
    {"begun again", "1\n", 26, 5, -1, false, 0, KSM_GROWTH_UNKNOWN},
    {"goes on", "1\n", 27, 5, -1, false, 0, 100},
    {"no table", "1\n", 30, 5, -1, true, 0, 0},
    {"since the table before that", "1\n", 37, 5, 70, false, 0, 500},
    {"one cannot be read", "1\n", 1000, 5, 80, false, 10, 1000},
    {"and is as if new after it", "1\n", 1010, 5, 90, false, 0, 1000},
    {"run unknown", "x\n", 1020, 5, 100, false, 0, KSM_GROWTH_UNKNOWN},
};

START_TEST(growth) {
    begin();
    for (int i = 0; i < ROWS(growths); i++) {
        crowd_host(dir, 9000, growths[i].bad_host ? -1 : 9000, 100);
        tree_write(dir, "sys/kernel/mm/ksm/run", growths[i].run, strlen(growths[i].run));
        crowd_write(dir, &(const struct crowd_process){.pid = 10,
                                                       .merging = growths[i].first,
                                                       .zero = growths[i].zero_of_first,
                                                       .comm = "x"});
        if (growths[i].second < 0 && i > 0 && growths[i - 1].second >= 0)
            crowd_remove(dir, 11);
        if (growths[i].second >= 0)
            crowd_write(dir, &(const struct crowd_process){
                                 .pid = 11, .merging = growths[i].second, .comm = "x"});
        if (growths[i].unreadable)
            faults_fail(FAULTS_PREAD, "/10/ksm_stat", 0, EIO);
        make_table(true);
        faults_clear();
        must(c.table.valid == !growths[i].bad_host, "%s: got a table or none", growths[i].what);
        if (growths[i].bad_host)
            continue;
        check_table(growths[i].what);
        must(c.table.count == 1 && c.table.list[0].growth == growths[i].want,
             "%s: got %" PRId64 ", want %" PRId64, growths[i].what, c.table.list[0].growth,
             growths[i].want);
    }
}
END_TEST

/* ---- conservation, by chance ---- */

/* Small numbers as often as large ones. */
static int64_t some(int bits) {
    return (int64_t)(suite_random() >> (64 - 1 - (int)(suite_random() % (unsigned)bits)));
}

static void make_crowd(int count, int bits, int names) {
    for (int i = 0; i < count; i++) {
        char cgroup[128];
        char comm[16];
        int number = (int)(suite_random() % (unsigned)names);
        struct crowd_process process = {.pid = 100 + i};
        process.merging = suite_random() % 5 ? some(bits) : 0;
        process.zero = suite_random() % 3 ? 0 : some(bits);
        process.rmap_items = 1 + some(bits);
        process.resident = process.merging + some(bits);
        snprintf(cgroup, sizeof(cgroup), "0::/");
        switch (suite_random() % 4) {
        case 0:
            snprintf(cgroup, sizeof(cgroup),
                     "0::/machine.slice/machine-qemu\\x2d%d\\x2dvm%d.scope\n", i + 1, number);
            break;
        case 1:
            snprintf(cgroup, sizeof(cgroup), "0::/lxc.payload.c%d\n", number);
            break;
        case 2:
            snprintf(cgroup, sizeof(cgroup), "0::/system.slice/s%d.service\n", number);
            break;
        default:
            break;
        }
        snprintf(comm, sizeof(comm), "p%d", number);
        process.cgroup = cgroup;
        process.comm = comm;
        crowd_write(dir, &process);
        if (suite_random() % 16 == 0)
            crowd_remove_file(dir, process.pid, "statm");
    }
}

START_TEST(conservation) {
    enum { ROUNDS = 200 };
    const char *parent = dir;

    for (int round = 0; round < ROUNDS; round++) {
        char when[64];
        int bits = 1 + (int)(suite_random() % 44);
        int count = (int)(suite_random() % 30);
        snprintf(options.root, sizeof(options.root), "%.4000s/%d", parent, round);
        dir = options.root;
        crowd_begin(dir);
        options.consumers = (int)(suite_random() % 12);
        options.consumers_exclude = suite_random() % 4 ? 0 : (unsigned)(suite_random() % 16);
        make_crowd(count, bits, 1 + (int)(suite_random() % 12));
        begin();
        snprintf(when, sizeof(when), "seed %" PRIu64 ", round %d", suite_seed(), round);
        for (int n = 0; n < 10; n++) {
            crowd_host(dir, some(bits + 4), some(bits + 4), suite_random() % 3 ? some(bits) : 0);
            sample(when);
            int64_t processes = 0;
            for (size_t i = 0; i < c.table.count; i++)
                processes += c.table.list[i].processes;
            must(options.consumers_exclude != 0 || processes == count,
                 "%s: got %" PRId64 " processes, want %d", when, processes, count);
        }
        ksm_consumers_close(&c);
        tree_remove(dir);
    }
}
END_TEST

/* The largest numbers: all that fits adds up, what does not makes no table. */
START_TEST(largest_numbers) {
    static const struct {
        int64_t sharing, zero;
        bool valid;
    } rows[] = {
        {1, 0, true},          {INT64_MAX, 0, false},
        {0, INT64_MAX, false}, {INT64_MAX, INT64_MAX, false},
        {INT64_MAX, 1, false},
    };

    for (int i = 0; i < ROWS(rows); i++) {
        crowd_host(dir, INT64_MAX, rows[i].sharing, rows[i].zero);
        for (int pid = 10; pid < 15; pid++)
            crowd_write(dir, &(const struct crowd_process){.pid = pid,
                                                           .merging = INT64_MAX,
                                                           .zero = INT64_MAX,
                                                           .rmap_items = INT64_MAX,
                                                           .comm = pid < 13 ? "x" : "y"});
        begin();
        make_table(true);
        ck_assert_msg(c.table.valid == rows[i].valid,
                      "sharing %" PRId64 ", zero %" PRId64 ": got %s table", rows[i].sharing,
                      rows[i].zero, c.table.valid ? "a valid" : "no valid");
        if (rows[i].valid)
            ck_assert_msg(c.table.list[0].merging == INT64_MAX && c.table.other.processes == 0,
                          "got merging %" PRId64, c.table.list[0].merging);
        ksm_consumers_close(&c);
    }
    /* The largest saving that can be told in bytes. */
    crowd_host(dir, 0, INT64_MAX / page - 1, 1);
    begin();
    sample("the largest saving");
    ck_assert_int_eq(c.table.saved, INT64_MAX / page * page);
}
END_TEST

/* ---- the top ---- */

/* Programs a, b, c … that save so many pages each, by zero pages: there the share is the count. */
static void set_saving(const int64_t *pages, int count) {
    int64_t sum = 0;

    for (int i = 0; i < count; i++) {
        char comm[2] = {(char)('a' + i), '\0'};
        crowd_write(
            dir,
            &(const struct crowd_process){
                .pid = 10 + i, .zero = pages[i], .rmap_items = 1, .resident = 5, .comm = comm});
        sum += pages[i];
    }
    crowd_host(dir, 0, 0, sum);
}

static const char *shown(void) {
    static char names[64];
    size_t len = 0;

    for (size_t i = 0; i < c.table.count; i++)
        if (c.table.list[i].shown)
            names[len++] = c.table.list[i].name.text[0];
    names[len] = '\0';
    return names;
}

static void expect_shown(const char *when, const char *want) {
    ck_assert_msg(strcmp(shown(), want) == 0, "%s: got %s shown, want %s", when, shown(), want);
}

START_TEST(top) {
    static const int64_t pages[] = {50, 900, 70, 0, 800, 60};
    static const struct {
        int consumers;
        const char *shown;
        int64_t others, other_saved;
    } rows[] = {
        {0, "", 6, 1880},   {1, "b", 5, 980},   {2, "be", 4, 180},   {3, "bce", 3, 110},
        {4, "bcef", 2, 50}, {5, "abcef", 1, 0}, {6, "abcdef", 0, 0}, {200, "abcdef", 0, 0},
    };

    set_saving(pages, ROWS(pages));
    for (int i = 0; i < ROWS(rows); i++) {
        options.consumers = rows[i].consumers;
        begin();
        sample("top");
        expect_shown("top", rows[i].shown);
        ck_assert_int_eq(c.table.other.processes, rows[i].others);
        ck_assert_int_eq(c.table.other.saved, rows[i].other_saved * page);
        ck_assert_int_eq(c.table.other.real, 5 * rows[i].others * page);
        ck_assert_msg(strcmp(c.table.other.name.text, "other") == 0, "got \"%s\"",
                      c.table.other.name.text);
        ksm_consumers_close(&c);
    }
}
END_TEST

/* Among equals it is the name that counts, so that it is the same ones every time. */
START_TEST(top_of_equals) {
    static const int64_t pages[] = {10, 10, 10, 10, 10};

    options.consumers = 2;
    set_saving(pages, ROWS(pages));
    begin();
    for (int i = 0; i < 10; i++) {
        sample("equals");
        expect_shown("equals", "ab");
    }
}
END_TEST

/* Who is shown keeps the place until another saves more than a tenth more. */
START_TEST(place_is_kept) {
    static const struct {
        int64_t a, b;
        const char *shown;
    } rows[] = {
        {1000, 900, "a"},  {1000, 1001, "a"}, {1000, 1099, "a"}, {1000, 1100, "a"},
        {1000, 1101, "b"}, {1000, 1101, "b"}, {1000, 1000, "b"}, {1000, 910, "b"},
        {1001, 910, "b"},  {1002, 910, "a"},  {1002, 1000, "a"}, {0, 0, "a"},
        {0, 1, "b"},       {1, 0, "a"},       {10, 11, "a"},     {10, 12, "b"},
    };

    options.consumers = 1;
    for (int i = 0; i < ROWS(rows); i++) {
        const int64_t pages[] = {rows[i].a, rows[i].b};
        char when[64];
        set_saving(pages, 2);
        if (i == 0)
            begin();
        snprintf(when, sizeof(when), "row %d, %" PRId64 " and %" PRId64, i, rows[i].a, rows[i].b);
        sample(when);
        expect_shown(when, rows[i].shown);
    }
}
END_TEST

/* One at the edge goes up and down by 5 %, or all there do by 4 %: no charts come and go. */
START_TEST(edge_does_not_alternate) {
    options.consumers = 2;
    for (int i = 0; i < 80; i++) {
        const int64_t one[] = {5000, i % 2 ? 1050 : 950, 1000, 10};
        const int64_t all[] = {5000, i % 2 ? 1040 : 960, i % 2 ? 960 : 1040, 10};
        set_saving(i < 40 ? one : all, 4);
        if (i == 0)
            begin();
        sample("edge");
        expect_shown("edge", "ac"); /* c was first */
    }
}
END_TEST

/* A place that comes free goes to the next; who comes back has no claim to it. */
START_TEST(place_that_comes_free) {
    static const int64_t before[] = {1000, 870, 800};

    options.consumers = 2;
    set_saving(before, 3);
    begin();
    sample("all three");
    expect_shown("all three", "ab");
    crowd_remove(dir, 11);
    crowd_host(dir, 0, 0, 1800);
    sample("b has ended");
    expect_shown("b has ended", "ac");
    ck_assert_msg(!find(program, "b"), "b has ended: got it in the table");
    set_saving(before, 3);
    sample("b is back");
    expect_shown("b is back with a tenth more at most", "ac");
}
END_TEST

/* A sample that fails for a moment does not make anybody lose the place. */
START_TEST(place_is_kept_over_a_failure) {
    const int64_t before[] = {1000, 900};
    const int64_t after[] = {1000, 1050};

    options.consumers = 1;
    set_saving(before, 2);
    begin();
    sample("before");
    expect_shown("before", "a");
    set_saving(after, 2);
    tree_write(dir, "sys/kernel/mm/ksm/pages_sharing", TEXT("x\n"));
    make_table(true);
    ck_assert_msg(!c.table.valid, "got a valid table of bad figures");
    set_saving(after, 2);
    sample("after");
    expect_shown("after", "a");
}
END_TEST

START_TEST(ended_and_new) {
    make_fixture();
    begin();
    sample("all");
    crowd_remove(dir, 200);
    crowd_remove(dir, 100);
    sample("one of two processes, and a machine, have ended");
    ck_assert_ptr_null(find(vm, "web-01"));
    const struct ksm_consumer *half = find(container, "9687bac58d5c");
    ck_assert_msg(half && half->processes == 1 && half->saved == 150 * page,
                  "got %" PRId64 " processes, %" PRId64 " saved", half ? half->processes : -1,
                  half ? half->saved : -1);
    ck_assert_int_eq(c.table.unattributed, (UNATTRIBUTED_BY_HAND + 1200 + (500 - 150)) * page);

    crowd_write(dir, &(const struct crowd_process){
                         .pid = 7, .merging = 8, .cgroup = "0::/lxc.payload.new\n", .comm = "x"});
    sample("a newcomer");
    ck_assert_int_eq(find(container, "new")->saved, 6 * page);
}
END_TEST

/* Who has opted in has no place in the table before there are pages. */
START_TEST(opted_in_without_pages) {
    static const char text[] = "ksm_rmap_items 0\nksm_zero_pages 0\nksm_merging_pages 0\n"
                               "ksm_process_profit 0\nksm_merge_any: yes\nksm_mergeable: yes\n";

    make_fixture();
    crowd_write(dir, &(const struct crowd_process){.pid = 7, .comm = "eager"});
    crowd_file(dir, 7, "ksm_stat", text, sizeof(text) - 1);
    begin();
    sample("opted in");
    ck_assert_int_eq((int)c.table.count, ROWS(by_hand));
    crowd_write(dir, &(const struct crowd_process){.pid = 7, .rmap_items = 1, .comm = "eager"});
    sample("first pages");
    ck_assert_int_eq((int)c.table.count, ROWS(by_hand) + 1);
}
END_TEST

/* A table changes when the next one is published, not before. */
START_TEST(table_in_the_making) {
    make_fixture();
    begin();
    sample("the first");
    const struct ksm_consumer_table before = c.table;
    crowd_remove(dir, 100);
    tree_write(dir, "sys/kernel/mm/ksm/pages_sharing", TEXT("x\n"));
    ck_assert_int_eq(ksm_consumers_sample(&c, true, now), 0);
    ck_assert_msg(memcmp(&before, &c.table, sizeof(before)) == 0 &&
                      !c.table.trouble[KSM_CONSUMERS_FAILED],
                  "the table, or a trouble, changed before");
    check_table("the old one stands");
    ksm_consumers_publish(&c);
    ck_assert_msg(!c.table.valid && c.table.trouble[KSM_CONSUMERS_FAILED],
                  "published: got no change");
}
END_TEST

/* ---- nothing registered ---- */

static int calls_made(void) {
    return faults_count(FAULTS_OPEN) + faults_count(FAULTS_OPENDIR) + faults_count(FAULTS_PREAD);
}

static void expect_empty(const char *when) {
    check_table(when);
    ck_assert_msg(c.table.count == 0 && c.table.saved == 0 && c.table.unattributed == 0 &&
                      c.table.other.processes == 0,
                  "%s: got %zu consumers, saved %" PRId64, when, c.table.count, c.table.saved);
}

START_TEST(nothing_registered) {
    make_fixture();
    begin();
    faults_clear();
    for (int i = 0; i < 5; i++) {
        make_table(false);
        expect_empty("nothing registered");
    }
    ck_assert_msg(calls_made() == 0, "got %d files looked at, want none", calls_made());
}
END_TEST

/* KSM is emptied, and used again later. */
START_TEST(registered_no_more) {
    int files = suite_open_files();

    make_fixture();
    begin();
    sample("registered");
    ck_assert_int_eq((int)c.table.count, ROWS(by_hand));
    make_table(false);
    expect_empty("registered no more");
    ck_assert_int_eq(suite_open_files(), files);
    faults_clear();
    make_table(false);
    ck_assert_int_eq(calls_made(), 0);
    sample("registered again");
    ck_assert_int_eq((int)c.table.count, ROWS(by_hand));
}
END_TEST

START_TEST(whether_registered) {
    static const char *const names[] = {"pages_shared", "pages_sharing", "ksm_zero_pages",
                                        "pages_unshared", "pages_volatile"};
    static const struct {
        const char *text;
        size_t len;
        bool registered;
    } rows[] = {
        {TEXT("0\n"), false}, {TEXT("1\n"), true}, {TEXT("-1\n"), true},
        {TEXT("x\n"), true},  {TEXT(""), true},    {TEXT("9223372036854775808\n"), true},
    };

    for (int name = 0; name < ROWS(names); name++) {
        for (int i = 0; i < ROWS(rows); i++) {
            char path[64];
            crowd_host(dir, 0, 0, 0);
            snprintf(path, sizeof(path), "sys/kernel/mm/ksm/%s", names[name]);
            tree_write(dir, path, rows[i].text, rows[i].len);
            begin();
            bool got = ksm_consumers_registered(&c, now);
            ck_assert_msg(got == rows[i].registered, "%s %s: got %d, want %d", names[name],
                          suite_quote(rows[i].text, rows[i].len), got, rows[i].registered);
            ksm_consumers_close(&c);
        }
    }
    crowd_host(dir, 0, 0, 0);
    tree_unlink(dir, "sys/kernel/mm/ksm/ksm_zero_pages");
    begin();
    ck_assert_msg(!ksm_consumers_registered(&c, now), "no ksm_zero_pages: got registered");
}
END_TEST

/* ---- troubles ---- */

static struct {
    bool bad;
    char text[512];
} told[8];
static int told_count;

static void hear(bool bad, const char *message) {
    must(told_count < ROWS(told), "more than %d messages", ROWS(told));
    must(message && *message && !strchr(message, '\n'), "got a bad message: %s",
         message ? message : "NULL");
    told[told_count].bad = bad;
    snprintf(told[told_count++].text, sizeof(told[0].text), "%s", message);
}

static void expect_silence(const char *when) {
    told_count = 0;
    ksm_report_consumers(&report, &c.table, hear);
    ck_assert_msg(told_count == 0, "%s: got %d messages, the first \"%s\"; want none", when,
                  told_count, told[0].text);
}

/* Exactly one message with these words, and it is not told again. */
static void expect_one(const char *when, bool bad, const char *words) {
    told_count = 0;
    ksm_report_consumers(&report, &c.table, hear);
    ck_assert_msg(told_count == 1 && told[0].bad == bad && strstr(told[0].text, words),
                  "%s: got %d messages, the first %s \"%s\"; want one %s with \"%s\"", when,
                  told_count, told_count > 0 && told[0].bad ? "bad" : "good",
                  told_count > 0 ? told[0].text : "", bad ? "bad" : "good", words);
    expect_silence(when);
}

static void failing_sample(const char *when) {
    make_table(true);
    ck_assert_msg(!c.table.valid, "%s: got a valid table", when);
}

START_TEST(all_well) {
    make_fixture();
    begin();
    expect_silence("at the beginning");
    for (int i = 0; i < 20; i++) {
        sample("all well");
        expect_silence("all well");
    }
}
END_TEST

/* A kernel that tells nothing of processes: told once. */
START_TEST(unknown) {
    make_fixture();
    tree_unlink(dir, "proc/self/ksm_stat");
    crowd_remove_file(dir, 1, "ksm_stat");
    crowd_remove_file(dir, 1, "ksm_merging_pages");
    begin();
    expect_one("at the beginning", false, "5.19"); /* no fault of anybody */
    expect_silence("later");
}
END_TEST

static void set_mode(int pid, mode_t mode) {
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%.4000s/proc/%d/ksm_stat", dir, pid);
    if (chmod(path, mode) != 0 || (geteuid() == 0 && chown(path, 65534, 65534) != 0))
        ck_abort_msg("%s: %s", path, strerror(errno));
}

/* Others' processes may not be read: what they save is unattributed, and the remedy is named. */
START_TEST(denied) {
    make_fixture();
    set_mode(100, 0);
    set_mode(101, 0);
    suite_become_nobody();
    begin();
    for (int i = 0; i < 20; i++) {
        sample("denied");
        if (i == 0)
            expect_one("denied", true, "cap_dac_read_search");
        else
            expect_silence("still denied");
        ck_assert_ptr_null(find(vm, "web-01"));
        ck_assert_int_eq(c.table.unattributed, (UNATTRIBUTED_BY_HAND + 1800) * page);
    }
    set_mode(100, 0444);
    set_mode(101, 0444);
    sample("readable again");
    expect_one("readable again", false, "can be read");
    ck_assert_int_eq(c.table.unattributed, UNATTRIBUTED_BY_HAND * page);
}
END_TEST

/* Why they may not be read decides what is advised. */
START_TEST(reasons_of_denial) {
    static const struct {
        int err;
        bool capable;
        const char *words;
    } rows[] = {
        {EACCES, false, "grant cap_dac_read_search"},
        {EACCES, true, "security module"},
        {EPERM, false, "hidepid=1"},
        {EPERM, true, "hidepid=1"},
    };

    make_fixture();
    for (int i = 0; i < ROWS(rows); i++) {
        begin();
        c.processes.capable = rows[i].capable;
        faults_fail(FAULTS_OPENAT, "100/ksm_stat", 0, rows[i].err);
        sample("one may not be read");
        expect_one("one may not be read", true, rows[i].words);
        faults_clear();
        sample("all may be read again");
        expect_one("all may be read again", false, "can be read");
        ksm_consumers_close(&c);
    }
}
END_TEST

START_TEST(hidden) {
    make_fixture();
    begin();
    sample("all can be seen");
    expect_silence("all can be seen");
    crowd_remove(dir, 1);
    sample("hidden");
    expect_one("hidden", true, "hidepid");
    sample("still hidden");
    expect_silence("still hidden");
    crowd_begin(dir);
    sample("seen again");
    expect_one("seen again", false, "no processes any more");
}
END_TEST

static void claim(int64_t pages) {
    crowd_write(dir, &(const struct crowd_process){
                         .pid = 10, .merging = pages, .rmap_items = pages, .comm = "x"});
}

/* The host has 100000 merged pages mapped. Over 1 % too many in six samples running is told. */
START_TEST(excess) {
    crowd_host(dir, 50000, 50000, 0);
    claim(100000);
    begin();
    sample("none");
    claim(101000);
    for (int i = 0; i < 20; i++) {
        sample("1 % too many");
        expect_silence("1 % too many");
        ck_assert_int_eq(c.table.unattributed, 0);
    }
    for (int round = 0; round < 3; round++) {
        claim(102000);
        for (int i = 0; i < 5; i++) {
            sample("2 % too many");
            expect_silence("not six times running");
        }
        claim(100000);
        sample("none");
        expect_silence("not six times running");
    }
    claim(200000);
    for (int i = 0; i < 5; i++) {
        sample("twice as many");
        expect_silence("not yet");
        ck_assert_int_eq(c.table.list[0].saved, 50000 * page);
    }
    sample("twice as many");
    expect_one("six times running", true, "scaled down");
    for (int i = 0; i < 20; i++) {
        sample("twice as many");
        expect_silence("told already");
    }
    claim(100000);
    sample("none");
    expect_one("none", false, "agree");
}
END_TEST

/* Programs that change their names all the time, and one that saves most and does not. */
enum { RENAMED = 30, SHOWN = 20 };

static void rename_all(int generation) {
    for (int i = 0; i < RENAMED; i++) {
        char comm[16];
        snprintf(comm, sizeof(comm), "r%d-%d", generation, i);
        crowd_write(dir, &(const struct crowd_process){
                             .pid = 100 + i, .zero = 10, .rmap_items = 1, .comm = comm});
    }
}

static bool is_shown(const char *name) {
    const struct ksm_consumer *one = find(program, name);

    return one && one->shown;
}

/* Adds the names that are shown and were not before to a set; returns how many it has. */
static int add_shown(struct ksm_name *seen, int count, int most) {
    for (size_t i = 0; i < c.table.count; i++) {
        int at = 0;
        while (at < count && compare(&seen[at], &c.table.list[i].name) != 0)
            at++;
        if (!c.table.list[i].shown || at < count)
            continue;
        must(count < most, "got %d names shown so far, want %d at most", count + 1, most);
        seen[count++] = c.table.list[i].name;
    }
    return count;
}

/* Of new names so many are shown at once, then one a minute: it is told once when that begins, and
 * once when it is over. */
START_TEST(names_without_end) {
    enum { SAMPLES = 120, AT_ONCE = SHOWN + KSM_NEWCOMERS_HOUR };
    static struct ksm_name seen[AT_ONCE + SAMPLES];
    int count = 0, held_back = 0;

    options.consumers = SHOWN;
    crowd_write(dir, &(const struct crowd_process){.pid = 10, .zero = 900, .comm = "steady"});
    crowd_host(dir, 0, 0, 900 + RENAMED * 10);
    begin();
    for (int i = 0; i < SAMPLES; i++) {
        rename_all(i);
        sample("names change");
        ck_assert_int_eq((int)c.table.count, 1 + RENAMED);
        ck_assert_msg(is_shown("steady"), "sample %d: steady is not shown", i);
        count = add_shown(seen, count, AT_ONCE + (i + 1) * INTERVAL / KSM_NEWCOMER_MS);
        held_back += c.newcomers.held_back;
        if (held_back == 1)
            expect_one("names change", true, "changes its name");
        else
            expect_silence("names change");
        if (i == 0)
            ck_assert_int_eq(count, SHOWN);
    }
    ck_assert_msg(count >= AT_ONCE + SAMPLES * INTERVAL / KSM_NEWCOMER_MS - 1,
                  "got %d names shown in all, want one a minute too", count);

    rename_all(0); /* who returns waits for nothing */
    sample("the first names again");
    ck_assert_msg(is_shown("r0-0"), "a name that was shown before is held back");
    expect_silence("held back not long ago");
    for (int i = 0; c.newcomers.held_back; i++) {
        expect_silence("held back not long ago");
        ck_assert_int_le(i, SAMPLES);
        sample("names stay");
    }
    expect_one("names stay", false, "at once again");
    sample("names stay"); /* check_table: as many are shown as there may be */
    expect_silence("names stay");
}
END_TEST

/* The host's files, one by one, with things in them that are no figures. */
START_TEST(bad_host_files) {
    static const struct {
        const char *file;
        const char *text;
        size_t len;
        bool valid;
    } rows[] = {
        {"pages_sharing", TEXT("x\n"), false},
        {"pages_sharing", TEXT(""), false},
        {"pages_sharing", TEXT("9223372036854775808\n"), false},
        {"pages_shared", TEXT("1 2\n"), false},
        {"pages_shared", TEXT("9223372036854775807\n"), true},
        {"ksm_zero_pages", TEXT("x\n"), false},
        {"ksm_zero_pages", TEXT("-1\n"), false},
        {"pages_unshared", TEXT("x\n"), true},
        {"pages_volatile", TEXT("x\n"), true},
    };

    for (int i = 0; i < ROWS(rows); i++) {
        char path[64];
        make_fixture();
        begin();
        sample("good");
        expect_silence("good");
        snprintf(path, sizeof(path), "sys/kernel/mm/ksm/%s", rows[i].file);
        tree_write(dir, path, rows[i].text, rows[i].len);
        if (rows[i].valid) {
            sample(rows[i].file);
            expect_silence(rows[i].file);
        } else {
            failing_sample(rows[i].file);
            expect_one(rows[i].file, true, "cannot be told");
            for (int n = 0; n < 10; n++) {
                failing_sample(rows[i].file);
                expect_silence(rows[i].file);
            }
            make_fixture();
            sample("good again");
            expect_one("good again", false, "again");
            ck_assert_int_eq(c.table.unattributed, UNATTRIBUTED_BY_HAND * page);
        }
        ksm_consumers_close(&c);
    }
}
END_TEST

/* Files that are missing: looked for again within a minute. ksm_zero_pages is missing before 6.6.
 */
START_TEST(missing_host_files) {
    static const struct {
        const char *file;
        bool valid;
    } rows[] = {
        {"pages_sharing", false}, {"pages_shared", false},  {"ksm_zero_pages", true},
        {"pages_unshared", true}, {"pages_volatile", true},
    };

    for (int i = 0; i < ROWS(rows); i++) {
        char path[64];
        make_fixture();
        snprintf(path, sizeof(path), "sys/kernel/mm/ksm/%s", rows[i].file);
        tree_unlink(dir, path);
        begin();
        if (rows[i].valid) {
            sample(rows[i].file);
            expect_silence(rows[i].file);
        } else {
            failing_sample(rows[i].file);
            expect_one(rows[i].file, true, "cannot be told");
            make_fixture();
            for (int n = 0; n < 7; n++)
                make_table(true);
            expect_one("there again", false, "again");
            check_table("there again");
        }
        ksm_consumers_close(&c);
    }
}
END_TEST

START_TEST(proc_cannot_be_walked) {
    make_fixture();
    begin();
    faults_fail(FAULTS_OPENDIR, NULL, 0, EACCES);
    failing_sample("no /proc");
    expect_one("no /proc", true, "/proc");
    failing_sample("no /proc");
    expect_silence("no /proc");
    faults_clear();
    sample("there again");
    expect_one("there again", false, "again");
    ck_assert_int_eq((int)c.table.count, ROWS(by_hand));
}
END_TEST

START_TEST(closing) {
    int files = suite_open_files();

    make_fixture();
    begin();
    ksm_consumers_close(&c);
    begin();
    sample("open");
    ksm_consumers_close(&c);
    ck_assert_int_eq(suite_open_files(), files);
    ck_assert_msg(c.table.count == 0 && !c.table.list, "got %zu consumers", c.table.count);
    ksm_consumers_close(&c);
    ck_assert_int_eq(suite_open_files(), files);
}
END_TEST

/* The real host, whatever it has: the sums are exact and nothing is left open. */
START_TEST(live) {
    int files = suite_open_files();

    ksm_options_init(&options);
    options.consumers = 3;
    begin();
    if (c.table.trouble[KSM_CONSUMERS_UNKNOWN]) {
        suite_skip("live", "this kernel tells nothing of processes");
        return;
    }
    if (!ksm_consumers_registered(&c, now))
        suite_skip("live", "no pages are registered with KSM, there is nothing to divide");
    for (int i = 0; i < 10; i++)
        sample("live");
    ksm_consumers_close(&c);
    ck_assert_int_eq(suite_open_files(), files);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("consumers");
    TCase *table = suite_case(suite, "table");
    TCase *first = suite_case(suite, "top");
    TCase *nothing = suite_case(suite, "nothing registered");
    TCase *troubles = suite_case(suite, "troubles");
    TCase *others = suite_case(suite, "others");

    printf("test_consumers: KSM_TEST_SEED=%" PRIu64 "\n", suite_seed());
    fflush(stdout);
    tcase_add_checked_fixture(table, set_up, tear_down);
    tcase_add_test(table, table_by_hand);
    tcase_add_loop_test(table, kinds_left_out, 0, 1 << KSM_CONSUMER_KIND_COUNT);
    tcase_add_test(table, hostile_names);
    tcase_add_test(table, real_memory);
    tcase_add_test(table, resident_not_known);
    tcase_add_test(table, not_read_this_time);
    tcase_add_test(table, growth);
    tcase_add_test(table, conservation);
    tcase_add_test(table, largest_numbers);

    tcase_add_checked_fixture(first, set_up, tear_down);
    tcase_add_test(first, top);
    tcase_add_test(first, top_of_equals);
    tcase_add_test(first, place_is_kept);
    tcase_add_test(first, edge_does_not_alternate);
    tcase_add_test(first, place_that_comes_free);
    tcase_add_test(first, place_is_kept_over_a_failure);
    tcase_add_test(first, ended_and_new);
    tcase_add_test(first, opted_in_without_pages);
    tcase_add_test(first, table_in_the_making);

    tcase_add_checked_fixture(nothing, set_up, tear_down);
    tcase_add_test(nothing, nothing_registered);
    tcase_add_test(nothing, registered_no_more);
    tcase_add_test(nothing, whether_registered);

    tcase_add_checked_fixture(troubles, set_up, tear_down);
    tcase_add_test(troubles, all_well);
    tcase_add_test(troubles, unknown);
    tcase_add_test(troubles, denied);
    tcase_add_test(troubles, reasons_of_denial);
    tcase_add_test(troubles, hidden);
    tcase_add_test(troubles, excess);
    tcase_add_test(troubles, names_without_end);
    tcase_add_test(troubles, bad_host_files);
    tcase_add_test(troubles, missing_host_files);
    tcase_add_test(troubles, proc_cannot_be_walked);

    tcase_add_checked_fixture(others, set_up, tear_down);
    tcase_add_test(others, closing);
    tcase_add_test(others, live);
    return suite_run(suite);
}
