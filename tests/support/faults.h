/* SPDX-License-Identifier: MIT
 *
 * Calls that fail on demand, and a count of all. The linker puts these wrappers in the place of the
 * C library's functions (--wrap, see tests.mk): the code under test is the code that ships.
 */
#ifndef KSM_TESTS_FAULTS_H
#define KSM_TESTS_FAULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Each call; closing it is done nevertheless, as Linux does. From READ on in programs that are
 * linked with tests/runs/calls.c; there closedir is CLOSE, fstat and fstatat are STAT, and calloc,
 * realloc, reallocarray MEMORY. */
#define FAULTS_EACH(CALL)                                                                          \
    CALL(OPEN, open)                                                                               \
    CALL(OPENDIR, opendir)                                                                         \
    CALL(OPENAT, openat)                                                                           \
    CALL(PREAD, pread)                                                                             \
    CALL(WRITE, write)                                                                             \
    CALL(POLL, poll)                                                                               \
    CALL(CLOSE, close)                                                                             \
    CALL(THREAD, pthread_create)                                                                   \
    CALL(READ, read)                                                                               \
    CALL(READDIR, readdir)                                                                         \
    CALL(FSTATFS, fstatfs)                                                                         \
    CALL(STAT, stat)                                                                               \
    CALL(MEMORY, malloc)
enum faults_call {
#define CALL(id, name) FAULTS_##id,
    FAULTS_EACH(CALL)
#undef CALL
        FAULTS_CALLS
};

/* Calls on files whose path ends in suffix (NULL: on all files) fail with err from now on: the
 * nth of them (1 is the next), or with nth 0 every one. Some plans can be in force together. */
void faults_fail(enum faults_call call, const char *suffix, int nth, int err);

/* pread() of files whose path ends in suffix takes so long from now on, by clocks that stand still:
 * of time, and of the thread's CPU time. */
void faults_delay(const char *suffix, int64_t ms, int64_t cpu_ms);

/* How many calls on files whose path ends in suffix there were since such a plan was made. */
int faults_seen(enum faults_call call, const char *suffix);

/* pread and write do at most so many bytes at a time; 0: as many as there are. */
void faults_shorten(size_t most);

/* sysconf(_SC_PAGESIZE) says so; 0: the truth. */
void faults_page_size(long size);

/* From now on clocks stand still at these times, ms, and poll() does not wait: where it would, both
 * go on by its timeout. faults_polls() counts those waits. */
void faults_stop_clocks(int64_t realtime, int64_t monotonic);
void faults_let_clocks_go(void);
int64_t faults_realtime(void);
int faults_polls(void);

/* Where poll() would have waited, and the clocks have gone on: then this is called too; it may set
 * them further. */
void faults_on_wait(void (*waited)(void));

/* ---- threads: all of this may be called in any of them ---- */

/* pread() of files whose path ends in suffix waits from now on, until they are released, all of
 * them where that is NULL. faults_await_blocked() waits until so many wait, for 60 s at most;
 * returns how many do. */
void faults_block(const char *suffix);
void faults_release(const char *suffix);
int faults_await_blocked(int count);

/* Whoever begins to wait so keeps a processor busy until this is off again. */
void faults_spin(bool on);

/* How many calls of close() were of no descriptor that is open. */
int faults_bad_closes(void);

/* From now on pthread_create() returns when the thread has done its work: for clocks that stand
 * still, and runs that are all alike. */
void faults_run_threads_at_once(void);

/* ---- one fault among all calls of a run ---- */

/* Instead of an error: the call does only a part of what it was asked to, up to and with the first
 * newline in the last case. */
enum { FAULTS_ONE_BYTE = -1, FAULTS_HALF = -2, FAULTS_ALL_BUT_ONE = -3, FAULTS_ONE_LINE = -4 };

/* Begins to count calls of all kinds, and ends. The nth of them (1 is the first; 0: none) fails
 * with err, or is cut short. */
void faults_begin(int nth, int err);
void faults_end(void);

/* Whether calls are counted: not while a test does something itself in the middle. */
void faults_count_calls(bool count);
bool faults_counting(void);

/* How many calls were counted, and which, in their order; the path of the one that failed, "" if
 * none did or it was on no file. */
int faults_calls(const unsigned char **calls);
const char *faults_path(void);

/* Declares a wrapper, and what it wraps. */
#define FAULTS_WRAPPED(type, call, ...)                                                            \
    type __real_##call(__VA_ARGS__);                                                               \
    type __wrap_##call(__VA_ARGS__)

/* For wrappers. Counts a call on a file and gives what is planned for it: 0, an error, or one of
 * the above. */
int faults_next(enum faults_call call, const char *path);
int faults_next_of(enum faults_call call, int fd);

/* All plans are forgotten, counting begins anew. */
void faults_clear(void);

/* Calls since the program's start or faults_clear(), failed ones included. */
int faults_count(enum faults_call call);

#endif
