# SPDX-License-Identifier: MIT
"""ksm-explain --estimate: it matches the memory that KSM frees, and leaves no more than marks of use in what it reads.

Live, as root.  tests/unit/explain/test_content_index.c covers the counting.  Tests with mergeable memory hold KSM's
lock (fixture ksm), as that memory would disturb other tests.
"""

import ctypes
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from daemons import die_with_parent, session_members, until
from live import RUNNING, STOPPED, UNMERGED, Workload
from test_live import Cgroup
from test_lock_holders import Holders
from world import Tree

pytestmark = pytest.mark.shipped

PAGES = 16384
MERGED_S = 300
RUN_S = 600             # the estimate runs at nice 19, so busy programs slow it down
OFF_BY = 0.02           # limit for the error, as a share of the memory that is read
FAILED, DENIED, PARTIAL = 1, 50, 51
AS_NOBODY = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
FREE, KEPT = 1, 0       # values of use_zero_pages


def explain(build, *words, wrapper=()):
    """Run ksm-explain --estimate WORDS; return what came of it."""
    return subprocess.run([*wrapper, build / "ksm-explain", "--estimate", "--cpu=100", *map(str, words)],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=RUN_S, check=False)


def estimate(build, *words):
    """Return the estimate for WORDS as {member: value}."""
    done = explain(build, "--json", *words)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


@pytest.fixture(autouse=True, scope="module")
def as_root():
    """Reading other users' memory requires root."""
    if os.geteuid() != 0:
        pytest.skip("reading the memory of other processes takes root")


# Before and after.

@pytest.fixture
def start(build, tmp_path):
    """A function that starts a workload in its own memory cgroup, and returns both."""
    group = Cgroup(f"ksm-estimate-{os.getpid()}")
    script = group.script(tmp_path / "workload", build / "tests/workload")
    yield group, lambda *words: Workload(script, *words)
    group.remove()


def thread_states(pid):
    """Return the state of each thread of a process, as in "RSD"."""
    return "".join(stat.read_text().rpartition(")")[2].split()[0] for stat in Path(f"/proc/{pid}/task").glob("*/stat"))


def counters(pid):
    """Return the counters of a process that reading could change: anonymous memory, swap, major faults."""
    status = Path(f"/proc/{pid}/status").read_text()
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return [re.search(rf"^{key}:\s+(\d+)", status, flags=re.MULTILINE)[1]
            for key in ("RssAnon", "VmSwap")] + [stat[9]]


def merge(ksm):
    """Let ksmd scan until it frees nothing more."""
    ksm.set("run", RUNNING)
    since = ksm.number("full_scans")
    ksm.wait(lambda: ksm.number("full_scans") >= since + 5, MERGED_S, "five full scans")
    ksm.set("run", STOPPED)


LONG = [pytest.param(pattern, KEPT, marks=pytest.mark.long)
        for pattern in ("triples", "identical", "unique", "zeros", "forked", "demo")]


@pytest.mark.parametrize("pattern, zero_pages", [
    ("pairs", KEPT), ("zeros", FREE), ("huge", KEPT), *LONG,
])
def test_estimate_matches_freed_memory(pattern, zero_pages, ksm, start, build, page_size):
    group, workload = start
    ksm.set("run", UNMERGED)
    ksm.set_all({"use_zero_pages": zero_pages})
    with workload(pattern, 32 if pattern == "demo" else PAGES) as running:
        pids = session_members(running.process.pid)
        untouched = [counters(pid) for pid in pids]
        before = estimate(build, *pids)
        assert [counters(pid) for pid in pids] == untouched or pattern == "demo"
        charged = group.charge()
        merge(ksm)
        freed = (charged - group.charge()) * page_size
        merged = group.charge()
        after = estimate(build, *pids)
        print(f"{pattern:10} {zero_pages} read {before['read_bytes']} said {before['further_bytes']} freed {freed} "
              f"then {after['further_bytes']}")
        assert abs(before["further_bytes"] - freed) <= OFF_BY * before["read_bytes"]
        assert after["further_bytes"] <= OFF_BY * before["read_bytes"]
        # The kernel charges and uncharges pages in batches of 64 per CPU, at any time.
        assert pattern == "demo" or (group.charge() - merged) * page_size <= OFF_BY * before["read_bytes"], \
            "reading has undone merging"
        assert (before["huge_bytes"] > 0, before["split_bytes"] > 0) == (pattern == "huge",) * 2
        assert (before["zero_bytes"] > 0) == (pattern in ("zeros", "demo"))
        assert pattern == "demo" or before["processes"] == len(pids)


MIX = ("pairs", "triples", "zeros", "unique", "forked", "huge")


@pytest.mark.long
def test_estimate_of_gibibytes_of_mixed_pages(ksm, start, build, page_size):
    """With memory for all pages, and with a sixteenth of that: then the actual error is within the stated one."""
    group, workload = start
    ksm.set("run", UNMERGED)
    with ExitStack() as stack:
        for kind, pattern in enumerate(MIX, 1):
            stack.enter_context(workload(pattern, 1 << 17, kind))
        pids = (group.path / "cgroup.procs").read_text().split()
        said = [estimate(build, memory, *pids) for memory in ("--memory=64", "--memory=1")]
        charged = group.charge()
        merge(ksm)
        freed = (charged - group.charge()) * page_size
    for one in said:
        print(f"1 in {one['sampled_one_in']} read {one['read_bytes']} said {one['further_bytes']} "
              f"give or take {one['error_bytes']} freed {freed} in {one['milliseconds']} ms")
        assert abs(one["further_bytes"] - freed) <= OFF_BY * one["read_bytes"]
    assert [one["sampled_one_in"] > 1 for one in said] == [False, True] and said[0]["error_bytes"] == 0
    assert abs(said[1]["further_bytes"] - said[0]["further_bytes"]) <= 2 * said[1]["error_bytes"]


def test_consumers_add_up_and_include_merged_pages(ksm, build):
    """By name: two workloads with the same pages, each of which could save one half."""
    ksm.set("run", UNMERGED)
    with Workload(build / "tests/workload", "pairs", PAGES), Workload(build / "tests/workload", "pairs", PAGES) as two:
        whole = estimate(build, "program workload")
        half = estimate(build, two.pid)
        merge(ksm)
        later = estimate(build, "workload")
    parts = whole["consumers"]
    assert [(part["kind"], part["name"], part["processes"]) for part in parts] == [("program", "workload", 2)]
    assert parts[0]["further_bytes"] == whole["further_bytes"] and parts[0]["merged_bytes"] == 0
    assert half["further_bytes"] < 0.4 * whole["further_bytes"], "a process is compared with itself alone"
    assert half["consumers"][0]["merged_bytes"] is None, "not all of it was read"
    assert later["merged_bytes"] == pytest.approx(whole["further_bytes"], rel=OFF_BY)


# Processes that change meanwhile.

SHARED_MIB = 100
CHILDREN = {
    # A mapping of 32 TiB with one page in it.
    "sparse": "import mmap; m = mmap.mmap(-1, 32 << 40, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000);"
              "m[5 << 40] = 1",
    "name": "open('/proc/self/comm', 'w').write('a\\x1b[1m\\n\"{x}%s')",
    "stopped": "import os, signal; print('ready', flush=True); os.kill(os.getpid(), signal.SIGSTOP)",
    "unreadable": "import mmap, ctypes; m = mmap.mmap(-1, 1 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS);"
                  "m.write(b'x' * (1 << 20));"
                  "a = ctypes.addressof(ctypes.c_char.from_buffer(m)); ctypes.CDLL(None).mprotect("
                  "ctypes.c_void_p(a), 1 << 20, 0)",
    # Its status has a line of 22 kB.
    "groups": "import os; os.setgroups(range(4 * 10**9, 4 * 10**9 + 2000))",
    "shared": f"import mmap; m = mmap.mmap(-1, {SHARED_MIB} << 20); m.write(b'x' * ({SHARED_MIB} << 20))",
}


@pytest.fixture
def children():
    """The pids of one process of each kind."""
    with ExitStack() as stack:
        pids = []
        for script in CHILDREN.values():
            child = stack.enter_context(subprocess.Popen(
                [sys.executable, "-c", f"{script}; print('ready', flush=True); input()"], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, preexec_fn=die_with_parent(os.getpid())))
            stack.callback(child.kill)
            assert child.stdout.readline() == b"ready\n"
            pids.append(child.pid)
        yield pids


def test_estimate_reads_any_process(children, build):
    page = explain(build, *children, children[0])
    assert page.returncode == 0 and page.stdout.replace("\n", "").isprintable()
    assert all(len(line) <= 80 for line in page.stdout.splitlines())
    found = estimate(build, *children, children[0])
    assert found["processes"] == len(children) and found["milliseconds"] < RUN_S * 1000 / 2
    assert found["read_bytes"] < SHARED_MIB << 20, "what is shared is not read, nor is a hole"
    assert sum(part["processes"] for part in found["consumers"]) == len(children)


@pytest.mark.usefixtures("ksm")
def test_estimate_survives_starting_and_exiting_processes(build):
    with Workload(build / "tests/workload", "churn", 300), Workload(build / "tests/workload", "processes", 500):
        found = estimate(build)
    assert found["processes"] > 500 and not found["partial"]


SLOW_MIB = 256
BEGUN = 8 << 20         # bytes read
SLOW = (f"import os; block = os.urandom({SLOW_MIB} << 20); print('ready', flush=True); input();"
        "os.execv('/bin/sleep', ['sleep', '9'])")


@pytest.fixture
def target():
    """A process that executes another program after reading a line."""
    with subprocess.Popen([sys.executable, "-c", SLOW], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        yield process
        process.kill()


@pytest.fixture
def slow(build, target):
    """A function that starts an estimate of `target` that takes many seconds, with or without a terminal."""
    def start_slow(*words, **options):
        argv = [build / "ksm-explain", "--estimate", "--cpu=1", *words, str(target.pid)]
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, **options)
    return start_slow


def wait_reading(running):
    """Wait until the estimate RUNNING has read some of the memory; the rest takes seconds."""
    until(lambda: int(re.search(r"rchar: (\d+)", Path(f"/proc/{running.pid}/io").read_text())[1]) > BEGUN, RUN_S,
          "an estimate that reads")


def test_process_that_executes_another_program_is_not_read(slow, target):
    """A process that executes another program meanwhile counts as ended."""
    with slow("--json") as running:
        wait_reading(running)
        target.stdin.write(b"\n")
        target.stdin.flush()
        found = json.loads(running.communicate(timeout=RUN_S)[0])
    assert found["ended"] == 1 and 0 < found["read_bytes"] < SLOW_MIB << 20


@pytest.fixture
def small():
    """The PID of a small process."""
    with subprocess.Popen(["sleep", "infinity"], preexec_fn=die_with_parent(os.getpid())) as process:
        yield process.pid
        process.kill()


def start_as(pid):
    """Start a process with this PID, which is free; return it."""
    set_tid = ctypes.c_int(pid)
    # struct clone_args of linux/sched.h
    arguments = (ctypes.c_uint64 * 10)(0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, ctypes.addressof(set_tid), 1)
    child = ctypes.CDLL(None, use_errno=True).syscall(435, ctypes.byref(arguments), ctypes.sizeof(arguments))
    if child == 0:
        os.execvp("sleep", ["sleep", "infinity"])
    assert child == pid, os.strerror(ctypes.get_errno())
    return child


def test_process_of_a_reused_pid_is_not_read(slow, target, small):
    with subprocess.Popen(["sleep", "infinity"], preexec_fn=die_with_parent(os.getpid())) as process:
        with slow("--json", "--cpu=4", str(target.pid), str(small), str(process.pid)) as running:
            wait_reading(running)
            process.kill()
            process.wait()
            other = start_as(process.pid)
            target.stdin.write(b"\n")
            target.stdin.flush()
            found = json.loads(running.communicate(timeout=RUN_S)[0])
        os.kill(other, signal.SIGKILL)
        os.waitpid(other, 0)
    assert (found["ended"], found["processes"]) == (2, 1)


@pytest.mark.usefixtures("ksm")
@pytest.mark.parametrize("number", [2, pytest.param(100, marks=pytest.mark.long)])
def test_blocking_processes_are_skipped(number, build):
    with Holders(build / "tests/lockholder", number, 1) as holders:
        holders.hold()
        found = estimate(build)
        holders.release()
    assert found["blocking"] == number and found["processes"] > 1 and not found["partial"]


# A process that executes another program holds its exec_update_lock: reading its stat, opening its files and kcmp()
# block.

TIMEOUT_S = 2           # of one call that blocks


@pytest.fixture
def exec_holder(build):
    """A process that can hold its exec_update_lock."""
    with Holders(build / "tests/lockholder", 1, exec_name="ksm-holder") as holders:
        yield holders
        holders.release()


@pytest.fixture
def blocked(exec_holder, small, slow, target):
    """An estimate of small and of a process that began to hang in exec after it was listed; its thread is blocked."""
    with slow("--json", "--cpu=4", str(target.pid), str(small), *map(str, exec_holder.pids)) as running:
        wait_reading(running)
        exec_holder.hold()
        target.stdin.write(b"\n")
        target.stdin.flush()
        until(lambda: "D" in thread_states(running.pid), RUN_S, "a blocked thread")
        yield running
        running.kill()


def test_process_that_hangs_in_exec_is_left_out(exec_holder, small, build):
    exec_holder.hold()
    found = estimate(build, *exec_holder.pids, small)
    assert (found["blocking"], found["processes"], found["partial"]) == (1, 1, False)


def test_process_that_hangs_in_exec_later_is_left_out(blocked):
    found = json.loads(blocked.communicate(timeout=RUN_S)[0])
    assert (found["blocking"], found["processes"], found["partial"]) == (1, 1, False)


def test_first_interrupt_ends_a_blocked_estimate(blocked):
    interrupted = time.monotonic()
    blocked.send_signal(signal.SIGINT)
    found = json.loads(blocked.communicate(timeout=RUN_S)[0])
    assert time.monotonic() - interrupted < TIMEOUT_S / 2, "it waits for the timeout"
    assert (blocked.returncode, found["processes"], found["partial"]) == (PARTIAL, 1, True)


# Names.

LONG_NAME = "ksm-test-of-a-long-name"       # the kernel cuts a comm to 15 characters


@pytest.fixture(scope="module")
def long_named(tmp_path_factory):
    """The PID of a program of LONG_NAME."""
    program = shutil.copy(shutil.which("sleep"), tmp_path_factory.mktemp("names") / LONG_NAME)
    with subprocess.Popen([program, "infinity"], preexec_fn=die_with_parent(os.getpid())) as process:
        until(lambda: Path(f"/proc/{process.pid}/comm").read_text().strip() == LONG_NAME[:15], RUN_S, "the program")
        yield process.pid
        process.kill()


@pytest.mark.parametrize("word", [LONG_NAME, LONG_NAME[:15], LONG_NAME[:-3], f"program:{LONG_NAME[:15]}"],
                         ids=["program", "comm", "prefix", "consumer"])
def test_program_is_found_by_name(word, long_named, build):
    of_pid, of_name = (estimate(build, words) for words in (long_named, word))
    assert of_name["processes"] == of_pid["processes"] == 1 and of_name["read_bytes"] > 0


@pytest.mark.usefixtures("long_named")
def test_unknown_name_gets_nearest_suggestion(build):
    done = explain(build, LONG_NAME.replace("long", "lnog"))
    assert (done.returncode, done.stdout) == (FAILED, "")
    assert re.search(f'"ksm-test-of-a-lnog-name"; similar names: .*{LONG_NAME}', done.stderr)


# Permissions and exit.

@pytest.mark.parametrize("grant", [None, "cap_sys_ptrace,cap_dac_read_search+ep"])
def test_missing_permission_is_explained(grant, build):
    """A file capability is not enough: its user would learn which pages of other users are equal."""
    with tempfile.TemporaryDirectory(prefix="ksm-test-") as directory:
        os.chmod(directory, 0o755)
        copy = shutil.copy(build / "ksm-explain", directory)
        if grant and subprocess.run(["/usr/sbin/setcap", grant, copy], check=False).returncode != 0:
            pytest.skip(f"{directory} takes no capabilities of files")
        done = explain(Path(directory), os.getpid(), wrapper=AS_NOBODY)
    assert (done.returncode, done.stdout) == (DENIED, "")
    assert done.stderr == "ksm-explain: none of these processes may be read: run it with sudo\n"


def test_missing_capabilities_of_root_are_named(build):
    """As in a container, where sudo does not help."""
    done = explain(build, os.getpid(), wrapper=["setpriv", "--bounding-set=-sys_ptrace"])
    assert (done.returncode, done.stdout) == (DENIED, "")
    assert "this requires the capabilities CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH\n" in done.stderr


def test_lack_of_threads_is_named(copy_of):
    done = explain(copy_of("ksm-explain").parent, wrapper=[*AS_NOBODY, "prlimit", "--nproc=1"])
    assert (done.returncode, done.stdout, done.stderr) == (FAILED, "", "ksm-explain: no thread can be started\n")


def test_lack_of_descriptors_is_named(build):
    """With few, reading fails before the first process, or at it."""
    messages = {explain(build, os.getpid(), wrapper=["prlimit", f"--nofile={limit}"]).stderr for limit in (13, 14)}
    assert "ksm-explain: Too many open files\n" in messages, messages


@pytest.mark.parametrize("words", [[], ["web"]])
def test_tree_without_processes_has_no_estimate(words, build, tmp_path):
    """The report has no number, not even the host's savings."""
    tree = Tree(tmp_path / "tree", sharing=21_000, shared=100)
    done = subprocess.run([build / "ksm-explain", "--estimate", "--root", tree.root, *words], capture_output=True,
                          text=True, timeout=RUN_S, check=False)
    assert (done.returncode, done.stdout) == (DENIED, "")
    assert done.stderr == ("ksm-explain: no process was read: "
                           f"{tree.root}/proc shows none (is the host's /proc mounted there?)\n")


def test_hidden_processes_are_named_as_the_reason(build):
    """As a user who may not even read their own processes, with hidepid=2."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("mounting /proc takes root")
    script = ('mount -t proc -o hidepid=2 proc /proc && '
              'setpriv --reuid=65533 --regid=65533 --clear-groups --bounding-set=-all "$@"; exit $?')
    done = subprocess.run(["unshare", "--mount", "--pid", "--fork", "--propagation=private", "sh", "-c", script, "sh",
                           build / "ksm-explain", "--estimate"], capture_output=True, text=True, timeout=RUN_S,
                          check=False)
    assert (done.returncode, done.stdout) == (DENIED, "")
    assert done.stderr.endswith("(hidepid); run it with sudo\n"), done.stderr


@pytest.mark.parametrize("words, says", [
    (["no such program"], '"no such program"'),
    (["vm:"], '"vm:"'),
    ([""], '""'),
    (["4194305"], "no process with memory of its own has the PID 4194305"),
    (["machine:web"], "kinds of consumers: vm, container, service, program"),
    (["--cpu=0"], "--cpu"), (["--cpu=101%"], "--cpu"), (["--cpu="], "--cpu"), (["--memory=x"], "--memory"),
])
def test_invalid_arguments_get_no_estimate(words, says, build):
    done = explain(build, *words)
    assert (done.returncode, done.stdout) == (FAILED, "") and says in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_prints_partial_estimate(number, slow):
    with slow("--json") as running:
        wait_reading(running)
        running.send_signal(number)
        found = json.loads(running.stdout.read())
    assert running.returncode == PARTIAL and found["partial"] and 0 < found["read_bytes"] < SLOW_MIB << 20


def test_estimate_is_confined_and_throttled(slow):
    """One percent of a core at normal priority (see pagemap.h), few capabilities, and a system call filter."""
    with slow() as running:
        wait_reading(running)
        time.sleep(1)
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{running.pid}/status").read_text().splitlines())
        spent = sum(map(int, Path(f"/proc/{running.pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
        nice = os.getpriority(os.PRIO_PROCESS, running.pid)
        running.kill()
    assert int(status["CapEff"], 16) & ~(1 << 2 | 1 << 19 | 1 << 21) == 0
    assert (status["NoNewPrivs"], status["Seccomp"], nice) == ("1", "2", os.getpriority(os.PRIO_PROCESS, 0))
    assert spent <= 0.2 * os.sysconf("SC_CLK_TCK")


def test_it_leaves_no_core_dump(build):
    """Not even to the user who started it: the files of the process are root's, and it can read all the same."""
    with tempfile.TemporaryDirectory(prefix="ksm-test-") as directory:
        os.chmod(directory, 0o755)
        copy = shutil.copy(build / "ksm-explain", directory)
        with subprocess.Popen([*AS_NOBODY, sys.executable, "-c", SLOW], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"ready\n"
            with subprocess.Popen([*AS_NOBODY, copy, "--estimate", "--cpu=1", str(process.pid)],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as running:
                wait_reading(running)
                owners = [os.stat(f"/proc/{pid}/maps").st_uid for pid in (running.pid, process.pid)]
                running.kill()
            process.kill()
    assert owners[0] == 0 and owners[1] != 0


def test_progress_on_a_terminal(slow):
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    shown = ""

    def all_shown():
        nonlocal shown
        if select.select([ours], [], [], 0)[0]:
            shown += os.read(ours, 65536).decode()
        return re.search(r"\rreading +\[#+\.*\] \d+:\d\d left", shown)
    with slow(stderr=theirs) as running:
        until(lambda: "\rreading" in shown or all_shown(), RUN_S, "progress")
        began = time.monotonic()
        until(all_shown, RUN_S, "the time left")
        assert time.monotonic() - began > 3, "a time left that cannot be known yet"
        running.send_signal(signal.SIGINT)
        running.stdout.read()
    os.close(ours)
    os.close(theirs)


def test_closed_pipe_ends_estimate(build):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([build / "ksm-explain", "--estimate", str(os.getpid())], stdin=subprocess.DEVNULL,
                          stdout=writer, stderr=subprocess.PIPE, timeout=RUN_S, check=False)
    os.close(writer)
    assert done.returncode != 0 and done.stderr == b""
