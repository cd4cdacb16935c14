# SPDX-License-Identifier: MIT
"""make run: its table of metrics, in which a reason stands only beside a row without a value, its judgement and its
duration."""

import errno
import sys

import pytest

import run

GAUGE = {"kind": "gauge", "unit": "bytes", "collectd": "ksm/gauge-x", "collectd_divisor": 1, "chart": "ksm.x",
         "dimensions": ["x"], "multiplier": 1, "divisor": 1}


@pytest.mark.parametrize("name, status, values, reason", [
    ("saved", 0, (1, 1), ""),
    ("saved", 0, None, "no value yet"),
    ("merge_rate", -errno.ENODATA, (-16, -2), ""),
    ("merge_rate", -errno.ENODATA, None, "no value yet, or KSM is idle"),
    ("scan_left", -errno.ENODATA, None, "no value yet, or KSM is idle"),
    ("sharing_ratio", -errno.ENODATA, None, "nothing is merged"),
    ("general_profit", -errno.ENOENT, None, "not in this kernel"),
    ("ksmd_cpu", -errno.ENOENT, None, "ksmd is not visible here"),
    ("run", -errno.EACCES, None, "Permission denied"),
])
def test_rows_without_value_show_reason(name, status, values, reason):
    here = {"ksm/gauge-x": (0, values[0])} if values else {}
    there = {("ksm.x", "x"): (0, values[1])} if values else {}
    row = run.table([{**GAUGE, "name": name, "status": status}], here, there)[1]
    assert row.split("MiB")[1].strip() == reason, row


def test_duration_that_is_too_short_gets_a_sentence(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["run.py", "--build", "build", "--metrics", "metrics", "--duration", "3"])
    with pytest.raises(SystemExit) as end:
        run.parse_arguments()
    assert end.value.code == "3 s is too short to judge the metrics: the duration must be 10 s or more"


@pytest.mark.parametrize("interval, last, value, problem", [
    (1, 98, 1, ""),
    (1, 90, 1, "not delivered by Netdata as ksm.x · x"),
    (10, 70, 1, ""),
    (10, 60, 1, "not delivered by Netdata as ksm.x · x"),
    (10, 80, 2, "collectd 1 … 1, Netdata 2 … 2 bytes in the last 30 s"),
])
def test_chart_with_long_interval_may_be_late(interval, last, value, problem):
    """At the time 100, Netdata's newest value is that of the time LAST."""
    collectd = {"ksm/gauge-x": [(when, 1) for when in range(100)]}
    netdata = {("ksm.x", "x"): [(when, value) for when in range(0, last + 1, interval)]}
    wrong = run.judge_metric({**GAUGE, "name": "saved", "interval": interval}, collectd, netdata, 100)
    assert wrong == ([problem] if problem else [])
