# SPDX-License-Identifier: MIT
"""The results of the machines: what one printed, its checks, and the table of all."""

import re
import shutil

from expected import expected_metrics
from markers import put_into


class Record:
    """The result of one machine: the facts in its row of the table, and the checks."""

    def __init__(self, seconds, size, day, **facts):
        """Begin a record of which only FACTS are known yet."""
        self.seconds, self.size, self.day, self.facts = seconds, size, day, facts
        self.checks = []            # (name, whether it is right, what is wrong)

    def check(self, name, got, want):
        """Record whether GOT of the check NAME is WANT."""
        self.checks.append((name, got == want, f"got {got}, want {want}"))

    @property
    def passed(self):
        """The number of checks that passed."""
        return sum(ok for _name, ok, _text in self.checks)

    def print(self):
        """Print failed checks and a summary."""
        for name, ok, text in self.checks:
            if not ok:
                print(f"  FAIL {name}: {text}")
        print(f"  {self.facts.get('kernel', '?')}: {self.passed} of {len(self.checks)} checks, {self.seconds} s, "
              f"{self.size / 1e6:.0f} MB downloaded", flush=True)


def table(records, columns):
    """Return RECORDS as a Markdown table with these COLUMNS of facts, and the results."""
    rows = [[*columns, "checks", "boot", "tried"], ["---"] * (len(columns) + 3)]
    rows += [[*(record.facts.get(column, "?") for column in columns), f"{record.passed} of {len(record.checks)}",
              f"{record.seconds} s", record.day] for record in records]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows).replace(" --- ", "---")


def conclude(records, columns, readme, name):
    """Print the table of RECORDS, put it into the file README between the markers NAME; return the exit status."""
    print(f"\n{table(records, columns)}")
    if readme:
        put_into(readme, name, table(records, columns))
    passed = sum(record.passed == len(record.checks) for record in records)
    print(f"{passed} of {len(records)} passed")
    return 0 if records and passed == len(records) else 1


class Output:
    """The parts of what a machine printed: {name: [(text, status)]}."""

    def __init__(self, console):
        """Take the text of the CONSOLE."""
        self.parts, self.problems, name, lines = {}, [], None, []
        self.complete = False
        for line in console.replace("\r", "").splitlines():
            begin, end = re.search(r"@begin (\S+)$", line), re.fullmatch(r"(.*)@end (\d+)", line)
            if begin:               # after what the firmware left in that line
                name, lines = begin[1], []
            elif end:
                text = "".join(f"{line}\n" for line in [*lines, *filter(None, [end[1]])])
                self.parts.setdefault(name, []).append((text, int(end[2])))
                name = None
            elif name:
                lines.append(line)
            elif line.startswith("@problem "):
                self.problems.append(line)
            self.complete = self.complete or line == "@done"

    def text(self, name, which=0):
        """Return the text of the part NAME."""
        return self.parts[name][which][0]

    def files(self, name):
        """Return {path: text} of the part NAME, which grep -H printed."""
        found = {}
        for line in self.text(name).splitlines():
            path, _, rest = line.partition(":")
            found[path[1:]] = found.get(path[1:], "") + rest + "\n"
        return found

    def expected_metrics(self, part, trees, page_size):
        """Return {metric: integer} of the files of PART, which are put into the directory TREES."""
        tree = trees / part
        shutil.rmtree(tree, ignore_errors=True)
        for path, text in self.files(part).items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_text(text)
        return expected_metrics(tree, page_size)


def judge(text, record, checks):
    """Put into RECORD what CHECKS(output) finds in the TEXT that a machine printed."""
    output = Output(text)
    record.check("problems", output.problems, [])
    try:
        checks(output)
    except (KeyError, IndexError, ValueError) as error:
        record.check("output", f"cut off or garbled: {error!r}", "complete")
    record.check("done", output.complete, True)
