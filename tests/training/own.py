"""A small data set of one's own, and runs on it."""

from __future__ import annotations

import json
from pathlib import Path

from lpm.console.cli import run as run_command
from tests.training.large import encoded
from training import train
from training.store.runs import RunFolder

COUNTS = {"train": {"cat": 4, "dog": 30, "emu": 12}, "test": {"cat": 2, "dog": 3, "emu": 2}}
ORDER = ["dog", "emu", "cat"]


def pets(folder: Path) -> Path:
    """Class folders with small JPEGs."""
    files = encoded(10)
    for use, classes in COUNTS.items():
        for name, number in classes.items():
            (folder / use / name).mkdir(parents=True)
            for i in range(number):
                (folder / use / name / f"{i:02d}.jpg").write_bytes(files[i % 10])
    return folder


def trained(root: Path, store: Path, *words: str) -> int:
    """The status of a command that trains for an epoch."""
    options = ["--dataset", "own", "--data-root", str(root), "--store", str(store), "--device", "cpu"]
    small = ["--preset", "smoke", "--epochs", "1", "--width", "4", "--workers", "0", "--quiet"]
    return run_command(lambda: train.main([*options, *small, *words]))


def older(folder: RunFolder) -> RunFolder:
    """The run as a version without hashes left it; its files may be changed."""
    file = folder.path / "metrics.json"
    content = json.loads(file.read_bytes())
    del content["sha256"], content["files"]
    file.write_text(json.dumps(content))
    return folder
