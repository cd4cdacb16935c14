/* SPDX-License-Identifier: MIT */
#include "options.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum type { TYPE_TEXT, TYPE_FLAG, TYPES };

static const char *const allowed[TYPES] = {
    [TYPE_TEXT] = "a directory",
    [TYPE_FLAG] = "yes or no",
};

static const struct row {
    const char *names[2]; /* by enum ksm_host */
    const char *standard;
    const char *help;
    size_t offset;
    enum type type;
} rows[] = {
#define TEXT(field, key, word, standard, help)                                                     \
    {{key, word}, standard, help, offsetof(struct ksm_options, field), TYPE_TEXT},
#define FLAG(field, key, word, standard, help)                                                     \
    {{key, word}, (standard) ? "yes" : "no", help, offsetof(struct ksm_options, field), TYPE_FLAG},
#include "options.def"
#undef TEXT
#undef FLAG
};

enum { ROWS = sizeof(rows) / sizeof(rows[0]) };

static int set_text(void *field, const char *value) {
    size_t len = strlen(value);

    if (len == 0 || len >= PATH_MAX)
        return -EINVAL;
    memcpy(field, value, len + 1);
    return 0;
}

static int set_flag(void *field, const char *value) {
    static const char *const words[] = {"no", "yes", "false", "true", "off", "on"};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcasecmp(value, words[i]) == 0) {
            *(bool *)field = i % 2 != 0;
            return 0;
        }
    }
    return -EINVAL;
}

static int set_row(struct ksm_options *options, const struct row *row, const char *value) {
    static int (*const setters[TYPES])(void *field, const char *value) = {
        [TYPE_TEXT] = set_text,
        [TYPE_FLAG] = set_flag,
    };

    return setters[row->type]((char *)options + row->offset, value);
}

void ksm_options_init(struct ksm_options *options) {
    for (size_t i = 0; i < ROWS; i++)
        set_row(options, &rows[i], rows[i].standard);
}

static void list_keys(enum ksm_host host, char *text, size_t size) {
    size_t len = 0;

    for (size_t i = 0; i < ROWS && len < size; i++)
        len += (size_t)snprintf(text + len, size - len, "%s%s%s", i > 0 ? ", " : "",
                                host == KSM_NETDATA ? "--" : "", rows[i].names[host]);
}

int ksm_options_set(struct ksm_options *options, enum ksm_host host, const char *key,
                    const char *value, char *message, size_t size) {
    const char *dashes = host == KSM_NETDATA ? "--" : "";
    char keys[256];

    for (size_t i = 0; i < ROWS; i++) {
        const struct row *row = &rows[i];
        if (strcasecmp(row->names[host], key) != 0)
            continue;
        int status = set_row(options, row, value);
        if (status != 0)
            snprintf(message, size,
                     "%s%s: \"%.200s\" is not allowed, it takes %s; it stays as it was", dashes,
                     row->names[host], value, allowed[row->type]);
        return status;
    }
    list_keys(host, keys, sizeof(keys));
    snprintf(message, size, "there is no option %s%.200s (value \"%.200s\"); there are %s", dashes,
             key, value, keys);
    return -ENOENT;
}

int ksm_options_text(size_t i, struct ksm_option_text *text) {
    if (i >= ROWS)
        return -ENOENT;
    *text = (struct ksm_option_text){rows[i].names[KSM_COLLECTD], rows[i].names[KSM_NETDATA],
                                     rows[i].standard, allowed[rows[i].type], rows[i].help};
    return 0;
}
