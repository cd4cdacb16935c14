/* SPDX-License-Identifier: MIT */
#include "system/streams.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void streams_open_missing(void) {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            open("/dev/null", fd == STDERR_FILENO ? O_WRONLY : O_RDONLY);
}

int streams_flush(const char *program, const char *name) {
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return 0;
    /* stdio keeps no errno of an earlier failure. */
    fprintf(stderr, "%s: %s: %s\n", program, name, errno != 0 ? strerror(errno) : "write failed");
    return -1;
}
