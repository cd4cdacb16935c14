# SPDX-License-Identifier: MIT
"""The fixtures: trees of kernel eras, programs run on them, and their golden outputs.

ERA.netdata.golden is the output of ksm.plugin for one tick; ERA.collectd.golden has the value lists that a real
collectd gets from one reading, one per line, "ksm/TYPE-NAME VALUE"; ERA.explain.golden is the report of ksm-explain.
Metrics in bytes assume pages of 4 kB.  Consumers are off except in reports: they have their own tests.
"""

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from daemons import Collectd

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
ERAS = ["article", "2.6.32", "3.10", "5.15", "6.1", "6.6", "6.12", "6.18", "miscounted", "uksm", "no-ksm"]
EXPLAINED = [*ERAS, "consumers"]        # fixtures with a report of ksm-explain
PAGE_SIZE = 4096
NO_KSM = "this kernel has no KSM"        # logged by the plugins
# All programs, after the root.
NO_HOST = " does not look like a host's root: it has no sys/kernel (is the host's /sys mounted there?)"
RUN_S = 60

# Only the host's metrics: ksm.plugin's arguments and collectd's options.
ARGUMENTS = ["--consumers=0"]
OPTIONS = {"Consumers": 0}


def make_tree(build, era, directory):
    """Create the tree of ERA's fixture in DIRECTORY and return its path."""
    subprocess.run([build / "tests/mktree", FIXTURES / f"{era}.tree", directory], check=True)
    return Path(directory)


def run_once(program, *words, env=None, **popen):
    """Run PROGRAM with the arguments WORDS and ENV added to the environment (ksm.plugin runs for one tick).

    Return the CompletedProcess, with captured text unless POPEN redirects it.
    """
    popen = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **popen}
    return subprocess.run([*map(str, (program, *words))], env={**os.environ, **(env or {})}, text=True, timeout=RUN_S,
                          check=False, **popen)


def metrics(build, root="/"):
    """Return the descriptions and values of all metrics on the host at ROOT, as build/tests/metrics prints them: dicts."""
    return json.loads(run_once(build / "tests/metrics", "json", "--root", root).stdout)


def valid_metrics(build):
    """Return {metric: integer} of the metrics that the live kernel has."""
    return {metric["name"]: metric["value"] for metric in metrics(build) if metric["status"] == 0}


def explain_once(build, tree):
    """Run ksm-explain on TREE, given as a relative path because the report may show it; return the CompletedProcess."""
    return run_once(build / "ksm-explain", "--root", tree.name, cwd=tree.parent)


def collectd_once(build, tree, directory):
    """Run a collectd on TREE with its files in DIRECTORY; return the value lists of one reading, and its log."""
    with Collectd(directory, Path(build, "ksm.so"), {"Root": tree, **OPTIONS}) as host:
        host.wait(lambda: NO_KSM in host.log() or max(map(len, host.history().values()), default=0) > 2, RUN_S,
                  "readings")
        last = {name: samples[-1][1] for name, samples in host.history().items()}
        return [f"{name} {number:.15g}" for name, number in sorted(last.items())], host.log()


def golden(era, host):
    """Return the path of the golden output of ERA; HOST is "netdata", "collectd" or "explain"."""
    return FIXTURES / f"{era}.{host}.golden"


def outputs(build, era, directory):
    """Return {daemon: output} of both plugins on the fixture of ERA, created in DIRECTORY."""
    tree = make_tree(build, era, Path(directory, "tree"))
    lines, _log = collectd_once(build, tree, Path(directory, "collectd"))
    return {"netdata": run_once(build / "ksm.plugin", "--root", tree, *ARGUMENTS, "1").stdout,
            "collectd": "".join(f"{line}\n" for line in lines)}


def all_outputs(build, directory):
    """Return {era: {daemon: output}} of all fixtures, created in DIRECTORY; in parallel, as they mostly wait."""
    def one(era):
        work = Path(directory, era)
        work.mkdir()
        return outputs(build, era, work)
    with ThreadPoolExecutor(len(ERAS)) as pool:
        return dict(zip(ERAS, pool.map(one, ERAS)))


def all_pages(build, directory):
    """Return {fixture: CompletedProcess of ksm-explain}, created in DIRECTORY; in parallel, as they mostly wait."""
    def one(era):
        return explain_once(build, make_tree(build, era, Path(directory, f"explain-{era}")))
    with ThreadPoolExecutor(len(EXPLAINED)) as pool:
        return dict(zip(EXPLAINED, pool.map(one, EXPLAINED)))
