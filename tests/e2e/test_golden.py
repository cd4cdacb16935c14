# SPDX-License-Identifier: MIT
"""Both plugins on whole trees of kernels from 2.6.32 to 6.18.

Their output is compared with the golden outputs, and these with metrics computed from the tree by formulas that share
no code with the plugins, so that a golden output is not just an earlier output of the same code.
"""

from collections import Counter

import pytest

import fixtures
from expected import FLAGS, collectd_values, expected_metrics, netdata_values, places
from protocol import Agent, ProtocolError

# Results computed by hand from the fixtures' metrics.
BY_HAND = [
    ("article", "saved", 90090 * 4096),                         # 351.9 MiB
    ("article", "gain", 41179 * 4096),                          # 160.9 MiB
    ("article", "profit", 369008640 - 64 * 263038),
    ("article", "merged", 34249),                               # 90090 / 263038 = 34.249… %
    ("article", "sharing_ratio", 2841),                         # 139001 / 48911 = 2.841…
    ("2.6.32", "ksmd_cpu", 612900000000),                       # 7 + 61283 ticks of 10 ms
    ("3.10", "gain", -982 * 4096),                              # fewer saved than kept
    ("3.10", "ksmd_cpu", 93750123456),                          # of the kernel's thread, not of pid 31
    ("5.15", "ksmd_cpu", 881250000000),                         # schedstat says 0 0 0
    ("5.15", "run", 0),
    ("6.1", "run", 1),                                          # 5 in the file
    ("6.1", "exposure", 124422),                                # 5243236 kB of 4214060 kB
    ("6.6", "saved", 208018 * 4096),                            # zero pages are saved too
    ("6.6", "overhead", 270024 * 64),
    ("miscounted", "profit", 88007 * 4096 - 270024 * 64),       # the kernel's own is -3752804864
    ("6.12", "run", 2),                                         # 6 in the file
    ("6.12", "merged", 0),
    ("6.18", "profit", -64431232),
    ("6.18", "net", -47),                                       # of 131748208 kB: -0.0477… %
    ("6.18", "advisor_mode", 1),
    ("uksm", "scanned", 1532437 * 16),
    ("uksm", "zero", 81236 // 4),
]

ERAS_WITH_KSM = [era for era in fixtures.ERAS if era != "no-ksm"]


@pytest.fixture(scope="module")
def outputs(build, tmp_path_factory):
    """{era: {daemon: output}} of this build."""
    return fixtures.all_outputs(build, tmp_path_factory.mktemp("golden"))


@pytest.fixture(autouse=True, scope="module")
def pages_of_4_kb(page_size):
    """Skip the test unless pages have 4 kB, as the golden outputs contain bytes."""
    if page_size != fixtures.PAGE_SIZE:
        pytest.skip(f"the golden outputs are of 4 kB pages, here they have {page_size} bytes")


def netdata_golden(era):
    """Return an Agent that has parsed ERA's golden output."""
    return Agent(fixtures.golden(era, "netdata").read_text())


def collectd_golden(era):
    """Return [(series, number)] of ERA's golden output."""
    lines = fixtures.golden(era, "collectd").read_text().splitlines()
    return [(name, float(value)) for name, value in (line.split() for line in lines)]


@pytest.mark.parametrize("host", ["netdata", "collectd"])
@pytest.mark.parametrize("era", fixtures.ERAS)
def test_output_matches_golden(era, host, outputs):
    assert outputs[era][host] == fixtures.golden(era, host).read_text(), "if it is meant: make golden, see the diff"


@pytest.mark.parametrize("era", ERAS_WITH_KSM)
def test_golden_outputs_match_tree(era, make_tree, page_size):
    tree = make_tree(era)
    metrics = expected_metrics(tree, page_size)
    assert netdata_golden(era).shown() == pytest.approx(netdata_values(expected_metrics(tree, page_size, once=True), page_size),
                                                        rel=1e-12)
    sent = collectd_golden(era)
    assert dict(sent) == pytest.approx(collectd_values(metrics, page_size), rel=1e-12)
    assert len(dict(sent)) == len(sent), "collectd gets a metric twice"
    # Else two that are mixed up would not show.  (6.12 is a host where nothing is merged: all 0.)
    times = Counter(value for name, value in metrics.items() if name not in FLAGS and value != 0)
    assert era == "6.12" or max(times.values()) == 1, "two metrics of a fixture are equal"


@pytest.mark.parametrize("era, name, value", BY_HAND)
def test_metrics_match_hand_computed_values(era, name, value, make_tree, page_size):
    assert expected_metrics(make_tree(era), page_size)[name] == value


@pytest.mark.parametrize("era", ERAS_WITH_KSM)
def test_netdata_charts_have_right_units(era, page_size):
    agent = netdata_golden(era)
    units = {f"ksm.{place.chart}": place.units for place in places(page_size).values()}
    assert all(attributes["units"] == units[chart] for chart, attributes in agent.charts.items())
    counters = {name for name, place in places(page_size).items() if place.counter}
    assert {name for (_chart, name), scale in agent.dimensions.items() if scale[0] == "incremental"} <= counters
    priorities = [attributes["priority"] for attributes in agent.charts.values()]
    assert sorted(set(priorities)) == priorities, "charts are not sent in the order they are shown in"
    assert len(agent.ticks) == 1


@pytest.mark.parametrize("era", ERAS_WITH_KSM)
def test_netdata_gets_page_size_and_available_charts(era, page_size):
    agent = netdata_golden(era)
    in_pages = {chart for chart, attributes in agent.charts.items() if attributes["units"] in ("pages", "pages/s")}
    assert agent.variables == {
        **{(chart, "page_size"): page_size for chart in in_pages},
        **{(None, f"ksm_has_{place.chart}"): f"ksm.{place.chart}" in agent.charts for place in places(1).values()}}


def test_no_metrics_without_ksm():
    agent = netdata_golden("no-ksm")
    assert agent.disabled and not agent.charts
    assert collectd_golden("no-ksm") == []


def test_metric_without_value_is_a_gap():
    """6.12: nothing is shared.  The chart exists, but has no value."""
    agent = netdata_golden("6.12")
    assert ("ksm.sharing_ratio", "sharing_ratio") in agent.dimensions
    assert ("ksm.sharing_ratio", "sharing_ratio") not in agent.ticks[0]


GOOD = "CHART ksm.a '' 't' 'u' 'f' ksm.a line 1 1 '' ksm.plugin ksm\n" \
       "DIMENSION d '' absolute 1 1\n"


@pytest.mark.parametrize("text", [
    "EXIT\n", "FLUSH\n", "CLABEL a b 1\n", "HOST x\n", "BEGIN ksm.a\nEND\n", "DIMENSION d '' absolute 1 1\n",
    "VARIABLE CHART v = 1\n", "CHART ksm.a '' 'it's' 'u' 'f' ksm.a line 1 1 '' ksm.plugin ksm\n",
    *(f"{GOOD}BEGIN ksm.a\nSET d = {value}\nEND\n" for value in ("010", "+7", "1.5", 2 ** 63, "1\nSET d = 1")),
    *(f"{GOOD}BEGIN ksm.a\n{rest}" for rest in ("SET e = 1\nEND\n", "SET d = 1\n", "SET d = 1\nEND")),
    *(f"{GOOD}{line}\n" for line in (
        "CHART ksm.a '' 't' 'other' 'f' ksm.a line 1 1 '' ksm.plugin ksm", "DIMENSION e '' absolute 1 0",
        "VARIABLE GLOBAL v = 1", "VARIABLE v = 1", "VARIABLE CHART v = 1.5")),
])
def test_protocol_reader_is_strict(text):
    assert Agent(GOOD + "BEGIN ksm.a\nSET d = 1\nEND\n").ticks == [{("ksm.a", "d"): 1}]
    with pytest.raises(ProtocolError):
        Agent(text)
