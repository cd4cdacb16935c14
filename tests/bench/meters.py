# SPDX-License-Identifier: MIT
"""Programs whose cost the bench measures, each from its start to the end of a `with` block.

A subject has `pids` (of all its processes that live) and `metrics` (how many numbers one sample brings), and takes a
sample a second.  What was spent is the kernel's own account in ns.
"""

import http.client
import os
import re
import subprocess
import threading
import time
from pathlib import Path

from daemons import Collectd, Netdata, die_with_parent, free_port, session_members

EXPORTER = "/usr/bin/prometheus-node-exporter"
START_S = 10
PROGRAM = b"BEGIN ksm.consumer_program_"
PMVAL = "/usr/bin/pmval"    # with -L it has PCP's agent for Linux within itself
EXEC_KSM = "/usr/share/doc/collectd-core/examples/exec-ksm.sh"
MODULES = """/proc/stat /proc/uptime /proc/loadavg /proc/sys/kernel/random/entropy_avail /proc/pressure /proc/interrupts
    /proc/softirqs /proc/vmstat /proc/meminfo /sys/block/zram /sys/devices/system/edac/mc /sys/devices/pci/aer
    /sys/devices/system/node /proc/net/dev /proc/net/wireless /proc/net/sockstat /proc/net/sockstat6 /proc/net/netstat
    /proc/net/sctp/snmp /proc/net/softnet_stat /proc/net/ip_vs/stats /sys/class/infiniband /proc/net/stat/conntrack
    /proc/net/stat/synproxy /proc/diskstats /proc/mdstat /proc/net/rpc/nfsd /proc/net/rpc/nfs /proc/pagetypeinfo
    /proc/spl/kstat/zfs/arcstats /proc/spl/kstat/zfs/pool/state /sys/fs/btrfs ipc /sys/class/power_supply""".split()

# In the manner of a collectd exec script: a shell that reads each file by a program and prints what it got.
SHELL_LOOP = """\
while sleep 1; do
    for file in pages_shared pages_sharing pages_unshared pages_volatile full_scans; do
        echo "PUTVAL host/exec-ksm/$file interval=1 N:$(cat /sys/kernel/mm/ksm/$file)"
    done
done"""
SHELL_METRICS = 5           # of both scripts


def process_ns(pid):
    """Return the CPU time in ns of process PID so far, including threads that have exited."""
    scheduled = 2                       # the kernel's CPUCLOCK_SCHED (include/linux/posix-timers.h)
    return time.clock_gettime_ns(~pid << 3 | scheduled)


def threads_ns(pid, name):
    """Return the CPU time in ns so far of the threads of PID whose name begins with NAME."""
    total = 0
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            if (task / "comm").read_text().startswith(name):
                total += int((task / "schedstat").read_text().split()[0])
        except (OSError, IndexError):
            continue
    return total


def spent(pids, thread=""):
    """Return the CPU time in ns of PIDS, or of their threads whose name begins with THREAD."""
    return sum(threads_ns(pid, thread) if thread else process_ns(pid) for pid in pids)


def resident_mb(pids):
    """Return the resident memory of PIDS in MB (10^6 bytes)."""
    total = 0
    for pid in pids:
        found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
        total += int(found[1]) * 1024 if found else 0
    return total / 1e6


class Subject:
    """A process that this one starts; `command` is what, its standard input stays open till the end."""

    metrics = 0

    def __init__(self, command):
        self.command = [str(word) for word in command]
        self.process = None

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, start_new_session=True,
                                        preexec_fn=die_with_parent(os.getpid()))
        self.started()
        return self

    def started(self):
        """What is to be done once the process runs."""

    def __exit__(self, *_exception):
        self.process.stdin.close()
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()

    @property
    def pids(self):
        return [self.process.pid]


class Plugin(Subject):
    """ksm.plugin at one sample a second, its output read as an agent does.

    ticks: when each tick's first line came in, on the wall clock; consumers: the same of each program's first metric.
    """

    def __init__(self, build, *options, command=None):
        """Or the COMMAND, which prints the first line of a tick."""
        super().__init__(command or [build / "ksm.plugin", "1", *options])
        self.ticks = []
        self.consumers = {}
        self.lines = 0
        self.first = threading.Event()

    def started(self):
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        """Read what comes, to the end."""
        rest, fd = b"", self.process.stdout.fileno()
        while True:
            chunk = os.read(fd, 65536)
            now = time.time()
            if not chunk:
                return
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if line == b"BEGIN ksm.memory":
                    self.ticks.append(now)
                    self.lines = 0
                self.lines += line.startswith(b"SET ")
                if line.startswith(PROGRAM):
                    self.consumers.setdefault(line.removeprefix(PROGRAM).decode(), now)
                self.metrics = max(self.metrics, self.lines)
            if self.ticks:
                self.first.set()

    def late_ms(self):
        """Return the delay of each tick after its second in ms, without the first, which is immediate."""
        return [when % 1 * 1000 for when in self.ticks[1:]]


class NodeExporter(Subject):
    """node_exporter with nothing but ksmd, scraped once a second on a connection that stays open."""

    def __init__(self, phase):
        """It is scraped PHASE (0 to 1) after the full second."""
        self.phase = phase
        self.port = free_port()
        super().__init__([EXPORTER, "--collector.disable-defaults", "--collector.ksmd",
                          "--web.disable-exporter-metrics", f"--web.listen-address=127.0.0.1:{self.port}"])
        self.ended = threading.Event()

    def started(self):
        deadline = time.monotonic() + START_S
        while True:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_S)
                connection.connect()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        threading.Thread(target=self.scrape, args=[connection], daemon=True).start()

    def scrape(self, connection):
        """Ask once a second until the end."""
        while not self.ended.wait((self.phase - time.time()) % 1 or 1):
            connection.request("GET", "/metrics")     # not compressed: the least for it
            body = connection.getresponse().read()
            self.metrics = max(self.metrics, len(re.findall(rb"^node_ksmd_", body, re.MULTILINE)))
        connection.close()

    def __exit__(self, *exception):
        self.ended.set()
        super().__exit__(*exception)


class Script:
    """A script that prints SHELL_METRICS lines a second, for so many seconds."""

    def __init__(self, command, seconds):
        self.process = subprocess.Popen(["timeout", str(seconds + 0.7), *command], stdout=subprocess.PIPE,
                                        env={**os.environ, "COLLECTD_INTERVAL": "1", "COLLECTD_HOSTNAME": "host"},
                                        preexec_fn=die_with_parent(os.getpid()))

    def us_a_sample(self):
        """Wait for its end; return the µs of CPU that it and all its children took for a sample, or None without one."""
        lines = self.process.stdout.read().count(b"\n")
        self.process.stdout.close()
        _, status, used = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        return (used.ru_utime + used.ru_stime) * 1e6 * SHELL_METRICS / lines if lines else None


class Host:
    """A private collectd or Netdata (daemons.py) as a subject."""

    def __init__(self, daemon, metrics):
        """METRICS(daemon) counts the numbers of a sample once it runs."""
        self.daemon = daemon
        self.count = metrics

    def __enter__(self):
        self.daemon.__enter__()
        return self

    def __exit__(self, *exception):
        self.daemon.__exit__(*exception)

    @property
    def pids(self):
        return session_members(self.daemon.process.pid)

    @property
    def metrics(self):
        return self.count(self.daemon)


def collectd(directory, plugin, **options):
    """Return a collectd with one plugin."""
    return Host(Collectd(directory, plugin, options, history=False),
                lambda host: sum(name.startswith(f"{plugin.stem}/") for name in host.series()))


def netdata(directory, with_ksm):
    """Return a Netdata agent that runs nothing but its own proc plugin, of that KSM's module or nothing.

    It stores what it collects in its database on disk, as Netdata does where nobody changes that.
    """
    modules = {**dict.fromkeys(MODULES, "no"), "/sys/kernel/mm/ksm": "yes" if with_ksm else "no"}
    extra = "\n".join(["[db]", "    mode = dbengine", "[plugins]", "    proc = yes", "    none = no", "[plugin:proc]",
                       "    netdata server resources = no",
                       *(f"    {name} = {word}" for name, word in modules.items())])
    plugins = Path(directory, "plugins.d")
    plugins.mkdir(parents=True)
    (plugins / "none.plugin").write_text("#!/bin/sh\n")
    (plugins / "none.plugin").chmod(0o755)
    return Host(Netdata(directory, plugins / "none.plugin", extra=extra),
                lambda host: sum(len(chart["dimensions"]) for name, chart in host.charts().items()
                                 if name.startswith("mem.ksm")))


def agent(directory, build):
    """Return a Netdata agent with the ksm.plugin of BUILD, for the host's metrics only, and its database on disk."""
    return Host(Netdata(directory, build / "ksm.plugin", "--consumers=0", extra="[db]\n    mode = dbengine"),
                lambda host: sum(len(chart["dimensions"]) for name, chart in host.charts().items()
                                 if name.startswith("ksm.")))


def values_a_day(host):
    """Return how many values the agent HOST stores a day."""
    return sum(len(chart["dimensions"]) * 86400 // chart["update_every"]
               for name, chart in host.daemon.charts().items() if name.startswith("ksm."))
