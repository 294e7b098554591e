"""A run that an earlier version began: it is found, resumes, and ends as that version would have ended it.

``begun_before_the_move`` was written by version 0.1.0, before the modules moved, and interrupted after two of four epochs.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load

from training.data.datasets import LongTailed
from training.run import loop
from training.store.runs import RunFolder, find, read_config

STORE = Path(__file__).parent / "begun_before_the_move"
DRAWN = "1de9af57"
"""First digits of the SHA-256 of the label-pair counts and mixing ratios with which version 0.1.0 ended this run."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The stored run had one: sums in another order would round differently."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_it_resumes_and_ends_as_a_run_that_never_stopped(digits: LongTailed, tmp_path: Path) -> None:
    shutil.copytree(STORE, tmp_path / "old")
    (old,) = find(tmp_path / "old")
    last = old.last_checkpoint()
    assert last is not None
    assert last[0] == 2
    loop.run(old.config, digits, old, torch.device("cpu"))
    resumed = old.final()
    drawn = hashlib.sha256(resumed["pair_counts"].tobytes() + resumed["lambdas"].tobytes()).hexdigest()
    assert drawn.startswith(DRAWN)  # exact on every machine

    def stop(row: dict[str, Any]) -> None:
        if row["epoch"] == 2:
            raise RuntimeError("stop")

    new = RunFolder(tmp_path / "new", old.config)
    with pytest.raises(RuntimeError, match="stop"):
        loop.run(old.config, digits, new, torch.device("cpu"), on_epoch=stop)
    begun = new.last_checkpoint()
    assert begun is not None
    # Bit for bit where this processor rounds as the one that began the run, which the same epochs tell.
    now, then = (load(checkpoint[1]) for checkpoint in (begun, last))
    same = all(
        torch.equal(tensor, now[name]) for name, tensor in then.items() if name.startswith(("network.", "momentum."))
    )
    loop.run(old.config, digits, new, torch.device("cpu"))
    afresh = new.final()
    for name, value in afresh.items():
        if same:
            assert np.array_equal(value, resumed[name]), name
        elif name.startswith("network.") and value.dtype.kind == "f":
            assert np.allclose(value, resumed[name], rtol=0.05, atol=0.05), name


def test_its_key_and_folder_are_still_the_ones_of_its_config() -> None:
    (file,) = STORE.glob("*/seed-3/config.json")
    config = read_config(file)
    assert config.key == "d8aa41c0feac"
    assert STORE / config.folder == file.parent
