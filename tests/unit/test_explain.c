/* SPDX-License-Identifier: MIT
 *
 * ksm.plugin --explain: facts to verdict, words, and the form of the page. The texts as a whole are
 * in the golden outputs of the fixtures.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "derive.h"
#include "explain.h"
#include "human.h"
#include "support/crowd.h"
#include "support/suite.h"

enum { PAGE = 4096, MIB_PAGES = 256 };

/* ---- facts ---- */

static struct ksm_consumer list[20];
static struct ksm_consumer_table table;
static struct explain_facts facts;

static void set(enum ksm_id id, int64_t value) {
    facts.now.at[id] = (struct ksm_value){.value = value};
}

static void lose(enum ksm_id id, int status) {
    facts.now.at[id].status = status;
}

/* A host of 1 GiB, half of it free, where KSM has saved 100 MiB with 5 % of a core. */
static void good_host(void) {
    static const struct {
        enum ksm_id id;
        int64_t value;
    } figures[] = {
        {KSM_run, 1},
        {KSM_shared, MIB_PAGES},
        {KSM_sharing, 100 * MIB_PAGES},
        {KSM_unshared, MIB_PAGES},
        {KSM_volatile, 10},
        {KSM_zero, 0},
        {KSM_general_profit, 98 << 20},
        {KSM_mem_total, 1 << 20},
        {KSM_mem_available, 1 << 19},
        {KSM_swap_free, 0},
        {KSM_full_scans, 12},
        {KSM_scanned, 123456},
        {KSM_ksmd_cpu, 1000000000},
        {KSM_pages_to_scan, 100},
        {KSM_sleep_millisecs, 20},
        {KSM_smart_scan, 1},
        {KSM_use_zero_pages, 0},
        {KSM_advisor_mode, 0},
        {KSM_advisor_max_cpu, 70},
    };

    memset(&facts, 0, sizeof(facts));
    for (size_t id = 0; id < KSM_FIGURES; id++)
        lose((enum ksm_id)id, -ENOENT);
    for (size_t i = 0; i < sizeof(figures) / sizeof(figures[0]); i++)
        set(figures[i].id, figures[i].value);
    facts.in_kernel = true;
    facts.now.page_size = PAGE;
    facts.ksmd.value = 5000;
    facts.rate.value = 5000;
    table = (struct ksm_consumer_table){
        .list = list, .valid = true, .known = true, .tells_rmap_items = true, .swept = true};
    facts.consumers = &table;
    table.opted_in = table.recorded = 3;
}

/* ---- verdicts ---- */

static void nothing_watched(void) {
    set(KSM_shared, 0);
    set(KSM_sharing, 0);
    set(KSM_unshared, 0);
    set(KSM_volatile, 0);
    set(KSM_general_profit, 0);
    table.opted_in = table.recorded = 0;
}

static void nothing_merged(void) {
    set(KSM_shared, 0);
    set(KSM_sharing, 0);
    set(KSM_general_profit, -64 * (MIB_PAGES + 10));
}

static void lose_processes(void) {
    table.opted_in = table.recorded = -1;
    table.known = false;
    table.swept = false;
}

static void good(void) {
}

static void no_ksm(void) {
    memset(&facts, 0, sizeof(facts));
}

static void run_unknown(void) {
    lose(KSM_run, -EACCES);
}

static void sharing_unknown(void) {
    lose(KSM_sharing, -EIO);
}

static void off(void) {
    nothing_watched();
    set(KSM_run, 0);
    table.opted_in = 3;
}

static void off_and_nobody(void) {
    off();
    table.opted_in = 0;
}

/* 6.13: who opted in shows only when ksmd has run. */
static void off_and_untold(void) {
    off();
    table.opted_in = -1;
}

static void off_and_zero_scan(void) {
    off();
    set(KSM_pages_to_scan, 0);
}

/* Watched before it was stopped. */
static void off_and_watched(void) {
    nothing_merged();
    set(KSM_run, 0);
}

static void unmerged(void) {
    nothing_watched();
    set(KSM_run, 2);
    table.opted_in = 3;
}

static void stopped(void) {
    set(KSM_run, 0);
}

static void stopped_zero_pages_only(void) {
    nothing_watched();
    set(KSM_zero, 5);
    set(KSM_run, 0);
    table.opted_in = 3;
}

static void stopped_at_a_loss(void) {
    stopped();
    set(KSM_general_profit, -(2 << 20));
}

static void stopped_and_exposed(void) {
    stopped();
    set(KSM_mem_available, 110 << 10);
}

static void nobody(void) {
    nothing_watched();
}

static void nobody_told_by_running(void) {
    nothing_watched();
    lose_processes();
}

static void nobody_of_mine(void) {
    nothing_watched();
    table.denied = 100;
}

static void nobody_here(void) { /* in a container */
    nothing_watched();
    lose(KSM_ksmd_cpu, -ENOENT);
}

/* What could not be read may hold some. */
static void unshared_unknown(void) {
    nothing_watched();
    lose(KSM_unshared, -EIO);
}

static void volatile_unknown(void) {
    nothing_watched();
    lose_processes();
    lose(KSM_volatile, -EACCES);
}

static void volatile_unknown_at_first(void) {
    volatile_unknown();
    set(KSM_full_scans, 0);
}

static void nobody_and_zero_scan(void) {
    nothing_watched();
    set(KSM_pages_to_scan, 0);
}

static void zero_scan_and_untold(void) {
    nobody_and_zero_scan();
    table.opted_in = -1;
}

static void zero_scan_and_denied(void) {
    nobody_and_zero_scan();
    table.denied = 100;
}

static void zero_scan(void) {
    nothing_watched();
    set(KSM_pages_to_scan, 0);
    table.opted_in = 3;
}

static void zero_scan_later(void) {
    set(KSM_pages_to_scan, 0);
}

static void not_begun(void) {
    nothing_watched();
    table.opted_in = 3;
    set(KSM_full_scans, 0);
}

/* Opted in, without a page that KSM could take: shared memory, or huge pages. */
static void nothing_to_watch(void) {
    nothing_watched();
    table.opted_in = 3;
    set(KSM_full_scans, 3000);
}

static void first_round(void) {
    nothing_merged();
    set(KSM_full_scans, 0);
}

static void third_round(void) {
    nothing_merged();
    set(KSM_full_scans, 2);
}

static void fourth_round(void) {
    nothing_merged();
    set(KSM_full_scans, 3);
}

/* What looks like a loss and a waste, at the start. */
static void first_round_at_a_loss(void) {
    first_round();
    set(KSM_general_profit, -(20 << 20));
    facts.ksmd.value = 99000;
}

static void first_round_and_well(void) {
    set(KSM_full_scans, 1);
}

static void first_round_and_little(void) {
    set(KSM_full_scans, 1);
    set(KSM_sharing, MIB_PAGES);
}

static void scans_unknown(void) {
    nothing_merged();
    lose(KSM_full_scans, -ENOENT);
}

static void loss(void) {
    set(KSM_sharing, MIB_PAGES);
    set(KSM_general_profit, -(2 << 20)); /* -0.195 % */
}

static void loss_with_nothing_merged(void) {
    nothing_merged();
    set(KSM_unshared, 50 * MIB_PAGES);
    set(KSM_general_profit, -(2 << 20));
}

static void loss_and_waste(void) {
    loss();
    facts.ksmd.value = 50000;
}

/* -0.1 % of 1 GiB is -1073741.8 bytes, -0.101 % is -1084479.3. */
static void almost_a_loss(void) {
    loss();
    set(KSM_general_profit, -1084479);
}

static void just_a_loss(void) {
    loss();
    set(KSM_general_profit, -1084480);
}

static void even(void) {
    set(KSM_sharing, MIB_PAGES);
    set(KSM_general_profit, 0);
}

static void just_a_gain(void) {
    set(KSM_sharing, MIB_PAGES);
    set(KSM_general_profit, 1);
}

static void waste(void) {
    set(KSM_sharing, 10 * MIB_PAGES); /* 0.976 % */
    set(KSM_general_profit, 9 << 20);
    facts.ksmd.value = 20001;
}

static void almost_waste(void) {
    waste();
    facts.ksmd.value = 20000;
}

static void work_that_pays(void) {
    waste();
    set(KSM_sharing, 11 * MIB_PAGES); /* 1.074 % */
}

static void waste_with_nothing_merged(void) {
    nothing_merged();
    facts.ksmd.value = 50000;
}

static void waste_unknown(void) {
    waste();
    facts.ksmd.status = -ENOENT;
}

/* 100 MiB of 125 MiB are 80 %. */
static void almost_exposed(void) {
    set(KSM_mem_available, 100 << 10);
    set(KSM_swap_free, 25 << 10);
}

static void exposed(void) {
    almost_exposed();
    set(KSM_swap_free, (25 << 10) - 4);
}

static void almost_full(void) {
    almost_exposed();
    set(KSM_swap_free, 0);
}

static void exposed_full(void) {
    almost_full();
    set(KSM_mem_available, (100 << 10) - 4);
}

static void exposed_and_waste(void) {
    waste();
    set(KSM_mem_available, 12 << 10);
    set(KSM_swap_free, 0);
}

static void nothing(void) {
    nothing_merged();
}

/* 32 TiB with a page or two in them. */
static void empty(void) {
    first_round();
    facts.idle = true;
    facts.ksmd.value = 99000;
}

static void empty_and_nothing_watched(void) { /* yet; before 6.14 nobody tells who opted in */
    nobody_told_by_running();
    set(KSM_full_scans, 0);
    facts.idle = true;
    facts.ksmd.value = 99000;
}

static void empty_later(void) {
    waste_with_nothing_merged();
    facts.idle = true;
}

static void empty_and_well(void) {
    empty();
    set(KSM_sharing, 100 * MIB_PAGES);
    set(KSM_general_profit, 98 << 20);
}

static void almost_empty(void) {
    empty();
    facts.ksmd.value = 20000;
}

static void just_empty(void) {
    empty();
    facts.ksmd.value = 20001;
}

/* In a second ksmd may not come to the end of it. */
static void long_batch(void) {
    empty();
    set(KSM_pages_to_scan, 49501);
}

static void not_so_long_batch(void) {
    empty();
    set(KSM_pages_to_scan, 49500);
}

static void batch_unknown(void) {
    empty();
    lose(KSM_pages_to_scan, -EACCES);
}

static void empty_without_ksmd(void) {
    empty();
    facts.ksmd.status = -ENOENT;
}

/* It wakes all the time. */
static void busy_with_zero_scan(void) {
    empty();
    set(KSM_pages_to_scan, 0);
}

static void stopped_meanwhile(void) {
    empty();
    set(KSM_run, 0);
}

static void zero_pages_only(void) {
    nothing_merged();
    set(KSM_zero, 20 * MIB_PAGES);
    set(KSM_general_profit, 19 << 20);
}

/* The kernel's own profit is as wrong as its count. */
static void miscounted(void) {
    lose(KSM_zero, -EDOM);
    set(KSM_general_profit, -(4LL << 30));
}

/* Without the pages of zeros it is a loss: of 1.1 MiB. */
static void miscounted_and_little(void) {
    miscounted();
    set(KSM_sharing, MIB_PAGES);
    set(KSM_unshared, 34000);
}

static void miscounted_and_even(void) {
    miscounted_and_little();
    set(KSM_unshared, 1 << 14);
}

static void miscounted_and_nothing(void) {
    nothing_merged();
    miscounted();
}

static void miscounted_at_first(void) {
    first_round();
    miscounted();
}

static void miscounted_and_stopped(void) {
    miscounted();
    set(KSM_run, 0);
}

static void miscounted_and_off(void) {
    off();
    miscounted();
}

static void foreign(void) {
    lose(KSM_mem_total, -EXDEV);
    lose(KSM_mem_available, -EXDEV);
    lose(KSM_swap_free, -EXDEV);
}

static void set_aside(void) {
    table.aside = 2;
}

static void denied(void) {
    table.denied = 100;
}

static void hidden(void) {
    table.hidden = true;
    lose(KSM_ksmd_cpu, -ENOENT);
}

static void apart(void) {
    lose(KSM_ksmd_cpu, -ENOENT);
    facts.ksmd.status = -ENOENT;
}

/* A moment's fault is no container. */
static void cpu_unreadable(void) {
    lose(KSM_ksmd_cpu, -EMFILE);
    facts.ksmd.status = -EMFILE;
}

static void no_remarks_where_no_ksm(void) {
    no_ksm();
    table.denied = 5;
    table.hidden = true;
}

static void old_kernel(void) {
    lose(KSM_general_profit, -ENOENT);
    lose(KSM_zero, -ENOENT);
    lose(KSM_scanned, -ENOENT);
    lose(KSM_mem_available, -ENOENT);
    facts.rate.status = -ENOENT;
    lose_processes();
}

static void uksm(void) {
    old_kernel();
    lose(KSM_volatile, -ENOENT);
    lose(KSM_pages_to_scan, -ENOENT);
    lose(KSM_advisor_mode, -ENOENT);
    facts.uksm = true;
}

static void uksm_off(void) {
    uksm();
    nothing_watched();
    lose(KSM_volatile, -ENOENT);
    lose_processes();
    set(KSM_run, 0);
}

static void uksm_begins(void) {
    uksm_off();
    set(KSM_run, 1);
    set(KSM_full_scans, 0);
}

/* The first name is the verdict, the others are what is told beside it, in this order. */
static const struct {
    const char *name;
    void (*make)(void);
    const char *want;
} verdicts[] = {
#define ROW(name) #name, name
    {ROW(good), "well"},
    {ROW(old_kernel), "well"},
    {ROW(zero_pages_only), "well"},
    {ROW(just_a_gain), "well"},
    {ROW(first_round_and_well), "well"},
    /* Not there, not readable. */
    {ROW(no_ksm), "no_ksm"},
    {ROW(no_remarks_where_no_ksm), "no_ksm"},
    {ROW(run_unknown), "unreadable"},
    {ROW(sharing_unknown), "unreadable"},
    /* Not at work. */
    {ROW(off), "off"},
    {ROW(off_and_nobody), "off nobody"},
    {ROW(off_and_untold), "off"},
    {ROW(off_and_zero_scan), "off"},
    {ROW(off_and_watched), "off"},
    {ROW(unmerged), "unmerged"},
    {ROW(stopped), "stopped"},
    {ROW(stopped_zero_pages_only), "stopped"},
    {ROW(stopped_at_a_loss), "stopped"},
    {ROW(stopped_and_exposed), "exposed stopped"},
    /* At work, nothing merged. */
    {ROW(nobody), "nobody"},
    {ROW(nobody_told_by_running), "nobody"},
    {ROW(nobody_of_mine), "nobody denied"},
    {ROW(nobody_here), "nobody apart"},
    {ROW(unshared_unknown), "nothing"},
    {ROW(volatile_unknown), "nothing"},
    {ROW(volatile_unknown_at_first), "waiting"},
    {ROW(nobody_and_zero_scan), "nobody no_scan"},
    {ROW(zero_scan_and_untold), "no_scan"},
    {ROW(zero_scan_and_denied), "no_scan denied"},
    {ROW(zero_scan), "no_scan"},
    {ROW(zero_scan_later), "no_scan"},
    {ROW(not_begun), "waiting"},
    {ROW(nothing_to_watch), "nothing"},
    {ROW(first_round), "waiting"},
    {ROW(third_round), "waiting"},
    {ROW(fourth_round), "nothing"},
    {ROW(first_round_at_a_loss), "waiting"},
    {ROW(first_round_and_little), "waiting"},
    {ROW(scans_unknown), "nothing"},
    {ROW(nothing), "nothing"},
    /* Loss and waste. */
    {ROW(loss), "loss"},
    {ROW(loss_with_nothing_merged), "loss nothing"},
    {ROW(loss_and_waste), "loss wasted"},
    {ROW(just_a_loss), "loss"},
    {ROW(almost_a_loss), "even"},
    {ROW(even), "even"},
    {ROW(waste), "wasted"},
    {ROW(almost_waste), "well"},
    {ROW(work_that_pays), "well"},
    {ROW(waste_with_nothing_merged), "wasted nothing"},
    {ROW(waste_unknown), "well"},
    /* Busy without a page. */
    {ROW(empty), "empty"},
    {ROW(empty_and_nothing_watched), "empty"},
    {ROW(empty_later), "empty wasted nothing"},
    {ROW(empty_and_well), "empty"},
    {ROW(almost_empty), "waiting"},
    {ROW(just_empty), "empty"},
    {ROW(long_batch), "waiting"},
    {ROW(not_so_long_batch), "empty"},
    {ROW(batch_unknown), "waiting"},
    {ROW(empty_without_ksmd), "waiting"},
    {ROW(busy_with_zero_scan), "no_scan wasted"},
    {ROW(stopped_meanwhile), "off"},
    /* Risk. */
    {ROW(exposed), "exposed"},
    {ROW(almost_exposed), "well"},
    {ROW(exposed_full), "exposed_full"},
    {ROW(almost_full), "exposed"},
    {ROW(exposed_and_waste), "exposed wasted"},
    /* What is not known. */
    {ROW(miscounted), "well miscounted"},
    {ROW(miscounted_and_little), "unreadable miscounted"},
    {ROW(miscounted_and_even), "unreadable miscounted"},
    {ROW(miscounted_and_nothing), "unreadable miscounted"},
    {ROW(miscounted_at_first), "waiting miscounted"},
    {ROW(miscounted_and_stopped), "stopped miscounted"},
    {ROW(miscounted_and_off), "off miscounted"},
    /* What may not be seen. */
    {ROW(foreign), "well foreign"},
    {ROW(denied), "well denied"},
    {ROW(set_aside), "well aside"},
    {ROW(hidden), "well hidden"},
    {ROW(apart), "well apart"},
    {ROW(cpu_unreadable), "well"},
    /* UKSM. */
    {ROW(uksm), "well"},
    {ROW(uksm_off), "off"},
    {ROW(uksm_begins), "waiting"},
#undef ROW
};

/* The verdict and all that is told beside it. */
static const char *told(void) {
    static char text[512];
    enum explain_id verdict = explain_verdict(&facts);
    size_t len = (size_t)snprintf(text, sizeof(text), "%s", explain_words[verdict].name);

    for (enum explain_id id = verdict + 1; id < EXPLAIN_IDS; id++)
        if (explain_words[id].status != 0 && explain_holds(&facts, id))
            len += (size_t)snprintf(text + len, sizeof(text) - len, " %s", explain_words[id].name);
    return text;
}

/* Nothing that is said of it is left out for a word that is not known. */
static void check_words(const struct explain_words *words) {
    const char *const all[] = {words->sentence, words->reason, words->advice};
    char buf[2048];

    for (int i = 0; i < ROWS(all); i++)
        ck_assert_msg(!all[i] || explain_expand(&facts, all[i], buf, sizeof(buf)) == 0,
                      "%s: a word is not known: %s", words->name, buf);
}

START_TEST(verdict) {
    good_host();
    verdicts[_i].make();
    if (facts.in_kernel)
        ksm_derive(&facts.now);
    ck_assert_msg(strcmp(told(), verdicts[_i].want) == 0, "%s: got %s, want %s", verdicts[_i].name,
                  told(), verdicts[_i].want);
    check_words(&explain_words[explain_verdict(&facts)]);
}
END_TEST

static bool is_wanted(const char *name) {
    for (int i = 0; i < ROWS(verdicts); i++) {
        size_t len = strcspn(verdicts[i].want, " ");
        if (strlen(name) == len && memcmp(verdicts[i].want, name, len) == 0)
            return true;
    }
    return false;
}

START_TEST(every_verdict_has_a_case) {
    for (enum explain_id id = 0; id < EXPLAIN_IDS; id++)
        ck_assert_msg(explain_words[id].status < 0 || is_wanted(explain_words[id].name),
                      "%s: no row of verdicts wants it", explain_words[id].name);
}
END_TEST

/* Scripts build on them. */
START_TEST(statuses) {
    static const struct {
        const char *name;
        int status;
    } rows[] = {
        {"well", 0},     {"no_ksm", 10}, {"off", 11},     {"unmerged", 12},
        {"stopped", 13}, {"nobody", 20}, {"no_scan", 21}, {"waiting", 22},
        {"nothing", 23}, {"even", 24},   {"exposed", 30}, {"exposed_full", 31},
        {"loss", 32},    {"wasted", 33}, {"empty", 34},   {"unreadable", 40},
    };
    int found = 0;

    for (enum explain_id id = 0; id < EXPLAIN_IDS; id++)
        for (int i = 0; i < ROWS(rows); i++)
            if (strcmp(rows[i].name, explain_words[id].name) == 0) {
                ck_assert_msg(rows[i].status == explain_words[id].status, "%s: got %d, want %d",
                              rows[i].name, explain_words[id].status, rows[i].status);
                found++;
            }
    ck_assert_int_eq(found, ROWS(rows));
    for (enum explain_id id = 0; id < EXPLAIN_IDS; id++)
        found -= explain_words[id].status >= 0;
    ck_assert_msg(found == 0, "%d verdicts are not in the table of statuses", -found);
}
END_TEST

/* ---- from two samples ---- */

static const struct {
    int64_t before, now; /* ns of CPU, and pages */
    int status;          /* of the first one */
    int64_t ms;
    int want_status;
    int64_t ksmd, rate;
} rates[] = {
    {0, 0, 0, 1000, 0, 0, 0},
    {5000, 5000, 0, 1500, 0, 0, 0},
    {0, 1500000000, 0, 1500, 0, 100000, 1000000000},
    {1000000, 301000000, 0, 1500, 0, 20000, 200000000},
    {0, 15000, 0, 1500, 0, 1, 10000},
    {301000000, 1000000, 0, 1500, -ENODATA, 0, 0}, /* reset */
    {0, 1500000000, -ENOENT, 1500, -ENOENT, 0, 0},
    {0, INT64_MAX, 0, 1500, -ERANGE, 0, 0},
    {0, 1, 0, 0, -ERANGE, 0, 0},
};

START_TEST(two_samples) {
    static struct ksm_sample before, now;

    before.at[KSM_ksmd_cpu] = before.at[KSM_scanned] =
        (struct ksm_value){rates[_i].before, rates[_i].status};
    now.at[KSM_ksmd_cpu] = now.at[KSM_scanned] = (struct ksm_value){rates[_i].now, 0};
    explain_host(&facts, &before, &now, rates[_i].ms);
    ck_assert_int_eq(facts.ksmd.status, rates[_i].want_status);
    ck_assert_int_eq(facts.rate.status, rates[_i].want_status);
    if (rates[_i].want_status != 0)
        return;
    ck_assert_msg(facts.ksmd.value == rates[_i].ksmd && facts.rate.value == rates[_i].rate,
                  "row %d: got %" PRId64 " and %" PRId64 ", want %" PRId64 " and %" PRId64, _i,
                  facts.ksmd.value, facts.rate.value, rates[_i].ksmd, rates[_i].rate);
}
END_TEST

/* What each counter does between two samples. */
static const struct {
    const char *name;
    int64_t scanned, skipped, full_scans; /* growth */
    int scanned_status, skipped_status, full_scans_status;
    bool want;
} idles[] = {
    {"nothing", 0, 0, 0, 0, 0, 0, true},
    {"scanned", 1, 0, 0, 0, 0, 0, false},
    {"skipped", 0, 1, 0, 0, 0, 0, false},
    {"a whole scan, of less than a batch", 0, 0, 1, 0, 0, 0, false},
    {"begun anew", 0, 0, -5, 0, 0, 0, false},
    {"6.6 has no skipped", 0, 0, 0, 0, -ENOENT, 0, true},
    {"6.5 has no scanned", 0, 0, 0, -ENOENT, -ENOENT, 0, false},
    {"skipped lost", 0, 0, 0, 0, -EIO, 0, false},
    {"full_scans lost", 0, 0, 0, 0, 0, -EIO, false},
};

START_TEST(idle) {
    static struct ksm_sample before, now;

    before.at[KSM_scanned] = before.at[KSM_skipped] = before.at[KSM_full_scans] =
        (struct ksm_value){7, 0};
    now.at[KSM_scanned] = (struct ksm_value){7 + idles[_i].scanned, idles[_i].scanned_status};
    now.at[KSM_skipped] = (struct ksm_value){7 + idles[_i].skipped, idles[_i].skipped_status};
    now.at[KSM_full_scans] =
        (struct ksm_value){7 + idles[_i].full_scans, idles[_i].full_scans_status};
    explain_host(&facts, &before, &now, 1000);
    ck_assert_msg(facts.idle == idles[_i].want, "%s: got %d", idles[_i].name, facts.idle);
}
END_TEST

/* ---- from a sweep ---- */

static const struct {
    const char *name;
    bool known, swept;
    int64_t opted_in;
    bool want_untold;
} sweeps[] = {
    {"6.14", true, true, 2, false},
    {"6.1", true, true, -1, true},
    {"before 5.19", false, false, -1, true},
    {"the walk failed", true, false, -1, false},
};

START_TEST(sweep) {
    char buf[8];

    good_host();
    table.known = sweeps[_i].known;
    table.swept = sweeps[_i].swept;
    table.opted_in = sweeps[_i].opted_in;
    bool untold = explain_expand(&facts, "{untold}", buf, sizeof(buf)) == 0;
    ck_assert_msg(untold == sweeps[_i].want_untold, "%s: got untold %d, want %d", sweeps[_i].name,
                  untold, sweeps[_i].want_untold);
}
END_TEST

/* ---- words ---- */

static const struct {
    const char *text;
    const char *want;
    int unknown;
} texts[] = {
    {"", "", 0},
    {"plain, with spaces ", "plain, with spaces ", 0},
    {"{saved}", "100.0 MiB", 0},
    {"a {saved} b {run} c", "a 100.0 MiB b running c", 0},
    {"{ram}, {net}, {exposure}", "9.77 %, 9.57 %, 19.5 %", 0},
    {"{sharing}", "25,600 pages", 0},
    {"{full_scans}", "12 times", 0},
    {"{watched}", "26,122 pages", 0},
    {"{pages_to_scan} {sleep_millisecs} {smart_scan} {advisor_mode}", "100 pages 20 ms on off", 0},
    {"{pace} {round} {faster} {slower}", "19.5 MiB about 5 seconds 1000 10", 0},
    {"{ksmd} {rate}", "5.00 % 5,000 pages", 0},
    {"{opted_in} {recorded} {denied}", "3 processes 3 processes 0 processes", 0},
    {"{aside}", "0 processes", 0},
    {"{dir} {undo} {off}", "/sys/kernel/mm/ksm 2 2", 0},
    /* Not known: cow, as this host has none. */
    {"{cow}", "?", 1},
    {"a {cow} {cow} b", "a ? ? b", 2},
    {"{no_such_word}", "?", 1},
    {"{uksm}", "?", 1},
    {"{lazier} {rest}", "? ?", 2},
    {"a[, {cow}]", "a", 0},
    {"a[, {saved}]", "a, 100.0 MiB", 0},
    {"a[, {saved} and {cow}]", "a", 0},
    {"a[, {cow} and {saved}][; {run}] b", "a; running b", 0},
    {"[{cow}]", "", 0},
    {"[x {cow}]{cow}", "?", 1},
};

START_TEST(expand) {
    char buf[256];

    good_host();
    ksm_derive(&facts.now);
    int unknown = explain_expand(&facts, texts[_i].text, buf, sizeof(buf));
    ck_assert_msg(strcmp(buf, texts[_i].want) == 0, "\"%s\": got \"%s\", want \"%s\"",
                  texts[_i].text, buf, texts[_i].want);
    ck_assert_msg(unknown == texts[_i].unknown, "\"%s\": got %d unknown, want %d", texts[_i].text,
                  unknown, texts[_i].unknown);
}
END_TEST

START_TEST(text_that_does_not_fit) {
    static const char text[] = "what is {saved} is saved";
    char buf[64];

    good_host();
    ksm_derive(&facts.now);
    for (size_t size = 1; size < sizeof(buf); size++) {
        memset(buf, 'x', sizeof(buf));
        explain_expand(&facts, text, buf, size);
        ck_assert_msg(strncmp(buf, "what is 100.0 MiB is saved", size - 1) == 0 &&
                          strlen(buf) < size && (size > 40 || buf[size] == 'x'),
                      "size %zu: got \"%.60s\"", size, buf);
    }
}
END_TEST

static const struct {
    int64_t bytes;
    const char *text;
} sizes[] = {
    {0, "0 bytes"},
    {1, "1 byte"},
    {-1, "-1 bytes"},
    {1023, "1,023 bytes"},
    {1024, "1.0 KiB"},
    {-1024, "-1.0 KiB"},
    {1536, "1.5 KiB"},
    {1048575, "1.0 MiB"}, /* not 1024.0 KiB */
    {1 << 20, "1.0 MiB"},
    {369008640, "351.9 MiB"},
    {-64431232, "-61.4 MiB"},
    {INT64_C(1) << 30, "1.0 GiB"},
    {INT64_C(1) << 40, "1.0 TiB"},
    {INT64_C(1) << 50, "1.0 PiB"},
    {INT64_MAX, "8192.0 PiB"},
    {INT64_MIN, "-8192.0 PiB"},
};

START_TEST(bytes) {
    char buf[32];

    human_bytes(sizes[_i].bytes, buf, sizeof(buf));
    ck_assert_msg(strcmp(buf, sizes[_i].text) == 0, "%" PRId64 ": got \"%s\", want \"%s\"",
                  sizes[_i].bytes, buf, sizes[_i].text);
}
END_TEST

static const struct {
    enum ksm_id id;
    int64_t value;
    const char *text; /* of the word by the figure's name */
} figures[] = {
    {KSM_net, 0, "0 %"},
    {KSM_net, 1, "0.001 %"},
    {KSM_net, -47, "-0.047 %"},
    {KSM_net, -100, "-0.100 %"},
    {KSM_net, 100, "0.10 %"},
    {KSM_ram, 9999, "10.00 %"},
    {KSM_ram, 10000, "10.0 %"},
    {KSM_exposure, 124422, "124.4 %"},
    {KSM_net, INT64_MIN, "-9223372036854776.0 %"},
    {KSM_shared, 1, "1 page"},
    {KSM_shared, 999, "999 pages"},
    {KSM_shared, 1000, "1,000 pages"},
    {KSM_shared, 1234567, "1,234,567 pages"},
    {KSM_shared, INT64_MAX, "9,223,372,036,854,775,807 pages"},
    {KSM_full_scans, 1, "1 time"},
    {KSM_run, 0, "stopped"},
    {KSM_run, 2, "unmerged"},
    {KSM_use_zero_pages, 1, "on"},
    {KSM_sleep_millisecs, 0, "0 ms"},
};

START_TEST(units) {
    const char *name = ksm_figures[figures[_i].id].name;
    char text[64];
    char buf[64];

    good_host();
    set(figures[_i].id, figures[_i].value);
    snprintf(text, sizeof(text), "{%s}", name);
    explain_expand(&facts, text, buf, sizeof(buf));
    ck_assert_msg(strcmp(buf, figures[_i].text) == 0, "%s %" PRId64 ": got \"%s\", want \"%s\"",
                  name, figures[_i].value, buf, figures[_i].text);
}
END_TEST

/* Who is not seen may have opted in as well. */
static const struct {
    void (*make)(void);
    const char *want;
} seen[] = {
    {good, "3 processes; 26,122 pages of 3 processes"},
    {denied, "3 processes of those seen; 26,122 pages"},
    {hidden, "3 processes of those seen; 26,122 pages"},
    {apart, "3 processes of those seen; 26,122 pages"},
    {old_kernel, "?; 26,122 pages"},
};

START_TEST(who_is_seen) {
    char buf[128];

    good_host();
    seen[_i].make();
    explain_expand(&facts, "{opted_in}[ of those seen{partly}]; {watched}[ of {recorded}]", buf,
                   sizeof(buf));
    ck_assert_msg(strcmp(buf, seen[_i].want) == 0, "row %d: got \"%s\", want \"%s\"", _i, buf,
                  seen[_i].want);
}
END_TEST

/* How long a round takes at 5000 pages a second; what to set for another pace. */
static const struct {
    int64_t watched, pages, pause, advisor;
    const char *want;
} paces[] = {
    {5000, 100, 20, 0, "under 2 seconds, 1000, 10"},
    {10000, 100, 20, 0, "about 2 seconds, 1000, 10"},
    {599999, 100, 20, 0, "about 119 seconds, 1000, 10"},
    {600000, 100, 20, 0, "about 2 minutes, 1000, 10"},
    {36000000, 100, 20, 0, "about 2 hours, 1000, 10"},
    {180000000, 100, 20, 0, "about 10 hours, 1000, 10"},
    {5000, 100, 0, 0, "?, 1000, 10"},
    {5000, 0, 20, 0, "?, ?, ?"},
    {5000, 429496729, 0, 0, "?, 4294967290, 42949672"},
    {5000, 429496730, 0, 0, "?, ?, 42949673"},
    {5000, 1, 20, 0, "about 100 seconds, 10, ?"},
    {0, 100, 20, 0, "?, 1000, 10"},
    {5000, 100, 20, 1, "under 2 seconds, ?, ?"},
    {INT64_MAX, INT64_MAX, 1, 0, "?, ?, ?"},
    {INT64_MAX, 1, INT64_MAX, 0, "?, 10, ?"},
};

START_TEST(pace) {
    char buf[128];

    good_host();
    nothing_watched();
    set(KSM_unshared, paces[_i].watched);
    set(KSM_pages_to_scan, paces[_i].pages);
    set(KSM_sleep_millisecs, paces[_i].pause);
    set(KSM_advisor_mode, paces[_i].advisor);
    explain_expand(&facts, "{round}, {faster}, {slower}", buf, sizeof(buf));
    ck_assert_msg(strcmp(buf, paces[_i].want) == 0, "row %d: got \"%s\", want \"%s\"", _i, buf,
                  paces[_i].want);
}
END_TEST

/* ---- whatever the facts are ---- */

static int64_t some_number(void) {
    static const int64_t often[] = {0, 0, 0, 1, 2, 3, 20, 100, 1 << 20, INT64_MAX, -1};
    uint64_t random = suite_random();

    if (random % 3 == 0)
        return often[random / 3 % (sizeof(often) / sizeof(often[0]))];
    return (int64_t)(suite_random() >> (1 + suite_random() % 63));
}

static int some_status(void) {
    static const int errors[] = {-ENOENT, -EACCES, -EIO, -ENODATA};

    return suite_random() % 6 != 0 ? 0 : errors[suite_random() % 4];
}

static void some_name(struct ksm_name *name) {
    char raw[200];
    size_t len = suite_random() % sizeof(raw);

    for (size_t i = 0; i < len; i++)
        raw[i] = (char)(suite_random() % 4 == 0 ? suite_random() : 'a' + suite_random() % 26);
    name->kind = (enum ksm_consumer_kind)(suite_random() % KSM_CONSUMER_KIND_COUNT);
    ksm_name_clean(raw, len, name->text);
}

static void some_consumers(void) {
    table = (struct ksm_consumer_table){
        .list = list, .count = suite_random() % ROWS(list), .valid = suite_random() % 8 != 0};
    for (size_t i = 0; i < table.count; i++) {
        list[i] = (struct ksm_consumer){.saved = (int64_t)(suite_random() >> 8),
                                        .rmap_items = (int64_t)(suite_random() >> 1)};
        some_name(&list[i].name);
        table.saved += list[i].saved;
    }
    table.unattributed = suite_random() % 2 ? (int64_t)(suite_random() >> 8) : 0;
    table.saved += table.unattributed;
}

static void some_facts(void) {
    good_host();
    for (size_t id = 0; id < KSM_FIGURES; id++)
        facts.now.at[id] = (struct ksm_value){some_number(), some_status()};
    if (facts.now.at[KSM_run].value < 0 || facts.now.at[KSM_run].value > 2)
        facts.now.at[KSM_run].value = 1;
    ksm_derive(&facts.now);
    facts.in_kernel = suite_random() % 16 != 0;
    facts.uksm = suite_random() % 16 == 0;
    facts.ksmd = (struct ksm_value){some_number(), some_status()};
    facts.rate = (struct ksm_value){some_number(), some_status()};
    table.opted_in = some_number();
    table.recorded = some_number();
    table.denied = suite_random() % 2 ? 0 : some_number();
    table.hidden = suite_random() % 4 == 0;
    table.known = suite_random() % 3 != 0;
    table.tells_rmap_items = suite_random() % 2;
    table.swept = suite_random() % 4 != 0;
    some_consumers();
}

static size_t columns(const char *line, size_t len) {
    size_t n = 0;

    for (size_t i = 0; i < len; i++)
        n += (line[i] & 0xc0) != 0x80;
    return n;
}

static void check_line(const char *line, size_t len) {
    must(columns(line, len) <= 80, "over 80 columns: %s (KSM_TEST_SEED=%" PRIu64 ")",
         suite_quote(line, len), suite_seed());
    must(len == 0 || line[len - 1] != ' ', "blanks at the end: %s", suite_quote(line, len));
    for (size_t i = 0; i < len; i++)
        must(!iscntrl((unsigned char)line[i]) && line[i] != '?' && line[i] != '{' && line[i] != '[',
             "not known, or not printable: %s (KSM_TEST_SEED=%" PRIu64 ")", suite_quote(line, len),
             suite_seed());
}

static const char *page(void) {
    static char text[16384];
    FILE *file = fmemopen(text, sizeof(text), "w");

    explain_page(&facts, file);
    must(fclose(file) == 0, "the page does not fit");
    return text;
}

START_TEST(any_facts) {
    for (int i = 0; i < 20000; i++) {
        some_facts();
        enum explain_id id = explain_verdict(&facts);
        if (explain_words[id].status < 0)
            ck_abort_msg("verdict %s: a remark", explain_words[id].name);
        const char *text = page();
        for (const char *line = text; *line; line += strcspn(line, "\n") + 1)
            check_line(line, strcspn(line, "\n"));
    }
}
END_TEST

/* ---- who saves ---- */

static const struct {
    int64_t saved[4]; /* in MiB; 0 ends them */
    int64_t unattributed;
    const char *want[6]; /* lines, without what stands left of the bar */
} savers[] = {
    {{0}, 0, {NULL}},
    {{100}, 0, {"################  program p0"}},
    {{50, 50}, 0, {"########........  program p0", "########........  program p1"}},
    {{1, 99}, 0, {"################  program p1", "................  program p0"}},
    {{20, 50, 30},
     0,
     {"########........  program p1", "#####...........  program p2",
      "###.............  program p0"}},
    {{75}, 25, {"############....  program p0", "####............  not attributed"}},
};

START_TEST(bars) {
    good_host();
    for (; savers[_i].saved[table.count]; table.count++) {
        struct ksm_consumer *one = &list[table.count];
        *one = (struct ksm_consumer){.name.kind = KSM_CONSUMER_program,
                                     .saved = savers[_i].saved[table.count] << 20};
        snprintf(one->name.text, sizeof(one->name.text), "p%zu", table.count);
        table.saved += one->saved;
    }
    table.unattributed = savers[_i].unattributed << 20;
    table.saved += table.unattributed;
    ksm_derive(&facts.now);
    const char *text = page();
    const char *at = strstr(text, "Who saves most\n");
    ck_assert_msg(at && (savers[_i].want[0] || strstr(at, "nobody yet")), "%s", text);
    for (int i = 0; savers[_i].want[i]; i++) {
        at = strstr(at, savers[_i].want[i]);
        ck_assert_msg(at, "row %d: \"%s\" is missing, or not in its place, in\n%s", _i,
                      savers[_i].want[i], text);
    }
}
END_TEST

/* The name is what gives way, and that it did is seen. */
START_TEST(long_name) {
    static const char *const letters[] = {"a", "\xc3\xa9", "\xe6\xbc\xa2"};

    good_host();
    table.count = 1;
    list[0] = (struct ksm_consumer){.name.kind = KSM_CONSUMER_container};
    while (strlen(list[0].name.text) + strlen(letters[_i]) < 100)
        strcat(list[0].name.text, letters[_i]);
    const char *text = page();
    const char *line = strstr(text, "container ");
    ck_assert_msg(line != NULL, "%s", text);
    size_t len = strcspn(line, "\n");
    ck_assert_msg(columns(line, len) <= 37 && memcmp(line + len - 3, "...", 3) == 0 &&
                      (len - 13) % strlen(letters[_i]) == 0,
                  "got %s", suite_quote(line, len));
}
END_TEST

/* The ninth and all after it are one line. */
START_TEST(others) {
    good_host();
    table.count = 12;
    for (size_t i = 0; i < table.count; i++) {
        list[i] = (struct ksm_consumer){.name.kind = KSM_CONSUMER_service,
                                        .saved = (int64_t)(i + 1) << 20};
        snprintf(list[i].name.text, sizeof(list[i].name.text), "s%zu", i + 1);
        table.saved += list[i].saved;
    }
    const char *text = page();
    ck_assert_msg(strstr(text, "service s5\n") && !strstr(text, "service s4\n") &&
                      strstr(text, "     10.0 MiB          -  ##..............  others\n"),
                  "got\n%s", text);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("explain");
    TCase *judging = suite_case(suite, "verdicts");
    TCase *wording = suite_case(suite, "words");
    TCase *form = suite_case(suite, "page");

    tcase_add_loop_test(judging, verdict, 0, ROWS(verdicts));
    tcase_add_test(judging, every_verdict_has_a_case);
    tcase_add_test(judging, statuses);
    tcase_add_loop_test(judging, two_samples, 0, ROWS(rates));
    tcase_add_loop_test(judging, idle, 0, ROWS(idles));
    tcase_add_loop_test(judging, sweep, 0, ROWS(sweeps));
    tcase_add_loop_test(wording, expand, 0, ROWS(texts));
    tcase_add_test(wording, text_that_does_not_fit);
    tcase_add_loop_test(wording, bytes, 0, ROWS(sizes));
    tcase_add_loop_test(wording, units, 0, ROWS(figures));
    tcase_add_loop_test(wording, who_is_seen, 0, ROWS(seen));
    tcase_add_loop_test(wording, pace, 0, ROWS(paces));
    tcase_add_test(form, any_facts);
    tcase_add_loop_test(form, bars, 0, ROWS(savers));
    tcase_add_loop_test(form, long_name, 0, 3);
    tcase_add_test(form, others);
    return suite_run(suite);
}
