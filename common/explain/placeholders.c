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
#include "metrics/derive.h"

/* Writes a value into buf and returns true; or returns false if it is not known. */
typedef bool placeholder_fn(const struct explain_facts *f, char *buf, size_t size);

/* ---- metrics, by their unit ---- */

static bool write_metric(const struct ksm_metric *metric, const struct ksm_value *at, char *buf,
                         size_t size) {
    if (at->status != 0)
        return false;
    switch (metric->unit) {
    case KSM_UNIT_BYTES:
    case KSM_UNIT_SIGNED_BYTES:
        format_bytes(at->value, buf, size);
        break;
    case KSM_UNIT_PERCENT:
    case KSM_UNIT_PERCENT_OPEN:
    case KSM_UNIT_SIGNED_PERCENT:
        format_percent(at->value, buf, size);
        break;
    case KSM_UNIT_PAGES:
        format_count(at->value, "page", "pages", buf, size);
        break;
    case KSM_UNIT_SCANS:
        format_count(at->value, "time", "times", buf, size);
        break;
    case KSM_UNIT_RUN:
        snprintf(buf, size, "%s", ksm_states[at->value]);
        break;
    case KSM_UNIT_FLAG:
        snprintf(buf, size, "%s", at->value ? "on" : "off");
        break;
    case KSM_UNIT_MS:
        snprintf(buf, size, "%" PRId64 " ms", at->value);
        break;
    case KSM_UNIT_KILOBYTES:
    case KSM_UNIT_WHOLE_PERCENT:
    case KSM_UNIT_RATIO:
    case KSM_UNIT_NODES:
    case KSM_UNIT_NS:
    case KSM_UNIT_SECONDS:
    case KSM_UNIT_DURATION:
    case KSM_UNIT_SECONDS_PER_GIB:
    case KSM_UNIT_PAGE_RATE:
    case KSM_UNIT_HUGE_PAGES:
    case KSM_UNITS:
        return false; /* not in any text */
    }
    return true;
}

/* ---- other values ---- */

/* The savings; a lower bound if the count of zero pages is wrong. */
static bool write_saved_known(const struct explain_facts *f, char *buf, size_t size) {
    const struct ksm_value *sharing = &f->now.at[KSM_sharing];
    int64_t bytes = 0;

    if (f->now.at[KSM_zero].status != -EDOM)
        return write_metric(&ksm_metrics[KSM_saved], &f->now.at[KSM_saved], buf, size);
    if (sharing->status != 0 || __builtin_mul_overflow(sharing->value, f->now.page_size, &bytes))
        return false;
    format_bytes(bytes, buf, size);
    size_t len = strlen(buf);
    snprintf(buf + len, size - len, " or more");
    return true;
}

static bool write_ksmd(const struct explain_facts *f, char *buf, size_t size) {
    if (f->ksmd.status == 0)
        format_percent(f->ksmd.value, buf, size);
    return f->ksmd.status == 0;
}

static bool write_scan_rate(const struct explain_facts *f, char *buf, size_t size) {
    if (f->rate.status == 0)
        format_count(f->rate.value, "page", "pages", buf, size);
    return f->rate.status == 0;
}

/* Pages that KSM tracks; -1: not known. */
static int64_t tracked_pages(const struct explain_facts *f) {
    int64_t pages = 0;

    return ksm_tracked_pages(&f->now, &pages) == 0 ? pages : -1;
}

static bool write_tracked(const struct explain_facts *f, char *buf, size_t size) {
    if (tracked_pages(f) >= 0)
        format_count(tracked_pages(f), "page", "pages", buf, size);
    return tracked_pages(f) >= 0;
}

static bool write_max_scan_rate(const struct explain_facts *f, char *buf, size_t size) {
    int64_t bytes = 0;

    if (explain_max_pace(f) == 0 ||
        __builtin_mul_overflow(explain_max_pace(f), f->now.page_size, &bytes))
        return false;
    format_bytes(bytes, buf, size);
    return true;
}

/* A new value for pages_to_scan, which has 32 bits; not known if the advisor sets it. */
static bool write_pages_to_scan(const struct explain_facts *f, int64_t pages, char *buf,
                                size_t size) {
    const struct ksm_value *advisor = &f->now.at[KSM_advisor_mode];

    if (f->now.at[KSM_pages_to_scan].status != 0 || (advisor->status == 0 && advisor->value != 0))
        return false;
    snprintf(buf, size, "%" PRId64, pages);
    return pages > 0 && pages <= UINT32_MAX;
}

static bool write_more_pages(const struct explain_facts *f, char *buf, size_t size) {
    int64_t pages = 0;

    return !__builtin_mul_overflow(f->now.at[KSM_pages_to_scan].value, 10, &pages) &&
           write_pages_to_scan(f, pages, buf, size);
}

static bool write_fewer_pages(const struct explain_facts *f, char *buf, size_t size) {
    return write_pages_to_scan(f, f->now.at[KSM_pages_to_scan].value / 10, buf, size);
}

enum { DEFAULT_SLEEP_MS = 20 };

/* The kernel's default of sleep_millisecs, if ksmd sleeps for less. */
static bool write_longer_sleep(const struct explain_facts *f, char *buf, size_t size) {
    const struct ksm_value *sleep_ms = &f->now.at[KSM_sleep_millisecs];

    snprintf(buf, size, "%d", DEFAULT_SLEEP_MS);
    return sleep_ms->status == 0 && sleep_ms->value < DEFAULT_SLEEP_MS;
}

/* The same default, if ksmd sleeps for longer. */
static bool write_shorter_sleep(const struct explain_facts *f, char *buf, size_t size) {
    const struct ksm_value *sleep_ms = &f->now.at[KSM_sleep_millisecs];

    snprintf(buf, size, "%d", DEFAULT_SLEEP_MS);
    return sleep_ms->status == 0 && sleep_ms->value > DEFAULT_SLEEP_MS;
}

static bool write_full_scan(const struct explain_facts *f, char *buf, size_t size) {
    int64_t ms = explain_pass_ms(f);

    if (ms >= 0)
        format_duration(ms, buf, size);
    return ms >= 0;
}

/* Half of the CPU time that the advisor may use. */
static bool write_lower_max_cpu(const struct explain_facts *f, char *buf, size_t size) {
    const struct ksm_value *advisor = &f->now.at[KSM_advisor_mode];
    const struct ksm_value *max_cpu = &f->now.at[KSM_advisor_max_cpu];

    snprintf(buf, size, "%" PRId64, max_cpu->value / 2);
    return advisor->status == 0 && advisor->value != 0 && max_cpu->status == 0 &&
           max_cpu->value > 1 && max_cpu->value <= 100;
}

static bool count_processes(int64_t number, char *buf, size_t size) {
    if (number >= 0)
        format_count(number, "process", "processes", buf, size);
    return number >= 0;
}

/* Returns whether some processes are hidden or cannot be read. */
static bool is_partly_seen(const struct explain_facts *f) {
    return explain_holds(f, EXPLAIN_denied) || explain_holds(f, EXPLAIN_blocking) ||
           explain_holds(f, EXPLAIN_hidepid) || explain_holds(f, EXPLAIN_ksmd_hidden);
}

/* That no visible process has opted in says nothing about hidden ones. */
static bool write_opted_in(const struct explain_facts *f, char *buf, size_t size) {
    const bool unknown = f->uksm || (f->consumers->sweep.opted_in == 0 && is_partly_seen(f));

    return count_processes(unknown ? -1 : f->consumers->sweep.opted_in, buf, size);
}

static bool write_tracked_processes(const struct explain_facts *f, char *buf, size_t size) {
    return !is_partly_seen(f) && count_processes(f->consumers->sweep.tracked, buf, size);
}

static bool write_denied(const struct explain_facts *f, char *buf, size_t size) {
    return count_processes(f->consumers->sweep.denied, buf, size);
}

static bool write_blocking(const struct explain_facts *f, char *buf, size_t size) {
    return count_processes(f->consumers->sweep.skipped, buf, size);
}

static bool write_dir(const struct explain_facts *f, char *buf, size_t size) {
    return snprintf(buf, size, "/sys/kernel/mm/%s", f->uksm ? "uksm" : "ksm") > 0;
}

/* The directory that was read, below the root. */
static bool write_path(const struct explain_facts *f, char *buf, size_t size) {
    size_t len = f->root ? strlen(f->root) : 0;

    while (len > 0 && f->root[len - 1] == '/')
        len--;
    return snprintf(buf, size, "%.*s/sys/kernel/mm/%s", (int)len, f->root ? f->root : "",
                    f->uksm ? "uksm" : "ksm") > 0;
}

/* The value of run that undoes all merging; UKSM has none. */
static bool write_undo(const struct explain_facts *f, char *buf, size_t size) {
    return snprintf(buf, size, "2") > 0 && !f->uksm;
}

static bool write_off(const struct explain_facts *f, char *buf, size_t size) {
    return snprintf(buf, size, "%s", f->uksm ? "0" : "2") > 0;
}

/* Conditions: placeholders without a text. */

static bool condition(bool holds, char *buf) {
    *buf = '\0';
    return holds;
}

static bool write_uksm(const struct explain_facts *f, char *buf, size_t size) {
    (void)size;
    return condition(f->uksm, buf);
}

static bool write_partial(const struct explain_facts *f, char *buf, size_t size) {
    (void)size;
    return condition(is_partly_seen(f), buf);
}

static bool write_numa(const struct explain_facts *f, char *buf, size_t size) {
    const struct ksm_value *across = &f->now.at[KSM_merge_across_nodes];

    (void)size;
    return condition(across->status == 0 && across->value == 0, buf);
}

/* The kernel does not report which processes opted in; after an incomplete sweep, not known. */
static bool write_unreported(const struct explain_facts *f, char *buf, size_t size) {
    (void)size;
    return condition(!f->uksm && f->consumers->sweep.opted_in < 0 &&
                         (f->consumers->sweep.done || !f->consumers->enabled),
                     buf);
}

/* ---- texts ---- */

static const struct {
    const char *name;
    placeholder_fn *write;
} placeholders[] = {
    {"saved_known", write_saved_known},
    {"ksmd", write_ksmd},
    {"scan_rate", write_scan_rate},
    {"tracked", write_tracked},
    {"max_scan_rate", write_max_scan_rate},
    {"more_pages", write_more_pages},
    {"fewer_pages", write_fewer_pages},
    {"longer_sleep", write_longer_sleep},
    {"lower_max_cpu", write_lower_max_cpu},
    {"opted_in", write_opted_in},
    {"tracked_processes", write_tracked_processes},
    {"denied", write_denied},
    {"blocking", write_blocking},
    {"dir", write_dir},
    {"undo", write_undo},
    {"off", write_off},
    {"uksm", write_uksm},
    {"unreported", write_unreported},
    {"partial", write_partial},
    {"full_scan", write_full_scan},
    {"shorter_sleep", write_shorter_sleep},
    {"numa", write_numa},
    {"path", write_path},
};

static bool is_name(const char *name, const char *text, size_t len) {
    return strlen(name) == len && memcmp(name, text, len) == 0;
}

static bool write_placeholder(const void *data, const char *name, size_t len, char *buf,
                              size_t size) {
    const struct explain_facts *f = data;

    for (size_t i = 0; i < sizeof(placeholders) / sizeof(placeholders[0]); i++)
        if (is_name(placeholders[i].name, name, len))
            return placeholders[i].write(f, buf, size);
    for (size_t id = 0; id < KSM_METRICS; id++)
        if (is_name(ksm_metrics[id].name, name, len))
            return write_metric(&ksm_metrics[id], &f->now.at[id], buf, size);
    return false;
}

/* A text that is being written; what does not fit is cut off. */
struct text {
    char *buf;
    size_t size;
    size_t len;
};

static void append(struct text *to, const char *bytes, size_t len) {
    if (len > to->size - 1 - to->len)
        len = to->size - 1 - to->len;
    memcpy(to->buf + to->len, bytes, len);
    to->len += len;
    to->buf[to->len] = '\0';
}

int explain_fill(explain_value_fn *write, const void *data, const char *text, char *buf,
                 size_t size) {
    struct text to = {buf, size, 0};
    size_t bracket = 0; /* where the current part in brackets begins in buf */
    bool inside = false, is_omitted = false;
    int unknown = 0;

    *buf = '\0';
    for (const char *at = text; *at; at++) {
        size_t len = strcspn(at, "{[]");
        append(&to, at, len);
        at += len;
        if (*at == '[') {
            bracket = to.len;
            inside = true;
            is_omitted = false;
        } else if (*at == ']') {
            inside = false;
            if (is_omitted) {
                to.len = bracket;
                buf[to.len] = '\0';
            }
        } else if (*at == '{') {
            char value[PATH_MAX] = "";
            len = strcspn(++at, "}");
            bool known = write(data, at, len, value, sizeof(value));
            append(&to, known ? value : "?", known ? strlen(value) : 1);
            is_omitted = is_omitted || !known;
            unknown += !known && !inside;
            at += len;
        }
        if (!*at)
            break;
    }
    return unknown;
}

int explain_expand(const struct explain_facts *facts, const char *text, char *buf, size_t size) {
    return explain_fill(write_placeholder, facts, text, buf, size);
}
