#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Makes the Grafana dashboard of collectd's figures, collectd/grafana-dashboard.json, out of the rows below.

    dashboard.py --build build              write it anew
    dashboard.py --build build --check      only say whether it is stale: exit status 1

What a figure is called in Prometheus, its unit and what it means come from common/figures.def, by way of the tool
build/tests/figures; a panel names its figures and says what they tell somebody who does not know KSM. A figure that no
panel names gets one at the end. Hosts are told apart by the label `instance`.
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
SHOWN = re.compile(r'\{ksm="(\w+)"')        # a figure in a query
TOP = 15                                    # consumers in the table and the bars

FULL, HALF, THIRD, QUARTER, SIXTH = (WIDTH // n for n in (1, 2, 3, 4, 6))

# Unit of common/figures.h: Grafana's unit, and what is written at the axis where that leaves it open.
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
# What a counter's growth a second in collectd is turned by: ms of CPU into percent, scans into scans a minute.
GROWTH = {"ns": " / 10", "scans": " * 60"}

STATES = ["stopped", "running", "unmerged"]
WORDS = {"run": STATES, "advisor_mode": ["none", "scan-time"], "merge_across_nodes": ["off", "on"],
         "use_zero_pages": ["off", "on"], "smart_scan": ["off", "on"]}

# How several hosts are put together, and what a description says of it.
EACH = "max by (instance)"
SEVERAL = {"sum": "Of several hosts: the sum.", "avg": "Of several hosts: the mean.",
           "max": "Of several hosts: the highest.", EACH: "A line a host."}


class Figures:
    """The figures by name, as build/tests/figures tells of them."""

    def __init__(self, build):
        with tempfile.TemporaryDirectory() as tree:
            fixtures.make_tree(build, "6.18", tree)
            self.all = {figure["name"]: figure for figure in fixtures.figures(build, tree)}

    def query(self, name, how):
        """Return the query of figure NAME, of several hosts put together by HOW."""
        figure = self.all[name]
        plugin, _, kind = figure["collectd"].removesuffix(f"-{name}").partition("/")
        if figure["kind"] != "counter":
            return f'{how} (collectd_{plugin}_{kind}{{{plugin}="{name}",{HOSTS}}})'
        series = f'collectd_{plugin}_{kind}_total{{{plugin}="{name}",{HOSTS}}}'
        return f"{how} (rate({series}[$__rate_interval])){GROWTH.get(figure['unit'], '')}"

    def unit(self, name):
        """Return Grafana's unit of figure NAME, and what is written at its axis."""
        unit, axis = UNITS[self.all[name]["unit"]]
        if self.all[name]["kind"] == "knob" and unit == "short":
            unit = "none"           # as it was set, not as 4.21 K
        return unit, f"{axis}/s" if axis == "pages" and self.all[name]["kind"] == "counter" else axis

    def negative(self, name):
        """Whether figure NAME may be below 0."""
        return "negative" in self.all[name]["unit"]

    def describe(self, text, names):
        """Return TEXT as the description of a panel with the figures NAMES, in Markdown."""
        return "\n".join([text, "", *(f"- **{name}**: {self.all[name]['help']}" for name in names)])

    def number(self, title, name, how, text, *steps):
        """Return a panel with the number of figure NAME."""
        return stat(title, self.describe(f"{text} {SEVERAL[how]}", [name]), (SIXTH, 4),
                    target(self.query(name, how), instant=True), self.unit(name)[0],
                    thresholds(*steps or [(None, "blue")]))

    def lines(self, title, names, width, how, text, stacked=False):
        """Return a graph of the figures NAMES, which are of one unit."""
        unit, axis = self.unit(names[0])
        targets = []
        for name in names:
            host = "{{instance}}" if len(names) == 1 else f"{{{{instance}}}} {name}"
            targets.append(target(self.query(name, how), host if how == EACH else name))
        return graph(title, self.describe(f"{text} {SEVERAL[how]}", names), (width, 8), targets, unit, axis, stacked,
                     any(map(self.negative, names)))

    def rows(self, title, names, width, text, headings=None):
        """Return a table with a row a host and a column a figure of NAMES."""
        columns = [((headings or {}).get(name, name), self.query(name, EACH), self.unit(name)[0], WORDS.get(name))
                   for name in names]
        return table(title, self.describe(text, names), (width, 7), {"instance": "host"}, columns)


# The rows of the dashboard.

def overview(figures):
    """How it goes, now."""
    state = f'count_values ("state", {figures.query("run", EACH)})'
    for number, word in enumerate(STATES):
        state = f'label_replace({state}, "state", "{word}", "state", "{number}")'
    return [
        figures.number(
            "Saved", "saved", "sum",
            "Memory that programs and virtual machines would take in addition if Linux did not merge equal pages."),
        figures.number(
            "Share of RAM", "ram", "avg", "How much that is of the host's memory."),
        figures.number(
            "Net", "net", "avg",
            "What remains of that after the kernel's own records of the pages it watches. Below 0 merging costs more "
            "memory than it saves.", (None, "red"), (0, "green")),
        figures.number(
            "CPU", "ksmd_cpu", "max", "What the search for equal pages costs, in percent of one core."),
        figures.number(
            "Exposure", "exposure", "max",
            "A merged page that is written to becomes a page of its own again. If that happened to all of them, how "
            "much would it take of the memory and swap that are free? Above 100 % the host could not give it.",
            (None, "green"), (75, "orange"), (100, "red")),
        stat(
            "State", figures.describe("How many hosts look for equal pages, and how many do not.", ["run"]), (SIXTH, 4),
            target(state, "{{state}}", instant=True), "none", thresholds((None, "blue")), named=True),
        figures.rows(
            "Hosts", ["run", "saved", "profit", "ram", "net", "exposure", "ksmd_cpu", "merged", "sharing_ratio"], FULL,
            "Each host, now. What its kernel does not tell is left empty.", {"run": "state"}),
    ]


def savings(figures):
    """What it gives, and what it takes."""
    return [
        figures.lines(
            "Savings", ["saved", "profit", "overhead", "gain"], HALF, "sum",
            "What merging saves, what the kernel's records take of it (overhead), and what remains (profit)."),
        figures.lines(
            "Share of RAM", ["ram", "net"], HALF, EACH,
            "What is saved as a share of the host's memory, before and after the kernel's records."),
        figures.lines(
            "CPU", ["ksmd_cpu"], THIRD, EACH,
            "Time of the kernel thread that looks for equal pages; 100 % is one whole core."),
        figures.lines(
            "Copies", ["cow", "swpin_copy"], THIRD, "sum",
            "Merged pages that had to be copied again. Whoever writes to one waits for that: where many are, what is "
            "merged does not last."),
        figures.lines(
            "Exposure", ["exposure"], THIRD, EACH,
            "What the host would have to find if all that is merged were written to."),
        figures.lines(
            "Pages looked at", ["scanned", "skipped"], THIRD, "sum",
            "How fast memory is searched. Pages that had no equal a few times are skipped for a while."),
        figures.lines(
            "Pages merged", ["merge_rate"], THIRD, "sum",
            "How fast equal pages are merged. Below 0 more come apart again, or their programs end."),
        figures.lines(
            "Time of a full scan", ["scan_time", "scan_left"], THIRD, EACH,
            "How long all memory that takes part takes to scan, and how long the running scan still takes. A page is "
            "merged at its second visit at the earliest."),
        figures.lines(
            "Full scans", ["full_scans"], THIRD, EACH,
            "How often all memory that takes part is gone through. A new page is merged only after it was seen "
            "unchanged, so that this is also how soon."),
        figures.lines(
            "Merged", ["merged"], THIRD, EACH,
            "How much of the memory that takes part is saved."),
        figures.lines(
            "CPU time for what is saved", ["ksmd_cpu_per_gib"], THIRD, EACH,
            "What the memory that is saved now has cost since the host was started."),
        figures.lines(
            "Scans for what is saved", ["scanned_per_page"], THIRD, EACH,
            "How many pages were scanned since the host was started, for each page that is saved now."),
        figures.lines(
            "Huge pages", ["anon_huge"], THIRD, EACH,
            "Memory in transparent huge pages. KSM splits them to merge parts of them: what is saved may make programs "
            "slower."),
        figures.lines(
            "Huge pages split", ["thp_split"], THIRD, EACH,
            "Huge pages that were split into small ones, by KSM or for any other reason."),
    ]


def states(figures):
    """What became of the pages."""
    return [
        figures.lines(
            "Page states", ["shared", "sharing", "zero", "unshared", "volatile"], HALF, "sum",
            "All memory that takes part, by what became of it: sharing and zero are saved, shared is kept for sharing, "
            "unshared and volatile gave nothing.", stacked=True),
        figures.lines(
            "Sharing ratio", ["sharing_ratio"], QUARTER, EACH,
            "For how many pages one kept page stands: the more, the more is saved, and the more hangs on one page."),
        figures.lines(
            "Kept several times", ["chains", "dups"], QUARTER, "sum",
            "Contents that occur more often than one page may stand for, and are kept in several."),
    ]


def consumers(figure, more=""):
    """Return the selector of the FIGURE "saved" or "real" of consumers."""
    return f'collectd_ksm_consumer_bytes{{type="{figure}",{HOSTS}{more}}}'


def top(labels):
    """Return the queries (saved, real) of those who save most; what has the same LABELS is put together."""
    named = ',ksm_consumer!="unattributed"'
    saved = f"topk ({TOP}, sum by ({labels}) ({consumers('saved', named)}))"
    return saved, f"sum by ({labels}) ({consumers('real', named)}) and on ({labels}) {saved}"


def who(_figures):
    """Who it is that saves."""
    size = (HALF, 10)
    share = ("A consumer is a virtual machine, a container, a service or a program. The kernel does not tell who "
             "shares a page with whom: each is given a part of what the host saves by the number of its merged pages, "
             "and the parts add up. other: those who are not shown by name; unattributed: what belongs to nobody known.")
    real = ("What a consumer really takes (real), and what it would take in addition without merging (saved). RSS, "
            "which other tools show, counts a merged page in full for everybody who uses it.")
    kind = f'label_replace({consumers("saved")}, "kind", "$1", "ksm_consumer", "([a-z]+).*")'
    at_hosts, together = top("instance, ksm_consumer"), top("ksm_consumer")
    return [
        graph("Saved, by kind", f"{share} {SEVERAL['sum']}", size, [target(f"sum by (kind) ({kind})", "{{kind}}")],
              "bytes", stacked=True),
        graph("Saved, by consumer", f"{share} Of several hosts: those of one name together.", size,
              [target(f"sum by (ksm_consumer) ({consumers('saved')})", "{{ksm_consumer}}")], "bytes", stacked=True),
        table("Who saves most", f"The {TOP} that save most, now. {real}", size,
              {"ksm_consumer": "consumer", "instance": "host"},
              [("saved", at_hosts[0], "bytes", None), ("real", at_hosts[1], "bytes", None)], sort="saved"),
        bars("Saved and real", f"The {TOP} that save most, now. {real} Of several hosts: those of one name together.",
             size, ("ksm_consumer", "consumer"), [("saved", together[0]), ("real", together[1])], "bytes"),
    ]


def settings(figures):
    """The knobs."""
    return [
        figures.rows(
            "Settings", ["run", "pages_to_scan", "sleep_millisecs", "use_zero_pages", "smart_scan",
                         "merge_across_nodes", "max_page_sharing", "stable_node_chains_prune_millisecs"], FULL,
            "How each host's kernel is set, by the names in /sys/kernel/mm/ksm. It looks at pages_to_scan pages, then "
            "sleeps for sleep_millisecs: these two say how soon equal pages are found, and how much CPU that takes."),
        figures.rows(
            "Advisor", ["advisor_mode", "advisor_max_cpu", "advisor_target_scan_time", "advisor_min_pages_to_scan",
                        "advisor_max_pages_to_scan"], HALF,
            "From Linux 6.8 the kernel can set pages_to_scan by itself, so that a full scan takes a given time."),
        figures.lines(
            "Pages to scan", ["pages_to_scan", "advisor_min_pages_to_scan", "advisor_max_pages_to_scan"], HALF, EACH,
            "How many pages are looked at before the next sleep, and the limits within which the advisor chooses."),
    ]


ROWS = [("Overview", overview), ("Savings against cost", savings), ("Page states", states),
        ("Consumers: who saves", who), ("Settings", settings)]


def others(figures, panels):
    """Return panels of the figures that none of PANELS names, one of each group of common/figures.def."""
    named = {name for one in panels for query in one["targets"] for name in SHOWN.findall(query["expr"])}
    groups = {}
    for name, figure in figures.all.items():
        if name not in named:
            groups.setdefault(figure["chart"].partition(".")[2], []).append(name)
    return [figures.lines(group, names, THIRD, EACH, "More of KSM's figures.") for group, names in groups.items()]


def dashboard(figures):
    """Return the dashboard."""
    rows = [(title, make(figures)) for title, make in ROWS]
    more = others(figures, [one for _title, panels in rows for one in panels])
    if more:
        rows.append(("More", more))
    return {
        "__inputs": [source_input("where collectd's figures are")],
        "__requires": [{"type": "grafana", "id": "grafana", "name": "Grafana", "version": "9.5.0"},
                       {"type": "datasource", "id": "prometheus", "name": "Prometheus", "version": "1.0.0"}],
        "id": None, "uid": "collectd-ksm", "version": 1, "schemaVersion": 38,
        "title": "KSM: memory saved by merging equal pages",
        "description": "What Kernel Samepage Merging saves, what that costs, what is at risk, and who it is that "
                       "saves: from collectd's plugin ksm, by way of write_prometheus.",
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
    parser.add_argument("--build", type=Path, required=True, help="where tests/figures is")
    parser.add_argument("--check", action="store_true", help="write nothing")
    arguments = parser.parse_args()
    text = json.dumps(dashboard(Figures(arguments.build.resolve())), indent=1, ensure_ascii=False) + "\n"
    if arguments.check:
        return 0 if DASHBOARD.read_text(encoding="utf-8") == text else 1
    DASHBOARD.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
