# SPDX-License-Identifier: MIT
"""ksm-explain --sharing: it equals the kernel's page tables and its counter to the page, and changes nothing.

Live, as root.  tests/unit/explain/test_sharing.c covers the counting and the report.
"""

import json
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from itertools import combinations
from pathlib import Path

import jsonschema
import pytest

from conftest import AS_NOBODY, REPOSITORY
from daemons import Both, die_with_parent, session_members, until
from live import RUNNING, STOPPED, UNMERGED, Workload
from test_consumers_live import CONTAINER, CONTAINER_ID, MACHINE, QEMU, SCOPE, SERVICE, Cgroups
from test_lock_holders import Holders

pytestmark = pytest.mark.shipped

PAGES = 2048
RUN_S = 300
FAILED, DENIED, PARTIAL = 1, 50, 51
SCHEMA = json.loads((REPOSITORY / "common/explain/ksm-sharing.schema.json").read_text())
OTHER_CONTAINER = "f00d" * 16
PLAIN = "ksmtest"       # a cgroup that is neither a session nor a service
NOBODY, DAEMON = (int(subprocess.run(["id", "-u", user], capture_output=True, text=True, check=True).stdout)
                  for user in ("nobody", "daemon"))


@pytest.fixture(autouse=True, scope="module")
def as_root():
    """Frame numbers are for root."""
    if os.geteuid() != 0:
        pytest.skip("page frame numbers take root")
    if not Path("/proc/kpageflags").exists():
        pytest.skip("this kernel has no /proc/kpageflags (CONFIG_PROC_PAGE_MONITOR)")


def explain(build, *words, wrapper=()):
    """Run ksm-explain --sharing WORDS; return what came of it."""
    return subprocess.run([*wrapper, build / "ksm-explain", "--sharing", "--cpu=100", *map(str, words)],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=RUN_S, check=False)


def sharing(build, *words):
    """Return the report for WORDS as {member: value}."""
    done = explain(build, "--json", *words)
    assert (done.returncode, done.stderr) == (0, "")
    return parsed(done.stdout)


def parsed(text):
    """Return the report TEXT, which follows the schema."""
    found = json.loads(text)
    jsonschema.validate(found, SCHEMA)
    return found


# Processes.

class Known(Workload):
    """A process with known contents."""

    def __init__(self, program, contents, guest=None, user=None):
        """CONTENTS are (first, number, times); GUEST is the name of a virtual machine, if PROGRAM is called as one."""
        super().__init__(program, "known", user=user)
        self.argv += [":".join(map(str, words)) for words in contents] + (["-name", f"guest={guest}"] if guest else [])

    def fork(self):
        """Let it fork a child, which shares all of its memory."""
        self.process.stdin.write("f")
        self.process.stdin.flush()
        self.wait_ready()


@pytest.fixture
def start(ksm, build, public_path):
    """A function that starts a process in a cgroup, called NAME, until the end of the test; it returns the workload."""
    ksm.set("run", UNMERGED)
    with ExitStack() as stack:
        cgroups = stack.enter_context(Cgroups())

        def begin(kind, *words, name="workload", cgroup=SCOPE, **options):
            copy = public_path / name
            if not copy.exists():
                shutil.copy(build / "tests/workload", copy)
            workload = stack.enter_context(kind(copy, *words, **options))
            for pid in session_members(workload.pid):
                cgroups.add(cgroup, pid)
            return workload
        yield begin


def saved_by_smaps(pid, single_bytes):
    """Return Rss - Pss in bytes of the mappings of process PID that have merged pages, and their number.

    Besides those a mapping has at most SINGLE_BYTES, of single pages, which count in full in both.
    """
    saved, mappings, sizes = 0, 0, {}
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        key, value, *_unit = line.split()
        if key in ("Rss:", "Pss:", "KSM:"):
            sizes[key] = int(value) * 1024
        if key == "VmFlags:" and sizes["KSM:"] > 0:
            assert sizes["Rss:"] - sizes["KSM:"] <= single_bytes
            saved += sizes["Rss:"] - sizes["Pss:"]
            mappings += 1
    return saved, mappings


def check_smaps(consumer, pids, single_bytes):
    """Check the saving of CONSUMER, which has the processes PIDS. The kernel cuts Pss off to a kB, for each mapping."""
    saved, mappings = map(sum, zip(*(saved_by_smaps(pid, single_bytes) for pid in pids)))
    print(f"{consumer['kind']} {consumer['name']}: {consumer['saved_bytes']}, Rss - Pss {saved}")
    assert mappings > 0 and saved - 1024 * mappings <= consumer["saved_bytes"] <= saved + 16
    assert consumer["saved_within_bytes"] + consumer["saved_with_others_bytes"] == \
        pytest.approx(consumer["saved_bytes"], abs=1)


def check_total(found, ksm, page_size):
    """Check the saving in all: it equals the kernel's counter, and the sum of its parts."""
    assert found["saved_bytes"] == found["counter_bytes"] == ksm.number("pages_sharing") * page_size
    assert sum(consumer["saved_bytes"] for consumer in found["consumers"]) + found["others_bytes"] == \
        pytest.approx(found["saved_bytes"], abs=len(found["consumers"]) + 1)
    assert (found["others_bytes"], found["method"], found["sampled_one_in"]) == (0, "flags", 1)


@pytest.mark.parametrize("pattern", ["pairs", "triples", "identical", "zeros", "forked"])
def test_saving_equals_smaps_and_counter(pattern, start, ksm, build, page_size):
    pids = session_members(start(Workload, pattern, PAGES).pid)
    ksm.merge_all()
    found = sharing(build)
    [consumer] = found["consumers"]
    check_smaps(consumer, pids, page_size)
    check_total(found, ksm, page_size)
    assert consumer["merged_bytes"] == PAGES * len(pids) * page_size
    assert consumer["saved_within_bytes"] == found["saved_bytes"] and found["between_owners_bytes"] == 0


def test_containers_equal_smaps_and_counter(start, ksm, build, page_size):
    """Two containers with equal pages, of which one has further pages in pairs."""
    one, other = (start(Workload, pattern, pages, cgroup=f"docker/{name}", name=f"c-{name[:4]}", user="nobody")
                  for pattern, pages, name in (("unique", PAGES, CONTAINER_ID), ("pairs", 2 * PAGES, OTHER_CONTAINER)))
    ksm.merge_all()
    found = sharing(build)
    by_name = {consumer["name"]: consumer for consumer in found["consumers"]}
    for workload, name in ((one, CONTAINER_ID), (other, OTHER_CONTAINER)):
        check_smaps(by_name[name[:12]], [workload.pid], page_size)
        assert by_name[name[:12]]["owner"] == f"container {name[:12]}"
    check_total(found, ksm, page_size)
    assert found["between_owners_bytes"] == PAGES * page_size
    assert [(pair["a"], pair["b"], pair["merged_bytes"]) for pair in found["owner_pairs"]] == [
        (f"container {CONTAINER_ID[:12]}", f"container {OTHER_CONTAINER[:12]}", PAGES * page_size)]


# Real virtual machines, which boot one image.

GUEST_MIB, GUEST_PAGES, GUEST_PAIRS = 64, 8192, 1024     # pages of 4 kB


def image():
    """Return a kernel by the Multiboot specification, in machine code of the 80386.

    It writes a number into each of GUEST_PAGES pages from 2 MiB on, other numbers into GUEST_PAIRS pairs of pages,
    and "ready" to the serial port; then it halts for good.
    """
    code = bytes.fromhex("bf00002000 b9") + struct.pack("<I", GUEST_PAGES) + bytes.fromhex(
        "31c0"                                          # xor eax, eax
        "40 8907 81c700100000 e2f5"                     # inc eax; mov [edi], eax; add edi, 4096; loop
        "b9") + struct.pack("<I", GUEST_PAIRS) + bytes.fromhex(
        "40 8907 898700100000 81c700200000 e2ef"        # the same, and mov [edi + 4096], eax; add edi, 8192
        "e800000000 5e 83c614 66baf803"                 # call the next; pop esi; add esi, 20: the text; mov dx, 0x3f8
        "ac 84c0 7403 ee ebf8"                          # lodsb, and out dx, al, until it is 0
        "fa f4 ebfc") + b"ready\n\0"                  # cli; hlt; again
    base, flags, magic = 1 << 20, 1 << 16, 0x1badb002
    end = base + 32 + len(code)
    return struct.pack("<8I", magic, flags, -(magic + flags) & 0xffffffff, base, base, end, end, base + 32) + code


class Guest(Workload):
    """A QEMU that boots an image; the guest itself reports that it is ready."""

    def __init__(self, program, path, name):
        super().__init__(program, "")
        self.argv = [QEMU, "-accel", "tcg", "-display", "none", "-nodefaults", "-monitor", "none", "-serial", "stdio",
                     "-machine", "pc,mem-merge=on", "-m", str(GUEST_MIB), "-kernel", path, "-name", f"guest={name}"]

    def stop(self):
        """Kill it: it does not exit at the end of its input."""
        if self.process:
            self.process.kill()
        super().stop()


@pytest.mark.long
def test_three_virtual_machines_of_one_image_equal_smaps_and_counter(start, ksm, build, page_size, tmp_path):
    """They are stopped while they are read, as they would be by the monitor's command "stop"."""
    if not shutil.which(QEMU):
        pytest.skip(f"{QEMU} is not installed")
    (tmp_path / "image").write_bytes(image())
    guests = {f"web-{i}": start(Guest, tmp_path / "image", f"web-{i}", cgroup=PLAIN) for i in (1, 2, 3)}
    ksm.set("run", RUNNING)
    ksm.wait(lambda: ksm.number("pages_sharing") > 2 * GUEST_PAGES, RUN_S, "merged pages")
    for guest in guests.values():
        os.kill(guest.pid, signal.SIGSTOP)
    ksm.merge_all()
    found = sharing(build)
    check_total(found, ksm, page_size)
    by_name = {row["name"]: row for row in found["consumers"]}
    assert by_name.keys() == guests.keys()
    for name, guest in guests.items():
        check_smaps(by_name[name], [guest.pid], GUEST_MIB << 20)
        assert by_name[name]["owner"] == f"vm {name}"
        assert by_name[name]["saved_within_bytes"] >= GUEST_PAIRS << 12
        assert by_name[name]["saved_with_others_bytes"] >= (GUEST_PAGES + GUEST_PAIRS) * 2 // 3 << 12
    print(f"in all: {found['saved_bytes']}, pages_sharing {ksm.number('pages_sharing') * page_size}")
    assert found["between_owners_bytes"] >= GUEST_PAGES + GUEST_PAIRS << 12
    assert len(found["owner_pairs"]) == 3


# An oracle of its own: processes of which the test knows all contents.

class Expected:
    """The truth: how often each consumer has each content."""

    def __init__(self):
        self.contents = {}      # {content: Counter of consumers}
        self.owners = {}        # {consumer: owner}

    def add(self, consumer, owner, contents):
        """Add a process."""
        self.owners[consumer] = owner
        for first, number, times in contents:
            for content in range(first, first + number):
                self.contents.setdefault(content, Counter())[consumer] += times

    def saved(self, consumer):
        """Return the pages that CONSUMER saves: in all, within itself, with others."""
        parts = [(mappings[consumer] - 1, 1 - mappings[consumer] / mappings.total())
                 for mappings in self.contents.values() if mappings[consumer] > 0]
        within, others = map(sum, zip(*parts))
        return within + others, within, others

    def all_saved(self):
        """Return the pages that are saved in all."""
        return sum(mappings.total() - 1 for mappings in self.contents.values())

    def pairs(self, side):
        """Return {(a, b): contents} of pairs of what SIDE makes of consumers."""
        found = Counter()
        for mappings in self.contents.values():
            found.update(combinations(sorted({side(consumer) for consumer in mappings}), 2))
        return found

    def across(self):
        """Return the contents that several owners have."""
        return sum(len({self.owners[consumer] for consumer in mappings}) > 1 for mappings in self.contents.values())


USER_OF = {"root": 0, "nobody": NOBODY, "daemon": DAEMON}
MEMBERS = [     # consumer, program, cgroup, user, guest
    ("vm guest-1", "qemu-system-x86_64", PLAIN, "nobody", "guest-1"),
    ("vm ksmtest", "vm", MACHINE, "daemon", None),
    (f"container {CONTAINER_ID[:12]}", "in-container", CONTAINER, "root", None),
    (f"container {CONTAINER_ID[:12]}", "in-container", CONTAINER, "nobody", None),
    ("service ksmtest", "served", SERVICE, "daemon", None),
    ("program ksmtest-a", "ksmtest-a", SCOPE, "daemon", None),
    ("program ksmtest-b", "ksmtest-b", SCOPE, "nobody", None),
]


def random_contents(seed):
    """Return up to ten ranges of contents that partly overlap those of other seeds."""
    numbers = random.Random(seed)
    return [(numbers.randrange(1, 400), numbers.randrange(1, 200), numbers.choice((1, 1, 1, 2, 5)))
            for _ in range(numbers.randrange(3, 10))]


def pairs_of(rows):
    """Return {(a, b): bytes} of ROWS of pairs."""
    return {tuple(sorted((row["a"], row["b"]))): row["merged_bytes"] for row in rows}


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 12))])
def test_known_contents_are_reported_exactly(seed, start, ksm, build, page_size):
    """Members of all kinds, with contents that are chosen at random."""
    truth = Expected()
    for i, (consumer, program, cgroup, user, guest) in enumerate(MEMBERS):
        contents = random_contents(100 * seed + i)
        start(Known, contents, name=program, cgroup=cgroup, user=user, guest=guest)
        is_user = consumer.startswith(("service", "program"))
        truth.add(consumer, f"user {USER_OF[user]}" if is_user else consumer, contents)
    ksm.merge_all()
    found = sharing(build)
    check_total(found, ksm, page_size)
    assert found["saved_bytes"] == truth.all_saved() * page_size
    assert found["between_owners_bytes"] == truth.across() * page_size
    for row in found["consumers"]:
        consumer = f"{row['kind']} {row['name']}"
        assert row["owner"] == truth.owners[consumer]
        assert [row["saved_bytes"], row["saved_within_bytes"], row["saved_with_others_bytes"]] == \
            pytest.approx([pages * page_size for pages in truth.saved(consumer)], abs=1)
    assert {f"{row['kind']} {row['name']}" for row in found["consumers"]} == truth.owners.keys()
    for rows, side in (("pairs", str), ("owner_pairs", truth.owners.get)):
        assert pairs_of(found[rows]) == {pair: pages * page_size for pair, pages in truth.pairs(side).items()}


def test_two_users_and_a_machine_are_three_owners(start, ksm, build, tmp_path):
    """The machine runs as one of these users."""
    for name, user, guest in (("a", "nobody", None), ("b", "nobody", None), ("c", "daemon", None),
                              ("qemu-system-x86_64", "daemon", "web")):
        start(Known, [(1, 256, 1)], name=name, cgroup=PLAIN, user=user, guest=guest)
    ksm.merge_all()
    report = " ".join(explain(build).stdout.split())
    assert " 1.0 MiB are merged between 3 owners: " in report
    assert {"vm web", f"user {NOBODY}", f"user {DAEMON}"} == set(
        re.split(", | and ", re.search(r"3 owners: (.*?)\. ", report)[1]))
    done = subprocess.run([build / "ksm-explain", "--json"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=RUN_S, check=False)
    assert json.loads(done.stdout)["owners"] == 3
    with ExitStack() as stack:
        daemons = Both(stack, build, tmp_path, {"ConsumersInterval": 1})
        daemons.wait_first("ksm/gauge-owners", ("ksm.owners", "owners"))
        shown = [daemons.collectd.values()["ksm/gauge-owners"][1], daemons.netdata.values()["ksm.owners", "owners"][1]]
    print(f"collectd, Netdata: {shown}")
    assert shown == [3, 3]


def test_names_select_rows_of_all_that_is_read(start, ksm, build, page_size):
    """The named program is shown with its part of all merged pages."""
    for name in "abc":
        start(Known, [(1, 300, 1)], name=name)
    ksm.merge_all()
    found = sharing(build, "program:b")
    assert [row["name"] for row in found["consumers"]] == ["b"]
    assert found["consumers"][0]["saved_bytes"] == 200 * page_size and found["saved_bytes"] == 600 * page_size
    assert pairs_of(found["pairs"]) == {("program a", "program b"): 300 * page_size,
                                        ("program b", "program c"): 300 * page_size}


def test_fork_of_merged_memory_counts_at_once_and_in_counter_later(start, ksm, build, page_size):
    forking = start(Known, [(1, 300, 2)])
    ksm.merge_all()
    forking.fork()
    [child] = set(session_members(forking.pid)) - {forking.pid}
    found = sharing(build)
    assert (found["saved_bytes"], found["counter_bytes"]) == (900 * page_size, 300 * page_size)
    report = " ".join(explain(build).stdout.split())
    assert "Saved 3.5 MiB, by merging. The kernel counts 1.2 MiB: 2.3 MiB is of pages that were forked," in report
    ksm.merge_all()
    found = sharing(build)
    check_total(found, ksm, page_size)
    check_smaps(found["consumers"][0], [forking.pid, child], page_size)
    assert found["saved_bytes"] == 900 * page_size


ZEROS = 80000           # more than there are records in a MiB


def test_kernels_zero_pages_belong_to_no_consumer(start, ksm, build, page_size):
    """Nor do they use memory for records."""
    if not ksm.has("ksm_zero_pages"):
        pytest.skip("this kernel does not count the zero pages of use_zero_pages (6.6)")
    ksm.set("use_zero_pages", 1)
    start(Known, [(1, 400, 2), (0, 1, ZEROS)])
    ksm.merge_all()
    found = sharing(build, "--memory=1")
    ksm.set("use_zero_pages", 0)
    check_total(found, ksm, page_size)
    assert found["zero_bytes"] == ZEROS * page_size
    assert [row["saved_bytes"] for row in found["consumers"]] == [400 * page_size]


# The average that the plugins show: common/README.md has what this prints.

IMAGE, OTHER_IMAGE = (1, 2000, 1), (10000, 2000, 1)     # memory that the machines of one image have in common
EQUAL = (20000, 10, 100)                                # few contents with many pages each, as pages of zeros
PAIRS, TRIPLES = (30000, 500, 2), (40000, 500, 3)
MIXES = {   # what: [(program, its number, its contents)]
    "four machines of one image": [("web", 4, [IMAGE])],
    "the same, one with many equal pages": [("web", 3, [IMAGE]), ("db", 1, [IMAGE, EQUAL])],
    "two machines of one image, six of another": [("db", 2, [OTHER_IMAGE]), ("web", 6, [IMAGE])],
    "the same, all with many equal pages": [("db", 2, [OTHER_IMAGE, EQUAL]), ("web", 6, [IMAGE, EQUAL])],
    "twenty small servers, one with pairs": [("web", 20, [(1, 200, 1)]), ("db", 1, [PAIRS])],
    "a large machine with a part of ten small ones": [("web", 10, [(1, 300, 1)]), ("db", 1, [(1, 100, 1), PAIRS])],
    "three programs with nothing in common": [("two", 1, [PAIRS]), ("three", 1, [TRIPLES]), ("many", 1, [EQUAL])],
    "two programs in pairs, one of equal pages": [("two", 2, [(1, 1000, 1)]), ("many", 1, [(5000, 4, 250)])],
}


@pytest.mark.long
@pytest.mark.parametrize("mix", MIXES)
def test_average_is_exact_in_all(mix, start, ksm, build, page_size):
    for name, number, contents in MIXES[mix]:
        for i in range(number):
            start(Known, contents, name=f"{name}-{i + 1}")
    ksm.merge_all()
    found = sharing(build)
    check_total(found, ksm, page_size)
    rows = found["consumers"]
    assert sum(row["average_bytes"] for row in rows) == pytest.approx(found["saved_bytes"], abs=page_size * len(rows))
    row = max(rows, key=lambda row: abs(row["average_bytes"] / row["saved_bytes"] - 1))
    average, exact = row["average_bytes"] / page_size, row["saved_bytes"] / page_size
    print(f"| {mix} | {row['name']} | {average:.0f} | {exact:.0f} | {100 * average / exact - 100:+.0f} % |")


# Reading changes nothing.

# Without LRU: pages are put on that list in batches, at any time.  Without IDLE, which other programs set.
MASK = ~(1 << 5 | 1 << 25)


def frame_flags(pid, page_size):
    """Return {page: (its frame, flags of that)} of the merged mappings of process PID."""
    found = {}
    mappings, pages = Path(f"/proc/{pid}/smaps").read_text(), None
    with open(f"/proc/{pid}/pagemap", "rb") as pagemap, open("/proc/kpageflags", "rb") as flags:
        for line in mappings.splitlines():
            if match := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
                pages = range(int(match[1], 16) // page_size, int(match[2], 16) // page_size)
            elif re.match(r"KSM: +[1-9]", line):
                for page in pages:
                    pagemap.seek(8 * page)
                    frame = int.from_bytes(pagemap.read(8), sys.byteorder) & (1 << 55) - 1
                    flags.seek(8 * frame)
                    found[page] = frame, int.from_bytes(flags.read(8), sys.byteorder) & MASK
    return found


def smaps_counts(pid):
    """Return what smaps has of mergeable mappings: numbers of pages that are in use, huge, merged and so on."""
    return [entry for entry in re.split(r"(?m)^(?=[0-9a-f]+-)", Path(f"/proc/{pid}/smaps").read_text())
            if re.search(r"VmFlags:.* mg\b", entry)]


def test_reading_changes_no_page(start, ksm, build, page_size):
    merged = start(Workload, "pairs", PAGES, 1, name="merged")
    start(Workload, "pairs", PAGES, 1, name="same")
    ksm.merge_all()
    huge = start(Workload, "huge", PAGES, 2, name="huge")
    Path(f"/proc/{merged.pid}/clear_refs").write_text("1")      # pages count as not used from now on
    before = frame_flags(merged.pid, page_size), [smaps_counts(pid) for pid in (merged.pid, huge.pid)]
    found = sharing(build)
    assert found["saved_bytes"] > 0
    after = frame_flags(merged.pid, page_size), [smaps_counts(pid) for pid in (merged.pid, huge.pid)]
    assert len(before[0]) == PAGES and after == before
    assert re.search(r"Referenced: +0 kB", before[1][0][0]) and re.search(r"AnonHugePages: +[1-9]", before[1][1][0])


# Processes that change or block meanwhile, and signals.

# Merged pages, and a mapping of 32 TiB without a page that takes long to search.
SPARSE = ("import mmap; private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS;"
          "m = mmap.mmap(-1, 64 * mmap.PAGESIZE, private); m.madvise(mmap.MADV_MERGEABLE);"
          "m.write(b'x' * len(m)); s = mmap.mmap(-1, 32 << 40, private | 0x4000); print('ready', flush=True); input()")


@pytest.fixture
def merging_sparse(start, ksm):
    """A process with merged pages that takes long to read; one before it does not."""
    start(Known, [(1, 64, 2)], name="first")
    with subprocess.Popen([sys.executable, "-c", SPARSE], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          preexec_fn=die_with_parent(os.getpid())) as process:
        assert process.stdout.readline() == b"ready\n"
        ksm.merge_all()
        yield process
        process.kill()


@pytest.fixture
def slow(merging_sparse, build):
    """A --sharing that has read a first process and reads a second one for seconds: both."""
    argv = [build / "ksm-explain", "--sharing", "--json", "--cpu=1"]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as running:
        until(lambda: is_open(running.pid, f"/proc/{merging_sparse.pid}/pagemap"), RUN_S, "reading")
        yield running, merging_sparse
        running.kill()


def is_open(pid, path):
    """Whether process PID has the file at PATH open."""
    try:
        return path in [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:         # a descriptor that was closed meanwhile
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_prints_partial_report(number, slow, page_size):
    running, _target = slow
    running.send_signal(number)
    found = parsed(running.communicate(timeout=RUN_S)[0])
    assert (running.returncode, found["partial"], found["processes"]) == (PARTIAL, True, 2)
    assert {"name": "first", "saved_bytes": 64 * page_size}.items() <= found["consumers"][0].items()


def test_process_that_is_killed_meanwhile_is_left_out(slow, page_size):
    running, target = slow
    target.kill()
    found = parsed(running.communicate(timeout=RUN_S)[0])
    assert (running.returncode, found["partial"], found["ended"], found["processes"]) == (0, False, 1, 1)
    assert found["saved_bytes"] == 64 * page_size


def test_blocking_process_is_left_out_and_reported(start, ksm, build, page_size):
    start(Known, [(1, 64, 2)])
    with Holders(build / "tests/lockholder", 1, 1) as holders:
        ksm.merge_all()
        holders.hold()
        found = sharing(build)
        report = explain(build).stdout
        holders.release()
    assert (found["blocking"], found["partial"], found["processes"]) == (1, False, 1)
    assert [row["saved_bytes"] for row in found["consumers"] if row["name"] == "workload"] == [64 * page_size]
    assert "1 process: reading their /proc files blocked" in " ".join(report.split())


def test_starting_and_exiting_processes_are_survived(start, ksm, build, page_size):
    start(Known, [(1, 64, 2)])
    start(Workload, "churn", 300, name="churn")
    ksm.set("run", RUNNING)
    ksm.wait(lambda: ksm.number("pages_sharing") > 200, RUN_S, "merged pages")
    found = sharing(build)
    ksm.set("run", STOPPED)
    assert not found["partial"]
    assert [row["saved_bytes"] for row in found["consumers"] if row["name"] == "workload"] == [64 * page_size]


HOSTILE = ['a"},{"b', "new\nline", "\x1b[31m", "back\\slash"]


def test_hostile_names_break_no_output(start, ksm, build, tmp_path):
    for name in HOSTILE:
        start(Known, [(1, 64, 1)], name=name)
    ksm.merge_all()
    found = sharing(build)
    assert len(found["consumers"]) == len(HOSTILE) and len(found["pairs"]) == len(HOSTILE) * (len(HOSTILE) - 1) // 2
    report = explain(build).stdout
    assert report.replace("\n", "").isprintable() and all(len(line) <= 80 for line in report.splitlines())
    text = openmetrics(build, tmp_path).read_text()
    assert len(re.findall(r'(?m)^ksm_consumer_saved_exact_bytes\{kind="program",name="[^"\\\n]+"\} \d+$', text)) == \
        len(HOSTILE)


# Metrics.

def openmetrics(build, directory):
    """Run ksm-explain --openmetrics --sharing; return the path of its output."""
    path = directory / "ksm_sharing.prom"
    done = subprocess.run([build / "ksm-explain", "--openmetrics", "--sharing", "--cpu=100", "--output", path],
                          capture_output=True, text=True, timeout=RUN_S, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return path


def test_openmetrics_file_is_replaced_and_valid(start, ksm, build, tmp_path, page_size):
    (tmp_path / "ksm_sharing.prom").write_text("old\n")
    for user in ("nobody", "daemon"):
        start(Known, [(1, 100, 1)], name=user, user=user)
    ksm.merge_all()
    text = openmetrics(build, tmp_path).read_text()
    assert [path.name for path in sorted(tmp_path.glob("ksm*"))] == ["ksm_sharing.prom", "ksm_sharing.prom.state"]
    samples = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    a, b = sorted((f"user {NOBODY}", f"user {DAEMON}"))
    assert samples == {
        'ksm_consumer_saved_exact_bytes{kind="program",name="daemon"}': f"{50 * page_size}",
        'ksm_consumer_saved_exact_bytes{kind="program",name="nobody"}': f"{50 * page_size}",
        f'ksm_shared_between_owners_bytes{{a="{a}",b="{b}"}}': f"{100 * page_size}",
        "ksm_shared_across_owners_bytes": f"{100 * page_size}",
    }
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_openmetrics_files_have_no_family_in_common(start, ksm, build, tmp_path):
    """node_exporter fails for two files with one family."""
    start(Known, [(1, 100, 2)])
    ksm.merge_all()
    plain = subprocess.run([build / "ksm-explain", "--openmetrics"], capture_output=True, text=True, check=True,
                           timeout=RUN_S).stdout
    families = [set(re.findall(r"(?m)^# TYPE (\w+)", text)) for text in (plain, openmetrics(build, tmp_path).read_text())]
    assert len(families[1]) == 3 and families[0] & families[1] == set()


def test_capabilities_of_the_service_suffice(start, ksm, build, tmp_path):
    """With those alone that the unit has, the metrics are the same; without CAP_SYS_ADMIN there are none."""
    unit = (REPOSITORY / "common/explain/ksm-openmetrics-sharing.service").read_text()
    allowed = re.search(r"(?m)^CapabilityBoundingSet=(.*)$", unit)[1].lower().replace("cap_", "").split()
    for user in ("nobody", "daemon"):
        start(Known, [(1, 100, 1)], name=user, user=user)
    ksm.merge_all()
    full = openmetrics(build, tmp_path).read_text()
    for names, status in ((allowed, 0), (set(allowed) - {"sys_admin"}, DENIED)):
        done = explain(build, "--openmetrics", wrapper=["setpriv", f"--bounding-set=-all,+{',+'.join(names)}"])
        assert done.returncode == status and (done.stdout == full) == (status == 0), done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_run_keeps_old_file(number, merging_sparse, build, tmp_path):
    """As stopped by systemd, for example at a reboot: all its processes at once."""
    path = tmp_path / "ksm_sharing.prom"
    path.write_text("old\n")
    argv = [build / "ksm-explain", "--openmetrics", "--sharing", "--cpu=1", "--output", path]
    with subprocess.Popen(argv, start_new_session=True, stderr=subprocess.PIPE, text=True,
                          preexec_fn=lambda: signal.signal(number, signal.SIG_DFL)) as running:
        until(lambda: any(is_open(pid, f"/proc/{merging_sparse.pid}/pagemap") for pid in session_members(running.pid)),
              RUN_S, "reading")
        os.killpg(running.pid, number)
        assert (running.wait(RUN_S), running.stderr.read()) == (-number, "")
    assert path.read_text() == "old\n" and [file.name for file in tmp_path.glob("ksm*")] == [path.name]


@pytest.mark.parametrize("words", [[], ["--consumers=0"]])
def test_openmetrics_without_merged_memory_has_no_rows(words, ksm, build):
    ksm.set("run", UNMERGED)
    done = explain(build, "--openmetrics", *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line for line in done.stdout.splitlines() if line[0] != "#"] == ["ksm_shared_across_owners_bytes 0"]


# Nothing to report, and permissions.

def test_nothing_merged_is_said_in_one_sentence(ksm, build):
    ksm.set("run", UNMERGED)
    done = explain(build)
    assert (done.returncode, done.stdout, done.stderr) == (
        0, "No memory is merged: no process has merged pages.\n", "")
    found = sharing(build)
    assert (found["saved_bytes"], found["consumers"], found["pairs"], found["owner_pairs"]) == (0, [], [], [])


class Contained(Known):
    """A process with known contents in a PID namespace of its own."""

    NAMESPACE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]

    def __init__(self, *words):
        super().__init__(*words)
        self.argv = [*self.NAMESPACE, *self.argv]


def test_hidden_processes_are_reported(start, ksm, build):
    """In a PID namespace, as in a container: other processes, including ksmd, are not visible."""
    if subprocess.run([*Contained.NAMESPACE, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no PID namespace can be made here")
    contained = start(Contained, [(1, 64, 2)])
    [inside] = set(session_members(contained.pid)) - {contained.pid}
    enter = ["nsenter", f"--target={inside}", "--pid", "--mount"]
    assert explain(build, wrapper=enter).stdout == "No process that is visible here has merged pages.\n"
    ksm.merge_all()
    report = " ".join(explain(build, wrapper=enter).stdout.split())
    assert "Owners No memory is merged between the owners that were read. Not all could be read. " in report
    assert "Hidden Other processes are not visible here and were not read. " in report


def test_ordinary_user_is_told_to_use_sudo(copy_of):
    done = explain(copy_of("ksm-explain").parent, wrapper=AS_NOBODY)
    assert (done.returncode, done.stdout) == (DENIED, "")
    assert done.stderr == "ksm-explain: page frames may not be read: run it with sudo\n"


@pytest.mark.parametrize("missing", ["sys_admin", "dac_read_search"])
def test_missing_capabilities_of_root_are_named(missing, start, ksm, build):
    """As in a container, where sudo does not help. Without CAP_SYS_PTRACE, newer kernels let CAP_SYS_ADMIN read."""
    start(Known, [(1, 64, 2)], user="nobody")
    ksm.merge_all()
    done = explain(build, wrapper=["setpriv", f"--bounding-set=-{missing}"])
    assert (done.returncode, done.stdout) == (DENIED, "")
    assert f"CAP_{missing.upper()}" in done.stderr and "requires the capabilities" in done.stderr


def test_unknown_name_is_refused(start, ksm, build):
    start(Known, [(1, 64, 2)], name="ksmtest-name")
    ksm.merge_all()
    done = explain(build, "ksmtest-naem")
    assert (done.returncode, done.stdout) == (FAILED, "")
    assert '"ksmtest-naem"; similar names: ' in done.stderr
