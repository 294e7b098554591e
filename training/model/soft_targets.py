"""Soft targets and the two labels behind them, for loops that mix with timm or torchvision.

The losses here take the labels a and b of both images and the mixing ratio. timm's ``Mixup`` and torchvision's ``MixUp``
and ``CutMix`` give targets lambda e_a + (1-lambda) e_b instead.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lpm.console.errors import InvalidInput
from training.model.losses import MixingRatio, checked

REST = 1e-3
"""Largest mass of a target outside its two labels, where rounding explains no more."""


def two_labels(targets: Tensor, *, smoothing: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """Read both labels and the mixing ratio out of soft targets.

    ``mixed_singleton(logits, *two_labels(targets))`` is then a loss on them. The ratio is that of the larger label, so it is
    at least 1/2; losses do not depend on the order. A target with one label gives it twice, with the ratio 1: two images of
    one class do not show their ratio. Cross-entropy does not depend on it. MS over all label pairs takes such an image as
    one that is not mixed, and MS over a < b refuses it.

    Where labels cannot be read at once, on a GPU or under torch.compile, a row with mass on a third class gets the ratio NaN,
    and so does the loss: no wrong number passes for a loss.

    Args:
        targets: (B, K), rows of mass 1 on at most two classes.
        smoothing: label smoothing inside the targets, as timm's ``Mixup(label_smoothing=...)`` has it.

    Returns:
        Labels a and b, (B,) int64, and the ratio, (B,) float32, or float64 as the targets.

    Raises:
        InvalidInput: if the targets are no floating-point tensor (B, K) with K >= 2, the smoothing is outside [0, 1), or, on
            a CPU, a row has mass on a third class, or no mass.
    """
    if not isinstance(targets, Tensor) or targets.ndim != 2 or not targets.is_floating_point() or targets.shape[1] < 2:
        raise InvalidInput("soft targets must be a floating-point tensor of shape (B, K), K at least 2")
    if not 0 <= smoothing < 1:
        raise InvalidInput(f"label smoothing {smoothing:g} must lie in [0, 1)")
    K, rounding = targets.shape[1], 4 * torch.finfo(targets.dtype).eps
    exact = targets if targets.dtype == torch.float64 else targets.float()
    (first, second), (a, b) = (x.unbind(dim=1) for x in torch.topk((exact - smoothing / K) / (1 - smoothing), 2, dim=1))
    slack = max(REST, rounding)
    off = ~((first + second - 1).abs() <= slack) | (second < -slack)  # NaN is off, too
    readable = targets.device.type == "cpu" and not torch.compiler.is_compiling()  # on a GPU the host would wait for it
    if readable and bool(off.any()):
        row = int(off.nonzero()[0])
        raise InvalidInput(
            f"target {row} has the masses {float(first[row]):.4g} and {float(second[row]):.4g} on its two largest classes, which "
            "must not be negative and have the sum 1; smoothing must be that of the targets (timm's Mixup has 0.1 by default)"
        )
    alone = second <= rounding
    ratio = torch.where(alone, 1.0, first / (first + second))
    return a, torch.where(alone, a, b), torch.where(off, torch.nan, ratio)


def soft_targets(a: Tensor, b: Tensor, lam: MixingRatio, K: int, *, smoothing: float = 0.0) -> Tensor:
    """Make soft targets lambda e_a + (1-lambda) e_b, for losses such as timm's ``SoftTargetCrossEntropy``.

    Args:
        a: label of the first image, (B,).
        b: label of the second image, (B,).
        lam: mixing ratio, the first image's weight, () or (B,).
        K: number of classes.
        smoothing: label smoothing, a share that is spread evenly over all classes.

    Returns:
        The targets, (B, K) float32.

    Raises:
        InvalidInput: if a shape or type does not fit, the smoothing is outside [0, 1), or, on a CPU, a label is not below K.
    """
    if not 0 <= smoothing < 1:
        raise InvalidInput(f"label smoothing {smoothing:g} must lie in [0, 1)")
    if not isinstance(K, int) or K < 2:
        raise InvalidInput(f"the number of classes must be a whole number of at least 2, not {K!r}")
    if not isinstance(a, Tensor) or a.ndim != 1:
        raise InvalidInput("labels a must be a tensor of whole numbers of shape (B,)")
    z, a, b, ratio = checked(torch.zeros(len(a), K, device=a.device), a, b, lam)
    if a.device.type == "cpu" and not torch.compiler.is_compiling():
        for name, label in (("a", a), ("b", b)):
            if len(label) and not 0 <= int(label.min()) <= int(label.max()) < K:
                raise InvalidInput(f"labels {name} must lie in 0..{K - 1}")
    ratio = (ratio * (1 - smoothing)).expand(len(a))[:, None].to(z.device)
    z = z + smoothing / K
    return z.scatter_add(1, a[:, None], ratio).scatter_add(1, b[:, None], 1 - smoothing - ratio)
