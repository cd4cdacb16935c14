/* SPDX-License-Identifier: MIT */
#include "runs/calls.h"

#include <dirent.h>
#include <errno.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "support/faults.h"

static bool sysfs;
static int blocks;

void calls_pretend_sysfs(bool pretend) {
    sysfs = pretend;
}

int calls_blocks(void) {
    return blocks;
}

void calls_reset_blocks(void) {
    blocks = 0;
}

/* Returns -1 and sets errno for an injected error, else 0, also for an injected short read: only
 * read() can be shortened. */
static int fail(int error) {
    if (error <= 0)
        return 0;
    errno = error;
    return -1;
}

FAULTS_WRAPPED(ssize_t, read, int fd, void *buf, size_t size);
FAULTS_WRAPPED(struct dirent *, readdir, DIR *dir);
FAULTS_WRAPPED(int, fstatfs, int fd, struct statfs *fs);
FAULTS_WRAPPED(int, stat, const char *path, struct stat *st);
FAULTS_WRAPPED(int, fstat, int fd, struct stat *st);
FAULTS_WRAPPED(int, fstatat, int dir, const char *path, struct stat *st, int flags);
FAULTS_WRAPPED(int, closedir, DIR *dir);

ssize_t __wrap_read(int fd, void *buf, size_t size) {
    int error = faults_next_of(FAULTS_READ, fd);

    if (error < 0 && size > 1)
        size = 1;
    return fail(error) != 0 ? -1 : __real_read(fd, buf, size);
}

struct dirent *__wrap_readdir(DIR *dir) {
    return fail(faults_next_of(FAULTS_READDIR, dirfd(dir))) != 0 ? NULL : __real_readdir(dir);
}

int __wrap_fstatfs(int fd, struct statfs *fs) {
    if (fail(faults_next_of(FAULTS_FSTATFS, fd)) != 0)
        return -1;
    int status = __real_fstatfs(fd, fs);
    if (status == 0 && sysfs)
        fs->f_type = SYSFS_MAGIC;
    return status;
}

int __wrap_stat(const char *path, struct stat *st) {
    return fail(faults_next(FAULTS_STAT, path)) != 0 ? -1 : __real_stat(path, st);
}

int __wrap_fstat(int fd, struct stat *st) {
    return fail(faults_next_of(FAULTS_STAT, fd)) != 0 ? -1 : __real_fstat(fd, st);
}

int __wrap_fstatat(int dir, const char *path, struct stat *st, int flags) {
    return fail(faults_next(FAULTS_STAT, path)) != 0 ? -1 : __real_fstatat(dir, path, st, flags);
}

int __wrap_closedir(DIR *dir) {
    int error = faults_next_of(FAULTS_CLOSE, dirfd(dir));
    int status = __real_closedir(dir);

    return fail(error) != 0 ? -1 : status;
}

/* ---- memory ---- */

FAULTS_WRAPPED(void *, malloc, size_t size);
FAULTS_WRAPPED(void *, calloc, size_t count, size_t size);
FAULTS_WRAPPED(void *, realloc, void *old, size_t size);
FAULTS_WRAPPED(void *, reallocarray, void *old, size_t count, size_t size);
FAULTS_WRAPPED(void, free, void *block);

static bool fails(void) {
    return fail(faults_next(FAULTS_MEMORY, "")) != 0;
}

static void *count_block(const void *old, void *block) {
    blocks += block && !old && faults_counting();
    return block;
}

void *__wrap_malloc(size_t size) {
    return fails() ? NULL : count_block(NULL, __real_malloc(size));
}

void *__wrap_calloc(size_t count, size_t size) {
    return fails() ? NULL : count_block(NULL, __real_calloc(count, size));
}

void *__wrap_realloc(void *old, size_t size) {
    return fails() ? NULL : count_block(old, __real_realloc(old, size));
}

void *__wrap_reallocarray(void *old, size_t count, size_t size) {
    return fails() ? NULL : count_block(old, __real_reallocarray(old, count, size));
}

void __wrap_free(void *block) {
    blocks -= block && faults_counting();
    __real_free(block);
}
