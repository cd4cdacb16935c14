/* SPDX-License-Identifier: MIT
 *
 * Identifies the consumer that a process belongs to (a virtual machine, a container, a service or a
 * program) by its files cgroup, cmdline and comm in /proc/PID. A pure function; no container
 * runtime is contacted. The texts are hostile input: they may contain any bytes.
 */
#ifndef KSM_CONSUMER_ID_H
#define KSM_CONSUMER_ID_H

#include <stddef.h>

#include "consumers/consumer_name.h"

/* Contents of the three files, and their lengths; 0: not known. They need no NUL. */
struct ksm_identity {
    const char *cgroup;
    size_t cgroup_len;
    const char *cmdline;
    size_t cmdline_len;
    const char *comm;
    size_t comm_len;
};

/* Sets the kind and name of the consumer:
 *   virtual machine  QEMU's -name, firecracker's --id, the name of cloud-hypervisor's --api-socket;
 *                    else the name of its scope; else its comm
 *   container        the name of its cgroup, or the first 12 digits of its id; of nested containers
 *                    the outermost one, which the host's administrator started
 *   service          the name of its unit without escapes
 *   program          its comm
 * Of the lines of cgroup, name=systemd is searched first, then version 2 (0::), then the others.
 *
 * In a user's slice or session the user chooses these names. There a machine, container or service
 * has the user prefix ("user-1000:redis", or "user-:redis" if the cgroup does not show the user),
 * so that it is never the same as one of the host or of another user; this includes root's
 * sessions. The unit user@UID.service has no prefix.
 *
 * Outside of users' slices, the name of a machine is what its command line claims: KubeVirt and
 * Kata Containers run machines in containers; Incus, LXD and libvirt in services. So a process of
 * any container or service can take the name of a machine of the host, and counts as a part of
 * it. Names of containers and services are not the processes' choice. */
void ksm_consumer_identify(const struct ksm_identity *identity, struct ksm_consumer_name *name);

#endif
