# SPDX-License-Identifier: MIT
"""The live kernel's KSM for the demo and the live tests: a lock, settings that are restored, a workload.

    with KsmSettings() as ksm, Workload("build/tests/workload", "pairs", 4096):
        ksm.set("run", 1)
        ksm.wait(lambda: ksm.number("pages_sharing") == 2048, 30)

A process that changes a setting holds the lock until it has restored it.
"""

import fcntl
import json
import os
import re
import select
import subprocess
import tempfile
from pathlib import Path

from daemons import die_with_parent, session_members, until, wait_gone

KSM = Path("/sys/kernel/mm/ksm")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
LOCK_DIRECTORIES = ("/run/lock", "/run", tempfile.gettempdir())
LOCK_NAME = "ksm-live.lock"

LOCK_S = 1800       # wait for others that use the live kernel
READY_S = 60        # limit for a workload to fill its memory
END_S = 10          # limit for its exit after the end of its input
POLL_S = 0.05       # poll interval

STOPPED, RUNNING, UNMERGED = 0, 1, 2
RUN_MASK = 3        # without the bit that is set while memory is taken offline

# The maximum scan rate, and no page skipped.
FAST = {"advisor_mode": "none", "smart_scan": 0, "pages_to_scan": 100000, "sleep_millisecs": 0,
        "max_page_sharing": 256, "merge_across_nodes": 1, "use_zero_pages": 0}
STATES = ("pages_shared", "pages_sharing", "pages_unshared", "pages_volatile", "ksm_zero_pages")
MERGED_S = 60       # limit for merging all pages
SCANS = 3           # after so many full scans without a change all pages are merged

# The kernel refuses to change these while any page is merged.
ONLY_UNMERGED = ("merge_across_nodes", "max_page_sharing")
# Settings that change together with another.
TIED = {"advisor_mode": ("pages_to_scan",)}


class LiveError(Exception):
    """The live kernel's KSM cannot be used, or its settings could not be restored."""


class Locked(LiveError):
    """Another process holds the lock."""


def why_not():
    """Return why KSM's settings cannot be changed here, or None if they can."""
    if not (KSM / "run").exists():
        return f"this kernel has no KSM: {KSM}/run is missing"
    if os.geteuid() != 0 or not os.access(KSM / "run", os.W_OK):
        return "run it as root"
    return None


def open_lock():
    """Open the lock file in the first directory where this is possible; its content counts only if this user owns it."""
    for directory in LOCK_DIRECTORIES:
        try:
            return os.open(Path(directory, LOCK_NAME), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            reason = error
    raise LiveError(f"no lock file {LOCK_NAME} in {', '.join(LOCK_DIRECTORIES)}: {reason.strerror}")


def bracketed(text):
    """Return the word in brackets of "[none] scan-time", or TEXT itself."""
    return text.partition("[")[2].partition("]")[0] or text


class KsmSettings:
    """An exclusive lock on the live kernel's KSM; restores its settings at the end.

    The lock file holds the original values of changed settings: if this process is killed,
    the next holder of the lock restores them first.
    """

    def __init__(self, lock_seconds=LOCK_S):
        """On entry, wait at most LOCK_SECONDS for the lock."""
        self.lock_seconds = lock_seconds
        self.lock = None
        self.saved = {}         # file: original text
        self.merged = False     # whether pages were merged when the first setting was changed

    def __enter__(self):
        reason = why_not()
        if reason:
            raise LiveError(reason)
        self.lock = open_lock()
        try:
            self.take_lock()
            self.load()
            if self.saved:
                self.restore()
        except BaseException:
            os.close(self.lock)
            raise
        return self

    def __exit__(self, *_exception):
        try:
            self.restore()
        finally:
            os.close(self.lock)

    def take_lock(self):
        """Take the lock, or raise after lock_seconds."""
        def taken():
            try:
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                return False
        until(taken, self.lock_seconds, "the lock",
              lambda _waited: Locked(f"others use KSM's settings: {LOCK_NAME} is locked by {self.holder()}"), POLL_S)

    def holder(self):
        """Return "NAME (PID)" of the process that holds the lock."""
        lock = rf"FLOCK +ADVISORY +WRITE (\d+) \S+:{os.fstat(self.lock).st_ino} "
        pid = re.search(lock, Path("/proc/locks").read_text())
        return f"{comm_of(pid[1])} ({pid[1]})" if pid else "a process that has ended"

    # The journal, which is the content of the lock file.

    def load(self):
        """Read the journal of a killed holder of the lock, if it is of this boot and this user."""
        text = os.pread(self.lock, 65536, 0)
        if not text or os.fstat(self.lock).st_uid != os.geteuid():
            return
        try:
            journal = json.loads(text)
        except ValueError:
            return                      # not a journal
        if journal["boot"] == BOOT_ID.read_text():
            self.saved, self.merged = journal["saved"], journal["merged"]

    def store(self):
        """Write the original values to the lock file; truncate it if there are none."""
        journal = {"boot": BOOT_ID.read_text(), "saved": self.saved, "merged": self.merged}
        text = json.dumps(journal).encode() if self.saved else b""
        os.pwrite(self.lock, text, 0)           # first the new text, then the end of the old
        os.ftruncate(self.lock, len(text))

    # Reading and writing.

    def text(self, name):
        """Return the setting or metric NAME as text: of a choice the selected word, of `run` without the offline bit."""
        text = bracketed((KSM / name).read_text().strip())
        return str(int(text) & RUN_MASK) if name == "run" else text

    def number(self, name):
        """Return the setting or metric NAME as an integer."""
        return int(self.text(name))

    def has(self, name):
        """Whether this kernel has the setting or metric NAME."""
        return (KSM / name).exists()

    def any_merged(self):
        """Whether any page is merged now."""
        names = ("pages_shared", "pages_sharing", "ksm_zero_pages")
        return any(self.number(name) > 0 for name in names if self.has(name))

    def write(self, name, value):
        """Write VALUE to the setting NAME, without recording the old one."""
        try:
            (KSM / name).write_text(f"{value}\n")
        except OSError as error:
            raise LiveError(f"cannot write {value} to {KSM / name}: {error.strerror}") from error

    def set(self, name, value):
        """Change the setting NAME to VALUE until the end of the block."""
        if not self.saved:
            self.merged = self.any_merged()
        for setting in (name, *TIED.get(name, ())):
            if self.has(setting):
                self.saved.setdefault(setting, self.text(setting))
        self.store()
        self.write(name, value)

    def set_all(self, values):
        """Set those of VALUES, {setting: value}, that this kernel has."""
        for name, value in values.items():
            if self.has(name):
                self.set(name, value)

    def states(self):
        """Return the number of pages in each state of KSM."""
        return [self.number(name) for name in STATES if self.has(name)]

    def merge_all(self):
        """Let ksmd run until full scans change nothing more, then stop it."""
        self.set("run", RUNNING)
        last, since = None, 0

        def settled():
            nonlocal last, since
            scans, now = self.number("full_scans"), self.states()
            if now != last or not self.any_merged():
                last, since = now, scans
            return scans >= since + SCANS

        self.wait(settled, MERGED_S, "all to be merged")
        self.set("run", STOPPED)

    @staticmethod
    def wait(condition, seconds, what="the kernel"):
        """Wait at most SECONDS until CONDITION() is true and return its value, else raise LiveError."""
        return until(condition, seconds, what, LiveError, POLL_S)

    # Restoring.

    def restore(self):
        """Restore every changed setting, `run` last, and check that all have their original values."""
        if not self.saved:
            return
        run = int(self.saved.get("run", self.number("run")))
        blocked = any(name in self.saved and self.saved[name] != self.text(name) for name in ONLY_UNMERGED)
        unmerge = blocked or ("run" in self.saved and run == STOPPED and not self.merged)
        failed = []
        if unmerge:
            self.attempt("run", UNMERGED, failed)
        for name in sorted(set(self.saved) - {"run"}):      # advisor_mode comes before pages_to_scan
            if self.differs(name):
                self.attempt(name, self.saved[name], failed)
        if self.number("run") != run:
            self.attempt("run", run, failed)
        failed += [f"{KSM / name} is {self.text(name)}, was {old}"
                   for name, old in self.saved.items() if self.differs(name)]
        if failed:
            raise LiveError("KSM's settings are not as they were: " + "; ".join(failed))
        self.saved = {}
        self.store()

    def attempt(self, name, value, failed):
        """Write VALUE to the setting NAME, adding the reason to FAILED if that is refused."""
        try:
            self.write(name, value)
        except LiveError as error:
            failed.append(str(error))

    def differs(self, name):
        """Whether the setting NAME differs from its original value; an active advisor changes pages_to_scan itself."""
        if name == "pages_to_scan" and self.has("advisor_mode") and self.text("advisor_mode") != "none":
            return False
        return self.text(name) != self.saved[name]


def registered():
    """Return ["NAME (PID)", ...] of the processes that have memory registered with KSM, as the kernel reports them."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            text = (directory / "ksm_stat").read_text()
        except OSError:                 # the process has exited, or the kernel is older than 6.1
            continue
        fields = dict(line.split() for line in text.splitlines())
        if "yes" in (fields.get("ksm_mergeable:"), fields.get("ksm_merge_any:")) or \
                any(int(fields.get(name, 0)) for name in ("ksm_rmap_items", "ksm_merging_pages", "ksm_zero_pages")):
            found.append(f"{comm_of(directory.name)} ({directory.name})")
    return found


def comm_of(pid):
    """Return the name of process PID, or None if it has exited."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().rstrip("\n")
    except OSError:
        return None


class Workload:
    """The workload program with a pattern, from when its memory is ready until the end of the block."""

    def __init__(self, program, pattern, size=None, kind=None, user=None, ready_s=READY_S):
        """Run PROGRAM with PATTERN as USER; SIZE is in pages, for the pattern "demo" in MiB a process.

        It is ready within READY_S.

        Workloads of one KIND (1 … 255, default 1) have the same pages.
        """
        self.argv = [str(program), pattern, *(str(number) for number in (size, kind) if number is not None)]
        self.user = user
        self.ready_s = ready_s
        self.process = None

    def __enter__(self):
        self.process = subprocess.Popen(
            self.argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            user=self.user, extra_groups=None if self.user is None else [], start_new_session=True,
            preexec_fn=die_with_parent(os.getpid()))
        try:
            self.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_exception):
        self.stop()

    @property
    def pid(self):
        """The process that has the pages, except with the pattern "demo"."""
        return self.process.pid

    def actors(self):
        """Return {name: pid} of the living processes of the pattern "demo"."""
        members = [pid for pid in session_members(self.process.pid) if pid != self.process.pid]
        return {name: pid for name, pid in ((comm_of(pid), pid) for pid in members) if name}

    def wait_ready(self):
        """Wait until the memory is filled and registered."""
        if not select.select([self.process.stdout], [], [], self.ready_s)[0]:
            raise LiveError(f"{self.argv[0]}: not ready after {self.ready_s} s")
        if self.process.stdout.readline() != "ready\n":
            raise LiveError(f"{' '.join(self.argv)}: failed, status {self.process.wait(END_S)}")

    def stop(self):
        """End the workload; its memory is gone when this returns."""
        if self.process is None:
            return
        members = session_members(self.process.pid)
        self.process.stdin.close()
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        wait_gone(members, END_S)       # the kernel kills its children; they free their memory first
        self.process.stdout.close()
        self.process = None
