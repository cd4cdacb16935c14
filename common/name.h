/* SPDX-License-Identifier: MIT
 *
 * Whose process is it: a virtual machine's, a container's, a service's, or just a program. Pure
 * functions over what /proc/PID/{cgroup,cmdline,comm} say; no runtime is asked.
 *
 * All of that is text by strangers, of any length and any bytes.
 */
#ifndef KSM_NAME_H
#define KSM_NAME_H

#include <stddef.h>

/* X(kind): the words are those of the labels and of the option that leaves kinds out. */
#define KSM_CONSUMER_KINDS(X)                                                                      \
    X(vm)                                                                                          \
    X(container)                                                                                   \
    X(service)                                                                                     \
    X(program)

enum ksm_consumer_kind {
#define X(kind) KSM_CONSUMER_##kind,
    KSM_CONSUMER_KINDS(X)
#undef X
        KSM_CONSUMER_KIND_COUNT
};
extern const char *const ksm_consumer_kinds[KSM_CONSUMER_KIND_COUNT];

/* Enough for any name that both hosts carry: collectd's plugin instance holds 127 bytes, and the
 * kind stands before the name. */
enum { KSM_NAME_SIZE = 104 };

struct ksm_name {
    enum ksm_consumer_kind kind;
    char text[KSM_NAME_SIZE]; /* safe for both hosts, see ksm_name_clean */
};

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
void ksm_name_of(const struct ksm_identity *identity, struct ksm_name *name);

/* Makes any bytes a name that both hosts carry as it is: letters, digits, _ - . : @ + and visible
 * UTF-8 stay, everything else becomes _, and it is cut to fit. A name that had to be changed, or
 * that looks as if it had been or as if it had a user's mark, gets ~ and 8 hex digits of a hash of
 * its bytes, so that two names never become one. text is never empty. */
void ksm_name_clean(const char *raw, size_t len, char text[static KSM_NAME_SIZE]);

/* The same for a name that a user chose: that user's mark, at most 16 bytes, comes first and is
 * never cut. */
void ksm_name_clean_after(const char *user, const char *raw, size_t len,
                          char text[static KSM_NAME_SIZE]);

#endif
