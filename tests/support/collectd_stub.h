/* SPDX-License-Identifier: MIT
 *
 * The part of collectd that ksm.so needs: loads the very file that ships, and records what it
 * registers, logs and dispatches. The program must be linked with -rdynamic, so that ksm.so finds
 * these functions as it finds the daemon's.
 */
#ifndef KSM_TESTS_COLLECTD_STUB_H
#define KSM_TESTS_COLLECTD_STUB_H

#include "collectd.h"

#include "plugin.h"

enum { STUB_VALUES = 256, STUB_MESSAGES = 64 };

struct stub_value {
    char plugin[DATA_MAX_NAME_LEN];
    char plugin_instance[DATA_MAX_NAME_LEN];
    char type[DATA_MAX_NAME_LEN];
    char type_instance[DATA_MAX_NAME_LEN];
    char host[DATA_MAX_NAME_LEN];
    cdtime_t time;
    cdtime_t interval;
    value_t value; /* what a daemon would take it for depends on the type */
};

struct stub {
    /* What was registered, and under which name ("" if it was not). */
    int (*config)(oconfig_item_t *block);
    int (*init)(void);
    int (*read)(void);
    int (*shutdown)(void);
    char names[128]; /* all of them, each with a blank after it */

    struct stub_value values[STUB_VALUES];
    int value_count;
    int tables; /* of consumers, whole ones; stub_clear() leaves that */
    struct {
        int severity;
        char text[1024];
    } messages[STUB_MESSAGES];
    int message_count;

    cdtime_t interval; /* that the daemon gives to plugins */
    cdtime_t now;      /* what cdtime() says; a second more at each call */
};
extern struct stub stub;

/* Loads ksm.so, from $KSM_SO or two directories above this program, and lets it register. Returns
 * NULL or what is wrong. Once a process. */
const char *stub_load(void);

/* Values of options, and a <Plugin ksm> block with one option, which has count (0 to 2) of a
 * value. Returns what the config callback did. */
oconfig_value_t stub_text(const char *text);
oconfig_value_t stub_number(double number);
oconfig_value_t stub_boolean(int boolean);
int stub_configure(const char *key, int count, oconfig_value_t value);

/* The loaded ksm.so, for dlsym(). */
void *stub_handle(void);

/* Forgets values and messages. While the plugin's own thread runs, after the first read until
 * shutdown, nothing else may be looked at but this: waits until so many tables were sent, for 60 s
 * at most; returns how many were. */
void stub_clear(void);
int stub_await_tables(int count);

#endif
