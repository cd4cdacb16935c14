/* SPDX-License-Identifier: MIT */
#include "host.h"

#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "metrics/derive.h"
#include "metrics/rates.h"
#include "system/parse.h"
#include "tree.h"

enum { KSMD_PID = 37 };

bool host_has(size_t id) {
    return ksm_metrics[id].parse && strcmp(ksm_metrics[id].since, "UKSM") != 0;
}

int64_t host_value(size_t id) {
    if (ksm_metrics[id].parse == parse_run)
        return 1;
    if (ksm_metrics[id].parse == parse_advisor)
        return 0;
    return 1000 + (int64_t)id;
}

static const char *text_of(size_t id, int64_t value) {
    static char text[64];

    if (ksm_metrics[id].parse == parse_advisor)
        return value == 0 ? "[none] scan-time\n" : "none [scan-time]\n";
    if (ksm_metrics[id].parse == parse_kilobytes)
        snprintf(text, sizeof(text), "       %" PRId64 " kB", value);
    else if (ksm_metrics[id].parse == parse_schedstat)
        snprintf(text, sizeof(text), "%" PRId64 " 5 7\n", value);
    else if (ksm_metrics[id].source == KSM_SOURCE_VMSTAT)
        snprintf(text, sizeof(text), "%" PRId64, value);
    else
        snprintf(text, sizeof(text), "%" PRId64 "\n", value);
    return text;
}

void host_sample(struct ksm_sample *sample) {
    struct ksm_rates rates;

    sample->page_size = sysconf(_SC_PAGESIZE);
    for (size_t id = 0; id < KSM_METRICS; id++)
        sample->values[id] = (struct ksm_value){host_value(id), host_has(id) ? 0 : -ENOENT};
    ksm_derive(sample);
    ksm_rates_init(&rates);
    ksm_rates_update(&rates, sample, 0);
}

static int error_of(const char *name) {
    for (int error = 1; error < 200; error++) /* not every number is an error */
        if (strerrorname_np(error) && strcmp(strerrorname_np(error), name) == 0)
            return -error;
    errx(2, "%s: no such error", name);
}

size_t host_word(char *word, struct ksm_value *value) {
    enum { KILOBYTES = 1024, BYTES = 1024 * 1024, PAGES = 256 };
    char *to = word + strcspn(word, "=!"), *end = NULL;
    const bool is_error = *to == '!';
    size_t id = 0;

    *to++ = '\0';
    while (id < KSM_METRICS && strcmp(ksm_metrics[id].name, word) != 0)
        id++;
    *value = (struct ksm_value){strtoll(to, &end, 10), is_error ? error_of(to) : 0};
    if (*end == 'M' && id < KSM_METRICS)
        value->value *= ksm_metrics[id].source == KSM_SOURCE_MEMINFO ? KILOBYTES
                        : ksm_metrics[id].unit == KSM_UNIT_PAGES     ? PAGES
                                                                     : BYTES;
    return id;
}

const char *host_path(size_t id) {
    static char path[PATH_MAX];

    switch (ksm_metrics[id].source) {
    case KSM_SOURCE_KSM:
        snprintf(path, sizeof(path), "sys/kernel/mm/ksm/%s", ksm_metrics[id].key);
        break;
    case KSM_SOURCE_KSMD:
        snprintf(path, sizeof(path), "proc/%d/%s", KSMD_PID, ksm_metrics[id].key);
        break;
    case KSM_SOURCE_VMSTAT:
        return "proc/vmstat";
    case KSM_SOURCE_MEMINFO:
        return "proc/meminfo";
    case KSM_SOURCE_DERIVED:
        return NULL;
    }
    return path;
}

static bool has_fields(size_t id) {
    return ksm_metrics[id].source == KSM_SOURCE_VMSTAT ||
           ksm_metrics[id].source == KSM_SOURCE_MEMINFO;
}

/* Writes all fields of the file of a metric: of the metric itself text, or none if that is NULL. */
static void write_fields(const char *dir, size_t metric, const char *text, size_t len) {
    char file[4096];
    size_t used = (size_t)snprintf(file, sizeof(file), "First: 1 kB\nfirst 1\n");

    for (size_t id = 0; id < KSM_METRICS; id++) {
        bool itself = id == metric;
        if (ksm_metrics[id].source != ksm_metrics[metric].source || !host_has(id) ||
            (itself && !text))
            continue;
        used += (size_t)snprintf(file + used, sizeof(file) - used, "%s ", ksm_metrics[id].key);
        const char *value = itself ? text : text_of(id, host_value(id));
        size_t value_len = itself ? len : strlen(value);
        memcpy(file + used, value, value_len);
        used += value_len;
        file[used++] = '\n';
    }
    used += (size_t)snprintf(file + used, sizeof(file) - used, "Last: 1 kB\nlast 1\n");
    tree_write(dir, host_path(metric), file, used);
}

void host_write(const char *dir, size_t id, const char *text, size_t len) {
    char own[64];

    remove(tree_path(dir, "%s", host_path(id))); /* may be a directory */
    if (!text) {
        len = (size_t)snprintf(own, sizeof(own), "%s", text_of(id, host_value(id)));
        text = own;
    }
    if (has_fields(id))
        write_fields(dir, id, text, len);
    else
        tree_write(dir, host_path(id), text, len);
}

void host_set(const char *dir, size_t id, int64_t value) {
    const char *text = strdupa(text_of(id, value));

    host_write(dir, id, text, strlen(text));
}

void host_remove(const char *dir, size_t id) {
    if (has_fields(id))
        write_fields(dir, id, NULL, 0);
    else
        tree_unlink(dir, host_path(id));
}

void host_thread(const char *dir, int pid, const char *name, int parent) {
    tree_print(dir, tree_path("proc", "%d/comm", pid), "%s\n", name);
    tree_print(dir, tree_path("proc", "%d/status", pid),
               "Name:\t%s\nState:\tS (sleeping)\nPid:\t%d\nPPid:\t%d\nThreads:\t1\n", name, pid,
               parent);
}

void host_make(const char *dir) {
    tree_print(dir, "proc/1/stat", "1 (init) S 0 1 1 0 -1 4194560 0 0 0 0 9 9 0 0 20 0 1 0 1\n");
    host_thread(dir, 2, "kthreadd", 0);
    host_thread(dir, 37, "ksmd", 2);
    tree_print(dir, "proc/37/stat",
               "37 (ksmd) S 2 0 0 0 -1 2129984 0 0 0 0 14 15 0 0 25 5 1 0 1\n");
    for (size_t id = 0; id < KSM_METRICS; id++)
        if (host_has(id))
            host_write(dir, id, NULL, 0);
}
