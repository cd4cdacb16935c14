# SPDX-License-Identifier: MIT
"""Both plugins in a real collectd and a real Netdata, read back through the daemons' interfaces.

First on a fixture whose metrics change and become unreadable, with invalid options too, then without KSM, and on the
live kernel.  test_golden.py covers the metrics of each era; these tests cover what both daemons make of them, and gaps.
The daemons read every second, and are shared by the tests of a fixture.
"""

import math
import os
import re
import signal
import time
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

import fixtures
from daemons import SEEN_S, Both, Collectd, Netdata, plugins_of, wait_gone
from expected import INTERVALS, collectd_values, expected_metrics, netdata_values, places
from live import KsmSettings, why_not
from sampling import Plugin
from test_plugin import END_S
from world import GROWING, KSM, World, put

NETDATA_DIGITS = 1e-6       # Netdata keeps about 7 digits
SHOWN_S = 3.2               # time from sending a value until it is shown
GAP_S = 3.5
LATE_S = 0.3                # limit for the delay of a punctual tick
SAMPLES = 8                 # samples for computing a counter's rate
RETRY_S = 60                # missing files are retried after this time


def logged(daemon, *parts):
    """Return the log lines of the plugin in DAEMON that contain all of PARTS."""
    mark = {"collectd": "ksm plugin: ", "netdata": ": ksm.plugin "}[daemon.name]
    return [line for line in daemon.log().splitlines() if mark in line and all(part in line for part in parts)]


def wait_logged(daemons, *parts, seconds=SEEN_S):
    """Wait until both DAEMONS have logged a line with PARTS."""
    for daemon in daemons.both:
        daemon.wait(lambda daemon=daemon: logged(daemon, *parts), seconds, f"a line with {parts}")


def on(tree):
    """Return collectd's options for only the host's metrics of TREE."""
    return {"Root": tree, **fixtures.OPTIONS}


def gap_lines(daemon):
    """Return the log lines of DAEMON about metrics that cannot be read, or can be read again."""
    return logged(daemon, "not reported until") + logged(daemon, ": can be read again")


def option_lines(daemon):
    """Return the log lines of DAEMON about invalid options."""
    return [line for words in ("invalid value", " is ignored: ", "unknown option") for line in logged(daemon, words)]


def latest(history):
    """Return {metric's name in a daemon: last number} of a HISTORY, without consumers."""
    return {name: samples[-1][1] for name, samples in history.items()
            if not (name if isinstance(name, str) else name[0]).startswith(("ksm_consumer", "ksm.consumer"))}


def read_on(daemons, since, *names, count=1):
    """Wait until both DAEMONS show COUNT values later than SINCE of each of the metrics NAMES."""
    for daemon, which in zip(daemons.both, (0, 1)):
        def shown(daemon=daemon, which=which):
            history = daemon.history(time.time() - since + 1)
            return all(len(times(history.get(names_of(name)[which], []), (since, math.inf))) >= count for name in names)
        daemon.wait(shown, SEEN_S, f"values of {names}")


def times(samples, span):
    """Return the times of SAMPLES within SPAN, (start, end)."""
    return [when for when, _number in samples if span[0] < when < span[1]]


# A tree whose metrics change.

# Invalid options of both and parts of their messages; and collectd options of the wrong shape.
BAD = {"Settings": ("perhaps", "yes or no"), "Colour": ("blue", "unknown option")}
SHAPES = """
<Plugin ksm>
  ConsumersInterval 1 2
  Root "/a" "/b"
  <Consumers>
    Deeper yes
  </Consumers>
  <ConsumersExclude vm>
    Deeper yes
  </ConsumersExclude>
</Plugin>
"""
KNOB = ("ksm/gauge-max_page_sharing", ("ksm.settings_pages", "max_page_sharing"))

# The rate of each counter in the unit of Netdata's chart, and in collectd's where that differs.
RATES = {**GROWING, "ksmd_cpu": 25}
del RATES["ksmd"]
IN_COLLECTD = {"ksmd_cpu": 250}         # ms, not % of a core
LATE = {"scan_time"}                    # it takes 10 s of readings
FOLLOWING = {"ksmd_cpu_per_gib", "scanned_per_page"}    # counters, so that they move too


@pytest.fixture(scope="module")
def moving(build, page_size, tmp_path_factory):
    """Both daemons on a changing tree of 6.18, after some values, and the expected metrics."""
    work = tmp_path_factory.mktemp("moving")
    tree = fixtures.make_tree(build, "6.18", work / "tree")
    metrics = expected_metrics(tree, page_size)
    with World(tree, GROWING, 0.02) as world, ExitStack() as stack:
        options = {**on(tree), **{name: value for name, (value, _allowed) in BAD.items()}}
        daemons = Both(stack, build, work, options, extra=f'PluginDir "{build}"\nLoadPlugin ksm\n{SHAPES}')
        read_on(daemons, time.time(), "shared", "scanned", "ksmd_cpu", count=3)
        yield SimpleNamespace(daemons=daemons, tree=tree, world=world, metrics=metrics)


def names_of(metric):
    """Return the names of METRIC in collectd and in Netdata."""
    place = places(1)[metric]
    return f"ksm/{place.collectd}-{metric}", (f"ksm.{place.chart}", metric)


def metric_of(name):
    """Return the metric of NAME, a series or (chart, dimension)."""
    return name.partition("-")[2] if isinstance(name, str) else name[1]


def in_time(names):
    """Return those of NAMES that are there from the first readings on."""
    return {name for name in names if metric_of(name) not in LATE}


def steady(values):
    """Return those of VALUES, {name: number}, that stand still while counters grow."""
    return {name: number for name, number in values.items() if metric_of(name) not in {*RATES, *LATE, *FOLLOWING}}


def test_collectd_has_exactly_the_expected_metrics(moving, page_size):
    collectd, expected = moving.daemons.collectd, collectd_values(moving.metrics, page_size)
    collectd.wait(lambda: set(expected) <= in_time(collectd.series()), SEEN_S, "all metrics at once")
    found = latest(collectd.history())
    assert in_time(found) == set(expected) == in_time(found.keys() | collectd.series())
    assert steady(found) == pytest.approx(steady(expected), rel=1e-12)


def test_collectd_values_are_in_range_of_their_types(moving):
    """A value out of range is NaN in collectd's memory, but not in csv files."""
    moving.daemons.collectd.wait(lambda: not [name for name, (_when, number) in moving.daemons.collectd.rates().items()
                                            if math.isnan(number)], SEEN_S, "numbers everywhere")


def test_netdata_has_exactly_the_expected_metrics(moving, page_size):
    netdata, expected = moving.daemons.netdata, netdata_values(moving.metrics, page_size)
    found = netdata.wait(lambda: (now := latest(netdata.history(5))).keys() >= expected.keys() and now, SEEN_S,
                         "all metrics at once")
    assert in_time(found) == set(expected)
    assert steady(found) == pytest.approx(steady(expected), rel=NETDATA_DIGITS)


def test_netdata_describes_its_charts(moving, page_size):
    charts = moving.daemons.netdata.charts()
    expected = {f"ksm.{place.chart}": place.units for name, place in places(page_size).items()
                if name in {*moving.metrics, *LATE}}
    assert {name: chart["units"] for name, chart in charts.items()} == expected
    for name, chart in charts.items():
        assert (chart["context"], chart["plugin"], chart["module"]) == (name, "ksm.plugin", "ksm")
        assert chart["family"] and chart["title"]
        assert chart["update_every"] == INTERVALS.get(name.removeprefix("ksm."), 1)


@pytest.mark.parametrize("name", RATES)
def test_counter_is_shown_as_rate(name, moving):
    series, chart = names_of(name)
    growth = IN_COLLECTD.get(name, RATES[name])
    (collectd, netdata), seen = moving.daemons.both, []

    def grows():
        (before, low), *_others, (after, high) = collectd.history()[series][-SAMPLES:]
        return see((high - low) / (after - before), growth, 0.03)

    def has_rate():
        return see(collectd.rates().get(series, (0, math.nan))[1], growth, 0.1)

    def is_shown():
        shown = [number for _when, number in netdata.history(SAMPLES, [chart[0]]).get(chart, [])]
        return len(shown) >= 3 and see(sum(shown) / len(shown), RATES[name], 0.05)

    def see(number, wanted, rel):
        seen.append(number)
        return number == pytest.approx(wanted, rel=rel)
    for condition in (grows, has_rate, is_shown):
        moving.daemons.collectd.wait(condition, SEEN_S, f"{condition.__name__}: {growth} and not {seen}")


def test_invalid_options_are_logged_once_and_keep_default(moving):
    for daemon, keys in zip(moving.daemons.both, ({name: name for name in BAD}, {name: f"--{name.lower()}" for name in BAD})):
        for name, (value, allowed) in BAD.items():
            [line] = logged(daemon, f'"{value}"', allowed)
            assert keys[name] in line
    shapes = logged(moving.daemons.collectd, " requires ")
    assert [re.search(r"option (\w+)", line)[1] for line in shapes] == re.findall(r"^  <?(\w+)", SHAPES, re.MULTILINE)
    assert [len(option_lines(daemon)) for daemon in moving.daemons.both] == [len(BAD) + len(shapes), len(BAD)]
    collectd, netdata = KNOB
    assert latest(moving.daemons.collectd.history())[collectd] == 255
    moving.daemons.netdata.wait(lambda: netdata in moving.daemons.netdata.history(60), SEEN_S, "the setting")
    assert moving.daemons.netdata.history(60)[netdata][-1][1] == 255


def test_healthy_tree_logs_nothing(moving):
    for daemon in moving.daemons.both:
        assert gap_lines(daemon) == []


# Gaps.

GONE = {"unshared": "pages_unshared", "scanned": "pages_scanned", "full_scans": "full_scans"}
NEIGHBOURS = ["volatile", "skipped", "cow"]


@pytest.fixture(scope="module")
def gap(moving):
    """For both daemons: the times when files became unreadable, when both had logged that and when all had recovered,
    and the values around that.

    A gauge and two counters are unreadable meanwhile, and nothing is shared.
    """
    daemons, world = moving.daemons, moving.world
    metrics = {name: world.read(name) for name in ("unshared", "shared", "sharing")}
    read_on(daemons, time.time() - 8, *GONE, "sharing_ratio", count=2)
    start = time.time()
    world.set(shared=0, sharing=0)
    world.break_files(*GONE)
    for file in GONE.values():
        wait_logged(daemons, file, "not reported")
    noticed = time.time()
    read_on(daemons, noticed, *NEIGHBOURS, count=2)
    time.sleep(max(0, noticed + GAP_S - time.time()))
    end = time.time()
    world.set(shared=metrics["shared"], sharing=metrics["sharing"])
    world.repair(unshared=metrics["unshared"])
    for file in GONE.values():
        wait_logged(daemons, file, ": can be read again")
    read_on(daemons, end, *GONE, "sharing_ratio", *NEIGHBOURS, count=3)
    seconds = time.time() - start + 10
    return SimpleNamespace(start=start, noticed=noticed, end=end, collectd=daemons.collectd.history(seconds),
                           netdata=daemons.netdata.history(seconds))


@pytest.mark.parametrize("name", [*GONE, "sharing_ratio"])
def test_unreadable_metric_is_a_gap_and_recovers(name, gap):
    """The same holds for a ratio while nothing is shared."""
    series, chart = names_of(name)
    assert times(gap.collectd[series], (gap.noticed, gap.end)) == []
    assert times(gap.netdata[chart], (gap.noticed + 1, gap.end - 0.5)) == []
    for samples in (gap.collectd[series], gap.netdata[chart]):
        assert min(samples)[0] < gap.start and max(samples)[0] > gap.end


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_other_metrics_are_delivered_during_gap(name, gap):
    for shown, known in zip((gap.collectd, gap.netdata), names_of(name)):
        assert len(times(shown[known], (gap.noticed, gap.end))) >= 2


def rates_of(history, name, since):
    """Return {when: rate} of the counter NAME in a HISTORY of Netdata's; it is 1 where it grows as it does."""
    return {when: number / RATES[name] for when, number in history[names_of(name)[1]] if when > since}


def check_rates(rates, beside):
    """Check that RATES around a gap have not what the counter grew by within it: they are as those BESIDE, without one.

    So does not count what a busy machine does to both.
    """
    both = [(rate, beside[when]) for when, rate in rates.items() if when in beside]
    assert len(both) > 3
    assert all(abs(rate - other) < 0.5 * max(1, other) for rate, other in both), both
    assert sum(rate for rate, _other in both) == pytest.approx(sum(other for _rate, other in both), rel=0.1)


def test_gap_adds_no_metric(gap, moving, page_size):
    """Counters get no huge rate and gauges no 0 around the gap; but `shared` is 0 while nothing is shared."""
    unshared = moving.metrics["unshared"] * page_size / 2 ** 20
    assert {round(number / unshared, 5) for _when, number in gap.netdata["ksm.memory", "unshared"]} == {1}
    for name in ("scanned", "full_scans", "skipped"):
        check_rates(*(rates_of(gap.netdata, one, gap.start - 2) for one in (name, "cow")))
    within = [number for when, number in gap.collectd["ksm/vmpage_number-shared"] if gap.noticed < when < gap.end]
    assert set(within) == {0}


@pytest.mark.usefixtures("gap")
def test_gap_is_logged_when_raised_and_cleared(moving):
    for daemon in moving.daemons.both:
        for file in GONE.values():
            lines = logged(daemon, file)
            assert len(lines) == 2 and "not in the format that the kernel writes" in lines[0], lines
        assert len(gap_lines(daemon)) == 2 * len(GONE), "that nothing is shared is no fault"


def test_full_scans_reset_gives_no_huge_rate(moving):
    """As after run=2."""
    rate, collectd = RATES["full_scans"], moving.daemons.collectd
    series, chart = names_of("full_scans")
    before = time.time()
    moving.world.count("full_scans", 0)
    (when, count), *_others = collectd.wait(lambda: after_reset(collectd.history()[series]), SEEN_S, "the reset")
    assert count <= rate * (when - before + 1), "raw, it is what the file says"
    seen = []

    def is_as_ever():
        seen.append(collectd.rates().get(series, (0, math.nan))[1])
        return time.time() > before + SHOWN_S and seen[-1] == pytest.approx(rate, rel=0.25)
    collectd.wait(is_as_ever, SEEN_S, "its rate")
    assert all(math.isnan(number) or 0 <= number <= rate * 1.5 for number in seen), seen
    read_on(moving.daemons, before, "full_scans", count=2)
    history = moving.daemons.netdata.history(time.time() - before + 2)
    shown, beside = (rates_of(history, name, before - 2) for name in ("full_scans", "cow"))
    assert all(0 <= number <= 1.5 * max(1, beside.get(when, 0)) for when, number in shown.items()), (shown, beside)


def after_reset(samples):
    """Return the SAMPLES of a counter from where it went back."""
    for i in range(1, len(samples)):
        if samples[i][1] < samples[i - 1][1]:
            return samples[i:]
    return []


def suspend(pids, seconds):
    """Suspend the processes PIDS for SECONDS."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(seconds)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def test_metrics_continue_after_suspend(moving, build):
    daemon = moving.daemons.netdata
    pids = plugins_of(daemon)
    with Plugin(build / "ksm.plugin", f"--root={moving.tree}", *fixtures.ARGUMENTS) as running:
        running.wait_ticks(2)
        start = time.time()
        suspend([*pids, running.process.pid], GAP_S)
        end = time.time()
        running.wait_punctual(3, LATE_S, since=end)
        ticks, seconds = [when for when in running.ticks if when > end], int(time.time()) - int(end)
        assert running.end_input()[0] == 0
    assert len(ticks) <= seconds + 1, "the one that is overdue, and the multiples since"
    assert plugins_of(daemon) == pids, "it was not started anew"
    read_on(moving.daemons, end, *RATES, count=3)
    history = daemon.history(time.time() - start + 2)
    for name in RATES:
        rates = rates_of(history, name, start - 2)
        assert max(rates) > end, "it goes on"
        if not [when for when in moving.world.pauses if when > start - 3]:
            assert min(rates.values()) > 0.2 and max(rates.values()) < GAP_S - 0.5, f"{name}: {rates}"


def test_plugin_ends_with_killed_agent(moving):
    daemon = moving.daemons.netdata
    [plugin] = plugins_of(daemon)
    start = time.monotonic()
    daemon.process.kill()
    assert wait_gone([plugin], END_S) == []
    print(f"gone after {(time.monotonic() - start) * 1000:.0f} ms")


# Files that appear and disappear.

@pytest.fixture
def changing(build, tmp_path):
    """Both daemons on a tree of 6.1 that the test may change."""
    tree = fixtures.make_tree(build, "6.1", tmp_path / "tree")
    with ExitStack() as stack:
        yield SimpleNamespace(daemons=Both(stack, build, tmp_path, on(tree)), tree=tree)


@pytest.mark.long
def test_appearing_and_disappearing_files_need_no_restart(changing):
    """A missing file is retried once a minute; a setting is read once a minute."""
    daemons, tree = changing.daemons, changing.tree
    assert "ksm.zero_pages" not in daemons.netdata.charts()
    put(tree, f"{KSM}/ksm_zero_pages", "4242\n")
    put(tree, f"{KSM}/sleep_millisecs", "111\n")
    (tree / KSM / "pages_volatile").unlink()
    wait_logged(daemons, "pages_volatile", "no longer exists")
    daemons.wait_first("ksm/vmpage_number-shared", ("ksm.memory", "shared"))
    time.sleep(2)
    put(tree, f"{KSM}/pages_volatile", "5555\n")

    daemons.collectd.wait_for("ksm/vmpage_number-zero", seconds=RETRY_S + SEEN_S)
    daemons.netdata.wait_for(("ksm.zero_pages", "zero"), seconds=SEEN_S)
    wait_logged(daemons, "pages_volatile", ": can be read again", seconds=2 * SEEN_S)
    time.sleep(3)
    values = latest(daemons.collectd.history(3))
    assert values["ksm/vmpage_number-zero"] == 4242
    assert values["ksm/vmpage_number-volatile"] == 5555
    assert values["ksm/gauge-sleep_millisecs"] == 111
    setting = "ksm.settings_ms", "sleep_millisecs"
    daemons.netdata.wait(lambda: daemons.netdata.values().get(setting, (0, 0))[1] == 111, SEEN_S, "the new setting")
    for daemon in daemons.both:
        assert len(gap_lines(daemon)) == 2, "the loss and the return of pages_volatile; new files are no news"


# Without KSM, and without settings.

def test_daemons_run_without_ksm(build, make_tree, tmp_path):
    """collectd with its other plugins; Netdata does not start it again."""
    tree = make_tree("no-ksm")
    with Collectd(tmp_path / "collectd", build / "ksm.so", on(tree), extra="LoadPlugin uptime") as collectd, \
            Netdata(tmp_path / "netdata", build / "ksm.plugin", f"--root={tree}") as netdata:
        collectd.wait_for("uptime/uptime")
        for daemon in (collectd, netdata):
            daemon.wait(lambda daemon=daemon: logged(daemon, fixtures.NO_KSM), SEEN_S, "the reason")
        time.sleep(2)
        assert set(collectd.history()) == {"uptime/uptime"}
        assert len(re.findall(r"connected to '.*ksm\.plugin' running", netdata.log())) == 1
        assert not netdata.charts()
        for daemon in (collectd, netdata):
            assert len(logged(daemon)) == 1 and fixtures.NO_KSM in logged(daemon)[0], "that is all there is to say"


def test_collectd_can_omit_settings(build, make_tree, tmp_path):
    with Collectd(tmp_path / "collectd", build / "ksm.so", {**on(make_tree("6.18")), "Settings": False}) as daemon:
        daemon.wait_for("ksm/gauge-run")
        assert "ksm/gauge-max_page_sharing" not in daemon.series()
        assert option_lines(daemon) == []


# The live kernel.

@pytest.fixture(scope="module")
def live(build, tmp_path_factory):
    """Both daemons on this machine, and its metrics before and after, while the lock keeps settings unchanged."""
    if not os.path.isdir("/sys/kernel/mm/ksm"):
        pytest.skip("this kernel has no KSM")
    with ExitStack() as stack:
        if why_not() is None:
            stack.enter_context(KsmSettings())
        before = fixtures.valid_metrics(build)
        daemons = Both(stack, build, tmp_path_factory.mktemp("live"), {})
        wanted = netdata_values(before, os.sysconf("SC_PAGESIZE")).keys()
        expected = collectd_values(before, os.sysconf("SC_PAGESIZE")).keys()
        daemons.collectd.wait(lambda: latest(daemons.collectd.history()).keys() >= expected, SEEN_S, "all series")
        other = daemons.netdata.wait(lambda: (now := latest(daemons.netdata.history(5))).keys() >= wanted and now, SEEN_S,
                                   "all metrics")
        mine = latest(daemons.collectd.history())
        mine.pop("ksm/gauge-owners", None)      # of the consumers
        yield SimpleNamespace(daemons=daemons, before=before, after=fixtures.valid_metrics(build), collectd=mine,
                              netdata=other)


MOVE_BY_THEMSELVES = {"exposure", "anon_huge"}      # they depend on other programs


def between(number, ends, rel):
    """Whether NUMBER lies between ENDS, two numbers, but for rounding."""
    low, high = sorted(ends)
    return low - rel * abs(low) <= number <= high + rel * abs(high)


@pytest.mark.live
def test_collectd_delivers_all_live_metrics(live, page_size):
    before, after = (collectd_values(metrics, page_size) for metrics in (live.before, live.after))
    assert set(live.collectd) == set(before) == set(after)
    wrong = {name: (number, before[name], after[name]) for name, number in live.collectd.items()
             if name.rpartition("-")[2] not in MOVE_BY_THEMSELVES
             and not between(number, (before[name], after[name]), 1e-12)}
    assert wrong == {}


@pytest.mark.live
def test_netdata_delivers_all_live_metrics(live, page_size):
    before, after = (netdata_values(metrics, page_size) for metrics in (live.before, live.after))
    assert set(live.netdata) == set(before) == set(after)
    counters = {name for name, place in places(page_size).items() if place.counter}
    wrong = {name: (number, before[name], after[name]) for name, number in live.netdata.items()
             if name[1] not in counters | MOVE_BY_THEMSELVES
             and not between(number, (before[name], after[name]), NETDATA_DIGITS)}
    assert wrong == {}
    assert all(live.netdata[name] >= 0 for name in live.netdata if name[1] in counters)


@pytest.mark.live
def test_live_kernel_logs_nothing(live):
    for daemon in live.daemons.both:
        assert gap_lines(daemon) == option_lines(daemon) == []
