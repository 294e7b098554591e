"""Checkpoints in the folder of a run: two are kept, and a damaged one is passed over."""

from __future__ import annotations

import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any

from lpm.console.output import write
from training.data.untrusted import contents

LIMIT = 4_000_000_000
"""Bytes that a file of a run may have; a checkpoint of ResNet-152 has half a billion."""

OURS = (
    r"(config|code|data|metrics|posthoc)\.json|images\.json\.gz|epochs\.jsonl|final\.safetensors"
    r"|(checkpoint|geometry)-\d{7}\.(json|safetensors)"
)
"""Regular expression of the names of a run's files."""

KEPT = 2
"""Checkpoints that are kept; if the last one is damaged, the one before is used."""

Checkpoint = tuple[int, bytes, list[dict[str, Any]]]
"""A checkpoint: its epoch, the content of its safetensors file, and the rows up to that epoch."""


class Checkpoints:
    """The checkpoints of one run.

    Args:
        path: the run's folder.
        key: of the run's config; a checkpoint of another run is passed over.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path, self.key = path, key

    def save_checkpoint(self, epoch: int, data: bytes, rows: list[dict[str, Any]]) -> None:
        """Store a checkpoint, then remove old ones.

        Args:
            epoch: epochs that have ended.
            data: weights and optimizer, in safetensors' format.
            rows: the rows of these epochs.
        """
        name = f"checkpoint-{epoch:07d}"
        write(self.path / f"{name}.safetensors", data)
        write(self.path / "epochs.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
        content = {
            "epoch": epoch,
            "key": self.key,
            "rows": rows,
        }  # written last: its hash is that of files that are there
        write(self.path / f"{name}.json", json.dumps(content | {"sha256": _digest(data, content)}).encode())
        for old in sorted(self.path.glob("checkpoint-*.json"))[:-KEPT]:
            old.unlink()
            old.with_suffix(".safetensors").unlink(missing_ok=True)

    def last_checkpoint(self) -> Checkpoint | None:
        """Read the newest checkpoint that is whole.

        Returns:
            The checkpoint; None if no checkpoint has the right hash, this run's key and finite accuracies.
        """
        for file in sorted(self.path.glob("checkpoint-*.json"), reverse=True):
            try:
                content = json.loads(contents(file, LIMIT))
                data = contents(file.with_suffix(".safetensors"), LIMIT)
                digest, epoch, rows = content.pop("sha256"), content["epoch"], content["rows"]
                whole = content["key"] == self.key and digest == _digest(data, content) and len(rows) == epoch
                if whole and all(math.isfinite(row.get("test_all", 0.0)) for row in rows):
                    return epoch, data, rows
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):  # InvalidInput is a ValueError
                continue
        return None

    def resume(self) -> Checkpoint | None:
        """Read the newest checkpoint that is whole, after removing the remains of a killed process.

        This process must hold the lock.

        Returns:
            The checkpoint, None if there is none: then the run begins.
        """
        checkpoint = self.last_checkpoint()
        epoch = 0 if checkpoint is None else checkpoint[0]
        for file in (*self.path.glob("checkpoint-*"), *self.path.glob(".*")):
            half = re.fullmatch(rf"\.({OURS})\.\d+", file.name)
            # A newer checkpoint is damaged. If it stayed, its high number would count among the KEPT last ones.
            damaged = file.name.startswith("checkpoint-") and not file.name <= f"checkpoint-{epoch:07d}.~"
            if (half or damaged) and (file.is_file() or file.is_symlink()):
                file.unlink()
        return checkpoint

    def drop_checkpoints(self) -> None:
        """Remove all checkpoints; a finished run needs none."""
        for file in self.path.glob("checkpoint-*"):
            file.unlink(missing_ok=True)


def _digest(data: bytes, content: dict[str, Any]) -> str:
    return hashlib.sha256(data + json.dumps(content, sort_keys=True).encode()).hexdigest()
