# SPDX-License-Identifier: MIT
"""A host to raise alerts on: a fixture's tree whose figures are set, and whose counters grow, as told.

    with World(tree) as world:              # a healthy host
        world.set(sharing=0, scanned=0)     # merges nothing any more, and ksmd stands still
"""

import re
import threading
import time

KSM = "sys/kernel/mm/ksm"

# Figure: the file that holds it.  What has no such file in the tree is left out, as on a kernel that lacks it.
FILES = {
    "run": f"{KSM}/run",
    "shared": f"{KSM}/pages_shared",
    "sharing": f"{KSM}/pages_sharing",
    "unshared": f"{KSM}/pages_unshared",
    "volatile": f"{KSM}/pages_volatile",
    "zero": f"{KSM}/ksm_zero_pages",
    "profit": f"{KSM}/general_profit",
    "scanned": f"{KSM}/pages_scanned",
    "skipped": f"{KSM}/pages_skipped",
    "full_scans": f"{KSM}/full_scans",
}
# Figure: the field of a file that holds it.
FIELDS = {
    "available_kb": ("proc/meminfo", r"(MemAvailable: +)(\d+)"),
    "swap_kb": ("proc/meminfo", r"(SwapFree: +)(\d+)"),
    "cow": ("proc/vmstat", r"(cow_ksm )(\d+)"),
}
# Counters are told by their growth a second; ksmd is in percent of a core.
COUNTERS = ("scanned", "skipped", "full_scans", "cow", "ksmd")
NS_A_PERCENT = 10_000_000

# 128 GiB of RAM as in the fixture 6.18, 8 GiB of them saved.
HEALTHY = {"run": 1, "shared": 500_000, "sharing": 2_000_000, "unshared": 300_000, "volatile": 50_000, "zero": 1_000,
           "profit": 7 << 30, "available_kb": 40 << 20, "swap_kb": 16 << 20,
           "scanned": 20_000, "skipped": 3_000, "full_scans": 2, "cow": 50, "ksmd": 5}


class World:
    """The tree of a host, alive as long as it is entered."""

    STEP_S = 0.1

    def __init__(self, tree, **figures):
        """Take over TREE, a healthy host but for FIGURES."""
        self.tree = tree
        self.ksmd = next(path for path in sorted(tree.glob("proc/*/schedstat")) if path.parent.name != "2")
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.live)
        self.broken = set()
        self.rates = dict.fromkeys(COUNTERS, 0)
        self.counts = {name: self.read(name) for name in COUNTERS}
        self.last = time.monotonic()
        self.set(**{**HEALTHY, **figures})

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_exception):
        self.ended.set()
        self.thread.join()

    def live(self):
        """Let the counters grow."""
        while not self.ended.wait(self.STEP_S):
            with self.lock:
                now = time.monotonic()
                for name, rate in self.rates.items():
                    if rate:
                        self.counts[name] += rate * (now - self.last)
                        self.write(name, int(self.counts[name]))
                self.last = now

    def set(self, **figures):
        """Give gauges a value, and counters a growth a second."""
        with self.lock:
            for name, value in figures.items():
                if name in COUNTERS:
                    self.rates[name] = value * (NS_A_PERCENT if name == "ksmd" else 1)
                else:
                    self.write(name, value)

    def count(self, name, count):
        """Let a counter go on from COUNT."""
        with self.lock:
            self.counts[name] = count
            self.write(name, count)

    def break_files(self, *names):
        """Make the files of figures hold what no kernel writes, until mend(); their neighbours live on."""
        with self.lock:
            for name in names:
                self.replace(FILES[name], "12abc\n")
                self.broken.add(name)

    def mend(self, **figures):
        """Make broken files whole; gauges get the value in FIGURES."""
        with self.lock:
            for name in self.broken.copy():
                self.broken.remove(name)
                self.write(name, figures.get(name, int(self.counts.get(name, 0))))

    def read(self, name):
        """Return the number that a counter's file holds now; 0 if there is none."""
        if name == "ksmd":
            return int(self.ksmd.read_text().split()[0])
        if name in FIELDS:
            path, pattern = FIELDS[name]
            found = re.search(pattern, (self.tree / path).read_text())
            return int(found[2]) if found else 0
        path = self.tree / FILES[name]
        return int(path.read_text()) if path.exists() else 0

    def write(self, name, value):
        """Write a figure where its kernel has it."""
        if name == "ksmd":
            self.replace(self.ksmd.relative_to(self.tree), f"{value} 0 0\n")
        elif name in FIELDS:
            path, pattern = FIELDS[name]
            self.replace(path, re.sub(pattern, rf"\g<1>{value}", (self.tree / path).read_text()))
        elif (self.tree / FILES[name]).exists() and name not in self.broken:
            self.replace(FILES[name], f"{value}\n")

    def replace(self, path, text):
        """Replace the file PATH by one with TEXT, so that no reader ever sees half of it."""
        fresh = self.tree / "fresh"
        fresh.write_text(text)
        fresh.rename(self.tree / path)
