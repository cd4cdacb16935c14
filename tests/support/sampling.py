# SPDX-License-Identifier: MIT
"""What the tests of consumers share: trees with processes, ksm.plugin driven by hand, and what it sends, read strictly.

    tree = Tree(tmp_path / "tree", sharing=300, shared=100)
    tree.process(Process(100, "postgres", merging=400, cgroup="0::/system.slice/postgresql.service"))
    with Plugin(build / "ksm.plugin", f"--root={tree.root}", "--consumers-interval=1") as plugin:
        sample = plugin.samples(1)[0]
"""

import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from consumers import KINDS, MIB
from hosts import die_with_parent
from protocol import Agent

SAMPLE_S = 15           # one more sample of the plugin is there within this time
END_S = 5               # it is gone so long after the end of its input
NAME_AT_MOST = 103      # bytes: with its kind it fits collectd's plugin instance

HOST_FILES = {"pages_shared": "shared", "pages_sharing": "sharing", "pages_unshared": "unshared",
              "pages_volatile": "volatile", "ksm_zero_pages": "zero"}
MEMINFO = "MemTotal: 16777216 kB\nMemFree: 1048576 kB\nMemAvailable: 8388608 kB\nSwapFree: 0 kB\n"


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
    mode: int = 0o444           # of its file of KSM


class Tree:
    """A /proc and /sys of a host: its figures, and processes that come and go in one go, as they do there."""

    def __init__(self, root, kernel="ksm_stat", **pages):
        """Make it at ROOT with the host's PAGES, {figure: pages}; KERNEL is the file that processes have, or None."""
        self.root = Path(root)
        self.kernel = kernel
        self.pages = dict.fromkeys(HOST_FILES.values(), 0)
        (self.root / "proc").mkdir(parents=True)
        (self.root / "sys/kernel/mm/ksm").mkdir(parents=True)
        self.write("proc/meminfo", MEMINFO)
        self.write("sys/kernel/mm/ksm/run", "1\n")
        self.host(**pages)
        self.process(Process(1, "init", 0))

    def write(self, path, text):
        """Write the file PATH below the root, so that no reader ever sees half of it."""
        fresh = self.root / "fresh"
        fresh.write_text(text)
        fresh.rename(self.root / path)

    def host(self, **pages):
        """Set the host's counts of PAGES, {figure: pages}."""
        self.pages.update(pages)
        for name, figure in HOST_FILES.items():
            self.write(f"sys/kernel/mm/ksm/{name}", f"{self.pages[figure]}\n")

    def process(self, process):
        """Add PROCESS."""
        fresh = self.root / f"fresh-{process.pid}"
        fresh.mkdir()
        texts = {"comm": process.comm + "\n", "cgroup": process.cgroup + "\n",
                 "cmdline": "".join(word + "\0" for word in process.cmdline),
                 "stat": f"{process.pid} ({process.comm}) S 1 {'0 ' * 17}{1000 + process.pid} 0 0\n",
                 "statm": f"{process.resident + 100} {process.resident} 0 0 0 0 0\n"}
        if self.kernel == "ksm_stat":
            texts["ksm_stat"] = (f"ksm_rmap_items {process.rmap_items}\nksm_zero_pages {process.zero}\n"
                                 f"ksm_merging_pages {process.merging}\nksm_process_profit 0\n"
                                 "ksm_merge_any: no\nksm_mergeable: no\n")
        elif self.kernel:
            texts["ksm_merging_pages"] = f"{process.merging}\n"
        for name, text in texts.items():
            (fresh / name).write_bytes(text.encode("utf-8", "surrogateescape"))
        if self.kernel:
            (fresh / self.kernel).chmod(process.mode)
        fresh.rename(self.root / f"proc/{process.pid}")

    def end(self, pid):
        """End the process PID."""
        gone = self.root / f"gone-{pid}"
        (self.root / f"proc/{pid}").rename(gone)
        shutil.rmtree(gone)

    def saved(self, page_size):
        """Return what the host saves, in bytes."""
        return (self.pages["sharing"] + self.pages["zero"]) * page_size


class Sample(NamedTuple):
    """One sample of ksm.plugin, in bytes."""

    kinds: dict             # {kind: saved}
    unattributed: int
    consumers: dict         # {(kind, name): (saved, real or None)}

    @property
    def saved(self):
        """What the parts add up to."""
        return sum(self.kinds.values()) + self.unattributed


class ConsumerAgent:
    """What an agent makes of ksm.plugin's output.

    samples: [Sample]; charts: {(kind, name): chart id} as of now; ended: those made obsolete so far; host: the
    Agent of the host's figures.
    """

    def __init__(self):
        self.host = Agent(on_consumers=self.end)
        self.samples, self.charts, self.ended = [], {}, []
        self.answered = None        # the sample that the last answer to a request is of

    def take(self, line):
        """Take one LINE."""
        was = self.host.charts.keys() | set()
        self.host.take(line)
        if line.startswith("FUNCTION"):
            self.answered = self.samples[-1] if self.samples else None
        if line == "CLABEL_COMMIT":
            labels = self.host.labels[self.host.drawn]
            consumer = labels.get("kind"), labels.get("name")
            self.host.check(labels.keys() == {"kind", "name"} and consumer not in self.charts, "wrong labels", consumer)
            self.host.check(len(consumer[1].encode()) <= NAME_AT_MOST, "a name that is too long", consumer)
            self.charts[consumer] = self.host.drawn
        if line.startswith("CHART ksm.consumer"):
            self.drawn(line, was)

    def drawn(self, line, was):
        """Take the CHART of LINE, when the agent WAS to have these charts."""
        name = self.host.drawn
        if line.endswith(" obsolete ksm.plugin ksm"):
            gone = [consumer for consumer, chart in self.charts.items() if chart == name]
            self.host.check(len(gone) == 1, "not a chart", line)
            del self.charts[gone[0]]
            self.ended.append(gone[0])
        else:
            look = self.host.charts[name]
            self.host.check(name not in was, "drawn twice", line)
            self.host.check((look["units"], look["type"]) == ("MiB", "stacked"), "unexpected word", line)

    def end(self, chart, values):
        """Take the VALUES of CHART."""
        scales = {self.host.dimensions[chart, name] for name in values}
        self.host.check(scales == {("absolute", 1, MIB)}, "not bytes in MiB", chart)
        if chart == "ksm.consumers":
            self.host.check(values.keys() == {*KINDS, "unattributed"}, "not all kinds are set", chart)
            self.samples.append(Sample({kind: values[kind] for kind in KINDS}, values["unattributed"], {}))
            return
        self.host.check("saved" in values and values.keys() <= {"saved", "real"}, "not real and saved", chart)
        consumer = next((key for key, name in self.charts.items() if name == chart), None)
        self.host.check(consumer, "a chart without labels", chart)
        self.samples[-1].consumers[consumer] = values["saved"], values.get("real")


class Plugin:
    """ksm.plugin, driven as an agent does; `agent` holds what it sent, `errors` at the end what it said.

    What it says of a sample comes after the sample.
    """

    def __init__(self, program, *options, user=None, every=1):
        """Run PROGRAM with OPTIONS every EVERY seconds, as USER."""
        self.argv = [str(program), str(every), *map(str, options)]
        self.user = user
        self.agent = ConsumerAgent()
        self.arrived = []           # when each sample came, by the monotonic clock
        self.ticks = []             # when each of the host's did
        self.log = self.errors = ""
        self.rest = b""
        self.process = None

    def __enter__(self):
        self.process = subprocess.Popen(
            self.argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, user=self.user,
            extra_groups=None if self.user is None else [], preexec_fn=die_with_parent(os.getpid()))
        os.set_blocking(self.process.stderr.fileno(), False)
        return self

    def __exit__(self, *_exception):
        self.process.stdin.close()
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.hear()
        self.process.stdout.close()
        self.process.stderr.close()

    def hear(self):
        """Take what the plugin has said so far, and return all of it but how it is confined."""
        self.log += (self.process.stderr.read() or b"").decode()
        self.errors = "".join(line for line in self.log.splitlines(True) if "INFO : confined: " not in line)
        return self.errors

    def read(self, seconds):
        """Take what comes within SECONDS; return whether anything came."""
        if not select.select([self.process.stdout], [], [], max(0, seconds))[0]:
            return False
        chunk = os.read(self.process.stdout.fileno(), 1 << 20)
        if not chunk:
            raise AssertionError(f"ksm.plugin has ended: {self.hear()}")
        *lines, self.rest = (self.rest + chunk).split(b"\n")
        for line in lines:
            self.agent.take(line.decode())
        now = time.monotonic()
        self.arrived += [now] * (len(self.agent.samples) - len(self.arrived))
        self.ticks += [now] * (len(self.agent.host.ticks) - len(self.ticks))
        return True

    def wait(self, condition, seconds, what):
        """Read until CONDITION() is true, at most SECONDS; return its value."""
        deadline = time.monotonic() + seconds
        while not condition():
            came = self.read(deadline - time.monotonic())
            assert came or condition(), f"waited {seconds} s for {what}: {self.hear()}"
        return condition()

    def samples(self, count):
        """Return the next COUNT samples, each whole."""
        first = len(self.agent.samples)
        self.wait(lambda: len(self.agent.samples) >= first + count and not self.rest, count * SAMPLE_S, "samples")
        return self.agent.samples[first:first + count]

    def run_for(self, seconds):
        """Take what comes for SECONDS."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.read(end - time.monotonic())

    def descriptors(self):
        """Return how many descriptors it holds."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def resident(self):
        """Return its resident memory in kB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])
