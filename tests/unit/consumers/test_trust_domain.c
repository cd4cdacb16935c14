/* SPDX-License-Identifier: MIT
 *
 * Which processes trust each other, by their consumer and user.
 */
#include <string.h>

#include "consumers/trust_domain.h"
#include "support/suite.h"

/* In the order of the domains; rows with the same text are one domain. */
static const struct {
    struct ksm_consumer_name name;
    int64_t user;
    const char *text;
} rows[] = {
    {{KSM_CONSUMER_service, "web"}, KSM_USER_SEVERAL, "several"},
    {{KSM_CONSUMER_program, "bash"}, KSM_USER_UNKNOWN, "unknown"},
    {{KSM_CONSUMER_service, "web"}, KSM_USER_UNKNOWN, "unknown"},
    {{KSM_CONSUMER_vm, "db"}, KSM_USER_UNKNOWN, "vm db"},
    {{KSM_CONSUMER_vm, "db"}, 107, "vm db"},
    {{KSM_CONSUMER_vm, "db"}, KSM_USER_SEVERAL, "vm db"},
    {{KSM_CONSUMER_vm, "web"}, 107, "vm web"},
    {{KSM_CONSUMER_container, "web"}, 0, "container web"},
    {{KSM_CONSUMER_container, "web"}, 1000, "container web"},
    {{KSM_CONSUMER_service, "web"}, 0, "user 0"},
    {{KSM_CONSUMER_program, "web"}, 0, "user 0"},
    {{KSM_CONSUMER_service, "web"}, 33, "user 33"},
    {{KSM_CONSUMER_service, "db"}, 1000, "user 1000"},
    {{KSM_CONSUMER_program, "bash"}, 1000, "user 1000"},
    {{KSM_CONSUMER_program, "bash"}, 4294967294, "user 4294967294"},
};

static struct ksm_trust_domain domain_of(int i) {
    return ksm_trust_domain_of(&rows[i].name, rows[i].user);
}

TEST_ROWS(domain_is_the_consumer_or_its_user, rows) {
    const struct ksm_trust_domain domain = ksm_trust_domain_of(&row->name, row->user);
    char text[KSM_TRUST_DOMAIN_SIZE];

    ksm_trust_domain_format(&domain, text);
    ck_assert_str_eq(text, row->text);
}

TEST(domains_are_ordered) {
    for (int i = 0; i < ROWS(rows); i++)
        for (int j = 0; j < ROWS(rows); j++) {
            const struct ksm_trust_domain a = domain_of(i), b = domain_of(j);
            const int order = ksm_trust_domain_compare(&a, &b);
            const int want = strcmp(rows[i].text, rows[j].text) == 0 ? 0 : i - j;
            ck_assert_msg((order > 0) == (want > 0) && (order < 0) == (want < 0), "%s and %s: %d",
                          rows[i].text, rows[j].text, order);
        }
}

TEST(longest_name_fits) {
    struct ksm_consumer_name name = {KSM_CONSUMER_container, ""};
    char text[KSM_TRUST_DOMAIN_SIZE];

    memset(name.text, 'x', sizeof(name.text) - 1);
    const struct ksm_trust_domain domain = ksm_trust_domain_of(&name, 0);
    ksm_trust_domain_format(&domain, text);
    ck_assert_uint_eq(strlen(text), sizeof("container ") - 1 + sizeof(name.text) - 1);
}
