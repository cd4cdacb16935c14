/* SPDX-License-Identifier: MIT
 *
 * Reads small files of procfs and sysfs repeatedly, at the lowest cost. Call pseudofs_init() once,
 * pseudofs_read() any number of times, also after errors, then pseudofs_close().
 *
 * On procfs and sysfs the descriptor stays open between reads, because a read at offset 0 returns
 * the current contents there. Elsewhere, as in a tree of fixtures, every read opens the file.
 *
 * A file that is missing or cannot be opened is tried again after PSEUDOFS_RETRY_MS; at once if the
 * kernel reports that a kept descriptor is dead (ENODEV, ESRCH), or after a transient error
 * (EMFILE, ENFILE, ENOMEM, EINTR, EAGAIN).
 *
 * No function returns -ECANCELED, which blocking_call.h needs: that error, which a file system in
 * user space below root may return, becomes -EIO.
 */
#ifndef KSM_PSEUDOFS_H
#define KSM_PSEUDOFS_H

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { PSEUDOFS_RETRY_MS = 60 * 1000 };

/* How much of a file is read. */
enum pseudofs_extent {
    PSEUDOFS_LINE, /* until a newline ends the text, usually one pread(): no number is cut off */
    PSEUDOFS_ALL,  /* to the end: one pread() returns at most about 4 kB (fs/seq_file.c) */
};

/* The path is root/dir/name. The strings remain the caller's, and must outlive this. */
struct pseudofs_file {
    const char *root;
    const char *dir;
    const char *name;
    int fd;           /* kept descriptor, or -1 */
    int failed;       /* -errno of the last attempt to open it, or 0 */
    int64_t retry_at; /* ms; if failed, the file is not opened before this time */
    /* Set it after pseudofs_init(): open the file only if it is on the procfs or sysfs of its
     * directory, else fail with -EXDEV. Detects a file system that is mounted over the file
     * (lxcfs) without waiting for that file system's server (since Linux 4.11). */
    bool require_same_fs;
};

void pseudofs_init(struct pseudofs_file *file, const char *root, const char *dir, const char *name);

/* Returns whether an error (-errno) is transient, as above, and no property of the file. */
bool pseudofs_is_transient(int status);

/* Reads the file into buf of size bytes, without adding a NUL. now: ms of any monotonic clock.
 * Returns the number of bytes (0: the file is empty) or -errno: -EFBIG if the file does not fit,
 * -ENOENT if it does not exist, else the error of open() or pread(). Allocates nothing. */
ssize_t pseudofs_read(struct pseudofs_file *file, int64_t now, enum pseudofs_extent extent,
                      char *buf, size_t size);

/* Returns the length of root without slashes at its end: 0 for "/". */
size_t pseudofs_root_len(const char *root);

/* Writes root/dir/name without double slashes between the parts. name may be "". Returns 0, or
 * -ENAMETOOLONG if it does not fit. */
int pseudofs_path(const struct pseudofs_file *file, char *path, size_t size);

/* pseudofs_read() for a file that the caller has opened. */
ssize_t pseudofs_read_fd(int fd, enum pseudofs_extent extent, char *buf, size_t size);

/* Returns whether fd is on procfs or sysfs: kept, it returns the current contents again. */
bool pseudofs_is_kernel_fs(int fd);

/* Flags for every file: opening a FIFO does not block, and the descriptor is not inherited. */
#define PSEUDOFS_FLAGS (O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)

/* Calls openat() with these flags. Returns the descriptor, which the caller closes, or -errno. */
int pseudofs_openat(int dir, const char *path);

/* Opens the directory root/dir. Returns 0 and sets *result, which the caller closes, or
 * -errno. */
int pseudofs_opendir(const char *root, const char *dir, DIR **result);

/* Sets *entry to the directory's next entry, NULL at the end. Returns 0 or -errno. */
int pseudofs_readdir(DIR *dir, const struct dirent **entry);

/* Returns whether root/proc shows the pids of this program's PID namespace. In that of another
 * namespace, getpid() may be the pid of another process. */
bool pseudofs_sees_own_pids(const char *root);

/* From now on only files of procfs and sysfs are opened, for the whole program: it has more rights
 * than the user who started it and chose root. For other files, errors must not show which exist:
 * pseudofs_opendir() returns -ENOENT, also for a directory that cannot be opened, and
 * pseudofs_read() returns -EPERM. */
void pseudofs_trust_kernel_only(void);
bool pseudofs_trusts_kernel_only(void);

/* Closes a kept descriptor. The file can be read again. */
void pseudofs_close(struct pseudofs_file *file);

#endif
