"""The seed of a run, and the name of its recipe."""

from __future__ import annotations

from dataclasses import dataclass

from training.choices.choice import between, choice


@dataclass(frozen=True)
class RunChoices:
    """The run's own choices."""

    seed: int = choice(
        0,
        "seed of everything random but the subset",
        "run",
        **between(0, 2**62 - 1, rule="must lie in 0..2^62-1"),
        listed=False,
    )
    preset: str = choice("paper", "name of the recipe in results", "run", listed=False)
