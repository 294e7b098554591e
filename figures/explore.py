"""One HTML file with sliders, for budgets and for weight decay: ``python -m figures explore``.

Its first view has imbalance, mixing ratio, K, program and sampler under budgets. Its second one has every method under
weight decay, beside trained networks.

``lpm`` solves everything that it shows beforehand. The page contains plotly.js and loads nothing from the network.
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

from figures import explore_decay
from figures.explore_claims import LINKS, claims
from figures.explore_data import AXES, MIXES, PROFILES, Grid, solve_all
from figures.law_runs import RUNS
from figures.style import Row, write_rows
from lpm.console import cli
from lpm.console.errors import InvalidInput
from lpm.console.output import provenance
from lpm.console.rounding import certain, down, up, upward

LIMIT = 5_000_000
"""Largest size of the page, in bytes."""

PROGRAM_LABELS = {
    "plain": "plain: no mixup (Fang et al.)",
    "fc": "fc: usual classifier (Eq. 5)",
    "ms": "ms: mixed-singleton (Eq. 9)",
    "ms-free": "ms-free: label pairs as classes (Theorem 2)",
}
"""Labels of the programs on the page."""
PROFILE_LABELS = {
    "product": "product: random pairs, as in mixup",
    "block": "block: no pairs across groups (Theorem 1)",
    "balanced": "balanced: BMLS; CBS in expectation",
    "distinct": "distinct: BMLS on pairs a ≠ b",
}
"""Labels of the profiles on the page, with the samplers that have them."""
SCHEMES = ("http", "https", "file")
"""Schemes that the address of the report may have."""
NAMES = ("program", "profile", "K", "lam")
"""Columns that name a family."""


def add_options(parser: cli.Parser) -> None:
    """Add the options of the command.

    Args:
        parser: parser of the command.
    """
    add = parser.group("figure").add_argument
    add("--K", type=_classes, default=list(Grid.K), metavar="K,K,...", help="numbers of classes, even")
    programs = list(Grid.programs)
    add("--programs", type=_words, default=programs, metavar="P,P,...", help="programs to offer")
    add("--points", type=int, default=Grid.points, help="number of imbalances between 1 and 10,000")
    add("--decay", type=float, metavar="MU", help="weight decay in place of the budgets (default: budgets)")
    methods = list(explore_decay.METHODS)
    add("--methods", type=_words, default=methods, metavar="M,M,...", help="methods of the view under weight decay")
    add("--decays", type=int, default=explore_decay.Decays.points, help="number of its weight decays, 2 to 101")
    add("--runs", type=Path, default=RUNS, metavar="FILE", help="CSV of benchmarks.law (default: the committed rows)")
    add(
        "--report",
        default="../paper-report/report.html",
        metavar="ADDRESS",
        help="address of the report of `python -m paper_checks`, relative to the page",
    )


def _classes(text: str) -> list[int]:
    try:
        return sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text[:60]!r} is not a comma-separated list of numbers of classes") from None


def _words(text: str) -> list[str]:
    return list(dict.fromkeys(text.split(",")))


def address(text: str) -> str:
    """Check an address for a link.

    Browsers drop spaces and control characters before they look for a scheme, so these are refused.

    Args:
        text: the address.

    Returns:
        The address as it is.

    Raises:
        InvalidInput: if the address runs a script, or is neither a web page nor a file.
    """
    scheme = re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*(?=:)", text)
    if not text.isprintable() or text != text.strip() or (scheme and scheme[0].lower() not in SCHEMES):
        raise InvalidInput(
            f"--report {text[:60]!r} must be relative, or start with one of {', '.join(s + ':' for s in SCHEMES)}, "
            "without control characters; begin a relative address that holds a colon with './'"
        )
    return text


def make(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Solve, and write explore.html with its rows: explore.csv, explore-R0.csv and explore-decay.csv.

    Args:
        options: parsed options.
        folder: folder for the files.

    Returns:
        The record for the manifest.

    Raises:
        InvalidInput: if an option is out of range, or the page would be larger than ``LIMIT``.
        ModuleNotFoundError: if plotly is not installed.
        NotCertified: if an optimum cannot be certified.
    """
    plotly, report = plotly_js(), address(options.report)  # these may fail, so they come before the solves
    grid = Grid(tuple(options.K), points=options.points, programs=tuple(options.programs), decay=options.decay)
    decays = explore_decay.Decays(tuple(options.methods), options.decays)
    networks = explore_decay.networks(options.runs)
    optimum_rows, threshold_rows = solve_all(grid, quiet=options.quiet)
    decay_rows = explore_decay.predicted(decays, quiet=options.quiet)
    write_rows(optimum_rows, folder / "explore.csv")
    write_rows(threshold_rows, folder / "explore-R0.csv")
    write_rows(decay_rows, folder / "explore-decay.csv")
    second = explore_decay.document(decays, decay_rows, networks)
    html = page(document(grid, optimum_rows, threshold_rows, report) | {"decays": second}, plotly)
    size = len(html.encode())
    if size > LIMIT:
        raise InvalidInput(f"explore.html would have {size:,} bytes, more than {LIMIT:,}; lower --points")
    (folder / "explore.html").write_text(html, encoding="utf-8")
    return {
        "K": grid.K,
        "lam": [law.label for law in grid.laws],
        "points": grid.points,
        "solves": len(optimum_rows) + len(decay_rows),
        "decay": grid.decay,
        "methods": decays.methods,
        "networks": len(networks),
        "largest_relative_gap": max(row["relative_gap"] for row in (*optimum_rows, *decay_rows)),
        "bytes": size,
    }


def plotly_js() -> str:
    """Return the source of plotly.js.

    Returns:
        The minified source.

    Raises:
        ModuleNotFoundError: if plotly is not installed.
    """
    return (resources.files("plotly") / "package_data" / "plotly.min.js").read_text(encoding="utf-8")


def document(grid: Grid, optimum_rows: Sequence[Row], threshold_rows: Sequence[Row], report: str) -> dict[str, Any]:
    """Return the data that the page's script reads.

    Args:
        grid: positions of the sliders.
        optimum_rows: rows of :func:`figures.explore_data.optima`.
        threshold_rows: rows of :func:`figures.explore_data.thresholds`.
        report: address of the report.

    Returns:
        Positions of the sliders, one curve per family, the claims and the views that show them.
    """
    curves: dict[str, dict[str, Any]] = {}
    for row in threshold_rows:
        curves[_key(row)] = {name: _short(value) for name, value in row.items() if name not in NAMES} | _bracket(row)
    gaps: dict[str, float] = {}
    for row in optimum_rows:
        key = _key(row)
        gaps[key] = max(gaps.get(key, 0.0), row["relative_gap"])
        for name, value in row.items():
            if name not in (*NAMES, "K_A", "R", "relative_gap"):
                curves[key].setdefault(name, []).append(_short(value))
    for key, gap in gaps.items():
        curves[key]["gap"] = upward(gap, 1)
    return {
        "R": [_short(R) for R in grid.R],
        "K": grid.K,
        "laws": [{"label": law.label, "lam": law.nodes[0] if len(law.nodes) == 1 else None} for law in grid.laws],
        "programs": [
            {"name": p, "words": PROGRAM_LABELS[p], "profiles": PROFILES[p], "mixes": p in MIXES} for p in grid.programs
        ],
        "profiles": [{"name": name, "words": label} for name, label in PROFILE_LABELS.items()],
        "axes": AXES.round(9).tolist(),
        "curves": {key: _without_empty_columns(curve) for key, curve in curves.items()},
        "claims": claims(),
        # The claims are about budgets.
        "links": [asdict(link) for link in LINKS] if grid.decay is None else [],
        "decay": grid.decay,
        "limits": "The budgets are E_H = 5 and E_W = 1."
        if grid.decay is None
        else f"Weight decay takes the place of budgets: μ = {grid.decay:g}.",
        "report": report,
    }


def _bracket(row: Row) -> dict[str, Any]:
    """Return the bracket of R0, rounded outwards, and R0 in its certain digits."""
    low, high = row["bracket_low"], row["bracket_high"]
    if math.isnan(low):
        return {"R0_text": None}
    return {"bracket_low": down(low, 7), "bracket_high": up(high, 7), "R0_text": certain(low, high, 5)}


def _without_empty_columns(curve: dict[str, Any]) -> dict[str, Any]:
    empty = [None] * len(curve["loss"])
    return {name: column for name, column in curve.items() if column != empty}


def _key(row: Row) -> str:
    return " ".join(str(row[name]) for name in NAMES)


def _short(value: Any) -> Any:
    """Return a number with seven digits, None for nan, and anything else as it is."""
    if isinstance(value, float):
        return None if math.isnan(value) else float(f"{value:.7g}")
    return value


def page(data: dict[str, Any], plotly: str) -> str:
    """Return the HTML page.

    Args:
        data: result of :func:`document`, and under "decays" that of :func:`figures.explore_decay.document`.
        plotly: source of plotly.js. It is compressed, because it is most of the file.

    Returns:
        The page.
    """
    templates = resources.files("figures") / "templates"

    def template(name: str) -> Markup:
        return Markup((templates / name).read_text(encoding="utf-8"))

    packed = base64.b64encode(gzip.compress(plotly.encode(), 9, mtime=0)).decode()
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template("explore.html")).render(
        style=template("explore.css"),
        scripts=[template(f"explore{part}.js") for part in ("_pictures", "_decay", "")],
        # "<" could end the script element that holds the data
        data=Markup(json.dumps(cli.plain_data(data), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")),
        plotly=Markup(packed),
        provenance=provenance(),
    )
