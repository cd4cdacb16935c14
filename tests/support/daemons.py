# SPDX-License-Identifier: MIT
"""Private instances of collectd, Netdata and Prometheus, for `make run` and the end-to-end tests.

Each daemon is a context manager.  It keeps all its files in the directory it is given, listens
only on a unix socket or 127.0.0.1, loads only the plugin under test, and leaves no process
running: it is stopped on exit, and killed by the kernel if this process dies first.

    with Collectd(tmp / "collectd", "build/ksm.so", {"Consumers": 5}) as daemon:
        daemon.wait_for("ksm/vmpage_number-shared")
        when, pages = daemon.values()["ksm/vmpage_number-shared"]

Times are seconds since the epoch.  A daemon that fails raises DaemonError with the end of its log.
"""

import copy
import ctypes
import grp
import json
import math
import os
import pwd
import select
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

COLLECTD = "/usr/sbin/collectd"
COLLECTD_PLUGINS = "/usr/lib/collectd"
TYPES_DB = "/usr/share/collectd/types.db"
NETDATA = "/usr/sbin/netdata"
NETDATA_WEB = "/usr/share/netdata/web"
NETDATA_SYSTEM_INFO = "/usr/lib/netdata/plugins.d/system-info.sh"
PROMETHEUS = "/usr/bin/prometheus"

# Generous: a busy or paused machine may keep a program from running for seconds.
START_S = 60        # limit for a daemon's first answer
STOP_S = 30         # limit for its exit after SIGTERM, before SIGKILL
ORPHAN_S = 10       # limit for its plugins to notice that it has exited
ANSWER_S = 30       # limit for one answer of a running daemon
SEEN_S = 60         # limit for a change to appear in a daemon that reads every second
POLL_S = 0.05       # poll interval
LOG_TAIL = 30       # lines of a log in an error message

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)


class DaemonError(Exception):
    """A daemon did not start, did not answer, or exited unexpectedly."""


class PortTaken(DaemonError):
    """Another program listens on the requested port."""


def until(condition, seconds, what, failed=AssertionError, poll_s=POLL_S):
    """Wait at most SECONDS until CONDITION() is true and return its value; else raise FAILED with WHAT in its message."""
    deadline = time.monotonic() + seconds
    over = False
    while not (value := condition()):
        if over:
            raise failed(f"waited {seconds} s for {what}")
        over = time.monotonic() > deadline      # poll once more: this process may have been paused
        time.sleep(poll_s)
    return value


def die_with_parent(parent):
    """Return a preexec_fn that makes the kernel kill the child when PARENT (a pid) dies."""
    def before_exec():
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
    return before_exec


def session_of(pid):
    """Return the session id of process PID, or None if it is gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    state, _ppid, _group, session = stat.rpartition(")")[2].split()[:4]
    return None if state in "ZX" else int(session)


def session_members(session):
    """Return the pids of all live processes of SESSION: plugins change their group, not their session."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and session_of(name) == session]


def wait_gone(pids, seconds):
    """Wait at most SECONDS until all of PIDS are gone; return those that are not."""
    deadline = time.monotonic() + seconds
    left = []
    for pid in pids:
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            if not select.select([fd], [], [], max(0, deadline - time.monotonic()))[0]:
                left.append(pid)
        finally:
            os.close(fd)
    return left


def plugins_of(daemon):
    """Return the pids of the plugins that DAEMON, a Netdata, has started."""
    def is_plugin(pid):
        try:
            return Path(f"/proc/{pid}/comm").read_text() == "ksm.plugin\n"
        except OSError:                 # another child of the agent, which has exited meanwhile
            return False
    return [pid for pid in session_members(daemon.process.pid) if is_plugin(pid)]


def user_name(uid):
    """Return the name of user UID, or the number itself if it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid):
    """Return the name of group GID, or the number itself if it has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def tail(text, lines=LOG_TAIL):
    """Return the last LINES lines of TEXT."""
    return "\n".join(text.splitlines()[-lines:])


class Daemon:
    """One daemon in the foreground, in a session of its own.

    A subclass sets `name`, writes its configuration and gives the command line (`command`), says
    whether the daemon answers (`answers`), and lists its log files (`logs`).
    """

    name = "daemon"

    def __init__(self, workdir, env=None):
        """Keep all files in WORKDIR (made if missing); add the dict ENV to the daemon's environment."""
        self.workdir = Path(workdir).resolve()
        self.workdir.mkdir(parents=True, exist_ok=True)
        self.env = dict(os.environ, **(env or {}))
        self.output = self.workdir / "output.log"
        self.logs = [self.output]
        self.process = None

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_exception):
        self.stop()

    def start(self):
        """Start the daemon and return self once it answers."""
        argv = self.command()
        with open(self.output, "ab") as output:
            try:
                self.process = subprocess.Popen(
                    argv, cwd=self.workdir, env=self.env, stdin=subprocess.DEVNULL, stdout=output,
                    stderr=subprocess.STDOUT, start_new_session=True,
                    preexec_fn=die_with_parent(os.getpid()))
            except OSError as error:
                raise DaemonError(f"{self.name}: cannot start {argv[0]}: {error.strerror}") from error
        self.wait(self.answers, START_S, "an answer")
        return self

    def wait(self, condition, seconds, what):
        """Wait at most SECONDS until CONDITION() is true and return its value; raise if the daemon ends."""
        return until(lambda: condition() or self.check_alive(), seconds, what, self.error)

    def check_alive(self):
        """Raise if the daemon has ended."""
        if self.process is None:
            raise DaemonError(f"{self.name}: not started")
        if self.process.poll() is not None:
            raise self.error(f"ended by itself, status {self.process.returncode}")

    def stop(self):
        """Stop the daemon and all processes of its session, within a bounded time."""
        if self.process is None:
            return
        session = self.process.pid
        plugins = [pid for pid in session_members(session) if pid != session]
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        wait_gone(plugins, ORPHAN_S)
        for pid in session_members(session):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        wait_gone(plugins, ORPHAN_S)
        self.process = None

    def log(self):
        """Return the text of the daemon's logs and output so far."""
        return "".join(log.read_text(errors="replace") for log in self.logs if log.exists())

    def error(self, message):
        """Return a DaemonError with MESSAGE and the end of the log."""
        return DaemonError(f"{self.name}: {message}; the end of its log:\n{tail(self.log())}")


# collectd

def collectd_quote(value):
    """Return VALUE quoted for collectd's configuration."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


def collectd_options(options):
    """Return the dict OPTIONS as lines of a <Plugin> block; a list becomes one line per element."""
    lines = []
    for key, value in options.items():
        for element in value if isinstance(value, (list, tuple)) else [value]:
            lines.append(f"  {key} {collectd_quote(element)}")
    return "\n".join(lines)


def single_value_types(types_db=TYPES_DB):
    """Return {type: GAUGE, DERIVE …} of the types that have one value."""
    kinds = {}
    for line in Path(types_db).read_text().splitlines():
        name, *sources = line.split() or [""]
        if len(sources) == 1 and not name.startswith("#"):
            kinds[name] = sources[0].split(":")[1]
    return kinds


class Collectd(Daemon):
    """A collectd with one plugin, read back through its unix socket and its csv files.

    Series are named without the host: "ksm/vmpage_number-shared".
    """

    name = "collectd"

    CONFIG = """\
Hostname {host}
FQDNLookup false
BaseDir {workdir}
PIDFile {pidfile}
TypesDB {types}
PluginDir {plugins}
Interval {interval}
LoadPlugin logfile
<Plugin logfile>
  File {log}
  Timestamp true
  PrintSeverity true
</Plugin>
LoadPlugin unixsock
<Plugin unixsock>
  SocketFile "collectd.sock"
  SocketGroup {group}
  DeleteSocket true
</Plugin>
{csv}
{extra}
{loaded}
"""

    LOADED = """\
PluginDir {plugin_dir}
LoadPlugin {plugin}
<Plugin {plugin}>
{options}
</Plugin>"""

    CSV = """\
LoadPlugin csv
<Plugin csv>
  DataDir {csv}
  StoreRates false
</Plugin>"""

    def __init__(self, workdir, plugin_so, options=None, interval=1, history=True, extra="", env=None,
                 host="localhost"):
        """Load PLUGIN_SO (None: no plugin under test) with OPTIONS ({key: value}), read it every INTERVAL seconds.

        With HISTORY every value is kept in csv files (about 25 bytes a value, without limit), which values(),
        history() and raw counters require.  EXTRA is appended to the configuration.  HOST is collectd's Hostname.
        """
        super().__init__(workdir, env)
        if os.environ.get("KSM_PRELOAD"):   # the runtime of a sanitizer that the plugin was built with
            self.env.update(LD_PRELOAD=os.environ["KSM_PRELOAD"], ASAN_OPTIONS="detect_leaks=0")
        self.plugin = plugin_so and Path(plugin_so).resolve()
        self.host = host                # the Hostname whose values are read back
        self.options = dict(options or {})
        self.interval = interval
        self.keep_history = history
        self.extra = extra
        self.csv = self.workdir / "csv"
        self.logs.append(self.workdir / "collectd.log")
        self.types = single_value_types()

    def of(self, host):
        """Return a view of the values that HOST has sent to this one."""
        view = copy.copy(self)
        view.host = host
        return view

    def loaded(self):
        """Return the configuration of the plugin under test."""
        if not self.plugin:
            return ""
        if not self.plugin.is_file():
            raise DaemonError(f"collectd: no plugin {self.plugin}")
        return self.LOADED.format(plugin_dir=collectd_quote(self.plugin.parent), plugin=self.plugin.stem,
                                  options=collectd_options(self.options))

    def command(self):
        quote = collectd_quote
        config = self.workdir / "collectd.conf"
        config.write_text(self.CONFIG.format(
            workdir=quote(self.workdir), pidfile=quote(self.workdir / "collectd.pid"),
            types=quote(TYPES_DB), group=quote(group_name(os.getegid())),
            plugins=quote(COLLECTD_PLUGINS), interval=self.interval,
            log=quote(self.logs[1]), extra=self.extra, loaded=self.loaded(), host=quote(self.host),
            csv=self.CSV.format(csv=quote(self.csv)) if self.keep_history else ""))
        return [COLLECTD, "-f", "-C", str(config)]

    def answers(self):
        try:
            self.ask("LISTVAL")
        except OSError:
            return False
        return True

    def connect(self):
        """Return a socket connected to the daemon; by descriptor, because a unix address holds only 107 bytes."""
        directory = os.open(self.workdir, os.O_PATH | os.O_DIRECTORY)
        try:
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(ANSWER_S)
            try:
                connection.connect(f"/proc/self/fd/{directory}/collectd.sock")
            except OSError:
                connection.close()
                raise
            return connection
        finally:
            os.close(directory)

    def ask(self, *commands):
        """Return the answers to COMMANDS, each a list of lines, or None for a command that failed."""
        answers = []
        with self.connect() as connection, connection.makefile("rw", encoding="utf-8") as stream:
            for command in commands:
                stream.write(command + "\n")
                stream.flush()
                status = stream.readline()
                if not status:
                    raise ConnectionError("collectd closed the connection")
                count = int(status.split()[0])
                lines = [stream.readline().rstrip("\n") for _ in range(count)]
                answers.append(lines if count >= 0 else None)
        return answers

    def series(self):
        """Return {series: time of its last value} of the daemon's current series."""
        found = {}
        for line in self.ask("LISTVAL")[0] or []:
            when, _, identifier = line.partition(" ")
            host, _, name = identifier.partition("/")
            if host == self.host:
                found[name] = float(when)
        return found

    def rates(self):
        """Return {series: (time, number)} as the daemon shows them: gauges, and counters as rates per second.

        A value outside the range of collectd's type, and a counter's rate after its first value, are NaN.
        """
        series = self.series()
        answers = self.ask(*(f'GETVAL "{self.host}/{name}"' for name in series))
        return {name: (when, float(answer[0].partition("=")[2]))
                for (name, when), answer in zip(series.items(), answers) if answer and len(answer) == 1}

    def is_counter(self, name):
        """Whether the series NAME is a counter."""
        return self.types.get(name.partition("/")[2].partition("-")[0], "GAUGE") != "GAUGE"

    def values(self):
        """Return {series: (time, number)}, the latest: gauges as the daemon shows them, counters raw."""
        latest = {name: value for name, value in self.rates().items() if not self.is_counter(name)}
        for name, samples in self.history(last_bytes=4096).items():
            if self.is_counter(name):
                latest[name] = samples[-1]
        return latest

    def history(self, seconds=None, last_bytes=None):
        """Return {series: [(time, raw number), …]}, oldest first, of the last SECONDS (default: all)."""
        since = time.time() - seconds if seconds is not None else 0
        found = {}
        for path in sorted(self.csv.glob(f"{self.host}/*/*")):
            name = str(path.relative_to(self.csv / self.host))[:-len("-YYYY-MM-DD")]
            samples = [sample for sample in read_csv(path, last_bytes) if sample[0] >= since]
            if samples:
                found.setdefault(name, []).extend(samples)
        return found

    def wait_for(self, *names, seconds=START_S):
        """Wait at most SECONDS until each of the series NAMES has a value (a rate for counters)."""
        def all_there():
            rates = self.rates()
            return all(name in rates and not math.isnan(rates[name][1]) for name in names)
        self.wait(all_there, seconds, ", ".join(names))


def read_csv(path, last_bytes=None):
    """Return [(time, number), …] of one of the csv plugin's files, or of its last LAST_BYTES only."""
    with open(path, "rb") as file:
        if last_bytes:
            file.seek(max(0, path.stat().st_size - last_bytes))
        lines = file.read().split(b"\n")[1:-1]      # a heading or half a line first, half a line last
    return [(float(when), float(number)) for when, number in (line.split(b",") for line in lines)]


# Ports and web pages of 127.0.0.1

RESERVED = []       # sockets


def free_port():
    """Return a TCP port of 127.0.0.1 that is reserved until this process exits.

    It is bound here.  A daemon can still listen on it, as it sets SO_REUSEADDR.
    """
    probe = socket.socket()
    probe.bind(("127.0.0.1", 0))
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)     # only now: this port was nobody's
    RESERVED.append(probe)
    return probe.getsockname()[1]


def port_is_free(port):
    """Whether no program listens on PORT of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def fetch(url):
    """Return the body of URL, requested without a proxy."""
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=ANSWER_S) as answer:
        return answer.read()


# Netdata

class Netdata(Daemon):
    """A Netdata agent with one external plugin, read back through its web interface.

    Values are named (chart id, dimension id): ("ksm.memory", "shared").
    """

    name = "netdata"

    CONFIG = """\
[global]
    run as user = {user}
    process scheduling policy = keep
[db]
    mode = alloc
    update every = 1
    retention = 3600
    memory deduplication (ksm) = no
[directories]
    config = {workdir}/etc
    stock config = {workdir}/stock
    cache = {workdir}/cache
    lib = {workdir}/lib
    log = {workdir}/log
    home = {workdir}/home
    plugins = {plugins}
    web = {web}
[logs]
    access = none
    errors flood protection period = 0
[environment variables]
    PATH = {path}
[sqlite]
    synchronous = OFF
[registry]
    enabled = no
[cloud]
    enabled = no
[ml]
    enabled = no
[statsd]
    enabled = no
[health]
    enabled = {health}
    enable stock health configuration = no
    script to execute on alarm = /bin/true
    run at least every seconds = 1
[web]
    bind to = 127.0.0.1:{port}
    web files owner = {web_owner}
    web files group = {web_group}
[plugins]
    timex = no
    idlejitter = no
    netdata monitoring = no
    netdata monitoring extended = no
    tc = no
    diskspace = no
    proc = no
    cgroups = no
    statsd = no
    slabinfo = no
    enable running new plugins = no
{loaded}
{extra}
"""

    INTERVALS = 3       # of a chart: one that is incomplete, one that the agent has not stored yet, and one before

    LOADED = """\
    {plugin} = yes
[plugin:{plugin}]
    update every = {interval}
    command options = {options}"""

    def __init__(self, workdir, plugin, options="", port=0, env=None, interval=1, health=None, extra="", stream=""):
        """Run PLUGIN (…/ksm.plugin; its directory becomes the plugins directory; None: none) with the words OPTIONS.

        PORT 0 means a free one.  HEALTH is a file of alert definitions or a list of them; without it
        alerts are off.  EXTRA is appended to netdata.conf, STREAM is the text of stream.conf.
        """
        super().__init__(workdir, dict({"DO_NOT_TRACK": "1"}, **(env or {})))
        self.plugin = plugin and Path(plugin).resolve()
        self.options = options
        self.stream = stream
        self.prefix = ""                # path prefix of another host's values
        self.port = port
        self.interval = interval
        self.health = [health] if isinstance(health, (str, Path)) else list(health or [])
        self.extra = extra
        self.logs += [self.workdir / "log/error.log", self.workdir / "log/health.log"]

    @property
    def url(self):
        """The dashboard's address."""
        return f"http://127.0.0.1:{self.port}"

    def of(self, host):
        """Return a view of the values that HOST streams to this one."""
        view = copy.copy(self)
        view.prefix = f"host/{host}/"
        return view

    def directories(self):
        """Return the plugins directories.  1.37 crashes when it streams and has no system-info.sh in the first."""
        own = self.workdir / "plugins"
        if self.stream:
            (own / Path(NETDATA_SYSTEM_INFO).name).unlink(missing_ok=True)
            (own / Path(NETDATA_SYSTEM_INFO).name).symlink_to(NETDATA_SYSTEM_INFO)
        words = ([own] if self.stream or not self.plugin else []) + ([self.plugin.parent] if self.plugin else [])
        return " ".join(f'"{word}"' for word in words)

    def loaded(self):
        """Return the configuration of the plugin under test."""
        if not self.plugin:
            return ""
        if not os.access(self.plugin, os.X_OK):
            raise DaemonError(f"netdata: no plugin {self.plugin}")
        return self.LOADED.format(plugin=self.plugin.stem, interval=self.interval, options=self.options)

    def command(self):
        if self.port and not port_is_free(self.port):
            raise PortTaken(f"netdata: port {self.port} of 127.0.0.1 is taken by another program")
        self.port = self.port or free_port()
        for name in ("etc/health.d", "stock", "cache", "lib", "log", "home", "plugins"):
            (self.workdir / name).mkdir(parents=True, exist_ok=True)
        for source in self.health:
            shutil.copy(source, self.workdir / "etc/health.d")
        web = os.stat(Path(NETDATA_WEB, "index.html"))
        config = self.workdir / "netdata.conf"
        config.write_text(self.CONFIG.format(
            workdir=self.workdir, user=user_name(os.geteuid()), web=NETDATA_WEB, port=self.port,
            web_owner=user_name(web.st_uid), web_group=group_name(web.st_gid),
            health="yes" if self.health else "no", path=self.env.get("PATH", os.defpath),
            plugins=self.directories(), loaded=self.loaded(), extra=self.extra))
        (self.workdir / "etc/stream.conf").write_text(self.stream)
        return [NETDATA, "-D", "-c", str(config)]

    def answers(self):
        """Whether the agent that answers on the port is this one: it has the id in our directory."""
        try:
            own = (self.workdir / "lib/registry/netdata.public.unique.id").read_text().strip()
            return self.api("info")["uid"] == own
        except (OSError, ValueError):
            return False

    def fetch(self, path):
        """Return the body of http://127.0.0.1:PORT/PATH."""
        return fetch(f"{self.url}/{path}")

    def api(self, call, **arguments):
        """Return the JSON answer of /api/v1/CALL?ARGUMENTS."""
        query = f"?{urllib.parse.urlencode(arguments)}" if arguments else ""
        return json.loads(self.fetch(f"{self.prefix}api/v1/{call}{query}"))

    def charts(self):
        """Return {chart id: the agent's description of it}, without obsolete charts."""
        return self.api("charts")["charts"]

    def alarms(self):
        """Return {alarm: the agent's description of it}, raised or not."""
        return json.loads(self.fetch("api/v1/alarms?all"))["alarms"]

    def values(self):
        """Return {(chart, dimension): (time, number)}, the latest of the last intervals; counters as rates per second."""
        return {name: samples[-1] for name, samples in self.history(5).items()}

    def history(self, seconds, charts=None):
        """Return {(chart, dimension): [(time, number), …]}, oldest first, of the last SECONDS; gaps are left out.

        CHARTS default to all.  A chart with a long interval has at least the values of INTERVALS intervals.  Times are
        whole seconds; the agent interpolates the value at each, so it appears one to two intervals late; counters are
        rates per second.
        """
        found, known = {}, self.charts()
        for chart in charts if charts is not None else known:
            interval = known.get(chart, {}).get("update_every", 1)
            period = max(int(seconds), self.INTERVALS * interval if interval > self.interval else 0)
            try:
                answer = self.api("data", chart=chart, after=-period, points=period // interval,
                                  group="average", format="json", options="jsonwrap|seconds|flip")
            except urllib.error.HTTPError:
                continue                                        # the chart does not exist (any more)
            for when, *numbers in answer["result"]["data"]:
                if when <= answer["first_entry"]:               # where the chart begins: nothing stored, reads as 0
                    continue
                for dimension, number in zip(answer["dimension_ids"], numbers):
                    if number is not None:
                        found.setdefault((chart, dimension), []).append((float(when), float(number)))
        return found

    def wait_for(self, *names, seconds=START_S):
        """Wait at most SECONDS until each of NAMES, (chart, dimension), has a value."""
        charts = {chart for chart, _dimension in names}
        self.wait(lambda: set(names) <= set(self.history(5, charts)), seconds, ", ".join(map(str, names)))


# Both

def command_line_option(option, value):
    """Return collectd's OPTION with VALUE as an option of ksm.plugin: ConsumersInterval as --consumers-interval=1."""
    name = "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in option).lstrip("-")
    return f"--{name}={value}"


class Both:
    """A private collectd and a private Netdata, each with its plugin and the same options."""

    def __init__(self, stack, build, work, options, **of_collectd):
        """Start both with OPTIONS, {collectd's name: value}, until STACK is closed, and wait for a value."""
        self.collectd = stack.enter_context(Collectd(work / "collectd", build / "ksm.so", options, **of_collectd))
        arguments = " ".join(command_line_option(*option) for option in options.items())
        self.netdata = stack.enter_context(Netdata(work / "netdata", build / "ksm.plugin", arguments))
        self.both = (self.collectd, self.netdata)
        self.wait_first()

    def wait_first(self, collectd="ksm/vmpage_number-sharing", netdata=("ksm.memory", "sharing")):
        """Wait until both have a value."""
        self.collectd.wait_for(collectd)
        self.netdata.wait_for(netdata)


# Prometheus

class Prometheus(Daemon):
    """A Prometheus that scrapes every INTERVAL seconds, read back through its web interface.

    A series is named by the frozenset of its labels' items, without the metric's name.
    """

    name = "prometheus"

    CONFIG = """\
global:
  scrape_interval: {interval}s
  scrape_timeout: {interval}s
  evaluation_interval: {interval}s
{scrape_configs}
"""

    def __init__(self, workdir, scrape_configs, interval=1):
        """Scrape the targets of SCRAPE_CONFIGS, that section of prometheus.yml with its heading."""
        super().__init__(workdir)
        self.scrape_configs = scrape_configs
        self.interval = interval
        self.port = 0

    @property
    def url(self):
        """The address of its web interface."""
        return f"http://127.0.0.1:{self.port}"

    def command(self):
        self.port = free_port()
        config = self.workdir / "prometheus.yml"
        config.write_text(self.CONFIG.format(interval=self.interval, scrape_configs=self.scrape_configs))
        return [PROMETHEUS, f"--config.file={config}", f"--storage.tsdb.path={self.workdir / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn"]

    def answers(self):
        try:
            return bool(fetch(f"{self.url}/-/ready"))
        except OSError:
            return False

    def api(self, call, **arguments):
        """Return the data of the answer of /api/v1/CALL?ARGUMENTS; an invalid query raises DaemonError."""
        try:
            answer = fetch(f"{self.url}/api/v1/{call}?{urllib.parse.urlencode(arguments)}")
        except urllib.error.HTTPError as error:
            raise self.error(f"{arguments}: {error.read().decode(errors='replace')}") from error
        return json.loads(answer)["data"]

    def query(self, expression, when=None):
        """Return {series: number} of EXPRESSION now, or at the time WHEN."""
        found = self.api("query", query=expression, **({} if when is None else {"time": when}))
        return {frozenset((label, text) for label, text in series["metric"].items() if label != "__name__"):
                float(series["value"][1]) for series in found["result"]}

    def wait_numbers(self, expression, numbers, rel, tolerance=0):
        """Wait until the series of EXPRESSION have these NUMBERS within REL (relative) or TOLERANCE (absolute).

        Waiting is needed because a query has no result after a failed scrape.
        """
        found = []

        def matches():
            found[:] = self.query(expression).values()
            return len(found) == len(numbers) and all(
                abs(value - number) <= max(rel * abs(number), tolerance) for value, number in zip(found, numbers))
        self.wait(matches, SEEN_S, f"{numbers} of {expression}")

    def label_values(self, label, selector):
        """Return the sorted values of LABEL in the series that SELECTOR chooses."""
        return self.api(f"label/{label}/values", **{"match[]": selector})

    def wait_for(self, *expressions, seconds=START_S):
        """Wait at most SECONDS until each of EXPRESSIONS has a series."""
        self.wait(lambda: all(map(self.query, expressions)), seconds, ", ".join(expressions))
