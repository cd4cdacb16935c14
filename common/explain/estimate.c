/* SPDX-License-Identifier: MIT */
#include "explain/estimate.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL /* only its header is needed: the program does not link libxxhash */
#include <xxhash.h>

#include "system/clock.h"
#include "system/parse.h"
#include "system/pseudofs.h"

enum { SETTLE_DELAY_MS = 2000, POLL_MS = 20 };

/* ---- the first pass ---- */

static uint64_t hash_page(const struct page_reader *reader, size_t i) {
    return XXH3_64bits(reader->bytes + i * reader->page_size, reader->page_size);
}

/* Without PAGEMAP_SCAN, the kernel's zero page looks like a page of zeros that is mapped many
 * times. Leaves all of these out, as the zero page takes no memory. */
static int add_batch(struct memory_scan *s, const struct page_reader *reader, size_t i) {
    struct estimate_engine *e = s->data;
    const uint32_t process = (uint32_t)i;

    e->knows_huge = e->knows_huge || reader->scans;
    for (size_t j = 0; j < reader->count; j++) {
        const struct page_reader_page *page = &reader->pages[j];
        const uint64_t hash = hash_page(reader, j);
        if (page->mapped_many && !reader->scans && hash == e->contents.zeros) {
            s->list[i].pages--;
            continue;
        }
        content_index_add(&e->contents, hash,
                          page->mapped_many
                              ? content_index_place_many(process, page->frame, page->number)
                              : content_index_place_once(process, page->number, page->huge));
    }
    return 0;
}

/* ---- the second pass ---- */

static int end_first_pass(struct memory_scan *s, struct page_reader *reader) {
    struct estimate_engine *e = s->data;
    const int64_t end = clock_ms(CLOCK_MONOTONIC) + SETTLE_DELAY_MS;

    (void)reader;
    s->done = 0;
    e->once_count = content_index_end_first_pass(&e->contents);
    s->expected = e->once_count;
    while (!memory_scan_is_stopped(s) && clock_ms(CLOCK_MONOTONIC) < end)
        poll(NULL, 0, POLL_MS);
    return 1;
}

static uint64_t place_of(const struct estimate_engine *e, size_t record) {
    return e->contents.records[record].place;
}

/* Whether a record is of the process that is being read. */
static bool is_current(const struct estimate_engine *e, size_t record) {
    return record < e->once_count && content_index_process(place_of(e, record)) == e->scan.current;
}

/* Compares the next count records with the pages in reader. A page that is not there has changed.
 */
static void compare(struct estimate_engine *e, const struct page_reader *reader, size_t count) {
    struct memory_scan *s = &e->scan;
    size_t j = 0;

    for (size_t i = s->pos; i < s->pos + count; i++) {
        const bool is_there =
            j < reader->count && reader->pages[j].number == content_index_page(place_of(e, i));
        if (!is_there || hash_page(reader, j) != e->contents.records[i].key)
            content_index_mark_changed(&e->contents, i);
        if (is_there)
            j++;
    }
    s->pos += count;
    s->done += count;
}

/* Reads the next batch of the current process again, and compares it. If status is not 0, nothing
 * of the process can be read: then all of its pages count as changed. Returns the status for the
 * next batch. */
static int read_batch_again(struct estimate_engine *e, struct page_reader *reader, int status) {
    uint64_t numbers[PAGE_READER_BATCH];
    size_t count = 0;

    for (; count < PAGE_READER_BATCH && is_current(e, e->scan.pos + count); count++)
        numbers[count] = content_index_page(place_of(e, e->scan.pos + count));
    if (status == 0)
        status = page_reader_read_again(reader, numbers, count);
    if (status == -ECANCELED)
        return status;
    if (status < 0)
        reader->count = 0;
    compare(e, reader, count);
    memory_scan_throttle(&e->scan);
    return status;
}

static int read_process_again(struct memory_scan *s, struct page_reader *reader) {
    struct estimate_engine *e = s->data;

    if (s->pos == e->once_count)
        return 1;
    s->current = content_index_process(place_of(e, s->pos));
    const struct memory_scan_process *process = &s->list[s->current];
    int status = process->blocks ? -ETIMEDOUT : memory_scan_open(s, reader, process);
    while (status != -ECANCELED && !memory_scan_is_stopped(s) && is_current(e, s->pos))
        status = read_batch_again(e, reader, status);
    if (status == -ECANCELED)
        return status;
    page_reader_close(reader);
    return 0;
}

static memory_scan_step_fn *const steps[ESTIMATE_STEPS] = {
    [MEMORY_SCAN_LIST] = memory_scan_list,
    [MEMORY_SCAN_READ] = memory_scan_read,
    [ESTIMATE_DELAY] = end_first_pass,
    [ESTIMATE_SECOND_PASS] = read_process_again,
};

/* Returns 1 if there are no huge pages. */
static size_t read_pages_per_huge_page(const char *root, uint64_t page_size) {
    struct pseudofs_file file;
    char text[32];
    int64_t bytes = 0;

    pseudofs_init(&file, root, "sys/kernel/mm/transparent_hugepage", "hpage_pmd_size");
    const ssize_t len = pseudofs_read(&file, 0, PSEUDOFS_LINE, text, sizeof(text));
    pseudofs_close(&file);
    if (len > 0)
        parse_number(text, (size_t)len, &bytes);
    return (uint64_t)bytes > page_size ? (uint64_t)bytes / page_size : 1;
}

int estimate_init(struct estimate_engine *e, const struct memory_scan_options *options,
                  size_t bytes) {
    memset(e, 0, sizeof(*e));
    const int status = memory_scan_init(&e->scan, options);
    const uint64_t page_size = e->scan.page_size;
    void *zeros = calloc(1, page_size);
    if (!zeros || status != 0) {
        free(zeros);
        return -ENOMEM;
    }
    const uint64_t hash = XXH3_64bits(zeros, page_size);
    free(zeros);
    e->scan.steps = steps;
    e->scan.step_count = ESTIMATE_STEPS;
    e->scan.on_batch = add_batch;
    e->scan.contents = true;
    e->scan.data = e;
    return content_index_init(&e->contents, bytes, hash,
                              read_pages_per_huge_page(options->root, page_size));
}

/* ---- the result ---- */

static void add_sum(struct estimate_sum *to, uint64_t pages,
                    const struct content_index_share *share) {
    to->pages += pages;
    to->share.further += share->further;
    to->share.zeros += share->zeros;
    to->share.changing += share->changing;
}

static int compare_savings(const void *left, const void *right) {
    const struct estimate_consumer *a = left, *b = right;

    if (a->sum.share.further != b->sum.share.further)
        return a->sum.share.further > b->sum.share.further ? -1 : 1;
    return ksm_consumer_name_compare(&a->name, &b->name);
}

static int64_t saved_by(const struct ksm_consumer_table *table,
                        const struct ksm_consumer_name *name) {
    if (!table->enabled || !table->valid)
        return -1;
    const struct ksm_consumer *consumer = ksm_consumer_find(table, name);
    return consumer ? consumer->saved : 0;
}

/* Sums up processes by their consumers, and drops those of which nothing was read. */
static void sum_up(const struct memory_scan *s, const struct content_index_share *shares,
                   const struct ksm_consumer_table *table, struct estimate *result) {
    struct estimate_consumer *consumers = result->consumers;

    for (size_t i = 0; i < s->consumer_count; i++)
        consumers[i] =
            (struct estimate_consumer){.name = s->consumers[i].name,
                                       .saved_now = s->consumers[i].all_named && !s->only_pids
                                                        ? saved_by(table, &s->consumers[i].name)
                                                        : -1};
    for (size_t i = 0; s->consumer_count > 0 && i < s->count; i++) {
        const struct memory_scan_process *process = &s->list[i];
        add_sum(&consumers[process->consumer].sum, process->pages, &shares[i]);
        add_sum(&result->sum, process->pages, &shares[i]);
        if (process->pages > 0)
            consumers[process->consumer].processes++;
    }
    for (size_t i = 0; i < s->consumer_count; i++)
        if (consumers[i].sum.pages > 0)
            consumers[result->consumer_count++] = consumers[i];
    qsort(consumers, result->consumer_count, sizeof(*consumers), compare_savings);
}

static int64_t setting(const struct ksm_sample *host, enum ksm_id id, int64_t otherwise) {
    return host->values[id].status == 0 && host->values[id].value > 0 ? host->values[id].value
                                                                      : otherwise;
}

int estimate_finish(struct estimate_engine *e, const struct ksm_sample *host,
                    const struct ksm_consumer_table *table, struct estimate *result) {
    enum { MAX_MAPPINGS = 256 }; /* the kernel's default */
    const struct memory_scan *s = &e->scan;
    struct content_index_share *shares = calloc(s->count + 1, sizeof(*shares));

    *result = (struct estimate){
        .consumers = calloc(s->consumer_count + 1, sizeof(*result->consumers)),
        .counts = s->counts,
        .named = s->options.name_count > 0,
        .knows_huge = e->knows_huge,
        .page_size = s->page_size,
        .pages_per_huge_page = e->contents.pages_per_huge_page,
    };
    if (!shares || !result->consumers) {
        free(shares);
        return -ENOMEM;
    }
    content_index_count(&e->contents, (unsigned)setting(host, KSM_max_page_sharing, MAX_MAPPINGS),
                        setting(host, KSM_use_zero_pages, 0), &result->total, shares);
    result->sampling_shift = e->contents.sampling_shift;
    sum_up(s, shares, table, result);
    free(shares);
    return 0;
}
