#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Takes the picture of the dashboard that is in the README: picture.py --build build OUT.png

What it shows is what `make demo` shows: KSM is switched on, with some programs worth merging, and back as it was.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import page
from daemons import DaemonError, Netdata
from live import LiveError, Workload, why_not
from run import Stopped, demo_changes, ignore_signals, lock_settings, stop_on_signals

SHOWN_S = 45            # the time that the charts show
MORE_S = 20             # so long after its begin as much as half again is there to be merged
MERGED_S = 60           # what is worth merging is merged within this time
SIZE = (1200, 2000)
LAST = "ksm.consumer_program_ksm-equal-1"       # the chart at the lower end
MIB = 64                # of each of the demo's programs
WORTH = 2 * MIB         # MiB that they save together at the least
NAME = "hypervisor"     # of the host, in the picture
SMALLEST = ["pngquant", "--force", "--strip", "--ext", ".png", "64"]


def saved(netdata):
    """Return the MiB that the host saves now."""
    return netdata.values().get(("ksm.savings", "saved"), (0, 0))[1]


def workload(build, stack, mib):
    """Start the demo's programs with MIB each, until STACK ends them."""
    stack.enter_context(Workload(build / "tests/workload", "demo", mib))


def take(build, out, work, stack):
    """Write the picture to OUT, with other files in WORK; STACK ends what was started."""
    changes = []
    ksm = lock_settings(stack, changes)
    changes += demo_changes(ksm)
    for name, _old, new in changes:
        ksm.set(name, new)
    netdata = stack.enter_context(Netdata(work / "netdata", build / "ksm.plugin", "--consumers-interval=1",
                                          extra=f"[global]\n    hostname = {NAME}"))
    workload(build, stack, MIB)
    netdata.wait_for((LAST, "saved"), seconds=MERGED_S)
    netdata.wait(lambda: saved(netdata) > WORTH, MERGED_S, f"{WORTH} MiB saved")
    begun = time.monotonic()
    wait_until(begun + MORE_S)
    workload(build, stack, MIB // 2)
    wait_until(begun + SHOWN_S)
    with page.Page(work / "browser", netdata.url, SHOWN_S, SIZE) as shown:
        shown.wait(lambda: legend(shown), f"values in {LAST}")
        shown.picture(out, LAST)
    ignore_signals()


def wait_until(moment):
    """Sleep until MOMENT of the monotonic clock."""
    time.sleep(max(0, moment - time.monotonic()))


def legend(shown):
    """Whether the last chart has values."""
    chart = shown.charts().get(LAST)
    return chart and chart.drawn and chart.legend.get("saved", "-") != "-"


def main():
    """Take the picture, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, required=True, help="where ksm.plugin is")
    parser.add_argument("out", type=Path, help="the PNG file to write")
    arguments = parser.parse_args()
    reason = page.why_not() or why_not()
    if reason:
        sys.exit(f"no picture: {reason}")
    stop_on_signals()
    try:
        with ExitStack() as stack:
            work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ksm-picture-")))
            take(arguments.build, arguments.out, work, stack)
        if shutil.which(SMALLEST[0]):
            subprocess.run([*SMALLEST, arguments.out], check=True)
        print(f"{arguments.out}: {arguments.out.stat().st_size // 1000} kB")
        return 0
    except Stopped as stopped:
        return 128 + stopped.number
    except (DaemonError, LiveError, page.PageError, OSError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
