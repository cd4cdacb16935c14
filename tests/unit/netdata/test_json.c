/* SPDX-License-Identifier: MIT
 *
 * Strings of any bytes, and exact decimals, as JSON (RFC 8259).
 */
#include <inttypes.h>
#include <string.h>

#include "json.h"
#include "support/suite.h"

static struct out out;

/* Returns what was written since before_each(). */
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
#define IS(text, want)                                                                             \
    { text, "\"" want "\"" }
    IS("", ""), IS("a b/c.d~0123", "a b/c.d~0123"), IS("\"", "\\u0022"), IS("\\", "\\u005c"),
    IS("a\"b\\c", "a\\u0022b\\u005cc"), IS("\x01\x1f\x7f", "\\u0001\\u001f\\u007f"),
    IS("}\nFUNCTION_RESULT_END\n", "}\\u000aFUNCTION_RESULT_END\\u000a"), IS("<b>&'", "<b>&'"),
    IS("größe-日本", "größe-日本"), IS("\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"),
    IS("\xef\xbf\xbf", "\xef\xbf\xbf"), IS("\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf"),
    /* Invalid UTF-8: lone, truncated and overlong bytes, surrogates, beyond U+10FFFF. */
    IS("\x80", "\\ufffd"), IS("\xff\xfe", "\\ufffd\\ufffd"), IS("\xc3", "\\ufffd"),
    IS("\xc3z", "\\ufffdz"), IS("\xe6\x97", "\\ufffd\\ufffd"),
    IS("\xf0\x9f\x98", "\\ufffd\\ufffd\\ufffd"), IS("\xc0\xaf", "\\ufffd\\ufffd"),
    IS("\xe0\x80\xaf", "\\ufffd\\ufffd\\ufffd"), IS("\xed\xa0\x80", "\\ufffd\\ufffd\\ufffd"),
    IS("\xf4\x90\x80\x80", "\\ufffd\\ufffd\\ufffd\\ufffd"), IS("\xc3\xa4\xc3", "\xc3\xa4\\ufffd")};

TEST_ROWS(string_is_escaped_and_valid_utf8, strings) {
    json_string(suite_guarded(row->text, strlen(row->text) + 1), &out);
    ck_assert_msg(strcmp(written(), row->want) == 0, "%s: got %s, want %s",
                  suite_quote(row->text, strlen(row->text)), written(), row->want);
}

static const struct {
    int64_t bytes;
    const char *want;
} sizes[] = {
    {0, "0"},
    {1, "0.00000095367431640625"},
    {64, "0.00006103515625"},
    {524288, "0.5"},
    {1048575, "0.99999904632568359375"},
    {1048576, "1"},
    {10485760, "10"},
    {INT64_MAX, "8796093022207.99999904632568359375"},
};

TEST_ROWS(mib_is_exact_to_the_byte, sizes) {
    json_mib(row->bytes, &out);
    ck_assert_msg(strcmp(written(), row->want) == 0, "%" PRId64 ": got %s, want %s", row->bytes,
                  written(), row->want);
}

static const struct {
    int64_t value;
    const char *want;
} thousandths[] = {{0, "0.000"}, {7, "0.007"}, {3131, "3.131"}, {100000, "100.000"}};

TEST_ROWS(thousandths_have_three_digits, thousandths) {
    json_thousandths(row->value, &out);
    ck_assert_str_eq(written(), row->want);
}
