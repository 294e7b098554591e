"""Say why finished runs are wrong on rare classes, and what to try: ``python -m training.diagnose RUN...``.

A rare class may be told apart and yet not be chosen (*not preferred*), its class vector may have merged with another
(*collapsed*), or it was not learnt (*unfitted*). Each needs another cure. Needs no torch.
"""

from __future__ import annotations

import io
import json
import math
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lpm.console import cli
from lpm.console.errors import InvalidInput
from lpm.console.output import write
from lpm.console.text import markdown as markdown_text
from training import diagnosis
from training.diagnosis import Report
from training.store import runs
from training.store.confusion_picture import check_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NOTE = """\
In % of a class's test images. right: predicted as it. among its own split: predicted as it where only the classes of its
split (many, med or few) can be chosen. corrected: predicted as it by the largest z - log pi, pi the class frequencies of
the training labels; as trained where the loss corrects for them already; empty where that is not known, and training.posthoc
measures it for runs on image files. threshold: the decay mu above which the collapse
law lets the class vectors of such classes merge."""
"""The note below the tables that explains their columns."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: words of the command line; those of the process if None.

    Returns:
        Its exit status.

    Raises:
        InvalidInput: if a run is not finished or is damaged.
    """
    parser = cli.Parser("training.diagnose", "why finished runs are wrong on some classes, and what to try next")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="finished runs, or folders that hold them")
    parser.add_argument("--json", action="store_true", help="print JSON, one object per run")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="picture of one run, .png or .pdf: spectrum and thresholds"
    )
    options = parser.parse_args(arguments)
    folders = runs.named(options.runs)
    if options.out is not None:
        check_path(options.out, (".png", ".pdf"))
        if len(folders) > 1:
            raise InvalidInput(f"--out {str(options.out)!r} is the picture of one run, and {len(folders)} are named")
    reports = [diagnosis.of(folder) for folder in folders]
    if options.json:
        print(json.dumps([as_json(report) for report in reports], indent=1, allow_nan=False))
    else:
        print("\n".join(markdown(report) for report in reports) + NOTE)
    if options.out is not None:
        write(options.out, picture(reports[0], options.out.suffix[1:]))
    if not options.json:
        for step in dict.fromkeys(report.next_command for report in reports if report.next_command):
            cli.next_step(step)
    return 0


def as_json(report: Report) -> dict[str, object]:
    """Make an object of a report.

    Args:
        report: the diagnosis of a run.

    Returns:
        The object: mu is null where it is not defined, and so are shares of a class without test images.
    """
    classes = [
        {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in asdict(c).items()}
        | {"verdict": c.verdict, "threshold": c.threshold, "sentence": c.sentence}
        for c in report.classes
    ]
    mu = report.mu if math.isfinite(report.mu) else None
    return asdict(report) | {"mu": mu, "thresholds": report.thresholds, "classes": [{**c, "mu": mu} for c in classes]}


def markdown(report: Report) -> str:
    """Write a report as Markdown: one row per class, and its sentence.

    Args:
        report: the diagnosis of a run.

    Returns:
        The text.
    """
    rows = [["class", "images", "verdict", "right", "among its own split", "corrected", "threshold"], ["---"] * 7]
    for c in report.classes:
        corrected = "" if c.corrected is None else _share(c.corrected)
        threshold = "" if c.threshold is None else f"{c.threshold:.3g}"
        shares = [_share(c.right), _share(c.among_split), corrected, threshold]
        rows.append([c.name, str(c.images), c.verdict, *shares])
    how = "chosen" if report.mu_known else "measured by balance"
    size = f"= {report.mu:.3g}" if math.isfinite(report.mu) else "not known"
    lines = [f"{markdown_text(report.run)}: {markdown_text(report.method)}, mu {size} ({how})", ""]
    lines += [cli.markdown_table(rows)]
    lines += [
        f"- {markdown_text(c.name)}, {c.verdict}. {markdown_text(c.sentence)}"
        for c in report.classes
        if c.verdict != "fine"
    ]
    if report.corrected is not None:
        parts = [
            f"{part.name} {part.right:.1f} -> {part.corrected:.1f}"
            for part in report.splits
            if part.corrected is not None
        ]
        lines.append(
            f"- Right in %, as trained -> by the largest z - log pi: all classes {report.right:.1f} -> {report.corrected:.1f}; "
            f"{', '.join(parts)}."
        )
    return "\n".join(lines) + "\n"


def _share(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.0f}"


def picture(report: Report, form: str) -> bytes:
    """Draw the spectrum of the class vectors, and each class against its threshold.

    Args:
        report: the diagnosis of a run.
        form: 'png' or 'pdf'.

    Returns:
        The file's content.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    spectrum, classes = figure.subplots(1, 2)
    _draw_spectrum(spectrum, report)
    _draw_classes(classes, report)
    content = io.BytesIO()
    figure.savefig(content, dpi=150, format=form)
    return content.getvalue()


COLOURS = {"fine": "#0b3c8c", "not preferred": "#e8a33d", "collapsed": "#d1495b", "unfitted": "#7a7a7a"}
"""By verdict, the colour of a class in the picture."""

ABOVE: dict[str, Any] = {
    "fontsize": 8,
    "loc": "lower center",
    "bbox_to_anchor": (0.5, 1.0),
    "ncols": 5,
    "frameon": False,
}
"""Where a panel's legend is."""


def _draw_spectrum(axis: Axes, report: Report) -> None:
    """Singular values as bars; beside them the decay near which each direction leaves, and mu."""
    directions = range(1, len(report.singular_values) + 1)
    axis.bar(directions, report.singular_values, color="#0b3c8c")
    axis.set_xlabel("direction of the centred class vectors")
    axis.set_ylabel("singular value (bars)")
    if report.thresholds is None:
        return
    decays = axis.twinx()
    decays.plot(directions, report.thresholds, "_", color="#d1495b", mew=2, ms=9)
    decays.vlines(
        directions, *zip(*report.thresholds, strict=True), color="#d1495b", label="threshold of the direction"
    )
    if math.isfinite(report.mu):
        decays.axhline(report.mu, color="black", lw=1, linestyle="--", label="mu of the run")
    decays.set_ylim(bottom=0)
    decays.set_ylabel("decay: the law lets a direction vanish\nwhose threshold is below mu", fontsize=8)
    decays.legend(**ABOVE)


def _draw_classes(axis: Axes, report: Report) -> None:
    """The distance of each class to the nearest one against its threshold, and mu."""
    for verdict, colour in COLOURS.items():
        points = [(c.threshold, c.distance) for c in report.classes if c.verdict == verdict and c.threshold is not None]
        if points:
            axis.plot(*zip(*points, strict=True), "o", color=colour, label=verdict)
    if math.isfinite(report.mu):
        axis.axvline(report.mu, color="black", lw=1, linestyle="--", label="mu of the run")
    axis.set_xlabel("threshold of the class")
    axis.set_ylabel("distance to the nearest class vector")
    axis.legend(**ABOVE)


if __name__ == "__main__":
    sys.exit(cli.run(main))
