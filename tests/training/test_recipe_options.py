"""Options of the recipe that some methods bring: drops by another factor, Nesterov's momentum, unmixed images for BatchNorm."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from lpm.console.errors import InvalidInput
from training.config import RunConfig, with_preset
from training.data.datasets import LongTailed
from training.run.trainer import Trainer
from training.train import main

TINY = replace(with_preset(RunConfig(), "smoke"), epochs=2, width=4, imbalance=10.0, precision="fp32")
CPU = torch.device("cpu")


def test_the_learning_rate_falls_by_the_factor_as_in_ldam_drw() -> None:
    config = RunConfig(drop_factor=0.01)
    rates = [config.lr_at(epoch) for epoch in (1, 5, 160, 161, 180, 181, 200)]
    assert rates == pytest.approx([0.02, 0.1, 0.1, 1e-3, 1e-3, 1e-5, 1e-5])
    assert RunConfig().key == replace(RunConfig(), drop_factor=0.1).key
    with pytest.raises(InvalidInput, match="applies only to schedule 'steps'"):
        RunConfig(schedule="cosine", drop_factor=0.01)


@pytest.mark.parametrize("text", ["0.5,", "a", "0.5;0.8"])
def test_drops_that_are_no_numbers_are_one_line(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--drops", text])
    error = capsys.readouterr().err
    assert "is not a comma-separated list of shares" in error
    with pytest.raises(InvalidInput, match="applies only to schedule 'steps'"):
        RunConfig(schedule="cosine", drops=(0.5,))


def test_nesterov_takes_the_steps_of_its_formula(digits: LongTailed) -> None:
    config = replace(TINY, nesterov=True)
    trainer = Trainer(config, digits, CPU)
    optimizer = trainer.assembly.optimizer
    bias = trainer.network.classifier.linear.bias  # type: ignore[union-attr]
    assert isinstance(bias, nn.Parameter)
    trainer.assembly.lr.fill_(0.5)
    expected, velocity = bias.detach().double().clone(), torch.zeros(len(bias), dtype=torch.float64)
    for number in range(3):
        optimizer.zero_grad()
        bias.grad = torch.full_like(bias, float(number + 1))
        gradient = number + 1 + config.weight_decay * expected
        velocity = config.momentum * velocity + gradient
        expected -= 0.5 * (gradient + config.momentum * velocity)
        optimizer.step()
    assert torch.allclose(bias.double(), expected, atol=1e-5)
    with pytest.raises(InvalidInput, match="applies only to runs with --momentum above 0"):
        replace(TINY, nesterov=True, momentum=0.0)


def norms(trainer: Trainer) -> list[nn.BatchNorm2d]:
    return [module for module in trainer.network.modules() if isinstance(module, nn.BatchNorm2d)]


def test_clean_statistics_are_those_of_a_forward_of_unmixed_images_before_the_step(digits: LongTailed) -> None:
    plain, clean = (Trainer(replace(TINY, clean_statistics=on), digits, CPU) for on in (False, True))
    size = TINY.batch
    for trainer in (plain, clean):
        trainer.assembly.lr.fill_(0.0)  # BatchNorm's statistics alone shall change
        trainer.network.train()
    rows = torch.arange(size)
    first = plain.source.side(plain.steps.drawn, rows, 0)
    plain.network.features(first, bf16=False)  # by hand
    for trainer in (plain, clean):
        trainer.steps.step(size, size)
    for one, other in zip(norms(plain), norms(clean), strict=True):
        assert one.num_batches_tracked == other.num_batches_tracked == 2
        assert torch.equal(one.running_mean, other.running_mean)  # type: ignore[arg-type]
        assert torch.equal(one.running_var, other.running_var)  # type: ignore[arg-type]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_clean_statistics_change_no_gradient(digits: LongTailed, precision: str) -> None:
    gradients = []
    for on in (False, True):
        trainer = Trainer(replace(TINY, clean_statistics=on, precision=precision), digits, CPU)
        trainer.network.train()
        trainer.steps.step(TINY.batch, TINY.batch)
        gradients.append([parameter.grad for parameter in trainer.network.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True) if one is not None)
    assert all(one is not None and other is not None for one, other in zip(*gradients, strict=True))


def test_clean_statistics_need_mixed_images() -> None:
    with pytest.raises(InvalidInput, match="applies only to training with mixup"):
        replace(TINY, alpha=0.0, clean_statistics=True)
