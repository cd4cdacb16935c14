/* SPDX-License-Identifier: MIT
 *
 * Reads the host's KSM metrics: every source of metrics.def, once a tick.
 *
 * Call ksm_reader_init() once, ksm_reader_tick() at every tick, ksm_reader_close() at the end. The
 * result is reader->sample. A tick with all files open neither opens a file nor allocates memory,
 * and never waits for another process.
 *
 * Settings (KNOB rows) are read once a minute and keep their value in between; pages_to_scan is
 * read at every tick while the kernel's advisor changes it. A metric that cannot be read is absent:
 * its earlier value is dropped. If sysfs is the kernel's own but proc/meminfo is not (lxcfs mounts
 * its own file over it), the fields of meminfo have the status -EXDEV.
 */
#ifndef KSM_READER_H
#define KSM_READER_H

#include <stdbool.h>
#include <stdint.h>

#include "metrics/ksm_dir.h"
#include "metrics/ksmd.h"
#include "metrics/metrics.h"
#include "metrics/rates.h"
#include "system/pseudofs.h"

/* Make it static: it is 70 kB. */
struct ksm_reader {
    struct ksm_sample sample; /* result of the last tick, with the derived metrics and rates */

    bool reads_settings;
    int64_t knobs_due;
    struct ksm_dir directory;
    struct pseudofs_file vmstat;
    struct pseudofs_file meminfo;
    size_t lines[KSM_METRICS]; /* for a field: offset of the newline before it at the last read */
    struct ksmd ksmd;
    struct ksm_rates rates;
    char buf[64 * 1024]; /* ten times the size of vmstat */
};

/* Prepares reading below root ("/" for this host) and opens no file yet. root remains the caller's
 * and must outlive the reader. reads_settings: whether settings are read at all.
 * Returns 0; -ENOENT if root has neither sys/kernel/mm/ksm nor sys/kernel/mm/uksm (the out-of-tree
 * UKSM), which means a kernel without KSM; or another -errno if that cannot be determined. */
int ksm_reader_init(struct ksm_reader *reader, const char *root, bool reads_settings);

/* Writes one line that explains a failure of ksm_reader_init(). */
void ksm_reader_describe_error(int status, const char *root, char *message, size_t size);

/* Reads every metric that is due into reader->sample, then computes derived metrics and rates. now:
 * CLOCK_MONOTONIC, ms.
 * Returns 0 if at least one metric that is sent has a value; else the first -errno other than
 * -ENOENT of those, or -ENOENT if this kernel has none of them. */
int ksm_reader_tick(struct ksm_reader *reader, int64_t now);

/* Returns whether this kernel has UKSM in place of KSM. UKSM scans all memory and has settings of
 * its own. */
bool ksm_reader_is_uksm(const struct ksm_reader *reader);

/* Writes the source of a metric for messages: the path of its file and, for a field, its name.
 * Returns 0, -ENOENT for a computed metric, or -ENAMETOOLONG. */
int ksm_reader_source(const struct ksm_reader *reader, size_t id, char *text, size_t size);

/* Closes every file. */
void ksm_reader_close(struct ksm_reader *reader);

#endif
