"""The paper's programs, each put into the normal form of :mod:`lpm.problem`: the only place where they differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lpm.console.errors import InvalidInput
from lpm.mixing import Mixing, fixed
from lpm.pairs import ClassCounts, LabelPairs
from lpm.problem import MAX_LOGITS, Partition, Problem, Rows

Budget = Literal["paper", "eq7"]
"""Feature budget: as Eq. 5 prints it, or as Eq. 7 does."""

MAX_KINDS = 2000
"""Largest number of groups of label pairs in ``ms-free``. No solver takes more."""


def plain(classes: ClassCounts, *, e_h: float = 5.0, e_w: float = 1.0) -> Problem:
    """Build the layer-peeled model without mixup: one row per class, cross-entropy on its one-hot label.

    p_k = n_k / N, d = 1/K, C = I/K, so ``(1/K) sum |h_k|^2 <= E_H`` and ``(1/K) sum |w_k|^2 <= E_W``.
    Source: Fang et al. 2021.

    Args:
        classes: class counts.
        e_h: feature budget E_H.
        e_w: class-vector budget E_W.

    Returns:
        The program in normal form.

    Raises:
        InvalidInput: if a budget is out of range.
    """
    return _one_hot(
        program="plain",
        profile="class counts",
        sizes=classes.sizes,
        counts=classes.counts,
        d=np.full(len(classes.sizes), 1.0 / classes.K),
        e_h=e_h,
        e_w=e_w,
        group_of=classes.group_of,
        sides=((0,), (1,)) if classes.side.any() else (),
    )


def fc(
    pairs: LabelPairs, mixing: Mixing | None = None, *, e_h: float = 5.0, e_w: float = 1.0, budget: Budget = "paper"
) -> Problem:
    """Build LPM_lambda with the usual classifier (Eq. 5, Eq. 11): cross-entropy on ``lambda e_a + (1 - lambda) e_b``.

    d = 1/K^2 and C = I/K. With ``budget='eq7'`` d is 1/|K_A^2| on rows of A and 1/|K_B^2| on rows of B. Eq. 7 has no
    cross pairs, so it needs the profile ``block``. Under Beta(alpha, alpha) a row is a (label pair, node): its p and d
    carry the node's weight. That reads the feature budget as an average over lambda; the paper does not say.

    Args:
        pairs: label-pair counts.
        mixing: law of the mixing ratio, lambda = 1/2 if None.
        e_h: feature budget E_H.
        e_w: class-vector budget E_W.
        budget: "paper" for the feature budget of Eq. 5, "eq7" for that of Eq. 7.

    Returns:
        The program in normal form.

    Raises:
        InvalidInput: if the profile does not allow the budget, no label pair occurs, or a budget is out of range.
    """
    return _mixed(
        program="fc",
        pairs=pairs,
        mixing=mixing or fixed(),
        partition="classes",
        c=np.full(len(pairs.sizes), 1.0 / pairs.K),
        beta=0.0,
        e_h=e_h,
        e_w=e_w,
        budget=budget,
    )


def ms(
    pairs: LabelPairs, mixing: Mixing | None = None, *, e_h: float = 5.0, e_w: float = 1.0, budget: Budget = "paper"
) -> Problem:
    """Build LPM_lambda-MS as written (Eq. 9): K^2 label-pair classes with vectors ``lambda w_a + (1 - lambda) w_b``.

    The budget ``(1/K^2) sum |w_k^lambda|^2 <= E_{W^lambda}`` is tr(C W W^T) with
    ``C = E_lambda [(lambda^2 + (1-lambda)^2) K I + 2 lambda (1-lambda) 11^T] / K^2``.

    Args:
        pairs: label-pair counts.
        mixing: law of the mixing ratio, lambda = 1/2 if None.
        e_h: feature budget E_H.
        e_w: class-vector budget E_{W^lambda}.
        budget: as for :func:`fc`.

    Returns:
        The program in normal form.

    Raises:
        InvalidInput: as :func:`fc`.
    """
    mixing, K = mixing or fixed(), pairs.K
    c = mixing.mean(mixing.nodes**2 + (1 - mixing.nodes) ** 2) / K
    beta = mixing.mean(2 * mixing.nodes * (1 - mixing.nodes)) / K**2
    return _mixed(
        program="ms",
        pairs=pairs,
        mixing=mixing,
        partition="pairs",
        c=np.full(len(pairs.sizes), c),
        beta=beta,
        e_h=e_h,
        e_w=e_w,
        budget=budget,
    )


def ms_unordered(pairs: LabelPairs, mixing: Mixing | None = None, *, e_h: float = 5.0, e_w: float = 1.0) -> Problem:
    """Build LPM_lambda-MS on label pairs a < b only (section 4.2): rows, softmax and both budgets run over them.

    d = 1/|K^<| and C = (1/|K^<|) E_lambda sum_{a<b} v v^T, v = lambda e_a + (1 - lambda) e_b, |K^<| = K(K-1)/2.
    The order a < b breaks the symmetry of classes unless lambda is 1/2 for sure. Groups are written out otherwise.

    Args:
        pairs: label-pair counts.
        mixing: law of the mixing ratio, lambda = 1/2 if None.
        e_h: feature budget E_H.
        e_w: class-vector budget E_{W^lambda}.

    Returns:
        The program in normal form.

    Raises:
        InvalidInput: if K < 3 (C is singular) or the square of lambda or 1 - lambda is 0 in float64, no label pair
            a < b occurs, a table has counts on or below its diagonal, a budget is out of range, or Z is too large.
    """
    mixing, K = mixing or fixed(), pairs.K
    if K < 3:
        raise InvalidInput(
            f"K = {K}: with pairs a < b only, K must be at least 3 (two classes make one pair, which fixes no W)"
        )
    if pairs.profile == "table" and np.tril(pairs.cross).any():
        raise InvalidInput(
            "ms-unordered uses label pairs a < b; set the table's diagonal and lower triangle to 0, or use 'ms'"
        )
    if not mixing.symmetric_point:
        logits = K * (K - 1) // 2 * len(mixing.nodes) * K
        if logits > MAX_LOGITS:  # no two classes are alike, so every solver writes Z out
            raise InvalidInput(
                f"K = {K:,} makes Z of 'ms-unordered' {logits:,} entries, more than {MAX_LOGITS:,}: the order a < b "
                "makes all classes differ; take lambda 1/2, fewer classes or fewer --nodes"
            )
        pairs = _singletons(pairs)
    n = K * (K - 1) / 2  # label pairs a < b
    beta, diagonal = mixing.mean(mixing.nodes * (1 - mixing.nodes)) / n, None
    if mixing.symmetric_point:
        c = np.full(len(pairs.sizes), (K - 2) / 4 / n)
    else:
        rank = np.arange(K)  # class k is second in k label pairs and first in K - 1 - k
        diagonal = (mixing.mean(mixing.nodes**2) * (K - 1 - rank) + mixing.mean((1 - mixing.nodes) ** 2) * rank) / n
        c = diagonal - beta
    return _mixed(
        program="ms-unordered",
        pairs=pairs,
        mixing=mixing,
        partition="unordered",
        c=c,
        beta=beta,
        diagonal=diagonal,
        e_h=e_h,
        e_w=e_w,
        budget="paper",
    )


def ms_free(pairs: LabelPairs, *, e_h: float = 5.0, e_w: float = 1.0, budget: Budget = "paper") -> Problem:
    """Build Theorem 2's program: the K^2 label pairs as classes with free vectors, the plain model at K^2 classes.

    d = 1/K^2, C = I/K^2. Label pairs of equal frequency in one block (A x A, across, B x B) form a group. Cosines AA,
    AB, BB are between the label pairs in K_A^2 and K_B^2. Pairs that never occur keep their class vector. No lambda
    enters.

    Args:
        pairs: label-pair counts.
        e_h: feature budget E_H.
        e_w: class-vector budget E_W.
        budget: as for :func:`fc`.

    Returns:
        The program in normal form, with K^2 classes.

    Raises:
        InvalidInput: if the profile does not allow the budget, a budget is out of range, or there are more than
            ``MAX_KINDS`` different frequencies.
    """
    _check_budget(pairs, budget)
    G, K = len(pairs.sizes), pairs.K
    side = pairs.side
    # Kinds of label pairs: first (a, a) for each group, then (a, b) with a != b for each two groups.
    kind_block = np.concatenate([2 * side, np.add.outer(side, side).ravel()])
    kind_count = np.concatenate([pairs.same, pairs.cross.ravel()])
    number = np.outer(pairs.sizes, pairs.sizes) - np.diag(pairs.sizes)
    kind_size = np.concatenate([pairs.sizes, number.ravel()])
    occurs = kind_size > 0
    keys, ids = np.unique(np.stack([kind_block, -kind_count])[:, occurs], axis=1, return_inverse=True)
    kind_id = np.full(len(kind_size), -1)
    kind_id[occurs] = ids
    sizes = np.bincount(ids, weights=kind_size[occurs]).astype(int)
    if len(sizes) > MAX_KINDS:
        raise InvalidInput(
            f"label pairs of {len(sizes):,} different frequencies, more than {MAX_KINDS:,}, are too many for 'ms-free'; "
            "round the counts"
        )
    group_of = None
    if K <= 1000:  # a million label pairs
        group_of = kind_id[G:].reshape(G, G)[np.ix_(pairs.group_of, pairs.group_of)]
        np.fill_diagonal(group_of, kind_id[:G][pairs.group_of])
        group_of = group_of.ravel()
    # The most frequent label pairs inside K_A^2 (block 0) and K_B^2 (block 2); keys are sorted by falling count.
    sides = tuple((int(np.flatnonzero(keys[0] == b)[0]),) for b in (0, 2)) if pairs.side.any() else ()
    d = 1.0 / pairs.sizes[(keys[0] / 2).astype(int)] ** 2 if budget == "eq7" else np.full(len(sizes), 1.0 / K**2)
    return _one_hot(
        program="ms-free",
        profile=pairs.profile,
        sizes=sizes,
        counts=-keys[1],
        d=d,
        e_h=e_h,
        e_w=e_w,
        group_of=group_of,
        sides=sides,
    )


def _one_hot(
    *,
    program: str,
    profile: str,
    sizes: np.ndarray,
    counts: np.ndarray,
    d: np.ndarray,
    e_h: float,
    e_w: float,
    group_of: np.ndarray | None,
    sides: tuple[tuple[int, ...], ...],
) -> Problem:
    """The plain model on K free classes: one row for each group of classes that occurs. d: (G,) as in :class:`Rows`."""
    p = counts / (sizes @ counts)
    g = np.flatnonzero(p > 0)
    rows = Rows(
        first=g,
        second=g,
        same=np.ones(len(g), dtype=bool),
        lam=np.ones(len(g)),
        count=sizes[g].astype(float),
        p=p[g],
        d=d[g],
    )
    return Problem(
        program=program,
        profile=profile,
        mixing="none",
        sizes=sizes,
        rows=rows,
        partition="classes",
        c=np.full(len(sizes), 1.0 / int(sizes.sum())),
        beta=0.0,
        e_h=e_h,
        e_w=e_w,
        group_of=group_of,
        sides=sides,
    )


def _mixed(
    *,
    program: str,
    pairs: LabelPairs,
    mixing: Mixing,
    partition: Partition,
    c: np.ndarray,
    beta: float,
    e_h: float,
    e_w: float,
    budget: Budget,
    diagonal: np.ndarray | None = None,
) -> Problem:
    """The rows (orbit of label pairs, quadrature node) of a program whose targets are lambda e_a + (1 - lambda) e_b."""
    _check_budget(pairs, budget)
    G, sizes, unordered = len(pairs.sizes), pairs.sizes, partition == "unordered"
    count = np.outer(sizes, sizes) - np.diag(sizes)
    if unordered:
        count = np.triu(count, 1) + np.diag(np.diag(count)) // 2
    g, h = (x.ravel() for x in np.indices((G, G)))
    first, second = np.concatenate([np.arange(G), g]), np.concatenate([np.arange(G), h])
    same = np.arange(G + G * G) < G
    number = np.concatenate([np.zeros(G) if unordered else sizes, count.ravel()]).astype(float)
    n = np.concatenate([pairs.same, pairs.cross.ravel()])
    keep = np.flatnonzero((number > 0) & (n > 0))
    if not keep.size:
        raise InvalidInput(f"program {program!r} with profile {pairs.profile!r}: no label pair occurs")
    p = n[keep] / (number[keep] @ n[keep])
    d = np.full(len(keep), 2.0 / (pairs.K * (pairs.K - 1)) if unordered else 1.0 / pairs.K**2)
    if budget == "eq7":
        d = 1.0 / sizes[first[keep]] ** 2
    Q = len(mixing.nodes)
    row = np.repeat(keep, Q)
    rows = Rows(
        first=first[row],
        second=second[row],
        same=same[row],
        lam=np.tile(mixing.nodes, len(keep)),
        count=number[row],
        p=np.outer(p, mixing.weights).ravel(),
        d=np.outer(d, mixing.weights).ravel(),
    )
    sides = tuple(tuple(np.flatnonzero(pairs.side == x).tolist()) for x in (0, 1)) if pairs.side.any() else ()
    return Problem(
        program=program,
        profile=pairs.profile,
        mixing=mixing.label,
        sizes=sizes,
        rows=rows,
        partition=partition,
        c=c,
        beta=beta,
        e_h=e_h,
        e_w=e_w,
        group_of=pairs.group_of,
        diagonal=diagonal,
        sides=sides,
    )


def _check_budget(pairs: LabelPairs, budget: Budget) -> None:
    if budget == "eq7" and pairs.profile != "block":
        raise InvalidInput(
            f"budget 'eq7' needs profile 'block', got {pairs.profile!r}: Eq. 7 has no pairs across the groups"
        )


def _singletons(pairs: LabelPairs) -> LabelPairs:
    """The same label pairs with every class a group of its own, classes in their own order."""
    group = pairs.group_of
    return LabelPairs(
        sizes=np.ones(pairs.K, dtype=int),
        same=pairs.same[group],
        cross=pairs.cross[np.ix_(group, group)],
        group_of=np.arange(pairs.K),
        profile=pairs.profile,
        side=pairs.side[group],
    )


@dataclass(frozen=True, kw_only=True)
class Program:
    """One program of the paper: the function that builds it, and the choices that it takes.

    Attributes:
        name: its name on the command line and in tables.
        build: function of this module that builds it.
        default_profile: key of :data:`lpm.pairs.PROFILES`; "-" for a program of class counts, which has no label pairs.
        mixed: whether the mixing ratio enters.
        eq7: whether the feature budget of Eq. 7 is defined for it.
    """

    name: str
    build: Callable[..., Problem]
    default_profile: str
    mixed: bool
    eq7: bool

    @property
    def has_pairs(self) -> bool:
        """Whether its frequencies are those of label pairs, not of classes."""
        return self.default_profile != "-"

    def label(self, profile: str) -> str:
        """Name the program with a profile, as tables and pictures do.

        Args:
            profile: the profile; it has no effect on a program of class counts.

        Returns:
            The name.
        """
        return f"{self.name} {profile}" if self.has_pairs else self.name

    def check_budget(self, budget: Budget) -> None:
        """Check that the program takes a feature budget.

        Args:
            budget: "paper" or "eq7".

        Raises:
            InvalidInput: if it does not.
        """
        if budget == "eq7" and not self.eq7:
            *names, last = (name for name, program in PROGRAMS.items() if program.eq7)
            allowed = f"{', '.join(names)} and {last}"
            raise InvalidInput(f"budget 'eq7' is defined for {allowed}, not for {self.name!r}; use budget 'paper'")

    def problem(
        self,
        frequencies: ClassCounts | LabelPairs,
        *,
        mixing: Mixing | None = None,
        e_h: float = 5.0,
        e_w: float = 1.0,
        budget: Budget = "paper",
    ) -> Problem:
        """Build the program.

        Args:
            frequencies: class counts for ``plain``, label-pair counts for all others.
            mixing: law of the mixing ratio, lambda = 1/2 if None. It has no effect where no ratio enters.
            e_h: feature budget.
            e_w: class-vector budget.
            budget: "paper" for the feature budget of Eq. 5, "eq7" for that of Eq. 7.

        Returns:
            The program in normal form.

        Raises:
            InvalidInput: if the program or its profile does not take the budget, or as the function ``build``.
        """
        self.check_budget(budget)
        choices: dict[str, Any] = {"mixing": mixing} if self.mixed else {}
        if self.eq7:
            choices["budget"] = budget
        return self.build(frequencies, e_h=e_h, e_w=e_w, **choices)


PROGRAMS = {
    program.name: program
    for program in (
        Program(name="plain", build=plain, default_profile="-", mixed=False, eq7=False),
        Program(name="fc", build=fc, default_profile="product", mixed=True, eq7=True),
        Program(name="ms", build=ms, default_profile="product", mixed=True, eq7=True),
        Program(name="ms-unordered", build=ms_unordered, default_profile="product", mixed=True, eq7=False),
        Program(name="ms-free", build=ms_free, default_profile="block", mixed=False, eq7=True),
    )
}
"""The paper's programs by name."""
