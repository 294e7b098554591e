"""Groups of images that belong together, such as those of a patient or of a burst: read from a file, kept on one side.

A network that has seen a patient knows other images of the same patient better than those of a stranger. So all images of
a group are for training, or all are for testing.
"""

from __future__ import annotations

import csv
import io
import os
import posixpath
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path

import numpy as np

from lpm.console.errors import InvalidInput
from lpm.console.text import counted
from training.data.finder import Finder
from training.data.rows import LIMIT, text_of
from training.data.tables import PATHS, delimiter
from training.data.untrusted import contents, line

GROUPS = (
    *("group", "group_id", "patient", "patient_id", "subject", "subject_id", "case", "case_id", "lesion_id"),
    *("burst", "burst_id", "seq_id", "sequence", "sequence_id", "individual", "individual_id"),
)
"""Names of the column of groups, the likelier one first, in small letters."""

PASSES = 20
"""How often all groups are looked at anew while a division improves; it ends before, as a rule."""


def read(source: Path, root: Path, *, column: str | None = None) -> dict[str, str]:
    """Read the group of each image.

    Args:
        source: a table (.csv, .tsv) with columns of paths and groups, or text with ``path group`` on each line.
        root: the folder that paths are relative to. As in lists, a table may leave off endings and folders.
        column: the name of the column of groups; by default the first of :data:`GROUPS` that is there, or the second of
            two columns.

    Returns:
        By path, the group. An image whose group is empty is left out.

    Raises:
        InvalidInput: if the file is no such table or text, lacks the column, names no image, or gives one two groups.
    """
    groups: dict[str, str] = {}
    find = Finder(root, table=True).find
    for number, path, group in _rows(source, column):
        try:
            path = find(posixpath.normpath(path.removeprefix(f"{root}/").removeprefix(f"{os.path.realpath(root)}/")))
        except ValueError as error:
            raise InvalidInput(f"{str(source)!r}, line {number}: {error}") from None
        if groups.setdefault(path, group) != group:
            raise InvalidInput(
                f"{str(source)!r}, line {number}: {path[:200]!r} is in group {groups[path][:40]!r} already, and not in "
                f"{group[:40]!r}"
            )
    if not any(os.path.lexists(root / path) for path in groups if "\0" not in path):
        example = f", such as {next(iter(groups))[:200]!r}" if groups else ""
        raise InvalidInput(
            f"{str(source)!r} names no image of {str(root)!r}{example}; paths are relative to that folder"
        )
    return {path: group for path, group in groups.items() if group}


def _rows(source: Path, column: str | None) -> Iterable[tuple[int, str, str]]:
    """Line, path and group of each row. Raises InvalidInput while rows are taken."""
    data, name = contents(source, LIMIT), repr(str(source))
    ending = source.suffix.lower()
    if ending not in (".csv", ".tsv"):
        if column is not None:
            raise InvalidInput(f"{name} has no columns; --group-column is for a .csv or .tsv file")
        for number, words in enumerate((text.rsplit(None, 1) for text in text_of(data, str(source)).splitlines()), 1):
            if len(words) == 1:
                raise InvalidInput(f"{name}, line {number}: {words[0][:80]!r} is not a path, a space and a group")
            if words:
                yield number, words[0].strip(), words[1]
        return
    lines = csv.reader(io.StringIO(text_of(data, str(source)), newline=""), delimiter=delimiter(data, ending))
    try:
        first = [cell.strip() for cell in next(lines, [])]
        of_path, of_group = _columns(first, column, name)
        for cells in lines:
            if any(cells):
                if len(cells) != len(first):
                    raise InvalidInput(
                        f"{name}, line {lines.line_num}: it has {counted(len(cells), 'cell')}, and the first line {len(first)}"
                    )
                yield lines.line_num, cells[of_path].strip(), cells[of_group].strip()
    except csv.Error as error:
        raise InvalidInput(f"{name}, line {lines.line_num}: {line(error)}") from None


def _columns(header: list[str], column: str | None, name: str) -> tuple[int, int]:
    """The columns of paths and of groups."""
    small = [cell.lower() for cell in header]
    of_path = next((small.index(word) for word in PATHS if word in small), None)
    if of_path is None:
        raise InvalidInput(f"{name}: its first line names no column of paths; name one of its columns 'path'")
    if column is not None:
        if column not in header:
            raise InvalidInput(f"{name} has no column {column!r}; its columns are {', '.join(map(line, header[:10]))}")
        return of_path, header.index(column)
    of_group = next((small.index(word) for word in GROUPS if word in small), None)
    if of_group is None and len(header) == 2:
        of_group = 1 - of_path
    if of_group is None:
        raise InvalidInput(f"{name} has no column 'group' or 'patient'; say which one with --group-column")
    return of_path, of_group


def divide(labels: Sequence[int], groups: Sequence[Hashable], share: float, rng: np.random.Generator) -> np.ndarray:
    """Choose the images for testing, so that no group is on both sides.

    With n_k images of class k, of which t_k are for testing, it looks for a small sum over k of (t_k - share n_k)^2 / n_k.
    Groups are added in random order while that falls, then moved one by one. Each class keeps an image for training, and
    gets one for testing if its groups allow.

    Args:
        labels: class of each image, (N,).
        groups: group of each image, (N,).
        share: share of the images of each class that is for testing, between 0 and 1.
        rng: draws the order.

    Returns:
        Whether each image is for testing, (N,) bool.
    """
    members: defaultdict[Hashable, Counter[int]] = defaultdict(Counter)
    for label, group in zip(labels, groups, strict=True):
        members[group][label] += 1
    total, groups_of = Counter(labels), defaultdict[int, list[Hashable]](list)
    test, chosen = Counter[int](), set[Hashable]()

    def change(group: Hashable) -> float:
        """By how much the sum changes when a group moves to the other side."""
        sign = -1 if group in chosen else 1
        return sum(
            ((test[k] + sign * n - share * total[k]) ** 2 - (test[k] - share * total[k]) ** 2) / total[k]
            for k, n in members[group].items()
        )

    def allowed(group: Hashable) -> bool:
        """Whether no class loses its last image of a side."""
        leaving = group in chosen
        return all((test[k] if leaving else total[k] - test[k]) > n for k, n in members[group].items())

    def move(group: Hashable) -> None:
        sign = -1 if group in chosen else 1
        for k, n in members[group].items():
            test[k] += sign * n
        chosen.symmetric_difference_update({group})

    names = list(members)
    order = [names[i] for i in rng.permutation(len(names))]
    for group in order:
        for k in members[group]:
            groups_of[k].append(group)
    for _ in range(PASSES):
        moved = False
        for group in order:
            if change(group) < -1e-9 and allowed(group):
                move(group)
                moved = True
        for k in (k for k in total if not test[k]):  # a class whose groups are all larger than its share
            if possible := [group for group in groups_of[k] if allowed(group)]:
                move(min(possible, key=change))
                moved = True
        if not moved:
            break
    return np.array([group in chosen for group in groups])
