/* SPDX-License-Identifier: MIT
 *
 * The options of both hosts: options.def as a structure, and setting one by its name.
 */
#ifndef KSM_OPTIONS_H
#define KSM_OPTIONS_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

struct ksm_options {
#define TEXT(field, key, word, standard, help) char field[PATH_MAX];
#define FLAG(field, key, word, standard, help) bool field;
#define NUMBER(field, key, word, standard, min, max, help) int field;
#define KINDS(field, key, word, help) unsigned field; /* bit i: enum ksm_consumer_kind i */
#define CHOICE(field, key, word, standard, words, help) int field; /* which word, from 0 */
#include "options.def"
};

/* The words of function_access. */
enum ksm_function_access { KSM_ACCESS_MEMBERS, KSM_ACCESS_ANY };

/* Sets every option to its default. */
void ksm_options_init(struct ksm_options *options);

/* Where an option is set: its names differ. ksm-explain has those of ksm.plugin. Keys are compared
 * without regard to case, as collectd does. */
enum ksm_daemon { KSM_COLLECTD, KSM_NETDATA, KSM_EXPLAIN };

/* Sets one option from text. Returns 0; -ENOENT for an unknown key and -EINVAL for an
 * invalid value. Then the option keeps its value, and message is one line with the key, the value
 * and what is expected. A daemon goes on then, and the message says so; ksm-explain does not. */
int ksm_options_set(struct ksm_options *options, enum ksm_daemon daemon, const char *key,
                    const char *value, char *message, size_t size);

/* Checks that root is a directory, with the rights of the user who started this program: a file
 * capability must not show which files there are. Call it before a sandbox is entered. Returns 0;
 * or -ENOENT, and message is one line that says so. Any other failure is reported later, by the
 * reader of the first file. */
int ksm_options_check_root(const struct ksm_options *options, char *message, size_t size);

/* Whether an option takes several values. ksm_options_set() takes them with a comma in between. */
bool ksm_option_is_list(enum ksm_daemon daemon, const char *key);

/* One option for the documentation of a daemon: option i, from 0. Returns 0, or -ENOENT past the
 * last. */
enum { KSM_OPTION_ALLOWED_SIZE = 80 };
struct ksm_option_text {
    const char *key;      /* collectd's, NULL if it has none */
    const char *word;     /* of the command line, without the dashes */
    const char *standard; /* the default */
    const char *help;
    bool is_text; /* collectd requires quotes around each value */
    char allowed[KSM_OPTION_ALLOWED_SIZE];
};
int ksm_options_text(enum ksm_daemon daemon, size_t i, struct ksm_option_text *text);

#endif
