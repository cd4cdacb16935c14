/* SPDX-License-Identifier: MIT */
#include "explain/maps.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LINE_SIZE = 256 };

/* Returns how many bytes were read, or -errno. */
static ssize_t fill(struct maps *maps) {
    if (!blocking_call_begin(maps->call, maps->pid, -1))
        return -EINTR;
    ssize_t n = read(maps->fd, maps->buf, sizeof(maps->buf));
    n = blocking_call_end(maps->call, n < 0 ? -errno : n);
    maps->pos = 0;
    maps->len = n > 0 ? (size_t)n : 0;
    return n;
}

/* Returns 1, 0 at the end, or -errno. The rest of a long line is dropped: a path can have any
 * length. */
static int read_line(struct maps *maps, char line[static LINE_SIZE]) {
    size_t len = 0;

    for (char byte = '\0'; byte != '\n';) {
        if (maps->pos == maps->len) {
            const ssize_t n = fill(maps);
            if (n <= 0)
                return (int)n;
        }
        byte = maps->buf[maps->pos++];
        if (byte != '\n' && len < LINE_SIZE - 1)
            line[len++] = byte;
    }
    line[len] = '\0';
    return 1;
}

/* "7f0c8a000000-7f0c8a021000 rw-p 00000000 00:00 0   [heap]"; no blank in a path is lost. */
static bool parse(const char *line, struct mapping *mapping) {
    uint64_t inode = 0;
    char rights[5];
    int name = 0;

    *mapping = (struct mapping){.start = 0};
    if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*x %*x:%*x %" SCNu64 " %n", &mapping->start,
               &mapping->end, rights, &inode, &name) != 4)
        return false;
    mapping->has_file = inode != 0;
    mapping->is_private =
        rights[3] == 'p' && (mapping->has_file || strncmp(line + name, "[v", 2) != 0);
    snprintf(mapping->name, sizeof(mapping->name), "%s", line + name);
    return mapping->start < mapping->end;
}

int maps_next(struct maps *maps, struct mapping *mapping) {
    char line[LINE_SIZE];
    int status;

    while ((status = read_line(maps, line)) > 0)
        if (parse(line, mapping))
            return 1;
    return status;
}

void maps_rewind(struct maps *maps) {
    maps->pos = maps->len = 0;
    lseek(maps->fd, 0, SEEK_SET);
}
