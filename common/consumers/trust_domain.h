/* SPDX-License-Identifier: MIT
 *
 * Domains of trust, which reports call owners: each virtual machine and each container is one;
 * services and programs belong to the user that they run as (effective uid).
 *
 * Programs of two domains whose memory is merged can learn of each other's pages by timing.
 *
 * A domain is only as reliable as the name of its consumer: a container or service that claims the
 * name of a machine (consumer_id.h) is in that machine's domain.
 */
#ifndef KSM_TRUST_DOMAIN_H
#define KSM_TRUST_DOMAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "consumers/consumer_name.h"

/* In place of a uid. */
enum { KSM_USER_UNKNOWN = -1, KSM_USER_SEVERAL = -2 };

struct ksm_trust_domain {
    struct ksm_consumer_name name; /* of a VM or container; text "": a user */
    int64_t user;                  /* uid or one of the above; of a VM or container always 0 */
};

/* Returns whether each consumer of a kind is a domain by itself. */
bool ksm_trust_domain_is_own(enum ksm_consumer_kind kind);

/* The domain of a process: by the name of its consumer and its effective uid. */
struct ksm_trust_domain ksm_trust_domain_of(const struct ksm_consumer_name *name, int64_t user);

/* Orders domains, as strcmp() does. */
int ksm_trust_domain_compare(const struct ksm_trust_domain *a, const struct ksm_trust_domain *b);

/* Writes "vm web", "user 1000"; "several" or "unknown" in place of a user. */
enum { KSM_TRUST_DOMAIN_SIZE = KSM_CONSUMER_NAME_SIZE + 16 };
void ksm_trust_domain_format(const struct ksm_trust_domain *domain,
                             char text[static KSM_TRUST_DOMAIN_SIZE]);

#endif
