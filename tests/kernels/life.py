# SPDX-License-Identifier: MIT
"""Judges what guest.sh printed on one release of Debian.

What is expected comes from the kernel's files, by expected.py, and from the lists below: never from the programs.
"""

import json
import re

from expected import collectd_values, netdata_values, places

SERVICES = {("service", "shop"), ("service", "user-1000:notes")}
MOVES = {"exposure", "anon_huge"}                   # with other programs' memory
LATE = {"merge_rate", "scan_time", "scan_left"}     # not while KSM stands still
PLUGIN = "/usr/lib/netdata/plugins.d/ksm.plugin"
RECENT_S = 15           # collectd's interval, and half of one for an emulated machine; what has gone is older
STOPPED_AND_SAVING = 13 # the exit status of ksm-explain
EXPOSURE = 2.0          # of the services, as systemd-analyze security has it: below 4.2 is "OK"
# What ksm-explain --openmetrics --sharing prints.
SHARING = {"ksm_consumer_saved_exact_bytes", "ksm_shared_between_owners_bytes", "ksm_shared_across_owners_bytes"}

# Another plugin's line may have no end yet.
STAMP = r"^(\w+ \d+ [\d:]+ debian|.*\d+-\d+-\d+ [\d:]+:) "
# Netdata's messages about a plugin that it stops, just before or after that.
ENDED = r"(netdata ERROR : PLUGINSD\[ksm\] : .* disconnected after .*\n)?"
STOPPED = rf"{ENDED}netdata INFO +: PLUGINSD : stopping plugin thread: plugin:ksm\n{ENDED}"
UNREADABLE = "processes of other users cannot be read"

# Log lines about the plugins that are expected, after the name of their program; of systemd only when an admin
# starts and stops something.
EXPECTED = [
    r'collectd\[\d+\]: plugin_load: plugin "ksm" successfully loaded\.',
    r"systemd\[1\]: (Started|Stopped) ksm-openmetrics(-sharing)?\.timer - .*",
    r"systemd\[1\]: ksm-openmetrics(-sharing)?\.timer: Deactivated successfully\.",
    r"netdata INFO +: PLUGINSD\[ksm\] : (thread created|set name of|connected to|data collection thread exiting|"
    r"killing child|waiting for child|thread with task id \d+ finished).*",
    # Netdata 1.37's message about any chart that became obsolete.
    r"netdata (INFO +: \w+ : Deleting chart|ERROR : \w+ : Cannot read left-over chart directory to be deleted) '.*",
    r"ksm\.plugin INFO : confined: capabilities cap_dac_read_search only, no new privileges yes, files \(Landlock\) "
    r"only reading /proc and /sys/kernel/mm, system calls \(seccomp\) only those that a sample needs",
]


class Life:
    """The output of one machine, and its checks."""

    def __init__(self, output, record, trees):
        """Take the OUTPUT; the checks go to RECORD, and files may be put into the directory TREES."""
        self.output, self.trees, self.check = output, trees, record.check
        self.page_size = int(output.text("page"))
        self.version = output.text("version").strip()
        self.containers = {("container", output.text("container")[:12]), ("container", "tent")}
        merges = "=yes" in output.text("shop")
        record.facts.update({
            "kernel": output.text("kernel").strip(), "systemd": output.text("systemd").split()[1],
            "cgroups": {"cgroup2fs": "v2"}.get(output.text("cgroups").strip(), "v1"),
            "Netdata": output.text("netdata").strip(), "collectd": output.text("collectd").strip(),
            "a service merges by": "MemoryKSM=yes" if merges else "its own madvise"})
        by_systemd = int(record.facts["systemd"].split(".")[0]) >= 256
        self.check("MemoryKSM=yes", merges, by_systemd)
        for service in ("ksm-openmetrics", "ksm-openmetrics-sharing"):
            exposure = float(output.text(f"security.{service}").partition("service: ")[2].split()[0])
            self.check(f"{service}: exposure", max(exposure, EXPOSURE), EXPOSURE)
            self.check(f"{service}: timer", output.text(f"timer.{service}").strip(), "active")

    def done(self, *parts):
        """What an admin did succeeded."""
        for part in parts:
            text, status = self.output.parts[part][0]
            self.check(part, text if status else 0, 0)

    def lines(self, part):
        """Return the lines of PART."""
        return self.output.text(part).splitlines()

    # Metrics.

    def close(self, name, shown, low, high):
        """Check that each {name: number} SHOWN lies between LOW and HIGH, for what was read before and after."""
        for key in sorted(shown.keys() & low.keys()):
            bottom, top = sorted((low[key], high[key]))
            metric = key.rpartition("-")[2] if isinstance(key, str) else key[1]
            slack = 0.3 * top + 0.01 if metric in MOVES else 1e-6 * abs(top) + 1e-6      # six digits after the point
            right = bottom - slack <= shown[key] <= top + slack
            self.check(f"{name}: {key}", bottom if right else shown[key], bottom)

    def readings(self, name):
        """Return {metric: integer} of the kernel's files before and after."""
        return [self.output.expected_metrics(f"{name}.{when}", self.trees, self.page_size) for when in ("before", "after")]

    def metrics(self, name, consumers):
        """Both daemons and ksm-explain's file have the kernel's metrics and all metrics of these CONSUMERS."""
        before, after = self.readings(name)
        self.check(f"{name}: something is saved", before["saved"] > 0, True)
        self.netdata(name, before, after, consumers)
        self.collectd(name, before, after, consumers)
        for part in ("prom", "exported"):
            self.exposition(name, part, before["saved"], consumers)
        self.sharing(name, before["saved"], consumers)

    def netdata(self, name, before, after, consumers):
        """The agent has the metrics."""
        low, high = (netdata_values(metrics, self.page_size) for metrics in (before, after))
        counters = {metric for metric, place in places(self.page_size).items() if place.counter}
        charts = json.loads(self.output.text(f"{name}.netdata"))
        shown = {(chart, dimension): one["value"] for chart, table in charts.items()
                 for dimension, one in table["dimensions"].items() if one["value"] is not None}
        kinds = {key: value for key, value in shown.items() if key[0] == "ksm.consumers"}
        host = {key: value for key, value in shown.items() if not key[0].startswith("ksm.consumer")}
        owners = host.pop(("ksm.owners", "owners"), 0)
        self.check(f"{name}: Netdata's owners", 1 <= owners <= len(consumers), True)
        wrong = [key for key in host.keys() ^ low.keys() if key[1] not in LATE]
        self.check(f"{name}: Netdata's metrics", sorted(wrong), [])
        self.close(f"{name}, Netdata", {key: value for key, value in host.items() if key[1] not in counters}, low, high)
        self.check(f"{name}: Netdata's consumers + unattributed", round(sum(kinds.values()) * 2 ** 20), before["saved"])
        unattributed = kinds["ksm.consumers", "unattributed"] * 2 ** 20
        self.check(f"{name}: at most a hundredth is unattributed", unattributed <= before["saved"] / 100, True)
        found = set(re.findall(r'"kind": *"([^"]*)".*?"name": *"([^"]*)"', self.output.text(f"{name}.labels")))
        self.check(f"{name}: Netdata's consumers", sorted(found), sorted(consumers))

    def collectd(self, name, before, after, consumers):
        """collectd has the metrics; ended consumers have old files."""
        low, high = (collectd_values(metrics, self.page_size) for metrics in (before, after))
        newest = {}
        for line in self.lines(f"{name}.collectd"):
            series, when, value = re.fullmatch(r".*/csv/[^/]+/(.*)-\d{4}-\d\d-\d\d:(.*),(.*)", line).groups()
            newest[series] = float(when), float(value)
        last = max(when for when, _value in newest.values())
        shown = {series: value for series, (when, value) in newest.items() if when > last - RECENT_S}
        host = {series: value for series, value in shown.items() if series.startswith("ksm/")}
        owners = host.pop("ksm/gauge-owners", 0)
        everything_read = name != "confined"
        self.check(f"{name}: collectd's owners", everything_read <= owners <= len(consumers) * everything_read, True)
        saved = {series: value for series, value in shown.items()
                 if series.endswith("/bytes-saved") and series not in host}
        wrong = [key for key in host.keys() ^ low.keys() if key.partition("-")[2] not in LATE]
        self.check(f"{name}: collectd's metrics", sorted(wrong), [])
        self.close(f"{name}, collectd", host, low, high)
        self.check(f"{name}: collectd's consumers + unattributed", sum(saved.values()), before["saved"])
        found = {series.split("/")[0].removeprefix("ksm_consumer-") for series in saved}
        self.check(f"{name}: collectd's consumers", sorted(found), sorted(["unattributed", *map("-".join, consumers)]))

    def exposition(self, name, part, saved, consumers):
        """The file for Prometheus, or node_exporter's version of it, has the metrics."""
        text = self.output.text(f"{name}.{part}")
        found = re.search(r"^ksm_saved_bytes (.*)$", text, re.MULTILINE)
        self.check(f"{name}, {part}: ksm_saved_bytes", found and float(found[1]), saved)
        found = set(re.findall(r'^ksm_consumer_saved_bytes\{kind="([^"]*)",name="([^"]*)"', text, re.MULTILINE))
        self.check(f"{name}, {part}: consumers", sorted(found), sorted(consumers))

    def sharing(self, name, saved, consumers):
        """The service has written the exact savings of all CONSUMERS, which add up, and node_exporter reads them."""
        self.done(f"{name}.sharing_service")
        text = self.output.text(f"{name}.sharing")
        self.check(f"{name}: families of sharing", sorted(re.findall(r"(?m)^# TYPE (\w+)", text)), sorted(SHARING))
        exact = {(kind, consumer): int(number) for kind, consumer, number in re.findall(
            r'(?m)^ksm_consumer_saved_exact_bytes\{kind="([^"]*)",name="([^"]*)"\} (\d+)$', text)}
        self.check(f"{name}: consumers of sharing", sorted(exact), sorted(consumers))
        self.check(f"{name}: sum of sharing", abs(sum(exact.values()) - saved) <= len(exact), True)
        exported = re.findall(r"^ksm_shared_across_owners_bytes (.*)$", self.output.text(f"{name}.exported"), re.MULTILINE)
        self.check(f"{name}: sharing, exported", len(exported), 1)

    # How they run.

    def rights(self, name, version, arguments):
        """The agent runs one ksm.plugin of VERSION with these ARGUMENTS, as its user with one capability."""
        self.check(f"{name}: file", self.lines(f"{name}.file"), ["root:netdata 750"])
        self.check(f"{name}: capability", self.lines(f"{name}.capability"), [f"{PLUGIN} cap_dac_read_search=ep"])
        status = dict(line.split(":\t") for line in self.lines(f"{name}.status"))
        self.check(f"{name}: user", status["Uid"].split(), [self.output.text("user").strip()] * 4)
        rights = [int(status[field], 16) for field in ("CapEff", "CapPrm", "NoNewPrivs", "Seccomp")]
        self.check(f"{name}: rights", rights, [1 << 2, 1 << 2, 1, 2])
        self.check(f"{name}: arguments", self.output.text(f"{name}.arguments").split(), [PLUGIN, "1", *arguments])
        self.check(f"{name}: processes of each", self.lines(f"{name}.processes"), ["1", "2", "1"])  # the agent has two
        self.running(name)
        self.check(f"{name}: versions", [line.split(maxsplit=1)[1] for line in self.lines(f"{name}.versions")],
                   [f"{version} install ok installed"] * 3)

    def running(self, name):
        """Both daemons run."""
        self.check(f"{name}: hosts", self.lines(f"{name}.hosts"), ["active", "active"])

    def confined(self):
        """collectd without capabilities sees the services of its own user, root, and logs that once."""
        before, after = self.readings("confined")
        self.collectd("confined", before, after, {("service", "shop")})
        self.check("confined: the others", UNREADABLE in self.output.text("confined.journal"), True)

    def journal(self, name):
        """Nothing is logged but what is expected."""
        for part in ("journal", "netdata_log"):
            text = re.sub(STAMP, "", self.output.text(f"{name}.{part}"), flags=re.MULTILINE)
            lines = re.sub(STOPPED, "", text).splitlines()
            lines = [line for line in lines if not any(re.fullmatch(pattern, line) for pattern in EXPECTED)]
            if name == "confined" and len(lines) == 1 and UNREADABLE in lines[0]:
                lines = []
            self.check(f"{name}: {part}", lines, [])
        self.check(f"{name}: the kernel's log", self.lines(f"{name}.kernel"), [])

    def all(self):
        """Make all checks."""
        new = f"{self.version}+new"
        self.check("up", [text for text, _status in self.output.parts["up"]], ["running\n"] * 2)
        self.done("install", "start_ksm", "start_openmetrics", "start_services", "start_containers")
        self.metrics("first", SERVICES | self.containers)
        self.rights("first", self.version, [])
        self.check("explain: status", self.output.parts["explain"][0][1], STOPPED_AND_SAVING)
        self.done("upgrade")
        self.metrics("upgraded", SERVICES)
        self.rights("upgraded", new, ["--consumers=15"])
        lines = self.lines("upgraded.conf")
        self.check("upgraded: collectd's configuration", ("# mine" in lines, "# new" in lines), (True, False))
        self.done("confine")
        self.confined()
        self.metrics("rebooted", SERVICES)
        self.rights("rebooted", new, ["--consumers=15"])
        self.done("undo", "remove")
        self.running("removed")
        self.check("removed: of ours", self.lines("removed.left"), ["ksm.conf.dpkg-dist", "ksm.conf.removed"])
        self.done("purge")
        for part in ("paths", "rights"):
            self.check(f"purged: {part}", self.lines(f"purged.{part}"), [])
        for name in ("purged", "restarted"):
            self.running(name)
        for name in ("first", "upgraded", "confined", "rebooted", "removed", "purged", "restarted"):
            self.journal(name)
        self.check("failed units", [text for text, _status in self.output.parts["failed"]], ["", ""])
