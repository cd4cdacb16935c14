/* SPDX-License-Identifier: MIT */
#include "collectd_stub.h"

#include "utils/common/common.h"

#include <dlfcn.h>
#include <err.h>
#include <libgen.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct stub stub;
static void *handle;

/* The daemon has several read threads, which call the two read callbacks in parallel. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local bool in_read_callback;

void stub_clear(void) {
    pthread_mutex_lock(&lock);
    stub.value_count = 0;
    stub.message_count = 0;
    pthread_mutex_unlock(&lock);
}

int stub_read(void) {
    in_read_callback = true;
    int status = stub.read();
    in_read_callback = false;
    return status;
}

int stub_read_consumers(void) {
    user_data_t user_data = {.data = NULL};

    in_read_callback = true;
    int status = stub.read_consumers(&user_data);
    in_read_callback = false;
    return status;
}

static int count_tables(void) {
    pthread_mutex_lock(&lock);
    int count = stub.tables;
    pthread_mutex_unlock(&lock);
    return count;
}

int stub_await_tables(int count) {
    for (int ms = 0; count_tables() < count && ms < 60000; ms++) {
        if (stub.read_consumers)
            stub_read_consumers();
        usleep(1000);
    }
    return count_tables();
}

void *stub_handle(void) {
    return handle;
}

static void find(char *path, size_t size) {
    const char *given = getenv("KSM_SO");
    char program[PATH_MAX] = "";

    if (given) {
        snprintf(path, size, "%s", given);
        return;
    }
    if (readlink("/proc/self/exe", program, sizeof(program) - 1) < 0)
        err(2, "/proc/self/exe");
    snprintf(path, size, "%s/../../../ksm.so", dirname(program));
}

const char *stub_load(void) {
    char path[PATH_MAX + 16];
    void (*module_register)(void);

    find(path, sizeof(path));
    stub.interval = TIME_T_TO_CDTIME_T(10);
    stub.now = TIME_T_TO_CDTIME_T(1700000000);
    handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle)
        return dlerror();
    void *symbol = dlsym(handle, "module_register");
    if (!symbol)
        return dlerror();
    memcpy(&module_register, &symbol, sizeof(symbol));
    module_register();
    return NULL;
}

oconfig_value_t stub_text(const char *text) {
    return (oconfig_value_t){.value.string = (char *)(uintptr_t)text, .type = OCONFIG_TYPE_STRING};
}

oconfig_value_t stub_number(double number) {
    return (oconfig_value_t){.value.number = number, .type = OCONFIG_TYPE_NUMBER};
}

oconfig_value_t stub_boolean(int boolean) {
    return (oconfig_value_t){.value.boolean = boolean, .type = OCONFIG_TYPE_BOOLEAN};
}

int stub_configure_values(const char *key, int count, oconfig_value_t *values) {
    char *own = (char *)(uintptr_t)key;
    oconfig_item_t option = {.key = own, .values = values, .values_num = count};
    oconfig_item_t block = {.key = own, .children = &option, .children_num = 1};

    return stub.config(&block);
}

int stub_configure(const char *key, oconfig_value_t value) {
    return stub_configure_values(key, 1, &value);
}

/* From here on: what ksm.so takes from the daemon. */
#pragma GCC visibility push(default)

static int registered(const char *what, const char *name) {
    size_t len = strlen(stub.names);

    snprintf(stub.names + len, sizeof(stub.names) - len, "%s:%s ", what, name);
    return 0;
}

int plugin_register_complex_config(const char *type, int (*callback)(oconfig_item_t *)) {
    stub.config = callback;
    return registered("config", type);
}

int plugin_register_init(const char *name, plugin_init_cb callback) {
    stub.init = callback;
    return registered("init", name);
}

int plugin_register_read(const char *name, int (*callback)(void)) {
    stub.read = callback;
    return registered("read", name);
}

int plugin_register_complex_read(const char *group, const char *name, plugin_read_cb callback,
                                 cdtime_t interval, user_data_t const *user_data) {
    if (!group || user_data)
        errx(2, "%s: registered without a group, or with user data", name);
    stub.read_consumers = callback;
    stub.poll_interval = interval;
    return registered("read", name);
}

int plugin_register_shutdown(const char *name, plugin_shutdown_cb callback) {
    stub.shutdown = callback;
    return registered("shutdown", name);
}

cdtime_t plugin_get_interval(void) {
    return stub.interval;
}

/* A clock on which no two calls are the same. */
cdtime_t cdtime(void) {
    pthread_mutex_lock(&lock);
    cdtime_t now = stub.now += TIME_T_TO_CDTIME_T(1);
    pthread_mutex_unlock(&lock);
    return now;
}

void plugin_log(int level, const char *format, ...) {
    va_list words;

    pthread_mutex_lock(&lock);
    if (stub.message_count == STUB_MESSAGES)
        errx(2, "more than %d messages", STUB_MESSAGES);
    va_start(words, format);
    vsnprintf(stub.messages[stub.message_count].text, sizeof(stub.messages[0].text), format, words);
    va_end(words);
    stub.messages[stub.message_count++].severity = level;
    pthread_mutex_unlock(&lock);
}

/* Debian's daemon aborts if there is not one value. */
int plugin_dispatch_values(value_list_t const *vl) {
    if (!in_read_callback)
        errx(2, "%s-%s: dispatched outside of a read callback", vl->type, vl->type_instance);
    if (!vl->values || vl->values_len != 1)
        errx(2, "%s-%s: no value, or more than one", vl->type, vl->type_instance);
    pthread_mutex_lock(&lock);
    if (stub.value_count == STUB_VALUES)
        errx(2, "more than %d values", STUB_VALUES);
    struct stub_value *value = &stub.values[stub.value_count++];
    *value = (struct stub_value){.time = vl->time, .interval = vl->interval, .value = *vl->values};
    memcpy(value->plugin, vl->plugin, sizeof(value->plugin));
    memcpy(value->plugin_instance, vl->plugin_instance, sizeof(value->plugin_instance));
    memcpy(value->type, vl->type, sizeof(value->type));
    memcpy(value->type_instance, vl->type_instance, sizeof(value->type_instance));
    memcpy(value->host, vl->host, sizeof(value->host));
    stub.tables += strcmp(vl->plugin_instance, "unattributed") == 0;
    pthread_mutex_unlock(&lock);
    return 0;
}

char *sstrncpy(char *dest, const char *src, size_t n) {
    snprintf(dest, n, "%s", src);
    return dest;
}

int ssnprintf(char *str, size_t size, char const *format, ...) {
    va_list words;

    va_start(words, format);
    int len = vsnprintf(str, size, format, words);
    va_end(words);
    return len;
}

#pragma GCC visibility pop
