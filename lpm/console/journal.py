"""Records kept one by one in a file, so that a command that was ended goes on from them.

Each line is a checksum and JSON; nothing in it is executed. A line that was cut off, or altered, is left out.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import stat
import zlib
from collections.abc import Collection, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

Record = TypeVar("Record")
"""A dataclass."""

LONGEST = 1_000_000
"""Largest number of bytes of a line that is read."""


class Journal:
    """A file of records by their keys, begun with those that earlier files have.

    Args:
        path: the file. It is made with the first record.
        earlier: files of earlier commands, those to be trusted first.
        keys: keys of the records to read; others are left out.

    Attributes:
        records: the records that were read, by key. Their types are to be checked.
    """

    def __init__(self, path: Path, earlier: Iterable[Path] = (), keys: Collection[str] = ()) -> None:
        self._path, self._file = path, -1
        self.records: dict[str, Any] = {}
        for file in earlier:
            for key, record in dict(_read(file)).items():  # the last of a key, because a useless one is made anew
                if key in keys:
                    self.records.setdefault(key, record)
        if self.records:
            self._write(b"".join(_line(key, record) for key, record in self.records.items()))

    def add(self, key: str, record: Any) -> None:
        """Add a record to the file. It outlives a kill of the process.

        Args:
            key: its key.
            record: JSON types, among them nan and infinity, and NumPy scalars.

        Raises:
            OSError: if the file cannot be written.
        """
        self._write(_line(key, record))

    def _write(self, data: bytes) -> None:
        if self._file < 0:
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        while data:
            data = data[os.write(self._file, data) :]

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file >= 0:
            os.close(self._file)


def _line(key: str, record: Any) -> bytes:
    text = json.dumps([key, record], default=lambda value: value.item() if isinstance(value, np.generic) else value)
    return f"{zlib.crc32(text.encode()):08x} {text}\n".encode()


def _read(path: Path) -> Iterable[tuple[str, Any]]:
    """Read a file's records. A pipe, a link or a file that cannot be read has none."""
    with contextlib.suppress(OSError):
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(file, "rb") as lines:
            if stat.S_ISREG(os.fstat(file).st_mode):
                while line := lines.readline(LONGEST):
                    with contextlib.suppress(ValueError, RecursionError):
                        checksum, text = line[:8], line[9:-1]
                        if int(checksum, 16) == zlib.crc32(text):
                            key, record = json.loads(text)
                            yield str(key), record


def restored(kind: type[Record], record: Any) -> Record | None:
    """Make a dataclass of its fields as they were read.

    Args:
        kind: the dataclass. Its fields are float, int, str, bool, None, tuples and unions of these.
        record: what was read; tuples are lists in it.

    Returns:
        The object; None if a field is missing, unknown or of another type.
    """
    hints = get_type_hints(kind)
    hints = {field.name: hints[field.name] for field in dataclasses.fields(kind)}  # type: ignore[arg-type]  # Record is a dataclass
    if not isinstance(record, dict) or record.keys() != hints.keys():
        return None
    if not all(_fits(record[name], hint) for name, hint in hints.items()):
        return None
    return kind(**{name: _tuples(value) for name, value in record.items()})


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value has the type of an annotation. A small int is a float, too."""
    parts = get_args(hint)
    if get_origin(hint) is tuple:
        hints = parts[:1] * len(value) if isinstance(value, list) and parts[-1] is ... else parts
        return isinstance(value, list) and len(value) == len(hints) and all(map(_fits, value, hints))
    if parts:
        return any(_fits(value, part) for part in parts)
    return type(value) is hint or (hint is float and type(value) is int and abs(value) < 10**15)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
