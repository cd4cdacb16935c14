/* SPDX-License-Identifier: MIT
 *
 * Counts equal pages in memory of a fixed size: how many would KSM save?
 *
 * content_index_init(); content_index_add() for each page that is read;
 * content_index_end_first_pass() and content_index_mark_changed() for a second pass;
 * content_index_count(); content_index_free(). Pure: no clock, no files. The index owns its memory
 * alone. Processes are numbers of the caller's choice.
 *
 * Each page is a record of 16 bytes: a key, which is a hash of its content, and its place. Any key
 * whose low bits are well mixed will do. "Content" means all pages of one key.
 *
 * When the records are full, half of all contents are dropped, and again: each recorded one then
 * stands for 2^sampling_shift contents. Contents with more than 1/1024 of the records are frequent:
 * all their pages are counted, and only some of their places recorded. So the result is an
 * estimate, with an error of two standard deviations. The end of this file describes the estimator.
 */
#ifndef KSM_CONTENT_INDEX_H
#define KSM_CONTENT_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct content_index_record {
    uint64_t key;
    uint64_t place;
};

/* Make the place of a page that is mapped once, or many times. page: the virtual address in pages,
 * below CONTENT_INDEX_PAGES. frame: its frame number, by which a page counts once however often it
 * is mapped; 0: not known, then all pages of one content that are mapped many times count as one.
 * huge: part of a huge page. */
enum { CONTENT_INDEX_PROCESSES = 1 << 21 };
#define CONTENT_INDEX_PAGES (UINT64_C(1) << 40)
uint64_t content_index_place_once(uint32_t process, uint64_t page, bool huge);
uint64_t content_index_place_many(uint32_t process, uint64_t frame, uint64_t page);

uint32_t content_index_process(uint64_t place);
uint64_t content_index_page(uint64_t place); /* if it is mapped once */

enum { CONTENT_INDEX_FREQUENT = 1024, CONTENT_INDEX_SLOTS = 2 * CONTENT_INDEX_FREQUENT };

/* A frequent content, and its pages so far. */
struct content_index_frequent {
    uint64_t key;
    uint64_t once;           /* pages that are mapped once */
    uint64_t mapped;         /* mappings of pages that are mapped many times */
    unsigned weight_shift;   /* it stands for 2^weight_shift contents */
    unsigned sampling_shift; /* 1 of 2^sampling_shift places is recorded */
    bool used;
    bool has_records; /* set by content_index_count() */
};

struct content_index {
    struct content_index_record *records;
    size_t count;
    size_t size;
    unsigned sampling_shift; /* 1 of 2^sampling_shift contents is recorded */
    size_t pages_per_huge_page;
    struct content_index_frequent frequent[CONTENT_INDEX_SLOTS]; /* by key, open addressing */
    size_t frequents;
    size_t max_frequents; /* 0 turns frequent contents off; set it after content_index_init() */
    uint64_t zeros;       /* the key of a page of zeros */
    bool first_pass_ended;
};

/* Pages; with a sampling_shift above 0 an estimate. */
struct content_index_share {
    double further;  /* would be freed, in addition to what merging frees now */
    double zeros;    /* of these, pages of zeros */
    double changing; /* had an equal one when first read, and another content later */
};

struct content_index_total {
    struct content_index_share all;
    double error;  /* of further: two standard deviations; 0 if everything was recorded */
    double huge;   /* of further: in huge pages */
    double splits; /* huge pages with a page of further; with sampled: at least */
    bool sampled;  /* not all pages were recorded */
};

/* Takes memory of so many bytes (at least 64 kB) for records; it is used only as they come. zeros:
 * the key of a page of zeros. Returns 0 or -ENOMEM. */
int content_index_init(struct content_index *c, size_t bytes, uint64_t zeros,
                       size_t pages_per_huge_page);

/* Adds a page. */
void content_index_add(struct content_index *c, uint64_t key, uint64_t place);

/* Ends the first pass: drops pages that have no equal one, and orders records by their place: first
 * those of pages that are mapped once, by process and page. Returns how many of those there are:
 * they are worth a second pass. content_index_mark_changed() marks one of them whose content is no
 * longer the same, or that is gone. */
size_t content_index_end_first_pass(struct content_index *c);
void content_index_mark_changed(struct content_index *c, size_t i);

/* Counts what KSM would save. max_mappings: how many one merged page may have (max_page_sharing).
 * free_zeros: whether pages of zeros need no merged page at all (use_zero_pages). Adds each
 * process's share to processes[], which must hold all numbers given; these add up to the total, but
 * for a frequent content of which no place is recorded. Call it once, at the end; before
 * content_index_end_first_pass() if the first pass was not finished. */
void content_index_count(struct content_index *c, unsigned max_mappings, bool free_zeros,
                         struct content_index_total *total, struct content_index_share *processes);

/* For callers that count by themselves. Sorts the records by key, then by place. Returns how many
 * records from record i on have its key, once they are sorted. */
void content_index_sort(struct content_index *c);
size_t content_index_count_equal(const struct content_index *c, size_t i);

void content_index_free(struct content_index *c);

/* The estimator
 *
 * Sampling by content. With a sampling_shift of k, those contents are recorded whose keys have k
 * low bits that are 0. Such a content is recorded with all its pages, so its saving y is known
 * exactly; a sample of places would tear pairs apart. Each content is in the subset with a
 * probability of 2^-k, so each one that is stands for 2^k (its weight w), and
 *
 *     total = Σ w y,    its variance is estimated as Σ w (w - 1) y²,
 *
 * sums over the subset. This is the estimator of Horvitz and Thompson (Journal of the American
 * Statistical Association 47, 1952) for a sample that is taken as in Flajolet, On adaptive sampling
 * (Computing 43, 1990). It is unbiased, whatever the contents are. The variance is known from the
 * subset alone: if few contents have many pages, and none of those is in it, the error is too
 * small.
 *
 * Why frequent contents are apart. A content with very many pages would make such a subset
 * worthless: it is in the subset with all its pages or not at all, and y² dominates the variance.
 * So a content that has more than 1/1024 of the records is frequent from then on: all its pages are
 * counted, whether they are recorded or not. It is found in the subset of that time, and stands for
 * the 2^k contents of that k for good. Pages of zeros are frequent from the beginning, with k = 0.
 *
 * What a frequent content's places are for. Two numbers are not counted: how many of its pages
 * change, and how many pages its mappings of pages that are mapped many times have. Both are
 * estimated from its records, of which a subset by place is kept, with a sampling_shift of its own.
 * While frequent contents fill half of the records, those with 1/4096 of them or more are halved;
 * so each of them keeps some. Of the content's pages and records,
 *
 *     N    pages that are mapped once
 *     n    of N: recorded
 *     c    of n: changed
 *     M    mappings of pages that are mapped many times
 *     m    of M: recorded
 *     f    frames that these m map
 *     m_j  of m: mappings of frame j
 *
 *     changed = N c / n,    variance N² p (1 - p) / n (1 - n / N) with p = (c + 1) / (n + 2)
 *     frames F = M f / m,   variance F² (1 - f / F) / f × Σ (1 - m_j f / m)² / (f - 1)
 *
 * p is not c / n (Laplace's rule of succession), because 0 of 16 does not prove that none changes.
 * These are a proportion and a ratio estimate (Cochran, Sampling Techniques, 1977, chapters 3 and
 * 6). With v as the sum of both variances the content adds w (w - 1) y² + w v to that of the total,
 * as in any sample of two stages (chapter 11). */

#endif
