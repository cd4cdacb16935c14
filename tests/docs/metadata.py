#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Writes netdata/metadata.yaml, from which Netdata makes a plugin's page, and netdata/taxonomy.yaml, the place of its
charts on a dashboard, from what ksm.plugin itself sends:

    metadata.py --build build              renew them
    metadata.py --build build --check      only report whether one is stale: exit status 1

Charts and the table's columns are those of one run on a fixture; alerts are in health.d/ksm.conf, options in
common/options.def.  The texts below exist only here.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

import fixtures
from sampling import Plugin

REPOSITORY = Path(__file__).resolve().parents[2]
HEALTH = REPOSITORY / "netdata/health.d/ksm.conf"
TABLE = "ksm:consumers"
UPSTREAM = "https://github.com/netdata/netdata/blob/master/src/health/health.d/ksm.conf"
NAMES = {"plugin_name": "ksm.plugin", "module_name": "ksm"}
TITLE = "Kernel Samepage Merging"


def folding(title=""):
    """Return that a part of the page is not folded."""
    return {"title": title, "enabled": False}


def agent(build, era, *arguments):
    """Return what an agent knows of ksm.plugin, started with ARGUMENTS on the fixture ERA, including its table."""
    with tempfile.TemporaryDirectory() as tree:
        fixtures.make_tree(build, era, tree)
        with Plugin(build / "ksm.plugin", f"--root={tree}", "--consumers-interval=1", *arguments) as plugin:
            plugin.wait(lambda: plugin.agent.samples or arguments and plugin.ticks, 20, "metrics")
            os.write(plugin.process.stdin.fileno(), f'FUNCTION a 10 "{TABLE}" "0x13" "metadata"\n'.encode())
            plugin.wait(lambda: plugin.agent.host.answers, 10, "the table")
            return plugin.agent.host


def scopes(*agents):
    """Return the scopes of metrics: the contexts of the host and those that a consumer has, as AGENTS know them."""
    contexts = {False: {}, True: {}}
    charts = [(line["priority"], chart, line, host) for host in agents for chart, line in host.charts.items()]
    for _priority, chart, line, host in sorted(charts, key=lambda row: row[:2]):
        contexts[bool(host.labels[chart])].setdefault(line["context"], {
            "name": line["context"], "description": line["title"], "unit": line["units"], "chart_type": line["type"],
            "dimensions": [{"name": name} for parent, name in host.dimensions if parent == chart]})
    return [
        {"name": "global", "description": "Metrics of the whole host. A metric that the kernel lacks has no dimension.",
         "labels": [], "metrics": list(contexts[False].values())},
        {"name": "consumer", "description": "A virtual machine, a container, a service or a program.",
         "labels": [{"name": "kind", "description": "vm, container, service, program, or other for all others together"},
                    {"name": "name", "description": "The consumer's name"}],
         "metrics": list(contexts[True].values())}]


def alerts():
    """Return the alerts that can fire."""
    found = []
    for block in HEALTH.read_text().replace("\\\n", " ").split("\n\n"):
        lines = dict(re.findall(r"^ *(\w+): +(.*)$", block, re.MULTILINE))
        if "warn" in lines:
            found.append({"name": lines["template"], "link": UPSTREAM, "metric": lines["on"],
                          "info": " ".join(lines["info"].split()), "os": lines["os"]})
    return found


def options(build):
    """Return the options of the command line."""
    table = subprocess.run([build / "tests/metrics", "options"], check=True, stdout=subprocess.PIPE, text=True).stdout
    rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return [{"name": name, "description": f"{text[0].upper()}{text[1:]} ({allowed}).", "default_value": default,
             "required": False} for _key, name, allowed, default, text in rows]


def function(host):
    """Return the table's description."""
    _timeout, text, *_rest = host.functions[TABLE]
    columns = json.loads(host.answers[0][-1])["columns"]
    return {
        "description": "A table on demand.",
        "list": [{
            "id": TABLE, "name": "KSM consumers", "description": f"{text}.", "parameters": [],
            "returns": {"description": "A row for each consumer, and one for savings that are not attributed.", "columns": [
                {"name": column["name"], "type": column["type"], "unit": column.get("units", ""),
                 **({} if column["visible"] else {"visibility": "hidden"})} for column in columns.values()]},
            "performance": "Answered from the last sample. A request opens and reads no file.",
            "security": "Shows names of machines, containers, services and programs. By default only members of the "
                        "space that may see sensitive data may request it: `--function-access`.",
            "availability": "Requires Linux 5.19.", "require_cloud": False}]}


def metadata(build, host, consumers):
    """Return metadata.yaml as a dictionary."""
    return {"plugin_name": "ksm.plugin", "modules": [{
        "meta": {
            **NAMES,
            "monitored_instance": {
                "name": TITLE, "link": "https://docs.kernel.org/admin-guide/mm/ksm.html",
                "description": "Savings, cost and risk of Kernel Samepage Merging on a Linux host, and the savings of "
                               "virtual machines, containers, services and programs.",
                "categories": ["data-collection.linux-systems.memory-metrics"], "icon_filename": "linuxserver.svg"},
            "keywords": ["ksm", "ksmd", "samepage merging", "memory", "virtual machines", "deduplication"],
            "related_resources": {"integrations": {"list": [
                {"plugin_name": "proc.plugin", "module_name": "/sys/kernel/mm/ksm"}]}},
            "info_provided_to_referring_integrations": {"description": ""}},
        "overview": {
            "data_collection": {
                "metrics_description": "Memory saved by merging equal pages, its share of the host's memory, the cost in "
                                       "CPU time and in memory for tracked pages, the memory needed to undo all merging, "
                                       "and the savings by consumer.",
                "method_description": "It reads `/sys/kernel/mm/ksm`, `/proc/vmstat`, `/proc/meminfo` and the CPU time of "
                                      "`ksmd` every second, and `/proc/PID/ksm_stat` every ten seconds."},
            "supported_platforms": {"include": ["Linux"], "exclude": []},
            "multi_instance": False,
            "additional_permissions": {
                "description": "Savings by consumer require `CAP_DAC_READ_SEARCH`, which is set on the plugin's file. "
                               "At its start, the plugin gives up all other rights."},
            "default_behavior": {
                "auto_detection": {"description": "It runs if the kernel has KSM, switched on or off."},
                "limits": {"description": "The 20 consumers with the largest savings have charts. All others together are `other`."},
                "performance_impact": {"description": "About 0.2 ms of CPU time a second, and 0.4 % of a core with 10,000 "
                                                      "processes of which 1,000 merge."}}},
        "setup": {
            "prerequisites": {"list": []},
            "configuration": {
                "file": {"name": "netdata.conf", "section_name": "[plugin:ksm]"},
                "options": {"description": "Write them into `command options`.", "folding": folding(),
                            "list": options(build)},
                "examples": {"folding": folding(), "list": [
                    {"name": "More consumers, no settings", "description": "Charts of 50 consumers, and no charts of KSM's "
                     "settings.", "config": "[plugin:ksm]\n    command options = --consumers=50 --settings=no\n"}]}}},
        "troubleshooting": {"problems": {"list": [
            {"name": "All metrics are 0", "description": "KSM is switched off, or no program has opted in. "
             "`ksm-explain` reports which."}]}},
        "alerts": alerts(),
        "metrics": {"folding": folding("Metrics"), "description": "", "availability": [],
                    "scopes": scopes(host, consumers)},
        "functions": function(consumers)}]}


def taxonomy(host, consumers):
    """Return taxonomy.yaml as a dictionary."""
    contexts = [metric["name"] for scope in scopes(host, consumers) for metric in scope["metrics"]]
    return {"taxonomy_version": 1, **NAMES,
            "placements": [{"id": "ksm", "section_id": "system", "title": TITLE, "items": contexts}]}


def texts(build):
    """Return {path: text} of both files."""
    agents = agent(build, "6.18", "--consumers=0"), agent(build, "consumers")
    return {REPOSITORY / "netdata" / name:
            "# SPDX-License-Identifier: MIT\n# Printed by tests/docs/metadata.py: make readme renews it.\n" +
            yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110)
            for name, content in (("metadata.yaml", metadata(build, *agents)), ("taxonomy.yaml", taxonomy(*agents)))}


def main():
    """Write or check both files; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, required=True, help="where ksm.plugin and tests/metrics are")
    parser.add_argument("--check", action="store_true", help="write nothing")
    arguments = parser.parse_args()
    stale = {path: text for path, text in texts(arguments.build.resolve()).items()
             if not path.exists() or path.read_text(encoding="utf-8") != text}
    for path, text in stale.items():
        print(f"metadata.py: {path.name} {'is stale' if arguments.check else 'is renewed'}")
        if not arguments.check:
            path.write_text(text, encoding="utf-8")
    return 1 if stale and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
