/* SPDX-License-Identifier: MIT
 *
 * The kernel's texts as numbers. Pure functions over bytes: text need not end in a NUL and may
 * hold any byte. All are strict: what the kernel would not print is no number. They return 0 and
 * set *value, or return -errno and leave it alone:
 *
 *   -ENODATA  nothing there, or the kernel says itself that it has no metric
 *   -EINVAL   not what the kernel prints
 *   -ERANGE   a number that does not fit in an int64
 *   -EDOM     below 0, where less than nothing makes no sense
 *
 * The forms of metrics.def are these functions. Each takes the whole file, or the value of a field
 * of a file (parse_field), with or without the newline at the end.
 */
#ifndef KSM_PARSE_H
#define KSM_PARSE_H

#include <stddef.h>
#include <stdint.h>

/* 0 … 2^63−1, decimal, no sign, no leading zeros. */
int parse_number(const char *text, size_t len, int64_t *value);

/* The same with an optional minus. */
int parse_signed(const char *text, size_t len, int64_t *value);

/* A count that the kernel prints signed; -EDOM below 0. On kernels 6.6 to 6.17 ksm_zero_pages gets
 * there: a forked child inherited pages of zeros that were not counted, and its end took them off
 * (ksm_fork() of include/linux/ksm.h, fixed in 6.18). Such a count stays wrong. */
int parse_count(const char *text, size_t len, int64_t *value);

/* "N" or UKSM's "N * 2^M". */
int parse_scaled(const char *text, size_t len, int64_t *value);

/* "24684096 kB", any number of spaces before it: the fields of /proc/meminfo. Gives kB. */
int parse_kilobytes(const char *text, size_t len, int64_t *value);

/* The file run: 0, 1 or 2. The kernel adds 4 while memory is taken offline; it is taken off. */
int parse_run(const char *text, size_t len, int64_t *value);

/* The file advisor_mode, "[none] scan-time": the bracketed word; none is 0, scan-time 1. */
int parse_advisor(const char *text, size_t len, int64_t *value);

/* /proc/PID/schedstat, "RUN_NS WAIT_NS SLICES": the first, in ns. "0 0 0" is -ENODATA: so prints a
 * kernel that keeps no such account, and a thread that exists has run. */
int parse_schedstat(const char *text, size_t len, int64_t *value);

/* Finds the line "KEY value" in a file of such lines. *field and *field_len are what follows the
 * first space up to the newline, pointing into text. Returns 0; -ENOENT if no line starts with KEY
 * and a space; -EINVAL if the line has no newline (the file was cut off in it). */
int parse_field(const char *text, size_t len, const char *key, const char **field,
                size_t *field_len);

/* What is wanted of /proc/PID/stat. comm is not NUL-terminated text of the kernel's choice: it is
 * data from strangers, may hold spaces, parentheses and newlines, and is cut to the 15 bytes that
 * the kernel keeps (64 for kernel threads of newer kernels). Times in clock ticks; started since
 * boot, 0 if the line ends before it. */
struct parse_stat {
    char comm[65];
    char state; /* R: it runs or waits for a processor; else it waits for something, or has ended */
    int64_t ppid;
    int64_t flags;
    int64_t utime;
    int64_t stime;
    int64_t started;
};
int parse_stat(const char *text, size_t len, struct parse_stat *stat);

#endif
