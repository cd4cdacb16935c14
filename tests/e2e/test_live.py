# SPDX-License-Identifier: MIT
"""The live kernel: the metric `saved` equals the drop of a memory cgroup's charge, to the page.

Requires root, and a kernel with KSM where nothing is merged.  Settings are restored (tests/support/live.py).
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import fixtures
from conftest import check_alone, quiet_ksm
from live import FAST, KSM, RUNNING, SCANS, UNMERGED, KsmSettings, Locked, Workload, why_not
from protocol import Agent

pytestmark = pytest.mark.live

PAGES = 16384
MAX_SHARING = FAST["max_page_sharing"]

# Pattern, use_zero_pages, pages kept, pages saved: pairs keep one of two, triples one of three (one page is left
# over), of equal pages one is kept for every 256, the kernel's page of zeros is nobody's.
PATTERNS = [
    ("pairs", 0, PAGES // 2, PAGES // 2),
    ("triples", 0, PAGES // 3, PAGES // 3 * 2),
    ("identical", 0, PAGES // MAX_SHARING, PAGES - PAGES // MAX_SHARING),
    ("zeros", 0, PAGES // MAX_SHARING, PAGES - PAGES // MAX_SHARING),
    ("zeros", 1, 0, PAGES),
]


class Cgroup:
    """A memory cgroup for the processes that a script starts."""

    def __init__(self, name):
        """Create it, in v2 if the memory controller is there, else in v1."""
        v2 = Path("/sys/fs/cgroup")
        unified = (v2 / "cgroup.subtree_control").exists() and "memory" in (v2 / "cgroup.subtree_control").read_text()
        self.path = (v2 if unified else v2 / "memory") / name
        self.usage = self.path / ("memory.current" if unified else "memory.usage_in_bytes")
        if not unified and not (v2 / "memory/memory.usage_in_bytes").exists():
            pytest.skip("there is no memory cgroup controller at /sys/fs/cgroup")
        try:
            self.path.mkdir()
        except OSError as error:
            pytest.skip(f"a memory cgroup cannot be made: {error}")

    def remove(self):
        """Remove it; its processes have exited, but the kernel may not have released it yet."""
        for _ in range(100):
            try:
                return self.path.rmdir()
            except OSError:
                time.sleep(0.05)
        return self.path.rmdir()

    def charge(self):
        """Return the pages that are charged to it."""
        return int(self.usage.read_text()) // os.sysconf("SC_PAGESIZE")

    def script(self, path, program):
        """Make the script PATH that starts PROGRAM in this cgroup, with all its memory charged to it."""
        path.write_text(f'#!/bin/sh\necho $$ >"{self.path}/cgroup.procs" || exit 1\nexec "{program}" "$@"\n')
        path.chmod(0o755)
        return path


def settings():
    """Return {knob: text} of the live kernel; pages_to_scan only while the advisor leaves it alone."""
    found = {path.name: path.read_text() for path in KSM.iterdir() if path.stat().st_mode & 0o200}
    if "[none]" not in found.get("advisor_mode", "[none]"):
        del found["pages_to_scan"]
    return found


def settings_at_rest():
    """Return the same while no test has changed them: tests of other files may run in parallel."""
    with KsmSettings():
        return settings()


@pytest.fixture(autouse=True, scope="module")
def settings_stay():
    """Check at the end of all tests that the settings have their original values."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    before = settings_at_rest()
    yield
    assert settings_at_rest() == before


@pytest.fixture
def ksm():
    """The live kernel's KSM for one test."""
    with quiet_ksm() as live:
        yield live


@pytest.fixture
def cgroup():
    """A memory cgroup of this test."""
    group = Cgroup(f"ksm-test-{os.getpid()}")
    yield group
    group.remove()


@pytest.fixture
def start(build, cgroup, tmp_path):
    """A function that starts the workload with a pattern in the cgroup: a context manager."""
    script = cgroup.script(tmp_path / "workload", build / "tests/workload")
    return lambda pattern, pages=PAGES: Workload(script, pattern, pages)


def by_plugin(build):
    """Return {dimension: integer} of what ksm.plugin sends."""
    sent = fixtures.run_once(build / "ksm.plugin", *fixtures.ARGUMENTS, "1").stdout
    return {dimension: value for (_chart, dimension), value in Agent(sent).ticks[0].items()}


@pytest.mark.parametrize("pattern, zero_pages, kept, saved", PATTERNS)
def test_saved_equals_drop_of_cgroup_charge(pattern, zero_pages, kept, saved, ksm, cgroup, start, build, page_size):
    if zero_pages and not ksm.has("ksm_zero_pages"):
        pytest.skip("this kernel does not count the zero pages of use_zero_pages (6.6)")
    ksm.set_all({"use_zero_pages": zero_pages})
    with start(pattern):
        before = cgroup.charge()
        assert before >= PAGES
        ksm.merge_all()
        fall = before - cgroup.charge()
        for metrics in (fixtures.valid_metrics(build), by_plugin(build)):
            assert metrics["saved"] == fall * page_size
            assert metrics["shared"] == kept
            assert metrics["gain"] == (metrics["sharing"] - kept) * page_size
    assert fall == saved


def test_unmerging_resets_full_scans_and_savings(ksm, start, build):
    with start("pairs", 1024):
        ksm.merge_all()
        merged = by_plugin(build)
        ksm.set("run", UNMERGED)
        unmerged = by_plugin(build)
    assert merged["full_scans"] >= SCANS and unmerged["full_scans"] == 0
    assert (unmerged["stopped"], unmerged["running"], unmerged["unmerged"]) == (0, 0, 1)
    assert unmerged["saved"] == unmerged["shared"] == unmerged["sharing"] == unmerged["merged"] == 0
    assert "sharing_ratio" not in unmerged
    for name in {"scanned", "cow"} & set(merged):
        assert unmerged[name] >= merged[name], f"{name} was reset too"
    if "cow" in merged:
        assert unmerged["cow"] - merged["cow"] >= 1024, "unmerging copies every page"


SLOW = {"pages_to_scan": 500, "sleep_millisecs": 330}      # some 12 s for a scan of PAGES


def ends_of_scans(ksm, count):
    """Return the times of the next COUNT ends of full scans."""
    times, last = [], ksm.number("full_scans")
    while len(times) < count:
        now = ksm.wait(lambda: ksm.number("full_scans") > last and ksm.number("full_scans"), 60, "a full scan")
        times.append(time.monotonic())
        last = now
    return times


@pytest.mark.long
def test_scan_rate_matches_kernel(ksm, start, build, tmp_path):
    """Pairs are merged in the second of four scans.  Times are sent once in ten seconds."""
    ksm.set_all(SLOW)
    sent = tmp_path / "sent"
    with start("pairs"), sent.open("w") as file, subprocess.Popen([build / "ksm.plugin", *fixtures.ARGUMENTS, "1"],
                                                                  stdin=subprocess.PIPE, stdout=file) as running:
        ksm.set("run", RUNNING)
        first, *_others, fourth = ends_of_scans(ksm, 4)
        running.communicate()
    metrics = [{name: value for (_chart, name), value in tick.items()} for tick in Agent(sent.read_text()).ticks]
    took = (fourth - first) / 3
    times = [tick["scan_time"] / 1000 for tick in metrics if "scan_time" in tick]
    assert times and times == [pytest.approx(took, rel=0.1)] * len(times)
    ends = [i for i in range(1, len(metrics)) if metrics[i]["full_scans"] > metrics[i - 1]["full_scans"]]
    left = {i: tick["scan_left"] / 1000 for i, tick in enumerate(metrics) if "scan_left" in tick and i < ends[-1]}
    assert left and left.keys() <= set(range(ends[0], ends[-1]))
    for i, seconds in left.items():
        assert seconds == pytest.approx(min(end for end in ends if end > i) - i, abs=1 + took / 10)
    merged = [tick["shared"] + tick["sharing"] for tick in metrics]
    assert merged[-1] - merged[0] == PAGES
    assert sum(tick.get("merge_rate", 0) for tick in metrics) / 1000 == pytest.approx(PAGES, rel=0.02)


# The tools of these tests.

def test_settings_are_restored_after_error():
    before = settings_at_rest()
    with pytest.raises(ZeroDivisionError):
        with KsmSettings() as live:
            live.set_all({"pages_to_scan": 4321, "sleep_millisecs": 54, "use_zero_pages": 1, "run": RUNNING})
            assert settings() != before
            raise ZeroDivisionError
    assert settings_at_rest() == before


def test_settings_are_restored_by_next_user_after_kill():
    before = settings_at_rest()
    program = ("import sys, time; sys.path.insert(0, sys.argv[1]); from live import KsmSettings\n"
               "with KsmSettings() as ksm:\n"
               "    ksm.set('sleep_millisecs', 54); print('set', flush=True); time.sleep(600)\n")
    tools = Path(__file__).resolve().parents[1] / "support"
    with subprocess.Popen([sys.executable, "-c", program, tools], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "set\n"
        assert settings() != before
        holder.send_signal(signal.SIGKILL)
    assert settings_at_rest() == before


def test_lock_is_exclusive(ksm):
    with pytest.raises(Locked, match=rf" \({os.getpid()}\)$"):
        with KsmSettings(lock_seconds=0):
            pass
    assert ksm.has("run")


def test_other_programs_with_mergeable_memory_are_named(ksm, build):
    """Programs that register memory without the lock: a test that finds any gives their names as the reason."""
    check_alone()
    with Workload(build / "tests/workload", "pairs", 64) as other:
        ksm.merge_all()
        with pytest.raises((pytest.skip.Exception, pytest.fail.Exception), match=rf"KSM: workload \({other.pid}\)$"):
            check_alone()
    check_alone()
