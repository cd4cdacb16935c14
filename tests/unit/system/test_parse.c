/* SPDX-License-Identifier: MIT
 *
 * Which texts are numbers of the kernel. tests/fuzz/fuzz_numbers.c tries random ones.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "support/suite.h"
#include "system/parse.h"

typedef int parse_fn(const char *text, size_t len, int64_t *value);

static const int64_t untouched = 0x5a5a5a5a5a5a5a5a;

struct row {
    const char *text;
    size_t len;
    int status;
    int64_t value;
};
#define ROW(text, status, value)                                                                   \
    { TEXT(text), status, value }
#define IS(text, value) ROW(text, 0, value)
#define NOT(text) ROW(text, -EINVAL, 0)
#define LARGE(text) ROW(text, -ERANGE, 0)
#define NOTHING(text) ROW(text, -ENODATA, 0)

/* Accepted or refused alike by all functions that parse a plain number. */
static const struct row plain[] = {
    IS("0\n", 0), IS("0", 0), IS("7\n", 7), IS("7", 7), IS("48911\n", 48911),
    IS("4294967296\n", 4294967296), IS("9223372036854775806\n", INT64_MAX - 1),
    IS("9223372036854775807\n", INT64_MAX), IS("9223372036854775807", INT64_MAX),
    LARGE("9223372036854775808\n"), LARGE("9223372036854775810\n"), LARGE("18446744073709551615\n"),
    LARGE("18446744073709551616\n"), LARGE("18446744073709551623\n"),
    LARGE("123456789012345678901234567890\n"), LARGE("123456789012345678901234567890"),
    /* Too large, and no number. */
    NOT("9223372036854775808abc\n"), NOT("09223372036854775808\n"),
    /* Nothing. */
    NOTHING(""), NOT("\n"), NOT(" "), NOT("\0"), NOT("\0\0\0\0\0\0\0\0"),
    /* Something before it. */
    NOT(" 7\n"), NOT("\t7\n"), NOT("\n7\n"), NOT("+7\n"), NOT("--7\n"), NOT("- 7\n"), NOT("-\n"),
    NOT("-"), NOT("-0\n"), NOT("-07\n"), NOT("00\n"), NOT("007\n"), NOT("abc12\n"), NOT("\0007\n"),
    /* Something after it. */
    NOT("7 \n"), NOT("7\n\n"), NOT("7\n8\n"), NOT("7 8\n"), NOT("7\r\n"), NOT("7\r"), NOT("7\0"),
    NOT("7\0\n"), NOT("7\n\0"), NOT("12abc\n"), NOT("7%\n"), NOT("7 kB\n"), NOT("7-\n"),
    /* Other ways to write one. */
    NOT("0x10\n"), NOT("1e3\n"), NOT("1.5\n"), NOT("1,000\n"), NOT("7\xd9\xa3\n"), NOT("inf\n"),
    NOT("yes\n"), NOT("2:\n"), NOT("/\n")};

/* For parse_signed(). */
static const struct row negative[] = {
    IS("-5\n", -5), IS("-5", -5), IS("-1\n", -1), IS("-10\n", -10),
    IS("-9223372036854775807\n", -INT64_MAX), IS("-9223372036854775808\n", INT64_MIN),
    /* Refused. */
    LARGE("-9223372036854775809\n"), NOT("-9223372036854775809x"), NOT("-5 \n"), NOT("-5\n\n"),
    NOT("-5\0"), NOT("-0x5\n"), NOT("-5-\n"), NOT("-+5\n")};

/* Large counts as UKSM prints them. */
static const struct row scaled[] = {
    IS("5 * 2^0\n", 5), IS("5 * 2^0", 5), IS("5 * 2^3\n", 40), IS("1 * 2^10\n", 1024),
    IS("0 * 2^3\n", 0), IS("0 * 2^64\n", 0), IS("0 * 2^9223372036854775807\n", 0),
    IS("1 * 2^62\n", (int64_t)1 << 62), IS("3 * 2^61\n", (int64_t)3 << 61),
    IS("9223372036854775807 * 2^0\n", INT64_MAX), IS("4611686018427387903 * 2^1\n", INT64_MAX - 1),
    /* Refused. */
    LARGE("4611686018427387904 * 2^1\n"), LARGE("9223372036854775807 * 2^1\n"), LARGE("1 * 2^63\n"),
    LARGE("2 * 2^62\n"), LARGE("4 * 2^61\n"), LARGE("1 * 2^64\n"), LARGE("1 * 2^4294967296\n"),
    LARGE("1 * 2^123456789012345678901234567890\n"), LARGE("9223372036854775808 * 2^0\n"),
    LARGE("9223372036854775808 * 2^1\n"), NOT("9223372036854775808 * 2^x\n"), NOT("1 * 2^64 \n"),
    NOT("5 * 2^\n"), NOT("5 * 2^"), NOT("5 * 2\n"), NOT("5 *\n"), NOT("5 * 3^2\n"),
    NOT("5 * 2^-1\n"), NOT("5 * 2^+1\n"), NOT("5 * 2^01\n"), NOT("5 * 2^1 * 2^1\n"), NOT("5*2^1\n"),
    NOT("5  * 2^1\n"), NOT("05 * 2^1\n"), NOT("-5 * 2^1\n"), NOT(" * 2^1\n"), NOT("* 2^1\n"),
    NOT("5 * 2^1x\n"), NOT("5 * 2^1\n\n"), NOT("5 * 2^1\0"), NOT("5 * 2^1.5\n")};

/* A field of meminfo. */
static const struct row bytes[] = {IS("  28008 kB", 28680192),
                                   NOT("28008"),
                                   NOT("28008 B"),
                                   IS("562949953421312 kB", INT64_C(1) << 59),
                                   LARGE("562949953421313 kB"),
                                   LARGE("9223372036854775807 kB")};

static const struct row kilobytes[] = {
    IS("24684096 kB", 24684096), IS("24684096 kB\n", 24684096), IS("       24684096 kB", 24684096),
    IS("0 kB", 0), IS("9223372036854775807 kB", INT64_MAX),
    /* Refused. */
    LARGE("9223372036854775808 kB"), LARGE("123456789012345678901234567890 kB"),
    NOT("9223372036854775808 MB"), NOT("9223372036854775808"), NOTHING(""), NOT("\n"), NOT("    "),
    NOT("kB"), NOT(" kB"), NOT("24684096"), NOT("24684096\n"), NOT("24684096 "), NOT("24684096 k"),
    NOT("24684096kB"), NOT("24684096  kB"), NOT("24684096 KB"), NOT("24684096 MB"),
    NOT("24684096 kB "), NOT("24684096 kBx"), NOT("24684096 kB\n\n"), NOT("24684096 kB\0"),
    NOT("24684\00096 kB"), NOT("\t24684096 kB"), NOT("-5 kB"), NOT("+5 kB"), NOT("007 kB"),
    NOT("0x10 kB"), NOT("12abc kB"), NOT("1.5 kB")};

/* Bit 4: memory is going offline. */
static const struct row run[] = {
    IS("0\n", 0), IS("1\n", 1), IS("1", 1), IS("2\n", 2), IS("4\n", 0), IS("5\n", 1), IS("6\n", 2),
    /* Refused. */
    NOT("3\n"), NOT("7\n"), NOT("8\n"), NOT("10\n"), NOT("256\n"), NOT("4294967296\n"),
    NOT("9223372036854775807\n"), LARGE("9223372036854775808\n"), NOTHING(""), NOT("-1\n"),
    NOT("01\n"), NOT("1\n1\n"), NOT("1\0"), NOT("running\n"), NOT("[1]\n")};

/* The selected one is in brackets. */
static const struct row advisor[] = {
    IS("[none] scan-time\n", 0), IS("none [scan-time]\n", 1), IS("[none] scan-time", 0),
    IS("none [scan-time]", 1), IS("[none]\n", 0), IS("none [scan-time] of-a-later-kernel\n", 1),
    /* Refused. */
    NOT("none scan-time [of-a-later-kernel]\n"), NOT("none scan-time\n"),
    NOT("[none] [scan-time]\n"), NOT("[none] [none]\n"), NOT("[of-a-later-kernel] [none]\n"),
    NOTHING(""), NOT("\n"), NOT("[]\n"), NOT("[\n"), NOT("]\n"), NOT("[none\n"), NOT("[none"),
    NOT("none]\n"), NOT("none] [scan-time\n"), NOT("[[none]] scan-time\n"),
    NOT("[none scan-time]\n"), NOT("[non] scan-time\n"), NOT("[nonee] scan-time\n"),
    NOT("[None] scan-time\n"), NOT("[none]  scan-time\n"), NOT("[none] scan-time \n"),
    NOT(" [none] scan-time\n"), NOT("[none]scan-time\n"), NOT("[none] scan-time\n\n"),
    NOT("[none] scan-time\nnone [scan-time]\n"), NOT("[none] scan-time\0"),
    NOT("[none\0] scan-time\n"), NOT("[none] 12abc\n"), NOT("0\n"), NOT("[0] 1\n")};

/* Time on the CPU, time waiting, time slices; all 0 on a kernel that does not count them. */
static const struct row schedstat[] = {
    IS("123456789 5 7\n", 123456789), IS("123456789 5 7", 123456789),
    IS("9223372036854775807 0 1\n", INT64_MAX), IS("0 5 1\n", 0), IS("0 0 1\n", 0),
    /* Refused. */
    NOTHING("0 0 0\n"), NOTHING("0 0 0"), NOTHING(""), NOT("0 0 0 0\n"), NOT("0 0\n"), NOT("\n"),
    NOT("123456789\n"), NOT("123456789 5\n"), NOT("123456789 5 \n"), NOT("123456789 5 7 \n"),
    NOT("123456789 5 7 9\n"), NOT("123456789 5 7abc\n"), NOT("123456789 5 7\n\n"),
    NOT("123456789 5 7\0"), NOT("123456789  5 7\n"), NOT(" 123456789 5 7\n"),
    NOT("123456789\n5 7\n"), NOT("-1 5 7\n"), NOT("01 5 7\n"), NOT("1e3 5 7\n"),
    LARGE("9223372036854775808 5 7\n"), LARGE("123456789012345678901234567890 5 7\n")};

static const struct form {
    const char *name;
    parse_fn *parse;
    const struct row *rows;
    int count;
} forms[] = {
    {"number", parse_number, plain, ROWS(plain)},
    {"signed", parse_signed, plain, ROWS(plain)},
    {"count", parse_count, plain, ROWS(plain)},
    {"scaled", parse_scaled, plain, ROWS(plain)},
    {"signed", parse_signed, negative, ROWS(negative)},
    {"scaled", parse_scaled, scaled, ROWS(scaled)},
    {"kilobytes", parse_kilobytes, kilobytes, ROWS(kilobytes)},
    {"bytes", parse_bytes, bytes, ROWS(bytes)},
    {"run", parse_run, run, ROWS(run)},
    {"advisor", parse_advisor, advisor, ROWS(advisor)},
    {"schedstat", parse_schedstat, schedstat, ROWS(schedstat)},
};

/* The text lies before a guard page, so reading beyond it crashes. On failure the value must not
 * change. */
static void expect(const char *name, parse_fn *parse, const struct row *row, int want_status,
                   int64_t want_value) {
    int64_t value = untouched;
    int status = parse(suite_guarded(row->text, row->len), row->len, &value);
    int64_t want = want_status == 0 ? want_value : untouched;

    ck_assert_msg(status == want_status && value == want,
                  "parse_%s(%s): got status %s, value %" PRId64 "; want status %s, value %" PRId64,
                  name, suite_quote(row->text, row->len), suite_status(status), value,
                  suite_status(want_status), want);
}

TEST_ROWS(numbers_are_parsed_strictly, forms) {
    for (int i = 0; i < row->count; i++)
        expect(row->name, row->parse, &row->rows[i], row->rows[i].status, row->rows[i].value);
}

TEST(only_signed_accepts_negative_numbers) {
    for (const struct row *row = negative; row < negative + ROWS(negative); row++) {
        expect("count", parse_count, row, row->status == 0 ? -EDOM : row->status, 0);
        expect("number", parse_number, row, -EINVAL, 0);
        expect("scaled", parse_scaled, row, -EINVAL, 0);
    }
}

static const struct field_row {
    const char *text;
    size_t len;
    const char *key;
    int status;
    const char *field;
    size_t field_len;
} field_rows[] = {
#define FOUND(text, key, field)                                                                    \
    { TEXT(text), key, 0, TEXT(field) }
#define FIVE(text) FOUND(text, "cow_ksm", "5")
#define NONE(text)                                                                                 \
    { TEXT(text), "cow_ksm", -ENOENT, NULL, 0 }
#define CUT(text)                                                                                  \
    { TEXT(text), "cow_ksm", -EINVAL, NULL, 0 }
    FIVE("cow_ksm 5\n"), FIVE("cow_ksm 5\nlast 6\n"), FIVE("first 4\ncow_ksm 5\nlast 6\n"),
    FIVE("first 4\ncow_ksm 5\n"), FIVE("\n\ncow_ksm 5\n"), FIVE("\0\0\0cow_ksm 4\ncow_ksm 5\n"),
    FOUND("MemTotal:       24684096 kB\n", "MemTotal:", "      24684096 kB"),
    FOUND("cow_ksm \n", "cow_ksm", ""), FOUND("cow_ksm  5 6\n", "cow_ksm", " 5 6"),
    FOUND("cow_ksm 5\0\n", "cow_ksm", "5\0"),
    /* The first of two lines with the key. */
    FIVE("cow_ksm 5\ncow_ksm 6\n"),
    /* A key that is part of another, or in the middle of a line. */
    FIVE("cow_ksm_more 4\ncow_ksm 5\n"), NONE("cow_ksm_more 4\n"), FIVE("a_cow_ksm 4\ncow_ksm 5\n"),
    NONE("a_cow_ksm 4\n"), NONE(" cow_ksm 4\n"), NONE("cow_ksmcow_ksm 4\n"),
    FOUND("abab 4\nab 5\n", "ab", "5"), NONE("note: cow_ksm 4\n"),
    FIVE("note: cow_ksm 4\ncow_ksm 5\n"),
    /* Other separators. */
    NONE("cow_ksm\t5\n"), NONE("cow_ksm=5\n"), NONE("cow_ksm: 5\n"), NONE("cow_ksm\n"),
    NONE("COW_KSM 5\n"), NONE("cow_ksm\0 5\n"), NONE("\rcow_ksm 5\n"),
    /* Cut off. */
    NONE(""), NONE("first 4\n"), NONE("first 4\ncow_k"), NONE("first 4\ncow_ksm"),
    CUT("first 4\ncow_ksm "), CUT("first 4\ncow_ksm 5"), CUT("first 4\ncow_ksm 54321")};

TEST_ROWS(first_line_with_the_key_is_found, field_rows) {
    const char *field = NULL;
    size_t len = 0;
    int status = parse_field(suite_guarded(row->text, row->len), row->len, row->key, &field, &len);

    ck_assert_msg(status == row->status && len == row->field_len &&
                      (len == 0 || memcmp(field, row->field, len) == 0),
                  "parse_field(%s, %s): got status %s, %s, want %s, %s",
                  suite_quote(row->text, row->len), row->key, suite_status(status),
                  suite_quote(field, len), suite_status(row->status),
                  suite_quote(row->field, row->field_len));
}

/* Fields 3 … 22 of /proc/PID/stat. */
#define REST "S 2 0 0 0 -1 2129984 0 0 0 0 14 15 0 0 25 5 1 0 29\n"
#define LETTERS_64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
static const struct parse_stat of_rest = {
    .state = 'S', .ppid = 2, .flags = 2129984, .utime = 14, .stime = 15, .started = 29};

static const struct stat_row {
    const char *text;
    size_t len;
    int status;
    const char *comm;
} stat_rows[] = {
#define COMM(text, comm)                                                                           \
    { TEXT(text), 0, comm }
    COMM("37 (ksmd) " REST, "ksmd"), COMM("37 () " REST, ""), COMM("37 ( ) " REST, " "),
    COMM("37 (ksmd thing) " REST, "ksmd thing"), COMM("37 (a) S 2 (b) " REST, "a) S 2 (b"),
    COMM("37 (a\n37 (ksmd) " REST, "a\n37 (ksmd"), COMM("37 ()) " REST, ")"),
    COMM("37 (() " REST, "("), COMM("37 (\"'%s%n) " REST, "\"'%s%n"),
    COMM("37 (\xff\xfe\x01) " REST, "\xff\xfe\x01"),
    /* Longer than any comm: the first 64 bytes. */
    COMM("37 (" LETTERS_64 ") " REST, LETTERS_64), COMM("37 (" LETTERS_64 "x) " REST, LETTERS_64),
    COMM("37 (" LETTERS_64 LETTERS_64 LETTERS_64 ") " REST, LETTERS_64),
    /* Refused. */
    NOTHING(""), NOT("\n"), NOT("37"), NOT("37 (ksmd"), NOT("37 ksmd) " REST),
    NOT("37 (ksmd " REST), NOT("37 )ksmd( " REST), NOT("37 (ksmd)"), NOT("37 (ksmd) "),
    NOT("37 (ksmd) S"), NOT("37 (ksmd) S "), NOT("37 (ksmd)  " REST), NOT("37 (ksmd)" REST),
    NOT("37 (ksmd) S 2 0 0 0 -1 2129984 0 0 0 0 14 15abc 0 0 25\n"),
    NOT("37 (ksmd) S 2 0 0 0 -1 2129984 0 0 0 0 14 -x 0 0 25\n"),
    NOT("37 (ksmd) S 2 0 0 0 -1 2129984 0 0 0 0 1e4 15 0 0 25\n"),
    NOT("37 (ksmd) S 02 0 0 0 -1 2129984 0 0 0 0 14 15 0 0 25\n"),
    NOT("37 (ksmd) S 2  0 0 0 -1 2129984 0 0 0 0 14 15 0 0 25\n"),
    LARGE("37 (ksmd) S 2 0 0 0 -1 2129984 0 0 0 0 14 9223372036854775808 0 0\n")};

static bool same_stat(const struct parse_stat *got, const struct parse_stat *want) {
    return got->state == want->state && got->ppid == want->ppid && got->flags == want->flags &&
           got->utime == want->utime && got->stime == want->stime && got->started == want->started;
}

TEST_ROWS(stat_is_parsed_whatever_the_comm, stat_rows) {
    const char *quoted = suite_quote(row->text, row->len);
    struct parse_stat before, got;

    memset(&before, 0x5a, sizeof(before));
    got = before;
    int status = parse_stat(suite_guarded(row->text, row->len), row->len, &got);
    ck_assert_msg(status == row->status, "parse_stat(%s): got %s, want %s", quoted,
                  suite_status(status), suite_status(row->status));
    if (status != 0)
        ck_assert_msg(memcmp(&got, &before, sizeof(got)) == 0,
                      "parse_stat(%s): failed, yet changed the result", quoted);
    else
        ck_assert_msg(strcmp(got.comm, row->comm) == 0 && same_stat(&got, &of_rest),
                      "parse_stat(%s): got comm %s, or another number", quoted,
                      suite_quote(got.comm, strlen(got.comm)));
}

/* A line that is cut off gives the same as the whole line, or an error. A line of an old kernel
 * ends before the last field. */
TEST(cut_off_stat_is_never_misread) {
    static const char line[] =
        "37 (ksmd) S 2 0 0 0 -1 2129984 0 0 0 0 1234 5678 0 0 25 5 1 0 777 0\n";
    static const char old[] = "37 (ksmd) S 2 0 0 0 -1 2129984 0 0 0 0 1234 5678 0 0\n";
    struct parse_stat want = {
        .state = 'S', .ppid = 2, .flags = 2129984, .utime = 1234, .stime = 5678, .started = 777};
    struct parse_stat got;

    for (size_t len = 0; len < sizeof(line); len++)
        ck_assert_msg(parse_stat(suite_guarded(line, len), len, &got) != 0 ||
                          (strcmp(got.comm, "ksmd") == 0 && same_stat(&got, &want)),
                      "parse_stat(%s): got stime %" PRId64 ", started %" PRId64,
                      suite_quote(line, len), got.stime, got.started);
    want.started = 0;
    ck_assert_int_eq(parse_stat(TEXT(old), &got), 0);
    ck_assert_msg(same_stat(&got, &want), "a line without field 22 gives other values");
}
