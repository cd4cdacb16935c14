/* SPDX-License-Identifier: MIT */
#include "report.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

/* The faults of a file's content in words; errno's own say it badly. Threads may share strerror():
 * of an errno that exists the text is a constant. */
static const char *fault(int status) {
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
        return strerror(-status);
    }
}

static void tell_one(const struct ksm_reader *reader, size_t id, int status, ksm_tell_fn *tell) {
    char source[PATH_MAX + 64];
    char message[sizeof(source) + 256];

    if (ksm_reader_source(reader, id, source, sizeof(source)) != 0)
        return;
    if (status == 0)
        snprintf(message, sizeof(message), "%s: can be read again", source);
    else
        snprintf(message, sizeof(message), "%s: %s; %s is absent until that is mended", source,
                 fault(status), ksm_figures[id].name);
    tell(status != 0, message);
}

void ksm_report_figures(struct ksm_report *report, const struct ksm_reader *reader,
                        ksm_tell_fn *tell) {
    for (size_t id = 0; id < KSM_FIGURES; id++) {
        int status = reader->sample.at[id].status;

        if (ksm_figures[id].source == KSM_SOURCE_DERIVED)
            continue;
        report->seen[id] = report->seen[id] || status == 0;
        if (status == -ENOENT && !report->seen[id] && report->told[id] == 0)
            status = 0;
        if ((status == 0) != (report->told[id] == 0)) {
            report->told[id] = status;
            tell_one(reader, id, status, tell);
        }
    }
}

/* ---- of the consumers ---- */

static const struct {
    const char *begins;
    const char *ends;
    bool harmless; /* nobody needs to do anything */
} troubles[KSM_CONSUMERS_TROUBLES] = {
    [KSM_CONSUMERS_UNKNOWN] = {"who saves is not shown: this kernel does not tell what KSM does "
                               "for each process (5.19 and later do)",
                               .harmless = true},
    [KSM_CONSUMERS_DENIED] = {"processes of other users may not be read, what they save is shown "
                              "as unattributed; to see them grant cap_dac_read_search "
                              "(setcap cap_dac_read_search+ep ksm.plugin; for collectd "
                              "CapabilityBoundingSet and AmbientCapabilities of its service)",
                              .ends = "all processes can be read"},
    [KSM_CONSUMERS_MODULE] =
        {"a security module (AppArmor, SELinux) forbids to read processes of "
         "other users, though cap_dac_read_search is in force; what they save "
         "is shown as unattributed; to see them allow reading /proc/PID/ksm_stat "
         "in its policy",
         .ends = "all processes can be read"},
    [KSM_CONSUMERS_HIDEPID1] = {"/proc forbids to read the processes of other users (mounted with "
                                "hidepid=1), what they save is shown as unattributed; to see them "
                                "mount it with gid= of a group that this program is in",
                                .ends = "all processes can be read"},
    [KSM_CONSUMERS_HIDDEN] = {"/proc hides the processes of other users (mounted with hidepid), "
                              "what they save is shown as unattributed; to see them mount it with "
                              "gid= of a group that this program is in",
                              .ends = "/proc hides no processes any more"},
    [KSM_CONSUMERS_EXCESS] =
        {"the processes' counts of merged pages add up to more than the "
         "host's, by over 1 %; the shares are scaled down (before Linux "
         "6.18 a forked child starts with its parent's count)",
         .ends = "the processes' counts of merged pages agree with the host's again"},
    [KSM_CONSUMERS_CROWDED] = {"more than one new consumer a minute comes among those that save "
                               "most, as when a program changes its name all the time: one a "
                               "minute is shown by itself, the others are part of other",
                               .ends = "new consumers are shown at once again"},
    [KSM_CONSUMERS_FAILED] = {"who saves cannot be told: /proc or pages_shared, pages_sharing, "
                              "ksm_zero_pages of /sys/kernel/mm/ksm cannot be read, or "
                              "ksm_zero_pages is negative",
                              .ends = "who saves can be told again"},
    [KSM_CONSUMERS_LATE] = {"who saves is not shown: to read all processes takes longer than an "
                            "interval (consumers-interval, ConsumersInterval), or more than 8 of "
                            "them keep their readers waiting",
                            .ends = "who saves is shown again"},
};

void ksm_report_consumers(struct ksm_consumers_report *report,
                          const struct ksm_consumer_table *table, ksm_tell_fn *tell) {
    for (size_t i = 0; i < KSM_CONSUMERS_TROUBLES; i++) {
        const bool begins = table->trouble[i];
        if (begins == report->told[i])
            continue;
        report->told[i] = begins;
        tell(begins && !troubles[i].harmless, begins ? troubles[i].begins : troubles[i].ends);
    }
}
