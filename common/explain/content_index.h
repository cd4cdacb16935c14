/* SPDX-License-Identifier: MIT
 *
 * Counting pages by their content, in memory of a fixed size: what would KSM save?
 *
 * Every page is a record of 16 bytes: the hash of its content, and its place. When the array is
 * full, half of all *contents* are dropped: kept are hashes whose low bits are 0. The pages of a
 * content that is kept are all counted, so no pair is torn apart, as a sample of places would do.
 *
 * A content with very many pages would make such a sample worthless: it is in it with all its pages
 * or with none. So contents that fill more than 1/1024 of the array are counted apart from then on
 * (frequent), exactly, and pages of zeros from the beginning. Of their places a sample is kept, to
 * share the saving out among processes.
 *
 * Pure: no clock, no files. Processes are numbers of the caller's choice.
 */
#ifndef KSM_CONTENT_INDEX_H
#define KSM_CONTENT_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct content_index_record {
    uint64_t hash;
    uint64_t place;
};

/* Places. page: the virtual address in pages. A page that is mapped more than once is known by its
 * frame number instead, so that it counts once; 0: not known, then all shared pages of one content
 * count as one. huge: part of a huge page. */
enum { CONTENT_INDEX_PROCESSES = 1 << 21 };
uint64_t content_index_own(uint32_t process, uint64_t page, bool huge);
uint64_t content_index_shared(uint32_t process, uint64_t frame);

/* Of a place that is a process's own. */
uint32_t content_index_process(uint64_t place);
uint64_t content_index_page(uint64_t place);

enum { CONTENT_INDEX_FREQUENT = 1024, CONTENT_INDEX_SLOTS = 2 * CONTENT_INDEX_FREQUENT };

/* Pages of a frequent content so far. */
struct content_index_frequent {
    uint64_t hash;
    uint64_t own;    /* mapped by one process alone */
    uint64_t shared; /* mappings of others */
    unsigned bits;   /* it stands for 2^bits contents: of the sample at the time it was found */
    bool used;
};

struct content_index {
    struct content_index_record *records;
    size_t count;
    size_t size;
    unsigned bits;                                               /* 1 of 2^bits contents is kept */
    size_t huge_pages;                                           /* the pages of one huge page */
    struct content_index_frequent frequent[CONTENT_INDEX_SLOTS]; /* by hash, open addressing */
    size_t frequents;
    uint64_t zeros; /* their hash */
    bool settled;
};

/* Pages; of what was sampled an estimate. */
struct content_index_share {
    double further;  /* would be freed */
    double zeros;    /* of these, pages of zeros */
    double changing; /* had an equal one when first read, and another content later */
};

struct content_index_total {
    struct content_index_share all;
    double error;  /* of further: two standard deviations; 0 if everything was counted */
    double huge;   /* of further: in huge pages, */
    double splits; /* and how many huge pages those are; where bits > 0 at least */
};

/* Takes memory of so many bytes (at least 64 kB) for records; it is used only as they come. zeros:
 * the hash of a page of zeros. Returns 0 or -ENOMEM. */
int content_index_init(struct content_index *c, size_t bytes, uint64_t zeros, size_t huge_pages);

/* Adds a page: its hash must be well mixed in all bits. */
void content_index_add(struct content_index *c, uint64_t hash, uint64_t place);

/* Ends the first reading: drops what has no equal, and orders records by their place: first those
 * of processes' own pages, by process and page. Returns how many of those there are: they are
 * worth a second reading. content_index_change() marks one of them whose content is no longer the
 * same, or that is gone. */
size_t content_index_settle(struct content_index *c);
void content_index_change(struct content_index *c, size_t i);

/* What KSM would save. most: the mappings that one merged page may have (max_page_sharing); free
 * zeros: whether pages of zeros need no merged page at all (use_zero_pages). Adds each process's
 * part to processes[], which must hold all numbers given. Call it once, at the end; before
 * content_index_settle() if the first reading was not finished. */
void content_index_count(struct content_index *c, unsigned most, bool free_zeros,
                         struct content_index_total *total, struct content_index_share *processes);

void content_index_free(struct content_index *c);

#endif
