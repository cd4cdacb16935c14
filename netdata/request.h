/* SPDX-License-Identifier: MIT
 *
 * Parses the lines that the agent sends on stdin, from pieces of any size. Nothing is read or
 * allocated here.
 *
 *   FUNCTION id timeout "name arguments" …          requests an answer
 *   FUNCTION_PAYLOAD id timeout "name arguments" …  the same; lines of data follow, and are ignored
 *   FUNCTION_PAYLOAD_END                            ends the data
 *
 * Every other line is ignored: FUNCTION_CANCEL and FUNCTION_PROGRESS because every answer is
 * immediate, QUIT because the end of stdin follows it (src/libnetdata/spawn_server). Further words
 * of a newer agent (access, source) are ignored too.
 *
 * The data is the body of an HTTP POST. The agent (2.x, src/plugins.d/pluginsd_functions.c) neither
 * escapes it nor sends its length. So data that contains a line FUNCTION_PAYLOAD_END ends there,
 * and its remaining lines are parsed as the agent's. This is harmless as long as a line can only
 * request an answer: the agent drops an answer whose id it does not wait for, and ids are 128
 * random bits. The agent sends data up to its first NUL, and FUNCTION_PAYLOAD_END is missing then.
 * It writes a request at once, so an incomplete one that is followed by silence is dropped:
 * request_discard().
 */
#ifndef KSM_REQUEST_H
#define KSM_REQUEST_H

#include <stdbool.h>
#include <stddef.h>

/* Maximum size in bytes of an id (the agent's have 36), a function with its arguments, a line. */
enum { REQUEST_ID = 64, REQUEST_FUNCTION = 2048, REQUEST_LINE = 4096 };

/* The id is sent back to the agent unchanged. A line whose id has other characters than letters,
 * digits and - _ . is ignored, because its answer could break the protocol. */
struct request {
    char id[REQUEST_ID + 1];
    char function[REQUEST_FUNCTION + 1]; /* with its arguments; may contain any bytes */
    const char *error;                   /* NULL, or the message of an error 400 */
};

/* Initialize with zeros. */
struct request_parser {
    struct request request; /* the last one, or the one whose data is being received */
    bool in_payload;        /* lines are data */
    bool truncated;         /* the current line did not fit */
    size_t len;
    char line[REQUEST_LINE];
};

/* Parses bytes up to the end of the first request, and sets *used to their number. Returns true if
 * request is complete, false if all bytes are used and none is. */
bool request_take(struct request_parser *parser, const char *bytes, size_t len, size_t *used);

/* Discards an incomplete line or request. */
void request_discard(struct request_parser *parser);

#endif
