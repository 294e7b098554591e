"""The result of a finished run: what ``metrics.json`` holds, checked once when it is read. Needs no torch.

:meth:`training.store.runs.RunFolder.finish` writes it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from lpm.console.errors import InvalidInput
from training.store import run_data
from training.store.run_data import DataChange

LARGEST = 2**63
"""Size that a number of a result may have; larger ones are no results, and some cannot be formatted."""

LONGEST = 200
"""A text in a result has fewer characters than this."""


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """A finished run in numbers. A field that an older version did not store has its default.

    Attributes:
        dataset: the name of the data; 'cifar10-jpeg-lt' for re-encoded images.
        method: the name in tables.
        last: accuracies in per cent after the last epoch: 'all' over all test images; 'balanced', the mean over the
            classes, only where these differ in test images; 'many', 'med' and 'few', each the mean over its classes.
        best: 'balanced', else 'all', of the epoch with the highest value, which test images chose; None where it was
            not stored, or not every epoch was evaluated.
        stage1: for a second stage, the folder of the run that it started from, inside the store.
        stage1_last: the accuracies of that run after its last epoch; :attr:`best` is never its.
        holdout: accuracies as :attr:`last`, over the training images that are held out; none without ``--holdout``.
        holdout_counts: images of each class that are held out, (K,).
        per_class: accuracy in per cent of each class, (K,); None for a class without a test image.
        train_counts: training images of each class, (K,).
        splits: first and last class of many, med and few, both included.
        class_names: the name of each class, by falling count of training images; empty where classes have numbers only.
        train_seconds: seconds that training took, without evaluation.
        device: 'cpu', or the name of the GPU.
        arithmetic: 'bfloat16' or 'float32', that of the backbone.
        threads: threads of each process.
        processes: processes that trained the run together.
        torch: PyTorch's version.
        seconds_of_last_start: seconds since the run was started for the last time.
        time: date and time at which the run ended, in UTC.
        commit: commit of this project's checkout, with ``+`` for uncommitted changes; None without a checkout.
        versions: versions of Python and of the packages, by name.
        machine: processor, cores and operating system.
        files: by file name, the SHA-256 of each content that the run's file may have; the weights and the measurements.
            It is more than one only while :mod:`training.measure` replaces the file. Empty where no hash was stored.
        left_out: paths of the image files that were left out, because they could not be used.
        largest_pixels: largest whole number, and largest floating-point number, of pixels with more than eight bits in the
            run's image files; 0 where there are none. All such files are scaled by it.
        data_changes: how the image files changed while the run was trained, in order.
    """

    dataset: str = ""
    method: str = ""
    last: Mapping[str, float]
    best: float | None = None
    stage1: str = ""
    stage1_last: Mapping[str, float] = field(default_factory=dict)
    holdout: Mapping[str, float] = field(default_factory=dict)
    holdout_counts: tuple[int, ...] = ()
    per_class: tuple[float | None, ...] = ()
    train_counts: tuple[int, ...] = ()
    splits: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    train_seconds: float | None = None
    device: str = ""
    arithmetic: str = ""
    threads: int = 0
    processes: int = 0
    torch: str = ""
    seconds_of_last_start: float | None = None
    time: str = ""
    commit: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: str = ""
    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    largest_pixels: tuple[int, float] = (0, 0.0)
    data_changes: tuple[DataChange, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Make the content of ``metrics.json``, without the hash that :func:`sealed` adds.

        Returns:
            Every field by name.
        """
        return asdict(self)

    def require(self, file: Path, *names: str) -> RunResult:
        """See that the result has some fields, which an older version may not have stored.

        Args:
            file: the file that it comes from, for the error message.
            names: names of fields, or of accuracies in :attr:`last`.

        Returns:
            The result itself.

        Raises:
            InvalidInput: if one is missing.
        """
        known = {f.name for f in fields(self)}
        missing = [name for name in names if not (getattr(self, name) if name in known else name in self.last)]
        if missing:
            raise InvalidInput(f"{str(file)!r} lacks {', '.join(missing)}; delete it to train the run again")
        return self


def sealed(content: Mapping[str, Any]) -> bytes:
    """Write a result with the SHA-256 of its values, which :func:`from_json` checks.

    Args:
        content: what :meth:`RunResult.to_json` made.

    Returns:
        The bytes of ``metrics.json``.
    """
    content = {key: value for key, value in content.items() if key != "sha256"}
    return (json.dumps(content | {"sha256": _digest(content)}, indent=1, allow_nan=False) + "\n").encode()


def is_sealed(content: Mapping[str, Any]) -> bool:
    """Tell whether values have the hash that :func:`sealed` added.

    Args:
        content: the content of a file that :func:`sealed` wrote.

    Returns:
        Whether they have.
    """
    return content.get("sha256") == _digest({key: value for key, value in content.items() if key != "sha256"})


def _digest(content: Mapping[str, Any]) -> str:
    """The SHA-256 of values, whatever the white space and the order of the keys that they are written in."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def from_json(data: Any, file: Path) -> RunResult:
    """Read a result. One that an older version wrote has no hash, and is read all the same.

    Args:
        data: the content of ``metrics.json``.
        file: the file, for the error message.

    Returns:
        The result; keys that this version does not know are left out.

    Raises:
        InvalidInput: if it is not a result, its values do not have its hash, it has accuracies outside 0..100, or texts
            that no terminal or table can show.
    """
    if not isinstance(data, dict) or "last" not in data:
        raise InvalidInput(f"{str(file)!r} is damaged; delete it to finish the run again")
    if wrong := [name for name, holds in _CHECKS.items() if name in data and not holds(data[name])]:
        raise InvalidInput(f"{str(file)!r} is damaged ({', '.join(wrong)}); delete it to finish the run again")
    # One changed bit cannot hide: in the key "sha256" it leaves the hashes of files, which are never without that key.
    content = {key: value for key, value in data.items() if key != "sha256"}
    if data["sha256"] != _digest(content) if "sha256" in data else data.get("files"):
        raise InvalidInput(
            f"{str(file)!r} is damaged: its values do not have the SHA-256 in it; delete it to finish the run again"
        )
    stored = {name: data[name] for name in _CHECKS if name in data}
    for name in ("per_class", "train_counts", "holdout_counts", "class_names", "left_out"):
        stored[name] = tuple(stored.get(name, ()))
    stored["largest_pixels"] = tuple(stored.get("largest_pixels", (0, 0.0)))
    stored["data_changes"] = run_data.changes_of(stored.get("data_changes", ()))
    stored["splits"] = {name: (first, last) for name, (first, last) in stored.get("splits", {}).items()}
    stored["files"] = {name: tuple(hashes) for name, hashes in stored.get("files", {}).items()}
    return RunResult(**stored)


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable() and len(value) < LONGEST


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -LARGEST <= value <= LARGEST


def _is_accuracy(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 100


def _is_range(value: Any) -> bool:
    return isinstance(value, list) and [type(v) for v in value] == [int, int]


def _is_whole(value: Any) -> bool:
    return type(value) is int and -LARGEST <= value <= LARGEST


def _is_count(value: Any) -> bool:
    return type(value) is int and 1 <= value <= LARGEST


def _are(holds: Any) -> Any:
    return lambda values: isinstance(values, list) and all(map(holds, values))


def _maps_words_to(holds: Any) -> Any:
    return lambda values: isinstance(values, dict) and all(_is_word(k) and holds(v) for k, v in values.items())


_CHECKS: dict[str, Any] = {
    "dataset": lambda v: isinstance(v, str) and re.fullmatch(r"[a-z0-9-]{1,40}", v) is not None,
    "method": _is_word,
    "last": lambda v: _maps_words_to(_is_accuracy)(v) and "all" in v,
    "best": lambda v: v is None or _is_accuracy(v),  # None where not every epoch was evaluated
    "stage1": _is_word,
    "stage1_last": _maps_words_to(_is_accuracy),
    "holdout": _maps_words_to(_is_accuracy),
    "holdout_counts": _are(_is_whole),
    "per_class": _are(lambda v: v is None or _is_accuracy(v)),
    "train_counts": _are(_is_count),
    "splits": _maps_words_to(_is_range),
    "class_names": _are(_is_word),
    "train_seconds": _is_number,
    "device": _is_word,
    "arithmetic": _is_word,
    "threads": _is_whole,
    "processes": _is_whole,
    "torch": _is_word,
    "seconds_of_last_start": _is_number,
    "time": _is_word,
    "commit": lambda v: v is None or _is_word(v),
    "versions": _maps_words_to(_is_word),
    "machine": _is_word,
    "files": lambda v: _maps_words_to(_are(_is_word))(v),
    "left_out": _are(lambda path: isinstance(path, str)),
    "largest_pixels": lambda v: _are(_is_number)(v) and len(v) == 2 and _is_whole(v[0]) and min(v) >= 0,
    "data_changes": run_data.are_changes,
}
"""For each key of ``metrics.json``, the function that says whether a value is possible."""
