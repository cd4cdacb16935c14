/* SPDX-License-Identifier: MIT
 *
 * Identification of a consumer by cgroup, command line and comm, which a process can choose. The
 * input is these three, separated by 0xff. Both daemons must accept the name, and only the cgroup
 * may give it a user prefix.
 */
#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#include "consumers/consumer_id.h"
#include "fuzz.h"

static void carried(const char *text) {
    size_t len = strlen(text);

    HOLDS(len > 0 && len < KSM_CONSUMER_NAME_SIZE);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        HOLDS(c >= 0x80 || isalnum(c) || strchr("_-.:@+~", c));
    }
}

/* Returns whether a name has a user prefix and no hash suffix. */
static bool is_of_user(const char *text) {
    size_t len = strlen(text);
    size_t start = strlen("user-");

    if (strncmp(text, "user-", start) != 0)
        return false;
    start += strspn(text + start, "0123456789");
    return text[start] == ':' && !(len > 9 && text[len - 9] == '~');
}

/* Returns whether a line of cgroup is in a user's slice. */
static bool is_in_user(const char *cgroup, size_t len) {
    return memmem(cgroup, len, "user-", 5) || memmem(cgroup, len, "user@", 5) ||
           memmem(cgroup, len, "session-", 8);
}

/* Copies the part before the next 0xff to memory of its size, so that an overrun is detected. */
static char *take(const uint8_t **data, size_t *size, size_t *len) {
    const uint8_t *end = *size > 0 ? memchr(*data, 0xff, *size) : NULL;

    *len = end ? (size_t)(end - *data) : *size;
    char *copy = malloc(*len + (*len == 0));
    HOLDS(copy);
    memcpy(copy, *data, *len);
    size_t used = *len + (end ? 1 : 0);
    *data += used;
    *size -= used;
    return copy;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct ksm_identity identity;
    struct ksm_consumer_name name;
    char *cgroup = take(&data, &size, &identity.cgroup_len);
    char *cmdline = take(&data, &size, &identity.cmdline_len);
    char *comm = take(&data, &size, &identity.comm_len);

    identity.cgroup = cgroup;
    identity.cmdline = cmdline;
    identity.comm = comm;
    memset(&name, 0x55, sizeof(name));
    ksm_consumer_identify(&identity, &name);
    HOLDS(name.kind < KSM_CONSUMER_KIND_COUNT);
    carried(name.text);
    HOLDS(!is_of_user(name.text) || is_in_user(cgroup, identity.cgroup_len));
    free(cgroup);
    free(cmdline);
    free(comm);
    return 0;
}
