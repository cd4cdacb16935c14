/* SPDX-License-Identifier: MIT
 *
 * Finds the consumer that a process belongs to: a virtual machine, a container, a service, or just
 * a program. These are pure functions over /proc/PID/{cgroup,cmdline,comm}; no runtime is
 * contacted.
 *
 * All of that text comes from strangers. It may have any length and any bytes.
 */
#ifndef KSM_CONSUMER_ID_H
#define KSM_CONSUMER_ID_H

#include <stddef.h>

#include "consumers/consumer_name.h"

/* What is known of a process: each a text of so many bytes (0: not known), not NUL-terminated.
 * cmdline has a NUL after each argument, cgroup and comm are as the kernel prints them. */
struct ksm_identity {
    const char *cgroup;
    size_t cgroup_len;
    const char *cmdline;
    size_t cmdline_len;
    const char *comm;
    size_t comm_len;
};

/* Names the consumer that a process belongs to. For a virtual machine QEMU's -name (or
 * firecracker's --id, cloud-hypervisor's --api-socket) comes before the name of its scope, that
 * before an id; a container has the name of its cgroup or the first 12 digits of its id; a service
 * the name of its unit, escapes undone; a program its comm. Of the lines of cgroup the one of
 * name=systemd is asked first, then that of version 2 (0::), then the others. Of nested
 * containers the outermost counts: it is the one that the host's owner started.
 *
 * In a user's slice or session the user chooses all of these. There the name of a machine, a
 * container or a service has the mark user-UID: before it ("user-1000:redis"; "user-:redis" if the
 * cgroup does not show which user), so that it never becomes one with the host's or another user's
 * of the same name. Root's sessions are no exception. The unit user@UID.service has no mark,
 * neither has a program. */
void ksm_consumer_identify(const struct ksm_identity *identity, struct ksm_consumer_name *name);

#endif
