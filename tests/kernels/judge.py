# SPDX-License-Identifier: MIT
"""Judges what init.sh printed on one kernel.

What is expected comes from the kernel's own files, by expected.py, from the patterns of the workload, and from the
tables below: never from the programs.
"""

import json
import math
import re
from pathlib import Path

from consumers import UNATTRIBUTED, of_collectd
from expected import collectd_values, netdata_values
from protocol import ProtocolError
from sampling import ConsumerAgent

REPOSITORY = Path(__file__).resolve().parents[2]
KSM_DIRECTORY = "sys/kernel/mm/ksm/"

# What a pattern of so many pages saves with max_page_sharing=256: computed from the workload's description.
PATTERNS = {
    "pairs": lambda pages: pages // 2,
    "triples": lambda pages: pages // 3 * 2,
    "identical": lambda pages: pages - pages // 256,
    "zeros": lambda pages: pages - pages // 256,
    "zeros_used": lambda pages: pages,
}

# The exit status of ksm-explain in each state, as in its man page.
VERDICTS = {"off": 11, "not_opted_in": 20, **dict.fromkeys(PATTERNS, 13), "unmerged_at_rest": 11, "consumers": 13,
            "hidepid1": 13, "hidepid2": 13, "namespace": 13, "no_scan": 21, "ok": 0, "unmerged": 12, "waiting": 22,
            "nothing": 23}

# What ksm.plugin may log beside its confinement, if the kernel reports counts of processes.
COMPLAINTS = {"denied": "processes of other users cannot be read", "hidepid1": r"mounted with hidepid=1",
              "hidepid2": r"mounted with hidepid\)"}

CONSUMERS = {("service", "web"), ("container", "0123456789ab"), ("vm", "guest1"), ("program", "workload")}

# The pages that a container and a machine have in common there.
SHARED_BY_OWNERS = 300
NO_SHARING = 50         # exit status of --sharing before Linux 5.19

# Fields that are known and not used, because they cannot be summed.
UNUSED = {"ksm_process_profit", "ksm_merge_any"}

# All that collectd logs, except what an emulated machine may leave unwritten at the end.
COLLECTD_LOG = ['plugin_load: plugin "csv" successfully loaded.', 'plugin_load: plugin "ksm" successfully loaded.',
                "Initialization complete, entering read-loop.", "Exiting normally.",
                "collectd: Stopping 5 read threads.", "collectd: Stopping 1 write threads."]

CHURN_S = 20

OF_CONSUMERS = {("ksm.owners", "owners"), "ksm/gauge-owners"}       # not of the host's files


class Kernel:
    """One kernel's output, and its checks."""

    def __init__(self, output, record, trees):
        """Take the OUTPUT; the checks go to RECORD, and files may be put into the directory TREES."""
        self.output, self.record, self.trees = output, record, trees
        self.release = output.text("kernel").split()[0]
        self.version = tuple(int(part) for part in self.release.replace("-", ".").replace("+", ".").split(".")[:2])
        page_kb, pages = output.text("page").split()
        self.page_size, self.pages = int(page_kb) * 1024, int(pages)
        self.has_process_counts = self.version >= (5, 19)
        self.landlock = "landlock" in output.text("lsm")
        record.facts.update({"kernel": self.release, "pages": f"{page_kb} kB",
                             "sandbox": "seccomp, Landlock" if self.landlock else "seccomp",
                             "savings by consumer": "yes" if self.has_process_counts else "not reported"})

    def check(self, *words):
        """Record one check."""
        self.record.check(*words)

    # New files and fields.

    def sentinel(self):
        """Every file and field of KSM is one that metrics.def or the reader of processes knows, and of that release."""
        rows = re.findall(r'^(?:METRIC|INPUT)\(\w+, (\w+), "([^"]+)".*?"([\d.]+|UKSM)"',
                          (REPOSITORY / "common/metrics/metrics.def").read_text(), re.DOTALL | re.MULTILINE)
        since = {(source, key.rstrip(":")): release for source, key, release in rows}
        used = set(re.findall(r'"(ksm_\w+):?"', (REPOSITORY / "common/consumers/proc_files.c").read_text()))
        files = self.output.files("files")
        there = {("KSM", Path(path).name) for path in files if path.startswith(KSM_DIRECTORY)}
        for source, path, pattern in (("VMSTAT", "proc/vmstat", "ksm|cow"), ("MEMINFO", "proc/meminfo", "(?i)ksm"),
                                      ("STAT", "proc/self/ksm_stat", "")):
            fields = {line.split()[0].rstrip(":") for line in files.get(path, "").splitlines()}
            there |= {(source, field) for field in fields
                      if re.search(pattern, field) or (source, field) in since}
        news = {(source, name) for source, name in there - since.keys() if source != "STAT" or name not in used | UNUSED}
        self.check("sentinel", sorted(news), [])
        expected = {row for row, release in since.items() if row[0] in ("KSM", "VMSTAT") and
                    tuple(int(part) for part in release.split(".")[:2]) <= self.version}
        there = {row for row in there if row[0] in ("KSM", "VMSTAT")}
        numa = {("KSM", "merge_across_nodes")}      # depends on the configuration
        self.check("since", sorted(((there - news) ^ expected) - numa), [])

    # The plugin.

    def agent(self, name):
        """Return a strict agent that has parsed the plugin's output NAME, or None."""
        text, status = self.output.parts[f"{name}.out"][0]
        self.check(f"{name}: exit status", status, 0)
        agent = ConsumerAgent()
        try:
            for line in text.splitlines():
                agent.take(line)
        except ProtocolError as error:
            self.check(f"{name}: protocol", str(error), "")
            return None
        if self.has_process_counts and name != "off":
            self.check(f"{name}: samples of consumers", bool(agent.samples), True)
        return agent

    def log(self, name):
        """The plugin logs its confinement, and nothing else except what the state requires."""
        lines = [line.split("ksm.plugin ", 1)[1] for line in self.output.text(f"{name}.log").splitlines()]
        files = "only reading /proc and /sys/kernel/mm" if self.landlock else "not supported by this kernel"
        capabilities = "none" if name == "denied" else "cap_dac_read_search only"
        self.check(f"{name}: confined", lines[:1],
                   [f"INFO : confined: capabilities {capabilities}, no new privileges yes, files (Landlock) {files}, "
                    "system calls (seccomp) only those that a sample needs"])
        rest = [line for line in lines[1:] if self.has_process_counts or "they require Linux 5.19" not in line]
        if name == "churn":     # on an emulated machine the end of a process may take longer than the read timeout
            rest = [line for line in rest if not re.search("reading its /proc files blocks", line)]
        complaint = COMPLAINTS.get(name) if self.has_process_counts else None
        if complaint and len(rest) == 1 and re.search(complaint, rest[0]):
            rest = []
        elif complaint:
            rest = [f"not {complaint!r} but {rest}"]
        self.check(f"{name}: log", rest, [])

    def expected_metrics(self, part):
        """Return {metric: integer} of the files of PART."""
        return self.output.expected_metrics(part, self.trees, self.page_size)

    def metrics(self, name, shown, expected):
        """Each metric SHOWN lies between those EXPECTED of the kernel's files before and after."""
        low, high = (expected(self.expected_metrics(f"{name}.{when}"), self.page_size) for when in ("before", "after"))
        self.check(f"{name}: which metrics", sorted((shown.keys() ^ low.keys()) - OF_CONSUMERS, key=str), [])
        for place in sorted(shown.keys() & low.keys()):
            metric = place if isinstance(place, str) else ".".join(place)
            bottom, top = sorted((low[place], high[place]))
            slack = 0.2 * top + 0.01 if metric.endswith("exposure") else 0      # free memory changes in between
            right = bottom - slack <= shown[place] <= top + slack or math.isclose(shown[place], bottom, rel_tol=1e-12)
            self.check(f"{name}: {metric}", shown[place] if not right else bottom, bottom)

    def sample(self, name):
        """The plugin has the kernel's metrics."""
        self.log(name)
        agent = self.agent(name)
        if not agent:
            return
        shown = {}
        for tick in range(len(agent.host.ticks)):
            shown.update(agent.host.shown(tick))
        self.metrics(name, shown, netdata_values)
        if agent.samples:
            self.check(f"{name}: consumers + unattributed", agent.samples[-1].saved,
                       self.expected_metrics(f"{name}.before")["saved"])

    def collectd(self):
        """collectd has the kernel's metrics, and logs what is expected.  Return its consumers."""
        text, status = self.output.parts["collectd.out"][0]
        self.check("collectd: exit status", status, 0)
        values = re.compile(r"PUTVAL guest/(\S+) interval=1\.000 \d+\.\d+:(\S+)\n")
        log = [line for line in values.sub("", text).splitlines()
               if (self.has_process_counts or "they require Linux 5.19" not in line)
               and not re.fullmatch(r"plugin: \d+ value lists? left after shutting down the write threads\.", line)]
        self.check("collectd: log", log, COLLECTD_LOG)
        shown = {series: float(number) for series, number in values.findall(text)}
        host = {series: number for series, number in shown.items() if series.startswith("ksm/")}
        self.metrics("collectd", host, collectd_values)
        return of_collectd(shown)

    def saved(self, pattern):
        """`saved` equals the drop of the cgroup's charge, to the page."""
        first, last = (int(self.output.text(f"{pattern}.charge", which)) // self.page_size for which in (0, 1))
        metrics = self.expected_metrics(f"{pattern}.before")
        self.check(f"{pattern}: fall of the charge", first - last, metrics["saved"] // self.page_size)
        self.check(f"{pattern}: pages saved", metrics["saved"] // self.page_size, PATTERNS[pattern](self.pages))

    def consumers(self):
        """The consumers have their names, and their shares add up to the expected sum; after a restart too."""
        agents = {name: self.agent(name) for name in ("consumers", "again", "user", "granted", "denied", "hidepid1",
                                                       "hidepid2", "namespace")}
        for name in agents:
            if name != "consumers":
                self.log(name)
        collectd = self.collectd()
        if not self.has_process_counts:
            self.check("collectd: as first", collectd, {})
            return
        metrics = self.expected_metrics("consumers.before")
        samples = {name: agent.samples[-1] for name, agent in agents.items() if agent and agent.samples}
        first, groups = samples["consumers"], {}
        processes = self.output.files("consumers.processes")
        for path, group in processes.items():
            if path.endswith("/cgroup"):
                count = processes.get(path.replace("cgroup", "ksm_merging_pages"), "0")
                groups[group] = groups.get(group, 0) + int(count)
        uses = metrics["sharing"] + metrics["shared"]
        attributed = sum(metrics["sharing"] * count // uses * self.page_size for count in groups.values())
        self.check("consumers: names", sorted(first.consumers), sorted(CONSUMERS))
        self.check("consumers: attributed", sum(first.kinds.values()), attributed)
        for name in ("again", "user", "granted"):
            self.check(f"{name}: as first", samples[name], first)
        expected = {consumer: {"saved": saved, "real": real} for consumer, (saved, real) in first.consumers.items()}
        self.check("collectd: as first", collectd, {**expected, UNATTRIBUTED: {"saved": first.unattributed}})
        for name in ("denied", "hidepid1", "hidepid2", "namespace"):
            self.check(f"{name}: consumers + unattributed", samples[name].saved, metrics["saved"])
            # With hidepid, /proc checks access as for tracing, which Landlock forbids even for the user's own.
            hidden = name == "namespace" or (name != "denied" and self.landlock)
            self.check(f"{name}: names", [*samples[name].consumers], [] if hidden else [("service", "web")])

    def churn(self):
        """Processes that start and exit delay no tick, and nothing is logged."""
        self.log("churn")
        agent = self.agent("churn")
        if agent:
            self.check("churn: ticks", len(agent.host.ticks) >= CHURN_S * 0.8, True)

    def explain(self):
        """ksm-explain's exit status matches the state."""
        for state, status in VERDICTS.items():
            if f"{state}.explain" in self.output.parts or state != "zeros_used":
                self.check(f"{state}: ksm-explain", self.output.parts[f"{state}.explain"][0][1], status)

    def estimate(self, pattern):
        """ksm-explain's estimate for the workload matches what then merged, within 2 % of the memory that it read."""
        text, status = self.output.parts[f"{pattern}.estimate"][0]
        self.check(f"{pattern}: status of the estimate", status, 0)
        if status == 0:
            found = json.loads(text)
            saved = self.expected_metrics(f"{pattern}.before")["saved"]
            error = abs(found["further_bytes"] - saved) / found["read_bytes"]
            self.check(f"{pattern}: estimate", f"off by {error:.1%}" if error > 0.02 else "", "")

    def sharing(self, state, between_owners):
        """ksm-explain's exact sharing equals the kernel's counter, however this kernel marks merged pages."""
        text, status = self.output.parts[f"{state}.sharing"][0]
        self.check(f"{state}: status of the sharing", status, 0 if self.has_process_counts else NO_SHARING)
        if status != 0:
            return
        found, metrics = json.loads(text), self.expected_metrics(f"{state}.before")
        self.check(f"{state}: sharing", found["saved_bytes"], metrics["sharing"] * self.page_size)
        self.check(f"{state}: sharing by consumers", sum(row["saved_bytes"] for row in found["consumers"]),
                   found["saved_bytes"])
        self.check(f"{state}: shared zeros", found["zero_bytes"] or 0, metrics.get("zero", 0) * self.page_size)
        self.check(f"{state}: shared by others, or unclear", (found["others_bytes"], found["unclear_bytes"]), (0, 0))
        self.check(f"{state}: shared by owners", found["between_owners_bytes"], between_owners * self.page_size)
        if self.version < (6, 10):      # later ones mark all anonymous pages, unless they have the fix
            self.check(f"{state}: method of sharing", found["method"], "flags")

    def all(self):
        """Make all checks."""
        self.sentinel()
        patterns = [name for name in PATTERNS if f"{name}.charge" in self.output.parts]
        for name in ("off", *patterns, "consumers", "churned"):
            self.sample(name)
        for pattern in patterns:
            self.saved(pattern)
            self.estimate(pattern)
            self.sharing(pattern, 0)
        self.consumers()
        self.sharing("consumers", SHARED_BY_OWNERS)
        self.churn()
        self.explain()
