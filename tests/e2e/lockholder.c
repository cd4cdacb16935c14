/* SPDX-License-Identifier: MIT */
/* Processes that hold the locks of their own memory for as long as they are told to, as any user
 * can make them where /dev/fuse is open to all and user namespaces are allowed.
 *
 * lockholder [--exec NAME] [--aio] [--merge MIB] [NUMBER]
 *     NUMBER (1) processes, ksm-holder-1 and so on, each with MIB MiB (0) of pairs of equal pages
 *     that are registered with KSM and the same in all of them. With --exec they are all called
 *     NAME, and hold their exec_update_lock instead of the mmap lock. With --aio, the last process
 *     that uses the memory of one that was killed hangs until this program ends.
 *
 * It prints "PID NAME" for each of them, then "ready". What it does then it reads from its standard
 * input, a line a command:
 *     hold        All of them take their locks. It prints "held" when all have them.
 *     release     All of them give them back. It prints "released" when all have.
 * At the end of its input or with it they all end, and nothing stays mounted. Exits with 0, 1 with
 * a message, or 77 with a message if this machine does not allow it.
 *
 * How: each process writes to a page of a file that it has mapped, and maps something else over
 * it. The kernel first writes the page to the file, and meanwhile mmap() has the lock for writing
 * (fuse_vma_close() in fs/fuse/file.c). The file system is this program's, which does not answer.
 * With --exec it executes itself with an open file of that file system, which exec() closes:
 * begin_new_exec() of fs/exec.c holds the lock meanwhile, and the kernel waits for the answer to
 * FUSE_FLUSH (fuse_flush() in fs/fuse/file.c).
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define WHERE "/mnt" /* any directory: nobody else sees the mount */
enum { MAX_HOLDERS = 1000, MAX_MIB = 4096, NOT_HERE = 77, LARGEST_REQUEST = 1 << 17 };

static const char *exec_name; /* of the processes with --exec, else NULL */
static bool with_aio;

/* ---- the processes ---- */

static void *pages(size_t size, int flags, int fd) {
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);

    if (memory == MAP_FAILED)
        err(EXIT_FAILURE, "mmap");
    return memory;
}

static void register_with_ksm(size_t size, size_t page_size) {
    char *memory = pages(size, MAP_PRIVATE | MAP_ANONYMOUS, -1);

    (void)madvise(memory, size, MADV_NOHUGEPAGE); /* refused where there are none */
    for (size_t i = 0; i < size / page_size; i++)
        memset(memory + i * page_size, 'h', page_size), *(size_t *)(memory + i * page_size) = i / 2;
    if (madvise(memory, size, MADV_MERGEABLE) != 0)
        err(EXIT_FAILURE, "MADV_MERGEABLE");
}

/* What one process has to know. */
struct holder {
    int number;
    int mib;
    int orders; /* a byte from here is an order to hold */
    int done;   /* a byte to here says that this is over, or that the process is ready */
};

static void hold_mmap_lock(int fd, size_t page_size) {
    char *page = pages(page_size, MAP_SHARED, fd);

    *page = 1;
    mmap(page, page_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    munmap(page, page_size);
    close(fd);
}

/* main() goes on by resume(). */
static void hold_exec_update_lock(const struct holder *me) {
    char arguments[4][12];

    snprintf(arguments[0], sizeof arguments[0], "%d", me->number);
    snprintf(arguments[1], sizeof arguments[1], "%d", me->mib);
    snprintf(arguments[2], sizeof arguments[2], "%d", me->orders);
    snprintf(arguments[3], sizeof arguments[3], "%d", me->done);
    execl("/proc/self/exe", "lockholder", "--resume", exec_name, arguments[0], arguments[1],
          arguments[2], arguments[3], (char *)NULL);
    err(EXIT_FAILURE, "/proc/self/exe");
}

/* Reads from the file system, which does not answer: the kernel frees the memory of this process
 * only after that (exit_aio() in fs/aio.c). Makes so many mappings that reading ksm_stat takes
 * longer than to die. */
static void hang_exit(const char *path, size_t page_size) {
    enum { MAPPINGS = 60000 };
    char *memory = pages(MAPPINGS * page_size, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    aio_context_t context = 0;
    struct iocb request = {.aio_lio_opcode = IOCB_CMD_PREAD, .aio_nbytes = page_size};
    struct iocb *requests[] = {&request};

    for (size_t i = 0; i < MAPPINGS; i += 2)
        if (mprotect(memory + i * page_size, page_size, PROT_READ) != 0)
            err(EXIT_FAILURE, "mprotect");
    request.aio_fildes = (unsigned)open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
    request.aio_buf = (uintptr_t)memory + page_size;
    if (syscall(SYS_io_setup, 1, &context) != 0 ||
        syscall(SYS_io_submit, context, 1L, requests) != 1)
        err(NOT_HERE, "asynchronous reading");
}

/* Have the lock until the file system answers. Each process has a file of its own. */
static void hold(const struct holder *me, size_t page_size) {
    char path[sizeof WHERE + 12];
    int fd;

    snprintf(path, sizeof path, WHERE "/%d", me->number);
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        err(EXIT_FAILURE, "%s", path);
    if (with_aio)
        hang_exit(path, page_size);
    if (exec_name)
        hold_exec_update_lock(me);
    else
        hold_mmap_lock(fd, page_size);
}

static void name_of(int number, char name[static 32]) {
    if (exec_name)
        snprintf(name, 32, "%s", exec_name);
    else
        snprintf(name, 32, "ksm-holder-%d", number);
}

_Noreturn static void live(const struct holder *me) {
    size_t page_size = (size_t)sysconf(_SC_PAGESIZE);
    char name[32]; /* the kernel cuts it */
    char byte = 0;

    name_of(me->number, name);
    prctl(PR_SET_NAME, name);
    if (me->mib)
        register_with_ksm((size_t)me->mib << 20, page_size);
    while (write(me->done, &byte, 1) == 1 && read(me->orders, &byte, 1) == 1)
        hold(me, page_size);
    exit(EXIT_SUCCESS);
}

_Noreturn static void resume(char **arguments) {
    const struct holder me = {atoi(arguments[1]), atoi(arguments[2]), atoi(arguments[3]),
                              atoi(arguments[4])};

    exec_name = arguments[0];
    live(&me);
}

/* ---- the file system: files 1, 2, 3 and so on of a page each, all of them one size ---- */

static struct {
    int fd;
    int held; /* requests that wait for their answers */
    struct fuse_in_header waiting[MAX_HOLDERS];
} server;

/* A request whose process is gone is answered in vain. */
static void answer(const struct fuse_in_header *to, int error, const void *body, size_t size) {
    struct fuse_out_header head = {(uint32_t)(sizeof head + size), -error, to->unique};
    struct iovec parts[] = {{&head, sizeof head}, {(void *)(uintptr_t)body, size}};

    if (writev(server.fd, parts, 2) < 0 && errno != ENOENT)
        err(EXIT_FAILURE, "/dev/fuse");
}

static struct fuse_attr attributes(uint64_t node) {
    struct fuse_attr attr = {.ino = node, .nlink = 1, .mode = S_IFREG | 0600};

    attr.size = (uint64_t)sysconf(_SC_PAGESIZE);
    if (node == FUSE_ROOT_ID)
        attr.mode = S_IFDIR | 0700;
    return attr;
}

static void look_up(const struct fuse_in_header *in) {
    uint64_t node = FUSE_ROOT_ID + strtoul((const char *)(in + 1), NULL, 10);
    struct fuse_entry_out entry = {.nodeid = node, .attr = attributes(node)};

    answer(in, 0, &entry, sizeof entry);
}

/* Whether a request is that of hang_exit(). */
static bool is_direct(const struct fuse_in_header *in) {
    const struct fuse_read_in *arguments = (const void *)(in + 1);

    return in->opcode == FUSE_READ && arguments->flags & O_DIRECT;
}

static void serve(const struct fuse_in_header *in) {
    static const char zeros[1 << 16];
    struct fuse_init_out init = {.major = FUSE_KERNEL_VERSION, .minor = 31};
    struct fuse_attr_out attr = {.attr = attributes(in->nodeid)};
    struct fuse_open_out opened = {0};

    init.max_background = init.congestion_threshold = UINT16_MAX; /* so many writes may wait */
    init.max_write = 1 << 16;
    init.flags = FUSE_ASYNC_DIO;
    if (is_direct(in))
        return;
    if (in->opcode == FUSE_INIT)
        answer(in, 0, &init, sizeof init);
    else if (in->opcode == FUSE_LOOKUP)
        look_up(in);
    else if (in->opcode == FUSE_GETATTR || in->opcode == FUSE_SETATTR)
        answer(in, 0, &attr, sizeof attr);
    else if (in->opcode == FUSE_OPEN)
        answer(in, 0, &opened, sizeof opened);
    else if (in->opcode == FUSE_READ)
        answer(in, 0, zeros, (size_t)sysconf(_SC_PAGESIZE));
    else if (in->opcode == (exec_name ? FUSE_FLUSH : FUSE_WRITE))
        server.waiting[server.held++ % MAX_HOLDERS] = *in;
    else if (in->opcode == FUSE_RELEASE)
        answer(in, 0, NULL, 0);
    else if (!(in->opcode == FUSE_FORGET || in->opcode == FUSE_BATCH_FORGET ||
               in->opcode == FUSE_INTERRUPT)) /* these have no answers */
        answer(in, ENOSYS, NULL, 0);
}

static void serve_next(void) {
    static char buffer[LARGEST_REQUEST] __attribute__((aligned(8)));
    ssize_t n = read(server.fd, buffer, sizeof buffer - 1);

    if (n >= 0)
        serve((const struct fuse_in_header *)(const void *)buffer);
    else if (errno != EAGAIN && errno != EINTR && errno != ENOENT)
        err(EXIT_FAILURE, "/dev/fuse");
}

static void answer_held(void) {
    struct fuse_write_out out = {.size = (uint32_t)sysconf(_SC_PAGESIZE)};

    while (server.held > 0)
        answer(&server.waiting[--server.held], 0, &out, exec_name ? 0 : sizeof out);
}

/* ---- where it is mounted ---- */

static void put(const char *path, const char *text) {
    FILE *file = fopen(path, "we");

    if (!file || fputs(text, file) == EOF || fclose(file) == EOF)
        err(NOT_HERE, "%s", path);
}

/* A user namespace in which this user is root. */
static void map_user(unsigned uid, unsigned gid) {
    char map[32];

    put("/proc/self/setgroups", "deny");
    snprintf(map, sizeof map, "0 %u 1", uid);
    put("/proc/self/uid_map", map);
    snprintf(map, sizeof map, "0 %u 1", gid);
    put("/proc/self/gid_map", map);
}

/* Mounts of this process's own, and a user namespace where that takes one. */
static void mount_server(unsigned uid, unsigned gid) {
    char options[64];

    if (unshare(CLONE_NEWNS | (uid ? CLONE_NEWUSER : 0)) != 0)
        err(NOT_HERE, "unshare");
    if (uid)
        map_user(uid, gid);
    server.fd = open("/dev/fuse", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (server.fd < 0)
        err(NOT_HERE, "/dev/fuse");
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0", server.fd);
    if (mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) != 0 ||
        mount("lockholder", WHERE, "fuse", MS_NOSUID | MS_NODEV, options) != 0)
        err(NOT_HERE, "mount " WHERE);
}

/* ---- all of it ---- */

static void say(const char *word) {
    if (puts(word) == EOF)
        err(EXIT_FAILURE, "standard output");
}

static void start(int number, int mib, const int orders[2], const int done[2]) {
    const struct holder holder = {number, mib, orders[0], done[1]};
    pid_t parent = getpid(), pid = fork();
    char name[32], byte;

    if (pid < 0)
        err(EXIT_FAILURE, "fork");
    if (pid == 0) {
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
            exit(EXIT_FAILURE);
        close(server.fd); /* else the file system would outlive the parent */
        close(orders[1]);
        close(done[0]);
        live(&holder);
    }
    name_of(number, name);
    if (read(done[0], &byte, 1) != 1)
        errx(EXIT_FAILURE, "%s has ended", name);
    printf("%d %s\n", (int)pid, name);
}

/* Do what the next line says; false at the end. */
static bool obey(int holders, int orders) {
    char line[64] = "";
    ssize_t n = read(STDIN_FILENO, line, sizeof line - 1);

    if (strcmp(line, "hold\n") == 0) {
        for (int i = 0; i < holders; i++)
            if (write(orders, "", 1) != 1)
                err(EXIT_FAILURE, "pipe");
    } else if (strcmp(line, "release\n") == 0) {
        answer_held();
    }
    return n > 0;
}

static void run(int holders, int orders, int done) {
    struct pollfd fds[] = {{STDIN_FILENO, POLLIN, 0}, {server.fd, POLLIN, 0}, {done, POLLIN, 0}};
    char byte;

    for (int held = 0, given_back = 0; poll(fds, 3, -1) >= 0;) {
        if (fds[0].revents && !obey(holders, orders))
            return;
        if (fds[1].revents)
            serve_next();
        if (server.held == holders && held != holders)
            say("held");
        held = server.held;
        if (fds[2].revents && read(done, &byte, 1) == 1 && ++given_back % holders == 0)
            say("released");
    }
}

/* A number of 0 to most in text, else the end with a message. */
static int number_of(const char *text, int most) {
    char *end;
    long number = strtol(text, &end, 10);

    if (*end || end == text || number < 0 || number > most)
        errx(EXIT_FAILURE, "%s: not a number of 0 to %d", text, most);
    return (int)number;
}

/* The value of an option that may be the next argument, and moves beyond it; else NULL. */
static const char *option(char ***arguments, const char *name) {
    char **next = *arguments;

    if (!next[0] || !next[1] || strcmp(next[0], name) != 0)
        return NULL;
    *arguments += 2;
    return next[1];
}

int main(int argc, char **argv) {
    int orders[2], done[2];

    if (argc == 7 && strcmp(argv[1], "--resume") == 0)
        resume(argv + 2);
    argv++;
    exec_name = option(&argv, "--exec");
    with_aio = *argv && strcmp(*argv, "--aio") == 0;
    argv += with_aio;
    const char *merge = option(&argv, "--merge");
    int mib = merge ? number_of(merge, MAX_MIB) : 0;
    int holders = *argv ? number_of(*argv, MAX_HOLDERS) : 1;
    setlinebuf(stdout); /* nothing is left in it for children to print again */
    mount_server(geteuid(), getegid());
    if (pipe(orders) != 0 || pipe(done) != 0)
        err(EXIT_FAILURE, "pipe");
    for (int i = 1; i <= holders; i++)
        start(i, mib, orders, done);
    say("ready");
    run(holders, orders[1], done[0]);
    close(server.fd); /* aborts what waits */
    close(orders[1]);
    while (wait(NULL) > 0) {
    }
    return EXIT_SUCCESS;
}
