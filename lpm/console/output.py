"""Output that appears whole or not at all: a file, or a folder that replaces only an older one of the same command."""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import functools
import glob
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from lpm.console.errors import InvalidInput

MANIFEST = "manifest.json"
"""File that lists the others of a folder, and how they were made."""

LOCK = ".lock"
"""File that a process has locked as long as it writes into a temporary folder."""

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Errors of a write that name no file by themselves."""


class OutputFolder:
    """A folder of results: ``with OutputFolder(path, tool) as folder: write into folder.path; folder.finish({...})``.

    Files go to a temporary sibling that replaces ``path`` in ``finish``; without it nothing is left behind but the file
    that ``keeps`` names. An existing folder is replaced only if its manifest names the same tool and lists every file in
    it. While the new folder takes its place it is called ``.<name>.old-<process>``.

    A process that is killed leaves the temporary sibling, whose lock then is free. The next command that writes ``path``
    gives it its name if it was complete and there is no other (else the older folder gets its name back), and removes
    it if not. With ``keeps`` it is removed only in ``finish``, so that its file can be read before.

    Args:
        path: the folder.
        tool: name of the command.
        keeps: name of a file that outlives a failure and from which the next command goes on; None for none.

    Attributes:
        final: absolute path of the folder.
        tool: name of the command.
        path: the temporary folder to write into.
        earlier: the files called ``keeps`` that earlier commands left, newest first.

    Raises:
        InvalidInput: if ``path`` exists and is not the tool's, or cannot be written.
    """

    def __init__(self, path: Path, tool: str, keeps: str | None = None) -> None:
        self.final, self.tool, self._keeps = path.absolute(), tool, keeps
        self._prefix = f".{self.final.name}.{tool.split()[0]}-"
        self._left = self._left_over()
        self._restore()
        self._refuse_foreign()
        for folder in self._set_aside():  # replaced by a process that was killed before it removed them
            _remove(folder)
        if keeps is None:
            self._clear()
        self.earlier = [folder / keeps for folder in (*self._left, self.final)] if keeps is not None else []
        try:
            self.final.parent.mkdir(parents=True, exist_ok=True)
            self.path = Path(tempfile.mkdtemp(prefix=self._prefix, dir=self.final.parent))
            self._lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
            with contextlib.suppress(OSError):  # a file system without locks: then nothing counts as left over
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.path.chmod(0o755)
        except OSError as error:
            raise InvalidInput(
                f"--out {str(path)!r} cannot be written: {error.strerror}; choose another folder"
            ) from None

    @property
    def files(self) -> list[str]:
        """Names of the files that were written into the temporary folder."""
        return sorted(entry.name for entry in self.path.iterdir() if entry.name != LOCK)

    def _refuse_foreign(self) -> None:
        """Raise InvalidInput if the folder holds anything that the tool did not write."""
        if not os.path.lexists(self.final):
            return
        if Path.cwd().is_relative_to(os.path.realpath(self.final)):  # Path.resolve fails for a link to itself
            raise InvalidInput(f"--out {str(self.final)!r} is the current folder or above it; name a folder of its own")
        if not self.final.is_dir() or self.final.is_symlink():
            raise InvalidInput(f"--out {str(self.final)!r} is not a folder; choose another")
        if foreign := self._foreign(self.final):
            raise InvalidInput(
                f"--out {str(self.final)!r} holds files of another origin ({foreign[0]}); choose another folder"
            )

    def _foreign(self, folder: Path) -> list[str]:
        """Names of the files in a folder that the tool did not write."""
        files = {entry.name for entry in folder.iterdir()}
        listed = self._listed(folder)
        return sorted(files - (set() if listed is None else {*listed, MANIFEST, LOCK, self._keeps}))

    def _listed(self, folder: Path) -> list[str] | None:
        """The files that the tool's manifest of a folder lists; None if it has none."""
        if not (folder / MANIFEST).is_file():  # a pipe would be waited for
            return None
        try:
            manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            return list(map(str, manifest["files"])) if manifest["tool"] == self.tool else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def _left_over(self) -> list[Path]:
        """Temporary folders of the tool that killed processes left, newest first."""
        folders = self.final.parent.glob(f"{glob.escape(self._prefix)}*")
        return sorted(filter(_is_left, folders), key=lambda folder: -folder.stat().st_mtime)

    def _clear(self) -> None:
        """Remove what killed processes left."""
        for folder in self._left:
            shutil.rmtree(folder, ignore_errors=True)
        self._left = []

    def _set_aside(self) -> list[Path]:
        """Older folders of the tool that killed processes set aside, newest first."""
        folders = []
        for folder in self.final.parent.glob(f".{glob.escape(self.final.name)}.old-*"):
            process = folder.name.rpartition("-")[2]
            ended = process.isdecimal() and not _is_other_process(int(process))
            if ended and folder.is_dir() and not folder.is_symlink() and not self._foreign(folder):
                folders.append(folder)
        return sorted(folders, key=lambda folder: -folder.stat().st_mtime)

    def _restore(self) -> None:
        """Give a folder its name if a process was killed before it did: the new one if it is complete, else the older."""
        if os.path.lexists(self.final):
            return
        complete = [folder for folder in self._left if self._listed(folder) is not None]  # manifests are written last
        if folders := [*complete, *self._set_aside()]:
            os.replace(folders[0], self.final)
            (self.final / LOCK).unlink(missing_ok=True)
            self._left = [folder for folder in self._left if folder != folders[0]]

    def __enter__(self) -> OutputFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self._keeps is not None and (self.path / self._keeps).exists():
            for name in self.files:
                if name != self._keeps:
                    (self.path / name).unlink()
        else:
            shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)
        if isinstance(error, OSError) and error.filename is None and error.errno in DISK_ERRORS:
            raise OSError(error.errno, error.strerror, str(self.final)) from None

    def finish(self, record: dict[str, Any], *, complete: bool = True) -> None:
        """Add the manifest (``record``, command, versions, commit, time, files) and put the folder in its place.

        Args:
            record: further entries of the manifest.
            complete: whether the file that outlives a failure is of no further use, and removed.

        Raises:
            InvalidInput: if files of another origin have appeared in the folder.
        """
        files = [name for name in self.files if not (complete and name == self._keeps)]
        manifest = {
            "tool": self.tool,
            "command": [Path(sys.executable).name, *sys.orig_argv[1:]],
            **provenance(),
            **record,
            "files": files,
        }
        write(self.path / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
        self._refuse_foreign()
        self._replace()
        (self.final / LOCK).unlink(missing_ok=True)
        if complete and self._keeps is not None:
            (self.final / self._keeps).unlink(missing_ok=True)
        self._clear()

    def _replace(self) -> None:
        """Put the temporary folder in the place of the final one."""
        if not self.final.exists():
            os.replace(self.path, self.final)
            return
        aside = self.final.with_name(f".{self.final.name}.old-{os.getpid()}")
        os.replace(self.final, aside)
        try:
            os.replace(self.path, self.final)
        except BaseException:
            os.replace(aside, self.final)
            raise
        _remove(aside)


def _is_left(folder: Path) -> bool:
    """Whether a temporary folder belongs to a process that has ended: nobody holds its lock."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    try:
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # another's folder, or one that this instant is made
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(lock)
    return True


def _remove(folder: Path) -> None:
    """Remove a folder; what a kill leaves of it still has the manifest that names its files."""
    for entry in folder.iterdir():
        if entry.name != MANIFEST and not entry.is_dir():
            entry.unlink()
    shutil.rmtree(folder, ignore_errors=True)


def _is_other_process(number: int) -> bool:
    """Whether another process has this number."""
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return number != os.getpid()


def write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all.

    Args:
        path: the file.
        data: its content.

    Raises:
        OSError: if it cannot be written.
    """
    write_all([(path, data)])


def write_all(files: Sequence[tuple[Path, bytes]]) -> None:
    """Write several files: all under other names first, then each gets its name, in this order.

    The last file tells that all are there.

    Args:
        files: each file with its content.

    Raises:
        OSError: if one cannot be written; it names the file. None of the files has its name then, unless a rename fails.
    """
    with contextlib.ExitStack() as stack:
        temporaries = []
        for path, data in files:
            temporary = path.with_name(f".{path.name}.{os.getpid()}")
            temporaries.append(temporary)
            stack.callback(temporary.unlink, missing_ok=True)
            with _naming(path):
                temporary.unlink(missing_ok=True)
                # A new file and no link, so that no other file is overwritten.
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
                with os.fdopen(os.open(temporary, flags, 0o644), "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
        for temporary, (path, _) in zip(temporaries, files, strict=True):
            with _naming(path):
                os.replace(temporary, path)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Name the file in an error that names its temporary name, or none, as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None


def remove_remains(folder: Path, names: Collection[str]) -> None:
    """Remove what killed processes left of :func:`write_all`.

    Args:
        folder: the folder of the files.
        names: names of the files.
    """
    for file in folder.glob(".*"):
        name, _, process = file.name[1:].rpartition(".")
        if name in names and process.isdecimal() and not _is_other_process(int(process)):
            file.unlink(missing_ok=True)


def provenance() -> dict[str, Any]:
    """Collect where results come from.

    Returns:
        Versions, commit (with ``+`` for uncommitted changes; outside a checkout ``$COMMIT``, or None), machine and
        time.
    """
    names = (
        "numpy", "scipy", "cvxpy", "clarabel", "scs", "matplotlib", "plotly", "python-flint", "torch", "safetensors",
        "pyarrow", "pillow", "scikit-learn",
    )  # fmt: skip
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "versions": {
            "python": platform.python_version(),
            **{name: version for name in names if (version := _version(name))},
        },
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
    }


@functools.cache
def _version(name: str) -> str | None:
    from importlib import metadata  # here, because commands write long after they start

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    if commit := _checked_out():
        return commit
    commit = os.environ.get("COMMIT", "")[:100]
    return commit if commit and commit.isprintable() else None


@functools.cache  # the code that a process has loaded stays the same, and git takes longer than to train a tiny network
def _checked_out() -> str | None:
    def git(*arguments: str) -> str:
        folder = Path(__file__).parent
        ended = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
        return ended.stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
