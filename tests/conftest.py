"""What several test modules share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def places_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like Places-LT, for reading only."""
    from tests.large import make

    folder = tmp_path_factory.mktemp("places")
    make("places-lt", folder)
    return folder
