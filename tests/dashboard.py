#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Makes the Grafana dashboard of collectd's figures, collectd/grafana-dashboard.json, out of the tables below.

    dashboard.py --build build              write it anew
    dashboard.py --build build --check      only say whether it is stale: exit status 1

What a figure is called in Prometheus, its unit and its description come from common/metrics.def, by way of the tool
build/tests/figures. A row here is a panel: its title, the figures in it, and what it says to somebody who does not
know KSM. Everything is selected by the label `instance`: the target's address, or the host's name with honor_labels.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import golden

DASHBOARD = Path(__file__).resolve().parents[1] / "collectd/grafana-dashboard.json"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
HOSTS = 'instance=~"$host"'
SHOWN = re.compile(r'\{ksm="(\w+)"')         # a figure in a query
CONSUMER = "collectd_ksm_consumer_bytes"
WIDTH = 24          # of Grafana's grid
TOP = 15            # consumers in the table and the bars

# unit of metrics.h: Grafana's unit, and what stands at the axis where that does not say it
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
    "flag": ("none", ""),
    "state": ("none", ""),
}
# What a counter's growth a second in collectd is turned into: ms of CPU into percent, scans into scans a minute.
GROWTH = {"ns": " / 10", "scans": " * 60"}

STATES = ["stopped", "running", "unmerged"]
WORDS = {"run": STATES, "advisor_mode": ["none", "scan-time"],
         **dict.fromkeys(["merge_across_nodes", "use_zero_pages", "smart_scan"], ["off", "on"])}

SUM = "With several hosts: their sum."
EACH = "A line a host."


class Figures:
    """The figures by name, as build/tests/figures tells of them."""

    def __init__(self, build):
        with tempfile.TemporaryDirectory() as tree:
            golden.make_tree(build, "6.18", tree)
            printed = subprocess.run([build / "tests/figures", "json", "--root", tree], check=True, stdout=subprocess.PIPE)
        self.all = {figure["name"]: figure for figure in json.loads(printed.stdout)}

    def expression(self, name, how):
        """Return the query of figure NAME, of several hosts put together as HOW: sum, avg, max, max by (instance)."""
        figure = self.all[name]
        plugin, _, kind = figure["collectd"].removesuffix(f"-{name}").partition("/")
        if figure["kind"] != "counter":
            return f'{how} (collectd_{plugin}_{kind}{{{plugin}="{name}",{HOSTS}}})'
        series = f'collectd_{plugin}_{kind}_total{{{plugin}="{name}",{HOSTS}}}'
        return f"{how} (rate({series}[$__rate_interval])){GROWTH.get(figure['unit'], '')}"

    def unit(self, name):
        """Return Grafana's unit of figure NAME, and its axis."""
        unit, axis = UNITS[self.all[name]["unit"]]
        if self.all[name]["kind"] == "knob" and unit == "short":
            unit = "none"           # as it was set, not cut to 4.21 K
        return unit, f"{axis}/s" if axis == "pages" and self.all[name]["kind"] == "counter" else axis

    def negative(self, name):
        """Whether figure NAME may be below 0."""
        return "negative" in self.all[name]["unit"]

    def describe(self, text, names):
        """Return the description TEXT of a panel with the figures NAMES, in Markdown."""
        return "\n".join([text, "", *(f"- **{name}**: {self.all[name]['help']}" for name in names)])


# Panels, without their places and numbers.

def target(expr, legend="", instant=False, table=False):
    """Return a query."""
    return {"datasource": SOURCE, "expr": expr, "legendFormat": legend, "instant": instant, "range": not instant,
            "format": "table" if table else "time_series", "editorMode": "code"}


def panel(kind, title, description, targets, size, defaults=None, options=None, **more):
    """Return a panel of KIND with the size (width, height)."""
    for i, one in enumerate(targets):
        one["refId"] = chr(ord("A") + i)
    field = {"color": {"mode": "palette-classic"}, **(defaults or {})}
    return {"type": kind, "title": title, "description": description, "datasource": SOURCE, "targets": targets,
            "gridPos": {"w": size[0], "h": size[1]}, "fieldConfig": {"defaults": field, "overrides": []},
            "options": options or {}, **more}


def words(names):
    """Return the mapping of the numbers 0, 1, … to the words NAMES."""
    return [{"type": "value", "options": {str(i): {"index": i, "text": name} for i, name in enumerate(names)}}]


def steps(*rows):
    """Return thresholds of ROWS, (from, colour)."""
    return {"mode": "absolute", "steps": [{"value": value, "color": color} for value, color in rows]}


def stat(title, description, expr, unit, thresholds=None, legend="", text="auto"):
    """Return a panel with the number of now."""
    defaults = {"unit": unit, "color": {"mode": "thresholds"}, "thresholds": thresholds or steps((None, "blue"))}
    options = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "graphMode": "none",
               "colorMode": "value", "justifyMode": "auto", "orientation": "auto", "textMode": text}
    return panel("stat", title, description, [target(expr, legend, instant=True)], (WIDTH // 6, 4), defaults, options)


def graph(title, description, targets, size, unit, axis="", stacked=False, negative=False):
    """Return a panel with lines over time, or with areas that add up."""
    custom = {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 60 if stacked else 10, "showPoints": "auto",
              "spanNulls": False, "axisLabel": axis, "stacking": {"mode": "normal" if stacked else "none", "group": "A"}}
    defaults = {"unit": unit, "custom": custom, **({} if negative else {"min": 0})}
    options = {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
               "tooltip": {"mode": "multi", "sort": "none" if stacked else "desc"}}
    return panel("timeseries", title, description, targets, size, defaults, options)


def drawn(figures, title, names, size, text, each=False, stacked=False):
    """Return a graph of the figures NAMES (one unit), added up over the hosts, or of EACH host."""
    unit, axis = figures.unit(names[0])
    legend = "{{instance}}" if len(names) == 1 else "{{instance}} %s"
    targets = [target(figures.expression(name, "max by (instance)" if each else "sum"),
                      legend.replace("%s", name) if each else name) for name in names]
    return graph(title, figures.describe(f"{text} {EACH if each else SUM}", names), targets, size, unit, axis, stacked,
                 any(map(figures.negative, names)))


def merged(headings):
    """Return what makes one table of several queries' answers, its columns {name: heading} in this order."""
    return [{"id": "merge", "options": {}},
            {"id": "organize", "options": {"excludeByName": {"Time": True}, "renameByName": headings,
                                           "indexByName": {name: i for i, name in enumerate(headings)}}}]


def table(title, description, columns, size, labels, sort=None):
    """Return a table of now: LABELS {label: heading} first, then COLUMNS [(heading, query, unit, words or None)]."""
    headings = {f"Value #{chr(ord('A') + i)}": column[0] for i, column in enumerate(columns)}
    made = panel("table", title, description,
                 [target(column[1], instant=True, table=True) for column in columns], size,
                 {"color": {"mode": "thresholds"}, "thresholds": steps((None, "text")), "custom": {"align": "auto"}},
                 {"showHeader": True, "sortBy": [{"displayName": sort, "desc": True}] if sort else []})
    made["transformations"] = merged({**labels, **headings})
    for heading, _query, unit, mapped in columns:
        properties = [{"id": "unit", "value": unit}]
        if mapped:
            properties.append({"id": "mappings", "value": words(mapped)})
        made["fieldConfig"]["overrides"].append({"matcher": {"id": "byName", "options": heading},
                                                 "properties": properties})
    return made


def listed(figures, title, names, size, text, headings=None):
    """Return a table with a row a host and a column each of the figures NAMES."""
    columns = [((headings or {}).get(name, name), figures.expression(name, "max by (instance)"), figures.unit(name)[0],
                WORDS.get(name)) for name in names]
    return table(title, figures.describe(text, names), columns, size, {"instance": "host"})


def consumers(figure, more=""):
    """Return the selector of the FIGURE "saved" or "real" of consumers."""
    return f'{CONSUMER}{{type="{figure}",{HOSTS}{more}}}'


def kinds():
    """Return the query of the savings by kind of consumer."""
    return f'sum by (kind) (label_replace({consumers("saved")}, "kind", "$1", "ksm_consumer", "([a-z]+).*"))'


def top(by):
    """Return the queries of what those who save most save and really take, put together by the labels BY."""
    named = ',ksm_consumer!="unattributed"'
    saved = f"topk ({TOP}, sum by ({by}) ({consumers('saved', named)}))"
    return saved, f"sum by ({by}) ({consumers('real', named)}) and on ({by}) {saved}"


def bars(title, description, targets, size):
    """Return bars, one a consumer, that add up."""
    options = {"orientation": "horizontal", "stacking": "normal", "xField": "consumer", "showValue": "auto",
               "barWidth": 0.8, "groupWidth": 0.8, "xTickLabelRotation": 0,
               "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
               "tooltip": {"mode": "multi", "sort": "none"}}
    made = panel("barchart", title, description, targets, size,
                 {"unit": "bytes", "min": 0, "custom": {"fillOpacity": 80, "lineWidth": 0}}, options)
    made["transformations"] = merged({"ksm_consumer": "consumer", "Value #B": "real", "Value #A": "saved"})
    return made


# The rows.

def overview(figures):
    """How it goes, now."""
    def number(title, name, how, text, thresholds=None):
        return stat(title, figures.describe(text, [name]), figures.expression(name, how), figures.unit(name)[0], thresholds)

    state = f'count_values ("state", {figures.expression("run", "max by (instance)")})'
    for i, word in enumerate(STATES):
        state = f'label_replace({state}, "state", "{word}", "state", "{i}")'
    return [
        number("Saved", "saved", "sum", f"Memory that programs and virtual machines would take in addition if Linux did "
               f"not merge their equal pages. {SUM}"),
        number("Share of RAM", "ram", "avg", "How much of the host's memory that is. With several hosts: the mean."),
        number("Net", "net", "avg", "What remains of it after what the kernel needs to keep its books. Below 0 merging "
               "costs more memory than it saves. With several hosts: the mean.", steps((None, "red"), (0, "green"))),
        number("CPU", "ksmd_cpu", "max", "What the search for equal pages costs: percent of one core. With several hosts: "
               "the busiest."),
        number("Exposure", "exposure", "max", "Merged pages that are written to become own pages again. If that happened "
               "to all at once, how much of the memory and swap that are free would it take? Above 100 % the host could "
               "not give it. With several hosts: the one most at risk.",
               steps((None, "green"), (75, "orange"), (100, "red"))),
        stat("State", figures.describe("How many hosts look for equal pages, and how many do not.", ["run"]), state, "none",
             legend="{{state}}", text="value_and_name"),
        listed(figures, "Hosts", ["run", "saved", "profit", "ram", "net", "exposure", "ksmd_cpu", "merged", "sharing_ratio"],
               (WIDTH, 7), "Each host, now. A figure that its kernel does not have is left empty.", {"run": "state"}),
    ]


def savings(figures):
    """What it gives, and what it takes."""
    half, third = (WIDTH // 2, 8), (WIDTH // 3, 8)
    return [
        drawn(figures, "Savings", ["saved", "profit", "overhead", "gain"], half,
              "What merging saves (saved), what the kernel needs for its records (overhead), and what remains (profit)."),
        drawn(figures, "Share of RAM", ["ram", "net"], half, "The saving as a share of the host's memory, before and after "
              "what it costs in memory.", each=True),
        drawn(figures, "CPU", ["ksmd_cpu"], third, "Time of the kernel thread that looks for equal pages; 100 % is one "
              "whole core.", each=True),
        drawn(figures, "Copies", ["cow", "swpin_copy"], third, "Pages that were merged and had to be copied again. Whoever "
              "writes pays for that with a little waiting: a high rate means that what is merged does not last."),
        drawn(figures, "Exposure", ["exposure"], third, "What the host would have to find if all that is merged were written "
              "to: above 100 % it does not have that.", each=True),
        drawn(figures, "Pages looked at", ["scanned", "skipped"], third, "How fast memory is searched. Pages that were "
              "without an equal several times are skipped for a while."),
        drawn(figures, "Full scans", ["full_scans"], third, "How often all registered memory was gone through. A page must be "
              "seen in two of them, unchanged, before it is merged.", each=True),
        drawn(figures, "Merged", ["merged"], third, "Of the memory that takes part, how much is saved.", each=True),
    ]


def pages(figures):
    """The states of pages."""
    return [
        drawn(figures, "Page states", ["shared", "sharing", "zero", "unshared", "volatile"], (WIDTH // 2, 9),
              "All memory that takes part, by what became of it. Sharing and zero are saved; shared is what is kept for "
              "them; unshared and volatile gave nothing.", stacked=True),
        drawn(figures, "Sharing ratio", ["sharing_ratio"], (WIDTH // 4, 9), "How many pages one kept page stands for: the "
              "more, the better it works, and the more hangs on that one page.", each=True),
        drawn(figures, "Kept several times", ["chains", "dups"], (WIDTH // 4, 9), "Contents with so many uses that one page "
              "may not stand for all: they are kept in more than one. Few, as a rule."),
    ]


def who(_figures):
    """Who saves."""
    half = (WIDTH // 2, 10)
    share = ("A consumer is a virtual machine, a container, a service or a program. The kernel does not say who shares a "
             "page with whom, so each is given its part of the host's saving by the number of its merged pages; the parts add "
             "up to saved. `other`: those that are not shown by name; `unattributed`: what cannot be told of anybody.")
    rss = ("What a consumer really takes (real), beside what it is spared (saved). Other tools show RSS, which counts a "
           "merged page in full for everybody who uses it.")
    saved, real = top("ksm_consumer")
    saved_at, real_at = top("instance, ksm_consumer")
    return [
        graph("Saved, by kind", f"{share} {SUM}", [target(kinds(), "{{kind}}")], half, "bytes", stacked=True),
        graph("Saved, by consumer", f"{share} With several hosts: those of one name together.",
              [target(f"sum by (ksm_consumer) ({consumers('saved')})", "{{ksm_consumer}}")], half, "bytes", stacked=True),
        table("Who saves most", f"The {TOP} that save most, now. {rss}",
              [("saved", saved_at, "bytes", None), ("real", real_at, "bytes", None)], half,
              {"ksm_consumer": "consumer", "instance": "host"}, sort="saved"),
        bars("Real and saved", f"The {TOP} that save most, now. {rss} With several hosts: those of one name together.",
             [target(saved, instant=True, table=True), target(real, instant=True, table=True)], half),
    ]


def settings(figures):
    """The knobs."""
    advisor = ["advisor_mode", "advisor_max_cpu", "advisor_target_scan_time", "advisor_min_pages_to_scan",
               "advisor_max_pages_to_scan"]
    return [
        listed(figures, "Settings", ["run", "pages_to_scan", "sleep_millisecs", "use_zero_pages", "smart_scan",
                                     "merge_across_nodes", "max_page_sharing", "stable_node_chains_prune_millisecs"],
               (WIDTH, 7), "KSM's settings by their names in /sys/kernel/mm/ksm, now. ksmd looks at pages_to_scan pages, then "
               "sleeps for sleep_millisecs: the two say how fast it finds equal pages and how much CPU it takes."),
        listed(figures, "Advisor", advisor, (WIDTH // 2, 8), "Settings of the kernel's advisor, which changes pages_to_scan "
               "by itself so that a full scan takes the time that is wanted. Linux 6.8 and later."),
        drawn(figures, "Pages to scan", ["pages_to_scan", "advisor_min_pages_to_scan", "advisor_max_pages_to_scan"],
              (WIDTH // 2, 8), "How many pages ksmd looks at before it sleeps, and between which limits the advisor may set "
              "it.", each=True),
    ]


def others(figures, panels):
    """Return panels of the figures that none of PANELS names: of each group of common/metrics.def one."""
    named = {name for one in panels for query in one["targets"] for name in SHOWN.findall(query["expr"])}
    groups = {}
    for name, figure in figures.all.items():
        if name not in named:
            groups.setdefault(figure["chart"], []).append(name)
    return [drawn(figures, group, names, (WIDTH // 3, 8), "Further figures.", each=True) for group, names in groups.items()]


ROWS = [("Overview", overview), ("Savings against cost", savings), ("Page states", pages), ("Consumers: who saves", who),
        ("Settings", settings)]


def laid_out(figures):
    """Return the panels of all rows with their places and numbers."""
    rows = [(title, make(figures)) for title, make in ROWS]
    more = others(figures, [one for _title, row in rows for one in row])
    if more:
        rows.append(("More", more))
    panels, y = [], 0
    for title, row in rows:
        panels.append({"type": "row", "title": title, "collapsed": False, "panels": [],
                       "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1}})
        x, y, height = 0, y + 1, 0
        for one in row:
            place = one["gridPos"]
            if x + place["w"] > WIDTH:
                x, y = 0, y + height
            place.update(x=x, y=y)
            x, height = x + place["w"], place["h"]
            panels.append(one)
        y += height
    for number, one in enumerate(panels, 1):
        one["id"] = number
    return panels


def variables():
    """Return the dashboard's variables: where from, and which hosts."""
    names = 'label_values(collectd_ksm_vmpage_number{ksm="sharing"}, instance)'
    everyone = {"selected": True, "text": ["All"], "value": ["$__all"]}
    return [
        {"type": "datasource", "name": "datasource", "label": "Prometheus", "query": "prometheus", "regex": "", "hide": 0,
         "refresh": 1, "multi": False, "includeAll": False, "options": [],
         "current": {"selected": False, "text": "${DS_PROMETHEUS}", "value": "${DS_PROMETHEUS}"}},
        {"type": "query", "name": "host", "label": "Host", "datasource": SOURCE, "definition": names,
         "query": {"query": names, "refId": "host"}, "refresh": 2, "sort": 1, "regex": "", "hide": 0, "multi": True,
         "includeAll": True, "allValue": ".*", "options": [], "current": everyone},
    ]


def dashboard(figures):
    """Return the dashboard."""
    return {
        "__inputs": [{"name": "DS_PROMETHEUS", "label": "Prometheus", "type": "datasource", "pluginId": "prometheus",
                      "pluginName": "Prometheus", "description": "where collectd's figures are"}],
        "__requires": [{"type": "grafana", "id": "grafana", "name": "Grafana", "version": "9.5.0"},
                       {"type": "datasource", "id": "prometheus", "name": "Prometheus", "version": "1.0.0"}],
        "id": None, "uid": "collectd-ksm", "version": 1, "schemaVersion": 38,
        "title": "KSM: memory saved by merging equal pages",
        "description": "What Kernel Samepage Merging saves, what that costs, what is at risk, and who it is that saves: from "
                       "collectd's plugin ksm, by way of write_prometheus.",
        "tags": ["collectd", "ksm", "memory"], "editable": True, "graphTooltip": 1, "timezone": "browser",
        "time": {"from": "now-6h", "to": "now"}, "refresh": "30s", "timepicker": {}, "annotations": {"list": []}, "links": [],
        "templating": {"list": variables()}, "panels": laid_out(figures),
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
