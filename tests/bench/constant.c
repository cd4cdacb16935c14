/* SPDX-License-Identifier: MIT
 *
 * A collectd plugin that only dispatches a number (Lists) of constant value lists: the least that a
 * plugin with as many values can cost.
 */
#include <stdlib.h>
#include <string.h>

#include "collectd.h"
#include "plugin.h"

void module_register(void);

static int lists;

static int configure(const char *key, const char *value) {
    (void)key;
    lists = atoi(value);
    return 0;
}

static int dispatch(void) {
    value_t value = {.gauge = 1};
    value_list_t list = VALUE_LIST_INIT;

    list.values = &value;
    list.values_len = 1;
    strcpy(list.plugin, "constant");
    strcpy(list.type, "gauge");
    for (int i = 0; i < lists; i++) {
        snprintf(list.type_instance, sizeof(list.type_instance), "metric_%d", i);
        plugin_dispatch_values(&list);
    }
    return 0;
}

__attribute__((visibility("default"))) void module_register(void) {
    static const char *keys[] = {"Lists"};

    plugin_register_config("constant", configure, keys, 1);
    plugin_register_read("constant", dispatch);
}
