# SPDX-License-Identifier: MIT
"""The function ksm:consumers, requested from ksm.plugin directly and through a real agent by its parent."""

import json
import os
import random
import socket
import subprocess
import threading
import time
import uuid
from pathlib import Path

import jsonschema
import pytest

import fixtures
from consumers import KINDS, MIB
from daemons import NETDATA_SYSTEM_INFO, Netdata, plugins_of
from protocol import Agent
from sampling import Plugin
from test_consumers import population
from world import Process, Tree

ANSWER_S = 60           # limit for an answer
END_S = 60              # limit for the plugin's exit
LATE_S = 0.15           # limit for a punctual tick
SILENCE_TICKS = 4       # within so many ticks, one of which may be overdue, more than a second passes
SCHEMA = json.loads(Path(__file__).with_name("function.schema.json").read_text())
TABLE = "ksm:consumers"
COLUMNS = ["Id", "Kind", "Name", "Processes", "Saved", "Real", "RSS", "Merging", "Zero", "Overhead",
           "MergeRate", "Owner", "OptedIn", "MergeDensity"]
ONE_S = "--consumers-interval=1"


def check(what, text):
    """Parse the JSON TEXT of an answer, which must match the schema WHAT."""
    answer = json.loads(text)
    jsonschema.validate(answer, {**SCHEMA, "$ref": f"#/definitions/{what}"})
    if what == "table":
        check_table(answer)
    return answer


def check_table(answer):
    """Check that the parts of ANSWER are consistent, which a schema cannot express."""
    columns = answer["columns"]
    assert list(columns) == COLUMNS and [column["index"] for column in columns.values()] == list(range(len(COLUMNS)))
    keys = [name for name, column in columns.items() if column["unique_key"]]
    assert keys == ["Id"], "an agent wants exactly one"
    ids = [row[0] for row in answer["data"]]
    assert len(set(ids)) == len(ids) and ids == [f"{row[1]}/{row[2]}" for row in answer["data"]]
    assert answer["default_sort_column"] in columns
    for chart in (*answer["charts"].values(), *answer["group_by"].values()):
        assert set(chart["columns"]) <= set(columns)
    for chart, column in answer["default_charts"]:
        assert chart in answer["charts"] and column in answer["group_by"]
    for name in COLUMNS[4:10]:
        values = [row[columns[name]["index"]] or 0 for row in answer["data"] if row[1] != "other"]
        assert columns[name]["max"] == max(values, default=0)


def rows(answer):
    """Return {(kind, name): {column: number, text or None}} of a table, with sizes in bytes."""
    found = {}
    for _id, kind, name, processes, *sizes in answer["data"]:
        found[kind, name] = {"Processes": processes, "Owner": sizes[7], "OptedIn": sizes[8], **{
            column: None if size is None else size * MIB for column, size in zip(COLUMNS[4:11], sizes)}}
    return found


def send(plugin, data):
    """Write DATA to the stdin of PLUGIN."""
    os.write(plugin.process.stdin.fileno(), data)


def answer_to(plugin, transaction, seconds=ANSWER_S):
    """Return (status, type, expires, text) of the answer to TRANSACTION."""
    def found():
        return [answer[1:] for answer in plugin.agent.host.answers if answer[0] == transaction]
    plugin.wait(found, seconds, f"an answer to {transaction}")
    assert len(found()) == 1
    return found()[0]


def ask(plugin, function=TABLE, line='FUNCTION {} 10 "{}" "0x13" "source"\n', seconds=ANSWER_S):
    """Request FUNCTION from PLUGIN by a LINE, and return (status, text)."""
    transaction = str(uuid.uuid4())
    send(plugin, line.format(transaction, function).encode())
    status, kind, expires, text = answer_to(plugin, transaction, seconds)
    assert kind == "application/json" and json.loads(text)["status"] == status
    assert (-1 < expires - time.time() < 100) == (status == 200)
    return status, text


def table_of(plugin):
    """Return the checked table of PLUGIN."""
    status, text = ask(plugin)
    assert status == 200, text
    return check("table", text)


@pytest.fixture(scope="module")
def fixture(build, tmp_path_factory):
    """ksm.plugin on the fixture with consumers of all kinds, after the first table."""
    tree = fixtures.make_tree(build, "consumers", tmp_path_factory.mktemp("fixture") / "tree")
    with Plugin(build / "ksm.plugin", f"--root={tree}", ONE_S) as plugin:
        plugin.samples(1)
        yield plugin


@pytest.fixture
def begun(build, make_tree):
    """A ksm.plugin that has just started."""
    with Plugin(build / "ksm.plugin", f"--root={make_tree('consumers')}", ONE_S) as plugin:
        plugin.wait(lambda: plugin.agent.host.ticks, ANSWER_S, "a tick")
        yield plugin


# Declaration.

def functions(build, tree, *options):
    """Return the functions that ksm.plugin declares on TREE."""
    done = fixtures.run_once(build / "ksm.plugin", f"--root={tree}", *options)
    assert done.returncode == 0
    return Agent(done.stdout).functions


@pytest.mark.parametrize("options, access", [
    ([], "0x13"), (["--function-access=any"], "0x8"), (["--function-access=all"], "0x13"),
])
def test_function_is_declared_once_with_access(options, access, build, make_tree):
    offered = functions(build, make_tree("consumers"), *options)
    timeout, text, *rest = offered.pop(TABLE)
    assert (timeout, *rest) == ("10", "top", access, "100") and "Savings by consumer" in text and not offered


def test_function_is_not_declared_without_consumers(build, make_tree, tmp_path):
    assert functions(build, make_tree("consumers"), "--consumers=0") == {}
    assert functions(build, Tree(tmp_path / "tree", None, sharing=5).root) == {}, "before 5.19"


# Answers.

def check_against_charts(plugin):
    """Check that the table of PLUGIN matches its charts to the byte."""
    found = rows(table_of(plugin))
    sample = plugin.agent.answered
    rest = found.pop(("unattributed", "unattributed"), {"Saved": 0})
    assert rest["Saved"] == sample.unattributed
    kinds = {kind: sum(row["Saved"] for (of, _name), row in found.items() if of == kind) for kind in KINDS}
    assert kinds == sample.kinds
    charts = {consumer: metrics for consumer, metrics in sample.consumers.items() if consumer[0] != "other"}
    assert charts == {consumer: (found[consumer]["Saved"], found[consumer]["Real"]) for consumer in charts}
    return found, sample


def test_table_matches_charts(fixture):
    """The unit tests check the shares themselves."""
    found, sample = check_against_charts(fixture)
    assert len(found) == len(sample.consumers)
    assert {consumer: row["Owner"] for consumer, row in found.items()} == {
        ("vm", "web-01"): "itself", ("vm", "100"): "itself", ("container", "9687bac58d5c"): "itself",
        ("container", "ct1"): "itself", ("service", "getty@tty1"): "user 0", ("service", "nginx"): "several",
        ("program", "bash"): "user 1000", ("program", "firefox"): "user 1000"}
    assert {row["OptedIn"] for row in found.values()} == {"madvise"}


@pytest.mark.parametrize("seed", range(2))
def test_table_includes_consumers_without_chart(seed, build, tmp_path):
    tree = Tree(tmp_path / "tree")
    processes = population(tree, random.Random(seed))
    with Plugin(build / "ksm.plugin", f"--root={tree.root}", ONE_S, "--consumers=1") as plugin:
        plugin.samples(1)
        found, _sample = check_against_charts(plugin)
        assert {key: row["Processes"] for key, row in found.items()} == {
            key: len(group) for key, group in processes.items()}


def test_request_after_failed_sample(build, tmp_path):
    tree = Tree(tmp_path / "tree", sharing=5, shared=5)
    tree.process(Process(100, "one", 5))
    with Plugin(build / "ksm.plugin", f"--root={tree.root}", ONE_S) as plugin:
        plugin.samples(1)
        table_of(plugin)
        tree.write("sys/kernel/mm/ksm/pages_shared", "junk\n")
        plugin.wait(lambda: "cannot be determined" in plugin.errors, ANSWER_S, "a message")
        status, text = ask(plugin)
        assert status == 503 and "log" in check("error", text)["errorMessage"]


PAYLOAD = 'FUNCTION_PAYLOAD {} 10 "{}" "0x13" "me" "application/json"\n{{"query":"*",\n"last":200}}\nFUNCTION_PAYLOAD_END\n'
OLD = 'FUNCTION {} 10 "{}"\n'


# tests/unit/netdata/test_request.c covers the parsing of requests, test_function.c the answers; here answers are valid.
@pytest.mark.parametrize("function, line, what, status", [
    (TABLE, OLD, "table", 200),
    (TABLE, PAYLOAD, "table", 200),
    (f"{TABLE} info after:-600", 'FUNCTION {} 10 "{}" "0xffff" "method=api,ip=127.0.0.1"\n', "info", 200),
    ("ksm:unknown", OLD, "error", 404),
    ("", OLD, "error", 400),
    (TABLE, 'FUNCTION {} 10 "{}\n', "error", 400),
    (TABLE + " x" * 3000, OLD, "error", 400),
], ids=["1.37", "payload", "info of 2.x", "unknown", "none", "open quotation mark", "too long"])
def test_request_gets_status(function, line, what, status, fixture):
    got, text = ask(fixture, function, line)
    assert got == status
    check(what, text)


BODY = 'FUNCTION_PAYLOAD {} 10 "ksm:consumers" "0x13" "me" "application/json"\n{}'
BODY_END = "\nFUNCTION_PAYLOAD_END\n"


def test_request_after_truncated_body(fixture):
    """The agent truncates a body at a NUL: the end of the payload is missing, and the next request follows."""
    send(fixture, BODY.format("cut", "x").encode())
    fixture.more_ticks(SILENCE_TICKS)
    table_of(fixture)


# Exit.

def test_quit_without_end_of_stdin_is_ignored(begun):
    """A client can inject the word QUIT; only the agent can close stdin."""
    words = b'FUNCTION a 10 "ksm:consumers"\nQUIT'
    send(begun, words)
    begun.samples(2)
    send(begun, b"\n" + words)
    assert begun.end_input()[0] == 0


@pytest.mark.parametrize("words", [b"FUNCTION_PAYLOAD a 10 x\nno end\n", b'FUNCTION a 10 "ksm:consumers"\n' * 1000],
                         ids=["within a payload", "many requests"])
def test_end_of_stdin_ends_plugin_after_any_line(words, begun):
    send(begun, words)
    assert begun.end_input()[0] == 0


# Ticks during requests.

@pytest.fixture(scope="module")
def many_consumers(tmp_path_factory):
    """A tree with many consumers, whose table is larger than a pipe's buffer."""
    tree = Tree(tmp_path_factory.mktemp("many") / "tree", sharing=30000, shared=10000, zero=1500)
    for pid in range(100, 1600):
        tree.process(Process(pid, f"program-{pid}", merging=pid % 50 + 1, zero=1, resident=200, rmap_items=pid))
    return tree


def test_flood_of_requests_delays_no_tick(build, many_consumers):
    with Plugin(build / "ksm.plugin", f"--root={many_consumers.root}", "--consumers-interval=2") as plugin:
        plugin.samples(1)
        begin, answered, asked = time.time(), len(plugin.agent.host.answers), 0
        os.set_blocking(plugin.process.stdin.fileno(), False)

        def request_and_check():
            nonlocal asked
            try:
                send(plugin, f'FUNCTION flood-{asked} 10 "ksm:consumers"\n'.encode())
                asked += 1
            except BlockingIOError:
                pass                    # the pipe is full
            late = [when % 1 for when in plugin.ticks if when > begin]
            return late[-3:] if len(late) >= 3 and max(late[-3:]) < LATE_S else None
        late = plugin.wait(request_and_check, ANSWER_S, "three punctual ticks in a row", poll_s=0)
        texts = [answer[4] for answer in plugin.agent.host.answers[answered:]]
    print(f"{asked} asked, {len(texts)} answered, {len(texts[0])} bytes each; late by {max(late) * 1000:.0f} ms")
    assert len(texts) > 20 and len(json.loads(texts[-1])["data"]) >= 1500
    check("table", texts[-1])


def test_agent_exits_without_reading_answer(build, many_consumers):
    argv = [build / "ksm.plugin", "1", f"--root={many_consumers.root}", ONE_S]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        while b"BEGIN ksm.consumers" not in process.stdout.readline():
            pass
        process.stdin.write(b'FUNCTION a 10 "ksm:consumers"\n' * 50)
        process.stdin.flush()
        time.sleep(0.3)                 # its output is blocked
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(END_S) == 0


def test_agent_writes_before_it_reads(build, many_consumers):
    """More than a pipe's buffer in both directions; 2.x reads no answer while it writes a request."""
    with Plugin(build / "ksm.plugin", f"--root={many_consumers.root}", ONE_S) as plugin:
        plugin.samples(1)
        requests = 'FUNCTION a 10 "ksm:consumers"\n' * 3 + BODY.format("b", "x" * 300000) + BODY_END
        writer = threading.Thread(target=send, args=[plugin, requests.encode()], daemon=True)
        with plugin.reading_paused():
            writer.start()
            writer.join(ANSWER_S)
            if writer.is_alive():
                plugin.process.kill()
                pytest.fail("both wait for each other")
        plugin.more_ticks(SILENCE_TICKS)    # the plugin discards requests until none arrives for a second
        table_of(plugin)


def test_agent_pauses_reading(build, many_consumers):
    """Afterwards the answers are complete, and ticks continue."""
    with Plugin(build / "ksm.plugin", f"--root={many_consumers.root}", ONE_S) as plugin:
        plugin.samples(1)
        with plugin.reading_paused():
            for number in range(5):
                send(plugin, f'FUNCTION {number} 10 "ksm:consumers"\n'.encode())
            time.sleep(0.5)
        for number in range(5):
            check("table", answer_to(plugin, str(number))[3])
        plugin.samples(1)


# A real agent.

TRIES, AGAIN_S = 5, 5
STREAM = """\
[stream]
    enabled = yes
    destination = tcp:127.0.0.1:{port}
    api key = {key}
    enable compression = no
    reconnect delay seconds = 1
    initial clock resync iterations = 0
"""


class Parent:
    """The parent of a streaming agent: like Netdata's, it requests functions and receives the answers.

    It is needed because the web interfaces of agent and parent only answer requests that come from Netdata's cloud.
    """

    GREETING = b"Hit me baby, push them over with the version="
    CAPABILITIES = sum(1 << bit for bit in (3, 4, 5, 6, 7, 9, 11))      # labels and functions, no compression

    def __init__(self):
        self.server = socket.create_server(("127.0.0.1", 0))
        self.server.settimeout(ANSWER_S)
        self.port = self.server.getsockname()[1]
        self.child, self.text = None, b""

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        for end in (self.child, self.server):
            if end:
                end.close()

    def accept(self):
        """Accept the agent's connection."""
        self.child, _address = self.server.accept()
        self.child.settimeout(ANSWER_S)
        while b"\r\n\r\n" not in self.text:
            self.receive()
        self.text = b""
        self.child.sendall(b"%s%d" % (self.GREETING, self.CAPABILITIES))

    def receive(self):
        """Receive the next data."""
        chunk = self.child.recv(1 << 16)
        assert chunk, "the agent has closed the stream"
        self.text += chunk

    def wait(self, words, seconds):
        """Wait until WORDS have arrived; return the data up to them, or None after SECONDS."""
        deadline = time.monotonic() + seconds
        while words not in self.text:
            if time.monotonic() > deadline:
                return None
            self.receive()
        before, _, self.text = self.text.partition(words)
        return before

    def ask(self, function):
        """Return (status, JSON text) of the answer to FUNCTION.

        1.37 has a race: if an answer arrives before the requesting thread has released the request, it is only
        noticed at the next request.  Therefore a second one is made.
        """
        for _ in range(TRIES):
            transaction = str(uuid.uuid4())
            self.child.sendall(f'FUNCTION {transaction} 10 "{function}"\n'.encode())
            if self.wait(f'FUNCTION_RESULT_BEGIN "{transaction}" '.encode(), AGAIN_S) is not None:
                status, _, text = self.wait(b"\nFUNCTION_RESULT_END\n", ANSWER_S).partition(b"\n")
                return int(status.split()[0]), text.decode()
        raise AssertionError(f"no answer to {function}")


@pytest.fixture(scope="module")
def asked(build, tmp_path_factory, many_consumers):
    """(A real agent with ksm.plugin on a tree, its parent)."""
    work = tmp_path_factory.mktemp("asked")
    if not Path(NETDATA_SYSTEM_INFO).exists():
        pytest.skip(f"{NETDATA_SYSTEM_INFO} is missing (Debian: netdata-plugins-bash): Netdata 1.37 cannot stream without it")
    with Parent() as parent:
        stream = STREAM.format(port=parent.port, key=uuid.uuid4())
        with Netdata(work, build / "ksm.plugin", f"--root={many_consumers.root} {ONE_S}", stream=stream) as agent:
            parent.accept()
            agent.wait_for(("ksm.consumers", "program"))
            yield agent, parent


def test_agent_lists_function(asked):
    agent, _parent = asked
    known = agent.api("info")["functions"]
    assert set(known) == {TABLE} and known[TABLE]["timeout"] == 10 and "Savings by consumer" in known[TABLE]["help"]


def test_agent_forwards_requests_and_answers(asked):
    """Charts are updated meanwhile."""
    agent, parent = asked
    plugins = plugins_of(agent)
    assert len(plugins) == 1
    status, text = parent.ask(f"{TABLE} info")
    assert status == 200
    check("info", text)
    begin = time.time()

    def goes_on():
        nonlocal text
        status, text = parent.ask(TABLE)
        assert status == 200
        samples = [when for when, _value in agent.history(10, ["ksm.memory"])["ksm.memory", "sharing"] if when > begin]
        return any(later - when == 2 for when, later in zip(samples, samples[2:]))
    agent.wait(goes_on, ANSWER_S, "three samples, a second each")
    assert len(check("table", text)["data"]) >= 1500
    assert plugins_of(agent) == plugins, "it was started again"
    assert not [line for line in agent.log().splitlines() if "ksm.plugin ERROR" in line or "FUNCTION" in line.split()]
