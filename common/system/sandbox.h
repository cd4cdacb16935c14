/* SPDX-License-Identifier: MIT
 *
 * Giving up every right that reading KSM's metrics does not need. A program that may read all
 * processes (cap_dac_read_search) must be of no use to anybody who gets hold of it.
 */
#ifndef KSM_SANDBOX_H
#define KSM_SANDBOX_H

#include <stddef.h>

/* Gives up, for good:
 *  - capabilities: all but cap_dac_read_search, if it is there, in every set; no_new_privs;
 *  - files (Landlock, Linux 5.13): all but reading below root/proc and root/sys/kernel/mm, and what
 *    the program's own threads do (/proc/self/task);
 *  - system calls (seccomp): all but those that a sample takes, which fail with EPERM. They never
 *    kill: a libc that comes to use another call must not end the monitoring. Memory cannot be made
 *    executable (on s390x it can by mmap, whose arguments no filter sees there). Threads can be
 * made, processes cannot. Where this file's capability gives more than the user has who started it,
 * what he says is not trusted: only procfs and sysfs are read then, and only they get a rule of
 * Landlock (pseudofs_trust_kernel_only()).
 * What a kernel does not have, or refuses, is left out. Every file that is to be read elsewhere
 * must be read before. Writes one line for the log that says what is in force, and of the rest why
 * not. */
void sandbox_enter(const char *root, char *report, size_t size);

/* The same for a program that reads the memory of all processes: cap_sys_ptrace is kept too, and
 * cap_sys_admin, which the kernel requires to show page frame numbers, but not if a file's
 * capability gave them; kcmp() is allowed. Files are not restricted, but none can
 * be opened for writing: Landlock forbids looking into any process that it does not restrict as
 * well (security/landlock: hook_ptrace_access_check). */
void sandbox_enter_for_memory(const char *root, char *report, size_t size);

#endif
