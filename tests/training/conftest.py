"""What the tests of training share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def estimates_of_two_steps() -> Iterator[None]:
    """Estimates of times measure two steps per network, and not steps of a second: a table has up to six networks."""
    from training.jobs import estimate

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(estimate, "SECONDS", 0.0)
        yield
