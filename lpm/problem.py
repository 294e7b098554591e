r"""The normal form that every program of the paper takes.

.. math::
    \min_Z\; f(Z) = \sum_k p_k L_k(z_k) \quad\text{s.t.}\quad \| D^{1/2} Z C^{1/2} \|_* \le \tau = \sqrt{e_H e_W}

Row ``z_k = W h_k`` holds the K logits of label pair k. ``D = diag(d)`` weighs the feature budget
``sum_k d_k |h_k|^2 <= e_H``, and ``C = diag(c) + beta 11^T`` the classifier budget ``tr(C W W^T) <= e_W``.
The nuclear norm appears because X = [H; W][H; W]^T >= 0 with both budgets is its semidefinite representation
(docs/theory/model.md). So the paper's Eq. 11, a matrix of (K^2 + K)^2 unknowns, is a smooth problem over
K^2 x K logits.

Under weight decay there are no budgets. A problem with a ``decay`` mu is the penalised program instead,

.. math::
    \min_Z\; f(Z) + \mu\, \| D^{1/2} Z C^{1/2} \|_*,

which is ``min f + (l_H/2) sum_k d_k |h_k|^2 + (l_W/2) tr(C W W^T)`` with ``mu = sqrt(l_H l_W)``
(docs/theory/collapse-law.md).

Classes with equal counts form groups, and an optimal Z is constant on the orbits of the permutations inside them.
An entry of ``Rows`` stands for all ``count`` label pairs of one orbit. ``Problem.expand`` writes every pair out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from lpm.console.errors import InvalidInput, check_within
from lpm.console.text import counted, html_table

Partition = Literal["classes", "pairs", "unordered"]
"""The classes that a softmax sums over (:mod:`lpm.losses`)."""

Features = Literal["sample", "mean"]
"""What a budget or decay of features averages over: samples (d_k = p_k), or label pairs alike."""

MAX_LOGITS = 20_000_000
"""Largest number of entries of Z that ``expand`` writes out (160 MB). The first-order solver holds six such arrays."""
WELL_CONDITIONED = 100.0
"""Condition number of C up to which its symmetric root is right to rounding, and no bound of its own is needed."""
MAX_C_ERROR = 1e-3
"""Largest relative error of C in float64 with which a problem is built."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Orbits of label pairs (a, b), with a in group ``first`` and b in group ``second``.

    Attributes:
        first: group of a, (M,) int.
        second: group of b, (M,) int.
        same: whether a = b, (M,) bool.
        lam: mixing ratio, the weight of a in the label, (M,).
        count: label pairs in the orbit, (M,).
        p: frequency of one label pair, (M,); ``count @ p`` is 1.
        d: weight of one label pair in the feature budget, (M,).
        label: what the loss puts on the logit of a class, (M, G + 2): on a class of each group other than a and b, on
            a, on b. Any non-negative numbers. None for the label of mixup, lambda on a and 1 - lambda on b.
    """

    first: np.ndarray
    second: np.ndarray
    same: np.ndarray
    lam: np.ndarray
    count: np.ndarray
    p: np.ndarray
    d: np.ndarray
    label: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.p)


def _mixup_labels(rows: Rows, some: slice | np.ndarray = slice(None)) -> np.ndarray:
    """The labels of mixup on a and b, (2, m): lambda and 1 - lambda, or 1 and 0 where a = b."""
    same, lam = rows.same[some], rows.lam[some]
    return np.stack([np.where(same, 1.0, lam), np.where(same, 0.0, 1 - lam)])


@dataclass(frozen=True, kw_only=True, repr=False)
class Problem:
    """One program in normal form. Build one with the functions of :mod:`lpm.programs`.

    Attributes:
        program: name of the program, a key of :data:`lpm.programs.PROGRAMS`.
        profile: name of the frequencies.
        mixing: name of the law of the mixing ratio; "none" if no ratio enters.
        sizes: number of classes in each group, (G,) int.
        rows: the M orbits of label pairs.
        partition: the classes that the softmax sums over: ``classes`` (K of them, cross-entropy), ``pairs`` (K^2 label
            pairs, mixed-singleton) or ``unordered`` (label pairs a < b).
        c: diagonal part of C for the classes of each group, (G,).
        beta: the constant that C adds to all its entries.
        e_h: feature budget.
        e_w: classifier budget.
        group_of: group of each class, (K,); None if classes are in the order of groups and too many to list.
        diagonal: diagonal of C on the normalised group sums, (G,), where ``c`` plus ``beta`` times the size would lose
            digits by cancellation; None if not.
        sides: the groups of the majority A and those of the minority B, for cosines AA, AB, BB; () if there are no
            sides.
        decay: mu, the weight of the nuclear norm in the objective; None for budgets.
        offset: what the loss adds to the logit of a class of each group, (G,); None for nothing.
        factor: what the loss multiplies that logit by first, (G,); None for 1.
        margin: what the loss takes off the logit of a label's own class, (G,); None for nothing.
        pair_offset: what the loss adds to the logit of a label pair for a class of each group, once for a and once for b
            whatever lambda is, (G,); None for nothing. For label pairs as classes.
        bias: whether logits have a free bias, one for each class, that nothing penalises. A solution's problem has the
            best one in its ``offset``. Only under a decay.

    Raises:
        InvalidInput: if a budget lies outside 1e-12..1e12, the decay is not positive, C is too near singular for
            float64, or the loss is not defined for the labels, offsets, factors or margins.
    """

    program: str
    profile: str
    mixing: str
    sizes: np.ndarray
    rows: Rows
    partition: Partition
    c: np.ndarray
    beta: float
    e_h: float
    e_w: float
    group_of: np.ndarray | None = None
    diagonal: np.ndarray | None = None
    sides: tuple[tuple[int, ...], ...] = ()
    decay: float | None = None
    offset: np.ndarray | None = None
    factor: np.ndarray | None = None
    margin: np.ndarray | None = None
    pair_offset: np.ndarray | None = None
    bias: bool = False

    def __post_init__(self) -> None:
        self._check_loss()
        if self.decay is not None:
            check_within("decay", self.decay, 1e-12, 1e12)
        if self.bias and self.partition == "unordered":
            raise InvalidInput(
                f"program {self.program!r} has label pairs a < b as classes; with these no bias is solved"
            )
        for name, value in (("E_H", self.e_h), ("E_W", self.e_w)):
            check_within(name, value, 1e-12, 1e12)
        if self.C_error > MAX_C_ERROR:
            ratio = repr(float(self.rows.lam[0])) if np.ptp(self.rows.lam) == 0.0 else self.mixing  # :g rounds to 1
            raise InvalidInput(
                f"program {self.program!r} at lambda = {ratio}: C of the class-vector budget is singular in float64; "
                "take lambda further from 0 and 1"
            )

    def __repr__(self) -> str:
        """One line without arrays."""
        return f"<Problem {self.program}, {self.profile}, lambda {self.mixing}, K = {self.K}, {len(self.sizes)} groups>"

    def _repr_html_(self) -> str:
        """The same as a table, for notebooks."""
        limits = [["E_H, E_W", f"{self.e_h:g}, {self.e_w:g}"]] if self.decay is None else [["mu", f"{self.decay:g}"]]
        sizes = ", ".join(map(str, self.sizes[:8])) + (", ..." if len(self.sizes) > 8 else "")
        return html_table(
            [],
            [
                ["program", self.program],
                ["frequencies", self.profile],
                ["lambda", self.mixing],
                ["classes", f"{self.K} in {counted(len(self.sizes), 'group')} of {sizes}"],
                *limits,
            ],
        )

    @property
    def K(self) -> int:
        """Number of columns of Z: classes, or the K^2 label pairs in Theorem 2's program."""
        return int(self.sizes.sum())

    def _check_loss(self) -> None:
        """Raise InvalidInput for labels, offsets, factors or margins with which the loss is not defined."""
        label, rows = self.rows.label, self.rows
        if label is not None:
            if label.shape != (len(rows), len(self.sizes) + 2) or not np.all(np.isfinite(label)) or label.min() < 0:
                raise InvalidInput(
                    f"labels must be non-negative and finite, {len(rows)} rows of {len(self.sizes) + 2} numbers"
                )
            if not np.all(self.mass > 0):
                raise InvalidInput("a label puts no mass on any class; drop its label pair")
        terms = {
            "offsets": self.offset,
            "factors": self.factor,
            "margins": self.margin,
            "pair offsets": self.pair_offset,
        }
        for name, values in terms.items():
            if values is not None and (values.shape != self.sizes.shape or not np.all(np.isfinite(values))):
                raise InvalidInput(f"{name} must be finite, one for each of the {len(self.sizes)} groups")
        if self.factor is not None and self.factor.min() <= 0:
            raise InvalidInput("factors of logits must be positive")
        if self.margin is not None and label is not None and label[:, :-2].any():
            raise InvalidInput("margins are defined for labels on a and b alone, not for smoothed ones")
        if self.partition == "classes":
            if self.pair_offset is not None:
                raise InvalidInput(
                    f"pair offsets are defined for label pairs as classes, not for program {self.program!r}"
                )
            return
        if self.margin is not None:
            raise InvalidInput(f"margins are defined for cross-entropy, not for program {self.program!r}")
        mixed = self.mass * _mixup_labels(rows)
        if label is not None and (label[:, :-2].any() or not np.allclose(self.labels()[0], mixed, rtol=1e-12, atol=0)):
            raise InvalidInput(
                f"program {self.program!r} has label pairs as classes: its labels must be those of mixup times a weight"
            )

    @property
    def tau(self) -> float:
        """Radius of the nuclear-norm ball, sqrt(e_H e_W)."""
        return float(np.sqrt(self.e_h * self.e_w))

    def labels(self, rows: slice | np.ndarray = slice(None)) -> tuple[np.ndarray, np.ndarray | None]:
        """Give what the loss puts on the logit of a class, for some rows.

        Args:
            rows: which rows.

        Returns:
            The labels of a and of b, (2, m), b's 0 where a = b; and those of a class of each group other than a and b,
            (m, G), None if all are 0.
        """
        label = self.rows.label
        if label is None:
            return _mixup_labels(self.rows, rows), None
        return np.stack([label[rows, -2], np.where(self.rows.same[rows], 0.0, label[rows, -1])]), label[rows, :-2]

    def others(self, rows: slice | np.ndarray = slice(None)) -> np.ndarray:
        """Count the classes of each group that are neither a nor b, for some rows.

        Args:
            rows: which rows.

        Returns:
            The numbers, (m, G).
        """
        a, b, two = self.rows.first[rows], self.rows.second[rows], ~self.rows.same[rows]
        number, r = np.tile(self.sizes.astype(float), (len(a), 1)), np.arange(len(a))
        number[r, a] -= 1
        number[r[two], b[two]] -= 1
        return number

    @property
    def changed(self) -> bool:
        """Whether labels or loss are other than those of the paper's programs."""
        return any(x is not None for x in (self.rows.label, self.offset, self.factor, self.margin, self.pair_offset))

    @cached_property
    def mass(self) -> np.ndarray:
        """Sum of each label over all classes, (M,); it multiplies the log-partition."""
        (at_a, at_b), rest = self.labels()
        return np.ones(len(self.rows)) if rest is None else at_a + at_b + (rest * self.others()).sum(axis=1)

    @property
    def minority(self) -> int | None:
        """The group whose classes are exchangeable and may collapse to one vector, or None if there is none."""
        if self.sides and len(self.sides[1]) == 1 and self.sizes[self.sides[1][0]] > 1:
            return self.sides[1][0]
        return None

    @property
    def expanded(self) -> bool:
        """True when every class is a group of its own, so that Z is written out in full."""
        return len(self.sizes) == self.K

    @cached_property
    def members(self) -> list[np.ndarray]:
        """The classes of each group, in ascending order."""
        group_of = np.repeat(np.arange(len(self.sizes)), self.sizes) if self.group_of is None else self.group_of
        return [np.flatnonzero(group_of == g) for g in range(len(self.sizes))]

    @cached_property
    def C_block(self) -> np.ndarray:
        """C on the G normalised group sums: diag(c) + beta v v^T, v_g = sqrt(sizes_g); shape (G, G)."""
        v = np.sqrt(self.sizes)
        C = np.diag(self.c) + self.beta * np.outer(v, v)
        if self.diagonal is not None:
            np.fill_diagonal(C, self.diagonal)
        return C

    @cached_property
    def C_graded(self) -> bool:
        """Whether C has eigenvalues so far apart that only its Cholesky factor is accurate, not its symmetric root."""
        low, high = float(self.c.min()), float(self.c.max() + self.beta * self.K)
        if low > 0 and high <= WELL_CONDITIONED * low:  # diag(c) and a positive term: no eigenvalues are needed
            return False
        eigenvalues = np.linalg.eigvalsh(self.C_block)
        return bool(eigenvalues[-1] > WELL_CONDITIONED * eigenvalues[0])

    @cached_property
    def C_condition(self) -> float:
        """Condition number of C once its rows and columns are scaled to the diagonal 1; inf where it has none.

        Errors of entries relative to sqrt(C_ii C_jj), as those of a Cholesky factor are, matter by this number only.
        """
        root = np.sqrt(np.diag(self.C_block))
        if not root.min() > 0:
            return math.inf
        eigenvalues = np.linalg.eigvalsh(self.C_block / np.outer(root, root))
        return float(eigenvalues[-1] / eigenvalues[0]) if eigenvalues[0] > 0 else math.inf

    @cached_property
    def C_error(self) -> float:
        """Bound the relative error of C in float64: the C in use lies between (1 - error) C and (1 + error) C.

        It is 0 unless C is graded: such errors are of the size of those of f, which the gap contains. For a graded C
        the Cholesky factor and its inverse are right to some G eps per entry, relative to sqrt(C_ii C_jj).
        """
        return float(8 * len(self.sizes) ** 2 * np.finfo(float).eps * self.C_condition) if self.C_graded else 0.0

    def expand(self) -> tuple[Problem, np.ndarray]:
        """Write every label pair out.

        Returns:
            The same program with every class a group of its own, in their own order, and the orbit of each new row,
            (m,) int.

        Raises:
            InvalidInput: if Z would have more than ``MAX_LOGITS`` entries.
        """
        rows, m = self.rows, int(self.rows.count.sum())
        if m * self.K > MAX_LOGITS:
            raise InvalidInput(
                f"Z written out would be {m:,} x {self.K:,}, more than {MAX_LOGITS:,} entries; "
                "use --solver orbits, or fewer --nodes"
            )
        pairs = [self._members_of_row(r) for r in range(len(rows))]
        a, b = np.concatenate([p[0] for p in pairs]), np.concatenate([p[1] for p in pairs])
        orbit = np.repeat(np.arange(len(rows)), [len(p[0]) for p in pairs])
        written = Rows(
            first=a,
            second=b,
            same=rows.same[orbit],
            lam=rows.lam[orbit],
            count=np.ones(m),
            p=rows.p[orbit],
            d=rows.d[orbit],
            label=None if rows.label is None else self._written_labels(orbit, a),
        )
        group_of = np.empty(self.K, dtype=int)
        for g, classes in enumerate(self.members):
            group_of[classes] = g

        def by_class(values: np.ndarray | None) -> np.ndarray | None:
            return None if values is None else values[group_of]

        full = replace(
            self,
            sizes=np.ones(self.K, dtype=int),
            rows=written,
            c=self.c[group_of],
            group_of=np.arange(self.K),
            diagonal=by_class(self.diagonal),  # only programs whose classes all differ have one
            sides=(),
            offset=by_class(self.offset),
            factor=by_class(self.factor),
            margin=by_class(self.margin),
            pair_offset=by_class(self.pair_offset),
        )
        return full, orbit

    def _written_labels(self, orbit: np.ndarray, a: np.ndarray) -> np.ndarray:
        """The labels of written-out rows, (m, K + 2). Rows a < b of ``unordered`` may list b's group first."""
        label, rows = self.rows.label, self.rows
        assert label is not None
        group_of = np.repeat(np.arange(len(self.sizes)), self.sizes) if self.group_of is None else self.group_of
        written = np.concatenate([label[orbit][:, group_of], label[orbit, -2:]], axis=1)
        swapped = group_of[a] != rows.first[orbit]
        written[swapped, -2:] = written[swapped, :-3:-1]
        return written

    def under_decay(self, mu: float, features: Features = "sample") -> Problem:
        """Trade the budgets for weight decay: ``f(Z) + mu |D^{1/2} Z C^{1/2}|_*``.

        Args:
            mu: sqrt(l_H l_W), the geometric mean of the two decays.
            features: "sample" penalises every sample's feature and every class vector (d_k = p_k and C = I, as weight
                decay does; Hong and Ling). "mean" penalises means over label pairs and over classes (d_k as it is and
                C = I/K), as the budgets of Fang et al. do: mu is then the multiplier of those budgets.

        Returns:
            The penalised program.

        Raises:
            InvalidInput: if ``mu`` lies outside 1e-12..1e12.
        """
        c = np.full(len(self.sizes), 1.0 if features == "sample" else 1.0 / self.K)
        return replace(self, decay=float(mu), c=c, beta=0.0, diagonal=None, e_h=1.0, e_w=1.0).with_features(features)

    def with_features(self, features: Features) -> Problem:
        """Choose what the features' budget or decay averages over.

        Args:
            features: "sample" for every sample, d_k = p_k; "mean" for every label pair alike, d_k as it is.

        Returns:
            The program.
        """
        return self if features == "mean" else replace(self, rows=replace(self.rows, d=self.rows.p))

    def _members_of_row(self, r: int) -> tuple[np.ndarray, np.ndarray]:
        first, second = self.members[self.rows.first[r]], self.members[self.rows.second[r]]
        if self.rows.same[r]:
            return first, first
        a, b = (x.ravel() for x in np.meshgrid(first, second, indexing="ij"))
        if self.rows.first[r] == self.rows.second[r]:
            keep = a < b if self.partition == "unordered" else a != b
            a, b = a[keep], b[keep]
        if self.partition == "unordered":
            a, b = np.minimum(a, b), np.maximum(a, b)
        return a, b
