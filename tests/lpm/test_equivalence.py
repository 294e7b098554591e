"""Budgets and weight decay that have the same optimum."""

from __future__ import annotations

import numpy as np
import pytest

from lpm.console.errors import InvalidInput
from lpm.equivalence import as_budgets, as_decay
from lpm.family import Family
from lpm.mixing import fixed
from lpm.solve import solve


@pytest.mark.parametrize("program", ["plain", "fc", "ms", "ms-free"])
def test_the_multiplier_of_budgets_is_a_decay_with_the_same_optimum_and_back(program: str) -> None:
    budgets = solve(Family(program, K=6, mixing=fixed(0.3)).at(8.0))
    decay = solve(as_decay(budgets))
    assert decay.loss == pytest.approx(budgets.loss, rel=1e-6)
    np.testing.assert_allclose(decay.gram.group_cosines, budgets.gram.group_cosines, atol=1e-5)
    back = solve(as_budgets(decay))
    assert back.problem.tau == pytest.approx(budgets.problem.tau, rel=1e-6)
    assert back.loss == pytest.approx(budgets.loss, rel=1e-6)


def test_means_under_decay_are_the_multipliers_program_of_the_paper() -> None:
    family = Family("fc", K=6)
    mu = as_decay(solve(family.at(8.0))).decay
    assert mu is not None
    assert solve(Family("fc", K=6, decay=mu, features="mean").at(8.0)).loss == pytest.approx(
        solve(family.at(8.0)).loss, rel=1e-6
    )


def test_what_has_no_other_form_is_refused() -> None:
    with pytest.raises(InvalidInput, match="not used up"):
        as_decay(solve(Family("fc", "balanced", e_h=1e9).at(1.0)))
    with pytest.raises(InvalidInput, match="E_H"):
        as_budgets(solve(Family("fc", decay=10.0).at(1.0)))
