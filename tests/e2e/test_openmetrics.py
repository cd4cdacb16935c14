# SPDX-License-Identifier: MIT
"""ksm-explain --openmetrics: all that is known, in words that Prometheus, its tools and node_exporter read."""

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import time

import pytest

import fixtures
from conftest import REPOSITORY
from hosts import SEEN_S, Daemon, Prometheus, fetch, free_port, until
from reckon import collectd_values, reckon
from world import Process, Tree

EXPORTER = "/usr/bin/prometheus-node-exporter"
RULES = REPOSITORY / "common/explain/prometheus-openmetrics.yml"
RULES_TEST = REPOSITORY / "tests/e2e/prometheus-openmetrics.test.yml"
RULES_OF_COLLECTD = REPOSITORY / "collectd/prometheus-rules.yml"

# {series: (metric, what its integer is divided by)}
SERIES = {series.format(name): (name, divisor) for names, series, divisor in [
    ("shared sharing unshared volatile zero", "ksm_{}_pages", 1),
    ("saved profit overhead gain anon_huge", "ksm_{}_bytes", 1),
    ("merged ram net exposure", "ksm_{}_ratio", 10 ** 5),
    ("sharing_ratio scanned_per_page", "ksm_{}", 1000),
    ("merge_rate", "ksm_{}_pages_per_second", 1000),
    ("scan_time scan_left ksmd_cpu_per_gib", "ksm_{}_seconds", 1000),
    ("full_scans", "ksm_{}_total", 1),
    ("scanned skipped cow swpin_copy thp_split", "ksm_{}_pages_total", 1),
    ("ksmd_cpu", "ksm_{}_seconds_total", 10 ** 9),
    ("chains dups", "ksm_{}_nodes", 1),
    ("run pages_to_scan max_page_sharing merge_across_nodes use_zero_pages smart_scan advisor_mode "
     "advisor_min_pages_to_scan advisor_max_pages_to_scan", "ksm_{}", 1),
    ("advisor_target_scan_time", "ksm_{}_seconds", 1),
    ("advisor_max_cpu", "ksm_{}_ratio", 100)] for name in names.split()}
SERIES["ksm_sleep_seconds"] = "sleep_millisecs", 1000
SERIES["ksm_stable_node_chains_prune_seconds"] = "stable_node_chains_prune_millisecs", 1000


def openmetrics(build, *words, **popen):
    """Run ksm-explain --openmetrics with WORDS."""
    return subprocess.run([build / "ksm-explain", "--openmetrics", *words], capture_output=True, text=True, timeout=60,
                          check=False, **popen)


def samples(text):
    """Return {series with its labels: number} of TEXT, which ends as it must."""
    *lines, last = text.splitlines()
    assert last == "# EOF" and text.endswith("\n")
    return {series: float(number) for series, number in
            (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


@pytest.mark.parametrize("era", [*fixtures.ERAS, "consumers"])
def test_all_metrics_that_are_known(era, build, make_tree, page_size):
    tree = make_tree(era)
    done = openmetrics(build, "--root", tree)
    assert (done.returncode, done.stderr) == (0, "")
    metrics = {} if era == "no-ksm" else reckon(tree, page_size)
    expected = {series: metrics[name] / divisor for series, (name, divisor) in SERIES.items() if name in metrics}
    assert len(expected) == len(metrics), "a metric that has no series"
    found = {series: number for series, number in samples(done.stdout).items()
             if "{" not in series and series != "ksm_unattributed_bytes"}
    assert found == pytest.approx(expected, rel=1e-12)


def test_tools_find_nothing_wrong(build, make_tree):
    """promtool, in the format that node_exporter reads, and the strict parser of Prometheus' library in OpenMetrics."""
    text = openmetrics(build, "--root", make_tree("consumers")).stdout
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    parser = pytest.importorskip("prometheus_client.openmetrics.parser")
    families = list(parser.text_string_to_metric_families(text))
    assert {sample.name for family in families for sample in family.samples} == {
        series.partition("{")[0] for series in samples(text)}
    assert all(family.documentation and (family.type == "gauge") != family.name.endswith("_total") for family in families)


def test_consumers_of_any_name_add_up(build, tmp_path, page_size):
    names = ['"}\n# EOF', "back\\slash", "new\nline", "\udcff", "größer", "plain"]
    tree = Tree(tmp_path / "tree", shared=100, sharing=1000, zero=50)
    for i, name in enumerate(names):
        tree.process(Process(100 + i, name, merging=100 + i, zero=1, resident=500))
    text = openmetrics(build, "--root", tree.root).stdout
    found = samples(text)
    saved = {series: number for series, number in found.items() if series.startswith("ksm_consumer_saved_bytes{")}
    assert len(saved) == len(names)
    assert all(re.fullmatch(r'\w+\{kind="program",name="[^"\\\n]+"\}', series) for series in saved), saved
    assert sum(saved.values()) + found["ksm_unattributed_bytes"] == found["ksm_saved_bytes"] == tree.saved(page_size)
    assert len([series for series in found if series.startswith("ksm_consumer_real_bytes{")]) == len(names)


def test_a_file_is_replaced_when_it_is_complete(build, make_tree, tmp_path):
    path = tmp_path / "out/ksm.prom"
    path.parent.mkdir()
    assert openmetrics(build, "--root", make_tree("6.18"), "--output", path).returncode == 0
    assert "ksm_shared_pages" in path.read_text() and stat.S_IMODE(path.stat().st_mode) == 0o644
    path.write_text("old\n")
    done = openmetrics(build, "--root", make_tree("no-ksm"), "--output", path, preexec_fn=lambda: os.umask(0o77))
    assert (done.returncode, path.read_text()) == (0, "# EOF\n"), "metrics that are not known any more"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(path.parent.iterdir()) == [path]


def test_a_file_stays_when_it_fails(build, make_tree, tmp_path):
    """A full disk: nothing of it is there that could be read for metrics."""
    path = tmp_path / "out/ksm.prom"
    path.parent.mkdir()
    path.write_text("old\n")
    argv = [build / "ksm-explain", "--openmetrics", "--root", make_tree("6.18"), "--output", path]
    done = subprocess.run(["prlimit", "--fsize=100", *argv], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and "is not renewed" in done.stderr
    assert path.read_text() == "old\n" and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("end", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_nothing_stays_when_it_is_stopped(end, build, make_tree, tmp_path):
    """As systemd stops it, at a reboot for example: all its processes at once."""
    path = tmp_path / "out/ksm.prom"
    path.parent.mkdir()
    argv = [build / "ksm-explain", "--openmetrics", "--root", make_tree("6.18"), "--output", path]

    def stop():
        path.write_text("old\n")
        with subprocess.Popen(argv, start_new_session=True, stderr=subprocess.PIPE, text=True,
                              preexec_fn=lambda: signal.signal(end, signal.SIG_DFL)) as process:   # as for systemd
            until(lambda: len([*path.parent.iterdir()]) == 2 or process.poll() is not None, SEEN_S, "the unfinished file")
            os.killpg(process.pid, end)
            assert process.wait(SEEN_S) in (-end, 0) and process.stderr.read() == ""
            return process.returncode == -end
    until(stop, SEEN_S, "one that is stopped before it has ended")
    assert path.read_text() == "old\n" and [*path.parent.iterdir()] == [path]


@pytest.mark.parametrize("words, said", [
    (["--output", "/proc/none/ksm.prom"], "No such file or directory"),
    (["--output", f"/{'x' * 5000}"], "File name too long"),
    (["--estimate"], "exclude each other"),
])
def test_what_cannot_be_done_is_said(words, said, build):
    done = openmetrics(build, *words)
    assert done.returncode == 1 and said in done.stderr and done.stdout == ""


class NodeExporter(Daemon):
    """Debian's node_exporter, with the textfile collector alone."""

    name = "node_exporter"

    def command(self):
        self.port = free_port()
        return [EXPORTER, "--collector.disable-defaults", "--collector.textfile", "--web.disable-exporter-metrics",
                f"--collector.textfile.directory={self.workdir}", f"--web.listen-address=127.0.0.1:{self.port}"]

    def answers(self):
        try:
            return bool(fetch(f"http://127.0.0.1:{self.port}/metrics"))
        except OSError:
            return False


def set_age(path, seconds):
    """Make the file at PATH so old; one that is 0 seconds old stays new for as long as these tests take."""
    mtime = time.time() + (-seconds if seconds else 3600)
    os.utime(path, (mtime, mtime))


@pytest.fixture(scope="module")
def prometheus(build, tmp_path_factory):
    """A Prometheus that scrapes a node_exporter with the metrics of a fixture, and has the rules; .tree, .file, .text."""
    if not os.path.exists(EXPORTER):
        pytest.skip("prometheus-node-exporter is not installed (tests/deps.sh check)")
    work = tmp_path_factory.mktemp("prometheus")
    tree = fixtures.make_tree(build, "consumers", work / "tree")
    with NodeExporter(work / "node") as exporter:
        assert openmetrics(build, "--root", tree, "--output", exporter.workdir / "ksm.prom").returncode == 0
        configs = (f"rule_files: ['{RULES}', '{RULES_OF_COLLECTD}']\nscrape_configs:\n  - job_name: node\n"
                   f"    static_configs: [targets: ['127.0.0.1:{exporter.port}']]")
        with Prometheus(work / "prometheus", configs) as found:
            found.tree, found.file = tree, exporter.workdir / "ksm.prom"
            found.text = found.file.read_text()
            set_age(found.file, 0)
            found.wait_for('collectd_ksm_consumer_bytes{type="real"}', "ksm:saved_pages:sum", seconds=SEEN_S)
            yield found


def test_node_exporter_and_prometheus_read_it(prometheus):
    for series, number in {"node_textfile_scrape_error": 0, **samples(prometheus.text)}.items():
        prometheus.wait_numbers(series, [number], rel=1e-12)


def test_rules_give_the_names_that_collectd_gives(prometheus, page_size):
    metrics = reckon(prometheus.tree, page_size)
    for series, number in collectd_values(metrics, page_size).items():
        kind, _dash, name = series.removeprefix("ksm/").partition("-")
        prometheus.wait_numbers(f'{{__name__=~"collectd_ksm_{kind}(_total)?",ksm="{name}"}}', [number], rel=1e-9, least=1)
    consumers = prometheus.wait(lambda: prometheus.query('collectd_ksm_consumer_bytes{type="saved"}'), SEEN_S,
                                "consumers")
    assert {dict(series)["ksm_consumer"] for series in consumers} > {"unattributed", "vm-web-01"}
    assert all(dict(series).keys() == {"ksm_consumer", "type", "instance", "job"} for series in consumers)
    assert sum(consumers.values()) == metrics["saved"]


def test_rules_leave_out_an_old_file(prometheus):
    names = '{__name__=~"collectd_.*"}'
    all_series = len(prometheus.query(names))
    set_age(prometheus.file, 1000)
    prometheus.wait(lambda: not prometheus.query(names), SEEN_S, "no metric of an old file")
    [age] = prometheus.query("ksm_openmetrics:old").values()
    assert 1000 <= age < 1000 + SEEN_S and prometheus.query("ksm_run"), "node_exporter still has them"
    set_age(prometheus.file, 0)
    prometheus.wait(lambda: len(prometheus.query(names)) == all_series, SEEN_S, "all metrics of the new file")


def test_alerts_do_not_fire_from_an_old_file():
    done = subprocess.run(["promtool", "test", "rules", RULES_TEST], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_run_that_hangs_ends_before_its_file_is_old():
    units = {name: dict(re.findall(r"(?m)^(\w+)=(\w+)$", (RULES.parent / f"ksm-openmetrics.{name}").read_text()))
             for name in ("service", "timer")}
    [old] = re.findall(r"\) > (\d+)$", RULES.read_text(), re.MULTILINE)
    timeout, interval = (int(text.removesuffix("s")) for text in (
        units["service"]["TimeoutStartSec"], units["timer"]["OnUnitActiveSec"]))
    assert interval + timeout + interval < int(old), "Type=oneshot has no timeout unless it is set"


def test_rules_have_every_metric(build):
    metrics = subprocess.run([build / "tests/metrics", "json"], capture_output=True, text=True, check=True).stdout
    assert re.findall(r"labels: \{ksm: (\w+)\}", RULES.read_text()) == [metric["name"] for metric in json.loads(metrics)]


def test_the_service_is_confined():
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager",
                           RULES.parent / "ksm-openmetrics.service"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_systemd_takes_the_units(build, tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    for name in ("ksm-openmetrics.service", "ksm-openmetrics.timer"):
        text = (RULES.parent / name).read_text()
        (tmp_path / name).write_text(text.replace("/usr/bin/ksm-explain", str(build / "ksm-explain")))
    done = subprocess.run(["systemd-analyze", "verify", *tmp_path.iterdir()], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
