# SPDX-License-Identifier: MIT
"""Puts generated tables into documents, each between two markers, which are comments in the document's language."""

import re
import sys

COMMENTS = {".md": "<!-- {} -->\n", ".yml": "# {}\n"}
OF_MANUALS = '.\\" {}\n'


def replaced(path, name, text, table):
    """Return TEXT, the content of the document PATH, with TABLE between its markers NAME."""
    comment = COMMENTS.get(path.suffix, OF_MANUALS)
    before, after = (re.escape(comment.format(text)) for text in (name, f"/{name}"))
    text, count = re.subn(f"(?<={before}).*?(?={after})", lambda _match: table, text, flags=re.DOTALL)
    if count != 1:
        sys.exit(f"{path}: markers {name}: {count} pairs, not one")
    return text


def put_into(path, name, table):
    """Put TABLE between the markers NAME of the document PATH."""
    path.write_text(replaced(path, name, path.read_text(encoding="utf-8"), table), encoding="utf-8")
