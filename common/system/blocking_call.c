/* SPDX-License-Identifier: MIT */
#include "system/blocking_call.h"

#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "system/parse.h"
#include "system/pseudofs.h"

void blocking_call_set_thread(struct blocking_call *guard) {
    atomic_store(&guard->thread, (int)syscall(SYS_gettid));
}

static bool is_runnable(struct blocking_call *guard) {
    const int thread = atomic_load(&guard->thread);
    struct pseudofs_file file;
    struct parse_stat stat;
    char name[32];
    char buf[1024];

    snprintf(name, sizeof(name), "%d/stat", thread);
    pseudofs_init(&file, "", "proc/self/task", name);
    ssize_t n = pseudofs_read(&file, 0, true, buf, sizeof(buf));
    pseudofs_close(&file);
    return n > 0 && parse_stat(buf, (size_t)n, &stat) == 0 && stat.state == 'R';
}

bool blocking_call_abandon(struct blocking_call *guard, int64_t since) {
    int64_t reading = atomic_load(&guard->reading);

    return reading > 0 && reading <= since && !is_runnable(guard) &&
           atomic_compare_exchange_strong(&guard->reading, &reading, -1);
}
