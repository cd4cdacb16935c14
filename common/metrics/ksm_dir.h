/* SPDX-License-Identifier: MIT
 *
 * The kernel's directory of KSM, /sys/kernel/mm/ksm, or /sys/kernel/mm/uksm in its
 * place (UKSM, out of tree): the metrics of metrics.def whose source is KSM, a file each.
 */
#ifndef KSM_KSM_DIR_H
#define KSM_KSM_DIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "metrics/metrics.h"
#include "system/pseudofs.h"

struct ksm_dir {
    const char *name; /* below root */
    struct pseudofs_file files[KSM_METRICS];
};

/* Looks which of the two there is below root, which stays the caller's and must live as long. Opens
 * no file yet. Returns 0; -ENOENT if there is neither: no KSM in that kernel; or -errno if that
 * is not known. */
int ksm_dir_init(struct ksm_dir *d, const char *root);

/* Whether it is UKSM's, which has no settings of KSM's and scans all memory. */
bool ksm_dir_is_uksm(const struct ksm_dir *d);

/* Reads one metric. now as in pseudofs_read(). */
void ksm_dir_read(struct ksm_dir *d, size_t id, int64_t now, struct ksm_value *at);

/* Closes every file. */
void ksm_dir_close(struct ksm_dir *d);

#endif
