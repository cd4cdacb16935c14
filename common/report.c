/* SPDX-License-Identifier: MIT */
#include "report.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

/* The faults of a file's content in words; errno's own say it badly. */
static const char *fault(int status, char *buf, size_t size) {
    switch (status) {
    case -ENOENT:
        return "not there any more";
    case -ENODATA:
        return "empty";
    case -EINVAL:
        return "not what the kernel writes there";
    case -ERANGE:
        return "a number beyond 2^63-1";
    case -EDOM:
        return "a negative number, a known fault of kernels 6.6 to 6.17";
    case -EXDEV:
        return "not the kernel's own (lxcfs?), whose memory is not this host's";
    case -EFBIG:
        return "longer than any such file of the kernel";
    default:
        return strerror_r(-status, buf, size);
    }
}

static void tell_one(const struct ksm_reader *reader, size_t id, int status, ksm_tell_fn *tell) {
    char source[PATH_MAX + 64];
    char message[sizeof(source) + 256];
    char buf[128];

    if (ksm_reader_source(reader, id, source, sizeof(source)) != 0)
        return;
    if (status == 0)
        snprintf(message, sizeof(message), "%s: can be read again", source);
    else
        snprintf(message, sizeof(message), "%s: %s; %s is absent until that is mended", source,
                 fault(status, buf, sizeof(buf)), ksm_figures[id].name);
    tell(status != 0, message);
}

void ksm_report_figures(struct ksm_report *watch, const struct ksm_reader *reader,
                        ksm_tell_fn *tell) {
    for (size_t id = 0; id < KSM_FIGURES; id++) {
        int status = reader->sample.at[id].status;

        if (ksm_figures[id].source == KSM_SOURCE_DERIVED)
            continue;
        watch->seen[id] = watch->seen[id] || status == 0;
        if (status == -ENOENT && !watch->seen[id] && watch->told[id] == 0)
            status = 0;
        if ((status == 0) != (watch->told[id] == 0)) {
            watch->told[id] = status;
            tell_one(reader, id, status, tell);
        }
    }
}
