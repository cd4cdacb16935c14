# SPDX-License-Identifier: MIT
"""Processes that hold the locks of their own memory, so that who reads their ksm_stat or cmdline waits for them.

No tick of the host's metrics waits, no host that is asked to end, and up to eight of them do not keep the other
consumers from being shown.  tests/e2e/lockholder.c makes them; its head says how.
"""

import os
import select
import shutil
import signal
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from conftest import quiet_ksm
from daemons import Collectd, Netdata, die_with_parent, plugins_of, until, wait_gone
from live import Workload
from sampling import Plugin

# The leak check of sanitizers stops every thread, and waits for those that wait for a holder.
pytestmark = pytest.mark.shipped

INTERVAL_S = 2          # of the consumers
TICKS = 10              # of the host's metrics, a second each
LATE_S = 0.1            # later than the latest tick without holders but one, at most: other tests run as well
END_S = 10              # a host has ended: one that waited for a holder would not
TOLD_S = 60             # a holder is in the log after this time
ASIDE_S = 60            # who held his lock is read again this time after he gave it back
EXPLAINED_S = 60        # ksm-explain has ended
READY_S = 60            # of the tool
NOT_HERE = 77
MOST = 8                # so many holders may be set aside
SLACK_S = 0.5
MESSAGE = "savings by consumer are not reported"


# The holders.

class Holders:
    """The tool's processes, from when they are ready until the end of the block; pids holds {pid: name}."""

    def __init__(self, program, number, mib=0, exec_name=None, before=()):
        """Run PROGRAM with NUMBER processes of MIB MiB of mergeable memory each, started by the command BEFORE it.

        With EXEC_NAME they are all called that, and hold their exec_update_lock.
        """
        name = ["--exec", exec_name] if exec_name else []
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

    def wait_for(self, word):
        """Wait until the tool prints the line WORD; return those before it."""
        text, deadline = "", time.monotonic() + READY_S
        while not text.endswith(f"{word}\n"):
            assert select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))[0], (word, text)
            chunk = os.read(self.process.stdout.fileno(), 1 << 16)
            if not chunk:
                self.fail()
            text += chunk.decode()
        return text.splitlines()[:-1]

    def fail(self):
        """Skip the test if this machine does not let the tool do what it does, else raise."""
        status, said = self.process.wait(), self.process.stderr.read().decode().strip()
        if status == NOT_HERE:
            pytest.skip(f"nobody can hold a lock here: {said}")
        raise AssertionError(f"lockholder: status {status}: {said}")

    def order(self, word, answer):
        """Send the line WORD, wait for the line ANSWER; return when, by the wall clock."""
        self.process.stdin.write(f"{word}\n".encode())
        self.process.stdin.flush()
        self.wait_for(answer)
        return time.time()

    def hold(self):
        """Have all of them take their locks; return when, by the wall clock."""
        return self.order("hold", "held")

    def release(self):
        """Have all of them give their locks back; return when, by the wall clock."""
        return self.order("release", "released")


# Both hosts, seen in one way.

class Seen(NamedTuple):
    """One sample of the consumers in a host, in bytes."""

    when: float             # by the wall clock
    saved: dict             # {"KIND-NAME": saved}
    unattributed: int


class InNetdata(Plugin):
    """ksm.plugin, driven as the agent does."""

    name = "netdata"

    def __init__(self, build, _work, root):
        """Run the plugin of BUILD on ROOT."""
        super().__init__(build / "ksm.plugin", f"--consumers-interval={INTERVAL_S}", f"--root={root}")

    def seen(self):
        """Return all samples so far."""
        return [Seen(when, {"-".join(consumer): saved for consumer, (saved, _real) in one.consumers.items()},
                     one.unattributed) for when, one in zip(self.arrived, self.agent.samples)]

    def complaints(self):
        """Return the lines in which the plugin said something."""
        return self.errors.splitlines()

    def end(self, how="input"):
        """End it by its input or by SIGTERM; return the seconds that this took."""
        if how == "input":
            return self.end_input()[1]
        self.process.terminate()
        return self.finish()[1]


class InCollectd:
    """A collectd with the plugin."""

    name = "collectd"

    def __init__(self, build, work, root):
        """Run the plugin of BUILD on ROOT, with all files in WORK."""
        self.host = Collectd(work, build / "ksm.so", {"Root": root, "ConsumersInterval": INTERVAL_S})

    def __enter__(self):
        self.host.__enter__()
        return self

    def __exit__(self, *_exception):
        self.host.__exit__()

    @property
    def ticks(self):
        """When each tick of the host's metrics came."""
        return [when for when, _number in self.host.history().get("ksm/vmpage_number-sharing", [])]

    def seen(self):
        """Return all samples so far; the newest may not be whole, and is left out while it is of now."""
        found = {}
        for name, values in self.host.history().items():
            plugin, _, value = name.partition("/")
            consumer = plugin.removeprefix("ksm_consumer-")
            if consumer != plugin and value == "bytes-saved":
                for when, number in values:
                    found.setdefault(when, {})[consumer] = int(number)
        return [Seen(when, saved, saved.pop("unattributed")) for when, saved in sorted(found.items())
                if "unattributed" in saved and when < time.time() - SLACK_S]

    def complaints(self):
        """Return the lines in which the plugin said something."""
        return [line for line in self.host.log().splitlines() if "ksm plugin: " in line]

    def end(self, _how="SIGTERM"):
        """End the daemon; return the seconds that this took."""
        start = time.monotonic()
        self.host.process.terminate()
        self.host.process.wait(READY_S)
        return time.monotonic() - start


HOSTS = [InNetdata, InCollectd]


@pytest.fixture
def ksm():
    """The live kernel's KSM, and so its lock: no other test of processes runs while there are holders."""
    with quiet_ksm() as live:
        yield live


@pytest.fixture
def start(build, tmp_path, ksm):
    """A function that starts both hosts on ROOT, to end with STACK."""
    if "ksm_mergeable" not in Path("/proc/self/ksm_stat").read_text():
        pytest.skip("on this kernel reading ksm_stat waits for nobody (6.14)")
    return lambda stack, root: [stack.enter_context(host(build, tmp_path / f"{host.name}-{time.monotonic_ns()}", root))
                                for host in HOSTS]


def named(host, pids):
    """Return {pid: lines of the log of HOST that name the process} of PIDS, {pid: name}."""
    log = host.complaints()
    return {pid: [line for line in log if f" {pid} " in line and name in line] for pid, name in pids.items()}


def check_log(host, pids, times):
    """The log of HOST names as many of PIDS as can be set aside TIMES each, and the others never."""
    def told():
        return sorted(map(len, named(host, pids).values()), reverse=True)
    aside = min(len(pids), MOST)
    wanted = [times] * aside + [0] * (len(pids) - aside)
    until(lambda: told() == wanted, TOLD_S, wanted, lambda text: AssertionError("\n".join([text, *host.complaints()])))


# Ticks, and the end.  Here metrics of a fixture tell of merged pages, and the processes are those of this machine.

@pytest.fixture
def tree(make_tree):
    """The host's metrics of 6.18, and the live /proc."""
    root = make_tree("6.18")
    shutil.rmtree(root / "proc")
    (root / "proc").symlink_to("/proc")
    return root


def lateness(ticks):
    """Return [(when, by how much it is later than a punctual one)] of TICKS, a second each, but for the first.

    ksm.plugin's first tick comes at once, the others at whole seconds.
    """
    first, *ticks = ticks[1:]
    phases = [when - first - round(when - first) for when in ticks]
    return [(when, phase - min(phases)) for when, phase in zip(ticks, phases)]


def wait_ticks(hosts, number):
    """Wait until each of HOSTS has had NUMBER more ticks."""
    wanted = [len(host.ticks) + number for host in hosts]
    until(lambda: all(len(host.ticks) >= count for host, count in zip(hosts, wanted)), TOLD_S + number, "ticks")


def check_ticks(host, since):
    """No tick SINCE then but one was later than the latest one before, but for LATE_S: a busy machine may delay one."""
    ticks = lateness(host.ticks)
    before = sorted(late for when, late in ticks if when < since)
    after = sorted(late for when, late in ticks if when >= since)
    print(f"{host.name}: latest of {len(before)} ticks without holders {before[-1] * 1000:.1f} ms, "
          f"of {len(after)} with them but one {after[-2] * 1000:.1f} ms")
    assert after[-2] <= before[-1] + LATE_S


def check_end(host, how, without=0.0):
    """HOST ends END_S after it was asked to, and after what it takes WITHOUT holders."""
    seconds = host.end(how)
    print(f"{host.name}: has ended {seconds * 1000:.0f} ms after {how}, without holders {without * 1000:.0f} ms")
    assert seconds < END_S + without


def hold_up(build, start, tree, number, ticks):
    """NUMBER of them begin to hold their locks while the hosts run; those run on, and others are started."""
    with ExitStack() as stack:
        holders = stack.enter_context(Holders(build / "tests/lockholder", number))
        without = {host.name: host.end("SIGTERM") for host in start(stack, tree)}
        hosts = start(stack, tree)
        wait_ticks(hosts, ticks + 2)
        since = holders.hold()
        wait_ticks(hosts, ticks)
        for host in hosts:
            check_ticks(host, since)
            check_log(host, holders.pids, 1)
        for host in hosts:
            check_end(host, "input", without[host.name])
        for host in start(stack, tree):
            until(lambda host=host: len(host.ticks) > 1, TOLD_S, "ticks of a host that is started now")
            check_end(host, "SIGTERM", without[host.name])


def test_blocking_process_delays_no_tick_and_no_stop(build, start, tree):
    hold_up(build, start, tree, 1, 3)


@pytest.mark.long
@pytest.mark.parametrize("number", [1, MOST, 100])
def test_blocking_processes_delay_no_tick_and_no_stop(number, build, start, tree):
    hold_up(build, start, tree, number, TICKS)


@pytest.mark.long
@pytest.mark.parametrize("number", [1, 100])
def test_blocking_processes_delay_no_tick_under_agent(number, build, tree, start, tmp_path):
    options = f"--consumers-interval=1 --root={tree}"
    with Holders(build / "tests/lockholder", number) as holders, \
            Netdata(tmp_path / "agent", build / "ksm.plugin", options) as host:
        host.wait_for(("ksm.memory", "sharing"))
        since = int(holders.hold())
        time.sleep(TICKS + 2)
        seen = [when for when, _number in host.history(TICKS + 2, ["ksm.memory"])[("ksm.memory", "sharing")]]
        plugins = plugins_of(host)
        assert len(plugins) == 1
        begin = time.monotonic()
        os.kill(host.process.pid, signal.SIGTERM)
        assert wait_gone(plugins, READY_S) == []
        print(f"gone after {time.monotonic() - begin:.3f} s")
        assert time.monotonic() - begin < END_S
    assert [when for when in seen if since < when <= since + TICKS] == [since + 1 + tick for tick in range(TICKS)]


@pytest.mark.long
@pytest.mark.parametrize("number", [1, MOST, 100])
def test_ksm_explain_ends_despite_blocking_processes(number, build, tree, start):
    with Holders(build / "tests/lockholder", number) as holders:
        holders.hold()
        begin = time.monotonic()
        page = subprocess.run([build / "ksm-explain", "--root", tree], capture_output=True, text=True, check=False,
                              timeout=EXPLAINED_S).stdout
        print(f"explained after {time.monotonic() - begin:.1f} s")
    assert ("not all processes could be read" in page) == (number > MOST)


# The search for ksmd, in the thread of the host's metrics.  In a PID namespace of its own any process can be pid 2, and
# call itself as the kernel's threads do.

NAMESPACE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
FOUND_S = 20            # a search that waited for a holder would not end


def child_of(pid):
    """Return the one child of process PID."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())


# The plugin is in that namespace, or only its /proc is that one's.
@pytest.mark.parametrize("namespaces", [["--pid", "--mount"], ["--mount"]], ids=" ".join)
def test_search_for_ksmd_skips_false_kthreadd(namespaces, build, ksm):
    del ksm
    if os.geteuid() != 0:
        pytest.skip("a PID namespace takes root")
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


# Savings by consumer.  Here pages are merged, then ksmd stands still: it would wait for the holders as well.

OTHERS = [f"program-ksmtest-{number}" for number in (1, 2, 3)]
PAGES = 2000            # more than a holder has: they are among those who save most
MIB = 1


@pytest.fixture
def others(build, tmp_path, ksm):
    """A function that starts OTHERS, to end with STACK, and returns their pids."""
    def begin(stack):
        found = []
        for consumer in OTHERS:
            copy = shutil.copy(build / "tests/workload", tmp_path / consumer.removeprefix("program-"))
            found.append(stack.enter_context(Workload(copy, "unique", PAGES, 7)).pid)
        return found
    return begin


def shown(host, since):
    """Return the samples of HOST since then in which all of OTHERS but perhaps the last are."""
    return [sample for sample in host.seen() if sample.when > since and set(OTHERS[:-1]) <= set(sample.saved)]


def check_sums(host, saved):
    """All samples of HOST add up to what the machine has SAVED."""
    for sample in host.seen():
        assert sum(sample.saved.values()) + sample.unattributed == saved


class Scene:
    """Both hosts and some holders, all of which are shown as consumers, or as others."""

    def __init__(self, stack, number, build, start, others, ksm, page_size):
        """Start NUMBER holders, who end with STACK."""
        self.holders = stack.enter_context(Holders(build / "tests/lockholder", number, MIB))
        self.others = others(stack)
        ksm.merge_all()
        self.saved = ksm.number("pages_sharing") * page_size
        self.hosts = start(stack, "/")
        self.before = {host.name: until(lambda host=host: shown(host, 0), TOLD_S, "all")[-1] for host in self.hosts}

    def held(self, host):
        """Return {consumer: saved} of the holders that HOST has shown before."""
        return {name: saved for name, saved in self.before[host.name].saved.items() if "ksm-holder" in name}


@pytest.fixture
def scene(build, start, others, ksm, page_size):
    """A function that makes a scene of NUMBER holders."""
    with ExitStack() as stack:
        yield lambda number: Scene(stack, number, build, start, others, ksm, page_size)


def check_shown(scene, since, host):
    """The others are shown again two intervals after the sample that waited; holders are unattributed."""
    sample = until(lambda: shown(host, since + INTERVAL_S), 4 * INTERVAL_S, "the others")[0]
    absent = sample.when - [before.when for before in host.seen() if before.when < sample.when][-1]
    print(f"{host.name}: {absent:.1f} s from the last sample without holders to the first with them")
    assert absent <= 3 * INTERVAL_S + SLACK_S, "one that waited, and two intervals"
    held = scene.held(host)
    assert len(held) == len(scene.holders.pids) and min(held.values()) > 0
    assert not set(held) & set(sample.saved)
    assert sample.unattributed >= sum(held.values())


def check_current(scene, host):
    """The last of the others was killed, and disappears for good."""
    since = time.time()
    until(lambda: any(OTHERS[-1] not in sample.saved for sample in shown(host, since)), 3 * INTERVAL_S, "its end")


@pytest.mark.long
@pytest.mark.parametrize("number", [1, MOST])
def test_other_consumers_are_shown_despite_blocking_processes(number, scene):
    scene = scene(number)
    since = scene.holders.hold()
    for host in scene.hosts:
        check_shown(scene, since, host)
    os.kill(scene.others[-1], signal.SIGKILL)
    for host in scene.hosts:
        check_current(scene, host)
        check_log(host, scene.holders.pids, 1)
        check_sums(host, scene.saved)


@pytest.mark.long
def test_released_process_reappears(scene):
    scene = scene(1)
    since = scene.holders.hold()
    for host in scene.hosts:
        check_shown(scene, since, host)
        check_log(host, scene.holders.pids, 1)
    since = scene.holders.release()
    for host in scene.hosts:
        check_log(host, scene.holders.pids, 2)
    for host in scene.hosts:
        consumer, saved = next(iter(scene.held(host).items()))
        sample = until(lambda host=host: [sample for sample in shown(host, since) if consumer in sample.saved],
                      ASIDE_S + 10, consumer)[0]
        print(f"{host.name}: shown {sample.when - since:.1f} s after the release")
        assert sample.saved[consumer] == saved
        check_log(host, scene.holders.pids, 2)
        check_sums(host, scene.saved)


@pytest.mark.long
def test_more_blocking_processes_than_slots(scene):
    scene = scene(100)
    since = scene.holders.hold()
    os.kill(scene.others[-1], signal.SIGKILL)
    time.sleep(6 * INTERVAL_S)
    for host in scene.hosts:
        old = [sample for sample in host.seen() if sample.when > since + INTERVAL_S and OTHERS[-1] in sample.saved]
        assert old == []
        check_log(host, scene.holders.pids, 1)
        assert len([line for line in host.complaints() if MESSAGE in line]) == 1, "\n".join(host.complaints())
    since = scene.holders.release()
    for host in scene.hosts:
        sample = until(lambda host=host: shown(host, since), 3 * INTERVAL_S, "the others")[0]
        assert OTHERS[-1] not in sample.saved
        check_log(host, scene.holders.pids, 2)
        check_sums(host, scene.saved)
