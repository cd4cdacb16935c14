/* SPDX-License-Identifier: MIT
 *
 * The lines that the agent sends on stdin, parsed as their bytes arrive, in pieces of any size.
 * Nothing is read or allocated here.
 *
 *   FUNCTION id timeout "name arguments" …          requests an answer
 *   FUNCTION_PAYLOAD id timeout "name arguments" …  the same, with lines of data after it up to
 *   FUNCTION_PAYLOAD_END                            this one; no function here uses them
 *
 * Every other line is ignored. FUNCTION_CANCEL and FUNCTION_PROGRESS are ignored too, because every
 * answer is immediate. So are the words after those above: a newer agent's access and source.
 *
 * The data are the body of somebody's POST, as it came: the agent (2.x, src/plugins.d/
 * pluginsd_functions.c) neither escapes them nor gives their length, and the last line has no id.
 * So a line in the data that looks like the last one ends the data here, and the rest of the data
 * looks like lines of the agent. That is harmless as long as a line can only request an answer:
 * - Such a request is answered. The agent drops the answer, because it waits for none of that id,
 *   unless the author knows another's, 128 random bits. The author may request the same anyway.
 * - QUIT, which 2.x sends before it closes stdin, is ignored too: only the end of stdin counts,
 *   which comes right after it (src/libnetdata/spawn_server: the pipe is closed first,
 * SIGTERM follows).
 * - A NUL in the data is where the agent stops sending: their last line is missing then. All of a
 *   request is written in one go, so that what the agent is silent after is over: request_give_up.
 */
#ifndef KSM_REQUEST_H
#define KSM_REQUEST_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes of an id at most (an agent's have 36), of a function with its arguments, of a line. */
enum { REQUEST_ID = 64, REQUEST_FUNCTION = 2048, REQUEST_LINE = 4096 };

/* The id goes back to the agent as it came: one of other characters than letters, digits and - _ .
 * is no request, as its answer could be taken for something else. */
struct request {
    char id[REQUEST_ID + 1];
    char function[REQUEST_FUNCTION + 1]; /* with its arguments, as it came: any bytes */
    const char *error;                   /* NULL, or why it cannot be understood: answer 400 */
};

/* All zero bytes: at the start of a line. */
struct request_parser {
    struct request request; /* the last one, or one whose payload is not over */
    bool payload;           /* lines are data */
    bool cut;               /* the running line is longer than line, the rest was dropped */
    size_t len;
    char line[REQUEST_LINE];
};

/* Takes bytes, up to the end of the first request; sets *used to how many. True: request is to be
 * answered; false: all bytes are used, and were no whole request. */
bool request_take(struct request_parser *parser, const char *bytes, size_t len, size_t *used);

/* Drops what has begun and will not go on: a line, or a payload and the request that it is of. */
void request_give_up(struct request_parser *parser);

#endif
