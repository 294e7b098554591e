"""A command whose processes agree once, and then have other data each."""

from __future__ import annotations

from training.distributed.ranks import joined


def main(arguments: list[str] | None = None) -> int:
    """Run the command; its exit status."""
    with joined("cpu") as ranks:
        ranks.agree({"sha256": "a"})
        print("agreed", flush=True)
        ranks.agree({"sha256": str(ranks.rank)})
    return 0
