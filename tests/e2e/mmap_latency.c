/* SPDX-License-Identifier: MIT */
/* A process that measures how long its mmap lock is kept from it.
 *
 * mmap_latency KIND MIB
 *     It has one mapping of MIB MiB of small pages of a KIND:
 *         written     anonymous pages, which KSM could merge
 *         zero        the kernel's zero page, mapped everywhere
 *         swapped     anonymous pages that are in swap
 *         sparse      nothing but one page in the middle
 *
 * It prints "ready", then maps and unmaps a page again and again. For each line on its standard
 * input it prints the longest mmap() + munmap() since the line before, in us. At the end of the
 * input it ends. Exits with 1 and a message, or with 77 and a message if the machine does not give
 * it such memory.
 */
#include <err.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { NOT_HERE = 77, PAUSE_NS = 100000, CHUNK = 64 << 20 };

static _Atomic int64_t longest_ns;

static int64_t now_ns(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void *measure(void *unused) {
    const struct timespec pause = {0, PAUSE_NS};

    for (;; nanosleep(&pause, NULL)) {
        const int64_t start = now_ns();
        void *page = mmap(NULL, 1, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (page == MAP_FAILED || munmap(page, 1) != 0)
            err(EXIT_FAILURE, "mmap");
        const int64_t ns = now_ns() - start;
        if (ns > atomic_load(&longest_ns))
            atomic_store(&longest_ns, ns);
    }
    return unused;
}

static void fill(char *memory, size_t size, const char *kind, size_t page_size) {
    volatile char *pages = memory;
    size_t from = 0;

    if (strcmp(kind, "sparse") == 0) {
        pages[size / 2] = 1;
        return;
    }
    for (size_t at = 0; at < size; at += page_size) {
        if (strcmp(kind, "zero") == 0)
            (void)pages[at];
        else
            pages[at] = 1;
        if (strcmp(kind, "swapped") != 0 || (at + page_size) % CHUNK != 0)
            continue;
        if (madvise(memory + from, at + page_size - from, MADV_PAGEOUT) != 0)
            errx(NOT_HERE, "there is no MADV_PAGEOUT");
        from = at + page_size;
    }
}

int main(int argc, char *argv[]) {
    const size_t page_size = (size_t)sysconf(_SC_PAGESIZE);
    char line[16];
    pthread_t thread;

    if (argc != 3)
        errx(EXIT_FAILURE, "usage: mmap_latency KIND MIB");
    const size_t size = strtoull(argv[2], NULL, 10) << 20;
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        err(NOT_HERE, "%s MiB", argv[2]);
    (void)madvise(memory, size, MADV_NOHUGEPAGE); /* refused where there are none */
    fill(memory, size, argv[1], page_size);
    if (pthread_create(&thread, NULL, measure, NULL) != 0)
        errx(EXIT_FAILURE, "pthread_create");
    puts("ready");
    while (fflush(stdout) == 0 && fgets(line, sizeof(line), stdin))
        printf("%lld\n", (long long)(atomic_exchange(&longest_ns, 0) / 1000));
    return EXIT_SUCCESS;
}
