/* SPDX-License-Identifier: MIT
 *
 * Output to the agent: lines are collected in a buffer, so that a tick is one write().
 */
#ifndef KSM_OUT_H
#define KSM_OUT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* error: -errno of the first write that failed, or 0. Nothing is written after an error. */
struct out {
    int fd;
    int error;
    size_t len;
    char buf[32 * 1024];
};

/* fd remains the caller's. */
void out_init(struct out *out, int fd);

/* Append to the buffer, which is written when it is full. Text is not escaped (the protocol has no
 * escapes): the caller ensures that it contains nothing that would break a line. */
void out_bytes(struct out *out, const char *text, size_t len);
void out_texts(struct out *out, const char *const *texts); /* NULL after the last */
void out_number(struct out *out, int64_t number);
void out_line(struct out *out, const char *text, int64_t number); /* text, number and a newline */

/* Inline, so that the compiler computes the length of a literal. */
static inline void out_text(struct out *out, const char *text) {
    out_bytes(out, text, strlen(text));
}

#define OUT_TEXTS(out, ...) out_texts(out, (const char *const[]){__VA_ARGS__, NULL})

/* Writes the buffer, and waits while the pipe is full. With a non-blocking fd it returns -EPIPE if
 * the agent has read nothing for a second and stdin has ended. After five seconds it discards
 * pending input, because the agent may be blocked on writing it. Returns out->error. */
int out_flush(struct out *out);

#endif
