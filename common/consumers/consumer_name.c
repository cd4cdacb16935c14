/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "consumers/consumer_name.h"
#include "system/utf8.h"

uint32_t ksm_consumer_name_hash(const char *bytes, size_t len) {
    uint64_t h = 0xcbf29ce484222325;

    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)bytes[i]) * 0x100000001b3;
    return (uint32_t)(h ^ (h >> 32));
}

struct range {
    uint32_t first, last;
};

static const struct range invisible[] = {
#define INVISIBLE(first, last) {first, last},
#include "consumers/characters.def"
};

static const struct range marks[] = {
#define MARK(first, last) {first, last},
#include "consumers/characters.def"
};

#define IS_IN(ranges, character) is_in(ranges, sizeof(ranges) / sizeof((ranges)[0]), character)

static bool is_in(const struct range *ranges, size_t count, uint32_t character) {
    for (size_t i = 0; i < count; i++)
        if (character <= ranges[i].last)
            return character >= ranges[i].first;
    return false;
}

/* Returns the bytes of the character at s if both daemons carry it unchanged and it is visible,
 * else 0. Netdata replaces all other ASCII characters in labels. A combining mark at the start
 * would combine with the text before the name. */
static size_t size_if_clean(const char *s, size_t len, bool at_start) {
    static const char punctuation[] = "_-.:@+";
    uint32_t character = 0;
    const size_t bytes = utf8_decode(s, len, &character);

    if (bytes == 1)
        return isalnum(*s) || memchr(punctuation, *s, sizeof(punctuation) - 1) ? 1 : 0;
    return IS_IN(invisible, character) || (at_start && IS_IN(marks, character)) ? 0 : bytes;
}

/* Returns whether a name ends like a changed one, in which Netdata shows ~ as _. */
static bool has_hash_suffix(const char *raw, size_t len) {
    size_t digits = 0;

    while (digits < len && digits < 8 && isxdigit((unsigned char)raw[len - 1 - digits]))
        digits++;
    return digits == 8 && len > 8 && (raw[len - 9] == '_' || raw[len - 9] == '~');
}

static bool has_user_prefix(const char *raw, size_t len) {
    static const char start[] = "user-";
    size_t pos = sizeof(start) - 1;

    if (len < pos || memcmp(raw, start, pos) != 0)
        return false;
    while (pos < len && isdigit((unsigned char)raw[pos]))
        pos++;
    return pos < len && raw[pos] == ':';
}

bool ksm_consumer_name_has_user_prefix(const char *text) {
    return has_user_prefix(text, strlen(text));
}

int ksm_consumer_name_compare(const struct ksm_consumer_name *a,
                              const struct ksm_consumer_name *b) {
    return a->kind != b->kind ? (int)a->kind - (int)b->kind : strcmp(a->text, b->text);
}

void ksm_consumer_name_clean(const char *raw, size_t len,
                             char text[static KSM_CONSUMER_NAME_SIZE]) {
    ksm_consumer_name_clean_with_prefix("", raw, len, text);
}

void ksm_consumer_name_clean_with_prefix(const char *user, const char *raw, size_t len,
                                         char text[static KSM_CONSUMER_NAME_SIZE]) {
    enum { SUFFIX = 1 + 8, TEXT_MAX = KSM_CONSUMER_NAME_SIZE - 1 };
    size_t used = strlen(user);
    size_t kept = used; /* whole characters that stay before a suffix */
    bool changed = len == 0 || len > TEXT_MAX - used || has_hash_suffix(raw, len) ||
                   (used == 0 && has_user_prefix(raw, len));

    memcpy(text, user, used);
    for (size_t i = 0; i < len && used < TEXT_MAX;) {
        size_t bytes = size_if_clean(raw + i, len - i, i == 0);
        if (bytes > TEXT_MAX - used)
            break;
        if (bytes == 0)
            text[used++] = '_';
        memcpy(text + used, raw + i, bytes);
        used += bytes;
        changed = changed || bytes == 0;
        i += bytes == 0 ? 1 : bytes;
        if (used <= TEXT_MAX - SUFFIX)
            kept = used;
    }
    text[used] = '\0';
    if (changed)
        snprintf(text + kept, SUFFIX + 1, "~%08x", (unsigned)ksm_consumer_name_hash(raw, len));
}
