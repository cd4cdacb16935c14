/* SPDX-License-Identifier: MIT
 *
 * Whose process it is, by texts as the real systems write them.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "owner.h"
#include "support/crowd.h"
#include "support/suite.h"

/* Ids of containers, and of a pod. */
#define ID1 "9687bac58d5c4d1606aa46af33d1a21c1d1652e0ac9fb3fc0fc86e3495f42869"
#define ID2 "17d8c9eacc629f9945f304d89e9708c0c619649a484a215b240628319548a09f"
#define UID "63b3ebfc_2890_11e9_8154_16bf8ef8d9dc"
#define POD "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" UID ".slice"
#define USER "/user.slice/user-1000.slice/user@1000.service"
#define SESSION "/user.slice/user-1000.slice/session-3.scope"
#define V2(path) "0::" path "\n"

#define vm KSM_CONSUMER_vm
#define container KSM_CONSUMER_container
#define service KSM_CONSUMER_service
#define program KSM_CONSUMER_program

/* A row: what it is, cgroup, cmdline, comm, and what is wanted: kind, and name before it is
 * cleaned, or if it has a user's mark, just as it is. */
struct row {
    const char *what;
    const char *cgroup;
    const char *cmdline;
    size_t cmdline_len;
    const char *comm;
    enum ksm_consumer_kind kind;
    const char *name;
};

static void check(const struct row *row, const char *cgroup) {
    const struct ksm_identity identity = {
        .cgroup = suite_guarded(cgroup, strlen(cgroup)),
        .cgroup_len = strlen(cgroup),
        .cmdline = suite_guarded(row->cmdline, row->cmdline_len),
        .cmdline_len = row->cmdline_len,
        .comm = suite_guarded(row->comm, strlen(row->comm)),
        .comm_len = strlen(row->comm),
    };
    struct ksm_name name;
    char want[KSM_NAME_SIZE];

    ksm_owner_of(&identity, &name);
    if (strncmp(row->name, "user-", 5) == 0)
        snprintf(want, sizeof(want), "%s", row->name);
    else
        ksm_name_clean(row->name, strlen(row->name), want);
    ck_assert_msg(name.kind == row->kind && strcmp(name.text, want) == 0,
                  "%s, %s: got %s %s, want %s %s", row->what, suite_quote(cgroup, strlen(cgroup)),
                  ksm_consumer_kinds[name.kind], name.text, ksm_consumer_kinds[row->kind], want);
}

/* ---- cgroups ---- */

#define NGINX TEXT("nginx: worker process\0"), "nginx\n"

/* Each path stands for itself in versions 1 and 2 and a hybrid. */
static const struct row path_rows[] = {
    {"Docker, systemd driver", "/system.slice/docker-" ID1 ".scope", NGINX, container,
     "9687bac58d5c"},
    {"Docker, cgroupfs driver", "/docker/" ID1, NGINX, container, "9687bac58d5c"},
    {"Docker, --cgroup-parent", "/web.slice/docker-" ID1 ".scope", NGINX, container,
     "9687bac58d5c"},
    {"Docker with systemd in the container", "/docker/" ID1 "/system.slice/nginx.service", NGINX,
     container, "9687bac58d5c"},
    {"Docker with init in the container", "/system.slice/docker-" ID1 ".scope/init", NGINX,
     container, "9687bac58d5c"},
    {"Docker in Docker: the outer one", "/docker/" ID1 "/docker/" ID2, NGINX, container,
     "9687bac58d5c"},
    {"Docker, rootless", USER "/user.slice/docker-" ID1 ".scope", NGINX, container,
     "user-1000:9687bac58d5c"},
    {"minikube: the node is a container", "/docker/" ID1 POD "/crio-" ID2 ".scope", NGINX,
     container, "9687bac58d5c"},
    {"Docker's daemon", "/system.slice/docker.service", TEXT("/usr/bin/dockerd\0-H\0fd://\0"),
     "dockerd\n", service, "docker"},
    {"Amazon ECS", "/ecs/0123456789abcdef0123456789abcdef/" ID1, NGINX, container, "9687bac58d5c"},

    {"Podman, systemd", "/machine.slice/libpod-" ID1 ".scope", NGINX, container, "9687bac58d5c"},
    {"Podman with crun", "/machine.slice/libpod-" ID1 ".scope/container", NGINX, container,
     "9687bac58d5c"},
    {"Podman, cgroupfs", "/libpod_parent/libpod-" ID1, NGINX, container, "9687bac58d5c"},
    {"Podman, rootless", USER "/user.slice/libpod-" ID1 ".scope/container", NGINX, container,
     "user-1000:9687bac58d5c"},
    {"Podman, pod, systemd",
     "/machine.slice/machine-libpod_pod_" ID2 ".slice/libpod-" ID1 ".scope/container", NGINX,
     container, "9687bac58d5c"},
    {"Podman, pod, cgroupfs", "/libpod_parent/" ID2 "/libpod-" ID1, NGINX, container,
     "9687bac58d5c"},
    {"Podman, pod, rootless",
     USER "/user.slice/user-libpod_pod_" ID2 ".slice/libpod-" ID1 ".scope/container", NGINX,
     container, "user-1000:9687bac58d5c"},
    {"Podman, Quadlet", "/system.slice/nginx.service/libpod-payload-" ID1, NGINX, container,
     "9687bac58d5c"},
    {"Podman, Quadlet of a user", USER "/app.slice/redis.service/libpod-payload-" ID1, NGINX,
     container, "user-1000:9687bac58d5c"},
    {"Podman, Quadlet, conmon", "/system.slice/nginx.service/runtime",
     TEXT("/usr/bin/conmon\0--api-version\0001\0"), "conmon\n", service, "nginx"},
    {"Podman, conmon", "/machine.slice/libpod-conmon-" ID1 ".scope",
     TEXT("/usr/bin/conmon\0--api-version\0001\0"), "conmon\n", program, "conmon"},
    {"Podman, conmon, rootless", USER "/user.slice/libpod-conmon-" ID1 ".scope",
     TEXT("/usr/bin/conmon\0--api-version\0001\0"), "conmon\n", program, "conmon"},
    {"Podman, conmon, cgroupfs", "/libpod_parent/conmon",
     TEXT("/usr/bin/conmon\0--api-version\0001\0"), "conmon\n", program, "conmon"},
    {"Podman, conmon of a pod, cgroupfs", "/libpod_parent/" ID2 "/conmon",
     TEXT("/usr/bin/conmon\0--api-version\0001\0"), "conmon\n", program, "conmon"},
    {"podman itself, rootless", USER "/user.slice/podman-6696.scope", TEXT("podman\0run\0"),
     "podman\n", program, "podman"},

    {"Kubernetes, containerd, burstable", POD "/cri-containerd-" ID1 ".scope", NGINX, container,
     "9687bac58d5c"},
    {"Kubernetes, containerd, best effort",
     "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" UID
     ".slice/cri-containerd-" ID1 ".scope",
     NGINX, container, "9687bac58d5c"},
    {"Kubernetes, containerd, guaranteed",
     "/kubepods.slice/kubepods-pod" UID ".slice/cri-containerd-" ID1 ".scope", NGINX, container,
     "9687bac58d5c"},
    {"Kubernetes, cgroupfs, burstable",
     "/kubepods/burstable/pod187bff14cccb94f179e943eacce55bb3/" ID1, NGINX, container,
     "9687bac58d5c"},
    {"Kubernetes, cgroupfs, best effort",
     "/kubepods/besteffort/pod63b3ebfc-2890-11e9-8154-16bf8ef8d9dc/" ID1, NGINX, container,
     "9687bac58d5c"},
    {"Kubernetes, cgroupfs, guaranteed", "/kubepods/pod63b3ebfc-2890-11e9-8154-16bf8ef8d9dc/" ID1,
     NGINX, container, "9687bac58d5c"},
    {"Kubernetes, kubelet with its own root",
     "/kubelet/kubepods/burstable/pod187bff14cccb94f179e943eacce55bb3/" ID1, NGINX, container,
     "9687bac58d5c"},
    {"Kubernetes in kind",
     "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/"
     "kubelet-kubepods-besteffort-pod" UID ".slice/cri-containerd-" ID1 ".scope",
     NGINX, container, "9687bac58d5c"},
    {"containerd with runc's systemd names",
     "/system.slice/containerd.service/kubepods-burstable-pod" UID ".slice:cri-containerd:" ID1,
     NGINX, container, "9687bac58d5c"},
    {"Kubernetes with Docker", POD "/docker-" ID1 ".scope", NGINX, container, "9687bac58d5c"},
    {"CRI-O", POD "/crio-" ID1 ".scope", NGINX, container, "9687bac58d5c"},
    {"CRI-O with crun", POD "/crio-" ID1 ".scope/container", NGINX, container, "9687bac58d5c"},
    {"CRI-O, cgroupfs", "/kubepods/burstable/pod63b3ebfc-2890-11e9-8154-16bf8ef8d9dc/crio-" ID1,
     NGINX, container, "9687bac58d5c"},
    {"CRI-O, conmon", POD "/crio-conmon-" ID1 ".scope", TEXT("/usr/bin/conmon\0-b\0"), "conmon\n",
     program, "conmon"},
    {"the kubelet", "/system.slice/kubelet.service", TEXT("/usr/bin/kubelet\0"), "kubelet\n",
     service, "kubelet"},
    {"nerdctl", "/system.slice/nerdctl-" ID1 ".scope", NGINX, container, "9687bac58d5c"},
    {"containerd, cgroupfs, namespace default", "/default/" ID1, NGINX, container, "9687bac58d5c"},
    {"containerd and its shims", "/system.slice/containerd.service",
     TEXT("/usr/bin/containerd-shim-runc-v2\0-id\0" ID1 "\0"), "containerd-shim\n", service,
     "containerd"},

    {"LXC", "/lxc.payload.web", NGINX, container, "web"},
    {"LXC with systemd in the container", "/lxc.payload.web/system.slice/nginx.service", NGINX,
     container, "web"},
    {"LXC 3.1", "/lxc.payload/web", NGINX, container, "web"},
    {"LXC, old", "/lxc/web", NGINX, container, "web"},
    {"LXC, old, of a user", "/user.slice/user-1000.slice/session-3.scope/lxc/web", NGINX, container,
     "user-1000:web"},
    {"LXC in LXC: the outer one", "/lxc.payload.web/lxc.payload.inner/init.scope", NGINX, container,
     "web"},
    {"Docker in LXC: the outer one", "/lxc.payload.web/system.slice/docker-" ID1 ".scope", NGINX,
     container, "web"},
    {"LXC, name with dots", "/lxc.payload.web.example.org/init.scope", NGINX, container,
     "web.example.org"},
    {"LXD, project", "/lxc.payload.shop_web/.lxc", NGINX, container, "shop_web"},
    {"LXC's monitor", "/lxc.monitor.web", TEXT("[lxc monitor] /var/lib/lxc web\0"), "lxc-start\n",
     program, "lxc-start"},
    {"Incus, monitor", "/lxc.monitor.web", TEXT("[lxc monitor] /run/incus/containers web\0"),
     "incusd\n", program, "incusd"},
    {"Proxmox VE, container", "/lxc/101/ns", NGINX, container, "101"},
    {"Proxmox VE, container with systemd", "/lxc/101/ns/system.slice/nginx.service", NGINX,
     container, "101"},
    {"Proxmox VE, container's monitor", "/lxc.monitor/101",
     TEXT("[lxc monitor] /var/lib/lxc 101\0"), "lxc-start\n", program, "lxc-start"},
    {"libvirt's LXC", "/machine.slice/machine-lxc\\x2d1268\\x2dsl.scope/libvirt", NGINX, container,
     "sl"},
    {"libvirt's LXC, no machined", "/machine/lxc-1268-sl.libvirt-lxc", NGINX, container, "sl"},
    {"libvirt's LXC, old", "/machine/auto_sirius.libvirt-lxc", NGINX, container, "auto_sirius"},

    {"nspawn", "/machine.slice/machine-deb12.scope/payload/init.scope", NGINX, container, "deb12"},
    {"nspawn, escaped", "/machine.slice/machine-my\\x2dbox.scope/payload", NGINX, container,
     "my-box"},
    {"nspawn, UTF-8 in escapes", "/machine.slice/machine-gr\\xc3\\xbcn.scope", NGINX, container,
     "grün"},
    {"nspawn, a name like libvirt's", "/machine.slice/machine-lxcbox.scope", NGINX, container,
     "lxcbox"},
    {"nspawn, a name like libvirt's without a number", "/machine.slice/machine-lxc\\x2dbox.scope",
     NGINX, container, "lxc-box"},
    {"nspawn, a name like libvirt's with another word for the number",
     "/machine.slice/machine-lxc\\x2da\\x2db.scope", NGINX, container, "lxc-a-b"},
    {"nspawn as a service", "/machine.slice/systemd-nspawn@deb12.service/payload/init.scope", NGINX,
     container, "deb12"},
    {"nspawn as a service, supervisor", "/machine.slice/systemd-nspawn@deb12.service/supervisor",
     TEXT("systemd-nspawn\0--quiet\0"), "systemd-nspawn\n", container, "deb12"},
    {"nspawn as a service, escaped", "/machine.slice/systemd-nspawn@my\\x2dbox.service/payload",
     NGINX, container, "my-box"},

    {"systemd service", "/system.slice/nginx.service", NGINX, service, "nginx"},
    {"template", "/system.slice/system-getty.slice/getty@tty1.service", TEXT("/sbin/agetty\0-o\0"),
     "agetty\n", service, "getty@tty1"},
    {"escaped instance",
     "/system.slice/system-systemd\\x2dfsck.slice/"
     "systemd-fsck@dev-disk-by\\x2duuid-3E7A\\x2d1F2C.service",
     TEXT("/usr/lib/systemd/systemd-fsck\0"), "systemd-fsck\n", service,
     "systemd-fsck@dev-disk-by-uuid-3E7A-1F2C"},
    {"escaped slash", "/system.slice/backup@srv\\x2fwww.service", NGINX, service, "backup@srv/www"},
    {"broken escapes stay", "/system.slice/a\\x2.service", NGINX, service, "a\\x2"},
    {"capital escapes are none", "/system.slice/a\\x2Db.service", NGINX, service, "a\\x2Db"},
    {"name with dots", "/system.slice/org.cups.cupsd.service", TEXT("/usr/sbin/cupsd\0-l\0"),
     "cupsd\n", service, "org.cups.cupsd"},
    {"cluster of a template", "/system.slice/system-postgresql.slice/postgresql@15-main.service",
     TEXT("postgres: 15/main: walwriter \0"), "postgres\n", service, "postgresql@15-main"},
    {"delegated cgroup", "/system.slice/nginx.service/workers/1", NGINX, service, "nginx"},
    {"snap", "/system.slice/snap.lxd.daemon.service", TEXT("lxd\0--logfile\0"), "lxd\n", service,
     "snap.lxd.daemon"},
    {"user's service", USER "/app.slice/syncthing.service", TEXT("/usr/bin/syncthing\0"),
     "syncthing\n", service, "user-1000:syncthing"},
    {"user's service, autostarted", USER "/app.slice/app-org.gnome.Evolution@autostart.service",
     TEXT("/usr/libexec/evolution-alarm-notify\0"), "evolution-alarm\n", service,
     "user-1000:app-org.gnome.Evolution@autostart"},
    {"user's template", USER "/app.slice/app-redis.slice/redis@1000.service", NGINX, service,
     "user-1000:redis@1000"},
    {"user's service of a name that is changed", USER "/app.slice/a\\x2fb.service", NGINX, service,
     "user-1000:a_b~e2480c78"},
    {"user's service called like another user's", USER "/app.slice/user-1001:redis.service", NGINX,
     service, "user-1000:user-1001:redis"},
    {"user's service called like another user's systemd", USER "/app.slice/user@1001.service",
     NGINX, service, "user-1000:user@1001"},
    {"root's user service", "/user.slice/user-0.slice/user@0.service/app.slice/redis.service",
     NGINX, service, "user-0:redis"},
    {"the largest uid",
     "/user.slice/user-4294967294.slice/user@4294967294.service/app.slice/redis.service", NGINX,
     service, "user-4294967294:redis"},
    {"user's service, from a session's cgroup namespace",
     "/../user@1000.service/app.slice/redis.service", NGINX, service, "user-1000:redis"},
    {"user's service, from another user's cgroup namespace",
     "/../../user-1000.slice/user@1000.service/app.slice/redis.service", NGINX, service,
     "user-1000:redis"},
    {"a session from another's cgroup namespace", "/../session-3.scope/lxc/web", NGINX, container,
     "user-:web"},
    {"a user's slice inside a service", "/system.slice/a.service/user-1000.slice/b.service", NGINX,
     service, "b"},
    {"a user's slice inside a container", "/lxc.payload.web" USER "/app.slice/redis.service", NGINX,
     container, "web"},
    {"a slice called like a user's", "/user-web.slice/redis.service", NGINX, service, "redis"},
    {"a slice called like a user's, a number too long", "/user-12345678901.slice/redis.service",
     NGINX, service, "redis"},
    {"user's systemd", USER "/init.scope", TEXT("/lib/systemd/systemd\0--user\0"), "systemd\n",
     service, "user@1000"},
    {"desktop program", USER "/app.slice/app-gnome-firefox-4242.scope",
     TEXT("/usr/lib/firefox/firefox\0"), "firefox\n", program, "firefox"},
    {"desktop program, snap",
     USER "/app.slice/snap.firefox.firefox-2f6e9b7a-0c7d-4f0c-93b4-4c3f1d6a9e11.scope",
     TEXT("/snap/firefox/1/firefox\0"), "firefox\n", program, "firefox"},
    {"terminal's child",
     USER "/app.slice/app-org.gnome.Terminal.slice/"
          "vte-spawn-f22f14d2-3d44-4304-9879-3fdd0df7b08e.scope",
     TEXT("bash\0"), "bash\n", program, "bash"},
    {"session", "/user.slice/user-1000.slice/session-3.scope", TEXT("-bash\0"), "bash\n", program,
     "bash"},
    {"systemd itself", "/init.scope", TEXT("/sbin/init\0"), "systemd\n", program, "systemd"},
    {"the root", "/", TEXT("./a.out\0"), "a.out\n", program, "a.out"},
    {"a slice", "/user.slice", TEXT("./a.out\0"), "a.out\n", program, "a.out"},
    {"from another cgroup namespace", "/../../system.slice/docker-" ID1 ".scope", NGINX, container,
     "9687bac58d5c"},

    {"removed cgroup", "/system.slice/nginx.service (deleted)", NGINX, service, "nginx"},
    {"removed container", "/system.slice/docker-" ID1 ".scope (deleted)", NGINX, container,
     "9687bac58d5c"},
    {"removed LXC", "/lxc.payload.web (deleted)", NGINX, container, "web"},

    {"id too short", "/docker/9687bac58d5c", NGINX, program, "nginx"},
    {"id of other letters",
     "/docker/z687bac58d5c4d1606aa46af33d1a21c1d1652e0ac9fb3fc0fc86e3495f42869", NGINX, program,
     "nginx"},
    {"id of capitals", "/docker/9687BAC58D5C4D1606AA46AF33D1A21C1D1652E0AC9FB3FC0FC86E3495F42869",
     NGINX, program, "nginx"},
    {"id too long", "/docker/0" ID1, NGINX, program, "nginx"},
    {"unit without a name", "/system.slice/.service", NGINX, program, "nginx"},
    {"machine without a name", "/machine.slice/machine-.scope", NGINX, program, "nginx"},
    {"payload without a name", "/lxc.payload.", NGINX, program, "nginx"},
};

/* The lines of a cgroup file, * is the path. */
static const char *const forms[] = {
    "0::*\n",
    "0::*",
    "13:freezer:/\n12:pids:*\n11:files:/\n5:memory:*\n4:cpu,cpuacct:*\n1:name=systemd:*\n",
    "5:memory:*\n1:name=systemd:*\n0::/\n", /* hybrid, */
    "5:memory:*\n1:name=systemd:*\n0::*\n", /* as systemd 240 and later have it */
    "5:memory:*\n4:cpu,cpuacct:*\n",        /* no systemd */
};

static size_t fill_in(const char *form, const char *path, char *cgroup) {
    size_t len = 0;

    for (; *form; form++) {
        size_t part = *form == '*' ? strlen(path) : 1;
        memcpy(cgroup + len, *form == '*' ? path : form, part);
        len += part;
    }
    cgroup[len] = '\0';
    return len;
}

TEST_ROWS(paths, path_rows) {
    for (int form = 0; form < ROWS(forms); form++) {
        char cgroup[4096];
        fill_in(forms[form], row->cgroup, cgroup);
        check(row, cgroup);
    }
}

/* ---- which of the lines ---- */

static const struct row line_rows[] = {
    {"systemd's line before version 2's",
     "5:memory:/\n1:name=systemd:/system.slice/a.service\n0::/system.slice/b.service\n", NGINX,
     service, "a"},
    {"whatever their order", "0::/system.slice/b.service\n1:name=systemd:/system.slice/a.service\n",
     NGINX, service, "a"},
    {"version 2's before the controllers'",
     "5:memory:/system.slice/a.service\n0::/system.slice/b.service\n", NGINX, service, "b"},
    {"version 2's if systemd's says nothing", "1:name=systemd:/\n0::/system.slice/b.service\n",
     NGINX, service, "b"},
    {"a controller's if the others say nothing",
     "1:name=systemd:/\n0::/\n7:net_cls:/\n5:memory:/docker/" ID1 "\n", NGINX, container,
     "9687bac58d5c"},
    {"the first controller's", "7:cpu:/docker/" ID1 "\n5:memory:/docker/" ID2 "\n", NGINX,
     container, "9687bac58d5c"},
    {"Docker under OpenRC", "13:openrc:/docker\n10:pids:/docker/" ID1 "\n1:name=openrc:/docker\n",
     NGINX, container, "9687bac58d5c"},
    {"OpenRC's service is none of systemd's", "1:name=openrc:/sshd\n0::/\n", TEXT("sshd\0"),
     "sshd\n", program, "sshd"},
    {"no line at all", "", NGINX, program, "nginx"},
    {"one newline", "\n", NGINX, program, "nginx"},
    {"a colon in the path", "0::/system.slice/a:b.service\n", NGINX, service, "a:b"},
    {"the kernel without cgroups", "", TEXT(""), "a.out\n", program, "a.out"},
    {"the user by systemd's line, the container by another",
     "5:memory:/user/joe/0/lxc/web\n1:name=systemd:" SESSION "\n", NGINX, container,
     "user-1000:web"},
    {"a line of words", "what is this.service\n", NGINX, program, "nginx"},
};

TEST_ROWS(lines, line_rows) {
    check(row, row->cgroup);
}

/* ---- virtual machines ---- */

#define QEMU "/usr/bin/qemu-system-x86_64\0"
#define LIBVIRT V2("/machine.slice/machine-qemu\\x2d3\\x2dweb\\x2d01.scope/libvirt/emulator")

static const struct row vm_rows[] = {
    {"libvirt", LIBVIRT, TEXT(QEMU "-name\0guest=web-01,debug-threads=on\0-S\0"),
     "qemu-system-x86\n", vm, "web-01"},
    {"libvirt, another name than its scope's", LIBVIRT,
     TEXT(QEMU "-name\0guest=other,debug-threads=on\0"), "qemu-system-x86\n", vm, "other"},
    {"libvirt, no command line", LIBVIRT, TEXT(""), "qemu-system-x86\n", vm, "web-01"},
    {"libvirt, an emulator not known by name", LIBVIRT, TEXT("/usr/bin/kvm-spice\0-name\0x\0"),
     "kvm-spice\n", vm, "web-01"},
    {"libvirt, a helper in the scope", LIBVIRT, TEXT("/usr/bin/swtpm\0socket\0"), "swtpm\n", vm,
     "web-01"},
    {"libvirt, no -name", LIBVIRT, TEXT(QEMU "-m\0001024\0"), "qemu-system-x86\n", vm, "web-01"},
    {"libvirt, version 1",
     "5:memory:/machine.slice/machine-qemu\\x2d16\\x2dtest14.scope\n"
     "1:name=systemd:/machine.slice/machine-qemu\\x2d16\\x2dtest14.scope\n",
     TEXT(""), "qemu-kvm\n", vm, "test14"},
    {"libvirt in a partition",
     V2("/machine.slice/machine-test.slice/machine-qemu\\x2d16\\x2dtest14.scope/libvirt/vcpu0"),
     TEXT(""), "CPU 0/KVM\n", vm, "test14"},
    {"OpenStack", V2("/machine.slice/machine-qemu\\x2d1\\x2dinstance\\x2d0000001d.scope/emulator"),
     TEXT("/usr/libexec/qemu-kvm\0-name\0guest=instance-0000001d,debug-threads=on\0"), "qemu-kvm\n",
     vm, "instance-0000001d"},
    {"a dot in the scope's name", V2("/machine.slice/machine-qemu\\x2d2\\x2dubuntu20.04.scope"),
     TEXT(""), "qemu-kvm\n", vm, "ubuntu20.04"},
    {"libvirt, no machined", V2("/machine/qemu-1-adminwin2016.libvirt-qemu/emulator"), TEXT(""),
     "qemu-kvm\n", vm, "adminwin2016"},
    {"libvirt, old", "5:memory:/machine/web.libvirt-qemu\n", TEXT(""), "qemu-kvm\n", vm, "web"},
    {"libvirt without cgroups", "1:name=systemd:/system.slice/libvirtd.service\n",
     TEXT(QEMU "-name\0guest=web,debug-threads=on\0"), "qemu-system-x86\n", vm, "web"},
    {"nspawn called qemu", V2("/machine.slice/machine-qemu\\x2dbox.scope/payload"), NGINX,
     container, "qemu-box"},
    {"nspawn called qemu, and more", V2("/machine.slice/machine-qemu\\x2da\\x2db.scope/payload"),
     NGINX, container, "qemu-a-b"},

    {"Proxmox VE", V2("/qemu.slice/100.scope"),
     TEXT("/usr/bin/kvm\0-id\000100\0-name\0web,debug-threads=on\0-no-shutdown\0"), "kvm\n", vm,
     "web"},
    {"Proxmox VE, 6", "5:memory:/qemu.slice/100.scope\n1:name=systemd:/qemu.slice/100.scope\n",
     TEXT("/usr/bin/kvm\0-id\000100\0-name\0web\0"), "kvm\n", vm, "web"},
    {"Proxmox VE, no name", V2("/qemu.slice/100.scope"), TEXT("/usr/bin/kvm\0-id\000100\0"),
     "kvm\n", vm, "100"},
    {"Proxmox VE, a helper", V2("/qemu.slice/100.scope"), TEXT("swtpm\0socket\0"), "swtpm\n", vm,
     "100"},
    {"LXD's machine", V2("/system.slice/snap.lxd.daemon.service"),
     TEXT("/snap/lxd/24/bin/qemu-system-x86_64\0-S\0-name\0v1\0-uuid\0u\0"), "qemu-system-x86\n",
     vm, "v1"},
    {"KubeVirt", V2(POD "/cri-containerd-" ID1 ".scope"),
     TEXT("/usr/libexec/qemu-kvm\0-name\0guest=default_vm1,debug-threads=on\0"), "qemu-kvm\n", vm,
     "default_vm1"},
    {"a machine in a container, no name", V2("/docker/" ID1), TEXT(QEMU "-m\0001024\0"),
     "qemu-system-x86\n", vm, "9687bac58d5c"},
    {"a machine as a service, no name", V2("/system.slice/qemu@web.service"),
     TEXT(QEMU "-m\0001024\0"), "qemu-system-x86\n", vm, "qemu@web"},
    {"a machine in a session", V2(SESSION), TEXT(QEMU "-name\0web\0"), "q\n", vm, "user-1000:web"},
    {"a machine in a session, no name", V2(SESSION), TEXT(QEMU "-m\0001024\0"), "qemu-system-x86\n",
     vm, "user-1000:qemu-system-x86"},
    {"a machine in root's session", V2("/user.slice/user-0.slice/session-3.scope"),
     TEXT(QEMU "-name\0web\0"), "q\n", vm, "user-0:web"},
    {"a machine of a user's libvirt", V2(USER "/session.slice/libvirtd.service"),
     TEXT(QEMU "-name\0guest=web,debug-threads=on\0"), "q\n", vm, "user-1000:web"},
    {"a machine as a user's service, no name", V2(USER "/app.slice/web.service"),
     TEXT(QEMU "-m\0001024\0"), "q\n", vm, "user-1000:web"},
    {"a user's scope like libvirt's", V2(USER "/machine.slice/machine-qemu\\x2d3\\x2dweb.scope"),
     TEXT(""), "q\n", vm, "user-1000:web"},
    {"a user's slice like Proxmox's", V2(USER "/qemu.slice/100.scope"), TEXT("kvm\0"), "kvm\n", vm,
     "user-1000:100"},
    {"a user's firecracker", V2(USER "/app.slice/run-r1.scope"),
     TEXT("/usr/bin/firecracker\0--id\0web\0"), "firecracker\n", vm, "user-1000:web"},
    {"a user's cloud-hypervisor", V2(SESSION),
     TEXT("cloud-hypervisor\0--api-socket\0/tmp/web.sock\0"), "cloud-hyperviso\n", vm,
     "user-1000:web"},
    {"a machine in a session, version 1",
     "5:memory:/user.slice\n1:name=systemd:" SESSION "\n0::" SESSION "\n",
     TEXT(QEMU "-name\0web\0"), "q\n", vm, "user-1000:web"},
    {"a machine in a session in a container", V2("/lxc.payload.shop" SESSION),
     TEXT(QEMU "-name\0web\0"), "q\n", vm, "web"},

    {"-name web", "", TEXT(QEMU "-name\0web\0"), "q\n", vm, "web"},
    {"--name web", "", TEXT(QEMU "--name\0web\0"), "q\n", vm, "web"},
    {"-name guest=web", "", TEXT(QEMU "-name\0guest=web\0"), "q\n", vm, "web"},
    {"guest= not first", "", TEXT(QEMU "-name\0debug-threads=on,guest=web\0"), "q\n", vm, "web"},
    {"process= before", "", TEXT(QEMU "-name\0process=q1,guest=web\0"), "q\n", vm, "web"},
    {"a doubled comma is one", "", TEXT(QEMU "-name\0guest=a,,b,,,,c,debug-threads=on\0"), "q\n",
     vm, "a,b,,c"},
    {"a doubled comma is one, no guest=", "", TEXT(QEMU "-name\0a,,b,process=x\0"), "q\n", vm,
     "a,b"},
    {"three commas: one, and the end", "", TEXT(QEMU "-name\0guest=a,,,debug-threads=on\0"), "q\n",
     vm, "a,"},
    {"guest= after a doubled comma is of the name", "", TEXT(QEMU "-name\0a,,guest=b\0"), "q\n", vm,
     "q"},
    {"an equals sign in the name", "", TEXT(QEMU "-name\0guest=a=b\0"), "q\n", vm, "a=b"},
    {"quotes, a blank and an equals sign", "", TEXT(QEMU "-name\0guest=a\"b =c'd,x=y\0"), "q\n", vm,
     "a\"b =c'd"},
    {"the same cleaned", "", TEXT(QEMU "-name\0guest=a_b__c_d\0"), "q\n", vm, "a_b__c_d"},
    {"a newline", "", TEXT(QEMU "-name\0guest=a\nBEGIN x\0"), "q\n", vm, "a\nBEGIN x"},
    {"UTF-8", "", TEXT(QEMU "-name\0guest=grün\0"), "q\n", vm, "grün"},
    {"no guest at all", "", TEXT(QEMU "-name\0debug-threads=on\0"), "q\n", vm, "q"},
    {"an empty guest", "", TEXT(QEMU "-name\0guest=\0"), "q\n", vm, "q"},
    {"an empty name", "", TEXT(QEMU "-name\0\0-m\0001\0"), "q\n", vm, "q"},
    {"-name at the end", "", TEXT(QEMU "-m\0001\0-name\0"), "q\n", vm, "q"},
    {"-name at the end, no NUL", "", TEXT(QEMU "-name"), "q\n", vm, "q"},
    {"cut off in the name", "", TEXT(QEMU "-name\0gue"), "q\n", vm, "gue"},
    {"the first of two", "", TEXT(QEMU "-name\0a\0-name\0b\0"), "q\n", vm, "a"},
    {"something like -name", "", TEXT(QEMU "-names\0a\0-nam\0b\0"), "q\n", vm, "q"},

    {"another architecture", "", TEXT("qemu-system-aarch64\0-name\0web\0"), "q\n", vm, "web"},
    {"qemu-kvm", "", TEXT("/usr/libexec/qemu-kvm\0-name\0web\0"), "q\n", vm, "web"},
    {"kvm", "", TEXT("kvm\0-name\0web\0"), "kvm\n", vm, "web"},
    {"a user's emulator is none", "", TEXT("/usr/bin/qemu-x86_64\0-name\0web\0"), "qemu\n", program,
     "qemu"},
    {"qemu-img is none", "", TEXT("qemu-img\0convert\0-name\0web\0"), "qemu-img\n", program,
     "qemu-img"},
    {"an editor of a machine is none", "", TEXT("vi\0/usr/bin/qemu-system-x86_64\0-name\0web\0"),
     "vi\n", program, "vi"},
    {"kvm is a directory", "", TEXT("/opt/kvm/tool\0-name\0web\0"), "tool\n", program, "tool"},

    {"firecracker --id", "", TEXT("/usr/bin/firecracker\0--api-sock\0/tmp/f\0--id\000551e7604\0"),
     "firecracker\n", vm, "551e7604"},
    {"firecracker --id=", "", TEXT("/firecracker\0--id=551e7604\0--start-time-us\0001\0"),
     "firecracker\n", vm, "551e7604"},
    {"firecracker in its jail", V2("/firecracker/551e7604"),
     TEXT("/firecracker\0--id\000551e7604\0"), "firecracker\n", vm, "551e7604"},
    {"firecracker as it is released", "",
     TEXT("/usr/local/bin/firecracker-v1.7.0-x86_64\0--id\0web\0"), "firecracker-v1.\n", vm, "web"},
    {"firecracker, no id", "", TEXT("firecracker\0--no-api\0"), "firecracker\n", vm, "firecracker"},
    {"firecracker-containerd is none", V2("/system.slice/firecracker-containerd.service"),
     TEXT("/usr/local/bin/firecracker-containerd\0--id\0x\0"), "firecracker-con\n", service,
     "firecracker-containerd"},
    {"cloud-hypervisor", "",
     TEXT("/usr/bin/cloud-hypervisor\0--api-socket\0/run/x/vm1.sock\0--kernel\0k\0"),
     "cloud-hyperviso\n", vm, "vm1"},
    {"cloud-hypervisor, path=", "", TEXT("cloud-hypervisor\0--api-socket\0path=/run/x/vm1.sock\0"),
     "cloud-hyperviso\n", vm, "vm1"},
    {"cloud-hypervisor, --api-socket=path=", "",
     TEXT("cloud-hypervisor\0--api-socket=path=/run/x/vm1.sock\0"), "cloud-hyperviso\n", vm, "vm1"},
    {"cloud-hypervisor, no directory", "", TEXT("cloud-hypervisor\0--api-socket\0vm1\0"),
     "cloud-hyperviso\n", vm, "vm1"},
    {"cloud-hypervisor as it is released", "",
     TEXT("./cloud-hypervisor-static\0--api-socket\0/tmp/vm1.sock\0"), "cloud-hyperviso\n", vm,
     "vm1"},
    {"cloud-hypervisor, a socket without a name", V2("/system.slice/vm1.service"),
     TEXT("cloud-hypervisor\0--api-socket\0fd=3\0"), "cloud-hyperviso\n", vm, "vm1"},
    {"cloud-hypervisor of Kata Containers", V2("/kata_overhead/" ID2),
     TEXT("/opt/kata/bin/cloud-hypervisor\0--api-socket\0/run/vc/vm/sandbox1/clh-api.sock\0"),
     "cloud-hyperviso\n", vm, "sandbox1"},
    {"cloud-hypervisor of Kata Containers in Rust", "",
     TEXT("/opt/kata/bin/cloud-hypervisor\0--api-socket\0/run/kata/sandbox1/ch-api.sock\0"),
     "cloud-hyperviso\n", vm, "sandbox1"},
    {"cloud-hypervisor, no socket", "", TEXT("cloud-hypervisor\0--kernel\0k\0"),
     "cloud-hyperviso\n", vm, "cloud-hyperviso"},
    {"ch-remote is none", "", TEXT("ch-remote\0--api-socket\0/run/x/vm1.sock\0"), "ch-remote\n",
     program, "ch-remote"},
};

TEST_ROWS(machines, vm_rows) {
    check(row, row->cgroup);
}

/* ---- programs ---- */

static const struct {
    const char *comm;
    size_t len;
    const char *name;
    size_t name_len;
} comm_rows[] = {
    {TEXT("a.out\n"), TEXT("a.out")},
    {TEXT("a.out"), TEXT("a.out")},
    {TEXT("Web Content\n"), TEXT("Web Content")},
    {TEXT("a\nb\n"), TEXT("a\nb")},
    {TEXT("\n\n"), TEXT("\n")},
    {TEXT("\n"), TEXT("")},
    {TEXT(""), TEXT("")},
    {TEXT("\0\n"), TEXT("\0")},
    {TEXT(") S 1 1\n"), TEXT(") S 1 1")},
    {TEXT("x\nSET a = 1\n"), TEXT("x\nSET a = 1")},
    {TEXT("\xff\xfe\n"), TEXT("\xff\xfe")},
    {TEXT("kworker/0:1-events_freezable_power_\n"), TEXT("kworker/0:1-events_freezable_power_")},
};

TEST_ROWS(programs, comm_rows) {
    const struct ksm_identity identity = {
        .comm = suite_guarded(row->comm, row->len),
        .comm_len = row->len,
    };
    struct ksm_name name;
    char want[KSM_NAME_SIZE];

    ksm_owner_of(&identity, &name);
    ksm_name_clean(row->name, row->name_len, want);
    ck_assert_msg(name.kind == program && strcmp(name.text, want) == 0,
                  "%s: got %s %s, want program %s", suite_quote(row->comm, row->len),
                  ksm_consumer_kinds[name.kind], name.text, want);
}

TEST(words_of_the_kinds) {
    ck_assert_str_eq(ksm_consumer_kinds[vm], "vm");
    ck_assert_str_eq(ksm_consumer_kinds[container], "container");
    ck_assert_str_eq(ksm_consumer_kinds[service], "service");
    ck_assert_str_eq(ksm_consumer_kinds[program], "program");
}

/* ---- hostile ---- */

/* Takes any three texts, each at the end of readable memory; the name is fit to be sent. */
static void swallow(const char *what, const char *cgroup, size_t cgroup_len, const char *cmdline,
                    size_t cmdline_len, const char *comm, size_t comm_len) {
    const struct ksm_identity identity = {cgroup, cgroup_len, cmdline, cmdline_len, comm, comm_len};
    struct ksm_name name;

    memset(&name, 0xff, sizeof(name));
    ksm_owner_of(&identity, &name);
    const char *bad = crowd_bad_name(name.text);
    must(!bad, "%s: got %s: %s", what, suite_quote(name.text, strnlen(name.text, KSM_NAME_SIZE)),
         bad);
    must(name.kind < KSM_CONSUMER_KIND_COUNT, "%s: got kind %u", what, (unsigned)name.kind);
}

static const char *exact(const char *text, size_t len) {
    char *copy = malloc(len > 0 ? len : 1);

    return len > 0 ? memcpy(copy, text, len) : copy;
}

/* Copies of the very size, freed again: an address sanitizer sees every byte too far. */
static void swallow_copies(const char *what, const char *cgroup, size_t cgroup_len,
                           const char *cmdline, size_t cmdline_len, const char *comm,
                           size_t comm_len) {
    const char *a = exact(cgroup, cgroup_len);
    const char *b = exact(cmdline, cmdline_len);
    const char *c = exact(comm, comm_len);

    swallow(what, a, cgroup_len, b, cmdline_len, c, comm_len);
    free((void *)(uintptr_t)a);
    free((void *)(uintptr_t)b);
    free((void *)(uintptr_t)c);
}

TEST(nothing_at_all) {
    swallow("NULL", NULL, 0, NULL, 0, NULL, 0);
    swallow_copies("empty", "", 0, "", 0, "", 0);
    swallow("a machine without anything else", NULL, 0, TEXT("kvm"), NULL, 0);
    swallow("a machine of nothing", "0::/", 4, TEXT("kvm\0-name\0"), "", 0);
}

/* Every text that ends at every byte of it, as if it were cut off there. */
TEST(cut_off) {
    for (int i = 0; i < ROWS(vm_rows); i++)
        for (size_t len = 0; len <= vm_rows[i].cmdline_len; len++)
            swallow_copies(vm_rows[i].what, vm_rows[i].cgroup, strlen(vm_rows[i].cgroup),
                           vm_rows[i].cmdline, len, vm_rows[i].comm, strlen(vm_rows[i].comm));
    for (int i = 0; i < ROWS(path_rows); i++) {
        char cgroup[1024];
        size_t whole = fill_in(forms[4], path_rows[i].cgroup, cgroup);
        for (size_t len = 0; len <= whole; len++)
            swallow_copies(path_rows[i].what, cgroup, len, "", 0, "x\n", 2);
    }
}

static const struct {
    const char *what;
    const char *before;
    size_t before_len;
    char fill;
    const char *after;
} long_rows[] = {
    {"slashes", TEXT("0::"), '/', "\n"},
    {"slashes, no newline", TEXT("0::"), '/', ""},
    {"colons", TEXT(""), ':', "\n"},
    {"newlines", TEXT(""), '\n', ""},
    {"NULs", TEXT(""), '\0', ""},
    {"backslashes", TEXT("0::/"), '\\', ".service\n"},
    {"a long service", TEXT("0::/system.slice/"), 'x', ".service\n"},
    {"a long machine", TEXT("0::/machine.slice/machine-qemu\\x2d1\\x2d"), 'x', ".scope\n"},
    {"a long payload", TEXT("0::/lxc.payload."), 'x', "\n"},
    {"long digits of libvirt's", TEXT("0::/machine.slice/machine-qemu\\x2d"), '1',
     "\\x2dx.scope\n"},
    {"a long id", TEXT("0::/docker/"), 'a', "\n"},
    {"the name of a machine", TEXT("qemu-system-x86_64\0-name\0"), 'x', ""},
    {"commas", TEXT("kvm\0-name\0"), ',', ""},
    {"an argument", TEXT("kvm\0"), '-', "-name"},
    {"the path of a program", TEXT("/"), '/', "kvm"},
    {"a socket", TEXT("cloud-hypervisor\0--api-socket\0"), '/', ""},
    {"bytes that are no UTF-8", TEXT(""), '\xff', ""},
    {"continuation bytes", TEXT(""), '\x80', ""},
    {"first bytes of long characters", TEXT(""), '\xf0', ""},
};

TEST_ROWS(very_long, long_rows) {
    enum { MOST = 9000 };
    static const size_t sizes[] = {1, 63, 255, 256, 257, 4095, 4096, 4097, 8191, 8192, MOST - 100};
    const char *before = row->before;
    size_t before_len = row->before_len;

    for (int i = 0; i < ROWS(sizes); i++) {
        char text[MOST];
        memcpy(text, before, before_len);
        memset(text + before_len, row->fill, sizes[i]);
        memcpy(text + before_len + sizes[i], row->after, strlen(row->after));
        size_t len = before_len + sizes[i] + strlen(row->after);
        swallow_copies(row->what, text, len, text, len, text, len);
        swallow_copies(row->what, text, len, TEXT("kvm\0-name"), text, len);
    }
}

TEST(one_byte) {
    for (int c = 0; c < 256; c++) {
        const char byte = (char)c;
        swallow_copies("one byte", &byte, 1, &byte, 1, &byte, 1);
    }
}

/* Pieces of what is known in any order, with bytes of chance between them. */
TEST(by_chance) {
    enum { ROUNDS = 30000 };
    static const char *const parts[] = {
        "0::",
        "1:name=systemd:",
        "5:memory:",
        "/",
        "\n",
        "machine-",
        "qemu\\x2d3\\x2d",
        "lxc-1-",
        ".scope",
        ".service",
        "lxc",
        "qemu.slice",
        "user.slice",
        "user-1000.slice",
        "user@1000.service",
        "session-3.scope",
        "user-1000:",
        "lxc.payload.",
        "\\x2d",
        "\\x",
        "\\",
        "libpod-",
        "conmon-",
        ID1,
        " (deleted)",
        ".libvirt-qemu",
        ".libvirt-lxc",
        "systemd-nspawn@",
        "qemu-system-",
        "kvm",
        "-name",
        "guest=",
        ",",
        ",,",
        "firecracker",
        "--id",
        "--id=",
        "cloud-hypervisor",
        "--api-socket",
        "path=",
        "fd=",
        "-api.sock",
        "libpod_parent",
        "init",
        ":",
    };

    for (int round = 0; round < ROUNDS; round++) {
        char text[3][2048];
        size_t len[3];
        for (int t = 0; t < 3; t++) {
            len[t] = 0;
            for (size_t n = suite_random() % 14; n > 0; n--) {
                const char *part = parts[suite_random() % (size_t)ROWS(parts)];
                memcpy(text[t] + len[t], part, strlen(part));
                len[t] += strlen(part);
                if (suite_random() % 4 == 0)
                    text[t][len[t]++] = suite_random() % 2 ? '\0' : (char)suite_random();
            }
        }
        swallow_copies("by chance", text[0], len[0], text[1], len[1], text[2], len[2]);
    }
}

/* ---- two never become one ---- */

static void named(const char *cmdline, size_t len, struct ksm_name *name) {
    const struct ksm_identity identity = {.cmdline = cmdline, .cmdline_len = len};

    ksm_owner_of(&identity, name);
}

/* Names of machines that differ in one byte only, wherever it is. */
TEST(long_names_stay_different) {
    enum { MOST = 6000 };
    static const char start[] = "kvm\0-name\0guest=";
    static char text[sizeof(start) - 1 + MOST];
    struct ksm_name a, b;

    memcpy(text, start, sizeof(start) - 1);
    char *guest = text + sizeof(start) - 1;
    memset(guest, 'x', MOST);
    named(text, sizeof(text), &a);
    for (size_t i = 0; i < MOST; i++) {
        guest[i] = 'y';
        named(text, sizeof(text), &b);
        guest[i] = 'x';
        must(strcmp(a.text, b.text) != 0, "byte %zu of %d makes no difference: %s", i, MOST,
             b.text);
    }
}

/* A name without a mark of a user, which looks as if it had one: nobody takes a user's place. */
TEST(users_keep_their_names) {
    static const struct row same[] = {
        {"a service", V2("/system.slice/user-1000:web.service"), NGINX, service, ""},
        {"an escaped service", V2("/system.slice/user-1000\\x3aweb.service"), NGINX, service, ""},
        {"a machine", V2("/qemu.slice/1.scope"), TEXT("kvm\0-name\0user-1000:web\0"), "kvm\n", vm,
         ""},
        {"a container", V2("/lxc.payload.user-1000:web"), NGINX, container, ""},
        {"a program", V2(SESSION), TEXT(""), "user-1000:web\n", program, ""},
    };

    for (int i = 0; i < ROWS(same); i++) {
        struct row row = same[i];
        row.name = "user-1000:web~9fb8de67";
        check(&row, row.cgroup);
    }
}

/* The order of the texts: a machine's name is not taken for a container's. */
TEST(kinds_keep_names_apart) {
    static const struct row same[] = {
        {"vm", "", TEXT("kvm\0-name\0web\0"), "web\n", vm, "web"},
        {"container", V2("/lxc.payload.web"), TEXT("web\0"), "web\n", container, "web"},
        {"service", V2("/system.slice/web.service"), TEXT("web\0"), "web\n", service, "web"},
        {"program", "", TEXT("web\0"), "web\n", program, "web"},
    };

    for (int i = 0; i < ROWS(same); i++)
        check(&same[i], same[i].cgroup);
}
