#!/bin/sh
# SPDX-License-Identifier: MIT
# shellcheck shell=dash disable=SC1091,SC2086,SC2154,SC2317
#
# The first process of a machine that kernels.py boots: it puts KSM into one state after the other and
# prints what the kernel, ksm.plugin, collectd and ksm-explain say of it, for judge.py. It judges nothing itself.
# What belongs together stands between "@begin NAME" and "@end STATUS".
export PATH=/bin
. /common.sh
cgroups=/sys/fs/cgroup
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t securityfs security /sys/kernel/security
mount -t cgroup2 cgroup $cgroups
mount -t tmpfs tmp /tmp
mkfifo /tmp/hold
exec 9<>/tmp/hold # an input that does not end
page_kb=$(awk '/KernelPageSize/ { print $2; exit }' /proc/self/smaps)
pages=$((49152 / page_kb)) # so many fill 48 MiB
[ $pages -ge 1536 ] || pages=1536
find_ksmd

# For so many seconds, and on a slow machine until there is a sample of the consumers, if there can be one.
hold() {
    sleep "$1"
    for _ in $(seq 40); do
        [ -e /proc/self/ksm_merging_pages ] && [ "$name" != off ] || return
        grep -q "^BEGIN ksm.consumers$\|ksm_consumer-unattributed" /tmp/out && return
        sleep 0.5
    done
}

# plugin NAME SECONDS COMMAND...: run ksm.plugin by COMMAND for SECONDS; its output and log.
plugin() {
    name=$1 seconds=$2
    shift 2
    : >/tmp/out
    hold "$seconds" | "$@" 1 --consumers-interval=3 >/tmp/out 2>/tmp/log
    status=$?
    emit "$name.log" cat /tmp/log
    echo "@begin $name.out"
    cat /tmp/out
    echo "@end $status"
}

processes() { grep -H . /proc/[0-9]*/ksm_stat /proc/[0-9]*/ksm_merging_pages /proc/[0-9]*/cgroup 2>/dev/null; }

# sample NAME: with KSM stopped, so that all metrics hold still: the kernel's files, the plugin, the files again.
sample() {
    emit "$1.before" host
    plugin "$1" 2 ksm.plugin
    emit "$1.after" host
}

# The same of collectd with ksm.so, in three intervals; its own memory may be in huge pages while it runs.
sample_collectd() {
    name=collectd
    emit collectd.before host
    collectd -f -C /collectd.conf >/tmp/out 2>&1 &
    hold 3
    emit collectd.after host
    kill $! && wait $!
    status=$?
    echo "@begin collectd.out"
    cat /tmp/out
    echo "@end $status"
}

explain() { emit "$1.explain" ksm-explain; }

sharing() { emit "$1.sharing" sh -c "ksm-explain --sharing --json --cpu 100 2>/dev/null"; }

make_cgroup() {
    path=$cgroups
    for part in $(echo "$1" | tr / ' '); do
        echo +memory >"$path/cgroup.subtree_control"
        path=$path/$part
        mkdir -p "$path"
    done
}

# start CGROUP PROGRAM WORD...: a workload; its pid is in $started.
start() {
    group=$cgroups/$1
    shift
    : >/tmp/ready
    sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group" "$@" <&9 >/tmp/ready 2>&1 &
    started=$!
    for _ in $(seq 600); do
        grep -q ready /tmp/ready && return
        sleep 0.2
    done
    echo "@problem workload $*: $(cat /tmp/ready)"
}

stop() {
    kill -9 "$@"
    wait "$@"
}

unmerge() {
    echo 2 >$ksm/run
    echo 0 >$ksm/run
}

# What the cgroup is charged: pages wait in lists of each CPU to be freed, and charges in stocks of each CPU. Those of
# other CPUs are emptied later (drain_all_stock).
charge() {
    echo 1 >/proc/sys/vm/compact_memory
    echo 0 >"$cgroups/$1/memory.high"
    sleep 1
    cat "$cgroups/$1/memory.current"
    echo max >"$cgroups/$1/memory.high"
}

emit kernel uname -rm
emit page echo "$page_kb" $pages
emit lsm cat /sys/kernel/security/lsm
emit files grep -H . $ksm/* /proc/vmstat /proc/meminfo /proc/self/ksm_stat

# ---- states without any program ----
set_knob advisor_mode none
set_knob smart_scan 0
set_knob sleep_millisecs 10
set_knob pages_to_scan 20000
set_knob use_zero_pages 0
explain off
sample off
echo 1 >$ksm/run
explain not_opted_in
echo 0 >$ksm/run

# ---- savings, to the page ----
web=system.slice/web.service
make_cgroup $web
for pattern in pairs triples identical zeros zeros_used; do
    [ $pattern != zeros_used ] || [ -e $ksm/ksm_zero_pages ] || continue
    [ $pattern != zeros_used ] || echo 1 >$ksm/use_zero_pages
    start $web workload ${pattern%_used} $pages
    emit $pattern.charge charge $web
    emit $pattern.estimate sh -c "ksm-explain --estimate --json --cpu 100 $started 2>/dev/null"
    settle
    emit $pattern.charge charge $web
    sample $pattern
    explain $pattern
    sharing $pattern
    stop $started
    unmerge
    set_knob use_zero_pages 0
done
explain unmerged_at_rest

# ---- savings by consumer ----
container=system.slice/docker-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.scope
vm='machine.slice/machine-qemu\x2d1\x2dguest1.scope'
make_cgroup $container
make_cgroup "$vm"
start $web workload pairs 1024 1 && all=$started
start $container workload triples 768 2 && all="$all $started"
start "$vm" workload pairs 512 3 && all="$all $started"
start . workload identical 512 4 && all="$all $started"
start $web become 1000 - workload pairs 256 5 && all="$all $started"
start $container workload unique 300 6 && all="$all $started"
start "$vm" workload unique 300 6 && all="$all $started"
settle
emit consumers.processes processes
sample consumers
sample_collectd
explain consumers
sharing consumers
plugin again 2 ksm.plugin
plugin user 2 become 1000 dac_read_search ksm.plugin
cp /bin/ksm.plugin /tmp
become granter /tmp/ksm.plugin || echo "@problem file capability"
plugin granted 2 become 1000 - /tmp/ksm.plugin
plugin denied 7 become 1000 - ksm.plugin
for hidepid in 1 2; do
    mount -o remount,hidepid=$hidepid /proc
    plugin hidepid$hidepid 2 become 1000 dac_read_search ksm.plugin
    emit hidepid$hidepid.explain become 1000 dac_read_search ksm-explain
done
mount -o remount,hidepid=0 /proc
plugin namespace 2 unshare -p -f --mount-proc ksm.plugin
emit namespace.explain unshare -p -f --mount-proc ksm-explain

# ---- at work, and processes that start and exit ----
set_knob pages_to_scan 0
echo 1 >$ksm/run
explain no_scan
set_knob pages_to_scan 2000
set_knob sleep_millisecs 20
start . workload churn 50
plugin churn 20 ksm.plugin
stop $started
echo 0 >$ksm/run
sleep 2
sample churned
set_knob pages_to_scan 100
set_knob sleep_millisecs 200
echo 1 >$ksm/run
explain ok
stop $all
echo 2 >$ksm/run
explain unmerged
start $web workload unique 1024
set_knob pages_to_scan 10
echo 1 >$ksm/run
explain waiting
set_knob pages_to_scan 20000
settle
set_knob pages_to_scan 100
echo 1 >$ksm/run
explain nothing
echo "@done"
sleep 5 # the console is slower than the end
poweroff -f
