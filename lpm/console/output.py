"""Output that appears whole or not at all: a file, or a folder that replaces only an older one of the same command."""

from __future__ import annotations

import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any

from lpm.console.errors import InvalidInput

MANIFEST = "manifest.json"
"""File that lists the others of a folder, and how they were made."""


class OutputFolder:
    """A folder of results: ``with OutputFolder(path, tool) as folder: write into folder.path; folder.finish({...})``.

    Files go to a temporary sibling that replaces ``path`` in ``finish``; without it nothing is left behind. An existing
    folder is replaced only if its manifest names the same tool and lists every file in it.

    Args:
        path: the folder.
        tool: name of the command.

    Attributes:
        final: absolute path of the folder.
        tool: name of the command.
        path: the temporary folder to write into.

    Raises:
        InvalidInput: if ``path`` exists and is not the tool's, or cannot be written.
    """

    def __init__(self, path: Path, tool: str) -> None:
        self.final, self.tool = path.absolute(), tool
        self._refuse_foreign()
        try:
            self.final.parent.mkdir(parents=True, exist_ok=True)
            self.path = Path(tempfile.mkdtemp(prefix=f".{self.final.name}.", dir=self.final.parent))
            self.path.chmod(0o755)
        except OSError as error:
            raise InvalidInput(
                f"--out {str(path)!r} cannot be written: {error.strerror}; choose another folder"
            ) from None

    def _refuse_foreign(self) -> None:
        """Raise InvalidInput if the folder holds anything that the tool did not write."""
        if not os.path.lexists(self.final):
            return
        if Path.cwd().is_relative_to(os.path.realpath(self.final)):  # Path.resolve fails for a link to itself
            raise InvalidInput(f"--out {str(self.final)!r} is the current folder or above it; name a folder of its own")
        if not self.final.is_dir() or self.final.is_symlink():
            raise InvalidInput(f"--out {str(self.final)!r} is not a folder; choose another")
        files = {entry.name for entry in self.final.iterdir()}
        try:
            manifest = json.loads((self.final / MANIFEST).read_text(encoding="utf-8"))
            ours = {*manifest["files"], MANIFEST} if manifest["tool"] == self.tool else set()
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            ours = set()
        if foreign := sorted(files - ours):
            raise InvalidInput(
                f"--out {str(self.final)!r} holds files of another origin ({foreign[0]}); choose another folder"
            )

    def __enter__(self) -> OutputFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    def finish(self, record: dict[str, Any]) -> None:
        """Add the manifest (``record``, command, versions, commit, time, files) and put the folder in its place.

        Args:
            record: further entries of the manifest.

        Raises:
            InvalidInput: if files of another origin have appeared in the folder.
        """
        files = sorted(entry.name for entry in self.path.iterdir())
        manifest = {
            "tool": self.tool,
            "command": [Path(sys.executable).name, *sys.orig_argv[1:]],
            **provenance(),
            **record,
            "files": files,
        }
        (self.path / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        self._refuse_foreign()
        if not self.final.exists():
            os.replace(self.path, self.final)
            return
        aside = Path(tempfile.mkdtemp(prefix=f".{self.final.name}.", dir=self.final.parent))
        os.replace(self.final, aside / "old")
        os.replace(self.path, self.final)
        shutil.rmtree(aside, ignore_errors=True)


def write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all.

    Args:
        path: the file.
        data: its content.

    Raises:
        OSError: if it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    try:
        # A new file and no link, so that no other file is overwritten.
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    def git(*arguments: str) -> str:
        folder = Path(__file__).parent
        ended = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
        return ended.stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        commit = os.environ.get("COMMIT", "")[:100]
        return commit if commit and commit.isprintable() else None
