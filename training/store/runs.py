"""The run store: one folder a run, written so that no interruption leaves it unreadable. Needs no torch.

    <dataset>-<imbalance>-<sampler>-<classifier>-<loss>-<preset>-<key>/seed-<n>/
        config.json data.json       every choice; the data's name and hash
        epochs.jsonl                a row an epoch
        checkpoint-<epoch>.*        weights and optimizer (safetensors), rows and the SHA-256 of both; the last two are kept
        geometry-<epoch>.safetensors   class vectors, feature means by class and label pair (training/run/measurement.py)
        final.safetensors           weights, label-pair counts, mixing ratios, what test images are taken for, their features
        metrics.json                the result: last and best epoch, per class, versions, commit, device, seconds

Files are written under another name and renamed; a run is held by a lock on its folder that ends with its process.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import math
import os
import re
import socket
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lpm.console.errors import InvalidInput
from lpm.console.output import write
from training.config import RunConfig, from_json
from training.data.untrusted import contents, line
from training.store import results
from training.store.locks import HELD, Busy
from training.store.results import RunResult

LIMIT = 4_000_000_000
"""Bytes of a checkpoint that are read; ResNet-152's has half a billion."""

OURS = r"(config|data|metrics)\.json|epochs\.jsonl|final\.safetensors|(checkpoint|geometry)-\d{7}\.(json|safetensors)"
"""Names of the files of a run."""

KEPT = 2
"""Checkpoints; if the last one is damaged, the one before is used."""


class RunFolder:
    """The folder of one run. task: whose run it is while this process holds it, for those who find it held."""

    def __init__(self, store: Path, config: RunConfig, task: str = "") -> None:
        self.path, self.config, self.task = store / config.folder, config, task

    def open(self, data: dict[str, str]) -> None:
        """Make the folder, or see that it is this run's, on these data (name and hash).

        Raises InvalidInput when it holds a run of another config or on other data.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInput(f"the run store cannot hold {str(self.path)!r}: {error.strerror}") from None
        self.check(data)
        for name, content in (("config.json", asdict(self.config)), ("data.json", data)):
            if not (self.path / name).exists():
                write(self.path / name, json.dumps(content, indent=1).encode())

    def check(self, data: dict[str, str]) -> None:
        """Raise InvalidInput when the folder holds a run of another config, or one begun on other data (as ``data`` says), or
        something else under the name of a file.
        """
        for file in self.path.glob("*"):
            # In this order: one that is gone by now was a living writer's, which may be seen here without the lock.
            if re.fullmatch(OURS, file.name) and not file.is_file() and os.path.lexists(file):
                raise InvalidInput(f"{str(file)!r} is not a file; move it away")
        if (self.path / "config.json").exists() and read_config(self.path / "config.json") != self.config:
            raise InvalidInput(f"{str(self.path)!r} holds a run of another config; choose another --store")
        if self.begun and (self.path / "data.json").exists():
            there = _read_json(self.path / "data.json")
            if not isinstance(there, dict) or {k: there.get(k) for k in data} != data:
                name = there.get("name") if isinstance(there, dict) else None
                other = "--name" if self.config.data_set.user_named else "--store"
                raise InvalidInput(
                    f"{str(self.path)!r} holds a run on other data or weights ({name}); choose another {other}, or delete it"
                )

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run, and say who does. Raises Busy when another process does; a dead process holds nothing."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        try:
            handle = os.open(self.path / "lock", flags, 0o644)
        except OSError as error:
            raise InvalidInput(f"{str(self.path / 'lock')!r} cannot be opened: {error.strerror}") from None
        HELD.add(handle)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder, _, task = os.pread(handle, 500, 0).decode(errors="replace").partition("\n")
                busy = Busy(f"{str(self.path)!r} is being trained by {line(holder) or 'another process'}")
                busy.task = task
                raise busy from None
            with contextlib.suppress(OSError):  # words for others; a full disk is said where it matters
                os.ftruncate(handle, 0)
                os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}\n{self.task}".encode(), 0)
                os.fsync(handle)  # other hosts shall see it now
            yield
        finally:
            HELD.discard(handle)
            os.close(handle)

    @property
    def begun(self) -> bool:
        """Whether an epoch was finished once."""
        return self.done or (self.path / "epochs.jsonl").exists()

    @property
    def done(self) -> bool:
        """Whether the result is there."""
        return (self.path / "metrics.json").is_file()

    def result(self, *needed: str) -> RunResult:
        """Read the result of a finished run.

        Args:
            needed: fields of the result, or accuracies, that must be there.

        Returns:
            The result.

        Raises:
            InvalidInput: if it is missing, damaged, or lacks what is needed.
        """
        file = self.path / "metrics.json"
        return results.from_json(_read_json(file), file).require(file, *needed)

    def rows(self) -> list[dict[str, Any]]:
        """The rows of all finished epochs, from the copy for people and programs that follow a run."""
        file = self.path / "epochs.jsonl"
        try:
            return [json.loads(row) for row in contents(file, LIMIT).decode().splitlines()] if file.is_file() else []
        except (ValueError, RecursionError):
            raise InvalidInput(f"{str(file)!r} is damaged") from None

    def save_checkpoint(self, epoch: int, data: bytes, rows: list[dict[str, Any]]) -> None:
        """Store a checkpoint with the rows up to it, then drop old checkpoints."""
        name = f"checkpoint-{epoch:07d}"
        write(self.path / f"{name}.safetensors", data)
        write(self.path / "epochs.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
        content = {"epoch": epoch, "key": self.config.key, "rows": rows}  # last: what it vouches for is there
        write(self.path / f"{name}.json", json.dumps(content | {"sha256": _digest(data, content)}).encode())
        for old in sorted(self.path.glob("checkpoint-*.json"))[:-KEPT]:
            old.unlink()
            old.with_suffix(".safetensors").unlink(missing_ok=True)

    def last_checkpoint(self) -> tuple[int, bytes, list[dict[str, Any]]] | None:
        """The newest checkpoint whose checksum holds, with its rows, or None."""
        for file in sorted(self.path.glob("checkpoint-*.json"), reverse=True):
            try:
                content = json.loads(contents(file, LIMIT))
                data = contents(file.with_suffix(".safetensors"), LIMIT)
                digest, epoch, rows = content.pop("sha256"), content["epoch"], content["rows"]
                own = content["key"] == self.config.key and digest == _digest(data, content) and len(rows) == epoch
                if own and all(math.isfinite(row["test_all"]) for row in rows):
                    return epoch, data, rows
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):  # InvalidInput is a ValueError
                continue
        return None

    def save_geometry(self, epoch: int, data: bytes) -> None:
        """Store what :mod:`training.run.measurement` measured after an epoch."""
        write(self.path / f"geometry-{epoch:07d}.safetensors", data)

    def geometries(self) -> list[int]:
        """Epochs whose geometry is stored, rising."""
        return sorted(int(file.stem.removeprefix("geometry-")) for file in self.path.glob(f"geometry-{'[0-9]' * 7}.*"))

    def drop_geometries(self, before: int) -> None:
        """Remove measurements of earlier epochs."""
        for epoch in self.geometries():
            if epoch < before:
                (self.path / f"geometry-{epoch:07d}.safetensors").unlink(missing_ok=True)

    def geometry(self, epoch: int) -> dict[str, np.ndarray]:
        """The geometry after an epoch, by name. Raises InvalidInput when it is missing or damaged."""
        return _tensors(self.path / f"geometry-{epoch:07d}.safetensors")

    def final(self) -> dict[str, np.ndarray]:
        """What a finished run left: see the top of this file. Raises InvalidInput when it is missing or damaged."""
        return _tensors(self.path / "final.safetensors")

    def resume(self, data: dict[str, str]) -> tuple[int, bytes, list[dict[str, Any]]] | None:
        """:meth:`last_checkpoint`, after removing what a killed writer left and every checkpoint that is newer, hence damaged: of
        those with the highest numbers the last two are kept, and new ones would be dropped in their favour. Where nothing is
        left, the run is one on these data from now on. Needs the lock. Raises as :meth:`check`.
        """
        self.check(data)
        found = self.last_checkpoint()
        epoch = 0 if found is None else found[0]
        for file in (*self.path.glob("checkpoint-*"), *self.path.glob(".*")):
            half = re.fullmatch(rf"\.({OURS})\.\d+", file.name) and not file.name.startswith((".config", ".data"))
            damaged = file.name.startswith("checkpoint-") and not file.name <= f"checkpoint-{epoch:07d}.~"
            if (half or damaged) and (file.is_file() or file.is_symlink()):
                file.unlink()
        content, file = json.dumps(data, indent=1).encode(), self.path / "data.json"
        if found is None and not (file.is_file() and file.read_bytes() == content):
            write(file, content)
        return found

    def finish(self, final: bytes, result: RunResult) -> None:
        """Store the result; the checkpoints are no longer needed.

        Args:
            final: the content of ``final.safetensors``.
            result: the content of ``metrics.json``.
        """
        self.save_final(final)
        content = json.dumps(result.to_json(), indent=1, allow_nan=False) + "\n"
        write(self.path / "metrics.json", content.encode())
        self.drop_checkpoints()

    def save_final(self, data: bytes) -> None:
        """Store what :meth:`final` reads."""
        write(self.path / "final.safetensors", data)

    def drop_checkpoints(self) -> None:
        """Remove what a finished run does not need."""
        for file in self.path.glob("checkpoint-*"):
            file.unlink(missing_ok=True)


def _digest(data: bytes, content: dict[str, Any]) -> str:
    return hashlib.sha256(data + json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_config(path: Path) -> RunConfig:
    """A stored config. Raises InvalidInput when it is missing, not JSON, or not a config."""
    try:
        return from_json(_read_json(path))
    except InvalidInput as error:
        raise InvalidInput(f"{str(path)!r} is no config of a run: {error}") from None


def seeds_of(path: Path) -> list[Path]:
    """The folders of the finished runs, by rising seed, in one whose runs differ in their seed alone; else the folder itself."""
    found = [file.parent for file in path.glob("seed-*/config.json") if file.parent.name[5:].isdecimal()]
    finished = [folder for folder in found if (folder / "metrics.json").is_file()]
    return sorted(finished or found, key=lambda folder: int(folder.name[5:])) or [path]


def each(paths: Sequence[Path]) -> list[Path]:
    """The folders of runs that are named by their own folder or by :func:`seeds_of`'s, once each."""
    return list({os.path.abspath(seed): seed for path in paths for seed in seeds_of(path)}.values())


def at(path: Path | str) -> RunFolder:
    """A finished run by its own folder (``.../seed-<n>``), or by one that holds it and no other. Raises InvalidInput for
    anything else.
    """
    path, *others = seeds_of(Path(path))
    if others:
        raise InvalidInput(
            f"{str(path.parent)!r} holds {len(others) + 1} runs; give one of them, such as {str(path)!r}"
        )
    if not os.path.isfile(path / "config.json"):
        raise InvalidInput(
            f"{str(path)!r} is not a run: it holds no config.json; give a folder such as runs/.../seed-0"
        )
    here = Path(os.path.abspath(path))
    folder = RunFolder(here.parent.parent, read_config(path / "config.json"))
    if folder.path != here:
        raise InvalidInput(
            f"{str(path)!r} is a copy under another name; its config belongs to {folder.config.folder!r}"
        )
    if not folder.done:
        raise InvalidInput(f"{str(path)!r} is not finished; the training command that began it continues it")
    return folder


def find(store: Path) -> Iterator[RunFolder]:
    """All runs of a store that can be read, by folder name; copies under other names are left out."""
    for file in sorted(store.glob("*/seed-*/config.json")):
        try:
            folder = RunFolder(store, read_config(file))
        except InvalidInput:
            continue  # damaged, or of another version
        if folder.path == file.parent:  # else a copy under another name
            yield folder


def _tensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:  # the last: of a type that numpy lacks
        raise InvalidInput(f"{str(path)!r} cannot be read: {str(error)[:80]}") from None


def _read_json(path: Path) -> dict[str, Any]:
    data = contents(path, LIMIT)
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise InvalidInput(f"{str(path)!r} cannot be read: not JSON") from None
