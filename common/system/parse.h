/* SPDX-License-Identifier: MIT
 *
 * Parses numbers in files of the kernel. Pure functions: text may contain any bytes and needs no
 * NUL. They accept only what the kernel prints. They return 0 and set *value, or return -errno and
 * leave *value unchanged:
 *
 *   -ENODATA  text is empty, or the kernel keeps no value
 *   -EINVAL   not the format that the kernel prints
 *   -ERANGE   the number does not fit in an int64
 *   -EDOM     a count is negative
 *
 * parse_number() to parse_schedstat() are the forms of metrics.def. text is a whole file, or a
 * field found by parse_field(); a newline at its end is optional.
 */
#ifndef KSM_PARSE_H
#define KSM_PARSE_H

#include <stddef.h>
#include <stdint.h>

/* 0 … 2^63−1, decimal, no sign, no leading zeros. */
int parse_number(const char *text, size_t len, int64_t *value);

/* As parse_number(), with an optional minus. */
int parse_signed(const char *text, size_t len, int64_t *value);

/* A count that the kernel prints signed; -EDOM below 0. From Linux 6.6 to 6.17 ksm_zero_pages can
 * be negative: zero pages that a forked child inherits are not added to it, but are subtracted when
 * the child exits (ksm_fork() in include/linux/ksm.h, fixed in 6.18). The count stays wrong. */
int parse_count(const char *text, size_t len, int64_t *value);

/* "N" or UKSM's "N * 2^M". */
int parse_scaled(const char *text, size_t len, int64_t *value);

/* "24684096 kB", any number of spaces before it: the fields of /proc/meminfo. Gives kB. */
int parse_kilobytes(const char *text, size_t len, int64_t *value);

/* The same in bytes. -ERANGE above 2^59, so that the sum of a few does not overflow. */
int parse_bytes(const char *text, size_t len, int64_t *value);

/* The file run: 0, 1 or 2. The 4 that the kernel adds while memory goes offline is subtracted. */
int parse_run(const char *text, size_t len, int64_t *value);

/* The file advisor_mode, "[none] scan-time", by the word in brackets: none is 0, scan-time 1. */
int parse_advisor(const char *text, size_t len, int64_t *value);

/* /proc/PID/schedstat, "RUN_NS WAIT_NS SLICES": RUN_NS, in ns. -ENODATA for "0 0 0", which a kernel
 * without these statistics prints; a thread that exists has run. */
int parse_schedstat(const char *text, size_t len, int64_t *value);

/* Returns the pid that an entry of /proc is named after; 0: it is no process. */
int parse_pid(const char *name);

/* Finds the line "KEY value" in a file of such lines. Sets *field (a part of text) and *field_len
 * to what is between the first space and the newline. Returns 0; -ENOENT if no line begins with KEY
 * and a space; -EINVAL if the line has no newline (the text was cut off there). */
int parse_field(const char *text, size_t len, const char *key, const char **field,
                size_t *field_len);

/* Room for /proc/PID/stat: it has 52 numbers, some 300 bytes, 1,100 at the worst. */
enum { PARSE_STAT_SIZE = 2048 };

/* Fields of /proc/PID/stat. */
struct parse_stat {
    /* NUL-terminated. A process chooses its comm: it may contain any other byte. The kernel
     * prints up to 15 bytes, and up to 64 of kernel threads. */
    char comm[65];
    char state; /* R: running or runnable */
    int64_t ppid;
    int64_t flags;   /* PF_… of linux/sched.h */
    int64_t utime;   /* clock ticks */
    int64_t stime;   /* clock ticks */
    int64_t started; /* clock ticks since boot; 0 if the line ends before it */
};

/* Returns 0, -ENODATA or -EINVAL, or -ERANGE; then *stat is unchanged. */
int parse_stat(const char *text, size_t len, struct parse_stat *stat);

#endif
