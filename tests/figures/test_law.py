"""Networks on the line of the collapse law: lines against another solver and closed forms, points against runs, bad input."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize

from benchmarks.law import SERIES
from figures import __main__ as command
from figures import law
from lpm.console.errors import InvalidInput

S, PI = 2 / 3, np.repeat([2 / 11, 1 / 55], 5)


@pytest.mark.parametrize(
    ("name", "threshold"),
    [
        ("FC", math.sqrt(S / 55)),
        ("MS", math.sqrt(S / 55)),
        ("LA", math.sqrt(S / 55)),
        ("CW", math.sqrt(S * 11 / 200)),
        ("CAS", math.sqrt(S / 10)),
        ("BMLS", math.sqrt(S / 10 - (1 - S) / 90)),
        ("no-mixup", math.sqrt(1 / 55)),
    ],
)
def test_lines_end_at_the_threshold(name: str, threshold: float) -> None:
    below, above = law.predicted_rows(name, [0.97, 1.03])
    assert below["mu"] == pytest.approx(0.97 * threshold)
    vanishing = "r_A" if law.PANELS[name].group == 0 else "r_B"
    assert below[vanishing] > 0.1
    assert above[vanishing] == 0
    assert max(below["relative_gap"], above["relative_gap"]) <= 1e-6


@pytest.mark.parametrize("name", ["FC", "CW", "MS"])
def test_lines_are_the_optimum_over_class_vectors_features_and_bias(name: str) -> None:
    """Against L-BFGS on W, H and the bias themselves, with penalties in place of the nuclear norm."""
    ((row),) = law.predicted_rows(name, [0.8])
    mu, (nodes, masses) = row["mu"], np.polynomial.legendre.leggauss(law.NODES)
    a, b, q = (x.ravel() for x in np.meshgrid(range(10), range(10), range(law.NODES), indexing="ij"))
    lam, p = (nodes[q] + 1) / 2, PI[a] * PI[b] * masses[q] / 2
    eye = np.eye(10)
    targets = (lam[:, None] * eye[a] + (1 - lam[:, None]) * eye[b]) / (10 * PI if name == "CW" else 1)
    parts = (lam, 1 - lam) if name == "MS" else (np.ones(len(p)),)
    mass = np.ones(len(p)) if name == "MS" else targets.sum(axis=1)

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        W, bias, scaled = x[:100].reshape(10, 10), x[100:110], x[110:].reshape(-1, 10)
        H = scaled / np.sqrt(p)[:, None]
        z = H @ W.T + bias
        value, gradient = -(targets * z).sum(axis=1), -targets
        for part in parts:
            e = np.exp(part[:, None] * z)
            value = value + mass * np.log(e.sum(axis=1))
            gradient = gradient + (mass * part)[:, None] * e / e.sum(axis=1, keepdims=True)
        gradient = p[:, None] * gradient
        whole = p @ value + mu / 2 * ((W**2).sum() + (scaled**2).sum())
        of_H = gradient @ W / np.sqrt(p)[:, None] + mu * scaled
        return whole, np.concatenate([(gradient.T @ H + mu * W).ravel(), gradient.sum(axis=0), of_H.ravel()])

    start = np.random.default_rng(0).normal(size=110 + 10 * len(p)) / 3
    options = {"maxiter": 2000, "ftol": 1e-15, "gtol": 1e-9, "maxcor": 30}
    W = minimize(objective, start, jac=True, method="L-BFGS-B", options=options).x[:100].reshape(10, 10)
    groups = [np.linalg.svd(W[k] - W[k].mean(axis=0), compute_uv=False)[:4] for k in (slice(5), slice(5, 10))]
    for own, key in zip(groups, ("r_A", "r_B"), strict=True):
        assert own == pytest.approx(np.full(4, row[key]), rel=2e-3)
    centred = W - W.mean(axis=0)
    between = (centred**2).sum() - sum((own**2).sum() for own in groups)
    assert math.sqrt(between) == pytest.approx(row["s_AB"], rel=2e-3)
    rare = centred[5:] / np.linalg.norm(centred[5:], axis=1, keepdims=True)
    assert (rare @ rare.T)[0, 1] == pytest.approx(row["few_cosine"], abs=2e-3)


def test_what_is_fitted_shifts_the_line_to_smaller_decays() -> None:
    """With a share of .81 inside rare classes they collapse at .9 of the threshold, up to pairs of two images of one class."""
    below, above, far = law.predicted_rows("FC", [0.88, 0.92, 1.03], (0.9, 0.9, 0.81))
    assert below["what"] == "fitted"
    assert below["r_B"] > 0.1
    assert above["r_B"] == far["r_B"] == 0
    (plain,) = law.predicted_rows("FC", [0.88])
    assert below["r_B"] < plain["r_B"]
    assert below["r_A"] < plain["r_A"]


def test_shares_are_those_at_the_smallest_decay() -> None:
    points = [
        {"ratio": ratio, "fit_AB": ab, "fit_A": 0.99, "fit_B": 0.5}
        for ratio, ab in ((0.8, 0.1), (0.6, 0.9), (0.6, 0.96))
    ]
    assert law.shares_of([p | {"fit_A": 0.94} for p in points]) == pytest.approx((0.93, 0.93, 0.5))
    assert law.shares_of(points) is None


def test_thresholds_are_where_the_mean_ratio_crosses() -> None:
    rows = [
        {"series": "FC", "mu": mu, "r_A": 2.0, "r_B": 2 * ratio}
        for mu, ratio in ((0.1, 0.3), (0.1, 0.2), (0.12, 0.05), (0.09, 0.5), (0.3, 0.01))
    ]
    assert law.threshold(rows, "FC") == pytest.approx(0.1 + 0.02 * (0.25 - 0.15) / 0.2)
    assert law.threshold(rows[:2], "FC") is None
    swapped = [row | {"series": "CW", "r_A": row["r_B"], "r_B": row["r_A"]} for row in rows]
    assert law.threshold(swapped, "CW") == law.threshold(rows, "FC")


def rows_of(vectors: np.ndarray) -> dict[str, str]:
    """The row that benchmarks.law would write of class vectors (10, p)."""
    spectra = {"s": vectors, "sA": vectors[:5], "sB": vectors[5:]}
    values = {
        f"{word}{n}": str(value)
        for word, some in spectra.items()
        for n, value in enumerate(np.linalg.svd(some - some.mean(axis=0), compute_uv=False)[: len(some) - 1], 1)
    }
    return {
        "series": "FC",
        "seed": "0",
        "mu": "0.1",
        "ratio": "0.9",
        "many": "99",
        "few": "5",
        "few_cosine": "0.3",
        "fit_AB": "0.9",
        "fit_A": "0.91",
        "fit_B": "0.8",
        "shared_B": "0.36",
    } | values


def written(path: Path, row: dict[str, str]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerow(row)
    return path


def test_points_are_the_parts_of_a_spectrum(tmp_path: Path) -> None:
    """Orthogonal parts inside A, inside B and between have their sizes back."""
    rng = np.random.default_rng(1)
    basis = np.linalg.qr(rng.normal(size=(12, 9)))[0].T
    within = np.linalg.qr(np.eye(5) - 0.2)[0][:, :4]
    between = np.repeat([1.0, -1.0], 5)[:, None] / math.sqrt(10)
    A, B = np.vstack([within, np.zeros((5, 4))]), np.vstack([np.zeros((5, 4)), within])
    W = 3 * A @ basis[:4] + 2 * B @ basis[4:8] + 7 * between @ basis[8:]
    (row,) = law.measured_rows(written(tmp_path / "runs.csv", rows_of(W)))
    assert [row[key] for key in ("r_A", "r_B", "s_AB", "own_B")] == pytest.approx([3, 2, 7, 2 * 0.8])


def test_the_figure_is_drawn_from_its_rows(tmp_path: Path) -> None:
    path = written(tmp_path / "runs.csv", rows_of(np.random.default_rng(0).normal(size=(10, 12))))
    assert command.main(["law", "--runs", str(path), "--points", "2", "--quiet", "--out", str(tmp_path / "law")]) == 0
    assert (tmp_path / "law" / "law.png").read_bytes().startswith(b"\x89PNG")
    points = 2 + len(law.NEAR)
    with (tmp_path / "law" / "law.csv").open() as file:
        assert [row["what"] for row in csv.DictReader(file)] == ["predicted"] * points + ["fitted"] * points + [
            "measured"
        ]


def test_cifar_has_a_figure_of_its_own(tmp_path: Path) -> None:
    row = rows_of(np.random.default_rng(0).normal(size=(10, 12))) | {
        "series": "CIFAR-CAS",
        "fit_B": "0.5",
        "fit_A": "0.7",
    }
    path, out = written(tmp_path / "runs.csv", row), tmp_path / "out"
    assert command.main(["law", "--runs", str(path), "--points", "2", "--quiet", "--out", str(out)]) == 0
    assert (out / "law-cifar.png").exists()
    assert not (out / "law.png").exists()
    for name, panel in law.CIFAR.items():
        base = {series.name: series for series in SERIES}[name]
        of_cure = law.predicted_rows(name, [1.0])[0]["mu"]
        assert of_cure == pytest.approx(math.sqrt(base.c)), panel


@pytest.mark.parametrize(
    "change", [{"few": "many"}, {"fit_B": None}, {"few": "nan"}, {"s9": None}, {"series": "other"}]
)
def test_unreadable_rows_are_one_line(change: dict[str, str | None], tmp_path: Path) -> None:
    row = {k: v for k, v in (rows_of(np.eye(10)) | change).items() if v is not None}
    written(tmp_path / "runs.csv", row)
    for words in (["--runs", str(tmp_path / "runs.csv")], ["--runs", str(tmp_path / "none.csv")], ["--points", "1"]):
        with pytest.raises(InvalidInput) as refused:
            command.main(["law", *words, "--out", str(tmp_path / "law")])
        assert "\n" not in str(refused.value)
