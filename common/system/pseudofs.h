/* SPDX-License-Identifier: MIT
 *
 * Reading the small files of procfs and sysfs again and again, at the least cost.
 *
 * A descriptor is kept open between readings, but only on procfs and sysfs, where reading at
 * offset 0 again makes the kernel print anew. Anywhere else, as in a tree of fixtures, the file is
 * opened anew at each reading.
 *
 * A file that is missing or cannot be opened is looked for again after PSEUDOFS_RETRY_MS, and at
 * once if the kernel says that a kept descriptor is dead (ENODEV, ESRCH) or that it only lacked
 * means for the moment (EMFILE, ENFILE, ENOMEM, EINTR, EAGAIN).
 */
#ifndef KSM_PSEUDOFS_H
#define KSM_PSEUDOFS_H

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { PSEUDOFS_RETRY_MS = 60 * 1000 };

/* The path of a file is root/dir/name; the strings belong to the caller and must live as long. */
struct pseudofs_file {
    const char *root;
    const char *dir;
    const char *name;
    int fd;           /* kept descriptor, or -1 */
    int failed;       /* -errno of the last opening, or 0 */
    int64_t retry_at; /* when failed: not opened again before this instant, ms */
    bool own;         /* to be set after pseudofs_init: opened only if it is on the same procfs or
                       * sysfs as its directory, else -EXDEV. Tells what is mounted over a file
                       * (lxcfs) without a wait for who serves that. */
};

void pseudofs_init(struct pseudofs_file *file, const char *root, const char *dir, const char *name);

/* Whether a failure (-errno) is a lack of means for the moment, as above, and says nothing of the
 * file. */
bool pseudofs_is_transient(int status);

/* Reads the whole file into buf, size bytes, no NUL added. now is any clock in ms that does not
 * go back. One pread, as long as what it gives ends with a newline: a number that was cut short
 * would be another one. With whole set it reads on until the file's end: for files of several lines
 * that are of use only together, and for those that are longer than the kernel's own buffer (4 kB,
 * /proc/vmstat), which it hands out in pieces.
 *
 * Returns the number of bytes (0 is an empty file) or -errno: -EFBIG if the file does not fit,
 * -ENOENT if there is none, else that of open or pread. Nothing is allocated. */
ssize_t pseudofs_read(struct pseudofs_file *file, int64_t now, bool whole, char *buf, size_t size);

/* Writes root/dir/name with no doubled slashes between the parts. -ENAMETOOLONG if it does not
 * fit. name may be "". */
int pseudofs_path(const struct pseudofs_file *file, char *path, size_t size);

/* The parts of pseudofs_read, for files that are kept elsewhere. pseudofs_read_fd: the same result
 * of a file that is open. pseudofs_may_keep: whether reading it again gives what is there by then.
 */
ssize_t pseudofs_read_fd(int fd, bool whole, char *buf, size_t size);
bool pseudofs_may_keep(int fd);

/* How every file is opened: never waits for a pipe's other end, never inherited. */
#define PSEUDOFS_FLAGS (O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)

/* openat() with these, and the descriptor or -errno. */
int pseudofs_openat(int dir, const char *path);

/* Opens a directory root/dir for reading. Returns 0 and sets *result, which the caller closes, or
 * -errno. */
int pseudofs_opendir(const char *root, const char *dir, DIR **result);

/* Sets *entry to the directory's next one, NULL at its end. Returns 0 or -errno. */
int pseudofs_readdir(DIR *dir, const struct dirent **entry);

/* Whether root/proc shows the pids of this program's own PID namespace. In that of another one, the
 * pid of this program is another process's, or none's. */
bool pseudofs_sees_own_pids(const char *root);

/* From now on only what is on procfs or sysfs is opened: for a program that has more rights than
 * the user who started it and named root. pseudofs_opendir() of any other directory is -ENOENT, as
 * is that of one which cannot be opened, and pseudofs_read() of a file there is -EPERM: the error
 * must not show which files there are. */
void pseudofs_trust_kernel_only(void);
bool pseudofs_trusts_kernel_only(void);

/* Closes a kept descriptor. The file can be read again. */
void pseudofs_close(struct pseudofs_file *file);

#endif
