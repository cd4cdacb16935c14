# SPDX-License-Identifier: MIT
"""Starts and stops of both plugins by their daemons, and agents that do not read.  Nothing hangs or stays behind, and
gaps get no invented values.  (test_daemons.py covers agents that are killed or suspended.)"""

import fcntl
import os
import signal
import struct
import subprocess
import termios
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

import fixtures
from daemons import SEEN_S, Collectd, Netdata, session_members, until
from expected import INTERVALS
from protocol import Agent
from sampling import Plugin
from test_plugin import END_S
from world import Process, Tree, World

LATE_S = 0.3            # limit for the delay of a tick on a busy machine
PAGE = os.sysconf("SC_PAGESIZE")


# An agent that does not read.

AGE = ("ksm.memory", "unshared")


@pytest.fixture
def aging(build, make_tree):
    """(A tree whose metric `unshared` is its age, ksm.plugin on it whose output is not read yet.)"""
    with World(make_tree("6.18"), {}, unshared=0) as world, \
            Plugin(build / "ksm.plugin", f"--root={world.root}", *fixtures.ARGUMENTS, pipe_size=PAGE,
                   listen=False) as plugin:
        yield world, plugin


def cpu_time(pid):
    """Return the CPU time of process PID, in clock ticks."""
    return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))


def check_waiting(plugin):
    """Check that PLUGIN, whose pipe is full or will soon be, waits without using CPU time."""
    def state():
        return struct.unpack("i", fcntl.ioctl(plugin.output, termios.FIONREAD, bytes(4)))[0], cpu_time(plugin.process.pid)

    def waiting():
        before = state()
        time.sleep(0.2)
        return state() == before and before[0] > 0
    until(waiting, SEEN_S, "a plugin that waits")


@pytest.mark.parametrize("seconds", [4, pytest.param(60, marks=pytest.mark.long)])
def test_plugin_waits_for_paused_reader_without_burst(seconds, aging):
    world, plugin = aging

    def of_age(age):
        return [tick for tick in plugin.agent.host.ticks if tick.get(AGE) == age]
    plugin.listening.set()
    plugin.wait_ticks(2)
    before = len(plugin.ticks)
    with plugin.reading_paused():
        world.set(unshared=1)
        time.sleep(seconds)
        check_waiting(plugin)
        world.set(unshared=2)
        resumed = time.time()
    plugin.wait(lambda: len(of_age(2)) >= 3, SEEN_S, "fresh ticks")
    fresh, seconds = len(of_age(2)), int(time.time()) - int(resumed)
    assert plugin.end_input()[0] == 0 and plugin.errors == ""
    ages = [tick[AGE] for tick in plugin.agent.host.ticks]
    old = [age for age in ages[before:] if age < 2]
    print(f"{seconds} s: {len(old)} ticks were in the pipe or on their way, {fresh} came within {seconds} seconds after")
    values = sum(len(line) + 1 for line in plugin.text.splitlines() if line.startswith(("BEGIN", "SET", "END")))
    assert len(old) <= PAGE / (values / len(ages)) + 2
    assert fresh <= seconds + 1, "one that is overdue, and one a second: no burst"
    assert ages == sorted(ages)


ENDS = {
    "end of stdin": (lambda process: process.stdin.close(), 0),
    "SIGTERM": (lambda process: process.terminate(), -signal.SIGTERM),
}


@pytest.mark.parametrize("ticks, seconds", [
    pytest.param(0, 0.3, id="at the first tick"), pytest.param(2, 5, id="later", marks=pytest.mark.long)])
@pytest.mark.parametrize("end, status", ENDS.values(), ids=ENDS.keys())
def test_plugin_ends_while_output_is_not_read(end, status, ticks, seconds, aging):
    _world, plugin = aging
    if ticks:
        plugin.listening.set()
        plugin.wait_ticks(ticks)
    with plugin.reading_paused():
        time.sleep(seconds)
        check_waiting(plugin)
        end(plugin.process)
        assert plugin.process.wait(END_S) == status


def test_output_is_complete_for_slow_reader_after_end_of_stdin(build, make_tree):
    argv = [build / "ksm.plugin", "--root", make_tree("6.18"), *fixtures.ARGUMENTS]
    whole = fixtures.run_once(*argv).stdout.encode()
    end, into = os.pipe()
    fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, PAGE)
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=into) as process:
        os.close(into)
        got = b""
        while chunk := os.read(end, 500):
            got += chunk
            time.sleep(0.02)
        assert process.wait(END_S) == 0
    os.close(end)
    sample, more = sorted((got, whole), key=len)
    assert more.startswith(sample) and Agent(got.decode()).ticks, "one more tick, where a second began meanwhile"


# SIGTERM at any time.

@pytest.fixture(scope="module")
def many_processes(tmp_path_factory):
    """A tree with so many processes that a sweep takes some time."""
    tree = Tree(tmp_path_factory.mktemp("many") / "tree", sharing=3000, shared=1000)
    for pid in range(100, 700):
        tree.process(Process(pid, f"program-{pid}", merging=5, resident=10))
    return tree.root


@pytest.mark.parametrize("after_ms", [0, 1, 2, 5, 10, 20, 50, 300, 990, 1005])
def test_sigterm_ends_plugin_at_any_time(after_ms, build, many_processes):
    with Plugin(build / "ksm.plugin", "--root", many_processes, "--consumers-interval=1") as running:
        time.sleep(after_ms / 1000)
        running.process.terminate()
        assert running.finish()[0] == -signal.SIGTERM


# Long intervals.

@pytest.mark.long
def test_ticks_are_at_multiples_of_update_every(build, make_tree):
    """Output is never silent for so long that a 2.x agent kills the plugin."""
    tree, seconds = make_tree("6.18"), 190
    with ExitStack() as stack:
        plugins = {every: stack.enter_context(Plugin(build / "ksm.plugin", "--root", tree, *fixtures.ARGUMENTS,
                                                     every=every)) for every in (1, 2, 5, 60, 3600)}
        time.sleep(seconds)
        end = time.time()
        for every, running in plugins.items():
            assert running.end_input()[0] == 0
            _first, *ticks = running.ticks
            due = int(end / every) - int(running.started / every)
            print(f"every {every} s: {len(ticks)} ticks of {due} after the first, {len(running.chunks)} writes")
            assert abs(len(ticks) - due) <= 1
            late = [tick for tick in ticks if tick % every >= LATE_S]
            assert len(late) <= 1 + len(ticks) // 10, "a busy machine delays one or another"
            signs = [when for when, _chunk in running.chunks] + [end]
            assert max(after - before for before, after in zip(signs, signs[1:])) < 62


# Charts with an interval of their own, in an agent whose plugin ends and is started again.

PLUGIN_S = 43           # life of a plugin: so long that the agent would not interpolate if no value came meanwhile
STORED_S = 75
# (Database, update_every, interval of the charts).
STORES = [("alloc", 1, 10), ("dbengine", 1, 10), ("dbengine", 3, 12)]


def short_lived(plugin, directory):
    """Return a program in DIRECTORY that runs PLUGIN, but ends its input after PLUGIN_S."""
    directory.mkdir()
    program = directory / plugin.name
    program.write_text(f'#!/bin/sh\nsleep {PLUGIN_S} | {plugin} "$@"\n')
    program.chmod(0o755)
    return program


def stored(agent, chart):
    """Return [(time, numbers)] of CHART in the database of AGENT, from its first stored value on; None is a gap."""
    answer = agent.api("data", chart=chart, after=-STORED_S, format="json", group="average",
                       options="jsonwrap|seconds|flip")
    rows = [(int(row[0]), row[1:]) for row in answer["result"]["data"]]
    return next((rows[i:] for i, (_when, numbers) in enumerate(rows) if None not in numbers), [])


@pytest.mark.long
def test_agent_stores_every_value_of_charts_with_an_interval(build, make_tree, tmp_path):
    with World(make_tree("6.18")) as world, ExitStack() as stack:
        agents = [stack.enter_context(Netdata(
            tmp_path / f"{mode}-{every}", short_lived(build / "ksm.plugin", tmp_path / f"plugins-{mode}-{every}"),
            f"--root={world.root} --consumers=0", interval=every,
            extra=f"[db]\n    mode = {mode}\n    update every = {every}")) for mode, every, _interval in STORES]
        time.sleep(STORED_S)
        for agent, (mode, every, interval) in zip(agents, STORES):
            known = agent.charts()
            assert agent.log().count("confined:") >= STORED_S // PLUGIN_S + 1, "lives of the plugin"
            for name in INTERVALS:
                chart = f"ksm.{name}"
                rows = stored(agent, chart)
                assert known[chart]["update_every"] == interval
                if name == "scan_time":         # each plugin needs 10 s of readings
                    continue
                times = [when for when, _numbers in rows]
                assert len(times) >= (STORED_S - 2 * interval) // interval, (mode, every, chart, rows)
                assert times == list(range(times[0], times[-1] + 1, interval)) and times[0] % interval == 0
                assert [when for when, numbers in rows if None in numbers] == [], (mode, every, chart, rows)


# Many starts and stops.

@pytest.mark.parametrize("count", [200, pytest.param(2000, marks=pytest.mark.long)])
def test_many_starts_and_stops_leave_nothing(count, build, make_tree):
    """Most exit at once: a busy machine delays some, but a plugin that waited for the next second would delay half."""
    argv = [build / "ksm.plugin", "1", "--root", make_tree("6.18"), *fixtures.ARGUMENTS]
    outputs, seconds = set(), []
    for _ in range(count):
        start = time.monotonic()
        done = fixtures.run_once(*argv)
        seconds.append(time.monotonic() - start)
        outputs.add((done.returncode, done.stdout))
    median = sorted(seconds)[count // 2]
    print(f"{count} starts and stops in {sum(seconds):.1f} s, median {median * 1000:.1f} ms")
    assert {status for status, _output in outputs} == {0}
    sample, *more = sorted((output for _status, output in outputs), key=len)
    assert len(Agent(sample).ticks) == 1
    assert all(output.startswith(sample) for output in more), "one more, where a second began meanwhile"
    assert median < 0.2


# collectd.

class UnawaitedCollectd(Collectd):
    """A collectd whose start is not awaited."""

    def answers(self):
        return True


def ended(kind, build, work, after, options=None, interval=1):
    """Start a collectd of the class KIND that reads every INTERVAL, stop it AFTER so many seconds; return (status, log).

    If it does not exit it is killed, and the status shows that.
    """
    with kind(work, build / "ksm.so", options, interval=interval, history=False) as host:
        process, session = host.process, host.process.pid
        time.sleep(after)
        host.stop()
        assert session_members(session) == []
        return process.returncode, host.log()


@pytest.mark.parametrize("after", [0, 0.01, 0.03, 0.06, 0.1, 0.2])
def test_collectd_is_stopped_right_after_its_start(after, build, tmp_path):
    status, _log = ended(UnawaitedCollectd, build, tmp_path, after)
    assert status in (0, -signal.SIGTERM), "before it listens to signals, one ends it"


@pytest.mark.parametrize("stops", [10, pytest.param(500, marks=pytest.mark.long)])
def test_collectd_is_stopped_while_it_reads(stops, build, tmp_path, many_processes):
    """Many times, with both read callbacks always running, four daemons in parallel."""
    def stop(i):
        options = {"Root": many_processes, "ConsumersInterval": 1}
        return ended(Collectd, build, tmp_path / str(i), 0.2 + i % 20 * 0.013, options, interval=0.02)
    with ThreadPoolExecutor(4) as pool:
        for status, log in pool.map(stop, range(stops)):
            assert status == 0 and "Exiting normally" in log
            # On a busy machine a sample may take longer than one interval.
            assert [line for line in log.splitlines() if "ksm plugin:" in line and "savings by consumer" not in line] == []


@pytest.mark.parametrize("times_over", range(3))
def test_collectd_reads_once(times_over, build, tmp_path):
    host = Collectd(tmp_path, build / "ksm.so", {"ConsumersInterval": 1}, history=False)
    argv = ["-T" if argument == "-f" else argument for argument in host.command()]
    done = subprocess.run(argv, cwd=tmp_path, env=host.env, timeout=END_S, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{times_over}: {done.stderr}{host.log()}"
