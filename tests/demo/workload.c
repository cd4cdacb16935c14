/* SPDX-License-Identifier: MIT */
/* Memory that KSM can merge, for the demo and the live tests.
 *
 * workload PATTERN [PAGES [KIND]]
 *                            one process of PAGES pages (65536), filled in groups of equal pages:
 *                            unique (groups of one), pairs, triples, identical (one group), zeros
 *                            (all bytes 0), forked (pairs, and a child that shares them), huge
 *                            (pairs in huge pages); processes of one KIND (1 to 255, 1) have the
 *                            same pages
 * workload known FIRST:NUMBER:TIMES ... [-name NAME]
 *                            one process that has each of the contents FIRST to FIRST + NUMBER - 1
 *                            in TIMES pages; 0 is a page of zeros. The byte f on its standard input
 * makes it fork a child, which prints "ready" too. -name is for a copy of this program that is
 * called as QEMU, and has no effect workload demo [MIB]        processes of MIB MiB (64) each:
 * ksm-equal-1 to -3 hold the same pages, ksm-zeros none but zeros, ksm-unique no page twice, and
 * ksm-changing (a quarter of MIB) pairs that it rewrites all the time workload churn [NUMBER]
 * NUMBER (200) processes a second start, hold some equal pages for a second, and exit workload
 * processes [NUMBER [OF]] NUMBER (1000) idle processes; one of OF (10), called ksm-member, holds
 *                            some equal pages
 *
 * Prints "ready" when all memory is filled and mergeable, and ends at the end of its standard
 * input or with its parent.  Exits with 0, or 1 with a message. */

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DEFAULT_PAGES = 65536, DEFAULT_MIB = 64, MAX_PAGES = 1 << 24, MAX_KIND = 255 };
enum { DEFAULT_CHURN = 200, MAX_CHURN = 1000, CHURN_PAGES = 16, LIFE_MS = 1000 };
enum { DEFAULT_CROWD = 1000, MAX_CROWD = 100000, MEMBER_OF = 10, MAX_OF = 255, MEMBER_PAGES = 16 };
enum { SLICES = 200, SLICE_MS = 100 }; /* ksm-changing rewrites itself once in SLICES × SLICE_MS */
enum { MAX_CONTENTS = 64 };
enum { ZEROS = 0 };     /* a group size: no groups, all bytes 0 */
enum { NO_MEMORY = 0 }; /* a fraction */

struct page_reader {
    uint64_t *words;
    size_t pages;
    size_t page_words; /* words a page */
};

/* A process of the demo.  Processes of one kind have the same pages. */
struct actor {
    const char *name;
    uint8_t kind;
    size_t group;    /* equal pages a group */
    size_t fraction; /* it holds 1/fraction of the size asked for, or NO_MEMORY */
    bool changing;
};

static const struct actor actors[] = {
    {"ksm-equal-1", 1, 1, 1, false}, {"ksm-equal-2", 1, 1, 1, false},
    {"ksm-equal-3", 1, 1, 1, false}, {"ksm-zeros", 2, ZEROS, 4, false},
    {"ksm-unique", 3, 1, 1, false},  {"ksm-changing", 4, 2, 4, true},
};
enum { ACTORS = sizeof actors / sizeof *actors };

_Noreturn static void fail(const char *what) {
    fprintf(stderr, "workload: %s: %s\n", what, strerror(errno));
    exit(EXIT_FAILURE);
}

/* The kernel ends this process with its parent, of which the caller knows the pid. */
static void die_with_parent(pid_t parent) {
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
        fail("PR_SET_PDEATHSIG");
    if (getppid() != parent)
        exit(EXIT_FAILURE);
}

/* A well mixed function of x (splitmix64): what is in the rest of a page is of no importance but
 * the speed. */
static uint64_t mix(uint64_t x) {
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* Fill a page with what belongs to key, which is not 0: it is the first word, so two keys never
 * give equal pages. */
static void fill_page(uint64_t *page, size_t words, uint64_t key) {
    page[0] = key;
    for (size_t i = 1; i < words; i++)
        page[i] = mix(key + i);
}

/* The key of a group of equal pages: kind of process (not 0), generation, number of the group
 * (below 2^32). */
static uint64_t key_of(uint8_t kind, uint32_t generation, size_t group) {
    return (uint64_t)kind << 56 | (uint64_t)(generation & 0xffffff) << 32 | (uint64_t)group;
}

static void fill(const struct page_reader *memory, size_t first, size_t end, uint8_t kind,
                 uint32_t generation, size_t group) {
    for (size_t i = first; i < end; i++) {
        uint64_t *page = memory->words + i * memory->page_words;

        if (group == ZEROS)
            memset(page, 0, memory->page_words * sizeof *page);
        else
            fill_page(page, memory->page_words, key_of(kind, generation, i / group));
    }
}

/* Memory of so many pages, huge ones only if told so; written, then registered with KSM. */
static struct page_reader memory_of(size_t pages, uint8_t kind, size_t group, bool huge) {
    size_t page_size = (size_t)sysconf(_SC_PAGESIZE), size = pages * page_size;
    struct page_reader memory = {.pages = pages, .page_words = page_size / sizeof *memory.words};

    memory.words = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory.words == MAP_FAILED)
        fail("mmap");
    /* Refused where there are none. */
    (void)madvise(memory.words, size, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    fill(&memory, 0, pages, kind, 0, group);
    if (madvise(memory.words, size, MADV_MERGEABLE) != 0)
        fail("MADV_MERGEABLE");
    return memory;
}

static struct page_reader mergeable(size_t pages, uint8_t kind, size_t group) {
    return memory_of(pages, kind, group, false);
}

static void say_ready(void) {
    if (puts("ready") == EOF || fflush(stdout) == EOF)
        fail("standard output");
}

/* Read away what comes, until there is no more. */
static void wait_for_end(int fd) {
    char byte;
    ssize_t n;

    do
        n = read(fd, &byte, sizeof byte);
    while (n > 0 || (n < 0 && errno == EINTR));
}

/* Rewrite the memory, a slice at a time, with pages never seen before, for ever. */
_Noreturn static void change(const struct page_reader *memory, const struct actor *actor) {
    for (uint32_t generation = 1;; generation++) {
        for (size_t slice = 0; slice < SLICES; slice++) {
            size_t first = memory->pages * slice / SLICES,
                   end = memory->pages * (slice + 1) / SLICES;

            fill(memory, first, end, actor->kind, generation, actor->group);
            (void)poll(NULL, 0, SLICE_MS);
        }
    }
}

/* A child's life: tell the parent through ready that the memory is there; the parent's end is the
 * child's. */
_Noreturn static void act(const struct actor *actor, size_t pages, pid_t parent, int ready) {
    struct page_reader memory;

    die_with_parent(parent);
    if (prctl(PR_SET_NAME, actor->name) != 0)
        fail("PR_SET_NAME");
    if (actor->fraction != NO_MEMORY)
        memory = mergeable(pages / actor->fraction, actor->kind, actor->group);
    if (write(ready, "", 1) != 1)
        fail("pipe");
    close(ready);
    if (actor->changing)
        change(&memory, actor);
    for (;;)
        pause();
}

/* Wait until each child has written its byte; the pipe ends early if one of them does. */
static void wait_for_children(int ready, size_t count) {
    for (size_t i = 0; i < count; i++) {
        char byte;
        ssize_t n = read(ready, &byte, sizeof byte);

        if (n != 1) {
            fprintf(stderr, "workload: a process ended before it was ready\n");
            exit(EXIT_FAILURE);
        }
    }
}

/* The actor that child i plays. */
static const struct actor *actor_of_demo(size_t i) {
    return &actors[i];
}

static size_t member_of = MEMBER_OF;

static const struct actor *actor_of_processes(size_t i) {
    static const struct actor member = {"ksm-member", 1, MEMBER_PAGES, 1, false};
    static const struct actor idler = {"ksm-idler", 1, 1, NO_MEMORY, false};

    return i % member_of == 0 ? &member : &idler;
}

/* Let so many children live until the end of the standard input. */
static int play(size_t count, size_t pages, const struct actor *(*actor_of)(size_t i)) {
    pid_t self = getpid(), *children = calloc(count, sizeof *children);
    int ready[2];

    if (!children || pipe(ready) != 0)
        fail("pipe");
    for (size_t i = 0; i < count; i++) {
        children[i] = fork();
        if (children[i] < 0)
            fail("fork");
        if (children[i] == 0) {
            close(ready[0]);
            act(actor_of(i), pages, self, ready[1]);
        }
    }
    close(ready[1]);
    wait_for_children(ready[0], count);
    say_ready();
    wait_for_end(STDIN_FILENO);
    for (size_t i = 0; i < count; i++)
        (void)kill(children[i], SIGKILL);
    while (waitpid(-1, NULL, 0) > 0)
        continue;
    free(children);
    return EXIT_SUCCESS;
}

/* Waits for the end of the standard input; false if ms are over before. */
static bool ended(int ms) {
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    char byte;

    return poll(&input, 1, ms) > 0 && read(STDIN_FILENO, &byte, sizeof byte) == 0;
}

static int churn(size_t number) {
    pid_t self = getpid();

    say_ready();
    while (!ended((int)(1000 / number))) {
        pid_t child = fork();

        if (child < 0)
            fail("fork");
        if (child == 0) {
            die_with_parent(self);
            mergeable(CHURN_PAGES, 1, CHURN_PAGES);
            (void)poll(NULL, 0, LIFE_MS);
            _exit(EXIT_SUCCESS);
        }
        while (waitpid(-1, NULL, WNOHANG) > 0)
            continue;
    }
    while (waitpid(-1, NULL, 0) > 0)
        continue;
    return EXIT_SUCCESS;
}

static int single(size_t pages, size_t group, uint8_t kind, bool huge, bool forked) {
    struct page_reader memory = memory_of(pages, kind, group, huge);
    pid_t self = getpid(), child = forked ? fork() : -1;

    if (child == 0) {
        die_with_parent(self);
        for (;;)
            pause();
    }
    say_ready();
    wait_for_end(STDIN_FILENO);
    return munmap(memory.words, pages * memory.page_words * sizeof *memory.words) == 0
               ? EXIT_SUCCESS
               : EXIT_FAILURE;
}

/* Contents with consecutive numbers. */
struct contents {
    unsigned first, number, times;
};

static void fill_contents(struct page_reader *memory, const struct contents *contents,
                          size_t count) {
    uint64_t *page = memory->words;

    for (size_t i = 0; i < count; i++)
        for (unsigned j = 0; j < contents[i].number * contents[i].times; j++) {
            const unsigned content = contents[i].first + j % contents[i].number;
            if (content == 0)
                memset(page, 0, memory->page_words * sizeof *page);
            else
                fill_page(page, memory->page_words, key_of(MAX_KIND, 0, content));
            page += memory->page_words;
        }
}

/* Forks for each byte f of the standard input, until that ends. The children live as long. */
static void fork_on_request(void) {
    const pid_t self = getpid();
    char byte;

    while (read(STDIN_FILENO, &byte, 1) == 1) {
        const pid_t child = byte == 'f' ? fork() : -1;
        if (child != 0)
            continue;
        die_with_parent(self);
        say_ready();
        for (;;)
            pause();
    }
}

static int known(char **words) {
    struct contents contents[MAX_CONTENTS];
    size_t count = 0, pages = 0;

    for (; *words && (*words)[0] != '-'; words++, count++) {
        struct contents *next = &contents[count];
        if (count == MAX_CONTENTS ||
            sscanf(*words, "%u:%u:%u", &next->first, &next->number, &next->times) != 3)
            return EXIT_FAILURE;
        pages += (size_t)next->number * next->times;
    }
    if (pages == 0 || pages > MAX_PAGES)
        return EXIT_FAILURE;
    struct page_reader memory = mergeable(pages, MAX_KIND, 1);
    fill_contents(&memory, contents, count);
    say_ready();
    fork_on_request();
    return EXIT_SUCCESS;
}

/* Parse a count of 1 … limit; 0 if text is anything else. */
static size_t parse_count(const char *text, size_t limit) {
    char *end;
    unsigned long n;

    errno = 0;
    n = strtoul(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || *text == '-' || n > limit)
        return 0;
    return n;
}

static int usage(void) {
    fprintf(stderr,
            "usage: workload unique|pairs|triples|identical|zeros|forked|huge [PAGES [KIND]] |"
            " known FIRST:NUMBER:TIMES ... [-name NAME] | demo [MIB] | churn [NUMBER] | processes "
            "[NUMBER [OF]]\n");
    return EXIT_FAILURE;
}

/* The argument at that index as a count: the standard if there is none, 0 if it is no count. */
static size_t argument(int argc, char **argv, int index, size_t standard, size_t limit) {
    return argc > index ? parse_count(argv[index], limit) : standard;
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        size_t group; /* SIZE_MAX: all pages are one */
        bool huge;
        bool forked;
    } patterns[] = {{"unique", 1, false, false},    {"pairs", 2, false, false},
                    {"triples", 3, false, false},   {"identical", SIZE_MAX, false, false},
                    {"zeros", ZEROS, false, false}, {"forked", 2, false, true},
                    {"huge", 2, true, false}};
    size_t mib_pages = (size_t)1048576 / (size_t)sysconf(_SC_PAGESIZE);
    size_t pages = argument(argc, argv, 2, DEFAULT_PAGES, MAX_PAGES);
    size_t kind = argument(argc, argv, 3, 1, MAX_KIND);

    if (argc < 2)
        return usage();
    die_with_parent(getppid());
    if (strcmp(argv[1], "known") == 0)
        return known(argv + 2) == EXIT_SUCCESS ? EXIT_SUCCESS : usage();
    if (argc > 4)
        return usage();
    if (strcmp(argv[1], "demo") == 0) {
        size_t mib = argument(argc, argv, 2, DEFAULT_MIB, MAX_PAGES / mib_pages);

        return mib > 0 && argc < 4 ? play(ACTORS, mib * mib_pages, actor_of_demo) : usage();
    }
    if (strcmp(argv[1], "churn") == 0) {
        size_t number = argument(argc, argv, 2, DEFAULT_CHURN, MAX_CHURN);

        return number > 0 && argc < 4 ? churn(number) : usage();
    }
    if (strcmp(argv[1], "processes") == 0) {
        size_t number = argument(argc, argv, 2, DEFAULT_CROWD, MAX_CROWD);

        member_of = argument(argc, argv, 3, MEMBER_OF, MAX_OF);
        return number > 0 && member_of > 0 ? play(number, MEMBER_PAGES, actor_of_processes)
                                           : usage();
    }
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        if (strcmp(argv[1], patterns[i].name) == 0 && pages > 0 && kind > 0)
            return single(pages, patterns[i].group, (uint8_t)kind, patterns[i].huge,
                          patterns[i].forked);
    }
    return usage();
}
