"""Corrections of finished runs: each against a formula written otherwise, what is refused, what is stored and checked."""

from __future__ import annotations

import copy
import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lpm.console.cli import run as run_command
from lpm.console.errors import InvalidInput
from lpm.console.progress import NOTEBOOK
from tests.training.own import ORDER, pets, trained
from training import diagnosis
from training import posthoc as command
from training.config import RunConfig, with_preset
from training.data import datasets
from training.predict import main as predict
from training.run import loop
from training.run.correcting import corrected
from training.run.corrections import (
    CORRECTIONS,
    Finished,
    NotDefined,
    Options,
    logit_adjustment,
    nearest_class_mean,
    tau_norm,
)
from training.run.inference import network_of
from training.store import posthoc
from training.store.calibration import calibration_error, fitted_temperature
from training.store.posthoc import Corrected
from training.store.runs import RunFolder, find

TINY = replace(with_preset(RunConfig(), "smoke"), epochs=2, width=4, imbalance=10.0, precision="fp32")
CPU = torch.device("cpu")


def trained_run(config: RunConfig, store: Path) -> tuple[RunFolder, Finished]:
    data = datasets.of(config, None, train_list=None, test_list=None)
    folder = RunFolder(store, config)
    loop.run(config, data, folder, CPU)
    return folder, Finished(config, network_of(folder, 1, CPU), data, CPU)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, Finished]:
    return trained_run(replace(TINY, holdout=0.3), tmp_path_factory.mktemp("plain"))


Plain = tuple[RunFolder, Finished]


def test_without_correction_the_accuracy_is_the_runs_own(plain: Plain) -> None:
    folder, run = plain
    row = corrected(run, "none", Options())
    assert row.last == pytest.approx(dict(folder.result().last))
    assert row.holdout == pytest.approx(dict(folder.result().holdout))
    assert row.per_class == pytest.approx(folder.result().per_class)


def test_logit_adjustment_shifts_by_the_prior_and_tau_0_is_the_identity(plain: Plain) -> None:
    _, run = plain
    z = run.logits("test")
    assert np.array_equal(logit_adjustment(run, "test", Options(tau=0.0)), z)
    N = sum(run.data.counts)
    shifted = logit_adjustment(run, "test", Options(tau=0.7))
    for k, n in enumerate(run.data.counts):
        assert shifted[:, k] == pytest.approx(z[:, k] - 0.7 * (np.log(n) - np.log(N)))


def test_tau_norm_keeps_directions_and_takes_lengths_away(plain: Plain) -> None:
    _, run = plain
    z = run.logits("test")
    assert tau_norm(run, Options(tau=0.0, bias=True))(run.inputs("test")) == pytest.approx(z, abs=1e-4)
    h, W = run.inputs("test"), run.class_vectors
    for tau in (0.5, 1.0):
        expected = np.array([[sum(x * w) / np.sqrt(sum(w**2)) ** tau for w in W] for x in h[:20]])
        assert tau_norm(run, Options(tau=tau))(run.inputs("test"))[:20] == pytest.approx(expected)


@pytest.mark.parametrize("features", ["un", "l2n", "cl2n"])
def test_the_nearest_class_mean_is_that_of_its_formula(plain: Plain, features: str) -> None:
    _, run = plain
    train, test, labels = run.inputs("train"), run.inputs("test"), run.data.train.labels

    def prepared(h: np.ndarray) -> np.ndarray:
        h = h - sum(train) / len(train) if features == "cl2n" else h
        return h if features == "un" else h / np.sqrt(sum(h**2))

    means = [np.mean([prepared(h) for h in train[labels == k]], axis=0) for k in range(10)]
    nearest = [int(np.argmin([sum((prepared(h) - m) ** 2) for m in means])) for h in test[:60]]
    assert (
        nearest_class_mean(run, Options(features=features))(run.inputs("test"))[:60].argmax(axis=1).tolist() == nearest
    )


def test_a_network_without_batchnorm_has_none_to_recalibrate(plain: Plain) -> None:
    run = Finished(plain[1].config, copy.deepcopy(plain[1].network), plain[1].data, CPU)
    for module in list(run.network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, torch.nn.modules.batchnorm._BatchNorm):
                setattr(module, name, torch.nn.Identity())
    with pytest.raises(NotDefined, match="no BatchNorm"):
        corrected(run, "bn", Options())


def test_recalibrated_batchnorm_has_the_mean_statistics_of_unmixed_images(plain: Plain) -> None:
    _, run = plain
    before = {name: value.clone() for name, value in run.network.state_dict().items()}
    again = run.recalibrated.network
    assert all(torch.equal(value, run.network.state_dict()[name]) for name, value in before.items())
    chunks = run.source.train(torch.randperm(len(run.data.train.labels), generator=torch.Generator().manual_seed(0)))
    first = [run.network.backbone.body[0](x) for x in chunks]  # type: ignore[index, operator]
    norm = again.backbone.body[1]  # type: ignore[index]
    assert isinstance(norm, torch.nn.BatchNorm2d)
    means = torch.stack([x.mean(dim=(0, 2, 3)) for x in first]).mean(dim=0)
    assert torch.allclose(norm.running_mean, means, atol=1e-5)  # type: ignore[arg-type]
    weights = {name for name, _ in run.network.named_parameters()}
    assert all(torch.equal(before[name], again.state_dict()[name]) for name in weights)
    assert not again.training


@given(st.integers(0, 1000), st.integers(2, 5))
def test_the_calibration_error_is_that_of_its_definition(seed: int, K: int) -> None:
    rng = np.random.default_rng(seed)
    z, labels = 3 * rng.normal(size=(50, K)), rng.integers(K, size=50)
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    error = 0.0
    for b in range(15):
        inside = [i for i in range(50) if b / 15 <= p[i].max() < (b + 1) / 15 or (b == 14 and p[i].max() == 1)]
        if inside:
            accuracy = np.mean([p[i].argmax() == labels[i] for i in inside])
            error += len(inside) / 50 * abs(accuracy - np.mean([p[i].max() for i in inside]))
    assert calibration_error(z, labels) == pytest.approx(100 * error)


def test_the_temperature_of_scaled_log_probabilities_is_the_scale() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(3, 3)) * 2
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    counts = np.round(p / p.sum(axis=0) * 100_000).astype(int)  # class k equally often in sum, with these frequencies
    logits = np.concatenate([np.repeat(z[[i]], n, axis=0) for i in range(3) for n in counts[i]])
    labels = np.concatenate([np.repeat(k, n) for i in range(3) for k, n in enumerate(counts[i])])
    fitted = fitted_temperature(4 * logits, labels)
    assert fitted == pytest.approx(4 * fitted_temperature(logits, labels), rel=1e-3)
    losses = [_cross_entropy(4 * logits / t, labels) for t in (0.98 * fitted, fitted, 1.02 * fitted)]
    assert losses[1] < min(losses[0], losses[2])


def _cross_entropy(z: np.ndarray, labels: np.ndarray) -> float:
    z = z - z.max(axis=1, keepdims=True)
    values = np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(z)), labels]
    return float(np.mean([values[labels == k].mean() for k in range(z.shape[1])]))


def test_held_out_images_choose_tau_and_test_images_never(plain: Plain) -> None:
    _, run = plain
    row = corrected(run, "la", Options(), scan=True)
    labels = run.data.parts["holdout"].labels

    def recall(tau: float) -> float:
        right = logit_adjustment(run, "holdout", Options(tau=tau)).argmax(axis=1) == labels
        return float(np.mean([right[labels == k].mean() for k in set(labels.tolist())]))

    best = max(map(recall, CORRECTIONS["la"].grid))
    tau = row.settings["tau"]
    assert isinstance(tau, float)
    assert recall(tau) == pytest.approx(best)
    assert row.tau_by_holdout
    shuffled = replace(run.data.test, labels=run.data.test.labels[::-1].copy())
    other = Finished(run.config, run.network, replace(run.data, test=shuffled), CPU)
    assert corrected(other, "la", Options(), scan=True).settings == row.settings
    with pytest.raises(InvalidInput, match="the run has none; train with --holdout"):
        corrected(Finished(run.config, run.network, replace(run.data, holdout=None), CPU), "la", Options(), scan=True)


@pytest.mark.parametrize(
    ("choices", "correction", "reason"),
    [
        ({"sampler": "cbs"}, "la", "the prior is uniform, and logit adjustment changes nothing"),
        ({"class_weights": "effective"}, "la", "would do so twice"),
        ({"sampler": "cbs", "sampler_from": 0.5, "epochs": 2}, "la", "changed during the run"),
        ({"sampler": "tempered", "sampler_from": 0.5, "epochs": 2}, "la", "changed during the run"),
        ({"branches": "dbn", "sampler": "bilateral"}, "la", "so there is no one prior"),
        ({"loss": "la"}, "la", "this one has loss 'la'"),
        ({"classifier": "etf", "loss": "dr"}, "la", "this one has loss 'dr'"),
        ({"classifier": "etf"}, "la", "not defined for cosines"),
        ({"classifier": "etf"}, "tau-norm", "one length, so tau-norm changes nothing"),
        ({"sampler": "coverage", "coverage": 0.5}, "la", "the prior is uniform"),
    ],
)
def test_what_is_not_defined_is_refused_with_the_reason(
    choices: dict[str, Any], correction: str, reason: str, tmp_path: Path
) -> None:
    wide = replace(TINY, **{"epochs": 1, "warmup": 1, "width": 8} | choices)
    _, run = trained_run(wide, tmp_path)
    with pytest.raises(InvalidInput, match=reason):
        corrected(run, correction, Options())
    assert corrected(run, "ncm", Options()).ece is None


def test_a_tau_that_float32_cannot_hold_is_refused(plain: Plain) -> None:
    with pytest.raises(InvalidInput, match="tau-norm at tau = 4000 leaves the range of float32; take a smaller tau"):
        corrected(plain[1], "tau-norm", Options(4000.0))


def test_the_command_stores_its_table_in_the_run(
    plain: Plain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = trained_run(replace(TINY, epochs=1, warmup=1), tmp_path)
    assert command.main([str(folder.path), "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert [word for word in ("post-hoc LA", "tau-norm", "NCM", "BN") if word not in printed] == []
    rows = posthoc.read(folder)
    assert [row.correction for row in rows] == ["none", "la", "tau-norm", "ncm", "bn"]
    words = [str(folder.path), "--device", "cpu", "--correction", "la", "--tau", "0.5", "--json"]
    assert command.main(words) == 0
    (content,) = json.loads(capsys.readouterr().out)
    assert [row["settings"].get("tau") for row in content["corrections"]] == [None, 0.5]
    assert [row.title for row in posthoc.read(folder)] == [row.title for row in rows] + ["post-hoc LA(0.5)"]
    assert run_command(lambda: command.main([str(folder.path), "--correction", "la", "--scan"])) == 2
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(SystemExit, match="2"):
        command.main([str(folder.path), "--tau", "-1"])
    assert capsys.readouterr().err == "error: argument --tau: '-1' is not a number in 0..100\n"


def test_the_command_leaves_out_what_is_not_defined_unless_it_was_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = trained_run(replace(TINY, epochs=1, warmup=1, sampler="cbs"), tmp_path)
    assert run_command(lambda: command.main([str(folder.path)])) == 0
    captured = capsys.readouterr()
    assert "note: la is left out: sampler 'cbs'" in captured.err
    assert run_command(lambda: command.main([str(folder.path), "--correction", "la"])) == 2


def row_of(**changes: Any) -> dict[str, Any]:
    whole = {"correction": "la", "settings": {"tau": 1.0}, "last": {"all": 50.0}, "per_class": [None], "holdout": {}}
    rest = {"tau_by_holdout": False, "ece": 1.0, "temperature": None, "ece_at_temperature": None}
    return {**whole, **rest, **changes}


@pytest.mark.parametrize(
    "changes",
    [
        {"correction": "\x1b[31m"},
        {"settings": {"tau": "1"}},
        {"settings": {"lambda": 1.0}},
        {"settings": {"features": "\n"}},
        {"last": {"all": 101.0}},
        {"last": {"many": 1.0}},
        {"last": {"all": 1.0, "\x1b": 1.0}},
        {"per_class": [True]},
        {"ece": float("nan")},
        {"tau_by_holdout": 1},
    ],
)
def test_a_file_with_other_values_is_damaged_even_with_its_hash(plain: Plain, changes: dict[str, Any]) -> None:
    folder, _ = plain
    file = folder.path / posthoc.FILE
    final = folder.result().files["final.safetensors"][0]
    from training.store import results

    def stored(row: dict[str, Any]) -> bytes:
        content = {"final": final, "rows": [row]}
        return json.dumps(content | {"sha256": results._digest(content)}).encode()

    file.write_bytes(stored(row_of()))
    assert posthoc.read(folder) == (Corrected(**row_of(per_class=(None,))),)
    file.write_bytes(stored(row_of(**changes)))
    with pytest.raises(InvalidInput, match=r"posthoc\.json' is damaged"):
        posthoc.read(folder)
    file.write_bytes(stored(row_of()).replace(b"50.0", b"51.0"))
    with pytest.raises(InvalidInput, match=r"posthoc\.json' is damaged"):
        posthoc.read(folder)
    file.unlink()
    assert posthoc.read(folder) == ()


def test_corrections_of_other_weights_are_refused(plain: Plain) -> None:
    folder, run = plain
    posthoc.save(folder, [corrected(run, "none", Options())])
    assert len(posthoc.read(folder)) == 1
    other = replace(folder.result(), files={"final.safetensors": ("0" * 64,)})

    class Other(RunFolder):
        def result(self, *needed: str) -> Any:
            return other

    folder = Other(folder.path.parent.parent, folder.config)
    with pytest.raises(InvalidInput, match="made of other weights than the run has"):
        posthoc.read(folder)


def test_image_files_are_corrected_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = pets(tmp_path / "pets")
    assert trained(root, tmp_path / "runs", "--holdout", "0.3") == 0
    (folder,) = find(tmp_path / "runs")
    words = [str(folder.path), "--data-root", str(root), "--workers", "0", "--device", "cpu"]
    assert run_command(lambda: command.main(words)) == 0
    (none, *others) = posthoc.read(folder)
    assert none.last == pytest.approx(dict(folder.result().last))
    assert none.holdout == pytest.approx(dict(folder.result().holdout))
    assert {row.correction for row in others} == {"la", "tau-norm", "ncm", "bn"}


def test_several_runs_are_corrected_where_it_is_defined(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain, _ = trained_run(replace(TINY, epochs=1, warmup=1), tmp_path)
    balanced, _ = trained_run(replace(TINY, epochs=1, warmup=1, sampler="cbs"), tmp_path)
    assert run_command(lambda: command.main([str(plain.path), str(balanced.path), "--correction", "la"])) == 0
    assert f"note: la of {balanced.path} is left out: sampler 'cbs'" in capsys.readouterr().err
    assert [row.correction for row in posthoc.read(plain)] == ["none", "la"]
    other, _ = trained_run(replace(TINY, epochs=1, warmup=1, sampler="cas"), tmp_path)
    assert run_command(lambda: command.main([str(other.path), str(balanced.path), "--correction", "la"])) == 2
    assert "la is defined for none of these runs" in capsys.readouterr().err


def test_predictions_are_corrected_and_a_diagnosis_knows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On image files: training.posthoc measures what training.predict --correction la predicts."""
    root = pets(tmp_path / "pets")
    assert trained(root, tmp_path / "runs") == 0
    (folder,) = find(tmp_path / "runs")
    report = diagnosis.of(folder)
    assert report.corrected is None
    assert all(c.corrected is None for c in report.classes)
    where = ["--data-root", str(root), "--workers", "0", "--device", "cpu"]
    assert run_command(lambda: command.main([str(folder.path), "--correction", "la", *where])) == 0
    (row,) = (row for row in posthoc.read(folder) if row.correction == "la")
    assert [c.corrected for c in diagnosis.of(folder).classes] == pytest.approx(row.per_class)
    capsys.readouterr()
    words = [str(folder.path), str(root / "test"), "--workers", "0", "--correction", "la", "--top", "3"]
    assert run_command(lambda: predict(words)) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    for name, share in zip(ORDER, row.per_class, strict=True):
        right = [one["class"] == name for one in rows if one["rank"] == "1" and f"/{name}/" in one["image"]]
        assert 100 * np.mean(right) == pytest.approx(share)
    assert run_command(lambda: predict([*words[:4], "--tau", "0.5"])) == 2
    assert "has no effect without one of them" in capsys.readouterr().err
    assert run_command(lambda: predict([*words, "--tau", "0"])) == 0
    as_trained = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    pi = np.array([30, 12, 4]) / 46
    for some, others in ((rows[:3], as_trained[:3]),):
        adjusted = {one["class"]: float(one["score"]) for one in some}
        scores = {one["class"]: float(one["score"]) for one in others}
        weighed = np.array([scores[name] for name in ORDER]) / pi
        assert [adjusted[name] for name in ORDER] == pytest.approx(weighed / weighed.sum(), abs=2e-3)
    assert trained(root, tmp_path / "balanced", "--sampler", "cas") == 0
    (other,) = find(tmp_path / "balanced")
    assert run_command(lambda: predict([str(other.path), *words[1:]])) == 2
    assert "the prior is uniform" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_passes_over_the_images_show_their_progress_on_a_terminal(
    words: list[str], plain: Plain, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv(NOTEBOOK, raising=False)
    folder, _ = plain
    assert run_command(lambda: command.main([str(folder.path), "--correction", "bn", "--device", "cpu", *words])) == 0
    err = capsys.readouterr().err
    assert [part in err for part in ("test images", "holdout images", "BatchNorm")] == [not words] * 3
