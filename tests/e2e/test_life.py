# SPDX-License-Identifier: MIT
"""Both plugins' lives with their hosts: agents that die, hang or are suspended, clocks that are set, much starting and
stopping.  Nothing hangs, nothing is left behind, and no figure is made up for a gap."""

import fcntl
import os
import signal
import struct
import subprocess
import termios
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

import fixtures
from hosts import Collectd, Netdata, session_members, wait_gone
from protocol import Agent
from sampling import Process, Tree
from test_hosts import KSM, Clockwork, put, times, words_on
from test_plugin import END_S, Plugin, complaints, offset

LATE_S = 0.3            # a tick on a busy machine


# An agent that dies.

def plugins_of(host):
    """Return the pids of the plugins that HOST, a Netdata, has started."""
    return [pid for pid in session_members(host.process.pid)
            if Path(f"/proc/{pid}/comm").read_text() == "ksm.plugin\n"]


def test_goes_with_an_agent_that_is_killed(build, tmp_path):
    with Netdata(tmp_path, build / "ksm.plugin") as host:
        host.wait_for(("ksm.memory", "shared"))
        plugins = plugins_of(host)
        assert len(plugins) == 1
        start = time.monotonic()
        host.process.kill()
        assert wait_gone(plugins, END_S) == []
        print(f"gone after {(time.monotonic() - start) * 1000:.0f} ms")


# An agent that does not read.

class Stalled:
    """ksm.plugin whose output nobody reads; its pipe is as small as can be.

    The tree's pages_shared is the time in hundredths of a second, so that a figure tells its age.
    """

    def __init__(self, build, tree):
        self.tree = tree
        self.end, into = os.pipe()
        fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, os.sysconf("SC_PAGESIZE"))
        self.clock()
        self.process = subprocess.Popen([build / "ksm.plugin", "1", "--root", tree, *fixtures.ARGUMENTS],
                                        stdin=subprocess.PIPE, stdout=into, stderr=subprocess.PIPE)
        os.close(into)
        self.output = b""

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stderr.close()
        os.close(self.end)

    def clock(self):
        """Set the clock of the tree, and return its time."""
        now = int(time.time() * 100)
        put(self.tree, f"{KSM}/pages_shared", f"{now}\n")
        return now

    def read(self, seconds):
        """Read for SECONDS, with the tree's clock going."""
        os.set_blocking(self.end, False)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.clock()
            try:
                self.output += os.read(self.end, 1 << 16)
            except BlockingIOError:
                time.sleep(0.005)

    def stall(self, seconds):
        """Read nothing for SECONDS, after which the plugin waits."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.clock()
            time.sleep(0.005)
        waiting = struct.unpack("i", fcntl.ioctl(self.end, termios.FIONREAD, bytes(4)))[0]
        before = cpu_time(self.process.pid)
        time.sleep(0.2)
        assert struct.unpack("i", fcntl.ioctl(self.end, termios.FIONREAD, bytes(4)))[0] == waiting > 0
        assert cpu_time(self.process.pid) == before, "it does not wait busily"

    def ticks(self):
        """Return the time that each whole tick tells."""
        return [tick["ksm.memory", "shared"] for tick in Agent(self.output.decode()).ticks]


def cpu_time(pid):
    """Return the CPU time of process PID, in ticks."""
    return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))


@pytest.mark.parametrize("seconds", [5, pytest.param(60, marks=pytest.mark.long)])
def test_a_reader_that_stops_and_goes_on(seconds, build, make_tree):
    with Stalled(build, make_tree("6.18")) as plugin:
        plugin.read(1.5)
        before = len(plugin.ticks())
        plugin.stall(seconds)
        resumed = plugin.clock()
        plugin.read(2.5)
        plugin.process.stdin.close()
        assert plugin.process.wait(END_S) == 0
        plugin.read(0.1)
        ticks = plugin.ticks()
        assert complaints(plugin.process.stderr.read().decode()) == []
    old = [tick for tick in ticks[before:] if tick < resumed]
    fresh = [tick for tick in ticks if tick >= resumed]
    print(f"{seconds} s: {len(old)} ticks were in the pipe or on their way, {len(fresh)} came after")
    size = len(plugin.output) / len(ticks)
    assert len(old) <= os.sysconf("SC_PAGESIZE") / size + 2
    assert 2 <= len(fresh) <= 4
    assert all(after - before > 90 for before, after in zip(fresh[1:], fresh[2:])), "no burst"
    assert ticks == sorted(ticks)


ENDS = {
    "end of stdin": (lambda process: process.stdin.close(), 0),
    "SIGTERM": (lambda process: process.terminate(), -signal.SIGTERM),
}


@pytest.mark.parametrize("first_read", [
    pytest.param(0, id="at the first tick"), pytest.param(1.5, id="later", marks=pytest.mark.long)])
@pytest.mark.parametrize("end, status", ENDS.values(), ids=ENDS.keys())
def test_ends_while_nobody_reads(end, status, first_read, build, make_tree):
    with Stalled(build, make_tree("6.18")) as plugin:
        plugin.read(first_read)
        plugin.stall(1.5 if first_read == 0 else 5)
        end(plugin.process)
        assert plugin.process.wait(END_S) == status


def test_waits_for_a_slow_reader_though_stdin_is_at_its_end(build, make_tree):
    argv = [build / "ksm.plugin", "--root", make_tree("6.18"), *fixtures.ARGUMENTS]
    whole = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=True).stdout
    end, into = os.pipe()
    fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, os.sysconf("SC_PAGESIZE"))
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=into) as process:
        os.close(into)
        process.stdin.close()
        got = b""
        while chunk := os.read(end, 500):
            got += chunk
            time.sleep(0.02)
        assert process.wait(END_S) == 0
    os.close(end)
    assert got == whole


# SIGTERM at any time.

@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    """A tree with so many processes that looking at all takes some time."""
    tree = Tree(tmp_path_factory.mktemp("crowd") / "tree", sharing=3000, shared=1000)
    for pid in range(100, 700):
        tree.process(Process(pid, f"program-{pid}", merging=5, resident=10))
    return tree.root


@pytest.mark.parametrize("after_ms", [0, 1, 2, 3, 5, 8, 12, 20, 50, 100, 300, 990, 1005])
def test_sigterm_ends_it_at_any_time(after_ms, build, crowd):
    with Plugin([build / "ksm.plugin", "1", "--root", crowd, "--consumers-interval=1"]) as running:
        time.sleep(after_ms / 1000)
        running.process.terminate()
        status, seconds = running.finish()
    assert status == -signal.SIGTERM and seconds < 1


# A clock that is set.

class Clocked:
    """ksm.plugin on a wall clock of its own."""

    def __init__(self, stack, build, preload, tree, path, every):
        self.path, self.every, self.ahead = path, every, 0
        self.set(0)
        argv = [build / "ksm.plugin", str(every), "--root", tree, *fixtures.ARGUMENTS]
        env = {"LD_PRELOAD": str(preload), "KSM_TEST_CLOCK": str(path)}
        self.plugin = stack.enter_context(Plugin(argv, env))

    def set(self, seconds):
        """Set its clock SECONDS ahead of the system's."""
        self.ahead = seconds
        with open(self.path, "r+b" if self.path.exists() else "wb", buffering=0) as file:
            file.write(struct.pack("q", int(seconds * 1e9)))

    def check(self, when):
        """Check that it ticked on regularly though its clock was set at WHEN."""
        ticks = [tick for tick, chunk in self.plugin.chunks if b"SET" in chunk]
        after = [tick for tick in ticks if tick > when]
        gaps = [after - before for before, after in zip(ticks[1:], ticks[2:])]
        print(f"every {self.every} s, {self.ahead:+} s: " + " ".join(f"{gap:.2f}" for gap in gaps))
        assert max(gaps) < self.every + LATE_S
        assert len([gap for gap in gaps if gap < self.every - LATE_S]) <= 2, "a tick at once, and on to a multiple"
        assert [offset(tick + self.ahead, self.every) < LATE_S for tick in after[1:]] == [True] * len(after[1:])


STEPS = [-3600, 3600, -86400.4, 86400.4, -1, 1, -0.3, 0.3]


@pytest.mark.shipped
@pytest.mark.parametrize("every", [1, pytest.param(2, marks=pytest.mark.long)])
def test_ticks_go_on_when_the_clock_is_set(every, build, preload, make_tree, tmp_path):
    tree = make_tree("6.18")
    with ExitStack() as stack:
        plugins = [Clocked(stack, build, preload, tree, tmp_path / str(step), every) for step in STEPS]
        time.sleep(every * 2 + 0.6 - offset(time.time(), 1))
        when = time.time()
        for plugin, step in zip(plugins, STEPS):
            plugin.set(step)
        time.sleep(every * 3.5)
        for plugin in plugins:
            assert plugin.plugin.end_input()[0] == 0
    for plugin in plugins:
        plugin.check(when)


# A gap.

class Breakable(Clockwork):
    """A clockwork of which some counters can be unreadable for a while."""

    def stop(self, *paths):
        """Make PATHS unreadable."""
        with self.lock:
            self.RATES = {path: rate for path, rate in Clockwork.RATES.items() if path not in paths}
            for path in paths:
                put(self.tree, path, "12abc\n")

    def go_on(self):
        """Make all readable again."""
        self.RATES = Clockwork.RATES


GAP_S = 3.5
SHOWN_S = 3.2           # what is sent is shown so long after it
RATES = {("ksm.scan", "scanned"): 20000, ("ksm.scan", "skipped"): 3000, ("ksm.full_scans", "full_scans"): 40,
         ("ksm.cow", "cow"): 500, ("ksm.ksmd_cpu", "ksmd_cpu"): 25}


@pytest.fixture(scope="module")
def counting(build, tmp_path_factory):
    """(Netdata, clockwork): a Netdata on a tree whose counters grow."""
    work = tmp_path_factory.mktemp("counting")
    tree = fixtures.make_tree(build, "6.18", work / "tree")
    with Breakable(tree) as clockwork, \
            Netdata(work / "netdata", build / "ksm.plugin", " ".join(map(str, words_on(tree)))) as host:
        host.wait_for(*RATES)
        time.sleep(1.5)
        yield host, clockwork


def shown(host, name, since):
    """Return [(time, rate)] of a counter that HOST shows SINCE a time; print it."""
    found = [(when, number) for when, number in host.history(30, [name[0]])[name] if when > since]
    print(name, [(round(when - since), round(number)) for when, number in found])
    return found


def test_a_counter_that_was_unreadable_gives_no_absurd_rate(counting):
    host, clockwork = counting
    start = time.time()
    clockwork.stop(f"{KSM}/pages_scanned", f"{KSM}/full_scans")
    time.sleep(GAP_S)
    end = time.time()
    clockwork.go_on()
    time.sleep(SHOWN_S)
    for name in (("ksm.scan", "scanned"), ("ksm.full_scans", "full_scans")):
        rates = shown(host, name, start - 2)
        assert times(rates, (start + 2, end - 0.5)) == [], "a gap"
        assert times(rates, (end, end + 5)), "it came back"
        assert [number / RATES[name] for _when, number in rates] == pytest.approx([1] * len(rates), rel=0.25)
    name = "ksm.scan", "skipped"
    rates = shown(host, name, start - 2)
    assert len(times(rates, (start, end))) >= GAP_S - 1.5, "a neighbour"
    assert [number / RATES[name] for _when, number in rates] == pytest.approx([1] * len(rates), rel=0.25)


def suspend(pids, seconds):
    """Suspend the processes PIDS for SECONDS."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(seconds)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def test_after_a_suspend_it_goes_on_as_if_nothing_had_been(counting, build, make_tree):
    host, _clockwork = counting
    pids = plugins_of(host)
    with Plugin([build / "ksm.plugin", "1", "--root", make_tree("6.18"), *fixtures.ARGUMENTS]) as running:
        running.wait_chunks(2, 3)
        start = time.time()
        suspend([*pids, running.process.pid], GAP_S)
        end = time.time()
        time.sleep(SHOWN_S)
        assert running.end_input()[0] == 0
    late, *ticks = [when for when, _chunk in running.chunks if when > end - 0.05]
    assert late - end < LATE_S, "the one that is overdue"
    assert [offset(tick, 1) < LATE_S for tick in ticks] == [True] * len(ticks), "and the next multiple"
    assert SHOWN_S - 1 <= len(ticks) <= SHOWN_S + 1
    assert plugins_of(host) == pids, "it was not started anew"
    for name, rate in RATES.items():
        rates = shown(host, name, start - 2)
        assert max(rates)[0] > end, "it goes on"
        assert [number / rate for _when, number in rates] == pytest.approx([1] * len(rates), rel=0.25)


# Seldom.

@pytest.mark.long
def test_from_often_to_seldom(build, make_tree):
    """Ticks are at multiples of update_every, and no silence lasts so long that a 2.x ends it."""
    tree, seconds = make_tree("6.18"), 190
    with ExitStack() as stack:
        plugins = {every: stack.enter_context(Plugin([build / "ksm.plugin", str(every), "--root", tree,
                                                      *fixtures.ARGUMENTS])) for every in (1, 2, 5, 60, 3600)}
        time.sleep(seconds)
        end = time.time()
        for every, running in plugins.items():
            assert running.end_input()[0] == 0
            _first, *ticks = [when for when, chunk in running.chunks if b"SET" in chunk]
            due = int(end / every) - int(running.started / every)
            print(f"every {every} s: {len(ticks)} ticks of {due} after the first, {len(running.chunks)} writes")
            assert abs(len(ticks) - due) <= 1
            assert [offset(tick, every) < LATE_S for tick in ticks] == [True] * len(ticks)
            signs = [when for when, _chunk in running.chunks] + [end]
            assert max(after - before for before, after in zip(signs, signs[1:])) < 62


# Much starting and stopping.

def test_a_thousand_starts_and_stops(build, make_tree):
    count = 1000
    argv = ["nice", "-n", "19", build / "ksm.plugin", "1", "--root", make_tree("6.18"), *fixtures.ARGUMENTS]
    start = time.monotonic()
    outputs = {(done.returncode, done.stdout) for done in (
        subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
        for _ in range(count))}
    seconds = time.monotonic() - start
    print(f"{count} starts and stops in {seconds:.1f} s")
    assert {status for status, _output in outputs} == {0}
    sample, *more = sorted((output for _status, output in outputs), key=len)
    assert len(Agent(sample.decode()).ticks) == 1
    assert all(output.startswith(sample) for output in more), "one more, where a second began meanwhile"
    assert seconds < count * 0.1


# collectd.

class Hasty(Collectd):
    """A collectd that is not waited for."""

    def answers(self):
        return True


def ended(build, work, after, options=None, interval=1):
    """Start a collectd that reads every INTERVAL, stop it AFTER so many seconds; return (status, seconds, log)."""
    with Hasty(work, build / "ksm.so", options, interval=interval, history=False) as host:
        process, session = host.process, host.process.pid
        time.sleep(after)
        start = time.monotonic()
        host.stop()
        seconds = time.monotonic() - start
        assert session_members(session) == []
        return process.returncode, seconds, host.log()


@pytest.mark.parametrize("after", [0, 0.01, 0.03, 0.06, 0.1, 0.2])
def test_collectd_is_stopped_right_after_its_start(after, build, tmp_path):
    status, seconds, _log = ended(build, tmp_path, after)
    assert status in (0, -signal.SIGTERM) and seconds < END_S, "before it listens to signals, one ends it"


def test_collectd_is_stopped_while_it_reads(build, tmp_path, crowd):
    """Again and again, with both callbacks always at it."""
    options = {"Root": crowd, "ConsumersInterval": 1}
    for i in range(10):
        status, seconds, log = ended(build, tmp_path / str(i), 0.3 + i * 0.013, options, interval=0.02)
        assert (status, seconds < END_S) == (0, True)
        assert "Exiting normally" in log and "ksm plugin:" not in log


@pytest.mark.parametrize("times_over", range(3))
def test_collectd_reads_once(times_over, build, tmp_path):
    host = Collectd(tmp_path, build / "ksm.so", {"ConsumersInterval": 1}, history=False)
    argv = ["-T" if word == "-f" else word for word in host.command()]
    done = subprocess.run(argv, cwd=tmp_path, env=host.env, timeout=END_S, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{times_over}: {done.stderr}{host.log()}"
