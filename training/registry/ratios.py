"""The laws of the mixing ratio that a run can name: one row each."""

from __future__ import annotations

from training.registry.kinds import Mixing

MIXINGS: dict[str, Mixing] = {
    row.name: row
    for row in (
        Mixing(
            name="batch",
            title="one ratio per batch",
            help="one mixing ratio per batch, as MiSLAS's code has it",
            make="training.batches.mixing:per_batch",
        ),
        Mixing(
            name="batch-swapped",
            title="one ratio per batch, sides swapped",
            help="one mixing ratio per batch, and the sides of half of the pairs are swapped at random",
            make="training.batches.mixing:per_batch_swapped",
        ),
        Mixing(
            name="sample",
            title="one ratio per pair",
            help="one mixing ratio per pair of images",
            make="training.batches.mixing:per_sample",
        ),
    )
}
"""How the mixing ratio is drawn, by the word of ``--ratio-per``."""
