/* SPDX-License-Identifier: MIT
 *
 * Makes the /proc and /sys of a host from the table of metrics. Every metric that is read has a
 * different value in its file or field, so that mistaken ones are found. New metrics are included.
 */
#ifndef KSM_TESTS_HOST_H
#define KSM_TESTS_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "metrics/metrics.h"

/* Makes the host's /proc and /sys below dir, without the files that only UKSM has. */
void host_make(const char *dir);

/* Makes proc/PID of a kernel thread below dir, with the files that the search for ksmd reads. */
void host_thread(const char *dir, int pid, const char *name, int parent);

/* Returns whether this host has a metric that is read; its value. */
bool host_has(size_t id);
int64_t host_value(size_t id);

/* Sets the first sample of this host, with derived metrics and rates. */
void host_sample(struct ksm_sample *sample);

/* Parses and modifies word: name=number, in MiB if an M follows, or name!ERROR. Returns the id of
 * the metric, or KSM_METRICS if there is no such metric. */
size_t host_word(char *word, struct ksm_value *value);

/* Returns the path of the file of a metric, below dir. */
const char *host_path(size_t id);

/* Writes text as the file or field of a metric; with text NULL, its value. Other fields of the file
 * get their values. An empty directory in its place is removed. */
void host_write(const char *dir, size_t id, const char *text, size_t len);

/* The same with a number, in the format of the kernel. */
void host_set(const char *dir, size_t id, int64_t value);

/* Removes the file, or the field. */
void host_remove(const char *dir, size_t id);

#endif
