/* SPDX-License-Identifier: MIT
 *
 * The parsers of one value: a number that is accepted, printed again, is the input.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "fuzz.h"
#include "system/parse.h"

static const int64_t untouched = -4242424242;

static bool is_error(int status) {
    return status == -ENODATA || status == -EINVAL || status == -ERANGE || status == -EDOM;
}

/* Whether text is what was printed, with or without a newline. */
static bool is(const char *text, size_t size, const char *printed) {
    size_t len = strlen(printed);

    return size >= len && memcmp(text, printed, len) == 0 &&
           (size == len || (size == len + 1 && text[len] == '\n'));
}

typedef int parser(const char *text, size_t len, int64_t *value);

static int run(parser *parse, const char *text, size_t size, int64_t *value) {
    *value = untouched;
    int status = parse(text, size, value);
    HOLDS(status == 0 || (is_error(status) && *value == untouched));
    return status;
}

static void exact(const char *text, size_t size) {
    char printed[32];
    int64_t value = 0;
    int64_t other = 0;

    if (run(parse_number, text, size, &value) == 0) {
        snprintf(printed, sizeof(printed), "%" PRId64, value);
        HOLDS(value >= 0 && is(text, size, printed));
        HOLDS(run(parse_scaled, text, size, &other) == 0 && other == value);
    }
    if (run(parse_signed, text, size, &value) == 0) {
        snprintf(printed, sizeof(printed), "%" PRId64, value);
        HOLDS(is(text, size, printed));
        int status = run(parse_count, text, size, &other);
        HOLDS(value < 0 ? status == -EDOM : status == 0 && other == value);
    }
}

static void bounded(const char *text, size_t size) {
    int64_t value = 0;

    if (run(parse_scaled, text, size, &value) == 0)
        HOLDS(value >= 0);
    if (run(parse_kilobytes, text, size, &value) == 0)
        HOLDS(value >= 0 && size > 3);
    if (run(parse_run, text, size, &value) == 0)
        HOLDS(value >= 0 && value <= 2);
    if (run(parse_advisor, text, size, &value) == 0)
        HOLDS(memmem(text, size, value == 0 ? "[none]" : "[scan-time]", value == 0 ? 6 : 11));
    if (run(parse_schedstat, text, size, &value) == 0)
        HOLDS(value >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    exact((const char *)data, size);
    bounded((const char *)data, size);
    return 0;
}
