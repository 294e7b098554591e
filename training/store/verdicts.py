"""Which methods differ from the first one by more than seeds and test images do, in two sentences. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from paper_checks.paper.statistics import holm
from training.store.comparisons import LEVEL, Results, Runs, difference, headline


def verdict(results: Results) -> str:
    """Say which methods differ from the first one, and which do not.

    The p of all differences are corrected together by Holm's method. A method with one seed is not said to differ,
    because another seed may give another number.

    Args:
        results: the runs of each method, the one that all are compared with first.

    Returns:
        A line of two sentences; one sentence where all methods have one seed; '' with fewer than two methods.
    """
    split = headline(results)
    first, *others = [method for method, runs in results.items() if runs.values(split)] or [""]
    if not others:
        return ""
    several = [method for method in others if min(_seeds(results[m], split) for m in (first, method)) > 1]
    what = "balanced " * (split == "balanced") + "accuracy"
    if not several:
        return f"With one seed per method it is unknown which differ from {first} in {what}; --seeds 0-2 takes three.\n"
    estimates = {method: difference(results, split, method, first) for method in several}
    corrected = dict(zip(several, holm([_p(estimates[method].p) for method in several]), strict=True))
    words = dict.fromkeys(others, "one seed")
    words |= {method: f"{estimate.value:+z.2f}" for method, estimate in estimates.items()}
    words |= {method: "equal" for method in several if _equal(results[method], results[first], split)}
    ranked = sorted(several, key=lambda method: -estimates[method].value) + [m for m in others if m not in several]
    differ = [method for method in ranked if corrected.get(method, 1.0) < LEVEL]
    same = [method for method in ranked if method not in differ]
    known = all(results[method].right is not None for method in (first, *others))
    doubt = "seeds and test images" if known else "the seeds"
    begin = f"In {what} these differ" if differ else f"In {what} no method differs"
    begin += f" from {first} by more than {doubt} do (p < {LEVEL} after Holm)"
    begin += f": {_listed(differ, words)}. " if differ else ". "
    every = "" if len(differ) == 1 else "Every other method does."
    return (begin + (f"These do not: {_listed(same, words)}." if same else every)).rstrip() + "\n"


def _listed(methods: Sequence[str], words: Mapping[str, str]) -> str:
    return ", ".join(f"{method} ({words[method]})" for method in methods)


def _seeds(runs: Runs, split: str) -> int:
    return len(runs.values(split))


def _p(p: float) -> float:
    """Equal values without any spread have no p."""
    return 1.0 if np.isnan(p) else p


def _equal(runs: Runs, rest: Runs, split: str) -> bool:
    """Whether all runs are right on the same images; or have the same accuracies, where predictions are not stored."""
    if runs.right is not None and rest.right is not None:
        return np.array_equal(runs.right, rest.right)
    return runs.values(split) == rest.values(split)
