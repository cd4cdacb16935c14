/* SPDX-License-Identifier: MIT */
#include "explain/maps.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Parses "7f0c8a000000-7f0c8a021000 rw-p 00000000 00:00 0   [heap]". A path may contain blanks. */
static bool parse(const char *line, struct mapping *mapping) {
    uint64_t inode = 0;
    char rights[5] = "";
    int name = 0;

    *mapping = (struct mapping){.start = 0};
    if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*x %*x:%*x %" SCNu64 " %n", &mapping->start,
               &mapping->end, rights, &inode, &name) != 4)
        return false;
    mapping->has_file = inode != 0;
    mapping->may_merge =
        rights[3] == 'p' && (mapping->has_file || strncmp(line + name, "[v", 2) != 0);
    snprintf(mapping->name, sizeof(mapping->name), "%s", line + name);
    return mapping->start < mapping->end;
}

int maps_next(struct line_reader *maps, struct mapping *mapping) {
    char line[256];

    for (;;) {
        const int status = line_reader_next(maps, line, sizeof(line));
        if (status <= 0 || parse(line, mapping))
            return status;
    }
}
