# SPDX-License-Identifier: MIT
"""ksm-explain --openmetrics: all known metrics, in a format that Prometheus, its tools and node_exporter accept."""

import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import time

import pytest

import fixtures
from conftest import AS_NOBODY, REPOSITORY
from daemons import SEEN_S, Daemon, Prometheus, fetch, free_port, until
from expected import collectd_values, expected_metrics
from world import Process, Tree

EXPORTER = "/usr/bin/prometheus-node-exporter"
RULES = REPOSITORY / "common/explain/prometheus-openmetrics.yml"
RULES_TEST = REPOSITORY / "tests/e2e/prometheus-openmetrics.test.yml"
RULES_OF_COLLECTD = REPOSITORY / "collectd/prometheus-rules.yml"

# {series: (metric, divisor of its integer)}
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
    """Return {series with its labels: number} of TEXT, which must end with "# EOF"."""
    *lines, last = text.splitlines()
    assert last == "# EOF" and text.endswith("\n")
    return {series: float(number) for series, number in
            (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def files(directory):
    """Return the names of all files in DIRECTORY, in order."""
    return sorted(path.name for path in directory.iterdir())


def consumers(text):
    """Return {"KIND NAME": saved bytes} of the consumers in TEXT."""
    return {f"{kind} {name}": int(saved) for kind, name, saved in
            re.findall(r'^ksm_consumer_saved_bytes\{kind="(\w+)",name="(.*)"\} (\d+)$', text, re.MULTILINE)}


@pytest.mark.parametrize("era", [*fixtures.ERAS, "consumers"])
def test_all_known_metrics_are_written(era, build, make_tree, page_size):
    tree = make_tree(era)
    done = openmetrics(build, "--root", tree)
    assert (done.returncode, done.stderr) == (0, "")
    metrics = {} if era == "no-ksm" else expected_metrics(tree, page_size)
    expected = {series: metrics[name] / divisor for series, (name, divisor) in SERIES.items() if name in metrics}
    assert len(expected) == len(metrics), "a metric that has no series"
    found = {series: number for series, number in samples(done.stdout).items()
             if "{" not in series and series not in ("ksm_unattributed_bytes", "ksm_owners")}
    assert found == pytest.approx(expected, rel=1e-12)


def test_checkers_find_no_problem(build, make_tree):
    """promtool, in the format that node_exporter reads, and the strict parser of Prometheus' library in OpenMetrics."""
    text = openmetrics(build, "--root", make_tree("consumers")).stdout
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    parser = pytest.importorskip("prometheus_client.openmetrics.parser")
    families = list(parser.text_string_to_metric_families(text))
    assert {sample.name for family in families for sample in family.samples} == {
        series.partition("{")[0] for series in samples(text)}
    assert all(family.documentation and (family.type == "gauge") != family.name.endswith("_total") for family in families)


def test_consumers_with_hostile_names_add_up(build, tmp_path, page_size):
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


def test_merge_density_equals_merged_by_tracked_pages(build, tmp_path):
    """1009 tracked pages, 251 of them merged, 7 as pages of zeros; in --json too, and rounded down."""
    tree = Tree(tmp_path / "tree", shared=100, sharing=1000, zero=7)
    tree.process(Process(100, "web", merging=251, zero=7, rmap_items=1009))
    tree.process(Process(101, "new", merging=0, rmap_items=13))
    found = samples(openmetrics(build, "--root", tree.root).stdout)
    densities = {name: found[f'ksm_consumer_merge_density_ratio{{kind="program",name="{name}"}}'] for name in ("web", "new")}
    assert densities == {"web": int(258 / 1009 * 100_000) / 100_000, "new": 0}
    shown = json.loads(subprocess.run([build / "ksm-explain", "--json", "--root", tree.root], capture_output=True,
                                      text=True, check=False).stdout)
    assert {consumer["name"]: consumer["merge_density"] for consumer in shown["consumers"]} == densities


def test_file_is_replaced_atomically(build, make_tree, tmp_path):
    path = tmp_path / "out/ksm.prom"
    path.parent.mkdir()
    assert openmetrics(build, "--root", make_tree("6.18"), "--output", path).returncode == 0
    assert "ksm_shared_pages" in path.read_text() and stat.S_IMODE(path.stat().st_mode) == 0o644
    path.write_text("old\n")
    done = openmetrics(build, "--root", make_tree("no-ksm"), "--output", path, preexec_fn=lambda: os.umask(0o77))
    assert (done.returncode, path.read_text()) == (0, "# EOF\n"), "metrics that are not known any more"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert files(path.parent) == ["ksm.prom", "ksm.prom.state"]


def test_parent_that_ignores_its_children(build, make_tree, tmp_path):
    path = tmp_path / "ksm.prom"
    argv = [build / "ksm-explain", "--openmetrics", "--root", make_tree("6.18"), "--output", path]
    done = subprocess.run(["sh", "-c", "trap '' CHLD; exec \"$0\" \"$@\"", *argv], capture_output=True, text=True,
                          timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "") and "ksm_shared_pages" in path.read_text()


@pytest.mark.parametrize("handled, said", [
    ("trap '' XFSZ", "{}: File too large\nksm-explain: {} is not renewed; the previous file is kept\n"),
    (":", "{} is not renewed: File size limit exceeded; the previous file is kept\n"),
])
def test_failure_keeps_old_file(handled, said, build, make_tree, tmp_path):
    """As on a full disk: no part of a new file is left that could be read as metrics."""
    path = tmp_path / "out/ksm.prom"
    path.parent.mkdir()
    path.write_text("old\n")
    argv = [build / "ksm-explain", "--openmetrics", "--root", make_tree("6.18"), "--output", path]
    done = subprocess.run(["sh", "-c", f"{handled}; exec prlimit --fsize=100 --core=0 \"$0\" \"$@\"", *argv],
                          capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, "ksm-explain: " + said.format(path, path))
    assert path.read_text() == "old\n" and files(path.parent) == ["ksm.prom"]


@pytest.mark.parametrize("end", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_stop_leaves_no_temporary_file(end, build, make_tree, tmp_path):
    """As stopped by systemd, for example at a reboot: all its processes at once."""
    path = tmp_path / "out/ksm.prom"
    path.parent.mkdir()
    argv = [build / "ksm-explain", "--openmetrics", "--root", make_tree("6.18"), "--output", path]

    def stop():
        path.write_text("old\n")
        path.with_name("ksm.prom.state").unlink(missing_ok=True)
        with subprocess.Popen(argv, start_new_session=True, stderr=subprocess.PIPE, text=True,
                              preexec_fn=lambda: signal.signal(end, signal.SIG_DFL)) as process:   # as for systemd
            until(lambda: len(files(path.parent)) >= 3 or process.poll() is not None, SEEN_S, "the unfinished files")
            os.killpg(process.pid, end)
            assert process.wait(SEEN_S) in (-end, 0) and process.stderr.read() == ""
            return process.returncode == -end
    until(stop, SEEN_S, "one that is stopped before it has ended")
    assert path.read_text() == "old\n" and files(path.parent) == ["ksm.prom"]


@pytest.mark.parametrize("words, said", [
    (["--output", "/proc/none/ksm.prom"], "ksm-explain: /proc/none: no such directory\n"),
    (["--output", "none/ksm.prom"], "ksm-explain: none: no such directory\n"),
    (["--output", "/proc/ksm.prom"], "ksm-explain: /proc/ksm.prom: cannot be created: No such file or directory\n"),
    (["--output", f"/{'x' * 5000}"], "File name too long"),
    (["--output", ""], "--output: invalid value \"\"; expected a file"),
    (["--state", "/proc/none/state"], "ksm-explain: /proc/none: no such directory\n"),
    (["--estimate"], "exclude each other"),
    (["--consumers", "many"], "--consumers: invalid value \"many\"; expected a whole number from 0 to 200"),
    (["--consumers-exclude=vms"], "expected none, or a list of vm,container,service,program"),
])
def test_invalid_arguments_are_reported(words, said, build):
    done = openmetrics(build, *words)
    assert done.returncode == 1 and said in done.stderr and done.stdout == ""


def test_directory_of_root_requires_sudo(copy_of, public_path):
    done = subprocess.run([*AS_NOBODY, copy_of("ksm-explain"), "--openmetrics", "--output", public_path / "ksm.prom"],
                          capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"ksm-explain: {public_path}/ksm.prom: cannot be created: Permission denied; run it with sudo\n"


def owners_of(text):
    """Return ksm_owners of TEXT, None if it is absent, and {"KIND NAME": (owner, opted_in)}."""
    info = re.findall(r'^ksm_consumer_info\{kind="(\w+)",name="(.*)",owner="(.*)",opted_in="(\w*)"\} 1$', text, re.MULTILINE)
    return samples(text).get("ksm_owners"), {f"{kind} {name}": found for kind, name, *found in info}


def test_owners_are_written(build, make_tree):
    tree = make_tree("consumers")
    text = openmetrics(build, "--root", tree).stdout
    owners, info = owners_of(text)
    assert owners == 7 and info.keys() == consumers(text).keys()
    assert {owner for owner, _opted_in in info.values()} == {
        "vm web-01", "vm 100", "container 9687bac58d5c", "container ct1", "user 0", "several", "user 1000"}
    assert {opted_in for _owner, opted_in in info.values()} == {"madvise"}
    assert owners_of(openmetrics(build, "--root", tree, "--consumers=1").stdout)[0] == 7, "also those that are not shown"


def test_unknown_owners_are_absent(build, make_tree):
    """The user of a program is not known; before Linux 6.14 the kernel does not report how it opted in."""
    tree = make_tree("consumers")
    for path in tree.glob("proc/*/ksm_stat"):
        path.write_text("".join(line for line in path.read_text().splitlines(True) if "merge" not in line))
    (tree / "proc/400/status").unlink()
    owners, info = owners_of(openmetrics(build, "--root", tree).stdout)
    assert owners is None and info["program bash"] == ["", ""] and info["vm 100"] == ["vm 100", ""]


# Replaced files.

def make_socket(path):
    """Create a socket at PATH."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


TARGETS = {
    "device": lambda path: os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3)),      # as /dev/null
    "FIFO": os.mkfifo,
    "socket": make_socket,
    "directory": os.mkdir,
    "symbolic link to a file that does not exist": lambda path: path.symlink_to("none"),
}


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("kind", TARGETS)
def test_only_a_regular_file_is_replaced(kind, linked, build, make_tree, tmp_path):
    """Other files stay unchanged, also behind a symbolic link."""
    directory = tmp_path / "out"
    directory.mkdir()
    path = directory / "target"
    try:
        TARGETS[kind](path)
    except PermissionError:
        pytest.skip("devices take root")
    if linked:
        (directory / "link").symlink_to(path)
    before = path.lstat()
    shown = directory / "link" if linked else path
    done = openmetrics(build, "--root", make_tree("6.18"), "--output", shown)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"ksm-explain: {shown} is a {kind}")
    after = path.lstat()
    assert (after.st_ino, after.st_mode, after.st_rdev) == (before.st_ino, before.st_mode, before.st_rdev)
    assert files(directory) == sorted(["target"] + ["link"] * linked)


def test_link_target_is_replaced(build, make_tree, tmp_path):
    for name in ("out", "real", "further"):
        (tmp_path / name).mkdir()
    link, further, path = (tmp_path / name for name in ("out/ksm.prom", "further/link", "real/metrics"))
    path.write_text("old\n")
    further.symlink_to(path)
    link.symlink_to("../further/link")
    done = openmetrics(build, "--root", make_tree("6.18"), "--output", link)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert link.is_symlink() and further.is_symlink() and "ksm_saved_bytes" in path.read_text()
    assert [files(tmp_path / name) for name in ("out", "further", "real")] == [
        ["ksm.prom"], ["link"], ["metrics", "metrics.state"]]


def test_dash_means_stdout(build, make_tree, tmp_path):
    done = openmetrics(build, "--root", make_tree("6.18"), "--output", "-", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "") and "ksm_saved_bytes" in samples(done.stdout)
    assert files(tmp_path) == ["tree-6.18"]


# Consumers, and the rate limit for new names.

@pytest.mark.parametrize("words, shown", [
    ([], {"vm": 2, "container": 2, "service": 2, "program": 2}),
    (["--consumers=0"], {}),
    (["--consumers=1"], {"vm": 1, "other": 1}),
    (["--consumers-exclude=vm,program"], {"container": 2, "service": 2}),
    (["--consumers", "1", "--consumers-exclude", "vm"], {"container": 1, "other": 1}),
])
def test_options_select_consumers(words, shown, build, make_tree):
    text = openmetrics(build, "--root", make_tree("consumers"), *words).stdout
    found = [name.split()[0] for name in consumers(text)]
    assert {kind: found.count(kind) for kind in found} == shown


class Renamed:
    """A host with 25 programs that have new names in each run, and a virtual machine."""

    PROGRAMS, PLACES = 25, 26
    BURST = PLACES + 60

    def __init__(self, build, directory):
        self.build, self.path, self.runs, self.seen = build, directory / "ksm.prom", 0, set()
        self.state = directory / "ksm.prom.state"
        self.tree = Tree(directory / "tree", shared=1000, sharing=10000)
        self.tree.process(Process(10, "qemu", merging=9, cmdline=("qemu-system-x86_64", "-name", "web")))

    def run(self, *words, rename=True):
        """Give all programs NEW names and run ksm-explain; return its log."""
        self.runs += rename
        for i in range(self.PROGRAMS):
            if self.tree.root.joinpath(f"proc/{100 + i}").exists():
                self.tree.end(100 + i)
            self.tree.process(Process(100 + i, f"p{self.runs}-{i}", merging=100))
        done = openmetrics(self.build, "--root", self.tree.root, "--output", self.path, f"--consumers={self.PLACES}", *words)
        assert done.returncode == 0, done.stderr
        self.shown = set(consumers(self.path.read_text())) - {"other other"}
        self.seen |= self.shown
        return done.stderr

    def rewind(self, seconds):
        """Make the last run SECONDS older."""
        text = self.state.read_text()
        then = int(re.search(r"^time (\d+)$", text, re.MULTILINE)[1])
        self.state.write_text(text.replace(f"time {then}\n", f"time {then - seconds}\n"))


def test_rate_limit_of_new_names_spans_runs(build, tmp_path):
    """25 programs that are renamed between runs: after a burst, one an hour.  It is said once when that begins, once
    when it is over; and what is known is shown in each."""
    host = Renamed(build, tmp_path)
    said = [host.run() for _ in range(6)]
    assert [bool(words) for words in said] == [False, False, False, True, False, False], said
    assert "are part of other" in said[3] and "--consumers-exclude" in said[3]
    assert len(host.seen) == host.BURST + 1 and "vm web" in host.shown      # the machine has a token of its own
    for _ in range(4):
        host.rewind(1800)
        assert host.run() == ""
    assert len(host.seen) == host.BURST + 1 + 2
    host.rewind(2 * 3600)
    for i in range(host.PROGRAMS):
        host.tree.end(100 + i)
    host.PROGRAMS = 1
    assert host.run(rename=False) == "ksm-explain: new consumers are shown at once again\n"
    assert host.run(rename=False) == "" and host.shown == {"vm web", f"program p{host.runs}-0"}


def test_damaged_state_allows_no_burst(build, tmp_path):
    host = Renamed(build, tmp_path)
    host.run()
    assert len(host.shown) == host.PLACES
    for text in ("", "x" * 200_000, host.state.read_text()[:-1]):
        host.state.write_text(text)
        assert f"{host.state} is damaged" in host.run()
        assert host.shown == set()
        assert "is damaged" not in host.run() and host.shown == set()
    host.state.unlink()
    host.run()
    assert len(host.shown) == host.PLACES, "it starts afresh"


def test_state_file_can_be_chosen(build, tmp_path):
    """With output to a service's file or to a pipe."""
    host = Renamed(build, tmp_path)
    state = tmp_path / "state"
    host.run("--state", state)
    assert state.read_text().endswith("\nend\n") and stat.S_IMODE(state.stat().st_mode) == 0o600
    assert not host.state.exists()
    state.write_text("")
    done = openmetrics(build, "--root", host.tree.root, "--state", state)
    assert done.returncode == 0 and "is damaged" in done.stderr and samples(done.stdout)
    assert state.read_text().endswith("\nend\n") and files(tmp_path) == ["ksm.prom", "state", "tree"]


def another_user(path):
    """Give PATH to another user."""
    path.touch()
    os.chown(path, 65534, -1)


STATES = {
    "symbolic links are not followed": lambda path: path.symlink_to("ksm.prom"),
    "is not a regular file": os.mkfifo,
    "belongs to another user, or others may write to it": lambda path: (path.touch(), path.chmod(0o664)),
    "belongs to another user": another_user,
}


@pytest.mark.parametrize("said", STATES)
def test_state_of_other_user_is_refused(said, build, make_tree, tmp_path):
    """In a directory that other users may write to."""
    directory = tmp_path / "out"
    directory.mkdir()
    path = directory / "ksm.prom"
    path.write_text("old\n")
    try:
        STATES[said](directory / "ksm.prom.state")
    except PermissionError:
        pytest.skip("giving files away takes root")
    done = openmetrics(build, "--root", make_tree("6.18"), "--output", path)
    assert done.returncode == 1 and f"ksm-explain: {path}.state" in done.stderr and said in done.stderr
    assert path.read_text() == "old\n" and files(directory) == ["ksm.prom", "ksm.prom.state"]


class NodeExporter(Daemon):
    """Debian's node_exporter, with only the textfile collector."""

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


def test_rules_produce_collectd_names(prometheus, page_size):
    metrics = expected_metrics(prometheus.tree, page_size)
    for series, number in collectd_values(metrics, page_size).items():
        kind, _dash, name = series.removeprefix("ksm/").partition("-")
        prometheus.wait_numbers(f'{{__name__=~"collectd_ksm_{kind}(_total)?",ksm="{name}"}}', [number], rel=1e-9, tolerance=1)
    consumers = prometheus.wait(lambda: prometheus.query('collectd_ksm_consumer_bytes{type="saved"}'), SEEN_S,
                                "consumers")
    assert {dict(series)["ksm_consumer"] for series in consumers} > {"unattributed", "vm-web-01"}
    assert all(dict(series).keys() == {"ksm_consumer", "type", "instance", "job"} for series in consumers)
    assert sum(consumers.values()) == metrics["saved"]


def test_rules_ignore_old_file(prometheus):
    names = '{__name__=~"collectd_.*"}'
    all_series = len(prometheus.query(names))
    set_age(prometheus.file, 1000)
    prometheus.wait(lambda: not prometheus.query(names), SEEN_S, "no metric of an old file")
    [age] = prometheus.query("ksm_openmetrics:old").values()
    assert 1000 <= age < 1000 + SEEN_S and prometheus.query("ksm_run"), "node_exporter still has them"
    set_age(prometheus.file, 0)
    prometheus.wait(lambda: len(prometheus.query(names)) == all_series, SEEN_S, "all metrics of the new file")


def test_old_file_raises_no_alert():
    done = subprocess.run(["promtool", "test", "rules", RULES_TEST], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_service_timeout_is_shorter_than_file_age_limit():
    units = {name: dict(re.findall(r"(?m)^(\w+)=(\w+)$", (RULES.parent / f"ksm-openmetrics.{name}").read_text()))
             for name in ("service", "timer")}
    [old] = re.findall(r"\) > (\d+)$", RULES.read_text(), re.MULTILINE)
    timeout, interval = (int(text.removesuffix("s")) for text in (
        units["service"]["TimeoutStartSec"], units["timer"]["OnUnitActiveSec"]))
    assert interval + timeout + interval < int(old), "Type=oneshot has no timeout unless it is set"


def test_rules_cover_every_metric(build):
    metrics = subprocess.run([build / "tests/metrics", "json"], capture_output=True, text=True, check=True).stdout
    assert re.findall(r"labels: \{ksm: (\w+)\}", RULES.read_text()) == [*(metric["name"] for metric in json.loads(metrics)), "owners"]


SERVICES = ["ksm-openmetrics.service", "ksm-openmetrics-sharing.service"]


def test_sharing_service_ends_before_its_next_start():
    service, timer = (RULES.parent.joinpath(f"ksm-openmetrics-sharing.{kind}").read_text() for kind in ("service", "timer"))
    assert int(re.search(r"(?m)^TimeoutStartSec=(\d+)s$", service)[1]) < \
        60 * int(re.search(r"(?m)^OnUnitActiveSec=(\d+)min$", timer)[1])


@pytest.mark.parametrize("service", SERVICES)
def test_service_is_sandboxed(service):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager",
                           RULES.parent / service], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_systemd_accepts_units(build, tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    for name in (*SERVICES, *(name.replace(".service", ".timer") for name in SERVICES)):
        text = (RULES.parent / name).read_text()
        (tmp_path / name).write_text(text.replace("/usr/bin/ksm-explain", str(build / "ksm-explain")))
    done = subprocess.run(["systemd-analyze", "verify", *tmp_path.iterdir()], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
