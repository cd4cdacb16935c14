/* SPDX-License-Identifier: MIT
 *
 * Calls that may block for ever, because they wait for a lock of another process.
 *
 * The process decides how long it holds that lock: with a file system of its own that does not
 * answer, for ever. So a worker thread (worker.h) makes these calls, and announces each of them:
 * blocking_call_begin(), the call, blocking_call_end(). The functions below that do it all are
 * preferred. A supervisor abandons a thread whose call takes too long.
 *
 *   lock              taken by (fs/proc of Linux 6.18)
 *   mmap_lock         reading cmdline, maps, smaps, pagemap, mem and ksm_stat (since 6.14);
 *                     PAGEMAP_SCAN
 *   exec_update_lock  opening maps, smaps, pagemap and mem; reading stat; kcmp()
 *   none              reading statm, status and ksm_merging_pages. These use the memory of the
 *                     process, as all of the above do. If the process exits meanwhile, they release
 *                     that (mmput()), and wait for its asynchronous I/O (exit_aio). No signal ends
 *                     this wait.
 *
 * Reading comm and cgroup and opening all other files cannot block, and need not be announced.
 *
 * A call returns -ECANCELED if the thread was abandoned meanwhile. All that the thread shares with
 * others is the supervisor's then. The thread still owns its stack, and what it opened or allocated
 * itself and stored nowhere else. It releases that and returns. The descriptor of the call is
 * closed already. One atomic exchange decides between thread and supervisor.
 *
 * Calls that follow each other starve the process that they read: a reader that comes back at once
 * takes the mmap_lock before a waiting writer has woken up (rwsem_down_read_slowpath() of
 * kernel/locking/rwsem.c), so an mmap() waits not for one call but for 16 ms of them (measured on
 * Linux 6.18, reading 6 GiB of page tables). So a thread pauses for 1 ms after a stint, which is
 * BLOCKING_CALL_STINT_MS of calls to one process.
 */
#ifndef KSM_BLOCKING_CALL_H
#define KSM_BLOCKING_CALL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "system/pseudofs.h"

enum { BLOCKING_CALL_STINT_MS = 4 };

/* The calls of one thread, one at a time. All zero bytes: no call has begun. */
struct blocking_call {
    _Atomic int64_t since; /* when the call began, ms of CLOCK_MONOTONIC; 0: none; -1: abandoned */
    atomic_bool cancelled; /* no further call may begin */
    atomic_int thread;     /* its id in the kernel; 0: it has not started */
    int64_t resumed;       /* when the first call to pid after the last pause began, ms */
    int pid;               /* the process that the call may wait for */
    int fd;                /* the descriptor of the call, which a stuck thread closes; -1: none */
};

/* Called by the thread before its first call. */
void blocking_call_set_thread(struct blocking_call *call);

/* Announces a call. Returns false if it must not be made, because the thread is to end or was
 * abandoned: -EINTR in the functions below. call may be NULL here and below: then the thread is
 * never abandoned. */
bool blocking_call_begin(struct blocking_call *call, int pid, int fd);

/* Ends it. Returns result; or -ECANCELED if the thread was abandoned, and has closed fd. If result
 * is -ECANCELED, an error of the file's own, it returns -EIO. */
ssize_t blocking_call_end(struct blocking_call *call, ssize_t result);

/* Closes fd, unless status, which the last call returned, is -ECANCELED and that call was made on
 * fd: then it is closed already. The thread still owns call then. */
void blocking_call_close(const struct blocking_call *call, int fd, ssize_t status);

/* pseudofs_openat(): a descriptor or -errno. */
int blocking_openat(struct blocking_call *call, int pid, int dir, const char *path);

/* pread(), with -errno; it is repeated after EINTR. */
ssize_t blocking_pread(struct blocking_call *call, int pid, int fd, void *buf, size_t size,
                       int64_t offset);

/* pseudofs_read_fd(). */
ssize_t blocking_read_fd(struct blocking_call *call, int pid, int fd, enum pseudofs_extent extent,
                         char *buf, size_t size);

/* For the supervisor. Abandons a thread whose call began at the instant latest or before, ms of
 * CLOCK_MONOTONIC. Returns false if there is no such call. Returns false too if the thread runs or
 * waits for a processor, as on a busy or paused host: then nothing blocks the call. And so if that
 * cannot be determined for lack of resources (EMFILE). */
bool blocking_call_abandon(struct blocking_call *call, int64_t latest);

#endif
