/* SPDX-License-Identifier: MIT
 *
 * Replaces the {placeholders} in texts of explain.def by values with their units.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "explain/causes.h"
#include "explain/explain.h"
#include "explain/format.h"
#include "explain/pagemap.h"
#include "metrics/derive.h"
#include "system/pseudofs.h"

/* ---- values: each function writes one and returns true, or false if it is not known ---- */

static bool write_value(enum ksm_unit unit, const struct ksm_value *value, char *buf, size_t size) {
    const int64_t number = value->value;

    if (value->status != 0)
        return false;
    switch ((int)unit) {
    case KSM_UNIT_BYTES:
    case KSM_UNIT_SIGNED_BYTES:
        format_bytes(number, buf, size);
        break;
    case KSM_UNIT_PERCENT:
    case KSM_UNIT_PERCENT_OPEN:
    case KSM_UNIT_SIGNED_PERCENT:
        format_percent(number, buf, size);
        break;
    case KSM_UNIT_PAGES:
        format_count(number, "page", "pages", buf, size);
        break;
    case KSM_UNIT_SCANS:
        format_count(number, "time", "times", buf, size);
        break;
    case KSM_UNIT_RUN:
        snprintf(buf, size, "%s", ksm_states[number]);
        break;
    case KSM_UNIT_FLAG:
        snprintf(buf, size, "%s", number ? "on" : "off");
        break;
    case KSM_UNIT_MS:
        snprintf(buf, size, "%" PRId64 " ms", number);
        break;
    default: /* in no text */
        return false;
    }
    return true;
}

/* The savings; a lower bound if the count of zero pages is wrong. */
static bool write_saved_known(const struct explain_facts *f, char *buf, size_t size) {
    struct ksm_value saved = f->now.values[KSM_sharing];

    if (f->now.values[KSM_zero].status != -EDOM)
        return write_value(KSM_UNIT_BYTES, &f->now.values[KSM_saved], buf, size);
    if (saved.status != 0 || __builtin_mul_overflow(saved.value, f->now.page_size, &saved.value))
        return false;
    format_bytes(saved.value, buf, size);
    size_t len = strlen(buf);
    snprintf(buf + len, size - len, " or more");
    return true;
}

static bool write_ksmd(const struct explain_facts *f, char *buf, size_t size) {
    return write_value(KSM_UNIT_PERCENT, &f->ksmd, buf, size);
}

static bool write_scan_rate(const struct explain_facts *f, char *buf, size_t size) {
    return write_value(KSM_UNIT_PAGES, &f->scan_rate, buf, size);
}

static bool write_tracked(const struct explain_facts *f, char *buf, size_t size) {
    struct ksm_value tracked = {0};

    tracked.status = ksm_tracked_pages(&f->now, &tracked.value);
    return write_value(KSM_UNIT_PAGES, &tracked, buf, size);
}

static bool write_max_scan_rate(const struct explain_facts *f, char *buf, size_t size) {
    const int64_t pages = explain_max_scan_rate(f);
    int64_t bytes = 0;

    if (pages == 0 || __builtin_mul_overflow(pages, f->now.page_size, &bytes))
        return false;
    format_bytes(bytes, buf, size);
    return true;
}

static bool write_full_scan(const struct explain_facts *f, char *buf, size_t size) {
    const int64_t ms = explain_full_scan_ms(f);

    if (ms >= 0)
        format_duration(ms, buf, size);
    return ms >= 0;
}

/* A new value for pages_to_scan, which has 32 bits; not known if the advisor sets it. */
static bool write_pages_to_scan(const struct explain_facts *f, int64_t pages, char *buf,
                                size_t size) {
    snprintf(buf, size, "%" PRId64, pages);
    return explain_is_known(f, KSM_pages_to_scan) && !explain_is_over(f, KSM_advisor_mode, 0) &&
           pages > 0 && pages <= UINT32_MAX;
}

static bool write_more_pages(const struct explain_facts *f, char *buf, size_t size) {
    int64_t pages = 0;

    return !__builtin_mul_overflow(f->now.values[KSM_pages_to_scan].value, 10, &pages) &&
           write_pages_to_scan(f, pages, buf, size);
}

static bool write_fewer_pages(const struct explain_facts *f, char *buf, size_t size) {
    return write_pages_to_scan(f, f->now.values[KSM_pages_to_scan].value / 10, buf, size);
}

/* The kernel's default of sleep_millisecs: in place of a shorter sleep, or of a longer one. */
enum { DEFAULT_SLEEP_MS = 20 };

static bool write_longer_sleep(const struct explain_facts *f, char *buf, size_t size) {
    snprintf(buf, size, "%d", DEFAULT_SLEEP_MS);
    return explain_is_under(f, KSM_sleep_millisecs, DEFAULT_SLEEP_MS);
}

static bool write_shorter_sleep(const struct explain_facts *f, char *buf, size_t size) {
    snprintf(buf, size, "%d", DEFAULT_SLEEP_MS);
    return explain_is_over(f, KSM_sleep_millisecs, DEFAULT_SLEEP_MS);
}

/* Half of the CPU time that the advisor may use. */
static bool write_lower_max_cpu(const struct explain_facts *f, char *buf, size_t size) {
    snprintf(buf, size, "%" PRId64, f->now.values[KSM_advisor_max_cpu].value / 2);
    return explain_is_over(f, KSM_advisor_mode, 0) && explain_is_over(f, KSM_advisor_max_cpu, 1) &&
           explain_is_under(f, KSM_advisor_max_cpu, 101);
}

static bool write_processes(int64_t number, char *buf, size_t size) {
    if (number >= 0)
        format_count(number, "process", "processes", buf, size);
    return number >= 0;
}

/* Returns whether some processes are hidden or cannot be read. */
static bool is_partial(const struct explain_facts *f) {
    return explain_holds(f, EXPLAIN_denied) || explain_holds(f, EXPLAIN_blocking) ||
           explain_holds(f, EXPLAIN_hidepid) || explain_holds(f, EXPLAIN_ksmd_hidden);
}

/* That no visible process has opted in says nothing about hidden ones. */
static bool write_opted_in(const struct explain_facts *f, char *buf, size_t size) {
    return !f->uksm && !(f->consumers->sweep.opted_in == 0 && is_partial(f)) &&
           write_processes(f->consumers->sweep.opted_in, buf, size);
}

static bool write_tracked_processes(const struct explain_facts *f, char *buf, size_t size) {
    return !is_partial(f) && write_processes(f->consumers->sweep.tracked, buf, size);
}

/* More is not walked under one hold of a process's lock. */
static bool write_large_mapping(const struct explain_facts *f, char *buf, size_t size) {
    format_bytes(PAGEMAP_ENTRIES * f->now.page_size, buf, size);
    return true;
}

static bool write_denied(const struct explain_facts *f, char *buf, size_t size) {
    return write_processes(f->consumers->sweep.denied, buf, size);
}

static bool write_owners(const struct explain_facts *f, char *buf, size_t size) {
    return snprintf(buf, size, "%" PRId64, f->consumers->owners) > 0;
}

static bool write_blocking(const struct explain_facts *f, char *buf, size_t size) {
    return write_processes(f->consumers->sweep.skipped, buf, size);
}

static bool write_dir(const struct explain_facts *f, char *buf, size_t size) {
    snprintf(buf, size, "/sys/kernel/mm/%s", f->uksm ? "uksm" : "ksm");
    return true;
}

/* The directory that was read, below the root. */
static bool write_path(const struct explain_facts *f, char *buf, size_t size) {
    const char *root = f->root ? f->root : "";

    snprintf(buf, size, "%.*s", (int)pseudofs_root_len(root), root);
    const size_t len = strlen(buf);
    return write_dir(f, buf + len, size - len);
}

/* The value of run that undoes all merging; UKSM has none. */
static bool write_undo(const struct explain_facts *f, char *buf, size_t size) {
    snprintf(buf, size, "%d", KSM_UNMERGED);
    return !f->uksm;
}

static bool write_off(const struct explain_facts *f, char *buf, size_t size) {
    snprintf(buf, size, "%d", f->uksm ? KSM_STOPPED : KSM_UNMERGED);
    return true;
}

static const struct {
    const char *name;
    bool (*write)(const struct explain_facts *f, char *buf, size_t size);
} values[] = {
    {"saved_known", write_saved_known},
    {"ksmd", write_ksmd},
    {"scan_rate", write_scan_rate},
    {"tracked", write_tracked},
    {"max_scan_rate", write_max_scan_rate},
    {"full_scan", write_full_scan},
    {"more_pages", write_more_pages},
    {"fewer_pages", write_fewer_pages},
    {"longer_sleep", write_longer_sleep},
    {"shorter_sleep", write_shorter_sleep},
    {"lower_max_cpu", write_lower_max_cpu},
    {"opted_in", write_opted_in},
    {"tracked_processes", write_tracked_processes},
    {"large_mapping", write_large_mapping},
    {"denied", write_denied},
    {"owners", write_owners},
    {"blocking", write_blocking},
    {"dir", write_dir},
    {"path", write_path},
    {"undo", write_undo},
    {"off", write_off},
};

/* ---- conditions: placeholders without a text ---- */

static bool is_uksm(const struct explain_facts *f) {
    return f->uksm;
}

static bool is_numa(const struct explain_facts *f) {
    return explain_equals(f, KSM_merge_across_nodes, 0);
}

static bool is_as_root(const struct explain_facts *f) {
    return f->as_root;
}

static bool is_as_user(const struct explain_facts *f) {
    return !f->as_root;
}

/* The kernel does not report which processes opted in; after an incomplete sweep, not known. */
static bool is_unreported(const struct explain_facts *f) {
    return !f->uksm && f->consumers->sweep.opted_in < 0 &&
           (f->consumers->sweep.done || !f->consumers->enabled);
}

static bool has_manager(const struct explain_facts *f, enum explain_manager manager) {
    return (f->processes ? f->processes->manager : EXPLAIN_NO_MANAGER) == manager;
}

static bool is_by_hand(const struct explain_facts *f) {
    return has_manager(f, EXPLAIN_NO_MANAGER);
}

static bool is_ksmtuned(const struct explain_facts *f) {
    return has_manager(f, EXPLAIN_KSMTUNED);
}

static bool is_kubevirt(const struct explain_facts *f) {
    return has_manager(f, EXPLAIN_KUBEVIRT);
}

static bool is_ovirt(const struct explain_facts *f) {
    return has_manager(f, EXPLAIN_OVIRT);
}

static const struct {
    const char *name;
    bool (*holds)(const struct explain_facts *f);
} conditions[] = {
    {"uksm", is_uksm},         {"partial", is_partial},
    {"numa", is_numa},         {"unreported", is_unreported},
    {"by_hand", is_by_hand},   {"ksmtuned", is_ksmtuned},
    {"kubevirt", is_kubevirt}, {"ovirt", is_ovirt},
    {"as_root", is_as_root},   {"as_user", is_as_user},
};

/* ---- texts ---- */

static bool write_placeholder(const void *data, const char *name, char *buf, size_t size) {
    const struct explain_facts *f = data;

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
        if (strcmp(values[i].name, name) == 0)
            return values[i].write(f, buf, size);
    for (size_t i = 0; i < sizeof(conditions) / sizeof(conditions[0]); i++)
        if (strcmp(conditions[i].name, name) == 0)
            return conditions[i].holds(f);
    for (size_t id = 0; id < KSM_METRICS; id++)
        if (strcmp(ksm_metrics[id].name, name) == 0)
            return write_value(ksm_metrics[id].unit, &f->now.values[id], buf, size);
    return false;
}

/* Appends len bytes to the text in buf. What does not fit is cut off. */
static void append(char *buf, size_t size, const char *bytes, size_t len) {
    const size_t used = strlen(buf);

    snprintf(buf + used, size - used, "%.*s", (int)len, bytes);
}

/* Appends the value of the placeholder with that name, or "?". Returns whether it is known. */
static bool append_value(char *buf, size_t size, explain_value_fn *write, const void *data,
                         const char *name, size_t len) {
    char copy[64], value[PATH_MAX] = "";

    snprintf(copy, sizeof(copy), "%.*s", (int)len, name);
    const bool is_known = write(data, copy, value, sizeof(value));
    append(buf, size, is_known ? value : "?", sizeof(value));
    return is_known;
}

int explain_expand_with(explain_value_fn *write, const void *data, const char *text, char *buf,
                        size_t size) {
    int unknown = 0;
    size_t len_before = 0;  /* of buf, before the part in brackets */
    int unknown_before = 0; /* likewise */

    *buf = '\0';
    /* Each piece of the text ends at one of {}[]. A piece that ends at } is a name. */
    while (*text) {
        const size_t len = strcspn(text, "{}[]");
        const char mark = text[len];
        if (mark != '}')
            append(buf, size, text, len);
        else if (!append_value(buf, size, write, data, text, len))
            unknown++;
        if (mark == '[') {
            len_before = strlen(buf);
            unknown_before = unknown;
        } else if (mark == ']' && unknown > unknown_before) {
            buf[len_before] = '\0';
            unknown = unknown_before;
        }
        text += mark ? len + 1 : len;
    }
    const size_t len = strlen(buf);
    if (len > 0 && buf[len - 1] == '\n')
        buf[len - 1] = '\0';
    return unknown;
}

int explain_expand(const struct explain_facts *facts, const char *text, char *buf, size_t size) {
    return explain_expand_with(write_placeholder, facts, text, buf, size);
}
