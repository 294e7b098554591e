"""What runs on CUDA, with the same arithmetic on the CPU: steps without arguments, captured and replayed, runs in flight."""

from __future__ import annotations

import contextlib
import gc
import math
import weakref
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save as save_tensors

from training.batches.epoch import batch_sizes, draw
from training.config import RunConfig, with_preset
from training.data import datasets
from training.jobs.local import interleaved
from training.jobs.work import Finished, LeftToOther, Stopped, Work
from training.run import loop, steps, trainer
from training.run.capture import WARM_UP, captured
from training.store.metrics import by_class
from training.store.runs import RunFolder

TINY = replace(with_preset(RunConfig(), "smoke"), epochs=3, width=4, imbalance=10.0, augment=True)
CPU = torch.device("cpu")


class Recorded:
    """A CUDA graph's behaviour without a GPU: the warm-up runs the step for real, recording runs nothing."""

    made = 0

    def __init__(self, step: Callable[[], None], rewind: Callable[[], None]) -> None:
        for _ in range(WARM_UP):
            rewind()
            step()
        self.replay = step
        Recorded.made += 1


@pytest.mark.parametrize("batch", [32, 200, 1000])  # of 486 pairs: sixteen steps an epoch, three, one
@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"sampler": "bmls", "classifier": "ms-unordered"},
        {"sampler": "cas", "classifier": "ms"},
        {"feature_decay": 0.1, "feature_decay_centred": True, "classifier_decay": 0.2, "decay_warmup": 2},
    ],
)
def test_captured_steps_train_bit_for_bit_like_plain_ones(
    choices: dict[str, Any], batch: int, digits: datasets.LongTailed, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(TINY, batch=batch, **choices)
    plain, graphs = (trainer.Trainer(config, digits, CPU) for _ in range(2))
    graphs.steps.capture = True
    monkeypatch.setattr(steps, "captured", lambda step, state, rewind: captured(step, state, rewind, Recorded))
    before = Recorded.made
    rows = [(plain.train_epoch(), graphs.train_epoch()) for _ in range(3)]
    assert (
        Recorded.made - before == len(set(plain.steps.sizes)) == (1 if batch == 1000 else 2)
    )  # whole batches, and the rest
    assert [a["loss"] for a, _ in rows] == [b["loss"] for _, b in rows]
    assert save_tensors(plain.state()) == save_tensors(graphs.state())


def test_capturing_leaves_no_trace(digits: datasets.LongTailed) -> None:
    learner = trainer.Trainer(TINY, digits, CPU)
    before = [tensor.clone() for tensor in learner.steps.changing()]
    step = captured(lambda: learner.steps.step(32, 32), learner.steps.changing(), learner.steps.rewind, Recorded)
    assert all(torch.equal(a, b) for a, b in zip(before, learner.steps.changing(), strict=True))
    step()
    assert not all(torch.equal(a, b) for a, b in zip(before, learner.steps.changing(), strict=True))


def test_everything_a_step_changes_is_named(digits: datasets.LongTailed) -> None:
    """A tensor that the warm-up changed and nobody put back would make a captured run another run."""
    learner = trainer.Trainer(TINY, digits, CPU)
    named = {tensor.data_ptr() for tensor in learner.steps.changing()}
    holders = [
        learner.assembly.lr,
        learner.source.mean,
        learner.source.std,
        learner.source.train_images,
        learner.steps.train_labels,
        learner.steps.offsets,
    ]
    holders += [getattr(learner.steps.drawn, f.name) for f in fields(learner.steps.drawn)]
    before = [tensor.clone() for tensor in holders]
    learner.steps.step(32, 32)
    assert all(torch.equal(a, b) for a, b in zip(before, holders, strict=True))
    assert not named & {tensor.data_ptr() for tensor in holders}


def test_the_optimizer_is_the_formula(digits: datasets.LongTailed) -> None:
    """v = momentum v + g + weight decay w, w = w - lr v, v = 0 at first: what a tensor learning rate must give too."""
    config = replace(TINY, momentum=0.9, weight_decay=0.01, precision="fp32")
    learner = trainer.Trainer(config, digits, CPU)
    weight = next(learner.network.parameters())
    velocity = torch.zeros_like(weight)
    learner.network.train()
    for lr in (0.05, 0.05, 0.005):
        learner.assembly.lr.fill_(lr)
        old = weight.detach().clone()
        learner.steps.step(32, 32)
        assert weight.grad is not None
        velocity = 0.9 * velocity + weight.grad + 0.01 * old
        assert torch.allclose(weight, old - lr * velocity, rtol=1e-5, atol=1e-7)


def test_an_epoch_is_drawn_by_batch(digits: datasets.LongTailed) -> None:
    learner = trainer.Trainer(TINY, digits, CPU)
    epoch = draw(TINY, learner.assembly.sampler, 2)
    sizes = batch_sizes(len(epoch.pairs), TINY)
    assert sum(sizes) == len(epoch.pairs)
    batches = torch.split(epoch.ratios, sizes)
    assert all((batch == batch[0]).all() for batch in batches)
    assert len({float(batch[0]) for batch in batches}) == len(sizes)
    assert epoch.crops.shape == (2, 2, len(epoch.pairs))
    assert int(epoch.crops.min()) == 0
    assert int(epoch.crops.max()) == 8
    assert 0.4 < epoch.flips.float().mean() < 0.6
    per_sample = draw(replace(TINY, ratio_per="sample"), learner.assembly.sampler, 2)
    assert len(set(per_sample.ratios.tolist())) > 0.99 * len(per_sample.ratios)
    assert torch.equal(per_sample.crops, epoch.crops)


def test_swapped_sides_leave_no_batch_leaning_to_frequent_classes(digits: datasets.LongTailed) -> None:
    def leaning(ratio_per: Any) -> float:
        """How much the label mass on the five most frequent classes differs from batch to batch."""
        config = replace(TINY, sampler="bmls", alpha=0.2, ratio_per=ratio_per)
        learner, mass = trainer.Trainer(config, digits, CPU), []
        for epoch in (draw(config, learner.assembly.sampler, e) for e in range(1, 25)):
            frequent = (learner.steps.train_labels[epoch.pairs] < 5).float()
            each = epoch.ratios * frequent[:, 0] + (1 - epoch.ratios) * frequent[:, 1]
            mass += [float(batch.mean()) for batch in torch.split(each, batch_sizes(len(each), config))[:-1]]
        return float(np.std(mass))

    drawing = leaning("sample")
    assert leaning("batch-swapped") == pytest.approx(drawing, rel=0.1)
    ramp = 10 / (4 * 9) / math.sqrt(2 * 0.2 + 1)  # docs/theory/batches.md
    assert leaning("batch") == pytest.approx(math.hypot(ramp, drawing), rel=0.1)
    assert ramp > 2 * drawing


def test_swapped_sides_keep_one_ratio_per_batch(digits: datasets.LongTailed) -> None:
    config = replace(TINY, sampler="bmls", classifier="ms-unordered")
    learner = trainer.Trainer(config, digits, CPU)
    one, swapped = (draw(replace(config, ratio_per=x), learner.assembly.sampler, 2) for x in ("batch", "batch-swapped"))
    unswapped = swapped.ratios == one.ratios
    assert 0.4 < unswapped.float().mean() < 0.6
    assert torch.equal(swapped.ratios[~unswapped], 1 - one.ratios[~unswapped])
    assert torch.equal(swapped.pairs, one.pairs)
    assert torch.equal(swapped.crops, one.crops)


@pytest.mark.parametrize(("number", "size", "sizes"), [(10, 4, [4, 4, 2]), (9, 4, [4, 5]), (8, 4, [4, 4]), (1, 4, [1])])
def test_batch_sizes_leave_no_pair_alone(number: int, size: int, sizes: list[int]) -> None:
    assert batch_sizes(number, replace(TINY, batch=size)) == sizes


def test_a_ratio_for_each_image_trains_and_resumes(digits: datasets.LongTailed, tmp_path: Path) -> None:
    config = replace(TINY, ratio_per="sample", sampler="bmls", classifier="ms-unordered")
    whole = loop.run(config, digits, RunFolder(tmp_path / "a", config), CPU)

    def stop(row: dict[str, object]) -> None:
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        loop.run(config, digits, folder := RunFolder(tmp_path / "b", config), CPU, on_epoch=stop)
    assert loop.run(config, digits, folder, CPU).per_class == whole.per_class
    assert len(folder.final()["lambdas"]) == 3 * len(digits.train.labels)


def test_interleaved_runs_are_the_runs_one_by_one(digits: datasets.LongTailed, tmp_path: Path) -> None:
    configs = [replace(TINY, seed=seed, epochs=2 + seed % 2) for seed in range(5)]
    one, many = (Work(digits, tmp_path / name, "cpu", events=False) for name in ("one", "many"))
    for config in configs:
        one.train(config, lambda epochs, state: None)
    entered: list[int] = []

    def on(stream: int) -> contextlib.AbstractContextManager[None]:
        entered.append(stream)
        return contextlib.nullcontext()

    outcomes = list(interleaved(configs, many, [0, 1, 2], on))
    assert len(outcomes) == 5
    assert entered[:6] == [0, 1, 2, 0, 1, 2]  # a round is an epoch of each
    for config in configs:
        a, b = ((RunFolder(tmp_path / s, config).path / "final.safetensors").read_bytes() for s in ("one", "many"))
        assert a == b


def test_interleaved_runs_survive_one_another(
    digits: datasets.LongTailed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One diverges, one is held by another process; the third ends."""
    wild, held, good = replace(TINY, lr=900.0, warmup=0), replace(TINY, seed=1), replace(TINY, seed=2)
    (folder := RunFolder(tmp_path, held)).open(digits.fingerprint)
    with folder.lock():
        outcomes = list(
            interleaved([wild, held, good], Work(digits, tmp_path, "cpu", False), [0, 1], contextlib.nullcontext)
        )
    assert {type(outcome) for outcome in outcomes} == {Stopped, LeftToOther, Finished}
    assert "diverged: random+FC, seed 0" in capsys.readouterr().err
    assert RunFolder(tmp_path, good).done


def test_a_trainer_lets_go_of_its_memory(digits: datasets.LongTailed, tmp_path: Path) -> None:
    """On a card the next run needs it at once, not at some garbage collection."""
    made: list[weakref.ref[trainer.Trainer]] = []
    original = trainer.Trainer

    class Watched(original):  # type: ignore[valid-type, misc]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            made.append(weakref.ref(self))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "Trainer", Watched)
        gc.disable()
        try:
            loop.run(TINY, digits, RunFolder(tmp_path, TINY), CPU)
            assert made[0]() is None
        finally:
            gc.enable()


def test_evaluation_counts_every_image_once(digits: datasets.LongTailed) -> None:
    learner = trainer.Trainer(TINY, digits, CPU)
    counts = []
    for learner.source.chunk in (7, 250, 10_000):
        predictions = learner.evaluate()
        correct, total = by_class(digits.test.labels, predictions[:, 0], 10)
        assert total.tolist() == [50] * 10
        counts.append(correct)
    assert np.abs(counts[0] - counts[2]).sum() <= 2  # bfloat16 rounds by batch
