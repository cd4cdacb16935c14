/* SPDX-License-Identifier: MIT
 *
 * The arithmetic of the derived figures, worked out by hand and by wider integers.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>

#include "derive.h"
#include "support/suite.h"

#define GIB ((int64_t)1024 * 1024) /* in kB, as meminfo has it */
#define LAST INT64_MAX

/* An operand or a result: a number, absent (-ENOENT, -ENODATA …), or as it was. */
struct figure {
    enum ksm_id id;
    int64_t value;
    int status;
};
#define IS(name, value)                                                                            \
    { KSM_##name, value, 0 }
#define NOT(name, status)                                                                          \
    { KSM_##name, 0, status }
#define END                                                                                        \
    { KSM_FIGURES, 0, 0 }

/* A sample on which nothing is shared and nothing absent, but what is given. */
struct row {
    const char *what;
    int64_t page_size;
    struct figure given[11];
    struct figure want[11];
};

/* The host of the article that this project starts from: its figures, an old kernel's, 4 GiB. */
#define ARTICLE                                                                                    \
    IS(shared, 48911), IS(sharing, 90090), IS(unshared, 123002), IS(volatile, 1035),               \
        NOT(zero, -ENOENT), NOT(general_profit, -ENOENT), IS(mem_total, 4 * GIB)

static const struct row rows[] = {
    {"the article",
     4096,
     {ARTICLE, IS(mem_available, GIB), IS(swap_free, GIB), END},
     {IS(saved, 369008640),    /* 90090 * 4096: 351.9 MiB */
      IS(gain, 168669184),     /* 41179 * 4096: 160.9 MiB */
      IS(profit, 352174208),   /* 369008640 - 64 * 263038 */
      IS(overhead, 16834432),  /* 64 * 263038 */
      IS(merged, 34249),       /* 90090 / 263038 = 34.2498 % */
      IS(ram, 8591),           /* of 4294967296: 8.5917 % */
      IS(net, 8199),           /* 352174208 of 4294967296: 8.1997 % */
      IS(exposure, 17183),     /* of 2147483648: 17.1833 % */
      IS(sharing_ratio, 2841), /* 139001 / 48911 = 2.8419 */
      END}},
    {"the article on 16 kB pages",
     16384,
     {ARTICLE, END},
     {IS(saved, 1476034560), IS(gain, 674676736), IS(profit, 1459200128), IS(overhead, 16834432),
      IS(merged, 34249), END}},
    {"the article on 64 kB pages",
     65536,
     {ARTICLE, END},
     {IS(saved, 5904138240), IS(gain, 2698706944), IS(profit, 5887303808), IS(overhead, 16834432),
      IS(merged, 34249), IS(ram, 137466), END}},
    /* 65536 pages each, as a memory cgroup's charge was seen to fall. */
    {"pairs",
     4096,
     {IS(shared, 32768), IS(sharing, 32768), END},
     {IS(saved, 134217728), IS(gain, 0), IS(merged, 50000), IS(sharing_ratio, 2000), END}},
    {"triples",
     4096,
     {IS(shared, 21845), IS(sharing, 43690), IS(unshared, 1), END},
     {IS(saved, 178954240), IS(gain, 89477120), IS(merged, 66665), IS(sharing_ratio, 3000), END}},
    {"ten times each",
     4096,
     {IS(shared, 6554), IS(sharing, 58982), END},
     {IS(saved, 241590272), IS(gain, 214745088), IS(merged, 89999), IS(sharing_ratio, 9999), END}},
    {"all identical",
     4096,
     {IS(shared, 256), IS(sharing, 65280), END},
     {IS(saved, 267386880), IS(gain, 266338304), IS(merged, 99609), IS(sharing_ratio, 256000),
      END}},
    {"zero pages alone",
     4096,
     {IS(zero, 65536), IS(general_profit, 264241152), END},
     {IS(saved, 268435456), IS(profit, 264241152), IS(overhead, 4194304), IS(gain, 0),
      IS(merged, 0), NOT(sharing_ratio, -ENODATA), END}},
    {"zero pages too",
     4096,
     {IS(shared, 10), IS(sharing, 20), IS(zero, 5), IS(general_profit, 90000), END},
     {IS(saved, 102400), IS(profit, 90000), IS(overhead, 12400), IS(gain, 40960), IS(merged, 66666),
      IS(sharing_ratio, 3000), END}},
    {"shared more often than sharing: the gain is negative",
     4096,
     {IS(shared, 100), IS(sharing, 40), END},
     {IS(saved, 163840), IS(gain, -245760), IS(sharing_ratio, 1400), END}},
    {"nothing registered",
     4096,
     {END},
     {IS(saved, 0), IS(profit, 0), IS(overhead, 0), IS(gain, 0), IS(merged, 0), IS(ram, 0),
      IS(net, 0), IS(exposure, 0), NOT(sharing_ratio, -ENODATA), END}},
    {"registered, nothing shared",
     4096,
     {IS(unshared, 500), NOT(general_profit, -ENOENT), END},
     {IS(saved, 0), IS(profit, -32000), IS(overhead, 32000), IS(gain, 0), IS(merged, 0),
      NOT(sharing_ratio, -ENODATA), END}},
    {"volatile counts as registered",
     4096,
     {IS(shared, 1), IS(sharing, 1), IS(unshared, 1), IS(volatile, 1), NOT(general_profit, -ENOENT),
      END},
     {IS(merged, 25000), IS(profit, 3840), END}},

    /* The kernel's word on profit. */
    {"profit is the kernel's",
     4096,
     {IS(shared, 1), IS(sharing, 100), IS(general_profit, 400000), END},
     {IS(saved, 409600), IS(profit, 400000), IS(overhead, 9600), END}},
    {"negative profit",
     4096,
     {IS(sharing, 1), IS(general_profit, -1000000), END},
     {IS(saved, 4096), IS(profit, -1000000), IS(overhead, 1004096), END}},
    {"profit equal to saved",
     4096,
     {IS(sharing, 1), IS(general_profit, 4096), END},
     {IS(saved, 4096), IS(profit, 4096), IS(overhead, 0), END}},
    {"profit above saved, by a race: no overhead",
     4096,
     {IS(sharing, 1), IS(general_profit, 4097), END},
     {IS(saved, 4096), IS(profit, 4097), NOT(overhead, -ENODATA), END}},
    {"no estimate where the kernel's profit could not be read",
     4096,
     {IS(shared, 1), IS(sharing, 1), NOT(general_profit, -EIO), END},
     {IS(saved, 4096), NOT(profit, -EIO), NOT(overhead, -EIO), IS(gain, 0), IS(merged, 50000),
      END}},
    {"the estimate leaves zero pages out: no kernel had them then",
     4096,
     {IS(shared, 1), IS(sharing, 1), IS(zero, 1), NOT(general_profit, -ENOENT), END},
     {IS(saved, 8192), IS(profit, 3968), IS(overhead, 4224), END}},

    /* Operands that are absent. */
    {"no zero pages in this kernel: as if 0",
     4096,
     {IS(sharing, 3), NOT(zero, -ENOENT), END},
     {IS(saved, 12288), IS(ram, 0), END}},
    {"zero pages that could not be read",
     4096,
     {IS(shared, 3), IS(sharing, 3), NOT(zero, -EINVAL), END},
     {NOT(saved, -EINVAL), NOT(overhead, -EINVAL), NOT(ram, -EINVAL), NOT(exposure, -EINVAL),
      IS(profit, 0), IS(gain, 0), IS(merged, 50000), IS(sharing_ratio, 2000), END}},
    /* The fixture 6.6 with a count that is below 0: the kernel's profit has it in it. */
    {"miscounted zero pages: profit is the estimate, and what needs them is absent",
     4096,
     {IS(shared, 23003), IS(sharing, 88007), IS(unshared, 150001), IS(volatile, 9013),
      NOT(zero, -EDOM), IS(general_profit, -3752804864), END},
     {NOT(saved, -EDOM), IS(profit, 343195136), NOT(overhead, -EDOM), NOT(ram, -EDOM),
      IS(net, 7990), NOT(exposure, -EDOM), IS(gain, 266256384), IS(merged, 32592), END}},
    {"no sharing",
     4096,
     {IS(shared, 3), NOT(sharing, -EIO), NOT(general_profit, -ENOENT), END},
     {NOT(saved, -EIO), NOT(profit, -EIO), NOT(overhead, -EIO), NOT(gain, -EIO), NOT(merged, -EIO),
      NOT(ram, -EIO), NOT(exposure, -EIO), NOT(sharing_ratio, -EIO), END}},
    {"no sharing in this kernel: zero pages alone are no saving",
     4096,
     {NOT(sharing, -ENOENT), IS(zero, 5), END},
     {NOT(saved, -ENOENT), NOT(gain, -ENOENT), NOT(ram, -ENOENT), IS(profit, 0), END}},
    {"neither sharing nor zero in this kernel",
     4096,
     {NOT(sharing, -ENOENT), NOT(zero, -ENOENT), END},
     {NOT(saved, -ENOENT), NOT(gain, -ENOENT), END}},
    {"no shared",
     4096,
     {IS(sharing, 3), NOT(shared, -EACCES), NOT(general_profit, -ENOENT), END},
     {IS(saved, 12288), NOT(profit, -EACCES), NOT(overhead, -EACCES), NOT(gain, -EACCES),
      NOT(merged, -EACCES), NOT(sharing_ratio, -EACCES), IS(ram, 0), END}},
    {"no volatile, as with UKSM",
     4096,
     {IS(shared, 1), IS(sharing, 3), NOT(volatile, -ENOENT), NOT(general_profit, -ENOENT), END},
     {IS(saved, 12288), NOT(profit, -ENOENT), NOT(overhead, -ENOENT), NOT(merged, -ENOENT),
      IS(gain, 8192), IS(sharing_ratio, 4000), END}},

    /* Memory. */
    {"MemTotal 0",
     4096,
     {IS(sharing, 1), IS(mem_total, 0), END},
     {IS(saved, 4096), NOT(ram, -ENODATA), IS(exposure, 0), END}},
    {"a host that has given out more memory than it has: ram passes 100 %",
     4096,
     {IS(sharing, 1572864), IS(mem_total, 4 * GIB), END},
     {IS(saved, 6442450944), IS(ram, 150000), END}},
    {"no MemTotal",
     4096,
     {IS(sharing, 1), NOT(mem_total, -EINVAL), END},
     {IS(saved, 4096), NOT(ram, -EINVAL), IS(exposure, 0), END}},
    {"nothing available: as if 1 kB",
     4096,
     {IS(sharing, 1), IS(mem_available, 0), IS(swap_free, 0), END},
     {IS(ram, 0), IS(exposure, 400000), END}},
    {"nothing available and nothing saved",
     4096,
     {IS(mem_available, 0), IS(swap_free, 0), END},
     {IS(exposure, 0), END}},
    {"nothing available on a large host: exposure is capped",
     4096,
     {IS(sharing, 262144), IS(mem_available, 0), IS(swap_free, 0), END},
     {IS(saved, 1073741824), IS(exposure, 1000000000), END}},
    {"exposure just below its cap",
     4096,
     {IS(sharing, 2499), IS(mem_available, 0), IS(swap_free, 0), END},
     {IS(exposure, 999600000), END}},
    {"no MemAvailable before 3.14",
     4096,
     {IS(sharing, 1), NOT(mem_available, -ENOENT), END},
     {IS(ram, 0), NOT(exposure, -ENOENT), END}},
    {"no SwapFree",
     4096,
     {IS(sharing, 1), NOT(swap_free, -EIO), END},
     {IS(ram, 0), NOT(exposure, -EIO), END}},
    {"un-merging would not fit: exposure passes 100 %",
     4096,
     {IS(sharing, 262144), IS(mem_available, GIB / 4), IS(swap_free, GIB / 4), END},
     {IS(ram, 25000), IS(exposure, 200000), END}},
    {"the kernel's records take more than is saved: net is negative",
     4096,
     {IS(general_profit, -12884902), IS(mem_total, GIB), END},
     {IS(ram, 0), IS(net, -1200), END}}, /* -12884901.88 is 1.2 % of 1073741824 */
    {"what is lost of profit is lost of net",
     4096,
     {IS(sharing, 1), NOT(general_profit, -EIO), END},
     {IS(saved, 4096), IS(ram, 0), NOT(net, -EIO), END}},
    {"swap makes room",
     4096,
     {IS(sharing, 262144), IS(mem_available, 0), IS(swap_free, 2 * GIB), END},
     {IS(exposure, 50000), END}},

    /* What it costs. */
    {"an hour of ksmd and 7 million pages scanned for 2 GiB",
     4096,
     {IS(sharing, 524288), IS(ksmd_cpu, 3600000000000), IS(scanned, 7000000), END},
     {IS(ksmd_cpu_per_gib, 1800000), IS(scanned_per_page, 13351), END}}, /* 7000000 / 524288 */
    {"zero pages are saved too",
     65536,
     {IS(sharing, 100), IS(zero, 300), IS(ksmd_cpu, 25999999), IS(scanned, 1000), END},
     {IS(ksmd_cpu_per_gib, 1024), IS(scanned_per_page, 2500), END}}, /* 25 ms for 25 MiB */
    {"nothing is saved: at no price",
     4096,
     {IS(ksmd_cpu, 5000000), IS(scanned, 7), END},
     {NOT(ksmd_cpu_per_gib, -ENODATA), NOT(scanned_per_page, -ENODATA), END}},
    {"no ksmd to be seen, no count of pages scanned",
     4096,
     {IS(sharing, 1), NOT(ksmd_cpu, -ENOENT), NOT(scanned, -ENOENT), END},
     {NOT(ksmd_cpu_per_gib, -ENOENT), NOT(scanned_per_page, -ENOENT), END}},
    {"ten years of ksmd for one page",
     4096,
     {IS(sharing, 1), IS(ksmd_cpu, 315360000000000000), IS(scanned, LAST / 1000), END},
     {IS(ksmd_cpu_per_gib, 82669731840000000), IS(scanned_per_page, LAST / 1000 * 1000), END}},
    {"huge pages", 4096, {IS(anon_huge_kb, 2048), END}, {IS(anon_huge, 2097152), END}},
    {"no huge pages in this kernel",
     4096,
     {NOT(anon_huge_kb, -ENOENT), END},
     {NOT(anon_huge, -ENOENT), END}},

    /* 2^63-1 in every operand in turn: right, or absent, never wrapped. */
    {"shared at its limit",
     4096,
     {IS(shared, LAST), IS(sharing, 1), NOT(general_profit, -ENOENT), END},
     {IS(saved, 4096), NOT(profit, -ERANGE), NOT(overhead, -ERANGE), NOT(gain, -ERANGE),
      NOT(merged, -ERANGE), NOT(sharing_ratio, -ERANGE), IS(ram, 0), END}},
    {"shared at its limit, sharing 0",
     4096,
     {IS(shared, LAST), IS(general_profit, 0), END},
     {IS(saved, 0), IS(overhead, 0), NOT(gain, -ERANGE), IS(merged, 0), IS(ram, 0), END}},
    {"sharing at its limit",
     4096,
     {IS(shared, 1), IS(sharing, LAST), END},
     {NOT(saved, -ERANGE), IS(profit, 0), NOT(overhead, -ERANGE), NOT(gain, -ERANGE),
      NOT(merged, -ERANGE), NOT(ram, -ERANGE), NOT(exposure, -ERANGE), NOT(sharing_ratio, -ERANGE),
      END}},
    {"unshared at its limit",
     4096,
     {IS(shared, 1), IS(sharing, 1), IS(unshared, LAST), NOT(general_profit, -ENOENT), END},
     {IS(saved, 4096), NOT(profit, -ERANGE), NOT(overhead, -ERANGE), NOT(merged, -ERANGE),
      IS(gain, 0), IS(sharing_ratio, 2000), END}},
    {"volatile at its limit",
     4096,
     {IS(shared, 1), IS(sharing, 1), IS(volatile, LAST), NOT(general_profit, -ENOENT), END},
     {IS(saved, 4096), NOT(profit, -ERANGE), NOT(overhead, -ERANGE), NOT(merged, -ERANGE),
      IS(gain, 0), IS(sharing_ratio, 2000), END}},
    {"zero at its limit",
     4096,
     {IS(shared, 1), IS(sharing, 1), IS(zero, LAST), END},
     {NOT(saved, -ERANGE), IS(profit, 0), NOT(overhead, -ERANGE), NOT(ram, -ERANGE),
      NOT(exposure, -ERANGE), IS(gain, 0), IS(merged, 50000), END}},
    {"general_profit at its limit",
     4096,
     {IS(sharing, 1), IS(general_profit, LAST), END},
     {IS(saved, 4096), IS(profit, LAST), NOT(overhead, -ENODATA), END}},
    {"general_profit at its other limit",
     4096,
     {IS(sharing, 1), IS(general_profit, INT64_MIN), END},
     {IS(saved, 4096), IS(profit, INT64_MIN), NOT(overhead, -ERANGE), END}},
    {"MemTotal at its limit",
     4096,
     {IS(sharing, 1), IS(mem_total, LAST), END},
     {IS(saved, 4096), NOT(ram, -ERANGE), IS(exposure, 0), END}},
    {"MemAvailable at its limit",
     4096,
     {IS(sharing, 1), IS(mem_available, LAST), IS(swap_free, 0), END},
     {IS(saved, 4096), IS(ram, 0), NOT(exposure, -ERANGE), END}},
    {"SwapFree at its limit",
     4096,
     {IS(sharing, 1), IS(mem_available, 1), IS(swap_free, LAST), END},
     {IS(saved, 4096), IS(ram, 0), NOT(exposure, -ERANGE), END}},
    {"ksmd, scanned and huge pages at their limit",
     4096,
     {IS(sharing, 1), IS(ksmd_cpu, LAST), IS(scanned, LAST), IS(anon_huge_kb, LAST), END},
     {NOT(ksmd_cpu_per_gib, -ERANGE), NOT(scanned_per_page, -ERANGE), NOT(anon_huge, -ERANGE),
      END}},
    {"the largest saving there is",
     4096,
     {IS(sharing, LAST / 4096), END},
     {IS(saved, LAST - 4095), IS(profit, 0), IS(overhead, LAST - 4095), IS(gain, LAST - 4095),
      NOT(merged, -ERANGE), NOT(ram, -ERANGE), END}},
    {"a page more",
     4096,
     {IS(sharing, LAST / 4096 + 1), END},
     {NOT(saved, -ERANGE), NOT(gain, -ERANGE), END}},
    {"the lowest gain there is",
     4096,
     {IS(shared, (int64_t)1 << 51), END},
     {IS(saved, 0), IS(gain, INT64_MIN), END}},
    {"a page less",
     4096,
     {IS(shared, ((int64_t)1 << 51) + 1), END},
     {IS(saved, 0), NOT(gain, -ERANGE), END}},
};

static void start_sample(struct ksm_sample *sample, int64_t page_size) {
    sample->page_size = page_size;
    for (size_t id = 0; id < KSM_FIGURES; id++) /* a derived figure of old must not show */
        sample->at[id] = (struct ksm_value){0, 0};
    sample->at[KSM_mem_total].value = 4 * GIB;
    sample->at[KSM_mem_available].value = 3 * GIB;
    sample->at[KSM_swap_free].value = 2 * GIB;
}

TEST_ROWS(by_hand, rows) {
    struct ksm_sample sample;

    start_sample(&sample, row->page_size);
    for (const struct figure *f = row->given; f->id != KSM_FIGURES; f++)
        sample.at[f->id] = (struct ksm_value){f->value, f->status};
    ksm_derive(&sample);
    for (const struct figure *f = row->want; f->id != KSM_FIGURES; f++) {
        const struct ksm_value *got = &sample.at[f->id];
        ck_assert_msg(got->status == f->status && (f->status != 0 || got->value == f->value),
                      "%s: %s: got status %s, value %" PRId64 "; want %s, %" PRId64, row->what,
                      ksm_figures[f->id].name, suite_status(got->status), got->value,
                      suite_status(f->status), f->value);
    }
    for (const struct figure *f = row->given; f->id != KSM_FIGURES; f++)
        ck_assert_msg(sample.at[f->id].value == f->value && sample.at[f->id].status == f->status,
                      "%s: %s was changed", row->what, ksm_figures[f->id].name);
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

/* Nothing of the sample before stays: not even under a status that says so. */
TEST(no_memory_of_the_sample_before) {
    struct ksm_sample sample;

    start_sample(&sample, 4096);
    sample.at[KSM_sharing] = sample.at[KSM_shared] = (struct ksm_value){7, 0};
    ksm_derive(&sample);
    ck_assert_int_eq(sample.at[KSM_saved].value, 7 * 4096);
    sample.at[KSM_general_profit].status = sample.at[KSM_sharing].status = -EIO;
    ksm_derive(&sample);
    for (int i = 0; i < ROWS(derived); i++)
        ck_assert_msg(sample.at[derived[i]].status == -EIO, "%s: got status %s, want -EIO",
                      ksm_figures[derived[i]].name, suite_status(sample.at[derived[i]].status));
    sample.at[KSM_general_profit].status = sample.at[KSM_sharing].status = 0;
    ksm_derive(&sample);
    for (int i = 0; i < ROWS(derived); i++)
        ck_assert_msg(sample.at[derived[i]].status == 0, "%s: got status %s, want 0",
                      ksm_figures[derived[i]].name, suite_status(sample.at[derived[i]].status));
}

/* The same formulas in 128 bits, where none of them can pass the limit. */
__extension__ typedef __int128 wide;

struct exact {
    wide value;
    bool defined;
};

static wide number(const struct ksm_sample *s, enum ksm_id id) {
    return s->at[id].status == 0 ? s->at[id].value : 0;
}

static struct exact ratio(wide part, wide scale, wide whole) {
    return whole == 0 ? (struct exact){0, false} : (struct exact){part * scale / whole, true};
}

static struct exact exactly(const struct ksm_sample *s, enum ksm_id id) {
    wide shared = number(s, KSM_shared);
    wide sharing = number(s, KSM_sharing);
    wide registered = shared + sharing + number(s, KSM_unshared) + number(s, KSM_volatile);
    wide saved = (sharing + number(s, KSM_zero)) * s->page_size;
    wide profit = s->at[KSM_general_profit].status == 0 ? number(s, KSM_general_profit)
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
    ck_abort_msg("%s: no exact formula", ksm_figures[id].name);
}

/* bits: how large operands can get. Up to 2^28 pages (a TiB) and 2^40 kB no product passes. */
static void check_against_exact(const struct ksm_sample *sample, unsigned bits) {

    for (int i = 0; i < ROWS(derived); i++) {
        const struct ksm_value *got = &sample->at[derived[i]];
        struct exact want = exactly(sample, derived[i]);
        const char *name = ksm_figures[derived[i]].name;
        if (!want.defined) {
            ck_assert_msg(got->status == -ENODATA || got->status == -ERANGE,
                          "%s: got status %s, want -ENODATA", name, suite_status(got->status));
            continue;
        }
        ck_assert_msg(got->status == -ERANGE || (got->status == 0 && got->value == want.value),
                      "%s: got status %s, value %" PRId64 ", want %" PRId64 "", name,
                      suite_status(got->status), got->value, (int64_t)want.value);
        ck_assert_msg(got->status == 0 || bits > 28, "%s: absent although everything fits", name);
    }
}

static int64_t random_below(unsigned bits) {
    return (int64_t)(suite_random() >> (64 - bits));
}

static const unsigned most_bits[] = {4, 16, 28, 40, 52, 63};

TEST_ROWS(random_operands, most_bits) {
    static const int64_t page_sizes[] = {4096, 16384, 65536};

    for (int i = 0; i < 20000; i++) {
        struct ksm_sample sample;
        start_sample(&sample, page_sizes[suite_random() % 3]);
        for (size_t id = 0; id < KSM_FIGURES; id++)
            sample.at[id].value = random_below(*row);
        sample.at[KSM_general_profit].value -= random_below(*row);
        if (suite_random() % 2)
            sample.at[KSM_general_profit].status = -ENOENT;
        if (suite_random() % 2)
            sample.at[KSM_zero].status = -ENOENT;
        ksm_derive(&sample);
        check_against_exact(&sample, *row);
    }
}
