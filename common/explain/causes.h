/* SPDX-License-Identifier: MIT
 *
 * Why a large process merges little: a function of what is known of the process and of the host
 * (explain.h). The words are the CAUSE rows of explain.def, in order of precedence. No I/O.
 *
 * The kernel's facts (mm/ksm.c): KSM scans only anonymous memory that was offered to it, and never
 * a mapping that is shared, hugetlb or a device's (vma_ksm_compatible). A page that a device holds
 * is passed over (write_protect_page compares its references with its mappings). mlock() is no
 * obstacle, and huge pages are none: KSM splits those in which it finds equal pages
 * (try_to_merge_one_page). Both were measured on Linux 6.18.
 */
#ifndef KSM_CAUSES_H
#define KSM_CAUSES_H

#include <stdbool.h>
#include <stdint.h>

#include "consumers/consumer_name.h"
#include "explain/explain.h"

/* What runs in it, as far as the advice differs. Known by comm, which anybody may choose. */
enum explain_program {
    EXPLAIN_OTHER,
    EXPLAIN_QEMU,
    EXPLAIN_CLOUD_HYPERVISOR,
    EXPLAIN_FIRECRACKER,
};

/* All that is known of one process. -1 is not known, of every count. */
struct explain_process {
    int pid;
    struct ksm_consumer_name name; /* of its consumer */
    char comm[KSM_CONSUMER_NAME_SIZE];
    enum explain_program program;
    bool waits;  /* it keeps its readers waiting */
    bool denied; /* its mappings may not be read: all that comes from them is -1 */

    /* Bytes. */
    int64_t memory;    /* of its own: the next four, and merged pages of zeros */
    int64_t anonymous; /* of these merged pages are part */
    int64_t shared;    /* shmem: memfd, /dev/shm, MAP_SHARED */
    int64_t hugetlb;
    int64_t device;    /* RAM that a driver has mapped (smaps, or maps and pagemap) */
    int64_t mergeable; /* anonymous memory on offer (smaps; -1 where that is not read: suspect.h) */
    int64_t huge;      /* anonymous memory in huge pages (smaps or pagemap) */
    int64_t pinned;    /* for a device or io_uring: VmPin, and VmLck beyond what is locked */

    /* Pages. */
    int64_t merging; /* and zero: merged */
    int64_t zero;
    int64_t rmap_items; /* that ksmd has met */

    int64_t opted_in; /* 1 or 0: ksm_mergeable of ksm_stat */
    int64_t age;      /* ms since its start */
    int64_t changed;  /* percent of some pages that changed within a second */
};

enum { EXPLAIN_PROCESSES = 5 };

/* The largest processes that merge little; the largest first. */
struct explain_processes {
    struct explain_process list[EXPLAIN_PROCESSES];
    int count;
};

/* EXPLAIN_CAUSE_waits …: in order of precedence. */
enum explain_cause {
#define CAUSE(id, sentence, advice) EXPLAIN_CAUSE_##id,
#include "explain/explain.def"
    EXPLAIN_CAUSES
};

struct explain_cause_words {
    const char *name;
    const char *sentence;
    const char *advice; /* both with {words}, as of a verdict */
};
extern const struct explain_cause_words explain_cause_words[EXPLAIN_CAUSES];

/* Returns whether less than a tenth of its memory is merged. False if that is not known, unless the
 * process blocks its readers. */
bool explain_merges_little(const struct explain_process *process, int64_t page_size);

/* The first cause that holds; the last row always does. */
enum explain_cause explain_cause_of(const struct explain_facts *facts,
                                    const struct explain_process *process);

/* How long a full scan takes at ksmd's present pace, ms: of the pages that KSM tracks, and those
 * that it has yet to meet in the processes of facts. -1: not known, as during the first full scan,
 * in which it meets ever more. */
int64_t explain_pass_ms(const struct explain_facts *facts);

/* Pages a second that ksmd can scan with its pauses alone; 0: not known. */
int64_t explain_max_pace(const struct explain_facts *facts);

#endif
