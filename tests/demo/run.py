#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Implements `make run` and `make demo`: both plugins in private daemons, their metrics side by side.

    run.py --build build --metrics build/tests/metrics [--duration SECONDS] [--port PORT] [--demo]

Shows the metrics of collectd and of Netdata once a second until Ctrl-C, or until the duration is over: then
it also judges whether both hosts delivered every metric that is valid on this machine, and agree (exit 0, else 1).
Below them the consumers, if there are any: their sums must meet what the host saves.
With --demo it starts programs with memory to merge and switches KSM on, and puts all settings back at the end. One of
the programs is killed in mid-run and must disappear; of the others both hosts must show what the kernel's files give.
"""

import argparse
import errno
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from bisect import bisect
from contextlib import ExitStack
from pathlib import Path

import consumers
from daemons import Collectd, DaemonError, Netdata, PortTaken
from live import KSM, LOCK_S, KsmSettings, LiveError, Locked, Workload, why_not

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SHORTEST_S = 10         # a shorter run has too little to judge
FIRST_S = 20            # limit for the first metrics of both daemons
TOOL_S = 10             # one run of the tool that lists the metrics
WINDOW_S = 3            # gauges are compared over so much time
FRESH_S = 5             # a metric is delivered if it has a value as new as this; see lag()
JUDGED_S = 3000         # of a long run only the end is judged: Netdata keeps an hour
ROUNDING = 1e-5         # Netdata keeps about 7 digits
GROWTH_TOLERANCE = 0.1  # of a counter's growth
PRINTED = 1e-7          # the last digit of Netdata's answers

# What the demo sets, where the kernel has it; run comes last.
DEMO_SETTINGS = {"use_zero_pages": 1, "pages_to_scan": 2000, "run": 1}

VICTIM = "ksm-equal-3"      # the demo's program that is killed in mid-run
GONE_S = 4                  # an ended consumer sends nothing so long after its end
REACH_S = 1.5               # the host's values around a sum of the consumers
CONSUMERS_S = 10            # between two samples of the consumers, by default
DEMO_CONSUMERS_S = 1        # and in the demo

# How units are shown: name, and how many of the metric's units make one.
SHOWN_UNITS = {"bytes": ("MiB", 1048576), "ns": ("ms", 1000000)}


class Stopped(Exception):
    """A signal asked this program to end."""

    def __init__(self, number):
        super().__init__(signal.Signals(number).name)
        self.number = number


def stop_on_signals():
    """Make the first of STOP_SIGNALS raise Stopped; those after it are ignored, as cleaning up must be done."""
    def stop(number, _frame):
        ignore_signals()
        raise Stopped(number)
    for number in STOP_SIGNALS:
        signal.signal(number, stop)


def ignore_signals():
    """Ignore STOP_SIGNALS from now on: what is left to do is bounded, and must be done."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def list_metrics(tool):
    """Return the list of metrics that TOOL prints, each a dict."""
    try:
        done = subprocess.run([str(tool), "json"], stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=TOOL_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise DaemonError(f"cannot list the metrics: {error}") from error
    return json.loads(done.stdout)


# A metric's values: in both daemons' units, and in the metric's own ("raw").

def netdata_names(metric):
    """Return the (chart, dimension) names of METRIC in Netdata."""
    return [(metric["chart"], dimension) for dimension in metric["dimensions"]]


def netdata_raw(metric, number):
    """Return Netdata's NUMBER in the units of METRIC."""
    return number * metric["divisor"] / metric["multiplier"]


def collectd_raw(metric, number):
    """Return collectd's NUMBER in the units of METRIC."""
    return number * metric["collectd_divisor"]


# The table.

def shown_unit(metric):
    """Return (name, how many units of METRIC make one, decimals) of the unit that METRIC is shown in."""
    name = metric["unit"].partition(",")[0]
    unit, scale = SHOWN_UNITS.get(name, (name, metric["collectd_divisor"]))
    counts = metric["kind"] == "counter"
    return unit + "/s" * counts, scale, 0 if scale == 1 and not counts else 2


def shown(metric, raw):
    """Return the number RAW, in the units of METRIC, as text."""
    if raw is None or math.isnan(raw):
        return "-"
    _unit, scale, decimals = shown_unit(metric)
    return f"{round(raw / scale, decimals) + 0.0:,.{decimals}f}"         # + 0.0: no -0.00


def shown_state(metric, index):
    """Return the name of state INDEX."""
    names = metric["dimensions"]
    return names[index] if index is not None and 0 <= index < len(names) else "-"


def cells(metric, rates, values):
    """Return (collectd's text, Netdata's text) of the current METRIC."""
    here = rates.get(metric["collectd"], (0, math.nan))[1]
    there = [values.get(name, (0, math.nan))[1] for name in netdata_names(metric)]
    if metric["kind"] == "state":
        known = not any(map(math.isnan, there))
        return (shown_state(metric, None if math.isnan(here) else round(here)),
                shown_state(metric, there.index(max(there)) if known else None))
    return shown(metric, collectd_raw(metric, here)), shown(metric, netdata_raw(metric, there[0]))


# Metrics that need several readings (RATE rows of metrics.def).
SEVERAL_READINGS = {"merge_rate", "scan_time", "scan_left"}
ABSENT = {errno.ENOENT: "not in this kernel", errno.EDOM: "the kernel counted below 0",
          errno.ENODATA: "nothing is merged", 0: "no value yet"}


def why_absent(metric, shown_cells):
    """Return why METRIC has no value now, or "" if one of SHOWN_CELLS has one."""
    error = -metric["status"]
    if set(shown_cells) != {"-"}:
        return ""
    if error == errno.ENODATA and metric["name"] in SEVERAL_READINGS:
        return "no value yet, or KSM is idle"
    if error == errno.ENOENT and metric["name"].startswith("ksmd_cpu"):
        return "ksmd is not visible here"
    return ABSENT.get(error, os.strerror(error))


def table(metrics, rates, values):
    """Return the lines of a table of the current METRICS of both daemons."""
    rows = [("metric", "collectd", "Netdata", "", "")]
    for metric in metrics:
        unit = "" if metric["kind"] == "state" else shown_unit(metric)[0]
        both = cells(metric, rates, values)
        rows.append((metric["name"], *both, unit, why_absent(metric, both)))
    name, here, there, unit = (max(len(row[column]) for row in rows) for column in range(4))
    return [f"{row[0]:<{name}}  {row[1]:>{here}}  {row[2]:>{there}}  {row[3]:<{unit}}  {row[4]}".rstrip()
            for row in rows]


def show(lines):
    """Print LINES: in place of the last ones on a terminal, after them elsewhere."""
    if not sys.stdout.isatty():
        print("\n".join(lines), end="\n\n", flush=True)
        return
    columns, height = shutil.get_terminal_size()
    if len(lines) >= height:
        lines = lines[:height - 2] + [f"… {len(lines) - height + 2} more lines: make the window taller"]
    print("\033[H" + "".join(f"{line[:columns]}\033[K\n" for line in lines) + "\033[J", end="", flush=True)


# The judgement.

def between(samples, start, end):
    """Return the numbers of SAMPLES, [(time, number), …], from START to END."""
    return [number for when, number in samples if start <= when <= end]


def interpolate(samples, at):
    """Return the number that the growing SAMPLES had at the time AT, which lies within them."""
    (before, low), (after, high) = samples[bisect(samples, (at, math.inf)) - 1:][:2]
    return low + (high - low) * (at - before) / (after - before)


def unsteadiness(samples, at):
    """Return how much the steps of SAMPLES within a second of AT differ.

    By so much may two hosts that sample at different moments differ in what had been counted at AT.
    """
    steps = [high - low for (before, low), (after, high) in zip(samples, samples[1:])
             if after >= at - 1 and before <= at + 1]
    return max(steps) - min(steps)


def since_reset(samples):
    """Return the part of SAMPLES after the last decrease."""
    for i in range(len(samples) - 1, 0, -1):
        if samples[i][1] < samples[i - 1][1]:
            return samples[i:]
    return samples


def judge_growth(metric, here, there):
    """Return how the growth of the counter METRIC differs between the daemons, or None.

    HERE is collectd's history, raw and cumulative, THERE is Netdata's, rates at whole seconds; both in metric's units.
    Both are computed over the same seconds: those that Netdata has, well within collectd's samples.
    """
    here = since_reset(here)
    seconds = [(when, rate) for when, rate in there if here[0][0] + 2 <= when <= here[-1][0] - 1]
    if len(seconds) < WINDOW_S:
        return None                     # was reset just now
    start, end = seconds[0][0] - 1, seconds[-1][0]
    grew_here = sum(interpolate(here, when) - interpolate(here, when - 1) for when, _ in seconds)
    grew_there = sum(rate for _, rate in seconds)
    resolution = 2 * metric["collectd_divisor"] + len(seconds) * netdata_raw(metric, PRINTED)
    slack = unsteadiness(here, start) + unsteadiness(here, end) + (resolution if grew_here or grew_there else 0)
    if abs(grew_here - grew_there) <= GROWTH_TOLERANCE * max(grew_here, grew_there) + slack:
        return None
    return (f"grew by {grew_here:.0f} {metric['unit']} in collectd, by {grew_there:.0f} in Netdata, "
            f"in the same {end - start:.0f} s")


def judge_values(here, there, resolution, unit, names=("collectd", "Netdata"), window=WINDOW_S):
    """Return how two histories of one gauge, of the two NAMES, differ at their common end, or None.

    They sample at different moments, and Netdata computes its values at whole seconds from those around:
    so their ranges over the last WINDOW seconds must meet, but for rounding.
    """
    end = min(here[-1][0], there[-1][0])
    mine = between(here, end - window - 1, end + 1)
    other = between(there, end - window, end)
    if not mine or not other:
        return "no values of the same time"
    slack = ROUNDING * max(map(abs, mine + other)) + resolution
    if min(mine) <= max(other) + slack and min(other) <= max(mine) + slack:
        return None
    return (f"{names[0]} {min(mine):.7g} … {max(mine):.7g}, {names[1]} {min(other):.7g} … {max(other):.7g} {unit} "
            f"in the last {window} s")


def lag(metric):
    """Return by how much later than of other charts Netdata has the values of METRIC, in seconds.

    METRIC's chart has a value every `interval` seconds; the agent interpolates between two, and drops the first.
    """
    return 3 * (metric["interval"] - 1)


def fresh(samples, end):
    """Whether SAMPLES have a value that was new at the time END."""
    return bool(samples) and samples[-1][0] >= end - FRESH_S


def judge_metric(metric, collectd, netdata, end):
    """Return the problems with METRIC in the daemons' histories at the time END: a list of texts."""
    here = collectd.get(metric["collectd"], [])
    missing = [] if fresh(here, end) else [f"not delivered by collectd as {metric['collectd']}"]
    for name in netdata_names(metric):
        if not fresh(netdata.get(name, []), end - lag(metric)):
            missing.append(f"not delivered by Netdata as {' · '.join(name)}")
    if missing:
        return missing
    here = [(when, collectd_raw(metric, number)) for when, number in here]
    resolution, window = netdata_raw(metric, PRINTED), WINDOW_S + lag(metric)
    wrong = []
    for index, name in enumerate(netdata_names(metric)):
        there = [(when, netdata_raw(metric, number)) for when, number in netdata[name]]
        if metric["kind"] == "state":
            mine = [(when, float(round(number) == index)) for when, number in here]
            wrong.append(judge_values(mine, there, resolution, name[1], window=window))
        elif metric["kind"] == "counter":
            wrong.append(judge_growth(metric, here, there))
        else:
            wrong.append(judge_values(here, there, resolution, metric["unit"], window=window))
    return [text for text in wrong if text]


def judge(metrics, collectd, netdata, seconds):
    """Print what is missing or differs among METRICS after a run of SECONDS; return how much that is."""
    end = time.time()
    mine = collectd.history(seconds)
    other = netdata.history(seconds, sorted({metric["chart"] for metric in metrics}))
    wrong = [f"{metric['name']}: {text}" for metric in metrics for text in judge_metric(metric, mine, other, end)]
    for line in wrong:
        print(line)
    if not wrong:
        print(f"collectd and Netdata both reported the {len(metrics)} metrics that one reading of the kernel gives, and "
              "they agree.")
    return len(wrong)


# Savings by consumer.

class Actors:
    """The demo's programs: what each saves by the kernel's files, and the one that is killed."""

    def __init__(self, workload):
        self.pids = workload.actors()
        self.samples = {name: [] for name in self.pids}     # [(time, bytes), …]
        self.killed = None                                  # when

    def note(self):
        """Take one sample."""
        page_size = os.sysconf("SC_PAGESIZE")
        sharing, shared = (int((KSM / name).read_text()) for name in ("pages_sharing", "pages_shared"))
        for name, pid in self.pids.items():
            pages = consumers.share(pid, sharing, shared)
            if pages is not None:
                self.samples[name].append((time.time(), float(pages * page_size)))

    def kill(self):
        """Kill one of them."""
        os.kill(self.pids[VICTIM], signal.SIGKILL)
        self.killed = time.time()
        print(f"\n{VICTIM} (process {self.pids[VICTIM]}) is killed now, and must disappear from collectd and Netdata.\n",
              flush=True)

    def judge(self, histories, listed, end):
        """Return the problems with the programs in HISTORIES and LISTED, {daemon: consumers}: a list of texts."""
        wrong = []
        for name, own in self.samples.items():
            for host, history in histories.items():
                samples = history.get(("program", name), {}).get("saved", [])
                if name == VICTIM:
                    wrong += self.judge_victim(host, samples, ("program", name) in listed[host])
                elif not fresh(samples, end) or "real" not in history["program", name]:
                    wrong.append(f"program {name}: not delivered by {host}")
                else:
                    text = judge_values(own, samples, consumers.MIB * PRINTED, "bytes", ("the kernel's files", host))
                    wrong += [f"program {name}: {text}"] if text else []
        return wrong

    def judge_victim(self, host, samples, listed):
        """Return what is wrong with the killed one, its SAMPLES in HOST and that it is LISTED there: a list of texts."""
        if not any(when < self.killed for when, _ in samples):
            return [f"program {VICTIM}: not delivered by {host} before it was killed"]
        late = samples[-1][0] - self.killed
        wrong = [f"program {VICTIM}: {host} has values of {late:.1f} s after its end"] if late > GONE_S else []
        return wrong + ([f"program {VICTIM}: {host} still lists it"] if listed else [])


def why_not_one_by_one():
    """Return why the demo's programs are no consumers of their own, or None if they are."""
    if not Path("/proc/self/ksm_merging_pages").exists():
        return "this kernel does not tell what KSM does for each process (5.19 and later do)"
    cgroup = consumers.owner()
    return f"they belong to the service or container that this runs in: {cgroup}" if cgroup else None


# The run.

class Watch:
    """Both running daemons, and the table of their metrics."""

    def __init__(self, arguments, stack, actors=None):
        """Start both daemons, until STACK is closed; ACTORS are the demo's programs."""
        self.tool = arguments.metrics
        self.duration = arguments.duration
        self.actors = actors
        self.steady = {}        # metric: since when it has been valid, by the monotonic clock
        self.metrics = []
        self.peak = {"collectd": 0.0, "Netdata": 0.0}       # of saved, in bytes
        self.listed = {"collectd": {}, "Netdata": {}}       # the consumers that each host shows now
        self.past = {}          # of Netdata, which forgets ended ones: {consumer: {metric: {time: bytes}}}
        self.interval = DEMO_CONSUMERS_S if actors else CONSUMERS_S
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ksm-run-")))
        self.collectd = stack.enter_context(
            Collectd(work / "collectd", arguments.build / "ksm.so", {"ConsumersInterval": self.interval},
                     history=self.duration is not None))
        self.netdata = stack.enter_context(
            Netdata(work / "netdata", arguments.build / "ksm.plugin", f"--consumers-interval={self.interval}",
                    port=arguments.port))

    def read_once(self):
        """Read the metrics from the kernel and both daemons once; return the lines to show."""
        self.metrics = list_metrics(self.tool)
        now = time.monotonic()
        valid = {metric["name"] for metric in self.metrics if metric["status"] == 0}
        self.steady = {name: self.steady.get(name, now) for name in valid}
        for host in (self.collectd, self.netdata):
            host.check_alive()
        if self.actors and self.duration:
            self.actors.note()
        rates, values = self.collectd.rates(), self.netdata.values()
        saved = self.note_saved(rates, values)
        self.note_consumers(*consumers.latest(rates, values))
        below = consumers.table(*self.listed.values(), saved)
        return table(self.metrics, rates, values) + [""] * bool(below) + below

    def note_saved(self, rates, values):
        """Remember the highest `saved` of each daemon, and return both current ones as texts."""
        for metric in self.metrics:
            if metric["name"] == "saved":
                here = rates.get(metric["collectd"], (0, math.nan))[1]
                there = values.get(netdata_names(metric)[0], (0, math.nan))[1]
                for host, raw in (("collectd", collectd_raw(metric, here)), ("Netdata", netdata_raw(metric, there))):
                    if raw > self.peak[host]:           # never true of NaN
                        self.peak[host] = raw
                return cells(metric, rates, values)
        return "-", "-"

    def note_consumers(self, here, there):
        """Remember the consumers in the daemons: HERE are collectd's, THERE Netdata's."""
        self.listed = {"collectd": here, "Netdata": there}
        if self.duration is None:
            return                      # they will not be checked
        for consumer, metrics in there.items():
            for metric, (when, number) in metrics.items():
                self.past.setdefault(consumer, {}).setdefault(metric, {})[when] = number

    def wait_first(self):
        """Wait until both daemons have delivered metrics."""
        self.collectd.wait(self.collectd.rates, FIRST_S, "the first metrics")
        self.netdata.wait(self.netdata.values, FIRST_S, "the first metrics")

    def loop(self):
        """Show the metrics once a second, until the duration is over or a signal comes."""
        if sys.stdout.isatty():
            print("\033[2J", end="")
        start = tick = time.monotonic()
        while self.duration is None or tick <= start + self.duration:
            time.sleep(max(0, tick - time.monotonic()))
            left = "Ctrl-C stops it" if self.duration is None else f"{start + self.duration - tick:.0f} s left"
            show([f"Dashboard: {self.netdata.url}   ({left})", "", *self.read_once()])
            if self.actors and self.duration and not self.actors.killed and tick >= start + self.duration / 2:
                self.actors.kill()
            tick = max(tick + 1, math.floor(time.monotonic() - start) + start)

    def judge(self):
        """Judge the metrics that have been valid for some time, and the consumers; return how much is wrong."""
        settled, charts = time.monotonic() - FRESH_S - 1, self.netdata.charts()
        for metric in self.metrics:
            metric["interval"] = charts.get(metric["chart"], {}).get("update_every", 1)
        metrics = [metric for metric in self.metrics
                   if self.steady.get(metric["name"], math.inf) <= settled - lag(metric)]
        if not metrics:
            print("No metric is valid on this machine.")
            return 1
        seconds = min(self.duration + 2, JUDGED_S)
        names = {metric["name"] for metric in self.metrics} - {metric["name"] for metric in metrics}
        several = sorted(names & SEVERAL_READINGS)
        if several:
            print(f"Not compared, as each plugin measures them between readings of its own: {', '.join(several)}.")
        slow = sorted(metric["name"] for metric in self.metrics
                      if metric["name"] in names & self.steady.keys() and lag(metric))
        if slow:
            print(f"Not compared in so short a time, as Netdata draws them less often: {', '.join(slow)}.")
        return judge(metrics, self.collectd, self.netdata, seconds) + self.judge_consumers(seconds)

    def judge_consumers(self, seconds):
        """Judge the consumers of the last SECONDS, if there are any; return how much is wrong."""
        mine = self.collectd.history(seconds)
        other = self.netdata.history(seconds, ["ksm.savings", consumers.SUM_CHART])
        histories = {"collectd": consumers.of_collectd(mine),
                     "Netdata": {consumer: {metric: sorted(samples.items()) for metric, samples in metrics.items()}
                                 for consumer, metrics in self.past.items()}}
        if not self.actors and not self.listed["collectd"].keys() - {consumers.UNATTRIBUTED}:
            print("No process that is visible here has mergeable memory: no consumers to judge.")
            return 0
        kinds = {name: {"saved": consumers.in_bytes(samples)}
                 for name, samples in other.items() if name[0] == consumers.SUM_CHART}
        wrong = self.judge_sum("collectd", histories["collectd"], mine.get("ksm/bytes-saved", []), REACH_S)
        wrong += self.judge_sum("Netdata", kinds, consumers.in_bytes(other.get(("ksm.savings", "saved"), [])),
                                self.interval + REACH_S)
        wrong += self.judge_actors(histories) if self.actors else []
        for line in wrong:
            print(line)
        if not wrong:
            print("collectd and Netdata both show the consumers, and their savings add up to the host's.")
        return len(wrong)

    def judge_sum(self, host, parts, saved, reach):
        """Check and print the sum of the PARTS of HOST, and return its problems: a list of texts."""
        judged, wrong = consumers.judge_sums(consumers.sums(parts), saved, reach)
        if not judged and self.actors:
            wrong = "there is none"
        print(f"{host}: {judged} sums of consumers compared with the host's saved.")
        return [f"the consumers' sum in {host}: {wrong}"] if wrong else []

    def judge_actors(self, histories):
        """Return the problems with the demo's programs in HISTORIES, {daemon: consumers}: a list of texts."""
        reason = why_not_one_by_one()
        if reason:
            print(f"The demo's programs are not judged one by one: {reason}.")
            return []
        wrong = self.actors.judge(histories, self.listed, time.time())
        if not wrong:
            alive = ", ".join(sorted(set(self.actors.pids) - {VICTIM}))
            print(f"collectd and Netdata both show the savings of {alive}; {VICTIM} has disappeared.")
        return wrong


def watch(arguments, actors=None):
    """Run both daemons until the end; return (exit status, the highest `saved` of each in bytes)."""
    with ExitStack() as stack:
        try:
            run = Watch(arguments, stack, actors)
            print(f"Dashboard: {run.netdata.url}", flush=True)
            run.wait_first()
            try:
                run.loop()
            except Stopped as stopped:
                return (0 if arguments.duration is None else 128 + stopped.number), run.peak
            return min(1, run.judge()), run.peak
        finally:
            ignore_signals()


# The demo.

def demo_changes(ksm):
    """Return [(setting, value now, value to be), …] that the demo changes, out of DEMO_SETTINGS."""
    changes = []
    for name, value in DEMO_SETTINGS.items():
        advised = name == "pages_to_scan" and ksm.has("advisor_mode") and ksm.text("advisor_mode") != "none"
        enough = ksm.has(name) and ksm.number(name) >= value and name != "run"
        if ksm.has(name) and not advised and not enough and ksm.number(name) != value:
            changes.append((name, ksm.number(name), value))
    return changes


def lock_settings(stack, changes):
    """Return KSM's settings, locked until STACK is left, when it says that CHANGES are undone."""
    ksm = KsmSettings(lock_seconds=0)
    stack.callback(say_back, ksm, changes)
    try:
        return stack.enter_context(ksm)
    except Locked as locked:
        print(f"{locked}; waiting for them.", flush=True)
    ksm.lock_seconds = LOCK_S
    return stack.enter_context(ksm)


def say_back(ksm, changes):
    """Say of all CHANGES what the settings are now."""
    for name, old, _new in changes:
        now = ksm.number(name)
        print(f"{KSM / name} is {now} again." if now == old else f"{KSM / name} is {now}, it was {old}!")


def demo(arguments):
    """Do the same as watch() with KSM on and memory to merge; return the exit status."""
    reason = why_not()
    if reason:
        raise LiveError(f"make demo changes KSM's settings: {reason}")
    changes = []
    with ExitStack() as stack:
        ksm = lock_settings(stack, changes)
        try:
            changes += demo_changes(ksm)
            for name, old, new in changes:
                print(f"The demo sets {KSM / name} from {old} to {new}, until it ends.", flush=True)
            for name, _old, new in changes:
                ksm.set(name, new)
            workload = stack.enter_context(Workload(arguments.build / "tests/workload", "demo"))
            status, peak = watch(arguments, Actors(workload))
        finally:
            ignore_signals()
    for host, saved in peak.items():
        print(f"{host} showed {saved / 1048576:.2f} MiB saved at the most.")
    rose = all(saved > 0 for saved in peak.values())
    print("saved rose above 0 in both." if rose else "saved did not rise above 0 in both.")
    return status if rose or arguments.duration is None else 1


def parse_arguments():
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, required=True, help="where ksm.so and ksm.plugin are")
    parser.add_argument("--metrics", type=Path, required=True, help="the tool that lists the metrics")
    parser.add_argument("--duration", type=float, help="seconds until it ends by itself and judges")
    parser.add_argument("--port", type=int, default=19998, help="of the dashboard, 0: any free one (%(default)s)")
    parser.add_argument("--demo", action="store_true", help="switch KSM on, with memory to merge")
    arguments = parser.parse_args()
    if arguments.duration is not None and arguments.duration < SHORTEST_S:
        sys.exit(f"{arguments.duration:g} s is too short to judge the metrics: "
                 f"the duration must be {SHORTEST_S} s or more")
    if not 0 <= arguments.port <= 65535:
        parser.error("--port: 0 … 65535")
    return arguments


def main():
    """Run, and return the exit status."""
    arguments = parse_arguments()
    stop_on_signals()
    try:
        return demo(arguments) if arguments.demo else watch(arguments)[0]
    except Stopped as stopped:
        return 128 + stopped.number
    except PortTaken as error:
        print(f"{error}: choose another, with make PORT=…, or PORT=0 for any free one.", file=sys.stderr)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())      # the reader has gone
    except (DaemonError, LiveError, OSError) as error:
        print(error, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
