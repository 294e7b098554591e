"""The cure map as Markdown tables."""

from __future__ import annotations

import math
from collections.abc import Sequence

from figures.style import Row
from lpm.console import cli

NETWORK = {
    **{name: name for name in ("all", "many", "med", "few")},
    **{"ECE": "ece", "few as many": "few_as_many", "among few": "among_few"},
    **{"post-hoc LA": "la_all", "few, LA": "la_few", "cRT": "crt_all"},
}
"""Columns of the table of networks by their heads."""

PARTS = ("gain", "representation", "preference")
"""Its last columns."""

THEORY = {"cosine, few": "cos_few", "length, few / many": "length_few", "margin, few": "margin_few"}
"""Columns of the table of predictions: predicted, then measured."""


def markdown(methods: Sequence[Row]) -> str:
    """Write the map as two Markdown tables: what networks do, and what theory predicted of their class vectors.

    Args:
        methods: rows of :func:`means`.

    Returns:
        The tables, one line between them.
    """
    networks = [
        (
            *_name(row),
            *(_number(row[name]) for name in NETWORK.values()),
            *(_number(row[name], "+.1f") for name in PARTS),
        )
        for row in methods
    ]
    theory = [
        (
            row["method"],
            row["note"] or _number(row["mu"] / row["predicted_threshold"], ".2g"),
            _number(row["predicted_R0"], ".0e"),
            *(f"{_number(row[f'predicted_{name}'], '.2f')} → {_number(row[name], '.2f')}" for name in THEORY.values()),
        )
        for row in methods
    ]
    heads = ("method", "runs", *NETWORK, *PARTS), ("method", "mu / threshold", "R0", *THEORY)
    return "\n".join(
        cli.markdown_table([head, ["---"] * len(head), *body])
        for head, body in zip(heads, (networks, theory), strict=True)
    )


def predictions(rows: Sequence[Row]) -> str:
    """Write predictions as a Markdown table; methods without one are listed with the reason.

    Args:
        rows: rows of :func:`unmeasured`.

    Returns:
        The table.
    """
    body = [
        (
            row["method"],
            row["predicted_note"] or _number(row["mu"] / row["predicted_threshold"], ".2g"),
            *(_number(row[f"predicted_{name}"], ".2f") for name in THEORY.values()),
        )
        for row in rows
    ]
    head = ("method", "mu / threshold", *THEORY)
    return cli.markdown_table([head, ["---"] * len(head), *body])


def _name(row: Row) -> tuple[str, str]:
    return row["method"], str(row["runs"])


def _number(value: float, form: str = ".1f") -> str:
    if math.isinf(value):
        return "none"
    return "–" if math.isnan(value) else format(value, form)
