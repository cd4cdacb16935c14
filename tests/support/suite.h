/* SPDX-License-Identifier: MIT
 *
 * Common parts of the unit tests: main(), temporary directories, a captured log, texts for
 * messages. Check runs each test in a separate process, so tests may change global state.
 *
 *   TEST(name) { … }                   a test
 *   TEST_TIMES(name, 3) { … _i … }     a test that runs three times, with _i from 0
 *   TEST_ROWS(name, table) { … row … } a test that runs for each row of a table
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

/* A text and its length; it may contain NULs. */
#define TEXT(literal) literal, sizeof(literal) - 1

/* ck_assert_msg() for loops of many iterations: it writes nothing unless it fails. */
#define must(ok, ...)                                                                              \
    do {                                                                                           \
        if (!(ok))                                                                                 \
            ck_abort_msg(__VA_ARGS__);                                                             \
    } while (0)

/* A test adds itself; main() in suite.c runs all in order. */
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

/* If a program defines these, they are called before and after each test, in its process. */
void before_each(void) __attribute__((weak));
void after_each(void) __attribute__((weak));

/* If a program defines this, it is the time limit of each test, in seconds; 0: none. */
extern const int suite_timeout __attribute__((weak));

/* Makes a directory for the running test; call it once. Any user may enter it. It is removed after
 * the test. */
const char *suite_dir(void);

/* For messages: bytes as a quoted text with escapes, truncated if it is long; a status as 0 or the
 * name of an error. The result is valid for the next seven calls. */
const char *suite_quote(const char *text, size_t len);
const char *suite_status(int status);

/* Returns text with a blank in place of each run of white space; valid until the next call. */
const char *suite_unwrapped(const char *text);

/* Prints that the running test is skipped here, and why. The test must then return. */
void suite_skip(const char *test, const char *why);

/* Gives up root's rights for the rest of the running test, if it has them. */
void suite_become_nobody(void);

/* log_capture() is a ksm_log_fn that keeps the message. expect_logged() checks the messages since
 * the last check: want has a line for each, with a sign (- if bad, else +) and texts that the
 * message contains, separated by bars. when: for the message of a failure. */
void log_capture(bool bad, const char *message);
void expect_logged(const char *when, const char *want);

/* Returns the number of open descriptors of this process. */
int suite_open_files(void);

/* Starts a child that does nothing. suite_kill_child() kills a child and waits for it. */
pid_t suite_start_child(void);
void suite_kill_child(pid_t child);

/* Returns a copy of text at the end of readable memory: reading beyond it crashes. Never freed. */
const char *suite_guarded(const char *text, size_t len);

/* Returns the next number of 64 random bits. KSM_TEST_SEED is the seed, which is printed if a test
 * fails. */
uint64_t suite_random(void);

#endif
