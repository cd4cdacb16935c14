/* SPDX-License-Identifier: MIT
 *
 * A host made up from the table of metrics: each metric that is read has a value of its own in a
 * file or field of its own, so that none is taken for another. Newly added metrics are in it too.
 */
#ifndef KSM_TESTS_HOST_H
#define KSM_TESTS_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "metrics/metrics.h"

/* Makes the host's /proc and /sys below dir. What only UKSM has is not there. */
void host_make(const char *dir);

/* Makes proc/PID of a kernel thread below dir: what is read to find ksmd, and no stat. */
void host_thread(const char *dir, int pid, const char *name, int parent);

/* Whether a metric is read from this host, and what its file or field says. */
bool host_has(size_t id);
int64_t host_value(size_t id);

/* The sample that this host gives at first, derived metrics and all. */
void host_sample(struct ksm_sample *sample);

/* A metric by a word, which is used up: name=number, in MiB with an M behind it, or name!ERROR.
 * Returns its id, KSM_METRICS if there is none of that name. */
size_t host_word(char *word, struct ksm_value *value);

/* The file a metric is read from, below dir. */
const char *host_path(size_t id);

/* Writes the file of a metric anew: with text in the place of what it says, or if text is NULL as
 * it was; fields of one file keep their neighbours. A directory in its place is removed. */
void host_write(const char *dir, size_t id, const char *text, size_t len);

/* The same with another number, as the kernel writes it there. */
void host_set(const char *dir, size_t id, int64_t value);

/* Removes the file, or the field. */
void host_remove(const char *dir, size_t id);

#endif
