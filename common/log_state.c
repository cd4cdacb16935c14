/* SPDX-License-Identifier: MIT */
#include "log_state.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "system/clock.h"
#include "system/pseudofs.h"

/* Describes the fault of a file, where possible more clearly than errno's text. strerror() is safe
 * in threads here: it returns a constant for every errno that exists. */
static const char *describe_fault(int status) {
    switch (status) {
    case -ENOENT:
        return "no longer exists";
    case -ENODATA:
        return "is empty";
    case -EINVAL:
        return "is not in the format that the kernel writes";
    case -ERANGE:
        return "is above 2^63-1";
    case -EDOM:
        return "is negative, a known bug of Linux 6.6 to 6.17";
    case -EXDEV:
        return "is not the kernel's own file (lxcfs?), so it does not describe this host";
    case -EFBIG:
        return "is longer than the kernel's file can be";
    default:
        return strerror(-status);
    }
}

/* The metrics that are missing without a row, unless it is only the row itself. */
#define DEPENDENTS_OF_ZERO                                                                         \
    "zero, saved, overhead, ram, exposure, merge_rate, ksmd_cpu_per_gib, scanned_per_page"
static const char *const dependents[KSM_METRICS] = {
    [KSM_shared] = "shared, gain, merged, sharing_ratio, merge_rate",
    [KSM_sharing] = "sharing, saved, overhead, gain, merged, ram, exposure, sharing_ratio, "
                    "merge_rate, ksmd_cpu_per_gib, scanned_per_page",
    [KSM_zero] = DEPENDENTS_OF_ZERO,
    [KSM_run] = "merge_rate, run",
    [KSM_general_profit] = "profit, overhead, net",
    [KSM_mem_total] = "ram, net",
    [KSM_mem_available] = "exposure",
    [KSM_swap_free] = "exposure",
    [KSM_uksm_zero] = DEPENDENTS_OF_ZERO,
    [KSM_anon_huge_kb] = "anon_huge",
};

static void log_metric(const struct ksm_reader *reader, size_t id, int status, ksm_log_fn *log) {
    char source[PATH_MAX + 64];
    char message[sizeof(source) + 256];

    if (ksm_reader_source(reader, id, source, sizeof(source)) != 0)
        return;
    if (status == 0)
        snprintf(message, sizeof(message), "%s: can be read again", source);
    else
        snprintf(message, sizeof(message), "%s: %s; not reported until it can be read again: %s",
                 source, describe_fault(status),
                 dependents[id] ? dependents[id] : ksm_metrics[id].name);
    log(status != 0, message);
}

void ksm_log_metrics(struct ksm_log_state *state, const struct ksm_reader *reader,
                     ksm_log_fn *log) {
    for (size_t id = 0; id < KSM_METRICS; id++) {
        int status = reader->sample.values[id].status;

        if (ksm_metrics[id].source == KSM_SOURCE_DERIVED)
            continue;
        state->was_read[id] = state->was_read[id] || status == 0;
        if (status == -ENOENT && !state->was_read[id] && state->logged[id] == 0)
            status = 0;
        if ((status == 0) != (state->logged[id] == 0)) {
            state->logged[id] = status;
            log_metric(reader, id, status, log);
        }
    }
}

/* ---- limits ---- */

static const int64_t minute_ms = 60 * 1000;

bool ksm_log_admit(struct ksm_log_limit *limit, int64_t now) {
    const int64_t minutes = (now - limit->since) / minute_ms;

    if (limit->used <= minutes) {
        limit->used = 0;
        limit->since = now;
    } else {
        limit->used -= (int)minutes;
        limit->since += minutes * minute_ms;
    }
    if (limit->used < KSM_LOG_BURST) {
        limit->used++;
        return true;
    }
    if (limit->withheld == 0)
        limit->summary_due = now + minute_ms;
    limit->withheld++;
    return false;
}

int ksm_log_withheld(struct ksm_log_limit *limit, int64_t now) {
    const int withheld = now >= limit->summary_due ? limit->withheld : 0;

    limit->withheld -= withheld;
    return withheld;
}

/* ---- faults of the consumers ---- */

/* The texts below name these. */
_Static_assert(KSM_RATE_LIMIT_HOST_PER_HOUR == 10 && KSM_RATE_LIMIT_USER_PER_HOUR == 1, "changed");
_Static_assert(KSM_SKIPPED_MAX == 8, "changed");

/* {root} is replaced by the directory where the host's /proc and /sys are mounted; "" for "/". */
static const struct {
    const char *raised;
    const char *cleared;
    bool is_harmless; /* no action is needed */
} faults[KSM_CONSUMERS_FAULTS] = {
    [KSM_CONSUMERS_UNSUPPORTED] = {"savings by consumer are not reported: they require Linux 5.19",
                                   .cleared = "savings by consumer are reported again",
                                   .is_harmless = true},
    [KSM_CONSUMERS_DENIED] =
        {"processes of other users cannot be read, so their savings are reported "
         "as unattributed; to include them, grant cap_dac_read_search "
         "(setcap cap_dac_read_search+ep ksm.plugin; for collectd "
         "CapabilityBoundingSet and AmbientCapabilities of its service)",
         .cleared = "all processes can be read"},
    [KSM_CONSUMERS_MODULE] =
        {"a security module (AppArmor, SELinux) forbids reading processes of other users, although "
         "cap_dac_read_search is in force; their savings are reported as unattributed; to include "
         "them, allow reading /proc/PID/ksm_stat in its policy",
         .cleared = "all processes can be read"},
    [KSM_CONSUMERS_HIDEPID1] =
        {"{root}/proc is mounted with hidepid=1, so processes of other users cannot be "
         "read, and their savings are reported as unattributed; to include "
         "them, add this program's user to the group of the mount option gid=",
         .cleared = "all processes can be read"},
    [KSM_CONSUMERS_HIDDEN] =
        {"{root}/proc hides the processes of other users (mounted with hidepid), so "
         "their savings are reported as unattributed; to include them, add "
         "this program's user to the group of the mount option gid=",
         .cleared = "{root}/proc no longer hides processes"},
    [KSM_CONSUMERS_OVERCOUNT] =
        {"the processes report over 1 % more merged pages than the host; the counts and shares are "
         "scaled down (before Linux 6.18, a forked child starts with its parent's count)",
         .cleared = "the processes' merged pages agree with the host's again"},
    [KSM_CONSUMERS_RATE_LIMITED] =
        {"new consumers appear faster than they are shown: 10 virtual machines, containers and "
         "services an hour, and one program or consumer of a user; until then they are part of "
         "other; if this host starts many of a kind, as for continuous integration, exclude that "
         "kind (ConsumersExclude \"container\", --consumers-exclude=container)",
         .cleared = "new consumers are shown at once again"},
    [KSM_CONSUMERS_FAILED] =
        {"savings by consumer cannot be determined: {root}/proc, or pages_shared, "
         "pages_sharing or ksm_zero_pages of {root}/sys/kernel/mm/ksm, cannot be "
         "read, or ksm_zero_pages is negative",
         .cleared = "savings by consumer are reported again"},
    [KSM_CONSUMERS_LATE] =
        {"savings by consumer are not reported: reading all processes takes longer "
         "than one interval (consumers-interval, ConsumersInterval), or more than "
         "8 of them block the reading of their /proc files",
         .cleared = "savings by consumer are reported again"},
};

static void fill_root(const char *text, const char *root, char *message, size_t size) {
    static const char placeholder[] = "{root}";
    const size_t root_len = pseudofs_root_len(root);
    size_t len = 0;

    while (len < size) {
        const char *next = strstr(text, placeholder);
        if (!next) {
            snprintf(message + len, size - len, "%s", text);
            return;
        }
        len += (size_t)snprintf(message + len, size - len, "%.*s%.*s", (int)(next - text), text,
                                (int)root_len, root);
        text = next + strlen(placeholder);
    }
}

void ksm_log_consumers(struct ksm_consumers_log_state *state,
                       const struct ksm_consumer_table *table, const char *root, ksm_log_fn *log) {
    char message[2 * PATH_MAX + 1024];

    for (size_t i = 0; i < KSM_CONSUMERS_FAULTS; i++) {
        const bool raised = table->faults[i];
        if (raised == state->logged[i] || !ksm_log_admit(&state->limit, clock_ms(CLOCK_MONOTONIC)))
            continue;
        state->logged[i] = raised;
        fill_root(raised ? faults[i].raised : faults[i].cleared, root, message, sizeof(message));
        log(raised && !faults[i].is_harmless, message);
    }
}
