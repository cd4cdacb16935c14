# SPDX-License-Identifier: MIT
"""A parser for Netdata's plugins.d protocol, as strict as the strictest agent.

Lines that 1.37 and 2.x treat differently, that either rejects, or that ksm.plugin never sends raise ProtocolError.
"""

import re
from typing import NamedTuple

from consumers import KINDS, MIB

LINE_AT_MOST = 15 * 1024
NAME_AT_MOST = 103      # bytes of a consumer's name: with its kind it fits collectd's plugin instance
NUMBER = r"(0|-?[1-9][0-9]{0,18})"                  # no octal, no +, no fraction
ID = r"([^\s'\"/.=]{1,196})"
TEXT = r"'([^'\"\\]+)'"

# What may follow each keyword that all agents know.
LINES = {
    "CHART": rf"ksm\.{ID} (''|[\w.-]+) {TEXT} {TEXT} {TEXT} ksm\.{ID} (line|area|stacked) {NUMBER} {NUMBER} "
             r"(''|obsolete) ksm\.plugin ksm",
    "VARIABLE": rf"(CHART|HOST) {ID} = {NUMBER}",
    "CLABEL": rf"{ID} (?:{TEXT}|{ID}) 1",
    "CLABEL_COMMIT": "",
    "DIMENSION": rf"{ID} '' (absolute|incremental) {NUMBER} {NUMBER}",
    "BEGIN": rf"ksm\.{ID}",
    "SET": rf"{ID} = {NUMBER}",
    "END": "",
    "DISABLE": "",
    "FUNCTION": rf'GLOBAL "([^"]+)" {NUMBER} "([^"]+)" "([^"]+)" (0x[0-9a-f]+) {NUMBER}',
    "FUNCTION_RESULT_BEGIN": rf"(\S+) {NUMBER} (\S+) {NUMBER}",
    "FUNCTION_RESULT_END": "",
}
BETWEEN_BEGIN_AND_END = {"SET", "END"}
AFTER_CHART = {"CLABEL", "CLABEL_COMMIT", "DIMENSION"}


class ProtocolError(AssertionError):
    """A line that an agent would reject or misunderstand."""


class Agent:
    """An agent's view of a plugin's output.

    charts: {chart: {name, title, units, family, context, type, priority, update_every}}, as of now
    variables: {(chart, name): integer}; of the host, the chart is None
    dimensions: {(chart, dimension): (algorithm, multiplier, divisor)}
    labels: {chart: {name: value}}
    ticks: [{(chart, dimension): integer}]; a new tick starts when a chart begins for the second time.  The charts of
    consumers are not synchronous with ticks: they are passed to on_consumers(chart, {dimension: integer}).
    functions, answers: the declared functions, and the answers to requests.
    """

    def __init__(self, text="", on_consumers=None):
        """Take TEXT, whole lines."""
        self.charts, self.variables, self.dimensions, self.labels, self.ticks = {}, {}, {}, {}, []
        self.on_consumers = on_consumers
        self.disabled = False
        self.functions = {}         # {name: (timeout, help, tags, access, priority)}
        self.answers = []           # [(transaction, status, type, expires, text)]
        self.answer = None          # the one between FUNCTION_RESULT_BEGIN and FUNCTION_RESULT_END
        self.begun = None           # the chart between BEGIN and END
        self.values = {}            # and what it is set to
        self.drawn = None           # the chart that DIMENSION adds to
        self.seen = set()           # the charts of this tick
        if text and not text.endswith("\n"):
            raise ProtocolError("the output ends within a line")
        for line in text.splitlines():
            self.take(line)
        self.check(self.begun is None and self.answer is None, "BEGIN without END", text[-80:])

    @staticmethod
    def check(condition, message, line):
        """Raise with MESSAGE and LINE unless CONDITION."""
        if not condition:
            raise ProtocolError(f"{message}: {line}")

    def take(self, line):
        """Take one LINE."""
        self.check(len(line.encode()) < LINE_AT_MOST, "too long", line[:80])
        if self.answer is not None and line != "FUNCTION_RESULT_END":
            self.answer[-1].append(line)
            return
        if not line:
            return
        self.check(line.isprintable(), "not plain text", line)
        keyword, _, rest = line.partition(" ")
        self.check(keyword in LINES, "a keyword that some agent does not know", line)
        found = re.fullmatch(LINES[keyword], rest)
        self.check(found, "a word too many, too few or another than meant", line)
        self.check((keyword in BETWEEN_BEGIN_AND_END) == (self.begun is not None), "BEGIN and END do not pair up", line)
        self.check(keyword not in AFTER_CHART or self.drawn, "without CHART", line)
        getattr(self, keyword.lower())(line, *found.groups())

    def chart(self, line, name, shown, title, units, family, context, kind, priority, every, options):
        """CHART type.id name title units family context charttype priority update_every options plugin module"""
        self.drawn = f"ksm.{name}"
        self.check(line.isascii() or name.startswith("consumer_"), "not plain ASCII", line)
        self.check(context == ("consumer_memory" if name.startswith("consumer_") else name), "another context", line)
        shown = name if shown == "''" else shown
        self.check(re.fullmatch(r"[\w.-]+", shown, re.ASCII), "a name that the agent changes", line)
        attributes = {"name": shown, "title": title, "units": units, "family": family, "context": f"ksm.{context}",
                "type": kind, "priority": int(priority), "update_every": int(every)}
        self.check(self.charts.setdefault(self.drawn, attributes) == attributes, "not as it was drawn before", line)
        self.check(sum(chart["name"] == shown for chart in self.charts.values()) == 1, "a name of two charts", line)
        self.labels[self.drawn] = {}
        if options == "obsolete":
            del self.charts[self.drawn]

    def variable(self, line, scope, name, value):
        """VARIABLE CHART|HOST name = value"""
        self.check(scope == "HOST" or self.drawn, "VARIABLE CHART without CHART", line)
        self.variables[self.drawn if scope == "CHART" else None, name] = int(value)

    def clabel(self, _line, name, quoted, plain):
        """CLABEL name value source"""
        self.labels[self.drawn][name] = quoted or plain

    def clabel_commit(self, line):
        """CLABEL_COMMIT"""
        self.check(self.labels[self.drawn], "no labels", line)

    def dimension(self, line, name, algorithm, multiplier, divisor):
        """DIMENSION id name algorithm multiplier divisor"""
        scale = (algorithm, int(multiplier), int(divisor))
        known = self.dimensions.setdefault((self.drawn, name), scale)
        self.check(known == scale and 0 not in scale, "not as it was drawn before", line)

    def begin(self, line, name):
        """BEGIN type.id"""
        self.begun, self.drawn, self.values = f"ksm.{name}", None, {}
        self.check(self.begun in self.charts, "not a chart", line)
        if name.startswith("consumer"):
            return
        if self.begun in self.seen or not self.ticks:
            self.ticks.append({})
            self.seen = set()
        self.seen.add(self.begun)

    def set(self, line, name, value):
        """SET id = value"""
        self.check((self.begun, name) in self.dimensions, "not a dimension of that chart", line)
        self.check(name not in self.values, "set twice", line)
        self.check(-2 ** 63 <= int(value) < 2 ** 63, "not an int64", line)
        self.values[name] = int(value)

    def end(self, _line):
        """END"""
        if not self.begun.startswith("ksm.consumer"):
            self.ticks[-1].update({(self.begun, name): value for name, value in self.values.items()})
        elif self.on_consumers:
            self.on_consumers(self.begun, self.values)
        self.begun = None

    def disable(self, _line):
        """DISABLE"""
        self.disabled = True

    def function(self, line, name, *rest):
        """FUNCTION GLOBAL name timeout help tags access priority"""
        self.check(not self.charts and name not in self.functions, "offered twice, or after charts", line)
        self.functions[name] = rest

    def function_result_begin(self, _line, transaction, status, kind, expires):
        """FUNCTION_RESULT_BEGIN transaction status type expires"""
        self.answer = [transaction, int(status), kind, int(expires), []]
        self.drawn = None

    def function_result_end(self, line):
        """FUNCTION_RESULT_END"""
        self.check(self.answer is not None, "the end of no answer", line)
        self.answers.append((*self.answer[:-1], "\n".join(self.answer[-1])))
        self.answer = None

    def shown(self, tick=-1):
        """Return {(chart, dimension): number} of a TICK as the agent shows it; counters before the rate is computed."""
        return {name: value * self.dimensions[name][1] / self.dimensions[name][2]
                for name, value in self.ticks[tick].items()}


class Sample(NamedTuple):
    """One sample of ksm.plugin, in bytes."""

    kinds: dict             # {kind: saved}
    unattributed: int
    consumers: dict         # {(kind, name): (saved, real or None)}

    @property
    def saved(self):
        """The sum of all parts."""
        return sum(self.kinds.values()) + self.unattributed


class ConsumerAgent:
    """An agent's view of ksm.plugin's output with consumers.

    samples: [Sample]; charts: {(kind, name): chart id}, the current ones; ended: consumers made obsolete so far;
    host: the Agent with the host's metrics.
    """

    def __init__(self):
        self.host = Agent(on_consumers=self.end)
        self.samples, self.charts, self.ended = [], {}, []
        self.answered = None        # the sample behind the last answer to a request

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
        """Take the CHART of LINE; WAS are the charts that existed before."""
        name = self.host.drawn
        if line.endswith(" obsolete ksm.plugin ksm"):
            gone = [consumer for consumer, chart in self.charts.items() if chart == name]
            self.host.check(len(gone) == 1, "not a chart", line)
            del self.charts[gone[0]]
            self.ended.append(gone[0])
        else:
            chart = self.host.charts[name]
            self.host.check(name not in was, "drawn twice", line)
            self.host.check((chart["units"], chart["type"]) == ("MiB", "stacked"), "unexpected word", line)

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
