/* SPDX-License-Identifier: MIT
 *
 * become UID dac_read_search|- PROGRAM [ARGUMENT]...
 *     Runs PROGRAM as that user, with that capability or none.
 * become granter PROGRAM
 *     Gives the file the capability, as the package of ksm.plugin does.
 *
 * Needs root and nothing beside libc, for a machine without any other program.
 */
#include <endian.h>
#include <err.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

static void keep(unsigned long cap) {
    const uint32_t set = 1U << cap;
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{set, set, set}, {0, 0, 0}};

    if (syscall(SYS_capset, &header, data) != 0 ||
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) != 0)
        err(EXIT_FAILURE, "capability %lu", cap);
}

static int grant(const char *path) {
    const struct vfs_cap_data data = {
        .magic_etc = htole32(VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE),
        .data = {{.permitted = htole32(1U << CAP_DAC_READ_SEARCH)}},
    };

    if (setxattr(path, "security.capability", &data, sizeof(data), 0) != 0)
        err(EXIT_FAILURE, "%s", path);
    return EXIT_SUCCESS;
}

int main(int argc, char *argv[]) {
    if (argc == 3 && strcmp(argv[1], "granter") == 0)
        return grant(argv[2]);
    if (argc < 4)
        errx(EXIT_FAILURE,
             "usage: become UID dac_read_search|- PROGRAM [ARGUMENT]... | granter PROGRAM");
    const uid_t uid = (uid_t)strtoul(argv[1], NULL, 10);
    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0 || setgroups(0, NULL) != 0 || setgid(uid) != 0 ||
        setuid(uid) != 0)
        err(EXIT_FAILURE, "%s", argv[1]);
    if (strcmp(argv[2], "dac_read_search") == 0)
        keep(CAP_DAC_READ_SEARCH);
    execvp(argv[3], argv + 3);
    err(EXIT_FAILURE, "%s", argv[3]);
}
