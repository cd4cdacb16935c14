/* SPDX-License-Identifier: MIT */
#include "system/utf8.h"

static const struct form {
    unsigned char lead_mask, lead;
    size_t bytes;
    uint32_t min;
} forms[] = {
    {0x80, 0x00, 1, 0}, {0xe0, 0xc0, 2, 0x80}, {0xf0, 0xe0, 3, 0x800}, {0xf8, 0xf0, 4, 0x10000}};

/* Returns NULL if no character begins with that byte. */
static const struct form *find_form(unsigned char byte) {
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
        if ((byte & forms[i].lead_mask) == forms[i].lead)
            return &forms[i];
    return NULL;
}

size_t utf8_decode(const char *text, size_t len, uint32_t *character) {
    const unsigned char *s = (const unsigned char *)text;
    const struct form *form = len > 0 ? find_form(s[0]) : NULL;

    if (!form || len < form->bytes)
        return 0;
    uint32_t c = s[0] & (unsigned char)~form->lead_mask;
    for (size_t i = 1; i < form->bytes; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (s[i] & 0x3f);
    }
    if (c < form->min || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return 0;
    *character = c;
    return form->bytes;
}
