/* SPDX-License-Identifier: MIT */
#include "system/line_reader.h"

#include <errno.h>
#include <string.h>

/* Returns how many bytes were read, or -errno. */
static ssize_t fill(struct line_reader *reader) {
    const size_t size = reader->read_size > 0 ? reader->read_size : sizeof(reader->buf);
    ssize_t n =
        blocking_pread(reader->call, reader->pid, reader->fd, reader->buf, size, reader->offset);

    if (n > 0) {
        reader->offset += n;
        reader->pos = 0;
        reader->len = (size_t)n;
    }
    if (n == -ECANCELED)
        reader->fd = -1;
    return n;
}

int line_reader_next(struct line_reader *reader, char *line, size_t size) {
    size_t len = 0;

    for (char byte = '\0'; byte != '\n';) {
        if (reader->pos == reader->len) {
            ssize_t n = fill(reader);
            if (n <= 0)
                return (int)n;
        }
        byte = reader->buf[reader->pos++];
        if (byte != '\n' && len < size - 1)
            line[len++] = byte;
    }
    line[len] = '\0';
    return 1;
}

const char *line_value(const char *line, const char *key) {
    const size_t len = strlen(key);

    return strncmp(line, key, len) == 0 ? line + len : NULL;
}

void line_reader_rewind(struct line_reader *reader) {
    reader->offset = 0;
    reader->pos = reader->len = 0;
}
