"""From rows of lists to files on the disk: every path is checked before training.

A path is data from elsewhere. It must lead to a regular file inside the root, and to one that no other row has.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from training.data.below import FilesBelow, Seen, check_form, inside
from training.data.class_folders import folder_rows
from training.data.finder import finder_of
from training.data.list_rows import list_rows
from training.data.names import TABLES
from training.data.parts import of_part
from training.data.refusals import Refuse, RefuseFile, at_once, file_at_once
from training.data.rows import Row

HINT = "; if the line is a header, name its columns 'path' and 'label'"
"""Said of the first line of a table, if there is no such image."""


class Found(NamedTuple):
    """The file of a row.

    Attributes:
        path: below the root.
        label: its class.
        seen: what is there.
    """

    path: str
    label: int
    seen: Seen


NO_PART = ": neither a column 'split' nor the folder says 'train' or 'test'; `python -m training.split` divides a list"
"""Said of a row of a list that has both parts."""


@dataclass(kw_only=True)
class Resolver:
    """Finds the files of rows.

    Attributes:
        root: the folder that paths are relative to, without links.
        label_of: numbers the class that a row of a list names; it raises ValueError if there is no such class.
        names: of the classes; None for lists without names.
        named: whether labels of lists may be names, and sources class folders.
        leave_out: paths of files that are left out, as if no list had them.
        refuse: called with what is wrong for each row or folder that cannot be used; by default it raises InvalidInput.
        refuse_file: called with the path of each file that cannot be used, and with what is wrong; by default it raises
            InvalidInput.
        list_of_file: the list that names each file, for all files so far.
    """

    root: Path
    label_of: Callable[[int | str], int]
    names: list[str] | None = None
    named: bool = True
    leave_out: Collection[str] = ()
    refuse: Refuse = at_once
    refuse_file: RefuseFile = file_at_once
    list_of_file: dict[str, str] = field(default_factory=dict)

    def files(self, source: Path, part: str = "") -> Iterator[Found]:
        """Find the files of one list, or of a folder that holds one folder per class.

        Args:
            source: the list, or the folder.
            part: 'train' or 'test', where one list has both.

        Yields:
            The files, each once, in the order of the rows.

        Raises:
            InvalidInput: if the list is malformed, and by default if a row or a file cannot be used.
        """
        look, find = FilesBelow(self.root).look, finder_of(self.root, source).find
        if folder := self.named and source.is_dir():
            rows, place = self._in_folders(source), "image {}"
        else:
            rows, place = list_rows(source, root=self.root, named=self.named, known=self.names, refuse=self.refuse)

        def start_of(row: Row) -> str:
            return f"{str(source)!r}, {place.format(row.number)}"

        for row in of_part(rows, part, lambda row: self.refuse(start_of(row) + NO_PART)) if part else rows:
            start = start_of(row)
            try:
                label = int(row.label) if folder else self.label_of(row.label)
                path = inside(find(row.path), self.root)
            except ValueError as error:
                self.refuse(f"{start}: {error}")
                continue
            if path in self.leave_out:
                continue
            try:
                check_form(path)
                seen = look(path)
            except OSError as error:
                hint = HINT if row.number == 1 and source.suffix.lower() in TABLES[:2] else ""
                self.refuse_file(path, f"{start}: {path[:200]!r}: {error.strerror}{hint}")
                continue
            except ValueError as error:
                self.refuse_file(path, f"{start}: {error}")
                continue
            if (other := self.list_of_file.get(seen.real)) is not None:
                self.refuse(f"{start}: {path[:200]!r} is there already, in {other!r}")
                continue
            self.list_of_file[seen.real] = str(source)
            yield Found(path, label, seen)

    def _in_folders(self, source: Path) -> Iterator[Row]:
        return folder_rows(
            source,
            self.root,
            self.names or [],
            leave_out=self.leave_out,
            refuse=self.refuse,
            refuse_file=self.refuse_file,
        )
