"""A classifier on features that are computed once: the features are the network's, and no image is read again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lpm.console.cli import run as run_command
from lpm.console.errors import InvalidInput
from tests.started import Forked
from tests.training.own import pets
from training import compare, train
from training.batches import cached
from training.config import RunConfig, with_preset
from training.confusion import main as confusion
from training.data import datasets
from training.measure import main as measure
from training.model.imagenet_resnets import Bottlenecks
from training.posthoc import main as posthoc
from training.predict import main as predict
from training.run import inference
from training.run.corrections import Finished
from training.run.trainer import Trainer
from training.second_stage import second_stage
from training.store.runs import RunFolder, find

CPU = torch.device("cpu")
BASE = with_preset(RunConfig(dataset="own", classes=3), "features")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pets(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(Bottlenecks("resnet18", width=4).state_dict(), file)
    return file


def words(root: Path, store: Path, weights: Path) -> list[str]:
    options = ["--dataset", "own", "--data-root", str(root), "--store", str(store), "--device", "cpu", "--quiet"]
    options += ["--preset", "features", "--weights", str(weights), "--width", "4", "--size", "32", "--workers", "0"]
    return [*options, "--epochs", "3", "--holdout", "0.3"]


@pytest.fixture(scope="module")
def run(root: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    store = tmp_path_factory.mktemp("store")
    assert run_command(lambda: train.main(words(root, store, weights))) == 0
    (folder,) = find(store)
    return folder


def test_a_run_on_features_predicts_images_as_it_predicted_their_features(
    run: RunFolder, root: Path, capsys: Any
) -> None:
    data = datasets.of(run.config, root, train_list=None, test_list=None)
    network = inference.network_of(run, 3, CPU)
    logits = Finished(run.config, network, data, CPU).logits("test")  # of images, by the whole network
    assert np.array_equal(logits.argmax(axis=1), run.final()["test_answers"][:, 0])
    assert run_command(lambda: predict([str(run.path), str(root / "test")])) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(data.test.labels)
    assert run_command(lambda: confusion([str(run.path)])) == 0
    assert run_command(lambda: posthoc([str(run.path), "--data-root", str(root), "--workers", "0"])) == 0


def test_the_frozen_network_is_that_of_the_file(run: RunFolder, weights: Path) -> None:
    final = run.final()
    for name, tensor in torch.load(weights, weights_only=True).items():
        assert np.array_equal(final[f"network.backbone.{name}"], tensor.numpy()), name


def test_other_runs_read_no_image_again(
    root: Path, weights: Path, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    store, computed = tmp_path / "store", []
    compute = cached.Cached._computed
    monkeypatch.setattr(cached.Cached, "_computed", lambda self, part: computed.append(part) or compute(self, part))
    given = words(root, store, weights)
    methods = ["--method", "random+FC", "BMLS+MS", "random+FC+LA", "--seeds", "0-1"]
    assert run_command(lambda: compare.main([*given, *methods])) == 0
    assert sorted(computed) == ["holdout", "test", "train"]
    (file,) = (store / cached.FOLDER).iterdir()
    before = {folder.path: folder.result().last for folder in find(store)}
    file.write_bytes(file.read_bytes()[:-1])  # a damaged file is made again
    for folder in before:
        (folder / "metrics.json").unlink()
    assert run_command(lambda: compare.main([*given, *methods])) == 0
    assert sorted(computed) == ["holdout", "holdout", "test", "test", "train", "train"]
    assert {folder.path: folder.result().last for folder in find(store)} == before


def test_a_run_that_is_measured_again_keeps_its_predictions(run: RunFolder, root: Path) -> None:
    before = run.final()["test_answers"], run.geometry(3)["class_vectors"]
    assert run_command(lambda: measure([str(run.path), "--data-root", str(root), "--workers", "0"])) == 0
    assert np.array_equal(run.final()["test_answers"], before[0])
    assert np.array_equal(run.geometry(3)["class_vectors"], before[1])


def test_mixup_mixes_features(root: Path, weights: Path) -> None:
    config = replace(BASE, width=4, size=32, epochs=1, precision="fp32")
    data = datasets.of(config, root, train_list=None, test_list=None)
    trainer = Trainer(config, data, CPU, weights=weights)
    features = torch.cat(list(trainer.source.train(torch.arange(8))))
    assert features.shape == (8, 32, 1, 1)
    images = torch.cat(list(trainer.source.files.train(torch.arange(8))))  # type: ignore[attr-defined]
    with torch.no_grad():
        assert torch.allclose(trainer.network.backbone(images), features.flatten(1), atol=1e-6)
    assert torch.equal(trainer.network.features(features, bf16=False), features.flatten(1))
    trainable = {name for name, p in trainer.network.named_parameters() if p.requires_grad}
    assert trainable == {"classifier.linear.weight", "classifier.linear.bias"}


def test_what_cannot_be_computed_once_is_refused() -> None:
    for change, message in (
        ({"augment": True}, "give --no-augment"),
        ({"mixing": "cutmix"}, "cuts boxes from images: take --mixing mixup"),
        ({"trains": "block"}, "is for networks of bottleneck blocks, not 'resnet18'"),
    ):
        with pytest.raises(InvalidInput, match=message):
            replace(BASE, **change)
    with pytest.raises(InvalidInput, match="a second stage takes --stage-norms eval"):
        second_stage(BASE, "mislas")
    assert second_stage(BASE, "crt").trains == "features"


def test_features_of_other_images_are_others(root: Path, weights: Path, tmp_path: Path) -> None:
    config = replace(BASE, width=4, size=32)
    other = pets(tmp_path / "other")
    names = []
    for folder, changed in ((root, config), (other, config), (root, replace(config, size=48)), (root, config)):
        data = datasets.of(changed, folder, train_list=None, test_list=None)
        names.append(Trainer(changed, data, CPU, weights=weights).source._name())  # type: ignore[attr-defined]
    assert names[0] == names[3]
    assert len(set(names)) == 3


def own_code_run(place: Path, store: Path, root: Path) -> list[str]:
    """What is kept of features after a run of the code in a folder, in a process of its own."""
    words = ["training.train", "--dataset", "own", "--data-root", str(root), "--store", str(store), "--device", "cpu"]
    words += ["--quiet", "--preset", "features", "--weights", str(place / "w.pth"), "--size", "32"]
    words += ["--model", "mine:made", "--width", "0", "--workers", "0", "--epochs", "1"]
    ended = Forked(*words, PYTHONPATH=str(place)).ends()
    assert ended.status == 0, ended.err
    return sorted(file.name for file in (store / cached.FOLDER).iterdir())


def test_features_of_edited_code_are_computed_anew(root: Path, tmp_path: Path) -> None:
    """Its weights are the same, and what it computes is not."""
    place, store = tmp_path / "code", tmp_path / "store"
    place.mkdir()
    (place / "mine.py").write_text("from layers import pool\nfrom torch import nn\n\n\ndef made(channels):\n"
        "    return nn.Sequential(nn.Conv2d(channels, 6, 3), pool(1), nn.Flatten())\n")  # fmt: skip
    (place / "layers.py").write_text("from torch.nn import AdaptiveAvgPool2d as pool\n")
    torch.save({"0.weight": torch.randn(6, 3, 3, 3), "0.bias": torch.zeros(6)}, place / "w.pth")
    first = own_code_run(place, store, root)
    assert len(first) == 1
    (run,) = find(store)
    (run.path / "metrics.json").unlink()  # so that it is trained again
    assert own_code_run(place, store, root) == first
    (place / "layers.py").write_text("from torch.nn import AdaptiveMaxPool2d as pool\n")  # beside the function's module
    (run.path / "metrics.json").unlink()
    assert len(own_code_run(place, store, root)) == 2
