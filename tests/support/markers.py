# SPDX-License-Identifier: MIT
"""Results of a run in a README, between two markers."""

import re
import sys


def put_into(readme, name, text):
    """Put TEXT between the markers NAME of the file README."""
    new, count = re.subn(f"(<!-- {name} -->\n).*?(<!-- /{name} -->)", lambda found: found[1] + text + found[2],
                         readme.read_text(), flags=re.DOTALL)
    if count != 1:
        sys.exit(f"{readme}: {count} pairs of markers <!-- {name} -->, not one")
    readme.write_text(new)
