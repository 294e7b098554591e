"""The page of a comparison: its table, differences, curves and confusion matrices. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from training.config import RunConfig
from training.store import comparison_picture, comparisons, confusion_picture, pages
from training.store.comparisons import Results
from training.store.confusions import names_of, of, splits_of
from training.store.runs import FINAL, RunFolder
from training.store.verdicts import verdict

MARK = b'<meta name="generator" content="training.compare">'
"""Line of every page, near its beginning, by which the command knows its own pages."""


def is_page(path: Path) -> bool:
    """Whether a file is a page of this module, which a new page may replace.

    Args:
        path: the file; no link is followed.

    Returns:
        Whether it is a regular file whose first bytes hold :data:`MARK`.

    Raises:
        OSError: if it cannot be read.
    """
    if path.is_symlink() or not path.is_file():  # a pipe would be waited for
        return False
    with path.open("rb") as file:
        return MARK in file.read(1000)


def page(base: RunConfig, results: Results, folders: Mapping[str, Sequence[RunFolder]], stopped: str = "") -> str:
    """Make the page.

    Args:
        base: the run whose choices the methods share.
        results: the runs of each method; at least one method has runs.
        folders: the folders of these runs, by method.
        stopped: what the page says of runs that are missing; '' where there are none.

    Returns:
        HTML that holds all it shows.

    Raises:
        InvalidInput: if a run is damaged.
    """
    caption, (head, _, *body), note = comparisons.cells(base, results)
    split = comparisons.headline(results)
    ranked = list(comparisons.rows(results, split))
    name = f"test_{split}"
    seeds = {
        method: [{row["epoch"]: row[name] for row in folder.rows() if name in row} for folder in runs]
        for method, runs in folders.items()
    }
    return pages.page(
        "comparison.html",
        caption=caption,
        head=head,
        body=body,
        note=note,
        sentences=[text for text in (stopped, comparisons.sentence(results, split), verdict(results)) if text],
        intervals=pages.embedded(comparison_picture.intervals(results), "svg"),
        curves=pages.embedded(comparison_picture.curves(results, seeds), "svg"),
        matrices=_matrices(ranked, folders),
    )


def _matrices(ranked: Sequence[str], folders: Mapping[str, Sequence[RunFolder]]) -> list[dict[str, str]]:
    """The confusion matrices of the first method and of the one with the highest accuracy, where their predictions are stored."""
    first = next(method for method, runs in folders.items() if runs)
    roles = {first: "the first method"}
    best = next(method for method in ranked if method in folders)  # not one that was adjusted afterwards
    as_trained = " as trained" * (best != ranked[0])
    roles[best] = f"the highest accuracy{as_trained}" + ", and the first method" * (best == first)
    matrices = []
    for method, role in roles.items():
        runs = [folder for folder in folders[method] if (folder.path / FINAL).is_file()]
        names = names_of(runs[0]) if runs else []
        if not 0 < len(names) <= confusion_picture.LARGEST:
            continue
        splits = list(splits_of(runs[0]).items())
        picture = confusion_picture.drawn([of(folder) for folder in runs], names, splits, method, "png")
        matrices.append({"method": method, "role": role, "picture": pages.embedded(picture, "png")})
    return matrices
