"""What the tests of lpm share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from lpm import plot
from lpm.console.output import write

DRAWN = plot.plot_sweep


def _blank(rows: Any, thresholds: Any, paths: Sequence[Path], *settings: Any) -> None:
    for path in paths:
        write(path, b"blank")


@pytest.fixture(autouse=True, scope="session")
def blank_pictures() -> Iterator[None]:
    """Sweeps in this process write empty pictures: drawing takes a second, and most tests look at rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plot, "plot_sweep", _blank)
        yield


@pytest.fixture
def drawn_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweeps draw their pictures, as for a user."""
    monkeypatch.setattr(plot, "plot_sweep", DRAWN)
