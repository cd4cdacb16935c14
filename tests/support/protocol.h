/* SPDX-License-Identifier: MIT
 *
 * A strict reader of the lines that an external plugin sends to Netdata's agent: what the agent
 * would take in its own way, or drop the plugin for, is an error here, and so is a word that
 * ksm.plugin never sends. protocol.c has the table of the lines.
 */
#ifndef KSM_TESTS_PROTOCOL_H
#define KSM_TESTS_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PROTOCOL_CHARTS = 256,
    PROTOCOL_DIMENSIONS = 16,
    PROTOCOL_VARIABLES = 32,
    PROTOCOL_WORD = 256
};

struct protocol_dimension {
    char id[PROTOCOL_WORD];
    bool incremental;
    int64_t multiplier;
    int64_t divisor;
    bool set; /* between the last BEGIN and END of its chart */
    int64_t value;
};

struct protocol_chart {
    char id[PROTOCOL_WORD];
    char name[PROTOCOL_WORD]; /* without its type */
    char title[PROTOCOL_WORD];
    char units[PROTOCOL_WORD];
    char context[PROTOCOL_WORD];
    int64_t update_every;
    int drawn;                    /* how often CHART was sent */
    int begun;                    /* how often BEGIN was sent */
    char variable[PROTOCOL_WORD]; /* the last that was sent, "" if none was */
    int64_t variable_value;
    struct protocol_dimension dimensions[PROTOCOL_DIMENSIONS];
    int count;
};

/* All zero bytes is a new connection. */
struct protocol {
    struct {
        char name[PROTOCOL_WORD];
        int64_t value;
    } variables[PROTOCOL_VARIABLES]; /* of the host */
    int variables_count;
    struct protocol_chart charts[PROTOCOL_CHARTS];
    int count;
    struct protocol_chart *drawing; /* CHART was sent: its dimensions may follow, */
    bool labelling;                 /* and before these its labels */
    struct protocol_chart *setting; /* BEGIN was sent, END was not yet */
    bool answering;                 /* lines are those of an answer */
    bool offered;                   /* FUNCTION was sent */
    char error[512];                /* of the first bad line, and the line */
};

/* Takes in whole lines. Returns 0, or -1 with an error for the first bad one. */
int protocol_read(struct protocol *p, const char *text, size_t len);

/* A chart, a dimension of a chart; NULL if it is not known. */
struct protocol_chart *protocol_chart(struct protocol *p, const char *id);
struct protocol_dimension *protocol_dimension(struct protocol_chart *chart, const char *id);

/* A variable of the host; -1 if it is not known. */
int64_t protocol_variable(const struct protocol *p, const char *name);

#endif
