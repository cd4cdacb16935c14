/* SPDX-License-Identifier: MIT */
#include "startup.h"

#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "consumers/process_list.h"

enum { SPARE_DESCRIPTORS = 128 }; /* for the host's metrics */

/* Makes a pipe non-blocking, so that this program ends with an agent that hangs. The pipe is opened
 * again, because O_NONBLOCK would apply to every process that shares the agent's descriptor. */
static void set_nonblocking(int fd) {
    char path[32];
    struct stat status;

    if (fstat(fd, &status) != 0 || !S_ISFIFO(status.st_mode))
        return;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int own = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (own < 0)
        return;
    dup2(own, fd);
    close(own);
}

/* Returns the descriptors that this process may have, less the spare ones. */
static int raise_limit(void) {
    const rlim_t wanted = KSM_KEPT_DESCRIPTORS_MAX + SPARE_DESCRIPTORS;
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 0;
    if (limit.rlim_cur < wanted) {
        const rlim_t before = limit.rlim_cur;
        limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
            limit.rlim_cur = before;
    }
    return (int)(limit.rlim_cur < wanted ? limit.rlim_cur : wanted) - SPARE_DESCRIPTORS;
}

int startup_prepare(void) {
    set_nonblocking(STDOUT_FILENO);
    signal(SIGPIPE, SIG_IGN); /* write() then returns EPIPE */
#ifdef M_ARENA_MAX            /* glibc */
    mallopt(M_ARENA_MAX, 1);  /* the sampler's threads run one at a time */
#endif
    return raise_limit();
}
