/* SPDX-License-Identifier: MIT
 *
 * Both plugins in one program: ksm.plugin's main() under another name, and ksm.so's objects with
 * the stub of collectd. Neither enters the sandbox, because the tests change files.
 */
#ifndef KSM_TESTS_PLUGINS_H
#define KSM_TESTS_PLUGINS_H

/* ksm.plugin's main(). */
int ksm_plugin_main(int argc, char *argv[]);

/* Makes stdin a pipe from an agent that has written text, and closes it. */
void plugins_open_agent(const char *text);
void plugins_close_agent(void);

/* collectd's init callback, at the time 1700000000 s, with these options. */
int plugins_start_collectd(const char *root, int consumers, int interval);

#endif
