"""What the tests of training share."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator

import pytest

from tests import started


@pytest.fixture(autouse=True, scope="session")
def estimates_of_two_steps() -> Iterator[None]:
    """Estimates of times measure two steps per network, and not steps of a second: a table has up to six networks."""
    from training.jobs import estimate

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(estimate, "SECONDS", 0.0)
        yield


@pytest.fixture(autouse=True, scope="session")
def two_measured_images() -> Iterator[None]:
    """Means over a label pair and bin are over two mixed images, not eight: else measuring takes longer than training."""
    from training.run import measurement

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measurement, "CELLS", started.CELLS)
        yield


@pytest.fixture
def eight_measured_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Means are over as many mixed images as in a run of a user."""
    from training.run import measurement

    monkeypatch.setattr(measurement, "CELLS", {8: 8, 1: 2})


@pytest.fixture
def forked_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes of --jobs are forked from one that has torch loaded, and not started anew."""
    monkeypatch.setattr(multiprocessing, "get_context", lambda method=None: started.FORKS)
