"""A program of one's own: cross-entropy on any targets, with frequencies, weights and offsets.

```python
targets = [[1, 0, 0], [0.5, 0.5, 0], [0, 0, 1]]  # three kinds of images, one row each
problem = from_targets(targets, frequencies=[0.6, 0.3, 0.1], offsets=np.log([0.75, 0.15, 0.1]))
solution = solve(problem)
```
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np

from lpm.console.errors import InvalidInput
from lpm.family import limited
from lpm.problem import Features, Problem, Rows

Numbers = Sequence[float] | np.ndarray
"""Numbers, in a list or an array."""

E_H, E_W = 5.0, 1.0
"""The default budgets, those of the paper's example."""


def from_targets(
    targets: Sequence[Numbers] | np.ndarray,
    frequencies: Numbers | None = None,
    *,
    weights: Numbers | None = None,
    offsets: Numbers | None = None,
    e_h: float = E_H,
    e_w: float = E_W,
    decay: float | None = None,
    features: Features | None = None,
) -> Problem:
    r"""Build a program from targets: :math:`\sum_k p_k w_k\, CE(z_k + o, t_k)` under both budgets, or under a decay.

    Images with one target share one feature. Rows are not merged and no two classes are alike, so a program has K classes
    in K groups: ``orbits`` and ``factored`` solve some hundred of them.

    Args:
        targets: t, (M, K), non-negative: what the loss puts on the logit of each class. Rows need no sum of 1.
        frequencies: p, (M,), positive; scaled to the sum 1. Equal by default.
        weights: w, (M,), positive, of the loss of each row; 1 by default.
        offsets: o, (K,), what the loss adds to the logits; none by default.
        e_h: feature budget E_H.
        e_w: class-vector budget E_W.
        decay: mu, weight decay in place of both budgets; None for budgets.
        features: what the features' budget or decay averages over: "sample" (p) or "mean" (rows alike). None for samples
            under a decay and means under budgets.

    Returns:
        The program in normal form; ``solve`` takes it.

    Raises:
        InvalidInput: if shapes do not fit, a number is out of range, or a budget or the decay is; if ``features`` is another
            word, or there are a decay and a budget.
    """
    if features not in (None, *get_args(Features)):
        raise InvalidInput(f"features {str(features)[:60]!r} must be one of {', '.join(get_args(Features))}")
    if decay is not None and (e_h, e_w) != (E_H, E_W):
        raise InvalidInput("a decay takes the place of the budgets; drop e_h and e_w, or decay")
    t = _array("targets", targets, 2)
    M, K = t.shape
    if M < 1 or K < 2 or t.min() < 0 or not np.all(t.sum(axis=1) > 0):
        raise InvalidInput(f"targets of shape {t.shape} must be non-negative, (M, K) with K >= 2, and no row be all 0")
    p = np.ones(M) if frequencies is None else _positive("frequencies", frequencies, M)
    t = t * (np.ones(M) if weights is None else _positive("weights", weights, M))[:, None]
    o = None if offsets is None else _array("offsets", offsets, 1)
    order, r = np.argsort(-t, axis=1, kind="stable"), np.arange(M)
    a, b = order[:, 0], order[:, 1]
    rows = Rows(
        first=a,
        second=b,
        same=np.zeros(M, dtype=bool),
        lam=t[r, a] / (t[r, a] + t[r, b]),  # names the row; the loss reads the label
        count=np.ones(M),
        p=p / p.sum(),
        d=np.full(M, 1.0 / M),
        label=np.concatenate([t, t[r, a][:, None], t[r, b][:, None]], axis=1),
    )
    problem = Problem(
        program="fc",
        profile="own",
        mixing="own",
        sizes=np.ones(K, dtype=int),
        rows=rows,
        partition="classes",
        c=np.full(K, 1.0 / K),
        beta=0.0,
        e_h=e_h,
        e_w=e_w,
        group_of=np.arange(K),
        offset=o,
    )
    return limited(problem, decay, features)


def _array(name: str, values: Sequence[Numbers] | Numbers, ndim: int) -> np.ndarray:
    try:
        array = np.array(values, dtype=float)
    except (TypeError, ValueError):
        array = np.full((), np.nan)
    if array.ndim != ndim or not np.all(np.isfinite(array)):
        raise InvalidInput(f"{name} must be finite numbers in {ndim} dimension{'s' * (ndim > 1)}")
    return array


def _positive(name: str, values: Numbers, M: int) -> np.ndarray:
    array = _array(name, values, 1)
    if array.shape != (M,) or not array.min() > 0:
        raise InvalidInput(f"{name} must be positive, one for each of the {M} targets")
    return array
