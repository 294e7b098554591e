r"""Losses on mixed labels, as functions of logits or features; a batch shares one mixing ratio lambda or has one a row.

cross-entropy     -lambda log softmax(z)_a - (1-lambda) log softmax(z)_b
mixed-singleton   one class a label pair with logit lambda z_a + (1-lambda) z_b; over all K^2 pairs the log-partition is
                  lse(lambda z) + lse((1-lambda) z), over a < b lse_b[(1-lambda) z_b + lse_{a<b} lambda z_a]: O(K) time and memory
dot regression    lambda/2 (m_a h - 1)^2 + (1-lambda)/2 (m_b h - 1)^2, unit features h and unit class vectors m (Yang et al. 2022)
"""

from __future__ import annotations

import torch
from torch import Tensor

SCAN = 256
"""Classes up to which a < b is summed by a scan: as fast there, and stored runs were trained with it, to the last bit."""


def mixed_cross_entropy(z: Tensor, a: Tensor, b: Tensor, lam: Tensor) -> Tensor:
    """Mean cross-entropy on ``lambda e_a + (1-lambda) e_b``. z: (B, K). a, b: (B,) int64. lam: () or (B,)."""
    lam = _per_row(lam)
    own = lam * _pick(z, a) + (1 - lam) * _pick(z, b)
    return (torch.logsumexp(z, dim=1) - own).mean()


def mixed_singleton(z: Tensor, a: Tensor, b: Tensor, lam: Tensor, *, unordered: bool = False) -> Tensor:
    """Mean mixed-singleton loss in O(K). Shapes as :func:`mixed_cross_entropy`; ``unordered``: classes a < b only.

    Equal to softmax cross-entropy over the K^2 (K(K-1)/2) class vectors lambda w_a + (1-lambda) w_b, which are never built.
    """
    lam = _per_row(lam)
    own = lam * _pick(z, a) + (1 - lam) * _pick(z, b)
    weight = lam.reshape(-1, 1) if lam.ndim else lam
    if not unordered:
        return (torch.logsumexp(weight * z, dim=1) + torch.logsumexp((1 - weight) * z, dim=1) - own).mean()
    if z.shape[1] > SCAN:
        return (_log_sum_of_pairs(weight * z, (1 - weight) * z) - own).mean()
    before = torch.logcumsumexp(weight * z, dim=1)[:, :-1]
    return (torch.logsumexp((1 - weight) * z[:, 1:] + before, dim=1) - own).mean()


def _log_sum_of_pairs(x: Tensor, y: Tensor) -> Tensor:
    """log sum_{a<b} exp(x_a + y_b) of (B, K), in O(K) and log2 K steps, where a scan takes K.

    Neighbours are joined in a binary tree; a pair a < b is counted where a lies in the left and b in the right child.
    """
    x, y = x.T.contiguous(), y.T.contiguous()  # classes first: what is joined are whole rows
    sums = []
    while (n := len(x)) > 1:
        even = n - n % 2
        sums.append(x[:even:2] + y[1:even:2])
        x, y = (torch.cat([torch.logaddexp(v[:even:2], v[1:even:2]), v[even:]]) for v in (x, y))
    return torch.logsumexp(torch.cat(sums), dim=0)


def dot_regression(cosines: Tensor, a: Tensor, b: Tensor, lam: Tensor) -> Tensor:
    """Mean dot regression on a mixed label; cosines: (B, K) products of unit features and unit class vectors."""
    lam = _per_row(lam)
    return (lam / 2 * (_pick(cosines, a) - 1) ** 2 + (1 - lam) / 2 * (_pick(cosines, b) - 1) ** 2).mean()


def _per_row(lam: Tensor) -> Tensor:
    """lambda as () or (B,): a column (B, 1) would broadcast to B x B without a word."""
    return lam.reshape(-1) if lam.ndim else lam


def _pick(z: Tensor, label: Tensor) -> Tensor:
    return z.gather(1, label[:, None])[:, 0]
