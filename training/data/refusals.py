"""What is wrong with data, collected and refused at once. One restart for each broken row or file would be many."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator

from lpm.console.errors import InvalidInput

NAMED = 20
"""Rows, files or names that are named when many are refused or left out."""

Refuse = Callable[[str], None]
"""Called with one sentence on a row, a folder or a name that cannot be used."""

RefuseFile = Callable[[str, str], None]
"""Called with the path of a file that cannot be used, and one sentence that names it."""


def at_once(reason: str) -> None:
    """Refuse what is wrong as soon as it is met: a :data:`Refuse`.

    Args:
        reason: what is wrong, naming it.

    Raises:
        InvalidInput: always, with the reason.
    """
    raise InvalidInput(reason)


def file_at_once(path: str, reason: str) -> None:
    """Refuse a file as soon as it is met: a :data:`RefuseFile`.

    Args:
        path: the file.
        reason: what is wrong, naming it.

    Raises:
        InvalidInput: always, with the reason.
    """
    raise InvalidInput(reason)


def refuse(reasons: Collection[str], among: str, remedy: str) -> None:
    """Refuse what cannot be used, all at once; :data:`NAMED` at most are named.

    Args:
        reasons: one sentence for each row, folder, file or name.
        among: of what they are, for the error of several.
        remedy: what to do about each.

    Raises:
        InvalidInput: if there is a reason.
    """
    if len(reasons) == 1:
        raise InvalidInput(f"{next(iter(reasons))}; {remedy}")
    if reasons:
        raise InvalidInput(
            f"{len(reasons):,} {among} cannot be used, as named above; {remedy}", lines=tuple(lines_of(reasons))
        )


def lines_of(reasons: Collection[str], start: str = "") -> Iterator[str]:
    """Name what cannot be used, one per line, :data:`NAMED` at most.

    Args:
        reasons: one sentence for each.
        start: the beginning of each line.

    Yields:
        The lines.
    """
    for reason in itertools.islice(reasons, NAMED):
        yield f"{start}{reason}"
    if len(reasons) > NAMED:
        yield f"and {len(reasons) - NAMED:,} more; python -m training.check names all"
