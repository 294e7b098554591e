"""Images that are held out of training: which ones, and what a run says of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lpm.console.errors import InvalidInput
from tests.training.own import pets
from training.config import RunConfig, with_preset
from training.data import datasets
from training.data.datasets import Images
from training.data.holdout import held_out, held_out_numbers
from training.run import loop
from training.run.trainer import Trainer
from training.store.runs import RunFolder
from training.train import main

TINY = replace(with_preset(RunConfig(), "smoke"), epochs=2, width=4, imbalance=10.0, holdout=0.2)
CPU = torch.device("cpu")


def data_of(config: RunConfig) -> datasets.LongTailed:
    return datasets.of(config, None, train_list=None, test_list=None)


@given(st.lists(st.integers(1, 200), min_size=2, max_size=8), st.floats(0.01, 0.99), st.integers(0, 3))
def test_every_class_keeps_an_image_and_the_order_of_classes_stays(counts: list[int], share: float, seed: int) -> None:
    counts = sorted(counts, reverse=True)
    labels = np.repeat(np.arange(len(counts)), counts)
    if share * counts[0] < 1:
        with pytest.raises(InvalidInput, match="is no whole image"):
            held_out_numbers(np.array(counts), share)
        return
    chosen = held_out(labels, [str(i) for i in range(len(labels))], share, seed)
    remaining = np.bincount(labels[~chosen], minlength=len(counts))
    assert remaining.min() >= 1
    assert (np.diff(remaining) <= 0).all()
    assert np.abs(np.bincount(labels[chosen], minlength=len(counts)) - share * np.array(counts)).max() <= 1


def test_an_image_that_is_added_changes_hardly_which_others_are_held_out() -> None:
    names = [f"{number}.jpg" for number in range(100)]
    before = held_out(np.zeros(100, int), names, 0.3, 0)
    after = held_out(np.zeros(101, int), [*names, "new.jpg"], 0.3, 0)
    assert before.sum() == after.sum() == 30
    assert (before != after[:100]).sum() <= 1
    assert (held_out(np.zeros(100, int), names, 0.3, 1) != before).any()


def test_training_and_held_out_images_are_the_training_images_and_test_images_stay(
    digits: datasets.LongTailed,
) -> None:
    data = data_of(TINY)
    assert isinstance(data.train, Images)
    assert isinstance(data.holdout, Images)
    assert isinstance(digits.train, Images)
    assert isinstance(digits.test, Images)
    assert isinstance(data.test, Images)
    both = np.concatenate([data.train.images, data.holdout.images])
    assert sorted(map(bytes, both)) == sorted(map(bytes, digits.train.images))
    assert np.array_equal(data.test.images, digits.test.images)
    assert data.fingerprint["sha256"] != digits.fingerprint["sha256"]
    assert (data.counts + data.holdout_counts).tolist() == digits.counts.tolist()
    assert data_of(replace(TINY, seed=3)).fingerprint == data.fingerprint  # one holdout for all seeds


def test_a_run_without_holdout_has_the_key_that_it_had() -> None:
    assert (
        replace(TINY, holdout=0.0).key
        == replace(with_preset(RunConfig(), "smoke"), epochs=2, width=4, imbalance=10.0).key
    )
    assert TINY.key != replace(TINY, holdout=0.0).key


def test_a_run_reports_the_held_out_images_beside_the_test_images(tmp_path: Path) -> None:
    data, folder = data_of(TINY), RunFolder(tmp_path, TINY)
    result = loop.run(TINY, data, folder, CPU)
    assert folder.result() == result
    assert result.holdout_counts == data.holdout_counts
    assert result.train_counts == tuple(data.counts)
    trainer = Trainer(TINY, data, CPU)
    trainer.load(TINY.epochs, folder.content("final.safetensors"))
    assert data.holdout is not None
    right = trainer.evaluate("holdout")[:, 0] == data.holdout.labels
    assert result.holdout["all"] == pytest.approx(100 * right.mean())
    assert folder.rows()[-1]["holdout_all"] == result.holdout["all"]
    assert "holdout_all" not in result.last


@pytest.mark.parametrize(
    ("share", "classes"),
    [
        ("0.05", "2 of 10 classes have too few training images for --holdout 0.05 (8, 9)"),
        ("0.08", "1 of 10 classes has too few training images for --holdout 0.08 (9)"),
    ],
)
def test_the_command_says_which_classes_have_no_held_out_image(
    share: str, classes: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--epochs", "1", "--width", "4", "--holdout", share, "--store", str(tmp_path)]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert f"{classes}: none of theirs is held out" in err
    assert "held out" in out
    with pytest.raises(InvalidInput, match=r"must lie in \[0, 1\)"):
        replace(TINY, holdout=1.0)


def test_image_files_are_held_out_too(tmp_path: Path) -> None:
    root = pets(tmp_path)
    config = replace(
        with_preset(RunConfig(dataset="own", classes=3), "smoke"), epochs=1, size=16, width=4, batch=8, holdout=0.25
    )
    data = datasets.of(config, root, train_list=None, test_list=None)
    whole = datasets.of(replace(config, holdout=0.0), root, train_list=None, test_list=None)
    paths = set(data.parts["holdout"].names)
    assert paths
    assert paths | set(data.train.names) == set(whole.train.names)
    assert not paths & set(data.train.names)
    result = loop.run(config, data, RunFolder(tmp_path / "runs", config), CPU)
    assert 0 <= result.holdout["all"] <= 100


def test_a_run_knows_which_held_out_file_was_changed(tmp_path: Path) -> None:
    root = pets(tmp_path / "pets")
    config = replace(
        with_preset(RunConfig(dataset="own", classes=3), "smoke"), epochs=1, size=16, width=4, batch=8, holdout=0.25
    )
    data = datasets.of(config, root, train_list=None, test_list=None)
    folder = RunFolder(tmp_path / "runs", config)
    loop.run(config, data, folder, CPU)
    assert folder.check(data.fingerprint, images=data) == ""
    path = data.parts["holdout"].names[0]
    (root / path).write_bytes((root / path).read_bytes() + b"\0")
    again = datasets.of(config, root, train_list=None, test_list=None)
    with pytest.raises(InvalidInput, match=f"1 changed, 0 missing, 0 new, such as '{path}'"):
        folder.check(again.fingerprint, images=again)
