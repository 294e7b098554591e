"""One HTML file with sliders for the imbalance, the mixing ratio, K, the program and the sampler: ``python -m figures explore``.

Everything that it shows was solved by ``lpm`` beforehand; the page holds plotly.js and asks the network for nothing.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from figures.explore_claims import LINKS, claims
from figures.explore_data import AXES, MIXES, PROFILES, Grid, optima, thresholds
from figures.style import Row, write_rows
from lpm.console import cli
from lpm.console.errors import InvalidInput
from lpm.console.output import provenance

LIMIT = 5_000_000
"""Bytes that the page may have."""

PROGRAM_WORDS = {
    "plain": "plain: no mixup (Fang et al.)",
    "fc": "fc: usual classifier (Eq. 5)",
    "ms": "ms: mixed-singleton (Eq. 9)",
    "ms-free": "ms-free: pairs as classes (Theorem 2)",
}
PROFILE_WORDS = {
    "product": "product: random pairing, as mixup",
    "block": "block: none across groups (Theorem 1)",
    "balanced": "balanced: BMLS; CBS in expectation",
    "distinct": "distinct: BMLS on pairs a ≠ b",
}
SCHEMES = ("http", "https", "file")
"""What the address of the report may begin with."""
NAMES = ("program", "profile", "K", "lam")
"""Columns that name a family."""


def add_options(parser: cli.Parser) -> None:
    """Options of the command."""
    add = parser.add_argument
    add("--K", type=_classes, default=list(Grid.K), metavar="K,K,...", help="numbers of classes, even")
    programs = list(Grid.programs)
    add("--programs", type=_programs, default=programs, metavar="P,P,...", help="programs to offer")
    add("--points", type=int, default=Grid.points, help="imbalances between 1 and 10,000")
    add(
        "--report",
        default="../paper-report/report.html",
        metavar="ADDRESS",
        help="where the page finds the report of `python -m paper_checks`, relative to itself",
    )


def _classes(text: str) -> list[int]:
    try:
        return sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text[:60]!r} is not a comma-separated list of numbers of classes") from None


def _programs(text: str) -> list[str]:
    return list(dict.fromkeys(text.split(",")))


def address(text: str) -> str:
    """An address that a link may have. Raises InvalidInput for one that runs a script, or is no web page or file.

    Browsers drop spaces and control characters before they look for a scheme, so there must be none.
    """
    scheme = re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*(?=:)", text)
    if not text.isprintable() or text != text.strip() or (scheme and scheme[0].lower() not in SCHEMES):
        raise InvalidInput(
            f"--report {text[:60]!r} must be relative, or start with one of {', '.join(s + ':' for s in SCHEMES)}, without "
            "control characters; './' before a relative address lets it hold a colon"
        )
    return text


def make(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Solve, and write explore.html with its rows, explore.csv and explore-R0.csv. Raises ModuleNotFoundError without plotly."""
    plotly, report = plotly_js(), address(options.report)  # first: one may be missing, the other refused
    grid = Grid(tuple(options.K), points=options.points, programs=tuple(options.programs))
    rows, found = optima(grid), thresholds(grid)
    write_rows(rows, folder / "explore.csv")
    write_rows(found, folder / "explore-R0.csv")
    html = page(document(grid, rows, found, report), plotly)
    if len(html.encode()) > LIMIT:
        raise InvalidInput(f"explore.html would have {len(html.encode()):,} bytes, more than {LIMIT:,}; lower --points")
    (folder / "explore.html").write_text(html, encoding="utf-8")
    return {
        "K": grid.K,
        "lam": [law.label for law in grid.laws],
        "points": grid.points,
        "solves": len(rows),
        "largest_relative_gap": max(row["relative_gap"] for row in rows),
        "bytes": len(html.encode()),
    }


def plotly_js() -> str:
    """The source of plotly.js. Raises ModuleNotFoundError when the package is missing."""
    return (resources.files("plotly") / "package_data" / "plotly.min.js").read_text(encoding="utf-8")


def document(grid: Grid, rows: Sequence[Row], found: Sequence[Row], report: str) -> dict[str, Any]:
    """What the page's script reads: the sliders' stops, a curve a family, the claims and where they are shown."""
    curves: dict[str, dict[str, Any]] = {}
    for row in found:
        curves[_key(row)] = {name: _short(value) for name, value in row.items() if name not in NAMES} | {"gap": 0.0}
    for row in rows:
        curve = curves[_key(row)]
        curve["gap"] = max(curve["gap"], row["relative_gap"])
        for name, value in row.items():
            if name not in (*NAMES, "K_A", "R", "relative_gap"):
                curve.setdefault(name, []).append(_short(value))
    return {
        "R": [_short(R) for R in grid.R],
        "K": grid.K,
        "laws": [{"label": law.label, "lam": law.nodes[0] if len(law.nodes) == 1 else None} for law in grid.laws],
        "programs": [
            {"name": p, "words": PROGRAM_WORDS[p], "profiles": PROFILES[p], "mixes": p in MIXES} for p in grid.programs
        ],
        "profiles": [{"name": name, "words": words} for name, words in PROFILE_WORDS.items()],
        "axes": AXES.round(9).tolist(),
        # a column without a number says nothing
        "curves": {
            key: {n: c for n, c in curve.items() if c != [None] * len(curve["loss"])} for key, curve in curves.items()
        },
        "claims": claims(),
        "links": [asdict(link) for link in LINKS],
        "report": report,
    }


def _key(row: Row) -> str:
    return " ".join(str(row[name]) for name in NAMES)


def _short(value: Any) -> Any:
    """A number to seven digits, None for nan."""
    if isinstance(value, float):
        return None if math.isnan(value) else float(f"{value:.7g}")
    return value


def page(data: dict[str, Any], plotly: str) -> str:
    """The HTML page. plotly: its source, which is packed, because it is most of the file."""
    parts = resources.files("figures") / "templates"

    def part(name: str) -> Markup:
        return Markup((parts / name).read_text(encoding="utf-8"))

    packed = base64.b64encode(gzip.compress(plotly.encode(), 9, mtime=0)).decode()
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(part("explore.html")).render(
        style=part("explore.css"),
        scripts=[part("explore_pictures.js"), part("explore.js")],
        # "<" could end the script element that holds the data
        data=Markup(json.dumps(cli.plain_data(data), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")),
        plotly=Markup(packed),
        provenance=provenance(),
    )
