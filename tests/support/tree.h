/* SPDX-License-Identifier: MIT
 *
 * Makes whole /proc and /sys trees from tables, as fixtures: git keeps no modes, and hundreds of
 * one-line files are hard to read. A table is a text:
 *
 *   # a comment, outside of contents
 *   /sys/kernel/mm/ksm/run [MODE]      a file, with its mode in octal (default 0644)
 *   <TAB>1                             its lines, after a tab each; without any it is empty
 *   /proc/2/stat
 *   <TAB>2 (kthreadd) S 0 …
 *   @common.tree                       takes in another table, beside this one
 *   -/sys/kernel/mm/ksm/run            takes away a file that was taken in
 */
#ifndef KSM_TESTS_TREE_H
#define KSM_TESTS_TREE_H

#include <stddef.h>

/* Makes the tree of the table below dir, which must exist. Prints what is wrong and exits on
 * failure: a fixture that cannot be made is no test result. */
void tree_make(const char *table, const char *dir);

/* A new empty directory below $TMPDIR or /tmp; the caller frees the name. */
char *tree_temp(void);

/* Writes len bytes as file dir/path, making directories on the way. */
void tree_write(const char *dir, const char *path, const void *bytes, size_t len);

/* The same of a text of printf's kind. */
void tree_print(const char *dir, const char *path, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* dir/path, of printf's kind. Each call has a buffer of its own, for some calls. */
const char *tree_path(const char *dir, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Removes the file or empty directory dir/path; the whole of dir. */
void tree_unlink(const char *dir, const char *path);
void tree_remove(const char *dir);

#endif
