"""What several test modules share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from training.data.datasets import LongTailed


@pytest.fixture(scope="session")
def digits() -> LongTailed:
    """The built-in digits at imbalance 10."""
    from training.data import datasets

    return datasets.load("digits-lt", None, imbalance=10)


@pytest.fixture(scope="session")
def places_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like Places-LT, for reading only."""
    from tests.training.large import make

    folder = tmp_path_factory.mktemp("places")
    make("places-lt", folder)
    return folder


@pytest.fixture(autouse=True)
def nothing_is_left_running() -> Iterator[None]:
    """Commands that a failed test did not wait for are killed."""
    yield
    started = sys.modules.get("tests.started")
    while started and started.Command.started:
        command = started.Command.started.pop()
        if command.process.returncode is None:
            command.kill()
