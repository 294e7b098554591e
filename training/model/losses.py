r"""Losses on mixed labels, as functions of logits or cosines; lambda is one mixing ratio for a batch or one per image.

- cross-entropy: -lambda log softmax(z)_a - (1-lambda) log softmax(z)_b.
- mixed-singleton: one class per label pair, with logit lambda z_a + (1-lambda) z_b. Over all K^2 label pairs the
  log-partition is lse(lambda z) + lse((1-lambda) z), over a < b it is lse_b[(1-lambda) z_b + lse_{a<b} lambda z_a]:
  O(K) time and memory.
- dot regression: lambda/2 (m_a h - 1)^2 + (1-lambda)/2 (m_b h - 1)^2 with unit features h and unit class vectors m
  (Yang et al. 2022).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

SCAN = 256
"""Classes up to which a < b is summed by a scan: as fast there, and stored runs were trained with it, bit for bit."""


LossFunction = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""The mean loss, (), of logits (B, K), labels a and b (B,), and the mixing ratio () or (B,)."""


def cross_entropy_loss(counts: Tensor) -> LossFunction:
    """Make the loss 'ce', cross-entropy on mixed labels; a row of :data:`training.methods.LOSSES`.

    Args:
        counts: training images of each class, (K,); without effect here.

    Returns:
        :func:`mixed_cross_entropy`.
    """
    return mixed_cross_entropy


def dot_regression_loss(counts: Tensor) -> LossFunction:
    """Make the loss 'dr', dot regression; a row of :data:`training.methods.LOSSES`.

    Args:
        counts: training images of each class, (K,); without effect here.

    Returns:
        :func:`dot_regression`.
    """
    return dot_regression


def mixed_cross_entropy(z: Tensor, a: Tensor, b: Tensor, lam: Tensor) -> Tensor:
    """Compute the mean cross-entropy on the mixed labels ``lambda e_a + (1-lambda) e_b``.

    Args:
        z: logits, (B, K).
        a: first label, (B,) int64.
        b: second label, (B,) int64.
        lam: mixing ratio lambda, () or (B,).

    Returns:
        The mean over the batch, ().
    """
    lam = _per_image(lam)
    target = lam * _pick(z, a) + (1 - lam) * _pick(z, b)
    return (torch.logsumexp(z, dim=1) - target).mean()


def mixed_singleton(z: Tensor, a: Tensor, b: Tensor, lam: Tensor, *, unordered: bool = False) -> Tensor:
    r"""Compute the mean mixed-singleton loss in O(K) per image (Eq. 3, 4).

    .. math:: \operatorname{lse}_{(c, d)} [\lambda z_c + (1-\lambda) z_d] - \lambda z_a - (1-\lambda) z_b

    This is softmax cross-entropy over the class vectors lambda w_c + (1-lambda) w_d of all K^2 label pairs (or of the
    K(K-1)/2 with c < d). These vectors are never built.

    Args:
        z: logits, (B, K).
        a: first label, (B,) int64.
        b: second label, (B,) int64.
        lam: mixing ratio lambda, () or (B,).
        unordered: whether only the label pairs a < b are classes.

    Returns:
        The mean over the batch, ().
    """
    lam = _per_image(lam)
    target = lam * _pick(z, a) + (1 - lam) * _pick(z, b)
    weight = lam.reshape(-1, 1) if lam.ndim else lam
    if not unordered:
        return (torch.logsumexp(weight * z, dim=1) + torch.logsumexp((1 - weight) * z, dim=1) - target).mean()
    if z.shape[1] > SCAN:
        return (_log_sum_of_pairs(weight * z, (1 - weight) * z) - target).mean()
    before = torch.logcumsumexp(weight * z, dim=1)[:, :-1]
    return (torch.logsumexp((1 - weight) * z[:, 1:] + before, dim=1) - target).mean()


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


def dot_regression(cosines: Tensor, a: Tensor, b: Tensor, lam: Tensor) -> Tensor:
    """Compute the mean dot regression on mixed labels: lambda/2 (cos_a - 1)^2 + (1-lambda)/2 (cos_b - 1)^2.

    Source: Yang et al. 2022.

    Args:
        cosines: products of unit features and unit class vectors, (B, K).
        a: first label, (B,) int64.
        b: second label, (B,) int64.
        lam: mixing ratio lambda, () or (B,).

    Returns:
        The mean over the batch, ().
    """
    lam = _per_image(lam)
    return (lam / 2 * (_pick(cosines, a) - 1) ** 2 + (1 - lam) / 2 * (_pick(cosines, b) - 1) ** 2).mean()


def _per_image(lam: Tensor) -> Tensor:
    """Return lambda as () or (B,): a column (B, 1) would silently broadcast to B x B."""
    return lam.reshape(-1) if lam.ndim else lam


def _pick(z: Tensor, label: Tensor) -> Tensor:
    return z.gather(1, label[:, None])[:, 0]
