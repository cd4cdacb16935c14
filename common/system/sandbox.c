/* SPDX-License-Identifier: MIT */
#include "system/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "system/pseudofs.h"

#ifdef KSM_NO_SANDBOX /* sanitizers need what the sandbox forbids */

void sandbox_enter(const char *root, char *report, size_t size) {
    (void)root;
    snprintf(report, size, "confined: not in this build for tests");
}

void sandbox_enter_for_memory(const char *root, char *report, size_t size) {
    sandbox_enter(root, report, size);
}

#else

/* Returns 0 or -errno; -EOPNOTSUPP for EINVAL, the error of an unknown prctl(). */
static int prctl_status(int result) {
    if (result == 0)
        return 0;
    return errno == EINVAL ? -EOPNOTSUPP : -errno;
}

/* ---- capabilities ---- */

enum {
    KEPT = 1U << CAP_DAC_READ_SEARCH,
    KEPT_FOR_MEMORY = KEPT | 1U << CAP_SYS_PTRACE | 1U << CAP_SYS_ADMIN,
};

/* kept: a set of capabilities below 32. Sets *has_any to whether the program has any of them.
 * Returns 0 or -errno. */
static int drop_capabilities(uint32_t kept, bool *has_any) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0, 0, 0}, {0, 0, 0}};

    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    for (unsigned long cap = 0;; cap++) {
        const bool is_kept = cap < 32 && (kept >> cap & 1);
        /* Fails behind the last capability of this kernel, or at once without CAP_SETPCAP. */
        if (!is_kept && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0)
            break;
    }
    if (syscall(SYS_capget, &header, data) != 0)
        return -errno;
    data[0].permitted &= kept;
    data[0].effective = data[0].permitted;
    data[0].inheritable &= kept;
    data[1] = (struct __user_cap_data_struct){0, 0, 0};
    *has_any = data[0].permitted != 0;
    return syscall(SYS_capset, &header, data) == 0 ? 0 : -errno;
}

/* ---- files ---- */

/* Rights of ABI 3 and 5 that the headers of Debian 12 lack. */
enum { FS_TRUNCATE = 1 << 14, FS_IOCTL_DEV = 1 << 15 };

/* Returns all rights on files that this version of Landlock knows; those handled but not allowed
 * are forbidden. */
static uint64_t handled_rights(int abi) {
    uint64_t rights = LANDLOCK_ACCESS_FS_MAKE_SYM * 2 - 1; /* ABI 1: all up to this one */

    if (abi >= 2)
        rights |= LANDLOCK_ACCESS_FS_REFER;
    if (abi >= 3)
        rights |= FS_TRUNCATE;
    if (abi >= 5)
        rights |= FS_IOCTL_DEV;
    return rights;
}

/* Keeps the directory open: a rule is bound to an inode, and a process's directory gets a new one
 * if caches are dropped while it is not open (proc_pid_make_inode() in fs/proc/base.c).
 * kernel_only: root is not trusted and must lead to procfs and sysfs. */
static void allow_reading(int ruleset, const char *root, const char *dir, bool kernel_only) {
    struct landlock_path_beneath_attr rule = {
        .allowed_access = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR,
    };
    const struct pseudofs_file file = {.root = root, .dir = dir, .name = ""};
    char path[PATH_MAX];

    if (pseudofs_path(&file, path, sizeof(path)) != 0)
        return;
    rule.parent_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (rule.parent_fd < 0)
        return;
    if (!kernel_only || pseudofs_is_kernel_fs(rule.parent_fd))
        syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    else
        close(rule.parent_fd);
}

/* Returns 0 or -errno. */
static int restrict_files(const char *root, bool kernel_only) {
    int abi = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    struct landlock_ruleset_attr attr = {.handled_access_fs = handled_rights(abi)};

    if (abi < 0)
        return -errno;
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
    if (ruleset < 0)
        return -errno;
    allow_reading(ruleset, root, "proc", kernel_only);
    allow_reading(ruleset, root, "sys/kernel/mm", kernel_only);
    allow_reading(ruleset, "", "proc/self/task", kernel_only); /* for blocking_call.h */
    int status = syscall(SYS_landlock_restrict_self, ruleset, 0) == 0 ? 0 : -errno;
    close(ruleset);
    return status;
}

/* ---- system calls ---- */

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define ARCH AUDIT_ARCH_RISCV64
#elif defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
#define ARCH AUDIT_ARCH_PPC64LE
#elif defined(__s390x__)
#define ARCH AUDIT_ARCH_S390X
/* mmap() takes one argument, the address of its six arguments (sys_old_mmap() in mm/mmap.c, and
 * arch/s390's syscall.tbl), so a filter cannot see PROT_EXEC. */
#define CALL_MMAP CALL(mmap)
#endif
#ifndef CALL_MMAP
#define CALL_MMAP CALL_WITHOUT(mmap, 2, PROT_EXEC)
#endif

#ifdef ARCH

#define CALL(name) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 1), ALLOW
/* Allows the call if the argument has none of these bits. */
#define CALL_WITHOUT(name, argument, bits)                                                         \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 4), LOAD_ARGUMENT(argument),                \
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, 0, 1), REFUSE, ALLOW
/* Allows the call if the argument has that bit. */
#define CALL_WITH(name, argument, bit)                                                             \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 4), LOAD_ARGUMENT(argument),                \
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bit, 1, 0), REFUSE, ALLOW
/* Allows the call if the argument has that value. */
#define CALL_OF(name, argument, value)                                                             \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 4), LOAD_ARGUMENT(argument),                \
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 1, 0), REFUSE, ALLOW
/* Allows the call if the argument has one of two values. */
#define CALL_EITHER(name, argument, value, other)                                                  \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 5), LOAD_ARGUMENT(argument),                \
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 2, 0),                                          \
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, other, 1, 0), REFUSE, ALLOW
/* Fails as on a kernel without the call. */
#define LACK(name)                                                                                 \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 1),                                         \
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS)
#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define REFUSE BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM)
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))

/* The low 32 bits of an argument. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define LOAD_ARGUMENT(n) LOAD(args[n])
#else
#define LOAD_ARGUMENT(n)                                                                           \
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[n]) + 4)
#endif

/* The index of clone()'s argument flags. */
#if defined(__s390x__)
enum { CLONE_FLAGS = 1 };
#else
enum { CLONE_FLAGS = 0 };
#endif

enum { WRITING = O_WRONLY | O_RDWR | O_CREAT | O_TRUNC };

/* PAGEMAP_SCAN of linux/fs.h (Linux 6.7), with a struct pm_scan_arg of 96 bytes. */
#define PAGEMAP_SCAN_CALL (unsigned)_IOC(_IOC_READ | _IOC_WRITE, 'f', 16, 96)

static const struct sock_filter for_memory[] = {
    CALL(kcmp),
    CALL(sysinfo), /* qsort() of glibc */
    REFUSE,
};

static const struct sock_filter for_sample[] = {
    LOAD(arch),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0),
    REFUSE,
    LOAD(nr),
    /* The most frequent call that depends on its arguments comes first. For calls that are
     * allowed with any arguments the kernel skips the filter (Linux 5.11). */
    CALL_WITHOUT(openat, 2, WRITING),
    /* The tick. */
    CALL(pread64),
    CALL_WITHOUT(write, 0, ~3U), /* descriptors 0 to 3; 3 is a file of ksm-explain */
    CALL(read),
#ifdef SYS_poll
    CALL(poll),
#endif
    CALL(ppoll),
    CALL(clock_gettime),
    /* Sweeps of /proc. */
    CALL(close),
    CALL(fstat),
    CALL(newfstatat),
    CALL(statx),
    CALL(fstatfs),
#ifdef SYS_fstatfs64 /* fstatfs() of glibc on ppc64 and s390x */
    CALL(fstatfs64),
#endif
    CALL(getdents64),
    CALL(lseek),
#ifdef SYS__llseek /* lseek() of glibc on ppc64 */
    CALL(_llseek),
#endif
    /* fdopendir() */
    CALL_EITHER(fcntl, 1, F_GETFL, F_SETFD),
/* The calls of musl for the above. */
#ifdef SYS_open
    CALL_WITHOUT(open, 1, WRITING),
    CALL(stat),
    CALL(lstat),
#endif
    CALL_WITHOUT(writev, 0, ~3U),
    /* ksm-explain. */
    CALL_OF(ioctl, 1, PAGEMAP_SCAN_CALL),
    /* Memory. */
    CALL(brk),
    CALL_MMAP,
    CALL(munmap),
    CALL(mremap),
    CALL(madvise),
    CALL_WITHOUT(mprotect, 2, PROT_EXEC),
    CALL(futex),
    CALL(getrandom),
    /* Threads, but no processes. A filter cannot see the flags of clone3(); if that is missing,
     * glibc uses clone(). */
    LACK(clone3),
    CALL_WITH(clone, CLONE_FLAGS, CLONE_THREAD),
    CALL(set_robust_list),
    CALL(rseq),
    CALL(gettid),
    CALL(getpid),
    CALL(capget),
    CALL(restart_syscall),
    CALL(rt_sigaction),
    CALL(rt_sigprocmask),
    CALL(rt_sigreturn),
    CALL(exit),
    CALL(exit_group),
    REFUSE,
};

static int restrict_calls(bool memory) {
    enum {
        SAMPLE = sizeof(for_sample) / sizeof(for_sample[0]),
        MEMORY = sizeof(for_memory) / sizeof(for_memory[0])
    };
    struct sock_filter filter[SAMPLE + MEMORY];
    const struct sock_fprog program = {.len = memory ? SAMPLE + MEMORY - 1 : SAMPLE,
                                       .filter = filter};

    memcpy(filter, for_sample, sizeof(for_sample));
    if (memory) /* replace the last REFUSE */
        memcpy(filter + SAMPLE - 1, for_memory, sizeof(for_memory));
    return prctl_status(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0));
}

#else

static int restrict_calls(bool memory) {
    (void)memory;
    return -ENOEXEC;
}

#endif

/* ---- the report ---- */

/* Returns done if status is 0, else the reason, which may be in buf. */
static const char *describe(int status, const char *done, char *buf, size_t size) {
    switch (status) {
    case 0:
        return done;
    case -ENOSYS:
    case -EOPNOTSUPP:
        return "not supported by this kernel";
    case -ENOEXEC:
        return "not supported on this architecture";
    default:
        snprintf(buf, size, "failed: %s", strerror(-status));
        return buf;
    }
}

void sandbox_enter(const char *root, char *report, size_t size) {
    char buf[4][160];
    bool has_any = false;

    bool secure = getauxval(AT_SECURE) != 0;
    if (secure)
        pseudofs_trust_kernel_only();
    int capabilities = drop_capabilities(KEPT, &has_any);
    int sealed = prctl_status(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    int files = sealed == 0 ? restrict_files(root, secure) : sealed;
    int calls = sealed == 0 ? restrict_calls(false) : sealed;

    snprintf(report, size,
             "confined: capabilities %s, no new privileges %s, files (Landlock) %s, "
             "system calls (seccomp) %s",
             describe(capabilities, has_any ? "cap_dac_read_search only" : "none", buf[0],
                      sizeof(buf[0])),
             describe(sealed, "yes", buf[1], sizeof(buf[1])),
             describe(files, "only reading /proc and /sys/kernel/mm", buf[2], sizeof(buf[2])),
             describe(calls, "only those that a sample needs", buf[3], sizeof(buf[3])));
}

void sandbox_enter_for_memory(const char *root, char *report, size_t size) {
    char buf[2][160];
    bool has_any = false;

    (void)root;
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* it will have read the memory of others */
    bool secure = getauxval(AT_SECURE) != 0;
    if (secure)
        pseudofs_trust_kernel_only();
    int capabilities = drop_capabilities(secure ? KEPT : KEPT_FOR_MEMORY, &has_any);
    int status = prctl_status(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    if (status == 0)
        status = restrict_calls(true);
    snprintf(report, size, "confined: capabilities %s, system calls (seccomp) %s",
             describe(capabilities, has_any ? "only those that reading memory needs" : "none",
                      buf[0], sizeof(buf[0])),
             describe(status, "only those that reading memory needs", buf[1], sizeof(buf[1])));
}

#endif
