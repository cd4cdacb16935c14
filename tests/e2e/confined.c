/* SPDX-License-Identifier: MIT
 *
 * confined try ROOT [read|write|both|create|truncate|list|wait PATH]...
 *     Confines itself as ksm.plugin does, and then tries what it may not do any more: first opens
 *     each PATH (but for wait it reads a byte from its standard input), then makes a table of
 * system calls, then what a sample and its threads need. Prints the sandbox's word, a line an
 * attempt with the error's name or "ok", and "alive" at last. confined lacking WHAT PROGRAM
 * [ARGUMENT]... Runs PROGRAM as on a kernel that lacks or refuses WHAT, one of the ways below.
 */
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "system/sandbox.h"

static void print_result(const char *what, const char *of, long result) {
    printf("%s%s%s\t%s\n", what, *of ? " " : "", of, result >= 0 ? "ok" : strerrorname_np(errno));
}

/* ---- files ---- */

static const struct {
    const char *how;
    int flags;
} openings[] = {
    {"read", O_RDONLY},
    {"write", O_WRONLY},
    {"both", O_RDWR},
    {"create", O_RDONLY | O_CREAT},
    {"truncate", O_RDONLY | O_TRUNC},
    {"list", O_RDONLY | O_DIRECTORY},
};

static void try_file(const char *how, const char *path) {
    if (strcmp(how, "wait") == 0) {
        char byte;
        fflush(stdout);
        print_result(how, path, read(STDIN_FILENO, &byte, 1));
        return;
    }
    for (size_t i = 0; i < sizeof(openings) / sizeof(openings[0]); i++) {
        char byte;
        if (strcmp(how, openings[i].how) != 0)
            continue;
        int fd = open(path, openings[i].flags | O_NONBLOCK | O_CLOEXEC, 0600);
        long result = fd >= 0 && strcmp(how, "read") == 0 ? read(fd, &byte, 1) : fd;
        print_result(how, path, result);
        if (fd >= 0)
            close(fd);
        return;
    }
    errx(EXIT_FAILURE, "no way to open a file: %s", how);
}

/* ---- system calls ---- */

struct attempt {
    const char *name;
    long number;
    long args[6];
};

#define CALL(name, ...)                                                                            \
    {                                                                                              \
#name, SYS_##name, {                                                                       \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
#define AT(pointer) ((long)(intptr_t)(pointer))

static void try_all(const char *what, const struct attempt *attempts, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const long *a = attempts[i].args;
        print_result(what, attempts[i].name,
                     syscall(attempts[i].number, a[0], a[1], a[2], a[3], a[4], a[5]));
    }
}

/* What does harm where it is let through would be done to victim, another process of this user, or
 * to scratch, a file of ours. */
static void try_calls(pid_t victim, const char *scratch) {
    static const char *const argv[] = {"/bin/true", NULL};
    static struct timespec instant = {1, 0};
    static int ends[2];
    void *page = mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const struct attempt attempts[] = {
    /* Programs and processes. */
#ifdef SYS_fork
        CALL(fork, 0),
        CALL(vfork, 0),
#endif
        CALL(clone, SIGCHLD),
        {"clone but for CLONE_THREAD", SYS_clone, {CLONE_VM | CLONE_SIGHAND | CLONE_FILES}},
        CALL(clone3, AT(page), 88),
        CALL(execve, AT(argv[0]), AT(argv), 0),
        CALL(execveat, AT_FDCWD, AT(argv[0]), AT(argv), 0, 0),
        CALL(kill, victim, SIGKILL),
        CALL(tkill, victim, SIGKILL),
        CALL(tgkill, victim, victim, SIGKILL),
        CALL(rt_sigqueueinfo, victim, SIGKILL, AT(page)),
        CALL(pidfd_open, victim),
        CALL(pidfd_send_signal, STDIN_FILENO, SIGKILL),
        {"fcntl F_SETOWN", SYS_fcntl, {STDIN_FILENO, F_SETOWN, victim}},
        {"fcntl F_SETSIG", SYS_fcntl, {STDIN_FILENO, F_SETSIG, SIGKILL}},
        {"fcntl F_DUPFD", SYS_fcntl, {STDIN_FILENO, F_DUPFD, 100}},
        CALL(ptrace, PTRACE_ATTACH, victim),
        CALL(process_vm_readv, victim),
        CALL(process_vm_writev, victim),
        CALL(setpriority, 0, victim, 19),
        CALL(prlimit64, victim, 7),
        CALL(sched_setaffinity, victim),
        CALL(unshare, CLONE_NEWUSER),
        CALL(setns, STDIN_FILENO),
    /* Files. */
#ifdef SYS_open
        {"open to write", SYS_open, {AT(scratch), O_WRONLY}},
        CALL(creat, AT(scratch), 0600),
        CALL(chmod, AT(scratch), 0777),
        CALL(chown, AT(scratch), 1, 1),
        CALL(unlink, AT(scratch)),
        CALL(rename, AT(scratch), AT(scratch)),
        CALL(mkdir, AT(scratch)),
        CALL(mknod, AT(scratch)),
        CALL(link, AT(scratch), AT(scratch)),
        CALL(symlink, AT(scratch), AT(scratch)),
        CALL(dup2, STDIN_FILENO, 100),
        CALL(pipe, AT(ends)),
#endif
        CALL(openat2, AT_FDCWD, AT("/etc/passwd"), AT(page), 24),
        CALL(open_by_handle_at, AT_FDCWD, AT(page)),
        CALL(name_to_handle_at, AT_FDCWD, AT(scratch), AT(page), AT(page)),
        CALL(fchmodat, AT_FDCWD, AT(scratch), 0777),
        CALL(fchownat, AT_FDCWD, AT(scratch), 1, 1),
        CALL(unlinkat, AT_FDCWD, AT(scratch)),
        CALL(renameat2, AT_FDCWD, AT(scratch), AT_FDCWD, AT(scratch)),
        CALL(linkat, AT_FDCWD, AT(scratch), AT_FDCWD, AT(scratch)),
        CALL(symlinkat, AT(scratch), AT_FDCWD, AT(scratch)),
        CALL(mkdirat, AT_FDCWD, AT(scratch)),
        CALL(mknodat, AT_FDCWD, AT(scratch)),
        CALL(truncate, AT(scratch), 0),
        CALL(ftruncate, STDIN_FILENO, 0),
        CALL(utimensat, AT_FDCWD, AT(scratch)),
        CALL(setxattr, AT(scratch), AT("user.x"), AT("x"), 1),
        CALL(chdir, AT("/")),
        CALL(chroot, AT("/")),
        CALL(mount, AT("/"), AT("/"), 0, 4096),
        CALL(umount2, AT(scratch)),
        CALL(pivot_root, AT("/"), AT("/")),
        CALL(dup, STDIN_FILENO),
        CALL(pipe2, AT(ends)),
        CALL(ioctl, STDIN_FILENO),
        CALL(pwrite64, STDIN_FILENO, AT("x"), 1),
        {"writev elsewhere", SYS_writev, {100}},
        CALL(sendfile, STDOUT_FILENO, STDIN_FILENO),
        CALL(splice, STDIN_FILENO, 0, STDOUT_FILENO),
        CALL(memfd_create, AT("x")),
        CALL(inotify_init1, 0),
        CALL(fanotify_init, 0),
        /* The net. */
        CALL(socket, AF_INET, SOCK_STREAM),
        CALL(socketpair, AF_UNIX, SOCK_STREAM, 0, AT(ends)),
        CALL(connect, STDIN_FILENO),
        CALL(bind, STDIN_FILENO),
        CALL(accept4, STDIN_FILENO),
        CALL(sendto, STDIN_FILENO),
        CALL(sendmsg, STDIN_FILENO),
        CALL(recvmsg, STDIN_FILENO),
        /* Rights. */
        CALL(setuid, getuid()),
        CALL(setgid, getgid()),
        CALL(setresuid, -1, -1, -1),
        CALL(setgroups, 0),
        CALL(capset, AT(page)),
        CALL(prctl, PR_SET_DUMPABLE, 1),
        CALL(seccomp, 0),
        CALL(personality, 0xffffffff),
        /* Code. */
        {"mmap PROT_EXEC", SYS_mmap, {0, 1, PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1}},
        {"mprotect PROT_EXEC", SYS_mprotect, {AT(page), 1, PROT_READ | PROT_EXEC}},
        /* The kernel. */
        CALL(bpf, 0),
        CALL(perf_event_open, AT(page), victim, -1, -1),
        CALL(userfaultfd, 0),
        CALL(io_uring_setup, 1, AT(page)),
        CALL(add_key, 0),
        CALL(keyctl, 0),
        CALL(init_module, 0),
        CALL(delete_module, AT("none")),
        CALL(kexec_load, 0),
        CALL(reboot, 0),
        CALL(sethostname, 0),
        CALL(clock_settime, -1, AT(&instant)),
        CALL(syslog, 10),
        CALL(acct, 0),
        CALL(swapoff, AT("none")),
        {"of another ABI", 0x40000000 | SYS_openat, {AT_FDCWD, AT("/proc/stat")}},
    };

    try_all("call", attempts, sizeof(attempts) / sizeof(attempts[0]));
}

static void *read_own(void *data) {
    char byte;
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    bool read_it = fd >= 0 && read(fd, &byte, 1) == 1;

    if (fd >= 0)
        close(fd);
    free(malloc(1 << 20));
    return read_it ? data : NULL;
}

/* Opens a directory by its descriptor, and reads it twice; returns how many entries were in it the
 * second time, or -1. */
static int read_twice(const char *path) {
    int count = -1, fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);

    while (dir && readdir(dir))
        continue;
    if (dir)
        rewinddir(dir);
    while (dir && readdir(dir))
        count++;
    if (dir)
        closedir(dir);
    else if (fd >= 0)
        close(fd);
    return count;
}

static int ask_file_system(const char *path) {
    struct statfs fs;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int status = fd < 0 ? fd : fstatfs(fd, &fs);

    if (fd >= 0)
        close(fd);
    return status;
}

/* What the C libraries, glibc and musl, do for a sample; and threads. */
static void try_needs(void) {
    static struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    static struct __user_cap_data_struct data[2];
    static struct stat status;
    const struct attempt attempts[] = {
        CALL(getpid, 0),
        CALL(gettid, 0),
        CALL(capget, AT(&header), AT(data)),
        CALL(writev, STDOUT_FILENO, 0, 0),
#ifdef SYS_open
        CALL(open, AT("/proc/stat"), O_RDONLY),
        CALL(stat, AT("/proc/stat"), AT(&status)),
        CALL(lstat, AT("/proc/stat"), AT(&status)),
#endif
    };
    pthread_t thread;
    void *result = NULL;

    try_all("need", attempts, sizeof(attempts) / sizeof(attempts[0]));
    errno = pthread_create(&thread, NULL, read_own, &header);
    bool made = errno == 0 && pthread_join(thread, &result) == 0 && result;
    print_result("need", "thread", made ? 0 : -1);
    print_result("need", "fdopendir", read_twice("/proc/self"));
    print_result("need", "fstatfs", ask_file_system("/proc/self/stat"));
}

/* Returns a process that waits for its end. */
static pid_t start_victim(void) {
    pid_t parent = getpid();
    pid_t victim = fork();

    if (victim == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        while (getppid() == parent)
            pause();
        _exit(EXIT_SUCCESS);
    }
    return victim;
}

static int try(int argc, char *argv[], void (*enter)(const char *, char *, size_t)) {
    char report[512];
    char scratch[] = "/tmp/ksm-confined-XXXXXX";
    pid_t victim = start_victim();
    int fd = mkstemp(scratch);

    if (victim < 0 || fd < 0)
        err(EXIT_FAILURE, "%s", scratch);
    unlink(scratch); /* attempts are refused before the file is looked for */
    enter(argv[0], report, sizeof(report));
    puts(report);
    for (int i = 1; i + 1 < argc; i += 2)
        try_file(argv[i], argv[i + 1]);
    try_calls(victim, scratch);
    try_needs();
    puts("alive");
    return EXIT_SUCCESS;
}

/* ---- another kernel ---- */

/* Makes CALL(first, …) fail with error from now on; first is ignored if it is negative. */
static void lack(unsigned int call, int first, unsigned int error) {
    const struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned int)first, 0, first < 0 ? 0 : 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof(filter) / sizeof(filter[0]),
                                 (struct sock_filter *)(intptr_t)filter};

    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) != 0)
        err(EXIT_FAILURE, "seccomp");
}

static int lacking(const char *what, char *argv[]) {
    static const struct {
        const char *what;
        unsigned int call;
        int first;
        unsigned int error;
    } ways[] = {
        {"capget", SYS_capget, -1, EPERM},
        {"capset", SYS_capset, -1, EPERM},
        {"landlock", SYS_landlock_create_ruleset, -1, ENOSYS},
        {"landlock-off", SYS_landlock_create_ruleset, -1, EOPNOTSUPP},
        {"landlock-refused", SYS_landlock_create_ruleset, -1, EPERM},
        {"landlock-full", SYS_landlock_restrict_self, -1, E2BIG},
        {"seccomp", SYS_prctl, PR_SET_SECCOMP, EINVAL},
        {"seccomp-refused", SYS_prctl, PR_SET_SECCOMP, EACCES},
        {"no_new_privs", SYS_prctl, PR_SET_NO_NEW_PRIVS, EINVAL},
    };
    bool known = false;

    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        if (strcmp(what, ways[i].what) != 0)
            continue;
        lack(ways[i].call, ways[i].first, ways[i].error);
        known = true;
    }
    if (!known)
        errx(EXIT_FAILURE, "cannot take away %s", what);
    execvp(argv[0], argv);
    err(EXIT_FAILURE, "%s", argv[0]);
}

int main(int argc, char *argv[]) {
    if (argc >= 3 && strcmp(argv[1], "try") == 0)
        return try(argc - 2, argv + 2, sandbox_enter);
    if (argc >= 3 && strcmp(argv[1], "memory") == 0)
        return try(argc - 2, argv + 2, sandbox_enter_for_memory);
    if (argc >= 4 && strcmp(argv[1], "lacking") == 0)
        return lacking(argv[2], argv + 3);
    errx(EXIT_FAILURE,
         "usage: confined try|memory ROOT [HOW PATH]... | lacking WHAT PROGRAM [ARGUMENT]...");
}
