/* SPDX-License-Identifier: MIT
 *
 * The arithmetic of the derived metrics, worked out by hand and by wider integers.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "metrics/derive.h"
#include "support/host.h"
#include "support/suite.h"

#define GIB ((int64_t)1024 * 1024) /* in kB, as meminfo has it */

/* A sample on which nothing is shared and nothing absent, but what is given; and what comes of it:
 * words of host_word(). */
struct row {
    const char *what;
    int64_t page_size;
    const char *given, *want;
};
#define AT_4K(what, given, want) ROW(what, 4096, given, want)
#define ROW(what, page_size, given, want)                                                          \
    { what, page_size, given, want }

/* The host of the article that this project starts from: its metrics, an old kernel's, 4 GiB. */
#define ARTICLE                                                                                    \
    "shared=48911 sharing=90090 unshared=123002 volatile=1035 zero!ENOENT general_profit!ENOENT "  \
    "mem_total=4096M "

static const struct row rows[] = {
    AT_4K("the article", ARTICLE "mem_available=1024M swap_free=1024M",
          "saved=369008640 "    /* 90090 * 4096: 351.9 MiB */
          "gain=168669184 "     /* 41179 * 4096: 160.9 MiB */
          "profit=352174208 "   /* 369008640 - 64 * 263038 */
          "overhead=16834432 "  /* 64 * 263038 */
          "merged=34249 "       /* 90090 / 263038 = 34.2498 % */
          "ram=8591 "           /* of 4294967296: 8.5917 % */
          "net=8199 "           /* 352174208 of 4294967296: 8.1997 % */
          "exposure=17183 "     /* of 2147483648: 17.1833 % */
          "sharing_ratio=2841 " /* 139001 / 48911 = 2.8419 */
          ),
    ROW("the article on 16 kB pages", 16384, ARTICLE,
        "saved=1476034560 gain=674676736 profit=1459200128 overhead=16834432 merged=34249"),
    ROW("the article on 64 kB pages", 65536, ARTICLE,
        "saved=5904138240 gain=2698706944 profit=5887303808 overhead=16834432 merged=34249 "
        "ram=137466"),
    /* 65536 pages each, as a memory cgroup's charge was seen to fall. */
    AT_4K("pairs", "shared=32768 sharing=32768",
          "saved=134217728 gain=0 merged=50000 sharing_ratio=2000"),
    AT_4K("triples", "shared=21845 sharing=43690 unshared=1",
          "saved=178954240 gain=89477120 merged=66665 sharing_ratio=3000"),
    AT_4K("ten times each", "shared=6554 sharing=58982",
          "saved=241590272 gain=214745088 merged=89999 sharing_ratio=9999"),
    AT_4K("all identical", "shared=256 sharing=65280",
          "saved=267386880 gain=266338304 merged=99609 sharing_ratio=256000"),
    AT_4K(
        "zero pages alone", "zero=65536 general_profit=264241152",
        "saved=268435456 profit=264241152 overhead=4194304 gain=0 merged=0 sharing_ratio!ENODATA"),
    AT_4K("zero pages too", "shared=10 sharing=20 zero=5 general_profit=90000",
          "saved=102400 profit=90000 overhead=12400 gain=40960 merged=66666 sharing_ratio=3000"),
    AT_4K("shared more often than sharing: the gain is negative", "shared=100 sharing=40",
          "saved=163840 gain=-245760 sharing_ratio=1400"),
    AT_4K(
        "nothing registered", "",
        "saved=0 profit=0 overhead=0 gain=0 merged=0 ram=0 net=0 exposure=0 sharing_ratio!ENODATA"),
    AT_4K("registered, nothing shared", "unshared=500 general_profit!ENOENT",
          "saved=0 profit=-32000 overhead=32000 gain=0 merged=0 sharing_ratio!ENODATA"),
    AT_4K("volatile counts as registered",
          "shared=1 sharing=1 unshared=1 volatile=1 general_profit!ENOENT",
          "merged=25000 profit=3840"),
    /* The kernel's word on profit. */
    AT_4K("profit is the kernel's", "shared=1 sharing=100 general_profit=400000",
          "saved=409600 profit=400000 overhead=9600"),
    AT_4K("negative profit", "sharing=1 general_profit=-1000000",
          "saved=4096 profit=-1000000 overhead=1004096"),
    AT_4K("profit equal to saved", "sharing=1 general_profit=4096",
          "saved=4096 profit=4096 overhead=0"),
    AT_4K("profit above saved, by a race: no overhead", "sharing=1 general_profit=4097",
          "saved=4096 profit=4097 overhead!ENODATA"),
    AT_4K("no estimate where the kernel's profit could not be read",
          "shared=1 sharing=1 general_profit!EIO",
          "saved=4096 profit!EIO overhead!EIO gain=0 merged=50000"),
    AT_4K("the estimate leaves zero pages out: no kernel had them then",
          "shared=1 sharing=1 zero=1 general_profit!ENOENT",
          "saved=8192 profit=3968 overhead=4224"),
    /* Operands that are absent. */
    AT_4K("no zero pages in this kernel: as if 0", "sharing=3 zero!ENOENT", "saved=12288 ram=0"),
    AT_4K("zero pages that could not be read", "shared=3 sharing=3 zero!EINVAL",
          "saved!EINVAL overhead!EINVAL ram!EINVAL exposure!EINVAL profit=0 gain=0 merged=50000 "
          "sharing_ratio=2000"),
    /* The fixture 6.6 with a count that is below 0: the kernel's profit has it in it. */
    AT_4K("miscounted zero pages: profit is the estimate, and what needs them is absent",
          "shared=23003 sharing=88007 unshared=150001 volatile=9013 zero!EDOM "
          "general_profit=-3752804864",
          "saved!EDOM profit=343195136 overhead!EDOM ram!EDOM net=7990 exposure!EDOM "
          "gain=266256384 merged=32592"),
    AT_4K("no sharing", "shared=3 sharing!EIO general_profit!ENOENT",
          "saved!EIO profit!EIO overhead!EIO gain!EIO merged!EIO ram!EIO exposure!EIO "
          "sharing_ratio!EIO"),
    AT_4K("no sharing in this kernel: zero pages alone are no saving", "sharing!ENOENT zero=5",
          "saved!ENOENT gain!ENOENT ram!ENOENT profit=0"),
    AT_4K("neither sharing nor zero in this kernel", "sharing!ENOENT zero!ENOENT",
          "saved!ENOENT gain!ENOENT"),
    AT_4K("no shared", "sharing=3 shared!EACCES general_profit!ENOENT",
          "saved=12288 profit!EACCES overhead!EACCES gain!EACCES merged!EACCES "
          "sharing_ratio!EACCES ram=0"),
    AT_4K("no volatile, as with UKSM", "shared=1 sharing=3 volatile!ENOENT general_profit!ENOENT",
          "saved=12288 profit!ENOENT overhead!ENOENT merged!ENOENT gain=8192 sharing_ratio=4000"),
    /* Memory. */
    AT_4K("MemTotal 0", "sharing=1 mem_total=0", "saved=4096 ram!ENODATA exposure=0"),
    AT_4K("a host that has given out more memory than it has: ram passes 100 %",
          "sharing=1572864 mem_total=4096M", "saved=6442450944 ram=150000"),
    AT_4K("no MemTotal", "sharing=1 mem_total!EINVAL", "saved=4096 ram!EINVAL exposure=0"),
    AT_4K("nothing available: as if 1 kB", "sharing=1 mem_available=0 swap_free=0",
          "ram=0 exposure=400000"),
    AT_4K("nothing available and nothing saved", "mem_available=0 swap_free=0", "exposure=0"),
    AT_4K("nothing available on a large host: exposure is capped",
          "sharing=262144 mem_available=0 swap_free=0", "saved=1073741824 exposure=1000000000"),
    AT_4K("exposure just below its cap", "sharing=2499 mem_available=0 swap_free=0",
          "exposure=999600000"),
    AT_4K("no MemAvailable before 3.14", "sharing=1 mem_available!ENOENT", "ram=0 exposure!ENOENT"),
    AT_4K("no SwapFree", "sharing=1 swap_free!EIO", "ram=0 exposure!EIO"),
    AT_4K("un-merging would not fit: exposure passes 100 %",
          "sharing=262144 mem_available=256M swap_free=256M", "ram=25000 exposure=200000"),
    AT_4K("the kernel's records take more than is saved: net is negative",
          "general_profit=-12884902 mem_total=1024M", "ram=0 net=-1200"),
    /* -12884901.88 is 1.2 % of 1073741824 */
    AT_4K("what is lost of profit is lost of net", "sharing=1 general_profit!EIO",
          "saved=4096 ram=0 net!EIO"),
    AT_4K("swap makes room", "sharing=262144 mem_available=0 swap_free=2048M", "exposure=50000"),
    /* What it costs. */
    AT_4K("an hour of ksmd and 7 million pages scanned for 2 GiB",
          "sharing=524288 ksmd_cpu=3600000000000 scanned=7000000",
          "ksmd_cpu_per_gib=1800000 scanned_per_page=13351"),
    /* 7000000 / 524288 */
    ROW("zero pages are saved too", 65536, "sharing=100 zero=300 ksmd_cpu=25999999 scanned=1000",
        "ksmd_cpu_per_gib=1024 scanned_per_page=2500"),
    /* 25 ms for 25 MiB */
    AT_4K("nothing is saved: at no price", "ksmd_cpu=5000000 scanned=7",
          "ksmd_cpu_per_gib!ENODATA scanned_per_page!ENODATA"),
    AT_4K("no ksmd to be seen, no count of pages scanned",
          "sharing=1 ksmd_cpu!ENOENT scanned!ENOENT",
          "ksmd_cpu_per_gib!ENOENT scanned_per_page!ENOENT"),
    AT_4K("ten years of ksmd for one page",
          "sharing=1 ksmd_cpu=315360000000000000 scanned=9223372036854775",
          "ksmd_cpu_per_gib=82669731840000000 scanned_per_page=9223372036854775000"),
    AT_4K("huge pages", "anon_huge_kb=2048", "anon_huge=2097152"),
    AT_4K("no huge pages in this kernel", "anon_huge_kb!ENOENT", "anon_huge!ENOENT"),
    /* 2^63-1 in every operand in turn: right, or absent, never wrapped. */
    AT_4K("shared at its limit", "shared=9223372036854775807 sharing=1 general_profit!ENOENT",
          "saved=4096 profit!ERANGE overhead!ERANGE gain!ERANGE merged!ERANGE sharing_ratio!ERANGE "
          "ram=0"),
    AT_4K("shared at its limit, sharing 0", "shared=9223372036854775807 general_profit=0",
          "saved=0 overhead=0 gain!ERANGE merged=0 ram=0"),
    AT_4K("sharing at its limit", "shared=1 sharing=9223372036854775807",
          "saved!ERANGE profit=0 overhead!ERANGE gain!ERANGE merged!ERANGE ram!ERANGE "
          "exposure!ERANGE sharing_ratio!ERANGE"),
    AT_4K("unshared at its limit",
          "shared=1 sharing=1 unshared=9223372036854775807 general_profit!ENOENT",
          "saved=4096 profit!ERANGE overhead!ERANGE merged!ERANGE gain=0 sharing_ratio=2000"),
    AT_4K("volatile at its limit",
          "shared=1 sharing=1 volatile=9223372036854775807 general_profit!ENOENT",
          "saved=4096 profit!ERANGE overhead!ERANGE merged!ERANGE gain=0 sharing_ratio=2000"),
    AT_4K("zero at its limit", "shared=1 sharing=1 zero=9223372036854775807",
          "saved!ERANGE profit=0 overhead!ERANGE ram!ERANGE exposure!ERANGE gain=0 merged=50000"),
    AT_4K("general_profit at its limit", "sharing=1 general_profit=9223372036854775807",
          "saved=4096 profit=9223372036854775807 overhead!ENODATA"),
    AT_4K("general_profit at its other limit", "sharing=1 general_profit=-9223372036854775808",
          "saved=4096 profit=-9223372036854775808 overhead!ERANGE"),
    AT_4K("MemTotal at its limit", "sharing=1 mem_total=9223372036854775807",
          "saved=4096 ram!ERANGE exposure=0"),
    AT_4K("MemAvailable at its limit", "sharing=1 mem_available=9223372036854775807 swap_free=0",
          "saved=4096 ram=0 exposure!ERANGE"),
    AT_4K("SwapFree at its limit", "sharing=1 mem_available=1 swap_free=9223372036854775807",
          "saved=4096 ram=0 exposure!ERANGE"),
    AT_4K("ksmd, scanned and huge pages at their limit",
          "sharing=1 ksmd_cpu=9223372036854775807 scanned=9223372036854775807 "
          "anon_huge_kb=9223372036854775807",
          "ksmd_cpu_per_gib!ERANGE scanned_per_page!ERANGE anon_huge!ERANGE"),
    AT_4K("the largest saving there is", "sharing=2251799813685247",
          "saved=9223372036854771712 profit=0 overhead=9223372036854771712 "
          "gain=9223372036854771712 merged!ERANGE ram!ERANGE"),
    AT_4K("a page more", "sharing=2251799813685248", "saved!ERANGE gain!ERANGE"),
    AT_4K("the lowest gain there is", "shared=2251799813685248",
          "saved=0 gain=-9223372036854775808"),
    AT_4K("a page less", "shared=2251799813685249", "saved=0 gain!ERANGE"),
};

static void start_sample(struct ksm_sample *sample, int64_t page_size) {
    sample->page_size = page_size;
    for (size_t id = 0; id < KSM_METRICS; id++) /* a derived metric of old must not show */
        sample->values[id] = (struct ksm_value){0, 0};
    sample->values[KSM_mem_total].value = 4 * GIB;
    sample->values[KSM_mem_available].value = 3 * GIB;
    sample->values[KSM_swap_free].value = 2 * GIB;
}

static void give(struct ksm_sample *sample, const char *words) {
    struct ksm_value value;
    char own[256];

    strcpy(own, words);
    for (char *word = strtok(own, " "); word; word = strtok(NULL, " ")) {
        size_t id = host_word(word, &value);
        ck_assert_msg(id < KSM_METRICS, "%s: no such metric", word);
        sample->values[id] = value;
    }
}

/* Every metric that the words name is as they say. */
static void expect(const char *what, const struct ksm_sample *sample, const char *words) {
    struct ksm_value want;
    char own[256];

    strcpy(own, words);
    for (char *word = strtok(own, " "); word; word = strtok(NULL, " ")) {
        size_t id = host_word(word, &want);
        ck_assert_msg(id < KSM_METRICS, "%s: no such metric", word);
        const struct ksm_value *got = &sample->values[id];
        ck_assert_msg(got->status == want.status && (want.status != 0 || got->value == want.value),
                      "%s: got status %s, value %" PRId64 ", want %s", what,
                      suite_status(got->status), got->value, word);
    }
}

TEST_ROWS(derived_metrics_equal_values_computed_by_hand, rows) {
    struct ksm_sample sample;

    start_sample(&sample, row->page_size);
    give(&sample, row->given);
    ksm_derive(&sample);
    expect(row->what, &sample, row->want);
    expect(row->what, &sample, row->given);
}

static const enum ksm_id derived[] = {KSM_saved,
                                      KSM_profit,
                                      KSM_overhead,
                                      KSM_gain,
                                      KSM_merged,
                                      KSM_ram,
                                      KSM_net,
                                      KSM_exposure,
                                      KSM_sharing_ratio,
                                      KSM_ksmd_cpu_per_gib,
                                      KSM_scanned_per_page};

/* Not even values with an error status. */
TEST(nothing_of_the_previous_sample_remains) {
    struct ksm_sample sample;

    start_sample(&sample, 4096);
    sample.values[KSM_sharing] = sample.values[KSM_shared] = (struct ksm_value){7, 0};
    ksm_derive(&sample);
    ck_assert_int_eq(sample.values[KSM_saved].value, 7 * 4096);
    sample.values[KSM_general_profit].status = sample.values[KSM_sharing].status = -EIO;
    ksm_derive(&sample);
    for (int i = 0; i < ROWS(derived); i++)
        ck_assert_msg(sample.values[derived[i]].status == -EIO, "%s: got status %s, want -EIO",
                      ksm_metrics[derived[i]].name, suite_status(sample.values[derived[i]].status));
    sample.values[KSM_general_profit].status = sample.values[KSM_sharing].status = 0;
    ksm_derive(&sample);
    for (int i = 0; i < ROWS(derived); i++)
        ck_assert_msg(sample.values[derived[i]].status == 0, "%s: got status %s, want 0",
                      ksm_metrics[derived[i]].name, suite_status(sample.values[derived[i]].status));
}

/* The same formulas in 128 bits, where none of them can pass the limit. */
__extension__ typedef __int128 wide;

struct exact {
    wide value;
    bool defined;
};

static wide number(const struct ksm_sample *s, enum ksm_id id) {
    return s->values[id].status == 0 ? s->values[id].value : 0;
}

static struct exact ratio(wide part, wide scale, wide whole) {
    return whole == 0 ? (struct exact){0, false} : (struct exact){part * scale / whole, true};
}

static struct exact exactly(const struct ksm_sample *s, enum ksm_id id) {
    wide shared = number(s, KSM_shared);
    wide sharing = number(s, KSM_sharing);
    wide registered = shared + sharing + number(s, KSM_unshared) + number(s, KSM_volatile);
    wide saved = (sharing + number(s, KSM_zero)) * s->page_size;
    wide profit = s->values[KSM_general_profit].status == 0
                      ? number(s, KSM_general_profit)
                      : sharing * s->page_size - 64 * registered;
    wide free_kb = number(s, KSM_mem_available) + number(s, KSM_swap_free);

    if (id == KSM_saved)
        return (struct exact){saved, true};
    if (id == KSM_profit)
        return (struct exact){profit, true};
    if (id == KSM_overhead)
        return (struct exact){saved - profit, saved >= profit};
    if (id == KSM_gain)
        return (struct exact){(sharing - shared) * s->page_size, true};
    if (id == KSM_merged)
        return registered == 0 ? (struct exact){0, true} : ratio(sharing, 100000, registered);
    if (id == KSM_ram)
        return ratio(saved, 100000, number(s, KSM_mem_total) * 1024);
    if (id == KSM_net)
        return ratio(profit, 100000, number(s, KSM_mem_total) * 1024);
    if (id == KSM_exposure) {
        wide exposure = saved * 100000 / ((free_kb > 0 ? free_kb : 1) * 1024);
        return (struct exact){exposure < 1000000000 ? exposure : 1000000000, true};
    }
    if (id == KSM_sharing_ratio)
        return ratio(shared + sharing, 1000, shared);
    if (id == KSM_ksmd_cpu_per_gib)
        return ratio(number(s, KSM_ksmd_cpu) / 1000000, 1 << 20, saved / 1024);
    if (id == KSM_scanned_per_page)
        return ratio(number(s, KSM_scanned) * s->page_size, 1000, saved);
    ck_abort_msg("%s: no exact formula", ksm_metrics[id].name);
}

/* bits: how large operands can get. Up to 2^28 pages (a TiB) and 2^40 kB no product passes. */
static void check_against_exact(const struct ksm_sample *sample, unsigned bits) {
    for (int i = 0; i < ROWS(derived); i++) {
        const struct ksm_value *got = &sample->values[derived[i]];
        struct exact want = exactly(sample, derived[i]);
        const char *name = ksm_metrics[derived[i]].name;
        if (!want.defined) {
            ck_assert_msg(got->status == -ENODATA || got->status == -ERANGE,
                          "%s: got status %s, want -ENODATA", name, suite_status(got->status));
            continue;
        }
        ck_assert_msg(got->status == -ERANGE || (got->status == 0 && got->value == want.value),
                      "%s: got status %s, value %" PRId64 ", want %" PRId64, name,
                      suite_status(got->status), got->value, (int64_t)want.value);
        ck_assert_msg(got->status == 0 || bits > 28, "%s: absent although everything fits", name);
    }
}

static int64_t random_below(unsigned bits) {
    return (int64_t)(suite_random() >> (64 - bits));
}

static const unsigned most_bits[] = {4, 16, 28, 40, 52, 63};

TEST_ROWS(random_operands_give_exact_results_or_errors, most_bits) {
    static const int64_t page_sizes[] = {4096, 16384, 65536};

    for (int i = 0; i < 20000; i++) {
        struct ksm_sample sample;
        start_sample(&sample, page_sizes[suite_random() % 3]);
        for (size_t id = 0; id < KSM_METRICS; id++)
            sample.values[id].value = random_below(*row);
        sample.values[KSM_general_profit].value -= random_below(*row);
        if (suite_random() % 2)
            sample.values[KSM_general_profit].status = -ENOENT;
        if (suite_random() % 2)
            sample.values[KSM_zero].status = -ENOENT;
        ksm_derive(&sample);
        check_against_exact(&sample, *row);
    }
}
