# SPDX-License-Identifier: MIT
"""The page that Netdata makes of the charts, as a person sees it in a browser."""

import re

import pytest

import fixtures
import page
from daemons import Netdata
from expected import expected_metrics, netdata_values

WHY_NOT = page.why_not()
pytestmark = [pytest.mark.long, pytest.mark.skipif(WHY_NOT is not None, reason=WHY_NOT or "")]

# From above; the consumers are those of tests/fixtures/consumers.tree, by kind and name.
PAGE = {
    "overview": ["savings", "effectiveness", "state"],
    "savings by consumer": ["consumers", "consumer_container_9687bac58d5c", "consumer_container_ct1", "consumer_program_bash",
                  "consumer_program_firefox", "consumer_service_getty@tty1", "consumer_service_nginx",
                  "consumer_vm_100", "consumer_vm_web-01", "owners"],
    "risk": ["exposure"],
    "pages": ["memory", "zero_pages", "merge_rate", "sharing_ratio", "stable_nodes"],
    "huge pages": ["thp", "thp_split"],
    "scanning": ["ksmd_cpu", "cpu_cost", "scan", "scan_cost", "scan_time", "full_scans", "cow"],
    "settings": ["settings_pages", "settings_ms", "settings_s", "settings_percent", "settings_flags"],
}
SUM = "ksm.consumers"
SHOWN_S = 10        # the time that the charts show
ROUNDED = 0.05      # of a value below a chart


@pytest.fixture(scope="module")
def tree(build, tmp_path_factory):
    """A host that has all metrics, and consumers."""
    tree = fixtures.make_tree(build, "6.18", tmp_path_factory.mktemp("page") / "tree")
    return fixtures.make_tree(build, "consumers", tree)


@pytest.fixture(scope="module")
def agent(build, tree, tmp_path_factory):
    """A Netdata with the plugin on that host, and some values."""
    work = tmp_path_factory.mktemp("netdata")
    with Netdata(work, build / "ksm.plugin", f"--root={tree} --consumers-interval=1") as netdata:
        netdata.wait_for((SUM, "vm"), ("ksm.scan", "scanned"))
        yield netdata


@pytest.fixture(scope="module")
def whole(agent, tmp_path_factory):
    """All of our section at one instant: its charts, the menu and what is below our entry."""
    with page.Page(tmp_path_factory.mktemp("whole"), agent.url, SHOWN_S, (1280, 800), live=False) as shown:
        shown.draw(list(shown.charts())[-1])
        shown.wait(lambda: all(chart.drawn for chart in shown.charts().values()), "lines in all charts")
        return shown.charts(), shown.menu(), shown.submenu()


def test_menu_links_to_ksm_section_and_families(whole):
    _charts, menu, submenu = whole
    assert "ksm" in menu
    assert submenu == list(PAGE)


def test_charts_are_ordered_within_families(whole):
    charts, _menu, _submenu = whole
    found = {}
    for name, chart in charts.items():
        found.setdefault(chart.family, []).append(name.removeprefix("ksm."))
    assert found == PAGE
    assert list(found) == list(PAGE)


def test_chart_titles_are_shown(whole, agent):
    charts, _menu, _submenu = whole
    assert {name: chart.title for name, chart in charts.items()} == \
        {name: chart["title"] for name, chart in agent.charts().items()}


def test_consumer_chart_shows_its_name(whole):
    """By its id, which the agent puts after the title: that is the same for all."""
    charts, _menu, _submenu = whole
    titles = {charts[f"ksm.consumer_{name}"].title.removesuffix(f" (ksm.consumer_{name})")
              for name in ("vm_web-01", "container_ct1", "program_bash")}
    assert titles == {"Memory of a consumer: used (real) and saved (saved)"}


def test_bracketed_words_are_dimensions(agent):
    found = 0
    for name, chart in agent.charts().items():
        words = set(re.findall(r"\(([a-z_]+)\)", chart["title"]))
        assert words <= set(chart["dimensions"]), name
        found += len(words)
    assert found > 10


def test_live_dashboard_shows_values(agent, tree, page_size, tmp_path):
    want = {name: value for (chart, name), value in netdata_values(expected_metrics(tree, page_size), page_size).items()
            if chart == "ksm.savings"}

    def values():
        legend = shown.charts()["ksm.savings"].legend
        return {name: float(legend[name].replace(",", "")) for name in want if legend.get(name, "-") not in "-"}
    with page.Page(tmp_path, agent.url, SHOWN_S, (1280, 700)) as shown:
        shown.wait(lambda: values().keys() == want.keys(), "the values of all dimensions")
        assert values() == pytest.approx(want, abs=ROUNDED)
        shown.picture(tmp_path / "shown.png", "ksm.savings")
    picture = (tmp_path / "shown.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and len(picture) > 10000
