/* SPDX-License-Identifier: MIT
 *
 * What comes in on stdin, and the answers to it. The first byte of the input is the size of the
 * pieces in which the rest comes; in one piece it must mean the same. An answer must be three parts
 * of which nothing in the request can break out.
 */
#include <ctype.h>
#include <string.h>

#include "function.h"
#include "fuzz.h"

enum { MOST = 64 * 1024 };

static struct ksm_consumers consumers;
static struct out out;

/* What was written, without a write: the buffer holds it. */
static const char *written(void) {
    HOLDS(out.len < sizeof(out.buf));
    out.buf[out.len] = '\0';
    return out.buf;
}

static void check_answer(const struct request *request) {
    char start[256];

    out.len = 0;
    function_answer(&consumers, request, 1700000000, &out);
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

/* Writes all requests of the bytes, in pieces of so many, each in memory of just its size. */
static void take_all(const uint8_t *data, size_t size, size_t piece, char *events) {
    struct request_parser *parser = calloc(1, sizeof(*parser));
    size_t len = 0;
    bool quit = false;

    HOLDS(parser);
    events[0] = '\0';
    for (size_t at = 0; at < size && !quit;) {
        size_t n = size - at < piece ? size - at : piece;
        size_t used = 0;
        char *bytes = malloc(n);
        HOLDS(bytes);
        memcpy(bytes, data + at, n);
        enum request_result result = request_take(parser, bytes, n, &used);
        free(bytes);
        HOLDS(used > 0 && used <= n && (result != REQUEST_NONE || used == n));
        at += used;
        quit = result == REQUEST_QUIT;
        if (result == REQUEST_CALL) {
            check_request(&parser->request);
            len = add(events, len, parser->request.id);
            len = add(events, len, parser->request.function);
            len = add(events, len, "|");
        }
    }
    add(events, len, quit ? "QUIT" : "");
    free(parser);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static char whole[MOST], pieces[MOST];

    if (size == 0)
        return 0;
    consumers = (struct ksm_consumers){.top = 1, .interval = 10000, .page_size = 4096};
    consumers.processes.source = KSM_PROCESS_STAT;
    out_init(&out, -1);
    take_all(data + 1, size - 1, size, whole);
    take_all(data + 1, size - 1, data[0] ? data[0] : 1, pieces);
    HOLDS(strcmp(whole, pieces) == 0);
    return 0;
}
