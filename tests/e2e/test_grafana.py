# SPDX-License-Identifier: MIT
"""The Grafana dashboard, collectd/grafana-dashboard.json: its structure, and the results of its queries.

A real Prometheus scrapes real collectds with the plugin and write_prometheus, configured with the lines of
collectd/README.md.  Every query of every panel runs as in Grafana: once with one central collectd for two hosts, once
with a collectd scraped on each host.
"""

import json
import math
import re
import subprocess
import sys
import textwrap
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

import dashboard
import fixtures
from central import replaced
from conftest import REPOSITORY
from daemons import COLLECTD_PLUGINS, SEEN_S, Collectd, Prometheus, free_port
from expected import collectd_values, expected_metrics
from world import GROWING as GROWTH, World

DASHBOARD = REPOSITORY / "collectd/grafana-dashboard.json"
README = (REPOSITORY / "collectd/README.md").read_text()
BOARD = json.loads(DASHBOARD.read_text())
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
VARIABLES = {variable["name"]: variable for variable in BOARD["templating"]["list"]}

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
UNITS = {"bytes", "percent", "short", "none", "ms", "s"}       # Grafana's ids of them
KINDS = {"stat", "timeseries", "table", "barchart"}
WIDTH = 24
LEFT_OUT = set()            # metrics of the host that no panel shows

RATE_INTERVAL = "4s"        # Grafana's, at a scrape a second: four of them
METRIC = re.compile(r'collectd_ksm_\w+\{ksm="(?!owners")(\w+)"')     # of the host; owners are those of consumers

# Rates of growing counters as panels show them: full_scans per minute.
GROWING = {**GROWTH, "ksmd_cpu": GROWTH["ksmd"], "full_scans": GROWTH["full_scans"] * 60, "scan_time": 1 / 40}
DRIFTING = {"ksmd_cpu_per_gib", "scanned_per_page"}     # with those, a little
UNKNOWN = {"scan_left"}     # of scans as short as those


QUERIES = [(f"{panel['title']}-{target['refId']}", panel, target) for panel in PANELS for target in panel["targets"]]
IDS = [name for name, _panel, _target in QUERIES]
OF_A_METRIC = [(name, target["expr"], METRIC.findall(target["expr"])[0]) for name, _panel, target in QUERIES
               if len(set(METRIC.findall(target["expr"])) - UNKNOWN) == 1 and "count_values" not in target["expr"]]


def filled_in(expression, hosts=()):
    """Return EXPRESSION with the variables replaced as Grafana does, with HOSTS chosen (default: All)."""
    escaped = [re.sub(r"([\\^$.*+?()|\[\]{}])", r"\\\\\1", host) for host in hosts]
    chosen = {"host": VARIABLES["host"]["allValue"], "__rate_interval": RATE_INTERVAL}
    if hosts:
        chosen["host"] = escaped[0] if len(hosts) == 1 else f"({'|'.join(escaped)})"
    return re.sub(r"\$([A-Za-z_]\w*)", lambda found: chosen[found[1]], expression)


# Structure.

def test_dashboard_is_up_to_date(build):
    command = [sys.executable, REPOSITORY / "tests/docs/dashboard.py", "--build", build, "--check"]
    status = subprocess.run(command, check=False)
    assert status.returncode == 0, "it is stale: make dashboard"


def test_dashboard_is_portable():
    assert BOARD["id"] is None and BOARD["version"] >= 1 and BOARD["schemaVersion"] >= 38
    assert re.fullmatch(r"[a-z0-9-]{8,40}", BOARD["uid"])
    [asked] = BOARD["__inputs"]
    assert (asked["name"], asked["type"], asked["pluginId"]) == ("DS_PROMETHEUS", "datasource", "prometheus")
    assert VARIABLES["datasource"]["current"]["value"] == "${DS_PROMETHEUS}"
    assert {required["id"] for required in BOARD["__requires"]} == {"grafana", "prometheus"}


def test_panels_have_unique_ids_and_do_not_overlap():
    numbers = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
    taken = [(x, y) for place in (panel["gridPos"] for panel in BOARD["panels"])
             for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])]
    assert len(set(taken)) == len(taken), "panels lie on each other"
    assert {x for x, _y in taken} == set(range(WIDTH))
    rows = {y for _x, y in taken}
    assert rows == set(range(len(rows))), "a gap between rows"


@pytest.fixture
def known(build, make_tree):
    """{metric: description} of all metrics."""
    return {metric["name"]: metric["help"] for metric in fixtures.metrics(build, make_tree("6.18"))}


@pytest.mark.parametrize("panel", PANELS, ids=[panel["title"] for panel in PANELS])
def test_panel_has_description_and_uses_variables(panel, known):
    assert panel["type"] in KINDS and panel["title"] and panel["datasource"] == SOURCE
    assert panel["description"].count(".") >= 1 and len(panel["description"]) > 40
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    for target in panel["targets"]:
        selectors = re.findall(r"collectd_\w+(\{[^}]*\})?", target["expr"])
        assert selectors and all('instance=~"$host"' in selector for selector in selectors)
        assert target["datasource"] == SOURCE
        for name in METRIC.findall(target["expr"]):
            assert f"**{name}**: {known[name]}" in panel["description"]
    field = panel["fieldConfig"]
    of_columns = {override["matcher"]["options"]: prop["value"] for override in field["overrides"]
                  for prop in override["properties"] if prop["id"] == "unit"}
    if panel["type"] != "table":
        assert field["defaults"]["unit"] in UNITS
        return
    # Every column has a heading and a unit.
    [merge, organize] = panel["transformations"]
    assert (merge["id"], organize["id"]) == ("merge", "organize")
    headings = organize["options"]["renameByName"]
    assert {f"Value #{target['refId']}" for target in panel["targets"]} <= set(headings)
    assert {(target["format"], target["instant"]) for target in panel["targets"]} == {("table", True)}
    assert set(of_columns) == {name for column, name in headings.items() if column.startswith("Value")}
    assert of_columns and set(of_columns.values()) <= UNITS


def test_host_variable_selects_hosts():
    assert VARIABLES["host"]["datasource"] == SOURCE
    assert VARIABLES["host"]["multi"] and VARIABLES["host"]["includeAll"]


def test_every_host_metric_has_a_panel(known):
    shown = {name for _name, _panel, target in QUERIES for name in METRIC.findall(target["expr"])}
    assert shown == set(known) - LEFT_OUT


def test_unlisted_metric_gets_a_panel(build):
    metrics = dashboard.Metrics(build)
    metrics.all["new"] = {**metrics.all["cow"], "name": "new", "help": "a new one",
                          "collectd": "ksm/vmpage_action-new"}
    made = dashboard.dashboard(metrics)
    *known_panels, last = made["panels"]
    assert known_panels[-1]["title"] == "More" and known_panels[:-1] == BOARD["panels"]
    assert (last["title"], last["targets"][0]["legendFormat"]) == ("cow", "{{instance}}")
    assert 'collectd_ksm_vmpage_action_total{ksm="new"' in last["targets"][0]["expr"]
    assert "**new**: a new one" in last["description"]


# Results of queries.

def lines_of_readme(first):
    """Return the example of the README that begins with the line FIRST."""
    [block] = [block for block in re.findall(r"(?m)(?:^ {4}.*\n)+", README) if textwrap.dedent(block).startswith(first)]
    return textwrap.dedent(block)


def write_prometheus(port):
    """Return the README's lines for collectd, at PORT of the loopback address."""
    return replaced(lines_of_readme("LoadPlugin write_prometheus\n"), {"192.0.2.10": "127.0.0.1", "9103": port})


def scrape_configs(*ports):
    """Return the README's lines for Prometheus, with targets at PORTS."""
    targets = ", ".join(f'"127.0.0.1:{port}"' for port in ports)
    return replaced(lines_of_readme("scrape_configs:\n"),
                    {"scrape_interval: 10s": "scrape_interval: 1s", '"192.0.2.10:9103"': targets})


def network(directive, port):
    """Return collectd's lines to send values to PORT ("Server") or to get them there ("Listen")."""
    return f'LoadPlugin network\n<Plugin network>\n  {directive} "127.0.0.1" "{port}"\n</Plugin>\n'


def has_come(prometheus, hosts):
    """Whether PROMETHEUS has rates of all HOSTS, and the consumers of the first."""
    rates = prometheus.query(f'rate(collectd_ksm_vmpage_action_total{{ksm="cow"}}[{RATE_INTERVAL}])')
    consumers = prometheus.query('collectd_ksm_consumer_bytes{ksm_consumer="unattributed"}')
    instances = [{dict(series)["instance"] for series in found} for found in (rates, consumers)]
    return set(hosts) <= instances[0] and hosts[0] in instances[1]


@pytest.fixture(scope="module")
def both_ways(build, page_size, tmp_path_factory):
    """Two hosts, "one" with consumers and counters that grow, "two" stopped; {way: Prometheus and the hosts' names}."""
    work = tmp_path_factory.mktemp("grafana")
    trees = {name: fixtures.make_tree(build, era, work / f"tree-{name}")
             for name, era in (("one", "consumers"), ("two", "6.6"))}
    fixtures.make_tree(build, "6.18", trees["one"])           # its metrics over the processes of the first
    (trees["two"] / "sys/kernel/mm/ksm/run").write_text("0\n")
    relay, middle, *ports = [free_port() for _ in range(4)]
    central, each = scrape_configs(middle), scrape_configs(*ports)
    with World(trees["one"], GROWTH, 0.02), ExitStack() as stack:
        stack.enter_context(Collectd(work / "central", f"{COLLECTD_PLUGINS}/network.so", history=False,
                                     extra=network("Listen", relay) + write_prometheus(middle)))
        for (name, tree), port in zip(trees.items(), ports):
            extra = f'Hostname "{name}"\n' + network("Server", relay) + write_prometheus(port)
            stack.enter_context(Collectd(work / name, build / "ksm.so", {"Root": tree, "ConsumersInterval": 1},
                                         history=False, extra=extra))
        ways = {"central": SimpleNamespace(config=central, hosts=["one", "two"]),
                "each": SimpleNamespace(config=replaced(each, {"honor_labels: true": "honor_labels: false"}),
                                        hosts=[f"127.0.0.1:{port}" for port in ports])}
        for name, way in ways.items():
            way.trees = trees
            way.expected = [collectd_values(expected_metrics(tree, page_size), page_size) for tree in trees.values()]
            way.prometheus = stack.enter_context(Prometheus(work / f"prometheus-{name}", way.config))
        for way in ways.values():
            way.prometheus.wait(lambda: has_come(way.prometheus, way.hosts), SEEN_S, "both hosts")
            way.prometheus.wait(lambda: way.prometheus.query('collectd_ksm_gauge{ksm="scan_time"}'), SEEN_S, "the time of a scan")
        yield ways


@pytest.fixture(params=["central", "each"])
def way(request, both_ways):
    """One of the two ways."""
    return both_ways[request.param]


def value_of(values, metric):
    """Return the number of METRIC in VALUES, {collectd's series: number}."""
    [value] = [number for name, number in values.items() if name.rpartition("-")[2] == metric]
    return value


@pytest.mark.parametrize("name, panel, target", QUERIES, ids=IDS)
def test_query_finds_data(name, panel, target, way):
    query = filled_in(target["expr"])
    if UNKNOWN & set(METRIC.findall(target["expr"])):
        assert not way.prometheus.query(query)
        return
    found = way.prometheus.wait(lambda: way.prometheus.query(query), SEEN_S, f"data for {name}")
    assert all(math.isfinite(number) for number in found.values())
    for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
        assert all(label in dict(series) for series in found), f"no label {label} for the legend"
    if panel["type"] == "table":
        headings = panel["transformations"][1]["options"]["renameByName"]
        assert {label for series in found for label in dict(series)} <= set(headings)
    if panel["type"] != "table" and "{{" not in target["legendFormat"] and target["format"] == "time_series":
        assert len(found) == 1, "lines with the same legend"


@pytest.mark.parametrize("expression, metric", [row[1:] for row in OF_A_METRIC],
                         ids=[f"{name}-{metric}" for name, _expression, metric in OF_A_METRIC])
def test_query_returns_host_metric(expression, metric, way):
    """For one selected host, independent of how several hosts are aggregated."""
    query = filled_in(expression, [way.hosts[0]])
    expected, tolerance = GROWING.get(metric), 0.2
    if expected is None:
        expected, tolerance = value_of(way.expected[0], metric), 1e-2 if metric in DRIFTING else 1e-9

    def is_right():
        found = list(way.prometheus.query(query).values())
        return len(found) == 1 and found[0] == pytest.approx(expected, rel=tolerance)
    way.prometheus.wait(is_right, SEEN_S, f"{expected} of {query}, not {way.prometheus.query(query)}")


def shown(way, title, letter="A", hosts=()):
    """Return the result of the query LETTER of the panel TITLE, {values of its labels, sorted by name: number}."""
    expression = next(target["expr"] for name, _panel, target in QUERIES if name == f"{title}-{letter}")
    found = way.prometheus.query(filled_in(expression, hosts))
    return {tuple(text for _label, text in sorted(series)): number for series, number in found.items()}


def wait_shown(way, wanted, *panel, what=dict, **hosts):
    """Wait until WHAT of that which the query of PANEL finds is as WANTED: after a scrape that failed there is nothing."""
    way.prometheus.wait(lambda: what(shown(way, *panel, **hosts)) == wanted, SEEN_S, f"{wanted} in {panel}")


# (Panel, metric, aggregation of several hosts).
TOGETHER = [
    ("Saved", "saved", sum),
    ("Share of RAM", "ram", lambda values: sum(values) / len(values)),
    ("Net", "net", lambda values: sum(values) / len(values)),
    ("Exposure", "exposure", max),
    ("Savings", "saved", sum),
    ("Page states", "shared", sum),
]


@pytest.mark.parametrize("title, metric, together", TOGETHER, ids=[f"{row[0]}-{row[1]}" for row in TOGETHER])
def test_query_over_several_hosts(title, metric, together, way):
    expected = together([value_of(values, metric) for values in way.expected])
    for hosts in ([], way.hosts):
        wait_shown(way, pytest.approx([expected], rel=1e-9), title, hosts=hosts, what=lambda found: list(found.values()))


def test_variable_lists_hosts(way):
    query = VARIABLES["host"]["query"]["query"]
    assert query == VARIABLES["host"]["definition"]
    selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", query).groups()
    assert way.prometheus.label_values(label, selector) == sorted(way.hosts)


def test_table_has_a_row_per_host(way):
    for title, _panel, target in QUERIES:
        if title.startswith("Hosts-"):
            wait_shown(way, {(host,) for host in way.hosts}, "Hosts", target["refId"], what=set)


def test_states_are_shown_as_words(way):
    states = [value_of(values, "run") for values in way.expected]
    expected = {(state,): states.count(i) for i, state in enumerate(("stopped", "running", "unmerged")) if i in states}
    wait_shown(way, expected, "State")


def test_consumers_add_up_to_host_savings(way):
    saved = value_of(way.expected[0], "saved")
    for title in ("Saved, by kind", "Saved, by consumer"):
        wait_shown(way, saved, title, hosts=[way.hosts[0]], what=lambda found: sum(found.values()))
    wait_shown(way, {(kind,) for kind in ("vm", "container", "service", "program", "unattributed")}, "Saved, by kind",
               what=set)


def test_owners_are_shown(way):
    wait_shown(way, {(way.hosts[0],): 7}, "Owners", hosts=[way.hosts[0]])


def test_top_consumers_are_listed(way, page_size):
    saved, real = (way.prometheus.wait(lambda letter=letter: shown(way, "Largest savings", letter), SEEN_S, "savings")
                   for letter in "AB")
    row = (way.hosts[0], "vm-web-01")
    assert max(saved, key=saved.get) == row
    sharing, shared, zero = (value_of(way.expected[0], name) for name in ("sharing", "shared", "zero"))
    merging, zeros, resident = vm_web(way.trees["one"])
    share = sharing * merging // (sharing + shared)
    assert zeros <= zero and saved[row] == (share + zeros) * page_size
    assert real[row] == (resident - share) * page_size
    assert set(real) <= set(saved)
    for letter, table in zip("AB", (saved, real)):
        wait_shown(way, {(name,): number for (_host, name), number in table.items()}, "Saved and real", letter)


def vm_web(tree):
    """Return the merging, zero and resident pages of the machine web-01 of TREE."""
    [process] = [path.parent for path in (tree / "proc").glob("*/cgroup") if "web\\x2d01" in path.read_text()]
    fields = dict(line.split()[:2] for line in (process / "ksm_stat").read_text().splitlines())
    resident = int((process / "statm").read_text().split()[1])
    return int(fields["ksm_merging_pages"]), int(fields["ksm_zero_pages"]), resident


def test_ended_consumer_disappears(both_ways):
    """By the README's honor_timestamps; with its value's own times Prometheus would show it for five minutes."""
    trees = both_ways["central"].trees
    (trees["one"] / "proc/300").rename(trees["one"] / "ended-300")
    (trees["one"] / "proc/301").rename(trees["one"] / "ended-301")
    for way in both_ways.values():
        wait_shown(way, (False, True), "Saved, by consumer",
                   what=lambda found: tuple((name,) in found for name in ("service-nginx", "vm-web-01")))
