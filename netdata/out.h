/* SPDX-License-Identifier: MIT
 *
 * Lines to the agent: gathered in a buffer and written at once, so that a tick is one write.
 */
#ifndef KSM_OUT_H
#define KSM_OUT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* error: -errno of the first write that failed, sticky; nothing is written after it. */
struct out {
    int fd;
    int error;
    size_t len;
    char buf[32 * 1024];
};

/* fd stays the caller's. */
void out_init(struct out *out, int fd);

/* Append. What does not fit any more makes the buffer be written. Text goes out as it is: the
 * caller sees to it that it can break no line (netdata's protocol has no escapes). */
void out_bytes(struct out *out, const char *text, size_t len);
void out_texts(struct out *out, const char *const *texts); /* NULL after the last */
void out_number(struct out *out, int64_t number);
void out_line(struct out *out, const char *text, int64_t number); /* text, number and a newline */

/* The compiler knows how long most texts are. */
static inline void out_text(struct out *out, const char *text) {
    out_bytes(out, text, strlen(text));
}

#define OUT_TEXTS(out, ...) out_texts(out, (const char *const[]){__VA_ARGS__, NULL})

/* Writes all that was gathered, however many writes that takes; waits while a pipe is full. That it
 * waits in vain it sees only where fd does not block: where nothing was read for a second and stdin
 * is at its end, the reader is as good as gone, -EPIPE. After five seconds what is on stdin is
 * dropped, as the reader may be waiting for that. Returns out->error. */
int out_flush(struct out *out);

#endif
