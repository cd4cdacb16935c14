# SPDX-License-Identifier: MIT
"""ksm.plugin as a process: when it writes, when it exits, its messages and its system calls.

tests/unit/netdata/test_args.c covers its arguments and environment, test_life.py its start and stop by an agent.
"""

import ctypes
import errno
import os
import pty
import re
import shutil
import subprocess
from collections import Counter

import pytest

import fixtures
from expected import INTERVALS
from live import KSM as LIVE_KSM
from protocol import Agent
from sampling import Plugin, without_confinement

FIRST_S = 0.1           # limit for the first sample
STARTS = 10             # the fastest of so many starts counts
TICK_S = 0.08           # limit for the delay of a tick on a busy machine
END_S = 30              # limit for its exit


def run(build, tree, *words, **how):
    """Run the ksm.plugin of BUILD on TREE, for the host's metrics only; return the CompletedProcess."""
    return fixtures.run_once(build / "ksm.plugin", "--root", tree, *fixtures.ARGUMENTS, *words, **how)


# When it writes.

def test_first_sample_is_sent_at_once(build, make_tree):
    """Not only at a multiple of update_every.  The fastest start counts, as this machine may be busy with other tests."""
    argv = build / "ksm.plugin", "--root", make_tree("6.18"), *fixtures.ARGUMENTS

    def start():
        with Plugin(*argv, every=3600) as running:
            return running.wait_ticks(1)[0] - running.started
    assert min(start() for _ in range(STARTS)) < FIRST_S


def interval_of(chart):
    return INTERVALS.get(chart.removeprefix("ksm."), 1)


def check_intervals(charts, every):
    """Each chart's interval is a multiple of EVERY."""
    want = {name: -(-interval_of(name) // every) * every for name in charts}
    assert {name: chart["update_every"] for name, chart in charts.items()} == want


def test_samples_follow_at_multiples_of_update_every(build, make_tree):
    """Each is one write, and charts are defined once.  The end of stdin ends the plugin."""
    argv = build / "ksm.plugin", "--root", make_tree("6.18"), *fixtures.ARGUMENTS
    with Plugin(*argv) as often, Plugin(*argv, every=2) as seldom:
        for every, running in ((2, seldom), (1, often)):
            running.wait_punctual(2, TICK_S, every)
            assert running.end_input()[0] == 0 and running.errors == ""
            charts = running.agent.host.charts
            assert len(running.chunks) <= len(running.ticks), "a reader that is late may get two writes at once"
            assert len(re.findall("^CHART ", running.text, re.MULTILINE)) == len(charts)
            check_intervals(charts, every)


def test_agent_sets_minimum_update_every(build, make_tree):
    done = run(build, make_tree("article"), env={"NETDATA_UPDATE_EVERY": "5"})
    check_intervals(Agent(done.stdout).charts, 5)


# Exit.

def test_end_of_stdin_ends_plugin_at_once(build, make_tree):
    """Not only at the next tick.  The fastest exit counts, as above."""
    argv = build / "ksm.plugin", "--root", make_tree("6.18"), *fixtures.ARGUMENTS

    def end():
        with Plugin(*argv, every=3600) as running:
            running.wait_ticks(1)
            status, seconds = running.end_input()
            assert status == 0
            return seconds
    assert min(end() for _ in range(STARTS)) < FIRST_S


@pytest.mark.parametrize("closed, status", [("<&-", 0), (">&-", 1)])
def test_closed_descriptor_ends_plugin(closed, status, build, make_tree):
    done = fixtures.run_once("sh", "-c", f'exec "$0" "$@" {closed}', build / "ksm.plugin", "--root", make_tree("article"),
                             *fixtures.ARGUMENTS)
    assert (done.returncode, len(Agent(done.stdout).ticks)) == (status, 1 - status)


def test_closed_stdout_ends_plugin_quietly(build, make_tree):
    argv = [build / "ksm.plugin", "1", "--root", make_tree("6.18"), *fixtures.ARGUMENTS]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(END_S) == 0
        assert without_confinement(process.stderr.read().decode()) == []


# Messages.

@pytest.mark.parametrize("word, says", [
    ("--help", "--root(.|\n)*--settings(.|\n)*--help(.|\n)*--version(.|\n)*NETDATA_HOST_PREFIX(.|\n)*NETDATA_UPDATE_EVERY"),
    ("--version", r"^ksm\.plugin [0-9]+\.[0-9]+\.[0-9]+\n$"),
])
def test_option_prints_and_exits(word, says, build):
    done = fixtures.run_once(build / "ksm.plugin", word)
    assert (done.returncode, done.stderr) == (0, "") and re.search(says, done.stdout)


def test_settings_can_be_omitted(build, make_tree):
    charts = Agent(run(build, make_tree("6.18"), "--settings=no").stdout).charts
    assert "ksm.state" in charts and not [chart for chart in charts if chart.startswith("ksm.settings")]


def test_plugin_disables_itself_without_ksm(build, make_tree):
    done = run(build, make_tree("no-ksm"))
    assert (done.returncode, done.stdout) == (1, "DISABLE\n")
    assert len(done.stderr.splitlines()) == 1 and fixtures.NO_KSM in done.stderr


@pytest.mark.parametrize("root, says", [("none", ": no such directory"), ("dir", fixtures.NO_HOST)])
def test_a_root_that_is_not_that_of_a_host_is_named(root, says, build, tmp_path):
    (tmp_path / "dir").mkdir()
    done = run(build, tmp_path / root)
    assert (done.returncode, done.stdout) == (1, "DISABLE\n")
    [error] = done.stderr.splitlines()
    assert error.endswith(f"ERROR: {tmp_path}/{root}{says}"), error


# Missing permissions.

def test_unreadable_file_costs_one_metric(copy_of, public_path, build):
    tree = fixtures.make_tree(build, "6.18", public_path / "tree")
    whole = Agent(run(build, tree).stdout).ticks[0]
    (tree / "sys/kernel/mm/ksm/pages_skipped").chmod(0)
    with Plugin(copy_of("ksm.plugin"), "--root", tree, *fixtures.ARGUMENTS, user="nobody") as running:
        running.wait_ticks(2)
        running.end_input()
    del whole["ksm.scan", "skipped"]
    first, *others = running.agent.host.ticks
    assert first == whole and others
    always = {key: value for key, value in whole.items() if interval_of(key[0]) == 1}
    for tick in others:
        seldom = {key: value for key, value in whole.items() if key in tick}
        rate = {key: 0 for key in tick if key == ("ksm.merge_rate", "merge_rate")}
        assert tick == {**always, **seldom, **rate}
    [error] = running.errors.splitlines()
    for part in ("pages_skipped", os.strerror(errno.EACCES), "not reported until it can be read again: skipped"):
        assert part in error


def test_inaccessible_directory_is_logged(copy_of, public_path, build):
    tree = fixtures.make_tree(build, "6.18", public_path / "tree")
    (tree / "sys/kernel/mm").chmod(0)
    done = fixtures.run_once(copy_of("ksm.plugin"), "--root", tree, user="nobody", extra_groups=[])
    assert (done.returncode, done.stdout) == (1, "DISABLE\n")
    assert os.strerror(errno.EACCES) in done.stderr


# System calls.

CALL = re.compile(r"(?P<pid>\d+ +)?(?P<time>[\d.]+) (?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+|\?)")


def trace(build, ticks, tmp_path):
    """Trace ksm.plugin on the live kernel for TICKS ticks; return [[(call, arguments, result), …] of each tick]."""
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    if not LIVE_KSM.exists():
        pytest.skip("this kernel has no KSM")
    log = tmp_path / "strace.log"
    strace = ["strace", "-ttt", "-y", "-s", "64", "-o", log]
    with Plugin(build / "ksm.plugin", *fixtures.ARGUMENTS, before=strace) as running:
        try:
            running.wait_ticks(ticks)
        except AssertionError:
            if "ptrace" in running.errors.lower():
                pytest.skip(f"strace may not trace here: {running.errors}")
            raise
        running.end_input()
    lines = filter(None, map(CALL.match, log.read_text().splitlines()))
    return by_tick([line.group("name", "arguments", "result") for line in lines])[:ticks]


def by_tick(calls):
    """Split CALLS into lists, each up to a tick's write and the wait after it (absent if the next tick is overdue)."""
    found = [[]]
    for call in calls:
        if call[0] != "poll" and any(name == "write" and to.startswith("1<") for name, to, _result in found[-1]):
            found.append([])
        found[-1].append(call)
    return found


def path_of(arguments):
    """Return the file of "5</sys/kernel/mm/ksm/run>, …"."""
    return arguments.partition("<")[2].partition(">")[0]


def knobs():
    """Return the writable files of the live kernel's KSM, without `run`, which is a state."""
    return {str(path) for path in LIVE_KSM.iterdir() if path.stat().st_mode & 0o200 and path.name != "run"}


def check_steady_tick(calls, reads_knobs):
    """Check the CALLS of a tick when all files are open: reads, one write, one wait, nothing else."""
    names = Counter(name for name, _arguments, _result in calls)
    assert set(names) <= {"pread64", "write", "poll"}, "more than reading, writing and waiting"
    assert names["write"] == 1 and names["poll"] <= 1
    preads = Counter(path_of(arguments) for name, arguments, _result in calls if name == "pread64")
    for path in ("/proc/vmstat", "/proc/meminfo"):
        sizes = [int(result) for name, arguments, result in calls
                 if name == "pread64" and path_of(arguments) == path]
        assert sizes[-1] == 0 and 0 not in sizes[:-1], f"{path} is read until its end, no further"
        del preads[path]
    assert set(preads.values()) == {1}, "a file is read more than once"
    advised = "[none]" not in mode() and "/sys/kernel/mm/ksm/pages_to_scan" in preads
    allowed = {"/sys/kernel/mm/ksm/pages_to_scan"} if advised else set()
    assert (knobs() & set(preads)) == (knobs() if reads_knobs else allowed)


def mode():
    """Return the text of the live kernel's advisor_mode, or "none" selected if it is missing."""
    path = LIVE_KSM / "advisor_mode"
    return path.read_text() if path.exists() else "[none]"


@pytest.mark.shipped
@pytest.mark.parametrize("ticks", [4, pytest.param(65, marks=pytest.mark.long)])
def test_tick_is_one_read_per_file_one_write_one_wait(ticks, build, tmp_path):
    """Settings are read and missing files retried once a minute; nothing else is opened."""
    ticks = trace(build, ticks, tmp_path)
    settings = knobs() - {str(LIVE_KSM / "pages_to_scan")}
    minutes = [i for i, calls in enumerate(ticks) if settings & {path_of(call[1]) for call in calls}]
    assert minutes in ([0], [0, 60], [0, 61]) and len(minutes) == 1 + len(ticks) // 60
    assert "openat" in {name for name, _arguments, _result in ticks[0]}
    for i, calls in enumerate(ticks[1:], 1):
        missing = [call for call in calls if call[0] == "openat" and call[2] == "-1"]
        assert not missing or 60 <= i <= 61
        check_steady_tick([call for call in calls if call not in missing], reads_knobs=i in minutes)


# A meminfo that is not the kernel's.

CLONE_NEWNS, MS_BIND, MS_PRIVATE = 0x20000, 0x1000, 0x44000         # the last with MS_REC
OF_MEMINFO = {("ksm.effectiveness", "ram"), ("ksm.effectiveness", "net"), ("ksm.exposure", "exposure"),
              ("ksm.thp", "anon_huge")}


def mount(*arguments):
    """Call mount(2)."""
    if ctypes.CDLL(None, use_errno=True).mount(*arguments) != 0:
        raise OSError(ctypes.get_errno(), "mount")


def cover_meminfo(source, fuse):
    """In a new mount namespace of this process, mount the file SOURCE or a FUSE file system over /proc/meminfo."""
    if ctypes.CDLL(None).unshare(CLONE_NEWNS) != 0:
        raise OSError("unshare")
    mount(None, b"/", None, MS_PRIVATE, None)
    if fuse:
        mount(b"lxcfs", b"/proc/meminfo", b"fuse", 0,
              f"fd={fuse},rootmode=100444,user_id=0,group_id=0,allow_other".encode())
    else:
        mount(bytes(source), b"/proc/meminfo", None, MS_BIND, None)


@pytest.mark.parametrize("served", [False, True], ids=["file", "FUSE that never answers"])
def test_covered_meminfo_counts_as_absent(served, build, tmp_path):
    """lxcfs mounts it like this in a container.  The plugin does not wait for the FUSE server."""
    if os.geteuid() != 0 or not LIVE_KSM.exists() or (served and not os.path.exists("/dev/fuse")):
        pytest.skip("requires root, KSM in this kernel and /dev/fuse")
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 4194304 kB\nMemAvailable: 2097152 kB\nSwapFree: 0 kB\n"
                       "AnonHugePages: 2048 kB\n")
    fuse = os.open("/dev/fuse", os.O_RDWR) if served else 0
    try:
        with Plugin(build / "ksm.plugin", *fixtures.ARGUMENTS,
                    preexec_fn=lambda: cover_meminfo(meminfo, fuse)) as running:
            running.wait_ticks(1)
            assert running.end_input()[0] == 0
    except subprocess.SubprocessError:
        pytest.skip("no mounts here")
    if served:
        os.close(fuse)
    shown = set(running.agent.host.ticks[0])
    assert ("ksm.memory", "shared") in shown and not OF_MEMINFO & shown
    lines = running.errors.splitlines()
    assert len(lines) == 4 and all("/proc/meminfo, " in line and "not the kernel's own" in line for line in lines)


@pytest.mark.parametrize("terminal", [False, True])
def test_start_on_terminal_prints_how_to_stop(terminal, build, make_tree):
    ours, theirs = pty.openpty() if terminal else os.pipe()
    argv = [build / "ksm.plugin", "--root", make_tree("6.18"), "1"]
    with subprocess.Popen(argv, stdin=theirs if terminal else ours, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as plugin:
        plugin.stdout.readline()
        plugin.terminate()
        said = plugin.communicate(timeout=60)[1]
    os.close(ours)
    os.close(theirs)
    assert said.count("stop it with Ctrl-C") == terminal
