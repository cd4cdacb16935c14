/* SPDX-License-Identifier: MIT
 *
 * The page of --estimate: what is known is there, and what is not known is not.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "explain/estimate.h"
#include "support/suite.h"
#include "support/tree.h"

enum { PAGE = 4096, MIB_PAGES = 256 };

static struct estimate e;
static struct ksm_sample host;
static struct estimate_consumer consumers[30];

/* 1 GiB in 10 processes of one consumer, of which a half would be saved. */
void before_each(void) {
    static const struct estimate_sum sum = {.pages = 1024 * MIB_PAGES,
                                            .share = {.further = 512 * MIB_PAGES}};

    memset(&e, 0, sizeof(e));
    e.page_size = PAGE;
    e.sum = sum;
    e.total.all = sum.share;
    e.counts.processes = 10;
    e.knows_huge = true;
    e.counts.ms = 5000;
    e.pages_per_huge_page = 512;
    e.consumers = consumers;
    e.consumer_count = 1;
    consumers[0] = (struct estimate_consumer){
        .name = {KSM_CONSUMER_vm, "web"}, .processes = 10, .sum = sum, .saved_now = 10 << 20};
    for (size_t id = 0; id < KSM_METRICS; id++)
        host.values[id].status = -ENOENT;
}

static const char *report(size_t columns) {
    static char text[16384];
    FILE *file = fmemopen(text, sizeof(text), "w");

    estimate_report(&e, &host, &(const struct wrap){.file = file, .columns = columns});
    ck_assert_int_eq(fclose(file), 0);
    return text;
}

static const char *json(void) {
    static char text[16384];
    FILE *file = fmemopen(text, sizeof(text), "w");

    estimate_json(&e, &host, file);
    ck_assert_int_eq(fclose(file), 0);
    return text;
}

static void as_it_is(void) {
}

static void saved(int64_t bytes) {
    host.values[KSM_saved] = (struct ksm_value){.value = bytes};
}

static void merged(void) {
    saved(256 << 20);
}

static void nothing_merged(void) {
    saved(0);
}

static void named(void) {
    e.named = true;
    merged();
}

static void named_in_part(void) {
    named();
    consumers[0].saved_now = -1;
}

static void loss(void) {
    e.total.all.further = 0;
}

static void all_merged(void) {
    e.total.all.further = 0;
    merged();
}

/* The host saves more than what was read does. */
static void all_merged_of_one(void) {
    all_merged();
    consumers[0].saved_now = 64 << 20;
}

static void all_merged_of_denied(void) {
    all_merged_of_one();
    e.counts.denied = 1;
}

static void all_merged_of_failed(void) {
    all_merged_of_one();
    e.counts.failed = 1;
    e.counts.error = -EMFILE;
}

static void all_merged_of_blocking(void) {
    all_merged_of_one();
    e.counts.blocking = 1;
}

static void all_merged_of_partial(void) {
    all_merged_of_one();
    e.counts.partial = true;
}

static void all_merged_of_hidden(void) {
    all_merged_of_one();
    e.hidden = true;
}

static void little(void) {
    e.total.all.further = 51 * MIB_PAGES;
}

static void small(void) {
    e.sum.pages = 100 * MIB_PAGES;
    e.total.all.further = 15 * MIB_PAGES;
}

static void service(void) {
    consumers[0].name.kind = KSM_CONSUMER_service;
}

static void switched_off(void) {
    host.values[KSM_run] = (struct ksm_value){.value = 0};
}

static void sampled(void) {
    e.total.error = 3 * MIB_PAGES;
    e.sampling_shift = 4;
    e.total.sampled = true;
    e.total.huge = 8 * MIB_PAGES;
    e.total.splits = 5;
}

static void zeros(void) {
    e.total.all.zeros = 100 * MIB_PAGES;
}

static void changing(void) {
    e.total.all.changing = 7 * MIB_PAGES;
}

static void huge(void) {
    e.total.huge = 8 * MIB_PAGES;
    e.total.splits = 5;
}

static void huge_unknown(void) {
    e.knows_huge = false;
}

static void left_out(void) {
    e.counts.denied = 1;
    e.counts.failed = 3;
    e.counts.error = -EMFILE;
    e.counts.blocking = 2;
    e.counts.exited = 1234;
    e.counts.unreadable = 3 * MIB_PAGES;
    e.counts.swapped = 2 << 20;
}

static void left_out_by_root(void) {
    left_out();
    e.counts.as_root = true;
}

static void ram(void) {
    host.values[KSM_mem_total] = (struct ksm_value){.value = 10 << 20}; /* kB */
}

static void mostly_denied(void) {
    e.total.all.further = 15 * MIB_PAGES;
    e.counts.denied = 11;
}

static void partial(void) {
    e.counts.partial = true;
}

static void nodes(void) {
    host.values[KSM_merge_across_nodes] = (struct ksm_value){.value = 0};
}

static void all_nodes(void) {
    host.values[KSM_merge_across_nodes] = (struct ksm_value){.value = 1};
}

static void many(void) {
    for (size_t i = 1; i < 30; i++)
        consumers[i] = consumers[0];
    e.consumer_count = 30;
}

/* has: parts of the page as one line, but for the table; lacks: words that are not in it. */
static const struct {
    void (*make)(void);
    const char *has[4];
    const char *lacks[4];
} pages[] = {
    {as_it_is,
     {"if all programs opted in",
      "Verdict Worth it: 512.0 MiB would be saved, 50.0 % of the memory that was read. To gain "
      "512.0 MiB "
      "Overhead 16.0 MiB for",
      "were read; that leaves 496.0 MiB of the saving",
      "Read 1.0 GiB of 10 processes in about 5 seconds By consumer"},
     {"in all", "saved already,", "Left out", "Huge"}},
    {ram, {"saved, 50.0 % of the memory that was read, 5.00 % of RAM. To gain"}, {0}},
    {as_it_is, {" 1.0 GiB 512.0 MiB 16.0 MiB 10.0 MiB vm web"}, {"more vm", "Partial"}},
    {as_it_is, {"To do QEMU opts in"}, {"MemoryKSM", "switched off"}},
    {service, {"To do Opt in the services"}, {"QEMU"}},
    {switched_off,
     {"KSM is switched off. How to switch it on here: sudo ksm-explain", "To do QEMU"},
     {0}},
    {little, {"Verdict Little to gain: 51.0 MiB would be saved, of 1.0 GiB"}, {"To do", "Worth"}},
    {small, {"Verdict Little to gain: 15.0 MiB"}, {"Worth"}},
    {merged,
     {"To gain 512.0 MiB; in all 768.0 MiB, of which 256.0 MiB is saved already Overhead",
      "; that leaves 752.0 MiB of the saving"},
     {0}},
    {nothing_merged, {"To gain 512.0 MiB Overhead"}, {"in all"}},
    {named, {"if these programs opted in", "in all 522.0 MiB, of which 10.0 MiB"}, {0}},
    {named_in_part, {"16.0 MiB - vm web"}, {"in all"}},
    {loss, {"Verdict Not worth it", "were read: a loss of 16.0 MiB "}, {"To do", "that leaves"}},
    {all_merged,
     {"Verdict Little more to gain: 256.0 MiB is saved already."},
     {"Not worth it", "0 bytes would"}},
    {all_merged_of_denied, {"Verdict Little more to gain: 64.0 MiB is saved already."}, {"256.0"}},
    {all_merged_of_failed, {"Verdict Little more to gain: 64.0 MiB is saved already."}, {"256.0"}},
    {all_merged_of_blocking, {"Little more to gain: 64.0 MiB is saved already."}, {"256.0"}},
    {all_merged_of_partial, {"Little more to gain: 64.0 MiB is saved already."}, {"256.0"}},
    {all_merged_of_hidden, {"Little more to gain: 64.0 MiB is saved already."}, {"256.0"}},
    {sampled, {"give or take 3.0 MiB", "split 10.0 MiB of huge pages or more"}, {0}},
    {zeros, {"Of this, 100.0 MiB is in pages of zeros"}, {"give or take"}},
    {changing, {"Changing 7.0 MiB had an equal page"}, {0}},
    {huge, {"Huge 8.0 MiB of what would be saved", "split 10.0 MiB of huge pages."}, {0}},
    {huge_unknown, {"Huge This kernel does not report"}, {"split 0"}},
    {left_out,
     {"Left out 1 process could not be read", "Left out 2 processes: reading",
      "Left out 1,234 processes ended", "Left out 3.0 MiB of memory cannot"},
     {"Partial"}},
    {left_out,
     {"; 2.0 MiB is in swap", "Left out 3 processes could not be read: Too many open files. Left"},
     {0}},
    {left_out, {"Left out 1 process could not be read. To read all, run it with sudo."}, {"CAP_"}},
    {left_out_by_root,
     {"Left out 1 process could not be read: ksm-explain lacks CAP_SYS_PTRACE"},
     {"sudo."}},
    {mostly_denied,
     {"Verdict Not known: most processes could not be read. In 1.0 GiB of the others, 15.0 MiB"},
     {"Little", "To do"}},
    {partial, {"Partial This was stopped early"}, {0}},
    {nodes, {"Nodes merge_across_nodes is 0"}, {0}},
    {all_nodes, {"To gain"}, {"Nodes"}},
    {many, {"vm web and 10 more"}, {0}},
};

TEST_ROWS(report_has, pages) {
    row->make();
    const char *text = report(WRAP_COLUMNS), *flat = suite_unwrapped(text);
    for (int i = 0; i < ROWS(row->has) && row->has[i]; i++)
        ck_assert_msg(strstr(flat, row->has[i]), "no \"%s\" in\n%s", row->has[i], text);
    for (int i = 0; i < ROWS(row->lacks) && row->lacks[i]; i++)
        ck_assert_msg(!strstr(flat, row->lacks[i]), "\"%s\" in\n%s", row->lacks[i], text);
    for (; *text; text += strcspn(text, "\n") + 1)
        ck_assert_msg(strcspn(text, "\n") <= 80 && text[0] != '?', "%s", text);
}

TEST(prose_fills_the_terminal_and_tables_do_not_change) {
    static const size_t widths[] = {60, 80, 100};
    const char *table = NULL;

    for (int i = 0; i < ROWS(widths); i++) {
        const char *text = report(widths[i]);
        size_t longest = 0;
        for (; *text != '\n' || text[1] != 'B'; text += strcspn(text, "\n") + 1)
            if (strcspn(text, "\n") > longest)
                longest = strcspn(text, "\n");
        ck_assert_msg(longest <= widths[i] && longest > widths[i] - 15, "%zu columns: got %zu",
                      widths[i], longest);
        if (table)
            ck_assert_str_eq(text, table);
        free((void *)(uintptr_t)table);
        table = strdup(text);
    }
    free((void *)(uintptr_t)table);
}

static const struct {
    void (*make)(void);
    const char *has[3];
} objects[] = {
    {as_it_is,
     {"{\"read_bytes\": 1073741824, \"further_bytes\": 536870912, \"zero_bytes\": 0, ",
      "\"records_bytes\": 16777216, \"merged_bytes\": null, ", "\"partial\": false"}},
    {as_it_is,
     {"\"merged_bytes\": 10485760, \"processes\": 10, \"kind\": \"vm\", \"name\": \"web\"}]}\n"}},
    {sampled, {"\"error_bytes\": 3145728", "\"sampled_one_in\": 16", "\"split_bytes\": 10485760"}},
    {huge_unknown, {"\"huge_bytes\": null", "\"split_bytes\": null"}},
    {left_out,
     {"\"unreadable_bytes\": 3145728, \"swapped_bytes\": 2097152",
      "\"denied\": 1, \"failed\": 3, \"ended\": 1234, \"blocking\": 2"}},
    {partial, {"\"partial\": true"}},
};

TEST_ROWS(json_members, objects) {
    row->make();
    const char *text = json();
    for (int i = 0; i < ROWS(row->has) && row->has[i]; i++)
        ck_assert_msg(strstr(text, row->has[i]), "no %s in\n%s", row->has[i], text);
}

/* ---- the beginning ---- */

/* A size below that of a page is of another machine, whose tree this is. */
static const struct {
    const char *text;
    size_t bytes; /* of a huge page; 0: a page */
} huge_sizes[] = {{"2097152\n", 2 << 20}, {"64\n", 0}, {"0\n", 0}, {"-4096\n", 0}, {"", 0}};

TEST_ROWS(huge_page_has_one_page_or_more, huge_sizes) {
    const struct memory_scan_options options = {.root = suite_dir(), .cpu = 100};
    const size_t page_size = (size_t)sysconf(_SC_PAGESIZE);
    static struct estimate_engine engine;

    tree_print(options.root, "sys/kernel/mm/transparent_hugepage/hpage_pmd_size", "%s", row->text);
    ck_assert_int_eq(estimate_init(&engine, &options, 1 << 20), 0);
    ck_assert_uint_eq(engine.contents.pages_per_huge_page,
                      row->bytes > 0 ? row->bytes / page_size : 1);
    content_index_free(&engine.contents);
}
