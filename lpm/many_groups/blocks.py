r"""Symmetric coordinates, one block of label pairs at a time: for more groups than :mod:`lpm.coordinates` can hold.

The coordinates are those of :class:`lpm.coordinates.Coordinates` but for one factor: zero-sum ones are not multiplied
by ``sqrt(K_g - 1)``. Euclidean length is then the Frobenius norm of ``Z' = D^{1/2} Z C^{1/2}`` written out. A projected
gradient step is the one on all K^2 label pairs, and

.. math:: \|Z'\|_* = \|T\|_* + \sum_g \sqrt{K_g - 1}\, \|x_g\|_2, \qquad
          \|D^{-1/2} \nabla f\, C^{-1/2}\|_2 = \max(\|T_G\|_2, \max_g \|x_{G,g}\|_2 / \sqrt{K_g - 1}).

A point X is (M, G + 2). Beside its rows a pass needs O(G^2) numbers and a block of ``BLOCK`` logits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lpm.losses import log_partition
from lpm.many_groups.spectra import Power, Spectrum
from lpm.problem import Problem

BLOCK = 100_000
"""Logits that one pass of the loss handles at a time: few enough to stay in the cache."""

Logits = Callable[[slice], np.ndarray]
"""Function from a block of rows to their logits (m, G + 2): of the other classes of each group, of a, of b."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """f and what bounds need of its gradient, at some Z that need not be feasible.

    Attributes:
        loss: f(Z).
        inner: <grad f, Z>.
        gradient: spectrum of the scaled gradient.
        rounding: bound on the rounding of f.
        rounding_of_both: bound on the rounding of f and ``inner`` together.
    """

    loss: float
    inner: float
    gradient: Spectrum
    rounding: float
    rounding_of_both: float

    def deficit(self, blocks: Blocks) -> float:
        """Subtract from f(Z) the lower bound on the optimum that Z proves, feasible or not.

        Args:
            blocks: the blocks of the problem.

        Returns:
            f(Z) minus the lower bound (:mod:`lpm.many_groups.dual`).
        """
        problem = blocks.problem
        if problem.decay is None:
            return self.inner + problem.tau * self.gradient.spectral
        return self.inner + max(0.0, self.gradient.spectral / problem.decay - 1) * blocks.value_at_zero


class OutOfTime(Exception):
    """The time limit has passed in the middle of an evaluation."""


class Blocks:
    """f, its gradient and both norms of one problem, for points and logits that are given one block of rows at a time.

    Iterating yields the blocks, as slices of the M rows.

    Args:
        problem: the problem.

    Attributes:
        problem: the problem.
        G: number of groups.
        scale: sqrt(count d) of each row, (M,).
        weight: count p of each row, (M,).
        times: multiplicity of each singular value, (2 G,).
        log: log of 0, 1, 2, ..., the numbers of classes that occur.
        C_half: C^{1/2} on the normalised group sums.
        C_inverse_half: C^{-1/2}.
        inside: whether a and b are two classes of one group, (M,).
        slots: group of each zero-sum coordinate, (2, M); G if the row does not have it.
        lift: effect of each zero-sum coordinate on the logits of a and b, (2, 2, M).
        dip: its effect on the logits of the group's other classes, (2, M).
        deadline: time after which no further block is begun, on the clock of ``time.perf_counter``.
    """

    def __init__(self, problem: Problem) -> None:
        rows, K = problem.rows, problem.sizes.astype(float)
        self.problem, self.G, self.deadline = problem, len(K), math.inf
        self.scale, self.weight = np.sqrt(rows.count * rows.d), rows.count * rows.p
        self.times = np.concatenate([np.ones(self.G), K - 1])
        self.log = np.append(-np.inf, np.log(np.arange(1, K.max() + 1)))
        self.C_half, self.C_inverse_half = Power.of(problem, 0.5), Power.of(problem, -0.5)
        self._place_zero_sum(K)

    def _place_zero_sum(self, K: np.ndarray) -> None:
        """Work out how the two zero-sum coordinates x_j of a row act.

        slots[j]: their group, G if there is none. lift[i, j]: how far x_j raises z_a (i = 0) and z_b (1) above the mean
        of their group. dip[i]: how far x_i lowers the group's other classes below it. Directions are e_a - 1/K_g, and
        for a, b in one group e_a + e_b - 2/K_g and e_a - e_b, all normalised.
        """
        rows, c = self.problem.rows, self.problem.c
        groups, present = np.stack([rows.first, rows.second]), np.stack([np.ones_like(rows.same), ~rows.same])
        size, inside = K[groups], (rows.first == rows.second) & ~rows.same
        apart = present & ~inside & (size > 1)
        together = inside & (size[0] > 2)
        self.inside = inside
        self.slots = np.where(apart | inside, groups, self.G)
        self.slots[0, inside & ~together] = self.G
        lift_apart = np.where(apart, np.sqrt((size - 1) / size), 0.0)
        lift_together = np.where(together, np.sqrt(np.maximum(size[0] - 2, 0) / (2 * size[0])), 0.0)
        difference = np.where(inside, 0.5**0.5, 0.0)
        unit = 1 / (self.scale * np.sqrt(c[groups]))
        self.lift = unit * [
            [lift_apart[0] + lift_together, difference],
            [lift_together, lift_apart[1] - difference],
        ]
        self.dip = unit * np.where(apart, lift_apart / np.maximum(size - 1, 1), 0.0)
        self.dip[0] += unit[0] * 2 * lift_together / np.maximum(size[0] - 2, 1)

    @cached_property
    def value_at_zero(self) -> float:
        """f(0), an upper bound on every optimum."""
        nothing = np.zeros(self.shape[1])
        return sum(self.terms(np.tile(nothing, (len(self.weight[block]), 1)), block)[0] for block in self)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (M, G + 2) of a point."""
        return len(self.scale), self.G + 2

    def __iter__(self) -> Iterator[slice]:
        step = max(1, BLOCK // (self.G + 2))
        for i in range(0, len(self.scale), step):
            if time.perf_counter() > self.deadline:
                raise OutOfTime
            yield slice(i, min(i + step, len(self.scale)))

    def logits(self, X: np.ndarray, block: slice | np.ndarray) -> np.ndarray:
        """Evaluate the logits of a block.

        Args:
            X: the point's rows of the block, (m, G + 2).
            block: the rows.

        Returns:
            Logits, (m, G + 2): of the other classes of each group, of a, of b.
        """
        G, r, (a, b) = self.G, np.arange(len(X)), self._ab(block)
        x, y, lift, dip = X[:, G], X[:, G + 1], self.lift[:, :, block], self.dip[:, block]
        V = np.empty_like(X)
        V[:, :G] = self.C_inverse_half.after(X[:, :G]) / np.sqrt(self.problem.sizes)
        V[:, :G] /= self.scale[block, None]
        V[:, G] = V[r, a] + lift[0, 0] * x + lift[0, 1] * y
        V[:, G + 1] = V[r, b] + lift[1, 0] * x + lift[1, 1] * y
        V[r, a] -= dip[0] * x
        V[r, b] -= dip[1] * y
        return V

    def points(self, V: np.ndarray, block: slice) -> np.ndarray:
        """Invert :meth:`logits`.

        Args:
            V: logits, (m, G + 2).
            block: their rows.

        Returns:
            The point's rows, (m, G + 2).
        """
        G, r, (a, b), K = self.G, np.arange(len(V)), self._ab(block), self.problem.sizes
        two = ~self.problem.rows.same[block]
        means = V[:, :G] * K
        means[r, a] += V[:, G] - V[r, a]
        means[r, b] += two * (V[:, G + 1] - V[r, b])
        means /= K
        X = np.empty_like(V)
        X[:, :G] = self.C_half.after(means * np.sqrt(K)) * self.scale[block, None]
        rise = np.stack([V[:, G] - means[r, a], two * (V[:, G + 1] - means[r, b])])  # above the means of the groups
        lift = self.lift[:, :, block]  # its columns are orthogonal, or 0
        square = (lift**2).sum(axis=0)
        X[:, G:] = ((lift * rise[:, None]).sum(axis=0) / np.where(square > 0, square, 1.0)).T
        return X

    def centred(self, V: np.ndarray, block: slice) -> np.ndarray:
        """Remove the common shift of each row's logits, which changes no loss and costs nuclear norm.

        Args:
            V: logits, (m, G + 2).
            block: their rows.

        Returns:
            The shifted logits, (m, G + 2), orthogonal to C 1.
        """
        problem, G, r, (a, b) = self.problem, self.G, np.arange(len(V)), self._ab(block)
        weight = problem.c + problem.beta * problem.K
        shift = V[:, :G] @ (weight * problem.sizes) + weight[a] * (V[:, G] - V[r, a])
        shift += np.where(problem.rows.same[block], 0.0, weight[b] * (V[:, G + 1] - V[r, b]))
        return V - (shift / (weight @ problem.sizes))[:, None]

    def terms(self, V: np.ndarray, block: slice) -> tuple[float, np.ndarray, float]:
        """Evaluate the share of a block in f.

        Args:
            V: logits, (m, G + 2).
            block: their rows.

        Returns:
            The share in f, its derivatives by V (m, G + 2), and the size of f's terms, which bounds their rounding.
        """
        y, weight = self.target(block), self.weight[block]
        value, S = log_partition(self.problem.partition, V, self.problem.rows.lam[block], self.log_number(block))
        linear = y * V[:, self.G :]
        S[:, self.G :] -= y
        S *= weight[:, None]
        f, size = weight @ (value - linear.sum(axis=1)), weight @ (np.abs(value) + np.abs(linear).sum(axis=1))
        return float(f), S, float(size)

    def target(self, block: slice) -> np.ndarray:
        """Give the labels y at a and at b.

        Args:
            block: the rows.

        Returns:
            The labels, (m, 2).
        """
        same, lam = self.problem.rows.same[block], self.problem.rows.lam[block]
        return np.stack([np.where(same, 1.0, lam), np.where(same, 0.0, 1 - lam)], axis=1)

    def log_number(self, block: slice) -> np.ndarray:
        """Count the classes behind each logit.

        Args:
            block: the rows.

        Returns:
            Log of the numbers of classes, (m, G + 2).
        """
        G, (a, b), K, inside = self.G, self._ab(block), self.problem.sizes, self.inside[block]
        number, r = np.empty((len(a), G + 2)), np.arange(len(a))
        number[:, :G] = self.log[K]
        number[r, a], number[r, b] = self.log[K[a] - 1 - inside], self.log[K[b] - 1 - inside]
        number[:, G], number[:, G + 1] = 0.0, np.where(self.problem.rows.same[block], -np.inf, 0.0)
        return number

    def pull_back(self, S: np.ndarray, block: slice) -> np.ndarray:
        """Turn derivatives by the logits into derivatives by X, in place: the transpose of :meth:`logits`.

        Args:
            S: derivatives by the logits, (m, G + 2); overwritten.
            block: their rows.

        Returns:
            Derivatives by X, (m, G + 2).
        """
        G, r, (a, b) = self.G, np.arange(len(S)), self._ab(block)
        lift, dip = self.lift[:, :, block], self.dip[:, block]
        at_a, at_b = S[:, G].copy(), S[:, G + 1].copy()
        S[:, G] = lift[0, 0] * at_a + lift[1, 0] * at_b - dip[0] * S[r, a]
        S[:, G + 1] = lift[0, 1] * at_a + lift[1, 1] * at_b - dip[1] * S[r, b]
        S[r, a] += at_a
        S[r, b] += at_b
        S[:, :G] = self.C_inverse_half.after(S[:, :G] / np.sqrt(self.problem.sizes))
        S[:, :G] /= self.scale[block, None]
        return S

    def _ab(self, block: slice | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.problem.rows.first[block], self.problem.rows.second[block]

    def at(self, X: np.ndarray) -> Logits:
        """Give the logits of a point that is written out.

        Args:
            X: the point, (M, G + 2).

        Returns:
            Its logits, made when they are asked for.
        """
        return lambda block: self.logits(X[block], block)

    def evaluate(self, logits: Logits) -> Evaluation:
        """Evaluate f, its gradient's spectrum and rounding in one pass over all rows.

        Args:
            logits: logits of any Z.

        Returns:
            The evaluation.
        """
        loss = inner = size = inner_size = 0.0
        moments = Moments(self)
        for block in self:
            V = logits(block)
            part, S, terms = self.terms(V, block)
            product = S * V
            loss, inner, size = loss + part, inner + float(product.sum()), size + terms
            inner_size += float(np.abs(product).sum())
            moments.add(self.pull_back(S, block), block)
        eps = 8 * np.finfo(float).eps  # a few operations per term, as in Coordinates.rounding
        return Evaluation(
            loss=loss,
            inner=inner,
            gradient=moments.spectrum(),
            rounding=eps * size,
            rounding_of_both=eps * (size + inner_size),
        )

    def spectrum(self, logits: Logits) -> Spectrum:
        """Evaluate the singular values of a point to rounding.

        They come from a QR factorisation of its rows, because products of rows would lose half the digits.

        Args:
            logits: logits of the point.

        Returns:
            The spectrum.
        """
        rows, moments = [np.empty((0, self.G))], Moments(self)
        for block in self:
            X = self.points(logits(block), block)
            rows.append(X[:, : self.G].copy())
            moments.add_zero_sum(X, block)
            # A factorisation costs G^2 per row, the rows of the last triangle included: so wait for several blocks.
            if sum(map(len, rows)) > 4 * self.G:
                rows = [np.asarray(np.linalg.qr(np.concatenate(rows), mode="r"))]
        _, s, vectors = np.linalg.svd(np.linalg.qr(np.concatenate(rows), mode="r"))
        return moments.zero_sum_spectrum(np.pad(s, (0, self.G - len(s))), vectors.T)


class Moments:
    """Sums over rows X from which singular values follow: T^T T and |x_g|^2.

    Args:
        blocks: the blocks of the problem.

    Attributes:
        blocks: the blocks of the problem.
        gram: T^T T so far, (G, G).
        squares: |x_g|^2 so far, (G + 1,); the last entry collects absent coordinates.
    """

    def __init__(self, blocks: Blocks) -> None:
        self.blocks, self.gram, self.squares = blocks, np.zeros((blocks.G, blocks.G)), np.zeros(blocks.G + 1)

    def add(self, X: np.ndarray, block: slice) -> None:
        """Add some rows.

        Args:
            X: the rows, (m, G + 2).
            block: their numbers.
        """
        T = X[:, : self.blocks.G]
        self.gram += T.T @ T
        self.add_zero_sum(X, block)

    def add_zero_sum(self, X: np.ndarray, block: slice) -> None:
        """Add the zero-sum part of some rows only.

        Args:
            X: the rows, (m, G + 2).
            block: their numbers.
        """
        G = self.blocks.G
        for j in (0, 1):
            self.squares += np.bincount(self.blocks.slots[j, block], X[:, G + j] ** 2, minlength=G + 1)

    def spectrum(self) -> Spectrum:
        """Evaluate the singular values; small ones only to about 1e-8 of the largest.

        Returns:
            The spectrum.
        """
        eigenvalues, vectors = np.linalg.eigh(self.gram)
        return self.zero_sum_spectrum(np.sqrt(np.maximum(eigenvalues, 0.0)), vectors)

    def zero_sum_spectrum(self, s: np.ndarray, vectors: np.ndarray) -> Spectrum:
        """Complete a spectrum by its zero-sum part.

        Args:
            s: singular values of T, (G,).
            vectors: right singular vectors of T, (G, G).

        Returns:
            The spectrum.
        """
        times = self.blocks.times
        zero_sum = np.sqrt(self.squares[:-1] / np.maximum(times[self.blocks.G :], 1))
        return Spectrum(np.concatenate([s, zero_sum]), times, vectors)
