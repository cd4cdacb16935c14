/* SPDX-License-Identifier: MIT */
#include "explain/openmetrics_files.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "system/clock.h"

/* The sandbox allows writing to descriptors 0 to 3. */
enum { STATE_FD = 3 };

/* Reads to the end, at most size bytes. Returns their number or -errno. */
static ssize_t read_all(int fd, char *text, size_t size) {
    size_t len = 0;

    while (len < size) {
        const ssize_t n = read(fd, text + len, size - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : (ssize_t)len;
        len += (size_t)n;
    }
    return (ssize_t)len;
}

/* Returns whether only this user can have written the file; if not, message says why. */
static bool is_trusted(int fd, const char *path, char *message, size_t size) {
    struct stat status;

    if (fstat(fd, &status) != 0)
        snprintf(message, size, "%s: %s", path, strerror(errno));
    else if (!S_ISREG(status.st_mode))
        snprintf(message, size, "%s is not a regular file", path);
    else if (status.st_uid != geteuid() || (status.st_mode & (S_IWGRP | S_IWOTH)))
        snprintf(message, size, "%s belongs to another user, or others may write to it", path);
    else
        return true;
    return false;
}

/* Opens the state of the last run. access() has the rights of the user who started this program: a
 * file capability must not show which files exist. Returns a descriptor or -errno. */
static int open_state(const char *path) {
    if (access(path, F_OK) != 0 && errno != ENOENT)
        return -errno;
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int read_state(struct openmetrics_files *files, char *message, size_t size) {
    const char *path = files->state.path;
    int fd = open_state(path);

    if (fd == -ENOENT)
        return 0;
    if (fd < 0) {
        snprintf(message, size, "%s: %s", path,
                 fd == -ELOOP ? "symbolic links are not followed" : strerror(-fd));
        return fd;
    }
    ssize_t len = -EINVAL;
    if (is_trusted(fd, path, message, size)) {
        len = read_all(fd, files->text, sizeof(files->text));
        if (len < 0)
            snprintf(message, size, "%s: %s", path, strerror((int)-len));
    }
    close(fd);
    files->has_state = len >= 0;
    files->len = len >= 0 ? (size_t)len : 0;
    return len < 0 ? (int)len : 0;
}

int openmetrics_files_open(struct openmetrics_files *files, const char *output, const char *state,
                           char *message, size_t size) {
    const size_t path_size = sizeof(files->state.path);
    int status = 0, len = 0;

    files->output.path[0] = files->state.path[0] = '\0';
    files->output.fd = files->state.fd = -1;
    files->has_state = files->was_limited = false;
    if (output && strcmp(output, "-") != 0)
        status = replacement_find(&files->output, output, message, size);
    if (status != 0)
        return status;
    if (state)
        len = snprintf(files->state.path, path_size, "%s", state);
    else if (files->output.path[0])
        len = snprintf(files->state.path, path_size, "%s.state", files->output.path);
    if (len >= (int)path_size) {
        snprintf(message, size, "%s: %s", files->state.path, strerror(ENAMETOOLONG));
        return -ENAMETOOLONG;
    }
    return len > 0 ? read_state(files, message, size) : 0;
}

/* ---- replacing the files ---- */

/* Blocks HUP, INT and TERM; mask becomes the previous mask, to be restored. */
static void block_signals(sigset_t *mask) {
    sigset_t ending;

    sigemptyset(&ending);
    sigaddset(&ending, SIGHUP);
    sigaddset(&ending, SIGINT);
    sigaddset(&ending, SIGTERM);
    sigprocmask(SIG_BLOCK, &ending, mask);
}

static int begin(struct openmetrics_files *files, char *message, size_t size) {
    int status = files->output.path[0] ? replacement_begin(&files->output, message, size) : 0;

    if (status == 0 && files->state.path[0])
        status = replacement_begin(&files->state, message, size);
    if (status != 0)
        replacement_discard(&files->output);
    return status;
}

/* In the new process: makes the new files stdout and STATE_FD. Returns 0 or -errno. */
static int move_descriptors(struct openmetrics_files *files) {
    if (files->output.fd >= 0) {
        if (dup2(files->output.fd, STDOUT_FILENO) < 0)
            return -errno;
        close(files->output.fd);
        files->output.fd = -1;
    }
    if (files->state.fd >= 0 && files->state.fd != STATE_FD) {
        if (dup2(files->state.fd, STATE_FD) < 0)
            return -errno;
        close(files->state.fd);
        files->state.fd = STATE_FD;
    }
    return 0;
}

/* Replaces the state first, because it must contain every name in the output. If the kernel has no
 * KSM, the new state is empty, and the old one is kept. */
static int commit(struct openmetrics_files *files) {
    struct stat status;
    int error = 0;

    if (files->state.fd >= 0 && fstat(files->state.fd, &status) == 0 && status.st_size > 0)
        error = replacement_commit(&files->state, S_IRUSR | S_IWUSR);
    if (error == 0 && files->output.fd >= 0)
        error = replacement_commit(&files->output, S_IRUSR | S_IWUSR | S_IRGRP | S_IROTH);
    return error;
}

static void discard(struct openmetrics_files *files) {
    replacement_discard(&files->state);
    replacement_discard(&files->output);
}

/* Waits for the new process, and exits. That process has printed why it failed, unless a signal
 * ended it. */
static void finish(struct openmetrics_files *files, pid_t child, const sigset_t *mask) {
    const char *name = files->output.path[0] ? files->output.path : files->state.path;
    const char *reason = NULL;
    int status = EXIT_FAILURE;

    pid_t waited;
    do
        waited = waitpid(child, &status, 0);
    while (waited < 0 && errno == EINTR);
    const int error = status == 0 ? commit(files) : 0;
    if (error != 0)
        reason = strerror(-error);
    else if (waited == child && WIFSIGNALED(status))
        reason = strsignal(WTERMSIG(status));
    discard(files);
    sigprocmask(SIG_SETMASK, mask, NULL);
    if (status == 0 && error == 0)
        exit(EXIT_SUCCESS);
    fprintf(stderr, "ksm-explain: %s is not renewed%s%s; the previous file is kept\n", name,
            reason ? ": " : "", reason ? reason : "");
    exit(EXIT_FAILURE);
}

int openmetrics_files_fork(struct openmetrics_files *files, char *message, size_t size) {
    sigset_t mask;

    if (!files->output.path[0] && !files->state.path[0])
        return 0;
    block_signals(&mask);
    int status = begin(files, message, size);
    if (status != 0) {
        sigprocmask(SIG_SETMASK, &mask, NULL);
        return status;
    }
    signal(SIGCHLD, SIG_DFL); /* if a parent left it ignored, waitpid() would get no status */
    const pid_t child = fork();
    if (child > 0)
        finish(files, child, &mask);
    status = child < 0 ? -errno : move_descriptors(files);
    if (child < 0)
        discard(files);
    sigprocmask(SIG_SETMASK, &mask, NULL);
    if (status != 0)
        snprintf(message, size, "a new process cannot be started: %s", strerror(-status));
    return status;
}

/* ---- the state ---- */

int openmetrics_files_restore(struct openmetrics_files *files, struct ksm_rate_limit *limit) {
    const int64_t now_s = clock_ms(CLOCK_REALTIME) / 1000;

    if (!files->has_state)
        return 0;
    return ksm_rate_limit_restore(limit, files->text, files->len, now_s, &files->was_limited);
}

int openmetrics_files_save(struct openmetrics_files *files, const struct ksm_rate_limit *limit) {
    const int64_t now_s = clock_ms(CLOCK_REALTIME) / 1000;
    size_t done = 0;

    if (files->state.fd < 0)
        return 0;
    files->len = ksm_rate_limit_save(limit, now_s, files->text);
    while (done < files->len) {
        const ssize_t n = write(files->state.fd, files->text + done, files->len - done);
        if (n < 0 && errno != EINTR)
            return -errno;
        done += n > 0 ? (size_t)n : 0;
    }
    return 0;
}
