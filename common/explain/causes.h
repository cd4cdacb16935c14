/* SPDX-License-Identifier: MIT
 *
 * Why a large process merges little: a function of the facts about the process and the host
 * (explain.h). The causes are the CAUSE rows of explain.def, in order of precedence. No I/O.
 *
 * Of the kernel (mm/ksm.c): KSM scans only anonymous memory that was made mergeable, and never a
 * mapping that is shared, hugetlb or a device's (vma_ksm_compatible). It skips a page that a device
 * holds (write_protect_page compares its references with its mappings). mlock() is no obstacle, and
 * neither are huge pages: KSM splits those in which it finds equal pages (try_to_merge_one_page).
 * Both were measured on Linux 6.18.
 */
#ifndef KSM_CAUSES_H
#define KSM_CAUSES_H

#include <stdbool.h>
#include <stdint.h>

#include "consumers/consumer_name.h"
#include "explain/explain.h"

/* Programs with advice of their own, recognized by comm, which any process can choose. Dragonball
 * runs in Kata Containers' shim. */
enum explain_program {
    EXPLAIN_OTHER,
    EXPLAIN_QEMU,
    EXPLAIN_CLOUD_HYPERVISOR,
    EXPLAIN_FIRECRACKER,
    EXPLAIN_CROSVM,
    EXPLAIN_DRAGONBALL,
};

/* What is known of one process. A count that is not known is -1. */
struct explain_process {
    int pid;
    struct ksm_consumer_name name; /* of the consumer that the process belongs to */
    char comm[KSM_CONSUMER_NAME_SIZE];
    enum explain_program program;
    bool blocks; /* reading its /proc files blocks */
    bool denied; /* its mappings may not be read: all counts that come from them are -1 */

    /* Bytes. */
    int64_t memory;    /* anonymous + shmem + hugetlb + device + merged pages of zeros */
    int64_t anonymous; /* includes merged pages */
    int64_t shmem;     /* memfd, /dev/shm, MAP_SHARED */
    int64_t file;      /* mapped files; not part of memory */
    int64_t hugetlb;
    int64_t device;    /* RAM that a driver has mapped (smaps, or maps and pagemap) */
    int64_t mergeable; /* anonymous memory that is mergeable (smaps; see suspect.h) */
    int64_t huge;      /* anonymous memory in huge pages (smaps or pagemap) */
    int64_t pinned;    /* for a device or io_uring: VmPin, and VmLck beyond what mlock() locked */

    /* Pages. */
    int64_t merging;    /* ksm_merging_pages */
    int64_t zero;       /* merged pages of zeros, which merging does not include */
    int64_t rmap_items; /* tracked pages */

    int64_t opted_in; /* 1 or 0: ksm_mergeable of ksm_stat */
    int64_t age;      /* ms since its start */
    int64_t changed;  /* percent of the pages that were read twice and changed within a second */
};

enum { EXPLAIN_PROCESSES = 5 };

/* A program that switches KSM off and on, and so undoes a change of run by hand. */
enum explain_manager { EXPLAIN_NO_MANAGER, EXPLAIN_KSMTUNED, EXPLAIN_KUBEVIRT, EXPLAIN_OVIRT };

/* The largest processes that merge little; the largest first. */
struct explain_processes {
    struct explain_process list[EXPLAIN_PROCESSES];
    int count;
    enum explain_manager manager;
};

/* EXPLAIN_CAUSE_blocking ...: in order of precedence. */
enum explain_cause {
#define CAUSE(id, sentence, advice) EXPLAIN_CAUSE_##id,
#include "explain/explain.def"
    EXPLAIN_CAUSES
};

/* Texts of a cause, with placeholders (explain_expand). */
struct explain_cause_texts {
    const char *name;
    const char *sentence;
    const char *advice;
};
extern const struct explain_cause_texts explain_cause_texts[EXPLAIN_CAUSES];

/* Returns its merged pages, those of zeros included as far as they are known; merging must be. */
int64_t explain_merged_pages(const struct explain_process *process);

/* Returns whether less than a tenth of its memory is merged. If that is not known, returns whether
 * reading the process blocks. */
bool explain_merges_little(const struct explain_process *process, int64_t page_size);

/* Returns the first cause that holds; the last one always does. */
enum explain_cause explain_cause_of(const struct explain_facts *facts,
                                    const struct explain_process *process);

/* Returns the time of a full scan at the present scan rate, in ms. It includes the pages in the
 * processes of facts that KSM does not track yet. Returns -1 if that is not known, as during the
 * first full scan, in which the number of tracked pages grows. */
int64_t explain_full_scan_ms(const struct explain_facts *facts);

/* Returns the scan rate, in pages per second, that ksmd would have if only its sleeps took time; 0
 * if not known. */
int64_t explain_max_scan_rate(const struct explain_facts *facts);

#endif
