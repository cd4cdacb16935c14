# SPDX-License-Identifier: MIT
"""Savings by consumer on trees with simulated processes, in a real collectd, a real Netdata and ksm.plugin's output.

The expected values are computed here, without any code of the plugins.
"""

import random
import re
import time
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

import consumers
from consumers import KINDS, UNATTRIBUTED
from daemons import SEEN_S, Both, DaemonError
from protocol import NAME_AT_MOST
from sampling import Plugin
from world import Process, Tree

NETDATA_DIGITS = 1e-6   # Netdata keeps about 7 digits
GRANT = "cap_dac_read_search"
TOO_OLD = "they require Linux 5.19"


# The expected shares.

def shares(tree, processes, page_size):
    """Return {key: [bytes saved, real bytes]} of PROCESSES, {key: [Process, …]}, on the host of TREE."""
    pages = tree.pages
    all_processes = [process for group in processes.values() for process in group]
    mapped = max(1, pages["shared"] + pages["sharing"], sum(process.merging for process in all_processes))
    zeros = max(1, pages["zero"], sum(process.zero for process in all_processes))
    found = {}
    for key, group in processes.items():
        merged = pages["sharing"] * sum(process.merging for process in group) // mapped
        zero = pages["zero"] * sum(process.zero for process in group) // zeros
        real = sum(process.resident for process in group) - merged
        found[key] = [(merged + zero) * page_size, real * page_size if real >= 0 else None]
    return found


# Both daemons.

class Daemons(Both):
    """Both daemons with the plugins on a Tree."""

    def __init__(self, stack, build, work, tree, **options):
        self.tree = tree
        super().__init__(stack, build, work, {"Root": tree.root, "ConsumersInterval": 1, **options})


def shown(daemons):
    """Return the current ({consumer: {metric: bytes}} of collectd, the same of Netdata).

    collectd's values are read from its files, as its socket prints only 7 digits.
    """
    now, files = daemons.collectd.series(), daemons.collectd.history(last_bytes=4096)
    both = consumers.latest({name: files[name][-1] for name in now if name in files}, daemons.netdata.values())
    return tuple({consumer: {metric: number for metric, (_when, number) in metrics.items()}
                  for consumer, metrics in daemon.items()} for daemon in both)


def wait_shown(daemons, *wanted, seconds=SEEN_S):
    """Wait until both daemons show all consumers WANTED, and return shown()."""
    daemons.netdata.wait(lambda: all(set(wanted) <= set(daemon) for daemon in shown(daemons)), seconds, f"consumers {wanted}")
    return shown(daemons)


def wait_gone(daemons, *unwanted, seconds=SEEN_S):
    """Wait until neither daemon shows any of UNWANTED."""
    daemons.netdata.wait(lambda: not any(set(unwanted) & set(daemon) for daemon in shown(daemons)), seconds,
                       f"the end of {unwanted}")


def wait_number(daemons, number):
    """Wait until both daemons show NUMBER consumers, and return the last shown(), also after a timeout."""
    seen = []

    def matches():
        seen[:] = shown(daemons)
        return all(len(daemon) == number for daemon in seen)
    try:
        daemons.netdata.wait(matches, SEEN_S / 4, f"{number} consumers")
    except DaemonError:
        pass                    # the tests report which are missing or unexpected
    return seen


def messages(daemon, text):
    """Return the log lines of DAEMON that contain TEXT."""
    return [line for line in daemon.log().splitlines() if text in line]


# Hostile names.  tests/unit/consumers/test_consumer_id.c covers how cgroups and command lines determine consumers, and
# test_name.c how names are changed; these names could break a daemon's protocol, files or charts.

DOCKER = "0123456789ab" + "c" * 52


def qemu(name):
    """Return the command line of a virtual machine."""
    return ("/usr/bin/qemu-system-x86_64", "-name", f"guest={name.replace(',', ',,')},debug-threads=on", "-S")


# Test id, kind, name (a regular expression), and attributes of the process.
NAMED = [
    ("quotes", "vm", r"a_b__c_d~[0-9a-f]{8}", {"cmdline": qemu("a\"b =c'd")}),
    ("look alike", "vm", "a_b__c_d", {"cmdline": qemu("a_b__c_d")}),
    ("utf-8", "vm", "größe-日本", {"cmdline": qemu("größe-日本")}),
    ("4 kB", "vm", "x+~[0-9a-f]{8}", {"cmdline": qemu("x" * 4096)}),
    ("plus and colon", "vm", r"a\+b:c", {"cmdline": qemu("a+b:c")}),
    ("at and colon", "vm", "a@b:c", {"cmdline": qemu("a@b:c")}),
    ("only underscores", "vm", "a_b_c", {"cmdline": qemu("a_b_c")}),
    ("acute", "vm", "é", {"cmdline": qemu("é")}),
    ("grave", "vm", "è", {"cmdline": qemu("è")}),
    ("docker", "container", DOCKER[:12], {"cgroup": f"0::/system.slice/docker-{DOCKER}.scope"}),
    ("user's service", "service", "user-1000:postgresql@15-main",
     {"cgroup": r"0::/user.slice/user-1000.slice/user@1000.service/app.slice/postgresql@15\x2dmain.service"}),
    ("line end", "program", r"two_BEGIN_x~[0-9a-f]{8}", {"comm": "two\nBEGIN x"}),
    ("no utf-8", "program", "_bad~[0-9a-f]{8}", {"comm": "\udcffbad"}),
    ("program", "program", "zz-the-last", {"comm": "zz-the-last", "cgroup": "0::/user.slice/session-3.scope"}),
]


def named_processes():
    """Return {(test id, kind, name): [Process]} of NAMED, with distinct numbers."""
    found = {}
    for i, (what, kind, name, more) in enumerate(NAMED):
        known = {"comm": "qemu", **more}
        found[what, kind, name] = [Process(100 + i, merging=1000 + 7 * i, zero=3 * i, resident=2000 + 11 * i,
                                           rmap_items=1500, **known)]
    return found


@pytest.fixture(scope="module")
def named(build, page_size, tmp_path_factory):
    """Both daemons on a tree with all of NAMED, and the expected shares."""
    work = tmp_path_factory.mktemp("named")
    tree = Tree(work / "tree", sharing=30000, shared=10000, unshared=5, zero=1000)
    processes = named_processes()
    for group in processes.values():
        tree.process(group[0])
    with ExitStack() as stack:
        daemons = Daemons(stack, build, work, tree, Consumers=100)
        wait_shown(daemons, ("program", "zz-the-last"), UNATTRIBUTED)
        yield SimpleNamespace(daemons=daemons, processes=processes, expected=shares(tree, processes, page_size),
                              shown=wait_number(daemons, len(NAMED) + 1))


def consumers_named(shown_by_daemon, kind, name, saved):
    """Return the consumers of KIND in SHOWN_BY_DAEMON whose name matches NAME and whose savings are SAVED."""
    return [consumer for consumer, metrics in shown_by_daemon.items()
            if consumer[0] == kind and re.fullmatch(name, consumer[1])
            and metrics["saved"] == pytest.approx(saved, rel=NETDATA_DIGITS)]


@pytest.mark.parametrize("what, kind, name", [row[:3] for row in NAMED], ids=[row[0] for row in NAMED])
def test_both_daemons_show_name_and_share(what, kind, name, named):
    saved, real = named.expected[what, kind, name]
    here, there = named.shown
    found = consumers_named(here, kind, name, saved)
    assert len(found) == 1 and found == consumers_named(there, kind, name, saved)
    assert here[found[0]] == {"saved": saved, "real": real}
    assert there[found[0]] == pytest.approx({"saved": saved, "real": real}, rel=NETDATA_DIGITS)
    assert len(found[0][1].encode()) <= NAME_AT_MOST


def test_each_process_is_one_distinct_consumer(named):
    for daemon in named.shown:
        assert len(daemon) == len(NAMED) + 1


def test_netdata_labels_a_chart_of_each_consumer(named):
    """In labels the agent replaces the ~ before a hash suffix by _; the chart's id keeps it."""
    charts = {name: chart for name, chart in named.daemons.netdata.charts().items()
              if chart["context"] == "ksm.consumer_memory"}
    assert len(charts) == len(NAMED)
    for name, chart in charts.items():
        kind, _, rest = name.removeprefix("ksm.consumer_").partition("_")
        labels = chart["chart_labels"]
        assert (labels["kind"], labels["name"]) == (kind, rest.replace("~", "_"))
        assert (chart["plugin"], chart["module"], chart["units"]) == ("ksm.plugin", "ksm", "MiB")
        assert set(chart["dimensions"]) == {"real", "saved"}


def fnv1a(text):
    """Return the hash suffix of TEXT."""
    number = 0xcbf29ce484222325
    for byte in text.encode():
        number = (number ^ byte) * 0x100000001b3 % 2**64
    return f"{(number ^ number >> 32) % 2**32:08x}"


def test_netdata_export_name_is_independent_of_other_consumers(named):
    """If no name is sent, the agent derives one from the id and the order of appearance: ksm.consumer_vm_a_b_c, …_1."""
    names = {name: chart["name"] for name, chart in named.daemons.netdata.charts().items()}
    for name, (kind, text) in {name: name.removeprefix("ksm.consumer_").split("_", 1) for name in names
                               if name.startswith("ksm.consumer_")}.items():
        want = re.sub(rb"[^\w.-]", b"_", text.encode()).decode()
        if re.search(r"[^\w.~-]", text, re.ASCII):
            want += f"_{fnv1a(text)}"
        assert names[name] == f"ksm.consumer_{kind}_{want}"


def test_collectd_series_of_consumers(named):
    series = set(named.daemons.collectd.history())
    assert {"ksm_consumer-unattributed/bytes-saved", f"ksm_consumer-container-{DOCKER[:12]}/bytes-saved",
            f"ksm_consumer-container-{DOCKER[:12]}/bytes-real", "ksm_consumer-vm-größe-日本/bytes-real"} <= series
    assert "ksm_consumer-unattributed/bytes-real" not in series


def test_shares_add_up_in_both_daemons(named, page_size):
    saved = named.daemons.tree.saved(page_size)
    here, there = named.shown
    assert sum(metrics["saved"] for metrics in here.values()) == saved
    assert sum(metrics["saved"] for metrics in there.values()) == pytest.approx(saved, rel=NETDATA_DIGITS)
    kinds = {dimension: number for (chart, dimension), [*_others, (_when, number)] in named.daemons.netdata.history(60).items()
             if chart == "ksm.consumers"}
    assert set(kinds) == {*KINDS, "unattributed"}
    assert sum(kinds.values()) * consumers.MIB == pytest.approx(saved, rel=NETDATA_DIGITS)


def test_daemons_log_no_problem(named):
    for daemon in named.daemons.both:
        assert not [line for line in daemon.log().splitlines() if "ksm" in line.lower() and re.search(
            "unknown|ignor|disabl|cannot|not available|savings by|reported as", line)], daemon.log()


def test_ended_consumer_disappears_and_may_reappear(named):
    daemons, ended = named.daemons, [("program", "zz-the-last"), ("vm", "größe-日本")]
    groups = [group for (_what, *consumer), group in named.processes.items() if tuple(consumer) in ended]
    assert len(groups) == 2
    for group in groups:
        daemons.tree.end(group[0].pid)
    end = time.time()

    def samples_after(end, consumer="unattributed"):
        return [when for when, _saved in daemons.collectd.history()[f"ksm_consumer-{consumer}/bytes-saved"] if when > end]
    wait_gone(daemons, *ended)
    daemons.netdata.wait(lambda: len(samples_after(end)) >= 3, SEEN_S, "samples of the others")
    assert not {"ksm.consumer_program_zz-the-last", "ksm.consumer_vm_größe-日本"} & set(daemons.netdata.charts())
    assert len(samples_after(end, "program-zz-the-last")) <= 1, "at most the sample under way"
    assert all(len(daemon) == len(NAMED) - 1 for daemon in wait_number(daemons, len(NAMED) - 1))
    for group in groups:
        daemons.tree.process(group[0])
    wait_shown(daemons, *ended)
    assert all(len(daemon) == len(NAMED) + 1 for daemon in wait_number(daemons, len(NAMED) + 1))


# Top N, and excluded kinds.

CANDIDATES = {
    ("program", "first"): [Process(201, "first", 900, resident=1000), Process(202, "first", 800, resident=1000)],
    ("vm", "second"): [Process(203, "kvm", 1500, resident=1600, cmdline=qemu("second"))],
    ("program", "third"): [Process(204, "third", 700, resident=800, zero=30)],
    ("program", "fourth"): [Process(205, "fourth", 300, resident=400)],
    ("program", "idle"): [Process(206, "idle", 0, resident=50, rmap_items=10)],
}
EXCLUDED = [Process(207, "big", 2000, resident=2100, cgroup="0::/system.slice/big.service"),
            Process(208, "box", 1900, resident=2100, cgroup=f"0::/docker/{DOCKER}")]


def test_top_n_other_and_excluded_kinds(build, page_size, tmp_path):
    tree = Tree(tmp_path / "tree", sharing=7000, shared=2000, zero=50)
    for process in [process for group in CANDIDATES.values() for process in group] + EXCLUDED:
        tree.process(process)
    expected = shares(tree, CANDIDATES, page_size)
    rest = [expected[key] for key in CANDIDATES if key not in {("program", "first"), ("vm", "second")}]
    wanted = {key: dict(zip(("saved", "real"), expected[key])) for key in (("program", "first"), ("vm", "second"))}
    wanted["other", "other"] = {"saved": sum(saved for saved, _ in rest), "real": sum(real for _, real in rest)}
    attributed = sum(metrics["saved"] for metrics in wanted.values())
    wanted[UNATTRIBUTED] = {"saved": tree.saved(page_size) - attributed}
    with ExitStack() as stack:
        daemons = Daemons(stack, build, tmp_path, tree, Consumers=2, ConsumersExclude="service,container")
        here, there = wait_shown(daemons, *wanted)
        assert here == wanted
        assert set(there) == set(wanted)
        for consumer, metrics in wanted.items():
            assert there[consumer] == pytest.approx(metrics, rel=NETDATA_DIGITS)
        charts = daemons.netdata.charts()
        labels = charts["ksm.consumer_other_other"]["chart_labels"]
        assert (labels["kind"], labels["name"]) == ("other", "other")
        assert set(charts["ksm.consumers"]["dimensions"]) == {"vm", "program", "unattributed"}


# Kernels without savings by consumer.

def test_no_consumers_before_5_19_but_host_metrics(build, tmp_path):
    tree = Tree(tmp_path / "tree", None, sharing=700, shared=200)
    tree.process(Process(100, "program", 900))
    with ExitStack() as stack:
        daemons = Daemons(stack, build, tmp_path, tree)
        for daemon in daemons.both:
            daemon.wait(lambda daemon=daemon: messages(daemon, TOO_OLD), SEEN_S, "the reason")
        daemons.wait_first("ksm/bytes-saved", ("ksm.savings", "saved"))
        time.sleep(1.5)
        assert shown(daemons) == ({}, {})
        series, charts = set(daemons.collectd.history()), set(daemons.netdata.charts())
        for daemon in daemons.both:
            assert len(messages(daemon, TOO_OLD)) == 1 == len(messages(daemon, "savings by consumer"))
    assert not [name for name in series | charts if name.startswith(("ksm_consumer", "ksm.consumer"))]
    assert {"ksm/vmpage_number-sharing", "ksm/bytes-saved"} <= series and {"ksm.memory", "ksm.savings"} <= charts


# ksm.plugin's own output.

def population(tree, chance):
    """Give TREE a random host and random processes; return {(kind, name): [Process, …]}."""
    found = {}
    host = {name: chance.choice([0, 1, chance.randrange(10 ** 4), chance.randrange(10 ** 12)])
            for name in ("sharing", "shared", "zero")}
    tree.host(unshared=1, **host)
    everything = host["sharing"] + host["shared"]
    count = chance.randrange(1, 25)
    for i in range(count):
        kind, name = chance.choice(KINDS), f"n{chance.randrange(12)}"
        group = {"vm": f"0::/machine.slice/machine-qemu\\x2d1\\x2d{name}.scope", "container": f"0::/lxc/{name}",
                 "service": f"0::/system.slice/{name}.service", "program": "0::/"}[kind]
        process = Process(100 + i, name, chance.randrange(2 * everything // count + 2),
                          chance.randrange(2 * host["zero"] // count + 2), chance.randrange(10 ** 6), 1, group)
        found.setdefault((kind, name), []).append(process)
        tree.process(process)
    return found


SEEDS = range(20)


@pytest.fixture(scope="module")
def populations(build, page_size, tmp_path_factory):
    """For each of SEEDS the first sample of a random population, and the expected shares."""
    with ExitStack() as stack:
        running = []
        for seed in SEEDS:
            tree = Tree(tmp_path_factory.mktemp("population") / "tree")
            expected = shares(tree, population(tree, random.Random(seed)), page_size)
            plugin = stack.enter_context(Plugin(build / "ksm.plugin", f"--root={tree.root}", "--consumers-interval=1",
                                                "--consumers=5"))
            running.append((plugin, tree.saved(page_size), expected))
        yield [(plugin.first_sample(), saved, expected) for plugin, saved, expected in running]


@pytest.mark.parametrize("seed", SEEDS)
def test_shares_add_up_to_the_byte(seed, populations):
    """kinds + unattributed = saved, and consumers shown + other = kinds, even with an overcount of up to a factor of 2."""
    sample, saved, expected = populations[seed]
    assert sample.saved == saved and sample.unattributed >= 0
    assert sum(part for part, _real in sample.consumers.values()) == sum(sample.kinds.values())
    assert sample.kinds == {kind: sum(part for (of, _name), (part, _real) in expected.items() if of == kind)
                            for kind in KINDS}
    assert len(sample.consumers) == min(6, len(expected))
    alone = {consumer: list(metrics) for consumer, metrics in sample.consumers.items() if consumer[0] != "other"}
    assert alone == {consumer: expected[consumer] for consumer in alone}
    lowest = min(part for part, _real in alone.values())
    assert all(part <= lowest for consumer, (part, _real) in expected.items() if consumer not in alone)


def test_first_consumers_follow_first_tick(build, tmp_path):
    tree = Tree(tmp_path / "tree", sharing=3000, shared=1000)
    tree.process(Process(100, "one", 4000))
    with Plugin(build / "ksm.plugin", f"--root={tree.root}", "--consumers-interval=60") as plugin:
        assert set(plugin.first_sample().consumers) == {("program", "one")}
        assert plugin.arrived[0] - plugin.ticks[0] < 30, "not an interval later"
        plugin.more_ticks(2)
        assert len(plugin.arrived) == 1


# Missing permissions.

def test_unreadable_processes_are_unattributed(copy_of, page_size, public_path):
    tree = Tree(public_path / "tree", sharing=3000, shared=1000)
    tree.process(Process(100, "readable", 1000, resident=1000))
    tree.process(Process(101, "secret", 2000, resident=2000, mode=0o400))
    with Plugin(copy_of("ksm.plugin"), f"--root={tree.root}", "--consumers-interval=1", user="nobody") as plugin:
        for sample in plugin.samples(2):
            assert sample.consumers == {("program", "readable"): (750 * page_size, 250 * page_size)}
            assert (sample.unattributed, sample.saved) == (2250 * page_size, tree.saved(page_size))
        assert plugin.errors.count(GRANT) == 2 and len(plugin.errors.splitlines()) == 1, "twice in one message"
