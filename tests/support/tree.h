/* SPDX-License-Identifier: MIT
 *
 * Makes trees of /proc and /sys from tables, as fixtures: git does not keep modes, and hundreds of
 * one-line files are hard to read. A table is a text:
 *
 *   # a comment, outside of contents
 *   /sys/kernel/mm/ksm/run [MODE]      a file, with its mode in octal (default 0644)
 *   <TAB>1                             its lines, each after a tab; without lines it is empty
 *   /proc/2/stat
 *   <TAB>2 (kthreadd) S 0 …
 *   @common.tree                       includes another table of the same directory
 *   -/sys/kernel/mm/ksm/run            removes a file that was included
 */
#ifndef KSM_TESTS_TREE_H
#define KSM_TESTS_TREE_H

#include <stddef.h>

/* Makes the tree of the table below dir, which must exist. All functions here print a message and
 * exit on errors. */
void tree_make(const char *table, const char *dir);

/* Makes an empty directory below $TMPDIR or /tmp. The caller frees the name. */
char *tree_temp(void);

/* Writes len bytes to the file dir/path, and makes its directories. */
void tree_write(const char *dir, const char *path, const void *bytes, size_t len);

/* The same for formatted text. */
void tree_print(const char *dir, const char *path, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Returns dir/path, where path is formatted. It is valid for the next seven calls. */
const char *tree_path(const char *dir, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Remove the file or empty directory dir/path, or the directory dir with its contents. */
void tree_unlink(const char *dir, const char *path);
void tree_remove(const char *dir);

#endif
