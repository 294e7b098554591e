"""A program of the paper as a function of the imbalance R: the curves of sweeps and the functions whose root is R0."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field, replace

from lpm.console.errors import InvalidInput
from lpm.mixing import Mixing, fixed
from lpm.pairs import PROFILES, ClassCounts, imbalanced, majority
from lpm.problem import Features, Problem
from lpm.programs import PROGRAMS, Budget

DEFAULT_K = 4
"""Default number of classes: the paper's example, two in the majority and two in the minority."""


@dataclass(frozen=True)
class Family:
    """One program at K classes, K_A of them in the majority, for every imbalance R = n_A / n_B.

    Attributes:
        program: name of the program, a key of :data:`lpm.programs.PROGRAMS`.
        profile: label-pair frequencies, a key of :data:`lpm.pairs.PROFILES`; "" for the program's default. It has no
            effect on ``plain``.
        K: number of classes.
        K_A: number of majority classes, K // 2 if None.
        w_r: Proposition 1's oversampling of the minority.
        mixing: law of the mixing ratio. It has no effect on ``plain`` and ``ms-free``, which mix nothing.
        e_h: feature budget.
        e_w: class-vector budget.
        budget: "paper" for the feature budget of Eq. 5, "eq7" for that of Eq. 7.
        decay: mu, weight decay in place of both budgets (:meth:`lpm.problem.Problem.under_decay`); None for budgets.
        features: "sample" or "mean", what the features' budget or decay averages over; None for samples under a decay
            and means under budgets.
        bias: whether logits have a free bias that nothing penalises; only under a decay.

    Raises:
        InvalidInput: if the program or the profile is unknown, the program does not take the budget, or the decay
            excludes it.
    """

    program: str
    profile: str = ""
    K: int = DEFAULT_K
    _: KW_ONLY
    K_A: int | None = None
    w_r: float = 1.0
    mixing: Mixing = field(default_factory=fixed)
    e_h: float = 5.0
    e_w: float = 1.0
    budget: Budget = "paper"
    decay: float | None = None
    features: Features | None = None
    bias: bool = False

    def __post_init__(self) -> None:
        if self.program not in PROGRAMS:
            raise InvalidInput(f"program {self.program!r} is unknown; choose one of {', '.join(PROGRAMS)}")
        program = PROGRAMS[self.program]
        if not self.profile or not program.has_pairs:
            object.__setattr__(self, "profile", program.default_profile)
        elif self.profile not in PROFILES:
            raise InvalidInput(f"profile {self.profile!r} is unknown; choose one of {', '.join(PROFILES)}")
        program.check_budget(self.budget)
        if self.features is None:
            object.__setattr__(self, "features", "mean" if self.decay is None else "sample")
        if self.budget != "paper" and (self.decay is not None or self.features == "sample"):
            raise InvalidInput(f"budget {self.budget!r} is one of label-pair means; it goes without decay and samples")

    @property
    def name(self) -> str:
        """The program with its profile, as tables name it."""
        return PROGRAMS[self.program].label(self.profile)

    @property
    def majority(self) -> int:
        """Number of majority classes."""
        return majority(self.K, self.K_A)

    def at(self, R: float) -> Problem:
        """Build the program at one imbalance.

        Args:
            R: imbalance n_A / n_B.

        Returns:
            The program in normal form.

        Raises:
            InvalidInput: if an argument of the family, or R, breaks a rule.
        """
        return self.on(imbalanced(self.K, self.K_A, R, self.w_r))

    def on(self, classes: ClassCounts) -> Problem:
        """Build the program on given class counts, in place of K, K_A and w_r.

        Args:
            classes: class counts.

        Returns:
            The program in normal form.

        Raises:
            InvalidInput: as :meth:`at`.
        """
        program = PROGRAMS[self.program]
        frequencies = PROFILES[self.profile](classes) if program.has_pairs else classes
        problem = program.problem(frequencies, mixing=self.mixing, e_h=self.e_h, e_w=self.e_w, budget=self.budget)
        return limited(problem, self.decay, self.features, bias=self.bias)


def limited(problem: Problem, decay: float | None, features: Features | None, *, bias: bool = False) -> Problem:
    """Put a program under weight decay, or leave it its budgets.

    Args:
        problem: the program with budgets.
        decay: mu; None for the budgets.
        features: what the features' budget or decay averages over; None for samples under a decay, else means.
        bias: whether logits have a free bias.

    Returns:
        The program.

    Raises:
        InvalidInput: if there is a bias without a decay, or the program has label pairs a < b as classes.
    """
    if bias and decay is None:
        raise InvalidInput("--bias needs --decay MU: with budgets a free bias is not solved")
    if decay is None:
        return problem.with_features(features or "mean")
    return replace(problem.under_decay(decay, features or "sample"), bias=bias)
