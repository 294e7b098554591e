"""Words from files, folders and command lines, made harmless: for terminals, for Markdown, and for tables in notebooks.

Pages are made by Jinja with its own escaping switched on.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

MARKDOWN = re.compile(r"[\\`\[\]<>|~]|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_])|\*(?!(?<=\s\*)(?:\s|$))")
"""Characters that Markdown may read as a sign. An underscore inside a word is none, nor a star between spaces."""


def shown(text: object, limit: int | None = None) -> str:
    """Make one line of printable characters, which a terminal shows and does not obey.

    Args:
        text: a text, or a path or an error whose words a file may have chosen.
        limit: characters of the line at most; None for all.

    Returns:
        The text. White space is a space; any other character that is not printable is its escape, as in Python.
    """
    line = "".join(c if c.isprintable() else " " if c.isspace() else ascii(c)[1:-1] for c in str(text))
    return line[:limit]


def markdown(text: object) -> str:
    """Make a text that Markdown shows as it is, also in a cell of a table.

    Args:
        text: the text.

    Returns:
        One printable line, with a backslash before each character that Markdown may read as a sign.
    """
    return MARKDOWN.sub(r"\\\g<0>", shown(text))


def html_table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """Make a table of HTML, as notebooks show it.

    Args:
        head: names of the columns; none for a table without a head.
        rows: cells.

    Returns:
        The table; every text is shown as it is.
    """

    def line(tag: str, cells: Sequence[object]) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(shown(cell))}</{tag}>" for cell in cells) + "</tr>"

    lines = [line("th", head)] * bool(head) + [line("td", row) for row in rows]
    return "<table>" + "".join(lines) + "</table>"


def counted(number: int, noun: str, plural: str = "") -> str:
    """Write a number of things.

    Args:
        number: how many.
        noun: one of them.
        plural: several of them, where it is not the noun with an s.

    Returns:
        Such as '1 image' or '1,200 images'.
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
