/* SPDX-License-Identifier: MIT
 *
 * Files of lines "KEY value" (vmstat, meminfo, ksm_stat), and /proc/PID/stat.
 */
#include <errno.h>
#include <string.h>

#include "fuzz.h"
#include "system/parse.h"

static void find(const char *text, size_t size, const char *key) {
    const char *field = NULL;
    size_t len = 0;
    int status = parse_field(text, size, key, &field, &len);

    if (status != 0) {
        HOLDS((status == -ENOENT || status == -EINVAL) && !field);
        return;
    }
    size_t key_len = strlen(key);
    HOLDS(field > text + key_len && field + len < text + size);
    HOLDS(field[len] == '\n' && !memchr(field, '\n', len) && field[-1] == ' ');
    const char *start = field - 1 - key_len;
    HOLDS(memcmp(start, key, key_len) == 0 && (start == text || start[-1] == '\n'));
}

static void stat(const char *text, size_t size) {
    struct parse_stat stat = {.ppid = -4242};
    int status = parse_stat(text, size, &stat);

    if (status != 0) {
        HOLDS(status == -ENODATA || status == -EINVAL || status == -ERANGE);
        HOLDS(stat.ppid == -4242);
        return;
    }
    HOLDS(memchr(stat.comm, '\0', sizeof(stat.comm)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const keys[] = {
        "cow_ksm", "ksm_swpin_copy", "MemTotal:", "ksm_rmap_items", "ksm_merging_pages", "a"};

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        find((const char *)data, size, keys[i]);
    stat((const char *)data, size);
    return 0;
}
