/* SPDX-License-Identifier: MIT
 *
 * Reads the files of /sys/kernel/mm/ksm, or of /sys/kernel/mm/uksm if only that exists (the
 * out-of-tree UKSM): one for each metric whose source is KSM.
 */
#ifndef KSM_KSM_DIR_H
#define KSM_KSM_DIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "metrics/metrics.h"
#include "system/pseudofs.h"

struct ksm_dir {
    const char *name;                        /* below root */
    struct pseudofs_file files[KSM_METRICS]; /* read only for KSM_SOURCE_KSM */
};

/* Determines which of the two root has, and opens no file yet. root remains the caller's and must
 * outlive d. Returns 0; -ENOENT if it has neither, which means a kernel without KSM; or another
 * -errno if that cannot be determined. */
int ksm_dir_init(struct ksm_dir *d, const char *root);

/* Returns whether the directory is UKSM's. */
bool ksm_dir_is_uksm(const struct ksm_dir *d);

/* Reads one metric into *value. now: as for pseudofs_read(). */
void ksm_dir_read(struct ksm_dir *d, size_t id, int64_t now, struct ksm_value *value);

/* Closes every file. */
void ksm_dir_close(struct ksm_dir *d);

#endif
