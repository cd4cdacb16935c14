#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Makes the Grafana dashboard of collectd's metrics, collectd/grafana-dashboard.json, out of the rows below.

    dashboard.py --build build              write it anew
    dashboard.py --build build --check      only say whether it is stale: exit status 1

What a metric is called in Prometheus, its unit and what it means come from common/metrics/metrics.def, by way of the tool
build/tests/metrics; a panel names its metrics and explains them without assuming knowledge of KSM. A metric that no
panel names gets one at the end. Hosts are distinguished by the label `instance`.
"""

import argparse
import json
import re
import sys
import tempfile
from pathlib import Path

import fixtures
from grafana import (WIDTH, bars, graph, label_variable, laid_out, source_input, source_variable, stat, table, target,
                     thresholds)

DASHBOARD = Path(__file__).resolve().parents[2] / "collectd/grafana-dashboard.json"
HOSTS = 'instance=~"$host"'
SHOWN = re.compile(r'\{ksm="(\w+)"')        # a metric in a query
TOP = 15                                    # consumers in the table and the bars

FULL, HALF, THIRD, QUARTER, SIXTH = (WIDTH // n for n in (1, 2, 3, 4, 6))

# Unit of common/metrics/metrics.h: Grafana's unit, and the label of the axis if that does not suffice.
UNITS = {
    "pages": ("short", "pages"),
    "bytes": ("bytes", ""),
    "bytes, may be negative": ("bytes", ""),
    "%": ("percent", ""),
    "%, may pass 100": ("percent", ""),
    "%, may be negative": ("percent", ""),
    "pages per page": ("none", "pages per page"),
    "nodes": ("short", "nodes"),
    "scans": ("short", "scans/min"),
    "ns": ("percent", "of one core"),
    "ms": ("ms", ""),
    "s": ("s", ""),
    "s per GiB": ("s", "per GiB"),
    "pages per second, may be negative": ("short", "pages/s"),
    "huge pages": ("short", "huge pages/s"),
    "flag": ("none", ""),
    "state": ("none", ""),
}
# Factors of a counter's growth a second in collectd: from ms of CPU to percent, from scans to scans a minute.
GROWTH = {"ns": " / 10", "scans": " * 60"}

STATES = ["stopped", "running", "unmerged"]
WORDS = {"run": STATES, "advisor_mode": ["none", "scan-time"], "merge_across_nodes": ["off", "on"],
         "use_zero_pages": ["off", "on"], "smart_scan": ["off", "on"]}

# How the values of several hosts are aggregated, and how a description states that.
EACH = "max by (instance)"
SEVERAL = {"sum": "Of several hosts: the sum.", "avg": "Of several hosts: the mean.",
           "max": "Of several hosts: the highest.", EACH: "One line for each host."}


class Metrics:
    """The metrics by name, as build/tests/metrics prints them."""

    def __init__(self, build):
        with tempfile.TemporaryDirectory() as tree:
            fixtures.make_tree(build, "6.18", tree)
            self.all = {metric["name"]: metric for metric in fixtures.metrics(build, tree)}

    def query(self, name, how):
        """Return the query of metric NAME, aggregated over hosts by HOW."""
        metric = self.all[name]
        plugin, _, kind = metric["collectd"].removesuffix(f"-{name}").partition("/")
        if metric["kind"] != "counter":
            return f'{how} (collectd_{plugin}_{kind}{{{plugin}="{name}",{HOSTS}}})'
        series = f'collectd_{plugin}_{kind}_total{{{plugin}="{name}",{HOSTS}}}'
        return f"{how} (rate({series}[$__rate_interval])){GROWTH.get(metric['unit'], '')}"

    def unit(self, name):
        """Return Grafana's unit of metric NAME, and the label of its axis."""
        unit, axis = UNITS[self.all[name]["unit"]]
        if self.all[name]["kind"] == "knob" and unit == "short":
            unit = "none"           # exactly, not as 4.21 K
        return unit, f"{axis}/s" if axis == "pages" and self.all[name]["kind"] == "counter" else axis

    def negative(self, name):
        """Whether metric NAME may be below 0."""
        return "negative" in self.all[name]["unit"]

    def describe(self, text, names):
        """Return TEXT as the description of a panel with the metrics NAMES, in Markdown."""
        return "\n".join([text, "", *(f"- **{name}**: {self.all[name]['help']}" for name in names)])

    def number(self, title, name, how, text, *steps):
        """Return a panel with the number of metric NAME."""
        return stat(title, self.describe(f"{text} {SEVERAL[how]}", [name]), (SIXTH, 4),
                    target(self.query(name, how), instant=True), self.unit(name)[0],
                    thresholds(*steps or [(None, "blue")]))

    def lines(self, title, names, width, how, text, stacked=False):
        """Return a graph of the metrics NAMES, which are of one unit."""
        unit, axis = self.unit(names[0])
        targets = []
        for name in names:
            host = "{{instance}}" if len(names) == 1 else f"{{{{instance}}}} {name}"
            targets.append(target(self.query(name, how), host if how == EACH else name))
        return graph(title, self.describe(f"{text} {SEVERAL[how]}", names), (width, 8), targets, unit, axis, stacked,
                     any(map(self.negative, names)))

    def rows(self, title, names, width, text, headings=None):
        """Return a table with a row a host and a column a metric of NAMES."""
        columns = [((headings or {}).get(name, name), self.query(name, EACH), self.unit(name)[0], WORDS.get(name))
                   for name in names]
        return table(title, self.describe(text, names), (width, 7), {"instance": "host"}, columns)


# The rows of the dashboard.

def overview(metrics):
    """The state now."""
    state = f'count_values ("state", {metrics.query("run", EACH)})'
    for number, name in enumerate(STATES):
        state = f'label_replace({state}, "state", "{name}", "state", "{number}")'
    return [
        metrics.number(
            "Saved", "saved", "sum",
            "Memory that programs and virtual machines would use in addition if Linux did not merge equal pages."),
        metrics.number(
            "Share of RAM", "ram", "avg", "Memory saved as a share of the host's memory."),
        metrics.number(
            "Net", "net", "avg",
            "The same, less the memory that the kernel uses for the pages it tracks (overhead). Below 0, merging costs "
            "more memory than it saves.", (None, "red"), (0, "green")),
        metrics.number(
            "CPU", "ksmd_cpu", "max", "CPU time for the search for equal pages, in percent of one core."),
        metrics.number(
            "Exposure", "exposure", "max",
            "A merged page that is written to becomes a separate page again. If that happened to all of them, this share "
            "of the free memory and swap would be needed. Above 100 %, it does not fit.",
            (None, "green"), (75, "orange"), (100, "red")),
        stat(
            "State", metrics.describe("How many hosts scan for equal pages, and how many do not.", ["run"]), (SIXTH, 4),
            target(state, "{{state}}", instant=True), "none", thresholds((None, "blue")), named=True),
        metrics.rows(
            "Hosts", ["run", "saved", "profit", "ram", "net", "exposure", "ksmd_cpu", "merged", "sharing_ratio"], FULL,
            "Each host, now. A value that its kernel does not report is empty.", {"run": "state"}),
    ]


def savings(metrics):
    """Savings and cost."""
    return [
        metrics.lines(
            "Savings", ["saved", "profit", "overhead", "gain"], HALF, "sum",
            "Memory that merging saves, the memory that the kernel uses for tracked pages (overhead), and the difference (profit)."),
        metrics.lines(
            "Share of RAM", ["ram", "net"], HALF, EACH,
            "Memory saved as a share of the host's memory, before and after the overhead."),
        metrics.lines(
            "CPU", ["ksmd_cpu"], THIRD, EACH,
            "CPU time of the kernel thread that scans for equal pages. 100 % is one core."),
        metrics.lines(
            "Copies", ["cow", "swpin_copy"], THIRD, "sum",
            "Merged pages that were copied again. A program that writes to a merged page waits for the copy. If there "
            "are many copies, merging does not last."),
        metrics.lines(
            "Exposure", ["exposure"], THIRD, EACH,
            "Memory that the host would need if all merged pages were written to."),
        metrics.lines(
            "Pages scanned", ["scanned", "skipped"], THIRD, "sum",
            "How fast memory is scanned. Pages that had no equal several times are skipped for a while."),
        metrics.lines(
            "Pages merged", ["merge_rate"], THIRD, "sum",
            "How fast equal pages are merged. Below 0, more pages are unmerged, or their programs exit."),
        metrics.lines(
            "Time for a full scan", ["scan_time", "scan_left"], THIRD, EACH,
            "Time for a scan of all mergeable memory, and time left of the current scan. A page is merged at its second "
            "visit at the earliest."),
        metrics.lines(
            "Full scans", ["full_scans"], THIRD, EACH,
            "How often all mergeable memory is scanned. A new page is merged after two scans at the earliest, so this "
            "also shows how soon it is merged."),
        metrics.lines(
            "Merged", ["merged"], THIRD, EACH,
            "Share of the tracked memory that is saved."),
        metrics.lines(
            "CPU time for each GiB saved", ["ksmd_cpu_per_gib"], THIRD, EACH,
            "CPU time of ksmd since boot, compared with the memory that is saved now."),
        metrics.lines(
            "Scans for each page saved", ["scanned_per_page"], THIRD, EACH,
            "Pages scanned since boot, for each page that is saved now."),
        metrics.lines(
            "Huge pages", ["anon_huge"], THIRD, EACH,
            "Memory in transparent huge pages. KSM splits a huge page to merge part of it. This can make programs "
            "slower."),
        metrics.lines(
            "Huge pages split", ["thp_split"], THIRD, EACH,
            "Huge pages that were split into small ones, by KSM or for any other reason."),
    ]


def states(metrics):
    """States of the pages."""
    return [
        metrics.lines(
            "Page states", ["shared", "sharing", "zero", "unshared", "volatile"], HALF, "sum",
            "All tracked memory by state. sharing and zero are saved, shared is kept for sharing, and "
            "unshared and volatile save nothing.", stacked=True),
        metrics.lines(
            "Sharing ratio", ["sharing_ratio"], QUARTER, EACH,
            "Average number of uses of a merged page. The higher it is, the more is saved with one page."),
        metrics.lines(
            "Kept several times", ["chains", "dups"], QUARTER, "sum",
            "Contents that are more frequent than the limit for one page (max_page_sharing), so KSM keeps several pages."),
    ]


def consumers(metric, more=""):
    """Return the selector of the METRIC "saved" or "real" of consumers."""
    return f'collectd_ksm_consumer_bytes{{type="{metric}",{HOSTS}{more}}}'


def top(labels):
    """Return the queries (saved, real) of the largest savings; series with the same LABELS are added up."""
    named = ',ksm_consumer!="unattributed"'
    saved = f"topk ({TOP}, sum by ({labels}) ({consumers('saved', named)}))"
    return saved, f"sum by ({labels}) ({consumers('real', named)}) and on ({labels}) {saved}"


def savings_by_consumer(_metrics):
    """Savings by consumer."""
    size = (HALF, 10)
    share = ("A consumer is a virtual machine, a container, a service or a program. The kernel does not report which "
             "processes share a page. So each consumer gets a part of the host's savings according to its number of merged "
             "pages, and the parts add up. other: consumers that are not shown by name. unattributed: the rest.")
    real = ("Memory that a consumer really uses (real), and memory that it would use in addition without merging "
            "(saved). RSS, which other tools show, counts a merged page in full for every user of it.")
    kind = f'label_replace({consumers("saved")}, "kind", "$1", "ksm_consumer", "([a-z]+).*")'
    at_hosts, together = top("instance, ksm_consumer"), top("ksm_consumer")
    return [
        graph("Saved, by kind", f"{share} {SEVERAL['sum']}", size, [target(f"sum by (kind) ({kind})", "{{kind}}")],
              "bytes", stacked=True),
        graph("Saved, by consumer", f"{share} Of several hosts: consumers of the same name together.", size,
              [target(f"sum by (ksm_consumer) ({consumers('saved')})", "{{ksm_consumer}}")], "bytes", stacked=True),
        table("Largest savings", f"The {TOP} consumers with the largest savings, now. {real}", size,
              {"ksm_consumer": "consumer", "instance": "host"},
              [("saved", at_hosts[0], "bytes", None), ("real", at_hosts[1], "bytes", None)], sort="saved"),
        bars("Saved and real", f"The {TOP} consumers with the largest savings, now. {real} Of several hosts: consumers of the same name together.",
             size, ("ksm_consumer", "consumer"), [("saved", together[0]), ("real", together[1])], "bytes"),
        graph("Owners", "How many owners have merged memory: each virtual machine and each container is one, and so is each "
              "user of services and programs. Owners whose memory is merged can find out by timing which pages they have in "
              f"common. ksm-explain --sharing shows how much that is. {SEVERAL[EACH]}", (FULL, 6),
              [target(f'{EACH} (collectd_ksm_gauge{{ksm="owners",{HOSTS}}})', "{{instance}}")], "short", "owners"),
    ]


def settings(metrics):
    """The settings."""
    return [
        metrics.rows(
            "Settings", ["run", "pages_to_scan", "sleep_millisecs", "use_zero_pages", "smart_scan",
                         "merge_across_nodes", "max_page_sharing", "stable_node_chains_prune_millisecs"], FULL,
            "Settings of each host's kernel, with the names in /sys/kernel/mm/ksm. ksmd scans pages_to_scan pages, then "
            "sleeps for sleep_millisecs. These two set how soon equal pages are found, and how much CPU time it costs."),
        metrics.rows(
            "Advisor", ["advisor_mode", "advisor_max_cpu", "advisor_target_scan_time", "advisor_min_pages_to_scan",
                        "advisor_max_pages_to_scan"], HALF,
            "Since Linux 6.8 the kernel can set pages_to_scan automatically, so that a full scan takes a given time."),
        metrics.lines(
            "Pages to scan", ["pages_to_scan", "advisor_min_pages_to_scan", "advisor_max_pages_to_scan"], HALF, EACH,
            "How many pages ksmd scans before it sleeps, and the limits of the advisor."),
    ]


ROWS = [("Overview", overview), ("Savings and cost", savings), ("Page states", states),
        ("Savings by consumer", savings_by_consumer), ("Settings", settings)]


def others(metrics, panels):
    """Return panels of the metrics that none of PANELS names, one of each group of common/metrics/metrics.def."""
    named = {name for panel in panels for query in panel["targets"] for name in SHOWN.findall(query["expr"])}
    groups = {}
    for name, metric in metrics.all.items():
        if name not in named:
            groups.setdefault(metric["chart"].partition(".")[2], []).append(name)
    return [metrics.lines(group, names, THIRD, EACH, "More of KSM's metrics.") for group, names in groups.items()]


def dashboard(metrics):
    """Return the dashboard."""
    rows = [(title, make(metrics)) for title, make in ROWS]
    more = others(metrics, [panel for _title, panels in rows for panel in panels])
    if more:
        rows.append(("More", more))
    return {
        "__inputs": [source_input("where collectd's metrics are")],
        "__requires": [{"type": "grafana", "id": "grafana", "name": "Grafana", "version": "9.5.0"},
                       {"type": "datasource", "id": "prometheus", "name": "Prometheus", "version": "1.0.0"}],
        "id": None, "uid": "collectd-ksm", "version": 1, "schemaVersion": 38,
        "title": "KSM: memory saved by merging equal pages",
        "description": "Savings, cost and risk of Kernel Samepage Merging, and savings by consumer: from collectd's plugin "
                       "ksm, through write_prometheus.",
        "tags": ["collectd", "ksm", "memory"], "editable": True, "graphTooltip": 1, "timezone": "browser",
        "time": {"from": "now-6h", "to": "now"}, "timepicker": {}, "refresh": "30s", "links": [],
        "annotations": {"list": []},
        "templating": {"list": [
            source_variable(),
            label_variable("host", "Host", "instance", 'collectd_ksm_vmpage_number{ksm="sharing"}')]},
        "panels": laid_out(rows),
    }


def main():
    """Write the dashboard, or compare it with the one there is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, required=True, help="where tests/metrics is")
    parser.add_argument("--check", action="store_true", help="write nothing")
    arguments = parser.parse_args()
    text = json.dumps(dashboard(Metrics(arguments.build.resolve())), indent=1, ensure_ascii=False) + "\n"
    if arguments.check:
        return 0 if DASHBOARD.read_text(encoding="utf-8") == text else 1
    DASHBOARD.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
