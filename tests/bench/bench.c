/* SPDX-License-Identifier: MIT
 *
 * What bench.py measures within one process, and the programs that it compares with. Runs until it
 * is killed, and prints a line for each pair: "NAME A B", in ns of CPU time a sample.
 *
 *   bench host SAMPLES          in turn, SAMPLES each:
 *                                 floor   the reader ÷ bare preads of the same files
 *                                 ends    bare preads of vmstat and meminfo to their ends ÷ the
 *                                         first pread of each
 *                                 worker  a read in a worker thread ÷ the same bare pread
 *   bench slow                  floor, a sample a second, half a second apart
 *   bench samples NUMBER        NUMBER samples with all charts, in sample(), for callgrind; ends
 *   bench start PROGRAM EMPTY   in ns of time: PROGRAM from its start to its first metric ÷ the
 *                               program EMPTY from its start to its end
 *   bench frames PID FIRST END  of one mapping, from page FIRST to END: bare preads of kpageflags
 * and kpagecount for its frames, in their order ÷ 1, a page; ends
 *
 * These print no pairs, and work at each multiple of INTERVAL ms, the loops 500 ms later:
 *
 *   bench timer INTERVAL        prints the line that ksm.plugin begins a tick with
 *   bench loop INTERVAL         reads ksm_stat of all processes once in six intervals, and
 *                               re-reads those with merged pages on kept descriptors
 *   bench newcomers INTERVAL    reads ksm_stat of the processes that are new
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
#include "system/blocking_call.h"
#include "system/pseudofs.h"
#include "system/worker.h"

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

static int64_t clock_ns(clockid_t clock) {
    struct timespec t;

    if (clock_gettime(clock, &t) != 0)
        fail("clock_gettime");
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void print(const char *name, int64_t a, int64_t b) {
    printf("%s %" PRId64 " %" PRId64 "\n", name, a, b);
    fflush(stdout);
}

/* Waits until the wall clock is late_ms after a multiple of interval_ms. */
static void wait_for_interval(int64_t interval_ms, int64_t late_ms) {
    const int64_t ns = interval_ms * 1000000, late = late_ms * 1000000;
    int64_t next = ((clock_ns(CLOCK_REALTIME) - late) / ns + 1) * ns + late;
    const struct timespec t = {next / 1000000000, next % 1000000000};

    while (clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &t, NULL) != 0)
        ;
}

/* ---- the host's sample ---- */

/* A file of the floor, read at every sample or as rarely as the reader reads settings. */
static struct floor_file {
    int fd;
    bool knob;
    int reads; /* number of reads to get all fields */
    int ends;  /* until a read returns nothing, for vmstat and meminfo; else 0 */
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
static void add_file(const struct pseudofs_file *file, bool knob) {
    char path[256];

    if (file->fd < 0)
        return;
    if (pseudofs_path(file, path, sizeof(path)) != 0)
        fail(file->name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        fail(path);
    files[count++] = (struct floor_file){.fd = fd, .knob = knob, .reads = 1};
}

/* The same for vmstat and meminfo, which are read to their ends. */
static void add_fields(const struct pseudofs_file *file) {
    size_t added = count;

    add_file(file, false);
    if (count == added)
        return;
    files[added].reads = reads_of(files[added].fd);
    files[added].ends = files[added].reads + 1;
}

static void start(void) {
    if (ksm_reader_init(&reader, "/", true) != 0)
        fail("no KSM in this kernel");
    ksm_reader_tick(&reader, now_ms);
    for (size_t id = 0; id < KSM_METRICS; id++)
        add_file(&reader.directory.files[id], ksm_metrics[id].kind == KSM_KIND_KNOB);
    add_fields(&reader.vmstat);
    add_fields(&reader.meminfo);
    add_file(&reader.ksmd.file, false);
}

static void ours(void) {
    now_ms += 1000;
    ksm_reader_tick(&reader, now_ms);
}

/* Reads so often, to the end at most. */
static void read_file(int fd, int reads) {
    ssize_t n = 1;
    off_t at = 0;

    for (int read = 0; read < reads && n > 0; read++) {
        n = pread(fd, buffer, sizeof(buffer), at);
        at += n;
    }
}

static void floor_sample(void) {
    static unsigned samples = 0;
    bool knobs = samples++ % KNOBS_EVERY == 0;

    for (size_t i = 0; i < count; i++)
        if (!files[i].knob || knobs)
            read_file(files[i].fd, files[i].reads);
}

static void to_the_ends(void) {
    for (size_t i = 0; i < count; i++)
        read_file(files[i].fd, files[i].ends);
}

static void first_parts(void) {
    for (size_t i = 0; i < count; i++)
        read_file(files[i].fd, files[i].ends > 0);
}

static int statm;

static void bare_statm(void) {
    read_file(statm, 1);
}

static int64_t timed(void (*sample)(void), int64_t samples) {
    int64_t begin = clock_ns(CLOCK_THREAD_CPUTIME_ID);

    for (int64_t i = 0; i < samples; i++)
        sample();
    return (clock_ns(CLOCK_THREAD_CPUTIME_ID) - begin) / samples;
}

struct worker_reads {
    int64_t samples;
    int64_t ns; /* CPU time a sample */
};

static void read_in_worker(struct blocking_call *call, void *data) {
    struct worker_reads *reads = data;
    int64_t begin = clock_ns(CLOCK_THREAD_CPUTIME_ID);

    for (int64_t i = 0; i < reads->samples; i++)
        if (blocking_pread(call, getpid(), statm, buffer, sizeof(buffer), 0) < 0)
            fail("statm");
    reads->ns = (clock_ns(CLOCK_THREAD_CPUTIME_ID) - begin) / reads->samples;
}

static int64_t timed_in_worker(int64_t samples) {
    struct worker_reads reads = {.samples = samples};
    struct worker worker;
    struct abandoned_call abandoned;

    worker_init(&worker, 1);
    if (worker_start(&worker, read_in_worker, &reads) != 0)
        fail("thread");
    while (worker_poll(&worker) == WORKER_RUNNING)
        usleep(1000);
    worker_close(&worker, &abandoned);
    return reads.ns;
}

_Noreturn static void host(int64_t samples) {
    start();
    statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    for (;;) {
        int64_t a = timed(ours, samples);
        print("floor", a, timed(floor_sample, samples));
        a = timed(to_the_ends, samples);
        print("ends", a, timed(first_parts, samples));
        a = timed_in_worker(samples);
        print("worker", a, timed(bare_statm, samples));
    }
}

_Noreturn static void slow(void) {
    start();
    for (;;) {
        wait_for_interval(500, 0);
        int64_t a = timed(ours, 1);
        wait_for_interval(500, 0);
        print("floor", a, timed(floor_sample, 1));
    }
}

/* Not static and never inlined, so that callgrind can count its instructions. */
__attribute__((noinline, visibility("default"))) void sample(void);

void sample(void) {
    ours();
    charts_send(&charts, &reader.sample, now_ms / 1000, &out);
    out_flush(&out);
}

static void samples(int64_t number) {
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

    if (null < 0)
        fail("/dev/null");
    start();
    charts_init(&charts, 1);
    out_init(&out, null);
    charts_send(&charts, &reader.sample, 0, &out); /* includes the work of the first tick only */
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

/* Calls visit for the next processes, max at most, up to the last one; then it begins again.
 * Returns their number. */
static int64_t each_process(void (*visit)(int fd), int64_t max) {
    const struct dirent *entry = NULL;
    int64_t processes = 0;

    while (processes < max && (entry = readdir(proc))) {
        if (*entry->d_name < '1' || *entry->d_name > '9')
            continue;
        int fd = open_counts(entry->d_name);
        if (fd < 0)
            continue;
        visit(fd);
        processes++;
    }
    if (!entry)
        rewinddir(proc);
    return processes;
}

static void look(int fd) {
    if (pread(fd, buffer, sizeof(buffer), 0) < 0 && errno != ESRCH)
        fail("ksm_stat");
    close(fd);
}

enum { MAX_KEPT = 1024, SWEEP_INTERVALS = 6, LATE_MS = 500 };
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

_Noreturn static void loop(int64_t interval_ms) {
    int64_t slice = each_process(keep, INT64_MAX) / SWEEP_INTERVALS + 1;

    for (;;) {
        wait_for_interval(interval_ms, LATE_MS);
        each_process(look, slice);
        for (size_t i = 0; i < kept_count; i++)
            if (pread(kept[i], buffer, sizeof(buffer), 0) < 0 && errno != ESRCH)
                fail("ksm_stat");
    }
}

enum { PID_LIMIT = 1 << 22 }; /* PID_MAX_LIMIT of include/linux/threads.h */
static unsigned char seen[PID_LIMIT];

_Noreturn static void newcomers(int64_t interval_ms) {
    for (unsigned char sweep = 1;; sweep = sweep == 1 ? 2 : 1) {
        const struct dirent *entry = NULL;
        rewinddir(proc);
        while ((entry = readdir(proc))) {
            int pid = atoi(entry->d_name);
            int fd = pid <= 0 || seen[pid] != 0 ? -1 : open_counts(entry->d_name);
            if (fd >= 0)
                look(fd);
            seen[pid] = sweep;
        }
        for (size_t pid = 1; pid < PID_LIMIT; pid++)
            seen[pid] = seen[pid] == sweep ? sweep : 0;
        wait_for_interval(interval_ms, LATE_MS);
    }
}

/* ---- frames ---- */

enum { FRAMES_AT_ONCE = 512, GAP = 16 }; /* as common/explain/sharing.c reads them */

static int by_number(const void *a, const void *b) {
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

    return left < right ? -1 : left > right;
}

static int open_entries(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        fail(path);
    return fd;
}

/* Returns the numbers of the frames, ascending. */
static uint64_t *frames_of(const char *pid, size_t first, size_t pages) {
    uint64_t *frames = calloc(pages, sizeof(*frames));
    char path[64];

    snprintf(path, sizeof(path), "/proc/%.20s/pagemap", pid);
    int fd = open_entries(path);
    ssize_t size = (ssize_t)(pages * sizeof(*frames));
    if (!frames || pread(fd, frames, (size_t)size, (off_t)(first * sizeof(*frames))) != size)
        fail(path);
    close(fd);
    for (size_t i = 0; i < pages; i++)
        frames[i] &= (UINT64_C(1) << 55) - 1;
    qsort(frames, pages, sizeof(*frames), by_number);
    return frames;
}

static void frames(const char *pid, size_t first, size_t pages) {
    uint64_t *list = frames_of(pid, first, pages);
    int flags = open_entries("/proc/kpageflags"), counts = open_entries("/proc/kpagecount");
    int64_t begin = clock_ns(CLOCK_THREAD_CPUTIME_ID);

    for (size_t i = 0, end = 0; i < pages; i = end) {
        for (end = i + 1; end < pages && list[end] - list[end - 1] <= GAP &&
                          list[end] - list[i] < FRAMES_AT_ONCE;)
            end++;
        size_t size = (list[end - 1] - list[i] + 1) * sizeof(*list);
        off_t at = (off_t)(list[i] * sizeof(*list));
        if (pread(flags, buffer, size, at) < 0 || pread(counts, buffer, size, at) < 0)
            fail("frames");
    }
    print("frames", (clock_ns(CLOCK_THREAD_CPUTIME_ID) - begin) * 1000 / (int64_t)pages, 1000);
    free(list);
}

/* ---- the start ---- */

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

static void wait_for_end(int fd) {
    while (read(fd, buffer, sizeof(buffer)) > 0)
        ;
}

/* Returns the ns until wait has returned. As with an agent, stdin is a pipe that is open until the
 * program is to exit. */
static int64_t start_once(char *program, void (*wait)(int fd)) {
    char *const words[] = {program, NULL};
    int input[2], output[2];

    if (pipe2(input, O_CLOEXEC) != 0 || pipe2(output, O_CLOEXEC) != 0)
        fail("pipe");
    int64_t begin = clock_ns(CLOCK_MONOTONIC);
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
    wait(output[0]);
    int64_t end = clock_ns(CLOCK_MONOTONIC);
    close(input[1]);
    close(output[0]);
    waitpid(pid, NULL, 0);
    return end - begin;
}

_Noreturn static void starts(char *program, char *empty) {
    for (;;) {
        int64_t a = start_once(program, wait_for_metric);
        print("start", a, start_once(empty, wait_for_end));
    }
}

_Noreturn static void timer(int64_t interval_ms) {
    for (;;) {
        wait_for_interval(interval_ms, 0);
        puts("BEGIN ksm.memory");
        fflush(stdout);
    }
}

static const struct {
    const char *name;
    void (*run)(int64_t number);
} modes[] = {{"host", host},
             {"samples", samples},
             {"loop", loop},
             {"timer", timer},
             {"newcomers", newcomers}};

int main(int argc, char *argv[]) {
    proc = opendir("/proc");
    if (!proc)
        fail("/proc");
    if (argc == 2 && strcmp(argv[1], "slow") == 0)
        slow();
    if (argc == 4 && strcmp(argv[1], "start") == 0)
        starts(argv[2], argv[3]);
    if (argc == 5 && strcmp(argv[1], "frames") == 0) {
        size_t first = strtoull(argv[3], NULL, 10);
        frames(argv[2], first, strtoull(argv[4], NULL, 10) - first);
        return EXIT_SUCCESS;
    }
    int64_t number = argc == 3 ? strtoll(argv[2], NULL, 10) : 0;
    for (size_t i = 0; number > 0 && i < sizeof(modes) / sizeof(*modes); i++)
        if (strcmp(argv[1], modes[i].name) == 0) {
            modes[i].run(number);
            return EXIT_SUCCESS;
        }
    fputs("usage: bench host|samples|loop|timer|newcomers NUMBER | slow | start PROGRAM EMPTY |"
          " frames PID FIRST END\n",
          stderr);
    return EXIT_FAILURE;
}
