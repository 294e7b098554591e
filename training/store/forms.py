"""The forms of a table of the paper: Markdown, CSV and LaTeX. Needs no torch."""

from __future__ import annotations

import csv
import io
import re
import statistics
from collections.abc import Callable, Mapping, Sequence

from lpm.console import cli
from training.store.tables import Entry, factor_word, in_words

NOTE = (
    "Test accuracy in % after the last epoch. ours: mean ± standard deviation (n runs). difference: our mean minus the "
    "paper's. * marks one of our means that is outside the paper's mean ± standard deviation, only at preset paper and "
    "on the paper's data. Most numbers that the paper took from others are those of the best epoch on the test images."
)
"""The line below a table that explains its columns and its mark."""

OF_OTHERS = (
    "best epoch: the same runs at the epoch that is best on the test images; it is shown because others report it, and does not "
    "count. own recipe: runs by the recipe of the method's authors, or 'same'."
)
"""The line after it in a table that has other people's numbers."""


def _paper(entry: Entry) -> str:
    if entry.paper is None:
        return "–"
    return f"{entry.paper.mean:.2f}" + (f" ± {entry.paper.std:.2f}" if entry.paper.std is not None else "")


def _difference(entry: Entry) -> str:
    return "–" if entry.difference is None else f"{entry.difference:+z.2f}" + (" *" if entry.outside else "")


def _ours(entry: Entry) -> str:
    correction = entry.row.correction if entry.row else ""
    return entry.method + f", {correction}" * bool(correction)


def _own(entry: Entry) -> str:
    return "same" if entry.row is None or entry.row.own is None else in_words(entry.own)


Columns = Mapping[str, Callable[[Entry], str]]
"""Columns of a table: the heading, and a cell's text."""

PLAIN: Columns = {
    "method": lambda entry: entry.method,
    "data set": lambda entry: entry.data or entry.dataset,
    "imbalance": lambda entry: factor_word(entry.imbalance),
    "split": lambda entry: entry.split,
    "preset": lambda entry: entry.preset,
    "ours (n)": lambda entry: in_words(entry.ours),
    "paper": _paper,
    "difference": _difference,
}
"""Columns of a table whose numbers are all the paper's."""

COMPARED: Columns = {
    "row": lambda entry: entry.row.name if entry.row else "",
    "ours": lambda entry: _ours(entry) or "–",
    **{name: PLAIN[name] for name in ("data set", "imbalance", "preset", "ours (n)")},
    "best epoch": lambda entry: in_words(entry.best),
    "own recipe (n)": _own,
    "paper": _paper,
    "difference": _difference,
}
"""Columns of a table that has other people's numbers."""


def _columns(cells: Sequence[Entry]) -> Columns:
    return COMPARED if any(cell.row and cell.row.note for cell in cells) else PLAIN


def _notes(cells: Sequence[Entry]) -> list[str]:
    """What the rows are, one line for each that has a note."""
    rows = dict.fromkeys(cell.row for cell in cells if cell.row and cell.row.note)
    return [
        f"{row.name}"
        + f" ({row.method})" * bool(row.printed and row.method)
        + f": {row.note}."
        + (f" Own recipe: {row.own.words}." if row.own else "")
        for row in rows
    ]


def markdown(cells: Sequence[Entry]) -> str:
    """Write a Markdown table, a line that explains its columns and its mark, and a list of notes on its rows.

    Args:
        cells: cells of a table; each becomes a row.

    Returns:
        The text.
    """
    columns, notes = _columns(cells), _notes(cells)
    rows = [
        tuple(columns),
        ("---",) * len(columns),
        *(tuple(text(cell) for text in columns.values()) for cell in cells),
    ]
    explained = NOTE.replace("*", r"\*") + f" {OF_OTHERS}" * (columns is COMPARED)
    return (
        cli.markdown_table(rows)
        + "\n"
        + explained
        + "\n"
        + "".join(f"\n- {note}" for note in notes)
        + "\n" * bool(notes)
    )


LATEX = str.maketrans(
    {c: rf"\{c}" for c in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "|": r"\textbar{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "±": r"$\pm$", "–": "--"}
)
"""Characters that LaTeX reads as commands, and two signs that it may lack, with what is written in their place."""


def _tex(words: Sequence[str]) -> str:
    """A row of a tabular; signed numbers in math mode, where a minus is not a hyphen."""
    return " & ".join(re.sub(r"^[+-]\d+\.\d+", r"$\g<0>$", word.translate(LATEX)) for word in words) + r" \\"


def latex(cells: Sequence[Entry]) -> str:
    """Write a LaTeX tabular, whose last lines explain its columns, its mark and its rows.

    Args:
        cells: cells of a table; each becomes a row.

    Returns:
        The text.
    """
    columns = _columns(cells)
    explained = " ".join([NOTE, *[OF_OTHERS] * (columns is COMPARED), *_notes(cells)])
    note = rf"\multicolumn{{{len(columns)}}}{{p{{0.95\linewidth}}}}{{\footnotesize {explained.translate(LATEX)}}}"
    body = [_tex([text(cell) for text in columns.values()]) for cell in cells]
    lines = [rf"\begin{{tabular}}{{{'l' * len(columns)}}}", _tex(list(columns)), r"\hline", *body, r"\hline", note]
    return "\n".join([*lines, r"\end{tabular}", ""])


def as_csv(cells: Sequence[Entry]) -> str:
    """Write CSV, with plain numbers.

    Args:
        cells: cells of a table; each becomes a row.

    Returns:
        The text.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    numbers = ["n", "mean", "std", "paper_mean", "paper_std", "difference", "outside"]
    of_others = ["best_mean", "own_n", "own_mean", "own_std"]
    writer.writerow(["method", "dataset", "imbalance", "split", "preset", *numbers, "row", *of_others])
    for cell in cells:
        paper = ("", "") if cell.paper is None else (cell.paper.mean, "" if cell.paper.std is None else cell.paper.std)
        difference = "" if cell.difference is None else f"{cell.difference:z.4f}"
        names = [cell.method, cell.data or cell.dataset, factor_word(cell.imbalance), cell.split, cell.preset]
        ours = [len(cell.ours), *_mean_std(cell.ours), *paper, difference, int(cell.outside)]
        others = [cell.row.name if cell.row else cell.method, _mean_std(cell.best)[0], len(cell.own)]
        writer.writerow([*names, *ours, *others, *_mean_std(cell.own)])
    return file.getvalue()


def _mean_std(values: Sequence[float]) -> tuple[str, str]:
    mean = f"{statistics.fmean(values):.4f}" if values else ""
    return mean, f"{statistics.stdev(values):.4f}" if len(values) > 1 else ""


FORMATS = {"markdown": markdown, "csv": as_csv, "latex": latex}
"""By the word of ``--format``, the function that writes a table."""
