/* SPDX-License-Identifier: MIT */
#include "suite.h"

#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <ftw.h>
#include <grp.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tree.h"

enum { TIMEOUT_SECONDS = 300 }; /* only for what hangs: the tests run with nice, beside others */

static char *top; /* the directory of this program's run */

/* Files are made by the ten thousand: in memory, where that can be had. */
static void choose_tmp(void) {
    if (access("/dev/shm", W_OK | X_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 0);
}

static uint64_t seed_of_run(void) {
    const char *given = getenv("KSM_TEST_SEED");

    return given ? strtoull(given, NULL, 10) : 20131;
}

static struct {
    const TTest *test;
    int times;
} tests[100];
static int count;

void suite_add(const TTest *test, int times) {
    if (count == ROWS(tests))
        errx(2, "more tests than suite.c has room for");
    tests[count].test = test;
    tests[count++].times = times;
}

int main(void) {
    Suite *suite = suite_create(program_invocation_short_name);
    TCase *tcase = tcase_create("all");
    SRunner *runner = srunner_create(suite);

    choose_tmp();
    top = tree_temp();
    if (chmod(top, 0755) != 0)
        err(2, "%s", top);
    suite_add_tcase(suite, tcase);
    tcase_set_timeout(tcase, &suite_timeout ? suite_timeout : TIMEOUT_SECONDS);
    tcase_add_checked_fixture(tcase, before_each, after_each);
    for (int i = 0; i < count; i++)
        tcase_add_loop_test(tcase, tests[i].test, 0, tests[i].times);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    if (failed > 0)
        printf("KSM_TEST_SEED=%" PRIu64 "\n", seed_of_run());
    srunner_free(runner);
    tree_remove(top);
    free(top);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static char *of_test;

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st;
    (void)ftw;
    if (type == FTW_DNR) /* a test shut it: open it for the second round */
        chmod(path, 0700);
    else
        remove(path);
    return 0;
}

/* What a test cannot remove because it gave up its rights is left to main(). */
static void remove_dir(void) {
    for (int round = 0; round < 2; round++)
        nftw(of_test, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

const char *suite_dir(void) {
    of_test = strdup(tree_path(top, "XXXXXX"));
    if (!mkdtemp(of_test) || chmod(of_test, 0755) != 0)
        err(2, "%s", of_test);
    atexit(remove_dir);
    return of_test;
}

static char *next_buffer(size_t *size) {
    static char buffers[8][512];
    static size_t next;

    *size = sizeof(buffers[0]);
    return buffers[next++ % 8];
}

const char *suite_quote(const char *text, size_t len) {
    enum { SHOWN = 100 };
    size_t size = 0;
    char *buf = next_buffer(&size);
    size_t used = (size_t)snprintf(buf, size, "\"");

    for (size_t i = 0; i < len && i < SHOWN; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '\n')
            used += (size_t)snprintf(buf + used, size - used, "\\n");
        else if (c < ' ' || c > '~' || c == '"' || c == '\\')
            used += (size_t)snprintf(buf + used, size - used, "\\x%02x", c);
        else
            buf[used++] = (char)c;
    }
    if (len > SHOWN)
        snprintf(buf + used, size - used, "…\" (%zu bytes)", len);
    else
        snprintf(buf + used, size - used, "\"");
    return buf;
}

const char *suite_status(int status) {
    const char *name = strerrorname_np(-status);
    size_t size = 0;
    char *buf = next_buffer(&size);

    if (status < 0 && name)
        snprintf(buf, size, "-%s", name);
    else
        snprintf(buf, size, "%d", status);
    return buf;
}

void suite_skip(const char *test, const char *why) {
    printf("skipped: %s: %s\n", test, why);
    fflush(stdout);
}

void suite_become_nobody(void) {
    enum { NOBODY = 65534 };

    if (geteuid() == 0 && (setgroups(0, NULL) != 0 || setgid(NOBODY) != 0 || setuid(NOBODY) != 0))
        err(2, "setuid");
}

static struct {
    bool bad;
    char text[1024];
} heard[64];
static int heard_count;

void suite_hear(bool bad, const char *message) {
    ck_assert_msg(*message && !strchr(message, '\n'), "no line: \"%s\"", message);
    ck_assert_msg(heard_count < ROWS(heard), "more than %d messages", heard_count);
    heard[heard_count].bad = bad;
    snprintf(heard[heard_count++].text, sizeof(heard[0].text), "%s", message);
}

/* Whether the line at want, to its end, is of this message. */
static bool is_heard(int i, const char *want) {
    char line[512], *rest = line + 1;

    snprintf(line, sizeof(line), "%.*s", (int)strcspn(want, "\n"), want);
    bool is = i < heard_count && heard[i].bad == (*line == '-');
    for (char *words; is && (words = strsep(&rest, "|"));)
        is = strstr(heard[i].text, words) != NULL;
    return is;
}

void suite_heard(const char *when, const char *want) {
    int n = 0;

    for (const char *at = want; *at; at += strcspn(at, "\n") + (strchr(at, '\n') != NULL), n++)
        ck_assert_msg(is_heard(n, at), "%s: got %d messages, this one %s\"%s\", want \"%s\"", when,
                      heard_count, heard[n].bad ? "-" : "+", heard[n].text, want);
    ck_assert_msg(heard_count == n, "%s: got %d messages, the last \"%s\", want \"%s\"", when,
                  heard_count, heard[heard_count > 0 ? heard_count - 1 : 0].text, want);
    memset(heard, 0, sizeof(heard));
    heard_count = 0;
}

int suite_open_files(void) {
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;

    if (!dir)
        err(2, "/proc/self/fd");
    for (struct dirent *entry; (entry = readdir(dir));)
        n += entry->d_name[0] != '.';
    closedir(dir);
    return n - 1; /* its own */
}

pid_t suite_child(void) {
    pid_t child = fork();

    if (child < 0)
        err(2, "fork");
    if (child == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (child == 0)
        pause();
    return child;
}

void suite_end(pid_t child) {
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

const char *suite_guarded(const char *text, size_t len) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t size = (len / page + 1) * page;
    char *map = mmap(NULL, size + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (map == MAP_FAILED || mprotect(map + size, page, PROT_NONE) != 0)
        err(2, "mmap");
    return memcpy(map + size - len, text, len);
}

/* splitmix64: small, and every seed is a good one. */
uint64_t suite_random(void) {
    static uint64_t state;

    if (state == 0)
        state = seed_of_run();
    state += 0x9e3779b97f4a7c15U;
    uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}
