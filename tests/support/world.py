# SPDX-License-Identifier: MIT
"""Simulated hosts: trees of /proc and /sys whose metrics and processes a test controls.

    tree = Tree(tmp_path / "tree", sharing=300, shared=100)
    tree.process(Process(100, "postgres", merging=400, cgroup="0::/system.slice/postgresql.service"))

    with World(fixture) as world:           # a fixture's tree as a healthy host, whose counters grow
        world.set(sharing=0, scanned=0)     # nothing is merged any more, and ksmd does not scan

Files and processes are replaced atomically: no reader sees half of one.
"""

import re
import shutil
import threading
import time
from pathlib import Path
from typing import NamedTuple

KSM = "sys/kernel/mm/ksm"

# {metric: its file}.  A metric whose file is missing in a fixture is left out, as on a kernel that lacks it.
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
    "pages_to_scan": f"{KSM}/pages_to_scan",
    "sleep_millisecs": f"{KSM}/sleep_millisecs",
}
# {metric: (file, pattern of its field)}.
FIELDS = {
    "available_kb": ("proc/meminfo", r"(MemAvailable: +)(\d+)"),
    "swap_kb": ("proc/meminfo", r"(SwapFree: +)(\d+)"),
    "cow": ("proc/vmstat", r"(cow_ksm )(\d+)"),
    "swpin_copy": ("proc/vmstat", r"(ksm_swpin_copy )(\d+)"),
    "thp_split": ("proc/vmstat", r"(thp_split_page )(\d+)"),
}
PAGES = ("shared", "sharing", "unshared", "volatile", "zero")
MEMINFO = "MemTotal: 16777216 kB\nMemFree: 1048576 kB\nMemAvailable: 8388608 kB\nSwapFree: 0 kB\n"

# Counters are given as growth per second; ksmd is in percent of a core.
COUNTERS = ("scanned", "skipped", "full_scans", "cow", "swpin_copy", "thp_split", "ksmd")
NS_A_PERCENT = 10_000_000
STILL_S = 0.5       # counters that have not grown for longer count as paused

# 128 GiB of RAM as in the fixture 6.18, 8 GiB of them saved.
HEALTHY = {"run": 1, "shared": 500_000, "sharing": 2_000_000, "unshared": 300_000, "volatile": 50_000, "zero": 1_000,
           "profit": 7 << 30, "available_kb": 40 << 20, "swap_kb": 16 << 20,
           "scanned": 20_000, "skipped": 3_000, "full_scans": 2, "cow": 50, "ksmd": 5}
# A fixture's metrics unchanged, but all its counters grow.
GROWING = {"scanned": 20_000, "skipped": 3_000, "full_scans": 40, "cow": 500, "swpin_copy": 70, "thp_split": 60,
           "ksmd": 25}


def put(root, path, text):
    """Replace the file PATH below ROOT atomically by one with TEXT."""
    fresh = Path(root, f"fresh-{threading.get_ident()}")
    fresh.write_text(text)
    fresh.rename(Path(root, path))


class Process(NamedTuple):
    """A process of a tree; counts are pages."""

    pid: int
    comm: str
    merging: int
    zero: int = 0
    resident: int = 0
    rmap_items: int = 0
    cgroup: str = "0::/"
    cmdline: tuple = ()
    mode: int = 0o444           # mode of its KSM file

    def of_ksm(self, kernel):
        """Return the text of its KSM file, which is called KERNEL."""
        if kernel == "ksm_merging_pages":
            return f"{self.merging}\n"
        return (f"ksm_rmap_items {self.rmap_items}\nksm_zero_pages {self.zero}\nksm_merging_pages {self.merging}\n"
                "ksm_process_profit 0\nksm_merge_any: no\nksm_mergeable: no\n")


class Host:
    """An existing tree."""

    def __init__(self, root, kernel="ksm_stat"):
        """Use the tree at ROOT; KERNEL is the name of its processes' KSM file, or None."""
        self.root = Path(root)
        self.kernel = kernel

    def write(self, path, text):
        """Write the file PATH below the root."""
        put(self.root, path, text)

    def process(self, process):
        """Add PROCESS."""
        fresh = self.root / f"fresh-{process.pid}"
        fresh.mkdir()
        texts = {"comm": process.comm + "\n", "cgroup": process.cgroup + "\n",
                 "cmdline": "".join(word + "\0" for word in process.cmdline),
                 "stat": f"{process.pid} ({process.comm}) S 1 {'0 ' * 17}{1000 + process.pid} 0 0\n",
                 "statm": f"{process.resident + 100} {process.resident} 0 0 0 0 0\n"}
        for name, text in texts.items():
            (fresh / name).write_bytes(text.encode("utf-8", "surrogateescape"))
        if self.kernel:
            (fresh / self.kernel).write_text(process.of_ksm(self.kernel))
            (fresh / self.kernel).chmod(process.mode)
        fresh.rename(self.root / f"proc/{process.pid}")

    def change(self, process):
        """Rewrite the KSM file of the existing PROCESS."""
        self.write(f"proc/{process.pid}/{self.kernel}", process.of_ksm(self.kernel))

    def end(self, pid):
        """Remove the process PID."""
        gone = self.root / f"gone-{pid}"
        (self.root / f"proc/{pid}").rename(gone)
        shutil.rmtree(gone)


class Tree(Host):
    """A minimal host with consumers: its page counts and the processes that a test adds."""

    def __init__(self, root, kernel="ksm_stat", **pages):
        """Create it at ROOT with the host's PAGES, {metric: pages}."""
        super().__init__(root, kernel)
        self.pages = dict.fromkeys(PAGES, 0)
        (self.root / "proc").mkdir(parents=True)
        (self.root / KSM).mkdir(parents=True)
        self.write("proc/meminfo", MEMINFO)
        self.write(FILES["run"], "1\n")
        self.host(**pages)
        self.process(Process(1, "init", 0))

    def host(self, **pages):
        """Set the host's PAGES, {metric: pages}."""
        self.pages.update(pages)
        for metric, count in self.pages.items():
            self.write(FILES[metric], f"{count}\n")

    def saved(self, page_size):
        """Return what the host saves, in bytes."""
        return (self.pages["sharing"] + self.pages["zero"]) * page_size


class World(Host):
    """The tree of a fixture, whose counters grow within the `with` block."""

    def __init__(self, root, begin=HEALTHY, step_s=0.1, **metrics):
        """Use the tree at ROOT with the metrics BEGIN, updated by METRICS; write counters every STEP_S."""
        super().__init__(root)
        self.step_s = step_s
        self.ksmd = next(path for path in sorted(self.root.glob("proc/*/schedstat")) if path.parent.name != "2")
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.grow_counters)
        self.broken = set()
        self.rates = dict.fromkeys(COUNTERS, 0)
        self.counts = {name: self.read(name) for name in COUNTERS}
        self.last = time.monotonic()
        self.pauses = []        # times at which this thread found that it had been paused
        self.set(**{**begin, **metrics})

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_exception):
        self.ended.set()
        self.thread.join()

    def grow_counters(self):
        """Let the counters grow.  While this thread is kept from running they pause, so that they never jump."""
        while not self.ended.wait(self.step_s):
            with self.lock:
                now = time.monotonic()
                seconds = now - self.last
                if seconds > STILL_S:
                    self.pauses.append(time.time())
                for name, rate in self.rates.items():
                    if rate:
                        self.counts[name] += rate * min(seconds, STILL_S)
                        self.show(name, int(self.counts[name]))
                self.last = now

    def set(self, **metrics):
        """Set the values of gauges, and the growth per second of counters."""
        with self.lock:
            for name, value in metrics.items():
                if name in COUNTERS:
                    self.rates[name] = value * (NS_A_PERCENT if name == "ksmd" else 1)
                else:
                    self.show(name, value)

    def count(self, name, count):
        """Set a counter to COUNT, from which it grows on."""
        with self.lock:
            self.counts[name] = count
            self.show(name, count)

    def break_files(self, *names):
        """Write invalid text into the files of the metrics NAMES, until repair()."""
        with self.lock:
            for name in names:
                self.write(FILES[name], "12abc\n")
                self.broken.add(name)

    def repair(self, **metrics):
        """Restore broken files; gauges get the value in METRICS."""
        with self.lock:
            for name in self.broken.copy():
                self.broken.remove(name)
                self.show(name, metrics.get(name, int(self.counts.get(name, 0))))

    def read(self, name):
        """Return the number in a metric's file; 0 if there is none."""
        if name == "ksmd":
            return int(self.ksmd.read_text().split()[0])
        if name in FIELDS:
            path, pattern = FIELDS[name]
            found = re.search(pattern, (self.root / path).read_text())
            return int(found[2]) if found else 0
        path = self.root / FILES[name]
        return int(path.read_text()) if path.exists() else 0

    def show(self, name, value):
        """Write a metric to its file."""
        if name == "ksmd":
            self.write(self.ksmd.relative_to(self.root), f"{value} 0 0\n")
        elif name in FIELDS:
            path, pattern = FIELDS[name]
            self.write(path, re.sub(pattern, rf"\g<1>{value}", (self.root / path).read_text()))
        elif (self.root / FILES[name]).exists() and name not in self.broken:
            self.write(FILES[name], f"{value}\n")
