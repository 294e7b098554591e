"""The run store: one folder per run, written so that no interruption leaves it unreadable. Needs no torch.

    <dataset>-<imbalance>-<sampler>-<classifier>-<loss>-<preset>-<key>/seed-<n>/
        config.json data.json       every choice; the data's name and hash (training/store/run_data.py)
        code.json                   hashes of the source of one's own --model and --transform (training/store/run_code.py)
        images.json.gz              of image files, path, class, size, time and hash of each (training/store/run_images.py)
        epochs.jsonl                one row per epoch
        checkpoint-<epoch>.*        weights and optimizer (safetensors); rows, and the SHA-256 of both; two are kept
        geometry-<epoch>.safetensors    measurements: class vectors, feature means by class and label pair
        final.safetensors           weights, label-pair counts, mixing ratios; predictions and features of test images
        metrics.json                the result: last and best epoch, per class, versions, commit, device, seconds; the
                                    SHA-256 of final.safetensors, of the measurements and of its own values
        posthoc.json                what corrections make of the finished run (training/store/posthoc.py)
        lock                        the process that trains the run (training/store/locks.py)

Files are written under another name and then renamed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from lpm.console.errors import InvalidInput
from lpm.console.output import write
from lpm.console.text import shown
from training.config import RunConfig, from_json
from training.data.datasets import LongTailed
from training.data.untrusted import contents, line
from training.store import locks, results, run_data
from training.store.checkpoints import LIMIT, OURS, Checkpoints
from training.store.results import RunResult

FINAL, RESULT = "final.safetensors", "metrics.json"
"""Names of the files of a finished run's weights and of its result."""


class RunFolder(Checkpoints):
    """The folder of one run.

    Args:
        store: the folder of the run store.
        config: the run, which names the folder.
        task: the engine's name of this process's task, which others read while it holds the run; '' if it has none.
    """

    def __init__(self, store: Path, config: RunConfig, task: str = "") -> None:
        super().__init__(store / config.folder, config.key)
        self.config, self.task = config, task

    def open(self, data: dict[str, str], *, images: LongTailed | None = None, go_on: bool = False) -> None:
        """Write the run's choices and data into its folder, or see that it holds this run on these data.

        A process that trains the run holds the lock meanwhile, so that the remains of other processes are of dead ones.

        Args:
            data: name and hash of the data, and the hash of pretrained weights where there are any.
            images: as in :meth:`check`.
            go_on: as in :meth:`check`.

        Raises:
            InvalidInput: if the folder cannot be made, and as :meth:`check`.
        """
        self._make()
        self.check(data, images=images, go_on=go_on)
        for name, content in (("config.json", asdict(self.config)), ("data.json", data)):
            if not (self.path / name).exists():
                write(self.path / name, json.dumps(content, indent=1).encode())

    def check(self, data: dict[str, str], *, images: LongTailed | None = None, go_on: bool = False) -> str:
        """See that the folder holds this run on these data, or no run yet.

        Args:
            data: name and hash of the data, and the hash of pretrained weights where there are any.
            images: the data themselves, which say how image files differ from the run's.
            go_on: whether a run on image files may go on though they have changed.

        Returns:
            How the image files differ, in words; '' where they do not.

        Raises:
            InvalidInput: if it holds a run of another config, a run that began on other data, or something that is no
                file under the name of one.
        """
        for file in self.path.glob("*"):
            # In this order: without the lock a process may be writing here, and a file that is gone by now was its own.
            if re.fullmatch(OURS, file.name) and not file.is_file() and os.path.lexists(file):
                raise InvalidInput(f"{str(file)!r} is not a file; move it away")
        if (self.path / "config.json").exists() and read_config(self.path / "config.json") != self.config:
            raise InvalidInput(f"{str(self.path)!r} holds a run of another config; choose another --store")
        if not (self.begun and (self.path / run_data.DATA).exists()):
            return ""
        option = "--name" if self.config.data_set.user_named else "--store"
        remedy = f"choose another {option}, or delete it"
        return run_data.check(self.path, data, images, go_on=go_on, done=self.done, remedy=remedy)

    def lock(self) -> AbstractContextManager[None]:
        """Hold the run while this process trains it. Makes its folder where there is none.

        Returns:
            The context manager :func:`training.store.locks.hold`.

        Raises:
            InvalidInput: if the folder cannot be made.
        """
        self._make()
        return locks.hold(self.path, self.task)

    def _make(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInput(f"folder {str(self.path)!r} cannot be made: {error.strerror}") from None

    @property
    def begun(self) -> bool:
        """Whether an epoch has ended."""
        return self.done or (self.path / "epochs.jsonl").exists()

    @property
    def epochs(self) -> int:
        """Epochs that the run has been trained for, as the names of its files say."""
        if self.done:
            return self.config.epochs
        numbers = (re.fullmatch(r"checkpoint-(\d{7})\.json", file.name) for file in self.path.glob("checkpoint-*"))
        return min(self.config.epochs, max((int(number[1]) for number in numbers if number), default=0))

    @property
    def done(self) -> bool:
        """Whether the run has ended and its result is stored."""
        return (self.path / RESULT).is_file()

    def result(self, *needed: str) -> RunResult:
        """Read the result of a finished run.

        Args:
            needed: fields of the result, or accuracies, that must be there.

        Returns:
            The result.

        Raises:
            InvalidInput: if it is missing, damaged, or lacks what is needed.
        """
        file = self.path / RESULT
        return results.from_json(_read_json(file), file).require(file, *needed)

    def rows(self) -> list[dict[str, Any]]:
        """Read the rows of all finished epochs, from the copy for people and programs that follow a run.

        Returns:
            One row per epoch: what was written of it, by name; none if no epoch has ended.

        Raises:
            InvalidInput: if the file is damaged.
        """
        file = self.path / "epochs.jsonl"
        try:
            return [json.loads(row) for row in contents(file, LIMIT).decode().splitlines()] if file.is_file() else []
        except (ValueError, RecursionError):
            raise InvalidInput(f"{str(file)!r} is damaged") from None

    def save_geometry(self, epoch: int, data: bytes) -> None:
        """Store the measurements of an epoch.

        Args:
            epoch: the epoch after which they were made.
            data: what :mod:`training.run.measurement` measured, in safetensors' format.
        """
        write(self.path / _geometry(epoch), data)

    def geometries(self) -> list[int]:
        """List the epochs whose measurements are stored.

        Returns:
            The epochs, rising.
        """
        return sorted(int(file.stem.removeprefix("geometry-")) for file in self.path.glob(f"geometry-{'[0-9]' * 7}.*"))

    def drop_geometries(self, before: int) -> None:
        """Remove measurements of earlier epochs.

        Args:
            before: the first epoch whose measurements are kept.
        """
        for epoch in self.geometries():
            if epoch < before:
                (self.path / _geometry(epoch)).unlink(missing_ok=True)

    def geometry(self, epoch: int) -> dict[str, np.ndarray]:
        """Read the measurements of an epoch.

        Args:
            epoch: the epoch after which they were made.

        Returns:
            Arrays by name; :mod:`training.run.measurement` says which.

        Raises:
            InvalidInput: if they are missing or damaged, or differ from what the finished run stored.
        """
        return self._tensors(_geometry(epoch))

    def final(self) -> dict[str, np.ndarray]:
        """Read ``final.safetensors`` of a finished run.

        Returns:
            Arrays by name: weights, label-pair counts, mixing ratios, predictions of test images, their features.

        Raises:
            InvalidInput: if the file is missing or damaged, or differs from what the finished run stored.
        """
        return self._tensors(FINAL)

    def content(self, name: str) -> bytes:
        """Read a file of weights or measurements, and see that it is the one that the finished run stored.

        A run of an older version stored no SHA-256. Its files are read unchecked.

        Args:
            name: the file's name, such as ``final.safetensors``.

        Returns:
            Its content.

        Raises:
            InvalidInput: if the file is missing, or its SHA-256 is not the one in ``metrics.json``.
        """
        data = contents(self.path / name, LIMIT)
        hashes = self.result().files.get(name) if self.done else None
        if hashes and hashlib.sha256(data).hexdigest() not in hashes:
            raise InvalidInput(
                f"{str(self.path / name)!r} is damaged: its SHA-256 is not the one in metrics.json; {self._remedy(name)}"
            )
        return data

    def _remedy(self, name: str) -> str:
        if name == _geometry(self.config.epochs):
            return "training.measure makes it again"
        return "delete metrics.json and repeat the training command, which trains the run again"

    def _tensors(self, name: str) -> dict[str, np.ndarray]:
        from safetensors import SafetensorError
        from safetensors.numpy import load

        data = self.content(name)
        try:
            return load(data)
        except (SafetensorError, ValueError, KeyError, TypeError) as error:  # KeyError: a type that numpy lacks
            raise InvalidInput(
                f"{str(self.path / name)!r} cannot be read: {line(error)}; {self._remedy(name)}"
            ) from None

    def finish(self, final: bytes, result: RunResult) -> RunResult:
        """Store the result, and remove the checkpoints, which are no longer needed.

        Args:
            final: the content of ``final.safetensors``.
            result: the numbers for ``metrics.json``.

        Returns:
            The result with the SHA-256 of the files that belong to it.
        """
        write(self.path / FINAL, final)
        files = {FINAL: (hashlib.sha256(final).hexdigest(),)}
        for epoch in self.geometries():
            with suppress(InvalidInput):  # what cannot be read is reported to who asks for it
                data = contents(self.path / _geometry(epoch), LIMIT)
                files[_geometry(epoch)] = (hashlib.sha256(data).hexdigest(),)
        result = replace(result, files=files)
        write(self.path / RESULT, results.sealed(result.to_json()))
        self.drop_checkpoints()
        return result

    def measured_again(self, epoch: int, geometry: bytes, final: bytes) -> None:
        """Replace the measurements and the weights of a finished run; measurements of other epochs are removed.

        This process must hold the lock. ``metrics.json`` has the right SHA-256 of each file at every moment, so a kill
        in between damages nothing.

        Args:
            epoch: the last epoch.
            geometry: what :mod:`training.run.measurement` measured, in safetensors' format.
            final: the content of ``final.safetensors``.

        Raises:
            InvalidInput: if ``metrics.json`` is damaged.
        """
        new = {FINAL: final, _geometry(epoch): geometry}
        hashes = {name: hashlib.sha256(data).hexdigest() for name, data in new.items()}
        old = self.result().files
        if both := {name: (*old[name], value) for name, value in hashes.items() if name in old}:
            self._save_files(both)
        for name, data in new.items():
            write(self.path / name, data)
        self.drop_geometries(before=epoch)
        self._save_files({name: (value,) for name, value in hashes.items()})

    def _save_files(self, files: dict[str, tuple[str, ...]]) -> None:
        """Store other hashes of files; what else is in ``metrics.json`` stays, also keys of another version."""
        content = _read_json(self.path / RESULT)
        write(self.path / RESULT, results.sealed(content | {"files": files}))


def _geometry(epoch: int) -> str:
    return f"geometry-{epoch:07d}.safetensors"


def read_config(path: Path) -> RunConfig:
    """Read a stored config.

    Args:
        path: a run's ``config.json``.

    Returns:
        The run.

    Raises:
        InvalidInput: if the file is missing, is not JSON, or is not a config.
    """
    try:
        return from_json(_read_json(path))
    except InvalidInput as error:
        raise InvalidInput(f"{str(path)!r} is no config of a run: {error}") from None


def seed_paths(path: Path) -> list[Path]:
    """List the run folders in a folder of runs that differ in their seed alone.

    Args:
        path: a folder that holds folders ``seed-<n>``, or any other folder.

    Returns:
        The folders of its finished runs, by rising seed; those of all its runs if none is finished; ``path`` itself if
        it holds no run.
    """
    folders = [file.parent for file in path.glob("seed-*/config.json") if file.parent.name[5:].isdecimal()]
    finished = [folder for folder in folders if (folder / "metrics.json").is_file()]
    return sorted(finished or folders, key=lambda folder: int(folder.name[5:])) or [path]


def run_paths(paths: Sequence[Path]) -> list[Path]:
    """List the run folders that a command line names.

    Args:
        paths: folders of runs, folders that hold runs which differ in their seed alone, or stores of such folders.

    Returns:
        The folders of the runs, each once.
    """
    return list({os.path.abspath(seed): seed for path in paths for seed in _runs_below(path)}.values())


def _runs_below(path: Path) -> list[Path]:
    """The run folders of a setting or of a store; of the second those that :func:`find` sees, sorted."""
    if (seeds := seed_paths(path)) != [path] or os.path.lexists(path / "config.json"):
        return seeds
    return sorted((folder.path for folder in find(path)), key=lambda run: (run.parent, int(run.name[5:]))) or [path]


def at(path: Path | str) -> RunFolder:
    """Open a finished run.

    Args:
        path: its own folder (``.../seed-<n>``), or a folder that holds this run alone.

    Returns:
        The folder of the run.

    Raises:
        InvalidInput: if the folder holds several runs or none, if it is a copy under another name, or if the run is not
            finished.
    """
    path, *rest = seed_paths(Path(path))
    if rest:
        raise InvalidInput(f"{str(path.parent)!r} holds {len(rest) + 1} runs; give one of them, such as {str(path)!r}")
    if not os.path.isfile(path / "config.json"):
        raise InvalidInput(
            f"{str(path)!r} is not a run: it holds no config.json; give a folder such as runs/.../seed-0"
        )
    absolute = Path(os.path.abspath(path))
    folder = RunFolder(absolute.parent.parent, read_config(path / "config.json"))
    if folder.path != absolute:
        raise InvalidInput(
            f"{str(path)!r} is a copy under another name; its config belongs to {folder.config.folder!r}; move it there"
        )
    if not folder.done:
        raise InvalidInput(f"{str(path)!r} is not finished; repeat the training command that began it")
    return folder


def named(paths: Sequence[Path]) -> list[RunFolder]:
    """Open the finished runs that a command line names. Unfinished ones among them are left out, each with a line.

    Args:
        paths: as :func:`run_paths` takes them.

    Returns:
        The folders of the runs; at least one.

    Raises:
        InvalidInput: as :func:`at`, and if none of the runs is finished.
    """
    found = run_paths(paths)
    begun = [path for path in found if os.path.isfile(path / "config.json") and not os.path.isfile(path / RESULT)]
    if len(begun) == len(found):  # which at says of the first
        begun = []
    for path in begun:
        print(f"note: {shown(path)} is not finished, and left out", file=sys.stderr)
    return [at(path) for path in found if path not in begun]


def find(store: Path) -> Iterator[RunFolder]:
    """Find all runs of a store whose configs can be read. Copies under other names are left out.

    Args:
        store: the folder of the run store.

    Yields:
        The runs, sorted by the names of their folders.
    """
    for file in sorted(store.glob("*/seed-*/config.json")):
        try:
            folder = RunFolder(store, read_config(file))
        except InvalidInput:
            continue  # damaged, or of another version
        if folder.path == file.parent:  # else a copy under another name
            yield folder


def _read_json(path: Path) -> dict[str, Any]:
    data = contents(path, LIMIT)
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise InvalidInput(f"{str(path)!r} cannot be read: not JSON") from None
