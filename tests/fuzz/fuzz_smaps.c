/* SPDX-License-Identifier: MIT
 *
 * /proc/PID/smaps, line by line: no sum is negative, and no part exceeds the whole.
 */
#include <string.h>

#include "explain/suspect.h"
#include "fuzz.h"

static void check(const struct suspect_mappings *m) {
    HOLDS(m->anonymous >= 0 && m->huge >= 0 && m->device >= 0 && m->locked >= 0);
    HOLDS(m->mergeable >= 0 && m->mergeable <= m->anonymous &&
          m->largest.anonymous <= m->mergeable);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct suspect_mappings mappings = {0};
    char text[8193];

    memcpy(text, data, size);
    text[size] = '\0';
    for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        *end = '\0';
        suspect_take_line(&mappings, line);
        check(&mappings);
    }
    return 0;
}
