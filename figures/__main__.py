"""Draw a figure: ``python -m figures fig2``. Every figure is written as PDF, PNG and the rows it drew (CSV)."""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path

from lpm.console import cli
from lpm.console.errors import InvalidInput, NotCertified, install
from lpm.console.output import OutputFolder

FIGURES = {
    "fig2": "label and label-pair frequencies over epochs, by sampler (Figure 2)",
    "fig3": "accuracy and coefficient of variation over the coverage ratio (Figure 3)",
    "fig4": "class vectors of classes 0, 8 and 9, test features and confidence, beside the model's optimum (Figure 4)",
    "theory": "cosines, norms and thresholds of the layer-peeled model",
    "geometry": "trained networks against their own layer-peeled optimum",
    "explore": "one HTML file with sliders for the imbalance, the mixing ratio, K, the program and the sampler",
}
"""A module each, with ``add_options(parser)`` and ``make(options, folder)``, which writes files and returns the record."""

OF_RUNS = ("fig3", "fig4", "geometry")

OURS = ("figures", "lpm", "paper_checks", "training")
EXTRAS = {"plotly": "figures"} | dict.fromkeys(("torch", "safetensors", "sklearn", "pyarrow", "PIL"), "train")
"""Optional packages, by the name that is imported, and the extra that installs them."""


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    if "--all" in words:
        return draw_all([w for w in words if w != "--all"])
    if not words or words[0] not in FIGURES:
        _chooser(words)
    return draw(words[0], words[1:])


def _chooser(words: list[str]) -> None:
    """Explain the choice of figures and end the program."""
    parser = cli.Parser("figures", "draw a figure of the paper, or --all that the run store allows")
    listed = "; ".join(f"{name}: {text}" for name, text in FIGURES.items())
    parser.add_argument("figure", type=cli.choice(*FIGURES), metavar="FIGURE", help=listed)
    parser.parse_args(words[:1])


def draw(name: str, words: list[str]) -> int:
    """Draw one figure into a folder of its own; the exit status. Raises InvalidInput when it needs a package that is missing."""
    try:
        return _draw(name, words)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if not package or package in OURS:
            raise
        how = install(EXTRAS[package]) if package in EXTRAS else "pip install -c constraints.txt -e ."
        raise InvalidInput(f"{name} needs {package}; install it with {how}") from None


def _draw(name: str, words: list[str]) -> int:
    module = importlib.import_module(f"figures.{name}")
    parser = cli.Parser(f"figures {name}", FIGURES[name])
    module.add_options(parser)
    parser.add_argument("--out", type=Path, default=Path(f"figures-{name}"), metavar="DIR", help="folder for the files")
    parser.add_argument("--quiet", action="store_true", help="print nothing")
    options = parser.parse_args(words)
    start = time.perf_counter()
    with OutputFolder(options.out, f"figures.{name}") as folder:
        record = module.make(options, folder.path)
        files = sorted(file.name for file in folder.path.iterdir())
        folder.finish({**record, "seconds": round(time.perf_counter() - start, 2)})
    if not options.quiet:
        print(f"{', '.join(files)} in {options.out}, {time.perf_counter() - start:.1f} s")
    return 0


def draw_all(words: list[str]) -> int:
    """Draw every figure that can be drawn; one line for each that cannot. words: options that all figures of runs share."""
    from figures import store

    parser = cli.Parser("figures --all", "draw all figures that the run store allows")
    store.add_options(parser)
    parser.add_argument("--out", type=Path, default=Path("."), metavar="DIR", help="folder for the figures' folders")
    parser.add_argument("--quiet", action="store_true", help="print nothing but what is not drawn")
    if named := [w for w in parser.parse_known_args(words)[1] if w in FIGURES]:
        parser.error(f"--all draws every figure and stands alone; drop {named[0]!r}, or --all to draw that one only")
    options = parser.parse_args(words)
    for name in FIGURES:
        own = words if name in OF_RUNS else ["--quiet"] * options.quiet
        try:
            draw(name, [*own, "--out", str(options.out / f"figures-{name}")])  # of two --out the last one holds
        except (InvalidInput, NotCertified) as error:
            print(f"{name}: not drawn: {error}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
