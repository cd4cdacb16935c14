/* SPDX-License-Identifier: MIT
 *
 * Parses the lines that an external plugin sends to Netdata's agent. It is stricter than the agent:
 * lines that the agent would correct, or disable the plugin for, are errors, and so are keywords
 * that ksm.plugin never sends. protocol.c has the table of the lines.
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
    char name[PROTOCOL_WORD]; /* without the type */
    char title[PROTOCOL_WORD];
    char units[PROTOCOL_WORD];
    char context[PROTOCOL_WORD];
    int64_t update_every;
    int drawn;                    /* how often CHART was sent */
    int begun;                    /* how often BEGIN was sent */
    char variable[PROTOCOL_WORD]; /* the last variable of the chart, or "" */
    int64_t variable_value;
    struct protocol_dimension dimensions[PROTOCOL_DIMENSIONS];
    int count;
};

/* Initialize it to zero bytes for a new connection. */
struct protocol {
    struct {
        char name[PROTOCOL_WORD];
        int64_t value;
    } variables[PROTOCOL_VARIABLES]; /* of the host */
    int variables_count;
    struct protocol_chart charts[PROTOCOL_CHARTS];
    int count;
    struct protocol_chart *drawing; /* after CHART: DIMENSION may follow */
    bool labelling;                 /* after CHART and before DIMENSION: CLABEL may follow */
    struct protocol_chart *setting; /* between BEGIN and END */
    bool answering;                 /* within the answer to a request */
    bool offered;                   /* FUNCTION was sent */
    char error[512];                /* message about the first invalid line */
};

/* Parses complete lines. Returns 0; or -1, and error is set for the first invalid one. */
int protocol_read(struct protocol *p, const char *text, size_t len);

/* Find a chart, and a dimension of a chart; NULL if there is none. */
struct protocol_chart *protocol_chart(struct protocol *p, const char *id);
struct protocol_dimension *protocol_dimension(struct protocol_chart *chart, const char *id);

/* Returns a variable of the host; -1 if there is none. */
int64_t protocol_variable(const struct protocol *p, const char *name);

#endif
