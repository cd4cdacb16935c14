/* SPDX-License-Identifier: MIT
 *
 * The table of consumers, and the messages about faults.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "consumers/consumers.h"
#include "log_state.h"
#include "support/fake_procs.h"
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
static struct ksm_consumers_log_state log_state;
static int64_t now; /* ms */
static int64_t page;

void before_each(void) {
    dir = suite_dir();
    page = sysconf(_SC_PAGESIZE);
    now = 5000000;
    fake_procs_init(dir);
    ksm_options_init(&options);
    snprintf(options.root, sizeof(options.root), "%s", dir);
    faults_clear();
}

void after_each(void) {
    ksm_consumers_close(&c);
}

static void begin(void) {
    memset(&log_state, 0, sizeof(log_state));
    ksm_consumers_init(&c, &options, INTERVAL, KSM_KEPT_DESCRIPTORS_MAX);
}

/* ---- what holds for every table ---- */

/* -1 is unknown; a sum does not exceed INT64_MAX. */
static int64_t plus(int64_t a, int64_t b) {
    if (a < 0 || b < 0)
        return -1;
    return a > INT64_MAX - b ? INT64_MAX : a + b;
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

static bool same_counts(const struct ksm_consumer *a, const struct ksm_consumer *b) {
    return a->saved == b->saved && a->real == b->real && a->resident == b->resident &&
           a->merging == b->merging && a->zero == b->zero && a->growth == b->growth &&
           a->rmap_items == b->rmap_items && a->processes == b->processes;
}

/* All shares and the unattributed savings add up to the host's, to the byte. */
static void check_table(const char *when) {
    const struct ksm_consumer_table *t = &c.table;
    struct ksm_consumer sum = {.saved = 0};
    struct ksm_consumer other = {.saved = 0};
    int64_t by_kind[KSM_CONSUMER_KIND_COUNT] = {0};
    size_t shown = 0;

    must(t->valid, "%s: got no valid table", when);
    for (size_t i = 0; i < t->count; i++) {
        const struct ksm_consumer *consumer = &t->list[i];
        must(i == 0 || ksm_consumer_name_compare(&t->list[i - 1].name, &consumer->name) < 0,
             "%s: %s and %s are not in order", when, t->list[i - 1].name.text, consumer->name.text);
        must(!fake_procs_check_name(consumer->name.text), "%s: bad name %s", when,
             consumer->name.text);
        must(consumer->saved >= 0 && consumer->saved % page == 0 && consumer->real >= -1 &&
                 consumer->processes > 0,
             "%s: %s: got saved %" PRId64 ", real %" PRId64 ", processes %" PRId64, when,
             consumer->name.text, consumer->saved, consumer->real, consumer->processes);
        add(&sum, consumer);
        by_kind[consumer->name.kind] += consumer->saved;
        shown += consumer->shown;
        if (!consumer->shown)
            add(&other, consumer);
    }
    must(t->unattributed >= 0 && sum.saved + t->unattributed == t->saved,
         "%s: got %" PRId64 " of consumers and %" PRId64 " unattributed, want %" PRId64 " together",
         when, sum.saved, t->unattributed, t->saved);
    for (size_t kind = 0; kind < KSM_CONSUMER_KIND_COUNT; kind++)
        must(t->by_kind[kind] == by_kind[kind], "%s: %s: got %" PRId64 ", want %" PRId64, when,
             ksm_consumer_kinds[kind], t->by_kind[kind], by_kind[kind]);
    size_t want = t->count < (size_t)options.consumers ? t->count : (size_t)options.consumers;
    must(t->faults[KSM_CONSUMERS_RATE_LIMITED] ? shown <= want : shown == want,
         "%s: got %zu shown, want %zu", when, shown, want);
    must(same_counts(&t->other, &other),
         "%s: the others: got saved %" PRId64 ", real %" PRId64 ", processes %" PRId64
         ", want %" PRId64 ", %" PRId64 ", %" PRId64,
         when, t->other.saved, t->other.real, t->other.processes, other.saved, other.real,
         other.processes);
}

static void make_table(bool has_pages) {
    ck_assert_int_eq(ksm_consumers_sample(&c, has_pages, now, NULL), 0);
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

/* The host of fixtures/consumers.tree has 3000 sharing of 4000 merged pages, so that a share is
 * three quarters of the merged pages. real is resident less that, and less what the second process
 * of a consumer has mapped. In pages. */
static const struct {
    enum ksm_consumer_kind kind;
    const char *name;
    int64_t saved, real, merging, zero, rmap_items, processes;
    const char *owner;
} by_hand[] = {
    {vm, "100", 600, 9400, 800, 0, 2000, 1, "vm 100"},
    {vm, "web-01", 900 + 300, 19100, 1200, 300, 5000, 1, "vm web-01"},
    {container, "9687bac58d5c", 450 + 50, 3250, 600, 50, 1300, 2, "container 9687bac58d5c"},
    {container, "ct1", 75, 425, 100, 0, 100, 1, "container ct1"},
    {service, "getty@tty1", 0, 150, 0, 0, 10, 1, "user 0"},
    {service, "nginx", 120, 380, 160, 0, 160, 2, "several"},
    {program, "bash", 3, 897, 4, 0, 4, 1, "user 1000"},
    {program, "firefox", 4, -1, 6, 0, 6, 1, "user 1000"}, /* 4.5; its statm is missing */
};
static const int64_t by_kind_by_hand[KSM_CONSUMER_KIND_COUNT] = {1800, 575, 120, 7};
enum {
    SAVED_BY_HAND = 3500,
    UNATTRIBUTED_BY_HAND = 998,
    OWNERS_BY_HAND = 4 + 3, /* users 0 and 33, of nginx, and 1000 */
};

static void make_fixture(void) {
    tree_make("tests/fixtures/consumers.tree", dir);
}

static void begin_fixture(void) {
    make_fixture();
    begin();
}

static void expect_unattributed(int64_t pages) {
    ck_assert_int_eq(c.table.unattributed, pages * page);
}

TEST(table_by_hand) {
    char owner[KSM_TRUST_DOMAIN_SIZE];

    begin_fixture();
    sample("by hand");
    ck_assert_int_eq((int)c.table.count, ROWS(by_hand));
    for (int i = 0; i < ROWS(by_hand); i++) {
        const struct ksm_consumer *got = &c.table.list[i];
        const struct ksm_consumer want = {
            .saved = by_hand[i].saved * page,
            .real = by_hand[i].real < 0 ? -1 : by_hand[i].real * page,
            .resident = got->resident, /* of which real is made */
            .merging = by_hand[i].merging,
            .zero = by_hand[i].zero,
            .growth = KSM_GROWTH_UNKNOWN, /* at the first sample */
            .rmap_items = by_hand[i].rmap_items,
            .processes = by_hand[i].processes,
        };
        ck_assert_msg(got->name.kind == by_hand[i].kind &&
                          strcmp(got->name.text, by_hand[i].name) == 0 && got->shown,
                      "consumer %d: got %s %s", i, ksm_consumer_kinds[got->name.kind],
                      got->name.text);
        ck_assert_msg(same_counts(got, &want),
                      "%s: got saved %" PRId64 ", real %" PRId64 ", merging %" PRId64
                      ", zero %" PRId64 ", rmap items %" PRId64 ", processes %" PRId64,
                      got->name.text, got->saved / page, got->real / page, got->merging, got->zero,
                      got->rmap_items, got->processes);
        ksm_consumer_format_owner(got, owner);
        ck_assert_str_eq(owner, by_hand[i].owner);
    }
    ck_assert_int_eq(c.table.owners, OWNERS_BY_HAND);
    for (size_t kind = 0; kind < KSM_CONSUMER_KIND_COUNT; kind++)
        ck_assert_int_eq(c.table.by_kind[kind], by_kind_by_hand[kind] * page);
    ck_assert_int_eq(c.table.saved, SAVED_BY_HAND * page);
    expect_unattributed(UNATTRIBUTED_BY_HAND);
    ck_assert_int_eq(c.table.other.processes, 0);
}

/* Savings of excluded kinds are unattributed; the other shares stay. */
TEST_TIMES(excluded_kinds_are_unattributed, 1 << KSM_CONSUMER_KIND_COUNT) {
    make_fixture();
    options.consumers_exclude = (unsigned)_i;
    begin();
    sample("excluded");
    int64_t unattributed = UNATTRIBUTED_BY_HAND;
    for (unsigned kind = 0; kind < KSM_CONSUMER_KIND_COUNT; kind++)
        if ((unsigned)_i & 1U << kind)
            unattributed += by_kind_by_hand[kind];
    ck_assert_int_eq(c.table.unattributed, unattributed * page);
    for (int i = 0; i < ROWS(by_hand); i++) {
        const struct ksm_consumer *got = find(by_hand[i].kind, by_hand[i].name);
        bool excluded = ((unsigned)_i & 1U << by_hand[i].kind) != 0;
        ck_assert_msg((got == NULL) == excluded, "%s %s: got %s",
                      ksm_consumer_kinds[by_hand[i].kind], by_hand[i].name,
                      got ? "included" : "excluded");
        if (got)
            ck_assert_int_eq(got->saved, by_hand[i].saved * page);
    }
}

static const struct fake_process hostile[] = {
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

/* Names that become the same when they are cleaned stay different consumers. */
TEST(hostile_names_stay_apart) {
    fake_procs_set_host(dir, 0, 0, 511);
    for (int i = 0; i < ROWS(hostile); i++)
        fake_procs_write(dir, &hostile[i]);
    begin();
    sample("hostile names");
    ck_assert_int_eq((int)c.table.count, ROWS(hostile));
    for (size_t i = 0; i < c.table.count; i++)
        ck_assert_int_eq(c.table.list[i].processes, 1);
    expect_unattributed(0);
    ck_assert_ptr_nonnull(find(vm, "a_b__c_d"));
    ck_assert_ptr_nonnull(find(program, "x_DISABLE"));
}

/* ---- owners ---- */

#define WEB "0::/system.slice/web.service\n"

static const struct {
    struct fake_process processes[3];
    int64_t owners;
    int64_t user; /* of the consumer of the first process */
} owner_rows[] = {
    {{{.pid = 0}}, 0, 0},
    {{{.pid = 5, .merging = 4, .user = 7, .comm = "a"}}, 1, 7},
    {{{.pid = 5, .merging = 4, .user = 7, .comm = "a"},
      {.pid = 6, .merging = 4, .user = 7, .comm = "b"}},
     1,
     7},
    {{{.pid = 5, .merging = 4, .user = 7, .comm = "a"},
      {.pid = 6, .merging = 4, .user = 8, .comm = "b"}},
     2,
     7},
    {{{.pid = 5, .merging = 4, .user = 7, .comm = "a"},
      {.pid = 6, .zero = 4, .user = 8, .comm = "b"}},
     1,
     7},
    {{{.pid = 5, .merging = 4, .user = 7, .cgroup = WEB},
      {.pid = 6, .merging = 4, .user = 8, .cgroup = WEB}},
     2,
     KSM_USER_SEVERAL},
    {{{.pid = 5, .merging = 4, .cgroup = "0::/lxc.payload.a\n"},
      {.pid = 6, .merging = 4, .cgroup = "0::/lxc.payload.b\n"},
      {.pid = 7, .merging = 4, .cgroup = "0::/lxc.payload.b\n"}},
     2,
     0},
    {{{.pid = 5, .merging = 4, .cgroup = "0::/lxc.payload.a\n"}, {.pid = 6, .merging = 4}}, 2, 0},
    {{{.pid = 5, .merging = 4, .user = -1, .comm = "a"},
      {.pid = 6, .merging = 4, .user = 7, .comm = "b"}},
     -1,
     KSM_USER_UNKNOWN},
    {{{.pid = 5, .merging = 4, .user = -1, .cgroup = WEB},
      {.pid = 6, .merging = 4, .user = 7, .cgroup = WEB}},
     -1,
     KSM_USER_UNKNOWN},
    {{{.pid = 5, .merging = 4, .user = 7, .cgroup = WEB},
      {.pid = 6, .merging = 4, .user = 8, .cgroup = WEB},
      {.pid = 7, .merging = 4, .user = -1, .cgroup = WEB}},
     -1,
     KSM_USER_UNKNOWN},
    {{{.pid = 5, .merging = 4, .user = 7, .comm = "a"},
      {.pid = 6, .zero = 4, .user = -1, .comm = "b"}},
     1,
     7},
    {{{.pid = 5, .merging = 4, .user = -1, .cgroup = "0::/lxc.payload.a\n"}}, 1, KSM_USER_UNKNOWN},
};

TEST_ROWS(owners, owner_rows) {
    for (int excluded = 0; excluded < 2; excluded++) {
        fake_procs_set_host(dir, 4, 8, 4);
        for (int i = 0; i < ROWS(row->processes) && row->processes[i].pid != 0; i++)
            fake_procs_write(dir, &row->processes[i]);
        begin();
        c.excluded = excluded ? 1U << KSM_CONSUMER_program : 0;
        sample("owners");
        ck_assert_int_eq(c.table.owners, row->owners);
        if (!excluded && c.table.count > 0)
            ck_assert_int_eq(c.table.list[0].user, row->user);
        ksm_consumers_close(&c);
    }
}

/* A process that is skipped, or cannot be read, may have another owner. */
TEST(owners_are_not_known_without_all_processes) {
    fake_procs_set_host(dir, 4, 8, 4);
    fake_procs_write(dir, &(const struct fake_process){.pid = 5, .merging = 4, .user = 7});
    fake_procs_write(dir, &(const struct fake_process){.pid = 6, .merging = 4, .user = 8});
    begin();
    sample("all");
    ck_assert_int_eq(c.table.owners, 2);
    ksm_process_list_skip(&c.processes, 6, -1);
    sample("one is skipped");
    ck_assert_int_eq(c.table.owners, -1);
    ksm_process_list_resume(&c.processes, 6);
    for (int i = 0; i < KSM_UPDATES_PER_SWEEP; i++)
        sample("all again");
    ck_assert_int_eq(c.table.owners, 2);
    fake_procs_write_file(dir, 7, "ksm_stat", TEXT("a format of a later kernel\n"));
    for (int i = 0; i < KSM_UPDATES_PER_SWEEP; i++)
        sample("one cannot be parsed");
    ck_assert_int_eq(c.table.owners, -1);
}

/* It may set its user id at any time. */
TEST(user_is_read_again_with_the_name) {
    struct fake_process process = {.pid = 5, .merging = 4, .user = 7, .comm = "a"};

    fake_procs_set_host(dir, 4, 8, 4);
    fake_procs_write(dir, &process);
    begin();
    sample("as user 7");
    process.user = 8;
    fake_procs_write(dir, &process);
    for (int i = 0; i < KSM_UPDATES_PER_NAMING; i++)
        sample("as user 8");
    ck_assert_int_eq((int)c.table.count, 1);
    ck_assert_int_eq(c.table.list[0].user, 8);
}

static const struct {
    int64_t merging, zero, rmap_items;
    bool has_no_rmap_items;
    int64_t want; /* thousandths of a percent */
} density_rows[] = {
    {250, 0, 1000, false, 25000},
    {250, 83, 1000, false, 33300},
    {1, 0, 64, false, 1562},
    {0, 0, 1000, false, 0},
    {1000, 0, 1000, false, 100000},
    {999, 2, 1000, false, 100000},
    {250, 0, 0, false, -1},
    {250, 0, 1000, true, -1},
    {-1, 0, 1000, false, -1},
    {INT64_MAX, 1, 7, false, -1},
    {INT64_MAX / 2, 0, INT64_MAX, false, -1},
};

TEST_ROWS(merge_density_is_merged_by_tracked_pages, density_rows) {
    const struct ksm_consumer_table of = {.has_zero_pages = true,
                                          .has_rmap_items = !row->has_no_rmap_items};
    const struct ksm_consumer consumer = {
        .merging = row->merging, .zero = row->zero, .rmap_items = row->rmap_items};

    ck_assert_int_eq(ksm_consumer_merge_density(&of, &consumer), row->want);
}

TEST(how_a_consumer_opted_in) {
    fake_procs_set_host(dir, 4, 8, 4);
    fake_procs_write(dir, &(const struct fake_process){.pid = 5, .merging = 4, .comm = "a"});
    fake_procs_write(
        dir, &(const struct fake_process){.pid = 6, .merging = 4, .comm = "b", .merge_any = true});
    fake_procs_write(
        dir, &(const struct fake_process){.pid = 7, .merging = 4, .comm = "a", .merge_any = true});
    begin();
    sample("opted in");
    ck_assert_int_eq((int)c.table.count, 2);
    ck_assert_str_eq(ksm_consumer_opt_in(&c.table.list[0]), "both");
    ck_assert_str_eq(ksm_consumer_opt_in(&c.table.list[1]), "prctl");
}

/* RSS includes merged pages, but not zero pages. */
static const struct {
    int64_t merging, zero, resident, real;
} real_rows[] = {
    {0, 0, 0, 0},         {100, 0, 50, 0},         {100, 0, 49, -1},
    {100, 0, 51, 1},      {100, 100, 50, 0},       {0, 100, 0, 0},
    {100, 100, 500, 450}, {100, 0, INT64_MAX, -1}, {0, 0, INT64_MAX, -1},
};

TEST_ROWS(real_memory_is_rss_less_the_share, real_rows) {
    fake_procs_set_host(dir, 100, 100, 100);
    fake_procs_write(dir, &(const struct fake_process){.pid = 10,
                                                       .merging = row->merging,
                                                       .zero = row->zero,
                                                       .rmap_items = 1,
                                                       .resident = row->resident,
                                                       .comm = "x"});
    begin();
    sample("real");
    ck_assert_int_eq(c.table.list[0].real, row->real < 0 ? -1 : row->real * page);
}

/* Nor is that of its consumer, or of "other". */
TEST(resident_of_a_process_is_not_known) {
    options.consumers = 1;
    fake_procs_set_host(dir, 0, 0, 100);
    for (int pid = 10; pid < 14; pid++)
        fake_procs_write(
            dir, &(const struct fake_process){
                     .pid = pid, .zero = pid, .resident = 1000, .comm = pid < 12 ? "a" : "b"});
    begin();
    sample("all known");
    ck_assert_int_eq(find(program, "a")->resident, 2000);
    ck_assert_int_eq(find(program, "a")->real, 2000 * page);
    for (int pid = 10; pid < 13; pid += 2) {
        fake_procs_remove_file(dir, pid, "statm");
        sample("one is not known");
    }
    ck_assert_int_eq(find(program, "a")->resident, -1);
    ck_assert_int_eq(find(program, "a")->real, -1);
    ck_assert_int_eq(find(program, "b")->real, -1);
    ck_assert_int_eq(c.table.other.real, -1);
    ck_assert_int_eq(c.table.other.saved, (10 + 11) * page);
}

TEST(process_that_cannot_be_read_does_not_count) {
    begin_fixture();
    sample("all are read");
    faults_fail(FAULTS_PREAD, "/100/ksm_stat", 0, EIO);
    sample("one is not");
    ck_assert_ptr_null(find(vm, "web-01"));
    expect_unattributed(UNATTRIBUTED_BY_HAND + 1200);
    faults_clear();
    sample("all are read again");
    expect_unattributed(UNATTRIBUTED_BY_HAND);
}

/* A consumer of two processes, read every 10 s; second < 0: it does not run. */
static const struct {
    const char *what;
    const char *run;
    int64_t first, zero_of_first, second;
    bool bad_host;
    int unreadable; /* pid */
    int64_t want;
} growths[] = {
    {"new: it may have merged long ago", "1\n", 100, 0, -1, false, 0, KSM_GROWTH_UNKNOWN},
    {"100 pages in 10 s", "1\n", 200, 0, -1, false, 0, 10000},
    {"a second process is new", "1\n", 200, 0, 5000, false, 0, 0},
    {"both, and zero pages", "1\n", 210, 5, 5005, false, 0, 2000},
    {"unmerged", "1\n", 11, 5, 5005, false, 0, -19900},
    {"one has exited", "1\n", 16, 5, -1, false, 0, 500},
    {"stopped: its counts are old", "0\n", 16, 5, -1, false, 0, KSM_GROWTH_UNKNOWN},
    {"started again", "1\n", 26, 5, -1, false, 0, KSM_GROWTH_UNKNOWN},
    {"continues", "1\n", 27, 5, -1, false, 0, 100},
    {"no table", "1\n", 30, 5, -1, true, 0, 0},
    {"since the table before that", "1\n", 37, 5, 70, false, 0, 500},
    {"one cannot be read", "1\n", 1000, 5, 80, false, 10, 1000},
    {"and counts as new after that", "1\n", 1010, 5, 90, false, 0, 1000},
    {"run unknown", "x\n", 1020, 5, 100, false, 0, KSM_GROWTH_UNKNOWN},
};

TEST(growth) {
    begin();
    for (__typeof__(&growths[0]) row = growths; row < growths + ROWS(growths); row++) {
        fake_procs_set_host(dir, 9000, row->bad_host ? -1 : 9000, 100);
        tree_print(dir, "sys/kernel/mm/ksm/run", "%s", row->run);
        fake_procs_write(
            dir, &(const struct fake_process){
                     .pid = 10, .merging = row->first, .zero = row->zero_of_first, .comm = "x"});
        if (row->second < 0 && row > growths && row[-1].second >= 0)
            fake_procs_remove(dir, 11);
        if (row->second >= 0)
            fake_procs_write(
                dir, &(const struct fake_process){.pid = 11, .merging = row->second, .comm = "x"});
        if (row->unreadable)
            faults_fail(FAULTS_PREAD, "/10/ksm_stat", 0, EIO);
        make_table(true);
        faults_clear();
        must(c.table.valid == !row->bad_host, "%s: got valid %d", row->what, c.table.valid);
        if (row->bad_host)
            continue;
        check_table(row->what);
        must(c.table.count == 1 && c.table.list[0].growth == row->want,
             "%s: got %" PRId64 ", want %" PRId64, row->what, c.table.list[0].growth, row->want);
    }
}

/* ---- conservation on random hosts ---- */

/* Small numbers are as frequent as large ones. */
static int64_t random_number(int bits) {
    return (int64_t)(suite_random() >> (64 - 1 - (int)(suite_random() % (unsigned)bits)));
}

static void add_random_processes(int count, int bits, int names) {
    static const char *const cgroups[][2] = {
        {"/machine.slice/machine-qemu\\x2d1\\x2dvm", ".scope"},
        {"/lxc.payload.c", ""},
        {"/system.slice/s", ".service"},
        {"/program", ""},
    };

    for (int i = 0; i < count; i++) {
        char cgroup[128], comm[16];
        int number = (int)(suite_random() % (unsigned)names);
        struct fake_process process = {.pid = 100 + i, .cgroup = cgroup, .comm = comm};
        process.merging = suite_random() % 5 ? random_number(bits) : 0;
        process.zero = suite_random() % 3 ? 0 : random_number(bits);
        process.rmap_items = 1 + random_number(bits);
        process.resident = process.merging + random_number(bits);
        snprintf(comm, sizeof(comm), "p%d", number);
        const char *const *affixes = cgroups[suite_random() % ROWS(cgroups)];
        snprintf(cgroup, sizeof(cgroup), "0::%s%d%s\n", affixes[0], number, affixes[1]);
        fake_procs_write(dir, &process);
        if (suite_random() % 16 == 0)
            fake_procs_remove_file(dir, process.pid, "statm");
    }
}

TEST(shares_add_up_on_random_hosts) {
    enum { ROUNDS = 200 };
    const char *parent = dir;

    for (int round = 0; round < ROUNDS; round++) {
        char when[64];
        int bits = 1 + (int)(suite_random() % 44);
        int count = (int)(suite_random() % 30);
        snprintf(options.root, sizeof(options.root), "%.4000s/%d", parent, round);
        dir = options.root;
        fake_procs_init(dir);
        options.consumers = (int)(suite_random() % 12);
        options.consumers_exclude = suite_random() % 4 ? 0 : (unsigned)(suite_random() % 16);
        add_random_processes(count, bits, 1 + (int)(suite_random() % 12));
        begin();
        snprintf(when, sizeof(when), "round %d", round);
        for (int n = 0; n < 10; n++) {
            fake_procs_set_host(dir, random_number(bits + 4), random_number(bits + 4),
                                suite_random() % 3 ? random_number(bits) : 0);
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

/* A saving that does not fit in an int64 invalidates the table. */
static const struct {
    int64_t sharing, zero;
    bool valid;
} largest[] = {
    {1, 0, true},
    {INT64_MAX, 0, false},
    {0, INT64_MAX, false},
    {INT64_MAX, INT64_MAX, false},
};

TEST_ROWS(largest_numbers, largest) {
    fake_procs_set_host(dir, INT64_MAX, row->sharing, row->zero);
    for (int pid = 10; pid < 15; pid++)
        fake_procs_write(dir, &(const struct fake_process){.pid = pid,
                                                           .merging = INT64_MAX,
                                                           .zero = INT64_MAX,
                                                           .rmap_items = INT64_MAX,
                                                           .comm = pid < 13 ? "x" : "y"});
    begin();
    make_table(true);
    ck_assert_int_eq(c.table.valid, row->valid);
    if (row->valid)
        ck_assert_msg(c.table.list[0].merging == INT64_MAX / 2 + 1 && c.table.other.processes == 0,
                      "got merging %" PRId64, c.table.list[0].merging);
}

TEST(largest_saving_in_bytes) {
    fake_procs_set_host(dir, 0, INT64_MAX / page - 1, 1);
    begin();
    sample("the largest saving");
    ck_assert_int_eq(c.table.saved, INT64_MAX / page * page);
}

/* ---- the top ---- */

/* Programs a, b, c … with so many zero pages each, of which the share is exact. */
static void set_savings(const int64_t *pages, int count) {
    int64_t sum = 0;

    for (int i = 0; i < count; i++) {
        char comm[2] = {(char)('a' + i), '\0'};
        fake_procs_write(
            dir,
            &(const struct fake_process){
                .pid = 10 + i, .zero = pages[i], .rmap_items = 1, .resident = 5, .comm = comm});
        sum += pages[i];
    }
    fake_procs_set_host(dir, 0, 0, sum);
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

static const struct {
    int consumers;
    const char *shown;
    int64_t others, other_saved;
} tops[] = {
    {0, "", 6, 1880},   {1, "b", 5, 980},   {2, "be", 4, 180},   {3, "bce", 3, 110},
    {4, "bcef", 2, 50}, {5, "abcef", 1, 0}, {6, "abcdef", 0, 0}, {200, "abcdef", 0, 0},
};

TEST_ROWS(consumers_beyond_the_top_are_in_other, tops) {
    char owner[KSM_TRUST_DOMAIN_SIZE];

    set_savings((const int64_t[]){50, 900, 70, 0, 800, 60}, 6);
    options.consumers = row->consumers;
    begin();
    sample("top");
    expect_shown("top", row->shown);
    ck_assert_int_eq(c.table.other.processes, row->others);
    ck_assert_int_eq(c.table.other.saved, row->other_saved * page);
    ck_assert_int_eq(c.table.other.real, 5 * row->others * page);
    ck_assert_str_eq(c.table.other.name.text, "other");
    ksm_consumer_format_owner(&c.table.other, owner);
    ck_assert_str_eq(owner, "");
}

TEST(top_of_equals_is_by_name) {
    options.consumers = 2;
    set_savings((const int64_t[]){10, 10, 10, 10, 10}, 5);
    begin();
    for (int i = 0; i < 10; i++) {
        sample("equals");
        expect_shown("equals", "ab");
    }
}

TEST(place_is_kept_until_another_saves_a_tenth_more) {
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
        char when[64];
        set_savings((const int64_t[]){rows[i].a, rows[i].b}, 2);
        if (i == 0)
            begin();
        snprintf(when, sizeof(when), "row %d, %" PRId64 " and %" PRId64, i, rows[i].a, rows[i].b);
        sample(when);
        expect_shown(when, rows[i].shown);
    }
}

/* One consumer at the edge varies by 5 %, or all do by 4 %. */
TEST(top_does_not_alternate) {
    options.consumers = 2;
    for (int i = 0; i < 80; i++) {
        const int64_t one[] = {5000, i % 2 ? 1050 : 950, 1000, 10};
        const int64_t all[] = {5000, i % 2 ? 1040 : 960, i % 2 ? 960 : 1040, 10};
        set_savings(i < 40 ? one : all, 4);
        if (i == 0)
            begin();
        sample("edge");
        expect_shown("edge", "ac"); /* c was first */
    }
}

TEST(free_place_goes_to_the_next_consumer) {
    static const int64_t before[] = {1000, 870, 800};

    options.consumers = 2;
    set_savings(before, 3);
    begin();
    sample("all three");
    expect_shown("all three", "ab");
    fake_procs_remove(dir, 11);
    fake_procs_set_host(dir, 0, 0, 1800);
    sample("b has exited");
    expect_shown("b has exited", "ac");
    ck_assert_msg(!find(program, "b"), "b has exited: got it in the table");
    set_savings(before, 3);
    sample("b runs again");
    expect_shown("b saves at most a tenth more", "ac");
}

TEST(place_is_kept_over_a_failed_sample) {
    options.consumers = 1;
    set_savings((const int64_t[]){1000, 900}, 2);
    begin();
    sample("before");
    expect_shown("before", "a");
    tree_print(dir, "sys/kernel/mm/ksm/pages_sharing", "x\n");
    make_table(true);
    ck_assert_msg(!c.table.valid, "got a valid table of bad metrics");
    set_savings((const int64_t[]){1000, 1050}, 2);
    sample("after");
    expect_shown("after", "a");
}

TEST(table_follows_exits_and_starts) {
    begin_fixture();
    sample("all");
    fake_procs_remove(dir, 200);
    fake_procs_remove(dir, 100);
    sample("one of two processes, and a machine, have exited");
    ck_assert_ptr_null(find(vm, "web-01"));
    const struct ksm_consumer *half = find(container, "9687bac58d5c");
    ck_assert_msg(half && half->processes == 1 && half->saved == 150 * page,
                  "got %" PRId64 " processes, %" PRId64 " saved", half ? half->processes : -1,
                  half ? half->saved : -1);
    expect_unattributed(UNATTRIBUTED_BY_HAND + 1200 + (500 - 150));

    fake_procs_write(dir,
                     &(const struct fake_process){
                         .pid = 7, .merging = 8, .cgroup = "0::/lxc.payload.new\n", .comm = "x"});
    sample("a new process");
    ck_assert_int_eq(find(container, "new")->saved, 6 * page);
}

TEST(opted_in_process_without_pages_is_not_in_the_table) {
    make_fixture();
    fake_procs_write(dir, &(const struct fake_process){.pid = 7, .comm = "opted-in"});
    tree_print(dir, "proc/7/ksm_stat",
               "ksm_rmap_items 0\nksm_zero_pages 0\nksm_merging_pages 0\n"
               "ksm_process_profit 0\nksm_merge_any: yes\nksm_mergeable: yes\n");
    begin();
    sample("opted in");
    ck_assert_int_eq((int)c.table.count, ROWS(by_hand));
    const int tracked = (int)c.table.sweep.tracked;
    fake_procs_write(dir,
                     &(const struct fake_process){.pid = 7, .rmap_items = 1, .comm = "opted-in"});
    sample("first pages");
    ck_assert_int_eq((int)c.table.count, ROWS(by_hand) + 1);
    ck_assert_msg(tracked > 0 && c.table.sweep.tracked == tracked + 1,
                  "got %d processes with tracked pages, then %" PRId64, tracked,
                  c.table.sweep.tracked);
}

/* Pages of the host at two samples, and of the only process. */
static const struct {
    const char *when;
    int64_t before, now; /* shared pages of the host */
    int64_t host_zero;
    int64_t rmap_items, zero;
    bool want;
} complete_rows[] = {
    {"all", 100000, 100000, 50, 100000, 50, true},
    {"all but a thousandth", 100000, 100000, 0, 99910, 0, true},
    {"not all", 100000, 100000, 0, 99000, 0, false},
    {"not all zero pages", 1000, 1000, 1000, 1000, 900, false},
    {"the host has grown meanwhile", 100000, 200000, 0, 150000, 0, true},
    {"and before", 200000, 200000, 0, 150000, 0, false},
    {"it has shrunk", 200000, 100000, 0, 100000, 0, true},
    {"more than all", 100000, 100000, 0, 102000, 0, false},
};

TEST_ROWS(list_is_complete_if_it_has_the_pages_of_the_host, complete_rows) {
    begin();
    fake_procs_set_host(dir, row->before, 0, row->host_zero);
    fake_procs_write(
        dir, &(const struct fake_process){
                 .pid = 100, .rmap_items = row->rmap_items, .zero = row->zero, .comm = "x"});
    sample(row->when);
    ck_assert_msg(!c.complete, "%s: complete at the first sample", row->when);
    fake_procs_set_host(dir, row->now, 0, row->host_zero);
    sample(row->when);
    ck_assert_int_eq(c.complete, row->want);
}

TEST(table_changes_when_the_next_one_is_published) {
    begin_fixture();
    sample("the first");
    const struct ksm_consumer_table before = c.table;
    fake_procs_remove(dir, 100);
    tree_print(dir, "sys/kernel/mm/ksm/pages_sharing", "x\n");
    ck_assert_int_eq(ksm_consumers_sample(&c, true, now, NULL), 0);
    ck_assert_msg(memcmp(&before, &c.table, sizeof(before)) == 0 &&
                      !c.table.faults[KSM_CONSUMERS_FAILED],
                  "the table or a fault changed before");
    check_table("the old one");
    ksm_consumers_publish(&c);
    ck_assert_msg(!c.table.valid && c.table.faults[KSM_CONSUMERS_FAILED],
                  "published: got no change");
}

/* ---- a host without pages ---- */

static int calls_made(void) {
    return faults_count(FAULTS_OPEN) + faults_count(FAULTS_OPENDIR) + faults_count(FAULTS_PREAD);
}

static void expect_empty(const char *when) {
    check_table(when);
    ck_assert_msg(c.table.count == 0 && c.table.saved == 0 && c.table.unattributed == 0 &&
                      c.table.other.processes == 0,
                  "%s: got %zu consumers, saved %" PRId64, when, c.table.count, c.table.saved);
}

/* KSM is unused, used, emptied, and used again. */
TEST(nothing_is_read_without_pages) {
    int files = suite_open_files();

    begin_fixture();
    for (int round = 0; round < 3; round++) {
        make_table(false);
        expect_empty("no pages");
        ck_assert_int_eq(suite_open_files(), files);
        faults_clear();
        make_table(false);
        expect_empty("still no pages");
        ck_assert_msg(calls_made() == 0, "got %d calls on files, want none", calls_made());
        sample("pages");
        ck_assert_int_eq((int)c.table.count, ROWS(by_hand));
    }
}

static const char *const counts[] = {"pages_shared", "pages_sharing", "ksm_zero_pages",
                                     "pages_unshared", "pages_volatile"};

TEST_ROWS(host_has_pages_in_any_state, counts) {
    static const char *const texts[] = {"0\n", "1\n", "-1\n", "x\n", "", "9223372036854775808\n"};

    fake_procs_set_host(dir, 0, 0, 0);
    for (int i = 0; i < ROWS(texts); i++) {
        tree_print(tree_path(dir, "sys/kernel/mm/ksm"), *row, "%s", texts[i]);
        begin();
        ck_assert_msg(ksm_consumers_has_pages(&c, now) == (i > 0), "%s %s", *row, texts[i]);
        ksm_consumers_close(&c);
    }
    fake_procs_set_host(dir, 0, 0, 0);
    tree_unlink(dir, "sys/kernel/mm/ksm/ksm_zero_pages");
    begin();
    ck_assert_msg(!ksm_consumers_has_pages(&c, now), "no ksm_zero_pages: got pages");
}

/* ---- faults ---- */

/* Expects these messages once, and none the next time. */
static void expect_logged_once(const char *when, const char *want) {
    ksm_log_consumers(&log_state, &c.table, "/", log_capture);
    expect_logged(when, want);
    ksm_log_consumers(&log_state, &c.table, "/", log_capture);
    expect_logged(when, "");
}

static void expect_nothing_logged(const char *when) {
    expect_logged_once(when, "");
}

static void sample_and_expect_logged(const char *when, const char *want) {
    sample(when);
    expect_logged_once(when, want);
}

static void failing_sample(const char *when) {
    make_table(true);
    ck_assert_msg(!c.table.valid, "%s: got a valid table", when);
}

TEST(nothing_is_logged_without_faults) {
    begin_fixture();
    expect_nothing_logged("at the beginning");
    for (int i = 0; i < 20; i++) {
        sample_and_expect_logged("no faults", "");
    }
}

TEST(kernel_without_counts_of_processes_is_logged_as_good) {
    make_fixture();
    fake_procs_set_older_kernel(dir, false);
    begin();
    expect_logged_once("at the beginning", "+5.19");
}

static void set_mode(int pid, mode_t mode) {
    const char *path = tree_path(dir, "proc/%d/ksm_stat", pid);

    if (chmod(path, mode) != 0 || (geteuid() == 0 && chown(path, 65534, 65534) != 0))
        ck_abort_msg("%s: %s", path, strerror(errno));
}

TEST(savings_of_denied_processes_are_unattributed) {
    make_fixture();
    set_mode(100, 0);
    set_mode(101, 0);
    suite_become_nobody();
    begin();
    for (int i = 0; i < 20; i++) {
        sample_and_expect_logged("denied", i == 0 ? "-cap_dac_read_search" : "");
        ck_assert_ptr_null(find(vm, "web-01"));
        ck_assert_int_eq(c.table.owners, -1);
        expect_unattributed(UNATTRIBUTED_BY_HAND + 1800);
    }
    set_mode(100, 0444);
    set_mode(101, 0444);
    sample_and_expect_logged("readable again", "+can be read");
    ck_assert_int_eq(c.table.owners, OWNERS_BY_HAND);
    expect_unattributed(UNATTRIBUTED_BY_HAND);
}

static const struct {
    int err;
    bool capable;
    enum ksm_consumers_fault fault;
} denials[] = {
    {EACCES, false, KSM_CONSUMERS_DENIED},  {EACCES, true, KSM_CONSUMERS_MODULE},
    {EPERM, false, KSM_CONSUMERS_HIDEPID1}, {EPERM, true, KSM_CONSUMERS_HIDEPID1},
    {ENOENT, false, KSM_CONSUMERS_FAULTS}, /* it has exited: no fault */
};

TEST_ROWS(fault_names_the_reason_of_denial, denials) {
    begin_fixture();
    c.processes.capable = row->capable;
    faults_fail(FAULTS_OPENAT, "100/ksm_stat", 0, row->err);
    for (int denied = 1; denied >= 0; denied--) {
        sample("one may not be read, then all may");
        ck_assert_int_eq(c.table.sweep.denied, denied && row->fault != KSM_CONSUMERS_FAULTS);
        for (unsigned i = 0; i < KSM_CONSUMERS_FAULTS; i++)
            ck_assert_int_eq(c.table.faults[i], denied && i == row->fault);
        faults_clear();
    }
}

/* Without pages nothing is read, so nothing has recovered. */
TEST_ROWS(fault_of_a_sweep_stays_while_there_are_no_pages, denials) {
    begin_fixture();
    c.processes.capable = row->capable;
    faults_fail(FAULTS_OPENAT, "100/ksm_stat", 0, row->err);
    for (int round = 0; round < 3; round++) {
        sample("one may not be read");
        expect_logged_once("pages",
                           round == 0 && row->fault != KSM_CONSUMERS_FAULTS ? "-unattributed" : "");
        for (int i = 0; i < 3; i++) {
            make_table(false);
            expect_nothing_logged("no pages");
        }
    }
    faults_clear();
    sample_and_expect_logged(
        "all may be read", row->fault != KSM_CONSUMERS_FAULTS ? "+all processes can be read" : "");
}

/* It is not reported again before a sample succeeds. */
TEST(late_sample_that_fails_stays_late) {
    begin_fixture();
    sample_and_expect_logged("in time", "");
    c.table.faults[KSM_CONSUMERS_LATE] = true;
    expect_logged_once("late", "-takes longer than one interval");
    tree_print(dir, "sys/kernel/mm/ksm/pages_sharing", "x\n");
    failing_sample("late, and it fails");
    expect_logged_once("late, and it fails", "-cannot be determined");
    fake_procs_init(dir);
    make_fixture();
    sample_and_expect_logged("a good one", "+are reported again\n+are reported again");
}

TEST(hidden_processes_are_logged) {
    begin_fixture();
    sample_and_expect_logged("all are listed", "");
    fake_procs_remove(dir, 1);
    sample_and_expect_logged("hidden", "-hidepid");
    ck_assert_int_eq(c.table.owners, -1);
    sample_and_expect_logged("still hidden", "");
    make_table(false);
    expect_nothing_logged("no pages");
    sample_and_expect_logged("hidden as before", "");
    fake_procs_init(dir);
    sample_and_expect_logged("listed again", "+no longer hides processes");
}

static void set_merging(int64_t pages) {
    fake_procs_write(dir, &(const struct fake_process){
                              .pid = 10, .merging = pages, .rmap_items = pages, .comm = "x"});
}

/* The host has 100000 merged pages. Over 1 % more in six samples in a row raise the fault. */
static const struct {
    int64_t merging;
    int samples;
    const char *logged; /* at the last sample */
} overcounts[] = {
    {100000, 1, ""},  {101000, 20, ""},      {102000, 5, ""}, {100000, 1, ""},
    {102000, 5, ""},  {100000, 1, ""},       {200000, 5, ""}, {200000, 1, "-scaled down"},
    {200000, 20, ""}, {100000, 1, "+agree"},
};

TEST(overcount_is_scaled_down_and_logged) {
    fake_procs_set_host(dir, 50000, 50000, 0);
    set_merging(100000);
    begin();
    for (int i = 0; i < ROWS(overcounts); i++) {
        set_merging(overcounts[i].merging);
        for (int n = 1; n <= overcounts[i].samples; n++) {
            sample_and_expect_logged("overcount",
                                     n == overcounts[i].samples ? overcounts[i].logged : "");
            ck_assert_int_eq(c.table.list[0].saved, 50000 * page);
            ck_assert_int_eq(c.table.list[0].merging, 100000);
            ck_assert_int_eq(c.table.list[0].rmap_items, 100000);
            expect_unattributed(0);
        }
    }
}

enum { RENAMED = 30, SHOWN = 20 };

static void rename_all(int generation) {
    for (int i = 0; i < RENAMED; i++) {
        char comm[16];
        snprintf(comm, sizeof(comm), "r%d-%d", generation, i);
        fake_procs_write(dir, &(const struct fake_process){
                                  .pid = 100 + i, .zero = 10, .rmap_items = 1, .comm = comm});
    }
}

static bool is_shown(const char *name) {
    const struct ksm_consumer *consumer = find(program, name);

    return consumer && consumer->shown;
}

/* Adds the shown names to a set of at most max. Returns the size of the set. */
static int add_shown(struct ksm_consumer_name *seen, int count, int max) {
    for (size_t i = 0; i < c.table.count; i++) {
        int pos = 0;
        while (pos < count && ksm_consumer_name_compare(&seen[pos], &c.table.list[i].name) != 0)
            pos++;
        if (!c.table.list[i].shown || pos < count)
            continue;
        must(count < max, "got %d names shown so far, want %d at most", count + 1, max);
        seen[count++] = c.table.list[i].name;
    }
    return count;
}

/* 30 programs change their names all the time, and one that saves most does not. */
TEST(new_names_are_limited_after_a_burst) {
    enum { SAMPLES = 120, STEP_MS = 300000, BURST = SHOWN + KSM_RATE_LIMIT_BURST };
    enum { HOURS = SAMPLES * (STEP_MS + INTERVAL) / KSM_RATE_LIMIT_HOUR_MS };
    static struct ksm_consumer_name seen[BURST + HOURS + 1];
    int count = 0, limited = 0;

    options.consumers = SHOWN;
    fake_procs_write(dir, &(const struct fake_process){.pid = 10, .zero = 900, .comm = "steady"});
    fake_procs_set_host(dir, 0, 0, 900 + RENAMED * 10);
    begin();
    for (int i = 0; i < SAMPLES; i++, now += STEP_MS) {
        rename_all(i);
        sample("names change");
        ck_assert_int_eq((int)c.table.count, 1 + RENAMED);
        ck_assert_msg(is_shown("steady"), "sample %d: steady is not shown", i);
        count = add_shown(seen, count, BURST + i * (STEP_MS + INTERVAL) / KSM_RATE_LIMIT_HOUR_MS);
        limited += c.table.faults[KSM_CONSUMERS_RATE_LIMITED];
        expect_logged_once("names change",
                           limited == 1 ? "-are part of other|ConsumersExclude" : "");
        if (i == 0)
            ck_assert_int_eq(count, SHOWN);
    }
    ck_assert_msg(count >= BURST + HOURS - 1, "got %d names shown in all, want one an hour too",
                  count);

    rename_all(0);
    for (int i = 0; i < KSM_UPDATES_PER_SWEEP; i++)
        sample("the first names again");
    ck_assert_msg(is_shown("r0-0"), "a name that was shown before is refused");
    for (int i = 0; c.table.faults[KSM_CONSUMERS_RATE_LIMITED]; i++, now += STEP_MS) {
        expect_nothing_logged("refused recently");
        ck_assert_int_le(i, 2 * KSM_RATE_LIMIT_HOUR_MS / STEP_MS);
        sample("names stay");
    }
    expect_logged_once("names stay", "+at once again");
    sample("names stay"); /* check_table: as many are shown as there may be */
    expect_nothing_logged("names stay");
}

/* A bad file of the host; NULL: it is missing, as ksm_zero_pages before 6.6. */
static const struct {
    const char *file;
    const char *text;
    bool valid;
} host_rows[] = {
    {"pages_sharing", "x\n", false},
    {"pages_sharing", "", false},
    {"pages_sharing", NULL, false},
    {"pages_shared", "1 2\n", false},
    {"pages_shared", "9223372036854775807\n", true},
    {"pages_shared", NULL, false},
    {"ksm_zero_pages", "x\n", false},
    {"ksm_zero_pages", "-1\n", false},
    {"ksm_zero_pages", NULL, true},
    {"pages_unshared", "x\n", true},
    {"pages_unshared", NULL, true},
    {"pages_volatile", "x\n", true},
    {"pages_volatile", NULL, true},
};

TEST_ROWS(bad_file_of_the_host, host_rows) {
    const char *ksm = strdupa(tree_path(dir, "sys/kernel/mm/ksm"));

    begin_fixture();
    sample_and_expect_logged("good", "");
    if (row->text)
        tree_print(ksm, row->file, "%s", row->text);
    else
        tree_unlink(ksm, row->file);
    if (row->valid) {
        sample_and_expect_logged(row->file, "");
        return;
    }
    for (int i = 0; i < 10; i++) {
        failing_sample(row->file);
        expect_logged_once(row->file, i == 0 ? "-cannot be determined" : "");
    }
    make_fixture();
    if (!row->text) /* it is tried again after a minute */
        now += 60000;
    sample_and_expect_logged("good again", "+again");
    expect_unattributed(UNATTRIBUTED_BY_HAND);
}

TEST(proc_that_cannot_be_opened) {
    begin_fixture();
    faults_fail(FAULTS_OPENDIR, NULL, 0, EACCES);
    for (int i = 0; i < 2; i++) {
        failing_sample("no /proc");
        expect_logged_once("no /proc", i == 0 ? "-/proc" : "");
    }
    faults_clear();
    sample_and_expect_logged("readable again", "+again");
    ck_assert_int_eq((int)c.table.count, ROWS(by_hand));
}

TEST(close_leaves_nothing_open) {
    int files = suite_open_files();

    begin_fixture();
    ksm_consumers_close(&c);
    begin();
    sample("open");
    ksm_consumers_close(&c);
    ck_assert_int_eq(suite_open_files(), files);
    ck_assert_msg(c.table.count == 0 && !c.table.list, "got %zu consumers", c.table.count);
    ksm_consumers_close(&c);
    ck_assert_int_eq(suite_open_files(), files);
}

TEST(live_sums_are_exact) {
    int files = suite_open_files();

    ksm_options_init(&options);
    options.consumers = 3;
    begin();
    if (c.table.faults[KSM_CONSUMERS_UNSUPPORTED]) {
        suite_skip("live", "this kernel reports nothing about processes");
        return;
    }
    if (!ksm_consumers_has_pages(&c, now))
        suite_skip("live", "KSM has no pages");
    for (int i = 0; i < 10; i++)
        sample("live");
    ksm_consumers_close(&c);
    ck_assert_int_eq(suite_open_files(), files);
}
