"""Colour jitter of a batch against its formulas, written out for one image."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lpm.console.errors import InvalidInput
from training.batches.colour import ORDERS, check, jittered

GREY = np.array([0.299, 0.587, 0.114])[:, None, None]


def blend(image: np.ndarray, other: np.ndarray | float, factor: float) -> np.ndarray:
    return np.clip(factor * image + (1 - factor) * other, 0, 1)


def by_formula(image: np.ndarray, factors: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
    """torchvision's ColorJitter of one image (3, H, W)."""
    for step in order:
        grey = (GREY * image).sum(axis=0)
        image = blend(image, (0.0, grey.mean(), grey)[step], factors[step])
    return image


@pytest.mark.parametrize("order", ORDERS)
def test_a_batch_is_jittered_as_the_formulas_say(order: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    images, factors = rng.random((6, 3, 9, 7)), rng.uniform(0.6, 1.4, (3, 6))
    result = jittered(torch.from_numpy(images), *torch.from_numpy(factors), order=order).numpy()
    for i in range(6):
        np.testing.assert_allclose(result[i], by_formula(images[i], factors[:, i], order), atol=1e-12)
    assert result.min() == 0 or result.max() == 1  # some pixels were clamped


def test_orders_differ_and_a_factor_of_one_changes_nothing() -> None:
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    factors = torch.tensor([0.7, 1.3, 1.4])[:, None].expand(3, 4)
    assert not torch.allclose(jittered(images, *factors, order=(0, 1, 2)), jittered(images, *factors, order=(2, 1, 0)))
    assert torch.allclose(jittered(images, *torch.ones(3, 4), order=(1, 0, 2)), images, atol=1e-6)


def test_without_kornia_one_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    check()
    monkeypatch.setattr("training.batches.colour.find_spec", lambda name: None)
    with pytest.raises(InvalidInput, match=r"needs kornia: pip install .*\[large\]\""):
        check()


def test_kornia_is_loaded_only_to_jitter_and_brings_no_torchvision() -> None:
    code = (
        "import sys, torch, training.batches.colour as c; before = 'kornia' in sys.modules;"
        "c.jittered(torch.zeros(1, 3, 2, 2), *torch.ones(3, 1)); print(before, 'torchvision' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert done.stdout.split() == ["False", "False"]
