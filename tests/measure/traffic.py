#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Measures what one host sends to central daemons: traffic.py --build build [--seconds 60] [--json]

Each engine runs in a network namespace of its own, with nothing in it but a host and its middle (central.py), and the
loopback device's count of bytes is what went over the wire, both ways, headers included. The host is a fixture of
Linux 6.18 whose metrics move, with more consumers than are shown; the engines have their usual intervals.
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import fixtures
from central import Central
from daemons import die_with_parent
from world import Process, World

INTERVALS = {"netdata": 1, "collectd": 10}      # s, as they are by default
CONSUMERS_INTERVAL = 10
MACHINES = 25           # 20 consumers are shown, and "other"
SETTLED_S = 25          # after that all charts and series are known to the middle
MOVE_S = 0.5            # the metrics move so often
HOSTS = 1000

GAUGES = ("shared", "sharing", "unshared", "volatile", "zero")
COUNTERS = {"scanned": 50000, "skipped": 9000, "full_scans": 2}       # a second


# A host whose metrics change.

def machine(number):
    """Return the virtual machine NUMBER, sharing some number of pages."""
    merging = random.randrange(20000 * (number + 1), 22000 * (number + 1))
    return Process(2000 + number, "qemu-system-x86", merging, merging // 50, 700000, 2 * merging, "0::/machine.slice",
                   ("/usr/bin/qemu-system-x86_64", "-name", f"guest=customer-{number:02},debug-threads=on"))


def move(world, ended):
    """Let the metrics of WORLD move until ENDED is set."""
    first = {name: world.read(name) for name in GAUGES}
    first["sharing"], first["shared"] = 6000000, 800000
    while not ended.wait(MOVE_S):
        world.set(**{name: int(number * random.uniform(0.99, 1.01)) for name, number in first.items()})
        world.change(machine(random.randrange(MACHINES)))


# The wire.

def sent():
    """Return the bytes that the loopback device has sent; what is sent arrives there too, and is counted once."""
    return int(re.search(r"lo:(.*)", Path("/proc/self/net/dev").read_text())[1].split()[8])


def names(engine, pair):
    """Return the names of the host's values in the central ENGINE of PAIR."""
    if engine == "collectd":
        return list(pair.collectd.series())
    return [(name, dimension) for name, chart in pair.netdata.charts().items() for dimension in chart["dimensions"]]


def measure(engine, build, seconds, work):
    """Measure for SECONDS in this namespace what a host sends with ENGINE, with files in WORK; return a dict."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    tree = fixtures.make_tree(build, "consumers", fixtures.make_tree(build, "6.18", work / "tree"))
    ended = threading.Event()
    with World(tree, COUNTERS, MOVE_S) as world:
        for number in range(MACHINES):
            world.process(machine(number))
        mover = threading.Thread(target=move, args=(world, ended))
        mover.start()
        try:
            return measured(engine, build, seconds, work, tree)
        finally:
            ended.set()
            mover.join()


def measured(engine, build, seconds, work, tree):
    """Do that of the host of TREE."""
    with Central(work / "pair", build, tree, [engine], INTERVALS[engine],
                 {"ConsumersInterval": CONSUMERS_INTERVAL}) as pair:
        time.sleep(SETTLED_S)       # without requests to the daemons, which would be counted
        begun, before = time.monotonic(), sent()
        time.sleep(seconds)
        rate = (sent() - before) / (time.monotonic() - begun)
        pair.sender.__dict__[engine].check_alive()
        return {"engine": engine, "interval": INTERVALS[engine], "series": len(names(engine, pair)), "bytes": round(rate)}


# Both, and the table.

def start_inside(arguments, engine):
    """Start this program in a new network namespace, to measure ENGINE."""
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    return subprocess.Popen(["unshare", "--net", *user, "--", sys.executable, __file__, "--build", arguments.build,
                             "--seconds", str(arguments.seconds), "--inside", engine],
                            stdout=subprocess.PIPE, text=True, preexec_fn=die_with_parent(os.getpid()))


def main():
    """Measure, print, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, required=True, help="where ksm.so and ksm.plugin are")
    parser.add_argument("--seconds", type=int, default=60, help="how long to measure (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON, not a table")
    parser.add_argument("--inside", choices=INTERVALS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        with tempfile.TemporaryDirectory(prefix="ksm-traffic-") as work:
            print(json.dumps(measure(arguments.inside, arguments.build, arguments.seconds, Path(work))))
        return 0
    running = [start_inside(arguments, engine) for engine in INTERVALS]
    answers = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        return 1
    results = [json.loads(answer) for answer in answers]
    if arguments.json:
        print(json.dumps(results))
        return 0
    print("| one host sends | series | bytes a second | a thousand hosts |\n|---|---|---|---|")
    for result in results:
        print("| {engine}, every {interval} s | {series} | {bytes:,} | ".format(**result) +
              f"{result['series'] * HOSTS:,} series, {result['bytes'] * HOSTS / 1e6:.1f} MB a second |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
