/* SPDX-License-Identifier: MIT
 *
 * Measures the cost of a sample in one process: the plugins' code, compared with a floor that only
 * reads the same files on kept descriptors. For bench.py; prints lines "NAME NUMBER".
 *
 *   bench hot ROUNDS SAMPLES     CPU time per sample, ours and the floor in turn, SAMPLES each:
 *                                ours_ns and floor_ns for each round
 *   bench slow SECONDS           the same with one sample a second each, half a second apart
 *   bench samples NUMBER         NUMBER samples with all charts, in sample(), for callgrind
 *   bench sweep ROUNDS           CPU time of the cheapest sweep of /proc: sweep_ns for each round;
 *                                of reading merging processes again on kept descriptors: kept_ns,
 *                                and kept, their number
 *   bench descriptors ROUNDS     memory of the kernel for a kept descriptor: descriptor_bytes
 *   bench start ROUNDS PROGRAM   time from the start to the first metric sent: start_ns
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "charts.h"
#include "metrics/reader.h"
#include "out.h"
#include "system/pseudofs.h"

enum { KNOBS_EVERY = 60 }; /* samples; the reader reads settings once a minute */
enum { MAX_FILES = KSM_METRICS + 3, BUFFER = 64 * 1024 };

static struct ksm_reader reader;
static struct charts charts;
static struct out out;
static char buffer[BUFFER];
static int64_t now_ms; /* the reader's clock, which advances by a second per sample */

_Noreturn static void fail(const char *what) {
    fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
    exit(EXIT_FAILURE);
}

static int64_t cpu_ns(void) {
    struct timespec t;

    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) != 0)
        fail("CLOCK_PROCESS_CPUTIME_ID");
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void print(const char *name, int64_t number) {
    printf("%s %" PRId64 "\n", name, number);
}

/* ---- the host's sample ---- */

/* A file of the floor, read at every sample or as rarely as the reader reads settings. */
static struct floor_file {
    int fd;
    bool knob;
    int reads; /* number of reads to get all fields */
} files[MAX_FILES];
static size_t count;

static int reads_of(int fd) {
    ssize_t n = 0;
    off_t at = 0;
    int reads = 0;

    for (; (n = pread(fd, buffer, sizeof(buffer), at)) > 0; at += n)
        reads++;
    return reads;
}

/* Opens the same files as the reader, to be read equally often. */
static void add_file(const struct pseudofs_file *file, bool knob, bool to_end) {
    char path[256];

    if (file->fd < 0)
        return;
    if (pseudofs_path(file, path, sizeof(path)) != 0)
        fail(file->name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        fail(path);
    files[count++] =
        (struct floor_file){.fd = fd, .knob = knob, .reads = to_end ? reads_of(fd) : 1};
}

static void start(void) {
    if (ksm_reader_init(&reader, "/", true) != 0)
        fail("no KSM in this kernel");
    ksm_reader_tick(&reader, now_ms);
    for (size_t id = 0; id < KSM_METRICS; id++)
        add_file(&reader.directory.files[id], ksm_metrics[id].kind == KSM_KIND_KNOB, false);
    add_file(&reader.vmstat, false, true);
    add_file(&reader.meminfo, false, true);
    add_file(&reader.ksmd.file, false, false);
}

static void ours(void) {
    now_ms += 1000;
    ksm_reader_tick(&reader, now_ms);
}

static void floor_sample(void) {
    static unsigned samples = 0;
    bool knobs = samples++ % KNOBS_EVERY == 0;

    for (size_t i = 0; i < count; i++) {
        ssize_t n = 1;
        off_t at = 0;
        for (int read = 0; (!files[i].knob || knobs) && read < files[i].reads && n > 0; read++) {
            n = pread(files[i].fd, buffer, sizeof(buffer), at);
            at += n;
        }
    }
}

static int64_t timed(void (*sample)(void), int64_t samples) {
    int64_t begin = cpu_ns();

    for (int64_t i = 0; i < samples; i++)
        sample();
    return (cpu_ns() - begin) / samples;
}

static void print_reads(void) {
    int64_t reads = 0;

    for (size_t i = 0; i < count; i++)
        reads += files[i].knob ? 0 : files[i].reads;
    print("floor_reads", reads);
}

static void hot(int64_t rounds, int64_t samples) {
    start();
    print_reads();
    for (int64_t i = 0; i < rounds; i++) {
        print("ours_ns", timed(ours, samples));
        print("floor_ns", timed(floor_sample, samples));
    }
}

static void slow(int64_t seconds) {
    const struct timespec half = {0, 500000000};

    start();
    for (int64_t i = 0; i < seconds; i++) {
        nanosleep(&half, NULL);
        print("ours_ns", timed(ours, 1));
        nanosleep(&half, NULL);
        print("floor_ns", timed(floor_sample, 1));
    }
}

/* Not static and never inlined, so that callgrind can count its instructions. */
__attribute__((noinline, visibility("default"))) void sample(void);

void sample(void) {
    ours();
    charts_send(&charts, &reader.sample, &out);
    out_flush(&out);
}

static void samples(int64_t number) {
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

    if (null < 0)
        fail("/dev/null");
    start();
    charts_init(&charts, 1);
    out_init(&out, null);
    charts_send(&charts, &reader.sample, &out); /* includes the work of the first tick only */
    out_flush(&out);
    for (int64_t i = 0; i < number; i++)
        sample();
}

/* ---- the consumers ---- */

static DIR *proc;

static int open_counts(const char *pid) {
    char path[64];

    snprintf(path, sizeof(path), "%.20s/ksm_stat", pid);
    int fd = openat(dirfd(proc), path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 || errno != ENOENT)
        return fd;
    snprintf(path, sizeof(path), "%.20s/ksm_merging_pages", pid);
    return openat(dirfd(proc), path, O_RDONLY | O_CLOEXEC);
}

/* Calls visit for every process. Returns their number. */
static int64_t each_process(void (*visit)(int fd)) {
    const struct dirent *entry = NULL;
    int64_t processes = 0;

    rewinddir(proc);
    while ((entry = readdir(proc))) {
        if (*entry->d_name < '1' || *entry->d_name > '9')
            continue;
        int fd = open_counts(entry->d_name);
        if (fd < 0)
            continue;
        visit(fd);
        processes++;
    }
    return processes;
}

static void look(int fd) {
    if (pread(fd, buffer, sizeof(buffer), 0) < 0 && errno != ESRCH)
        fail("ksm_stat");
    close(fd);
}

enum { MAX_KEPT = 1024 };
static int kept[MAX_KEPT];
static size_t kept_count;

/* Keeps the descriptors of processes with merged pages. */
static void keep(int fd) {
    static const char zero[] = "ksm_merging_pages 0\n";
    ssize_t n = pread(fd, buffer, sizeof(buffer) - 1, 0);

    buffer[n > 0 ? n : 0] = '\0';
    if (n <= 2 || strstr(buffer, zero) || kept_count == MAX_KEPT)
        close(fd);
    else
        kept[kept_count++] = fd;
}

static void sweep(int64_t rounds) {
    proc = opendir("/proc");
    if (!proc)
        fail("/proc");
    each_process(keep);
    print("kept", (int64_t)kept_count);
    for (int64_t i = 0; i < rounds; i++) {
        int64_t begin = cpu_ns();
        int64_t processes = each_process(look);
        print("sweep_ns", cpu_ns() - begin);
        print("processes", processes);
        begin = cpu_ns();
        for (size_t k = 0; k < kept_count; k++)
            if (pread(kept[k], buffer, sizeof(buffer), 0) < 0 && errno != ESRCH)
                fail("ksm_stat");
        print("kept_ns", cpu_ns() - begin);
    }
}

/* Returns the bytes of the kernel's slab and per-CPU memory. */
static int64_t kernel_bytes(void) {
    char line[256];
    int64_t bytes = 0;
    FILE *meminfo = fopen("/proc/meminfo", "re");

    if (!meminfo)
        fail("/proc/meminfo");
    while (fgets(line, sizeof(line), meminfo)) {
        int64_t kb = 0;
        if (sscanf(line, "Slab: %" SCNd64, &kb) == 1 || sscanf(line, "Percpu: %" SCNd64, &kb) == 1)
            bytes += kb * 1024;
    }
    fclose(meminfo);
    return bytes;
}

static void descriptors(int64_t rounds) {
    enum { NUMBER = 900 }; /* below the usual limit of 1024 */
    int fds[NUMBER];

    for (int64_t round = 0; round < rounds; round++) {
        int64_t before = kernel_bytes();
        for (int i = 0; i < NUMBER; i++) {
            fds[i] = open("/proc/self/ksm_stat", O_RDONLY | O_CLOEXEC);
            if (fds[i] < 0 || pread(fds[i], buffer, sizeof(buffer), 0) < 0)
                fail("/proc/self/ksm_stat");
        }
        print("descriptor_bytes", (kernel_bytes() - before) / NUMBER);
        for (int i = 0; i < NUMBER; i++)
            close(fds[i]);
    }
}

/* ---- the start ---- */

static int64_t wall_ns(void) {
    struct timespec t = {0, 0};

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Reads until the first line with a metric. */
static void wait_for_metric(int fd) {
    size_t len = 0;
    ssize_t n = 0;

    do {
        n = read(fd, buffer + len, sizeof(buffer) - len);
        if (n <= 0)
            fail("no metric came");
        len += (size_t)n;
    } while (!memmem(buffer, len, "\nSET ", 5));
}

/* As with an agent, stdin is a pipe that is open until the program is to exit. */
static int64_t start_once(const char *program) {
    char *const words[] = {(char *)(uintptr_t)program, NULL};
    int input[2], output[2];

    if (pipe2(input, O_CLOEXEC) != 0 || pipe2(output, O_CLOEXEC) != 0)
        fail("pipe");
    int64_t begin = wall_ns();
    pid_t pid = fork();
    if (pid == 0) {
        dup2(input[0], STDIN_FILENO);
        dup2(output[1], STDOUT_FILENO);
        dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), STDERR_FILENO);
        execv(program, words);
        _exit(EXIT_FAILURE);
    }
    close(input[0]);
    close(output[1]);
    wait_for_metric(output[0]);
    int64_t end = wall_ns();
    close(input[1]);
    close(output[0]);
    waitpid(pid, NULL, 0);
    return end - begin;
}

static int64_t argument(int argc, char *argv[], int i) {
    char *end = NULL;
    long long n = i < argc ? strtoll(argv[i], &end, 10) : 0;

    if (n <= 0 || *end != '\0') {
        fputs("usage: bench hot ROUNDS SAMPLES | slow SECONDS | samples NUMBER | sweep ROUNDS |"
              " descriptors ROUNDS | start ROUNDS PROGRAM\n",
              stderr);
        exit(EXIT_FAILURE);
    }
    return n;
}

int main(int argc, char *argv[]) {
    const char *what = argc > 1 ? argv[1] : "";

    if (strcmp(what, "hot") == 0)
        hot(argument(argc, argv, 2), argument(argc, argv, 3));
    else if (strcmp(what, "slow") == 0)
        slow(argument(argc, argv, 2));
    else if (strcmp(what, "samples") == 0)
        samples(argument(argc, argv, 2));
    else if (strcmp(what, "sweep") == 0)
        sweep(argument(argc, argv, 2));
    else if (strcmp(what, "descriptors") == 0)
        descriptors(argument(argc, argv, 2));
    else if (strcmp(what, "start") == 0 && argc == 4)
        for (int64_t i = argument(argc, argv, 2); i > 0; i--)
            print("start_ns", start_once(argv[3]));
    else
        argument(argc, argv, argc);
    return EXIT_SUCCESS;
}
