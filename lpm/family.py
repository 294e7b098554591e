"""A program of the paper as a function of the imbalance R: what sweeps walk along and thresholds are roots of."""

from __future__ import annotations

from dataclasses import dataclass, field

from lpm.console.errors import InvalidInput
from lpm.mixing import Mixing, fixed
from lpm.pairs import PROFILES, ClassCounts, imbalanced
from lpm.problem import Problem
from lpm.programs import Budget, fc, ms, ms_free, ms_unordered, plain

PROGRAMS = ("plain", "fc", "ms", "ms-unordered", "ms-free")
DEFAULT_PROFILE = {"plain": "-", "fc": "product", "ms": "product", "ms-unordered": "product", "ms-free": "block"}


@dataclass(frozen=True)
class Family:
    """One program at K classes, K_A of them in the majority, for every imbalance R = n_A / n_B.

    program: one of ``PROGRAMS``. profile: label-pair frequencies, a key of ``lpm.pairs.PROFILES``; '' for the program's
    default, and of no effect for ``plain``. K_A: K // 2 if None. w_r: Proposition 1's oversampling of the minority.
    mixing: the law of lambda; of no effect for ``plain`` and ``ms-free``, which have none.
    e_h, e_w, budget: as in :mod:`lpm.programs`.
    """

    program: str
    profile: str = ""
    K: int = 4
    K_A: int | None = None
    w_r: float = 1.0
    mixing: Mixing = field(default_factory=fixed)
    e_h: float = 5.0
    e_w: float = 1.0
    budget: Budget = "paper"

    def __post_init__(self) -> None:
        if self.program not in PROGRAMS:
            raise InvalidInput(f"program {self.program!r} is unknown; choose one of {', '.join(PROGRAMS)}")
        if not self.profile or self.program == "plain":
            object.__setattr__(self, "profile", DEFAULT_PROFILE[self.program])
        elif self.profile not in PROFILES:
            raise InvalidInput(f"profile {self.profile!r} is unknown; choose one of {', '.join(PROFILES)}")
        if self.budget == "eq7" and self.program in ("plain", "ms-unordered"):
            raise InvalidInput(f"budget 'eq7' is defined for fc, ms and ms-free, not for {self.program!r}")

    @property
    def name(self) -> str:
        return self.program if self.program == "plain" else f"{self.program} {self.profile}"

    def at(self, R: float) -> Problem:
        """The program at imbalance R. Raises InvalidInput for arguments that break a rule."""
        return self.on(imbalanced(self.K, self.K_A, R, self.w_r))

    def on(self, classes: ClassCounts) -> Problem:
        """The program on given class counts."""
        budgets = {"e_h": self.e_h, "e_w": self.e_w}
        if self.program == "plain":
            return plain(classes, **budgets)
        pairs = PROFILES[self.profile](classes)
        if self.program == "ms-free":
            return ms_free(pairs, **budgets, budget=self.budget)
        if self.program == "ms-unordered":
            return ms_unordered(pairs, self.mixing, **budgets)
        return (fc if self.program == "fc" else ms)(pairs, self.mixing, **budgets, budget=self.budget)
