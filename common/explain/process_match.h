/* SPDX-License-Identifier: MIT
 *
 * Finds the processes that match names of the command line.
 *
 * process_match_init(), then process_match_add() for each process of the host, then the questions.
 * A name is a pid; or the exact name of a consumer, as "name" or "kind:name", or of a program (its
 * comm, or the base name of its argv[0]). A name that matches none of these may be the start of
 * such a base name.
 */
#ifndef KSM_PROCESS_MATCH_H
#define KSM_PROCESS_MATCH_H

#include <stdbool.h>
#include <stddef.h>

#include "consumers/consumer_name.h"

/* What a name is compared with. */
struct process_names {
    int pid;
    struct ksm_consumer_name consumer;
    char comm[64 + 1]; /* "" if not known */
    char program[256]; /* base name of argv[0], cut to fit; "" if not known */
};

struct process_match {
    char *const *names; /* the caller's */
    size_t name_count;
    unsigned char *best; /* for each name, how closely it matches a process */
    struct process_names *list;
    size_t count, size;
};

/* names remain the caller's. Returns 0 or -ENOMEM. */
int process_match_init(struct process_match *m, char *const *names, size_t name_count);
void process_match_close(struct process_match *m);

/* Returns whether there are names, and all are pids. Then no other process needs to be added, and
 * only pid needs to be set. */
bool process_match_is_by_pid(const struct process_match *m);

/* Adds a process. Returns 0 or -ENOMEM. */
int process_match_add(struct process_match *m, const struct process_names *process);

/* Returns whether a name matches the index-th process that was added (from 0); always true without
 * names. */
bool process_match_is_wanted(const struct process_match *m, size_t index);

/* Returns the first name that matches no process, or NULL. */
const char *process_match_unknown(const struct process_match *m);

/* Writes one line on why a name matches no process, with at most three similar names: clean ones,
 * those of consumers as "kind:name". */
void process_match_why_unknown(const struct process_match *m, const char *name, char *buf,
                               size_t size);

#endif
