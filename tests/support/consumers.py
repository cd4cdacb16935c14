# SPDX-License-Identifier: MIT
"""Savings by consumer, as collectd and Netdata show it side by side: read, laid out as a table, and judged after a run.

A consumer is (kind, name); what is left over is ("unattributed", "").  Metrics are bytes here.
"""

import re
from pathlib import Path

MIB = 1048576
KINDS = ("vm", "container", "service", "program")
UNATTRIBUTED = ("unattributed", "")
SUM_CHART = "ksm.consumers"
PLUGIN = "ksm_consumer-"
ROUNDING = 1e-6         # of Netdata's seven digits, and of its answers'
PARTS = len(KINDS) + 1

# A process in one of these cgroups belongs to a service or a container, whatever its own name.
OWNED = re.compile(r"\.service(?!.*\.scope)|[0-9a-f]{64}|/lxc|/machine-")


# Reading: {series or (chart, dimension): anything} becomes {consumer: {"saved": it, "real": it}}; merge_rate, which
# Netdata has in its table alone, is left out.

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
    """Return SAMPLES of Netdata, [(time, MiB), …], in bytes."""
    return [(when, number * MIB) for when, number in samples]


def latest(rates, values):
    """Return (collectd's, Netdata's) {consumer: {metric: (time, bytes)}} out of what both hosts have now."""
    return of_collectd(rates), of_netdata({name: (when, number * MIB) for name, (when, number) in values.items()})


# The table.

def mib(consumers, consumer, metric):
    """Return the METRIC of CONSUMER as text."""
    value = consumers.get(consumer, {}).get(metric)
    return "-" if value is None else f"{value[1] / MIB:,.2f}"


def total(consumers):
    """Return what CONSUMERS save together, with what is unattributed, as text."""
    saved = [metrics["saved"][1] for metrics in consumers.values() if "saved" in metrics]
    return f"{sum(saved) / MIB:,.2f}" if saved else "-"


def saved_of(metrics):
    """Return the bytes saved of {metric: (time, bytes)}."""
    return metrics["saved"][1] if "saved" in metrics else 0


def table(here, there, host_saved):
    """Return the lines of a table of the consumers of both hosts; HOST_SAVED are two texts.  Empty without any."""
    if not set(here) | set(there) - {UNATTRIBUTED}:
        return []
    order = sorted({*here, *there} - {UNATTRIBUTED},
                   key=lambda one: (-saved_of(here.get(one) or there.get(one)), one))
    rows = [("consumer, MiB", "", "saved", "saved", "real", "real"), ("", "", *("collectd", "Netdata") * 2)]
    for one in (*order, UNATTRIBUTED):
        rows.append((*one, *(mib(host, one, metric) for metric in ("saved", "real") for host in (here, there))))
    rows += [("sum", "", total(here), total(there), "", ""), ("host's saved", "", *host_saved, "", "")]
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    return ["  ".join([f"{row[0]:<{widths[0]}}", f"{row[1]:<{widths[1]}}"] +
                      [f"{cell:>{width}}" for cell, width in zip(row[2:], widths[2:])]).rstrip() for row in rows]


# What a process saves, reckoned from the kernel's files.

def numbers(path):
    """Return {field: number} of a file of lines "NAME NUMBER"."""
    fields = (line.split() for line in Path(path).read_text().splitlines())
    return {name: int(number) for name, number in fields if not name.endswith(":")}


def share(pid, sharing, shared):
    """Return the pages that process PID saves, its fair share on a host with SHARING and SHARED, or None if gone."""
    stat = Path(f"/proc/{pid}/ksm_stat")
    try:
        merging = int(Path(f"/proc/{pid}/ksm_merging_pages").read_text() or 0)
        zero = numbers(stat).get("ksm_zero_pages", 0) if stat.exists() else 0
    except OSError:
        return None
    return sharing * merging // max(1, sharing + shared) + zero


def owner():
    """Return the cgroup that makes this process a part of a service or container, or None: a program by itself."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        found = OWNED.search(line)
        if found:
            return line
    return None


# The judgement.

def sums(consumers):
    """Return [(time, bytes)] of what CONSUMERS, {consumer: {metric: samples}}, save together at each instant."""
    found = {}
    for metrics in consumers.values():
        for when, number in metrics.get("saved", []):
            found[when] = found.get(when, 0) + number
    return sorted(found.items())


def judge_sums(total, saved, reach):
    """Compare TOTAL, [(time, bytes)], with the host's SAVED of other instants; return (how many, what is wrong or None).

    Each must lie among the host's values within REACH seconds, or beside them by no more than these differ.
    """
    judged = 0
    for when, number in total:
        around = [other for at, other in saved if abs(at - when) <= reach]
        if len(around) < 2 or when > saved[-1][0] - 1:
            continue                    # at the ends
        judged += 1
        low, high = min(around), max(around)
        slack = high - low + ROUNDING * (high + PARTS * MIB)
        if not low - slack <= number <= high + slack:
            return judged, f"the sum is {number:.0f} bytes, the host's saved {low:.0f} … {high:.0f} at that time"
    return judged, None
