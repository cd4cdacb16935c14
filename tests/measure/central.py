# SPDX-License-Identifier: MIT
"""A host that sends to central daemons, with the configurations in collectd/README.md and netdata/README.md.

    with Central(tmp, "build", tree) as pair:
        pair.collectd.wait_for("ksm/gauge-profit")          # as the collectd in the middle has it
        pair.sender.collectd.history()                      # as the host itself has it
"""

import re
import socket
import textwrap
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

from daemons import Collectd, Netdata, command_line_option, free_port

REPOSITORY = Path(__file__).resolve().parents[2]
# {README: its section, and the names of the configurations there}
SNIPPETS = {"collectd/README.md": ("## Many hosts\n", ("network_host", "network_central", "auth")),
            "netdata/README.md": ("## Streaming to a parent\n", ("stream_host", "stream_central"))}
HOST = "hypervisor-1"       # the sender's name

# What is only an example there.
NAME, NETDATA_PORT, NETWORK_PORT = "central.example.com", "19999", "25826"
ANY, AUTH_FILE = "0.0.0.0", "/etc/collectd/hosts.auth"

# Two threads that create the same file at once spoil it: 5.12's csv plugin locks it only after that.
ONE_WRITER = "WriteThreads 1\n"


def snippets():
    """Return {name: text} of the configurations in both READMEs, unchanged."""
    found = {}
    for file, (section, names) in SNIPPETS.items():
        text = (REPOSITORY / file).read_text(encoding="utf-8").partition(section)[2].partition("\n## ")[0]
        blocks = re.findall(r"(?m)(?:^(?: {4}.*)?\n)*^ {4}.*\n", text)
        assert len(blocks) == len(names), f"{file}: {len(blocks)} configurations, not {len(names)}"
        found.update((name, textwrap.dedent(block).strip("\n") + "\n") for name, block in zip(names, blocks))
    return found


def replaced(text, values):
    """Return TEXT with each key of VALUES, which must be there, replaced by its value."""
    for example, value in values.items():
        assert example in text, f"README: no {example} in\n{text}"
        text = text.replace(example, str(value))
    return text


def free_udp_port():
    """Return a UDP port of 127.0.0.1 that is free now."""
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Central:
    """Both engines twice: a host with the plugins, and a place in the middle without, which has what the host sent.

    `collectd` and `netdata` are views of the host's values there, `sender` has the host's own, `central` the daemons.
    """

    def __init__(self, work, build, tree, engines=("collectd", "netdata"), interval=None, options=None):
        """Keep all files in WORK, read TREE; only the ENGINES named; collectd reads every INTERVAL s (default 1).

        OPTIONS are {option of collectd: value}, and those of the other as well.
        """
        self.work, self.build, self.tree = Path(work), Path(build), tree
        self.engines = engines
        self.interval = interval or 1
        self.options = options or {}
        self.texts = snippets()
        self.stack = ExitStack()
        self.sender, self.central = SimpleNamespace(), SimpleNamespace()

    def __enter__(self):
        try:
            for engine in self.engines:
                getattr(self, f"start_{engine}")()
        except BaseException:
            self.stack.close()
            raise
        return self

    def __exit__(self, *_exception):
        self.stack.close()

    def start_collectd(self):
        """Start the central collectd, then the host's."""
        port = free_udp_port()
        auth = self.work / "hosts.auth"
        self.work.mkdir(parents=True, exist_ok=True)
        auth.write_text(self.texts["auth"])
        listen = replaced(self.texts["network_central"], {ANY: "127.0.0.1", NETWORK_PORT: port, AUTH_FILE: auth})
        send = replaced(self.texts["network_host"], {NAME: "127.0.0.1", NETWORK_PORT: port})
        self.central.collectd = self.stack.enter_context(
            Collectd(self.work / "collectd-central", None, interval=self.interval, extra=ONE_WRITER + listen,
                     host="central"))
        self.sender.collectd = self.stack.enter_context(
            Collectd(self.work / "collectd-host", self.build / "ksm.so", {"Root": self.tree, **self.options},
                     interval=self.interval, extra=send, host=HOST))
        self.collectd = self.central.collectd.of(HOST)

    def start_netdata(self):
        """Start the central Netdata, then the host's."""
        self.port = free_port()
        send = replaced(self.texts["stream_host"], {NAME: "127.0.0.1", NETDATA_PORT: self.port})
        words = [f"--root={self.tree}", *(command_line_option(*option) for option in self.options.items())]
        self.start_central_netdata(self.stack)
        self.sender.netdata = self.stack.enter_context(
            Netdata(self.work / "netdata-host", self.build / "ksm.plugin", " ".join(words), stream=send,
                    extra=f"[global]\n    hostname = {HOST}"))
        self.netdata = self.central.netdata.of(HOST)

    def start_central_netdata(self, stack):
        """Start the Netdata in the middle, until STACK ends it; once more after its end, on the same port."""
        self.central.netdata = stack.enter_context(
            Netdata(self.work / "netdata-central", None, port=self.port, stream=self.texts["stream_central"],
                    extra="[global]\n    hostname = central"))
