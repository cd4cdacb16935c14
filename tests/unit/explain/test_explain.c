/* SPDX-License-Identifier: MIT
 *
 * ksm-explain: facts to verdict, placeholders, and the form of the report. The texts as a whole are
 * in the golden outputs of the fixtures.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "explain/explain.h"
#include "explain/format.h"
#include "metrics/derive.h"
#include "support/host.h"
#include "support/suite.h"

enum { PAGE = 4096, MIB_PAGES = 256 };

/* ---- facts ---- */

static struct ksm_consumer list[20];
static struct ksm_consumer_table table;
static struct explain_facts facts;

static void set(enum ksm_id id, int64_t value) {
    facts.now.values[id] = (struct ksm_value){.value = value};
}

/* A host of 1 GiB, half of it free, where KSM has saved 100 MiB with 5 % of a core. */
static void good_host(void) {
    static const struct {
        enum ksm_id id;
        int64_t value;
    } metrics[] = {
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
    for (size_t id = 0; id < KSM_METRICS; id++)
        facts.now.values[id].status = -ENOENT;
    for (int i = 0; i < ROWS(metrics); i++)
        set(metrics[i].id, metrics[i].value);
    facts.has_ksm = true;
    facts.now.page_size = PAGE;
    facts.ksmd.value = 5000;
    facts.scan_rate.value = 5000;
    table = (struct ksm_consumer_table){.list = list,
                                        .valid = true,
                                        .enabled = true,
                                        .has_rmap_items = true,
                                        .sweep = {.done = true}};
    facts.consumers = &table;
    table.sweep.opted_in = table.sweep.tracked = 3;
}

/* ---- verdicts ---- */

/* Facts beside the metrics of the host. */
static const struct {
    const char *name;
    struct ksm_value *value;
    int64_t *number;
    bool *flag;
} others[] = {
    {"ksmd", &facts.ksmd, NULL, NULL},
    {"scan_rate", &facts.scan_rate, NULL, NULL},
    {"opted_in", NULL, &table.sweep.opted_in, NULL},
    {"tracked", NULL, &table.sweep.tracked, NULL},
    {"denied", NULL, &table.sweep.denied, NULL},
    {"blocking", NULL, &table.sweep.skipped, NULL},
    {"owners", NULL, &table.owners, NULL},
    {"valid", NULL, NULL, &table.valid},
    {"hidden", NULL, NULL, &table.sweep.hidden},
    {"enabled", NULL, NULL, &table.enabled},
    {"swept", NULL, NULL, &table.sweep.done},
    {"idle", NULL, NULL, &facts.idle},
    {"uksm", NULL, NULL, &facts.uksm},
    {"as_root", NULL, NULL, &facts.as_root},
};

static void change_other(const char *name, struct ksm_value to) {
    int i = 0;

    while (strcmp(others[i].name, name) != 0)
        ck_assert_msg(++i < ROWS(others), "%s: no such fact", name);
    if (others[i].value)
        *others[i].value = to;
    else if (others[i].number)
        *others[i].number = to.value;
    else
        *others[i].flag = to.value;
}

/* Changes facts of a good host: words of host_word() for metrics, and others. */
static void change(const char *changes) {
    struct ksm_value value;
    char words[512];

    strcpy(words, changes);
    for (char *word = strtok(words, " "); word; word = strtok(NULL, " ")) {
        size_t id = host_word(word, &value);
        if (id < KSM_METRICS)
            facts.now.values[id] = value;
        else
            change_other(word, value);
    }
}

#define NOTHING_TRACKED                                                                            \
    "shared=0 sharing=0 unshared=0 volatile=0 general_profit=0 opted_in=0 tracked=0 "
#define NOTHING_MERGED "shared=0 sharing=0 general_profit=-17024 "
#define UNKNOWN_PROCESSES "opted_in=-1 tracked=-1 enabled=0 swept=0 "
#define OFF NOTHING_TRACKED "run=0 opted_in=3 "
#define NO_SCAN NOTHING_TRACKED "pages_to_scan=0 "
#define VOLATILE_UNKNOWN NOTHING_TRACKED UNKNOWN_PROCESSES "volatile!EACCES "
#define FIRST_SCAN NOTHING_MERGED "full_scans=0 "
#define LOSS "sharing=1M general_profit=-2M "             /* -0.195 % */
#define WASTE "sharing=10M general_profit=9M ksmd=20001 " /* 0.976 % */
#define EMPTY FIRST_SCAN "idle=1 ksmd=99000 "
#define MISCOUNTED "zero!EDOM general_profit=-4096M "
#define DENIED "denied=100 "
#define HIDDEN "hidden=1 ksmd_cpu!ENOENT "
#define OTHER_NAMESPACE "ksmd_cpu!ENOENT ksmd!ENOENT "
#define OLD_KERNEL                                                                                 \
    "general_profit!ENOENT zero!ENOENT scanned!ENOENT mem_available!ENOENT "                       \
    "scan_rate!ENOENT " UNKNOWN_PROCESSES
#define UKSM OLD_KERNEL "volatile!ENOENT pages_to_scan!ENOENT advisor_mode!ENOENT uksm=1 "
#define UKSM_OFF UKSM NOTHING_TRACKED "volatile!ENOENT " UNKNOWN_PROCESSES "run=0 "

/* Changes (NULL: no KSM at all); the verdict, then what else holds, in this order. */
static const struct {
    const char *changes, *want;
} verdicts[] = {
    {"", "ok"},
    {OLD_KERNEL, "ok"},
    {NOTHING_MERGED "zero=20M general_profit=19M", "ok"},
    {"sharing=1M general_profit=1", "ok"},
    {"full_scans=1", "ok"},
    /* Missing, or not readable. */
    {NULL, "no_ksm"},
    {"run!EACCES", "unknown"},
    {"sharing!EIO", "unknown"},
    /* Not at work. Before 6.14, opting in is known only once ksmd has run. */
    {OFF, "off"},
    {OFF "opted_in=0", "off not_opted_in"},
    {OFF "opted_in=-1", "off"},
    {OFF "pages_to_scan=0", "off"},
    {NOTHING_MERGED "run=0", "off"}, /* tracked before it was stopped */
    {NOTHING_TRACKED "run=2 opted_in=3", "unmerged"},
    {"run=0", "stopped"},
    {NOTHING_TRACKED "zero=5 run=0 opted_in=3", "stopped"},
    {"run=0 general_profit=-2M", "stopped"},
    {"run=0 mem_available=110M", "exposed stopped"},
    /* At work, nothing merged. */
    {NOTHING_TRACKED, "not_opted_in"},
    {NOTHING_TRACKED UNKNOWN_PROCESSES, "not_opted_in"},
    {NOTHING_TRACKED DENIED, "not_opted_in denied"},
    {NOTHING_TRACKED "ksmd_cpu!ENOENT", "not_opted_in ksmd_hidden"}, /* in a container */
    /* A state that could not be read may hold pages. */
    {NOTHING_TRACKED "unshared!EIO", "no_equal_pages"},
    {VOLATILE_UNKNOWN, "no_equal_pages"},
    {VOLATILE_UNKNOWN "full_scans=0", "too_early"},
    {NO_SCAN, "not_opted_in no_scan"},
    {NO_SCAN "opted_in=-1", "no_scan"},
    {NO_SCAN DENIED, "no_scan denied"},
    {NO_SCAN "opted_in=3", "no_scan"},
    {"pages_to_scan=0", "no_scan"},
    {NOTHING_TRACKED "opted_in=3 full_scans=0", "too_early"},
    /* Opted in, without a page that KSM could take: shared memory, or huge pages. */
    {NOTHING_TRACKED "opted_in=3 full_scans=3000", "no_equal_pages"},
    {FIRST_SCAN, "too_early"},
    {NOTHING_MERGED "full_scans=2", "too_early"},
    {NOTHING_MERGED "full_scans=3", "no_equal_pages"},
    /* At the start, no loss or waste is judged. */
    {FIRST_SCAN "general_profit=-20M ksmd=99000", "too_early"},
    {"full_scans=1 sharing=1M", "too_early"},
    {NOTHING_MERGED "full_scans!ENOENT", "no_equal_pages"},
    {NOTHING_MERGED, "no_equal_pages"},
    /* Loss and waste. -0.1 % of 1 GiB is -1073741.8 bytes, -0.101 % is -1084479.3. */
    {LOSS, "net_loss"},
    {NOTHING_MERGED "unshared=50M general_profit=-2M", "net_loss no_equal_pages"},
    {LOSS "ksmd=50000", "net_loss wasted_scanning"},
    {LOSS "general_profit=-1084480", "net_loss"},
    {LOSS "general_profit=-1084479", "no_gain"},
    {"sharing=1M general_profit=0", "no_gain"},
    {WASTE, "wasted_scanning"},
    {WASTE "ksmd=20000", "ok"},
    {WASTE "sharing=11M", "ok"}, /* 1.074 % */
    {NOTHING_MERGED "ksmd=50000", "wasted_scanning no_equal_pages"},
    {WASTE "ksmd!ENOENT", "ok"},
    /* Busy without a page: 32 TiB with a page or two in them. */
    {EMPTY, "empty_scan"},
    /* Nothing tracked yet; before 6.14 opting in is not reported. */
    {NOTHING_TRACKED UNKNOWN_PROCESSES "full_scans=0 idle=1 ksmd=99000", "empty_scan"},
    {NOTHING_MERGED "ksmd=50000 idle=1", "empty_scan wasted_scanning no_equal_pages"},
    {EMPTY "sharing=100M general_profit=98M", "empty_scan"},
    {EMPTY "ksmd=20000", "too_early"},
    {EMPTY "ksmd=20001", "empty_scan"},
    /* In a second ksmd may not complete a long batch. */
    {EMPTY "pages_to_scan=49501", "too_early"},
    {EMPTY "pages_to_scan=49500", "empty_scan"},
    {EMPTY "pages_to_scan!EACCES", "too_early"},
    {EMPTY "ksmd!ENOENT", "too_early"},
    {EMPTY "pages_to_scan=0", "no_scan wasted_scanning"}, /* it wakes all the time */
    {EMPTY "run=0", "off"},
    /* Risk: 100 MiB of 125 MiB are 80 %. */
    {"mem_available=100M swap_free=25596", "exposed"},
    {"mem_available=100M swap_free=25M", "ok"},
    {"mem_available=102396 swap_free=0", "exposed_full"},
    {"mem_available=100M swap_free=0", "exposed"},
    {WASTE "mem_available=12M swap_free=0", "exposed wasted_scanning"},
    /* The kernel's own profit is as wrong as its count. */
    {MISCOUNTED, "ok miscounted"},
    /* Without the pages of zeros it is a loss: of 1.1 MiB. */
    {MISCOUNTED "sharing=1M unshared=34000", "unknown miscounted"},
    {MISCOUNTED "sharing=1M unshared=16384", "unknown miscounted"},
    {NOTHING_MERGED MISCOUNTED, "unknown miscounted"},
    {FIRST_SCAN MISCOUNTED, "too_early miscounted"},
    {MISCOUNTED "run=0", "stopped miscounted"},
    {OFF MISCOUNTED, "off miscounted"},
    /* Remarks. A transient error is no sign of a container. */
    {"mem_total!EXDEV mem_available!EXDEV swap_free!EXDEV", "ok lxcfs"},
    {DENIED, "ok denied"},
    {"owners=-1", "ok"},
    {"owners=1", "ok"},
    {"owners=2", "ok owners"},
    {"owners=2 valid=0", "ok"},
    {"blocking=2", "ok blocking"},
    {HIDDEN, "ok hidepid"},
    {OTHER_NAMESPACE, "ok ksmd_hidden"},
    {"ksmd_cpu!EMFILE ksmd!EMFILE", "ok"},
    /* UKSM. */
    {UKSM, "ok"},
    {UKSM_OFF, "off"},
    {UKSM_OFF "run=1 full_scans=0", "too_early"},
};

/* Returns the names of the verdict, and of all that holds beside it. */
static const char *result(void) {
    static char text[512];
    enum explain_id verdict = explain_verdict(&facts);
    size_t len = (size_t)snprintf(text, sizeof(text), "%s", explain_texts[verdict].name);

    for (enum explain_id id = verdict + 1; id < EXPLAIN_IDS; id++)
        if (explain_texts[id].status != 0 && explain_holds(&facts, id))
            len += (size_t)snprintf(text + len, sizeof(text) - len, " %s", explain_texts[id].name);
    return text;
}

/* No text is left out because a value in it is not known. */
static void expect_known(const struct explain_texts *texts) {
    const char *const all[] = {texts->sentence, texts->reason, texts->advice};
    char buf[2048];

    for (int i = 0; i < ROWS(all); i++)
        ck_assert_msg(!all[i] || explain_expand(&facts, all[i], buf, sizeof(buf)) == 0,
                      "%s: a value is not known: %s", texts->name, buf);
}

TEST_ROWS(verdict_and_remarks_follow_from_facts, verdicts) {
    good_host();
    if (row->changes) {
        change(row->changes);
        ksm_derive(&facts.now);
    } else { /* and no remark, either */
        memset(&facts, 0, sizeof(facts));
    }
    ck_assert_msg(strcmp(result(), row->want) == 0, "%s: got %s, want %s",
                  row->changes ? row->changes : "no KSM", result(), row->want);
    expect_known(&explain_texts[explain_verdict(&facts)]);
}

TEST(exit_statuses_and_precedence_never_change) {
    static const char want[] =
        "no_ksm 10, unknown 40, exposed_full 31, exposed 30, off 11, unmerged 12, stopped 13, "
        "not_opted_in 20, no_scan 21, empty_scan 34, too_early 22, net_loss 32, "
        "wasted_scanning 33, no_equal_pages 23, no_gain 24, ok 0, ";
    char got[sizeof(want) + 100] = "";

    for (enum explain_id id = 0; id < EXPLAIN_IDS; id++) {
        const size_t len = strlen(got);
        if (explain_texts[id].status >= 0)
            snprintf(got + len, sizeof(got) - len, "%s %d, ", explain_texts[id].name,
                     explain_texts[id].status);
    }
    ck_assert_str_eq(got, want);
}

/* Brackets are not printed: text that needs them would lose them. */
TEST(brackets_are_syntax) {
    static const char *const texts[] = {
#define VERDICT(id, status, sentence, reason, advice) sentence, reason, advice,
#define REMARK(id, sentence) sentence,
#define LINE(label, text) text,
#define CAUSE(id, sentence, advice) sentence, advice,
#define ESTIMATE(label, text) text,
#define SHARING(label, text) text,
#include "explain/explain.def"
    };

    for (int i = 0; i < ROWS(texts); i++)
        for (const char *part = strchr(texts[i], '['); part; part = strchr(part + 1, '['))
            ck_assert_msg(memchr(part, '{', strcspn(part, "]")), "no placeholder in %s", part);
}

/* ---- facts from two samples ---- */

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

TEST_ROWS(rates_come_from_two_samples, rates) {
    static struct ksm_sample before, now;

    before.values[KSM_ksmd_cpu] = before.values[KSM_scanned] =
        (struct ksm_value){row->before, row->status};
    now.values[KSM_ksmd_cpu] = now.values[KSM_scanned] = (struct ksm_value){row->now, 0};
    explain_set_host(&facts, &before, &now, row->ms);
    ck_assert_int_eq(facts.ksmd.status, row->want_status);
    ck_assert_int_eq(facts.scan_rate.status, row->want_status);
    if (row->want_status == 0)
        ck_assert_msg(facts.ksmd.value == row->ksmd && facts.scan_rate.value == row->rate,
                      "got %" PRId64 " and %" PRId64, facts.ksmd.value, facts.scan_rate.value);
}

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

TEST_ROWS(idle_only_if_no_counter_grew, idles) {
    static struct ksm_sample before, now;

    before.values[KSM_scanned] = before.values[KSM_skipped] = before.values[KSM_full_scans] =
        (struct ksm_value){7, 0};
    now.values[KSM_scanned] = (struct ksm_value){7 + row->scanned, row->scanned_status};
    now.values[KSM_skipped] = (struct ksm_value){7 + row->skipped, row->skipped_status};
    now.values[KSM_full_scans] = (struct ksm_value){7 + row->full_scans, row->full_scans_status};
    explain_set_host(&facts, &before, &now, 1000);
    ck_assert_msg(facts.idle == row->want, "%s: got %d", row->name, facts.idle);
}

/* ---- placeholders ---- */

#define OPTED_IN "{opted_in}[ of those seen{partial}]; {tracked}[ of {tracked_processes}]"
#define SETTINGS "{full_scan}, {more_pages}, {fewer_pages}"
#define UNMEASURED NOTHING_TRACKED "scan_rate!ENODATA "
#define UNREPORTED "a[ b{unreported}]"

static const struct {
    const char *changes, *text, *want;
} expansions[] = {
    {"", "", ""},
    {"", "plain, with spaces ", "plain, with spaces "},
    {"", "{saved}", "100.0 MiB"},
    {"", "a {saved} b {run} c", "a 100.0 MiB b running c"},
    {"", "{ram}, {net}, {exposure}", "9.77 %, 9.57 %, 19.5 %"},
    {"", "{sharing}", "25,600 pages"},
    {"", "{full_scans}", "12 times"},
    {"", "{tracked}", "26,122 pages"},
    {"", "{pages_to_scan} {sleep_millisecs} {smart_scan} {advisor_mode}", "100 pages 20 ms on off"},
    {"", "{max_scan_rate} {full_scan} {more_pages} {fewer_pages}",
     "19.5 MiB about 5 seconds 1000 10"},
    {"", "{ksmd} {scan_rate}", "5.00 % 5,000 pages"},
    {"", "{opted_in} {tracked_processes} {denied}", "3 processes 3 processes 0 processes"},
    {"", "{blocking}", "0 processes"},
    {"owners=2", "{owners}", "2"},
    {"", "{dir} {undo} {off}", "/sys/kernel/mm/ksm 2 2"},
    /* Not known: cow, as this host has none. */
    {"", "{cow}", "?"},
    {"", "a {cow} {cow} b", "a ? ? b"},
    {"", "{no_such_name}", "?"},
    {"", "{uksm}", "?"},
    {"", "{lower_max_cpu} {longer_sleep}", "? ?"},
    {"", "a[, {cow}]", "a"},
    {"", "a[, {saved}]", "a, 100.0 MiB"},
    {"", "a[, {saved} and {cow}]", "a"},
    {"", "a[, {cow} and {saved}][; {run}] b", "a; running b"},
    {"", "[{cow}]", ""},
    {"", "[x {cow}]{cow}", "?"},
    {"", "a\n[b {cow}]", "a"},
    /* Metrics, by their unit. */
    {"net=0", "{net}", "0 %"},
    {"net=1", "{net}", "0.001 %"},
    {"net=-47", "{net}", "-0.047 %"},
    {"net=-99", "{net}", "-0.099 %"},
    {"net=-100", "{net}", "-0.10 %"},
    {"net=-10000", "{net}", "-10.0 %"},
    {"net=100", "{net}", "0.10 %"},
    {"ram=9999", "{ram}", "10.00 %"},
    {"ram=10000", "{ram}", "10.0 %"},
    {"exposure=124422", "{exposure}", "124.4 %"},
    {"net=-9223372036854775808", "{net}", "-9223372036854776.0 %"},
    {"shared=1", "{shared}", "1 page"},
    {"shared=999", "{shared}", "999 pages"},
    {"shared=1000", "{shared}", "1,000 pages"},
    {"shared=1234567", "{shared}", "1,234,567 pages"},
    {"shared=9223372036854775807", "{shared}", "9,223,372,036,854,775,807 pages"},
    {"full_scans=1", "{full_scans}", "1 time"},
    {"run=0", "{run}", "stopped"},
    {"run=2", "{run}", "unmerged"},
    {"use_zero_pages=1", "{use_zero_pages}", "on"},
    {"sleep_millisecs=0", "{sleep_millisecs}", "0 ms"},
    {"stable_node_chains_prune_millisecs=5", "{stable_node_chains_prune_millisecs}", "5 ms"},
    {"sleep_millisecs=20", "a[{shorter_sleep}]", "a"},
    {"sleep_millisecs=21", "[{shorter_sleep}]", "20"},
    {"merge_across_nodes=0", "[apart{numa}]", "apart"},
    {"merge_across_nodes=1", "[apart{numa}]", ""},
    /* Processes that are not visible may have opted in as well. */
    {DENIED "opted_in=0", OPTED_IN, "? of those seen; 26,122 pages"},
    {"opted_in=0", OPTED_IN, "0 processes; 26,122 pages of 3 processes"},
    {"", OPTED_IN, "3 processes; 26,122 pages of 3 processes"},
    {DENIED, OPTED_IN, "3 processes of those seen; 26,122 pages"},
    {HIDDEN, OPTED_IN, "3 processes of those seen; 26,122 pages"},
    {OTHER_NAMESPACE, OPTED_IN, "3 processes of those seen; 26,122 pages"},
    {OLD_KERNEL, OPTED_IN, "?; 26,122 pages"},
    /* Linux 6.14, 6.1, before 5.19, and a failed sweep. */
    {"opted_in=2", UNREPORTED, "a"},
    {"opted_in=-1", UNREPORTED, "a b"},
    {"opted_in=-1 enabled=0 swept=0", UNREPORTED, "a b"},
    {"opted_in=-1 swept=0", UNREPORTED, "a"},
    /* The time of a full scan at the scan rate that the settings allow, and other settings. */
    {UNMEASURED "unshared=5000", SETTINGS, "under 2 seconds, 1000, 10"},
    {UNMEASURED "unshared=10000", SETTINGS, "about 2 seconds, 1000, 10"},
    {UNMEASURED "unshared=599999", SETTINGS, "about 119 seconds, 1000, 10"},
    {UNMEASURED "unshared=600000", SETTINGS, "about 2 minutes, 1000, 10"},
    {UNMEASURED "unshared=36000000", SETTINGS, "about 2 hours, 1000, 10"},
    {UNMEASURED "unshared=180000000", SETTINGS, "about 10 hours, 1000, 10"},
    {UNMEASURED "unshared=5000 sleep_millisecs=0", SETTINGS, "?, 1000, 10"},
    {UNMEASURED "unshared=5000 pages_to_scan=0", SETTINGS, "?, ?, ?"},
    {UNMEASURED "sleep_millisecs=0 pages_to_scan=429496729", SETTINGS, "?, 4294967290, 42949672"},
    {UNMEASURED "sleep_millisecs=0 pages_to_scan=429496730", SETTINGS, "?, ?, 42949673"},
    {UNMEASURED "unshared=5000 pages_to_scan=1", SETTINGS, "about 100 seconds, 10, ?"},
    {UNMEASURED, SETTINGS, "?, 1000, 10"},
    {UNMEASURED "unshared=5000 advisor_mode=1", SETTINGS, "under 2 seconds, ?, ?"},
    {UNMEASURED "unshared=9223372036854775807 pages_to_scan=9223372036854775807 sleep_millisecs=1",
     SETTINGS, "?, ?, ?"},
    {UNMEASURED "unshared=9223372036854775807 pages_to_scan=1 sleep_millisecs=9223372036854775807",
     SETTINGS, "?, 10, ?"},
};

TEST_ROWS(placeholders_are_replaced, expansions) {
    char buf[256];
    int want_unknown = 0;

    good_host();
    ksm_derive(&facts.now);
    change(row->changes);
    for (const char *mark = strchr(row->want, '?'); mark; mark = strchr(mark + 1, '?'))
        want_unknown++;
    int unknown = explain_expand(&facts, row->text, buf, sizeof(buf));
    ck_assert_msg(strcmp(buf, row->want) == 0 && unknown == want_unknown,
                  "%s, \"%s\": got \"%s\", %d unknown; want \"%s\"", row->changes, row->text, buf,
                  unknown, row->want);
}

static const struct {
    int64_t page_size;
    const char *want;
} large_mappings[] = {{4096, "64.0 MiB"}, {16384, "256.0 MiB"}, {65536, "1.0 GiB"}};

TEST_ROWS(size_of_a_large_mapping_depends_on_the_page_size, large_mappings) {
    char buf[64];

    good_host();
    facts.now.page_size = row->page_size;
    ck_assert_int_eq(explain_expand(&facts, "{large_mapping}", buf, sizeof(buf)), 0);
    ck_assert_str_eq(buf, row->want);
}

static const struct {
    const char *changes, *end;
} advices[] = {
    {DENIED, "is not known. To include them, run it with sudo."},
    {DENIED "as_root=1", "is not known. ksm-explain lacks CAP_DAC_READ_SEARCH, or a security "
                         "module forbids it."},
};

TEST_ROWS(sudo_is_advised_to_users_alone, advices) {
    char buf[512];

    good_host();
    change(row->changes);
    ck_assert_int_eq(
        explain_expand(&facts, explain_texts[EXPLAIN_denied].sentence, buf, sizeof(buf)), 0);
    ck_assert_msg(strlen(buf) > strlen(row->end) &&
                      strcmp(buf + strlen(buf) - strlen(row->end), row->end) == 0,
                  "got \"%s\"", buf);
}

TEST(text_that_does_not_fit_is_cut_off) {
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

TEST_ROWS(bytes_have_the_largest_fitting_unit, sizes) {
    char buf[32];

    format_bytes(row->bytes, buf, sizeof(buf));
    ck_assert_msg(strcmp(buf, row->text) == 0, "%" PRId64 ": got \"%s\", want \"%s\"", row->bytes,
                  buf, row->text);
}

/* ---- random facts ---- */

static int64_t random_number(void) {
    static const int64_t often[] = {0, 0, 0, 1, 2, 3, 20, 100, 1 << 20, INT64_MAX, -1};
    uint64_t random = suite_random();

    if (random % 3 == 0)
        return often[random / 3 % (sizeof(often) / sizeof(often[0]))];
    return (int64_t)(suite_random() >> (1 + suite_random() % 63));
}

static int random_status(void) {
    static const int errors[] = {-ENOENT, -EACCES, -EIO, -ENODATA};

    return suite_random() % 6 != 0 ? 0 : errors[suite_random() % 4];
}

static void random_name(struct ksm_consumer_name *name) {
    char raw[200];
    size_t len = suite_random() % sizeof(raw);

    for (size_t i = 0; i < len; i++)
        raw[i] = (char)(suite_random() % 4 == 0 ? suite_random() : 'a' + suite_random() % 26);
    name->kind = (enum ksm_consumer_kind)(suite_random() % KSM_CONSUMER_KIND_COUNT);
    ksm_consumer_name_clean(raw, len, name->text);
}

static void random_consumers(void) {
    table = (struct ksm_consumer_table){
        .list = list, .count = suite_random() % ROWS(list), .valid = suite_random() % 8 != 0};
    for (size_t i = 0; i < table.count; i++) {
        list[i] = (struct ksm_consumer){.saved = (int64_t)(suite_random() >> 8),
                                        .rmap_items = (int64_t)(suite_random() >> 1)};
        random_name(&list[i].name);
        table.saved += list[i].saved;
    }
    table.owners = (int64_t)(suite_random() % 4) - 1;
    table.unattributed = suite_random() % 2 ? (int64_t)(suite_random() >> 8) : 0;
    table.saved += table.unattributed;
}

static void random_facts(void) {
    good_host();
    for (size_t id = 0; id < KSM_METRICS; id++)
        facts.now.values[id] = (struct ksm_value){random_number(), random_status()};
    if (facts.now.values[KSM_run].value < 0 || facts.now.values[KSM_run].value > 2)
        facts.now.values[KSM_run].value = 1;
    ksm_derive(&facts.now);
    facts.has_ksm = suite_random() % 16 != 0;
    facts.uksm = suite_random() % 16 == 0;
    facts.ksmd = (struct ksm_value){random_number(), random_status()};
    facts.scan_rate = (struct ksm_value){random_number(), random_status()};
    table.sweep.opted_in = random_number();
    table.sweep.tracked = random_number();
    table.sweep.denied = suite_random() % 2 ? 0 : random_number();
    table.sweep.hidden = suite_random() % 4 == 0;
    table.enabled = suite_random() % 3 != 0;
    table.has_rmap_items = suite_random() % 2;
    table.sweep.done = suite_random() % 4 != 0;
    random_consumers();
}

static size_t columns(const char *line, size_t len) {
    size_t n = 0;

    for (size_t i = 0; i < len; i++)
        n += (line[i] & 0xc0) != 0x80;
    return n;
}

static void check_line(const char *line, size_t len) {
    must(columns(line, len) <= 80, "over 80 columns: %s", suite_quote(line, len));
    must(len == 0 || line[len - 1] != ' ', "blanks at the end: %s", suite_quote(line, len));
    for (size_t i = 0; i < len; i++)
        must(!iscntrl((unsigned char)line[i]) && line[i] != '?' && line[i] != '{' && line[i] != '[',
             "not known, or not printable: %s", suite_quote(line, len));
}

static const char *print(bool color) {
    static char text[16384];
    FILE *file = fmemopen(text, sizeof(text), "w");

    explain_report(&facts,
                   &(const struct wrap){.file = file, .columns = WRAP_COLUMNS, .color = color});
    must(fclose(file) == 0, "the report does not fit");
    return text;
}

static const char *report(void) {
    return print(false);
}

TEST(report_is_printable_whatever_the_facts) {
    for (int i = 0; i < 20000; i++) {
        random_facts();
        enum explain_id id = explain_verdict(&facts);
        if (explain_texts[id].status < 0)
            ck_abort_msg("verdict %s: a remark", explain_texts[id].name);
        const char *text = report();
        for (const char *line = text; *line; line += strcspn(line, "\n") + 1)
            check_line(line, strcspn(line, "\n"));
    }
}

static const struct {
    const char *changes;
    bool is_red;
} alarms[] = {
    {"", false},
    {NOTHING_TRACKED, false},
    {LOSS, true},
    {WASTE, true},
    {"mem_available=100M swap_free=0", true},
    {"run!EACCES", true},
};

TEST_ROWS(bad_verdict_is_red_on_a_terminal, alarms) {
    static const char red[] = "\033[1;31m  Verdict ";

    good_host();
    change(row->changes);
    ksm_derive(&facts.now);
    ck_assert_msg((strstr(print(true), red) != NULL) == row->is_red, "%s: got\n%s", row->changes,
                  print(true));
    ck_assert_msg(strstr(print(false), "\033") == NULL, "%s", row->changes);
}

/* The numbers of processes that opted in and that are tracked differ for a while. */
static const struct {
    const char *changes, *want;
} processes_of[] = {
    {"tracked=2", "  opted in  3 processes\n  tracked   26,122 pages\n"},
    {"tracked=2 opted_in=-1", "  opted in  not reported by this kernel (requires Linux 6.14)\n"
                              "  tracked   26,122 pages, of 2 processes\n"},
};

TEST_ROWS(report_has_one_number_of_processes, processes_of) {
    good_host();
    change(row->changes);
    ksm_derive(&facts.now);
    ck_assert_msg(strstr(report(), row->want), "%s: got\n%s", row->changes, report());
}

/* ---- savings by consumer ---- */

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

TEST_ROWS(bars_show_shares_in_order_of_savings, savers) {
    good_host();
    for (; row->saved[table.count]; table.count++) {
        struct ksm_consumer *one = &list[table.count];
        *one = (struct ksm_consumer){.name.kind = KSM_CONSUMER_program,
                                     .saved = row->saved[table.count] << 20};
        snprintf(one->name.text, sizeof(one->name.text), "p%zu", table.count);
        table.saved += one->saved;
    }
    table.unattributed = row->unattributed << 20;
    table.saved += table.unattributed;
    ksm_derive(&facts.now);
    const char *text = report();
    const char *at = strstr(text, "Savings by consumer\n");
    ck_assert_msg(at && (row->want[0] || strstr(at, "none yet")), "%s", text);
    for (int i = 0; row->want[i]; i++) {
        at = strstr(at, row->want[i]);
        ck_assert_msg(at, "\"%s\" is missing, or not in its place, in\n%s", row->want[i], text);
    }
}

static const char *const letters[] = {"a", "\xc3\xa9", "\xe6\xbc\xa2"};

TEST_ROWS(long_name_is_cut, letters) {
    good_host();
    table.count = 1;
    list[0] = (struct ksm_consumer){.name.kind = KSM_CONSUMER_container};
    while (strlen(list[0].name.text) + strlen(*row) < 100)
        strcat(list[0].name.text, *row);
    const char *text = report();
    const char *line = strstr(text, "container ");
    ck_assert_msg(line != NULL, "%s", text);
    size_t len = strcspn(line, "\n");
    ck_assert_msg(columns(line, len) <= 37 && memcmp(line + len - 3, "...", 3) == 0 &&
                      (len - 13) % strlen(*row) == 0,
                  "got %s", suite_quote(line, len));
}

/* Characters of three bytes, without a space to break at. */
TEST(text_is_wrapped_between_characters) {
    static char text[8192];
    FILE *file = fmemopen(text, sizeof(text), "w");
    char name[3 * 100 + 1] = "";

    for (int i = 0; i < 100; i++)
        strcat(name, "\u6f22");
    wrap_text(&(const struct wrap){.file = file, .columns = WRAP_COLUMNS}, "Process", name);
    ck_assert_int_eq(fclose(file), 0);
    for (const char *line = text; *line; line += strcspn(line, "\n") + 1) {
        const size_t len = strcspn(line, "\n"), start = WRAP_INDENT + 10;
        ck_assert_msg(columns(line, len) <= 80 && (len - start) % 3 == 0, "%s",
                      suite_quote(line, len));
    }
    ck_assert_uint_eq(columns(text, strcspn(text, "\n")), 80);
}

TEST(consumers_after_the_eighth_share_a_row) {
    good_host();
    table.count = 12;
    for (size_t i = 0; i < table.count; i++) {
        list[i] = (struct ksm_consumer){.name.kind = KSM_CONSUMER_service,
                                        .saved = (int64_t)(i + 1) << 20};
        snprintf(list[i].name.text, sizeof(list[i].name.text), "s%zu", i + 1);
        table.saved += list[i].saved;
    }
    const char *text = report();
    ck_assert_msg(strstr(text, "service s5\n") && !strstr(text, "service s4\n") &&
                      strstr(text, "     10.0 MiB          -  ##..............  others\n"),
                  "got\n%s", text);
}
