# SPDX-License-Identifier: MIT
"""Boots Debian's releases with their own systemd in QEMU, and judges how the packages live there.

    systemd.py --build DIRECTORY --packages DIRECTORY [--again] [--readme FILE] [WORD]...

A row of RELEASES is left out unless a WORD is its name or its number.  mmdebstrap makes the images from the mirror that
this machine's apt uses, with lists and a cache of their own: nothing is installed here.  The images are kept in
DIRECTORY for a week, and never written to.  With --again nothing is booted, and the output of the last boot is judged.
The exit status is 1 if a check failed.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from kernels import REPOSITORY, ROOMS, emulate, run
from life import Life
from machine import FRESH_DAYS, mirror, newer
from results import Record, conclude, judge

PACKAGES = ("collectd-plugin-ksm", "netdata-plugin-ksm", "ksm-explain")
BOOT_S = 1200               # limit on a busy machine
COLUMNS = ["Debian", "kernel", "systemd", "cgroups", "collectd", "Netdata", "a service merges by", "downloaded"]

# The system, both hosts, what reads ksm-explain's file, and two kinds of containers.
INSTALLED = """systemd-sysv dbus libpam-systemd apparmor collectd netdata prometheus-node-exporter curl procps
    podman crun systemd-container linux-image-cloud-amd64 initramfs-tools zstd""".split()

# The initial file system needs no more than these.  What is run at each boot is on the second disk.
SET_UP = (
    "printf 'virtio_pci\\nvirtio_blk\\next4\\n' >>$1/etc/initramfs-tools/modules",
    "sed -i s/^MODULES=.*/MODULES=list/ $1/etc/initramfs-tools/initramfs.conf",
    "chroot $1 update-initramfs -u",
    "chroot $1 useradd -m -u 1000 tess",
    "printf '/dev/vda / ext4 defaults 0 1\\n' >$1/etc/fstab",
    "echo debian >$1/etc/hostname; echo 127.0.0.1 localhost debian >$1/etc/hosts",
    "cp {rooms}/check.service $1/etc/systemd/system; chroot $1 systemctl enable check.service",
    "chroot $1 dpkg-query -W -f '${{Package}}:${{Architecture}}=${{Version}} ' | xargs chroot $1 apt-cache show |"
    " awk '/^Size:/ {{ sum += $2 }} END {{ print sum }}' >$1/size",
)


class Release(NamedTuple):
    """One to boot; netdata is the release that still has that package."""

    name: str
    number: str
    netdata: str


RELEASES = [Release("bookworm", "12", "bookworm"), Release("trixie", "13", "bookworm")]


def make_image(home, release):
    """Make the files disk, vmlinuz, initrd and size of RELEASE in HOME, if they are not there, or old."""
    size = home / "size"
    if size.exists() and time.time() - size.stat().st_mtime < FRESH_DAYS * 86400:
        return
    root, address = home / "root", mirror()[0]
    shutil.rmtree(root, ignore_errors=True)
    more = [f"deb {address} {release.netdata} main"] if release.netdata != release.name else []
    run("mmdebstrap", "--mode=root", "--variant=minbase", f"--include={','.join(INSTALLED)}",
        "--quiet", "--aptopt=APT::Sandbox::User \"root\"",
        *(f"--customize-hook={line.format(rooms=ROOMS)}" for line in SET_UP),
        release.name, root, f"deb {address} {release.name} main", *more)
    for name in ("vmlinuz", "initrd"):
        shutil.copy(root / f"{name}.img" if name == "initrd" else root / name, home / name)
    (home / "disk").unlink(missing_ok=True)
    run("mke2fs", "-q", "-t", "ext4", "-d", root, home / "disk", "3G")
    bytes_fetched = (root / "size").read_text()
    shutil.rmtree(root)
    size.write_text(bytes_fetched)


def make_programs(build):
    """Build the workload for a container that holds nothing else."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    run("make", "-s", "-C", REPOSITORY, f"BUILD={build}/static", "LDFLAGS=-static-pie",
        f"{build}/static/tests/workload", env=clean)


def make_second(home, packages):
    """Make the file second in HOME: a disk of what is tried, and of the programs to try it."""
    tree = home / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    for name in ("old", "new", "box"):
        (tree / name).mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        for package in PACKAGES:
            (deb,) = packages.glob(f"{package}_*.deb")
            shutil.copy(deb, tree / "old")
            shutil.copy(newer(deb, scratch), tree / "new")
    shutil.copy(home.parent / "static/tests/workload", tree / "box")
    for name in ("guest.sh", "common.sh"):
        shutil.copy(ROOMS / name, tree)
    (home / "second").unlink(missing_ok=True)
    run("mke2fs", "-q", "-t", "ext4", "-d", tree, home / "second", "64M")


def boot(home):
    """Boot the machine of HOME; its console goes to the file console, what guest.sh prints to results. Return seconds.

    One thread of this host is both its processors: with two, QEMU 7.2 runs into code that the kernel has just changed.
    """
    return emulate("x86_64", ["-accel", "tcg,thread=single", "-cpu", "max", "-m", "2048",
                              "-serial", f"file:{home}/console", "-serial", f"file:{home}/results",
                              "-drive", f"file={home}/disk,format=raw,if=virtio,snapshot=on",
                              "-drive", f"file={home}/second,format=raw,if=virtio,snapshot=on",
                              "-kernel", home / "vmlinuz", "-initrd", home / "initrd",
                              "-append", "root=/dev/vda rw console=ttyS0"], home / "results", BOOT_S)


def live(build, release, packages):
    """Boot RELEASE with PACKAGES, and note in the file about how that went."""
    home = build / release.name
    home.mkdir(parents=True, exist_ok=True)
    make_image(home, release)
    make_second(home, packages)
    print(f"Debian {release.number}: boots", flush=True)
    seconds = boot(home)
    (home / "about").write_text(f"{seconds:.0f} {(home / 'size').read_text().strip()} {time.strftime('%Y-%m-%d')}\n")


def check(home, release):
    """Print what was checked in the machine of HOME; return its record."""
    seconds, size, day = (home / "about").read_text().split()
    record = Record(int(seconds), int(size), day, Debian=release.number, downloaded=f"{int(size) / 1e6:.0f} MB")
    judge((home / "results").read_text(errors="replace"), record,
          lambda output: Life(output, record, home / "trees").all())
    record.print()
    return record


def main():
    """Boot and check; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, required=True, help="where everything is kept")
    parser.add_argument("--packages", type=Path, required=True, help="where make deb left the packages")
    parser.add_argument("--again", action="store_true", help="judge the output of the last boots")
    parser.add_argument("--readme", type=Path, help="put the table into this file")
    parser.add_argument("words", nargs="*", help="names or numbers of the releases that are wanted")
    options = parser.parse_args()
    build, packages = options.build.resolve(), options.packages.resolve()
    chosen = [release for release in RELEASES if not options.words or {release.name, release.number} & {*options.words}]
    if not options.again:
        make_programs(build)
        with ThreadPoolExecutor() as pool:      # each takes one processor
            list(pool.map(lambda release: live(build, release, packages), chosen))
    records = [check(build / release.name, release) for release in chosen]
    return conclude(records, COLUMNS, options.readme, "systemd")


if __name__ == "__main__":
    sys.exit(main())
