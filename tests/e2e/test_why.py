# SPDX-License-Identifier: MIT
"""Why large processes merge little: each cause is produced on the live kernel, and named by ksm-explain.

Each process is in its own PID namespace together with ksm-explain, so that no other process of this machine is larger.
tests/unit/explain/test_causes.c covers which facts lead to which cause.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

import large
from daemons import die_with_parent, until
from live import FAST, RUNNING, STOPPED, UNMERGED
from test_consumers_live import Cgroups
from test_lock_holders import Holders

pytestmark = pytest.mark.shipped

RUN_S = 60
READY_S = 60
SCANS = 5               # full scans that suffice to merge all equal pages
NAMESPACE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
TITLE = "\nWhy large processes merge little\n"
HUGE_PAGES = Path("/proc/sys/vm/nr_hugepages")
SCANNED = {**FAST, "run": RUNNING}      # and wait for several full scans
SHIM = "containerd-shim-kata-v2"        # with Dragonball in it
CALM = {"pages_to_scan": 100, "sleep_millisecs": 20, "run": RUNNING}
CRAWLING = {"pages_to_scan": 1, "sleep_millisecs": 1000, "run": RUNNING}


class Case(NamedTuple):
    """A process, KSM's settings, and the expected report."""

    kind: str
    why: str
    to_do: str
    name: str = "large"
    settings: dict = {"run": STOPPED}
    cgroup: str = None
    shown: str = None           # its name in the report, if that differs from NAME
    command: str = None         # the name that it is started by; a path in a directory of its own


CASES = {
    "not_opted_in": Case("ordinary", "It does not make its memory mergeable", "MemoryKSM=yes PROGRAM", "java"),
    "not_qemu": Case("ordinary", "QEMU does not make", "mem-merge=off", "qemu-system-x86"),
    "not_cloud": Case("ordinary", "cloud-hypervisor does not make", "mergeable=on,shared=off", "cloud-hyperviso"),
    "not_firecracker": Case("ordinary", "Firecracker does not make", "jailer", "firecracker"),
    "not_dragonball": Case("ordinary", "Dragonball does not make", "mem_merge = true", SHIM[:15],
                           command=SHIM),
    "not_service": Case("ordinary", "The service does not make", "systemctl edit", "large",
                        cgroup="system.slice/ksmtest.service", shown="large of service ksmtest"),
    "not_container": Case("ordinary", "The container's program does not", "containerd.service", "large",
                          cgroup="lxc.payload.ksmtest", shown="large of container ksmtest"),
    "shared_qemu": Case("memfd", "The guest's memory is shared (a memfd", "share=off", "qemu-system-x86"),
    "shared_cloud": Case("memfd", "The guest's memory is shared. KSM", "shared=off", "cloud-hyperviso"),
    "shared_crosvm": Case("memfd", "The guest's memory is shared: crosvm", "has no option", "crosvm"),
    "shared_dragonball": Case("memfd", "The guest's memory is shared (Dragonball's", 'mem_type = "anon"', SHIM[:15],
                              command=SHIM),
    "shared": Case("memfd", "Its memory is shared (memfd", "only once anyway"),
    "hugetlb": Case("hugetlb", "Its memory is in reserved huge pages", "UseLargePages"),
    "device": Case("ring", "Its memory belongs to a device or a driver", "A smaller buffer"),
    "pinned": Case("pinned", "Its memory is pinned for a device", "virtio", settings=SCANNED),
    "off": Case("mergeable", "Its memory is mergeable, but KSM is switched off", "echo 1 | sudo tee"),
    "off_by_ksmtuned": Case("mergeable", "Its memory is mergeable, but KSM is switched off", "/etc/ksmtuned.conf", "ksmtuned"),
    "unmerged": Case("mergeable", "Its memory is mergeable, but KSM is switched off", "echo 1 | sudo tee",
                     settings={"run": UNMERGED}),
    "no_scan": Case("mergeable", "Its memory is mergeable, but KSM is set to scan no pages", "echo 100 | sudo tee",
                    settings={"pages_to_scan": 0, "run": RUNNING}),
    "young": Case("mergeable", "The process, most of its memory, or KSM is new", "Check again later", settings=CALM),
    "slow": Case("mergeable", "ksmd has not scanned it often enough", "echo 10 | sudo tee", settings=CRAWLING),
    "restored": Case("restored", "Most of the guest's memory is a private mapping of the file of a snapshot", "Nothing.",
                     "firecracker"),
    "sparse": Case("sparse", "Some of its pages are merged, but far more are tracked", "Opting out would save",
                   settings=SCANNED),
    "changing": Case("changing", "Its pages change too fast", "Start it without merging", settings=SCANNED),
    "changing_smart": Case("changing", "Its pages change too fast", "Start it without merging",
                           settings={**SCANNED, "smart_scan": 1}),
    "nothing": Case("mergeable", "ksmd has scanned its pages several times", "the same content", settings=SCANNED),
    "nothing_smart": Case("mergeable", "ksmd has scanned its pages several times", "the same content",
                          settings={**SCANNED, "smart_scan": 1}),
    "hostile": Case("ordinary", "It does not make its memory mergeable", "PROGRAM", "\x1b[1m\nVmFlags",
                    shown="__1m_VmFlags~[0-9a-f]{8}"),
}


def command(stack, case):
    """Return the path of Python, under the name that CASE is started by, until STACK is closed."""
    if not case.command:
        return sys.executable
    path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ksm-test-")), case.command)
    path.symlink_to(sys.executable)
    return path


def start(stack, case):
    """Start the process of CASE in a namespace, until STACK is closed; return its pid in the parent namespace."""
    argv = [*NAMESPACE, command(stack, case), large.__file__, case.name, case.kind]
    process = stack.enter_context(subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=die_with_parent(os.getpid())))
    stack.callback(process.kill)
    if process.stdout.readline() != "ready\n":
        status, message = process.wait(READY_S), process.stderr.read()
        if status == large.NOT_HERE or "unshare" in message:
            pytest.skip(f"not here: {message}")
        raise AssertionError(message)
    return child_of(process.pid)


def child_of(pid):
    """Return the pid of the only child of process PID."""
    child, = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return child


def explain(build, pid, *before):
    """Return the report of ksm-explain in the namespace of process PID, started by the command BEFORE it."""
    done = subprocess.run(["nsenter", "-t", pid, "-p", "-m", *before, build / "ksm-explain"], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=RUN_S, check=False)
    print(done.stdout, done.stderr)
    assert all(len(line) <= 80 and line == line.rstrip() and line.isprintable() for line in done.stdout.splitlines())
    assert done.stderr == ""
    return done.stdout


def explain_settled(build, pid):
    """Return the report once the process is too old for its age to be the cause."""
    def report():
        text = explain(build, pid)
        return CASES["young"].why not in " ".join(text.split()) and text
    return until(report, RUN_S, "a process that is not new")


def causes(report):
    """Return [([processes], cause and advice)] of REPORT."""
    section = report.partition(TITLE)[2]
    return [([" ".join(process.split()) for process in processes], " ".join(text.split()))
            for *processes, text in (re.split(r"^  Process  |^  Why  ", group, flags=re.MULTILINE)[1:]
                                     for group in section.split("\n\n"))]


@pytest.fixture
def scanned(ksm):
    """A function that applies KSM's settings of a case."""
    def put(case):
        ksm.set("run", UNMERGED)
        ksm.set_all({**FAST, **case.settings})
        if case.settings.items() >= SCANNED.items() - {("smart_scan", 0)}:
            ksm.wait(lambda: ksm.number("full_scans") > SCANS, RUN_S, "full scans")
    yield put
    ksm.set("run", UNMERGED)
    ksm.set_all({**FAST, "run": STOPPED})


@pytest.fixture
def huge_pages():
    """Reserve huge pages for one process."""
    before = HUGE_PAGES.read_text()
    HUGE_PAGES.write_text(f"{int(before) + large.SIZE // (2 << 20)}")
    yield
    HUGE_PAGES.write_text(before)


# What others show as well.
LONG = ("not_cloud", "not_dragonball", "shared_crosvm", "shared_dragonball", "shared", "unmerged", "changing", "nothing")


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.long] * (name in LONG)) for name in CASES])
def test_cause(name, build, scanned, request):
    case = CASES[name]
    if case.kind == "hugetlb":
        request.getfixturevalue("huge_pages")
    with ExitStack() as stack:
        cgroups = stack.enter_context(Cgroups()) if case.cgroup else None
        pid = start(stack, case)
        if cgroups:
            cgroups.add(case.cgroup, pid)
        scanned(case)
        report = explain(build, pid) if name == "young" else explain_settled(build, pid)
        ((process,), text), = causes(report)
        assert re.match(rf"1 {case.shown or case.name}: ", process) and text.startswith(case.why)
        assert case.to_do in text.partition(" To do ")[2]


@pytest.mark.long
def test_mergeable_huge_pages_are_no_cause(build, scanned):
    """Nothing in them is equal; the page says so, and that they would be split."""
    with ExitStack() as stack:
        pid = start(stack, Case("huge", "", ""))
        scanned(CASES["nothing"])
        report = explain_settled(build, pid)
    ((process,), text), = causes(report)
    assert "in huge pages" in process and text.startswith(CASES["nothing"].why) and "Huge pages are not the cause" in text


def test_merging_process_has_no_cause(build, scanned, ksm):
    with ExitStack() as stack:
        pid = start(stack, Case("merging", "", ""))
        scanned(CASES["nothing"])
        assert TITLE not in explain(build, pid)
        ksm.set("run", UNMERGED)
        assert TITLE in explain(build, pid)


def test_unprivileged_user_sees_no_causes(build, ksm):
    if not shutil.which("setpriv"):
        pytest.skip("setpriv is not installed")
    with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="ksm-test-") as directory:
        pid = start(stack, CASES["off"])
        os.chmod(directory, 0o755)
        shutil.copy(build / "ksm-explain", directory)
        report = explain(Path(directory), pid, "setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
    assert TITLE not in report      # how much they merge is not known


@pytest.mark.long
def test_blocking_process_is_named(build, ksm):
    holders = Holders(build / "tests/lockholder", 2, large.SIZE >> 20)
    holders.argv = [*NAMESPACE, *holders.argv]
    with holders:
        holders.hold()
        begin = time.monotonic()
        report = explain(build, child_of(holders.process.pid))
        assert time.monotonic() - begin < RUN_S / 2
    (processes, text), = causes(report)
    assert {process.split()[1] for process in processes} == {"ksm-holder-1:", "ksm-holder-2:"} and text.startswith("Reading its /proc files blocks")
