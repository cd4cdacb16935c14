# SPDX-License-Identifier: MIT
"""A host that sends its metrics to a central collectd and a central Netdata, configured as in the README.

The host is a static tree with a negative profit and consumers of every kind.  test_daemons.py and test_consumers.py
cover the host's own metrics; these tests check that the central ones are the same.
"""

import math
import os
import time
import urllib.error
from contextlib import ExitStack

import pytest

import consumers
import fixtures
from central import HOST, Central
from daemons import NETDATA_SYSTEM_INFO, STOP_S

MISSING = f"{NETDATA_SYSTEM_INFO} is missing (Debian: netdata-plugins-bash): Netdata 1.37 cannot stream without it"
pytestmark = [pytest.mark.long, pytest.mark.skipif(not os.path.exists(NETDATA_SYSTEM_INFO), reason=MISSING)]

PROFIT = "ksm/gauge-profit"
SAVINGS = ("ksm.savings", "profit")
NETDATA_DIGITS = 1e-6           # Netdata keeps about 7 digits
SEEN_S = 60                     # limit for the host's values to arrive at the centre; some charts have one in 10 s
BACK_S = 40                     # the same after the centre was stopped; 1.37 reconnects after 5 s to 20 s
GONE_S = 20                     # limit for the centre to notice that a host is gone

# The consumers of tests/fixtures/consumers.tree.
CONSUMERS = {("vm", "web-01"), ("vm", "100"), ("container", "9687bac58d5c"), ("container", "ct1"),
             ("service", "getty@tty1"), ("service", "nginx"), ("program", "bash"), ("program", "firefox")}
# Attributes of a chart in the agent's API.
ATTRIBUTES = ("id", "name", "title", "family", "context", "units", "chart_type", "priority", "update_every", "plugin",
         "module", "dimensions", "chart_labels")


@pytest.fixture(scope="module")
def tree(build, tmp_path_factory):
    """The host."""
    tree = fixtures.make_tree(build, "6.18", tmp_path_factory.mktemp("host") / "tree")
    return fixtures.make_tree(build, "consumers", tree)


def streamed(pair):
    """Return the host's values in the central Netdata; none while the host is unknown there."""
    try:
        return pair.netdata.values()
    except urllib.error.HTTPError:
        return {}


@pytest.fixture(scope="module")
def pair(build, tree, tmp_path_factory):
    """The host's and the central daemons, after all values have arrived."""
    with Central(tmp_path_factory.mktemp("pair"), build, tree, options={"ConsumersInterval": 1}) as pair:
        pair.sender.collectd.wait_for(PROFIT)
        pair.sender.netdata.wait_for(("ksm.savings", "profit"), ("ksm.consumers", "vm"), ("ksm.scan", "scanned"))
        pair.collectd.wait(lambda: pair.collectd.series().keys() == pair.sender.collectd.series().keys(), SEEN_S,
                           "all series of the host")
        pair.netdata.wait(lambda: streamed(pair).keys() == pair.sender.netdata.values().keys(), SEEN_S,
                          "all charts of the host")
        time.sleep(3)           # some values of each
        yield pair


# collectd.

def test_central_collectd_has_every_value_as_sent(pair):
    arrived = pair.collectd.history()
    sent = pair.sender.collectd.history()       # read after it: meanwhile more is sent, and arrives
    assert arrived.keys() == sent.keys()
    for name, samples in arrived.items():
        assert samples and set(samples) <= set(sent[name]), name


def test_central_values_are_in_range(pair):
    """A value out of range would be NaN in the central collectd's memory."""
    pair.collectd.wait(lambda: not [name for name, (_when, number) in pair.collectd.rates().items()
                                    if math.isnan(number)], SEEN_S, "numbers everywhere")
    assert pair.collectd.rates()[PROFIT][1] == pytest.approx(-64431232, rel=1e-5)


def test_central_collectd_has_consumers_by_name(pair):
    found = set(consumers.of_collectd(pair.collectd.series()))
    assert found == CONSUMERS | {consumers.UNATTRIBUTED}


# Netdata.

def test_central_netdata_has_no_own_charts(pair):
    assert pair.central.netdata.charts() == {}
    assert [host["hostname"] for host in pair.central.netdata.api("info")["mirrored_hosts_status"]] == ["central", HOST]


def test_central_netdata_has_same_charts(pair):
    sent, arrived = pair.sender.netdata.charts(), pair.netdata.charts()
    assert arrived.keys() == sent.keys()
    for name, chart in arrived.items():
        assert {key: chart[key] for key in ATTRIBUTES} == {key: sent[name][key] for key in ATTRIBUTES}


def test_central_netdata_has_same_values_at_same_seconds(pair):
    def histories():
        both = pair.sender.netdata.history(5), pair.netdata.history(5)
        return both if both[0].keys() == both[1].keys() else None
    sent, arrived = pair.netdata.wait(histories, SEEN_S, "a value of each metric")
    for name, samples in arrived.items():
        same = dict(sent[name])
        compared = [(number, same[when]) for when, number in samples if when in same]
        assert compared, f"{name}: no value of the same second"
        assert [here for here, _there in compared] == pytest.approx([there for _here, there in compared],
                                                                    rel=NETDATA_DIGITS), name


# Ends.

def time_to_stop(daemon):
    """Stop DAEMON, and return the duration in seconds."""
    start = time.monotonic()
    daemon.stop()
    return time.monotonic() - start


def reachable(pair):
    """Whether the central Netdata reports the host as reachable."""
    hosts = pair.central.netdata.api("info")["mirrored_hosts_status"]
    return {host["hostname"]: host["reachable"] for host in hosts}[HOST]


def test_central_daemons_outlive_host(build, tree, tmp_path):
    """The host's daemons stop as fast as usual, and the central ones continue."""
    with Central(tmp_path, build, tree) as pair:
        pair.collectd.wait_for(PROFIT)
        pair.netdata.wait(lambda: SAVINGS in streamed(pair), SEEN_S, "the host's values")
        assert reachable(pair)
        for daemon in (pair.sender.collectd, pair.sender.netdata):
            assert time_to_stop(daemon) < STOP_S, f"{daemon.name} had to be killed"
        pair.central.netdata.wait(lambda: not reachable(pair), GONE_S, "the host's absence")
        # Values of consumers are 10 s apart, so the last ones stay longer.
        pair.central.netdata.wait(lambda: not streamed(pair), 2 * SEEN_S, "no new values")
        for daemon in (pair.central.collectd, pair.central.netdata):
            daemon.check_alive()
            assert daemon.answers()
            assert time_to_stop(daemon) < STOP_S, f"{daemon.name} in the middle had to be killed"


def test_central_daemons_restart(build, tree, tmp_path):
    """The host keeps its own values meanwhile, and reconnects automatically."""
    with Central(tmp_path, build, tree) as pair, ExitStack() as stack:
        pair.collectd.wait_for(PROFIT)
        pair.netdata.wait(lambda: SAVINGS in streamed(pair), SEEN_S, "the host's values")
        for daemon in (pair.central.collectd, pair.central.netdata):
            assert time_to_stop(daemon) < STOP_S, f"{daemon.name} in the middle had to be killed"
        away = time.time()
        for daemon, name in ((pair.sender.collectd, PROFIT), (pair.sender.netdata, SAVINGS)):
            daemon.wait(lambda daemon=daemon, name=name: daemon.values()[name][0] > away + 2, SEEN_S, "values of the host itself")
        stack.enter_context(pair.central.collectd)
        pair.collectd = pair.central.collectd.of(HOST)
        pair.start_central_netdata(stack)
        pair.netdata = pair.central.netdata.of(HOST)
        pair.netdata.wait(lambda: streamed(pair).get(SAVINGS, (0, 0))[0] > away, BACK_S, "the host's values again")
        pair.collectd.wait(lambda: pair.collectd.values().get(PROFIT, (0, 0))[0] > away, BACK_S, "the host's values")
        seconds = {when for when, _number in pair.netdata.history(time.time() - away, ["ksm.savings"])[SAVINGS]}
        missing = {when for when in range(int(away) + 1, int(max(seconds)))} - seconds
        assert missing == set(), f"{len(missing)} seconds of its absence are missing in the middle"
        assert pair.netdata.values()[SAVINGS][1] == pytest.approx(-64431232 / 2 ** 20, rel=NETDATA_DIGITS)
