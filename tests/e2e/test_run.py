# SPDX-License-Identifier: MIT
"""make run: its table of metrics, in which a reason stands only beside a row without a value, and its duration."""

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
