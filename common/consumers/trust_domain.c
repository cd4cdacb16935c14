/* SPDX-License-Identifier: MIT */
#include "consumers/trust_domain.h"

#include <inttypes.h>
#include <stdio.h>

bool ksm_trust_domain_is_own(enum ksm_consumer_kind kind) {
    return kind == KSM_CONSUMER_vm || kind == KSM_CONSUMER_container;
}

struct ksm_trust_domain ksm_trust_domain_of(const struct ksm_consumer_name *name, int64_t user) {
    if (ksm_trust_domain_is_own(name->kind))
        return (struct ksm_trust_domain){.name = *name};
    return (struct ksm_trust_domain){.name.kind = KSM_CONSUMER_program, .user = user};
}

int ksm_trust_domain_compare(const struct ksm_trust_domain *a, const struct ksm_trust_domain *b) {
    if (a->user != b->user)
        return a->user < b->user ? -1 : 1;
    return ksm_consumer_name_compare(&a->name, &b->name);
}

void ksm_trust_domain_format(const struct ksm_trust_domain *domain,
                             char text[static KSM_TRUST_DOMAIN_SIZE]) {
    if (ksm_trust_domain_is_own(domain->name.kind))
        snprintf(text, KSM_TRUST_DOMAIN_SIZE, "%s %s", ksm_consumer_kinds[domain->name.kind],
                 domain->name.text);
    else if (domain->user >= 0)
        snprintf(text, KSM_TRUST_DOMAIN_SIZE, "user %" PRId64, domain->user);
    else
        snprintf(text, KSM_TRUST_DOMAIN_SIZE, "%s",
                 domain->user == KSM_USER_SEVERAL ? "several" : "unknown");
}
