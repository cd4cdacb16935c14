#!/bin/sh
# SPDX-License-Identifier: MIT
# deps.sh run|check|bench|browser|deb|rpm|package|kernels|systemd ...: install the Debian packages
# that are missing here, for building and `make run` (run), for the tests and lint
# (check), for what the benchmark compares with (bench), for looking at the dashboard
# (browser), for building Debian packages (deb) or RPMs (rpm), for trying the
# packages (package), or for booting other kernels and architectures (kernels)
# and other releases of Debian (systemd).
# It starts no service, and enables none at boot, that was not there before.
set -eu

run='gcc libc6-dev libxxhash-dev make collectd-core collectd-dev netdata-core netdata-web python3'
check='check pkg-config clang clang-format clang-tidy cppcheck shellcheck
    python3-pytest python3-pytest-xdist python3-jsonschema pyflakes3 strace procps
    binutils iproute2 libcap2-bin libclang-rt-dev valgrind gcovr mandoc prometheus
    libmicrohttpd12 libprotobuf-c1 netdata-plugins-bash musl-tools jsonnet codespell
    prometheus-node-exporter python3-prometheus-client unicode-data'
bench='prometheus-node-exporter valgrind strace gnuplot-nox fonts-dejavu-core'
# Heavy, so that only the slow tests and the picture in the README ask for it.
browser='chromium chromium-driver python3-selenium fonts-dejavu-core pngquant'
# Other architectures: machines and compilers.
kernels='qemu-system-x86 qemu-system-arm qemu-system-ppc qemu-system-misc opensbi
    cpio gcc-aarch64-linux-gnu gcc-powerpc64le-linux-gnu gcc-riscv64-linux-gnu
    gcc-s390x-linux-gnu libc6-dev-arm64-cross libc6-dev-ppc64el-cross
    libc6-dev-riscv64-cross libc6-dev-s390x-cross'
systemd='qemu-system-x86 mmdebstrap e2fsprogs'
deb='build-essential debhelper collectd-dev libxxhash-dev'
rpm='gcc libc6-dev make pkg-config check collectd-dev libxxhash-dev rpm'
package='build-essential debhelper lintian debootstrap libcap2-bin rpm rpmlint busybox-static'

# The services among them, whose packages' postinst would start them and enable
# them at boot.
services='collectd netdata prometheus prometheus-node-exporter'
package_of() { case $1 in prometheus*) echo "$1" ;; *) echo "$1-core" ;; esac; }

policy=/usr/sbin/policy-rc.d        # what maintainer scripts ask before a start
saved=$policy.before-ksm-deps       # the one that was there before ours
marker='# ksm deps.sh denies:'      # tells ours from any other; services follow
lock=/run/ksm-deps.lock
PATH=$PATH:/usr/sbin:/sbin          # after a plain `su` these may be lacking

say() { echo "deps.sh: $*"; }
fail() { say "$*" >&2; exit 1; }
has() { command -v "$1" >/dev/null; }
installed() { dpkg-query -W -f="\${db:Status-Status}\n" "$1" 2>/dev/null | grep -qx installed; }
missing() { for p in $wanted; do installed "$p" || printf ' %s' "$p"; done; }
apt() { apt-get -q -o DPkg::Lock::Timeout=120 "$@"; }
# No removals: a Netdata from elsewhere conflicts with Debian's, and is to stay.
# shellcheck disable=SC2086 # a list of words
install() { apt install -y --no-install-recommends --no-remove $need; }
ours() { grep -qs "^$marker" "$policy"; }

put_policy() {
    # A copy and a rename: at no moment is the machine without its own policy.
    if ! ours; then
        rm -f "$saved"
        if [ -e "$policy" ] || [ -h "$policy" ]; then cp -a "$policy" "$saved"; fi
    fi
    cat >"$policy.ksm-new" <<END
#!/bin/sh
$marker$new
# Here only while apt runs.  If it is still here later, run tests/deps.sh again.
for word; do
    for service in$new; do
        case \$word in "\$service"|"\$service.service") exit 101 ;; esac
    done
done
[ ! -x $saved ] || exec $saved "\$@"
# As without a policy: no start out of runlevel, "(start)", or without an init.
case \$* in *"("*) exit 101 ;; esac
[ -e /sbin/init ] || exit 101
exit 0
END
    chmod 755 "$policy.ksm-new"
    mv -f "$policy.ksm-new" "$policy"
}

# shellcheck disable=SC2317 # the trap calls it
cleanup() {
    trap '' HUP INT PIPE TERM
    set +e
    off=
    for s in $new; do
        installed "$(package_of "$s")" || continue
        # Debian's update-rc.d removes systemd's links too, systemd or not.
        if update-rc.d "$s" disable || systemctl disable "$s"; then off="$off $s"
        else say "could not disable the service $s at boot"; fi
    done >&2
    rm -f "$policy.ksm-new"
    if ours; then mv -f "$saved" "$policy" 2>/dev/null || rm -f "$policy"; fi
    on="systemctl enable --now$off"
    # shellcheck disable=SC2086 # one command for each
    has systemctl || on=$(printf 'update-rc.d %s enable; ' $off)
    [ -z "$off" ] || say "not started and not enabled at boot:$off (to enable: $on)"
}

wanted=
for word; do
    case $word in
    run) wanted="$wanted $run" ;;
    check) wanted="$wanted $check" ;;
    bench) wanted="$wanted $bench" ;;
    browser) wanted="$wanted $browser" ;;
    deb) wanted="$wanted $deb" ;;
    rpm) wanted="$wanted $rpm" ;;
    package) wanted="$wanted $package" ;;
    kernels) wanted="$wanted $kernels" ;;
    systemd) wanted="$wanted $systemd" ;;
    *) wanted=; break ;;
    esac
done
[ -n "$wanted" ] || { echo "usage: $0 run|check|bench|browser|deb|rpm|package|kernels|systemd ..." >&2; exit 2; }
if ! has apt-get || ! has dpkg-query; then
    # shellcheck disable=SC2086 # a list of words
    fail "no apt-get here; install what Debian calls" $wanted
fi

need=$(missing)
if [ -z "$need" ] && ! ours; then say "nothing to install for $*"; exit 0; fi

if [ "$(id -u)" != 0 ]; then
    # The whole script, so that putting things back needs no second password.
    say "needs root, to install:${need:- nothing, only to put $policy back}"
    if has sudo && sudo sh "$0" "$@"; then exit 0; fi
    fail "not done; as root, run: sh '$(cd "$(dirname "$0")" && pwd)/deps.sh' $*"
fi

# One run at a time.  apt-get inherits the lock, so that it is kept even when
# this script is killed and apt-get goes on; then the policy is still in use.
if has flock; then
    exec 9>"$lock"
    flock -n 9 || { say 'waits for another run'; flock -w 1800 9; } || fail "$lock is still held"
fi
need=$(missing)

# The services to keep off: those a killed run left behind, those not here yet.
left=$(sed -n "s/^$marker//p" "$policy" 2>/dev/null || :)
new=
for s in $services; do
    case " $left " in *" $s "*) new="$new $s"; continue ;; esac
    installed "$(package_of "$s")" || new="$new $s"
done

# sh handles a signal when the apt-get it waits for has ended: never halfway.
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 141' PIPE
trap 'exit 143' TERM
[ -n "$need" ] || exit 0
if [ -n "$new" ]; then put_policy; fi

say "apt-get installs what is missing for $*:$need"
export DEBIAN_FRONTEND=noninteractive
updated=
for p in $need; do
    apt-cache show "$p" >/dev/null 2>&1 && continue
    if apt update; then updated=yes; fi     # no lists yet, as in a fresh image
    break
done
if ! install; then
    # Stale lists, or an apt killed halfway; then apt asks for this dpkg command,
    # which by hand would start the services.
    dpkg --configure -a || :
    if [ -z "$updated" ]; then apt update || :; fi
    install || fail "apt-get could not install$need" \
        "(a Netdata from elsewhere conflicts with Debian's: then \`make\`, \`sudo make install-netdata\`)"
fi
