/* SPDX-License-Identifier: MIT
 *
 * soak [SAMPLES [SEED]]: both plugins take this many samples, as fast as possible, of a random
 * host, and then an hour's samples of the real one with a clock that advances without waiting.
 * Their memory and descriptors at the end must be those after warming up. Prints both; exits with 1
 * if they differ.
 */
#include "support/collectd_stub.h"

#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "runs/plugins.h"
#include "soak/random_host.h"
#include "support/faults.h"
#include "support/tree.h"

enum {
    CHANGE_EVERY = 10, /* samples; changing files is slow compared with reading them */
    RESET_SAMPLES =
        300, /* samples until a reset has its full effect: seven intervals and a minute */
    HOUR = 3600,
};

/* Allowed growth of resident memory: pages at the end of heap and stack. On the real host also the
 * lists of processes, which are allocated when KSM is first used. */
enum { NOISE_KILOBYTES = 16, LISTS_KILOBYTES = 128 };

static const int64_t second = 1000;
static const int64_t start = (int64_t)1700000000 * 1000;

/* ---- what is held ---- */

struct held {
    long resident; /* kB */
    long descriptors;
    long heap; /* bytes in use */
};

static long resident_kilobytes(void) {
    FILE *file = fopen("/proc/self/statm", "r");
    long size = 0;
    long pages = 0;

    if (!file || fscanf(file, "%ld %ld", &size, &pages) != 2)
        err(2, "/proc/self/statm");
    fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

/* Returns whether a descriptor is kept for processes, which change on a real host. */
static bool is_for_processes(int fd) {
    char link[32];
    char path[PATH_MAX];

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof(path) - 1);
    path[len > 0 ? len : 0] = '\0';
    return strcmp(path, "/proc") == 0 || strstr(path, "/ksm_stat") || strstr(path, "/statm") ||
           strstr(path, "/ksm_merging_pages");
}

static long descriptors(void) {
    DIR *dir = opendir("/proc/self/fd");
    long n = 0;

    if (!dir)
        err(2, "/proc/self/fd");
    for (struct dirent *entry; (entry = readdir(dir));)
        n += entry->d_name[0] != '.' && !is_for_processes(atoi(entry->d_name));
    closedir(dir);
    return n - 1; /* less that of dir */
}

static struct held held_now(void) {
    long n = descriptors();

    malloc_trim(0);
    return (struct held){resident_kilobytes(), n, (long)mallinfo2().uordblks};
}

/* ---- the running soak ---- */

static struct soak {
    const char *name;
    const char *root;
    bool changes;
    long samples;
    long warm; /* samples until it has warmed up */
    long done;
    struct held first;
    struct held last;
    int report; /* the descriptor of stdout */
} soak;

/* Resets the host before each of the two measurements; changes it at other times. */
static void change_host(void) {
    long to_end = soak.samples - soak.done;

    if (!soak.changes)
        return;
    if (soak.done == soak.warm - RESET_SAMPLES || to_end == RESET_SAMPLES)
        random_host_reset();
    else if (to_end > RESET_SAMPLES &&
             (soak.done < soak.warm - RESET_SAMPLES || soak.done > soak.warm) &&
             soak.done % CHANGE_EVERY == 0)
        random_host_change();
}

/* Called after each sample. Returns whether more are to be taken. */
static bool continue_soak(void) {
    soak.done++;
    if (soak.done == soak.warm)
        soak.first = held_now();
    if (soak.done == soak.samples) {
        soak.last = held_now();
        return false;
    }
    change_host();
    return true;
}

static void on_wait(void) {
    if (!continue_soak())
        plugins_close_agent();
}

static void run_netdata(void) {
    char name[] = "ksm.plugin", every[] = "1";
    char root[PATH_MAX + 8];
    char *argv[] = {name, every, root, NULL};

    snprintf(root, sizeof(root), "--root=%.4000s", soak.root);
    plugins_open_agent("\n");
    faults_stop_clocks(start, second);
    faults_on_wait(on_wait);
    if (ksm_plugin_main(3, argv) != 0)
        errx(2, "ksm.plugin ended");
}

static void run_collectd(void) {
    faults_stop_clocks(start, second);
    if (plugins_start_collectd(soak.root, 20, 1) != 0 || !stub.read || !stub.read_consumers)
        errx(2, "collectd's plugin does not start");
    do {
        stub_clear();
        stub_read();
        stub_read_consumers();
        faults_stop_clocks(start, (soak.done + 1) * second);
    } while (continue_soak());
    stub.shutdown();
}

/* ---- a report ---- */

static bool is_flat(void) {
    long more = soak.last.resident - soak.first.resident;

    if (soak.last.descriptors != soak.first.descriptors)
        return false;
    if (!soak.changes)
        return more <= NOISE_KILOBYTES + LISTS_KILOBYTES;
    return more <= NOISE_KILOBYTES && soak.last.heap == soak.first.heap;
}

static void report(time_t seconds) {
    bool flat = soak.done == soak.samples && is_flat();

    dprintf(soak.report,
            "%s: %ld samples in %lld s: resident %ld kB after %ld, %ld kB at the end; "
            "heap %ld and %ld bytes; descriptors %ld and %ld: %s\n",
            soak.name, soak.done, (long long)seconds, soak.first.resident, soak.warm,
            soak.last.resident, soak.first.heap, soak.last.heap, soak.first.descriptors,
            soak.last.descriptors, flat ? "flat" : "NOT FLAT");
    _exit(flat ? EXIT_SUCCESS : EXIT_FAILURE);
}

static void silence(void) {
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

    soak.report = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 10);
    if (null < 0 || soak.report < 0 || dup2(null, STDOUT_FILENO) < 0 ||
        dup2(null, STDERR_FILENO) < 0)
        err(2, "/dev/null");
    close(null);
}

/* Starts one in a process of its own. dir: NULL for this host. */
static pid_t begin(const char *name, void (*run)(void), const char *dir, long samples,
                   uint64_t seed) {
    pid_t pid = fork();

    if (pid < 0)
        err(2, "fork");
    if (pid > 0)
        return pid;
    time_t began = time(NULL);
    soak = (struct soak){.name = name, .root = dir ? dir : "/", .changes = dir, .samples = samples};
    soak.warm = samples / 10 + RESET_SAMPLES;
    silence();
    /* All that there is counts, not what happens to have been used already: code and buffers. */
    mlockall(MCL_CURRENT | MCL_FUTURE);
    faults_run_threads_at_once();
    if (dir)
        random_host_init(dir, seed);
    run();
    report(time(NULL) - began);
    return 0;
}

static bool is_well(pid_t pid) {
    int status = 0;

    if (waitpid(pid, &status, 0) < 0)
        err(2, "waitpid");
    if (!WIFEXITED(status) || WEXITSTATUS(status) > 1)
        fprintf(stderr, "soak: a plugin ended with status %#x\n", (unsigned)status);
    return status == 0;
}

static bool soak_both(const char *const names[2], char *const dirs[2], long samples,
                      uint64_t seed) {
    pid_t netdata = begin(names[0], run_netdata, dirs[0], samples, seed);
    pid_t collectd = begin(names[1], run_collectd, dirs[1], samples, seed);
    bool well = is_well(netdata);

    return is_well(collectd) && well;
}

static bool on_fixtures(long samples, uint64_t seed) {
    static const char *const names[] = {"ksm.plugin, changing host", "collectd, changing host"};
    char *const dirs[] = {tree_temp(), tree_temp()};
    bool well = soak_both(names, dirs, samples, seed);

    for (int i = 0; i < 2; i++) {
        tree_remove(dirs[i]);
        free(dirs[i]);
    }
    return well;
}

static bool on_this_host(void) {
    static const char *const names[] = {"ksm.plugin, this host", "collectd, this host"};
    static char *const no_dirs[] = {NULL, NULL};

    if (access("/sys/kernel/mm/ksm", F_OK) == 0)
        return soak_both(names, no_dirs, HOUR, 0);
    puts("skipped: this host (no KSM in this kernel)");
    return true;
}

/* The C library counts blocks that it keeps for the next caller as in use; it is told to keep none
 * when a program starts. */
static void start_without_caches(char *argv[]) {
    if (getenv("GLIBC_TUNABLES"))
        return;
    setenv("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0", 1);
    execv("/proc/self/exe", argv);
}

int main(int argc, char *argv[]) {
    long samples = argc > 1 ? atol(argv[1]) : 1000000;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 20131;

    start_without_caches(argv);
    if (samples < 10 * RESET_SAMPLES)
        errx(2, "at least %d samples", 10 * RESET_SAMPLES);
    if (access("/dev/shm", W_OK | X_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 0);
    printf("soak: %ld samples, seed %" PRIu64 "\n", samples, seed);
    fflush(stdout);
    bool well = on_fixtures(samples, seed);
    return on_this_host() && well ? EXIT_SUCCESS : EXIT_FAILURE;
}
