# SPDX-License-Identifier: MIT
"""What one host sends, as collectd/README.md and netdata/README.md report it, is what is measured."""

import json
import os
import re
import subprocess
import sys

import pytest

from conftest import REPOSITORY
from daemons import NETDATA_SYSTEM_INFO

SECONDS = 20
RUN_S = 150
FACTOR = 1.5        # so much may a short measurement differ


def why_not():
    """Return why nothing can be measured here, or None."""
    if not os.path.exists(NETDATA_SYSTEM_INFO):
        return f"{NETDATA_SYSTEM_INFO} is missing (Debian: netdata-plugins-bash)"
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    done = subprocess.run(["unshare", "--net", *user, "true"], capture_output=True, text=True)
    return f"no network namespace: {done.stderr.strip()}" if done.returncode else None


WHY_NOT = why_not()
pytestmark = [pytest.mark.long, pytest.mark.skipif(WHY_NOT is not None, reason=WHY_NOT or "")]


def documented():
    """Return {engine: (seconds, series, bytes a second)} of the tables in both READMEs."""
    text = "".join((REPOSITORY / engine / "README.md").read_text(encoding="utf-8") for engine in ("collectd", "netdata"))
    rows = re.findall(r"^\| (netdata|collectd), every (\d+) s \| ([\d,]+) \| ([\d,]+) \|",
                      text, re.MULTILINE)
    return {engine: tuple(int(number.replace(",", "")) for number in numbers) for engine, *numbers in rows}


def test_the_readmes_report_what_one_host_sends(build):
    done = subprocess.run([sys.executable, REPOSITORY / "tests/measure/traffic.py", "--build", build, "--json",
                           "--seconds", str(SECONDS)], capture_output=True, text=True, timeout=RUN_S)
    assert done.returncode == 0, done.stderr
    results = {result["engine"]: result for result in json.loads(done.stdout)}
    assert results.keys() == documented().keys() == {"netdata", "collectd"}
    for engine, (interval, series, rate) in documented().items():
        result = results[engine]
        assert (result["interval"], result["series"]) == (interval, series), engine
        assert rate / FACTOR < result["bytes"] < rate * FACTOR, f"{engine}: {result['bytes']} bytes a second, not {rate}"
