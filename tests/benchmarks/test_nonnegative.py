"""Non-negative features: without the bound the certified optimum comes back, with it nothing lower, and the bound binds."""

from __future__ import annotations

import pytest

from benchmarks.nonnegative import descend
from figures.law import SIZES, predicted_rows


def test_without_the_bound_it_is_the_certified_optimum() -> None:
    (row,) = predicted_rows("FC", [0.8])
    free = descend(row["mu"], seed=1, least=None, width=12)
    assert free.singular_values == pytest.approx([row[name] for name in SIZES], rel=2e-4)
    bound = descend(row["mu"], seed=1, width=12)
    assert bound.objective > free.objective + 0.01
    assert bound.singular_values[0] > free.singular_values[0]  # frequent class vectors are longer
