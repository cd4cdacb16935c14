/* SPDX-License-Identifier: MIT
 *
 * The collectd plugin "ksm": two read callbacks, which share nothing but the options.
 *
 * ksm_read() dispatches the host's metrics as ksm/TYPE-NAME: metrics.def lists them, types.def has
 * the type of each. read_consumers() dispatches savings by consumer, with an interval of its own,
 * as ksm_consumer-KIND-NAME/bytes-{saved,real} and gauge-merge_rate.
 *
 * Values are dispatched in read callbacks alone. collectd 6.0 unregisters its writers before it
 * calls shutdown callbacks (plugin_shutdown_all() in plugin.c): a thread that dispatches a value
 * after that may wait for ever. It also logs an error for each value from such a thread.
 */
#include "collectd.h"

#include "plugin.h"
#include "utils/common/common.h"

#include <sys/resource.h>

#include "consumers/consumers.h"
#include "consumers/sampler.h"
#include "log_state.h"
#include "metrics/reader.h"
#include "options.h"
#include "system/clock.h"
#include "types.h"

static struct ksm_options options;
static struct ksm_reader reader;
static bool is_reader_open;
static struct ksm_log_state log_state;
static struct ksm_consumers consumers;
static struct ksm_sampler sampler;

static void log_message(bool bad, const char *message) {
    plugin_log(bad ? LOG_WARNING : LOG_NOTICE, "ksm plugin: %s", message);
}

static void submit(value_list_t *vl, value_t value, const char *type, const char *type_instance) {
    vl->values = &value;
    vl->values_len = 1;
    sstrncpy(vl->type, type, sizeof(vl->type));
    sstrncpy(vl->type_instance, type_instance, sizeof(vl->type_instance));
    plugin_dispatch_values(vl);
}

static void submit_metric(const struct ksm_metric *metric, int64_t value, cdtime_t time) {
    const struct collectd_type *type = &collectd_types[metric->kind][metric->unit];
    value_list_t vl = VALUE_LIST_INIT;
    value_t v;

    if (metric->kind == KSM_KIND_COUNTER)
        v.derive = value / type->divisor;
    else
        v.gauge = (gauge_t)value / type->divisor;
    vl.time = time;
    sstrncpy(vl.plugin, "ksm", sizeof(vl.plugin));
    submit(&vl, v, type->type, metric->name);
}

static void submit_consumer(const char *kind, const struct ksm_consumer *c, cdtime_t time) {
    const char *name = c->name.text;
    value_list_t vl = VALUE_LIST_INIT;

    vl.time = time;
    vl.interval = MS_TO_CDTIME_T(consumers.table.interval); /* else the daemon's own */
    sstrncpy(vl.plugin, "ksm_consumer", sizeof(vl.plugin));
    ssnprintf(vl.plugin_instance, sizeof(vl.plugin_instance), "%s%s%s", kind, *name ? "-" : "",
              name);
    submit(&vl, (value_t){.gauge = (gauge_t)c->saved}, "bytes", "saved");
    if (c->real >= 0)
        submit(&vl, (value_t){.gauge = (gauge_t)c->real}, "bytes", "real");
    if (c->growth != KSM_GROWTH_UNKNOWN)
        submit(&vl, (value_t){.gauge = (gauge_t)c->growth / ksm_unit_scale[KSM_UNIT_PAGE_RATE]},
               "gauge", "merge_rate");
}

static void submit_owners(int64_t owners, cdtime_t time) {
    value_list_t vl = VALUE_LIST_INIT;

    vl.time = time;
    vl.interval = MS_TO_CDTIME_T(consumers.table.interval);
    sstrncpy(vl.plugin, "ksm", sizeof(vl.plugin));
    submit(&vl, (value_t){.gauge = (gauge_t)owners}, "gauge", "owners");
}

/* Values have the time at which the sample began, not that of the poll that found it complete. */
static void submit_table(const struct ksm_consumer_table *table) {
    int64_t age_ms = clock_ms(CLOCK_MONOTONIC) - sampler.began;
    cdtime_t time = cdtime() - MS_TO_CDTIME_T(age_ms);

    if (table->owners >= 0)
        submit_owners(table->owners, time);
    for (size_t i = 0; i < table->count; i++) {
        const struct ksm_consumer *c = &table->list[i];
        if (c->shown)
            submit_consumer(ksm_consumer_kinds[c->name.kind], c, time);
    }
    if (table->other.processes > 0)
        submit_consumer("other", &table->other, time);
    submit_consumer("unattributed",
                    &(const struct ksm_consumer){
                        .saved = table->unattributed, .real = -1, .growth = KSM_GROWTH_UNKNOWN},
                    time);
}

/* Starts a sample when one is due, and dispatches it once it is complete. The sampler's threads do
 * what may block; they inherit the signal mask, because signals are for the daemon's threads.
 * Always 0: after another status the daemon would call this less and less often. */
static int read_consumers(__attribute__((unused)) user_data_t *user_data) {
    int64_t now = clock_ms(CLOCK_MONOTONIC);
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (ksm_sampler_is_due(&sampler, now))
        ksm_sampler_begin(&sampler, sampler.busy || ksm_consumers_has_pages(&consumers, now), now);
    if (ksm_sampler_poll(&sampler, now) == KSM_SAMPLER_READY && consumers.table.valid)
        submit_table(&consumers.table);
    ksm_sampler_log(&sampler, log_message);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return 0;
}

/* The process list may keep a quarter of the daemon's descriptors open. */
static int max_descriptors(void) {
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 0;
    return limit.rlim_cur / 4 < KSM_KEPT_DESCRIPTORS_MAX ? (int)(limit.rlim_cur / 4)
                                                         : KSM_KEPT_DESCRIPTORS_MAX;
}

/* Polls are twice as frequent as the sampler's read timeout, and divide the interval, so that
 * samples begin on time. */
static cdtime_t poll_interval(int64_t interval_ms) {
    enum { POLL_MS = 500, MIN_POLLS = 10 };
    int64_t polls = interval_ms / POLL_MS > MIN_POLLS ? interval_ms / POLL_MS : MIN_POLLS;

    return MS_TO_CDTIME_T(interval_ms) / (cdtime_t)polls;
}

static void register_consumers(void) {
    int64_t interval_ms = (int64_t)options.consumers_interval * 1000;

    if (options.consumers == 0)
        return;
    if (interval_ms < (int64_t)CDTIME_T_TO_MS(plugin_get_interval()))
        interval_ms = (int64_t)CDTIME_T_TO_MS(plugin_get_interval());
    ksm_consumers_init(&consumers, &options, interval_ms, max_descriptors());
    ksm_sampler_init(&sampler, &consumers);
    ksm_sampler_log(&sampler, log_message); /* this kernel may not report processes */
    if (consumers.table.enabled)
        plugin_register_complex_read("ksm", "ksm/consumers", read_consumers,
                                     poll_interval(interval_ms), NULL);
}

static int ksm_read(void) {
    int status = ksm_reader_tick(&reader, clock_ms(CLOCK_MONOTONIC));
    cdtime_t now = cdtime();

    ksm_log_metrics(&log_state, &reader, log_message);
    for (size_t id = 0; id < KSM_METRICS; id++)
        if (ksm_metrics[id].kind != KSM_KIND_INPUT && reader.sample.values[id].status == 0)
            submit_metric(&ksm_metrics[id], reader.sample.values[id].value, now);
    return status;
}

/* 0 without KSM too: the daemon and its other plugins have nothing to do with that. */
static int ksm_init(void) {
    char message[PATH_MAX + 256];

    if (ksm_options_check_root(&options, message, sizeof(message)) != 0) {
        ERROR("ksm plugin: %s; nothing is reported", message);
        return 0;
    }
    int status = ksm_reader_init(&reader, options.root, options.settings);

    if (status != 0) {
        ksm_reader_describe_error(status, options.root, message, sizeof(message));
        ERROR("ksm plugin: %s", message);
        return 0;
    }
    is_reader_open = true;
    register_consumers();
    return plugin_register_read("ksm", ksm_read);
}

/* The daemon has stopped its read threads. */
static int ksm_shutdown(void) {
    if (consumers.table.enabled)
        ksm_sampler_close(&sampler);
    if (is_reader_open)
        ksm_reader_close(&reader);
    is_reader_open = false;
    return 0;
}

/* A value as text, whatever way it is written: 20, yes, "yes". */
static void value_text(const oconfig_value_t *value, char *text, size_t size) {
    if (value->type == OCONFIG_TYPE_STRING)
        sstrncpy(text, value->value.string, size);
    else if (value->type == OCONFIG_TYPE_NUMBER)
        snprintf(text, size, "%.15g", value->value.number);
    else
        sstrncpy(text, value->value.boolean ? "yes" : "no", size);
}

/* The values of an option as text, with commas in between. */
static void item_text(const oconfig_item_t *item, char *text, size_t size) {
    size_t len = 0;

    for (int i = 0; i < item->values_num && len + 1 < size; i++) {
        if (i > 0)
            text[len++] = ',';
        value_text(&item->values[i], text + len, size - len);
        len += strlen(text + len);
    }
}

static void set_option(const oconfig_item_t *item) {
    const bool is_list = ksm_option_is_list(KSM_COLLECTD, item->key);
    char message[1024];
    char text[PATH_MAX + 1];

    if (item->children_num != 0 || item->values_num < 1 || (item->values_num > 1 && !is_list)) {
        ERROR("ksm plugin: option %s is ignored: it requires %s", item->key,
              is_list ? "one or more values, not a block" : "exactly one value");
        return;
    }
    item_text(item, text, sizeof(text));
    if (ksm_options_set(&options, KSM_COLLECTD, item->key, text, message, sizeof(message)) != 0)
        ERROR("ksm plugin: %s", message);
}

/* Always 0: anything else would keep the whole daemon from starting. */
static int ksm_config(oconfig_item_t *block) {
    for (int i = 0; i < block->children_num; i++)
        set_option(&block->children[i]);
    return 0;
}

__attribute__((visibility("default"))) void module_register(void) {
    ksm_options_init(&options);
    plugin_register_complex_config("ksm", ksm_config);
    plugin_register_init("ksm", ksm_init);
    plugin_register_shutdown("ksm", ksm_shutdown);
}
