/* SPDX-License-Identifier: MIT
 *
 * The name of a consumer: its kind, and a text that both daemons carry unchanged.
 */
#ifndef KSM_CONSUMER_NAME_H
#define KSM_CONSUMER_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* X(kind): the values of the label kind and of the option that excludes kinds. */
#define KSM_CONSUMER_KINDS(X)                                                                      \
    X(vm)                                                                                          \
    X(container)                                                                                   \
    X(service)                                                                                     \
    X(program)

enum ksm_consumer_kind {
#define X(kind) KSM_CONSUMER_##kind,
    KSM_CONSUMER_KINDS(X) KSM_CONSUMER_KIND_COUNT
#undef X
};
extern const char *const ksm_consumer_kinds[KSM_CONSUMER_KIND_COUNT];

/* The longest name that both daemons carry: collectd's plugin instance has 127 bytes, and begins
 * with the kind. */
enum { KSM_CONSUMER_NAME_SIZE = 104 };

struct ksm_consumer_name {
    enum ksm_consumer_kind kind;
    char text[KSM_CONSUMER_NAME_SIZE]; /* clean: see ksm_consumer_name_clean() */
};

/* Compares by kind, then by text, as strcmp() does. */
int ksm_consumer_name_compare(const struct ksm_consumer_name *a, const struct ksm_consumer_name *b);

/* Makes a name of any bytes that both daemons carry unchanged: letters, digits, _ - . : @ + and
 * visible UTF-8 (characters.def) stay, everything else becomes _, and it is cut to fit. A combining
 * mark stays if a character precedes it in raw. A changed name gets a suffix of ~ and 8 hex digits
 * of a hash of raw, and so does a name that looks like a changed one, or like one with a user
 * prefix. So two names become the same only if their hashes are equal: hardly ever by chance, but a
 * user can find such names. text is never empty. */
void ksm_consumer_name_clean(const char *raw, size_t len, char text[static KSM_CONSUMER_NAME_SIZE]);

/* The same for a name that a user chose. The user prefix, at most 16 bytes, is never cut. */
void ksm_consumer_name_clean_with_prefix(const char *user, const char *raw, size_t len,
                                         char text[static KSM_CONSUMER_NAME_SIZE]);

/* Returns whether a clean name has a user prefix, "user-1000:". */
bool ksm_consumer_name_has_user_prefix(const char *text);

/* Returns the hash of a suffix: 64-bit FNV-1a, its halves combined by exclusive or. It must not
 * change between hosts and releases. */
uint32_t ksm_consumer_name_hash(const char *bytes, size_t len);

#endif
