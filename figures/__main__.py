"""Draw a figure: ``python -m figures fig2``. Every figure is written as PDF, PNG and the rows it drew (CSV)."""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path

from lpm.console import cli
from lpm.console.errors import InvalidInput, NotCertified, install
from lpm.console.output import OutputFolder
from lpm.console.text import shown

FIGURES = {
    "fig2": "label and label-pair frequencies over epochs, by sampler (Figure 2)",
    "fig3": "accuracy and coefficient of variation over the coverage ratio (Figure 3)",
    "fig4": "class vectors of classes 0, 8 and 9, test features and confidence, beside the model's optimum (Figure 4)",
    "theory": "cosines, norms and thresholds of the layer-peeled model",
    "geometry": "trained networks against their own layer-peeled optimum",
    "law": "networks on the line of the collapse law: optimum and trained class vectors against weight decay",
    "law-map": "when networks of an ordinary recipe collapse: weight decay against imbalance",
    "cures": "the cure map: what theory predicts for each method, and what its networks do",
    "explore": "one HTML file with sliders for the imbalance, the mixing ratio, K, the program and the sampler",
}
"""The figures. Each is a module of that name with ``add_options(parser)`` and ``make(options, folder)``.

``make`` writes the files and returns the record for the manifest.
"""

FIGURES_OF_RUNS = ("fig3", "fig4", "geometry")
"""Figures that need trained runs, and so have the options of :mod:`figures.store`."""

OWN_PACKAGES = ("figures", "lpm", "paper_checks", "training")
"""Packages of this project: when one of their modules is missing, no installation helps."""

EXTRAS = {"plotly": "figures"} | dict.fromkeys(("torch", "safetensors", "sklearn", "pyarrow", "PIL"), "train")
"""Optional packages, by the name that is imported, and the extra that installs them."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: words of the command line; those of the process if None.

    Returns:
        Its exit status.
    """
    words = sys.argv[1:] if arguments is None else arguments
    if "--all" in words:
        return draw_all([word for word in words if word != "--all"])
    if not words or words[0] in ("-h", "--help"):
        return list_figures()
    if words[0] not in FIGURES:
        _explain_choice(words)
    return draw(words[0], words[1:])


def list_figures() -> int:
    """Print the figures.

    Returns:
        The exit status.
    """
    print("figures: the figures of the paper, and more\n")
    for name, text in {**FIGURES, "--all": "every figure that the run store allows"}.items():
        print(f"  python -m figures {name:<9} {text}")
    print("\n--help behind a figure, or behind --all, lists its options.")
    return 0


def _explain_choice(words: list[str]) -> None:
    """Print the error of a command line without a figure, and end the program."""
    parser = cli.Parser("figures", "")
    parser.add_argument("figure", type=cli.choice(*FIGURES), metavar="FIGURE")
    parser.parse_args(words[:1])


def draw(name: str, words: list[str], *, alone: bool = True) -> int:
    """Draw one figure into its own folder.

    Args:
        name: key of ``FIGURES``.
        words: the figure's options as words of a command line.
        alone: whether it is the command's only figure, and a next step is named after it.

    Returns:
        The exit status.

    Raises:
        InvalidInput: if an option is wrong or a package is not installed.
        NotCertified: if an optimum of the figure cannot be certified.
    """
    try:
        return _draw(name, words, alone)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if not package or package in OWN_PACKAGES:
            raise
        remedy = install(EXTRAS[package]) if package in EXTRAS else "pip install -c constraints.txt -e ."
        raise InvalidInput(f"{name} needs {package}; install it with {remedy}") from None


def _draw(name: str, words: list[str], alone: bool) -> int:
    module = importlib.import_module(f"figures.{name.replace('-', '_')}")
    parser = cli.Parser(f"figures {name}", FIGURES[name])
    module.add_options(parser)
    add = parser.group("output").add_argument
    add("--out", type=Path, default=Path(f"figures-{name}"), metavar="DIR", help="folder for the files")
    add("--quiet", action="store_true", help="print nothing")
    options = parser.parse_args(words)
    start = time.perf_counter()
    with OutputFolder(options.out, f"figures.{name}") as folder:
        record = module.make(options, folder.path)
        files = folder.files
        folder.finish({**record, "seconds": round(time.perf_counter() - start, 2)})
    if not options.quiet:
        print(f"{', '.join(files)} in {shown(options.out)}, {time.perf_counter() - start:.1f} s")
        pictures = [file for file in files if file.endswith((".png", ".html"))]
        if alone and pictures:
            cli.next_step(f"open {options.out / pictures[0]}")
    return 0


def draw_all(words: list[str]) -> int:
    """Draw every figure that can be drawn, and print one line for each that cannot.

    Args:
        words: options that all figures of runs share, ``--out`` and ``--quiet``, as words of a command line.

    Returns:
        The exit status, 0.
    """
    from figures import store

    parser = cli.Parser("figures --all", "draw all figures that the run store allows")
    store.add_options(parser)
    add = parser.group("output").add_argument
    add("--out", type=Path, default=Path("."), metavar="DIR", help="folder for the figures' folders")
    add("--quiet", action="store_true", help="print only the figures that are not drawn")
    if named := [word for word in parser.parse_known_args(words)[1] if word in FIGURES]:
        parser.error(f"--all draws every figure and stands alone; drop {named[0]!r}, or --all to draw that one only")
    options = parser.parse_args(words)
    drawn = []
    for name in FIGURES:
        figure_words = words if name in FIGURES_OF_RUNS else ["--quiet"] * options.quiet
        try:
            # When --out is given twice, the last one counts.
            draw(name, [*figure_words, "--out", str(options.out / f"figures-{name}")], alone=False)
            drawn.append(name)
        except (InvalidInput, NotCertified) as error:
            print(f"{name}: not drawn: {shown(error)}", file=sys.stderr)
    if drawn and not options.quiet:
        cli.next_step(f"open the pictures in {options.out / 'figures-*'}")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
