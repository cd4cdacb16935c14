/* SPDX-License-Identifier: MIT
 *
 * Gives up all rights that reading KSM's metrics does not need, so that an attacker who takes over
 * a program with cap_dac_read_search gains little. Call one of the two functions once, after every
 * file outside of /proc and /sys/kernel/mm has been read. They cannot fail: what the kernel does
 * not support or refuses is left out, and the report says so.
 */
#ifndef KSM_SANDBOX_H
#define KSM_SANDBOX_H

#include <stddef.h>

/* Keeps only:
 *  - capabilities: cap_dac_read_search, if the program has it; sets no_new_privs;
 *  - files (Landlock, Linux 5.13): reading below root/proc, root/sys/kernel/mm and /proc/self/task;
 *  - system calls (seccomp): those of a sample. Others fail with EPERM and do not kill, because a
 *    later libc may use other calls. Memory cannot be made executable (on s390x mmap() can, because
 *    a filter does not see its arguments). New threads are allowed, new processes are not.
 * If a file capability gives the program more rights than its user has, root is not trusted: then
 * only procfs and sysfs are read (pseudofs_trust_kernel_only()), and Landlock allows no others.
 * Writes one line for the log into report: what is in force, and why the rest is not. */
void sandbox_enter(const char *root, char *report, size_t size);

/* The same for a program that reads the memory of all processes. It also keeps cap_sys_ptrace and
 * cap_sys_admin (which the kernel requires to show page frame numbers), unless they come from a
 * file capability, and kcmp(). Files are not restricted, because Landlock would forbid reading
 * processes outside of it (security/landlock: hook_ptrace_access_check). But none can be opened for
 * writing. The program is no longer dumpable: no core dump has what it reads, and
 * its own files in /proc belong to root. */
void sandbox_enter_for_memory(const char *root, char *report, size_t size);

#endif
