# SPDX-License-Identifier: MIT
"""Netdata's plugins.d protocol, read as strictly as its strictest agent does.

What 1.37 and 2.x disagree on, and what either would take amiss, is an error here, a ProtocolError.
"""

import re

WORDS_AT_MOST = 20
LINE_AT_MOST = 15 * 1024
ID = re.compile(r"[a-z0-9_]{1,200}")
DECIMAL = re.compile(r"0|-?[1-9][0-9]{0,18}")       # no octal, no +, no fraction
CHART_TYPES = {"line", "area", "stacked"}
ALGORITHMS = {"absolute", "incremental"}


class ProtocolError(AssertionError):
    """A line that an agent would not take, or not as it is meant."""


def words(line):
    """Return the words of LINE: separated by white space and "=", in quotes at a word's start, no escapes."""
    found = []
    rest = line.strip(" =")
    while rest:
        if rest[0] in "'\"":
            word, quote, rest = rest[1:].partition(rest[0])
            if not quote or (rest and rest[0] not in " ="):
                raise ProtocolError(f"quotation marks do not pair up: {line}")
        else:
            word = re.match(r"[^ =]+", rest)[0]
            rest = rest[len(word):]
        found.append(word)
        rest = rest.lstrip(" =")
    return found


class Agent:
    """What an agent makes of a plugin's output.

    charts: {chart: {title, units, family, context, type, priority, update_every}}
    variables: {(chart, name): integer}; of the host, the chart is None
    dimensions: {(chart, dimension): (algorithm, multiplier, divisor)}
    ticks: [{(chart, dimension): integer}]; a new tick starts when a chart begins for the second time.
    functions, answers: what it offers, and the answers to requests.
    """

    def __init__(self, text=""):
        """Take TEXT, whole lines."""
        self.charts, self.variables, self.dimensions, self.ticks = {}, {}, {}, []
        self.disabled = False
        self.empty_lines = 0
        self.functions = {}         # {name: (timeout, help, tags, access, priority)}
        self.answers = []           # [(transaction, status, type, expires, text)]
        self.answer = None          # the one between FUNCTION_RESULT_BEGIN and FUNCTION_RESULT_END
        self.begun = None           # the chart between BEGIN and END
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
        self.check(line.isascii() and line.isprintable(), "not plain ASCII", line)
        if not line:
            self.empty_lines += 1
            return
        keyword, *arguments = words(line)
        self.check(len(arguments) < WORDS_AT_MOST, "too many words", line)
        handler = {"CHART": self.chart, "VARIABLE": self.variable, "DIMENSION": self.dimension, "BEGIN": self.begin,
                   "SET": self.set, "END": self.end, "DISABLE": self.disable, "FUNCTION": self.function,
                   "FUNCTION_RESULT_BEGIN": self.begin_answer, "FUNCTION_RESULT_END": self.end_answer}.get(keyword)
        self.check(handler, "a keyword that some agent does not know", line)
        handler(line, arguments)

    def chart(self, line, arguments):
        """CHART type.id name title units family context charttype priority update_every options plugin module"""
        self.check(self.begun is None, "CHART between BEGIN and END", line)
        self.check(len(arguments) == 12, "CHART takes 12 words", line)
        name, alias, title, units, family, context, kind, priority, every, options, plugin, module = arguments
        prefix, _, chart = name.partition(".")
        self.check(prefix == "ksm" and ID.fullmatch(chart), "bad chart id", line)
        self.check(alias == "" and options == "" and context == name, "unexpected word", line)
        self.check(title and units and family, "empty word", line)
        self.check(kind in CHART_TYPES and (plugin, module) == ("ksm.plugin", "ksm"), "unexpected word", line)
        self.check(DECIMAL.fullmatch(priority) and DECIMAL.fullmatch(every), "not a number", line)
        look = {"title": title, "units": units, "family": family, "context": context, "type": kind,
                "priority": int(priority), "update_every": int(every)}
        self.check(self.charts.setdefault(name, look) == look, "not as it was drawn before", line)
        self.drawn = name

    def variable(self, line, arguments):
        """VARIABLE CHART|HOST name = value"""
        self.check(self.begun is None, "VARIABLE between BEGIN and END", line)
        self.check(len(arguments) == 3 and arguments[0] in ("CHART", "HOST"), "VARIABLE takes 3 words", line)
        scope, name, value = arguments
        self.check(scope == "HOST" or self.drawn, "VARIABLE CHART without CHART", line)
        self.check(ID.fullmatch(name) and DECIMAL.fullmatch(value), "unexpected word", line)
        self.variables[self.drawn if scope == "CHART" else None, name] = int(value)

    def dimension(self, line, arguments):
        """DIMENSION id name algorithm multiplier divisor"""
        self.check(self.drawn, "DIMENSION without CHART", line)
        self.check(len(arguments) == 5, "DIMENSION takes 5 words", line)
        name, alias, algorithm, multiplier, divisor = arguments
        self.check(ID.fullmatch(name) and alias == "" and algorithm in ALGORITHMS, "unexpected word", line)
        self.check(DECIMAL.fullmatch(multiplier) and DECIMAL.fullmatch(divisor), "not a number", line)
        scale = (algorithm, int(multiplier), int(divisor))
        known = self.dimensions.setdefault((self.drawn, name), scale)
        self.check(known == scale and 0 not in scale, "not as it was drawn before", line)

    def begin(self, line, arguments):
        """BEGIN type.id"""
        self.check(self.begun is None, "BEGIN between BEGIN and END", line)
        self.check(len(arguments) == 1 and arguments[0] in self.charts, "not a chart", line)
        self.begun, self.drawn = arguments[0], None
        if self.begun in self.seen or not self.ticks:
            self.ticks.append({})
            self.seen = set()
        self.seen.add(self.begun)

    def set(self, line, arguments):
        """SET id = value"""
        self.check(self.begun, "SET without BEGIN", line)
        self.check(len(arguments) == 2, "SET takes an id and a value", line)
        name, value = arguments
        self.check((self.begun, name) in self.dimensions, "not a dimension of that chart", line)
        self.check((self.begun, name) not in self.ticks[-1], "set twice", line)
        self.check(DECIMAL.fullmatch(value) and -2 ** 63 <= int(value) < 2 ** 63, "not a decimal int64", line)
        self.ticks[-1][self.begun, name] = int(value)

    def end(self, line, arguments):
        """END"""
        self.check(self.begun and not arguments, "END without BEGIN", line)
        self.begun = None

    def disable(self, line, arguments):
        """DISABLE"""
        self.check(not arguments and self.begun is None, "unexpected word", line)
        self.disabled = True

    def function(self, line, arguments):
        """FUNCTION GLOBAL name timeout help tags access priority"""
        self.check(len(arguments) == 7 and arguments[0] == "GLOBAL", "FUNCTION takes GLOBAL and 6 words", line)
        name, timeout, text, _tags, access, priority = arguments[1:]
        self.check(not self.charts and name not in self.functions, "offered twice, or after charts", line)
        self.check(DECIMAL.fullmatch(timeout) and DECIMAL.fullmatch(priority) and text, "not a number, or no help", line)
        self.check(re.fullmatch("0x[0-9a-f]+", access), "not an access in hexadecimal digits", line)
        self.functions[name] = tuple(arguments[2:])

    def begin_answer(self, line, arguments):
        """FUNCTION_RESULT_BEGIN transaction status type expires"""
        self.check(self.begun is None, "an answer between BEGIN and END", line)
        self.check(len(arguments) == 4, "FUNCTION_RESULT_BEGIN takes 4 words", line)
        transaction, status, kind, expires = arguments
        self.check(DECIMAL.fullmatch(status) and DECIMAL.fullmatch(expires), "not a number", line)
        self.answer = [transaction, int(status), kind, int(expires), []]
        self.drawn = None

    def end_answer(self, line, arguments):
        """FUNCTION_RESULT_END"""
        self.check(self.answer is not None and not arguments, "the end of no answer", line)
        self.answers.append((*self.answer[:-1], "\n".join(self.answer[-1])))
        self.answer = None

    def shown(self, tick=-1):
        """Return {(chart, dimension): number} of a TICK as the agent shows it; of counters what it takes the rate of."""
        return {name: value * self.dimensions[name][1] / self.dimensions[name][2]
                for name, value in self.ticks[tick].items()}
