/* SPDX-License-Identifier: MIT */
#include "metrics/reader.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "metrics/derive.h"
#include "system/parse.h"

static const int64_t knobs_ms = 60 * 1000;

int ksm_reader_init(struct ksm_reader *reader, const char *root, bool reads_settings) {
    int status = ksm_dir_init(&reader->directory, root);

    reader->reads_settings = reads_settings;
    reader->knobs_due = INT64_MIN;
    ksm_rates_init(&reader->rates);
    reader->sample.page_size = sysconf(_SC_PAGESIZE);
    for (size_t id = 0; id < KSM_METRICS; id++) {
        reader->sample.values[id] = (struct ksm_value){.status = -ENOENT};
        reader->lines[id] = 0;
    }
    pseudofs_init(&reader->vmstat, root, "proc", "vmstat");
    pseudofs_init(&reader->meminfo, root, "proc", "meminfo");
    ksmd_init(&reader->ksmd, root, ksm_reader_is_uksm(reader) ? "uksmd" : "ksmd",
              &ksm_metrics[KSM_ksmd_cpu]);
    return status;
}

void ksm_reader_describe_error(int status, const char *root, char *message, size_t size) {
    if (status == -ENOENT && pseudofs_trusts_kernel_only())
        snprintf(message, size,
                 "no KSM below %s: sys/kernel/mm/ksm and sys/kernel/mm/uksm are missing or not the "
                 "kernel's own (the kernel requires CONFIG_KSM=y, and /sys must be mounted; a "
                 "program with a file capability reads only procfs and sysfs); nothing is reported",
                 root);
    else if (status == -ENOENT)
        snprintf(message, size,
                 "this kernel has no KSM: %s contains neither sys/kernel/mm/ksm nor "
                 "sys/kernel/mm/uksm (the kernel requires CONFIG_KSM=y, and /sys must be mounted); "
                 "nothing is reported",
                 root);
    else
        snprintf(message, size,
                 "sys/kernel/mm/ksm below %s cannot be opened: %s; nothing is reported", root,
                 strerror(-status));
}

void ksm_reader_close(struct ksm_reader *reader) {
    ksm_dir_close(&reader->directory);
    pseudofs_close(&reader->vmstat);
    pseudofs_close(&reader->meminfo);
    ksmd_close(&reader->ksmd);
}

static bool is_due(const struct ksm_reader *reader, size_t id, int64_t now) {
    const struct ksm_value *advisor = &reader->sample.values[KSM_advisor_mode];

    if (ksm_metrics[id].kind != KSM_KIND_KNOB)
        return true;
    if (!reader->reads_settings)
        return false;
    return now >= reader->knobs_due || pseudofs_is_transient(reader->sample.values[id].status) ||
           (id == KSM_pages_to_scan && advisor->status == 0 && advisor->value != 0);
}

static void read_directory(struct ksm_reader *reader, int64_t now) {
    for (size_t id = 0; id < KSM_METRICS; id++) {
        if (ksm_metrics[id].source != KSM_SOURCE_KSM || !is_due(reader, id, now))
            continue;
        ksm_dir_read(&reader->directory, id, now, &reader->sample.values[id]);
    }
    if (now >= reader->knobs_due)
        reader->knobs_due = now + knobs_ms;
}

bool ksm_reader_is_uksm(const struct ksm_reader *reader) {
    return ksm_dir_is_uksm(&reader->directory);
}

/* Only UKSM's patch adds the field KsmZeroPages to meminfo. */
static bool is_field_of(const struct ksm_reader *reader, size_t id, enum ksm_source source) {
    return ksm_metrics[id].source == source && (id != KSM_uksm_zero || ksm_reader_is_uksm(reader));
}

/* Finds the field of a metric. Tries its last offset first, because lines seldom change their
 * length. */
static int find_field(struct ksm_reader *reader, size_t id, size_t n, const char **field,
                      size_t *len) {
    const char *key = ksm_metrics[id].key;
    size_t *line = &reader->lines[id];

    if (*line < n && reader->buf[*line] == '\n' &&
        parse_field(reader->buf + *line, n - *line, key, field, len) == 0)
        return 0;
    int status = parse_field(reader->buf, n, key, field, len);
    size_t begin = status == 0 ? (size_t)(*field - reader->buf) - strlen(key) - 1 : 0;
    *line = begin > 0 ? begin - 1 : 0;
    return status;
}

static void read_fields(struct ksm_reader *reader, struct pseudofs_file *file,
                        enum ksm_source source, int64_t now) {
    ssize_t n = pseudofs_read(file, now, PSEUDOFS_ALL, reader->buf, sizeof(reader->buf));

    for (size_t id = 0; id < KSM_METRICS; id++) {
        struct ksm_value *value = &reader->sample.values[id];
        const char *field = NULL;
        size_t len = 0;

        if (!is_field_of(reader, id, source))
            continue;
        if (n > 0)
            value->status = find_field(reader, id, (size_t)n, &field, &len);
        else
            value->status = n == 0 ? -ENODATA : (int)n;
        if (value->status == 0)
            value->status = ksm_metrics[id].parse(field, len, &value->value);
    }
}

/* UKSM reports its zero pages in meminfo, in kB, and has no file ksm_zero_pages. */
static void set_zero_of_uksm(struct ksm_reader *reader) {
    struct ksm_sample *s = &reader->sample;
    const struct ksm_value *kilobytes = &s->values[KSM_uksm_zero];

    if (s->values[KSM_zero].status != -ENOENT)
        return;
    s->values[KSM_zero].status = kilobytes->status;
    s->values[KSM_zero].value = kilobytes->value / (s->page_size / 1024);
}

int ksm_reader_tick(struct ksm_reader *reader, int64_t now) {
    struct ksm_sample *s = &reader->sample;
    int first = -ENOENT;

    read_directory(reader, now);
    /* Do not relate a container's meminfo (lxcfs) to the host's savings. A kept descriptor means
     * that the directory is on sysfs and not in a tree of test files. It can be lost (EMFILE). */
    if (reader->directory.files[KSM_sharing].fd >= 0)
        reader->meminfo.require_same_fs = true;
    read_fields(reader, &reader->vmstat, KSM_SOURCE_VMSTAT, now);
    read_fields(reader, &reader->meminfo, KSM_SOURCE_MEMINFO, now);
    s->values[KSM_ksmd_cpu].status = ksmd_cpu(&reader->ksmd, now, &s->values[KSM_ksmd_cpu].value);
    set_zero_of_uksm(reader);
    ksm_derive(s);
    ksm_rates_update(&reader->rates, s, now);
    for (size_t id = 0; id < KSM_METRICS; id++) {
        if (ksm_metrics[id].kind == KSM_KIND_INPUT)
            continue;
        if (s->values[id].status == 0)
            return 0;
        if (first == -ENOENT)
            first = s->values[id].status;
    }
    return first;
}

static const struct pseudofs_file *file_of(const struct ksm_reader *reader, size_t id) {
    switch (ksm_metrics[id].source) {
    case KSM_SOURCE_KSM:
        if (id == KSM_zero && ksm_reader_is_uksm(reader))
            break; /* computed from the field KSM_uksm_zero */
        return &reader->directory.files[id];
    case KSM_SOURCE_VMSTAT:
        return &reader->vmstat;
    case KSM_SOURCE_MEMINFO:
        return &reader->meminfo;
    case KSM_SOURCE_KSMD:
        return &reader->ksmd.file;
    case KSM_SOURCE_DERIVED:
        break;
    }
    return NULL;
}

int ksm_reader_source(const struct ksm_reader *reader, size_t id, char *text, size_t size) {
    const struct pseudofs_file proc = {.root = reader->ksmd.root, .dir = "proc", .name = ""};
    const struct pseudofs_file *file = file_of(reader, id);
    bool is_field = file == &reader->vmstat || file == &reader->meminfo;

    if (!file)
        return -ENOENT;
    if (file == &reader->ksmd.file && !*file->dir)
        file = &proc; /* where ksmd was not found */
    int status = pseudofs_path(file, text, size);
    if (status != 0 || !is_field)
        return status;
    size_t len = strlen(text);
    const char *key = ksm_metrics[id].key;
    int more = snprintf(text + len, size - len, ", %.*s", (int)strcspn(key, ":"), key);
    return more < 0 || (size_t)more >= size - len ? -ENAMETOOLONG : 0;
}
