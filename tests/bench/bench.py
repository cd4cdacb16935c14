#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Measures what a sample costs, compared with the minimum that the kernel allows and with other programs.

    PYTHONPATH=tests bench.py --build build [--rounds N] [--readme FILE]

Rounds of programs that are compared are interleaved or run in parallel; the results are medians with minimum and
maximum.  CPU time is the kernel's own account in ns, instructions are callgrind's.  Meanwhile KSM has pages to merge;
its settings are restored at the end (root).  Prints a table; a row that has a target ends with
"TARGET id measured limit reached|missed"; the exit status is 1 if one was missed.  The table is put into FILE
between its markers "cost".
"""

import argparse
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from functools import reduce
from itertools import pairwise
from operator import sub
from pathlib import Path

from live import FAST, RUNNING, STOPPED, UNMERGED, KsmSettings, Workload
from markers import put_into
from meters import EXPORTER, NodeExporter, Plugin, collectd, netdata, resident_mb, shell_loop, spent

SLOW_S = 10                 # of samples in one process, one a second
TURN_S, AWAKE_S = 7, 2      # of a program; the time before it to wake up, as it was stopped
OURS, BUILT_IN, EXPORTERS = "ksm.plugin", "Netdata's built-in, its thread with − without", "node_exporter, ksmd alone"
KSM_SO, CONSTANT = "ksm.so in collectd, with − without", "as many constant value lists in collectd"
SHELL, SHELL_METRICS = "shell loop", 5
HOT_ROUNDS, HOT_SAMPLES = 100, 200
CALLGRIND_SAMPLES = 60      # a minute: the knobs once
STARTS = 15
WARM_S = 5
IDLE_TICKS = 25             # more than two samples of the consumers
IDLE_PROCESSES = 1000
TRACED_S = 10
ESTIMATED = 1 << 18         # pages, in pairs: each is read twice
ESTIMATE_MIB, BLOCK = 2, 1 << 18    # memory for half of the records; bytes of a bare read
SHARED = 1 << 18            # pages; memory for less than half of their records
SHARING_MIB, ENTRY = 2, 8   # bytes of an entry of pagemap, kpageflags and kpagecount
SHARING_S = 300             # limit for merging them
INTERVAL_S, ROUND_INTERVALS = 10, 6         # ksm.plugin's defaults
# Processes, how many there are for each that merges, intervals that are measured, ids of targets.
PROCESSES = [(100, 10, 3, ()), (1000, 10, 3, ()), (10000, 10, ROUND_INTERVALS, ("consumers", "tick", "memory"))]
MOST_PROCESSES = (100000, 100, ROUND_INTERVALS, ("consumers_100k",))
PID_MAX = Path("/proc/sys/kernel/pid_max")
NEWCOMERS, FORKS = 100, 500

# id: the limit, and a stricter one that is aimed at.
TARGETS = {"floor": (1.15, 1.05), "instructions": (60000, 30000), "netdata": (0.8, 0.65),
           "node_exporter": (0.75, 0.25), "collectd": (1.15,), "memory_idle": (2.5,), "memory": (8, 4),
           "consumers": (0.5, 0.2), "consumers_100k": (1.2,), "newcomer": (2,), "churn": (0.5,), "tick": (20,),
           "idle": (0,), "start": (20,), "estimate_cpu": (0.8,), "estimate_memory": (8,),
           "sharing_entry": (2,), "sharing_mapping": (3,), "sharing_memory": (4,)}


class Table:
    """The rows of the result, in sections, each printed when it is added."""

    def __init__(self):
        self.rows = []          # (section, what, metric, target or "")
        self.missed = []
        self.measured = {}      # (target, limit): whether it was reached

    def add(self, section, what, metric, target=None, measured=None):
        """Add a row; METRIC is text, MEASURED the number that TARGET, one of TARGETS, limits."""
        if not self.rows or self.rows[-1][0] != section:
            print(f"\n{section}")
        for limit in TARGETS[target] if target else (None,):
            verdict = self.judge(target, measured, limit) if target else ""
            self.rows.append((section, what, metric, verdict))
            print(f"  {what:<74} {metric:<40} {verdict}".rstrip(), flush=True)
            what = "  the next target of that"

    def judge(self, target, measured, limit):
        """Return the verdict on MEASURED as text, and remember it."""
        name = target.partition("_idle")[0]
        verdict = f"TARGET {name} {measured:.6g} {limit:g} {'reached' if measured <= limit else 'missed'}"
        self.measured[target, limit] = measured <= limit
        self.missed += [] if measured <= limit else [name]
        return verdict

    def markdown(self, machine):
        """Return all rows as a table for tests/README.md."""
        lines = [f"Measured on {machine}; the results are medians, with minimum and maximum in brackets.", "",
                 "| | | limit |", "|---|---|---|"]
        section = None
        for name, what, metric, verdict in self.rows:
            if name != section:
                lines.append(f"| **{name}** | | |")
                section = name
            limit = verdict.split()[3] if verdict else ""
            lines.append(f"| {what} | {metric} | {limit} |")
        return "\n".join(lines) + "\n"


def shown(number):
    """Return NUMBER with three digits, or all those before the point."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


def spread(numbers, unit=""):
    """Return the median of NUMBERS with minimum and maximum, as text."""
    return f"{shown(statistics.median(numbers))}{unit} ({shown(min(numbers))}…{shown(max(numbers))})"


def machine():
    """Return the name of this machine and its kernel."""
    model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return f"Linux {platform.release()}, {os.cpu_count()} × {model[1] if model else platform.machine()}"


def numbers_of(build, *arguments):
    """Return {name: [numbers]} from the output of the tool bench with ARGUMENTS."""
    command = [build / "tests/bench/bench", *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = {}
    for line in done.stdout.splitlines():
        name, number = line.split()
        found.setdefault(name, []).append(int(number))
    return found


# The host's sample, inside one process.

def ratios(found):
    """Return the ratios of ours to the floor, round by round."""
    return [ours / floor for ours, floor in zip(found["ours_ns"], found["floor_ns"])]


def measure_sample(build, table, rounds):
    """Compare the reader with the floor, and count the instructions of a sample."""
    section = "One sample of the host's metrics"
    hot = numbers_of(build, "hot", HOT_ROUNDS * rounds, HOT_SAMPLES)
    reads = hot["floor_reads"][0]
    table.add(section, f"ours ÷ {reads} bare preads of the same files, hot loop", spread(ratios(hot)), "floor",
              statistics.median(ratios(hot)))
    table.add(section, "ours, hot loop, CPU", spread([ns / 1000 for ns in hot["ours_ns"]], " µs"))
    slow = numbers_of(build, "slow", SLOW_S * rounds)
    table.add(section, "ours ÷ the same, one a second (caches cold)", spread(ratios(slow)))
    table.add(section, "ours, one a second, CPU", spread([ns / 1000 for ns in slow["ours_ns"]], " µs"))
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(["valgrind", "--tool=callgrind", "--collect-atstart=no", "--toggle-collect=sample",
                               f"--callgrind-out-file={directory}/out", build / "tests/bench/bench", "samples",
                               str(CALLGRIND_SAMPLES)], check=True, capture_output=True, text=True)
    count = int(re.search(r"Collected : (\d+)", done.stderr)[1]) / CALLGRIND_SAMPLES
    table.add(section, "instructions in user space: read, derive, print all charts", f"{count:,.0f}", "instructions",
              count)


# Whole programs at one sample a second.

class Single:
    """The cost of a program."""

    def __init__(self, subject, thread=""):
        """Count only the CPU time of threads whose names begin with THREAD."""
        self.subjects = [subject]
        self.thread = thread

    def metrics(self):
        return self.subjects[0].metrics

    def less(self, numbers):
        """Return the first of NUMBERS, one a subject, minus the others."""
        return reduce(sub, numbers)

    def of(self, measure):
        return self.less([measure(subject.pids) for subject in self.subjects])


class Difference(Single):
    """The cost of a daemon with a module minus its cost without."""

    def __init__(self, with_it, without, thread=""):
        super().__init__(with_it, thread)
        self.subjects.append(without)

    def metrics(self):
        return self.less([subject.metrics for subject in self.subjects])


def send(pairs, number):
    """Send the signal NUMBER to all processes of PAIRS."""
    for pair in pairs:
        for subject in pair.subjects:
            signal_all(subject, number)


def signal_all(subject, number):
    """Send the signal NUMBER to all processes of SUBJECT."""
    for pid in subject.pids:
        os.kill(pid, number)


def to_half_second():
    """Wait until between two ticks: programs sample at the full second, or soon after."""
    time.sleep(1.5 - time.time() % 1)


def take_turn(subject, thread):
    """Let SUBJECT run alone; return the µs of a median second of its threads whose names begin with THREAD.

    In some seconds an agent does other work (its database), which a mean would include.
    """
    signal_all(subject, signal.SIGCONT)
    time.sleep(AWAKE_S)
    to_half_second()
    counts = [spent(subject.pids, thread)]
    for _ in range(TURN_S):
        to_half_second()
        counts.append(spent(subject.pids, thread))
    signal_all(subject, signal.SIGSTOP)
    return statistics.median(after - before for before, after in pairwise(counts)) / 1000


def system_calls(pids, seconds):
    """Start to count the system calls of PIDS for SECONDS; return a function that waits for the number a second."""
    command = ["strace", "-f", "-c", "-S", "calls", "-U", "calls,name", *(f"-p{pid}" for pid in pids)]
    process = subprocess.Popen(["timeout", "-s", "INT", str(seconds), *command], stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True)

    def result():
        text = process.communicate()[1]
        return sum(int(found[1]) for found in re.finditer(r"^ *(\d+) (?!total)\w+$", text, re.MULTILINE)) / seconds
    return result


def measure_rates(pairs, rounds):
    """Return {name: [µs a sample, a round each]} of PAIRS, {name: Single or Difference}: a sample is a second.

    They take turns while the others are stopped: a program that wakes in the same millisecond as another would find
    the kernel's code and data in the caches.
    """
    found = {name: [] for name in [*pairs, SHELL]}
    send(pairs.values(), signal.SIGSTOP)
    for _ in range(rounds):
        for name, pair in pairs.items():
            found[name].append(pair.less([take_turn(subject, pair.thread) for subject in pair.subjects]))
        found[SHELL].append(shell_loop(TURN_S) / TURN_S / 1000)
    send(pairs.values(), signal.SIGCONT)
    return found


def measure_programs(build, table, rounds, directory):
    """Compare the plugins and other programs, in turns, while KSM has merged pages."""
    sample_us = statistics.median(numbers_of(build, "slow", SLOW_S * rounds)["ours_ns"]) / 1000
    section = "Whole programs at one sample a second, CPU a sample"
    with ExitStack() as stack:
        enter = stack.enter_context
        ours, without = (enter(collectd(directory / plugin.stem, plugin, **options)) for plugin, options in
                         ((build / "ksm.so", {"Consumers": 0}), (Path("/usr/lib/collectd/target_set.so"), {})))
        time.sleep(WARM_S)      # until it has sent all
        constant = enter(collectd(directory / "constant", build / "tests/bench/constant.so", Lists=ours.metrics))
        pairs = {OURS: Single(enter(Plugin(build, "--consumers=0"))),
                 KSM_SO: Difference(ours, without), CONSTANT: Difference(constant, without),
                 BUILT_IN: Difference(enter(netdata(directory / "builtin", True)),
                                      enter(netdata(directory / "none", False)), "PLUGIN[proc]")}
        if Path(EXPORTER).exists():
            pairs[EXPORTERS] = Single(enter(NodeExporter()))
        else:
            table.add(section, EXPORTERS, f"not measured: no {EXPORTER}")
        time.sleep(WARM_S)
        costs = measure_rates(pairs, rounds)
        metrics = {name: pair.metrics() for name, pair in pairs.items()} | {SHELL: SHELL_METRICS}
        resident = {name: pair.of(resident_mb) for name, pair in pairs.items()}
        traced = {name: pair.of(Trace) for name, pair in pairs.items()}
        calls = {name: trace.result() for name, trace in traced.items()}
    for name, cost in costs.items():
        more = "" if name not in calls else f", {calls[name]:.0f} system calls, {resident[name]:.1f} MB"
        each = statistics.median(cost) / metrics[name]
        table.add(section, name, f"{spread(cost, ' µs')}: {metrics[name]} metrics, {shown(each)} µs each{more}")
    compare(table, section, "a dimension", "netdata", costs, metrics, BUILT_IN)
    minimum = statistics.median(costs[CONSTANT]) + sample_us
    ratio = statistics.median(costs[KSM_SO]) / minimum
    table.add(section, f"{KSM_SO} ÷ ({CONSTANT} + the reader's own sample)", f"{ratio:.3g}", "collectd", ratio)
    if EXPORTERS in costs:
        compare(table, section, "a sample", "node_exporter", costs, dict.fromkeys(costs, 1), EXPORTERS)


def compare(table, section, per, target, costs, metrics, other):
    """Add the row of TARGET: our cost ÷ that of OTHER, both divided by their METRICS."""
    ours, theirs = (statistics.median(costs[name]) / metrics[name] for name in (OURS, other))
    if theirs <= 0:
        sys.exit(f"bench.py: {other}: {theirs:.3g} µs {per} cannot be: try again on a machine that is less busy")
    table.add(section, f"{OURS} ÷ {other}, {per}", f"{ours / theirs:.3g}", target, ours / theirs)


class Trace:
    """A running count of the system calls a second of some processes, or the difference of two."""

    def __init__(self, pids, minus=None):
        self.count = system_calls(pids, TRACED_S) if pids else None
        self.minus = minus

    def __sub__(self, other):
        self.minus = other
        return self

    def result(self):
        """Wait for the number."""
        return self.count() - (self.minus.result() if self.minus else 0)


def measure_start(build, table):
    """Measure the time until the first metric, and the kernel's memory for a kept descriptor."""
    found = [ns / 1e6 for ns in numbers_of(build, "start", STARTS, build / "ksm.plugin")["start_ns"]]
    table.add("ksm.plugin", "from its start to its first metric", spread(found, " ms"), "start",
              statistics.median(found))
    sizes = [size / 1000 for size in numbers_of(build, "descriptors", 5)["descriptor_bytes"]]
    table.add("ksm.plugin", "the kernel's memory for a kept descriptor", spread(sizes, " kB"))


def calls_between_ticks(path, ticks):
    """Return the number of system calls in strace's log PATH from the write of the third tick on, during TICKS."""
    count, writes = 0, 0
    for line in path.read_text(errors="replace").splitlines():
        writes += "write(1, " in line and "BEGIN ksm.memory" in line
        count += 3 <= writes < 3 + ticks
    return count


def measure_idle(build, table, settings, directory):
    """Measure what the consumers cost while KSM tracks no page, with many processes."""
    section = "ksm.plugin"
    if any(settings.states()):
        table.add(section, "while KSM tracks no page", "not measured: it tracks pages on this machine")
        return
    settings.set("run", STOPPED)        # so that the processes' pages are not tracked
    logs = {}
    with ExitStack() as stack:
        stack.enter_context(Workload(build / "tests/workload", "processes", IDLE_PROCESSES))
        for name, option in (("with", "--consumers=20"), ("without", "--consumers=0")):
            logs[name] = directory / f"{name}.strace"
            plugin = stack.enter_context(Plugin(build, option))
            plugin.first.wait()
            tracer = subprocess.Popen(["strace", "-s", "65536", "-o", logs[name], f"-p{plugin.process.pid}"],
                                      stderr=subprocess.DEVNULL)
            stack.callback(tracer.wait)
            stack.callback(tracer.terminate)
            if name == "with":
                with_it = plugin
        time.sleep(IDLE_TICKS + 5)
        resident = resident_mb(with_it.pids)
    more = calls_between_ticks(logs["with"], IDLE_TICKS) - calls_between_ticks(logs["without"], IDLE_TICKS)
    table.add(section, f"system calls for consumers in {IDLE_TICKS} s, no tracked page, {IDLE_PROCESSES:,} processes",
              f"{more}", "idle", more)
    table.add(section, "resident memory, no tracked page", f"{resident:.2f} MB", "memory_idle", resident)


# Savings by consumer.

def later_ms(plugin, beside):
    """Return how many ms each tick of PLUGIN was later than that of BESIDE in the same second."""
    theirs = {int(when): when for when in beside.ticks[1:]}
    return [(when - theirs[int(when)]) * 1000 for when in plugin.ticks[1:] if int(when) in theirs]


def measure_processes(build, table, settings, processes, one_of, intervals, targets):
    """Measure with so many PROCESSES; return (processes, µs of CPU an interval for the consumers).

    A ksm.plugin without consumers runs beside it. Its cost, of the host's metrics and whatever else delays a tick on
    this machine, is subtracted.
    """
    section = "Savings by consumer, at the defaults"
    what = f"{processes:,} processes, {processes // one_of:,} merging"
    with Workload(build / "tests/workload", "processes", processes, one_of, ready_s=60 + processes / 200):
        settings.merge_all()
        with Plugin(build, "--consumers=0") as beside, Plugin(build) as plugin:
            beside.first.wait()
            plugin.first.wait()
            time.sleep(INTERVAL_S / 2)  # between two samples
            first, host = spent(plugin.pids), spent(beside.pids)
            time.sleep(intervals * INTERVAL_S)
            whole, host = spent(plugin.pids) - first, spent(beside.pids) - host
            resident, late, later = resident_mb(plugin.pids), max(plugin.late_ms()), max(later_ms(plugin, beside))
            kept = len(os.listdir(f"/proc/{plugin.process.pid}/fd"))
        floor = numbers_of(build, "sweep", 5)
    percent = whole / (intervals * INTERVAL_S * 1e9) * 100
    interval_us = (whole - host) / intervals / 1000
    floor_us = (statistics.median(floor["sweep_ns"]) / ROUND_INTERVALS + statistics.median(floor["kept_ns"])) / 1000
    found = {"consumers": percent, "consumers_100k": percent, "tick": later, "memory": resident}
    limit = {name: (name, found[name]) for name in targets}
    table.add(section, f"{what}: ksm.plugin, of one core", f"{percent:.3f} %",
              *limit.get("consumers", limit.get("consumers_100k", ())))
    table.add(section, "  in the first interval, when all are read", f"{first / (INTERVAL_S * 1e7):.2f} %")
    table.add(section, "  consumers alone, CPU an interval, a process",
              f"{interval_us:,.0f} µs, {interval_us / processes:.2f} µs")
    table.add(section, "  ÷ the cheapest sweep and re-reading", f"{interval_us / floor_us:.2f}")
    table.add(section, "  latest tick: after its second", f"{late:.1f} ms")
    table.add(section, "  after that of a ksm.plugin without consumers", f"{later:.1f} ms", *limit.get("tick", ()))
    table.add(section, "  resident memory", f"{resident:.2f} MB, {kept} descriptors", *limit.get("memory", ()))
    return processes, interval_us


def measure_consumers(build, table, settings):
    """Measure with all numbers of processes, and how the cost grows."""
    points = [measure_processes(build, table, settings, *numbers) for numbers in PROCESSES]
    slope, constant = statistics.linear_regression(*zip(*points))
    correlation = statistics.correlation(*zip(*points))
    section = "Savings by consumer, at the defaults"
    table.add(section, "growth with the processes, CPU an interval",
              f"{constant:.0f} µs + {slope:.2f} µs × processes (r² {correlation ** 2:.4f})")
    before = PID_MAX.read_text()
    PID_MAX.write_text(str(max(int(before), 4 * MOST_PROCESSES[0])))
    try:
        measure_processes(build, table, settings, *MOST_PROCESSES)
    finally:
        PID_MAX.write_text(before)


def first_merged(pid):
    """Wait until process PID has a merged page; return the time (wall clock)."""
    while "ksm_merging_pages 0\n" in Path(f"/proc/{pid}/ksm_stat").read_text():
        time.sleep(0.02)
    return time.time()


def measure_newcomers(build, table, settings, directory):
    """Measure how soon a new program is shown, and the cost of processes that start and exit."""
    section, interval = "Processes that start and exit", 1
    settings.set("run", RUNNING)
    with ExitStack() as stack:
        plugin = stack.enter_context(Plugin(build, "--consumers=200", f"--consumers-interval={interval}"))
        plugin.first.wait()
        merged = {}
        for i in range(NEWCOMERS):
            program = directory / f"new-{i}"
            program.symlink_to(build / "tests/workload")
            with Workload(program, "pairs", 64) as newcomer:
                merged[program.name] = first_merged(newcomer.pid)
                settings.wait(lambda name=program.name: name in plugin.consumers, 10 * interval, program.name)
    waits = [(plugin.consumers[name] - when) / interval for name, when in merged.items()]
    table.add(section, f"first merged page to first metric, the latest of {NEWCOMERS} programs",
              f"{max(waits):.2f} intervals", "newcomer", max(waits))
    with Workload(build / "tests/workload", "churn", FORKS), Plugin(build) as plugin:
        plugin.first.wait()
        time.sleep(INTERVAL_S / 2)
        first = spent(plugin.pids)
        time.sleep(ROUND_INTERVALS * INTERVAL_S)
        percent = (spent(plugin.pids) - first) / (ROUND_INTERVALS * INTERVAL_S * 1e7)
    table.add(section, f"{FORKS} forks a second: ksm.plugin, of one core", f"{percent:.3f} %", "churn", percent)


# The estimate.

def largest_mapping(pid):
    """Return the first address of the largest mapping of PID, and its end."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return max((tuple(int(part, 16) for part in line.split()[0].split("-")) for line in lines),
               key=lambda mapping: mapping[1] - mapping[0])


def bare_us(path, start, end, block):
    """Return the µs of CPU that the kernel takes to read the file at PATH from START to END, BLOCK bytes at a time."""
    buf = bytearray(block)
    fd = os.open(path, os.O_RDONLY)
    spent_s = time.process_time()
    for offset in range(start, end, block):
        os.preadv(fd, [buf], offset)
    spent_s = time.process_time() - spent_s
    os.close(fd)
    return spent_s * 1e6


def explain_once(build, *words):
    """Run ksm-explain with WORDS; return its µs of CPU and its peak resident memory in MB."""
    argv = [build / "ksm-explain", "--cpu=100", *map(str, words)]
    peak = 0
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as running:
        while os.waitid(os.P_PID, running.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            status = Path(f"/proc/{running.pid}/status").read_text()
            peak = max([peak, *map(int, re.findall(r"^VmHWM:\s+(\d+)", status, re.MULTILINE))])
            time.sleep(0.02)
        used = os.wait4(running.pid, 0)[2]
    return (used.ru_utime + used.ru_stime) * 1e6, peak * 1024 / 1e6


def estimate_once(build, pid, *options):
    """Run one; return its µs of CPU for a page read, if all are read twice, and its peak resident memory in MB."""
    spent_us, peak = explain_once(build, "--estimate", *options, pid)
    return spent_us / (2 * ESTIMATED), peak


def copying_us(pid):
    """Return the µs of CPU that the kernel takes to copy a page of the largest mapping of PID."""
    start, end = largest_mapping(pid)
    return bare_us(f"/proc/{pid}/mem", start, end, BLOCK) * os.sysconf("SC_PAGESIZE") / (end - start)


def measure_estimate(build, table, rounds):
    """What ksm-explain --estimate costs beyond the kernel's copying, and the memory that it takes."""
    section = "ksm-explain --estimate"
    with Workload(build / "tests/workload", "pairs", ESTIMATED) as target:
        bare, whole, peak = zip(*((copying_us(target.pid), estimate_once(build, target.pid)[0],
                                   estimate_once(build, target.pid, f"--memory={ESTIMATE_MIB}")[1])
                                  for _ in range(rounds)))
    beyond = [all_of_it - copying for copying, all_of_it in zip(bare, whole)]
    table.add(section, "CPU, a page read", spread(whole, " µs"))
    table.add(section, "  the kernel's copying alone (/proc/PID/mem)", spread(bare, " µs"))
    table.add(section, "  beyond that", spread(beyond, " µs"), "estimate_cpu", statistics.median(beyond))
    table.add(section, f"peak resident memory, --memory={ESTIMATE_MIB}", f"{max(peak):.2f} MB", "estimate_memory",
              max(peak))


# The sharing.

def sharing_us(build, settings, rounds, contents, merged):
    """Run --sharing ROUNDS times on a process with CONTENTS, of which MERGED pages are merged.

    Return the µs of CPU of each run, those of bare reads of an entry of its page table, and the peak memory in MB with
    memory for a part of the records.
    """
    settings.set("run", UNMERGED)
    with Workload(build / "tests/workload", "known", *contents) as target:
        settings.set("run", RUNNING)
        merging = Path(f"/proc/{target.pid}/ksm_merging_pages")
        settings.wait(lambda: int(merging.read_text()) >= merged, SHARING_S, "merging")
        settings.set("run", STOPPED)
        first, end = (address // os.sysconf("SC_PAGESIZE") * ENTRY for address in largest_mapping(target.pid))
        bare = [bare_us(f"/proc/{target.pid}/pagemap", first, end, BLOCK // 2) * ENTRY / (end - first)
                for _ in range(rounds)]
        spent_us = [explain_once(build, "--sharing", "--json")[0] for _ in range(rounds)]
        return spent_us, bare, explain_once(build, "--sharing", f"--memory={SHARING_MIB}")[1]


def measure_sharing(build, table, settings, rounds):
    """What ksm-explain --sharing costs beyond the same bare reads, and the memory that it takes."""
    section, few = "ksm-explain --sharing", "1:64:2"
    rounds *= 3     # these are differences of runs
    settings.set_all(FAST)
    base, _, _ = sharing_us(build, settings, rounds, [few], 128)
    entries, bare, _ = sharing_us(build, settings, rounds, [few, f"1000:{SHARED}:1"], 128)
    mappings, _, peak = sharing_us(build, settings, rounds, [few, f"1000:{SHARED // 2}:2"], SHARED)
    settings.set("run", UNMERGED)
    frames = [sum(bare_us(f"/proc/{name}", 0, SHARED * ENTRY, 512 * ENTRY) for name in ("kpageflags", "kpagecount"))
              / SHARED for _ in range(rounds)]
    for what, target, less, more, floor, named in (
            ("an entry of a page table", "sharing_entry", base, entries, bare, "pread of pagemap"),
            ("a merged mapping", "sharing_mapping", entries, mappings, frames, "reads of kpageflags and kpagecount")):
        each = [(after - before) / SHARED for before, after in zip(less, more)]
        table.add(section, f"CPU, {what}", spread(each, " µs"))
        ratio = statistics.median(each) / statistics.median(floor)
        table.add(section, f"  ÷ bare {named}: {spread(floor, ' µs')}", f"{ratio:.3g}", target, ratio)
    beyond = peak - SHARING_MIB * 2 ** 20 / 1e6
    table.add(section, f"peak resident memory, --memory={SHARING_MIB}, beyond that", f"{beyond:.2f} MB",
              "sharing_memory", beyond)


def main():
    """Measure everything; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, required=True, help="where the plugins and the tools are")
    parser.add_argument("--rounds", type=int, default=3, help="of the interleaved parts")
    parser.add_argument("--readme", type=Path, help="put the table into this file")
    options = parser.parse_args()
    build = options.build.resolve()
    table = Table()
    name = machine()
    print(name)
    with tempfile.TemporaryDirectory() as directory, KsmSettings() as settings:
        work = Path(directory)
        measure_sample(build, table, options.rounds)
        measure_start(build, table)
        measure_estimate(build, table, options.rounds)
        measure_sharing(build, table, settings, options.rounds)
        measure_idle(build, table, settings, work)
        settings.set_all(FAST)
        with Workload(build / "tests/workload", "pairs", 4096):
            settings.merge_all()
            measure_programs(build, table, options.rounds, work)
        measure_newcomers(build, table, settings, work)
        measure_consumers(build, table, settings)       # last: the end of so many processes takes its time
    if options.readme:
        put_into(options.readme, "cost", table.markdown(name))
    return conclude(table)


def conclude(table):
    """Print which targets were reached; return the exit status."""
    wanted = [(name, limit) for name, limits in TARGETS.items() for limit in limits]
    missing = [name for name, limit in wanted if (name, limit) not in table.measured]
    print(f"\n{sum(table.measured.values())} of {len(wanted)} targets reached")
    if table.missed:
        print(f"missed: {', '.join(table.missed)}")
    if missing:
        print(f"not measured: {', '.join(missing)}")
    return 1 if table.missed or {"idle", "memory_idle"} & set(missing) else 0


if __name__ == "__main__":
    sys.exit(main())
