# SPDX-License-Identifier: MIT
"""Computes the expected metrics from a tree of /proc and /sys, without any code of the plugins.

The formulas are those of the kernel's Documentation/admin-guide/mm/ksm.rst and mm/ksm.c.  Metrics are integers:
pages, bytes, ns …; percentages and ratios in thousandths, truncated.  Metrics that the tree's kernel lacks are absent.
"""

from pathlib import Path
from typing import NamedTuple

PERCENT = 100 * 1000        # a share as thousandths of a percent
EXPOSURE_MAX = 10 ** 6 * 1000
RATIO = 1000                # a ratio in thousandths
RMAP_ITEM = 64              # sizeof(struct ksm_rmap_item) where a long has 64 bits
NS_PER_MS = 10 ** 6
NS_PER_TICK = 10 ** 9 // 100
OFFLINE = 4                 # the bit of `run` while memory is taken offline
STATES = ("stopped", "running", "unmerged")


class Place(NamedTuple):
    """The name and unit of a metric in both daemons."""

    collectd: str           # type
    divisor: int            # collectd's number is the metric's integer / divisor
    chart: str              # ksm.CHART
    units: str
    scale: float            # Netdata's number is the metric's integer × scale; of a counter, its rate
    counter: bool = False


def places(page_size):
    """Return {metric: Place}; Netdata shows memory in MiB."""
    mib = 1 / 2 ** 20
    rows = {}

    def add(names, *place, counter=False):
        for name in names.split():
            rows[name] = Place(*place, counter)

    add("shared sharing unshared volatile", "vmpage_number", 1, "memory", "MiB", page_size * mib)
    add("zero", "vmpage_number", 1, "zero_pages", "MiB", page_size * mib)
    add("saved overhead", "bytes", 1, "savings", "MiB", mib)
    add("profit gain", "gauge", 1, "savings", "MiB", mib)
    add("merged", "percent", 1000, "effectiveness", "percentage", 1e-3)
    add("ram net", "gauge", 1000, "effectiveness", "percentage", 1e-3)
    add("exposure", "gauge", 1000, "exposure", "percentage", 1e-3)
    add("sharing_ratio", "gauge", 1000, "sharing_ratio", "mappings/page", 1e-3)
    add("merge_rate", "gauge", 1000, "merge_rate", "pages/s", 1e-3)
    add("anon_huge", "bytes", 1, "thp", "MiB", mib)
    add("thp_split", "vmpage_action", 1, "thp_split", "huge pages/s", 1, counter=True)
    add("ksmd_cpu_per_gib", "gauge", 1000, "cpu_cost", "seconds/GiB", 1e-3)
    add("scanned_per_page", "gauge", 1000, "scan_cost", "scans/page", 1e-3)
    add("scan_time scan_left", "gauge", 1000, "scan_time", "seconds", 1e-3)
    add("full_scans", "total_operations", 1, "full_scans", "scans/s", 1, counter=True)
    add("scanned skipped", "vmpage_action", 1, "scan", "pages/s", 1, counter=True)
    add("cow swpin_copy", "vmpage_action", 1, "cow", "pages/s", 1, counter=True)
    add("ksmd_cpu", "total_time_in_ms", 10 ** 6, "ksmd_cpu", "percentage", 100 / 10 ** 9, counter=True)
    add("chains dups", "gauge", 1, "stable_nodes", "nodes", 1)
    add("run", "gauge", 1, "state", "state", 1)
    add("pages_to_scan max_page_sharing advisor_min_pages_to_scan advisor_max_pages_to_scan",
        "gauge", 1, "settings_pages", "pages", 1)
    add("sleep_millisecs stable_node_chains_prune_millisecs", "gauge", 1, "settings_ms", "milliseconds", 1)
    add("advisor_target_scan_time", "gauge", 1, "settings_s", "seconds", 1)
    add("advisor_max_cpu", "gauge", 1, "settings_percent", "percentage", 1)
    add("merge_across_nodes use_zero_pages smart_scan advisor_mode", "gauge", 1, "settings_flags", "flag", 1)
    return rows


# Seconds between two values of a chart, where that is not the agent's interval.
INTERVALS = dict.fromkeys("scan_time cpu_cost scan_cost stable_nodes thp settings_pages settings_ms settings_s "
                          "settings_percent settings_flags".split(), 10)
FLAGS = {"merge_across_nodes", "use_zero_pages", "smart_scan", "advisor_mode", "run"}

# Metrics of /sys/kernel/mm/ksm whose name differs from that of their file.
FILES = {"pages_shared": "shared", "pages_sharing": "sharing", "pages_unshared": "unshared",
         "pages_volatile": "volatile", "ksm_zero_pages": "zero", "pages_scanned": "scanned",
         "pages_skipped": "skipped", "stable_node_chains": "chains", "stable_node_dups": "dups"}
EVENTS = {"thp_split_page": "thp_split", "cow_ksm": "cow", "ksm_swpin_copy": "swpin_copy"}


def number(text):
    """Return the integer value of TEXT, from a file of mm/ksm or mm/uksm."""
    if "[" in text:
        return int(text.partition("[")[2].partition("]")[0] != "none")
    mantissa, _times, exponent = text.partition(" * 2^")
    return int(mantissa) << int(exponent or 0)


def fields(path):
    """Return {name: number} of a file of lines "NAME NUMBER" or "NAME: NUMBER kB"; nothing if there is no file."""
    if not path.exists():
        return {}
    return {line.split()[0].rstrip(":"): int(line.split()[1]) for line in path.read_text().splitlines()}


def thread_time(tree, name):
    """Return {"ksmd_cpu": ns} of the kernel thread NAME, a child of process 2; {} if there is none."""
    for stat in sorted(tree.glob("proc/[0-9]*/stat")):
        comm, _, rest = stat.read_text().partition("(")[2].rpartition(")")
        values = rest.split()           # the first is field 3 of proc(5)
        if comm != name or values[4 - 3] != "2":
            continue
        account = stat.with_name("schedstat")
        ran = int(account.read_text().split()[0]) if account.exists() else 0
        return {"ksmd_cpu": ran or (int(values[14 - 3]) + int(values[15 - 3])) * NS_PER_TICK}
    return {}


def read(tree):
    """Return {metric: integer} of the metrics that TREE contains directly."""
    known = places(1)
    found = {}
    uksm = not (tree / "sys/kernel/mm/ksm").exists()
    for path in (tree / "sys/kernel/mm" / ("uksm" if uksm else "ksm")).glob("*"):
        name = FILES.get(path.name, path.name)
        if name in known:
            found[name] = number(path.read_text().strip())
    if "run" in found:
        found["run"] &= ~OFFLINE
    events = fields(tree / "proc/vmstat")
    found.update({name: events[field] for field, name in EVENTS.items() if field in events})
    found.update(thread_time(tree, "uksmd" if uksm else "ksmd"))
    return found


def expected_metrics(tree, page_size, once=False):
    """Return {metric: integer} of all metrics of TREE, including derived ones; with ONCE, those of a single reading."""
    tree = Path(tree)
    metrics = read(tree)
    memory = fields(tree / "proc/meminfo")
    if "zero" not in metrics and "KsmZeroPages" in memory:
        metrics["zero"] = memory["KsmZeroPages"] * 1024 // page_size
    if "sharing" in metrics:
        metrics.update(derived(metrics, memory, profit_of_kernel(tree, metrics), page_size))
    if "AnonHugePages" in memory:
        metrics["anon_huge"] = memory["AnonHugePages"] * 1024
    if metrics.get("zero", 0) < 0:
        for name in ("zero", "saved", "overhead", "ram", "exposure", "ksmd_cpu_per_gib", "scanned_per_page"):
            metrics.pop(name, None)
    if not once and metrics.get("run") and "saved" in metrics:
        metrics["merge_rate"] = 0           # a tree is static
    return metrics


def profit_of_kernel(tree, metrics):
    """Return general_profit of TREE's kernel, or None if it is missing or wrong because zero pages were miscounted."""
    path = tree / "sys/kernel/mm/ksm/general_profit"
    return int(path.read_text()) if path.exists() and metrics.get("zero", 0) >= 0 else None


def derived(metrics, memory, profit, page_size):
    """Return the derived metrics, {metric: integer}, from METRICS, meminfo's MEMORY, and the kernel's PROFIT or None."""
    shared, sharing = metrics["shared"], metrics["sharing"]
    saved = (sharing + metrics.get("zero", 0)) * page_size
    found = {"saved": saved, "gain": (sharing - shared) * page_size}
    if "volatile" in metrics:           # UKSM has no such count
        tracked = shared + sharing + metrics["unshared"] + metrics["volatile"]
        found["merged"] = sharing * PERCENT // tracked if tracked else 0
        if profit is None:
            profit = sharing * page_size - tracked * RMAP_ITEM
    if profit is not None:
        found.update(profit=profit, overhead=saved - profit)
    if shared:
        found["sharing_ratio"] = (shared + sharing) * RATIO // shared
    if saved and "ksmd_cpu" in metrics:
        found["ksmd_cpu_per_gib"] = metrics["ksmd_cpu"] // NS_PER_MS * 2 ** 30 // saved
    if saved and "scanned" in metrics:
        found["scanned_per_page"] = metrics["scanned"] * page_size * RATIO // saved
    if "MemTotal" in memory:
        found["ram"] = saved * PERCENT // (memory["MemTotal"] * 1024)
        if profit is not None:
            found["net"] = int(profit * PERCENT / (memory["MemTotal"] * 1024))     # towards 0, as in C
    if "MemAvailable" in memory:
        free = max(1, memory["MemAvailable"] + memory["SwapFree"])
        found["exposure"] = min(saved * PERCENT // (free * 1024), EXPOSURE_MAX)
    return found


def collectd_values(metrics, page_size):
    """Return {series: number} that collectd should have for METRICS, with raw counters."""
    values = {}
    for name, value in metrics.items():
        place = places(page_size)[name]
        values[f"ksm/{place.collectd}-{name}"] = value // place.divisor if place.counter else value / place.divisor
    return values


def netdata_values(metrics, page_size):
    """Return {(chart, dimension): number} that Netdata should have for METRICS, with counters times their scale."""
    values = {}
    for name, value in metrics.items():
        place = places(page_size)[name]
        if name == "run":
            values.update({("ksm.state", state): float(value == i) for i, state in enumerate(STATES)})
        else:
            values[f"ksm.{place.chart}", name] = value * place.scale
    return values
