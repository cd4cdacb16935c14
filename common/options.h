/* SPDX-License-Identifier: MIT
 *
 * The options of collectd's plugin, ksm.plugin and ksm-explain (options.def). Call
 * ksm_options_init(), then ksm_options_set() for each option given, then ksm_options_check_root().
 * An option that cannot be set keeps its value.
 */
#ifndef KSM_OPTIONS_H
#define KSM_OPTIONS_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

struct ksm_options {
#define TEXT(field, key, option, init, help) char field[PATH_MAX];
#define FLAG(field, key, option, init, help) bool field;
#define NUMBER(field, key, option, init, min, max, help) int field;
#define KINDS(field, key, option, help) unsigned field; /* bit i: enum ksm_consumer_kind i */
#define CHOICE(field, key, option, init, choices, help) int field; /* index in choices */
#include "options.def"
};

/* The choices of function_access. */
enum ksm_function_access { KSM_ACCESS_MEMBERS, KSM_ACCESS_ANY };

/* Sets every option to its default. */
void ksm_options_init(struct ksm_options *options);

/* The program whose option is set. Keys differ: ksm-explain has those of ksm.plugin. Their case is
 * ignored, as in collectd. */
enum ksm_program { KSM_COLLECTD, KSM_NETDATA, KSM_EXPLAIN };

/* Sets one option from text. Returns 0; or -ENOENT for an unknown key, -EINVAL for an invalid
 * value: then message is one line with the key, the value and what is expected. For a daemon, which
 * goes on, it also says which value is used: the default, or the previous one. */
int ksm_options_set(struct ksm_options *options, enum ksm_program program, const char *key,
                    const char *value, char *message, size_t size);

/* Checks that root is a directory with a sys/kernel, with the rights of the user who started this
 * program: a file capability must not show which files exist. Call it before the sandbox is
 * entered. Returns 0; or -ENOENT, and message is one line. Other errors are left to the reader of
 * the first file. */
int ksm_options_check_root(const struct ksm_options *options, char *message, size_t size);

/* Returns whether an option takes several values, which ksm_options_set() takes with commas. */
bool ksm_option_is_list(enum ksm_program program, const char *key);

enum { KSM_OPTION_ALLOWED_SIZE = 80 };

/* One option, for documentation. */
struct ksm_option_text {
    const char *collectd_key; /* NULL: collectd's plugin does not have it */
    const char *long_option;  /* of ksm.plugin, without dashes */
    const char *default_value;
    const char *help;
    bool is_text; /* collectd requires quotes around each value */
    char allowed[KSM_OPTION_ALLOWED_SIZE];
};

/* Sets *text to option i, from 0, for the documentation of a daemon. -ENOENT: there is none. */
int ksm_options_text(enum ksm_program program, size_t i, struct ksm_option_text *text);

#endif
