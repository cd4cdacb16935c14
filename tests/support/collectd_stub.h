/* SPDX-License-Identifier: MIT
 *
 * A stub of collectd: loads the ksm.so that ships, and records what it registers, logs and
 * dispatches. The program must be linked with -rdynamic, so that ksm.so finds
 * these functions as it finds the daemon's.
 *
 * A value that is dispatched outside of a read callback ends the program. collectd 6.0 logs an
 * error for it, as the thread has no plugin context; and it can wait forever for a lock once the
 * writers are unregistered, which is before shutdown callbacks are called
 * (plugin_log_available_writers(), plugin_shutdown_all() in plugin.c).
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
    value_t value; /* type determines the member */
};

struct stub {
    /* The registered callbacks, NULL for none. Call the two for reading by stub_read() and
     * stub_read_consumers(). */
    int (*config)(oconfig_item_t *block);
    int (*init)(void);
    int (*read)(void);
    int (*read_consumers)(user_data_t *user_data);
    int (*shutdown)(void);
    char names[128];        /* names of the callbacks, a space after each */
    cdtime_t poll_interval; /* of read_consumers */

    struct stub_value values[STUB_VALUES];
    int value_count;
    int tables; /* complete tables of consumers; stub_clear() does not reset this */
    struct {
        int severity;
        char text[1024];
    } messages[STUB_MESSAGES];
    int message_count;

    cdtime_t interval; /* the plugins' interval */
    cdtime_t now;      /* returned by cdtime(), which then adds a second */
};
extern struct stub stub;

/* Loads ksm.so, from $KSM_SO or two directories above this program, and lets it register. Returns
 * NULL or a message. Call it once in a process. */
const char *stub_load(void);

/* Make values of options. */
oconfig_value_t stub_text(const char *text);
oconfig_value_t stub_number(double number);
oconfig_value_t stub_boolean(int boolean);

/* Configures a <Plugin ksm> block with one option, which has count values. Returns the status of
 * the config callback. */
int stub_configure_values(const char *key, int count, oconfig_value_t *values);
int stub_configure(const char *key, oconfig_value_t value);

/* The loaded ksm.so, for dlsym(). */
void *stub_handle(void);

/* Call a read callback as the daemon does, and return its status. */
int stub_read(void);
int stub_read_consumers(void);

/* Clears values and messages. */
void stub_clear(void);

/* Calls read_consumers every ms until count tables have been dispatched, or for 60 s. Returns the
 * number of tables. */
int stub_await_tables(int count);

#endif
