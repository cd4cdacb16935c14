/* SPDX-License-Identifier: MIT */
#include "suite.h"

#include <ctype.h>
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

enum { TIMEOUT_SECONDS = 300 }; /* only detects hangs: the tests run with nice, beside others */

static char *top; /* directory of this program */

/* Tests make tens of thousands of files: use memory where possible. */
static void choose_tmp(void) {
    if (access("/dev/shm", W_OK | X_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 0);
}

static uint64_t run_seed(void) {
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
        printf("KSM_TEST_SEED=%" PRIu64 "\n", run_seed());
    srunner_free(runner);
    tree_remove(top);
    free(top);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static char *test_dir;

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st;
    (void)ftw;
    if (type == FTW_DNR) /* a test made it unreadable: let the second pass remove it */
        chmod(path, 0700);
    else
        remove(path);
    return 0;
}

/* A test that gave up its rights may not be allowed to remove all; main() removes the rest. */
static void remove_dir(void) {
    for (int pass = 0; pass < 2; pass++)
        nftw(test_dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

const char *suite_dir(void) {
    test_dir = strdup(tree_path(top, "XXXXXX"));
    if (!mkdtemp(test_dir) || chmod(test_dir, 0755) != 0)
        err(2, "%s", test_dir);
    atexit(remove_dir);
    return test_dir;
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

const char *suite_unwrapped(const char *text) {
    static char flat[65536];
    size_t len = 0;

    for (bool was_space = false; *text; text++) {
        const bool is_space = isspace((unsigned char)*text) != 0;
        ck_assert_uint_lt(len + 1, sizeof(flat));
        if (!is_space || !was_space)
            flat[len++] = is_space ? ' ' : *text;
        was_space = is_space;
    }
    flat[len] = '\0';
    return flat;
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
} captured[64];
static int captured_count;

void log_capture(bool bad, const char *message) {
    ck_assert_msg(*message && !strchr(message, '\n'), "no line: \"%s\"", message);
    ck_assert_msg(captured_count < ROWS(captured), "more than %d messages", captured_count);
    captured[captured_count].bad = bad;
    snprintf(captured[captured_count++].text, sizeof(captured[0].text), "%s", message);
}

/* Returns whether message i matches the first line of want. */
static bool matches(int i, const char *want) {
    char line[512], *rest = line + 1;

    snprintf(line, sizeof(line), "%.*s", (int)strcspn(want, "\n"), want);
    if (i >= captured_count || captured[i].bad != (*line == '-'))
        return false;
    for (const char *part = strsep(&rest, "|"); part; part = strsep(&rest, "|"))
        if (!strstr(captured[i].text, part))
            return false;
    return true;
}

void expect_logged(const char *when, const char *want) {
    int n = 0;

    for (const char *at = want; *at; at += strcspn(at, "\n") + (strchr(at, '\n') != NULL), n++)
        ck_assert_msg(matches(n, at), "%s: got %d messages, this one %s\"%s\", want \"%s\"", when,
                      captured_count, captured[n].bad ? "-" : "+", captured[n].text, want);
    ck_assert_msg(captured_count == n, "%s: got %d messages, the last \"%s\", want \"%s\"", when,
                  captured_count, captured[captured_count > 0 ? captured_count - 1 : 0].text, want);
    memset(captured, 0, sizeof(captured));
    captured_count = 0;
}

int suite_open_files(void) {
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;

    if (!dir)
        err(2, "/proc/self/fd");
    for (struct dirent *entry; (entry = readdir(dir));)
        n += entry->d_name[0] != '.';
    closedir(dir);
    return n - 1; /* less that of dir */
}

pid_t suite_start_child(void) {
    pid_t child = fork();

    if (child < 0)
        err(2, "fork");
    if (child == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (child == 0)
        pause();
    return child;
}

void suite_kill_child(pid_t child) {
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

/* splitmix64 (Steele, Lea and Flood, 2014). */
uint64_t suite_random(void) {
    static uint64_t state;

    if (state == 0)
        state = run_seed();
    state += 0x9e3779b97f4a7c15U;
    uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}
