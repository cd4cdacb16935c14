# SPDX-License-Identifier: MIT
# shellcheck shell=dash disable=SC2034
#
# Functions of init.sh and guest.sh.
ksm=/sys/kernel/mm/ksm

# emit NAME COMMAND...: its output, between "@begin NAME" and "@end STATUS".
emit() {
    echo "@begin $1"
    shift
    "$@" 2>&1
    echo "@end $?"
}

set_knob() { [ ! -e "$ksm/$1" ] || echo "$2" >"$ksm/$1"; }

find_ksmd() {
    for stat in /proc/[0-9]*/stat; do
        read -r pid comm _ <"$stat" && [ "$comm" = "(ksmd)" ] && ksmd=$pid
    done
}

# The source files of the host's metrics.
host() {
    grep -H . $ksm/* /proc/meminfo /proc/vmstat "/proc/$ksmd/stat" "/proc/$ksmd/schedstat" "/proc/$ksmd/comm" \
        "/proc/$ksmd/status" /proc/2/comm /proc/2/status
}

# settle: KSM has gone through all memory, and then again twice without finding more; then it is stopped.
settle() {
    last='' same=0
    echo 1 >$ksm/run
    read -r begun <$ksm/full_scans
    for _ in $(seq 300); do
        sleep 0.5
        read -r scans <$ksm/full_scans
        now=$(cat $ksm/pages_shar* $ksm/ksm_zero_pages 2>/dev/null)
        if [ "$now" = "$last" ]; then same=$((same + 1)); else same=0; fi
        last=$now
        [ $((scans - begun)) -ge 4 ] && [ $same -ge 3 ] && break
    done
    echo 0 >$ksm/run
}
