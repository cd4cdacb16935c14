/* SPDX-License-Identifier: MIT
 *
 * The collectd plugin "ksm". At each interval it reads the host's metrics and dispatches each as a
 * value list ksm/TYPE-NAME: what the metrics are is in common/metrics/metrics.def, which type each
 * has in types.def. A thread of its own does the same for the consumers, with an interval of its
 * own: ksm_consumer-KIND-NAME/bytes-{saved,real} and gauge-merge_rate. The two share nothing but
 * the options.
 */
#include "collectd.h"

#include "plugin.h"
#include "utils/common/common.h"

#include <poll.h>
#include <sys/eventfd.h>
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
static struct ksm_log_state report;
static struct ksm_consumers consumers;
static struct ksm_sampler sampler;
static pthread_t consumers_thread;
static bool consumers_ready; /* from the first read on: all plugins are ready to take values then */
static bool consumers_running;
static bool consumers_failed; /* to be started */
static int ending = -1;       /* an eventfd: the thread is to end */

static void log_news(bool bad, const char *message) {
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

static void submit_table(const struct ksm_consumer_table *table) {
    cdtime_t now = cdtime();

    for (size_t i = 0; i < table->count; i++) {
        const struct ksm_consumer *c = &table->list[i];
        if (c->shown)
            submit_consumer(ksm_consumer_kinds[c->name.kind], c, now);
    }
    if (table->other.processes > 0)
        submit_consumer("other", &table->other, now);
    submit_consumer("unattributed",
                    &(const struct ksm_consumer){
                        .saved = table->unattributed, .real = -1, .growth = KSM_GROWTH_UNKNOWN},
                    now);
}

/* Returns when to look next, ms. */
static int64_t read_consumers(int64_t now) {
    if (ksm_sampler_is_due(&sampler, now))
        ksm_sampler_begin(&sampler, sampler.current || ksm_consumers_registered(&consumers, now),
                          now);
    if (ksm_sampler_poll(&sampler, now) == KSM_SAMPLER_READY && consumers.table.valid)
        submit_table(&consumers.table);
    ksm_sampler_log(&sampler, log_news);
    int64_t next = ksm_sampler_next(&sampler);
    return next < sampler.due ? next : sampler.due;
}

/* No read callback: the daemon waits for those when it ends, and has few threads for them. */
static void *run_consumers(__attribute__((unused)) void *data) {
    struct pollfd pollfd = {.fd = ending, .events = POLLIN};
    int64_t pause = 0;

    while (poll(&pollfd, 1, pause > 0 ? (int)pause : 0) <= 0)
        pause = read_consumers(clock_ms(CLOCK_MONOTONIC)) - clock_ms(CLOCK_MONOTONIC);
    ksm_sampler_close(&sampler);
    return NULL;
}

/* The daemon's descriptors are its own: a quarter of them at most. */
static int descriptors(void) {
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 0;
    return limit.rlim_cur / 4 < KSM_KEPT_DESCRIPTORS_MAX ? (int)(limit.rlim_cur / 4)
                                                         : KSM_KEPT_DESCRIPTORS_MAX;
}

static void prepare_consumers(void) {
    int64_t interval = (int64_t)options.consumers_interval * 1000;

    if (interval < (int64_t)CDTIME_T_TO_MS(plugin_get_interval()))
        interval = (int64_t)CDTIME_T_TO_MS(plugin_get_interval());
    ksm_consumers_init(&consumers, &options, interval, descriptors());
    ksm_sampler_init(&sampler, &consumers);
    ksm_sampler_log(&sampler, log_news); /* this kernel may tell nothing of processes */
}

/* All signals are for the daemon's own threads. */
static int start_consumers_thread(void) {
    sigset_t all, before;

    ending = eventfd(0, EFD_CLOEXEC);
    if (ending < 0)
        return -1;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int status = pthread_create(&consumers_thread, NULL, run_consumers, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (status != 0)
        close(ending);
    return status;
}

/* Where means are lacking for the moment the next read tries it again. */
static void start_consumers(void) {
    if (consumers_running || options.consumers == 0)
        return;
    if (!consumers_ready)
        prepare_consumers();
    consumers_ready = true;
    if (!consumers.table.known)
        return;
    consumers_running = start_consumers_thread() == 0;
    if (consumers_failed == consumers_running)
        log_news(!consumers_running,
                 consumers_running
                     ? "the thread for consumers has started; consumers are reported"
                     : "the thread for consumers cannot start; consumers are not reported");
    consumers_failed = !consumers_running;
}

static int ksm_read(void) {
    int status = ksm_reader_tick(&reader, clock_ms(CLOCK_MONOTONIC));
    cdtime_t now = cdtime();

    ksm_log_metrics(&report, &reader, log_news);
    for (size_t id = 0; id < KSM_METRICS; id++)
        if (ksm_metrics[id].kind != KSM_KIND_INPUT && reader.sample.at[id].status == 0)
            submit_metric(&ksm_metrics[id], reader.sample.at[id].value, now);
    start_consumers();
    return status;
}

static int ksm_init(void) {
    char message[PATH_MAX + 256];

    if (ksm_options_check_root(&options, message, sizeof(message)) != 0) {
        ERROR("ksm plugin: %s; nothing is reported", message);
        return 0;
    }
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
    if (consumers_running && eventfd_write(ending, 1) == 0) {
        pthread_join(consumers_thread, NULL);
        close(ending);
    }
    consumers_running = consumers_ready = false;
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
            ERROR("ksm plugin: option %s requires exactly one value; the previous value is kept",
                  item->key);
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
