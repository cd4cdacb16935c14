# SPDX-License-Identifier: MIT
"""Both plugins in a real collectd and a real Netdata, read back through the hosts' own interfaces.

First on fixtures that stand still, then on one that moves and breaks, then without KSM, with bad options, and on the
live kernel.  Hosts read every second; the daemons are shared by the tests of a fixture.
"""

import json
import math
import os
import re
import subprocess
import threading
import time
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

import fixtures
from reckon import collectd_values, netdata_values, places, reckon
from hosts import Collectd, Netdata
from live import KsmSettings, why_not

ERAS = ["article", "2.6.32", "6.18", "uksm"]
NETDATA_DIGITS = 1e-6       # it keeps about 7 digits
SEEN_S = 5                  # what changes in the tree is seen in both hosts within this time
RETRY_S = 60                # missing files are looked for again after this time


def logged(host, *parts):
    """Return the lines of HOST's log that are the plugin's own and hold all of PARTS."""
    mark = {"collectd": "ksm plugin: ", "netdata": ": ksm.plugin "}[host.name]
    return [line for line in host.log().splitlines() if mark in line and all(part in line for part in parts)]


def on(tree):
    """Return collectd's options for the host's figures of TREE alone."""
    return {"Root": tree, **fixtures.OPTIONS}


def words_on(tree):
    """Return ksm.plugin's arguments for the same."""
    return [f"--root={tree}", *fixtures.ARGUMENTS]


def news(host):
    """Return the lines of HOST's log that tell of a figure that cannot be read, or can be read again."""
    return logged(host, "is absent until") + logged(host, "can be read again")


def complaints(host):
    """Return the lines of HOST's log that tell of an option."""
    return logged(host, "it stays as it was") + logged(host, "there is no option")


def of_figures(names):
    """Return those of NAMES, series or charts or (chart, dimension), that are of the host, not of consumers."""
    if isinstance(names, dict):
        return {name: names[name] for name in of_figures(list(names))}
    consumers = ("ksm_consumer", "ksm.consumer")
    return [name for name in names if not (name if isinstance(name, str) else name[0]).startswith(consumers)]


class Hosts:
    """A private collectd and a private Netdata with the plugins."""

    def __init__(self, stack, build, work, options, words):
        """Start both, collectd with OPTIONS, ksm.plugin with WORDS, to be stopped when STACK is left."""
        self.collectd = stack.enter_context(Collectd(work / "collectd", build / "ksm.so", options))
        self.netdata = stack.enter_context(Netdata(work / "netdata", build / "ksm.plugin", " ".join(words)))
        self.both = (self.collectd, self.netdata)

    def wait_first(self, collectd="ksm/vmpage_number-sharing", netdata=("ksm.memory", "sharing")):
        """Wait until both have a value."""
        self.collectd.wait_for(collectd)
        self.netdata.wait_for(netdata)

    def wait_logged(self, *parts, seconds=SEEN_S):
        """Wait until both have logged a line with PARTS."""
        for host in self.both:
            host.wait(lambda: logged(host, *parts), seconds, f"a line with {parts}")


def latest(history):
    """Return {figure's name in a host: last number} of a HISTORY."""
    return {name: samples[-1][1] for name, samples in of_figures(history).items()}


# Trees that stand still.

@pytest.fixture(scope="module", params=ERAS)
def still(request, build, page_size, tmp_path_factory):
    """Both hosts on the tree of an era, with a value, and what follows from the tree."""
    work = tmp_path_factory.mktemp("still")
    tree = fixtures.make_tree(build, request.param, work / "tree")
    with ExitStack() as stack:
        hosts = Hosts(stack, build, work, on(tree), words_on(tree))
        hosts.wait_first()
        time.sleep(1)           # for the first rates
        yield SimpleNamespace(hosts=hosts, figures=reckon(tree, page_size))


def test_collectd_holds_every_figure_and_no_other(still, page_size):
    expected = collectd_values(still.figures, page_size)
    assert latest(still.hosts.collectd.history()) == pytest.approx(expected, rel=1e-12)
    assert set(of_figures(still.hosts.collectd.series())) == set(expected)


def test_no_figure_is_out_of_the_range_of_its_type_in_collectd(still):
    """Such a value would be NaN there; csv files do not show it."""
    still.hosts.collectd.wait(lambda: not [name for name, (_when, number) in still.hosts.collectd.rates().items()
                                           if math.isnan(number)], SEEN_S, "numbers everywhere")


def test_counters_that_stand_still_have_a_rate_of_0(still):
    counters = {f"ksm/{place.collectd}-{name}" for name, place in places(1).items() if place.counter}
    rates = {name: number for name, (_when, number) in still.hosts.collectd.rates().items() if name in counters}
    assert set(rates.values()) <= {0}


def test_netdata_shows_every_figure_and_no_other(still, page_size):
    counters = {name for name, place in places(page_size).items() if place.counter}
    expected = {name: 0 if name[1] in counters else number
                for name, number in netdata_values(still.figures, page_size).items()}
    still.hosts.netdata.wait_for(*expected, seconds=SEEN_S)
    assert latest(still.hosts.netdata.history(5)) == pytest.approx(expected, rel=NETDATA_DIGITS)


def test_netdata_describes_its_charts(still, page_size):
    charts = of_figures(still.hosts.netdata.charts())
    known = still.figures.keys() | ({"scan_time"} if "full_scans" in still.figures else set())  # for when that moves
    expected = {f"ksm.{place.chart}": place.units for name, place in places(page_size).items() if name in known}
    assert {name: chart["units"] for name, chart in charts.items()} == expected
    for name, chart in charts.items():
        assert (chart["context"], chart["plugin"], chart["module"]) == (name, "ksm.plugin", "ksm")
        assert chart["family"] and chart["title"] and chart["update_every"] == 1


def test_a_good_tree_is_no_news(still):
    for host in still.hosts.both:
        assert news(host) == complaints(host) == []


ARTICLE = [
    ("ksm.savings", "saved", 351.9, "ksm/bytes-saved"),
    ("ksm.savings", "gain", 160.9, "ksm/gauge-gain"),
    ("ksm.memory", "shared", 191.1, "ksm/vmpage_number-shared"),
]


@pytest.mark.parametrize("still", ["article"], indirect=True, scope="module")
def test_the_figures_of_the_article(still, page_size):
    if page_size != 4096:
        pytest.skip("the article's machine has pages of 4 kB")
    shown = latest(still.hosts.netdata.history(5))
    sent = latest(still.hosts.collectd.history())
    for chart, dimension, mib, series in ARTICLE:
        assert round(shown[chart, dimension], 1) == mib
        bytes_sent = sent[series] * (page_size if "vmpage" in series else 1)
        assert round(bytes_sent / 2 ** 20, 1) == mib


# A tree that moves.

KSM = "sys/kernel/mm/ksm"


def put(tree, path, text):
    """Replace the file PATH of TREE by one with TEXT, so that no reader ever sees half of it."""
    fresh = tree / f"fresh-{threading.get_ident()}"
    fresh.write_text(text)
    fresh.rename(tree / path)


class Clockwork:
    """Counters of a tree that grow by a known amount a second, as long as it is entered."""

    STEP_S = 0.01
    RATES = {f"{KSM}/pages_scanned": 20000, f"{KSM}/pages_skipped": 3000, f"{KSM}/full_scans": 40}
    KSMD_RATE = 250_000_000         # ns a second: a quarter of a core
    EVENTS = {"thp_split_page": 60, "cow_ksm": 500, "ksm_swpin_copy": 70}

    def __init__(self, tree):
        self.tree = tree
        self.start = time.time()
        self.first = {path: int((tree / path).read_text()) for path in self.RATES}
        self.vmstat = (tree / "proc/vmstat").read_text()
        self.schedstat = next(path for path in sorted(tree.glob("proc/*/schedstat")) if path.parent.name != "2")
        self.ran = int(self.schedstat.read_text().split()[0])
        self.ended = threading.Event()
        self.lock = threading.Lock()
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_exception):
        self.ended.set()
        self.thread.join()

    def run(self):
        """Write the counters again and again."""
        while not self.ended.wait(self.STEP_S):
            with self.lock:
                self.write(time.time() - self.start)

    def write(self, seconds):
        """Write what the counters are SECONDS after the start."""
        for path, rate in self.RATES.items():
            put(self.tree, path, f"{self.first[path] + int(rate * seconds)}\n")
        vmstat = self.vmstat
        for name, rate in self.EVENTS.items():
            count = int(re.search(rf"(?m)^{name} (\d+)$", vmstat)[1]) + int(rate * seconds)
            vmstat = re.sub(rf"(?m)^{name} \d+$", f"{name} {count}", vmstat)
        put(self.tree, "proc/vmstat", vmstat)
        put(self.tree, self.schedstat.relative_to(self.tree), f"{self.ran + int(self.KSMD_RATE * seconds)} 1 1\n")

    def reset(self, path):
        """Start the counter PATH anew at 0, as run=2 does with full_scans; return when."""
        with self.lock:
            when = time.time()
            self.first[path] = -int(self.RATES[path] * (when - self.start))
            self.write(when - self.start)
        return when


@pytest.fixture(scope="module")
def moving(build, tmp_path_factory):
    """Both hosts on a tree of 6.18 that moves."""
    work = tmp_path_factory.mktemp("moving")
    tree = fixtures.make_tree(build, "6.18", work / "tree")
    with Clockwork(tree) as clockwork, ExitStack() as stack:
        hosts = Hosts(stack, build, work, on(tree), words_on(tree))
        hosts.wait_first()
        time.sleep(4)           # some values before anything happens
        yield SimpleNamespace(hosts=hosts, tree=tree, clockwork=clockwork)


# figure, growth a second in the unit of Netdata's chart, growth a second of collectd's number
GROWING = [
    ("scanned", 20000, 20000),
    ("skipped", 3000, 3000),
    ("cow", 500, 500),
    ("swpin_copy", 70, 70),
    ("thp_split", 60, 60),
    ("full_scans", 40, 40),
    ("ksmd_cpu", 25, 250),      # % of a core; ms
]


@pytest.mark.parametrize("name, percent, growth", GROWING)
def test_a_counter_shows_its_growth_a_second(name, percent, growth, moving):
    place = places(1)[name]
    samples = moving.hosts.collectd.history()[f"ksm/{place.collectd}-{name}"]
    (before, low), (after, high) = samples[0], samples[-1]
    assert (high - low) / (after - before) == pytest.approx(growth, rel=0.03)
    assert moving.hosts.collectd.rates()[f"ksm/{place.collectd}-{name}"][1] == pytest.approx(growth, rel=0.1)
    shown = [number for _when, number in moving.hosts.netdata.history(20)[f"ksm.{place.chart}", name]]
    assert len(shown) >= 3
    assert sum(shown[1:]) / len(shown[1:]) == pytest.approx(percent, rel=0.05)


def test_full_scans_that_start_anew_give_no_absurd_rate(moving):
    path = f"{KSM}/full_scans"
    rate = moving.clockwork.RATES[path]
    before = time.time()
    moving.clockwork.reset(path)
    samples = moving.hosts.collectd.wait(
        lambda: after_reset(moving.hosts.collectd.history()["ksm/total_operations-full_scans"]), SEEN_S, "the reset")
    assert samples[0][1] <= rate * 2, "raw, it is what the file says"
    seen = []
    while time.time() < before + SEEN_S:
        seen.append(moving.hosts.collectd.rates()["ksm/total_operations-full_scans"][1])
        time.sleep(0.2)
    assert all(math.isnan(number) or 0 <= number <= rate * 1.5 for number in seen), seen
    assert seen[-1] == pytest.approx(rate, rel=0.25)
    shown = [number for _when, number in moving.hosts.netdata.history(10)["ksm.full_scans", "full_scans"]]
    assert all(0 <= number <= rate * 1.5 for number in shown), shown


def after_reset(samples):
    """Return the SAMPLES of a counter from where it went back."""
    for i in range(1, len(samples)):
        if samples[i][1] < samples[i - 1][1]:
            return samples[i:]
    return []


def test_a_file_that_goes_bad_is_a_gap_and_comes_back(moving):
    hosts, path = moving.hosts, f"{KSM}/pages_unshared"
    good = (moving.tree / path).read_text()
    start = time.time()
    put(moving.tree, path, "12abc\n")
    hosts.wait_logged("pages_unshared", "unshared is absent")
    time.sleep(3.5)
    end = time.time()
    put(moving.tree, path, good)
    hosts.wait_logged("pages_unshared", "can be read again")
    hosts.collectd.wait(lambda: hosts.collectd.history(1).get("ksm/vmpage_number-unshared"), SEEN_S, "a value")
    time.sleep(2.5)

    gap = (start + 1.1, end)            # from the first reading that found it bad, at the latest
    mine = hosts.collectd.history(20)
    assert times(mine["ksm/vmpage_number-unshared"], gap) == []
    assert len(times(mine["ksm/vmpage_number-unshared"], (start - 3, start))) >= 2
    assert len(times(mine["ksm/vmpage_number-shared"], gap)) >= 3, "a neighbour"
    other = hosts.netdata.history(20, ["ksm.memory"])
    assert times(other["ksm.memory", "unshared"], (gap[0] + 1, gap[1] - 0.5)) == []
    assert len(times(other["ksm.memory", "shared"], gap)) >= 2, "a neighbour"
    assert max(when for when, _number in other["ksm.memory", "unshared"]) > end, "it came back"
    expected = int(good) * os.sysconf("SC_PAGESIZE") / 2 ** 20
    assert {round(number / expected, 5) for _when, number in other["ksm.memory", "unshared"]} == {1}

    for host in hosts.both:
        assert len(logged(host, "pages_unshared")) == 2, "one line when it goes bad, one when it is well again"
        assert "not what the kernel writes there" in logged(host, "pages_unshared")[0]


def times(samples, span):
    """Return the times of SAMPLES within SPAN, (start, end)."""
    return [when for when, _number in samples if span[0] < when < span[1]]


def test_no_ratio_while_nothing_is_shared(moving):
    hosts = moving.hosts
    kept = {name: (moving.tree / KSM / name).read_text() for name in ("pages_shared", "pages_sharing")}
    start = time.time()
    for name in kept:
        put(moving.tree, f"{KSM}/{name}", "0\n")
    time.sleep(4.5)
    end = time.time()
    for name, text in kept.items():
        put(moving.tree, f"{KSM}/{name}", text)
    time.sleep(3.5)

    span = (start + 1.1, end)
    mine = hosts.collectd.history(15)
    assert times(mine["ksm/gauge-sharing_ratio"], span) == []
    assert len(times(mine["ksm/percent-merged"], span)) >= 2
    assert {number for when, number in mine["ksm/vmpage_number-shared"] if span[0] < when < span[1]} == {0}
    assert mine["ksm/gauge-sharing_ratio"][-1][0] > end
    other = hosts.netdata.history(15, ["ksm.sharing_ratio"])["ksm.sharing_ratio", "sharing_ratio"]
    assert times(other, (span[0] + 1, span[1] - 0.5)) == []
    assert max(when for when, _number in other) > end
    assert logged(hosts.collectd, "sharing") == logged(hosts.netdata, "sharing") == [], "that is no fault"


@pytest.fixture
def changing(build, tmp_path):
    """Both hosts on a tree of 6.1 that is the test's own."""
    tree = fixtures.make_tree(build, "6.1", tmp_path / "tree")
    with ExitStack() as stack:
        hosts = Hosts(stack, build, tmp_path, on(tree), words_on(tree))
        hosts.wait_first()
        yield SimpleNamespace(hosts=hosts, tree=tree)


@pytest.mark.long
def test_files_that_come_and_go_are_noticed_without_a_restart(changing):
    """A file that the kernel lacks is looked for once a minute; a knob is read once a minute."""
    hosts, tree = changing.hosts, changing.tree
    assert "ksm.zero_pages" not in hosts.netdata.charts()
    put(tree, f"{KSM}/ksm_zero_pages", "4242\n")
    put(tree, f"{KSM}/sleep_millisecs", "111\n")
    (tree / KSM / "pages_volatile").unlink()
    hosts.wait_logged("pages_volatile", "not there any more")
    hosts.wait_first("ksm/vmpage_number-shared", ("ksm.memory", "shared"))
    time.sleep(2)
    put(tree, f"{KSM}/pages_volatile", "5555\n")

    hosts.collectd.wait_for("ksm/vmpage_number-zero", seconds=RETRY_S + SEEN_S)
    hosts.netdata.wait_for(("ksm.zero_pages", "zero"), seconds=SEEN_S)
    hosts.wait_logged("pages_volatile", "can be read again", seconds=2 * SEEN_S)
    time.sleep(3)
    values = latest(hosts.collectd.history(3))
    assert values["ksm/vmpage_number-zero"] == 4242
    assert values["ksm/vmpage_number-volatile"] == 5555
    assert values["ksm/gauge-sleep_millisecs"] == 111
    assert hosts.netdata.values()["ksm.settings_ms", "sleep_millisecs"][1] == 111
    for host in hosts.both:
        assert len(news(host)) == 2, "the loss and the return of pages_volatile; new files are no news"


# Without KSM, and with bad options.

def test_collectd_runs_on_where_the_kernel_has_no_ksm(build, make_tree, tmp_path):
    extra = "LoadPlugin uptime"
    with Collectd(tmp_path / "collectd", build / "ksm.so", on(make_tree("no-ksm")), extra=extra) as host:
        host.wait_for("uptime/uptime")
        time.sleep(2)
        assert set(host.series()) == {"uptime/uptime"}
        assert len(logged(host)) == 1 and fixtures.NO_KSM in logged(host)[0], "that is all there is to say"


def test_netdata_does_not_start_it_again_where_the_kernel_has_no_ksm(build, make_tree, tmp_path):
    words = " ".join(words_on(make_tree("no-ksm")))
    with Netdata(tmp_path / "netdata", build / "ksm.plugin", words) as host:
        host.wait(lambda: logged(host, fixtures.NO_KSM), SEEN_S, "the reason")
        time.sleep(5)
        assert len(logged(host)) == 1
        assert len(re.findall(r"connected to '.*ksm\.plugin' running", host.log())) == 1
        assert "Traceback" not in host.log() and not host.charts()


# collectd's options, ksm.plugin's, and what the message must hold
BAD_VALUES = {"Settings": "perhaps", "Colour": "blue"}
BAD_WORDS = ["--settings=perhaps", "--colour=blue"]
MESSAGES = [('"perhaps"', "yes or no"), ('"blue"', "there is no option")]
KNOB = ("ksm/gauge-max_page_sharing", ("ksm.settings_pages", "max_page_sharing"))


@pytest.fixture(scope="module")
def misconfigured(build, tmp_path_factory):
    """Both hosts with bad options."""
    work = tmp_path_factory.mktemp("misconfigured")
    tree = fixtures.make_tree(build, "6.18", work / "tree")
    with ExitStack() as stack:
        hosts = Hosts(stack, build, work, {**on(tree), **BAD_VALUES}, [*words_on(tree), *BAD_WORDS])
        hosts.wait_first()
        yield hosts


@pytest.mark.parametrize("value, allowed", MESSAGES)
def test_a_bad_option_is_logged_once_with_what_is_allowed(value, allowed, misconfigured):
    for host, keys in zip(misconfigured.both, (("Settings", "Colour"), ("--settings", "--colour"))):
        lines = logged(host, value, allowed)
        assert len(lines) == 1
        assert keys[MESSAGES.index((value, allowed))] in lines[0]
        assert len(complaints(host)) == len(MESSAGES)


def test_a_bad_option_leaves_the_default(misconfigured):
    collectd, netdata = KNOB
    assert latest(misconfigured.collectd.history())[collectd] == 255
    assert misconfigured.netdata.values()[netdata][1] == 255


@pytest.mark.parametrize("line", [
    "Settings yes no", 'Root "/a" "/b"',
    "<Settings>\nDeeper yes\n</Settings>", "<Settings yes>\nDeeper yes\n</Settings>"])
def test_collectd_starts_with_an_option_of_the_wrong_shape(line, build, make_tree, tmp_path):
    extra = f"LoadPlugin ksm\n<Plugin ksm>\n{line}\n</Plugin>"
    with Collectd(tmp_path / "collectd", build / "ksm.so", on(make_tree("6.18")),
                  extra=f'PluginDir "{build}"\n{extra}') as host:
        host.wait_for("ksm/gauge-max_page_sharing")
        assert len(complaints(host)) == 1 and line.split()[0].strip("<>") in complaints(host)[0]


@pytest.mark.parametrize("value", [False, "no", "off"])
def test_collectd_leaves_settings_out(value, build, make_tree, tmp_path):
    with Collectd(tmp_path / "collectd", build / "ksm.so", {**on(make_tree("6.18")), "Settings": value}) as host:
        host.wait_for("ksm/gauge-run")
        assert "ksm/gauge-max_page_sharing" not in host.series()
        assert complaints(host) == []


# The live kernel.

def live_figures(build):
    """Return {figure: integer} of what the live kernel gives now."""
    printed = subprocess.run([build / "tests/figures", "json"], capture_output=True, check=True).stdout
    return {figure["name"]: figure["value"] for figure in json.loads(printed) if figure["status"] == 0}


@pytest.fixture(scope="module")
def live(build, tmp_path_factory):
    """Both hosts on this machine, and its figures before and after; nobody changes settings meanwhile."""
    if not os.path.isdir("/sys/kernel/mm/ksm"):
        pytest.skip("this kernel has no KSM")
    with ExitStack() as stack:
        if why_not() is None:
            stack.enter_context(KsmSettings())
        before = live_figures(build)
        hosts = Hosts(stack, build, tmp_path_factory.mktemp("live"), {}, [])
        hosts.wait_first()
        time.sleep(2)
        mine, other = latest(hosts.collectd.history()), latest(hosts.netdata.history(5))
        yield SimpleNamespace(hosts=hosts, before=before, after=live_figures(build), collectd=mine, netdata=other)


MOVE_BY_THEMSELVES = {"exposure"}       # with the host's free memory


def between(number, ends, rel):
    """Whether NUMBER lies between ENDS, two numbers, but for rounding."""
    low, high = sorted(ends)
    return low - rel * abs(low) <= number <= high + rel * abs(high)


def test_collectd_delivers_all_that_the_live_kernel_has(live, page_size):
    before, after = (collectd_values(figures, page_size) for figures in (live.before, live.after))
    assert set(live.collectd) == set(before) == set(after)
    wrong = {name: (number, before[name], after[name]) for name, number in live.collectd.items()
             if name.rpartition("-")[2] not in MOVE_BY_THEMSELVES
             and not between(number, (before[name], after[name]), 1e-12)}
    assert wrong == {}


def test_netdata_delivers_all_that_the_live_kernel_has(live, page_size):
    before, after = (netdata_values(figures, page_size) for figures in (live.before, live.after))
    assert set(live.netdata) == set(before) == set(after)
    counters = {name for name, place in places(page_size).items() if place.counter}
    wrong = {name: (number, before[name], after[name]) for name, number in live.netdata.items()
             if name[1] not in counters | MOVE_BY_THEMSELVES
             and not between(number, (before[name], after[name]), NETDATA_DIGITS)}
    assert wrong == {}
    assert all(live.netdata[name] >= 0 for name in live.netdata if name[1] in counters)


def test_the_live_kernel_is_no_news(live):
    for host in live.hosts.both:
        assert news(host) == complaints(host) == []
