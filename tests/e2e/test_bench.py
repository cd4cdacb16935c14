# SPDX-License-Identifier: MIT
"""The benchmark measures what it says it does, and its decisions are right."""

import os
import random
import signal
import subprocess
import time
from itertools import islice

import pytest

import bench
import meters
import rows
from daemons import SEEN_S, until
from live import KSM, Workload

needs_ksm = pytest.mark.skipif(not KSM.exists(), reason=f"this kernel has no KSM: {KSM} is missing")
MS = 10 ** 6


@pytest.mark.parametrize("low, high, limit, want", [
    (0.9, 1.0, 1.1, "reached"),
    (0.9, 1.1, 1.1, "reached"),         # at most the limit
    (1.0, 1.2, 1.1, "undecided"),
    (1.1, 1.2, 1.1, "undecided"),       # the low end may still reach it
    (1.11, 1.2, 1.1, "missed"),
    (0, 0, 0, "reached"),               # a count
    (1, 1, 0, "missed"),
    (-5, 5, 1.1, "undecided"),          # a difference of noise
    (-float("inf"), float("inf"), 1.1, "undecided"),    # not measured, or too few rounds
    (5, 6, None, ""),                   # without a target
])
def test_interval_decides(low, high, limit, want):
    assert bench.verdict(low, high, limit) == want


@pytest.mark.parametrize("rounds", [10, 40])
def test_interval_has_the_median(rounds):
    """Of many experiments with noise, about 95 % have the true median within their intervals."""
    chance = random.Random(1)
    within = 0
    for _ in range(100):
        ratios = [chance.gauss(2, 0.3) for _ in range(rounds)]
        middle, low, high = bench.interval(ratios)
        assert low <= middle <= high
        within += low <= 2 <= high
    assert within >= 88, f"{within} of 100 intervals have the median"


def group(rounds, limit=1.1, exact=False, error=None):
    """Return a group of one row that yields ROUNDS of (A, B), then raises ERROR."""
    def function(_bench):
        yield from ({"row": pair} for pair in rounds)
        if error:
            raise error
    return bench.Group("title", function, 1, [bench.Row("row", "a ÷ b", "µs", limit, exact)])


BUSY = [(1.0 + i % 2, 1.0) for i in range(40)]      # 1 and 2 in turn


@pytest.mark.parametrize("of, want, text", [
    (group([(1.0, 1.0)] * 6), "reached", "1 (1…1)"),
    (group([(1.0, 1.0)] * 5), "undecided", "1 (-inf…inf)"),         # too few rounds
    (group([(2.4, 2.0)] * 6), "missed", "1.2 (1.2…1.2)"),
    (group(BUSY, 1.5), "undecided", "1.5 (1…2)"),
    (group([(3.0, 1.0), (1.0, 1.0)], 2, exact=True), "missed", "3"),    # a peak
    (group([(0, 1)], 0, exact=True), "reached", "0"),
    (group(["no such program"]), "undecided", "not measured: no such program"),
    (group([]), "undecided", "not measured: no round was completed"),
    (group([], error=OSError("gone")), "undecided", "not measured: OSError: gone"),
    (group([(1.0, 1.0)] * 6, error=OSError("gone")), "reached", "1 (1…1)"),
    (group([(5.0, 1.0)] * 9, None), "", "5 (5…5)"),
])
def test_group_always_has_a_result(of, want, text):
    """Whatever happens while a group is measured, its row is printed, and fails only if it is surely missed."""
    result = bench.measure(of, None, time.monotonic() + 60)[0]
    assert (result.verdict(), result.cells()[1]) == (want, text)
    assert bench.conclude([result]) == (want == "missed")


@pytest.mark.parametrize("pairs, rounds", [
    ([(1.0, 1.0)] * 100, bench.LEAST),      # narrow at once
    (BUSY, len(BUSY)),                      # never narrow
])
def test_rounds_until_interval_is_narrow(pairs, rounds):
    assert len(bench.measure(group(pairs), None, time.monotonic() + 60)[0].pairs) == rounds


@pytest.mark.parametrize("seconds, left_s, rounds", [
    (0, 60, bench.LEAST),       # over at once: the fewest that decide
    (1, 0.4, 0),                # less than half of its time is left
    (0.1, 0.5, 4),              # the whole run ends
])
def test_rounds_end_with_their_time(seconds, left_s, rounds):
    def function(_bench):
        for pair in BUSY:
            time.sleep(0.15)
            yield {"row": pair}
    slow = bench.Group("title", function, seconds, [bench.Row("row", "a ÷ b", "µs", 1.1)])
    assert len(bench.measure(slow, None, time.monotonic() + left_s)[0].pairs) == rounds


def test_every_group_fits_in_the_time():
    """All groups together take no longer than the whole run may, and names are unique."""
    assert sum(of.seconds for of in bench.chosen(None, None)) <= bench.MINUTES * 60 - bench.RESERVE_S
    names = [row.name for of in bench.GROUPS for row in of.rows]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("only, base, limits", [
    (None, None, {}),
    (None, "build", {"agent_rest": 0.6, "agent_works": 0.6, "values": None}),
    (["agent_works"], None, {"agent_works": None, "values": None}),
    (["agent_works"], "build", {"agent_works": 0.6, "values": None}),
])
def test_rows_have_limits_beside_another_build_only(only, base, limits):
    found = [row for of in bench.chosen(only, base) for row in of.rows if row.name.startswith(("agent", "values"))]
    assert {row.name: row.limit for row in found} == limits
    assert all((" ÷ " in row.what) == bool(base) for row in found)


@needs_ksm
@pytest.mark.parametrize("words, names", [
    (("host", 2), ["floor", "ends", "worker", "floor"]),
    (("slow",), ["floor"]),
    (("start", "build/ksm.plugin", "/bin/true"), ["start", "start"]),
])
def test_pairs_of_one_process(build, tmp_path, words, names):
    """Each mode prints the pairs that it promises, until it is closed."""
    words = [build / "ksm.plugin" if word == "build/ksm.plugin" else word for word in words]
    pairs = bench.Bench(build, None, None, tmp_path).pairs(*words)
    found = list(islice(pairs, len(names)))
    pairs.close()
    assert [name for name, _ in found] == names
    assert all(ours > 0 and theirs > 0 for _, (ours, theirs) in found)


@pytest.mark.skipif(os.geteuid() != 0, reason="run it as root")
@pytest.mark.shipped            # an array for all frames, of which few are used
def test_frames_of_a_mapping_are_read(build, tmp_path):
    """In some calls of pread() for each of the two files: contiguous frames are read together."""
    log = tmp_path / "log"
    with Workload(build / "tests/workload", "pairs", 1024) as target:
        pages = [address // os.sysconf("SC_PAGESIZE") for address in rows.largest_mapping(target.pid)]
        of_bench = bench.Bench(build, None, None, tmp_path)
        assert rows.read_frames(of_bench, target.pid) > 0
        subprocess.run(["strace", "-y", "-o", log, *of_bench.tool("frames", target.pid, *pages)], check=True,
                       stdout=subprocess.DEVNULL)
    calls = [log.read_text().count(f"/proc/{name}>,") for name in ("kpageflags", "kpagecount")]
    assert 2 <= calls[0] == calls[1] <= 1024


@pytest.mark.parametrize("mode", ["loop", "newcomers"])
def test_loop_reads_processes_each_interval(build, tmp_path, mode):
    """The loops that the consumers are compared with open files of processes, and stop with their reader."""
    log = tmp_path / "log"
    with subprocess.Popen(["strace", "-o", log, build / "tests/bench/bench", mode, "1000"],
                          start_new_session=True) as loop:
        try:
            until(lambda: log.exists() and log.read_text().count("clock_nanosleep(") >= 3, SEEN_S, "three waits")
        finally:
            os.killpg(loop.pid, signal.SIGKILL)
    waits = log.read_text().split("clock_nanosleep(")
    assert waits[0].count("ksm_") >= 5, "all processes at first"
    assert mode == "newcomers" or any("ksm_" in wait for wait in waits[1:])


@pytest.mark.parametrize("line, counts", [
    ('4711  openat(5</proc>, "815/ksm_stat", O_RDONLY|O_CLOEXEC) = 9', True),
    ('4711  pread64(9</proc/815/ksm_stat>, "ksm_rmap_items 0", 4096, 0) = 16', True),
    ('4711  openat(AT_FDCWD, "/proc/815/statm", O_RDONLY) = 9', True),
    ('4711  pread64(9</proc/42/schedstat>, "1 2 3", 4096, 0) = 5', False),      # ksmd
    ('4711  openat(5</proc>, "42/schedstat", O_RDONLY) = 9', False),
    ('4711  pread64(9</proc/vmstat>, "nr_free_pages 815/42", 4096, 0) = 5', False),
])
def test_calls_for_processes(line, counts):
    """Only calls for files of processes count, whether opened before or now; those of ksmd are the host's."""
    assert bool(rows.calls_for_processes(line, "42")) == counts


def test_timer_ticks_at_the_full_second(build, tmp_path):
    with meters.Plugin(None, command=bench.Bench(build, None, None, tmp_path).tool("timer", 1000)) as timer:
        until(lambda: len(timer.ticks) >= 3, SEEN_S, "three ticks")
        assert min(timer.late_ms()) < 100


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


def test_script_is_measured_with_its_children():
    """The cost of a script is that of what it runs, for a sample of as many lines as it has metrics."""
    work = "/usr/bin/python3 -c 'import time\nwhile time.process_time() < 0.1: pass'"
    lines = "echo;" * meters.SHELL_METRICS
    cost = meters.Script(["bash", "-c", f"while sleep 0.5; do {work}; {lines} done"], 3).us_a_sample()
    assert 100_000 <= cost < 400_000, f"got {cost} µs a sample, want about 120,000"


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


def test_round_of_programs():
    """A program is compared by what it adds to its daemon, and by its number of metrics where they differ."""
    us = {"plugin": 200, "built-in": 150, "agent": 50, "ksm.so": 900, "constant": 800, "collectd": 100,
          "exporter": 700, "shell": 9000}
    found = rows.round_of_programs(us, {"plugin": 40, "built-in": 10}, 60)
    assert found == {"netdata": (5, 10), "collectd": (800, 760), "node_exporter": (200, 700), "shell": (200, 9000),
                     "pcp": f"no {meters.PMVAL} here", "exec_ksm": f"no {meters.EXEC_KSM} here"}
