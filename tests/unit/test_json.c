/* SPDX-License-Identifier: MIT
 *
 * Strings of any bytes and exact decimals, as JSON wants them (RFC 8259).
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "support/suite.h"

static struct out out;

/* What has been written since set_up; nothing is flushed, it stays in the buffer. */
static const char *written(void) {
    ck_assert_uint_lt(out.len, sizeof(out.buf));
    out.buf[out.len] = '\0';
    return out.buf;
}

void before_each(void) {
    out_init(&out, -1);
}

static const struct {
    const char *text;
    const char *want;
} strings[] = {
    {"", "\"\""},
    {"web-01", "\"web-01\""},
    {"a b/c.d~0123", "\"a b/c.d~0123\""},
    {"\"", "\"\\u0022\""},
    {"\\", "\"\\u005c\""},
    {"a\"b\\c", "\"a\\u0022b\\u005cc\""},
    {"\n", "\"\\u000a\""},
    {"}\nFUNCTION_RESULT_END\n", "\"}\\u000aFUNCTION_RESULT_END\\u000a\""},
    {"\x01\x1f\x7f", "\"\\u0001\\u001f\\u007f\""},
    {"<b>&'", "\"<b>&'\""},
    {"größe-日本", "\"größe-日本\""},
    {"\xf0\x9f\x98\x80", "\"\xf0\x9f\x98\x80\""},
    {"\xef\xbf\xbf", "\"\xef\xbf\xbf\""},
    {"\xf4\x8f\xbf\xbf", "\"\xf4\x8f\xbf\xbf\""},
    /* No UTF-8: alone, cut, too long, surrogates, beyond the last character. */
    {"\x80", "\"\\ufffd\""},
    {"\xff\xfe", "\"\\ufffd\\ufffd\""},
    {"\xc3", "\"\\ufffd\""},
    {"\xc3z", "\"\\ufffdz\""},
    {"\xe6\x97", "\"\\ufffd\\ufffd\""},
    {"\xf0\x9f\x98", "\"\\ufffd\\ufffd\\ufffd\""},
    {"\xc0\xaf", "\"\\ufffd\\ufffd\""},
    {"\xe0\x80\xaf", "\"\\ufffd\\ufffd\\ufffd\""},
    {"\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\""},
    {"\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\""},
    {"\xc3\xa4\xc3", "\"\xc3\xa4\\ufffd\""},
};

TEST_TIMES(string, ROWS(strings)) {
    const char *text = strings[_i].text;

    json_string(suite_guarded(text, strlen(text) + 1), &out);
    ck_assert_msg(strcmp(written(), strings[_i].want) == 0, "%s: got %s, want %s",
                  suite_quote(text, strlen(text)), written(), strings[_i].want);
}

/* Exactly: the digits say what the number of bytes is, no more and no less. */
static const struct {
    int64_t bytes;
    const char *want;
} sizes[] = {
    {0, "0"},
    {1, "0.00000095367431640625"},
    {64, "0.00006103515625"},
    {4096, "0.00390625"},
    {65536, "0.0625"},
    {524288, "0.5"},
    {1048575, "0.99999904632568359375"},
    {1048576, "1"},
    {1048577, "1.00000095367431640625"},
    {10485760, "10"},
    {1610612736, "1536"},
    {INT64_MAX, "8796093022207.99999904632568359375"},
};

TEST_TIMES(size, ROWS(sizes)) {
    json_mib(sizes[_i].bytes, &out);
    ck_assert_msg(strcmp(written(), sizes[_i].want) == 0, "%" PRId64 ": got %s, want %s",
                  sizes[_i].bytes, written(), sizes[_i].want);
}

TEST(any_size) {
    for (int i = 0; i < 10000; i++) {
        int64_t bytes = (int64_t)(suite_random() >> (11 + suite_random() % 40));
        out.len = 0;
        json_mib(bytes, &out);
        /* Below 2^53 a double holds it all. */
        ck_assert_msg(strtod(written(), NULL) * 1048576 == (double)bytes, "%" PRId64 ": got %s",
                      bytes, written());
    }
}
