"""The choice of a network with two branches, and what it can be combined with."""

from __future__ import annotations

from dataclasses import dataclass

from training.choices.choice import choice, helps
from training.methods import BRANCHES


@dataclass(frozen=True)
class BranchChoices:
    """How many branches the network has."""

    branches: str = choice("none", "whether the network has two branches", "method", words=helps(BRANCHES))
