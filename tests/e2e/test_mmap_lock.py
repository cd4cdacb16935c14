# SPDX-License-Identifier: MIT
"""ksm-explain does not stall the processes that it reads: their mmap() and munmap() wait for 10 ms at most, whatever their size.

How much of the page tables is walked under one hold of the lock is in tests/unit/explain/test_page_reader.c.

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
READ_S = 8              # then the estimate ends early: its contents take longer
END_S = 60
NOT_HERE = 77
SWAP_MIB = 2048


def idle(parent):
    """Return what a child of PARENT (a pid) calls before exec."""
    die = die_with_parent(parent)

    def before_exec():
        die()
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    return before_exec


class Target:
    """A process that measures how long its mmap() and munmap() take."""

    def __init__(self, program, kind, mib):
        self.argv = [program, kind, str(mib)]

    def __enter__(self):
        self.process = subprocess.Popen(self.argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True, preexec_fn=idle(os.getpid()))
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
def swap(tmp_path):
    """A file to swap to, of SWAP_MIB and a little more."""
    file = tmp_path / "swap"
    programs = "fallocate", "mkswap", "swapon", "swapoff"
    if os.geteuid() != 0 or not all(map(shutil.which, programs)):
        pytest.skip(f"swapping takes root, {', '.join(programs)}")
    file.touch(0o600)
    subprocess.run(["fallocate", "-l", f"{SWAP_MIB + 64}M", file], check=True)
    subprocess.run(["mkswap", "-q", file], check=True)
    if subprocess.run(["swapon", file], check=False).returncode != 0:
        pytest.skip("no swap can be added here")
    yield
    subprocess.run(["swapoff", file], check=True)


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


@pytest.mark.parametrize("kind, mib", [("written", 4096), ("zero", 4096), ("swapped", SWAP_MIB), ("sparse", 16 << 20)])
def test_target_waits_at_most_10_ms(kind, mib, build, request):
    if kind == "swapped":
        request.getfixturevalue("swap")
    if kind in ("written", "swapped") and available_mib() < mib + 2048:
        pytest.skip("not enough memory")
    longest = {"alone": [], "--estimate": [], "without options": []}
    with Target(build / "tests/mmap_latency", kind, mib) as target:
        pid = str(target.process.pid)
        for _ in range(ROUNDS):
            for name, read in (("alone", lambda: time.sleep(ALONE_S)),
                               ("--estimate", lambda: explain(build, ["--estimate", pid])),
                               ("without options", lambda: explain(build, []))):
                target.longest_us()
                read()
                longest[name].append(target.longest_us())
    print(f"{kind} {mib} MiB, us: {longest}")
    assert max(map(min, longest.values())) <= min(longest["alone"]) + LIMIT_US
