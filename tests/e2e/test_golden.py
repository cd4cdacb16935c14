# SPDX-License-Identifier: MIT
"""Both plugins on whole trees of kernels from 2.6.32 to 6.18.

What they deliver is compared with the golden outputs, and those with what follows from the tree by formulas that
share no code with the plugins: a golden output is not merely what the code once said.
"""

from collections import Counter

import pytest

import golden
from figures import FLAGS, collectd_values, netdata_values, places, reckon
from protocol import Agent, ProtocolError

# What each era's kernel is known for: figures it has, and figures that came later.
HAS = [
    ("article", "shared sharing saved gain profit merged sharing_ratio pages_to_scan",
     "full_scans run ksmd_cpu ram net exposure zero cow"),
    ("2.6.32", "full_scans run sleep_millisecs ksmd_cpu ram", "exposure merge_across_nodes chains cow zero"),
    ("3.10", "merge_across_nodes ksmd_cpu", "exposure use_zero_pages max_page_sharing chains"),
    ("5.15", "exposure use_zero_pages max_page_sharing chains dups", "cow swpin_copy zero scanned"),
    ("6.1", "cow swpin_copy exposure profit", "zero scanned skipped smart_scan"),
    ("6.6", "zero scanned profit", "skipped smart_scan advisor_mode"),
    ("6.12", "skipped smart_scan advisor_mode advisor_target_scan_time", "sharing_ratio"),
    ("6.18", " ".join(places(1)), ""),
    ("miscounted", "scanned profit net merged gain", "zero saved overhead ram exposure"),
    ("uksm", "shared sharing unshared zero scanned full_scans run ksmd_cpu saved sharing_ratio",
     "volatile merged profit overhead pages_to_scan use_zero_pages"),
    ("no-ksm", "", " ".join(places(1))),
]

# What the arithmetic comes to, worked out with pencil and paper from the fixtures' figures.
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

ERAS_WITH_KSM = [era for era in golden.ERAS if era != "no-ksm"]


@pytest.fixture(scope="module")
def outputs(build, tmp_path_factory):
    """{era: {host: output}} of this build."""
    return golden.all_outputs(build, tmp_path_factory.mktemp("golden"))


@pytest.fixture(autouse=True, scope="module")
def pages_of_4_kb(page_size):
    """The golden outputs hold bytes."""
    if page_size != golden.PAGE_SIZE:
        pytest.skip(f"the golden outputs are of 4 kB pages, here they have {page_size} bytes")


def netdata_golden(era):
    """Return what an agent makes of ERA's golden output."""
    return Agent(golden.golden(era, "netdata").read_text())


def collectd_golden(era):
    """Return [(series, number)] of ERA's golden output."""
    lines = golden.golden(era, "collectd").read_text().splitlines()
    return [(name, float(value)) for name, value in (line.split() for line in lines)]


@pytest.mark.parametrize("host", ["netdata", "collectd"])
@pytest.mark.parametrize("era", golden.ERAS)
def test_output_is_the_golden_one(era, host, outputs):
    assert outputs[era][host] == golden.golden(era, host).read_text(), "if it is meant: make golden, see the diff"


@pytest.mark.parametrize("era", ERAS_WITH_KSM)
def test_netdata_has_what_follows_from_the_tree(era, make_tree, page_size):
    expected = netdata_values(reckon(make_tree(era), page_size), page_size)
    assert netdata_golden(era).shown() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("era", ERAS_WITH_KSM)
def test_collectd_has_what_follows_from_the_tree(era, make_tree, page_size):
    expected = collectd_values(reckon(make_tree(era), page_size), page_size)
    assert dict(collectd_golden(era)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("era, name, value", BY_HAND)
def test_arithmetic_by_hand(era, name, value, make_tree, page_size):
    assert reckon(make_tree(era), page_size)[name] == value


@pytest.mark.parametrize("era, has, lacks", HAS)
def test_era_has_its_figures_and_no_later_ones(era, has, lacks, make_tree, page_size):
    figures = set(reckon(make_tree(era), page_size))
    assert set(has.split()) <= figures
    assert not set(lacks.split()) & figures


@pytest.mark.parametrize("era", [era for era in ERAS_WITH_KSM if era != "6.12"])
def test_no_two_figures_of_a_fixture_are_equal(era, make_tree, page_size):
    """Else two that are mixed up would not show.  (6.12 is a host where nothing is merged: all 0.)"""
    figures = reckon(make_tree(era), page_size)
    times = Counter(value for name, value in figures.items() if name not in FLAGS and value != 0)
    assert max(times.values()) == 1


@pytest.mark.parametrize("era", ERAS_WITH_KSM)
def test_netdata_draws_with_the_right_units(era, page_size):
    agent = netdata_golden(era)
    units = {f"ksm.{place.chart}": place.units for place in places(page_size).values()}
    assert all(look["units"] == units[chart] for chart, look in agent.charts.items())
    counters = {name for name, place in places(page_size).items() if place.counter}
    assert {name for (_chart, name), scale in agent.dimensions.items() if scale[0] == "incremental"} <= counters
    priorities = [look["priority"] for look in agent.charts.values()]
    assert sorted(set(priorities)) == priorities, "charts are not sent in the order they are shown in"
    assert len(agent.ticks) == 1


@pytest.mark.parametrize("era", ERAS_WITH_KSM)
def test_netdata_learns_the_page_size_where_it_gets_pages(era, page_size):
    agent = netdata_golden(era)
    in_pages = {chart for chart, look in agent.charts.items() if look["units"] in ("pages", "pages/s")}
    assert {name: value for name, value in agent.variables.items() if name[0]} == {
        (chart, "page_size"): page_size for chart in in_pages}


@pytest.mark.parametrize("era", ERAS_WITH_KSM)
def test_netdata_learns_which_charts_there_are(era):
    agent = netdata_golden(era)
    groups = {place.chart for place in places(1).values()}
    assert {name: value for (chart, name), value in agent.variables.items() if chart is None} == {
        f"ksm_has_{group}": f"ksm.{group}" in agent.charts for group in groups}


@pytest.mark.parametrize("era", ERAS_WITH_KSM)
def test_collectd_sends_no_figure_twice(era):
    names = [name for name, _value in collectd_golden(era)]
    assert len(set(names)) == len(names)


def test_nothing_is_delivered_without_ksm():
    agent = netdata_golden("no-ksm")
    assert agent.disabled and not agent.charts
    assert collectd_golden("no-ksm") == []


def test_a_figure_without_a_value_is_a_gap():
    """6.12: nothing is shared.  The chart is there, for when something is; there is no value."""
    agent = netdata_golden("6.12")
    assert ("ksm.sharing_ratio", "sharing_ratio") in agent.dimensions
    assert ("ksm.sharing_ratio", "sharing_ratio") not in agent.ticks[0]


GOOD = "CHART ksm.a '' 't' 'u' 'f' ksm.a line 1 1 '' ksm.plugin ksm\nDIMENSION d '' absolute 1 1\n"


@pytest.mark.parametrize("text", [
    "EXIT\n", "FLUSH\n", "CLABEL a b 1\n", "HOST x\n",
    "BEGIN ksm.a\nEND\n",
    GOOD + "BEGIN ksm.a\nSET d = 010\nEND\n",
    GOOD + "BEGIN ksm.a\nSET d = +7\nEND\n",
    GOOD + "BEGIN ksm.a\nSET d = 1.5\nEND\n",
    GOOD + "BEGIN ksm.a\nSET d = 9223372036854775808\nEND\n",
    GOOD + "BEGIN ksm.a\nSET d = 1\nSET d = 1\nEND\n",
    GOOD + "BEGIN ksm.a\nSET e = 1\nEND\n",
    GOOD + "BEGIN ksm.a\nSET d = 1\n",
    GOOD + "BEGIN ksm.a\nSET d = 1\nEND",
    GOOD + "CHART ksm.a '' 't' 'other' 'f' ksm.a line 1 1 '' ksm.plugin ksm\n",
    GOOD + "DIMENSION e '' absolute 1 0\n",
    "VARIABLE CHART v = 1\n",
    GOOD + "VARIABLE GLOBAL v = 1\n",
    GOOD + "VARIABLE v = 1\n",
    GOOD + "VARIABLE CHART v = 1.5\n",
    "CHART ksm.a '' 'it's' 'u' 'f' ksm.a line 1 1 '' ksm.plugin ksm\n",
    "DIMENSION d '' absolute 1 1\n",
])
def test_the_reader_of_the_protocol_is_strict(text):
    with pytest.raises(ProtocolError):
        Agent(text)
