/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "consumers/consumer_name.h"

/* FNV-1a, folded to 32 bits: short, the same on every machine, and well spread. */
static uint32_t hash(const char *bytes, size_t len) {
    uint64_t h = 0xcbf29ce484222325;

    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)bytes[i]) * 0x100000001b3;
    return (uint32_t)(h ^ (h >> 32));
}

/* Bytes of the character at s if both hosts carry it as it is, else 0. Of ASCII Netdata's labels
 * carry these, some of them turned into others; any UTF-8 that can be seen. */
static size_t harmless(const unsigned char *s, size_t len) {
    static const char marks[] = "_-.:@+";
    static const struct {
        unsigned char lead_mask, lead;
        size_t bytes;
        uint32_t least;
    } forms[] = {{0xe0, 0xc0, 2, 0xa1}, {0xf0, 0xe0, 3, 0x800}, {0xf8, 0xf0, 4, 0x10000}};

    if (s[0] < 0x80)
        return isalnum(s[0]) || memchr(marks, s[0], sizeof(marks) - 1) ? 1 : 0;
    for (size_t form = 0; form < sizeof(forms) / sizeof(forms[0]); form++) {
        if ((s[0] & forms[form].lead_mask) != forms[form].lead || len < forms[form].bytes)
            continue;
        uint32_t c = s[0] & (unsigned char)~forms[form].lead_mask;
        for (size_t i = 1; i < forms[form].bytes; i++) {
            if ((s[i] & 0xc0) != 0x80)
                return 0;
            c = c << 6 | (s[i] & 0x3f);
        }
        bool surrogate = c >= 0xd800 && c <= 0xdfff;
        bool invisible = c == 0xad || (c >= 0x2000 && c <= 0x206f) || c == 0xfeff || c > 0x10ffff;
        return c >= forms[form].least && !surrogate && !invisible ? forms[form].bytes : 0;
    }
    return 0;
}

/* Whether a name looks as if it had been marked: it must be marked itself then, or somebody could
 * take the place of another. Netdata shows the ~ of the mark as _. */
static bool looks_marked(const char *raw, size_t len) {
    size_t digits = 0;

    while (digits < len && digits < 8 && isxdigit((unsigned char)raw[len - 1 - digits]))
        digits++;
    return digits == 8 && len > 8 && (raw[len - 9] == '_' || raw[len - 9] == '~');
}

/* Whether a name looks as if it were a user's. */
static bool looks_owned(const char *raw, size_t len) {
    static const char start[] = "user-";
    size_t at = sizeof(start) - 1;

    if (len < at || memcmp(raw, start, at) != 0)
        return false;
    while (at < len && isdigit((unsigned char)raw[at]))
        at++;
    return at < len && raw[at] == ':';
}

bool ksm_consumer_name_has_user_prefix(const char *text) {
    return looks_owned(text, strlen(text));
}

void ksm_consumer_name_clean(const char *raw, size_t len,
                             char text[static KSM_CONSUMER_NAME_SIZE]) {
    ksm_consumer_name_clean_with_prefix("", raw, len, text);
}

void ksm_consumer_name_clean_with_prefix(const char *user, const char *raw, size_t len,
                                         char text[static KSM_CONSUMER_NAME_SIZE]) {
    enum { MARK = 1 + 8, ROOM = KSM_CONSUMER_NAME_SIZE - 1 };
    size_t used = strlen(user);
    size_t fits = used; /* what can stay if the mark has to be put on: whole characters */
    bool changed = len == 0 || len > ROOM - used || looks_marked(raw, len) ||
                   (used == 0 && looks_owned(raw, len));

    memcpy(text, user, used);
    for (size_t i = 0; i < len && used < ROOM;) {
        size_t bytes = harmless((const unsigned char *)raw + i, len - i);
        if (bytes > ROOM - used)
            break;
        if (bytes == 0)
            text[used++] = '_';
        else
            memcpy(text + used, raw + i, bytes), used += bytes;
        changed = changed || bytes == 0;
        i += bytes == 0 ? 1 : bytes;
        if (used <= ROOM - MARK)
            fits = used;
    }
    text[used] = '\0';
    if (changed)
        snprintf(text + fits, MARK + 1, "~%08x", (unsigned)hash(raw, len));
}
