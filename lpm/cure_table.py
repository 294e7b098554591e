"""A table of cures: each cure's program solved, its collapse numbers, where collapse sets in, cosines and margins."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from lpm import directions
from lpm.console.errors import InvalidInput, NotCertified
from lpm.coordinates import Coordinates
from lpm.cure_rows import CURES, JUMPS, Cure, Setting
from lpm.law import collapse_number, directions_at_zero, separators
from lpm.pairs import ClassCounts
from lpm.problem import Problem
from lpm.solution import Solution
from lpm.solve import solve_all
from lpm.threshold import Threshold, by_law, searches

FEW_NODES = 8
"""Quadrature nodes with which the R0 of a cure whose classes all differ is looked for, before it is proved with all of them."""
MOST_CLASSES = 10
"""Number of classes up to which it is looked for: at 12 it takes ten seconds."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One cure. Its fields are the columns of ``cures.csv`` and the keys of ``--json``.

    Attributes:
        cure: name of the cure.
        c_B: collapse number of the minority under the row's decay: it is collapsed if and only if this is at most mu^2. A row
            with budgets has that of a decay on samples. With counts of one's own the minority is the classes with the fewest
            images; of a single class, c_B is the smallest of :func:`lpm.law.directions_at_zero` without offsets,
            squared. None where the law does not apply.
        c_A: collapse number of the majority; with counts of one's own that of the most frequent classes, or of a single class
            the largest of these with offsets, at or above whose root a decay leaves nothing.
        R0: the lowest imbalance at which minority collapse sets in; None if it sets in at none, or if that is not certified or
            not looked for, where ``intervals`` is None, too. Where no two classes are alike, an imbalance at which W loses its
            first direction, looked for from the R0 of the cure on in which they are.
        bracket: certified interval around R0.
        intervals: all imbalances of the range at which it holds, as pairs of ends; None where that is not certified or
            not looked for.
        collapsed: whether the minority is collapsed at the solution; None if undecided, or if not ``alike``.
        alike: whether the minority is several classes that may be exchanged, so that it can collapse.
        cos_AA: mean cosine between classes of the majority; None if there are none.
        cos_AB: mean cosine between majority and minority.
        cos_BB: mean cosine between classes of the minority.
        norm_A: mean length of the class vectors of the majority, or of the most frequent class.
        norm_B: mean length of those of the minority, or of the rarest class.
        margin_B: on images of a rare class alone, its logit less the largest other one; None if no such rows occur.
        rank: rank of W.
        relative_gap: of the certificate.
        seconds: time of the solve.
        note: why a number is missing; "" if none is.
    """

    cure: str
    c_B: float | None = None
    c_A: float | None = None
    R0: float | None = None
    bracket: tuple[float, float] | None = None
    intervals: tuple[tuple[float, float], ...] | None = None
    collapsed: bool | None = None
    alike: bool = True
    cos_AA: float | None = None
    cos_AB: float | None = None
    cos_BB: float | None = None
    norm_A: float | None = None
    norm_B: float | None = None
    margin_B: float | None = None
    rank: int | None = None
    relative_gap: float | None = None
    seconds: float | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """What a table of cures is made for.

    Attributes:
        setting: class counts at which the programs are solved, and mixup's law.
        limit: puts budgets or a decay on a program.
        at: class counts at an imbalance; None for counts of one's own.
        R_min: smallest imbalance at which collapse is looked for.
        R_max: largest imbalance.
    """

    setting: Setting
    limit: Callable[[Problem], Problem]
    at: Callable[[float], ClassCounts] | None = None
    R_min: float = 1.0
    R_max: float = 1e4

    def row(self, cure: Cure) -> Row:
        """Solve one cure.

        Args:
            cure: the cure.

        Returns:
            Its row, as :meth:`rows` gives it.
        """
        return self.rows([cure])[0]

    def rows(self, cures: Sequence[Cure]) -> list[Row]:
        """Solve cures, all at once.

        Args:
            cures: the cures.

        Returns:
            Their rows; with a note alone, if the setting does not admit a cure or its optimum is not certified.
        """
        problems: dict[str, tuple[Problem, Problem]] = {}
        notes: dict[str, str] = {}
        for cure in cures:
            try:
                problem = cure.build(self.setting)
                problems[cure.name] = problem, self.limit(problem)
            except InvalidInput as refusal:
                notes[cure.name] = str(refusal)
        solutions: dict[str, Solution] = {}
        for name, result in _solved({name: pair[1] for name, pair in problems.items()}).items():
            if isinstance(result, Solution):
                solutions[name] = result
            else:
                notes[name] = str(result)
        two_sided = [
            cure for cure in cures if cure.name in solutions and solutions[cure.name].problem.minority is not None
        ]
        thresholds = self._thresholds(two_sided)
        brackets = {
            cure.name: self._first_lost(cure, thresholds.get(cure.beside))
            for cure in cures
            if cure.beside and cure.name in solutions and cure not in two_sided
        }
        return [
            Row(cure=cure.name, note=notes[cure.name])
            if cure.name in notes
            else _row(
                cure,
                *problems[cure.name],
                solutions[cure.name],
                thresholds.get(cure.name),
                brackets.get(cure.name),
            )
            for cure in cures
        ]

    def _thresholds(self, cures: Sequence[Cure]) -> dict[str, Threshold]:
        """Where collapse sets in: by the law, or where it does not apply by the dual condition on a grid."""
        if self.at is None:
            return {}
        found: dict[str, Threshold] = {}
        searched: dict[str, Callable[[float], Problem]] = {}
        for cure in cures:
            at = partial(self._problem, cure)
            problem = at(self.R_min)
            if problem.decay is not None and problem.margin is None:
                found[cure.name] = by_law(at, separators(at, self.R_min, self.R_max, JUMPS), self.R_max)
            else:
                searched[cure.name] = at
        results = searches(list(searched.values()), self.R_min, self.R_max)
        return found | dict(zip(searched, results, strict=True))

    def _first_lost(self, cure: Cure, beside: Threshold | None) -> tuple[float, float] | None:
        """Two imbalances between which the first direction of W is lost, near a threshold; the first end has K - 1 of them.

        A program whose classes all differ takes a second and more with all quadrature nodes. So the place is looked for with few,
        and proved with all.
        """
        (neighbour,) = (one for one in CURES if one.name == cure.beside)
        classes = self.setting.classes
        if self.at is None or classes.K > MOST_CLASSES or self._problem(neighbour, self.R_min).minority is None:
            return None
        beside = beside or self._thresholds([neighbour])[neighbour.name]
        if beside.R0 is None:
            return None
        ends, first, width = (self.R_min, self.R_max), classes.K - 1, directions.WIDTH
        few = partial(self._problem, cure, nodes=min(self.setting.nodes, FEW_NODES))
        near = directions.lost(few, {first: beside.R0}, ends, width=width / 2)[first]
        if near is None:
            return None
        wide = max(width, 1.1 * math.log(near[1] / near[0]))
        middle = math.sqrt(near[0] * near[1])
        return directions.lost(partial(self._problem, cure), {first: middle}, ends, width=wide)[first]

    def _problem(self, cure: Cure, R: float, nodes: int | None = None) -> Problem:
        """The program of a cure at an imbalance; nodes: quadrature nodes of the mixing ratio, the setting's if None."""
        assert self.at is not None
        setting = replace(self.setting, classes=self.at(R), nodes=nodes or self.setting.nodes)
        return self.limit(cure.build(setting))


def _solved(problems: dict[str, Problem]) -> dict[str, Solution | NotCertified | InvalidInput]:
    """Solve problems at once, or one by one if a solver refuses one of them."""
    try:
        return dict(zip(problems, solve_all(list(problems.values())), strict=True))
    except InvalidInput as refusal:
        if len(problems) == 1:
            return dict.fromkeys(problems, refusal)
        return {name: result for one in problems for name, result in _solved({one: problems[one]}).items()}


def _row(
    cure: Cure,
    built: Problem,
    given: Problem,
    solution: Solution,
    threshold: Threshold | None,
    bracket: tuple[float, float] | None,
) -> Row:
    """The row of a cure that is solved. built: its program before budgets or decay. given: after them.

    Its R0 is that of a threshold, or lies where the first direction is lost: in the bracket.
    """
    minority, majority, note = collapse_numbers(built if solution.problem.decay is None else solution.problem)
    sides = _sides(solution.problem)
    norms, gram = solution.gram.norms, solution.gram
    margin_B = margin(solution, sides[1], given)
    if margin_B is None:
        note = "; ".join(part for part in (note, "no margin: no image is of a rare class alone") if part)
    return Row(
        cure=cure.name,
        c_B=minority,
        c_A=majority,
        R0=threshold.R0 if threshold else (math.sqrt(bracket[0] * bracket[1]) if bracket else None),
        bracket=threshold.bracket if threshold else bracket,
        intervals=threshold.intervals if threshold and threshold.certified else None,
        collapsed=_collapsed(solution),
        alike=_alike(solution.problem),
        cos_AA=_finite(gram.mean_cosine(sides[0], sides[0])),
        cos_AB=_finite(gram.mean_cosine(sides[0], sides[1])),
        cos_BB=_finite(gram.mean_cosine(sides[1], sides[1])),
        norm_A=float(np.mean(norms[list(sides[0])])),
        norm_B=float(np.mean(norms[list(sides[1])])),
        margin_B=margin_B,
        rank=solution.rank,
        relative_gap=solution.relative_gap,
        seconds=solution.seconds,
        note=note,
    )


def _sides(problem: Problem) -> tuple[tuple[int, ...], ...]:
    """The groups of majority and minority; with counts of one's own the most and the least frequent one."""
    return problem.sides or ((0,), (len(problem.sizes) - 1,))


def _alike(problem: Problem) -> bool:
    """Whether the minority is one group of several classes."""
    groups = _sides(problem)[1]
    return len(groups) == 1 and bool(problem.sizes[groups[0]] > 1)


def _collapsed(solution: Solution) -> bool | None:
    """Whether the minority is collapsed; None if undecided, or if no two of its classes are alike."""
    (group, *_) = _sides(solution.problem)[1]
    if not _alike(solution.problem) or group in solution.undecided_groups:
        return None
    return group in solution.collapsed_groups


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def collapse_numbers(problem: Problem) -> tuple[float | None, float | None, str]:
    """Compute the collapse numbers of minority and majority.

    Args:
        problem: the problem under its decay; one with budgets counts as under a decay on samples. Without two sides they are
            the most and the least frequent classes. A single class has the square of a value of
            :func:`lpm.law.directions_at_zero` instead: A of the largest, B of the smallest one without offsets.

    Returns:
        The minority's number, the majority's, and why one or both are missing; "" where none is.
    """
    problem = problem if problem.decay is not None else problem.under_decay(1.0)
    if problem.margin is not None:
        return None, None, "margins: the collapse law does not apply"
    if problem.partition == "unordered" and np.any(problem.rows.lam != 0.5):
        return (
            None,
            None,
            "a < b: the order of a pair sets all classes apart; an R0 is where W loses its first direction, looked for from that "
            "of MS on",
        )
    sizes = [int(problem.sizes[list(side)].sum()) for side in _sides(problem)]
    try:
        A, B = (
            collapse_number(problem, side[0]) if size > 1 else None
            for side, size in zip(_sides(problem), sizes, strict=True)
        )
    except InvalidInput as refusal:
        return None, None, str(refusal)
    names = ("majority", "minority")
    if problem.sides:
        alone = [f"the {name} is one class" for name, size in zip(names, sizes, strict=True) if size == 1]
        return B, A, "; ".join(alone)
    if A is None or B is None:  # a single class has no number of its own
        # Offsets move what survives at all, but no collapse; those of a free bias are the best ones elsewhere, not at Z = 0.
        plain = replace(problem, offset=None, pair_offset=None, bias=False)
        A = directions_at_zero(plain if problem.bias else problem)[0][0] ** 2 if A is None else A
        B = directions_at_zero(plain)[-1][0] ** 2 if B is None else B
    return B, A, ""


def margin(solution: Solution, side: tuple[int, ...], given: Problem) -> float | None:
    """Measure the logit of a class over the largest other one, on rows of that class alone, as a network would at test.

    A free bias that was solved for is part of the logits. Offsets that the loss alone adds, such as logit adjustment, are not.

    Args:
        solution: a solution.
        side: the groups of the classes.
        given: the problem that it solves, without the best bias.

    Returns:
        The mean over these rows, weighted by p. None if the program has none, and with a bias beside factors of the logits: it
        is multiplied by them, so it is not known up to a shift alone.
    """
    problem, coordinates = solution.problem, Coordinates(solution.problem)
    own = problem.rows.same & np.isin(problem.rows.first, side)
    if not own.any() or (problem.bias and problem.factor is not None and np.ptp(problem.factor) > 0):
        return None
    values, a = coordinates.logits(solution.X)[own], problem.rows.first[own]
    r = np.arange(len(values))
    if problem.bias:
        assert problem.offset is not None
        bias = problem.offset - (0.0 if given.offset is None else given.offset)
        values[:, : coordinates.G] += bias
        if not problem.expanded:
            values[:, coordinates.G] += bias[a]
    if problem.expanded:
        others = values.copy()
        at_a = values[r, a]
        others[r, a] = -np.inf
    else:
        at_a, others = values[:, coordinates.G], values[:, : coordinates.G].copy()
        others[problem.others(own) == 0] = -np.inf
    weight = coordinates.weight[own]
    return float(weight @ (at_a - others.max(axis=1)) / weight.sum())
