"""Which methods differ from the first, in two sentences: planted differences, Holm, equal runs, one seed"""

from __future__ import annotations

import re

import numpy as np
from scipy.stats import ttest_ind

from tests.training.test_comparisons import drawn, only_seeds, runs
from training.store.comparisons import Runs
from training.store.verdicts import verdict


def parts(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """The methods of both sentences, with the word in brackets behind each."""
    assert text.count("\n") == 1
    first, _, second = text.partition(" after Holm)")
    assert "differ" in first
    differ, _, same = second.partition(". ")
    return tuple(dict(re.findall(r"([\w+]+) \(([^)]+)\)", part)) for part in (differ, same))  # type: ignore[return-value]


def test_planted_differences_are_found_and_the_rest_is_not() -> None:
    results = {"plain": drawn(0.6, seed=1), "better": drawn(0.95, seed=2), "worse": drawn(0.2, seed=3)}
    results["other"] = drawn(0.62, seed=4)
    differ, same = parts(text := verdict(results))
    assert text.startswith(
        "In balanced accuracy these differ from plain by more than seeds and test images do (p < 0.05"
    )
    assert list(differ) == ["better", "worse"]  # the best first
    assert float(differ["better"]) > 0 > float(differ["worse"])
    assert list(same) == ["other"]


def test_one_difference_among_many_is_lost_to_holm_and_found_alone() -> None:
    values = {"plain": (70.0, 71.0, 72.0), "a": (73.0, 74.0, 75.0)}
    p = ttest_ind(values["plain"], values["a"]).pvalue  # equal variances and numbers: Welch's is Student's
    assert 0.05 / 9 < p < 0.05
    results = {method: only_seeds(*v) for method, v in values.items()}
    assert verdict(results) == (
        "In accuracy these differ from plain by more than the seeds do (p < 0.05 after Holm): a (+3.00).\n"
    )
    results |= {f"b{n}": only_seeds(70.1, 71.0, 72.0 + n) for n in range(8)}
    assert parts(verdict(results))[0] == {}
    assert verdict(results).startswith("In accuracy no method differs from plain by more than the seeds do (p < 0.05 ")


def test_equal_runs_are_called_equal() -> None:
    plain = drawn(0.6, seed=1)
    turned = runs(plain.right[:, ::-1]) if plain.right is not None else plain  # as often right, on other images
    same = parts(verdict({"plain": plain, "copy": drawn(0.6, seed=1), "turned": turned}))[1]
    assert same["copy"] == "equal"
    assert same["turned"] != "equal"
    assert parts(verdict({"plain": only_seeds(50.0, 50.0), "copy": only_seeds(50.0, 50.0)}))[1] == {"copy": "equal"}


def test_where_a_method_lacks_predictions_the_seeds_alone_are_counted() -> None:
    old = Runs(drawn(0.9, seed=2).results)
    assert "by more than the seeds do" in verdict({"plain": drawn(0.5, seed=1), "old": old})
    assert "by more than seeds and test images do" in verdict({"plain": drawn(0.5, seed=1), "new": drawn(0.9, seed=2)})


def test_a_single_seed_shows_no_difference() -> None:
    one = {"plain": drawn(0.2, seeds=1), "better": drawn(0.99, seeds=1)}
    assert verdict(one) == (
        "With one seed per method it is unknown which differ from plain in balanced accuracy; --seeds 0-2 takes three.\n"
    )
    several = {"plain": drawn(0.2), "one": drawn(0.99, seeds=1), "better": drawn(0.99, seed=5)}
    differ, same = parts(verdict(several))
    assert list(differ) == ["better"]
    assert same == {"one": "one seed"}


def test_the_first_method_with_runs_is_the_one_that_others_are_compared_with() -> None:
    empty = Runs(())
    assert verdict({"none": empty, "plain": only_seeds(1.0, 2.0)}) == ""
    assert "differs from plain" in verdict({"none": empty, "plain": only_seeds(1.0, 2.0), "b": only_seeds(1.0, 3.0)})


def test_equal_methods_are_seldom_said_to_differ() -> None:
    """Among five equal methods one is named at most once in twenty times; 200 times leave an error, counted twice."""
    rng = np.random.default_rng(0)
    named = 0
    for _ in range(200):
        values = rng.normal(70, 1, size=(5, 3))
        named += "these differ" in verdict({f"m{k}": only_seeds(*row) for k, row in enumerate(values)})
    assert named <= 200 * 0.05 + 2 * np.sqrt(200 * 0.05 * 0.95)
