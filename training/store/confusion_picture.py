"""The picture of a confusion matrix. Needs no torch."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lpm.console.errors import InvalidInput
from lpm.console.output import write
from lpm.console.text import shown
from training.data.untrusted import contents
from training.store.confusions import Confusion, mean_matrix

FORMS = (".png", ".pdf", ".svg")
"""Endings of the files that can be drawn."""

LIMIT = 100_000_000
"""Bytes that a picture which is replaced may have."""

NAMED, NUMBERED, LARGEST = 40, 15, 2000
"""Classes up to which their names stand at the axes, up to which cells have numbers, and that are drawn at all."""


def check_path(path: Path, forms: Sequence[str] = FORMS) -> None:
    """See that a picture can be written to a file.

    Args:
        path: the file.
        forms: the endings that it may have.

    Raises:
        InvalidInput: if its ending is unknown, its folder is not there, or it holds something else, such as a photograph.
    """
    if path.suffix.lower() not in forms:
        raise InvalidInput(f"--out {str(path)!r} must end in {', '.join(forms[:-1])} or {forms[-1]}")
    if path.is_dir() or not path.parent.is_dir():
        problem = "that is a folder" if path.is_dir() else "there is no such folder"
        raise InvalidInput(f"--out {str(path)!r}: {problem}; name a file in a folder that exists")
    before = b"" if not os.path.lexists(path) or (path.is_symlink() and not path.exists()) else contents(path, LIMIT)
    if before and b"Matplotlib" not in before:  # which signs its pictures
        raise InvalidInput(f"--out {str(path)!r} exists and is no picture of this command; name another file")


def draw(
    confusions: Sequence[Confusion],
    names: Sequence[str],
    splits: Sequence[tuple[str, tuple[int, int]]],
    title: str,
    path: Path,
) -> None:
    """Draw the mean confusion matrix of some runs into a file.

    Args:
        confusions: as :func:`drawn`, with the next three.
        names: K names of classes.
        splits: the splits.
        title: what was trained.
        path: the file; its ending says the form.

    Raises:
        InvalidInput: as :func:`drawn`.
    """
    write(path, drawn(confusions, names, splits, title, path.suffix.lower().removeprefix(".")))


def drawn(
    confusions: Sequence[Confusion],
    names: Sequence[str],
    splits: Sequence[tuple[str, tuple[int, int]]],
    title: str,
    form: str,
) -> bytes:
    """Draw the mean confusion matrix of some runs: rows are true classes, columns predicted ones.

    Args:
        confusions: confusion of each run, with the same K classes.
        names: K names of classes.
        splits: names, and first and last class, of the splits, which lines divide.
        title: what was trained.
        form: 'png', 'pdf' or 'svg'.

    Returns:
        The picture in that form.

    Raises:
        InvalidInput: if there are too many classes for a picture.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    if (K := len(names)) > LARGEST:
        raise InvalidInput(f"--out draws at most {LARGEST:,} classes, and there are {K:,}; --format csv has all pairs")
    matrix = mean_matrix(confusions)
    side = 3.2 + min(8.0, 0.45 * K)
    with rc_context(
        {"text.parse_math": False, "font.size": 9, "svg.fonttype": "none"}
    ):  # a name may have a dollar sign
        figure = Figure(figsize=(side + 0.9, side), layout="constrained")
        axes = figure.subplots()
        image = axes.imshow(matrix, cmap="Blues", vmin=0, vmax=100, interpolation="nearest")
        figure.colorbar(image, ax=axes, fraction=0.046, label="% of the class's test images")
        axes.set_title(
            shown(f"{title}, {len(confusions)} seed{'s' * (len(confusions) > 1)}", 70), fontsize=10, loc="left"
        )
        axes.set_xlabel("predicted as")
        axes.set_ylabel("true class")
        if K <= NAMED:
            words = [shown(name, 24) for name in names]
            axes.set_xticks(range(K), words, rotation=45, ha="right", rotation_mode="anchor")
            axes.set_yticks(range(K), words)
        else:
            middles = [(first + last) / 2 for _, (first, last) in splits]
            axes.set_xticks(middles, [name for name, _ in splits])
            axes.set_yticks(middles, [name for name, _ in splits])
        for _, (first, _) in splits[1:]:
            axes.axhline(first - 0.5, color="black", lw=0.6)
            axes.axvline(first - 0.5, color="black", lw=0.6)
        for (a, b), value in np.ndenumerate(matrix) if K <= NUMBERED else ():
            if value >= 0.5:  # not NaN
                colour = "white" if value > 55 else "black"
                axes.text(b, a, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=8)
        file = io.BytesIO()
        figure.savefig(
            file, format=form, dpi=150, bbox_inches="tight", metadata={"Date": None} if form == "svg" else None
        )
    return file.getvalue()
