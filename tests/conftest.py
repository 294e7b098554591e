"""What several test modules share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def places_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like Places-LT, for reading only."""
    from tests.large import make

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
