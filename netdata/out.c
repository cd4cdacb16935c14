/* SPDX-License-Identifier: MIT */
#include "out.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

enum { POLL_MS = 1000, POLLS_BEFORE_DISCARD = 5, DISCARD_POLL_MS = 100 };

void out_init(struct out *out, int fd) {
    out->fd = fd;
    out->error = 0;
    out->len = 0;
}

/* Returns whether the other end of a pipe or socket is closed. */
static bool is_hung_up(int fd) {
    struct pollfd pollfd = {.fd = fd, .events = POLLRDHUP};

    return poll(&pollfd, 1, 0) > 0 && (pollfd.revents & (POLLHUP | POLLRDHUP));
}

/* The agent may be blocked on writing to a full stdin (2.x holds a lock meanwhile) and therefore
 * not read: discard its input until it reads, or until no input is left. */
static void discard_input(int fd) {
    struct pollfd fds[] = {{.fd = fd, .events = POLLOUT}, {.fd = STDIN_FILENO, .events = POLLIN}};
    char buf[4096];

    while (poll(fds, 2, DISCARD_POLL_MS) > 0 && fds[0].revents == 0 &&
           read(STDIN_FILENO, buf, sizeof(buf)) > 0)
        continue;
}

/* Returns 0 if there may be room now, or -EPIPE. */
static int wait_for_room(int fd) {
    struct pollfd pollfd = {.fd = fd, .events = POLLOUT};

    for (int i = 0; i < POLLS_BEFORE_DISCARD; i++) {
        if (poll(&pollfd, 1, POLL_MS) != 0)
            return 0;
        if (is_hung_up(STDIN_FILENO))
            return -EPIPE;
    }
    discard_input(fd);
    return 0;
}

int out_flush(struct out *out) {
    size_t done = 0;

    while (out->error == 0 && done < out->len) {
        ssize_t n = write(out->fd, out->buf + done, out->len - done);
        if (n >= 0) {
            done += (size_t)n;
        } else if (errno == EAGAIN) {
            out->error = wait_for_room(out->fd);
        } else if (errno != EINTR) {
            out->error = -errno;
        }
    }
    out->len = 0;
    return out->error;
}

void out_bytes(struct out *out, const char *text, size_t len) {
    while (len > sizeof(out->buf) - out->len) {
        const size_t room = sizeof(out->buf) - out->len;
        memcpy(out->buf + out->len, text, room);
        out->len += room;
        text += room;
        len -= room;
        out_flush(out);
    }
    memcpy(out->buf + out->len, text, len);
    out->len += len;
}

void out_texts(struct out *out, const char *const *texts) {
    for (; *texts; texts++)
        out_text(out, *texts);
}

enum { DIGITS = 24 };

/* Writes the digits before end. Returns the first one. */
static char *write_digits(char *end, int64_t number) {
    char *pos = end;
    /* -INT64_MIN is not an int64. */
    uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;

    do {
        *--pos = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (number < 0)
        *--pos = '-';
    return pos;
}

void out_number(struct out *out, int64_t number) {
    char digits[DIGITS];
    const char *pos = write_digits(digits + DIGITS, number);

    out_bytes(out, pos, (size_t)(digits + DIGITS - pos));
}

void out_line(struct out *out, const char *text, int64_t number) {
    char digits[DIGITS + 1];
    const char *pos = write_digits(digits + DIGITS, number);

    digits[DIGITS] = '\n';
    out_text(out, text);
    out_bytes(out, pos, (size_t)(digits + sizeof(digits) - pos));
}
