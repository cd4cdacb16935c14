# SPDX-License-Identifier: MIT
"""The measurements of bench.py: a generator for each of its groups, which yields {row: (A, B)} round by round.

A round takes seconds at most, so that what is compared has the same neighbours.
"""

import mmap
import os
import re
import statistics
import subprocess
import tempfile
import time
from contextlib import ExitStack, closing
from itertools import count, islice
from pathlib import Path

from daemons import plugins_of
from live import FAST, RUNNING, STOPPED, UNMERGED, Workload
from meters import (EXEC_KSM, EXPORTER, PMVAL, SHELL_LOOP, NodeExporter, Plugin, Script, Subject, agent, collectd,
                    netdata, resident_mb, spent, values_a_day)

SAMPLES = 500               # of each side in a round of the hot loop
CALLGRIND_SAMPLES = 60      # a minute: the knobs once
IDLE_PROCESSES, IDLE_TICKS = 1000, 10
ESTIMATED = 1 << 17         # pages, in pairs: each is read twice
ESTIMATE_MIB, BLOCK = 1, 1 << 18    # memory for half of the records; bytes of a bare read
SHARED = 1 << 16            # pages; memory for less than their records
SHARING_MIB, ENTRY = 1, 8   # bytes of an entry of pagemap, kpageflags and kpagecount
SHARING_ROUNDS = 7
MERGED_S = 150              # limit for merging, and full scans that it needs
SCANS = 3
SECONDS = 10                # of a round of whole programs
WARM_S = 4                  # until they have sent all
SWEEP = 6                   # intervals in which all processes are read
PID_MAX = Path("/proc/sys/kernel/pid_max")
NEWCOMERS, AT_ONCE, FORKS = 100, 10, 500


def sample(bench):
    """The reader and bare preads, in turn within one process."""
    numbers = bench.pairs("host", SAMPLES)
    with closing(numbers):
        for name, pair in numbers:
            yield {name: pair}


def instructions(bench):
    """Count with callgrind the instructions of samples with all charts."""
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(["valgrind", "--tool=callgrind", "--collect-atstart=no", "--toggle-collect=sample",
                               f"--callgrind-out-file={directory}/out", *bench.tool("samples", CALLGRIND_SAMPLES)],
                              check=True, capture_output=True, text=True)
    yield {"instructions": (int(re.search(r"Collected : (\d+)", done.stderr)[1]) / CALLGRIND_SAMPLES, 1)}


def start(bench):
    """ksm.plugin and an empty program, started in turn."""
    numbers = bench.pairs("start", bench.build / "ksm.plugin", "/bin/true")
    with closing(numbers):
        for _, (ours, empty) in numbers:
            yield {"start": (ours / 1000, empty / 1000)}


def idle(bench):
    """What the consumers read while KSM tracks no page, with many processes."""
    if any(bench.settings.states()):
        yield dict.fromkeys(("idle", "memory_idle"), "KSM tracks pages on this machine")
        return
    bench.settings.set("run", STOPPED)      # so that the processes' pages are not tracked
    ksmd = subprocess.run(["pgrep", "-x", "ksmd"], capture_output=True, text=True, check=False).stdout.strip()
    log = bench.directory / "strace"
    with Workload(bench.build / "tests/workload", "processes", IDLE_PROCESSES), \
            Plugin(bench.build, "--consumers-interval=1") as plugin:
        plugin.first.wait()
        with Subject(["strace", "-f", "-y", "-s", "65536", "-o", log, f"-p{plugin.process.pid}"]):
            bench.settings.wait(lambda: ticks_in(log) > IDLE_TICKS, 3 * IDLE_TICKS, "ticks")
        resident = resident_mb(plugin.pids)
    calls = calls_for_processes(log.read_text(errors="replace"), ksmd)
    yield {"idle": (len(calls), 1), "memory_idle": (resident, 1)}


def calls_for_processes(text, ksmd):
    """Return the calls in strace's TEXT, with paths of descriptors, that use the file of a process other than KSMD."""
    return [line for line in text.splitlines() if re.search(rf"/proc/(?!{ksmd}/)\d+/|/proc>, \"(?!{ksmd}/)\d+/", line)]


def ticks_in(log):
    """Return how many ticks strace's LOG has."""
    return log.read_text(errors="replace").count("BEGIN ksm.memory") if log.exists() else 0


def merge(bench):
    """Let KSM merge what it can in a few full scans, then stop it."""
    bench.settings.set("run", RUNNING)
    last = bench.settings.number("full_scans") + SCANS
    bench.settings.wait(lambda: bench.settings.number("full_scans") >= last and bench.settings.any_merged(), MERGED_S,
                        "merging")
    bench.settings.set("run", STOPPED)


# Whole programs.

def at_phase(phase):
    """Wait until the wall clock is PHASE (0 to 1) after a full second."""
    time.sleep((phase - time.time()) % 1)


def seconds(subjects, number, step=1):
    """Yield NUMBER times the ns of CPU that each of SUBJECTS, {name: (pids, thread)}, took in STEP seconds.

    The clocks are read before the full second, when what is woken at each second has long finished.
    """
    before = None
    for i in range(number + 1):
        at_phase(0.95)
        time.sleep(step - 1 if i else 0)
        now = {name: spent(*of) for name, of in subjects.items()}
        if before:
            yield {name: now[name] - before[name] for name in now}
        before = now


def started(stack, bench):
    """Start all programs, each in its own part of a second; return {name: subject}.

    A program that wakes right after another finds the kernel's code and data in the caches. ksm.plugin wakes at the
    full second, an agent's thread 0.25 to 0.5 s later, collectd and pmval a second after their starts.
    """
    enter, build, work = stack.enter_context, bench.build, bench.directory
    found = {"plugin": enter(Plugin(build, "--consumers=0")), "built-in": enter(netdata(work / "builtin", True)),
             "agent": enter(netdata(work / "agent", False))}
    if Path(EXPORTER).exists():
        found["exporter"] = enter(NodeExporter(0.55))
    if Path(PMVAL).exists():
        at_phase(0.6)
        found["pcp"] = enter(Subject([PMVAL, "-L", "-t", "1", "mem.ksm.pages_shared"]))
    at_phase(0.65)
    found["ksm.so"] = enter(collectd(work / "ksm", build / "ksm.so", Consumers=0))
    time.sleep(WARM_S)
    for name, phase, plugin, options in (
            ("constant", 0.73, build / "tests/bench/constant.so", {"Lists": found["ksm.so"].metrics}),
            ("collectd", 0.81, Path("/usr/lib/collectd/target_set.so"), {})):
        at_phase(phase)
        found[name] = enter(collectd(work / name, plugin, **options))
    time.sleep(WARM_S)
    return found


def programs(bench):
    """All programs at the same time, at one sample a second; a round has ten seconds.

    In some seconds an agent does other work, so the median of the others counts. ksm.plugin does not send all charts
    in each second, so the mean of ours counts.
    """
    bench.settings.set_all(FAST)
    with ExitStack() as stack:
        stack.enter_context(Workload(bench.build / "tests/workload", "pairs", 4096))
        merge(bench)
        for name, value in (("sleep_millisecs", 60000), ("pages_to_scan", 1), ("run", RUNNING)):
            bench.settings.set(name, value)     # exec-ksm.sh ends where KSM is stopped
        subjects = started(stack, bench)
        reader = stack.enter_context(closing(bench.pairs("slow")))
        clocks = {name: (subject.pids, "PLUGIN[proc]" if name in ("built-in", "agent") else "")
                  for name, subject in subjects.items()}
        metrics = {name: subject.metrics for name, subject in subjects.items()}
        scripts = {"shell": ["bash", "-c", SHELL_LOOP], "exec_ksm": ["bash", EXEC_KSM]}
        while True:
            running = {name: Script(command, SECONDS) for name, command in scripts.items() if Path(command[1]).exists()
                       or name == "shell"}
            costs = list(seconds(clocks, SECONDS))
            us = {name: statistics.median(cost[name] for cost in costs) / 1000 for name in clocks}
            us["plugin"] = statistics.mean(cost["plugin"] for cost in costs) / 1000
            scripted = {name: script.us_a_sample() for name, script in running.items()}
            us |= {name: cost for name, cost in scripted.items() if cost}
            sampled = statistics.median(ours for _, (ours, _) in islice(reader, SECONDS))
            yield round_of_programs(us, metrics, sampled)


def round_of_programs(us, metrics, sampled):
    """Return the pairs of a round: US of CPU and numbers of METRICS of each program; the reader alone took SAMPLED."""
    found = {"netdata": (us["plugin"] / metrics["plugin"], (us["built-in"] - us["agent"]) / metrics["built-in"]),
             "collectd": (us["ksm.so"] - us["collectd"], us["constant"] - us["collectd"] + sampled)}
    for row, name, what in (("node_exporter", "exporter", EXPORTER), ("pcp", "pcp", PMVAL),
                            ("exec_ksm", "exec_ksm", EXEC_KSM), ("shell", "shell", "")):
        found[row] = (us["plugin"], us[name]) if name in us else f"no {what} here"
    return found


def in_agents(bench, name):
    """Yield what ksm.plugin and the thread of an agent that takes its lines need for a second, in µs, as row NAME.

    Those of bench.base, if it is given, have an agent at the same time. A round has one value of the slowest charts.
    """
    builds = [bench.build, *([bench.base] if bench.base else [])]
    with ExitStack() as stack:
        agents = [stack.enter_context(agent(bench.directory / f"agent{i}", build)) for i, build in enumerate(builds)]
        time.sleep(WARM_S)
        clocks = {}
        for i, subject in enumerate(agents):
            clocks[i, "plugin"] = plugins_of(subject.daemon), ""
            clocks[i, "thread"] = subject.pids, "PLUGINSD["
        values = [values_a_day(subject) for subject in agents]
        for cost in seconds(clocks, 1000, SECONDS):
            us = [(cost[i, "plugin"] + cost[i, "thread"]) / 1000 / SECONDS for i in range(len(agents))]
            yield {name: (us[0], us[1] if bench.base else 1), "values": (values[0], values[1] if bench.base else 1)}


def agent_rest(bench):
    """The whole cost while KSM tracks no page."""
    if any(bench.settings.states()):
        yield {"agent_rest": "KSM tracks pages on this machine"}
        return
    bench.settings.set("run", STOPPED)
    for found in in_agents(bench, "agent_rest"):
        yield {"agent_rest": found["agent_rest"]}


def agent_works(bench):
    """The whole cost while ksmd scans merged pages, and the number of values."""
    bench.settings.set_all(FAST)
    with Workload(bench.build / "tests/workload", "pairs", 4096):
        bench.settings.merge_all()
        for name, value in (("sleep_millisecs", 20), ("pages_to_scan", 100), ("run", RUNNING)):
            bench.settings.set(name, value)     # the kernel's defaults
        yield from in_agents(bench, "agent_works")


# Savings by consumer.

def newcomers(bench):
    """How soon a new program is shown; AT_ONCE start together."""
    bench.settings.set_all(FAST)
    bench.settings.set("run", RUNNING)
    names = (f"new-{i}" for i in range(NEWCOMERS))
    with Plugin(bench.build, "--consumers=200", "--consumers-interval=1") as plugin:
        plugin.first.wait()
        while group := list(islice(names, AT_ONCE)):
            with ExitStack() as stack:
                pids = {name: stack.enter_context(Workload(program(bench, name), "pairs", 64)).pid for name in group}
                merged = {}
                bench.settings.wait(lambda: len(merged) == len(pids) or merged.update(newly_merged(pids, merged)), 30,
                                    "merged pages")
                bench.settings.wait(lambda: pids.keys() <= plugin.consumers.keys(), 30, "consumers")
            yield {"newcomer": (max(plugin.consumers[name] - when for name, when in merged.items()), 1)}


def program(bench, name):
    """Return a link to the workload that is called NAME."""
    path = bench.directory / name
    path.symlink_to(bench.build / "tests/workload")
    return path


def newly_merged(pids, merged):
    """Return {name: now} of those of PIDS that have merged pages and are not in MERGED."""
    return {name: time.time() for name, pid in pids.items()
            if name not in merged and "ksm_merging_pages 0\n" not in Path(f"/proc/{pid}/ksm_stat").read_text()}


def intervals(stack, bench, loop, step):
    """Yield the CPU ms of the consumers and of the program bench LOOP in intervals of STEP s; and both's plugin."""
    beside = stack.enter_context(Plugin(bench.build, "--consumers=0"))
    plugin = stack.enter_context(Plugin(bench.build, f"--consumers-interval={step}"))
    bare = stack.enter_context(Subject(bench.tool(loop, step * 1000)))
    plugin.first.wait()
    time.sleep((SWEEP + 1) * step)          # all processes have been read once
    clocks = {"plugin": (plugin.pids, ""), "beside": (beside.pids, ""), "loop": (bare.pids, "")}
    for _ in count():
        for cost in seconds(clocks, 1, step):
            yield plugin, ((cost["plugin"] - cost["beside"]) / 1e6, cost["loop"] / 1e6)


def churn(bench):
    """The consumers while processes start and exit, and a loop that reads only the new ones."""
    bench.settings.set_all(FAST)
    bench.settings.set("run", RUNNING)
    with ExitStack() as stack:
        stack.enter_context(Workload(bench.build / "tests/workload", "churn", FORKS))
        for _, pair in intervals(stack, bench, "newcomers", 1):
            yield {"churn": pair}


def consumers(bench, processes, one_of, step):
    """Yield ksm.plugin and (A, B) in intervals of STEP s with PROCESSES, of which one in ONE_OF has merged pages."""
    bench.settings.set_all(FAST)
    with ExitStack() as stack:
        stack.enter_context(Workload(bench.build / "tests/workload", "processes", processes, one_of,
                                     ready_s=60 + processes / 200))
        merge(bench)
        yield from intervals(stack, bench, "loop", step)


def consumers_1k(bench):
    for _, pair in consumers(bench, 1000, 10, 1):
        yield {"consumers_1k": pair}


def consumers_10k(bench):
    with Plugin(None, command=bench.tool("timer", 1000)) as timer:
        for plugin, pair in consumers(bench, 10000, 10, 1):
            late, bare = plugin.late_ms()[-1], timer.late_ms()[-1]
            yield {"consumers_10k": pair, "tick": (late, bare), "memory": (resident_mb(plugin.pids), 1)}


def consumers_100k(bench):
    before = PID_MAX.read_text()
    PID_MAX.write_text(str(max(int(before), 400000)))
    try:
        for _, pair in consumers(bench, 100000, 100, 2):
            yield {"consumers_100k": pair}
    finally:
        PID_MAX.write_text(before)


# ksm-explain.

def largest_mapping(pid):
    """Return the first address of the largest mapping of PID, and its end."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return max((tuple(int(part, 16) for part in line.split()[0].split("-")) for line in lines),
               key=lambda mapping: mapping[1] - mapping[0])


def bare_us(path, first, end, block):
    """Return the µs of CPU that the kernel takes to read the file at PATH from FIRST to END, BLOCK bytes at a time.

    The buffer begins with a page: to one that begins 8 to 31 bytes later, processors of AMD copy half as fast (4.4 µs a
    page, else 1.9).
    """
    buf = mmap.mmap(-1, block)
    fd = os.open(path, os.O_RDONLY)
    before = time.thread_time_ns()
    for offset in range(first, end, block):
        os.preadv(fd, [buf], offset)
    spent_ns = time.thread_time_ns() - before
    os.close(fd)
    return spent_ns / 1000


def explain_once(bench, *words):
    """Run ksm-explain with WORDS; return its µs of CPU and its peak resident memory in MB."""
    argv = [bench.build / "ksm-explain", "--cpu=100", *map(str, words)]
    peak = 0
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as running:
        while os.waitid(os.P_PID, running.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            status = Path(f"/proc/{running.pid}/status").read_text()
            peak = max([peak, *map(int, re.findall(r"^VmHWM:\s+(\d+)", status, re.MULTILINE))])
            time.sleep(0.02)
        used = os.wait4(running.pid, 0)[2]
    return (used.ru_utime + used.ru_stime) * 1e6, peak * 1024 / 1e6


def beyond(bench, limit_mib, *words):
    """Return by how many MB the peak memory of ksm-explain with WORDS exceeds its limit."""
    return explain_once(bench, *words, f"--memory={limit_mib}")[1] - limit_mib * 2 ** 20 / 1e6


def estimate(bench):
    """ksm-explain --estimate and bare reads of the same memory, in turn."""
    with Workload(bench.build / "tests/workload", "pairs", ESTIMATED) as target:
        yield {"estimate_memory": (beyond(bench, ESTIMATE_MIB, "--estimate", target.pid), 1)}
        first, end = largest_mapping(target.pid)
        while True:
            bare = bare_us(f"/proc/{target.pid}/mem", first, end, BLOCK) * os.sysconf("SC_PAGESIZE") / (end - first)
            yield {"estimate": (explain_once(bench, "--estimate", target.pid)[0] / (2 * ESTIMATED), bare)}


def sharing_rounds(bench, contents, merged, bare, *, peak=False):
    """Run --sharing on a process with CONTENTS, of which MERGED pages are merged, and BARE(bench, pid), in turn.

    Return the µs of CPU of each run, the µs of each BARE, and with PEAK the peak memory beyond its limit.
    """
    bench.settings.set("run", UNMERGED)
    with Workload(bench.build / "tests/workload", "known", *contents) as target:
        bench.settings.set("run", RUNNING)
        merging = Path(f"/proc/{target.pid}/ksm_merging_pages")
        bench.settings.wait(lambda: int(merging.read_text()) >= merged, MERGED_S, "merging")
        bench.settings.set("run", STOPPED)
        rounds = [(explain_once(bench, "--sharing", "--json")[0], bare(bench, target.pid)) for _ in range(SHARING_ROUNDS)]
        return *zip(*rounds), beyond(bench, SHARING_MIB, "--sharing") if peak else 0


def read_pagemap(_bench, pid):
    """Return the µs that the kernel takes to read an entry of the page table of process PID."""
    first, end = (address // os.sysconf("SC_PAGESIZE") * ENTRY for address in largest_mapping(pid))
    return bare_us(f"/proc/{pid}/pagemap", first, end, BLOCK // 2) * ENTRY / (end - first)


def read_frames(bench, pid):
    """Return the µs that the kernel takes to read what it knows about the frame of a page of process PID."""
    pages = (address // os.sysconf("SC_PAGESIZE") for address in largest_mapping(pid))
    _, (ns, scale) = next(bench.pairs("frames", pid, *pages))
    return ns / scale / 1000


def sharing(bench):
    """ksm-explain --sharing on few pages, on many that are not merged, and on as many that are.

    Each is measured as a whole: a difference of two is the cost of the pages by which they differ.
    """
    few = "1:64:2"
    bench.settings.set_all(FAST)
    base, _, _ = sharing_rounds(bench, [few], 128, read_pagemap)
    entries, bare, _ = sharing_rounds(bench, [few, f"1000:{SHARED}:1"], 128, read_pagemap)
    yield from ({"sharing_entry": ((whole - statistics.median(base)) / SHARED, theirs)}
                for whole, theirs in zip(entries, bare))
    mappings, bare, peak = sharing_rounds(bench, [few, f"1000:{SHARED // 2}:2"], SHARED, read_frames, peak=True)
    yield {"sharing_memory": (peak, 1)}
    yield from ({"sharing_mapping": ((whole - statistics.median(entries)) / SHARED, theirs)}
                for whole, theirs in zip(mappings, bare))
