# SPDX-License-Identifier: MIT
"""The benchmark measures what it says it does, and its verdicts are right."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

import bench
import meters
from daemons import SEEN_S, until
from live import KSM, why_not

needs_ksm = pytest.mark.skipif(not KSM.exists(), reason=f"this kernel has no KSM: {KSM} is missing")
MS = 10 ** 6


@needs_ksm
@pytest.mark.parametrize("words, names", [
    (("hot", 3, 2), {"ours_ns": 3, "floor_ns": 3, "floor_reads": 1}),
    (("slow", 1), {"ours_ns": 1, "floor_ns": 1}),
    (("samples", 2), {}),
    (("sweep", 2), {"sweep_ns": 2, "processes": 2, "kept_ns": 2, "kept": 1}),
    (("descriptors", 2), {"descriptor_bytes": 2}),
    (("start", 2, "build/ksm.plugin"), {"start_ns": 2}),
])
def test_measurements_within_one_process(build, words, names):
    """Each part prints what it promises, as often as was asked for."""
    if words[0] == "sweep" and why_not():
        pytest.skip(why_not())
    words = [build / "ksm.plugin" if word == "build/ksm.plugin" else word for word in words]
    found = bench.numbers_of(build, *words)
    assert {name: len(numbers) for name, numbers in found.items()} == names


@pytest.mark.parametrize("target, measured, verdict", [
    ("floor", 1.15, ["TARGET floor 1.15 1.15 reached", "TARGET floor 1.15 1.05 missed"]),
    ("floor", 1.151, ["TARGET floor 1.151 1.15 missed", "TARGET floor 1.151 1.05 missed"]),
    ("idle", 0, ["TARGET idle 0 0 reached"]),
    ("idle", 1, ["TARGET idle 1 0 missed"]),
    ("memory_idle", 2.6, ["TARGET memory 2.6 2.5 missed"]),
    ("memory", 2.6, ["TARGET memory 2.6 8 reached", "TARGET memory 2.6 4 reached"]),
])
def test_verdict(capsys, target, measured, verdict):
    """A target is reached up to each of its limits; what was missed is remembered."""
    table = bench.Table()
    table.add("a section", "a row", "some text", target, measured)
    lines = capsys.readouterr().out.splitlines()[2:]
    assert [line[line.index("TARGET"):] for line in lines] == verdict
    assert len(table.missed) == sum(line.endswith("missed") for line in verdict)


WORK = "while time.process_time() < 0.3: pass"


@pytest.mark.parametrize("script", [WORK, f"def work():\n  {WORK}\nthread = threading.Thread(target=work)\n"
                                          "thread.start()\nthread.join()"], ids=["process", "thread"])
def test_cpu_time_matches_time_spent(script):
    """What works, a thread that has ended too, is found to have worked as long as it says; what sleeps is not."""
    script = f"import threading, time\n{script}\nprint('done', flush=True)\ntime.sleep(60)"
    with subprocess.Popen(["/usr/bin/python3", "-c", script], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        worked = meters.spent([process.pid])
        time.sleep(0.2)
        more = meters.spent([process.pid]) - worked
        process.kill()
    assert 300 * MS <= worked < 2000 * MS, f"got {worked} ns, want about 300 ms"
    assert more < 50 * MS, f"asleep it spent {more} ns"


@needs_ksm
def test_bench_reads_plugin_like_an_agent(build):
    """Its ticks and its metrics are counted."""
    with meters.Plugin(build, "--consumers=0") as plugin:
        begin = time.monotonic()
        until(lambda: len(plugin.ticks) >= 3, SEEN_S, "three ticks")
        ticks, seconds = len(plugin.ticks), time.monotonic() - begin
        assert ticks <= seconds + 3, f"got {ticks} ticks in {seconds:.1f} s"
        assert plugin.metrics >= 10, f"got {plugin.metrics} metrics"
        assert all(0 <= late < 1000 for late in plugin.late_ms())
        assert os.path.exists(f"/proc/{plugin.process.pid}")


class Ticks:
    """A plugin whose ticks came in at TIMES."""

    def __init__(self, *times):
        self.ticks = times


@pytest.mark.parametrize("ours, beside, want", [
    ([9.0, 10.008, 11.003], [9.0, 10.003, 11.003], [5, 0]),
    ([9.0, 10.090, 11.002], [9.0, 10.088, 11.001], [2, 1]),         # the machine was late, we were not
    ([9.0, 10.001, 11.021, 12.001], [9.0, 10.001, 12.001], [0, 0]),  # only what both have
])
def test_later_than_beside(ours, beside, want):
    """A tick is late by what the one beside it, in the same second, is not; the first ones come at once."""
    assert bench.later_ms(Ticks(*ours), Ticks(*beside)) == pytest.approx(want, abs=0.01)


@pytest.mark.long
def test_cost_of_a_median_second():
    """A busy second does not affect the others, and each subject is stopped after its turn."""
    script = ("import time\n"
              "for second in range(60):\n"
              "    time.sleep(1 - time.time() % 1)\n"
              "    end = time.thread_time() + (0.3 if second == 5 else 0.02)\n"
              "    while time.thread_time() < end: pass\n")

    with meters.Subject(["/usr/bin/python3", "-c", script]) as subject:
        cost = bench.take_turn(subject, "")
        time.sleep(0.2)
        state = Path(f"/proc/{subject.process.pid}/stat").read_text().split()[2]
        bench.signal_all(subject, signal.SIGCONT)
    assert 20_000 <= cost < 40_000, f"got {cost} µs a second, want about 20,000"
    assert state == "T"
