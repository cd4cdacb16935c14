# SPDX-License-Identifier: MIT
"""ksm.plugin as a process: when it writes, when it ends, what it says; what it asks of the kernel."""

import ctypes
import errno
import math
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

import fixtures
from protocol import Agent

FIRST_S = 0.1           # the first sample is there, generously
TICK_S = 0.08           # a tick is so near to its second, on a busy machine
END_S = 3               # the agent kills what has not left by then
KEEPALIVE_S = 60
LIVE_KSM = Path("/sys/kernel/mm/ksm")


def complaints(text):
    """Return the lines of a log, less the one in which the plugin says how it is confined."""
    return [line for line in text.splitlines() if "INFO : confined: " not in line]


class Plugin:
    """A running ksm.plugin: the agent's end of its pipes.  Output is stamped with the time it comes at."""

    def __init__(self, argv, env=None, **popen):
        """Start ARGV, with the dict ENV added to the environment."""
        self.chunks = []                # (wall clock, bytes)
        self.started = time.time()
        self.process = subprocess.Popen(
            [str(word) for word in argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=dict(os.environ, **(env or {})), **popen)
        self.errors = b""
        self.readers = [threading.Thread(target=self.read_output), threading.Thread(target=self.read_errors)]
        for reader in self.readers:
            reader.start()

    def read_output(self):
        """Gather what is written to stdout: a write of less than a pipe's buffer comes as one chunk."""
        while chunk := os.read(self.process.stdout.fileno(), 1 << 17):
            self.chunks.append((time.time(), chunk))

    def read_errors(self):
        """Gather what is written to stderr."""
        while chunk := os.read(self.process.stderr.fileno(), 1 << 16):
            self.errors += chunk

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        self.process.kill()
        self.finish()

    def finish(self):
        """Wait for its end, of which there is a cause; return (status, seconds)."""
        start = time.monotonic()
        status = self.process.wait(END_S * 2)
        seconds = time.monotonic() - start
        for reader in self.readers:
            reader.join()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            pipe.close()
        return status, seconds

    def end_input(self):
        """Do what the agent does to end a plugin, and return (status, seconds)."""
        self.process.stdin.close()
        return self.finish()

    def wait_chunks(self, count, seconds):
        """Wait until COUNT writes have come, and return their times."""
        deadline = time.monotonic() + seconds
        while len(self.chunks) < count and time.monotonic() < deadline:
            time.sleep(0.005)
        assert len(self.chunks) >= count, f"{len(self.chunks)} of {count} writes; stderr: {self.errors.decode()}"
        return [when for when, _chunk in self.chunks[:count]]

    def text(self):
        """Return all output so far."""
        return b"".join(chunk for _when, chunk in self.chunks).decode()


@pytest.fixture
def plugin(build, make_tree):
    """A function that starts ksm.plugin with some words on the tree of 6.18, and sees to its end."""
    tree = make_tree("6.18")
    running = []

    def start(*words, env=None):
        argv = [build / "ksm.plugin", *words, "--root", tree, *fixtures.ARGUMENTS]
        running.append(Plugin(argv, env))
        return running[-1]

    yield start
    for one in running:
        with one:
            pass


def offset(when, every):
    """Return by how much the time WHEN is later than the last multiple of EVERY."""
    return when - math.floor(when / every) * every


# When it writes.

def test_first_sample_is_sent_at_once(plugin):
    """The fastest of three starts counts: this machine may be busy with other tests."""
    starts = [plugin("1") for _ in range(3)]
    assert min(running.wait_chunks(1, 1)[0] - running.started for running in starts) < FIRST_S


@pytest.mark.parametrize("every, ticks", [(1, 3), (2, 2)])
def test_samples_follow_at_multiples_of_update_every(every, ticks, plugin):
    _first, *rest = plugin(str(every)).wait_chunks(ticks + 1, every * (ticks + 1) + 1)
    assert [offset(when, every) < TICK_S for when in rest] == [True] * ticks
    assert [round(after - before) for before, after in zip(rest, rest[1:])] == [every] * (ticks - 1)


@pytest.mark.parametrize("words, least, every", [
    ([], None, 1), (["1"], None, 1), (["7"], None, 7), (["1"], "5", 5), (["7"], "5", 7), ([], "3", 3),
    (["0"], None, 1), (["-1"], None, 1), (["2x"], None, 1), (["1"], "junk", 1),
])
def test_update_every_is_the_larger_of_argument_and_environment(words, least, every, build, make_tree):
    env = {"NETDATA_UPDATE_EVERY": least} if least else {}
    done = run(build, *words, "--root", make_tree("article"), env=env)
    assert {look["update_every"] for look in Agent(done.stdout).charts.values()} == {every}


def test_a_tick_is_one_write_and_charts_are_drawn_once(plugin):
    running = plugin("1")
    running.wait_chunks(3, 5)
    running.end_input()
    agent = Agent(running.text())
    assert len(agent.ticks) == len(running.chunks)
    drawn = [line for line in running.text().splitlines() if line.startswith("CHART ")]
    assert len(drawn) == len(agent.charts) == len(re.findall(rb"^CHART ", running.chunks[0][1], re.MULTILINE))


def test_a_flood_on_stdin_delays_no_tick(plugin):
    running = plugin("1")
    flood = threading.Thread(target=pour, args=(running.process.stdin, time.monotonic() + 3.5))
    flood.start()
    flood.join()
    _first, *rest = [when for when, chunk in running.chunks if b"BEGIN ksm.memory\n" in chunk]
    answers = sum(chunk.count(b"FUNCTION_RESULT_END\n") for _when, chunk in running.chunks)
    print(f"{answers} answers; late by {max(offset(when, 1) for when in rest) * 1000:.0f} ms")
    assert len(rest) >= 3 and max(offset(when, 1) for when in rest) < TICK_S * 2
    assert answers > 1000 and running.end_input()[0] == 0


def pour(pipe, until):
    """Write to PIPE as much as it takes, UNTIL a time of the monotonic clock."""
    while time.monotonic() < until:
        try:
            os.write(pipe.fileno(), b"FUNCTION 1 10 \"ksm:unknown\"\n" * 1000)
        except OSError:
            return


@pytest.mark.long
def test_a_sign_of_life_comes_once_a_minute(plugin):
    """Netdata 2.x ends a plugin that was silent for two."""
    every = 300
    while every - offset(time.time(), every) < KEEPALIVE_S + 10:
        every += 60         # not just before a tick
    running = plugin(str(every))
    first, second = running.wait_chunks(2, KEEPALIVE_S + 5)
    assert running.chunks[1][1] == b"\n"
    assert second - first == pytest.approx(KEEPALIVE_S, abs=1)
    assert running.end_input()[0] == 0


# When it ends.

def test_ends_when_stdin_ends(plugin):
    running = plugin("3600")
    running.wait_chunks(1, 1)
    status, seconds = running.end_input()
    assert status == 0 and seconds < END_S
    assert complaints(running.errors.decode()) == []


def test_one_sample_when_stdin_is_at_its_end_from_the_start(plugin):
    running = plugin("1")
    status, seconds = running.end_input()
    assert status == 0 and seconds < END_S
    assert len(Agent(running.text()).ticks) == 1


def test_ends_when_stdin_is_closed(build, make_tree):
    done = subprocess.run(["sh", "-c", 'exec "$0" "$@" <&-', build / "ksm.plugin", "1", "--root", make_tree("article"),
            *fixtures.ARGUMENTS],
                          capture_output=True, text=True, timeout=END_S)
    assert done.returncode == 0 and len(Agent(done.stdout).ticks) == 1


def test_ends_after_what_was_said_before_the_end(plugin):
    """2.x says QUIT, without a newline, and closes."""
    running = plugin("3600")
    running.wait_chunks(1, 1)
    running.process.stdin.write(b"QUIT")
    assert running.end_input()[0] == 0


def test_ends_quietly_when_nobody_reads(build, make_tree):
    argv = [build / "ksm.plugin", "1", "--root", make_tree("6.18"), *fixtures.ARGUMENTS]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(END_S) == 0
        assert complaints(process.stderr.read().decode()) == []


def test_a_closed_stdout_ends_it(build, make_tree):
    done = subprocess.run(["sh", "-c", 'exec "$0" "$@" >&-', build / "ksm.plugin", "1", "--root", make_tree("article"),
            *fixtures.ARGUMENTS],
                          stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=END_S)
    assert done.returncode == 1


def test_sigterm_ends_it(plugin):
    running = plugin("3600")
    running.wait_chunks(1, 1)
    running.process.send_signal(signal.SIGTERM)
    status, seconds = running.finish()
    assert status in (0, -signal.SIGTERM) and seconds < END_S


# What it says.

def run(directory, *words, env=None, **popen):
    """Run the ksm.plugin of DIRECTORY with WORDS, stdin at its end; return what came of it."""
    return subprocess.run([directory / "ksm.plugin", *words, *fixtures.ARGUMENTS], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, env=dict(os.environ, **(env or {})), timeout=END_S, **popen)


def test_help_names_every_option_and_variable(build):
    done = run(build, "--help")
    assert done.returncode == 0 and done.stderr == ""
    for word in ("--root", "--settings", "--help", "--version", "NETDATA_HOST_PREFIX", "NETDATA_UPDATE_EVERY"):
        assert word in done.stdout


def test_version(build):
    done = run(build, "--version")
    assert done.returncode == 0 and re.fullmatch(r"ksm\.plugin [0-9]+\.[0-9]+\.[0-9]+\n", done.stdout)


def test_host_prefix_is_the_root(build, make_tree):
    with_prefix = run(build, "1", env={"NETDATA_HOST_PREFIX": str(make_tree("6.6"))})
    assert with_prefix.stdout == run(build, "1", "--root", make_tree("6.6")).stdout
    assert len(Agent(with_prefix.stdout).ticks) == 1


def test_root_goes_before_host_prefix(build, make_tree):
    done = run(build, "1", "--root", make_tree("6.6"), env={"NETDATA_HOST_PREFIX": str(make_tree("article"))})
    assert done.stdout == run(build, "1", "--root", make_tree("6.6")).stdout


@pytest.mark.parametrize("words", [["--settings=no"], ["--settings", "no"], ["--settings=off"]])
def test_settings_can_be_left_out(words, build, make_tree):
    charts = Agent(run(build, "1", "--root", make_tree("6.18"), *words).stdout).charts
    assert "ksm.state" in charts and not [chart for chart in charts if chart.startswith("ksm.settings")]


def test_says_why_and_disables_itself_without_ksm(build, make_tree):
    done = run(build, "1", "--root", make_tree("no-ksm"))
    assert (done.returncode, done.stdout) == (1, "DISABLE\n")
    assert len(done.stderr.splitlines()) == 1 and fixtures.NO_KSM in done.stderr


BAD_OPTIONS = [
    (["--settings=perhaps"], ["--settings", '"perhaps"', "yes or no"]),
    (["--settings"], ["--settings", '""', "yes or no"]),
    (["--colour=blue"], ["--colour", '"blue"', "--root", "--settings"]),
    (["--colour", "blue"], ["--colour", '"blue"', "--root", "--settings"]),
    (["soon"], ['"soon"', "seconds"]),
    (["--root="], ["--root", '""', "directory"]),
]


@pytest.mark.parametrize("words, message", BAD_OPTIONS)
def test_a_bad_option_is_told_of_and_the_rest_stays(words, message, build, make_tree):
    good = ["1", "--root", make_tree("6.18")]
    done = run(build, *good, *words)
    assert (done.returncode, done.stdout) == (0, run(build, *good).stdout)
    assert len(complaints(done.stderr)) == 1
    for part in message:
        assert part in complaints(done.stderr)[0]


# What it may not read.

NOBODY = {"user": "nobody", "group": "nogroup", "extra_groups": []}


@pytest.fixture
def for_nobody(build):
    """A directory that any user may enter, with a copy of ksm.plugin in it."""
    if os.geteuid() != 0:
        pytest.skip("becoming another user takes root")
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        shutil.copy(build / "ksm.plugin", directory)
        reachable = subprocess.run(["test", "-x", Path(directory, "ksm.plugin")], user="nobody").returncode == 0
        if not reachable:
            pytest.skip(f"user nobody may not enter {directory}")
        yield Path(directory)


def test_one_file_that_may_not_be_read_costs_one_figure(for_nobody, build):
    tree = fixtures.make_tree(build, "6.18", for_nobody / "tree")
    whole = Agent(run(build, "1", "--root", tree).stdout).ticks[0]
    (tree / "sys/kernel/mm/ksm/pages_skipped").chmod(0)
    with Plugin([for_nobody / "ksm.plugin", "1", "--root", tree, *fixtures.ARGUMENTS], **NOBODY) as running:
        running.wait_chunks(4, 5)
        running.end_input()
        ticks = Agent(running.text()).ticks
        errors = complaints(running.errors.decode())
    del whole["ksm.scan", "skipped"]
    assert ticks == [whole, *[{**whole, ("ksm.merge_rate", "merge_rate"): 0}] * (len(ticks) - 1)]
    assert len(errors) == 1
    for part in ("pages_skipped", os.strerror(errno.EACCES), "skipped is absent"):
        assert part in errors[0]


def test_a_directory_that_may_not_be_entered_is_told_of(for_nobody, build):
    tree = fixtures.make_tree(build, "6.18", for_nobody / "tree")
    (tree / "sys/kernel/mm").chmod(0)
    done = run(for_nobody, "1", "--root", tree, **NOBODY)
    assert (done.returncode, done.stdout) == (1, "DISABLE\n")
    assert os.strerror(errno.EACCES) in done.stderr


# What it asks of the kernel.

CALL = re.compile(r"(?P<pid>\d+ +)?(?P<time>[\d.]+) (?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+|\?)")


def trace(build, ticks, tmp_path):
    """Trace ksm.plugin on the live kernel for TICKS ticks; return [[(call, arguments, result), …] of each tick]."""
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    if not LIVE_KSM.exists():
        pytest.skip("this kernel has no KSM")
    log = tmp_path / "strace.log"
    strace = ["strace", "-ttt", "-y", "-s", "64", "-o", log]
    with Plugin([*strace, build / "ksm.plugin", "1", *fixtures.ARGUMENTS]) as running:
        try:
            running.wait_chunks(ticks, ticks + 5)
        except AssertionError:
            if "ptrace" in running.errors.decode().lower():
                pytest.skip(f"strace may not trace here: {running.errors.decode().strip()}")
            raise
        running.end_input()
    lines = filter(None, map(CALL.match, log.read_text().splitlines()))
    return by_tick([line.group("name", "arguments", "result") for line in lines])[:ticks]


def by_tick(calls):
    """Return CALLS in lists, each up to a tick's write and the wait that follows it."""
    found = [[]]
    for call in calls:
        found[-1].append(call)
        if call[0] == "poll":
            found.append([])
    return found


def path_of(arguments):
    """Return the file of "5</sys/kernel/mm/ksm/run>, …"."""
    return arguments.partition("<")[2].partition(">")[0]


def knobs():
    """Return the files of the live kernel's KSM that can be written, but `run`, a state."""
    return {str(path) for path in LIVE_KSM.iterdir() if path.stat().st_mode & 0o200 and path.name != "run"}


def one_read_gives_all():
    """Whether what is wanted of vmstat stands in what the kernel gives at the first read."""
    with open("/proc/vmstat", "rb", buffering=0) as file:
        text = b"\n" + file.read(65536)
    return all(b"\n" + field + b" " in text for field in (b"cow_ksm", b"ksm_swpin_copy"))


def check_steady_tick(calls, reads_knobs):
    """Check the CALLS of a tick where everything is open: reads, one write, one wait, nothing else."""
    names = Counter(name for name, _arguments, _result in calls)
    assert set(names) <= {"pread64", "write", "poll"}, "more than reading, writing and waiting"
    assert (names["write"], names["poll"]) == (1, 1)
    preads = Counter(path_of(arguments) for name, arguments, _result in calls if name == "pread64")
    vmstat = [int(result) for name, arguments, result in calls if name == "pread64" and "/vmstat>" in arguments]
    if one_read_gives_all():
        assert len(vmstat) == 1, "vmstat is read on although nothing was lacking"
    else:
        assert vmstat[-1] == 0 and 0 not in vmstat[:-1], "vmstat is read until its end, no further"
    del preads["/proc/vmstat"]
    assert set(preads.values()) == {1}, "a file is read more than once"
    advised = "[none]" not in mode() and "/sys/kernel/mm/ksm/pages_to_scan" in preads
    allowed = {"/sys/kernel/mm/ksm/pages_to_scan"} if advised else set()
    assert (knobs() & set(preads)) == (knobs() if reads_knobs else allowed)


def mode():
    """Return the text of the live kernel's advisor_mode; where there is none, that it is off."""
    path = LIVE_KSM / "advisor_mode"
    return path.read_text() if path.exists() else "[none]"


@pytest.mark.shipped
def test_a_tick_is_one_read_a_file_one_write_one_wait(build, tmp_path):
    first, *rest = trace(build, 8, tmp_path)
    assert "openat" in {name for name, _arguments, _result in first}
    for calls in rest:
        check_steady_tick(calls, reads_knobs=False)


@pytest.mark.shipped
@pytest.mark.long
def test_settings_are_read_once_a_minute(build, tmp_path):
    """And then what this kernel lacks is looked for again; nothing else is opened."""
    ticks = trace(build, 65, tmp_path)
    settings = knobs() - {str(LIVE_KSM / "pages_to_scan")}
    minutes = [i for i, calls in enumerate(ticks) if settings & {path_of(call[1]) for call in calls}]
    assert minutes in ([0, 60], [0, 61])
    for i, calls in enumerate(ticks[1:], 1):
        missing = [call for call in calls if call[0] == "openat" and call[2] == "-1"]
        assert not missing or 60 <= i <= 61
        check_steady_tick([call for call in calls if call not in missing], reads_knobs=i in minutes)


# Whose memory it is.

CLONE_NEWNS, MS_BIND, MS_PRIVATE = 0x20000, 0x1000, 0x44000         # the last with MS_REC
OF_MEMINFO = {("ksm.effectiveness", "ram"), ("ksm.effectiveness", "net"), ("ksm.exposure", "exposure"),
              ("ksm.thp", "anon_huge")}


def mount(*arguments):
    """Call mount(2)."""
    if ctypes.CDLL(None, use_errno=True).mount(*arguments) != 0:
        raise OSError(ctypes.get_errno(), "mount")


def cover_meminfo(source, fuse):
    """In a mount namespace of this process' own, mount over /proc/meminfo: the file SOURCE, or what FUSE serves."""
    if ctypes.CDLL(None).unshare(CLONE_NEWNS) != 0:
        raise OSError("unshare")
    mount(None, b"/", None, MS_PRIVATE, None)
    if fuse:
        mount(b"lxcfs", b"/proc/meminfo", b"fuse", 0,
              f"fd={fuse},rootmode=100444,user_id=0,group_id=0,allow_other".encode())
    else:
        mount(bytes(source), b"/proc/meminfo", None, MS_BIND, None)


@pytest.mark.parametrize("served", [False, True], ids=["file", "FUSE that never answers"])
def test_a_meminfo_that_is_not_the_kernels_is_absent(served, build, tmp_path):
    """As lxcfs mounts it in a container.  Nothing waits for who serves it."""
    if os.geteuid() != 0 or not LIVE_KSM.exists() or (served and not os.path.exists("/dev/fuse")):
        pytest.skip("takes root, KSM in this kernel and /dev/fuse")
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 4194304 kB\nMemAvailable: 2097152 kB\nSwapFree: 0 kB\n"
                       "AnonHugePages: 2048 kB\n")
    fuse = os.open("/dev/fuse", os.O_RDWR) if served else 0
    try:
        running = Plugin([build / "ksm.plugin", "1", *fixtures.ARGUMENTS],
                         preexec_fn=lambda: cover_meminfo(meminfo, fuse))
    except subprocess.SubprocessError:
        pytest.skip("no mounts here")
    with running:
        running.wait_chunks(2, END_S)
        assert running.end_input()[0] == 0
    if served:
        os.close(fuse)
    shown = set(Agent(running.text()).ticks[0])
    assert ("ksm.memory", "shared") in shown and not OF_MEMINFO & shown
    lines = complaints(running.errors.decode())
    assert len(lines) == 4 and all("/proc/meminfo, " in line and "not the kernel's own" in line for line in lines)
