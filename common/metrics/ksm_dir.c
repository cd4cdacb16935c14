/* SPDX-License-Identifier: MIT */
#include "metrics/ksm_dir.h"

#include <dirent.h>
#include <errno.h>

enum { SYSFS_SIZE = 4096 + 1 }; /* a sysfs attribute is at most one page */

static const char ksm[] = "sys/kernel/mm/ksm";
static const char uksm[] = "sys/kernel/mm/uksm";

static int find_directory(const char *root, const char *name) {
    DIR *dir = NULL;
    int status = pseudofs_opendir(root, name, &dir);

    if (status == 0)
        closedir(dir);
    return status;
}

int ksm_dir_init(struct ksm_dir *d, const char *root) {
    int status = find_directory(root, ksm);

    d->name = ksm;
    if (status == -ENOENT) {
        status = find_directory(root, uksm);
        if (status != -ENOENT)
            d->name = uksm;
    }
    for (size_t id = 0; id < KSM_METRICS; id++)
        pseudofs_init(&d->files[id], root, d->name, ksm_metrics[id].key);
    /* After a transient error each read tries again. */
    return pseudofs_is_transient(status) ? 0 : status;
}

bool ksm_dir_is_uksm(const struct ksm_dir *d) {
    return d->name == uksm;
}

void ksm_dir_read(struct ksm_dir *d, size_t id, int64_t now, struct ksm_value *value) {
    char buf[SYSFS_SIZE];
    ssize_t n = pseudofs_read(&d->files[id], now, PSEUDOFS_LINE, buf, sizeof(buf));

    value->status = n < 0 ? (int)n : ksm_metrics[id].parse(buf, (size_t)n, &value->value);
}

void ksm_dir_close(struct ksm_dir *d) {
    for (size_t id = 0; id < KSM_METRICS; id++)
        pseudofs_close(&d->files[id]);
}
