# SPDX-License-Identifier: MIT
"""Boots Debian's kernels of several releases and architectures in QEMU, and checks the programs' output there.

    kernels.py --build DIRECTORY [--again] [--readme FILE] [WORD]...

A row of KERNELS is left out unless a WORD is its name or a part of it.  Kernels come by apt's own client from the mirror that
this machine's apt uses, with a configuration, lists and a cache of their own: nothing is installed.  Everything is
kept in DIRECTORY; with --again nothing is booted, and the output of the last boot is judged.  The exit status is 1 if
a check failed.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from judge import Kernel as Judge
from machine import mirror
from markers import put_into
from results import Record, conclude, judge

ROOMS = Path(__file__).resolve().parent
REPOSITORY = ROOMS.parents[1]
BOOT_S = 900                # limit on a busy machine
PROCESSORS = os.cpu_count() or 1      # so many boot at once
COLUMNS = ["kernel", "architecture", "pages", "sandbox", "savings by consumer"]
PROGRAMS = ("ksm.plugin", "ksm-explain", "tests/workload", "tests/become")
PACKAGES = ("collectd-core", "libc6", "libcap2", "libgcc-s1")     # collectd, and all libraries


class Architecture(NamedTuple):
    """How to build for it, how to boot it, and the first release of Debian that has PACKAGES."""

    triplet: str
    qemu: tuple
    console: str
    release: str = "bookworm"


ARCHITECTURES = {
    "amd64": Architecture("x86_64-linux-gnu", ("x86_64", "-cpu", "max"), "ttyS0"),
    "arm64": Architecture("aarch64-linux-gnu", ("aarch64", "-machine", "virt", "-cpu", "max,pauth-impdef=on"),
                          "ttyAMA0"),
    "ppc64el": Architecture("powerpc64le-linux-gnu", ("ppc64", "-machine", "pseries", "-cpu", "power9"), "hvc0"),
    "riscv64": Architecture("riscv64-linux-gnu", ("riscv64", "-machine", "virt"), "ttyS0", "trixie"),
    "s390x": Architecture("s390x-linux-gnu", ("s390x", "-cpu", "max"), "ttysclp0"),
}


class Kernel(NamedTuple):
    """One to boot: the newest package of SUITE whose name is PACKAGE, a regular expression."""

    name: str
    architecture: str
    suite: str
    package: str


# Debian 13 and later have the kernel itself in a package without its modules.
KERNELS = [
    Kernel("amd64-5.10", "amd64", "bullseye", r"linux-image-5\.10\.0-\d+-cloud-amd64"),
    Kernel("amd64-6.1", "amd64", "bookworm", r"linux-image-6\.1\.0-\d+-cloud-amd64"),
    Kernel("amd64-6.12", "amd64", "trixie", r"linux-image-6\.12\.[^-]+-cloud-amd64"),
    Kernel("amd64-6.17", "amd64", "trixie-backports", r"linux-image-6\.17\.[^-]+-cloud-amd64"),
    Kernel("amd64-newest", "amd64", "trixie-backports", r"linux-binary-[\d.]+[^-]+-amd64"),
    Kernel("arm64-6.1", "arm64", "bookworm", r"linux-image-6\.1\.0-\d+-cloud-arm64"),
    Kernel("arm64-16k", "arm64", "sid", r"linux-binary-[\d.]+[^-]+-arm64-16k"),
    Kernel("ppc64el-4k", "ppc64el", "sid", r"linux-binary-[\d.]+[^-]+-powerpc64le"),
    Kernel("ppc64el-64k", "ppc64el", "sid", r"linux-binary-[\d.]+[^-]+-powerpc64le-64k"),
    Kernel("s390x-6.1", "s390x", "bookworm", r"linux-image-6\.1\.0-\d+-s390x"),
    Kernel("s390x-newest", "s390x", "sid", r"linux-binary-[\d.]+[^-]+-s390x"),
    Kernel("riscv64-newest", "riscv64", "sid", r"linux-binary-[\d.]+[^-]+-riscv64"),
]


def run(*argv, **options):
    """Run ARGV and return its standard output; its errors are the user's to read."""
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True, **options).stdout


class Archive:
    """A suite of Debian for one architecture, by apt with a configuration of its own below DIRECTORY."""

    def __init__(self, directory, architecture, suite):
        """Make the configuration and get the lists, if they are not there."""
        self.packages = directory / "packages"
        self.config = directory / f"{architecture}-{suite}" / "apt.conf"
        here = self.config.parent
        if not (here / "fetched").exists():
            for name in ("state/lists/partial", "cache/archives/partial", "parts"):
                (here / name).mkdir(parents=True, exist_ok=True)
            (here / "status").touch()
            keys = "/usr/share/keyrings/debian-archive-keyring.gpg"
            (here / "sources.list").write_text(f"deb [signed-by={keys}] {mirror()[0]} {suite} main\n")
            self.config.write_text(f"""
                Dir::State "{here}/state"; Dir::State::status "{here}/status"; Dir::Cache "{here}/cache";
                Dir::Etc::sourcelist "{here}/sources.list"; Dir::Etc::sourceparts "{here}/parts";
                Dir::Etc::preferences "/dev/null"; Dir::Etc::preferencesparts "{here}/parts";
                APT::Architecture "{architecture}"; #clear APT::Architectures; APT::Architectures:: "{architecture}";
                Acquire::Languages "none"; APT::Sandbox::User "root";
                """)
            self.apt("apt-get", "-q", "update")
            (here / "fetched").touch()

    def apt(self, program, *words, **options):
        """Return the output of a PROGRAM of apt."""
        return run(program, *words, env={**os.environ, "APT_CONFIG": str(self.config)}, **options)

    def newest(self, pattern):
        """Return the name of the newest package whose name is PATTERN."""
        names = [name for name in self.apt("apt-cache", "pkgnames", "linux-").split() if re.fullmatch(pattern, name)]
        if not names:
            sys.exit(f"kernels.py: {self.config.parent.name} has no package {pattern}")
        return max(names, key=lambda name: [int(part) for part in re.findall(r"\d+", name)])

    def unpacked(self, package):
        """Return the directory that has the files of PACKAGE, and the bytes that were fetched for it, now or before."""
        kept = self.packages / f"{package}_{self.config.parent.name}"
        size = kept / "bytes"
        if not size.exists():
            shutil.rmtree(kept, ignore_errors=True)
            kept.mkdir(parents=True)
            self.apt("apt-get", "-q", "download", package, cwd=kept)
            (deb,) = kept.glob("*.deb")
            # Of a kernel only itself: its modules are ten times as much.
            files = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE)
            run("tar", "-x", "-C", kept, "--wildcards", "*/vmlinu[xz]*" if package.startswith("linux-") else "./*",
                stdin=files.stdout)
            size.write_text(str(deb.stat().st_size))
            deb.unlink()
        return kept, int(size.read_text())


def build_programs(build, architecture, packages):
    """Build the programs for ARCHITECTURE; return {path in the machine: file} of them, and of what PACKAGES has."""
    triplet = ARCHITECTURES[architecture].triplet
    out, headers = build / architecture, build / "include"
    if not headers.exists():
        headers.mkdir()
        (headers / "xxhash.h").symlink_to("/usr/include/xxhash.h")      # the same for all architectures
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    run("make", "-s", "-C", REPOSITORY, f"BUILD={out}", f"CC={triplet}-gcc", f"AR={triplet}-ar", "WERROR=1",
        f"CPPFLAGS=-isystem {headers}",
        *(str(out / name) for name in (*PROGRAMS, "ksm.so")), env=clean)
    usr = packages[0] / "usr"
    files = {**{f"bin/{Path(name).name}": out / name for name in PROGRAMS}, "bin/collectd": usr / "sbin/collectd",
             "lib/csv.so": usr / "lib/collectd/csv.so", "lib/ksm.so": out / "ksm.so"}
    needed = ["libgcc_s.so.1"]          # libc loads it when a thread ends
    for file in files.values():
        linked = run(f"{triplet}-readelf", "-ld", file)
        needed += re.findall(r"(?:interpreter: /|NEEDED.*\[)(.*)\]", linked)
    for name in needed:
        path = Path(name if "/" in name else f"lib/{name}")
        files[path] = next((found for package in packages for found in package.glob(f"**/{triplet}/{path.name}")), None)
        if not files[path]:
            sys.exit(f"{architecture}: a program needs {path.name}, which is in none of the packages")
    return {**files, "types.db": usr / "share/collectd/types.db"}


def make_image(directory, files, busybox):
    """Make DIRECTORY/initrd of FILES and BUSYBOX; return its path."""
    root = directory / "root"
    shutil.rmtree(root, ignore_errors=True)
    for name in ("bin", "proc", "sys", "dev", "tmp", "lib"):
        (root / name).mkdir(parents=True)
    files = {**files, "bin/busybox": busybox, "init": ROOMS / "init.sh",
             **{name: ROOMS / name for name in ("common.sh", "collectd.conf")}}
    for path, file in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, root / path, follow_symlinks=True)
        (root / path).chmod(0o755)
    for name in "sh awk cat cp echo grep kill mkdir mkfifo mount poweroff seq sleep tr uname unshare".split():
        (root / "bin" / name).symlink_to("busybox")
    names = "\n".join(str(path.relative_to(root)) for path in [root, *sorted(root.rglob("*"))])
    image = directory / "initrd"
    with image.open("wb") as out:
        subprocess.run(["cpio", "-o", "-H", "newc", "-R", "0:0", "--quiet"], cwd=root, input=names.encode(), stdout=out,
                       check=True)
    return image


def emulate(system, options, output, seconds):
    """Run qemu-system-SYSTEM with OPTIONS until the file OUTPUT ends with @done, or it ends, or for SECONDS.

    Return the seconds it took.  The machine's memory is kept from the KSM of this host, which live tests may be using.
    """
    started = time.monotonic()
    output.write_bytes(b"")
    machine = subprocess.Popen(["nice", "-n", "19", f"qemu-system-{system}", *options, "-machine", "mem-merge=off",
                                "-smp", "2", "-nodefaults", "-display", "none"], stdin=subprocess.DEVNULL)
    try:
        while machine.poll() is None and time.monotonic() - started < seconds:
            time.sleep(1)
            if b"@done" in output.read_bytes()[-200:]:
                break
    finally:
        machine.kill()
        machine.wait()
    return time.monotonic() - started


class Machine(NamedTuple):
    """All that it takes to boot KERNEL, and where what it does is kept; size is that of what was fetched, in bytes."""

    kernel: Kernel
    home: Path
    file: Path
    image: Path
    size: int


def prepare(build, kernel):
    """Fetch and build what it takes to boot KERNEL; return the Machine."""
    print(f"{kernel.name}: builds, downloads", flush=True)
    home = build / kernel.name
    home.mkdir(parents=True, exist_ok=True)
    archive = Archive(build / "apt", kernel.architecture, kernel.suite)
    package, size = archive.unpacked(archive.newest(kernel.package))
    release = Archive(build / "apt", kernel.architecture, kernel.suite.removesuffix("-backports"))
    busybox, more = release.unpacked("busybox-static")
    release = Archive(build / "apt", kernel.architecture, ARCHITECTURES[kernel.architecture].release)
    packages, sizes = zip(*map(release.unpacked, PACKAGES))
    files = build_programs(build, kernel.architecture, packages)
    image = make_image(home, files, next(busybox.glob("**/bin/busybox")))
    return Machine(kernel, home, next(package.glob("**/vmlinu[xz]*")), image, size + more + sum(sizes))


def boot(machine):
    """Boot MACHINE, and return its record; its output is kept, and when that was and how long it took.

    A kernel of amd64 that checks its timer panics if this host is busy.
    """
    architecture, home = machine.kernel.architecture, machine.home
    how = ARCHITECTURES[architecture]
    seconds = emulate(how.qemu[0], [*how.qemu[1:], "-m", "1024", "-no-reboot", "-serial", f"file:{home}/console",
                                    "-kernel", machine.file, "-initrd", machine.image,
                                    "-append", f"console={how.console} loglevel=1 panic=-1 no_timer_check"],
                      home / "console", BOOT_S)
    (home / "about").write_text(f"{seconds:.0f} {machine.size} {time.strftime('%Y-%m-%d')}\n")
    return check(home, machine.kernel)


def check(home, kernel):
    """Print the checks on KERNEL, whose output is in HOME; return its record."""
    seconds, size, day = (home / "about").read_text().split()
    record = Record(int(seconds), int(size), day, architecture=kernel.architecture)
    judge((home / "console").read_text(errors="replace"), record,
          lambda output: Judge(output, record, home / "trees").all())
    record.print()
    return record


def tried(records):
    """Return {architecture: the kernels that passed there, as words} of RECORDS."""
    found = {}
    for facts in (record.facts for record in records if record.passed == len(record.checks)):
        release = ".".join(facts["kernel"].split(".")[:2])
        pages = "" if facts["pages"] == "4 kB" else f" ({facts['pages']} pages)"
        found.setdefault(facts["architecture"], []).append(release + pages)
    return {architecture: ", ".join(found[architecture]) for architecture in sorted(found)}


def put_tried(kernels):
    """Put KERNELS, which tried() returned, into the documents that users read."""
    rows = [kernels, ["---"] * len(kernels), kernels.values()]
    put_into(REPOSITORY / "README.md", "tried", "".join(f"| {' | '.join(row)} |\n" for row in rows).replace(" --- ", "---"))
    put_into(REPOSITORY / "netdata/ksm.plugin.1", "tried",
             "".join(f".It {architecture}\n{words}\n" for architecture, words in kernels.items()))


def main():
    """Boot and check; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, required=True, help="where everything is kept")
    parser.add_argument("--again", action="store_true", help="judge the output of the last boots")
    parser.add_argument("--readme", type=Path, help="put the table into this file, and what it says in short into others")
    parser.add_argument("words", nargs="*", help="parts of the names of the kernels that are wanted")
    options = parser.parse_args()
    chosen = [kernel for kernel in KERNELS if not options.words or {kernel.name, *kernel.name.split("-")} & {*options.words}]
    build = options.build.resolve()
    if options.again:
        records = [check(build / kernel.name, kernel) for kernel in chosen]
    else:
        machines = [prepare(build, kernel) for kernel in chosen]
        with ThreadPoolExecutor(PROCESSORS) as pool:
            records = list(pool.map(boot, machines))
    if options.readme:
        put_tried(tried(records))
    return conclude(records, COLUMNS, options.readme, "kernels")


if __name__ == "__main__":
    sys.exit(main())
