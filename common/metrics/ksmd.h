/* SPDX-License-Identifier: MIT
 *
 * The CPU time of the kernel thread that does the merging: ksmd, or uksmd.
 *
 * Nothing here waits for a process. The search reads comm of each process, and status only of
 * kthreadd and of those called ksmd; neither takes a lock that a process can hold. One race
 * remains. If a process of that name exits while its status is read, the reader may have to release
 * its memory, and then waits for the asynchronous I/O of that process (mmput() and exit_aio()). In
 * the initial PID namespace that cannot happen, because ksmd was started at boot and is found
 * before any such process. In another PID namespace with its own /proc nothing is read. So the race
 * requires that root leads to the /proc of a third namespace, in which process 2 is called
 * kthreadd.
 */
#ifndef KSM_KSMD_H
#define KSM_KSMD_H

#include <stdbool.h>
#include <stdint.h>

#include "metrics/metrics.h"
#include "system/pseudofs.h"

struct ksmd {
    const char *root;
    const char *comm;                /* "ksmd" or "uksmd" */
    const struct ksm_metric *metric; /* whose key and parse are those of its file */
    char dir[32];                    /* proc/PID, once found */
    struct pseudofs_file file;
    int64_t due; /* not looked for again before this instant, ms */
    int64_t ns_per_tick;
    int status;      /* 0 once found, else -errno of the search */
    bool uses_ticks; /* no schedstat: utime + stime of stat, in clock ticks */
};

/* root and comm belong to the caller and must live as long; metric is the row whose source is KSMD.
 * Opens nothing. */
void ksmd_init(struct ksmd *ksmd, const char *root, const char *comm,
               const struct ksm_metric *metric);

/* CPU time since boot in ns, from the file that the row names (schedstat, exact), else from utime +
 * stime of /proc/PID/stat (kernels without CONFIG_SCHED_INFO). now is a clock in ms that does not
 * go back. The thread is looked for once, and once a minute while it is not found, or at every call
 * while resources are lacking. Returns 0; -ENOENT where it cannot be seen (a container, hidepid);
 * or -errno or what parse.h says of the file. */
int ksmd_cpu(struct ksmd *ksmd, int64_t now, int64_t *ns);

void ksmd_close(struct ksmd *ksmd);

#endif
