/* SPDX-License-Identifier: MIT */
#include "support/collectd_stub.h"

#include "runs/plugins.h"

#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void module_register(void);
void __wrap_sandbox_enter(const char *root, char *report, size_t size);

void __wrap_sandbox_enter(const char *root, char *report, size_t size) {
    (void)root;
    snprintf(report, size, "not confined: a test");
}

static int agent = -1; /* the agent's end of stdin */

void plugins_open_agent(const char *text) {
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) != 0 || dup2(ends[0], STDIN_FILENO) < 0)
        err(2, "pipe");
    close(ends[0]);
    agent = ends[1];
    if (write(agent, text, strlen(text)) < 0)
        err(2, "write");
}

void plugins_close_agent(void) {
    if (agent >= 0)
        close(agent);
    agent = -1;
}

int plugins_start_collectd(const char *root, int consumers, int interval) {
    memset(&stub, 0, sizeof(stub));
    stub.interval = TIME_T_TO_CDTIME_T(interval);
    stub.now = TIME_T_TO_CDTIME_T(1700000000);
    module_register();
    stub_configure("Root", stub_text(root));
    stub_configure("Consumers", stub_number(consumers));
    return stub.init();
}
