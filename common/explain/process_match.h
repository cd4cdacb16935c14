/* SPDX-License-Identifier: MIT
 *
 * The processes that words of the command line name.
 *
 * process_match_init(), then process_match_add() for every process there is, then the questions.
 * A word is a pid; or the exact name of a consumer, as "name" or "kind:name", or of a program (its
 * comm, or the base name of its argv[0]); or, if it is none of these, the start of such a base
 * name.
 */
#ifndef KSM_PROCESS_MATCH_H
#define KSM_PROCESS_MATCH_H

#include <stdbool.h>
#include <stddef.h>

#include "consumers/consumer_name.h"

/* By what a process can be named. */
struct process_names {
    int pid;
    struct ksm_consumer_name consumer;
    char comm[64 + 1]; /* "" if not known */
    char program[256]; /* base name of argv[0], cut to fit; "" if not known */
};

struct process_match {
    char *const *words; /* the caller's */
    size_t word_count;
    unsigned char *best; /* for each word, how closely it names a process */
    struct process_names *list;
    size_t count, size;
};

/* words stay the caller's. Returns 0 or -ENOMEM; process_match_close() either way. */
int process_match_init(struct process_match *m, char *const *words, size_t word_count);
void process_match_close(struct process_match *m);

/* Whether all words are pids: then no other processes need be added, and no names but the pid. */
bool process_match_is_by_pid(const struct process_match *m);

/* Adds a process. Returns 0 or -ENOMEM. */
int process_match_add(struct process_match *m, const struct process_names *names);

/* Whether a word names the process that was added as number index, from 0; without words all. */
bool process_match_is_wanted(const struct process_match *m, size_t index);

/* The first word that names no process, or NULL. */
const char *process_match_unknown(const struct process_match *m);

/* Writes one line on why a word names no process, with names that are similar, at most three:
 * clean, consumers as "kind:name". */
void process_match_why_unknown(const struct process_match *m, const char *word, char *buf,
                               size_t size);

#endif
