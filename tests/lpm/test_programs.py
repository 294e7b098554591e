"""Each builder against the sums of the paper, written out as loops at random class vectors and features."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest

from lpm import mixing, pairs, programs
from lpm.console.errors import InvalidInput
from lpm.losses import log_partition
from lpm.mixing import Mixing
from lpm.pairs import ClassCounts, class_counts, imbalanced
from lpm.problem import Problem

CLASSES = {"two groups": imbalanced(5, 2, 7.0, w_r=2.0), "unsorted counts": class_counts([3, 40, 3, 1])}
LAWS = {"half": mixing.fixed(0.5), "fixed": mixing.fixed(0.2), "beta": mixing.beta(0.7, 3)}
E_H, E_W = 3.0, 0.7


def class_values(classes: ClassCounts) -> np.ndarray:
    return classes.counts[classes.group_of]


def pair_count(profile: str, n: np.ndarray, A: int, a: int, b: int) -> float:
    """n_(a,b) of a profile, from class counts n with the first A classes in the majority."""
    if profile == "block":
        return float(n[a]) if (a < A) == (b < A) else 0.0
    return {"product": float(n[a] * n[b]), "balanced": 1.0, "distinct": float(a != b)}[profile]


def written(problem: Problem, K: int, law: Mixing) -> tuple[Problem, dict[tuple[int, int, int], int]]:
    """The problem with every pair written out, and the row of each (a, b, quadrature node)."""
    full, _ = problem.expand()
    node = {round(float(x), 12): q for q, x in enumerate(law.nodes)}
    rows = full.rows
    index = {
        (int(a), int(b), node[round(float(x), 12)]): r
        for r, (a, b, x) in enumerate(zip(rows.first, rows.second, rows.lam, strict=True))
    }
    assert len(index) == len(rows)
    return full, index


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("profile", ["block", "product", "balanced", "distinct"])
@pytest.mark.parametrize("program", ["fc", "fc eq7", "ms", "ms eq7", "ms-unordered"])
@pytest.mark.parametrize("name", CLASSES)
def test_mixed_programs_are_the_papers_sums(name: str, program: str, profile: str, law: str) -> None:
    classes, mix = CLASSES[name], LAWS[law]
    two_groups, eq7, unordered = name == "two groups", program.endswith("eq7"), program == "ms-unordered"
    if (profile == "block" and not two_groups) or (eq7 and profile != "block"):
        with pytest.raises(InvalidInput, match="block"):
            programs.fc(pairs.PROFILES[profile](classes), budget="eq7" if eq7 else "paper")
        return
    label_pairs = pairs.PROFILES[profile](classes)
    budgets = {"e_h": E_H, "e_w": E_W}
    if unordered:
        problem = programs.ms_unordered(label_pairs, mix, **budgets)
    else:
        build = programs.fc if program.startswith("fc") else programs.ms
        problem = build(label_pairs, mix, **budgets, budget="eq7" if eq7 else "paper")
    K, A, n = classes.K, int(classes.sizes[0]), class_values(classes)
    full, row = written(problem, K, mix)
    rng = np.random.default_rng(5)
    W, H = rng.standard_normal((K, 4)), rng.standard_normal((len(full.rows), 4))
    count = {
        (a, b): pair_count(profile, n, A, a, b)
        for a, b in product(range(K), repeat=2)
        if pair_count(profile, n, A, a, b) > 0 and (a < b or not unordered)
    }
    assert set(row) == {(a, b, q) for (a, b) in count for q in range(len(mix.nodes))}
    N = sum(count.values())
    labels = [(a, b) for a, b in product(range(K), repeat=2) if a < b or not unordered]
    loss = features = vectors = 0.0
    for q, (lam, weight) in enumerate(zip(mix.nodes, mix.weights, strict=True)):
        W_lam = np.array([lam * W[a] + (1 - lam) * W[b] for a, b in labels])
        vectors += weight * (W_lam**2).sum() / len(labels)
        for (a, b), n_ab in count.items():
            h = H[row[a, b, q]]
            if program.startswith("fc"):
                z = W @ h
                target = lam * z[a] + (1 - lam) * z[b]
            else:
                z = W_lam @ h
                target = z[labels.index((a, b))]
            loss += weight * n_ab / N * (np.log(np.exp(z).sum()) - target)
            share = len(labels)
            if eq7:
                share = A**2 if a < A else (K - A) ** 2
            features += weight * (h @ h) / share
    if program.startswith("fc"):
        vectors = (W**2).sum() / K
    rows, m = full.rows, np.arange(len(H))
    Z = H @ W.T
    value, _ = log_partition(full.partition, Z, rows.lam)
    assert rows.p @ (value - rows.lam * Z[m, rows.first] - (1 - rows.lam) * Z[m, rows.second]) == pytest.approx(loss)
    assert rows.d @ (H**2).sum(axis=1) == pytest.approx(features)
    assert np.trace((np.diag(full.c) + full.beta) @ W @ W.T) == pytest.approx(vectors)
    assert (full.e_h, full.e_w) == (E_H, E_W)


@pytest.mark.parametrize("budget", ["paper", "eq7"])
@pytest.mark.parametrize("profile", ["block", "product", "balanced", "distinct"])
def test_free_label_pair_classes_are_the_plain_model_at_k_squared(profile: str, budget: programs.Budget) -> None:
    classes = CLASSES["two groups"]
    label_pairs = pairs.PROFILES[profile](classes)
    if budget == "eq7" and profile != "block":
        with pytest.raises(InvalidInput, match="needs profile 'block'"):
            programs.ms_free(label_pairs, budget=budget)
        return
    full, _ = programs.ms_free(label_pairs, budget=budget).expand()
    K, A, n = classes.K, int(classes.sizes[0]), class_values(classes)
    count = np.array([pair_count(profile, n, A, a, b) for a, b in product(range(K), repeat=2)])
    p, d = np.zeros(K * K), np.zeros(K * K)
    p[full.rows.first], d[full.rows.first] = full.rows.p, full.rows.d
    np.testing.assert_allclose(p, count / count.sum())
    sizes = np.array([A**2 if a < A else (K - A) ** 2 for a, b in product(range(K), repeat=2)])
    np.testing.assert_allclose(d[count > 0], 1.0 / sizes[count > 0] if budget == "eq7" else 1.0 / K**2)
    np.testing.assert_allclose(full.c, 1.0 / K**2)
    assert full.beta == 0
    assert full.partition == "classes"


def test_plain_counts_and_budgets() -> None:
    full, _ = programs.plain(CLASSES["unsorted counts"]).expand()
    order = np.argsort(full.rows.first)
    np.testing.assert_allclose(full.rows.p[order], np.array([3, 40, 3, 1]) / 47)
    np.testing.assert_allclose(full.rows.d, 1 / 4)
    np.testing.assert_allclose(full.c, 1 / 4)


@pytest.mark.parametrize("profile", [pairs.product, pairs.balanced, pairs.distinct])
def test_a_list_of_counts_is_class_counts(profile: Callable[..., pairs.LabelPairs]) -> None:
    mine, same = profile([8, 300, 100, 8]), profile(pairs.class_counts([8, 300, 100, 8]))
    for name in ("sizes", "same", "cross", "group_of", "side"):
        assert np.array_equal(getattr(mine, name), getattr(same, name))
    with pytest.raises(InvalidInput, match="class counts must be one number per class"):
        profile([[1, 2]])
