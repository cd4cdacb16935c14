# SPDX-License-Identifier: MIT
"""Renews common/consumers/characters.def: unicode.py [--check]

It is made from the data files of Debian's package unicode-data.  With --check nothing is written, and the exit
status is 1 if the table is stale, 2 if it was made from another version of Unicode than the installed one.
"""

import re
import sys
from pathlib import Path

TABLE = Path(__file__).resolve().parents[2] / "common/consumers/characters.def"
DATA = Path("/usr/share/unicode")
FIRST = 0x80                # after ASCII
COLUMNS = 100
HEADER = """\
/* SPDX-License-Identifier: MIT
 *
 * Characters that a name may not contain, or not begin with. Made by tests/docs/unicode.py from the data of Unicode {version}
 * (make unicode).
 *
 *   INVISIBLE(first, last)  shows as nothing or as a space: Default_Ignorable_Code_Point, the general
 *                           categories C (but private and unassigned ones) and Z, and U+2800, an empty
 *                           pattern of dots. Beyond ASCII only
 *   MARK     (first, last)  general category M: shows as a part of the character before it
 *
 * A reader defines the macros that it wants; the others are empty here, and all are undefined at the end.
 */
"""
MACROS = ["INVISIBLE", "MARK"]


def values(file):
    """Return {value: its code points} of FILE, a data file of Unicode."""
    found = {}
    for row in re.finditer(r"(?m)^([0-9A-F]+)(?:\.\.([0-9A-F]+))? *; (\w+)", (DATA / file).read_text(encoding="utf-8")):
        found.setdefault(row[3], set()).update(range(int(row[1], 16), int(row[2] or row[1], 16) + 1))
    return found


def version():
    """Return the version of Unicode that is installed here."""
    return re.match(r"# DerivedCoreProperties-([\d.]+)\.txt", (DATA / "DerivedCoreProperties.txt").read_text())[1]


def rows(macro, points):
    """Return the lines that pass POINTS to MACRO as ranges."""
    ranges = []
    for point in sorted(points):
        if ranges and ranges[-1][1] == point - 1:
            ranges[-1][1] = point
        else:
            ranges.append([point, point])
    lines = [""]
    for first, last in ranges:
        row = f"{macro}({first:#06x}, {last:#06x})"
        if len(lines[-1]) + 1 + len(row) > COLUMNS:
            lines.append("")
        lines[-1] = f"{lines[-1]} {row}".strip()
    return "\n".join(lines)


def table():
    """Return the text of the table."""
    category = values("extracted/DerivedGeneralCategory.txt")
    invisible = values("DerivedCoreProperties.txt")["Default_Ignorable_Code_Point"] | {0x2800}
    invisible = {point for point in invisible.union(*(category[name] for name in ["Cc", "Cf", "Cs", "Zs", "Zl", "Zp"]))
                 if point >= FIRST}
    marks = category["Mn"] | category["Mc"] | category["Me"]
    return "\n".join([
        HEADER.format(version=version()),
        *(f"#ifndef {macro}\n#define {macro}(first, last)\n#endif" for macro in MACROS),
        f"\n/* clang-format off */\n\n{rows('INVISIBLE', invisible)}\n\n{rows('MARK', marks - invisible)}\n",
        "/* clang-format on */\n",
        *(f"#undef {macro}" for macro in MACROS)]) + "\n"


def main(*options):
    """Renew or check the table; return the exit status."""
    if "--check" not in options:
        TABLE.write_text(table(), encoding="utf-8")
        return 0
    text = TABLE.read_text(encoding="utf-8")
    if f"Unicode {version()}\n" not in text:
        print(f"unicode.py: installed is Unicode {version()}, from which {TABLE.name} was not made")
        return 2
    return 0 if text == table() else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
