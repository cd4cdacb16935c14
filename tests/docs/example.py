# SPDX-License-Identifier: MIT
"""The annotated example of ksm-explain's reports: one verdict after another, printed by ksm-explain on fixtures.

`make golden` renews it; a test compares it with what the program prints now.
"""

import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import fixtures
from world import FILES, put

FILE = Path(__file__).resolve().parents[2] / "common/explain/ksm-explain_example.txt"
COLUMNS = 78


class Example(NamedTuple):
    """A report with what is said before and after it."""

    status: int             # the exit status of the verdict
    era: str                # the fixture
    changes: dict           # {metric: value} that differ from the fixture
    before: str
    after: str


TITLE = "Annotated examples of ksm-explain"
INTRODUCTION = """\
Read the verdict first: it is one sentence. "Why" gives the figures that led to it, "To do" the next step. The sections
below it are for looking things up. In scripts use the exit status, which never changes its meaning: below 10 all is
well, from 10 KSM is not at work, from 20 it saves nothing, from 30 it is a loss or a risk."""

EXAMPLES = [
    Example(0, "6.6", {}, "A host where KSM does what it should.", """\
"net" is the figure to compare with the cost: the memory saved less the kernel's own records. Here the records take 2 %
of it, which is good. "exposure" is what undoing all merging would take of the free memory: far below 80 %, so there is
no risk. A full scan of a few seconds is fast, so new programs merge soon; some minutes are common, and good enough."""),
    Example(0, "consumers", {}, "Savings by consumer, on Linux 5.19 or later.", """\
The bars show which consumers the savings come from. Compare "overhead" with "saved" in each row: a consumer whose
overhead is larger should opt out, such as getty@tty1 here. "not attributed" belongs to processes that exited or cannot
be read; if it is most of the sum, run ksm-explain as root. Here it does not see ksmd, and says what to do."""),
    Example(11, "6.12", {"run": 0}, "KSM is off, as on most hosts after boot.", """\
Before you switch it on, --estimate shows what it would save. The advice also has the line that makes it last."""),
    Example(20, "6.12", {"run": 1}, "KSM is on, and still nothing is merged.", """\
"tracked" is 0: no program has offered memory. Neither the scan rate nor waiting changes that. Start with the
program that you expected to merge: the advice names the setting for each kind."""),
    Example(22, "6.6", {"sharing": 0, "shared": 0, "zero": 0, "profit": -10_176_896, "full_scans": 1},
            "KSM was switched on a moment ago.", """\
A negative balance is normal here: the records are there before the first page is merged. "one scan takes" says how
long to wait; judge after three of them."""),
    Example(32, "6.18", {"unshared": 5_140_113, "profit": -209_711_232}, "KSM costs more than it saves.", """\
Over five million pages are tracked for 125 MiB. Do not raise the scan rate: it finds no equal pages that are not
there. Look for the consumers with a large overhead and few savings, and let them opt out."""),
    Example(31, "6.1", {}, "KSM saves much, and the host depends on it.", """\
A large saving is not good in itself. "exposure" above 100 % means: if the guests change their memory, it does not fit.
This is the only verdict to act on at once."""),
    Example(13, "5.15", {}, "KSM was stopped.", """\
What was merged stays merged, but the counters stand still, so trust no figure of this report. ksmtuned and KubeVirt
write 0 on purpose, when there is enough memory."""),
    Example(10, "no-ksm", {}, "A kernel without KSM.", """\
Only another kernel helps. A container always uses that of its host."""),
]


def report(build, example, directory):
    """Return the report of EXAMPLE, on a tree created in DIRECTORY."""
    tree = fixtures.make_tree(build, example.era, directory)
    for metric, value in example.changes.items():
        put(tree, FILES[metric], f"{value}\n")
    done = fixtures.explain_once(build, tree)
    assert done.returncode == example.status, done.stdout
    return done.stdout.replace(f"{tree.name}/", "/")


def text(build, directory):
    """Return the whole example as the program prints it now, with trees created in DIRECTORY; reports take a second each."""
    with ThreadPoolExecutor(len(EXAMPLES)) as pool:
        reports = list(pool.map(lambda number: report(build, EXAMPLES[number], Path(directory, f"example-{number}")),
                                range(len(EXAMPLES))))
    parts = [f"{TITLE}\n{'=' * len(TITLE)}", wrapped(INTRODUCTION)]
    for number, (example, shown) in enumerate(zip(EXAMPLES, reports), 1):
        heading = f"{number}. {example.before}"
        parts += [f"\n{heading}\n{'-' * len(heading)}",
                  f"# ksm-explain; echo \"status $?\"\n{shown}status {example.status}", wrapped(example.after)]
    return "\n\n".join(parts) + "\n"


def wrapped(prose):
    """Return PROSE in lines of COLUMNS."""
    return textwrap.fill(" ".join(prose.split()), COLUMNS)
