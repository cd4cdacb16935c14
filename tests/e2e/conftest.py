# SPDX-License-Identifier: MIT
"""What the end-to-end tests share.  KSM_BUILD says where the built plugins and tools are (default: build)."""

import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

import fixtures
from live import FAST, RUNNING, STOPPED, KsmSettings, why_not

REPOSITORY = Path(__file__).resolve().parents[2]

# For the tools in Python that tests start.
ROOMS = [str(REPOSITORY / "tests" / room) for room in ("support", "demo", "docs", "measure", "bench")]
os.environ["PYTHONPATH"] = os.pathsep.join(ROOMS)
QUIET_S = 0.3           # other programs' memory would have been noticed by then


@pytest.fixture(scope="session")
def build():
    """The directory of the built plugins and tools."""
    directory = Path(REPOSITORY, os.environ.get("KSM_BUILD", "build"))
    for name in ("ksm.plugin", "ksm.so", "ksm-explain", "tests/mktree", "tests/figures", "tests/workload"):
        assert (directory / name).is_file(), f"{directory / name} is missing: run make all tools first"
    return directory


@pytest.fixture(scope="session")
def page_size():
    """Of this machine, in bytes."""
    return os.sysconf("SC_PAGESIZE")


@pytest.fixture
def make_tree(build, tmp_path):
    """A function that makes the tree of an era's fixture, and returns its directory."""
    return lambda era: fixtures.make_tree(build, era, tmp_path / f"tree-{era}")


@pytest.fixture(scope="session")
def preload(tmp_path_factory):
    """The library that gives a program clocks of its own (clock.c)."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if not compiler:
        pytest.skip("there is no compiler")
    library = tmp_path_factory.mktemp("clock") / "clock.so"
    subprocess.run([compiler, "-D_GNU_SOURCE", "-shared", "-fPIC", "-O2", "-o", library,
                    REPOSITORY / "tests/e2e/clock.c"], check=True)
    return library


@contextmanager
def quiet_ksm():
    """The live kernel's KSM, locked, nothing merged, as fast as it goes; put back afterwards."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    if not Path("/proc/self/ksm_stat").exists():
        pytest.skip("this kernel has no /proc/PID/ksm_stat (6.1)")
    with KsmSettings() as live:
        if live.any_merged():
            pytest.skip("pages are merged here already, which this test would have to undo")
        live.set_all(FAST)
        live.set("run", RUNNING)
        time.sleep(QUIET_S)
        if any(live.states()):
            pytest.skip("other programs of this host have memory registered with KSM")
        live.set("run", STOPPED)
        yield live


@pytest.fixture(scope="module")
def ksm():
    """The live kernel's KSM for all tests of a file."""
    with quiet_ksm() as live:
        yield live
