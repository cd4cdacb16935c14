# SPDX-License-Identifier: MIT
"""Savings by consumer on the live kernel: processes of several users in several cgroups, compared with their page tables.

Requires root, and a kernel with KSM where nothing is merged.  Settings are restored (tests/support/live.py), cgroups are
removed.
"""

import os
import re
import shutil
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from daemons import SEEN_S, die_with_parent
from live import FAST, RUNNING, UNMERGED, Workload
from sampling import Plugin

GONE_S = 60             # limit for removing a cgroup after its processes have exited
GRANT = "cap_dac_read_search"
CGROUP = Path("/sys/fs/cgroup")
CONTAINER_ID = "5eed" * 16


class Actor(NamedTuple):
    """A process with mergeable memory."""

    consumer: tuple         # kind and name
    cgroup: str
    pattern: str
    pages: int
    content: int = 1        # actors with the same content have the same pages
    user: str = "root"


SCOPE = "user.slice/session-ksmtest.scope"
SERVICE, CONTAINER = "system.slice/ksmtest.service", f"docker/{CONTAINER_ID}"
MACHINE = r"machine.slice/machine-qemu\x2d3\x2dksmtest.scope"


def program(number, pattern, pages, content):
    """Return an actor of root that counts as a program."""
    return Actor(("program", f"ksmtest-{number}"), SCOPE, pattern, pages, content)


# Processes.

class Cgroups:
    """Cgroups in the hierarchy that determines consumers: systemd's of version 1, or version 2."""

    def __init__(self):
        unified = (CGROUP / "cgroup.controllers").exists()
        self.root = CGROUP if unified else CGROUP / "systemd"
        self.made = []
        if not (self.root / "cgroup.procs").exists():
            pytest.skip(f"there is no hierarchy of cgroups at {self.root}")

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        for path in reversed(self.made):
            self.remove(path)

    def add(self, name, pid):
        """Move process PID to the cgroup NAME, which is created if it is missing."""
        path = self.root
        for part in name.split("/"):
            path /= part
            if not path.exists():
                path.mkdir()
                self.made.append(path)
        (path / "cgroup.procs").write_text(str(pid))

    @staticmethod
    def remove(path):
        """Remove the cgroup PATH; its processes have exited, but the kernel may not have released it yet."""
        deadline = time.monotonic() + GONE_S
        while True:
            try:
                return path.rmdir()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


def mergeable_memory(pid):
    """Return (Rss, Pss) in kB of the mappings of process PID that are registered with KSM."""
    rss, pss, sizes = 0, 0, {}
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        key, *values = line.split()
        if key in ("Rss:", "Pss:"):
            sizes[key] = int(values[0])
        elif key == "VmFlags:" and "mg" in values:
            rss, pss = rss + sizes["Rss:"], pss + sizes["Pss:"]
    return rss, pss


def resident(pid):
    """Return the resident pages of process PID: all, and those of files and shared memory."""
    _size, pages, mapped, *_rest = map(int, Path(f"/proc/{pid}/statm").read_text().split())
    return pages, mapped


@pytest.fixture(scope="module")
def populate(ksm, build, open_to_all):
    """A function that starts ACTORS until STACK is closed, merges all their equal pages, and returns [(actor, pid), …]."""
    def start(stack, actors):
        if ksm.any_merged():
            ksm.set("run", UNMERGED)
        cgroups = stack.enter_context(Cgroups())
        started = []
        for number, actor in enumerate(actors):
            name = actor.consumer[1] if actor.consumer[0] == "program" else f"workload-{number}"
            copy = open_to_all / name[:15]
            if not copy.exists():
                shutil.copy(build / "tests/workload", copy)
            workload = stack.enter_context(Workload(copy, actor.pattern, actor.pages, actor.content, actor.user))
            cgroups.add(actor.cgroup, workload.pid)
            started.append((actor, workload.pid))
        ksm.merge_all()
        return started
    return start


def host_saved(ksm, page_size):
    """Return the host's savings in bytes, from the kernel's files."""
    zero = ksm.number("ksm_zero_pages") if ksm.has("ksm_zero_pages") else 0
    return (ksm.number("pages_sharing") + zero) * page_size


def sampled(plugin_path, user=None):
    """Return the first sample of the plugin, run as USER, and its log."""
    with Plugin(plugin_path, "--consumers-interval=1", user=user) as plugin:
        sample = plugin.first_sample()
    return sample, plugin.errors


def saved_by_page_tables(started, page_size):
    """Return [Rss - Pss in pages of the mergeable mappings] of the processes STARTED."""
    return [(rss - pss) * 1024 / page_size for rss, pss in (mergeable_memory(pid) for _actor, pid in started)]


# The share is an average.

def test_share_is_average_of_equal_pages(populate, ksm, build, page_size):
    """The README's example: two processes with 1000 pages in pairs, one with 1000 equal pages."""
    actors = [program(1, "unique", 1000, 5), program(2, "unique", 1000, 5), program(3, "identical", 1000, 6)]
    with ExitStack() as stack:
        started = populate(stack, actors)
        sample, _ = sampled(build / "ksm.plugin")
        shares = [sample.consumers[actor.consumer][0] // page_size for actor in actors]
        differences = saved_by_page_tables(started, page_size)
        assert (ksm.number("pages_shared"), ksm.number("pages_sharing")) == (1004, 1996)
    for actor, share, difference in zip(actors, shares, differences):
        print(f"{actor.consumer[1]}: share {share} pages, Rss - Pss {difference:.2f} pages")
    assert shares == [665, 665, 665]
    assert differences == pytest.approx([500, 500, 996], abs=1)
    assert sample.unattributed == page_size, "what is lost by rounding down"
    assert sample.saved == 1996 * page_size


MIXED = [("unique", 3000, 1), ("unique", 3000, 1), ("unique", 3000, 1), ("pairs", 4000, 2), ("triples", 2500, 3),
         ("identical", 3500, 4), ("zeros", 2000, 5), ("unique", 1500, 6), ("pairs", 1000, 2)]


def test_shares_of_mixed_processes_add_up(populate, ksm, build, page_size):
    actors = [program(number, *row) for number, row in enumerate(MIXED)]
    with ExitStack() as stack:
        started = populate(stack, actors)
        sample, _ = sampled(build / "ksm.plugin")
        differences = saved_by_page_tables(started, page_size)
        assert sample.saved == host_saved(ksm, page_size)
    shares = [sample.consumers[actor.consumer][0] / page_size for actor in actors]
    for row, share, difference in zip(MIXED, shares, differences):
        print(f"{row}: share {share:.0f}, Rss - Pss {difference:.2f} pages")
    assert sum(shares) == pytest.approx(sum(differences), rel=0.01)
    assert 0 <= sample.unattributed <= len(actors) * page_size, "what is lost by rounding down"


# Many processes that start and exit.

CHURN_S, PER_SECOND = 60, 200
WARM_S = CHURN_S // 2   # after this time memory has its final size
GROWTH_KB = 256         # limit for the growth of resident memory after that
LATE_S = 0.5            # limit for the delay of nine ticks in ten on such a busy host


def forks():
    """Return the number of processes started since boot."""
    return int(Path("/proc/stat").read_text().partition("\nprocesses ")[2].split()[0])


@pytest.mark.long
def test_starting_and_exiting_processes_leak_nothing(ksm, build):
    ksm.set("sleep_millisecs", 20)
    ksm.set("run", RUNNING)
    seen = []
    with Plugin(build / "ksm.plugin", "--consumers-interval=1") as plugin:
        plugin.samples(3)
        base = plugin.descriptors()
        first, begin, started = len(plugin.ticks), time.monotonic(), forks()
        with Workload(build / "tests/workload", "churn", PER_SECOND):
            for _ in range(CHURN_S):
                time.sleep(1)
                seen.append((plugin.descriptors(), plugin.resident()))
        seconds, started = time.monotonic() - begin, forks() - started
        ticks = plugin.ticks[first:]
        plugin.wait(lambda: plugin.descriptors() == base, SEEN_S, "closed descriptors")
        plugin.samples(2)
        end = plugin.descriptors(), plugin.resident()
        samples = plugin.agent.samples[3:]
        assert plugin.errors == ""
    late = sorted(tick % 1 for tick in ticks)
    descriptors, memory = zip(*seen)
    warm = max(memory[:WARM_S])
    print(f"{started} processes in {seconds:.0f} s; latest tick {late[-1] * 1000:.1f} ms\n"
          f"descriptors: {base} before, at most {max(descriptors)}, {end[0]} at the end\n"
          f"resident kB: {warm} in {WARM_S} s, at most {max(memory)}, {end[1]} at the end")
    ksm.set("sleep_millisecs", FAST["sleep_millisecs"])
    assert started > 0.25 * PER_SECOND * seconds and max(descriptors) > base + PER_SECOND / 10, "and they were seen"
    assert end[0] == base
    assert max(memory[WARM_S:] + end[1:]) <= warm + GROWTH_KB
    assert 0.9 * seconds - 1.5 <= len(ticks) <= seconds + 1.5 and late[len(late) * 9 // 10] < LATE_S
    assert all(sample.unattributed >= 0 for sample in samples)


# Real virtual machines.

QEMU = "qemu-system-x86_64"
MACHINES = {"a\"b =c'd": r"a_b__c_d~", "a_b__c_d": "a_b__c_d"}


def qemu(stack, name):
    """Start a QEMU named NAME, without an image, until STACK is closed."""
    argv = [QEMU, "-accel", "tcg", "-display", "none", "-nodefaults", "-monitor", "none", "-serial", "none", "-m", "64",
            "-machine", "pc,mem-merge=on", "-name", f"guest={name}"]
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               preexec_fn=die_with_parent(os.getpid()))
    stack.callback(process.wait)
    stack.callback(process.kill)


@pytest.mark.long
def test_two_virtual_machines(ksm, build):
    if not shutil.which(QEMU):
        pytest.skip(f"{QEMU} is not installed")
    ksm.set("run", RUNNING)
    with ExitStack() as stack:
        for name in MACHINES:
            qemu(stack, name)
        plugin = stack.enter_context(Plugin(build / "ksm.plugin", "--consumers-interval=1"))
        plugin.wait(lambda: len([kind for kind, _name in plugin.agent.charts if kind == "vm"]) == 2, SEEN_S * 2, "both")
        time.sleep(3)
        sample = plugin.samples(1)[0]
    ksm.set("run", UNMERGED)
    # In a login session the names have the prefix of the user that runs the tests.
    ours = {re.sub("^user-[0-9]*:", "", name): metrics
            for (kind, name), metrics in sample.consumers.items() if kind == "vm"}
    print(ours)
    assert sorted(name.partition("~")[0] + "~" * ("~" in name) for name in ours) == sorted(MACHINES.values())
    assert all(saved > 0 and real > 0 for saved, real in ours.values())


# Several users and cgroups, all pages mapped equally often.  These processes run until the end of this file.

PAGES, ZEROS = 2000, 1500
EQUAL = [
    Actor(("service", "ksmtest"), SERVICE, "unique", PAGES, 9),
    Actor(("container", CONTAINER_ID[:12]), CONTAINER, "unique", PAGES, 9, "nobody"),
    Actor(("container", CONTAINER_ID[:12]), CONTAINER, "unique", PAGES, 9, "nobody"),
    Actor(("vm", "ksmtest"), MACHINE, "unique", PAGES, 9, "daemon"),
    Actor(("program", "ksmtest-own"), SCOPE, "unique", PAGES, 9, "nobody"),
]
OF_ZEROS = Actor(("program", "ksmtest-zeros"), SCOPE, "zeros", ZEROS, 1, "daemon")
SHARE = PAGES * (len(EQUAL) - 1) // len(EQUAL)


@pytest.fixture(scope="module")
def equal(ksm, populate):
    """All of EQUAL and OF_ZEROS, merged: [(actor, pid), …]."""
    with ExitStack() as stack:
        zero_pages = ksm.has("ksm_zero_pages") and ksm.has("use_zero_pages")
        if zero_pages:
            ksm.set("use_zero_pages", 1)
        yield populate(stack, EQUAL + [OF_ZEROS] * zero_pages)
        ksm.set("use_zero_pages", 0)


def of_consumers(started, measure):
    """Return {consumer: sum of MEASURE(actor, pid)} over the processes STARTED."""
    found = {}
    for actor, pid in started:
        found[actor.consumer] = found.get(actor.consumer, 0) + measure(actor, pid)
    return found


def test_share_equals_rss_minus_pss(equal, ksm, build, page_size):
    sample, logged = sampled(build / "ksm.plugin")
    merged = [(actor, pid) for actor, pid in equal if actor is not OF_ZEROS]
    by_kernel = of_consumers(merged, lambda _actor, pid: sum(saved_by_page_tables([(None, pid)], page_size)))
    for consumer, pages in by_kernel.items():
        saved, _real = sample.consumers[consumer]
        print(f"{' '.join(consumer)}: share {saved / page_size:.0f}, Rss - Pss {pages:.2f} pages")
        assert saved / page_size == pytest.approx(pages, abs=1)
        assert saved // page_size == SHARE * [actor.consumer for actor in EQUAL].count(consumer)
    assert logged == ""


def test_descriptors_of_opted_in_processes_stay_open(equal, build):
    with Plugin(build / "ksm.plugin", "--consumers-interval=1") as plugin:
        plugin.samples(2)
        descriptors = Path(f"/proc/{plugin.process.pid}/fd")
        kept = {os.readlink(descriptor) for descriptor in descriptors.iterdir()}
    assert {f"/proc/{pid}/ksm_stat" for _actor, pid in equal} <= kept


def test_zero_pages_count_for_their_process(equal, build, page_size):
    started = [pid for actor, pid in equal if actor is OF_ZEROS]
    if not started:
        pytest.skip("this kernel does not count the zero pages of use_zero_pages (6.6)")
    sample, _ = sampled(build / "ksm.plugin")
    assert sample.consumers[OF_ZEROS.consumer] == (ZEROS * page_size, resident(started[0])[0] * page_size)


def test_real_is_resident_minus_share(equal, build, page_size):
    """File mappings count once per consumer: as much as its process with the most has."""
    sample, _ = sampled(build / "ksm.plugin")
    metrics = {pid: resident(pid) for _actor, pid in equal}
    anonymous = of_consumers(equal, lambda actor, pid: metrics[pid][0] - metrics[pid][1] - SHARE * (actor is not OF_ZEROS))
    mapped = {actor.consumer: max(metrics[pid][1] for other, pid in equal if other.consumer == actor.consumer)
              for actor, _pid in equal}
    assert {consumer: real // page_size for consumer, (_saved, real) in sample.consumers.items()} == \
        {consumer: anonymous[consumer] + mapped[consumer] for consumer in mapped}


def test_compare_tool_shows_rss_minus_pss(equal, ksm, build, page_size):
    printed = subprocess.run([build / "tests/rss_pss"], capture_output=True, text=True, check=True).stdout
    words = [line.split() for line in printed.splitlines()]
    last = {line[0]: int(line[-2]) for line in words if line[-1:] == ["bytes"]}
    assert last["consumers'"] + last["unattributed"] == last["host's"] == host_saved(ksm, page_size)
    assert {actor.consumer for actor, _pid in equal} <= {tuple(line[:2]) for line in words}


def test_unprivileged_user_sees_own_processes_and_which_capability_is_missing(equal, ksm, copy_of, page_size):
    sample, logged = sampled(copy_of("ksm.plugin"), "nobody")
    assert set(sample.consumers) == {actor.consumer for actor in EQUAL if actor.user == "nobody"}
    assert sample.saved == host_saved(ksm, page_size)
    assert sum(sample.kinds.values()) == 3 * SHARE * page_size
    assert len(logged.splitlines()) == 1 and GRANT in logged


def test_capability_lets_unprivileged_user_see_all(equal, build, copy_of):
    sample, logged = sampled(copy_of("ksm.plugin", f"{GRANT}+ep"), "nobody")
    assert sample == sampled(build / "ksm.plugin")[0]
    assert logged == ""


def test_a_killed_process_disappears(equal, ksm, build, page_size):
    victim, pid = equal[0]
    with Plugin(build / "ksm.plugin", "--consumers-interval=1") as plugin:
        plugin.wait(lambda: victim.consumer in plugin.agent.charts, SEEN_S, "the victim")
        assert plugin.agent.ended == []
        os.kill(pid, 9)
        plugin.wait(lambda: victim.consumer in plugin.agent.ended, SEEN_S, "its end")
        sample = plugin.samples(1)[0]
    assert set(sample.consumers) == {actor.consumer for actor, _pid in equal[1:]}
    assert sample.saved == host_saved(ksm, page_size)
    assert sample.unattributed >= SHARE * page_size, "ksmd stands still: the kernel still counts what it had"
