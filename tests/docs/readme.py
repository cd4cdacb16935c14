# SPDX-License-Identifier: MIT
"""Puts the tables that the code prints between their markers: readme.py BUILD [--check]

BUILD/tests has the tools that print them.  Renews all TABLES below.
With --check nothing is written, and the exit status is 1 if a table is stale.
"""

import subprocess
import sys
from pathlib import Path

from markers import replaced

REPOSITORY = Path(__file__).resolve().parents[2]

# {file: {marker: tool and its arguments}}.
TABLES = {
    "README.md": {"options": ["metrics", "options"]},
    "collectd/collectd-ksm.5": {name: ["manual", name, "collectd"] for name in ("metrics", "options")},
    "netdata/ksm.plugin.1": {name: ["manual", name, "netdata"] for name in ("metrics", "options")},
    "common/explain/ksm-explain.1": {"statuses": ["manual", "statuses", "explain"]},
    "common/explain/prometheus-openmetrics.yml": {"rules": ["metrics", "rules"]},
}


def printed(build, tool, *arguments):
    """Return what the TOOL of the directory BUILD prints with ARGUMENTS."""
    return subprocess.run([Path(build, "tests", tool), *arguments], check=True, capture_output=True, text=True).stdout


def renewed(build, file, text):
    """Return TEXT of FILE with its tables as the code prints them now."""
    for name, command in TABLES[file].items():
        text = replaced(Path(file), name, text, printed(build, *command))
    return text


def stale(build):
    """Return the files whose tables are not as the code prints them."""
    return [file for file in TABLES
            if renewed(build, file, (REPOSITORY / file).read_text(encoding="utf-8"))
            != (REPOSITORY / file).read_text(encoding="utf-8")]


def main(build, *options):
    """Renew or check all tables; return the exit status."""
    files = stale(build)
    for file in files:
        print(f"readme.py: {file} {'is stale' if '--check' in options else 'is renewed'}")
        if "--check" not in options:
            path = REPOSITORY / file
            path.write_text(renewed(build, file, path.read_text(encoding="utf-8")), encoding="utf-8")
    return 1 if files and "--check" in options else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
