/* SPDX-License-Identifier: MIT
 *
 * Calls that fail on demand, and a count of all. The linker puts these wrappers in the place of the
 * C library's functions (--wrap, see tests.mk): the code under test is the code that ships.
 */
#ifndef KSM_TESTS_FAULTS_H
#define KSM_TESTS_FAULTS_H

#include <stddef.h>
#include <stdint.h>

enum faults_call { FAULTS_OPEN, FAULTS_OPENDIR, FAULTS_PREAD, FAULTS_WRITE, FAULTS_CALLS };

/* Calls on files whose path ends in suffix (NULL: on all files) fail with err from now on: the
 * nth of them (1 is the next), or with nth 0 every one. Some plans can be in force together. */
void faults_fail(enum faults_call call, const char *suffix, int nth, int err);

/* pread and write do at most so many bytes at a time; 0: as many as there are. */
void faults_shorten(size_t most);

/* sysconf(_SC_PAGESIZE) says so; 0: the truth. */
void faults_page_size(long size);

/* From now on clocks stand still at these times, ms, and poll() does not wait: where it would, both
 * go on by its timeout. faults_polls() counts those waits. */
void faults_stop_clocks(int64_t realtime, int64_t monotonic);
int64_t faults_realtime(void);
int faults_polls(void);

/* All plans are forgotten, counting begins anew. */
void faults_clear(void);

/* Calls since the program's start or faults_clear(), failed ones included. */
int faults_count(enum faults_call call);

#endif
