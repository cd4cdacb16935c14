/* SPDX-License-Identifier: MIT
 *
 * The kernel's directory of KSM, /sys/kernel/mm/ksm, or /sys/kernel/mm/uksm in its
 * place (UKSM, out of tree): the figures of figures.def whose source is KSM, a file each.
 */
#ifndef KSM_DIRECTORY_H
#define KSM_DIRECTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "figures.h"
#include "pseudofs.h"

struct ksm_directory {
    const char *name; /* below root */
    struct pseudofs_file files[KSM_FIGURES];
};

/* Looks which of the two there is below root, which stays the caller's and must live as long. Opens
 * no file yet. Returns 0; -ENOENT if there is neither: no KSM in that kernel; or -errno if that
 * is not known. */
int ksm_directory_init(struct ksm_directory *d, const char *root);

/* Whether it is UKSM's, which has no settings of KSM's and scans all memory. */
bool ksm_directory_is_uksm(const struct ksm_directory *d);

/* Reads one figure. now as in pseudofs_read(). */
void ksm_directory_read(struct ksm_directory *d, size_t id, int64_t now, struct ksm_value *at);

/* Closes every file. */
void ksm_directory_close(struct ksm_directory *d);

#endif
