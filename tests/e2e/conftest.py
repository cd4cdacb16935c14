# SPDX-License-Identifier: MIT
"""What the end-to-end tests share.  KSM_BUILD says where the built plugins and tools are (default: build)."""

import os
from pathlib import Path

import pytest

import golden

REPOSITORY = Path(__file__).resolve().parents[2]


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
    return lambda era: golden.make_tree(build, era, tmp_path / f"tree-{era}")
