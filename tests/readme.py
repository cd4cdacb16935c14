# SPDX-License-Identifier: MIT
"""Puts the tables that the code prints between their markers: readme.py FIGURES README [--check].

FIGURES is the tool build/tests/figures. With --check nothing is written, and the exit status is 1
if a table is stale.
"""

import re
import subprocess
import sys

TABLES = {"figures": "table", "options": "options", "statuses": "statuses"}


def renewed(text, name, table):
    """Return TEXT with TABLE between the markers NAME."""
    pattern = f"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
    text, count = re.subn(pattern, lambda m: m[1] + table + m[2], text, flags=re.DOTALL)
    if count != 1:
        sys.exit(f"readme.py: markers {name}: {count} pairs, not one")
    return text


def main(figures, readme, *options):
    with open(readme, encoding="utf-8") as file:
        old = file.read()
    new = old
    for name, command in TABLES.items():
        table = subprocess.run([figures, command], check=True, capture_output=True, text=True).stdout
        new = renewed(new, name, table)
    if "--check" in options:
        return 0 if new == old else 1
    with open(readme, "w", encoding="utf-8") as file:
        file.write(new)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
