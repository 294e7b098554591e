"""The training loop: it learns, and ends with everything that later questions need."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lpm.console.cli import run as run_command
from lpm.console.errors import InvalidInput
from tests.training.own import pets
from training.batches.mixing import ratios
from training.config import RunConfig, with_preset
from training.data import datasets
from training.jobs import prepare
from training.model import build
from training.options import Options
from training.run import loop, trainer
from training.run.steps import Diverged
from training.sampling.samplers import Random
from training.store.rows import export
from training.store.runs import RunFolder, find
from training.train import main

TINY = replace(with_preset(RunConfig(), "smoke"), epochs=3, width=4, imbalance=10.0)
CPU = torch.device("cpu")
TIMES = {"train_seconds", "images_per_second"}


@pytest.mark.usefixtures("eight_measured_images")
@pytest.mark.parametrize(
    ("sampler", "classifier", "loss"),
    [
        ("random", "fc", "ce"),
        ("bmls", "ms-unordered", "ce"),
        ("cas", "ms", "ce"),
        ("bmls", "etf", "dr"),
        ("lom", "ms-wetf", "ce"),
    ],
)
def test_a_run_ends_with_everything_that_later_questions_need(
    sampler: Any, classifier: Any, loss: Any, digits: datasets.LongTailed, tmp_path: Path
) -> None:
    config = replace(TINY, sampler=sampler, classifier=classifier, loss=loss, width=8)
    rows: list[dict[str, Any]] = []
    folder = RunFolder(tmp_path, config)
    result = loop.run(config, digits, folder, CPU, on_epoch=rows.append)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert folder.rows() == rows
    assert result.last["all"] == rows[-1]["test_all"]
    assert result.best == max(row["test_all"] for row in rows)
    assert np.mean(result.per_class) == pytest.approx(result.last["all"])
    assert folder.geometries() == [1, 2, 3]
    measured = folder.geometry(3)
    assert measured["class_vectors"].shape == (10, 32)
    assert measured["class_means"].shape == (10, 32)
    assert measured["pair_means"].shape == (8, 10, 10, 32)
    occurred = folder.final()["pair_counts"] > 0
    assert (measured["pair_number"] == 8 * occurred).all()  # every label pair that occurred, however rare
    assert (np.diff(measured["ratio_means"]) > 0).all()
    squares = (measured["pair_means"] ** 2).sum(axis=-1)
    assert (measured["pair_squares"] >= squares - 1e-3 * (1 + squares)).all()  # Jensen
    tensors = folder.final()
    assert int(tensors["pair_counts"].sum()) == 3 * len(digits.train.labels)
    assert tensors["test_features"].shape == (500, 32)
    assert tensors["lambdas"].shape == (3 * -(-len(digits.train.labels) // config.batch),)
    assert {p.name for p in folder.path.iterdir()} == {
        "config.json",
        "data.json",
        "epochs.jsonl",
        "final.safetensors",
        "geometry-0000001.safetensors",
        "geometry-0000002.safetensors",
        "geometry-0000003.safetensors",
        "lock",
        "metrics.json",
    }
    assert loop.run(config, digits, folder, CPU) == result  # nothing is run twice


def test_evaluated_every_n_epochs_a_run_has_the_same_weights_and_last_accuracies(
    digits: datasets.LongTailed, tmp_path: Path
) -> None:
    config, data = replace(TINY, holdout=0.1), digits.with_holdout(0.1, 0)
    usual, rare = (RunFolder(tmp_path / name, config) for name in ("usual", "rare"))
    first = loop.run(config, data, usual, CPU)
    second = loop.finished(loop.stages(config, data, rare, CPU, evaluate_every=2))
    assert (usual.path / "final.safetensors").read_bytes() == (rare.path / "final.safetensors").read_bytes()
    assert (first.last, first.holdout, first.per_class) == (second.last, second.holdout, second.per_class)
    assert first.best is not None
    assert second.best is None
    both = list(zip(usual.rows(), rare.rows(), strict=True))
    assert [row["epoch"] for _, row in both if "test_all" in row] == [2, 3]  # the last one always
    for row, other in both:
        names = {name for name in row if name in other or not name.startswith(("test_", "holdout_"))}
        assert {name: row[name] for name in names - TIMES} == {name: other[name] for name in names - TIMES}


def test_a_run_goes_on_after_an_epoch_that_was_not_evaluated(digits: datasets.LongTailed, tmp_path: Path) -> None:
    def stop(row: dict[str, Any]) -> None:
        if row["epoch"] == 2:
            raise RuntimeError("stop")

    folder = RunFolder(tmp_path, TINY)
    with pytest.raises(RuntimeError, match="stop"):
        loop.finished(loop.stages(TINY, digits, folder, CPU, on_epoch=stop, evaluate_every=5))
    epochs: list[int] = []
    result = loop.run(TINY, digits, folder, CPU, on_epoch=lambda row: epochs.append(row["epoch"]))
    assert epochs == [3]
    assert result.best is None
    assert ["test_all" in row for row in folder.rows()] == [False, False, True]


def test_the_option_says_how_often(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--epochs", "3", "--width", "4", "--batch", "200", "--device", "cpu", "--store", str(tmp_path)]
    assert main([*words, "--evaluate-every", "2"]) == 0
    (folder,) = find(tmp_path)
    assert ["test_all" in row for row in folder.rows()] == [False, True, True]
    assert folder.result().best is None  # and other commands can read it
    assert [row["best"] for row in export(tmp_path)] == [""] * len(folder.result().last)
    assert capsys.readouterr().err.count(", test ") == 2
    for wrong in ("0", "-1", "1.5", "1000000"):
        with pytest.raises(SystemExit, match="2"):
            main(["--evaluate-every", wrong])
        assert "is not a number of epochs" in capsys.readouterr().err


def test_a_finished_run_can_be_measured_again(digits: datasets.LongTailed, tmp_path: Path, capsys: Any) -> None:
    from training.measure import main as measure

    folder = RunFolder(tmp_path, replace(TINY, sampler="bmls"))
    loop.run(folder.config, digits, folder, CPU)
    before = folder.geometry(3)
    (folder.path / "geometry-0000003.safetensors").write_bytes(b"damaged")
    assert measure([str(folder.path)]) == 0
    assert folder.geometries() == [3]
    after = folder.geometry(3)
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    (folder.path / "metrics.json").unlink()
    with pytest.raises(InvalidInput, match="is not finished"):
        measure([str(folder.path)])


@pytest.mark.usefixtures("eight_measured_images")
def test_label_pairs_are_measured_by_design(digits: datasets.LongTailed) -> None:
    """Means of a network that returns what it sees are those of the mixed images themselves."""
    from training.run.measurement import measured

    learner = trainer.Trainer(replace(TINY, sampler="bmls"), digits, CPU)
    learner.steps.label_counts[2, 7] = 1  # nothing else occurred
    asked: list[torch.Tensor] = []
    sides: list[torch.Tensor] = []
    mixed: list[torch.Tensor] = []
    images, inputs = learner.source.train, learner.classifier_inputs

    def watched_images(which: torch.Tensor) -> Iterator[torch.Tensor]:
        asked.append(which)
        sides.append(torch.cat(list(images(which))))
        return images(which)

    def watched_inputs(x: torch.Tensor) -> torch.Tensor:
        mixed.append(x)
        return inputs(x)

    learner.source.train = watched_images  # type: ignore[method-assign]
    learner.classifier_inputs = watched_inputs  # type: ignore[method-assign]
    result = measured(learner)
    assert (result["pair_number"] > 0).nonzero().tolist() == [[q, 2, 7] for q in range(8)]
    _, which = asked  # the first time, for the class means, it was all of them
    assert {tuple(pair) for pair in digits.train.labels[which.numpy()].tolist()} == {(2, 7)}
    first, second = sides[1].unbind(1)
    difference, seen = (first - second).flatten(1), torch.cat(mixed)[len(digits.train.labels) :]
    lam = ((seen - second).flatten(1) * difference).sum(dim=1) / (difference**2).sum(dim=1)
    assert torch.allclose(seen, lam.view(-1, 1, 1, 1) * (first - second) + second, atol=1e-4)
    assert torch.allclose(lam.view(8, 8).mean(dim=1), result["ratio_means"], atol=1e-4)
    assert ((lam.view(8, 8) * 8).floor() == torch.arange(8)[:, None]).all()  # alpha = 1: bins are eighths


def test_the_default_run_learns(tmp_path: Path) -> None:
    assert main(["--store", str(tmp_path), "--sampler", "bmls", "--quiet"]) == 0
    (folder,) = find(tmp_path)
    assert folder.result().last["all"] > 80


def test_a_loss_that_is_no_number_stops_the_run_at_its_step(
    digits: datasets.LongTailed, tmp_path: Path, capsys: Any
) -> None:
    learner = trainer.Trainer(TINY, digits, CPU)
    with torch.no_grad():
        next(learner.network.parameters()).fill_(float("nan"))
    with pytest.raises(Diverged, match=r"the loss is nan at epoch 1, step 1, learning rate 0.05"):
        learner.train_epoch()
    words = ["--lr", "900", "--warmup", "0", "--epochs", "3", "--width", "4", "--store", str(tmp_path / "s"), "--quiet"]
    assert main(words) == 1
    printed = capsys.readouterr().err
    assert "diverged: random+FC, seed 0: " in printed
    assert "checkpoint" in printed


def test_bf16_and_fp32_learn_alike(
    digits: datasets.LongTailed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "has_bfloat16", lambda device: True)  # emulated where this processor has none
    losses = []
    for precision in ("bf16", "fp32"):
        config = replace(TINY, precision=precision, epochs=2)
        loop.run(config, digits, folder := RunFolder(tmp_path, config), CPU)
        losses.append([row["loss"] for row in folder.rows()])
    assert np.allclose(losses[0], losses[1], rtol=0.05)
    assert losses[0] != losses[1]


def test_mixing_ratios_follow_the_law() -> None:
    draws = np.concatenate([ratios(replace(TINY, alpha=0.2), e, [128] * 1000).drawn for e in range(1, 20)])
    assert abs(draws.mean() - 0.5) < 0.01
    assert abs(draws.var() - 1 / (4 * (2 * 0.2 + 1))) < 0.005


def test_without_mixup_a_step_sees_first_images_alone(
    digits: datasets.LongTailed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(TINY, alpha=0.0, epochs=1, warmup=0, augment=False)
    assert (ratios(config, 1, [config.batch, 4]).of_pairs == 1).all()

    def loss(alpha: float, *, other_partners: bool) -> float:
        def pairs(sampler: Random, epoch: int) -> np.ndarray:
            drawn = drawn_pairs(sampler, epoch)
            return np.stack([drawn[:, 0], drawn[::-1, 1]], axis=1) if other_partners else drawn

        monkeypatch.setattr(Random, "pairs", pairs)
        return trainer.Trainer(replace(config, alpha=alpha), digits, CPU).train_epoch()["loss"]

    drawn_pairs = Random.pairs
    assert loss(0.0, other_partners=True) == loss(0.0, other_partners=False)
    assert loss(1.0, other_partners=True) != loss(1.0, other_partners=False)
    result = loop.run(config, digits, folder := RunFolder(tmp_path, config), CPU)
    assert result.method == "random+FC, no mixup"
    assert (folder.geometry(1)["ratio_means"] == 1).all()


@pytest.mark.usefixtures("forked_jobs")
def test_two_runs_at_once_are_the_same_as_one_after_the_other(tmp_path: Path) -> None:
    words = ["--epochs", "2", "--width", "4", "--seeds", "0-1", "--quiet"]
    for jobs in ("1", "2"):
        assert main([*words, "--store", str(tmp_path / jobs), "--jobs", jobs]) == 0
    one, two = (sorted((tmp_path / jobs).glob("*/*/final.safetensors")) for jobs in ("1", "2"))
    assert [p.read_bytes() for p in one] == [p.read_bytes() for p in two]
    assert len(one) == 2


def test_each_class_is_printed_where_there_are_few(tmp_path: Path, capsys: Any) -> None:
    root = pets(tmp_path / "data")
    shutil.rmtree(root / "test/cat")
    words = ["--dataset", "own", "--data-root", str(root), "--store", str(tmp_path / "s"), "--device", "cpu"]
    words += ["--preset", "smoke", "--epochs", "1", "--width", "4", "--workers", "0", "--seeds", "0-1"]
    assert run_command(lambda: main(words)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  (")[1] for line in lines if "training image" in line and " classes, " not in line] == [
        "30 training images)",
        "12 training images)",
        "4 training images)",
    ]
    results = [folder.result() for folder in find(tmp_path / "s")]
    values = [result.per_class[0] for result in results]
    (dog,) = (line for line in lines if line.startswith("  dog"))
    assert f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f} %" in dog
    assert ["cat", *["no", "test", "image", "(4", "training", "images)"]] in [line.split() for line in lines]


def test_a_processor_without_bfloat16_computes_in_float32_and_a_run_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Emulated bfloat16 took sixty times as long on a processor without AVX-512, and was the default."""
    words = ["--preset", "smoke", "--epochs", "1", "--device", "cpu", "--store", str(tmp_path)]
    weights = {}
    for has in (True, False):
        monkeypatch.setattr(build, "has_bfloat16", lambda device, has=has: has)
        for precision in ("bf16", "fp32"):
            assert main([*words, "--precision", precision, "--seeds", str(int(has))]) == 0
            noted = "computes in float32, because this processor has no bfloat16" in capsys.readouterr().err
            assert noted == (not has and precision == "bf16")
    for folder in tmp_path.glob("*/seed-*"):
        result = json.loads((folder / "metrics.json").read_text())
        config = json.loads((folder / "config.json").read_text())
        weights[config["precision"], config["seed"]] = load_file(folder / "final.safetensors")
        assert (result["arithmetic"] == "bfloat16") == (config["precision"] == "bf16" and config["seed"] == 1)
    without, with_ = (
        [torch.equal(weights["bf16", seed][name], x) for name, x in weights["fp32", seed].items()] for seed in (0, 1)
    )
    assert all(without)
    assert not all(with_)


def test_a_build_without_onednn_has_no_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as PyTorch's for a Mac, where the question itself does not exist."""
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    monkeypatch.setattr(torch.ops, "mkldnn", None)
    assert not build.has_bfloat16.__wrapped__(CPU)


def of_a_gpu() -> torch.Tensor:
    raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize("allocate", [lambda: torch.empty(2**55), of_a_gpu])
def test_a_network_that_does_not_fit_is_one_line(
    allocate: Callable[[], torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(build, "network", lambda *words, **more: allocate())
    words = ["--epochs", "1", "--warmup", "0", "--precision", "fp32", "--device", "cpu", "--store", str(tmp_path)]
    assert run_command(lambda: main(words)) == 2
    error = "error: the device's memory does not suffice; take fewer --jobs or a smaller --batch\n"
    assert capsys.readouterr().err == error


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("--classifier etf --width 2", "a simplex ETF of K = 10 vectors needs features of width p >= K, not p = 8"),
        ("--classifier ms-wetf --width 2", "p >= K, not p = 8; take a wider model"),
    ],
)
def test_a_network_that_cannot_be_made_is_refused_before_data_are_read(
    words: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(datasets, "of", None)
    assert run_command(lambda: main([*words.split(), "--device", "cpu", "--store", str(tmp_path)])) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert reason in line


def test_weights_of_other_shapes_are_refused_before_data_are_read(tmp_path: Path) -> None:
    config = replace(RunConfig(dataset="imagenet-lt"), model="resnet18", width=4, pretrained=True)
    saved = build.network(replace(config, width=8), 3).backbone.state_dict()
    torch.save(saved, tmp_path / "weights.pth")
    with pytest.raises(InvalidInput, match=r"conv1.weight has shape \(8, 3, 7, 7\), not \(4, 3, 7, 7\)"):
        prepare.ready([config], Options(tmp_path, weights=tmp_path / "weights.pth"), quiet=True)
    build.check_networks([replace(config, width=8)], tmp_path / "weights.pth")
