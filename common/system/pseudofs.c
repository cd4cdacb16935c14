/* SPDX-License-Identifier: MIT */
#include "system/pseudofs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

void pseudofs_init(struct pseudofs_file *file, const char *root, const char *dir,
                   const char *name) {
    *file = (struct pseudofs_file){.root = root, .dir = dir, .name = name, .fd = -1};
}

void pseudofs_close(struct pseudofs_file *file) {
    if (file->fd >= 0)
        close(file->fd);
    file->fd = -1;
    file->failed = 0;
}

size_t pseudofs_root_len(const char *root) {
    size_t len = strlen(root);

    while (len > 0 && root[len - 1] == '/')
        len--;
    return len;
}

int pseudofs_path(const struct pseudofs_file *file, char *path, size_t size) {
    const size_t root_len = pseudofs_root_len(file->root);

    if (root_len > INT_MAX)
        return -ENAMETOOLONG;
    int len = snprintf(path, size, "%.*s/%s%s%s", (int)root_len, file->root, file->dir,
                       *file->name ? "/" : "", file->name);
    return len < 0 || (size_t)len >= size ? -ENAMETOOLONG : 0;
}

static bool stat_process(const char *root, const char *dir, struct stat *st) {
    const struct pseudofs_file file = {.root = root, .dir = dir, .name = ""};
    char path[PATH_MAX];

    return pseudofs_path(&file, path, sizeof(path)) == 0 && stat(path, st) == 0;
}

bool pseudofs_sees_own_pids(const char *root) {
    struct stat self, pid;
    char dir[32];

    snprintf(dir, sizeof(dir), "proc/%d", (int)getpid());
    return stat_process(root, "proc/self", &self) && stat_process(root, dir, &pid) &&
           self.st_ino == pid.st_ino && self.st_dev == pid.st_dev;
}

bool pseudofs_is_transient(int status) {
    return status == -EMFILE || status == -ENFILE || status == -ENOMEM || status == -EINTR ||
           status == -EAGAIN;
}

/* Returns -errno, but never -ECANCELED. */
static int error_status(void) {
    return errno == ECANCELED ? -EIO : -errno;
}

/* Sets *fs. Returns 0 for a file of procfs or sysfs, -EPERM for any other, or the -errno of
 * fstatfs(). */
static int check_kernel_fs(int fd, struct statfs *fs) {
    int status = 0;

    do
        status = fstatfs(fd, fs);
    while (status != 0 && errno == EINTR);
    if (status != 0)
        return -errno;
    return fs->f_type == PROC_SUPER_MAGIC || fs->f_type == SYSFS_MAGIC ? 0 : -EPERM;
}

bool pseudofs_is_kernel_fs(int fd) {
    struct statfs fs;

    return check_kernel_fs(fd, &fs) == 0;
}

static bool kernel_only = false;

void pseudofs_trust_kernel_only(void) {
    kernel_only = true;
}

bool pseudofs_trusts_kernel_only(void) {
    return kernel_only;
}

/* Returns the same error, failed, for every permanent error if the true one must not be shown. */
static int public_status(int status, int failed) {
    return kernel_only && status < 0 && !pseudofs_is_transient(status) ? failed : status;
}

/* Returns fd; or -errno if open() failed, or if the file is not trusted: then fd is closed. */
static int check_opened(int fd) {
    struct statfs fs;

    if (fd < 0)
        return error_status();
    int status = kernel_only ? check_kernel_fs(fd, &fs) : 0;
    if (status != 0)
        close(fd);
    return status != 0 ? status : fd;
}

static int open_path(const char *path, int flags) {
    int fd = -1;

    do
        fd = open(path, flags);
    while (fd < 0 && errno == EINTR);
    return check_opened(fd);
}

int pseudofs_openat(int dir, const char *path) {
    int fd = -1;

    do
        fd = openat(dir, path, PSEUDOFS_FLAGS);
    while (fd < 0 && errno == EINTR);
    return check_opened(fd);
}

/* statx() that does not block on a FUSE server, as fstatfs() and a plain stat() would. It may block
 * before Linux 4.11: there, the C library uses fstatat(), and refuses AT_STATX_DONT_SYNC. */
static int statx_at_once(int dir, const char *name, int flags, struct statx *st) {
    int status = statx(dir, name, flags | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC, 0, st);

    if (status != 0 && (errno == EINVAL || errno == ENOSYS))
        status = statx(dir, name, flags | AT_NO_AUTOMOUNT, 0, st);
    return status != 0 ? -errno : 0;
}

/* Returns 0 if the file is on the procfs or sysfs of its directory, else -errno. Does not open the
 * file. */
static int check_same_fs(int parent, const char *name) {
    struct statx dir, file;
    struct statfs fs;
    int status = statx_at_once(parent, "", AT_EMPTY_PATH, &dir);

    if (status == 0)
        status = statx_at_once(parent, name, 0, &file);
    if (status != 0)
        return status;
    if (dir.stx_dev_major != file.stx_dev_major || dir.stx_dev_minor != file.stx_dev_minor)
        return -EXDEV;
    status = check_kernel_fs(parent, &fs);
    return status == -EPERM ? -EXDEV : status;
}

/* Checks the directory before it opens the file: opening an untrusted file, such as a device, can
 * have effects or block. pseudofs_openat() then checks the file, which may be a link to any file,
 * as in /proc/PID/fd. */
static int open_checked(const struct pseudofs_file *file) {
    const struct pseudofs_file dir = {.root = file->root, .dir = file->dir, .name = ""};
    char path[PATH_MAX];
    int status = pseudofs_path(&dir, path, sizeof(path));
    int parent = status == 0 ? open_path(path, O_PATH | O_DIRECTORY | O_CLOEXEC) : status;

    if (parent < 0)
        return public_status(parent, -EPERM); /* not -ENOENT: this kernel lacks the file */
    status = file->require_same_fs ? check_same_fs(parent, file->name) : 0;
    int fd = status == 0 ? pseudofs_openat(parent, file->name) : status;
    close(parent);
    return fd;
}

static int open_plain(const struct pseudofs_file *file) {
    char path[PATH_MAX];
    int status = pseudofs_path(file, path, sizeof(path));

    return status == 0 ? open_path(path, PSEUDOFS_FLAGS) : status;
}

static int open_file(struct pseudofs_file *file, int64_t now) {
    if (file->failed != 0 && now < file->retry_at)
        return file->failed;
    file->fd = kernel_only || file->require_same_fs ? open_checked(file) : open_plain(file);
    file->failed = file->fd < 0 ? file->fd : 0;
    file->retry_at = pseudofs_is_transient(file->failed) ? now : now + PSEUDOFS_RETRY_MS;
    return file->failed;
}

/* Accepts a directory of sysfs or the root of a procfs. A process chooses the contents of other
 * directories, such as /proc/PID/fd. Returns 0 or -errno. */
static int check_directory(int fd) {
    enum { PROC_ROOT_INO = 1 };
    struct statfs fs;
    struct stat st;
    int status = check_kernel_fs(fd, &fs);

    if (status != 0 || fs.f_type == SYSFS_MAGIC)
        return status;
    if (fstat(fd, &st) != 0)
        return -errno;
    return st.st_ino == PROC_ROOT_INO ? 0 : -EPERM;
}

int pseudofs_opendir(const char *root, const char *dir, DIR **result) {
    const struct pseudofs_file file = {.root = root, .dir = dir, .name = ""};
    char path[PATH_MAX];
    int status = pseudofs_path(&file, path, sizeof(path));

    if (status != 0)
        return status;
    DIR *opened = NULL;
    do
        opened = opendir(path);
    while (!opened && errno == EINTR);
    if (!opened)
        return public_status(error_status(), -ENOENT);
    status = kernel_only ? check_directory(dirfd(opened)) : 0;
    if (status == 0)
        *result = opened;
    else
        closedir(opened);
    return public_status(status, -ENOENT);
}

int pseudofs_readdir(DIR *dir, const struct dirent **entry) {
    do {
        errno = 0;
        *entry = readdir(dir);
    } while (!*entry && errno == EINTR);
    return *entry ? 0 : error_status();
}

ssize_t pseudofs_read_fd(int fd, enum pseudofs_extent extent, char *buf, size_t size) {
    size_t len = 0;

    while (len < size) {
        ssize_t n = pread(fd, buf + len, size - len, (off_t)len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_status();
        len += (size_t)n;
        if (n == 0 || (extent == PSEUDOFS_LINE && len < size && buf[len - 1] == '\n'))
            return (ssize_t)len;
    }
    return -EFBIG;
}

ssize_t pseudofs_read(struct pseudofs_file *file, int64_t now, enum pseudofs_extent extent,
                      char *buf, size_t size) {
    bool fresh = file->fd < 0;

    if (fresh) {
        int status = open_file(file, now);
        if (status != 0)
            return status;
    }
    ssize_t n = pseudofs_read_fd(file->fd, extent, buf, size);
    bool dead = n == -ENODEV || n == -ESRCH;
    if (dead || (fresh && !pseudofs_is_kernel_fs(file->fd)))
        pseudofs_close(file);
    return dead && !fresh ? pseudofs_read(file, now, extent, buf, size) : n;
}
