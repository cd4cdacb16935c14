# SPDX-License-Identifier: MIT
"""Netdata's alerts in a real agent: each is raised and cleared, and stays clear in scenarios without a problem.

The agents run a copy of the shipped file with shorter durations: 5 s for 10 minutes.  Every scenario has its own agent
and World; all run in parallel, and return the agent's alarm log.
"""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

import fixtures
import regimes
from daemons import Netdata
from world import World

SHIPPED = Path(__file__).resolve().parents[2] / "netdata/health.d/ksm.conf"
ALERTS = {"ksm_net_loss", "ksm_wasted_scanning", "ksm_exposure", "ksm_stalled", "ksm_empty_scanning", "ksm_unmerging"}
HELPERS = {"ksm_running", "ksm_stopped", "ksm_ram", "ksm_cow", "ksm_cow_before", "ksm_parted", "ksm_scanned",
           "ksm_net_peak", "ksm_exposure_sum", "ksm_exposure_average"}
OF_SETTINGS = {"ksm_min_pages", "ksm_max_pages", "ksm_min_cpu"}
RAISED = {"WARNING", "CRITICAL"}

# (Duration in the file, its replacement in the copy, minimum number of occurrences).
SHORTER = [("lookup: (\\w+) -10m ", r"lookup: \1 -5s ", 16), ("lookup: (\\w+) -1m ", r"lookup: \1 -5s ", 3),
           (r"\* 45\b", "* 3", 2), ("at -10m ", "at -5s ", 1), (r"\* 600\b", "* 5", 1),
           ("every: 10s", "every: 1s", 19), (">= 540\\b", ">= 3", 8)]
WINDOW_S = 5        # replaces the file's 10 minutes and 1 minute
FULL_S = 10         # enough for windows to be full and evaluated
CHANGE_S = 90       # limit for a due alert

# Keys that both 1.37 and 2.x know.
KEYS = set("template on class type component os hosts lookup calc units every warn crit delay info to".split())


def shorten(text):
    """Return TEXT with shorter durations, each of which must be present."""
    for pattern, replacement, at_least in SHORTER:
        text, times = re.subn(pattern, replacement, text)
        assert times >= at_least, f"{pattern} stands {times} times in {SHIPPED}, want {at_least}"
    left = re.findall(r"^ *(?:lookup|every):.*\d[mh]\b.*$", text, re.MULTILINE)
    assert left == [], "durations that are not shorter"
    return text


class Monitored:
    """An agent on a World."""

    def __init__(self, agent, world):
        self.agent, self.world = agent, world

    def statuses(self):
        """Return {alert: current status} of the alerts that can be raised."""
        return {alarm["name"]: alarm["status"] for alarm in self.agent.alarms().values() if alarm["name"] in ALERTS}

    def log(self):
        """Return [(alert, status, time)] of all changes so far, oldest first."""
        changes = sorted(self.agent.api("alarm_log"), key=lambda change: change["unique_id"])
        return [(change["name"], change["status"], change["when"]) for change in changes if change["name"] in ALERTS]

    def raised(self):
        """Return {(alert, status)} of all alerts raised so far."""
        return {(name, status) for name, status, _when in self.log() if status in RAISED}

    def wait_raised(self, *wanted):
        """Wait until each of WANTED, (alert, status), was raised."""
        self.agent.wait(lambda: set(wanted) <= self.raised(), CHANGE_S, f"{wanted}, got {self.log()}")

    def wait_status(self, **wanted):
        """Wait until the alerts have the WANTED statuses."""
        self.agent.wait(lambda: wanted.items() <= self.statuses().items(), CHANGE_S, f"{wanted}, got {self.statuses()}")

    def hold(self, **metrics):
        """Set METRICS, and wait for longer than the window of any alert."""
        self.world.set(**metrics)
        time.sleep(FULL_S)


def wait_for_baseline(monitored):
    """Run a healthy host until the agent knows the usual number of copied pages in two windows."""
    monitored.wait_status(**dict.fromkeys(ALERTS, "CLEAR"))
    monitored.agent.wait(lambda: monitored.agent.alarms()["ksm.cow.ksm_cow_before"]["value"] is not None,
                         CHANGE_S, "cow")
    time.sleep(WINDOW_S)


def all_at_once(monitored):
    """A healthy host gets all problems, and is then healthy again."""
    wait_for_baseline(monitored)
    before = monitored.raised()
    monitored.world.set(sharing=100_000, cow=500_000, profit=-300 << 20, ksmd=30, scanned=0, skipped=0, full_scans=0,
                      available_kb=250 << 10, swap_kb=200 << 10)
    monitored.wait_raised(*((name, "WARNING") for name in ALERTS - {"ksm_stalled"}))
    monitored.wait_status(ksm_unmerging="CLEAR", ksm_empty_scanning="WARNING")    # its window has passed
    busy = monitored.statuses()
    monitored.world.set(ksmd=0)
    monitored.wait_status(ksm_stalled="WARNING", ksm_empty_scanning="CLEAR", ksm_wasted_scanning="CLEAR")
    monitored.world.set(available_kb=100 << 10)
    monitored.wait_raised(("ksm_exposure", "CRITICAL"))
    monitored.world.set(available_kb=0, swap_kb=0)
    time.sleep(WINDOW_S)
    others = monitored.statuses()
    monitored.world.set(sharing=2_000_000, cow=50, profit=7 << 30, ksmd=5, scanned=20_000, available_kb=40 << 20)
    monitored.wait_status(**dict.fromkeys(ALERTS, "CLEAR"))
    return SimpleNamespace(before=before, busy=busy, others=others)


def first_pass(monitored):
    """ksmd starts on 64 GiB: in its first full scan it tracks pages, and merges none before the second."""
    monitored.wait_status(ksm_net_loss="CLEAR")
    monitored.world.count("full_scans", 0)
    monitored.world.set(**{**NOTHING, "ksmd": 30, "scanned": 20_000})
    for gib in range(4, 65, 2):
        monitored.world.set(unshared=gib << 18, profit=-(gib << 24))
        time.sleep(0.3)
    monitored.world.count("full_scans", 2)
    time.sleep(FULL_S)
    early = monitored.raised()
    monitored.world.count("full_scans", 3)
    monitored.wait_raised(("ksm_net_loss", "WARNING"), ("ksm_wasted_scanning", "WARNING"))
    return early


def all_skipped(monitored):
    """smart_scan skips all pages, and they count as volatile."""
    monitored.hold(volatile=20_000_000, scanned=0, skipped=40_000, full_scans=0, ksmd=0)


def gaps(monitored):
    """Counters restart; then metrics become unreadable, and recover."""
    monitored.wait_status(ksm_stalled="CLEAR")
    monitored.world.count("full_scans", 0)
    time.sleep(2)
    monitored.world.break_files("scanned", "skipped", "full_scans", "profit", "sharing")
    time.sleep(FULL_S)
    monitored.world.repair(sharing=2_000_000, profit=7 << 30)
    time.sleep(FULL_S / 2)


def idle(monitored):
    """KSM runs, and no process has opted in."""
    time.sleep(FULL_S)
    monitored.wait_status(**dict.fromkeys(ALERTS, "CLEAR"))


def guest_ends(monitored):
    """A virtual machine is shut down: its pages are freed, not copied."""
    monitored.wait_status(ksm_unmerging="CLEAR")
    monitored.hold(sharing=300_000, shared=80_000, profit=1 << 30)
    monitored.hold(sharing=10_000, shared=8_000, profit=1 << 20)


def guest_ends_while_others_write(monitored):
    """A virtual machine is shut down on a host where pages are copied, and merged again, all the time."""
    wait_for_baseline(monitored)
    monitored.hold(sharing=300_000, shared=80_000, profit=1 << 30)


def zero_pages_end(monitored):
    """The number of zero pages falls, while merged pages are written to and merged again."""
    wait_for_baseline(monitored)
    monitored.hold(zero=0, cow=600_000)


def switched_off(monitored):
    """KSM is stopped at a net loss and with pages merged, and then unmerges them."""
    wait_for_baseline(monitored)
    monitored.hold(run=0, scanned=0, skipped=0, full_scans=0, ksmd=0, cow=5_000, profit=-300 << 20)
    monitored.hold(run=2, cow=2_000_000, shared=0, sharing=0, unshared=0, volatile=0, zero=0, profit=0)


def dip(monitored):
    """The profit is positive except for a moment, in which it is more negative than it is positive otherwise."""
    monitored.wait_status(ksm_net_loss="CLEAR")
    for mib, seconds in ((-1400, 1), (-30_000, WINDOW_S / 2)):
        monitored.hold(profit=1 << 30)
        monitored.world.set(profit=mib << 20)
        time.sleep(seconds)
    monitored.hold(profit=1 << 30)


def briefly_exposed(monitored):
    """No memory is free for one second, once on a healthy host, and once when a missing metric has recovered."""
    monitored.wait_status(**dict.fromkeys(ALERTS, "CLEAR"))
    monitored.world.set(available_kb=0, swap_kb=0)
    time.sleep(1)
    monitored.hold(available_kb=40 << 20)
    monitored.world.break_files("sharing")
    monitored.hold(available_kb=0)
    monitored.world.repair(sharing=2_000_000)
    time.sleep(1)
    monitored.hold(available_kb=40 << 20)


def off_and_on(monitored):
    """KSM is stopped, merged pages are written to, the rest is unmerged, and KSM is started again."""
    wait_for_baseline(monitored)
    monitored.world.set(run=0, cow=100_000)
    time.sleep(1.5)
    monitored.world.set(run=2, cow=2_000_000, sharing=0, shared=0, profit=0)
    time.sleep(1.5)
    monitored.hold(run=1, cow=50)


def busy(monitored):
    """ksmd uses much CPU time for what it saves, and some merged pages are written to."""
    wait_for_baseline(monitored)
    monitored.hold(ksmd=30, sharing=1_300_000, cow=500_000)


def old_kernel(monitored):
    """Before 6.6: long scans are no problem, an idle ksmd is one."""
    monitored.wait_status(**dict.fromkeys(ALERTS, "CLEAR"))
    monitored.hold(full_scans=0)
    slow = monitored.raised()
    monitored.world.set(ksmd=0)
    monitored.wait_raised(("ksm_stalled", "WARNING"))
    monitored.world.set(full_scans=2, ksmd=5)
    monitored.wait_status(ksm_stalled="CLEAR")
    return slow


def slow_ksmd(monitored):
    """Before 6.6: ksmd scans 100 pages a second, then none."""
    monitored.hold()
    slow = monitored.raised()
    monitored.world.set(ksmd=0)
    monitored.wait_raised(("ksm_stalled", "WARNING"))
    return slow


def no_page_to_scan(monitored):
    """Before 6.6: ksmd only wakes up, every 10 ms."""
    monitored.wait_raised(("ksm_stalled", "WARNING"))


def empty_mapping(monitored):
    """No page is tracked yet: the first page of a huge mapping is far from its start."""
    monitored.world.count("full_scans", 0)
    monitored.wait_status(**dict.fromkeys(ALERTS, "CLEAR"))
    monitored.world.set(ksmd=99)
    monitored.wait_raised(("ksm_empty_scanning", "WARNING"))


def short_scans(monitored):
    """Before 6.10 the batch that ends a full scan is not counted; here pages_to_scan exceeds the number of all pages."""
    monitored.hold(scanned=0, skipped=0, ksmd=15)
    monitored.hold(ksmd=99)


def no_cow(monitored):
    """Before 5.19 the kernel does not count copied pages."""
    monitored.wait_status(ksm_stalled="CLEAR")
    monitored.hold(sharing=300_000)


def just_started(monitored):
    """An agent that starts on a host with problems raises no alert before its windows are full."""
    monitored.wait_raised(*((name, "WARNING") for name in ("ksm_net_loss", "ksm_stalled")))
    first = monitored.agent.api("chart", chart="ksm.effectiveness")["first_entry"]
    return {name: when - first for name, _status, when in monitored.log() if (name, "WARNING") in monitored.raised()}


# Regimes that switch KSM off and on (regimes.py). A second is a minute of theirs: half as fast as the file's copy.

SWINGS = {7: 28, 30: 60, 110: 110}      # {period of free memory: seconds}
SAVED_KB = 8_004_000                    # by default


def switch(world, regime, period, seconds):
    """Let REGIME switch KSM in WORLD for SECONDS, while free memory swings around 20 % with PERIOD."""
    sharing = 2_000_000
    for before, run, pages in regimes.played(regime, period, seconds, run=1):
        scans = {"scanned": 100 * pages, "ksmd": pages / 250, "full_scans": 2}
        if run == 2 and before != 2:
            world.set(run=2, cow=sharing, shared=0, sharing=0, unshared=0, volatile=0, zero=0, profit=0)
            sharing = 0
        elif run == 1:
            sharing += (2_000_000 - sharing) // 5 if before == 1 else 0
            world.set(run=1, cow=50, shared=sharing // 4, sharing=sharing, unshared=300_000,
                      profit=(sharing << 12) - (300_000 << 6))
        else:
            world.set(run=run, cow=50 if sharing else 0)
        world.set(pages_to_scan=pages, **(scans if run == 1 else dict.fromkeys(scans, 0)))
        if sharing == 0:
            world.count("full_scans", 0)
        time.sleep(1)


def switched_by(regime):
    """Return the scenario of a healthy host whose KSM REGIME switches; then memory is short, and at last ksmd stalls."""
    def scenario(monitored):
        wait_for_baseline(monitored)
        for swing in SWINGS.items():
            switch(monitored.world, regime, *swing)
        healthy = monitored.log()
        if regime is not regimes.unmerger:      # else nothing is saved when KSM is off
            monitored.hold(run=1, sharing=2_000_000, zero=1000, available_kb=SAVED_KB * 10 // 9, swap_kb=0)
            switch(monitored.world, regime, 7, 28)
        exposed = monitored.log()[len(healthy):]
        monitored.world.set(run=1, sharing=100_000, profit=-300 << 20, ksmd=0, scanned=0, skipped=0, full_scans=0,
                            available_kb=40 << 20)
        monitored.world.count("full_scans", 9)
        monitored.wait_raised(("ksm_stalled", "WARNING"), ("ksm_net_loss", "WARNING"))
        return SimpleNamespace(healthy={(name, status) for name, status, _when in healthy if status in RAISED},
                               exposed=[(name, status) for name, status, _when in exposed])
    scenario.__name__ = f"switched_by_{regime.__name__}"
    return scenario


SWITCHED = {switched_by(regime): regime for regime in regimes.REGIMES}

NOTHING = {"shared": 0, "sharing": 0, "unshared": 0, "volatile": 0, "zero": 0, "profit": 0, "scanned": 0, "skipped": 0,
           "full_scans": 0, "cow": 0, "ksmd": 0}

# {scenario: (fixture of its tree, initial metrics)}.
SCENARIOS = {
    all_at_once: ("6.18", {}),
    all_skipped: ("6.18", {}),
    gaps: ("6.18", {}),
    idle: ("6.18", NOTHING),
    guest_ends: ("6.18", {}),
    guest_ends_while_others_write: ("6.18", {"cow": 200_000}),
    zero_pages_end: ("6.18", {"sharing": 500_000, "zero": 2_000_000}),
    first_pass: ("6.18", {}),
    empty_mapping: ("6.18", NOTHING),
    short_scans: ("6.18", {}),
    switched_off: ("6.18", {}),
    dip: ("6.18", {}),
    briefly_exposed: ("6.18", {}),
    off_and_on: ("6.18", {}),
    busy: ("6.18", {}),
    old_kernel: ("6.1", {}),
    slow_ksmd: ("6.1", {"pages_to_scan": 100, "sleep_millisecs": 1000, "ksmd": 0.018, "full_scans": 0}),
    no_page_to_scan: ("6.1", {"pages_to_scan": 0, "sleep_millisecs": 10, "ksmd": 0.1, "full_scans": 0}),
    no_cow: ("5.15", {}),
    just_started: ("6.18", {"profit": -300 << 20, "scanned": 0, "skipped": 0, "full_scans": 0}),
    **{scenario: ("6.18", {}) for scenario in SWITCHED},
}
QUIET = [gaps, idle, briefly_exposed, guest_ends_while_others_write, switched_off, no_cow]
QUIET_LONG = [all_skipped, guest_ends, zero_pages_end, short_scans, dip, off_and_on, busy]
LONG = [*QUIET_LONG, *SWITCHED]


def play(scenario, build, work, health):
    """Play SCENARIO; return its result, the logged changes, and the agent's log."""
    era, metrics = SCENARIOS[scenario]
    tree = fixtures.make_tree(build, era, work / "tree")
    words = " ".join([f"--root={tree}", *fixtures.ARGUMENTS])
    with World(tree, **metrics) as world, \
            Netdata(work / "netdata", build / "ksm.plugin", words, health=health) as agent:
        monitored = Monitored(agent, world)
        agent.wait_for(("ksm.savings", "saved"))
        result = scenario(monitored)
        return SimpleNamespace(result=result, raised=monitored.raised(), changes=monitored.log(), alarms=agent.alarms(),
                               text=agent.log())


def play_all(scenarios, build, work):
    """Play SCENARIOS, with all files in WORK; return {scenario: result of play()}."""
    health = work / "ksm.conf"
    health.write_text(shorten(SHIPPED.read_text()))

    def one(scenario):
        directory = work / scenario.__name__
        directory.mkdir()
        return play(scenario, build, directory, health)
    with ThreadPoolExecutor(len(scenarios)) as pool:
        return dict(zip(scenarios, pool.map(one, scenarios)))


@pytest.fixture(scope="module")
def played(build, tmp_path_factory):
    """{scenario: result of play()} of all scenarios except the long ones."""
    return play_all([name for name in SCENARIOS if name not in LONG], build, tmp_path_factory.mktemp("alerts"))


@pytest.fixture(scope="module")
def played_long(build, tmp_path_factory):
    """The same for the long ones."""
    return play_all(LONG, build, tmp_path_factory.mktemp("alerts-long"))


def test_alert_keys_are_known_to_1_37_and_2_x():
    text = SHIPPED.read_text().replace("\\\n", " ")
    keys = {line.partition(":")[0].strip() for line in text.splitlines() if line and not line.startswith("#")}
    assert keys == KEYS
    names = re.findall("^ *template: (.*)$", text, re.MULTILINE)
    assert len(names) == len(set(names)), "1.37 keeps only the first of two templates of one name"
    assert set(names) == ALERTS | HELPERS | OF_SETTINGS


# Evaluation of conditions as in 2.x, which unlike 1.37 does not evaluate an alert that refers to an unknown name.

def on_2_x(condition, **names):
    """Return whether CONDITION holds with the known NAMES; "__" stands for "." in names of alerts."""
    text = re.sub(r"\$\{?([\w.]+)\}?", lambda name: name[1].replace(".", "__"), condition)
    for netdata, python in ((r"\bAND\b", "and"), (r"\bOR\b", "or"), (r"!(?=\()", " not ")):
        text = re.sub(netdata, python, text)
    return bool(eval(text, {}, names))


def condition_of(alert):
    """Return the text of ALERT's warn."""
    text = SHIPPED.read_text().replace("\\\n", " ")
    return re.search(rf"template: {alert}\n(?: *\w+:.*\n)*? *warn: (.*)\n", text)[1]


PAGES = {"ksm__memory__shared": 0, "ksm__memory__sharing": 0, "ksm__memory__unshared": 7, "ksm__memory__volatile": 0}
NO_PAGES = {**PAGES, "ksm__memory__unshared": 0}
ZEROS = {**NO_PAGES, "ksm_has_zero_pages": 1, "ksm__zero_pages__zero": 1}
NEW = {"ksm_has_scan": 1, "ksm_has_zero_pages": 1, "ksm__zero_pages__zero": 0}
ON = {"ksm__state__running": 1}
OLD = {"ksm_has_scan": 0, "ksm_has_zero_pages": 0, "ksm_has_settings_ms": 1, "ksm_min_cpu": 0.02}
NO_SETTINGS = {"ksm_has_scan": 0, "ksm_has_zero_pages": 0, "ksm_has_settings_ms": 0}
CALM = {"ksm_has_ksmd_cpu": 1, "ksm_wasted_scanning": 5}
BEGUN = {"ksm__full_scans__full_scans_raw": 3}
BEGINS = {"ksm__full_scans__full_scans_raw": 2}
PARTED = {"ksm_has_cow": 1, "this": 10, "saved": 10, "ksm_parted": 10, "ksm_cow": 5, "ksm_stopped": 0, **ON}

# (Alert, expected result, names known to the agent).
ON_2_X = [
    ("ksm_net_loss", True, {"this": -0.2, "ksm_net_peak": -0.3, "net": -0.2, "ksm_running": 600, **BEGUN}),
    ("ksm_net_loss", False, {"this": -0.2, "ksm_net_peak": -0.3, "net": -0.2, "ksm_running": 600, **BEGINS}),
    ("ksm_net_loss", False, {"this": -0.2, "ksm_net_peak": -0.3, "net": -0.2, "ksm_running": 0, **BEGUN}),
    ("ksm_net_loss", False, {"this": -0.1, "ksm_net_peak": -0.3, "net": -0.2, "ksm_running": 600, **BEGUN}),
    ("ksm_net_loss", False, {"this": -0.2, "ksm_net_peak": -0.3, "net": -0.1, "ksm_running": 600, **BEGUN}),
    ("ksm_net_loss", False, {"this": -0.2, "ksm_net_peak": 0.3, "net": -0.2, "ksm_running": 600, **BEGUN}),
    ("ksm_exposure", True, {"this": 81, "ksm_exposure_sum": 45 * 90, "ksm_exposure_average": 90, "update_every": 1}),
    ("ksm_exposure", True, {"this": 81, "ksm_exposure_sum": 5 * 90, "ksm_exposure_average": 90, "update_every": 10}),
    ("ksm_exposure", False, {"this": 80, "ksm_exposure_sum": 60 * 90, "ksm_exposure_average": 90, "update_every": 1}),
    ("ksm_exposure", False, {"this": 81, "ksm_exposure_sum": 44 * 90, "ksm_exposure_average": 90, "update_every": 1}),
    ("ksm_wasted_scanning", True, {"this": 21, "ksm_ram": 0.9, "ksm_running": 600, **BEGUN}),
    ("ksm_wasted_scanning", False, {"this": 21, "ksm_ram": 0.9, "ksm_running": 600, **BEGINS}),
    ("ksm_wasted_scanning", False, {"this": 20, "ksm_ram": 0.9, "ksm_running": 600, **BEGUN}),
    ("ksm_wasted_scanning", False, {"this": 21, "ksm_ram": 1, "ksm_running": 600, **BEGUN}),
    ("ksm_wasted_scanning", False, {"this": 21, "ksm_ram": 0, "ksm_running": 530, **BEGUN}),
    ("ksm_stalled", True, {**NEW, **PAGES, **CALM, "this": 0, "ksm_scanned": 0, "ksm_running": 600}),
    ("ksm_stalled", False, {**NEW, **PAGES, **CALM, "this": 1, "ksm_scanned": 0, "ksm_running": 600}),
    ("ksm_stalled", False, {**NEW, **PAGES, **CALM, "this": 0, "ksm_scanned": 1, "ksm_running": 600}),
    ("ksm_stalled", False, {**NEW, **NO_PAGES, **CALM, "this": 0, "ksm_scanned": 0, "ksm_running": 600}),
    ("ksm_stalled", True, {**NEW, **ZEROS, **CALM, "this": 0, "ksm_scanned": 0, "ksm_running": 600}),
    ("ksm_stalled", False, {**NEW, **PAGES, **CALM, "this": 0, "ksm_scanned": 0, "ksm_running": 0}),
    ("ksm_stalled", True, {**NEW, **PAGES, "ksm_has_ksmd_cpu": 0, "this": 0, "ksm_scanned": 0, "ksm_running": 600}),
    ("ksm_stalled", True, {**NEW, **PAGES, **CALM, "ksm_wasted_scanning": float("nan"), "this": 0, "ksm_scanned": 0,
                           "ksm_running": 600}),
    ("ksm_stalled", False, {**NEW, **PAGES, **CALM, "ksm_wasted_scanning": 21, "this": 0, "ksm_scanned": 0,
                            "ksm_running": 600}),
    ("ksm_stalled", True, {**OLD, **PAGES, "this": 0, "ksm_wasted_scanning": 0.01, "ksm_running": 600}),
    ("ksm_stalled", False, {**OLD, **PAGES, "this": 0, "ksm_wasted_scanning": 0.03, "ksm_running": 600}),
    ("ksm_stalled", False, {**OLD, **PAGES, "this": 0, "ksm_wasted_scanning": 0.018, "ksm_min_cpu": 0.0004,
                            "ksm_running": 600}),
    ("ksm_stalled", False, {**NO_SETTINGS, **PAGES, "this": 0, "ksm_wasted_scanning": 0, "ksm_running": 600}),
    ("ksm_stalled", False, {**OLD, **PAGES, "this": 1, "ksm_wasted_scanning": 0, "ksm_running": 600}),
    ("ksm_stalled", False, {**OLD, **NO_PAGES, "this": 0, "ksm_wasted_scanning": 0, "ksm_running": 600}),
    ("ksm_empty_scanning", True, {**NEW, "this": 21, "ksm_scanned": 0, "ksm_stalled": 0, "ksm_running": 600}),
    ("ksm_empty_scanning", False, {**NEW, "this": 20, "ksm_scanned": 0, "ksm_stalled": 0, "ksm_running": 600}),
    ("ksm_empty_scanning", False, {**NEW, "this": 21, "ksm_scanned": 1, "ksm_stalled": 0, "ksm_running": 600}),
    ("ksm_empty_scanning", False, {**NEW, "this": 21, "ksm_scanned": 0, "ksm_stalled": 0.1, "ksm_running": 600}),
    ("ksm_empty_scanning", False, {**NEW, "this": 21, "ksm_scanned": 0, "ksm_stalled": 0, "ksm_running": 530}),
    ("ksm_empty_scanning", False, {**OLD, "this": 21, "ksm_stalled": 0, "ksm_running": 600}),
    ("ksm_unmerging", True, PARTED),
    ("ksm_unmerging", False, {**PARTED, "ksm_cow": 4}),
    ("ksm_unmerging", False, {**PARTED, "ksm_cow": 0}),
    ("ksm_unmerging", False, {**PARTED, "ksm_parted": 9}),
    ("ksm_unmerging", False, {**PARTED, "ksm_parted": 0}),
    ("ksm_unmerging", False, {**PARTED, "ksm_parted": 0, "saved": 0}),
    ("ksm_unmerging", False, {**PARTED, "ksm_parted": 11, "ksm_cow": 11, "saved": 11}),
    ("ksm_unmerging", False, {**PARTED, "this": 0, "saved": 0}),
    ("ksm_unmerging", False, {**PARTED, "ksm_stopped": 1}),
    ("ksm_unmerging", False, {**PARTED, "ksm__state__running": 0}),
    ("ksm_unmerging", False, {"ksm_has_cow": 0, "this": 10, "saved": 10, "ksm_parted": 10, "ksm_stopped": 0, **ON}),
]


@pytest.mark.parametrize("alert, holds, names", ON_2_X)
def test_alert_condition_is_false_for_unknown_values_on_2_x(alert, holds, names):
    assert on_2_x(condition_of(alert), **names) is holds


def test_example_alert_on_owners_is_one_if_its_marks_are_removed():
    text = SHIPPED.read_text()
    example = re.search(r"(?:^#:.*\n)+", text, re.MULTILINE)[0].replace("#:", "").replace("\\\n", " ")
    fields = dict((part.strip() for part in line.split(":", 1)) for line in example.splitlines())
    assert fields["template"] == "ksm_owners" and fields.keys() <= KEYS
    assert [owners for owners in (0, 1, 2, float("nan")) if on_2_x(fields["warn"], this=owners)] == [2]


def test_every_alert_has_advice():
    for block in SHIPPED.read_text().replace("\\\n", " ").split("\n\n"):
        if re.search("^ *warn:", block, re.MULTILINE):
            info = re.search("^ *info: (.*)$", block, re.MULTILINE)[1]
            assert re.search(r"\. *(Let|Lower|Add|Check|Find) ", info), info
            assert "to: sysadmin" in block


def test_agent_accepts_all_alerts(played):
    seen = played[all_at_once]
    assert {alarm["name"] for alarm in seen.alarms.values()} == ALERTS | HELPERS | OF_SETTINGS
    complaints = re.findall(r".*ksm\.conf.*|.*HEALTH.*(?:unknown|cannot parse|invalid).*", seen.text)
    assert complaints == []


@pytest.mark.parametrize("name", sorted(ALERTS))
def test_alert_is_raised_and_cleared(name, played):
    statuses = [status for alert, status, _when in played[all_at_once].changes if alert == name]
    assert "WARNING" in statuses and statuses[-1] == "CLEAR", played[all_at_once].changes


def test_exposure_becomes_critical(played):
    assert played[all_at_once].raised == {(name, "WARNING") for name in ALERTS} | {("ksm_exposure", "CRITICAL")}
    assert played[all_at_once].result.others["ksm_exposure"] == "CRITICAL", "still so with nothing free at all"


def test_healthy_host_raises_no_alert(played):
    assert played[all_at_once].result.before == set()


def test_unmerging_alert_clears_after_unmerging(played):
    others = played[all_at_once].result.others
    quiet = ("ksm_unmerging", "ksm_empty_scanning", "ksm_wasted_scanning")
    assert {others.pop(name) for name in quiet} == {"CLEAR"} and set(others.values()) <= RAISED, "the others stay"


def check_quiet(scenario, seen):
    """Check that no alert was raised in SCENARIO, whose result is SEEN."""
    assert seen.raised == set(), f"{scenario.__doc__}: {seen.changes}"
    evaluated = {name for name, status, _when in seen.changes if status == "CLEAR"}
    assert evaluated == ALERTS, "alerts that are not evaluated would be clear as well"


@pytest.mark.parametrize("scenario", QUIET, ids=lambda scenario: scenario.__name__)
def test_scenario_raises_no_alert(scenario, played):
    check_quiet(scenario, played[scenario])


@pytest.mark.long
@pytest.mark.parametrize("scenario", QUIET_LONG, ids=lambda scenario: scenario.__name__)
def test_long_scenario_raises_no_alert(scenario, played_long):
    check_quiet(scenario, played_long[scenario])


@pytest.mark.long
@pytest.mark.parametrize("scenario", SWITCHED, ids=lambda scenario: scenario.__name__)
def test_regime_that_switches_ksm_raises_no_false_alert_and_hides_none(scenario, played_long):
    """Exposure is raised once and stays so through all changes; the others are raised as soon as KSM stays on."""
    seen = played_long[scenario]
    print(f"{scenario.__name__}: {seen.changes}")
    assert seen.result.healthy == set()
    assert seen.result.exposed == [("ksm_exposure", "WARNING")] * (SWITCHED[scenario] is not regimes.unmerger)
    assert {("ksm_stalled", "WARNING"), ("ksm_net_loss", "WARNING")} <= seen.raised


def test_no_alert_before_third_full_scan(played):
    seen = played[first_pass]
    assert seen.result == set(), "a net loss at the start is no loss"
    assert seen.raised == {("ksm_net_loss", "WARNING"), ("ksm_wasted_scanning", "WARNING")}


def test_busy_ksmd_without_pages_has_not_stalled(played):
    assert played[all_at_once].result.busy["ksm_stalled"] == "CLEAR"
    assert played[empty_mapping].raised == {("ksm_empty_scanning", "WARNING")}


def test_idle_ksmd_has_stalled_before_6_6(played):
    seen = played[old_kernel]
    assert seen.result == set(), "scans that take long"
    assert seen.raised == {("ksm_stalled", "WARNING")}
    assert [status for name, status, _when in seen.changes if name == "ksm_stalled"][-1] == "CLEAR"


def test_slow_ksmd_has_not_stalled_before_6_6(played):
    seen = played[slow_ksmd]
    assert seen.result == set(), "0.018 % of a core"
    assert seen.raised == {("ksm_stalled", "WARNING")}


def test_ksmd_without_pages_to_scan_has_stalled_before_6_6(played):
    assert played[no_page_to_scan].raised == {("ksm_stalled", "WARNING")}


def test_just_started_agent_raises_no_alert(played):
    ages = played[just_started].result
    assert set(ages) == {"ksm_net_loss", "ksm_stalled"}
    assert min(ages.values()) >= WINDOW_S - 1, ages
