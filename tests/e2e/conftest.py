# SPDX-License-Identifier: MIT
"""Fixtures of the end-to-end tests.  KSM_BUILD is the directory of the built plugins and tools (default: build)."""

import os
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

import fixtures
from live import FAST, POLL_S, RUNNING, UNMERGED, KsmSettings, registered, why_not

REPOSITORY = Path(__file__).resolve().parents[2]

# For the Python tools that tests start.
ROOMS = [str(REPOSITORY / "tests" / room) for room in ("support", "demo", "docs", "measure", "bench")]
os.environ["PYTHONPATH"] = os.pathsep.join(ROOMS)
OTHERS_S = 5            # enough for a program that is exiting to be gone
QUIET_S = 0.1           # enough for ksmd to scan other programs' memory
AS_NOBODY = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]

# These groups start first, so that no long test runs alone at the end.
LONGEST = ["live", "test_alerts_netdata", "test_daemons", "test_life", "test_function"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Run the tests of a file in one process, and all tests that lock KSM's settings in one, as they exclude each other."""
    def group(item):
        return "live" if "ksm" in item.fixturenames or item.get_closest_marker("live") else item.path.stem
    items.sort(key=lambda item: LONGEST.index(group(item)) if group(item) in LONGEST else len(LONGEST))
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group(item)))


@pytest.fixture(scope="session")
def build():
    """The directory of the built plugins and tools."""
    directory = Path(REPOSITORY, os.environ.get("KSM_BUILD", "build"))
    for name in ("ksm.plugin", "ksm.so", "ksm-explain", "tests/mktree", "tests/metrics", "tests/workload"):
        assert (directory / name).is_file(), f"{directory / name} is missing: run make all tools first"
    return directory


@pytest.fixture(scope="session")
def page_size():
    """The page size of this machine, in bytes."""
    return os.sysconf("SC_PAGESIZE")


@pytest.fixture
def make_tree(build, tmp_path):
    """A function that creates the tree of an era's fixture and returns its directory."""
    return lambda era: fixtures.make_tree(build, era, tmp_path / f"tree-{era}")


# Directories and programs for other users.

@pytest.fixture(scope="session")
def open_to_all():
    """A directory of root that every user may enter, on a file system that supports file capabilities."""
    if os.geteuid() != 0:
        pytest.skip("becoming another user requires root")
    if not shutil.which("setpriv"):
        pytest.skip("setpriv is not installed")
    with tempfile.TemporaryDirectory(prefix="ksm-test-") as directory:
        os.chmod(directory, 0o755)
        if subprocess.run([*AS_NOBODY, "test", "-x", directory], check=False).returncode != 0:
            pytest.skip(f"user nobody may not enter {directory}")
        yield Path(directory)


@pytest.fixture
def public_path(open_to_all):
    """A directory of this test that every user may enter."""
    path = Path(tempfile.mkdtemp(dir=open_to_all))
    path.chmod(0o755)
    return path


@pytest.fixture(scope="session")
def copy_of(build, open_to_all):
    """A function that copies a program of the build for other users, with the file capabilities GRANT."""
    setcap = shutil.which("setcap", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")

    def copy(name, grant=None):
        path = Path(tempfile.mkdtemp(dir=open_to_all), Path(name).name)
        path.parent.chmod(0o755)
        shutil.copy(build / name, path)
        if grant:
            done = subprocess.run([setcap or "setcap", grant, path], capture_output=True, text=True, check=False)
            if done.returncode != 0 or os.statvfs(path).f_flag & os.ST_NOSUID:
                pytest.skip(f"file capabilities do not work here: {done.stderr}")
        return path
    return copy


# The live kernel.

def refuse(reason):
    """Fail the test with REASON in CI, skip it elsewhere."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


def check_alone():
    """Refuse to run the test while other programs have memory registered with KSM; wait for exiting ones."""
    deadline = time.monotonic() + OTHERS_S
    while (others := registered()) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    if others:
        refuse(f"other programs have memory registered with KSM: {', '.join(others)}")


@contextmanager
def quiet_ksm():
    """Lock the live kernel's KSM: nothing merged, full_scans 0, maximum scan rate.  Restore its settings afterwards."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    if not Path("/proc/self/ksm_stat").exists():
        pytest.skip("this kernel has no /proc/PID/ksm_stat (6.1)")
    with KsmSettings() as live:
        check_alone()
        live.set("run", UNMERGED)       # discards pages of programs that have exited
        live.set_all(FAST)
        live.set("run", RUNNING)
        time.sleep(QUIET_S)
        if any(live.states()):          # before 6.14 ksm_stat shows only memory that ksmd has scanned
            check_alone()
        live.set("run", UNMERGED)
        yield live


@pytest.fixture(scope="module")
def ksm():
    """The live kernel's KSM for all tests of a file."""
    with quiet_ksm() as live:
        yield live
