/* SPDX-License-Identifier: MIT
 *
 * Reads a file of another process line by line, whatever the length of a line.
 *
 * Set call, pid and fd of a zeroed struct, then call line_reader_next() until it returns 0. The
 * descriptor remains the caller's, but after -ECANCELED it is closed, and fd is -1
 * (blocking_call.h).
 */
#ifndef KSM_LINE_READER_H
#define KSM_LINE_READER_H

#include <stddef.h>
#include <stdint.h>

#include "system/blocking_call.h"

struct line_reader {
    struct blocking_call *call; /* of the thread that reads, or NULL */
    int pid;
    int fd;
    int64_t offset;   /* in the file, of the end of buf */
    size_t pos, len;  /* what of buf is still to be taken */
    size_t read_size; /* bytes for each read(); 0: all of buf */
    char buf[4096];
};

/* Sets line to the next one, without its newline, with a NUL. What does not fit into size bytes is
 * dropped, and so is a last line without a newline. Returns 1, 0 at the end, or -errno. */
int line_reader_next(struct line_reader *reader, char *line, size_t size);

/* Returns what follows key in a line that begins with it, else NULL. In /proc/PID/status a key is
 * "VmRSS:\t". */
const char *line_value(const char *line, const char *key);

/* Begins anew with the first line. */
void line_reader_rewind(struct line_reader *reader);

#endif
