"""Which method is best, and how sure that is: intervals over seeds and test images."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import t, ttest_ind

from training.config import RunConfig
from training.store import comparisons, uncertainty
from training.store.comparisons import Runs
from training.store.results import RunResult
from training.store.verdicts import verdict

LABELS = np.repeat([0, 1, 2], [40, 25, 15])


def only_seeds(*values: float) -> Runs:
    """Runs of a version that stored no predictions."""
    return Runs(tuple(RunResult(last={"all": value}) for value in values))


def runs(right: np.ndarray, labels: np.ndarray = LABELS) -> Runs:
    """Runs with predictions."""
    results = [
        RunResult(last={"all": 100 * r.mean(), "balanced": 100 * np.mean([r[labels == k].mean() for k in range(3)])})
        for r in right
    ]
    return Runs(tuple(results), labels, right)


def drawn(p: float, seeds: int = 3, seed: int = 0, labels: np.ndarray = LABELS) -> Runs:
    return runs(np.random.default_rng(seed).random((seeds, len(labels))) < p, labels)


def test_equal_seeds_leave_the_test_images_doubt() -> None:
    """39 of 80 images, the same ones for every seed: 48.75 ± 0.00 is ± 11 points."""
    right = np.tile(np.arange(80) < 39, (3, 1))
    estimate = uncertainty.accuracy(right, uncertainty.of_all(LABELS))
    assert estimate.value == pytest.approx(48.75)
    half = 100 * 1.96 * math.sqrt(0.4875 * 0.5125 / 80)
    assert estimate.high - 48.75 == pytest.approx(half, rel=0.03)
    assert 48.75 - estimate.low == pytest.approx(half, rel=0.03)


def test_a_single_stratum_is_the_formula_by_hand() -> None:
    first, second = (np.random.default_rng(s).random((n, 50)) < q for s, n, q in ((1, 4, 0.8), (2, 3, 0.6)))
    estimate = uncertainty.difference(first, second, uncertainty.of_all(np.zeros(50)))
    d = first.mean(axis=0) - second.mean(axis=0)
    parts = [
        (first.mean(axis=1).var(ddof=1) / 4, 3),
        (second.mean(axis=1).var(ddof=1) / 3, 2),
        (np.append(d, [1, -1]).var(ddof=1) / 50, 51),
    ]
    V = sum(v for v, _ in parts)
    law = t(V**2 / sum(v**2 / f for v, f in parts))
    assert estimate.value == pytest.approx(100 * d.mean())
    assert estimate.high - estimate.value == pytest.approx(100 * law.ppf(0.975) * math.sqrt(V))
    assert estimate.value - estimate.low == pytest.approx(100 * law.ppf(0.975) * math.sqrt(V))
    assert estimate.p == pytest.approx(2 * law.sf(abs(d.mean()) / math.sqrt(V)))
    other = uncertainty.difference(second, first, uncertainty.of_all(np.zeros(50)))
    assert (other.value, other.low, other.high, other.p) == pytest.approx(
        (-estimate.value, -estimate.high, -estimate.low, estimate.p)
    )


def test_shares_are_those_of_the_accuracies() -> None:
    right = drawn(0.7).right
    assert right is not None
    for split, shares in (("all", uncertainty.of_all(LABELS)), ("balanced", uncertainty.of_classes(LABELS, 0, 2))):
        assert shares.weights.sum() == pytest.approx(1)
        means = [result.last[split] for result in runs(right).results]
        assert uncertainty.accuracy(right, shares).value == pytest.approx(np.mean(means))
    rare = uncertainty.of_classes(LABELS, 1, 9)  # classes without images are left out
    assert rare.images.tolist() == list(range(40, 80))
    assert set(rare.weights) == {1 / 50, 1 / 30}


@pytest.mark.parametrize("counts", [[40, 25, 15], [2, 3, 2], [20] * 10, [1] * 30], ids=str)
@pytest.mark.parametrize("balanced", [True, False])
def test_intervals_contain_the_truth_as_often_as_they_say(counts: list[int], balanced: bool) -> None:
    """Images differ in difficulty, and seeds in luck. The truth is the mean over many images and seeds."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(counts)), counts)
    ease = rng.normal(1, 1, len(counts))

    def chance(classes: np.ndarray, seeds: int, images: int) -> Any:
        z = ease[classes] + rng.normal(0, 1.5, images) + rng.normal(0, 0.2, (seeds, 1))
        return 1 / (1 + np.exp(-z))

    truth = np.array([chance(np.full(20_000, k), 50, 20_000).mean() for k in range(len(counts))])
    value = truth.mean() if balanced else truth @ counts / sum(counts)
    shares = uncertainty.of_classes(labels, 0, len(counts)) if balanced else uncertainty.of_all(labels)
    inside = equal = 0
    for _ in range(400):
        first, second = (rng.random((3, len(labels))) < p for p in np.split(chance(labels, 6, len(labels)), 2))
        one, both = uncertainty.accuracy(first, shares), uncertainty.difference(first, second, shares)
        inside += one.low <= 100 * value <= one.high
        equal += both.low <= 0 <= both.high
        assert (both.p < 0.05) == (not both.low <= 0 <= both.high)
    assert inside / 400 > 0.93  # 95 % minus twice the error of 400 repetitions
    assert equal / 400 > 0.93


def test_the_best_method_is_named_when_it_is_shown() -> None:
    results = {"a": drawn(0.5, seed=1), "b": drawn(0.95, seed=2), "c": drawn(0.55, seed=3)}
    lines = comparisons.markdown(RunConfig(), results).splitlines()
    assert lines[2] == "| method | all | balanced | balanced, 95 % | balanced − best |"
    assert [line.split(" | ")[-1] for line in lines[4:7]][1] == "best |"
    assert lines[4].split(" | ")[-1].startswith("-")
    assert lines[8].startswith("Best: b, with ")
    assert lines[8].endswith("The difference from every other method is shown (p < 0.05).")
    best = comparisons.rows(results, "balanced")
    first, second, _ = best
    assert first == "b"
    assert best["b"].against == second
    assert best["b"].difference.value == -best[best["b"].against].difference.value
    assert best["b"].holm == best[best["b"].against].holm
    assert f") above {second}. " in lines[8]


def test_with_one_seed_no_method_is_called_best() -> None:
    """One line said that the difference is shown, and the next that it is unknown which methods differ."""
    results = {"a": drawn(0.5, seed=1), "b": drawn(0.95, seed=2)}
    alone = {m: runs(r.right[:1]) for m, r in results.items() if r.right is not None}
    text = comparisons.sentence(alone, "all")
    assert text.startswith("Highest: b, with ")
    assert text.endswith(" above a on these test images.\n")
    assert "unknown which differ" in verdict(alone)
    for text in (comparisons.sentence(results, "all"), verdict(results)):
        assert "unknown" not in text
        assert "Highest" not in text


def test_accuracies_on_held_out_images_are_shown_beside_the_others() -> None:
    results = {"a": drawn(0.5, seed=1), "b": drawn(0.6, seed=2)}
    held = {
        m: replace(r, results=tuple(replace(x, holdout={"all": 10.0 * n, "balanced": 20.0 * n}) for x in r.results))
        for n, (m, r) in enumerate(results.items(), 1)
    }
    assert "held out" not in comparisons.cells(RunConfig(), results)[1][0]
    head, _, *body = comparisons.cells(RunConfig(), held)[1]
    assert [line[head.index("held out")].split(" ")[0] for line in body] == ["20.00", "40.00"]
    assert "choose by it, never by the others" in comparisons.markdown(RunConfig(), held)


def test_a_lead_that_seeds_or_test_images_may_make_is_no_win() -> None:
    """Every seed says the same, so that their spread is 0; only the test set's size speaks against the difference."""
    one, other = (np.tile(np.arange(80) < n, (3, 1)) for n in (41, 39))
    other = other[:, ::-1]  # right on other images
    text = comparisons.sentence({"a": runs(one), "b": runs(other)}, "all")
    assert text.startswith("No method is shown to be best: a is 2.50 points (-")
    assert text.endswith(" above b in accuracy, with 3 seeds and 80 test images.\n")
    text = comparisons.sentence({"a": runs(one[:1]), "b": runs(other[:2]), "c": runs(other[:, ::-1] & other)}, "all")
    assert text.endswith(" above b in accuracy, with 1 and 2 seeds and 80 test images.\n")  # those of c do not count
    assert comparisons.sentence({"a": runs(one)}, "all") == ""
    text = comparisons.sentence({"a": runs(one), "b": runs(one)}, "all")
    assert text.startswith("No method is shown to be best: a and b have the same accuracy, 51.25 % (difference ")
    assert "0.00 points" not in text
    every = {"a": drawn(0.97, seed=1), "b": drawn(0.5, seed=2), "c": drawn(0.96, seed=3)}
    assert comparisons.sentence(every, "all").startswith("No method is shown to be best: ")  # far above b alone


def test_without_predictions_seeds_alone_are_compared() -> None:
    values = {"a": [50.0, 51.0], "b": [54.0, 54.5], "c": [50.5, 50.0], "d": [40.0], "e": []}
    results = {method: only_seeds(*v) for method, v in values.items()}
    p = {method: ttest_ind(values[method], values["b"], equal_var=False).pvalue for method in "ac"}
    table = {row["method"]: row for row in csv.DictReader(comparisons.as_csv(RunConfig(), results).splitlines())}
    assert [table[method]["against"] for method in "abcd"] == ["b", "a", "b", "b"]
    for method in "ac":
        assert float(table[method]["p"]) == pytest.approx(p[method], rel=1e-5)
    assert float(table["c"]["p_holm"]) == pytest.approx(2 * min(p.values()), rel=1e-5)
    assert (table["d"]["p"], table["d"]["p_holm"], table["d"]["difference"]) == ("", "", "-14.25")
    assert {row["low"] + row["difference_low"] + row["test_images"] for row in table.values()} == {""}
    text = comparisons.markdown(RunConfig(), results)
    assert "| method | all | all − best |" in text
    assert "Welch's t-test over the seeds alone; predictions that would tell more are not stored" in text
    assert "| e | – |  |" in text
    assert "No method is shown to be best: b is 3.75 points (p = " in text  # d has a single seed


def test_json_has_what_csv_has() -> None:
    results = {"a": drawn(0.5, seed=1), "b": drawn(0.6, seed=2)}
    objects = json.loads(comparisons.as_json(RunConfig(), results))
    rows = list(csv.DictReader(comparisons.as_csv(RunConfig(), results).splitlines()))
    assert [list(x) for x in objects] == [list(row) for row in rows]
    for x, row in zip(objects, rows, strict=True):
        assert x["mean"] == float(row["mean"])
        assert (x["n"], x["split"]) == (3, row["split"])
        assert all(value is not None for value in x.values()) or "" in row.values()


def test_csv_reads_back_with_intervals() -> None:
    results = {"a": drawn(0.5, seed=1), "b": drawn(0.8, seed=2)}
    rows = list(csv.DictReader(comparisons.as_csv(RunConfig(), results).splitlines()))
    assert [(row["method"], row["split"], row["test_images"]) for row in rows] == [
        (method, split, "80") for method in "ab" for split in ("all", "balanced")
    ]
    for row in rows:
        assert float(row["low"]) < float(row["mean"]) < float(row["high"])
        assert float(row["difference_low"]) < float(row["difference"]) < float(row["difference_high"])
        assert row["p"] == row["p_holm"]
