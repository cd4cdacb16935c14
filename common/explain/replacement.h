/* SPDX-License-Identifier: MIT
 *
 * Replaces a regular file atomically, so that a reader never sees a part of it.
 *
 * Call replacement_find(), replacement_begin(), write to fd, then replacement_commit() or
 * replacement_discard(). Call them outside of the sandbox. After an error nothing remains to be
 * closed or removed.
 */
#ifndef KSM_REPLACEMENT_H
#define KSM_REPLACEMENT_H

#include <limits.h>
#include <stddef.h>
#include <sys/types.h>

struct replacement {
    char path[PATH_MAX];       /* the file, with its symbolic link followed; "": none */
    char fresh[PATH_MAX + 16]; /* the new file, in the same directory */
    int fd;                    /* descriptor of the new file, for writing; -1: none */
};

/* Finds the file to replace; if path is a symbolic link, that is its target. The file may be
 * missing. Creates nothing. Returns 0; or -errno, and message is one line: -EINVAL for a device,
 * FIFO, socket or directory, and for a link to a missing file. */
int replacement_find(struct replacement *file, const char *path, char *message, size_t size);

/* Creates the new file. Returns 0; or -errno, and message says why. */
int replacement_begin(struct replacement *file, char *message, size_t size);

/* Sets the mode of the new file and renames it to path. Returns 0; or -errno: then the new file has
 * been removed, and the file at path is unchanged. */
int replacement_commit(struct replacement *file, mode_t mode);

/* Removes the new file, if there is one. */
void replacement_discard(struct replacement *file);

#endif
