/* SPDX-License-Identifier: MIT
 *
 * The collectd plugin "ksm": reads all figures at each interval and dispatches each as a value list
 * ksm/TYPE-NAME. What the figures are is in common/metrics.def, which type each has in types.def.
 */
#include "collectd.h"

#include "plugin.h"
#include "utils/common/common.h"

#include "clock.h"
#include "options.h"
#include "reader.h"
#include "types.h"
#include "watch.h"

static struct ksm_options options;
static struct ksm_reader reader;
static struct ksm_watch watch;

static void tell(bool bad, const char *message) {
    plugin_log(bad ? LOG_WARNING : LOG_NOTICE, "ksm plugin: %s", message);
}

static void submit(const struct ksm_figure *figure, int64_t value, cdtime_t time) {
    const struct collectd_type *type = &collectd_types[figure->kind][figure->unit];
    value_list_t vl = VALUE_LIST_INIT;
    value_t v;

    if (figure->kind == KSM_KIND_COUNTER)
        v.derive = value / type->divisor;
    else
        v.gauge = (gauge_t)value / type->divisor;
    vl.values = &v;
    vl.values_len = 1;
    vl.time = time;
    sstrncpy(vl.plugin, "ksm", sizeof(vl.plugin));
    sstrncpy(vl.type, type->type, sizeof(vl.type));
    sstrncpy(vl.type_instance, figure->name, sizeof(vl.type_instance));
    plugin_dispatch_values(&vl);
}

static int ksm_read(void) {
    int status = ksm_reader_tick(&reader, clock_ms(CLOCK_MONOTONIC));
    cdtime_t now = cdtime();

    ksm_watch(&watch, &reader, tell);
    for (size_t id = 0; id < KSM_FIGURES; id++)
        if (ksm_figures[id].kind != KSM_KIND_INPUT && reader.sample.at[id].status == 0)
            submit(&ksm_figures[id], reader.sample.at[id].value, now);
    return status;
}

static int ksm_init(void) {
    char message[1024];
    int status = ksm_reader_init(&reader, options.root, options.settings);

    if (status != 0) {
        /* No failure of init: the daemon and its other plugins have nothing to do with it. */
        ksm_reader_why_not(status, options.root, message, sizeof(message));
        ERROR("ksm plugin: %s", message);
        return 0;
    }
    return plugin_register_read("ksm", ksm_read);
}

static int ksm_shutdown(void) {
    ksm_reader_close(&reader);
    return 0;
}

/* The one value of an option as text, whatever way it is written: 20, yes, "yes". */
static int value_text(const oconfig_item_t *item, char *text, size_t size) {
    const oconfig_value_t *value = item->values;

    if (item->values_num != 1 || item->children_num != 0)
        return -1;
    if (value->type == OCONFIG_TYPE_STRING)
        sstrncpy(text, value->value.string, size);
    else if (value->type == OCONFIG_TYPE_NUMBER)
        snprintf(text, size, "%.15g", value->value.number);
    else
        sstrncpy(text, value->value.boolean ? "yes" : "no", size);
    return 0;
}

/* Always 0: anything else would keep the whole daemon from starting. */
static int ksm_config(oconfig_item_t *block) {
    char message[1024];
    char text[PATH_MAX + 1];

    for (int i = 0; i < block->children_num; i++) {
        const oconfig_item_t *item = &block->children[i];
        if (value_text(item, text, sizeof(text)) != 0)
            ERROR("ksm plugin: option %s takes exactly one value; it stays as it was", item->key);
        else if (ksm_options_set(&options, KSM_COLLECTD, item->key, text, message,
                                 sizeof(message)) != 0)
            ERROR("ksm plugin: %s", message);
    }
    return 0;
}

__attribute__((visibility("default"))) void module_register(void) {
    ksm_options_init(&options);
    plugin_register_complex_config("ksm", ksm_config);
    plugin_register_init("ksm", ksm_init);
    plugin_register_shutdown("ksm", ksm_shutdown);
}
