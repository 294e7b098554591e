"""Decoded images that stay in memory: the same pixels, decoded once, within a bound."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.training.own import pets
from training.batches import decoding
from training.batches.decoding import BYTES_PER_PIXEL, TEST, TRAIN, Views
from training.config import RunConfig, with_preset
from training.data import datasets
from training.data.datasets import Listed, LongTailed
from training.data.images import Decoding
from training.run.trainer import Trainer

CONFIG = replace(with_preset(RunConfig(dataset="own", classes=3), "smoke"), epochs=2, width=4, size=16)


@pytest.fixture
def data(tmp_path: Path) -> LongTailed:
    return datasets.load("own", pets(tmp_path / "data"), classes=3)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were decoded, in order."""
    paths: list[Path] = []
    whole = decoding.whole

    def noted(path: Path, **options: Any) -> Any:
        paths.append(path)
        return whole(path, **options)

    monkeypatch.setattr(decoding, "whole", noted)
    return paths


def views(data: LongTailed, room: int) -> Views:
    assert isinstance(data.train, Listed)
    assert isinstance(data.test, Listed)
    return Views(data.train, data.test, CONFIG, Decoding(CONFIG.upright), room)


def test_views_from_memory_are_those_of_the_file_bit_for_bit(data: LongTailed, decoded: list[Path]) -> None:
    batches = [[(TRAIN, epoch, n, n, (7 * n) % 46) for n in range(20)] for epoch in (1, 2)]
    batches += [[(TEST, 0, 0, n) for n in range(7)]] * 2 + [[(TRAIN, 0, 0, n) for n in range(9)]]
    kept, fresh = views(data, decoding.KEPT), views(data, 0)
    from_memory = [kept[batch] for batch in batches]
    once = len(decoded)
    for batch, pixels in zip(batches, from_memory, strict=True):
        again = fresh[batch]
        assert isinstance(pixels, torch.Tensor)
        assert isinstance(again, torch.Tensor)
        assert torch.equal(pixels, again)
    assert once == len({(part, image) for batch in batches for part, _, _, *images in batch for image in images})
    assert len(decoded) - once > once  # without room each batch decodes its images again


def test_a_run_decodes_each_image_once_and_learns_the_same(
    data: LongTailed, decoded: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    states = []
    for room in (decoding.KEPT, 0):
        monkeypatch.setattr("training.batches.sources.KEPT", room)
        trainer = Trainer(CONFIG, data, torch.device("cpu"))
        for _ in range(CONFIG.epochs):
            trainer.train_epoch()
            trainer.evaluate()
        states.append(trainer.state())
        if room:
            assert sorted(decoded) == sorted(set(decoded))
            assert len(decoded) == len(data.train.labels) + len(data.test.labels)
    assert all(torch.equal(states[0][name], value) for name, value in states[1].items())


def test_memory_is_bounded_and_what_is_kept_stays(data: LongTailed, decoded: list[Path]) -> None:
    assert isinstance(data.train, Listed)
    sizes = [BYTES_PER_PIXEL * int(np.prod(decoding.whole(p, root=data.train.root).size)) for p in data.train.paths]
    room = sum(sizes[:10])
    decoded.clear()
    kept = views(data, room)
    for _ in range(2):
        for image in range(len(sizes)):
            kept[[(TRAIN, 1, 0, image, image)]]
    held = sum(BYTES_PER_PIXEL * image.width * image.height for image in kept.decoded.values())
    assert 0 < held <= room
    assert kept.room == room - held
    assert len(decoded) == 2 * len(sizes) - len(kept.decoded)
    assert {image for _, image in kept.decoded} >= set(range(10))  # the first ones
