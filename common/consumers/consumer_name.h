/* SPDX-License-Identifier: MIT
 *
 * The name of a consumer: its kind, and a text that both hosts carry as it is.
 */
#ifndef KSM_CONSUMER_NAME_H
#define KSM_CONSUMER_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* X(kind): the words are those of the labels and of the option that leaves kinds out. */
#define KSM_CONSUMER_KINDS(X)                                                                      \
    X(vm)                                                                                          \
    X(container)                                                                                   \
    X(service)                                                                                     \
    X(program)

enum ksm_consumer_kind {
#define X(kind) KSM_CONSUMER_##kind,
    KSM_CONSUMER_KINDS(X)
#undef X
        KSM_CONSUMER_KIND_COUNT
};
extern const char *const ksm_consumer_kinds[KSM_CONSUMER_KIND_COUNT];

/* Enough for any name that both hosts carry: collectd's plugin instance holds 127 bytes, and the
 * kind stands before the name. */
enum { KSM_CONSUMER_NAME_SIZE = 104 };

struct ksm_consumer_name {
    enum ksm_consumer_kind kind;
    char text[KSM_CONSUMER_NAME_SIZE]; /* safe for both hosts, see ksm_consumer_name_clean */
};

/* Compares by kind, then by text, as strcmp() does. */
int ksm_consumer_name_compare(const struct ksm_consumer_name *a, const struct ksm_consumer_name *b);

/* Makes any bytes a name that both hosts carry as it is: letters, digits, _ - . : @ + and visible
 * UTF-8 (characters.def) stay, everything else becomes _, and it is cut to fit. A combining mark
 * stays if a character stands before it in raw. A name that had to be changed, or
 * that looks as if it had been or as if it had a user's mark, gets ~ and 8 hex digits of a hash of
 * its bytes, so that two names never become one. text is never empty. */
void ksm_consumer_name_clean(const char *raw, size_t len, char text[static KSM_CONSUMER_NAME_SIZE]);

/* The same for a name that a user chose: that user's mark, at most 16 bytes, comes first and is
 * never cut. */
void ksm_consumer_name_clean_with_prefix(const char *user, const char *raw, size_t len,
                                         char text[static KSM_CONSUMER_NAME_SIZE]);

/* Returns whether a clean name begins as that of a user's consumer does, "user-1000:". */
bool ksm_consumer_name_has_user_prefix(const char *text);

/* The hash of a changed name's suffix: FNV-1a, its halves combined by exclusive or. It is short,
 * the same on every machine, and well spread. */
uint32_t ksm_consumer_name_hash(const char *bytes, size_t len);

#endif
