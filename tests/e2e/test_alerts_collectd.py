# SPDX-License-Identifier: MIT
"""collectd's alerts: the thresholds in a real collectd, the rules for Prometheus in promtool.

The daemons run a copy of the shipped example with shorter durations.  Also checks that the three alert files (the third
is Netdata's) agree.
"""

import json
import re
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path

import pytest

import fixtures
import regimes
from daemons import Collectd, fetch, free_port
from world import World

REPOSITORY = Path(__file__).resolve().parents[2]
THRESHOLDS = REPOSITORY / "collectd/ksm-threshold.conf"
RULES = REPOSITORY / "collectd/prometheus-rules.yml"
RULES_TEST = REPOSITORY / "tests/e2e/prometheus-rules.test.yml"
HEALTH = REPOSITORY / "netdata/health.d/ksm.conf"

CHANGE_S = 90       # limit for a due notification
HITS = 4            # readings that replace the file's 10 minutes
EXPOSURE_MAX = 10 ** 6


# The thresholds in collectd.

def shorten(text):
    """Return TEXT with shorter durations, each of which must be present."""
    for hits, fewer in (("60", HITS), ("6", 2), ("12", 5)):
        text, times = re.subn(f"\\bHits {hits}\n", f"Hits {fewer}\n", text)
        assert times == 1, f"Hits {hits} stands {times} times in {THRESHOLDS}, want 1"
    return text


def severities_of(log, metric=r"\w+"):
    """Return [severity] of the notifications of METRIC in LOG, oldest first, without repetitions.

    collectd repeats the last one if a value is late on a busy machine.
    """
    found = re.findall(rf"Notification: severity = (\w+), .*plugin = ksm, type = gauge, type_instance = {metric}, ", log)
    return [severity for severity, _alike in groupby(found)]


def raised_and_cleared(host, world):
    """A net loss; exposure, rising until no memory is free; then all normal.  collectd's first notification is OKAY."""
    def wait(metric, *severities):
        host.wait(lambda: severities_of(host.log(), metric) == ["OKAY", *severities], CHANGE_S, f"{metric}: {severities}")
    wait("net")
    wait("exposure")
    world.set(profit=-300 << 20, available_kb=5 << 20, swap_kb=4 << 20)
    wait("exposure", "WARNING")
    wait("net", "WARNING")
    world.set(available_kb=1 << 20)
    wait("exposure", "WARNING", "FAILURE")
    world.set(available_kb=0, swap_kb=0)
    host.wait(lambda: host.history()["ksm/gauge-exposure"][-1][1] == EXPOSURE_MAX, CHANGE_S, "nothing to be free")
    time.sleep(4)
    world.set(profit=7 << 30, available_kb=40 << 20)
    wait("net", "WARNING", "OKAY")
    wait("exposure", "WARNING", "FAILURE", "OKAY")


class TooBusy(Exception):
    """This machine was too busy for the scenario's timing."""


def brief_net_loss(host, world):
    """Net losses that are too short for an alert."""
    for _ in range(3):
        world.set(profit=-300 << 20)
        time.sleep(1.5)
        world.set(profit=7 << 30)
        time.sleep(2)
    signs = "".join("-" if number < 0 else "+" for _when, number in host.history()["ksm/gauge-net"])
    if "-" * HITS in signs:
        raise TooBusy(f"the moment was too long on this machine: {signs}")


def exposed_and_briefly_more_so(host, world):
    """Exposed all the time, and critically at every third value only."""
    def values():
        return [number for _when, number in host.history()["ksm/gauge-exposure"]]
    world.set(available_kb=5 << 20, swap_kb=4 << 20)
    host.wait(lambda: severities_of(host.log(), "exposure")[-1] == "WARNING", CHANGE_S, "a warning")
    for turn in range(24):
        world.set(available_kb=(1 if turn % 3 == 0 else 5) << 20)
        count = len(values())
        host.wait(lambda: len(values()) > count, CHANGE_S, "another value")
    critical = "".join("+" if number > 100 else "-" for number in values())
    if "+++" in critical:
        raise TooBusy(f"the moment was too long on this machine: {critical}")
    assert critical.count("+") > 4, critical


def metrics_lost(host, world):
    """Metrics are missing for so long that collectd forgets them, and reappear."""
    world.break_files("sharing", "profit")
    host.wait(lambda: "ksm/gauge-net" not in host.series(), CHANGE_S, "net to be forgotten")
    time.sleep(2)
    world.repair(sharing=2_000_000, profit=7 << 30)
    host.wait_for("ksm/gauge-net", "ksm/gauge-exposure")
    time.sleep(5)


def guest_ends_and_ksm_is_off(host, world):
    """A virtual machine is shut down, then KSM unmerges all."""
    world.set(sharing=300_000, shared=80_000, profit=1 << 30)
    time.sleep(5)
    world.set(run=2, shared=0, sharing=0, unshared=0, volatile=0, zero=0, profit=0, scanned=0, skipped=0, ksmd=0)
    time.sleep(6)


SCENARIOS = [raised_and_cleared, brief_net_loss, exposed_and_briefly_more_so, metrics_lost, guest_ends_and_ksm_is_off]
QUIET = [brief_net_loss, metrics_lost, guest_ends_and_ksm_is_off]


@pytest.fixture(scope="module")
def played(build, tmp_path_factory):
    """{scenario: the log of its collectd}; in parallel, as they mostly wait."""
    work = tmp_path_factory.mktemp("alerts")
    extra = shorten(THRESHOLDS.read_text())

    def one(scenario):
        directory = work / scenario.__name__
        directory.mkdir()
        tree = fixtures.make_tree(build, "6.18", directory / "tree")
        options = {"Root": tree, **fixtures.OPTIONS}
        with World(tree) as world, Collectd(directory / "collectd", build / "ksm.so", options, extra=extra) as host:
            host.wait_for("ksm/gauge-net", "ksm/gauge-exposure")
            time.sleep(4)
            try:
                scenario(host, world)
            except TooBusy as reason:
                return reason
            return host.log()
    with ThreadPoolExecutor(len(SCENARIOS)) as pool:
        return dict(zip(SCENARIOS, pool.map(one, SCENARIOS)))


@pytest.mark.parametrize("metric, severities", [
    ("net", ["OKAY", "WARNING", "OKAY"]),
    ("exposure", ["OKAY", "WARNING", "FAILURE", "OKAY"]),
])
def test_notification_severities_follow_thresholds(metric, severities, played):
    assert severities_of(played[raised_and_cleared], metric) == severities


@pytest.mark.parametrize("scenario", QUIET, ids=lambda scenario: scenario.__name__)
def test_scenario_raises_no_alert(scenario, played):
    if isinstance(played[scenario], TooBusy):
        pytest.skip(str(played[scenario]))
    assert set(severities_of(played[scenario])) == {"OKAY"}, scenario.__doc__


def test_brief_excess_does_not_make_warning_critical(played):
    if isinstance(played[exposed_and_briefly_more_so], TooBusy):
        pytest.skip(str(played[exposed_and_briefly_more_so]))
    assert severities_of(played[exposed_and_briefly_more_so], "exposure") == ["OKAY", "WARNING"]


# The rules for Prometheus.

def promtool(*words):
    """Run promtool; return its output."""
    run = subprocess.run(["promtool", *words], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_promtool_accepts_rules():
    assert "11 rules found" in promtool("check", "rules", RULES)


def mixin(name, config=""):
    """Return the part NAME of the mixin with CONFIG, as jsonnet prints it."""
    if not shutil.which("jsonnet"):
        pytest.skip("jsonnet is not installed")
    argv = ["jsonnet", "-e", f"((import '{RULES.with_name('mixin.libsonnet')}') + {{ _config+:: {{ {config} }} }}).{name}"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def test_mixin_equals_rules_and_dashboard(tmp_path):
    """The files that jsonnet makes of it equal the rules, so promtool's verdict holds for both."""
    dashboard = json.loads(RULES.with_name("grafana-dashboard.json").read_text())
    assert json.loads(mixin("grafanaDashboards")) == {"collectd-ksm.json": dashboard}
    found = []
    for name, count in (("prometheusRules", 4), ("prometheusAlerts", 7)):
        (tmp_path / name).write_text(mixin(name))
        assert f"{count} rules found" in promtool("check", "rules", tmp_path / name)
        found += json.loads((tmp_path / name).read_text())["groups"][0]["rules"]
    rules = subprocess.run(["jsonnet", "-e", f"std.parseYaml(importstr '{RULES}').groups[0].rules"],
                           capture_output=True, text=True, check=True).stdout
    assert found == json.loads(rules)


CONFIG = """ksmSelector: 'job="kvm",cluster="a"', netLoss: -0.5, ksmdBusy: 35, ramLittle: 2.5, exposureHigh: 70,
            exposureFull: 95, runbookBase: 'https://example.com/runbooks/'"""
# A host of each cluster, with 75 % exposure.
EXPOSED = """
rule_files: [prometheusAlerts]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: 'collectd_ksm_gauge{ksm="exposure",job="kvm",cluster="a",instance="x"}', values: '75x9'}
      - {series: 'collectd_ksm_gauge{ksm="exposure",job="kvm",cluster="b",instance="y"}', values: '75x9'}
    promql_expr_test:
      - expr: count by (alertname, cluster) (ALERTS{alertstate="firing"})
        eval_time: 5m
        exp_samples: [{labels: '{alertname="ksm_exposure",cluster="a"}', value: 1}]
"""


def test_mixin_takes_selector_thresholds_and_runbooks_from_its_config(tmp_path):
    selector = '{job="kvm",cluster="a",'
    for name, count in (("prometheusAlerts", 7), ("prometheusRules", 4)):
        (tmp_path / name).write_text(mixin(name, CONFIG))
        assert f"{count} rules found" in promtool("check", "rules", tmp_path / name)
        expressions = [rule["expr"] for rule in json.loads((tmp_path / name).read_text())["groups"][0]["rules"]]
        series = [rest for text in expressions for rest in re.findall(r"collectd_ksm\w*(\S*)", text)]
        assert series and [rest for rest in series if not rest.startswith(selector)] == []
    alerts = json.loads((tmp_path / "prometheusAlerts").read_text())["groups"][0]["rules"]
    assert {alert["annotations"]["runbook_url"] for alert in alerts} == {
        f"https://example.com/runbooks/{alert}" for alert in MEANING}
    conditions = " ".join(alert["expr"] for alert in alerts)
    for limit, times in (("< -0.5 ", 1), ("/ 10 > 35", 3), ("< 2.5 ", 1), ("> 70", 1), ("> 95", 1), ("/ 10 > 20", 0)):
        assert conditions.count(limit) == times, limit
    (tmp_path / "test.yml").write_text(EXPOSED)
    assert "SUCCESS" in promtool("test", "rules", tmp_path / "test.yml")
    panels = json.loads(mixin("grafanaDashboards", CONFIG))["collectd-ksm.json"]["panels"]
    asked = re.findall(r'"expr": "[^\n]*', json.dumps(panels, indent=1))
    assert len(asked) > 40 and [text for text in asked if selector not in text.replace("\\", "")] == []


def test_rules_pass_promtool_unit_tests():
    assert "SUCCESS" in promtool("test", "rules", RULES_TEST)


OWNERS_TEST = """
rule_files: [rules.yml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: 'collectd_ksm_gauge{ksm="owners",instance="a"}', values: '1x9 2x20'}
      - {series: 'collectd_ksm_gauge{ksm="owners",instance="b"}', values: '1x30'}
    promql_expr_test:
      - {expr: 'count by (alertname, instance) (ALERTS{alertstate="firing"})', eval_time: 19m}
      - expr: 'count by (alertname, instance) (ALERTS{alertstate="firing"})'
        eval_time: 20m
        exp_samples: [{labels: '{alertname="ksm_owners",instance="a"}', value: 1}]
"""


def test_example_alert_on_owners_fires_if_it_is_used(tmp_path):
    text = RULES.read_text()
    assert "ksm_owners" not in re.sub("(?m)^ *#.*$", "", text), "not by default"
    (tmp_path / "rules.yml").write_text(text.replace("      #:", "      "))
    (tmp_path / "test.yml").write_text(OWNERS_TEST)
    assert "12 rules found" in promtool("check", "rules", tmp_path / "rules.yml")
    assert "SUCCESS" in promtool("test", "rules", tmp_path / "test.yml")


# Regimes that switch KSM off and on (regimes.py).

MINUTES, RAM_PAGES, SLEEP_MS = 120, 16 << 20, 10


def two_hours(regime, period, exposure):
    """Return {(metric, ksm): [value a minute]} of a host, whose free memory swings around 20 % with PERIOD in minutes."""
    sharing, full_scans, counts = 1_000_000, 10, dict.fromkeys(("scanned", "cow", "ksmd_cpu"), 0)
    series = {}
    for before, run, pages in regimes.played(regime, period, MINUTES):
        if run == 1:
            scanned = pages * 60_000 // SLEEP_MS
            full_scans += scanned / 4_000_000
            counts["scanned"] += scanned
            counts["ksmd_cpu"] += scanned // 1000           # 1 µs a page
            counts["cow"] += 2_000
            sharing += (2_000_000 - sharing) // 5
        elif run == 2 and before != 2:
            counts["cow"] += sharing
            sharing = full_scans = 0
        net = 100 * (sharing - 4_500_000 / 64) / RAM_PAGES if sharing else 0
        sample = {("gauge", "run"): run, ("gauge", "pages_to_scan"): pages, ("gauge", "sleep_millisecs"): SLEEP_MS,
                  ("gauge", "net"): net, ("gauge", "ram"): 100 * sharing / RAM_PAGES, ("gauge", "exposure"): exposure,
                  ("vmpage_number", "sharing"): sharing, ("vmpage_number", "unshared"): 2_000_000 if sharing else 0,
                  ("vmpage_action_total", "scanned"): counts["scanned"], ("vmpage_action_total", "skipped"): 0,
                  ("vmpage_action_total", "cow"): counts["cow"], ("total_operations_total", "full_scans"): int(full_scans),
                  ("total_time_in_ms_total", "ksmd_cpu"): counts["ksmd_cpu"]}
        for key, value in sample.items():
            series.setdefault(key, []).append(value)
    return series


@pytest.mark.parametrize("regime", regimes.REGIMES, ids=lambda regime: regime.__name__)
def test_regime_that_switches_ksm_raises_no_false_alert(regime, tmp_path):
    """Not with any period; and exposure, at b, fires through all changes without a gap: from the second minute on."""
    hosts = {f"{name}{period}": two_hours(regime, period, exposure)
             for name, exposure in (("a", 40), ("b", 90)) for period in (7, 30, 60, 110)}
    assert all(len(set(host["gauge", "run"])) == 2 for host in hosts.values()), "the regime switches"
    series = [{"series": f'collectd_ksm_{metric}{{ksm="{ksm}",instance="{host}"}}', "values": " ".join(map(str, values))}
              for host, found in hosts.items() for (metric, ksm), values in found.items()]
    (tmp_path / "test.yml").write_text(json.dumps({
        "rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [{
            "interval": "1m", "input_series": series, "promql_expr_test": [{
                "expr": 'count_over_time(ALERTS{alertstate="firing"}[2h])', "eval_time": f"{MINUTES - 1}m",
                "exp_samples": [{"labels": '{alertname="ksm_exposure",alertstate="firing",ksm="exposure",severity="warning",'
                                           f'instance="{host}"}}', "value": MINUTES - 1}
                                for host in hosts if host.startswith("b")]}]}]}))
    assert "SUCCESS" in promtool("test", "rules", tmp_path / "test.yml")


def test_rules_query_metrics_that_write_prometheus_exports(build, make_tree, tmp_path):
    rules = re.sub("^ *#.*\n", "", RULES.read_text(), flags=re.MULTILINE)
    asked = {(metric, instance) for metric, instances in re.findall(r'(collectd_\w+)\{ksm=~?"([\w|]+)"', rules)
             for instance in instances.split("|")}
    port, lines = free_port(), ""
    extra = f'LoadPlugin write_prometheus\n<Plugin write_prometheus>\nHost "127.0.0.1"\nPort "{port}"\n</Plugin>'
    options = {"Root": make_tree("6.18"), **fixtures.OPTIONS}
    with Collectd(tmp_path / "collectd", build / "ksm.so", options, extra=extra) as host:
        def exported():
            nonlocal lines
            lines = fetch(f"http://127.0.0.1:{port}/metrics").decode()
            return set(re.findall(r'^(\w+)\{ksm="(\w+)",instance="localhost"\}', lines, re.MULTILINE))
        host.wait(lambda: asked <= exported(), CHANGE_S, asked)
    assert len(asked) > 10
    scans = (options["Root"] / "sys/kernel/mm/ksm/full_scans").read_text().strip()
    assert f'\ncollectd_ksm_total_operations_total{{ksm="full_scans",instance="localhost"}} {scans} ' in lines, \
        "as the kernel counts: the rules wait for the third"


# Agreement of all alert files.

# {alert: parts of its condition in every file that has it}; durations in minutes.
MEANING = {
    "ksm_net_loss": {"-0.1", "10m"},
    "ksm_wasted_scanning": {"20", "1", "10m", ">= 3"},
    "ksm_exposure": {"80", "100", "1m"},
    "ksm_stalled": {"0", "20", "10m"},
    "ksm_empty_scanning": {"0", "20", "10m"},
    "ksm_unmerging": {"/ 2", "10m"},
}
BY_COLLECTD = {"ksm_net_loss", "ksm_exposure"}


def of_netdata():
    """Return {alert: text of its conditions} of Netdata's file."""
    found = {}
    for block in HEALTH.read_text().replace("\\\n", " ").split("\n\n"):
        lines = dict(re.findall(r"^ *(template|lookup|calc|warn|crit): (.*)$", block, re.MULTILINE))
        if "warn" in lines:
            name = lines.pop("template")
            found[name] = " ".join(lines.values())
    return found


def of_prometheus():
    """Return {alert: text of its conditions} of the rules; rules of the same name are joined."""
    found = {}
    for block in re.split(r"^      - ", RULES.read_text(), flags=re.MULTILINE)[1:]:
        if block.startswith("alert: "):
            name = block.splitlines()[0].removeprefix("alert: ")
            found[name] = found.get(name, "") + re.search(r"expr:(.*?)labels:", block, re.DOTALL)[1]
    return found


def of_collectd():
    """Return {alert: text of its conditions} of the thresholds, with Hits at the default Interval of 10 s."""
    found = {}
    for name, block in re.findall(r"# (ksm_\w+):(.*?)(?=# ksm_|</Plugin>)", THRESHOLDS.read_text(), re.DOTALL):
        found[name] = re.sub(r"Hits (\d+)", lambda hits: f"{int(hits[1]) * 10 // 60}m", re.sub("#.*", "", block))
    return found


@pytest.mark.parametrize("read, names", [
    (of_netdata, set(MEANING)),
    (of_prometheus, set(MEANING)),
    (of_collectd, BY_COLLECTD),
])
def test_alert_files_agree(read, names):
    found = read()
    assert set(found) == names
    for name, text in found.items():
        for phrase in MEANING[name]:
            assert re.search(rf"(?<![\w.]){re.escape(phrase)}(?![\w.])", text), f"{name}: no {phrase} in {text}"


def test_stalled_alerts_expect_same_ksmd_cpu_time():
    [calc] = re.findall(r"template: ksm_min_cpu\n(?: *\w+:.*\n)*? *calc: (.*\n.*)\n", HEALTH.read_text())
    [record] = re.findall(r"record: ksm:min_ksmd_cpu:percent\n((?:.+\n)+)", RULES.read_text())
    for number in ("0.004", "0.05", "200"):
        assert number in calc and number in record


def test_collectd_file_lists_alerts_it_lacks():
    head = THRESHOLDS.read_text().partition("LoadPlugin threshold")[0]
    assert set(re.findall(r"ksm_\w+", head)) == set(MEANING)
    assert "full_scans" in THRESHOLDS.read_text(), "it does not wait for the third"


def test_every_rule_has_advice():
    rules = RULES.read_text()
    descriptions = re.findall(r"description: >-\n((?: {12}.*\n)+)", rules)
    assert len(set(descriptions)) == len(MEANING)
    for description in descriptions:
        assert re.search(r"[.:] (Let|Lower|Add|Check|Find) ", " ".join(description.split())), description
    assert len(re.findall("annotations:", rules)) == len(re.findall("- alert:", rules))
