/* SPDX-License-Identifier: MIT
 *
 * Consumers by files of /proc/PID, as real systems write them. Random texts:
 * tests/fuzz/fuzz_owner.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consumers/consumer_id.h"
#include "support/fake_procs.h"
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

/* want: the kind, and the name before it is cleaned; a name with a user prefix is clean already.
 * cmdline has a bar for each NUL. comm is NULL if it is the base name of the program. */
struct row {
    const char *what;
    const char *cgroup;
    const char *want;
    const char *cmdline;
    const char *comm;
};
#define NGINX(what, cgroup, want) RUNS(what, cgroup, want, "/usr/sbin/nginx|")
#define RUNS(what, cgroup, want, cmdline) NAMED(what, cgroup, want, cmdline, NULL)
#define NAMED(what, cgroup, want, cmdline, comm)                                                   \
    { what, cgroup, want, cmdline, comm }
#define BOX(what, cgroup) NGINX(what, cgroup, "container 9687bac58d5c")

/* Sets cmdline to the command line of a row. Returns its length. */
static size_t cmdline_of(const struct row *row, char *cmdline) {
    const size_t len = strlen(strcpy(cmdline, row->cmdline));

    for (char *bar = cmdline; (bar = memchr(bar, '|', len - (size_t)(bar - cmdline)));)
        *bar = '\0';
    return len;
}

static const char *comm_of(const struct row *row, const char *cmdline) {
    static char comm[32];
    const char *slash = strrchr(cmdline, '/');

    snprintf(comm, sizeof(comm), "%.15s\n", slash ? slash + 1 : cmdline);
    return row->comm ? row->comm : comm;
}

static void check(const struct row *row, const char *cgroup) {
    char cmdline[256], want[2 * KSM_CONSUMER_NAME_SIZE], got[2 * KSM_CONSUMER_NAME_SIZE];
    const size_t cmdline_len = cmdline_of(row, cmdline);
    const char *comm = comm_of(row, cmdline);
    const struct ksm_identity identity = {
        .cgroup = suite_guarded(cgroup, strlen(cgroup)),
        .cgroup_len = strlen(cgroup),
        .cmdline = suite_guarded(cmdline, cmdline_len),
        .cmdline_len = cmdline_len,
        .comm = suite_guarded(comm, strlen(comm)),
        .comm_len = strlen(comm),
    };
    struct ksm_consumer_name name;

    ksm_consumer_identify(&identity, &name);
    snprintf(got, sizeof(got), "%s %s", ksm_consumer_kinds[name.kind], name.text);
    const char *text = strchr(strcpy(want, row->want), ' ') + 1;
    if (strncmp(text, "user-", 5) != 0)
        ksm_consumer_name_clean(strchr(row->want, ' ') + 1, strlen(text), want + (text - want));
    ck_assert_msg(strcmp(got, want) == 0, "%s, %s: got %s, want %s", row->what,
                  suite_quote(cgroup, strlen(cgroup)), got, want);
}

/* ---- cgroups ---- */

/* Paths, tried in each of forms. */
static const struct row path_rows[] = {
    BOX("Docker, systemd driver", "/system.slice/docker-" ID1 ".scope"),
    BOX("Docker, cgroupfs driver", "/docker/" ID1),
    BOX("Docker with systemd in the container", "/docker/" ID1 "/system.slice/nginx.service"),
    BOX("Docker with init in the container", "/system.slice/docker-" ID1 ".scope/init"),
    BOX("Docker in Docker: the outer one", "/docker/" ID1 "/docker/" ID2),
    NGINX("Docker, rootless", USER "/user.slice/docker-" ID1 ".scope",
          "container user-1000:9687bac58d5c"),
    BOX("minikube: the node is a container", "/docker/" ID1 POD "/crio-" ID2 ".scope"),
    RUNS("Docker's daemon", "/system.slice/docker.service", "service docker",
         "/usr/bin/dockerd|-H|fd://|"),
    BOX("Amazon ECS", "/ecs/0123456789abcdef0123456789abcdef/" ID1),

    BOX("Podman, systemd", "/machine.slice/libpod-" ID1 ".scope"),
    BOX("Podman with crun", "/machine.slice/libpod-" ID1 ".scope/container"),
    BOX("Podman, cgroupfs", "/libpod_parent/libpod-" ID1),
    NGINX("Podman, rootless", USER "/user.slice/libpod-" ID1 ".scope/container",
          "container user-1000:9687bac58d5c"),
    BOX("Podman, pod, systemd",
        "/machine.slice/machine-libpod_pod_" ID2 ".slice/libpod-" ID1 ".scope/container"),
    BOX("Podman, pod, cgroupfs", "/libpod_parent/" ID2 "/libpod-" ID1),
    NGINX("Podman, pod, rootless",
          USER "/user.slice/user-libpod_pod_" ID2 ".slice/libpod-" ID1 ".scope/container",
          "container user-1000:9687bac58d5c"),
    BOX("Podman, Quadlet", "/system.slice/nginx.service/libpod-payload-" ID1),
    RUNS("Podman, Quadlet, conmon", "/system.slice/nginx.service/runtime", "service nginx",
         "/usr/bin/conmon|--api-version|1|"),
    RUNS("Podman, conmon", "/machine.slice/libpod-conmon-" ID1 ".scope", "program conmon",
         "/usr/bin/conmon|--api-version|1|"),
    RUNS("Podman, conmon, rootless", USER "/user.slice/libpod-conmon-" ID1 ".scope",
         "program conmon", "/usr/bin/conmon|--api-version|1|"),
    RUNS("Podman, conmon, cgroupfs", "/libpod_parent/conmon", "program conmon",
         "/usr/bin/conmon|--api-version|1|"),
    RUNS("podman itself, rootless", USER "/user.slice/podman-6696.scope", "program podman",
         "podman|run|"),

    BOX("Kubernetes, containerd, burstable", POD "/cri-containerd-" ID1 ".scope"),
    BOX("Kubernetes, cgroupfs, burstable",
        "/kubepods/burstable/pod187bff14cccb94f179e943eacce55bb3/" ID1),
    BOX("Kubernetes, kubelet with its own root",
        "/kubelet/kubepods/burstable/pod187bff14cccb94f179e943eacce55bb3/" ID1),
    BOX("Kubernetes in kind",
        "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/"
        "kubelet-kubepods-besteffort-pod" UID ".slice/cri-containerd-" ID1 ".scope"),
    BOX("containerd with runc's systemd names",
        "/system.slice/containerd.service/kubepods-burstable-pod" UID ".slice:cri-containerd:" ID1),
    BOX("CRI-O", POD "/crio-" ID1 ".scope"),
    BOX("CRI-O, cgroupfs", "/kubepods/burstable/pod63b3ebfc-2890-11e9-8154-16bf8ef8d9dc/crio-" ID1),
    RUNS("CRI-O, conmon", POD "/crio-conmon-" ID1 ".scope", "program conmon",
         "/usr/bin/conmon|-b|"),
    RUNS("the kubelet", "/system.slice/kubelet.service", "service kubelet", "/usr/bin/kubelet|"),
    BOX("nerdctl", "/system.slice/nerdctl-" ID1 ".scope"),
    BOX("containerd, cgroupfs, namespace default", "/default/" ID1),
    RUNS("containerd and its shims", "/system.slice/containerd.service", "service containerd",
         "/usr/bin/containerd-shim-runc-v2|-id|" ID1 "|"),

    NGINX("LXC", "/lxc.payload.web", "container web"),
    NGINX("LXC with systemd in the container", "/lxc.payload.web/system.slice/nginx.service",
          "container web"),
    NGINX("LXC 3.1", "/lxc.payload/web", "container web"),
    NGINX("LXC, old", "/lxc/web", "container web"),
    NGINX("LXC, old, of a user", "/user.slice/user-1000.slice/session-3.scope/lxc/web",
          "container user-1000:web"),
    NGINX("LXC in LXC: the outer one", "/lxc.payload.web/lxc.payload.inner/init.scope",
          "container web"),
    NGINX("Docker in LXC: the outer one", "/lxc.payload.web/system.slice/docker-" ID1 ".scope",
          "container web"),
    NGINX("LXC, name with dots", "/lxc.payload.web.example.org/init.scope",
          "container web.example.org"),
    NGINX("LXD, project", "/lxc.payload.shop_web/.lxc", "container shop_web"),
    NAMED("LXC's monitor", "/lxc.monitor.web", "program lxc-start",
          "[lxc monitor] /var/lib/lxc web|", "lxc-start\n"),
    NGINX("Proxmox VE, container", "/lxc/101/ns", "container 101"),
    NAMED("Proxmox VE, container's monitor", "/lxc.monitor/101", "program lxc-start",
          "[lxc monitor] /var/lib/lxc 101|", "lxc-start\n"),
    NGINX("libvirt's LXC", "/machine.slice/machine-lxc\\x2d1268\\x2dsl.scope/libvirt",
          "container sl"),
    NGINX("libvirt's LXC, no machined", "/machine/lxc-1268-sl.libvirt-lxc", "container sl"),
    NGINX("libvirt's LXC, old", "/machine/auto_sirius.libvirt-lxc", "container auto_sirius"),

    NGINX("nspawn", "/machine.slice/machine-deb12.scope/payload/init.scope", "container deb12"),
    NGINX("nspawn, escaped", "/machine.slice/machine-my\\x2dbox.scope/payload", "container my-box"),
    NGINX("nspawn, UTF-8 in escapes", "/machine.slice/machine-gr\\xc3\\xbcn.scope",
          "container grün"),
    NGINX("nspawn, a name like libvirt's", "/machine.slice/machine-lxcbox.scope",
          "container lxcbox"),
    NGINX("nspawn, a name like libvirt's without a number",
          "/machine.slice/machine-lxc\\x2dbox.scope", "container lxc-box"),
    NGINX("nspawn, a name like libvirt's with another word for the number",
          "/machine.slice/machine-lxc\\x2da\\x2db.scope", "container lxc-a-b"),
    NGINX("nspawn as a service", "/machine.slice/systemd-nspawn@deb12.service/payload/init.scope",
          "container deb12"),
    RUNS("nspawn as a service, supervisor",
         "/machine.slice/systemd-nspawn@deb12.service/supervisor", "container deb12",
         "systemd-nspawn|--quiet|"),
    NGINX("nspawn as a service, escaped",
          "/machine.slice/systemd-nspawn@my\\x2dbox.service/payload", "container my-box"),

    NGINX("systemd service", "/system.slice/nginx.service", "service nginx"),
    RUNS("template", "/system.slice/system-getty.slice/getty@tty1.service", "service getty@tty1",
         "/sbin/agetty|-o|"),
    RUNS("escaped instance",
         "/system.slice/system-systemd\\x2dfsck.slice/"
         "systemd-fsck@dev-disk-by\\x2duuid-3E7A\\x2d1F2C.service",
         "service systemd-fsck@dev-disk-by-uuid-3E7A-1F2C", "/usr/lib/systemd/systemd-fsck|"),
    NGINX("escaped slash", "/system.slice/backup@srv\\x2fwww.service", "service backup@srv/www"),
    NGINX("broken escapes stay", "/system.slice/a\\x2.service", "service a\\x2"),
    NGINX("capital escapes are none", "/system.slice/a\\x2Db.service", "service a\\x2Db"),
    RUNS("name with dots", "/system.slice/org.cups.cupsd.service", "service org.cups.cupsd",
         "/usr/sbin/cupsd|-l|"),
    NAMED("cluster of a template",
          "/system.slice/system-postgresql.slice/postgresql@15-main.service",
          "service postgresql@15-main", "postgres: 15/main: walwriter |", "postgres\n"),
    NGINX("delegated cgroup", "/system.slice/nginx.service/workers/1", "service nginx"),
    RUNS("user's service", USER "/app.slice/syncthing.service", "service user-1000:syncthing",
         "/usr/bin/syncthing|"),
    RUNS("user's service, autostarted", USER "/app.slice/app-org.gnome.Evolution@autostart.service",
         "service user-1000:app-org.gnome.Evolution@autostart",
         "/usr/libexec/evolution-alarm-notify|"),
    NGINX("user's service of a name that is changed", USER "/app.slice/a\\x2fb.service",
          "service user-1000:a_b~e2480c78"),
    NGINX("user's service called like another user's", USER "/app.slice/user-1001:redis.service",
          "service user-1000:user-1001:redis"),
    NGINX("user's service called like another user's systemd", USER "/app.slice/user@1001.service",
          "service user-1000:user@1001"),
    NGINX("root's user service", "/user.slice/user-0.slice/user@0.service/app.slice/redis.service",
          "service user-0:redis"),
    NGINX("the largest uid",
          "/user.slice/user-4294967294.slice/user@4294967294.service/app.slice/redis.service",
          "service user-4294967294:redis"),
    NGINX("user's service, from a session's cgroup namespace",
          "/../user@1000.service/app.slice/redis.service", "service user-1000:redis"),
    NGINX("user's service, from another user's cgroup namespace",
          "/../../user-1000.slice/user@1000.service/app.slice/redis.service",
          "service user-1000:redis"),
    NGINX("a session from another's cgroup namespace", "/../session-3.scope/lxc/web",
          "container user-:web"),
    NGINX("a user's slice inside a service", "/system.slice/a.service/user-1000.slice/b.service",
          "service b"),
    NGINX("a user's slice inside a container", "/lxc.payload.web" USER "/app.slice/redis.service",
          "container web"),
    NGINX("a slice called like a user's", "/user-web.slice/redis.service", "service redis"),
    NGINX("a slice called like a user's, a number too long",
          "/user-12345678901.slice/redis.service", "service redis"),
    RUNS("user's systemd", USER "/init.scope", "service user@1000", "/lib/systemd/systemd|--user|"),
    RUNS("desktop program", USER "/app.slice/app-gnome-firefox-4242.scope", "program firefox",
         "/usr/lib/firefox/firefox|"),
    RUNS("desktop program, snap",
         USER "/app.slice/snap.firefox.firefox-2f6e9b7a-0c7d-4f0c-93b4-4c3f1d6a9e11.scope",
         "program firefox", "/snap/firefox/1/firefox|"),
    RUNS("terminal's child",
         USER "/app.slice/app-org.gnome.Terminal.slice/"
              "vte-spawn-f22f14d2-3d44-4304-9879-3fdd0df7b08e.scope",
         "program bash", "bash|"),
    NAMED("session", "/user.slice/user-1000.slice/session-3.scope", "program bash", "-bash|",
          "bash\n"),
    NAMED("systemd itself", "/init.scope", "program systemd", "/sbin/init|", "systemd\n"),
    RUNS("the root", "/", "program a.out", "./a.out|"),
    RUNS("a slice", "/user.slice", "program a.out", "./a.out|"),
    BOX("from another cgroup namespace", "/../../system.slice/docker-" ID1 ".scope"),

    NGINX("removed cgroup", "/system.slice/nginx.service (deleted)", "service nginx"),
    BOX("removed container", "/system.slice/docker-" ID1 ".scope (deleted)"),

    NGINX("id too short", "/docker/9687bac58d5c", "program nginx"),
    NGINX("id of other letters",
          "/docker/z687bac58d5c4d1606aa46af33d1a21c1d1652e0ac9fb3fc0fc86e3495f42869",
          "program nginx"),
    NGINX("id of capitals",
          "/docker/9687BAC58D5C4D1606AA46AF33D1A21C1D1652E0AC9FB3FC0FC86E3495F42869",
          "program nginx"),
    NGINX("id too long", "/docker/0" ID1, "program nginx"),
    NGINX("unit without a name", "/system.slice/.service", "program nginx"),
    NGINX("machine without a name", "/machine.slice/machine-.scope", "program nginx"),
    NGINX("payload without a name", "/lxc.payload.", "program nginx"),
};

/* Lines of a cgroup file, of versions 1 and 2 and hybrids; * is the path. */
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

TEST_ROWS(path_identifies_the_consumer, path_rows) {
    for (int form = 0; form < ROWS(forms); form++) {
        char cgroup[4096];
        fill_in(forms[form], row->cgroup, cgroup);
        check(row, cgroup);
    }
}

/* ---- order of the lines ---- */

static const struct row line_rows[] = {
    NGINX("systemd's line before version 2's",
          "5:memory:/\n1:name=systemd:/system.slice/a.service\n0::/system.slice/b.service\n",
          "service a"),
    NGINX("whatever their order",
          "0::/system.slice/b.service\n1:name=systemd:/system.slice/a.service\n", "service a"),
    NGINX("version 2's before the controllers'",
          "5:memory:/system.slice/a.service\n0::/system.slice/b.service\n", "service b"),
    NGINX("version 2's if systemd's says nothing", "1:name=systemd:/\n0::/system.slice/b.service\n",
          "service b"),
    BOX("a controller's if the others say nothing",
        "1:name=systemd:/\n0::/\n7:net_cls:/\n5:memory:/docker/" ID1 "\n"),
    BOX("the first controller's", "7:cpu:/docker/" ID1 "\n5:memory:/docker/" ID2 "\n"),
    BOX("Docker under OpenRC",
        "13:openrc:/docker\n10:pids:/docker/" ID1 "\n1:name=openrc:/docker\n"),
    RUNS("OpenRC's service is none of systemd's", "1:name=openrc:/sshd\n0::/\n", "program sshd",
         "sshd|"),
    NGINX("no line at all", "", "program nginx"),
    NGINX("one newline", "\n", "program nginx"),
    NGINX("a colon in the path", "0::/system.slice/a:b.service\n", "service a:b"),
    NAMED("the kernel without cgroups", "", "program a.out", "", "a.out\n"),
    NGINX("the user by systemd's line, the container by another",
          "5:memory:/user/joe/0/lxc/web\n1:name=systemd:" SESSION "\n", "container user-1000:web"),
    NGINX("a line of words", "what is this.service\n", "program nginx"),
};

TEST_ROWS(line_that_decides, line_rows) {
    check(row, row->cgroup);
}

/* ---- virtual machines ---- */

#define QEMU "/usr/bin/qemu-system-x86_64|"
#define LIBVIRT V2("/machine.slice/machine-qemu\\x2d3\\x2dweb\\x2d01.scope/libvirt/emulator")

static const struct row vm_rows[] = {
    RUNS("libvirt", LIBVIRT, "vm web-01", QEMU "-name|guest=web-01,debug-threads=on|-S|"),
    RUNS("libvirt, no command line", LIBVIRT, "vm web-01", ""),
    RUNS("libvirt, an emulator not known by name", LIBVIRT, "vm web-01",
         "/usr/bin/kvm-spice|-name|x|"),
    RUNS("libvirt, a helper in the scope", LIBVIRT, "vm web-01", "/usr/bin/swtpm|socket|"),
    RUNS("libvirt, no -name", LIBVIRT, "vm web-01", QEMU "-m|1024|"),
    RUNS("libvirt, version 1",
         "5:memory:/machine.slice/machine-qemu\\x2d16\\x2dtest14.scope\n"
         "1:name=systemd:/machine.slice/machine-qemu\\x2d16\\x2dtest14.scope\n",
         "vm test14", ""),
    RUNS("libvirt in a partition",
         V2("/machine.slice/machine-test.slice/machine-qemu\\x2d16\\x2dtest14.scope/libvirt/vcpu0"),
         "vm test14", ""),
    RUNS("OpenStack",
         V2("/machine.slice/machine-qemu\\x2d1\\x2dinstance\\x2d0000001d.scope/emulator"),
         "vm instance-0000001d",
         "/usr/libexec/qemu-kvm|-name|guest=instance-0000001d,debug-threads=on|"),
    RUNS("a dot in the scope's name", V2("/machine.slice/machine-qemu\\x2d2\\x2dubuntu20.04.scope"),
         "vm ubuntu20.04", ""),
    RUNS("libvirt, no machined", V2("/machine/qemu-1-adminwin2016.libvirt-qemu/emulator"),
         "vm adminwin2016", ""),
    RUNS("libvirt, old", "5:memory:/machine/web.libvirt-qemu\n", "vm web", ""),
    RUNS("libvirt without cgroups", "1:name=systemd:/system.slice/libvirtd.service\n", "vm web",
         QEMU "-name|guest=web,debug-threads=on|"),
    NGINX("nspawn called qemu", V2("/machine.slice/machine-qemu\\x2dbox.scope/payload"),
          "container qemu-box"),
    NGINX("nspawn called qemu, and more",
          V2("/machine.slice/machine-qemu\\x2da\\x2db.scope/payload"), "container qemu-a-b"),

    RUNS("Proxmox VE", V2("/qemu.slice/100.scope"), "vm web",
         "/usr/bin/kvm|-id|100|-name|web,debug-threads=on|-no-shutdown|"),
    RUNS("Proxmox VE, 6", "5:memory:/qemu.slice/100.scope\n1:name=systemd:/qemu.slice/100.scope\n",
         "vm web", "/usr/bin/kvm|-id|100|-name|web|"),
    RUNS("Proxmox VE, no name", V2("/qemu.slice/100.scope"), "vm 100", "/usr/bin/kvm|-id|100|"),
    RUNS("Proxmox VE, a helper", V2("/qemu.slice/100.scope"), "vm 100", "swtpm|socket|"),
    RUNS("LXD's machine", V2("/system.slice/snap.lxd.daemon.service"), "vm v1",
         "/snap/lxd/24/bin/qemu-system-x86_64|-S|-name|v1|-uuid|u|"),
    RUNS("Incus's machine", V2("/system.slice/incus.service"), "vm v1",
         "/opt/incus/bin/qemu-system-x86_64|-S|-name|v1|-uuid|u|-daemonize|"),
    RUNS("LXD's machine, in a project, Debian", V2("/lxc.monitor.shop_v1"), "vm v1",
         "/usr/bin/qemu-system-x86_64|-S|-name|v1|-uuid|u|"),
    RUNS("KubeVirt", V2(POD "/cri-containerd-" ID1 ".scope"), "vm default_vm1",
         "/usr/libexec/qemu-kvm|-name|guest=default_vm1,debug-threads=on|"),
    RUNS("KubeVirt with CRI-O and cgroups in the pod",
         V2("/kubepods.slice/kubepods-pod" UID ".slice/crio-" ID1 ".scope/container/emulator"),
         "vm shop_web",
         "/usr/libexec/"
         "qemu-kvm|-name|guest=shop_web,debug-threads=on|-S|-machine|pc-q35-rhel9.4.0|"),
    RUNS("KubeVirt's launcher is a container", V2(POD "/crio-" ID1 ".scope"),
         "container 9687bac58d5c",
         "/usr/bin/virt-launcher|--qemu-timeout|300s|--name|web|--uid|u|--namespace|shop|"),
    RUNS("a machine in a container, no name", V2("/docker/" ID1), "vm 9687bac58d5c",
         QEMU "-m|1024|"),
    RUNS("a machine as a service, no name", V2("/system.slice/qemu@web.service"), "vm qemu@web",
         QEMU "-m|1024|"),
    RUNS("a machine in a session", V2(SESSION), "vm user-1000:web", QEMU "-name|web|"),
    RUNS("a machine in a session, no name", V2(SESSION), "vm user-1000:qemu-system-x86",
         QEMU "-m|1024|"),
    RUNS("a machine in root's session", V2("/user.slice/user-0.slice/session-3.scope"),
         "vm user-0:web", QEMU "-name|web|"),
    RUNS("a machine of a user's libvirt", V2(USER "/session.slice/libvirtd.service"),
         "vm user-1000:web", QEMU "-name|guest=web,debug-threads=on|"),
    RUNS("a machine as a user's service, no name", V2(USER "/app.slice/web.service"),
         "vm user-1000:web", QEMU "-m|1024|"),
    RUNS("a user's scope like libvirt's",
         V2(USER "/machine.slice/machine-qemu\\x2d3\\x2dweb.scope"), "vm user-1000:web", ""),
    RUNS("a user's slice like Proxmox's", V2(USER "/qemu.slice/100.scope"), "vm user-1000:100",
         "kvm|"),
    RUNS("a user's firecracker", V2(USER "/app.slice/run-r1.scope"), "vm user-1000:web",
         "/usr/bin/firecracker|--id|web|"),
    RUNS("a user's cloud-hypervisor", V2(SESSION), "vm user-1000:web",
         "cloud-hypervisor|--api-socket|/tmp/web.sock|"),
    RUNS("a machine in a session, version 1",
         "5:memory:/user.slice\n1:name=systemd:" SESSION "\n0::" SESSION "\n", "vm user-1000:web",
         QEMU "-name|web|"),
    RUNS("a machine in a session in a container", V2("/lxc.payload.shop" SESSION), "vm web",
         QEMU "-name|web|"),

    RUNS("-name web", "", "vm web", QEMU "-name|web|"),
    RUNS("--name web", "", "vm web", QEMU "--name|web|"),
    RUNS("-name guest=web", "", "vm web", QEMU "-name|guest=web|"),
    RUNS("guest= not first", "", "vm web", QEMU "-name|debug-threads=on,guest=web|"),
    RUNS("process= before", "", "vm web", QEMU "-name|process=q1,guest=web|"),
    RUNS("a doubled comma is one", "", "vm a,b,,c", QEMU "-name|guest=a,,b,,,,c,debug-threads=on|"),
    RUNS("a doubled comma is one, no guest=", "", "vm a,b", QEMU "-name|a,,b,process=x|"),
    RUNS("three commas: one, and the end", "", "vm a,", QEMU "-name|guest=a,,,debug-threads=on|"),
    RUNS("guest= after a doubled comma is of the name", "", "vm qemu-system-x86",
         QEMU "-name|a,,guest=b|"),
    RUNS("an equals sign in the name", "", "vm a=b", QEMU "-name|guest=a=b|"),
    RUNS("quotes, a blank and an equals sign", "", "vm a\"b =c'd",
         QEMU "-name|guest=a\"b =c'd,x=y|"),
    RUNS("the same cleaned", "", "vm a_b__c_d", QEMU "-name|guest=a_b__c_d|"),
    RUNS("a newline", "", "vm a\nBEGIN x", QEMU "-name|guest=a\nBEGIN x|"),
    RUNS("UTF-8", "", "vm grün", QEMU "-name|guest=grün|"),
    RUNS("no guest at all", "", "vm qemu-system-x86", QEMU "-name|debug-threads=on|"),
    RUNS("an empty guest", "", "vm qemu-system-x86", QEMU "-name|guest=|"),
    RUNS("an empty name", "", "vm qemu-system-x86", QEMU "-name||-m|1|"),
    RUNS("-name at the end", "", "vm qemu-system-x86", QEMU "-m|1|-name|"),
    RUNS("-name at the end, no NUL", "", "vm qemu-system-x86", QEMU "-name"),
    RUNS("cut off in the name", "", "vm gue", QEMU "-name|gue"),
    RUNS("the first of two", "", "vm a", QEMU "-name|a|-name|b|"),
    RUNS("something like -name", "", "vm qemu-system-x86", QEMU "-names|a|-nam|b|"),

    RUNS("another architecture", "", "vm web", "qemu-system-aarch64|-name|web|"),
    RUNS("qemu-kvm", "", "vm web", "/usr/libexec/qemu-kvm|-name|web|"),
    RUNS("kvm", "", "vm web", "kvm|-name|web|"),
    NAMED("a user-mode emulator is none", "", "program qemu", "/usr/bin/qemu-x86_64|-name|web|",
          "qemu\n"),
    RUNS("qemu-img is none", "", "program qemu-img", "qemu-img|convert|-name|web|"),
    RUNS("an editor of a machine is none", "", "program vi",
         "vi|/usr/bin/qemu-system-x86_64|-name|web|"),
    RUNS("kvm is a directory", "", "program tool", "/opt/kvm/tool|-name|web|"),

    RUNS("firecracker --id", "", "vm 551e7604",
         "/usr/bin/firecracker|--api-sock|/tmp/f|--id|551e7604|"),
    RUNS("firecracker --id=", "", "vm 551e7604", "/firecracker|--id=551e7604|--start-time-us|1|"),
    RUNS("firecracker in its jail", V2("/firecracker/551e7604"), "vm 551e7604",
         "/firecracker|--id|551e7604|"),
    RUNS("firecracker as it is released", "", "vm web",
         "/usr/local/bin/firecracker-v1.7.0-x86_64|--id|web|"),
    RUNS("firecracker, no id", "", "vm firecracker", "firecracker|--no-api|"),
    RUNS("firecracker-containerd is none", V2("/system.slice/firecracker-containerd.service"),
         "service firecracker-containerd", "/usr/local/bin/firecracker-containerd|--id|x|"),
    RUNS("cloud-hypervisor", "", "vm vm1",
         "/usr/bin/cloud-hypervisor|--api-socket|/run/x/vm1.sock|--kernel|k|"),
    RUNS("cloud-hypervisor, path=", "", "vm vm1",
         "cloud-hypervisor|--api-socket|path=/run/x/vm1.sock|"),
    RUNS("cloud-hypervisor, --api-socket=path=", "", "vm vm1",
         "cloud-hypervisor|--api-socket=path=/run/x/vm1.sock|"),
    RUNS("cloud-hypervisor, no directory", "", "vm vm1", "cloud-hypervisor|--api-socket|vm1|"),
    RUNS("cloud-hypervisor as it is released", "", "vm vm1",
         "./cloud-hypervisor-static|--api-socket|/tmp/vm1.sock|"),
    RUNS("cloud-hypervisor, a socket without a name", V2("/system.slice/vm1.service"), "vm vm1",
         "cloud-hypervisor|--api-socket|fd=3|"),
    RUNS("cloud-hypervisor of Kata Containers", V2("/kata_overhead/" ID2), "vm sandbox1",
         "/opt/kata/bin/cloud-hypervisor|--api-socket|/run/vc/vm/sandbox1/clh-api.sock|"),
    RUNS("cloud-hypervisor of Kata Containers in Rust", "", "vm sandbox1",
         "/opt/kata/bin/cloud-hypervisor|--api-socket|/run/kata/sandbox1/ch-api.sock|"),
    RUNS("cloud-hypervisor, no socket", "", "vm cloud-hyperviso", "cloud-hypervisor|--kernel|k|"),
    RUNS("crosvm -s", "", "vm vm1", "/usr/bin/crosvm|run|--cpus|2|-s|/run/x/vm1.sock|vmlinux|"),
    RUNS("crosvm --socket", "", "vm vm1", "crosvm|run|--socket|/run/x/vm1.sock|vmlinux|"),
    RUNS("crosvm --socket=", "", "vm vm1", "crosvm|run|--socket=/run/x/vm1.sock|vmlinux|"),
    NAMED("crosvm, the process of a device", "", "vm vm1", "crosvm|run|-s|/run/x/vm1.sock|vmlinux|",
          "pcivirtio-block\n"),
    RUNS("crosvm, no socket", V2("/system.slice/vm1.service"), "vm vm1", "crosvm|run|vmlinux|"),
    RUNS("Kata Containers with Dragonball, in the shim", V2("/kata_overhead/" ID2), "vm sandbox1",
         "/opt/kata/runtime-rs/bin/containerd-shim-kata-v2|-namespace|k8s.io|-address|"
         "/run/containerd/containerd.sock|-id|sandbox1|"),
    RUNS("Kata Containers with QEMU", V2("/kata_overhead/" ID2), "vm sandbox-sandbox1",
         "/opt/kata/bin/qemu-system-x86_64|-name|sandbox-sandbox1,debug-threads=on|"),
    RUNS("ch-remote is none", "", "program ch-remote", "ch-remote|--api-socket|/run/x/vm1.sock|"),
};

TEST_ROWS(machine_is_identified, vm_rows) {
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

TEST_ROWS(program_is_named_by_its_comm, comm_rows) {
    const struct ksm_identity identity = {
        .comm = suite_guarded(row->comm, row->len),
        .comm_len = row->len,
    };
    struct ksm_consumer_name name;
    char want[KSM_CONSUMER_NAME_SIZE];

    ksm_consumer_identify(&identity, &name);
    ksm_consumer_name_clean(row->name, row->name_len, want);
    ck_assert_msg(name.kind == program && strcmp(name.text, want) == 0,
                  "%s: got %s %s, want program %s", suite_quote(row->comm, row->len),
                  ksm_consumer_kinds[name.kind], name.text, want);
}

/* ---- hostile texts ---- */

/* Returns a copy of this size, so that an address sanitizer detects any read beyond it. */
static const char *copy_of(const char *text, size_t len) {
    char *copy = malloc(len > 0 ? len : 1);

    return len > 0 ? memcpy(copy, text, len) : copy;
}

/* Expects a clean name of any three texts. */
static void expect_clean(const char *what, const char *cgroup, size_t cgroup_len,
                         const char *cmdline, size_t cmdline_len, const char *comm,
                         size_t comm_len) {
    const char *copies[] = {copy_of(cgroup, cgroup_len), copy_of(cmdline, cmdline_len),
                            copy_of(comm, comm_len)};
    const struct ksm_identity identity = {copies[0],   cgroup_len, copies[1],
                                          cmdline_len, copies[2],  comm_len};
    struct ksm_consumer_name name;

    memset(&name, 0xff, sizeof(name));
    ksm_consumer_identify(&identity, &name);
    const char *bad = fake_procs_check_name(name.text);
    must(!bad, "%s: got %s: %s", what,
         suite_quote(name.text, strnlen(name.text, KSM_CONSUMER_NAME_SIZE)), bad);
    must(name.kind < KSM_CONSUMER_KIND_COUNT, "%s: got kind %u", what, (unsigned)name.kind);
    for (int i = 0; i < ROWS(copies); i++)
        free((void *)(uintptr_t)copies[i]);
}

TEST(empty_texts_have_a_clean_name) {
    const struct ksm_identity nothing = {.cgroup = NULL};
    struct ksm_consumer_name name;

    ksm_consumer_identify(&nothing, &name);
    ck_assert_ptr_null(fake_procs_check_name(name.text));
    expect_clean("empty", "", 0, "", 0, "", 0);
    expect_clean("a machine without arguments", "", 0, TEXT("kvm"), "", 0);
    expect_clean("a machine with an empty name", "0::/", 4, TEXT("kvm\0-name\0"), "", 0);
}

/* Each text, cut off after each byte. */
TEST(cut_texts_have_a_clean_name) {
    char cmdline[256], cgroup[1024];

    for (int i = 0; i < ROWS(vm_rows); i++) {
        const struct row *row = &vm_rows[i];
        const size_t size = cmdline_of(row, cmdline);
        for (size_t len = 0; len <= size; len++)
            expect_clean(row->what, row->cgroup, strlen(row->cgroup), cmdline, len, "x\n", 2);
    }
    for (int i = 0; i < ROWS(path_rows); i++) {
        const size_t size = fill_in(forms[4], path_rows[i].cgroup, cgroup);
        for (size_t len = 0; len <= size; len++)
            expect_clean(path_rows[i].what, cgroup, len, "", 0, "x\n", 2);
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

TEST_ROWS(long_texts_have_a_clean_name, long_rows) {
    enum { MAX = 9000 };
    static const size_t sizes[] = {1, 63, 255, 256, 257, 4095, 4096, 4097, 8191, 8192, MAX - 100};
    const size_t after = strlen(row->after);

    for (int i = 0; i < ROWS(sizes); i++) {
        char text[MAX];
        size_t len = row->before_len;
        memcpy(text, row->before, len);
        memset(text + len, row->fill, sizes[i]);
        len += sizes[i] + after;
        memcpy(text + len - after, row->after, after);
        expect_clean(row->what, text, len, text, len, text, len);
        expect_clean(row->what, text, len, TEXT("kvm\0-name"), text, len);
    }
}

/* ---- different names ---- */

static void identify_command(const char *cmdline, size_t len, struct ksm_consumer_name *name) {
    const struct ksm_identity identity = {.cmdline = cmdline, .cmdline_len = len};

    ksm_consumer_identify(&identity, name);
}

/* The names of machines that differ in one byte, at each position. */
TEST(long_names_stay_different) {
    enum { SIZE = 6000 };
    static const char start[] = "kvm\0-name\0guest=";
    static char text[sizeof(start) - 1 + SIZE];
    struct ksm_consumer_name a, b;

    memcpy(text, start, sizeof(start) - 1);
    char *guest = text + sizeof(start) - 1;
    memset(guest, 'x', SIZE);
    identify_command(text, sizeof(text), &a);
    for (size_t i = 0; i < SIZE; i++) {
        guest[i] = 'y';
        identify_command(text, sizeof(text), &b);
        guest[i] = 'x';
        must(strcmp(a.text, b.text) != 0, "byte %zu of %d makes no difference: %s", i, SIZE,
             b.text);
    }
}

/* A consumer without a user prefix cannot pass for a user's. */
#define AS_A_USER "user-1000:web~9fb8de67"
static const struct row apart[] = {
    NAMED("vm", "", "vm web", "kvm|-name|web|", "web\n"),
    RUNS("container", V2("/lxc.payload.web"), "container web", "web|"),
    RUNS("service", V2("/system.slice/web.service"), "service web", "web|"),
    RUNS("program", "", "program web", "web|"),
    NGINX("a service like a user's", V2("/system.slice/user-1000:web.service"),
          "service " AS_A_USER),
    NGINX("an escaped service", V2("/system.slice/user-1000\\x3aweb.service"),
          "service " AS_A_USER),
    RUNS("a machine", V2("/qemu.slice/1.scope"), "vm " AS_A_USER, "kvm|-name|user-1000:web|"),
    NGINX("a container", V2("/lxc.payload.user-1000:web"), "container " AS_A_USER),
    NAMED("a program", V2(SESSION), "program " AS_A_USER, "", "user-1000:web\n"),
};

TEST_ROWS(kinds_keep_names_apart, apart) {
    check(row, row->cgroup);
}
