/* SPDX-License-Identifier: MIT
 *
 * Replaces a regular file as a whole, so that a reader never sees a part of it.
 *
 * Calls: find; begin; write to fd; commit or discard. No sandbox may be in force.
 */
#ifndef KSM_REPLACEMENT_H
#define KSM_REPLACEMENT_H

#include <limits.h>
#include <stddef.h>
#include <sys/types.h>

struct replacement {
    char path[PATH_MAX];       /* the file, without symbolic links at its end; "": there is none */
    char fresh[PATH_MAX + 16]; /* its successor, in the same directory */
    int fd;                    /* of that, for writing */
};

/* Finds the file that path leads to: a symbolic link is followed, and its target will be replaced.
 * It may be missing, but its directory may not. Returns 0; or -errno, -EINVAL for a device, FIFO,
 * socket or directory and for a link that leads nowhere: then message is one line that names path
 * and says why. Creates nothing yet. */
int replacement_find(struct replacement *file, const char *path, char *message, size_t size);

/* Creates the successor. Returns 0; or -errno, and message says why. */
int replacement_begin(struct replacement *file, char *message, size_t size);

/* Gives the successor its mode and puts it in the place of path. Returns 0; or -errno:
 * then the successor is gone, and the file at path is as before. */
int replacement_commit(struct replacement *file, mode_t mode);

/* Removes the successor; does nothing if there is none. */
void replacement_discard(struct replacement *file);

#endif
