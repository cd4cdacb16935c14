# SPDX-License-Identifier: MIT
"""The confinement of ksm.plugin: the capabilities that it keeps, what it can do, and what other users can make it do.

The tool tests/confined confines itself in the same way and attempts forbidden operations.  A user that starts a
ksm.plugin with a file capability has fewer rights than it: a root of the user's choice must not open other files.
"""

import os
import re
import select
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest

import fixtures
from conftest import AS_NOBODY
from daemons import Netdata, plugins_of, until
from live import KSM as LIVE_KSM, Workload
from protocol import Agent
from sampling import Plugin, without_confinement
from world import Process, Tree

pytestmark = pytest.mark.shipped

KEPT = 1 << 2                   # cap_dac_read_search, in the sets of /proc/PID/status
GRANT = "cap_dac_read_search"
SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
SECRET = "secretive"            # text in files that must not appear in any output
READY_S = 60                    # limit for the start of a program


@pytest.fixture(scope="module")
def capable(copy_of):
    """A ksm.plugin with the file capability."""
    return copy_of("ksm.plugin", f"{GRANT}+ep")


# Capabilities that it keeps.

def status_of(pid):
    """Return {field: value} of /proc/PID/status."""
    text = Path(f"/proc/{pid}/status").read_text()
    return dict(re.findall(r"^(\w+):\s*(.*)$", text, flags=re.MULTILINE))


def check_rights(pid, capable_now, bounded):
    """Check that process PID has only the one capability, if CAPABLE_NOW, and a bounding set without others, if BOUNDED."""
    status = status_of(pid)
    print(" ".join(f"{field} {status[field]}" for field in (*SETS, "NoNewPrivs", "Seccomp")))
    inherits, permitted, effective, bound, ambient = (int(status[name], 16) for name in SETS)
    assert permitted == effective == (KEPT if capable_now else 0)
    assert inherits & ~KEPT == 0 and ambient == 0
    assert not bounded or bound == KEPT
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


def confinement_in(errors):
    """Return the confinement that a log reports, exactly once."""
    words = re.findall(r"ksm\.plugin INFO : confined: (.*)", errors)
    assert len(words) == 1, errors
    return words[0]


class Start(NamedTuple):
    """A way to start the plugin."""

    wrapper: list           # the command before it
    grant: str              # its file capabilities, or None
    capable: bool           # whether it has the capability that it keeps
    bounded: bool = False   # whether it can reduce the bounding set


def others(*names):
    """Return setpriv's arguments that make the capabilities NAMES ambient."""
    listed = ",".join(f"+{name}" for name in names)
    return [f"--inh-caps={listed}", f"--ambient-caps={listed}"]


STARTS = {
    "root": Start([], None, True, True),
    "root, ambient": Start(["setpriv", *others("net_admin", "dac_read_search")], None, True, True),
    "root, inheritable": Start(["setpriv", "--inh-caps=+kill"], None, True, True),
    "root, file": Start([], f"{GRANT}+ep", True),
    "nobody": Start(AS_NOBODY, None, False),
    "nobody, file": Start(AS_NOBODY, f"{GRANT}+ep", True),
    "nobody, file with more": Start(AS_NOBODY, f"{GRANT},cap_sys_ptrace,cap_net_admin+ep", True),
    "nobody, file with way to more": Start(AS_NOBODY, f"{GRANT},cap_setpcap,cap_sys_admin+ep", True, True),
    "nobody, file with others": Start(AS_NOBODY, "cap_sys_ptrace,cap_setpcap+ep", False),
    "nobody, ambient": Start([*AS_NOBODY, *others("net_admin", "dac_read_search")], None, True),
    "nobody, other ambient": Start([*AS_NOBODY, *others("sys_admin")], None, False),
}


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS.keys())
def test_plugin_keeps_only_one_capability(start, copy_of):
    with Plugin(copy_of("ksm.plugin", start.grant), before=start.wrapper) as running:
        running.wait_ticks(1)
        check_rights(running.process.pid, start.capable, start.bounded)
        assert running.end_input()[0] == 0
        assert f"capabilities {GRANT if start.capable else 'none'}" in confinement_in(running.log)


def test_plugin_keeps_only_one_capability_under_agent(build, tmp_path):
    with Netdata(tmp_path, build / "ksm.plugin") as host:
        host.wait_for(("ksm.memory", "shared"))
        [plugin] = plugins_of(host)
        check_rights(plugin, os.geteuid() == 0, os.geteuid() == 0)
        print(confinement_in(host.log()))


@contextmanager
def full_pipe():
    """A full pipe, so that a program that writes to it blocks: (read end, write end, bytes in it)."""
    end, into = os.pipe()
    os.set_blocking(into, False)
    rubbish = 0
    try:
        while True:
            rubbish += os.write(into, bytes(select.PIPE_BUF))
    except BlockingIOError:
        os.set_blocking(into, True)
    yield end, into, rubbish


def test_ksm_explain_keeps_no_more_capabilities(copy_of):
    """It samples for a second and then blocks on its output; it is confined before that."""
    argv = [*AS_NOBODY, copy_of("ksm-explain", f"{GRANT}+ep")]
    with full_pipe() as (end, into, rubbish), \
            subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=into) as running:
        until(lambda: status_of(running.pid).get("Seccomp") == "2", READY_S, "a confined ksm-explain")
        check_rights(running.pid, True, False)
        os.close(into)
        with open(end, "rb") as file:
            page = file.read()[rubbish:].decode()
    if LIVE_KSM.exists():
        assert "Settings" in page and "cannot be read (this" not in page, "it sees all processes"


def test_confinement_is_logged_at_start(build):
    done = subprocess.run([build / "ksm.plugin"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    summary = confinement_in(done.stderr)
    assert all(part in summary for part in ("capabilities", "no new privileges yes", "Landlock", "those that a sample needs"))


# Kernels that lack or refuse some confinement.

LACKING = {
    "capget": ["capabilities failed: Operation not permitted,", "no new privileges yes"],
    "capset": ["capabilities failed: Operation not permitted,", "no new privileges yes"],
    "landlock": ["no new privileges yes", "files (Landlock) not supported by this kernel,", "system calls (seccomp) only those"],
    "landlock-off": ["files (Landlock) not supported by this kernel,", "system calls (seccomp) only those"],
    "landlock-refused": ["files (Landlock) failed: Operation not permitted,", "system calls (seccomp) only those"],
    "landlock-full": ["files (Landlock) failed: Argument list too long,", "system calls (seccomp) only those"],
    "seccomp": ["no new privileges yes", "system calls (seccomp) not supported by this kernel"],
    "seccomp-refused": ["no new privileges yes", "system calls (seccomp) failed: Permission denied"],
    "no_new_privs": ["no new privileges not supported by this kernel,", "files (Landlock) not supported by this kernel,",
                     "system calls (seccomp) not supported by this kernel"],
}


@pytest.mark.parametrize("what", LACKING)
def test_plugin_runs_without_some_confinement(what, build, make_tree):
    if os.geteuid() != 0:
        pytest.skip("simulating a lack of the kernel requires root")
    with Plugin(build / "ksm.plugin", "--root", make_tree("consumers"), "--consumers-interval=1",
                before=[build / "tests/confined", "lacking", what]) as running:
        running.wait_ticks(1)
        assert running.end_input()[0] == 0 and running.ticks and running.errors == ""
        summary = confinement_in(running.log)
    for part in LACKING[what]:
        assert part in summary


# What it can do.

def attempts(*argv):
    """Run the tool `confined` with ARGV; return its confinement, and {attempt: error name or "ok"}."""
    done = subprocess.run(list(map(str, argv)), stdin=subprocess.PIPE, capture_output=True, text=True, timeout=READY_S,
                          check=False)
    summary, *lines, last = done.stdout.splitlines()
    assert (done.returncode, last) == (0, "alive"), done
    return summary, dict(line.split("\t") for line in lines)


FILES = {
    "read /proc/vmstat": "ok",
    "read /proc/1/stat": "ok",
    "read /proc/1/cmdline": "ok",
    "list /proc": "ok",
    "list /sys/kernel/mm/ksm": "ok",
    "read /sys/kernel/mm/ksm/run": "ok",
    "read /etc/passwd": "EACCES",
    "read /proc/self/root/etc/passwd": "EACCES",
    "read /proc/1/root/etc/passwd": "EACCES",
    "read /proc/1/cwd/etc/passwd": "EACCES",
    "read /proc/../etc/passwd": "EACCES",
    "read /proc/1/environ": "EACCES",
    "read /proc/1/maps": "EACCES",
    "read /proc/1/mem": "EACCES",
    "read /dev/zero": "EACCES",
    "list /": "EACCES",
    "list /sys/kernel": "EACCES",
    "write /sys/kernel/mm/ksm/run": "EPERM",
    "both /sys/kernel/mm/ksm/run": "EPERM",
    "truncate /sys/kernel/mm/ksm/run": "EPERM",
    "write /proc/self/oom_score_adj": "EPERM",
    "both /proc/self/mem": "EPERM",
    "write /dev/null": "EPERM",
    "create /proc/none": "EPERM",
    "create /tmp/ksm-test-none": "EPERM",
}


@pytest.fixture(scope="module", params=["as it is", "nobody, file"])
def confined(request, build, copy_of):
    """The tool's command line, run by this user, or by user nobody with the file capability."""
    if request.param == "as it is":
        return [build / "tests/confined", "try"]
    return [*AS_NOBODY, copy_of("tests/confined", f"{GRANT}+ep"), "try"]


def test_only_files_of_a_sample_can_be_opened(confined):
    if not LIVE_KSM.exists():
        pytest.skip("this kernel has no KSM")
    summary, results = attempts(*confined, "/", *" ".join(FILES).split())
    if "files (Landlock) not" in summary:
        pytest.skip("this kernel has no Landlock")
    assert {name: results[name] for name in FILES} == FILES


def test_only_files_below_root_can_be_opened(build, make_tree):
    tree = make_tree("6.18")
    here, there = tree / "sys/kernel/mm/ksm/run", tree / "proc/meminfo"
    summary, results = attempts(build / "tests/confined", "try", tree, "read", here, "read", there,
                             "read", "/proc/meminfo", "list", tree)
    if "files (Landlock) not" in summary:
        pytest.skip("this kernel has no Landlock")
    assert (results[f"read {here}"], results[f"read {there}"]) == ("ok", "ok")
    assert (results["read /proc/meminfo"], results[f"list {tree}"]) == ("EACCES", "EACCES")


def attempts_after(change, *argv):
    """Run the tool `confined` with ARGV, which starts with `wait -`; call CHANGE(), then let it continue."""
    with subprocess.Popen(list(map(str, argv)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert "confined" in running.stdout.readline()
        change()
        output, _ = running.communicate("\n", timeout=READY_S)
    return dict(line.split("\t") for line in output.splitlines()[:-1])


def test_own_threads_are_visible_after_dropping_caches(build, make_tree):
    """With any root: without its threads' states it would mistake a thread that waits for a CPU for a blocked one."""
    if os.geteuid() != 0:
        pytest.skip("dropping caches requires root")
    results = attempts_after(lambda: [Path("/proc/sys/vm/drop_caches").write_text("2") for _ in range(2)],
                             build / "tests/confined", "try", make_tree("6.18"), "wait", "-", "list", "/proc/self/task")
    assert results["list /proc/self/task"] == "ok"


@pytest.mark.parametrize("named", ["directory of root's", "kernel's"])
def test_user_symlink_grants_no_access(named, copy_of, mine):
    """With a file capability: a Landlock rule for the link's target would allow reading below it."""
    there = mine.parent / "private" if named == "directory of root's" else Path("/proc")
    (mine.parent / "private").mkdir(mode=0o700)
    (mine.parent / "private/version").write_text(SECRET)
    (mine / "proc").symlink_to(there)
    summary, results = attempts(*AS_NOBODY, copy_of("tests/confined", f"{GRANT}+ep"), "try", mine, "read", there / "version")
    if "files (Landlock) not" in summary:
        pytest.skip("this kernel has no Landlock")
    assert results[f"read {there}/version"] == ("ok" if named == "kernel's" else "EACCES")


def test_unneeded_system_calls_are_refused(confined):
    _word, results = attempts(*confined, "/")
    calls = {name: result for name, result in results.items() if name.startswith("call ")}
    print(f"{len(calls)} system calls")
    assert len(calls) > 70
    # A filter cannot see clone3's flags; without clone3, the C library creates threads with clone.
    assert {name: result for name, result in calls.items() if result != "EPERM"} == {"call clone3": "ENOSYS"}


def test_needed_system_calls_are_allowed(confined):
    _word, results = attempts(*confined, "/")
    needs = {name: result for name, result in results.items() if name.startswith("need ")}
    assert len(needs) >= 6 and set(needs.values()) == {"ok"}, needs


def test_reading_memory_allows_no_write_and_no_exec(build):
    """With the confinement of ksm-explain --estimate no file can be opened for writing, and no program started."""
    writes = {what: result for what, result in FILES.items() if result == "EPERM"}
    _word, results = attempts(build / "tests/confined", "memory", "/", *" ".join(writes).split())
    assert {name: results[name] for name in writes} == writes
    calls = {name: result for name, result in results.items() if name.startswith("call ") and result != "EPERM"}
    assert calls == {"call clone3": "ENOSYS"}
    assert results["need thread"] == "ok"


# What other users can make it do.

def run_as_nobody(program, *words, env=None, wrapper=(), ticks=0):
    """Run PROGRAM with WORDS as user nobody for TICKS; return its result, which must not contain the SECRET."""
    with Plugin(program, *words, before=[*wrapper, *AS_NOBODY], env=env) as running:
        running.wait_ticks(ticks)
        status = running.end_input()[0]
    print(running.log)
    assert SECRET not in running.text + running.log
    return SimpleNamespace(status=status, output=running.text, errors=running.log)


@pytest.fixture
def mine(public_path):
    """A directory `mine` of user nobody, with a file `secret` of root beside it that contains the SECRET."""
    secret = public_path / "secret"
    secret.write_text(f"{SECRET} 1\n")
    secret.chmod(0o600)
    directory = public_path / "mine"
    directory.mkdir()
    shutil.chown(directory, "nobody", "nogroup")
    return directory


def test_capable_plugin_reads_kernel_root(capable):
    if not LIVE_KSM.exists():
        pytest.skip("this kernel has no KSM")
    for words in ([], ["--root", "/"], ["--root", "//"]):
        said = run_as_nobody(capable, *words, *fixtures.ARGUMENTS)
        assert said.status == 0 and ("ksm.memory", "shared") in Agent(said.output).ticks[0]
        assert without_confinement(said.errors) == []


@pytest.mark.parametrize("how", ["option", "environment"])
def test_plugin_with_file_capability_refuses_other_root(how, capable, build, mine):
    tree = fixtures.make_tree(build, "6.18", mine / "tree")
    (tree / "sys/kernel/mm/ksm/pages_shared").write_text(f"{SECRET}\n")
    if how == "option":
        said = run_as_nobody(capable, "--root", tree)
    else:
        said = run_as_nobody(capable, env={"NETDATA_HOST_PREFIX": str(tree)})
    assert (said.status, said.output) == (1, "DISABLE\n")
    assert len(said.errors.splitlines()) == 1 and "not the kernel's own" in said.errors


# Contents of root's private directory at the path that the plugin opens: {name: function that creates it}.
PRIVATE = {
    "nothing": lambda path: None,
    "directory": lambda path: path.mkdir(parents=True),
    "file": lambda path: (path.parent.mkdir(parents=True), path.write_text(SECRET)),
    "loop": lambda path: (path.parent.mkdir(parents=True), path.symlink_to(path)),
    "file as parent": lambda path: (path.parent.parent.mkdir(parents=True), path.parent.write_text(SECRET)),
}


@pytest.mark.parametrize("program", ["ksm.plugin", "ksm-explain"])
def test_private_root_reveals_nothing(program, copy_of, mine):
    """Output does not depend on which files exist in a directory that the user may not enter."""
    copy = copy_of(program, f"{GRANT}+ep")
    private = mine.parent / "private"
    said = {}
    for name, make in PRIVATE.items():
        root = private / "root"
        make(root / "sys/kernel/mm/ksm")
        private.chmod(0o700) if private.exists() else private.mkdir(mode=0o700)
        done = subprocess.run([*AS_NOBODY, copy, f"--root={root}"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              check=False, timeout=READY_S)
        said[name] = (done.returncode, done.stdout, re.sub(r"\d+-\d+-\d+ \d+:\d+:\d+", "", done.stderr))
        shutil.rmtree(private)
    assert "KSM" in said["nothing"][1] + said["nothing"][2]
    assert {name: words for name, words in said.items() if words != said["nothing"]} == {}


def link_to_secret(path):
    """Make PATH a link to a file of root."""
    mine_of = next(parent for parent in path.parents if parent.name == "mine")
    path.symlink_to(mine_of.parent / "secret")


TRAPS = {
    "link": link_to_secret,
    "FIFO": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "terminal": lambda path: path.symlink_to("/dev/tty"),
    "loop": lambda path: path.symlink_to(path),
}


@pytest.mark.parametrize("lacking", [None, "landlock"])
@pytest.mark.parametrize("trap", TRAPS)
def test_unexpected_file_type_is_not_read(trap, lacking, capable, build, mine):
    """In place of KSM's directory, of a file in a simulated one, and of files beside the kernel's own."""
    wrapper = [build / "tests/confined", "lacking", lacking] if lacking else []
    tree = mine / "tree"
    (tree / "sys/kernel/mm").mkdir(parents=True)
    TRAPS[trap](tree / "sys/kernel/mm/ksm")
    said = run_as_nobody(capable, "--root", tree, wrapper=wrapper)
    assert (said.status, said.output) == (1, "DISABLE\n")
    (tree / "sys/kernel/mm/ksm").unlink()
    (tree / "sys/kernel/mm/ksm").mkdir()
    TRAPS[trap](tree / "sys/kernel/mm/ksm/pages_shared")
    said = run_as_nobody(capable, "--root", tree, wrapper=wrapper)
    assert (said.status, said.output) == (1, "DISABLE\n")
    check_traps_beside_the_kernel(trap, mine / "beside", capable, wrapper)


def check_traps_beside_the_kernel(trap, root, program, wrapper):
    """Check that of a ROOT with the kernel's /sys and a /proc full of traps only KSM's files are read."""
    if not LIVE_KSM.exists():
        return
    for directory in ("proc/1", "proc/2", "proc/self"):
        (root / directory).mkdir(parents=True)
        for name in ("stat", "schedstat", "comm", "cmdline", "cgroup", "statm", "ksm_stat", "ksm_merging_pages"):
            TRAPS[trap](root / directory / name)
    for name in ("vmstat", "meminfo"):
        TRAPS[trap](root / "proc" / name)
    (root / "sys").symlink_to("/sys")
    said = run_as_nobody(program, "--root", root, wrapper=wrapper)
    metrics = Agent(said.output.partition("CHART ksm.consumers")[0]).ticks[0]
    assert said.status == 0 and ("ksm.memory", "shared") in metrics
    assert not {"ksm.cow", "ksm.ksmd_cpu", "ksm.exposure"} & {chart for chart, _metric in metrics}


def test_proc_fd_directory_gives_no_access_to_other_files(ksm, capable, build, mine):
    """/proc/PID/fd is procfs, but its owner controls its entries: a descriptor 1 can look like a process directory."""
    process = mine / "process"
    process.mkdir()
    tree = Tree(mine / "tree", sharing=1)
    tree.process(Process(100, "x", merging=5, resident=10))
    shutil.copytree(tree.root / "proc/100", process, dirs_exist_ok=True)
    for name in ("comm", "cgroup", "cmdline"):
        (process / name).unlink()
        link_to_secret(process / name)
    root = mine / "root"
    root.mkdir()
    (root / "sys").symlink_to("/sys")
    wrapper = [build / "tests/confined", "lacking", "landlock"]
    directory = os.open(process, os.O_RDONLY)
    with Workload(build / "tests/workload", "pairs", 1000), \
            subprocess.Popen([*AS_NOBODY, "sleep", "600"], stdout=directory) as attacker:
        try:
            ksm.merge_all()
            (root / "proc").symlink_to(f"/proc/{attacker.pid}/fd")
            said = run_as_nobody(capable, "--root", root, "--consumers-interval=1", wrapper=wrapper, ticks=2)
        finally:
            attacker.kill()
            os.close(directory)
    assert said.status == 0 and "BEGIN ksm.memory\n" in said.output
    assert "ksm.consumer_" not in said.output


# Log messages.

def test_no_message_quotes_what_a_file_holds(build, make_tree):
    tree = make_tree("6.18")
    for path in tree.rglob("*"):
        if path.is_file() and path.name not in ("comm", "cmdline", "cgroup"):
            path.write_text(f"{SECRET}\n")
    with Plugin(build / "ksm.plugin", "--root", tree, "--consumers-interval=1") as running:
        running.wait_ticks(2)
        assert running.end_input()[0] == 0
    assert SECRET not in running.text + running.log
    assert len(running.errors.splitlines()) > 3, "there was something to complain of"
