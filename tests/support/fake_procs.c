/* SPDX-License-Identifier: MIT */
#include "fake_procs.h"

#include <err.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "consumers/consumer_name.h"
#include "tree.h"

void fake_procs_write_file(const char *dir, int pid, const char *name, const char *text,
                           size_t len) {
    tree_write(tree_path(dir, "proc/%d", pid), name, text, len);
}

void fake_procs_remove_file(const char *dir, int pid, const char *name) {
    tree_unlink(tree_path(dir, "proc/%d", pid), name);
}

void fake_procs_remove(const char *dir, int pid) {
    tree_remove(tree_path(dir, "proc/%d", pid));
}

void fake_procs_write(const char *dir, const struct fake_process *p) {
    const char *own = strdupa(tree_path(dir, "proc/%d", p->pid));
    const bool opted_in = p->rmap_items > 0 || p->zero > 0 || p->merging > 0;

    tree_print(own, "ksm_stat",
               "ksm_rmap_items %" PRId64 "\nksm_zero_pages %" PRId64 "\nksm_merging_pages %" PRId64
               "\nksm_process_profit 0\nksm_merge_any: %s\nksm_mergeable: %s\n",
               p->rmap_items, p->zero, p->merging, opted_in && p->merge_any ? "yes" : "no",
               opted_in ? "yes" : "no");
    tree_print(own, "ksm_merging_pages", "%" PRId64 "\n", p->merging);
    tree_print(own, "statm", "%" PRId64 " %" PRId64 " %" PRId64 " 1 0 2000 0\n", p->resident,
               p->resident, p->mapped);
    tree_print(own, "stat",
               "%d (%s) S 1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 %" PRId64 " 1000 200\n",
               p->pid, p->comm ? p->comm : "", p->started);
    if (p->user >= 0)
        tree_print(own, "status", "Tgid:\t%d\nPPid:\t1\nUid:\t%d\t%d\t%d\t%d\n", p->pid, p->user,
                   p->user, p->user, p->user);
    tree_print(own, "cgroup", "%s", p->cgroup ? p->cgroup : "");
    tree_write(own, "cmdline", p->cmdline ? p->cmdline : "", p->cmdline_len);
    tree_print(own, "comm", "%s%s", p->comm ? p->comm : "", p->comm ? "\n" : "");
}

void fake_procs_init(const char *dir) {
    fake_procs_write(dir, &(const struct fake_process){.pid = 1, .started = 1, .comm = "systemd"});
    tree_print(dir, "proc/self/ksm_stat",
               "ksm_rmap_items 0\nksm_zero_pages 0\nksm_merging_pages 0\n");
}

void fake_procs_set_older_kernel(const char *dir, bool merging_pages) {
    tree_unlink(dir, "proc/self/ksm_stat");
    fake_procs_remove_file(dir, 1, "ksm_stat");
    if (merging_pages)
        tree_print(dir, "proc/self/ksm_merging_pages", "0\n");
    else
        fake_procs_remove_file(dir, 1, "ksm_merging_pages");
}

void fake_procs_link(const char *dir, int pid, pid_t real) {
    const char *link = tree_path(dir, "proc/%d/ksm_merging_pages", pid);

    fake_procs_remove_file(dir, pid, "ksm_merging_pages");
    if (symlink(tree_path("/proc", "%d/oom_score_adj", real), link) != 0)
        err(2, "%s", link);
}

void fake_procs_set_linked(pid_t real, int pages) {
    tree_print("/proc", tree_path("", "%d/oom_score_adj", real), "%d", pages);
}

void fake_procs_set_host(const char *dir, int64_t shared, int64_t sharing, int64_t zero) {
    const char *ksm = strdupa(tree_path(dir, "sys/kernel/mm/ksm"));

    tree_print(ksm, "pages_shared", "%" PRId64 "\n", shared);
    tree_print(ksm, "pages_sharing", "%" PRId64 "\n", sharing);
    tree_print(ksm, "ksm_zero_pages", "%" PRId64 "\n", zero);
    tree_print(ksm, "pages_unshared", "0\n");
    tree_print(ksm, "pages_volatile", "0\n");
}

/* Returns the bytes of the UTF-8 character at s, or 0 if it is not well-formed (table 3-7 of the
 * Unicode standard). */
static size_t utf8_len(const unsigned char *s) {
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

const char *fake_procs_check_name(const char *name) {
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789_-.:@+~";
    const unsigned char *s = (const unsigned char *)name;
    size_t len = strnlen(name, KSM_CONSUMER_NAME_SIZE);

    if (len == 0)
        return "it is empty";
    if (len == KSM_CONSUMER_NAME_SIZE)
        return "it is not NUL-terminated";
    for (size_t i = 0; i < len;) {
        if (s[i] < 0x80) {
            if (!strchr(allowed, s[i]))
                return "it has a character that is not allowed";
            if (s[i] == '~' && i + 9 != len)
                return "it has a ~ outside of a hash suffix";
            i++;
            continue;
        }
        size_t bytes = utf8_len(s + i);
        if (bytes == 0)
            return "it is not UTF-8";
        if (is_control(s + i))
            return "it has a control character";
        i += bytes;
    }
    return NULL;
}
