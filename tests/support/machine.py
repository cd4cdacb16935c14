# SPDX-License-Identifier: MIT
"""A private Debian machine for tests: a root directory made by debootstrap, and namespaces.

    with Machine(directory, "build/machine.tar", ["collectd", "netdata"]) as machine:
        machine.run("/etc/init.d/collectd start")

It has the release and the mirror of this machine, and its own processes, mounts and network (only
the loopback device).  All its processes end when the block is left or this process dies.
It has no init: services are started by Debian's scripts in /etc/init.d.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from daemons import die_with_parent

NEEDED = ("debootstrap", "unshare", "nsenter", "apt-get", "dpkg-deb")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {"PATH": PATH, "HOME": "/root", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
KEEP_PROXY = ("http_proxy", "https_proxy", "no_proxy")
NAME = "machine"
POLICY = "usr/sbin/policy-rc.d"
DENY, ALLOW = 101, 0
CONF = "etc/collectd/collectd.conf.d/ksm.conf"     # of collectd-plugin-ksm
FRESH_DAYS = 7

# Process 1: mounts the usual file systems, prints "up", and leaves no zombies.
INIT = """
import signal, socket, subprocess, sys
root, name = sys.argv[1:]
socket.sethostname(name)
for argv in (["mount", "-t", "proc", "proc", root + "/proc"],
             ["mount", "-t", "sysfs", "-o", "ro", "sysfs", root + "/sys"],
             ["mount", "-t", "tmpfs", "tmpfs", root + "/run"],
             ["ip", "link", "set", "lo", "up"]):
    subprocess.run(argv, check=True)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print("up", flush=True)
while True:
    signal.pause()
"""


class MachineError(Exception):
    """A command failed, or the machine could not be made."""


class NoMirror(MachineError):
    """This machine's mirror of Debian cannot be reached, or there is none."""


def why_not():
    """Return the reason why no such machine can be made here, or None."""
    if os.geteuid() != 0:
        return "making a machine requires root"
    missing = [name for name in NEEDED if not shutil.which(name)]
    return f"not installed: {' '.join(missing)}" if missing else None


def mirror():
    """Return (address, release) of the mirror from which this machine's apt gets Debian."""
    targets = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(LABEL) $(COMPONENT) $(REPO_URI) $(CODENAME)", "Created-By: Packages"],
        capture_output=True, text=True, check=True).stdout
    for line in targets.splitlines():
        label, component, address, release = (line.split() + [""] * 4)[:4]
        if (label, component) == ("Debian", "main") and release.isalpha():
            return address, release
    raise NoMirror("apt knows no mirror of Debian here")


def check_reachable(address, release, scratch):
    """Raise NoMirror if the mirror at ADDRESS does not answer."""
    done = subprocess.run(["/usr/lib/apt/apt-helper", "-oAcquire::http::Timeout=10", "-oAcquire::Retries=0",
                           "download-file", f"{address}dists/{release}/InRelease", scratch],
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NoMirror(f"the mirror {address} cannot be reached")


def newer(deb, directory):
    """Return a copy of DEB in DIRECTORY with a higher version and, if it has a configuration file, a comment in that."""
    tree = Path(directory, f"{deb.stem}.tree")
    subprocess.run(["dpkg-deb", "-R", deb, tree], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(re.sub(r"^(Version: .*)$", r"\1+new", control.read_text(), flags=re.MULTILINE))
    if (tree / CONF).exists():
        (tree / CONF).write_text((tree / CONF).read_text() + "# new\n")
    path = Path(directory, f"{deb.stem}+new.deb")
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, path], check=True, stdout=subprocess.DEVNULL)
    return path


class Machine:
    """See above."""

    def __init__(self, directory, cache, packages):
        """Make the machine, with PACKAGES, in DIRECTORY, which the caller removes.

        As that takes some minutes, it is kept in the tar file CACHE for FRESH_DAYS.
        """
        self.root = Path(directory, "root")
        self.process = None
        if cache.exists() and time.time() - cache.stat().st_mtime < FRESH_DAYS * 86400:
            self.root.mkdir()
            self.checked(["tar", "--xattrs", "--xattrs-include=*", "-xpf", cache, "-C", self.root])
            return
        address, release = mirror()
        check_reachable(address, release, Path(directory, "InRelease"))
        # In a mount namespace, so that debootstrap's mounts end with it.
        self.checked(["unshare", "--mount", "debootstrap", "--variant=minbase", release, self.root, address])
        self.policy(DENY)
        environment = {**ENVIRONMENT, **{name: os.environ[name] for name in KEEP_PROXY if name in os.environ}}
        for argv in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
            self.checked(["unshare", "--mount", "chroot", self.root, "apt-get", "-q", *argv], environment)
        self.checked(["tar", "--xattrs", "--xattrs-include=*", "-cf", f"{cache}.new", "-C", self.root, "."])
        os.replace(f"{cache}.new", cache)

    def __enter__(self):
        (self.root / "etc/hosts").write_text(f"127.0.0.1 localhost {NAME}\n")
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child",
             sys.executable, "-c", INIT, self.root, NAME],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, preexec_fn=die_with_parent(os.getpid()))
        if self.process.stdout.readline() != "up\n":
            raise MachineError("the machine does not come up")
        return self

    def __exit__(self, *_exception):
        if self.process:
            self.process.kill()
            self.process.wait()

    @staticmethod
    def checked(argv, environment=None):
        """Run ARGV, return its output; raise if it fails."""
        env = {**(environment or os.environ)}
        done = subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
        if done.returncode != 0:
            raise MachineError(f"{argv}: status {done.returncode}\n{done.stdout}")
        return done.stdout

    def init(self):
        """Return the pid of the machine's process 1 in this PID namespace."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return children.read_text().split()[0]

    def run(self, script):
        """Run the shell SCRIPT in the machine; return its output, raise if it fails."""
        return self.checked(["nsenter", "-t", self.init(), "-m", "-n", "-p", "-i", "-u",
                             "chroot", self.root, "sh", "-ec", script], ENVIRONMENT)

    def policy(self, status):
        """Allow (ALLOW) or forbid (DENY) maintainer scripts to start services."""
        path = self.root / POLICY
        path.write_text(f"#!/bin/sh\nexit {status}\n")
        path.chmod(0o755)
