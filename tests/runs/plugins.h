/* SPDX-License-Identifier: MIT
 *
 * Both plugins whole in one program: ksm.plugin's main() under another name, ksm.so's objects
 * beside the recording daemon. Neither is confined: the tests themselves must be able to change
 * files.
 */
#ifndef KSM_TESTS_PLUGINS_H
#define KSM_TESTS_PLUGINS_H

/* ksm.plugin's main(). */
int ksm_plugin_main(int argc, char *argv[]);

/* Gives it a stdin on which an agent says this and no more, until it leaves. */
void plugins_agent_comes(const char *says);
void plugins_agent_leaves(void);

/* collectd's init callback, at the time 1700000000 s, with these options. */
int plugins_start_collectd(const char *root, int consumers, int interval);

#endif
