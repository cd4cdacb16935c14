/* SPDX-License-Identifier: MIT
 *
 * What every unit test program needs: a main(), a directory to work in, and texts for messages.
 * Check runs each test in a process of its own, so tests may keep and spoil global state.
 *
 *   TEST(name) { … }                   a test
 *   TEST_TIMES(name, 3) { … _i … }     one that runs three times, with _i from 0
 *   TEST_ROWS(name, table) { … row … } one that runs for each row of a table
 */
#ifndef KSM_TESTS_SUITE_H
#define KSM_TESTS_SUITE_H

#include <check.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Number of rows of a table. */
#define ROWS(table) ((int)(sizeof(table) / sizeof((table)[0])))

/* A text with its length, so that it may hold NULs. */
#define TEXT(literal) literal, sizeof(literal) - 1

/* ck_assert_msg for loops of many thousand rounds: it writes nothing as long as all is well. */
#define must(ok, ...)                                                                              \
    do {                                                                                           \
        if (!(ok))                                                                                 \
            ck_abort_msg(__VA_ARGS__);                                                             \
    } while (0)

/* Tests are in the suite by being there: main(), which is in suite.c, runs them in order. */
#define TEST_TIMES(name, times)                                                                    \
    static void name(int _i);                                                                      \
    __attribute__((constructor)) static void add_##name(void) {                                    \
        static const TTest test = {#name, name, __FILE__, __LINE__};                               \
        suite_add(&test, times);                                                                   \
    }                                                                                              \
    static void name(int _i __attribute__((unused)))
#define TEST(name) TEST_TIMES(name, 1)
#define TEST_ROWS(name, table)                                                                     \
    typedef const __typeof__(*(table)) type_of_##name;                                             \
    static void row_of_##name(type_of_##name *row);                                                \
    TEST_TIMES(name, ROWS(table)) {                                                                \
        row_of_##name(&(table)[_i]);                                                               \
    }                                                                                              \
    static void row_of_##name(type_of_##name *row)

void suite_add(const TTest *test, int times);

/* A program that defines these has them called before and after each test, in its process. */
void before_each(void) __attribute__((weak));
void after_each(void) __attribute__((weak));

/* A program that defines this has another time limit for each test than slow builds (sanitizers)
 * keep too: in seconds, 0: none. */
extern const int suite_timeout __attribute__((weak));

/* A new empty directory for the running test, once; any user may enter it, it goes with the test.
 */
const char *suite_dir(void);

/* For messages: bytes as a quoted text with escapes, cut if it is long; 0 or an error by name.
 * Each call has a buffer of its own, for some calls. */
const char *suite_quote(const char *text, size_t len);
const char *suite_status(int status);

/* Says that the running test checks nothing here, and why. The test then returns. */
void suite_skip(const char *test, const char *why);

/* Gives up root's rights for the rest of the running test; nothing where there are none. */
void suite_become_nobody(void);

/* A log. Takes a message of one line; and checks those since the last check: want has a line for
 * each, of a sign for bad (-) or good (+) and words that are in it, with bars between them. */
void suite_hear(bool bad, const char *message);
void suite_heard(const char *when, const char *want);

/* How many descriptors this process has open. */
int suite_open_files(void);

/* A child that does nothing until suite_end(), which kills any and waits for it. */
pid_t suite_child(void);
void suite_end(pid_t child);

/* A copy of text that ends where readable memory ends: reading on is a crash. Never freed. */
const char *suite_guarded(const char *text, size_t len);

/* The next number of a fixed sequence; KSM_TEST_SEED chooses another, and is printed where a test
 * failed. All 64 bits vary. */
uint64_t suite_random(void);

#endif
