/* SPDX-License-Identifier: MIT
 *
 * Requests on stdin, and their answers. The first byte of the input is the size of the pieces in
 * which the rest is read; read at once, it must give the same requests. An answer has three parts,
 * and no request can break out of them.
 *
 * The same bytes are then the body of a POST, which the agent puts into a request. The body can at
 * most request an answer, and only if it has a line that looks like the end of a payload. Requests
 * that follow it must be understood.
 */
#include <ctype.h>
#include <string.h>

#include "function.h"
#include "fuzz.h"

enum { MOST = 64 * 1024 };

static struct ksm_consumer_table table;
static struct out out;

/* Returns the output, which is still in the buffer. */
static const char *written(void) {
    HOLDS(out.len < sizeof(out.buf));
    out.buf[out.len] = '\0';
    return out.buf;
}

static void check_answer(const struct request *request) {
    char start[256];

    out.len = 0;
    function_answer(&table, request, 1700000000, &out);
    const char *text = written();
    snprintf(start, sizeof(start), "FUNCTION_RESULT_BEGIN %s ", request->id);
    HOLDS(strncmp(text, start, strlen(start)) == 0);
    const char *json = strchr(text, '\n') + 1;
    HOLDS(strncmp(json, "{\"status\":", 10) == 0);
    const char *end = strstr(json, "}\nFUNCTION_RESULT_END\n");
    HOLDS(end && strcmp(end, "}\nFUNCTION_RESULT_END\n") == 0);
}

static void check_request(const struct request *request) {
    size_t len = strlen(request->id);

    HOLDS(len > 0 && len <= REQUEST_ID);
    for (size_t i = 0; i < len; i++)
        HOLDS(isalnum((unsigned char)request->id[i]) || strchr("-_.", request->id[i]));
    HOLDS(strlen(request->function) <= REQUEST_FUNCTION);
    HOLDS(request->error == NULL || request->function[0] == '\0');
    check_answer(request);
}

static size_t add(char *events, size_t len, const char *text) {
    size_t more = strlen(text);

    HOLDS(len + more < MOST);
    memcpy(events + len, text, more + 1);
    return len + more;
}

/* Writes all requests of bytes that come next, in pieces of so many, each in memory of just its
 * size. */
static void take(struct request_parser *parser, const void *data, size_t size, size_t piece,
                 char *events) {
    size_t len = strlen(events);

    for (size_t at = 0; at < size;) {
        size_t n = size - at < piece ? size - at : piece;
        size_t used = 0;
        char *bytes = malloc(n);
        HOLDS(bytes);
        memcpy(bytes, (const char *)data + at, n);
        bool whole = request_take(parser, bytes, n, &used);
        free(bytes);
        HOLDS(used > 0 && used <= n && (whole || used == n));
        at += used;
        if (whole) {
            check_request(&parser->request);
            len = add(events, len, parser->request.id);
            len = add(events, len, parser->request.function);
            len = add(events, len, "|");
        }
    }
}

static struct request_parser *new_parser(char *events) {
    struct request_parser *parser = calloc(1, sizeof(*parser));

    HOLDS(parser);
    events[0] = '\0';
    return parser;
}

static void take_all(const uint8_t *data, size_t size, size_t piece, char *events) {
    struct request_parser *parser = new_parser(events);

    take(parser, data, size, piece, events);
    free(parser);
}

/* ---- a body in the agent's frame ---- */

static const char head[] = "FUNCTION_PAYLOAD body 6 \"f\" \"0x13\" \"me\" \"application/json\"\n";
static const char tail[] = "\nFUNCTION_PAYLOAD_END\n";
static const char next[] = "FUNCTION next 6 \"g\"\n";

/* Returns whether a line of the body looks like the end of the payload. */
static bool has_end(const char *body) {
    const char *line = body;

    for (const char *end; *line; line = end + (*end != '\0')) {
        end = line + strcspn(line, "\n");
        line += strspn(line, " \t\v\f\r");
        if (end - line == 20 && memcmp(line, "FUNCTION_PAYLOAD_END", 20) == 0)
            return true;
    }
    return false;
}

/* Stops at a NUL, as the agent does, and then omits the end of the payload. */
static void check_body(const uint8_t *data, size_t size, size_t piece) {
    static char events[MOST], body[MOST];
    struct request_parser *parser = new_parser(events);
    const bool cut = memchr(data, '\0', size) != NULL;

    HOLDS(size < sizeof(body));
    memcpy(body, data, size);
    body[size] = '\0';
    take(parser, head, strlen(head), piece, events);
    HOLDS(events[0] == '\0');
    take(parser, body, strlen(body), piece, events);
    if (cut)
        request_discard(parser);
    else
        take(parser, tail, strlen(tail), piece, events);
    take(parser, next, strlen(next), piece, events);
    free(parser);
    const size_t len = strlen(events);
    HOLDS(len >= 6 && strcmp(events + len - 6, "nextg|") == 0);
    if (!has_end(body))
        HOLDS(strcmp(events, cut ? "nextg|" : "bodyf|nextg|") == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static char whole[MOST], pieces[MOST];

    if (size == 0)
        return 0;
    const size_t piece = data[0] ? data[0] : 1;
    table = (struct ksm_consumer_table){.enabled = true, .interval = 10000, .page_size = 4096};
    out_init(&out, -1);
    take_all(data + 1, size - 1, size, whole);
    take_all(data + 1, size - 1, piece, pieces);
    HOLDS(strcmp(whole, pieces) == 0);
    check_body(data + 1, size - 1, piece);
    return 0;
}
