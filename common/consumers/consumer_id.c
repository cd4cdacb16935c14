/* SPDX-License-Identifier: MIT */
#include "consumers/consumer_id.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "system/span.h"

const char *const ksm_consumer_kinds[KSM_CONSUMER_KIND_COUNT] = {
#define X(kind) #kind,
    KSM_CONSUMER_KINDS(X)
#undef X
};

enum { UID_DIGITS = 10, USER_PREFIX_SIZE = sizeof("user-:") + UID_DIGITS };

static const struct span empty_span = {NULL, 0};

/* The user whose slice or session a process runs in. */
struct user {
    bool known;
    struct span id; /* uid in decimal; empty if the cgroup shows only a session */
};

/* ---- the command line of a virtual machine ---- */

static struct span base_name(struct span path) {
    struct span base = path;

    while (path.len > 0) {
        base = path;
        span_take_until(&path, '/');
        if (path.len == 0)
            break;
    }
    return base;
}

/* Returns the argument after option, or the rest of "option=...". */
static struct span argument(struct span args, const char *option) {
    while (args.len > 0) {
        struct span arg = span_take_until(&args, '\0');
        if (span_equals(arg, option))
            return span_take_until(&args, '\0');
        if (span_take_prefix(&arg, option) && span_take_prefix(&arg, "="))
            return arg;
    }
    return empty_span;
}

/* Returns the guest's name in QEMU's -name: "web", "web,debug-threads=on" or "guest=web,...". QEMU
 * doubles a comma in a name; buf receives the name with single ones. */
static struct span qemu_guest(struct span value, char *buf, size_t size) {
    bool first = true;

    while (value.len > 0) {
        struct span out = {buf, 0};
        while (value.len > 0 && out.len < size) {
            if (*value.text == ',' && !(value.len > 1 && value.text[1] == ','))
                break;
            size_t used = *value.text == ',' ? 2 : 1;
            buf[out.len++] = *value.text;
            value.text += used;
            value.len -= used;
        }
        if (span_take_prefix(&out, "guest=") ||
            (first && (out.len == 0 || !memchr(buf, '=', out.len))))
            return out;
        first = false;
        span_take_until(&value, ',');
    }
    return value;
}

/* Returns whether a program has that name, or the name of the project's release binaries. */
static bool is_called(struct span program, const char *name, const char *release) {
    return span_equals(program, name) ||
           (span_take_prefix(&program, name) && span_take_prefix(&program, release));
}

/* cloud-hypervisor's socket: "/run/x/web.sock", "path=/run/x/web.sock", or "fd=3", which has no
 * name. Kata Containers use "/run/vc/vm/ID/clh-api.sock". */
static struct span socket_name(struct span socket) {
    if (span_take_prefix(&socket, "fd="))
        return empty_span;
    span_take_prefix(&socket, "path=");
    struct span name = base_name(socket);
    if (span_equals(name, "clh-api.sock") || span_equals(name, "ch-api.sock")) {
        socket.len -= name.len;
        span_take_suffix(&socket, "/");
        name = base_name(socket);
    }
    span_take_suffix(&name, ".sock");
    return name;
}

/* crosvm's socket is -s or --socket (src/crosvm/cmdline.rs). Its devices are processes of their
 * own, with the same command line. */
static struct span crosvm_name(struct span args) {
    const struct span socket = argument(args, "-s");

    return socket_name(socket.len > 0 ? socket : argument(args, "--socket"));
}

/* Returns the machine's name in a command line; *is_vm: whether the program runs a machine. */
static struct span machine_name(struct span args, bool *is_vm, char *buf, size_t size) {
    struct span program = base_name(span_take_until(&args, '\0'));
    struct span qemu = program;

    *is_vm = true;
    if (span_take_prefix(&qemu, "qemu-system-") || span_equals(program, "qemu-kvm") ||
        span_equals(program, "kvm")) {
        struct span value = argument(args, "-name");
        return qemu_guest(value.len > 0 ? value : argument(args, "--name"), buf, size);
    }
    if (is_called(program, "firecracker", "-v"))
        return argument(args, "--id");
    if (is_called(program, "cloud-hypervisor", "-static"))
        return socket_name(argument(args, "--api-socket"));
    if (span_equals(program, "crosvm"))
        return crosvm_name(args);
    /* Kata Containers: with Dragonball, the guest's memory is in this process (src/runtime-rs). */
    if (span_equals(program, "containerd-shim-kata-v2"))
        return argument(args, "-id");
    *is_vm = false;
    return empty_span;
}

/* ---- the path of a cgroup ---- */

/* Returns whether s is not empty and has these characters only. */
static bool consists_of(struct span s, const char *characters) {
    for (size_t i = 0; i < s.len; i++)
        if (!memchr(characters, s.text[i], strlen(characters)))
            return false;
    return s.len > 0;
}

/* Removes libvirt's prefix "qemu-3-" or "lxc-3-". */
static bool take_libvirt(struct span *name, const char *driver) {
    struct span s = *name;

    if (!span_take_prefix(&s, driver) || !span_take_prefix(&s, "-"))
        return false;
    struct span number = span_take_until(&s, '-');
    if (!consists_of(number, "0123456789") || s.len == 0)
        return false;
    *name = s;
    return true;
}

/* "docker-ID.scope", "cri-containerd-ID.scope", "libpod-ID", "pod:cri-containerd:ID", "ID": the id
 * is 64 hex digits. conmon monitors a container from outside and is not part of it. */
static struct span container_id(struct span part) {
    enum { ID = 64, SHORT_ID = 12 };

    span_take_suffix(&part, ".scope");
    if (part.len < ID)
        return empty_span;
    struct span id = {part.text + part.len - ID, ID};
    struct span prefix = {part.text, part.len - ID};
    if (!consists_of(id, "0123456789abcdef") || span_take_suffix(&prefix, "conmon-"))
        return empty_span;
    if (prefix.len > 0 && !span_take_suffix(&prefix, "-") && !span_take_suffix(&prefix, ":"))
        return empty_span;
    return (struct span){id.text, SHORT_ID};
}

/* A scope of systemd-machined: a machine or container of libvirt, else one of systemd-nspawn. */
static bool identify_machined(struct span part, enum ksm_consumer_kind *kind, struct span *name) {
    if (!span_take_prefix(&part, "machine-") || !span_take_suffix(&part, ".scope") || part.len == 0)
        return false;
    *kind = take_libvirt(&part, "qemu") ? KSM_CONSUMER_vm : KSM_CONSUMER_container;
    if (*kind == KSM_CONSUMER_container)
        take_libvirt(&part, "lxc");
    *name = part;
    return true;
}

/* Returns the name in Proxmox's "qemu.slice/100.scope" or libvirt's "qemu-3-web.libvirt-qemu". */
static struct span machine_of_directory(struct span parent, struct span part) {
    struct span name = part;

    if (span_equals(parent, "qemu.slice") && span_take_suffix(&name, ".scope"))
        return name;
    if (!span_take_suffix(&name, ".libvirt-qemu"))
        return empty_span;
    take_libvirt(&name, "qemu");
    return name;
}

/* Returns the name of a container of libvirt, LXC or systemd-nspawn, or a container's id. */
static struct span container_of_directory(struct span parent, struct span part) {
    struct span name = part;
    struct span unit = part;

    if (span_take_suffix(&name, ".libvirt-lxc")) {
        take_libvirt(&name, "lxc");
        return name;
    }
    if (span_take_prefix(&name, "lxc.payload."))
        return name;
    if (span_take_prefix(&unit, "systemd-nspawn@") && span_take_suffix(&unit, ".service"))
        return unit;
    if (span_equals(parent, "lxc") || span_equals(parent, "lxc.payload"))
        return part;
    /* Podman's pods have ids like containers, which are below them as "libpod-ID". */
    if (span_equals(parent, "libpod_parent") && !span_take_prefix(&name, "libpod-"))
        return empty_span;
    return container_id(part);
}

/* Identifies a machine or container by one directory of a path and its parent. */
static bool identify_directory(struct span parent, struct span part, enum ksm_consumer_kind *kind,
                               struct span *name) {
    if (identify_machined(part, kind, name))
        return true;
    *name = machine_of_directory(parent, part);
    *kind = name->len > 0 ? KSM_CONSUMER_vm : KSM_CONSUMER_container;
    if (name->len == 0)
        *name = container_of_directory(parent, part);
    return name->len > 0;
}

/* systemd writes characters that a unit's name cannot contain as "\x2d". */
static bool take_escape(struct span *s, char *byte) {
    static const char digits[] = "0123456789abcdef";
    struct span rest = *s;

    if (!span_take_prefix(&rest, "\\x") || rest.len < 2)
        return false;
    const char *high = memchr(digits, rest.text[0], 16);
    const char *low = memchr(digits, rest.text[1], 16);
    if (!high || !low)
        return false;
    *byte = (char)((high - digits) * 16 + (low - digits));
    *s = (struct span){rest.text + 2, rest.len - 2};
    return true;
}

static struct span undo_escapes(struct span s, char *buf, size_t size) {
    struct span out = {buf, 0};

    for (; s.len > 0 && out.len < size; out.len++) {
        if (take_escape(&s, &buf[out.len]))
            continue;
        buf[out.len] = *s.text++;
        s.len--;
    }
    return out;
}

/* Returns whether a path begins with a user's slice, manager or session, and sets *uid, which is
 * empty if the path shows only a session. Only the start counts, which systemd and logind name:
 * containers and services choose the names of their cgroups below it. In a cgroup namespace the
 * path of an outside process begins with "..". */
static bool begins_in_user(struct span path, struct span *uid) {
    struct span part = empty_span;

    while (path.len > 0 &&
           (part.len == 0 || span_equals(part, "..") || span_equals(part, "user.slice")))
        part = span_take_until(&path, '/');
    *uid = part;
    if ((span_take_prefix(uid, "user-") && span_take_suffix(uid, ".slice")) ||
        (span_take_prefix(uid, "user@") && span_take_suffix(uid, ".service")))
        return consists_of(*uid, "0123456789") && uid->len <= UID_DIGITS;
    uid->len = 0;
    return span_take_prefix(&part, "session-") && span_take_suffix(&part, ".scope");
}

/* Identifies a consumer by the path of a cgroup: its outermost machine or container, else its last
 * unit, if that is a service and not a scope (a login session, a desktop program). */
static bool identify_path(struct span path, enum ksm_consumer_kind *kind, struct span *name,
                          char *buf, size_t size) {
    struct span parent = empty_span;
    struct span service = empty_span;

    while (path.len > 0) {
        char plain[256];
        struct span part = span_take_until(&path, '/');
        struct span unit = part;
        if (identify_directory(parent, undo_escapes(part, plain, sizeof(plain)), kind, name)) {
            const size_t len = name->len < size ? name->len : size;
            memcpy(buf, name->text, len);
            *name = (struct span){buf, len};
            return true;
        }
        if (span_take_suffix(&unit, ".service"))
            service = unit;
        else if (span_take_suffix(&unit, ".scope") && !span_equals(unit, "init"))
            service.len = 0;
        parent = part;
    }
    *kind = KSM_CONSUMER_service;
    *name = undo_escapes(service, buf, size);
    return name->len > 0;
}

/* Hierarchies of cgroups, in the order in which they are searched. */
enum hierarchy { HIERARCHY_SYSTEMD, HIERARCHY_UNIFIED, HIERARCHY_OTHER, HIERARCHIES };

/* Parses "ID:CONTROLLERS:PATH". */
static enum hierarchy parse_line(struct span line, struct span *path) {
    const struct span id = span_take_until(&line, ':');
    const struct span controllers = span_take_until(&line, ':');

    span_take_suffix(&line, " (deleted)");
    *path = line;
    if (span_equals(controllers, "name=systemd"))
        return HIERARCHY_SYSTEMD;
    return span_equals(id, "0") && controllers.len == 0 ? HIERARCHY_UNIFIED : HIERARCHY_OTHER;
}

static bool identify_cgroup(struct span cgroup, struct user *user, enum ksm_consumer_kind *kind,
                            struct span *name, char *buf, size_t size) {
    for (enum hierarchy hierarchy = 0; hierarchy < HIERARCHIES; hierarchy++) {
        struct span path;
        for (struct span rest = cgroup; rest.len > 0;) {
            struct span line = span_take_until(&rest, '\n');
            if (parse_line(line, &path) != hierarchy)
                continue;
            if (!user->known)
                user->known = begins_in_user(path, &user->id);
            if (identify_path(path, kind, name, buf, size))
                return true;
        }
    }
    return false;
}

/* ---- the name ---- */

/* The unit user@1000.service names its user already. */
static bool is_manager_of(struct span service, struct span uid) {
    return span_take_prefix(&service, "user@") && uid.len > 0 && service.len == uid.len &&
           memcmp(service.text, uid.text, uid.len) == 0;
}

/* Sets the prefix of a name that a user chose, which keeps it apart from names of the host and of
 * other users. A program has no prefix, because every process can choose its comm. */
static void set_user_prefix(const struct user *user, enum ksm_consumer_kind kind, struct span name,
                            char prefix[static USER_PREFIX_SIZE]) {
    bool is_exempt = kind == KSM_CONSUMER_program ||
                     (kind == KSM_CONSUMER_service && is_manager_of(name, user->id));

    prefix[0] = '\0';
    if (user->known && !is_exempt)
        snprintf(prefix, USER_PREFIX_SIZE, "user-%.*s:", (int)user->id.len, user->id.text);
}

void ksm_consumer_identify(const struct ksm_identity *identity, struct ksm_consumer_name *name) {
    char guest_buf[8192]; /* as much as proc_files.c reads of cmdline: no name is cut */
    char group_buf[256];
    char prefix[USER_PREFIX_SIZE];
    bool is_vm = false;
    struct user user = {false, {NULL, 0}};
    enum ksm_consumer_kind kind = KSM_CONSUMER_program;
    struct span group = empty_span;
    struct span comm = {identity->comm, identity->comm_len};
    struct span guest = machine_name((struct span){identity->cmdline, identity->cmdline_len},
                                     &is_vm, guest_buf, sizeof(guest_buf));
    bool known = identify_cgroup((struct span){identity->cgroup, identity->cgroup_len}, &user,
                                 &kind, &group, group_buf, sizeof(group_buf));

    span_take_suffix(&comm, "\n");
    if (!known) {
        group = comm;
        kind = KSM_CONSUMER_program;
    }
    if (is_vm) {
        kind = KSM_CONSUMER_vm;
        if (guest.len > 0)
            group = guest;
    }
    name->kind = kind;
    set_user_prefix(&user, kind, group, prefix);
    ksm_consumer_name_clean_with_prefix(prefix, group.text, group.len, name->text);
}
