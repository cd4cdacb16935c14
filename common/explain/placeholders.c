/* SPDX-License-Identifier: MIT
 *
 * The {words} of explain.def: what is known, as people write it.
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

/* Writes a word into buf and returns true, or returns false: it is not known. */
typedef bool word_fn(const struct explain_facts *f, char *buf, size_t size);

/* ---- metrics, by their unit ---- */

static bool metric(const struct ksm_metric *metric, const struct ksm_value *at, char *buf,
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
        return false; /* nothing on the page has these */
    }
    return true;
}

/* ---- the other words ---- */

/* What is saved, as far as it is known. */
static bool word_known(const struct explain_facts *f, char *buf, size_t size) {
    const struct ksm_value *sharing = &f->now.at[KSM_sharing];
    int64_t bytes = 0;

    if (f->now.at[KSM_zero].status != -EDOM)
        return metric(&ksm_metrics[KSM_saved], &f->now.at[KSM_saved], buf, size);
    if (sharing->status != 0 || __builtin_mul_overflow(sharing->value, f->now.page_size, &bytes))
        return false;
    format_bytes(bytes, buf, size);
    size_t len = strlen(buf);
    snprintf(buf + len, size - len, " or more");
    return true;
}

static bool word_ksmd(const struct explain_facts *f, char *buf, size_t size) {
    if (f->ksmd.status == 0)
        format_percent(f->ksmd.value, buf, size);
    return f->ksmd.status == 0;
}

static bool word_rate(const struct explain_facts *f, char *buf, size_t size) {
    if (f->rate.status == 0)
        format_count(f->rate.value, "page", "pages", buf, size);
    return f->rate.status == 0;
}

/* Pages that KSM has a record of; -1: not known. */
static int64_t watched(const struct explain_facts *f) {
    int64_t pages = 0;

    return ksm_tracked_pages(&f->now, &pages) == 0 ? pages : -1;
}

static bool word_watched(const struct explain_facts *f, char *buf, size_t size) {
    if (watched(f) >= 0)
        format_count(watched(f), "page", "pages", buf, size);
    return watched(f) >= 0;
}

static bool word_pace(const struct explain_facts *f, char *buf, size_t size) {
    int64_t bytes = 0;

    if (explain_max_pace(f) == 0 ||
        __builtin_mul_overflow(explain_max_pace(f), f->now.page_size, &bytes))
        return false;
    format_bytes(bytes, buf, size);
    return true;
}

/* pages_to_scan for another pace, where it is not the kernel that sets it; it takes 32 bits. */
static bool other_pace(const struct explain_facts *f, int64_t pages, char *buf, size_t size) {
    const struct ksm_value *advisor = &f->now.at[KSM_advisor_mode];

    if (f->now.at[KSM_pages_to_scan].status != 0 || (advisor->status == 0 && advisor->value != 0))
        return false;
    snprintf(buf, size, "%" PRId64, pages);
    return pages > 0 && pages <= UINT32_MAX;
}

static bool word_faster(const struct explain_facts *f, char *buf, size_t size) {
    int64_t pages = 0;

    return !__builtin_mul_overflow(f->now.at[KSM_pages_to_scan].value, 10, &pages) &&
           other_pace(f, pages, buf, size);
}

static bool word_slower(const struct explain_facts *f, char *buf, size_t size) {
    return other_pace(f, f->now.at[KSM_pages_to_scan].value / 10, buf, size);
}

enum { STANDARD_MS = 20 };

/* The kernel's default, where ksmd rests less. */
static bool word_rest(const struct explain_facts *f, char *buf, size_t size) {
    const struct ksm_value *pause = &f->now.at[KSM_sleep_millisecs];

    snprintf(buf, size, "%d", STANDARD_MS);
    return pause->status == 0 && pause->value < STANDARD_MS;
}

/* The same where ksmd rests for longer than that. */
static bool word_shorter(const struct explain_facts *f, char *buf, size_t size) {
    const struct ksm_value *pause = &f->now.at[KSM_sleep_millisecs];

    snprintf(buf, size, "%d", STANDARD_MS);
    return pause->status == 0 && pause->value > STANDARD_MS;
}

static bool word_pass(const struct explain_facts *f, char *buf, size_t size) {
    int64_t ms = explain_pass_ms(f);

    if (ms >= 0)
        format_duration(ms, buf, size);
    return ms >= 0;
}

/* Half of what the advisor may take. */
static bool word_lazier(const struct explain_facts *f, char *buf, size_t size) {
    const struct ksm_value *advisor = &f->now.at[KSM_advisor_mode];
    const struct ksm_value *most = &f->now.at[KSM_advisor_max_cpu];

    snprintf(buf, size, "%" PRId64, most->value / 2);
    return advisor->status == 0 && advisor->value != 0 && most->status == 0 && most->value > 1 &&
           most->value <= 100;
}

static bool count_processes(int64_t number, char *buf, size_t size) {
    if (number >= 0)
        format_count(number, "process", "processes", buf, size);
    return number >= 0;
}

/* Some processes are not seen, or not into. */
static bool is_partly_seen(const struct explain_facts *f) {
    return explain_holds(f, EXPLAIN_denied) || explain_holds(f, EXPLAIN_blocking) ||
           explain_holds(f, EXPLAIN_hidepid) || explain_holds(f, EXPLAIN_ksmd_hidden);
}

/* None of some processes says nothing about all. */
static bool word_opted_in(const struct explain_facts *f, char *buf, size_t size) {
    const bool unknown = f->uksm || (f->consumers->opted_in == 0 && is_partly_seen(f));

    return count_processes(unknown ? -1 : f->consumers->opted_in, buf, size);
}

static bool word_recorded(const struct explain_facts *f, char *buf, size_t size) {
    return !is_partly_seen(f) && count_processes(f->consumers->recorded, buf, size);
}

static bool word_denied(const struct explain_facts *f, char *buf, size_t size) {
    return count_processes(f->consumers->denied, buf, size);
}

static bool word_aside(const struct explain_facts *f, char *buf, size_t size) {
    return count_processes(f->consumers->aside, buf, size);
}

static bool word_dir(const struct explain_facts *f, char *buf, size_t size) {
    return snprintf(buf, size, "/sys/kernel/mm/%s", f->uksm ? "uksm" : "ksm") > 0;
}

/* Where it was looked for, which is below another root than / if that was given. */
static bool word_path(const struct explain_facts *f, char *buf, size_t size) {
    size_t len = f->root ? strlen(f->root) : 0;

    while (len > 0 && f->root[len - 1] == '/')
        len--;
    return snprintf(buf, size, "%.*s/sys/kernel/mm/%s", (int)len, f->root ? f->root : "",
                    f->uksm ? "uksm" : "ksm") > 0;
}

/* What makes KSM stop and undo all merging; UKSM cannot. */
static bool word_undo(const struct explain_facts *f, char *buf, size_t size) {
    return snprintf(buf, size, "2") > 0 && !f->uksm;
}

static bool word_off(const struct explain_facts *f, char *buf, size_t size) {
    return snprintf(buf, size, "%s", f->uksm ? "0" : "2") > 0;
}

/* Conditions: words without a text. */

static bool condition(bool holds, char *buf) {
    *buf = '\0';
    return holds;
}

static bool word_uksm(const struct explain_facts *f, char *buf, size_t size) {
    (void)size;
    return condition(f->uksm, buf);
}

static bool word_partly(const struct explain_facts *f, char *buf, size_t size) {
    (void)size;
    return condition(is_partly_seen(f), buf);
}

static bool word_numa(const struct explain_facts *f, char *buf, size_t size) {
    const struct ksm_value *across = &f->now.at[KSM_merge_across_nodes];

    (void)size;
    return condition(across->status == 0 && across->value == 0, buf);
}

/* By the kernel: who was not looked at at all may tell at another time. */
static bool word_untold(const struct explain_facts *f, char *buf, size_t size) {
    (void)size;
    return condition(!f->uksm && f->consumers->opted_in < 0 &&
                         (f->consumers->swept || !f->consumers->known),
                     buf);
}

/* ---- texts ---- */

static const struct {
    const char *name;
    word_fn *write;
} words[] = {
    {"known", word_known},       {"ksmd", word_ksmd},         {"rate", word_rate},
    {"watched", word_watched},   {"pace", word_pace},         {"faster", word_faster},
    {"slower", word_slower},     {"rest", word_rest},         {"lazier", word_lazier},
    {"opted_in", word_opted_in}, {"recorded", word_recorded}, {"denied", word_denied},
    {"aside", word_aside},       {"dir", word_dir},           {"undo", word_undo},
    {"off", word_off},           {"uksm", word_uksm},         {"untold", word_untold},
    {"partly", word_partly},     {"pass", word_pass},         {"shorter", word_shorter},
    {"numa", word_numa},         {"path", word_path},
};

static bool is_name(const char *name, const char *text, size_t len) {
    return strlen(name) == len && memcmp(name, text, len) == 0;
}

static bool write_word(const void *data, const char *name, size_t len, char *buf, size_t size) {
    const struct explain_facts *f = data;

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (is_name(words[i].name, name, len))
            return words[i].write(f, buf, size);
    for (size_t id = 0; id < KSM_METRICS; id++)
        if (is_name(ksm_metrics[id].name, name, len))
            return metric(&ksm_metrics[id], &f->now.at[id], buf, size);
    return false;
}

/* A text in the making; what does not fit is dropped. */
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
    size_t bracket = 0; /* where the running part in brackets begins in buf */
    bool inside = false, lacking = false;
    int unknown = 0;

    *buf = '\0';
    for (const char *at = text; *at; at++) {
        size_t len = strcspn(at, "{[]");
        append(&to, at, len);
        at += len;
        if (*at == '[') {
            bracket = to.len;
            inside = true;
            lacking = false;
        } else if (*at == ']') {
            inside = false;
            if (lacking)
                buf[to.len = bracket] = '\0';
        } else if (*at == '{') {
            char word[PATH_MAX] = "";
            len = strcspn(++at, "}");
            bool known = write(data, at, len, word, sizeof(word));
            append(&to, known ? word : "?", known ? strlen(word) : 1);
            lacking = lacking || !known;
            unknown += !known && !inside;
            at += len;
        }
        if (!*at)
            break;
    }
    return unknown;
}

int explain_expand(const struct explain_facts *facts, const char *text, char *buf, size_t size) {
    return explain_fill(write_word, facts, text, buf, size);
}
