"""The code of one's own that a run used, ``code.json``: hashes of its source, so that a later change is said. Needs no torch.

A run's key has the names of such functions. Their source may change while the names stay.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from lpm.console.errors import InvalidInput
from lpm.console.output import write
from lpm.console.text import shown
from training.config import RunConfig
from training.data.own_code import source_hash
from training.data.policies import POLICIES
from training.data.untrusted import contents

CODE = "code.json"
"""Name of the file in a run's folder. It has, by the name of each function, the hashes of its source in their order."""

LIMIT = 1_000_000
"""Bytes that it may have."""


def record(path: Path, config: RunConfig, epoch: int) -> None:
    """Store the hashes of the code that a run uses from now on.

    Args:
        path: the run's folder.
        config: the run.
        epoch: the last epoch that has ended; 0 where the run begins.

    Raises:
        InvalidInput: as :func:`training.data.own_code.source_hash`.
    """
    before, content = _stored(path) if epoch else {}, dict[str, list[str]]()
    for option, name in _own(config):
        hashes, now = before.get(name, []), source_hash(name, option)
        content[name] = hashes if hashes[-1:] == [now] else [*hashes, now]
    if content and content != before:
        write(path / CODE, json.dumps(content, indent=1).encode())


def note(*runs: tuple[Path, RunConfig], options: Sequence[str] = ("--model", "--transform")) -> None:
    """Say on standard error which code of one's own has changed since runs were begun.

    Nothing is said of code that may not run here, or cannot be found, and of runs of versions that stored no hashes.

    Args:
        *runs: folders of runs, and their configs.
        options: the options whose code matters.
    """
    changed = defaultdict[str, list[Path]](list)
    for path, config in runs:
        for option, name in _own(config):
            if option not in options or not (hashes := _stored(path).get(name)):
                continue
            if (now := _hash(name, option)) and hashes != [now]:
                changed[f"{option} {name}"].append(path)
    for code, paths in changed.items():
        also = f" and {len(paths) - 1:,} more" if len(paths) > 1 else ""
        text = f"{code} has changed since {paths[0]}{also} began: stored results are not of this code alone"
        print(f"note: {shown(text)}", file=sys.stderr)


def _hash(name: str, option: str) -> str | None:
    try:
        return source_hash(name, option)
    except InvalidInput:
        return None


def _own(config: RunConfig) -> Iterator[tuple[str, str]]:
    """The functions of one's own that a run uses, each with its option."""
    if ":" in config.model and not config.model.startswith("timm:"):
        yield "--model", config.model
    if config.transform not in ("none", *POLICIES):
        yield "--transform", config.transform


def _stored(path: Path) -> dict[str, list[str]]:
    """The content of the file; nothing where it is missing or damaged."""
    try:
        content = json.loads(contents(path / CODE, LIMIT)) if (path / CODE).is_file() else {}
    except (ValueError, RecursionError):  # InvalidInput is a ValueError
        return {}
    right = isinstance(content, dict) and all(isinstance(hashes, list) for hashes in content.values())
    return content if right else {}
