/* SPDX-License-Identifier: MIT
 *
 * The collectd plugin "ksm". At each interval it reads the host's figures and dispatches each as a
 * value list ksm/TYPE-NAME: what the figures are is in common/metrics.def, which type each has in
 * types.def. A second callback, with an interval of its own, does the same for those who save, the
 * consumers: ksm_consumer-KIND-NAME/bytes-{saved,real}. The two may run at the same time, and share
 * nothing but the options.
 */
#include "collectd.h"

#include "plugin.h"
#include "utils/common/common.h"

#include <sys/resource.h>

#include "clock.h"
#include "consumers.h"
#include "options.h"
#include "reader.h"
#include "types.h"
#include "watch.h"

static struct ksm_options options;
static struct ksm_reader reader;
static struct ksm_watch watch;
static struct ksm_consumers consumers;

static void tell(bool bad, const char *message) {
    plugin_log(bad ? LOG_WARNING : LOG_NOTICE, "ksm plugin: %s", message);
}

static void submit(value_list_t *vl, value_t value, const char *type, const char *type_instance) {
    vl->values = &value;
    vl->values_len = 1;
    sstrncpy(vl->type, type, sizeof(vl->type));
    sstrncpy(vl->type_instance, type_instance, sizeof(vl->type_instance));
    plugin_dispatch_values(vl);
}

static void submit_figure(const struct ksm_figure *figure, int64_t value, cdtime_t time) {
    const struct collectd_type *type = &collectd_types[figure->kind][figure->unit];
    value_list_t vl = VALUE_LIST_INIT;
    value_t v;

    if (figure->kind == KSM_KIND_COUNTER)
        v.derive = value / type->divisor;
    else
        v.gauge = (gauge_t)value / type->divisor;
    vl.time = time;
    sstrncpy(vl.plugin, "ksm", sizeof(vl.plugin));
    submit(&vl, v, type->type, figure->name);
}

static int ksm_read(void) {
    int status = ksm_reader_tick(&reader, clock_ms(CLOCK_MONOTONIC));
    cdtime_t now = cdtime();

    ksm_watch(&watch, &reader, tell);
    for (size_t id = 0; id < KSM_FIGURES; id++)
        if (ksm_figures[id].kind != KSM_KIND_INPUT && reader.sample.at[id].status == 0)
            submit_figure(&ksm_figures[id], reader.sample.at[id].value, now);
    return status;
}

static void submit_consumer(const char *kind, const char *name, int64_t saved, int64_t real,
                            cdtime_t time) {
    value_list_t vl = VALUE_LIST_INIT;

    vl.time = time;
    sstrncpy(vl.plugin, "ksm_consumer", sizeof(vl.plugin));
    ssnprintf(vl.plugin_instance, sizeof(vl.plugin_instance), "%s%s%s", kind, *name ? "-" : "",
              name);
    submit(&vl, (value_t){.gauge = (gauge_t)saved}, "bytes", "saved");
    if (real >= 0)
        submit(&vl, (value_t){.gauge = (gauge_t)real}, "bytes", "real");
}

static void submit_table(const struct ksm_consumer_table *table) {
    cdtime_t now = cdtime();

    for (size_t i = 0; i < table->count; i++) {
        const struct ksm_consumer *c = &table->list[i];
        if (c->shown)
            submit_consumer(ksm_consumer_kinds[c->name.kind], c->name.text, c->saved, c->real, now);
    }
    if (table->other.processes > 0)
        submit_consumer("other", "other", table->other.saved, table->other.real, now);
    submit_consumer("unattributed", "", table->unattributed, -1, now);
}

/* In a thread of its own, once an interval: all that is due is done in one go. */
static int ksm_read_consumers(__attribute__((unused)) user_data_t *data) {
    int64_t now = clock_ms(CLOCK_MONOTONIC);
    enum ksm_consumers_result result =
        ksm_consumers_step(&consumers, ksm_consumers_registered(&consumers, now), now,
                           now + consumers.interval, INT64_MAX);

    if (result == KSM_CONSUMERS_READY && consumers.table.valid)
        submit_table(&consumers.table);
    ksm_consumers_news(&consumers, tell);
    return 0;
}

/* The daemon's descriptors are its own: a quarter of them at most. */
static int descriptors(void) {
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 0;
    return limit.rlim_cur / 4 < KSM_PROCESSES_KEPT ? (int)(limit.rlim_cur / 4) : KSM_PROCESSES_KEPT;
}

static int init_consumers(void) {
    int64_t interval = (int64_t)options.consumers_interval * 1000;

    if (interval < (int64_t)CDTIME_T_TO_MS(plugin_get_interval()))
        interval = (int64_t)CDTIME_T_TO_MS(plugin_get_interval());
    ksm_consumers_init(&consumers, &options, interval, descriptors());
    return plugin_register_complex_read(NULL, "ksm_consumer", ksm_read_consumers,
                                        MS_TO_CDTIME_T(interval), NULL);
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
    status = plugin_register_read("ksm", ksm_read);
    if (status == 0 && options.consumers > 0)
        status = init_consumers();
    return status;
}

static int ksm_shutdown(void) {
    ksm_consumers_close(&consumers);
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
