/* SPDX-License-Identifier: MIT
 *
 * Names that both daemons carry, made of any bytes.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "consumers/consumer_name.h"
#include "support/fake_procs.h"
#include "support/suite.h"

/* ---- rows ---- */

/* Names that stay unchanged, with bars between them. Some nearly have a hash suffix (~ or _ and 8
 * digits) or a user prefix. */
static char kept[] =
    "web|web-01.example.org|getty@tty1|Az09_-.:@+|x|_|.|..|-name|grün|¡|データベース|😀|"
    "\U0010ffff|a_b__c_d|web-0123abcd|web_0123abc|web_0123abcd5|web_0123abcg|"
    "e\u0301|\u0915\u093f|_\u0301|\u2764|\u1100\u1161|\ufffd|"
    "web_0123abcd_|0123abcd|abc|0123456789ab|user-1000|user-1000-web|user-web:1|user:web|"
    "User-1000:web|x-user-1000:web";

/* Names that are changed. want: the name up to the 8 digits. */
static const struct {
    const char *raw;
    size_t len;
    const char *want;
} rows[] = {
    {TEXT(""), "~"},
    {TEXT("\0"), "_~"},
    {TEXT(" "), "_~"},
    {TEXT("a b"), "a_b~"},
    {TEXT("a\"b =c'd"), "a_b__c_d~"},
    {TEXT("a\nb"), "a_b~"},
    {TEXT("a\0b"), "a_b~"},
    {TEXT("a\tb\r\v\f\033\177"), "a_b_____~"},
    {TEXT("a/b\\c"), "a_b_c~"},
    {TEXT("a=b"), "a_b~"},
    {TEXT("'a'"), "_a_~"},
    {TEXT("`a`$(b);{c}[d]<e>|f&g*h?i!j#k%l^m,n"), "_a___b___c__d__e__f_g_h_i_j_k_l_m_n~"},
    {TEXT("~"), "_~"},
    {TEXT("a~b"), "a_b~"},
    {TEXT("CHART x\nDISABLE\n"), "CHART_x_DISABLE_~"},

    /* Like a hash suffix: see also the property below. */
    {TEXT("web~0123abcd"), "web_0123abcd~"},
    {TEXT("web_0123abcd"), "web_0123abcd~"},
    {TEXT("web_0123ABCD"), "web_0123ABCD~"},
    {TEXT("_01234567"), "_01234567~"},

    /* Like a user prefix. */
    {TEXT("user-1000:web"), "user-1000:web~"},
    {TEXT("user-:web"), "user-:web~"},
    {TEXT("user-0:"), "user-0:~"},
    {TEXT("user-1000=web"), "user-1000_web~"},

    /* Not UTF-8, or invisible. */
    {TEXT("a\x80"), "a_~"},
    {TEXT("a\xbf\xbf"), "a__~"},
    {TEXT("\xc3"), "_~"},
    {TEXT("\xc3g"), "_g~"},
    {TEXT("\xc0\xaf"), "__~"},
    {TEXT("\xc1\xbf"), "__~"},
    {TEXT("\xe0\x80\xaf"), "___~"},
    {TEXT("\xe2\x82"), "__~"},
    {TEXT("\xed\xa0\x80"), "___~"},
    {TEXT("\xed\xbf\xbf"), "___~"},
    {TEXT("\xf0\x80\x80\xaf"), "____~"},
    {TEXT("\xf4\x90\x80\x80"), "____~"},
    {TEXT("\xf5\x80\x80\x80"), "____~"},
    {TEXT("\xf8\x88\x80\x80\x80"), "_____~"},
    {TEXT("\xff\xfe"), "__~"},
    {TEXT("a\xc2\x80\x62"), "a__b~"},
    {TEXT("a\xc2\x85\x62"), "a__b~"},
    {TEXT("a\xc2\xa0\x62"), "a__b~"},
    {TEXT("a\xc2\xad\x62"), "a__b~"},
    {TEXT("a\xe2\x80\x8b\x62"), "a___b~"},
    {TEXT("a\xe2\x80\xa8\x62"), "a___b~"},
    {TEXT("a\xe2\x80\xae\x62"), "a___b~"},
    {TEXT("\xef\xbb\xbf\x61"), "___a~"},
    {TEXT("gr\xfcn"), "gr_n~"},

    /* Invisible UTF-8: "sshd" with it would look like "sshd". */
    {TEXT("sshd\u061c"), "sshd__~"},       /* Arabic letter mark */
    {TEXT("sshd\u180e"), "sshd___~"},      /* Mongolian vowel separator */
    {TEXT("ss\u034fhd"), "ss__hd~"},       /* combining grapheme joiner */
    {TEXT("sshd\u3164"), "sshd___~"},      /* Hangul filler */
    {TEXT("sshd\ufe0f"), "sshd___~"},      /* variation selector */
    {TEXT("sshd\U000e0100"), "sshd____~"}, /* variation selector of plane 14 */
    {TEXT("sshd\U000e0041"), "sshd____~"}, /* tag character */
    {TEXT("sshd\U000e0fff"), "sshd____~"}, /* reserved */
    {TEXT("sshd\u2065"), "sshd___~"},      /* reserved */
    {TEXT("sshd\ufff9"), "sshd___~"},      /* interlinear annotation */
    {TEXT("sshd\U0001d173"), "sshd____~"}, /* musical symbol begin beam */
    {TEXT("a\u3000b"), "a___b~"},          /* ideographic space */
    {TEXT("a\u1680b"), "a___b~"},          /* Ogham space */
    {TEXT("a\u205fb"), "a___b~"},          /* mathematical space */
    {TEXT("a\u2800b"), "a___b~"},          /* Braille pattern without dots */

    /* Combining marks would combine with the kind. */
    {TEXT("\u0301sshd"), "__sshd~"},
    {TEXT("\u0903sshd"), "___sshd~"},
    {TEXT("\u20ddsshd"), "___sshd~"},
    {TEXT("\U0001e8d0sshd"), "____sshd~"},
};

static void expect_name(const char *raw, size_t len, const char *want) {
    const size_t want_len = strlen(want);
    const bool changed = want[want_len - 1] == '~';
    char text[KSM_CONSUMER_NAME_SIZE];

    ksm_consumer_name_clean(suite_guarded(raw, len), len, text);
    const char *bad = fake_procs_check_name(text);
    ck_assert_msg(!bad && strncmp(text, want, want_len) == 0 &&
                      strlen(text) == want_len + (changed ? 8 : 0),
                  "%s: got %s, want %s%s (%s)", suite_quote(raw, len),
                  suite_quote(text, strlen(text)), want, changed ? " and 8 digits" : "", bad);
}

TEST(clean_names_stay_unchanged) {
    for (char *name = strtok(kept, "|"); name; name = strtok(NULL, "|"))
        expect_name(name, strlen(name), name);
}

TEST_ROWS(other_names_are_changed, rows) {
    expect_name(row->raw, row->len, row->want);
}

/* The hash must never change, as daemons have recorded data under the names: 64-bit FNV-1a, its
 * halves combined by exclusive or. */
static const struct {
    const char *raw;
    size_t len;
    const char *want;
} known[] = {
    {TEXT(""), "~4fd0bfc1"},
    {TEXT(" "), "_~29621c33"},
    {TEXT("a\"b =c'd"), "a_b__c_d~4d65cf77"},
    {TEXT("foo bar"), "foo_bar~7d192b06"},
};

TEST_ROWS(hash_is_fnv1a, known) {
    char text[KSM_CONSUMER_NAME_SIZE];

    ksm_consumer_name_clean(row->raw, row->len, text);
    ck_assert_str_eq(text, row->want);
}

/* ---- lengths ---- */

/* Names up to 103 bytes are whole; of others 94 bytes stay before the hash suffix. The user prefix
 * is never cut. */
static const char *const prefixes[] = {"", "user-4294967294:"};

TEST_ROWS(long_names_are_cut_after_the_prefix, prefixes) {
    enum { MAX = 5000, SUFFIX = 9 };
    static char raw[MAX];
    const size_t before = strlen(*row), room = KSM_CONSUMER_NAME_SIZE - 1 - before;
    char text[KSM_CONSUMER_NAME_SIZE];

    memset(raw, 'x', sizeof(raw));
    for (size_t len = 1; len <= MAX; len++) {
        ksm_consumer_name_clean_with_prefix(*row, raw, len, text);
        must(strncmp(text, *row, before) == 0 &&
                 strspn(text + before, "x") == (len <= room ? len : room - SUFFIX) &&
                 strlen(text + before) == (len <= room ? len : room),
             "%zu bytes: got %s", len, text);
    }
}

/* At each position of the end. */
static const char *const characters[] = {"ü", "ツ", "😀", " "};

TEST_ROWS(names_are_cut_between_characters, characters) {
    for (size_t before = 0; before < 120; before++) {
        for (size_t count = before == 0; count < 130; count++) {
            char raw[1024];
            struct {
                char text[KSM_CONSUMER_NAME_SIZE];
                char after[8];
            } got = {.after = "untouch"};
            size_t len = before;
            memset(raw, 'x', before);
            for (size_t i = 0; i < count; i++)
                len += strlen(strcpy(raw + len, *row));
            ksm_consumer_name_clean(raw, len, got.text);
            const char *bad = fake_procs_check_name(got.text);
            must(strcmp(got.after, "untouch") == 0 && !bad, "%zu x and %zu times %s: %s: %s",
                 before, count, *row, got.text, bad ? bad : "written too far");
            if (len < KSM_CONSUMER_NAME_SIZE && **row != ' ')
                must(strlen(got.text) == len && memcmp(got.text, raw, len) == 0,
                     "%zu x and %zu times %s: got %s", before, count, *row, got.text);
        }
    }
}

/* ---- different names stay different ---- */

/* A hash has 32 bits: two changed names are the same by chance once in 2^32. With the default seed
 * that does not happen in these small sets. */

static const char *const users[] = {"", "user-1:", "user-12:"};

struct named {
    char text[KSM_CONSUMER_NAME_SIZE];
    size_t user; /* of users */
    size_t len;
    char raw[320];
};

static int by_text(const void *a, const void *b) {
    return strcmp(((const struct named *)a)->text, ((const struct named *)b)->text);
}

static bool same_raw(const struct named *a, const struct named *b) {
    return a->user == b->user && a->len == b->len && memcmp(a->raw, b->raw, a->len) == 0;
}

/* Netdata shows ~ as _. */
static void as_netdata_shows(struct named *list, size_t count) {
    for (size_t i = 0; i < count; i++)
        for (char *c = list[i].text; (c = strchr(c, '~'));)
            *c = '_';
}

static void expect_differ(struct named *list, size_t count, const char *where) {
    qsort(list, count, sizeof(*list), by_text);
    for (size_t i = 1; i < count; i++)
        must(strcmp(list[i].text, list[i - 1].text) != 0 || same_raw(&list[i], &list[i - 1]),
             "%s: %s and %s are both %s", where, suite_quote(list[i].raw, list[i].len),
             suite_quote(list[i - 1].raw, list[i - 1].len), list[i].text);
}

static void expect_all_differ(struct named *list, size_t count, const char *where) {
    expect_differ(list, count, where);
    as_netdata_shows(list, count);
    expect_differ(list, count, where);
}

static void clean(struct named *named) {
    ksm_consumer_name_clean_with_prefix(users[named->user], named->raw, named->len, named->text);
    const char *bad = fake_procs_check_name(named->text);
    must(!bad, "%s: got %s: %s", suite_quote(named->raw, named->len),
         suite_quote(named->text, strlen(named->text)), bad);
}

static size_t below(size_t limit) {
    return (size_t)(suite_random() % limit);
}

static void any_bytes(struct named *named) {
    named->len = below(20);
    for (size_t i = 0; i < named->len; i++)
        named->raw[i] = (char)suite_random();
}

static void few_characters(struct named *named) {
    static const char alphabet[] = "a_ ~/=\n";

    named->len = below(6);
    for (size_t i = 0; i < named->len; i++)
        named->raw[i] = alphabet[below(sizeof(alphabet))]; /* its NUL too */
}

/* Ends with a hash suffix, or nearly so. */
static void nearly_suffixed(struct named *named) {
    static const char *const bases[] = {"", "a", "a_b", "a b", "_"};
    static const char starts[] = "_~ -";
    static const char digits[] = "0123456789abcdefABCDEFg_";
    const char *base = bases[below(ROWS(bases))];
    size_t count = 7 + below(3);

    named->len = strlen(base);
    memcpy(named->raw, base, named->len);
    named->raw[named->len++] = starts[below(sizeof(starts) - 1)];
    for (size_t i = 0; i < count; i++)
        named->raw[named->len++] = digits[suite_random() % 3 ? 0 : below(sizeof(digits) - 1)];
}

static void long_common_prefix(struct named *named) {
    static const char other[] = "y_ ~";

    named->len = 85 + below(sizeof(named->raw) - 85);
    memset(named->raw, 'x', named->len);
    named->raw[below(named->len)] = other[below(sizeof(other) - 1)];
}

/* Pieces of UTF-8, whole and broken. */
static void pieces(struct named *named) {
    static const char *const parts[] = {"\xc3", "\xbc", "ü",        "\xe2\x82", "€", "_",
                                        "a",    "😀",    "\xf0\x9f", "\x98\x80", " "};
    size_t count = below(40);

    named->len = 0;
    for (size_t i = 0; i < count; i++) {
        const char *part = parts[below(ROWS(parts))];
        memcpy(named->raw + named->len, part, strlen(part));
        named->len += strlen(part);
    }
}

/* Takes the clean name of another, or the form in which Netdata shows it. */
static void imitate(struct named *named, const struct named *other) {
    named->len = strlen(other->text);
    memcpy(named->raw, other->text, named->len);
    char *tilde = memchr(named->raw, '~', named->len);
    if (tilde && suite_random() % 2)
        *tilde = '_';
}

static const struct {
    const char *name;
    void (*make)(struct named *named);
} makers[] = {
    {"any bytes", any_bytes},
    {"few characters", few_characters},
    {"nearly suffixed", nearly_suffixed},
    {"long common prefix", long_common_prefix},
    {"pieces of UTF-8", pieces},
};

TEST_ROWS(names_stay_different, makers) {
    enum { COUNT = 2000, IMITATED = 3 };
    static struct named list[COUNT * IMITATED];

    for (size_t i = 0; i < COUNT * IMITATED; i++) {
        if (i < COUNT)
            row->make(&list[i]);
        else
            imitate(&list[i], &list[i - COUNT]);
        list[i].user = below(ROWS(users));
        clean(&list[i]);
    }
    expect_all_differ(list, COUNT * IMITATED, row->name);
}

/* All names of one byte, and all of two of which the first is ASCII. */
TEST(all_short_names_stay_different) {
    static struct named list[1 + 256 + 128 * 256];
    size_t count = 0;

    clean(&list[count++]);
    for (int a = 0; a < 256; a++) {
        list[count] = (struct named){.len = 1, .raw = {(char)a}};
        clean(&list[count++]);
        for (int b = 0; a < 128 && b < 256; b++) {
            list[count] = (struct named){.len = 2, .raw = {(char)a, (char)b}};
            clean(&list[count++]);
        }
    }
    expect_all_differ(list, count, "short names");
}

/* A name with a hash suffix gets another one. */
TEST_ROWS(name_without_suffix_stays_unchanged_if_cleaned_again, makers) {
    enum { COUNT = 5000 };

    for (int i = 0; i < COUNT; i++) {
        struct named once = {.user = 0}, twice = {.user = 0};
        row->make(&once);
        clean(&once);
        twice.len = strlen(once.text);
        memcpy(twice.raw, once.text, twice.len);
        clean(&twice);
        bool changed = strchr(once.text, '~') != NULL;
        must((strcmp(once.text, twice.text) != 0) == changed, "%s, then %s", once.text, twice.text);
        if (!changed)
            must(once.len == twice.len && memcmp(once.raw, once.text, once.len) == 0,
                 "%s became %s without a suffix", suite_quote(once.raw, once.len), once.text);
    }
}
