"""Output that appears whole or not at all: a file, or a folder that is replaced only when it is ours."""

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


class OutputFolder:
    """``with OutputFolder(path, tool) as folder: write into folder.path; folder.finish({...})``.

    Files go to a temporary sibling that replaces ``path`` in ``finish``; without it nothing is left behind. An existing
    folder is replaced only if its manifest names the same tool and lists every file in it.

    Raises InvalidInput when ``path`` is taken by something else or cannot be written.
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
        if not os.path.lexists(self.final):
            return
        if Path.cwd().is_relative_to(os.path.realpath(self.final)):  # Path.resolve fails for a link to itself
            raise InvalidInput(f"--out {str(self.final)!r} is the current folder or above it; name a folder of its own")
        if not self.final.is_dir() or self.final.is_symlink():
            raise InvalidInput(f"--out {str(self.final)!r} is not a folder; choose another")
        there = {entry.name for entry in self.final.iterdir()}
        try:
            manifest = json.loads((self.final / MANIFEST).read_text(encoding="utf-8"))
            ours = {*manifest["files"], MANIFEST} if manifest["tool"] == self.tool else set()
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            ours = set()
        if foreign := sorted(there - ours):
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
        """Add the manifest (``record``, command, versions, commit, time, files) and put the folder in its place."""
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
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    try:
        # Made anew and through no link, so that nobody else's file is written.
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def provenance() -> dict[str, Any]:
    """Versions, commit (with ``+`` for uncommitted changes; outside a checkout ``$COMMIT``, or None), machine and time."""
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
        here = Path(__file__).parent
        return subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        named = os.environ.get("COMMIT", "")[:100]
        return named if named and named.isprintable() else None
