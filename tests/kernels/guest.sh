#!/bin/sh
# SPDX-License-Identifier: MIT
# shellcheck shell=dash disable=SC1091,SC2016,SC2086,SC2154
#
# Runs in the machines that systemd.py boots, as the service check.service, once a boot: it does what an admin does with
# the packages, and prints what the kernel, systemd and both hosts say of it, for life.py.  It judges nothing itself.
# On /mnt are the packages (old and, of a higher version, new) and a container's root with the workload (box).
exec >/dev/ttyS1 2>&1 </dev/null
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive HOME=/root
. /mnt/common.sh
find_ksmd
plugin=/usr/lib/netdata/plugins.d/ksm.plugin
csv=/var/lib/collectd/csv
packages="collectd-plugin-ksm netdata-plugin-ksm ksm-explain"
kept=/var/lib/check

apt() { apt-get -q -y -o Dpkg::Options::=--force-confdef "$@"; }
ask() { curl -s --max-time 20 "http://localhost:19999/api/v1/$1"; }
as_tess() { runuser -u tess -- env XDG_RUNTIME_DIR=/run/user/1000 "$@"; }
# What belongs to programs and their configurations, and whatever has our name but for what the hosts recorded.
paths() {
    {
        find /etc /usr /opt /srv /var/lib/dpkg /home -xdev
        find / -xdev -name '*ksm*' ! -path '/var/lib/collectd/*' ! -path '/var/cache/*'
    } | sort -u
}

collectd_values() {
    for file in "$csv"/*/ksm*/*; do
        echo "$file:$(tail -n 1 "$file")"
    done
}

labels() {
    for chart in $(ask 'allmetrics?format=json&filter=ksm.consumer_*' | sed -n 's/^\t"\(.*\)": {$/\1/p'); do
        echo "$chart $(ask "chart?chart=$chart" | sed -n '/"chart_labels"/,/}/p' | tr -d '\n')"
    done
}

# metrics NAME: in both daemons and ksm-explain's file, while KSM is stopped, between two readings of the kernel's.
metrics() {
    emit "$1.before" host
    sleep 25 # two intervals of collectd, and of the consumers
    emit "$1.netdata" ask 'allmetrics?format=json&filter=ksm*'
    emit "$1.labels" labels
    emit "$1.collectd" collectd_values
    emit "$1.prom" cat /var/lib/prometheus/node-exporter/ksm.prom
    emit "$1.sharing_service" systemctl start ksm-openmetrics-sharing.service
    emit "$1.sharing" cat /var/lib/prometheus/node-exporter/ksm_sharing.prom
    emit "$1.exported" sh -c 'curl -s localhost:9100/metrics | grep ^ksm_'
    emit "$1.after" host
}

# seen KIND_NAME...: wait until both daemons show these consumers, or a timeout.
seen() {
    for _ in $(seq 60); do
        shown="$(ask 'allmetrics?format=json&filter=ksm.consumer*') $(echo $csv/*/ksm_consumer-*)"
        lacking=
        for name; do
            case $shown in *"consumer_$name\""*"consumer-${name%%_*}-${name#*_}"*) ;; *) lacking=yes ;; esac
        done
        [ -n "$lacking" ] || break
        sleep 2
    done
}

# rights NAME: how the plugin runs.
rights() {
    emit "$1.file" stat -c '%U:%G %a' $plugin
    emit "$1.capability" getcap $plugin
    emit "$1.status" sh -c 'grep -h -E "^(Uid|Gid|CapEff|CapPrm|NoNewPrivs|Seccomp):" /proc/$(pidof ksm.plugin)/status'
    emit "$1.arguments" sh -c 'tr "\0" " " </proc/$(pidof ksm.plugin)/cmdline'
    emit "$1.processes" sh -c 'for name in collectd netdata ksm.plugin; do pgrep -c -x "$name"; done'
    emit "$1.hosts" systemctl is-active collectd netdata
    emit "$1.versions" dpkg-query -W -f '${Package} ${Version} ${Status}\n' '*ksm*'
}

# journal NAME: log lines about KSM's programs, security modules and filters since the last call.
journal() {
    emit "$1.journal" sh -c 'journalctl -q -o short --no-pager --cursor-file=/var/lib/check/cursor | grep -i ksm'
    emit "$1.netdata_log" sh -c 'grep -i ksm /var/log/netdata/error.log'
    : >/var/log/netdata/error.log # opened for appending
    emit "$1.kernel" sh -c 'journalctl -q -b -k --no-pager |
        grep -E "apparmor=.(DENIED|ALLOWED)|type=1326|seccomp=|Oops|oom-kill|ksm"'
}

# The admin's KSM: fast, and so at each boot.
start_ksm() {
    for line in "run 1" "sleep_millisecs 10" "pages_to_scan 20000" "advisor_mode none" "smart_scan 0"; do
        echo "w- $ksm/${line% *} - - - - ${line#* }"
    done >/etc/tmpfiles.d/ksm.conf
    systemd-tmpfiles --create /etc/tmpfiles.d/ksm.conf
}

# unit FILE COMMAND [LINE]...: a service that starts at boot.
unit() {
    file=$1
    printf '[Service]\nExecStart=%s\n' "$2" >"$file"
    shift 2
    printf '%s\n' "$@" '[Install]' 'WantedBy=default.target' >>"$file"
}

start_services() {
    cp /mnt/box/workload /usr/local/bin
    work="/bin/sh -c 'sleep infinity | exec workload identical 4096'"
    if [ "$(systemctl --version | awk '{ print $2; exit }')" -ge 256 ]; then
        unit /etc/systemd/system/shop.service "/usr/bin/perl -e '\$\$x = \"equal me\" x (4 << 20); sleep'" MemoryKSM=yes
    else
        unit /etc/systemd/system/shop.service "$work"
    fi
    systemctl enable --now shop.service
    loginctl enable-linger tess
    for _ in $(seq 60); do as_tess systemctl --user is-system-running && break; sleep 1; done
    as_tess mkdir -p /home/tess/.config/systemd/user
    unit /home/tess/.config/systemd/user/notes.service "$work"
    as_tess systemctl --user enable --now notes.service
}

start_containers() {
    cp -r /mnt/box /srv/box
    podman run -d -i --network=none --name=till --rootfs /srv/box /workload identical 4096
    cp -r /mnt/box /srv/tent
    mkdir -p /srv/tent/usr /srv/tent/etc
    systemd-run --unit=tent-starter sh -c 'sleep infinity |
        systemd-nspawn -q --register=yes -M tent -D /srv/tent --pipe /workload identical 4096'
}

# As in collectd/README.md.
start_openmetrics() {
    systemctl enable --now ksm-openmetrics.timer ksm-openmetrics-sharing.timer
}

# collectd without any capability, as some releases of it come; until the machine is booted again.
confine() {
    mkdir -p /run/systemd/system/collectd.service.d
    printf '[Service]\nCapabilityBoundingSet=\nNoNewPrivileges=yes\nProtectSystem=full\nProtectHome=yes\n' \
        >/run/systemd/system/collectd.service.d/confined.conf
    systemctl daemon-reload && systemctl restart collectd
}

edit_configurations() {
    echo '# mine' >>/etc/collectd/collectd.conf.d/ksm.conf
    printf '[plugin:ksm]\n\tcommand options = --consumers=15\n' >>/etc/netdata/netdata.conf
}

# Removes what the admin added apart from the packages.
undo() {
    systemctl disable --now ksm-openmetrics.timer ksm-openmetrics-sharing.timer shop.service
    systemctl stop ksm-openmetrics.service ksm-openmetrics-sharing.service
    as_tess systemctl --user disable --now notes.service
    loginctl disable-linger tess
    rm -r /etc/systemd/system/shop.service /etc/tmpfiles.d/ksm.conf \
        /var/lib/prometheus/node-exporter/ksm.prom /var/lib/prometheus/node-exporter/ksm_sharing.prom /usr/local/bin/workload /srv/box /srv/tent /home/tess/.config
}

first_boot() {
    emit debian cat /etc/debian_version
    emit kernel uname -r
    emit systemd systemctl --version
    emit cgroups stat -f -c %T /sys/fs/cgroup
    emit page getconf PAGESIZE
    emit user id -u netdata
    emit version dpkg-deb -f /mnt/old/ksm-explain_*.deb Version
    emit netdata dpkg-query -W -f '${Version}' netdata-core
    emit collectd dpkg-query -W -f '${Version}' collectd-core
    printf 'LoadPlugin csv\n<Plugin csv>\n  DataDir "%s"\n</Plugin>\n' $csv >/etc/collectd/collectd.conf.d/csv.conf
    systemctl restart collectd
    paths >$kept/before
    emit install apt install /mnt/old/*.deb
    emit start_ksm start_ksm
    emit start_openmetrics start_openmetrics
    emit start_services start_services
    emit start_containers start_containers
    emit container podman ps --no-trunc --format '{{.ID}}'
    seen service_shop service_user-1000:notes container_tent container_"$(podman ps --format '{{.ID}}')"
    settle
    metrics first
    emit explain ksm-explain
    emit shop systemctl show shop.service -p MemoryKSM
    rights first
    for name in ksm-openmetrics ksm-openmetrics-sharing; do
        emit "security.$name" systemd-analyze security --no-pager $name.service
        emit "timer.$name" systemctl is-active $name.timer
    done
    journal first
    podman rm -f till
    machinectl terminate tent
    edit_configurations
    emit upgrade apt install /mnt/new/*.deb
    echo 1 >$ksm/run
    seen service_shop service_user-1000:notes
    settle
    metrics upgraded
    rights upgraded
    emit upgraded.conf cat /etc/collectd/collectd.conf.d/ksm.conf
    journal upgraded
    emit confine confine
    sleep 40
    emit confined.before host
    emit confined.collectd collectd_values
    emit confined.after host
    journal confined
}

second_boot() {
    seen service_shop service_user-1000:notes
    settle
    metrics rebooted
    rights rebooted
    journal rebooted
    emit undo undo
    emit remove apt remove $packages
    sleep 5
    emit removed.hosts systemctl is-active collectd netdata
    emit removed.left sh -c 'pgrep -l ksm.plugin; ls -1 /etc/collectd/collectd.conf.d | grep ksm'
    journal removed
    emit purge apt purge $packages
    emit purged.hosts systemctl is-active collectd netdata
    paths >$kept/after
    emit purged.paths diff $kept/before $kept/after
    emit purged.rights sh -c '(dpkg-statoverride --list; dpkg-query -W) | grep ksm'
    journal purged
    rm $csv/*/ksm* -r
    systemctl restart collectd netdata
    sleep 20
    emit restarted.hosts systemctl is-active collectd netdata
    journal restarted
}

mkdir -p $kept
turn=$(cat $kept/turn 2>/dev/null || echo 0)
echo $((turn + 1)) >$kept/turn
emit up systemctl is-system-running --wait
if [ "$turn" = 0 ]; then
    first_boot
elif [ -e $kept/asked ]; then
    second_boot
else
    echo "@problem the machine restarted by itself"
fi
emit failed systemctl --failed --plain --no-legend
[ "$turn" = 0 ] || echo "@done"
touch $kept/asked
systemctl reboot
