/* SPDX-License-Identifier: MIT */
#include "options.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "consumers/consumer_name.h"
#include "system/parse.h"
#include "system/pseudofs.h"
#include "system/span.h"

enum type { TYPE_TEXT, TYPE_FLAG, TYPE_NUMBER, TYPE_KINDS, TYPE_CHOICE, TYPES };

static const struct row {
    const char *keys[2]; /* of KSM_COLLECTD and KSM_NETDATA; NULL: the program does not have it */
    const char *default_value;
    const char *help;
    size_t offset;
    enum type type;
    int min;
    int max;
    const char *choices; /* separated by " or " */
} rows[] = {
#define ROW(field, key, option, init, help, type, min, max)                                        \
    {{key, option}, init, help, offsetof(struct ksm_options, field), type, min, max, NULL},
#define TEXT(field, key, option, init, help) ROW(field, key, option, init, help, TYPE_TEXT, 0, 0)
#define FLAG(field, key, option, init, help)                                                       \
    ROW(field, key, option, (init) ? "yes" : "no", help, TYPE_FLAG, 0, 0)
#define NUMBER(field, key, option, init, min, max, help)                                           \
    ROW(field, key, option, #init, help, TYPE_NUMBER, min, max)
#define KINDS(field, key, option, help) ROW(field, key, option, "none", help, TYPE_KINDS, 0, 0)
#define CHOICE(field, key, option, init, choices, help)                                            \
    {{key, option}, init, help, offsetof(struct ksm_options, field), TYPE_CHOICE, 0, 0, choices},
#include "options.def"
#undef ROW
};

enum { ROWS = sizeof(rows) / sizeof(rows[0]) };

/* collectd requires quotes around text. */
static bool is_text(const struct row *row) {
    return row->type == TYPE_TEXT || row->type == TYPE_KINDS;
}

static void describe_option(const struct row *row, enum ksm_program program, char *text,
                            size_t size) {
    switch (row->type) {
    case TYPE_TEXT:
        snprintf(text, size, "%s",
                 program == KSM_COLLECTD ? "a directory, for example \"/host\"" : "a directory");
        break;
    case TYPE_FLAG:
        snprintf(text, size, "yes or no");
        break;
    case TYPE_NUMBER:
        snprintf(text, size, "a whole number from %d to %d", row->min, row->max);
        break;
    case TYPE_KINDS:
        snprintf(text, size, "%s",
                 program == KSM_COLLECTD
                     ? "\"none\", or one or more of \"vm\" \"container\" \"service\" \"program\""
                     : "none, or a list of vm,container,service,program");
        break;
    case TYPE_CHOICE:
        snprintf(text, size, "%s", row->choices);
        break;
    case TYPES:
        break;
    }
}

static int set_text(const struct row *row, void *field, const char *value) {
    size_t len = strlen(value);

    (void)row;
    if (len == 0 || len >= PATH_MAX)
        return -EINVAL;
    memcpy(field, value, len + 1);
    return 0;
}

static int set_flag(const struct row *row, void *field, const char *value) {
    static const char *const choices[] = {"no", "yes", "false", "true", "off", "on"};

    (void)row;
    for (size_t i = 0; i < sizeof(choices) / sizeof(choices[0]); i++) {
        if (strcasecmp(value, choices[i]) == 0) {
            *(bool *)field = i % 2 != 0;
            return 0;
        }
    }
    return -EINVAL;
}

static int set_number(const struct row *row, void *field, const char *value) {
    int64_t n = 0;

    if (parse_number(value, strlen(value), &n) != 0 || n < row->min || n > row->max)
        return -EINVAL;
    *(int *)field = (int)n;
    return 0;
}

/* Returns KSM_CONSUMER_KIND_COUNT if there is no such kind. */
static size_t find_kind(struct span name) {
    size_t kind = 0;

    while (kind < KSM_CONSUMER_KIND_COUNT && !span_equals(name, ksm_consumer_kinds[kind]))
        kind++;
    return kind;
}

/* "vm,program"; "none" is the empty list. */
static int set_kinds(const struct row *row, void *field, const char *value) {
    unsigned kinds = 0;

    (void)row;
    if (strcmp(value, "none") == 0) {
        *(unsigned *)field = 0;
        return 0;
    }
    for (const char *name = value;;) {
        const size_t len = strcspn(name, ",");
        const size_t kind = find_kind((struct span){name, len});
        if (kind == KSM_CONSUMER_KIND_COUNT)
            return -EINVAL;
        kinds |= 1U << kind;
        if (name[len] == '\0')
            break;
        name += len + 1;
    }
    *(unsigned *)field = kinds;
    return 0;
}

static int set_choice(const struct row *row, void *field, const char *value) {
    static const char separator[] = " or ";
    const char *choice = row->choices;

    for (int i = 0; choice; i++) {
        const char *end = strstr(choice, separator);
        size_t len = end ? (size_t)(end - choice) : strlen(choice);
        if (strlen(value) == len && memcmp(value, choice, len) == 0) {
            *(int *)field = i;
            return 0;
        }
        choice = end ? end + strlen(separator) : NULL;
    }
    return -EINVAL;
}

static int set_row(struct ksm_options *options, const struct row *row, const char *value) {
    static int (*const setters[TYPES])(const struct row *row, void *field, const char *value) = {
        [TYPE_TEXT] = set_text,   [TYPE_FLAG] = set_flag,     [TYPE_NUMBER] = set_number,
        [TYPE_KINDS] = set_kinds, [TYPE_CHOICE] = set_choice,
    };

    return setters[row->type](row, (char *)options + row->offset, value);
}

void ksm_options_init(struct ksm_options *options) {
    for (size_t i = 0; i < ROWS; i++)
        set_row(options, &rows[i], rows[i].default_value);
}

static bool has_default(const struct ksm_options *options, const struct row *row) {
    struct ksm_options with_default;

    memcpy(&with_default, options, sizeof(with_default));
    set_row(&with_default, row, row->default_value);
    return memcmp(&with_default, options, sizeof(with_default)) == 0;
}

/* "; the default 20 is used". ksm-explain exits, so it uses no value. */
static void describe_kept(const struct ksm_options *options, const struct row *row,
                          enum ksm_program program, char *text, size_t size) {
    if (program == KSM_EXPLAIN)
        *text = '\0';
    else if (has_default(options, row))
        snprintf(text, size, "; the default %s is used", row->default_value);
    else
        snprintf(text, size, "; the previous value is kept");
}

/* ksm-explain has the keys of ksm.plugin. */
static const char *key_of(const struct row *row, enum ksm_program program) {
    return row->keys[program == KSM_COLLECTD ? KSM_COLLECTD : KSM_NETDATA];
}

static void list_keys(enum ksm_program program, const char *dashes, char *text, size_t size) {
    size_t len = 0;

    for (size_t i = 0; i < ROWS && len < size; i++)
        if (key_of(&rows[i], program))
            len += (size_t)snprintf(text + len, size - len, "%s%s%s", len > 0 ? ", " : "", dashes,
                                    key_of(&rows[i], program));
}

int ksm_options_set(struct ksm_options *options, enum ksm_program program, const char *key,
                    const char *value, char *message, size_t size) {
    const char *dashes = program == KSM_COLLECTD ? "" : "--";
    char keys[256];
    char allowed[KSM_OPTION_ALLOWED_SIZE], kept[KSM_OPTION_ALLOWED_SIZE];

    for (size_t i = 0; i < ROWS; i++) {
        const struct row *row = &rows[i];
        const char *row_key = key_of(row, program);
        if (!row_key || strcasecmp(row_key, key) != 0)
            continue;
        int status = set_row(options, row, value);
        if (status != 0) {
            describe_option(row, program, allowed, sizeof(allowed));
            describe_kept(options, row, program, kept, sizeof(kept));
            snprintf(message, size, "%s%s: invalid value \"%.200s\"; expected %s%s", dashes,
                     row_key, value, allowed, kept);
        }
        return status;
    }
    list_keys(program, dashes, keys, sizeof(keys));
    if (*value)
        snprintf(message, size, "unknown option %s%.200s (value \"%.200s\"); known options: %s",
                 dashes, key, value, keys);
    else
        snprintf(message, size, "unknown option %s%.200s; known options: %s", dashes, key, keys);
    return -ENOENT;
}

/* Other errors than these are left to the reader of the first file. */
static bool is_missing(const char *root, const char *name) {
    const struct pseudofs_file file = {.root = root, .dir = name, .name = ""};
    char path[PATH_MAX + 16];

    if (pseudofs_path(&file, path, sizeof(path)) != 0)
        return false;
    return access(path, F_OK) != 0 && (errno == ENOENT || errno == ENOTDIR);
}

int ksm_options_check_root(const struct ksm_options *options, char *message, size_t size) {
    if (is_missing(options->root, ""))
        snprintf(message, size, "%s: no such directory", options->root);
    else if (is_missing(options->root, "sys/kernel"))
        snprintf(message, size,
                 "%s does not look like a host's root: it has no sys/kernel (is the host's /sys "
                 "mounted there?)",
                 options->root);
    else
        return 0;
    return -ENOENT;
}

bool ksm_option_is_list(enum ksm_program program, const char *key) {
    for (size_t i = 0; i < ROWS; i++) {
        const char *row_key = key_of(&rows[i], program);
        if (row_key && strcasecmp(row_key, key) == 0)
            return rows[i].type == TYPE_KINDS;
    }
    return false;
}

int ksm_options_text(enum ksm_program program, size_t i, struct ksm_option_text *text) {
    if (i >= ROWS)
        return -ENOENT;
    *text = (struct ksm_option_text){rows[i].keys[KSM_COLLECTD], rows[i].keys[KSM_NETDATA],
                                     rows[i].default_value,      rows[i].help,
                                     is_text(&rows[i]),          ""};
    describe_option(&rows[i], program, text->allowed, sizeof(text->allowed));
    return 0;
}
