/* SPDX-License-Identifier: MIT
 *
 * rss_pss [--root DIR]: one sample of the consumers as a table, side by side with Rss - Pss of the
 * same processes. Rss counts a shared page in full, and Pss divides it among the processes that
 * share it, so that their difference is what sharing of any kind saves: KSM's, and that of
 * libraries and of fork. Reading it costs milliseconds a process, which is why the plugins do not.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consumers/consumers.h"
#include "log_state.h"
#include "system/clock.h"

static const char *root = "/";

static int64_t field(FILE *file, const char *key) {
    char line[256];
    int64_t kilobytes = -1;

    rewind(file);
    while (fgets(line, sizeof(line), file))
        if (strncmp(line, key, strlen(key)) == 0)
            kilobytes = strtoll(line + strlen(key), NULL, 10);
    return kilobytes;
}

/* Rss - Pss in bytes, or -1. */
static int64_t shared_by_smaps(int pid) {
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/proc/%d/smaps_rollup", root, pid);
    FILE *file = fopen(path, "r");
    if (!file)
        return -1;
    int64_t rss = field(file, "Rss:");
    int64_t pss = field(file, "Pss:");
    fclose(file);
    return rss < 0 || pss < 0 ? -1 : (rss - pss) * 1024;
}

static int64_t shared_of(const struct ksm_process_list *processes,
                         const struct ksm_consumer_name *name) {
    int64_t sum = 0;

    for (size_t i = 0; i < processes->count; i++) {
        const struct ksm_process *process = &processes->list[i];
        if (ksm_consumer_name_compare(&process->name, name) != 0)
            continue;
        int64_t bytes = shared_by_smaps(process->pid);
        if (bytes < 0)
            return -1;
        sum += bytes;
    }
    return sum;
}

static void cell(int64_t bytes) {
    if (bytes < 0)
        printf(" %12s", "-");
    else
        printf(" %12.3f", (double)bytes / (1024 * 1024));
}

static void row(const char *kind, const char *name, const struct ksm_consumer *c, int64_t shared) {
    printf("%-10s %-32s %5" PRId64, kind, name, c->processes);
    cell(c->saved);
    cell(shared);
    cell(c->real);
    printf(" %9" PRId64 " %9" PRId64 " %9" PRId64 "\n", c->merging, c->zero, c->rmap_items);
}

static void print(const struct ksm_consumers *consumers) {
    const struct ksm_consumer_table *table = &consumers->table;
    int64_t sum = 0;

    printf("%-10s %-32s %5s %12s %12s %12s %9s %9s %9s\n", "kind", "name", "procs", "saved MiB",
           "Rss-Pss MiB", "real MiB", "merging", "zero", "rmap");
    for (size_t i = 0; i < table->count; i++) {
        const struct ksm_consumer *c = &table->list[i];
        row(ksm_consumer_kinds[c->name.kind], c->name.text, c,
            shared_of(&consumers->processes, &c->name));
        sum += c->saved;
    }
    printf("\nconsumers' shares  %14" PRId64 " bytes\n"
           "unattributed       %14" PRId64 " bytes\n"
           "host's saved       %14" PRId64 " bytes\n",
           sum, table->unattributed, table->saved);
}

static void log_message(bool bad, const char *message) {
    fprintf(stderr, "rss_pss: %s%s\n", bad ? "" : "recovered: ", message);
}

int main(int argc, char *argv[]) {
    static struct ksm_options options;
    static struct ksm_consumers consumers;
    static struct ksm_consumers_log_state report;
    char message[1024];
    const int64_t interval = 1000;
    int64_t now = clock_ms(CLOCK_MONOTONIC);

    ksm_options_init(&options);
    if (argc == 3 && strcmp(argv[1], "--root") == 0 &&
        ksm_options_set(&options, KSM_NETDATA, "root", argv[2], message, sizeof(message)) == 0)
        root = options.root;
    else if (argc != 1) {
        fputs("usage: rss_pss [--root DIR]\n", stderr);
        return EXIT_FAILURE;
    }
    ksm_consumers_init(&consumers, &options, interval, KSM_KEPT_DESCRIPTORS_MAX);
    ksm_consumers_sample(&consumers, ksm_consumers_has_pages(&consumers, now), now, NULL);
    ksm_consumers_publish(&consumers);
    ksm_log_consumers(&report, &consumers.table, options.root, log_message);
    bool valid = consumers.table.valid;
    if (valid)
        print(&consumers);
    ksm_consumers_close(&consumers);
    return valid ? EXIT_SUCCESS : EXIT_FAILURE;
}
