# SPDX-License-Identifier: MIT
"""The fixtures: the trees of kernels' eras, what runs on them, and their golden outputs.

ERA.netdata.golden is what ksm.plugin writes at one tick, ERA.collectd.golden what a real collectd gets of one
reading: a line a value list, "ksm/TYPE-NAME VALUE", ERA.explain.golden the page of ksm-explain.  Metrics in bytes
depend on the page size: these are of 4 kB.  Consumers, who are told of per process, are off but on the pages: they
have tests of their own.
"""

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from daemons import Collectd

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
ERAS = ["article", "2.6.32", "3.10", "5.15", "6.1", "6.6", "6.12", "6.18", "miscounted", "uksm", "no-ksm"]
EXPLAINED = [*ERAS, "consumers"]        # fixtures with a page of ksm-explain
PAGE_SIZE = 4096
NO_KSM = "this kernel has no KSM"        # the plugins' word for it
RUN_S = 60

# The host's metrics alone, as ksm.plugin's arguments and as collectd's options.
ARGUMENTS = ["--consumers=0"]
OPTIONS = {"Consumers": 0}


def make_tree(build, era, directory):
    """Make the tree of ERA's fixture in DIRECTORY and return that."""
    subprocess.run([build / "tests/mktree", FIXTURES / f"{era}.tree", directory], check=True)
    return Path(directory)


def run_once(program, *words, env=None, **popen):
    """Run PROGRAM with the arguments WORDS and ENV added to the environment, ksm.plugin for one tick, to its end.

    Return what came of it, as text unless POPEN says where to.
    """
    popen = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **popen}
    return subprocess.run([*map(str, (program, *words))], env={**os.environ, **(env or {})}, text=True, timeout=RUN_S,
                          check=False, **popen)


def metrics(build, root="/"):
    """Return what the tool build/tests/metrics tells of each metric, with what it is on the host at ROOT: a dict each."""
    return json.loads(run_once(build / "tests/metrics", "json", "--root", root).stdout)


def valid_metrics(build):
    """Return {metric: integer} of what the live kernel gives now."""
    return {metric["name"]: metric["value"] for metric in metrics(build) if metric["status"] == 0}


def explain_once(build, tree):
    """Run ksm-explain on TREE, by its name alone as the page may show it; return what came of it."""
    return run_once(build / "ksm-explain", "--root", tree.name, cwd=tree.parent)


def collectd_once(build, tree, directory):
    """Run a collectd on TREE, its files in DIRECTORY; return the value lists of one reading, and its log."""
    with Collectd(directory, Path(build, "ksm.so"), {"Root": tree, **OPTIONS}) as host:
        host.wait(lambda: NO_KSM in host.log() or max(map(len, host.history().values()), default=0) > 2, RUN_S,
                  "readings")
        last = {name: samples[-1][1] for name, samples in host.history().items()}
        return [f"{name} {number:.15g}" for name, number in sorted(last.items())], host.log()


def golden(era, host):
    """Return the path of the golden output of ERA at HOST, "netdata" or "collectd", or of its "explain"."""
    return FIXTURES / f"{era}.{host}.golden"


def outputs(build, era, directory):
    """Return {host: output} of both plugins on the fixture of ERA, made in DIRECTORY."""
    tree = make_tree(build, era, Path(directory, "tree"))
    lines, _log = collectd_once(build, tree, Path(directory, "collectd"))
    return {"netdata": run_once(build / "ksm.plugin", "--root", tree, *ARGUMENTS, "1").stdout,
            "collectd": "".join(f"{line}\n" for line in lines)}


def all_outputs(build, directory):
    """Return {era: {host: output}} of all fixtures, made in DIRECTORY; all at once, as it is mostly waiting."""
    def one(era):
        work = Path(directory, era)
        work.mkdir()
        return outputs(build, era, work)
    with ThreadPoolExecutor(len(ERAS)) as pool:
        return dict(zip(ERAS, pool.map(one, ERAS)))


def all_pages(build, directory):
    """Return {fixture: what came of ksm-explain on it}, made in DIRECTORY; all at once, as it is mostly waiting."""
    def one(era):
        return explain_once(build, make_tree(build, era, Path(directory, f"explain-{era}")))
    with ThreadPoolExecutor(len(EXPLAINED)) as pool:
        return dict(zip(EXPLAINED, pool.map(one, EXPLAINED)))
