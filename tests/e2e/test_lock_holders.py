# SPDX-License-Identifier: MIT
"""Blocking processes: they hold the locks of their own memory, so that reading their ksm_stat or cmdline blocks.

They delay no tick of the host's metrics and no stop of a daemon, and with up to eight of them the other consumers are
still reported.  tests/e2e/lockholder.c makes such processes; its first comment explains how.
"""

import os
import select
import shutil
import signal
import subprocess
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from conftest import quiet_ksm
from daemons import Collectd, Netdata, die_with_parent, plugins_of, until, wait_gone
from live import Workload
from sampling import Plugin

# The leak check of sanitizers stops every thread, and hangs on threads that wait for a holder.
pytestmark = pytest.mark.shipped

INTERVAL_S = 2          # interval of the consumers
TICKS = 10              # ticks of the host's metrics, one per second
LATE_S = 0.1            # a tick may be this much later than without holders, as other tests run in parallel
END_S = 10              # limit for a daemon's exit, which would never come if it waited for a holder
WAIT_S = 60             # limit for ticks, samples and log lines
RESUMED_S = 60          # a released process is skipped for this time
EXPLAINED_S = 60        # limit for ksm-explain
READY_S = 60            # limit for the tool
NOT_HERE = 77
MAX_BLOCKING = 8        # blocking processes that can be skipped
SLACK_S = 0.5
MESSAGE = "savings by consumer are not reported"


# The holders.

class Holders:
    """The tool's processes, ready within the `with` block; pids is {pid: name}."""

    def __init__(self, program, number, mib=0, exec_name=None, before=(), aio=False):
        """Run PROGRAM with NUMBER processes of MIB MiB of mergeable memory each, started by the command BEFORE it.

        With EXEC_NAME they all have that name, and hold their exec_update_lock. With AIO, the last thread that uses
        the memory of one that was killed hangs until the tool ends.
        """
        name = ["--exec", exec_name] if exec_name else []
        name += ["--aio"] if aio else []
        self.argv = [*before, str(program), *name, "--merge", str(mib), str(number)]
        self.pids = {}

    def __enter__(self):
        self.process = subprocess.Popen(self.argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, preexec_fn=die_with_parent(os.getpid()))
        lines = self.wait_for("ready")
        self.pids = {int(pid): name for pid, name in map(str.split, lines)}
        return self

    def __exit__(self, *_exception):
        self.process.stdin.close()
        try:
            self.process.wait(READY_S)
        finally:
            self.process.kill()
        self.process.stdout.close()
        self.process.stderr.close()

    def wait_for(self, answer):
        """Wait until the tool prints the line ANSWER; return the lines before it."""
        text, deadline = "", time.monotonic() + READY_S
        while not text.endswith(f"{answer}\n"):
            assert select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))[0], (answer, text)
            chunk = os.read(self.process.stdout.fileno(), 1 << 16)
            if not chunk:
                self.fail()
            text += chunk.decode()
        return text.splitlines()[:-1]

    def fail(self):
        """Skip the test if locks cannot be held on this machine, else raise."""
        status, message = self.process.wait(), self.process.stderr.read().decode().strip()
        if status == NOT_HERE:
            pytest.skip(f"no lock can be held here: {message}")
        raise AssertionError(f"lockholder: status {status}: {message}")

    def order(self, command, answer):
        """Send the line COMMAND, wait for the line ANSWER; return the time of the answer (wall clock)."""
        self.process.stdin.write(f"{command}\n".encode())
        self.process.stdin.flush()
        self.wait_for(answer)
        return time.time()

    def kill(self):
        """Kill them, and answer what they wait for."""
        for pid in self.pids:
            os.kill(pid, signal.SIGKILL)
        self.process.stdin.write(b"release\n")
        self.process.stdin.flush()

    def hold(self):
        """Let all processes take their locks; return the time (wall clock)."""
        return self.order("hold", "held")

    def release(self):
        """Let all processes release their locks; return the time (wall clock)."""
        return self.order("release", "released")


# A common interface to both daemons.

class SeenSample(NamedTuple):
    """One sample of the consumers in a daemon, in bytes."""

    when: float             # wall clock
    saved: dict             # {"KIND-NAME": saved}
    unattributed: int


class InNetdata(Plugin):
    """ksm.plugin, run like an agent does."""

    name = "netdata"

    def __init__(self, build, _work, root):
        """Run the plugin of BUILD on ROOT."""
        super().__init__(build / "ksm.plugin", f"--consumers-interval={INTERVAL_S}", f"--root={root}")

    def seen(self):
        """Return all samples so far."""
        return [SeenSample(when, {"-".join(consumer): saved for consumer, (saved, _real) in sample.consumers.items()},
                     sample.unattributed) for when, sample in zip(self.arrived, self.agent.samples)]

    def logged(self):
        """Return the log lines of the plugin."""
        return self.errors.splitlines()

    def end(self, how="input"):
        """End it by closing its input or by SIGTERM; return the duration in seconds."""
        if how == "input":
            return self.end_input()[1]
        self.process.terminate()
        return self.finish()[1]


class InCollectd:
    """A collectd with the plugin."""

    name = "collectd"

    def __init__(self, build, work, root):
        """Run the plugin of BUILD on ROOT, with all files in WORK."""
        self.daemon = Collectd(work, build / "ksm.so", {"Root": root, "ConsumersInterval": INTERVAL_S})

    def __enter__(self):
        self.daemon.__enter__()
        return self

    def __exit__(self, *_exception):
        self.daemon.__exit__()

    @property
    def ticks(self):
        """The time of each tick of the host's metrics."""
        return [when for when, _number in self.daemon.history().get("ksm/vmpage_number-sharing", [])]

    def seen(self):
        """Return all samples so far, without one younger than SLACK_S, which may be incomplete."""
        found = {}
        for name, values in self.daemon.history().items():
            plugin, _, value = name.partition("/")
            consumer = plugin.removeprefix("ksm_consumer-")
            if consumer != plugin and value == "bytes-saved":
                for when, number in values:
                    found.setdefault(when, {})[consumer] = int(number)
        return [SeenSample(when, saved, saved.pop("unattributed")) for when, saved in sorted(found.items())
                if "unattributed" in saved and when < time.time() - SLACK_S]

    def logged(self):
        """Return the log lines of the plugin."""
        return [line for line in self.daemon.log().splitlines() if "ksm plugin: " in line]

    def end(self, _how="SIGTERM"):
        """End the daemon; return the duration in seconds."""
        start = time.monotonic()
        self.daemon.process.terminate()
        self.daemon.process.wait(READY_S)
        return time.monotonic() - start


DAEMONS = [InNetdata, InCollectd]


@pytest.fixture
def ksm():
    """The live kernel's KSM with its lock, so that no other test of processes runs while there are holders."""
    with quiet_ksm() as live:
        yield live


@pytest.fixture
def start(build, tmp_path, ksm):
    """A function that starts both daemons on ROOT, until STACK is closed."""
    if "ksm_mergeable" not in Path("/proc/self/ksm_stat").read_text():
        pytest.skip("on this kernel reading ksm_stat does not block (6.14)")
    def begin(stack, root):
        return [stack.enter_context(daemon(build, tmp_path / f"{daemon.name}-{time.monotonic_ns()}", root))
                for daemon in DAEMONS]
    return begin


def named(daemon, pids):
    """Return {pid: log lines of DAEMON that name the process} of PIDS, {pid: name}."""
    log = daemon.logged()
    return {pid: [line for line in log if f" {pid} " in line and name in line] for pid, name in pids.items()}


def check_log(daemon, pids, times):
    """Check that the log of DAEMON names TIMES each as many of PIDS as can be skipped, and never the others."""
    def counts():
        return sorted(map(len, named(daemon, pids).values()), reverse=True)
    skipped = min(len(pids), MAX_BLOCKING)
    wanted = [times] * skipped + [0] * (len(pids) - skipped)
    until(lambda: counts() == wanted, WAIT_S, wanted, lambda text: AssertionError("\n".join([text, *daemon.logged()])))


# Ticks and exit, with the host's metrics of a fixture and the processes of this machine.

@pytest.fixture
def tree(make_tree):
    """The host's metrics of 6.18, and the live /proc."""
    root = make_tree("6.18")
    shutil.rmtree(root / "proc")
    (root / "proc").symlink_to("/proc")
    return root


def lateness(ticks):
    """Return [(time, delay)] of TICKS, which are a second apart, without the first.

    ksm.plugin's first tick is immediate, the others are at whole seconds.
    """
    first, *ticks = ticks[1:]
    phases = [when - first - round(when - first) for when in ticks]
    return [(when, phase - min(phases)) for when, phase in zip(ticks, phases)]


def wait_ticks(daemons, number):
    """Wait until each of DAEMONS has had NUMBER more ticks."""
    wanted = [len(daemon.ticks) + number for daemon in daemons]
    until(lambda: all(len(daemon.ticks) >= count for daemon, count in zip(daemons, wanted)), WAIT_S + number, "ticks")


def check_ticks(daemon, since):
    """All ticks after SINCE but one are at most LATE_S later than the latest before; a busy machine may delay one."""
    ticks = lateness(daemon.ticks)
    before = sorted(late for when, late in ticks if when < since)
    after = sorted(late for when, late in ticks if when >= since)
    print(f"{daemon.name}: latest of {len(before)} ticks without holders {before[-1] * 1000:.1f} ms, "
          f"of {len(after)} with them but one {after[-2] * 1000:.1f} ms")
    assert after[-2] <= before[-1] + LATE_S


def check_end(daemon, how, without=0.0):
    """DAEMON exits at most END_S later than it does WITHOUT holders."""
    seconds = daemon.end(how)
    print(f"{daemon.name}: has ended {seconds * 1000:.0f} ms after {how}, without holders {without * 1000:.0f} ms")
    assert seconds < END_S + without


def check_blocking(build, start, tree, number, ticks):
    """Let NUMBER processes take their locks while the daemons run; check these, and daemons that start afterwards."""
    with ExitStack() as stack:
        holders = stack.enter_context(Holders(build / "tests/lockholder", number))
        without = {daemon.name: daemon.end("SIGTERM") for daemon in start(stack, tree)}
        daemons = start(stack, tree)
        wait_ticks(daemons, ticks + 2)
        since = holders.hold()
        wait_ticks(daemons, ticks)
        for daemon in daemons:
            check_ticks(daemon, since)
            check_log(daemon, holders.pids, 1)
        for daemon in daemons:
            check_end(daemon, "input", without[daemon.name])
        for daemon in start(stack, tree):
            until(lambda daemon=daemon: len(daemon.ticks) > 1, WAIT_S, "ticks of a daemon that is started now")
            check_end(daemon, "SIGTERM", without[daemon.name])


def test_blocking_process_delays_no_tick_and_no_stop(build, start, tree):
    check_blocking(build, start, tree, 1, 3)


@pytest.mark.long
@pytest.mark.parametrize("number", [1, MAX_BLOCKING, 100])
def test_blocking_processes_delay_no_tick_and_no_stop(number, build, start, tree):
    check_blocking(build, start, tree, number, TICKS)


@pytest.mark.long
@pytest.mark.parametrize("number", [1, 100])
def test_blocking_processes_delay_no_tick_under_agent(number, build, tree, start, tmp_path):
    options = f"--consumers-interval=1 --root={tree}"
    with Holders(build / "tests/lockholder", number) as holders, \
            Netdata(tmp_path / "agent", build / "ksm.plugin", options) as daemon:
        daemon.wait_for(("ksm.memory", "sharing"))
        since = int(holders.hold())
        time.sleep(TICKS + 2)
        seen = [when for when, _number in daemon.history(TICKS + 2, ["ksm.memory"])[("ksm.memory", "sharing")]]
        plugins = plugins_of(daemon)
        assert len(plugins) == 1
        begin = time.monotonic()
        os.kill(daemon.process.pid, signal.SIGTERM)
        assert wait_gone(plugins, READY_S) == []
        print(f"gone after {time.monotonic() - begin:.3f} s")
        assert time.monotonic() - begin < END_S
    assert [when for when in seen if since < when <= since + TICKS] == [since + 1 + tick for tick in range(TICKS)]


def threads_in(pid, function):
    """Return how many threads of a process wait in a FUNCTION of the kernel."""
    found = 0
    for path in Path(f"/proc/{pid}/task").glob("*/wchan"):
        with suppress(OSError):     # it has exited
            found += path.read_text() == function
    return found


def state_of(pid):
    """Return the state of the first thread of a process."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.parametrize("kind", DAEMONS, ids=[kind.name for kind in DAEMONS])
def test_daemon_exits_despite_a_thread_that_cannot_be_killed(kind, build, tmp_path, tree, start):
    """No signal ends a thread that frees the memory of a holder; the daemon's first thread exits all the same.

    It is by chance that a thread of the daemon and not the holder itself does so: hence some of them.
    """
    with kind(build, tmp_path / "daemon", tree) as daemon, \
            Holders(build / "tests/lockholder", MAX_BLOCKING, aio=True) as holders:
        process = getattr(daemon, "daemon", daemon).process
        wait_ticks([daemon], 2)
        holders.hold()
        check_log(daemon, holders.pids, 1)
        holders.kill()
        until(lambda: threads_in(process.pid, "exit_aio") > 0, WAIT_S, "a thread that cannot be killed")
        wait_ticks([daemon], 2)
        begin = time.monotonic()
        process.terminate()
        until(lambda: state_of(process.pid) == "Z", END_S, "its exit")
        print(f"{daemon.name}: has exited after {time.monotonic() - begin:.1f} s")
        assert threads_in(process.pid, "exit_aio") > 0


@pytest.mark.long
@pytest.mark.parametrize("number, exec_name",
                         [(1, None), (MAX_BLOCKING, None), (100, None), (100, "ksm-holder")])
def test_ksm_explain_ends_despite_blocking_processes(number, exec_name, build, tree, start):
    with Holders(build / "tests/lockholder", number, exec_name=exec_name) as holders:
        holders.hold()
        begin = time.monotonic()
        page = subprocess.run([build / "ksm-explain", "--root", tree], capture_output=True, text=True, check=False,
                              timeout=EXPLAINED_S).stdout
        print(f"explained after {time.monotonic() - begin:.1f} s")
    blocks_counts = exec_name is None
    assert ("not all processes could be read" in page) == (blocks_counts and number > MAX_BLOCKING)


# The search for ksmd, in the thread of the host's metrics.  In its own PID namespace any process can be pid 2, and call
# itself like a kernel thread.

NAMESPACE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
FOUND_S = 20            # limit for the search, which would never end if it waited for a holder


def child_of(pid):
    """Return the only child of process PID."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())


# The plugin is in that PID namespace, or only uses its /proc.
@pytest.mark.parametrize("namespaces", [["--pid", "--mount"], ["--mount"]], ids=" ".join)
def test_search_for_ksmd_skips_false_kthreadd(namespaces, build, ksm):
    del ksm
    if os.geteuid() != 0:
        pytest.skip("a PID namespace requires root")
    with Holders(build / "tests/lockholder", 1, exec_name="kthreadd", before=NAMESPACE) as holders:
        assert holders.pids == {2: "kthreadd"}
        holders.hold()
        before = ["nsenter", f"--target={child_of(holders.process.pid)}", *namespaces]
        with Plugin(build / "ksm.plugin", "--consumers=0", before=before) as plugin:
            try:
                plugin.wait(lambda: len(plugin.ticks) >= 3, FOUND_S, "ticks")
            finally:
                holders.release()
            assert "ksm.ksmd_cpu" not in plugin.text


# Savings by consumer.  First pages are merged, then ksmd is stopped, as it would wait for the holders as well.

OTHERS = [f"program-ksmtest-{number}" for number in (1, 2, 3)]
PAGES = 2000            # more than a holder has, so that they are among the top consumers
MIB = 1


@pytest.fixture
def others(build, tmp_path, ksm):
    """A function that starts OTHERS, until STACK is closed, and returns their pids."""
    def begin(stack):
        found = []
        for consumer in OTHERS:
            copy = shutil.copy(build / "tests/workload", tmp_path / consumer.removeprefix("program-"))
            found.append(stack.enter_context(Workload(copy, "unique", PAGES, 7)).pid)
        return found
    return begin


def shown(daemon, since):
    """Return the samples of DAEMON after SINCE with all of OTHERS, except perhaps the last."""
    return [sample for sample in daemon.seen() if sample.when > since and set(OTHERS[:-1]) <= set(sample.saved)]


def check_sums(daemon, saved):
    """All samples of DAEMON add up to SAVED."""
    for sample in daemon.seen():
        assert sum(sample.saved.values()) + sample.unattributed == saved


class Scene:
    """Both daemons, OTHERS and some holders, all reported as consumers."""

    def __init__(self, stack, number, build, start, others, ksm, page_size):
        """Start NUMBER holders, until STACK is closed."""
        self.holders = stack.enter_context(Holders(build / "tests/lockholder", number, MIB))
        self.others = others(stack)
        ksm.merge_all()
        self.saved = ksm.number("pages_sharing") * page_size
        self.daemons = start(stack, "/")
        self.before = {daemon.name: until(lambda daemon=daemon: shown(daemon, 0), WAIT_S, "all")[-1]
                       for daemon in self.daemons}

    def blocking_savings(self, daemon):
        """Return {consumer: saved} of the holders as DAEMON showed them before they took their locks."""
        return {name: saved for name, saved in self.before[daemon.name].saved.items() if "ksm-holder" in name}


@pytest.fixture
def scene(build, start, others, ksm, page_size):
    """A function that makes a Scene with NUMBER holders."""
    with ExitStack() as stack:
        yield lambda number: Scene(stack, number, build, start, others, ksm, page_size)


def check_shown(scene, since, daemon):
    """OTHERS are shown again two intervals after the sample that blocked; the holders' savings are unattributed."""
    sample = until(lambda: shown(daemon, since + INTERVAL_S), 4 * INTERVAL_S, "the others")[0]
    absent = sample.when - [before.when for before in daemon.seen() if before.when < sample.when][-1]
    print(f"{daemon.name}: {absent:.1f} s from the last sample without holders to the first with them")
    assert absent <= 3 * INTERVAL_S + SLACK_S, "one that blocked, and two intervals"
    blocking_savings = scene.blocking_savings(daemon)
    assert len(blocking_savings) == len(scene.holders.pids) and min(blocking_savings.values()) > 0
    assert not set(blocking_savings) & set(sample.saved)
    assert sample.unattributed >= sum(blocking_savings.values())


def check_current(scene, daemon):
    """The last of OTHERS, which was killed, disappears."""
    since = time.time()
    until(lambda: any(OTHERS[-1] not in sample.saved for sample in shown(daemon, since)), 3 * INTERVAL_S, "its end")


@pytest.mark.long
@pytest.mark.parametrize("number", [1, MAX_BLOCKING])
def test_other_consumers_are_shown_despite_blocking_processes(number, scene):
    scene = scene(number)
    since = scene.holders.hold()
    for daemon in scene.daemons:
        check_shown(scene, since, daemon)
    os.kill(scene.others[-1], signal.SIGKILL)
    for daemon in scene.daemons:
        check_current(scene, daemon)
        check_log(daemon, scene.holders.pids, 1)
        check_sums(daemon, scene.saved)


@pytest.mark.long
def test_released_process_reappears(scene):
    scene = scene(1)
    since = scene.holders.hold()
    for daemon in scene.daemons:
        check_shown(scene, since, daemon)
        check_log(daemon, scene.holders.pids, 1)
    since = scene.holders.release()
    for daemon in scene.daemons:
        check_log(daemon, scene.holders.pids, 2)
    for daemon in scene.daemons:
        consumer, saved = next(iter(scene.blocking_savings(daemon).items()))
        sample = until(lambda daemon=daemon: [sample for sample in shown(daemon, since) if consumer in sample.saved],
                      RESUMED_S + 10, consumer)[0]
        print(f"{daemon.name}: shown {sample.when - since:.1f} s after the release")
        assert sample.saved[consumer] == saved
        check_log(daemon, scene.holders.pids, 2)
        check_sums(daemon, scene.saved)


@pytest.mark.long
def test_more_blocking_processes_than_slots(scene):
    scene = scene(100)
    since = scene.holders.hold()
    os.kill(scene.others[-1], signal.SIGKILL)
    time.sleep(6 * INTERVAL_S)
    for daemon in scene.daemons:
        old = [sample for sample in daemon.seen() if sample.when > since + INTERVAL_S and OTHERS[-1] in sample.saved]
        assert old == []
        check_log(daemon, scene.holders.pids, 1)
        assert len([line for line in daemon.logged() if MESSAGE in line]) == 1, "\n".join(daemon.logged())
    since = scene.holders.release()
    for daemon in scene.daemons:
        sample = until(lambda daemon=daemon: shown(daemon, since), 3 * INTERVAL_S, "the others")[0]
        assert OTHERS[-1] not in sample.saved
        check_log(daemon, scene.holders.pids, 2)
        check_sums(daemon, scene.saved)
