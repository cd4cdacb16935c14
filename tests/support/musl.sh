#!/bin/sh
# SPDX-License-Identifier: MIT
#
# musl.sh DIRECTORY: makes there what Debian's musl-tools lack for building the plugins and their unit
# tests: include/ with the headers of the kernel, of collectd and of the library check; lacking.h with
# what is in glibc, and in musl later (statx, 1.2.5) or never (strerrorname_np, in tests alone); and
# libcheck.a, of the source package.
set -eu
mkdir -p "$1"
cd "$1"
[ ! -e libcheck.a ] || exit 0

mkdir -p include apt/lists/partial
for headers in /usr/include/linux /usr/include/asm-generic /usr/include/collectd /usr/include/xxhash.h \
    "/usr/include/$(gcc -print-multiarch)/asm"; do
    ln -sfn "$headers" "include/$(basename "$headers")"
done

{
    echo '#include <alloca.h>'
    echo '#include <errno.h>'
    echo '#include <sys/stat.h>'
    echo '#include <sys/syscall.h>'
    echo '#include <unistd.h>'
    echo '#include <linux/stat.h>'
    echo '#define statx(...) syscall(SYS_statx, __VA_ARGS__)'
    echo 'static inline const char *strerrorname_np(int error) { switch (error) {'
    echo '#include <alloca.h>'
    echo '#include <errno.h>' | musl-gcc -E -dM - | sed -n 's/^#define \(E[A-Z0-9]*\) [0-9]*$/case \1: return "\1";/p'
    echo '} return 0; }'
} >include/lacking.h

# shellcheck disable=SC2016 # apt's own words
apt-get indextargets --format 'deb-src $(REPO_URI) $(RELEASE) main' 'Created-By: Packages' 'Origin: Debian' |
    grep -v security | sort -u >apt/sources.list
set -- -q -o "Dir::Etc::SourceList=$PWD/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o "Dir::State::Lists=$PWD/apt/lists" -o APT::Sandbox::User=root
apt-get "$@" update
apt-get "$@" source check
cd check-*/
./configure CC=musl-gcc --disable-shared --disable-subunit >/dev/null
make -s -C lib
make -s -C src libcheck.la
cp src/check.h check_stdint.h ../include
cp src/.libs/libcheck.a ../libcheck.a
