#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Measures what the programs cost, as ratios that are the same on any machine, and decides which targets are reached.

    PYTHONPATH=tests/... bench.py --build build [--only GROUP ...] [--readme FILE] [--minutes N]

The design, in the order of the code:

GROUPS  has a group for each set-up, with the time that it may take and its rows. A row is what it measures, a unit
        and, for a target, a limit. rows.py and other files have a function for each group. It is a generator that
        sets up what it measures, and yields a round at a time: {row: (A, B)}. A is the cost of ours, B that of what
        it is compared with, right before, after or at the same time, so that both have the same neighbours. B is 1
        for an amount or a count. In place of (A, B) there may be a text: why the row is not measured here.
interval()  The result of a row is the median of A ÷ B over all rounds, with its 95 % interval (bootstrap). A row
        that is `exact`, a count or a peak, has the maximum instead.
measure()   Asks for rounds until the intervals of all rows are narrower than NARROW, or the group's time is over and
            there are LEAST rounds, or the time of the whole run is over.
verdict()   A target is reached if the whole interval is not above the limit, missed if all of it is above, else
        undecided, as is a row that could not be measured. That is no failure. All rows are always printed.

Groups that compare with the build --base, of another commit, are measured only with it, in more time. If --only names
them, they have amounts without limits.

CPU time is the kernel's own account in ns. KSM has pages to merge meanwhile; its settings are restored at the end
(root). The exit status is 1 only if a target was missed. The table and its picture are put into FILE between the
markers "cost".
"""

import argparse
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import NamedTuple

import rows
from live import KsmSettings
from markers import put_into

MINUTES = 15                # for all groups
RESERVE_S = 30              # of these, for the ends of set-ups
NARROW = 0.05               # of the median
LEAST = 6                   # rounds; fewer have no narrow interval
RESAMPLES = 1000
CONFIDENCE = 0.95
BASE = " ÷ those of --base"  # the end of a row that has a limit only beside another build
PICTURE = "cost.png"        # beside the document
PEERS = {"node_exporter": "node_exporter", "pcp": "PCP mem.ksm", "exec_ksm": "exec-ksm.sh", "shell": "shell loop"}


class Row(NamedTuple):
    """A row of the table. The text `what` says what A is, then " ÷ " and what B is, if there is a B."""

    name: str
    what: str
    unit: str               # of A and of B
    limit: float | None = None
    exact: bool = False     # a count or a peak: the maximum of its rounds, without an interval


class Group(NamedTuple):
    """Rows that are measured with one set-up: `function` yields their rounds for at most so many seconds."""

    title: str
    function: object
    seconds: int            # with the set-up
    rows: list


GROUPS = [
    Group("The host's sample", rows.sample, 25, [
        Row("floor", "host sample ÷ bare preads of the same files, hot", "µs", 1.10),
        Row("ends", "bare preads of vmstat and meminfo to their ends ÷ the first pread of each", "µs"),
        Row("worker", "a read in a worker thread, which may be abandoned ÷ the same bare pread", "µs")]),
    Group("The host's sample", rows.instructions, 20, [
        Row("instructions", "in user space: read, derive, print all charts", "", 30000, exact=True)]),
    Group("ksm.plugin", rows.start, 20, [
        Row("start", "from its start to its first metric ÷ an empty program (true), from start to end", "ms")]),
    Group("ksm.plugin", rows.idle, 45, [
        Row("idle", "reads of processes in 10 intervals, no tracked page, 1,000 processes", "", 0, exact=True),
        Row("memory_idle", "resident memory, no tracked page", "MB", 2.5, exact=True)]),
    Group("ksm-explain --estimate", rows.estimate, 70, [
        Row("estimate", "CPU, a page read ÷ the kernel's copying alone (/proc/PID/mem)", "µs", 2.5),
        Row("estimate_memory", "peak resident memory beyond --memory", "MB", 4, exact=True)]),
    Group("ksm-explain --sharing", rows.sharing, 70, [
        Row("sharing_entry", "CPU, an entry of a page table ÷ bare preads of pagemap", "µs", 2),
        Row("sharing_mapping", "CPU, a merged mapping ÷ bare preads of kpageflags and kpagecount for the same frames", "µs", 3),
        Row("sharing_memory", "peak resident memory beyond --memory", "MB", 4, exact=True)]),
    Group("Whole programs at one sample a second, CPU", rows.programs, 230, [
        Row("netdata", "ksm.plugin ÷ Netdata's built-in, a dimension", "µs", 0.65),
        Row("node_exporter", "ksm.plugin ÷ node_exporter with ksmd alone, a sample", "µs", 0.30),
        Row("collectd", "ksm.so in collectd ÷ (as many constant value lists + the reader's own sample)", "µs", 1.10),
        Row("pcp", "ksm.plugin ÷ PCP's mem.ksm, a sample", "µs"),
        Row("exec_ksm", "ksm.plugin ÷ collectd's exec-ksm.sh, a sample", "µs"),
        Row("shell", "ksm.plugin ÷ shell loop with cat, a sample", "µs")]),
    Group("Processes that start and exit", rows.newcomers, 40, [
        Row("newcomer", "first merged page to first value, the latest of 100 programs", "intervals", 2, exact=True)]),
    Group("Processes that start and exit", rows.churn, 40, [
        Row("churn", "CPU for consumers, 500 forks a second ÷ a loop that reads only the new processes", "ms")]),
    Group("Savings by consumer, CPU an interval", rows.consumers_1k, 50, [
        Row("consumers_1k", "1,000 processes, 100 merging ÷ a loop of bare reads", "ms", 1.5)]),
    Group("Savings by consumer, CPU an interval", rows.consumers_10k, 80, [
        Row("consumers_10k", "10,000 processes, 1,000 merging ÷ a loop of bare reads", "ms", 0.80),
        Row("tick", "  lateness of a tick ÷ that of a bare timer", "ms"),
        Row("memory", "  resident memory", "MB", 4, exact=True)]),
    Group("Savings by consumer, CPU an interval", rows.consumers_100k, 180, [
        Row("consumers_100k", "100,000 processes, 1,000 merging ÷ a loop of bare reads", "ms", 0.40)]),
    Group("ksm.plugin and the agent's thread for it, CPU a second", rows.agent_rest, 80, [
        Row("agent_rest", "while KSM is at rest" + BASE, "µs", 0.60)]),
    Group("ksm.plugin and the agent's thread for it, CPU a second", rows.agent_works, 85, [
        Row("agent_works", "while KSM works" + BASE, "µs", 0.60),
        Row("values", "values that the agent stores a day" + BASE, "", exact=True)]),
]


def compares_builds(group):
    """Whether GROUP has rows that compare with another build."""
    return any(BASE in row.what for row in group.rows)


def without_base(group):
    """Return GROUP with amounts for the rows that compare with another build."""
    return group._replace(rows=[row._replace(what=row.what.removesuffix(BASE), limit=None) if BASE in row.what else row
                                for row in group.rows])


def chosen(only, base):
    """Return the groups with the functions ONLY, or all. Those that compare with a build BASE come only with it."""
    groups = [group for group in GROUPS
              if (group.function.__name__ in only if only else base or not compares_builds(group))]
    return groups if base else [without_base(group) for group in groups]


def interval(ratios):
    """Return the median of RATIOS and the ends of its 95 % interval: percentiles of the medians of resamples."""
    chance = random.Random(len(ratios))     # the same for the same ratios
    medians = sorted(statistics.median(chance.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES))
    beyond = round(RESAMPLES * (1 - CONFIDENCE) / 2)
    return statistics.median(ratios), medians[beyond], medians[-1 - beyond]


def verdict(low, high, limit):
    """Return what the interval from LOW to HIGH decides about a target with LIMIT (None: none)."""
    if limit is None:
        return ""
    return "reached" if high <= limit else "missed" if low > limit else "undecided"


class Result:
    """The rounds of a row so far, and what they say."""

    def __init__(self, row, title):
        self.row = row
        self.title = title
        self.pairs = []
        self.missing = "no round was completed"

    def add(self, pair):
        """Add a round: (A, B), or why there is none."""
        if isinstance(pair, str):
            self.missing = pair
        else:
            self.pairs.append(pair)

    def interval(self):
        """Return the result and the ends of its interval."""
        ratios = [ours / theirs for ours, theirs in self.pairs]
        if self.row.exact:
            return (max(ratios),) * 3
        return interval(ratios) if self.is_enough() else (statistics.median(ratios), -float("inf"), float("inf"))

    def is_enough(self):
        """Whether there are enough rounds for an interval."""
        return len(self.pairs) >= (1 if self.row.exact else LEAST)

    def is_narrow(self):
        """Whether further rounds would say no more."""
        if self.row.exact or not self.pairs:
            return True
        middle, low, high = self.interval()
        return high - low < NARROW * abs(middle)

    def verdict(self):
        """Return reached, missed or undecided; "" if it has no limit."""
        low, high = self.interval()[1:] if self.pairs else (-float("inf"), float("inf"))
        return verdict(low, high, self.row.limit)

    def cells(self):
        """Return what is printed: what, the result with its interval, A and B, the limit, the verdict."""
        row = self.row
        limit = "" if row.limit is None else f"{row.limit:,g}"
        if not self.pairs:
            return row.what, f"not measured: {self.missing}", "", limit, self.verdict()
        middle, low, high = self.interval()
        spread = "" if row.exact else f" ({shown(low)}…{shown(high)})"
        ours, theirs = (statistics.median(numbers) for numbers in zip(*self.pairs))
        if " ÷ " not in row.what:
            return row.what, f"{shown(middle)}{spread} {row.unit}".rstrip(), "", limit, self.verdict()
        return row.what, shown(middle) + spread, f"{shown(ours)} ÷ {shown(theirs)} {row.unit}", limit, self.verdict()


def shown(number):
    """Return NUMBER with three digits, or all those before the point."""
    return f"{number:,.0f}" if abs(number) >= 100 and abs(number) != float("inf") else f"{number:.3g}"


def measure(group, bench, end):
    """Measure GROUP, at most up to the instant END (time.monotonic()); return the results of its rows."""
    results = {row.name: Result(row, group.title) for row in group.rows}
    rounds, next_look = 0, LEAST
    until = time.monotonic() + group.seconds
    try:
        if end - time.monotonic() < group.seconds / 2:
            raise TimeoutError("no time was left")
        for found in group.function(bench):
            for name, pair in found.items():
                results[name].add(pair)
            rounds += 1
            if time.monotonic() > (until if rounds >= LEAST else end):
                break
            if rounds >= next_look:
                next_look = rounds + max(1, rounds // 4)
                if all(result.is_narrow() for result in results.values()):
                    break
    except Exception as error:      # pylint: disable=broad-except # whatever it is, the other rows are printed
        traceback.print_exc()
        for result in results.values():
            result.missing = f"{type(error).__name__}: {error}".splitlines()[0]
    return list(results.values())


class Bench:
    """What all groups use: the programs' directory, that of another build or None, KSM's settings, one for files."""

    def __init__(self, build, base, settings, directory):
        self.build = build
        self.base = base
        self.settings = settings
        self.directory = directory

    def tool(self, *arguments):
        """Return the command of the tool bench with ARGUMENTS."""
        return [str(self.build / "tests/bench/bench"), *map(str, arguments)]

    def pairs(self, *arguments):
        """Yield (name, (A, B)) of each line that the tool bench prints, in µs, until this is closed."""
        with subprocess.Popen(self.tool(*arguments), stdout=subprocess.PIPE, text=True) as process:
            try:
                for line in process.stdout:
                    name, ours, theirs = line.split()
                    yield name, (int(ours) / 1000, int(theirs) / 1000)
            finally:
                process.kill()


def machine():
    """Return the name of this machine and its kernel."""
    model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return f"Linux {platform.release()}, {os.cpu_count()} × {model[1] if model else platform.machine()}"


def markdown(results, name):
    """Return RESULTS, measured on the machine NAME, as a table."""
    lines = [f"Measured on {name}: medians with their 95 % intervals.", "", f"![measured ÷ limit]({PICTURE})", "",
             "| target | what | ratio or amount | times | at most | |", "|---|---|---|---|---|---|"]
    title = None
    for result in results:
        if result.title != title:
            title = result.title
            lines.append(f"| | **{title}** | | | | |")
        lines.append(f"| {result.row.name} | {' | '.join(result.cells())} |")
    return "\n".join(lines) + "\n"


PLOT = """\
set terminal pngcairo size 900,{height} font "DejaVu Sans,10"
set output "{output}"
set multiplot
set lmargin at screen 0.2
set rmargin at screen 0.95
set grid x
"""
PANEL = """\
set title "{title}"
set origin 0,{bottom}
set size 1,{share}
set yrange [{rows}.6:0.4]
set ytics ({tics})
{more}
$data{rows} << END
{data}
END
plot $data{rows} using 1:4:2:3 with xerrorbars pt 7 ps 0.8 lw 2 lc rgb "#2060a0" notitle
"""
AGAINST_LIMIT = """\
set xrange [0:*]
set arrow from 1, graph 0 to 1, graph 1 nohead lw 2 lc rgb "red" front"""
OF_PEERS = "set logscale x; set xrange [*:*]; unset arrow"


def panel(title, named, bottom, share, more):
    """Return gnuplot's commands to draw NAMED, {name: (middle, low, high)}, from BOTTOM up in a SHARE of the height."""
    tics = ", ".join(f'"{name}" {i}' for i, name in enumerate(named, 1)).replace("_", "\\\\_")
    data = "\n".join(" ".join(f"{number:.6g}" for number in [*found, i]) for i, found in enumerate(named.values(), 1))
    return PANEL.format(title=title, bottom=bottom, share=share, rows=len(named), tics=tics, data=data, more=more)


def picture(results, path):
    """Draw all targets of RESULTS but those with the limit 0, as measured ÷ limit, and the CPU time of the peers."""
    targets = {result.row.name: [number / result.row.limit for number in result.interval()]
               for result in results if result.row.limit and result.is_enough()}
    peers = {}
    for result in results:
        if result.row.name in PEERS and result.is_enough():
            ours, theirs = zip(*result.pairs)
            peers |= {"ksm.plugin": interval(ours), PEERS[result.row.name]: interval(theirs)}
    lines = len(targets) + len(peers) + 8
    share = (len(peers) + 4) / lines
    script = PLOT.format(output=path, height=22 * lines)
    if targets:
        script += panel("measured ÷ limit, with 95 % intervals: up to 1 is reached", targets, share, 1 - share,
                        AGAINST_LIMIT)
    if peers:
        script += panel("µs of CPU a sample, one a second", peers, 0, share, OF_PEERS)
    subprocess.run(["gnuplot"], input=script, text=True, check=True)


def show(results):
    """Print RESULTS of a group."""
    for result in results:
        what, amount, times, limit, decided = result.cells()
        target = f"TARGET {result.row.name} at most {limit}: {decided}" if decided else ""
        print(f"  {what:<84} {amount:<24} {times:<22} {target}".rstrip(), flush=True)


def conclude(results):
    """Print which targets were reached; return the exit status."""
    found = {word: [result.row.name for result in results if result.verdict() == word]
             for word in ("reached", "missed", "undecided")}
    print("\n" + "\n".join(f"{word}: {len(names)}{': ' if names else ''}{', '.join(names)}"
                           for word, names in found.items()))
    return 1 if found["missed"] else 0


def main():
    """Measure everything; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, required=True, help="where the plugins and the tools are")
    parser.add_argument("--base", type=Path, help="where those of another commit are, for the rows that compare with it")
    parser.add_argument("--only", nargs="+", help="the groups with these functions")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="for all groups")
    parser.add_argument("--readme", type=Path, help="put the table into this file")
    options = parser.parse_args()
    groups = chosen(options.only, options.base)
    name, results, title = machine(), [], None
    print(name)
    with KsmSettings() as settings:
        begin = time.monotonic()
        end = begin + options.minutes * 60 - RESERVE_S
        end += sum(group.seconds for group in groups if compares_builds(group))
        for group in groups:
            print("" if group.title == title else f"\n{group.title}\n", end="")
            title = group.title
            with tempfile.TemporaryDirectory() as directory:
                base = options.base and options.base.resolve()
                bench = Bench(options.build.resolve(), base, settings, Path(directory))
                found = measure(group, bench, end)
            settings.restore()
            show(found)
            results += found
    print(f"\n{(time.monotonic() - begin) / 60:.1f} minutes")
    if options.readme:
        picture(results, options.readme.with_name(PICTURE))
        put_into(options.readme, "cost", markdown(results, name))
    return conclude(results)


if __name__ == "__main__":
    sys.exit(main())
