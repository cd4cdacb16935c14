# SPDX-License-Identifier: MIT
"""ksm-explain: its reports on all fixtures, its exit status, and its reports on the live kernel.

tests/unit/explain/test_explain.c covers which facts lead to which verdict.  The live tests require root, and that
nothing is merged; settings are restored (tests/support/live.py).
"""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import termios
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jsonschema
import pytest

import example
import fixtures
from conftest import AS_NOBODY, REPOSITORY, quiet_ksm
from live import RUNNING, STOPPED, UNMERGED, Workload
from world import Process, Tree, World

RUN_S = 60
FAILED = 1
CALM = {"pages_to_scan": 100, "sleep_millisecs": 20}        # the kernel's defaults
STATUSES = {"article": 40, "2.6.32": 0, "3.10": 0, "5.15": 13, "6.1": 31, "6.6": 0, "6.12": 12, "6.18": 24,
            "miscounted": 0, "uksm": 0, "no-ksm": 10, "consumers": 0}


def check_form(report):
    """Check that REPORT is plain text of 80 columns."""
    assert report.startswith("Kernel Samepage Merging (KSM) on this host\n\n  Verdict   ") and report.endswith("\n")
    for line in report.splitlines():
        assert len(line) <= 80 and line == line.rstrip() and line.isprintable(), repr(line)


def texts_of(report, label):
    """Return the texts after LABEL in REPORT, each in one line."""
    blocks = re.findall(rf"^  {label:<10}(.*\n(?: {{12}}.*\n)*)", report, flags=re.MULTILINE)
    return [" ".join(block.split()) for block in blocks]


# Fixtures.

@pytest.fixture(scope="module")
def reports(build, tmp_path_factory, page_size):
    """{fixture: CompletedProcess} of this build."""
    if page_size != fixtures.PAGE_SIZE:
        pytest.skip(f"the golden outputs are of 4 kB pages, here they have {page_size} bytes")
    return fixtures.all_pages(build, tmp_path_factory.mktemp("explain"))


@pytest.mark.parametrize("era", fixtures.EXPLAINED)
def test_report_matches_golden_and_status_matches_verdict(era, reports):
    done = reports[era]
    assert done.stdout == fixtures.golden(era, "explain").read_text(), "if it is meant: make golden, see the diff"
    check_form(done.stdout)
    assert (done.returncode, done.stderr) == (STATUSES[era], "")


@pytest.mark.usefixtures("reports")
def test_annotated_example_is_current_and_fits_80_columns(build, tmp_path):
    shown = example.text(build, tmp_path)
    assert example.FILE.read_text() == shown, "if it is meant: make golden, see the diff"
    assert [line for line in shown.splitlines() if len(line) > 80 or line != line.rstrip() or not line.isprintable()] == []
    verdicts = Counter(texts_of(shown, "Verdict"))
    assert verdicts.pop("KSM works well.") == 2 and set(verdicts.values()) == {1}


PLACES = [{"NO_COLOR": "1"}, {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}, {"TERM": "dumb"}, {"COLUMNS": "200"}]


def test_report_does_not_depend_on_terminal(build, reports, make_tree):
    """With any environment."""
    tree = make_tree("consumers")
    with ThreadPoolExecutor() as pool:
        piped = pool.map(lambda env: fixtures.run_once(build / "ksm-explain", "--root", tree, env=env).stdout, PLACES)
        assert set(piped) == {reports["consumers"].stdout}


# Columns of a terminal (0: unknown), its environment, columns of the prose, and whether a bad verdict is red.
TERMINALS = [(0, {"TERM": "xterm"}, 80, True), (40, {"TERM": "xterm"}, 60, True), (100, {"TERM": "xterm"}, 100, True),
             (100, {"TERM": "xterm", "NO_COLOR": "1"}, 100, False), (100, {"TERM": "dumb"}, 100, False)]


@pytest.mark.parametrize("columns, env, prose, red", TERMINALS)
def test_report_fits_the_terminal(columns, env, prose, red, build, make_tree):
    """6.1 has a verdict of 31: exposed."""
    shown = on_terminal([build / "ksm-explain", "--root", make_tree("6.1")], columns, env)
    assert ("\x1b[1;31m  Verdict " in shown) == red
    text = re.sub("\x1b\\[[0-9;]*m", "", shown).replace("\r\n", "\n").partition("\nSettings\n")[0]
    longest = max(len(line) for line in text.splitlines() if not line.startswith(" " * 14))
    assert prose - 15 < longest <= prose


def on_terminal(argv, columns, env):
    """Run ARGV on a terminal of COLUMNS; return the output."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24 if columns else 0, columns, 0, 0))
    with subprocess.Popen(list(map(str, argv)), stdin=theirs, stdout=theirs, stderr=theirs, env=env):
        os.close(theirs)
        shown = b""
        while True:
            try:
                more = os.read(ours, 65536)
            except OSError:             # the other end is closed
                break
            shown += more
    os.close(ours)
    return shown.decode()


@pytest.mark.parametrize("era", fixtures.EXPLAINED)
def test_json_follows_its_schema_and_agrees_with_the_report(era, build, reports, make_tree):
    schema = json.loads((REPOSITORY / "common/explain/ksm-explain.schema.json").read_text())
    done = fixtures.run_once(build / "ksm-explain", "--json", "--root", make_tree(era))
    found = json.loads(done.stdout)
    jsonschema.validate(found, schema)
    assert (done.returncode, found["status"]) == (STATUSES[era], STATUSES[era])
    assert texts_of(reports[era].stdout, "Verdict") == [" ".join(found["sentence"].split())]
    assert ("profit" in found["metrics"]) == ("\n  net " in reports[era].stdout)


def test_json_has_owners(build, make_tree):
    tree = make_tree("consumers")
    for owners, bash in ((7, "user 1000"), (None, None)):
        found = json.loads(fixtures.run_once(build / "ksm-explain", "--json", "--root", tree).stdout)
        assert found["owners"] == owners and ("owners" in found["remarks"]) == bool(owners)
        assert {(one["name"], one["owner"], one["opted_in"]) for one in found["consumers"]} > {
            ("bash", bash, "madvise"), ("nginx", "several", "madvise"), ("web-01", "vm web-01", "madvise")}
        (tree / "proc/400/status").unlink(missing_ok=True)


@pytest.mark.parametrize("words, says", [
    (["--rot=/"], "unknown option --rot=/"),
    (["--openmetrics", "--json"], "--json belongs to the report, --estimate, --sharing"),
])
def test_invalid_arguments_get_no_report(words, says, build):
    """tests/unit/explain/test_command_line.c has more cases."""
    done = fixtures.run_once(build / "ksm-explain", *words)
    assert (done.returncode, done.stdout) == (FAILED, "")
    assert done.stderr == f"ksm-explain: {says}; see ksm-explain --help\n"


@pytest.mark.parametrize("words", [[], ["--estimate"], ["--openmetrics"], ["--openmetrics", "--output", "none/ksm.prom"]])
def test_a_root_that_is_not_that_of_a_host_is_named(words, build, tmp_path):
    """The message has the root as it was given; there is no report, and no empty file of metrics."""
    (tmp_path / "file").touch()
    (tmp_path / "dir/proc").mkdir(parents=True)
    for root, says in (("none", ": no such directory"), ("file", ": no such directory"),
                       ("dir/", fixtures.NO_HOST)):
        done = fixtures.run_once(build / "ksm-explain", *words, "--root", root, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (FAILED, "")
        assert done.stderr == f"ksm-explain: {root}{says}\n"


def test_root_without_ksm_is_named(build, tmp_path):
    (tmp_path / "root/sys/kernel").mkdir(parents=True)
    done = fixtures.run_once(build / "ksm-explain", "--root", "root/", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (STATUSES["no-ksm"], "")
    assert texts_of(done.stdout, "Verdict") == ["This kernel has no KSM."]
    assert "The directory root/sys/kernel/mm/ksm is missing:" in texts_of(done.stdout, "Why")[0]


PRINTED = [("ksm-explain", ["--root", "6.6"]), ("ksm-explain", ["--openmetrics", "--root", "6.6"]),
           ("ksm-explain", ["--estimate", "PID"]), ("ksm-explain", ["--help"]), ("ksm-explain", ["--version"]),
           ("ksm.plugin", ["--root", "6.6", "--consumers=0"]), ("ksm.plugin", ["--help"]), ("ksm.plugin", ["--version"])]


@pytest.mark.parametrize("program, words", PRINTED, ids=lambda value: value if isinstance(value, str) else " ".join(value))
def test_unwritable_output_fails(program, words, build, tmp_path):
    """On a full disk, and where stdout is closed."""
    fixtures.make_tree(build, "6.6", tmp_path / "6.6")
    for target, reason in ((">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")):
        words = [str(os.getpid()) if word == "PID" else word for word in words]
        argv = ["sh", "-c", f'exec "$0" "$@" {target}', build / program, *words]
        done = fixtures.run_once(*argv, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (FAILED, ""), target
        assert done.stderr.splitlines()[-1].endswith(f": standard output: {reason}"), done.stderr


@pytest.mark.parametrize("words", [[], ["--root", "/dev"]], ids=["host", "no-sys"])
def test_help(words, build):
    """It needs no host, as in a chroot without /sys."""
    done = fixtures.run_once(build / "ksm-explain", *words, "--help")
    assert done.returncode == 0 and "--root" in done.stdout and "exit status" in done.stdout
    usage = done.stdout.partition("\nExplains ")[0]
    assert usage.count("[--root DIRECTORY]") == usage.count("ksm-explain") == 4, "it works in every mode"
    assert [line for line in done.stdout.splitlines() if len(line) > 80] == []


def test_hostile_names_are_escaped(build, tmp_path):
    """A name may contain any byte, such as escape sequences and line ends, and be longer than a line."""
    tree = Tree(tmp_path / "tree", sharing=300, shared=100)
    names = ["\x1b[31mred", "two\nlines", "bell\a", "tab\t", "\x9b31m", "caf\u00e9", "quote\"'", "\u202egnp", "a" * 15]
    for number, name in enumerate(names):
        tree.process(Process(100 + number, name, merging=40, resident=100))
    tree.process(Process(200, "qemu", merging=40, resident=100, cmdline=("qemu-system-x86_64", "-name", "v" * 200)))
    done = fixtures.run_once(build / "ksm-explain", "--root", tree.root)
    check_form(done.stdout)
    assert len(re.findall(r"^ .* (program|vm) ", done.stdout, flags=re.MULTILINE)) == 8
    assert "others\n" in done.stdout


@pytest.mark.parametrize("counters, status", [
    ({}, 34),
    ({"skipped": 5_000}, 0),
])
def test_ksmd_busy_without_pages_to_scan(counters, status, build, make_tree):
    """On older kernels an almost empty mapping of many TiB keeps ksmd busy."""
    tree = make_tree("6.18")
    with World(tree, **{"scanned": 0, "skipped": 0, "full_scans": 0, "ksmd": 99, **counters}) as world:
        while True:
            world.pauses.clear()
            done = fixtures.run_once(build / "ksm-explain", "--root", tree)
            if not world.pauses:        # otherwise this machine was busy, and the counters paused
                break
    check_form(done.stdout)
    assert done.returncode == status, done.stdout
    assert (texts_of(done.stdout, "Verdict") == ["ksmd is busy, but finds no page to scan."]) == (status == 34)


@pytest.mark.shipped       # AddressSanitizer refuses a library that is loaded before its runtime
def test_ksmd_kept_from_running(build, tmp_path):
    """ksm-explain is paused until the time for reading the processes' metrics has passed."""
    clock = tmp_path / "clock.so"
    subprocess.run([os.environ.get("CC", "cc"), "-D_GNU_SOURCE", "-shared", "-fPIC", "-O2", "-o", clock,
                    REPOSITORY / "tests/e2e/clock.c"], check=True)
    tree = Tree(tmp_path / "tree", sharing=300, shared=100)
    tree.process(Process(100, "postgres", merging=400))
    done = subprocess.run([build / "ksm-explain", "--root", tree.root], env={**os.environ, "LD_PRELOAD": str(clock)},
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=RUN_S, check=False)
    assert done.returncode == 0 and "program postgres" in done.stdout


def test_kernel_with_only_ksm_merging_pages(build, tmp_path):
    """5.19 reports savings by consumer, but neither rmap_items nor which processes have opted in."""
    tree = Tree(tmp_path / "tree", kernel="ksm_merging_pages", sharing=300, shared=100)
    tree.process(Process(100, "one", merging=400, resident=500))
    report = fixtures.run_once(build / "ksm-explain", "--root", tree.root).stdout
    assert re.search(r"^ +1\.2 MiB +-  #{16}  program one$", report, flags=re.MULTILINE), report
    assert "not reported by this kernel" in texts_of(report, "opted in")[0]


# The live kernel.

@pytest.fixture
def ksm():
    """The live kernel's KSM for one test."""
    with quiet_ksm() as live:
        yield live


@pytest.fixture
def workload(build):
    """A function that starts a workload with a pattern: a context manager."""
    return lambda pattern, pages: Workload(build / "tests/workload", pattern, pages)


def check_live(build, status, sentence, *argv):
    """Run ksm-explain on the live kernel, started by the command ARGV; check the verdict, and return the report."""
    done = fixtures.run_once(*argv, build / "ksm-explain")
    print(done.stdout, done.stderr)
    check_form(done.stdout)
    assert (done.returncode, done.stderr) == (status, "")
    assert sentence in texts_of(done.stdout, "Verdict")[0]
    return done.stdout


def reports_opted_in():
    """Whether this kernel reports which processes have opted in."""
    stat = Path("/proc/self/ksm_stat")
    return stat.exists() and "ksm_mergeable:" in stat.read_text()


def test_live_off(ksm, build):
    ksm.set("run", STOPPED)
    report = check_live(build, 11, "KSM is switched off")
    assert "echo 1 | sudo tee /sys/kernel/mm/ksm/run" in report
    assert "Savings by consumer\n  " in report
    if reports_opted_in():
        assert texts_of(report, "Also") == ["No program has opted in to merging."]


def test_live_unmerged(ksm, build, workload):
    with workload("pairs", 1024):
        ksm.merge_all()
        ksm.set("run", UNMERGED)
        check_live(build, 12, "all merging was undone")


def test_live_no_process_opted_in(ksm, build):
    ksm.set("run", RUNNING)
    report = check_live(build, 20, "No program has opted in")
    assert "MemoryKSM=yes" in report and "mem-merge" in report


def test_live_no_pages_to_scan(ksm, build, workload):
    ksm.set_all({"pages_to_scan": 0, "run": RUNNING})
    with workload("pairs", 1024):
        report = check_live(build, 21, "set to scan no pages")
    if reports_opted_in():
        assert texts_of(report, "opted in") == ["1 process"]


def test_live_first_full_scan_unfinished(ksm, build, workload):
    ksm.set_all({"pages_to_scan": 1, "sleep_millisecs": 50})
    with workload("pairs", 1024):
        ksm.set("run", RUNNING)
        report = check_live(build, 22, "too early to judge")
    assert "echo 10 | sudo tee /sys/kernel/mm/ksm/pages_to_scan" in report


def test_live_healthy_and_stopped(ksm, build, copy_of, workload, page_size):
    """The report for root, and for a user who may not read other users' processes."""
    with workload("pairs", 8192):
        ksm.merge_all()
        saved = f"{4096 * page_size / 1048576:.1f} MiB"
        report = check_live(build, 13, "KSM is stopped")
        assert texts_of(report, "saved")[0].startswith(saved)
        ksm.set_all({**CALM, "run": RUNNING})
        report = check_live(build, 0, "KSM works well")
        assert re.search(rf"^ +{saved} .* program workload$", report, flags=re.MULTILINE)
        assert texts_of(report, "Note") == []
        assert ksm.number("pages_sharing") == 4096, "it has changed nothing"
        check_as_nobody(copy_of, saved)


def check_as_nobody(copy_of, saved):
    """Check the report for user nobody on a host where SAVED is saved."""
    report = check_live(copy_of("ksm-explain").parent, 0, "KSM works well", *AS_NOBODY)
    note, = texts_of(report, "Note")
    assert "cannot be read (this includes kernel threads)" in note and "run it with sudo" in note
    assert texts_of(report, "saved")[0].startswith(saved)
    assert re.search(rf"^ +{saved} +-  #{{16}}  not attributed$", report, flags=re.MULTILINE)


def test_live_no_equal_pages(ksm, build, workload):
    with workload("unique", 4096):
        ksm.set("run", RUNNING)
        ksm.wait(lambda: ksm.number("full_scans") > 3, RUN_S, "full scans")
        ksm.set_all(CALM)
        check_live(build, 23, "has found no equal pages")


def test_live_scanning_in_vain(ksm, build, workload):
    """At the maximum scan rate ksmd uses more than a fifth of a core, unless other programs keep all cores busy."""
    with workload("unique", 20000):
        ksm.set("run", RUNNING)
        ksm.wait(lambda: ksm.number("full_scans") > 3, RUN_S, "full scans")
        for _ in range(4):
            done = fixtures.run_once(build / "ksm-explain")
            share = float(re.search(r"^  ksmd +([0-9.]+) % of one CPU core", done.stdout, flags=re.MULTILINE)[1])
            if share > 20.1:
                break
        else:
            pytest.skip(f"other programs keep ksmd from the CPU: it had {share} % of a core")
    check_form(done.stdout)
    assert done.returncode == 33 and texts_of(done.stdout, "Verdict") == ["KSM works hard for little."]
    assert f"echo {CALM['sleep_millisecs']} | sudo tee /sys/kernel/mm/ksm/sleep_millisecs" in done.stdout


@pytest.mark.long
def test_live_net_loss(ksm, build, workload, page_size):
    """Unique pages with an overhead of 0.12 % of RAM."""
    kilobytes = dict(re.findall(r"^(\w+): +(\d+) kB", Path("/proc/meminfo").read_text(), flags=re.MULTILINE))
    pages = int(kilobytes["MemTotal"]) * 1024 * 12 // 10000 // 64
    if pages * page_size > int(kilobytes["MemAvailable"]) * 1024 // 2:
        pytest.skip("there is not enough memory free for so many pages")
    with workload("unique", pages):
        ksm.set("run", RUNNING)
        ksm.wait(lambda: ksm.number("full_scans") > 3, 20 * RUN_S, "full scans")
        ksm.set_all(CALM)
        report = check_live(build, 32, "KSM uses more memory than it saves")
    assert texts_of(report, "net")[0].startswith("-")
    assert re.search(r"^ +0 bytes +[0-9.]+ MiB  \.{16}  program workload$", report, flags=re.MULTILINE)


def test_live_in_own_pid_namespace(ksm, build):
    """As in a container: other processes, including ksmd, are not visible."""
    if subprocess.run(["unshare", "-pf", "--mount-proc", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no PID namespace can be made here")
    ksm.set("run", STOPPED)
    report = check_live(build, 11, "KSM is switched off", "unshare", "-pf", "--mount-proc")
    assert texts_of(report, "Also") == [], "processes that are not visible may have opted in"
    assert "ksmd is not visible here" in texts_of(report, "Note")[0]
