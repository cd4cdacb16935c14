# SPDX-License-Identifier: MIT
"""ksm-explain does not stall the processes that it reads: mmap() and munmap() wait for 10 ms at most, whatever the size.

How much of the page tables is walked under one hold of the lock is in tests/unit/explain/test_page_reader.c, for sparse
mappings as well.

Both have real-time priority, as if this machine were idle: what other programs take of it is not counted.
"""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from daemons import die_with_parent

pytestmark = [pytest.mark.shipped, pytest.mark.long]

LIMIT_US = 10_000
ROUNDS = 5              # whatever else reads the target, or stops this machine, does so in some of them
ALONE_S = 3
READ_S = 15             # then the estimate ends early: its contents take longer
END_S = 60
NOT_HERE = 77
MIB = 6144


def idle(parent):
    """Return what a child of PARENT (a pid) calls before exec."""
    die = die_with_parent(parent)

    def before_exec():
        die()
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    return before_exec


class Target:
    """A process that measures how long its mmap() and munmap() take."""

    def __init__(self, program, kind):
        self.argv = [program, kind, str(MIB)]

    def __enter__(self):
        self.process = subprocess.Popen(self.argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, preexec_fn=idle(os.getpid()))
        if self.process.stdout.readline() != "ready\n":
            error = self.process.stderr.read()
            if self.process.wait() == NOT_HERE:
                pytest.skip(f"not here: {error}")
            raise AssertionError(error)
        return self

    def __exit__(self, *_exception):
        self.process.kill()
        self.process.communicate()

    def longest_us(self):
        """Return the longest mmap() and munmap() since the last call."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


def available_mib():
    """Return how much memory can be used here."""
    return int(re.search(r"MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text())[1]) >> 10


@pytest.fixture
def swap():
    """Swap in compressed memory: there the targets' pages, which are nearly empty, take little."""
    control = Path("/sys/class/zram-control")
    if os.geteuid() != 0 or not control.is_dir() or not shutil.which("mkswap"):
        pytest.skip("swapping takes root, zram and mkswap")
    number = (control / "hot_add").read_text().strip()
    device = f"/dev/zram{number}"
    try:
        Path(f"/sys/block/zram{number}/disksize").write_text(f"{MIB + 1024}M")
        subprocess.run(["mkswap", device], stdout=subprocess.DEVNULL, check=True)
        subprocess.run(["swapon", device], check=True)
        yield
        subprocess.run(["swapoff", device], check=True)
    finally:
        Path(f"/sys/block/zram{number}/reset").write_text("1")
        (control / "hot_remove").write_text(number)


@pytest.fixture(autouse=True)
def real_time():
    """Real-time priority may be refused in a container, and is root's."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    except PermissionError as error:
        pytest.skip(f"real-time priority: {error}")


def explain(build, words):
    """Run ksm-explain WORDS, for some seconds at most."""
    with subprocess.Popen([build / "ksm-explain", *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          preexec_fn=idle(os.getpid())) as running:
        try:
            running.wait(READ_S)
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGINT)
            running.wait(END_S)


@pytest.mark.parametrize("kind", ["written", "zero", "swapped"])
def test_target_waits_at_most_10_ms(kind, build, request):
    if available_mib() < MIB + 2048:
        pytest.skip("not enough memory")
    if kind == "swapped":
        request.getfixturevalue("swap")
    longest = {"alone": [], "--estimate": [], "without options": []}
    with Target(build / "tests/mmap_latency", kind) as target:
        pid = str(target.process.pid)
        for _ in range(ROUNDS):
            for name, read in (("alone", lambda: time.sleep(ALONE_S)),
                               ("--estimate", lambda: explain(build, ["--estimate", pid])),
                               ("without options", lambda: explain(build, []))):
                target.longest_us()
                read()
                longest[name].append(target.longest_us())
    print(f"{kind}, us: {longest}")
    assert max(map(min, longest.values())) <= min(longest["alone"]) + LIMIT_US
