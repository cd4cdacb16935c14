/* SPDX-License-Identifier: MIT */
#include "tree.h"

#include <err.h>
#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

const char *tree_path(const char *dir, const char *format, ...) {
    static char buffers[8][PATH_MAX];
    static size_t next;
    char *path = buffers[next++ % 8];
    int len = snprintf(path, PATH_MAX, "%s/", dir);
    va_list words;

    va_start(words, format);
    if (len < PATH_MAX)
        len += vsnprintf(path + len, (size_t)(PATH_MAX - len), format, words);
    va_end(words);
    if (len >= PATH_MAX)
        errx(2, "%s/%s: path too long", dir, format);
    return path;
}

static void make_parents(char *path) {
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(path, 0755) != 0 && errno != EEXIST)
            err(2, "%s", path);
        *slash = '/';
    }
}

static FILE *create(const char *dir, const char *path) {
    char full[PATH_MAX];

    strcpy(full, tree_path(dir, "%s", path));
    make_parents(full);
    FILE *file = fopen(full, "w");
    if (!file)
        err(2, "%s", full);
    return file;
}

void tree_write(const char *dir, const char *path, const void *bytes, size_t len) {
    FILE *file = create(dir, path);

    if (fwrite(bytes, 1, len, file) != len || fclose(file) != 0)
        err(2, "%s/%s", dir, path);
}

void tree_print(const char *dir, const char *path, const char *format, ...) {
    FILE *file = create(dir, path);
    va_list words;

    va_start(words, format);
    if (vfprintf(file, format, words) < 0 || fclose(file) != 0)
        err(2, "%s/%s", dir, path);
    va_end(words);
}

void tree_unlink(const char *dir, const char *path) {
    const char *full = tree_path(dir, "%s", path);

    if (remove(full) != 0)
        err(2, "%s", full);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void tree_remove(const char *dir) {
    if (nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0)
        err(2, "%s", dir);
}

char *tree_temp(void) {
    const char *tmp = getenv("TMPDIR");
    char *path = strdup(tree_path(tmp && *tmp ? tmp : "/tmp", "ksm-test-XXXXXX"));

    if (!mkdtemp(path))
        err(2, "%s", path);
    return path;
}

/* The file that is being written. */
struct target {
    FILE *file;
    char path[PATH_MAX];
    unsigned mode;
};

static void finish(struct target *target) {
    if (target->file && (fchmod(fileno(target->file), target->mode) != 0 || fclose(target->file)))
        err(2, "%s", target->path);
    target->file = NULL;
}

static void start(struct target *target, const char *dir, const char *line) {
    target->mode = 0644;
    if (sscanf(line, "/%4000s %o", target->path, &target->mode) < 1)
        errx(2, "\"%s\": no path", line);
    target->file = create(dir, target->path);
}

static void include(const char *table, const char *name, const char *dir) {
    char other[PATH_MAX];
    const char *slash = strrchr(table, '/');
    int len = slash ? (int)(slash - table) : 1;

    if (snprintf(other, sizeof(other), "%.*s/%s", len, slash ? table : ".", name) >= PATH_MAX)
        errx(2, "%s: path too long", name);
    tree_make(other, dir);
}

void tree_make(const char *table, const char *dir) {
    struct target target = {.file = NULL};
    FILE *in = fopen(table, "r");
    char *line = NULL;
    size_t size = 0;

    if (!in)
        err(2, "%s", table);
    for (ssize_t len; (len = getline(&line, &size, in)) > 0;) {
        if (*line == '\t' && target.file) {
            fwrite(line + 1, 1, (size_t)len - 1, target.file);
            continue;
        }
        finish(&target);
        line[strcspn(line, "\n")] = '\0';
        if (*line == '/')
            start(&target, dir, line);
        else if (*line == '@')
            include(table, line + 1, dir);
        else if (*line == '-')
            tree_unlink(dir, line + 2);
        else if (*line != '#' && *line != '\0')
            errx(2, "%s: \"%s\" is neither a path nor a line after a tab", table, line);
    }
    finish(&target);
    free(line);
    fclose(in);
}
