/* SPDX-License-Identifier: MIT */
#include "crowd.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "name.h"
#include "tree.h"

static void path_of(char *path, size_t size, int pid, const char *name) {
    snprintf(path, size, "proc/%d/%s", pid, name);
}

void crowd_file(const char *dir, int pid, const char *name, const char *text, size_t len) {
    char path[64];

    path_of(path, sizeof(path), pid, name);
    tree_write(dir, path, text, len);
}

void crowd_remove_file(const char *dir, int pid, const char *name) {
    char path[64];

    path_of(path, sizeof(path), pid, name);
    tree_unlink(dir, path);
}

void crowd_remove(const char *dir, int pid) {
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%.4000s/proc/%d", dir, pid);
    tree_remove(path);
}

static void write_text(const char *dir, int pid, const char *name, const char *text) {
    crowd_file(dir, pid, name, text, strlen(text));
}

void crowd_write(const char *dir, const struct crowd_process *p) {
    char text[512];

    snprintf(text, sizeof(text),
             "ksm_rmap_items %" PRId64 "\nksm_zero_pages %" PRId64 "\nksm_merging_pages %" PRId64
             "\nksm_process_profit 0\nksm_merge_any: no\nksm_mergeable: %s\n",
             p->rmap_items, p->zero, p->merging,
             p->rmap_items > 0 || p->zero > 0 || p->merging > 0 ? "yes" : "no");
    write_text(dir, p->pid, "ksm_stat", text);
    snprintf(text, sizeof(text), "%" PRId64 "\n", p->merging);
    write_text(dir, p->pid, "ksm_merging_pages", text);
    snprintf(text, sizeof(text), "%" PRId64 " %" PRId64 " %" PRId64 " 1 0 2000 0\n", p->resident,
             p->resident, p->mapped);
    write_text(dir, p->pid, "statm", text);
    snprintf(text, sizeof(text),
             "%d (%s) S 1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 %" PRId64 " 1000 200\n", p->pid,
             p->comm ? p->comm : "", p->started);
    write_text(dir, p->pid, "stat", text);
    write_text(dir, p->pid, "cgroup", p->cgroup ? p->cgroup : "");
    crowd_file(dir, p->pid, "cmdline", p->cmdline ? p->cmdline : "", p->cmdline_len);
    snprintf(text, sizeof(text), "%s%s", p->comm ? p->comm : "", p->comm ? "\n" : "");
    write_text(dir, p->pid, "comm", text);
}

void crowd_begin(const char *dir) {
    static const char nothing[] = "ksm_rmap_items 0\nksm_zero_pages 0\nksm_merging_pages 0\n";
    const struct crowd_process init = {.pid = 1, .started = 1, .comm = "systemd"};

    crowd_write(dir, &init);
    tree_write(dir, "proc/self/ksm_stat", nothing, sizeof(nothing) - 1);
}

static void write_pages(const char *dir, const char *name, int64_t pages) {
    char path[64];
    char text[32];

    snprintf(path, sizeof(path), "sys/kernel/mm/ksm/%s", name);
    snprintf(text, sizeof(text), "%" PRId64 "\n", pages);
    tree_write(dir, path, text, strlen(text));
}

void crowd_host(const char *dir, int64_t shared, int64_t sharing, int64_t zero) {
    write_pages(dir, "pages_shared", shared);
    write_pages(dir, "pages_sharing", sharing);
    write_pages(dir, "ksm_zero_pages", zero);
    write_pages(dir, "pages_unshared", 0);
    write_pages(dir, "pages_volatile", 0);
}

/* Bytes of the character at s by the table of well-formed UTF-8 of the Unicode standard; 0: it is
 * not well-formed. */
static size_t utf8(const unsigned char *s) {
    static const struct {
        unsigned char first[2], second[2];
        size_t bytes;
    } rows[] = {
        {{0xc2, 0xdf}, {0x80, 0xbf}, 2}, {{0xe0, 0xe0}, {0xa0, 0xbf}, 3},
        {{0xe1, 0xec}, {0x80, 0xbf}, 3}, {{0xed, 0xed}, {0x80, 0x9f}, 3},
        {{0xee, 0xef}, {0x80, 0xbf}, 3}, {{0xf0, 0xf0}, {0x90, 0xbf}, 4},
        {{0xf1, 0xf3}, {0x80, 0xbf}, 4}, {{0xf4, 0xf4}, {0x80, 0x8f}, 4},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (s[0] < rows[i].first[0] || s[0] > rows[i].first[1])
            continue;
        if (s[1] < rows[i].second[0] || s[1] > rows[i].second[1])
            return 0;
        for (size_t more = 2; more < rows[i].bytes; more++)
            if (s[more] < 0x80 || s[more] > 0xbf)
                return 0;
        return rows[i].bytes;
    }
    return 0;
}

static int is_control(const unsigned char *s) {
    return s[0] == 0xc2 && s[1] <= 0xa0; /* U+0080 … U+00A0 */
}

const char *crowd_bad_name(const char *name) {
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789_-.:@+~";
    const unsigned char *s = (const unsigned char *)name;
    size_t len = strnlen(name, KSM_NAME_SIZE);

    if (len == 0)
        return "it is empty";
    if (len == KSM_NAME_SIZE)
        return "it has no end";
    for (size_t i = 0; i < len;) {
        if (s[i] < 0x80) {
            if (!strchr(allowed, s[i]))
                return "it has a character that is not allowed";
            if (s[i] == '~' && i + 9 != len)
                return "it has a ~ that is not of a mark at its end";
            i++;
            continue;
        }
        size_t bytes = utf8(s + i);
        if (bytes == 0)
            return "it is not UTF-8";
        if (is_control(s + i))
            return "it has a control character";
        i += bytes;
    }
    return NULL;
}
