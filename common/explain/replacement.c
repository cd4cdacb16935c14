/* SPDX-License-Identifier: MIT */
#include "explain/replacement.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *describe_type(mode_t mode) {
    switch (mode & S_IFMT) {
    case S_IFDIR:
        return "is a directory";
    case S_IFCHR:
    case S_IFBLK:
        return "is a device";
    case S_IFIFO:
        return "is a FIFO";
    case S_IFSOCK:
        return "is a socket";
    default:
        return "is not a regular file";
    }
}

/* Sets path to the path of an open file. The kernel resolved it, so links of other users in a
 * directory like /tmp were not followed (fs.protected_symlinks). Returns 0 or -errno. */
static int path_of(int fd, char path[static PATH_MAX]) {
    char link[32];
    struct stat opened, named;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, PATH_MAX - 1);
    if (len < 0)
        return -errno;
    path[len] = '\0';
    if (fstat(fd, &opened) != 0 || lstat(path, &named) != 0)
        return -errno;
    return opened.st_dev == named.st_dev && opened.st_ino == named.st_ino ? 0 : -ESTALE;
}

/* path is a new file, unless it is a symbolic link to a missing file. */
static int find_new(struct replacement *file, const char *path, char *message, size_t size) {
    struct stat status;

    if (lstat(path, &status) == 0) {
        snprintf(message, size, "%.*s is a symbolic link to a file that does not exist", PATH_MAX,
                 path);
        return -EINVAL;
    }
    snprintf(file->path, sizeof(file->path), "%s", path);
    return 0;
}

static int find_existing(struct replacement *file, int fd, const char *path, char *message,
                         size_t size) {
    struct stat status;
    int error = fstat(fd, &status) == 0 ? 0 : -errno;

    if (error == 0 && !S_ISREG(status.st_mode)) {
        snprintf(message, size,
                 "%.*s %s; only a regular file can be replaced (- is standard output)", PATH_MAX,
                 path, describe_type(status.st_mode));
        return -EINVAL;
    }
    if (error == 0)
        error = path_of(fd, file->path);
    if (error != 0)
        snprintf(message, size, "%.*s: %s", PATH_MAX, path, strerror(-error));
    return error;
}

/* access() has the rights of the user who started this program: a file capability must not show
 * which files exist. Returns a descriptor or -errno. */
static int open_as_user(const char *path) {
    if (access(path, F_OK) != 0)
        return -errno;
    int fd = open(path, O_PATH | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int replacement_find(struct replacement *file, const char *path, char *message, size_t size) {
    int fd = open_as_user(path);

    file->fd = -1;
    if (fd == -ENOENT)
        return find_new(file, path, message, size);
    if (fd < 0) {
        snprintf(message, size, "%.*s: %s", PATH_MAX, path, strerror(-fd));
        return fd;
    }
    int status = find_existing(file, fd, path, message, size);
    close(fd);
    return status;
}

/* Writes why the new file could not be created. A missing directory is named itself; in some, such
 * as /proc, creating a file fails with ENOENT too. */
static void explain_begin(const char *path, int error, char *message, size_t size) {
    const char *slash = strrchr(path, '/');
    char dir[PATH_MAX];

    snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
    if (error == ENOENT && access(dir, F_OK) != 0)
        snprintf(message, size, "%s: no such directory", dir);
    else
        snprintf(message, size, "%s: cannot be created: %s%s", path, strerror(error),
                 error == EACCES && geteuid() != 0 ? "; run it with sudo" : "");
}

int replacement_begin(struct replacement *file, char *message, size_t size) {
    snprintf(file->fresh, sizeof(file->fresh), "%s.XXXXXX", file->path);
    file->fd = mkostemp(file->fresh, O_CLOEXEC);
    if (file->fd >= 0)
        return 0;
    const int error = -errno;
    explain_begin(file->path, -error, message, size);
    return error;
}

int replacement_commit(struct replacement *file, mode_t mode) {
    if (fchmod(file->fd, mode) == 0 && fsync(file->fd) == 0 &&
        rename(file->fresh, file->path) == 0) {
        close(file->fd);
        file->fd = -1;
        return 0;
    }
    const int error = -errno;
    replacement_discard(file);
    return error;
}

void replacement_discard(struct replacement *file) {
    if (file->fd < 0)
        return;
    unlink(file->fresh);
    close(file->fd);
    file->fd = -1;
}
