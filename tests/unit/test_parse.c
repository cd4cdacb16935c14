/* SPDX-License-Identifier: MIT
 *
 * What is a number of the kernel's, and what is none.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "parse.h"
#include "support/suite.h"

typedef int parse_fn(const char *text, size_t len, int64_t *value);

static const int64_t untouched = 0x5a5a5a5a5a5a5a5a;

/* Parses a text behind which nothing may be read; a failure leaves the value alone. */
static void expect(const char *name, parse_fn *parse, const char *text, size_t len, int want_status,
                   int64_t want_value) {
    int64_t value = untouched;
    int status = parse(suite_guarded(text, len), len, &value);
    int64_t want = want_status == 0 ? want_value : untouched;

    ck_assert_msg(status == want_status && value == want,
                  "parse_%s(%s): got status %s, value %" PRId64 "; want status %s, value %" PRId64,
                  name, suite_quote(text, len), suite_status(status), value,
                  suite_status(want_status), want);
}

struct row {
    const char *text;
    size_t len;
    int status;
    int64_t value;
};

/* The forms that take a plain number: these rows are the same in all of them. */
static const struct form {
    const char *name;
    parse_fn *parse;
} plain_forms[] = {
    {"number", parse_number},
    {"signed", parse_signed},
    {"count", parse_count},
    {"scaled", parse_scaled},
};

static const struct row plain_rows[] = {
    {TEXT("0\n"), 0, 0},
    {TEXT("0"), 0, 0},
    {TEXT("7\n"), 0, 7},
    {TEXT("7"), 0, 7},
    {TEXT("48911\n"), 0, 48911},
    {TEXT("4294967296\n"), 0, 4294967296},
    {TEXT("9223372036854775806\n"), 0, INT64_MAX - 1},
    {TEXT("9223372036854775807\n"), 0, INT64_MAX},
    {TEXT("9223372036854775807"), 0, INT64_MAX},
    /* Too large. */
    {TEXT("9223372036854775808\n"), -ERANGE, 0},
    {TEXT("9223372036854775810\n"), -ERANGE, 0},
    {TEXT("18446744073709551615\n"), -ERANGE, 0},
    {TEXT("18446744073709551616\n"), -ERANGE, 0},
    {TEXT("18446744073709551623\n"), -ERANGE, 0},
    {TEXT("123456789012345678901234567890\n"), -ERANGE, 0},
    {TEXT("123456789012345678901234567890"), -ERANGE, 0},
    /* Too large and no number either. */
    {TEXT("9223372036854775808abc\n"), -EINVAL, 0},
    {TEXT("09223372036854775808\n"), -EINVAL, 0},
    /* Nothing. */
    {TEXT(""), -ENODATA, 0},
    {TEXT("\n"), -EINVAL, 0},
    {TEXT(" "), -EINVAL, 0},
    {TEXT("\0"), -EINVAL, 0},
    {TEXT("\0\0\0\0\0\0\0\0"), -EINVAL, 0},
    /* Something before it. */
    {TEXT(" 7\n"), -EINVAL, 0},
    {TEXT("\t7\n"), -EINVAL, 0},
    {TEXT("\n7\n"), -EINVAL, 0},
    {TEXT("+7\n"), -EINVAL, 0},
    {TEXT("--7\n"), -EINVAL, 0},
    {TEXT("- 7\n"), -EINVAL, 0},
    {TEXT("-\n"), -EINVAL, 0},
    {TEXT("-"), -EINVAL, 0},
    {TEXT("-0\n"), -EINVAL, 0},
    {TEXT("-07\n"), -EINVAL, 0},
    {TEXT("00\n"), -EINVAL, 0},
    {TEXT("007\n"), -EINVAL, 0},
    {TEXT("abc12\n"), -EINVAL, 0},
    {TEXT("\0007\n"), -EINVAL, 0},
    /* Something after it. */
    {TEXT("7 \n"), -EINVAL, 0},
    {TEXT("7\n\n"), -EINVAL, 0},
    {TEXT("7\n8\n"), -EINVAL, 0},
    {TEXT("7 8\n"), -EINVAL, 0},
    {TEXT("7\r\n"), -EINVAL, 0},
    {TEXT("7\r"), -EINVAL, 0},
    {TEXT("7\0"), -EINVAL, 0},
    {TEXT("7\0\n"), -EINVAL, 0},
    {TEXT("7\n\0"), -EINVAL, 0},
    {TEXT("12abc\n"), -EINVAL, 0},
    {TEXT("7%\n"), -EINVAL, 0},
    {TEXT("7kB\n"), -EINVAL, 0},
    {TEXT("7 kB\n"), -EINVAL, 0},
    {TEXT("7-\n"), -EINVAL, 0},
    /* Other ways to write one. */
    {TEXT("0x10\n"), -EINVAL, 0},
    {TEXT("1e3\n"), -EINVAL, 0},
    {TEXT("1.5\n"), -EINVAL, 0},
    {TEXT("1,000\n"), -EINVAL, 0},
    {TEXT("1'000\n"), -EINVAL, 0},
    {TEXT("1_000\n"), -EINVAL, 0},
    {TEXT("7\xd9\xa3\n"), -EINVAL, 0},
    {TEXT("inf\n"), -EINVAL, 0},
    {TEXT("nan\n"), -EINVAL, 0},
    {TEXT("yes\n"), -EINVAL, 0},
    {TEXT("2:\n"), -EINVAL, 0},
    {TEXT("/\n"), -EINVAL, 0},
};

START_TEST(plain_numbers) {
    const struct form *form = &plain_forms[_i / ROWS(plain_rows)];
    const struct row *row = &plain_rows[_i % ROWS(plain_rows)];

    expect(form->name, form->parse, row->text, row->len, row->status, row->value);
}
END_TEST

static const struct {
    const char *text;
    size_t len;
    struct {
        int status;
        int64_t value;
    } number, as_signed, count;
} negative_rows[] = {
    {TEXT("-5\n"), {-EINVAL, 0}, {0, -5}, {-EDOM, 0}},
    {TEXT("-5"), {-EINVAL, 0}, {0, -5}, {-EDOM, 0}},
    {TEXT("-1\n"), {-EINVAL, 0}, {0, -1}, {-EDOM, 0}},
    {TEXT("-10\n"), {-EINVAL, 0}, {0, -10}, {-EDOM, 0}},
    {TEXT("-9223372036854775807\n"), {-EINVAL, 0}, {0, -INT64_MAX}, {-EDOM, 0}},
    {TEXT("-9223372036854775808\n"), {-EINVAL, 0}, {0, INT64_MIN}, {-EDOM, 0}},
    {TEXT("-9223372036854775809\n"), {-EINVAL, 0}, {-ERANGE, 0}, {-ERANGE, 0}},
    {TEXT("-9223372036854775809x"), {-EINVAL, 0}, {-EINVAL, 0}, {-EINVAL, 0}},
    {TEXT("-5 \n"), {-EINVAL, 0}, {-EINVAL, 0}, {-EINVAL, 0}},
    {TEXT("-5\n\n"), {-EINVAL, 0}, {-EINVAL, 0}, {-EINVAL, 0}},
    {TEXT("-5\0"), {-EINVAL, 0}, {-EINVAL, 0}, {-EINVAL, 0}},
    {TEXT("-0x5\n"), {-EINVAL, 0}, {-EINVAL, 0}, {-EINVAL, 0}},
    {TEXT("-5-\n"), {-EINVAL, 0}, {-EINVAL, 0}, {-EINVAL, 0}},
    {TEXT("5-\n"), {-EINVAL, 0}, {-EINVAL, 0}, {-EINVAL, 0}},
    {TEXT("-+5\n"), {-EINVAL, 0}, {-EINVAL, 0}, {-EINVAL, 0}},
};

START_TEST(negative_numbers) {
    const char *text = negative_rows[_i].text;
    size_t len = negative_rows[_i].len;

    expect("number", parse_number, text, len, negative_rows[_i].number.status,
           negative_rows[_i].number.value);
    expect("scaled", parse_scaled, text, len, negative_rows[_i].number.status,
           negative_rows[_i].number.value);
    expect("signed", parse_signed, text, len, negative_rows[_i].as_signed.status,
           negative_rows[_i].as_signed.value);
    expect("count", parse_count, text, len, negative_rows[_i].count.status, 0);
}
END_TEST

/* UKSM's way to print large counts. */
static const struct row scaled_rows[] = {
    {TEXT("5 * 2^0\n"), 0, 5},
    {TEXT("5 * 2^0"), 0, 5},
    {TEXT("5 * 2^3\n"), 0, 40},
    {TEXT("1 * 2^10\n"), 0, 1024},
    {TEXT("0 * 2^3\n"), 0, 0},
    {TEXT("0 * 2^64\n"), 0, 0},
    {TEXT("0 * 2^9223372036854775807\n"), 0, 0},
    {TEXT("1 * 2^62\n"), 0, (int64_t)1 << 62},
    {TEXT("3 * 2^61\n"), 0, ((int64_t)1 << 62) + ((int64_t)1 << 61)},
    {TEXT("9223372036854775807 * 2^0\n"), 0, INT64_MAX},
    {TEXT("4611686018427387903 * 2^1\n"), 0, INT64_MAX - 1},
    {TEXT("4611686018427387904 * 2^1\n"), -ERANGE, 0},
    {TEXT("9223372036854775807 * 2^1\n"), -ERANGE, 0},
    {TEXT("1 * 2^63\n"), -ERANGE, 0},
    {TEXT("2 * 2^62\n"), -ERANGE, 0},
    {TEXT("4 * 2^61\n"), -ERANGE, 0},
    {TEXT("1 * 2^64\n"), -ERANGE, 0},
    {TEXT("1 * 2^128\n"), -ERANGE, 0},
    {TEXT("1 * 2^4294967296\n"), -ERANGE, 0},
    {TEXT("1 * 2^123456789012345678901234567890\n"), -ERANGE, 0},
    {TEXT("9223372036854775808 * 2^0\n"), -ERANGE, 0},
    {TEXT("9223372036854775808 * 2^1\n"), -ERANGE, 0},
    {TEXT("9223372036854775808 * 2^x\n"), -EINVAL, 0},
    {TEXT("1 * 2^64 \n"), -EINVAL, 0},
    {TEXT("5 * 2^\n"), -EINVAL, 0},
    {TEXT("5 * 2^"), -EINVAL, 0},
    {TEXT("5 * 2\n"), -EINVAL, 0},
    {TEXT("5 *\n"), -EINVAL, 0},
    {TEXT("5 * \n"), -EINVAL, 0},
    {TEXT("5 * 3^2\n"), -EINVAL, 0},
    {TEXT("5 * 2^-1\n"), -EINVAL, 0},
    {TEXT("5 * 2^+1\n"), -EINVAL, 0},
    {TEXT("5 * 2^01\n"), -EINVAL, 0},
    {TEXT("5 * 2^1 * 2^1\n"), -EINVAL, 0},
    {TEXT("5*2^1\n"), -EINVAL, 0},
    {TEXT("5  * 2^1\n"), -EINVAL, 0},
    {TEXT("05 * 2^1\n"), -EINVAL, 0},
    {TEXT("-5 * 2^1\n"), -EINVAL, 0},
    {TEXT(" * 2^1\n"), -EINVAL, 0},
    {TEXT("* 2^1\n"), -EINVAL, 0},
    {TEXT("5 * 2^1x\n"), -EINVAL, 0},
    {TEXT("5 * 2^1\n\n"), -EINVAL, 0},
    {TEXT("5 * 2^1\0"), -EINVAL, 0},
    {TEXT("5 * 2^1.5\n"), -EINVAL, 0},
};

START_TEST(scaled_numbers) {
    const struct row *row = &scaled_rows[_i];

    expect("scaled", parse_scaled, row->text, row->len, row->status, row->value);
}
END_TEST

static const struct row kilobytes_rows[] = {
    {TEXT("24684096 kB"), 0, 24684096},
    {TEXT("24684096 kB\n"), 0, 24684096},
    {TEXT("       24684096 kB"), 0, 24684096},
    {TEXT("0 kB"), 0, 0},
    {TEXT("9223372036854775807 kB"), 0, INT64_MAX},
    {TEXT("9223372036854775808 kB"), -ERANGE, 0},
    {TEXT("123456789012345678901234567890 kB"), -ERANGE, 0},
    {TEXT("9223372036854775808 MB"), -EINVAL, 0},
    {TEXT("9223372036854775808"), -EINVAL, 0},
    {TEXT(""), -ENODATA, 0},
    {TEXT("\n"), -EINVAL, 0},
    {TEXT("    "), -EINVAL, 0},
    {TEXT("kB"), -EINVAL, 0},
    {TEXT(" kB"), -EINVAL, 0},
    {TEXT("24684096"), -EINVAL, 0},
    {TEXT("24684096\n"), -EINVAL, 0},
    {TEXT("24684096 "), -EINVAL, 0},
    {TEXT("24684096 k"), -EINVAL, 0},
    {TEXT("24684096kB"), -EINVAL, 0},
    {TEXT("24684096  kB"), -EINVAL, 0},
    {TEXT("24684096 KB"), -EINVAL, 0},
    {TEXT("24684096 MB"), -EINVAL, 0},
    {TEXT("24684096 kB "), -EINVAL, 0},
    {TEXT("24684096 kBx"), -EINVAL, 0},
    {TEXT("24684096 kB\n\n"), -EINVAL, 0},
    {TEXT("24684096 kB\0"), -EINVAL, 0},
    {TEXT("24684\00096 kB"), -EINVAL, 0},
    {TEXT("\t24684096 kB"), -EINVAL, 0},
    {TEXT("-5 kB"), -EINVAL, 0},
    {TEXT("+5 kB"), -EINVAL, 0},
    {TEXT("007 kB"), -EINVAL, 0},
    {TEXT("0x10 kB"), -EINVAL, 0},
    {TEXT("1e3 kB"), -EINVAL, 0},
    {TEXT("12abc kB"), -EINVAL, 0},
    {TEXT("1.5 kB"), -EINVAL, 0},
};

START_TEST(kilobytes) {
    const struct row *row = &kilobytes_rows[_i];

    expect("kilobytes", parse_kilobytes, row->text, row->len, row->status, row->value);
}
END_TEST

static const struct row run_rows[] = {
    {TEXT("0\n"), 0, 0},
    {TEXT("1\n"), 0, 1},
    {TEXT("2\n"), 0, 2},
    {TEXT("3\n"), -EINVAL, 0},
    {TEXT("4\n"), 0, 0},
    {TEXT("5\n"), 0, 1},
    {TEXT("6\n"), 0, 2},
    {TEXT("7\n"), -EINVAL, 0},
    {TEXT("8\n"), -EINVAL, 0},
    {TEXT("10\n"), -EINVAL, 0},
    {TEXT("1"), 0, 1},
    {TEXT("256\n"), -EINVAL, 0},
    {TEXT("4294967296\n"), -EINVAL, 0},
    {TEXT("9223372036854775807\n"), -EINVAL, 0},
    {TEXT("9223372036854775808\n"), -ERANGE, 0},
    {TEXT(""), -ENODATA, 0},
    {TEXT("-1\n"), -EINVAL, 0},
    {TEXT("01\n"), -EINVAL, 0},
    {TEXT("1\n1\n"), -EINVAL, 0},
    {TEXT("1\0"), -EINVAL, 0},
    {TEXT("running\n"), -EINVAL, 0},
    {TEXT("[1]\n"), -EINVAL, 0},
};

START_TEST(run_states) {
    const struct row *row = &run_rows[_i];

    expect("run", parse_run, row->text, row->len, row->status, row->value);
}
END_TEST

static const struct row advisor_rows[] = {
    {TEXT("[none] scan-time\n"), 0, 0},
    {TEXT("none [scan-time]\n"), 0, 1},
    {TEXT("[none] scan-time"), 0, 0},
    {TEXT("none [scan-time]"), 0, 1},
    {TEXT("[none]\n"), 0, 0},
    {TEXT("none [scan-time] of-a-later-kernel\n"), 0, 1},
    {TEXT("none scan-time [of-a-later-kernel]\n"), -EINVAL, 0},
    {TEXT("none scan-time\n"), -EINVAL, 0},
    {TEXT("[none] [scan-time]\n"), -EINVAL, 0},
    {TEXT("[none] [none]\n"), -EINVAL, 0},
    {TEXT("[of-a-later-kernel] [none]\n"), -EINVAL, 0},
    {TEXT(""), -ENODATA, 0},
    {TEXT("\n"), -EINVAL, 0},
    {TEXT("[]\n"), -EINVAL, 0},
    {TEXT("[\n"), -EINVAL, 0},
    {TEXT("]\n"), -EINVAL, 0},
    {TEXT("[none\n"), -EINVAL, 0},
    {TEXT("[none"), -EINVAL, 0},
    {TEXT("none]\n"), -EINVAL, 0},
    {TEXT("none] [scan-time\n"), -EINVAL, 0},
    {TEXT("[[none]] scan-time\n"), -EINVAL, 0},
    {TEXT("[none scan-time]\n"), -EINVAL, 0},
    {TEXT("[non] scan-time\n"), -EINVAL, 0},
    {TEXT("[nonee] scan-time\n"), -EINVAL, 0},
    {TEXT("[None] scan-time\n"), -EINVAL, 0},
    {TEXT("[none]  scan-time\n"), -EINVAL, 0},
    {TEXT("[none] scan-time \n"), -EINVAL, 0},
    {TEXT(" [none] scan-time\n"), -EINVAL, 0},
    {TEXT("[none]scan-time\n"), -EINVAL, 0},
    {TEXT("[none] scan-time\n\n"), -EINVAL, 0},
    {TEXT("[none] scan-time\nnone [scan-time]\n"), -EINVAL, 0},
    {TEXT("[none] scan-time\0"), -EINVAL, 0},
    {TEXT("[none\0] scan-time\n"), -EINVAL, 0},
    {TEXT("[none] 12abc\n"), -EINVAL, 0},
    {TEXT("0\n"), -EINVAL, 0},
    {TEXT("[0] 1\n"), -EINVAL, 0},
};

START_TEST(advisor_modes) {
    const struct row *row = &advisor_rows[_i];

    expect("advisor", parse_advisor, row->text, row->len, row->status, row->value);
}
END_TEST

static const struct row schedstat_rows[] = {
    {TEXT("123456789 5 7\n"), 0, 123456789},
    {TEXT("123456789 5 7"), 0, 123456789},
    {TEXT("9223372036854775807 0 1\n"), 0, INT64_MAX},
    {TEXT("0 5 1\n"), 0, 0},
    {TEXT("0 0 1\n"), 0, 0},
    {TEXT("0 0 0\n"), -ENODATA, 0},
    {TEXT("0 0 0"), -ENODATA, 0},
    {TEXT(""), -ENODATA, 0},
    {TEXT("0 0 0 0\n"), -EINVAL, 0},
    {TEXT("0 0\n"), -EINVAL, 0},
    {TEXT("\n"), -EINVAL, 0},
    {TEXT("123456789\n"), -EINVAL, 0},
    {TEXT("123456789 5\n"), -EINVAL, 0},
    {TEXT("123456789 5 \n"), -EINVAL, 0},
    {TEXT("123456789 5 7 \n"), -EINVAL, 0},
    {TEXT("123456789 5 7 9\n"), -EINVAL, 0},
    {TEXT("123456789 5 7abc\n"), -EINVAL, 0},
    {TEXT("123456789 5 7\n\n"), -EINVAL, 0},
    {TEXT("123456789 5 7\0"), -EINVAL, 0},
    {TEXT("123456789  5 7\n"), -EINVAL, 0},
    {TEXT(" 123456789 5 7\n"), -EINVAL, 0},
    {TEXT("123456789\n5 7\n"), -EINVAL, 0},
    {TEXT("-1 5 7\n"), -EINVAL, 0},
    {TEXT("01 5 7\n"), -EINVAL, 0},
    {TEXT("1e3 5 7\n"), -EINVAL, 0},
    {TEXT("9223372036854775808 5 7\n"), -ERANGE, 0},
    {TEXT("123456789012345678901234567890 5 7\n"), -ERANGE, 0},
};

START_TEST(schedstats) {
    const struct row *row = &schedstat_rows[_i];

    expect("schedstat", parse_schedstat, row->text, row->len, row->status, row->value);
}
END_TEST

static const struct field_row {
    const char *text;
    size_t len;
    const char *key;
    int status;
    const char *field;
    size_t field_len;
} field_rows[] = {
    {TEXT("cow_ksm 5\n"), "cow_ksm", 0, TEXT("5")},
    {TEXT("cow_ksm 5\nlast 6\n"), "cow_ksm", 0, TEXT("5")},
    {TEXT("first 4\ncow_ksm 5\nlast 6\n"), "cow_ksm", 0, TEXT("5")},
    {TEXT("first 4\ncow_ksm 5\n"), "cow_ksm", 0, TEXT("5")},
    {TEXT("MemTotal:       24684096 kB\n"), "MemTotal:", 0, TEXT("      24684096 kB")},
    {TEXT("cow_ksm \n"), "cow_ksm", 0, TEXT("")},
    {TEXT("cow_ksm  5 6\n"), "cow_ksm", 0, TEXT(" 5 6")},
    {TEXT("\n\ncow_ksm 5\n"), "cow_ksm", 0, TEXT("5")},
    {TEXT("\0\0\0cow_ksm 4\ncow_ksm 5\n"), "cow_ksm", 0, TEXT("5")},
    {TEXT("cow_ksm 5\0\n"), "cow_ksm", 0, TEXT("5\0")},
    /* Of two lines with the key the first. */
    {TEXT("cow_ksm 5\ncow_ksm 6\n"), "cow_ksm", 0, TEXT("5")},
    /* A key that is part of another. */
    {TEXT("cow_ksm_more 4\ncow_ksm 5\n"), "cow_ksm", 0, TEXT("5")},
    {TEXT("cow_ksm_more 4\n"), "cow_ksm", -ENOENT, NULL, 0},
    {TEXT("a_cow_ksm 4\ncow_ksm 5\n"), "cow_ksm", 0, TEXT("5")},
    {TEXT("a_cow_ksm 4\n"), "cow_ksm", -ENOENT, NULL, 0},
    {TEXT(" cow_ksm 4\n"), "cow_ksm", -ENOENT, NULL, 0},
    {TEXT("SwapFree: 4 kB\n"), "Free:", -ENOENT, NULL, 0},
    {TEXT("cow_ksmcow_ksm 4\n"), "cow_ksm", -ENOENT, NULL, 0},
    {TEXT("abab 4\nab 5\n"), "ab", 0, TEXT("5")},
    /* A key in the middle of a line. */
    {TEXT("said: cow_ksm 4\n"), "cow_ksm", -ENOENT, NULL, 0},
    {TEXT("said: cow_ksm 4\ncow_ksm 5\n"), "cow_ksm", 0, TEXT("5")},
    /* Other separators. */
    {TEXT("cow_ksm\t5\n"), "cow_ksm", -ENOENT, NULL, 0},
    {TEXT("cow_ksm=5\n"), "cow_ksm", -ENOENT, NULL, 0},
    {TEXT("cow_ksm: 5\n"), "cow_ksm", -ENOENT, NULL, 0},
    {TEXT("cow_ksm\n"), "cow_ksm", -ENOENT, NULL, 0},
    {TEXT("COW_KSM 5\n"), "cow_ksm", -ENOENT, NULL, 0},
    {TEXT("cow_ksm\0 5\n"), "cow_ksm", -ENOENT, NULL, 0},
    {TEXT("\rcow_ksm 5\n"), "cow_ksm", -ENOENT, NULL, 0},
    /* Cut off. */
    {TEXT(""), "cow_ksm", -ENOENT, NULL, 0},
    {TEXT("first 4\n"), "cow_ksm", -ENOENT, NULL, 0},
    {TEXT("first 4\ncow_k"), "cow_ksm", -ENOENT, NULL, 0},
    {TEXT("first 4\ncow_ksm"), "cow_ksm", -ENOENT, NULL, 0},
    {TEXT("first 4\ncow_ksm "), "cow_ksm", -EINVAL, NULL, 0},
    {TEXT("first 4\ncow_ksm 5"), "cow_ksm", -EINVAL, NULL, 0},
    {TEXT("first 4\ncow_ksm 54321"), "cow_ksm", -EINVAL, NULL, 0},
};

START_TEST(fields) {
    const struct field_row *row = &field_rows[_i];
    const char *field = NULL;
    size_t len = 0;
    int status = parse_field(suite_guarded(row->text, row->len), row->len, row->key, &field, &len);

    ck_assert_msg(status == row->status, "parse_field(%s, %s): got status %s, want %s",
                  suite_quote(row->text, row->len), row->key, suite_status(status),
                  suite_status(row->status));
    ck_assert_msg(len == row->field_len && (len == 0 || memcmp(field, row->field, len) == 0),
                  "parse_field(%s, %s): got %s, want %s", suite_quote(row->text, row->len),
                  row->key, suite_quote(field, len), suite_quote(row->field, row->field_len));
}
END_TEST

/* Fields 3 … 20 of /proc/PID/stat, with a parent of 2, flags 2129984, utime 14 and stime 15. */
#define REST "S 2 0 0 0 -1 2129984 0 0 0 0 14 15 0 0 25 5 1 0 29\n"
#define PARENS_64 "()()()()()()()()()()()()()()()()()()()()()()()()()()()()()()()()"
#define LETTERS_64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const struct stat_row {
    const char *text;
    size_t len;
    int status;
    const char *comm;
    int64_t ppid;
} stat_rows[] = {
    {TEXT("37 (ksmd) " REST), 0, "ksmd", 2},
    {TEXT("37 () " REST), 0, "", 2},
    {TEXT("37 ( ) " REST), 0, " ", 2},
    {TEXT("37 (ksmd thing) " REST), 0, "ksmd thing", 2},
    {TEXT("37 (a) S 2 (b) " REST), 0, "a) S 2 (b", 2},
    {TEXT("37 (ksmd) S 2 0) R 1 0 0 0 -1 4194304 0 0 0 0 14 15 0 0\n"), 0, "ksmd) S 2 0", 1},
    {TEXT("37 (a\nb) " REST), 0, "a\nb", 2},
    {TEXT("37 (a\n37 (ksmd) " REST), 0, "a\n37 (ksmd", 2},
    {TEXT("37 ()) " REST), 0, ")", 2},
    {TEXT("37 (() " REST), 0, "(", 2},
    {TEXT("37 (\\) " REST), 0, "\\", 2},
    {TEXT("37 (\"'%s%n) " REST), 0, "\"'%s%n", 2},
    {TEXT("37 (\xff\xfe\x01) " REST), 0, "\xff\xfe\x01", 2},
    /* Longer than any comm: the first 64 bytes. */
    {TEXT("37 (" PARENS_64 PARENS_64 PARENS_64 "()()()()) " REST), 0, PARENS_64, 2},
    {TEXT("37 (" LETTERS_64 ") " REST), 0, LETTERS_64, 2},
    {TEXT("37 (" LETTERS_64 "x) " REST), 0, LETTERS_64, 2},
    /* No such line. */
    {TEXT(""), -ENODATA, NULL, 0},
    {TEXT("\n"), -EINVAL, NULL, 0},
    {TEXT("37"), -EINVAL, NULL, 0},
    {TEXT("37 (ksmd"), -EINVAL, NULL, 0},
    {TEXT("37 ksmd) " REST), -EINVAL, NULL, 0},
    {TEXT("37 (ksmd " REST), -EINVAL, NULL, 0},
    {TEXT("37 )ksmd( " REST), -EINVAL, NULL, 0},
    {TEXT("37 (ksmd)"), -EINVAL, NULL, 0},
    {TEXT("37 (ksmd) "), -EINVAL, NULL, 0},
    {TEXT("37 (ksmd) S"), -EINVAL, NULL, 0},
    {TEXT("37 (ksmd) S "), -EINVAL, NULL, 0},
    {TEXT("37 (ksmd)  " REST), -EINVAL, NULL, 0},
    {TEXT("37 (ksmd)" REST), -EINVAL, NULL, 0},
    {TEXT("37 (ksmd) S 2 0 0 0 -1 2129984 0 0 0 0 14 15abc 0 0 25\n"), -EINVAL, NULL, 0},
    {TEXT("37 (ksmd) S 2 0 0 0 -1 2129984 0 0 0 0 14 -x 0 0 25\n"), -EINVAL, NULL, 0},
    {TEXT("37 (ksmd) S 2 0 0 0 -1 2129984 0 0 0 0 1e4 15 0 0 25\n"), -EINVAL, NULL, 0},
    {TEXT("37 (ksmd) S 02 0 0 0 -1 2129984 0 0 0 0 14 15 0 0 25\n"), -EINVAL, NULL, 0},
    {TEXT("37 (ksmd) S 2  0 0 0 -1 2129984 0 0 0 0 14 15 0 0 25\n"), -EINVAL, NULL, 0},
    {TEXT("37 (ksmd) S 2 0 0 0 -1 2129984 0 0 0 0 14 9223372036854775808 0 0\n"), -ERANGE, NULL, 0},
};

START_TEST(stats) {
    const struct stat_row *row = &stat_rows[_i];
    struct parse_stat before, got;

    memset(&before, 0x5a, sizeof(before));
    got = before;
    int status = parse_stat(suite_guarded(row->text, row->len), row->len, &got);
    ck_assert_msg(status == row->status, "parse_stat(%s): got status %s, want %s",
                  suite_quote(row->text, row->len), suite_status(status),
                  suite_status(row->status));
    if (status != 0) {
        ck_assert_msg(memcmp(&got, &before, sizeof(got)) == 0,
                      "parse_stat(%s): failed, yet changed the result",
                      suite_quote(row->text, row->len));
        return;
    }
    ck_assert_msg(strcmp(got.comm, row->comm) == 0, "parse_stat(%s): got comm %s, want %s",
                  suite_quote(row->text, row->len), suite_quote(got.comm, strlen(got.comm)),
                  suite_quote(row->comm, strlen(row->comm)));
    int64_t flags = row->ppid == 2 ? 2129984 : 4194304;
    int64_t started = row->ppid == 2 ? 29 : 0; /* the other line ends before it */
    ck_assert_msg(got.ppid == row->ppid && got.flags == flags && got.utime == 14 &&
                      got.stime == 15 && got.started == started,
                  "parse_stat(%s): got ppid %" PRId64 ", flags %" PRId64 ", utime %" PRId64
                  ", stime %" PRId64 ", started %" PRId64 "; want %" PRId64 ", %" PRId64
                  ", 14, 15, %" PRId64,
                  suite_quote(row->text, row->len), got.ppid, got.flags, got.utime, got.stime,
                  got.started, row->ppid, flags, started);
}
END_TEST

/* Cut off anywhere, a line gives what the whole line gives or nothing. */
START_TEST(stat_cut_off) {
    static const char line[] =
        "37 (ksmd) S 2 0 0 0 -1 2129984 0 0 0 0 1234 5678 0 0 25 5 1 0 777 0\n";

    for (size_t len = 0; len < sizeof(line); len++) {
        struct parse_stat stat;
        int status = parse_stat(suite_guarded(line, len), len, &stat);
        bool all = status == 0 && strcmp(stat.comm, "ksmd") == 0 && stat.ppid == 2 &&
                   stat.flags == 2129984 && stat.utime == 1234 && stat.stime == 5678 &&
                   stat.started == 777;
        ck_assert_msg(status != 0 || all,
                      "parse_stat(%s): got stime %" PRId64 ", started %" PRId64 "; want 5678, 777",
                      suite_quote(line, len), stat.stime, stat.started);
    }
}
END_TEST

/* What was parsed, printed again as the kernel does, is what was read: so nothing else passes. */
static void expect_round_trip(const struct form *form, const char *text, size_t len) {
    int64_t value = untouched;
    char again[32];

    if (form->parse(text, len, &value) != 0)
        return;
    int n = snprintf(again, sizeof(again), "%" PRId64 "\n", value);
    bool same = len == (size_t)n || len == (size_t)n - 1;
    ck_assert_msg(same && memcmp(again, text, len) == 0,
                  "parse_%s(%s): got %" PRId64 ", which the kernel prints as %s", form->name,
                  suite_quote(text, len), value, suite_quote(again, (size_t)n));
}

START_TEST(random_texts) {
    static const char alphabet[] = "0123456789012345678901234567890123456789-+ \n\0x";
    int numbers = 0;

    for (int i = 0; i < 200000; i++) {
        char text[24];
        size_t len = suite_random() % sizeof(text);
        for (size_t at = 0; at < len; at++)
            text[at] = alphabet[suite_random() % (sizeof(alphabet) - 1)];
        for (int form = 0; form < 2; form++)
            expect_round_trip(&plain_forms[form], text, len);
        int64_t value = 0;
        numbers += parse_signed(text, len, &value) == 0;
    }
    ck_assert_msg(numbers > 10000, "only %d random texts were numbers (KSM_TEST_SEED=%" PRIu64 ")",
                  numbers, suite_seed());
}
END_TEST

/* And every number that the kernel can print is read. */
START_TEST(random_numbers) {
    for (int i = 0; i < 200000; i++) {
        int64_t number = (int64_t)(suite_random() >> suite_random() % 64);
        int64_t value = untouched;
        char text[32];
        int len = snprintf(text, sizeof(text), "%" PRId64 "\n", number);
        int status = parse_signed(text, (size_t)len, &value);
        ck_assert_msg(status == 0 && value == number,
                      "parse_signed(%s): got status %s, value %" PRId64 " (KSM_TEST_SEED=%" PRIu64
                      ")",
                      suite_quote(text, (size_t)len), suite_status(status), value, suite_seed());
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("parse");
    TCase *numbers = suite_case(suite, "numbers");
    TCase *words = suite_case(suite, "words");
    TCase *lines = suite_case(suite, "lines");

    tcase_add_loop_test(numbers, plain_numbers, 0, ROWS(plain_forms) * ROWS(plain_rows));
    tcase_add_loop_test(numbers, negative_numbers, 0, ROWS(negative_rows));
    tcase_add_loop_test(numbers, scaled_numbers, 0, ROWS(scaled_rows));
    tcase_add_loop_test(numbers, kilobytes, 0, ROWS(kilobytes_rows));
    tcase_add_test(numbers, random_texts);
    tcase_add_test(numbers, random_numbers);
    tcase_add_loop_test(words, run_states, 0, ROWS(run_rows));
    tcase_add_loop_test(words, advisor_modes, 0, ROWS(advisor_rows));
    tcase_add_loop_test(lines, schedstats, 0, ROWS(schedstat_rows));
    tcase_add_loop_test(lines, fields, 0, ROWS(field_rows));
    tcase_add_loop_test(lines, stats, 0, ROWS(stat_rows));
    tcase_add_test(lines, stat_cut_off);
    return suite_run(suite);
}
