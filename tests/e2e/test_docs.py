# SPDX-License-Identifier: MIT
"""What the README files and those of .github promise: that their links lead somewhere, and that make has the targets
that they name."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import REPOSITORY

READMES = [path for pattern in ("README.md", "*/README.md", ".github/*.md") for path in sorted(REPOSITORY.glob(pattern))]
NAMES = [str(path.relative_to(REPOSITORY)) for path in READMES]
MAKEFILES = [REPOSITORY / "Makefile", *REPOSITORY.glob("*/*.mk"), *REPOSITORY.glob("*/*/*.mk")]

LONGEST = 200       # lines of the first README, which is read in ten minutes


def anchors(text):
    """Return the anchors of the headings in TEXT, as GitHub makes them."""
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
            for heading in re.findall(r"(?m)^#+ (.*)$", text)}


def links(readme):
    """Return the (path, anchor) of all links in README, but for those to other hosts; each can be empty."""
    return re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", readme.read_text())


def dead_links(readme, root=""):
    """Return those of README that lead nowhere; / is the directory ROOT."""
    def is_dead(path, anchor):
        target = Path(f"{root}{path}") if path.startswith("/") else readme.parent / path if path else readme
        return not target.exists() or (anchor and anchor not in anchors(target.read_text()))
    return [f"{readme.parent.name}/{readme.name}: {path}#{anchor}" for path, anchor in links(readme) if is_dead(path, anchor)]


@pytest.mark.parametrize("readme", READMES, ids=NAMES)
def test_link_targets_exist(readme):
    assert dead_links(readme) == []


@pytest.mark.parametrize("readme", READMES, ids=NAMES)
def test_documented_make_targets_exist(readme):
    targets = {name for file in MAKEFILES for name in re.findall(r"(?m)^([a-z][a-z-]*):", file.read_text())}
    commands = re.findall(r"(?m)(?:`|^ {4})(?:sudo )?make ((?:[a-z-]+(?: |$|`))+)", readme.read_text())
    named = {name for command in commands for name in re.findall("[a-z-]+", command)}
    assert named <= targets, f"no target {named - targets}"


def test_article_metrics_match_readme(build, tmp_path):
    """The commands of common/README.md, and the metrics in its table."""
    text = (REPOSITORY / "common/README.md").read_text()
    [commands] = re.findall(r"(?m)(?:^ {4}build/.*article.*\n)+", text)
    commands = commands.replace("/tmp/article", str(tmp_path / "article")).replace("build/", f"{build}/")
    done = subprocess.run(["sh", "-ec", commands], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    metrics = dict(re.findall(r"(?m)^SET (\w+) = (\d+)$", done.stdout))
    rows = re.findall(r"(?m)^\| \**(\w+)\**.* \| (\d+) \|", text)
    documented = {name: int(pages) for name, pages in rows if name in ("shared", "sharing", "gain", "saved")}
    in_pages = {name: int(metrics[name]) // (4096 if name in ("gain", "saved") else 1) for name in documented}
    assert in_pages == documented == {"shared": 48911, "sharing": 90090, "gain": 41179, "saved": 90090}


def test_checklist_for_changes_has_twenty_lines():
    assert {"CONTRIBUTING.md", "SECURITY.md"} == {path.name for path in READMES if path.parent.name == ".github"}
    items = re.findall(r"(?m)^(\d+)\. .*\.$", (REPOSITORY / ".github/CONTRIBUTING.md").read_text())
    assert items == [str(number) for number in range(1, 21)]


def test_top_readme_is_short():
    assert (REPOSITORY / "README.md").read_text().count("\n") <= LONGEST


def test_invisible_character_table_matches_unicode():
    if not Path("/usr/share/unicode/DerivedCoreProperties.txt").exists():
        pytest.skip("unicode-data is not installed")
    done = subprocess.run([sys.executable, REPOSITORY / "tests/docs/unicode.py", "--check"], capture_output=True, text=True,
                          check=False)
    if done.returncode == 2:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, f"{done.stdout}{done.stderr}: make unicode renews it"
