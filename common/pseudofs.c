/* SPDX-License-Identifier: MIT */
#include "pseudofs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
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

int pseudofs_path(const struct pseudofs_file *file, char *path, size_t size) {
    size_t root_len = strlen(file->root);

    while (root_len > 0 && file->root[root_len - 1] == '/')
        root_len--;
    if (root_len > INT_MAX)
        return -ENAMETOOLONG;
    int len = snprintf(path, size, "%.*s/%s%s%s", (int)root_len, file->root, file->dir,
                       *file->name ? "/" : "", file->name);
    return len < 0 || (size_t)len >= size ? -ENAMETOOLONG : 0;
}

static bool is_transient(int err) {
    return err == EMFILE || err == ENFILE || err == ENOMEM || err == EINTR || err == EAGAIN;
}

static int open_file(struct pseudofs_file *file, int64_t now) {
    char path[PATH_MAX];
    int status = pseudofs_path(file, path, sizeof(path));

    if (file->failed != 0 && now < file->retry_at)
        return file->failed;
    if (status == 0) {
        file->fd = open(path, PSEUDOFS_FLAGS);
        status = file->fd < 0 ? -errno : 0;
    }
    file->failed = status;
    file->retry_at = is_transient(-status) ? now : now + PSEUDOFS_RETRY_MS;
    return status;
}

bool pseudofs_may_keep(int fd) {
    struct statfs fs;

    return fstatfs(fd, &fs) == 0 && (fs.f_type == PROC_SUPER_MAGIC || fs.f_type == SYSFS_MAGIC);
}

ssize_t pseudofs_read_fd(int fd, bool whole, char *buf, size_t size) {
    size_t len = 0;

    while (len < size) {
        ssize_t n = pread(fd, buf + len, size - len, (off_t)len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        len += (size_t)n;
        if (n == 0 || (!whole && len < size))
            return (ssize_t)len;
    }
    return -EFBIG;
}

ssize_t pseudofs_read(struct pseudofs_file *file, int64_t now, bool whole, char *buf, size_t size) {
    bool fresh = file->fd < 0;

    if (fresh) {
        int status = open_file(file, now);
        if (status != 0)
            return status;
    }
    ssize_t n = pseudofs_read_fd(file->fd, whole, buf, size);
    bool dead = n == -ENODEV || n == -ESRCH;
    if (dead || (fresh && !pseudofs_may_keep(file->fd)))
        pseudofs_close(file);
    return dead && !fresh ? pseudofs_read(file, now, whole, buf, size) : n;
}
