# SPDX-License-Identifier: MIT
"""Savings by consumer as collectd and Netdata show them: reading, printing side by side, checking after a run.

A consumer is (kind, name); the unattributed savings are ("unattributed", "").  All metrics are in bytes.
"""

import re
from pathlib import Path

MIB = 1048576
KINDS = ("vm", "container", "service", "program")
UNATTRIBUTED = ("unattributed", "")
SUM_CHART = "ksm.consumers"
PLUGIN = "ksm_consumer-"
ROUNDING = 1e-6         # Netdata keeps and prints seven digits
PARTS = len(KINDS) + 1

# A process in one of these cgroups belongs to a service or a container.
OWNED = re.compile(r"\.service(?!.*\.scope)|[0-9a-f]{64}|/lxc|/machine-")


# Reading: {series or (chart, dimension): value} becomes {consumer: {"saved": value, "real": value}}.  merge_rate is
# left out, as Netdata has it only in its table.

def of_collectd(series):
    """Return the consumers of SERIES, {name: anything}."""
    found = {}
    for name, value in series.items():
        instance, of_bytes, metric = name.removeprefix(PLUGIN).rpartition("/bytes-")
        if name.startswith(PLUGIN) and of_bytes:
            kind, _, rest = instance.partition("-")
            found.setdefault((kind, rest), {})[metric] = value
    return found


def of_netdata(values):
    """Return the consumers of VALUES, {(chart, dimension): anything}; a chart's id is ksm.consumer_KIND_NAME."""
    found = {}
    for (chart, dimension), value in values.items():
        if (chart, dimension) == (SUM_CHART, "unattributed"):
            found.setdefault(UNATTRIBUTED, {})["saved"] = value
        elif chart.startswith("ksm.consumer_"):
            kind, _, name = chart.removeprefix("ksm.consumer_").partition("_")
            found.setdefault((kind, name), {})[dimension] = value
    return found


def in_bytes(samples):
    """Convert SAMPLES of Netdata, [(time, MiB), …], to bytes."""
    return [(when, number * MIB) for when, number in samples]


def latest(rates, values):
    """Return (collectd's, Netdata's) {consumer: {metric: (time, bytes)}} from the current values of both."""
    return of_collectd(rates), of_netdata({name: (when, number * MIB) for name, (when, number) in values.items()})


# The table.

def mib(consumers, consumer, metric):
    """Return the METRIC of CONSUMER in MiB, as text."""
    value = consumers.get(consumer, {}).get(metric)
    return "-" if value is None else f"{value[1] / MIB:,.2f}"


def total(consumers):
    """Return the total savings of CONSUMERS, including the unattributed, in MiB, as text."""
    saved = [metrics["saved"][1] for metrics in consumers.values() if "saved" in metrics]
    return f"{sum(saved) / MIB:,.2f}" if saved else "-"


def saved_of(metrics):
    """Return the bytes saved of {metric: (time, bytes)}."""
    return metrics["saved"][1] if "saved" in metrics else 0


def table(here, there, host_saved):
    """Return the lines of a table of the consumers in both daemons, none without consumers; HOST_SAVED are two texts."""
    if not set(here) | set(there) - {UNATTRIBUTED}:
        return []
    order = sorted({*here, *there} - {UNATTRIBUTED},
                   key=lambda name: (-saved_of(here.get(name) or there.get(name)), name))
    rows = [("consumer, MiB", "", "saved", "saved", "real", "real"), ("", "", *("collectd", "Netdata") * 2)]
    for name in (*order, UNATTRIBUTED):
        rows.append((*name, *(mib(host, name, metric) for metric in ("saved", "real") for host in (here, there))))
    rows += [("sum", "", total(here), total(there), "", ""), ("host's saved", "", *host_saved, "", "")]
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    return ["  ".join([f"{row[0]:<{widths[0]}}", f"{row[1]:<{widths[1]}}"] +
                      [f"{cell:>{width}}" for cell, width in zip(row[2:], widths[2:])]).rstrip() for row in rows]


# The savings of a process, computed from the kernel's files.

def numbers(path):
    """Return {field: number} of a file of lines "NAME NUMBER"."""
    fields = (line.split() for line in Path(path).read_text().splitlines())
    return {name: int(number) for name, number in fields if not name.endswith(":")}


def share(pid, sharing, shared):
    """Return the share of process PID, in pages, on a host with SHARING and SHARED pages, or None if it has exited."""
    stat = Path(f"/proc/{pid}/ksm_stat")
    try:
        merging = int(Path(f"/proc/{pid}/ksm_merging_pages").read_text() or 0)
        zero = numbers(stat).get("ksm_zero_pages", 0) if stat.exists() else 0
    except OSError:
        return None
    return sharing * merging // max(1, sharing + shared) + zero


def owner():
    """Return the cgroup of the service or container that this process belongs to, or None."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        found = OWNED.search(line)
        if found:
            return line
    return None


# Checks.

def sums(consumers):
    """Return [(time, bytes)], the total savings of CONSUMERS, {consumer: {metric: samples}}, at each time."""
    found = {}
    for metrics in consumers.values():
        for when, number in metrics.get("saved", []):
            found[when] = found.get(when, 0) + number
    return sorted(found.items())


def judge_sums(total, saved, reach):
    """Compare TOTAL, [(time, bytes)], with the host's SAVED at other times; return (number compared, problem or None).

    Each must be within the range of the host's values at most REACH seconds away, extended by its width on both sides.
    """
    judged = 0
    for when, number in total:
        around = [other for at, other in saved if abs(at - when) <= reach]
        if len(around) < 2 or when > saved[-1][0] - 1:
            continue                    # too near to the start or the end
        judged += 1
        low, high = min(around), max(around)
        slack = high - low + ROUNDING * (high + PARTS * MIB)
        if not low - slack <= number <= high + slack:
            return judged, f"the sum is {number:.0f} bytes, the host's saved {low:.0f} … {high:.0f} at that time"
    return judged, None
