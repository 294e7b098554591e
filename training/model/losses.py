r"""Losses on mixed labels, as functions of logits or cosines; lambda is one mixing ratio for a batch or one per image.

They take what training loops have: lambda as a number, an array or a tensor, labels of any whole-number type, batches of
one image or none. They are computed in float32 at least, also under ``torch.autocast``; float64 stays float64.

- cross-entropy: -lambda log softmax(z)_a - (1-lambda) log softmax(z)_b.
- mixed-singleton: one class per label pair, with logit lambda z_a + (1-lambda) z_b. Over all K^2 label pairs the
  log-partition is lse(lambda z) + lse((1-lambda) z), over a < b it is lse_b[(1-lambda) z_b + lse_{a<b} lambda z_a]:
  O(K) time and memory.
- dot regression: lambda/2 (m_a h - 1)^2 + (1-lambda)/2 (m_b h - 1)^2 with unit features h and unit class vectors m
  (Yang et al. 2022).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from lpm.console.errors import InvalidInput

SCAN = 256
"""Classes up to which a < b is summed by a scan: as fast there, and stored runs were trained with it, bit for bit."""

ROUNDED = 1e-6
"""How far a tensor's mixing ratio may lie outside [0, 1]: sums and quotients in float32 are rounded by a few times 1e-7."""

MixingRatio = Tensor | np.ndarray | np.floating | float
"""Lambda, the first image's weight: one number for a batch, (), or one per image, (B,) or (B, 1)."""

LossFunction = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""The mean loss, (), of logits (B, K), labels a and b (B,), and the mixing ratio () or (B,)."""


def dot_regression_loss(counts: Tensor) -> LossFunction:
    """Make the loss 'dr', dot regression; a row of :data:`training.methods.LOSSES`.

    Args:
        counts: training images of each class, (K,); without effect here.

    Returns:
        :func:`dot_regression`.
    """
    return dot_regression


def checked(z: Tensor, a: Tensor, b: Tensor, lam: MixingRatio) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Check a batch by its shapes and types, and bring it into the form that losses compute with.

    The values of tensors are not read, because a GPU would have to finish its work first.

    Args:
        z: logits, (B, K), any floating-point type.
        a: first label, (B,), any type of whole numbers.
        b: second label, (B,), any type of whole numbers.
        lam: mixing ratio lambda, see :data:`MixingRatio`; more dimensions of length 1 may follow, as in (B, 1, 1, 1).

    Returns:
        Logits in float32 or float64, labels in int64, lambda of the logits' type and of shape () or (B,).

    Raises:
        InvalidInput: if a shape or type does not fit, or a number that is no tensor lies outside [0, 1].
    """
    if not isinstance(z, Tensor) or z.ndim != 2 or not z.is_floating_point():
        raise InvalidInput(f"logits must be a floating-point tensor of shape (B, K), not {_described(z)}")
    for name, label in (("a", a), ("b", b)):
        if (
            not isinstance(label, Tensor)
            or label.ndim != 1
            or len(label) != len(z)
            or label.is_floating_point()
            or label.is_complex()
            or label.dtype == torch.bool
        ):
            raise InvalidInput(
                f"labels {name} must be a tensor of whole numbers of shape ({len(z)},), not {_described(label)}"
            )
        if label.device != z.device:
            raise InvalidInput(
                f"labels {name} are on device {label.device}, logits on {z.device}; move the labels there"
            )
    z = z if z.dtype in (torch.float32, torch.float64) else z.float()
    return z, a.long(), b.long(), _ratio(lam, z)


def _ratio(lam: MixingRatio, z: Tensor) -> Tensor:
    """Lambda as a tensor () or (B,): a column (B, 1) would silently broadcast to B x B."""
    if isinstance(lam, Tensor):
        ratio = lam
    elif isinstance(lam, np.ndarray) and (torch.compiler.is_compiling() or lam.dtype.kind == "f"):
        ratio = torch.from_numpy(lam.astype(np.float64))  # torch.compile, too, sees NumPy's numbers as arrays
    elif isinstance(lam, int | float | np.integer | np.floating) and not isinstance(lam, bool):
        ratio = torch.tensor(float(lam), dtype=torch.float64)
    else:
        raise InvalidInput(
            f"the mixing ratio must be a number or a floating-point array or tensor, not {_described(lam)}"
        )
    if not ratio.is_floating_point():
        raise InvalidInput(f"the mixing ratio must be floating-point, not {_described(lam)}")
    if not isinstance(lam, Tensor) and not torch.compiler.is_compiling():
        for number in ratio[~((ratio >= 0) & (ratio <= 1))].tolist():
            raise InvalidInput(f"the mixing ratio {number:g} must lie in [0, 1]")
    B = len(z)
    if ratio.ndim and (any(n != 1 for n in ratio.shape[1:]) or (ratio.shape[0] != 1 and ratio.shape[0] != B)):
        raise InvalidInput(f"the mixing ratio must have shape (), ({B},) or ({B}, 1), not {_described(lam)}")
    if ratio.ndim:  # a single number may stay on the host, which no operation waits for
        ratio = ratio.to(z.device)
    return ratio.to(z.dtype).reshape(-1 if ratio.ndim and ratio.shape[0] != 1 else ())


def check_classes(z: Tensor, K: int) -> None:
    """See that there is a logit for each class that a loss knows.

    Args:
        z: logits.
        K: number of classes.

    Raises:
        InvalidInput: unless they are a floating-point tensor of shape (B, K).
    """
    if not isinstance(z, Tensor) or z.ndim != 2 or not z.is_floating_point() or z.shape[1] != K:
        raise InvalidInput(f"logits must be a floating-point tensor of shape (B, {K}), not {_described(z)}")


def _described(value: object) -> str:
    """The type and shape of a value, for a message."""
    if isinstance(value, Tensor | np.ndarray):
        kind = "a NumPy array of " * isinstance(value, np.ndarray)
        return f"{kind}{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"
    return f"a {type(value).__name__}"


def without_autocast(z: Tensor) -> contextlib.AbstractContextManager[object]:
    """Switch autocast off for a block, because sums of exponentials in bfloat16 spoil gradients.

    Args:
        z: a tensor on the device that computes.

    Returns:
        The context; without effect where the device has no autocast.
    """
    kind = z.device.type
    if torch.amp.is_autocast_available(kind):
        return torch.autocast(kind, enabled=False)
    return contextlib.nullcontext()


def mixed_cross_entropy(z: Tensor, a: Tensor, b: Tensor, lam: MixingRatio) -> Tensor:
    """Compute the mean cross-entropy on the mixed labels ``lambda e_a + (1-lambda) e_b``.

    Args:
        z: logits, (B, K).
        a: first label, (B,).
        b: second label, (B,).
        lam: mixing ratio lambda, () or (B,); see :data:`MixingRatio`.

    Returns:
        The mean over the batch, (); 0 for an empty one.

    Raises:
        InvalidInput: as :func:`checked`.
    """
    z, a, b, lam = checked(z, a, b, lam)
    with without_autocast(z):
        target = lam * pick(z, a) + (1 - lam) * pick(z, b)
        return mean_of_rows(torch.logsumexp(z, dim=1) - target)


def mixed_singleton(
    z: Tensor,
    a: Tensor,
    b: Tensor,
    lam: MixingRatio,
    *,
    unordered: bool = False,
    offsets: Tensor | None = None,
) -> Tensor:
    r"""Compute the mean mixed-singleton loss in O(K) per image (Eq. 3, 4).

    .. math:: \operatorname{lse}_{(c, d)} [\lambda z_c + (1-\lambda) z_d] - \lambda z_a - (1-\lambda) z_b

    This is softmax cross-entropy over the class vectors lambda w_c + (1-lambda) w_d of all K^2 label pairs (or of the
    K(K-1)/2 with c < d). These vectors are never built.

    With ``unordered`` a label pair a > b is exchanged inside: (a, b, lambda) and (b, a, 1-lambda) are the same mixture,
    and the second one has a class. So the loss is right for either order on every device, and no device has to be waited
    for. Pairs a < b keep their ratio, as they do where the caller exchanges lambda alone (``--ratio-per batch-swapped``).
    A label pair (a, a) has no class. It is refused where labels can be read at once, on a CPU without torch.compile. So is
    a ratio outside [0, 1] there. Elsewhere the lambda of (a, a) becomes NaN, and so do the loss and all gradients: no wrong
    number passes for a loss.

    With ``offsets`` o the logit of a label pair (c, d) is lambda z_c + (1-lambda) z_d + o_c + o_d, whatever lambda is: with
    o = tau log q a label pair is adjusted by tau times the log of its frequency q_c q_d.

    Args:
        z: logits, (B, K).
        a: first label, (B,).
        b: second label, (B,).
        lam: mixing ratio lambda, () or (B,); see :data:`MixingRatio`.
        unordered: whether only the label pairs a < b are classes.
        offsets: what each class adds to the logits of its label pairs, (K,); none by default.

    Returns:
        The mean over the batch, (); 0 for an empty one.

    Raises:
        InvalidInput: if ``unordered`` and K < 3, or a == b or a ratio outside [0, 1] (on a CPU without torch.compile), and
            as :func:`checked`.
    """
    z, a, b, lam = checked(z, a, b, lam)
    if unordered and z.shape[1] < 3:
        raise InvalidInput(
            f"{z.shape[1]} classes have at most one label pair a < b, so there is nothing to learn: take all K^2 label pairs "
            "(unordered=False, and the sampler BalancedMixedLabels with ordered=True)"
        )
    with without_autocast(z):
        if unordered:
            a, b, lam = _in_order(a, b, lam)
        target = lam * pick(z, a) + (1 - lam) * pick(z, b)
        weight = lam.reshape(-1, 1) if lam.ndim else lam
        x, y = weight * z, (1 - weight) * z
        if offsets is not None:
            x, y, target = x + offsets, y + offsets, target + offsets[a] + offsets[b]
        if not unordered:
            return mean_of_rows(torch.logsumexp(x, dim=1) + torch.logsumexp(y, dim=1) - target)
        if z.shape[1] > SCAN:
            return mean_of_rows(_log_sum_of_pairs(x, y) - target)
        before = torch.logcumsumexp(x, dim=1)[:, :-1]
        return mean_of_rows(torch.logsumexp(y[:, 1:] + before, dim=1) - target)


def _in_order(a: Tensor, b: Tensor, lam: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Label pairs and ratios (B,) with a < b, the same mixtures; a pair (a, a) is refused, or its ratio is NaN.

    Where labels can be read, ratios can too, and those outside [0, 1] are refused.
    """
    if a.device.type == "cpu" and not torch.compiler.is_compiling():  # on a GPU the host would wait for the device
        equal = a == b
        if bool(equal.any()):
            label = int(a[equal][0])
            raise InvalidInput(
                f"the batch has the label pair ({label}, {label}), and the classes are the label pairs a < b; draw two "
                "classes per pair, as sampler 'bmls' does, or take all K^2 label pairs (unordered=False)"
            )
        wrong = ~((lam >= -ROUNDED) & (lam <= 1 + ROUNDED))
        if bool(wrong.any()):
            raise InvalidInput(f"the mixing ratio {float(lam[wrong][0]):g} must lie in [0, 1]")
    ratio = torch.where(a < b, lam, torch.where(a > b, 1 - lam, float("nan")))
    return torch.minimum(a, b), torch.maximum(a, b), ratio


def _log_sum_of_pairs(x: Tensor, y: Tensor) -> Tensor:
    """Compute log sum_{a<b} exp(x_a + y_b) of (B, K), in O(K) and log2 K steps, where a scan takes K.

    Neighbours are joined in a binary tree. A label pair a < b is counted where a lies in the left and b in the right
    child.
    """
    x, y = x.T.contiguous(), y.T.contiguous()  # classes first, so that whole rows are joined
    sums = []
    while (n := len(x)) > 1:
        even = n - n % 2
        sums.append(x[:even:2] + y[1:even:2])
        x, y = (torch.cat([torch.logaddexp(v[:even:2], v[1:even:2]), v[even:]]) for v in (x, y))
    return torch.logsumexp(torch.cat(sums), dim=0)


def dot_regression(cosines: Tensor, a: Tensor, b: Tensor, lam: MixingRatio) -> Tensor:
    """Compute the mean dot regression on mixed labels: lambda/2 (cos_a - 1)^2 + (1-lambda)/2 (cos_b - 1)^2.

    Source: Yang et al. 2022.

    Args:
        cosines: products of unit features and unit class vectors, (B, K).
        a: first label, (B,).
        b: second label, (B,).
        lam: mixing ratio lambda, () or (B,); see :data:`MixingRatio`.

    Returns:
        The mean over the batch, (); 0 for an empty one.

    Raises:
        InvalidInput: as :func:`checked`.
    """
    cosines, a, b, lam = checked(cosines, a, b, lam)
    with without_autocast(cosines):
        first, second = (pick(cosines, label) - 1 for label in (a, b))
        return mean_of_rows(lam / 2 * first**2 + (1 - lam) / 2 * second**2)


def mean_of_rows(losses: Tensor) -> Tensor:
    """Compute the mean over a batch.

    Args:
        losses: one per image, (B,).

    Returns:
        The mean, (); of an empty batch the sum, a zero with gradients, where a mean would be NaN.
    """
    return losses.mean() if len(losses) else losses.sum()


def pick(z: Tensor, label: Tensor) -> Tensor:
    """Pick the entry of each row that belongs to its label.

    Args:
        z: (B, K).
        label: (B,).

    Returns:
        (B,).
    """
    return z.gather(1, label[:, None])[:, 0]
